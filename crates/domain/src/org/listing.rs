//! Lists of the Admin API other than usage and cost: workspaces, keys, users and provider limits.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::org::directory::{Directory, ReportedLimit, UserInfo, Workspace};
use crate::units::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, InviteId, WorkspaceId};
use crate::units::money::Usd;

/// All workspaces that are not archived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkspaceList {
    /// In the order of the Admin API. The default workspace has the id [`crate::units::ids::DEFAULT_WORKSPACE`].
    pub workspaces: Vec<Workspace>,
    /// Real id of the default workspace; `None` while it cannot be distinguished from the others.
    pub default: Option<WorkspaceId>,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    pub id: ApiKeyId,
    pub name: String,
    /// `active`, `inactive`, `archived`, `expired`, or a newer word; `None` if not reported.
    pub status: Option<String>,
    /// Real id; `None` for a key of the whole organization, or if not reported.
    pub workspace: Option<WorkspaceId>,
    pub created_by: Option<KeyCreator>,
    pub created_at: Option<Timestamp>,
    /// `None` if it never expires.
    pub expires_at: Option<Timestamp>,
    /// `None` if never used, or if not reported.
    pub last_used_at: Option<Timestamp>,
    /// First and last characters of the secret, if reported.
    pub hint: Option<String>,
    /// Email address of the creator, if reported.
    pub creator_email: Option<String>,
}

/// Creator of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCreator {
    /// A user, who may be in the list of users.
    User(ActorId),
    /// A service account or a newer kind, which is in no list of users.
    Other(ActorId),
}

/// A user of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    pub id: ActorId,
    pub email: Option<String>,
    /// The email address or the id if the user has no name.
    pub name: String,
    /// Role in the organization, as in the Admin API.
    pub role: String,
    /// `active` or a newer word; `None` if not reported.
    pub status: Option<String>,
    pub added_at: Option<Timestamp>,
    /// `None` if never active, or if not reported.
    pub last_active_at: Option<Timestamp>,
}

/// An invitation to the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInvite {
    pub id: InviteId,
    pub email: String,
    pub role: String,
    /// `pending`, `accepted`, `expired`, `deleted`, or a newer word.
    pub status: String,
    pub invited_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl ListedInvite {
    /// Returns whether it can still be accepted.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.status == "pending" && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A member of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMember {
    pub user: ActorId,
    /// Role in the workspace, as in the Admin API.
    pub role: String,
}

/// A rate limit of the Claude API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// Name of a group of models, or the kind of group such as `batch`.
    pub group: String,
    /// Limited quantity, such as `requests_per_minute`.
    pub limiter: String,
    pub value: u64,
}

/// Provider limits of spend per UTC month. Absent entries have no limit that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendLimits {
    /// The lower of the organization's limit and that of its tier.
    pub organization: Option<Usd>,
    pub workspaces: BTreeMap<WorkspaceId, Usd>,
    /// Workspaces whose limit cannot be read, for example because of its currency; `None` is the organization.
    pub unknown: BTreeSet<Option<WorkspaceId>>,
}

/// When a list was last requested, and with what result; not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListStatus {
    pub requested_at: Option<Timestamp>,
    /// When it was last read completely.
    pub read_at: Option<Timestamp>,
    /// Whether the last request was denied.
    pub is_refused: bool,
}

/// Results of the lists other than usage, and when each was last requested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listings {
    pub keys: ListStatus,
    pub people: ListStatus,
    pub limits_at: Option<Timestamp>,
    /// By real id; `None` is the organization.
    pub rate_limits_at: BTreeMap<Option<WorkspaceId>, Timestamp>,
    /// `None` if they cannot be read.
    pub spend: Option<SpendLimits>,
    /// Rate limits of the organization and those specific to workspaces, by the id under which each is shown.
    pub rate_limits: BTreeMap<Option<WorkspaceId>, Vec<RateLimit>>,
}

impl Listings {
    /// Adds the spend limits to a directory if they were read since the daemon started; the list of workspaces has none.
    pub fn with_spend_limits(&self, directory: Directory, at: Timestamp) -> Directory {
        let Some(limits) = &self.spend else {
            return directory;
        };
        let real = |id: &WorkspaceId| match id.as_str() {
            DEFAULT_WORKSPACE => directory.default_workspace.clone(),
            _ => Some(id.clone()),
        };
        let workspace_limit = |id: &WorkspaceId| {
            let id = real(id);
            let limit = id.as_ref().and_then(|id| limits.workspaces.get(id));
            let is_unknown = id.is_some() && limits.unknown.contains(&id);
            ReportedLimit::new(limit.copied(), is_unknown)
        };
        let organization = ReportedLimit::new(limits.organization, limits.unknown.contains(&None));
        directory.with_limits(organization, workspace_limit, at)
    }
}

/// Converts a user into a directory entry.
pub fn person(user: ListedUser) -> (ActorId, UserInfo) {
    let ListedUser {
        id, name, email, ..
    } = user;
    let email = email.unwrap_or_default();
    (id, UserInfo { name, email })
}
