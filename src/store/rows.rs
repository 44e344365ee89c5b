//! Single rows of the ledger: usage, doubts and what was ever counted.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use crate::domain::change::{Kind, RowChange};
use crate::domain::directory::Doubt;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Granularity};
use crate::store::error::Cause;
use crate::store::names::ModelIds;
use crate::store::values::{
    AMOUNTS, At, add, amount_columns, amounts_at, granularity_number, granularity_of, kind_number,
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

/// Writes a row, or removes it when nothing is left in it.
pub(super) fn write_row(
    tx: &Transaction<'_>,
    models: &mut ModelIds,
    part: i64,
    row: &RowChange,
) -> Result<(), Cause> {
    let (kind, hour, model) = (
        kind_number(row.kind),
        row.hour.count(),
        models.get(tx, &row.model)?,
    );
    if row.amounts.is_zero() {
        tx.prepare_cached(
            "DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour = ?3 AND model_id = ?4",
        )?
        .execute(params![part, kind, hour, model])?;
        return Ok(());
    }
    let [
        usd,
        pico,
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        requests,
    ] = amount_columns(&row.amounts)?;
    let sql = format!(
        "INSERT INTO usage (part_id, kind, hour, model_id, {AMOUNTS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT DO UPDATE SET usd = ?5, pico = ?6, input = ?7, output = ?8, cache_read = ?9, cache_write_5m = ?10,
             cache_write_1h = ?11, requests = ?12"
    );
    tx.prepare_cached(&sql)?.execute(params![
        part,
        kind,
        hour,
        model,
        usd,
        pico,
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        requests
    ])?;
    Ok(())
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

/// Adds to what was ever counted of one part and model.
pub(super) fn add_to_recorded(
    tx: &Transaction<'_>,
    part: i64,
    model: i64,
    delta: &Amounts,
) -> Result<(), Cause> {
    let sql = format!("SELECT {AMOUNTS} FROM recorded WHERE part_id = ?1 AND model_id = ?2");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query([part, model])?;
    let before = match rows.next()? {
        Some(row) => amounts_at(row, 0)?,
        None => Amounts::ZERO,
    };
    let [
        usd,
        pico,
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        requests,
    ] = amount_columns(&add(&before, delta)?)?;
    let sql = format!(
        "INSERT INTO recorded (part_id, model_id, {AMOUNTS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET usd = ?3, pico = ?4, input = ?5, output = ?6, cache_read = ?7, cache_write_5m = ?8,
             cache_write_1h = ?9, requests = ?10"
    );
    tx.prepare_cached(&sql)?.execute(params![
        part,
        model,
        usd,
        pico,
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        requests
    ])?;
    Ok(())
}
