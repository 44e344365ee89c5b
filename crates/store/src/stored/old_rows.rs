//! Rows that spendwatch 0.1 wrote: what this version reads from a JSON column and writes back is the same text, byte for byte.
//!
//! A field that gets another name in Rust keeps its stored name by `#[serde(rename)]`; without it these tests fail.

use std::fmt::Debug;
use std::path::Path;

use rusqlite::Connection;

use crate::alerts::{AlertChange, AlertPhase};
use crate::error::StoreErrorCause;
use crate::outbox::messages::MessageState;
use crate::stored::{
    AsStored, StoredText, alert_from_json, digest_from_json, facts_from_json, from_json, to_json,
};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, EndedBy};
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::alerts::silence::LabelMatcher;
use spendwatch_domain::org::directory::OrganizationInfo;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::subject::SubjectKind;

fn file(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/stores/v0.1");
    std::fs::read_to_string(path.join(name)).unwrap()
}

fn old_store() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(&file("store.sql")).unwrap();
    db
}

/// Passes each value of a column through `rewrite`, and returns how many there are.
#[track_caller]
fn check(
    db: &Connection,
    column: &str,
    rewrite: impl Fn(&str) -> Result<String, StoreErrorCause>,
) -> usize {
    let (table, name) = column.split_once('.').unwrap();
    let sql = format!("SELECT {name} FROM {table} WHERE {name} IS NOT NULL");
    let mut statement = db.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0));
    let texts: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
    assert!(!texts.is_empty(), "{column} has no rows");
    for text in &texts {
        assert_eq!(&rewrite(text).unwrap(), text, "{column}");
    }
    texts.len()
}

#[test]
fn stored_json_is_rewritten_byte_for_byte() {
    let db = old_store();
    check(&db, "alerts.alert", |text| {
        Ok(to_json(&AsStored(&alert_from_json(text)?)))
    });
    check(&db, "alert_changes.change", |text| {
        Ok(to_json(&from_json::<AlertChange>(text, "a change")?))
    });
    let n_facts = check(&db, "outbox.facts", |text| {
        Ok(to_json(&AsStored(&facts_from_json(text)?)))
    });
    let n_digests = check(&db, "outbox.digest", |text| {
        Ok(to_json(&AsStored(&digest_from_json(text)?)))
    });
    assert!(n_facts > n_digests);
    check(&db, "acknowledgements.line", |text| {
        let threshold = from_json::<AsStored<AbsoluteThreshold>>(text, "a threshold")?;
        Ok(to_json(&AsStored(&threshold.0)))
    });
    check(&db, "organizations.info", |text| {
        let info = from_json::<AsStored<OrganizationInfo>>(text, "an organization")?;
        Ok(to_json(&AsStored(&info.0)))
    });
    check(&db, "silences.matchers", |text| {
        let matchers = from_json::<Vec<String>>(text, "matchers")?;
        let parse = |text: &String| LabelMatcher::parse(text).unwrap().to_string();
        Ok(to_json(&matchers.iter().map(parse).collect::<Vec<_>>()))
    });
}

#[track_caller]
fn check_words<T: Copy + Debug + PartialEq>(
    all: &[T],
    words: &str,
    write: impl Fn(T) -> String,
    read: impl Fn(&str) -> Option<T>,
) {
    let written: Vec<String> = all.iter().map(|value| write(*value)).collect();
    assert_eq!(written.join(" "), words);
    for (value, word) in all.iter().zip(&written) {
        assert_eq!(read(word), Some(*value));
    }
}

#[test]
fn stored_words_do_not_change() {
    check_words(
        &AlertPhase::ALL,
        "pending firing resolved",
        |phase| phase.as_str().to_owned(),
        AlertPhase::parse,
    );
    check_words(
        &MessageState::ALL,
        "waiting delivered dead folded",
        |state| state.as_str().to_owned(),
        MessageState::parse,
    );
    check_words(
        &Dialect::ALL,
        "guide analytics reports",
        |dialect| dialect.name().to_owned(),
        Dialect::parse,
    );
    check_words(
        &Severity::ALL,
        "info warning critical",
        |value| value.to_text(),
        Severity::from_text,
    );
    check_words(
        &SubjectKind::ALL,
        "organization workspace model api_key user team",
        |value| value.to_text(),
        SubjectKind::from_text,
    );
    check_words(
        &EndedBy::ALL,
        "cleared corrected limit_changed period_over subject_gone rule_removed",
        |value| value.to_text(),
        EndedBy::from_text,
    );
    check_words(
        &Reason::ALL,
        "first escalated lowered repeated unsilenced resolved",
        |value| value.to_text(),
        Reason::from_text,
    );
    check_words(
        &Event::ALL,
        "workspace_created key_created key_idle key_of_removed_user key_expiring user_idle limit_removed",
        |value| value.to_text(),
        Event::from_text,
    );
    check_words(
        &Watch::ALL,
        "spend burn_rate tokens requests data_age reconciliation_usd reconciliation_percent lifecycle",
        |watch| watch.info().stored.to_owned(),
        Watch::from_stored,
    );
}
