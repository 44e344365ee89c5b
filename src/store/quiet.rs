//! What keeps quiet: silences and acknowledgements. Commands write them, the daemon reads them at its next decision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::domain::alert::State;
use crate::domain::silence::{Acknowledgement, LabelMatcher, Quiet, Silence};
use crate::domain::span::Span;
use crate::store::Store;
use crate::store::alerts::{AlertRow, Found, N_NAMED, find_alert};
use crate::store::error::{Cause, StoreError};
use crate::store::json::{from_json, to_json};
use crate::store::notifiers;
use crate::store::shapes::LineShape;
use crate::store::values::At;

/// Who keeps something quiet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
}

/// What came of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledged {
    /// It is kept.
    Done(AlertRow),
    /// The alert does not fire: there is nothing to take up.
    NotFiring(AlertRow),
}

const SILENCE: &str = "id, starts_at, ends_at, matchers, author, comment";

impl Store {
    /// All that keeps quiet at a moment or will.
    pub async fn quiet(&self, at: Timestamp) -> Result<Quiet, StoreError> {
        self.read(move |db| {
            Ok(Quiet {
                silences: silences(db, Some(at))?,
                acknowledged: acknowledged(db)?,
                parked: notifiers::parked(db)?,
            })
        })
        .await
    }

    /// Silences, the newest end first; only those that have not ended by `after` where it is given.
    pub async fn silences(&self, after: Option<Timestamp>) -> Result<Vec<Silence>, StoreError> {
        self.read(move |db| silences(db, after)).await
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

    /// Keeps a new one.
    pub async fn add_silence(&self, silence: &Silence, at: Timestamp) -> Result<(), StoreError> {
        let silence = silence.clone();
        self.write("add_silence", move |tx| {
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
            Ok(())
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

/// Silences, the newest end first.
pub(super) fn silences(db: &Connection, after: Option<Timestamp>) -> Result<Vec<Silence>, Cause> {
    let sql =
        format!("SELECT {SILENCE} FROM silences WHERE ends_at > ?1 ORDER BY ends_at DESC, id");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([At(after.unwrap_or(Timestamp::MIN))])?;
    let mut silences = Vec::new();
    while let Some(row) = rows.next()? {
        silences.push(silence_at(row)?);
    }
    Ok(silences)
}

fn find_silence(db: &Connection, prefix: &str) -> Result<Found<Silence>, Cause> {
    let sql = format!(
        "SELECT {SILENCE} FROM silences WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![prefix, N_NAMED])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(silence_at(row)?);
    }
    Ok(match found.len() {
        0 => Found::Nothing,
        1 => Found::One(found.remove(0)),
        _ => Found::Many(found.into_iter().map(|silence| silence.id).collect()),
    })
}

fn silence_at(row: &Row<'_>) -> Result<Silence, Cause> {
    let id: String = row.get(0)?;
    let words: Vec<String> = from_json(&row.get::<_, String>(3)?, "matchers of a silence")?;
    let read = |word: &String| {
        LabelMatcher::parse(word)
            .map_err(|error| Cause::Corrupt(format!("silence {id}: matcher `{word}` {error}")))
    };
    Ok(Silence {
        matchers: words.iter().map(read).collect::<Result<_, _>>()?,
        span: Span {
            start: row.get::<_, At>(1)?.0,
            end: row.get::<_, At>(2)?.0,
        },
        author: row.get(4)?,
        comment: row.get(5)?,
        id,
    })
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
        let silences = store.silences(after.map(at)).await.unwrap();
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
}
