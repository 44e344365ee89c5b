//! Changes by the real service. Updates are POST, and nothing makes or deletes a key.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::simulator::catalog;
use crate::simulator::orders::{Order, text, word};
use crate::simulator::people::Invite;
use crate::simulator::refusal::Refusal;
use crate::simulator::speech::Head;
use crate::simulator::world::{Workspace, World};

const ROLES: [&str; 4] = ["user", "developer", "billing", "claude_code_user"];
const MEMBER_ROLES: [&str; 4] = [
    "workspace_user",
    "workspace_restricted_developer",
    "workspace_developer",
    "workspace_admin",
];
const KEY_STATES: [&str; 3] = ["active", "inactive", "archived"];
/// An invitation lasts three weeks.
const INVITE_LASTS: SignedDuration = SignedDuration::from_hours(21 * 24);
/// Workspaces that are not archived, at most.
const MOST_WORKSPACES: usize = 100;

/// Carries it out; the body of its answer.
pub fn answer(
    world: &mut World,
    order: &Order,
    head: &Head,
    now: Timestamp,
) -> Result<String, Refusal> {
    let path: Vec<&str> = order.path.iter().map(String::as_str).collect();
    let ["organizations", below @ ..] = path.as_slice() else {
        return Err(Refusal::not_found("no such path"));
    };
    match (order.method.as_str(), below) {
        ("POST", ["invites"]) => invite(world, order, now),
        ("DELETE", ["invites", id]) => remove_invite(world, id, now),
        ("POST", ["users", id]) => set_role(world, order, id),
        ("DELETE", ["users", id]) => remove_user(world, id),
        ("POST", ["api_keys", id]) => change_key(world, order, head, id),
        ("POST", ["workspaces"]) => create_workspace(world, order, now),
        ("POST", ["workspaces", id, "archive"]) => archive(world, order, id),
        ("POST", ["workspaces", id, "members"]) => add_member(world, order, id),
        ("POST", ["workspaces", id, "members", user]) => set_member(world, order, id, user),
        ("DELETE", ["workspaces", id, "members", user]) => remove_member(world, id, user),
        (_, ["invites" | "users" | "api_keys" | "workspaces" | "me", ..]) => {
            Err(Refusal::not_allowed("no such verb here"))
        }
        (_, _) => Err(Refusal::not_found("no such path")),
    }
}

fn invite(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let fields = order.fields(&["email", "role"], &["rbac_group_ids"])?;
    let (email, role) = (text(&fields, "email")?, word(&fields, "role", &ROLES)?);
    if world.users.iter().any(|user| user.email == email) {
        return Err(Refusal::bad("a member already").with_code("already_member"));
    }
    let is_open = |invite: &&Invite| {
        invite.email == email && catalog::invite_status(invite, now) == "pending"
    };
    if world.invites.iter().any(|invite| is_open(&invite)) {
        return Err(Refusal::bad("invited already").with_code("invite_already_exists"));
    }
    if world.no_seats {
        return Err(Refusal::bad("no seat is free").with_code("org_member_limit_exceeded"));
    }
    let invite = Invite {
        id: world.new_id("invite_"),
        email,
        role,
        status: "pending".to_owned(),
        invited_at: now,
        expires_at: now + INVITE_LASTS,
    };
    let told = catalog::invite_row(&invite, now);
    world.invites.push(invite);
    Ok(told.to_string())
}

fn remove_invite(world: &mut World, id: &str, now: Timestamp) -> Result<String, Refusal> {
    let invite = world.invites.iter_mut().find(|invite| invite.id == id);
    let invite = invite.ok_or_else(|| Refusal::not_found("no such invite"))?;
    if catalog::invite_status(invite, now) != "pending" {
        return Err(Refusal::bad("only a pending invite can be deleted"));
    }
    invite.status = "deleted".to_owned();
    Ok(json!({"id": id, "type": "invite_deleted"}).to_string())
}

fn set_role(world: &mut World, order: &Order, id: &str) -> Result<String, Refusal> {
    let role = word(&order.fields(&["role"], &[])?, "role", &ROLES)?;
    let user = world.users.iter_mut().find(|user| user.id == id);
    let user = user.ok_or_else(|| Refusal::not_found("no such user"))?;
    user.role = role;
    Ok(catalog::user_row(user).to_string())
}

/// Their keys live on: they belong to the organization.
fn remove_user(world: &mut World, id: &str) -> Result<String, Refusal> {
    let user = world.users.iter().find(|user| user.id == id);
    let user = user.ok_or_else(|| Refusal::not_found("no such user"))?;
    if catalog::role(user) == "admin" {
        return Err(Refusal::bad("admins cannot be removed"));
    }
    world.users.retain(|user| user.id != id);
    for members in world.members.values_mut() {
        members.retain(|(user, _)| user != id);
    }
    Ok(json!({"id": id, "type": "user_deleted"}).to_string())
}

fn change_key(world: &mut World, order: &Order, head: &Head, id: &str) -> Result<String, Refusal> {
    let fields = order.fields(&[], &["name", "status"])?;
    let name = fields
        .get("name")
        .map(|_| text(&fields, "name"))
        .transpose()?;
    let status = fields
        .get("status")
        .map(|_| word(&fields, "status", &KEY_STATES))
        .transpose()?;
    let place = world.keys.iter().position(|key| key.id == id);
    let place = place.ok_or_else(|| Refusal::not_found("no such key"))?;
    let key = &mut world.keys[place];
    if key.status == "archived" && status.as_deref().is_some_and(|status| status != "archived") {
        return Err(Refusal::bad("an archived key stays archived"));
    }
    if let Some(name) = name {
        key.name = name;
    }
    if let Some(status) = status {
        key.status = status;
    }
    Ok(catalog::key_row(world, &world.keys[place], head).to_string())
}

fn create_workspace(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let optional = [
        "display_color",
        "data_residency",
        "tags",
        "external_key_id",
        "user_profile_id",
    ];
    let fields = order.fields(&["name"], &optional)?;
    let name = text(&fields, "name")?;
    let tags: BTreeMap<String, String> = match fields.get("tags") {
        None => BTreeMap::new(),
        Some(tags) => {
            serde_json::from_value(tags.clone()).map_err(|_| Refusal::bad("tags are texts"))?
        }
    };
    if world.workspaces.len() >= MOST_WORKSPACES {
        return Err(Refusal::bad("at most 100 workspaces"));
    }
    let workspace = Workspace {
        id: world.new_id("wrkspc_"),
        name,
        created_at: Some(now.to_string()),
        tags,
        ..Workspace::default()
    };
    let told = catalog::workspace(&workspace, false);
    world.workspaces.push(workspace);
    Ok(told.to_string())
}

/// All keys in it are disabled with it.
fn archive(world: &mut World, order: &Order, id: &str) -> Result<String, Refusal> {
    if !order.body.is_empty() {
        order.fields(&[], &[])?;
    }
    let found = world.workspaces.iter().find(|of| of.id == id);
    let found = found.ok_or_else(|| Refusal::not_found("no such workspace"))?;
    let told = catalog::workspace(found, true);
    world.archive(id);
    for key in world
        .keys
        .iter_mut()
        .filter(|key| key.workspace.as_deref() == Some(id))
    {
        key.status = "archived".to_owned();
    }
    Ok(told.to_string())
}

fn add_member(world: &mut World, order: &Order, id: &str) -> Result<String, Refusal> {
    let fields = order.fields(&["user_id", "workspace_role"], &[])?;
    let (user, role) = (
        text(&fields, "user_id")?,
        word(&fields, "workspace_role", &MEMBER_ROLES)?,
    );
    if !catalog::has_workspace(world, id) || !world.users.iter().any(|of| of.id == user) {
        return Err(Refusal::not_found("no such workspace or user"));
    }
    let members = world.members.entry(id.to_owned()).or_default();
    if members.iter().any(|(of, _)| *of == user) {
        return Err(Refusal::bad("a member already").with_code("already_member"));
    }
    members.push((user.clone(), role.clone()));
    Ok(catalog::member_row(id, &user, &role).to_string())
}

fn set_member(world: &mut World, order: &Order, id: &str, user: &str) -> Result<String, Refusal> {
    let new = word(
        &order.fields(&["workspace_role"], &[])?,
        "workspace_role",
        &MEMBER_ROLES,
    )?;
    let members = world.members.entry(id.to_owned()).or_default();
    let member = members.iter_mut().find(|(of, _)| of == user);
    let (_, role) = member.ok_or_else(|| Refusal::not_found("no such member"))?;
    role.clone_from(&new);
    Ok(catalog::member_row(id, user, &new).to_string())
}

fn remove_member(world: &mut World, id: &str, user: &str) -> Result<String, Refusal> {
    let members = world.members.entry(id.to_owned()).or_default();
    let n_before = members.len();
    members.retain(|(of, _)| of != user);
    if members.len() == n_before {
        return Err(Refusal::not_found("no such member"));
    }
    let told: Value =
        json!({"type": "workspace_member_deleted", "user_id": user, "workspace_id": id});
    Ok(told.to_string())
}
