//! What the ledger contains of a part in some days, and the changes between two such states.
//!
//! All changes are derived by comparison, so that the sums in memory cannot diverge from the rows in the store.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::ledger::coverage::Coverage;
use crate::org::directory::PendingRemoval;
use crate::org::last_uses::LastUses;
use crate::units::money::Usd;
use crate::units::span::Hour;
use crate::usage::bucket::{Amounts, Buckets, Granularity, UsageByKey, UsageKey, add_to};

/// The kinds of ledger rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    Hour,
    /// The difference between a settled day row and the day's hours; at the day's last hour.
    Booked,
    /// A reported day; at the day's first hour.
    Day,
}

/// A part's rows and pending removals in some whole days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredUsage {
    pub hours: Buckets,
    /// By last hour of the day.
    pub booked: Buckets,
    /// By first hour of the day.
    pub days: Buckets,
    /// Buckets missing from a response, by granularity and first hour.
    pub pending_removals: BTreeMap<(Granularity, Hour), PendingRemoval>,
}

/// New amounts of a row; all zero removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    pub kind: RowKind,
    pub hour: Hour,
    pub usage_key: UsageKey,
    pub amounts: Amounts,
}

/// The change of the sum over any span that contains `hour`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub hour: Hour,
    pub usage_key: UsageKey,
    pub amounts: Amounts,
}

/// What one response changes for one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartChanges {
    pub rows: Vec<RowChange>,
    /// The same changes as deltas of sums.
    pub deltas: Vec<Delta>,
    /// Pending removals to write, or to delete if `None`.
    pub pending_removals: Vec<((Granularity, Hour), Option<PendingRemoval>)>,
    pub coverage: Coverage,
    /// Whether `coverage` changed in more than `as_of`.
    pub is_coverage_changed: bool,
    /// Settled hours whose spend decreased.
    pub decreased: BTreeSet<Hour>,
    /// Buckets whose remainder must be derived again: changed, or settled by this response.
    pub touched: BTreeSet<(Granularity, Hour)>,
    pub is_complete: bool,
}

impl PartChanges {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let is_same =
            self.rows.is_empty() && self.deltas.is_empty() && self.pending_removals.is_empty();
        is_same && self.touched.is_empty() && !self.is_coverage_changed
    }

    /// Updates the last uses. Removed rows, which may have been the newest of a key or user, are found when the ledger
    /// is loaded again.
    pub fn record_last_uses(&self, uses: &mut LastUses) {
        let hours_from = self.coverage.hours_from;
        for row in self.rows.iter().filter(|row| !row.amounts.is_zero()) {
            let is_in_hours = hours_from.is_some_and(|from| row.hour >= from.first_hour());
            // A day counts by its own row if its hours are not known.
            let (counts, n_hours) = match row.kind {
                RowKind::Hour | RowKind::Booked => (is_in_hours, 1),
                RowKind::Day => (!is_in_hours, 24),
            };
            if counts {
                uses.record(
                    &row.usage_key,
                    row.hour.start(),
                    row.hour.plus(n_hours).start(),
                );
            }
        }
    }
}

/// Returns the amounts that count, by hour: hours and booked differences from `hours_from` on, days before it.
pub fn effective(stored: &StoredUsage, coverage: &Coverage) -> Buckets {
    let mut counted = Buckets::new();
    let mut take = |rows: &Buckets, is_hourly: bool| {
        for (hour, usage) in rows
            .iter()
            .filter(|(hour, _)| coverage.is_hourly(hour.day()) == is_hourly)
        {
            let bucket = counted.entry(*hour).or_default();
            for (usage_key, amounts) in usage {
                add_to(bucket, usage_key, *amounts);
            }
        }
    };
    take(&stored.hours, true);
    take(&stored.booked, true);
    take(&stored.days, false);
    counted
}

/// Sets a bucket; an empty one removes the row.
pub fn set(rows: &mut Buckets, hour: Hour, mut usage: UsageByKey) {
    usage.retain(|_, amounts| !amounts.is_zero());
    if usage.is_empty() {
        rows.remove(&hour);
    } else {
        rows.insert(hour, usage);
    }
}

/// Derives the changes between two states. `next` is the coverage afterwards.
pub fn compare(
    before: &StoredUsage,
    after: &StoredUsage,
    coverage: &Coverage,
    next: Coverage,
    settle: SignedDuration,
    is_complete: bool,
) -> PartChanges {
    let mut rows = Vec::new();
    let mut touched = BTreeSet::new();
    let kinds = [
        (RowKind::Hour, &before.hours, &after.hours),
        (RowKind::Booked, &before.booked, &after.booked),
        (RowKind::Day, &before.days, &after.days),
    ];
    for (kind, old, new) in kinds {
        for (hour, usage_key, amounts) in changed_cells(old, new) {
            match kind {
                RowKind::Hour => touched.insert((Granularity::Hour, hour)),
                RowKind::Day => touched.insert((Granularity::Day, hour)),
                RowKind::Booked => false,
            };
            rows.push(RowChange {
                kind,
                hour,
                usage_key,
                amounts,
            });
        }
    }
    let (counted_before, counted_after) = (effective(before, coverage), effective(after, &next));
    let mut deltas = Vec::new();
    let mut moved: BTreeMap<Hour, Usd> = BTreeMap::new();
    for (hour, usage_key, amounts) in changed_cells(&counted_before, &counted_after) {
        let old = counted_before
            .get(&hour)
            .and_then(|usage| usage.get(&usage_key))
            .copied()
            .unwrap_or_default();
        *moved.entry(hour).or_default() += amounts.spend - old.spend;
        deltas.push(Delta {
            hour,
            usage_key,
            amounts: amounts - old,
        });
    }
    let had_settled = |hour: Hour| {
        if coverage.is_hourly(hour.day()) {
            coverage.has_settled(hour, settle)
        } else {
            coverage.has_day(hour.day())
        }
    };
    let fell = moved
        .iter()
        .filter(|(hour, spend)| **spend < Usd::ZERO && had_settled(**hour))
        .map(|(hour, _)| *hour);
    let keys: BTreeSet<_> = before
        .pending_removals
        .keys()
        .chain(after.pending_removals.keys())
        .copied()
        .collect();
    let pending_removals = keys
        .into_iter()
        .filter(|key| before.pending_removals.get(key) != after.pending_removals.get(key))
        .map(|key| (key, after.pending_removals.get(&key).copied()));
    let is_coverage_changed = *coverage
        != Coverage {
            as_of: coverage.as_of,
            ..next.clone()
        };
    PartChanges {
        is_coverage_changed,
        decreased: fell.collect(),
        pending_removals: pending_removals.collect(),
        rows,
        deltas,
        coverage: next,
        touched,
        is_complete,
    }
}

/// Returns the keys that differ, with their new amounts.
fn changed_cells(old: &Buckets, new: &Buckets) -> Vec<(Hour, UsageKey, Amounts)> {
    let empty = UsageByKey::new();
    let hours: BTreeSet<Hour> = old.keys().chain(new.keys()).copied().collect();
    let mut changed = Vec::new();
    for hour in hours {
        let (was, is) = (
            old.get(&hour).unwrap_or(&empty),
            new.get(&hour).unwrap_or(&empty),
        );
        if was == is {
            continue;
        }
        let usage: BTreeSet<&UsageKey> = was.keys().chain(is.keys()).collect();
        for usage_key in usage
            .into_iter()
            .filter(|usage_key| was.get(*usage_key) != is.get(*usage_key))
        {
            changed.push((
                hour,
                usage_key.clone(),
                is.get(usage_key).copied().unwrap_or_default(),
            ));
        }
    }
    changed
}
