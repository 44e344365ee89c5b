//! Read endpoints of the real Admin API: paths, access, and required headers.

pub mod parameters;

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

/// Endpoint of the real API, below `/v1/organizations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformEndpoint {
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

impl PlatformEndpoint {
    /// Parses a path without query.
    pub fn parse(path: &str) -> Option<PlatformEndpoint> {
        let below = path.strip_prefix("/v1/organizations/")?;
        let parts: Vec<&str> = below.split('/').collect();
        match parts.as_slice() {
            ["me"] => Some(PlatformEndpoint::Me),
            ["workspaces"] => Some(PlatformEndpoint::Workspaces),
            ["users"] => Some(PlatformEndpoint::Users),
            ["api_keys"] => Some(PlatformEndpoint::Keys),
            ["invites"] => Some(PlatformEndpoint::Invites),
            ["workspaces", _, "members"] => Some(PlatformEndpoint::Members),
            ["usage_report", "messages"] => Some(PlatformEndpoint::Messages),
            ["cost_report"] => Some(PlatformEndpoint::CostReport),
            ["analytics", "usage"] => Some(PlatformEndpoint::AnalyticsUsage),
            ["analytics", "cost"] => Some(PlatformEndpoint::AnalyticsCost),
            ["rate_limits"] => Some(PlatformEndpoint::RateLimits),
            ["workspaces", _, "rate_limits"] => Some(PlatformEndpoint::WorkspaceRateLimits),
            ["spend_limits"] => Some(PlatformEndpoint::SpendLimits),
            _ => None,
        }
    }

    fn pagination(self) -> Pagination {
        match self {
            PlatformEndpoint::Me => Pagination::None,
            PlatformEndpoint::Workspaces
            | PlatformEndpoint::Users
            | PlatformEndpoint::Keys
            | PlatformEndpoint::Invites
            | PlatformEndpoint::Members => Pagination::ById,
            PlatformEndpoint::Messages
            | PlatformEndpoint::CostReport
            | PlatformEndpoint::AnalyticsUsage
            | PlatformEndpoint::AnalyticsCost
            | PlatformEndpoint::RateLimits
            | PlatformEndpoint::WorkspaceRateLimits
            | PlatformEndpoint::SpendLimits => Pagination::ByCursor,
        }
    }

    /// Returns the endpoint name that faults use.
    fn name(self) -> &'static str {
        match self {
            PlatformEndpoint::Me => "me",
            PlatformEndpoint::Workspaces => "workspaces",
            PlatformEndpoint::Users => "users",
            PlatformEndpoint::Keys => "api_keys",
            PlatformEndpoint::Invites => "invites",
            PlatformEndpoint::Members => "members",
            PlatformEndpoint::Messages => "messages",
            PlatformEndpoint::CostReport => "cost_report",
            PlatformEndpoint::AnalyticsUsage => "analytics_usage",
            PlatformEndpoint::AnalyticsCost => "analytics_cost",
            PlatformEndpoint::RateLimits => "rate_limits",
            PlatformEndpoint::WorkspaceRateLimits => "workspace_rate_limits",
            PlatformEndpoint::SpendLimits => "spend_limits",
        }
    }

    /// Returns the properties that faults match. Of lists by id only the first page is known.
    pub fn properties<'a>(
        self,
        request: &'a SimulatorRequest,
        query: &Query,
    ) -> RequestProperties<'a> {
        let is_first = query.iter().all(|(name, _)| name != "after_id");
        RequestProperties {
            endpoint: self.name(),
            method: request.method().as_str(),
            workspace: None,
            page: match self.pagination() {
                Pagination::None => None,
                Pagination::ById => is_first.then_some(1),
                Pagination::ByCursor => Some(paging::page_number(query)),
            },
            pagination: self.pagination(),
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
        PlatformEndpoint::RateLimits => lists::rate_limits(world, query, headers),
        PlatformEndpoint::WorkspaceRateLimits => {
            let id = headers.workspace.as_deref().unwrap_or_default();
            lists::workspace_rate_limits(world, query, headers, id)
        }
        PlatformEndpoint::SpendLimits => {
            real.spend_limits.check()?;
            require_beta(headers, SPEND_LIMITS_BETA)?;
            lists::spend_limits(world, query)
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
