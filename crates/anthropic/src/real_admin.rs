//! Decodes responses of Anthropic's Admin API that only commands need: invitations, members and created objects. Pure.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::{self, DecodeError, ResponseLocation};
use crate::paging::ListPage;
use crate::real::{self, UNKNOWN_ROLE, WorkspaceWire, checked_id, page};
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::{ListedInvite, ListedMember};
use spendwatch_domain::units::ids::{ActorId, InviteId};

/// Decodes one page of `GET /v1/organizations/invites`.
pub fn invites(body: &[u8]) -> Result<ListPage<ListedInvite>, DecodeError> {
    page(body, |location, wire: InviteWire<'_>, errors| {
        let invite = one_invite(location, wire, errors)?;
        Ok((invite.id.to_string(), Some(invite)))
    })
}

/// Decodes the response to `POST /v1/organizations/invites`.
pub fn invite(body: &[u8]) -> Result<ListedInvite, DecodeError> {
    one_invite(ResponseLocation::Body, decode::read(body)?, &mut Vec::new())
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
pub fn workspace(body: &[u8]) -> Result<Workspace, DecodeError> {
    real::workspace(
        ResponseLocation::Body,
        decode::read::<WorkspaceWire<'_>>(body)?,
    )
}

fn one_invite(
    location: ResponseLocation,
    wire: InviteWire<'_>,
    errors: &mut Vec<DecodeError>,
) -> Result<ListedInvite, DecodeError> {
    let id = checked_id(location, wire.id)?;
    let unknown = || UNKNOWN_ROLE.to_owned();
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.unwrap_or_default(),
        role: wire.role.unwrap_or_else(unknown),
        status: wire.status.unwrap_or_else(unknown),
        invited_at: decode::optional_time(location, "invited_at", wire.invited_at, errors),
        expires_at: decode::optional_time(location, "expires_at", wire.expires_at, errors),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct InviteWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    status: Option<String>,
    #[serde(borrow)]
    invited_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MemberWire {
    user_id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    workspace_role: Option<String>,
}
