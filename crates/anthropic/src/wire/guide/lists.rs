//! Decodes lists of workspaces, keys and users, and objects that were created. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::ListPage;
use crate::wire::guide::optional_limit;
use crate::wire::list::{self, UNKNOWN_ROLE, checked_id, page};
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::{KeyCreator, ListedInvite, ListedKey, ListedUser};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, UNATTRIBUTED, WorkspaceId};

/// Decodes one page of `GET /v1/workspaces`.
pub fn workspaces(body: &[u8]) -> Result<ListPage<Workspace>, DecodeError> {
    page(body, |location, wire: WorkspaceWire<'_>, errors| {
        let workspace = workspace(location, wire, errors)?;
        Ok((workspace.id.to_string(), Some(workspace)))
    })
}

/// Decodes one page of `GET /v1/api_keys`.
pub fn api_keys(body: &[u8]) -> Result<ListPage<ListedKey>, DecodeError> {
    page(body, |location, wire: KeyWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let maker: MakerWire = wire.created_by.unwrap_or_default();
        let n_faults = errors.len();
        let last_used_at =
            decode::optional_time(location, "last_used_at", wire.last_used_at, errors);
        // Otherwise a key with an invalid last use would count as unused since its creation.
        let is_use_known = errors.len() == n_faults;
        let created_at = decode::optional_time(location, "created_at", wire.created_at, errors);
        let key = ListedKey {
            id: ApiKeyId::new(id.as_str()),
            name: wire.name.unwrap_or_else(|| id.clone()),
            status: wire.status,
            workspace: wire.workspace_id.map(WorkspaceId::new),
            // In this dialect, only users create keys.
            created_by: maker.id.map(|id| KeyCreator::User(ActorId::new(id))),
            created_at: created_at.filter(|_| is_use_known),
            expires_at: decode::optional_time(location, "expires_at", wire.expires_at, errors),
            last_used_at,
            hint: wire.partial_key,
            creator_email: maker.email,
        };
        Ok((id, Some(key)))
    })
}

/// Decodes one page of `GET /v1/users`.
pub fn users(body: &[u8]) -> Result<ListPage<ListedUser>, DecodeError> {
    page(body, |location, wire: UserWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let email = wire.email.filter(|email| !email.is_empty());
        let name = wire.name.filter(|name| !name.is_empty());
        let n_faults = errors.len();
        let last_active_at =
            decode::optional_time(location, "last_active_at", wire.last_active_at, errors);
        // As with keys: otherwise they would count as idle since they were added.
        let is_activity_known = errors.len() == n_faults;
        let added_at = decode::optional_time(location, "created_at", wire.created_at, errors);
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
            status: wire.status,
            added_at: added_at.filter(|_| is_activity_known),
            last_active_at,
        };
        Ok((id, Some(user)))
    })
}

/// Decodes the response to `POST /v1/workspaces`.
pub fn new_workspace(body: &[u8]) -> Result<Workspace, DecodeError> {
    workspace(ResponseLocation::Body, decode::read(body)?, &mut Vec::new())
}

/// Decodes the response to `POST /v1/users/invite`.
pub fn new_invite(body: &[u8]) -> Result<ListedInvite, DecodeError> {
    let wire = decode::read(body)?;
    list::invite(ResponseLocation::Body, wire, "pending", &mut Vec::new())
}

fn workspace(
    location: ResponseLocation,
    wire: WorkspaceWire<'_>,
    errors: &mut Vec<DecodeError>,
) -> Result<Workspace, DecodeError> {
    // A workspace with the id of the unattributed remainder could not be told apart from it.
    if wire.id.is_empty() || wire.id == UNATTRIBUTED {
        return Err(DecodeError::value(
            location,
            "id",
            &wire.id,
            "not a workspace's id",
        ));
    }
    let limits: LimitsWire<'_> = decode::optional_object(location, wire.usage_limits, errors);
    let per_minute = limits
        .requests_per_minute
        .map(|raw| decode::count(location, "usage_limits.requests_per_minute", raw))
        .transpose();
    Ok(Workspace {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        id: WorkspaceId::new(wire.id),
        monthly_limit: optional_limit(
            location,
            "usage_limits.monthly_spend_usd",
            limits.monthly_spend_usd,
            errors,
        ),
        requests_per_minute: decode::or_default(per_minute, errors).map(i64::unsigned_abs),
        created_at: wire.created_at.and_then(decode::instant),
        tags: BTreeMap::new(),
    })
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
    usage_limits: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct LimitsWire<'a> {
    #[serde(borrow)]
    monthly_spend_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    requests_per_minute: Option<&'a RawValue>,
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
    workspace_id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    created_by: Option<MakerWire>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    partial_key: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow)]
    last_used_at: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct MakerWire {
    #[serde(default, deserialize_with = "decode::lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
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
    #[serde(default, deserialize_with = "decode::lenient_text")]
    status: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    last_active_at: Option<&'a RawValue>,
}
