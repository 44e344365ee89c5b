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
    /// `GET /v1/usage`
    Usage,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Endpoint; 4] = [
        Endpoint::Organizations,
        Endpoint::OrganizationsMe,
        Endpoint::Workspaces,
        Endpoint::Usage,
    ];

    /// The value of the label `endpoint`.
    pub const fn label(self) -> &'static str {
        match self {
            Endpoint::Organizations => "organizations",
            Endpoint::OrganizationsMe => "organizations_me",
            Endpoint::Workspaces => "workspaces",
            Endpoint::Usage => "usage",
        }
    }

    /// The path below the base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Organizations => "/v1/organizations",
            Endpoint::OrganizationsMe => "/v1/organizations/me",
            Endpoint::Workspaces => "/v1/workspaces",
            Endpoint::Usage => "/v1/usage",
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
#[derive(Debug)]
pub struct RequestCounts(Mutex<BTreeMap<(Endpoint, Code), u64>>);

impl Default for RequestCounts {
    fn default() -> RequestCounts {
        let zeros = Endpoint::ALL
            .into_iter()
            .flat_map(|endpoint| Code::EXPECTED.map(|code| ((endpoint, code), 0)));
        RequestCounts(Mutex::new(zeros.collect()))
    }
}

impl RequestCounts {
    /// One more.
    pub fn count(&self, endpoint: Endpoint, code: Code) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((endpoint, code)).or_default() += 1;
    }

    /// All counts, the expected ones also where they are 0, by endpoint and code.
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
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(200));
        counts.count(Endpoint::Usage, Code::Status(503));
        let all = counts.all();
        assert_eq!(all.len(), 17);
        assert_eq!(all[&(Endpoint::Usage, Code::Status(200))], 2);
        assert_eq!(all[&(Endpoint::Usage, Code::Status(503))], 1);
        assert_eq!(all[&(Endpoint::Workspaces, Code::Timeout)], 0);
        assert_eq!(Code::Network.to_string(), "network");
    }
}
