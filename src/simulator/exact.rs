//! What was used exactly, in one manner or in any, what a day is corrected by, and what is forgotten.

use jiff::Timestamp;

use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::world::{Detail, Used, World};

impl World {
    /// Spends exactly so much, in USD with up to six decimals; negative for a correction downward.
    pub fn spend(&mut self, workspace: &str, model: &str, at: Timestamp, usd: &str) {
        let micros = micros(usd);
        let used = Used {
            micros,
            input: micros / 3,
            output: micros / 15,
            requests: 1,
            ..Used::default()
        };
        self.use_exactly(workspace, model, at, used);
    }

    /// Uses exactly so much.
    pub fn use_exactly(&mut self, workspace: &str, model: &str, at: Timestamp, used: Used) {
        let models = self
            .used
            .entry(workspace.to_owned())
            .or_default()
            .entry(Hour::of(at))
            .or_default();
        *models.entry(model.to_owned()).or_default() += used;
    }

    /// Used by one key in one manner.
    pub fn use_as(
        &mut self,
        workspace: &str,
        model: &str,
        at: Timestamp,
        used: Used,
        detail: Detail,
    ) {
        let hours = self.details.entry(workspace.to_owned()).or_default();
        let of_hour = hours.entry(Hour::of(at)).or_default();
        of_hour.push((model.to_owned(), detail, used));
        self.use_exactly(workspace, model, at, used);
    }

    /// Money for code execution: there is neither a model nor a token.
    pub fn run_code(&mut self, workspace: &str, at: Timestamp, micros: i64) {
        let used = Used {
            micros,
            ..Used::default()
        };
        self.use_as(workspace, "", at, used, Detail::default());
    }

    /// A day's row says so much more than its hours.
    pub fn correct_day(&mut self, workspace: &str, day: Day, usd: &str) {
        *self
            .day_extra
            .entry((workspace.to_owned(), day))
            .or_default() += micros(usd);
    }

    /// Rows vanish as if they had never been. What habits will use later is not touched.
    pub fn forget(&mut self, workspace: &str, hours: HourSpan) {
        if let Some(rows) = self.used.get_mut(workspace) {
            rows.retain(|hour, _| !hours.contains(*hour));
        }
        if let Some(details) = self.details.get_mut(workspace) {
            details.retain(|hour, _| !hours.contains(*hour));
        }
        let end = self
            .lived_until
            .map_or(hours.end, |until| until.min(hours.end));
        let lived = HourSpan { end, ..hours };
        if !lived.is_empty() {
            self.forgotten
                .entry(workspace.to_owned())
                .or_default()
                .push(lived);
            self.closed.clear();
        }
    }
}

/// USD with up to six decimals; panics on anything else, as only tests write such texts.
fn micros(usd: &str) -> i64 {
    let pico = Usd::parse(usd).expect("an amount").pico();
    assert!(pico % 1_000_000 == 0, "`{usd}` has more than six decimals");
    i64::try_from(pico / 1_000_000).expect("a sane amount")
}
