//! Subjects of lifecycle events: which of them a rule covers, and which were removed.

use jiff::SignedDuration;

use crate::figures::counting::{is_key_counted, is_part_counted, is_team_counted, is_user_counted};
use crate::figures::snapshot::OrganizationSnapshot;
use crate::org::directory::Presence;
use crate::org::inventory::InventoryKey;
use crate::org::teams;
use crate::rules::rule::Rule;
use crate::units::ids::{ActorId, UNASSIGNED, WorkspaceId};
use crate::units::privacy::UserNaming;
use crate::units::subject::{Subject, SubjectKind};

/// Returns whether a lifecycle rule covers a subject. Unknown properties do not exclude it.
pub fn covers_subject(rule: &Rule, subject: &Subject, snapshot: &OrganizationSnapshot<'_>) -> bool {
    let (matcher, id) = (&rule.matcher, &*subject.id);
    let narrows_workspaces = matcher.workspace.is_some() || matcher.team.is_some();
    match subject.kind {
        SubjectKind::Organization => {
            !narrows_workspaces && matcher.api_key.is_none() && matcher.user.is_none()
        }
        SubjectKind::Workspace => {
            matcher.api_key.is_none() && matcher.user.is_none() && has_workspace(rule, id, snapshot)
        }
        SubjectKind::ApiKey => {
            let keys = snapshot.inventory.keys.as_ref();
            is_key_counted(rule, id, snapshot)
                && keys.is_none_or(|keys| is_key_within(rule, subject, keys.get(id), snapshot))
        }
        SubjectKind::User => {
            let is_visible = snapshot.privacy.in_messages() != UserNaming::Hidden;
            is_visible
                && !narrows_workspaces
                && matcher.api_key.is_none()
                && is_user_counted(rule, id, snapshot)
        }
        SubjectKind::Model | SubjectKind::Team => false,
    }
}

fn is_key_within(
    rule: &Rule,
    subject: &Subject,
    key: Option<&InventoryKey>,
    snapshot: &OrganizationSnapshot<'_>,
) -> bool {
    let workspace = key.and_then(|key| key.workspace.as_ref());
    let workspace = workspace.map(WorkspaceId::as_str);
    let creator = key.and_then(|key| key.created_by.as_ref());
    let team = teams::for_subject(snapshot.teams, snapshot.directory, subject)
        .map(|team| team.name.as_str())
        .or_else(|| teams::for_workspace(snapshot.teams, snapshot.directory, workspace?))
        .unwrap_or(UNASSIGNED);
    let in_workspace = |id| is_part_counted(rule, id, snapshot.directory.name_of(id));
    let by_user = |id: &ActorId| is_user_counted(rule, id.as_str(), snapshot);
    (rule.matcher.workspace.is_none() || workspace.is_some_and(in_workspace))
        && (rule.matcher.user.is_none() || creator.is_some_and(by_user))
        && is_team_counted(rule, team)
}

fn has_workspace(rule: &Rule, id: &str, snapshot: &OrganizationSnapshot<'_>) -> bool {
    let team = teams::for_workspace(snapshot.teams, snapshot.directory, id).unwrap_or(UNASSIGNED);
    is_part_counted(rule, id, snapshot.directory.name_of(id)) && is_team_counted(rule, team)
}

/// Returns whether a subject was removed. Keys and users that a complete list lacks were removed; without such a list nothing
/// was.
pub fn is_removed(subject: &Subject, snapshot: &OrganizationSnapshot<'_>) -> bool {
    let (id, inventory) = (&*subject.id, snapshot.inventory);
    // By the list that would contain the subject, if it was read.
    let listed: Option<Option<&Presence>> = match subject.kind {
        SubjectKind::Workspace => {
            let known = snapshot.directory.workspaces.get(id);
            known.map(|(_, presence)| Some(presence))
        }
        SubjectKind::ApiKey => {
            let keys = inventory.keys.as_ref();
            keys.map(|keys| keys.get(id).map(|key| &key.presence))
        }
        SubjectKind::User => {
            let users = inventory.users.as_ref();
            users.map(|users| users.get(id).map(|user| &user.presence))
        }
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => None,
    };
    listed.is_some_and(|presence| matches!(presence, None | Some(Presence::Removed)))
}

/// Returns the creator of a key if they have left the organization.
pub fn removed_creator<'a>(key: &str, snapshot: &OrganizationSnapshot<'a>) -> Option<&'a ActorId> {
    let key = snapshot.inventory.keys.as_ref()?.get(key)?;
    key.created_by
        .as_ref()
        .filter(|_| is_of_removed_user(key, snapshot) == Some(true))
}

/// Returns `None` if unknown: the creator of a listed key may have joined after users were listed.
pub(super) fn is_of_removed_user(
    key: &InventoryKey,
    snapshot: &OrganizationSnapshot<'_>,
) -> Option<bool> {
    let inventory = snapshot.inventory;
    let Some(creator) = &key.created_by else {
        return Some(false);
    };
    match inventory.users.as_ref()?.get(creator) {
        None => {
            let times = key.created_at.zip(inventory.users_at);
            let is_older = times.is_some_and(|(created, listed)| {
                listed.duration_since(created) >= MAX_CLOCK_DIFFERENCE
            });
            (is_older || inventory.users_at >= inventory.keys_at).then_some(true)
        }
        Some(person) => match person.presence {
            Presence::Removed => Some(true),
            Presence::Listed => Some(false),
            Presence::Missing(_) => None,
        },
    }
}

/// Upper bound of the difference between the server's clock and ours.
const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(1);
