//! The census: which keys and people there are at this moment, as they were last listed whole. Rules on events ask it, and
//! nothing else: names of what was once listed stand in the directory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::directory::{Directory, Presence};
use crate::domain::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::listing::{ListedKey, ListedUser, Maker};
use crate::domain::uses::LastUses;

/// The words for a key that opens nothing.
const INACTIVE: [&str; 5] = ["inactive", "archived", "expired", "revoked", "deleted"];
/// The word for a person who belongs to the organization no more.
const DELETED: &str = "deleted";

/// Keys and people. A list that was not read whole yet since the daemon began is `None`: what it would tell is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    pub keys: Option<BTreeMap<ApiKeyId, CountedKey>>,
    pub people: Option<BTreeMap<ActorId, CountedPerson>>,
    /// When the keys that are known were listed: what became of them since is not known.
    pub keys_at: Option<Timestamp>,
    pub people_at: Option<Timestamp>,
}

impl Census {
    /// Nothing was listed yet.
    pub const UNKNOWN: Census = Census {
        keys: None,
        people: None,
        keys_at: None,
        people_at: None,
    };
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedKey {
    pub name: String,
    /// Missing from the newest list, and since when.
    pub presence: Presence,
    /// It opens something: neither revoked, nor archived, nor expired.
    pub is_active: bool,
    /// Where it belongs to one and the service tells. The default workspace stands under
    /// [`crate::domain::ids::DEFAULT_WORKSPACE`].
    pub workspace: Option<WorkspaceId>,
    /// Who made it, where that is a person; not where it is a service account.
    pub created_by: Option<ActorId>,
    pub created_at: Option<Timestamp>,
    /// From when on it opens nothing; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Since then it was not used; `None` where that is not known.
    pub idle_since: Option<Timestamp>,
}

/// A person of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedPerson {
    /// Missing from the newest list, and since when.
    pub presence: Presence,
    /// Since then they did nothing; `None` where that is not known.
    pub idle_since: Option<Timestamp>,
}

/// Who tells when something was used last.
#[derive(Debug, Clone, Copy)]
pub enum ToldBy<'a> {
    /// The list itself. What it does not say was never used, unless it says it of nobody.
    List,
    /// Nobody: the list could, and does not.
    Nobody,
    /// The ledger: the list never says it.
    Ledger(&'a LastUses),
}

impl ToldBy<'_> {
    /// By a list of keys, which tells it of some, or of none.
    #[must_use]
    pub fn of_keys(self, listed: &[ListedKey]) -> Self {
        self.of_list(listed.iter().any(|key| key.last_used_at.is_some()))
    }

    /// By a list of people, which tells it of some, or of none.
    #[must_use]
    pub fn of_people(self, listed: &[ListedUser]) -> Self {
        self.of_list(listed.iter().any(|user| user.last_active_at.is_some()))
    }

    /// By a list that tells it of somebody, or of nobody. Of a service that never tells it, everyone would seem to be idle.
    fn of_list(self, tells: bool) -> Self {
        match self {
            ToldBy::List if !tells => ToldBy::Nobody,
            ToldBy::List | ToldBy::Nobody | ToldBy::Ledger(_) => self,
        }
    }
}

impl Census {
    /// After a whole list of keys. One that vanishes is doubted, as a workspace is; also one that the directory knows from
    /// before, so that a restart within the doubt does not end it.
    #[must_use]
    pub fn with_keys(
        self,
        listed: Vec<ListedKey>,
        told_by: ToldBy<'_>,
        directory: &Directory,
        at: Timestamp,
    ) -> Census {
        let known = || directory.keys.iter().map(known_key).collect();
        let mut keys: BTreeMap<ApiKeyId, CountedKey> = self.keys.unwrap_or_else(known);
        for key in keys.values_mut() {
            key.presence = key.presence.missing_again(at);
        }
        let default = directory.default.as_ref();
        let told_by = told_by.of_keys(&listed);
        let listed = listed.into_iter();
        keys.extend(listed.map(|key| counted_key(key, told_by, default, at)));
        Census {
            keys: Some(keys),
            keys_at: Some(at),
            ..self
        }
    }

    /// After a whole list of people. One who vanishes, or is said to be deleted, is doubted in the same way.
    #[must_use]
    pub fn with_people(
        self,
        listed: Vec<ListedUser>,
        told_by: ToldBy<'_>,
        directory: &Directory,
        at: Timestamp,
    ) -> Census {
        let known = || directory.people.keys().map(known_person).collect();
        let mut people: BTreeMap<ActorId, CountedPerson> = self.people.unwrap_or_else(known);
        for person in people.values_mut() {
            person.presence = person.presence.missing_again(at);
        }
        let told_by = told_by.of_people(&listed);
        let belongs = |user: &ListedUser| user.status.as_deref() != Some(DELETED);
        let counted = listed.into_iter().filter(belongs);
        people.extend(counted.map(|user| counted_person(user, told_by, at)));
        Census {
            people: Some(people),
            people_at: Some(at),
            ..self
        }
    }

    /// After a list of which some rows could not be read: keys that are missing from it stay as they were `known`, since they may
    /// be among these rows. Nothing changes where there are none such.
    pub fn keep_missing_keys(&mut self, known: Option<BTreeMap<ApiKeyId, CountedKey>>) {
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

    /// The same of people.
    pub fn keep_missing_people(&mut self, known: Option<BTreeMap<ActorId, CountedPerson>>) {
        let Some(people) = &mut self.people else {
            return;
        };
        for (id, person) in known.into_iter().flatten() {
            people
                .entry(id)
                .and_modify(|now| {
                    if now.presence != Presence::Listed {
                        now.clone_from(&person);
                    }
                })
                .or_insert(person);
        }
    }

    /// Whether a key is missing from its list and not yet believed to be gone.
    pub fn has_missing_keys(&self) -> bool {
        let mut keys = self.keys.iter().flat_map(BTreeMap::values);
        keys.any(|key| matches!(key.presence, Presence::Missing(_)))
    }

    /// Whether a person is missing from their list and not yet believed to be gone.
    pub fn has_missing_people(&self) -> bool {
        let mut people = self.people.iter().flat_map(BTreeMap::values);
        people.any(|person| matches!(person.presence, Presence::Missing(_)))
    }
}

/// A key that was listed once: until it is again, nothing else is known of it.
fn known_key((id, name): (&ApiKeyId, &String)) -> (ApiKeyId, CountedKey) {
    let key = CountedKey {
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

/// The same of a person.
fn known_person(id: &ActorId) -> (ActorId, CountedPerson) {
    let person = CountedPerson {
        presence: Presence::Listed,
        idle_since: None,
    };
    (id.clone(), person)
}

fn counted_key(
    key: ListedKey,
    told_by: ToldBy<'_>,
    default: Option<&WorkspaceId>,
    at: Timestamp,
) -> (ApiKeyId, CountedKey) {
    let counted = CountedKey {
        is_active: opens(&key, at),
        idle_since: key_idle_since(&key, told_by, at),
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
            Some(Maker::Person(id)) => Some(id),
            Some(Maker::Other(_)) | None => None,
        },
        created_at: key.created_at,
        expires_at: key.expires_at,
    };
    (key.id, counted)
}

/// Whether a key opens something: it is neither revoked, nor archived, nor expired.
pub fn opens(key: &ListedKey, at: Timestamp) -> bool {
    is_active(key.status.as_deref()) && key.expires_at.is_none_or(|end| at < end)
}

/// Since when a key was not used; `None` where that is not known.
pub fn key_idle_since(key: &ListedKey, told_by: ToldBy<'_>, at: Timestamp) -> Option<Timestamp> {
    match told_by {
        ToldBy::Nobody => None,
        ToldBy::List => key.last_used_at.or(key.created_at),
        ToldBy::Ledger(uses) => {
            let used = uses.keys.get(&key.id).copied();
            let last = used.or_else(|| Some(key.created_at?.max(uses.by_key_since?)));
            last.map(|last| uses.idle_since(last, at))
        }
    }
}

/// A word that is not known counts as active: a key that may open something must not slip out of sight.
fn is_active(status: Option<&str>) -> bool {
    status.is_none_or(|word| !INACTIVE.contains(&word))
}

fn counted_person(
    user: ListedUser,
    told_by: ToldBy<'_>,
    at: Timestamp,
) -> (ActorId, CountedPerson) {
    let counted = CountedPerson {
        presence: Presence::Listed,
        idle_since: person_idle_since(&user, told_by, at),
    };
    (user.id, counted)
}

/// Since when a person did nothing; `None` where that is not known.
pub fn person_idle_since(
    user: &ListedUser,
    told_by: ToldBy<'_>,
    at: Timestamp,
) -> Option<Timestamp> {
    match told_by {
        ToldBy::Nobody => None,
        ToldBy::List => user.last_active_at.or(user.added_at),
        // Who never used anything may work in the console alone: of them nothing is known.
        ToldBy::Ledger(uses) => {
            let last = uses.people.get(&user.id).copied();
            last.map(|last| uses.idle_since(last, at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::directory::Person;
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
            maker_email: None,
        }
    }

    fn person(id: &str) -> ListedUser {
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
    fn what_vanishes_is_doubted_and_then_gone() {
        let keys = |census: Census, ids: &[&str], minute| {
            let listed = ids.iter().copied().map(key).collect();
            census.with_keys(listed, ToldBy::List, &Directory::default(), at(minute))
        };
        let people = |census: Census, ids: &[&str], minute| {
            let listed = ids.iter().copied().map(person).collect();
            census.with_people(listed, ToldBy::List, &Directory::default(), at(minute))
        };
        let both = |census, ids: &[&str], minute| people(keys(census, ids, minute), ids, minute);
        let presence = |census: &Census| {
            let (keys, people) = (census.keys.clone().unwrap(), census.people.clone().unwrap());
            let missing = (census.has_missing_keys(), census.has_missing_people());
            assert_eq!(
                (keys["b"].presence, missing.0),
                (people["b"].presence, missing.1)
            );
            (keys["b"].presence, missing.0)
        };
        assert!(
            !Census::default().has_missing_keys(),
            "unknown is not missing"
        );
        let first = both(Census::default(), &["a", "b"], 0);
        assert_eq!(presence(&first), (Presence::Listed, false));
        let once = both(first, &["a"], 60);
        assert!(matches!(presence(&once), (Presence::Missing(_), true)));
        let back = both(once.clone(), &["a", "b"], 65);
        assert_eq!(presence(&back), (Presence::Listed, false));
        let mut doubted = once;
        for minute in [65, 70, 75, 80, 85] {
            doubted = both(doubted, &["a"], minute);
            assert!(presence(&doubted).1, "{minute}: not yet over 30 minutes");
        }
        let gone = both(doubted, &["a"], 90);
        assert_eq!(presence(&gone), (Presence::Gone, false));
        assert_eq!(
            presence(&both(gone, &["a", "b"], 95)),
            (Presence::Listed, false)
        );
    }

    #[test]
    fn one_list_says_nothing_of_the_other() {
        let census = Census::default().with_people(
            vec![person("a")],
            ToldBy::List,
            &Directory::default(),
            at(0),
        );
        assert_eq!(census.keys, None);
        let census = census.with_keys(vec![], ToldBy::List, &Directory::default(), at(60));
        assert_eq!(census.keys, Some(BTreeMap::new()));
        assert!(!census.has_missing_people());
    }

    #[test]
    fn who_was_listed_before_a_restart_is_doubted_as_well() {
        let ada = Person {
            name: "Ada".to_owned(),
            email: String::new(),
        };
        let directory = Directory {
            keys: [("a".into(), "A".to_owned()), ("b".into(), "B".to_owned())].into(),
            people: [("a".into(), ada.clone()), ("b".into(), ada)].into(),
            ..Directory::default()
        };
        let list = |census: Census, minute| {
            census
                .with_keys(vec![key("a")], ToldBy::List, &directory, at(minute))
                .with_people(vec![person("a")], ToldBy::List, &directory, at(minute))
        };
        let first = list(Census::default(), 0);
        let keys = first.keys.as_ref().unwrap();
        assert_eq!(
            (keys["a"].presence, keys["b"].name.as_str()),
            (Presence::Listed, "B")
        );
        assert!(first.has_missing_keys() && first.has_missing_people());
        let gone = list(list(first, 15), 30);
        assert!(!gone.has_missing_keys() && !gone.has_missing_people());
        assert_eq!(gone.people.unwrap()["b"].presence, Presence::Gone);
    }

    #[test]
    fn who_is_said_to_be_deleted_is_missing() {
        let deleted = ListedUser {
            status: Some("deleted".to_owned()),
            ..person("a")
        };
        let list = |census: Census, user: &ListedUser, minute| {
            census.with_people(
                vec![user.clone()],
                ToldBy::List,
                &Directory::default(),
                at(minute),
            )
        };
        assert_eq!(
            list(Census::default(), &deleted, 0).people,
            Some(BTreeMap::new())
        );
        let census = list(Census::default(), &person("a"), 0);
        assert!(list(census, &deleted, 60).has_missing_people());
    }

    fn counted(key: ListedKey, told_by: ToldBy<'_>) -> CountedKey {
        let directory = Directory {
            default: Some("wrkspc_0".into()),
            ..Directory::default()
        };
        let id = key.id.clone();
        let census = Census::default().with_keys(vec![key], told_by, &directory, day(0));
        census.keys.unwrap().remove(&id).unwrap()
    }

    #[test]
    fn a_key_is_active_until_it_is_known_not_to_be() {
        let check = |status: Option<&str>, expires_at, expected| {
            let status = status.map(str::to_owned);
            let key = ListedKey {
                status,
                expires_at,
                ..key("a")
            };
            assert_eq!(
                counted(key.clone(), ToldBy::List).is_active,
                expected,
                "{key:?}"
            );
        };
        check(Some("active"), None, true);
        check(None, None, true);
        check(Some("sleeping"), None, true);
        for word in INACTIVE {
            check(Some(word), None, false);
        }
        check(Some("active"), Some(at(1)), true);
        check(Some("active"), Some(at(0)), false);
    }

    #[test]
    fn a_key_belongs_to_a_workspace_and_to_a_person() {
        let of = |workspace: &str, by: Maker| {
            let key = ListedKey {
                workspace: Some(workspace.into()),
                created_by: Some(by),
                ..key("a")
            };
            let counted = counted(key, ToldBy::List);
            (counted.workspace, counted.created_by)
        };
        let id = || ActorId::from("x");
        let expected = (Some(DEFAULT_WORKSPACE.into()), Some(id()));
        assert_eq!(of("wrkspc_0", Maker::Person(id())), expected);
        assert_eq!(
            of("wrkspc_1", Maker::Other(id())),
            (Some("wrkspc_1".into()), None)
        );
    }

    #[test]
    fn a_list_tells_how_long_something_is_idle() {
        let used = ListedKey {
            last_used_at: Some(day(-3)),
            ..key("a")
        };
        let keys = |listed| {
            let census = Census::default();
            let census = census.with_keys(listed, ToldBy::List, &Directory::default(), day(0));
            let idle = census.keys.unwrap().into_values();
            idle.map(|key| key.idle_since).collect::<Vec<_>>()
        };
        let expected = [Some(day(-3)), Some(day(-90))];
        assert_eq!(keys(vec![used, key("never")]), expected);
        assert_eq!(keys(vec![key("never")]), [None], "told of no key at all");
        let used = ListedUser {
            last_active_at: Some(day(-1)),
            ..person("b")
        };
        let idle = |last_active_at, added_at| {
            let user = ListedUser {
                last_active_at,
                added_at,
                ..person("a")
            };
            let census = Census::default().with_people(
                vec![user, used.clone()],
                ToldBy::List,
                &Directory::default(),
                day(0),
            );
            census.people.unwrap()["a"].idle_since
        };
        assert_eq!(idle(Some(day(-3)), Some(day(-90))), Some(day(-3)));
        assert_eq!(idle(None, Some(day(-90))), Some(day(-90)));
        assert_eq!(idle(None, None), None);
        let census = Census::default().with_people(
            vec![person("a")],
            ToldBy::List,
            &Directory::default(),
            day(0),
        );
        assert_eq!(census.people.unwrap()["a"].idle_since, None);
    }

    fn uses() -> LastUses {
        LastUses {
            keys: [("used".into(), day(-3)), ("before".into(), day(-70))].into(),
            people: [("used".into(), day(-4))].into(),
            by_key_since: Some(day(-60)),
            lag: SignedDuration::ZERO,
        }
    }

    #[test]
    fn the_ledger_tells_how_long_something_is_idle_as_far_as_it_is_known() {
        let known = |from, until| uses().known(Some((day(from), at(until))), day(0));
        let idle = |uses: &LastUses, id: &str| counted(key(id), ToldBy::Ledger(uses)).idle_since;
        let all = known(-80, 0);
        assert_eq!(idle(&all, "used"), Some(day(-3)));
        assert_eq!(idle(&all, "before"), Some(day(-70)));
        assert_eq!(
            idle(&all, "never"),
            Some(day(-60)),
            "not known by key before"
        );
        let new = ListedKey {
            created_at: Some(day(-2)),
            ..key("never")
        };
        assert_eq!(counted(new, ToldBy::Ledger(&all)).idle_since, Some(day(-2)));
        let undated = ListedKey {
            created_at: None,
            ..key("never")
        };
        assert_eq!(counted(undated, ToldBy::Ledger(&all)).idle_since, None);
        let short = known(-14, 0);
        assert_eq!(
            idle(&short, "before"),
            Some(day(-14)),
            "and who knows before"
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
            counted(made, ToldBy::Ledger(&late)).idle_since,
            Some(day(0))
        );
        let unknown = uses().known(None, day(0));
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
    fn of_people_without_usage_the_ledger_knows_nothing() {
        let listed = vec![person("used"), person("never")];
        let census = Census::default().with_people(
            listed,
            ToldBy::Ledger(&uses()),
            &Directory::default(),
            day(0),
        );
        let people = census.people.unwrap();
        assert_eq!(people["used"].idle_since, Some(day(-4)));
        assert_eq!(people["never"].idle_since, None);
    }
}
