//! Cached statements, run as a whole.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};

use crate::error::StoreErrorCause;

/// Collects what `read` returns for each row.
pub(crate) fn all<T, C: FromIterator<T>>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreErrorCause>,
) -> Result<C, StoreErrorCause> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let next = || match rows.next() {
        Ok(row) => row.map(&mut read),
        Err(error) => Some(Err(error.into())),
    };
    std::iter::from_fn(next).collect()
}

/// Returns the first row, if there is one.
pub(crate) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreErrorCause>,
) -> Result<Option<T>, StoreErrorCause> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// Returns the first column of the only row.
pub(crate) fn value<T: FromSql>(
    db: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<T, StoreErrorCause> {
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row(params, |row| row.get(0))?)
}

/// Returns the number of rows that a statement changed.
pub(crate) fn run(
    db: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize, StoreErrorCause> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}
