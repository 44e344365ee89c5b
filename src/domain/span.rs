//! Half-open spans of UTC time, and the whole hours and days of UTC that buckets begin at.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// A whole hour of UTC, counted from 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

/// A whole day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// Half-open, UTC: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// Half-open, in whole hours of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HourSpan {
    /// The first hour.
    pub start: Hour,
    /// The first hour after it.
    pub end: Hour,
}

impl Hour {
    /// From the count of hours since 1970-01-01T00:00Z.
    pub const fn from_count(count: i32) -> Hour {
        Hour(count)
    }

    /// Hours since 1970-01-01T00:00Z.
    pub const fn count(self) -> i32 {
        self.0
    }

    /// The hour in which an instant lies.
    pub fn of(at: Timestamp) -> Hour {
        // A timestamp lies within ±9999 years: 87,660,000 hours.
        Hour(
            i32::try_from(at.as_second().div_euclid(3600))
                .expect("a timestamp's hours fit 32 bits"),
        )
    }

    /// The first hour that begins at or after an instant.
    pub fn ceil(at: Timestamp) -> Hour {
        let hour = Hour::of(at);
        if hour.start() < at {
            hour.plus(1)
        } else {
            hour
        }
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * 3600).unwrap_or(Timestamp::MAX)
    }

    /// The first instant after it.
    pub fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// The day of UTC in which it lies.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(24))
    }

    /// So many hours later (or earlier).
    #[must_use]
    pub const fn plus(self, hours: i32) -> Hour {
        Hour(self.0 + hours)
    }
}

impl Day {
    /// From the count of days since 1970-01-01.
    pub const fn from_count(count: i32) -> Day {
        Day(count)
    }

    /// Days since 1970-01-01.
    pub const fn count(self) -> i32 {
        self.0
    }

    /// The day of UTC in which an instant lies.
    pub fn of(at: Timestamp) -> Day {
        Hour::of(at).day()
    }

    /// From a civil date, taken as a day of UTC.
    pub fn from_date(date: civil::Date) -> Day {
        let midnight = date
            .to_zoned(TimeZone::UTC)
            .map_or(Timestamp::MAX, |zoned| zoned.timestamp());
        Day::of(midnight)
    }

    /// As a civil date.
    pub fn date(self) -> civil::Date {
        TimeZone::UTC.to_datetime(self.start()).date()
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        self.first_hour().start()
    }

    /// The first instant after it.
    pub fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// Its hour 00:00.
    pub const fn first_hour(self) -> Hour {
        Hour(self.0 * 24)
    }

    /// Its hour 23:00.
    pub const fn last_hour(self) -> Hour {
        Hour(self.0 * 24 + 23)
    }

    /// So many days later (or earlier).
    #[must_use]
    pub const fn plus(self, days: i32) -> Day {
        Day(self.0 + days)
    }
}

impl Span {
    /// Whether an instant lies in it.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// How long it is.
    pub fn duration(self) -> SignedDuration {
        self.end.duration_since(self.start)
    }

    /// The whole hours of UTC that begin in it.
    pub fn hours(self) -> HourSpan {
        HourSpan {
            start: Hour::ceil(self.start),
            end: Hour::ceil(self.end),
        }
    }
}

impl HourSpan {
    /// Whether an hour lies in it.
    pub fn contains(self, hour: Hour) -> bool {
        self.start <= hour && hour < self.end
    }

    /// Whether no hour lies in it.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// What both have in common; may be empty.
    #[must_use]
    pub fn intersect(self, other: HourSpan) -> HourSpan {
        HourSpan {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// What lies in `self` and not in `other`: at most a piece before and a piece after.
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

    /// From its first to after its last instant.
    pub fn span(self) -> Span {
        Span {
            start: self.start.start(),
            end: self.end.start(),
        }
    }
}
