//! Sweeps: if a report covers all workspaces at once, a cycle reads the running hours first, then whatever else is due.
//! Reading the past may take longer than a cycle and continues across the next ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::cycle::reading::{Backlog, NoEstimate, Read, Reader, Reports};
use crate::cycle::state::Watcher;
use spendwatch_domain::figures::period_sums::PeriodKey;
use spendwatch_domain::ledger::coverage::{Coverage, Purpose};
use spendwatch_domain::ledger::report_fetch::{self, Bounds, ReportFetch};
use spendwatch_domain::units::ids::{ModelName, WorkspaceId};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::plural::counted;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::{Buckets, Part, UsageResponse};
use spendwatch_domain::usage::tally::FastMode;
use spendwatch_store::error::StoreError;

/// Maximum usage rows per batch.
const BATCH_CELLS: usize = 2048;
/// First day that the newer reports cover.
const NEWER_FROM: jiff::civil::Date = jiff::civil::date(2026, 1, 1);
/// Number of days that the newer reports reach back.
const NEWER_DAYS: i32 = 364;
/// How long to wait before requesting an estimate again after the server refused it.
const ESTIMATE_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl Watcher {
    /// Reads due sweeps, until the deadline at most.
    pub(in crate::cycle) async fn sweep(&mut self, reports: Reports) -> Result<(), StoreError> {
        if self.directory.listed_at.is_none() {
            // Without the list, workspaces cannot be told apart from the default one.
            return Ok(());
        }
        let bounds = self.bounds(reports);
        let oldest = self.oldest_as_of();
        let mut known_at = None;
        let asked = self.unreadable.keys();
        let unreadable = asked.filter_map(|part| self.oldest_unreadable(part)).min();
        let reading = self.settings.poll;
        for sweep in report_fetch::open_hours(oldest, unreadable, &reading, bounds, self.polled_at)
        {
            let reader = self.reader(reports);
            let Some(read) = self.before_deadline(reader.read(sweep)).await else {
                self.errors
                    .note(self.timeout_message("the running hours were read"));
                return Ok(());
            };
            known_at = match read {
                Ok(read) => self.record_running(sweep, read).await?,
                Err(error) => {
                    self.note(&error);
                    None
                }
            };
            if known_at.is_none() {
                return Ok(());
            }
        }
        // Set only now, because nothing is fresh if a later hour could not be read.
        self.known_at = known_at.unwrap_or(self.polled_at);
        self.sweep_backlog(reports).await?;
        self.warn_about_unpriced();
        Ok(())
    }

    /// Records running hours. Returns up to when they are known; `None` if that is less than requested.
    async fn record_running(
        &mut self,
        sweep: ReportFetch,
        mut read: Read,
    ) -> Result<Option<Timestamp>, StoreError> {
        let is_whole = match read.no_estimate.take() {
            None | Some(NoEstimate::Refused(None)) => true,
            Some(NoEstimate::Failed(error)) => {
                self.note(&error);
                false
            }
            Some(NoEstimate::Refused(Some(error))) => {
                self.estimate_refused = Some(self.clock.monotonic());
                tracing::warn!(
                    organization.name = %self.settings.organization,
                    "cannot estimate unbilled usage, figures are as old as the bill: {error}"
                );
                true
            }
        };
        let end = sweep.hours.end.start();
        let until = read.known_until.unwrap_or(self.polled_at).min(end);
        read.known_until = Some(until);
        let billed_until = read.billed_until.map(|until| until.min(end));
        self.record_sweep(sweep, read).await?;
        self.engine.billed_until = billed_until.or(self.engine.billed_until);
        Ok(is_whole.then_some(until))
    }

    /// Continues reading the past, first the sweep under way.
    async fn sweep_backlog(&mut self, reports: Reports) -> Result<(), StoreError> {
        let mut done: Option<ReportFetch> = None;
        loop {
            let mut backlog = match self.backlog.take() {
                Some(begun) => begun,
                None => {
                    let next = self.next_in_backlog(reports);
                    let Some(sweep) = next.filter(|next| done != Some(*next)) else {
                        return Ok(());
                    };
                    let mut pieces = VecDeque::from(sweep.batches());
                    let Some(first) = pieces.pop_front() else {
                        return Ok(());
                    };
                    done = Some(sweep);
                    self.start_backlog(reports, first, pieces)
                }
            };
            let Some(read) = self.before_deadline(&mut backlog.reading).await else {
                self.backlog = Some(backlog);
                return Ok(());
            };
            match read.expect("the task is not cancelled, and a panic aborts the process") {
                Ok(read) => {
                    self.record_sweep(backlog.sweep, read).await?;
                }
                // The sweep is planned again in the next cycle.
                Err(error) => {
                    self.note(&error);
                    return Ok(());
                }
            }
            if let Some(next) = backlog.later.pop_front() {
                let later = std::mem::take(&mut backlog.later);
                self.backlog = Some(self.start_backlog(reports, next, later));
            }
        }
    }

    fn start_backlog(
        &self,
        reports: Reports,
        sweep: ReportFetch,
        later: VecDeque<ReportFetch>,
    ) -> Backlog {
        let reading = tokio::spawn(self.reader(reports).read(sweep));
        Backlog {
            sweep,
            later,
            reading: AbortOnDropHandle::new(reading),
        }
    }

    fn next_in_backlog(&self, reports: Reports) -> Option<ReportFetch> {
        let whole = self.coverages.get(&Part::Whole)?;
        let rechecks: BTreeSet<Day> = self
            .polled_coverages()
            .flat_map(|coverage| coverage.recheck.iter().copied())
            .collect();
        let bounds = self.bounds(reports);
        let reading = &self.settings.poll;
        report_fetch::backlog(whole, &rechecks, reading, bounds, self.polled_at)
    }

    /// Returns whether the whole configured history was read.
    pub(in crate::cycle) fn is_history_read(&self, reports: Reports) -> bool {
        let bounds = self.bounds(reports);
        let whole = self.coverages.get(&Part::Whole);
        whole.is_some_and(|whole| {
            report_fetch::unread_days(whole, &self.settings.poll, bounds, self.polled_at).is_none()
        })
    }

    fn bounds(&self, reports: Reports) -> Bounds {
        match reports {
            Reports::Newer => Bounds {
                earliest: Day::from_date(NEWER_FROM)
                    .max(Day::containing(self.polled_at).plus(-NEWER_DAYS)),
                // After a change of dialect, billing starts at the first day without a bill.
                billed_until: self.engine.billed_until.or_else(|| {
                    let whole = self.coverages.get(&Part::Whole)?;
                    whole.days.map(|days| days.end.start())
                }),
            },
            Reports::Older => Bounds {
                earliest: Day::from_count(0),
                billed_until: None,
            },
        }
    }

    fn reader(&self, reports: Reports) -> Reader {
        let running = self.clock.monotonic();
        let is_refused = |at: Duration| running.saturating_sub(at) < ESTIMATE_RETRY_AFTER;
        Reader {
            api: self.api.clone(),
            reports,
            prices: Arc::clone(&self.settings.prices),
            default: self.directory.default_workspace.clone(),
            billed_until: self.engine.billed_until,
            known_until: self
                .coverages
                .get(&Part::Whole)
                .and_then(|whole| whole.as_of),
            estimates: !self.estimate_refused.is_some_and(is_refused),
            now: self.polled_at,
        }
    }

    /// Returns the oldest "data as of" of all polled parts; `None` if nothing was read yet.
    fn oldest_as_of(&self) -> Option<Timestamp> {
        let whole = self.coverages.get(&Part::Whole)?;
        let read = self
            .polled_coverages()
            .filter_map(|coverage| coverage.as_of);
        read.fold(whole.as_of, |least, as_of| least.min(Some(as_of)))
    }

    /// Records a sweep for every known or reported part. The whole comes last: until it is recorded, the sweep is planned
    /// again.
    async fn record_sweep(&mut self, sweep: ReportFetch, read: Read) -> Result<(), StoreError> {
        if read.hours.is_empty() {
            return Ok(());
        }
        if read.fast == FastMode::Implausible && !self.has_warned_about_fast {
            self.has_warned_about_fast = true;
            tracing::warn!(
                organization.name = %self.settings.organization,
                "usage reported as fast exceeds what is possible, the server seems to ignore the filter; using standard prices and \
                 marking the estimate as uncertain, logging this once"
            );
        }
        for of in &read.unreadable {
            self.note_unreadable(of.part.as_ref(), &of.unreadable);
        }
        let mut parts = read.parts;
        for part in read.unreadable.iter().filter_map(|of| of.part.clone()) {
            parts.entry(part).or_default();
        }
        self.add_unlisted(&parts).await?;
        let known = self.directory.workspaces.keys().cloned();
        for part in known.map(Part::Workspace).chain([Part::Unattributed]) {
            parts.entry(part).or_default();
        }
        let unknown = |part: &Part| {
            let unreadable = read.unreadable.iter();
            unreadable
                .filter(|of| of.part.as_ref().is_none_or(|of| of == part))
                .flat_map(|of| of.buckets(sweep.granularity))
                .filter(|hour| read.hours.contains(*hour))
                .collect()
        };
        let answer = |part: Part, buckets: Buckets| UsageResponse {
            unknown: unknown(&part),
            part,
            granularity: sweep.granularity,
            hours: read.hours,
            basis: read.basis,
            known_until: read.known_until,
            buckets,
        };
        let (mut batch, mut n_cells) = (Vec::new(), 0);
        for (part, mut buckets) in parts {
            buckets.retain(|hour, _| read.hours.contains(*hour));
            n_cells += buckets.values().map(BTreeMap::len).sum::<usize>();
            batch.push((sweep.purpose, answer(part, buckets)));
            if n_cells >= BATCH_CELLS {
                let full = std::mem::take(&mut batch);
                self.record_sweep_batch(full).await?;
                n_cells = 0;
            }
        }
        batch.push((sweep.purpose, answer(Part::Whole, Buckets::new())));
        self.record_sweep_batch(batch).await
    }

    /// Adds reported workspaces that are not listed, and causes the list to be read again.
    async fn add_unlisted(&mut self, parts: &BTreeMap<Part, Buckets>) -> Result<(), StoreError> {
        let unlisted: Vec<WorkspaceId> = parts
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
        self.is_list_suspect = true;
        let directory = self.directory.with_unlisted(unlisted);
        self.save_directory(directory).await
    }

    async fn record_sweep_batch(
        &mut self,
        answers: Vec<(Purpose, UsageResponse)>,
    ) -> Result<(), StoreError> {
        let wanted = answers
            .iter()
            .map(|(_, answer)| {
                let coverage = self.coverage_of(&answer.part);
                (answer.part.clone(), compared(&coverage, answer.hours))
            })
            .collect();
        let answers = answers
            .into_iter()
            .map(|(purpose, answer)| (purpose, answer, None));
        self.record_responses(answers.collect(), wanted).await
    }

    /// Warns once about each model without a price.
    fn warn_about_unpriced(&mut self) {
        let unpriced = self.unpriced_models();
        for (model, tokens) in unpriced {
            if self.logged_models.insert(model.clone()) {
                tracing::warn!(
                    organization.name = %self.settings.organization,
                    model.name = %model,
                    "no price for model `{model}` ({} this month), its unbilled spend is missing in all sums; add it \
                     to the file in `[prices] file`",
                    counted(tokens, "token")
                );
            }
        }
    }

    /// Returns this month's tokens of models that are billed by tokens and have no price.
    pub fn unpriced_models(&self) -> BTreeMap<ModelName, i64> {
        let mut unpriced = BTreeMap::new();
        let Some((month, _)) = self.figures.period_sums(&PeriodKey::utc(Period::Month)) else {
            return unpriced;
        };
        let today = self
            .engine
            .last_at
            .map_or(NEWER_FROM, |at| Day::containing(at).date());
        for index in 0..self.figures.parts().len() {
            for (usage_key, amounts) in month.sums_of(index) {
                let model = &self.figures.usage_key_at(*usage_key).model;
                let tokens = amounts.tokens.sum();
                if tokens > 0
                    && amounts.by_contract < tokens
                    && amounts.priced.pico() == 0
                    && self.settings.prices.price_on(model, today).is_none()
                {
                    *unpriced.entry(model.clone()).or_default() += tokens;
                }
            }
        }
        unpriced
    }
}

/// Returns the stored hours needed to record `hours`: whole days if the day's own row is known.
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
