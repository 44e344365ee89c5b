//! One request: limit, time-outs, retries, size cap, redaction. Only GET is sent.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::anthropic::Settings;
use crate::anthropic::error::{FetchError, Problem};
use crate::anthropic::limiter::Limiter;
use crate::anthropic::retry::{self, MAX_ATTEMPTS};
use crate::clock::{Chance, Clock};
use crate::domain::ids::OrganizationName;
use crate::metrics::counters::Counters;
use crate::outbound::{self, ClientError};
use crate::secret::Secret;

/// No answer is larger, in bytes after decompression.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// So much of an error's body is shown, in characters.
const MAX_SHOWN: usize = 200;
/// The version of the wire format.
const VERSION: &str = "2023-06-01";
/// What an admin key begins with; a hint, never a test.
const ADMIN_PREFIX: &str = "sk-ant-admin";

/// See the module.
pub struct Transport {
    organization: OrganizationName,
    base: String,
    client: reqwest::Client,
    key: RwLock<Secret>,
    limiter: Limiter,
    clock: Clock,
    chance: Chance,
    counters: Arc<Counters>,
    max_body: u64,
}

impl Transport {
    /// Nothing is sent yet.
    pub fn new(
        settings: &Settings,
        key: Secret,
        clock: Clock,
        chance: Chance,
        counters: Arc<Counters>,
    ) -> Result<Transport, ClientError> {
        let trimmed = settings.base_url.trim_end_matches('/');
        let base = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
        Ok(Transport {
            organization: settings.organization.clone(),
            base: format!("{base}/v1"),
            client: outbound::client(settings.timeout, settings.ca_file.as_deref())?,
            key: RwLock::new(key),
            limiter: Limiter::new(
                settings.max_requests_per_minute,
                settings.max_concurrency,
                clock.clone(),
            ),
            clock,
            chance,
            counters,
            max_body: MAX_BODY,
        })
    }

    /// Sends another key from now on.
    pub fn set_key(&self, key: Secret) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// An error with its place.
    pub fn error(&self, endpoint: &'static str, page: usize, problem: Problem) -> FetchError {
        FetchError {
            organization: self.organization.clone(),
            endpoint,
            page,
            problem,
        }
    }

    /// The body of a 200. What may pass is tried again; what the service asks to wait holds all of the organization's
    /// requests. Safe to drop at any point.
    pub async fn get(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&str, String)],
        page: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            let permit = self.limiter.enter().await;
            let attempt = self.attempt(path, query).await;
            drop(permit);
            self.counters
                .count_api_request(&self.organization, endpoint, &attempt.code());
            let (problem, pause) = match attempt {
                Attempt::Answered(body) => return Ok(body),
                Attempt::Failed {
                    problem,
                    retry_after,
                } => (problem, retry_after),
            };
            if !retry::is_retried(&problem) || n_attempts >= MAX_ATTEMPTS {
                return Err(self.error(endpoint, page, problem));
            }
            tracing::debug!(organization.name = %self.organization, endpoint, n_attempts, "trying again after {problem}");
            if let Some(pause) = pause {
                self.limiter.pause(pause);
            }
            self.clock
                .sleep(self.chance.jitter(retry::backoff(n_attempts)))
                .await;
        }
    }

    async fn attempt(&self, path: &str, query: &[(&str, String)]) -> Attempt {
        let key = self
            .key
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Ok(mut value) = HeaderValue::from_str(key.expose()) else {
            let message =
                "the key holds characters that no header can carry; is it the right file?"
                    .to_owned();
            return Attempt::failed(Problem::Refused {
                status: 401,
                message,
            });
        };
        value.set_sensitive(true);
        let request = self
            .client
            .get(format!("{}{path}", self.base))
            .query(query)
            .header("x-api-key", value)
            .header("anthropic-version", VERSION)
            .header(CONTENT_TYPE, "application/json");
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Attempt::failed(network_problem(error)),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        self.note_skew(&headers);
        let body = match self.read_body(response).await {
            Ok(body) => body,
            Err(problem) => return Attempt::failed(problem),
        };
        if status == 200 {
            return Attempt::Answered(body);
        }
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, self.clock.now()));
        Attempt::Failed {
            problem: status_problem(status, &body, &key),
            retry_after,
        }
    }

    async fn read_body(&self, response: reqwest::Response) -> Result<Vec<u8>, Problem> {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(network_problem)?;
            if body.len() as u64 + chunk.len() as u64 > self.max_body {
                return Err(Problem::TooLarge(self.max_body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn note_skew(&self, headers: &HeaderMap) {
        let date = headers
            .get(DATE)
            .and_then(|value| value.to_str().ok())
            .and_then(retry::http_date);
        if let Some(date) = date {
            let skew = date.duration_since(self.clock.now());
            self.counters
                .set_clock_skew(&self.organization, skew.as_secs());
        }
    }
}

enum Attempt {
    Answered(Vec<u8>),
    Failed {
        problem: Problem,
        retry_after: Option<std::time::Duration>,
    },
}

impl Attempt {
    fn failed(problem: Problem) -> Attempt {
        Attempt::Failed {
            problem,
            retry_after: None,
        }
    }

    /// The `code` label of the request's counter.
    fn code(&self) -> String {
        match self {
            Attempt::Answered(_) => "200".to_owned(),
            Attempt::Failed { problem, .. } => match problem {
                Problem::Refused { status, .. } | Problem::Status { status, .. } => {
                    status.to_string()
                }
                Problem::TimedOut => "timeout".to_owned(),
                Problem::Network(_) => "network".to_owned(),
                Problem::TooLarge(_) | Problem::Faulty(_) => "faulty".to_owned(),
            },
        }
    }
}

/// What went wrong, in words without the URL.
fn network_problem(error: reqwest::Error) -> Problem {
    if error.is_timeout() {
        return Problem::TimedOut;
    }
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = cause.to_string();
        source = cause.source();
    }
    Problem::Network(message)
}

fn status_problem(status: u16, body: &[u8], key: &Secret) -> Problem {
    let told = guide_message(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let scrubbed = key.scrub(&told);
    let shown: String = scrubbed
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN)
        .collect::<String>();
    let mut message = if shown.trim().is_empty() {
        "no message".to_owned()
    } else {
        shown.trim().to_owned()
    };
    match status {
        401 | 403 => {
            if !key.expose().starts_with(ADMIN_PREFIX) {
                message.push_str("; an admin key is needed, they begin with `sk-ant-admin`");
            }
            Problem::Refused { status, message }
        }
        300..=399 => Problem::Status {
            status,
            message: "a redirect, which is not followed; check `base_url`".to_owned(),
        },
        _ => Problem::Status { status, message },
    }
}

/// The message of a kind server's error body.
fn guide_message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error")?;
    let kind = error
        .get("type")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("error");
    Some(format!("{kind}: {}", error.get("message")?.as_str()?))
}
