//! Sends writes to one organization's server; the only module that sends anything but GET. A request that may have taken effect
//! is retried only if it is idempotent.

use std::time::Duration;

use reqwest::Method;
use tracing::debug;

use crate::admin::result::WriteResult;
use crate::endpoint::{Endpoint, Verb};
use crate::error::{FetchError, FetchErrorKind};
use crate::transport::decode::DecodeError;
use crate::transport::response::AttemptFailure;
use crate::transport::{RawResponse, Transport, retry};
use spendwatch_domain::admin::change::AdminChange;

/// Maximum length of an id.
const MAX_ID_CHARS: usize = 200;
/// Maximum characters shown of an invalid id.
const SHOWN_ID_CHARS: usize = 60;

/// Decodes the response to a write.
pub type ParseResponse = fn(&[u8]) -> Result<WriteResult, DecodeError>;

/// A request that changes something, with its path parameters and body.
#[derive(Debug)]
pub struct WriteRequest {
    pub verb: Verb,
    pub endpoint: Endpoint,
    pub ids: Vec<String>,
    pub body: Option<String>,
    pub parse: ParseResponse,
    pub is_idempotent: bool,
    /// Succeeds if the object does not exist.
    pub is_deletion: bool,
    /// Succeeds if the object already exists.
    pub accepts_existing: bool,
}

impl WriteRequest {
    /// Creates the request of a change.
    pub fn new(
        change: &AdminChange,
        verb: Verb,
        endpoint: Endpoint,
        ids: &[&str],
        body: Option<String>,
        parse: ParseResponse,
    ) -> WriteRequest {
        WriteRequest {
            verb,
            endpoint,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            body,
            parse,
            is_idempotent: change.is_repeatable(),
            is_deletion: change.is_removal(),
            accepts_existing: change.accepts_existing(),
        }
    }
}

/// Why a write failed, and whether it took effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source}")]
pub struct WriteError {
    pub source: Box<FetchError>,
    pub effect: WriteEffect,
    /// Of the last attempt; identifies it to Anthropic's support.
    pub request_id: Option<String>,
}

/// Whether a write without a valid response took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEffect {
    NotApplied,
    AlreadyExists,
    Unknown,
}

impl Transport {
    /// Sends a write, up to [`retry::MAX_ATTEMPTS`] times, and returns its response. If a retried deletion finds no object, an earlier
    /// attempt deleted it, and the response is empty.
    pub(super) async fn execute_write(
        &self,
        request: &WriteRequest,
    ) -> Result<RawResponse, WriteError> {
        let mut n_attempts = 0;
        let mut may_have_effect = false;
        loop {
            let failure = match self.attempt_write(request).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if may_have_effect && request.is_deletion && failure.kind.is_not_found() {
                return Ok(RawResponse {
                    body: Vec::new().into(),
                    request_id: failure.request_id,
                });
            }
            may_have_effect |= !failure.has_no_effect;
            n_attempts += 1;
            let Some(step) = next_wait(request, &failure, n_attempts) else {
                return Err(self.write_error(request, failure, may_have_effect));
            };
            let wait = self.random.jitter(step);
            debug!(
                organization = self.organization.as_str(),
                endpoint = request.endpoint.path(),
                attempt = n_attempts,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "write failed, retrying: {}",
                failure.kind
            );
            self.clock.sleep(wait).await;
        }
    }

    /// Creates the error of a write that was not sent.
    pub(super) fn unsent_error(&self, request: &WriteRequest, kind: FetchErrorKind) -> WriteError {
        self.write_error(request, AttemptFailure::no_effect(kind), false)
    }

    /// Creates the error of an invalid response; the write may have taken effect.
    pub(super) fn invalid_response_error(
        &self,
        request: &WriteRequest,
        error: &dyn std::error::Error,
        request_id: Option<String>,
    ) -> WriteError {
        let kind = FetchErrorKind::InvalidResponse {
            detail: self.sanitize(&error.to_string()),
        };
        WriteError {
            request_id,
            ..self.write_error(request, AttemptFailure::no_effect(kind), true)
        }
    }

    fn write_error(
        &self,
        request: &WriteRequest,
        failure: AttemptFailure,
        may_have_effect: bool,
    ) -> WriteError {
        let effect = match (
            failure.already_exists && request.accepts_existing,
            may_have_effect,
        ) {
            // This includes an object that an earlier attempt created.
            (true, _) => WriteEffect::AlreadyExists,
            (false, true) => WriteEffect::Unknown,
            (false, false) => WriteEffect::NotApplied,
        };
        WriteError {
            source: Box::new(FetchError {
                organization: self.organization.clone(),
                verb: request.verb,
                endpoint: request.endpoint,
                ids: request.ids.iter().map(|id| self.sanitize(id)).collect(),
                workspace: None,
                page: 1,
                kind: failure.kind,
            }),
            effect,
            request_id: failure.request_id,
        }
    }

    async fn attempt_write(&self, request: &WriteRequest) -> Result<RawResponse, AttemptFailure> {
        if let Some(id) = request.ids.iter().find(|id| !is_id(id)) {
            let id = self.redaction.sanitize(id, SHOWN_ID_CHARS);
            return Err(AttemptFailure::no_effect(FetchErrorKind::InvalidId { id }));
        }
        let ids: Vec<&str> = request.ids.iter().map(String::as_str).collect();
        let url = self.url(request.endpoint, &ids);
        let mut builder = self.client.request(method(request.verb), url);
        builder = builder.headers(self.headers()?);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        self.send(request.endpoint, builder).await
    }
}

/// Returns the wait before the next attempt; `None` if there is none.
fn next_wait(
    request: &WriteRequest,
    failure: &AttemptFailure,
    n_attempts: u32,
) -> Option<Duration> {
    let is_safe = failure.has_no_effect || request.is_idempotent;
    let is_done = failure.already_exists && request.accepts_existing;
    let may_help = failure.is_transient && !is_done && is_safe;
    retry::backoff_after(n_attempts).filter(|_| may_help)
}

/// Returns whether a text is safe as one segment of a path.
fn is_id(text: &str) -> bool {
    let is_id_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= MAX_ID_CHARS && text.chars().all(is_id_char)
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
    fn ids_that_would_change_a_path_are_rejected() {
        for id in ["user_01Ab", "wrkspc-1", "7d0c"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a%2e", &"x".repeat(201)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
