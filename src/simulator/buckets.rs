//! The buckets of reports: hours, days, or all that was asked for in one; and how rows are written in them.

use serde_json::Value;

use crate::domain::money::Usd;
use crate::domain::span::{Hour, HourSpan};
use crate::simulator::refusal::Refusal;

/// Which hours belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    Hours,
    /// Those of a day of UTC.
    Days,
    Whole(HourSpan),
}

impl Buckets {
    /// `1h` or `1d`. Minutes, which the real service has too, are refused: nothing here knows the minute of its use.
    pub fn read(width: &str) -> Result<Buckets, Refusal> {
        match width {
            "1h" => Ok(Buckets::Hours),
            "1d" => Ok(Buckets::Days),
            "1m" => Err(Refusal::bad("minutes are not simulated")),
            _ => Err(Refusal::bad(format!("unknown bucket width {width}"))),
        }
    }

    /// Where the bucket of an hour begins.
    pub fn first(self, hour: Hour) -> Hour {
        match self {
            Buckets::Hours => hour,
            Buckets::Days => hour.day().first_hour(),
            Buckets::Whole(span) => span.start,
        }
    }

    /// Where the bucket ends that begins with an hour.
    pub fn end(self, first: Hour) -> Hour {
        match self {
            Buckets::Hours => first.plus(1),
            Buckets::Days => first.plus(24),
            Buckets::Whole(span) => span.end,
        }
    }

    /// Whole buckets around hours, of which there is one at least.
    pub fn around(self, hours: HourSpan) -> HourSpan {
        HourSpan {
            start: self.first(hours.start),
            end: self.end(self.first(hours.end.plus(-1))),
        }
    }
}

/// The bounds of the bucket that begins with an hour, as fields.
pub fn bounds(buckets: Buckets, first: Hour) -> String {
    let (start, end) = (first.start(), buckets.end(first).start());
    format!(r#""starting_at":"{start}","ending_at":"{end}""#)
}

/// A text or null.
pub fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// 10⁻⁶ USD as cents.
pub fn cents(micros: i64) -> String {
    Usd::from_pico(i128::from(micros) * 100_000_000).to_string()
}

/// The same before a discount of so many percent, below 100.
pub fn list_cents(micros: i64, discount_percent: i64) -> String {
    let left = 100 - discount_percent.clamp(0, 99);
    Usd::from_pico(i128::from(micros) * 10_000_000_000 / i128::from(left)).to_string()
}
