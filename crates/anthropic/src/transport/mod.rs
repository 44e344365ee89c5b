//! Sends requests to one organization's server: queues, rate-limits and retries them, and bounds the responses.
//!
//! All calls are cancel-safe. Only `admin::write_request` sends anything but GET.

pub mod json_text;

pub mod decode;

pub mod paging;

pub mod limiter;

pub mod redaction;

pub mod retry;

pub mod error_response;

pub mod response;

pub mod fetch_list;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::endpoint::{Endpoint, RequestCounts, Verb};
use crate::error::{FetchError, FetchErrorKind};
use crate::transport::limiter::{Limiter, RateShare};
use crate::transport::redaction::Redaction;
use crate::transport::response::AttemptFailure;
use spendwatch_base::clock::{Clock, Random, ServerNow, ServerTime};
use spendwatch_base::lock;
use spendwatch_base::secret::Secret;
use spendwatch_domain::units::ids::OrganizationName;

/// Maximum size of a response, decompressed.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Maximum characters shown of a server's message.
const MAX_MESSAGE_CHARS: usize = 200;
/// Pauses of at least this length are logged.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// Maximum number of recorded errors of invalid rows.
const MAX_UNREADABLE: usize = 100;

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

/// A GET request for one page.
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

/// A successful response. The body is zeroized, because it may contain a new secret.
pub(crate) struct RawResponse {
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
            workspace: request
                .workspace
                .map(|id| self.sanitize(id).into_boxed_str()),
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
        let detail = self
            .redaction
            .sanitize(&error.to_string(), 2 * MAX_MESSAGE_CHARS);
        self.error(request, FetchErrorKind::InvalidResponse { detail })
    }

    /// Adds the place of the request to an error of its response.
    pub fn decoded<T>(
        &self,
        request: &GetRequest<'_>,
        result: Result<T, impl std::error::Error>,
    ) -> Result<T, FetchError> {
        result.map_err(|error| self.decode_error(request, &error))
    }

    /// Records the error of an invalid list row.
    pub fn record_unreadable(&self, request: &GetRequest<'_>, error: &dyn std::error::Error) {
        let error = self.decode_error(request, error);
        let mut recorded = lock(&self.unreadable);
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
    pub(crate) async fn send(
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
    pub(crate) fn url(&self, endpoint: Endpoint, ids: &[&str]) -> Url {
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

    /// Returns the headers of every request. The key is marked sensitive, so that the HTTP library does not log it.
    pub(crate) fn headers(&self) -> Result<HeaderMap, AttemptFailure> {
        let mut key = HeaderValue::from_str(self.key().expose())
            .map_err(|_| AttemptFailure::no_effect(FetchErrorKind::UnsendableKey))?;
        key.set_sensitive(true);
        Ok(HeaderMap::from_iter([
            (HeaderName::from_static("x-api-key"), key),
            (
                HeaderName::from_static("anthropic-version"),
                self.api_version.clone(),
            ),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]))
    }

    pub(crate) fn server_now(&self) -> ServerNow {
        self.clock.server_now(&self.server_time)
    }

    pub(crate) fn key(&self) -> Secret {
        lock(&self.key).clone()
    }

    pub(crate) fn sanitize(&self, text: &str) -> String {
        self.redaction.sanitize(text, MAX_MESSAGE_CHARS)
    }
}
