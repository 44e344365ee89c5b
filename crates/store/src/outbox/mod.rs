//! The outbox: messages in the order of their decision, until they are delivered, folded or dead.
//!
//! One worker per notifier claims, sends and finishes messages. The store's lock excludes other daemons, so a claim needs no
//! lease: after a kill, the message is still waiting, with its attempt counted, and is claimed again under the same id.

mod threads;

pub mod notifiers;

mod claim_selection;
pub mod fallbacks;
pub mod messages;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::StoredTime;
use crate::error::{StoreError, StoreErrorCause};
use crate::outbox::claim_selection::{
    ClaimSelection, DueSearch, ProbeSelection, WaitingRow, for_each_waiting,
};
use crate::outbox::notifiers::{NotifierState, save_state};
use crate::stored::{AsStored, digest_from_json, facts_from_json, to_json};
use spendwatch_domain::alerts::notification::{Fact, Thread, fold, n_foldable};
use spendwatch_domain::digest::Digest;
use spendwatch_domain::units::ids::NotifierName;

/// A message to commit together with the decision that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Unique, and the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    /// Set if each of the notifier's recipients has its own delivery.
    pub recipient: Option<String>,
    pub facts: Vec<Fact>,
    /// Earliest time of the first attempt: the time of the decision plus the notifier's `group_wait`.
    pub not_before: Timestamp,
    /// When it becomes a dead letter if it is not delivered.
    pub expires: Timestamp,
}

/// A digest to commit together with its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDigest {
    /// Unique, and the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    /// Set if each of the notifier's recipients has its own delivery.
    pub recipient: Option<String>,
    pub digest: Digest,
    /// When it becomes a dead letter if it is not delivered.
    pub expires: Timestamp,
}

/// A message to send now. From the claim on, its facts do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedMessage {
    /// Unique, and the same on every attempt.
    pub id: String,
    pub recipient: Option<String>,
    /// Worst first; empty for a digest.
    pub facts: Vec<Fact>,
    pub digest: Option<Box<Digest>>,
    /// When its oldest fact was decided.
    pub created_at: Timestamp,
    /// Number of attempts including this one.
    pub n_attempts: u32,
    /// Number of earlier attempts that failed but may have been delivered.
    pub n_ambiguous: u32,
    /// Whether it is a replayed dead letter.
    pub is_replay: bool,
    /// Thread of the earlier messages about the same alert; `None` for a message about several alerts.
    pub thread: Option<Thread>,
    /// Number of its posts that earlier attempts completed.
    pub n_posted: u32,
    /// Why one of these was rejected permanently.
    pub refused: Option<String>,
    /// The notifier that could not deliver it. Only for digests, since facts contain it themselves.
    pub in_place_of: Option<NotifierName>,
    /// When the rejection of this message, or of another one to the same recipient, first parked the notifier.
    pub parked_at: Option<Timestamp>,
}

/// Result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    Delivered,
    /// Delivered as the first message of a thread.
    Posted {
        thread: Thread,
    },
    Retry {
        at: Timestamp,
        error: String,
        may_have_arrived: bool,
    },
    Dead {
        error: String,
    },
}

impl Store {
    /// Claims the oldest due message of a notifier, unless an earlier message about the same alert to the same recipient is
    /// still waiting. At its first attempt, other due messages without attempts are folded into it. While the notifier is
    /// parked, messages take turns.
    pub async fn claim(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<ClaimedMessage>, StoreError> {
        // Usually nothing is due, and reading first avoids a write transaction.
        match self.next_due(notifier, now).await? {
            Some(due) if due <= now => {}
            Some(_) | None => return Ok(None),
        }
        let notifier = notifier.clone();
        self.write("claim", move |tx| {
            let mut selection = ClaimSelection::new(now);
            if notifiers::is_parked(tx, &notifier)? {
                let mut probe = ProbeSelection::new(now);
                for_each_waiting(tx, &notifier, |row| probe.consider(row))?;
                match probe.chosen {
                    Some(row) => selection.only = Some(row.position),
                    None => return Ok(None),
                }
            }
            for_each_waiting(tx, &notifier, |row| selection.consider(row))?;
            match selection.chosen {
                Some(first) => claim_rows(tx, &notifier, &first, &selection.folded, now).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Records the outcome of an attempt and the state of the notifier. A message that became a dead letter meanwhile stays
    /// one, unless this attempt delivered it. Idempotent.
    pub async fn finish(
        &self,
        id: &str,
        outcome: AttemptOutcome,
        state: NotifierState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("finish", move |tx| {
            let sql = "SELECT notifier, position FROM outbox WHERE id = ?1";
            let row = query::first(tx, sql, [&id], |row| {
                Ok((NotifierName::new(row.get::<_, String>(0)?), row.get(1)?))
            })?;
            let Some((notifier, position)) = row else {
                return Err(StoreErrorCause::Unknown(format!("message `{id}`")));
            };
            save_state(tx, &notifier, &state)?;
            if let AttemptOutcome::Posted { thread } = &outcome {
                threads::save(tx, &notifier, &facts_of(tx, position)?, thread, now)?;
            }
            match &outcome {
                AttemptOutcome::Delivered | AttemptOutcome::Posted { .. } => tx.execute(
                    "UPDATE outbox SET state = 'delivered', finished_at = ?2, last_error = NULL
                     WHERE id = ?1 AND state IN ('waiting', 'dead')",
                    params![id, StoredTime(now)],
                )?,
                AttemptOutcome::Retry {
                    at,
                    error,
                    may_have_arrived,
                } => tx.execute(
                    "UPDATE outbox SET next_attempt = ?2, last_error = ?3, n_ambiguous = n_ambiguous + ?4,
                         parked_at = coalesce(parked_at, ?5)
                     WHERE id = ?1 AND state = 'waiting'",
                    params![
                        id,
                        StoredTime(*at),
                        error,
                        may_have_arrived,
                        state
                            .parked
                            .as_ref()
                            .filter(|parked| parked.reason == *error)
                            .map(|_| StoredTime(now))
                    ],
                )?,
                AttemptOutcome::Dead { error } => tx.execute(
                    "UPDATE outbox SET state = 'dead', finished_at = ?2, last_error = ?3
                     WHERE id = ?1 AND state = 'waiting'",
                    params![id, StoredTime(now), error],
                )?,
            };
            Ok(())
        })
        .await
    }

    /// Records that another post of a message was completed, before the next one is sent. Idempotent.
    pub async fn note_posted(
        &self,
        id: &str,
        n_posted: u32,
        refused: Option<String>,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("note_posted", move |tx| {
            let sql = "UPDATE outbox SET n_posted = ?2, refused = ?3 WHERE id = ?1";
            match query::run(tx, sql, params![id, n_posted, refused])? {
                0 => Err(StoreErrorCause::Unknown(format!("message `{id}`"))),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Returns whether a due message to another recipient exists that was not rejected yet.
    pub async fn has_other_recipient(
        &self,
        notifier: &NotifierName,
        recipient: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (notifier, recipient) = (notifier.clone(), recipient.to_owned());
        self.read(move |db| {
            query::value(
                db,
                "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting' AND notifier = ?1 AND recipient <> ?2
                     AND parked_at IS NULL AND next_attempt <= ?3)",
                params![notifier.as_str(), recipient, StoredTime(now)],
            )
        })
        .await
    }

    /// Returns when [`Store::claim`] next returns a message; any time in the past if one is due, `None` if none is waiting.
    pub async fn next_due(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let notifier = notifier.clone();
        self.read(move |db| {
            let mut search = DueSearch::new(now);
            for_each_waiting(db, &notifier, |row| search.consider(row))?;
            Ok(search.earliest)
        })
        .await
    }

    /// Turns expired messages into dead letters and returns their notifiers and ids.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<(NotifierName, String)>, StoreError> {
        let is_due: bool = self
            .read(move |db| {
                // Without the hint, SQLite scans all waiting messages.
                let sql = "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_by_expiry
                           WHERE state = 'waiting' AND expires <= ?1)";
                query::value(db, sql, [StoredTime(now)])
            })
            .await?;
        if !is_due {
            return Ok(Vec::new());
        }
        self.write("expire", move |tx| {
            query::all(
                tx,
                "UPDATE outbox INDEXED BY outbox_by_expiry SET state = 'dead', finished_at = ?1,
                     last_error = 'older than max_age' || coalesce('; last: ' || last_error, '')
                 WHERE state = 'waiting' AND expires <= ?1 RETURNING notifier, id",
                [StoredTime(now)],
                |row| Ok((NotifierName::new(row.get::<_, String>(0)?), row.get(1)?)),
            )
        })
        .await
    }
}

/// Adds a message to the outbox.
pub(crate) fn insert(
    tx: &Transaction<'_>,
    organization: i64,
    message: &NewMessage,
    at: Timestamp,
) -> Result<(), StoreErrorCause> {
    tx.prepare_cached(
        "INSERT INTO outbox (id, organization_id, notifier, recipient, state, facts, created_at, next_attempt, expires)
         VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        message.id,
        organization,
        message.notifier.as_str(),
        message.recipient,
        to_json(&AsStored(&message.facts)),
        StoredTime(at),
        StoredTime(message.not_before),
        StoredTime(message.expires),
    ])?;
    note_alerts(tx, tx.last_insert_rowid(), &message.facts)
}

/// Adds a digest to the outbox, due immediately.
pub(crate) fn insert_digest(
    tx: &Transaction<'_>,
    organization: i64,
    message: &NewDigest,
    at: Timestamp,
) -> Result<(), StoreErrorCause> {
    tx.prepare_cached(
        "INSERT INTO outbox
             (id, organization_id, notifier, recipient, state, facts, digest, created_at, next_attempt, expires)
         VALUES (?1, ?2, ?3, ?4, 'waiting', '[]', ?5, ?6, ?6, ?7)",
    )?
    .execute(params![
        message.id,
        organization,
        message.notifier.as_str(),
        message.recipient,
        to_json(&AsStored(&message.digest)),
        StoredTime(at),
        StoredTime(message.expires),
    ])?;
    Ok(())
}

fn note_alerts(tx: &Transaction<'_>, position: i64, facts: &[Fact]) -> Result<(), StoreErrorCause> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO outbox_alerts (position, fingerprint) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    for fact in facts {
        statement.execute(params![position, fact.identity.fingerprint()])?;
    }
    Ok(())
}

/// Folds messages and counts the attempt before anything is sent.
fn claim_rows(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
    first: &WaitingRow,
    folded: &[WaitingRow],
    now: Timestamp,
) -> Result<ClaimedMessage, StoreErrorCause> {
    let sql = "SELECT id FROM outbox WHERE position = ?1";
    let id: String = query::value(tx, sql, [first.position])?;
    if !folded.is_empty() {
        let mut facts = vec![facts_of(tx, first.position)?];
        for row in folded {
            facts.push(facts_of(tx, row.position)?);
        }
        facts.truncate(n_foldable(&facts));
        for row in &folded[..facts.len() - 1] {
            query::run(
                tx,
                "UPDATE outbox SET state = 'folded', folded_into = ?2, finished_at = ?3 WHERE position = ?1",
                params![row.position, id, StoredTime(now)],
            )?;
            // A folded message may be newer and must not expire earlier than it would have alone.
            query::run(
                tx,
                "UPDATE outbox SET expires = max(expires, (SELECT expires FROM outbox WHERE position = ?2))
                 WHERE position = ?1",
                [first.position, row.position],
            )?;
        }
        let facts = fold(facts.into_iter().flatten());
        note_alerts(tx, first.position, &facts)?;
        tx.prepare_cached("UPDATE outbox SET facts = ?2 WHERE position = ?1")?
            .execute(params![first.position, to_json(&AsStored(&facts))])?;
    }
    tx.prepare_cached("UPDATE outbox SET n_attempts = n_attempts + 1 WHERE position = ?1")?
        .execute([first.position])?;
    let facts = facts_of(tx, first.position)?;
    let thread = threads::find(tx, notifier, &facts)?;
    let claimed = tx
        .prepare_cached(
            "SELECT created_at, n_attempts, is_replay, n_ambiguous, digest, n_posted, refused, in_place_of,
                    coalesce(parked_at, (SELECT min(other.parked_at) FROM outbox other INDEXED BY outbox_parked
                                         WHERE other.state = 'waiting' AND other.parked_at IS NOT NULL
                                             AND other.notifier = outbox.notifier
                                             AND other.recipient = outbox.recipient))
             FROM outbox WHERE position = ?1",
        )?
        .query_row([first.position], |row| {
            let claimed = ClaimedMessage {
                id,
                recipient: first.recipient.clone(),
                facts,
                digest: None,
                thread,
                created_at: row.get::<_, StoredTime>(0)?.0,
                n_attempts: row.get(1)?,
                is_replay: row.get(2)?,
                n_ambiguous: row.get(3)?,
                n_posted: row.get(5)?,
                refused: row.get(6)?,
                in_place_of: row
                    .get::<_, Option<String>>(7)?
                    .map(NotifierName::new),
                parked_at: row.get::<_, Option<StoredTime>>(8)?.map(|at| at.0),
            };
            Ok((claimed, row.get::<_, Option<String>>(4)?))
        })?;
    let (claimed, digest) = claimed;
    let digest = digest.as_deref().map(digest_from_json).transpose()?;
    Ok(ClaimedMessage {
        digest: digest.map(Box::new),
        ..claimed
    })
}

fn facts_of(db: &Connection, position: i64) -> Result<Vec<Fact>, StoreErrorCause> {
    let sql = "SELECT facts FROM outbox WHERE position = ?1";
    facts_from_json(&query::value::<String>(db, sql, [position])?)
}

#[cfg(test)]
mod tests;
