//! Read endpoints of the real Admin API: paths, access, and required headers.

pub mod headers;

pub mod buckets;

pub mod usage_records;

pub mod charges;

pub mod dimensions;

pub mod paging;

pub mod sums;

pub mod analytics;

pub mod legacy;

pub mod lists;

pub mod limits;

use jiff::Timestamp;

use crate::api::SimulatedApi;
use crate::api_error::ApiError;
use crate::platform::analytics::ReportKind;
use crate::platform::headers::RequestHeaders;
use crate::request::{Pagination, Query, RequestProperties, SimulatorRequest};
use crate::world::World;

/// Required by the analytics reports.
const ANALYTICS_BETA: &str = "analytics-usage-cost-2026-08-24";
/// Required by spend limits.
const SPEND_LIMITS_BETA: &str = "spend-limit-reads-2026-09-26";

/// Endpoint of the real API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformEndpoint {
    Me,
    Workspaces,
    Users,
    Keys,
    Invites,
    Members,
    Messages,
    CostReport,
    AnalyticsUsage,
    AnalyticsCost,
    RateLimits,
    WorkspaceRateLimits,
    SpendLimits,
}

/// Path below `/v1/organizations`, and the name that faults use.
const ENDPOINTS: [(&str, &str, PlatformEndpoint, Pagination); 13] = {
    use Pagination::{ByCursor, ById, None};
    use PlatformEndpoint as E;
    [
        ("me", "me", E::Me, None),
        ("workspaces", "workspaces", E::Workspaces, ById),
        ("users", "users", E::Users, ById),
        ("api_keys", "api_keys", E::Keys, ById),
        ("invites", "invites", E::Invites, ById),
        ("workspaces/{id}/members", "members", E::Members, ById),
        ("usage_report/messages", "messages", E::Messages, ByCursor),
        ("cost_report", "cost_report", E::CostReport, ByCursor),
        (
            "analytics/usage",
            "analytics_usage",
            E::AnalyticsUsage,
            ByCursor,
        ),
        (
            "analytics/cost",
            "analytics_cost",
            E::AnalyticsCost,
            ByCursor,
        ),
        ("rate_limits", "rate_limits", E::RateLimits, ByCursor),
        (
            "workspaces/{id}/rate_limits",
            "workspace_rate_limits",
            E::WorkspaceRateLimits,
            ByCursor,
        ),
        ("spend_limits", "spend_limits", E::SpendLimits, ByCursor),
    ]
};

impl PlatformEndpoint {
    /// Parses a path without query.
    pub fn parse(path: &str) -> Option<PlatformEndpoint> {
        let parts: Vec<&str> = path
            .strip_prefix("/v1/organizations/")?
            .split('/')
            .collect();
        let is_match = |pattern: &str| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            let mut pairs = pattern.iter().zip(&parts);
            pattern.len() == parts.len() && pairs.all(|(it, part)| *it == "{id}" || it == part)
        };
        let found = ENDPOINTS.into_iter().find(|(path, ..)| is_match(path));
        found.map(|(_, _, endpoint, _)| endpoint)
    }

    /// Returns the properties that faults match. Of lists by id only the first page is known.
    pub fn properties<'a>(
        self,
        request: &'a SimulatorRequest,
        query: &Query,
    ) -> RequestProperties<'a> {
        let is_first = query.iter().all(|(name, _)| name != "after_id");
        let mut endpoints = ENDPOINTS.into_iter();
        let row = endpoints.find(|(_, _, endpoint, _)| *endpoint == self);
        let (_, name, _, pagination) = row.expect("every endpoint has a row");
        RequestProperties {
            endpoint: name,
            method: request.method().as_str(),
            workspace: None,
            page: match pagination {
                Pagination::None => None,
                Pagination::ById => is_first.then_some(1),
                Pagination::ByCursor => Some(paging::page_number(query)),
            },
            pagination,
        }
    }
}

/// Returns the response body of a GET request.
pub fn respond(
    world: &mut World,
    endpoint: PlatformEndpoint,
    query: &Query,
    headers: &RequestHeaders,
    now: Timestamp,
) -> Result<String, ApiError> {
    let SimulatedApi::Platform(real) = world.api else {
        return Err(ApiError::not_found("no such path"));
    };
    if !["2023-06-01", "2026-10-21"].contains(&headers.version.as_str()) {
        return Err(ApiError::bad_request("unknown anthropic-version"));
    }
    match endpoint {
        PlatformEndpoint::Me => lists::me(query),
        PlatformEndpoint::Workspaces => lists::workspaces(world, query),
        PlatformEndpoint::Users => lists::users(world, query),
        PlatformEndpoint::Keys => lists::keys(world, query, headers),
        PlatformEndpoint::Invites => lists::invites(world, query, now),
        PlatformEndpoint::Members => {
            let id = headers.workspace.as_deref().unwrap_or_default();
            lists::members(world, query, id)
        }
        PlatformEndpoint::RateLimits => limits::rate_limits(world, query, headers),
        PlatformEndpoint::WorkspaceRateLimits => {
            let id = headers.workspace.as_deref().unwrap_or_default();
            limits::workspace_rate_limits(world, query, headers, id)
        }
        PlatformEndpoint::SpendLimits => {
            real.spend_limits.check()?;
            require_beta(headers, SPEND_LIMITS_BETA)?;
            limits::spend_limits(world, query)
        }
        PlatformEndpoint::Messages => {
            real.reports.check()?;
            legacy::messages(world, query, headers, now)
        }
        PlatformEndpoint::CostReport => {
            real.reports.check()?;
            legacy::cost_report(world, query, now)
        }
        PlatformEndpoint::AnalyticsUsage => {
            real.analytics.check()?;
            require_beta(headers, ANALYTICS_BETA)?;
            analytics::analytics(world, query, ReportKind::Usage, now)
        }
        PlatformEndpoint::AnalyticsCost => {
            real.analytics.check()?;
            require_beta(headers, ANALYTICS_BETA)?;
            analytics::analytics(world, query, ReportKind::Cost, now)
        }
    }
}

/// Returns 404 unless the request names a beta.
fn require_beta(headers: &RequestHeaders, beta: &str) -> Result<(), ApiError> {
    if headers.has_beta(beta) {
        return Ok(());
    }
    Err(ApiError::not_found("no such path without its beta"))
}
