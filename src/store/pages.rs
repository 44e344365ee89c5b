//! All pages of a store, copied into another database.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Error, ffi};

use crate::store::error::Cause;

/// In one step: one state of the store, which writers beside it do not disturb. A store that cannot be read at the moment
/// is an error; SQLite takes that for no failure, and would leave an empty copy.
pub(super) fn copy(from: &Connection, to: &mut Connection) -> Result<(), Cause> {
    let code = match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => return Ok(()),
        StepResult::Locked => ffi::SQLITE_LOCKED,
        // Its list of results is open; what is not done is not done.
        _ => ffi::SQLITE_BUSY,
    };
    Err(Error::SqliteFailure(ffi::Error::new(code), None).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_held_is_no_empty_copy() {
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
