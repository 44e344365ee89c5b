//! Counts the requests to the Admin API of one organization: `spendwatch_api_requests_total{endpoint, code}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /v1/organizations`
    Organizations,
    /// `GET /v1/organizations/me`: only the real service has it.
    OrganizationsMe,
    /// `GET /v1/workspaces`
    Workspaces,
    /// `GET /v1/api_keys`
    ApiKeys,
    /// `GET /v1/users`
    Users,
    /// `GET /v1/usage`
    Usage,
    /// `GET /v1/organizations/analytics/cost`
    AnalyticsCost,
    /// `GET /v1/organizations/analytics/usage`
    AnalyticsUsage,
    /// `GET /v1/organizations/usage_report/messages`
    UsageReportMessages,
    /// `GET /v1/organizations/cost_report`
    CostReport,
    /// `GET /v1/organizations/workspaces`
    OrganizationWorkspaces,
    /// `GET /v1/organizations/api_keys`
    OrganizationApiKeys,
    /// `GET /v1/organizations/users`
    OrganizationUsers,
    /// `GET /v1/organizations/rate_limits`
    RateLimits,
    /// `GET /v1/organizations/workspaces/{workspace_id}/rate_limits`
    WorkspaceRateLimits,
    /// `GET /v1/organizations/spend_limits`
    SpendLimits,
    /// `/v1/users/invite`
    UsersInvite,
    /// `/v1/users/{user_id}`
    User,
    /// `/v1/api_keys/{api_key_id}`
    ApiKey,
    /// `/v1/organizations/users/{user_id}`
    OrganizationUser,
    /// `/v1/organizations/invites`
    OrganizationInvites,
    /// `/v1/organizations/invites/{invite_id}`
    OrganizationInvite,
    /// `/v1/organizations/api_keys/{api_key_id}`
    OrganizationApiKey,
    /// `/v1/organizations/workspaces/{workspace_id}/archive`
    WorkspaceArchive,
    /// `/v1/organizations/workspaces/{workspace_id}/members`
    WorkspaceMembers,
    /// `/v1/organizations/workspaces/{workspace_id}/members/{user_id}`
    WorkspaceMember,
}

/// The verb of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Looks, and changes nothing.
    Get,
    /// Makes something, or changes it.
    Post,
    /// Changes a part of something.
    Patch,
    /// Takes something away.
    Delete,
}

impl Verb {
    /// As it stands in a request.
    pub const fn word(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }
}

impl Endpoint {
    /// Those that the `guide` dialect asks.
    pub const GUIDE: &[Endpoint] = &[
        Endpoint::Organizations,
        Endpoint::OrganizationsMe,
        Endpoint::Workspaces,
        Endpoint::ApiKeys,
        Endpoint::Users,
        Endpoint::Usage,
    ];

    /// Those that the `analytics` dialect asks.
    pub const ANALYTICS: &[Endpoint] = &[
        Endpoint::AnalyticsCost,
        Endpoint::AnalyticsUsage,
        Endpoint::OrganizationsMe,
        Endpoint::OrganizationWorkspaces,
        Endpoint::OrganizationApiKeys,
        Endpoint::OrganizationUsers,
        Endpoint::RateLimits,
        Endpoint::WorkspaceRateLimits,
        Endpoint::SpendLimits,
    ];

    /// Those that the `reports` dialect asks.
    pub const REPORTS: &[Endpoint] = &[
        Endpoint::UsageReportMessages,
        Endpoint::CostReport,
        Endpoint::OrganizationsMe,
        Endpoint::OrganizationWorkspaces,
        Endpoint::OrganizationApiKeys,
        Endpoint::OrganizationUsers,
        Endpoint::RateLimits,
        Endpoint::WorkspaceRateLimits,
        Endpoint::SpendLimits,
    ];

    /// The value of the label `endpoint`.
    pub const fn label(self) -> &'static str {
        match self {
            Endpoint::Organizations => "organizations",
            Endpoint::OrganizationsMe => "organizations_me",
            Endpoint::Workspaces => "workspaces",
            Endpoint::ApiKeys => "api_keys",
            Endpoint::Users => "users",
            Endpoint::Usage => "usage",
            Endpoint::AnalyticsCost => "analytics_cost",
            Endpoint::AnalyticsUsage => "analytics_usage",
            Endpoint::UsageReportMessages => "usage_report_messages",
            Endpoint::CostReport => "cost_report",
            Endpoint::OrganizationWorkspaces => "organization_workspaces",
            Endpoint::OrganizationApiKeys => "organization_api_keys",
            Endpoint::OrganizationUsers => "organization_users",
            Endpoint::RateLimits => "rate_limits",
            Endpoint::WorkspaceRateLimits => "workspace_rate_limits",
            Endpoint::SpendLimits => "spend_limits",
            Endpoint::UsersInvite => "users_invite",
            Endpoint::User => "user",
            Endpoint::ApiKey => "api_key",
            Endpoint::OrganizationUser => "organization_user",
            Endpoint::OrganizationInvites => "organization_invites",
            Endpoint::OrganizationInvite => "organization_invite",
            Endpoint::OrganizationApiKey => "organization_api_key",
            Endpoint::WorkspaceArchive => "workspace_archive",
            Endpoint::WorkspaceMembers => "workspace_members",
            Endpoint::WorkspaceMember => "workspace_member",
        }
    }

    /// The path below the base URL. What stands in braces is an id: `{workspace_id}`.
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Organizations => "/v1/organizations",
            Endpoint::OrganizationsMe => "/v1/organizations/me",
            Endpoint::Workspaces => "/v1/workspaces",
            Endpoint::ApiKeys => "/v1/api_keys",
            Endpoint::Users => "/v1/users",
            Endpoint::Usage => "/v1/usage",
            Endpoint::AnalyticsCost => "/v1/organizations/analytics/cost",
            Endpoint::AnalyticsUsage => "/v1/organizations/analytics/usage",
            Endpoint::UsageReportMessages => "/v1/organizations/usage_report/messages",
            Endpoint::CostReport => "/v1/organizations/cost_report",
            Endpoint::OrganizationWorkspaces => "/v1/organizations/workspaces",
            Endpoint::OrganizationApiKeys => "/v1/organizations/api_keys",
            Endpoint::OrganizationUsers => "/v1/organizations/users",
            Endpoint::RateLimits => "/v1/organizations/rate_limits",
            Endpoint::WorkspaceRateLimits => {
                "/v1/organizations/workspaces/{workspace_id}/rate_limits"
            }
            Endpoint::SpendLimits => "/v1/organizations/spend_limits",
            Endpoint::UsersInvite => "/v1/users/invite",
            Endpoint::User => "/v1/users/{user_id}",
            Endpoint::ApiKey => "/v1/api_keys/{api_key_id}",
            Endpoint::OrganizationUser => "/v1/organizations/users/{user_id}",
            Endpoint::OrganizationInvites => "/v1/organizations/invites",
            Endpoint::OrganizationInvite => "/v1/organizations/invites/{invite_id}",
            Endpoint::OrganizationApiKey => "/v1/organizations/api_keys/{api_key_id}",
            Endpoint::WorkspaceArchive => "/v1/organizations/workspaces/{workspace_id}/archive",
            Endpoint::WorkspaceMembers => "/v1/organizations/workspaces/{workspace_id}/members",
            Endpoint::WorkspaceMember => {
                "/v1/organizations/workspaces/{workspace_id}/members/{user_id}"
            }
        }
    }
}

/// How a request ended. Its text is the label `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The server answered with this status, whatever stood in the answer.
    Status(u16),
    /// No answer, or not all of it, in time.
    Timeout,
    /// No connection, or it broke off.
    Network,
}

impl Code {
    /// The codes that are shown as 0 before they occur, so that a first failure is an increase.
    pub const EXPECTED: [Code; 4] = [
        Code::Status(200),
        Code::Status(429),
        Code::Timeout,
        Code::Network,
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Status(status) => write!(f, "{status}"),
            Code::Timeout => f.write_str("timeout"),
            Code::Network => f.write_str("network"),
        }
    }
}

/// The requests of one organization since the start: each attempt counts.
#[derive(Debug, Default)]
pub struct RequestCounts(Mutex<BTreeMap<(Endpoint, Code), u64>>);

impl RequestCounts {
    /// From now on these are shown with their expected codes, also where those are 0.
    pub fn expect(&self, endpoints: &[Endpoint]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for endpoint in endpoints {
            for code in Code::EXPECTED {
                counts.entry((*endpoint, code)).or_default();
            }
        }
    }

    /// One more.
    pub fn count(&self, endpoint: Endpoint, code: Code) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((endpoint, code)).or_default() += 1;
    }

    /// All counts, those that are expected also where they are 0, by endpoint and code.
    pub fn all(&self) -> BTreeMap<(Endpoint, Code), u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_codes_start_at_zero_and_others_appear() {
        let counts = RequestCounts::default();
        assert!(counts.all().is_empty());
        counts.expect(Endpoint::GUIDE);
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(503));
        let all = counts.all();
        counts.expect(Endpoint::GUIDE);
        assert_eq!((all.len(), counts.all().len()), (25, 25));
        assert_eq!(all[&(Endpoint::Usage, Code::Status(200))], 2);
        assert_eq!(all[&(Endpoint::Usage, Code::Status(503))], 1);
        assert_eq!(all[&(Endpoint::Workspaces, Code::Timeout)], 0);
        assert_eq!(Code::Network.to_string(), "network");
    }
}
