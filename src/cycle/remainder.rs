//! Derives the remainder: usage of the whole organization that belongs to no workspace, by bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cycle::state::Watcher;
use spendwatch_domain::ledger::coverage::{Coverage, is_day_settled, is_settled};
use spendwatch_domain::ledger::record::{record_remainder, remainder};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Granularity, Part, UsageByKey, sum};
use spendwatch_store::error::StoreError;

/// Maximum rounding per part, 10⁻⁶ USD; a more negative remainder of a settled bucket is logged.
const ROUNDING_PICO: i128 = 1_000_000;

impl Watcher {
    /// Derives every remainder that is due and whose parts are known. Buckets since the last poll of a stale part keep their
    /// figure and stay due.
    pub(in crate::cycle) async fn derive_remainders(&mut self) -> Result<(), StoreError> {
        let Some(whole) = self.coverages.get(&Part::Whole).cloned() else {
            return Ok(());
        };
        let due: Vec<(Granularity, Hour)> = self
            .remainders_due
            .iter()
            .copied()
            .filter(|(granularity, hour)| self.is_derivable(*granularity, *hour, &whole))
            .collect();
        let name = self.settings.organization.clone();
        let before = self.coverages.get(&Part::Unattributed).cloned();
        let mut next = Coverage {
            recheck: Default::default(),
            ..whole
        };
        next.corrected_at = None;
        let is_known = before
            .as_ref()
            .is_some_and(|before| before.hours_from == next.hours_from && before.days == next.days);
        if due.is_empty() && is_known {
            return Ok(());
        }
        let of_whole = self.store.whole(&name, &due).await?;
        let of_listed = self.store.listed_sum(&name, &due).await?;
        let buckets = self.remainders(&due, &of_whole, &of_listed);
        let before = before.unwrap_or_else(|| Coverage {
            hours_from: None,
            days: None,
            as_of: None,
            ..next.clone()
        });
        let days = touched_days(&due, &before, &next);
        let stored = self.store.stored(&name, &Part::Unattributed, days).await?;
        let settle = self.settings.poll.settle;
        let waits = |(granularity, hour): &(Granularity, Hour)| {
            (*granularity == Granularity::Day && !due.contains(&(*granularity, *hour)))
                .then(|| hour.day())
        };
        let undecided = self.remainders_due.iter().filter_map(waits).collect();
        let recorded = record_remainder(&buckets, &before, next, days, &undecided, &stored, settle);
        let changes: Arc<[_]> = Arc::new([(Part::Unattributed, recorded)]);
        self.store
            .record(&name, Arc::clone(&changes), due.clone())
            .await?;
        for bucket in &due {
            self.remainders_due.remove(bucket);
        }
        for (part, recorded) in changes.iter() {
            self.apply_recorded(part, recorded);
        }
        Ok(())
    }

    /// Returns whether the whole and every workspace are known in a bucket.
    fn is_derivable(&self, granularity: Granularity, hour: Hour, whole: &Coverage) -> bool {
        let settle = self.settings.poll.settle;
        let mut unreadable = self.unreadable.keys().filter(|part| self.is_polled(part));
        if unreadable.any(|part| self.is_unreadable(part, (granularity, hour))) {
            return false;
        }
        let is_covered = |coverage: &Coverage| match granularity {
            Granularity::Hour => {
                let is_current = coverage.as_of == Some(self.polled_at);
                coverage.is_hourly(hour.day()) && (is_current || coverage.has_settled(hour, settle))
            }
            Granularity::Day => {
                coverage.has_day(hour.day())
                    || (coverage.days.is_some() && !coverage.is_hourly(hour.day()))
            }
        };
        is_covered(whole)
            && self.directory.present().all(|workspace| {
                self.coverages
                    .get(&Part::Workspace(workspace.id.clone()))
                    .is_some_and(is_covered)
            })
    }

    fn remainders(
        &self,
        due: &[(Granularity, Hour)],
        of_whole: &BTreeMap<(Granularity, Hour), UsageByKey>,
        of_listed: &BTreeMap<(Granularity, Hour), UsageByKey>,
    ) -> BTreeMap<(Granularity, Hour), UsageByKey> {
        let empty = UsageByKey::new();
        let mut buckets = BTreeMap::new();
        for bucket in due {
            let (granularity, hour) = bucket;
            let is_settled = match granularity {
                Granularity::Hour => is_settled(*hour, self.settings.poll.settle, self.polled_at),
                Granularity::Day => is_day_settled(hour.day(), self.polled_at),
            };
            let whole = of_whole.get(bucket).unwrap_or(&empty);
            let rest = remainder(whole, of_listed.get(bucket).unwrap_or(&empty), is_settled);
            self.warn_about_negative(sum(&rest).spend, *hour);
            buckets.insert(*bucket, rest);
        }
        buckets
    }

    fn warn_about_negative(&self, rest: Usd, hour: Hour) {
        let n_parts = i128::try_from(self.coverages.len()).unwrap_or(i128::MAX);
        if rest.pico() < -ROUNDING_PICO * n_parts {
            tracing::warn!(
                organization.name = %self.settings.organization,
                bucket.start = %hour.start(),
                "the workspaces sum to more than the whole organization, keeping a negative remainder of {rest} USD"
            );
        }
    }
}

/// Returns the whole days of the buckets, and days whose figures move from day rows to hours.
fn touched_days(due: &[(Granularity, Hour)], before: &Coverage, next: &Coverage) -> HourSpan {
    let mut days: Vec<Day> = due.iter().map(|(_, hour)| hour.day()).collect();
    if before.hours_from != next.hours_from {
        days.extend(before.hours_from.map(|day| day.plus(-1)));
        days.extend(next.hours_from);
    }
    if before.days != next.days {
        for span in [before.days, next.days].into_iter().flatten() {
            days.extend([span.start, span.end]);
        }
    }
    let first = days.iter().min().copied().unwrap_or(Day::from_count(0));
    let last = days.iter().max().copied().unwrap_or(first);
    HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    }
}
