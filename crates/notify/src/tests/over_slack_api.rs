//! Slack's Web API against a server that keeps the channel and rejects what Slack rejects.

use std::time::Duration;

use super::slack_rules;
use crate::Notifier;
use crate::envelope::{Envelope, Links};
use crate::outcome::{Delivery, RetrySchedule};
use crate::samples::{at, fact, fact_named, workspace_facts};
use slack_server::{SlackServer, TOKEN};
use spendwatch_base::receiver::{ReceiverSettings, SlackApiSettings};
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::{Fact, Reason, Thread};
use spendwatch_domain::rules::rule::Severity;

#[path = "../../../../tests/fakes/slack_api.rs"]
mod slack_server;

fn bot(url: &str) -> Notifier {
    bot_with(url, TOKEN, "#finops")
}

fn bot_with(url: &str, token: &str, channel: &str) -> Notifier {
    let settings = SlackApiSettings {
        token: Secret::new(token.to_owned()),
        channel: channel.to_owned(),
        api_url: url.to_owned(),
    };
    Notifier::new(ReceiverSettings::SlackApi(settings), false).unwrap()
}

async fn send(bot: &Notifier, facts: &[Fact], thread: Option<&Thread>) -> Delivery {
    send_as(bot, facts, thread, false).await
}

async fn send_as(
    bot: &Notifier,
    facts: &[Fact],
    thread: Option<&Thread>,
    is_replay: bool,
) -> Delivery {
    let mut envelope = Envelope {
        id: "id-000001",
        notifier: &"finops".into(),
        facts,
        created_at: at("2026-11-24T13:05:00Z"),
        now: at("2026-11-24T13:05:00Z"),
        n_attempts: 0,
        is_replay,
        links: &Links::default(),
        recipient: None,
        thread,
        n_posted: 0,
    };
    loop {
        match bot.send(&envelope).await {
            Delivery::PartSent { refused: None } => envelope.n_posted += 1,
            last => return last,
        }
    }
}

#[track_caller]
fn thread(delivery: Delivery) -> Thread {
    match delivery {
        Delivery::Posted { thread } => thread,
        other => panic!("{other:?}"),
    }
}

/// Returns the messages of the channel: each up to its first colon, its position, and whether it is broadcast.
fn shown(server: &SlackServer) -> Vec<String> {
    let messages = server.messages();
    let place = |ts: &str| messages.iter().position(|message| message.ts == ts);
    let line = |message: &slack_server::Posted| {
        let (title, _) = message.text.split_once(':').unwrap();
        let below = message.thread_ts.as_deref().and_then(place);
        let below = below.map_or(String::new(), |place| format!(" below {place}"));
        let seen = if message.is_broadcast {
            " and in the channel"
        } else {
            ""
        };
        format!("{title}{below}{seen}")
    };
    messages.iter().map(line).collect()
}

fn warning() -> Fact {
    let mut fact = fact(Reason::First);
    fact.threshold.severity = Severity::Warning;
    fact
}

#[tokio::test]
async fn messages_about_one_alert_form_a_thread() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let thread = thread(send(&bot, &[warning()], None).await);
    assert_eq!(thread.channel, "C0FINOPS1");
    assert_eq!(shown(&server), ["Warning"]);
    let escalated = [fact(Reason::Escalated)];
    assert_eq!(
        send(&bot, &escalated, Some(&thread)).await,
        Delivery::Delivered
    );
    assert_eq!(
        shown(&server),
        [
            "Escalated to critical",
            "Escalated to critical below 0 and in the channel"
        ]
    );
    let resolved = [fact(Reason::Resolved)];
    assert_eq!(
        send(&bot, &resolved, Some(&thread)).await,
        Delivery::Delivered
    );
    assert_eq!(
        shown(&server),
        [
            "Resolved",
            "Escalated to critical below 0 and in the channel",
            "Resolved below 0"
        ]
    );
    let calls = ["chat.postMessage", "chat.update", "chat.postMessage"];
    assert_eq!(server.calls()[..3], calls);
}

#[tokio::test]
async fn messages_about_several_alerts_have_no_thread() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    assert_eq!(
        send(&bot, &workspace_facts(300), None).await,
        Delivery::Delivered
    );
    thread(send(&bot, &[fact_named("<!channel> & \"x\"\r\nBcc: a@b")], None).await);
    assert_eq!(server.messages().len(), 2);
}

#[tokio::test]
async fn deleted_first_message_is_replaced() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let first = thread(send(&bot, &[warning()], None).await);
    server.delete_all();
    let escalated = [fact(Reason::Escalated)];
    let second = thread(send(&bot, &escalated, Some(&first)).await);
    assert_ne!(first, second);
    assert_eq!(shown(&server), ["Escalated to critical"]);
    assert_eq!(
        server.calls(),
        ["chat.postMessage", "chat.update", "chat.postMessage"]
    );
    // Deleted between the two calls.
    server.answer(200, &[], r#"{"ok":true}"#);
    server.refuse("thread_not_found");
    let third = thread(send(&bot, &escalated, Some(&second)).await);
    assert_ne!(second, third);
}

#[tokio::test]
async fn uneditable_first_message_does_not_block() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let first = thread(send(&bot, &[warning()], None).await);
    server.refuse("edit_window_closed");
    let sent = send(&bot, &[fact(Reason::Escalated)], Some(&first)).await;
    assert_eq!(sent, Delivery::Delivered);
    assert_eq!(
        shown(&server),
        [
            "Warning",
            "Escalated to critical below 0 and in the channel"
        ]
    );
}

#[tokio::test]
async fn thread_without_replies_gets_a_new_first_message() {
    for word in [
        "thread_not_found",
        "cannot_reply_to_message",
        "restricted_action_thread_locked",
        "restricted_action_non_threadable_channel",
    ] {
        let server = SlackServer::start().await;
        let bot = bot(&server.url);
        let first = thread(send(&bot, &[warning()], None).await);
        server.answer(200, &[], r#"{"ok":true}"#);
        server.refuse(word);
        let second = thread(send(&bot, &[fact(Reason::Escalated)], Some(&first)).await);
        assert_ne!(first, second, "{word}");
        assert_eq!(shown(&server), ["Warning", "Escalated to critical"]);
    }
}

#[tokio::test]
async fn uneditable_first_message_never_drops_or_parks() {
    for word in [
        "cant_update_message",
        "edit_window_closed",
        "update_failed",
        "block_mismatch",
        "a_word_of_tomorrow",
    ] {
        let server = SlackServer::start().await;
        let bot = bot(&server.url);
        let first = thread(send(&bot, &[warning()], None).await);
        server.refuse(word);
        let sent = send(&bot, &[fact(Reason::Escalated)], Some(&first)).await;
        assert_eq!(sent, Delivery::Delivered, "{word}");
        assert_eq!(server.messages().len(), 2, "{word}");
    }
}

#[tokio::test]
async fn errors_not_about_the_message_park_or_retry() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    for word in [
        "two_factor_setup_required",
        "enterprise_is_restricted",
        "accesslimited",
        "user_is_restricted",
        "a_word_of_tomorrow",
    ] {
        server.refuse(word);
        let sent = send(&bot, &[warning()], None).await;
        assert!(
            matches!(&sent, Delivery::Park { error, is_probed: true } if error.contains(word)),
            "{sent:?}"
        );
    }
    for word in ["team_added_to_org", "external_channel_migrating"] {
        server.refuse(word);
        let sent = send(&bot, &[warning()], None).await;
        assert!(matches!(sent, Delivery::Retry { .. }), "{sent:?}");
    }
}

#[tokio::test]
async fn reply_waits_for_the_update_of_the_first_message() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let first = thread(send(&bot, &[warning()], None).await);
    server.calls();
    server.answer(200, &[], "<html>log in</html>");
    let later = send(&bot, &[fact(Reason::Escalated)], Some(&first)).await;
    assert!(
        matches!(
            later,
            Delivery::Retry {
                is_ambiguous: false,
                ..
            }
        ),
        "{later:?}"
    );
    assert_eq!(server.calls(), ["chat.update"]);
    assert_eq!(shown(&server), ["Warning"]);
}

#[tokio::test]
async fn replay_does_not_update_the_first_message() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let first = thread(send(&bot, &[fact(Reason::Resolved)], None).await);
    let sent = send_as(&bot, &[warning()], Some(&first), true).await;
    assert_eq!(sent, Delivery::Delivered);
    assert_eq!(shown(&server), ["Resolved", "Warning below 0"]);
}

#[tokio::test]
async fn responses_are_followed_and_secrets_not_quoted() {
    let server = SlackServer::start().await;
    let bot = bot(&server.url);
    let facts = [warning()];
    server.answer(
        429,
        &[("retry-after", "30")],
        r#"{"ok":false,"error":"ratelimited"}"#,
    );
    let later = Delivery::Retry {
        error: "answered 429: ratelimited".to_owned(),
        after: Some(Duration::from_secs(30)),
        is_ambiguous: false,
        schedule: RetrySchedule::Common,
    };
    assert_eq!(send(&bot, &facts, None).await, later);
    server.refuse("internal_error");
    let unclear = send(&bot, &facts, None).await;
    assert_eq!(unclear, Delivery::ambiguous("answered 200: internal_error"));
    let body = r#"{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"none"}"#;
    server.answer(200, &[], body);
    let parked = Delivery::park("answered 200: missing_scope: needs chat:write");
    assert_eq!(send(&bot, &facts, None).await, parked);
    let body = r#"{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["xoxb-canary-0001 is long"]}}"#;
    server.answer(200, &[], body);
    let dropped = Delivery::drop_message("answered 200: invalid_blocks: [redacted] is long");
    assert_eq!(send(&bot, &facts, None).await, dropped);
    for (token, channel, word) in [
        ("xoxb-canary-0002", "#finops", "invalid_auth"),
        (TOKEN, "#elsewhere", "channel_not_found"),
    ] {
        let bot = bot_with(&server.url, token, channel);
        let parked = Delivery::park(format!("answered 200: {word}"));
        assert_eq!(send(&bot, &facts, None).await, parked);
        assert!(!format!("{bot:?}").contains("canary"), "{bot:?}");
    }
    assert!(server.messages().is_empty());
}
