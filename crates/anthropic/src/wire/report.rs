//! What the reports of the `analytics` and `reports` dialects share: the requested span, one page, and checks across pages.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::Granularity;
use spendwatch_domain::usage::report_rows::UnreadableRow;

/// Maximum sum of the counts of one report, so that a year of reports adds up within 64 bits.
const MAX_REPORT_COUNT: i64 = 100_000_000_000_000_000;

/// Requested span of a report, in hourly or daily buckets (UTC days).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpan {
    pub granularity: Granularity,
    /// Not empty; at most 31 days in the `analytics` dialect.
    pub hours: HourSpan,
}

/// Why a row's bucket is not one of the requested ones, and which requested buckets may be affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketError {
    /// Empty if the row is outside the requested span.
    pub hours: HourSpan,
    pub error: DecodeError,
}

impl BucketSpan {
    /// Returns the span widened to whole buckets.
    #[must_use]
    pub fn widened(self) -> BucketSpan {
        let HourSpan { start, end } = self.hours;
        let hours = match self.granularity {
            Granularity::Hour => self.hours,
            Granularity::Day => HourSpan {
                start: start.day().first_hour(),
                end: end.plus(-1).day().plus(1).first_hour(),
            },
        };
        BucketSpan { hours, ..self }
    }

    /// Returns the bucket that starts at an hour.
    pub fn bucket_at(self, hour: Hour) -> HourSpan {
        let n_hours = match self.granularity {
            Granularity::Hour => 1,
            Granularity::Day => 24,
        };
        HourSpan {
            start: hour,
            end: hour.plus(n_hours),
        }
    }

    /// Parses the bounds of a bucket and returns its start; it must be one of the requested buckets.
    pub fn parse_bucket(
        self,
        location: ResponseLocation,
        start: Option<&RawValue>,
        end: Option<&RawValue>,
    ) -> Result<Hour, Box<BucketError>> {
        let invalid = |hours, error| Box::new(BucketError { hours, error });
        let start =
            instant(location, "starting_at", start).map_err(|it| invalid(self.hours, it))?;
        let hour = Hour::containing(start);
        let first = match self.granularity {
            Granularity::Hour => hour,
            Granularity::Day => hour.day().first_hour(),
        };
        let bucket = self.bucket_at(first);
        let none = HourSpan {
            end: self.hours.start,
            ..self.hours
        };
        let within = Some(bucket.intersect(self.hours)).filter(|hours| !hours.is_empty());
        let within = within.unwrap_or(none);
        let value = |field, at: Timestamp, problem| {
            DecodeError::value(location, field, &at.to_string(), problem)
        };
        if first.start() != start {
            let problem = "not the start of a requested bucket";
            return Err(invalid(within, value("starting_at", start, problem)));
        }
        if !self.hours.contains(hour) {
            let problem = "outside the requested period";
            return Err(invalid(within, value("starting_at", start, problem)));
        }
        let end = instant(location, "ending_at", end).map_err(|it| invalid(within, it))?;
        if end != bucket.end.start() {
            let problem = "not the end of a requested bucket";
            return Err(invalid(within, value("ending_at", end, problem)));
        }
        Ok(hour)
    }
}

fn instant(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<Timestamp, DecodeError> {
    decode::time(
        location,
        field,
        raw.ok_or(DecodeError::Missing { location, field })?,
    )
}

/// Parses the workspace of a row; `None` if the row has none.
pub fn workspace(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<Option<WorkspaceId>, DecodeError> {
    let Some(raw) = raw else { return Ok(None) };
    let text: Option<String> = serde_json::from_str(raw.get())
        .map_err(|_| DecodeError::value(location, field, raw.get(), "not an id"))?;
    Ok(text.map(WorkspaceId::new))
}

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPage<T> {
    pub rows: Vec<T>,
    /// Rows with at least one invalid field.
    pub unreadable: Vec<UnreadableRow>,
    /// Time up to which the data is complete, if the server reports it.
    pub refreshed_at: Option<Timestamp>,
}

/// An invalid row, or an invalid figure of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Buckets that may be affected; empty if the row is outside the requested span.
    pub hours: HourSpan,
    /// The row's workspace, if any; the outer `None` if that is invalid too.
    pub workspace: Option<Option<WorkspaceId>>,
    pub error: DecodeError,
}

/// One decoded page, and the cursor of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageResponse<T> {
    pub rows: Vec<T>,
    /// Invalid rows; one with some valid figures is also in `rows`.
    pub unreadable: Vec<RowError>,
    /// Time up to which the data is complete, if the server reports it.
    pub refreshed_at: Option<Timestamp>,
    /// Cursor of the next page; `None` on the last one.
    pub next: Option<String>,
    /// Whether the page has neither rows nor buckets.
    pub is_empty: bool,
}

/// Buckets and counts in the pages of one report so far.
#[derive(Debug, Default)]
pub struct DuplicateCheck {
    /// Only for reports that list each bucket once.
    pub buckets: HashSet<Hour>,
    pub total: ReportTotal,
}

/// Sum of all counts in a report so far.
#[derive(Debug, Default)]
pub struct ReportTotal(i64);

impl ReportTotal {
    /// Adds a row's count, or returns an error if the sum would exceed 10^17.
    pub fn add(
        &mut self,
        location: ResponseLocation,
        field: &'static str,
        count: i64,
    ) -> Result<(), DecodeError> {
        let sum = self.0.saturating_add(count);
        if sum > MAX_REPORT_COUNT {
            let problem = "which raises the report's total above 10^17";
            return Err(DecodeError::value(
                location,
                field,
                &count.to_string(),
                problem,
            ));
        }
        self.0 = sum;
        Ok(())
    }
}

/// Parses the cursor of the next page. A report ends only where there is no cursor; `has_more` without a cursor is an error.
pub fn next_page(
    has_more: Option<bool>,
    next: Option<&RawValue>,
) -> Result<Option<String>, DecodeError> {
    let (location, field) = (ResponseLocation::Body, "next_page");
    let next: Option<String> = match next {
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|_| DecodeError::value(location, field, raw.get(), "not a cursor"))?,
        None => None,
    };
    let next = next.filter(|page| !page.is_empty());
    if has_more == Some(true) && next.is_none() {
        return Err(DecodeError::Missing { location, field });
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daily_spans_are_widened_to_whole_days() {
        let check = |granularity, (start, end), expected| {
            let hours = HourSpan {
                start: Hour::from_count(start),
                end: Hour::from_count(end),
            };
            let widened = BucketSpan { granularity, hours }.widened().hours;
            assert_eq!((widened.start.count(), widened.end.count()), expected);
        };
        check(Granularity::Hour, (25, 27), (25, 27));
        check(Granularity::Day, (24, 48), (24, 48));
        check(Granularity::Day, (25, 27), (24, 48));
        check(Granularity::Day, (47, 49), (24, 72));
    }

    #[test]
    fn totals_are_bounded_across_pages() {
        let mut total = ReportTotal::default();
        let mut add = |count| {
            let added = total.add(ResponseLocation::Row(2), "tokens", count);
            added.map_err(|error| error.to_string())
        };
        assert_eq!(add(MAX_REPORT_COUNT / 2), Ok(()));
        assert_eq!(add(MAX_REPORT_COUNT / 2), Ok(()));
        let expected = "row 2: `tokens` is `1`, which raises the report's total above 10^17";
        assert_eq!(add(1), Err(expected.to_owned()));
        assert_eq!(add(0), Ok(()), "the rejected row is not added");
    }

    #[test]
    fn next_page_cursors() {
        let check = |has_more, next: Option<&str>, expected: Result<Option<&str>, ()>| {
            let raw = next.map(|json| RawValue::from_string(json.to_owned()).unwrap());
            let next = next_page(has_more, raw.as_deref());
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
