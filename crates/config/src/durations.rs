//! Durations such as `30s`, `5m`, `1h30m` or `90d`.

use std::time::Duration;

use jiff::SignedDuration;

use crate::reader::SectionReader;

const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// A hundred years.
const MAX_SECONDS: i64 = 36_500 * 86_400;

/// Parses whole numbers with the units d, h, m and s, larger units first; at most 36,500 days.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let mut seconds: i64 = 0;
    let mut rest = text.trim();
    let mut last_unit = i64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..n_digits].parse().ok()?;
        let sign = rest[n_digits..].chars().next()?;
        let (_, unit) = UNITS.into_iter().find(|(unit, _)| *unit == sign)?;
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        seconds = seconds.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[n_digits + 1..];
    }
    (seconds <= MAX_SECONDS).then(|| SignedDuration::from_secs(seconds))
}

/// Formats a duration so that [`parse`] reads it. Fractions of a second are dropped.
pub fn text(duration: SignedDuration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (sign, unit) in UNITS {
        if rest >= unit {
            text.push_str(&format!("{}{sign}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Reads a duration.
pub fn read(section: &SectionReader<'_>, key: &'static str) -> Option<SignedDuration> {
    let given = section.text(key)?;
    let duration = parse(&given.value);
    if duration.is_none() {
        let expected = "expected a duration, for example `30s`, `5m`, `24h` or `90d`";
        section.problem(key, format!("is `{}`, {expected}", given.value));
    }
    duration
}

/// Reads a duration of at least one second.
pub fn read_wait(section: &SectionReader<'_>, key: &'static str, default: Duration) -> Duration {
    let Some(duration) = read(section, key) else {
        return default;
    };
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => duration,
        _ => {
            section.problem(key, "must be above zero, for example `30s`");
            default
        }
    }
}

/// Reads a duration of whole days, at least one.
pub fn read_days(section: &SectionReader<'_>, key: &'static str, default: i32) -> i32 {
    let Some(duration) = read(section, key) else {
        return default;
    };
    let days = duration.as_secs() / 86_400;
    if days < 1 || days * 86_400 != duration.as_secs() {
        section.problem(key, "must be at least one whole day, for example `90d`");
        return default;
    }
    i32::try_from(days).unwrap_or(default)
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
        check("36500d", Some(MAX_SECONDS), "36500d");
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
            "99999999999999999999d",
            "5µ",
        ] {
            check(wrong, None, "");
        }
    }
}
