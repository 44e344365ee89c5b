//! How each notifier fares: parked, paused, or well; and the mark of the settings that it was last started with.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::domain::ids::NotifierName;
use crate::domain::skew::MAX_SKEW;
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::threads;
use crate::store::values::At;

/// The receiver is at fault, and nothing is sent but a probe now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub since: Timestamp,
    pub reason: String,
    /// Whether it is probed; if not, it waits for other settings.
    pub is_probed: bool,
}

/// How a notifier fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotifierState {
    pub parked: Option<Parked>,
    /// Failures since the last success.
    pub failures_in_row: u32,
    pub paused_until: Option<Timestamp>,
    /// The last success.
    pub last_delivered_at: Option<Timestamp>,
}

impl Store {
    /// How a notifier fares; the default where nothing was stored.
    pub async fn notifier_state(&self, name: &NotifierName) -> Result<NotifierState, StoreError> {
        let name = name.clone();
        self.read(move |db| {
            let state = db
                .prepare_cached(
                    "SELECT parked_since, parked_reason, parked_is_probed, failures_in_row, paused_until,
                            last_delivered_at
                     FROM notifiers WHERE name = ?1",
                )?
                .query_row([name.as_str()], state_at)
                .optional()?;
            Ok(state.unwrap_or_default())
        })
        .await
    }

    /// Stores how a notifier fares, without an attempt.
    pub async fn save_notifier_state(
        &self,
        name: &NotifierName,
        state: NotifierState,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("save_notifier_state", move |tx| {
            save_state(tx, &name, &state)
        })
        .await
    }

    /// The mark of the settings that a notifier was last started with.
    pub async fn settings_mark(&self, name: &NotifierName) -> Result<Option<String>, StoreError> {
        let name = name.clone();
        self.read(move |db| {
            let mark = db
                .prepare_cached("SELECT settings_mark FROM notifiers WHERE name = ?1")?
                .query_row([name.as_str()], |row| row.get(0))
                .optional()?;
            Ok(mark.flatten())
        })
        .await
    }

    /// A notifier has other settings: what was known of its receiver is no longer true, and what was to be tried again
    /// later is due.
    pub async fn renew_notifier(
        &self,
        name: &NotifierName,
        mark: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("renew_notifier", move |tx| {
            tx.prepare_cached(
                "INSERT INTO notifiers (name, failures_in_row, settings_mark) VALUES (?1, 0, ?2)
                 ON CONFLICT (name) DO UPDATE SET parked_since = NULL, parked_reason = NULL, paused_until = NULL,
                     failures_in_row = 0, settings_mark = excluded.settings_mark",
            )?
            .execute(params![name.as_str(), mark])?;
            threads::forget(tx, &name)?;
            // Another receiver has nothing of what was posted to the one before.
            tx.prepare_cached(
                "UPDATE outbox SET n_posted = 0, refused = NULL, parked_at = NULL
                 WHERE notifier = ?1 AND state = 'waiting'",
            )?
            .execute([name.as_str()])?;
            // What had no attempt yet still waits for its group.
            tx.prepare_cached(
                "UPDATE outbox SET next_attempt = ?2
                 WHERE notifier = ?1 AND state = 'waiting' AND n_attempts > 0 AND next_attempt > ?2",
            )?
            .execute(params![name.as_str(), At(now)])?;
            Ok(())
        })
        .await
    }

    /// Ends waits that a clock ahead of this one began: nothing waits for a day, and nothing was created in the future.
    pub async fn shorten_waits(
        &self,
        name: &NotifierName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let after = |wait| At(now.checked_add(wait).unwrap_or(Timestamp::MAX));
        let (created, latest) = (after(MAX_SKEW), after(LONGEST_WAIT));
        let asked = name.clone();
        let is_any: bool = self
            .read(move |db| {
                let found = db
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM outbox WHERE notifier = ?1 AND state = 'waiting'
                             AND next_attempt > ?2 AND (created_at > ?3 OR (n_attempts > 0 AND next_attempt > ?4)))
                         OR EXISTS (SELECT 1 FROM notifiers
                             WHERE name = ?1 AND paused_until > ?4 AND (parked_since IS NULL OR parked_is_probed))",
                    )?
                    .query_row(params![asked.as_str(), At(now), created, latest], |row| {
                        row.get(0)
                    });
                Ok(found?)
            })
            .await?;
        if !is_any {
            return Ok(());
        }
        let name = name.clone();
        self.write("shorten_waits", move |tx| {
            tx.execute(
                "UPDATE outbox SET next_attempt = ?2 WHERE notifier = ?1 AND state = 'waiting'
                 AND next_attempt > ?2 AND (created_at > ?3 OR (n_attempts > 0 AND next_attempt > ?4))",
                params![name.as_str(), At(now), created, latest],
            )?;
            tx.execute(
                "UPDATE notifiers SET paused_until = NULL
                 WHERE name = ?1 AND paused_until > ?2 AND (parked_since IS NULL OR parked_is_probed)",
                params![name.as_str(), latest],
            )?;
            Ok(())
        })
        .await
    }

    /// The clock was set back by so much: what waits for a later moment than `now` is due as much earlier, and a pause ends as
    /// much earlier.
    pub async fn wait_less(
        &self,
        name: &NotifierName,
        back: SignedDuration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        let earlier = move |at: Timestamp| {
            let moved = at.checked_sub(back).unwrap_or(Timestamp::MIN);
            At(moved.max(now))
        };
        self.write("wait_less", move |tx| {
            let mut waiting = tx.prepare_cached(
                "SELECT position, next_attempt FROM outbox
                 WHERE notifier = ?1 AND state = 'waiting' AND next_attempt > ?2",
            )?;
            let rows = waiting.query_map(params![name.as_str(), At(now)], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, At>(1)?.0))
            })?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let mut set =
                tx.prepare_cached("UPDATE outbox SET next_attempt = ?2 WHERE position = ?1")?;
            for (position, at) in rows {
                set.execute(params![position, earlier(at)])?;
            }
            let paused: Option<Option<At>> = tx
                .prepare_cached(
                    "SELECT paused_until FROM notifiers WHERE name = ?1 AND paused_until > ?2",
                )?
                .query_row(params![name.as_str(), At(now)], |row| row.get(0))
                .optional()?;
            if let Some(until) = paused.flatten() {
                tx.prepare_cached("UPDATE notifiers SET paused_until = ?2 WHERE name = ?1")?
                    .execute(params![name.as_str(), earlier(until.0)])?;
            }
            Ok(())
        })
        .await
    }
}

/// No message and no notifier waits longer than this, except a notifier that waits for other settings.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(25);

/// Whether a notifier is parked.
pub(super) fn is_parked(db: &Connection, notifier: &NotifierName) -> Result<bool, Cause> {
    let is_parked = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM notifiers WHERE name = ?1 AND parked_since IS NOT NULL)",
        )?
        .query_row([notifier.as_str()], |row| row.get(0))?;
    Ok(is_parked)
}

/// Who is parked.
pub(super) fn parked(db: &Connection) -> Result<BTreeSet<NotifierName>, Cause> {
    let mut statement =
        db.prepare_cached("SELECT name FROM notifiers WHERE parked_since IS NOT NULL")?;
    let names = statement.query_map([], |row| Ok(NotifierName::new(row.get::<_, String>(0)?)))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Leaves the mark of the settings as it is.
pub(super) fn save_state(
    tx: &Transaction<'_>,
    name: &NotifierName,
    state: &NotifierState,
) -> Result<(), Cause> {
    let parked = state.parked.as_ref();
    tx.prepare_cached(
        "INSERT INTO notifiers (name, parked_since, parked_reason, parked_is_probed, failures_in_row, paused_until,
                                last_delivered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (name) DO UPDATE SET parked_since = excluded.parked_since,
             parked_reason = excluded.parked_reason, parked_is_probed = excluded.parked_is_probed,
             failures_in_row = excluded.failures_in_row, paused_until = excluded.paused_until,
             last_delivered_at = excluded.last_delivered_at",
    )?
    .execute(params![
        name.as_str(),
        parked.map(|parked| At(parked.since)),
        parked.map(|parked| parked.reason.as_str()),
        parked.is_none_or(|parked| parked.is_probed),
        state.failures_in_row,
        state.paused_until.map(At),
        state.last_delivered_at.map(At),
    ])?;
    Ok(())
}

fn state_at(row: &Row<'_>) -> rusqlite::Result<NotifierState> {
    let since: Option<At> = row.get(0)?;
    let reason: Option<String> = row.get(1)?;
    let is_probed = row.get(2)?;
    Ok(NotifierState {
        parked: since.zip(reason).map(|(since, reason)| Parked {
            since: since.0,
            reason,
            is_probed,
        }),
        failures_in_row: row.get(3)?,
        paused_until: row.get::<_, Option<At>>(4)?.map(|at| at.0),
        last_delivered_at: row.get::<_, Option<At>>(5)?.map(|at| at.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{at, store};

    fn parked() -> NotifierState {
        NotifierState {
            parked: Some(Parked {
                since: at(1),
                reason: "410".to_owned(),
                is_probed: false,
            }),
            failures_in_row: 3,
            paused_until: Some(at(15)),
            last_delivered_at: Some(at(0)),
        }
    }

    #[tokio::test]
    async fn how_a_notifier_fares_is_remembered() {
        let store = store().await;
        let name = NotifierName::from("slack");
        for state in [NotifierState::default(), parked(), NotifierState::default()] {
            store
                .save_notifier_state(&name, state.clone())
                .await
                .unwrap();
            assert_eq!(store.notifier_state(&name).await.unwrap(), state);
        }
    }

    #[tokio::test]
    async fn other_settings_end_parking_and_keep_the_mark_ever_after() {
        let store = store().await;
        let name = NotifierName::from("slack");
        assert_eq!(store.settings_mark(&name).await.unwrap(), None);
        store.save_notifier_state(&name, parked()).await.unwrap();
        store
            .renew_notifier(&name, "new".to_owned(), at(2))
            .await
            .unwrap();
        let expected = NotifierState {
            last_delivered_at: Some(at(0)),
            ..NotifierState::default()
        };
        assert_eq!(store.notifier_state(&name).await.unwrap(), expected);
        store.save_notifier_state(&name, parked()).await.unwrap();
        let mark = store.settings_mark(&name).await.unwrap();
        assert_eq!(mark.as_deref(), Some("new"));
    }
}
