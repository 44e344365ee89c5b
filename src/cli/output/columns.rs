//! Rows as aligned columns within the width of the stream.

use unicode_width::UnicodeWidthStr;

use crate::cli::output::screen::{MIN_TEXT_WIDTH, Screen, wrap};
use crate::table::{Cell, Column, OutputTable};

/// Keys of the colored columns.
const COLORED: [&str; 2] = ["severity", "health"];

/// Spaces between two columns.
const GAP: usize = 2;

impl OutputTable {
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
}

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
