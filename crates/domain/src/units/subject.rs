//! Subjects: the organization, workspace, model, API key, user or team that a figure is about.

use std::fmt;
use std::sync::Arc;

/// The kind of subject that a rule evaluates separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    Organization,
    /// Including `unattributed`.
    Workspace,
    /// Including `unattributed`.
    Model,
    /// Including `unattributed`.
    ApiKey,
    /// Users and service accounts, including `unattributed`.
    User,
    /// Including `unassigned`.
    Team,
}

impl SubjectKind {
    /// All kinds, in display order.
    pub const ALL: [SubjectKind; 6] = [
        SubjectKind::Organization,
        SubjectKind::Workspace,
        SubjectKind::Model,
        SubjectKind::ApiKey,
        SubjectKind::User,
        SubjectKind::Team,
    ];

    /// Returns the word used in configuration, labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Organization => "organization",
            SubjectKind::Workspace => "workspace",
            SubjectKind::Model => "model",
            SubjectKind::ApiKey => "api_key",
            SubjectKind::User => "user",
            SubjectKind::Team => "team",
        }
    }

    /// Parses the word used in configuration, labels and the store.
    pub fn parse(word: &str) -> Option<SubjectKind> {
        SubjectKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a figure is about, identified by id so that renames do not change it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub kind: SubjectKind,
    /// The name of an organization, team or model; the id of a workspace, API key or user.
    pub id: Arc<str>,
}

impl Subject {
    /// Creates a subject; its id is compared as it is.
    pub fn new(kind: SubjectKind, id: impl Into<Arc<str>>) -> Subject {
        Subject {
            kind,
            id: id.into(),
        }
    }
}
