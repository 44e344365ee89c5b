//! Data for standard output: text, or rows as a table, JSON or CSV. A reader that is gone is no fault of ours.
//!
//! A table and a terminal get foreign names cleaned of control characters. JSON and CSV in a file or pipe hold values as
//! they are; a cell that a spreadsheet would take for a formula is not changed, as that would change the data.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::domain::money::{Usd, group_thousands};
use crate::notify::words;
use crate::sheet::{Cell, Column, Sheet};

/// Tables are fitted into this on a terminal; in a pipe no line is broken.
pub const TERMINAL_WIDTH: u16 = 80;

const HALF_A_CENT: Usd = Usd::from_pico(5_000_000_000);

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For machines: stable keys, amounts as decimal strings
    Json,
    /// With a header; values as they are
    Csv,
}

impl Cell {
    pub(super) fn for_people(&self) -> String {
        match self {
            Cell::Empty => "-".to_owned(),
            Cell::Unknown => "unknown".to_owned(),
            Cell::Text(text) => words::clean(text),
            Cell::Prose(text) => words::line(text),
            Cell::Count(count) => grouped(*count),
            Cell::Decimal(digits) => digits.clone(),
            // What is less than half a cent is not nothing.
            Cell::Money(usd) if *usd != Usd::ZERO && usd.abs() < HALF_A_CENT => usd.to_string(),
            Cell::Money(usd) => usd.grouped(),
            Cell::Time(at) => short_time(*at),
            Cell::Flag(is_so) => (if *is_so { "yes" } else { "no" }).to_owned(),
            Cell::List(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| words::clean(text)).collect();
                texts.join(", ")
            }
        }
    }

    fn for_csv(&self) -> String {
        match self {
            Cell::Empty | Cell::Unknown => String::new(),
            Cell::Text(text) | Cell::Prose(text) | Cell::Decimal(text) => text.clone(),
            Cell::Count(count) => count.to_string(),
            Cell::Money(usd) => usd.to_string(),
            Cell::Time(at) => at.to_string(),
            Cell::Flag(is_so) => is_so.to_string(),
            Cell::List(texts) => texts.join("; "),
        }
    }

    fn is_number(&self) -> bool {
        match self {
            Cell::Count(_) | Cell::Decimal(_) | Cell::Money(_) => true,
            Cell::Empty
            | Cell::Unknown
            | Cell::Text(_)
            | Cell::Prose(_)
            | Cell::Time(_)
            | Cell::List(_)
            | Cell::Flag(_) => false,
        }
    }
}

/// `-1,234,567`.
fn grouped(count: i128) -> String {
    let sign = if count < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        group_thousands(&count.unsigned_abs().to_string())
    )
}

/// `2026-11-24 14:05Z`.
pub fn short_time(at: Timestamp) -> String {
    let local = TimeZone::UTC.to_datetime(at);
    format!(
        "{} {:02}:{:02}Z",
        local.date(),
        local.hour(),
        local.minute()
    )
}

impl Sheet {
    /// In a format; JSON is an array of objects.
    pub fn render(&self, format: Format) -> String {
        self.render_for(format, io::stdout().is_terminal())
    }

    /// Writes it in a format, then ends as told; JSON is an array of objects, and is written row by row.
    pub fn print(&self, format: Format, exit: ExitCode) -> ExitCode {
        match format {
            Format::Json => print_all(self.json_pieces(), exit),
            Format::Table | Format::Csv => print(&self.render(format), exit),
        }
    }

    /// The same, with columns left out of the table one after another until no line has to be broken; first those that say
    /// nothing.
    #[must_use]
    pub fn fitted(mut self, width: u16, least: &[&str]) -> Sheet {
        let mut widths = self.widths();
        let places = least
            .iter()
            .filter_map(|key| self.columns.iter().position(|column| column.key == *key));
        let says_nothing = |place: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(place));
            cells.all(|cell| *cell == Cell::Empty)
        };
        let (silent, others): (Vec<usize>, Vec<usize>) =
            places.partition(|place| says_nothing(*place));
        for place in silent.into_iter().chain(others) {
            if line_width(&widths) <= usize::from(width) {
                break;
            }
            self.columns[place].heading = None;
            widths[place] = None;
        }
        self
    }

    /// How wide each column of the table is, in cells of a terminal; `None` for one that is not in it.
    fn widths(&self) -> Vec<Option<usize>> {
        let width = |(place, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(place));
            let widest = cells.map(|cell| cell.for_people().width()).max();
            column
                .heading
                .map(|heading| heading.width().max(widest.unwrap_or_default()))
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn render_for(&self, format: Format, is_terminal: bool) -> String {
        match format {
            Format::Table => self.as_table(is_terminal.then_some(TERMINAL_WIDTH)),
            Format::Json => self.json_pieces().collect(),
            Format::Csv => self.as_csv(is_terminal),
        }
    }

    /// Aligned columns, fitted into a width where one is given.
    pub fn as_table(&self, width: Option<u16>) -> String {
        let widths = self.widths();
        match width.filter(|width| line_width(&widths) > usize::from(*width)) {
            None => self.lines(&widths).collect(),
            Some(width) => self.wrapped(width),
        }
    }

    /// The table line by line, each as long as it is.
    fn lines(&self, widths: &[Option<usize>]) -> impl Iterator<Item = String> {
        let header = self
            .columns
            .iter()
            .zip(widths)
            .filter_map(|(column, width)| {
                let heading = column.heading?.to_owned();
                Some((heading, false, (*width)?))
            });
        let rows =
            self.rows.iter().map(move |row| {
                let cells = row.iter().zip(widths);
                line(cells.filter_map(|(cell, width)| {
                    Some((cell.for_people(), cell.is_number(), (*width)?))
                }))
            });
        std::iter::once(line(header)).chain(rows)
    }

    /// The table with cells of several lines where they are too long.
    fn wrapped(&self, width: u16) -> String {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
        table.set_header(self.columns.iter().filter_map(|column| column.heading));
        for row in &self.rows {
            let cells = self.columns.iter().zip(row);
            let cells = cells.filter(|(column, _)| column.heading.is_some());
            table.add_row(cells.map(|(_, cell)| {
                let aligned = comfy_table::Cell::new(cell.for_people());
                if cell.is_number() {
                    aligned.set_alignment(CellAlignment::Right)
                } else {
                    aligned
                }
            }));
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// As [`json_text`] of the whole array would be, piece by piece.
    fn json_pieces(&self) -> impl Iterator<Item = String> {
        let mut opening = "[\n";
        let rows = self.objects().map(move |object| {
            let mut piece = std::mem::replace(&mut opening, ",\n").to_owned();
            let object = json_text(&object);
            let mut separator = "";
            for line in object.trim_end().lines() {
                piece.push_str(separator);
                piece.push_str("  ");
                piece.push_str(line);
                separator = "\n";
            }
            piece
        });
        let end = if self.rows.is_empty() {
            "[]\n"
        } else {
            "\n]\n"
        };
        rows.chain([end.to_owned()])
    }

    fn as_csv(&self, is_terminal: bool) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = self.columns.iter().map(|column| column.key.to_owned());
        let rows = self.rows.iter().map(|row| {
            let cells = row.iter().map(Cell::for_csv);
            cells
                .map(|text| {
                    if is_terminal {
                        words::line(&text)
                    } else {
                        text
                    }
                })
                .collect::<Vec<_>>()
        });
        for record in std::iter::once(header.collect()).chain(rows) {
            writer
                .write_record(record)
                .expect("rows are as wide as the header, and memory takes them");
        }
        let bytes = writer.into_inner().expect("memory takes everything");
        String::from_utf8(bytes).expect("cells are text")
    }
}

/// Between two columns.
const GAP: usize = 2;

/// How wide the lines of a table are.
fn line_width(widths: &[Option<usize>]) -> usize {
    let n_shown = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + GAP * n_shown.saturating_sub(1)
}

/// Texts, each with whether it stands on the right, and how wide its column is.
fn line(cells: impl Iterator<Item = (String, bool, usize)>) -> String {
    let mut line = String::new();
    for (place, (text, is_right, width)) in cells.enumerate() {
        let blanks = " ".repeat(width.saturating_sub(text.width()));
        if place > 0 {
            line.push_str(&" ".repeat(GAP));
        }
        let (before, after) = if is_right {
            (blanks.as_str(), "")
        } else {
            ("", blanks.as_str())
        };
        line.push_str(before);
        line.push_str(&text);
        line.push_str(after);
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// Indented, with every control character written as an escape, so that none reaches a terminal.
pub fn json_text(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if c.is_control() && c != '\n' {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    text
}

/// Writes a text, then ends as told. A closed pipe is fine, as for any command before `head`; a full disk is not.
pub fn print(text: &str, exit: ExitCode) -> ExitCode {
    print_all([text], exit)
}

fn print_all(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>, exit: ExitCode) -> ExitCode {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut pieces = pieces.into_iter();
    let written = pieces.try_for_each(|piece| stdout.write_all(piece.as_ref()));
    let written = written.and_then(|()| stdout.flush());
    // What could not be written is not tried again when this is dropped.
    let (_, _) = stdout.into_parts();
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::{hidden, shown};

    fn sheet(name: &str) -> Sheet {
        Sheet {
            columns: vec![
                shown("name", "NAME"),
                shown("spend_usd", "SPEND"),
                hidden("requests"),
                shown("at", "AT"),
                shown("told", "TOLD"),
            ],
            rows: vec![
                vec![
                    Cell::Text(name.to_owned()),
                    Cell::Decimal("12.5".to_owned()),
                    Cell::Count(7),
                    Cell::Time("2026-11-24T14:05:09Z".parse().unwrap()),
                    Cell::List(vec!["a".to_owned(), "b".to_owned()]),
                ],
                vec![
                    Cell::Text("x".to_owned()),
                    Cell::Decimal("1000".to_owned()),
                    Cell::Count(i128::MAX),
                    Cell::Empty,
                    Cell::List(Vec::new()),
                ],
            ],
        }
    }

    #[test]
    fn people_get_cents_and_machines_every_digit() {
        let told = |text: &str| {
            let cell = Cell::Money(Usd::parse(text).unwrap());
            (cell.for_people(), cell.for_csv())
        };
        let both = |people: &str, machines: &str| (people.to_owned(), machines.to_owned());
        assert_eq!(told("1234.567891"), both("1,234.57", "1234.567891"));
        assert_eq!(told("0"), both("0.00", "0"));
        assert_eq!(told("-0.000001"), both("-0.000001", "-0.000001"));
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }

    #[test]
    fn one_sheet_in_three_formats() {
        let sheet = sheet("Search");
        insta::assert_snapshot!(sheet.render_for(Format::Table, false), @r#"
NAME    SPEND  AT                 TOLD
Search   12.5  2026-11-24 14:05Z  a, b
x        1000  -
"#);
        insta::assert_snapshot!(sheet.render_for(Format::Csv, false), @r#"
name,spend_usd,requests,at,told
Search,12.5,7,2026-11-24T14:05:09Z,a; b
x,1000,170141183460469231731687303715884105727,,
"#);
        insta::assert_snapshot!(sheet.render_for(Format::Json, false), @r#"
[
  {
    "at": "2026-11-24T14:05:09Z",
    "name": "Search",
    "requests": 7,
    "spend_usd": "12.5",
    "told": [
      "a",
      "b"
    ]
  },
  {
    "at": null,
    "name": "x",
    "requests": "170141183460469231731687303715884105727",
    "spend_usd": "1000",
    "told": []
  }
]
"#);
    }

    #[test]
    fn names_that_are_up_to_something_do_not_reach_a_terminal() {
        let sheet = sheet("a\u{1b}[2J\u{9b}31m\r\nb,\"c");
        let is_calm = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        for format in [Format::Table, Format::Json, Format::Csv] {
            let text = sheet.render_for(format, true);
            assert!(is_calm(&text), "{text:?}");
        }
        let json: Value = serde_json::from_str(&sheet.render_for(Format::Json, false)).unwrap();
        assert_eq!(json[0]["name"], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
        let mut reader =
            csv::Reader::from_reader(io::Cursor::new(sheet.render_for(Format::Csv, false)));
        let first = reader.records().next().unwrap().unwrap();
        assert_eq!(&first[0], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
    }

    #[test]
    fn a_terminal_of_eighty_columns_is_enough() {
        let table = sheet(&"long ".repeat(40)).as_table(Some(TERMINAL_WIDTH));
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
    }
}
