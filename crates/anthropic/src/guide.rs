//! Decodes responses of the `guide` dialect. Pure.
//!
//! A row's total is authoritative; what its models do not add up to is assigned to the model `unattributed`. An invalid row
//! makes only its own figure unknown. Displayed text is parsed leniently, and unknown fields are ignored.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::{Timestamp, civil};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::{self, DecodeError, MAX_COUNT, ResponseLocation};
use crate::paging::{ListPage, PageEnd};
use spendwatch_domain::org::directory::{OrganizationInfo, Workspace};
use spendwatch_domain::org::listing::{KeyCreator, ListedKey, ListedUser};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, UNATTRIBUTED, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::{
    self, Amounts, Basis, Buckets, Granularity, Part, Tokens, UsageByKey, UsageKey, UsageResponse,
    bucket_starts,
};

/// Role of a user whose role is missing or invalid.
pub(super) const UNKNOWN_ROLE: &str = "unknown";

/// Usage of one part in one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthUsage {
    /// First day of the month (UTC), even if only part of the month was requested.
    pub month: civil::Date,
    pub cells: UsageByKey,
}

/// Decodes `GET /v1/organizations`; the second value lists its invalid fields.
pub fn organization(body: &[u8]) -> Result<(OrganizationInfo, Vec<DecodeError>), DecodeError> {
    let wire: OrganizationWire<'_> = decode::read(body)?;
    if wire.id.is_empty() {
        return Err(DecodeError::Missing {
            location: ResponseLocation::Body,
            field: "id",
        });
    }
    let (at, mut errors) = (ResponseLocation::Body, Vec::new());
    let billing: BillingWire<'_> = optional_object(at, wire.billing, &mut errors);
    let stated = billing.current_month_usage_usd;
    let info = OrganizationInfo {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        usage_limit: optional_limit(
            at,
            "billing.usage_limit_usd",
            billing.usage_limit_usd,
            &mut errors,
        ),
        current_month_usage: optional_usd(
            at,
            "billing.current_month_usage_usd",
            stated,
            &mut errors,
        ),
        id: wire.id,
    };
    Ok((info, errors))
}

/// Decodes one page of `GET /v1/workspaces`.
pub fn workspaces(body: &[u8]) -> Result<ListPage<Workspace>, DecodeError> {
    list_page(body, |location, wire: WorkspaceWire<'_>, errors| {
        let workspace = workspace(location, wire, errors)?;
        Ok((workspace.id.to_string(), workspace))
    })
}

/// Decodes one page of `GET /v1/api_keys`.
pub fn api_keys(body: &[u8]) -> Result<ListPage<ListedKey>, DecodeError> {
    list_page(body, |location, wire: KeyWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let maker: MakerWire = wire.created_by.unwrap_or_default();
        let n_faults = errors.len();
        let last_used_at =
            decode::optional_time(location, "last_used_at", wire.last_used_at, errors);
        // Otherwise a key with an invalid last use would count as unused since its creation.
        let is_use_known = errors.len() == n_faults;
        let created_at = decode::optional_time(location, "created_at", wire.created_at, errors);
        let key = ListedKey {
            id: ApiKeyId::new(id.as_str()),
            name: wire.name.unwrap_or_else(|| id.clone()),
            status: wire.status,
            workspace: wire.workspace_id.map(WorkspaceId::new),
            // In this dialect, only users create keys.
            created_by: maker.id.map(|id| KeyCreator::User(ActorId::new(id))),
            created_at: created_at.filter(|_| is_use_known),
            expires_at: decode::optional_time(location, "expires_at", wire.expires_at, errors),
            last_used_at,
            hint: wire.partial_key,
            creator_email: maker.email,
        };
        Ok((id, key))
    })
}

/// Decodes one page of `GET /v1/users`.
pub fn users(body: &[u8]) -> Result<ListPage<ListedUser>, DecodeError> {
    list_page(body, |location, wire: UserWire<'_>, errors| {
        let id = checked_id(location, wire.id)?;
        let email = wire.email.filter(|email| !email.is_empty());
        let name = wire.name.filter(|name| !name.is_empty());
        let n_faults = errors.len();
        let last_active_at =
            decode::optional_time(location, "last_active_at", wire.last_active_at, errors);
        // As with keys: otherwise they would count as idle since they were added.
        let is_activity_known = errors.len() == n_faults;
        let added_at = decode::optional_time(location, "created_at", wire.created_at, errors);
        let user = ListedUser {
            id: ActorId::new(id.as_str()),
            name: name.or_else(|| email.clone()).unwrap_or_else(|| id.clone()),
            email,
            role: wire.role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
            status: wire.status,
            added_at: added_at.filter(|_| is_activity_known),
            last_active_at,
        };
        Ok((id, user))
    })
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
    if list.has_more()? {
        return Err(DecodeError::Unfinished);
    }
    let none_requested = HourSpan {
        end: requested.start,
        ..requested
    };
    let (mut buckets, mut unread) = (Buckets::new(), UnreadableUsage::new());
    for (location, raw) in rows(&list) {
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
struct OrganizationWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
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
    #[serde(default, deserialize_with = "decode::lenient")]
    last_id: Option<String>,
}

impl ListWire<'_> {
    fn has_more(&self) -> Result<bool, DecodeError> {
        decode::has_more(self.has_more)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct WorkspaceWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
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
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    workspace_id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    created_by: Option<MakerWire>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
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
    #[serde(default, deserialize_with = "decode::lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UserWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
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

/// Models in order; a map would silently keep the last of two with the same name.
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
                f.write_str("an object of models")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut models = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, model)) = map.next_entry::<String, &'de RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom(format!("model `{name}` is listed twice")));
                    }
                    models.push((name, model));
                }
                Ok(BreakdownWire(models))
            }
        }
        deserializer.deserialize_map(Models)
    }
}

fn rows<'a>(list: &ListWire<'a>) -> impl Iterator<Item = (ResponseLocation, &'a RawValue)> {
    (1..)
        .map(ResponseLocation::Row)
        .zip(list.data.iter().copied())
}

/// Decodes a page of a list; `row` returns a row's id and the row, and records its invalid fields.
fn list_page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(ResponseLocation, W, &mut Vec<DecodeError>) -> Result<(String, T), DecodeError>,
) -> Result<ListPage<T>, DecodeError> {
    let wire: ListWire<'a> = decode::read(body)?;
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for (location, raw) in rows(&wire) {
        match decode::read_row(location, raw).and_then(|wire| row(location, wire, &mut unreadable))
        {
            Ok((id, one)) => listed.push((id, Some(one))),
            Err(error) => unreadable.push(error),
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

/// Decodes an optional object; an absent or invalid one gives the default.
pub(super) fn optional_object<'a, T: Deserialize<'a> + Default>(
    location: ResponseLocation,
    raw: Option<&'a RawValue>,
    errors: &mut Vec<DecodeError>,
) -> T {
    raw.map_or_else(T::default, |raw| {
        decode::or_default(decode::read_row(location, raw), errors)
    })
}

/// Rejects empty ids.
pub(super) fn checked_id(location: ResponseLocation, id: String) -> Result<String, DecodeError> {
    if id.is_empty() {
        return Err(DecodeError::value(location, "id", &id, "not an id"));
    }
    Ok(id)
}

pub(super) fn workspace(
    location: ResponseLocation,
    wire: WorkspaceWire<'_>,
    errors: &mut Vec<DecodeError>,
) -> Result<Workspace, DecodeError> {
    // A workspace with the id of the unattributed remainder could not be told apart from it.
    if wire.id.is_empty() || wire.id == UNATTRIBUTED {
        return Err(DecodeError::value(
            location,
            "id",
            &wire.id,
            "not a workspace's id",
        ));
    }
    let limits: LimitsWire<'_> = optional_object(location, wire.usage_limits, errors);
    let per_minute = limits
        .requests_per_minute
        .map(|raw| decode::count(location, "usage_limits.requests_per_minute", raw))
        .transpose();
    Ok(Workspace {
        name: wire.name.unwrap_or_else(|| wire.id.clone()),
        id: WorkspaceId::new(wire.id),
        monthly_limit: optional_limit(
            location,
            "usage_limits.monthly_spend_usd",
            limits.monthly_spend_usd,
            errors,
        ),
        requests_per_minute: decode::or_default(per_minute, errors).map(i64::unsigned_abs),
        created_at: wire.created_at.and_then(decode::instant),
        tags: BTreeMap::new(),
    })
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
    let mut errors = Vec::new();
    let spend = required(location, "total_cost_usd", wire.total_cost_usd)
        .and_then(|raw| decode::usd(location, "total_cost_usd", raw));
    let count = |field, raw, is_required| match (raw, is_required) {
        (None, false) => Ok(0),
        (raw, _) => {
            required(location, field, raw).and_then(|raw| decode::count(location, field, raw))
        }
    };
    let counts = [
        count("input_tokens", wire.input_tokens, true),
        count("output_tokens", wire.output_tokens, true),
        count("cache_read_tokens", wire.cache_read_tokens, false),
        count("requests", wire.requests, false),
    ];
    let spend = decode::or_default(spend, &mut errors);
    let [input, output, cache_read, requests] =
        counts.map(|count| decode::or_default(count, &mut errors));
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
    let models = wire.model_breakdown.map(|raw| breakdown(location, raw));
    let models = models.map_or_else(BreakdownWire::default, |models| {
        decode::or_default(models, &mut errors)
    });
    Ok(UsageRow {
        location,
        date: wire.date,
        cells: cells(location, whole, &models.0, &mut errors),
        errors,
    })
}

fn breakdown(location: ResponseLocation, raw: &RawValue) -> Result<BreakdownWire<'_>, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|error| DecodeError::Shape {
        location,
        reason: format!("`model_breakdown`: {error}"),
    })
}

/// Returns the figures of each model, and the rest of the total under `unattributed`, so that they sum to the total. Invalid
/// models are left out.
fn cells(
    location: ResponseLocation,
    whole: Amounts,
    models: &[(String, &RawValue)],
    errors: &mut Vec<DecodeError>,
) -> UsageByKey {
    let unattributed = UsageKey::from(UNATTRIBUTED);
    let mut cells = UsageByKey::new();
    let mut rest = whole;
    for (name, model) in models.iter().filter(|(name, _)| !name.is_empty()) {
        let Ok(amounts) = model_amounts(location, name, model).map_err(|error| errors.push(error))
        else {
            continue;
        };
        let left = rest - amounts;
        // Keeps sums within 64 bits for any number of models.
        if left.tokens.input.min(left.tokens.output) < -MAX_COUNT {
            let problem = "which raises the models' tokens above 10^15";
            errors.push(DecodeError::value(
                location,
                "model_breakdown",
                name,
                problem,
            ));
            continue;
        }
        rest = left;
        bucket::add_to(&mut cells, &UsageKey::from(name.as_str()), amounts);
    }
    bucket::add_to(&mut cells, &unattributed, rest);
    cells
}

fn model_amounts(
    location: ResponseLocation,
    name: &str,
    raw: &RawValue,
) -> Result<Amounts, DecodeError> {
    let model: ModelWire<'_> = decode::read_row(location, raw)?;
    let within = format_args!("model_breakdown.{name}");
    let cost = model
        .cost_usd
        .map(|raw| decode::usd(location, format_args!("{within}.cost_usd"), raw))
        .transpose()?;
    let count = |field: &str, raw: Option<&RawValue>| {
        raw.map_or(Ok(0), |raw| {
            decode::count(location, format_args!("{within}.{field}"), raw)
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
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<&'a RawValue, DecodeError> {
    raw.ok_or(DecodeError::Missing { location, field })
}

/// Parses an optional amount; an invalid one is recorded and counts as absent.
pub(super) fn optional_usd(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<Usd> {
    let usd = raw.map(|raw| decode::usd(location, field, raw)).transpose();
    decode::or_default(usd, errors)
}

/// Like [`optional_usd`], for a limit.
pub(super) fn optional_limit(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<Usd> {
    let limit = raw.map(|raw| decode::usd_limit(location, field, raw));
    decode::or_default(limit.transpose(), errors)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_text;
    use proptest::prelude::*;
    use std::fmt::Write as _;
    use std::path::Path;

    /// The request of every file: February 2026, of one workspace.
    fn requested() -> (Part, Day, Day) {
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

    fn render_cells(text: &mut String, label: &str, cells: &UsageByKey) {
        writeln!(text, "{label}: {}", amounts(&bucket::sum(cells))).unwrap();
        for (cell, figures) in cells {
            writeln!(text, "  {:?}: {}", cell.model.as_str(), amounts(figures)).unwrap();
        }
    }

    fn render_usage(response: &UsageResponse) -> String {
        let mut text = String::new();
        for (hour, cells) in &response.buckets {
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

    fn render_unread(unread: &UnreadableUsage) -> String {
        let line = |(hours, error): &(HourSpan, DecodeError)| {
            let (start, end) = (hours.start.start(), hours.end.start());
            format!("unknown from {start} to {end}: {error}\n")
        };
        unread.iter().map(line).collect()
    }

    /// The first part of a file's name is the kind of request.
    fn translate(name: &str, body: &[u8]) -> Result<String, DecodeError> {
        let (part, first, last) = requested();
        let (kind, _) = name.split_once('-').unwrap();
        let by = |granularity| {
            let decoded = usage(body, &part, granularity, first, last);
            decoded.map(|(response, unread)| render_usage(&response) + &render_unread(&unread))
        };
        match kind {
            "hours" => by(Granularity::Hour),
            "days" => by(Granularity::Day),
            "months" => usage_by_month(body, first, last)
                .map(|(months, unread)| render_months(&months) + &render_unread(&unread)),
            "workspaces" => workspaces(body).map(|page| format!("{page:#?}")),
            "organization" => organization(body).map(|info| format!("{info:#?}")),
            "keys" => api_keys(body).map(|page| format!("{page:#?}")),
            "users" => users(body).map(|page| format!("{page:#?}")),
            other => panic!("no such kind: {other}"),
        }
    }

    #[test]
    fn responses_are_decoded() {
        let folder =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/wire/guide");
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
                Err(error) => format!("refused: {error}"),
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
            let (part, first, last) = requested();
            let (response, unread) = usage(body.as_bytes(), &part, Granularity::Day, first, last).unwrap();
            prop_assert_eq!(unread, vec![]);
            let whole = Amounts {
                spend: Usd::from_pico(i128::from(micros) * 1_000_000),
                tokens: Tokens { input, output, cache_read: cache, ..Tokens::default() },
                requests,
                ..Amounts::ZERO
            };
            let sums: Vec<Amounts> = response.buckets.values().map(bucket::sum).collect();
            prop_assert_eq!(sums, vec![whole]);
        }

        #[test]
        fn decoding_never_panics(at in 0_usize..2000, cut in 0_usize..2000, piece in "[-0-9.eE\"{}\\[\\],:a-z]{0,8}") {
            let good = include_str!("../../../tests/wire/guide/hours-good.json");
            let mut body = good.as_bytes().to_vec();
            let at = at.min(body.len());
            let end = (at + cut % 7).min(body.len());
            body.splice(at..end, piece.bytes());
            let (part, first, last) = requested();
            let _ = usage(&body, &part, Granularity::Hour, first, last);
            let _ = usage(&body[..cut.min(body.len())], &part, Granularity::Day, first, last);
            for good in [
                include_str!("../../../tests/wire/guide/keys-good.json"),
                include_str!("../../../tests/wire/guide/users-good.json"),
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
