//! The guide dialect: wire shapes and their translation, pure. An answer that contradicts itself or the request is refused
//! whole, with the reason in words.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::{ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{Amounts, Answer, Buckets, Cells, Granularity, Part, Tokens, add_to};

/// A single amount beyond it is a fault: 10¹² USD.
const MAX_SPEND: Usd = Usd::from_dollars(1_000_000_000_000);
/// A single count beyond it is a fault.
const MAX_COUNT: i64 = 1_000_000_000_000_000;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// After which id the next page begins; `None` where there is none.
    pub next: Option<String>,
}

/// Usage of one calendar month of UTC, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthUsage {
    /// Its first day.
    pub month: Date,
    /// By model; the sum is the month.
    pub cells: Cells,
}

#[derive(Deserialize)]
struct OrganizationWire {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    billing: Option<BillingWire>,
}

#[derive(Deserialize)]
struct BillingWire {
    usage_limit_usd: Option<Box<RawValue>>,
    current_month_usage_usd: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct PageWire {
    data: Vec<WorkspaceWire>,
    has_more: Option<bool>,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct WorkspaceWire {
    id: String,
    #[serde(default)]
    name: String,
    usage_limits: Option<LimitsWire>,
}

#[derive(Deserialize)]
struct LimitsWire {
    monthly_spend_usd: Option<Box<RawValue>>,
    requests_per_minute: Option<u64>,
}

#[derive(Deserialize)]
struct UsageWire {
    data: Vec<RowWire>,
}

#[derive(Deserialize)]
struct RowWire {
    date: String,
    #[serde(default)]
    input_tokens: i64,
    #[serde(default)]
    output_tokens: i64,
    #[serde(default)]
    cache_read_tokens: i64,
    total_cost_usd: Box<RawValue>,
    #[serde(default)]
    requests: i64,
    model_breakdown: Option<BTreeMap<String, ModelWire>>,
}

#[derive(Deserialize)]
struct ModelWire {
    #[serde(default)]
    input_tokens: i64,
    #[serde(default)]
    output_tokens: i64,
    cost_usd: Box<RawValue>,
}

/// `GET /v1/organizations`.
pub fn organization(body: &[u8]) -> Result<OrganizationInfo, String> {
    let wire: OrganizationWire = parse(body)?;
    let (limit, usage) = match &wire.billing {
        Some(billing) => (
            billing.usage_limit_usd.as_deref(),
            billing.current_month_usage_usd.as_deref(),
        ),
        None => (None, None),
    };
    Ok(OrganizationInfo {
        id: wire.id,
        name: wire.name,
        usage_limit: optional_spend(limit, "billing.usage_limit_usd")?,
        current_month_usage: optional_spend(usage, "billing.current_month_usage_usd")?,
    })
}

/// One page of `GET /v1/workspaces`.
pub fn workspaces(body: &[u8]) -> Result<Listed<Workspace>, String> {
    let wire: PageWire = parse(body)?;
    let next = match (
        wire.has_more.unwrap_or(false),
        wire.data.last(),
        wire.last_id,
    ) {
        (false, _, _) => None,
        (true, None, _) => return Err("`has_more` is true on a page without rows".to_owned()),
        (true, Some(_), Some(id)) => Some(id),
        (true, Some(last), None) => Some(last.id.clone()),
    };
    let rows = wire
        .data
        .into_iter()
        .map(workspace)
        .collect::<Result<Vec<_>, _>>()?;
    // The next page begins after the last row; any other id would skip rows or lead back.
    match (&next, rows.last()) {
        (Some(id), Some(last)) if last.id.as_str() != id => Err(format!(
            "`last_id` is `{id}`, the last row is `{}`",
            last.id
        )),
        _ => Ok(Listed { rows, next }),
    }
}

fn workspace(wire: WorkspaceWire) -> Result<Workspace, String> {
    if wire.id.is_empty() || wire.id == UNATTRIBUTED {
        return Err(format!("a workspace has the id `{}`", wire.id));
    }
    let place = format!("workspace `{}`: usage_limits.monthly_spend_usd", wire.id);
    let limits = wire.usage_limits.as_ref();
    let monthly_limit = optional_spend(
        limits.and_then(|limits| limits.monthly_spend_usd.as_deref()),
        &place,
    )?;
    Ok(Workspace {
        id: WorkspaceId::new(wire.id),
        name: wire.name,
        monthly_limit,
        requests_per_minute: limits.and_then(|limits| limits.requests_per_minute),
    })
}

/// `GET /v1/usage` by hour or day.
pub fn usage(
    body: &[u8],
    part: &Part,
    granularity: Granularity,
    first: Day,
    last: Day,
) -> Result<Answer, String> {
    let hours = HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    };
    let mut buckets = Buckets::new();
    for row in parse::<UsageWire>(body)?.data {
        let hour = match granularity {
            Granularity::Hour => whole_hour(&row.date),
            Granularity::Day => row
                .date
                .parse::<Date>()
                .ok()
                .map(|date| Day::from_date(date).first_hour()),
        };
        let hour = hour.ok_or_else(|| format!("`{}` is not the date of such a row", row.date))?;
        if !hours.contains(hour) {
            return Err(format!("row `{}` is outside the request", row.date));
        }
        if buckets.insert(hour, cells(&row)?).is_some() {
            return Err(format!("two rows for `{}`", row.date));
        }
    }
    Ok(Answer {
        part: part.clone(),
        granularity,
        hours,
        buckets,
    })
}

/// `GET /v1/usage` by month.
pub fn usage_by_month(body: &[u8], first: Day, last: Day) -> Result<Vec<MonthUsage>, String> {
    let mut months: BTreeMap<Date, Cells> = BTreeMap::new();
    for row in parse::<UsageWire>(body)?.data {
        let month: Date = format!("{}-01", row.date)
            .parse()
            .map_err(|_| format!("`{}` is not a month", row.date))?;
        if month < first.date().first_of_month() || month > last.date() {
            return Err(format!("row `{}` is outside the request", row.date));
        }
        if months.insert(month, cells(&row)?).is_some() {
            return Err(format!("two rows for `{}`", row.date));
        }
    }
    Ok(months
        .into_iter()
        .map(|(month, cells)| MonthUsage { month, cells })
        .collect())
}

/// The row by model. The row's own figures are the truth: what the models do not add up to stands under `unattributed`,
/// as do cache reads and requests, which have no model.
fn cells(row: &RowWire) -> Result<Cells, String> {
    let date = &row.date;
    let of_row = Amounts {
        spend: spend(
            &row.total_cost_usd,
            &format!("row `{date}`: total_cost_usd"),
        )?,
        tokens: Tokens {
            input: count(row.input_tokens, date, "input_tokens")?,
            output: count(row.output_tokens, date, "output_tokens")?,
            cache_read: count(row.cache_read_tokens, date, "cache_read_tokens")?,
            ..Tokens::default()
        },
        requests: count(row.requests, date, "requests")?,
    };
    let mut cells = Cells::new();
    let mut rest = of_row;
    for (name, model) in row.model_breakdown.iter().flatten() {
        let place = format!("model_breakdown.{name}");
        let of_model = Amounts {
            spend: spend(&model.cost_usd, &format!("row `{date}`: {place}.cost_usd"))?,
            tokens: Tokens {
                input: count(model.input_tokens, date, &place)?,
                output: count(model.output_tokens, date, &place)?,
                ..Tokens::default()
            },
            requests: 0,
        };
        rest = rest - of_model;
        add_to(&mut cells, &ModelName::new(name.as_str()), of_model);
    }
    add_to(&mut cells, &ModelName::new(UNATTRIBUTED), rest);
    Ok(cells)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let is_markup = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        if is_markup {
            "HTML or XML instead of JSON; does a proxy answer?".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// `2026-02-03T14:00:00Z`, on the whole hour.
fn whole_hour(date: &str) -> Option<Hour> {
    let at: Timestamp = date.parse().ok()?;
    let hour = Hour::of(at);
    (hour.start() == at && TimeZone::UTC.to_datetime(at).minute() == 0).then_some(hour)
}

fn optional_spend(raw: Option<&RawValue>, place: &str) -> Result<Option<Usd>, String> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| spend(raw, place))
        .transpose()
}

/// From the digits of the JSON number, never through a binary float.
fn spend(raw: &RawValue, place: &str) -> Result<Usd, String> {
    let usd = Usd::parse(raw.get())
        .map_err(|error| format!("{place}: `{}` is {error}", cut(raw.get())))?;
    if usd < Usd::ZERO {
        return Err(format!("{place}: `{}` is negative", cut(raw.get())));
    }
    if usd > MAX_SPEND {
        return Err(format!("{place}: `{}` is beyond 10^12 USD", cut(raw.get())));
    }
    Ok(usd)
}

fn count(value: i64, date: &str, field: &str) -> Result<i64, String> {
    if (0..=MAX_COUNT).contains(&value) {
        Ok(value)
    } else {
        Err(format!("row `{date}`: {field}: {value} is absurd"))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
