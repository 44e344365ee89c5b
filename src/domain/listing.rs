//! What the service lists beside usage and money: workspaces, keys, people, and limits of its own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::directory::{Directory, LimitOf, Person, Workspace};
use crate::domain::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, InviteId, WorkspaceId};
use crate::domain::money::Usd;

/// All workspaces that are not archived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// In the service's order. The default workspace stands under [`crate::domain::ids::DEFAULT_WORKSPACE`] here.
    pub workspaces: Vec<Workspace>,
    /// The default workspace's real id; `None` while it cannot be told from the others.
    pub default: Option<WorkspaceId>,
}

/// An API key, never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    pub id: ApiKeyId,
    pub name: String,
    /// `active`, `inactive`, `archived`, `expired`, or what the service calls it since; `None` where it does not tell.
    pub status: Option<String>,
    /// The real id; `None` for a key of the whole organization, and where the service does not tell.
    pub workspace: Option<WorkspaceId>,
    /// Who made it, where the service tells.
    pub created_by: Option<Maker>,
    pub created_at: Option<Timestamp>,
    /// From when on it opens nothing; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was used last; `None` for never, and where the service does not tell.
    pub last_used_at: Option<Timestamp>,
    /// Its first and last signs, where the service tells them.
    pub hint: Option<String>,
    /// The address of who made it, where the service tells it beside the id.
    pub maker_email: Option<String>,
}

/// Who made a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// A person, who may be in the list of people.
    Person(ActorId),
    /// A service account, or whatever the service calls it since: in no list of people.
    Other(ActorId),
}

/// A person of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    pub id: ActorId,
    /// Where the service tells it.
    pub email: Option<String>,
    /// As it is; the address or the id where there is none.
    pub name: String,
    /// The role in the organization, as the service calls it.
    pub role: String,
    /// `active`, or what the service calls it since; `None` where it does not tell.
    pub status: Option<String>,
    /// Since when they belong to it, where the service tells.
    pub added_at: Option<Timestamp>,
    /// When they did something last; `None` for never, and where the service does not tell.
    pub last_active_at: Option<Timestamp>,
}

/// An invitation into the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInvite {
    pub id: InviteId,
    pub email: String,
    pub role: String,
    /// `pending`, `accepted`, `expired`, `deleted`, or what the service calls it since.
    pub status: String,
    /// When it was sent, where the service tells.
    pub invited_at: Option<Timestamp>,
    /// From when on it lets nobody in, where the service tells.
    pub expires_at: Option<Timestamp>,
}

impl ListedInvite {
    /// Whether it can still be taken up.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.status == "pending" && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A person in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMember {
    pub user: ActorId,
    /// The role in the workspace, as the service calls it.
    pub role: String,
}

/// One of the service's limits of use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// Of what: a group of models by name, else the kind of group, such as `batch`.
    pub group: String,
    /// What is limited, such as `requests_per_minute`.
    pub limiter: String,
    pub value: u64,
}

/// The service's own limits of spend in a UTC month. What is not there has no limit that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendLimits {
    /// The lower one of the organization's own limit and that of its tier.
    pub organization: Option<Usd>,
    pub workspaces: BTreeMap<WorkspaceId, Usd>,
    /// Whose limit is stated in a way that cannot be read, such as in another currency; `None` is the organization.
    pub unknown: BTreeSet<Option<WorkspaceId>>,
}

/// When a list was asked for, and what came of it. Nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asking {
    /// Last, whatever came of it.
    pub asked_at: Option<Timestamp>,
    /// When it was last read whole.
    pub read_at: Option<Timestamp>,
    /// Last, the service refused it.
    pub is_refused: bool,
}

/// What was listed beside usage, and when each was asked for last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listings {
    pub keys: Asking,
    pub people: Asking,
    pub limits_at: Option<Timestamp>,
    /// Limits of use, by real id; `None` is the organization.
    pub rates_at: BTreeMap<Option<WorkspaceId>, Timestamp>,
    /// `None` where they cannot be read.
    pub spend: Option<SpendLimits>,
    /// Limits of use: of the organization, and what workspaces have for themselves, by the id under which each is shown.
    pub rates: BTreeMap<Option<WorkspaceId>, Vec<RateLimit>>,
}

impl Listings {
    /// The directory with the limits of spend as they were read last, if they were read since the daemon began: a list of
    /// workspaces has none.
    pub fn limit(&self, directory: Directory, at: Timestamp) -> Directory {
        let Some(limits) = &self.spend else {
            return directory;
        };
        let real = |id: &WorkspaceId| match id.as_str() {
            DEFAULT_WORKSPACE => directory.default.clone(),
            _ => Some(id.clone()),
        };
        let of = |id: &WorkspaceId| {
            let id = real(id);
            let limit = id.as_ref().and_then(|id| limits.workspaces.get(id));
            let is_unknown = id.is_some() && limits.unknown.contains(&id);
            LimitOf::told(limit.copied(), is_unknown)
        };
        let organization = LimitOf::told(limits.organization, limits.unknown.contains(&None));
        directory.with_limits(organization, of, at)
    }
}

/// As the directory keeps a person.
pub fn person(user: ListedUser) -> (ActorId, Person) {
    let ListedUser {
        id, name, email, ..
    } = user;
    let email = email.unwrap_or_default();
    (id, Person { name, email })
}
