//! Sweeps: what is read of a report at once. A report tells all workspaces together, so one coverage, that of the whole, says
//! what is known of each: who had no row used nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::coverage::{Coverage, Purpose, Reading};
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::Granularity;

/// So many days are read together at first: it bounds what is held in memory, and what a kill loses.
const DAYS_AT_ONCE: i32 = 10;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    pub purpose: Purpose,
    /// Hours or days.
    pub granularity: Granularity,
    /// What is asked, in whole buckets.
    pub hours: HourSpan,
}

impl Sweep {
    /// The same in pieces that are read one after the other. Corrections reach over weeks, and all of a piece is held in memory.
    pub fn pieces(self) -> Vec<Sweep> {
        if self.purpose != Purpose::Corrections {
            return vec![self];
        }
        let mut pieces = Vec::new();
        let mut start = self.hours.start;
        while start < self.hours.end {
            let end = start.plus(24 * DAYS_AT_ONCE).min(self.hours.end);
            let purpose = if end == self.hours.end {
                Purpose::Corrections
            } else {
                Purpose::EarlierCorrections
            };
            pieces.push(Sweep {
                purpose,
                hours: HourSpan { start, end },
                ..self
            });
            start = end;
        }
        pieces
    }
}

/// What decides about sweeps beside the coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Up to when all is billed by the hour, where the dialect says it.
    pub billed_until: Option<Timestamp>,
    /// The service tells nothing before this day.
    pub earliest: Day,
}

/// The hours that still grow, day by day, oldest first, and with them the ones from `unreadable` on. `oldest` is up to when the
/// part is known that is known least far.
pub fn running(
    oldest: Option<Timestamp>,
    unreadable: Option<Hour>,
    reading: &Reading,
    bounds: Bounds,
    now: Timestamp,
) -> Vec<Sweep> {
    let before = |at: Timestamp| at.checked_sub(reading.settle).unwrap_or(at);
    let start = match oldest {
        // The oldest hour that was not settled then.
        Some(oldest) => Hour::of(before(oldest)),
        None => Day::of(before(now)).first_hour(),
    };
    let unbilled = bounds.billed_until.map_or(start, Hour::of);
    let end = Hour::of(now).plus(1);
    let mut start = start
        .min(unbilled)
        .min(unreadable.unwrap_or(start))
        .max(bounds.earliest.first_hour())
        .min(end.plus(-1));
    let mut sweeps = Vec::new();
    while start < end {
        let next = start.day().plus(1).first_hour().min(end);
        sweeps.push(Sweep {
            purpose: Purpose::Running,
            granularity: Granularity::Hour,
            hours: HourSpan { start, end: next },
        });
        start = next;
    }
    sweeps
}

/// What else is to be read next, once the running hours are known: `whole` is the coverage of the whole, `rechecks` the days
/// whose hours disagree with them.
pub fn backlog(
    whole: &Coverage,
    rechecks: &BTreeSet<Day>,
    reading: &Reading,
    bounds: Bounds,
    now: Timestamp,
) -> Option<Sweep> {
    let hours_from = whole.hours_from?;
    let newest = newest_day(bounds, now);
    let sweep = |purpose, granularity, first: Day, last: Day| Sweep {
        purpose,
        granularity,
        hours: HourSpan {
            start: first.first_hour(),
            end: last.plus(1).first_hour(),
        },
    };
    if let Some(first) = unread_days(whole, reading, bounds, now) {
        let last = whole.days.map_or(newest, |days| days.start.plus(-1));
        let first = first.max(last.plus(1 - DAYS_AT_ONCE));
        return Some(sweep(Purpose::FirstDays, Granularity::Day, first, last));
    }
    if let Some(day) = rechecks.last() {
        return Some(sweep(Purpose::Recheck, Granularity::Hour, *day, *day));
    }
    let first_hourly = whole.unread_hours(reading, now);
    if first_hourly.is_some_and(|first| first.max(bounds.earliest) < hours_from) {
        let day = hours_from.plus(-1);
        return Some(sweep(Purpose::FirstHours, Granularity::Hour, day, day));
    }
    let is_due = whole
        .corrected_at
        .is_none_or(|at| now.duration_since(at) >= reading.correction_interval);
    if is_due {
        let first = Day::of(now)
            .plus(-reading.correction_days)
            .min(whole.days.map_or(newest, |days| days.end))
            .max(bounds.earliest)
            .min(newest);
        return Some(sweep(Purpose::Corrections, Granularity::Day, first, newest));
    }
    None
}

/// The newest day that may be read as a day: the last that is over, and billed where that is said.
fn newest_day(bounds: Bounds, now: Timestamp) -> Day {
    let end = bounds.billed_until.map_or(now, |until| until.min(now));
    Day::of(end).plus(-1)
}

/// The first day of the history that is still to be read; `None` once it is read, and where none is billed.
pub fn unread_days(
    whole: &Coverage,
    reading: &Reading,
    bounds: Bounds,
    now: Timestamp,
) -> Option<Day> {
    let newest = newest_day(bounds, now);
    let first = Day::of(whole.first_seen)
        .plus(-reading.history_days)
        .min(newest)
        .max(bounds.earliest);
    let is_unread = whole.days.is_none_or(|days| days.start > first);
    (is_unread && first <= newest).then_some(first)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::domain::coverage::DaySpan;

    const READING: Reading = Reading {
        settle: SignedDuration::from_mins(10),
        history_days: 25,
        hourly_history_days: 3,
        correction_days: 30,
        correction_interval: SignedDuration::from_hours(1),
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn day(text: &str) -> Day {
        Day::from_date(text.parse().unwrap())
    }

    fn bounds(billed_until: Option<&str>) -> Bounds {
        Bounds {
            billed_until: billed_until.map(at),
            earliest: day("2026-01-01"),
        }
    }

    #[track_caller]
    fn check_running(oldest: Option<&str>, billed: Option<&str>, expected: &[(&str, &str)]) {
        let now = at("2026-11-24T14:20:00Z");
        let sweeps = running(oldest.map(at), None, &READING, bounds(billed), now);
        let told: Vec<(String, String)> = sweeps
            .iter()
            .map(|sweep| {
                let hour = |hour: Hour| hour.start().to_string();
                (hour(sweep.hours.start), hour(sweep.hours.end))
            })
            .collect();
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(start, end)| {
                (
                    format!("2026-11-{start}:00:00Z"),
                    format!("2026-11-{end}:00:00Z"),
                )
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn running_hours_begin_where_something_may_still_change() {
        check_running(None, None, &[("24T00", "24T15")]);
        check_running(Some("2026-11-24T14:15:00Z"), None, &[("24T14", "24T15")]);
        check_running(Some("2026-11-24T14:05:00Z"), None, &[("24T13", "24T15")]);
        // Since the last watermark.
        check_running(
            Some("2026-11-24T14:15:00Z"),
            Some("2026-11-24T11:10:00Z"),
            &[("24T11", "24T15")],
        );
        // After a pause, day by day.
        check_running(
            Some("2026-11-22T22:15:00Z"),
            None,
            &[("22T22", "23T00"), ("23T00", "24T00"), ("24T00", "24T15")],
        );
    }

    #[test]
    fn days_are_read_as_far_as_they_are_billed() {
        let now = at("2026-11-24T14:20:00Z");
        let mut whole = Coverage::new(now);
        whole.hours_from = Some(day("2026-11-24"));
        let mut asked = |billed: &str| {
            let sweep = backlog(
                &whole,
                &BTreeSet::new(),
                &READING,
                bounds(Some(billed)),
                now,
            )?;
            let hours = sweep.hours;
            whole.days = Some(DaySpan {
                start: hours.start.day(),
                end: hours.end.day(),
            });
            Some((sweep.purpose, hours.start.day(), hours.end.day()))
        };
        // So late that the newest piece of the history would be empty.
        let piece = |start, end| Some((Purpose::FirstDays, day(start), day(end)));
        let late = "2026-11-09T07:00:00Z";
        assert_eq!(asked(late), piece("2026-10-30", "2026-11-09"));
        // Hours are read back to where the days end.
        let rest = Some((Purpose::FirstHours, day("2026-11-23"), day("2026-11-24")));
        assert_eq!(asked(late), rest);
        // Nothing of the history is billed.
        let mut whole = Coverage::new(now);
        whole.hours_from = Some(day("2026-11-21"));
        let never = bounds(Some("2026-01-01T05:00:00Z"));
        assert_eq!(unread_days(&whole, &READING, never, now), None);
    }

    #[test]
    fn the_history_is_read_in_pieces_and_then_kept_up() {
        let now = at("2026-11-24T14:20:00Z");
        let mut whole = Coverage::new(now);
        let mut told = Vec::new();
        assert_eq!(
            backlog(&whole, &BTreeSet::new(), &READING, bounds(None), now),
            None
        );
        whole.hours_from = Some(day("2026-11-24"));
        while let Some(sweep) = backlog(&whole, &BTreeSet::new(), &READING, bounds(None), now) {
            let (first, end) = (sweep.hours.start.day(), sweep.hours.end.day());
            told.push(format!(
                "{:?} {} {}",
                sweep.purpose,
                first.date(),
                end.date()
            ));
            match sweep.purpose {
                Purpose::FirstDays => {
                    let end = whole.days.map_or(end, |days| days.end);
                    whole.days = Some(DaySpan { start: first, end });
                }
                Purpose::FirstHours => whole.hours_from = Some(first),
                Purpose::Running
                | Purpose::Recheck
                | Purpose::EarlierCorrections
                | Purpose::Corrections => {
                    whole.corrected_at = Some(now);
                }
            }
        }
        assert_eq!(
            told,
            [
                "FirstDays 2026-11-14 2026-11-24",
                "FirstDays 2026-11-04 2026-11-14",
                "FirstDays 2026-10-30 2026-11-04",
                "FirstHours 2026-11-23 2026-11-24",
                "FirstHours 2026-11-22 2026-11-23",
                "FirstHours 2026-11-21 2026-11-22",
                "Corrections 2026-10-25 2026-11-24",
            ]
        );
        let sweep = Sweep {
            purpose: Purpose::Corrections,
            granularity: Granularity::Day,
            hours: HourSpan {
                start: day("2026-10-30").first_hour(),
                end: day("2026-11-24").first_hour(),
            },
        };
        let pieces: Vec<_> = sweep
            .pieces()
            .iter()
            .map(|piece| (piece.purpose, piece.hours.end.day().date().to_string()))
            .collect();
        let (earlier, last) = (Purpose::EarlierCorrections, Purpose::Corrections);
        let ends = ["2026-11-09", "2026-11-19", "2026-11-24"].map(str::to_owned);
        let expected: Vec<_> = [earlier, earlier, last].into_iter().zip(ends).collect();
        assert_eq!(pieces, expected);
        let later = at("2026-11-24T15:30:00Z");
        let again = backlog(&whole, &BTreeSet::new(), &READING, bounds(None), later).unwrap();
        assert_eq!(again.purpose, Purpose::Corrections);
        let recheck = [day("2026-11-20")].into();
        let again = backlog(&whole, &recheck, &READING, bounds(None), later).unwrap();
        assert_eq!(again.purpose, Purpose::Recheck);
    }
}
