//! List endpoints of the real API: workspaces, users, keys, invitations and members.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::paging::by_id;
use crate::parameters::{is_true, one_of, parameter, reject_unknown, values, values_in};
use crate::platform::dimensions::ORGANIZATION;
use crate::platform::headers::RequestHeaders;
use crate::request::Query;
use crate::world::directory::{SimulatedInvite, SimulatedKey, SimulatedUser};
use crate::world::{SimulatedWorkspace, World};

/// When everything was created that has no time of its own.
pub const CREATED_AT: &str = "2025-01-01T00:00:00Z";
/// Version with additional fields.
pub const OLDER_VERSION: &str = "2023-06-01";
/// Maximum rows per page of a list by id.
const MAX_ROWS: usize = 1000;
/// Maximum number of `ids[]`.
const MAX_IDS: usize = 100;
const ROLES: [&str; 5] = ["user", "claude_code_user", "developer", "billing", "admin"];
const INVITE_STATUSES: [&str; 4] = ["pending", "accepted", "expired", "deleted"];
const KEY_STATUSES: [&str; 4] = ["active", "inactive", "archived", "expired"];

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
    let rows: Vec<(&SimulatedWorkspace, bool)> = matching.collect();
    let render =
        |(row, is_archived): &(&SimulatedWorkspace, bool)| workspace(row, *is_archived).to_string();
    by_id(query, MAX_ROWS, &rows, |(row, _)| &row.id, render)
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
    let roles = values_in(query, "roles[]", &ROLES)?;
    let email = parameter(query, "email");
    let matching = world.users.iter().filter(|user| {
        email.is_none_or(|email| email == user.email)
            && (roles.is_empty() || roles.contains(&role(user)))
    });
    let users: Vec<&SimulatedUser> = matching.collect();
    let render = |user: &&SimulatedUser| user_row(user).to_string();
    by_id(query, MAX_ROWS, &users, |user| &user.id, render)
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
    let workspace = parameter(query, "workspace_id");
    let created_by = parameter(query, "created_by_user_id");
    let matching = world.keys.iter().filter(|key| {
        status.is_none_or(|status| status == key.status)
            && workspace.is_none_or(|id| workspace_of(world, key) == Some(id))
            && created_by.is_none_or(|id| id == key.created_by)
    });
    let keys: Vec<&SimulatedKey> = matching.collect();
    let render = |key: &&SimulatedKey| key_row(world, key, headers).to_string();
    by_id(query, MAX_ROWS, &keys, |key| &key.id, render)
}

fn workspace_of<'a>(world: &'a World, key: &'a SimulatedKey) -> Option<&'a str> {
    let id = key.workspace.as_ref().or(world.default_workspace.as_ref());
    id.map(String::as_str)
}

/// Renders an API key.
pub fn key_row(world: &World, key: &SimulatedKey, headers: &RequestHeaders) -> Value {
    let workspace_id = workspace_of(world, key);
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
    let roles = values(query, "roles[]");
    let statuses = values_in(query, "statuses[]", &INVITE_STATUSES)?;
    let email = parameter(query, "email");
    let matching = world.invites.iter().filter(|invite| {
        email.is_none_or(|email| email == invite.email)
            && (roles.is_empty() || roles.contains(&invite.role.as_str()))
            && (statuses.is_empty() || statuses.contains(&invite_status(invite, now)))
    });
    let invites: Vec<&SimulatedInvite> = matching.collect();
    let render = |invite: &&SimulatedInvite| invite_row(invite, now).to_string();
    by_id(query, MAX_ROWS, &invites, |invite| &invite.id, render)
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
    let members = world.members.get(id).map_or(&[][..], Vec::as_slice);
    let render = |(user, role): &(String, String)| member_row(id, user, role).to_string();
    by_id(query, MAX_ROWS, members, |(user, _)| user, render)
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
