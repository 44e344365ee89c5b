//! Adds exact usage and corrections to the world, and removes usage.

use jiff::Timestamp;

use crate::world::World;
use crate::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

impl World {
    /// Adds spend in USD with up to six decimals; negative corrects downward.
    pub fn spend(&mut self, workspace: &str, model: &str, at: Timestamp, usd: &str) {
        let micros = micros(usd);
        let used = SimulatedUsage {
            micros,
            input: micros / 3,
            output: micros / 15,
            requests: 1,
            ..SimulatedUsage::default()
        };
        self.add_usage(workspace, model, at, used);
    }

    /// Adds usage.
    pub fn add_usage(&mut self, workspace: &str, model: &str, at: Timestamp, used: SimulatedUsage) {
        let models = self
            .used
            .entry(workspace.to_owned())
            .or_default()
            .entry(Hour::containing(at))
            .or_default();
        *models.entry(model.to_owned()).or_default() += used;
    }

    /// Adds usage with its key, user and other traits.
    pub fn add_detailed_usage(
        &mut self,
        workspace: &str,
        model: &str,
        at: Timestamp,
        used: SimulatedUsage,
        detail: UsageDetail,
    ) {
        let hours = self.details.entry(workspace.to_owned()).or_default();
        let of_hour = hours.entry(Hour::containing(at)).or_default();
        of_hour.push((model.to_owned(), detail, used));
        self.add_usage(workspace, model, at, used);
    }

    /// Adds spend for code execution, which has no model and no tokens.
    pub fn add_code_execution(&mut self, workspace: &str, at: Timestamp, micros: i64) {
        let used = SimulatedUsage {
            micros,
            ..SimulatedUsage::default()
        };
        self.add_detailed_usage(workspace, "", at, used, UsageDetail::default());
    }

    /// Adds to a day's row without changing its hours.
    pub fn correct_day(&mut self, workspace: &str, day: Day, usd: &str) {
        *self
            .day_corrections
            .entry((workspace.to_owned(), day))
            .or_default() += micros(usd);
    }

    /// Removes usage; future usage by spend patterns is not affected.
    pub fn remove_usage(&mut self, workspace: &str, hours: HourSpan) {
        if let Some(rows) = self.used.get_mut(workspace) {
            rows.retain(|hour, _| !hours.contains(*hour));
        }
        if let Some(details) = self.details.get_mut(workspace) {
            details.retain(|hour, _| !hours.contains(*hour));
        }
        let end = self
            .simulated_until
            .map_or(hours.end, |until| until.min(hours.end));
        let removed_hours = HourSpan { end, ..hours };
        if !removed_hours.is_empty() {
            self.removed
                .entry(workspace.to_owned())
                .or_default()
                .push(removed_hours);
            self.closed.clear();
        }
    }
}

/// Parses USD with up to six decimals; panics on anything else, because only tests call it.
fn micros(usd: &str) -> i64 {
    let pico = Usd::parse(usd).expect("an amount").pico();
    assert!(pico % 1_000_000 == 0, "`{usd}` has more than six decimals");
    i64::try_from(pico / 1_000_000).expect("fits 64 bits")
}
