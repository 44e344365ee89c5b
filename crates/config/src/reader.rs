//! Reads sections key by key. A key that was read is a known key; [`SectionReader::finish`] reports all others as unknown,
//! with the nearest match.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use crate::near::nearest;
use crate::problem::{ConfigProblem, Location, Problems};
use crate::source::Environment;
use crate::tree::{Node, Table, Value};

/// One table of the configuration.
pub struct SectionReader<'a> {
    table: &'a Table,
    path: String,
    location: Location,
    problems: &'a Problems,
    environment: &'a Environment,
    read_keys: RefCell<BTreeSet<&'static str>>,
}

/// A value with its location, so that a later check can report it.
#[derive(Debug, Clone)]
pub struct Located<T> {
    pub value: T,
    pub location: Location,
    pub key: String,
}

impl<'a> SectionReader<'a> {
    /// Returns a reader of the top-level table.
    pub fn root(
        table: &'a Table,
        file: Option<&Path>,
        problems: &'a Problems,
        environment: &'a Environment,
    ) -> SectionReader<'a> {
        SectionReader {
            table,
            path: String::new(),
            location: file.map_or(Location::Nowhere, |file| Location::File(file.to_owned())),
            problems,
            environment,
            read_keys: RefCell::default(),
        }
    }

    /// Returns the environment in which named variables are looked up.
    pub fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Reports an error of the whole section.
    pub fn problem_here(&self, message: impl Into<String>) {
        let location = self.location.clone();
        self.problems.add(ConfigProblem::new(
            location,
            self.path.clone(),
            message.into(),
        ));
    }

    /// Reports an error of a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let location = self
            .table
            .get(key)
            .map_or(&self.location, |node| &node.location);
        self.problems.add(ConfigProblem::new(
            location.clone(),
            self.key(key),
            message.into(),
        ));
    }

    /// Reports an unusable secret, an error only for commands that need it.
    pub fn unresolved(&self, key: &str, message: impl Into<String>) {
        let location = self
            .table
            .get(key)
            .map_or(&self.location, |node| &node.location);
        self.problems.add_unresolved(ConfigProblem::new(
            location.clone(),
            self.key(key),
            message.into(),
        ));
    }

    /// Reports an unusable secret by a clause that does not continue the key.
    pub fn unresolved_clause(&self, key: &str, message: impl Into<String>) {
        let location = self
            .table
            .get(key)
            .map_or(&self.location, |node| &node.location);
        self.problems.add_unresolved(ConfigProblem::clause(
            location.clone(),
            self.key(key),
            message.into(),
        ));
    }

    /// Reports an unusable secret that was read before.
    pub fn unresolved_at<T>(&self, located: &Located<T>, message: impl Into<String>) {
        let location = located.location.clone();
        self.problems.add_unresolved(ConfigProblem::new(
            location,
            located.key.clone(),
            message.into(),
        ));
    }

    /// Reports a warning about a key.
    pub fn warn(&self, key: &str, message: impl Into<String>) {
        let location = self
            .table
            .get(key)
            .map_or(&self.location, |node| &node.location);
        self.problems.warn(ConfigProblem::new(
            location.clone(),
            self.key(key),
            message.into(),
        ));
    }

    /// Reports an error in a file that the configuration names.
    pub fn problem_elsewhere(&self, problem: ConfigProblem) {
        self.problems.add(problem);
    }

    /// Reports a warning about a file that the configuration names.
    pub fn warn_elsewhere(&self, problem: ConfigProblem) {
        self.problems.warn(problem);
    }

    /// Reports an error of a value that was read before.
    pub fn problem_at<T>(&self, located: &Located<T>, message: impl Into<String>) {
        self.problems.add(ConfigProblem::new(
            located.location.clone(),
            located.key.clone(),
            message.into(),
        ));
    }

    /// Reports a warning about a value that was read before.
    pub fn warn_at<T>(&self, located: &Located<T>, message: impl Into<String>) {
        let location = located.location.clone();
        self.problems.warn(ConfigProblem::new(
            location,
            located.key.clone(),
            message.into(),
        ));
    }

    /// Returns whether a key is set.
    pub fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// Reads a string.
    pub fn text(&self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(self.located(key, node, text.clone())),
            Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => self.wrong_type(key, node, "a string in quotes"),
        }
    }

    /// Reads a string that must be set and not empty.
    pub fn required_text(&self, key: &'static str) -> Option<Located<String>> {
        if !self.has(key) {
            self.problem(key, "is missing");
            return None;
        }
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.problem(key, "is empty");
            return None;
        }
        Some(text)
    }

    /// Reads a name: 1 to 200 characters, none of them a control character.
    pub fn name(&self, key: &'static str) -> Option<Located<String>> {
        let text = self.required_text(key)?;
        if text.value.chars().count() > 200 || text.value.chars().any(char::is_control) {
            self.problem(
                key,
                "is not a valid name; use at most 200 characters, no control characters",
            );
            return None;
        }
        Some(text)
    }

    /// Reads one of `words` and returns its value. `later` lists words of later versions.
    pub fn choice<T: Clone>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
        later: &[&str],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some((_, meaning)) = choices.iter().find(|(word, _)| *word == text.value) {
            return meaning.clone();
        }
        let known: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        if later.contains(&text.value.as_str()) {
            let message = format!(
                "is `{}`, which is not in this version; use one of {}",
                text.value,
                known.join(", ")
            );
            self.problem(key, message);
            return default;
        }
        let hint = nearest(&text.value, known.iter().copied()).map_or_else(
            || format!("use one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.problem(
            key,
            format!("is `{}`, which is unknown; {hint}", text.value),
        );
        default
    }

    /// Reads a boolean.
    pub fn bool(&self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else {
            return default;
        };
        match (&node.value, &node.location) {
            (Value::Bool(truth), _) => *truth,
            (Value::Text(text), Location::Variable(_)) if text == "true" => true,
            (Value::Text(text), Location::Variable(_)) if text == "false" => false,
            _ => self
                .wrong_type(key, node, "true or false")
                .unwrap_or(default),
        }
    }

    /// Reads an integer within `bounds`, both inclusive.
    pub fn integer(&self, key: &'static str, bounds: (i64, i64)) -> Option<i64> {
        let node = self.node(key)?;
        let digits = number_text(node)?;
        let Some(number) = digits.and_then(|digits| digits.replace('_', "").parse::<i64>().ok())
        else {
            return self.wrong_type(key, node, "an integer");
        };
        if !(bounds.0..=bounds.1).contains(&number) {
            self.problem(
                key,
                format!("is {number}, expected {} to {}", bounds.0, bounds.1),
            );
            return None;
        }
        Some(number)
    }

    /// Reads a number as its digits, without `_`, so that no precision is lost.
    pub fn digits(&self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        match number_text(node).flatten() {
            Some(digits) => Some(self.located(key, node, digits.replace('_', ""))),
            None => self.wrong_type(key, node, "a number"),
        }
    }

    /// Reads a table of numbers, each as its digits.
    pub fn digits_map(&self, key: &'static str) -> Vec<(String, Located<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong_type::<()>(key, node, "a table of numbers");
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for (name, item) in table {
            let item_key = format!("{}.{name}", self.key(key));
            match number_text(item).flatten() {
                Some(digits) => {
                    let located = Located {
                        value: digits.replace('_', ""),
                        location: item.location.clone(),
                        key: item_key,
                    };
                    numbers.push((name.clone(), located));
                }
                None => {
                    let message = format!("is {}, expected a number", item.value.kind());
                    self.problems
                        .add(ConfigProblem::new(item.location.clone(), item_key, message));
                }
            }
        }
        numbers
    }

    /// Reads a list of strings; a single string counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let node = self.node(key)?;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Text(text) => return Some(vec![self.located(key, node, text.clone())]),
            Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
                return self.wrong_type(key, node, "a list of strings");
            }
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_key = format!("{}[{index}]", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    texts.push(Located {
                        value: text.clone(),
                        location: item.location.clone(),
                        key: item_key,
                    });
                }
                other => {
                    let message = format!("is {}, expected a string in quotes", other.kind());
                    self.problems
                        .add(ConfigProblem::new(item.location.clone(), item_key, message));
                }
            }
        }
        Some(texts)
    }

    /// Reads a table of strings.
    pub fn text_map(&self, key: &'static str) -> Vec<(String, Located<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong_type::<()>(key, node, "a table of strings");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, item) in table {
            let item_key = format!("{}.{name}", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    let located = Located {
                        value: text.clone(),
                        location: item.location.clone(),
                        key: item_key,
                    };
                    texts.push((name.clone(), located));
                }
                other => {
                    let message = format!("is {}, expected a string in quotes", other.kind());
                    self.problems
                        .add(ConfigProblem::new(item.location.clone(), item_key, message));
                }
            }
        }
        texts
    }

    /// Reads a nested table.
    pub fn section(&self, key: &'static str) -> Option<SectionReader<'a>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Table(table) => Some(self.subsection(table, self.key(key), node)),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_) => self.wrong_type(key, node, "a table"),
        }
    }

    /// Reads a list of tables, `[[…]]`.
    pub fn sections(&self, key: &'static str) -> Vec<SectionReader<'a>> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong_type::<()>(key, node, &format!("a list of tables, `[[{key}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_key = format!("{}[{index}]", self.key(key));
            match &item.value {
                Value::Table(table) => sections.push(self.subsection(table, item_key, item)),
                other => {
                    let message = format!("is {}, expected a table", other.kind());
                    self.problems
                        .add(ConfigProblem::new(item.location.clone(), item_key, message));
                }
            }
        }
        sections
    }

    /// Reports every key that was not read as unknown.
    pub fn finish(&self) {
        let read_keys = self.read_keys.borrow();
        for (key, node) in self
            .table
            .iter()
            .filter(|(key, _)| !read_keys.contains(key.as_str()))
        {
            let known: Vec<&str> = read_keys.iter().copied().collect();
            let hint = nearest(key, known.iter().copied()).map_or_else(
                || format!("known keys are {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown key `{}`; {hint}", self.key(key));
            let problem = ConfigProblem::new(node.location.clone(), "", message);
            self.problems.add(problem);
        }
    }

    /// Returns the raw value of a key and marks the key as known.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.read_keys.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Returns a reader of a table at any depth.
    pub fn subsection(&self, table: &'a Table, path: String, node: &Node) -> SectionReader<'a> {
        SectionReader {
            table,
            path,
            location: node.location.clone(),
            problems: self.problems,
            environment: self.environment,
            read_keys: RefCell::default(),
        }
    }

    /// Returns the full path of a key, such as `rules[2].limit_usd`.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn located<T>(&self, key: &str, node: &Node, value: T) -> Located<T> {
        Located {
            value,
            location: node.location.clone(),
            key: self.key(key),
        }
    }

    fn wrong_type<T>(&self, key: &str, node: &Node, expected: &str) -> Option<T> {
        self.problem(
            key,
            format!("is {}, expected {expected}", node.value.kind()),
        );
        None
    }
}

/// Returns the digits of a number, including one from the environment; `Some(None)` for anything else.
fn number_text(node: &Node) -> Option<Option<String>> {
    Some(match (&node.value, &node.location) {
        (Value::Number(digits), _) => Some(digits.clone()),
        (Value::Text(text), Location::Variable(_)) => Some(text.trim().to_owned()),
        _ => None,
    })
}
