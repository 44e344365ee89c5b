//! Names and ids, each with its own type so that they cannot be confused.

use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates an id from any string, unchecked.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Returns the id as a string slice.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the shared string without copying it.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

text_id! {
    /// An organization's name in the configuration; value of the `organization` label.
    OrganizationName
    /// A workspace id of the Admin API, or `unattributed` for the remainder.
    WorkspaceId
    /// An API key id of the Admin API.
    ApiKeyId
    /// The id of a user or service account, as in the list of users.
    ActorId
    /// An invitation id of the Admin API.
    InviteId
    /// A model id of the Admin API, or `unattributed` for spend without a model.
    ModelName
    /// A configured team, or `unassigned`.
    TeamName
    /// A rule's name, unique in the configuration.
    RuleName
    /// A notifier's name, unique in the configuration.
    NotifierName
}

/// Id for spend that belongs to no listed workspace, model, key or user.
pub const UNATTRIBUTED: &str = "unattributed";

/// Id of the default workspace, which the Admin API names in several ways.
pub const DEFAULT_WORKSPACE: &str = "default";

/// Id under which all users are summed when their identities are hidden.
pub const HIDDEN: &str = "hidden";

/// Name for spend that belongs to no team.
pub const UNASSIGNED: &str = "unassigned";
