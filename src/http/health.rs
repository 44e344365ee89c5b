//! Whether the process serves, and whether it knows something yet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::app::board::Status;
use crate::domain::ids::OrganizationName;

/// `GET /-/healthy`: 200 while the process serves and its store can be used; else 503 with the reasons.
pub async fn healthy(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let problems = app.store.problems();
    if problems.is_empty() {
        return (StatusCode::OK, "spendwatch is healthy\n".to_owned());
    }
    let reasons = problems.join("\n");
    let text = format!("the store cannot be used: {reasons}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// `GET /-/ready`: 200 once the first cycle of every organization has ended, however it did; the body says how each fares.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let organizations = app.board.organizations();
    let is_ready = organizations
        .values()
        .all(|status| status.last_cycle.is_some());
    let told: Vec<Value> = organizations
        .iter()
        .map(|(name, status)| tell(name, status))
        .collect();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({
            "ready": is_ready,
            "organizations": told,
            "store_problems": app.store.problems(),
        })),
    )
}

fn tell(name: &OrganizationName, status: &Status) -> Value {
    let state = status
        .last_cycle
        .map_or("starting", |(outcome, _)| outcome.as_str());
    json!({
        "name": name.as_str(),
        "state": state,
        "last_cycle_at": status.last_cycle.map(|(_, at)| at.to_string()),
        "reasons": status.reasons,
        "remarks": status.remarks,
    })
}
