//! Sends requests to one organization's server: queues, rate-limits and retries them, and bounds the responses.
//!
//! All calls are cancel-safe. Only `write_request` sends anything but GET.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::endpoint::{Code, Endpoint, RequestCounts, Verb};
use crate::error::{FetchError, FetchErrorKind, sanitize};
use crate::error_response::{self, ErrorResponse};
use crate::json_text;
use crate::limiter::{Limiter, RateShare};
use crate::redaction::Redaction;
use crate::retry;
use spendwatch_base::clock::{Clock, Random, ServerNow, ServerTime};
use spendwatch_base::outbound;
use spendwatch_base::secret::Secret;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::span::Day;

/// Maximum size of a response, decompressed.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Initial capacity for a body.
const FIRST_BODY_BYTES: usize = 8 * 1024;
/// Maximum size of an error body that is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Maximum characters shown of a server's message.
const MAX_MESSAGE_CHARS: usize = 200;
/// Pauses of at least this length are logged.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// Maximum number of recorded errors of invalid rows.
const MAX_UNREADABLE: usize = 100;
/// Maximum time between two chunks of a response.
const MAX_CHUNK_WAIT: Duration = Duration::from_secs(10);

/// Everything that sending a request needs.
#[derive(Debug)]
pub struct Transport {
    pub organization: OrganizationName,
    /// Without `/v1` and without a trailing slash.
    pub base_url: Url,
    pub client: Client,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    pub max_body_bytes: usize,
    /// The `anthropic-version` header.
    pub api_version: HeaderValue,
    pub key: Mutex<Secret>,
    pub redaction: Redaction,
    /// For the daemon and commands together, if configured; 0 is unlimited.
    pub max_requests_per_minute: Option<u32>,
    pub share: RateShare,
    pub limiter: Limiter,
    pub clock: Clock,
    pub random: Random,
    pub requests: Arc<RequestCounts>,
    /// From the `Date` headers of responses.
    pub server_time: Arc<ServerTime>,
    /// Errors of invalid list rows, until taken.
    pub unreadable: Mutex<Vec<FetchError>>,
}

/// One GET request.
#[derive(Debug)]
pub struct GetRequest<'a> {
    pub endpoint: Endpoint,
    pub query: &'a [(&'static str, String)],
    /// Workspace that the request is about; also fills a parameter of the path.
    pub workspace: Option<&'a str>,
    /// Value of the `anthropic-beta` header.
    pub beta: Option<&'static str>,
    /// Page, from 1.
    pub page: u32,
}

impl GetRequest<'_> {
    /// Creates a request without a query.
    pub const fn new(endpoint: Endpoint) -> GetRequest<'static> {
        GetRequest {
            endpoint,
            query: &[],
            workspace: None,
            beta: None,
            page: 1,
        }
    }
}

/// Why one attempt failed.
pub(super) struct AttemptFailure {
    pub kind: FetchErrorKind,
    /// A later attempt may succeed.
    pub is_transient: bool,
    /// The request certainly changed nothing.
    pub has_no_effect: bool,
    /// The object to create already exists.
    pub already_exists: bool,
    pub request_id: Option<String>,
    retry_after: Option<Duration>,
}

/// A successful response. The body is zeroized, because it may contain a new secret.
pub(super) struct RawResponse {
    pub body: Zeroizing<Vec<u8>>,
    /// Identifies the request to Anthropic's support; safe to show.
    pub request_id: Option<String>,
}

impl Transport {
    /// Sends a request, up to [`retry::MAX_ATTEMPTS`] times, and returns the body of a successful response.
    pub async fn get(&self, request: &GetRequest<'_>) -> Result<Vec<u8>, FetchError> {
        let mut n_attempts = 0;
        loop {
            let failure = match self.attempt(request).await {
                Ok(response) => {
                    let mut body = self.redaction.body(response.body, None);
                    return Ok(std::mem::take(&mut *body));
                }
                Err(failure) => failure,
            };
            n_attempts += 1;
            let step = retry::backoff_after(n_attempts).filter(|_| failure.is_transient);
            let Some(step) = step else {
                return Err(self.error(request, failure.kind));
            };
            let wait = self.random.jitter(step);
            debug!(
                organization = self.organization.as_str(),
                endpoint = request.endpoint.path(),
                attempt = n_attempts,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "request failed, retrying: {}",
                failure.kind
            );
            self.clock.sleep(wait).await;
        }
    }

    /// Creates an error of a request.
    pub fn error(&self, request: &GetRequest<'_>, kind: FetchErrorKind) -> FetchError {
        FetchError {
            organization: self.organization.clone(),
            verb: Verb::Get,
            endpoint: request.endpoint,
            ids: Vec::new(),
            workspace: request.workspace.map(|id| self.sanitize(id)),
            page: request.page,
            kind,
        }
    }

    /// Creates an error of an invalid response.
    pub fn decode_error(
        &self,
        request: &GetRequest<'_>,
        error: &dyn std::error::Error,
    ) -> FetchError {
        let detail = sanitize(&error.to_string(), &self.redaction, 2 * MAX_MESSAGE_CHARS);
        self.error(request, FetchErrorKind::InvalidResponse { detail })
    }

    /// Records the error of an invalid list row.
    pub fn record_unreadable(&self, request: &GetRequest<'_>, error: &dyn std::error::Error) {
        let error = self.decode_error(request, error);
        let mut recorded = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if recorded.len() < MAX_UNREADABLE && !recorded.contains(&error) {
            recorded.push(error);
        }
    }

    async fn attempt(&self, request: &GetRequest<'_>) -> Result<RawResponse, AttemptFailure> {
        let mut headers = self.headers()?;
        if let Some(beta) = request.beta {
            headers.insert("anthropic-beta", HeaderValue::from_static(beta));
        }
        let url = self.url(request.endpoint, request.workspace.as_slice());
        let builder = self.client.get(url).headers(headers);
        let builder = builder.query(&self.with_original_ids(request.query));
        self.send(request.endpoint, builder).await
    }

    /// Sends a request once, when the limiter permits it, and counts it.
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
    ) -> Result<RawResponse, AttemptFailure> {
        let permit = self.limiter.acquire().await;
        let (request_id, (code, outcome)) = match request.send().await {
            Ok(response) => {
                let request_id = self.request_id(response.headers());
                (request_id, self.read(response).await)
            }
            Err(error) => (None, self.connection_error(error)),
        };
        self.requests.count(endpoint, code);
        if let Err(failure) = &outcome
            && let Some(wait) = failure.retry_after
        {
            // Before the permit is released, so that no waiting request is sent first.
            self.limiter.pause(wait);
            if wait >= LONG_WAIT {
                info!(
                    target: "spendwatch::waiting",
                    organization = self.organization.as_str(),
                    wait_s = wait.as_secs(),
                    "rate limited by the Admin API, waiting {} s", wait.as_secs()
                );
            }
        }
        drop(permit);
        match outcome {
            Ok(body) => {
                let mut body = body.into_bytes();
                json_text::repair(&mut body);
                Ok(RawResponse { body, request_id })
            }
            Err(failure) => Err(AttemptFailure {
                request_id,
                ..failure
            }),
        }
    }

    /// Returns the URL of a request, with path parameters replaced by ids, without the query.
    pub(super) fn url(&self, endpoint: Endpoint, ids: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        let originals: Vec<Option<Secret>> =
            ids.iter().map(|id| self.redaction.original(id)).collect();
        let mut ids = ids.iter().zip(&originals).map(|(id, original)| {
            let original = original.as_ref().map(Secret::expose);
            original.unwrap_or(id)
        });
        let pieces = endpoint.path().split('/').skip(1);
        let filled = pieces.map(|piece| match piece.strip_prefix('{') {
            Some(_) => ids.next().unwrap_or_default(),
            None => piece,
        });
        url.path_segments_mut()
            .expect("http URLs have a path")
            .pop_if_empty()
            .extend(filled);
        url
    }

    /// Replaces redacted ids in a query by the original ones.
    fn with_original_ids(&self, query: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let original = |value: &String| match self.redaction.original(value) {
            Some(original) => original.expose().to_owned(),
            None => value.clone(),
        };
        let pairs = query.iter();
        pairs
            .map(|(name, value)| (*name, original(value)))
            .collect()
    }

    fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        let id = headers.get("request-id")?.to_str().ok()?;
        Some(self.sanitize(id)).filter(|id| !id.is_empty())
    }

    /// Reads a response.
    async fn read(&self, response: Response) -> Exchange {
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
        let error_body = error_response::parse(&body);
        let kind = self.classify(status, &error_body);
        let is_transient = retry::is_transient(status.as_u16());
        let should_retry = error_response::should_retry(&headers);
        AttemptFailure {
            kind,
            // A rejected request changed nothing; after a server error or a timeout, it may have.
            has_no_effect: status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT,
            already_exists: error_body.already_exists || status == StatusCode::CONFLICT,
            request_id: None,
            // A spend cap is not transient, whatever the headers say.
            is_transient: error_body.cap.is_none() && should_retry.unwrap_or(is_transient),
            retry_after: self.requested_pause(&headers).filter(|_| {
                error_body.cap.is_none() && (is_transient || should_retry == Some(true))
            }),
        }
    }

    fn classify(&self, status: StatusCode, error_body: &ErrorResponse) -> FetchErrorKind {
        let message = self.sanitize(&error_body.text);
        let code = status.as_u16();
        if let Some(cap) = error_body.cap {
            return FetchErrorKind::SpendCapReached {
                cap,
                status: code,
                until: next_month(self.clock.now()),
                message,
            };
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FetchErrorKind::KeyRejected {
                status: code,
                message,
                hint: error_response::key_hint(status, &self.key()),
            },
            _ if error_body.is_not_available => FetchErrorKind::NotAvailable {
                status: code,
                message,
            },
            _ if error_body.is_ramp_limited => FetchErrorKind::RampLimited {
                status: code,
                message,
            },
            StatusCode::PAYMENT_REQUIRED => FetchErrorKind::PaymentRequired {
                until: next_month(self.clock.now()),
                message,
            },
            _ => FetchErrorKind::Status {
                status: code,
                message,
            },
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

    /// Returns the headers of every request. The key is marked sensitive, so that the HTTP library does not log it.
    pub(super) fn headers(&self) -> Result<HeaderMap, AttemptFailure> {
        let mut key = HeaderValue::from_str(self.key().expose())
            .map_err(|_| AttemptFailure::no_effect(FetchErrorKind::UnsendableKey))?;
        key.set_sensitive(true);
        Ok(HeaderMap::from_iter([
            (reqwest::header::HeaderName::from_static("x-api-key"), key),
            (
                reqwest::header::HeaderName::from_static("anthropic-version"),
                self.api_version.clone(),
            ),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]))
    }

    pub(super) fn server_now(&self) -> ServerNow {
        self.clock.server_now(&self.server_time)
    }

    pub(super) fn key(&self) -> Secret {
        self.key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn sanitize(&self, text: &str) -> String {
        sanitize(text, &self.redaction, MAX_MESSAGE_CHARS)
    }

    /// Classifies an error of the connection as transient.
    fn connection_error(&self, error: reqwest::Error) -> Exchange {
        let (is_connecting, is_timeout) = (error.is_connect(), error.is_timeout());
        let cause = self.sanitize(&outbound::error_chain(&error.without_url()));
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
        let detail = if is_connecting {
            format!("cannot connect to {server}: {cause}")
        } else {
            format!("lost the connection to {server}: {cause}")
        };
        let failure = AttemptFailure {
            has_no_effect: is_connecting,
            ..AttemptFailure::transient(FetchErrorKind::Network { detail })
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
    pub(super) fn no_effect(kind: FetchErrorKind) -> AttemptFailure {
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
type Exchange = (Code, Result<Body, AttemptFailure>);

enum Body {
    Whole(Zeroizing<Vec<u8>>),
    Truncated(Zeroizing<Vec<u8>>),
}

impl Body {
    fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Body::Whole(bytes) | Body::Truncated(bytes) => bytes,
        }
    }
}
