//! Half-open spans of UTC time, and the UTC hours and days that buckets begin at.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// A whole hour of UTC, counted from 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

/// A whole day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// A half-open span of UTC time: `start` is included, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// A half-open span of whole UTC hours: `start` is included, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HourSpan {
    pub start: Hour,
    pub end: Hour,
}

impl Hour {
    /// Creates an hour from a count of hours since 1970-01-01T00:00Z.
    pub const fn from_count(count: i32) -> Hour {
        Hour(count)
    }

    /// Returns the count of hours since 1970-01-01T00:00Z.
    pub const fn count(self) -> i32 {
        self.0
    }

    /// Returns the hour that contains a timestamp.
    pub fn containing(at: Timestamp) -> Hour {
        // Timestamps lie within ±9999 years: 87,660,000 hours.
        Hour(
            i32::try_from(at.as_second().div_euclid(3600))
                .expect("a timestamp's hours fit 32 bits"),
        )
    }

    /// Returns the first hour that begins at or after a timestamp.
    pub fn ceil(at: Timestamp) -> Hour {
        let hour = Hour::containing(at);
        if hour.start() < at {
            hour.plus(1)
        } else {
            hour
        }
    }

    /// Returns its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * 3600).unwrap_or(Timestamp::MAX)
    }

    /// Returns the first instant after it.
    pub fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// Returns the UTC day that contains the hour.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(24))
    }

    /// Returns the hour `hours` later, or earlier if negative.
    #[must_use]
    pub const fn plus(self, hours: i32) -> Hour {
        Hour(self.0 + hours)
    }
}

impl Day {
    /// Creates a day from a count of days since 1970-01-01.
    pub const fn from_count(count: i32) -> Day {
        Day(count)
    }

    /// Returns the count of days since 1970-01-01.
    pub const fn count(self) -> i32 {
        self.0
    }

    /// Returns the UTC day that contains a timestamp.
    pub fn containing(at: Timestamp) -> Day {
        Hour::containing(at).day()
    }

    /// Converts a civil date, taken as a UTC day.
    pub fn from_date(date: civil::Date) -> Day {
        let midnight = date
            .to_zoned(TimeZone::UTC)
            .map_or(Timestamp::MAX, |zoned| zoned.timestamp());
        Day::containing(midnight)
    }

    /// Returns the day as a civil date.
    pub fn date(self) -> civil::Date {
        TimeZone::UTC.to_datetime(self.start()).date()
    }

    /// Returns its first instant.
    pub fn start(self) -> Timestamp {
        self.first_hour().start()
    }

    /// Returns the first instant after it.
    pub fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// Returns its hour 00:00.
    pub const fn first_hour(self) -> Hour {
        Hour(self.0 * 24)
    }

    /// Returns its hour 23:00.
    pub const fn last_hour(self) -> Hour {
        Hour(self.0 * 24 + 23)
    }

    /// Returns the day `days` later, or earlier if negative.
    #[must_use]
    pub const fn plus(self, days: i32) -> Day {
        Day(self.0 + days)
    }
}

impl Span {
    /// Returns whether the span contains a timestamp.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Returns the length of the span.
    pub fn duration(self) -> SignedDuration {
        self.end.duration_since(self.start)
    }

    /// Returns the UTC hours that begin in the span.
    pub fn hours(self) -> HourSpan {
        HourSpan {
            start: Hour::ceil(self.start),
            end: Hour::ceil(self.end),
        }
    }
}

impl HourSpan {
    /// Returns whether the span contains an hour.
    pub fn contains(self, hour: Hour) -> bool {
        self.start <= hour && hour < self.end
    }

    /// Returns whether the span contains no hour.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Returns the hours in both spans; possibly empty.
    #[must_use]
    pub fn intersect(self, other: HourSpan) -> HourSpan {
        HourSpan {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// Returns the hours of `self` that are not in `other`: at most one span before and one after it.
    pub fn minus(self, other: HourSpan) -> Vec<HourSpan> {
        let common = self.intersect(other);
        let pieces = if common.is_empty() {
            vec![self]
        } else {
            vec![
                HourSpan {
                    start: self.start,
                    end: common.start,
                },
                HourSpan {
                    start: common.end,
                    end: self.end,
                },
            ]
        };
        pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    /// Converts to a span of timestamps.
    pub fn span(self) -> Span {
        Span {
            start: self.start.start(),
            end: self.end.start(),
        }
    }
}
