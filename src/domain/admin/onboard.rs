//! Onboarding: one person's invitation and key, planned from what stands already.

use jiff::{SignedDuration, Timestamp};

use crate::domain::admin::choice::{KnownKey, is_address};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::Write;
use crate::domain::ids::{ActorId, ApiKeyId, WorkspaceId};
use crate::domain::listing::{ListedInvite, ListedMember, ListedUser};

/// Who comes, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    pub email: String,
    /// As it stands in the key's name.
    pub name: String,
    /// As it stands in the key's name.
    pub team: String,
    pub workspace: WorkspaceId,
    /// What they will be in the organization.
    pub role: String,
    /// From when on their key opens nothing.
    pub key_expires_at: Timestamp,
}

/// What stands already, as far as the service tells.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub users: &'a [ListedUser],
    pub keys: &'a [KnownKey],
    /// All invitations; `None` where the service does not list them.
    pub invites: Option<&'a [ListedInvite]>,
    /// Members of the workspace; `None` where the service knows none.
    pub members: Option<&'a [ListedMember]>,
    /// When an invitation to the address was last sent from here, where the audit log tells that.
    pub last_sent: Option<Timestamp>,
}

/// One part of onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Key,
    Invite,
    /// That they belong to the workspace.
    Membership,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    Send(Write),
    /// It stands already; the id where it has one.
    Stands {
        id: Option<String>,
        how: String,
    },
    /// A person has to do it, later or elsewhere.
    ByHand(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub part: Part,
    /// What is to be done.
    pub todo: Todo,
}

impl Part {
    /// In a table.
    pub const fn word(self) -> &'static str {
        match self {
            Part::Key => "key",
            Part::Invite => "invite",
            Part::Membership => "membership",
        }
    }
}

impl Newcomer {
    /// `Ada Kern - search`: by it a key that was made before is found again.
    pub fn key_name(&self) -> String {
        format!("{} - {}", self.name, self.team)
    }
}

/// The steps, in their order: first what can be taken back, the mail last.
pub fn plan(
    newcomer: &Newcomer,
    service: Service,
    standing: Standing<'_>,
    now: Timestamp,
) -> Vec<Step> {
    let user = standing
        .users
        .iter()
        .find(|user| is_address(user.email.as_deref(), &newcomer.email));
    let mut steps = vec![Step {
        part: Part::Key,
        todo: key(newcomer, service, standing.keys),
    }];
    let invite = invite(newcomer, service, user, standing, now);
    match standing.members {
        None => steps.push(invite),
        Some(members) => {
            let membership = Step {
                part: Part::Membership,
                todo: membership(newcomer, user.map(|user| &user.id), members),
            };
            steps.extend([invite, membership]);
        }
    }
    steps
}

/// The key with the name in the workspace, if there is one that opens something.
pub fn standing_key<'a>(newcomer: &Newcomer, keys: &'a [KnownKey]) -> Option<&'a ApiKeyId> {
    let name = newcomer.key_name();
    let is_theirs = |key: &&KnownKey| {
        key.is_active
            && key.listed.name == name
            && key.listed.workspace.as_ref() == Some(&newcomer.workspace)
    };
    keys.iter().find(is_theirs).map(|key| &key.listed.id)
}

fn key(newcomer: &Newcomer, service: Service, keys: &[KnownKey]) -> Todo {
    if let Some(id) = standing_key(newcomer, keys) {
        return Todo::Stands {
            id: Some(id.to_string()),
            how: format!("key `{}` is there and opens", newcomer.key_name()),
        };
    }
    match service.check(Deed::CreateKey) {
        Ok(()) => Todo::Send(Write::CreateKey {
            name: newcomer.key_name(),
            workspace: newcomer.workspace.clone(),
            expires_at: Some(newcomer.key_expires_at),
        }),
        Err(impossible) => Todo::ByHand(format!(
            "{}: they make key `{}` there themselves",
            impossible.reason,
            newcomer.key_name()
        )),
    }
}

fn invite(
    newcomer: &Newcomer,
    service: Service,
    user: Option<&ListedUser>,
    standing: Standing<'_>,
    now: Timestamp,
) -> Step {
    let step = |todo| Step {
        part: Part::Invite,
        todo,
    };
    if let Some(user) = user {
        return step(Todo::Stands {
            id: Some(user.id.to_string()),
            how: format!("is in the organization as {}", user.role),
        });
    }
    let mut invites = standing.invites.into_iter().flatten();
    let is_theirs = |invite: &&ListedInvite| {
        is_address(Some(&invite.email), &newcomer.email) && invite.is_open(now)
    };
    if let Some(invite) = invites.find(is_theirs) {
        return step(Todo::Stands {
            id: Some(invite.id.to_string()),
            how: "invited, and not yet there".to_owned(),
        });
    }
    // A list of invitations tells more than what was sent from here once.
    let sent = standing.last_sent.filter(|_| standing.invites.is_none());
    if let Some(sent) = sent.filter(|sent| now < lasts_until(*sent, service)) {
        return step(Todo::Stands {
            id: None,
            how: format!("invited at {sent}, by the audit log, and not yet expired"),
        });
    }
    step(Todo::Send(Write::Invite {
        email: newcomer.email.clone(),
        role: newcomer.role.clone(),
    }))
}

fn lasts_until(sent: Timestamp, service: Service) -> Timestamp {
    let lasts = SignedDuration::from_hours(24 * service.invite_days());
    sent.checked_add(lasts).unwrap_or(Timestamp::MAX)
}

/// The role of a person in the workspace that they come to.
const MEMBER_ROLE: &str = "workspace_developer";

fn membership(newcomer: &Newcomer, user: Option<&ActorId>, members: &[ListedMember]) -> Todo {
    let Some(user) = user else {
        return Todo::ByHand(
            "only who has accepted can belong to a workspace: run this command again then"
                .to_owned(),
        );
    };
    if let Some(member) = members.iter().find(|member| member.user == *user) {
        return Todo::Stands {
            id: Some(user.to_string()),
            how: format!("is in the workspace as {}", member.role),
        };
    }
    Todo::Send(Write::AddMember {
        workspace: newcomer.workspace.clone(),
        user: user.clone(),
        role: MEMBER_ROLE.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::admin::choice::known_keys;
    use crate::domain::census::ToldBy;
    use crate::domain::listing::ListedKey;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ada() -> Newcomer {
        Newcomer {
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
            maker_email: None,
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

    const NOTHING: Standing<'_> = Standing {
        users: &[],
        keys: &[],
        invites: None,
        members: None,
        last_sent: None,
    };

    #[track_caller]
    fn check(service: Service, standing: Standing<'_>, expected: &[&str]) {
        let told: Vec<String> = plan(&ada(), service, standing, at("2026-11-25T12:00:00Z"))
            .into_iter()
            .map(|step| {
                let todo = match step.todo {
                    Todo::Send(write) => format!("send {}", write.action()),
                    Todo::Stands { id, .. } => format!("stands {}", id.unwrap_or_default()),
                    Todo::ByHand(_) => "by hand".to_owned(),
                };
                format!("{}: {todo}", step.part.word())
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn the_key_comes_first_and_the_mail_last() {
        check(
            Service::Guide,
            NOTHING,
            &["key: send keys.create", "invite: send users.invite"],
        );
    }

    #[test]
    fn what_stands_is_not_made_twice() {
        let now = at("2026-11-25T12:00:00Z");
        let keys = |workspace, status| known_keys(vec![key(workspace, status)], ToldBy::List, now);
        let users = [user()];
        let all = Standing {
            users: &users,
            keys: &keys("workspace_1", "active"),
            ..NOTHING
        };
        check(
            Service::Guide,
            all,
            &["key: stands apikey_1", "invite: stands user_1"],
        );
        for other in [
            keys("workspace_2", "active"),
            keys("workspace_1", "revoked"),
        ] {
            let standing = Standing {
                keys: &other,
                ..all
            };
            check(
                Service::Guide,
                standing,
                &["key: send keys.create", "invite: stands user_1"],
            );
        }
    }

    #[test]
    fn an_invitation_that_was_sent_from_here_counts_until_it_ends() {
        let sent = |when: &str| Standing {
            last_sent: Some(at(when)),
            ..NOTHING
        };
        let again = ["key: send keys.create", "invite: send users.invite"];
        check(
            Service::Guide,
            sent("2026-11-18T12:00:01Z"),
            &["key: send keys.create", "invite: stands "],
        );
        check(Service::Guide, sent("2026-11-18T12:00:00Z"), &again);
    }

    #[test]
    fn the_real_service_invites_and_lets_people_into_workspaces() {
        let invite = |status: &str, end: &str| ListedInvite {
            id: "invite_1".into(),
            email: "ADA@example.com".to_owned(),
            role: "developer".to_owned(),
            status: status.to_owned(),
            invited_at: None,
            expires_at: Some(at(end)),
        };
        let nobody = Standing {
            invites: Some(&[]),
            members: Some(&[]),
            // The list knows better.
            last_sent: Some(at("2026-11-25T11:00:00Z")),
            ..NOTHING
        };
        check(
            Service::Real,
            nobody,
            &[
                "key: by hand",
                "invite: send users.invite",
                "membership: by hand",
            ],
        );
        let open = [invite("pending", "2026-12-01T00:00:00Z")];
        let standing = Standing {
            invites: Some(&open),
            ..nobody
        };
        check(
            Service::Real,
            standing,
            &[
                "key: by hand",
                "invite: stands invite_1",
                "membership: by hand",
            ],
        );
        let over = [
            invite("pending", "2026-11-25T12:00:00Z"),
            invite("expired", "2027-01-01T00:00:00Z"),
        ];
        let standing = Standing {
            invites: Some(&over),
            ..nobody
        };
        check(
            Service::Real,
            standing,
            &[
                "key: by hand",
                "invite: send users.invite",
                "membership: by hand",
            ],
        );
        let users = [user()];
        let standing = Standing {
            users: &users,
            ..nobody
        };
        check(
            Service::Real,
            standing,
            &[
                "key: by hand",
                "invite: stands user_1",
                "membership: send workspaces.members.add",
            ],
        );
        let members = [ListedMember {
            user: "user_1".into(),
            role: "workspace_user".to_owned(),
        }];
        let standing = Standing {
            members: Some(&members),
            ..standing
        };
        check(
            Service::Real,
            standing,
            &[
                "key: by hand",
                "invite: stands user_1",
                "membership: stands user_1",
            ],
        );
    }
}
