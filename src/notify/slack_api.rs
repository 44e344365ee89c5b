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
    pub token: Secret,
    /// Its id, or its name with `#`.
    pub channel: String,
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

    /// Sends the next post. A step of an alert that was told before goes below the first message, which is brought up to date
    /// before.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let Some(thread) = envelope.thread else {
            return self.begin(envelope).await;
        };
        // A replay tells what was true once, and is no news.
        if !envelope.is_replay && envelope.n_posted == 0 {
            match self.refresh(envelope, thread).await {
                Called::Done(_) => return Delivery::Partly { refused: None },
                Called::Failed(delivery, word) => match word.as_deref().map(about) {
                    Some(About::Thread) => return self.begin(envelope).await,
                    // It cannot be changed any more; the step is told all the same.
                    Some(About::Message | About::Edit | About::Unknown) => {}
                    Some(About::Moment | About::Workspace) | None => {
                        if !matches!(delivery, Delivery::Drop { .. }) {
                            return unambiguous(delivery);
                        }
                    }
                },
            }
        }
        match self
            .call(&self.post_message, step(envelope, thread), envelope.now)
            .await
        {
            Called::Done(_) => Delivery::Delivered,
            Called::Failed(_, Some(word)) if about(&word) == About::Thread => {
                self.begin(envelope).await
            }
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

/// To bring a message up to date twice shows nothing twice.
fn unambiguous(mut delivery: Delivery) -> Delivery {
    if let Delivery::Retry { is_ambiguous, .. } = &mut delivery {
        *is_ambiguous = false;
    }
    delivery
}

fn judge(answer: &Answer, said: &Value) -> Verdict {
    let word = said["error"].as_str();
    match answer.status {
        200 if !answer.is_whole => Verdict::Retry,
        200 => match (said["ok"].as_bool(), word) {
            (Some(true), _) => Verdict::Delivered,
            (Some(false), Some(word)) => judge_word(word),
            (Some(false), None) => Verdict::Park,
            // A proxy in between likes to answer 200 with a page.
            (None, _) => Verdict::Retry,
        },
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        413 => Verdict::Drop,
        _ => match word.map(judge_word) {
            Some(Verdict::Drop) => Verdict::Drop,
            Some(Verdict::Retry) => Verdict::Retry,
            Some(Verdict::Delivered | Verdict::Park | Verdict::ParkForGood) | None => Verdict::Park,
        },
    }
}

/// What one of the API's error codes is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// This message: it will never be accepted.
    Message,
    /// The thread, or its first message: a new message may be posted.
    Thread,
    /// Editing the first message: it stays as it is.
    Edit,
    /// The moment: another attempt may succeed.
    Moment,
    /// The workspace, the channel, the user, the token or the app.
    Workspace,
    /// A code that is in no documentation that this program knows.
    Unknown,
}

/// Without this, a bot whose token or rights are not right would lose each message.
fn judge_word(word: &str) -> Verdict {
    match about(word) {
        About::Message => Verdict::Drop,
        About::Moment => Verdict::Retry,
        About::Thread | About::Edit | About::Workspace | About::Unknown => Verdict::Park,
    }
}

fn about(word: &str) -> About {
    let known = ERRORS.iter().find(|(_, words)| words.contains(&word));
    known.map_or(About::Unknown, |(about, _)| *about)
}

/// Every error code that the documentation of `chat.postMessage` and `chat.update` lists, and those that are seen beside
/// them.
const ERRORS: [(About, &[&str]); 5] = [
    (
        About::Message,
        &[
            "attachment_payload_limit_exceeded",
            "cannot_parse_attachment",
            "invalid_attachments",
            "invalid_blocks",
            "invalid_blocks_format",
            "markdown_text_conflict",
            "msg_blocks_too_long",
            "msg_too_long",
            "no_text",
            "too_many_attachments",
            "too_many_contact_cards",
        ],
    ),
    (
        About::Thread,
        &[
            "cannot_reply_to_message",
            "invalid_thread_ts",
            "message_not_found",
            "restricted_action_non_threadable_channel",
            "restricted_action_thread_locked",
            "thread_locked",
            "thread_not_found",
        ],
    ),
    (
        About::Edit,
        &[
            "block_mismatch",
            "cant_broadcast_message",
            "cant_update_message",
            "edit_window_closed",
            "is_inactive",
            "no_dual_broadcast_content_update",
            "streaming_state_conflict",
            "update_failed",
        ],
    ),
    (
        About::Moment,
        &[
            "external_channel_migrating",
            "fatal_error",
            "internal_error",
            "message_limit_exceeded",
            "messaging_processing_failed",
            "rate_limited",
            "ratelimited",
            "request_timeout",
            "service_unavailable",
            "team_added_to_org",
        ],
    ),
    (
        About::Workspace,
        &[
            "access_denied",
            "accesslimited",
            "account_inactive",
            "as_user_not_supported",
            "blocked_file_type",
            "channel_not_found",
            "channel_type_not_supported",
            "deprecated_endpoint",
            "duplicate_channel_not_found",
            "duplicate_message_not_found",
            "ekm_access_denied",
            "enterprise_is_restricted",
            "file_deleted",
            "file_is_deleted",
            "file_not_found",
            "file_share_limit_reached",
            "invalid_arg_name",
            "invalid_arguments",
            "invalid_array_arg",
            "invalid_auth",
            "invalid_charset",
            "invalid_form_data",
            "invalid_metadata_format",
            "invalid_metadata_schema",
            "invalid_post_type",
            "is_archived",
            "is_bot",
            "max_file_sharing_exceeded",
            "messages_tab_disabled",
            "metadata_must_be_sent_from_app",
            "metadata_too_large",
            "method_deprecated",
            "missing_file_data",
            "missing_post_type",
            "missing_scope",
            "no_permission",
            "not_allowed_token_type",
            "not_authed",
            "not_in_channel",
            "org_login_required",
            "posting_to_channel_denied",
            "restricted_action",
            "restricted_action_read_only_channel",
            "restricted_action_thread_only_channel",
            "send_on_behalf_not_allowed",
            "slack_connect_blocked_file_type",
            "slack_connect_canvas_sharing_blocked",
            "slack_connect_clip_sharing_blocked",
            "slack_connect_file_link_sharing_blocked",
            "slack_connect_file_upload_sharing_blocked",
            "slack_connect_lists_sharing_blocked",
            "team_access_not_granted",
            "team_not_found",
            "token_expired",
            "token_revoked",
            "two_factor_setup_required",
            "unable_to_share_files",
            "user_is_restricted",
        ],
    ),
];

/// The API's word and what it says to it, in the place of the whole answer. A word that is not known is marked as such.
fn in_short(mut reply: Reply, said: &Value) -> Reply {
    if let Some(word) = said["error"].as_str() {
        let notes = said["response_metadata"]["messages"].as_array();
        let notes = notes.into_iter().flatten().filter_map(Value::as_str);
        let needed = said["needed"]
            .as_str()
            .map(|scope| format!("needs {scope}"));
        let more: Vec<String> = needed.into_iter().chain(notes.map(str::to_owned)).collect();
        let word = match about(word) {
            About::Unknown => format!("unknown error code `{word}`"),
            About::Message | About::Thread | About::Edit | About::Moment | About::Workspace => {
                word.to_owned()
            }
        };
        reply.answer.body = match more.as_slice() {
            [] => word,
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
                    "team_added_to_org",
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
                    "two_factor_setup_required",
                    "something_new",
                ],
            ),
            (
                Verdict::Drop,
                &["msg_too_long", "invalid_blocks", "no_text"],
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
        check(200, r#"{"ok":false}"#, Verdict::Park);
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
        for status in [302, 400, 401, 403, 404, 410, 451] {
            check(status, "", Verdict::Park);
        }
        check(413, "", Verdict::Drop);
        let body = r#"{"ok":false,"error":"invalid_blocks"}"#;
        check(400, body, Verdict::Drop);
        let body = r#"{"ok":false,"error":"team_added_to_org"}"#;
        check(403, body, Verdict::Retry);
    }

    #[test]
    fn no_error_code_stands_in_two_places_and_only_a_few_are_about_the_message() {
        let all: Vec<&str> = ERRORS
            .iter()
            .flat_map(|(_, words)| words.iter().copied())
            .collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(all.len(), distinct.len());
        for word in [
            "two_factor",
            "token",
            "auth",
            "scope",
            "permission",
            "restricted",
            "access",
            "team",
            "org",
            "enterprise",
            "channel",
            "user",
            "account",
        ] {
            let about_message = ERRORS[0].1.iter().find(|code| code.contains(word));
            assert_eq!(about_message, None, "{word}");
        }
    }
}
