//! Writes text, or rows as a table, JSON or CSV, to standard output. A closed pipe is not an error.
//!
//! Names are stripped of control characters in tables and on a terminal. JSON and CSV in a file or pipe contain the values as
//! they are, even those that a spreadsheet would take for a formula.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::{Timestamp, tz::TimeZone};
use rustix::fd::AsFd;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::table::{Cell, Column, OutputTable};
use spendwatch_config::source::Environment;
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_notify::wording::formatting;

/// Columns of a terminal of unknown size.
const DEFAULT_WIDTH: usize = 80;

/// Minimum width of wrapped text columns.
const MIN_TEXT_WIDTH: usize = 10;

const HALF_A_CENT: Usd = Usd::from_pico(5_000_000_000);

/// Properties of an output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Screen {
    /// Control characters must be removed.
    pub is_terminal: bool,
    /// Maximum width of tables in columns; `None` wraps nothing.
    pub width: Option<usize>,
    /// Severities are colored.
    pub has_color: bool,
}

impl Screen {
    /// Returns the properties of standard output.
    pub fn stdout(environment: &Environment) -> Screen {
        let stream = io::stdout();
        Screen::new(stream.is_terminal(), columns_of(&stream), environment)
    }

    /// Returns the properties of standard error.
    pub fn stderr(environment: &Environment) -> Screen {
        let stream = io::stderr();
        Screen::new(stream.is_terminal(), columns_of(&stream), environment)
    }

    /// `COLUMNS` overrides the size of a terminal, and sets a width for other streams.
    fn new(is_terminal: bool, size: Option<usize>, environment: &Environment) -> Screen {
        let requested = environment
            .get("COLUMNS")
            .and_then(|n| n.trim().parse().ok());
        let requested = requested.filter(|n: &usize| *n > 0);
        let own = is_terminal.then(|| size.unwrap_or(DEFAULT_WIDTH));
        let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        let is_dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
        Screen {
            is_terminal,
            width: requested.or(own),
            has_color: is_terminal && !is_set("NO_COLOR") && !is_dumb,
        }
    }

    /// Colors a severity or health word if the stream has color.
    pub fn colored(self, word: &str) -> String {
        match color_of(word).filter(|_| self.has_color) {
            Some(color) => format!("\u{1b}[{color}m{word}\u{1b}[0m"),
            None => word.to_owned(),
        }
    }

    /// Appends a text to `first` with a hanging indent; `first` itself may be colored.
    pub fn hanging(self, first: &str, indent: usize, text: &str) -> String {
        let available = self.width.map(|width| width.saturating_sub(indent));
        let lines = match available {
            Some(available) => wrap(text, available.max(MIN_TEXT_WIDTH), is_link),
            None => vec![text.to_owned()],
        };
        let blanks = format!("\n{}", " ".repeat(indent));
        format!("{first}{}\n", lines.join(&blanks))
    }
}

fn columns_of(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|n| *n > 0)
}

/// Returns the SGR parameter.
fn color_of(word: &str) -> Option<&'static str> {
    match word {
        "critical" | "bad" => Some("1;31"),
        "warning" => Some("33"),
        "info" => Some("36"),
        _ => None,
    }
}

/// Keys of the colored columns.
const COLORED: [&str; 2] = ["severity", "health"];

/// Output format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns
    #[default]
    Table,
    /// Stable keys, amounts as decimal strings
    Json,
    /// Header and unformatted values
    Csv,
}

impl Cell {
    pub(super) fn for_people(&self) -> String {
        match self {
            Cell::Empty => "-".to_owned(),
            Cell::Unknown => "unknown".to_owned(),
            Cell::Text(text) => formatting::clean(text),
            Cell::Prose(text) => formatting::single_line(text),
            Cell::Count(count) => grouped(*count),
            Cell::Decimal(digits) => digits.clone(),
            // Amounts below half a cent must not look like zero.
            Cell::Money(usd) if *usd != Usd::ZERO && usd.abs() < HALF_A_CENT => usd.to_string(),
            Cell::Money(usd) => usd.grouped(),
            Cell::Time(at) => short_time(*at),
            Cell::Flag(is_so) => (if *is_so { "yes" } else { "no" }).to_owned(),
            Cell::List(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| formatting::clean(text)).collect();
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

impl Cell {
    /// Returns whether the cell must stay on one line.
    fn is_unbroken(&self) -> bool {
        self.is_number() || matches!(self, Cell::Time(_))
    }
}

/// Formats a count as `-1,234,567`.
fn grouped(count: i128) -> String {
    let sign = if count < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        group_thousands(&count.unsigned_abs().to_string())
    )
}

/// Formats a time as `2026-11-24 14:05Z`.
pub fn short_time(at: Timestamp) -> String {
    let local = TimeZone::UTC.to_datetime(at);
    format!(
        "{} {:02}:{:02}Z",
        local.date(),
        local.hour(),
        local.minute()
    )
}

impl OutputTable {
    /// Renders the rows; JSON is an array of objects.
    pub fn render(&self, format: OutputFormat, screen: Screen) -> String {
        match format {
            OutputFormat::Table => self.as_table(screen),
            OutputFormat::Json => self.json_pieces().collect(),
            OutputFormat::Csv => self.as_csv(screen.is_terminal),
        }
    }

    /// Prints the rows and returns `exit`, or failure if writing fails. JSON is written row by row.
    pub fn print(&self, format: OutputFormat, screen: Screen, exit: ExitCode) -> ExitCode {
        match format {
            OutputFormat::Json => print_all(self.json_pieces(), exit),
            OutputFormat::Table | OutputFormat::Csv => print(&self.render(format, screen), exit),
        }
    }

    /// Renders aligned columns within the width of the stream.
    ///
    /// If they do not fit, drops empty columns, wraps texts, then drops the columns of [`OutputTable::with_droppable`]. If that is
    /// not enough, each row becomes a block with one line per column. Numbers, times and ids are never wrapped.
    pub fn as_table(&self, screen: Screen) -> String {
        let widths = self.widths();
        match screen.width {
            None => self.lines(&widths, screen),
            Some(width) => match self.fit(widths, width) {
                Some(widths) => self.lines(&widths, screen),
                None => self.blocks(width, screen),
            },
        }
    }

    /// Returns the natural width of each column in terminal cells; `None` for hidden columns.
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

    /// Returns widths that fit, or `None` if none do.
    fn fit(&self, mut widths: Vec<Option<usize>>, available: usize) -> Option<Vec<Option<usize>>> {
        let cells_of = |place: usize| self.rows.iter().filter_map(move |row| row.get(place));
        let is_empty = |place: &usize| {
            !self.rows.is_empty() && cells_of(*place).all(|cell| *cell == Cell::Empty)
        };
        for place in (0..self.columns.len()).rev().filter(is_empty) {
            if line_width(&widths) <= available {
                break;
            }
            widths[place] = None;
        }
        let min_of = |(place, column): (usize, &Column)| {
            let is_fixed = column.is_id || cells_of(place).any(Cell::is_unbroken);
            let heading = column.heading?.width();
            let width = widths[place]?;
            Some(if is_fixed {
                width
            } else {
                width.min(MIN_TEXT_WIDTH).max(heading)
            })
        };
        let mut min: Vec<Option<usize>> = self.columns.iter().enumerate().map(min_of).collect();
        let columns = self.columns.iter().enumerate();
        let droppable = columns.filter_map(|(place, column)| Some((column.drop_order?, place)));
        let mut droppable: Vec<(u8, usize)> = droppable.collect();
        droppable.sort_unstable();
        let mut droppable = droppable.into_iter();
        while line_width(&min) > available {
            let (_, place) = droppable.next()?;
            (widths[place], min[place]) = (None, None);
        }
        Some(shrink(&widths, &min, available))
    }

    /// Renders a line of headings and the rows.
    fn lines(&self, widths: &[Option<usize>], screen: Screen) -> String {
        let mut text = String::new();
        let headings = self.columns.iter().zip(widths);
        let headings = headings.filter_map(|(column, width)| {
            let heading = column.heading?.to_owned();
            Some((vec![heading], false, (*width)?, false))
        });
        push_lines(&mut text, &headings.collect::<Vec<_>>(), screen);
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).zip(widths);
            let cells = cells.filter_map(|((cell, column), width)| {
                let width = (*width)?;
                let shown = cell.for_people();
                let lines = if shown.width() > width {
                    wrap(&shown, width, |_| false)
                } else {
                    vec![shown]
                };
                let may_have_color = COLORED.contains(&column.key);
                Some((lines, cell.is_number(), width, may_have_color))
            });
            push_lines(&mut text, &cells.collect::<Vec<_>>(), screen);
        }
        text
    }

    /// Renders each row as a block with one line per column.
    fn blocks(&self, width: usize, screen: Screen) -> String {
        let headings = self.columns.iter().filter_map(|column| column.heading);
        let widest = headings.map(UnicodeWidthStr::width).max();
        let indent = widest.unwrap_or_default() + GAP;
        let available = width.saturating_sub(indent).max(MIN_TEXT_WIDTH);
        let block = |row: &Vec<Cell>| {
            let cells = row.iter().zip(&self.columns);
            let lines = cells.filter_map(|(cell, column)| {
                let heading = column.heading?;
                let label = format!("{heading}{}", " ".repeat(indent - heading.width()));
                let shown = cell.for_people();
                let is_unbroken = column.is_id || cell.is_unbroken();
                Some(if is_unbroken && shown.width() > available {
                    format!("{heading}\n{shown}\n")
                } else if COLORED.contains(&column.key) {
                    format!("{label}{}\n", screen.colored(&shown))
                } else {
                    screen.hanging(&label, indent, &shown)
                })
            });
            lines.collect::<String>()
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    /// Renders the same text as [`json_text`] of the whole array, row by row.
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
                        formatting::single_line(&text)
                    } else {
                        text
                    }
                })
                .collect::<Vec<_>>()
        });
        for record in std::iter::once(header.collect()).chain(rows) {
            writer
                .write_record(record)
                .expect("rows have as many cells as the header, and memory is writable");
        }
        let bytes = writer.into_inner().expect("memory is writable");
        String::from_utf8(bytes).expect("cells are text")
    }
}

/// Spaces between two columns.
const GAP: usize = 2;

/// Returns the width of a line.
fn line_width(widths: &[Option<usize>]) -> usize {
    let n_shown = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + GAP * n_shown.saturating_sub(1)
}

/// Reduces the widest columns, down to their minimum, until the line fits.
fn shrink(
    natural: &[Option<usize>],
    min: &[Option<usize>],
    available: usize,
) -> Vec<Option<usize>> {
    let capped = |max: usize| -> Vec<Option<usize>> {
        let both = natural.iter().zip(min);
        both.map(|(natural, min)| Some((*natural)?.min(max).max((*min)?)))
            .collect()
    };
    let mut max = natural.iter().flatten().copied().max().unwrap_or_default();
    while max > 0 && line_width(&capped(max)) > available {
        max -= 1;
    }
    capped(max)
}

/// Links are not wrapped, so that they can be followed.
fn is_link(word: &str) -> bool {
    word.contains("://")
}

/// Wraps a text between words, and long words between graphemes unless `is_unbroken`.
fn wrap(text: &str, width: usize, is_unbroken: fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let gap = usize::from(!line.is_empty());
        if line.width() + gap + word.width() <= width {
            line.push_str(&" ".repeat(gap));
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if is_unbroken(word) {
            line.push_str(word);
            continue;
        }
        for character in word.graphemes(true) {
            if !line.is_empty() && line.width() + character.width() > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(character);
        }
    }
    lines.push(line);
    lines
}

/// Lines of a cell, whether they are aligned right, the column's width, and whether the cell may be colored.
type CellLines = (Vec<String>, bool, usize, bool);

fn push_lines(text: &mut String, cells: &[CellLines], screen: Screen) {
    let n_lines = cells.iter().map(|(lines, ..)| lines.len()).max();
    for place in 0..n_lines.unwrap_or(1) {
        let start = text.len();
        for (column, (lines, is_right, width, may_have_color)) in cells.iter().enumerate() {
            let shown = lines.get(place).map_or("", String::as_str);
            let blanks = " ".repeat(width.saturating_sub(shown.width()));
            if column > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            let colored = may_have_color.then(|| screen.colored(shown));
            let shown = colored.as_deref().unwrap_or(shown);
            let (before, after) = if *is_right {
                (blanks.as_str(), "")
            } else {
                ("", blanks.as_str())
            };
            text.push_str(before);
            text.push_str(shown);
            text.push_str(after);
        }
        let end = start + text[start..].trim_end().len();
        text.truncate(end);
        text.push('\n');
    }
}

/// Renders indented JSON with all control characters escaped, so that none reaches a terminal.
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

/// Prints a text and returns `exit`, or failure if writing fails. A closed pipe, as before `head`, is not a failure.
pub fn print(text: &str, exit: ExitCode) -> ExitCode {
    print_all([text], exit)
}

fn print_all(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>, exit: ExitCode) -> ExitCode {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut pieces = pieces.into_iter();
    let written = pieces.try_for_each(|piece| stdout.write_all(piece.as_ref()));
    let written = written.and_then(|()| stdout.flush());
    // Prevents another attempt to write on drop.
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
    use crate::table::{hidden, id, shown};

    fn table(name: &str) -> OutputTable {
        OutputTable {
            columns: vec![
                shown("name", "NAME"),
                shown("spend_usd", "SPEND"),
                hidden("requests"),
                shown("at", "AT"),
                shown("told", "NOTIFIED"),
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
    fn tables_round_to_cents_and_csv_is_exact() {
        let shown = |text: &str| {
            let cell = Cell::Money(Usd::parse(text).unwrap());
            (cell.for_people(), cell.for_csv())
        };
        let both = |people: &str, machines: &str| (people.to_owned(), machines.to_owned());
        assert_eq!(shown("1234.567891"), both("1,234.57", "1234.567891"));
        assert_eq!(shown("0"), both("0.00", "0"));
        assert_eq!(shown("-0.000001"), both("-0.000001", "-0.000001"));
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }

    #[test]
    fn three_formats() {
        let table = table("Search");
        insta::assert_snapshot!(table.render(OutputFormat::Table, Screen::default()), @r#"
NAME    SPEND  AT                 NOTIFIED
Search   12.5  2026-11-24 14:05Z  a, b
x        1000  -
"#);
        insta::assert_snapshot!(table.render(OutputFormat::Csv, Screen::default()), @r#"
name,spend_usd,requests,at,told
Search,12.5,7,2026-11-24T14:05:09Z,a; b
x,1000,170141183460469231731687303715884105727,,
"#);
        insta::assert_snapshot!(table.render(OutputFormat::Json, Screen::default()), @r#"
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
    fn control_characters_do_not_reach_a_terminal() {
        let table = table("a\u{1b}[2J\u{9b}31m\r\nb,\"c");
        let is_clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        for format in [OutputFormat::Table, OutputFormat::Json, OutputFormat::Csv] {
            let text = table.render(format, terminal(80));
            assert!(is_clean(&text), "{text:?}");
        }
        let json: Value =
            serde_json::from_str(&table.render(OutputFormat::Json, Screen::default())).unwrap();
        assert_eq!(json[0]["name"], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
        let mut reader = csv::Reader::from_reader(io::Cursor::new(
            table.render(OutputFormat::Csv, Screen::default()),
        ));
        let first = reader.records().next().unwrap().unwrap();
        assert_eq!(&first[0], "a\u{1b}[2J\u{9b}31m\r\nb,\"c");
    }

    fn terminal(width: usize) -> Screen {
        Screen {
            is_terminal: true,
            width: Some(width),
            has_color: false,
        }
    }

    /// In terminal cells, not bytes or characters.
    fn widest(text: &str) -> usize {
        text.lines()
            .map(UnicodeWidthStr::width)
            .max()
            .unwrap_or_default()
    }

    fn keys(name: &str) -> OutputTable {
        OutputTable {
            columns: vec![
                id("id", "ID"),
                shown("name", "NAME"),
                shown("severity", "SEVERITY"),
                shown("spend_usd", "SPEND"),
                shown("ended_at", "ENDED"),
                shown("at", "AT"),
            ],
            rows: vec![vec![
                Cell::Text("apikey_01Rj2N8SVvo6BePZj99NhmiT".to_owned()),
                Cell::Text(name.to_owned()),
                Cell::Text("critical".to_owned()),
                Cell::Money(Usd::parse("1234567.89").unwrap()),
                Cell::Empty,
                Cell::Time("2026-11-24T14:05:09Z".parse().unwrap()),
            ]],
        }
    }

    /// Visible graphemes.
    fn graphemes(text: &str) -> Vec<String> {
        let all = text.graphemes(true).map(str::to_owned);
        all.filter(|grapheme| !grapheme.trim().is_empty()).collect()
    }

    #[test]
    fn only_texts_are_wrapped() {
        let names = [
            "a key with a long name that says what it is for, and more".to_owned(),
            "検索サービスの夜間バッチ処理用のキー、検索サービスの夜間バッチ処理用".to_owned(),
            "👩\u{200d}👩\u{200d}👧\u{200d}👦🇩🇪👍🏽".repeat(7),
            "x".repeat(70),
        ];
        for name in &names {
            for width in [40, 80, 100, 120, 200] {
                let table = keys(name).as_table(terminal(width));
                assert!(widest(&table) <= width, "{width}\n{table}");
                for whole in [
                    "apikey_01Rj2N8SVvo6BePZj99NhmiT",
                    "1,234,567.89",
                    "2026-11-24 14:05Z",
                    "critical",
                ] {
                    assert!(table.contains(whole), "{whole} at {width}\n{table}");
                }
                let in_table = graphemes(&table);
                for character in graphemes(name) {
                    assert!(in_table.contains(&character), "{character}\n{table}");
                }
                assert!(width < 200 || table.contains(name.as_str()), "{table}");
            }
        }
    }

    #[test]
    fn narrow_tables_wrap_texts_or_become_blocks() {
        let table = keys("a key with a long name");
        insta::assert_snapshot!(table.as_table(terminal(96)), @r"
ID                               NAME                  SEVERITY  SPEND         AT
apikey_01Rj2N8SVvo6BePZj99NhmiT  a key with a long     critical  1,234,567.89  2026-11-24 14:05Z
                                 name
");
        insta::assert_snapshot!(table.as_table(terminal(40)), @r"
ID
apikey_01Rj2N8SVvo6BePZj99NhmiT
NAME      a key with a long name
SEVERITY  critical
SPEND     1,234,567.89
ENDED     -
AT        2026-11-24 14:05Z
");
    }

    #[test]
    fn wide_characters_stay_aligned() {
        let mut table = table("検索");
        table.rows.push(table.rows[0].clone());
        table.rows[2][0] = Cell::Text("👩\u{200d}👧 Ada".to_owned());
        let table = table.as_table(Screen::default());
        let place = |line: &str| line.find("12.5").map(|place| line[..place].width());
        let places: Vec<_> = table.lines().filter_map(place).collect();
        assert_eq!(places, [9, 9], "{table}");
    }

    #[test]
    fn severities_are_colored_on_a_terminal() {
        let colored = |width| Screen {
            has_color: true,
            ..terminal(width)
        };
        for width in [30, 200] {
            let table = keys("ci").as_table(colored(width));
            assert!(table.contains("\u{1b}[1;31mcritical\u{1b}[0m"), "{table:?}");
        }
        for format in [OutputFormat::Json, OutputFormat::Csv] {
            let text = keys("ci").render(format, colored(200));
            assert!(!text.contains('\u{1b}'), "{text}");
        }
        let plain = keys("critical").as_table(terminal(200));
        assert!(!plain.contains('\u{1b}'));
        let named = keys("critical").as_table(colored(200));
        assert_eq!(
            named.matches("\u{1b}[1;31m").count(),
            1,
            "a name is not a severity"
        );
    }

    #[test]
    fn columns_variable_overrides_terminal_width() {
        let screen = |is_terminal, size, variables: &[(&str, &str)]| {
            let variables = variables.iter();
            let environment: Environment = variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let screen = Screen::new(is_terminal, size, &environment);
            (screen.width, screen.has_color)
        };
        assert_eq!(screen(true, Some(200), &[]), (Some(200), true));
        assert_eq!(screen(true, None, &[]), (Some(80), true));
        assert_eq!(screen(false, None, &[]), (None, false));
        let narrow = [("COLUMNS", "60"), ("NO_COLOR", "1")];
        assert_eq!(screen(true, Some(200), &narrow), (Some(60), false));
        assert_eq!(screen(false, None, &narrow), (Some(60), false));
        let invalid = [("COLUMNS", "0"), ("NO_COLOR", ""), ("TERM", "xterm")];
        assert_eq!(screen(true, Some(90), &invalid), (Some(90), true));
        let dumb = [("TERM", "dumb")];
        assert_eq!(screen(true, Some(90), &dumb), (Some(90), false));
    }

    #[test]
    fn columns_are_dropped_after_texts_are_wrapped() {
        let headings = |width| {
            let table = keys("a key with a long name").with_droppable(&["at", "spend_usd"]);
            let table = table.as_table(terminal(width));
            table.lines().next().unwrap().to_owned()
        };
        // 31 for the id, 10 for the name, 8, 12 and 17, and two between each.
        assert!(headings(86).contains("AT") && headings(86).contains("SPEND"));
        assert!(!headings(85).contains("AT") && headings(85).contains("SPEND"));
        assert!(!headings(60).contains("SPEND") && headings(60).contains("SEVERITY"));
    }
}
