//! The census: which keys and people there are at this moment, as they were last listed whole. Rules on events ask it, and
//! nothing else: names of what was once listed stand in the directory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::directory::Presence;
use crate::domain::ids::{ActorId, ApiKeyId, WorkspaceId};

/// Keys and people. A list that was not read whole yet since the daemon began is `None`: what it would tell is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// By id.
    pub keys: Option<BTreeMap<ApiKeyId, CountedKey>>,
    /// By id.
    pub people: Option<BTreeMap<ActorId, CountedPerson>>,
}

impl Census {
    /// Nothing was listed yet.
    pub const UNKNOWN: Census = Census {
        keys: None,
        people: None,
    };
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedKey {
    /// Not unique.
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
    /// When it was made.
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
