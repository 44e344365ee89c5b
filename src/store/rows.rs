//! Single rows of the ledger: usage, doubts and what was ever counted.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, Connection, Transaction, ffi, params, params_from_iter};

use crate::domain::change::{Kind, RowChange};
use crate::domain::directory::Doubt;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Cell, Granularity};
use crate::store::error::Cause;
use crate::store::names::CellIds;
use crate::store::values::{
    AMOUNT_COLUMNS, At, amount_columns, amount_names, amounts_at, granularity_number,
    granularity_of, kind_at, kind_number,
};

/// A bucket's place: hour or day, and its first hour.
pub type Bucket = (Granularity, Hour);

/// A part's doubts in a span.
pub(super) fn doubts(
    db: &Connection,
    part: i64,
    hours: HourSpan,
) -> Result<BTreeMap<Bucket, Doubt>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT granularity, hour, since, n_answers FROM doubts
         WHERE part_id = ?1 AND hour >= ?2 AND hour < ?3",
    )?;
    let mut rows = statement.query(params![part, hours.start.count(), hours.end.count()])?;
    let mut doubts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let bucket = (granularity_of(row.get(0)?)?, Hour::from_count(row.get(1)?));
        let doubt = Doubt {
            since: row.get::<_, At>(2)?.0,
            n_answers: row.get(3)?,
        };
        doubts.insert(bucket, doubt);
    }
    Ok(doubts)
}

/// A part's buckets that could not be read when they were last told.
pub(super) fn unreadable_buckets(db: &Connection, part: i64) -> Result<BTreeSet<Bucket>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT granularity, hour FROM doubts WHERE part_id = ?1 AND n_answers = 0",
    )?;
    let mut rows = statement.query([part])?;
    let mut buckets = BTreeSet::new();
    while let Some(row) = rows.next()? {
        buckets.insert((granularity_of(row.get(0)?)?, Hour::from_count(row.get(1)?)));
    }
    Ok(buckets)
}

/// Calls `each` with hour, cell and amounts of a part's rows of one kind in a span.
pub(super) fn for_rows(
    db: &Connection,
    part: i64,
    kind: Kind,
    hours: HourSpan,
    mut each: impl FnMut(Hour, i64, Amounts) -> Result<(), Cause>,
) -> Result<(), Cause> {
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
            amounts_at(row, 2)?,
        )?;
    }
    Ok(())
}

/// Calls `each` with kind, hour, cell and amounts of a part's rows in a span, whatever their kind.
pub(super) fn for_all_rows(
    db: &Connection,
    part: i64,
    hours: HourSpan,
    mut each: impl FnMut(Kind, Hour, i64, Amounts) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let sql = format!(
        "SELECT kind, hour, cell_id, {} FROM usage
         WHERE part_id = ?1 AND kind IN (0, 1, 2) AND hour >= ?2 AND hour < ?3",
        amount_names()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![part, hours.start.count(), hours.end.count()])?;
    while let Some(row) = rows.next()? {
        each(
            kind_at(row.get(0)?)?,
            Hour::from_count(row.get(1)?),
            row.get(2)?,
            amounts_at(row, 3)?,
        )?;
    }
    Ok(())
}

/// Writes rows and sums: its statements are prepared once for many of them.
pub(super) struct RowWriter<'tx> {
    tx: &'tx Transaction<'tx>,
    cells: CellIds,
    set: CachedStatement<'tx>,
    remove: CachedStatement<'tx>,
    add: CachedStatement<'tx>,
}

impl<'tx> RowWriter<'tx> {
    pub(super) fn new(tx: &'tx Transaction<'tx>) -> Result<RowWriter<'tx>, Cause> {
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
        // A sum that outgrows 64 bits becomes a binary float, which a column of whole numbers refuses.
        let added: Vec<String> = AMOUNT_COLUMNS.iter().map(|name| added(name)).collect();
        let add = format!(
            "INSERT INTO recorded (part_id, cell_id, {names}) VALUES ({})
             ON CONFLICT DO UPDATE SET {}",
            places(2),
            added.join(", ")
        );
        Ok(RowWriter {
            tx,
            cells: CellIds::default(),
            set: tx.prepare_cached(&set)?,
            remove: tx.prepare_cached(
                "DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour = ?3 AND cell_id = ?4",
            )?,
            add: tx.prepare_cached(&add)?,
        })
    }

    /// Writes a row, or removes it when nothing is left in it.
    pub(super) fn write(&mut self, part: i64, row: &RowChange) -> Result<(), Cause> {
        let (kind, hour) = (kind_number(row.kind), row.hour.count());
        let cell = self.cells.get(self.tx, &row.cell)?;
        if row.amounts.is_zero() {
            self.remove.execute(params![part, kind, hour, cell])?;
            return Ok(());
        }
        let key = [part, kind, hour.into(), cell];
        let amounts = amount_columns(&row.amounts)?;
        self.set
            .execute(params_from_iter(key.into_iter().chain(amounts)))?;
        Ok(())
    }

    /// Adds to what was ever counted of one part and cell.
    pub(super) fn add_to_recorded(
        &mut self,
        part: i64,
        cell: &Cell,
        delta: &Amounts,
    ) -> Result<(), Cause> {
        let cell = self.cells.get(self.tx, cell)?;
        let key = [part, cell];
        let amounts = amount_columns(delta)?;
        match self
            .add
            .execute(params_from_iter(key.into_iter().chain(amounts)))
        {
            Ok(_) => Ok(()),
            Err(error) if is_of_another_type(&error) => {
                Err(Cause::Overflow("a sum of all that was recorded"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// How a column takes up what is added to it: the lower column of an amount gives what is too much to the upper one.
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

/// Writes or removes a doubt.
pub(super) fn write_doubt(
    tx: &Transaction<'_>,
    part: i64,
    (granularity, hour): Bucket,
    doubt: Option<Doubt>,
) -> Result<(), Cause> {
    let (granularity, hour) = (granularity_number(granularity), hour.count());
    match doubt {
        Some(doubt) => tx
            .prepare_cached(
                "INSERT INTO doubts (part_id, granularity, hour, since, n_answers) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET since = excluded.since, n_answers = excluded.n_answers",
            )?
            .execute(params![part, granularity, hour, At(doubt.since), doubt.n_answers])?,
        None => tx
            .prepare_cached("DELETE FROM doubts WHERE part_id = ?1 AND granularity = ?2 AND hour = ?3")?
            .execute(params![part, granularity, hour])?,
    };
    Ok(())
}
