//! True usage by part and model in domain types, for tests; it does not pass through the API's format.

use jiff::Timestamp;

use crate::world::World;
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::bucket::{
    Amounts, Part, Tokens, UsageByKey, UsageKey, add_to, difference,
};

const PICO_PER_MICRO: i128 = 1_000_000;

impl World {
    /// Returns the usage of a part as the API reports it with a full breakdown: cache reads, requests and corrections of days
    /// have model `unattributed`. A correction counts if its whole day is in the span. `Part::Unattributed` is the whole minus
    /// the listed workspaces.
    pub fn truth(&mut self, part: &Part, hours: HourSpan, now: Timestamp) -> UsageByKey {
        match part {
            Part::Workspace(id) => self.cells(Some(id.as_str()), hours, now),
            Part::Whole => self.cells(None, hours, now),
            Part::Unattributed => {
                let listed: Vec<String> = self
                    .workspaces
                    .iter()
                    .map(|workspace| workspace.id.clone())
                    .collect();
                let whole = self.cells(None, hours, now);
                listed.iter().fold(whole, |rest, id| {
                    difference(&rest, &self.cells(Some(id), hours, now))
                })
            }
        }
    }

    fn cells(&mut self, workspace: Option<&str>, hours: HourSpan, now: Timestamp) -> UsageByKey {
        let mut cells = UsageByKey::new();
        let mut rest = Amounts {
            spend: usd(self.corrections(workspace, hours)),
            ..Amounts::ZERO
        };
        let by_hour = self.used(workspace, hours, now);
        for (model, used) in by_hour.into_values().flatten() {
            let amounts = Amounts {
                spend: usd(used.micros),
                tokens: Tokens {
                    input: used.input,
                    output: used.output,
                    ..Tokens::default()
                },
                ..Amounts::ZERO
            };
            add_to(&mut cells, &UsageKey::from(model.as_str()), amounts);
            rest.tokens.cache_read += used.cache_read;
            rest.requests += used.requests;
        }
        add_to(&mut cells, &UsageKey::from(UNATTRIBUTED), rest);
        cells
    }
}

fn usd(micros: i64) -> Usd {
    Usd::from_pico(i128::from(micros) * PICO_PER_MICRO)
}
