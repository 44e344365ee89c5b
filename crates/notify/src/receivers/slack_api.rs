//! Slack's Web API with a bot token, which returns the position of a message. The first message of an alert is kept up to
//! date, and later messages are replies in its thread.
//!
//! The API returns 200 for almost everything; `ok` and `error` in the body decide.

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, PostReply, PostRequest, PostResponse, ReceiverEndpoint, ResponseClass};
use crate::receivers::slack;
use crate::wording::digest::DigestEnvelope;
use crate::wording::message::{self, Highlight};
use spendwatch_base::receiver::SlackApiSettings;
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::Thread;
use spendwatch_domain::rules::rule::Severity;

/// A bot in a channel.
#[derive(Debug, Clone)]
pub struct SlackApi {
    post_message: ReceiverEndpoint,
    update: ReceiverEndpoint,
    headers: HeaderMap,
    settings: SlackApiSettings<Secret>,
}

enum CallResult {
    /// The response with `ok`.
    Done(Value),
    /// The delivery, and the error code if there is one.
    Failed(Delivery, Option<String>),
}

impl SlackApi {
    /// Validates token and URL.
    pub fn new(
        settings: SlackApiSettings<Secret>,
        allow_http: bool,
    ) -> Result<SlackApi, SettingsError> {
        let bearer = format!("Bearer {}", settings.token.expose().trim());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| SettingsError::Token)?;
        bearer.set_sensitive(true);
        let api = ReceiverEndpoint::new(Secret::new(settings.api_url.clone()), allow_http)?;
        Ok(SlackApi {
            post_message: api.clone().with_path("/chat.postMessage"),
            update: api.with_path("/chat.update"),
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

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let SlackApiSettings {
            token,
            channel,
            api_url,
        } = &self.settings;
        vec!["slack api", token.expose(), channel, api_url]
    }

    /// Sends the next post. For an alert that already has a thread, it first updates the first message, then replies to it.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let Some(thread) = envelope.thread else {
            return self.post_new(envelope).await;
        };
        // A replay describes the past and must not update the first message.
        if !envelope.is_replay && envelope.n_posted == 0 {
            let payload = update_payload(envelope, thread);
            match self.call(&self.update, payload, envelope.now).await {
                CallResult::Done(_) => return Delivery::PartSent { refused: None },
                CallResult::Failed(delivery, code) => match code.as_deref().map(scope_of) {
                    Some(ErrorScope::Thread) => return self.post_new(envelope).await,
                    // The first message can no longer be edited; the reply is posted anyway.
                    Some(ErrorScope::Message | ErrorScope::Edit | ErrorScope::Unknown) => {}
                    Some(ErrorScope::Temporary | ErrorScope::Workspace) | None => {
                        if !matches!(delivery, Delivery::Drop { .. }) {
                            return without_ambiguity(delivery);
                        }
                    }
                },
            }
        }
        let payload = reply_payload(envelope, thread);
        match self.call(&self.post_message, payload, envelope.now).await {
            CallResult::Done(_) => Delivery::Delivered,
            CallResult::Failed(_, Some(code)) if scope_of(&code) == ErrorScope::Thread => {
                self.post_new(envelope).await
            }
            CallResult::Failed(delivery, _) => delivery,
        }
    }

    /// Posts a new message, which starts a thread if it is about one alert.
    async fn post_new(&self, envelope: &Envelope<'_>) -> Delivery {
        let payload = first_payload(envelope, &self.settings.channel);
        match self.call(&self.post_message, payload, envelope.now).await {
            CallResult::Done(body) => match thread_of(&body) {
                Some(thread) if envelope.facts.len() == 1 => Delivery::Posted { thread },
                Some(_) | None => Delivery::Delivered,
            },
            CallResult::Failed(delivery, _) => delivery,
        }
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        let mut payload = slack::digest_payload(envelope);
        payload["channel"] = json!(self.settings.channel);
        match self.call(&self.post_message, payload, envelope.now).await {
            CallResult::Done(_) => Delivery::Delivered,
            CallResult::Failed(delivery, _) => delivery,
        }
    }

    async fn call(&self, method: &ReceiverEndpoint, payload: Value, now: Timestamp) -> CallResult {
        let post = PostRequest {
            headers: self.headers.clone(),
            secrets: vec![&self.settings.token],
            ..PostRequest::json(method, &payload, now)
        };
        let reply = match post::send_request(&post).await {
            Ok(reply) => reply,
            Err(delivery) => return CallResult::Failed(delivery, None),
        };
        let body = serde_json::from_str(&reply.response.body).unwrap_or(Value::Null);
        match classify(&reply.response, &body) {
            ResponseClass::Delivered => CallResult::Done(body),
            class => {
                let delivery = post::to_delivery(class, &summarize(reply, &body), &post);
                CallResult::Failed(delivery, body["error"].as_str().map(str::to_owned))
            }
        }
    }
}

/// Returns the first message of an alert, or one about several alerts.
pub fn first_payload(envelope: &Envelope<'_>, channel: &str) -> Value {
    let mut payload = slack::payload(envelope);
    payload["channel"] = json!(channel);
    payload
}

/// Returns a reply in the thread; a critical one is also shown in the channel.
pub fn reply_payload(envelope: &Envelope<'_>, thread: &Thread) -> Value {
    let mut payload = first_payload(envelope, &thread.channel);
    payload["thread_ts"] = json!(thread.ts);
    if message::render(envelope, 0).highlight == Highlight::Firing(Severity::Critical) {
        payload["reply_broadcast"] = json!(true);
    }
    payload
}

/// Returns the new content of the first message.
pub fn update_payload(envelope: &Envelope<'_>, thread: &Thread) -> Value {
    let mut payload = first_payload(envelope, &thread.channel);
    payload["ts"] = json!(thread.ts);
    payload
}

fn thread_of(body: &Value) -> Option<Thread> {
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    Some(Thread {
        channel: text("channel")?,
        ts: text("ts")?,
    })
}

/// Updating a message twice shows no duplicate.
fn without_ambiguity(mut delivery: Delivery) -> Delivery {
    if let Delivery::Retry { is_ambiguous, .. } = &mut delivery {
        *is_ambiguous = false;
    }
    delivery
}

fn classify(response: &PostResponse, body: &Value) -> ResponseClass {
    let code = body["error"].as_str();
    match response.status {
        200 if !response.is_whole => ResponseClass::Retry,
        200 => match (body["ok"].as_bool(), code) {
            (Some(true), _) => ResponseClass::Delivered,
            (Some(false), Some(code)) => classify_error(code),
            (Some(false), None) => ResponseClass::Park,
            // Proxies return 200 with an HTML page.
            (None, _) => ResponseClass::Retry,
        },
        408 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        413 => ResponseClass::Drop,
        _ => match code.map(classify_error) {
            Some(ResponseClass::Drop) => ResponseClass::Drop,
            Some(ResponseClass::Retry) => ResponseClass::Retry,
            Some(ResponseClass::Delivered | ResponseClass::Park | ResponseClass::ParkForGood)
            | None => ResponseClass::Park,
        },
    }
}

/// What an error code is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorScope {
    /// The message, which will never be accepted.
    Message,
    /// The thread or its first message; a new message may be posted.
    Thread,
    /// Editing the first message, which stays unchanged.
    Edit,
    /// A temporary condition; another attempt may succeed.
    Temporary,
    /// The workspace, the channel, the user, the token or the app.
    Workspace,
    Unknown,
}

/// Errors about token, permissions or channel park, so that no message is lost.
fn classify_error(code: &str) -> ResponseClass {
    match scope_of(code) {
        ErrorScope::Message => ResponseClass::Drop,
        ErrorScope::Temporary => ResponseClass::Retry,
        ErrorScope::Thread | ErrorScope::Edit | ErrorScope::Workspace | ErrorScope::Unknown => {
            ResponseClass::Park
        }
    }
}

fn scope_of(code: &str) -> ErrorScope {
    let known = ERROR_CODES.iter().find(|(_, codes)| codes.contains(&code));
    known.map_or(ErrorScope::Unknown, |(scope_of, _)| *scope_of)
}

/// All error codes documented for `chat.postMessage` and `chat.update`, and others that were observed.
const ERROR_CODES: [(ErrorScope, &[&str]); 5] = [
    (
        ErrorScope::Message,
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
        ErrorScope::Thread,
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
        ErrorScope::Edit,
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
        ErrorScope::Temporary,
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
        ErrorScope::Workspace,
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

/// Replaces the body of a response by its error code and details. An unknown code is marked as such.
fn summarize(mut reply: PostReply, body: &Value) -> PostReply {
    if let Some(code) = body["error"].as_str() {
        let notes = body["response_metadata"]["messages"].as_array();
        let notes = notes.into_iter().flatten().filter_map(Value::as_str);
        let needed = body["needed"]
            .as_str()
            .map(|scope| format!("needs {scope}"));
        let more: Vec<String> = needed.into_iter().chain(notes.map(str::to_owned)).collect();
        let code = match scope_of(code) {
            ErrorScope::Unknown => format!("unknown error code `{code}`"),
            ErrorScope::Message
            | ErrorScope::Thread
            | ErrorScope::Edit
            | ErrorScope::Temporary
            | ErrorScope::Workspace => code.to_owned(),
        };
        reply.response.body = match more.as_slice() {
            [] => code,
            more => format!("{code}: {}", more.join("; ")),
        };
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: ResponseClass) {
        let answer = PostResponse {
            status,
            media_type: "application/json".to_owned(),
            body: body.to_owned(),
            is_whole: true,
        };
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        assert_eq!(classify(&answer, &body), expected, "{status} {body}");
    }

    #[test]
    fn responses_are_classified() {
        check(200, r#"{"ok":true,"ts":"1"}"#, ResponseClass::Delivered);
        for (expected, codes) in [
            (
                ResponseClass::Retry,
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
                ResponseClass::Park,
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
                ResponseClass::Drop,
                &["msg_too_long", "invalid_blocks", "no_text"],
            ),
        ] {
            for code in codes {
                check(
                    200,
                    &format!(r#"{{"ok":false,"error":"{code}"}}"#),
                    expected,
                );
            }
        }
        check(200, r#"{"ok":false}"#, ResponseClass::Park);
        for page in ["", "ok", "<html>log in</html>", r#"{"error":"x"}"#] {
            check(200, page, ResponseClass::Retry);
        }
        for status in [408, 429, 500, 502, 503, 504] {
            check(
                status,
                r#"{"ok":false,"error":"invalid_auth"}"#,
                ResponseClass::Retry,
            );
        }
        for status in [302, 400, 401, 403, 404, 410, 451] {
            check(status, "", ResponseClass::Park);
        }
        check(413, "", ResponseClass::Drop);
        let body = r#"{"ok":false,"error":"invalid_blocks"}"#;
        check(400, body, ResponseClass::Drop);
        let body = r#"{"ok":false,"error":"team_added_to_org"}"#;
        check(403, body, ResponseClass::Retry);
    }

    #[test]
    fn error_codes_are_distinct_and_few_are_about_the_message() {
        let all: Vec<&str> = ERROR_CODES
            .iter()
            .flat_map(|(_, codes)| codes.iter().copied())
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
            let about_message = ERROR_CODES[0].1.iter().find(|code| code.contains(word));
            assert_eq!(about_message, None, "{word}");
        }
    }
}
