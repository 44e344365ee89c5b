//! Sweeping: where a report tells all workspaces at once, a cycle reads the hours that still grow, and goes on with whatever
//! else is due. Reading the past may take longer than a cycle: it goes on beside the next ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::cycle::reading::{Backlog, NoEstimate, Read, Reader, Reports};
use crate::cycle::state::{Trouble, Watcher};
use crate::domain::coverage::{Coverage, Purpose};
use crate::domain::ids::{ModelName, WorkspaceId};
use crate::domain::period::Period;
use crate::domain::plural::counted;
use crate::domain::span::{Day, HourSpan};
use crate::domain::sweep::{self, Bounds, Sweep};
use crate::domain::tally::FastMode;
use crate::domain::usage::{Answer, Buckets, Granularity, Part};
use crate::store::error::StoreError;

/// Answers that are recorded together hold so many cells at most.
const BATCH_CELLS: usize = 2048;
/// The newer reports begin with this day,
const NEWER_FROM: jiff::civil::Date = jiff::civil::date(2026, 1, 1);
/// and reach so far back.
const NEWER_DAYS: i32 = 364;
/// So long an estimate that was refused is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(3600);

impl Watcher {
    /// Reads what is due by sweeps, until the deadline.
    pub(in crate::cycle) async fn sweep(
        &mut self,
        reports: Reports,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        if self.directory.listed_at.is_none() {
            // Without the list nobody knows who is who.
            return Ok(());
        }
        let bounds = self.bounds(reports, polled_at);
        let oldest = self.known_least();
        let mut known_at = None;
        let asked = self.unreadable.keys();
        let unreadable = asked
            .filter_map(|part| self.oldest_unreadable(part, polled_at))
            .min();
        let reading = self.settings.reading;
        for sweep in sweep::running(oldest, unreadable, &reading, bounds, polled_at) {
            let reader = self.reader(reports, polled_at);
            let Some(read) = self.in_time(deadline, reader.read(sweep)).await else {
                trouble.note(self.out_of_time("the hours that still grow"));
                return Ok(());
            };
            known_at = match read {
                Ok(read) => self.take_running(sweep, read, polled_at, trouble).await?,
                Err(error) => {
                    self.note(trouble, &error);
                    None
                }
            };
            if known_at.is_none() {
                return Ok(());
            }
        }
        // Only now: where a later hour could not be read, nothing is fresh.
        self.known_at = known_at.unwrap_or(polled_at);
        self.sweep_backlog(reports, polled_at, deadline, trouble)
            .await?;
        self.warn_of_models();
        Ok(())
    }

    /// Records running hours. Gives up to when they are known; `None` where that is less far than it was asked.
    async fn take_running(
        &mut self,
        sweep: Sweep,
        mut read: Read,
        polled_at: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<Option<Timestamp>, StoreError> {
        let is_whole = match read.no_estimate.take() {
            None => true,
            Some(NoEstimate::Failed(error)) => {
                self.note(trouble, &error);
                false
            }
            Some(NoEstimate::Refused(error)) => {
                self.estimate_refused = Some(self.clock.running());
                tracing::warn!(
                    organization.name = %self.settings.organization,
                    "what is not billed yet cannot be estimated, figures are as old as the bill: {error}"
                );
                true
            }
        };
        let end = sweep.hours.end.start();
        let until = read.known_until.unwrap_or(polled_at).min(end);
        read.known_until = Some(until);
        let billed_until = read.billed_until.map(|until| until.min(end));
        self.record_read(sweep.purpose, read, polled_at, trouble)
            .await?;
        self.engine.billed_until = billed_until.or(self.engine.billed_until);
        Ok(is_whole.then_some(until))
    }

    /// Goes on with the past: what was begun before comes first.
    async fn sweep_backlog(
        &mut self,
        reports: Reports,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let mut done: Option<Sweep> = None;
        loop {
            let mut backlog = match self.backlog.take() {
                Some(begun) => begun,
                None => {
                    let next = self.next_in_backlog(reports, polled_at);
                    let Some(sweep) = next.filter(|next| done != Some(*next)) else {
                        return Ok(());
                    };
                    let mut pieces = VecDeque::from(sweep.pieces());
                    let Some(first) = pieces.pop_front() else {
                        return Ok(());
                    };
                    done = Some(sweep);
                    self.begin_backlog(reports, polled_at, first, pieces)
                }
            };
            let Some(read) = self.in_time(deadline, &mut backlog.reading).await else {
                self.backlog = Some(backlog);
                return Ok(());
            };
            match read.expect("nobody ends it, and a panic ends all") {
                Ok(read) => {
                    let purpose = backlog.sweep.purpose;
                    self.record_read(purpose, read, polled_at, trouble).await?;
                }
                // It is planned again in the next cycle.
                Err(error) => {
                    self.note(trouble, &error);
                    return Ok(());
                }
            }
            if let Some(next) = backlog.later.pop_front() {
                let later = std::mem::take(&mut backlog.later);
                self.backlog = Some(self.begin_backlog(reports, polled_at, next, later));
            }
        }
    }

    fn begin_backlog(
        &self,
        reports: Reports,
        polled_at: Timestamp,
        sweep: Sweep,
        later: VecDeque<Sweep>,
    ) -> Backlog {
        let reading = tokio::spawn(self.reader(reports, polled_at).read(sweep));
        Backlog {
            sweep,
            later,
            reading: AbortOnDropHandle::new(reading),
        }
    }

    fn next_in_backlog(&self, reports: Reports, polled_at: Timestamp) -> Option<Sweep> {
        let whole = self.coverages.get(&Part::Whole)?;
        let rechecks: BTreeSet<Day> = self
            .coverages
            .iter()
            .filter(|(part, _)| self.is_asked(part))
            .flat_map(|(_, coverage)| coverage.recheck.iter().copied())
            .collect();
        let bounds = self.bounds(reports, polled_at);
        let reading = &self.settings.reading;
        sweep::backlog(whole, &rechecks, reading, bounds, polled_at)
    }

    /// Whether all of the history that is read at first was read.
    pub(in crate::cycle) fn is_history_read(&self, reports: Reports, polled_at: Timestamp) -> bool {
        let bounds = self.bounds(reports, polled_at);
        let whole = self.coverages.get(&Part::Whole);
        whole.is_some_and(|whole| {
            sweep::unread_days(whole, &self.settings.reading, bounds, polled_at).is_none()
        })
    }

    fn bounds(&self, reports: Reports, now: Timestamp) -> Bounds {
        let earliest = match reports {
            Reports::Newer => Day::from_date(NEWER_FROM).max(Day::of(now).plus(-NEWER_DAYS)),
            Reports::Older => Day::from_count(0),
        };
        Bounds {
            earliest,
            billed_until: match reports {
                // After another dialect: from the first day on that has no bill.
                Reports::Newer => self.engine.billed_until.or_else(|| {
                    let whole = self.coverages.get(&Part::Whole)?;
                    whole.days.map(|days| days.end.start())
                }),
                Reports::Older => None,
            },
        }
    }

    fn reader(&self, reports: Reports, now: Timestamp) -> Reader {
        let running = self.clock.running();
        let is_refused = |at: Duration| running.saturating_sub(at) < REFUSED_FOR;
        Reader {
            api: self.api.clone(),
            reports,
            prices: Arc::clone(&self.settings.prices),
            default: self.directory.default.clone(),
            billed_until: self.engine.billed_until,
            known_until: self
                .coverages
                .get(&Part::Whole)
                .and_then(|whole| whole.as_of),
            estimates: !self.estimate_refused.is_some_and(is_refused),
            now,
        }
    }

    /// Up to when the part is known that is known least far; `None` where nothing was read yet.
    fn known_least(&self) -> Option<Timestamp> {
        let asked = self
            .coverages
            .iter()
            .filter(|(part, _)| self.is_asked(part));
        let whole = self.coverages.get(&Part::Whole)?;
        asked.fold(whole.as_of, |least, (_, coverage)| {
            coverage
                .as_of
                .map_or(least, |as_of| least.map(|least| least.min(as_of)))
        })
    }

    /// Records what a sweep was told, of every part that is known or told of. The whole comes last: as long as it is not
    /// recorded, the sweep is planned again.
    async fn record_read(
        &mut self,
        purpose: Purpose,
        read: Read,
        polled_at: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        if read.hours.is_empty() {
            return Ok(());
        }
        let granularity = match purpose {
            Purpose::Running | Purpose::Recheck | Purpose::FirstHours => Granularity::Hour,
            Purpose::FirstDays | Purpose::EarlierCorrections | Purpose::Corrections => {
                Granularity::Day
            }
        };
        if read.fast == FastMode::Implausible && !self.has_warned_of_fast {
            self.has_warned_of_fast = true;
            tracing::warn!(
                organization.name = %self.settings.organization,
                "usage reported as fast exceeds what fast mode can be, the server seems to ignore the filter; pricing it as \
                 usual and marking the estimate as uncertain, logging this once"
            );
        }
        for of in &read.unreadable {
            self.note_unreadable(of.part.as_ref(), &of.unreadable, trouble);
        }
        let mut told = read.parts;
        for part in read.unreadable.iter().filter_map(|of| of.part.clone()) {
            told.entry(part).or_default();
        }
        self.know_unlisted(&told).await?;
        let known = self.directory.workspaces.keys().cloned();
        for part in known.map(Part::Workspace).chain([Part::Unattributed]) {
            told.entry(part).or_default();
        }
        let unknown = |part: &Part| {
            let unreadable = read.unreadable.iter();
            unreadable
                .filter(|of| of.part.as_ref().is_none_or(|of| of == part))
                .flat_map(|of| of.buckets(granularity))
                .filter(|hour| read.hours.contains(*hour))
                .collect()
        };
        let answer = |part: Part, buckets: Buckets| Answer {
            unknown: unknown(&part),
            part,
            granularity,
            hours: read.hours,
            basis: read.basis,
            known_until: read.known_until,
            buckets,
        };
        let (mut batch, mut n_cells) = (Vec::new(), 0);
        for (part, mut buckets) in told {
            buckets.retain(|hour, _| read.hours.contains(*hour));
            n_cells += buckets.values().map(BTreeMap::len).sum::<usize>();
            batch.push((purpose, answer(part, buckets)));
            if n_cells >= BATCH_CELLS {
                let full = std::mem::take(&mut batch);
                self.record_swept(full, polled_at, trouble).await?;
                n_cells = 0;
            }
        }
        batch.push((purpose, answer(Part::Whole, Buckets::new())));
        self.record_swept(batch, polled_at, trouble).await
    }

    /// Workspaces that are told of without being listed belong to nobody who is listed; the list is read again.
    async fn know_unlisted(&mut self, told: &BTreeMap<Part, Buckets>) -> Result<(), StoreError> {
        let unlisted: Vec<WorkspaceId> = told
            .keys()
            .filter_map(|part| match part {
                Part::Workspace(id) if !self.directory.workspaces.contains_key(id) => {
                    Some(id.clone())
                }
                Part::Workspace(_) | Part::Unattributed | Part::Whole => None,
            })
            .collect();
        if unlisted.is_empty() {
            return Ok(());
        }
        self.list_is_doubted = true;
        let directory = self.directory.with_unlisted(unlisted);
        self.store
            .save_directory(&self.settings.organization, &directory)
            .await?;
        self.directory = directory;
        Ok(())
    }

    async fn record_swept(
        &mut self,
        answers: Vec<(Purpose, Answer)>,
        polled_at: Timestamp,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let wanted = answers
            .iter()
            .map(|(_, answer)| {
                let coverage = self.coverage_of(&answer.part, polled_at);
                (answer.part.clone(), compared(&coverage, answer.hours))
            })
            .collect();
        let answers = answers
            .into_iter()
            .map(|(purpose, answer)| (purpose, answer, None));
        self.record_answers(answers.collect(), wanted, polled_at, trouble)
            .await
    }

    /// A model without a price is told once.
    fn warn_of_models(&mut self) {
        let unpriced = self.unpriced_models();
        for (model, tokens) in unpriced {
            if self.warned_models.insert(model.clone()) {
                tracing::warn!(
                    organization.name = %self.settings.organization,
                    model.name = %model,
                    "no price is known for model `{model}` ({} this month): until it is billed, what it costs \
                     is missing in all sums; add it to the file of `[prices]`",
                    counted(tokens, "token")
                );
            }
        }
    }

    /// Tokens of this month by model, of models that are billed by tokens and have no price.
    pub fn unpriced_models(&self) -> BTreeMap<ModelName, i64> {
        let mut unpriced = BTreeMap::new();
        let key = crate::domain::frame::FrameKey {
            period: Period::Month,
            zone: crate::domain::period::Zone::utc(),
        };
        let Some((month, _)) = self.figures.frame(&key) else {
            return unpriced;
        };
        let today = self
            .engine
            .last_at
            .map_or(NEWER_FROM, |at| Day::of(at).date());
        for place in 0..self.figures.parts().len() {
            for (cell, amounts) in month.sums_of(place) {
                let model = &self.figures.cell_at(*cell).model;
                let tokens = amounts.tokens.sum();
                if tokens > 0
                    && amounts.by_contract < tokens
                    && amounts.priced.pico() == 0
                    && self.settings.prices.on(model, today).is_none()
                {
                    *unpriced.entry(model.clone()).or_default() += tokens;
                }
            }
        }
        unpriced
    }
}

/// What of a part has to be at hand to record some hours: of days whose own row is known, the whole day.
fn compared(coverage: &Coverage, hours: HourSpan) -> HourSpan {
    let (first, last) = (hours.start.day(), hours.end.plus(-1).day());
    let mut wanted = hours;
    if coverage.has_day(first) {
        wanted.start = first.first_hour();
    }
    if coverage.has_day(last) {
        wanted.end = last.plus(1).first_hour();
    }
    wanted
}
