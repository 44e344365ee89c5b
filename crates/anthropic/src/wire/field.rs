//! Fields of responses, by how invalid values are treated. Pure.
//!
//! Numbers are parsed from their decimal digits, never through a binary float, and implausibly large ones are rejected.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::money::{ParseUsdError, Usd};

/// Maximum amount in a response.
const MAX_USD: Usd = Usd::from_dollars(1_000_000_000_000);
/// Maximum count in a response of the `guide` dialect.
pub const MAX_COUNT: i64 = 1_000_000_000_000_000;
/// Maximum count in a report: more than a binary float represents exactly, and far below the limit of 64 bits.
const MAX_REPORT_COUNT: i64 = 10_000_000_000_000_000;
/// Maximum length, in characters, of a text that is only displayed, such as a name.
const MAX_TEXT_CHARS: usize = 1000;

/// A field that figures depend on: absent or null, valid, or invalid.
#[derive(Debug)]
pub struct Field<T>(Option<Result<T, Invalid>>);

#[derive(Debug)]
struct Invalid {
    json: String,
    problem: &'static str,
}

/// A value of a [`Field`].
pub trait FieldValue: Sized {
    /// Parses the JSON text of a value other than null, or returns what is wrong with it.
    fn parse(json: &str) -> Result<Self, &'static str>;
}

/// A field that no figure depends on; a value of another type counts as absent.
#[derive(Debug, Default)]
pub struct Lenient<T>(pub Option<T>);

/// Like [`Lenient`], for a text that is only displayed; cut to `MAX_TEXT_CHARS` characters.
#[derive(Debug, Default)]
pub struct Text(pub Option<String>);

/// An amount: a JSON number from −10¹² to 10¹² USD, exact to twelve decimals. Negative amounts are credits.
#[derive(Debug, Default)]
pub struct Dollars(pub Usd);

/// An amount in cents: a JSON number or a string of one, in the same range as [`Dollars`].
#[derive(Debug, Default)]
pub struct Cents(pub Usd);

/// An amount that is not negative.
#[derive(Debug, Default)]
pub struct NonNegative<T>(pub T);

/// A currency, such as `USD`.
#[derive(Debug, Default)]
pub struct Currency(String);

/// Cursor of the next page.
#[derive(Debug, Default)]
pub struct Cursor(String);

/// A count: a JSON integer from 0 to 10¹⁵.
#[derive(Debug, Default)]
pub struct Count(pub i64);

/// A count of a report: a JSON integer from 0 to 10¹⁶.
#[derive(Debug, Default)]
pub struct ReportCount(pub i64);

/// Where a row is, and what is invalid in it.
#[derive(Debug)]
pub struct Row {
    pub location: ResponseLocation,
    pub errors: Vec<DecodeError>,
}

impl<T> Field<T> {
    /// Returns the value, or `None` if it is absent.
    pub fn get(
        self,
        location: ResponseLocation,
        field: impl fmt::Display,
    ) -> Result<Option<T>, DecodeError> {
        let value = self.0.transpose();
        value.map_err(|it| DecodeError::value(location, field, &it.json, it.problem))
    }

    /// Returns the value; it is an error if it is absent.
    pub fn required(
        self,
        location: ResponseLocation,
        field: &'static str,
    ) -> Result<T, DecodeError> {
        let value = self.get(location, field)?;
        value.ok_or(DecodeError::Missing { location, field })
    }

    /// Returns whether the field is missing or null.
    pub const fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// Returns whether the field has a value that is invalid.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0, Some(Err(_)))
    }
}

impl Field<Currency> {
    /// Checks that a currency is USD, in any case; without a currency, an amount is in USD.
    pub fn check_usd(
        self,
        location: ResponseLocation,
        field: &'static str,
    ) -> Result<(), DecodeError> {
        match self.get(location, field)? {
            Some(Currency(code)) if !code.eq_ignore_ascii_case("USD") => {
                Err(DecodeError::value(location, field, &code, "not USD"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Field<Cursor> {
    /// Returns the cursor of the next page. A list ends only where there is no cursor; `has_more` without a cursor is an error.
    pub fn next_page(self, has_more: Option<bool>) -> Result<Option<String>, DecodeError> {
        let (location, field) = (ResponseLocation::Body, "next_page");
        let next = self.get(location, field)?.map(|Cursor(next)| next);
        let next = next.filter(|next| !next.is_empty());
        if has_more == Some(true) && next.is_none() {
            return Err(DecodeError::Missing { location, field });
        }
        Ok(next)
    }
}

impl Row {
    /// Creates the errors of a row, none yet; `location` is part of each.
    pub const fn new(location: ResponseLocation) -> Row {
        Row {
            location,
            errors: Vec::new(),
        }
    }

    /// Returns the value, or records the error.
    pub fn keep<T>(&mut self, value: Result<T, DecodeError>) -> Option<T> {
        value.map_err(|error| self.errors.push(error)).ok()
    }

    /// Returns the value; an invalid one is recorded and counts as absent.
    pub fn optional<T>(&mut self, field: &'static str, value: Field<T>) -> Option<T> {
        let value = value.get(self.location, field);
        self.keep(value).flatten()
    }

    /// Returns the value; an absent or invalid one is recorded and gives the default.
    pub fn required<T: Default>(&mut self, field: &'static str, value: Field<T>) -> T {
        let value = value.required(self.location, field);
        self.keep(value).unwrap_or_default()
    }

    /// Decodes an optional object; an absent or invalid one gives the default.
    pub fn object<'a, T: Deserialize<'a> + Default>(&mut self, raw: Option<&'a RawValue>) -> T {
        let object = raw.and_then(|raw| self.keep(decode::read_row(self.location, raw)));
        object.unwrap_or_default()
    }
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Field(None)
    }
}

impl<'de, T: FieldValue> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&RawValue>::deserialize(deserializer)?;
        Ok(Field(raw.map(|raw| {
            T::parse(raw.get()).map_err(|problem| Invalid {
                json: raw.get().to_owned(),
                problem,
            })
        })))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&RawValue>::deserialize(deserializer)?;
        Ok(Lenient(
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok()),
        ))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Lenient(mut text) = Lenient::<String>::deserialize(deserializer)?;
        if let Some(text) = &mut text
            && let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS)
        {
            text.truncate(end);
            text.push('…');
        }
        Ok(Text(text))
    }
}

impl FieldValue for Timestamp {
    fn parse(json: &str) -> Result<Self, &'static str> {
        serde_json::from_str(json).map_err(|_| "not a time")
    }
}

impl FieldValue for bool {
    fn parse(json: &str) -> Result<Self, &'static str> {
        serde_json::from_str(json).map_err(|_| "not a boolean")
    }
}

impl FieldValue for WorkspaceId {
    fn parse(json: &str) -> Result<Self, &'static str> {
        let text: String = serde_json::from_str(json).map_err(|_| "not an id")?;
        Ok(WorkspaceId::new(text))
    }
}

impl FieldValue for Cursor {
    fn parse(json: &str) -> Result<Self, &'static str> {
        let cursor = serde_json::from_str(json);
        cursor.map(Cursor).map_err(|_| "not a cursor")
    }
}

impl FieldValue for Currency {
    fn parse(json: &str) -> Result<Self, &'static str> {
        serde_json::from_str(json)
            .map(Currency)
            .map_err(|_| "not USD")
    }
}

impl FieldValue for Dollars {
    fn parse(json: &str) -> Result<Self, &'static str> {
        if !json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Err("not a number");
        }
        // For a JSON number, the only error left is that it is too large.
        let usd = Usd::parse(json).ok().filter(|usd| usd.abs() <= MAX_USD);
        usd.map(Dollars).ok_or("beyond 10^12 USD")
    }
}

impl FieldValue for Cents {
    fn parse(json: &str) -> Result<Self, &'static str> {
        let text = json.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        match Usd::parse_cents(text.unwrap_or(json)) {
            Ok(usd) if usd.abs() <= MAX_USD => Ok(Cents(usd)),
            Ok(_) | Err(ParseUsdError::TooLarge) => Err("beyond 10^12 USD"),
            Err(ParseUsdError::NotANumber) => Err("not a number of cents"),
        }
    }
}

impl FieldValue for NonNegative<Dollars> {
    fn parse(json: &str) -> Result<Self, &'static str> {
        let limit = Dollars::parse(json)?;
        at_least_zero(limit.0).map(|()| NonNegative(limit))
    }
}

impl FieldValue for NonNegative<Cents> {
    fn parse(json: &str) -> Result<Self, &'static str> {
        let limit = Cents::parse(json)?;
        at_least_zero(limit.0).map(|()| NonNegative(limit))
    }
}

impl FieldValue for Count {
    fn parse(json: &str) -> Result<Self, &'static str> {
        integer(json, MAX_COUNT, "beyond 10^15").map(Count)
    }
}

impl FieldValue for ReportCount {
    fn parse(json: &str) -> Result<Self, &'static str> {
        integer(json, MAX_REPORT_COUNT, "beyond 10^16").map(ReportCount)
    }
}

fn at_least_zero(usd: Usd) -> Result<(), &'static str> {
    if usd < Usd::ZERO {
        return Err("below zero");
    }
    Ok(())
}

fn integer(json: &str, max: i64, above_max: &'static str) -> Result<i64, &'static str> {
    let unsigned = json.strip_prefix('-').unwrap_or(json);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not an integer");
    }
    match json.parse::<i64>() {
        Ok(count) if count < 0 => Err("below zero"),
        Ok(count) if count <= max => Ok(count),
        Err(_) if json.starts_with('-') => Err("below zero"),
        Ok(_) | Err(_) => Err(above_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the value as text, or the error of an invalid one.
    fn parsed<T: FieldValue>(
        json: &str,
        location: ResponseLocation,
        field: &str,
        show: fn(T) -> String,
    ) -> String {
        T::parse(json).map_or_else(
            |problem| DecodeError::value(location, field, json, problem).to_string(),
            show,
        )
    }

    #[test]
    fn amounts_are_parsed_from_their_digits() {
        let check = |json: &str, expected: &str| {
            let text = parsed(json, ResponseLocation::Row(3), "cost", |Dollars(usd)| {
                usd.to_string()
            });
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
            let text = parsed(json, ResponseLocation::Row(3), "amount", |Cents(usd)| {
                usd.to_string()
            });
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
        let limit = |json: &str| {
            let (location, field) = (ResponseLocation::Row(3), "limit");
            [
                parsed(json, location, field, |limit: NonNegative<Dollars>| {
                    limit.0.0.to_string()
                }),
                parsed(json, location, field, |limit: NonNegative<Cents>| {
                    limit.0.0.to_string()
                }),
            ]
        };
        assert_eq!(limit("-1"), ["row 3: `limit` is `-1`, below zero"; 2]);
        assert_eq!(limit("0"), ["0"; 2]);
    }

    #[test]
    fn displayed_text_is_parsed_leniently_and_bounded() {
        #[derive(Deserialize)]
        struct Named {
            name: Text,
        }
        let name = |json: &str| serde_json::from_str::<Named>(json).unwrap().name.0;
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
            let text = parsed(json, ResponseLocation::Body, "n", |Count(n)| n.to_string());
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

    #[test]
    fn next_page_cursors() {
        let check = |has_more, next: Option<&str>, expected: Result<Option<&str>, ()>| {
            let next: Field<Cursor> = serde_json::from_str(next.unwrap_or("null")).unwrap();
            let next = next.next_page(has_more);
            let next = next.as_ref().map(Option::as_deref).map_err(|_| ());
            assert_eq!(next, expected);
        };
        check(Some(true), Some(r#""p""#), Ok(Some("p")));
        check(None, Some(r#""p""#), Ok(Some("p")));
        check(Some(false), Some(r#""p""#), Ok(Some("p")));
        check(Some(false), None, Ok(None));
        check(Some(false), Some("null"), Ok(None));
        check(None, Some(r#""""#), Ok(None));
        check(Some(true), Some(r#""""#), Err(()));
        check(Some(true), None, Err(()));
        check(None, Some("5"), Err(()));
    }
}
