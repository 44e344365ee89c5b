//! Migrations of the store, forward only.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreErrorCause;

/// Marks a SQLite file as a spendwatch store: `SpWa` in ASCII.
const APPLICATION_ID: i64 = 0x5370_5761;

/// The newest version that this program supports.
pub(crate) const SUPPORTED: i64 = 11;

/// The n-th migration, counted from 1, results in version n.
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

/// Reads the version without changing the file: 0 if it is empty, `None` if it belongs to another program.
pub(crate) fn version(db: &Connection) -> Result<Option<i64>, StoreErrorCause> {
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let n_objects: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match application {
        APPLICATION_ID => Some(version),
        0 if n_objects == 0 => Some(0),
        _ => None,
    })
}

/// Migrates a store to the supported version, with one transaction per version.
pub(crate) fn migrate(db: &mut Connection) -> Result<(), StoreErrorCause> {
    loop {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Inside the transaction, because another process may have migrated it meanwhile.
        let found = version(&tx)?.unwrap_or(SUPPORTED);
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
    fn migrating_the_first_version_keeps_its_rows() {
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
        assert_eq!(version(&db).unwrap(), Some(SUPPORTED));
        let row: (String, i64, i64, bool, Option<String>) = db
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
        assert_eq!(row, ("one".to_owned(), 0, 7, true, None));
    }
}
