//! Plans onboarding: one user's invitation and API key, given what already exists.

use jiff::{SignedDuration, Timestamp};

use crate::admin::change::AdminChange;
use crate::admin::selection::{KeyDetails, is_address};
use crate::admin::server::{Capability, ServerKind};
use crate::org::listing::{ListedInvite, ListedMember, ListedUser};
use crate::units::ids::{ActorId, ApiKeyId, WorkspaceId};

/// The user to onboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub team: String,
    pub workspace: WorkspaceId,
    pub role: String,
    pub key_expires_at: Timestamp,
}

/// What already exists, as far as reported.
#[derive(Debug, Clone, Copy)]
pub struct ExistingAccess<'a> {
    pub users: &'a [ListedUser],
    pub keys: &'a [KeyDetails],
    /// All invitations; `None` if the dialect cannot list them.
    pub invites: Option<&'a [ListedInvite]>,
    /// Members of the workspace; `None` if the dialect has none.
    pub members: Option<&'a [ListedMember]>,
    /// When spendwatch last sent an invitation to the address, by the audit log.
    pub last_sent: Option<Timestamp>,
}

/// One item of onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnboardItem {
    Key,
    Invite,
    Membership,
}

/// The planned action for an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedAction {
    Send(AdminChange),
    /// Exists already; with its id if it has one.
    Exists {
        id: Option<String>,
        detail: String,
    },
    /// Has to be done by a person, later or elsewhere.
    Manual(String),
}

/// One planned step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnboardStep {
    pub item: OnboardItem,
    pub action: PlannedAction,
}

impl OnboardItem {
    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnboardItem::Key => "key",
            OnboardItem::Invite => "invite",
            OnboardItem::Membership => "membership",
        }
    }
}

impl NewUser {
    /// Returns the key's name, for example `Ada Kern - search`, which also identifies a key created before.
    pub fn key_name(&self) -> String {
        format!("{} - {}", self.name, self.team)
    }
}

/// Plans the steps: first those that can be undone, the invitation last.
pub fn plan(
    new_user: &NewUser,
    server: ServerKind,
    existing: ExistingAccess<'_>,
    now: Timestamp,
) -> Vec<OnboardStep> {
    let user = existing
        .users
        .iter()
        .find(|user| is_address(user.email.as_deref(), &new_user.email));
    let mut steps = vec![OnboardStep {
        item: OnboardItem::Key,
        action: plan_key(new_user, server, existing.keys),
    }];
    let invite = plan_invite(new_user, server, user, existing, now);
    match existing.members {
        None => steps.push(invite),
        Some(members) => {
            let membership = OnboardStep {
                item: OnboardItem::Membership,
                action: plan_membership(new_user, user.map(|user| &user.id), members),
            };
            steps.extend([invite, membership]);
        }
    }
    steps
}

/// Returns the active key with the user's key name in the workspace.
pub fn existing_key<'a>(new_user: &NewUser, keys: &'a [KeyDetails]) -> Option<&'a ApiKeyId> {
    let name = new_user.key_name();
    let is_theirs = |key: &&KeyDetails| {
        key.is_active
            && key.listed.name == name
            && key.listed.workspace.as_ref() == Some(&new_user.workspace)
    };
    keys.iter().find(is_theirs).map(|key| &key.listed.id)
}

fn plan_key(new_user: &NewUser, server: ServerKind, keys: &[KeyDetails]) -> PlannedAction {
    if let Some(id) = existing_key(new_user, keys) {
        return PlannedAction::Exists {
            id: Some(id.to_string()),
            detail: format!("key `{}` exists and is active", new_user.key_name()),
        };
    }
    match server.check(Capability::CreateKey) {
        Ok(()) => PlannedAction::Send(AdminChange::CreateKey {
            name: new_user.key_name(),
            workspace: new_user.workspace.clone(),
            expires_at: Some(new_user.key_expires_at),
        }),
        Err(unsupported) => PlannedAction::Manual(format!(
            "{}; the user must create key `{}` there",
            unsupported.reason,
            new_user.key_name()
        )),
    }
}

fn plan_invite(
    new_user: &NewUser,
    server: ServerKind,
    user: Option<&ListedUser>,
    existing: ExistingAccess<'_>,
    now: Timestamp,
) -> OnboardStep {
    let step = |action| OnboardStep {
        item: OnboardItem::Invite,
        action,
    };
    if let Some(user) = user {
        return step(PlannedAction::Exists {
            id: Some(user.id.to_string()),
            detail: format!("is in the organization with role `{}`", user.role),
        });
    }
    let mut invites = existing.invites.into_iter().flatten();
    let is_theirs = |invite: &&ListedInvite| {
        is_address(Some(&invite.email), &new_user.email) && invite.is_open(now)
    };
    if let Some(invite) = invites.find(is_theirs) {
        return step(PlannedAction::Exists {
            id: Some(invite.id.to_string()),
            detail: "already invited".to_owned(),
        });
    }
    // A list of invitations is more reliable than the audit log.
    let sent = existing.last_sent.filter(|_| existing.invites.is_none());
    if let Some(sent) = sent.filter(|sent| now < expires_at(*sent, server)) {
        return step(PlannedAction::Exists {
            id: None,
            detail: format!("invited at {sent} according to the audit log, not yet expired"),
        });
    }
    step(PlannedAction::Send(AdminChange::Invite {
        email: new_user.email.clone(),
        role: new_user.role.clone(),
    }))
}

fn expires_at(sent: Timestamp, server: ServerKind) -> Timestamp {
    let lifetime = SignedDuration::from_hours(24 * server.invite_days());
    sent.checked_add(lifetime).unwrap_or(Timestamp::MAX)
}

/// Role of the user in the workspace.
const MEMBER_ROLE: &str = "workspace_developer";

fn plan_membership(
    new_user: &NewUser,
    user: Option<&ActorId>,
    members: &[ListedMember],
) -> PlannedAction {
    let Some(user) = user else {
        return PlannedAction::Manual(
            "users can be added to a workspace after accepting the invitation; rerun this command then"
                .to_owned(),
        );
    };
    if let Some(member) = members.iter().find(|member| member.user == *user) {
        return PlannedAction::Exists {
            id: Some(user.to_string()),
            detail: format!("is in the workspace with role `{}`", member.role),
        };
    }
    PlannedAction::Send(AdminChange::AddMember {
        workspace: new_user.workspace.clone(),
        user: user.clone(),
        role: MEMBER_ROLE.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::selection::key_details;
    use crate::org::inventory::LastUseSource;
    use crate::org::listing::ListedKey;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ada() -> NewUser {
        NewUser {
            email: "ada@example.com".to_owned(),
            name: "Ada Kern".to_owned(),
            team: "search".to_owned(),
            workspace: "workspace_1".into(),
            role: "developer".to_owned(),
            key_expires_at: at("2027-11-25T12:00:00Z"),
        }
    }

    fn key(workspace: &str, status: &str) -> ListedKey {
        ListedKey {
            id: "apikey_1".into(),
            name: "Ada Kern - search".to_owned(),
            status: Some(status.to_owned()),
            workspace: Some(workspace.into()),
            created_by: None,
            created_at: None,
            expires_at: None,
            last_used_at: None,
            hint: None,
            creator_email: None,
        }
    }

    fn user() -> ListedUser {
        ListedUser {
            id: "user_1".into(),
            email: Some("Ada@Example.com".to_owned()),
            name: "Ada".to_owned(),
            role: "developer".to_owned(),
            status: None,
            added_at: None,
            last_active_at: None,
        }
    }

    const NONE: ExistingAccess<'_> = ExistingAccess {
        users: &[],
        keys: &[],
        invites: None,
        members: None,
        last_sent: None,
    };

    #[track_caller]
    fn check(server: ServerKind, existing: ExistingAccess<'_>, expected: &[&str]) {
        let steps: Vec<String> = plan(&ada(), server, existing, at("2026-11-25T12:00:00Z"))
            .into_iter()
            .map(|step| {
                let action = match step.action {
                    PlannedAction::Send(write) => format!("send {}", write.action()),
                    PlannedAction::Exists { id, .. } => {
                        format!("exists {}", id.unwrap_or_default())
                    }
                    PlannedAction::Manual(_) => "by hand".to_owned(),
                };
                format!("{}: {action}", step.item.as_str())
            })
            .collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn the_key_is_created_first_and_the_invitation_sent_last() {
        check(
            ServerKind::Guide,
            NONE,
            &["key: send keys.create", "invite: send users.invite"],
        );
    }

    #[test]
    fn existing_objects_are_not_created_again() {
        let now = at("2026-11-25T12:00:00Z");
        let keys =
            |workspace, status| key_details(vec![key(workspace, status)], LastUseSource::List, now);
        let users = [user()];
        let all = ExistingAccess {
            users: &users,
            keys: &keys("workspace_1", "active"),
            ..NONE
        };
        check(
            ServerKind::Guide,
            all,
            &["key: exists apikey_1", "invite: exists user_1"],
        );
        for other in [
            keys("workspace_2", "active"),
            keys("workspace_1", "revoked"),
        ] {
            let existing = ExistingAccess {
                keys: &other,
                ..all
            };
            check(
                ServerKind::Guide,
                existing,
                &["key: send keys.create", "invite: exists user_1"],
            );
        }
    }

    #[test]
    fn invitations_sent_by_spendwatch_count_until_they_expire() {
        let sent = |when: &str| ExistingAccess {
            last_sent: Some(at(when)),
            ..NONE
        };
        let again = ["key: send keys.create", "invite: send users.invite"];
        check(
            ServerKind::Guide,
            sent("2026-11-18T12:00:01Z"),
            &["key: send keys.create", "invite: exists "],
        );
        check(ServerKind::Guide, sent("2026-11-18T12:00:00Z"), &again);
    }

    #[test]
    fn the_real_service_has_invitations_and_workspace_members() {
        let invite = |status: &str, end: &str| ListedInvite {
            id: "invite_1".into(),
            email: "ADA@example.com".to_owned(),
            role: "developer".to_owned(),
            status: status.to_owned(),
            invited_at: None,
            expires_at: Some(at(end)),
        };
        let without_invites = ExistingAccess {
            invites: Some(&[]),
            members: Some(&[]),
            // The list takes precedence.
            last_sent: Some(at("2026-11-25T11:00:00Z")),
            ..NONE
        };
        check(
            ServerKind::Real,
            without_invites,
            &[
                "key: by hand",
                "invite: send users.invite",
                "membership: by hand",
            ],
        );
        let open = [invite("pending", "2026-12-01T00:00:00Z")];
        let existing = ExistingAccess {
            invites: Some(&open),
            ..without_invites
        };
        check(
            ServerKind::Real,
            existing,
            &[
                "key: by hand",
                "invite: exists invite_1",
                "membership: by hand",
            ],
        );
        let over = [
            invite("pending", "2026-11-25T12:00:00Z"),
            invite("expired", "2027-01-01T00:00:00Z"),
        ];
        let existing = ExistingAccess {
            invites: Some(&over),
            ..without_invites
        };
        check(
            ServerKind::Real,
            existing,
            &[
                "key: by hand",
                "invite: send users.invite",
                "membership: by hand",
            ],
        );
        let users = [user()];
        let existing = ExistingAccess {
            users: &users,
            ..without_invites
        };
        check(
            ServerKind::Real,
            existing,
            &[
                "key: by hand",
                "invite: exists user_1",
                "membership: send workspaces.members.add",
            ],
        );
        let members = [ListedMember {
            user: "user_1".into(),
            role: "workspace_user".to_owned(),
        }];
        let existing = ExistingAccess {
            members: Some(&members),
            ..existing
        };
        check(
            ServerKind::Real,
            existing,
            &[
                "key: by hand",
                "invite: exists user_1",
                "membership: exists user_1",
            ],
        );
    }
}
