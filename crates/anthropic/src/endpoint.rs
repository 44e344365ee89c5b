//! Counts the requests to the Admin API of one organization: `spendwatch_api_requests_total{endpoint, code}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// An endpoint of the Admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /v1/organizations`
    Organizations,
    /// `GET /v1/organizations/me`, which `guide` servers do not have.
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

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// Returns the method in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }
}

impl Endpoint {
    /// Endpoints of the `guide` dialect.
    pub const GUIDE: &[Endpoint] = &[
        Endpoint::Organizations,
        Endpoint::OrganizationsMe,
        Endpoint::Workspaces,
        Endpoint::ApiKeys,
        Endpoint::Users,
        Endpoint::Usage,
    ];

    /// Endpoints of the `analytics` dialect.
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

    /// Endpoints of the `reports` dialect.
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

    /// Returns the value of the label `endpoint`.
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

    /// Returns the path below the base URL; parameters are in braces, such as `{workspace_id}`.
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

/// How a request ended; the label `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The status of the response, even if its body is invalid.
    Status(u16),
    /// No complete response in time.
    Timeout,
    /// Connecting failed, or the connection was lost.
    Network,
}

impl Code {
    /// Codes that are reported as 0 before they occur, so that the first failure is an increase.
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

/// Requests of one organization since the start, counting every attempt.
#[derive(Debug, Default)]
pub struct RequestCounts(Mutex<BTreeMap<(Endpoint, Code), u64>>);

impl RequestCounts {
    /// Includes these endpoints with their expected codes, even if 0.
    pub fn expect(&self, endpoints: &[Endpoint]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for endpoint in endpoints {
            for code in Code::EXPECTED {
                counts.entry((*endpoint, code)).or_default();
            }
        }
    }

    pub fn count(&self, endpoint: Endpoint, code: Code) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((endpoint, code)).or_default() += 1;
    }

    /// Returns all counts by endpoint and code, including expected ones that are 0.
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
