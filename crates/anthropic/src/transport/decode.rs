//! Decodes JSON responses, and describes what is invalid in them. Pure.
//!
//! Numbers are parsed from their decimal digits, never through a binary float, and implausibly large ones are rejected.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use spendwatch_domain::units::money::{ParseUsdError, Usd};

/// Maximum amount in a response.
const MAX_USD: Usd = Usd::from_dollars(1_000_000_000_000);
/// Maximum count in a response of the `guide` dialect.
pub const MAX_COUNT: i64 = 1_000_000_000_000_000;
/// Maximum count in a report: more than a binary float represents exactly, and far below the limit of 64 bits.
const MAX_TOKENS: i64 = 10_000_000_000_000_000;
/// Maximum characters quoted from an invalid value or from a response that is not JSON.
const EXCERPT_CHARS: usize = 60;
/// Maximum length, in characters, of a text that is only displayed, such as a name.
const MAX_TEXT_CHARS: usize = 1000;

/// Why a response, or a row of it, is invalid. Rows are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// For example HTML from a proxy, a truncated body, or an empty one.
    #[error("not JSON ({reason}), starts with `{excerpt}`")]
    NotJson { reason: String, excerpt: String },
    #[error("{location}{reason}")]
    Shape {
        location: ResponseLocation,
        reason: String,
    },
    #[error("{location}`{field}` is missing")]
    Missing {
        location: ResponseLocation,
        field: &'static str,
    },
    #[error("{location}`{field}` is `{value}`, {problem}")]
    Value {
        location: ResponseLocation,
        /// Its path within the row.
        field: String,
        /// At most `EXCERPT_CHARS` characters.
        value: String,
        problem: &'static str,
    },
    /// Usage in the `guide` dialect has a single page.
    #[error("`has_more` is true, but usage has no further pages")]
    Unfinished,
}

/// Where in a response something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseLocation {
    Body,
    /// A row of `data`, from 1.
    Row(usize),
    /// A bucket of `data`, from 1.
    Bucket(usize),
}

impl fmt::Display for ResponseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseLocation::Body => Ok(()),
            ResponseLocation::Row(row) => write!(f, "row {row}: "),
            ResponseLocation::Bucket(bucket) => write!(f, "bucket {bucket}: "),
        }
    }
}

impl DecodeError {
    /// Creates a [`DecodeError::Value`] with a shortened value.
    pub fn value(
        location: ResponseLocation,
        field: impl fmt::Display,
        value: &str,
        problem: &'static str,
    ) -> DecodeError {
        DecodeError::Value {
            location,
            field: field.to_string(),
            value: shortened(value),
            problem,
        }
    }
}

/// Parses a whole response.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            DecodeError::Shape {
                location: ResponseLocation::Body,
                reason: error.to_string(),
            }
        } else {
            let start = &body[..body.len().min(4 * EXCERPT_CHARS)];
            DecodeError::NotJson {
                reason: error.to_string(),
                excerpt: shortened(&String::from_utf8_lossy(start)),
            }
        }
    })
}

/// Parses one row of a response, which must be an object.
pub fn read_row<'a, T: Deserialize<'a>>(
    location: ResponseLocation,
    row: &'a RawValue,
) -> Result<T, DecodeError> {
    // A derived `Deserialize` would also accept an array of field values.
    if !row.get().starts_with('{') {
        let reason = format!("`{}` is not an object", shortened(row.get()));
        return Err(DecodeError::Shape { location, reason });
    }
    serde_json::from_str(row.get()).map_err(|error| DecodeError::Shape {
        location,
        reason: error.to_string(),
    })
}

/// Returns the value, or records the error and returns the default.
pub fn or_default<T: Default>(value: Result<T, DecodeError>, errors: &mut Vec<DecodeError>) -> T {
    value.unwrap_or_else(|error| {
        errors.push(error);
        T::default()
    })
}

/// Decodes an optional object; an absent or invalid one gives the default.
pub fn optional_object<'a, T: Deserialize<'a> + Default>(
    location: ResponseLocation,
    raw: Option<&'a RawValue>,
    errors: &mut Vec<DecodeError>,
) -> T {
    raw.map_or_else(T::default, |raw| {
        or_default(read_row(location, raw), errors)
    })
}

/// Deserializes a field that no figure depends on; a value of another type counts as absent.
pub fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Like [`lenient`], for a text that is only displayed; cut to `MAX_TEXT_CHARS` characters.
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

/// Parses an amount: a JSON number from −10¹² to 10¹² USD, exact to twelve decimals. Negative amounts are credits.
pub fn usd(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<Usd, DecodeError> {
    let digits = raw.get();
    let fail = |problem| Err(DecodeError::value(location, &field, digits, problem));
    if !is_number(digits) {
        return fail("not a number");
    }
    // For a JSON number, the only error left is that it is too large.
    match Usd::parse(digits) {
        Ok(usd) if usd.abs() <= MAX_USD => Ok(usd),
        Ok(_) | Err(_) => fail("beyond 10^12 USD"),
    }
}

/// Parses a limit like [`usd`], but rejects negative ones.
pub fn usd_limit(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<Usd, DecodeError> {
    let limit = usd(location, &field, raw)?;
    not_below_zero(location, field, raw, limit)
}

/// Parses a limit in cents; rejects negative ones.
pub fn cents_limit(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<Usd, DecodeError> {
    let limit = cents(location, &field, raw)?;
    not_below_zero(location, field, raw, limit)
}

fn not_below_zero(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
    limit: Usd,
) -> Result<Usd, DecodeError> {
    if limit < Usd::ZERO {
        return Err(DecodeError::value(location, field, raw.get(), "below zero"));
    }
    Ok(limit)
}

/// Parses an amount in cents: a JSON number or a string of one, in the same range as [`usd`].
pub fn cents(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<Usd, DecodeError> {
    let digits = raw.get();
    let fail = |problem| Err(DecodeError::value(location, &field, digits, problem));
    let bare = digits
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(digits);
    match Usd::parse_cents(bare) {
        Ok(usd) if usd.abs() <= MAX_USD => Ok(usd),
        Ok(_) | Err(ParseUsdError::TooLarge) => fail("beyond 10^12 USD"),
        Err(ParseUsdError::NotANumber) => fail("not a number of cents"),
    }
}

/// Parses `has_more`; an invalid value is an error, because the list could end early.
pub fn has_more(raw: Option<&RawValue>) -> Result<bool, DecodeError> {
    let Some(raw) = raw else { return Ok(false) };
    serde_json::from_str(raw.get()).map_err(|_| {
        let problem = "not a boolean";
        DecodeError::Value {
            location: ResponseLocation::Body,
            field: "has_more".to_owned(),
            value: shortened(raw.get()),
            problem,
        }
    })
}

/// Parses an optional time; an invalid one is recorded and counts as absent.
pub fn optional_time(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<Timestamp> {
    let time = raw.map(|raw| time(location, field, raw)).transpose();
    or_default(time, errors)
}

/// Checks that a currency is USD, in any case; without a currency, an amount is in USD.
pub fn check_usd(
    location: ResponseLocation,
    field: &'static str,
    currency: Option<&RawValue>,
) -> Result<(), DecodeError> {
    let Some(raw) = currency else { return Ok(()) };
    match serde_json::from_str::<Option<String>>(raw.get()) {
        Ok(None) => Ok(()),
        Ok(Some(code)) if code.eq_ignore_ascii_case("USD") => Ok(()),
        Ok(Some(code)) => Err(DecodeError::value(location, field, &code, "not USD")),
        Err(_) => Err(DecodeError::value(location, field, raw.get(), "not USD")),
    }
}

/// Parses a count: a JSON integer from 0 to 10¹⁵.
pub fn count(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<i64, DecodeError> {
    integer(location, field, raw, (MAX_COUNT, "beyond 10^15"))
}

/// Parses a count of a report: a JSON integer from 0 to 10¹⁶.
pub fn tokens(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
) -> Result<i64, DecodeError> {
    integer(location, field, raw, (MAX_TOKENS, "beyond 10^16"))
}

/// Parses a time that decisions depend on, so an invalid one is an error.
pub fn time(
    location: ResponseLocation,
    field: &'static str,
    raw: &RawValue,
) -> Result<Timestamp, DecodeError> {
    instant(raw).ok_or_else(|| DecodeError::value(location, field, raw.get(), "not a time"))
}

/// Parses a time; returns `None` for an invalid one.
pub fn instant(raw: &RawValue) -> Option<Timestamp> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    text.parse().ok()
}

fn integer(
    location: ResponseLocation,
    field: impl fmt::Display,
    raw: &RawValue,
    (max, above_max): (i64, &'static str),
) -> Result<i64, DecodeError> {
    let digits = raw.get();
    let fail = |problem| Err(DecodeError::value(location, &field, digits, problem));
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return fail("not an integer");
    }
    match digits.parse::<i64>() {
        Ok(count) if count < 0 => fail("below zero"),
        Ok(count) if count <= max => Ok(count),
        Err(_) if digits.starts_with('-') => fail("below zero"),
        Ok(_) | Err(_) => fail(above_max),
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
    fn amounts_are_parsed_from_their_digits() {
        let check = |json: &str, expected: &str| {
            let text = match usd(ResponseLocation::Row(3), "cost", &raw(json)) {
                Ok(usd) => usd.to_string(),
                Err(error) => error.to_string(),
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
    fn cents_are_a_string_or_a_number() {
        let check = |json: &str, expected: &str| {
            let text = match cents(ResponseLocation::Row(3), "amount", &raw(json)) {
                Ok(usd) => usd.to_string(),
                Err(error) => error.to_string(),
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
    fn negative_limits_are_rejected() {
        let location = ResponseLocation::Row(3);
        let expected = "row 3: `limit` is `-1`, below zero";
        for limit in [
            usd_limit(location, "limit", &raw("-1")),
            cents_limit(location, "limit", &raw("-1")),
        ] {
            assert_eq!(limit.unwrap_err().to_string(), expected);
        }
        assert_eq!(usd_limit(location, "limit", &raw("0")), Ok(Usd::ZERO));
    }

    #[test]
    fn displayed_text_is_parsed_leniently_and_bounded() {
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
    fn counts_are_integers_and_bounded() {
        let check = |json: &str, expected: &str| {
            let text = match count(ResponseLocation::Body, "n", &raw(json)) {
                Ok(count) => count.to_string(),
                Err(error) => error.to_string(),
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
        check("1.0", "`n` is `1.0`, not an integer");
        check("1e3", "`n` is `1e3`, not an integer");
        check("\"1\"", "`n` is `\"1\"`, not an integer");
        check("{}", "`n` is `{}`, not an integer");
    }
}
