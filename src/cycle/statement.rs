//! The ledger's month against the service's own account of it, whenever that was read anew.

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::domain::frame::FrameKey;
use crate::domain::knowledge::reaches_back;
use crate::domain::money::Usd;
use crate::domain::period::{Period, Zone};
use crate::domain::span::{Hour, HourSpan};
use crate::domain::statement;
use crate::domain::usage::Part;
use crate::store::error::StoreError;

impl Watcher {
    /// Compares the two where both are known whole in this cycle; else what was found before stands.
    pub(in crate::cycle) async fn compare_statement(
        &mut self,
        polled_at: Timestamp,
    ) -> Result<(), StoreError> {
        let is_new = std::mem::take(&mut self.has_new_statement);
        let info = self.directory.organization.as_ref();
        let stated = info.and_then(|info| info.current_month_usage);
        let (true, Some(stated)) = (is_new, stated) else {
            return Ok(());
        };
        let Some((ledger, month_start)) = self.whole_month() else {
            return Ok(());
        };
        let settled = self.figures.newest_settled_hour(polled_at);
        // Until an hour of the month is settled, the service may still state the month before.
        if Hour::of(month_start) > settled {
            self.difference = None;
            return Ok(());
        }
        let unsettled = HourSpan {
            start: settled.plus(1),
            end: Hour::of(polled_at).plus(1),
        };
        let name = &self.settings.organization;
        let sums = self.store.sums(name, unsettled).await?;
        let unsettled = sums.iter().map(|(_, _, amounts)| amounts.spend).sum();
        self.difference = statement::compare(ledger, unsettled, stated);
        Ok(())
    }

    /// The month of all parts, and its start; `None` where something of it is not known.
    fn whole_month(&self) -> Option<(Usd, Timestamp)> {
        let key = FrameKey {
            period: Period::Month,
            zone: Zone::utc(),
        };
        let (month, _) = self.figures.frame(&key)?;
        let mut sum = Usd::ZERO;
        for (place, state) in self.figures.parts().iter().enumerate() {
            let is_asked = self.is_asked(&state.part) || state.part == Part::Unattributed;
            let is_known = state.is_fresh && !state.is_unreadable_in(month.hours);
            if is_asked && !(is_known && reaches_back(state, month.cut.span.start)) {
                return None;
            }
            if state.part != Part::Whole {
                sum += month.sum_of(place).spend;
            }
        }
        Some((sum, month.cut.span.start))
    }
}
