//! What a part's newest answer said, as a mark of each hour: what is told again needs no comparison with the ledger.
//!
//! An answer about the running hours repeats all hours of the day, and seldom more than the last one or two are new. A
//! fingerprint that missed a change (one in 10¹⁹) would leave an hour as it was told before, until the day's own row
//! shows it.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::SignedDuration;

use crate::domain::coverage::Coverage;
use crate::domain::span::Hour;
use crate::domain::usage::{Answer, Cells};

/// One answer by hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    start: Hour,
    marks: Vec<u64>,
}

impl Seen {
    /// Of an answer by hours.
    pub fn of(answer: &Answer) -> Seen {
        let hours = answer.hours.start.count()..answer.hours.end.count();
        let mark = |count| {
            let hour = Hour::from_count(count);
            mark(answer.buckets.get(&hour), answer.unknown.contains(&hour))
        };
        Seen {
            start: answer.hours.start,
            marks: hours.map(mark).collect(),
        }
    }

    /// The first hour that has to be compared with the ledger, where `before` was recorded whole and nothing since: the
    /// first one that is told differently, or that was not settled then. `coverage` is that of before this answer.
    pub fn differs_from(&self, before: &Seen, coverage: &Coverage, settle: SignedDuration) -> Hour {
        let is_told_again = |hour: &Hour| {
            coverage.has_settled(*hour, settle)
                // A day whose own row is known is compared whole: what it has beyond its hours is booked in it.
                && !coverage.has_day(hour.day())
                && self.mark_of(*hour) == before.mark_of(*hour)
        };
        let hours = (0..).map(|offset| self.start.plus(offset));
        let mut differing = hours.zip(&self.marks).map(|(hour, _)| hour);
        differing
            .find(|hour| !is_told_again(hour))
            .unwrap_or(self.start)
    }

    fn mark_of(&self, hour: Hour) -> Option<u64> {
        let place = usize::try_from(hour.count() - self.start.count()).ok()?;
        self.marks.get(place).copied()
    }
}

/// What was told of one hour; an hour that was not told is unlike one that was told with nothing in it, and one that could not
/// be read is unlike both.
fn mark(cells: Option<&Cells>, is_unknown: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (cells, is_unknown).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::change::{Kind, Stored};
    use crate::domain::coverage::{DaySpan, Purpose};
    use crate::domain::money::Usd;
    use crate::domain::record::record;
    use crate::domain::span::{Day, HourSpan};
    use crate::domain::usage::{Amounts, Basis, Buckets, Granularity, Part};

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);
    const DAY: Day = Day::from_count(20_000);

    fn at(minute: i64) -> Timestamp {
        DAY.first_hour().start() + SignedDuration::from_mins(minute)
    }

    /// One day, with so many dollars in its hours; nothing is told of an hour where there is none.
    fn answer(dollars: &[Option<i64>]) -> Answer {
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
                let cells = [("model".into(), amounts)].into();
                buckets.insert(DAY.first_hour().plus(hour), cells);
            }
        }
        Answer {
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
        let (before, after) = (Seen::of(&answer(before)), Seen::of(&answer(after)));
        let first = after.differs_from(&before, coverage, SETTLE);
        assert_eq!(first.count() - DAY.first_hour().count(), expected);
    }

    #[test]
    fn what_is_told_again_is_passed_over_up_to_what_was_not_settled() {
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

    fn rows_after(stored: &mut Stored, recorded: &crate::domain::change::Recorded) {
        for row in &recorded.rows {
            assert_eq!(row.kind, Kind::Hour);
            let cells = stored.hours.entry(row.hour).or_default();
            cells.insert(row.cell.clone(), row.amounts);
            cells.retain(|_, amounts| !amounts.is_zero());
        }
        stored.hours.retain(|_, cells| !cells.is_empty());
        for (key, doubt) in &recorded.doubts {
            match doubt {
                Some(doubt) => stored.doubts.insert(*key, *doubt),
                None => stored.doubts.remove(key),
            };
        }
    }

    fn cut(stored: &Stored, from: Hour) -> Stored {
        let mut cut = stored.clone();
        cut.hours = cut.hours.split_off(&from);
        cut.doubts.retain(|(_, hour), _| *hour >= from);
        cut
    }

    proptest! {
        /// Answer after answer of one day, recorded whole and recorded from the first difference on: the same changes.
        #[test]
        fn passing_over_what_is_told_again_changes_nothing(
            steps in prop::collection::vec((1i64..40, prop::collection::vec((0usize..24, prop::option::of(0i64..3)), 0..3)), 1..40),
        ) {
            let (mut stored, mut known) = (Stored::default(), coverage(0));
            known.as_of = None;
            let (mut told, mut minute, mut seen) = (vec![None; 24], 0, None::<Seen>);
            for (later, changes) in steps {
                minute += later;
                for (hour, dollars) in changes {
                    told[hour] = dollars;
                }
                let answer = answer(&told);
                let now = Seen::of(&answer);
                let whole = record(&answer, Purpose::Running, &known, &stored, SETTLE, at(minute));
                let first = seen.as_ref().map_or(answer.hours.start, |before| now.differs_from(before, &known, SETTLE));
                let part = record(
                    &answer.from_hour(first), Purpose::Running, &known, &cut(&stored, first), SETTLE, at(minute),
                );
                prop_assert_eq!(&part, &whole);
                rows_after(&mut stored, &whole);
                seen = whole.is_complete.then_some(now);
                known = whole.coverage;
            }
        }
    }
}
