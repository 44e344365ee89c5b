//! Hashes of each hour of a part's newest response, so that unchanged hours need no comparison with the ledger.
//!
//! A response for the open hours repeats all hours of the day, of which usually only the last one or two changed. A
//! hash collision (one in 10¹⁹) would leave an hour as it was until its day row shows the difference.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::SignedDuration;

use crate::ledger::coverage::Coverage;
use crate::units::span::Hour;
use crate::usage::bucket::{UsageByKey, UsageResponse};

/// One hash per hour of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourHashes {
    start: Hour,
    hashes: Vec<u64>,
}

impl HourHashes {
    /// Hashes the hours of a response.
    pub fn new(response: &UsageResponse) -> HourHashes {
        let hours = response.hours.start.count()..response.hours.end.count();
        let hash_hour = |count| {
            let hour = Hour::from_count(count);
            hash_hour(
                response.buckets.get(&hour),
                response.unknown.contains(&hour),
            )
        };
        HourHashes {
            start: response.hours.start,
            hashes: hours.map(hash_hour).collect(),
        }
    }

    /// Returns the first hour that must be compared with the ledger: the first one whose hash differs from `before`, or
    /// that was not settled then. `before` must have been recorded completely and be the last one recorded, and
    /// `coverage` precedes this response.
    pub fn first_difference(
        &self,
        before: &HourHashes,
        coverage: &Coverage,
        settle: SignedDuration,
    ) -> Hour {
        let is_unchanged = |hour: &Hour| {
            coverage.has_settled(*hour, settle)
                // A day with a known day row is compared as a whole, because its difference to the hours is booked in
                // it.
                && !coverage.has_day(hour.day())
                && self.hash_of(*hour) == before.hash_of(*hour)
        };
        let hours = (0..).map(|offset| self.start.plus(offset));
        let mut differing = hours.zip(&self.hashes).map(|(hour, _)| hour);
        differing
            .find(|hour| !is_unchanged(hour))
            .unwrap_or(self.start)
    }

    fn hash_of(&self, hour: Hour) -> Option<u64> {
        let index = usize::try_from(hour.count() - self.start.count()).ok()?;
        self.hashes.get(index).copied()
    }
}

/// The hash of one hour. Missing, empty and unreadable hours have different hashes.
fn hash_hour(usage: Option<&UsageByKey>, is_unknown: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (usage, is_unknown).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::change::{RowKind, StoredUsage};
    use crate::ledger::coverage::{DaySpan, Purpose};
    use crate::ledger::record::record;
    use crate::units::money::Usd;
    use crate::units::span::{Day, HourSpan};
    use crate::usage::bucket::{Amounts, Basis, Buckets, Granularity, Part};

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);
    const DAY: Day = Day::from_count(20_000);

    fn at(minute: i64) -> Timestamp {
        DAY.first_hour().start() + SignedDuration::from_mins(minute)
    }

    /// Creates a response for one day with the given dollars per hour; `None` leaves the hour out.
    fn response(dollars: &[Option<i64>]) -> UsageResponse {
        let hours = HourSpan {
            start: DAY.first_hour(),
            end: DAY.plus(1).first_hour(),
        };
        let mut buckets = Buckets::new();
        for (hour, dollars) in (0..).zip(dollars) {
            if let Some(dollars) = dollars {
                let spend = Usd::from_dollars(*dollars);
                let amounts = Amounts {
                    spend,
                    ..Amounts::ZERO
                };
                let usage = [("model".into(), amounts)].into();
                buckets.insert(DAY.first_hour().plus(hour), usage);
            }
        }
        UsageResponse {
            part: Part::Whole,
            granularity: Granularity::Hour,
            hours,
            buckets,
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
        }
    }

    fn coverage(as_of: i64) -> Coverage {
        Coverage {
            as_of: Some(at(as_of)),
            hours_from: Some(DAY),
            ..Coverage::new(at(0))
        }
    }

    #[track_caller]
    fn check(before: &[Option<i64>], after: &[Option<i64>], coverage: &Coverage, expected: i32) {
        let (before, after) = (
            HourHashes::new(&response(before)),
            HourHashes::new(&response(after)),
        );
        let first = after.first_difference(&before, coverage, SETTLE);
        assert_eq!(first.count() - DAY.first_hour().count(), expected);
    }

    #[test]
    fn unchanged_hours_are_skipped_up_to_the_first_unsettled_one() {
        let three = [Some(1), None, Some(3)];
        // At 03:05 the hour from 02:00 is not settled.
        check(&three, &three, &coverage(185), 2);
        check(&three, &three, &coverage(195), 3);
        check(&three, &[Some(1), None, Some(4)], &coverage(195), 2);
        check(&three, &[Some(1), Some(0), Some(3)], &coverage(195), 1);
        check(&three, &[None, None, Some(3)], &coverage(195), 0);
        let with_its_day = Coverage {
            days: Some(DaySpan {
                start: DAY,
                end: DAY.plus(1),
            }),
            ..coverage(195)
        };
        check(&three, &three, &with_its_day, 0);
    }

    fn rows_after(stored: &mut StoredUsage, recorded: &crate::ledger::change::PartChanges) {
        for row in &recorded.rows {
            assert_eq!(row.kind, RowKind::Hour);
            let usage = stored.hours.entry(row.hour).or_default();
            usage.insert(row.usage_key.clone(), row.amounts);
            usage.retain(|_, amounts| !amounts.is_zero());
        }
        stored.hours.retain(|_, usage| !usage.is_empty());
        for (key, pending) in &recorded.pending_removals {
            match pending {
                Some(pending) => stored.pending_removals.insert(*key, *pending),
                None => stored.pending_removals.remove(key),
            };
        }
    }

    fn tail(stored: &StoredUsage, from: Hour) -> StoredUsage {
        let mut tail = stored.clone();
        tail.hours = tail.hours.split_off(&from);
        tail.pending_removals.retain(|(_, hour), _| *hour >= from);
        tail
    }

    proptest! {
        /// Recording each response as a whole and from the first difference on gives the same changes.
        #[test]
        fn skipping_unchanged_hours_changes_nothing(
            steps in prop::collection::vec((1i64..40, prop::collection::vec((0usize..24, prop::option::of(0i64..3)), 0..3)), 1..40),
        ) {
            let (mut stored, mut known) = (StoredUsage::default(), coverage(0));
            known.as_of = None;
            let (mut reported, mut minute, mut previous) = (vec![None; 24], 0, None::<HourHashes>);
            for (later, changes) in steps {
                minute += later;
                for (hour, dollars) in changes {
                    reported[hour] = dollars;
                }
                let response = response(&reported);
                let now = HourHashes::new(&response);
                let whole = record(&response, Purpose::OpenHours, &known, &stored, SETTLE, at(minute));
                let first = previous.as_ref().map_or(response.hours.start, |before| now.first_difference(before, &known, SETTLE));
                let part = record(
                    &response.from_hour(first), Purpose::OpenHours, &known, &tail(&stored, first), SETTLE, at(minute),
                );
                prop_assert_eq!(&part, &whole);
                rows_after(&mut stored, &whole);
                previous = whole.is_complete.then_some(now);
                known = whole.coverage;
            }
        }
    }
}
