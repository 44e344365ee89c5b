//! The directory: which workspaces the API lists, by what names and limits, and which of them have vanished.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::{ActorId, ApiKeyId, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::privacy::People;

/// Successive answers that must agree before something vanished is believed to be gone.
pub const AGREEING_ANSWERS: u32 = 3;
/// The time that those answers must span at least.
pub const AGREEING_SPAN: SignedDuration = SignedDuration::from_mins(30);

/// One workspace as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    /// Its name, as it is.
    pub name: String,
    /// The server's own spend limit per UTC month.
    pub monthly_limit: Option<Usd>,
    /// The server's own limit of requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Since when it exists, where the API says it.
    pub created_at: Option<Timestamp>,
    /// What its owners have noted on it, by name.
    pub tags: BTreeMap<String, String>,
}

/// Something that was there and is missing from complete answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The first answer without it.
    pub since: Timestamp,
    /// Successive answers without it; 0 where it was told in a way that cannot be read.
    pub n_answers: u32,
}

impl Doubt {
    /// Of a bucket that was told in a way that cannot be read: no answer without it has come.
    pub fn unreadable(at: Timestamp) -> Doubt {
        Doubt {
            since: at,
            n_answers: 0,
        }
    }

    /// Whether it is a bucket that was told in a way that cannot be read.
    pub fn is_unreadable(&self) -> bool {
        self.n_answers == 0
    }

    /// The doubt after one more answer without the thing.
    pub fn again(previous: Option<Doubt>, at: Timestamp) -> Doubt {
        match previous.filter(|doubt| !doubt.is_unreadable()) {
            Some(doubt) => Doubt {
                // A later time was recorded by a wrong clock.
                since: doubt.since.min(at),
                n_answers: doubt.n_answers.saturating_add(1),
            },
            None => Doubt {
                since: at,
                n_answers: 1,
            },
        }
    }

    /// Whether enough answers over enough time agree that the thing is gone.
    pub fn is_certain(&self, at: Timestamp) -> bool {
        self.n_answers >= AGREEING_ANSWERS && at.duration_since(self.since) >= AGREEING_SPAN
    }
}

/// Whether something is in the list that it was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In the newest list.
    Listed,
    /// Missing, not yet for long enough: kept as it was, and the poll is partial.
    Missing(Doubt),
    /// Missing for good. Its spend stays, under the remainder.
    Gone,
}

impl Presence {
    /// After one more whole list without it.
    #[must_use]
    pub fn missing_again(self, at: Timestamp) -> Presence {
        let previous = match self {
            Presence::Gone => return Presence::Gone,
            Presence::Missing(doubt) => Some(doubt),
            Presence::Listed => None,
        };
        let doubt = Doubt::again(previous, at);
        if doubt.is_certain(at) {
            Presence::Gone
        } else {
            Presence::Missing(doubt)
        }
    }
}

/// What the API says about the organization itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrganizationInfo {
    pub id: String,
    /// Its name at the service.
    pub name: String,
    /// The server's own spend limit per UTC month.
    pub usage_limit: Option<Usd>,
    /// The server's own month to date.
    pub current_month_usage: Option<Usd>,
}

/// Every workspace that was ever listed, and the organization's own data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    pub workspaces: BTreeMap<WorkspaceId, (Workspace, Presence)>,
    /// `None` until it was read once.
    pub organization: Option<OrganizationInfo>,
    /// When the workspace list was last read whole.
    pub listed_at: Option<Timestamp>,
    /// The real id of the default workspace, where the service has one and it is known.
    pub default: Option<WorkspaceId>,
    /// Names of API keys, as they were last listed.
    pub keys: BTreeMap<ApiKeyId, String>,
    /// People, as they were last listed.
    pub people: BTreeMap<ActorId, Person>,
    /// When a spend limit that the service had was found to be no more, and none has come since; `None` is the organization's.
    pub limits_removed: BTreeMap<Option<WorkspaceId>, Timestamp>,
}

/// What an answer says about a limit of spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitOf {
    /// This much; `None` for no limit.
    Known(Option<Usd>),
    /// There is one that cannot be read: it does not count as removed.
    Unknown,
}

impl LimitOf {
    /// Of a limit that could be read, and whether there is one that could not.
    pub fn told(limit: Option<Usd>, is_unknown: bool) -> LimitOf {
        match limit {
            None if is_unknown => LimitOf::Unknown,
            Some(_) | None => LimitOf::Known(limit),
        }
    }
}

/// A person, or an account that acts like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// Empty where there is none.
    pub email: String,
}

impl Directory {
    /// Workspaces that count as existing: listed, or missing and not yet gone.
    pub fn present(&self) -> impl Iterator<Item = &Workspace> {
        self.workspaces
            .values()
            .filter(|(_, presence)| !matches!(presence, Presence::Gone))
            .map(|(workspace, _)| workspace)
    }

    /// Whether a workspace counts as existing.
    pub fn is_present(&self, id: &WorkspaceId) -> bool {
        self.workspaces
            .get(id)
            .is_some_and(|(_, presence)| !matches!(presence, Presence::Gone))
    }

    /// Whether a workspace is missing from the list and not yet believed to be gone.
    pub fn has_missing(&self) -> bool {
        self.workspaces
            .values()
            .any(|(_, presence)| matches!(presence, Presence::Missing(_)))
    }

    /// The name of a workspace; its id where it has never been listed.
    pub fn name_of<'a>(&'a self, id: &'a str) -> &'a str {
        self.workspaces
            .get(id)
            .map_or(id, |(workspace, _)| workspace.name.as_str())
    }

    /// The directory after a whole list was read, which tells limits of spend as well. A listed workspace that vanishes stays
    /// until [`AGREEING_ANSWERS`] lists over [`AGREEING_SPAN`] agree.
    #[must_use]
    pub fn with_list(&self, listed: Vec<Workspace>, at: Timestamp) -> Directory {
        let mut workspaces: BTreeMap<WorkspaceId, (Workspace, Presence)> = self
            .workspaces
            .iter()
            .map(|(id, (workspace, presence))| {
                (id.clone(), (workspace.clone(), presence.missing_again(at)))
            })
            .collect();
        let mut limits_removed = self.limits_removed.clone();
        for workspace in listed {
            let limits = (self.present_limit(&workspace.id), workspace.monthly_limit);
            note_limit(&mut limits_removed, Some(&workspace.id), limits, at);
            workspaces.insert(workspace.id.clone(), (workspace, Presence::Listed));
        }
        let is_gone = |id: &WorkspaceId| matches!(workspaces.get(id), Some((_, Presence::Gone)));
        limits_removed.retain(|of, _| !of.as_ref().is_some_and(is_gone));
        Directory {
            workspaces,
            listed_at: Some(at),
            limits_removed,
            ..self.clone()
        }
    }

    /// The same, where the service tells limits of spend elsewhere: those that are known stay.
    #[must_use]
    pub fn with_list_without_limits(&self, mut listed: Vec<Workspace>, at: Timestamp) -> Directory {
        for workspace in &mut listed {
            workspace.monthly_limit = self.present_limit(&workspace.id);
        }
        self.with_list(listed, at)
    }

    /// A list of which some rows could not be read: whoever was there before may be among these, and so may their limits.
    #[must_use]
    pub fn completed(&self, mut listed: Vec<Workspace>) -> Vec<Workspace> {
        for workspace in &mut listed {
            let known = self.present_limit(&workspace.id);
            workspace.monthly_limit = workspace.monthly_limit.or(known);
        }
        let ids: BTreeSet<WorkspaceId> = listed.iter().map(|one| one.id.clone()).collect();
        let others = self.present().filter(|one| !ids.contains(&one.id));
        listed.extend(others.cloned());
        listed
    }

    /// The directory with what the service says of the organization, its limit of spend included.
    #[must_use]
    pub fn with_organization(&self, info: OrganizationInfo, at: Timestamp) -> Directory {
        let mut directory = self.clone();
        let limits = (self.usage_limit(), info.usage_limit);
        note_limit(&mut directory.limits_removed, None, limits, at);
        directory.organization = Some(info);
        directory
    }

    /// The same, where the service tells its limit of spend elsewhere: the one that is known stays.
    #[must_use]
    pub fn with_organization_without_limit(&self, info: OrganizationInfo) -> Directory {
        Directory {
            organization: Some(OrganizationInfo {
                usage_limit: self.usage_limit(),
                ..info
            }),
            ..self.clone()
        }
    }

    /// The directory with limits of spend that were read apart from all else: of the organization, and by the id under which
    /// a workspace stands here. What is missing from the newest list is kept as it was.
    #[must_use]
    pub fn with_limits(
        &self,
        organization: LimitOf,
        of: impl Fn(&WorkspaceId) -> LimitOf,
        at: Timestamp,
    ) -> Directory {
        let mut directory = self.clone();
        let removed = &mut directory.limits_removed;
        let mut next = |whose: Option<&WorkspaceId>, before, told| match told {
            LimitOf::Known(limit) => {
                note_limit(removed, whose, (before, limit), at);
                limit
            }
            LimitOf::Unknown => None,
        };
        if let Some(info) = &mut directory.organization {
            info.usage_limit = next(None, info.usage_limit, organization);
        }
        for (id, (workspace, presence)) in &mut directory.workspaces {
            match presence {
                Presence::Listed => {}
                Presence::Missing(_) | Presence::Gone => continue,
            }
            workspace.monthly_limit = next(Some(id), workspace.monthly_limit, of(id));
        }
        directory
    }

    /// The directory where no limit of spend can be read: whether there are any is not known, so none counts as removed.
    #[must_use]
    pub fn with_unknown_limits(&self) -> Directory {
        let mut directory = self.clone();
        if let Some(info) = &mut directory.organization {
            info.usage_limit = None;
        }
        for (workspace, _) in directory.workspaces.values_mut() {
            workspace.monthly_limit = None;
        }
        directory
    }

    fn usage_limit(&self) -> Option<Usd> {
        self.organization.as_ref().and_then(|info| info.usage_limit)
    }

    /// What a workspace had that comes back after it was gone is of another time.
    fn present_limit(&self, id: &WorkspaceId) -> Option<Usd> {
        let (workspace, presence) = self.workspaces.get(id)?;
        match presence {
            Presence::Listed | Presence::Missing(_) => workspace.monthly_limit,
            Presence::Gone => None,
        }
    }

    /// The directory with workspaces that the service tells of and does not list: they count as gone.
    #[must_use]
    pub fn with_unlisted(&self, ids: impl IntoIterator<Item = WorkspaceId>) -> Directory {
        let mut directory = self.clone();
        for id in ids {
            let unlisted = Workspace {
                name: id.as_str().to_owned(),
                id: id.clone(),
                monthly_limit: None,
                requests_per_minute: None,
                created_at: None,
                tags: BTreeMap::new(),
            };
            let entry = directory.workspaces.entry(id);
            entry.or_insert((unlisted, Presence::Gone));
        }
        directory
    }

    /// By what a person is named; the id where they have never been listed.
    pub fn person_name<'a>(&'a self, id: &'a str, people: People) -> &'a str {
        let Some(person) = self.people.get(id) else {
            return id;
        };
        match people {
            People::Email if !person.email.is_empty() => &person.email,
            People::Email => &person.name,
            People::Id | People::Hidden => id,
        }
    }

    /// The name of an API key; its id where it has never been listed.
    pub fn key_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.keys.get(id).map_or(id, String::as_str)
    }
}

/// Notes that a limit is no more, or is there again; of the limit before and after.
fn note_limit(
    removed: &mut BTreeMap<Option<WorkspaceId>, Timestamp>,
    of: Option<&WorkspaceId>,
    (before, after): (Option<Usd>, Option<Usd>),
    at: Timestamp,
) {
    match (before, after) {
        (_, Some(_)) => {
            removed.remove(&of.cloned());
        }
        (Some(_), None) => {
            removed.insert(of.cloned(), at);
        }
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(id: &str) -> Workspace {
        Workspace {
            id: id.into(),
            name: id.to_uppercase(),
            monthly_limit: None,
            requests_per_minute: None,
            created_at: None,
            tags: BTreeMap::new(),
        }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn a_workspace_is_gone_only_after_three_lists_over_thirty_minutes() {
        let directory = Directory::default().with_list(vec![workspace("a"), workspace("b")], at(0));
        let once = directory.with_list(vec![workspace("a")], at(10));
        assert!(once.has_missing());
        let quickly = once
            .with_list(vec![workspace("a")], at(15))
            .with_list(vec![workspace("a")], at(20));
        assert!(quickly.has_missing(), "three lists, but only ten minutes");
        let long = quickly.with_list(vec![workspace("a")], at(40));
        assert!(!long.has_missing());
        assert_eq!(long.present().count(), 1);
        let two_lists = once.with_list(vec![workspace("a")], at(60));
        assert!(two_lists.has_missing(), "fifty minutes, but only two lists");
    }

    fn limited(id: &str, dollars: i64) -> Workspace {
        Workspace {
            monthly_limit: Some(Usd::from_dollars(dollars)),
            ..workspace(id)
        }
    }

    fn removed(directory: &Directory) -> Vec<(Option<&str>, Timestamp)> {
        let removed = directory.limits_removed.iter();
        removed
            .map(|(of, at)| (of.as_ref().map(WorkspaceId::as_str), *at))
            .collect()
    }

    #[test]
    fn a_limit_that_is_no_more_is_noted_until_one_comes_or_its_workspace_goes() {
        let first = Directory::default().with_list(vec![limited("a", 5), workspace("b")], at(0));
        assert_eq!(removed(&first), [], "b never had one");
        let without = vec![workspace("a"), workspace("b")];
        let none = first.with_list(without.clone(), at(15));
        assert_eq!(removed(&none), [(Some("a"), at(15))]);
        let still = none.with_list(without, at(30));
        assert_eq!(removed(&still), [(Some("a"), at(15))], "since then");
        let back = still.with_list(vec![limited("a", 1), workspace("b")], at(45));
        assert_eq!(removed(&back), []);
        let missing = still
            .with_list(vec![], at(45))
            .with_list(vec![workspace("b")], at(50));
        assert_eq!(removed(&missing), [(Some("a"), at(15))], "only missing");
        let gone = missing.with_list(vec![], at(80));
        assert_eq!(removed(&gone), []);
        let again = gone.with_list(vec![workspace("a")], at(100));
        assert_eq!(removed(&again), [], "what it had was of another time");
    }

    #[test]
    fn a_limit_goes_only_by_an_answer_that_tells_limits() {
        let info = |limit: Option<i64>| OrganizationInfo {
            usage_limit: limit.map(Usd::from_dollars),
            ..OrganizationInfo::default()
        };
        let first = Directory::default()
            .with_list(vec![limited("a", 5), limited("b", 6)], at(0))
            .with_organization(info(Some(9)), at(0));
        let relisted = first
            .with_organization_without_limit(info(None))
            .with_list_without_limits(vec![workspace("a"), workspace("c")], at(15));
        let limit = |directory: &Directory, id: &str| directory.workspaces[id].0.monthly_limit;
        assert_eq!(removed(&relisted), []);
        assert_eq!(limit(&relisted, "a"), Some(Usd::from_dollars(5)));
        assert_eq!(relisted.usage_limit(), Some(Usd::from_dollars(9)));
        let unknown = relisted.with_unknown_limits();
        assert_eq!((removed(&unknown), unknown.usage_limit()), (vec![], None));
        let none = LimitOf::Known(None);
        let odd = relisted.with_limits(LimitOf::Unknown, |_| LimitOf::Unknown, at(20));
        assert_eq!((removed(&odd), limit(&odd, "a")), (vec![], None), "unknown");
        let read = relisted.with_limits(none, |_| none, at(20));
        let expected = [(None, at(20)), (Some("a"), at(20))];
        assert_eq!(removed(&read), expected, "b is missing, c never had one");
        assert_eq!(limit(&read, "b"), Some(Usd::from_dollars(6)));
        let one = LimitOf::Known(Some(Usd::from_dollars(1)));
        let back = read.with_limits(one, |_| none, at(30));
        assert_eq!(removed(&back), [(Some("a"), at(20))]);
        let organization = first.with_organization(info(None), at(40));
        assert_eq!(removed(&organization), [(None, at(40))]);
    }

    #[test]
    fn a_list_that_has_it_again_ends_the_doubt() {
        let directory = Directory::default().with_list(vec![workspace("a")], at(0));
        let back = directory
            .with_list(vec![], at(5))
            .with_list(vec![workspace("a")], at(10));
        assert_eq!(back.workspaces["a"].1, Presence::Listed);
    }
}
