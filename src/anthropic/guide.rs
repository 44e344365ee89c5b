//! The `guide` dialect: what its answers look like, and what they mean. Pure.
//!
//! An answer is translated whole or refused whole. A row's own figure is the truth; what its models do not explain
//! stands under model `unattributed`. Unknown fields are ignored.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::{Timestamp, civil};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::paging::PageEnd;
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::{ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{self, Amounts, Answer, Buckets, Cells, Granularity, Part, Tokens};

/// One month's usage of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthUsage {
    /// The first day of the month (UTC), also where only a piece of the month was asked for.
    pub month: civil::Date,
    /// By model.
    pub cells: Cells,
}

/// One page of workspaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePage {
    /// In the server's order.
    pub workspaces: Vec<Workspace>,
    /// Whether it is the last one.
    pub end: PageEnd,
}

/// `GET /v1/organizations`.
pub fn organization(body: &[u8]) -> Result<OrganizationInfo, Fault> {
    let wire: OrganizationWire<'_> = fault::read(body)?;
    if wire.id.is_empty() {
        return Err(Fault::Missing {
            place: Place::Answer,
            field: "id",
        });
    }
    let at = Place::Answer;
    let billing = wire.billing.unwrap_or_default();
    Ok(OrganizationInfo {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        usage_limit: optional_usd(at, "billing.usage_limit_usd", billing.usage_limit_usd)?,
        current_month_usage: optional_usd(
            at,
            "billing.current_month_usage_usd",
            billing.current_month_usage_usd,
        )?,
        id: wire.id,
    })
}

/// `GET /v1/workspaces`, one page.
pub fn workspaces(body: &[u8]) -> Result<WorkspacePage, Fault> {
    let wire: ListWire<'_> = fault::read(body)?;
    let workspaces = rows(&wire)
        .map(|(place, row)| workspace(place, row))
        .collect::<Result<Vec<_>, Fault>>()?;
    Ok(WorkspacePage {
        workspaces,
        end: PageEnd {
            has_more: wire.has_more.unwrap_or(false),
            last_id: wire.last_id,
        },
    })
}

/// `GET /v1/usage` by hour or day, for the days from `first` to `last`, both included.
pub fn usage(
    body: &[u8],
    part: &Part,
    granularity: Granularity,
    first: Day,
    last: Day,
) -> Result<Answer, Fault> {
    let hours = HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    };
    let mut buckets = Buckets::new();
    for row in usage_rows(body)? {
        let hour = match granularity {
            Granularity::Hour => row.hour()?,
            Granularity::Day => row.day()?.first_hour(),
        };
        if !hours.contains(hour) {
            return Err(row.is_outside());
        }
        if buckets.contains_key(&hour) {
            return Err(row.is_there_already());
        }
        buckets.insert(hour, row.cells);
    }
    Ok(Answer {
        part: part.clone(),
        granularity,
        hours,
        buckets,
    })
}

/// `GET /v1/usage` by month, for the days from `first` to `last`, both included. In order of time.
pub fn usage_by_month(body: &[u8], first: Day, last: Day) -> Result<Vec<MonthUsage>, Fault> {
    let asked = first.date().first_of_month()..=last.date();
    let mut months: BTreeMap<civil::Date, Cells> = BTreeMap::new();
    for row in usage_rows(body)? {
        let month = row.month()?;
        if !asked.contains(&month) {
            return Err(row.is_outside());
        }
        if months.contains_key(&month) {
            return Err(row.is_there_already());
        }
        months.insert(month, row.cells);
    }
    let in_order = months.into_iter();
    Ok(in_order
        .map(|(month, cells)| MonthUsage { month, cells })
        .collect())
}

#[derive(Deserialize)]
struct OrganizationWire<'a> {
    id: String,
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<BillingWire<'a>>,
}

#[derive(Deserialize, Default)]
struct BillingWire<'a> {
    #[serde(borrow)]
    usage_limit_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    current_month_usage_usd: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ListWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Option<bool>,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct WorkspaceWire<'a> {
    id: String,
    name: Option<String>,
    #[serde(borrow)]
    usage_limits: Option<LimitsWire<'a>>,
}

#[derive(Deserialize, Default)]
struct LimitsWire<'a> {
    #[serde(borrow)]
    monthly_spend_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    requests_per_minute: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UsageWire<'a> {
    date: String,
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_cost_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    requests: Option<&'a RawValue>,
    #[serde(borrow)]
    model_breakdown: Option<BreakdownWire<'a>>,
}

/// By model, each once: a map would silently keep the last of two.
struct BreakdownWire<'a>(Vec<(String, ModelWire<'a>)>);

#[derive(Deserialize)]
struct ModelWire<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cost_usd: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for BreakdownWire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Models;
        impl<'de> Visitor<'de> for Models {
            type Value = BreakdownWire<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a model for each key")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut models = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, model)) = map.next_entry::<String, ModelWire<'de>>()? {
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom(format!("model `{name}` is there twice")));
                    }
                    models.push((name, model));
                }
                Ok(BreakdownWire(models))
            }
        }
        deserializer.deserialize_map(Models)
    }
}

fn rows<'a>(list: &ListWire<'a>) -> impl Iterator<Item = (Place, &'a RawValue)> {
    (1..).map(Place::Row).zip(list.data.iter().copied())
}

fn workspace(place: Place, raw: &RawValue) -> Result<Workspace, Fault> {
    let wire: WorkspaceWire<'_> = fault::read_row(place, raw)?;
    // The remainder has an id of its own; a workspace under that id could not be told from it.
    if wire.id.is_empty() || wire.id == UNATTRIBUTED {
        return Err(Fault::value(place, "id", &wire.id, "not a workspace's id"));
    }
    let limits = wire.usage_limits.unwrap_or_default();
    Ok(Workspace {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        id: WorkspaceId::new(wire.id),
        monthly_limit: optional_usd(
            place,
            "usage_limits.monthly_spend_usd",
            limits.monthly_spend_usd,
        )?,
        requests_per_minute: limits
            .requests_per_minute
            .map(|raw| fault::count(place, "usage_limits.requests_per_minute", raw))
            .transpose()?
            .map(i64::unsigned_abs),
    })
}

/// One row of usage.
struct UsageRow {
    place: Place,
    /// As it was sent.
    date: String,
    cells: Cells,
}

impl UsageRow {
    fn hour(&self) -> Result<Hour, Fault> {
        let at: Option<Timestamp> = self.date.parse().ok();
        at.map(|at| (at, Hour::of(at)))
            .filter(|(at, hour)| hour.start() == *at)
            .map(|(_, hour)| hour)
            .ok_or_else(|| self.is_no("not the start of an hour such as 2026-02-03T14:00:00Z"))
    }

    fn day(&self) -> Result<Day, Fault> {
        civil_date(&self.date)
            .map(Day::from_date)
            .ok_or_else(|| self.is_no("not a day such as 2026-02-03"))
    }

    /// The first day of its month.
    fn month(&self) -> Result<civil::Date, Fault> {
        civil_date(&format!("{}-01", self.date))
            .ok_or_else(|| self.is_no("not a month such as 2026-02"))
    }

    fn is_no(&self, expected: &'static str) -> Fault {
        Fault::value(self.place, "date", &self.date, expected)
    }

    fn is_outside(&self) -> Fault {
        self.is_no("outside of what was asked for")
    }

    fn is_there_already(&self) -> Fault {
        self.is_no("which an earlier row has already")
    }
}

fn usage_rows(body: &[u8]) -> Result<Vec<UsageRow>, Fault> {
    let list: ListWire<'_> = fault::read(body)?;
    if list.has_more == Some(true) {
        return Err(Fault::Unfinished);
    }
    rows(&list)
        .map(|(place, raw)| usage_row(place, raw))
        .collect()
}

fn usage_row(place: Place, raw: &RawValue) -> Result<UsageRow, Fault> {
    let wire: UsageWire<'_> = fault::read_row(place, raw)?;
    let whole = Amounts {
        spend: fault::usd(
            place,
            "total_cost_usd",
            required(place, "total_cost_usd", wire.total_cost_usd)?,
        )?,
        tokens: Tokens {
            input: fault::count(
                place,
                "input_tokens",
                required(place, "input_tokens", wire.input_tokens)?,
            )?,
            output: fault::count(
                place,
                "output_tokens",
                required(place, "output_tokens", wire.output_tokens)?,
            )?,
            cache_read: count_or_zero(place, "cache_read_tokens", wire.cache_read_tokens)?,
            ..Tokens::default()
        },
        requests: count_or_zero(place, "requests", wire.requests)?,
    };
    let models = wire
        .model_breakdown
        .map_or_else(Vec::new, |models| models.0);
    let mut cells = Cells::new();
    let mut rest = whole;
    for (name, model) in models {
        let amounts = model_amounts(place, &name, &model)?;
        rest = rest - amounts;
        if rest.tokens.input.min(rest.tokens.output) < -fault::MAX_COUNT {
            let problem = "with which the models' tokens go beyond 10^15";
            return Err(Fault::value(place, "model_breakdown", &name, problem));
        }
        usage::add_to(&mut cells, &ModelName::new(name), amounts);
    }
    usage::add_to(&mut cells, &ModelName::from(UNATTRIBUTED), rest);
    Ok(UsageRow {
        place,
        date: wire.date,
        cells,
    })
}

fn model_amounts(place: Place, name: &str, model: &ModelWire<'_>) -> Result<Amounts, Fault> {
    let field = |field: &str| format!("model_breakdown.{name}.{field}");
    let cost = optional_usd(place, &field("cost_usd"), model.cost_usd)?;
    Ok(Amounts {
        spend: cost.unwrap_or_default(),
        tokens: Tokens {
            input: count_or_zero(place, &field("input_tokens"), model.input_tokens)?,
            output: count_or_zero(place, &field("output_tokens"), model.output_tokens)?,
            ..Tokens::default()
        },
        requests: 0,
    })
}

fn required<'a>(
    place: Place,
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<&'a RawValue, Fault> {
    raw.ok_or(Fault::Missing { place, field })
}

fn optional_usd(place: Place, field: &str, raw: Option<&RawValue>) -> Result<Option<Usd>, Fault> {
    raw.map(|raw| fault::usd(place, field, raw)).transpose()
}

fn count_or_zero(place: Place, field: &str, raw: Option<&RawValue>) -> Result<i64, Fault> {
    raw.map_or(Ok(0), |raw| fault::count(place, field, raw))
}

/// `2026-02-03`, and nothing else that a date may look like.
fn civil_date(text: &str) -> Option<civil::Date> {
    let is_shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    text.parse().ok().filter(|_| is_shaped)
}
