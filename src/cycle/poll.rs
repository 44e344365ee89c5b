//! Polling: the planned requests go out, some at once; what they change is recorded as it comes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;

use crate::cycle::gather::{End, Fetched, Until};
use crate::cycle::plan::{self, Stage};
use crate::cycle::state::{Trouble, Watcher};
use crate::domain::change::Recorded;
use crate::domain::coverage::{self, Coverage, Fetch, Purpose};
use crate::domain::dialect::Dialect;
use crate::domain::plural::{agreeing, counted};
use crate::domain::record::record;
use crate::domain::seen::Seen;
use crate::domain::span::HourSpan;
use crate::domain::usage::{Answer, Part};
use crate::store::error::StoreError;

/// An answer, as far as it is compared with the ledger; and all of it as it was seen, where it is about the running hours.
pub(in crate::cycle) type Compared = (Purpose, Answer, Option<Seen>);

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
        let unreadable = |part: &Part| Some(self.oldest_unreadable(part, polled_at)?.day());
        let first = plan::running_stage(
            &parts,
            &self.coverages,
            unreadable,
            &self.settings.reading,
            polled_at,
        );
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
                .any(|fetch| fetch.purpose == Purpose::Corrections);
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
            // A task of its own, so that answers are read and translated on all cores.
            let asking = AbortOnDropHandle::new(tokio::spawn(async move {
                let answer = api
                    .usage(&fetch.part, fetch.granularity, fetch.first, fetch.last)
                    .await;
                (fetch, answer)
            }));
            async { asking.await.expect("nobody ends it, and a panic ends all") }
        };
        let answers = stream::iter(fetches)
            .map(ask)
            .buffer_unordered(self.settings.max_concurrency);
        let until = Until {
            clock: self.clock.clone(),
            deadline,
            hurry: self.hurry.clone(),
        };
        let mut answers = Some(Box::pin(answers));
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
                Ok((answer, unreadable)) => {
                    for unreadable in &unreadable {
                        self.note_unreadable(Some(&answer.part), unreadable, trouble);
                    }
                    answered.push(self.to_compare(fetch, answer, polled_at));
                }
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
            .map(|(_, answer, _)| (answer.part.clone(), answer.hours))
            .collect();
        self.record_answers(answered, wanted, polled_at, trouble)
            .await
    }

    /// Compares answers with what is stored of their parts in the spans that are wanted, and records the difference.
    pub(in crate::cycle) async fn record_answers(
        &mut self,
        answered: Vec<Compared>,
        wanted: Vec<(Part, HourSpan)>,
        polled_at: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let stored = self
            .store
            .stored_many(&self.settings.organization, wanted)
            .await?;
        let settle = self.settings.reading.settle;
        let mut changes: Vec<(Part, Recorded)> = Vec::new();
        // Several answers may be about one part: each goes on from what the one before it left as known.
        let mut newest: HashMap<Part, usize> = HashMap::new();
        for ((purpose, answer, seen), stored) in answered.into_iter().zip(&stored) {
            let coverage = match newest.insert(answer.part.clone(), changes.len()) {
                Some(before) => changes[before].1.coverage.clone(),
                None => self.coverage_of(&answer.part, polled_at),
            };
            let mut recorded = record(&answer, purpose, &coverage, stored, settle, polled_at);
            if self.reports().is_some() {
                // What belongs to nobody is told there, not derived.
                recorded.touched.clear();
            }
            if !recorded.is_complete {
                trouble.note(format!(
                    "organization `{}`, usage of {}: rows vanished; kept until three answers over 30 minutes agree",
                    self.settings.organization,
                    answer.part.workspace_id().unwrap_or("the whole"),
                ));
            }
            match seen.filter(|_| recorded.is_complete) {
                Some(seen) => self.seen.insert(answer.part.clone(), seen),
                None => self.seen.remove(&answer.part),
            };
            changes.push((answer.part, recorded));
        }
        let (idle, changes): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|(_, recorded)| recorded.is_nothing());
        let changes: Arc<[_]> = changes.into();
        if !changes.is_empty() {
            self.store
                .record(
                    &self.settings.organization,
                    Arc::clone(&changes),
                    Vec::new(),
                )
                .await?;
        }
        for (part, recorded) in idle.iter().chain(changes.iter()) {
            self.take_in(part, recorded);
        }
        Ok(())
    }

    /// What of an answer has to be compared with the ledger: not the hours that are told as they were the last time.
    fn to_compare(&self, fetch: Fetch, answer: Answer, polled_at: Timestamp) -> Compared {
        let Fetch { part, purpose, .. } = fetch;
        if purpose != Purpose::Running {
            return (purpose, answer, None);
        }
        let seen = Seen::of(&answer);
        let first = self.seen.get(&part).map_or(answer.hours.start, |before| {
            let coverage = self.coverage_of(&part, polled_at);
            seen.differs_from(before, &coverage, self.settings.reading.settle)
        });
        (purpose, answer.from_hour(first), Some(seen))
    }

    /// Notes up to when each part is known.
    pub(in crate::cycle) async fn note_polled(&mut self) -> Result<(), StoreError> {
        let Some(polled) = coverage::polled(&self.coverages, &self.behind, self.known_at) else {
            return Ok(());
        };
        self.store
            .note_polled(&self.settings.organization, polled.clone())
            .await?;
        for part in &polled.caught_up {
            self.behind.remove(part);
        }
        self.behind.extend(polled.fell_behind);
        Ok(())
    }

    /// Memory follows the store.
    pub(in crate::cycle) fn take_in(&mut self, part: &Part, recorded: &Recorded) {
        self.last_hour_is_touched |= recorded
            .deltas
            .iter()
            .any(|delta| self.last_hour == Some(delta.hour));
        if let Some(uses) = &mut self.uses {
            uses.take_in(recorded);
        }
        match part {
            // What the whole says is kept to derive the remainder; it counts in no sum.
            Part::Whole => self.remainders_due.extend(&recorded.touched),
            Part::Workspace(_) => {
                self.figures.apply(part, &recorded.deltas, &recorded.fell);
                self.remainders_due.extend(&recorded.touched);
            }
            Part::Unattributed => self.figures.apply(part, &recorded.deltas, &recorded.fell),
        }
        self.take_in_unreadable(part, recorded);
        match self.coverages.get_mut(part) {
            Some(known) => known.clone_from(&recorded.coverage),
            None => {
                self.behind.insert(part.clone(), None);
                self.coverages
                    .insert(part.clone(), recorded.coverage.clone());
            }
        }
    }

    pub(in crate::cycle) fn coverage_of(&self, part: &Part, now: Timestamp) -> Coverage {
        let known = self.coverages.get(part);
        // A sweep asks for everyone: who is new used nothing in what was swept before.
        let swept = || {
            self.coverages
                .get(&Part::Whole)
                .filter(|_| self.reports().is_some())
        };
        match known.or_else(swept) {
            Some(coverage) if known.is_some() => coverage.clone(),
            Some(whole) => Coverage {
                recheck: BTreeSet::new(),
                ..whole.clone()
            },
            None => Coverage::new(now),
        }
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
            "organization `{}`: {n_fresh} of {} {} read before the next slot; the stalest come first then",
            self.settings.organization,
            counted(parts.len(), "workspace"),
            agreeing(&parts.len(), "was", "were"),
        ));
        if !std::mem::replace(&mut self.has_warned_of_rate, true) {
            let most = self.api.max_per_minute(Dialect::Guide);
            tracing::warn!(
                organization.name = %self.settings.organization,
                "{}", rate_advice(n_needed, per_minute, most)
            );
        }
    }
}

/// What helps a cycle that took too long: more requests in a minute only if their number is what held it back.
fn rate_advice(n_needed: usize, per_minute: u64, most: Option<u32>) -> String {
    let needed = format!(
        "a cycle needs {}, about {per_minute} a minute",
        counted(n_needed, "request")
    );
    match most {
        Some(most) if u64::from(most) < per_minute => {
            format!(
                "{needed}, of which {most} may be sent; raise `max_requests_per_minute` or poll less often"
            )
        }
        Some(_) | None => {
            format!("{needed}, and the server did not answer all of them in time; poll less often")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_rate_is_advised_only_where_the_rate_holds_a_cycle_back() {
        for (per_minute, most, is_advised) in [
            (60, Some(45), true),
            (60, Some(60), false),
            (60, None, false),
        ] {
            let advice = rate_advice(300, per_minute, most);
            assert_eq!(
                advice.contains("raise `max_requests_per_minute`"),
                is_advised,
                "{advice}"
            );
            assert!(advice.contains("poll less often"), "{advice}");
        }
        assert!(rate_advice(1, 1, None).starts_with("a cycle needs 1 request, about 1 a minute"));
    }
}
