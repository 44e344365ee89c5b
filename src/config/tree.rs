//! The raw tree: TOML with the line of every key, and single values from the environment laid over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;

/// What begins an environment variable for a single value.
const PREFIX: &str = "SPENDWATCH__";

/// Maximum number of names in such a variable; no key is as deep.
const MAX_LEVELS: usize = 16;

/// Stands for the file of a text that is in none.
pub const NO_FILE: &str = "(text)";

/// What the environment says about one key, such as `http.listen`, unchecked. It stands above any file.
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

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// In quotes, or from the environment.
    Text(String),
    /// Digits as they were written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// A date or time; no key takes one.
    Date(String),
    List(Vec<Node>),
    /// In braces or under a heading.
    Table(Table),
}

impl Value {
    /// For messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a truth value",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

/// Keys and values.
pub type Table = BTreeMap<String, Node>;

/// A parsed text.
#[derive(Debug)]
pub struct Tree {
    table: Table,
}

impl Tree {
    /// Parses TOML. An error of syntax has its line and column.
    pub fn parse(text: &str, file: Option<&Path>) -> Result<Tree, Problems> {
        let lines = Lines::new(text, file);
        match DeTable::parse(text) {
            Ok(table) => Ok(Tree {
                table: convert_table(table.get_ref(), &lines),
            }),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = format!(
                    "is not valid TOML at column {}: {}",
                    lines.column(offset),
                    error.message()
                );
                Err(Problems::one(Problem::new(
                    lines.place(offset),
                    "",
                    message,
                )))
            }
        }
    }

    /// The tree with the environment's single values in it.
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
                let message = format!("has more than {MAX_LEVELS} levels");
                problems.add(Problem::new(Place::Variable(name.clone()), "", message));
                continue;
            }
            let node = Node {
                place: Place::Variable(name.clone()),
                value: Value::Text(value.clone()),
            };
            if let Err(message) = insert(&mut self.table, &keys, node) {
                problems.add(Problem::new(
                    Place::Variable(name.clone()),
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
        return Err("has an empty name between two underscores".to_owned());
    }
    if rest.is_empty() {
        table.insert(first.clone(), node);
        return Ok(());
    }
    let place = node.place.clone();
    let inner = table.entry(first.clone()).or_insert(Node {
        place,
        value: Value::Table(Table::new()),
    });
    match &mut inner.value {
        Value::Table(inner) => insert(inner, rest, node),
        Value::List(_) => Err("is in a list; lists are set in the file alone".to_owned()),
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Date(_) => Err(format!(
            "`{first}` is a single value, nothing can stand below it"
        )),
    }
}

struct Lines {
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    file: PathBuf,
}

impl Lines {
    fn new(text: &str, file: Option<&Path>) -> Lines {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines {
            starts: std::iter::once(0)
                .chain(ends.map(|(end, _)| end + 1))
                .collect(),
            file: file.map_or_else(|| PathBuf::from(NO_FILE), Path::to_owned),
        }
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line(self.file.clone(), self.number(offset))
    }

    /// Counted from 1.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// In bytes, counted from 1.
    fn column(&self, offset: usize) -> usize {
        let start = self.starts.get(self.number(offset) - 1).copied();
        offset - start.unwrap_or(0) + 1
    }
}

fn convert_table(table: &DeTable<'_>, lines: &Lines) -> Table {
    let mut converted = Table::new();
    for (key, value) in table {
        let node = Node {
            place: lines.place(key.span().start),
            value: convert(value, lines),
        };
        converted.insert(key.get_ref().to_string(), node);
    }
    converted
}

fn convert(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Value {
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
                    place: lines.place(item.span().start),
                    value: convert(item, lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, lines)),
    }
}
