//! The sums of one period in one time zone, open and previous, by part and usage key.

use std::sync::Arc;

use crate::units::period::{self, Period, PeriodSpan, Zone};
use crate::units::span::HourSpan;
use crate::usage::bucket::Amounts;

/// A period in a time zone whose sums are tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodKey {
    pub period: Period,
    pub zone: Zone,
}

impl PeriodKey {
    /// Returns the key of a UTC period.
    pub fn utc(period: Period) -> PeriodKey {
        let zone = Zone::utc();
        PeriodKey { period, zone }
    }
}

/// The sums of one period.
#[derive(Debug, Clone)]
pub struct PeriodSums {
    pub period: PeriodSpan,
    /// The period's label, shared by the slots of all its alerts.
    pub label: Option<Arc<str>>,
    pub hours: HourSpan,
    pub(crate) sums: Sums,
}

/// Amounts by part index and key index, in the order of the keys.
pub(crate) type Sums = Vec<Vec<(u32, Amounts)>>;

/// The open and the previous period.
#[derive(Debug, Clone)]
pub(crate) struct TrackedPeriod {
    pub key: PeriodKey,
    pub open: PeriodSums,
    pub closed: Option<PeriodSums>,
}

/// Selects the open or the previous period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOrClosed {
    /// The period that contains the current time.
    Open,
    Closed,
}

/// Sums to load from the ledger after time moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumsToLoad {
    pub(crate) period_index: usize,
    pub(crate) which: OpenOrClosed,
    pub(crate) is_subtracted: bool,
    pub hours: HourSpan,
}

impl PeriodSums {
    pub(crate) fn new(period: PeriodSpan) -> PeriodSums {
        let label = period.label.as_deref().map(Arc::from);
        PeriodSums {
            hours: period.span.hours(),
            label,
            period,
            sums: Sums::new(),
        }
    }

    /// Returns a part's amounts by key index.
    pub fn sums_of(&self, part: usize) -> &[(u32, Amounts)] {
        self.sums.get(part).map_or(&[], Vec::as_slice)
    }

    /// Returns a part's amounts summed over all keys.
    pub fn sum_of(&self, part: usize) -> Amounts {
        self.sums_of(part)
            .iter()
            .fold(Amounts::ZERO, |sum, (_, amounts)| sum + *amounts)
    }
}

impl TrackedPeriod {
    pub(crate) fn advance(&mut self, index: usize, period: PeriodSpan) -> Vec<SumsToLoad> {
        let load = |which, is_subtracted, hours| SumsToLoad {
            period_index: index,
            which,
            is_subtracted,
            hours,
        };
        let next = PeriodSums::new(period);
        if self.key.period.is_calendar() {
            let before = period::previous(self.key.period, &self.key.zone.rules, &next.period);
            let old = std::mem::replace(&mut self.open, next);
            let mut loads = vec![load(OpenOrClosed::Open, false, self.open.hours)];
            if before == old.period {
                self.closed = Some(old);
            } else {
                let closed = PeriodSums::new(before);
                loads.push(load(OpenOrClosed::Closed, false, closed.hours));
                self.closed = Some(closed);
            }
            return loads;
        }
        let old = self.open.hours;
        self.open.period = next.period;
        self.open.hours = next.hours;
        let removed = old
            .minus(next.hours)
            .into_iter()
            .map(|hours| load(OpenOrClosed::Open, true, hours));
        let added = next
            .hours
            .minus(old)
            .into_iter()
            .map(|hours| load(OpenOrClosed::Open, false, hours));
        removed.chain(added).collect()
    }
}

/// Adds amounts to one key.
pub(crate) fn add(sums: &mut Sums, part: usize, usage_key: u32, amounts: Amounts) {
    if sums.len() <= part {
        sums.resize_with(part + 1, Vec::new);
    }
    let by_key = &mut sums[part];
    match by_key.binary_search_by_key(&usage_key, |(known, _)| *known) {
        Ok(place) => by_key[place].1 += amounts,
        Err(place) => by_key.insert(place, (usage_key, amounts)),
    }
}
