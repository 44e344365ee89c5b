//! Reads sections key by key. A key that was read is a known key; [`SectionReader::finish`] reports all others as unknown,
//! with the nearest match. Values and defaults are recorded for `check-config --show`, except for secrets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;

use crate::effective::{self, EffectiveConfig, Values, quoted};
use crate::near::nearest;
use crate::problem::{ConfigProblem, Location, Problems};
use crate::source::Environment;
use crate::tree::{Node, Table, Value};

/// A section that is not set.
static EMPTY: Table = BTreeMap::new();

/// One table of the configuration.
pub struct SectionReader<'a> {
    table: &'a Table,
    path: String,
    location: Location,
    problems: &'a Problems,
    environment: &'a Environment,
    effective: &'a RefCell<EffectiveConfig>,
    read_keys: RefCell<BTreeSet<&'static str>>,
    /// In the order in which they are read first.
    recorded: RefCell<Values>,
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
        effective: &'a RefCell<EffectiveConfig>,
    ) -> SectionReader<'a> {
        SectionReader {
            table,
            path: String::new(),
            location: file.map_or(Location::Nowhere, |file| Location::File(file.to_owned())),
            problems,
            environment,
            effective,
            read_keys: RefCell::default(),
            recorded: RefCell::default(),
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
        self.problems.add(self.problem_of(key, message));
    }

    /// Reports an unusable secret, an error only for commands that need it.
    pub fn unresolved(&self, key: &str, message: impl Into<String>) {
        self.problems.add_unresolved(self.problem_of(key, message));
    }

    /// Reports an unusable secret by a clause that does not continue the key.
    pub fn unresolved_clause(&self, key: &str, message: impl Into<String>) {
        let location = self.location_of(key);
        self.problems
            .add_unresolved(ConfigProblem::clause(location, self.key(key), message));
    }

    /// Reports an unusable secret that was read before.
    pub fn unresolved_at<T>(&self, located: &Located<T>, message: impl Into<String>) {
        self.problems.add_unresolved(located.problem(message));
    }

    /// Reports a warning about a key.
    pub fn warn(&self, key: &str, message: impl Into<String>) {
        self.problems.warn(self.problem_of(key, message));
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
        self.problems.add(located.problem(message));
    }

    /// Reports a warning about a value that was read before.
    pub fn warn_at<T>(&self, located: &Located<T>, message: impl Into<String>) {
        self.problems.warn(located.problem(message));
    }

    fn problem_of(&self, key: &str, message: impl Into<String>) -> ConfigProblem {
        ConfigProblem::new(self.location_of(key), self.key(key), message)
    }

    fn location_of(&self, key: &str) -> Location {
        let node = self.table.get(key);
        node.map_or(&self.location, |node| &node.location).clone()
    }

    /// Records the effective value of a key, as TOML.
    pub fn record(&self, key: &'static str, toml: String) {
        let mut recorded = self.recorded.borrow_mut();
        match recorded.iter_mut().find(|(known, _)| *known == key) {
            Some((_, value)) => *value = toml,
            None => recorded.push((key, toml)),
        }
    }

    /// Returns the recorded values as a TOML inline table.
    pub fn recorded(&self) -> String {
        effective::table(self.recorded.borrow().iter().cloned())
    }

    /// Returns whether a key is set.
    pub fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// Reads a string.
    pub fn text(&self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        let text = self.item(node, self.key(key), text_of(node), "a string in quotes")?;
        self.record(key, quoted(&text.value));
        Some(text)
    }

    /// Reads a string that has a default.
    pub fn text_or(&self, key: &'static str, default: &str) -> String {
        let text = self
            .text(key)
            .map_or_else(|| default.to_owned(), |text| text.value);
        self.record(key, quoted(&text));
        text
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

    /// Reads a string that may be missing, but not empty.
    pub fn optional_text(&self, key: &'static str) -> Option<Located<String>> {
        self.has(key).then(|| self.required_text(key))?
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
    pub fn choice<T: Clone + PartialEq>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
        later: &[&str],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else {
            if let Some((word, _)) = choices.iter().find(|(_, meaning)| *meaning == default) {
                self.record(key, quoted(word));
            }
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
        let value = self.node(key).and_then(|node| {
            let value = match (&node.value, &node.location) {
                (Value::Bool(truth), _) => Some(*truth),
                (Value::Text(text), Location::Variable(_)) => text.parse().ok(),
                _ => None,
            };
            value.or_else(|| self.wrong_type(key, node, "true or false"))
        });
        let value = value.unwrap_or(default);
        self.record(key, value.to_string());
        value
    }

    /// Reads an integer within `bounds`, both inclusive.
    pub fn integer(&self, key: &'static str, bounds: (i64, i64)) -> Option<i64> {
        let node = self.node(key)?;
        let Some(number) = digits_of(node).and_then(|digits| digits.parse::<i64>().ok()) else {
            return self.wrong_type(key, node, "an integer");
        };
        if !(bounds.0..=bounds.1).contains(&number) {
            self.problem(
                key,
                format!("is {number}, expected {} to {}", bounds.0, bounds.1),
            );
            return None;
        }
        self.record(key, number.to_string());
        Some(number)
    }

    /// Reads an integer that has a default.
    pub fn integer_or<T: TryFrom<i64> + Display>(
        &self,
        key: &'static str,
        bounds: (i64, i64),
        default: T,
    ) -> T {
        let number = self.integer(key, bounds);
        let number = number
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or(default);
        self.record(key, number.to_string());
        number
    }

    /// Reads a number as its digits, without `_`, so that no precision is lost.
    pub fn digits(&self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        let digits = self.item(node, self.key(key), digits_of(node), "a number")?;
        self.record(key, digits.value.clone());
        Some(digits)
    }

    /// Reads a table of numbers, each as its digits.
    pub fn digits_map(&self, key: &'static str) -> Vec<(String, Located<String>)> {
        let numbers = self.map(key, "a table of numbers", digits_of, "a number");
        let shown = numbers.iter();
        let shown = shown.map(|(name, digits)| (quoted(name), digits.value.clone()));
        self.record(key, effective::table(shown));
        numbers
    }

    /// Reads a list of strings; a single string counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        let node = self.node(key)?;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Text(text) => {
                self.record(key, effective::list([quoted(text)]));
                return Some(vec![self.located(self.key(key), node, text.clone())]);
            }
            Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
                return self.wrong_type(key, node, "a list of strings");
            }
        };
        let texts = items.iter().enumerate().filter_map(|(index, item)| {
            let item_key = format!("{}[{index}]", self.key(key));
            self.item(item, item_key, text_of(item), "a string in quotes")
        });
        let texts: Vec<Located<String>> = texts.collect();
        self.record(
            key,
            effective::list(texts.iter().map(|text| quoted(&text.value))),
        );
        Some(texts)
    }

    /// Reads a list of strings that is empty by default.
    pub fn texts_or_none(&self, key: &'static str) -> Vec<Located<String>> {
        self.texts(key).unwrap_or_else(|| {
            self.record(key, effective::list([]));
            Vec::new()
        })
    }

    /// Reads a table of strings.
    pub fn text_map(&self, key: &'static str) -> Vec<(String, Located<String>)> {
        let texts = self.map(key, "a table of strings", text_of, "a string in quotes");
        let shown = texts.iter();
        let shown = shown.map(|(name, text)| (quoted(name), quoted(&text.value)));
        self.record(key, effective::table(shown));
        texts
    }

    fn map(
        &self,
        key: &'static str,
        expected: &str,
        value_of: fn(&Node) -> Option<String>,
        expected_item: &str,
    ) -> Vec<(String, Located<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong_type::<()>(key, node, expected);
            return Vec::new();
        };
        let entries = table.iter().filter_map(|(name, item)| {
            let item_key = format!("{}.{name}", self.key(key));
            let value = self.item(item, item_key, value_of(item), expected_item)?;
            Some((name.clone(), value))
        });
        entries.collect()
    }

    /// Reads a nested table.
    pub fn section(&self, key: &'static str) -> Option<SectionReader<'a>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Table(table) => Some(self.subsection(table, self.key(key), &node.location)),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_) => self.wrong_type(key, node, "a table"),
        }
    }

    /// Reads a nested table whose keys all have defaults.
    pub fn section_or_empty(&self, key: &'static str) -> SectionReader<'a> {
        self.section(key)
            .unwrap_or_else(|| self.subsection(&EMPTY, self.key(key), &self.location))
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
                Value::Table(table) => {
                    sections.push(self.subsection(table, item_key, &item.location));
                }
                other => {
                    let message = format!("is {}, expected a table", other.kind());
                    self.problems
                        .add(ConfigProblem::new(item.location.clone(), item_key, message));
                }
            }
        }
        sections
    }

    /// Reports every key that was not read as unknown, and adds a section of the root to the effective configuration.
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
        if !self.path.is_empty() && !self.path.contains('.') {
            let section = (self.path.clone(), self.recorded.take());
            self.effective.borrow_mut().sections.push(section);
        }
    }

    /// Returns the raw value of a key and marks the key as known.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.read_keys.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Returns a reader of a table at any depth.
    pub fn subsection(
        &self,
        table: &'a Table,
        path: String,
        location: &Location,
    ) -> SectionReader<'a> {
        SectionReader {
            table,
            path,
            location: location.clone(),
            problems: self.problems,
            environment: self.environment,
            effective: self.effective,
            read_keys: RefCell::default(),
            recorded: RefCell::default(),
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

    fn located<T>(&self, key: String, node: &Node, value: T) -> Located<T> {
        Located {
            value,
            location: node.location.clone(),
            key,
        }
    }

    /// Returns a value with its location, or reports that it has another type.
    fn item(
        &self,
        node: &Node,
        key: String,
        value: Option<String>,
        expected: &str,
    ) -> Option<Located<String>> {
        match value {
            Some(value) => Some(self.located(key, node, value)),
            None => {
                let message = format!("is {}, expected {expected}", node.value.kind());
                self.problems
                    .add(ConfigProblem::new(node.location.clone(), key, message));
                None
            }
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

impl<T> Located<T> {
    fn problem(&self, message: impl Into<String>) -> ConfigProblem {
        ConfigProblem::new(self.location.clone(), self.key.clone(), message)
    }
}

fn text_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            None
        }
    }
}

/// Returns the digits of a number, including one from the environment, without `_`.
fn digits_of(node: &Node) -> Option<String> {
    match (&node.value, &node.location) {
        (Value::Number(digits), _) => Some(digits.replace('_', "")),
        (Value::Text(text), Location::Variable(_)) => Some(text.trim().replace('_', "")),
        _ => None,
    }
}
