//! What the real service lists: workspaces, people, keys, limits. Strict about parameters and pages.

use serde_json::{Value, json};

use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::Head;
use crate::simulator::world::{Workspace, World};

const CREATED_AT: &str = "2025-01-01T00:00:00Z";
/// Rows of a page when none are asked for.
const DEFAULT_LIMIT: usize = 20;
/// Most rows of a page.
const MAX_LIMIT: usize = 1000;

/// `GET /v1/organizations/me`.
pub fn me(query: &Query) -> Result<String, Refusal> {
    known(query, &[])?;
    let id = "7d0c2f6e-0000-4000-8000-000000000001";
    Ok(json!({"id": id, "type": "organization", "name": "Simulated Inc."}).to_string())
}

/// `GET …/workspaces`.
pub fn workspaces(world: &World, query: &Query) -> Result<String, Refusal> {
    known(
        query,
        &[
            "limit",
            "after_id",
            "before_id",
            "include_archived",
            "include_default",
            "ids[]",
        ],
    )?;
    let default = world.default_workspace.clone().map(|id| Workspace {
        id,
        name: "Default".to_owned(),
        ..Workspace::default()
    });
    let mut rows: Vec<(String, Value)> = Vec::new();
    if is_true(query, "include_default") {
        rows.extend(
            default
                .iter()
                .map(|of| (of.id.clone(), workspace(of, false))),
        );
    }
    let live = world.workspaces.iter();
    rows.extend(live.map(|of| (of.id.clone(), workspace(of, false))));
    if is_true(query, "include_archived") {
        let archived = world.archived.iter();
        rows.extend(archived.map(|of| (of.id.clone(), workspace(of, true))));
    }
    page(query, rows)
}

fn workspace(of: &Workspace, is_archived: bool) -> Value {
    let created = of.created_at.as_deref().unwrap_or(CREATED_AT);
    let archived = is_archived.then_some("2026-11-01T00:00:00Z");
    json!({
        "type": "workspace", "id": of.id, "name": of.name, "created_at": created, "archived_at": archived,
        "display_color": "#336699", "compartment_id": "7d0c", "external_key_id": null, "user_profile_id": null,
        "tags": of.tags,
        "data_residency": {"workspace_geo": "us", "default_inference_geo": "global", "allowed_inference_geos": "unrestricted"},
    })
}

/// `GET …/users`.
pub fn users(world: &World, query: &Query) -> Result<String, Refusal> {
    known(
        query,
        &["limit", "after_id", "before_id", "email", "roles[]"],
    )?;
    let row = |user: &crate::simulator::people::User| {
        let told = json!({"type": "user", "id": user.id, "email": user.email, "name": user.name,
            "role": "developer", "added_at": CREATED_AT});
        (user.id.clone(), told)
    };
    page(query, world.users.iter().map(row).collect())
}

/// `GET …/api_keys`.
pub fn keys(world: &World, query: &Query, head: &Head) -> Result<String, Refusal> {
    let parameters = [
        "limit",
        "after_id",
        "before_id",
        "status",
        "workspace_id",
        "created_by_user_id",
    ];
    known(query, &parameters)?;
    let row = |key: &crate::simulator::people::Key| {
        let home = key
            .workspace
            .clone()
            .or_else(|| world.default_workspace.clone());
        let mut told = json!({"type": "api_key", "id": key.id, "name": key.name, "status": key.status,
            "created_at": CREATED_AT, "expires_at": null, "partial_key_hint": "sk-ant-api03-Ab1...9xAA",
            "created_by": {"id": key.created_by, "type": "user"}, "principal": null,
            "scope": {"type": "workspace", "workspace_id": home}});
        if head.version == "2023-06-01" {
            told["workspace_id"] = json!(key.workspace);
        }
        (key.id.clone(), told)
    };
    page(query, world.keys.iter().map(row).collect())
}

/// `GET …/rate_limits`, and that of a workspace.
pub fn rate_limits(world: &World, query: &Query, head: &Head) -> Result<String, Refusal> {
    known(
        query,
        &["group_type", "model", "limit", "page", "include_inherited"],
    )?;
    if let Some(id) = &head.workspace
        && world.default_workspace.as_ref() != Some(id)
        && !world.workspaces.iter().any(|workspace| workspace.id == *id)
    {
        return Err(Refusal::not_found("no such workspace"));
    }
    let rows = world
        .rate_limits
        .iter()
        .filter(|(of, ..)| *of == head.workspace);
    let told = rows.enumerate().map(|(n, (_, group, limiter, value))| {
        let mut told = json!({"type": "rate_limit", "id": format!("rl_{n}"),
            "group": {"type": "model_group", "id": group, "display_name": group}, "models": [group],
            "limits": [{"type": limiter, "value": value}]});
        if head.version == "2023-06-01" {
            told["group_type"] = json!("model_group");
        }
        if let Some(id) = &head.workspace {
            told["workspace_id"] = json!(id);
            told["limits"][0]["org_limit"] = json!(value * 2);
            told["limits"][0]["source"] = json!({"type": "workspace"});
        }
        told
    });
    let data: Vec<Value> = told.collect();
    Ok(json!({"data": data, "next_page": null}).to_string())
}

/// `GET …/spend_limits`.
pub fn spend_limits(world: &World, query: &Query) -> Result<String, Refusal> {
    known(query, &["scope_type[]", "workspace_id", "limit", "page"])?;
    let row = |(workspace, cents): &(Option<String>, i64)| {
        let scope = match workspace {
            Some(id) => json!({"type": "workspace", "workspace_id": id}),
            None => json!({"type": "organization"}),
        };
        json!({"type": "spend_limit", "id": "spl_1", "scope": scope, "period": "monthly", "amount": cents.to_string(),
            "currency": "USD", "is_enabled": true, "created_at": CREATED_AT, "updated_at": CREATED_AT})
    };
    let data: Vec<Value> = world.spend_limits.iter().map(row).collect();
    Ok(json!({"data": data, "next_page": null}).to_string())
}

/// Refuses what it does not know.
pub fn known(query: &Query, names: &[&str]) -> Result<(), Refusal> {
    let mut seen = std::collections::BTreeSet::new();
    for (name, _) in query {
        if !names.contains(&name.as_str()) {
            return Err(Refusal::bad(format!("unknown parameter {name}")));
        }
        if !seen.insert(name) && !name.ends_with("[]") {
            return Err(Refusal::bad(format!("{name} is given twice")));
        }
    }
    Ok(())
}

/// A parameter that is given once.
pub fn parameter<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let found = query.iter().find(|(of, _)| of == name);
    found.map(|(_, value)| value.as_str())
}

fn is_true(query: &Query, name: &str) -> bool {
    parameter(query, name) == Some("true")
}

fn page(query: &Query, rows: Vec<(String, Value)>) -> Result<String, Refusal> {
    let limit = match parameter(query, "limit").map(str::parse) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
        Some(_) => return Err(Refusal::bad("limit must be within 1 and 1000")),
    };
    if parameter(query, "before_id").is_some() {
        return Err(Refusal::bad("before_id is not simulated"));
    }
    let start = match parameter(query, "after_id") {
        None => 0,
        Some(after) => {
            let place = rows.iter().position(|(id, _)| id == after);
            place.ok_or_else(|| Refusal::bad("after_id is unknown"))? + 1
        }
    };
    let of_page: Vec<&(String, Value)> = rows.iter().skip(start).take(limit).collect();
    let id = |row: Option<&&(String, Value)>| row.map(|(id, _)| id.clone());
    let data: Vec<&Value> = of_page.iter().map(|(_, row)| row).collect();
    Ok(json!({
        "data": data, "has_more": start + limit < rows.len(),
        "first_id": id(of_page.first()), "last_id": id(of_page.last()),
    })
    .to_string())
}
