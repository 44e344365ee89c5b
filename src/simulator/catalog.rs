//! What the real service lists: workspaces, people, keys, limits. Strict about parameters and pages.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::simulator::dimensions::ORGANIZATION;
use crate::simulator::paging::{self, Rows};
use crate::simulator::people::{Invite, Key, User};
use crate::simulator::question::{is_true, known, one_of, parameter, values};
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::Head;
use crate::simulator::wire;
use crate::simulator::world::{Workspace, World};

const CREATED_AT: &str = "2025-01-01T00:00:00Z";
/// The older version has fields that the newer one has not.
const OLDER_VERSION: &str = "2023-06-01";
/// Most workspaces that may be named.
const MOST_IDS: usize = 100;
const ROLES: [&str; 5] = ["user", "claude_code_user", "developer", "billing", "admin"];
const INVITE_STATES: [&str; 4] = ["pending", "accepted", "expired", "deleted"];
const KEY_STATES: [&str; 4] = ["active", "inactive", "archived", "expired"];
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
pub fn me(query: &Query) -> Result<String, Refusal> {
    known(query, &[])?;
    Ok(json!({"id": ORGANIZATION, "type": "organization", "name": "Simulated Inc."}).to_string())
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
    let ids = values(query, "ids[]");
    if ids.len() > MOST_IDS {
        return Err(Refusal::bad("more than 100 ids[]"));
    }
    let default = world.default_workspace.clone().map(|id| Workspace {
        id,
        name: "Default".to_owned(),
        ..Workspace::default()
    });
    let has_default = is_true(query, "include_default")?;
    let has_archived = is_true(query, "include_archived")?;
    let default = default.iter().filter(|_| has_default);
    let live = default.chain(&world.workspaces).map(|of| (of, false));
    let archived = world.archived.iter().filter(|_| has_archived);
    let all = live.chain(archived.map(|of| (of, true)));
    let asked = all.filter(|(of, _)| ids.is_empty() || ids.contains(&of.id.as_str()));
    let rows: Rows = asked
        .map(|(of, is_archived)| (of.id.clone(), workspace(of, is_archived)))
        .collect();
    paging::by_id(query, &rows)
}

/// One workspace.
pub fn workspace(of: &Workspace, is_archived: bool) -> Value {
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
    let roles = values(query, "roles[]");
    if let Some(role) = roles.iter().find(|role| !ROLES.contains(role)) {
        return Err(Refusal::bad(format!("roles[] cannot be {role}")));
    }
    let email = parameter(query, "email");
    let asked = world.users.iter().filter(|user| {
        email.is_none_or(|email| email == user.email)
            && (roles.is_empty() || roles.contains(&role(user)))
    });
    let row = |user: &User| (user.id.clone(), user_row(user));
    paging::by_id(query, &asked.map(row).collect())
}

/// One person.
pub fn user_row(user: &User) -> Value {
    json!({"type": "user", "id": user.id, "email": user.email, "name": user.name,
        "role": role(user), "added_at": CREATED_AT})
}

/// A Console organization has admins where the guide has owners.
pub fn role(user: &User) -> &str {
    match user.role.as_str() {
        "owner" => "admin",
        role => role,
    }
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
    let status = one_of(query, "status", &KEY_STATES)?;
    let home = |key: &Key| {
        let home = key.workspace.clone();
        home.or_else(|| world.default_workspace.clone())
    };
    let workspace = parameter(query, "workspace_id");
    let made_by = parameter(query, "created_by_user_id");
    let asked = world.keys.iter().filter(|key| {
        status.is_none_or(|status| status == key.status)
            && workspace.is_none_or(|id| home(key).as_deref() == Some(id))
            && made_by.is_none_or(|id| id == key.created_by)
    });
    let row = |key: &Key| (key.id.clone(), key_row(world, key, head));
    paging::by_id(query, &asked.map(row).collect())
}

/// One key.
pub fn key_row(world: &World, key: &Key, head: &Head) -> Value {
    let home = key
        .workspace
        .clone()
        .or_else(|| world.default_workspace.clone());
    let created = key
        .created_at
        .map_or_else(|| CREATED_AT.to_owned(), |at| at.to_string());
    let mut told = json!({"type": "api_key", "id": key.id, "name": key.name, "status": key.status,
        "created_at": created, "expires_at": wire::time(key.expires_at),
        "partial_key_hint": "sk-ant-api03-Ab1...9xAA",
        "created_by": {"id": key.created_by, "type": "user"}, "principal": null,
        "scope": {"type": "workspace", "workspace_id": home}});
    if head.version == OLDER_VERSION {
        told["workspace_id"] = json!(key.workspace);
    }
    told
}

/// `GET …/invites`.
pub fn invites(world: &World, query: &Query, now: Timestamp) -> Result<String, Refusal> {
    let parameters = [
        "limit",
        "after_id",
        "before_id",
        "email",
        "roles[]",
        "statuses[]",
    ];
    known(query, &parameters)?;
    let (roles, statuses) = (values(query, "roles[]"), values(query, "statuses[]"));
    if let Some(status) = statuses
        .iter()
        .find(|status| !INVITE_STATES.contains(status))
    {
        return Err(Refusal::bad(format!("statuses[] cannot be {status}")));
    }
    let email = parameter(query, "email");
    let asked = world.invites.iter().filter(|invite| {
        email.is_none_or(|email| email == invite.email)
            && (roles.is_empty() || roles.contains(&invite.role.as_str()))
            && (statuses.is_empty() || statuses.contains(&invite_status(invite, now)))
    });
    let row = |invite: &Invite| (invite.id.clone(), invite_row(invite, now));
    paging::by_id(query, &asked.map(row).collect())
}

/// One invitation.
pub fn invite_row(invite: &Invite, now: Timestamp) -> Value {
    let status = invite_status(invite, now);
    json!({"type": "invite", "id": invite.id, "email": invite.email, "role": invite.role, "status": status,
        "invited_at": invite.invited_at.to_string(), "expires_at": invite.expires_at.to_string(),
        "accepted_at": null, "rbac_group_ids": []})
}

/// As it is told at a moment.
pub fn invite_status(invite: &Invite, now: Timestamp) -> &str {
    if invite.status == "pending" && invite.expires_at <= now {
        "expired"
    } else {
        &invite.status
    }
}

/// `GET …/workspaces/{id}/members`.
pub fn members(world: &World, query: &Query, id: &str) -> Result<String, Refusal> {
    known(query, &["limit", "after_id", "before_id"])?;
    if !has_workspace(world, id) {
        return Err(Refusal::not_found("no such workspace"));
    }
    let members = world.members.get(id).into_iter().flatten();
    let row = |(user, role): &(String, String)| (user.clone(), member_row(id, user, role));
    paging::by_id(query, &members.map(row).collect())
}

/// One member.
pub fn member_row(workspace: &str, user: &str, role: &str) -> Value {
    json!({"type": "workspace_member", "user_id": user, "workspace_id": workspace, "workspace_role": role})
}

/// Whether there is a workspace that is not archived, the default one among them.
pub fn has_workspace(world: &World, id: &str) -> bool {
    world.workspaces.iter().any(|of| of.id == id) || world.default_workspace.as_deref() == Some(id)
}

/// `GET …/rate_limits`: the organization's.
pub fn rate_limits(world: &World, query: &Query, head: &Head) -> Result<String, Refusal> {
    known(query, &["group_type", "model", "limit", "page"])?;
    let rows = limits_of(world, query, None)?;
    let told = rows.iter().map(|(place, group, limiter, value)| {
        let limits = json!([{"type": limiter, "value": value}]);
        rate_limit(head, place, group, &limits)
    });
    paging::by_cursor("rate_limits", query, &told.collect::<Vec<Value>>())
}

/// `GET …/workspaces/{id}/rate_limits`: what it has for itself, and, where that is asked for, what it inherits.
pub fn workspace_rate_limits(
    world: &World,
    query: &Query,
    head: &Head,
    id: &str,
) -> Result<String, Refusal> {
    let parameters = ["group_type", "model", "limit", "page", "include_inherited"];
    known(query, &parameters)?;
    let has_inherited = is_true(query, "include_inherited")?;
    let is_listed = world.workspaces.iter().any(|of| of.id == id);
    if !is_listed && world.default_workspace.as_deref() != Some(id) {
        return Err(Refusal::not_found("no such workspace"));
    }
    let own = limits_of(world, query, Some(id))?;
    let inherited = limits_of(world, query, None)?;
    let of_organization = |group: &str, limiter: &str| {
        let mut same = inherited.iter();
        same.find(|(_, of, kind, _)| (of.as_str(), kind.as_str()) == (group, limiter))
    };
    let row = |place: &str, group: &str, limiter: &str, value: u64, source: &str| {
        let limit = of_organization(group, limiter).map(|(.., value)| value);
        let limits = json!([{"type": limiter, "value": value, "org_limit": limit,
            "source": {"type": source}}]);
        let mut told = rate_limit(head, place, group, &limits);
        told["workspace_id"] = json!(id);
        told["rate_limit_id"] = json!(place);
        told
    };
    let mut told: Vec<Value> = Vec::new();
    for (place, group, limiter, value) in &own {
        told.push(row(place, group, limiter, *value, "workspace"));
    }
    for (place, group, limiter, value) in inherited.iter().filter(|_| has_inherited) {
        let is_overridden = own
            .iter()
            .any(|(_, of, kind, _)| (of, kind) == (group, limiter));
        if !is_overridden {
            told.push(row(place, group, limiter, *value, "organization"));
        }
    }
    paging::by_cursor(&format!("rate_limits of {id}"), query, &told)
}

/// Id, model group, limiter and value of what is asked for.
fn limits_of(
    world: &World,
    query: &Query,
    of: Option<&str>,
) -> Result<Vec<(String, String, String, u64)>, Refusal> {
    // Nothing here has a limit of any other kind of group.
    let kind = one_of(query, "group_type", &RATE_GROUPS)?;
    let is_kind = kind.is_none_or(|kind| kind == "model_group");
    let model = parameter(query, "model");
    let all = world.rate_limits.iter().enumerate();
    let asked = all.filter(|(_, (workspace, group, ..))| {
        is_kind && workspace.as_deref() == of && model.is_none_or(|model| model == group)
    });
    let told = asked.map(|(place, (_, group, limiter, value))| {
        let id = format!("rl_{place}");
        (id, group.clone(), limiter.clone(), *value)
    });
    Ok(told.collect())
}

fn rate_limit(head: &Head, id: &str, group: &str, limits: &Value) -> Value {
    let mut told = json!({"type": "rate_limit", "id": id, "models": [group], "limits": limits,
        "group": {"type": "model_group", "id": group, "display_name": group}});
    if head.version == OLDER_VERSION {
        told["group_type"] = json!("model_group");
    }
    told
}

/// `GET …/spend_limits`.
pub fn spend_limits(world: &World, query: &Query) -> Result<String, Refusal> {
    known(query, &["scope_type[]", "workspace_id", "limit", "page"])?;
    let scopes = values(query, "scope_type[]");
    if let Some(scope) = scopes.iter().find(|scope| !SPEND_SCOPES.contains(scope)) {
        return Err(Refusal::bad(format!("scope_type[] cannot be {scope}")));
    }
    let asked_for = parameter(query, "workspace_id");
    let all = world.spend_limits.iter().enumerate();
    let asked = all.filter(|(_, (workspace, _))| {
        let scope = match workspace {
            Some(_) => "workspace",
            None => "organization",
        };
        (scopes.is_empty() || scopes.contains(&scope))
            && asked_for.is_none_or(|id| workspace.as_deref() == Some(id))
    });
    let row = |(place, (workspace, cents)): (usize, &(Option<String>, i64))| {
        let scope = match workspace {
            Some(id) => json!({"type": "workspace", "workspace_id": id}),
            None => json!({"type": "organization"}),
        };
        json!({"type": "spend_limit", "id": format!("spl_{place}"), "scope": scope, "period": "monthly",
            "amount": cents.to_string(), "currency": "USD", "is_enabled": true,
            "created_at": CREATED_AT, "updated_at": CREATED_AT})
    };
    let told: Vec<Value> = asked.map(row).collect();
    paging::by_cursor("spend_limits", query, &told)
}
