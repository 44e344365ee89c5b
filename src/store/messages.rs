//! Messages as people see them: listed, counted, given up, sent again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::domain::digest::Digest;
use crate::domain::ids::NotifierName;
use crate::domain::notification::Fact;
use crate::store::Store;
use crate::store::alerts::{Found, N_NAMED};
use crate::store::digests::digest_from_json;
use crate::store::error::{Cause, StoreError};
use crate::store::facts::facts_from_json;
use crate::store::values::{At, count_at};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    Waiting,
    Delivered,
    /// Given up; can be sent again.
    Dead,
    /// Told as part of another message.
    Folded,
}

impl MessageState {
    /// All.
    pub const ALL: [MessageState; 4] = [
        MessageState::Waiting,
        MessageState::Delivered,
        MessageState::Dead,
        MessageState::Folded,
    ];

    /// The word in the store and in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Delivered => "delivered",
            MessageState::Dead => "dead",
            MessageState::Folded => "folded",
        }
    }

    /// The state of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<MessageState> {
        MessageState::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Which messages are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFilter {
    pub state: Option<MessageState>,
    pub notifier: Option<NotifierName>,
    /// At most so many, the newest first.
    pub limit: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Unique; the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    /// To which of its recipients.
    pub recipient: Option<String>,
    pub state: MessageState,
    pub created_at: Timestamp,
    pub n_attempts: u32,
    /// The next attempt; only while it waits.
    pub next_attempt: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Why the last attempt failed, or why it was given up.
    pub last_error: Option<String>,
    /// The message that tells it instead.
    pub folded_into: Option<String>,
    /// What it says; empty for a digest.
    pub facts: Vec<Fact>,
    pub digest: Option<Box<Digest>>,
}

/// Messages of one notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub n_waiting: u64,
    pub n_dead: u64,
}

/// Why a message of a notifier that is not configured any more was given up.
const REMOVED: &str = "notifier removed";

impl Store {
    /// Messages, the newest first.
    pub async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| {
            let sql = format!(
                "SELECT {MESSAGE} FROM outbox
                 WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR notifier = ?2) ORDER BY position DESC LIMIT ?3"
            );
            let state = filter.state.map(MessageState::as_str);
            let notifier = filter.notifier.as_ref().map(NotifierName::as_str);
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query(params![state, notifier, filter.limit])?;
            let mut messages = Vec::new();
            while let Some(row) = rows.next()? {
                messages.push(message_at(row)?);
            }
            Ok(messages)
        })
        .await
    }

    /// One message by its id or a prefix of it.
    pub async fn message(&self, prefix: &str) -> Result<Found<MessageRow>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |db| find(db, &prefix)).await
    }

    /// The newest message that says something about an alert, by its whole fingerprint; `None` if none is stored.
    pub async fn last_message(&self, fingerprint: &str) -> Result<Option<MessageRow>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| {
            let sql = format!(
                "SELECT {MESSAGE} FROM outbox o
                 WHERE EXISTS (SELECT 1 FROM outbox_alerts a WHERE a.position = o.position AND a.fingerprint = ?1)
                 ORDER BY position DESC LIMIT 1"
            );
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query([fingerprint])?;
            rows.next()?.map(message_at).transpose()
        })
        .await
    }

    /// Puts a dead letter back into the outbox, under its id and due at once; it waits until `expires`. Gives the message
    /// as it is afterwards: one that was not dead is left as it was.
    pub async fn replay(
        &self,
        prefix: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Found<MessageRow>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("replay", move |tx| {
            let Found::One(message) = find(tx, &prefix)? else {
                return find(tx, &prefix);
            };
            tx.execute(
                "UPDATE outbox SET state = 'waiting', is_replay = 1, n_ambiguous = 0, n_posted = 0, refused = NULL, parked_at = NULL,
                     next_attempt = ?2, expires = ?3, finished_at = NULL
                 WHERE id = ?1 AND state = 'dead'",
                params![message.id, At(now), At(expires)],
            )?;
            find(tx, &message.id)
        })
        .await
    }

    /// Makes dead letters of what waits for notifiers that are not configured any more. Gives how many by notifier.
    pub async fn orphan(
        &self,
        known: &[NotifierName],
        now: Timestamp,
    ) -> Result<BTreeMap<NotifierName, u64>, StoreError> {
        let known: BTreeSet<NotifierName> = known.iter().cloned().collect();
        self.write("orphan", move |tx| {
            let mut orphaned = BTreeMap::new();
            for (notifier, counts) in counts(tx)? {
                if counts.n_waiting == 0 || known.contains(&notifier) {
                    continue;
                }
                tx.execute(
                    "UPDATE outbox SET state = 'dead', finished_at = ?2, last_error = ?3, is_passed_on = 1
                     WHERE notifier = ?1 AND state = 'waiting'",
                    params![notifier.as_str(), At(now), REMOVED],
                )?;
                orphaned.insert(notifier, counts.n_waiting);
            }
            Ok(orphaned)
        })
        .await
    }

    /// How many messages wait and how many were given up, by notifier; a notifier with neither is absent.
    pub async fn outbox_counts(&self) -> Result<BTreeMap<NotifierName, Counts>, StoreError> {
        self.read(counts).await
    }
}

const MESSAGE: &str = "id, notifier, recipient, state, created_at, n_attempts, next_attempt, finished_at, last_error, \
                       folded_into, facts, digest";

fn message_at(row: &Row<'_>) -> Result<MessageRow, Cause> {
    let word: String = row.get(3)?;
    let state = MessageState::parse(&word)
        .ok_or_else(|| Cause::Corrupt(format!("a message that is `{word}`")))?;
    let next_attempt = row.get::<_, At>(6)?.0;
    Ok(MessageRow {
        id: row.get(0)?,
        notifier: NotifierName::new(row.get::<_, String>(1)?),
        recipient: row.get(2)?,
        state,
        created_at: row.get::<_, At>(4)?.0,
        n_attempts: row.get(5)?,
        next_attempt: (state == MessageState::Waiting).then_some(next_attempt),
        finished_at: row.get::<_, Option<At>>(7)?.map(|at| at.0),
        last_error: row.get(8)?,
        folded_into: row.get(9)?,
        facts: facts_from_json(&row.get::<_, String>(10)?)?,
        digest: match row.get::<_, Option<String>>(11)? {
            Some(text) => Some(Box::new(digest_from_json(&text)?)),
            None => None,
        },
    })
}

fn find(db: &Connection, prefix: &str) -> Result<Found<MessageRow>, Cause> {
    // A whole id counts even where it begins another one.
    let sql = format!(
        "SELECT {MESSAGE} FROM outbox WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id <> ?1, id LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![prefix, N_NAMED])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(message_at(row)?);
    }
    Ok(match found.len() {
        0 => Found::Nothing,
        n if n == 1 || found[0].id == prefix => Found::One(found.swap_remove(0)),
        _ => Found::Many(found.into_iter().map(|message| message.id).collect()),
    })
}

fn counts(db: &Connection) -> Result<BTreeMap<NotifierName, Counts>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT notifier, state, count(*) FROM outbox WHERE state IN ('waiting', 'dead') GROUP BY notifier, state",
    )?;
    let mut rows = statement.query([])?;
    let mut all: BTreeMap<NotifierName, Counts> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let counts = all
            .entry(NotifierName::new(row.get::<_, String>(0)?))
            .or_default();
        let is_waiting = row.get::<_, String>(1)? == MessageState::Waiting.as_str();
        let count = if is_waiting {
            &mut counts.n_waiting
        } else {
            &mut counts.n_dead
        };
        *count = count_at(row, 2)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{at, store};

    #[tokio::test]
    async fn a_replay_of_what_is_not_there_finds_nothing() {
        let store = store().await;
        assert_eq!(
            store.replay("x", at(0), at(1)).await.unwrap(),
            Found::Nothing
        );
        assert_eq!(store.message("x").await.unwrap(), Found::Nothing);
    }
}
