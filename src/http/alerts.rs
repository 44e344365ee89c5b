//! `/api/v1/alerts`: alerts and their history, with the fields of `spendwatch alerts list` and `show`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::domain::ids::RuleName;
use crate::http::fields::Wrong;
use crate::sheet::alerts::{self as sheet, LastMessage};
use crate::store::Store;
use crate::store::alerts::{AlertChange, AlertFilter, AlertRow, Found, Phase};

/// As the command has it.
const DEFAULT_LIMIT: u32 = 50;
/// One answer has no more.
const MAX_LIMIT: u32 = 1000;

/// Which alerts are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Words with commas between; all where there are none.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

/// `GET /api/v1/alerts`: the worst first.
pub async fn list(
    State(app): State<Arc<App>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Wrong> {
    let Query(which) = which.map_err(|error| Wrong::Request(error.body_text()))?;
    let filter = filter(&which)?;
    let alerts = app.store.worst_first(&filter, app.board.privacy()).await?;
    Ok(Json(sheet::list(&alerts).as_json()))
}

/// `GET /api/v1/alerts/{fingerprint}`: one with its changes, oldest first, by whom it is acknowledged, and its last message.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
) -> Result<Json<Value>, Wrong> {
    let found = app.store.shown(&fingerprint, app.board.privacy()).await?;
    let (shown, changes) = found.ok_or_else(|| none(&fingerprint))?;
    let sent = app.store.last_message(&fingerprint).await?;
    let message = sent
        .as_ref()
        .and_then(|sent| LastMessage::new(sent, &fingerprint));
    Ok(Json(sheet::whole(&shown, &changes, message.as_ref())))
}

/// One by its whole fingerprint. The store takes what it begins with, as people type it; a program has the whole.
pub async fn find(store: &Store, fingerprint: &str) -> Result<(AlertRow, Vec<AlertChange>), Wrong> {
    match store.alert(fingerprint).await? {
        Found::One(found) if found.0.fingerprint == fingerprint => Ok(found),
        Found::One(_) | Found::Nothing | Found::Many(_) => Err(none(fingerprint)),
    }
}

/// There is no such alert.
pub fn none(fingerprint: &str) -> Wrong {
    Wrong::NotFound(format!("there is no alert `{fingerprint}`"))
}

fn filter(which: &Which) -> Result<AlertFilter, Wrong> {
    let words = which.state.iter().flat_map(|words| words.split(','));
    let phase = |word: &str| {
        sheet::parse_state(word).ok_or_else(|| {
            let message = format!("`state` is wrong: `{word}` is none of pending, firing, ended");
            Wrong::Request(message)
        })
    };
    let limit = which.limit.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        let message = format!("`limit` is {limit}, it must be at most {MAX_LIMIT}");
        return Err(Wrong::Request(message));
    }
    Ok(AlertFilter {
        organization: None,
        rule: which.rule.as_deref().map(RuleName::from),
        phases: words.map(phase).collect::<Result<Vec<Phase>, Wrong>>()?,
        limit,
    })
}
