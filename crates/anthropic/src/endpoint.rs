//! The endpoints of the Admin API, and the counts of their requests: `spendwatch_api_requests_total{endpoint, code}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use spendwatch_base::lock;
use spendwatch_domain::units::dialect::Dialect;

/// Defines [`Endpoint`] by a table.
macro_rules! endpoints {
    ($($name:ident [$($dialect:ident)*] $label:literal $path:literal)*) => {
        /// An endpoint of the Admin API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint {
            $(#[doc = $path] $name,)*
        }

        impl Endpoint {
            const ALL: &[Endpoint] = &[$(Endpoint::$name,)*];

            /// Returns the value of the label `endpoint`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Endpoint::$name => $label,)*
                }
            }

            /// Returns the path below the base URL; parameters are in braces, such as `{workspace_id}`.
            pub const fn path(self) -> &'static str {
                match self {
                    $(Endpoint::$name => $path,)*
                }
            }

            /// Returns the dialects in which the daemon polls it.
            const fn dialects(self) -> &'static [Dialect] {
                match self {
                    $(Endpoint::$name => &[$(Dialect::$dialect,)*],)*
                }
            }
        }
    };
}

// The dialects are those in which the daemon polls the endpoint; commands use the others.
endpoints! {
    Organizations          [Guide]                    "organizations"           "/v1/organizations"
    OrganizationsMe        [Guide Analytics Reports]  "organizations_me"        "/v1/organizations/me"
    Workspaces             [Guide]                    "workspaces"              "/v1/workspaces"
    ApiKeys                [Guide]                    "api_keys"                "/v1/api_keys"
    Users                  [Guide]                    "users"                   "/v1/users"
    Usage                  [Guide]                    "usage"                   "/v1/usage"
    AnalyticsCost          [Analytics]                "analytics_cost"          "/v1/organizations/analytics/cost"
    AnalyticsUsage         [Analytics]                "analytics_usage"         "/v1/organizations/analytics/usage"
    UsageReportMessages    [Reports]                  "usage_report_messages"   "/v1/organizations/usage_report/messages"
    CostReport             [Reports]                  "cost_report"             "/v1/organizations/cost_report"
    OrganizationWorkspaces [Analytics Reports]        "organization_workspaces" "/v1/organizations/workspaces"
    OrganizationApiKeys    [Analytics Reports]        "organization_api_keys"   "/v1/organizations/api_keys"
    OrganizationUsers      [Analytics Reports]        "organization_users"      "/v1/organizations/users"
    RateLimits             [Analytics Reports]        "rate_limits"             "/v1/organizations/rate_limits"
    WorkspaceRateLimits    [Analytics Reports]        "workspace_rate_limits"   "/v1/organizations/workspaces/{workspace_id}/rate_limits"
    SpendLimits            [Analytics Reports]        "spend_limits"            "/v1/organizations/spend_limits"
    UsersInvite            []                         "users_invite"            "/v1/users/invite"
    User                   []                         "user"                    "/v1/users/{user_id}"
    ApiKey                 []                         "api_key"                 "/v1/api_keys/{api_key_id}"
    OrganizationUser       []                         "organization_user"       "/v1/organizations/users/{user_id}"
    OrganizationInvites    []                         "organization_invites"    "/v1/organizations/invites"
    OrganizationInvite     []                         "organization_invite"     "/v1/organizations/invites/{invite_id}"
    OrganizationApiKey     []                         "organization_api_key"    "/v1/organizations/api_keys/{api_key_id}"
    WorkspaceArchive       []                         "workspace_archive"       "/v1/organizations/workspaces/{workspace_id}/archive"
    WorkspaceMembers       []                         "workspace_members"       "/v1/organizations/workspaces/{workspace_id}/members"
    WorkspaceMember        []                         "workspace_member"        "/v1/organizations/workspaces/{workspace_id}/members/{user_id}"
}

impl Endpoint {
    /// Returns the endpoints that the daemon polls in a dialect.
    pub fn polled_in(dialect: Dialect) -> impl Iterator<Item = Endpoint> {
        let all = Endpoint::ALL.iter().copied();
        all.filter(move |endpoint| endpoint.dialects().contains(&dialect))
    }
}

/// Methods that the Admin API uses. Only `admin::request` sends others than `Get`.
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
    pub fn expect(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        let mut counts = lock(&self.0);
        for endpoint in endpoints {
            for code in Code::EXPECTED {
                counts.entry((endpoint, code)).or_default();
            }
        }
    }

    /// Adds one attempt; each retry is an attempt of its own.
    pub fn count(&self, endpoint: Endpoint, code: Code) {
        let mut counts = lock(&self.0);
        *counts.entry((endpoint, code)).or_default() += 1;
    }

    /// Returns all counts by endpoint and code, including expected ones that are 0.
    pub fn all(&self) -> BTreeMap<(Endpoint, Code), u64> {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_codes_start_at_zero_and_others_appear() {
        let counts = RequestCounts::default();
        assert!(counts.all().is_empty());
        counts.expect(Endpoint::polled_in(Dialect::Guide));
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(503));
        let all = counts.all();
        counts.expect(Endpoint::polled_in(Dialect::Guide));
        assert_eq!((all.len(), counts.all().len()), (25, 25));
        assert_eq!(all[&(Endpoint::Usage, Code::Status(200))], 2);
        assert_eq!(all[&(Endpoint::Usage, Code::Status(503))], 1);
        assert_eq!(all[&(Endpoint::Workspaces, Code::Timeout)], 0);
        assert_eq!(Code::Network.to_string(), "network");
    }
}
