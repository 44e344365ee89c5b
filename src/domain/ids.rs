//! Names and ids, each a type of its own, so that two of them cannot be confused.

use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From any text; nothing is checked or changed.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text as it is.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared: nothing is copied.
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
    /// The name that the configuration gives to an organization: the `organization` label.
    OrganizationName
    /// A workspace's id as the API has it, or `unattributed` for the remainder.
    WorkspaceId
    /// An API key's id as the API has it.
    ApiKeyId
    /// Who used something: a person's id as the list of users has it, or that of a service account.
    ActorId
    /// An invitation's id as the API has it.
    InviteId
    /// A model's name as the API has it, or `unattributed` for what has no model.
    ModelName
    /// A team of the configuration, or `unassigned`.
    TeamName
    /// A rule's name, unique in the configuration.
    RuleName
    /// A notifier's name, unique in the configuration.
    NotifierName
}

/// What belongs to no listed workspace or model stands under this id.
pub const UNATTRIBUTED: &str = "unattributed";

/// The workspace that every organization has stands under this id: the service knows it by several.
pub const DEFAULT_WORKSPACE: &str = "default";

/// All people together stand under this id where they are hidden.
pub const HIDDEN: &str = "hidden";

/// What belongs to no team stands under this name.
pub const UNASSIGNED: &str = "unassigned";
