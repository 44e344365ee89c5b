//! Decodes lists of Anthropic's Admin API: the organization, workspaces, keys, users, invitations and members. Pure.
//!
//! Unknown fields are ignored, unknown enum words are kept. Fields of newer API versions take precedence.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::ListPage;
use crate::wire::list::{self, InviteWire, UNKNOWN_ROLE, checked_id, page};
use spendwatch_domain::org::directory::{OrganizationInfo, Workspace};
use spendwatch_domain::org::listing::{
    KeyCreator, ListedInvite, ListedKey, ListedMember, ListedUser,
};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, WorkspaceId};

/// Decodes `GET /v1/organizations/me`.
pub fn me(body: &[u8]) -> Result<OrganizationInfo, DecodeError> {
    let wire: MeWire = decode::read(body)?;
    if wire.kind != "organization" {
        let problem = "not `organization`";
        return Err(DecodeError::value(
            ResponseLocation::Body,
            "type",
            &wire.kind,
            problem,
        ));
    }
    let id = checked_id(ResponseLocation::Body, wire.id)?;
    Ok(OrganizationInfo {
        name: wire.name.unwrap_or_else(|| id.clone()),
        id,
        usage_limit: None,
        current_month_usage: None,
    })
}

/// Decodes one page of `GET /v1/organizations/workspaces`; skips archived workspaces.
pub fn workspaces(body: &[u8]) -> Result<ListPage<Workspace>, DecodeError> {
    page(body, |location, wire: WorkspaceWire<'_>, _| {
        let is_archived = wire.archived_at.is_some();
        let workspace = workspace(location, wire)?;
        let id = workspace.id.to_string();
        Ok((id, Some(workspace).filter(|_| !is_archived)))
    })
}

/// Decodes one page of `GET /v1/organizations/api_keys`.
pub fn api_keys(body: &[u8]) -> Result<ListPage<ListedKey>, DecodeError> {
    page(body, |location, wire: KeyWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let workspace = match wire.scope {
            Some(scope) => scope.workspace_id,
            None => wire.workspace_id,
        };
        let key = ListedKey {
            id: ApiKeyId::new(id.as_str()),
            name: wire.name.unwrap_or_else(|| id.clone()),
            status: wire.status,
            workspace: workspace.map(WorkspaceId::new),
            created_by: wire.created_by.and_then(maker),
            created_at: decode::optional_time(location, "created_at", wire.created_at, errors),
            expires_at: decode::optional_time(location, "expires_at", wire.expires_at, errors),
            last_used_at: None,
            hint: wire.partial_key_hint,
            creator_email: None,
        };
        Ok((id, Some(key)))
    })
}

/// Decodes one page of `GET /v1/organizations/users`.
pub fn users(body: &[u8]) -> Result<ListPage<ListedUser>, DecodeError> {
    page(body, |location, wire: UserWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let email = wire.email.filter(|email| !email.is_empty());
        let name = wire.name.filter(|name| !name.is_empty());
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
            status: None,
            added_at: decode::optional_time(location, "added_at", wire.added_at, errors),
            last_active_at: None,
        };
        Ok((id, Some(user)))
    })
}

/// Decodes one page of `GET /v1/organizations/invites`.
pub fn invites(body: &[u8]) -> Result<ListPage<ListedInvite>, DecodeError> {
    page(body, |location, wire: InviteWire<'_>, errors| {
        let invite = list::invite(location, wire, UNKNOWN_ROLE, errors)?;
        Ok((invite.id.to_string(), Some(invite)))
    })
}

/// Decodes the response to `POST /v1/organizations/invites`.
pub fn new_invite(body: &[u8]) -> Result<ListedInvite, DecodeError> {
    let wire = decode::read(body)?;
    list::invite(ResponseLocation::Body, wire, UNKNOWN_ROLE, &mut Vec::new())
}

/// Decodes one page of `GET /v1/organizations/workspaces/{workspace_id}/members`; rows are identified by user id.
pub fn members(body: &[u8]) -> Result<ListPage<ListedMember>, DecodeError> {
    page(body, |location, wire: MemberWire, _| {
        let id = checked_id(location, wire.user_id)?;
        let member = ListedMember {
            user: ActorId::new(id.as_str()),
            role: wire
                .workspace_role
                .unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
        };
        Ok((id, Some(member)))
    })
}

/// Decodes the response to `POST /v1/organizations/workspaces`.
pub fn new_workspace(body: &[u8]) -> Result<Workspace, DecodeError> {
    workspace(ResponseLocation::Body, decode::read(body)?)
}

fn workspace(
    location: ResponseLocation,
    wire: WorkspaceWire<'_>,
) -> Result<Workspace, DecodeError> {
    let id = checked_id(location, wire.id)?;
    Ok(Workspace {
        id: WorkspaceId::new(id.as_str()),
        name: wire.name.unwrap_or(id),
        monthly_limit: None,
        requests_per_minute: None,
        created_at: wire.created_at.and_then(decode::instant),
        tags: texts(wire.tags.unwrap_or_default()),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MeWire {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WorkspaceWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    archived_at: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    tags: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct KeyWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    scope: Option<ScopeWire>,
    #[serde(default, deserialize_with = "decode::lenient")]
    workspace_id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    created_by: Option<MakerWire>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    partial_key_hint: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

/// Scope of a key: a workspace, or the organization, which has no id here.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(default, deserialize_with = "decode::lenient")]
    workspace_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MakerWire {
    #[serde(default, deserialize_with = "decode::lenient")]
    id: Option<String>,
    #[serde(rename = "type", default, deserialize_with = "decode::lenient")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UserWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    role: Option<String>,
    #[serde(borrow)]
    added_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MemberWire {
    user_id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    workspace_role: Option<String>,
}

/// Returns a key's creator; only one of type `user` is expected in the list of users.
fn maker(wire: MakerWire) -> Option<KeyCreator> {
    let id = ActorId::new(wire.id?);
    Some(match wire.kind.as_deref() {
        Some("user") => KeyCreator::User(id),
        Some(_) | None => KeyCreator::Other(id),
    })
}

/// Skips values that are not strings.
fn texts(tags: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    tags.into_iter().filter_map(text).collect()
}
