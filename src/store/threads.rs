//! Where a chat receiver shows the first message about an alert. What it answered is kept with the word that it has the
//! message, in one transaction: else a kill in between would begin a second thread.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, Thread};
use crate::store::error::Cause;
use crate::store::values::At;

/// The thread of the alert that a message is about. One that fires anew begins anew; a message about several has none.
pub(super) fn find(
    db: &Connection,
    notifier: &NotifierName,
    facts: &[Fact],
) -> Result<Option<Thread>, Cause> {
    let [fact] = facts else {
        return Ok(None);
    };
    let thread = db
        .prepare_cached(
            "SELECT channel, ts FROM threads WHERE notifier = ?1 AND fingerprint = ?2 AND started_at = ?3",
        )?
        .query_row(
            params![
                notifier.as_str(),
                fact.identity.fingerprint(),
                At(fact.identity.started_at)
            ],
            |row| {
                Ok(Thread {
                    channel: row.get(0)?,
                    ts: row.get(1)?,
                })
            },
        )
        .optional()?;
    Ok(thread)
}

/// Keeps a thread in the place of an older one. A message about several begins none.
pub(super) fn save(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
    facts: &[Fact],
    thread: &Thread,
    now: Timestamp,
) -> Result<(), Cause> {
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
        At(fact.identity.started_at),
        thread.channel,
        thread.ts,
        At(now),
    ])?;
    Ok(())
}

/// Forgets those of a notifier: with other settings it may look into another channel.
pub(super) fn forget(tx: &Transaction<'_>, notifier: &NotifierName) -> Result<(), Cause> {
    tx.prepare_cached("DELETE FROM threads WHERE notifier = ?1")?
        .execute([notifier.as_str()])?;
    Ok(())
}

/// Drops those that began before, where the alert is gone and nothing about it waits.
pub(super) fn drop_older(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, Cause> {
    let n_dropped = tx.execute(
        "DELETE FROM threads WHERE began_at < ?1
             AND fingerprint NOT IN (SELECT fingerprint FROM alerts)
             AND fingerprint NOT IN (SELECT a.fingerprint FROM outbox_alerts a JOIN outbox o USING (position))",
        [At(before)],
    )?;
    Ok(n_dropped)
}
