//! The outbox: messages that wait, in the order of their decision, and what came of them.
//!
//! One worker per notifier claims, sends and finishes; the lock of the daemon keeps other processes away, so a claim needs
//! no lease: after a kill the row still waits, with its attempt counted, and is claimed again under the same id.

mod choice;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::digest::Digest;
use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, Thread, fold, n_foldable};
use crate::store::Store;
use crate::store::digests::{digest_from_json, digest_to_json};
use crate::store::error::{Cause, StoreError};
use crate::store::facts::{facts_from_json, facts_to_json};
use crate::store::notifiers::{self, NotifierState, save_state};
use crate::store::outbox::choice::{Choice, Probe, Search, Waiting, look_through};
use crate::store::threads;
use crate::store::values::At;

/// A message to be committed with the decision that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Unique; the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    /// To which of its recipients, where each has a delivery of its own.
    pub recipient: Option<String>,
    /// What it says; at least one fact.
    pub facts: Vec<Fact>,
    /// The first attempt is not made before: the decision's time and the notifier's `group_wait`.
    pub not_before: Timestamp,
    /// A message that is not delivered by then becomes a dead letter.
    pub expires: Timestamp,
}

/// A digest to be committed with the mark that it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDigest {
    /// Unique; the same on every attempt.
    pub id: String,
    pub notifier: NotifierName,
    /// To which of its recipients, where each has a delivery of its own.
    pub recipient: Option<String>,
    pub digest: Digest,
    /// A message that is not delivered by then becomes a dead letter.
    pub expires: Timestamp,
}

/// A message that is to be sent now. Its facts are frozen from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Unique; the same on every attempt.
    pub id: String,
    /// To which of the notifier's recipients.
    pub recipient: Option<String>,
    /// What it says, worst first; empty for a digest.
    pub facts: Vec<Fact>,
    pub digest: Option<Box<Digest>>,
    /// When the oldest of what it says was decided.
    pub created_at: Timestamp,
    /// Attempts, this one included: 1 at the first.
    pub n_attempts: u32,
    /// Attempts before this one that failed and may have arrived all the same.
    pub n_ambiguous: u32,
    /// It was a dead letter and a person sent it again.
    pub is_replay: bool,
    /// Where an earlier message about the same alert stands; `None` for a message about several.
    pub thread: Option<Thread>,
    /// Posts of it that were answered in earlier attempts.
    pub n_posted: u32,
    /// Why one of these was refused for good.
    pub refused: Option<String>,
    /// The notifier that could not deliver it; of a digest alone, since facts name it themselves.
    pub in_place_of: Option<NotifierName>,
    /// When a refusal of this message, or of another one to the same recipient, first parked the notifier.
    pub parked_at: Option<Timestamp>,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The receiver has it, and shows it as the first message of a thread.
    Posted {
        thread: Thread,
    },
    Retry {
        at: Timestamp,
        error: String,
        /// The receiver may have it all the same.
        may_have_arrived: bool,
    },
    /// It is given up: a dead letter.
    Dead {
        error: String,
    },
}

impl Store {
    /// The oldest message of a notifier that is due and overtakes no earlier one about the same alert to the same
    /// recipient. At its first attempt what else is due and was never tried is folded into it. While the notifier is parked, the
    /// messages take turns.
    pub async fn claim(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        // Mostly there is nothing to claim, and a look costs no write.
        match self.next_due(notifier, now).await? {
            Some(due) if due <= now => {}
            Some(_) | None => return Ok(None),
        }
        let notifier = notifier.clone();
        self.write("claim", move |tx| {
            let mut choice = if notifiers::is_parked(tx, &notifier)? {
                let mut probe = Probe::at(now);
                look_through(tx, &notifier, |row| probe.take(row))?;
                match probe.chosen {
                    Some(row) => Choice::of(&row, now),
                    None => return Ok(None),
                }
            } else {
                Choice::at(now)
            };
            look_through(tx, &notifier, |row| choice.take(row))?;
            match choice.chosen {
                Some(first) => claim_rows(tx, &notifier, &first, &choice.folded, now).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Notes what came of an attempt, and with it how the notifier fares. What was given up meanwhile stays given up,
    /// unless it was delivered after all. Twice does no harm.
    pub async fn finish(
        &self,
        id: &str,
        outcome: Outcome,
        state: NotifierState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("finish", move |tx| {
            let row: Option<(String, i64)> = tx
                .prepare_cached("SELECT notifier, position FROM outbox WHERE id = ?1")?
                .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((notifier, position)) = row else {
                return Err(Cause::Unknown(format!("message `{id}`")));
            };
            let notifier = NotifierName::new(notifier);
            save_state(tx, &notifier, &state)?;
            if let Outcome::Posted { thread } = &outcome {
                threads::save(tx, &notifier, &facts_of(tx, position)?, thread, now)?;
            }
            match &outcome {
                Outcome::Delivered | Outcome::Posted { .. } => tx.execute(
                    "UPDATE outbox SET state = 'delivered', finished_at = ?2, last_error = NULL
                     WHERE id = ?1 AND state IN ('waiting', 'dead')",
                    params![id, At(now)],
                )?,
                Outcome::Retry {
                    at,
                    error,
                    may_have_arrived,
                } => tx.execute(
                    "UPDATE outbox SET next_attempt = ?2, last_error = ?3, n_ambiguous = n_ambiguous + ?4,
                         parked_at = coalesce(parked_at, ?5)
                     WHERE id = ?1 AND state = 'waiting'",
                    params![
                        id,
                        At(*at),
                        error,
                        may_have_arrived,
                        state
                            .parked
                            .as_ref()
                            .filter(|parked| parked.reason == *error)
                            .map(|_| At(now))
                    ],
                )?,
                Outcome::Dead { error } => tx.execute(
                    "UPDATE outbox SET state = 'dead', finished_at = ?2, last_error = ?3
                     WHERE id = ?1 AND state = 'waiting'",
                    params![id, At(now), error],
                )?,
            };
            Ok(())
        })
        .await
    }

    /// Records that one more post of a message was answered, before the next one is sent. Twice does no harm.
    pub async fn note_posted(
        &self,
        id: &str,
        n_posted: u32,
        refused: Option<String>,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("note_posted", move |tx| {
            let n_changed = tx
                .prepare_cached("UPDATE outbox SET n_posted = ?2, refused = ?3 WHERE id = ?1")?
                .execute(params![id, n_posted, refused])?;
            match n_changed {
                0 => Err(Cause::Unknown(format!("message `{id}`"))),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Whether a message to another recipient, which was not refused yet, may be sent in the place of a refused one.
    pub async fn has_other_recipient(
        &self,
        notifier: &NotifierName,
        recipient: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (notifier, recipient) = (notifier.clone(), recipient.to_owned());
        self.read(move |db| {
            let has = db
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting' AND notifier = ?1 AND recipient <> ?2
                         AND parked_at IS NULL AND next_attempt <= ?3)",
                )?
                .query_row(params![notifier.as_str(), recipient, At(now)], |row| row.get(0))?;
            Ok(has)
        })
        .await
    }

    /// When [`Store::claim`] next has something: the earliest moment, or any that is past. `None` while nothing waits.
    pub async fn next_due(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let notifier = notifier.clone();
        self.read(move |db| {
            let mut search = Search::at(now);
            look_through(db, &notifier, |row| search.take(row))?;
            Ok(search.earliest)
        })
        .await
    }

    /// Makes dead letters of messages that are too old. Gives their notifiers and ids.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<(NotifierName, String)>, StoreError> {
        let is_due: bool = self
            .read(move |db| {
                // SQLite takes all that wait for the shorter way unless it is told.
                let sql = "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_by_expiry
                           WHERE state = 'waiting' AND expires <= ?1)";
                Ok(db
                    .prepare_cached(sql)?
                    .query_row([At(now)], |row| row.get(0))?)
            })
            .await?;
        if !is_due {
            return Ok(Vec::new());
        }
        self.write("expire", move |tx| {
            let mut statement = tx.prepare_cached(
                "UPDATE outbox INDEXED BY outbox_by_expiry SET state = 'dead', finished_at = ?1,
                     last_error = 'older than max_age' || coalesce('; last: ' || last_error, '')
                 WHERE state = 'waiting' AND expires <= ?1 RETURNING notifier, id",
            )?;
            let rows = statement.query_map([At(now)], |row| {
                let notifier = NotifierName::new(row.get::<_, String>(0)?);
                Ok((notifier, row.get(1)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Puts a message into the outbox.
pub(super) fn insert(
    tx: &Transaction<'_>,
    organization: i64,
    message: &NewMessage,
    at: Timestamp,
) -> Result<(), Cause> {
    tx.prepare_cached(
        "INSERT INTO outbox (id, organization_id, notifier, recipient, state, facts, created_at, next_attempt, expires)
         VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        message.id,
        organization,
        message.notifier.as_str(),
        message.recipient,
        facts_to_json(&message.facts),
        At(at),
        At(message.not_before),
        At(message.expires),
    ])?;
    note_alerts(tx, tx.last_insert_rowid(), &message.facts)
}

/// Puts a digest into the outbox, due at once.
pub(super) fn insert_digest(
    tx: &Transaction<'_>,
    organization: i64,
    message: &NewDigest,
    at: Timestamp,
) -> Result<(), Cause> {
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
        digest_to_json(&message.digest),
        At(at),
        At(message.expires),
    ])?;
    Ok(())
}

fn note_alerts(tx: &Transaction<'_>, position: i64, facts: &[Fact]) -> Result<(), Cause> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO outbox_alerts (position, fingerprint) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    for fact in facts {
        statement.execute(params![position, fact.identity.fingerprint()])?;
    }
    Ok(())
}

/// Folds, freezes and counts the attempt, all before anything is sent.
fn claim_rows(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
    first: &Waiting,
    folded: &[Waiting],
    now: Timestamp,
) -> Result<Claimed, Cause> {
    let id: String = tx
        .prepare_cached("SELECT id FROM outbox WHERE position = ?1")?
        .query_row([first.position], |row| row.get(0))?;
    if !folded.is_empty() {
        let mut facts = vec![facts_of(tx, first.position)?];
        for row in folded {
            facts.push(facts_of(tx, row.position)?);
        }
        facts.truncate(n_foldable(&facts));
        for row in &folded[..facts.len() - 1] {
            tx.prepare_cached(
                "UPDATE outbox SET state = 'folded', folded_into = ?2, finished_at = ?3 WHERE position = ?1",
            )?
            .execute(params![row.position, id, At(now)])?;
            // What is folded into it may be newer, and lives as long as it would have lived alone.
            tx.prepare_cached(
                "UPDATE outbox SET expires = max(expires, (SELECT expires FROM outbox WHERE position = ?2))
                 WHERE position = ?1",
            )?
            .execute([first.position, row.position])?;
        }
        let facts = fold(facts.into_iter().flatten());
        note_alerts(tx, first.position, &facts)?;
        tx.prepare_cached("UPDATE outbox SET facts = ?2 WHERE position = ?1")?
            .execute(params![first.position, facts_to_json(&facts)])?;
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
            let claimed = Claimed {
                id,
                recipient: first.recipient.clone(),
                facts,
                digest: None,
                thread,
                created_at: row.get::<_, At>(0)?.0,
                n_attempts: row.get(1)?,
                is_replay: row.get(2)?,
                n_ambiguous: row.get(3)?,
                n_posted: row.get(5)?,
                refused: row.get(6)?,
                in_place_of: row
                    .get::<_, Option<String>>(7)?
                    .map(NotifierName::new),
                parked_at: row.get::<_, Option<At>>(8)?.map(|at| at.0),
            };
            Ok((claimed, row.get::<_, Option<String>>(4)?))
        })?;
    let (claimed, digest) = claimed;
    let digest = digest.as_deref().map(digest_from_json).transpose()?;
    Ok(Claimed {
        digest: digest.map(Box::new),
        ..claimed
    })
}

fn facts_of(db: &Connection, position: i64) -> Result<Vec<Fact>, Cause> {
    let text: Option<String> = db
        .prepare_cached("SELECT facts FROM outbox WHERE position = ?1")?
        .query_row([position], |row| row.get(0))
        .optional()?;
    match text {
        Some(text) => facts_from_json(&text),
        None => Err(Cause::Corrupt(format!("message {position} is gone"))),
    }
}

#[cfg(test)]
mod tests;
