//! Polling: the planned requests go out, some at once; what they change is recorded as it comes.

use std::time::Duration;

use futures_util::stream;
use futures_util::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::anthropic::error::FetchError;
use crate::clock::Clock;
use crate::cycle::plan::{self, Stage};
use crate::cycle::state::{Trouble, Watcher};
use crate::domain::change::Recorded;
use crate::domain::coverage::{Coverage, Fetch};
use crate::domain::record::record;
use crate::domain::usage::{Answer, Part};
use crate::store::error::StoreError;

/// So many answers are recorded in one transaction at most.
const BATCH: usize = 256;

/// How long an answer waits for others, so that few of them at once do not mean a transaction each.
const BATCH_WAIT: Duration = Duration::from_secs(1);

type Fetched = (Fetch, Result<Answer, FetchError>);

/// Answers that are recorded together.
struct Gathered {
    batch: Vec<Fetched>,
    end: Option<End>,
}

/// Why no more answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All were asked for.
    Answered,
    /// The key was refused, or there is no time left.
    Broken,
}

/// What ends the asking early.
struct Until {
    clock: Clock,
    deadline: Duration,
    hurry: CancellationToken,
}

impl Until {
    /// The next answers: so many that a transaction is worth it, or those that came within a while. A refused key ends them
    /// at once, so that no more requests are made with it.
    async fn gather(&self, answers: &mut (impl Stream<Item = Fetched> + Unpin)) -> Gathered {
        let mut batch = Vec::new();
        let mut record_at = None;
        let end = loop {
            let is_begun = record_at.is_some();
            let until_recorded = self.left(record_at.unwrap_or(self.deadline));
            let answer = tokio::select! {
                biased;
                () = self.hurry.cancelled() => break Some(End::Broken),
                answer = answers.next() => answer,
                () = self.clock.sleep(self.left(self.deadline)) => break Some(End::Broken),
                () = self.clock.sleep(until_recorded), if is_begun => break None,
            };
            let Some((fetch, answer)) = answer else {
                break Some(End::Answered);
            };
            let is_refused = matches!(&answer, Err(error) if error.is_about_the_key());
            batch.push((fetch, answer));
            if is_refused {
                break Some(End::Broken);
            }
            if batch.len() == BATCH {
                break None;
            }
            record_at.get_or_insert(self.clock.running() + BATCH_WAIT);
        };
        Gathered { batch, end }
    }

    fn left(&self, moment: Duration) -> Duration {
        moment.saturating_sub(self.clock.running())
    }
}

impl Watcher {
    /// Runs all stages until the deadline.
    pub(in crate::cycle) async fn poll(
        &mut self,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let parts: Vec<Part> = self
            .directory
            .present()
            .map(|part| Part::Workspace(part.id.clone()))
            .collect();
        let started = self.clock.running();
        let first = plan::running_stage(&parts, &self.coverages, &self.settings.reading, polled_at);
        if !self.run_stage(first, polled_at, deadline, trouble).await? {
            self.warn_of_rate(&parts, polled_at, deadline.saturating_sub(started), trouble);
            return Ok(());
        }
        let length = SignedDuration::try_from(deadline.saturating_sub(started))
            .unwrap_or(SignedDuration::MAX);
        loop {
            let reading = self.settings.reading;
            let stages = plan::backlog_stages(&parts, &self.coverages, &reading, length, polled_at);
            let Some(stage) = stages.into_iter().next() else {
                return Ok(());
            };
            let n_before = trouble.lines.len();
            let is_correction = stage
                .whole
                .iter()
                .chain(&stage.parts)
                .any(|fetch| fetch.purpose == crate::domain::coverage::Purpose::Corrections);
            let is_done = self.run_stage(stage, polled_at, deadline, trouble).await?;
            // Corrections come last; a stage that failed is planned again in the next cycle.
            if !is_done || is_correction || trouble.lines.len() > n_before {
                return Ok(());
            }
        }
    }

    /// Whether the stage was run to its end before the deadline.
    async fn run_stage(
        &mut self,
        stage: Stage,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<bool, StoreError> {
        let groups = if stage.is_whole_first {
            [stage.whole, stage.parts]
        } else {
            [stage.parts, stage.whole]
        };
        for fetches in groups {
            if trouble.is_refused
                || !self
                    .run_fetches(fetches, polled_at, deadline, trouble)
                    .await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn run_fetches(
        &mut self,
        fetches: Vec<Fetch>,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<bool, StoreError> {
        let api = self.api.clone();
        let ask = move |fetch: Fetch| {
            let api = api.clone();
            async move {
                let answer = api
                    .usage(&fetch.part, fetch.granularity, fetch.first, fetch.last)
                    .await;
                (fetch, answer)
            }
        };
        let answers = stream::iter(fetches)
            .map(ask)
            .buffer_unordered(self.settings.max_concurrency);
        let until = Until {
            clock: self.clock.clone(),
            deadline,
            hurry: self.hurry.clone(),
        };
        let mut answers = Box::pin(answers);
        let mut gathered = until.gather(&mut answers).await;
        loop {
            match gathered.end {
                // While one batch is recorded, the next one is asked for.
                None => {
                    let next = async { Ok(until.gather(&mut answers).await) };
                    let batch = self.record_batch(gathered.batch, polled_at, trouble);
                    ((), gathered) = tokio::try_join!(batch, next)?;
                }
                Some(end) => {
                    self.record_batch(gathered.batch, polled_at, trouble)
                        .await?;
                    return Ok(end == End::Answered);
                }
            }
        }
    }

    /// Each answer is taken over whole or not at all.
    async fn record_batch(
        &mut self,
        batch: Vec<Fetched>,
        polled_at: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let mut answered = Vec::new();
        for (fetch, answer) in batch {
            match answer {
                Ok(answer) => answered.push((fetch, answer)),
                Err(error) => {
                    self.list_is_doubted |= error.is_not_found();
                    self.note(trouble, &error);
                }
            }
        }
        if answered.is_empty() {
            return Ok(());
        }
        let wanted = answered
            .iter()
            .map(|(fetch, _)| (fetch.part.clone(), fetch.hours()))
            .collect();
        let stored = self
            .store
            .stored_many(&self.settings.organization, wanted)
            .await?;
        let settle = self.settings.reading.settle;
        let mut changes: Vec<(Part, Recorded)> = Vec::new();
        for ((fetch, answer), stored) in answered.iter().zip(&stored) {
            let coverage = self.coverage_of(&fetch.part, polled_at);
            let recorded = record(answer, fetch.purpose, &coverage, stored, settle, polled_at);
            if !recorded.is_complete {
                trouble.note(format!(
                    "organization `{}`, usage of {}: rows vanished; kept until three answers over 30 minutes agree",
                    self.settings.organization,
                    fetch.part.workspace_id().unwrap_or("the whole"),
                ));
            }
            changes.push((fetch.part.clone(), recorded));
        }
        self.store
            .record(&self.settings.organization, changes.clone(), Vec::new())
            .await?;
        for (part, recorded) in changes {
            self.take_in(part, recorded);
        }
        Ok(())
    }

    /// Memory follows the store.
    pub(in crate::cycle) fn take_in(&mut self, part: Part, recorded: Recorded) {
        self.last_hour_is_touched |= recorded
            .deltas
            .iter()
            .any(|delta| self.last_hour == Some(delta.hour));
        match part {
            // What the whole says is kept to derive the remainder; it counts in no sum.
            Part::Whole => self.remainders_due.extend(recorded.touched),
            Part::Workspace(_) => {
                self.figures.apply(&part, &recorded.deltas, &recorded.fell);
                self.remainders_due.extend(recorded.touched);
            }
            Part::Unattributed => self.figures.apply(&part, &recorded.deltas, &recorded.fell),
        }
        self.coverages.insert(part, recorded.coverage);
    }

    pub(in crate::cycle) fn coverage_of(&self, part: &Part, now: Timestamp) -> Coverage {
        self.coverages
            .get(part)
            .cloned()
            .unwrap_or_else(|| Coverage::new(now))
    }

    /// One warning names the rate that would be needed.
    fn warn_of_rate(
        &mut self,
        parts: &[Part],
        polled_at: Timestamp,
        length: Duration,
        trouble: &mut Trouble,
    ) {
        if trouble.is_refused {
            return;
        }
        if self.hurry.is_cancelled() {
            trouble.note(format!(
                "organization `{}`: the cycle was cut short",
                self.settings.organization
            ));
            return;
        }
        let is_fresh = |part: &&Part| {
            self.coverages
                .get(*part)
                .is_some_and(|c| c.as_of == Some(polled_at))
        };
        let n_fresh = parts.iter().filter(is_fresh).count();
        let n_needed = parts.len() + 1;
        let per_minute = (n_needed as u64 * 60).div_ceil(length.as_secs().max(1));
        trouble.note(format!(
            "organization `{}`: {n_fresh} of {} workspaces were read before the next slot; the stalest come first then",
            self.settings.organization,
            parts.len(),
        ));
        if !std::mem::replace(&mut self.has_warned_of_rate, true) {
            tracing::warn!(
                organization.name = %self.settings.organization,
                "a cycle needs {n_needed} requests, about {per_minute} a minute; raise `max_requests_per_minute` \
                 or poll less often"
            );
        }
    }
}
