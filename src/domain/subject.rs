//! Subjects: the organization, workspace, model or team that a figure is about.

use std::fmt;
use std::sync::Arc;

/// What kind of thing a rule looks at, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// The whole organization.
    Organization,
    /// Each workspace, `unattributed` among them.
    Workspace,
    /// Each model, `unattributed` among them.
    Model,
    /// Each team, `unassigned` among them.
    Team,
}

impl SubjectKind {
    /// The word in configuration, labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Organization => "organization",
            SubjectKind::Workspace => "workspace",
            SubjectKind::Model => "model",
            SubjectKind::Team => "team",
        }
    }

    /// The kind of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<SubjectKind> {
        [
            SubjectKind::Organization,
            SubjectKind::Workspace,
            SubjectKind::Model,
            SubjectKind::Team,
        ]
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
    /// Organization, workspace, model or team.
    pub kind: SubjectKind,
    /// The organization's or team's name, the workspace's id, the model's name.
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
