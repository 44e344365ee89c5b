//! `/api/v1/alerts`: alerts and their history, with the JSON fields of `spendwatch alerts list` and `show`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::http::body::RequestError;
use crate::table::alerts::{self as alert_table, LastMessage};
use spendwatch_domain::units::ids::RuleName;
use spendwatch_store::Store;
use spendwatch_store::alerts::{AlertChange, AlertFilter, AlertPhase, AlertRow};
use spendwatch_store::prefix_match::PrefixMatch;

/// Same default as `spendwatch alerts list`.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

/// Query parameters of `GET /api/v1/alerts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertQuery {
    /// Comma-separated states; all if missing.
    state: Option<String>,
    rule: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/alerts`: lists alerts, worst first.
pub async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<AlertQuery>, QueryRejection>,
) -> Result<Json<Value>, RequestError> {
    let Query(query) = query.map_err(|error| RequestError::Request(error.body_text()))?;
    let filter = filter(&query)?;
    let alerts = app
        .store
        .worst_first(&filter, app.published.privacy())
        .await?;
    Ok(Json(alert_table::list(&alerts).as_json()))
}

/// `GET /api/v1/alerts/{fingerprint}`: returns one alert with its acknowledgement, its changes (oldest first) and its last
/// message.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
) -> Result<Json<Value>, RequestError> {
    let found = app
        .store
        .displayed_alert(&fingerprint, app.published.privacy())
        .await?;
    let (shown, changes) = found.ok_or_else(|| not_found(&fingerprint))?;
    let sent = app.store.last_message(&fingerprint).await?;
    let message = sent
        .as_ref()
        .and_then(|sent| LastMessage::new(sent, &fingerprint));
    Ok(Json(alert_table::details(
        &shown,
        &changes,
        message.as_ref(),
    )))
}

/// Finds an alert by its full fingerprint; unlike commands, the API accepts no prefixes.
pub async fn find(
    store: &Store,
    fingerprint: &str,
) -> Result<(AlertRow, Vec<AlertChange>), RequestError> {
    match store.alert(fingerprint).await? {
        PrefixMatch::One(found) if found.0.fingerprint == fingerprint => Ok(found),
        PrefixMatch::One(_) | PrefixMatch::NoMatch | PrefixMatch::Ambiguous(_) => {
            Err(not_found(fingerprint))
        }
    }
}

/// Returns the error for an unknown fingerprint.
pub fn not_found(fingerprint: &str) -> RequestError {
    RequestError::NotFound(format!("no alert `{fingerprint}`"))
}

fn filter(query: &AlertQuery) -> Result<AlertFilter, RequestError> {
    let states = query.state.iter().flat_map(|states| states.split(','));
    let phase = |state: &str| {
        alert_table::parse_state(state).ok_or_else(|| {
            let message = format!("`state` is `{state}`, expected `pending`, `firing` or `ended`");
            RequestError::Request(message)
        })
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        let message = format!("`limit` is {limit}, expected at most {MAX_LIMIT}");
        return Err(RequestError::Request(message));
    }
    Ok(AlertFilter {
        organization: None,
        rule: query.rule.as_deref().map(RuleName::from),
        phases: states
            .map(phase)
            .collect::<Result<Vec<AlertPhase>, RequestError>>()?,
        limit,
    })
}
