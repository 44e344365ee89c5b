//! How much is spent: a function of seed, workspace, model and hour, with weekdays, office hours, growth and launches. Whole
//! integers only, so that every machine computes the same.

use crate::domain::span::Hour;

/// Spending of one workspace with one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habit {
    /// In 10⁻⁶ USD in an average hour.
    pub micros_per_hour: i64,
    /// Works in office hours and rests at weekends; otherwise it runs evenly.
    pub is_human: bool,
    /// Growth in thousandths a week.
    pub growth_permille: i64,
    /// Nothing before.
    pub launched: Hour,
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
    let weeks = i64::from(hour.count() - habit.launched.count()) / 168;
    let mut micros =
        habit.micros_per_hour + habit.micros_per_hour * habit.growth_permille * weeks / 1000;
    if habit.is_human {
        let of_day = usize::try_from(hour_count.rem_euclid(24)).expect("below 24");
        // 1970-01-01 was a Thursday.
        let of_week =
            usize::try_from((hour_count.div_euclid(24) + 3).rem_euclid(7)).expect("below 7");
        micros = micros * OFFICE[of_day] / 1000 * WEEK[of_week] / 1000;
    }
    let noise =
        700 + i64::try_from(mix(seed ^ salt ^ hour_count.unsigned_abs()) % 601).expect("below 601");
    micros * noise / 1000
}

/// A number that looks random (the finalizer of `SplitMix64`).
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
