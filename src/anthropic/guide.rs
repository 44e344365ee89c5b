//! The `guide` dialect: what its answers look like, and what they mean. Pure.
//!
//! A row's own figure is the truth; what its models do not explain stands under model `unattributed`. A row that cannot be read
//! costs its own figure, and text that is only displayed is read leniently. Unknown fields are ignored.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::{Timestamp, civil};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, MAX_COUNT, Place};
use crate::anthropic::paging::{ListPage, PageEnd};
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::{ActorId, ApiKeyId, UNATTRIBUTED, WorkspaceId};
use crate::domain::listing::{ListedKey, ListedUser, Maker};
use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{
    self, Amounts, Answer, Basis, Buckets, Cell, Cells, Granularity, Part, Tokens, bucket_starts,
};

/// The role of somebody whose role cannot be read.
pub(super) const UNKNOWN: &str = "unknown";

/// One month's usage of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthUsage {
    /// The first day of the month (UTC), also where only a piece of the month was asked for.
    pub month: civil::Date,
    pub cells: Cells,
}

/// `GET /v1/organizations`, and what of it could not be read.
pub fn organization(body: &[u8]) -> Result<(OrganizationInfo, Vec<Fault>), Fault> {
    let wire: OrganizationWire<'_> = fault::read(body)?;
    if wire.id.is_empty() {
        return Err(Fault::Missing {
            place: Place::Answer,
            field: "id",
        });
    }
    let (at, mut faults) = (Place::Answer, Vec::new());
    let billing: BillingWire<'_> = within(at, wire.billing, &mut faults);
    let stated = billing.current_month_usage_usd;
    let info = OrganizationInfo {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        usage_limit: optional_limit(
            at,
            "billing.usage_limit_usd",
            billing.usage_limit_usd,
            &mut faults,
        ),
        current_month_usage: optional_usd(
            at,
            "billing.current_month_usage_usd",
            stated,
            &mut faults,
        ),
        id: wire.id,
    };
    Ok((info, faults))
}

/// `GET /v1/workspaces`, one page.
pub fn workspaces(body: &[u8]) -> Result<ListPage<Workspace>, Fault> {
    listed(body, |place, wire: WorkspaceWire<'_>, faults| {
        let workspace = workspace(place, wire, faults)?;
        Ok((workspace.id.to_string(), workspace))
    })
}

/// `GET /v1/api_keys`, one page.
pub fn api_keys(body: &[u8]) -> Result<ListPage<ListedKey>, Fault> {
    listed(body, |place, wire: KeyWire<'_>, faults| {
        let id = checked_id(place, wire.id)?;
        let maker: MakerWire = wire.created_by.unwrap_or_default();
        let n_faults = faults.len();
        let last_used_at = fault::optional_time(place, "last_used_at", wire.last_used_at, faults);
        // Without this, a key whose last use cannot be read would count as never used since it was made.
        let is_use_known = faults.len() == n_faults;
        let created_at = fault::optional_time(place, "created_at", wire.created_at, faults);
        let key = ListedKey {
            id: ApiKeyId::new(id.as_str()),
            name: wire.name.unwrap_or_else(|| id.clone()),
            status: wire.status,
            workspace: wire.workspace_id.map(WorkspaceId::new),
            // Nobody else makes keys in this dialect.
            created_by: maker.id.map(|id| Maker::Person(ActorId::new(id))),
            created_at: created_at.filter(|_| is_use_known),
            expires_at: fault::optional_time(place, "expires_at", wire.expires_at, faults),
            last_used_at,
            hint: wire.partial_key,
            maker_email: maker.email,
        };
        Ok((id, key))
    })
}

/// `GET /v1/users`, one page.
pub fn users(body: &[u8]) -> Result<ListPage<ListedUser>, Fault> {
    listed(body, |place, wire: UserWire<'_>, faults| {
        let id = checked_id(place, wire.id)?;
        let email = wire.email.filter(|email| !email.is_empty());
        let name = wire.name.filter(|name| !name.is_empty());
        let n_faults = faults.len();
        let last_active_at =
            fault::optional_time(place, "last_active_at", wire.last_active_at, faults);
        // As with keys: else they would count as idle since they came.
        let is_activity_known = faults.len() == n_faults;
        let added_at = fault::optional_time(place, "created_at", wire.created_at, faults);
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.unwrap_or_else(|| UNKNOWN.to_owned()),
            status: wire.status,
            added_at: added_at.filter(|_| is_activity_known),
            last_active_at,
        };
        Ok((id, user))
    })
}

/// What could not be read: the buckets that it may be about, and why.
pub type Unread = Vec<(HourSpan, Fault)>;

/// `GET /v1/usage` by hour or day, for the days from `first` to `last`, both included. What could not be read stands beside it.
pub fn usage(
    body: &[u8],
    part: &Part,
    granularity: Granularity,
    first: Day,
    last: Day,
) -> Result<(Answer, Unread), Fault> {
    let hours = days(first, last);
    let n_hours = match granularity {
        Granularity::Hour => 1,
        Granularity::Day => 24,
    };
    let begins = |row: &UsageRow| match granularity {
        Granularity::Hour => row.hour(),
        Granularity::Day => row.day().map(Day::first_hour),
    };
    let end_of = |hour: Hour| hour.plus(n_hours);
    let (buckets, unread) = buckets_of(body, hours, begins, end_of)?;
    let unknown = unread
        .iter()
        .flat_map(|(hours, _)| bucket_starts(*hours, granularity));
    let answer = Answer {
        part: part.clone(),
        granularity,
        hours,
        unknown: unknown.collect(),
        buckets,
        basis: Basis::ByRow,
        known_until: None,
    };
    Ok((answer, unread))
}

/// `GET /v1/usage` by month, for the days from `first` to `last`, both included. In order of time, with what could not be read.
pub fn usage_by_month(
    body: &[u8],
    first: Day,
    last: Day,
) -> Result<(Vec<MonthUsage>, Unread), Fault> {
    let hours = days(first, last);
    let of_month = |month: civil::Date| Day::from_date(month).first_hour();
    let begins = |row: &UsageRow| row.month().map(of_month);
    let end_of = |hour: Hour| {
        let last = hour.day().date().last_of_month();
        Day::from_date(last).plus(1).first_hour()
    };
    // A month of which only some days are asked for begins before them.
    let asked = HourSpan {
        start: of_month(first.date().first_of_month()),
        ..hours
    };
    let (buckets, unread) = buckets_of(body, asked, begins, end_of)?;
    let month = |(hour, cells): (Hour, Cells)| MonthUsage {
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

/// All rows by their buckets. Of two rows for one bucket, which one holds is not known: it is at least the larger one.
fn buckets_of(
    body: &[u8],
    asked: HourSpan,
    begins: impl Fn(&UsageRow) -> Result<Hour, Fault>,
    end_of: impl Fn(Hour) -> Hour,
) -> Result<(Buckets, Unread), Fault> {
    let list: ListWire<'_> = fault::read(body)?;
    if list.has_more()? {
        return Err(Fault::Unfinished);
    }
    let nowhere = HourSpan {
        end: asked.start,
        ..asked
    };
    let (mut buckets, mut unread) = (Buckets::new(), Unread::new());
    for (place, raw) in rows(&list) {
        let row = usage_row(place, raw).and_then(|row| Ok((begins(&row)?, row)));
        let (hour, row) = match row {
            Ok(row) => row,
            // Nobody knows which bucket it is about.
            Err(fault) => {
                unread.push((asked, fault));
                continue;
            }
        };
        if !asked.contains(hour) {
            unread.push((nowhere, row.is_outside()));
            continue;
        }
        let bucket = HourSpan {
            start: hour,
            end: end_of(hour).min(asked.end),
        };
        if let Some(earlier) = buckets.get(&hour) {
            unread.push((bucket, row.is_there_already()));
            let larger = usage::at_least(earlier, &row.cells);
            buckets.insert(hour, larger);
        } else {
            buckets.insert(hour, row.cells);
        }
        unread.extend(row.faults.into_iter().map(|fault| (bucket, fault)));
    }
    Ok((buckets, unread))
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct BillingWire<'a> {
    #[serde(borrow)]
    usage_limit_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    current_month_usage_usd: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ListWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    has_more: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
    last_id: Option<String>,
}

impl ListWire<'_> {
    fn has_more(&self) -> Result<bool, Fault> {
        fault::has_more(self.has_more)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct WorkspaceWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    usage_limits: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct LimitsWire<'a> {
    #[serde(borrow)]
    monthly_spend_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    requests_per_minute: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct KeyWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    workspace_id: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    created_by: Option<MakerWire>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    partial_key: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow)]
    last_used_at: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct MakerWire {
    #[serde(default, deserialize_with = "fault::lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UserWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    status: Option<String>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    last_active_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
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
    model_breakdown: Option<&'a RawValue>,
}

/// By model, each once: a map would silently keep the last of two.
#[derive(Default)]
struct BreakdownWire<'a>(Vec<(String, &'a RawValue)>);

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
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
                while let Some((name, model)) = map.next_entry::<String, &'de RawValue>()? {
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

/// A page of a list; `row` gives a row's id, and the row, and notes what of it cannot be read.
fn listed<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(Place, W, &mut Vec<Fault>) -> Result<(String, T), Fault>,
) -> Result<ListPage<T>, Fault> {
    let wire: ListWire<'a> = fault::read(body)?;
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for (place, raw) in rows(&wire) {
        match fault::read_row(place, raw).and_then(|wire| row(place, wire, &mut unreadable)) {
            Ok((id, one)) => listed.push((id, Some(one))),
            Err(fault) => unreadable.push(fault),
        }
    }
    Ok(ListPage {
        rows: listed,
        unreadable,
        end: PageEnd {
            has_more: wire.has_more()?,
            last_id: wire.last_id,
        },
    })
}

/// What an object holds that may be absent.
pub(super) fn within<'a, T: Deserialize<'a> + Default>(
    place: Place,
    raw: Option<&'a RawValue>,
    faults: &mut Vec<Fault>,
) -> T {
    raw.map_or_else(T::default, |raw| {
        fault::readable(fault::read_row(place, raw), faults)
    })
}

/// What has no id cannot be told from another.
pub(super) fn checked_id(place: Place, id: String) -> Result<String, Fault> {
    if id.is_empty() {
        return Err(Fault::value(place, "id", &id, "not an id"));
    }
    Ok(id)
}

/// One workspace.
pub(super) fn workspace(
    place: Place,
    wire: WorkspaceWire<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Workspace, Fault> {
    // The remainder has an id of its own; a workspace under that id could not be told from it.
    if wire.id.is_empty() || wire.id == UNATTRIBUTED {
        return Err(Fault::value(place, "id", &wire.id, "not a workspace's id"));
    }
    let limits: LimitsWire<'_> = within(place, wire.usage_limits, faults);
    let per_minute = limits
        .requests_per_minute
        .map(|raw| fault::count(place, "usage_limits.requests_per_minute", raw))
        .transpose();
    Ok(Workspace {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        id: WorkspaceId::new(wire.id),
        monthly_limit: optional_limit(
            place,
            "usage_limits.monthly_spend_usd",
            limits.monthly_spend_usd,
            faults,
        ),
        requests_per_minute: fault::readable(per_minute, faults).map(i64::unsigned_abs),
        created_at: wire.created_at.and_then(fault::instant),
        tags: BTreeMap::new(),
    })
}

/// One row of usage.
struct UsageRow {
    place: Place,
    date: String,
    cells: Cells,
    /// Figures that could not be read.
    faults: Vec<Fault>,
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

fn usage_row(place: Place, raw: &RawValue) -> Result<UsageRow, Fault> {
    let wire: UsageWire<'_> = fault::read_row(place, raw)?;
    let mut faults = Vec::new();
    let spend = required(place, "total_cost_usd", wire.total_cost_usd)
        .and_then(|raw| fault::usd(place, "total_cost_usd", raw));
    let count = |field, raw, is_required| match (raw, is_required) {
        (None, false) => Ok(0),
        (raw, _) => required(place, field, raw).and_then(|raw| fault::count(place, field, raw)),
    };
    let counts = [
        count("input_tokens", wire.input_tokens, true),
        count("output_tokens", wire.output_tokens, true),
        count("cache_read_tokens", wire.cache_read_tokens, false),
        count("requests", wire.requests, false),
    ];
    let spend = fault::readable(spend, &mut faults);
    let [input, output, cache_read, requests] =
        counts.map(|count| fault::readable(count, &mut faults));
    let whole = Amounts {
        spend,
        tokens: Tokens {
            input,
            output,
            cache_read,
            ..Tokens::default()
        },
        requests,
        ..Amounts::ZERO
    };
    let models = wire.model_breakdown.map(|raw| breakdown(place, raw));
    let models = models.map_or_else(BreakdownWire::default, |models| {
        fault::readable(models, &mut faults)
    });
    Ok(UsageRow {
        place,
        date: wire.date,
        cells: cells(place, whole, &models.0, &mut faults),
        faults,
    })
}

fn breakdown(place: Place, raw: &RawValue) -> Result<BreakdownWire<'_>, Fault> {
    serde_json::from_str(raw.get()).map_err(|error| Fault::Shape {
        place,
        reason: format!("`model_breakdown`: {error}"),
    })
}

/// The models' own figures, and under `unattributed` what is left of the whole. Their sum is the whole. A model that cannot be
/// read has no figures of its own.
fn cells(
    place: Place,
    whole: Amounts,
    models: &[(String, &RawValue)],
    faults: &mut Vec<Fault>,
) -> Cells {
    let unattributed = Cell::from(UNATTRIBUTED);
    let mut cells = Cells::new();
    let mut rest = whole;
    for (name, model) in models.iter().filter(|(name, _)| !name.is_empty()) {
        let Ok(amounts) = model_amounts(place, name, model).map_err(|fault| faults.push(fault))
        else {
            continue;
        };
        let left = rest - amounts;
        // Keeps the sums within 64 bits, however many models there are.
        if left.tokens.input.min(left.tokens.output) < -MAX_COUNT {
            let problem = "with which the models' tokens go beyond 10^15";
            faults.push(Fault::value(place, "model_breakdown", name, problem));
            continue;
        }
        rest = left;
        usage::add_to(&mut cells, &Cell::from(name.as_str()), amounts);
    }
    usage::add_to(&mut cells, &unattributed, rest);
    cells
}

fn model_amounts(place: Place, name: &str, raw: &RawValue) -> Result<Amounts, Fault> {
    let model: ModelWire<'_> = fault::read_row(place, raw)?;
    let within = format_args!("model_breakdown.{name}");
    let cost = model
        .cost_usd
        .map(|raw| fault::usd(place, format_args!("{within}.cost_usd"), raw))
        .transpose()?;
    let count = |field: &str, raw: Option<&RawValue>| {
        raw.map_or(Ok(0), |raw| {
            fault::count(place, format_args!("{within}.{field}"), raw)
        })
    };
    Ok(Amounts {
        spend: cost.unwrap_or_default(),
        tokens: Tokens {
            input: count("input_tokens", model.input_tokens)?,
            output: count("output_tokens", model.output_tokens)?,
            ..Tokens::default()
        },
        ..Amounts::ZERO
    })
}

fn required<'a>(
    place: Place,
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<&'a RawValue, Fault> {
    raw.ok_or(Fault::Missing { place, field })
}

/// An amount, or nothing where there is none or it cannot be read.
pub(super) fn optional_usd(
    place: Place,
    field: &'static str,
    raw: Option<&RawValue>,
    faults: &mut Vec<Fault>,
) -> Option<Usd> {
    let usd = raw.map(|raw| fault::usd(place, field, raw)).transpose();
    fault::readable(usd, faults)
}

/// The same of a limit.
pub(super) fn optional_limit(
    place: Place,
    field: &'static str,
    raw: Option<&RawValue>,
    faults: &mut Vec<Fault>,
) -> Option<Usd> {
    let limit = raw.map(|raw| fault::usd_limit(place, field, raw));
    fault::readable(limit.transpose(), faults)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::json_text;
    use proptest::prelude::*;
    use std::fmt::Write as _;
    use std::path::Path;

    /// What is asked for in every file: February 2026, of one workspace.
    fn asked() -> (Part, Day, Day) {
        let day = |day| Day::from_date(civil::date(2026, 2, day));
        let part = Part::Workspace("workspace_01".into());
        (part, day(1), day(28))
    }

    fn amounts(amounts: &Amounts) -> String {
        let Amounts {
            spend,
            tokens,
            requests,
            ..
        } = amounts;
        format!(
            "{spend} USD, input {}, output {}, cache_read {}, requests {requests}",
            tokens.input, tokens.output, tokens.cache_read
        )
    }

    fn render_cells(text: &mut String, begin: &str, cells: &Cells) {
        writeln!(text, "{begin}: {}", amounts(&usage::sum(cells))).unwrap();
        for (cell, told) in cells {
            writeln!(text, "  {:?}: {}", cell.model.as_str(), amounts(told)).unwrap();
        }
    }

    fn render_usage(answer: &Answer) -> String {
        let mut text = String::new();
        for (hour, cells) in &answer.buckets {
            render_cells(&mut text, &hour.start().to_string(), cells);
        }
        text
    }

    fn render_months(months: &[MonthUsage]) -> String {
        let mut text = String::new();
        for usage in months {
            render_cells(&mut text, &usage.month.to_string(), &usage.cells);
        }
        text
    }

    fn render_unread(unread: &Unread) -> String {
        let line = |(hours, fault): &(HourSpan, Fault)| {
            let (start, end) = (hours.start.start(), hours.end.start());
            format!("unknown from {start} to {end}: {fault}\n")
        };
        unread.iter().map(line).collect()
    }

    /// The beginning of a file's name says which question it answers.
    fn translate(name: &str, body: &[u8]) -> Result<String, Fault> {
        let (part, first, last) = asked();
        let (question, _) = name.split_once('-').unwrap();
        let by = |granularity| {
            let told = usage(body, &part, granularity, first, last);
            told.map(|(answer, unread)| render_usage(&answer) + &render_unread(&unread))
        };
        match question {
            "hours" => by(Granularity::Hour),
            "days" => by(Granularity::Day),
            "months" => usage_by_month(body, first, last)
                .map(|(months, unread)| render_months(&months) + &render_unread(&unread)),
            "workspaces" => workspaces(body).map(|page| format!("{page:#?}")),
            "organization" => organization(body).map(|info| format!("{info:#?}")),
            "keys" => api_keys(body).map(|page| format!("{page:#?}")),
            "users" => users(body).map(|page| format!("{page:#?}")),
            other => panic!("no such question: {other}"),
        }
    }

    #[test]
    fn answers_as_servers_send_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/guide");
        let mut n_files = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            n_files += 1;
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut body = std::fs::read(&path).unwrap();
            json_text::repair(&mut body);
            let text = match translate(&name, &body) {
                Ok(text) => text,
                Err(fault) => format!("refused: {fault}"),
            };
            insta::with_settings!({
                snapshot_path => &folder,
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_snapshot!(name, text);
            });
        }
        assert!(n_files > 20, "{n_files}");
    }

    fn model() -> impl Strategy<Value = (String, u64, u64, u64)> {
        let counts = (
            0..=1_000_000_000_u64,
            0..=1_000_000_u64,
            0..=1_000_000_000_u64,
        );
        ("[a-z]{0,2}", counts)
            .prop_map(|(name, (micros, input, output))| (name, micros, input, output))
    }

    fn decimal(micros: u64) -> String {
        format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }

    proptest! {
        #[test]
        fn cells_sum_to_the_row(
            micros in 0..=10_000_000_000_u64, input in 0..=MAX_COUNT, output in 0..=MAX_COUNT, cache in 0..=MAX_COUNT,
            requests in 0..=MAX_COUNT, models in prop::collection::vec(model(), 0..6),
        ) {
            let mut names = HashSet::new();
            let models: Vec<String> = models
                .iter()
                .filter(|(name, ..)| names.insert(name.clone()))
                .map(|(name, micros, input, output)| format!(
                    r#""{name}":{{"input_tokens":{input},"output_tokens":{output},"cost_usd":{}}}"#,
                    decimal(*micros)
                ))
                .collect();
            let body = format!(
                r#"{{"data":[{{"date":"2026-02-03","input_tokens":{input},"output_tokens":{output},"cache_read_tokens":{cache},
                "total_cost_usd":{},"requests":{requests},"model_breakdown":{{{}}}}}]}}"#,
                decimal(micros),
                models.join(",")
            );
            let (part, first, last) = asked();
            let (answer, unread) = usage(body.as_bytes(), &part, Granularity::Day, first, last).unwrap();
            prop_assert_eq!(unread, vec![]);
            let whole = Amounts {
                spend: Usd::from_pico(i128::from(micros) * 1_000_000),
                tokens: Tokens { input, output, cache_read: cache, ..Tokens::default() },
                requests,
                ..Amounts::ZERO
            };
            let sums: Vec<Amounts> = answer.buckets.values().map(usage::sum).collect();
            prop_assert_eq!(sums, vec![whole]);
        }

        #[test]
        fn no_answer_makes_it_panic(at in 0_usize..2000, cut in 0_usize..2000, piece in "[-0-9.eE\"{}\\[\\],:a-z]{0,8}") {
            let good = include_str!("../../tests/wire/guide/hours-good.json");
            let mut body = good.as_bytes().to_vec();
            let at = at.min(body.len());
            let end = (at + cut % 7).min(body.len());
            body.splice(at..end, piece.bytes());
            let (part, first, last) = asked();
            let _ = usage(&body, &part, Granularity::Hour, first, last);
            let _ = usage(&body[..cut.min(body.len())], &part, Granularity::Day, first, last);
            for good in [
                include_str!("../../tests/wire/guide/keys-good.json"),
                include_str!("../../tests/wire/guide/users-good.json"),
            ] {
                let mut body = good.as_bytes().to_vec();
                let at = at.min(body.len());
                let end = (at + cut % 7).min(body.len());
                body.splice(at..end, piece.bytes());
                let _ = (api_keys(&body), users(&body));
            }
        }
    }
}
