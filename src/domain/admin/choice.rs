//! Which keys and people are meant: by where they are, who they are, and since when nobody used them.

use jiff::{SignedDuration, Timestamp};

use crate::domain::admin::write::{Manner, Write};
use crate::domain::census::{self, ToldBy};
use crate::domain::directory::Workspace;
use crate::domain::ids::{ActorId, ApiKeyId, WorkspaceId};
use crate::domain::listing::{ListedKey, ListedUser, Maker};

/// A key, and what is known of its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// As the service lists it.
    pub listed: ListedKey,
    /// It opens something: neither revoked, nor archived, nor expired.
    pub is_active: bool,
    /// Since then it was not used; `None` where that is not known.
    pub idle_since: Option<Timestamp>,
}

/// A person, and what is known of what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUser {
    /// As the service lists them.
    pub listed: ListedUser,
    /// Since then they did nothing; `None` where that is not known.
    pub idle_since: Option<Timestamp>,
}

/// Which keys are meant. What is `None` does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFilter {
    /// Where it belongs. The inner `None` is what belongs to no listed workspace: the default one.
    pub workspace: Option<Option<WorkspaceId>>,
    pub user: Option<ActorId>,
    /// As the service calls it; `active` is what opens something, `expired` what did.
    pub status: Option<String>,
    /// It was not used for so long.
    pub idle: Option<SignedDuration>,
    /// It opens something, and ends within so long.
    pub expiring: Option<SignedDuration>,
}

/// Which people are meant. What is `None` does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFilter {
    /// As the service calls it.
    pub role: Option<String>,
    /// As the service calls it.
    pub status: Option<String>,
    /// They did nothing for so long.
    pub idle: Option<SignedDuration>,
}

/// The word for a key that opens something.
const ACTIVE: &str = "active";
/// The word for a key whose time is over.
const EXPIRED: &str = "expired";

/// Keys with what is known of their use, in the service's order.
pub fn known_keys(listed: Vec<ListedKey>, told_by: ToldBy<'_>, now: Timestamp) -> Vec<KnownKey> {
    let told_by = told_by.of_keys(&listed);
    let known = listed.into_iter().map(|listed| KnownKey {
        is_active: census::opens(&listed, now),
        idle_since: census::key_idle_since(&listed, told_by, now),
        listed,
    });
    known.collect()
}

/// People with what is known of what they do, in the service's order.
pub fn known_users(listed: Vec<ListedUser>, told_by: ToldBy<'_>, now: Timestamp) -> Vec<KnownUser> {
    let told_by = told_by.of_people(&listed);
    let known = listed.into_iter().map(|listed| KnownUser {
        idle_since: census::person_idle_since(&listed, told_by, now),
        listed,
    });
    known.collect()
}

impl KnownKey {
    /// As the service calls it; where it does not, whether it opens something.
    pub fn status(&self, now: Timestamp) -> &str {
        let has_ended = self.listed.expires_at.is_some_and(|end| end <= now);
        match self.listed.status.as_deref() {
            Some(ACTIVE) | None if has_ended => EXPIRED,
            Some(word) => word,
            None => ACTIVE,
        }
    }

    /// The person who made it.
    pub fn maker(&self) -> Option<&ActorId> {
        match &self.listed.created_by {
            Some(Maker::Person(id)) => Some(id),
            Some(Maker::Other(_)) | None => None,
        }
    }

    /// That it opens nothing from now on.
    pub fn revoked(&self, manner: Manner) -> Write {
        Write::RevokeKey {
            key: self.listed.id.clone(),
            manner,
        }
    }

    /// Whether nothing is left to do to revoke it so: one that is inactive may still be archived.
    pub fn is_revoked(&self, manner: Manner) -> bool {
        match manner {
            Manner::Archived => self.listed.status.as_deref() == Some(manner.word()),
            Manner::Inactive | Manner::Deleted => !self.is_active,
        }
    }
}

impl KeyFilter {
    /// Whether a key is meant. One whose use is not known is not idle.
    pub fn matches(&self, key: &KnownKey, now: Timestamp) -> bool {
        let listed = &key.listed;
        let is_there = |asked: &Option<WorkspaceId>| listed.workspace == *asked;
        let is_idle = |least: SignedDuration| is_idle(key.idle_since, least, now);
        let is_expiring = |most: SignedDuration| {
            let ends = |end: Timestamp| end.duration_since(now) <= most;
            key.is_active && listed.expires_at.is_some_and(ends)
        };
        self.workspace.as_ref().is_none_or(is_there)
            && self.user.as_ref().is_none_or(|id| key.maker() == Some(id))
            && self
                .status
                .as_deref()
                .is_none_or(|word| key.status(now) == word)
            && self.idle.is_none_or(is_idle)
            && self.expiring.is_none_or(is_expiring)
    }
}

impl UserFilter {
    /// Whether a person is meant. One of whom nothing is known is not idle.
    pub fn matches(&self, user: &KnownUser, now: Timestamp) -> bool {
        let is = |asked: &Option<String>, word: Option<&str>| {
            asked.as_deref().is_none_or(|asked| word == Some(asked))
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

/// Why no one thing is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing has this id or name.
    #[error("there is no {kind} `{asked}`{}", known(.near))]
    None {
        /// `workspace`, `user`, `key`.
        kind: &'static str,
        /// As it was asked for.
        asked: String,
        /// Names that may be meant; empty where they would be too many.
        near: Vec<String>,
    },
    /// More than one has this name.
    #[error("{} {kind}s are called `{asked}`; name one by its id: {}", ids.len(), ids.join(", "))]
    Several {
        /// `workspace`, `user`, `key`.
        kind: &'static str,
        /// As it was asked for.
        asked: String,
        ids: Vec<String>,
    },
}

/// The one of `all` with this id, else the only one with this name.
pub fn find<'a, T>(
    kind: &'static str,
    asked: &str,
    all: &'a [T],
    has_id: impl Fn(&T) -> &str,
    is_named: impl Fn(&T) -> bool,
) -> Result<&'a T, FindError> {
    if let Some(found) = all.iter().find(|one| has_id(one) == asked) {
        return Ok(found);
    }
    let named: Vec<&T> = all.iter().filter(|one| is_named(one)).collect();
    match named.as_slice() {
        [only] => Ok(only),
        [] => Err(FindError::None {
            kind,
            asked: asked.to_owned(),
            near: Vec::new(),
        }),
        several => Err(FindError::Several {
            kind,
            asked: asked.to_owned(),
            ids: several.iter().map(|one| has_id(one).to_owned()).collect(),
        }),
    }
}

/// The person with this id, else the only one with this address; capitals do not count.
pub fn find_user<'a>(asked: &str, users: &'a [ListedUser]) -> Result<&'a ListedUser, FindError> {
    let is_named = |user: &ListedUser| is_address(user.email.as_deref(), asked);
    find("user", asked, users, |user| user.id.as_str(), is_named)
}

/// The workspace with this id, else the only one with this name.
pub fn find_workspace<'a>(asked: &str, all: &'a [Workspace]) -> Result<&'a Workspace, FindError> {
    let is_named = |one: &Workspace| one.name == asked;
    let found = find("workspace", asked, all, |one| one.id.as_str(), is_named);
    match found {
        Err(FindError::None { kind, asked, .. }) => {
            // Capitals count; where they are all that differs, that is what was meant.
            let is_near = |one: &&Workspace| one.name.to_lowercase() == asked.to_lowercase();
            let near = all.iter().filter(is_near).map(|one| one.name.clone());
            Err(FindError::None {
                kind,
                near: near.collect(),
                asked,
            })
        }
        found => found,
    }
}

fn known(near: &[String]) -> String {
    let first = near.first();
    let told = first.map(|name| format!("; did you mean `{name}`?"));
    told.unwrap_or_default()
}

/// Whether an address is this one; capitals do not count.
pub fn is_address(email: Option<&str>, asked: &str) -> bool {
    email.is_some_and(|email| email.to_lowercase() == asked.to_lowercase())
}

/// The key with this id.
pub fn find_key<'a>(asked: &ApiKeyId, keys: &'a [KnownKey]) -> Option<&'a KnownKey> {
    keys.iter().find(|key| key.listed.id == *asked)
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
            created_by: Some(Maker::Person("user_1".into())),
            created_at: Some(time("2026-01-01T00:00:00Z")),
            expires_at: expires_at.map(time),
            last_used_at: last_used_at.map(time),
            hint: None,
            maker_email: None,
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
        let known = known_keys(keys, ToldBy::List, now);
        let found: Vec<&str> = known
            .iter()
            .filter(|key| filter.matches(key, now))
            .map(|key| key.listed.id.as_str())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_are_chosen() {
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
    fn one_thing_is_found_by_id_or_by_a_name_that_only_it_has() {
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
        let told = |asked: &str| find_user(asked, &users).unwrap_err().to_string();
        assert_eq!(told("c@example.com"), "there is no user `c@example.com`");
        assert_eq!(
            told("b@example.com"),
            "2 users are called `b@example.com`; name one by its id: user_2, user_3"
        );
    }
}
