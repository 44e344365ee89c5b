//! Decodes usage by hour, day or month. Pure.
//!
//! A row's total is authoritative. An invalid row makes only its own figure unknown.

use jiff::{Timestamp, civil};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Count, Dollars, Field, Row};
use crate::wire::guide::models;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::{
    self, Amounts, Basis, Buckets, Granularity, Part, Tokens, UsageByKey, UsageResponse,
    bucket_starts,
};

/// Usage of one part in one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthUsage {
    /// First day of the month (UTC), even if only part of the month was requested.
    pub month: civil::Date,
    pub cells: UsageByKey,
}

/// Invalid usage: the span of buckets that may be affected, and why.
pub type UnreadableUsage = Vec<(HourSpan, DecodeError)>;

/// Decodes `GET /v1/usage` by hour or day, for the days from `first` to `last`, inclusive.
pub fn usage(
    body: &[u8],
    part: &Part,
    granularity: Granularity,
    first: Day,
    last: Day,
) -> Result<(UsageResponse, UnreadableUsage), DecodeError> {
    let hours = days(first, last);
    let n_hours = match granularity {
        Granularity::Hour => 1,
        Granularity::Day => 24,
    };
    let start_of = |row: &UsageRow| match granularity {
        Granularity::Hour => row.hour(),
        Granularity::Day => row.day().map(Day::first_hour),
    };
    let end_of = |hour: Hour| hour.plus(n_hours);
    let (buckets, unread) = buckets_of(body, hours, start_of, end_of)?;
    let unknown = unread
        .iter()
        .flat_map(|(hours, _)| bucket_starts(*hours, granularity));
    let response = UsageResponse {
        part: part.clone(),
        granularity,
        hours,
        unknown: unknown.collect(),
        buckets,
        basis: Basis::ByRow,
        known_until: None,
    };
    Ok((response, unread))
}

/// Decodes `GET /v1/usage` by month, for the days from `first` to `last`, inclusive. Months are ascending.
pub fn usage_by_month(
    body: &[u8],
    first: Day,
    last: Day,
) -> Result<(Vec<MonthUsage>, UnreadableUsage), DecodeError> {
    let hours = days(first, last);
    let of_month = |month: civil::Date| Day::from_date(month).first_hour();
    let start_of = |row: &UsageRow| row.month().map(of_month);
    let end_of = |hour: Hour| {
        let last = hour.day().date().last_of_month();
        Day::from_date(last).plus(1).first_hour()
    };
    // A partially requested month starts before the first requested day.
    let requested = HourSpan {
        start: of_month(first.date().first_of_month()),
        ..hours
    };
    let (buckets, unread) = buckets_of(body, requested, start_of, end_of)?;
    let month = |(hour, cells): (Hour, UsageByKey)| MonthUsage {
        month: hour.day().date(),
        cells,
    };
    Ok((buckets.into_iter().map(month).collect(), unread))
}

fn days(first: Day, last: Day) -> HourSpan {
    HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    }
}

/// Groups rows by bucket. If two rows have the same bucket, it is unclear which one is right; the larger one is a lower bound.
fn buckets_of(
    body: &[u8],
    requested: HourSpan,
    start_of: impl Fn(&UsageRow) -> Result<Hour, DecodeError>,
    end_of: impl Fn(Hour) -> Hour,
) -> Result<(Buckets, UnreadableUsage), DecodeError> {
    let list: ListWire<'_> = decode::read(body)?;
    let has_more = list.has_more.get(ResponseLocation::Body, "has_more")?;
    if has_more == Some(true) {
        return Err(DecodeError::Unfinished);
    }
    let none_requested = HourSpan {
        end: requested.start,
        ..requested
    };
    let (mut buckets, mut unread) = (Buckets::new(), UnreadableUsage::new());
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(list.data) {
        let row = usage_row(location, raw).and_then(|row| Ok((start_of(&row)?, row)));
        let (hour, row) = match row {
            Ok(row) => row,
            // Any bucket may be affected.
            Err(error) => {
                unread.push((requested, error));
                continue;
            }
        };
        if !requested.contains(hour) {
            unread.push((none_requested, row.outside_request()));
            continue;
        }
        let bucket = HourSpan {
            start: hour,
            end: end_of(hour).min(requested.end),
        };
        if let Some(earlier) = buckets.get(&hour) {
            unread.push((bucket, row.duplicate()));
            let larger = bucket::at_least(earlier, &row.cells);
            buckets.insert(hour, larger);
        } else {
            buckets.insert(hour, row.cells);
        }
        unread.extend(row.errors.into_iter().map(|error| (bucket, error)));
    }
    Ok((buckets, unread))
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ListWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Field<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UsageWire<'a> {
    date: String,
    input_tokens: Field<Count>,
    output_tokens: Field<Count>,
    cache_read_tokens: Field<Count>,
    total_cost_usd: Field<Dollars>,
    requests: Field<Count>,
    #[serde(borrow)]
    model_breakdown: Option<&'a RawValue>,
}

struct UsageRow {
    location: ResponseLocation,
    date: String,
    cells: UsageByKey,
    errors: Vec<DecodeError>,
}

impl UsageRow {
    fn hour(&self) -> Result<Hour, DecodeError> {
        let at: Option<Timestamp> = self.date.parse().ok();
        at.map(|at| (at, Hour::containing(at)))
            .filter(|(at, hour)| hour.start() == *at)
            .map(|(_, hour)| hour)
            .ok_or_else(|| {
                self.invalid_date("not the start of an hour such as 2026-02-03T14:00:00Z")
            })
    }

    fn day(&self) -> Result<Day, DecodeError> {
        civil_date(&self.date)
            .map(Day::from_date)
            .ok_or_else(|| self.invalid_date("not a day such as 2026-02-03"))
    }

    fn month(&self) -> Result<civil::Date, DecodeError> {
        civil_date(&format!("{}-01", self.date))
            .ok_or_else(|| self.invalid_date("not a month such as 2026-02"))
    }

    fn invalid_date(&self, expected: &'static str) -> DecodeError {
        DecodeError::value(self.location, "date", &self.date, expected)
    }

    fn outside_request(&self) -> DecodeError {
        self.invalid_date("outside the requested period")
    }

    fn duplicate(&self) -> DecodeError {
        self.invalid_date("a duplicate of an earlier row")
    }
}

fn usage_row(location: ResponseLocation, raw: &RawValue) -> Result<UsageRow, DecodeError> {
    let wire: UsageWire<'_> = decode::read_row(location, raw)?;
    let mut row = Row::new(location);
    let spend = row.required("total_cost_usd", wire.total_cost_usd);
    let input = row.required("input_tokens", wire.input_tokens);
    let output = row.required("output_tokens", wire.output_tokens);
    let cache_read = row.optional("cache_read_tokens", wire.cache_read_tokens);
    let requests = row.optional("requests", wire.requests);
    let whole = Amounts {
        spend: spend.0,
        tokens: Tokens {
            input: input.0,
            output: output.0,
            cache_read: cache_read.unwrap_or_default().0,
            ..Tokens::default()
        },
        requests: requests.unwrap_or_default().0,
        ..Amounts::ZERO
    };
    Ok(UsageRow {
        location,
        date: wire.date,
        cells: models::cells(&mut row, whole, wire.model_breakdown),
        errors: row.errors,
    })
}

/// Parses a date of the form `2026-02-03` and no other.
fn civil_date(text: &str) -> Option<civil::Date> {
    let is_shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    text.parse().ok().filter(|_| is_shaped)
}
