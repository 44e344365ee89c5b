//! What keeps quiet: silences and acknowledgements. Commands write them, the daemon reads them at its next decision.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::alert::State;
use crate::domain::ids::NotifierName;
use crate::domain::silence::{
    Acknowledgement, Full, LabelMatcher, MAX_COMPILED, MAX_MATCHERS, MAX_SILENCES, Quiet, Silence,
};
use crate::domain::span::Span;
use crate::store::Store;
use crate::store::alerts::{AlertRow, Found, N_NAMED, find_alert};
use crate::store::compiled::Compiled;
use crate::store::error::{Cause, StoreError};
use crate::store::json::{from_json, to_json};
use crate::store::notifiers;
use crate::store::shapes::LineShape;
use crate::store::values::At;

/// Who keeps something quiet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub author: String,
    pub comment: String,
}

/// What came of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledged {
    Done(AlertRow),
    /// The alert does not fire: there is nothing to take up.
    NotFiring(AlertRow),
}

fn passed_on(db: &Connection) -> Result<BTreeMap<(String, NotifierName), Timestamp>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT a.fingerprint, o.notifier, max(o.created_at)
         FROM outbox o INDEXED BY outbox_copies JOIN outbox_alerts a USING (position)
         WHERE o.in_place_of IS NOT NULL GROUP BY a.fingerprint, o.notifier",
    )?;
    let rows = statement.query_map([], |row| {
        let fallback = NotifierName::new(row.get::<_, String>(1)?);
        Ok(((row.get(0)?, fallback), row.get::<_, At>(2)?.0))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const SILENCE: &str = "id, starts_at, ends_at, matchers, author, comment";
/// Maximum number of silences that have ended and are kept.
const MAX_ENDED: i64 = 5000;

/// Result of adding a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Done,
    Refused(Full),
}

impl Added {
    /// Why it is not stored, if it is not.
    pub fn refusal(self) -> Option<Full> {
        match self {
            Added::Done => None,
            Added::Refused(full) => Some(full),
        }
    }
}

impl Store {
    /// All that keeps quiet at a moment or will. Silences that cannot be used are left out.
    pub async fn quiet(&self, at: Timestamp) -> Result<Quiet, StoreError> {
        let compiled = self.compiled();
        self.read(move |db| {
            let mut silences = silences(db, &compiled, at, false)?;
            silences.retain(|silence| silence.problem().is_none());
            Ok(Quiet {
                silences,
                acknowledged: acknowledged(db)?,
                parked: notifiers::parked(db)?,
                passed_on: passed_on(db)?,
            })
        })
        .await
    }

    /// Silences that have not ended at a moment, with `with_ended` also those that have; the last to end first.
    pub async fn silences(
        &self,
        at: Timestamp,
        with_ended: bool,
    ) -> Result<Vec<Silence>, StoreError> {
        let compiled = self.compiled();
        self.read(move |db| silences(db, &compiled, at, with_ended))
            .await
    }

    /// One by its whole id.
    pub async fn silence(&self, id: &str) -> Result<Option<Silence>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            Ok(match find_silence(db, &id)? {
                Found::One(silence) => Some(silence).filter(|silence| silence.id == id),
                Found::Nothing | Found::Many(_) => None,
            })
        })
        .await
    }

    /// Stores a new silence, unless those that have not ended are too many with it. The oldest of very many that have
    /// ended are deleted.
    pub async fn add_silence(&self, silence: &Silence, at: Timestamp) -> Result<Added, StoreError> {
        let silence = silence.clone();
        let compiled = self.compiled();
        self.write("add_silence", move |tx| {
            let others = silences(tx, &compiled, at, false)?;
            if others.len() >= MAX_SILENCES {
                return Ok(Added::Refused(Full::Silences));
            }
            let size: usize = others.iter().map(Silence::size).sum();
            if size + silence.size() > MAX_COMPILED {
                return Ok(Added::Refused(Full::Compiled));
            }
            tx.prepare_cached(
                "DELETE FROM silences WHERE ends_at <= ?1 AND id NOT IN
                     (SELECT id FROM silences WHERE ends_at <= ?1 ORDER BY ends_at DESC, id LIMIT ?2)",
            )?
            .execute(params![At(at), MAX_ENDED])?;
            let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
            tx.prepare_cached(
                "INSERT INTO silences (id, starts_at, ends_at, matchers, author, comment, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                silence.id,
                At(silence.span.start),
                At(silence.span.end),
                to_json(&matchers),
                silence.author,
                silence.comment,
                At(at),
            ])?;
            Ok(Added::Done)
        })
        .await
    }

    /// Ends a silence now; one that has not begun never does. Gives it as it was; one that has ended stays as it is.
    pub async fn end_silence(
        &self,
        prefix: &str,
        at: Timestamp,
    ) -> Result<Found<Silence>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("end_silence", move |tx| {
            let found = find_silence(tx, &prefix)?;
            if let Found::One(silence) = &found {
                tx.prepare_cached(
                    "UPDATE silences SET ends_at = ?2, starts_at = min(starts_at, ?2) WHERE id = ?1 AND ends_at > ?2",
                )?
                .execute(params![silence.id, At(at)])?;
            }
            Ok(found)
        })
        .await
    }

    /// Forgets silences that ended before.
    pub async fn drop_silences(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write("drop_silences", move |tx| {
            tx.execute("DELETE FROM silences WHERE ends_at < ?1", [At(before)])?;
            Ok(())
        })
        .await
    }

    /// Notes that somebody has taken up an alert, by its fingerprint or what it begins with.
    pub async fn acknowledge(
        &self,
        prefix: &str,
        by: Signature,
        at: Timestamp,
    ) -> Result<Found<Acknowledged>, StoreError> {
        let prefix = prefix.to_owned();
        self.write("acknowledge", move |tx| {
            let row = match find_alert(tx, &prefix)? {
                Found::Nothing => return Ok(Found::Nothing),
                Found::Many(names) => return Ok(Found::Many(names)),
                Found::One(row) => row,
            };
            let line = match &row.alert.state {
                State::Firing { line, .. } => line,
                State::Pending { .. } | State::Ended { .. } => {
                    return Ok(Found::One(Acknowledged::NotFiring(row)));
                }
            };
            tx.prepare_cached(
                "INSERT INTO acknowledgements (fingerprint, at, author, comment, line) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (fingerprint) DO UPDATE SET at = excluded.at, author = excluded.author,
                     comment = excluded.comment, line = excluded.line",
            )?
            .execute(params![
                row.fingerprint,
                At(at),
                by.author,
                by.comment,
                to_json(&LineShape::from(line)),
            ])?;
            Ok(Found::One(Acknowledged::Done(row)))
        })
        .await
    }

    /// Who has taken up an alert last.
    pub async fn acknowledgement(
        &self,
        fingerprint: &str,
    ) -> Result<Option<Acknowledgement>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| acknowledgement(db, &fingerprint)).await
    }
}

/// Silences that have not ended at a moment, with `with_ended` also those that have; the last to end first.
pub(super) fn silences(
    db: &Connection,
    compiled: &Mutex<Compiled>,
    at: Timestamp,
    with_ended: bool,
) -> Result<Vec<Silence>, Cause> {
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let sql =
        format!("SELECT {SILENCE} FROM silences WHERE ends_at > ?1 OR ?2 ORDER BY created_at, id");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![At(at), with_ended])?;
    let (mut silences, mut in_use) = (Vec::new(), HashMap::new());
    let (mut n_in_use, mut size, mut n_excess) = (0, 0, 0);
    while let Some(row) = rows.next()? {
        let (mut silence, text) = silence_at(row)?;
        if silence.span.end > at {
            n_in_use += 1;
            let excess = if n_in_use > MAX_SILENCES {
                Some(Full::Silences)
            } else if size > MAX_COMPILED {
                Some(Full::Compiled)
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
                (size > MAX_COMPILED).then_some(Full::Compiled)
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
            "{n_excess} silences exceed the bounds and are ignored; `spendwatch silence list` shows them, remove some"
        );
        compiled.is_excess_logged = true;
    }
    silences.sort_by(|one, other| {
        let key = |silence: &Silence| Reverse(silence.span.end);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.id.cmp(&other.id))
    });
    Ok(silences)
}

/// Compiles the matchers of a stored silence. An older version may have stored some that are beyond the bounds.
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
                let problem = format!("`{}` {error}", start_of(&text));
                LabelMatcher::inert(text, Some(problem))
            })
        })
        .collect();
    let unusable = Silence {
        matchers,
        ..silence.clone()
    };
    if let Some(problem) = unusable.problem() {
        tracing::warn!("silence {} is ignored: {problem}", silence.id);
    }
    unusable.matchers
}

/// So much of a text that it fits into a message.
fn start_of(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn find_silence(db: &Connection, prefix: &str) -> Result<Found<Silence>, Cause> {
    let sql = format!(
        "SELECT {SILENCE} FROM silences WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![prefix, N_NAMED])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(silence_at(row)?.0);
    }
    Ok(match found.len() {
        0 => Found::Nothing,
        1 => Found::One(found.remove(0)),
        _ => Found::Many(found.into_iter().map(|silence| silence.id).collect()),
    })
}

/// A silence whose matchers are not compiled, and their stored text.
fn silence_at(row: &Row<'_>) -> Result<(Silence, String), Cause> {
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
            start: row.get::<_, At>(1)?.0,
            end: row.get::<_, At>(2)?.0,
        },
        author: row.get(4)?,
        comment: row.get(5)?,
    };
    Ok((silence, text))
}

fn acknowledged(db: &Connection) -> Result<BTreeMap<String, Acknowledgement>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT fingerprint, at, acknowledgements.author, comment, line FROM acknowledgements
         JOIN alerts USING (fingerprint) WHERE phase = 'firing'",
    )?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        all.insert(row.get(0)?, acknowledgement_at(row, 1)??);
    }
    Ok(all)
}

/// Who has taken up an alert last.
pub(super) fn acknowledgement(
    db: &Connection,
    fingerprint: &str,
) -> Result<Option<Acknowledgement>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT at, author, comment, line FROM acknowledgements WHERE fingerprint = ?1",
    )?;
    let row = statement.query_row([fingerprint], |row| acknowledgement_at(row, 0));
    row.optional()?.transpose()
}

fn acknowledgement_at(
    row: &Row<'_>,
    first: usize,
) -> rusqlite::Result<Result<Acknowledgement, Cause>> {
    let line = row.get::<_, String>(first + 3)?;
    let (at, author, comment) = (
        row.get::<_, At>(first)?.0,
        row.get(first + 1)?,
        row.get(first + 2)?,
    );
    let line = from_json::<LineShape>(&line, "line of an acknowledgement");
    Ok(line.map(|line| Acknowledgement {
        at,
        author,
        comment,
        line: line.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{alert, at, commit, ended, store};

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
    async fn a_silence_is_kept_as_it_was_given_until_it_ends() {
        let store = store().await;
        for (id, start, end) in [("one", 1, 5), ("two", 4, 9)] {
            store
                .add_silence(&silence(id, start, end), at(0))
                .await
                .unwrap();
        }
        assert_eq!(
            store.quiet(at(2)).await.unwrap().silences[1],
            silence("one", 1, 5)
        );
        assert_eq!(ids(&store, Some(5)).await, ["two"]);
        // One that has not begun never does, one that ended stays, and the id may be shortened.
        store.end_silence("t", at(3)).await.unwrap();
        assert_eq!(ids(&store, Some(3)).await, ["one"]);
        store.end_silence("two", at(7)).await.unwrap();
        assert_eq!(ids(&store, None).await, ["one", "two"]);
        assert_eq!(store.silence("tw").await.unwrap(), None);
        assert!(store.silence("two").await.unwrap().is_some());
        assert_eq!(store.end_silence("x", at(3)).await.unwrap(), Found::Nothing);
        assert!(
            matches!(store.end_silence("", at(3)).await.unwrap(), Found::Many(ids) if ids.len() == 2)
        );
    }

    #[tokio::test]
    async fn only_a_firing_alert_is_taken_up() {
        let store = store().await;
        let (firing, over) = (alert("a", 1), ended(alert("b", 1), 2));
        let prints = [&firing, &over].map(|alert| alert.identity.fingerprint());
        commit(&store, 1, vec![firing, over], Vec::new()).await;
        let by = Signature {
            author: "ada".to_owned(),
            comment: "on it".to_owned(),
        };
        let done = store
            .acknowledge(&prints[0], by.clone(), at(3))
            .await
            .unwrap();
        assert!(matches!(done, Found::One(Acknowledged::Done(_))));
        let not = store.acknowledge(&prints[1], by, at(3)).await.unwrap();
        assert!(matches!(not, Found::One(Acknowledged::NotFiring(_))));
        let quiet = store.quiet(at(4)).await.unwrap();
        let known = &quiet.acknowledged[&prints[0]];
        assert_eq!(
            (known.at, known.author.as_str(), known.comment.as_str()),
            (at(3), "ada", "on it")
        );
        assert_eq!(quiet.acknowledged.len(), 1);
        assert_eq!(
            store.acknowledgement(&prints[0]).await.unwrap().as_ref(),
            Some(known)
        );
        assert_eq!(store.acknowledgement(&prints[1]).await.unwrap(), None);
    }

    /// Writes a silence as an older version did, without any bounds.
    async fn insert(store: &Store, id: &str, matchers: String) {
        let id = id.to_owned();
        store
            .write("insert", move |tx| {
                tx.execute(
                    "INSERT INTO silences (id, starts_at, ends_at, matchers, author, comment, created_at)
                     VALUES (?1, ?2, ?3, ?4, 'ada', '', ?2)",
                    params![id, At(at(1)), At(at(9)), matchers],
                )?;
                Ok(())
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_stored_silence_that_cannot_be_used_is_listed_and_hides_no_other() {
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
        let quiet = store.quiet(at(2)).await.unwrap();
        assert_eq!(quiet.silences, [silence("good", 1, 9)]);
        let listed = store.silences(at(2), false).await.unwrap();
        let problems: Vec<String> = listed
            .iter()
            .map(|one| format!("{}: {}", one.id, one.problem().unwrap_or("-")))
            .collect();
        assert_eq!(
            problems[0],
            format!(
                "braces: `rule={}…` the pattern cannot be read: its braces are nested more than 16 deep",
                "{".repeat(55)
            )
        );
        assert_eq!(
            problems[1],
            "escape: `rule=~a)|(?:b` the pattern cannot be read: unopened group"
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
        // It can be ended like any other.
        assert!(matches!(
            store.end_silence("long", at(3)).await,
            Ok(Found::One(_))
        ));
        assert_eq!(ids(&store, Some(3)).await.len(), 5);
        assert_eq!(ids(&store, None).await.len(), 6);
    }

    #[tokio::test]
    async fn only_so_many_silences_are_in_use_at_a_time() {
        let store = store().await;
        for count in 0..MAX_SILENCES {
            insert(&store, &format!("{count:04}"), to_json(&["rule=month*"])).await;
        }
        let refused = Added::Refused(Full::Silences);
        let more = silence("more", 1, 9);
        assert_eq!(store.add_silence(&more, at(2)).await.unwrap(), refused);
        // An older version had no such bound.
        insert(&store, "9999", to_json(&["rule=month*"])).await;
        assert_eq!(
            store.quiet(at(2)).await.unwrap().silences.len(),
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
        assert_eq!(store.add_silence(&more, at(3)).await.unwrap(), Added::Done);
        let last = silence("last", 9, 19);
        assert_eq!(store.add_silence(&last, at(9)).await.unwrap(), Added::Done);
    }

    #[tokio::test]
    async fn compiled_matchers_are_bounded_and_compiled_once() {
        let store = store().await;
        let mut large = silence("large", 1, 9);
        large.matchers = vec![LabelMatcher::parse("rule=~a{2000}").unwrap(); 50];
        let mut n_added = 0;
        loop {
            large.id = format!("{n_added}");
            match store.add_silence(&large, at(1)).await.unwrap() {
                Added::Done => n_added += 1,
                Added::Refused(full) => {
                    assert_eq!(full, Full::Compiled);
                    break;
                }
            }
        }
        assert!((1..20).contains(&n_added), "{n_added}");
        let small = silence("small", 1, 9);
        assert_eq!(store.add_silence(&small, at(1)).await.unwrap(), Added::Done);
        store.quiet(at(2)).await.unwrap();
        let kept = store.compiled();
        let kept = kept.lock().unwrap();
        let texts = kept.by_text.len();
        assert_eq!(texts, 2, "equal matchers share what is compiled");
    }
}
