//! What is stored of a part in some days, and what lies between a before and an after: rows, sums, doubts.
//!
//! Everything is derived by comparing the two, so that the sums that live in memory and the rows in the store cannot drift
//! apart.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::domain::coverage::Coverage;
use crate::domain::directory::Doubt;
use crate::domain::money::Usd;
use crate::domain::span::Hour;
use crate::domain::usage::{Amounts, Buckets, Cell, Cells, Granularity, add_to};

/// The three kinds of rows that a part has in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An hour as the API told it.
    Hour,
    /// What a settled day's row has beyond the day's hours; stands at the day's last hour.
    Booked,
    /// A day as the API told it; stands at the day's first hour.
    Day,
}

/// One part's rows and doubts in some whole days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// By hour.
    pub hours: Buckets,
    /// By the day's last hour.
    pub booked: Buckets,
    /// By the day's first hour.
    pub days: Buckets,
    /// Buckets that vanished from an answer, by granularity and first hour.
    pub doubts: BTreeMap<(Granularity, Hour), Doubt>,
}

/// A row's new amounts; all zero removes the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    pub kind: Kind,
    pub hour: Hour,
    /// Which model, and which key.
    pub cell: Cell,
    pub amounts: Amounts,
}

/// How much the sum over any span that holds `hour` changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The hour that the change counts in.
    pub hour: Hour,
    /// Which model, and which key.
    pub cell: Cell,
    pub amounts: Amounts,
}

/// What one answer changes for one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Rows to write or remove.
    pub rows: Vec<RowChange>,
    /// The same as changes of sums.
    pub deltas: Vec<Delta>,
    /// Doubts to write, or to remove where `None`.
    pub doubts: Vec<((Granularity, Hour), Option<Doubt>)>,
    pub coverage: Coverage,
    /// Whether that differs from before in more than `as_of`.
    pub is_coverage_changed: bool,
    /// Hours that had been settled and whose spend fell.
    pub fell: BTreeSet<Hour>,
    /// Buckets whose remainder has to be derived anew: changed, or settled by this answer.
    pub touched: BTreeSet<(Granularity, Hour)>,
    pub is_complete: bool,
}

impl Recorded {
    /// Whether nothing is to be written.
    pub fn is_nothing(&self) -> bool {
        let is_same = self.rows.is_empty() && self.deltas.is_empty() && self.doubts.is_empty();
        is_same && self.touched.is_empty() && !self.is_coverage_changed
    }
}

/// The amounts that count, by hour: hours and what is booked from `hours_from` on, days before it.
pub fn effective(stored: &Stored, coverage: &Coverage) -> Buckets {
    let mut counted = Buckets::new();
    let mut take = |rows: &Buckets, is_hourly: bool| {
        for (hour, cells) in rows
            .iter()
            .filter(|(hour, _)| coverage.is_hourly(hour.day()) == is_hourly)
        {
            let bucket = counted.entry(*hour).or_default();
            for (cell, amounts) in cells {
                add_to(bucket, cell, *amounts);
            }
        }
    };
    take(&stored.hours, true);
    take(&stored.booked, true);
    take(&stored.days, false);
    counted
}

/// A bucket as it is told; an empty one is no row.
pub fn set(rows: &mut Buckets, hour: Hour, mut cells: Cells) {
    cells.retain(|_, amounts| !amounts.is_zero());
    if cells.is_empty() {
        rows.remove(&hour);
    } else {
        rows.insert(hour, cells);
    }
}

/// From before to after. `next` is the coverage afterwards.
pub fn compare(
    before: &Stored,
    after: &Stored,
    coverage: &Coverage,
    next: Coverage,
    settle: SignedDuration,
    is_complete: bool,
) -> Recorded {
    let mut rows = Vec::new();
    let mut touched = BTreeSet::new();
    let kinds = [
        (Kind::Hour, &before.hours, &after.hours),
        (Kind::Booked, &before.booked, &after.booked),
        (Kind::Day, &before.days, &after.days),
    ];
    for (kind, old, new) in kinds {
        for (hour, cell, amounts) in changed_cells(old, new) {
            match kind {
                Kind::Hour => touched.insert((Granularity::Hour, hour)),
                Kind::Day => touched.insert((Granularity::Day, hour)),
                Kind::Booked => false,
            };
            rows.push(RowChange {
                kind,
                hour,
                cell,
                amounts,
            });
        }
    }
    let (counted_before, counted_after) = (effective(before, coverage), effective(after, &next));
    let mut deltas = Vec::new();
    let mut moved: BTreeMap<Hour, Usd> = BTreeMap::new();
    for (hour, cell, amounts) in changed_cells(&counted_before, &counted_after) {
        let old = counted_before
            .get(&hour)
            .and_then(|cells| cells.get(&cell))
            .copied()
            .unwrap_or_default();
        *moved.entry(hour).or_default() += amounts.spend - old.spend;
        deltas.push(Delta {
            hour,
            cell,
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
        .doubts
        .keys()
        .chain(after.doubts.keys())
        .copied()
        .collect();
    let doubts = keys
        .into_iter()
        .filter(|key| before.doubts.get(key) != after.doubts.get(key))
        .map(|key| (key, after.doubts.get(&key).copied()));
    let is_coverage_changed = *coverage
        != Coverage {
            as_of: coverage.as_of,
            ..next.clone()
        };
    Recorded {
        is_coverage_changed,
        fell: fell.collect(),
        doubts: doubts.collect(),
        rows,
        deltas,
        coverage: next,
        touched,
        is_complete,
    }
}

/// Cells that differ, with their new amounts.
fn changed_cells(old: &Buckets, new: &Buckets) -> Vec<(Hour, Cell, Amounts)> {
    let empty = Cells::new();
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
        let cells: BTreeSet<&Cell> = was.keys().chain(is.keys()).collect();
        for cell in cells
            .into_iter()
            .filter(|cell| was.get(*cell) != is.get(*cell))
        {
            changed.push((
                hour,
                cell.clone(),
                is.get(cell).copied().unwrap_or_default(),
            ));
        }
    }
    changed
}
