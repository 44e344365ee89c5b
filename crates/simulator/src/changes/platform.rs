//! Write endpoints of the real API. Updates use POST; keys can be neither created nor deleted.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::changes::request::{ChangeRequest, one_of, text};
use crate::changes::user_mut;
use crate::platform::headers::RequestHeaders;
use crate::platform::lists;
use crate::world::directory::SimulatedInvite;
use crate::world::{SimulatedWorkspace, World};

const ROLES: [&str; 4] = ["user", "developer", "billing", "claude_code_user"];
const MEMBER_ROLES: [&str; 4] = [
    "workspace_user",
    "workspace_restricted_developer",
    "workspace_developer",
    "workspace_admin",
];
const KEY_STATUSES: [&str; 3] = ["active", "inactive", "archived"];
const INVITE_LIFETIME: SignedDuration = SignedDuration::from_hours(21 * 24);
/// Maximum number of workspaces that are not archived.
const MAX_WORKSPACES: usize = 100;

/// Applies a change and returns the response body.
pub fn apply(
    world: &mut World,
    request: &ChangeRequest,
    headers: &RequestHeaders,
    now: Timestamp,
) -> Result<String, ApiError> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let ["organizations", below @ ..] = path.as_slice() else {
        return Err(ApiError::not_found("no such path"));
    };
    match (request.method.as_str(), below) {
        ("POST", ["invites"]) => invite(world, request, now),
        ("DELETE", ["invites", id]) => remove_invite(world, id, now),
        ("POST", ["users", id]) => set_role(world, request, id),
        ("DELETE", ["users", id]) => remove_user(world, id),
        ("POST", ["api_keys", id]) => change_key(world, request, headers, id),
        ("POST", ["workspaces"]) => create_workspace(world, request, now),
        ("POST", ["workspaces", id, "archive"]) => archive(world, request, id),
        ("POST", ["workspaces", id, "members"]) => add_member(world, request, id),
        ("POST", ["workspaces", id, "members", user]) => set_member(world, request, id, user),
        ("DELETE", ["workspaces", id, "members", user]) => remove_member(world, id, user),
        (_, ["invites" | "users" | "api_keys" | "workspaces" | "me", ..]) => {
            Err(ApiError::not_allowed("method not allowed"))
        }
        (_, _) => Err(ApiError::not_found("no such path")),
    }
}

fn invite(world: &mut World, request: &ChangeRequest, now: Timestamp) -> Result<String, ApiError> {
    let fields = request.fields(&["email", "role"], &["rbac_group_ids"])?;
    let (email, role) = (text(&fields, "email")?, one_of(&fields, "role", &ROLES)?);
    if world.users.iter().any(|user| user.email == email) {
        return Err(ApiError::bad_request("already a member").with_code("already_member"));
    }
    let is_open = |invite: &&SimulatedInvite| {
        invite.email == email && lists::invite_status(invite, now) == "pending"
    };
    if world.invites.iter().any(|invite| is_open(&invite)) {
        return Err(ApiError::bad_request("already invited").with_code("invite_already_exists"));
    }
    let invite = world.new_invite(email, role, now, INVITE_LIFETIME);
    Ok(lists::invite_row(invite, now).to_string())
}

fn remove_invite(world: &mut World, id: &str, now: Timestamp) -> Result<String, ApiError> {
    let invite = world.invites.iter_mut().find(|invite| invite.id == id);
    let invite = invite.ok_or_else(|| ApiError::not_found("no such invite"))?;
    if lists::invite_status(invite, now) != "pending" {
        return Err(ApiError::bad_request(
            "only a pending invite can be deleted",
        ));
    }
    invite.status = "deleted".to_owned();
    Ok(json!({"id": id, "type": "invite_deleted"}).to_string())
}

fn set_role(world: &mut World, request: &ChangeRequest, id: &str) -> Result<String, ApiError> {
    let role = one_of(&request.fields(&["role"], &[])?, "role", &ROLES)?;
    let user = user_mut(world, id)?;
    user.role = role;
    Ok(lists::user_row(user).to_string())
}

/// The user's keys stay active, because they belong to the organization.
fn remove_user(world: &mut World, id: &str) -> Result<String, ApiError> {
    if lists::role(user_mut(world, id)?) == "admin" {
        return Err(ApiError::bad_request("admins cannot be removed"));
    }
    world.users.retain(|user| user.id != id);
    for members in world.members.values_mut() {
        members.retain(|(user, _)| user != id);
    }
    Ok(json!({"id": id, "type": "user_deleted"}).to_string())
}

fn change_key(
    world: &mut World,
    request: &ChangeRequest,
    headers: &RequestHeaders,
    id: &str,
) -> Result<String, ApiError> {
    let fields = request.fields(&[], &["name", "status"])?;
    let name = fields
        .get("name")
        .map(|_| text(&fields, "name"))
        .transpose()?;
    let status = fields
        .get("status")
        .map(|_| one_of(&fields, "status", &KEY_STATUSES))
        .transpose()?;
    let index = world.keys.iter().position(|key| key.id == id);
    let index = index.ok_or_else(|| ApiError::not_found("no such key"))?;
    let key = &mut world.keys[index];
    if key.status == "archived" && status.as_deref().is_some_and(|status| status != "archived") {
        return Err(ApiError::bad_request("an archived key cannot be restored"));
    }
    if let Some(name) = name {
        key.name = name;
    }
    if let Some(status) = status {
        key.status = status;
    }
    Ok(lists::key_row(world, &world.keys[index], headers).to_string())
}

fn create_workspace(
    world: &mut World,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<String, ApiError> {
    let optional = [
        "display_color",
        "data_residency",
        "tags",
        "external_key_id",
        "user_profile_id",
    ];
    let fields = request.fields(&["name"], &optional)?;
    let name = text(&fields, "name")?;
    let tags: BTreeMap<String, String> = match fields.get("tags") {
        None => BTreeMap::new(),
        Some(tags) => serde_json::from_value(tags.clone())
            .map_err(|_| ApiError::bad_request("tags must be strings"))?,
    };
    if world.workspaces.len() >= MAX_WORKSPACES {
        return Err(ApiError::bad_request("at most 100 workspaces"));
    }
    let workspace = SimulatedWorkspace {
        id: world.new_id("wrkspc_"),
        name,
        created_at: Some(now.to_string()),
        tags,
        ..SimulatedWorkspace::default()
    };
    let response = lists::workspace(&workspace, false);
    world.workspaces.push(workspace);
    Ok(response.to_string())
}

/// Archives a workspace with all its keys.
fn archive(world: &mut World, request: &ChangeRequest, id: &str) -> Result<String, ApiError> {
    if !request.body.is_empty() {
        request.fields(&[], &[])?;
    }
    let workspace = world.workspaces.iter().find(|workspace| workspace.id == id);
    let workspace = workspace.ok_or_else(|| ApiError::not_found("no such workspace"))?;
    let response = lists::workspace(workspace, true);
    world.archive(id);
    for key in world
        .keys
        .iter_mut()
        .filter(|key| key.workspace.as_deref() == Some(id))
    {
        key.status = "archived".to_owned();
    }
    Ok(response.to_string())
}

fn add_member(world: &mut World, request: &ChangeRequest, id: &str) -> Result<String, ApiError> {
    let fields = request.fields(&["user_id", "workspace_role"], &[])?;
    let (user, role) = (
        text(&fields, "user_id")?,
        one_of(&fields, "workspace_role", &MEMBER_ROLES)?,
    );
    if !lists::has_workspace(world, id) || !world.users.iter().any(|member| member.id == user) {
        return Err(ApiError::not_found("no such workspace or user"));
    }
    let members = world.members.entry(id.to_owned()).or_default();
    if members.iter().any(|(id, _)| *id == user) {
        return Err(ApiError::bad_request("already a member").with_code("already_member"));
    }
    members.push((user.clone(), role.clone()));
    Ok(lists::member_row(id, &user, &role).to_string())
}

fn set_member(
    world: &mut World,
    request: &ChangeRequest,
    id: &str,
    user: &str,
) -> Result<String, ApiError> {
    let new = one_of(
        &request.fields(&["workspace_role"], &[])?,
        "workspace_role",
        &MEMBER_ROLES,
    )?;
    let members = world.members.entry(id.to_owned()).or_default();
    let member = members.iter_mut().find(|(id, _)| id == user);
    let (_, role) = member.ok_or_else(|| ApiError::not_found("no such member"))?;
    role.clone_from(&new);
    Ok(lists::member_row(id, user, &new).to_string())
}

fn remove_member(world: &mut World, id: &str, user: &str) -> Result<String, ApiError> {
    let members = world.members.entry(id.to_owned()).or_default();
    let n_before = members.len();
    members.retain(|(id, _)| id != user);
    if members.len() == n_before {
        return Err(ApiError::not_found("no such member"));
    }
    let response: Value =
        json!({"type": "workspace_member_deleted", "user_id": user, "workspace_id": id});
    Ok(response.to_string())
}
