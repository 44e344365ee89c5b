//! List endpoints of the real API: workspaces, users, keys, invitations, members and limits.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::platform::dimensions::ORGANIZATION;
use crate::platform::headers::RequestHeaders;
use crate::platform::paging::{self, Rows};
use crate::platform::parameters::{is_true, one_of, parameter, reject_unknown, values};
use crate::request::Query;
use crate::world::directory::{SimulatedInvite, SimulatedKey, SimulatedUser};
use crate::world::{SimulatedWorkspace, World};

const CREATED_AT: &str = "2025-01-01T00:00:00Z";
/// Version with additional fields.
const OLDER_VERSION: &str = "2023-06-01";
/// Maximum number of `ids[]`.
const MAX_IDS: usize = 100;
const ROLES: [&str; 5] = ["user", "claude_code_user", "developer", "billing", "admin"];
const INVITE_STATUSES: [&str; 4] = ["pending", "accepted", "expired", "deleted"];
const KEY_STATUSES: [&str; 4] = ["active", "inactive", "archived", "expired"];
const RATE_GROUPS: [&str; 6] = [
    "model_group",
    "batch",
    "token_count",
    "files",
    "skills",
    "web_search",
];
const SPEND_SCOPES: [&str; 3] = ["organization", "workspace", "usage_tier"];

/// `GET /v1/organizations/me`.
pub fn me(query: &Query) -> Result<String, ApiError> {
    reject_unknown(query, &[])?;
    Ok(json!({"id": ORGANIZATION, "type": "organization", "name": "Simulated Inc."}).to_string())
}

/// `GET …/workspaces`.
pub fn workspaces(world: &World, query: &Query) -> Result<String, ApiError> {
    reject_unknown(
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
    let ids = values(query, "ids[]");
    if ids.len() > MAX_IDS {
        return Err(ApiError::bad_request("more than 100 ids[]"));
    }
    let default = world
        .default_workspace
        .clone()
        .map(|id| SimulatedWorkspace {
            id,
            name: "Default".to_owned(),
            ..SimulatedWorkspace::default()
        });
    let has_default = is_true(query, "include_default")?;
    let has_archived = is_true(query, "include_archived")?;
    let default = default.iter().filter(|_| has_default);
    let live = default
        .chain(&world.workspaces)
        .map(|workspace| (workspace, false));
    let archived = world.archived.iter().filter(|_| has_archived);
    let all = live.chain(archived.map(|workspace| (workspace, true)));
    let matching =
        all.filter(|(workspace, _)| ids.is_empty() || ids.contains(&workspace.id.as_str()));
    let rows: Rows = matching
        .map(|(row, is_archived)| (row.id.clone(), workspace(row, is_archived)))
        .collect();
    paging::by_id(query, &rows)
}

/// Renders a workspace.
pub fn workspace(workspace: &SimulatedWorkspace, is_archived: bool) -> Value {
    let created = workspace.created_at.as_deref().unwrap_or(CREATED_AT);
    let archived = is_archived.then_some("2026-11-01T00:00:00Z");
    json!({
        "type": "workspace", "id": workspace.id, "name": workspace.name, "created_at": created, "archived_at": archived,
        "display_color": "#336699", "compartment_id": "7d0c", "external_key_id": null, "user_profile_id": null,
        "tags": workspace.tags,
        "data_residency": {"workspace_geo": "us", "default_inference_geo": "global", "allowed_inference_geos": "unrestricted"},
    })
}

/// `GET …/users`.
pub fn users(world: &World, query: &Query) -> Result<String, ApiError> {
    reject_unknown(
        query,
        &["limit", "after_id", "before_id", "email", "roles[]"],
    )?;
    let roles = values(query, "roles[]");
    if let Some(role) = roles.iter().find(|role| !ROLES.contains(role)) {
        return Err(ApiError::bad_request(format!("roles[] cannot be {role}")));
    }
    let email = parameter(query, "email");
    let matching = world.users.iter().filter(|user| {
        email.is_none_or(|email| email == user.email)
            && (roles.is_empty() || roles.contains(&role(user)))
    });
    let row = |user: &SimulatedUser| (user.id.clone(), user_row(user));
    paging::by_id(query, &matching.map(row).collect())
}

/// Renders a user.
pub fn user_row(user: &SimulatedUser) -> Value {
    json!({"type": "user", "id": user.id, "email": user.email, "name": user.name,
        "role": role(user), "added_at": CREATED_AT})
}

/// Returns the role as the real API names it: the guide's `owner` is `admin`.
pub fn role(user: &SimulatedUser) -> &str {
    match user.role.as_str() {
        "owner" => "admin",
        role => role,
    }
}

/// `GET …/api_keys`.
pub fn keys(world: &World, query: &Query, headers: &RequestHeaders) -> Result<String, ApiError> {
    let parameters = [
        "limit",
        "after_id",
        "before_id",
        "status",
        "workspace_id",
        "created_by_user_id",
    ];
    reject_unknown(query, &parameters)?;
    let status = one_of(query, "status", &KEY_STATUSES)?;
    let workspace_id = |key: &SimulatedKey| {
        let workspace_id = key.workspace.clone();
        workspace_id.or_else(|| world.default_workspace.clone())
    };
    let workspace = parameter(query, "workspace_id");
    let created_by = parameter(query, "created_by_user_id");
    let matching = world.keys.iter().filter(|key| {
        status.is_none_or(|status| status == key.status)
            && workspace.is_none_or(|id| workspace_id(key).as_deref() == Some(id))
            && created_by.is_none_or(|id| id == key.created_by)
    });
    let row = |key: &SimulatedKey| (key.id.clone(), key_row(world, key, headers));
    paging::by_id(query, &matching.map(row).collect())
}

/// Renders an API key.
pub fn key_row(world: &World, key: &SimulatedKey, headers: &RequestHeaders) -> Value {
    let workspace_id = key
        .workspace
        .clone()
        .or_else(|| world.default_workspace.clone());
    let created = key
        .created_at
        .map_or_else(|| CREATED_AT.to_owned(), |at| at.to_string());
    let mut row = json!({"type": "api_key", "id": key.id, "name": key.name, "status": key.status,
        "created_at": created, "expires_at": key.expires_at,
        "partial_key_hint": "sk-ant-api03-Ab1...9xAA",
        "created_by": {"id": key.created_by, "type": "user"}, "principal": null,
        "scope": {"type": "workspace", "workspace_id": workspace_id}});
    if headers.version == OLDER_VERSION {
        row["workspace_id"] = json!(key.workspace);
    }
    row
}

/// `GET …/invites`.
pub fn invites(world: &World, query: &Query, now: Timestamp) -> Result<String, ApiError> {
    let parameters = [
        "limit",
        "after_id",
        "before_id",
        "email",
        "roles[]",
        "statuses[]",
    ];
    reject_unknown(query, &parameters)?;
    let (roles, statuses) = (values(query, "roles[]"), values(query, "statuses[]"));
    if let Some(status) = statuses
        .iter()
        .find(|status| !INVITE_STATUSES.contains(status))
    {
        return Err(ApiError::bad_request(format!(
            "statuses[] cannot be {status}"
        )));
    }
    let email = parameter(query, "email");
    let matching = world.invites.iter().filter(|invite| {
        email.is_none_or(|email| email == invite.email)
            && (roles.is_empty() || roles.contains(&invite.role.as_str()))
            && (statuses.is_empty() || statuses.contains(&invite_status(invite, now)))
    });
    let row = |invite: &SimulatedInvite| (invite.id.clone(), invite_row(invite, now));
    paging::by_id(query, &matching.map(row).collect())
}

/// Renders an invitation.
pub fn invite_row(invite: &SimulatedInvite, now: Timestamp) -> Value {
    let status = invite_status(invite, now);
    json!({"type": "invite", "id": invite.id, "email": invite.email, "role": invite.role, "status": status,
        "invited_at": invite.invited_at.to_string(), "expires_at": invite.expires_at.to_string(),
        "accepted_at": null, "rbac_group_ids": []})
}

/// Returns the status, which is `expired` for pending invitations after their expiry.
pub fn invite_status(invite: &SimulatedInvite, now: Timestamp) -> &str {
    if invite.status == "pending" && invite.expires_at <= now {
        "expired"
    } else {
        &invite.status
    }
}

/// `GET …/workspaces/{id}/members`.
pub fn members(world: &World, query: &Query, id: &str) -> Result<String, ApiError> {
    reject_unknown(query, &["limit", "after_id", "before_id"])?;
    if !has_workspace(world, id) {
        return Err(ApiError::not_found("no such workspace"));
    }
    let members = world.members.get(id).into_iter().flatten();
    let row = |(user, role): &(String, String)| (user.clone(), member_row(id, user, role));
    paging::by_id(query, &members.map(row).collect())
}

/// Renders a workspace member.
pub fn member_row(workspace: &str, user: &str, role: &str) -> Value {
    json!({"type": "workspace_member", "user_id": user, "workspace_id": workspace, "workspace_role": role})
}

/// Returns whether a workspace exists and is not archived; includes the default one.
pub fn has_workspace(world: &World, id: &str) -> bool {
    world.workspaces.iter().any(|workspace| workspace.id == id)
        || world.default_workspace.as_deref() == Some(id)
}

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
    paging::by_cursor("rate_limits", query, &rows.collect::<Vec<Value>>())
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
    let is_listed = world.workspaces.iter().any(|workspace| workspace.id == id);
    if !is_listed && world.default_workspace.as_deref() != Some(id) {
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
    paging::by_cursor(&format!("rate_limits of {id}"), query, &rows)
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
    let scopes = values(query, "scope_type[]");
    if let Some(scope) = scopes.iter().find(|scope| !SPEND_SCOPES.contains(scope)) {
        return Err(ApiError::bad_request(format!(
            "scope_type[] cannot be {scope}"
        )));
    }
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
    paging::by_cursor("spend_limits", query, &rows)
}
