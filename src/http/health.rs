//! Health and readiness checks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::app::published::OrganizationStatus;
use spendwatch_domain::units::ids::OrganizationName;

/// `GET /-/healthy`: 200 while the process serves and its store is usable, else 503 with the reasons.
pub async fn healthy(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let problems = app.store.problems();
    if problems.is_empty() {
        return (StatusCode::OK, "spendwatch is healthy\n".to_owned());
    }
    let reasons = problems.join("\n");
    let text = format!("the store is not usable: {reasons}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// `GET /-/ready`: 200 once the first cycle of every organization has ended, with any outcome. The body has the state of each
/// organization.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let organizations = app.published.organizations();
    let is_ready = organizations
        .values()
        .all(|status| status.last_cycle.is_some());
    let organization_states: Vec<Value> = organizations
        .iter()
        .map(|(name, status)| organization_json(name, status))
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
            "organizations": organization_states,
            "store_problems": app.store.problems(),
        })),
    )
}

fn organization_json(name: &OrganizationName, status: &OrganizationStatus) -> Value {
    json!({
        "name": name.as_str(),
        "state": status.state(),
        "last_cycle_at": status.last_cycle.map(|(_, at)| at.to_string()),
        "reasons": status.reasons,
        "remarks": status.remarks,
    })
}
