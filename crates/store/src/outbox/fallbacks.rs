//! Copies dead letters to the notifier's fallback, each once, in the transaction that marks them.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::time_from_row;
use crate::error::{StoreError, StoreErrorCause};
use crate::outbox::{self, NewDigest, NewMessage};
use crate::stored::{digest_from_json, facts_from_json};
use spendwatch_base::clock::Random;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::NotifierName;

/// Maximum dead letters per transaction.
const MAX_ROWS: i64 = 200;

/// The notifier that receives what another one could not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    pub name: NotifierName,
    /// Each gets a copy; empty for a notifier without recipients.
    pub recipients: Vec<String>,
    pub min_severity: Severity,
    pub send_resolved: bool,
    pub takes_digests: bool,
    pub max_age: SignedDuration,
}

struct DeadLetter {
    position: i64,
    organization: i64,
    facts: String,
    digest: Option<String>,
    created_at: Timestamp,
}

impl Store {
    /// Copies the dead letters of a notifier to its fallback and marks them, so that each is copied once, even after a replay.
    /// Skips facts that the fallback was sent anyway. Without a fallback, only marks them. Returns the number of copies.
    pub async fn forward_dead_letters(
        &self,
        notifier: &NotifierName,
        fallback: Option<&Fallback>,
        random: &Random,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let name = notifier.clone();
        let is_due: bool = self
            .read(move |db| {
                let sql = "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_to_pass_on
                           WHERE notifier = ?1 AND state = 'dead' AND is_passed_on = 0)";
                query::value(db, sql, [name.as_str()])
            })
            .await?;
        if !is_due {
            return Ok(0);
        }
        let (name, fallback, random) = (notifier.clone(), fallback.cloned(), random.clone());
        self.write("forward_dead_letters", move |tx| {
            let mut n_copies = 0;
            for letter in dead_letters(tx, &name)? {
                if let Some(fallback) = &fallback {
                    n_copies += copy(tx, &name, fallback, &letter, &random, now)?;
                }
                let sql = "UPDATE outbox SET is_passed_on = 1 WHERE position = ?1";
                query::run(tx, sql, [letter.position])?;
            }
            Ok(n_copies)
        })
        .await
    }
}

fn dead_letters(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
) -> Result<Vec<DeadLetter>, StoreErrorCause> {
    query::all(
        tx,
        "SELECT position, organization_id, facts, digest, created_at FROM outbox INDEXED BY outbox_to_pass_on
         WHERE notifier = ?1 AND state = 'dead' AND is_passed_on = 0 ORDER BY position LIMIT ?2",
        params![notifier.as_str(), MAX_ROWS],
        |row| {
            Ok(DeadLetter {
                position: row.get(0)?,
                organization: row.get(1)?,
                facts: row.get(2)?,
                digest: row.get(3)?,
                created_at: time_from_row(row, 4)?,
            })
        },
    )
}

fn copy(
    tx: &Transaction<'_>,
    notifier: &NotifierName,
    fallback: &Fallback,
    letter: &DeadLetter,
    random: &Random,
    now: Timestamp,
) -> Result<usize, StoreErrorCause> {
    let expires = now.checked_add(fallback.max_age).unwrap_or(Timestamp::MAX);
    let recipients: Vec<Option<String>> = match fallback.recipients.as_slice() {
        [] => vec![None],
        recipients => recipients.iter().cloned().map(Some).collect(),
    };
    let n_copies = recipients.len();
    if let Some(text) = &letter.digest {
        if !fallback.takes_digests || has_digest(tx, fallback, text)? {
            return Ok(0);
        }
        for recipient in recipients {
            let message = NewDigest {
                id: random.id(),
                notifier: fallback.name.clone(),
                recipient,
                digest: digest_from_json(text)?,
                expires,
            };
            outbox::insert_digest(tx, letter.organization, &message, letter.created_at)?;
            mark(tx, notifier)?;
        }
        return Ok(n_copies);
    }
    let mut facts = Vec::new();
    for fact in facts_from_json(&letter.facts)? {
        let is_wanted = fact.threshold.severity >= fallback.min_severity
            && (fallback.send_resolved || fact.reason != Reason::Resolved);
        if is_wanted && !was_notified(tx, fallback, &fact)? {
            facts.push(Fact {
                in_place_of: Some(notifier.clone()),
                ..fact
            });
        }
    }
    if facts.is_empty() {
        return Ok(0);
    }
    for recipient in recipients {
        let message = NewMessage {
            id: random.id(),
            notifier: fallback.name.clone(),
            recipient,
            facts: facts.clone(),
            not_before: now,
            expires,
        };
        outbox::insert(tx, letter.organization, &message, letter.created_at)?;
        mark(tx, notifier)?;
    }
    Ok(n_copies)
}

/// Marks the last inserted row as a copy.
fn mark(tx: &Transaction<'_>, notifier: &NotifierName) -> Result<(), StoreErrorCause> {
    let sql = "UPDATE outbox SET in_place_of = ?2 WHERE position = ?1";
    query::run(tx, sql, params![tx.last_insert_rowid(), notifier.as_str()])?;
    Ok(())
}

/// Returns whether the fallback has a message about this state of the alert or a newer one: because the rule notifies it
/// too, because it replaced the parked notifier, or because of the copy for another recipient.
fn was_notified(
    tx: &Transaction<'_>,
    fallback: &Fallback,
    fact: &Fact,
) -> Result<bool, StoreErrorCause> {
    let fingerprint = fact.identity.fingerprint();
    let sent: Vec<Vec<Fact>> = query::all(
        tx,
        "SELECT o.facts FROM outbox o JOIN outbox_alerts a USING (position)
         WHERE o.state IN ('waiting', 'delivered', 'dead') AND o.notifier = ?1 AND a.fingerprint = ?2",
        params![fallback.name.as_str(), fingerprint],
        |row| facts_from_json(&row.get::<_, String>(0)?),
    )?;
    Ok(sent
        .iter()
        .flatten()
        .any(|sent| sent.sequence >= fact.sequence && sent.identity.fingerprint() == fingerprint))
}

fn has_digest(
    tx: &Transaction<'_>,
    fallback: &Fallback,
    text: &str,
) -> Result<bool, StoreErrorCause> {
    query::value(
        tx,
        "SELECT EXISTS (SELECT 1 FROM outbox
         WHERE state IN ('waiting', 'delivered', 'dead') AND notifier = ?1 AND digest = ?2)",
        params![fallback.name.as_str(), text],
    )
}
