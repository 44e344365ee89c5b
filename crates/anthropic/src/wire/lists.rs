//! Decodes lists of workspaces, keys, users, invitations and members, and objects that were created. Pure.
//!
//! Both kinds of servers are decoded alike. Unknown fields are ignored, unknown enum words are kept, and fields of newer API
//! versions take precedence.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::{ListPage, PageEnd};
use crate::wire::field::{Count, Dollars, Field, Lenient, NonNegative, Row, Text};
use crate::wire::rows::{checked_id, rows};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::{
    KeyCreator, ListedInvite, ListedKey, ListedMember, ListedUser,
};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, InviteId, UNATTRIBUTED, WorkspaceId};

/// Role or status that is missing or invalid.
const UNKNOWN_ROLE: &str = "unknown";

/// Decodes one page of workspaces; skips archived ones.
pub fn workspaces(server: ServerKind, body: &[u8]) -> Result<ListPage<Workspace>, DecodeError> {
    page(body, |row, wire: WorkspaceWire<'_>| {
        let is_archived = server == ServerKind::Real && wire.archived_at.is_some();
        let workspace = workspace(server, row, wire)?;
        let id = workspace.id.to_string();
        Ok((id, Some(workspace).filter(|_| !is_archived)))
    })
}

/// Decodes one page of keys.
pub fn api_keys(server: ServerKind, body: &[u8]) -> Result<ListPage<ListedKey>, DecodeError> {
    let is_guide = server == ServerKind::Guide;
    page(body, |row, wire: KeyWire| {
        let id = checked_id(row.location, wire.id)?;
        let creator = wire.created_by.0.unwrap_or_default();
        // In the guide dialect, only users create keys.
        let is_user = is_guide || creator.kind.0.as_deref() == Some("user");
        let creator_id = creator.id.0.map(ActorId::new);
        let (last_used_at, hint) = match server {
            ServerKind::Guide => (wire.last_used_at, wire.partial_key),
            ServerKind::Real => (Field::default(), wire.partial_key_hint),
        };
        // Otherwise a key with an invalid last use would count as unused since its creation.
        let is_use_known = !last_used_at.is_invalid();
        let workspace = match wire.scope.0 {
            Some(scope) if !is_guide => scope.workspace_id,
            Some(_) | None => wire.workspace_id,
        };
        let key = ListedKey {
            id: ApiKeyId::new(id.as_str()),
            name: wire.name.0.unwrap_or_else(|| id.clone()),
            status: wire.status.0,
            workspace: workspace.0.map(WorkspaceId::new),
            created_by: creator_id.map(if is_user {
                KeyCreator::User
            } else {
                KeyCreator::Other
            }),
            last_used_at: row.optional("last_used_at", last_used_at),
            created_at: row
                .optional("created_at", wire.created_at)
                .filter(|_| is_use_known),
            expires_at: row.optional("expires_at", wire.expires_at),
            hint: hint.0,
            creator_email: creator.email.0.filter(|_| is_guide),
        };
        Ok((id, Some(key)))
    })
}

/// Decodes one page of users.
pub fn users(server: ServerKind, body: &[u8]) -> Result<ListPage<ListedUser>, DecodeError> {
    page(body, |row, wire: UserWire| {
        let id = checked_id(row.location, wire.id)?;
        let email = wire.email.0.filter(|email| !email.is_empty());
        let name = wire.name.0.filter(|name| !name.is_empty());
        let (last_active_at, added_at, status) = match server {
            ServerKind::Guide => (
                wire.last_active_at,
                ("created_at", wire.created_at),
                wire.status.0,
            ),
            ServerKind::Real => (Field::default(), ("added_at", wire.added_at), None),
        };
        // As with keys: otherwise they would count as idle since they were added.
        let is_activity_known = !last_active_at.is_invalid();
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.0.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
            status,
            last_active_at: row.optional("last_active_at", last_active_at),
            added_at: row
                .optional(added_at.0, added_at.1)
                .filter(|_| is_activity_known),
        };
        Ok((id, Some(user)))
    })
}

/// Decodes one page of `GET /v1/organizations/invites`.
pub fn invites(body: &[u8]) -> Result<ListPage<ListedInvite>, DecodeError> {
    page(body, |row, wire: InviteWire| {
        let invite = invite(row, wire, UNKNOWN_ROLE)?;
        Ok((invite.id.to_string(), Some(invite)))
    })
}

/// Decodes one page of `GET /v1/organizations/workspaces/{workspace_id}/members`; rows are identified by user id.
pub fn members(body: &[u8]) -> Result<ListPage<ListedMember>, DecodeError> {
    page(body, |row, wire: MemberWire| {
        let id = checked_id(row.location, wire.user_id)?;
        let role = wire.workspace_role.0;
        let member = ListedMember {
            user: ActorId::new(id.as_str()),
            role: role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
        };
        Ok((id, Some(member)))
    })
}

/// Decodes a workspace that was created.
pub fn new_workspace(server: ServerKind, body: &[u8]) -> Result<Workspace, DecodeError> {
    let wire = decode::read(body)?;
    workspace(server, &mut Row::new(ResponseLocation::Body), wire)
}

/// Decodes an invitation that was created. Without a status, it has `status`.
pub fn new_invite(status: &str, body: &[u8]) -> Result<ListedInvite, DecodeError> {
    let wire = decode::read(body)?;
    invite(&mut Row::new(ResponseLocation::Body), wire, status)
}

/// Decodes a page of a list; `row` returns a row's id, and the row unless it is skipped.
fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(&mut Row, W) -> Result<(String, Option<T>), DecodeError>,
) -> Result<ListPage<T>, DecodeError> {
    let wire: PageWire<'a> = decode::read(body)?;
    let (rows, unreadable) = rows(wire.data, row);
    // If it is invalid, the list could end early.
    let has_more = wire.has_more.get(ResponseLocation::Body, "has_more")?;
    Ok(ListPage {
        rows,
        unreadable,
        end: PageEnd {
            has_more: has_more.unwrap_or(false),
            last_id: wire.last_id.0,
        },
    })
}

fn workspace(
    server: ServerKind,
    row: &mut Row,
    wire: WorkspaceWire<'_>,
) -> Result<Workspace, DecodeError> {
    let id = match server {
        // Only the id of the unattributed remainder could not be told apart from it.
        ServerKind::Guide if wire.id.is_empty() || wire.id == UNATTRIBUTED => {
            let problem = "not a workspace's id";
            return Err(DecodeError::value(row.location, "id", &wire.id, problem));
        }
        ServerKind::Guide => wire.id,
        ServerKind::Real => checked_id(row.location, wire.id)?,
    };
    let limits = wire.usage_limits.filter(|_| server == ServerKind::Guide);
    let limits: LimitsWire = row.object(limits);
    let tags = match server {
        ServerKind::Guide => BTreeMap::new(),
        ServerKind::Real => wire.tags.0.unwrap_or_default(),
    };
    let monthly_limit = row.optional("usage_limits.monthly_spend_usd", limits.monthly_spend_usd);
    let per_minute = row.optional(
        "usage_limits.requests_per_minute",
        limits.requests_per_minute,
    );
    Ok(Workspace {
        id: WorkspaceId::new(id.as_str()),
        name: wire.name.0.unwrap_or(id),
        monthly_limit: monthly_limit.map(|NonNegative(Dollars(usd))| usd),
        requests_per_minute: per_minute.map(|Count(n)| n.unsigned_abs()),
        created_at: wire.created_at.0,
        // Values that are not strings are skipped.
        tags: tags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect(),
    })
}

fn invite(row: &mut Row, wire: InviteWire, status: &str) -> Result<ListedInvite, DecodeError> {
    let id = checked_id(row.location, wire.id)?;
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.0.unwrap_or_default(),
        role: wire.role.0.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
        status: wire.status.0.unwrap_or_else(|| status.to_owned()),
        invited_at: row.optional("invited_at", wire.invited_at),
        expires_at: row.optional("expires_at", wire.expires_at),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Field<bool>,
    last_id: Lenient<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WorkspaceWire<'a> {
    id: String,
    name: Text,
    created_at: Lenient<Timestamp>,
    archived_at: Option<IgnoredAny>,
    tags: Lenient<BTreeMap<String, Value>>,
    #[serde(borrow)]
    usage_limits: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct LimitsWire {
    monthly_spend_usd: Field<NonNegative<Dollars>>,
    requests_per_minute: Field<Count>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct KeyWire {
    id: String,
    name: Text,
    status: Text,
    scope: Lenient<ScopeWire>,
    workspace_id: Lenient<String>,
    created_by: Lenient<CreatorWire>,
    partial_key: Text,
    partial_key_hint: Text,
    created_at: Field<Timestamp>,
    expires_at: Field<Timestamp>,
    last_used_at: Field<Timestamp>,
}

/// Scope of a key: a workspace, or the organization, which has no id here.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    workspace_id: Lenient<String>,
}

/// A key's creator; only one of type `user` is expected in the list of users.
#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct CreatorWire {
    id: Lenient<String>,
    #[serde(rename = "type")]
    kind: Lenient<String>,
    email: Text,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UserWire {
    id: String,
    email: Text,
    name: Text,
    role: Text,
    status: Text,
    added_at: Field<Timestamp>,
    created_at: Field<Timestamp>,
    last_active_at: Field<Timestamp>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct InviteWire {
    id: String,
    email: Text,
    role: Text,
    status: Text,
    invited_at: Field<Timestamp>,
    expires_at: Field<Timestamp>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MemberWire {
    user_id: String,
    workspace_role: Text,
}
