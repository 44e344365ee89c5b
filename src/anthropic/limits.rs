//! The real service's own limits, of use and of spend, and what they mean. Pure.
//!
//! What is not listed is inherited or cannot be read, and never "no limit".
//!
//! Source: Anthropic, Rate Limits API and Spend Limits API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::lists::CursorPage;
use crate::anthropic::report::next_page;
use crate::domain::ids::WorkspaceId;
use crate::domain::listing::{RateLimit, SpendLimits};
use crate::domain::money::Usd;

/// `GET /v1/organizations/rate_limits`, one page.
pub fn rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, Fault> {
    page(body, |place, wire: GroupWire<'_>, faults| {
        rates(place, wire, faults, |_| true)
    })
}

/// `GET /v1/organizations/workspaces/{workspace_id}/rate_limits`, one page: what the workspace has for itself.
pub fn workspace_rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, Fault> {
    page(body, |place, wire: GroupWire<'_>, faults| {
        rates(place, wire, faults, |limit| {
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
    /// In a month of UTC; `None` where it is not known, as in another currency than USD.
    pub limit: Option<Usd>,
}

/// `GET /v1/organizations/spend_limits`, one page. Limits of people and seats, those of a day or week and those that are
/// switched off are passed over.
pub fn spend_limits(body: &[u8]) -> Result<CursorPage<SpendLimit>, Fault> {
    page(body, |place, wire: SpendWire<'_>, faults| {
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
        let limit = fault::in_usd(place, "currency", wire.currency)
            .and_then(|()| fault::cents_limit(place, "amount", amount));
        let limit = limit.map_err(|fault| faults.push(unknown_limit(workspace.as_ref(), &fault)));
        Ok(vec![SpendLimit {
            workspace,
            limit: limit.ok(),
        }])
    })
}

/// Says whose limit it is that cannot be read.
fn unknown_limit(workspace: Option<&WorkspaceId>, fault: &Fault) -> Fault {
    let whose = workspace.map_or_else(
        || "the organization".to_owned(),
        |id| format!("workspace `{id}`"),
    );
    Fault::Shape {
        place: Place::Answer,
        reason: format!("the spend limit of {whose} is unknown: {fault}"),
    }
}

/// The lowest limit of each that is known.
pub fn lowest(limits: Vec<SpendLimit>) -> SpendLimits {
    let mut lowest = SpendLimits::default();
    for SpendLimit { workspace, limit } in limits {
        match (workspace, limit) {
            (None, Some(limit)) => {
                lowest.organization = Some(lowest.organization.unwrap_or(limit).min(limit));
            }
            (Some(id), Some(limit)) => {
                let held = lowest.workspaces.entry(id).or_insert(limit);
                *held = limit.min(*held);
            }
            (whose, None) => {
                lowest.unknown.insert(whose);
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
    #[serde(default, deserialize_with = "fault::lenient")]
    group: Option<NamedWire>,
    #[serde(default, deserialize_with = "fault::lenient")]
    group_type: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    models: Option<Vec<String>>,
    #[serde(borrow)]
    limits: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NamedWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LimitWire<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
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
    #[serde(default, deserialize_with = "fault::lenient")]
    period: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    is_enabled: Option<bool>,
    scope: ScopeWire,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "fault::lenient")]
    workspace_id: Option<String>,
}

fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(Place, W, &mut Vec<Fault>) -> Result<Vec<T>, Fault>,
) -> Result<CursorPage<T>, Fault> {
    let wire: PageWire<'a> = fault::read(body)?;
    let is_empty = wire.data.is_empty();
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for (place, raw) in (1..).map(Place::Row).zip(wire.data) {
        match fault::read_row(place, raw).and_then(|wire| row(place, wire, &mut unreadable)) {
            Ok(told) => rows.extend(told),
            Err(fault) => unreadable.push(fault),
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
    place: Place,
    wire: GroupWire<'_>,
    faults: &mut Vec<Fault>,
    counts: impl Fn(&LimitWire<'_>) -> bool,
) -> Result<Vec<RateLimit>, Fault> {
    let group = group_name(place, wire.group, wire.group_type, wire.models)?;
    let mut rates = Vec::new();
    for raw in wire.limits {
        let read = || {
            let limit: LimitWire<'_> = fault::read_row(place, raw)?;
            let Some(value) = limit.value.filter(|_| counts(&limit)) else {
                return Ok(None);
            };
            Ok(Some(RateLimit {
                group: group.clone(),
                value: fault::count(place, "limits.value", value)?.unsigned_abs(),
                limiter: limit.kind,
            }))
        };
        rates.extend(fault::readable(read(), faults));
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
