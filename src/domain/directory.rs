//! The directory: which workspaces the API lists, by what names and limits, and which of them have vanished.

use std::collections::BTreeMap;

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
    /// Its id: never changes.
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
    /// Successive answers without it.
    pub n_answers: u32,
}

impl Doubt {
    /// The doubt after one more answer without the thing.
    pub fn again(previous: Option<Doubt>, at: Timestamp) -> Doubt {
        match previous {
            Some(doubt) => Doubt {
                since: doubt.since,
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

/// Whether a workspace is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In the newest list.
    Listed,
    /// Missing, not yet for long enough: kept as it was, and the poll is partial.
    Missing(Doubt),
    /// Missing for good. Its spend stays, under the remainder.
    Gone,
}

/// What the API says about the organization itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrganizationInfo {
    /// Its id.
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
    /// By id.
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

/// A person, or an account that acts like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As it is.
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

    /// The directory after a whole list was read. A listed workspace that vanishes stays until
    /// [`AGREEING_ANSWERS`] lists over [`AGREEING_SPAN`] agree.
    #[must_use]
    pub fn with_list(&self, listed: Vec<Workspace>, at: Timestamp) -> Directory {
        let mut workspaces: BTreeMap<WorkspaceId, (Workspace, Presence)> = self
            .workspaces
            .iter()
            .map(|(id, (workspace, presence))| {
                (
                    id.clone(),
                    (workspace.clone(), missing_once_more(*presence, at)),
                )
            })
            .collect();
        for workspace in listed {
            workspaces.insert(workspace.id.clone(), (workspace, Presence::Listed));
        }
        Directory {
            workspaces,
            listed_at: Some(at),
            ..self.clone()
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

fn missing_once_more(presence: Presence, at: Timestamp) -> Presence {
    let previous = match presence {
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

    #[test]
    fn a_list_that_has_it_again_ends_the_doubt() {
        let directory = Directory::default().with_list(vec![workspace("a")], at(0));
        let back = directory
            .with_list(vec![], at(5))
            .with_list(vec![workspace("a")], at(10));
        assert_eq!(back.workspaces["a"].1, Presence::Listed);
    }
}
