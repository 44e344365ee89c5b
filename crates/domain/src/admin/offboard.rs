//! Plans offboarding: which API keys a user has, and which changes remove their access, in order.

use crate::admin::change::{AdminChange, Revocation};
use crate::admin::selection::{FindError, KeyDetails, find_user, is_address};
use crate::admin::server::{Capability, ServerKind, Unsupported};
use crate::org::listing::{ListedInvite, ListedUser};
use crate::units::ids::{ActorId, ApiKeyId};

/// A user to offboard, who may already be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartingUser {
    /// As in the creator field of keys.
    pub id: ActorId,
    pub email: Option<String>,
    /// `None` if already removed.
    pub role: Option<String>,
}

/// Users, keys and invitations that exist now.
#[derive(Debug, Clone, Copy)]
pub struct CurrentAccess<'a> {
    pub users: &'a [ListedUser],
    pub keys: &'a [KeyDetails],
    /// All invitations; empty if the dialect cannot list them.
    pub invites: &'a [ListedInvite],
}

/// Options for offboarding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffboardOptions {
    pub revocation: Revocation,
    pub keep: Vec<ApiKeyId>,
}

/// The planned changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffboardPlan {
    pub user: DepartingUser,
    /// Keys to revoke, in list order.
    pub keys: Vec<KeyDetails>,
    pub kept: Vec<ApiKeyId>,
    /// In order: keys, invitations, the user.
    pub steps: Vec<AdminChange>,
}

/// Why there is no plan. No request was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffboardError {
    #[error("{source}{}", hint(source))]
    Find {
        #[from]
        source: FindError,
    },
    /// A key to keep belongs to someone else.
    #[error("user `{user}` did not create key `{key}`, passed to `--keep-key`{}", others(.theirs))]
    KeyOfOther {
        key: ApiKeyId,
        user: ActorId,
        theirs: Vec<ApiKeyId>,
    },
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The API cannot remove users with this role.
    #[error(
        "the API cannot remove user `{user}` with role `{role}`; change the role to `user` in the Console first, or \
         revoke only their keys with `spendwatch keys revoke --user {user}`"
    )]
    ProtectedRole { user: ActorId, role: String },
}

/// Finds a user by id or email address. Removed users are found by their keys, or by any id.
pub fn find_departing_user(
    given: &str,
    access: CurrentAccess<'_>,
) -> Result<DepartingUser, FindError> {
    let unknown = match find_user(given, access.users) {
        Ok(user) => {
            return Ok(DepartingUser {
                id: user.id.clone(),
                email: user.email.clone(),
                role: Some(user.role.clone()),
            });
        }
        Err(error @ FindError::Ambiguous { .. }) => return Err(error),
        Err(unknown) => unknown,
    };
    let is_theirs = |key: &&KeyDetails| {
        key.creator().is_some_and(|id| id.as_str() == given)
            || is_address(key.listed.creator_email.as_deref(), given)
    };
    let removed_user = |id: ActorId, email: Option<String>| DepartingUser {
        id,
        email,
        role: None,
    };
    if let Some(key) = access.keys.iter().find(is_theirs)
        && let Some(id) = key.creator()
    {
        return Ok(removed_user(id.clone(), key.listed.creator_email.clone()));
    }
    // An unknown id is accepted: the user may have been removed completely.
    if given.contains('@') {
        Err(unknown)
    } else {
        Ok(removed_user(ActorId::new(given), None))
    }
}

/// Plans the changes that remove all access of a user.
pub fn plan(
    user: DepartingUser,
    server: ServerKind,
    access: CurrentAccess<'_>,
    options: &OffboardOptions,
) -> Result<OffboardPlan, OffboardError> {
    if !options.keep.is_empty() {
        server.check(Capability::KeepKey)?;
    }
    if let Some(role) = user.role.as_deref().filter(|role| !server.can_remove(role)) {
        return Err(OffboardError::ProtectedRole {
            user: user.id,
            role: role.to_owned(),
        });
    }
    let is_creator = |key: &&KeyDetails| key.creator() == Some(&user.id);
    let theirs: Vec<&KeyDetails> = access.keys.iter().filter(is_creator).collect();
    for key in &options.keep {
        if !theirs.iter().any(|known| known.listed.id == *key) {
            return Err(OffboardError::KeyOfOther {
                key: key.clone(),
                user: user.id.clone(),
                theirs: theirs.iter().map(|known| known.listed.id.clone()).collect(),
            });
        }
    }
    let keys: Vec<KeyDetails> = theirs
        .into_iter()
        .filter(|key| !key.is_revoked(options.revocation) && !options.keep.contains(&key.listed.id))
        .cloned()
        .collect();
    let mut steps: Vec<AdminChange> = keys
        .iter()
        .map(|key| key.revocation(options.revocation))
        .collect();
    steps.extend(open_invites(&user, access.invites));
    if user.role.is_some() {
        steps.push(AdminChange::RemoveUser {
            user: user.id.clone(),
            email: user.email.clone(),
        });
    }
    Ok(OffboardPlan {
        user,
        keys,
        kept: options.keep.clone(),
        steps,
    })
}

/// Open invitations would let the user join again.
fn open_invites(user: &DepartingUser, invites: &[ListedInvite]) -> Vec<AdminChange> {
    let Some(email) = user.email.as_deref() else {
        return Vec::new();
    };
    let open = invites
        .iter()
        .filter(|invite| invite.status == "pending" && is_address(Some(&invite.email), email));
    let removed = open.map(|invite| AdminChange::RemoveInvite {
        id: invite.id.clone(),
        email: invite.email.clone(),
    });
    removed.collect()
}

/// Returns what access remains after offboarding, as text; empty if none.
pub fn remaining_access(
    plan: &OffboardPlan,
    revocation: Revocation,
    access: CurrentAccess<'_>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let is_creator = |key: &&KeyDetails| key.creator() == Some(&plan.user.id);
    let open = access
        .keys
        .iter()
        .filter(is_creator)
        .filter(|key| !key.is_revoked(revocation) && !plan.kept.contains(&key.listed.id));
    lines.extend(open.map(|key| format!("key `{}` is still {}", key.listed.id, state(key))));
    if access.users.iter().any(|user| user.id == plan.user.id) {
        lines.push(format!(
            "user `{}` is still in the organization",
            plan.user.id
        ));
    }
    if !open_invites(&plan.user, access.invites).is_empty() {
        lines.push("their invitation is still pending".to_owned());
    }
    lines
}

fn state(key: &KeyDetails) -> &str {
    key.listed.status.as_deref().unwrap_or("active")
}

fn hint(error: &FindError) -> &'static str {
    match error {
        FindError::NotFound { .. } => "; for a removed user, use the id, for example `user_01Ab`",
        FindError::Ambiguous { .. } => "",
    }
}

fn others(theirs: &[ApiKeyId]) -> String {
    if theirs.is_empty() {
        return "; they created no keys".to_owned();
    }
    let ids: Vec<&str> = theirs.iter().map(ApiKeyId::as_str).collect();
    format!("; their keys are {}", ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::selection::key_details;
    use crate::org::inventory::LastUseSource;
    use crate::org::listing::{KeyCreator, ListedKey};

    fn key(id: &str, maker: &str, status: &str) -> ListedKey {
        ListedKey {
            id: id.into(),
            name: id.to_owned(),
            status: Some(status.to_owned()),
            workspace: None,
            created_by: Some(KeyCreator::User(maker.into())),
            created_at: None,
            expires_at: None,
            last_used_at: None,
            hint: None,
            creator_email: (maker == "user_2").then(|| "removed_user@example.com".to_owned()),
        }
    }

    fn keys() -> Vec<KeyDetails> {
        let listed = vec![
            key("apikey_1", "user_1", "active"),
            key("apikey_2", "user_2", "active"),
            key("apikey_3", "user_1", "inactive"),
            key("apikey_4", "user_1", "new word"),
        ];
        key_details(
            listed,
            LastUseSource::List,
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
        given: &str,
        server: ServerKind,
        role: &str,
        options: &OffboardOptions,
    ) -> Result<Vec<String>, String> {
        let (users, keys) = ([user(role)], keys());
        let access = CurrentAccess {
            users: &users,
            keys: &keys,
            invites: &[],
        };
        let user = find_departing_user(given, access)
            .map_err(|error| OffboardError::from(error).to_string())?;
        let plan = plan(user, server, access, options).map_err(|error| error.to_string())?;
        let lines = plan.steps.iter();
        Ok(lines
            .map(|step| format!("{} {}", step.action(), step.target()))
            .collect())
    }

    fn options(revocation: Revocation, keep: &[&str]) -> OffboardOptions {
        OffboardOptions {
            revocation,
            keep: keep.iter().map(|id| ApiKeyId::new(*id)).collect(),
        }
    }

    #[test]
    fn keys_are_revoked_before_the_user_is_removed() {
        let deleted = options(Revocation::Deleted, &[]);
        let all = [
            "keys.revoke apikey_1",
            "keys.revoke apikey_4",
            "users.remove user_1",
        ];
        assert_eq!(
            planned("ADA@example.com", ServerKind::Guide, "owner", &deleted).unwrap(),
            all
        );
        assert_eq!(
            planned("user_1", ServerKind::Guide, "developer", &deleted).unwrap(),
            all
        );
        let archived = options(Revocation::Archived, &[]);
        let final_too = planned("user_1", ServerKind::Real, "user", &archived).unwrap();
        assert_eq!(final_too.len(), 4, "inactive keys are archived too");
    }

    #[test]
    fn removed_users_are_found_by_their_keys_or_id() {
        let deleted = options(Revocation::Deleted, &[]);
        let one = ["keys.revoke apikey_2"];
        assert_eq!(
            planned(
                "removed_user@example.com",
                ServerKind::Guide,
                "owner",
                &deleted
            )
            .unwrap(),
            one
        );
        assert_eq!(
            planned("user_2", ServerKind::Guide, "owner", &deleted).unwrap(),
            one
        );
        assert!(
            planned("user_9", ServerKind::Guide, "owner", &deleted)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            planned("nobody@example.com", ServerKind::Guide, "owner", &deleted).unwrap_err(),
            "no user `nobody@example.com`; for a removed user, use the id, for example `user_01Ab`"
        );
    }

    #[test]
    fn keys_can_be_kept_where_supported() {
        let keep = options(Revocation::Inactive, &["apikey_4"]);
        let lines = planned("user_1", ServerKind::Real, "user", &keep).unwrap();
        assert_eq!(lines, ["keys.revoke apikey_1", "users.remove user_1"]);
        let error = planned("user_1", ServerKind::Guide, "owner", &keep).unwrap_err();
        assert!(
            error.starts_with("`guide` servers revoke all keys of a removed user"),
            "{error}"
        );
        let others = options(Revocation::Inactive, &["apikey_2"]);
        assert_eq!(
            planned("user_1", ServerKind::Real, "user", &others).unwrap_err(),
            "user `user_1` did not create key `apikey_2`, passed to `--keep-key`; their keys are apikey_1, apikey_3, apikey_4"
        );
    }

    #[test]
    fn admins_of_the_real_service_are_rejected() {
        let error = planned(
            "user_1",
            ServerKind::Real,
            "admin",
            &options(Revocation::Inactive, &[]),
        )
        .unwrap_err();
        assert!(error.contains("with role `admin`"), "{error}");
    }
}
