//! Threads of chat receivers, by alert. A thread is stored in the transaction that marks its first message as delivered;
//! otherwise a kill in between would start a second thread.

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::db::query;
use crate::db::values::StoredTime;
use crate::error::StoreErrorCause;
use spendwatch_domain::alerts::notification::{Fact, Thread};
use spendwatch_domain::units::ids::NotifierName;

/// Returns the thread of the alert of a message. An alert that fires again has a new thread, a message about several alerts
/// has none.
pub(crate) fn find(
    db: &Connection,
    notifier: &NotifierName,
    facts: &[Fact],
) -> Result<Option<Thread>, StoreErrorCause> {
    let [fact] = facts else {
        return Ok(None);
    };
    query::first(
        db,
        "SELECT channel, ts FROM threads WHERE notifier = ?1 AND fingerprint = ?2 AND started_at = ?3",
        params![
            notifier.as_str(),
            fact.identity.fingerprint(),
            StoredTime(fact.identity.started_at)
        ],
        |row| {
            Ok(Thread {
                channel: row.get(0)?,
                ts: row.get(1)?,
            })
        },
    )
}

/// Stores a thread, replacing an older one. A message about several alerts starts none.
pub(crate) fn save(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
    facts: &[Fact],
    thread: &Thread,
    now: Timestamp,
) -> Result<(), StoreErrorCause> {
    let [fact] = facts else {
        return Ok(());
    };
    tx.prepare_cached(
        "INSERT INTO threads (notifier, fingerprint, started_at, channel, ts, began_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (notifier, fingerprint) DO UPDATE SET started_at = excluded.started_at, channel = excluded.channel,
             ts = excluded.ts, began_at = excluded.began_at",
    )?
    .execute(params![
        notifier.as_str(),
        fact.identity.fingerprint(),
        StoredTime(fact.identity.started_at),
        thread.channel,
        thread.ts,
        StoredTime(now),
    ])?;
    Ok(())
}
