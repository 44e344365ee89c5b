//! Single rows of the ledger: usage, doubts and what was ever counted.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, Transaction, ffi, params, params_from_iter};

use crate::domain::change::{Kind, RowChange};
use crate::domain::directory::Doubt;
use crate::domain::ids::ModelName;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Granularity};
use crate::store::error::Cause;
use crate::store::names::ModelIds;
use crate::store::values::{
    AMOUNTS, At, amount_columns, amounts_at, granularity_number, granularity_of, kind_at,
    kind_number,
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

/// Calls `each` with hour, model and amounts of a part's rows of one kind in a span.
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
        "SELECT hour, model_id, {AMOUNTS} FROM usage
         WHERE part_id = ?1 AND kind = ?2 AND hour >= ?3 AND hour < ?4"
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

/// Calls `each` with kind, hour, model and amounts of a part's rows in a span, whatever their kind.
pub(super) fn for_all_rows(
    db: &Connection,
    part: i64,
    hours: HourSpan,
    mut each: impl FnMut(Kind, Hour, i64, Amounts) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let sql = format!(
        "SELECT kind, hour, model_id, {AMOUNTS} FROM usage
         WHERE part_id = ?1 AND kind IN (0, 1, 2) AND hour >= ?2 AND hour < ?3"
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
    models: ModelIds,
    set: CachedStatement<'tx>,
    remove: CachedStatement<'tx>,
    add: CachedStatement<'tx>,
}

impl<'tx> RowWriter<'tx> {
    pub(super) fn new(tx: &'tx Transaction<'tx>) -> Result<RowWriter<'tx>, Cause> {
        let set = format!(
            "INSERT INTO usage (part_id, kind, hour, model_id, {AMOUNTS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT DO UPDATE SET usd = ?5, pico = ?6, input = ?7, output = ?8, cache_read = ?9,
                 cache_write_5m = ?10, cache_write_1h = ?11, requests = ?12"
        );
        // A sum that outgrows 64 bits becomes a binary float, which a column of whole numbers refuses.
        let add = format!(
            "INSERT INTO recorded (part_id, model_id, {AMOUNTS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT DO UPDATE SET
                 usd = usd + ?3 + (pico + ?4) / 1000000000000, pico = (pico + ?4) % 1000000000000,
                 input = input + ?5, output = output + ?6, cache_read = cache_read + ?7,
                 cache_write_5m = cache_write_5m + ?8, cache_write_1h = cache_write_1h + ?9, requests = requests + ?10"
        );
        Ok(RowWriter {
            tx,
            models: ModelIds::default(),
            set: tx.prepare_cached(&set)?,
            remove: tx.prepare_cached(
                "DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour = ?3 AND model_id = ?4",
            )?,
            add: tx.prepare_cached(&add)?,
        })
    }

    /// Writes a row, or removes it when nothing is left in it.
    pub(super) fn write(&mut self, part: i64, row: &RowChange) -> Result<(), Cause> {
        let (kind, hour) = (kind_number(row.kind), row.hour.count());
        let model = self.models.get(self.tx, &row.model)?;
        if row.amounts.is_zero() {
            self.remove.execute(params![part, kind, hour, model])?;
            return Ok(());
        }
        let key = [part, kind, hour.into(), model];
        let amounts = amount_columns(&row.amounts)?;
        self.set
            .execute(params_from_iter(key.into_iter().chain(amounts)))?;
        Ok(())
    }

    /// Adds to what was ever counted of one part and model.
    pub(super) fn add_to_recorded(
        &mut self,
        part: i64,
        model: &ModelName,
        delta: &Amounts,
    ) -> Result<(), Cause> {
        let model = self.models.get(self.tx, model)?;
        let key = [part, model];
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
