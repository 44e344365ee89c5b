//! The raw tree: TOML with the line of every key, overridden by single values from the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{ConfigProblem, Location, Problems};
use crate::source::Environment;

/// Prefix of environment variables that set a single value.
const PREFIX: &str = "SPENDWATCH__";

/// Maximum nesting depth of such a variable; no key is as deep.
const MAX_LEVELS: usize = 16;

/// File name of a text that has no file.
pub const NO_FILE: &str = "(text)";

/// Returns the unchecked value that the environment sets for a key such as `http.listen`. It overrides the file.
pub fn in_environment<'a>(environment: &'a Environment, key: &str) -> Option<&'a str> {
    let names = |name: &str| {
        let path = name.strip_prefix(PREFIX)?;
        Some(path.to_lowercase().split("__").eq(key.split('.')))
    };
    environment
        .iter()
        .find(|(name, _)| names(name) == Some(true))
        .map(|(_, value)| value.as_str())
}

/// A raw TOML value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// In quotes, or from the environment.
    Text(String),
    /// Digits as written in the file.
    Number(String),
    Bool(bool),
    /// A date or time; no key takes one.
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// Returns the kind with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A value and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub location: Location,
    pub value: Value,
}

/// A TOML table.
pub type Table = BTreeMap<String, Node>;

/// A parsed configuration text.
#[derive(Debug)]
pub struct Tree {
    table: Table,
}

impl Tree {
    /// Parses TOML. A syntax error states its line and column.
    pub fn parse(text: &str, file: Option<&Path>) -> Result<Tree, Problems> {
        let lines = LineIndex::new(text, file);
        match DeTable::parse(text) {
            Ok(table) => Ok(Tree {
                table: convert_table(table.get_ref(), &lines),
            }),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = format!(
                    "invalid TOML at column {}: {}",
                    lines.column(offset),
                    error.message()
                );
                Err(Problems::one(ConfigProblem::new(
                    lines.location(offset),
                    "",
                    message,
                )))
            }
        }
    }

    /// Returns the tree with the single values of the environment in it.
    pub fn with_environment(mut self, environment: &Environment, problems: &Problems) -> Table {
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let keys: Vec<String> = path
                .split("__")
                .take(MAX_LEVELS + 1)
                .map(str::to_lowercase)
                .collect();
            if keys.len() > MAX_LEVELS {
                let message = format!("more than {MAX_LEVELS} levels");
                problems.add(ConfigProblem::new(
                    Location::Variable(name.clone()),
                    "",
                    message,
                ));
                continue;
            }
            let node = Node {
                location: Location::Variable(name.clone()),
                value: Value::Text(value.clone()),
            };
            if let Err(message) = insert(&mut self.table, &keys, node) {
                problems.add(ConfigProblem::new(
                    Location::Variable(name.clone()),
                    keys.join("."),
                    message,
                ));
            }
        }
        self.table
    }
}

fn insert(table: &mut Table, keys: &[String], node: Node) -> Result<(), String> {
    let Some((first, rest)) = keys.split_first() else {
        return Ok(());
    };
    if first.is_empty() {
        return Err("has an empty name; separate names with exactly two underscores".to_owned());
    }
    if rest.is_empty() {
        table.insert(first.clone(), node);
        return Ok(());
    }
    let location = node.location.clone();
    let inner = table.entry(first.clone()).or_insert(Node {
        location,
        value: Value::Table(Table::new()),
    });
    match &mut inner.value {
        Value::Table(inner) => insert(inner, rest, node),
        Value::List(_) => Err("is inside a list; set lists in the file".to_owned()),
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Date(_) => {
            Err(format!("is below `{first}`, which is a single value"))
        }
    }
}

struct LineIndex {
    /// Byte offset of each line.
    starts: Vec<usize>,
    file: PathBuf,
}

impl LineIndex {
    fn new(text: &str, file: Option<&Path>) -> LineIndex {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        LineIndex {
            starts: std::iter::once(0)
                .chain(ends.map(|(end, _)| end + 1))
                .collect(),
            file: file.map_or_else(|| PathBuf::from(NO_FILE), Path::to_owned),
        }
    }

    fn location(&self, offset: usize) -> Location {
        Location::Line(self.file.clone(), self.number(offset))
    }

    /// Returns the line, counted from 1.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Returns the column in bytes, counted from 1.
    fn column(&self, offset: usize) -> usize {
        let start = self.starts.get(self.number(offset) - 1).copied();
        offset - start.unwrap_or(0) + 1
    }
}

fn convert_table(table: &DeTable<'_>, lines: &LineIndex) -> Table {
    let mut converted = Table::new();
    for (key, value) in table {
        let node = Node {
            location: lines.location(key.span().start),
            value: convert(value, lines),
        };
        converted.insert(key.get_ref().to_string(), node);
    }
    converted
}

fn convert(value: &Spanned<DeValue<'_>>, lines: &LineIndex) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => {
            Value::Number(integer.as_str().to_owned())
        }
        DeValue::Integer(integer) => {
            let value = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Number(
                value.map_or_else(|_| integer.as_str().to_owned(), |value| value.to_string()),
            )
        }
        DeValue::Float(float) => Value::Number(float.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    location: lines.location(item.span().start),
                    value: convert(item, lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, lines)),
    }
}
