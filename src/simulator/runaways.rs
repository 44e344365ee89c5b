//! What a loop that runs away uses: second by second, cut at the hours.

use jiff::Timestamp;

use crate::domain::span::{Hour, HourSpan};
use crate::simulator::spending;
use crate::simulator::world::{Runaway, Used};

impl Runaway {
    /// What it used in each of some hours, up to `now`; hours without anything are left out.
    pub fn used(&self, hours: HourSpan, now: Timestamp) -> Vec<(Hour, Used)> {
        let last = self.since.as_second() + self.lasts.max(0);
        let ended = Timestamp::from_second(last).unwrap_or(now).min(now);
        let hours = hours.intersect(HourSpan {
            start: Hour::of(self.since),
            end: Hour::of(ended).plus(1),
        });
        let prices = spending::prices(&self.model);
        let until = |at: Timestamp| self.micros_until(at.min(ended));
        (hours.start.count()..hours.end.count())
            .map(Hour::from_count)
            .map(|hour| (hour, until(hour.end()) - until(hour.start())))
            .filter(|(_, micros)| *micros > 0)
            .map(|(hour, micros)| (hour, Used::worth(&prices, micros)))
            .collect()
    }

    /// What it has spent from its start to a moment, in 10⁻⁶ USD.
    fn micros_until(&self, at: Timestamp) -> i64 {
        let mut seconds = at.duration_since(self.since).as_secs().max(0);
        let mut sum = 0;
        for n_doublings in 0..=self.n_doublings {
            let is_last = n_doublings == self.n_doublings;
            let of_pace = if is_last {
                seconds
            } else {
                seconds.min(self.doubles_after.max(1))
            };
            sum += of_pace * (self.micros_per_second << n_doublings);
            seconds -= of_pace;
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
    fn a_loop_doubles_until_it_is_stopped() {
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
            start: Hour::of(at("2026-11-10T00:00:00Z")),
            end: Hour::of(at("2026-11-11T00:00:00Z")),
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
            start: Hour::of(at("2026-11-10T12:00:00Z")),
            ..day
        };
        let used = runaway.used(noon, at("2026-11-20T00:00:00Z"));
        assert_eq!(used.len(), 1, "only what is asked for");
    }
}
