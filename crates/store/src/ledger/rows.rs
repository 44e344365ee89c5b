//! Rows of the ledger: usage, pending removals (`doubts` in the schema) and totals (`recorded`).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, Connection, Row, Transaction, ffi, params, params_from_iter};

use crate::db::query;
use crate::db::values::{
    AMOUNT_COLUMNS, StoredTime, amount_columns, amount_names, amounts_from_row,
    granularity_from_number, granularity_number, kind_number, time_from_row,
};
use crate::error::StoreErrorCause;
use crate::ledger::row_ids::UsageKeyIds;
use spendwatch_domain::ledger::change::{RowChange, RowKind};
use spendwatch_domain::org::directory::PendingRemoval;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Amounts, Granularity, UsageKey};

/// A bucket: its granularity and its first hour.
pub type Bucket = (Granularity, Hour);

/// Loads a part's pending removals in a span.
pub(crate) fn pending_removals(
    db: &Connection,
    part: i64,
    hours: HourSpan,
) -> Result<BTreeMap<Bucket, PendingRemoval>, StoreErrorCause> {
    let sql = "SELECT granularity, hour, since, n_answers FROM doubts
               WHERE part_id = ?1 AND hour >= ?2 AND hour < ?3";
    let span = params![part, hours.start.count(), hours.end.count()];
    query::all(db, sql, span, |row| {
        let removal = PendingRemoval {
            since: time_from_row(row, 2)?,
            n_responses: row.get(3)?,
        };
        Ok((bucket_from_row(row)?, removal))
    })
}

/// Reads the columns `granularity` and `hour`.
pub(crate) fn bucket_from_row(row: &Row<'_>) -> Result<Bucket, StoreErrorCause> {
    let granularity = granularity_from_number(row.get(0)?)?;
    Ok((granularity, Hour::from_count(row.get(1)?)))
}

/// Loads a part's buckets whose last response could not be read.
pub(crate) fn unreadable_buckets(
    db: &Connection,
    part: i64,
) -> Result<BTreeSet<Bucket>, StoreErrorCause> {
    let sql = "SELECT granularity, hour FROM doubts WHERE part_id = ?1 AND n_answers = 0";
    query::all(db, sql, [part], bucket_from_row)
}

/// Calls `each` with hour, usage key id and amounts of a part's rows of one kind in a span.
pub(crate) fn for_rows(
    db: &Connection,
    part: i64,
    kind: RowKind,
    hours: HourSpan,
    mut each: impl FnMut(Hour, i64, Amounts) -> Result<(), StoreErrorCause>,
) -> Result<(), StoreErrorCause> {
    if hours.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT hour, cell_id, {} FROM usage
         WHERE part_id = ?1 AND kind = ?2 AND hour >= ?3 AND hour < ?4",
        amount_names()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        part,
        kind_number(kind),
        hours.start.count(),
        hours.end.count()
    ])?;
    while let Some(row) = rows.next()? {
        each(
            Hour::from_count(row.get(0)?),
            row.get(1)?,
            amounts_from_row(row, 2)?,
        )?;
    }
    Ok(())
}

/// Writes rows and totals with statements that are prepared once.
pub(crate) struct RowWriter<'tx> {
    tx: &'tx Transaction<'tx>,
    cells: UsageKeyIds,
    set: CachedStatement<'tx>,
    remove: CachedStatement<'tx>,
    add: CachedStatement<'tx>,
}

impl<'tx> RowWriter<'tx> {
    pub(crate) fn new(tx: &'tx Transaction<'tx>) -> Result<RowWriter<'tx>, StoreErrorCause> {
        let names = amount_names();
        let n_keys = 4;
        let places = |n_keys: usize| {
            let places: Vec<String> = (1..=n_keys + AMOUNT_COLUMNS.len())
                .map(|place| format!("?{place}"))
                .collect();
            places.join(", ")
        };
        let replaced: Vec<String> = AMOUNT_COLUMNS
            .iter()
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let set = format!(
            "INSERT INTO usage (part_id, kind, hour, cell_id, {names}) VALUES ({})
             ON CONFLICT DO UPDATE SET {}",
            places(n_keys),
            replaced.join(", ")
        );
        // On overflow of 64 bits, SQLite computes a float, which the integer column rejects.
        let added: Vec<String> = AMOUNT_COLUMNS.iter().map(|name| added(name)).collect();
        let add = format!(
            "INSERT INTO recorded (part_id, cell_id, {names}) VALUES ({})
             ON CONFLICT DO UPDATE SET {}",
            places(2),
            added.join(", ")
        );
        Ok(RowWriter {
            tx,
            cells: UsageKeyIds::default(),
            set: tx.prepare_cached(&set)?,
            remove: tx.prepare_cached(
                "DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour = ?3 AND cell_id = ?4",
            )?,
            add: tx.prepare_cached(&add)?,
        })
    }

    /// Writes a row, or removes it if all amounts are zero.
    pub(crate) fn write(&mut self, part: i64, row: &RowChange) -> Result<(), StoreErrorCause> {
        let (kind, hour) = (kind_number(row.kind), row.hour.count());
        let usage_key = self.cells.get(self.tx, &row.usage_key)?;
        if row.amounts.is_zero() {
            self.remove.execute(params![part, kind, hour, usage_key])?;
            return Ok(());
        }
        let key = [part, kind, hour.into(), usage_key];
        let amounts = amount_columns(&row.amounts)?;
        self.set
            .execute(params_from_iter(key.into_iter().chain(amounts)))?;
        Ok(())
    }

    /// Adds to the total of a part and usage key.
    pub(crate) fn add_to_recorded(
        &mut self,
        part: i64,
        usage_key: &UsageKey,
        delta: &Amounts,
    ) -> Result<(), StoreErrorCause> {
        let usage_key = self.cells.get(self.tx, usage_key)?;
        let key = [part, usage_key];
        let amounts = amount_columns(delta)?;
        match self
            .add
            .execute(params_from_iter(key.into_iter().chain(amounts)))
        {
            Ok(_) => Ok(()),
            Err(error) if is_of_another_type(&error) => {
                Err(StoreErrorCause::Overflow("a sum of all that was recorded"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the assignment that adds to a column; the lower column of an amount carries over to the upper one.
fn added(name: &str) -> String {
    let lower = match name {
        "usd" => Some("pico".to_owned()),
        _ => name
            .strip_suffix("_usd")
            .map(|amount| format!("{amount}_pico")),
    };
    match lower {
        Some(lower) => format!(
            "{name} = {name} + excluded.{name} + ({lower} + excluded.{lower}) / 1000000000000"
        ),
        None if name.ends_with("pico") => {
            format!("{name} = ({name} + excluded.{name}) % 1000000000000")
        }
        None => format!("{name} = {name} + excluded.{name}"),
    }
}

fn is_of_another_type(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_DATATYPE)
}

pub(crate) fn write_pending_removal(
    tx: &Transaction<'_>,
    part: i64,
    (granularity, hour): Bucket,
    removal: Option<PendingRemoval>,
) -> Result<(), StoreErrorCause> {
    let (granularity, hour) = (granularity_number(granularity), hour.count());
    match removal {
        Some(removal) => query::run(
            tx,
            "INSERT INTO doubts (part_id, granularity, hour, since, n_answers) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET since = excluded.since, n_answers = excluded.n_answers",
            params![part, granularity, hour, StoredTime(removal.since), removal.n_responses],
        )?,
        None => query::run(
            tx,
            "DELETE FROM doubts WHERE part_id = ?1 AND granularity = ?2 AND hour = ?3",
            params![part, granularity, hour],
        )?,
    };
    Ok(())
}
