//! Problems: what is wrong, where, and a hint. They are collected, so that all can be told at once.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, on a line counted from 1.
    Line(PathBuf, usize),
    /// A file as a whole.
    File(PathBuf),
    /// In an environment variable.
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
    /// Where.
    pub place: Place,
    /// `rules[2].thresholds[0].at`; empty for a whole file.
    pub key: String,
    /// What.
    pub message: String,
}

impl Problem {
    /// At a place.
    pub fn new(place: Place, key: impl Into<String>, message: String) -> Problem {
        Problem {
            place,
            key: key.into(),
            message,
        }
    }
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

/// What was found so far.
#[derive(Debug, Default)]
pub struct Problems {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Just one.
    pub fn one(problem: Problem) -> Problems {
        Problems {
            errors: RefCell::new(vec![problem]),
            warnings: RefCell::default(),
        }
    }

    /// One more that forbids the start.
    pub fn add(&self, problem: Problem) {
        self.errors.borrow_mut().push(problem);
    }

    /// One more that should be looked at.
    pub fn warn(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
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
