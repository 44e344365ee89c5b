//! Looks for what an unanswered order was to make.

use jiff::{SignedDuration, Timestamp};

use crate::admin::office::Office;
use crate::anthropic::error::FetchError;
use crate::anthropic::written::Told;
use crate::domain::admin::choice::is_address;
use crate::domain::admin::service::Service;
use crate::domain::admin::write::Write;
use crate::domain::ids::{ApiKeyId, WorkspaceId};
use crate::domain::listing::ListedKey;

/// The service's clock is read to the second.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// What became of it.
#[derive(Debug)]
pub enum Found {
    Made(Told),
    /// A key is there, and nobody has its secret.
    KeyWithoutSecret(ApiKeyId),
    Nothing,
    /// The service does not tell.
    Untold,
}

/// When an order was sent, by the service's clock.
pub fn moment(office: &Office) -> Timestamp {
    let skew = office.api.skew().unwrap_or_default();
    let there = office.clock.now().checked_add(skew);
    let there = there.and_then(|there| there.checked_sub(CLOCK_MARGIN));
    there.unwrap_or_else(|_| office.clock.now())
}

/// Reads again. `since` is when the order was sent first.
pub async fn look(office: &Office, write: &Write, since: Timestamp) -> Result<Found, FetchError> {
    match write {
        Write::Invite { email, .. } => invited(office, email).await,
        Write::CreateKey {
            name, workspace, ..
        } => key(office, name, workspace, since).await,
        Write::CreateWorkspace(new) => workspace(office, &new.name, since).await,
        Write::AddMember {
            workspace, user, ..
        } => {
            let members = office.api.members(workspace).await?;
            let is_there = members.iter().any(|member| member.user == *user);
            Ok(if is_there {
                Found::Made(Told::Done)
            } else {
                Found::Nothing
            })
        }
        // Twice is as good as once: these are repeated, not looked for.
        Write::UpdateOrganization(_)
        | Write::RemoveInvite { .. }
        | Write::SetRole { .. }
        | Write::RemoveUser { .. }
        | Write::RenameKey { .. }
        | Write::RevokeKey { .. }
        | Write::RestoreKey { .. }
        | Write::ArchiveWorkspace { .. }
        | Write::SetMemberRole { .. }
        | Write::RemoveMember { .. } => Ok(Found::Untold),
    }
}

async fn invited(office: &Office, email: &str) -> Result<Found, FetchError> {
    match office.service {
        // Who is invited stands in no list there.
        Service::Guide => Ok(Found::Untold),
        Service::Real => {
            let now = office.clock.now();
            let invites = office.api.all_invites(&|_| {}).await?;
            let theirs = invites
                .into_iter()
                .find(|invite| is_address(Some(&invite.email), email) && invite.is_open(now));
            Ok(theirs.map_or(Found::Nothing, |invite| Found::Made(Told::Invite(invite))))
        }
    }
}

/// A key of this name that was made since then and never used. Where several are, or it is not told when one was made, none is
/// taken for ours.
async fn key(
    office: &Office,
    name: &str,
    workspace: &WorkspaceId,
    since: Timestamp,
) -> Result<Found, FetchError> {
    let keys = office.api.all_keys(office.service, None, &|_| {}).await?;
    let is_new = |key: &&ListedKey| {
        key.name == name
            && key.workspace.as_ref() == Some(workspace)
            && key.created_at.is_none_or(|at| at >= since)
            && key.last_used_at.is_none()
    };
    let new: Vec<&ListedKey> = keys.iter().filter(is_new).collect();
    if new.iter().any(|key| key.created_at.is_none()) {
        return Ok(Found::Untold);
    }
    Ok(match new.as_slice() {
        [] => Found::Nothing,
        [only] => Found::KeyWithoutSecret(only.id.clone()),
        _ => Found::Untold,
    })
}

async fn workspace(office: &Office, name: &str, since: Timestamp) -> Result<Found, FetchError> {
    let all = office.api.all_workspaces(office.service).await?;
    let mut new = all
        .into_iter()
        .filter(|one| one.name == name && one.created_at.is_some_and(|at| at >= since));
    Ok(match (new.next(), new.next()) {
        (None, _) => Found::Nothing,
        (Some(only), None) => Found::Made(Told::Workspace(only)),
        (Some(_), Some(_)) => Found::Untold,
    })
}
