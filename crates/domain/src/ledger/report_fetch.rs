//! Plans reads of usage and cost reports. A report covers all workspaces, so the coverage of the whole applies to each
//! of them: a workspace without rows used nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::ledger::coverage::{Coverage, PollSettings, Purpose};
use crate::units::span::{Day, Hour, HourSpan};
use crate::usage::bucket::Granularity;

/// Maximum days per read of history; bounds memory and the work lost on a restart.
const DAYS_AT_ONCE: i32 = 10;

/// One read of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportFetch {
    pub purpose: Purpose,
    pub granularity: Granularity,
    /// The requested span, in whole buckets.
    pub hours: HourSpan,
}

impl ReportFetch {
    /// Splits a read of corrections, which spans weeks, because each batch is held in memory.
    pub fn batches(self) -> Vec<ReportFetch> {
        if self.purpose != Purpose::Corrections {
            return vec![self];
        }
        let mut batches = Vec::new();
        let mut start = self.hours.start;
        while start < self.hours.end {
            let end = start.plus(24 * DAYS_AT_ONCE).min(self.hours.end);
            let purpose = if end == self.hours.end {
                Purpose::Corrections
            } else {
                Purpose::EarlierCorrections
            };
            batches.push(ReportFetch {
                purpose,
                hours: HourSpan { start, end },
                ..self
            });
            start = end;
        }
        batches
    }
}

/// Limits of the available data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Time up to which everything is billed by the hour, where the dialect reports it.
    pub billed_until: Option<Timestamp>,
    /// First day that the server has data for.
    pub earliest: Day,
}

/// Returns the reads of open hours, day by day, oldest first; starting earlier if hours from `unreadable` on must be
/// read again. `oldest` is the time up to which the least known part is known.
pub fn open_hours(
    oldest: Option<Timestamp>,
    unreadable: Option<Hour>,
    settings: &PollSettings,
    bounds: Bounds,
    now: Timestamp,
) -> Vec<ReportFetch> {
    let before = |at: Timestamp| at.checked_sub(settings.settle).unwrap_or(at);
    let start = match oldest {
        // The oldest hour that was not settled at that time.
        Some(oldest) => Hour::containing(before(oldest)),
        None => Day::containing(before(now)).first_hour(),
    };
    let unbilled = bounds.billed_until.map_or(start, Hour::containing);
    let end = Hour::containing(now).plus(1);
    let mut start = start
        .min(unbilled)
        .min(unreadable.unwrap_or(start))
        .max(bounds.earliest.first_hour())
        .min(end.plus(-1));
    let mut fetches = Vec::new();
    while start < end {
        let next = start.day().plus(1).first_hour().min(end);
        fetches.push(ReportFetch {
            purpose: Purpose::OpenHours,
            granularity: Granularity::Hour,
            hours: HourSpan { start, end: next },
        });
        start = next;
    }
    fetches
}

/// Returns what to read next when the open hours are known. `whole` is the coverage of the whole, `rechecks` the days
/// whose hours differ from their day row.
pub fn backlog(
    whole: &Coverage,
    rechecks: &BTreeSet<Day>,
    settings: &PollSettings,
    bounds: Bounds,
    now: Timestamp,
) -> Option<ReportFetch> {
    let hours_from = whole.hours_from?;
    let newest = newest_day(bounds, now);
    let fetch = |purpose, granularity, first: Day, last: Day| ReportFetch {
        purpose,
        granularity,
        hours: HourSpan {
            start: first.first_hour(),
            end: last.plus(1).first_hour(),
        },
    };
    if let Some(first) = unread_days(whole, settings, bounds, now) {
        let last = whole.days.map_or(newest, |days| days.start.plus(-1));
        let first = first.max(last.plus(1 - DAYS_AT_ONCE));
        return Some(fetch(Purpose::FirstDays, Granularity::Day, first, last));
    }
    if let Some(day) = rechecks.last() {
        return Some(fetch(Purpose::Recheck, Granularity::Hour, *day, *day));
    }
    let first_hourly = whole.unread_hours(settings, now);
    if first_hourly.is_some_and(|first| first.max(bounds.earliest) < hours_from) {
        let day = hours_from.plus(-1);
        return Some(fetch(Purpose::FirstHours, Granularity::Hour, day, day));
    }
    let is_due = whole
        .corrected_at
        .is_none_or(|at| now.duration_since(at) >= settings.correction_interval);
    if is_due {
        let first = Day::containing(now)
            .plus(-settings.correction_days)
            .min(whole.days.map_or(newest, |days| days.end))
            .max(bounds.earliest)
            .min(newest);
        return Some(fetch(Purpose::Corrections, Granularity::Day, first, newest));
    }
    None
}

/// The newest day that may be read as a day: the last complete one, and billed if the dialect reports that.
fn newest_day(bounds: Bounds, now: Timestamp) -> Day {
    let end = bounds.billed_until.map_or(now, |until| until.min(now));
    Day::containing(end).plus(-1)
}

/// Returns the first day of history still to be read; `None` if all of it is read or none of it is billed.
pub fn unread_days(
    whole: &Coverage,
    settings: &PollSettings,
    bounds: Bounds,
    now: Timestamp,
) -> Option<Day> {
    let newest = newest_day(bounds, now);
    let first = Day::containing(whole.first_seen)
        .plus(-settings.history_days)
        .min(newest)
        .max(bounds.earliest);
    let is_unread = whole.days.is_none_or(|days| days.start > first);
    (is_unread && first <= newest).then_some(first)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ledger::coverage::DaySpan;

    const SETTINGS: PollSettings = PollSettings {
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
        let fetches = open_hours(oldest.map(at), None, &SETTINGS, bounds(billed), now);
        let reads: Vec<(String, String)> = fetches
            .iter()
            .map(|fetch| {
                let hour = |hour: Hour| hour.start().to_string();
                (hour(fetch.hours.start), hour(fetch.hours.end))
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
        assert_eq!(reads, expected);
    }

    #[test]
    fn open_hours_start_where_data_may_still_change() {
        check_running(None, None, &[("24T00", "24T15")]);
        check_running(Some("2026-11-24T14:15:00Z"), None, &[("24T14", "24T15")]);
        check_running(Some("2026-11-24T14:05:00Z"), None, &[("24T13", "24T15")]);
        // Since the time of the last billing.
        check_running(
            Some("2026-11-24T14:15:00Z"),
            Some("2026-11-24T11:10:00Z"),
            &[("24T11", "24T15")],
        );
        // After downtime, day by day.
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
        let mut next_read = |billed: &str| {
            let fetch = backlog(
                &whole,
                &BTreeSet::new(),
                &SETTINGS,
                bounds(Some(billed)),
                now,
            )?;
            let hours = fetch.hours;
            whole.days = Some(DaySpan {
                start: hours.start.day(),
                end: hours.end.day(),
            });
            Some((fetch.purpose, hours.start.day(), hours.end.day()))
        };
        // So late that the newest batch of history would be empty.
        let batch = |start, end| Some((Purpose::FirstDays, day(start), day(end)));
        let late = "2026-11-09T07:00:00Z";
        assert_eq!(next_read(late), batch("2026-10-30", "2026-11-09"));
        // Hours are read back to the end of the days.
        let rest = Some((Purpose::FirstHours, day("2026-11-23"), day("2026-11-24")));
        assert_eq!(next_read(late), rest);
        // No history is billed.
        let mut whole = Coverage::new(now);
        whole.hours_from = Some(day("2026-11-21"));
        let never = bounds(Some("2026-01-01T05:00:00Z"));
        assert_eq!(unread_days(&whole, &SETTINGS, never, now), None);
    }

    #[test]
    fn history_is_read_in_batches_and_then_kept_up_to_date() {
        let now = at("2026-11-24T14:20:00Z");
        let mut whole = Coverage::new(now);
        let mut reads = Vec::new();
        assert_eq!(
            backlog(&whole, &BTreeSet::new(), &SETTINGS, bounds(None), now),
            None
        );
        whole.hours_from = Some(day("2026-11-24"));
        while let Some(fetch) = backlog(&whole, &BTreeSet::new(), &SETTINGS, bounds(None), now) {
            let (first, end) = (fetch.hours.start.day(), fetch.hours.end.day());
            reads.push(format!(
                "{:?} {} {}",
                fetch.purpose,
                first.date(),
                end.date()
            ));
            match fetch.purpose {
                Purpose::FirstDays => {
                    let end = whole.days.map_or(end, |days| days.end);
                    whole.days = Some(DaySpan { start: first, end });
                }
                Purpose::FirstHours => whole.hours_from = Some(first),
                Purpose::OpenHours
                | Purpose::Recheck
                | Purpose::EarlierCorrections
                | Purpose::Corrections => {
                    whole.corrected_at = Some(now);
                }
            }
        }
        assert_eq!(
            reads,
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
        let fetch = ReportFetch {
            purpose: Purpose::Corrections,
            granularity: Granularity::Day,
            hours: HourSpan {
                start: day("2026-10-30").first_hour(),
                end: day("2026-11-24").first_hour(),
            },
        };
        let batches: Vec<_> = fetch
            .batches()
            .iter()
            .map(|batch| (batch.purpose, batch.hours.end.day().date().to_string()))
            .collect();
        let (earlier, last) = (Purpose::EarlierCorrections, Purpose::Corrections);
        let ends = ["2026-11-09", "2026-11-19", "2026-11-24"].map(str::to_owned);
        let expected: Vec<_> = [earlier, earlier, last].into_iter().zip(ends).collect();
        assert_eq!(batches, expected);
        let later = at("2026-11-24T15:30:00Z");
        let again = backlog(&whole, &BTreeSet::new(), &SETTINGS, bounds(None), later).unwrap();
        assert_eq!(again.purpose, Purpose::Corrections);
        let recheck = [day("2026-11-20")].into();
        let again = backlog(&whole, &recheck, &SETTINGS, bounds(None), later).unwrap();
        assert_eq!(again.purpose, Purpose::Recheck);
    }
}
