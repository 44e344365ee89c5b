//! Decodes the rate limits and spend limits of Anthropic's Admin API. Pure.
//!
//! A limit that is not listed is inherited or unknown, never "no limit".
//!
//! Source: Anthropic, Rate Limits API and Spend Limits API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::CursorPage;
use crate::wire::report::next_page;
use spendwatch_domain::org::listing::{RateLimit, SpendLimits};
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::money::Usd;

/// Decodes one page of `GET /v1/organizations/rate_limits`.
pub fn rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, DecodeError> {
    page(body, |location, wire: GroupWire<'_>, errors| {
        rates(location, wire, errors, |_| true)
    })
}

/// Decodes one page of `GET /v1/organizations/workspaces/{workspace_id}/rate_limits`; skips limits of the organization.
pub fn workspace_rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, DecodeError> {
    page(body, |location, wire: GroupWire<'_>, errors| {
        rates(location, wire, errors, |limit| {
            let source = limit
                .source
                .as_ref()
                .and_then(|source| source.kind.as_deref());
            source != Some("organization")
        })
    })
}

/// One monthly spend limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendLimit {
    /// `None` for the whole organization.
    pub workspace: Option<WorkspaceId>,
    /// Per month (UTC); `None` if unknown, for example in another currency than USD.
    pub limit: Option<Usd>,
}

/// Decodes one page of `GET /v1/organizations/spend_limits`; skips limits of users and seats, daily and weekly ones, and disabled ones.
pub fn spend_limits(body: &[u8]) -> Result<CursorPage<SpendLimit>, DecodeError> {
    page(body, |location, wire: SpendWire<'_>, errors| {
        let is_monthly = wire
            .period
            .as_deref()
            .is_none_or(|period| period == "monthly");
        let Some(amount) = wire
            .amount
            .filter(|_| is_monthly && wire.is_enabled != Some(false))
        else {
            return Ok(Vec::new());
        };
        let workspace = match (wire.scope.kind.as_str(), wire.scope.workspace_id) {
            ("organization" | "usage_tier", _) => None,
            ("workspace", Some(id)) => Some(WorkspaceId::new(id)),
            (_, _) => return Ok(Vec::new()),
        };
        let limit = decode::check_usd(location, "currency", wire.currency)
            .and_then(|()| decode::cents_limit(location, "amount", amount));
        let limit = limit.map_err(|error| errors.push(unknown_limit(workspace.as_ref(), &error)));
        Ok(vec![SpendLimit {
            workspace,
            limit: limit.ok(),
        }])
    })
}

/// Adds to an error whose limit is unknown.
fn unknown_limit(workspace: Option<&WorkspaceId>, error: &DecodeError) -> DecodeError {
    let owner = workspace.map_or_else(
        || "the organization".to_owned(),
        |id| format!("workspace `{id}`"),
    );
    DecodeError::Shape {
        location: ResponseLocation::Body,
        reason: format!("the spend limit of {owner} is unknown: {error}"),
    }
}

/// Returns the lowest known limit of the organization and of each workspace.
pub fn lowest(limits: Vec<SpendLimit>) -> SpendLimits {
    let mut lowest = SpendLimits::default();
    for SpendLimit { workspace, limit } in limits {
        match (workspace, limit) {
            (None, Some(limit)) => {
                lowest.organization = Some(lowest.organization.unwrap_or(limit).min(limit));
            }
            (Some(id), Some(limit)) => {
                let known = lowest.workspaces.entry(id).or_insert(limit);
                *known = limit.min(*known);
            }
            (owner, None) => {
                lowest.unknown.insert(owner);
            }
        }
    }
    lowest
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    next_page: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GroupWire<'a> {
    #[serde(default, deserialize_with = "decode::lenient")]
    group: Option<NamedWire>,
    #[serde(default, deserialize_with = "decode::lenient")]
    group_type: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    models: Option<Vec<String>>,
    #[serde(borrow)]
    limits: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NamedWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LimitWire<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    source: Option<SourceWire>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SourceWire {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SpendWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    period: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    is_enabled: Option<bool>,
    scope: ScopeWire,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "decode::lenient")]
    workspace_id: Option<String>,
}

fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(ResponseLocation, W, &mut Vec<DecodeError>) -> Result<Vec<T>, DecodeError>,
) -> Result<CursorPage<T>, DecodeError> {
    let wire: PageWire<'a> = decode::read(body)?;
    let is_empty = wire.data.is_empty();
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(wire.data) {
        match decode::read_row(location, raw).and_then(|wire| row(location, wire, &mut unreadable))
        {
            Ok(new) => rows.extend(new),
            Err(error) => unreadable.push(error),
        }
    }
    Ok(CursorPage {
        rows,
        unreadable,
        is_empty,
        next: next_page(None, wire.next_page)?,
    })
}

fn rates(
    location: ResponseLocation,
    wire: GroupWire<'_>,
    errors: &mut Vec<DecodeError>,
    is_included: impl Fn(&LimitWire<'_>) -> bool,
) -> Result<Vec<RateLimit>, DecodeError> {
    let group = group_name(location, wire.group, wire.group_type, wire.models)?;
    let mut rates = Vec::new();
    for raw in wire.limits {
        let read = || {
            let limit: LimitWire<'_> = decode::read_row(location, raw)?;
            let Some(value) = limit.value.filter(|_| is_included(&limit)) else {
                return Ok(None);
            };
            Ok(Some(RateLimit {
                group: group.clone(),
                value: decode::count(location, "limits.value", value)?.unsigned_abs(),
                limiter: limit.kind,
            }))
        };
        rates.extend(decode::or_default(read(), errors));
    }
    Ok(rates)
}

/// Returns the name of a group of models, or the kind of another group. Without a name, the first model names the group.
fn group_name(
    location: ResponseLocation,
    group: Option<NamedWire>,
    group_type: Option<String>,
    models: Option<Vec<String>>,
) -> Result<String, DecodeError> {
    const MODELS: &str = "model_group";
    let first_model = models.unwrap_or_default().into_iter().next();
    let (kind, name) = match (group, group_type) {
        (Some(group), _) => (group.kind, group.display_name.or(group.id).or(first_model)),
        (None, Some(kind)) => (kind, first_model),
        (None, None) => {
            return Err(DecodeError::Missing {
                location,
                field: "group",
            });
        }
    };
    Ok(match name {
        Some(name) if kind == MODELS => name,
        Some(_) | None => kind,
    })
}
