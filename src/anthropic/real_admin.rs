//! The real service beside the lists that the daemon reads: invitations, members, and the answers to what was made. Pure.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::paging::ListPage;
use crate::anthropic::real::{self, UNKNOWN, WorkspaceWire, checked_id, page};
use crate::domain::directory::Workspace;
use crate::domain::ids::{ActorId, InviteId};
use crate::domain::listing::{ListedInvite, ListedMember};

/// `GET /v1/organizations/invites`, one page.
pub fn invites(body: &[u8]) -> Result<ListPage<ListedInvite>, Fault> {
    page(body, |place, wire: InviteWire<'_>, faults| {
        let invite = one_invite(place, wire, faults)?;
        Ok((invite.id.to_string(), Some(invite)))
    })
}

/// `POST /v1/organizations/invites`.
pub fn invite(body: &[u8]) -> Result<ListedInvite, Fault> {
    one_invite(Place::Answer, fault::read(body)?, &mut Vec::new())
}

/// `GET /v1/organizations/workspaces/{workspace_id}/members`, one page. Its rows are strung together by who they are.
pub fn members(body: &[u8]) -> Result<ListPage<ListedMember>, Fault> {
    page(body, |place, wire: MemberWire, _| {
        let id = checked_id(place, wire.user_id)?;
        let member = ListedMember {
            user: ActorId::new(id.as_str()),
            role: wire.workspace_role.unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        Ok((id, Some(member)))
    })
}

/// `POST /v1/organizations/workspaces`.
pub fn workspace(body: &[u8]) -> Result<Workspace, Fault> {
    real::workspace(Place::Answer, fault::read::<WorkspaceWire<'_>>(body)?)
}

fn one_invite(
    place: Place,
    wire: InviteWire<'_>,
    faults: &mut Vec<Fault>,
) -> Result<ListedInvite, Fault> {
    let id = checked_id(place, wire.id)?;
    let unknown = || UNKNOWN.to_owned();
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.unwrap_or_default(),
        role: wire.role.unwrap_or_else(unknown),
        status: wire.status.unwrap_or_else(unknown),
        invited_at: fault::optional_time(place, "invited_at", wire.invited_at, faults),
        expires_at: fault::optional_time(place, "expires_at", wire.expires_at, faults),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct InviteWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
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
    #[serde(default, deserialize_with = "fault::lenient_text")]
    workspace_role: Option<String>,
}
