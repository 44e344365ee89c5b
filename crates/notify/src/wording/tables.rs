//! The chart and the tables of a digest.

use serde::Serialize;

const MAX_BAR_CHARS: u32 = 24;

/// One bar of the chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChartBar {
    /// `Mon 16 Nov`
    pub label: String,
    /// `$12.00`
    pub value: String,
    /// Percent of the longest bar; 0 for negative spend.
    pub percent: u32,
}

/// A titled table of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DigestSection {
    pub title: &'static str,
    pub rows: Vec<DigestRow>,
}

/// A row of a table: a name, its amount and its change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DigestRow {
    pub name: String,
    pub value: String,
    /// May be empty.
    pub note: String,
}

impl DigestRow {
    /// Creates a row.
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        note: impl Into<String>,
    ) -> DigestRow {
        DigestRow {
            name: name.into(),
            value: value.into(),
            note: note.into(),
        }
    }

    /// Returns the row as one line.
    pub fn line(&self) -> String {
        match (self.value.is_empty(), self.note.is_empty()) {
            (true, true) => self.name.clone(),
            (true, false) => format!("{}: {}", self.name, self.note),
            (false, true) => format!("{}: {}", self.name, self.value),
            (false, false) => format!("{}: {} ({})", self.name, self.value, self.note),
        }
    }
}

/// Renders the chart for a fixed-width font. It contains no untrusted text.
pub fn bars(chart: &[ChartBar]) -> Vec<String> {
    let width = |text: fn(&ChartBar) -> &str| {
        let widths = chart.iter().map(|bar| text(bar).chars().count());
        widths.max().unwrap_or_default()
    };
    let (label, value) = (width(|bar| &bar.label), width(|bar| &bar.value));
    chart
        .iter()
        .map(|bar| {
            let text = format!(
                "{:label$}  {:>value$}  {}",
                bar.label,
                bar.value,
                blocks(bar)
            );
            text.trim_end().to_owned()
        })
        .collect()
}

/// Renders a bar as text; even the smallest spend is visible.
pub fn blocks(bar: &ChartBar) -> String {
    "█".repeat((bar.percent * MAX_BAR_CHARS).div_ceil(100) as usize)
}
