//! How much is spent: a function of seed, workspace, model and hour, with weekdays, office hours, growth and launches. Whole
//! integers only, so that every machine computes the same; and no state, so that any hour can be asked for in any order.

use crate::domain::span::{Hour, HourSpan};

/// Spending of one workspace with one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habit {
    /// In 10⁻⁶ USD in an average hour.
    pub micros_per_hour: i64,
    /// Works in office hours and rests at weekends; otherwise it runs evenly.
    pub is_human: bool,
    /// Growth in thousandths a week.
    pub growth_permille: i64,
    pub launched: Hour,
    /// Hours by which its office lies behind UTC: 8 is California, -8 is Singapore.
    pub hours_behind: i32,
    /// Share of its hours without any use, in thousandths.
    pub silent_permille: u64,
}

/// A habit with its model, and when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub model: usize,
    pub habit: Habit,
    /// Tells streams apart, so that they do not tremble alike.
    pub salt: u64,
    /// The hours in which it holds.
    pub hours: HourSpan,
}

/// Thousandths of the average by hour of the day, for what people do.
const OFFICE: [i64; 24] = [
    120, 80, 60, 60, 80, 150, 400, 900, 1600, 2100, 2300, 2200, 1800, 2100, 2300, 2200, 1900, 1400,
    900, 600, 450, 350, 250, 170,
];

/// Thousandths of the average by weekday, from Monday.
const WEEK: [i64; 7] = [1150, 1250, 1250, 1200, 1050, 350, 300];

/// Spend of a whole hour in 10⁻⁶ USD.
pub fn spend(seed: u64, habit: &Habit, salt: u64, hour: Hour) -> i64 {
    if hour < habit.launched {
        return 0;
    }
    let hour_count = i64::from(hour.count());
    let chance = mix(seed ^ salt ^ hour_count.unsigned_abs());
    if (chance >> 32) % 1000 < habit.silent_permille {
        return 0;
    }
    let weeks = i64::from(hour.count() - habit.launched.count()) / 168;
    let mut micros =
        habit.micros_per_hour + habit.micros_per_hour * habit.growth_permille * weeks / 1000;
    if habit.is_human {
        let local = hour_count - i64::from(habit.hours_behind);
        let of_day = usize::try_from(local.rem_euclid(24)).expect("below 24");
        // 1970-01-01 was a Thursday.
        let of_week = usize::try_from((local.div_euclid(24) + 3).rem_euclid(7)).expect("below 7");
        micros = micros * OFFICE[of_day] / 1000 * WEEK[of_week] / 1000;
    }
    let noise = 700 + i64::try_from(chance % 601).expect("below 601");
    micros * noise / 1000
}

/// List prices of a family, in cents per million tokens, and what a usual request costs in 10⁻⁶ USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub request_micros: i64,
}

/// By the family that a model's name tells; any other costs what the middle one does.
pub fn prices(model: &str) -> Prices {
    let (input, request_micros) = if model.contains("opus") {
        (500, 60_000)
    } else if model.contains("haiku") {
        (100, 4_000)
    } else {
        (300, 20_000)
    };
    Prices {
        input,
        output: input * 5,
        cache_read: input / 10,
        request_micros,
    }
}

/// A number that looks random (the finalizer of `SplitMix64`).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number of its own for every workspace and model.
pub fn salt(workspace: &str, model: &str) -> u64 {
    workspace
        .bytes()
        .chain(model.bytes())
        .fold(7, |hash, byte| mix(hash ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn habit() -> Habit {
        Habit {
            micros_per_hour: 4_000_000,
            is_human: true,
            growth_permille: 12,
            launched: Hour::from_count(24 * 20_000),
            hours_behind: 0,
            silent_permille: 0,
        }
    }

    /// Day 20,000 is a Friday.
    fn of_day(habit: &Habit, n: i32) -> i64 {
        let first = Hour::from_count(24 * (20_000 + n));
        (0..24).map(|of| spend(1, habit, 7, first.plus(of))).sum()
    }

    #[test]
    fn weeks_have_weekends_and_grow() {
        assert!(
            of_day(&habit(), 1) * 2 < of_day(&habit(), 4),
            "Saturday, Monday"
        );
        assert!(of_day(&habit(), 4 + 70) > of_day(&habit(), 4));
        assert_eq!(of_day(&habit(), -1), 0, "not launched");
    }

    #[test]
    fn offices_elsewhere_work_later_and_the_silent_are_silent() {
        let noon = Hour::from_count(24 * 20_004 + 10);
        let west = Habit {
            hours_behind: 8,
            ..habit()
        };
        assert!(spend(1, &west, 7, noon) * 5 < spend(1, &habit(), 7, noon));
        assert!(spend(1, &west, 7, noon.plus(8)) > spend(1, &west, 7, noon) * 5);
        let silent = Habit {
            silent_permille: 600,
            ..habit()
        };
        let n_silent = (0..1000)
            .filter(|of| spend(1, &silent, 7, noon.plus(*of)) == 0)
            .count();
        assert!((500..700).contains(&n_silent), "{n_silent}");
    }

    #[test]
    fn another_seed_spends_otherwise_and_the_same_seed_the_same() {
        let hour = Hour::from_count(24 * 20_004 + 10);
        assert_eq!(spend(1, &habit(), 7, hour), spend(1, &habit(), 7, hour));
        assert_ne!(spend(1, &habit(), 7, hour), spend(2, &habit(), 7, hour));
    }
}
