//! The real service beside the lists that the daemon reads: invitations, members, and the answers to what was made. Pure.
//!
//! Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::paging::ListPage;
use crate::anthropic::real::{self, WorkspaceWire, checked_id, optional_time, page};
use crate::domain::directory::Workspace;
use crate::domain::ids::{ActorId, InviteId};
use crate::domain::listing::{ListedInvite, ListedMember};

/// `GET /v1/organizations/invites`, one page.
pub fn invites(body: &[u8]) -> Result<ListPage<ListedInvite>, Fault> {
    page(body, |place, wire: InviteWire<'_>| {
        let invite = one_invite(place, wire)?;
        Ok((invite.id.to_string(), Some(invite)))
    })
}

/// `POST /v1/organizations/invites`.
pub fn invite(body: &[u8]) -> Result<ListedInvite, Fault> {
    one_invite(Place::Answer, fault::read(body)?)
}

/// `GET /v1/organizations/workspaces/{workspace_id}/members`, one page. Its rows are strung together by who they are.
pub fn members(body: &[u8]) -> Result<ListPage<ListedMember>, Fault> {
    page(body, |place, wire: MemberWire| {
        let id = checked_id(place, wire.user_id)?;
        let member = ListedMember {
            user: ActorId::new(id.as_str()),
            role: wire.workspace_role,
        };
        Ok((id, Some(member)))
    })
}

/// `POST /v1/organizations/workspaces`.
pub fn workspace(body: &[u8]) -> Result<Workspace, Fault> {
    real::workspace(Place::Answer, fault::read::<WorkspaceWire<'_>>(body)?)
}

fn one_invite(place: Place, wire: InviteWire<'_>) -> Result<ListedInvite, Fault> {
    let id = checked_id(place, wire.id)?;
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email,
        role: wire.role,
        status: wire.status,
        invited_at: optional_time(place, "invited_at", wire.invited_at)?,
        expires_at: optional_time(place, "expires_at", wire.expires_at)?,
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct InviteWire<'a> {
    id: String,
    email: String,
    role: String,
    status: String,
    #[serde(borrow)]
    invited_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MemberWire {
    user_id: String,
    workspace_role: String,
}
