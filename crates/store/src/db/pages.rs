//! Copies all pages of a store into another database.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Error, ffi};

use crate::error::StoreErrorCause;

/// Copies one consistent state in a single step, concurrently with writers. A locked store is an error here; for SQLite it
/// is none and would leave an empty copy.
pub(crate) fn copy(from: &Connection, to: &mut Connection) -> Result<(), StoreErrorCause> {
    let code = match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => return Ok(()),
        StepResult::Locked => ffi::SQLITE_LOCKED,
        // The list of results is open.
        _ => ffi::SQLITE_BUSY,
    };
    Err(Error::SqliteFailure(ffi::Error::new(code), None).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_a_locked_store_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let holder = Connection::open(&path).unwrap();
        holder
            .execute_batch("CREATE TABLE t (x); BEGIN EXCLUSIVE")
            .unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.busy_timeout(std::time::Duration::ZERO).unwrap();
        let mut target = Connection::open_in_memory().unwrap();
        copy(&reader, &mut target).unwrap_err();
        holder.execute_batch("COMMIT").unwrap();
        copy(&reader, &mut target).unwrap();
        target.execute_batch("SELECT x FROM t").unwrap();
    }
}
