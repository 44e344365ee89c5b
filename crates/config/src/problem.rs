//! Errors and warnings of a configuration, each with its location and a hint. They are collected and reported together.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Location of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A line of a file, counted from 1.
    Line(PathBuf, usize),
    /// A file as a whole.
    File(PathBuf),
    Variable(String),
    /// No location, such as that of a default.
    Nowhere,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Location::File(path) => write!(f, "{}", path.display()),
            Location::Variable(name) => write!(f, "environment variable `{name}`"),
            Location::Nowhere => f.write_str("configuration"),
        }
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    pub location: Location,
    /// Full key, such as `rules[2].thresholds[0].at`; empty for a whole file.
    pub key: String,
    /// Cause and, after `; `, what to do. Continues the key, such as "is missing", unless `is_clause`.
    pub message: String,
    /// Whether `message` is a complete clause, so that the key is printed as part of the place.
    pub is_clause: bool,
}

impl ConfigProblem {
    /// Creates a problem whose message continues the key.
    pub fn new(
        location: Location,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> ConfigProblem {
        ConfigProblem {
            location,
            key: printable(&key.into()),
            message: printable(&message.into()),
            is_clause: false,
        }
    }

    /// Creates a problem whose message is a complete clause.
    pub fn clause(
        location: Location,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> ConfigProblem {
        ConfigProblem {
            is_clause: true,
            ..ConfigProblem::new(location, key, message)
        }
    }
}

/// Maximum number of problems reported for one configuration.
const MAX_PROBLEMS: usize = 200;
/// Maximum length of a problem's text, in characters.
const MAX_TEXT: usize = 800;

/// Escapes control characters and limits the length, since messages quote the file.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for (n, character) in text.chars().enumerate() {
        if n >= MAX_TEXT {
            printable.push('…');
            break;
        }
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, hint) = split_hint(&self.message);
        if !self.key.is_empty() && !self.is_clause {
            write!(f, "`{}` ", self.key)?;
        }
        f.write_str(cause)?;
        let has_key_in_place = self.is_clause && !self.key.is_empty();
        match (&self.location, has_key_in_place) {
            (Location::Nowhere, false) => {}
            (Location::Nowhere, true) => write!(f, ": `{}`", self.key)?,
            (location, false) => write!(f, ": {location}")?,
            (location, true) => write!(f, ": `{}`, {location}", self.key)?,
        }
        match hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Splits a message into cause and hint at the first `; ` outside of backticks, which may quote any text.
fn split_hint(message: &str) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    for (at, character) in message.char_indices() {
        match character {
            '`' => is_quoted = !is_quoted,
            ';' if !is_quoted => {
                if let Some(hint) = message[at..].strip_prefix("; ") {
                    return (&message[..at], Some(hint));
                }
            }
            _ => {}
        }
    }
    (message, None)
}

/// Quotes a URL for a message, or hides it if it may contain a login.
pub fn redacted_address(address: &str) -> String {
    if address.contains('@') {
        "a URL with a login (not shown)".to_owned()
    } else {
        format!("`{address}`")
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems {
    errors: RefCell<Vec<ConfigProblem>>,
    warnings: RefCell<Vec<ConfigProblem>>,
    unresolved: RefCell<Vec<ConfigProblem>>,
}

impl Problems {
    /// Creates a collection with one error.
    pub fn one(problem: ConfigProblem) -> Problems {
        Problems {
            errors: RefCell::new(vec![problem]),
            ..Problems::default()
        }
    }

    /// Adds an error, which prevents the start. Duplicates are ignored.
    pub fn add(&self, problem: ConfigProblem) {
        push_unique(&self.errors, problem);
    }

    /// Adds a warning.
    pub fn warn(&self, problem: ConfigProblem) {
        push_unique(&self.warnings, problem);
    }

    /// Adds an unusable secret, which fails only commands that need it.
    pub fn add_unresolved(&self, problem: ConfigProblem) {
        push_unique(&self.unresolved, problem);
    }

    /// Removes and returns the unusable secrets.
    pub fn take_unresolved(&self) -> Vec<ConfigProblem> {
        self.unresolved.take()
    }

    /// Returns the warnings, or all problems if there are errors.
    pub fn into_warnings(self) -> Result<Vec<ConfigProblem>, Problems> {
        if self.errors.borrow().is_empty() {
            Ok(self.warnings.into_inner())
        } else {
            Err(self)
        }
    }

    /// Returns the errors.
    pub fn errors(&self) -> Vec<ConfigProblem> {
        self.errors.borrow().clone()
    }

    /// Replaces each problem by the result of `change`.
    #[must_use]
    pub fn map(self, change: impl Fn(ConfigProblem) -> ConfigProblem) -> Problems {
        let changed = |problems: RefCell<Vec<ConfigProblem>>| {
            RefCell::new(problems.into_inner().into_iter().map(&change).collect())
        };
        Problems {
            errors: changed(self.errors),
            warnings: changed(self.warnings),
            unresolved: changed(self.unresolved),
        }
    }

    /// Sorts by line: first those of the configuration file, then those of files that it names.
    #[must_use]
    pub fn sorted(self, file: &Path) -> Problems {
        let sorted = |problems: RefCell<Vec<ConfigProblem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| match &problem.location {
                Location::Line(path, line) => (file != path, *line),
                Location::File(_) | Location::Variable(_) | Location::Nowhere => (false, 0),
            });
            RefCell::new(problems)
        };
        Problems {
            errors: sorted(self.errors),
            warnings: sorted(self.warnings),
            unresolved: sorted(self.unresolved),
        }
    }
}

fn push_unique(problems: &RefCell<Vec<ConfigProblem>>, problem: ConfigProblem) {
    let mut problems = problems.borrow_mut();
    if problems.len() == MAX_PROBLEMS {
        let message = format!("more than {MAX_PROBLEMS} problems; only the first are shown");
        problems.push(ConfigProblem::new(Location::Nowhere, "", message));
    } else if problems.len() < MAX_PROBLEMS && !problems.contains(&problem) {
        problems.push(problem);
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.borrow();
        for (index, problem) in errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
