//! Formats names, quantities, times and periods for people. Each receiver escapes the result for its own format.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::rules::watch::{Quantity, Unit};
use spendwatch_domain::units::ids::{NotifierName, UNASSIGNED, UNATTRIBUTED};
use spendwatch_domain::units::money::{Usd, div_half_even, group_thousands, percent_digits};
use spendwatch_domain::units::plural::agreeing;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::SubjectKind;

/// Maximum characters of a name, which keeps messages within the limits of receivers.
pub const MAX_NAME_CHARS: usize = 80;

/// Returns an untrusted name on one line: `�` replaces control characters, line breaks and characters that reorder or
/// hide text, and everything after [`MAX_NAME_CHARS`] characters is cut. It is not escaped for any format.
pub fn clean(name: &str) -> String {
    let visible = |c: char| if is_unsafe(c) { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(MAX_NAME_CHARS).map(visible).collect();
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        text.pop();
        text.push('…');
    }
    if text.trim().is_empty() {
        "(no name)".to_owned()
    } else {
        text
    }
}

/// Returns untrusted text of any length on one line, without control characters.
pub fn single_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || is_unsafe(c))
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// Joiners (U+200C, U+200D) stay because emoji and several scripts need them and they reorder nothing.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        )
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns why a fallback receives a message.
pub fn fallback_note(absent: &NotifierName) -> String {
    let absent = clean(absent.as_str());
    format!("sent here because `{absent}` is not reachable")
}

/// Returns `workspace Search` or `API key "ci" (apikey_01)`, or a description of usage without a subject.
pub fn subject(fact: &Fact) -> String {
    let subject = &fact.identity.slot.subject;
    match (subject.kind, &*subject.id) {
        (SubjectKind::Workspace, UNATTRIBUTED) => "usage outside the listed workspaces".to_owned(),
        (SubjectKind::Model, UNATTRIBUTED) => "usage without a model".to_owned(),
        (SubjectKind::Team, UNASSIGNED) => "unassigned usage".to_owned(),
        (SubjectKind::ApiKey, UNATTRIBUTED) => "usage without an API key".to_owned(),
        (SubjectKind::User, UNATTRIBUTED) => "usage without a user".to_owned(),
        (SubjectKind::ApiKey, id) if id != fact.subject_name => {
            format!("API key \"{}\" ({})", clean(&fact.subject_name), clean(id))
        }
        (kind, _) => format!("{} {}", kind_name(kind), clean(&fact.subject_name)),
    }
}

/// Returns the name of a kind of subject: `API key`, `workspace`.
pub fn kind_name(kind: SubjectKind) -> &'static str {
    if kind == SubjectKind::ApiKey {
        "API key"
    } else {
        kind.as_str()
    }
}

/// Returns `$5,630.00`, `1,200,000 tokens`, `3 h 5 min` or `8.1%`.
pub fn quantity(unit: Unit, quantity: Quantity) -> String {
    let counted = |one, many| format!("{} {}", grouped(quantity), agreeing(&quantity, one, many));
    match unit {
        Unit::Usd => dollars(Usd::from_pico(quantity)),
        Unit::Tokens => counted("token", "tokens"),
        Unit::Requests => counted("request", "requests"),
        Unit::Seconds => seconds(quantity),
        Unit::Percent => percent(quantity),
        // Messages show the time of an event, never its rank.
        Unit::Severity => String::new(),
    }
}

/// Returns a quantity for a first line: whole dollars from $1,000 on, otherwise as [`quantity`].
pub fn headline(unit: Unit, value: Quantity) -> String {
    let dollar = Usd::from_dollars(1).pico();
    if unit == Unit::Usd && value.abs() >= 1000 * dollar {
        let sign = if value < 0 { "-" } else { "" };
        let dollars = div_half_even(value, dollar).unsigned_abs();
        format!("{sign}${}", group_thousands(&dollars.to_string()))
    } else {
        quantity(unit, value)
    }
}

/// Returns `value` as a whole percentage of `limit`, which is above zero. One decimal keeps 99.6% from reading as 100%.
pub fn headline_share(limit: Quantity, value: Quantity) -> String {
    let percent = div_half_even(value * 100, limit);
    let is_misleading = (percent == 100 && value != limit) || (percent == 0 && value != 0);
    match share(limit, value) {
        Some(share) if is_misleading => share,
        Some(_) | None => format!("{percent}%"),
    }
}

/// Returns an amount to the cent, or with all its digits where that would be `$0.00`.
pub fn dollars(usd: Usd) -> String {
    let sign = if usd < Usd::ZERO { "-" } else { "" };
    let amount = usd.abs();
    if amount != Usd::ZERO && amount.cents() == "0.00" {
        format!("{sign}${amount}")
    } else {
        format!("{sign}${}", amount.grouped())
    }
}

fn grouped(quantity: Quantity) -> String {
    let sign = if quantity < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        group_thousands(&quantity.unsigned_abs().to_string())
    )
}

/// Returns the two largest units: `2 days 3 h`, `3 h 5 min`, `45 s`.
pub fn duration(duration: SignedDuration) -> String {
    seconds(i128::from(duration.as_secs()))
}

/// Returns whole days, `93 days`, or [`duration`] below one day.
pub fn days(time: SignedDuration) -> String {
    match time.as_hours() / 24 {
        ..=0 => duration(time),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn seconds(seconds: i128) -> String {
    let seconds = seconds.max(0);
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let day_word = if days == 1 { "day" } else { "days" };
    let parts = if days > 0 {
        [(days, day_word), (hours, "h")]
    } else if hours > 0 {
        [(hours, "h"), (minutes, "min")]
    } else if minutes > 0 {
        [(minutes, "min"), (rest, "s")]
    } else {
        return format!("{rest} s");
    };
    let texts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    texts.join(" ")
}

/// Formats millionths of a percent with at most one decimal, or with all digits where that would be zero.
fn percent(millionths: Quantity) -> String {
    let rounded = div_half_even(millionths, 100_000) * 100_000;
    let shown = if rounded == 0 { millionths } else { rounded };
    format!("{}%", percent_digits(shown))
}

/// Returns `value` as a share of `whole` with one decimal, rounded half to even: `82.0%`; `None` unless `whole` is above 0.
pub fn share(whole: Quantity, value: Quantity) -> Option<String> {
    (whole > 0).then(|| {
        let tenths = div_half_even(value * 1000, whole);
        let sign = if tenths < 0 { "-" } else { "" };
        let tenths = tenths.unsigned_abs();
        format!("{sign}{}.{}%", tenths / 10, tenths % 10)
    })
}

/// Returns `at least ` for a figure with an unknown part, which is a lower bound.
pub fn at_least(fact: &Fact) -> &'static str {
    if fact.is_lower_bound { "at least " } else { "" }
}

/// Returns ` ($3.10 of it uncertain)`, or nothing if all of an estimate is certain.
pub fn uncertain_part(uncertain: Usd) -> String {
    if uncertain == Usd::ZERO {
        String::new()
    } else {
        format!(" ({} of it uncertain)", dollars(uncertain))
    }
}

/// Returns `2026-11-24 14:05 Europe/Berlin`, or UTC if the zone is unknown on this machine.
pub fn time(at: Timestamp, zone_name: &str) -> String {
    let (local, zone_name) = local(at, zone_name);
    format!("{local} {zone_name}")
}

/// Returns the date in a zone: `2026-11-24`.
pub fn date(at: Timestamp, zone_name: &str) -> String {
    let (local, _) = local(at, zone_name);
    local.split(' ').next().unwrap_or_default().to_owned()
}

/// Returns `2026-11-01 00:00 to 2026-12-01 00:00 Europe/Berlin`.
pub fn time_range(span: Span, zone_name: &str) -> String {
    let ((start, _), (end, zone_name)) = (local(span.start, zone_name), local(span.end, zone_name));
    format!("{start} to {end} {zone_name}")
}

fn local(at: Timestamp, zone_name: &str) -> (String, String) {
    let (zone, name) = match TimeZone::get(zone_name) {
        Ok(zone) => (zone, clean(zone_name)),
        Err(_) => (TimeZone::UTC, "UTC".to_owned()),
    };
    let local = at.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string();
    (local, name)
}

/// Returns the text with a capital first letter.
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_clean(name: &str, expected: &str) {
        assert_eq!(clean(name), expected);
    }

    #[test]
    fn names_stay_on_one_line_without_direction_marks() {
        check_clean("Search & <b>", "Search & <b>");
        check_clean("x\r\nBcc: a@b", "x��Bcc: a@b");
        check_clean("\u{1b}[31mred\u{7}", "�[31mred�");
        check_clean("abc\u{202e}def\u{2028}", "abc�def�");
        check_clean("👩‍💻 日本", "👩‍💻 日本");
        check_clean(" \t", " �");
        check_clean("", "(no name)");
        assert_eq!(clean(&"é".repeat(81)).chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity(Unit::Tokens, 1), "1 token");
        assert_eq!(quantity(Unit::Requests, 1), "1 request");
        assert_eq!(quantity(Unit::Requests, 1200), "1,200 requests");
        let spend = |text: &str| quantity(Unit::Usd, Usd::parse(text).unwrap().pico());
        assert_eq!(spend("5630"), "$5,630.00");
        assert_eq!(spend("-3.1"), "-$3.10");
        assert_eq!(spend("0.0031"), "$0.0031");
        assert_eq!(spend("0"), "$0.00");
        assert_eq!(quantity(Unit::Tokens, 1_200_000), "1,200,000 tokens");
        assert_eq!(quantity(Unit::Seconds, 11_100), "3 h 5 min");
        assert_eq!(quantity(Unit::Seconds, 86_400), "1 day");
        assert_eq!(quantity(Unit::Seconds, 0), "0 s");
        let percent = |millionths| quantity(Unit::Percent, millionths);
        assert_eq!(percent(8_053_000), "8.1%");
        assert_eq!(percent(5_000_000), "5%");
        assert_eq!(percent(49_000), "0.049%");
        assert_eq!(share(5_000, 4_100).as_deref(), Some("82.0%"));
        assert_eq!(share(0, 1), None);
    }

    #[test]
    fn times_include_their_zone() {
        let at: Timestamp = "2026-11-24T13:05:00Z".parse().unwrap();
        assert_eq!(time(at, "Europe/Berlin"), "2026-11-24 14:05 Europe/Berlin");
        assert_eq!(time(at, "No/Where"), "2026-11-24 13:05 UTC");
    }
}
