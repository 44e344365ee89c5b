//! Subjects: the organization, workspace, model, API key, person or team that a figure is about.

use std::fmt;
use std::sync::Arc;

/// What kind of thing a rule looks at, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    Organization,
    /// Each workspace, `unattributed` among them.
    Workspace,
    /// Each model, `unattributed` among them.
    Model,
    /// Each API key, `unattributed` among them.
    ApiKey,
    /// Each person or service account, `unattributed` among them.
    User,
    /// Each team, `unassigned` among them.
    Team,
}

impl SubjectKind {
    /// All, in the order in which they are told.
    pub const ALL: [SubjectKind; 6] = [
        SubjectKind::Organization,
        SubjectKind::Workspace,
        SubjectKind::Model,
        SubjectKind::ApiKey,
        SubjectKind::User,
        SubjectKind::Team,
    ];

    /// The word in configuration, labels and the store.
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

    /// The kind of a word; `None` for any other.
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

/// What a figure is about, by id: a rename changes nothing here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Organization, workspace, model, API key, person or team.
    pub kind: SubjectKind,
    /// The organization's or team's name, the id of the workspace, API key or person, the model's name.
    pub id: Arc<str>,
}

impl Subject {
    /// A subject of a kind with an id.
    pub fn new(kind: SubjectKind, id: impl Into<Arc<str>>) -> Subject {
        Subject {
            kind,
            id: id.into(),
        }
    }
}
