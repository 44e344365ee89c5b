//! Decodes the rate limits and spend limits of Anthropic's Admin API. Pure.
//!
//! A limit that is not listed is inherited or unknown, never "no limit".
//!
//! Source: Anthropic, Rate Limits API and Spend Limits API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::CursorPage;
use crate::wire::field::{Cents, Count, Currency, Cursor, Field, Lenient, NonNegative, Row, Text};
use crate::wire::rows::rows;
use spendwatch_domain::org::listing::{RateLimit, SpendLimits};
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::money::Usd;

/// Decodes one page of `GET /v1/organizations/rate_limits`.
pub fn rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, DecodeError> {
    page(body, |row, wire: GroupWire<'_>| rates(row, wire, |_| true))
}

/// Decodes one page of `GET /v1/organizations/workspaces/{workspace_id}/rate_limits`; skips limits of the organization.
pub fn workspace_rate_limits(body: &[u8]) -> Result<CursorPage<RateLimit>, DecodeError> {
    page(body, |row, wire: GroupWire<'_>| {
        rates(row, wire, |limit| {
            let source = limit.source.0.as_ref();
            source.and_then(|source| source.kind.as_deref()) != Some("organization")
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
    page(body, |row, wire: SpendWire| {
        let period = wire.period.0.as_deref();
        let is_monthly = period.is_none_or(|period| period == "monthly");
        let is_enabled = wire.is_enabled.0 != Some(false);
        if wire.amount.is_absent() || !is_monthly || !is_enabled {
            return Ok(Vec::new());
        }
        let workspace = match (wire.scope.kind.as_str(), wire.scope.workspace_id.0) {
            ("organization" | "usage_tier", _) => None,
            ("workspace", Some(id)) => Some(WorkspaceId::new(id)),
            (_, _) => return Ok(Vec::new()),
        };
        let limit = wire
            .currency
            .check_usd(row.location, "currency")
            .and_then(|()| wire.amount.required(row.location, "amount"))
            .map_err(|error| unknown_limit(workspace.as_ref(), &error));
        Ok(vec![SpendLimit {
            workspace,
            limit: row.keep(limit).map(|NonNegative(Cents(usd))| usd),
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
    next_page: Field<Cursor>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GroupWire<'a> {
    group: Lenient<NamedWire>,
    group_type: Lenient<String>,
    models: Lenient<Vec<String>>,
    #[serde(borrow)]
    limits: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NamedWire {
    #[serde(rename = "type")]
    kind: String,
    id: Text,
    display_name: Text,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct LimitWire {
    #[serde(rename = "type")]
    kind: String,
    value: Field<Count>,
    source: Lenient<SourceWire>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SourceWire {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SpendWire {
    amount: Field<NonNegative<Cents>>,
    currency: Field<Currency>,
    period: Lenient<String>,
    is_enabled: Lenient<bool>,
    scope: ScopeWire,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ScopeWire {
    #[serde(rename = "type")]
    kind: String,
    workspace_id: Lenient<String>,
}

fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(&mut Row, W) -> Result<Vec<T>, DecodeError>,
) -> Result<CursorPage<T>, DecodeError> {
    let wire: PageWire<'a> = decode::read(body)?;
    let is_empty = wire.data.is_empty();
    let (rows, unreadable) = rows(wire.data, row);
    Ok(CursorPage {
        rows: rows.into_iter().flatten().collect(),
        unreadable,
        is_empty,
        next: wire.next_page.next_page(None)?,
    })
}

fn rates(
    row: &mut Row,
    wire: GroupWire<'_>,
    is_included: impl Fn(&LimitWire) -> bool,
) -> Result<Vec<RateLimit>, DecodeError> {
    let location = row.location;
    let (kind, name) = match (wire.group.0, wire.group_type.0) {
        (Some(group), _) => (group.kind, group.display_name.0.or(group.id.0)),
        (None, Some(kind)) => (kind, None),
        (None, None) => {
            let field = "group";
            return Err(DecodeError::Missing { location, field });
        }
    };
    // Without a name, the first model names a group of models.
    let name = name.or_else(|| wire.models.0?.into_iter().next());
    let group = name.filter(|_| kind == "model_group").unwrap_or(kind);
    let rate = |raw| {
        let limit: LimitWire = decode::read_row(location, raw)?;
        let value = if is_included(&limit) {
            limit.value.get(location, "limits.value")?
        } else {
            None
        };
        Ok(value.map(|Count(value)| RateLimit {
            group: group.clone(),
            value: value.unsigned_abs(),
            limiter: limit.kind,
        }))
    };
    let limits = wire.limits.into_iter().map(rate);
    Ok(limits.filter_map(|rate| row.keep(rate).flatten()).collect())
}
