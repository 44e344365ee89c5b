//! Compares the ledger's month with the sum that Anthropic states, whenever that was read.

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use spendwatch_domain::figures::figure::reaches_back;
use spendwatch_domain::figures::period_sums::PeriodKey;
use spendwatch_domain::figures::statement;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::error::StoreError;

impl Watcher {
    /// Compares the two if both are completely known in this cycle; else the previous result stays.
    pub(in crate::cycle) async fn compare_statement(&mut self) -> Result<(), StoreError> {
        let is_new = std::mem::take(&mut self.has_new_statement);
        let info = self.directory.organization.as_ref();
        let stated = info.and_then(|info| info.current_month_usage);
        let (true, Some(stated)) = (is_new, stated) else {
            return Ok(());
        };
        let Some((ledger, month_start)) = self.whole_month() else {
            return Ok(());
        };
        let settled = self.figures.newest_settled_hour(self.polled_at);
        // Until an hour of the month is settled, the server may still state the previous month.
        if Hour::containing(month_start) > settled {
            self.difference = None;
            return Ok(());
        }
        let unsettled = HourSpan {
            start: settled.plus(1),
            end: Hour::containing(self.polled_at).plus(1),
        };
        let name = &self.settings.organization;
        let sums = self.store.sums(name, unsettled).await?;
        let unsettled = sums.iter().map(|(_, _, amounts)| amounts.spend).sum();
        self.difference = statement::compare(ledger, unsettled, stated);
        Ok(())
    }

    /// Returns the month's spend of all parts, and its start; `None` if a part is not known completely.
    fn whole_month(&self) -> Option<(Usd, Timestamp)> {
        let (month, _) = self.figures.period_sums(&PeriodKey::utc(Period::Month))?;
        let mut sum = Usd::ZERO;
        for (index, state) in self.figures.parts().iter().enumerate() {
            let is_polled = self.is_polled(&state.part) || state.part == Part::Unattributed;
            let is_known = state.is_fresh && !state.is_unreadable_in(month.hours);
            if is_polled && !(is_known && reaches_back(state, month.period.span.start)) {
                return None;
            }
            if state.part != Part::Whole {
                sum += month.sum_of(index).spend;
            }
        }
        Some((sum, month.period.span.start))
    }
}
