//! What the real service lists: itself, workspaces, keys and people, and what that means. Pure.
//!
//! Unknown fields are ignored, unknown words kept. Fields that a newer version of the API has are read first.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::paging::{ListPage, PageEnd};
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, UNATTRIBUTED, WorkspaceId};
use crate::domain::listing::{ListedKey, ListedUser, Maker};

/// The role of somebody whose role cannot be read.
pub(super) const UNKNOWN: &str = "unknown";

/// `GET /v1/organizations/me`.
pub fn me(body: &[u8]) -> Result<OrganizationInfo, Fault> {
    let wire: MeWire = fault::read(body)?;
    if wire.kind != "organization" {
        let problem = "not `organization`";
        return Err(Fault::value(Place::Answer, "type", &wire.kind, problem));
    }
    let id = checked_id(Place::Answer, wire.id)?;
    Ok(OrganizationInfo {
        name: wire.name.unwrap_or_else(|| id.clone()),
        id,
        usage_limit: None,
        current_month_usage: None,
    })
}

/// `GET /v1/organizations/workspaces`, one page. An archived workspace is passed over.
pub fn workspaces(body: &[u8]) -> Result<ListPage<Workspace>, Fault> {
    page(body, |place, wire: WorkspaceWire<'_>, _| {
        let is_archived = wire.archived_at.is_some();
        let workspace = workspace(place, wire)?;
        let id = workspace.id.to_string();
        Ok((id, Some(workspace).filter(|_| !is_archived)))
    })
}

/// `GET /v1/organizations/api_keys`, one page.
pub fn api_keys(body: &[u8]) -> Result<ListPage<ListedKey>, Fault> {
    page(body, |place, wire: KeyWire<'_>, faults| {
        let id = checked_id(place, wire.id)?;
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
            created_at: fault::optional_time(place, "created_at", wire.created_at, faults),
            expires_at: fault::optional_time(place, "expires_at", wire.expires_at, faults),
            last_used_at: None,
            hint: wire.partial_key_hint,
            maker_email: None,
        };
        Ok((id, Some(key)))
    })
}

/// `GET /v1/organizations/users`, one page.
pub fn users(body: &[u8]) -> Result<ListPage<ListedUser>, Fault> {
    page(body, |place, wire: UserWire<'_>, faults| {
        let id = checked_id(place, wire.id)?;
        let email = wire.email.filter(|email| !email.is_empty());
        let name = wire.name.filter(|name| !name.is_empty());
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.unwrap_or_else(|| UNKNOWN.to_owned()),
            status: None,
            added_at: fault::optional_time(place, "added_at", wire.added_at, faults),
            last_active_at: None,
        };
        Ok((id, Some(user)))
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MeWire {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    has_more: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
    last_id: Option<String>,
}

/// One workspace, archived or not.
pub(super) fn workspace(place: Place, wire: WorkspaceWire<'_>) -> Result<Workspace, Fault> {
    let id = checked_id(place, wire.id)?;
    Ok(Workspace {
        id: WorkspaceId::new(id.as_str()),
        name: wire.name.unwrap_or(id),
        monthly_limit: None,
        requests_per_minute: None,
        created_at: wire.created_at.and_then(fault::instant),
        tags: texts(wire.tags.unwrap_or_default()),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct WorkspaceWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    archived_at: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
    tags: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct KeyWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    scope: Option<ScopeWire>,
    #[serde(default, deserialize_with = "fault::lenient")]
    workspace_id: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    created_by: Option<MakerWire>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    partial_key_hint: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

/// A workspace, or the organization, which has no id here.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(default, deserialize_with = "fault::lenient")]
    workspace_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MakerWire {
    #[serde(default, deserialize_with = "fault::lenient")]
    id: Option<String>,
    #[serde(rename = "type", default, deserialize_with = "fault::lenient")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UserWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    role: Option<String>,
    #[serde(borrow)]
    added_at: Option<&'a RawValue>,
}

/// What is not said to be a person counts as none: nobody is then missed in the list of people.
fn maker(wire: MakerWire) -> Option<Maker> {
    let id = ActorId::new(wire.id?);
    Some(match wire.kind.as_deref() {
        Some("user") => Maker::Person(id),
        Some(_) | None => Maker::Other(id),
    })
}

/// A page of a list; `row` gives a row's id, and the row if it counts, and notes what of it cannot be read.
pub(super) fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(Place, W, &mut Vec<Fault>) -> Result<(String, Option<T>), Fault>,
) -> Result<ListPage<T>, Fault> {
    let wire: PageWire<'a> = fault::read(body)?;
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for (place, raw) in (1..).map(Place::Row).zip(wire.data) {
        match fault::read_row(place, raw).and_then(|wire| row(place, wire, &mut unreadable)) {
            Ok(listed) => rows.push(listed),
            Err(fault) => unreadable.push(fault),
        }
    }
    let end = PageEnd {
        has_more: fault::has_more(wire.has_more)?,
        last_id: wire.last_id,
    };
    Ok(ListPage {
        rows,
        unreadable,
        end,
    })
}

/// An id that names one thing. Some names are this program's own, and dots lead elsewhere in an address.
pub(super) fn checked_id(place: Place, id: String) -> Result<String, Fault> {
    match id.as_str() {
        "" | "." | ".." | UNATTRIBUTED | DEFAULT_WORKSPACE => {
            Err(Fault::value(place, "id", &id, "not an id"))
        }
        _ => Ok(id),
    }
}

/// What is no text is passed over.
fn texts(tags: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    tags.into_iter().filter_map(text).collect()
}
