//! One JSON post: sent once, its answer judged by the receiver's own table, and nothing secret in what is said about it.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use crate::notify::outcome::{Delivery, MAX_RETRY_AFTER, Schedule, SettingsError};
use crate::notify::formatting;
use crate::outbound::{self, Outbound};
use crate::secret::{REDACTED, Secret};

/// Until a connection stands, its encryption included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first look-up to the last byte of the answer.
pub const WHOLE_TIMEOUT: Duration = Duration::from_secs(20);
/// More of an answer is not read.
const MAX_ANSWER: usize = 64 * 1024;
/// More of an answer is not quoted.
const MAX_QUOTED: usize = 200;
/// Shorter parts of a URL's path are words, not secrets.
const MIN_SECRET_PART: usize = 6;
/// Shorter words of a header are names of a scheme, as `Bearer` is.
const MIN_SECRET_WORD: usize = 8;

/// A client for posts to one receiver. With `allow_http`, the address may be `http://` to a host other than loopback.
pub fn client(url: &Secret, allow_http: bool) -> Result<Client, SettingsError> {
    let limits = Outbound {
        connect_timeout: CONNECT_TIMEOUT,
        read_timeout: WHOLE_TIMEOUT,
        timeout: WHOLE_TIMEOUT,
        ca_file: None,
    };
    let address = if allow_http {
        Address::new(url.clone())?
    } else {
        Address::encrypted(url.clone())?
    };
    outbound::client_for(&limits, &address.parsed.0).map_err(|error| SettingsError::Tls {
        reason: outbound::causes(&error),
    })
}

/// A receiver's address, which is a secret.
#[derive(Debug, Clone)]
pub struct Address {
    url: Secret,
    parsed: SecretUrl,
    below: &'static str,
}

/// A parsed secret address, whose `Debug` shows nothing.
#[derive(Clone)]
struct SecretUrl(Url);

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Address {
    /// Reads an `http://` or `https://` address.
    pub fn new(url: Secret) -> Result<Address, SettingsError> {
        let parsed = Url::parse(url.expose().trim()).map_err(|_| SettingsError::Url)?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(SettingsError::Url);
        }
        Ok(Address {
            url,
            parsed: SecretUrl(parsed),
            below: "",
        })
    }

    /// The same, but `http://` only to loopback: what is secret must not cross a network in clear text.
    fn encrypted(url: Secret) -> Result<Address, SettingsError> {
        let address = Address::new(url)?;
        let parsed = &address.parsed.0;
        if parsed.scheme() == "http" && !outbound::is_loopback(parsed) {
            return Err(SettingsError::ClearText);
        }
        Ok(address)
    }

    /// The same with a parameter in its query, in place of one of this name. All others stay as they are.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Address {
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

    /// The same with a path appended to its own. What is appended is no secret.
    #[must_use]
    pub fn below(self, path: &'static str) -> Address {
        Address {
            below: path,
            ..self
        }
    }

    fn target(&self) -> Url {
        let mut target = self.parsed.0.clone();
        if !self.below.is_empty() {
            let path = format!("{}{}", target.path().trim_end_matches('/'), self.below);
            target.set_path(&path);
        }
        target
    }

    /// The address as it was given.
    pub fn secret(&self) -> &Secret {
        &self.url
    }

    /// A foreign text without the address, its path, its query, and the parts of these that are long enough to be secrets.
    fn scrub(&self, text: &str) -> String {
        let url = &self.parsed.0;
        let query = url.query().unwrap_or_default();
        let parts = url.path().split('/').chain(query.split(['&', '=']));
        let userinfo = [url.username(), url.password().unwrap_or_default()];
        let mut scrubbed = self.url.scrub(text).replace(url.as_str(), REDACTED);
        let raw = parts.chain(userinfo).chain([url.path(), query]);
        // A receiver reads the values without their escapes, and may quote them so.
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let mut secrets: Vec<String> = raw.map(str::to_owned).chain(values).collect();
        secrets.sort_by_key(|part| std::cmp::Reverse(part.len()));
        for part in secrets {
            if part.len() >= MIN_SECRET_PART {
                scrubbed = scrubbed.replace(&part, REDACTED);
            }
        }
        scrubbed
    }
}

/// What is to be posted.
#[derive(Debug)]
pub struct Post<'a> {
    pub address: &'a Address,
    /// The content type is that of JSON unless one is among them.
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Besides the address: what must not be quoted from an answer.
    pub secrets: Vec<&'a Secret>,
    /// The time of the attempt.
    pub now: Timestamp,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The media type in lower case, without parameters; empty where there is none.
    pub media_type: String,
    /// At most the first 64 KiB, as text.
    pub body: String,
    /// Whether the body was read to its end.
    pub is_whole: bool,
}

impl Answer {
    /// Whether it is a page for people, as a proxy in between may send in the receiver's place.
    pub fn is_page(&self) -> bool {
        self.media_type == "text/html" || self.body.trim_start().starts_with('<')
    }

    /// How long the body asks to wait, in its member `retry_after`: seconds, also parts of one.
    fn retry_after(&self) -> Option<Duration> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let seconds = body.get("retry_after")?.as_f64()?;
        (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// A receiver's judgement of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    Retry,
    /// The receiver is at fault; probe now and then.
    Park,
    /// The receiver is at fault, and wants no probes.
    ParkForGood,
    /// The message is at fault.
    Drop,
}

/// Asks an address once, without a word; any answer of 2xx is a good one. The error holds nothing of the address.
pub async fn call(client: &Client, address: &Address, timeout: Duration) -> Result<(), String> {
    let request = client.get(address.parsed.0.clone()).timeout(timeout);
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("answered {}", response.status().as_u16())),
        Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
        Err(error) => {
            let text = outbound::causes(&error.without_url());
            Err(formatting::line(&address.scrub(&text)))
        }
    }
}

/// Posts once.
pub async fn post(client: &Client, post: Post<'_>, judge: fn(&Answer) -> Verdict) -> Delivery {
    match ask(client, &post).await {
        Ok(reply) => deliver(judge(&reply.answer), &reply, &post),
        Err(delivery) => delivery,
    }
}

/// Posts a JSON body once, where the address alone says who we are.
pub async fn post_json(
    client: &Client,
    address: &Address,
    payload: &Value,
    now: Timestamp,
    judge: fn(&Answer) -> Verdict,
) -> Delivery {
    let body = payload.to_string().into_bytes();
    let plain = Post {
        address,
        headers: HeaderMap::new(),
        body,
        secrets: Vec::new(),
        now,
    };
    post(client, plain, judge).await
}

/// What came back, and how long the receiver asks to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub answer: Answer,
    /// From the time of the attempt on.
    pub after: Option<Duration>,
}

/// Posts once, for receivers that read more in an answer than its verdict. Without an answer the outcome is clear.
pub async fn ask(client: &Client, post: &Post<'_>) -> Result<Reply, Delivery> {
    let mut headers = post.headers.clone();
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    let request = client
        .post(post.address.target())
        .headers(headers)
        .body(post.body.clone());
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Err(unanswered(&error.without_url(), post)),
    };
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| outbound::retry_after(value, post.now));
    let answer = read(response).await;
    let after = after.max(answer.retry_after());
    Ok(Reply { answer, after })
}

/// What follows from a verdict.
pub fn deliver(verdict: Verdict, reply: &Reply, post: &Post<'_>) -> Delivery {
    let Reply { answer, after } = reply;
    let error = || describe(answer, post);
    match verdict {
        Verdict::Delivered => Delivery::Delivered,
        Verdict::Retry if after.is_some_and(|after| after > MAX_RETRY_AFTER) => Delivery::park(
            format!("{}; it asks to wait for more than 24 hours", error()),
        ),
        Verdict::Retry => Delivery::Retry {
            error: error(),
            after: *after,
            // A gateway that gave up waiting may have passed the message on; so may who began to answer well.
            is_ambiguous: matches!(answer.status, 200..=299 | 502 | 504),
            schedule: Schedule::Common,
        },
        Verdict::Park => Delivery::park(error()),
        Verdict::ParkForGood => Delivery::Park {
            error: error(),
            is_probed: false,
        },
        Verdict::Drop => Delivery::drop_message(error()),
    }
}

/// Without a connection the receiver has nothing; later it may have everything.
fn unanswered(error: &reqwest::Error, post: &Post<'_>) -> Delivery {
    let text = quote(&outbound::causes(error), post);
    if error.is_connect() || error.is_builder() {
        Delivery::retry(format!("no connection: {text}"))
    } else if error.is_timeout() {
        Delivery::ambiguous("no answer in time")
    } else {
        Delivery::ambiguous(format!("no answer: {text}"))
    }
}

async fn read(mut response: Response) -> Answer {
    let status = response.status().as_u16();
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let mut body = Vec::new();
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = MAX_ANSWER - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break false;
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Answer {
        status,
        media_type,
        body: String::from_utf8_lossy(&body).into_owned(),
        is_whole,
    }
}

fn describe(answer: &Answer, post: &Post<'_>) -> String {
    let body = quote(&answer.body, post);
    if body.is_empty() {
        format!("answered {}", answer.status)
    } else {
        format!("answered {}: {body}", answer.status)
    }
}

/// Without the parts of a header or a key that are secrets by themselves: the token of `Bearer token`, the base64 of
/// `whsec_base64`.
fn scrub_words(secret: &Secret, text: &str) -> String {
    let words = secret.expose().split_whitespace();
    formatting
        .map(|word| word.strip_prefix("whsec_").unwrap_or(word))
        .filter(|word| word.len() >= MIN_SECRET_WORD)
        .fold(text.to_owned(), |text, word| text.replace(word, REDACTED))
}

/// On one line, without secrets and control characters, at most 200 characters. It is searched before it is cut, so that
/// no half of a secret stays.
fn quote(text: &str, post: &Post<'_>) -> String {
    let mut scrubbed = post.address.scrub(text);
    for secret in &post.secrets {
        scrubbed = scrub_words(secret, &secret.scrub(&scrubbed));
    }
    let line = formatting::line(&scrubbed);
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        let url = "https://hooks.example.com/services/T000/B000/canary?sig=tok-en_1";
        Address::new(Secret::new(url.to_owned())).unwrap()
    }

    fn post_to(address: &Address) -> Post<'_> {
        Post {
            address,
            headers: HeaderMap::new(),
            body: Vec::new(),
            secrets: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_path_is_appended_to_whatever_path_there_is() {
        let check = |url: &str, expected: &str| {
            let address = Address::new(Secret::new(url.to_owned())).unwrap();
            assert_eq!(address.below("/api/v2/alerts").target().as_str(), expected);
        };
        check("http://am-0:9093", "http://am-0:9093/api/v2/alerts");
        check("http://am-0:9093/", "http://am-0:9093/api/v2/alerts");
        check(
            "https://a.example/am/?x=1",
            "https://a.example/am/api/v2/alerts?x=1",
        );
    }

    fn judged(verdict: Verdict, status: u16, after: Option<u64>) -> Delivery {
        let answer = Answer {
            status,
            media_type: String::new(),
            body: "why".to_owned(),
            is_whole: true,
        };
        let after = after.map(Duration::from_secs);
        deliver(verdict, &Reply { answer, after }, &post_to(&address()))
    }

    #[test]
    fn a_pause_of_more_than_a_day_is_parked() {
        assert!(matches!(
            judged(Verdict::Retry, 429, Some(86_401)),
            Delivery::Park { .. }
        ));
        let expected = Delivery::Retry {
            error: "answered 429: why".to_owned(),
            after: Some(MAX_RETRY_AFTER),
            is_ambiguous: false,
            schedule: Schedule::Common,
        };
        assert_eq!(judged(Verdict::Retry, 429, Some(86_400)), expected);
    }

    #[test]
    fn what_a_gateway_gave_up_on_is_ambiguous() {
        for (status, expected) in [(502, true), (504, true), (500, false), (503, false)] {
            let delivery = judged(Verdict::Retry, status, None);
            assert!(
                matches!(delivery, Delivery::Retry { is_ambiguous, .. } if is_ambiguous == expected),
                "{status}"
            );
        }
    }

    #[test]
    fn no_part_of_an_address_is_quoted() {
        let address = address();
        assert_eq!(format!("{address:?}").matches("canary").count(), 0);
        let echo = "no POST https://hooks.example.com/services/T000/B000/canary?sig=tok-en_1 \n/services/T000/B000/canary canary tok-en_1\u{1b}[31m";
        assert_eq!(
            quote(echo, &post_to(&address)),
            "no POST [redacted] [redacted] [redacted] [redacted] [31m"
        );
        let long = "x".repeat(500);
        assert_eq!(
            quote(&long, &post_to(&address)).chars().count(),
            MAX_QUOTED + 1
        );
    }

    #[test]
    fn no_part_of_a_header_or_a_key_and_no_value_without_its_escapes_is_quoted() {
        let url = "https://hooks.example.com/x?sig=a%2Fb%2Bcanary&v=1".to_owned();
        let address = Address::new(Secret::new(url)).unwrap();
        let secrets = [
            "Bearer canary-0002",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ]
        .map(|text| Secret::new(text.to_owned()));
        let post = Post {
            secrets: secrets.iter().collect(),
            ..post_to(&address)
        };
        let echo = "Bearer token canary-0002, key MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, sig a/b+canary";
        assert_eq!(
            quote(echo, &post),
            "Bearer token [redacted], key [redacted], sig [redacted]"
        );
    }

    #[test]
    fn a_parameter_is_added_and_the_others_stay() {
        for (query, expected) in [
            ("", "wait=true"),
            ("?thread_id=7&a=%2fb+c", "thread_id=7&a=%2fb+c&wait=true"),
            ("?wait=false&thread_id=7", "thread_id=7&wait=true"),
            ("?waiting&wait", "waiting&wait=true"),
        ] {
            let url = Secret::new(format!("https://example.com/x{query}"));
            let address = Address::new(url).unwrap().with_query("wait", "true");
            assert_eq!(address.parsed.0.query(), Some(expected), "{query}");
        }
    }

    #[test]
    fn a_body_may_ask_to_wait_for_parts_of_a_second() {
        let asked = |body: &str| {
            let answer = Answer {
                status: 429,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            answer.retry_after()
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
    fn no_secret_goes_to_another_machine_in_clear_text() {
        for (url, is_good) in [
            ("https://example.com/x", true),
            ("http://127.0.0.1:80/x", true),
            ("http://[::1]/x", true),
            ("http://example.com/x", false),
        ] {
            let address = Address::encrypted(Secret::new(url.to_owned()));
            assert_eq!(address.is_ok(), is_good, "{url}");
        }
    }

    #[test]
    fn an_address_is_http() {
        for url in [
            "",
            "hooks.example.com",
            "ftp://x/y",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(Address::new(Secret::new(url.to_owned())).is_err(), "{url}");
        }
    }
}
