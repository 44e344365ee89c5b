//! The directory: workspaces as listed by the API, with names and limits, and which of them have vanished.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::units::ids::{ActorId, ApiKeyId, WorkspaceId};
use crate::units::money::Usd;
use crate::units::privacy::UserNaming;

/// Number of successive responses without an object before it is considered removed.
pub const AGREEING_ANSWERS: u32 = 3;
/// Minimum time that these responses must span.
pub const AGREEING_SPAN: SignedDuration = SignedDuration::from_mins(30);

/// One workspace as listed by the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: String,
    /// The provider limit on spend per UTC month.
    pub monthly_limit: Option<Usd>,
    /// The provider limit on requests per minute.
    pub requests_per_minute: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub tags: BTreeMap<String, String>,
}

/// An object that is missing from complete responses but not yet considered removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingRemoval {
    /// Time of the first response without it.
    pub since: Timestamp,
    /// Number of successive responses without it; 0 if it was reported but could not be read.
    pub n_responses: u32,
}

impl PendingRemoval {
    /// Creates a marker for a bucket that could not be read.
    pub fn unreadable(at: Timestamp) -> PendingRemoval {
        PendingRemoval {
            since: at,
            n_responses: 0,
        }
    }

    /// Returns whether the bucket could not be read.
    pub fn is_unreadable(&self) -> bool {
        self.n_responses == 0
    }

    /// Returns the state after one more response without the object.
    pub fn again(previous: Option<PendingRemoval>, at: Timestamp) -> PendingRemoval {
        match previous.filter(|pending| !pending.is_unreadable()) {
            Some(pending) => PendingRemoval {
                // A later time was recorded by a wrong clock.
                since: pending.since.min(at),
                n_responses: pending.n_responses.saturating_add(1),
            },
            None => PendingRemoval {
                since: at,
                n_responses: 1,
            },
        }
    }

    /// Returns whether enough responses over enough time agree that the object is removed.
    pub fn is_certain(&self, at: Timestamp) -> bool {
        self.n_responses >= AGREEING_ANSWERS && at.duration_since(self.since) >= AGREEING_SPAN
    }
}

/// Whether an object is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Listed,
    /// Missing, but not yet for long enough: kept as it was, and the poll is incomplete.
    Missing(PendingRemoval),
    /// Removed. Its spend counts as remainder.
    Removed,
}

impl Presence {
    /// Returns the presence after one more complete list without the object.
    #[must_use]
    pub fn missing_again(self, at: Timestamp) -> Presence {
        let previous = match self {
            Presence::Removed => return Presence::Removed,
            Presence::Missing(pending) => Some(pending),
            Presence::Listed => None,
        };
        let pending = PendingRemoval::again(previous, at);
        if pending.is_certain(at) {
            Presence::Removed
        } else {
            Presence::Missing(pending)
        }
    }
}

/// The organization as reported by the API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrganizationInfo {
    pub id: String,
    pub name: String,
    /// The provider limit on spend per UTC month.
    pub usage_limit: Option<Usd>,
    /// Month-to-date spend as stated by Anthropic.
    pub current_month_usage: Option<Usd>,
}

/// All workspaces ever listed, and the organization's own data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    pub workspaces: BTreeMap<WorkspaceId, (Workspace, Presence)>,
    /// `None` until it was first read.
    pub organization: Option<OrganizationInfo>,
    /// When the workspace list was last read completely.
    pub listed_at: Option<Timestamp>,
    /// The real id of the default workspace, if there is one and it is known.
    pub default_workspace: Option<WorkspaceId>,
    pub keys: BTreeMap<ApiKeyId, String>,
    pub users: BTreeMap<ActorId, UserInfo>,
    /// When a provider limit was found removed, until it is set again; key `None` for the organization.
    pub limits_removed: BTreeMap<Option<WorkspaceId>, Timestamp>,
}

/// A provider limit in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedLimit {
    /// `None` for no limit.
    Known(Option<Usd>),
    /// Present but unreadable: does not count as removed.
    Unknown,
}

impl ReportedLimit {
    /// Combines a limit that could be read, and whether there was one that could not.
    pub fn new(limit: Option<Usd>, is_unknown: bool) -> ReportedLimit {
        match limit {
            None if is_unknown => ReportedLimit::Unknown,
            Some(_) | None => ReportedLimit::Known(limit),
        }
    }
}

/// A user or service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    /// Empty if unknown.
    pub email: String,
}

impl Directory {
    /// Returns the workspaces that count as existing: listed, or missing but not yet removed.
    pub fn present(&self) -> impl Iterator<Item = &Workspace> {
        self.workspaces
            .values()
            .filter(|(_, presence)| !matches!(presence, Presence::Removed))
            .map(|(workspace, _)| workspace)
    }

    /// Returns whether a workspace counts as existing.
    pub fn is_present(&self, id: &WorkspaceId) -> bool {
        self.workspaces
            .get(id)
            .is_some_and(|(_, presence)| !matches!(presence, Presence::Removed))
    }

    /// Returns whether a workspace is missing but not yet considered removed.
    pub fn has_missing(&self) -> bool {
        self.workspaces
            .values()
            .any(|(_, presence)| matches!(presence, Presence::Missing(_)))
    }

    /// Returns the name of a workspace, or its id if it was never listed.
    pub fn name_of<'a>(&'a self, id: &'a str) -> &'a str {
        self.workspaces
            .get(id)
            .map_or(id, |(workspace, _)| workspace.name.as_str())
    }

    /// Applies a complete list of workspaces with their limits. A missing workspace stays until [`AGREEING_ANSWERS`]
    /// lists over [`AGREEING_SPAN`] agree.
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
        let is_removed =
            |id: &WorkspaceId| matches!(workspaces.get(id), Some((_, Presence::Removed)));
        limits_removed.retain(|of, _| !of.as_ref().is_some_and(is_removed));
        Directory {
            workspaces,
            listed_at: Some(at),
            limits_removed,
            ..self.clone()
        }
    }

    /// Applies a complete list of workspaces without limits, which keeps the known limits.
    #[must_use]
    pub fn with_list_without_limits(&self, mut listed: Vec<Workspace>, at: Timestamp) -> Directory {
        for workspace in &mut listed {
            workspace.monthly_limit = self.present_limit(&workspace.id);
        }
        self.with_list(listed, at)
    }

    /// Completes a list that had unreadable rows with the known workspaces and limits, which these rows may contain.
    #[must_use]
    pub fn completed_list(&self, mut listed: Vec<Workspace>) -> Vec<Workspace> {
        for workspace in &mut listed {
            let known = self.present_limit(&workspace.id);
            workspace.monthly_limit = workspace.monthly_limit.or(known);
        }
        let ids: BTreeSet<WorkspaceId> = listed.iter().map(|one| one.id.clone()).collect();
        let others = self.present().filter(|one| !ids.contains(&one.id));
        listed.extend(others.cloned());
        listed
    }

    /// Applies the organization's data with its limit.
    #[must_use]
    pub fn with_organization(&self, info: OrganizationInfo, at: Timestamp) -> Directory {
        let mut directory = self.clone();
        let limits = (self.usage_limit(), info.usage_limit);
        note_limit(&mut directory.limits_removed, None, limits, at);
        directory.organization = Some(info);
        directory
    }

    /// Applies the organization's data without its limit, which keeps the known limit.
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

    /// Applies separately read limits of the organization and of listed workspaces. Missing workspaces keep theirs.
    #[must_use]
    pub fn with_limits(
        &self,
        organization: ReportedLimit,
        of: impl Fn(&WorkspaceId) -> ReportedLimit,
        at: Timestamp,
    ) -> Directory {
        let mut directory = self.clone();
        let removed = &mut directory.limits_removed;
        let mut next = |workspace: Option<&WorkspaceId>, before, reported| match reported {
            ReportedLimit::Known(limit) => {
                note_limit(removed, workspace, (before, limit), at);
                limit
            }
            ReportedLimit::Unknown => None,
        };
        if let Some(info) = &mut directory.organization {
            info.usage_limit = next(None, info.usage_limit, organization);
        }
        for (id, (workspace, presence)) in &mut directory.workspaces {
            match presence {
                Presence::Listed => {}
                Presence::Missing(_) | Presence::Removed => continue,
            }
            workspace.monthly_limit = next(Some(id), workspace.monthly_limit, of(id));
        }
        directory
    }

    /// Clears all limits because they cannot be read; none counts as removed.
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

    /// A workspace that returns after it was removed does not keep its earlier limit.
    fn present_limit(&self, id: &WorkspaceId) -> Option<Usd> {
        let (workspace, presence) = self.workspaces.get(id)?;
        match presence {
            Presence::Listed | Presence::Missing(_) => workspace.monthly_limit,
            Presence::Removed => None,
        }
    }

    /// Adds workspaces that are reported but not listed, as removed.
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
            entry.or_insert((unlisted, Presence::Removed));
        }
        directory
    }

    /// Returns the displayed name of a user, or the id if they were never listed.
    pub fn user_name<'a>(&'a self, id: &'a str, naming: UserNaming) -> &'a str {
        let Some(user) = self.users.get(id) else {
            return id;
        };
        match naming {
            UserNaming::Email if !user.email.is_empty() => &user.email,
            UserNaming::Email => &user.name,
            UserNaming::Id | UserNaming::Hidden => id,
        }
    }

    /// Returns the name of an API key, or its id if it was never listed.
    pub fn key_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.keys.get(id).map_or(id, String::as_str)
    }
}

/// Records that a limit was removed or set again.
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
    fn a_workspace_is_removed_only_after_three_lists_over_thirty_minutes() {
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
    fn removed_limits_are_recorded_until_set_again_or_the_workspace_is_removed() {
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
        let removed_workspace = missing.with_list(vec![], at(80));
        assert_eq!(removed(&removed_workspace), []);
        let again = removed_workspace.with_list(vec![workspace("a")], at(100));
        assert_eq!(removed(&again), [], "earlier limits are dropped");
    }

    #[test]
    fn only_responses_with_limits_can_remove_a_limit() {
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
        let none = ReportedLimit::Known(None);
        let odd = relisted.with_limits(ReportedLimit::Unknown, |_| ReportedLimit::Unknown, at(20));
        assert_eq!((removed(&odd), limit(&odd, "a")), (vec![], None), "unknown");
        let read = relisted.with_limits(none, |_| none, at(20));
        let expected = [(None, at(20)), (Some("a"), at(20))];
        assert_eq!(removed(&read), expected, "b is missing, c never had one");
        assert_eq!(limit(&read, "b"), Some(Usd::from_dollars(6)));
        let one = ReportedLimit::Known(Some(Usd::from_dollars(1)));
        let back = read.with_limits(one, |_| none, at(30));
        assert_eq!(removed(&back), [(Some("a"), at(20))]);
        let organization = first.with_organization(info(None), at(40));
        assert_eq!(removed(&organization), [(None, at(40))]);
    }

    #[test]
    fn a_list_that_contains_the_workspace_again_ends_the_pending_removal() {
        let directory = Directory::default().with_list(vec![workspace("a")], at(0));
        let back = directory
            .with_list(vec![], at(5))
            .with_list(vec![workspace("a")], at(10));
        assert_eq!(back.workspaces["a"].1, Presence::Listed);
    }
}
