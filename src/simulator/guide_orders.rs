//! Changes in the guide's dialect.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::simulator::orders::{Order, moment, text, word};
use crate::simulator::people::{Invite, Key};
use crate::simulator::refusal::Refusal;
use crate::simulator::wire;
use crate::simulator::world::{Workspace, World};

const ROLES: [&str; 4] = ["owner", "admin", "developer", "billing"];
/// An invitation lasts a week.
const INVITE_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Carries it out; the body of its answer.
pub fn answer(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let path: Vec<&str> = order.path.iter().map(String::as_str).collect();
    match (order.method.as_str(), path.as_slice()) {
        ("PATCH", ["organizations"]) if world.without_patch => {
            Err(Refusal::not_allowed("POST is meant"))
        }
        ("PATCH" | "POST", ["organizations"]) => organization(world, order),
        ("POST", ["users", "invite"]) => invite(world, order, now),
        ("PATCH", ["users", id]) => set_role(world, order, id, now),
        ("DELETE", ["users", id]) => remove_user(world, id),
        ("POST", ["api_keys"]) => create_key(world, order, now),
        ("DELETE", ["api_keys", id]) => delete_key(world, id),
        ("POST", ["workspaces"]) => create_workspace(world, order, now),
        (_, ["organizations" | "workspaces" | "users" | "api_keys"])
        | (_, ["users" | "api_keys", _]) => Err(Refusal::not_allowed("no such verb here")),
        (_, _) => Err(Refusal::not_found("no such path")),
    }
}

fn organization(world: &mut World, order: &Order) -> Result<String, Refusal> {
    let fields = order.fields(&["settings"], &[])?;
    let Some(Value::Object(settings)) = fields.get("settings") else {
        return Err(Refusal::bad("settings is no object"));
    };
    let mut changed = world.settings.clone();
    for (name, value) in settings {
        match (name.as_str(), value) {
            ("default_model", Value::String(model)) => changed.default_model.clone_from(model),
            ("require_mfa", Value::Bool(is_so)) => changed.require_mfa = *is_so,
            ("allowed_ip_ranges", Value::Array(ranges)) => {
                let ranges: Option<Vec<String>> = ranges
                    .iter()
                    .map(|range| range.as_str().map(str::to_owned))
                    .collect();
                changed.allowed_ip_ranges =
                    ranges.ok_or_else(|| Refusal::bad("allowed_ip_ranges holds texts"))?;
            }
            _ => {
                return Err(Refusal::bad(format!(
                    "settings.{name} is unknown or of a wrong type"
                )));
            }
        }
    }
    world.settings = changed;
    Ok(wire::organization(world, 0))
}

fn invite(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let fields = order.fields(&["email", "role"], &[])?;
    let (email, role) = (text(&fields, "email")?, word(&fields, "role", &ROLES)?);
    if !email.contains('@') {
        return Err(Refusal::bad("email is no address"));
    }
    if world.users.iter().any(|user| user.email == email) {
        return Err(Refusal::conflict("this person is a member already"));
    }
    let is_open = |invite: &Invite| {
        invite.email == email && invite.status == "pending" && now < invite.expires_at
    };
    if world.invites.iter().any(is_open) {
        return Err(Refusal::conflict(
            "an invitation to this address exists already",
        ));
    }
    let invite = Invite {
        id: world.new_id("invite_"),
        email,
        role,
        status: "pending".to_owned(),
        invited_at: now,
        expires_at: now + INVITE_LASTS,
    };
    let told = json!({"id": invite.id, "email": invite.email, "role": invite.role, "status": "pending",
        "invited_at": invite.invited_at.to_string(), "expires_at": invite.expires_at.to_string()});
    world.invites.push(invite);
    Ok(told.to_string())
}

fn set_role(world: &mut World, order: &Order, id: &str, now: Timestamp) -> Result<String, Refusal> {
    let role = word(&order.fields(&["role"], &[])?, "role", &ROLES)?;
    let user = world.users.iter_mut().find(|user| user.id == id);
    let user = user.ok_or_else(|| Refusal::not_found("no such user"))?;
    user.role = role;
    Ok(
        json!({"id": user.id, "email": user.email, "name": user.name, "role": user.role,
        "updated_at": now.to_string()})
        .to_string(),
    )
}

fn remove_user(world: &mut World, id: &str) -> Result<String, Refusal> {
    if !world.users.iter().any(|user| user.id == id) {
        return Err(Refusal::not_found("no such user"));
    }
    world.users.retain(|user| user.id != id);
    let theirs: Vec<String> = world
        .keys
        .iter()
        .filter(|key| key.created_by == id)
        .map(|key| key.id.clone())
        .collect();
    for key in theirs {
        revoke(world, &key);
    }
    Ok(json!({"id": id, "deleted": true}).to_string())
}

fn create_key(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let fields = order.fields(&["name", "workspace_id"], &["expires_at"])?;
    let (name, workspace) = (text(&fields, "name")?, text(&fields, "workspace_id")?);
    let expires_at = moment(&fields, "expires_at")?;
    if world.place_of(&workspace).is_none() {
        return Err(Refusal::not_found("no such workspace"));
    }
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Refusal::bad("expires_at is over already"));
    }
    let id = world.new_id("apikey_");
    let secret = format!("sk-ant-api03-simulated-canary-{:020}-{id}", world.seed);
    world.secrets.push(secret.clone());
    world.keys.push(Key {
        id: id.clone(),
        name: name.clone(),
        workspace: Some(workspace.clone()),
        created_by: world
            .users
            .first()
            .map(|user| user.id.clone())
            .unwrap_or_default(),
        status: "active".to_owned(),
        last_used_at: None,
        created_at: Some(now),
        expires_at,
    });
    Ok(
        json!({"id": id, "name": name, "key": secret, "workspace_id": workspace,
        "created_at": now.to_string(), "expires_at": wire::time(expires_at), "status": "active"})
        .to_string(),
    )
}

fn delete_key(world: &mut World, id: &str) -> Result<String, Refusal> {
    let is_there = |key: &Key| key.id == id && key.status != "revoked";
    if !world.keys.iter().any(is_there) {
        return Err(Refusal::not_found("no such key"));
    }
    revoke(world, id);
    Ok(json!({"id": id, "deleted": true}).to_string())
}

fn revoke(world: &mut World, id: &str) {
    if !world.deleted_keys_stay {
        world.keys.retain(|key| key.id != id);
        return;
    }
    for key in world.keys.iter_mut().filter(|key| key.id == id) {
        key.status = "revoked".to_owned();
    }
}

fn create_workspace(world: &mut World, order: &Order, now: Timestamp) -> Result<String, Refusal> {
    let fields = order.fields(&["name"], &["usage_limits"])?;
    let name = text(&fields, "name")?;
    let limits = match fields.get("usage_limits") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(limits)) => limits.clone(),
        Some(_) => return Err(Refusal::bad("usage_limits is no object")),
    };
    let mut workspace = Workspace {
        id: String::new(),
        name,
        created_at: Some(now.to_string()),
        ..Workspace::default()
    };
    for (limit, value) in &limits {
        match (limit.as_str(), value) {
            ("monthly_spend_usd", Value::Number(usd)) => {
                workspace.monthly_limit = Some(usd.to_string());
            }
            ("requests_per_minute", Value::Number(n)) => {
                workspace.requests_per_minute = n.as_u64();
            }
            _ => {
                return Err(Refusal::bad(format!(
                    "usage_limits.{limit} is unknown or of a wrong type"
                )));
            }
        }
    }
    workspace.id = world.new_id("workspace_");
    let told = wire::workspace(&workspace);
    world.workspaces.push(workspace);
    Ok(told)
}
