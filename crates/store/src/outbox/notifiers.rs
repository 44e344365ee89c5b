//! State of each notifier, and the fingerprint ("mark") of the settings with which it was last started.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Row, Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, optional_time_from_row, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::skew::MAX_SKEW;

/// Disabled after an authentication or configuration error of the receiver; only probes are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub since: Timestamp,
    pub reason: String,
    /// If not, it stays parked until its settings change.
    pub is_probed: bool,
}

/// State of a notifier's deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotifierState {
    pub parked: Option<Parked>,
    pub failures_in_row: u32,
    pub paused_until: Option<Timestamp>,
    pub last_delivered_at: Option<Timestamp>,
}

impl Store {
    /// Returns the state of a notifier, or the default if none is stored.
    pub async fn notifier_state(&self, name: &NotifierName) -> Result<NotifierState, StoreError> {
        let name = name.clone();
        self.read(move |db| {
            let sql = "SELECT parked_since, parked_reason, parked_is_probed, failures_in_row, paused_until, last_delivered_at
                       FROM notifiers WHERE name = ?1";
            let state = query::first(db, sql, [name.as_str()], |row| Ok(state_from_row(row)?))?;
            Ok(state.unwrap_or_default())
        })
        .await
    }

    /// Stores the state of a notifier without an attempt.
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

    /// Returns the mark of the settings with which a notifier was last started.
    pub async fn settings_mark(&self, name: &NotifierName) -> Result<Option<String>, StoreError> {
        let name = name.clone();
        self.read(move |db| {
            let sql = "SELECT settings_mark FROM notifiers WHERE name = ?1";
            let mark = query::first(db, sql, [name.as_str()], |row| Ok(row.get(0)?))?;
            Ok(mark.flatten())
        })
        .await
    }

    /// Resets a notifier whose settings changed: its state no longer applies, and retries are due immediately.
    pub async fn reset_notifier(
        &self,
        name: &NotifierName,
        mark: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("reset_notifier", move |tx| {
            query::run(
                tx,
                "INSERT INTO notifiers (name, failures_in_row, settings_mark) VALUES (?1, 0, ?2)
                 ON CONFLICT (name) DO UPDATE SET parked_since = NULL, parked_reason = NULL, paused_until = NULL,
                     failures_in_row = 0, settings_mark = excluded.settings_mark",
                params![name.as_str(), mark],
            )?;
            // With changed settings, it may use another channel.
            query::run(
                tx,
                "DELETE FROM threads WHERE notifier = ?1",
                [name.as_str()],
            )?;
            // The new receiver has none of the posts that the old one received. Messages without an attempt still wait for
            // `group_wait`.
            query::run(
                tx,
                "UPDATE outbox SET n_posted = 0, refused = NULL, parked_at = NULL,
                     next_attempt = iif(n_attempts > 0, min(next_attempt, ?2), next_attempt)
                 WHERE notifier = ?1 AND state = 'waiting'",
                params![name.as_str(), StoredTime(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends waits that were set by a clock running ahead: those longer than `LONGEST_WAIT`, and those of messages created in
    /// the future.
    pub async fn end_impossible_waits(
        &self,
        name: &NotifierName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let after = |wait| StoredTime(now.checked_add(wait).unwrap_or(Timestamp::MAX));
        let (created, latest) = (after(MAX_SKEW), after(LONGEST_WAIT));
        let asked = name.clone();
        let is_any: bool = self
            .read(move |db| {
                query::value(
                    db,
                    "SELECT EXISTS (SELECT 1 FROM outbox WHERE notifier = ?1 AND state = 'waiting'
                         AND next_attempt > ?2 AND (created_at > ?3 OR (n_attempts > 0 AND next_attempt > ?4)))
                     OR EXISTS (SELECT 1 FROM notifiers
                         WHERE name = ?1 AND paused_until > ?4 AND (parked_since IS NULL OR parked_is_probed))",
                    params![asked.as_str(), StoredTime(now), created, latest],
                )
            })
            .await?;
        if !is_any {
            return Ok(());
        }
        let name = name.clone();
        self.write("end_impossible_waits", move |tx| {
            tx.execute(
                "UPDATE outbox SET next_attempt = ?2 WHERE notifier = ?1 AND state = 'waiting'
                 AND next_attempt > ?2 AND (created_at > ?3 OR (n_attempts > 0 AND next_attempt > ?4))",
                params![name.as_str(), StoredTime(now), created, latest],
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

    /// Moves waits and pauses that end after `now` forward by `back`, the amount by which the clock was set back.
    pub async fn advance_waits(
        &self,
        name: &NotifierName,
        back: SignedDuration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        let earlier = move |at: Timestamp| {
            let moved = at.checked_sub(back).unwrap_or(Timestamp::MIN);
            StoredTime(moved.max(now))
        };
        self.write("advance_waits", move |tx| {
            let waiting: Vec<(i64, Timestamp)> = query::all(
                tx,
                "SELECT position, next_attempt FROM outbox
                 WHERE notifier = ?1 AND state = 'waiting' AND next_attempt > ?2",
                params![name.as_str(), StoredTime(now)],
                |row| Ok((row.get(0)?, time_from_row(row, 1)?)),
            )?;
            for (position, at) in waiting {
                let sql = "UPDATE outbox SET next_attempt = ?2 WHERE position = ?1";
                query::run(tx, sql, params![position, earlier(at)])?;
            }
            let paused = query::first(
                tx,
                "SELECT paused_until FROM notifiers WHERE name = ?1 AND paused_until > ?2",
                params![name.as_str(), StoredTime(now)],
                |row| Ok(time_from_row(row, 0)?),
            )?;
            if let Some(until) = paused {
                let sql = "UPDATE notifiers SET paused_until = ?2 WHERE name = ?1";
                query::run(tx, sql, params![name.as_str(), earlier(until)])?;
            }
            Ok(())
        })
        .await
    }
}

/// Longest wait of a message or notifier, except of one that is parked until its settings change.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(25);

pub(crate) fn is_parked(db: &Connection, notifier: &NotifierName) -> Result<bool, StoreErrorCause> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM notifiers WHERE name = ?1 AND parked_since IS NOT NULL)";
    query::value(db, sql, [notifier.as_str()])
}

/// Returns the parked notifiers.
pub(crate) fn parked(db: &Connection) -> Result<BTreeSet<NotifierName>, StoreErrorCause> {
    let sql = "SELECT name FROM notifiers WHERE parked_since IS NOT NULL";
    query::all(db, sql, [], |row| {
        Ok(NotifierName::new(row.get::<_, String>(0)?))
    })
}

/// Stores the state without changing the mark of the settings.
pub(crate) fn save_state(
    tx: &Transaction<'_>,
    name: &NotifierName,
    state: &NotifierState,
) -> Result<(), StoreErrorCause> {
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
        parked.map(|parked| StoredTime(parked.since)),
        parked.map(|parked| parked.reason.as_str()),
        parked.is_none_or(|parked| parked.is_probed),
        state.failures_in_row,
        state.paused_until.map(StoredTime),
        state.last_delivered_at.map(StoredTime),
    ])?;
    Ok(())
}

fn state_from_row(row: &Row<'_>) -> rusqlite::Result<NotifierState> {
    let since = optional_time_from_row(row, 0)?;
    let reason: Option<String> = row.get(1)?;
    let is_probed = row.get(2)?;
    Ok(NotifierState {
        parked: since.zip(reason).map(|(since, reason)| Parked {
            since,
            reason,
            is_probed,
        }),
        failures_in_row: row.get(3)?,
        paused_until: optional_time_from_row(row, 4)?,
        last_delivered_at: optional_time_from_row(row, 5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, store};

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
    async fn the_state_of_a_notifier_is_stored() {
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
    async fn changed_settings_end_parking_and_replace_the_mark() {
        let store = store().await;
        let name = NotifierName::from("slack");
        assert_eq!(store.settings_mark(&name).await.unwrap(), None);
        store.save_notifier_state(&name, parked()).await.unwrap();
        store
            .reset_notifier(&name, "new".to_owned(), at(2))
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
