//! Sends one JSON post. Each receiver classifies the response with its own table, and error texts contain no secrets.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::outcome::{Delivery, MAX_RETRY_AFTER, RetrySchedule, SettingsError};
use crate::wording::formatting;
use spendwatch_base::outbound::{self, HttpClientConfig};
use spendwatch_base::secret::{REDACTED, Secret};

/// Includes the TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From name resolution to the last byte of the response.
pub const WHOLE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
const MAX_QUOTED_CHARS: usize = 200;
/// Shorter parts of a URL path are words, not secrets.
const MIN_SECRET_PART_CHARS: usize = 6;
/// Shorter words of a header are scheme names such as `Bearer`.
const MIN_SECRET_WORD_CHARS: usize = 8;

/// A receiver's URL, which is a secret, and a client for it.
#[derive(Debug, Clone)]
pub struct ReceiverEndpoint {
    /// Does not follow redirects and has timeouts.
    pub client: Client,
    url: Secret,
    parsed: SecretUrl,
    appended_path: &'static str,
}

/// A parsed secret URL; `Debug` does not show it.
#[derive(Clone)]
struct SecretUrl(Url);

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

impl ReceiverEndpoint {
    /// Parses an `http://` or `https://` URL. Without `allow_http`, rejects `http://` to other hosts than loopback, which would
    /// send secrets in clear text.
    pub fn new(url: Secret, allow_http: bool) -> Result<ReceiverEndpoint, SettingsError> {
        let parsed = Url::parse(url.expose().trim()).map_err(|_| SettingsError::Url)?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(SettingsError::Url);
        }
        if parsed.scheme() == "http" && !allow_http && !outbound::is_loopback(&parsed) {
            return Err(SettingsError::ClearText);
        }
        let limits = HttpClientConfig {
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: WHOLE_TIMEOUT,
            timeout: WHOLE_TIMEOUT,
            ca_file: None,
        };
        let client =
            outbound::client_for(&limits, &parsed).map_err(|error| SettingsError::Tls {
                reason: outbound::error_chain(&error),
            })?;
        Ok(ReceiverEndpoint {
            client,
            url,
            parsed: SecretUrl(parsed),
            appended_path: "",
        })
    }

    /// Sets a query parameter and keeps all others.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> ReceiverEndpoint {
        let query = self.parsed.0.query().unwrap_or_default();
        let is_other = |part: &&str| {
            !part.is_empty() && part.split_once('=').map_or(*part, |(name, _)| name) != name
        };
        let own = format!("{name}={value}");
        let parts: Vec<&str> = query.split('&').filter(is_other).chain([&*own]).collect();
        let query = parts.join("&");
        self.parsed.0.set_query(Some(&query));
        self
    }

    /// Appends a path, which is not a secret.
    #[must_use]
    pub fn with_path(self, path: &'static str) -> ReceiverEndpoint {
        ReceiverEndpoint {
            appended_path: path,
            ..self
        }
    }

    fn target(&self) -> Url {
        let mut target = self.parsed.0.clone();
        if !self.appended_path.is_empty() {
            let path = target.path().trim_end_matches('/');
            let path = format!("{path}{}", self.appended_path);
            target.set_path(&path);
        }
        target
    }

    /// Returns the URL as configured.
    pub fn secret(&self) -> &Secret {
        &self.url
    }

    /// Removes the URL, its path, its query, and their parts that are long enough to be secrets.
    fn redact(&self, text: &str) -> String {
        let url = &self.parsed.0;
        let query = url.query().unwrap_or_default();
        let parts = url.path().split('/').chain(query.split(['&', '=']));
        let userinfo = [url.username(), url.password().unwrap_or_default()];
        let mut redacted = self.url.redact(text).replace(url.as_str(), REDACTED);
        let raw = parts.chain(userinfo).chain([url.path(), query]);
        // A receiver may quote values in decoded form.
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let mut secrets: Vec<String> = raw.map(str::to_owned).chain(values).collect();
        secrets.sort_by_key(|part| std::cmp::Reverse(part.len()));
        for part in secrets {
            if part.len() >= MIN_SECRET_PART_CHARS {
                redacted = redacted.replace(&part, REDACTED);
            }
        }
        redacted
    }
}

/// One request to a receiver.
#[derive(Debug)]
pub struct PostRequest<'a> {
    pub endpoint: &'a ReceiverEndpoint,
    /// `Content-Type` defaults to JSON.
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Must not appear in error texts, in addition to the URL.
    pub secrets: Vec<&'a Secret>,
    pub now: Timestamp,
}

/// The response of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostResponse {
    pub status: u16,
    /// Lower case, without parameters; empty if missing.
    pub media_type: String,
    /// At most the first 64 KiB, as text.
    pub body: String,
    /// Whether the whole body was read.
    pub is_whole: bool,
}

impl PostResponse {
    /// Returns whether the body is HTML, as from a proxy.
    pub fn is_page(&self) -> bool {
        self.media_type == "text/html" || self.body.trim_start().starts_with('<')
    }

    /// Returns the pause that the body requests in `retry_after`, in seconds with fractions.
    fn retry_after(&self) -> Option<Duration> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let seconds = body.get("retry_after")?.as_f64()?;
        (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Class of an HTTP response, from which the delivery follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseClass {
    Delivered,
    Retry,
    /// The notifier is misconfigured or blocked; probe it.
    Park,
    /// The notifier is misconfigured or blocked, and must not be probed.
    ParkForGood,
    Drop,
}

/// Sends one GET request; any 2xx response is a success. The error does not contain the URL.
pub async fn ping(endpoint: &ReceiverEndpoint, timeout: Duration) -> Result<(), String> {
    let request = endpoint.client.get(endpoint.target());
    match request.timeout(timeout).send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("answered {}", response.status().as_u16())),
        Err(error) if error.is_timeout() => Err("response timed out".to_owned()),
        Err(error) => {
            let text = outbound::error_chain(&error.without_url());
            Err(formatting::single_line(&endpoint.redact(&text)))
        }
    }
}

impl<'a> PostRequest<'a> {
    /// Creates a post of a JSON body to a receiver whose URL is the only credential.
    pub fn json(
        endpoint: &'a ReceiverEndpoint,
        payload: &Value,
        now: Timestamp,
    ) -> PostRequest<'a> {
        PostRequest {
            endpoint,
            headers: HeaderMap::new(),
            body: payload.to_string().into_bytes(),
            secrets: Vec::new(),
            now,
        }
    }
}

/// Sends one post.
pub async fn post(post: PostRequest<'_>, classify: fn(&PostResponse) -> ResponseClass) -> Delivery {
    match send_request(&post).await {
        Ok(reply) => to_delivery(classify(&reply.response), &reply, &post),
        Err(delivery) => delivery,
    }
}

/// A response with the pause that the receiver requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostReply {
    pub response: PostResponse,
    /// Pause from the time of the attempt.
    pub after: Option<Duration>,
}

/// Sends one post and returns the response. Without a response, the error is the delivery.
pub async fn send_request(post: &PostRequest<'_>) -> Result<PostReply, Delivery> {
    let mut headers = post.headers.clone();
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    let request = post.endpoint.client.post(post.endpoint.target());
    let request = request.headers(headers).body(post.body.clone());
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Err(no_response(&error.without_url(), post)),
    };
    let after = header(&response, &RETRY_AFTER);
    let after = after.and_then(|value| outbound::retry_after(value, post.now));
    let response = read_response(response).await;
    let after = after.max(response.retry_after());
    Ok(PostReply { response, after })
}

/// Returns the delivery for a class of response.
pub fn to_delivery(class: ResponseClass, reply: &PostReply, post: &PostRequest<'_>) -> Delivery {
    let PostReply { response, after } = reply;
    let error = || describe(response, post);
    match class {
        ResponseClass::Delivered => Delivery::Delivered,
        ResponseClass::Retry if after.is_some_and(|after| after > MAX_RETRY_AFTER) => {
            Delivery::park(format!("{}; asks to wait longer than 24 hours", error()))
        }
        ResponseClass::Retry => Delivery::Retry {
            error: error(),
            after: *after,
            // A gateway that timed out may have passed the message on; so may a receiver that sent a 2xx status.
            is_ambiguous: matches!(response.status, 200..=299 | 502 | 504),
            schedule: RetrySchedule::Common,
        },
        ResponseClass::Park => Delivery::park(error()),
        ResponseClass::ParkForGood => Delivery::Park {
            error: error(),
            is_probed: false,
        },
        ResponseClass::Drop => Delivery::drop_message(error()),
    }
}

/// Without a connection, the receiver has nothing; after that it may have everything.
fn no_response(error: &reqwest::Error, post: &PostRequest<'_>) -> Delivery {
    let text = quote(&outbound::error_chain(error), post);
    if error.is_connect() || error.is_builder() {
        Delivery::retry(format!("no connection: {text}"))
    } else if error.is_timeout() {
        Delivery::ambiguous("response timed out")
    } else {
        Delivery::ambiguous(format!("no response: {text}"))
    }
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

async fn read_response(mut response: Response) -> PostResponse {
    let status = response.status().as_u16();
    let media_type = header(&response, &CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let mut body = Vec::new();
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let capacity = MAX_RESPONSE_BYTES - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(capacity)]);
                if chunk.len() > capacity {
                    break false;
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    PostResponse {
        status,
        media_type,
        body: String::from_utf8_lossy(&body).into_owned(),
        is_whole,
    }
}

fn describe(response: &PostResponse, post: &PostRequest<'_>) -> String {
    let body = quote(&response.body, post);
    if body.is_empty() {
        format!("answered {}", response.status)
    } else {
        format!("answered {}: {body}", response.status)
    }
}

/// Removes parts of a header or key that are secrets themselves: the token of `Bearer token`, the base64 of
/// `whsec_base64`.
fn redact_words(secret: &Secret, text: &str) -> String {
    let words = secret.expose().split_whitespace();
    words
        .map(|word| word.strip_prefix("whsec_").unwrap_or(word))
        .filter(|word| word.len() >= MIN_SECRET_WORD_CHARS)
        .fold(text.to_owned(), |text, word| text.replace(word, REDACTED))
}

/// Returns at most 200 characters on one line, without secrets and control characters. Redacts before cutting, so that no
/// part of a secret remains.
fn quote(text: &str, post: &PostRequest<'_>) -> String {
    let mut redacted = post.endpoint.redact(text);
    for secret in &post.secrets {
        redacted = redact_words(secret, &secret.redact(&redacted));
    }
    quote_line(&redacted)
}

/// Returns at most 200 characters on one line, without control characters.
pub fn quote_line(text: &str) -> String {
    let line = formatting::single_line(text);
    match line.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> ReceiverEndpoint {
        let url = "https://hooks.example.com/services/T000/B000/canary?sig=tok-en_1";
        ReceiverEndpoint::new(Secret::new(url.to_owned()), true).unwrap()
    }

    fn post_to(endpoint: &ReceiverEndpoint) -> PostRequest<'_> {
        PostRequest {
            endpoint,
            headers: HeaderMap::new(),
            body: Vec::new(),
            secrets: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn path_is_appended_to_the_existing_path() {
        let check = |url: &str, expected: &str| {
            let endpoint = ReceiverEndpoint::new(Secret::new(url.to_owned()), true).unwrap();
            assert_eq!(
                endpoint.with_path("/api/v2/alerts").target().as_str(),
                expected
            );
        };
        check("http://am-0:9093", "http://am-0:9093/api/v2/alerts");
        check("http://am-0:9093/", "http://am-0:9093/api/v2/alerts");
        check(
            "https://a.example/am/?x=1",
            "https://a.example/am/api/v2/alerts?x=1",
        );
    }

    fn delivery_for(class: ResponseClass, status: u16, after: Option<u64>) -> Delivery {
        let response = PostResponse {
            status,
            media_type: String::new(),
            body: "why".to_owned(),
            is_whole: true,
        };
        let after = after.map(Duration::from_secs);
        to_delivery(class, &PostReply { response, after }, &post_to(&endpoint()))
    }

    #[test]
    fn pause_of_more_than_a_day_parks() {
        assert!(matches!(
            delivery_for(ResponseClass::Retry, 429, Some(86_401)),
            Delivery::Park { .. }
        ));
        let expected = Delivery::Retry {
            error: "answered 429: why".to_owned(),
            after: Some(MAX_RETRY_AFTER),
            is_ambiguous: false,
            schedule: RetrySchedule::Common,
        };
        assert_eq!(
            delivery_for(ResponseClass::Retry, 429, Some(86_400)),
            expected
        );
    }

    #[test]
    fn gateway_timeouts_are_ambiguous() {
        for (status, expected) in [(502, true), (504, true), (500, false), (503, false)] {
            let delivery = delivery_for(ResponseClass::Retry, status, None);
            assert!(
                matches!(delivery, Delivery::Retry { is_ambiguous, .. } if is_ambiguous == expected),
                "{status}"
            );
        }
    }

    #[test]
    fn no_part_of_a_url_is_quoted() {
        let endpoint = endpoint();
        assert_eq!(format!("{endpoint:?}").matches("canary").count(), 0);
        let echo = "no POST https://hooks.example.com/services/T000/B000/canary?sig=tok-en_1 \n/services/T000/B000/canary canary tok-en_1\u{1b}[31m";
        assert_eq!(
            quote(echo, &post_to(&endpoint)),
            "no POST [redacted] [redacted] [redacted] [redacted] [31m"
        );
        let long = "x".repeat(500);
        assert_eq!(
            quote(&long, &post_to(&endpoint)).chars().count(),
            MAX_QUOTED_CHARS + 1
        );
    }

    #[test]
    fn no_part_of_a_header_key_or_decoded_value_is_quoted() {
        let url = "https://hooks.example.com/x?sig=a%2Fb%2Bcanary&v=1".to_owned();
        let endpoint = ReceiverEndpoint::new(Secret::new(url), true).unwrap();
        let secrets = [
            "Bearer canary-0002",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ]
        .map(|text| Secret::new(text.to_owned()));
        let post = PostRequest {
            secrets: secrets.iter().collect(),
            ..post_to(&endpoint)
        };
        let echo = "Bearer token canary-0002, key MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, sig a/b+canary";
        assert_eq!(
            quote(echo, &post),
            "Bearer token [redacted], key [redacted], sig [redacted]"
        );
    }

    #[test]
    fn parameter_is_set_and_others_stay() {
        for (query, expected) in [
            ("", "wait=true"),
            ("?thread_id=7&a=%2fb+c", "thread_id=7&a=%2fb+c&wait=true"),
            ("?wait=false&thread_id=7", "thread_id=7&wait=true"),
            ("?waiting&wait", "waiting&wait=true"),
        ] {
            let url = Secret::new(format!("https://example.com/x{query}"));
            let endpoint = ReceiverEndpoint::new(url, true)
                .unwrap()
                .with_query("wait", "true");
            assert_eq!(endpoint.parsed.0.query(), Some(expected), "{query}");
        }
    }

    #[test]
    fn body_may_request_fractions_of_a_second() {
        let asked = |body: &str| {
            let response = PostResponse {
                status: 429,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            response.retry_after()
        };
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(asked("{\"retry_after\": 0.65}"), seconds(0.65));
        assert_eq!(asked("{\"retry_after\":1,\"ok\":false}"), seconds(1.0));
        assert_eq!(asked("{\"retry_after\": 1e300}"), Some(Duration::MAX));
        for rubbish in [
            "",
            "slow down",
            "[]",
            "{\"retry_after\": -1}",
            "{\"retry_after\": \"1\"}",
        ] {
            assert_eq!(asked(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn no_secret_is_sent_in_clear_text() {
        for (url, is_good) in [
            ("https://example.com/x", true),
            ("http://127.0.0.1:80/x", true),
            ("http://[::1]/x", true),
            ("http://example.com/x", false),
        ] {
            let endpoint = ReceiverEndpoint::new(Secret::new(url.to_owned()), false);
            assert_eq!(endpoint.is_ok(), is_good, "{url}");
        }
    }

    #[test]
    fn url_must_be_http() {
        for url in [
            "",
            "hooks.example.com",
            "ftp://x/y",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(
                ReceiverEndpoint::new(Secret::new(url.to_owned()), true).is_err(),
                "{url}"
            );
        }
    }
}
