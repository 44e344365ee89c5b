//! Figures: the sums for gauges and rules, held in memory and updated by deltas.
//!
//! Each tracked period has sums by part and usage key, for the open period and the previous one. When a period ends,
//! the sums to load from the ledger are returned as a list, so that there is no IO here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::figures::period_sums::{
    OpenOrClosed, PeriodKey, PeriodSums, Sums, SumsToLoad, TrackedPeriod, add,
};
use crate::ledger::change::Delta;
use crate::ledger::coverage::{Coverage, is_day_settled, is_settled};
use crate::units::money::Usd;
use crate::units::period::{self, Period, PeriodSpan};
use crate::units::span::{Hour, HourSpan, Span};
use crate::usage::bucket::{Amounts, Buckets, Granularity, Part, UsageKey, add_to};

/// The state of one part besides its sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    pub part: Part,
    /// Time up to which its figures are known.
    pub as_of: Option<Timestamp>,
    /// Whether its newest poll was complete.
    pub is_fresh: bool,
    /// The first hour with data.
    pub known_from: Option<Hour>,
    /// Whether all of the history was loaded.
    pub is_history_read: bool,
    /// When it was first listed or reported.
    pub first_seen: Timestamp,
    /// Settled hours whose spend decreased in this cycle.
    pub decreased: BTreeSet<Hour>,
    /// Its newest settled hour and the amounts of that hour.
    pub last_hour: Option<(Hour, Amounts)>,
    /// Hours and days that could not be read completely: a sum over any of them is a lower bound.
    pub unreadable: Vec<HourSpan>,
    /// Start of the first open hour that could not be read.
    pub unreadable_since: Option<Timestamp>,
}

impl PartState {
    /// Returns the time up to which all of its figures are known.
    pub fn known_until(&self) -> Option<Timestamp> {
        let as_of = self.as_of?;
        Some(
            self.unreadable_since
                .map_or(as_of, |since| since.min(as_of)),
        )
    }

    /// Returns whether something in a span could not be read.
    pub fn is_unreadable_in(&self, hours: HourSpan) -> bool {
        let mut spans = self.unreadable.iter();
        spans.any(|span| !span.intersect(hours).is_empty())
    }
}

/// Buckets of each part that could not be read completely.
pub type UnreadableBuckets = BTreeMap<Part, BTreeSet<(Granularity, Hour)>>;

/// A sum loaded from the ledger.
pub type LoadedSum = (Part, UsageKey, Amounts);

/// All figures of one organization.
#[derive(Debug, Clone)]
pub struct Figures {
    usage_keys: Vec<UsageKey>,
    usage_key_index: HashMap<UsageKey, u32>,
    parts: Vec<PartState>,
    part_index: HashMap<Part, usize>,
    periods: Vec<TrackedPeriod>,
    recorded: Sums,
    /// The remainder's unsettled hours, which rules leave out.
    unattributed_open: Buckets,
    settle: SignedDuration,
    /// Spend in the newest settled hour that is known for all parts.
    organization_last_hour: Option<Usd>,
}

impl Figures {
    /// Creates empty figures for periods that contain `now`.
    pub fn new(keys: &[PeriodKey], settle: SignedDuration, now: Timestamp) -> Figures {
        let mut figures = Figures {
            usage_keys: Vec::new(),
            usage_key_index: HashMap::new(),
            parts: Vec::new(),
            part_index: HashMap::new(),
            periods: Vec::new(),
            recorded: Vec::new(),
            unattributed_open: Buckets::new(),
            settle,
            organization_last_hour: None,
        };
        for key in keys {
            figures.track_period(key, now);
        }
        figures
    }

    /// Returns the sums to load after opening a store.
    pub fn all_loads(&self) -> Vec<SumsToLoad> {
        let load = |period_index, which, hours| SumsToLoad {
            period_index,
            which,
            is_subtracted: false,
            hours,
        };
        self.periods
            .iter()
            .enumerate()
            .flat_map(|(index, tracked)| {
                let closed = tracked
                    .closed
                    .as_ref()
                    .map(|closed| load(index, OpenOrClosed::Closed, closed.hours));
                [
                    Some(load(index, OpenOrClosed::Open, tracked.open.hours)),
                    closed,
                ]
            })
            .flatten()
            .collect()
    }

    /// Advances all calendar periods to `now`, never back, and returns the sums to load.
    pub fn advance(&mut self, now: Timestamp) -> Vec<SumsToLoad> {
        self.advance_matching(now, |period, before, next| {
            period.is_calendar() && next.start > before.start
        })
    }

    /// Advances all rolling spans to `known_at`, the time up to which everything is known, and returns the sums to
    /// load. If data is hours late, a span up to now would lack exactly these hours.
    pub fn roll(&mut self, known_at: Timestamp) -> Vec<SumsToLoad> {
        self.advance_matching(known_at, |period, before, next| {
            !period.is_calendar() && next.start != before.start
        })
    }

    /// The time that determines a period. An hour is complete when it is settled.
    fn reference_time(&self, period: Period, at: Timestamp) -> Timestamp {
        match period {
            Period::Complete(_) => at.checked_sub(self.settle).unwrap_or(at),
            Period::Hour
            | Period::Day
            | Period::Week
            | Period::Month
            | Period::Quarter
            | Period::Rolling(_) => at,
        }
    }

    fn advance_matching(
        &mut self,
        at: Timestamp,
        should_advance: impl Fn(Period, Span, Span) -> bool,
    ) -> Vec<SumsToLoad> {
        let mut loads = Vec::new();
        let span_of = |key: &PeriodKey| {
            let at = self.reference_time(key.period, at);
            period::containing(key.period, &key.zone.rules, at)
        };
        let spans: Vec<PeriodSpan> = self
            .periods
            .iter()
            .map(|tracked| span_of(&tracked.key))
            .collect();
        for (index, (tracked, span)) in self.periods.iter_mut().zip(spans).enumerate() {
            if !should_advance(tracked.key.period, tracked.open.period.span, span.span) {
                continue;
            }
            loads.extend(tracked.advance(index, span));
        }
        loads
    }

    /// Adds sums that were loaded from the ledger, or subtracts them if `load` says so.
    pub fn load(&mut self, load: &SumsToLoad, sums: &[LoadedSum]) {
        for (part, usage_key, amounts) in sums {
            let (part, usage_key) = (self.part(part), self.usage_key(usage_key));
            let tracked = &mut self.periods[load.period_index];
            let period_sums = match load.which {
                OpenOrClosed::Open => Some(&mut tracked.open),
                OpenOrClosed::Closed => tracked.closed.as_mut(),
            };
            let amounts = if load.is_subtracted {
                -*amounts
            } else {
                *amounts
            };
            if let Some(period_sums) = period_sums {
                add(&mut period_sums.sums, part, usage_key, amounts);
            }
        }
    }

    /// Adds the loaded sums of all recorded usage.
    pub fn load_recorded(&mut self, sums: &[LoadedSum]) {
        for (part, usage_key, amounts) in sums {
            let (part, usage_key) = (self.part(part), self.usage_key(usage_key));
            add(&mut self.recorded, part, usage_key, *amounts);
        }
    }

    /// Sets the remainder's unsettled hours.
    pub fn load_unattributed(&mut self, hours: Buckets) {
        self.unattributed_open = hours;
    }

    /// Copies each part's newest settled hour.
    pub fn keep_last_hours(&mut self, before: &Figures) {
        for state in &before.parts {
            let index = self.part(&state.part);
            self.parts[index].last_hour = state.last_hour;
        }
        self.organization_last_hour = before.organization_last_hour;
    }

    /// Resets the state of the previous cycle.
    pub fn start_cycle(&mut self) {
        for state in &mut self.parts {
            state.decreased.clear();
            state.is_fresh = false;
        }
    }

    /// Sets one part's coverage, whether its newest poll was complete, and whether all of its history was loaded.
    pub fn set_coverage(
        &mut self,
        part: &Part,
        coverage: &Coverage,
        is_fresh: bool,
        is_history_read: bool,
    ) {
        let index = self.part(part);
        let state = &mut self.parts[index];
        state.as_of = coverage.as_of;
        state.first_seen = coverage.first_seen;
        state.known_from = coverage
            .known_from()
            .map(crate::units::span::Day::first_hour);
        state.is_history_read = coverage.days.is_some() && is_history_read;
        state.is_fresh = is_fresh;
    }

    /// Sets the unreadable buckets of all parts. An hour of a settled day does not count as open.
    pub fn set_unreadable(&mut self, buckets: &UnreadableBuckets, now: Timestamp) {
        for state in &mut self.parts {
            state.unreadable.clear();
            state.unreadable_since = None;
        }
        for (part, buckets) in buckets {
            let index = self.part(part);
            let state = &mut self.parts[index];
            for (granularity, hour) in buckets {
                let n_hours = match granularity {
                    Granularity::Hour => 1,
                    Granularity::Day => 24,
                };
                state.unreadable.push(HourSpan {
                    start: *hour,
                    end: hour.plus(n_hours),
                });
                let is_running =
                    *granularity == Granularity::Hour && !is_day_settled(hour.day(), now);
                if is_running {
                    let earlier = state
                        .unreadable_since
                        .map_or(hour.start(), |since| since.min(hour.start()));
                    state.unreadable_since = Some(earlier);
                }
            }
        }
    }

    /// Applies the changes of a response.
    pub fn apply(&mut self, part: &Part, deltas: &[Delta], fell: &BTreeSet<Hour>) {
        let index = self.part(part);
        self.parts[index].decreased.extend(fell.iter().copied());
        for delta in deltas {
            let usage_key = self.usage_key(&delta.usage_key);
            add(&mut self.recorded, index, usage_key, delta.amounts);
            for tracked in &mut self.periods {
                for period_sums in std::iter::once(&mut tracked.open).chain(tracked.closed.as_mut())
                {
                    if period_sums.hours.contains(delta.hour) {
                        add(&mut period_sums.sums, index, usage_key, delta.amounts);
                    }
                }
            }
            if *part == Part::Unattributed {
                add_to(
                    self.unattributed_open.entry(delta.hour).or_default(),
                    &delta.usage_key,
                    delta.amounts,
                );
            }
        }
    }

    /// Returns the newest settled hour at a time.
    pub fn newest_settled_hour(&self, at: Timestamp) -> Hour {
        Hour::containing(at.checked_sub(self.settle).unwrap_or(at)).plus(-1)
    }

    /// Sets the sums of one settled hour, for the parts that are known up to it; the others keep theirs.
    pub fn set_last_hour(&mut self, hour: Hour, sums: &[LoadedSum]) {
        let mut by_part: HashMap<&Part, Amounts> = HashMap::new();
        for (part, _, amounts) in sums {
            *by_part.entry(part).or_default() += *amounts;
        }
        let settle = self.settle;
        for state in &mut self.parts {
            if state
                .as_of
                .is_some_and(|as_of| is_settled(hour, settle, as_of))
            {
                let amounts = by_part.get(&state.part).copied().unwrap_or_default();
                state.last_hour = Some((hour, amounts));
            }
        }
        // The remainder is known as far as all other parts.
        let known = self.part_state(&Part::Unattributed);
        if known.is_some_and(|rest| rest.last_hour.is_some_and(|(known, _)| known == hour)) {
            self.organization_last_hour = Some(by_part.values().map(|sum| sum.spend).sum());
        }
    }

    /// Returns the organization's spend in the newest settled hour that is known for all parts.
    pub fn organization_last_hour(&self) -> Option<Usd> {
        self.organization_last_hour
    }

    /// Drops the remainder's hours that are settled.
    pub fn settle_unattributed(&mut self, at: Timestamp) {
        let settle = self.settle;
        self.unattributed_open
            .retain(|hour, _| !is_settled(*hour, settle, at));
    }

    /// Returns the parts in index order. The whole is included for its data age; it has no sums.
    pub fn parts(&self) -> &[PartState] {
        &self.parts
    }

    /// Returns the state of one part.
    pub fn part_state(&self, part: &Part) -> Option<&PartState> {
        self.part_index.get(part).map(|index| &self.parts[*index])
    }

    /// Returns the usage keys in index order.
    pub fn usage_keys(&self) -> &[UsageKey] {
        &self.usage_keys
    }

    /// Returns the usage key at an index.
    pub fn usage_key_at(&self, index: u32) -> &UsageKey {
        &self.usage_keys[index as usize]
    }

    /// Returns the sums of the open and the previous period; `None` if the period is not tracked.
    pub fn period_sums(&self, key: &PeriodKey) -> Option<(&PeriodSums, Option<&PeriodSums>)> {
        let tracked = self.periods.iter().find(|tracked| tracked.key == *key)?;
        Some((&tracked.open, tracked.closed.as_ref()))
    }

    /// Returns a part's sums of all recorded usage, by key index.
    pub fn recorded(&self, part: usize) -> &[(u32, Amounts)] {
        self.recorded.get(part).map_or(&[], Vec::as_slice)
    }

    /// Returns the unsettled part of the remainder in a span, which rules leave out.
    pub fn unsettled_of_unattributed(
        &self,
        hours: HourSpan,
        at: Timestamp,
    ) -> BTreeMap<&UsageKey, Amounts> {
        let mut unsettled: BTreeMap<&UsageKey, Amounts> = BTreeMap::new();
        let open = self.unattributed_open.iter();
        for (_, usage) in
            open.filter(|(hour, _)| hours.contains(**hour) && !is_settled(**hour, self.settle, at))
        {
            for (usage_key, amounts) in usage {
                *unsettled.entry(usage_key).or_default() += *amounts;
            }
        }
        unsettled
    }

    /// Returns the time after its end until an hour is settled.
    pub fn settle(&self) -> SignedDuration {
        self.settle
    }

    fn track_period(&mut self, key: &PeriodKey, now: Timestamp) {
        if self.periods.iter().any(|tracked| tracked.key == *key) {
            return;
        }
        let at = self.reference_time(key.period, now);
        let span = period::containing(key.period, &key.zone.rules, at);
        let closed = key
            .period
            .is_calendar()
            .then(|| PeriodSums::new(period::previous(key.period, &key.zone.rules, &span)));
        self.periods.push(TrackedPeriod {
            key: key.clone(),
            open: PeriodSums::new(span),
            closed,
        });
    }

    fn part(&mut self, part: &Part) -> usize {
        if let Some(index) = self.part_index.get(part) {
            return *index;
        }
        self.parts.push(PartState {
            part: part.clone(),
            as_of: None,
            is_fresh: false,
            known_from: None,
            is_history_read: false,
            first_seen: Timestamp::MIN,
            decreased: BTreeSet::new(),
            last_hour: None,
            unreadable: Vec::new(),
            unreadable_since: None,
        });
        self.part_index.insert(part.clone(), self.parts.len() - 1);
        self.parts.len() - 1
    }

    fn usage_key(&mut self, usage_key: &UsageKey) -> u32 {
        if let Some(index) = self.usage_key_index.get(usage_key) {
            return *index;
        }
        let index = u32::try_from(self.usage_keys.len()).expect("fewer than 2^32 usage keys");
        self.usage_keys.push(usage_key.clone());
        self.usage_key_index.insert(usage_key.clone(), index);
        index
    }
}
