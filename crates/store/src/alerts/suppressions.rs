//! Silences and acknowledgements. Commands write them; the daemon reads them at its next decision.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::Store;
use crate::alerts::compiled_matchers::CompiledMatchers;
use crate::alerts::{AlertRow, find_alert};
use crate::db::query;
use crate::db::values::{StoredTime, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use crate::outbox::notifiers;
use crate::prefix_match::PrefixMatch;
use crate::stored::{AsStored, from_json, to_json};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, State};
use spendwatch_domain::alerts::silence::{
    Acknowledgement, CapacityError, LabelMatcher, MAX_COMPILED, MAX_MATCHERS, MAX_SILENCES,
    Silence, Suppressions,
};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::span::Span;

/// Author and comment of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    pub author: String,
    pub comment: String,
}

/// Result of acknowledging an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    Done(AlertRow),
    NotFiring(AlertRow),
}

fn forwarded(
    db: &Connection,
) -> Result<BTreeMap<(String, NotifierName), Timestamp>, StoreErrorCause> {
    query::all(
        db,
        "SELECT a.fingerprint, o.notifier, max(o.created_at)
         FROM outbox o INDEXED BY outbox_copies JOIN outbox_alerts a USING (position)
         WHERE o.in_place_of IS NOT NULL GROUP BY a.fingerprint, o.notifier",
        [],
        |row| {
            let fallback = NotifierName::new(row.get::<_, String>(1)?);
            Ok(((row.get(0)?, fallback), time_from_row(row, 2)?))
        },
    )
}

const SILENCE: &str = "id, starts_at, ends_at, matchers, author, comment";
/// Maximum number of ended silences that are kept.
const MAX_ENDED: i64 = 5000;

impl Store {
    /// Returns suppressions that are active at a time or later, without unusable silences.
    pub async fn suppressions(&self, at: Timestamp) -> Result<Suppressions, StoreError> {
        let compiled = self.compiled_matchers();
        self.read(move |db| {
            let mut silences = silences(db, &compiled, at, false)?;
            silences.retain(|silence| silence.problem().is_none());
            Ok(Suppressions {
                silences,
                acknowledgements: acknowledged(db)?,
                parked: notifiers::parked(db)?,
                forwarded: forwarded(db)?,
            })
        })
        .await
    }

    /// Returns silences that have not ended at a time, or all for `with_ended`; the last to end first.
    pub async fn silences(
        &self,
        at: Timestamp,
        with_ended: bool,
    ) -> Result<Vec<Silence>, StoreError> {
        let compiled = self.compiled_matchers();
        self.read(move |db| silences(db, &compiled, at, with_ended))
            .await
    }

    /// Returns a silence by its full id.
    pub async fn silence(&self, id: &str) -> Result<Option<Silence>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let sql = format!("SELECT {SILENCE} FROM silences WHERE id = ?1");
            query::first(db, &sql, [id], |row| Ok(silence_from_row(row)?.0))
        })
        .await
    }

    /// Stores a new silence, or returns why it exceeds a limit. Deletes the oldest ended ones beyond a maximum.
    pub async fn add_silence(
        &self,
        silence: &Silence,
        at: Timestamp,
    ) -> Result<Option<CapacityError>, StoreError> {
        let silence = silence.clone();
        let compiled = self.compiled_matchers();
        self.write("add_silence", move |tx| {
            let others = silences(tx, &compiled, at, false)?;
            if others.len() >= MAX_SILENCES {
                return Ok(Some(CapacityError::Silences));
            }
            let size: usize = others.iter().map(Silence::size).sum();
            if size + silence.size() > MAX_COMPILED {
                return Ok(Some(CapacityError::Compiled));
            }
            query::run(
                tx,
                "DELETE FROM silences WHERE ends_at <= ?1 AND id NOT IN
                     (SELECT id FROM silences WHERE ends_at <= ?1 ORDER BY ends_at DESC, id LIMIT ?2)",
                params![StoredTime(at), MAX_ENDED],
            )?;
            let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
            tx.prepare_cached(
                "INSERT INTO silences (id, starts_at, ends_at, matchers, author, comment, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                silence.id,
                StoredTime(silence.span.start),
                StoredTime(silence.span.end),
                to_json(&matchers),
                silence.author,
                silence.comment,
                StoredTime(at),
            ])?;
            Ok(None)
        })
        .await
    }

    /// Ends a silence now, so that a future one never starts. Leaves an ended one unchanged. Returns it as it was.
    pub async fn end_silence(
        &self,
        prefix: &str,
        at: Timestamp,
    ) -> Result<PrefixMatch<Silence>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("end_silence", move |tx| {
            let found = find_silence(tx, &prefix)?;
            if let PrefixMatch::One(silence) = &found {
                tx.prepare_cached(
                    "UPDATE silences SET ends_at = ?2, starts_at = min(starts_at, ?2) WHERE id = ?1 AND ends_at > ?2",
                )?
                .execute(params![silence.id, StoredTime(at)])?;
            }
            Ok(found)
        })
        .await
    }

    /// Deletes silences that ended before a time.
    pub async fn drop_silences(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write("drop_silences", move |tx| {
            tx.execute(
                "DELETE FROM silences WHERE ends_at < ?1",
                [StoredTime(before)],
            )?;
            Ok(())
        })
        .await
    }

    /// Acknowledges a firing alert, by its fingerprint or a prefix of it.
    pub async fn acknowledge(
        &self,
        prefix: &str,
        by: Attribution,
        at: Timestamp,
    ) -> Result<PrefixMatch<AckOutcome>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("acknowledge", move |tx| {
            find_alert(tx, &prefix)?.try_map(|row| {
                let State::Firing { threshold, .. } = &row.alert.state else {
                    return Ok(AckOutcome::NotFiring(row));
                };
                query::run(
                    tx,
                    "INSERT INTO acknowledgements (fingerprint, at, author, comment, line) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (fingerprint) DO UPDATE SET at = excluded.at, author = excluded.author,
                         comment = excluded.comment, line = excluded.line",
                    params![
                        row.fingerprint,
                        StoredTime(at),
                        by.author,
                        by.comment,
                        to_json(&AsStored(threshold)),
                    ],
                )?;
                Ok(AckOutcome::Done(row))
            })
        })
        .await
    }

    /// Returns the last acknowledgement of an alert.
    pub async fn acknowledgement(
        &self,
        fingerprint: &str,
    ) -> Result<Option<Acknowledgement>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| acknowledgement(db, &fingerprint)).await
    }
}

/// Returns silences that have not ended at a time, or all for `with_ended`; the last to end first.
pub(crate) fn silences(
    db: &Connection,
    compiled: &Mutex<CompiledMatchers>,
    at: Timestamp,
    with_ended: bool,
) -> Result<Vec<Silence>, StoreErrorCause> {
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let sql =
        format!("SELECT {SILENCE} FROM silences WHERE ends_at > ?1 OR ?2 ORDER BY created_at, id");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![StoredTime(at), with_ended])?;
    let (mut silences, mut in_use) = (Vec::new(), HashMap::new());
    let (mut n_in_use, mut size, mut n_excess) = (0, 0, 0);
    while let Some(row) = rows.next()? {
        let (mut silence, text) = silence_from_row(row)?;
        if silence.span.end > at {
            n_in_use += 1;
            let excess = if n_in_use > MAX_SILENCES {
                Some(CapacityError::Silences)
            } else if size > MAX_COMPILED {
                Some(CapacityError::Compiled)
            } else {
                let matchers = match compiled.by_text.remove(&text) {
                    Some(matchers) => matchers,
                    None => match in_use.get(&text) {
                        Some(matchers) => Vec::clone(matchers),
                        None => compile(&silence),
                    },
                };
                silence.matchers = matchers.clone();
                in_use.insert(text, matchers);
                size += silence.size();
                (size > MAX_COMPILED).then_some(CapacityError::Compiled)
            };
            if let Some(excess) = excess {
                let problem = Some(excess.to_string());
                let texts = silence.matchers.iter().map(ToString::to_string);
                silence.matchers = texts
                    .map(|text| LabelMatcher::inert(text, problem.clone()))
                    .collect();
                n_excess += 1;
            }
        }
        silences.push(silence);
    }
    compiled.by_text = in_use;
    if n_excess > 0 && !compiled.is_excess_logged {
        tracing::warn!(
            "ignoring {n_excess} silences over the limits; list them with `spendwatch silence list` and remove some"
        );
        compiled.is_excess_logged = true;
    }
    silences.sort_by_cached_key(|silence| (Reverse(silence.span.end), silence.id.clone()));
    Ok(silences)
}

/// Compiles the matchers of a stored silence. Older versions may have stored some that exceed the limits.
fn compile(silence: &Silence) -> Vec<LabelMatcher> {
    let n_matchers = silence.matchers.len();
    let matchers: Vec<LabelMatcher> = silence
        .matchers
        .iter()
        .map(|matcher| {
            let text = matcher.to_string();
            if n_matchers > MAX_MATCHERS {
                let problem =
                    format!("it has {n_matchers} matchers, at most {MAX_MATCHERS} are allowed");
                return LabelMatcher::inert(text, Some(problem));
            }
            LabelMatcher::parse(&text).unwrap_or_else(|error| {
                let problem = format!("`{}` {error}", excerpt(&text));
                LabelMatcher::inert(text, Some(problem))
            })
        })
        .collect();
    let unusable = Silence {
        matchers,
        ..silence.clone()
    };
    if let Some(problem) = unusable.problem() {
        tracing::warn!("ignoring silence {}: {problem}", silence.id);
    }
    unusable.matchers
}

/// Shortens a text for a message.
fn excerpt(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn find_silence(db: &Connection, prefix: &str) -> Result<PrefixMatch<Silence>, StoreErrorCause> {
    let select = format!("SELECT {SILENCE} FROM silences");
    PrefixMatch::find(
        db,
        &select,
        "id",
        prefix,
        |row| Ok(silence_from_row(row)?.0),
    )
}

/// Reads a silence without compiling its matchers, and their stored text.
fn silence_from_row(row: &Row<'_>) -> Result<(Silence, String), StoreErrorCause> {
    let text: String = row.get(3)?;
    let matchers = match from_json::<Vec<String>>(&text, "matchers of a silence") {
        Ok(words) => words
            .into_iter()
            .map(|word| LabelMatcher::inert(word, None))
            .collect(),
        Err(_) => vec![LabelMatcher::inert(text.clone(), None)],
    };
    let silence = Silence {
        id: row.get(0)?,
        matchers,
        span: Span {
            start: time_from_row(row, 1)?,
            end: time_from_row(row, 2)?,
        },
        author: row.get(4)?,
        comment: row.get(5)?,
    };
    Ok((silence, text))
}

fn acknowledged(db: &Connection) -> Result<BTreeMap<String, Acknowledgement>, StoreErrorCause> {
    let sql = "SELECT at, acknowledgements.author, comment, line, fingerprint FROM acknowledgements
               JOIN alerts USING (fingerprint) WHERE phase = 'firing'";
    query::all(db, sql, [], |row| {
        Ok((row.get(4)?, acknowledgement_from_row(row)?))
    })
}

/// Returns the last acknowledgement of an alert.
pub(crate) fn acknowledgement(
    db: &Connection,
    fingerprint: &str,
) -> Result<Option<Acknowledgement>, StoreErrorCause> {
    let sql = "SELECT at, author, comment, line FROM acknowledgements WHERE fingerprint = ?1";
    query::first(db, sql, [fingerprint], acknowledgement_from_row)
}

fn acknowledgement_from_row(row: &Row<'_>) -> Result<Acknowledgement, StoreErrorCause> {
    let line = row.get::<_, String>(3)?;
    let line: AsStored<AbsoluteThreshold> = from_json(&line, "threshold of an acknowledgement")?;
    Ok(Acknowledgement {
        at: time_from_row(row, 0)?,
        author: row.get(1)?,
        comment: row.get(2)?,
        threshold: line.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{alert, at, commit, ended, store};

    fn silence(id: &str, start: i64, end: i64) -> Silence {
        let matcher = |text| LabelMatcher::parse(text).unwrap();
        Silence {
            id: id.to_owned(),
            span: Span {
                start: at(start),
                end: at(end),
            },
            matchers: vec![matcher("rule=month*"), matcher("team!~a|b")],
            author: "ada".to_owned(),
            comment: "migration; \"planned\"".to_owned(),
        }
    }

    async fn ids(store: &Store, after: Option<i64>) -> Vec<String> {
        let now = at(after.unwrap_or_default());
        let silences = store.silences(now, after.is_none()).await.unwrap();
        silences.into_iter().map(|silence| silence.id).collect()
    }

    #[tokio::test]
    async fn silences_are_listed_until_they_end() {
        let store = store().await;
        for (id, start, end) in [("one", 1, 5), ("two", 4, 9)] {
            store
                .add_silence(&silence(id, start, end), at(0))
                .await
                .unwrap();
        }
        assert_eq!(
            store.suppressions(at(2)).await.unwrap().silences[1],
            silence("one", 1, 5)
        );
        assert_eq!(ids(&store, Some(5)).await, ["two"]);
        // A future silence never starts, an ended one is unchanged, and an id prefix is enough.
        store.end_silence("t", at(3)).await.unwrap();
        assert_eq!(ids(&store, Some(3)).await, ["one"]);
        store.end_silence("two", at(7)).await.unwrap();
        assert_eq!(ids(&store, None).await, ["one", "two"]);
        assert_eq!(store.silence("tw").await.unwrap(), None);
        assert!(store.silence("two").await.unwrap().is_some());
        assert_eq!(
            store.end_silence("x", at(3)).await.unwrap(),
            PrefixMatch::NoMatch
        );
        assert!(
            matches!(store.end_silence("", at(3)).await.unwrap(), PrefixMatch::Ambiguous(ids) if ids.len() == 2)
        );
    }

    #[tokio::test]
    async fn only_firing_alerts_can_be_acknowledged() {
        let store = store().await;
        let (firing, over) = (alert("a", 1), ended(alert("b", 1), 2));
        let prints = [&firing, &over].map(|alert| alert.identity.fingerprint());
        commit(&store, 1, vec![firing, over], Vec::new()).await;
        let by = Attribution {
            author: "ada".to_owned(),
            comment: "on it".to_owned(),
        };
        let done = store
            .acknowledge(&prints[0], by.clone(), at(3))
            .await
            .unwrap();
        assert!(matches!(done, PrefixMatch::One(AckOutcome::Done(_))));
        let not = store.acknowledge(&prints[1], by, at(3)).await.unwrap();
        assert!(matches!(not, PrefixMatch::One(AckOutcome::NotFiring(_))));
        let quiet = store.suppressions(at(4)).await.unwrap();
        let known = &quiet.acknowledgements[&prints[0]];
        assert_eq!(
            (known.at, known.author.as_str(), known.comment.as_str()),
            (at(3), "ada", "on it")
        );
        assert_eq!(quiet.acknowledgements.len(), 1);
        assert_eq!(
            store.acknowledgement(&prints[0]).await.unwrap().as_ref(),
            Some(known)
        );
        assert_eq!(store.acknowledgement(&prints[1]).await.unwrap(), None);
    }

    /// Writes a silence like older versions, without limits.
    async fn insert(store: &Store, id: &str, matchers: String) {
        let id = id.to_owned();
        store
            .write("insert", move |tx| {
                tx.execute(
                    "INSERT INTO silences (id, starts_at, ends_at, matchers, author, comment, created_at)
                     VALUES (?1, ?2, ?3, ?4, 'ada', '', ?2)",
                    params![id, StoredTime(at(1)), StoredTime(at(9)), matchers],
                )?;
                Ok(())
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn unusable_silences_are_listed_and_do_not_affect_others() {
        let store = store().await;
        store
            .add_silence(&silence("good", 1, 9), at(1))
            .await
            .unwrap();
        let braces = format!("rule={}a{}", "{".repeat(260), "}".repeat(260));
        let long = format!("rule={}", "x".repeat(60_000));
        for (id, matchers) in [
            ("braces", to_json(&[&braces])),
            ("escape", to_json(&["rule=~a)|(?:b"])),
            ("long", to_json(&[&long])),
            ("many", to_json(&vec!["rule=a"; 51])),
            ("torn", "[\"rule=".to_owned()),
        ] {
            insert(&store, id, matchers).await;
        }
        let quiet = store.suppressions(at(2)).await.unwrap();
        assert_eq!(quiet.silences, [silence("good", 1, 9)]);
        let listed = store.silences(at(2), false).await.unwrap();
        let problems: Vec<String> = listed
            .iter()
            .map(|one| format!("{}: {}", one.id, one.problem().unwrap_or("-")))
            .collect();
        assert_eq!(
            problems[0],
            format!(
                "braces: `rule={}…` has an invalid pattern: its braces are nested more than 16 deep",
                "{".repeat(55)
            )
        );
        assert_eq!(
            problems[1],
            "escape: `rule=~a)|(?:b` has an invalid pattern: unopened group"
        );
        assert_eq!(problems[2], "good: -");
        assert!(
            problems[3].ends_with("…` has 60005 bytes, at most 1024 are allowed"),
            "{}",
            problems[3]
        );
        assert_eq!(
            problems[4],
            "many: it has 51 matchers, at most 50 are allowed"
        );
        assert!(
            problems[5].starts_with("torn: `[\"rule=` "),
            "{}",
            problems[5]
        );
        assert_eq!(listed[0].matchers[0].to_string(), braces);
        assert!(matches!(
            store.end_silence("long", at(3)).await,
            Ok(PrefixMatch::One(_))
        ));
        assert_eq!(ids(&store, Some(3)).await.len(), 5);
        assert_eq!(ids(&store, None).await.len(), 6);
    }

    #[tokio::test]
    async fn the_number_of_active_silences_is_limited() {
        let store = store().await;
        for count in 0..MAX_SILENCES {
            insert(&store, &format!("{count:04}"), to_json(&["rule=month*"])).await;
        }
        let refused = Some(CapacityError::Silences);
        let more = silence("more", 1, 9);
        assert_eq!(store.add_silence(&more, at(2)).await.unwrap(), refused);
        // Older versions had no limit.
        insert(&store, "9999", to_json(&["rule=month*"])).await;
        assert_eq!(
            store.suppressions(at(2)).await.unwrap().silences.len(),
            MAX_SILENCES
        );
        let listed = store.silences(at(2), false).await.unwrap();
        let problem = listed.last().unwrap().problem().unwrap().to_owned();
        assert!(
            problem.starts_with("there are already 500 silences"),
            "{problem}"
        );
        for id in ["0000", "0001"] {
            store.end_silence(id, at(3)).await.unwrap();
        }
        assert_eq!(store.add_silence(&more, at(3)).await.unwrap(), None);
        let last = silence("last", 9, 19);
        assert_eq!(store.add_silence(&last, at(9)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn compiled_matchers_are_limited_and_compiled_once() {
        let store = store().await;
        let mut large = silence("large", 1, 9);
        large.matchers = vec![LabelMatcher::parse("rule=~a{2000}").unwrap(); 50];
        let mut n_added = 0;
        loop {
            large.id = format!("{n_added}");
            match store.add_silence(&large, at(1)).await.unwrap() {
                None => n_added += 1,
                Some(full) => {
                    assert_eq!(full, CapacityError::Compiled);
                    break;
                }
            }
        }
        assert!((1..20).contains(&n_added), "{n_added}");
        let small = silence("small", 1, 9);
        assert_eq!(store.add_silence(&small, at(1)).await.unwrap(), None);
        store.suppressions(at(2)).await.unwrap();
        let cache = store.compiled_matchers();
        let cache = cache.lock().unwrap();
        let texts = cache.by_text.len();
        assert_eq!(texts, 2, "equal matchers share their compiled form");
    }
}
