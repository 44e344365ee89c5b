//! Runaway loops. Their usage is computed per second and split by hour.

use jiff::Timestamp;

use crate::world::amounts::SimulatedUsage;
use crate::world::spending;
use spendwatch_domain::units::span::{Hour, HourSpan};

/// Runaway loop, whose spend rate doubles repeatedly until it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runaway {
    pub workspace: String,
    pub model: String,
    pub since: Timestamp,
    /// Initial rate, in 10⁻⁶ USD.
    pub micros_per_second: i64,
    /// Seconds until the rate doubles.
    pub doubles_after: i64,
    pub n_doublings: u32,
    /// Duration in seconds.
    pub lasts: i64,
}

impl Runaway {
    /// Returns its usage by hour up to `now`; hours without usage are omitted.
    pub fn used(&self, hours: HourSpan, now: Timestamp) -> Vec<(Hour, SimulatedUsage)> {
        let last = self.since.as_second() + self.lasts.max(0);
        let ended = Timestamp::from_second(last).unwrap_or(now).min(now);
        let hours = hours.intersect(HourSpan {
            start: Hour::containing(self.since),
            end: Hour::containing(ended).plus(1),
        });
        let prices = spending::prices(&self.model);
        let until = |at: Timestamp| self.micros_until(at.min(ended));
        (hours.start.count()..hours.end.count())
            .map(Hour::from_count)
            .map(|hour| (hour, until(hour.end()) - until(hour.start())))
            .filter(|(_, micros)| *micros > 0)
            .map(|(hour, micros)| (hour, SimulatedUsage::from_spend(&prices, micros)))
            .collect()
    }

    /// Returns its spend from the start until a time, in 10⁻⁶ USD.
    fn micros_until(&self, at: Timestamp) -> i64 {
        let mut seconds = at.duration_since(self.since).as_secs().max(0);
        let mut sum = 0;
        for n_doublings in 0..=self.n_doublings {
            let is_last = n_doublings == self.n_doublings;
            let seconds_at_rate = if is_last {
                seconds
            } else {
                seconds.min(self.doubles_after.max(1))
            };
            sum += seconds_at_rate * (self.micros_per_second << n_doublings);
            seconds -= seconds_at_rate;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_loop_doubles_until_it_stops() {
        let runaway = Runaway {
            workspace: "workspace_a".to_owned(),
            model: "claude-opus-4-5".to_owned(),
            since: at("2026-11-10T11:59:50Z"),
            micros_per_second: 100,
            doubles_after: 10,
            n_doublings: 2,
            lasts: 40,
        };
        let day = HourSpan {
            start: Hour::containing(at("2026-11-10T00:00:00Z")),
            end: Hour::containing(at("2026-11-11T00:00:00Z")),
        };
        let by_hour = |now: &str| -> Vec<i64> {
            let used = runaway.used(day, at(now));
            used.iter().map(|(_, used)| used.micros).collect()
        };
        for (now, expected) in [
            ("2026-11-10T11:59:50Z", vec![]),
            ("2026-11-10T11:59:51Z", vec![100]),
            ("2026-11-10T12:00:00Z", vec![1_000]),
            ("2026-11-10T12:00:01Z", vec![1_000, 200]),
            ("2026-11-10T12:00:10Z", vec![1_000, 2_000]),
            ("2026-11-10T12:00:30Z", vec![1_000, 10_000]),
            ("2026-11-20T00:00:00Z", vec![1_000, 10_000]),
        ] {
            assert_eq!(by_hour(now), expected, "{now}");
        }
        let noon = HourSpan {
            start: Hour::containing(at("2026-11-10T12:00:00Z")),
            ..day
        };
        let used = runaway.used(noon, at("2026-11-20T00:00:00Z"));
        assert_eq!(used.len(), 1, "only requested hours");
    }
}
