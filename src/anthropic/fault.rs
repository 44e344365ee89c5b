//! What can be wrong with an answer, and the checked way from JSON to a number. Pure.
//!
//! Numbers are read from their digits: a binary float never touches them, and what lies beyond any sense is refused.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::money::{ParseUsdError, Usd};

/// No amount in an answer is larger.
const MAX_USD: Usd = Usd::from_dollars(1_000_000_000_000);
/// No count in an answer is larger.
pub const MAX_COUNT: i64 = 1_000_000_000_000_000;
/// No count of tokens in a report is larger: beyond what a binary float tells apart, and far from the end of 64 bits.
const MAX_TOKENS: i64 = 10_000_000_000_000_000;
/// So much of a wrong value, or of an answer that is no JSON, is shown.
const EXCERPT_CHARS: usize = 60;
/// Maximum length, in characters, of a text that is only displayed, such as a name.
const MAX_TEXT_CHARS: usize = 1000;

/// Why an answer cannot be right. Rows are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// HTML of a proxy, a cut text, nothing.
    #[error("not JSON ({reason}); it begins with `{excerpt}`")]
    NotJson {
        /// Where it stops being JSON.
        reason: String,
        /// Its first characters.
        excerpt: String,
    },
    /// JSON, but of another shape.
    #[error("{place}{reason}")]
    Shape {
        /// Where, as far as it is known.
        place: Place,
        reason: String,
    },
    /// A field that must be there is not.
    #[error("{place}`{field}` is missing")]
    Missing { place: Place, field: &'static str },
    /// A value that cannot be right.
    #[error("{place}`{field}` is `{value}`, {problem}")]
    Value {
        place: Place,
        /// Its name, with what contains it.
        field: String,
        /// As it was sent, shortened.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Usage comes on one page; this is not all of it.
    #[error("`has_more` is true, but usage has no further pages")]
    Unfinished,
}

/// Where in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Answer,
    /// In one row of `data`, from 1.
    Row(usize),
    /// In one bucket of `data` that has rows, from 1.
    Bucket(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Answer => Ok(()),
            Place::Row(row) => write!(f, "row {row}: "),
            Place::Bucket(bucket) => write!(f, "bucket {bucket}: "),
        }
    }
}

impl Fault {
    /// A value that cannot be right; it is shortened.
    pub fn value(
        place: Place,
        field: impl fmt::Display,
        value: &str,
        problem: &'static str,
    ) -> Fault {
        Fault::Value {
            place,
            field: field.to_string(),
            value: shortened(value),
            problem,
        }
    }
}

/// Reads a whole answer.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Fault::Shape {
                place: Place::Answer,
                reason: error.to_string(),
            }
        } else {
            let start = &body[..body.len().min(4 * EXCERPT_CHARS)];
            Fault::NotJson {
                reason: error.to_string(),
                excerpt: shortened(&String::from_utf8_lossy(start)),
            }
        }
    })
}

/// Reads one row of an answer, which is an object.
pub fn read_row<'a, T: Deserialize<'a>>(place: Place, row: &'a RawValue) -> Result<T, Fault> {
    // A derived reader would also accept the fields of a struct in an array.
    if !row.get().starts_with('{') {
        let reason = format!("`{}` is not an object", shortened(row.get()));
        return Err(Fault::Shape { place, reason });
    }
    serde_json::from_str(row.get()).map_err(|error| Fault::Shape {
        place,
        reason: error.to_string(),
    })
}

/// The value, or nothing at all and a fault.
pub fn readable<T: Default>(value: Result<T, Fault>, faults: &mut Vec<Fault>) -> T {
    value.unwrap_or_else(|fault| {
        faults.push(fault);
        T::default()
    })
}

/// Deserializes a field on which no figure depends: a value of another type counts as absent.
pub fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// The same of a text that is only displayed, shortened to a bounded length.
pub fn lenient_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text: Option<String> = lenient(deserializer)?;
    Ok(text.map(bounded_text))
}

fn bounded_text(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Amount of a bill: a JSON number from −10¹² to 10¹² USD, exact to the twelfth decimal. Below zero it is a credit.
pub fn usd(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<Usd, Fault> {
    let digits = raw.get();
    let fault = |problem| Err(Fault::value(place, &field, digits, problem));
    if !is_number(digits) {
        return fault("not a number");
    }
    // A JSON number has digits, so the only error left is that it is too large.
    match Usd::parse(digits) {
        Ok(usd) if usd.abs() <= MAX_USD => Ok(usd),
        Ok(_) | Err(_) => fault("beyond 10^12 USD"),
    }
}

/// A limit: the same, but not below zero.
pub fn usd_limit(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<Usd, Fault> {
    let limit = usd(place, &field, raw)?;
    not_below_zero(place, field, raw, limit)
}

/// A limit in cents, not below zero.
pub fn cents_limit(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<Usd, Fault> {
    let limit = cents(place, &field, raw)?;
    not_below_zero(place, field, raw, limit)
}

fn not_below_zero(
    place: Place,
    field: impl fmt::Display,
    raw: &RawValue,
    limit: Usd,
) -> Result<Usd, Fault> {
    if limit < Usd::ZERO {
        return Err(Fault::value(place, field, raw.get(), "below zero"));
    }
    Ok(limit)
}

/// An amount in cents: a JSON string of a decimal number, or the number itself, of the same range as [`usd`].
pub fn cents(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<Usd, Fault> {
    let digits = raw.get();
    let fault = |problem| Err(Fault::value(place, &field, digits, problem));
    let bare = digits
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(digits);
    match Usd::parse_cents(bare) {
        Ok(usd) if usd.abs() <= MAX_USD => Ok(usd),
        Ok(_) | Err(ParseUsdError::TooLarge) => fault("beyond 10^12 USD"),
        Err(ParseUsdError::NotANumber) => fault("not a number of cents"),
    }
}

/// Whether a page says that there is another one; a list must not end early by a value that is neither.
pub fn has_more(raw: Option<&RawValue>) -> Result<bool, Fault> {
    let Some(raw) = raw else { return Ok(false) };
    serde_json::from_str(raw.get()).map_err(|_| {
        let problem = "neither true nor false";
        Fault::Value {
            place: Place::Answer,
            field: "has_more".to_owned(),
            value: shortened(raw.get()),
            problem,
        }
    })
}

/// A moment, or nothing where there is none or it cannot be read.
pub fn optional_time(
    place: Place,
    field: &'static str,
    raw: Option<&RawValue>,
    faults: &mut Vec<Fault>,
) -> Option<Timestamp> {
    let time = raw.map(|raw| time(place, field, raw)).transpose();
    readable(time, faults)
}

/// Checks that an amount is in USD, in whatever case; without a currency it is.
pub fn in_usd(place: Place, field: &'static str, currency: Option<&RawValue>) -> Result<(), Fault> {
    let Some(raw) = currency else { return Ok(()) };
    match serde_json::from_str::<Option<String>>(raw.get()) {
        Ok(None) => Ok(()),
        Ok(Some(word)) if word.eq_ignore_ascii_case("USD") => Ok(()),
        Ok(Some(word)) => Err(Fault::value(place, field, &word, "not USD")),
        Err(_) => Err(Fault::value(place, field, raw.get(), "not USD")),
    }
}

/// A count: a whole JSON number from 0 to 10¹⁵.
pub fn count(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<i64, Fault> {
    whole(place, field, raw, (MAX_COUNT, "beyond 10^15"))
}

/// A count of a report: a whole JSON number from 0 to 10¹⁶.
pub fn tokens(place: Place, field: impl fmt::Display, raw: &RawValue) -> Result<i64, Fault> {
    whole(place, field, raw, (MAX_TOKENS, "beyond 10^16"))
}

/// An instant as text. For what something is decided by: a time that cannot be read must not pass for none.
pub fn time(place: Place, field: &'static str, raw: &RawValue) -> Result<Timestamp, Fault> {
    instant(raw).ok_or_else(|| Fault::value(place, field, raw.get(), "not a time"))
}

/// An instant as text; what cannot be read as one is not told.
pub fn instant(raw: &RawValue) -> Option<Timestamp> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    text.parse().ok()
}

fn whole(
    place: Place,
    field: impl fmt::Display,
    raw: &RawValue,
    (most, too_much): (i64, &'static str),
) -> Result<i64, Fault> {
    let digits = raw.get();
    let fault = |problem| Err(Fault::value(place, &field, digits, problem));
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return fault("not a whole number");
    }
    match digits.parse::<i64>() {
        Ok(count) if count < 0 => fault("below zero"),
        Ok(count) if count <= most => Ok(count),
        Err(_) if digits.starts_with('-') => fault("below zero"),
        Ok(_) | Err(_) => fault(too_much),
    }
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn amounts_are_read_from_their_digits() {
        let check = |json: &str, expected: &str| {
            let text = match usd(Place::Row(3), "cost", &raw(json)) {
                Ok(usd) => usd.to_string(),
                Err(fault) => fault.to_string(),
            };
            assert_eq!(text, expected);
        };
        check("0.1", "0.1");
        check("1e-7", "0.0000001");
        check("-0", "0");
        check("-0.0", "0");
        check("900719925474.099300001", "900719925474.099300001");
        check("1000000000000", "1000000000000");
        check(
            "1000000000000.000001",
            "row 3: `cost` is `1000000000000.000001`, beyond 10^12 USD",
        );
        check("1e400", "row 3: `cost` is `1e400`, beyond 10^12 USD");
        check("-0.000001", "-0.000001");
        check("-1e13", "row 3: `cost` is `-1e13`, beyond 10^12 USD");
        check("\"1.5\"", "row 3: `cost` is `\"1.5\"`, not a number");
        check("true", "row 3: `cost` is `true`, not a number");
        check("[1]", "row 3: `cost` is `[1]`, not a number");
    }

    #[test]
    fn cents_come_as_text_or_as_a_number() {
        let check = |json: &str, expected: &str| {
            let text = match cents(Place::Row(3), "amount", &raw(json)) {
                Ok(usd) => usd.to_string(),
                Err(fault) => fault.to_string(),
            };
            assert_eq!(text, expected);
        };
        check("\"20417.3508\"", "204.173508");
        check("20417.3508", "204.173508");
        check("\"-1\"", "-0.01");
        check(
            "\"1e400\"",
            "row 3: `amount` is `\"1e400\"`, beyond 10^12 USD",
        );
        check(
            "\"1,5\"",
            "row 3: `amount` is `\"1,5\"`, not a number of cents",
        );
        check("null", "row 3: `amount` is `null`, not a number of cents");
    }

    #[test]
    fn a_limit_is_not_below_zero() {
        let place = Place::Row(3);
        let expected = "row 3: `limit` is `-1`, below zero";
        for limit in [
            usd_limit(place, "limit", &raw("-1")),
            cents_limit(place, "limit", &raw("-1")),
        ] {
            assert_eq!(limit.unwrap_err().to_string(), expected);
        }
        assert_eq!(usd_limit(place, "limit", &raw("0")), Ok(Usd::ZERO));
    }

    #[test]
    fn a_text_that_is_only_displayed_is_read_leniently_and_bounded() {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default, deserialize_with = "lenient_text")]
            name: Option<String>,
        }
        let name = |json: &str| serde_json::from_str::<Named>(json).unwrap().name;
        assert_eq!(name(r#"{"name": "Ada"}"#).as_deref(), Some("Ada"));
        for json in [
            r#"{}"#,
            r#"{"name": null}"#,
            r#"{"name": 7}"#,
            r#"{"name": ["Ada"]}"#,
        ] {
            assert_eq!(name(json), None, "{json}");
        }
        let deep = format!(
            r#"{{"name": {}{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert_eq!(name(&deep), None);
        let long = format!(r#"{{"name": "{}"}}"#, "ä".repeat(5000));
        assert_eq!(name(&long).unwrap().chars().count(), MAX_TEXT_CHARS + 1);
    }

    #[test]
    fn counts_are_whole_and_bounded() {
        let check = |json: &str, expected: &str| {
            let text = match count(Place::Answer, "n", &raw(json)) {
                Ok(count) => count.to_string(),
                Err(fault) => fault.to_string(),
            };
            assert_eq!(text, expected);
        };
        check("0", "0");
        check(
            "9007199254740993",
            "`n` is `9007199254740993`, beyond 10^15",
        );
        check("1000000000000000", "1000000000000000");
        check("999999999999999", "999999999999999");
        check(
            "99999999999999999999",
            "`n` is `99999999999999999999`, beyond 10^15",
        );
        check("-1", "`n` is `-1`, below zero");
        check(
            "-99999999999999999999",
            "`n` is `-99999999999999999999`, below zero",
        );
        check("1.0", "`n` is `1.0`, not a whole number");
        check("1e3", "`n` is `1e3`, not a whole number");
        check("\"1\"", "`n` is `\"1\"`, not a whole number");
        check("{}", "`n` is `{}`, not a whole number");
    }
}
