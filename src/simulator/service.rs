//! The real service: which paths it has, who may ask them, and what every request of it needs.

use jiff::Timestamp;

use crate::simulator::analytics::Report;
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::{Head, Speaks};
use crate::simulator::world::World;
use crate::simulator::{analytics, catalog, legacy};

/// The beta of the newer reports.
const ANALYTICS_BETA: &str = "analytics-usage-cost-2026-08-24";
/// The beta of limits of spend.
const SPEND_LIMITS_BETA: &str = "spend-limit-reads-2026-09-26";

/// How an answer comes in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    None,
    /// `after_id`, `has_more`.
    ById,
    /// `page`, `next_page`.
    ByCursor,
}

/// A path of the real service, below `/v1/organizations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
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

impl Service {
    /// Of a path without its query.
    pub fn of(path: &str) -> Option<Service> {
        let below = path.strip_prefix("/v1/organizations/")?;
        let parts: Vec<&str> = below.split('/').collect();
        match parts.as_slice() {
            ["me"] => Some(Service::Me),
            ["workspaces"] => Some(Service::Workspaces),
            ["users"] => Some(Service::Users),
            ["api_keys"] => Some(Service::Keys),
            ["invites"] => Some(Service::Invites),
            ["workspaces", _, "members"] => Some(Service::Members),
            ["usage_report", "messages"] => Some(Service::Messages),
            ["cost_report"] => Some(Service::CostReport),
            ["analytics", "usage"] => Some(Service::AnalyticsUsage),
            ["analytics", "cost"] => Some(Service::AnalyticsCost),
            ["rate_limits"] => Some(Service::RateLimits),
            ["workspaces", _, "rate_limits"] => Some(Service::WorkspaceRateLimits),
            ["spend_limits"] => Some(Service::SpendLimits),
            _ => None,
        }
    }

    /// How its answer comes in pages.
    pub fn pages(self) -> Pages {
        match self {
            Service::Me => Pages::None,
            Service::Workspaces
            | Service::Users
            | Service::Keys
            | Service::Invites
            | Service::Members => Pages::ById,
            Service::Messages
            | Service::CostReport
            | Service::AnalyticsUsage
            | Service::AnalyticsCost
            | Service::RateLimits
            | Service::WorkspaceRateLimits
            | Service::SpendLimits => Pages::ByCursor,
        }
    }

    /// As faults name it.
    pub fn name(self) -> &'static str {
        match self {
            Service::Me => "me",
            Service::Workspaces => "workspaces",
            Service::Users => "users",
            Service::Keys => "api_keys",
            Service::Invites => "invites",
            Service::Members => "members",
            Service::Messages => "messages",
            Service::CostReport => "cost_report",
            Service::AnalyticsUsage => "analytics_usage",
            Service::AnalyticsCost => "analytics_cost",
            Service::RateLimits => "rate_limits",
            Service::WorkspaceRateLimits => "workspace_rate_limits",
            Service::SpendLimits => "spend_limits",
        }
    }
}

/// The answer to a GET at a moment.
pub fn answer(
    world: &mut World,
    service: Service,
    query: &Query,
    head: &Head,
    now: Timestamp,
) -> Result<String, Refusal> {
    let Speaks::Real(real) = world.speaks else {
        return Err(Refusal::not_found("no such path"));
    };
    if !["2023-06-01", "2026-10-21"].contains(&head.version.as_str()) {
        return Err(Refusal::bad("unknown anthropic-version"));
    }
    match service {
        Service::Me => catalog::me(query),
        Service::Workspaces => catalog::workspaces(world, query),
        Service::Users => catalog::users(world, query),
        Service::Keys => catalog::keys(world, query, head),
        Service::Invites => catalog::invites(world, query, now),
        Service::Members => {
            let id = head.workspace.as_deref().unwrap_or_default();
            catalog::members(world, query, id)
        }
        Service::RateLimits => catalog::rate_limits(world, query, head),
        Service::WorkspaceRateLimits => {
            let id = head.workspace.as_deref().unwrap_or_default();
            catalog::workspace_rate_limits(world, query, head, id)
        }
        Service::SpendLimits => {
            real.spend_limits.check()?;
            needs(head, SPEND_LIMITS_BETA)?;
            catalog::spend_limits(world, query)
        }
        Service::Messages => {
            real.reports.check()?;
            legacy::messages(world, query, head, now)
        }
        Service::CostReport => {
            real.reports.check()?;
            legacy::cost_report(world, query, now)
        }
        Service::AnalyticsUsage => {
            real.analytics.check()?;
            needs(head, ANALYTICS_BETA)?;
            analytics::analytics(world, query, Report::Usage, now)
        }
        Service::AnalyticsCost => {
            real.analytics.check()?;
            needs(head, ANALYTICS_BETA)?;
            analytics::analytics(world, query, Report::Cost, now)
        }
    }
}

/// A beta that is not named is not there.
fn needs(head: &Head, beta: &str) -> Result<(), Refusal> {
    if head.has(beta) {
        return Ok(());
    }
    Err(Refusal::not_found("no such path without its beta"))
}
