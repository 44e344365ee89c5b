//! Weekly windows in local time: `Mon-Fri 18:00-08:00`, `Sat-Sun`.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// Minutes per day.
const DAY: i32 = 24 * 60;
const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Days of the week and a part of each day. A part that ends before it begins extends into the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeeklyWindow {
    /// 0 is Monday.
    first: i8,
    /// Inclusive; may be before `first`, across the end of the week.
    last: i8,
    /// Minutes since midnight, 0 to 1440; half-open.
    from: i32,
    to: i32,
}

impl WeeklyWindow {
    /// Parses days and an optional part of each day: `Sat`, `Sat-Sun`, `Mon-Fri 18:00-08:00`, `Mon-Sun 00:00-24:00`.
    pub fn parse(text: &str) -> Option<WeeklyWindow> {
        let (days, part) = match text.trim().split_once(' ') {
            Some((days, part)) => (days, Some(part.trim())),
            None => (text.trim(), None),
        };
        let (first, last) = match days.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(days)?, day(days)?),
        };
        let (from, to) = match part {
            Some(part) => {
                let (from, to) = part.split_once('-')?;
                (minute(from)?, minute(to)?)
            }
            None => (0, DAY),
        };
        (from < DAY && from != to && to > 0 || to == 0 && from > 0).then_some(WeeklyWindow {
            first,
            last,
            from,
            to: if to == 0 { DAY } else { to },
        })
    }

    /// Returns whether a timestamp is in the window, in the given time zone.
    pub fn contains(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let local = at.to_zoned(zone.clone());
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let today = local.weekday();
        if self.from < self.to {
            return self.has_day(today) && (self.from..self.to).contains(&minute);
        }
        self.has_day(today) && minute >= self.from
            || self.has_day(today.previous()) && minute < self.to
    }

    fn has_day(&self, day: Weekday) -> bool {
        let day = day.to_monday_zero_offset();
        if self.first <= self.last {
            (self.first..=self.last).contains(&day)
        } else {
            day >= self.first || day <= self.last
        }
    }
}

fn day(text: &str) -> Option<i8> {
    let place = NAMES
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text.trim()))?;
    i8::try_from(place).ok()
}

fn minute(text: &str) -> Option<i32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let is_clock = hour.len() == 2 && minute.len() == 2;
    let (hour, minute): (i32, i32) = (hour.parse().ok()?, minute.parse().ok()?);
    let sum = hour * 60 + minute;
    (is_clock && (0..60).contains(&minute) && (0..=DAY).contains(&sum)).then_some(sum)
}

impl fmt::Display for WeeklyWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: i8| {
            usize::try_from(day)
                .ok()
                .and_then(|day| NAMES.get(day))
                .copied()
                .unwrap_or_default()
        };
        let clock = |minute: i32| format!("{:02}:{:02}", minute / 60, minute % 60);
        f.write_str(name(self.first))?;
        if self.first != self.last {
            write!(f, "-{}", name(self.last))?;
        }
        if (self.from, self.to) != (0, DAY) {
            write!(f, " {}-{}", clock(self.from), clock(self.to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(window: &str, zone: &str, inside: &[&str], outside: &[&str]) {
        let zone = TimeZone::get(zone).unwrap();
        let parsed = WeeklyWindow::parse(window).unwrap();
        for at in inside {
            assert!(
                parsed.contains(at.parse().unwrap(), &zone),
                "{window}: {at}"
            );
        }
        for at in outside {
            assert!(
                !parsed.contains(at.parse().unwrap(), &zone),
                "{window}: {at}"
            );
        }
        assert_eq!(WeeklyWindow::parse(&parsed.to_string()), Some(parsed));
    }

    #[test]
    fn windows_use_local_time() {
        // 2026-11-27 is a Friday.
        check(
            "Sat-Sun",
            "UTC",
            &["2026-11-28T00:00:00Z", "2026-11-29T23:59:59Z"],
            &["2026-11-27T23:59:59Z", "2026-11-30T00:00:00Z"],
        );
        check(
            "Mon-Fri 18:00-08:00",
            "Europe/Berlin",
            &[
                "2026-11-27T17:00:00Z",
                "2026-11-28T06:59:00Z",
                "2026-11-24T23:30:00Z",
            ],
            &[
                "2026-11-27T16:59:00Z",
                "2026-11-28T07:00:00Z",
                "2026-11-30T06:00:00Z",
            ],
        );
        check(
            "Sun-Mon 12:00-24:00",
            "UTC",
            &["2026-11-29T12:00:00Z", "2026-11-30T23:59:00Z"],
            &["2026-11-28T13:00:00Z", "2026-12-01T12:00:00Z"],
        );
        check(
            "wed 00:00-06:30",
            "UTC",
            &["2026-11-25T06:29:59Z"],
            &["2026-11-25T06:30:00Z", "2026-11-26T01:00:00Z"],
        );
        check(
            "Fri 20:00-00:00",
            "UTC",
            &["2026-11-27T23:00:00Z"],
            &["2026-11-28T00:00:00Z"],
        );
    }

    #[test]
    fn invalid_windows_are_rejected() {
        for text in [
            "",
            "Monday",
            "Mon-",
            "Mon 8-9",
            "Mon 08:00",
            "Mon 08:00-08:00",
            "Mon 24:00-08:00",
            "Mon 08:60-09:00",
            "Mon 00:00-00:00",
            "Mon 8:00-9:00",
        ] {
            assert_eq!(WeeklyWindow::parse(text), None, "{text}");
        }
    }
}
