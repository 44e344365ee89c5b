//! A file of people: CSV with a header. All that is wrong with it is told at once, line by line, before anything is sent.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::cli::globals::Failure;
use crate::config::table::{self, CsvLines};

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// No file of people has more rows.
const MOST_ROWS: usize = 10_000;
/// So many mistakes are told.
const MOST_TOLD: usize = 20;

/// One row, by the names of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands in the file, from 1.
    pub line: u64,
    /// Who is meant.
    pub name: String,
    fields: Vec<(&'static str, String)>,
}

impl Row {
    /// What stands in a column; `None` where it is empty or there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| *name == column);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// The columns of a file of people.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Each must have a value in every row.
    pub required: &'static [&'static str],
    /// May be left out.
    pub optional: &'static [&'static str],
    /// By one of these, whichever the file has, a row names somebody: it must have a value, and no two have the same.
    pub names: &'static [&'static str],
}

/// Reads all rows. `check` says what is wrong with one.
pub fn read(
    path: &Path,
    columns: Columns,
    check: impl Fn(&Row) -> Result<(), String>,
) -> Result<Vec<Row>, Failure> {
    let shown = path.display();
    let unreadable = |reason: String| Failure::usage(format!("`{shown}`: {reason}"));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("is longer than {MAX_FILE} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("line {line}: is not UTF-8; save the file as UTF-8"))
    })?;
    let mut lines = CsvLines::new(&text);
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .flexible(false)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| unreadable(table::csv_problem(&error)))?
        .clone();
    let first_line = lines.at(header.position());
    let (places, naming) = places(&header, columns)
        .map_err(|reason| unreadable(format!("line {first_line}: {reason}")))?;
    let (mut rows, mut mistakes) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.at(error.position());
                let reason = table::csv_problem(&error);
                mistakes.push(format!("`{shown}`, line {line}: {reason}"));
                // What follows cannot be told apart from it.
                break;
            }
        };
        let row = row(lines.at(record.position()), &record, &places, naming);
        let mut needed = columns.required.iter().copied().chain([naming]);
        let missing = needed.find(|name| row.get(name).is_none());
        let value = row.name.to_lowercase();
        let checked = match missing {
            Some(name) => Err(format!("`{name}` is empty")),
            None if !seen.insert(value.clone()) => Err(format!("`{value}` is there twice")),
            None => check(&row),
        };
        if let Err(reason) = checked {
            mistakes.push(format!("`{shown}`, line {}: {reason}", row.line));
        }
        rows.push(row);
        if rows.len() > MOST_ROWS {
            return Err(unreadable(format!("has more than {MOST_ROWS} rows")));
        }
    }
    if rows.is_empty() && mistakes.is_empty() {
        mistakes.push(format!("`{shown}` names nobody"));
    }
    if mistakes.is_empty() {
        return Ok(rows);
    }
    let n_more = mistakes.len().saturating_sub(MOST_TOLD);
    mistakes.truncate(MOST_TOLD);
    if n_more > 0 {
        mistakes.push(format!("and {n_more} more"));
    }
    Err(Failure::Usage(mistakes))
}

fn row(line: u64, record: &StringRecord, places: &Places, naming: &str) -> Row {
    let field = |(name, place): &(&'static str, usize)| {
        (*name, record.get(*place).unwrap_or_default().to_owned())
    };
    let fields: Vec<(&'static str, String)> = places.iter().map(field).collect();
    let name = fields.iter().find(|(name, _)| *name == naming);
    Row {
        line,
        name: name.map(|(_, name)| name.clone()).unwrap_or_default(),
        fields,
    }
}

/// Columns and where each stands.
type Places = Vec<(&'static str, usize)>;

/// Where each column stands, and which one names people.
fn places(header: &StringRecord, columns: Columns) -> Result<(Places, &'static str), String> {
    let known = || {
        columns
            .names
            .iter()
            .chain(columns.required)
            .chain(columns.optional)
    };
    let all: Vec<&str> = known().copied().collect();
    let mut places = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}').to_lowercase();
        let Some(column) = known().find(|known| **known == name) else {
            return Err(format!(
                "`{name}` is no column; the columns are {}",
                all.join(", ")
            ));
        };
        if places.iter().any(|(known, _)| known == column) {
            return Err(format!("column `{name}` is there twice"));
        }
        places.push((*column, place));
    }
    let is_there = |name: &&&str| places.iter().any(|(known, _)| known == *name);
    if let Some(name) = columns.required.iter().find(|name| !is_there(name)) {
        return Err(format!(
            "column `{name}` is missing; the first line names the columns: {}",
            all.join(",")
        ));
    }
    let mut naming = columns.names.iter().filter(is_there);
    match (naming.next(), naming.next()) {
        (Some(naming), None) => Ok((places, *naming)),
        (_, _) => Err(format!(
            "one column says who is meant: `{}`; the first line names the columns",
            columns.names.join("` or `")
        )),
    }
}

/// Whether a text can be an address of somebody: a rough look, since only the mail itself can tell.
pub fn check_email(text: &str) -> Result<(), String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || "/\\<>,;\"".contains(c))
    };
    match text.split_once('@') {
        Some((name, host)) if is_plain(name) && is_plain(host) && !host.contains('@') => Ok(()),
        Some(_) | None => Err(format!("`{text}` is no email address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leavers.csv");
        std::fs::write(&path, content).unwrap();
        let columns = Columns {
            required: &[],
            optional: &["name"],
            names: &["email"],
        };
        let found = read(&path, columns, |row| check_email(&row.name)).map(|rows| rows.len());
        let lines = match found.unwrap_err() {
            Failure::Usage(lines) => lines,
            Failure::World(line) => vec![line],
        };
        let shown: Vec<String> = lines
            .iter()
            .map(|line| line.replace(&*path.display().to_string(), "leavers.csv"))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn mistakes_have_the_line_in_which_their_row_begins() {
        check(
            b"\xef\xbb\xbfemail,name\r\n\r\nada,Ada\r\n\r\n\"b\",\"B\r\nB\"\r\nc@example.com,C\r\nd\r\n",
            &[
                "`leavers.csv`, line 3: `ada` is no email address",
                "`leavers.csv`, line 5: `b` is no email address",
                "`leavers.csv`, line 8: the number of columns is 1, and 2 in the first line",
            ],
        );
        check(
            b"\nmail\n",
            &["`leavers.csv`: line 2: `mail` is no column; the columns are email, name"],
        );
        check(
            b"email\r\na@example.com\r\n\xff\r\n",
            &["`leavers.csv`: line 3: is not UTF-8; save the file as UTF-8"],
        );
    }
}
