//! Write endpoints of the guide's API.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::changes::request::{ChangeRequest, one_of, text, timestamp};
use crate::changes::user_mut;
use crate::guide::wire;
use crate::world::directory::{SimulatedInvite, SimulatedKey};
use crate::world::{SimulatedWorkspace, World};

const ROLES: [&str; 4] = ["owner", "admin", "developer", "billing"];
const INVITE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Applies a change and returns the response body.
pub fn apply(
    world: &mut World,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<String, ApiError> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("PATCH", ["organizations"]) if world.without_patch => {
            Err(ApiError::not_allowed("use POST"))
        }
        ("PATCH" | "POST", ["organizations"]) => organization(world, request),
        ("POST", ["users", "invite"]) => invite(world, request, now),
        ("PATCH", ["users", id]) => set_role(world, request, id, now),
        ("DELETE", ["users", id]) => remove_user(world, id),
        ("POST", ["api_keys"]) => create_key(world, request, now),
        ("DELETE", ["api_keys", id]) => delete_key(world, id),
        ("POST", ["workspaces"]) => create_workspace(world, request, now),
        (_, ["organizations" | "workspaces" | "users" | "api_keys"])
        | (_, ["users" | "api_keys", _]) => Err(ApiError::not_allowed("method not allowed")),
        (_, _) => Err(ApiError::not_found("no such path")),
    }
}

fn organization(world: &mut World, request: &ChangeRequest) -> Result<String, ApiError> {
    let fields = request.fields(&["settings"], &[])?;
    let Some(Value::Object(settings)) = fields.get("settings") else {
        return Err(ApiError::bad_request("settings is not an object"));
    };
    let mut changed = world.settings.clone();
    for (name, value) in settings {
        match (name.as_str(), value) {
            ("default_model", Value::String(model)) => changed.default_model.clone_from(model),
            ("require_mfa", Value::Bool(is_required)) => changed.require_mfa = *is_required,
            ("allowed_ip_ranges", Value::Array(ranges)) => {
                let ranges: Option<Vec<String>> = ranges
                    .iter()
                    .map(|range| range.as_str().map(str::to_owned))
                    .collect();
                changed.allowed_ip_ranges = ranges
                    .ok_or_else(|| ApiError::bad_request("allowed_ip_ranges must be strings"))?;
            }
            _ => {
                return Err(ApiError::bad_request(format!(
                    "settings.{name} is unknown or has the wrong type"
                )));
            }
        }
    }
    world.settings = changed;
    Ok(wire::organization(world, 0))
}

fn invite(world: &mut World, request: &ChangeRequest, now: Timestamp) -> Result<String, ApiError> {
    let fields = request.fields(&["email", "role"], &[])?;
    let (email, role) = (text(&fields, "email")?, one_of(&fields, "role", &ROLES)?);
    if !email.contains('@') {
        return Err(ApiError::bad_request("email is not an address"));
    }
    if world.users.iter().any(|user| user.email == email) {
        return Err(ApiError::conflict("this user is already a member"));
    }
    let is_open = |invite: &SimulatedInvite| {
        invite.email == email && invite.status == "pending" && now < invite.expires_at
    };
    if world.invites.iter().any(is_open) {
        return Err(ApiError::conflict("this address has a pending invitation"));
    }
    let invite = world.new_invite(email, role, now, INVITE_LIFETIME);
    let response = json!({"id": invite.id, "email": invite.email, "role": invite.role, "status": "pending",
        "invited_at": invite.invited_at.to_string(), "expires_at": invite.expires_at.to_string()});
    Ok(response.to_string())
}

fn set_role(
    world: &mut World,
    request: &ChangeRequest,
    id: &str,
    now: Timestamp,
) -> Result<String, ApiError> {
    let role = one_of(&request.fields(&["role"], &[])?, "role", &ROLES)?;
    let user = user_mut(world, id)?;
    user.role = role;
    Ok(
        json!({"id": user.id, "email": user.email, "name": user.name, "role": user.role,
        "updated_at": now.to_string()})
        .to_string(),
    )
}

fn remove_user(world: &mut World, id: &str) -> Result<String, ApiError> {
    user_mut(world, id)?;
    world.users.retain(|user| user.id != id);
    world.keys.retain(|key| key.created_by != id);
    Ok(json!({"id": id, "deleted": true}).to_string())
}

fn create_key(
    world: &mut World,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<String, ApiError> {
    let fields = request.fields(&["name", "workspace_id"], &["expires_at"])?;
    let (name, workspace) = (text(&fields, "name")?, text(&fields, "workspace_id")?);
    let expires_at = timestamp(&fields, "expires_at")?;
    if world.position_of(&workspace).is_none() {
        return Err(ApiError::not_found("no such workspace"));
    }
    if expires_at.is_some_and(|at| at <= now) {
        return Err(ApiError::bad_request("expires_at is in the past"));
    }
    let id = world.new_id("apikey_");
    let secret = format!("sk-ant-api03-simulated-canary-{:020}-{id}", world.seed);
    world.secrets.push(secret.clone());
    world.keys.push(SimulatedKey {
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
        "created_at": now.to_string(), "expires_at": expires_at, "status": "active"})
        .to_string(),
    )
}

fn delete_key(world: &mut World, id: &str) -> Result<String, ApiError> {
    if !world.keys.iter().any(|key| key.id == id) {
        return Err(ApiError::not_found("no such key"));
    }
    world.keys.retain(|key| key.id != id);
    Ok(json!({"id": id, "deleted": true}).to_string())
}

fn create_workspace(
    world: &mut World,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<String, ApiError> {
    let fields = request.fields(&["name"], &["usage_limits"])?;
    let name = text(&fields, "name")?;
    let limits = match fields.get("usage_limits") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(limits)) => limits.clone(),
        Some(_) => return Err(ApiError::bad_request("usage_limits is not an object")),
    };
    let mut workspace = SimulatedWorkspace {
        id: String::new(),
        name,
        created_at: Some(now.to_string()),
        ..SimulatedWorkspace::default()
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
                return Err(ApiError::bad_request(format!(
                    "usage_limits.{limit} is unknown or has the wrong type"
                )));
            }
        }
    }
    workspace.id = world.new_id("workspace_");
    let response = wire::workspace(&workspace);
    world.workspaces.push(workspace);
    Ok(response)
}
