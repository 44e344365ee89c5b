//! Time buckets of reports, and fields of their rows.

use serde_json::Value;

use crate::api_error::ApiError;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Hour, HourSpan};

/// Width of report buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketWidth {
    Hours,
    /// UTC days.
    Days,
    Whole(HourSpan),
}

impl BucketWidth {
    /// Parses `1h` or `1d`. Minutes are rejected, because simulated usage has no minutes.
    pub fn parse(width: &str) -> Result<BucketWidth, ApiError> {
        match width {
            "1h" => Ok(BucketWidth::Hours),
            "1d" => Ok(BucketWidth::Days),
            "1m" => Err(ApiError::bad_request("minutes are not simulated")),
            _ => Err(ApiError::bad_request(format!(
                "unknown bucket width {width}"
            ))),
        }
    }

    /// Returns the start of the bucket that contains an hour.
    pub fn start(self, hour: Hour) -> Hour {
        match self {
            BucketWidth::Hours => hour,
            BucketWidth::Days => hour.day().first_hour(),
            BucketWidth::Whole(span) => span.start,
        }
    }

    /// Returns the end of the bucket that starts with an hour.
    pub fn end(self, first: Hour) -> Hour {
        match self {
            BucketWidth::Hours => first.plus(1),
            BucketWidth::Days => first.plus(24),
            BucketWidth::Whole(span) => span.end,
        }
    }

    /// Returns the span of whole buckets that covers a non-empty span.
    pub fn covering_span(self, hours: HourSpan) -> HourSpan {
        HourSpan {
            start: self.start(hours.start),
            end: self.end(self.start(hours.end.plus(-1))),
        }
    }
}

/// Returns the JSON fields with the bounds of a bucket.
pub fn bounds(buckets: BucketWidth, first: Hour) -> String {
    let (start, end) = (first.start(), buckets.end(first).start());
    format!(r#""starting_at":"{start}","ending_at":"{end}""#)
}

/// Returns a string or null.
pub fn json_string(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// Converts 10⁻⁶ USD to cents.
pub fn cents(micros: i64) -> String {
    Usd::from_pico(i128::from(micros) * 100_000_000).to_string()
}

/// Converts 10⁻⁶ USD to cents before a discount, below 100 percent.
pub fn list_cents(micros: i64, discount_percent: i64) -> String {
    let paid_percent = 100 - discount_percent.clamp(0, 99);
    Usd::from_pico(i128::from(micros) * 10_000_000_000 / i128::from(paid_percent)).to_string()
}
