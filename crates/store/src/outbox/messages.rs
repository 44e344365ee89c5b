//! Messages for commands and metrics: listing, counting, replaying, and dead-lettering those of removed notifiers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, count_from_row, optional_time_from_row, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use crate::prefix_match::PrefixMatch;
use crate::stored::{digest_from_json, facts_from_json};
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::digest::Digest;
use spendwatch_domain::units::ids::NotifierName;

/// State of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    Waiting,
    Delivered,
    /// A dead letter; can be replayed.
    Dead,
    /// Sent as part of another message.
    Folded,
}

impl MessageState {
    pub const ALL: [MessageState; 4] = [
        MessageState::Waiting,
        MessageState::Delivered,
        MessageState::Dead,
        MessageState::Folded,
    ];

    /// Returns the word used in the store and in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Delivered => "delivered",
            MessageState::Dead => "dead",
            MessageState::Folded => "folded",
        }
    }

    /// Parses the word used in the store and in lists.
    pub fn parse(word: &str) -> Option<MessageState> {
        MessageState::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Selects messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFilter {
    pub state: Option<MessageState>,
    pub notifier: Option<NotifierName>,
    /// Maximum number, newest first.
    pub limit: u32,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Unique, and the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    pub recipient: Option<String>,
    pub state: MessageState,
    pub created_at: Timestamp,
    pub n_attempts: u32,
    /// Only while it is waiting.
    pub next_attempt: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Why the last attempt failed, or why it became a dead letter.
    pub last_error: Option<String>,
    /// Id of the message that is sent instead.
    pub folded_into: Option<String>,
    /// Empty for a digest.
    pub facts: Vec<Fact>,
    pub digest: Option<Box<Digest>>,
}

/// Number of messages of one notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxCounts {
    pub n_waiting: u64,
    pub n_dead: u64,
}

/// Error of dead letters whose notifier was removed from the configuration.
const REMOVED: &str = "notifier removed";

impl Store {
    /// Returns messages, newest first.
    pub async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| {
            let sql = format!(
                "SELECT {MESSAGE} FROM outbox
                 WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR notifier = ?2) ORDER BY position DESC LIMIT ?3"
            );
            let state = filter.state.map(MessageState::as_str);
            let notifier = filter.notifier.as_ref().map(NotifierName::as_str);
            query::all(
                db,
                &sql,
                params![state, notifier, filter.limit],
                message_from_row,
            )
        })
        .await
    }

    /// Finds a message by its id or a prefix of it.
    pub async fn message(&self, prefix: &str) -> Result<PrefixMatch<MessageRow>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |db| find(db, &prefix)).await
    }

    /// Returns the newest message about an alert, by its full fingerprint.
    pub async fn last_message(&self, fingerprint: &str) -> Result<Option<MessageRow>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| {
            let sql = format!(
                "SELECT {MESSAGE} FROM outbox o
                 WHERE EXISTS (SELECT 1 FROM outbox_alerts a WHERE a.position = o.position AND a.fingerprint = ?1)
                 ORDER BY position DESC LIMIT 1"
            );
            query::first(db, &sql, [fingerprint], message_from_row)
        })
        .await
    }

    /// Puts a dead letter back into the outbox under the same id, due immediately and until `expires`. Leaves other messages
    /// unchanged. Returns the message as it is afterwards.
    pub async fn replay(
        &self,
        prefix: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<PrefixMatch<MessageRow>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("replay", move |tx| {
            let PrefixMatch::One(message) = find(tx, &prefix)? else {
                return find(tx, &prefix);
            };
            tx.execute(
                "UPDATE outbox SET state = 'waiting', is_replay = 1, n_ambiguous = 0, n_posted = 0, refused = NULL, parked_at = NULL,
                     next_attempt = ?2, expires = ?3, finished_at = NULL
                 WHERE id = ?1 AND state = 'dead'",
                params![message.id, StoredTime(now), StoredTime(expires)],
            )?;
            find(tx, &message.id)
        })
        .await
    }

    /// Turns waiting messages of notifiers that are not configured into dead letters, and returns their number by notifier.
    pub async fn dead_letter_orphans(
        &self,
        configured: &[NotifierName],
        now: Timestamp,
    ) -> Result<BTreeMap<NotifierName, u64>, StoreError> {
        let configured: BTreeSet<NotifierName> = configured.iter().cloned().collect();
        self.write("dead_letter_orphans", move |tx| {
            let mut orphaned = BTreeMap::new();
            for (notifier, counts) in counts(tx)? {
                if counts.n_waiting == 0 || configured.contains(&notifier) {
                    continue;
                }
                tx.execute(
                    "UPDATE outbox SET state = 'dead', finished_at = ?2, last_error = ?3, is_passed_on = 1
                     WHERE notifier = ?1 AND state = 'waiting'",
                    params![notifier.as_str(), StoredTime(now), REMOVED],
                )?;
                orphaned.insert(notifier, counts.n_waiting);
            }
            Ok(orphaned)
        })
        .await
    }

    /// Counts waiting messages and dead letters by notifier. Notifiers with neither are absent.
    pub async fn outbox_counts(&self) -> Result<BTreeMap<NotifierName, OutboxCounts>, StoreError> {
        self.read(counts).await
    }
}

const MESSAGE: &str = "id, notifier, recipient, state, created_at, n_attempts, next_attempt, finished_at, last_error, \
                       folded_into, facts, digest";

fn message_from_row(row: &Row<'_>) -> Result<MessageRow, StoreErrorCause> {
    let word: String = row.get(3)?;
    let state = MessageState::parse(&word)
        .ok_or_else(|| StoreErrorCause::Corrupt(format!("a message that is `{word}`")))?;
    let next_attempt = time_from_row(row, 6)?;
    Ok(MessageRow {
        id: row.get(0)?,
        notifier: NotifierName::new(row.get::<_, String>(1)?),
        recipient: row.get(2)?,
        state,
        created_at: time_from_row(row, 4)?,
        n_attempts: row.get(5)?,
        next_attempt: (state == MessageState::Waiting).then_some(next_attempt),
        finished_at: optional_time_from_row(row, 7)?,
        last_error: row.get(8)?,
        folded_into: row.get(9)?,
        facts: facts_from_json(&row.get::<_, String>(10)?)?,
        digest: row
            .get::<_, Option<String>>(11)?
            .map(|text| digest_from_json(&text).map(Box::new))
            .transpose()?,
    })
}

fn find(db: &Connection, prefix: &str) -> Result<PrefixMatch<MessageRow>, StoreErrorCause> {
    let select = format!("SELECT {MESSAGE} FROM outbox");
    PrefixMatch::find(db, &select, "id", prefix, message_from_row)
}

fn counts(db: &Connection) -> Result<BTreeMap<NotifierName, OutboxCounts>, StoreErrorCause> {
    let sql = "SELECT notifier, sum(state = 'waiting'), sum(state = 'dead') FROM outbox
               WHERE state IN ('waiting', 'dead') GROUP BY notifier";
    query::all(db, sql, [], |row| {
        let counts = OutboxCounts {
            n_waiting: count_from_row(row, 1)?,
            n_dead: count_from_row(row, 2)?,
        };
        Ok((NotifierName::new(row.get::<_, String>(0)?), counts))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, store};

    #[tokio::test]
    async fn replaying_an_unknown_message_finds_nothing() {
        let store = store().await;
        assert_eq!(
            store.replay("x", at(0), at(1)).await.unwrap(),
            PrefixMatch::NoMatch
        );
        assert_eq!(store.message("x").await.unwrap(), PrefixMatch::NoMatch);
    }
}
