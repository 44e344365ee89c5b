//! The store's versions: forward only. A newer store is refused, and so is a database of another program.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::Cause;

/// Marks a SQLite file as a store of ours: `SpWa`.
const APPLICATION_ID: i64 = 0x5370_5761;

/// The newest version that this program knows.
pub(super) const SUPPORTED: i64 = 11;

/// Each brings the store to the version of its place, counted from 1.
const MIGRATIONS: [&str; SUPPORTED as usize] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
    include_str!("migrations/0010.sql"),
    include_str!("migrations/0011.sql"),
];

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// An empty database.
    Empty,
    /// A store of this version.
    Of(i64),
    /// A database of another program.
    Foreign,
}

/// Looks at a file and changes nothing.
pub(super) fn version(db: &Connection) -> Result<Version, Cause> {
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let n_objects: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(if application == APPLICATION_ID {
        Version::Of(version)
    } else if n_objects == 0 && application == 0 {
        Version::Empty
    } else {
        Version::Foreign
    })
}

/// Brings a store up to date. Each version commits whole or not at all.
pub(super) fn migrate(db: &mut Connection) -> Result<(), Cause> {
    loop {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Asked inside the transaction: another process may just have done it.
        let found = match version(&tx)? {
            Version::Empty => 0,
            Version::Of(version) => version,
            Version::Foreign => return Ok(()),
        };
        let Some(sql) = usize::try_from(found)
            .ok()
            .and_then(|found| MIGRATIONS.get(found))
        else {
            return Ok(());
        };
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_the_first_version_keeps_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATIONS[0]).unwrap();
        db.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        db.execute_batch(
            "INSERT INTO organizations (name, store_began) VALUES ('acme', '2026-11-24T00:00:00Z');
             INSERT INTO outbox (id, organization_id, notifier, state, facts, created_at, next_attempt, expires)
             VALUES ('one', 1, 'chat', 'waiting', '[]', 't', 't', 't');
             INSERT INTO notifiers (name, parked_since, parked_reason, failures_in_row) VALUES ('chat', 't', 'gone', 7);",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        assert_eq!(version(&db).unwrap(), Version::Of(SUPPORTED));
        let kept: (String, i64, i64, bool, Option<String>) = db
            .query_row(
                "SELECT id, n_ambiguous, failures_in_row, parked_is_probed, settings_mark FROM outbox, notifiers",
                [],
                |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                },
            )
            .unwrap();
        assert_eq!(kept, ("one".to_owned(), 0, 7, true, None));
    }
}
