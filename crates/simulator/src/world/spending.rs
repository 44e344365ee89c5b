//! Computes spend as a pure function of seed, workspace, model and hour, with weekdays, office hours, growth and launches.
//!
//! It uses integers only, so that every machine computes the same, and no state, so that hours can be computed in any order.

use jiff::Timestamp;

use spendwatch_domain::units::span::{Hour, HourSpan};

/// Spend pattern of one workspace with one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendPattern {
    /// Average, in 10⁻⁶ USD.
    pub micros_per_hour: i64,
    /// Follows office hours and weekends; otherwise it is constant.
    pub is_human: bool,
    pub growth_permille: i64,
    pub launched: Hour,
    /// Hours behind UTC: 8 is California, -8 is Singapore.
    pub hours_behind: i32,
    /// Share of hours without usage, in thousandths.
    pub idle_permille: u64,
}

impl SpendPattern {
    /// Creates a pattern of UTC office hours (if `is_human`) with slow growth.
    pub fn new(micros_per_hour: i64, is_human: bool, since: Timestamp) -> SpendPattern {
        SpendPattern {
            micros_per_hour,
            is_human,
            growth_permille: 12,
            launched: Hour::containing(since),
            hours_behind: 0,
            idle_permille: 0,
        }
    }
}

/// Spend pattern with its model and the hours in which it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendStream {
    /// Index into `World::models`.
    pub model: usize,
    pub pattern: SpendPattern,
    /// Makes the noise of streams independent.
    pub salt: u64,
    pub hours: HourSpan,
}

/// Office hours: thousandths of the average by hour of the day.
const OFFICE_HOURS: [i64; 24] = [
    120, 80, 60, 60, 80, 150, 400, 900, 1600, 2100, 2300, 2200, 1800, 2100, 2300, 2200, 1900, 1400,
    900, 600, 450, 350, 250, 170,
];

/// Thousandths of the average by weekday, from Monday.
const WEEKDAYS: [i64; 7] = [1150, 1250, 1250, 1200, 1050, 350, 300];

/// Returns the spend of a whole hour in 10⁻⁶ USD.
pub fn spend(seed: u64, pattern: &SpendPattern, salt: u64, hour: Hour) -> i64 {
    if hour < pattern.launched {
        return 0;
    }
    let hour_count = i64::from(hour.count());
    let random = mix(seed ^ salt ^ hour_count.unsigned_abs());
    if (random >> 32) % 1000 < pattern.idle_permille {
        return 0;
    }
    let weeks = i64::from(hour.count() - pattern.launched.count()) / 168;
    let mut micros =
        pattern.micros_per_hour + pattern.micros_per_hour * pattern.growth_permille * weeks / 1000;
    if pattern.is_human {
        let local = hour_count - i64::from(pattern.hours_behind);
        let of_day = usize::try_from(local.rem_euclid(24)).expect("below 24");
        // 1970-01-01 was a Thursday.
        let of_week = usize::try_from((local.div_euclid(24) + 3).rem_euclid(7)).expect("below 7");
        micros = micros * OFFICE_HOURS[of_day] / 1000 * WEEKDAYS[of_week] / 1000;
    }
    let noise = 700 + i64::try_from(random % 601).expect("below 601");
    micros * noise / 1000
}

/// List prices of a model family in cents per million tokens, and the price of a typical request in 10⁻⁶ USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPrices {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub request_micros: i64,
}

/// Returns the prices by the family in the model's name; unknown models have those of the middle family.
pub fn prices(model: &str) -> ModelPrices {
    let (input, request_micros) = if model.contains("opus") {
        (500, 60_000)
    } else if model.contains("haiku") {
        (100, 4_000)
    } else {
        (300, 20_000)
    };
    ModelPrices {
        input,
        output: input * 5,
        cache_read: input / 10,
        request_micros,
    }
}

/// Returns a pseudo-random number (the finalizer of `SplitMix64`).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a hash of workspace and model.
pub fn salt(workspace: &str, model: &str) -> u64 {
    workspace
        .bytes()
        .chain(model.bytes())
        .fold(7, |hash, byte| mix(hash ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> SpendPattern {
        SpendPattern {
            micros_per_hour: 4_000_000,
            is_human: true,
            growth_permille: 12,
            launched: Hour::from_count(24 * 20_000),
            hours_behind: 0,
            idle_permille: 0,
        }
    }

    /// Day 20,000 is a Friday.
    fn spend_of_day(pattern: &SpendPattern, n: i32) -> i64 {
        let first = Hour::from_count(24 * (20_000 + n));
        (0..24)
            .map(|hour| spend(1, pattern, 7, first.plus(hour)))
            .sum()
    }

    #[test]
    fn spend_drops_on_weekends_and_grows() {
        assert!(
            spend_of_day(&pattern(), 1) * 2 < spend_of_day(&pattern(), 4),
            "Saturday, Monday"
        );
        assert!(spend_of_day(&pattern(), 4 + 70) > spend_of_day(&pattern(), 4));
        assert_eq!(spend_of_day(&pattern(), -1), 0, "not launched");
    }

    #[test]
    fn time_zones_shift_office_hours_and_idle_hours_have_no_spend() {
        let noon = Hour::from_count(24 * 20_004 + 10);
        let west = SpendPattern {
            hours_behind: 8,
            ..pattern()
        };
        assert!(spend(1, &west, 7, noon) * 5 < spend(1, &pattern(), 7, noon));
        assert!(spend(1, &west, 7, noon.plus(8)) > spend(1, &west, 7, noon) * 5);
        let idle = SpendPattern {
            idle_permille: 600,
            ..pattern()
        };
        let n_idle = (0..1000)
            .filter(|of| spend(1, &idle, 7, noon.plus(*of)) == 0)
            .count();
        assert!((500..700).contains(&n_idle), "{n_idle}");
    }

    #[test]
    fn spend_depends_on_the_seed() {
        let hour = Hour::from_count(24 * 20_004 + 10);
        assert_eq!(spend(1, &pattern(), 7, hour), spend(1, &pattern(), 7, hour));
        assert_ne!(spend(1, &pattern(), 7, hour), spend(2, &pattern(), 7, hour));
    }
}
