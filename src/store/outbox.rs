//! The outbox: messages that wait, in the order in which they were decided.
//!
//! A later state of an alert never overtakes an earlier one to the same receiver; other alerts pass by. Rows without an
//! attempt are folded into one message at the first attempt, which freezes its facts: from then on every attempt says the
//! same under the same id.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, fold};
use crate::store::Store;
use crate::store::error::{RowError, StoreError};
use crate::store::shapes::{facts_from_text, facts_to_text, from_text, to_text};

/// So many waiting rows are looked at for one claim, and so many may fold into one message.
const MAX_LOOKED_AT: i64 = 500;

/// A message to be written with the decision that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Unique; the same on every attempt.
    pub id: String,
    /// To whom.
    pub notifier: NotifierName,
    /// To which of its recipients, where each has a delivery of its own.
    pub recipient: Option<String>,
    /// What it says.
    pub facts: Vec<Fact>,
    /// Not before: alerts that arrive together share a message.
    pub due: Timestamp,
    /// From then on it is a dead letter.
    pub expires: Timestamp,
}

/// A message that is to be sent now. Its attempt is counted already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The stable id.
    pub id: String,
    /// To which recipient.
    pub recipient: Option<String>,
    /// Frozen.
    pub facts: Vec<Fact>,
    /// When it was decided.
    pub created_at: Timestamp,
    /// With this one.
    pub n_attempts: u32,
    /// Attempts of which nobody knows whether they arrived.
    pub n_ambiguous: u32,
    /// It was a dead letter once.
    pub is_replay: bool,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered,
    /// Not yet; tried again at a time.
    Waiting {
        /// When.
        at: Timestamp,
        /// Why not yet.
        error: String,
        /// Nobody knows whether it arrived.
        is_ambiguous: bool,
    },
    /// Never.
    Dead {
        /// Why.
        error: String,
    },
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// To be sent.
    Waiting,
    /// Arrived.
    Delivered,
    /// Given up; can be replayed.
    Dead,
    /// Said by another message.
    Folded,
}

impl Standing {
    /// All.
    pub const ALL: [Standing; 4] = [
        Standing::Waiting,
        Standing::Delivered,
        Standing::Dead,
        Standing::Folded,
    ];

    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Delivered => "delivered",
            Standing::Dead => "dead",
            Standing::Folded => "folded",
        }
    }

    /// The standing of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<Standing> {
        Standing::ALL
            .into_iter()
            .find(|standing| standing.as_str() == word)
    }

    const fn code(self) -> i64 {
        match self {
            Standing::Waiting => 0,
            Standing::Delivered => 1,
            Standing::Dead => 2,
            Standing::Folded => 3,
        }
    }
}

/// A message in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The stable id.
    pub id: String,
    /// To whom.
    pub notifier: NotifierName,
    /// To which recipient.
    pub recipient: Option<String>,
    /// Where it stands.
    pub standing: Standing,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When it is tried next; meaningful while it waits.
    pub due: Timestamp,
    /// So far.
    pub n_attempts: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// What it says.
    pub facts: Vec<Fact>,
}

/// A receiver's fault, and pauses; kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NotifierState {
    /// Since when and why it is parked.
    pub parked: Option<(Timestamp, String)>,
    /// No attempt before.
    pub paused_until: Option<Timestamp>,
    /// Failures in a row.
    pub n_failures: u32,
    /// The settings that it was parked with, as a hash: other settings end the parking.
    pub settings: Option<String>,
}

/// Waiting and dead messages of one notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// To be sent.
    pub n_waiting: u64,
    /// Given up.
    pub n_dead: u64,
}

impl Store {
    /// The next message for a notifier that is due, folded and frozen; its attempt is counted before it is made.
    pub async fn claim(
        &self,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        let notifier = notifier.clone();
        self.write("claim", move |transaction| {
            claim(transaction, &notifier, now)
        })
        .await
    }

    /// Writes what became of an attempt.
    pub async fn finish(
        &self,
        id: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("finish", move |transaction| {
            let now_ms = now.as_millisecond();
            match outcome {
                Outcome::Delivered => {
                    settle(transaction, &id, Standing::Delivered, None, now_ms)?;
                }
                Outcome::Dead { error } => settle(transaction, &id, Standing::Dead, Some(&error), now_ms)?,
                Outcome::Waiting { at, error, is_ambiguous } => {
                    transaction
                        .prepare_cached(
                            "UPDATE outbox SET due_ms = ?2, error = ?3, n_ambiguous = n_ambiguous + ?4, changed_ms = ?5
                             WHERE id = ?1 AND state = 0",
                        )?
                        .execute(params![id, at.as_millisecond(), error, is_ambiguous, now_ms])?;
                }
            }
            Ok(())
        })
        .await
    }

    /// When a notifier's next message is due.
    pub async fn next_due(&self, notifier: &NotifierName) -> Result<Option<Timestamp>, StoreError> {
        let notifier = notifier.clone();
        self.read(move |transaction| {
            let due: Option<i64> = transaction.query_row(
                "SELECT min(due_ms) FROM outbox WHERE notifier = ?1 AND state = 0",
                [notifier.as_str()],
                |row| row.get(0),
            )?;
            due.map(timestamp).transpose()
        })
        .await
    }

    /// Makes dead letters of what is too old, and of messages to notifiers that are no more. Gives their number by notifier.
    pub async fn bury(
        &self,
        known: Vec<NotifierName>,
        now: Timestamp,
    ) -> Result<BTreeMap<NotifierName, u64>, StoreError> {
        self.write("bury", move |transaction| {
            let mut buried = BTreeMap::new();
            let mut statement = transaction.prepare_cached(
                "SELECT id, notifier, expires_ms, error FROM outbox WHERE state = 0 ORDER BY place",
            )?;
            let mut rows = statement.query([])?;
            let now_ms = now.as_millisecond();
            while let Some(row) = rows.next()? {
                let notifier = NotifierName::new(row.get::<_, String>(1)?);
                let last: Option<String> = row.get(3)?;
                let why = if !known.contains(&notifier) {
                    "the notifier was removed from the configuration".to_owned()
                } else if row.get::<_, i64>(2)? <= now_ms {
                    format!(
                        "older than `max_age`; last error: {}",
                        last.as_deref().unwrap_or("none")
                    )
                } else {
                    continue;
                };
                settle(
                    transaction,
                    &row.get::<_, String>(0)?,
                    Standing::Dead,
                    Some(&why),
                    now_ms,
                )?;
                *buried.entry(notifier).or_default() += 1;
            }
            Ok(buried)
        })
        .await
    }

    /// Messages by standing and notifier, newest first.
    pub async fn messages(
        &self,
        standing: Option<Standing>,
        notifier: Option<NotifierName>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.read(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT id, notifier, recipient, state, created_ms, due_ms, n_attempts, error, facts FROM outbox
                 WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR notifier = ?2) ORDER BY place DESC LIMIT ?3",
            )?;
            let name = notifier.as_ref().map(NotifierName::as_str);
            let mut rows = statement.query(params![standing.map(Standing::code), name, limit])?;
            let mut listed = Vec::new();
            while let Some(row) = rows.next()? {
                listed.push(listed_of(row)?);
            }
            Ok(listed)
        })
        .await
    }

    /// Lets a dead letter wait again, under its id.
    pub async fn replay(
        &self,
        prefix: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("replay", move |transaction| {
            let wanted = format!("{}%", prefix.replace(['%', '_'], ""));
            let mut statement = transaction.prepare_cached("SELECT id FROM outbox WHERE id LIKE ?1 AND state = 2")?;
            let ids = statement.query_map([wanted], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            if ids.is_empty() {
                let hint = "`spendwatch notifications list --state dead` shows them";
                return Err(RowError::NotFound(format!("no dead letter `{prefix}`; {hint}")));
            }
            for id in &ids {
                transaction.execute(
                    "UPDATE outbox SET state = 0, is_replay = 1, due_ms = ?2, expires_ms = ?3, changed_ms = ?2 WHERE id = ?1",
                    params![id, now.as_millisecond(), expires.as_millisecond()],
                )?;
            }
            Ok(ids)
        })
        .await
    }

    /// Waiting and dead messages by notifier.
    pub async fn backlogs(&self) -> Result<BTreeMap<NotifierName, Backlog>, StoreError> {
        self.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT notifier, state, count(*) FROM outbox WHERE state IN (0, 2) GROUP BY 1, 2",
            )?;
            let mut rows = statement.query([])?;
            let mut backlogs: BTreeMap<NotifierName, Backlog> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let backlog = backlogs
                    .entry(NotifierName::new(row.get::<_, String>(0)?))
                    .or_default();
                let count = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
                if row.get::<_, i64>(1)? == 0 {
                    backlog.n_waiting = count;
                } else {
                    backlog.n_dead = count;
                }
            }
            Ok(backlogs)
        })
        .await
    }

    /// A receiver's state; the default where none is stored.
    pub async fn notifier_state(
        &self,
        notifier: &NotifierName,
    ) -> Result<NotifierState, StoreError> {
        let notifier = notifier.clone();
        self.read(move |transaction| {
            let text: Option<String> = transaction
                .query_row(
                    "SELECT state FROM notifiers WHERE name = ?1",
                    [notifier.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            text.map_or(Ok(NotifierState::default()), |text| from_text(&text))
        })
        .await
    }

    /// Writes a receiver's state.
    pub async fn save_notifier_state(
        &self,
        notifier: &NotifierName,
        state: &NotifierState,
    ) -> Result<(), StoreError> {
        let (notifier, text) = (notifier.clone(), to_text(state));
        self.write("notifier", move |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO notifiers (name, state) VALUES (?1, ?2)")?
                .execute(params![notifier.as_str(), text])?;
            Ok(())
        })
        .await
    }

    /// Forgets delivered and folded messages, and ended alerts, from before a time. Dead letters stay.
    pub async fn forget_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write("forget", move |transaction| {
            let before = before.as_millisecond();
            transaction.execute("DELETE FROM outbox WHERE state IN (1, 3) AND changed_ms < ?1", [before])?;
            transaction.execute(
                "DELETE FROM alert_history WHERE fingerprint IN
                     (SELECT fingerprint FROM alerts WHERE is_open = 0 AND changed_ms < ?1 AND ends_ms < ?1)",
                [before],
            )?;
            transaction
                .execute("DELETE FROM alerts WHERE is_open = 0 AND changed_ms < ?1 AND ends_ms < ?1", [before])?;
            Ok(())
        })
        .await
    }
}

/// Writes a message into the transaction of its decision.
pub(in crate::store) fn add_message(
    transaction: &Transaction<'_>,
    message: &NewMessage,
    at: Timestamp,
) -> Result<(), RowError> {
    transaction
        .prepare_cached(
            "INSERT INTO outbox (id, notifier, recipient, state, created_ms, due_ms, expires_ms, n_attempts, n_ambiguous,
                                 is_replay, error, changed_ms, facts)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, 0, 0, 0, NULL, ?4, ?7)",
        )?
        .execute(params![
            message.id,
            message.notifier.as_str(),
            message.recipient,
            at.as_millisecond(),
            message.due.as_millisecond(),
            message.expires.as_millisecond(),
            facts_to_text(&message.facts)
        ])?;
    let place = transaction.last_insert_rowid();
    let fingerprints = message.facts.iter().map(|fact| fact.identity.fingerprint());
    name_alerts(transaction, place, fingerprints)
}

fn name_alerts(
    transaction: &Transaction<'_>,
    place: i64,
    fingerprints: impl Iterator<Item = String>,
) -> Result<(), RowError> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO outbox_alerts (place, fingerprint) VALUES (?1, ?2)",
    )?;
    for fingerprint in fingerprints {
        statement.execute(params![place, fingerprint])?;
    }
    Ok(())
}

/// A waiting row, as far as choosing needs it.
struct Waiting {
    place: i64,
    recipient: Option<String>,
    due_ms: i64,
    is_attempted: bool,
    alerts: BTreeSet<String>,
}

fn claim(
    transaction: &Transaction<'_>,
    notifier: &NotifierName,
    now: Timestamp,
) -> Result<Option<Claimed>, RowError> {
    let now_ms = now.as_millisecond();
    let waiting = load_waiting(transaction, notifier)?;
    let chosen = choose(&waiting, now_ms);
    let Some((first, rest)) = chosen.split_first() else {
        return Ok(None);
    };
    if !rest.is_empty() || !first.is_attempted {
        fold_rows(transaction, first.place, rest, now_ms)?;
    }
    transaction
        .prepare_cached(
            "UPDATE outbox SET n_attempts = n_attempts + 1, changed_ms = ?2 WHERE place = ?1",
        )?
        .execute(params![first.place, now_ms])?;
    let mut statement = transaction.prepare_cached(
        "SELECT id, recipient, facts, created_ms, n_attempts, n_ambiguous, is_replay FROM outbox WHERE place = ?1",
    )?;
    let mut rows = statement.query([first.place])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Claimed {
        id: row.get(0)?,
        recipient: row.get(1)?,
        facts: facts_from_text(&row.get::<_, String>(2)?)?,
        created_at: timestamp(row.get(3)?)?,
        n_attempts: row.get(4)?,
        n_ambiguous: row.get(5)?,
        is_replay: row.get(6)?,
    }))
}

/// The first row that is due and that no earlier row of one of its alerts holds back; with it, when it had no attempt yet,
/// all others of its kind that may be folded into it.
fn choose(waiting: &[Waiting], now_ms: i64) -> Vec<&Waiting> {
    let mut chosen: Vec<&Waiting> = Vec::new();
    let mut held: BTreeSet<(Option<&str>, &str)> = BTreeSet::new();
    for row in waiting {
        let recipient = row.recipient.as_deref();
        let is_held = row
            .alerts
            .iter()
            .any(|alert| held.contains(&(recipient, alert.as_str())));
        let is_free = !is_held && row.due_ms <= now_ms;
        let joins = match chosen.first() {
            None => is_free,
            Some(first) => {
                is_free
                    && !first.is_attempted
                    && !row.is_attempted
                    && first.recipient == row.recipient
            }
        };
        if joins {
            chosen.push(row);
            if row.is_attempted {
                break;
            }
        } else {
            held.extend(row.alerts.iter().map(|alert| (recipient, alert.as_str())));
        }
    }
    chosen
}

fn load_waiting(
    transaction: &Transaction<'_>,
    notifier: &NotifierName,
) -> Result<Vec<Waiting>, RowError> {
    let mut statement = transaction.prepare_cached(
        "SELECT place, recipient, due_ms, n_attempts > 0 FROM outbox
         WHERE notifier = ?1 AND state = 0 ORDER BY place LIMIT ?2",
    )?;
    let mut alerts =
        transaction.prepare_cached("SELECT fingerprint FROM outbox_alerts WHERE place = ?1")?;
    let mut rows = statement.query(params![notifier.as_str(), MAX_LOOKED_AT])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        let alerts = alerts
            .query_map([place], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        waiting.push(Waiting {
            place,
            recipient: row.get(1)?,
            due_ms: row.get(2)?,
            is_attempted: row.get(3)?,
            alerts,
        });
    }
    Ok(waiting)
}

fn fold_rows(
    transaction: &Transaction<'_>,
    place: i64,
    rest: &[&Waiting],
    now_ms: i64,
) -> Result<(), RowError> {
    let mut facts = Vec::new();
    let mut read = transaction.prepare_cached("SELECT facts FROM outbox WHERE place = ?1")?;
    for place in std::iter::once(place).chain(rest.iter().map(|row| row.place)) {
        facts.extend(facts_from_text(
            &read.query_row([place], |row| row.get::<_, String>(0))?,
        )?);
    }
    transaction
        .prepare_cached("UPDATE outbox SET facts = ?2 WHERE place = ?1")?
        .execute(params![place, facts_to_text(&fold(facts))])?;
    let mut folded = transaction
        .prepare_cached("UPDATE outbox SET state = 3, changed_ms = ?2 WHERE place = ?1")?;
    for row in rest {
        folded.execute(params![row.place, now_ms])?;
        name_alerts(transaction, place, row.alerts.iter().cloned())?;
    }
    Ok(())
}

fn settle(
    transaction: &Transaction<'_>,
    id: &str,
    standing: Standing,
    error: Option<&str>,
    now_ms: i64,
) -> Result<(), RowError> {
    transaction
        .prepare_cached(
            "UPDATE outbox SET state = ?2, error = coalesce(?3, error), changed_ms = ?4 WHERE id = ?1 AND state = 0",
        )?
        .execute(params![id, standing.code(), error, now_ms])?;
    Ok(())
}

fn listed_of(row: &Row<'_>) -> Result<Listed, RowError> {
    let code: i64 = row.get(3)?;
    let standing = Standing::ALL
        .into_iter()
        .find(|standing| standing.code() == code);
    Ok(Listed {
        id: row.get(0)?,
        notifier: NotifierName::new(row.get::<_, String>(1)?),
        recipient: row.get(2)?,
        standing: standing.ok_or_else(|| RowError::Shape(format!("unknown standing {code}")))?,
        created_at: timestamp(row.get(4)?)?,
        due: timestamp(row.get(5)?)?,
        n_attempts: row.get(6)?,
        error: row.get(7)?,
        facts: facts_from_text(&row.get::<_, String>(8)?)?,
    })
}

fn timestamp(milliseconds: i64) -> Result<Timestamp, RowError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|_| RowError::Shape(format!("{milliseconds} is not a time in milliseconds")))
}
