//! Coverage: up to when and how far back one part's usage is known, and from it what to fetch next.
//!
//! A part's buckets are hours from `hours_from` on and days before it. A settled day's figure is its day row; where that
//! differs from its hours, the difference is booked on the day's last hour.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::skew;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{Granularity, Part};

/// A day is settled when its end was so long before the poll began.
pub const DAY_SETTLE: SignedDuration = SignedDuration::from_hours(6);

/// Half-open, in whole days of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpan {
    /// The first day.
    pub start: Day,
    /// The first day after it.
    pub end: Day,
}

/// What the ledger knows of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// When the part was first heard of.
    pub first_seen: Timestamp,
    /// The start of the last poll of its running hours that was complete.
    pub as_of: Option<Timestamp>,
    /// From this day on its hours are known, without a gap up to `as_of`.
    pub hours_from: Option<Day>,
    /// The days whose settled day rows are known, without a gap.
    pub days: Option<DaySpan>,
    /// When the settled days of the correction window were last read.
    pub corrected_at: Option<Timestamp>,
    /// Days whose hours are to be read again, because their day row says something else.
    pub recheck: BTreeSet<Day>,
}

impl Coverage {
    /// Of a part that was just heard of.
    pub fn new(first_seen: Timestamp) -> Coverage {
        Coverage {
            first_seen,
            as_of: None,
            hours_from: None,
            days: None,
            corrected_at: None,
            recheck: BTreeSet::new(),
        }
    }

    /// Returns the coverage without what a clock that ran ahead added to it, or `None` if there is nothing of the kind. How
    /// long that clock was wrong is unknown, so everything that may be read late is read again.
    pub fn without_future(&self, reading: &Reading, now: Timestamp) -> Option<Coverage> {
        let today = Day::of(now);
        let is_ahead = |at: Option<Timestamp>| at.is_some_and(|at| skew::is_ahead(at, now));
        let begins_ahead = is_ahead(self.hours_from.map(Day::start));
        let days_ahead = self.days.is_some_and(|days| days.end > today);
        let is_wrong = is_ahead(self.as_of) || begins_ahead || days_ahead;
        if !is_wrong && !is_ahead(self.corrected_at) && !is_ahead(Some(self.first_seen)) {
            return None;
        }
        let mut next = Coverage {
            first_seen: self.first_seen.min(now),
            corrected_at: None,
            ..self.clone()
        };
        if !is_wrong {
            return Some(next);
        }
        next.recheck.retain(|day| *day <= today);
        if begins_ahead {
            (next.hours_from, next.as_of) = (None, None);
        } else {
            let known = today.plus(-reading.hourly_history_days.max(1)).start();
            next.as_of = self.as_of.map(|as_of| as_of.min(known));
        }
        let known = today.plus(-reading.correction_days.max(1));
        let days = self.days.filter(|days| days.start <= today);
        next.days = days.map(|days| DaySpan {
            end: days.end.min(known).max(days.start),
            ..days
        });
        Some(next)
    }

    /// Whether a day's figure comes from its hours, not from its day row.
    pub fn is_hourly(&self, day: Day) -> bool {
        self.hours_from.is_some_and(|from| from <= day)
    }

    /// Whether a day's settled row is known.
    pub fn has_day(&self, day: Day) -> bool {
        self.days
            .is_some_and(|days| days.start <= day && day < days.end)
    }

    /// Whether an hour was settled when it was last read.
    pub fn has_settled(&self, hour: Hour, settle: SignedDuration) -> bool {
        self.as_of
            .is_some_and(|as_of| is_settled(hour, settle, as_of))
    }

    /// From which day on hours are still to be read at first; `None` where all are known. They are read back once, when the
    /// part is new: what retention dropped is not asked for again. At least they begin where the settled days end, or nobody
    /// would tell of the days between.
    pub fn unread_hours(&self, reading: &Reading, now: Timestamp) -> Option<Day> {
        let hours_from = self.hours_from?;
        let is_recent = hours_from > Day::of(now).plus(-reading.hourly_history_days);
        let wanted = Day::of(self.first_seen).plus(-reading.hourly_history_days);
        let yesterday = Day::of(now).plus(-1);
        let days_end = match self.days {
            Some(days) => days.end,
            None if is_day_settled(yesterday, now) => yesterday.plus(1),
            None => yesterday,
        };
        let first = if is_recent {
            wanted.min(days_end)
        } else {
            days_end
        };
        (first < hours_from).then_some(first)
    }

    /// How far back anything is known: the first day.
    pub fn known_from(&self) -> Option<Day> {
        match (self.hours_from, self.days) {
            (Some(hours), Some(days)) if days.end >= hours => Some(hours.min(days.start)),
            (Some(hours), _) => Some(hours),
            (None, Some(days)) => Some(days.start),
            (None, None) => None,
        }
    }
}

/// The parts that are not known up to the newest poll, and up to when they are.
pub type Behind = BTreeMap<Part, Option<Timestamp>>;

/// Who a poll was complete for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    pub at: Timestamp,
    /// Known up to it, and not up to the one before.
    pub caught_up: Vec<Part>,
    /// Not known up to it, where that is new.
    pub fell_behind: Behind,
}

/// What a poll changes in who is behind; `None` where nothing. One that was complete for nobody leaves the time of the newest
/// poll as it is, but the remainder may be known less far than before, when a workspace is new.
pub fn polled(
    coverages: &BTreeMap<Part, Coverage>,
    before: &Behind,
    polled_at: Timestamp,
) -> Option<Polled> {
    let is_for_anybody = coverages
        .values()
        .any(|coverage| coverage.as_of == Some(polled_at));
    let at = if is_for_anybody {
        polled_at
    } else {
        // Who is not behind is known up to the newest poll.
        let known = coverages
            .iter()
            .filter(|(part, _)| !before.contains_key(*part));
        known.filter_map(|(_, coverage)| coverage.as_of).max()?
    };
    let (current, behind): (Vec<_>, Vec<_>) = coverages
        .iter()
        .partition(|(_, coverage)| coverage.as_of == Some(at));
    let caught_up = current
        .iter()
        .map(|(part, _)| *part)
        .filter(|part| before.contains_key(*part));
    let fell_behind = behind
        .iter()
        .filter(|(part, coverage)| before.get(*part) != Some(&coverage.as_of))
        .map(|(part, coverage)| ((*part).clone(), coverage.as_of));
    let polled = Polled {
        at,
        caught_up: caught_up.cloned().collect(),
        fell_behind: fell_behind.collect(),
    };
    let is_nothing = polled.caught_up.is_empty() && polled.fell_behind.is_empty();
    (is_for_anybody || !is_nothing).then_some(polled)
}

/// Whether an hour's end was at least `settle` before a moment.
pub fn is_settled(hour: Hour, settle: SignedDuration, at: Timestamp) -> bool {
    at.duration_since(hour.end()) >= settle
}

/// Whether a day's end was at least [`DAY_SETTLE`] before a moment.
pub fn is_day_settled(day: Day, at: Timestamp) -> bool {
    at.duration_since(day.end()) >= DAY_SETTLE
}

/// How much is read, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How long after its end an hour is settled.
    pub settle: SignedDuration,
    /// How many days back days are read at first.
    pub history_days: i32,
    /// How many days back hours are read at first.
    pub hourly_history_days: i32,
    /// How many days back settled days are read again.
    pub correction_days: i32,
    pub correction_interval: SignedDuration,
}

/// Why something is fetched, in the order in which a cycle does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The hours that still grow.
    Running,
    FirstDays,
    /// Hours of a day whose row differs.
    Recheck,
    /// Hours never read before.
    FirstHours,
    /// Settled days, which may have been corrected, where later ones are read after them.
    EarlierCorrections,
    /// Settled days, which may have been corrected, up to the newest.
    Corrections,
}

/// One request for usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub part: Part,
    pub purpose: Purpose,
    /// Hours or days.
    pub granularity: Granularity,
    /// The first day.
    pub first: Day,
    /// The last day, inclusive.
    pub last: Day,
}

impl Fetch {
    /// The hours that the answer covers.
    pub fn hours(&self) -> HourSpan {
        HourSpan {
            start: self.first.first_hour(),
            end: self.last.plus(1).first_hour(),
        }
    }
}

/// The request for the hours that still grow: from the UTC day of the oldest hour that is not settled to today.
pub fn running(part: &Part, coverage: &Coverage, reading: &Reading, now: Timestamp) -> Fetch {
    let today = Day::of(now);
    // An hour is open at `as_of` when it ended less than `settle` before it.
    let first = match coverage.as_of {
        Some(as_of) => Day::of(as_of.checked_sub(reading.settle).unwrap_or(as_of)).min(today),
        None => Day::of(now.checked_sub(reading.settle).unwrap_or(now)),
    };
    Fetch {
        part: part.clone(),
        purpose: Purpose::Running,
        granularity: Granularity::Hour,
        first,
        last: today,
    }
}

/// What else is due for a part whose running hours are known: first readings, corrections, hours to be read again.
pub fn backlog(part: &Part, coverage: &Coverage, reading: &Reading, now: Timestamp) -> Vec<Fetch> {
    let Some(hours_from) = coverage.hours_from else {
        return Vec::new();
    };
    let yesterday = Day::of(now).plus(-1);
    let fetch = |purpose, granularity, first, last| Fetch {
        part: part.clone(),
        purpose,
        granularity,
        first,
        last,
    };
    let mut due = Vec::new();
    match coverage.days {
        None => {
            let first = Day::of(now).plus(-reading.history_days);
            due.push(fetch(
                Purpose::FirstDays,
                Granularity::Day,
                first.min(yesterday),
                yesterday,
            ));
        }
        Some(days) if is_due(coverage.corrected_at, reading.correction_interval, now) => {
            let first = Day::of(now)
                .plus(-reading.correction_days)
                .min(days.end)
                .min(yesterday);
            due.push(fetch(
                Purpose::Corrections,
                Granularity::Day,
                first,
                yesterday,
            ));
        }
        Some(_) => {}
    }
    due.extend(
        coverage
            .recheck
            .iter()
            .map(|day| fetch(Purpose::Recheck, Granularity::Hour, *day, *day)),
    );
    due.extend(coverage.unread_hours(reading, now).map(|first| {
        fetch(
            Purpose::FirstHours,
            Granularity::Hour,
            first,
            hours_from.plus(-1),
        )
    }));
    due
}

fn is_due(last: Option<Timestamp>, interval: SignedDuration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn part(id: &str) -> Part {
        Part::Workspace(id.into())
    }

    fn known(parts: &[(&str, Option<i64>)]) -> BTreeMap<Part, Coverage> {
        let coverage = |minute: Option<i64>| Coverage {
            as_of: minute.map(at),
            ..Coverage::new(at(0))
        };
        let parts = parts.iter();
        parts
            .map(|(id, minute)| (part(id), coverage(*minute)))
            .collect()
    }

    #[track_caller]
    fn check_unread(
        hourly_history_days: i32,
        hour: i64,
        days_end: Option<i32>,
        expected: Option<i32>,
    ) {
        // Since day 20 something is known; first heard of then.
        let coverage = Coverage {
            hours_from: Some(Day::from_count(20)),
            days: days_end.map(|end| DaySpan {
                start: Day::from_count(5),
                end: Day::from_count(end),
            }),
            ..Coverage::new(at(20 * 24 * 60))
        };
        let reading = Reading {
            settle: SignedDuration::from_mins(10),
            history_days: 100,
            hourly_history_days,
            correction_days: 30,
            correction_interval: SignedDuration::from_hours(1),
        };
        let unread = coverage.unread_hours(&reading, at((20 * 24 + hour) * 60));
        assert_eq!(unread, expected.map(Day::from_count));
    }

    #[test]
    fn hours_are_read_back_as_far_as_is_asked_and_at_least_to_where_the_days_end() {
        check_unread(3, 7, Some(20), Some(17));
        check_unread(3, 7, None, Some(17));
        check_unread(0, 7, Some(20), None);
        check_unread(0, 7, None, None);
        // Yesterday is not settled before 06:00.
        check_unread(0, 5, Some(19), Some(19));
        check_unread(0, 5, None, Some(19));
        // Long ago: what retention dropped is not asked for again.
        check_unread(3, 24 * 9, Some(29), None);
    }

    #[test]
    fn what_a_clock_that_ran_ahead_added_is_read_again() {
        let reading = Reading {
            settle: SignedDuration::from_mins(10),
            history_days: 100,
            hourly_history_days: 14,
            correction_days: 30,
            correction_interval: SignedDuration::from_hours(1),
        };
        let day = Day::from_count;
        let days = |start, end| {
            Some(DaySpan {
                start: day(start),
                end: day(end),
            })
        };
        let now = at(1000 * 24 * 60 + 600);
        let later = |days: i64| at((1000 + days) * 24 * 60 + 600);
        let right = Coverage {
            as_of: Some(now),
            hours_from: Some(day(950)),
            days: days(900, 1000),
            corrected_at: Some(now),
            ..Coverage::new(at(950 * 24 * 60))
        };
        assert_eq!(right.without_future(&reading, now), None);
        // A clock that is set back by an hour leaves everything as it is.
        assert_eq!(
            right.without_future(&reading, at(1000 * 24 * 60 + 540)),
            None
        );
        for ahead in [1, 40] {
            let wrong = Coverage {
                as_of: Some(later(ahead)),
                days: days(900, i32::try_from(1000 + ahead).unwrap()),
                corrected_at: Some(later(ahead)),
                recheck: BTreeSet::from([day(990), day(1001)]),
                ..right.clone()
            };
            let expected = Coverage {
                as_of: Some(day(986).start()),
                days: days(900, 970),
                corrected_at: None,
                recheck: BTreeSet::from([day(990)]),
                ..right.clone()
            };
            assert_eq!(wrong.without_future(&reading, now), Some(expected));
        }
        let begun_ahead = Coverage {
            as_of: Some(later(40)),
            hours_from: Some(day(1040)),
            days: days(940, 1040),
            corrected_at: Some(later(40)),
            ..Coverage::new(later(40))
        };
        let expected = Coverage {
            days: days(940, 970),
            ..Coverage::new(now)
        };
        assert_eq!(begun_ahead.without_future(&reading, now), Some(expected));
    }

    /// Poll after poll, at minutes 5, 10 and so on: what is noted is what is known, and no more is written than changed.
    #[test]
    fn only_who_falls_behind_or_catches_up_is_noted() {
        // What each poll leaves as known, who catches up, and who falls behind.
        type Poll<'a> = (
            &'a [(&'a str, Option<i64>)],
            &'a [&'a str],
            &'a [(&'a str, Option<i64>)],
        );
        let polls: [Poll; 5] = [
            (&[("a", Some(5)), ("b", None)], &["a"], &[]),
            (&[("a", Some(10)), ("b", Some(10))], &["b"], &[]),
            (&[("a", Some(15)), ("b", Some(10))], &[], &[("b", Some(10))]),
            (&[("a", Some(20)), ("b", Some(10))], &[], &[]),
            (
                &[("a", Some(20)), ("b", Some(25))],
                &["b"],
                &[("a", Some(20))],
            ),
        ];
        let mut behind: Behind = [(part("a"), None), (part("b"), None)].into();
        for (minute, (parts, caught_up, fell_behind)) in (1..).map(|n| n * 5).zip(polls) {
            let noted = polled(&known(parts), &behind, at(minute)).unwrap();
            let ids: Vec<Part> = caught_up.iter().map(|id| part(id)).collect();
            let expected: Behind = fell_behind
                .iter()
                .map(|(id, minute)| (part(id), minute.map(at)))
                .collect();
            assert_eq!(
                (noted.at, &noted.caught_up, &noted.fell_behind),
                (at(minute), &ids, &expected)
            );
            behind.retain(|part, _| !noted.caught_up.contains(part));
            behind.extend(noted.fell_behind);
        }
        // A poll that was complete for nobody leaves everything as it was noted.
        let left = [("a", Some(20)), ("b", Some(25))];
        assert_eq!(polled(&known(&left), &behind, at(30)), None);
        // Unless somebody is known less far than before.
        let less = [("a", Some(20)), ("b", Some(25)), ("c", Some(10))];
        let noted = polled(&known(&less), &behind, at(30)).unwrap();
        let fell_behind: Behind = [(part("c"), Some(at(10)))].into();
        assert_eq!((noted.at, noted.fell_behind), (at(25), fell_behind));
        assert!(noted.caught_up.is_empty());
    }
}
