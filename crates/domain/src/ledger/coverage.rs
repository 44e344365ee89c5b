//! Coverage: from when and up to when the usage of a part is known, and what to fetch next.
//!
//! Buckets are hours from `hours_from` on and days before it. The figure of a settled day is its day row; if that
//! differs from its hours, the difference is booked on the day's last hour.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::units::skew;
use crate::units::span::{Day, Hour, HourSpan};
use crate::usage::bucket::{Granularity, Part};

/// A day is settled if it ended at least this long before the poll began.
pub const DAY_SETTLE: SignedDuration = SignedDuration::from_hours(6);

/// A half-open span of whole UTC days: `start` is included, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpan {
    pub start: Day,
    pub end: Day,
}

/// What the ledger contains of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// When the part was first listed or reported.
    pub first_seen: Timestamp,
    /// Start of the last complete poll of its open hours.
    pub as_of: Option<Timestamp>,
    /// First day with hourly data, which continues without a gap up to `as_of`.
    pub hours_from: Option<Day>,
    /// The days with settled day rows, without a gap.
    pub days: Option<DaySpan>,
    /// When the correction window was last read.
    pub corrected_at: Option<Timestamp>,
    /// Days whose hours must be read again because their day row differs.
    pub recheck: BTreeSet<Day>,
}

impl Coverage {
    /// Creates the coverage of a new part.
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

    /// Returns the coverage without what a fast clock added, or `None` if nothing was. How long the clock was wrong is
    /// unknown, so everything that may have been read too early is read again.
    pub fn without_future(&self, settings: &PollSettings, now: Timestamp) -> Option<Coverage> {
        let today = Day::containing(now);
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
            let known = today.plus(-settings.hourly_history_days.max(1)).start();
            next.as_of = self.as_of.map(|as_of| as_of.min(known));
        }
        let known = today.plus(-settings.correction_days.max(1));
        let days = self.days.filter(|days| days.start <= today);
        next.days = days.map(|days| DaySpan {
            end: days.end.min(known).max(days.start),
            ..days
        });
        Some(next)
    }

    /// Returns whether a day's figure is the sum of its hours instead of its day row.
    pub fn is_hourly(&self, day: Day) -> bool {
        self.hours_from.is_some_and(|from| from <= day)
    }

    /// Returns whether a day's settled day row is known.
    pub fn has_day(&self, day: Day) -> bool {
        self.days
            .is_some_and(|days| days.start <= day && day < days.end)
    }

    /// Returns whether an hour was settled when it was last read.
    pub fn has_settled(&self, hour: Hour, settle: SignedDuration) -> bool {
        self.as_of
            .is_some_and(|as_of| is_settled(hour, settle, as_of))
    }

    /// Returns the first day whose hours still have to be read for the first time, or `None` if there are none. Hours
    /// are read back once, when the part is new, so that data dropped by retention is not requested again; but always
    /// at least to the end of the settled days, so that no day is missing.
    pub fn unread_hours(&self, settings: &PollSettings, now: Timestamp) -> Option<Day> {
        let hours_from = self.hours_from?;
        let is_recent = hours_from > Day::containing(now).plus(-settings.hourly_history_days);
        let wanted = Day::containing(self.first_seen).plus(-settings.hourly_history_days);
        let yesterday = Day::containing(now).plus(-1);
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

    /// Returns the first day with data.
    pub fn known_from(&self) -> Option<Day> {
        match (self.hours_from, self.days) {
            (Some(hours), Some(days)) if days.end >= hours => Some(hours.min(days.start)),
            (Some(hours), _) => Some(hours),
            (None, Some(days)) => Some(days.start),
            (None, None) => None,
        }
    }
}

/// Parts not known up to the newest poll, with the time up to which they are known.
pub type StaleParts = BTreeMap<Part, Option<Timestamp>>;

/// How a poll changes the set of stale parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleChange {
    pub at: Timestamp,
    /// Stale before this poll, and now known up to it.
    pub recovered: Vec<Part>,
    /// Newly stale, or stale since another time than before.
    pub newly_stale: StaleParts,
}

/// Returns how a poll changes the set of stale parts, or `None` if it does not. A poll that was incomplete for all
/// parts keeps the time of the newest poll, but the remainder may be known less far than before if a workspace is new.
pub fn stale_change(
    coverages: &BTreeMap<Part, Coverage>,
    before: &StaleParts,
    polled_at: Timestamp,
) -> Option<StaleChange> {
    let is_complete_for_any = coverages
        .values()
        .any(|coverage| coverage.as_of == Some(polled_at));
    let at = if is_complete_for_any {
        polled_at
    } else {
        // Parts that are not stale are known up to the newest poll.
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
    let change = StaleChange {
        at,
        recovered: caught_up.cloned().collect(),
        newly_stale: fell_behind.collect(),
    };
    let is_unchanged = change.recovered.is_empty() && change.newly_stale.is_empty();
    (is_complete_for_any || !is_unchanged).then_some(change)
}

/// Returns whether an hour ended at least `settle` before `at`.
pub fn is_settled(hour: Hour, settle: SignedDuration, at: Timestamp) -> bool {
    at.duration_since(hour.end()) >= settle
}

/// Returns whether a day ended at least [`DAY_SETTLE`] before `at`.
pub fn is_day_settled(day: Day, at: Timestamp) -> bool {
    at.duration_since(day.end()) >= DAY_SETTLE
}

/// What to poll, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSettings {
    /// Time after its end until an hour is settled.
    pub settle: SignedDuration,
    /// Days of history read by the day on the first start.
    pub history_days: i32,
    /// Days of history read by the hour on the first start.
    pub hourly_history_days: i32,
    /// Days before today that are read again for corrections.
    pub correction_days: i32,
    pub correction_interval: SignedDuration,
}

/// Why something is fetched, in the order of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Hours that are still open.
    OpenHours,
    FirstDays,
    /// Hours of a day whose day row differs from their sum.
    Recheck,
    /// Hours that were never read.
    FirstHours,
    /// Settled days that may have been corrected, except for the newest batch.
    EarlierCorrections,
    /// Settled days that may have been corrected, up to the newest.
    Corrections,
}

/// One request for usage of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFetch {
    pub part: Part,
    pub purpose: Purpose,
    pub granularity: Granularity,
    pub first: Day,
    /// Inclusive.
    pub last: Day,
}

impl PartFetch {
    /// Returns the hours that the response covers.
    pub fn hours(&self) -> HourSpan {
        HourSpan {
            start: self.first.first_hour(),
            end: self.last.plus(1).first_hour(),
        }
    }
}

/// Returns the request for open hours: from the UTC day of the oldest unsettled hour to today.
pub fn open_hours(
    part: &Part,
    coverage: &Coverage,
    settings: &PollSettings,
    now: Timestamp,
) -> PartFetch {
    let today = Day::containing(now);
    // An hour is open at `as_of` if it ended less than `settle` before.
    let first = match coverage.as_of {
        Some(as_of) => {
            Day::containing(as_of.checked_sub(settings.settle).unwrap_or(as_of)).min(today)
        }
        None => Day::containing(now.checked_sub(settings.settle).unwrap_or(now)),
    };
    PartFetch {
        part: part.clone(),
        purpose: Purpose::OpenHours,
        granularity: Granularity::Hour,
        first,
        last: today,
    }
}

/// Returns what else is due for a part whose open hours are known: history, corrections and rechecks.
pub fn backlog(
    part: &Part,
    coverage: &Coverage,
    settings: &PollSettings,
    now: Timestamp,
) -> Vec<PartFetch> {
    let Some(hours_from) = coverage.hours_from else {
        return Vec::new();
    };
    let yesterday = Day::containing(now).plus(-1);
    let fetch = |purpose, granularity, first, last| PartFetch {
        part: part.clone(),
        purpose,
        granularity,
        first,
        last,
    };
    let mut due = Vec::new();
    match coverage.days {
        None => {
            let first = Day::containing(now).plus(-settings.history_days);
            due.push(fetch(
                Purpose::FirstDays,
                Granularity::Day,
                first.min(yesterday),
                yesterday,
            ));
        }
        Some(days) if is_due(coverage.corrected_at, settings.correction_interval, now) => {
            let first = Day::containing(now)
                .plus(-settings.correction_days)
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
    due.extend(coverage.unread_hours(settings, now).map(|first| {
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
        // The part has data since day 20, when it was new.
        let coverage = Coverage {
            hours_from: Some(Day::from_count(20)),
            days: days_end.map(|end| DaySpan {
                start: Day::from_count(5),
                end: Day::from_count(end),
            }),
            ..Coverage::new(at(20 * 24 * 60))
        };
        let settings = PollSettings {
            settle: SignedDuration::from_mins(10),
            history_days: 100,
            hourly_history_days,
            correction_days: 30,
            correction_interval: SignedDuration::from_hours(1),
        };
        let unread = coverage.unread_hours(&settings, at((20 * 24 + hour) * 60));
        assert_eq!(unread, expected.map(Day::from_count));
    }

    #[test]
    fn hours_are_read_back_as_configured_and_at_least_to_the_end_of_the_days() {
        check_unread(3, 7, Some(20), Some(17));
        check_unread(3, 7, None, Some(17));
        check_unread(0, 7, Some(20), None);
        check_unread(0, 7, None, None);
        // Yesterday is not settled before 06:00.
        check_unread(0, 5, Some(19), Some(19));
        check_unread(0, 5, None, Some(19));
        // Long ago: data dropped by retention is not requested again.
        check_unread(3, 24 * 9, Some(29), None);
    }

    #[test]
    fn data_added_by_a_fast_clock_is_read_again() {
        let settings = PollSettings {
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
        let correct = Coverage {
            as_of: Some(now),
            hours_from: Some(day(950)),
            days: days(900, 1000),
            corrected_at: Some(now),
            ..Coverage::new(at(950 * 24 * 60))
        };
        assert_eq!(correct.without_future(&settings, now), None);
        // Setting the clock back by an hour changes nothing.
        assert_eq!(
            correct.without_future(&settings, at(1000 * 24 * 60 + 540)),
            None
        );
        for ahead in [1, 40] {
            let wrong = Coverage {
                as_of: Some(later(ahead)),
                days: days(900, i32::try_from(1000 + ahead).unwrap()),
                corrected_at: Some(later(ahead)),
                recheck: BTreeSet::from([day(990), day(1001)]),
                ..correct.clone()
            };
            let expected = Coverage {
                as_of: Some(day(986).start()),
                days: days(900, 970),
                corrected_at: None,
                recheck: BTreeSet::from([day(990)]),
                ..correct.clone()
            };
            assert_eq!(wrong.without_future(&settings, now), Some(expected));
        }
        let started_in_future = Coverage {
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
        assert_eq!(
            started_in_future.without_future(&settings, now),
            Some(expected)
        );
    }

    /// Polls at minutes 5, 10 and so on: the recorded state matches the coverage, and only changes are written.
    #[test]
    fn only_parts_that_become_stale_or_recover_are_recorded() {
        // The coverage after each poll, the parts that recover, and the newly stale ones.
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
        let mut behind: StaleParts = [(part("a"), None), (part("b"), None)].into();
        for (minute, (parts, caught_up, fell_behind)) in (1..).map(|n| n * 5).zip(polls) {
            let change = stale_change(&known(parts), &behind, at(minute)).unwrap();
            let ids: Vec<Part> = caught_up.iter().map(|id| part(id)).collect();
            let expected: StaleParts = fell_behind
                .iter()
                .map(|(id, minute)| (part(id), minute.map(at)))
                .collect();
            assert_eq!(
                (change.at, &change.recovered, &change.newly_stale),
                (at(minute), &ids, &expected)
            );
            behind.retain(|part, _| !change.recovered.contains(part));
            behind.extend(change.newly_stale);
        }
        // A poll that was incomplete for all parts changes nothing,
        let left = [("a", Some(20)), ("b", Some(25))];
        assert_eq!(stale_change(&known(&left), &behind, at(30)), None);
        // unless a part is known less far than before.
        let less = [("a", Some(20)), ("b", Some(25)), ("c", Some(10))];
        let change = stale_change(&known(&less), &behind, at(30)).unwrap();
        let fell_behind: StaleParts = [(part("c"), Some(at(10)))].into();
        assert_eq!((change.at, change.newly_stale), (at(25), fell_behind));
        assert!(change.recovered.is_empty());
    }
}
