//! Rung 5: rows of values as machines read them: stable keys, exact amounts. Commands print them and HTTP answers with them,
//! so that both have the same fields.

pub mod alerts;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::money::Usd;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Nothing, or not known: `null`.
    Empty,
    /// A figure that is not known: `null`, and people see that it is not nothing.
    Unknown,
    /// Foreign or own text; people see as much of it as a name may have.
    Text(String),
    /// A sentence: people see all of it.
    Prose(String),
    Count(i128),
    /// A number with its exact decimals: a string in JSON.
    Decimal(String),
    /// An amount: exact for machines, in cents for people.
    Money(Usd),
    Time(Timestamp),
    List(Vec<String>),
    Flag(bool),
}

/// One column: its key in JSON and CSV, and its heading where a table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub key: &'static str,
    /// In a table; `None` leaves the column out of it.
    pub heading: Option<&'static str>,
    /// Its texts are ids, to be copied: a table keeps each on one line.
    pub is_id: bool,
    /// A table that is too narrow can do without it, the lowest first; `None` if it cannot.
    pub gives_way: Option<u8>,
}

/// Columns and rows of as many cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

/// A column that tables have too.
pub const fn shown(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading: Some(heading),
        is_id: false,
        gives_way: None,
    }
}

/// A column of ids that tables have too.
pub const fn id(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading: Some(heading),
        is_id: true,
        gives_way: None,
    }
}

/// A column for machines alone.
pub const fn hidden(key: &'static str) -> Column {
    Column {
        key,
        heading: None,
        is_id: false,
        gives_way: None,
    }
}

impl Cell {
    /// A text, or nothing.
    pub fn text_or_empty(text: Option<impl Into<String>>) -> Cell {
        text.map_or(Cell::Empty, |text| Cell::Text(text.into()))
    }

    /// A moment, or nothing.
    pub fn time_or_empty(at: Option<Timestamp>) -> Cell {
        at.map_or(Cell::Empty, Cell::Time)
    }

    fn for_json(&self) -> Value {
        match self {
            Cell::Empty | Cell::Unknown => Value::Null,
            Cell::Text(text) | Cell::Prose(text) | Cell::Decimal(text) => {
                Value::from(text.as_str())
            }
            // What does not fit a JSON number of 64 bits keeps all its digits as text.
            Cell::Count(count) => {
                i64::try_from(*count).map_or_else(|_| Value::from(count.to_string()), Value::from)
            }
            Cell::Money(usd) => Value::from(usd.to_string()),
            Cell::Time(at) => Value::from(at.to_string()),
            Cell::Flag(is_so) => Value::from(*is_so),
            Cell::List(texts) => Value::from(texts.clone()),
        }
    }
}

impl Sheet {
    /// The same, with columns that a narrow table can do without, in this order.
    #[must_use]
    pub fn giving_way(mut self, keys: &[&str]) -> Sheet {
        for column in &mut self.columns {
            let place = keys.iter().position(|key| *key == column.key);
            column.gives_way = place.and_then(|place| u8::try_from(place).ok());
        }
        self
    }

    /// An array of objects.
    pub fn as_json(&self) -> Value {
        self.objects().collect()
    }

    /// Its rows as objects, one after another: of a long sheet never all at once.
    pub fn objects(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|row| {
            let pairs = self.columns.iter().zip(row);
            let object: Map<String, Value> = pairs
                .map(|(column, cell)| (column.key.to_owned(), cell.for_json()))
                .collect();
            Value::from(object)
        })
    }
}
