//! Reads responses, and classifies errors by how callers react to them.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use zeroize::Zeroizing;

use crate::endpoint::Code;
use crate::error::{FetchErrorKind, StatusCause};
use crate::transport::error_response::{self, ErrorCode};
use crate::transport::{Transport, json_text, retry};
use spendwatch_base::outbound;
use spendwatch_domain::units::span::Day;

/// Initial capacity for a body.
const FIRST_BODY_BYTES: usize = 8 * 1024;
/// Maximum size of an error body that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Maximum time between two chunks of a response.
const MAX_CHUNK_WAIT: Duration = Duration::from_secs(10);

/// Why one attempt failed.
pub(crate) struct AttemptFailure {
    pub kind: FetchErrorKind,
    /// A later attempt may succeed.
    pub is_transient: bool,
    /// The request certainly changed nothing.
    pub has_no_effect: bool,
    /// The object to create already exists.
    pub already_exists: bool,
    pub request_id: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl Transport {
    /// Reads a response.
    pub(super) async fn read(&self, response: Response) -> Exchange {
        let status = response.status();
        self.clock
            .record_server_time(&self.server_time, sent_at(response.headers()));
        let code = Code::Status(status.as_u16());
        if !status.is_success() {
            return (code, Err(self.error_status(response).await));
        }
        match self.body(response, self.max_body_bytes).await {
            (code, Ok(Body::Truncated(_))) => (code, Err(self.too_large())),
            exchange => exchange,
        }
    }

    /// Reads a response whose status is not 2xx.
    async fn error_status(&self, response: Response) -> AttemptFailure {
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            let kind = FetchErrorKind::Redirect {
                status: status.as_u16(),
                to: self.sanitize(&error_response::redirect_target(&headers)),
            };
            return AttemptFailure::no_effect(kind);
        }
        let (_, body) = self.body(response, MAX_ERROR_BYTES).await;
        // The status is what matters, so a body that cannot be read counts as empty.
        let mut body = body.map(Body::into_bytes).unwrap_or_default();
        json_text::repair(&mut body);
        let (message, error_code) = error_response::parse(&body);
        let is_transient = retry::is_transient(status.as_u16());
        let should_retry = error_response::should_retry(&headers);
        let is_capped = matches!(error_code, Some(ErrorCode::SpendCap(_)));
        AttemptFailure {
            kind: FetchErrorKind::Status {
                status: status.as_u16(),
                message: self.sanitize(&message),
                cause: self.cause(status, error_code),
            },
            // A rejected request changed nothing; after a server error or a timeout, it may have.
            has_no_effect: status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT,
            already_exists: error_code == Some(ErrorCode::AlreadyExists)
                || status == StatusCode::CONFLICT,
            request_id: None,
            // A spend cap is not transient, whatever the headers say.
            is_transient: !is_capped && should_retry.unwrap_or(is_transient),
            retry_after: self
                .requested_pause(&headers)
                .filter(|_| !is_capped && (is_transient || should_retry == Some(true))),
        }
    }

    fn cause(&self, status: StatusCode, code: Option<ErrorCode>) -> StatusCause {
        match (code, status) {
            (Some(ErrorCode::SpendCap(cap)), _) => {
                StatusCause::SpendCapReached(cap, next_month(self.clock.now()))
            }
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                StatusCause::KeyRejected(error_response::key_hint(status, &self.key()))
            }
            (Some(ErrorCode::NotAvailable), _) => StatusCause::NotAvailable,
            (Some(ErrorCode::RampLimited), _) => StatusCause::RampLimited,
            (_, StatusCode::PAYMENT_REQUIRED) => {
                StatusCause::PaymentRequired(next_month(self.clock.now()))
            }
            (Some(ErrorCode::AlreadyExists) | None, _) => StatusCause::Other,
        }
    }

    /// Returns how long the server asks to wait; `retry-after-ms` takes precedence.
    fn requested_pause(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let precise = text("retry-after-ms").and_then(retry::retry_after_ms);
        // A date in `retry-after` is relative to the server's clock.
        let now = sent_at(headers).unwrap_or_else(|| self.clock.now());
        precise.or_else(|| retry::retry_after(text(RETRY_AFTER.as_str())?, now))
    }

    async fn body(&self, mut response: Response, limit: usize) -> Exchange {
        let code = Code::Status(response.status().as_u16());
        // Large enough for a response with a secret, because growing would leave a copy that is not zeroized.
        let mut body = Zeroizing::new(Vec::with_capacity(FIRST_BODY_BYTES));
        loop {
            let chunk = tokio::time::timeout(MAX_CHUNK_WAIT.min(self.timeout), response.chunk());
            let chunk = match chunk.await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return (code, Ok(Body::Whole(body))),
                Ok(Err(error)) => return self.connection_error(error),
                Err(_) => return self.stalled(),
            };
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return (code, Ok(Body::Truncated(body)));
            }
        }
    }

    /// Classifies an error of the connection as transient.
    pub(super) fn connection_error(&self, error: reqwest::Error) -> Exchange {
        let (is_connecting, is_timeout) = (error.is_connect(), error.is_timeout());
        let detail = self.sanitize(&outbound::error_chain(&error.without_url()));
        let server = self.server();
        if is_timeout {
            let detail = if is_connecting {
                format!("cannot connect to {server}")
            } else {
                format!(
                    "no complete response from {server} within {:?}",
                    self.timeout
                )
            };
            let failure = AttemptFailure {
                has_no_effect: is_connecting,
                ..AttemptFailure::transient(FetchErrorKind::Timeout { detail })
            };
            return (Code::Timeout, Err(failure));
        }
        let cause = if is_connecting {
            format!("cannot connect to {server}")
        } else {
            format!("lost the connection to {server}")
        };
        let failure = AttemptFailure {
            has_no_effect: is_connecting,
            ..AttemptFailure::transient(FetchErrorKind::Network { cause, detail })
        };
        (Code::Network, Err(failure))
    }

    fn stalled(&self) -> Exchange {
        let detail = format!("{} stopped in the middle of its response", self.server());
        (
            Code::Timeout,
            Err(AttemptFailure::transient(FetchErrorKind::Timeout {
                detail,
            })),
        )
    }

    fn too_large(&self) -> AttemptFailure {
        AttemptFailure::permanent(FetchErrorKind::TooLarge {
            limit: self.max_body_bytes,
        })
    }

    /// Returns host and port, without credentials.
    fn server(&self) -> String {
        let host = self.base_url.host_str().unwrap_or_default();
        match self.base_url.port_or_known_default() {
            Some(port) => format!("`{host}:{port}`"),
            None => format!("`{host}`"),
        }
    }
}

/// Returns when a response was sent, by the server's clock: its `Date`, plus its `Age` if it was cached.
fn sent_at(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name| headers.get(name)?.to_str().ok();
    let date = outbound::http_date(text(DATE)?)?;
    let age = text(AGE).and_then(|age| age.trim().parse::<u32>().ok());
    let age = SignedDuration::from_secs(i64::from(age.unwrap_or(0)));
    date.checked_add(age).ok()
}

/// Returns the first day of the next month (UTC).
fn next_month(now: Timestamp) -> Date {
    let last = Day::containing(now).date().last_of_month();
    last.tomorrow().unwrap_or(last)
}

impl AttemptFailure {
    /// Creates a permanent failure of a request that changed nothing.
    pub(crate) fn no_effect(kind: FetchErrorKind) -> AttemptFailure {
        AttemptFailure {
            has_no_effect: true,
            ..AttemptFailure::permanent(kind)
        }
    }

    fn permanent(kind: FetchErrorKind) -> AttemptFailure {
        AttemptFailure {
            kind,
            is_transient: false,
            has_no_effect: false,
            already_exists: false,
            request_id: None,
            retry_after: None,
        }
    }

    fn transient(kind: FetchErrorKind) -> AttemptFailure {
        AttemptFailure {
            is_transient: true,
            ..AttemptFailure::permanent(kind)
        }
    }
}

/// How a request ended, for the metrics and for the caller.
pub(super) type Exchange = (Code, Result<Body, AttemptFailure>);

pub(super) enum Body {
    Whole(Zeroizing<Vec<u8>>),
    Truncated(Zeroizing<Vec<u8>>),
}

impl Body {
    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Body::Whole(bytes) | Body::Truncated(bytes) => bytes,
        }
    }
}
