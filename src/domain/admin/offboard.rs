//! Offboarding: which keys a person leaves behind, and what ends their access, in which order.

use crate::domain::admin::choice::{FindError, KnownKey, find_user, is_address};
use crate::domain::admin::service::{Deed, Impossible, Service};
use crate::domain::admin::write::{Manner, Write};
use crate::domain::ids::{ActorId, ApiKeyId};
use crate::domain::listing::{ListedInvite, ListedUser};

/// Who leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// As keys name who made them.
    pub id: ActorId,
    /// Where the service tells it.
    pub email: Option<String>,
    /// The role; `None` for who is gone already.
    pub role: Option<String>,
}

/// What the service lists.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub users: &'a [ListedUser],
    pub keys: &'a [KnownKey],
    /// All invitations; none where the service does not list them.
    pub invites: &'a [ListedInvite],
}

/// How it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How final it is that keys are revoked.
    pub manner: Manner,
    pub keep: Vec<ApiKeyId>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub leaver: Leaver,
    /// Their keys that open something, to be revoked, in the service's order.
    pub keys: Vec<KnownKey>,
    /// Their keys that live on.
    pub kept: Vec<ApiKeyId>,
    /// In this order: keys, invitations, the person.
    pub steps: Vec<Write>,
}

/// Why there is no plan. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffboardError {
    /// Nobody is meant, or more than one.
    #[error("{source}{}", hint(source))]
    Find {
        #[from]
        source: FindError,
    },
    /// A key is to live on that is not theirs.
    #[error("`--keep-key {key}`: user `{user}` has made no such key{}", others(.theirs))]
    NotTheirs {
        key: ApiKeyId,
        user: ActorId,
        /// The keys that they have made.
        theirs: Vec<ApiKeyId>,
    },
    /// The service cannot do it.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// The service removes nobody of this role.
    #[error(
        "user `{user}` is {role}, and the service removes no {role} by its API; make them `user` in the Console first, or \
         revoke their keys alone with `spendwatch keys revoke --user {user}`"
    )]
    Above { user: ActorId, role: String },
}

/// A person by id or address. Who is gone already is known by their keys, and by their id alone.
pub fn leaver(asked: &str, standing: Standing<'_>) -> Result<Leaver, FindError> {
    let unknown = match find_user(asked, standing.users) {
        Ok(user) => {
            return Ok(Leaver {
                id: user.id.clone(),
                email: user.email.clone(),
                role: Some(user.role.clone()),
            });
        }
        Err(error @ FindError::Several { .. }) => return Err(error),
        Err(unknown) => unknown,
    };
    let is_theirs = |key: &&KnownKey| {
        key.maker().is_some_and(|id| id.as_str() == asked)
            || is_address(key.listed.maker_email.as_deref(), asked)
    };
    let gone = |id: ActorId, email: Option<String>| Leaver {
        id,
        email,
        role: None,
    };
    let made = standing.keys.iter().find(is_theirs);
    if let Some(key) = made
        && let Some(id) = key.maker()
    {
        return Ok(gone(id.clone(), key.listed.maker_email.clone()));
    }
    // An id that nothing names any more: that they are gone is what is wanted.
    if asked.contains('@') {
        Err(unknown)
    } else {
        Ok(gone(ActorId::new(asked), None))
    }
}

/// What ends their access.
pub fn plan(
    leaver: Leaver,
    service: Service,
    standing: Standing<'_>,
    wish: &Wish,
) -> Result<Plan, OffboardError> {
    if !wish.keep.is_empty() {
        service.check(Deed::KeepKey)?;
    }
    if let Some(role) = leaver
        .role
        .as_deref()
        .filter(|role| !service.can_remove(role))
    {
        return Err(OffboardError::Above {
            user: leaver.id,
            role: role.to_owned(),
        });
    }
    let made = |key: &&KnownKey| key.maker() == Some(&leaver.id);
    let theirs: Vec<&KnownKey> = standing.keys.iter().filter(made).collect();
    for key in &wish.keep {
        if !theirs.iter().any(|known| known.listed.id == *key) {
            return Err(OffboardError::NotTheirs {
                key: key.clone(),
                user: leaver.id.clone(),
                theirs: theirs.iter().map(|known| known.listed.id.clone()).collect(),
            });
        }
    }
    let keys: Vec<KnownKey> = theirs
        .into_iter()
        .filter(|key| !key.is_revoked(wish.manner) && !wish.keep.contains(&key.listed.id))
        .cloned()
        .collect();
    let mut steps: Vec<Write> = keys.iter().map(|key| key.revoked(wish.manner)).collect();
    steps.extend(open_invites(&leaver, standing.invites));
    if leaver.role.is_some() {
        steps.push(Write::RemoveUser {
            user: leaver.id.clone(),
            email: leaver.email.clone(),
        });
    }
    Ok(Plan {
        leaver,
        keys,
        kept: wish.keep.clone(),
        steps,
    })
}

/// An invitation that is still open would let them in again.
fn open_invites(leaver: &Leaver, invites: &[ListedInvite]) -> Vec<Write> {
    let Some(email) = leaver.email.as_deref() else {
        return Vec::new();
    };
    let open = invites
        .iter()
        .filter(|invite| invite.status == "pending" && is_address(Some(&invite.email), email));
    let removed = open.map(|invite| Write::RemoveInvite {
        id: invite.id.clone(),
        email: invite.email.clone(),
    });
    removed.collect()
}

/// What still stands after all, in words; empty where nothing does.
pub fn left_behind(plan: &Plan, manner: Manner, standing: Standing<'_>) -> Vec<String> {
    let mut told = Vec::new();
    let made = |key: &&KnownKey| key.maker() == Some(&plan.leaver.id);
    let open = standing
        .keys
        .iter()
        .filter(made)
        .filter(|key| !key.is_revoked(manner) && !plan.kept.contains(&key.listed.id));
    told.extend(open.map(|key| format!("key `{}` is {}", key.listed.id, state(key))));
    if standing.users.iter().any(|user| user.id == plan.leaver.id) {
        told.push(format!("user `{}` is in the organization", plan.leaver.id));
    }
    if !open_invites(&plan.leaver, standing.invites).is_empty() {
        told.push("an invitation to them is open".to_owned());
    }
    told
}

fn state(key: &KnownKey) -> &str {
    key.listed.status.as_deref().unwrap_or("active")
}

fn hint(error: &FindError) -> &'static str {
    match error {
        FindError::None { .. } => "; who is gone already is named by their id, like `user_01Ab`",
        FindError::Several { .. } => "",
    }
}

fn others(theirs: &[ApiKeyId]) -> String {
    if theirs.is_empty() {
        return "; they have made none".to_owned();
    }
    let ids: Vec<&str> = theirs.iter().map(ApiKeyId::as_str).collect();
    format!("; theirs are {}", ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::admin::choice::known_keys;
    use crate::domain::census::ToldBy;
    use crate::domain::listing::{ListedKey, Maker};

    fn key(id: &str, maker: &str, status: &str) -> ListedKey {
        ListedKey {
            id: id.into(),
            name: id.to_owned(),
            status: Some(status.to_owned()),
            workspace: None,
            created_by: Some(Maker::Person(maker.into())),
            created_at: None,
            expires_at: None,
            last_used_at: None,
            hint: None,
            maker_email: (maker == "user_2").then(|| "gone@example.com".to_owned()),
        }
    }

    fn keys() -> Vec<KnownKey> {
        let listed = vec![
            key("apikey_1", "user_1", "active"),
            key("apikey_2", "user_2", "active"),
            key("apikey_3", "user_1", "inactive"),
            key("apikey_4", "user_1", "new word"),
        ];
        known_keys(
            listed,
            ToldBy::List,
            "2026-11-25T00:00:00Z".parse().unwrap(),
        )
    }

    fn user(role: &str) -> ListedUser {
        ListedUser {
            id: "user_1".into(),
            email: Some("ada@example.com".to_owned()),
            name: "Ada".to_owned(),
            role: role.to_owned(),
            status: None,
            added_at: None,
            last_active_at: None,
        }
    }

    fn planned(
        asked: &str,
        service: Service,
        role: &str,
        wish: &Wish,
    ) -> Result<Vec<String>, String> {
        let (users, keys) = ([user(role)], keys());
        let standing = Standing {
            users: &users,
            keys: &keys,
            invites: &[],
        };
        let leaver =
            leaver(asked, standing).map_err(|error| OffboardError::from(error).to_string())?;
        let plan = plan(leaver, service, standing, wish).map_err(|error| error.to_string())?;
        let told = plan.steps.iter();
        Ok(told
            .map(|step| format!("{} {}", step.action(), step.target()))
            .collect())
    }

    fn wish(manner: Manner, keep: &[&str]) -> Wish {
        Wish {
            manner,
            keep: keep.iter().map(|id| ApiKeyId::new(*id)).collect(),
        }
    }

    #[test]
    fn keys_are_revoked_before_the_person_is_removed() {
        let deleted = wish(Manner::Deleted, &[]);
        let all = [
            "keys.revoke apikey_1",
            "keys.revoke apikey_4",
            "users.remove user_1",
        ];
        assert_eq!(
            planned("ADA@example.com", Service::Guide, "owner", &deleted).unwrap(),
            all
        );
        assert_eq!(
            planned("user_1", Service::Guide, "developer", &deleted).unwrap(),
            all
        );
        let archived = wish(Manner::Archived, &[]);
        let final_too = planned("user_1", Service::Real, "user", &archived).unwrap();
        assert_eq!(final_too.len(), 4, "what is inactive is archived too");
    }

    #[test]
    fn who_is_gone_is_known_by_their_keys_or_by_their_id() {
        let deleted = wish(Manner::Deleted, &[]);
        let one = ["keys.revoke apikey_2"];
        assert_eq!(
            planned("gone@example.com", Service::Guide, "owner", &deleted).unwrap(),
            one
        );
        assert_eq!(
            planned("user_2", Service::Guide, "owner", &deleted).unwrap(),
            one
        );
        assert!(
            planned("user_9", Service::Guide, "owner", &deleted)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            planned("nobody@example.com", Service::Guide, "owner", &deleted).unwrap_err(),
            "there is no user `nobody@example.com`; who is gone already is named by their id, like `user_01Ab`"
        );
    }

    #[test]
    fn keys_live_on_where_the_service_lets_them() {
        let keep = wish(Manner::Inactive, &["apikey_4"]);
        let told = planned("user_1", Service::Real, "user", &keep).unwrap();
        assert_eq!(told, ["keys.revoke apikey_1", "users.remove user_1"]);
        let error = planned("user_1", Service::Guide, "owner", &keep).unwrap_err();
        assert!(
            error.starts_with("this service revokes all keys of a person who is removed"),
            "{error}"
        );
        let others = wish(Manner::Inactive, &["apikey_2"]);
        assert_eq!(
            planned("user_1", Service::Real, "user", &others).unwrap_err(),
            "`--keep-key apikey_2`: user `user_1` has made no such key; theirs are apikey_1, apikey_3, apikey_4"
        );
    }

    #[test]
    fn an_admin_of_the_real_service_is_refused_before_anything_is_sent() {
        let error = planned(
            "user_1",
            Service::Real,
            "admin",
            &wish(Manner::Inactive, &[]),
        )
        .unwrap_err();
        assert!(error.contains("removes no admin by its API"), "{error}");
    }
}
