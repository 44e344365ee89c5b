//! Writes text, or rows as a table, JSON or CSV, to standard output. A closed pipe is not an error.
//!
//! Names are stripped of control characters in tables and on a terminal. JSON and CSV in a file or pipe contain the values as
//! they are, even those that a spreadsheet would take for a formula.

pub mod cell;
pub mod screen;

mod columns;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use crate::cli::output::screen::Screen;
use crate::table::{Cell, OutputTable};
use spendwatch_notify::wording::formatting;

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
