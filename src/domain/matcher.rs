//! Globs over names and ids: which subjects a rule looks at, which workspaces a team has.

use globset::{GlobBuilder, GlobMatcher};

/// A glob over a name: `*`, `?`, `[…]`, `{a,b}`. Case counts; `*` matches everything, slashes included.
#[derive(Debug, Clone)]
pub struct Glob(GlobMatcher);

impl Glob {
    /// Reads a pattern; the error is the reason in words.
    pub fn new(pattern: &str) -> Result<Glob, String> {
        GlobBuilder::new(pattern)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map(|glob| Glob(glob.compile_matcher()))
            .map_err(|error| error.kind().to_string())
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        self.0.glob().glob()
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Glob) -> bool {
        self.pattern() == other.pattern()
    }
}

impl Eq for Glob {}

/// What a rule is narrowed to. `None` is everything. A workspace's glob may match its name or its id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// The organization's configured name.
    pub organization: Option<Glob>,
    /// A workspace's name or id.
    pub workspace: Option<Glob>,
    /// A model's name.
    pub model: Option<Glob>,
    /// A team's name.
    pub team: Option<Glob>,
    /// An API key's id or name. Where the dialect has no usage by key, a rule that asks for one has no subject.
    pub api_key: Option<Glob>,
    /// A person's id, email address or name. Where the dialect has no usage by person, a rule that asks for one has no
    /// subject.
    pub user: Option<Glob>,
}

/// A name that the configuration gives to a set of workspaces (and, where the dialect has them, keys and tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Unique; `unassigned` is taken.
    pub name: crate::domain::ids::TeamName,
    /// Workspaces by name or id.
    pub workspaces: Vec<Glob>,
    /// API keys by id or name; used where the dialect has usage by key.
    pub api_keys: Vec<Glob>,
    /// Tags of workspaces, all of which must match; used where the dialect has tags.
    pub workspace_tags: std::collections::BTreeMap<String, String>,
    /// Who is told of what belongs to it; empty is whoever the rules name.
    pub notify: Vec<crate::domain::ids::NotifierName>,
}

impl Team {
    /// Whether a workspace is one of this team's.
    pub fn has_workspace(&self, id: &str, name: &str) -> bool {
        self.workspaces
            .iter()
            .any(|glob| glob.matches(name) || glob.matches(id))
    }
}
