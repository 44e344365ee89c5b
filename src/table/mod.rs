//! Tables with stable keys and exact amounts. Commands print them and HTTP serves them, so that both have the same
//! fields.

pub mod alerts;

use jiff::Timestamp;
use serde_json::{Map, Value};

use spendwatch_domain::units::money::Usd;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// No value: `null`, and `-` in tables.
    Empty,
    /// Unknown value: `null`, and `unknown` in tables.
    Unknown,
    /// Text, shortened in tables to the length of a name.
    Text(String),
    Prose(String),
    Count(i128),
    /// Exact decimal number: a string in JSON.
    Decimal(String),
    /// Exact amount, rounded to cents in tables.
    Money(Usd),
    Time(Timestamp),
    List(Vec<String>),
    Flag(bool),
}

/// Column with its key in JSON and CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub key: &'static str,
    /// Heading in tables; `None` hides the column there.
    pub heading: Option<&'static str>,
    /// Contains ids, which tables do not wrap so that they can be copied.
    pub is_id: bool,
    /// Narrow tables drop columns in this order; `None` is never dropped.
    pub drop_order: Option<u8>,
}

/// Columns, and rows with one cell per column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTable {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

/// Builds a table column by column, so that key, heading and value of a column are in one place.
pub struct TableBuilder<'a, T> {
    items: &'a [T],
    table: OutputTable,
}

impl<'a, T> TableBuilder<'a, T> {
    /// Begins a table with one row per item.
    pub fn new(items: &'a [T]) -> TableBuilder<'a, T> {
        let table = OutputTable {
            columns: Vec::new(),
            rows: items.iter().map(|_| Vec::new()).collect(),
        };
        TableBuilder { items, table }
    }

    /// Adds a column that tables show.
    #[must_use]
    pub fn shown<C: Into<Cell>>(
        self,
        key: &'static str,
        heading: &'static str,
        value: impl Fn(&'a T) -> C,
    ) -> TableBuilder<'a, T> {
        self.column(shown(key, heading), value)
    }

    /// Adds a column of ids that tables show.
    #[must_use]
    pub fn id<C: Into<Cell>>(
        self,
        key: &'static str,
        heading: &'static str,
        value: impl Fn(&'a T) -> C,
    ) -> TableBuilder<'a, T> {
        self.column(id(key, heading), value)
    }

    /// Adds a column that tables hide.
    #[must_use]
    pub fn hidden<C: Into<Cell>>(
        self,
        key: &'static str,
        value: impl Fn(&'a T) -> C,
    ) -> TableBuilder<'a, T> {
        self.column(hidden(key), value)
    }

    /// Adds a column with the value of each item.
    #[must_use]
    pub fn column<C: Into<Cell>>(
        mut self,
        column: Column,
        value: impl Fn(&'a T) -> C,
    ) -> TableBuilder<'a, T> {
        self.table.columns.push(column);
        for (row, item) in self.table.rows.iter_mut().zip(self.items) {
            row.push(value(item).into());
        }
        self
    }

    /// Returns the finished table; columns stay in the order in which they were added.
    pub fn build(self) -> OutputTable {
        self.table
    }
}

/// Returns a column that tables show.
pub const fn shown(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading: Some(heading),
        is_id: false,
        drop_order: None,
    }
}

/// Returns a column of ids that tables show.
pub const fn id(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading: Some(heading),
        is_id: true,
        drop_order: None,
    }
}

/// Returns a column that tables hide.
pub const fn hidden(key: &'static str) -> Column {
    Column {
        key,
        heading: None,
        is_id: false,
        drop_order: None,
    }
}

/// Returns a column that tables show on a condition.
pub const fn shown_if(is_shown: bool, key: &'static str, heading: &'static str) -> Column {
    if is_shown {
        shown(key, heading)
    } else {
        hidden(key)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Cell {
        Cell::Text(text.clone())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<Timestamp> for Cell {
    fn from(at: Timestamp) -> Cell {
        Cell::Time(at)
    }
}

impl From<Usd> for Cell {
    fn from(usd: Usd) -> Cell {
        Cell::Money(usd)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count.into())
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Cell {
        Cell::Count(count as i128)
    }
}

impl From<bool> for Cell {
    fn from(is_so: bool) -> Cell {
        Cell::Flag(is_so)
    }
}

impl From<Vec<String>> for Cell {
    fn from(texts: Vec<String>) -> Cell {
        Cell::List(texts)
    }
}

/// An unset value is an empty cell.
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Empty, Into::into)
    }
}

impl Cell {
    fn for_json(&self) -> Value {
        match self {
            Cell::Empty | Cell::Unknown => Value::Null,
            Cell::Text(text) | Cell::Prose(text) | Cell::Decimal(text) => {
                Value::from(text.as_str())
            }
            // A string keeps the digits of counts that exceed 64 bits.
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

impl OutputTable {
    /// Lets narrow tables drop these columns, in this order.
    #[must_use]
    pub fn with_droppable(mut self, keys: &[&str]) -> OutputTable {
        for column in &mut self.columns {
            let position = keys.iter().position(|key| *key == column.key);
            column.drop_order = position.and_then(|position| u8::try_from(position).ok());
        }
        self
    }

    /// Returns the rows as an array of objects.
    pub fn as_json(&self) -> Value {
        self.objects().collect()
    }

    /// Returns the rows as objects, one at a time.
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
