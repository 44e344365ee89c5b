//! Renders samples as text: names, labels, escaping. Both formats are equal here, because help texts contain no characters
//! that they escape differently.
//!
//! Source: Prometheus exposition formats, text 0.0.4; OpenMetrics 1.0.0.

use std::fmt::{Display, Write};

use jiff::Timestamp;

/// Six decimals.
const RATIO: i128 = 1_000_000;

/// Name, help and type of the series of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    /// Must not contain quotes, backslashes and line breaks.
    pub help: &'static str,
    pub kind: FamilyKind,
}

/// Type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    Gauge,
    /// Its name ends in `_total`.
    Counter,
}

impl Family {
    /// Creates a gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Family {
        Family {
            name,
            help,
            kind: FamilyKind::Gauge,
        }
    }

    /// Creates a counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Family {
        Family {
            name,
            help,
            kind: FamilyKind::Counter,
        }
    }

    /// Returns the `HELP` and `TYPE` lines. OpenMetrics omits `_total` from the name.
    pub fn header(&self, format: ExpositionFormat) -> String {
        let name = match format {
            ExpositionFormat::Text => self.name,
            ExpositionFormat::OpenMetrics => without_total(self.name),
        };
        let kind = match self.kind {
            FamilyKind::Gauge => "gauge",
            FamilyKind::Counter => "counter",
        };
        format!("# HELP {name} {}\n# TYPE {name} {kind}\n", self.help)
    }

    /// Appends a sample.
    pub fn sample(&self, out: &mut String, labels: &[(&str, &str)], value: impl Display) {
        out.push_str(self.name);
        let mut opening = '{';
        for (name, value) in labels {
            out.push(opening);
            opening = ',';
            out.push_str(name);
            out.push_str("=\"");
            escape(out, value);
            out.push('"');
        }
        if opening == ',' {
            out.push('}');
        }
        // Writing to memory cannot fail.
        let _ = writeln!(out, " {value}");
    }
}

/// Exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// Returns a counter's name without `_total`.
pub fn without_total(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Returns value ÷ limit, truncated to six decimals, or `None` for a limit of 0.
pub fn ratio(value: i128, limit: i128) -> Option<String> {
    if limit <= 0 {
        return None;
    }
    let millionths = value.checked_mul(RATIO)? / limit;
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, rest) = (millionths.abs() / RATIO, millionths.abs() % RATIO);
    Some(format!("{sign}{whole}.{rest:06}"))
}

/// Formats a time in seconds with milliseconds.
pub fn timestamp(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!("{}.{:03}", milliseconds / 1000, (milliseconds % 1000).abs())
}

fn escape(out: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        out.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEND: Family = Family::gauge("anthropic_spend_today_usd", "Spend so far.");

    #[track_caller]
    fn check(labels: &[(&str, &str)], expected: &str) {
        let mut out = String::new();
        SPEND.sample(&mut out, labels, "1.5");
        assert_eq!(out, expected);
    }

    #[test]
    fn only_label_values_are_escaped() {
        check(&[], "anthropic_spend_today_usd 1.5\n");
        check(
            &[("workspace", "a\\b \"c\"\nd\r{}=,é"), ("model", "")],
            "anthropic_spend_today_usd{workspace=\"a\\\\b \\\"c\\\"\\nd\r{}=,é\",model=\"\"} 1.5\n",
        );
    }

    #[test]
    fn counter_names_depend_on_the_format() {
        let counter = Family::counter("x_total", "Things.");
        assert_eq!(
            counter.header(ExpositionFormat::Text),
            "# HELP x_total Things.\n# TYPE x_total counter\n"
        );
        assert_eq!(
            counter.header(ExpositionFormat::OpenMetrics),
            "# HELP x Things.\n# TYPE x counter\n"
        );
        assert_eq!(
            SPEND.header(ExpositionFormat::OpenMetrics),
            SPEND.header(ExpositionFormat::Text)
        );
    }

    #[test]
    fn ratios_have_six_decimals_and_need_a_limit() {
        let check = |value, limit, expected: Option<&str>| {
            assert_eq!(ratio(value, limit).as_deref(), expected);
        };
        check(1, 3, Some("0.333333"));
        check(7, 2, Some("3.500000"));
        check(-1, 4, Some("-0.250000"));
        check(0, 5, Some("0.000000"));
        check(5, 0, None);
    }
}
