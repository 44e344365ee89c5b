//! Rate limits and spend limits of the real API.

use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::parameters::{is_true, one_of, parameter, reject_unknown, values_in};
use crate::platform::headers::RequestHeaders;
use crate::platform::lists::{CREATED_AT, OLDER_VERSION, has_workspace};
use crate::platform::paging::by_cursor;
use crate::request::Query;
use crate::world::World;

const RATE_GROUPS: [&str; 6] = [
    "model_group",
    "batch",
    "token_count",
    "files",
    "skills",
    "web_search",
];
const SPEND_SCOPES: [&str; 3] = ["organization", "workspace", "usage_tier"];

/// `GET …/rate_limits`: limits of the organization.
pub fn rate_limits(
    world: &World,
    query: &Query,
    headers: &RequestHeaders,
) -> Result<String, ApiError> {
    reject_unknown(query, &["group_type", "model", "limit", "page"])?;
    let rows = limits_of(world, query, None)?;
    let rows = rows.iter().map(|(index, group, limiter, value)| {
        let limits = json!([{"type": limiter, "value": value}]);
        rate_limit(headers, index, group, &limits)
    });
    by_cursor("rate_limits", query, &rows.collect::<Vec<Value>>())
}

/// `GET …/workspaces/{id}/rate_limits`: a workspace's own limits and, on request, the inherited ones.
pub fn workspace_rate_limits(
    world: &World,
    query: &Query,
    headers: &RequestHeaders,
    id: &str,
) -> Result<String, ApiError> {
    let parameters = ["group_type", "model", "limit", "page", "include_inherited"];
    reject_unknown(query, &parameters)?;
    let has_inherited = is_true(query, "include_inherited")?;
    if !has_workspace(world, id) {
        return Err(ApiError::not_found("no such workspace"));
    }
    let own = limits_of(world, query, Some(id))?;
    let inherited = limits_of(world, query, None)?;
    let of_organization = |group: &str, limiter: &str| {
        let mut same = inherited.iter();
        same.find(|(_, of, kind, _)| (of.as_str(), kind.as_str()) == (group, limiter))
    };
    let row = |index: &str, group: &str, limiter: &str, value: u64, source: &str| {
        let limit = of_organization(group, limiter).map(|(.., value)| value);
        let limits = json!([{"type": limiter, "value": value, "org_limit": limit,
            "source": {"type": source}}]);
        let mut row = rate_limit(headers, index, group, &limits);
        row["workspace_id"] = json!(id);
        row["rate_limit_id"] = json!(index);
        row
    };
    let mut rows: Vec<Value> = Vec::new();
    for (index, group, limiter, value) in &own {
        rows.push(row(index, group, limiter, *value, "workspace"));
    }
    for (index, group, limiter, value) in inherited.iter().filter(|_| has_inherited) {
        let is_overridden = own
            .iter()
            .any(|(_, of, kind, _)| (of, kind) == (group, limiter));
        if !is_overridden {
            rows.push(row(index, group, limiter, *value, "organization"));
        }
    }
    by_cursor(&format!("rate_limits of {id}"), query, &rows)
}

/// Returns id, model group, limiter and value of the limits of a workspace or the organization.
fn limits_of(
    world: &World,
    query: &Query,
    of: Option<&str>,
) -> Result<Vec<(String, String, String, u64)>, ApiError> {
    // Only model groups have simulated limits.
    let kind = one_of(query, "group_type", &RATE_GROUPS)?;
    let is_kind = kind.is_none_or(|kind| kind == "model_group");
    let model = parameter(query, "model");
    let all = world.rate_limits.iter().enumerate();
    let matching = all.filter(|(_, (workspace, group, ..))| {
        is_kind && workspace.as_deref() == of && model.is_none_or(|model| model == group)
    });
    let limits = matching.map(|(index, (_, group, limiter, value))| {
        let id = format!("rl_{index}");
        (id, group.clone(), limiter.clone(), *value)
    });
    Ok(limits.collect())
}

fn rate_limit(headers: &RequestHeaders, id: &str, group: &str, limits: &Value) -> Value {
    let mut row = json!({"type": "rate_limit", "id": id, "models": [group], "limits": limits,
        "group": {"type": "model_group", "id": group, "display_name": group}});
    if headers.version == OLDER_VERSION {
        row["group_type"] = json!("model_group");
    }
    row
}

/// `GET …/spend_limits`.
pub fn spend_limits(world: &World, query: &Query) -> Result<String, ApiError> {
    reject_unknown(query, &["scope_type[]", "workspace_id", "limit", "page"])?;
    let scopes = values_in(query, "scope_type[]", &SPEND_SCOPES)?;
    let workspace_id = parameter(query, "workspace_id");
    let all = world.spend_limits.iter().enumerate();
    let matching = all.filter(|(_, (workspace, _))| {
        let scope = match workspace {
            Some(_) => "workspace",
            None => "organization",
        };
        (scopes.is_empty() || scopes.contains(&scope))
            && workspace_id.is_none_or(|id| workspace.as_deref() == Some(id))
    });
    let row = |(index, (workspace, cents)): (usize, &(Option<String>, i64))| {
        let scope = match workspace {
            Some(id) => json!({"type": "workspace", "workspace_id": id}),
            None => json!({"type": "organization"}),
        };
        json!({"type": "spend_limit", "id": format!("spl_{index}"), "scope": scope, "period": "monthly",
            "amount": cents.to_string(), "currency": "USD", "is_enabled": true,
            "created_at": CREATED_AT, "updated_at": CREATED_AT})
    };
    let rows: Vec<Value> = matching.map(row).collect();
    by_cursor("spend_limits", query, &rows)
}
