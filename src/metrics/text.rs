//! Samples as text: names, labels, escaping. What is written here is the same in both formats, since help texts hold
//! nothing that they escape differently.
//!
//! Source: Prometheus exposition formats, text 0.0.4; OpenMetrics 1.0.0.

use std::fmt::{Display, Write};

/// Decimals of a ratio.
const RATIO: i128 = 1_000_000;

/// A metric: its name, what it says, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// As in the contract.
    pub name: &'static str,
    /// One sentence, without quotes, backslashes and line breaks.
    pub help: &'static str,
    /// Gauge or counter.
    pub kind: Kind,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up; its name ends in `_total`.
    Counter,
}

impl Family {
    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Family {
        Family {
            name,
            help,
            kind: Kind::Gauge,
        }
    }

    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Family {
        Family {
            name,
            help,
            kind: Kind::Counter,
        }
    }

    /// The two lines before its samples. OpenMetrics names a counter's family without `_total`.
    pub fn header(&self, format: Format) -> String {
        let (name, kind) = match (self.kind, format) {
            (Kind::Gauge, _) => (self.name, "gauge"),
            (Kind::Counter, Format::Text) => (self.name, "counter"),
            (Kind::Counter, Format::OpenMetrics) => (bare(self.name), "counter"),
        };
        format!("# HELP {name} {}\n# TYPE {name} {kind}\n", self.help)
    }

    /// One sample.
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

/// In which format an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// A counter's name without `_total`.
pub fn bare(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Value over limit with six decimals, cut off; `None` for a limit of 0, of which nothing is a share.
pub fn ratio(value: i128, limit: i128) -> Option<String> {
    if limit <= 0 {
        return None;
    }
    let millionths = value.checked_mul(RATIO)? / limit;
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, rest) = (millionths.abs() / RATIO, millionths.abs() % RATIO);
    Some(format!("{sign}{whole}.{rest:06}"))
}

/// A label's value, as both formats want it.
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
    fn labels_are_escaped_and_nothing_else_is() {
        check(&[], "anthropic_spend_today_usd 1.5\n");
        check(
            &[("workspace", "a\\b \"c\"\nd\r{}=,é"), ("model", "")],
            "anthropic_spend_today_usd{workspace=\"a\\\\b \\\"c\\\"\\nd\r{}=,é\",model=\"\"} 1.5\n",
        );
    }

    #[test]
    fn a_counter_is_named_as_the_format_wants() {
        let counter = Family::counter("x_total", "Things.");
        assert_eq!(
            counter.header(Format::Text),
            "# HELP x_total Things.\n# TYPE x_total counter\n"
        );
        assert_eq!(
            counter.header(Format::OpenMetrics),
            "# HELP x Things.\n# TYPE x counter\n"
        );
        assert_eq!(
            SPEND.header(Format::OpenMetrics),
            SPEND.header(Format::Text)
        );
    }

    #[test]
    fn a_ratio_has_six_decimals_and_a_limit_of_nothing_has_none() {
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
