//! Looking up rows by a prefix of their id.

use rusqlite::{Connection, Row};

use crate::db::query;
use crate::error::StoreErrorCause;

/// Result of looking up an id or a prefix of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixMatch<T> {
    NoMatch,
    One(T),
    /// The first ten ids with the prefix, in order.
    Ambiguous(Vec<String>),
}

impl<T> PrefixMatch<T> {
    /// Finds a row of a table by its column `id`. `select` ends before `WHERE` and includes that column. A full id matches even
    /// if it is a prefix of another one.
    pub(crate) fn find(
        db: &Connection,
        select: &str,
        id: &str,
        prefix: &str,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreErrorCause>,
    ) -> Result<PrefixMatch<T>, StoreErrorCause> {
        let sql = format!(
            "{select} WHERE substr({id}, 1, length(?1)) = ?1 ORDER BY {id} <> ?1, {id} LIMIT 10"
        );
        let mut found: Vec<(String, T)> =
            query::all(db, &sql, [prefix], |row| Ok((row.get(id)?, read(row)?)))?;
        Ok(match found.len() {
            0 => PrefixMatch::NoMatch,
            n if n == 1 || found[0].0 == prefix => PrefixMatch::One(found.swap_remove(0).1),
            _ => PrefixMatch::Ambiguous(found.into_iter().map(|(id, _)| id).collect()),
        })
    }

    /// Continues with the row that was found.
    pub(crate) fn try_map<U>(
        self,
        next: impl FnOnce(T) -> Result<U, StoreErrorCause>,
    ) -> Result<PrefixMatch<U>, StoreErrorCause> {
        Ok(match self {
            PrefixMatch::NoMatch => PrefixMatch::NoMatch,
            PrefixMatch::One(row) => PrefixMatch::One(next(row)?),
            PrefixMatch::Ambiguous(ids) => PrefixMatch::Ambiguous(ids),
        })
    }
}
