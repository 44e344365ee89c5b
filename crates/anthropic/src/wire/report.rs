//! What the reports of the `analytics` and `reports` dialects share: the requested span, one page, and checks across pages.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Cents, Currency, Cursor, Field, Lenient, Row};
use crate::wire::tokens::TokensWire;
use spendwatch_domain::units::ids::{ApiKeyId, ModelName, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::Granularity;
use spendwatch_domain::usage::report_rows::{
    Actor, Dimensions, PricingAttributes, TokenRow, UnreadableRow,
};

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
        start: Field<Timestamp>,
        end: Field<Timestamp>,
    ) -> Result<Hour, Box<BucketError>> {
        let invalid = |hours, error| Box::new(BucketError { hours, error });
        let start = start
            .required(location, "starting_at")
            .map_err(|it| invalid(self.hours, it))?;
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
        let end = end
            .required(location, "ending_at")
            .map_err(|it| invalid(within, it))?;
        if end != bucket.end.start() {
            let problem = "not the end of a requested bucket";
            return Err(invalid(within, value("ending_at", end, problem)));
        }
        Ok(hour)
    }
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

impl<T> PageResponse<T> {
    /// Decodes what is around the rows, and returns a page without rows, and what is in `data`.
    pub fn open(body: &[u8]) -> Result<(PageResponse<T>, Vec<&RawValue>), DecodeError> {
        let wire: PageWire<'_> = decode::read(body)?;
        let page = PageResponse {
            rows: Vec::new(),
            unreadable: Vec::new(),
            refreshed_at: wire.data_refreshed_at.0,
            next: wire.next_page.next_page(wire.has_more.0)?,
            is_empty: wire.data.is_empty(),
        };
        Ok((page, wire.data))
    }

    /// Adds a row whose bucket and dimensions are valid; `decode` returns it, or `None`, and records its other errors.
    pub fn add_row(
        &mut self,
        location: ResponseLocation,
        hours: HourSpan,
        group: Group,
        decode: impl FnOnce(&mut Row, Group) -> Option<T>,
    ) {
        let workspace = group.dimensions.workspace.clone();
        let mut row = Row::new(location);
        self.rows.extend(decode(&mut row, group));
        for error in row.errors {
            self.add_error(hours, Some(workspace.clone()), error);
        }
    }

    /// Adds an invalid row.
    pub fn add_error(
        &mut self,
        hours: HourSpan,
        workspace: Option<Option<WorkspaceId>>,
        error: DecodeError,
    ) {
        self.unreadable.push(RowError {
            hours,
            workspace,
            error,
        });
    }
}

/// What a row is about.
#[derive(Debug, Default)]
pub struct Group {
    pub dimensions: Dimensions,
    pub attributes: PricingAttributes,
    pub cost_type: Option<String>,
}

impl Group {
    /// Decodes the tokens of a row, whose `field` contains them.
    pub fn tokens(
        self,
        row: &mut Row,
        field: &'static str,
        hour: Hour,
        wire: TokensWire<'_>,
        total: &mut ReportTotal,
    ) -> Option<TokenRow> {
        let (tokens, web_searches) = wire.counts(row);
        let used = TokenRow {
            hour,
            attributes: self.attributes,
            dimensions: self.dimensions,
            tokens,
            web_searches,
        };
        row.keep(total.add(row.location, field, used.count()))?;
        Some(used)
    }
}

/// Decodes an amount in cents of a checked currency; both are named by their fields.
pub fn billed(
    location: ResponseLocation,
    (currency_field, currency): (&'static str, Field<Currency>),
    (amount_field, amount): (&'static str, Field<Cents>),
) -> Result<Usd, DecodeError> {
    currency.check_usd(location, currency_field)?;
    Ok(amount.required(location, amount_field)?.0)
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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Lenient<bool>,
    next_page: Field<Cursor>,
    data_refreshed_at: Lenient<Timestamp>,
}

/// The dimensions of a row. An invalid workspace makes the row invalid; another invalid dimension counts as absent.
#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
pub struct GroupWire {
    workspace_id: Field<WorkspaceId>,
    model: Lenient<String>,
    api_key_id: Lenient<String>,
    actor: Field<Actor>,
    service_tier: Lenient<String>,
    context_window: Lenient<String>,
    inference_geo: Lenient<String>,
    cost_type: Lenient<String>,
}

impl GroupWire {
    /// Checks the workspace, whose field is `field`.
    pub fn group(
        self,
        location: ResponseLocation,
        field: &'static str,
    ) -> Result<Group, DecodeError> {
        Ok(Group {
            dimensions: Dimensions {
                workspace: self.workspace_id.get(location, field)?,
                model: self.model.0.map(ModelName::new),
                api_key: self.api_key_id.0.map(ApiKeyId::new),
                actor: self.actor.get(location, "actor")?,
            },
            attributes: PricingAttributes {
                service_tier: self.service_tier.0,
                context_window: self.context_window.0,
                inference_geo: self.inference_geo.0,
            },
            cost_type: self.cost_type.0,
        })
    }
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
}
