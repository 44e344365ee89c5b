//! Properties of the stream that a command writes to: its width and colors.

use std::io::{self, IsTerminal};

use rustix::fd::AsFd;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use spendwatch_config::source::Environment;

/// Columns of a terminal of unknown size.
const DEFAULT_WIDTH: usize = 80;

/// Minimum width of wrapped text columns.
pub const MIN_TEXT_WIDTH: usize = 10;

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

/// Links are not wrapped, so that they can be followed.
fn is_link(word: &str) -> bool {
    word.contains("://")
}

/// Wraps a text between words, and long words between graphemes unless `is_unbroken`.
pub fn wrap(text: &str, width: usize, is_unbroken: fn(&str) -> bool) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
