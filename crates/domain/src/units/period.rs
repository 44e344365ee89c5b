//! Periods: calendar periods in a time zone, and rolling spans, as half-open UTC spans.
//!
//! A calendar period has a label, which is part of an alert's identity. A rolling span has none: `24h` is the open hour
//! and the 23 before it.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span as JiffSpan, Timestamp, Zoned};

use crate::units::span::{Hour, Span};

/// Longest rolling span in hours: 366 days.
pub const MAX_ROLLING_HOURS: u32 = 366 * 24;

/// The period that a rule sums over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A clock hour of the time zone.
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    /// The open hour and the hours before it, this many in total: 1 to [`MAX_ROLLING_HOURS`].
    Rolling(u32),
    /// This many hours before the open hour, which is left out because it is incomplete.
    Complete(u32),
}

/// A time zone and its name as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    pub name: std::sync::Arc<str>,
    pub rules: TimeZone,
}

impl Zone {
    /// Returns UTC.
    pub fn utc() -> Zone {
        Zone {
            name: "UTC".into(),
            rules: TimeZone::UTC,
        }
    }
}

/// One period: its span and, for calendar periods, its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodSpan {
    pub span: Span,
    /// `2026-11`, `2026-W48`, `2026-Q4`, `2026-11-24`, `2026-11-24T14+01:00`; `None` for a rolling span.
    pub label: Option<String>,
}

impl Period {
    /// Parses `hour`, `day`, `week`, `month`, `quarter`, or a rolling span in hours or days such as `24h` or `7d`.
    pub fn parse(text: &str) -> Option<Period> {
        match text {
            "hour" => Some(Period::Hour),
            "day" => Some(Period::Day),
            "week" => Some(Period::Week),
            "month" => Some(Period::Month),
            "quarter" => Some(Period::Quarter),
            rolling => parse_rolling(rolling),
        }
    }

    /// Returns whether the period is a calendar period.
    pub fn is_calendar(self) -> bool {
        match self {
            Period::Hour | Period::Day | Period::Week | Period::Month | Period::Quarter => true,
            Period::Rolling(_) | Period::Complete(_) => false,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Hour => f.write_str("hour"),
            Period::Day => f.write_str("day"),
            Period::Week => f.write_str("week"),
            Period::Month => f.write_str("month"),
            Period::Quarter => f.write_str("quarter"),
            Period::Rolling(hours) | Period::Complete(hours) => write!(f, "{hours}h"),
        }
    }
}

fn parse_rolling(text: &str) -> Option<Period> {
    let (digits, factor) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 24),
        _ => return None,
    };
    let hours = digits.parse::<u32>().ok()?.checked_mul(factor)?;
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && (1..=MAX_ROLLING_HOURS).contains(&hours))
        .then_some(Period::Rolling(hours))
}

/// Returns the period that contains a timestamp.
pub fn containing(period: Period, zone: &TimeZone, at: Timestamp) -> PeriodSpan {
    let local = at.to_zoned(zone.clone());
    let date = local.date();
    match period {
        Period::Rolling(hours) | Period::Complete(hours) => {
            let is_open = i32::from(matches!(period, Period::Rolling(_)));
            let end = Hour::containing(at).plus(is_open);
            let start = end.plus(-i32::try_from(hours).unwrap_or(i32::MAX / 2));
            PeriodSpan {
                span: Span {
                    start: start.start(),
                    end: end.start(),
                },
                label: None,
            }
        }
        Period::Hour => cut_hour(&local),
        Period::Day => cut_dates(zone, date, add_days(date, 1), date.to_string()),
        Period::Week => {
            let days_since_monday = i32::from(date.weekday().to_monday_zero_offset());
            let monday = add_days(date, -days_since_monday);
            let week = monday.iso_week_date();
            let label = format!("{:04}-W{:02}", week.year(), week.week());
            cut_dates(zone, monday, add_days(monday, 7), label)
        }
        Period::Month => {
            let first = date.first_of_month();
            cut_dates(
                zone,
                first,
                add_months(first, 1),
                format!("{:04}-{:02}", first.year(), first.month()),
            )
        }
        Period::Quarter => {
            let quarter = (date.month() - 1) / 3;
            let first = date.first_of_month();
            let first = add_months(first, -i32::from(date.month() - 1 - quarter * 3));
            cut_dates(
                zone,
                first,
                add_months(first, 3),
                format!("{:04}-Q{}", first.year(), quarter + 1),
            )
        }
    }
}

/// Returns the span of local days from `first` to `last`, inclusive; empty if `last` is before `first`.
pub fn days(zone: &TimeZone, first: Date, last: Date) -> Span {
    Span {
        start: midnight(zone, first),
        end: midnight(zone, add_days(last, 1)),
    }
}

/// Returns the previous calendar period; for a rolling span, the span of equal length before it.
pub fn previous(period: Period, zone: &TimeZone, cut_now: &PeriodSpan) -> PeriodSpan {
    match period {
        Period::Rolling(_) | Period::Complete(_) => {
            let length = cut_now.span.duration();
            let start = cut_now
                .span
                .start
                .checked_sub(length)
                .unwrap_or(Timestamp::MIN);
            PeriodSpan {
                span: Span {
                    start,
                    end: cut_now.span.start,
                },
                label: None,
            }
        }
        Period::Hour | Period::Day | Period::Week | Period::Month | Period::Quarter => {
            let just_before = cut_now
                .span
                .start
                .checked_sub(SignedDuration::from_nanos(1))
                .unwrap_or(Timestamp::MIN);
            containing(period, zone, just_before)
        }
    }
}

/// Clock hours continue through clock changes: each is one hour of elapsed time, and its label has the UTC offset. In
/// zones with an offset of fractional hours the label still has the local hour.
fn cut_hour(local: &Zoned) -> PeriodSpan {
    let minute = SignedDuration::from_mins(i64::from(local.minute()));
    let second = SignedDuration::from_secs(i64::from(local.second()));
    let nanosecond = SignedDuration::from_nanos(i64::from(local.subsec_nanosecond()));
    let into = minute + second + nanosecond;
    let start = local
        .timestamp()
        .checked_sub(into)
        .unwrap_or(Timestamp::MIN);
    let end = start
        .checked_add(SignedDuration::from_hours(1))
        .unwrap_or(Timestamp::MAX);
    let offset_minutes = local.offset().seconds() / 60;
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let offset = format!(
        "{sign}{:02}:{:02}",
        offset_minutes.abs() / 60,
        offset_minutes.abs() % 60
    );
    let label = format!("{}T{:02}{offset}", local.date(), local.hour());
    PeriodSpan {
        span: Span { start, end },
        label: Some(label),
    }
}

fn cut_dates(zone: &TimeZone, first: Date, after: Date, label: String) -> PeriodSpan {
    PeriodSpan {
        span: Span {
            start: midnight(zone, first),
            end: midnight(zone, after),
        },
        label: Some(label),
    }
}

/// The first instant of a local day; after the gap if the clock skips midnight.
fn midnight(zone: &TimeZone, date: Date) -> Timestamp {
    date.to_zoned(zone.clone())
        .and_then(|zoned| zoned.start_of_day())
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

fn add_days(date: Date, days: i32) -> Date {
    date.saturating_add(JiffSpan::new().days(days))
}

fn add_months(date: Date, months: i32) -> Date {
    date.saturating_add(JiffSpan::new().months(months))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[track_caller]
    fn check(period: Period, zone_name: &str, at: &str, expected: &str) {
        let period = containing(period, &zone(zone_name), at.parse().unwrap());
        let label = period.label.unwrap_or_default();
        assert_eq!(
            format!("{label} {} {}", period.span.start, period.span.end),
            expected
        );
    }

    #[test]
    fn calendar_periods_are_cut_in_their_zone() {
        check(
            Period::Month,
            "UTC",
            "2026-11-24T00:45:00Z",
            "2026-11 2026-11-01T00:00:00Z 2026-12-01T00:00:00Z",
        );
        check(
            Period::Month,
            "Europe/Berlin",
            "2026-10-31T23:30:00Z",
            "2026-11 2026-10-31T23:00:00Z 2026-11-30T23:00:00Z",
        );
        check(
            Period::Quarter,
            "UTC",
            "2026-11-24T00:45:00Z",
            "2026-Q4 2026-10-01T00:00:00Z 2027-01-01T00:00:00Z",
        );
        check(
            Period::Week,
            "UTC",
            "2027-01-01T12:00:00Z",
            "2026-W53 2026-12-28T00:00:00Z 2027-01-04T00:00:00Z",
        );
        check(
            Period::Rolling(24),
            "UTC",
            "2026-11-24T13:05:00Z",
            " 2026-11-23T14:00:00Z 2026-11-24T14:00:00Z",
        );
        check(
            Period::Hour,
            "Asia/Kolkata",
            "2026-11-24T13:05:00Z",
            "2026-11-24T18+05:30 2026-11-24T12:30:00Z 2026-11-24T13:30:00Z",
        );
    }

    #[test]
    fn case_03_days_of_23_or_25_hours_match_the_local_day() {
        check(
            Period::Day,
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            "2026-03-29 2026-03-28T23:00:00Z 2026-03-29T22:00:00Z",
        );
        check(
            Period::Day,
            "Europe/Berlin",
            "2026-10-25T12:00:00Z",
            "2026-10-25 2026-10-24T22:00:00Z 2026-10-25T23:00:00Z",
        );
        let short = containing(
            Period::Day,
            &zone("Europe/Berlin"),
            "2026-03-29T12:00:00Z".parse().unwrap(),
        );
        let long = containing(
            Period::Day,
            &zone("Europe/Berlin"),
            "2026-10-25T12:00:00Z".parse().unwrap(),
        );
        assert_eq!(
            short.span.hours().end.count() - short.span.hours().start.count(),
            23
        );
        assert_eq!(
            long.span.hours().end.count() - long.span.hours().start.count(),
            25
        );
    }

    #[test]
    fn a_day_without_midnight_begins_after_the_gap() {
        // Beirut and Santiago skip 00:00 to 01:00.
        check(
            Period::Day,
            "America/Santiago",
            "2026-09-06T12:00:00Z",
            "2026-09-06 2026-09-06T04:00:00Z 2026-09-07T03:00:00Z",
        );
    }

    #[test]
    fn repeated_clock_hours_have_distinct_labels() {
        check(
            Period::Hour,
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T02+02:00 2026-10-25T00:00:00Z 2026-10-25T01:00:00Z",
        );
        check(
            Period::Hour,
            "Europe/Berlin",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02+01:00 2026-10-25T01:00:00Z 2026-10-25T02:00:00Z",
        );
    }

    #[test]
    fn period_names_are_parsed() {
        assert_eq!(Period::parse("7d"), Some(Period::Rolling(168)));
        assert_eq!(Period::parse("24h"), Some(Period::Rolling(24)));
        for text in [
            "",
            "h",
            "0h",
            "-1h",
            "+1h",
            "1w",
            "months",
            "999999999d",
            "90m",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn calendar_periods_are_contiguous(
            second in 1_600_000_000i64..1_900_000_000,
            period in prop::sample::select(vec![Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter]),
            name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        ) {
            let at = Timestamp::from_second(second).unwrap();
            let zone = zone(name);
            let this = containing(period, &zone, at);
            prop_assert!(this.span.contains(at));
            let next = containing(period, &zone, this.span.end);
            let before = previous(period, &zone, &this);
            // Lord Howe's half-hour clock change makes the surrounding hours overlap; all other periods are contiguous.
            if !(period == Period::Hour && name == "Australia/Lord_Howe") {
                prop_assert_eq!(next.span.start, this.span.end);
                prop_assert_eq!(before.span.end, this.span.start);
            }
            prop_assert_ne!(next.label, this.label);
        }
    }
}
