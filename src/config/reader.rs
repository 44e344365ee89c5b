//! Reads sections key by key. Every key that is asked for is known; what is left over is told as unknown, with the near miss.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use crate::config::near::nearest;
use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;
use crate::config::tree::{Node, Table, Value};

/// One table of the configuration.
pub struct Section<'a> {
    table: &'a Table,
    path: String,
    place: Place,
    problems: &'a Problems,
    environment: &'a Environment,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// A value and where it stands, so that a later check can name it.
#[derive(Debug, Clone)]
pub struct Sited<T> {
    pub value: T,
    pub place: Place,
    pub key: String,
}

impl<'a> Section<'a> {
    /// All of the configuration.
    pub fn root(
        table: &'a Table,
        file: Option<&Path>,
        problems: &'a Problems,
        environment: &'a Environment,
    ) -> Section<'a> {
        Section {
            table,
            path: String::new(),
            place: file.map_or(Place::Nowhere, |file| Place::File(file.to_owned())),
            problems,
            environment,
            asked: RefCell::default(),
        }
    }

    /// For variables that are named.
    pub fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Tells that something is wrong with the section as a whole.
    pub fn problem_here(&self, message: impl Into<String>) {
        let place = self.place.clone();
        self.problems
            .add(Problem::new(place, self.path.clone(), message.into()));
    }

    /// Tells that something is wrong with a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map_or(&self.place, |node| &node.place);
        self.problems
            .add(Problem::new(place.clone(), self.key(key), message.into()));
    }

    /// Reports that a secret cannot be used: an error for whatever needs it.
    pub fn unresolved(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map_or(&self.place, |node| &node.place);
        self.problems
            .add_unresolved(Problem::new(place.clone(), self.key(key), message.into()));
    }

    /// Reports the same about a value that was read before.
    pub fn unresolved_at<T>(&self, sited: &Sited<T>, message: impl Into<String>) {
        let place = sited.place.clone();
        self.problems
            .add_unresolved(Problem::new(place, sited.key.clone(), message.into()));
    }

    /// Tells that something should be looked at.
    pub fn warn(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map_or(&self.place, |node| &node.place);
        self.problems
            .warn(Problem::new(place.clone(), self.key(key), message.into()));
    }

    /// Tells a problem of a file that the configuration names.
    pub fn problem_elsewhere(&self, problem: Problem) {
        self.problems.add(problem);
    }

    /// Tells what should be looked at in a file that the configuration names.
    pub fn warn_elsewhere(&self, problem: Problem) {
        self.problems.warn(problem);
    }

    /// Tells that something is wrong with a value that was read before.
    pub fn problem_at<T>(&self, sited: &Sited<T>, message: impl Into<String>) {
        self.problems.add(Problem::new(
            sited.place.clone(),
            sited.key.clone(),
            message.into(),
        ));
    }

    /// Tells that something read before should be looked at.
    pub fn warn_at<T>(&self, sited: &Sited<T>, message: impl Into<String>) {
        let place = sited.place.clone();
        self.problems
            .warn(Problem::new(place, sited.key.clone(), message.into()));
    }

    /// Whether a key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<Sited<String>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(self.sited(key, node, text.clone())),
            Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => self.wrong(key, node, "a text in quotes"),
        }
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, key: &'static str) -> Option<Sited<String>> {
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

    /// A name: not empty, at most 200 characters, none of them a control character.
    pub fn name(&self, key: &'static str) -> Option<Sited<String>> {
        let text = self.required_text(key)?;
        if text.value.chars().count() > 200 || text.value.chars().any(char::is_control) {
            self.problem(
                key,
                "is not a name: at most 200 characters, without control characters",
            );
            return None;
        }
        Some(text)
    }

    /// One of some words, with its meaning.
    pub fn word<T: Clone>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
        later: &[&str],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.value) {
            return meaning.clone();
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        if later.contains(&text.value.as_str()) {
            let message = format!(
                "`{}` is not in this version; there is {}",
                text.value,
                known.join(", ")
            );
            self.problem(key, message);
            return default;
        }
        let hint = nearest(&text.value, known.iter().copied()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.problem(
            key,
            format!("is `{}`, which is unknown; {hint}", text.value),
        );
        default
    }

    /// A truth value.
    pub fn bool(&self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else {
            return default;
        };
        match (&node.value, &node.place) {
            (Value::Bool(truth), _) => *truth,
            (Value::Text(text), Place::Variable(_)) if text == "true" => true,
            (Value::Text(text), Place::Variable(_)) if text == "false" => false,
            _ => self.wrong(key, node, "true or false").unwrap_or(default),
        }
    }

    /// A whole number within bounds, both inclusive.
    pub fn integer(&self, key: &'static str, bounds: (i64, i64)) -> Option<i64> {
        let node = self.node(key)?;
        let digits = number_text(node)?;
        let Some(number) = digits.and_then(|digits| digits.replace('_', "").parse::<i64>().ok())
        else {
            return self.wrong(key, node, "a whole number");
        };
        if !(bounds.0..=bounds.1).contains(&number) {
            self.problem(
                key,
                format!(
                    "is {number}, it must be within {} and {}",
                    bounds.0, bounds.1
                ),
            );
            return None;
        }
        Some(number)
    }

    /// The digits of a number as they were written.
    pub fn digits(&self, key: &'static str) -> Option<Sited<String>> {
        let node = self.node(key)?;
        match number_text(node).flatten() {
            Some(digits) => Some(self.sited(key, node, digits.replace('_', ""))),
            None => self.wrong(key, node, "a number"),
        }
    }

    /// A table of numbers by key, each in its digits.
    pub fn digits_map(&self, key: &'static str) -> Vec<(String, Sited<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong::<()>(key, node, "a table of numbers");
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for (name, item) in table {
            let item_key = format!("{}.{name}", self.key(key));
            match number_text(item).flatten() {
                Some(digits) => {
                    let sited = Sited {
                        value: digits.replace('_', ""),
                        place: item.place.clone(),
                        key: item_key,
                    };
                    numbers.push((name.clone(), sited));
                }
                None => {
                    let message = format!("is {}, it must be a number", item.value.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        numbers
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Sited<String>>> {
        let node = self.node(key)?;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Text(text) => return Some(vec![self.sited(key, node, text.clone())]),
            Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
                return self.wrong(key, node, "a list of texts");
            }
        };
        let mut texts = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let item_key = format!("{}[{place}]", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    texts.push(Sited {
                        value: text.clone(),
                        place: item.place.clone(),
                        key: item_key,
                    });
                }
                other => {
                    let message = format!("is {}, it must be a text in quotes", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        Some(texts)
    }

    /// Texts by name.
    pub fn text_map(&self, key: &'static str) -> Vec<(String, Sited<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong::<()>(key, node, "a table of texts");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, item) in table {
            let item_key = format!("{}.{name}", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    let sited = Sited {
                        value: text.clone(),
                        place: item.place.clone(),
                        key: item_key,
                    };
                    texts.push((name.clone(), sited));
                }
                other => {
                    let message = format!("is {}, it must be a text in quotes", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        texts
    }

    /// A table below this one.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Table(table) => Some(self.below(table, self.key(key), node)),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_) => self.wrong(key, node, "a table"),
        }
    }

    /// A list of tables: `[[…]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong::<()>(key, node, &format!("a list of tables, `[[{key}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let item_key = format!("{}[{place}]", self.key(key));
            match &item.value {
                Value::Table(table) => sections.push(self.below(table, item_key, item)),
                other => {
                    let message = format!("is {}, it must be a table", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        sections
    }

    /// What was never asked for is unknown.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, node) in self
            .table
            .iter()
            .filter(|(key, _)| !asked.contains(key.as_str()))
        {
            let known: Vec<&str> = asked.iter().copied().collect();
            let hint = nearest(key, known.iter().copied()).map_or_else(
                || format!("here is {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let problem = Problem::new(
                node.place.clone(),
                self.key(key),
                format!("is an unknown key; {hint}"),
            );
            self.problems.add(problem);
        }
    }

    /// What stands at a key, as it was written. The key is known from now on.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// A table that stands somewhere below.
    pub fn below(&self, table: &'a Table, path: String, node: &Node) -> Section<'a> {
        Section {
            table,
            path,
            place: node.place.clone(),
            problems: self.problems,
            environment: self.environment,
            asked: RefCell::default(),
        }
    }

    /// The whole key.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn sited<T>(&self, key: &str, node: &Node, value: T) -> Sited<T> {
        Sited {
            value,
            place: node.place.clone(),
            key: self.key(key),
        }
    }

    fn wrong<T>(&self, key: &str, node: &Node, wanted: &str) -> Option<T> {
        self.problem(
            key,
            format!("is {}, it must be {wanted}", node.value.kind()),
        );
        None
    }
}

/// The digits of a number, also of one from the environment; `Some(None)` for anything else.
fn number_text(node: &Node) -> Option<Option<String>> {
    Some(match (&node.value, &node.place) {
        (Value::Number(digits), _) => Some(digits.clone()),
        (Value::Text(text), Place::Variable(_)) => Some(text.trim().to_owned()),
        _ => None,
    })
}
