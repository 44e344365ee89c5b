//! Problems: what is wrong, where, and a hint. They are collected, so that all can be told at once.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, on a line counted from 1.
    Line(PathBuf, usize),
    /// A file as a whole.
    File(PathBuf),
    Variable(String),
    /// Nowhere in particular: a default.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(path, line) => write!(f, "{}, line {line}", path.display()),
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Variable(name) => write!(f, "environment variable `{name}`"),
            Place::Nowhere => f.write_str("configuration"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// `rules[2].thresholds[0].at`; empty for a whole file.
    pub key: String,
    pub message: String,
}

impl Problem {
    /// At a place.
    pub fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            place,
            key: plain(&key.into()),
            message: plain(&message.into()),
        }
    }
}

/// No more are told of one configuration.
const MAX_TOLD: usize = 200;
/// The longest text of a problem, in characters.
const MAX_TEXT: usize = 800;

/// What stands in a file may be anything; told, it is one line of sensible length.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (n, sign) in text.chars().enumerate() {
        if n >= MAX_TEXT {
            plain.push('…');
            break;
        }
        if sign.is_control() {
            plain.extend(sign.escape_default());
        } else {
            plain.push(sign);
        }
    }
    plain
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: `{}` {}", self.place, self.key, self.message)
        }
    }
}

/// An address as it may be told: where a login may be in it, it is not shown.
pub fn shown(address: &str) -> String {
    if address.contains('@') {
        "an address with a login in it (not shown)".to_owned()
    } else {
        format!("`{address}`")
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Problems {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    unresolved: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Just one.
    pub fn one(problem: Problem) -> Problems {
        Problems {
            errors: RefCell::new(vec![problem]),
            ..Problems::default()
        }
    }

    /// One more that forbids the start; told once, however often it is met.
    pub fn add(&self, problem: Problem) {
        push_new(&self.errors, problem);
    }

    /// One more that should be looked at.
    pub fn warn(&self, problem: Problem) {
        push_new(&self.warnings, problem);
    }

    /// A secret that cannot be used; forbids only what needs it.
    pub fn add_unresolved(&self, problem: Problem) {
        push_new(&self.unresolved, problem);
    }

    /// Secrets that cannot be used, taken out.
    pub fn take_unresolved(&self) -> Vec<Problem> {
        self.unresolved.take()
    }

    /// The warnings, if nothing forbids the start.
    pub fn into_warnings(self) -> Result<Vec<Problem>, Problems> {
        if self.errors.borrow().is_empty() {
            Ok(self.warnings.into_inner())
        } else {
            Err(self)
        }
    }

    /// The errors.
    pub fn errors(&self) -> Vec<Problem> {
        self.errors.borrow().clone()
    }

    /// Each problem as another one.
    #[must_use]
    pub fn map(self, change: impl Fn(Problem) -> Problem) -> Problems {
        let changed = |problems: RefCell<Vec<Problem>>| {
            RefCell::new(problems.into_inner().into_iter().map(&change).collect())
        };
        Problems {
            errors: changed(self.errors),
            warnings: changed(self.warnings),
            unresolved: changed(self.unresolved),
        }
    }

    /// In the order of the configuration's file; after it, those of files that it names, in theirs.
    #[must_use]
    pub fn sorted(self, file: &Path) -> Problems {
        let sorted = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| match &problem.place {
                Place::Line(path, line) => (file != path, *line),
                Place::File(_) | Place::Variable(_) | Place::Nowhere => (false, 0),
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

fn push_new(problems: &RefCell<Vec<Problem>>, problem: Problem) {
    let mut problems = problems.borrow_mut();
    if problems.len() == MAX_TOLD {
        let message = format!("there are more than {MAX_TOLD} problems; these are the first");
        problems.push(Problem::new(Place::Nowhere, "", message));
    } else if problems.len() < MAX_TOLD && !problems.contains(&problem) {
        problems.push(problem);
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.borrow();
        for (place, problem) in errors.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
