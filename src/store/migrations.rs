//! The format of the store, one step after the other, forward only. `PRAGMA user_version` holds the number of steps made.

use rusqlite::{Connection, TransactionBehavior};

/// Each makes the format one newer.
const STEPS: &[&str] = &[include_str!("0001_begin.sql")];

/// The newest format that this version knows.
pub fn known() -> i64 {
    i64::try_from(STEPS.len()).expect("a handful of steps")
}

/// The format of a store.
pub fn found(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes the steps that are missing, all or none.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(found(&transaction)?).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known())?;
    transaction.commit()
}
