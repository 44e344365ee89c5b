//! Finds out whether a request took effect whose response was lost.

use jiff::{SignedDuration, Timestamp};

use crate::admin::session::AdminSession;
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_anthropic::error::FetchError;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::selection::is_address;
use spendwatch_domain::org::listing::ListedKey;
use spendwatch_domain::units::ids::{ApiKeyId, WorkspaceId};

/// Allows for the server's clock being read in whole seconds.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// Effect of an unanswered request.
#[derive(Debug)]
pub enum Lookup {
    Created(WriteResult),
    /// The key exists, but its secret was lost with the response.
    KeyWithoutSecret(ApiKeyId),
    Nothing,
    /// The server does not report it, or the result is ambiguous.
    Unknown,
}

/// Returns the current time by the server's clock, minus a margin.
pub fn server_time(session: &AdminSession) -> Timestamp {
    let skew = session.api.skew().unwrap_or_default();
    let server = session.clock.now().checked_add(skew);
    let server = server.and_then(|at| at.checked_sub(CLOCK_MARGIN));
    server.unwrap_or_else(|_| session.clock.now())
}

/// Looks for the object that a request sent at `since` was to create.
pub async fn lookup(
    session: &AdminSession,
    write: &AdminChange,
    since: Timestamp,
) -> Result<Lookup, FetchError> {
    match write {
        AdminChange::Invite { email, .. } => invited(session, email).await,
        AdminChange::CreateKey {
            name, workspace, ..
        } => key(session, name, workspace, since).await,
        AdminChange::CreateWorkspace(new) => workspace(session, &new.name, since).await,
        AdminChange::AddMember {
            workspace, user, ..
        } => {
            let members = session.api.members(session.service, workspace).await?;
            let is_member = members.map(|all| all.iter().any(|member| member.user == *user));
            Ok(match is_member {
                Some(true) => Lookup::Created(WriteResult::Done),
                Some(false) => Lookup::Nothing,
                None => Lookup::Unknown,
            })
        }
        // These can be repeated safely, so no lookup is needed.
        AdminChange::UpdateOrganization(_)
        | AdminChange::RemoveInvite { .. }
        | AdminChange::SetRole { .. }
        | AdminChange::RemoveUser { .. }
        | AdminChange::RenameKey { .. }
        | AdminChange::RevokeKey { .. }
        | AdminChange::RestoreKey { .. }
        | AdminChange::ArchiveWorkspace { .. }
        | AdminChange::SetMemberRole { .. }
        | AdminChange::RemoveMember { .. } => Ok(Lookup::Unknown),
    }
}

async fn invited(session: &AdminSession, email: &str) -> Result<Lookup, FetchError> {
    let now = session.clock.now();
    let Some(invites) = session.api.invites(session.service, &|_| {}).await? else {
        return Ok(Lookup::Unknown);
    };
    let theirs = invites
        .into_iter()
        .find(|invite| is_address(Some(&invite.email), email) && invite.is_open(now));
    Ok(theirs.map_or(Lookup::Nothing, |invite| {
        Lookup::Created(WriteResult::Invite(invite))
    }))
}

/// Looks for an unused key of this name created since then. Several candidates, or one without a creation time, are ambiguous.
async fn key(
    session: &AdminSession,
    name: &str,
    workspace: &WorkspaceId,
    since: Timestamp,
) -> Result<Lookup, FetchError> {
    let keys = session.api.keys(session.service, None, &|_| {}).await?;
    let is_new = |key: &&ListedKey| {
        key.name == name
            && key.workspace.as_ref() == Some(workspace)
            && key.created_at.is_none_or(|at| at >= since)
            && key.last_used_at.is_none()
    };
    let new: Vec<&ListedKey> = keys.iter().filter(is_new).collect();
    if new.iter().any(|key| key.created_at.is_none()) {
        return Ok(Lookup::Unknown);
    }
    Ok(match new.as_slice() {
        [] => Lookup::Nothing,
        [only] => Lookup::KeyWithoutSecret(only.id.clone()),
        _ => Lookup::Unknown,
    })
}

async fn workspace(
    session: &AdminSession,
    name: &str,
    since: Timestamp,
) -> Result<Lookup, FetchError> {
    let all = session.api.workspaces(session.service).await?;
    let mut new = all
        .into_iter()
        .filter(|one| one.name == name && one.created_at.is_some_and(|at| at >= since));
    Ok(match (new.next(), new.next()) {
        (None, _) => Lookup::Nothing,
        (Some(only), None) => Lookup::Created(WriteResult::Workspace(only)),
        (Some(_), Some(_)) => Lookup::Unknown,
    })
}
