//! Injectable faults of servers and proxies, and the requests they affect. Tests also see every request.

pub mod request_log;

pub mod gate;

pub mod edit;

pub mod responses;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::faults::gate::Gate;
use crate::faults::request_log::RequestLog;
use crate::request::RequestProperties;
use spendwatch_domain::units::span::HourSpan;

/// Faults, stalled responses and the request log of a server.
#[derive(Debug, Default)]
pub struct TestHooks {
    pub faults: Mutex<Vec<(FaultTarget, ServerFault)>>,
    pub gate: Arc<Gate>,
    pub log: RequestLog,
}

/// Requests that a fault affects; `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultTarget {
    /// `organizations`, `workspaces`, `users`, `api_keys`, `usage`; of the real API also `messages`, `cost_report`,
    /// `analytics_usage`, `analytics_cost`, `rate_limits`, `workspace_rate_limits`, `spend_limits`, `invites`, `members`; of
    /// writes also `users_invite`, `user`, `api_key`, `invite`, `workspace`, `workspace_archive`, `member`; and, only if
    /// named explicitly, `me`, which clients use to detect the API.
    pub endpoint: Option<&'static str>,
    /// Workspace id of a usage request; `""` is the whole organization.
    pub workspace: Option<String>,
    /// Page number, starting at 1.
    pub page: Option<usize>,
    pub method: Option<&'static str>,
    /// Number of matching requests that pass first.
    pub skip: usize,
    /// Number of requests affected; `None` is unlimited.
    pub times: Option<usize>,
}

impl FaultTarget {
    /// Matches every request.
    pub fn everything() -> FaultTarget {
        FaultTarget::default()
    }

    /// Matches every request of an endpoint.
    pub fn endpoint(endpoint: &'static str) -> FaultTarget {
        FaultTarget {
            endpoint: Some(endpoint),
            ..FaultTarget::default()
        }
    }

    /// Matches usage requests of one workspace; `""` is the whole organization.
    pub fn usage_of(workspace: &str) -> FaultTarget {
        FaultTarget {
            workspace: Some(workspace.to_owned()),
            ..FaultTarget::endpoint("usage")
        }
    }

    /// Limits the number of affected requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> FaultTarget {
        self.times = Some(times);
        self
    }

    /// Skips a number of matching requests.
    #[must_use]
    pub fn after(mut self, skip: usize) -> FaultTarget {
        self.skip = skip;
        self
    }

    /// Matches only one HTTP method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> FaultTarget {
        self.method = Some(method);
        self
    }

    /// Matches only one page; the first is 1.
    #[must_use]
    pub fn page(mut self, page: usize) -> FaultTarget {
        self.page = Some(page);
        self
    }
}

/// Fault that affects a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFault {
    /// Status, body and `retry-after`.
    Status(u16, String, Option<String>),
    /// Status with an HTML page, as proxies send.
    Html(u16),
    /// Status 200 with this body.
    Body(String),
    /// Closes the connection after half of the correct response.
    CutOff,
    /// Sends half of the correct body as a complete response.
    Truncated,
    /// Closes the connection without a response and without executing the request.
    Reset,
    /// Executes the request, then closes the connection without a response.
    LostResponse,
    /// Executes the request, then responds with this status as a proxy.
    LostStatus(u16),
    Endless,
    /// Appends this many bytes of white space.
    Padded(usize),
    /// Compresses with gzip whether or not the client accepts it.
    Gzip,
    /// This many bytes of white space, compressed.
    GzipBomb(usize),
    /// Declares gzip but is not compressed.
    NotGzip,
    Stall,
    /// Sends nothing until [`release_stalled`](crate::Simulator::release_stalled).
    NoResponse,
    /// Sends this many bytes, and the rest after
    /// [`release_stalled`](crate::Simulator::release_stalled).
    StallAfter(usize),
    /// Delays the response, by the simulator's clock.
    Delay(Duration),
    /// Sends chunks of this many bytes, with a pause (by the simulator's clock) before each.
    Drip(usize, Duration),
    Redirect,
    RedirectTo(String),
    /// Always sets `has_more`, with new ids or cursors.
    EndlessPages,
    /// Sets `has_more` on an empty page.
    EmptyPage,
    /// Repeats the first page forever.
    SamePage,
    NoRows,
    /// Removes usage rows that start in these hours.
    MissingRows(HourSpan),
    /// Repeats the first row of `data`.
    DuplicateRow,
    /// Reverses the rows of `data`.
    Reversed,
    /// Removes every field with this name.
    WithoutField(String),
    /// Replaces the JSON value of the first field with this name.
    Field(String, String),
}

impl ServerFault {
    /// Makes the spend of a row negative.
    pub fn negative_spend() -> ServerFault {
        ServerFault::Field("total_cost_usd".to_owned(), "-0.5".to_owned())
    }

    /// Changes the date of a row, for example to one outside the request.
    pub fn date(date: &str) -> ServerFault {
        ServerFault::Field("date".to_owned(), format!("\"{date}\""))
    }
}

/// Returns the first fault that matches a request, and counts it.
pub fn next_fault(
    faults: &mut [(FaultTarget, ServerFault)],
    probe: RequestProperties<'_>,
) -> Option<ServerFault> {
    for (target, fault) in faults {
        if !matches(target, probe) || target.times == Some(0) {
            continue;
        }
        if target.skip > 0 {
            target.skip -= 1;
            continue;
        }
        target.times = target.times.map(|times| times - 1);
        return Some(fault.clone());
    }
    None
}

fn matches(target: &FaultTarget, probe: RequestProperties<'_>) -> bool {
    let is_endpoint = match target.endpoint {
        Some(wanted) => wanted == probe.endpoint,
        None => probe.endpoint != "me",
    };
    let workspace = target.workspace.as_deref();
    is_endpoint
        && workspace.is_none_or(|wanted| probe.workspace == Some(wanted))
        && target.method.is_none_or(|wanted| wanted == probe.method)
        && target.page.is_none_or(|wanted| probe.page == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Pagination;

    fn probe(
        endpoint: &'static str,
        workspace: Option<&'static str>,
    ) -> RequestProperties<'static> {
        RequestProperties {
            endpoint,
            workspace,
            page: (endpoint == "workspaces").then_some(2),
            method: "GET",
            pagination: Pagination::None,
        }
    }

    /// Returns which of six such requests are affected.
    fn affected(target: FaultTarget, probe: RequestProperties<'_>) -> [bool; 6] {
        let mut faults = [(target, ServerFault::Stall)];
        [(); 6].map(|()| next_fault(&mut faults, probe).is_some())
    }

    #[test]
    fn a_fault_affects_its_target_for_its_number_of_times() {
        let usage = probe("usage", Some("a"));
        let (all, none) = ([true; 6], [false; 6]);
        assert_eq!(affected(FaultTarget::everything(), usage), all);
        assert_eq!(affected(FaultTarget::everything(), probe("me", None)), none);
        assert_eq!(
            affected(FaultTarget::endpoint("me"), probe("me", None)),
            all
        );
        assert_eq!(affected(FaultTarget::usage_of("a"), usage), all);
        assert_eq!(affected(FaultTarget::usage_of(""), usage), none);
        assert_eq!(affected(FaultTarget::endpoint("workspaces"), usage), none);
        let list = probe("workspaces", None);
        assert_eq!(
            affected(FaultTarget::endpoint("workspaces").page(2), list),
            all
        );
        assert_eq!(
            affected(FaultTarget::endpoint("workspaces").page(1), list),
            none
        );
        assert_eq!(
            affected(FaultTarget::everything().times(2).after(1), usage),
            [false, true, true, false, false, false]
        );
    }

    #[test]
    fn the_first_matching_fault_applies() {
        let mut faults = [
            (FaultTarget::usage_of("a").times(1), ServerFault::Reset),
            (FaultTarget::everything(), ServerFault::Stall),
        ];
        let usage = probe("usage", Some("a"));
        assert_eq!(next_fault(&mut faults, usage), Some(ServerFault::Reset));
        assert_eq!(next_fault(&mut faults, usage), Some(ServerFault::Stall));
    }
}
