//! The outbox: messages that wait, in the order of their decision, and what came of them.
//!
//! One worker per notifier claims, sends and finishes; the lock of the daemon keeps other processes away, so a claim needs
//! no lease: after a kill the row still waits, with its attempt counted, and is claimed again under the same id.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, fold};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::shapes::{facts_from_json, facts_to_json};
use crate::store::values::At;

/// At most so many messages are folded into one.
const MAX_FOLDED_ROWS: usize = 500;
/// A folded message has at most so many facts before they are folded, unless the first alone has more.
const MAX_FOLDED_FACTS: usize = 1000;

/// A message to be committed with the decision that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Unique; the same on every attempt.
    pub id: String,
    /// To whom.
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

/// A message that is to be sent now. Its facts are frozen from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Unique; the same on every attempt.
    pub id: String,
    /// To which of the notifier's recipients.
    pub recipient: Option<String>,
    /// What it says, worst first.
    pub facts: Vec<Fact>,
    /// When the oldest of what it says was decided.
    pub created_at: Timestamp,
    /// Attempts, this one included: 1 at the first.
    pub n_attempts: u32,
    /// It was a dead letter and a person sent it again.
    pub is_replay: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It is tried again.
    Retry {
        /// Not before.
        at: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// It is given up: a dead letter.
    Dead {
        /// Why.
        error: String,
    },
}

impl Store {
    /// The oldest message of a notifier that is due and overtakes no earlier one about the same alert to the same
    /// recipient. At its first attempt what else is due and was never tried is folded into it.
    pub async fn claim(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        // Mostly there is nothing to claim, and a look costs no write.
        match self.next_due(notifier).await? {
            Some(due) if due <= now => {}
            Some(_) | None => return Ok(None),
        }
        let notifier = notifier.clone();
        self.write("claim", move |tx| {
            let rows = waiting(tx, &notifier)?;
            match choose(&rows, now) {
                Some((first, folded)) => claim_rows(tx, first, &folded, now).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Notes what came of an attempt. What was given up meanwhile stays given up, unless it was delivered after all.
    pub async fn finish(
        &self,
        id: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("finish", move |tx| {
            let is_known: bool = tx
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM outbox WHERE id = ?1)")?
                .query_row([&id], |row| row.get(0))?;
            if !is_known {
                return Err(Cause::Unknown(format!("message `{id}`")));
            }
            match &outcome {
                Outcome::Delivered => tx.execute(
                    "UPDATE outbox SET state = 'delivered', finished_at = ?2, last_error = NULL
                     WHERE id = ?1 AND state IN ('waiting', 'dead')",
                    params![id, At(now)],
                )?,
                Outcome::Retry { at, error } => tx.execute(
                    "UPDATE outbox SET next_attempt = ?2, last_error = ?3 WHERE id = ?1 AND state = 'waiting'",
                    params![id, At(*at), error],
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

    /// When [`Store::claim`] next has something; may be past. `None` while nothing waits.
    pub async fn next_due(&self, notifier: &NotifierName) -> Result<Option<Timestamp>, StoreError> {
        let notifier = notifier.clone();
        self.read(move |db| Ok(earliest(&waiting(db, &notifier)?)))
            .await
    }

    /// Makes dead letters of messages that are too old. Gives their notifiers and ids.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<(NotifierName, String)>, StoreError> {
        let is_due: bool = self
            .read(move |db| {
                let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting' AND expires <= ?1)";
                Ok(db.prepare_cached(sql)?.query_row([At(now)], |row| row.get(0))?)
            })
            .await?;
        if !is_due {
            return Ok(Vec::new());
        }
        self.write("expire", move |tx| {
            let mut statement = tx.prepare_cached(
                "UPDATE outbox SET state = 'dead', finished_at = ?1,
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

fn note_alerts(tx: &Transaction<'_>, position: i64, facts: &[Fact]) -> Result<(), Cause> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO outbox_alerts (position, fingerprint) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    for fact in facts {
        statement.execute(params![position, fact.identity.fingerprint()])?;
    }
    Ok(())
}

/// A waiting row, as far as the choice needs it.
#[derive(Debug, Clone)]
struct Waiting {
    position: i64,
    recipient: Option<String>,
    next_attempt: Timestamp,
    /// It had an attempt, or is sent again: its facts stay as they are.
    is_frozen: bool,
    fingerprints: Vec<String>,
}

/// The alerts of earlier rows, by recipient: no later row with one of them may pass.
#[derive(Debug, Default)]
struct Blocked<'a>(BTreeSet<(Option<&'a str>, &'a str)>);

impl<'a> Blocked<'a> {
    fn blocks(&self, row: &Waiting) -> bool {
        let recipient = row.recipient.as_deref();
        row.fingerprints
            .iter()
            .any(|fingerprint| self.0.contains(&(recipient, fingerprint.as_str())))
    }

    fn add(&mut self, row: &'a Waiting) {
        let recipient = row.recipient.as_deref();
        let pairs = row.fingerprints.iter();
        self.0
            .extend(pairs.map(|fingerprint| (recipient, fingerprint.as_str())));
    }
}

/// The row to claim and what is folded into it, from rows in the order of their decision.
fn choose(rows: &[Waiting], now: Timestamp) -> Option<(&Waiting, Vec<&Waiting>)> {
    let mut blocked = Blocked::default();
    let mut chosen: Option<&Waiting> = None;
    let mut folded = Vec::new();
    let mut n_facts = 0;
    for row in rows {
        let can_go = row.next_attempt <= now && !blocked.blocks(row);
        let fits = match chosen {
            None => can_go,
            Some(first) => {
                can_go
                    && !first.is_frozen
                    && !row.is_frozen
                    && row.recipient == first.recipient
                    && folded.len() + 1 < MAX_FOLDED_ROWS
                    && n_facts + row.fingerprints.len() <= MAX_FOLDED_FACTS
            }
        };
        if !fits {
            blocked.add(row);
            continue;
        }
        n_facts += row.fingerprints.len();
        match chosen {
            None => {
                if row.is_frozen {
                    return Some((row, folded));
                }
                chosen = Some(row);
            }
            Some(_) => folded.push(row),
        }
    }
    chosen.map(|first| (first, folded))
}

/// When the first row that overtakes nothing is due.
fn earliest(rows: &[Waiting]) -> Option<Timestamp> {
    let mut blocked = Blocked::default();
    let mut due: Option<Timestamp> = None;
    for row in rows {
        if !blocked.blocks(row) {
            due = Some(due.map_or(row.next_attempt, |due| due.min(row.next_attempt)));
        }
        blocked.add(row);
    }
    due
}

fn waiting(db: &Connection, notifier: &NotifierName) -> Result<Vec<Waiting>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT o.position, o.recipient, o.next_attempt, o.n_attempts > 0 OR o.is_replay, a.fingerprint
         FROM outbox o LEFT JOIN outbox_alerts a ON a.position = o.position
         WHERE o.state = 'waiting' AND o.notifier = ?1 ORDER BY o.position",
    )?;
    let mut found = statement.query([notifier.as_str()])?;
    let mut rows: Vec<Waiting> = Vec::new();
    while let Some(row) = found.next()? {
        let position: i64 = row.get(0)?;
        let fingerprint: Option<String> = row.get(4)?;
        match rows.last_mut() {
            Some(last) if last.position == position => last.fingerprints.extend(fingerprint),
            Some(_) | None => rows.push(Waiting {
                position,
                recipient: row.get(1)?,
                next_attempt: row.get::<_, At>(2)?.0,
                is_frozen: row.get(3)?,
                fingerprints: fingerprint.into_iter().collect(),
            }),
        }
    }
    Ok(rows)
}

/// Folds, freezes and counts the attempt, all before anything is sent.
fn claim_rows(
    tx: &Transaction<'_>,
    first: &Waiting,
    folded: &[&Waiting],
    now: Timestamp,
) -> Result<Claimed, Cause> {
    let id: String = tx
        .prepare_cached("SELECT id FROM outbox WHERE position = ?1")?
        .query_row([first.position], |row| row.get(0))?;
    if !folded.is_empty() {
        let mut facts = facts_of(tx, first.position)?;
        for row in folded {
            facts.extend(facts_of(tx, row.position)?);
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
        let facts = fold(facts);
        note_alerts(tx, first.position, &facts)?;
        tx.prepare_cached("UPDATE outbox SET facts = ?2 WHERE position = ?1")?
            .execute(params![first.position, facts_to_json(&facts)])?;
    }
    tx.prepare_cached("UPDATE outbox SET n_attempts = n_attempts + 1 WHERE position = ?1")?
        .execute([first.position])?;
    let facts = facts_of(tx, first.position)?;
    let claimed = tx
        .prepare_cached("SELECT created_at, n_attempts, is_replay FROM outbox WHERE position = ?1")?
        .query_row([first.position], |row| {
            Ok(Claimed {
                id,
                recipient: first.recipient.clone(),
                facts,
                created_at: row.get::<_, At>(0)?.0,
                n_attempts: row.get(1)?,
                is_replay: row.get(2)?,
            })
        })?;
    Ok(claimed)
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
