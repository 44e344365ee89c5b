//! Slack by a bot's token: the Web API, which tells where a message stands. So what is told of one alert stays together:
//! its first message is brought up to date, and each step stands below it.
//!
//! The API answers 200 to almost everything; what counts is `ok` and `error`.

use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::domain::notification::Thread;
use crate::domain::rule::Severity;
use crate::notify::digest::Letter;
use crate::notify::envelope::Envelope;
use crate::notify::message;
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Post, Reply, Verdict};
use crate::notify::slack;
use crate::secret::Secret;

/// What a Slack notifier with a token is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bot's token.
    pub token: Secret,
    /// Its id, or its name with `#`.
    pub channel: String,
    /// Where the API is.
    pub api_url: String,
}

/// A bot in a channel.
#[derive(Debug, Clone)]
pub struct SlackApi {
    client: Client,
    post_message: Address,
    update: Address,
    headers: HeaderMap,
    settings: Settings,
}

/// How a call went.
enum Called {
    /// `ok`, with all that was answered.
    Done(Value),
    /// What follows, and the API's word for what is wrong, where it said one.
    Failed(Delivery, Option<String>),
}

impl SlackApi {
    /// Checks the token and the address. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<SlackApi, SettingsError> {
        let bearer = format!("Bearer {}", settings.token.expose().trim());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| SettingsError::Token)?;
        bearer.set_sensitive(true);
        let base = settings.api_url.trim_end_matches('/');
        let method = |name: &str| Address::new(Secret::new(format!("{base}/{name}")));
        Ok(SlackApi {
            client,
            post_message: method("chat.postMessage")?,
            update: method("chat.update")?,
            headers: HeaderMap::from_iter([
                (AUTHORIZATION, bearer),
                (
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/json; charset=utf-8"),
                ),
            ]),
            settings,
        })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        let Settings {
            token,
            channel,
            api_url,
        } = &self.settings;
        vec!["slack api", token.expose(), channel, api_url]
    }

    /// Sends once. A step of an alert that was told before goes below the first message. That one is brought up to date
    /// before: it may be done twice, and a step posted twice would be seen.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let Some(thread) = envelope.thread else {
            return self.begin(envelope).await;
        };
        // A replay tells what was true once, and is no news.
        if !envelope.is_replay {
            match self.refresh(envelope, thread).await {
                Called::Failed(_, Some(word)) if is_gone(&word) => {
                    return self.begin(envelope).await;
                }
                // It cannot be changed any more; the step is told all the same.
                Called::Done(_) | Called::Failed(Delivery::Drop { .. }, _) => {}
                Called::Failed(delivery, _) => return unambiguous(delivery),
            }
        }
        match self
            .call(&self.post_message, step(envelope, thread), envelope.now)
            .await
        {
            Called::Done(_) => Delivery::Delivered,
            Called::Failed(_, Some(word)) if is_gone(&word) => self.begin(envelope).await,
            Called::Failed(delivery, _) => delivery,
        }
    }

    /// A message of its own, which begins a thread where it is about one alert.
    async fn begin(&self, envelope: &Envelope<'_>) -> Delivery {
        let payload = first(envelope, &self.settings.channel);
        match self.call(&self.post_message, payload, envelope.now).await {
            Called::Done(answer) => match thread_of(&answer) {
                Some(thread) if envelope.facts.len() == 1 => Delivery::Posted { thread },
                Some(_) | None => Delivery::Delivered,
            },
            Called::Failed(delivery, _) => delivery,
        }
    }

    /// Sends a digest once: a message of its own.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        let mut payload = slack::digest_payload(letter);
        payload["channel"] = json!(self.settings.channel);
        match self.call(&self.post_message, payload, letter.now).await {
            Called::Done(_) => Delivery::Delivered,
            Called::Failed(delivery, _) => delivery,
        }
    }

    async fn refresh(&self, envelope: &Envelope<'_>, thread: &Thread) -> Called {
        let payload = newest(envelope, thread);
        self.call(&self.update, payload, envelope.now).await
    }

    async fn call(&self, method: &Address, payload: Value, now: Timestamp) -> Called {
        let post = Post {
            address: method,
            headers: self.headers.clone(),
            body: payload.to_string().into_bytes(),
            secrets: vec![&self.settings.token],
            now,
        };
        let reply = match post::ask(&self.client, &post).await {
            Ok(reply) => reply,
            Err(delivery) => return Called::Failed(delivery, None),
        };
        let said = serde_json::from_str(&reply.answer.body).unwrap_or(Value::Null);
        match judge(&reply.answer, &said) {
            Verdict::Delivered => Called::Done(said),
            verdict => {
                let delivery = post::deliver(verdict, &in_short(reply, &said), &post);
                Called::Failed(delivery, said["error"].as_str().map(str::to_owned))
            }
        }
    }
}

/// The first message, or one about several alerts.
pub fn first(envelope: &Envelope<'_>, channel: &str) -> Value {
    let mut payload = slack::payload(envelope);
    payload["channel"] = json!(channel);
    payload
}

/// A later step, below the first message; what is critical is shown in the channel, too.
pub fn step(envelope: &Envelope<'_>, thread: &Thread) -> Value {
    let mut payload = first(envelope, &thread.channel);
    payload["thread_ts"] = json!(thread.ts);
    if message::render(envelope, 0).severity == Some(Severity::Critical) {
        payload["reply_broadcast"] = json!(true);
    }
    payload
}

/// What the first message is to say now.
pub fn newest(envelope: &Envelope<'_>, thread: &Thread) -> Value {
    let mut payload = first(envelope, &thread.channel);
    payload["ts"] = json!(thread.ts);
    payload
}

fn thread_of(answer: &Value) -> Option<Thread> {
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    Some(Thread {
        channel: text("channel")?,
        ts: text("ts")?,
    })
}

/// Somebody deleted the first message.
fn is_gone(word: &str) -> bool {
    matches!(word, "message_not_found" | "thread_not_found")
}

/// To bring a message up to date twice shows nothing twice.
fn unambiguous(mut delivery: Delivery) -> Delivery {
    if let Delivery::Retry { is_ambiguous, .. } = &mut delivery {
        *is_ambiguous = false;
    }
    delivery
}

fn judge(answer: &Answer, said: &Value) -> Verdict {
    match answer.status {
        200 if !answer.is_whole => Verdict::Retry,
        200 => match (said["ok"].as_bool(), said["error"].as_str()) {
            (Some(true), _) => Verdict::Delivered,
            (Some(false), Some(word)) => judge_word(word),
            (Some(false), None) => Verdict::Drop,
            // A proxy in between likes to answer 200 with a page.
            (None, _) => Verdict::Retry,
        },
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Verdict::Park,
        _ => Verdict::Drop,
    }
}

/// Without these, a bot whose token or rights are not right would lose each message.
fn judge_word(word: &str) -> Verdict {
    match word {
        "ratelimited"
        | "rate_limited"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout" => Verdict::Retry,
        // The token.
        "invalid_auth"
        | "not_authed"
        | "token_revoked"
        | "token_expired"
        | "account_inactive"
        | "not_allowed_token_type"
        | "missing_scope"
        | "no_permission"
        | "access_denied"
        | "org_login_required"
        | "ekm_access_denied"
        | "team_access_not_granted" => Verdict::Park,
        // The channel.
        "channel_not_found" | "not_in_channel" | "is_archived" => Verdict::Park,
        word if word.starts_with("restricted_action") => Verdict::Park,
        _ => Verdict::Drop,
    }
}

/// The API's word and what it says to it, in the place of the whole answer.
fn in_short(mut reply: Reply, said: &Value) -> Reply {
    if let Some(word) = said["error"].as_str() {
        let notes = said["response_metadata"]["messages"].as_array();
        let notes = notes.into_iter().flatten().filter_map(Value::as_str);
        let needed = said["needed"]
            .as_str()
            .map(|scope| format!("needs {scope}"));
        let more: Vec<String> = needed.into_iter().chain(notes.map(str::to_owned)).collect();
        reply.answer.body = match more.as_slice() {
            [] => word.to_owned(),
            more => format!("{word}: {}", more.join("; ")),
        };
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: Verdict) {
        let answer = Answer {
            status,
            media_type: "application/json".to_owned(),
            body: body.to_owned(),
            is_whole: true,
        };
        let said = serde_json::from_str(body).unwrap_or(Value::Null);
        assert_eq!(judge(&answer, &said), expected, "{status} {body}");
    }

    #[test]
    fn answers() {
        check(200, r#"{"ok":true,"ts":"1"}"#, Verdict::Delivered);
        for (expected, words) in [
            (
                Verdict::Retry,
                &[
                    "internal_error",
                    "fatal_error",
                    "service_unavailable",
                    "request_timeout",
                    "ratelimited",
                ][..],
            ),
            (
                Verdict::Park,
                &[
                    "invalid_auth",
                    "token_revoked",
                    "account_inactive",
                    "channel_not_found",
                    "not_in_channel",
                    "is_archived",
                    "missing_scope",
                    "restricted_action_read_only_channel",
                ],
            ),
            (
                Verdict::Drop,
                &["msg_too_long", "invalid_blocks", "no_text", "something_new"],
            ),
        ] {
            for word in words {
                check(
                    200,
                    &format!(r#"{{"ok":false,"error":"{word}"}}"#),
                    expected,
                );
            }
        }
        check(200, r#"{"ok":false}"#, Verdict::Drop);
        for page in ["", "ok", "<html>log in</html>", r#"{"error":"x"}"#] {
            check(200, page, Verdict::Retry);
        }
        for status in [408, 429, 500, 502, 503, 504] {
            check(
                status,
                r#"{"ok":false,"error":"invalid_auth"}"#,
                Verdict::Retry,
            );
        }
        for status in [302, 401, 403, 404, 410] {
            check(status, "", Verdict::Park);
        }
        for status in [400, 413] {
            check(status, "", Verdict::Drop);
        }
    }
}
