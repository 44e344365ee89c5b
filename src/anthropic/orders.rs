//! One order to one organization's server: the only place that sends anything but GET. What may have been carried out is
//! repeated only where twice is as good as once.

use std::time::Duration;

use reqwest::Method;
use tracing::debug;

use crate::anthropic::error::{FetchError, Problem, tame};
use crate::anthropic::retry;
use crate::anthropic::transport::{Answered, Failure, Transport};
use crate::metrics::requests::{Endpoint, Verb};

/// No id is longer.
const MAX_ID_CHARS: usize = 200;
/// So much of a wrong id is shown.
const SHOWN_ID_CHARS: usize = 60;

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    pub verb: Verb,
    pub endpoint: Endpoint,
    /// What stands in the braces of its path.
    pub ids: Vec<String>,
    pub body: Option<String>,
    /// Twice is as good as once.
    pub is_repeatable: bool,
    /// It is done where what is to go is not there.
    pub takes_away: bool,
    /// It is as good as done where what it is to make is there.
    pub may_stand: bool,
}

/// Why an order has no answer, and what is known of it all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source}")]
pub struct OrderError {
    /// What went wrong, and where.
    pub source: Box<FetchError>,
    /// Whether it was carried out.
    pub fate: Fate,
    /// By which the service finds the last request again.
    pub request_id: Option<String>,
}

/// Whether an order without a good answer was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    NotDone,
    /// Not now: what it was to make is there already.
    There,
    Unknown,
}

impl Transport {
    /// Carries out an order, up to [`retry::MAX_ATTEMPTS`] times, and gives its answer. What is to go and is gone at a later
    /// attempt has gone by an earlier one: then the answer is empty.
    pub(super) async fn carry_out(&self, order: &Order) -> Result<Answered, OrderError> {
        let mut n_attempts = 0;
        let mut may_be_done = false;
        loop {
            let failure = match self.attempt_order(order).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            if may_be_done && order.takes_away && is_gone(&failure.problem) {
                return Ok(Answered {
                    body: Vec::new().into(),
                    request_id: failure.request_id,
                });
            }
            may_be_done |= !failure.is_certain;
            n_attempts += 1;
            let Some(step) = step(order, &failure, n_attempts) else {
                return Err(self.order_error(order, failure, may_be_done));
            };
            let wait = self.chance.jitter(step);
            debug!(
                organization = self.organization.as_str(),
                endpoint = order.endpoint.path(),
                attempt = n_attempts,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "order failed, trying again: {}",
                failure.problem
            );
            self.clock.sleep(wait).await;
        }
    }

    /// The error with its place; nothing was sent.
    pub(super) fn unsent(&self, order: &Order, problem: Problem) -> OrderError {
        self.order_error(order, Failure::nothing_sent(problem), false)
    }

    /// An answer that says nothing of what was done.
    pub(super) fn faulty_answer(
        &self,
        order: &Order,
        fault: &dyn std::error::Error,
        request_id: Option<String>,
    ) -> OrderError {
        let problem = Problem::Faulty {
            detail: self.tame(&fault.to_string()),
        };
        OrderError {
            request_id,
            ..self.order_error(order, Failure::nothing_sent(problem), true)
        }
    }

    fn order_error(&self, order: &Order, failure: Failure, may_be_done: bool) -> OrderError {
        let fate = match (failure.is_there && order.may_stand, may_be_done) {
            // Also what an earlier attempt made is there.
            (true, _) => Fate::There,
            (false, true) => Fate::Unknown,
            (false, false) => Fate::NotDone,
        };
        OrderError {
            source: Box::new(FetchError {
                organization: self.organization.clone(),
                verb: order.verb,
                endpoint: order.endpoint,
                ids: order.ids.iter().map(|id| self.tame(id)).collect(),
                workspace: None,
                page: 1,
                problem: failure.problem,
            }),
            fate,
            request_id: failure.request_id,
        }
    }

    async fn attempt_order(&self, order: &Order) -> Result<Answered, Failure> {
        if let Some(id) = order.ids.iter().find(|id| !is_id(id)) {
            let id = tame(id, &self.redaction, SHOWN_ID_CHARS);
            return Err(Failure::nothing_sent(Problem::NotAnId { id }));
        }
        let ids: Vec<&str> = order.ids.iter().map(String::as_str).collect();
        let url = self.address(order.endpoint, &ids);
        let mut request = self.client.request(method(order.verb), url);
        request = request.headers(self.headers()?);
        if let Some(body) = &order.body {
            request = request.body(body.clone());
        }
        self.send(order.endpoint, request).await
    }
}

/// How long is waited before the next attempt; `None` where there is none.
fn step(order: &Order, failure: &Failure, n_attempts: u32) -> Option<Duration> {
    let is_safe = failure.is_certain || order.is_repeatable;
    let stands = failure.is_there && order.may_stand;
    let helps = failure.is_passing && !stands && is_safe;
    retry::step_after(n_attempts).filter(|_| helps)
}

/// An id leads to one thing, and never elsewhere in an address.
fn is_id(text: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= MAX_ID_CHARS && text.chars().all(is_sign)
}

fn is_gone(problem: &Problem) -> bool {
    matches!(problem, Problem::Status { status: 404, .. })
}

const fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lead_elsewhere_is_no_id() {
        for id in ["user_01Ab", "wrkspc-1", "7d0c"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a%2e", &"x".repeat(201)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
