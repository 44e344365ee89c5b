//! CSV files that the configuration names. A file is read completely or not at all; its errors name its own lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::problem::{ConfigProblem, Location};
use crate::reader::SectionReader;

/// Reads the file that a key names. A file that cannot be read or has more than `max` bytes is an error of that key.
pub fn read(
    section: &SectionReader<'_>,
    key: &'static str,
    path: &Path,
    (max, what): (u64, &str),
) -> Option<String> {
    match read_text(path, max, what) {
        Ok(text) => Some(text),
        Err(error) => {
            let message = format!("is `{}`, which cannot be read: {error}", path.display());
            section.problem(key, message);
            None
        }
    }
}

fn read_text(path: &Path, max: u64, what: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        let message = format!("a {what} must not exceed {max} bytes");
        return Err(io::Error::other(message));
    }
    Ok(text)
}

/// Line numbers of CSV records. The `csv` reader's own are wrong after empty lines and CRLF line ends: it reports where it
/// started to look for the record, not where the record starts.
#[derive(Debug)]
pub struct CsvLines<'a> {
    text: &'a [u8],
    offset: usize,
    line: u64,
}

impl<'a> CsvLines<'a> {
    /// Creates a counter; [`CsvLines::at`] must be called in the order of the text.
    pub fn new(text: &'a str) -> CsvLines<'a> {
        CsvLines {
            text: text.as_bytes(),
            offset: 0,
            line: 1,
        }
    }

    /// Returns the line of the record at a position, counted from 1. LF, CRLF and a lone CR end a line, as in the reader.
    pub fn at(&mut self, position: Option<&csv::Position>) -> u64 {
        let start = position.map_or(0, csv::Position::byte);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(&byte) = self.text.get(self.offset) {
            if self.offset >= start && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            let is_crlf = byte == b'\r' && self.text.get(self.offset + 1) == Some(&b'\n');
            if byte == b'\n' || byte == b'\r' && !is_crlf {
                self.line += 1;
            }
            self.offset += 1;
        }
        self.line
    }
}

/// Describes why a record cannot be read, without its position.
pub fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("expected {expected_len} columns, as in the first line, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8; save the file as UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns a problem in a line of a file, counted from 1.
pub fn problem(path: &Path, line: u64, problem: String) -> ConfigProblem {
    let line = usize::try_from(line.max(1)).unwrap_or(usize::MAX);
    ConfigProblem::new(Location::Line(path.to_owned(), line), "", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(u64, &str)]) {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let mut lines = CsvLines::new(text);
        let found: Vec<(u64, String)> = reader
            .records()
            .map(|record| match record {
                Ok(record) => (lines.at(record.position()), record[0].to_owned()),
                Err(error) => (lines.at(error.position()), csv_problem(&error)),
            })
            .collect();
        let found: Vec<(u64, &str)> = found.iter().map(|(line, text)| (*line, &**text)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn records_have_the_line_where_they_start() {
        check("h,i\na,1\nb,2", &[(2, "a"), (3, "b")]);
        check("h,i\r\na,1\r\nb,2\r\n", &[(2, "a"), (3, "b")]);
        check("h,i\ra,1\rb,2\r", &[(2, "a"), (3, "b")]);
        check("\n\nh,i\n\n\na,1\n\nb,2\n", &[(6, "a"), (8, "b")]);
        check("h,i\r\n\r\na,1\r\n\r\n\r\nb,2\r\n", &[(3, "a"), (6, "b")]);
        check(
            "\u{feff}h,i\r\na,1\r\n\"b\r\nc\",2\r\nd,3\n",
            &[(2, "a"), (3, "b\r\nc"), (5, "d")],
        );
        check(
            "h,i\r\n\r\na\r\nb,2\r\n\nc,1,2\n",
            &[
                (3, "expected 2 columns, as in the first line, found 1"),
                (4, "b"),
                (6, "expected 2 columns, as in the first line, found 3"),
            ],
        );
    }
}
