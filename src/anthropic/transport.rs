//! One question to one organization's server: sent in turn, tried again where that may help, read up to a limit.
//!
//! Everything here may be dropped at any moment. What changes something is sent by `orders`, and by nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::anthropic::error::{FetchError, Problem, tame};
use crate::anthropic::json_text;
use crate::anthropic::limiter::{Limiter, Share};
use crate::anthropic::redaction::Redaction;
use crate::anthropic::refusal::{self, Words};
use crate::anthropic::retry;
use crate::clock::{Chance, Clock, ServerNow, ServerTime};
use crate::domain::ids::OrganizationName;
use crate::domain::span::Day;
use crate::metrics::requests::{Code, Endpoint, RequestCounts, Verb};
use crate::outbound;
use crate::secret::Secret;

/// No answer is read further than this, unpacked.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// What is taken for a body before it comes.
const FIRST_BODY_BYTES: usize = 8 * 1024;
/// No body of an error is read further than this.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// So much of a server's own words is shown.
const MAX_MESSAGE_CHARS: usize = 200;
/// A pause that somebody who waits should know of.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// Maximum number of unreadable rows that are kept until somebody takes them.
const MAX_UNREADABLE: usize = 100;
/// An answer that has begun may not pause longer than this.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Everything that a question needs.
#[derive(Debug)]
pub struct Transport {
    /// As the configuration names it.
    pub organization: OrganizationName,
    /// Without `/v1` and without a slash at the end.
    pub base_url: Url,
    pub client: Client,
    /// For one request, from the connection to the last byte.
    pub timeout: Duration,
    /// The largest answer that is read.
    pub max_body_bytes: usize,
    /// The version of the API that every request names.
    pub api_version: HeaderValue,
    /// May be replaced while running.
    pub key: Mutex<Secret>,
    /// Applied to everything that the server says.
    pub redaction: Redaction,
    /// Of all of spendwatch, where it is configured; 0 is no limit.
    pub max_requests_per_minute: Option<u32>,
    /// Whose part of them this is.
    pub share: Share,
    /// In whose turn requests go out.
    pub limiter: Limiter,
    /// For the waits between attempts, and for dates.
    pub clock: Clock,
    /// For the jitter of those waits.
    pub chance: Chance,
    pub requests: Arc<RequestCounts>,
    /// The time by the `Date` headers of its responses.
    pub server_time: Arc<ServerTime>,
    /// Rows of lists that could not be read, since they were last taken.
    pub unreadable: Mutex<Vec<FetchError>>,
}

/// One question.
#[derive(Debug)]
pub struct Question<'a> {
    pub endpoint: Endpoint,
    /// The part of the address after `?`.
    pub query: &'a [(&'static str, String)],
    /// About which workspace, if about one.
    pub workspace: Option<&'a str>,
    /// What the server needs to be told to answer it: the names of features that are not general yet.
    pub beta: Option<&'static str>,
    /// Which page, from 1.
    pub page: u32,
}

impl Question<'_> {
    /// A question without a query.
    pub const fn about(endpoint: Endpoint) -> Question<'static> {
        Question {
            endpoint,
            query: &[],
            workspace: None,
            beta: None,
            page: 1,
        }
    }
}

/// Why one attempt failed, and what the server asked for.
pub(super) struct Failure {
    pub problem: Problem,
    /// A later attempt may fare better.
    pub is_passing: bool,
    /// Whatever was asked for, nothing was done.
    pub is_certain: bool,
    /// What was to be made is there already.
    pub is_there: bool,
    pub request_id: Option<String>,
    retry_after: Option<Duration>,
}

/// A successful answer. A body may hold a secret that is told once: it is wiped.
pub(super) struct Answered {
    pub body: Zeroizing<Vec<u8>>,
    /// By which the service finds the request again; safe to show.
    pub request_id: Option<String>,
}

impl Transport {
    /// Asks, up to [`retry::MAX_ATTEMPTS`] times, and returns the body of a successful answer.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, FetchError> {
        let mut n_attempts = 0;
        loop {
            let failure = match self.attempt(question).await {
                Ok(answered) => {
                    let mut body = self.redaction.body(answered.body, None);
                    return Ok(std::mem::take(&mut *body));
                }
                Err(failure) => failure,
            };
            n_attempts += 1;
            let step = retry::step_after(n_attempts).filter(|_| failure.is_passing);
            let Some(step) = step else {
                return Err(self.error(question, failure.problem));
            };
            let wait = self.chance.jitter(step);
            debug!(
                organization = self.organization.as_str(),
                endpoint = question.endpoint.path(),
                attempt = n_attempts,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "request failed, trying again: {}",
                failure.problem
            );
            self.clock.sleep(wait).await;
        }
    }

    /// The error with its place.
    pub fn error(&self, question: &Question<'_>, problem: Problem) -> FetchError {
        FetchError {
            organization: self.organization.clone(),
            verb: Verb::Get,
            endpoint: question.endpoint,
            ids: Vec::new(),
            workspace: question.workspace.map(|id| self.tame(id)),
            page: question.page,
            problem,
        }
    }

    /// An answer that cannot be right, with its place.
    pub fn faulty(&self, question: &Question<'_>, fault: &dyn std::error::Error) -> FetchError {
        let detail = tame(&fault.to_string(), &self.redaction, 2 * MAX_MESSAGE_CHARS);
        self.error(question, Problem::Faulty { detail })
    }

    /// Keeps what a list has in place of a row, with its place.
    pub fn note_unreadable(&self, question: &Question<'_>, fault: &dyn std::error::Error) {
        let error = self.faulty(question, fault);
        let mut noted = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_UNREADABLE && !noted.contains(&error) {
            noted.push(error);
        }
    }

    async fn attempt(&self, question: &Question<'_>) -> Result<Answered, Failure> {
        let mut headers = self.headers()?;
        if let Some(beta) = question.beta {
            headers.insert("anthropic-beta", HeaderValue::from_static(beta));
        }
        let url = self.address(question.endpoint, question.workspace.as_slice());
        let request = self.client.get(url).headers(headers);
        let request = request.query(&self.with_original_ids(question.query));
        self.send(question.endpoint, request).await
    }

    /// Sends a request once, in its turn, and counts it.
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
    ) -> Result<Answered, Failure> {
        let pass = self.limiter.pass().await;
        let (request_id, (code, outcome)) = match request.send().await {
            Ok(response) => {
                let request_id = self.request_id(response.headers());
                (request_id, self.read(response).await)
            }
            Err(error) => (None, self.broken(error)),
        };
        self.requests.count(endpoint, code);
        if let Err(failure) = &outcome
            && let Some(wait) = failure.retry_after
        {
            // Before the pass is given back, so that nobody slips through.
            self.limiter.pause(wait);
            if wait >= LONG_WAIT {
                info!(
                    target: "spendwatch::waiting",
                    organization = self.organization.as_str(),
                    wait_s = wait.as_secs(),
                    "the service asks to be left alone for {} s", wait.as_secs()
                );
            }
        }
        drop(pass);
        match outcome {
            Ok(body) => {
                let mut body = body.into_bytes();
                json_text::repair(&mut body);
                Ok(Answered { body, request_id })
            }
            Err(failure) => Err(Failure {
                request_id,
                ..failure
            }),
        }
    }

    /// Where a request goes, with ids in the place of braces; without its query.
    pub(super) fn address(&self, endpoint: Endpoint, ids: &[&str]) -> Url {
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
            .expect("an address that begins with http has a path")
            .pop_if_empty()
            .extend(filled);
        url
    }

    /// A query about redacted ids as the server understands it.
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
        Some(self.tame(id)).filter(|id| !id.is_empty())
    }

    /// Reads an answer whole, or what is wrong with it.
    async fn read(&self, response: Response) -> Exchange {
        let status = response.status();
        self.clock
            .note_server_time(&self.server_time, sent_at(response.headers()));
        let code = Code::Status(status.as_u16());
        if !status.is_success() {
            return (code, Err(self.refusal(response).await));
        }
        match self.body(response, self.max_body_bytes).await {
            (code, Ok(Body::Cut(_))) => (code, Err(self.too_large())),
            exchange => exchange,
        }
    }

    /// What an answer with another status than 2xx means.
    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            let problem = Problem::Redirect {
                status: status.as_u16(),
                to: self.tame(&refusal::destination(&headers)),
            };
            return Failure::nothing_sent(problem);
        }
        let (_, body) = self.body(response, MAX_ERROR_BYTES).await;
        // The status says what matters; words that break off are no words.
        let mut body = body.map(Body::into_bytes).unwrap_or_default();
        json_text::repair(&mut body);
        let words = refusal::words(&body);
        let problem = self.problem(status, &words);
        let is_passing = retry::is_passing(status.as_u16());
        let should_retry = refusal::should_retry(&headers);
        Failure {
            problem,
            // A server that refuses has done nothing; one that is in trouble, or was too slow, may have.
            is_certain: status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT,
            is_there: words.is_there || status == StatusCode::CONFLICT,
            request_id: None,
            // A cap on spend does not pass, whatever else is said.
            is_passing: words.cap.is_none() && should_retry.unwrap_or(is_passing),
            retry_after: self
                .pause_asked_for(&headers)
                .filter(|_| words.cap.is_none() && (is_passing || should_retry == Some(true))),
        }
    }

    fn problem(&self, status: StatusCode, words: &Words) -> Problem {
        let message = self.tame(&words.text);
        let code = status.as_u16();
        if let Some(cap) = words.cap {
            return Problem::Capped {
                cap,
                status: code,
                until: next_month(self.clock.now()),
                message,
            };
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Problem::Refused {
                status: code,
                message,
                hint: refusal::hint(status, &self.key()),
            },
            _ if words.is_not_available => Problem::NotAvailable {
                status: code,
                message,
            },
            _ if words.is_ramp => Problem::RampLimited {
                status: code,
                message,
            },
            StatusCode::PAYMENT_REQUIRED => Problem::Unbilled {
                until: next_month(self.clock.now()),
                message,
            },
            _ => Problem::Status {
                status: code,
                message,
            },
        }
    }

    /// How long the server asks to wait: to the millisecond, if it says that, too.
    fn pause_asked_for(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let precise = text("retry-after-ms").and_then(retry::retry_after_ms);
        // A `Retry-After` with a date is meant by the server's clock.
        let now = sent_at(headers).unwrap_or_else(|| self.clock.now());
        precise.or_else(|| retry::retry_after(text(RETRY_AFTER.as_str())?, now))
    }

    async fn body(&self, mut response: Response, limit: usize) -> Exchange {
        let code = Code::Status(response.status().as_u16());
        // Large enough for what may hold a secret: a copy that is left behind when it grows would not be wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(FIRST_BODY_BYTES));
        loop {
            let chunk = tokio::time::timeout(MAX_SILENCE.min(self.timeout), response.chunk());
            let chunk = match chunk.await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return (code, Ok(Body::Whole(body))),
                Ok(Err(error)) => return self.broken(error),
                Err(_) => return self.silent(),
            };
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return (code, Ok(Body::Cut(body)));
            }
        }
    }

    /// What every request says of itself. The key is marked, so that no log of the HTTP library shows it.
    pub(super) fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut key = HeaderValue::from_str(self.key().expose())
            .map_err(|_| Failure::nothing_sent(Problem::UnsendableKey))?;
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

    /// The server's present time, as far as it is known.
    pub(super) fn server_now(&self) -> ServerNow {
        self.clock.server_now(&self.server_time)
    }

    pub(super) fn key(&self) -> Secret {
        self.key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn tame(&self, text: &str) -> String {
        tame(text, &self.redaction, MAX_MESSAGE_CHARS)
    }

    /// A connection that failed, timed out or broke off: a later attempt may fare better.
    fn broken(&self, error: reqwest::Error) -> Exchange {
        let (is_connecting, is_timeout) = (error.is_connect(), error.is_timeout());
        let cause = self.tame(&outbound::causes(&error.without_url()));
        let server = self.server();
        if is_timeout {
            let detail = if is_connecting {
                format!("cannot connect to {server}")
            } else {
                format!("{server} took longer than {:?}", self.timeout)
            };
            let failure = Failure {
                is_certain: is_connecting,
                ..Failure::passing(Problem::Timeout { detail })
            };
            return (Code::Timeout, Err(failure));
        }
        let detail = if is_connecting {
            format!("cannot connect to {server}: {cause}")
        } else {
            format!("the connection to {server} broke off: {cause}")
        };
        let failure = Failure {
            is_certain: is_connecting,
            ..Failure::passing(Problem::Network { detail })
        };
        (Code::Network, Err(failure))
    }

    fn silent(&self) -> Exchange {
        let detail = format!("{} stopped in the middle of its answer", self.server());
        (
            Code::Timeout,
            Err(Failure::passing(Problem::Timeout { detail })),
        )
    }

    fn too_large(&self) -> Failure {
        Failure::lasting(Problem::TooLarge {
            limit: self.max_body_bytes,
        })
    }

    /// Host and port: never the user part of a URL.
    fn server(&self) -> String {
        let host = self.base_url.host_str().unwrap_or_default();
        match self.base_url.port_or_known_default() {
            Some(port) => format!("`{host}:{port}`"),
            None => format!("`{host}`"),
        }
    }
}

/// Returns when a response was sent by the server's clock: its `Date`, plus its `Age` if a cache kept it.
fn sent_at(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name| headers.get(name)?.to_str().ok();
    let date = outbound::http_date(text(DATE)?)?;
    let age = text(AGE).and_then(|age| age.trim().parse::<u32>().ok());
    let age = SignedDuration::from_secs(i64::from(age.unwrap_or(0)));
    date.checked_add(age).ok()
}

/// The first day of the month after, in UTC.
fn next_month(now: Timestamp) -> Date {
    let last = Day::of(now).date().last_of_month();
    last.tomorrow().unwrap_or(last)
}

impl Failure {
    /// Nothing was done, and trying again does not help.
    pub(super) fn nothing_sent(problem: Problem) -> Failure {
        Failure {
            is_certain: true,
            ..Failure::lasting(problem)
        }
    }

    fn lasting(problem: Problem) -> Failure {
        Failure {
            problem,
            is_passing: false,
            is_certain: false,
            is_there: false,
            request_id: None,
            retry_after: None,
        }
    }

    fn passing(problem: Problem) -> Failure {
        Failure {
            is_passing: true,
            ..Failure::lasting(problem)
        }
    }
}

/// How a request ended: for the count, and for who asked.
type Exchange = (Code, Result<Body, Failure>);

/// What was read of a body.
enum Body {
    Whole(Zeroizing<Vec<u8>>),
    /// Up to the limit; there was more.
    Cut(Zeroizing<Vec<u8>>),
}

impl Body {
    fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        match self {
            Body::Whole(bytes) | Body::Cut(bytes) => bytes,
        }
    }
}
