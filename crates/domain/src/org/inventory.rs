//! The inventory: API keys and users as last listed in full. Only lifecycle rules use it; names of previously listed
//! keys and users are in the directory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::org::directory::{Directory, Presence};
use crate::org::last_uses::LastUses;
use crate::org::listing::{KeyCreator, ListedKey, ListedUser};
use crate::units::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};

/// Status words of keys that cannot be used.
const INACTIVE: [&str; 5] = ["inactive", "archived", "expired", "revoked", "deleted"];
/// Status status of removed users.
const DELETED: &str = "deleted";

/// API keys and users. A list is `None` until it was first read completely after the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    pub keys: Option<BTreeMap<ApiKeyId, InventoryKey>>,
    pub users: Option<BTreeMap<ActorId, InventoryUser>>,
    /// When the keys were last listed.
    pub keys_at: Option<Timestamp>,
    pub users_at: Option<Timestamp>,
}

impl Inventory {
    /// No list was read yet.
    pub const UNKNOWN: Inventory = Inventory {
        keys: None,
        users: None,
        keys_at: None,
        users_at: None,
    };
}

/// An API key as last listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryKey {
    pub name: String,
    /// Whether and since when it is missing from the newest list.
    pub presence: Presence,
    /// Neither revoked, nor archived, nor expired.
    pub is_active: bool,
    /// Where reported. The default workspace has the id [`crate::units::ids::DEFAULT_WORKSPACE`].
    pub workspace: Option<WorkspaceId>,
    /// The user who created it; `None` for a service account.
    pub created_by: Option<ActorId>,
    pub created_at: Option<Timestamp>,
    /// `None` if it never expires.
    pub expires_at: Option<Timestamp>,
    /// Time of its last use, or of its creation if it was never used; `None` if unknown.
    pub idle_since: Option<Timestamp>,
}

/// A user as last listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryUser {
    /// Whether and since when it is missing from the newest list.
    pub presence: Presence,
    /// Time of their last activity; `None` if unknown.
    pub idle_since: Option<Timestamp>,
}

/// Source of the last use of keys and users.
#[derive(Debug, Clone, Copy)]
pub enum LastUseSource<'a> {
    /// The list itself. A missing time means never used, unless all times are missing.
    List,
    /// No source: the list could report it but does not.
    Unavailable,
    /// The ledger, because the list never reports it.
    Ledger(&'a LastUses),
}

impl LastUseSource<'_> {
    /// Returns the source for a list of keys.
    #[must_use]
    pub fn for_keys(self, listed: &[ListedKey]) -> Self {
        self.of_list(listed.iter().any(|key| key.last_used_at.is_some()))
    }

    /// Returns the source for a list of users.
    #[must_use]
    pub fn for_users(self, listed: &[ListedUser]) -> Self {
        self.of_list(listed.iter().any(|user| user.last_active_at.is_some()))
    }

    /// If a list has no times at all, the server does not report them; otherwise everyone would appear idle.
    fn of_list(self, has_times: bool) -> Self {
        match self {
            LastUseSource::List if !has_times => LastUseSource::Unavailable,
            LastUseSource::List | LastUseSource::Unavailable | LastUseSource::Ledger(_) => self,
        }
    }
}

impl Inventory {
    /// Applies a complete list of keys. A missing key is pending removal first, as for workspaces; so is one that the
    /// directory knows from before a restart.
    #[must_use]
    pub fn with_keys(
        self,
        listed: Vec<ListedKey>,
        source: LastUseSource<'_>,
        directory: &Directory,
        at: Timestamp,
    ) -> Inventory {
        let known = || directory.keys.iter().map(known_key).collect();
        let mut keys: BTreeMap<ApiKeyId, InventoryKey> = self.keys.unwrap_or_else(known);
        for key in keys.values_mut() {
            key.presence = key.presence.missing_again(at);
        }
        let default = directory.default_workspace.as_ref();
        let source = source.for_keys(&listed);
        let listed = listed.into_iter();
        keys.extend(listed.map(|key| inventory_key(key, source, default, at)));
        Inventory {
            keys: Some(keys),
            keys_at: Some(at),
            ..self
        }
    }

    /// Applies a complete list of users. A missing user, or one with status `deleted`, is pending removal first.
    #[must_use]
    pub fn with_users(
        self,
        listed: Vec<ListedUser>,
        source: LastUseSource<'_>,
        directory: &Directory,
        at: Timestamp,
    ) -> Inventory {
        let known = || directory.users.keys().map(known_user).collect();
        let mut users: BTreeMap<ActorId, InventoryUser> = self.users.unwrap_or_else(known);
        for user in users.values_mut() {
            user.presence = user.presence.missing_again(at);
        }
        let source = source.for_users(&listed);
        let belongs = |user: &ListedUser| user.status.as_deref() != Some(DELETED);
        let inventory_entry = listed.into_iter().filter(belongs);
        users.extend(inventory_entry.map(|user| inventory_user(user, source, at)));
        Inventory {
            users: Some(users),
            users_at: Some(at),
            ..self
        }
    }

    /// Restores missing keys from `known` after a list with unreadable rows, which may contain them.
    pub fn keep_missing_keys(&mut self, known: Option<BTreeMap<ApiKeyId, InventoryKey>>) {
        let Some(keys) = &mut self.keys else { return };
        for (id, key) in known.into_iter().flatten() {
            keys.entry(id)
                .and_modify(|now| {
                    if now.presence != Presence::Listed {
                        now.clone_from(&key);
                    }
                })
                .or_insert(key);
        }
    }

    /// Restores missing users from `known` after a list with unreadable rows, which may contain them.
    pub fn keep_missing_users(&mut self, known: Option<BTreeMap<ActorId, InventoryUser>>) {
        let Some(users) = &mut self.users else {
            return;
        };
        for (id, user) in known.into_iter().flatten() {
            users
                .entry(id)
                .and_modify(|now| {
                    if now.presence != Presence::Listed {
                        now.clone_from(&user);
                    }
                })
                .or_insert(user);
        }
    }

    /// Returns whether a key is missing but not yet considered removed.
    pub fn has_missing_keys(&self) -> bool {
        let mut keys = self.keys.iter().flat_map(BTreeMap::values);
        keys.any(|key| matches!(key.presence, Presence::Missing(_)))
    }

    /// Returns whether a user is missing but not yet considered removed.
    pub fn has_missing_users(&self) -> bool {
        let mut users = self.users.iter().flat_map(BTreeMap::values);
        users.any(|user| matches!(user.presence, Presence::Missing(_)))
    }
}

/// A key of the directory, of which only the name is known until it is listed again.
fn known_key((id, name): (&ApiKeyId, &String)) -> (ApiKeyId, InventoryKey) {
    let key = InventoryKey {
        name: name.clone(),
        presence: Presence::Listed,
        is_active: false,
        workspace: None,
        created_by: None,
        created_at: None,
        expires_at: None,
        idle_since: None,
    };
    (id.clone(), key)
}

/// A user of the directory.
fn known_user(id: &ActorId) -> (ActorId, InventoryUser) {
    let user = InventoryUser {
        presence: Presence::Listed,
        idle_since: None,
    };
    (id.clone(), user)
}

fn inventory_key(
    key: ListedKey,
    source: LastUseSource<'_>,
    default: Option<&WorkspaceId>,
    at: Timestamp,
) -> (ApiKeyId, InventoryKey) {
    let inventory_entry = InventoryKey {
        is_active: is_usable(&key, at),
        idle_since: key_idle_since(&key, source, at),
        name: key.name,
        presence: Presence::Listed,
        workspace: key.workspace.map(|id| {
            if Some(&id) == default {
                DEFAULT_WORKSPACE.into()
            } else {
                id
            }
        }),
        created_by: match key.created_by {
            Some(KeyCreator::User(id)) => Some(id),
            Some(KeyCreator::Other(_)) | None => None,
        },
        created_at: key.created_at,
        expires_at: key.expires_at,
    };
    (key.id, inventory_entry)
}

/// Returns whether a key can be used: neither revoked, nor archived, nor expired.
pub fn is_usable(key: &ListedKey, at: Timestamp) -> bool {
    is_active(key.status.as_deref()) && key.expires_at.is_none_or(|end| at < end)
}

/// Returns the time of a key's last use, or of its creation if it was never used; `None` if unknown.
pub fn key_idle_since(
    key: &ListedKey,
    source: LastUseSource<'_>,
    at: Timestamp,
) -> Option<Timestamp> {
    match source {
        LastUseSource::Unavailable => None,
        LastUseSource::List => key.last_used_at.or(key.created_at),
        LastUseSource::Ledger(uses) => {
            let used = uses.keys.get(&key.id).copied();
            let last = used.or_else(|| Some(key.created_at?.max(uses.by_key_since?)));
            last.map(|last| uses.idle_since(last, at))
        }
    }
}

/// Unknown status words count as active, so that no usable key is overlooked.
fn is_active(status: Option<&str>) -> bool {
    status.is_none_or(|status| !INACTIVE.contains(&status))
}

fn inventory_user(
    user: ListedUser,
    source: LastUseSource<'_>,
    at: Timestamp,
) -> (ActorId, InventoryUser) {
    let inventory_entry = InventoryUser {
        presence: Presence::Listed,
        idle_since: user_idle_since(&user, source, at),
    };
    (user.id, inventory_entry)
}

/// Returns the time of a user's last activity; `None` if unknown.
pub fn user_idle_since(
    user: &ListedUser,
    source: LastUseSource<'_>,
    at: Timestamp,
) -> Option<Timestamp> {
    match source {
        LastUseSource::Unavailable => None,
        LastUseSource::List => user.last_active_at.or(user.added_at),
        // Users without API usage may work in the Console only, which the ledger does not show.
        LastUseSource::Ledger(uses) => {
            let last = uses.users.get(&user.id).copied();
            last.map(|last| uses.idle_since(last, at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::org::directory::UserInfo;
    use jiff::SignedDuration;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    fn day(day: i64) -> Timestamp {
        at(day * 24 * 60)
    }

    fn key(id: &str) -> ListedKey {
        ListedKey {
            id: id.into(),
            name: id.to_uppercase(),
            status: Some("active".to_owned()),
            workspace: None,
            created_by: None,
            created_at: Some(day(-90)),
            expires_at: None,
            last_used_at: None,
            hint: None,
            creator_email: None,
        }
    }

    fn user(id: &str) -> ListedUser {
        ListedUser {
            id: id.into(),
            email: None,
            name: id.to_uppercase(),
            role: "developer".to_owned(),
            status: None,
            added_at: Some(day(-90)),
            last_active_at: None,
        }
    }

    #[test]
    fn missing_keys_and_users_are_pending_and_then_removed() {
        let keys = |inventory: Inventory, ids: &[&str], minute| {
            let listed = ids.iter().copied().map(key).collect();
            inventory.with_keys(
                listed,
                LastUseSource::List,
                &Directory::default(),
                at(minute),
            )
        };
        let users = |inventory: Inventory, ids: &[&str], minute| {
            let listed = ids.iter().copied().map(user).collect();
            inventory.with_users(
                listed,
                LastUseSource::List,
                &Directory::default(),
                at(minute),
            )
        };
        let both =
            |inventory, ids: &[&str], minute| users(keys(inventory, ids, minute), ids, minute);
        let presence = |inventory: &Inventory| {
            let (keys, users) = (
                inventory.keys.clone().unwrap(),
                inventory.users.clone().unwrap(),
            );
            let missing = (inventory.has_missing_keys(), inventory.has_missing_users());
            assert_eq!(
                (keys["b"].presence, missing.0),
                (users["b"].presence, missing.1)
            );
            (keys["b"].presence, missing.0)
        };
        assert!(
            !Inventory::default().has_missing_keys(),
            "unknown is not missing"
        );
        let first = both(Inventory::default(), &["a", "b"], 0);
        assert_eq!(presence(&first), (Presence::Listed, false));
        let once = both(first, &["a"], 60);
        assert!(matches!(presence(&once), (Presence::Missing(_), true)));
        let back = both(once.clone(), &["a", "b"], 65);
        assert_eq!(presence(&back), (Presence::Listed, false));
        let mut pending = once;
        for minute in [65, 70, 75, 80, 85] {
            pending = both(pending, &["a"], minute);
            assert!(presence(&pending).1, "{minute}: not yet over 30 minutes");
        }
        let removed = both(pending, &["a"], 90);
        assert_eq!(presence(&removed), (Presence::Removed, false));
        assert_eq!(
            presence(&both(removed, &["a", "b"], 95)),
            (Presence::Listed, false)
        );
    }

    #[test]
    fn lists_of_keys_and_users_are_independent() {
        let inventory = Inventory::default().with_users(
            vec![user("a")],
            LastUseSource::List,
            &Directory::default(),
            at(0),
        );
        assert_eq!(inventory.keys, None);
        let inventory =
            inventory.with_keys(vec![], LastUseSource::List, &Directory::default(), at(60));
        assert_eq!(inventory.keys, Some(BTreeMap::new()));
        assert!(!inventory.has_missing_users());
    }

    #[test]
    fn keys_and_users_listed_before_a_restart_are_pending_first() {
        let ada = UserInfo {
            name: "Ada".to_owned(),
            email: String::new(),
        };
        let directory = Directory {
            keys: [("a".into(), "A".to_owned()), ("b".into(), "B".to_owned())].into(),
            users: [("a".into(), ada.clone()), ("b".into(), ada)].into(),
            ..Directory::default()
        };
        let list = |inventory: Inventory, minute| {
            inventory
                .with_keys(vec![key("a")], LastUseSource::List, &directory, at(minute))
                .with_users(vec![user("a")], LastUseSource::List, &directory, at(minute))
        };
        let first = list(Inventory::default(), 0);
        let keys = first.keys.as_ref().unwrap();
        assert_eq!(
            (keys["a"].presence, keys["b"].name.as_str()),
            (Presence::Listed, "B")
        );
        assert!(first.has_missing_keys() && first.has_missing_users());
        let removed = list(list(first, 15), 30);
        assert!(!removed.has_missing_keys() && !removed.has_missing_users());
        assert_eq!(removed.users.unwrap()["b"].presence, Presence::Removed);
    }

    #[test]
    fn users_with_status_deleted_are_missing() {
        let deleted = ListedUser {
            status: Some("deleted".to_owned()),
            ..user("a")
        };
        let list = |inventory: Inventory, user: &ListedUser, minute| {
            inventory.with_users(
                vec![user.clone()],
                LastUseSource::List,
                &Directory::default(),
                at(minute),
            )
        };
        assert_eq!(
            list(Inventory::default(), &deleted, 0).users,
            Some(BTreeMap::new())
        );
        let inventory = list(Inventory::default(), &user("a"), 0);
        assert!(list(inventory, &deleted, 60).has_missing_users());
    }

    fn inventory_entry(key: ListedKey, source: LastUseSource<'_>) -> InventoryKey {
        let directory = Directory {
            default_workspace: Some("wrkspc_0".into()),
            ..Directory::default()
        };
        let id = key.id.clone();
        let inventory = Inventory::default().with_keys(vec![key], source, &directory, day(0));
        inventory.keys.unwrap().remove(&id).unwrap()
    }

    #[test]
    fn keys_are_active_unless_their_status_differs() {
        let check = |status: Option<&str>, expires_at, expected| {
            let status = status.map(str::to_owned);
            let key = ListedKey {
                status,
                expires_at,
                ..key("a")
            };
            assert_eq!(
                inventory_entry(key.clone(), LastUseSource::List).is_active,
                expected,
                "{key:?}"
            );
        };
        check(Some("active"), None, true);
        check(None, None, true);
        check(Some("new_status"), None, true);
        for status in INACTIVE {
            check(Some(status), None, false);
        }
        check(Some("active"), Some(at(1)), true);
        check(Some("active"), Some(at(0)), false);
    }

    #[test]
    fn keys_have_a_workspace_and_a_creator() {
        let of = |workspace: &str, by: KeyCreator| {
            let key = ListedKey {
                workspace: Some(workspace.into()),
                created_by: Some(by),
                ..key("a")
            };
            let inventory_entry = inventory_entry(key, LastUseSource::List);
            (inventory_entry.workspace, inventory_entry.created_by)
        };
        let id = || ActorId::from("x");
        let expected = (Some(DEFAULT_WORKSPACE.into()), Some(id()));
        assert_eq!(of("wrkspc_0", KeyCreator::User(id())), expected);
        assert_eq!(
            of("wrkspc_1", KeyCreator::Other(id())),
            (Some("wrkspc_1".into()), None)
        );
    }

    #[test]
    fn idle_time_from_the_list() {
        let used = ListedKey {
            last_used_at: Some(day(-3)),
            ..key("a")
        };
        let keys = |listed| {
            let inventory = Inventory::default();
            let inventory =
                inventory.with_keys(listed, LastUseSource::List, &Directory::default(), day(0));
            let idle = inventory.keys.unwrap().into_values();
            idle.map(|key| key.idle_since).collect::<Vec<_>>()
        };
        let expected = [Some(day(-3)), Some(day(-90))];
        assert_eq!(keys(vec![used, key("never")]), expected);
        assert_eq!(keys(vec![key("never")]), [None], "reported for no key");
        let used = ListedUser {
            last_active_at: Some(day(-1)),
            ..user("b")
        };
        let idle = |last_active_at, added_at| {
            let user = ListedUser {
                last_active_at,
                added_at,
                ..user("a")
            };
            let inventory = Inventory::default().with_users(
                vec![user, used.clone()],
                LastUseSource::List,
                &Directory::default(),
                day(0),
            );
            inventory.users.unwrap()["a"].idle_since
        };
        assert_eq!(idle(Some(day(-3)), Some(day(-90))), Some(day(-3)));
        assert_eq!(idle(None, Some(day(-90))), Some(day(-90)));
        assert_eq!(idle(None, None), None);
        let inventory = Inventory::default().with_users(
            vec![user("a")],
            LastUseSource::List,
            &Directory::default(),
            day(0),
        );
        assert_eq!(inventory.users.unwrap()["a"].idle_since, None);
    }

    fn uses() -> LastUses {
        LastUses {
            keys: [("used".into(), day(-3)), ("before".into(), day(-70))].into(),
            users: [("used".into(), day(-4))].into(),
            by_key_since: Some(day(-60)),
            lag: SignedDuration::ZERO,
        }
    }

    #[test]
    fn idle_time_from_the_ledger_within_its_known_span() {
        let known = |from, until| uses().restrict_to(Some((day(from), at(until))), day(0));
        let idle = |uses: &LastUses, id: &str| {
            inventory_entry(key(id), LastUseSource::Ledger(uses)).idle_since
        };
        let all = known(-80, 0);
        assert_eq!(idle(&all, "used"), Some(day(-3)));
        assert_eq!(idle(&all, "before"), Some(day(-70)));
        assert_eq!(
            idle(&all, "never"),
            Some(day(-60)),
            "unknown before usage by key began"
        );
        let new = ListedKey {
            created_at: Some(day(-2)),
            ..key("never")
        };
        assert_eq!(
            inventory_entry(new, LastUseSource::Ledger(&all)).idle_since,
            Some(day(-2))
        );
        let undated = ListedKey {
            created_at: None,
            ..key("never")
        };
        assert_eq!(
            inventory_entry(undated, LastUseSource::Ledger(&all)).idle_since,
            None
        );
        let short = known(-14, 0);
        assert_eq!(
            idle(&short, "before"),
            Some(day(-14)),
            "earlier use is unknown"
        );
        assert_eq!(idle(&short, "never"), Some(day(-14)));
        // Two days of which nothing is known yet: they may have been used since.
        let late = known(-80, -2 * 24 * 60);
        assert_eq!(idle(&late, "used"), Some(day(-1)));
        assert_eq!(idle(&late, "never"), Some(day(-58)));
        let made = ListedKey {
            created_at: Some(day(-1)),
            ..key("never")
        };
        assert_eq!(
            inventory_entry(made, LastUseSource::Ledger(&late)).idle_since,
            Some(day(0))
        );
        let unknown = uses().restrict_to(None, day(0));
        assert_eq!(idle(&unknown, "used"), None);
        assert_eq!(idle(&unknown, "never"), None);
        // The hour under way has not ended yet.
        let early = LastUses {
            keys: [("used".into(), at(30))].into(),
            ..uses()
        };
        assert_eq!(idle(&early, "used"), Some(day(0)));
    }

    #[test]
    fn users_without_usage_have_no_last_use() {
        let listed = vec![user("used"), user("never")];
        let inventory = Inventory::default().with_users(
            listed,
            LastUseSource::Ledger(&uses()),
            &Directory::default(),
            day(0),
        );
        let users = inventory.users.unwrap();
        assert_eq!(users["used"].idle_since, Some(day(-4)));
        assert_eq!(users["never"].idle_since, None);
    }
}
