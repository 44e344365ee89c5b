//! Schedules: cron expressions with seconds in a time zone, and which slot to run next.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;

use crate::units::period::Zone;

/// Maximum length of a schedule in bytes; one that lists every value of every field fits.
const MAX_TEXT: usize = 600;

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    text: String,
    zone: Zone,
}

impl Schedule {
    /// Parses six fields: second, minute, hour, day, month, weekday. The error is a readable reason.
    pub fn parse(text: &str, zone: Zone) -> Result<Schedule, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("it has more than {MAX_TEXT} bytes"));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| error.to_string())?;
        let schedule = Schedule {
            cron,
            text: text.to_owned(),
            zone,
        };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err("it never occurs".to_owned()),
        }
    }

    /// Returns the time zone of its fields.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Returns the first slot after a timestamp, or `None` if there is none.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.to_zoned(self.zone.rules.clone());
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.timestamp())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

/// When to run next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Run now, for this slot: the newest one that has passed. Missed slots before it are skipped.
    Now(Timestamp),
    At(Timestamp),
    Never,
}

/// Returns which slot to run, given the newest slot that ran. If none has run yet, runs now. One run covers all slots
/// missed since the last one.
pub fn due(schedule: &Schedule, last_run: Option<Timestamp>, now: Timestamp) -> Due {
    let Some(last_run) = last_run else {
        return Due::Now(now);
    };
    // The clock was set back past the last run: without this, nothing would run until that time comes again.
    if schedule.next_after(now).is_some_and(|next| next < last_run) {
        return Due::Now(now);
    }
    let Some(first) = schedule.next_after(last_run) else {
        return Due::Never;
    };
    if first > now {
        Due::At(first)
    } else {
        Due::Now(newest_until(schedule, first, now))
    }
}

/// The newest slot up to `now`, starting from `first`, which has passed. Returns `now` if more than 1000 slots were
/// missed.
fn newest_until(schedule: &Schedule, first: Timestamp, now: Timestamp) -> Timestamp {
    let mut newest = first;
    for _ in 0..1000 {
        match schedule.next_after(newest) {
            Some(next) if next <= now => newest = next,
            Some(_) | None => return newest,
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn schedule(text: &str, zone: &str) -> Schedule {
        Schedule::parse(
            text,
            Zone {
                name: zone.into(),
                rules: TimeZone::get(zone).unwrap(),
            },
        )
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slots(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
        let mut slots = Vec::new();
        let mut last = at(from);
        while let Some(next) = schedule.next_after(last).filter(|next| *next < at(until)) {
            slots.push(next.to_string());
            last = next;
        }
        slots
    }

    #[test]
    fn case_04_a_daily_slot_runs_once_in_nights_with_a_clock_change() {
        let berlin = schedule("0 30 2 * * *", "Europe/Berlin");
        assert_eq!(
            slots(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
            ["2026-03-29T01:00:00Z"]
        );
        assert_eq!(
            slots(&berlin, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
            ["2026-10-25T00:30:00Z"]
        );
        let lord_howe = schedule("0 15 2 * * *", "Australia/Lord_Howe");
        assert_eq!(
            slots(&lord_howe, "2026-10-03T06:00:00Z", "2026-10-04T06:00:00Z").len(),
            1
        );
        let back = schedule("0 45 1 * * *", "Australia/Lord_Howe");
        assert_eq!(
            slots(&back, "2026-04-04T06:00:00Z", "2026-04-05T06:00:00Z").len(),
            1
        );
    }

    #[test]
    fn a_missed_slot_runs_once() {
        let minutes = schedule("0 */5 * * * *", "UTC");
        assert_eq!(
            due(&minutes, None, at("2026-11-24T00:01:00Z")),
            Due::Now(at("2026-11-24T00:01:00Z"))
        );
        let last = Some(at("2026-11-24T00:00:00Z"));
        assert_eq!(
            due(&minutes, last, at("2026-11-24T00:04:59Z")),
            Due::At(at("2026-11-24T00:05:00Z"))
        );
        assert_eq!(
            due(&minutes, last, at("2026-11-24T00:05:00Z")),
            Due::Now(at("2026-11-24T00:05:00Z"))
        );
        assert_eq!(
            due(&minutes, last, at("2026-11-24T03:22:00Z")),
            Due::Now(at("2026-11-24T03:20:00Z"))
        );
        let after_years = due(&minutes, last, at("2029-11-24T03:22:00Z"));
        assert_eq!(after_years, Due::Now(at("2029-11-24T03:22:00Z")));
    }

    #[test]
    fn a_clock_set_back_does_not_pause_a_schedule() {
        let minutes = schedule("0 */5 * * * *", "UTC");
        let last = Some(at("2026-11-24T12:00:00Z"));
        for back in ["2026-11-24T11:54:59Z", "2026-11-23T11:30:00Z"] {
            assert_eq!(due(&minutes, last, at(back)), Due::Now(at(back)));
        }
        // The last run is the next slot, which does not run twice.
        assert_eq!(
            due(&minutes, last, at("2026-11-24T11:58:00Z")),
            Due::At(at("2026-11-24T12:05:00Z"))
        );
        let daily = schedule("0 0 9 * * *", "UTC");
        assert_eq!(
            due(
                &daily,
                Some(at("2026-11-24T09:00:00Z")),
                at("2026-11-24T07:30:00Z")
            ),
            Due::At(at("2026-11-25T09:00:00Z"))
        );
    }

    #[test]
    fn invalid_schedules_are_rejected() {
        for text in [
            "",
            "*/5 * * * *",
            "0 0 0 30 2 *",
            "61 * * * * *",
            "0 0 9 * * Mon 2026",
        ] {
            assert!(Schedule::parse(text, Zone::utc()).is_err(), "{text}");
        }
        assert!(Schedule::parse("0 0 9 * * Mon", Zone::utc()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_text_panics_or_takes_long(
            text in prop_oneof![
                "[0-9*/,LW#?+ -]{0,40}",
                "([0-9*/,LW#?-]{1,6} ){5}[0-9*/,LW#?+-]{1,6}",
                "(0|\\*|[0-9]{1,2}|\\*/[0-9]{1,5}|[0-9]{1,2}-[0-9]{1,2}) (0|59) (\\*|2) (L|[0-9]{1,2}W|LW|29|31) (2|4|\\*) (\\+?[0-7]#[1-5]|\\*|[0-7]L)",
                "\\PC{0,30}",
            ],
            zone in prop_oneof!["UTC", "Europe/Berlin", "Australia/Lord_Howe"],
            at in prop_oneof![
                Just(Timestamp::MIN),
                Just(Timestamp::MAX),
                (-62_000_000_000_i64..253_000_000_000).prop_map(|at| Timestamp::from_second(at).unwrap()),
            ],
        ) {
            let zone = Zone { name: zone.as_str().into(), rules: TimeZone::get(&zone).unwrap() };
            if let Ok(schedule) = Schedule::parse(&text, zone) {
                let next = schedule.next_after(at);
                prop_assert!(next.is_none_or(|next| next > at), "{next:?}");
                due(&schedule, Some(at), Timestamp::UNIX_EPOCH);
                due(&schedule, Some(Timestamp::UNIX_EPOCH), at);
            }
        }
    }

    #[test]
    fn overlong_schedules_are_rejected() {
        let long = format!("{}0 0 0 * * *", "0,".repeat(500_000));
        assert!(Schedule::parse(&long, Zone::utc()).is_err());
        let every = |first: u32, last: u32| {
            (first..=last)
                .map(|part| part.to_string())
                .collect::<Vec<String>>()
                .join(",")
        };
        let whole = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let whole = whole.map(|(first, last)| every(first, last)).join(" ");
        assert!(Schedule::parse(&whole, Zone::utc()).is_ok());
    }
}
