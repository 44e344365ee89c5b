//! Amounts of usage, and the traits by which the real API reports them.

use std::collections::BTreeMap;

use crate::world::spending::ModelPrices;
use spendwatch_domain::units::span::Hour;

/// Usage by model.
pub type UsageByModel = BTreeMap<String, SimulatedUsage>;

/// Model, traits and amount by hour.
pub type DetailedUsage = BTreeMap<Hour, Vec<(String, UsageDetail, SimulatedUsage)>>;

/// Usage of one model in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimulatedUsage {
    /// In 10⁻⁶ USD.
    pub micros: i64,
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub requests: i64,
    /// Tokens; not in the guide's API.
    pub cache_write_5m: i64,
    /// Tokens; not in the guide's API.
    pub cache_write_1h: i64,
    /// Their price is part of `micros`; not in the guide's API.
    pub web_searches: i64,
}

/// Key, user and other traits of usage, as the real API reports them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsageDetail {
    pub api_key: Option<String>,
    /// User id, if a user is charged.
    pub user: Option<String>,
    /// `standard`, `batch`, `priority`.
    pub service_tier: String,
    /// `0-200k`, `200k-1M`.
    pub context_window: String,
    /// `global`, `us`.
    pub inference_geo: String,
    pub is_fast: bool,
}

impl Default for UsageDetail {
    fn default() -> UsageDetail {
        UsageDetail {
            api_key: None,
            user: None,
            service_tier: "standard".to_owned(),
            context_window: "0-200k".to_owned(),
            inference_geo: "global".to_owned(),
            is_fast: false,
        }
    }
}

impl SimulatedUsage {
    fn counters(&mut self) -> [&mut i64; 8] {
        [
            &mut self.micros,
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.requests,
            &mut self.cache_write_5m,
            &mut self.cache_write_1h,
            &mut self.web_searches,
        ]
    }

    /// Subtracts a part.
    #[must_use]
    pub fn minus(mut self, part: &SimulatedUsage) -> SimulatedUsage {
        let mut part = *part;
        for (mine, theirs) in self.counters().into_iter().zip(part.counters()) {
            *mine -= *theirs;
        }
        self
    }

    /// Splits into `n` shares; returns the equal share of all but the last, and the last with the remainder.
    pub fn split(self, n: i64) -> (SimulatedUsage, SimulatedUsage) {
        let (mut even, mut last) = (self, self);
        for (even, last) in even.counters().into_iter().zip(last.counters()) {
            *even /= n;
            *last -= *even * (n - 1);
        }
        (even, last)
    }

    /// Derives tokens and requests from spend in 10⁻⁶ USD, by list prices.
    pub fn from_spend(prices: &ModelPrices, micros: i64) -> SimulatedUsage {
        // Percent of 10⁻⁶ USD divided by cents per million tokens gives tokens.
        let tokens = |percent: i64, price: i64| micros * percent / price;
        SimulatedUsage {
            micros,
            input: tokens(38, prices.input),
            output: tokens(52, prices.output),
            cache_read: tokens(10, prices.cache_read),
            requests: micros / prices.request_micros + i64::from(micros > 0),
            ..SimulatedUsage::default()
        }
    }
}

impl std::ops::AddAssign for SimulatedUsage {
    fn add_assign(&mut self, other: SimulatedUsage) {
        // Written out for speed, because this is the innermost step of every report.
        self.micros += other.micros;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.requests += other.requests;
        self.cache_write_5m += other.cache_write_5m;
        self.cache_write_1h += other.cache_write_1h;
        self.web_searches += other.web_searches;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::demo::{HAIKU, OPUS, SONNET};
    use crate::world::spending;

    #[test]
    fn tokens_match_their_spend() {
        for (model, input, output, cache_read) in [
            (OPUS, 500, 2500, 50),
            (SONNET, 300, 1500, 30),
            (HAIKU, 100, 500, 10),
        ] {
            let used = SimulatedUsage::from_spend(&spending::prices(model), 1_000_000_000);
            let hundredths =
                used.input * input + used.output * output + used.cache_read * cache_read;
            let off = used.micros * 100 - hundredths;
            assert!((0..10_000).contains(&off), "{model}: {off}");
            assert!((1_000..1_000_000).contains(&used.requests));
        }
    }
}
