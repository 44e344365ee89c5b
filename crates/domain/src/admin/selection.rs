//! Selects API keys and users by workspace, owner, status and idle time.

use jiff::{SignedDuration, Timestamp};

use crate::admin::change::{AdminChange, Revocation};
use crate::org::directory::Workspace;
use crate::org::inventory::{self, LastUseSource};
use crate::org::listing::{KeyCreator, ListedKey, ListedUser};
use crate::units::ids::{ActorId, ApiKeyId, WorkspaceId};

/// An API key and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetails {
    pub listed: ListedKey,
    /// Neither revoked, nor archived, nor expired.
    pub is_active: bool,
    /// Time of its last use, or of its creation if it was never used; `None` if unknown.
    pub idle_since: Option<Timestamp>,
}

/// A user and their activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDetails {
    pub listed: ListedUser,
    /// Time of their last activity; `None` if unknown.
    pub idle_since: Option<Timestamp>,
}

/// Selects API keys; `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFilter {
    /// The inner `None` matches keys of no listed workspace, that is, of the default workspace.
    pub workspace: Option<Option<WorkspaceId>>,
    pub user: Option<ActorId>,
    /// Status word of the API; `active` matches usable keys, `expired` those whose time is over.
    pub status: Option<String>,
    /// Not used for at least this long.
    pub idle: Option<SignedDuration>,
    /// Usable, and expires within this time.
    pub expiring: Option<SignedDuration>,
}

/// Selects users; `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFilter {
    pub role: Option<String>,
    pub status: Option<String>,
    /// No activity for at least this long.
    pub idle: Option<SignedDuration>,
}

/// Status word of usable keys.
const ACTIVE: &str = "active";
/// Status word of expired keys.
const EXPIRED: &str = "expired";

/// Adds status and last use to listed keys, keeping the order.
pub fn key_details(
    listed: Vec<ListedKey>,
    source: LastUseSource<'_>,
    now: Timestamp,
) -> Vec<KeyDetails> {
    let source = source.for_keys(&listed);
    let known = listed.into_iter().map(|listed| KeyDetails {
        is_active: inventory::is_usable(&listed, now),
        idle_since: inventory::key_idle_since(&listed, source, now),
        listed,
    });
    known.collect()
}

/// Adds the last activity to listed users, keeping the order.
pub fn user_details(
    listed: Vec<ListedUser>,
    source: LastUseSource<'_>,
    now: Timestamp,
) -> Vec<UserDetails> {
    let source = source.for_users(&listed);
    let known = listed.into_iter().map(|listed| UserDetails {
        idle_since: inventory::user_idle_since(&listed, source, now),
        listed,
    });
    known.collect()
}

impl KeyDetails {
    /// Returns the status word of the API, or `active` or `expired` if there is none.
    pub fn status(&self, now: Timestamp) -> &str {
        let has_ended = self.listed.expires_at.is_some_and(|end| end <= now);
        match self.listed.status.as_deref() {
            Some(ACTIVE) | None if has_ended => EXPIRED,
            Some(word) => word,
            None => ACTIVE,
        }
    }

    /// Returns the user who created the key.
    pub fn creator(&self) -> Option<&ActorId> {
        match &self.listed.created_by {
            Some(KeyCreator::User(id)) => Some(id),
            Some(KeyCreator::Other(_)) | None => None,
        }
    }

    /// Returns the change that revokes the key.
    pub fn revocation(&self, revocation: Revocation) -> AdminChange {
        AdminChange::RevokeKey {
            key: self.listed.id.clone(),
            revocation,
        }
    }

    /// Returns whether there is nothing left to revoke. An inactive key can still be archived.
    pub fn is_revoked(&self, revocation: Revocation) -> bool {
        match revocation {
            Revocation::Archived => self.listed.status.as_deref() == Some(revocation.as_str()),
            Revocation::Inactive | Revocation::Deleted => !self.is_active,
        }
    }
}

impl KeyFilter {
    /// Returns whether a key matches. A key with unknown use is not idle.
    pub fn matches(&self, key: &KeyDetails, now: Timestamp) -> bool {
        let listed = &key.listed;
        let is_in_workspace = |given: &Option<WorkspaceId>| listed.workspace == *given;
        let is_idle = |least: SignedDuration| is_idle(key.idle_since, least, now);
        let is_expiring = |most: SignedDuration| {
            let ends = |end: Timestamp| end.duration_since(now) <= most;
            key.is_active && listed.expires_at.is_some_and(ends)
        };
        self.workspace.as_ref().is_none_or(is_in_workspace)
            && self
                .user
                .as_ref()
                .is_none_or(|id| key.creator() == Some(id))
            && self
                .status
                .as_deref()
                .is_none_or(|word| key.status(now) == word)
            && self.idle.is_none_or(is_idle)
            && self.expiring.is_none_or(is_expiring)
    }
}

impl UserFilter {
    /// Returns whether a user matches. A user with unknown activity is not idle.
    pub fn matches(&self, user: &UserDetails, now: Timestamp) -> bool {
        let is = |given: &Option<String>, word: Option<&str>| {
            given.as_deref().is_none_or(|given| word == Some(given))
        };
        is(&self.role, Some(&user.listed.role))
            && is(&self.status, user.listed.status.as_deref())
            && self
                .idle
                .is_none_or(|least| is_idle(user.idle_since, least, now))
    }
}

fn is_idle(since: Option<Timestamp>, least: SignedDuration, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= least)
}

/// Why a name does not identify exactly one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No object has this id or name.
    #[error("no {kind} `{given}`{}", suggestion(.near))]
    NotFound {
        /// `workspace`, `user`, `key`.
        kind: &'static str,
        given: String,
        /// Similar names; empty if there are too many.
        near: Vec<String>,
    },
    /// Several objects have this name.
    #[error("`{given}` matches {} {kind}s; use an id: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// `workspace`, `user`, `key`.
        kind: &'static str,
        given: String,
        ids: Vec<String>,
    },
}

/// Returns the object with this id, else the only one with this name.
pub fn find<'a, T>(
    kind: &'static str,
    given: &str,
    all: &'a [T],
    has_id: impl Fn(&T) -> &str,
    is_named: impl Fn(&T) -> bool,
) -> Result<&'a T, FindError> {
    if let Some(found) = all.iter().find(|one| has_id(one) == given) {
        return Ok(found);
    }
    let named: Vec<&T> = all.iter().filter(|one| is_named(one)).collect();
    match named.as_slice() {
        [only] => Ok(only),
        [] => Err(FindError::NotFound {
            kind,
            given: given.to_owned(),
            near: Vec::new(),
        }),
        several => Err(FindError::Ambiguous {
            kind,
            given: given.to_owned(),
            ids: several.iter().map(|one| has_id(one).to_owned()).collect(),
        }),
    }
}

/// Returns the user with this id, else the only one with this email address, ignoring case.
pub fn find_user<'a>(given: &str, users: &'a [ListedUser]) -> Result<&'a ListedUser, FindError> {
    let is_named = |user: &ListedUser| is_address(user.email.as_deref(), given);
    find("user", given, users, |user| user.id.as_str(), is_named)
}

/// Returns the workspace with this id, else the only one with this name.
pub fn find_workspace<'a>(given: &str, all: &'a [Workspace]) -> Result<&'a Workspace, FindError> {
    let is_named = |one: &Workspace| one.name == given;
    let found = find("workspace", given, all, |one| one.id.as_str(), is_named);
    match found {
        Err(FindError::NotFound { kind, given, .. }) => {
            // Names are case-sensitive; a name that differs only in case is suggested.
            let is_near = |one: &&Workspace| one.name.to_lowercase() == given.to_lowercase();
            let near = all.iter().filter(is_near).map(|one| one.name.clone());
            Err(FindError::NotFound {
                kind,
                near: near.collect(),
                given,
            })
        }
        found => found,
    }
}

fn suggestion(near: &[String]) -> String {
    let first = near.first();
    let suggestion = first.map(|name| format!("; did you mean `{name}`?"));
    suggestion.unwrap_or_default()
}

/// Returns whether an email address equals `given`, ignoring case.
pub fn is_address(email: Option<&str>, given: &str) -> bool {
    email.is_some_and(|email| email.to_lowercase() == given.to_lowercase())
}

/// Returns the key with this id.
pub fn find_key<'a>(given: &ApiKeyId, keys: &'a [KeyDetails]) -> Option<&'a KeyDetails> {
    keys.iter().find(|key| key.listed.id == *given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-25T12:00:00Z";

    fn key(
        id: &str,
        status: Option<&str>,
        last_used_at: Option<&str>,
        expires_at: Option<&str>,
    ) -> ListedKey {
        let time = |text: &str| text.parse().unwrap();
        ListedKey {
            id: id.into(),
            name: id.to_uppercase(),
            status: status.map(str::to_owned),
            workspace: Some("workspace_1".into()),
            created_by: Some(KeyCreator::User("user_1".into())),
            created_at: Some(time("2026-01-01T00:00:00Z")),
            expires_at: expires_at.map(time),
            last_used_at: last_used_at.map(time),
            hint: None,
            creator_email: None,
        }
    }

    #[track_caller]
    fn check(filter: &KeyFilter, expected: &[&str]) {
        let now = NOW.parse().unwrap();
        let keys = vec![
            key("fresh", Some("active"), Some("2026-11-24T00:00:00Z"), None),
            key("never", Some("active"), None, Some("2026-12-01T00:00:00Z")),
            key(
                "old",
                None,
                Some("2026-02-01T00:00:00Z"),
                Some("2027-12-01T00:00:00Z"),
            ),
            key(
                "ended",
                Some("active"),
                Some("2026-11-24T00:00:00Z"),
                Some("2026-11-25T00:00:00Z"),
            ),
            key("off", Some("inactive"), None, Some("2026-12-01T00:00:00Z")),
        ];
        let known = key_details(keys, LastUseSource::List, now);
        let found: Vec<&str> = known
            .iter()
            .filter(|key| filter.matches(key, now))
            .map(|key| key.listed.id.as_str())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn key_filters_select_keys() {
        let days = |n: i64| Some(SignedDuration::from_hours(24 * n));
        check(
            &KeyFilter::default(),
            &["fresh", "never", "old", "ended", "off"],
        );
        let idle = KeyFilter {
            idle: days(90),
            ..KeyFilter::default()
        };
        check(&idle, &["never", "old", "off"]);
        let idle_and_active = KeyFilter {
            status: Some("active".to_owned()),
            ..idle
        };
        check(&idle_and_active, &["never", "old"]);
        let expiring = KeyFilter {
            expiring: days(30),
            ..KeyFilter::default()
        };
        check(&expiring, &["never"]);
        let expired = KeyFilter {
            status: Some("expired".to_owned()),
            ..KeyFilter::default()
        };
        check(&expired, &["ended"]);
        let elsewhere = KeyFilter {
            workspace: Some(None),
            ..KeyFilter::default()
        };
        check(&elsewhere, &[]);
        let others = KeyFilter {
            user: Some("user_2".into()),
            ..KeyFilter::default()
        };
        check(&others, &[]);
    }

    #[test]
    fn objects_are_found_by_id_or_unique_name() {
        let user = |id: &str, email: &str| ListedUser {
            id: id.into(),
            email: Some(email.to_owned()),
            name: id.to_owned(),
            role: "developer".to_owned(),
            status: None,
            added_at: None,
            last_active_at: None,
        };
        let users = [
            user("user_1", "Ada@example.com"),
            user("user_2", "b@example.com"),
            user("user_3", "B@example.com"),
        ];
        assert_eq!(
            find_user("ada@EXAMPLE.com", &users).unwrap().id.as_str(),
            "user_1"
        );
        assert_eq!(find_user("user_3", &users).unwrap().id.as_str(), "user_3");
        let error = |given: &str| find_user(given, &users).unwrap_err().to_string();
        assert_eq!(error("c@example.com"), "no user `c@example.com`");
        assert_eq!(
            error("b@example.com"),
            "`b@example.com` matches 2 users; use an id: user_2, user_3"
        );
    }
}
