//! The outbox: messages that wait, in the order of their decision, and what came of them.
//!
//! One worker per notifier claims, sends and finishes; the lock of the daemon keeps other processes away, so a claim needs
//! no lease: after a kill the row still waits, with its attempt counted, and is claimed again under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::digest::Digest;
use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, Thread, fold, n_foldable};
use crate::store::Store;
use crate::store::digests::{digest_from_json, digest_to_json};
use crate::store::error::{Cause, StoreError};
use crate::store::facts::{facts_from_json, facts_to_json};
use crate::store::notifiers::{NotifierState, save_state};
use crate::store::threads;
use crate::store::values::At;

/// At most so many messages are folded into one.
const MAX_FOLDED_ROWS: usize = 500;
/// A folded message has at most so many facts before they are folded, unless the first alone has more.
const MAX_FOLDED_FACTS: usize = 1000;
/// What is folded is looked for no further than beyond so many rows that are not: they and what follows go out later.
const MAX_PASSED_ROWS: usize = 2000;

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

/// A digest to be committed with the mark that it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDigest {
    /// Unique; the same on every attempt.
    pub id: String,
    /// To whom.
    pub notifier: NotifierName,
    /// To which of its recipients, where each has a delivery of its own.
    pub recipient: Option<String>,
    /// What it says.
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
    /// What it says instead.
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
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver has it, and shows it as the first message of a thread.
    Posted {
        /// Where.
        thread: Thread,
    },
    /// It is tried again.
    Retry {
        /// Not before.
        at: Timestamp,
        /// Why it failed.
        error: String,
        /// The receiver may have it all the same.
        may_have_arrived: bool,
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
        match self.next_due(notifier, now).await? {
            Some(due) if due <= now => {}
            Some(_) | None => return Ok(None),
        }
        let notifier = notifier.clone();
        self.write("claim", move |tx| {
            let mut choice = Choice::at(now);
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
                    "UPDATE outbox SET next_attempt = ?2, last_error = ?3, n_ambiguous = n_ambiguous + ?4
                     WHERE id = ?1 AND state = 'waiting'",
                    params![id, At(*at), error, may_have_arrived],
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

/// A waiting row, as far as the choice needs it.
#[derive(Debug, Clone)]
struct Waiting {
    position: i64,
    recipient: Option<String>,
    next_attempt: Timestamp,
    /// It had an attempt, is sent again, or is a digest: what it says stays as it is.
    is_frozen: bool,
    fingerprints: Vec<String>,
}

/// The alerts of earlier rows, by recipient: no later row with one of them may pass.
#[derive(Debug, Default)]
struct Blocked(BTreeMap<Option<String>, BTreeSet<String>>);

impl Blocked {
    fn blocks(&self, row: &Waiting) -> bool {
        let of_recipient = self.0.get(&row.recipient);
        of_recipient.is_some_and(|blocked| row.fingerprints.iter().any(|one| blocked.contains(one)))
    }

    fn add(&mut self, row: Waiting) {
        let of_recipient = self.0.entry(row.recipient).or_default();
        of_recipient.extend(row.fingerprints);
    }
}

/// The row to claim and what is folded into it, from rows in the order of their decision.
#[derive(Debug)]
struct Choice {
    now: Timestamp,
    blocked: Blocked,
    chosen: Option<Waiting>,
    folded: Vec<Waiting>,
    n_facts: usize,
    n_passed: usize,
}

impl Choice {
    fn at(now: Timestamp) -> Choice {
        Choice {
            now,
            blocked: Blocked::default(),
            chosen: None,
            folded: Vec::new(),
            n_facts: 0,
            n_passed: 0,
        }
    }

    /// Stops as soon as no later row can change the choice.
    fn take(&mut self, row: Waiting) -> ControlFlow<()> {
        let can_go = row.next_attempt <= self.now && !self.blocked.blocks(&row);
        let Some(first) = &self.chosen else {
            if !can_go {
                self.blocked.add(row);
                return ControlFlow::Continue(());
            }
            let is_frozen = row.is_frozen;
            self.n_facts = row.fingerprints.len();
            self.chosen = Some(row);
            return stop_if(is_frozen);
        };
        let fits = can_go
            && !row.is_frozen
            && row.recipient == first.recipient
            && self.n_facts + row.fingerprints.len() <= MAX_FOLDED_FACTS;
        if fits {
            self.n_facts += row.fingerprints.len();
            self.folded.push(row);
        } else {
            self.n_passed += 1;
            self.blocked.add(row);
        }
        let is_full = self.folded.len() + 1 >= MAX_FOLDED_ROWS || self.n_facts >= MAX_FOLDED_FACTS;
        stop_if(is_full || self.n_passed >= MAX_PASSED_ROWS)
    }
}

/// When the first row that overtakes nothing is due.
#[derive(Debug)]
struct Search {
    now: Timestamp,
    blocked: Blocked,
    earliest: Option<Timestamp>,
}

impl Search {
    fn at(now: Timestamp) -> Search {
        Search {
            now,
            blocked: Blocked::default(),
            earliest: None,
        }
    }

    /// Stops at one that is due: nothing can be more urgent.
    fn take(&mut self, row: Waiting) -> ControlFlow<()> {
        if !self.blocked.blocks(&row) {
            let due = row.next_attempt;
            self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        }
        self.blocked.add(row);
        stop_if(self.earliest.is_some_and(|earliest| earliest <= self.now))
    }
}

fn stop_if(is_over: bool) -> ControlFlow<()> {
    if is_over {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Shows what waits for a notifier in the order of its decision, row by row, until enough was seen: of a backlog only that is
/// read, and none of it is held here.
fn look_through(
    db: &Connection,
    notifier: &NotifierName,
    mut look: impl FnMut(Waiting) -> ControlFlow<()>,
) -> Result<(), Cause> {
    let mut waiting = db.prepare_cached(
        "SELECT position, recipient, next_attempt, n_attempts > 0 OR is_replay OR digest IS NOT NULL
         FROM outbox WHERE state = 'waiting' AND notifier = ?1 ORDER BY position",
    )?;
    let mut alerts =
        db.prepare_cached("SELECT fingerprint FROM outbox_alerts WHERE position = ?1")?;
    let mut rows = waiting.query([notifier.as_str()])?;
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        let fingerprints = alerts.query_map([position], |row| row.get(0))?;
        let waiting = Waiting {
            position,
            recipient: row.get(1)?,
            next_attempt: row.get::<_, At>(2)?.0,
            is_frozen: row.get(3)?,
            fingerprints: fingerprints.collect::<Result<_, _>>()?,
        };
        if look(waiting).is_break() {
            break;
        }
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
            "SELECT created_at, n_attempts, is_replay, n_ambiguous, digest FROM outbox WHERE position = ?1",
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
mod tests {
    use super::*;
    use crate::domain::notification::Reason::{self, Escalated, First, Lowered, Resolved};
    use crate::store::decisions::Commit;
    use crate::store::digests::Mark;
    use crate::store::messages::{Counts, MessageFilter, MessageState};
    use crate::store::samples::{ORGANIZATION, at, digest, engine, fact, store};

    /// A decision in a minute, with one message about some workspaces, due a minute later.
    async fn tell(store: &Store, id: &str, minute: i64, facts: &[(&str, u64, Reason)]) {
        tell_to(store, id, minute, None, facts).await;
    }

    async fn tell_to(
        store: &Store,
        id: &str,
        minute: i64,
        recipient: Option<&str>,
        facts: &[(&str, u64, Reason)],
    ) {
        let facts = facts
            .iter()
            .map(|(workspace, sequence, reason)| fact(workspace, *sequence, *reason));
        tell_facts(store, id, minute, recipient, facts.collect()).await;
    }

    async fn tell_facts(
        store: &Store,
        id: &str,
        minute: i64,
        recipient: Option<&str>,
        facts: Vec<Fact>,
    ) {
        let message = NewMessage {
            id: id.to_owned(),
            notifier: "slack".into(),
            recipient: recipient.map(str::to_owned),
            facts,
            not_before: at(minute + 1),
            expires: at(minute + 1000),
        };
        let commit = Commit {
            alerts: Vec::new(),
            messages: vec![message],
            engine: engine(minute),
            at: at(minute),
        };
        store
            .commit_decision(&ORGANIZATION.into(), commit)
            .await
            .unwrap();
    }

    async fn claim(store: &Store, minute: i64) -> Option<Claimed> {
        store.claim(&"slack".into(), at(minute)).await.unwrap()
    }

    /// Claims in a minute, expecting an id and what it says: workspace, sequence, reason.
    async fn check_claim(store: &Store, minute: i64, expected: &str) -> Option<Claimed> {
        let claimed = claim(store, minute).await;
        let shown = claimed.as_ref().map_or_else(String::new, |claimed| {
            let facts = claimed.facts.iter().map(|fact| {
                let both = if fact.is_fired_and_resolved {
                    "+fired"
                } else {
                    ""
                };
                format!(
                    " {}{}:{}{both}",
                    fact.subject_name, fact.sequence, fact.reason
                )
            });
            format!(
                "{} #{}{}",
                claimed.id,
                claimed.n_attempts,
                facts.collect::<String>()
            )
        });
        assert_eq!(shown, expected);
        claimed
    }

    fn posted(ts: &str) -> Outcome {
        let thread = Thread {
            channel: "C1".to_owned(),
            ts: ts.to_owned(),
        };
        Outcome::Posted { thread }
    }

    /// Claims in a minute; gives the id of the message in whose thread it belongs.
    async fn claim_thread(store: &Store, minute: i64) -> Option<String> {
        let claimed = claim(store, minute).await.unwrap();
        claimed.thread.map(|thread| thread.ts)
    }

    #[tokio::test]
    async fn where_a_message_stands_is_kept_for_the_alert_that_it_is_about() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        assert_eq!(claim_thread(&store, 5).await, None);
        finish(&store, "one", posted("1.1")).await;
        tell(&store, "two", 1, &[("a", 2, Escalated)]).await;
        assert_eq!(claim_thread(&store, 5).await.as_deref(), Some("1.1"));
        finish(&store, "two", posted("2.2")).await;
        tell(&store, "three", 2, &[("a", 3, Escalated), ("b", 1, First)]).await;
        assert_eq!(claim_thread(&store, 5).await, None, "it is about several");
        finish(&store, "three", posted("3.3")).await;
        tell(&store, "four", 3, &[("b", 2, Resolved)]).await;
        assert_eq!(
            claim_thread(&store, 5).await,
            None,
            "it was never told alone"
        );
        finish(&store, "four", Outcome::Delivered).await;
        tell(&store, "five", 4, &[("a", 4, Resolved)]).await;
        assert_eq!(claim_thread(&store, 9).await.as_deref(), Some("2.2"));
        finish(&store, "five", Outcome::Delivered).await;
        let mut again = fact("a", 1, First);
        again.identity.started_at = at(7);
        tell_facts(&store, "six", 7, None, vec![again]).await;
        assert_eq!(claim_thread(&store, 9).await, None, "it fires anew");
        finish(&store, "six", Outcome::Delivered).await;
        store
            .renew_notifier(&"slack".into(), "mark".to_owned(), at(8))
            .await
            .unwrap();
        tell(&store, "seven", 8, &[("a", 5, Escalated)]).await;
        assert_eq!(claim_thread(&store, 99).await, None, "other settings");
    }

    async fn finish(store: &Store, id: &str, outcome: Outcome) {
        store
            .finish(id, outcome, NotifierState::default(), at(500))
            .await
            .unwrap();
    }

    fn retry(minute: i64) -> Outcome {
        Outcome::Retry {
            at: at(minute),
            error: "503".to_owned(),
            may_have_arrived: false,
        }
    }

    #[tokio::test]
    async fn what_speaks_only_once_is_not_folded_away() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        tell(&store, "two", 1, &[("a", 2, Escalated), ("b", 1, First)]).await;
        tell(&store, "three", 2, &[("a", 3, Lowered)]).await;
        check_claim(&store, 9, "one #1 a2:first b1:first").await;
        finish(&store, "one", Outcome::Delivered).await;
        check_claim(&store, 9, "three #1 a3:lowered").await;
        finish(&store, "three", Outcome::Delivered).await;
        tell(&store, "four", 10, &[("a", 4, Resolved)]).await;
        tell(&store, "five", 11, &[("a", 5, First)]).await;
        check_claim(&store, 19, "four #1 a4:resolved").await;
        finish(&store, "four", Outcome::Delivered).await;
        tell(&store, "six", 12, &[("a", 6, Lowered)]).await;
        tell(&store, "seven", 13, &[("a", 7, Resolved)]).await;
        tell(&store, "eight", 14, &[("a", 8, First)]).await;
        check_claim(&store, 19, "five #1 a8:first").await;
    }

    #[tokio::test]
    async fn nothing_is_claimed_before_its_group_wait_and_what_is_delivered_never_again() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        check_claim(&store, 0, "").await;
        assert_eq!(
            store.next_due(&"slack".into(), at(0)).await.unwrap(),
            Some(at(1))
        );
        assert_eq!(store.next_due(&"mail".into(), at(0)).await.unwrap(), None);
        let claimed = check_claim(&store, 1, "one #1 a1:first").await.unwrap();
        assert_eq!((claimed.created_at, claimed.is_replay), (at(0), false));
        finish(&store, "one", Outcome::Delivered).await;
        check_claim(&store, 900, "").await;
        assert_eq!(store.next_due(&"slack".into(), at(0)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_waits_is_folded_into_the_oldest_before_its_first_attempt() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        tell(&store, "two", 1, &[("a", 2, Escalated), ("b", 1, First)]).await;
        tell(&store, "three", 2, &[("b", 2, Resolved)]).await;
        tell(&store, "later", 50, &[("a", 3, Resolved)]).await;
        check_claim(&store, 10, "one #1 a2:first b2:resolved+fired").await;
        finish(&store, "one", Outcome::Delivered).await;
        let filter = MessageFilter {
            state: Some(MessageState::Folded),
            notifier: None,
            limit: 9,
        };
        let folded = store.messages(&filter).await.unwrap();
        let into: Vec<_> = folded
            .iter()
            .map(|row| (row.id.as_str(), row.folded_into.as_deref()))
            .collect();
        assert_eq!(into, [("three", Some("one")), ("two", Some("one"))]);
        check_claim(&store, 51, "later #1 a3:resolved").await;
    }

    #[tokio::test]
    async fn a_digest_is_folded_with_nothing_and_holds_up_nothing() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        let messages = ["two", "three"].map(|id| NewDigest {
            id: id.to_owned(),
            notifier: "slack".into(),
            recipient: None,
            digest: digest("weekly"),
            expires: at(1000),
        });
        let mark = Mark {
            name: "weekly".to_owned(),
            schedule: "daily".to_owned(),
            last_slot: at(1),
        };
        store
            .commit_digest(&ORGANIZATION.into(), mark.clone(), messages.to_vec(), at(1))
            .await
            .unwrap();
        tell(&store, "four", 1, &[("a", 2, Escalated)]).await;
        let marks = store.digest_marks(&ORGANIZATION.into()).await.unwrap();
        assert_eq!(marks["weekly"], mark);
        let claimed = check_claim(&store, 5, "one #1 a2:first").await.unwrap();
        assert_eq!(claimed.digest, None);
        finish(&store, "one", retry(100)).await;
        let claimed = check_claim(&store, 5, "two #1").await.unwrap();
        assert_eq!(claimed.digest.as_deref(), Some(&digest("weekly")));
        finish(&store, "two", retry(50)).await;
        check_claim(&store, 5, "three #1").await;
        finish(&store, "three", posted("1.1")).await;
        check_claim(&store, 50, "two #2").await;
    }

    #[tokio::test]
    async fn case_20_what_had_an_attempt_is_never_folded_and_never_overtaken() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        check_claim(&store, 1, "one #1 a1:first").await;
        finish(&store, "one", retry(100)).await;
        tell(&store, "two", 2, &[("a", 2, Resolved)]).await;
        tell(&store, "three", 3, &[("b", 1, First)]).await;
        tell(&store, "four", 4, &[("b", 2, Escalated), ("a", 3, First)]).await;
        // `b` passes by; what also says something newer about `a` waits.
        check_claim(&store, 10, "three #1 b1:first").await;
        finish(&store, "three", Outcome::Delivered).await;
        check_claim(&store, 10, "").await;
        assert_eq!(
            store.next_due(&"slack".into(), at(0)).await.unwrap(),
            Some(at(100))
        );
        check_claim(&store, 100, "one #2 a1:first").await;
        finish(&store, "one", Outcome::Delivered).await;
        // The end is told before it fires anew.
        check_claim(&store, 100, "two #1 a2:resolved").await;
        finish(&store, "two", Outcome::Delivered).await;
        check_claim(&store, 100, "four #1 b2:escalated a3:first").await;
    }

    #[tokio::test]
    async fn each_recipient_has_an_order_of_its_own() {
        let store = store().await;
        tell_to(
            &store,
            "cfo-1",
            0,
            Some("cfo@example.com"),
            &[("a", 1, First)],
        )
        .await;
        tell_to(
            &store,
            "cto-1",
            0,
            Some("cto@example.com"),
            &[("a", 1, First)],
        )
        .await;
        tell_to(
            &store,
            "cto-2",
            1,
            Some("cto@example.com"),
            &[("a", 2, Resolved)],
        )
        .await;
        check_claim(&store, 5, "cfo-1 #1 a1:first").await;
        finish(&store, "cfo-1", retry(100)).await;
        let claimed = check_claim(&store, 5, "cto-1 #1 a2:resolved+fired")
            .await
            .unwrap();
        assert_eq!(claimed.recipient.as_deref(), Some("cto@example.com"));
    }

    #[tokio::test]
    async fn a_kill_between_claim_and_finish_leaves_a_frozen_row_that_is_claimed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = Store::open_for_daemon(&path, at(0)).unwrap();
        store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        check_claim(&store, 1, "one #1 a1:first").await;
        drop(store);
        let store = Store::open_for_daemon(&path, at(2)).unwrap();
        tell(&store, "two", 2, &[("a", 2, Resolved)]).await;
        check_claim(&store, 5, "one #2 a1:first").await;
        finish(&store, "one", Outcome::Delivered).await;
        check_claim(&store, 5, "two #1 a2:resolved").await;
    }

    #[tokio::test]
    async fn dead_letters_are_listed_counted_and_replayed_under_their_id() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        tell(&store, "two", 100, &[("b", 1, First)]).await;
        check_claim(&store, 1, "one #1 a1:first").await;
        finish(&store, "one", retry(2)).await;
        let expired = store.expire(at(1000)).await.unwrap();
        assert_eq!(expired, [("slack".into(), "one".to_owned())]);
        let counts = store.outbox_counts().await.unwrap();
        assert_eq!(
            counts[&NotifierName::from("slack")],
            Counts {
                n_waiting: 1,
                n_dead: 1
            }
        );
        let filter = MessageFilter {
            state: Some(MessageState::Dead),
            notifier: Some("slack".into()),
            limit: 9,
        };
        let dead = store.messages(&filter).await.unwrap();
        assert_eq!(
            dead[0].last_error.as_deref(),
            Some("older than max_age; last: 503")
        );
        store.replay("on", at(1001), at(9000)).await.unwrap();
        // What is sent again stays as it was: nothing is folded into it.
        let claimed = check_claim(&store, 1001, "one #2 a1:first").await.unwrap();
        assert!(claimed.is_replay);
        finish(
            &store,
            "one",
            Outcome::Dead {
                error: "410".to_owned(),
            },
        )
        .await;
        check_claim(&store, 1001, "two #1 b1:first").await;
    }

    #[tokio::test]
    async fn other_settings_make_due_what_was_tried_and_nothing_else() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        check_claim(&store, 1, "one #1 a1:first").await;
        finish(&store, "one", retry(100)).await;
        tell(&store, "two", 49, &[("b", 1, First)]).await;
        store
            .renew_notifier(&"slack".into(), "mark".to_owned(), at(40))
            .await
            .unwrap();
        assert_eq!(
            store.next_due(&"slack".into(), at(0)).await.unwrap(),
            Some(at(40))
        );
        check_claim(&store, 40, "one #2 a1:first").await;
        finish(&store, "one", Outcome::Delivered).await;
        assert_eq!(
            store.next_due(&"slack".into(), at(0)).await.unwrap(),
            Some(at(50))
        );
    }

    #[tokio::test]
    async fn attempts_that_may_have_arrived_are_counted_until_somebody_sends_it_again() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        let unclear = |minute| Outcome::Retry {
            at: at(minute),
            error: "504".to_owned(),
            may_have_arrived: true,
        };
        for (minute, outcome, n_ambiguous) in
            [(1, unclear(2), 0), (2, retry(3), 1), (3, unclear(4), 1)]
        {
            let claimed = claim(&store, minute).await.unwrap();
            assert_eq!(claimed.n_ambiguous, n_ambiguous);
            finish(&store, "one", outcome).await;
        }
        assert_eq!(claim(&store, 4).await.unwrap().n_ambiguous, 2);
        let error = "given up".to_owned();
        finish(&store, "one", Outcome::Dead { error }).await;
        store.replay("one", at(5), at(9000)).await.unwrap();
        let claimed = claim(&store, 5).await.unwrap();
        assert_eq!((claimed.n_ambiguous, claimed.n_attempts), (0, 5));
    }

    #[tokio::test]
    async fn case_44_messages_of_a_removed_notifier_become_dead_letters() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        assert!(
            store
                .orphan(&["slack".into()], at(5))
                .await
                .unwrap()
                .is_empty()
        );
        let orphaned = store.orphan(&["mail".into()], at(5)).await.unwrap();
        assert_eq!(orphaned[&NotifierName::from("slack")], 1);
        check_claim(&store, 10, "").await;
    }

    #[tokio::test]
    async fn a_message_that_was_given_up_and_arrives_after_all_is_delivered() {
        let store = store().await;
        tell(&store, "one", 0, &[("a", 1, First)]).await;
        claim(&store, 1).await.unwrap();
        store.expire(at(2000)).await.unwrap();
        finish(&store, "one", retry(3000)).await;
        check_claim(&store, 3000, "").await;
        finish(&store, "one", Outcome::Delivered).await;
        assert!(store.outbox_counts().await.unwrap().is_empty());
        let error = store
            .finish("none", Outcome::Delivered, NotifierState::default(), at(0))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    }

    #[test]
    fn what_can_be_folded_is_looked_for_no_further_than_needed() {
        let row = |position: i64, recipient: &str, fingerprint: String| Waiting {
            position,
            recipient: Some(recipient.to_owned()),
            next_attempt: at(0),
            is_frozen: false,
            fingerprints: vec![fingerprint],
        };
        let n_taken = |choice: &mut Choice, rows: &mut dyn Iterator<Item = Waiting>| {
            let mut n_taken = 0;
            for row in rows {
                n_taken += 1;
                if choice.take(row).is_break() {
                    break;
                }
            }
            n_taken
        };
        let mut choice = Choice::at(at(1));
        let mut alike = (0..9000).map(|n| row(n, "a", format!("{n}")));
        assert_eq!(n_taken(&mut choice, &mut alike), MAX_FOLDED_ROWS);
        let mut choice = Choice::at(at(1));
        let others = (1..9000).map(|n| row(n, "b", format!("{n}")));
        let mut mixed = std::iter::once(row(0, "a", "0".to_owned())).chain(others);
        assert_eq!(n_taken(&mut choice, &mut mixed), 1 + MAX_PASSED_ROWS);
        assert_eq!(choice.folded.len(), 0);
        // One that was tried goes alone: nothing else is looked at.
        let mut choice = Choice::at(at(1));
        let mut tried = (0..9000).map(|n| Waiting {
            is_frozen: true,
            ..row(n, "a", format!("{n}"))
        });
        assert_eq!(n_taken(&mut choice, &mut tried), 1);
    }

    #[tokio::test]
    async fn at_most_five_hundred_messages_are_folded_at_once() {
        let store = store().await;
        let messages = (0..600).map(|n| NewMessage {
            id: format!("m{n:03}"),
            notifier: "slack".into(),
            recipient: None,
            facts: vec![fact(&format!("w{n}"), 1, First)],
            not_before: at(1),
            expires: at(1000),
        });
        let commit = Commit {
            alerts: Vec::new(),
            messages: messages.collect(),
            engine: engine(0),
            at: at(0),
        };
        store
            .commit_decision(&ORGANIZATION.into(), commit)
            .await
            .unwrap();
        let first = claim(&store, 2).await.unwrap();
        assert_eq!((first.id.as_str(), first.facts.len()), ("m000", 500));
        finish(&store, "m000", Outcome::Delivered).await;
        let second = claim(&store, 2).await.unwrap();
        assert_eq!((second.id.as_str(), second.facts.len()), ("m500", 100));
    }
}
