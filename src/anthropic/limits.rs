//! The real service's own limits, of use and of spend, and what they mean. Pure.
//!
//! What is not listed is inherited or cannot be read, and never "no limit".
//!
//! Source: Anthropic, Rate Limits API and Spend Limits API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::lists::CursorPage;
use crate::domain::ids::WorkspaceId;
use crate::domain::listing::{RateLimit, SpendLimits};
use crate::domain::money::Usd;

/// `GET /v1/organizations/rate_limits`, one page.
pub fn rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, Fault> {
    page(body, |place, wire: GroupWire<'_>| {
        rates(place, wire, |_| true)
    })
}

/// `GET /v1/organizations/workspaces/{workspace_id}/rate_limits`, one page: what the workspace has for itself.
pub fn workspace_rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, Fault> {
    page(body, |place, wire: GroupWire<'_>| {
        rates(place, wire, |limit| {
            let source = limit
                .source
                .as_ref()
                .and_then(|source| source.kind.as_deref());
            source != Some("organization")
        })
    })
}

/// One monthly limit of spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendLimit {
    /// `None` for the whole organization.
    pub workspace: Option<WorkspaceId>,
    /// In a month of UTC.
    pub limit: Usd,
}

/// `GET /v1/organizations/spend_limits`, one page. Limits of people and seats, those of a day or week and those that are
/// switched off are passed over.
pub fn spend_limits(body: &[u8]) -> Result<CursorPage<SpendLimit>, Fault> {
    page(body, |place, wire: SpendWire<'_>| {
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
        let currency = wire.currency.as_deref().unwrap_or("USD");
        if currency != "USD" {
            return Err(Fault::value(place, "currency", currency, "not USD"));
        }
        let limit = fault::cents(place, "amount", amount)?;
        Ok(vec![SpendLimit { workspace, limit }])
    })
}

/// The lowest limit of each.
pub fn lowest(limits: Vec<SpendLimit>) -> SpendLimits {
    let mut lowest = SpendLimits::default();
    for SpendLimit { workspace, limit } in limits {
        match workspace {
            None => lowest.organization = Some(lowest.organization.unwrap_or(limit).min(limit)),
            Some(id) => {
                let held = lowest.workspaces.entry(id).or_insert(limit);
                *held = limit.min(*held);
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
    next_page: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GroupWire<'a> {
    group: Option<NamedWire>,
    group_type: Option<String>,
    models: Option<Vec<String>>,
    #[serde(borrow)]
    limits: Vec<LimitWire<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NamedWire {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LimitWire<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
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
    currency: Option<String>,
    period: Option<String>,
    is_enabled: Option<bool>,
    scope: ScopeWire,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(rename = "type")]
    kind: String,
    workspace_id: Option<String>,
}

fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(Place, W) -> Result<Vec<T>, Fault>,
) -> Result<CursorPage<T>, Fault> {
    let wire: PageWire<'a> = fault::read(body)?;
    let is_empty = wire.data.is_empty();
    let mut rows = Vec::new();
    for (place, raw) in (1..).map(Place::Row).zip(wire.data) {
        rows.extend(row(place, fault::read_row(place, raw)?)?);
    }
    Ok(CursorPage {
        rows,
        is_empty,
        next: wire.next_page.filter(|page| !page.is_empty()),
    })
}

fn rates(
    place: Place,
    wire: GroupWire<'_>,
    counts: impl Fn(&LimitWire<'_>) -> bool,
) -> Result<Vec<RateLimit>, Fault> {
    let group = group_name(place, wire.group, wire.group_type, wire.models)?;
    let mut rates = Vec::new();
    for limit in wire.limits.iter().filter(|limit| counts(limit)) {
        let Some(value) = limit.value else {
            continue;
        };
        rates.push(RateLimit {
            group: group.clone(),
            limiter: limit.kind.clone(),
            value: fault::count(place, "limits.value", value)?.unsigned_abs(),
        });
    }
    Ok(rates)
}

/// A group of models by its name; another group by its kind. The older field knows no name, but which models they are.
fn group_name(
    place: Place,
    group: Option<NamedWire>,
    group_type: Option<String>,
    models: Option<Vec<String>>,
) -> Result<String, Fault> {
    const MODELS: &str = "model_group";
    let first_model = models.unwrap_or_default().into_iter().next();
    let (kind, name) = match (group, group_type) {
        (Some(group), _) => (group.kind, group.display_name.or(group.id).or(first_model)),
        (None, Some(kind)) => (kind, first_model),
        (None, None) => {
            return Err(Fault::Missing {
                place,
                field: "group",
            });
        }
    };
    Ok(match name {
        Some(name) if kind == MODELS => name,
        Some(_) | None => kind,
    })
}
