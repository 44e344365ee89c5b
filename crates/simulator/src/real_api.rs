//! Read endpoints of the real Admin API: paths, access, and required headers.

use jiff::Timestamp;

use crate::analytics::ReportKind;
use crate::api::{RequestHeaders, SimulatedApi};
use crate::api_error::ApiError;
use crate::query::Query;
use crate::world::World;
use crate::{analytics, legacy, lists};

/// Required by the analytics reports.
const ANALYTICS_BETA: &str = "analytics-usage-cost-2026-08-24";
/// Required by spend limits.
const SPEND_LIMITS_BETA: &str = "spend-limit-reads-2026-09-26";

/// Kind of pagination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pagination {
    None,
    /// `after_id`, `has_more`.
    ById,
    /// `page`, `next_page`.
    ByCursor,
}

/// Endpoint of the real API, below `/v1/organizations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealEndpoint {
    /// `/me`
    Me,
    /// `/workspaces`
    Workspaces,
    /// `/users`
    Users,
    /// `/api_keys`
    Keys,
    /// `/invites`
    Invites,
    /// `/workspaces/{id}/members`
    Members,
    /// `/usage_report/messages`
    Messages,
    /// `/cost_report`
    CostReport,
    /// `/analytics/usage`
    AnalyticsUsage,
    /// `/analytics/cost`
    AnalyticsCost,
    /// `/rate_limits`
    RateLimits,
    /// `/workspaces/{id}/rate_limits`
    WorkspaceRateLimits,
    /// `/spend_limits`
    SpendLimits,
}

impl RealEndpoint {
    /// Parses a path without query.
    pub fn parse(path: &str) -> Option<RealEndpoint> {
        let below = path.strip_prefix("/v1/organizations/")?;
        let parts: Vec<&str> = below.split('/').collect();
        match parts.as_slice() {
            ["me"] => Some(RealEndpoint::Me),
            ["workspaces"] => Some(RealEndpoint::Workspaces),
            ["users"] => Some(RealEndpoint::Users),
            ["api_keys"] => Some(RealEndpoint::Keys),
            ["invites"] => Some(RealEndpoint::Invites),
            ["workspaces", _, "members"] => Some(RealEndpoint::Members),
            ["usage_report", "messages"] => Some(RealEndpoint::Messages),
            ["cost_report"] => Some(RealEndpoint::CostReport),
            ["analytics", "usage"] => Some(RealEndpoint::AnalyticsUsage),
            ["analytics", "cost"] => Some(RealEndpoint::AnalyticsCost),
            ["rate_limits"] => Some(RealEndpoint::RateLimits),
            ["workspaces", _, "rate_limits"] => Some(RealEndpoint::WorkspaceRateLimits),
            ["spend_limits"] => Some(RealEndpoint::SpendLimits),
            _ => None,
        }
    }

    /// Returns the kind of pagination.
    pub fn pagination(self) -> Pagination {
        match self {
            RealEndpoint::Me => Pagination::None,
            RealEndpoint::Workspaces
            | RealEndpoint::Users
            | RealEndpoint::Keys
            | RealEndpoint::Invites
            | RealEndpoint::Members => Pagination::ById,
            RealEndpoint::Messages
            | RealEndpoint::CostReport
            | RealEndpoint::AnalyticsUsage
            | RealEndpoint::AnalyticsCost
            | RealEndpoint::RateLimits
            | RealEndpoint::WorkspaceRateLimits
            | RealEndpoint::SpendLimits => Pagination::ByCursor,
        }
    }

    /// Returns the endpoint name that faults use.
    pub fn name(self) -> &'static str {
        match self {
            RealEndpoint::Me => "me",
            RealEndpoint::Workspaces => "workspaces",
            RealEndpoint::Users => "users",
            RealEndpoint::Keys => "api_keys",
            RealEndpoint::Invites => "invites",
            RealEndpoint::Members => "members",
            RealEndpoint::Messages => "messages",
            RealEndpoint::CostReport => "cost_report",
            RealEndpoint::AnalyticsUsage => "analytics_usage",
            RealEndpoint::AnalyticsCost => "analytics_cost",
            RealEndpoint::RateLimits => "rate_limits",
            RealEndpoint::WorkspaceRateLimits => "workspace_rate_limits",
            RealEndpoint::SpendLimits => "spend_limits",
        }
    }
}

/// Returns the response body of a GET request.
pub fn respond(
    world: &mut World,
    endpoint: RealEndpoint,
    query: &Query,
    headers: &RequestHeaders,
    now: Timestamp,
) -> Result<String, ApiError> {
    let SimulatedApi::Real(real) = world.api else {
        return Err(ApiError::not_found("no such path"));
    };
    if !["2023-06-01", "2026-10-21"].contains(&headers.version.as_str()) {
        return Err(ApiError::bad_request("unknown anthropic-version"));
    }
    match endpoint {
        RealEndpoint::Me => lists::me(query),
        RealEndpoint::Workspaces => lists::workspaces(world, query),
        RealEndpoint::Users => lists::users(world, query),
        RealEndpoint::Keys => lists::keys(world, query, headers),
        RealEndpoint::Invites => lists::invites(world, query, now),
        RealEndpoint::Members => {
            let id = headers.workspace.as_deref().unwrap_or_default();
            lists::members(world, query, id)
        }
        RealEndpoint::RateLimits => lists::rate_limits(world, query, headers),
        RealEndpoint::WorkspaceRateLimits => {
            let id = headers.workspace.as_deref().unwrap_or_default();
            lists::workspace_rate_limits(world, query, headers, id)
        }
        RealEndpoint::SpendLimits => {
            real.spend_limits.check()?;
            require_beta(headers, SPEND_LIMITS_BETA)?;
            lists::spend_limits(world, query)
        }
        RealEndpoint::Messages => {
            real.reports.check()?;
            legacy::messages(world, query, headers, now)
        }
        RealEndpoint::CostReport => {
            real.reports.check()?;
            legacy::cost_report(world, query, now)
        }
        RealEndpoint::AnalyticsUsage => {
            real.analytics.check()?;
            require_beta(headers, ANALYTICS_BETA)?;
            analytics::analytics(world, query, ReportKind::Usage, now)
        }
        RealEndpoint::AnalyticsCost => {
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
