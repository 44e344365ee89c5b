//! Durations such as `30s`, `5m`, `1h30m` or `90d`.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};
use jiff::{SignedDuration, Span, SpanRelativeTo, SpanRound, Unit};

use crate::effective::quoted;
use crate::reader::SectionReader;

const PARSER: SpanParser = SpanParser::new();
const PRINTER: SpanPrinter = SpanPrinter::new()
    .designator(Designator::Compact)
    .spacing(Spacing::None);
const DAYS: SpanRelativeTo<'static> = SpanRelativeTo::days_are_24_hours();
/// A hundred years.
const MAX: SignedDuration = SignedDuration::from_hours(36_500 * 24);

/// Parses whole numbers with the units d, h, m and s, larger units first; at most 36,500 days.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    // The parser also accepts signs, fractions, spaces, and other units such as months and milliseconds.
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"dhms".contains(&byte);
    if !text.bytes().all(is_plain) || text.contains("ms") {
        return None;
    }
    let duration = PARSER.parse_span(text).ok()?.to_duration(DAYS).ok()?;
    (duration <= MAX).then_some(duration)
}

/// Formats a duration so that [`parse`] reads it. Fractions of a second are dropped.
pub fn text(duration: SignedDuration) -> String {
    let days = SpanRound::new().largest(Unit::Day).relative(DAYS);
    let seconds = Span::new().seconds(duration.min(MAX).as_secs());
    let span = seconds.round(days).expect("at most a hundred years");
    PRINTER.span_to_string(&span)
}

/// Reads a duration.
pub fn read(section: &SectionReader<'_>, key: &'static str) -> Option<SignedDuration> {
    let given = section.text(key)?;
    let duration = parse(&given.value);
    match duration {
        Some(duration) => section.record(key, quoted(text(duration))),
        None => {
            let expected = "expected a duration, for example `30s`, `5m`, `24h` or `90d`";
            section.problem(key, format!("is `{}`, {expected}", given.value));
        }
    }
    duration
}

/// Reads a duration that has a default.
pub fn read_or(
    section: &SectionReader<'_>,
    key: &'static str,
    default: SignedDuration,
) -> SignedDuration {
    let duration = read(section, key).unwrap_or(default);
    section.record(key, quoted(text(duration)));
    duration
}

/// Reads a duration that may be zero.
pub fn read_delay(section: &SectionReader<'_>, key: &'static str, default: Duration) -> Duration {
    let default = SignedDuration::try_from(default).unwrap_or(MAX);
    read_or(section, key, default).unsigned_abs()
}

/// Reads a duration of at least one second.
pub fn read_wait(section: &SectionReader<'_>, key: &'static str, default: Duration) -> Duration {
    let wait = read_delay(section, key, default);
    if wait.is_zero() {
        section.problem(key, "must be above zero, for example `30s`");
        return default;
    }
    wait
}

/// Reads a duration of whole days, at least one.
pub fn read_days(section: &SectionReader<'_>, key: &'static str, default: i32) -> i32 {
    let hours = SignedDuration::from_hours(i64::from(default) * 24);
    let seconds = read_or(section, key, hours).as_secs();
    if seconds == 0 || seconds % 86_400 != 0 {
        section.problem(key, "must be at least one whole day, for example `90d`");
        return default;
    }
    i32::try_from(seconds / 86_400).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, seconds: Option<i64>, again: &str) {
        let duration = parse(written);
        assert_eq!(duration.map(|duration| duration.as_secs()), seconds);
        assert_eq!(duration.map(text).unwrap_or_default(), again);
    }

    #[test]
    fn durations_are_parsed_and_formatted() {
        check("30s", Some(30), "30s");
        check("90m", Some(5400), "1h30m");
        check("1h30m", Some(5400), "1h30m");
        check("24h", Some(86_400), "1d");
        check("0s", Some(0), "0s");
        check("36500d", Some(MAX.as_secs()), "36500d");
        check("90s", Some(90), "1m30s");
        check("2d3h4m5s", Some(183_845), "2d3h4m5s");
        for wrong in [
            "",
            "5",
            "5x",
            "s",
            "30m1h",
            "1h1h",
            "-5m",
            "1.5h",
            "5 m",
            "36501d",
            "5ms",
            "1h 30m",
            "1mo",
            "1w",
            "1y",
            "5min",
            "P1D",
            "1:30",
            "+5m",
            "5m ago",
            "d",
            "5m3",
            "99999999999999999999d",
            "5µ",
        ] {
            check(wrong, None, "");
        }
    }
}
