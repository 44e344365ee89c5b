//! CSV file of people, with a header. Reports all errors at once, by line, before anything is sent.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::cli::globals::CommandError;
use spendwatch_config::table::{self, CsvLines};

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;
const MAX_ROWS: usize = 10_000;
/// Maximum number of errors to report.
const MAX_ERRORS: usize = 20;

/// One row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Line number, from 1.
    pub line: u64,
    /// Value of the identifying column.
    pub name: String,
    fields: Vec<(&'static str, String)>,
}

impl PersonRow {
    /// Returns the value of a column, or `None` if it is empty or missing.
    pub fn get(&self, column: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| *name == column);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Accepted columns of the file.
#[derive(Debug, Clone, Copy)]
pub struct PeopleColumns {
    /// Need a value in every row.
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
    /// Identifying columns: the file has exactly one of them, with a unique value in every row.
    pub names: &'static [&'static str],
}

/// Reads all rows. `check` returns what is wrong with a row.
pub fn read(
    path: &Path,
    columns: PeopleColumns,
    check: impl Fn(&PersonRow) -> Result<(), String>,
) -> Result<Vec<PersonRow>, CommandError> {
    let shown = path.display();
    let unreadable = |reason: String| CommandError::usage(format!("`{shown}`: {reason}"));
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
    let (positions, naming) = positions(&header, columns)
        .map_err(|reason| unreadable(format!("line {first_line}: {reason}")))?;
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.at(error.position());
                let reason = table::csv_problem(&error);
                errors.push(format!("`{shown}`, line {line}: {reason}"));
                // The rest cannot be parsed reliably.
                break;
            }
        };
        let row = row(lines.at(record.position()), &record, &positions, naming);
        let mut needed = columns.required.iter().copied().chain([naming]);
        let missing = needed.find(|name| row.get(name).is_none());
        let value = row.name.to_lowercase();
        let checked = match missing {
            Some(name) => Err(format!("`{name}` is empty")),
            None if !seen.insert(value.clone()) => Err(format!("`{value}` is listed twice")),
            None => check(&row),
        };
        if let Err(reason) = checked {
            errors.push(format!("`{shown}`, line {}: {reason}", row.line));
        }
        rows.push(row);
        if rows.len() > MAX_ROWS {
            return Err(unreadable(format!("has more than {MAX_ROWS} rows")));
        }
    }
    if rows.is_empty() && errors.is_empty() {
        errors.push(format!("`{shown}` lists no users"));
    }
    if errors.is_empty() {
        return Ok(rows);
    }
    let n_more = errors.len().saturating_sub(MAX_ERRORS);
    errors.truncate(MAX_ERRORS);
    if n_more > 0 {
        errors.push(format!("and {n_more} more"));
    }
    Err(CommandError::Usage(errors))
}

fn row(line: u64, record: &StringRecord, positions: &Positions, naming: &str) -> PersonRow {
    let field = |(name, position): &(&'static str, usize)| {
        (*name, record.get(*position).unwrap_or_default().to_owned())
    };
    let fields: Vec<(&'static str, String)> = positions.iter().map(field).collect();
    let name = fields.iter().find(|(name, _)| *name == naming);
    PersonRow {
        line,
        name: name.map(|(_, name)| name.clone()).unwrap_or_default(),
        fields,
    }
}

type Positions = Vec<(&'static str, usize)>;

/// Returns the positions of the columns and the identifying column.
fn positions(
    header: &StringRecord,
    columns: PeopleColumns,
) -> Result<(Positions, &'static str), String> {
    let known = || {
        columns
            .names
            .iter()
            .chain(columns.required)
            .chain(columns.optional)
    };
    let all: Vec<&str> = known().copied().collect();
    let mut positions = Vec::new();
    for (position, name) in header.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}').to_lowercase();
        let Some(column) = known().find(|known| **known == name) else {
            return Err(format!(
                "unknown column `{name}`; the columns are {}",
                all.join(", ")
            ));
        };
        if positions.iter().any(|(known, _)| known == column) {
            return Err(format!("duplicate column `{name}`"));
        }
        positions.push((*column, position));
    }
    let is_there = |name: &&&str| positions.iter().any(|(known, _)| known == *name);
    if let Some(name) = columns.required.iter().find(|name| !is_there(name)) {
        return Err(format!(
            "missing column `{name}`; the first line must name the columns: {}",
            all.join(",")
        ));
    }
    let mut naming = columns.names.iter().filter(is_there);
    match (naming.next(), naming.next()) {
        (Some(naming), None) => Ok((positions, *naming)),
        (_, _) => Err(format!(
            "the first line must name exactly one of the columns `{}`",
            columns.names.join("` or `")
        )),
    }
}

/// Rejects texts that cannot be an email address. A rough check, because only sending proves an address.
pub fn check_email(text: &str) -> Result<(), String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || "/\\<>,;\"".contains(c))
    };
    match text.split_once('@') {
        Some((name, host)) if is_plain(name) && is_plain(host) && !host.contains('@') => Ok(()),
        Some(_) | None => Err(format!("`{text}` is not an email address")),
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
        let columns = PeopleColumns {
            required: &[],
            optional: &["name"],
            names: &["email"],
        };
        let found = read(&path, columns, |row| check_email(&row.name)).map(|rows| rows.len());
        let lines = match found.unwrap_err() {
            CommandError::Usage(lines) => lines,
            CommandError::Failed(line) => vec![line],
        };
        let shown: Vec<String> = lines
            .iter()
            .map(|line| line.replace(&*path.display().to_string(), "leavers.csv"))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn errors_name_the_first_line_of_their_row() {
        check(
            b"\xef\xbb\xbfemail,name\r\n\r\nada,Ada\r\n\r\n\"b\",\"B\r\nB\"\r\nc@example.com,C\r\nd\r\n",
            &[
                "`leavers.csv`, line 3: `ada` is not an email address",
                "`leavers.csv`, line 5: `b` is not an email address",
                "`leavers.csv`, line 8: expected 2 columns, as in the first line, found 1",
            ],
        );
        check(
            b"\nmail\n",
            &["`leavers.csv`: line 2: unknown column `mail`; the columns are email, name"],
        );
        check(
            b"email\r\na@example.com\r\n\xff\r\n",
            &["`leavers.csv`: line 3: is not UTF-8; save the file as UTF-8"],
        );
    }
}
