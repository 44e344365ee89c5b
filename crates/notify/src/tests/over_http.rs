//! Slack and the webhook over HTTP against a receiver that rejects what the real ones reject.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use super::slack_rules;
use crate::Notifier;
use crate::envelope::{Envelope, Links};
use crate::outcome::{Delivery, RetrySchedule};
use crate::post::ReceiverEndpoint;
use crate::receivers::chat::ChatWebhook;
use crate::receivers::slack;
use crate::receivers::webhook::Webhook;
use crate::samples::{at, fact, fact_named, workspace_facts};
use receiver::{Answer, Receiver};
use spendwatch_base::outbound::{self, HttpClientConfig};
use spendwatch_base::receiver::{ReceiverSettings, WebhookSettings};
use spendwatch_base::secret::Secret;
use spendwatch_base::template::Template;
use spendwatch_domain::alerts::notification::{Fact, Reason};

#[path = "../../../../tests/fakes/receiver.rs"]
mod receiver;

mod pagerduty_teams_discord;

const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn slack(url: &str) -> Notifier {
    Notifier::new(ReceiverSettings::Slack { url: secret(url) }, false).unwrap()
}

fn slack_with(client: reqwest::Client, url: &str) -> Notifier {
    let mut endpoint = ReceiverEndpoint::new(secret(url), false).unwrap();
    endpoint.client = client;
    let format = slack::FORMAT;
    Notifier::Chat(ChatWebhook { endpoint, format })
}

fn webhook(url: &str) -> Notifier {
    webhook_with(url, &[("Authorization", "Bearer canary-0002")], None)
}

fn webhook_with(url: &str, headers: &[(&str, &str)], template: Option<&str>) -> Notifier {
    let headers = headers.iter();
    let settings = WebhookSettings {
        url: secret(url),
        signing_secrets: vec![secret(SIGNING_SECRET)],
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), secret(value)))
            .collect(),
        template: template.map(|text| Template::new(text).unwrap()),
    };
    Notifier::new(ReceiverSettings::Webhook(settings), false).unwrap()
}

async fn send(notifier: &Notifier, facts: &[Fact]) -> Delivery {
    send_from(notifier, facts, &mut 0).await
}

/// Sends post by post as a worker does, from `n_posted` on, and counts them there.
async fn send_from(notifier: &Notifier, facts: &[Fact], n_posted: &mut u32) -> Delivery {
    let mut first_refused = None;
    loop {
        match send_post(notifier, facts, *n_posted).await {
            Delivery::PartSent { refused } => first_refused = first_refused.or(refused),
            last => return last.for_message(first_refused.as_deref()),
        }
        *n_posted += 1;
    }
}

async fn send_post(notifier: &Notifier, facts: &[Fact], n_posted: u32) -> Delivery {
    let envelope = Envelope {
        id: "id-000001",
        notifier: &"finops".into(),
        facts,
        created_at: at("2026-11-24T13:05:00Z"),
        now: at("2026-11-24T13:05:00Z"),
        n_attempts: 0,
        is_replay: false,
        links: &Links::default(),
        recipient: None,
        thread: None,
        n_posted,
    };
    notifier.send(&envelope).await
}

async fn send_one(notifier: &Notifier) -> Delivery {
    send(notifier, &[fact(Reason::First)]).await
}

fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Answer::Reply(status, headers.collect(), body.to_owned())
}

fn retry(error: &str, after: Option<u64>) -> Delivery {
    Delivery::Retry {
        error: error.to_owned(),
        after: after.map(Duration::from_secs),
        is_ambiguous: false,
        schedule: RetrySchedule::Common,
    }
}

#[tokio::test]
async fn slack_accepts_all_messages() {
    let receiver = Receiver::start(slack_rules::complaint).await;
    let slack = slack(&receiver.url);
    let hostile = fact_named("<!channel> & \"x\"\r\nBcc: a@b");
    for facts in [
        vec![fact(Reason::First)],
        vec![fact(Reason::Resolved)],
        vec![hostile],
        workspace_facts(300),
    ] {
        assert_eq!(send(&slack, &facts).await, Delivery::Delivered);
    }
    let posts = receiver.posts();
    assert_eq!(posts.len(), 4);
    assert_eq!(posts[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn case_21_retry_after_is_honored() {
    let receiver = Receiver::start(slack_rules::complaint).await;
    let slack = slack(&receiver.url);
    for (value, expected) in [
        ("120", Some(120)),
        ("Tue, 24 Nov 2026 13:10:00 GMT", Some(300)),
        ("rubbish", None),
    ] {
        receiver.answer(reply(429, &[("retry-after", value)], "rate_limited"));
        let expected = retry("answered 429: rate_limited", expected);
        assert_eq!(send_one(&slack).await, expected, "{value}");
    }
    receiver.answer(reply(429, &[("retry-after", "90000")], "rate_limited"));
    assert!(matches!(
        send_one(&slack).await,
        Delivery::Park {
            is_probed: true,
            ..
        }
    ));
}

#[tokio::test]
async fn case_22_slack_answers_200_without_ok() {
    let receiver = Receiver::start(slack_rules::complaint).await;
    let slack = slack(&receiver.url);
    receiver.answer(reply(
        200,
        &[("content-type", "text/plain")],
        "invalid_blocks",
    ));
    let dropped = Delivery::drop_message("answered 200: invalid_blocks");
    assert_eq!(send_one(&slack).await, dropped);
    receiver.answer(reply(
        200,
        &[("content-type", "text/html; charset=utf-8")],
        "<html>log in</html>",
    ));
    assert!(matches!(send_one(&slack).await, Delivery::Retry { .. }));
}

#[tokio::test]
async fn other_responses_of_slack() {
    let receiver = Receiver::start(slack_rules::complaint).await;
    let slack = slack(&receiver.url);
    receiver.answer(reply(404, &[], "no_service"));
    assert_eq!(
        send_one(&slack).await,
        Delivery::park("answered 404: no_service")
    );
    receiver.answer(reply(500, &[], "rollup_error"));
    assert_eq!(
        send_one(&slack).await,
        retry("answered 500: rollup_error", None)
    );
    receiver.answer(reply(400, &[], "invalid_payload"));
    assert!(matches!(send_one(&slack).await, Delivery::Drop { .. }));
}

#[tokio::test]
async fn redirects_are_not_followed_and_secrets_not_quoted() {
    let receiver = Receiver::start(|_| None).await;
    let webhook = webhook(&receiver.url);
    receiver.answer(reply(302, &[("location", &receiver.url)], ""));
    assert_eq!(send_one(&webhook).await, Delivery::park("answered 302"));
    assert_eq!(receiver.posts().len(), 1);
    let echo = format!(
        "bad {} Bearer canary-0002 {SIGNING_SECRET} canary-0001",
        receiver.url
    );
    receiver.answer(reply(400, &[], &echo));
    let expected = "answered 400: bad [redacted] [redacted] [redacted] [redacted]";
    assert_eq!(send_one(&webhook).await, Delivery::drop_message(expected));
    receiver.answer(reply(410, &[], ""));
    let gone = Delivery::Park {
        error: "answered 410".to_owned(),
        is_probed: false,
    };
    assert_eq!(send_one(&webhook).await, gone);
}

#[tokio::test]
async fn webhook_is_signed_and_keeps_its_id() {
    let receiver = Receiver::start(|_| None).await;
    let webhook = webhook(&receiver.url);
    assert_eq!(
        send(&webhook, &workspace_facts(250)).await,
        Delivery::Delivered
    );
    let posts = receiver.posts();
    let ids: Vec<&str> = posts
        .iter()
        .map(|post| post.headers["webhook-id"].to_str().unwrap())
        .collect();
    assert_eq!(ids, ["id-000001", "id-000001-2", "id-000001-3"]);
    let oracle = standardwebhooks::Webhook::new(SIGNING_SECRET).unwrap();
    let mut n_alerts = 0;
    for post in &posts {
        let header = |name: &str| post.headers[name].to_str().unwrap();
        let timestamp = header("webhook-timestamp").parse().unwrap();
        let expected = oracle
            .sign(header("webhook-id"), timestamp, &post.body)
            .unwrap();
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("authorization"), "Bearer canary-0002");
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        n_alerts += body["alerts"].as_array().unwrap().len();
    }
    assert_eq!(n_alerts, 250);
}

/// Returns the body of each post after checking its signature.
fn signed_bodies(posts: &[receiver::Post]) -> Vec<String> {
    let oracle = standardwebhooks::Webhook::new(SIGNING_SECRET).unwrap();
    let body = |post: &receiver::Post| {
        let header = |name: &str| post.headers[name].to_str().unwrap();
        let timestamp = header("webhook-timestamp").parse().unwrap();
        let signature = oracle.sign(header("webhook-id"), timestamp, &post.body);
        assert_eq!(header("webhook-signature"), signature.unwrap());
        String::from_utf8(post.body.to_vec()).unwrap()
    };
    posts.iter().map(body).collect()
}

#[tokio::test]
async fn template_output_is_signed() {
    let receiver = Receiver::start(|_| None).await;
    let text =
        "{\"text\": {{ alerts[0].annotations.summary | tojson }}, \"n\": {{ alerts | length }}}";
    let webhook = webhook_with(&receiver.url, &[], Some(text));
    let mut hostile = fact_named("x\", \"n\": 7}\r\n");
    hostile.zone_name = "UTC".to_owned();
    assert_eq!(send(&webhook, &[hostile]).await, Delivery::Delivered);
    assert_eq!(
        send(&webhook, &workspace_facts(60)).await,
        Delivery::Delivered
    );
    let posts = receiver.posts();
    let bodies = signed_bodies(&posts);
    let body: Value = serde_json::from_str(&bodies[0]).unwrap();
    assert_eq!(body["n"], 1);
    assert!(
        body["text"].as_str().unwrap().contains("x\", \"n\": 7}"),
        "{body}"
    );
    let counts: Vec<u64> = bodies[1..]
        .iter()
        .map(|body| {
            serde_json::from_str::<Value>(body).unwrap()["n"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(counts, [25, 25, 10]);
    let id = |post: &receiver::Post| post.headers["webhook-id"].to_str().unwrap().to_owned();
    let ids: Vec<String> = posts.iter().map(id).collect();
    assert_eq!(
        ids,
        ["id-000001", "id-000001", "id-000001-2", "id-000001-3"]
    );
    for post in posts {
        let types: Vec<_> = post.headers.get_all("content-type").iter().collect();
        assert_eq!(types, ["application/json"]);
    }
}

#[tokio::test]
async fn only_templates_may_change_the_content_type() {
    let receiver = Receiver::start(|_| None).await;
    let header = ("Content-Type", "text/plain; charset=utf-8");
    let text = "{{ status }}: {{ alerts[0].labels.workspace }}";
    let webhook = webhook_with(&receiver.url, &[header], Some(text));
    // The fake receiver rejects everything but JSON.
    assert!(matches!(send_one(&webhook).await, Delivery::Drop { .. }));
    let posts = receiver.posts();
    assert_eq!(signed_bodies(&posts), ["firing: Search"]);
    let types: Vec<_> = posts[0].headers.get_all("content-type").iter().collect();
    assert_eq!(types, ["text/plain; charset=utf-8"]);
    let settings = WebhookSettings {
        url: secret(&receiver.url),
        signing_secrets: Vec::new(),
        headers: vec![(header.0.to_owned(), secret(header.1))],
        template: None,
    };
    let refused = Webhook::new(settings, false).unwrap_err();
    let expected = "header `content-type` is set by spendwatch itself";
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn failing_template_drops_the_message() {
    let receiver = Receiver::start(|_| None).await;
    for (text, expected) in [
        (
            "{{ alerts[0].labels.model }}",
            "undefined value: `alerts[0].labels.model` is undefined (line 1); use the `default` filter \
             for fields that only some messages have",
        ),
        ("{{ 'x' * 300000 }}", "the output exceeds 262144 bytes"),
        (
            "\n{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "the template takes too many steps (line 2)",
        ),
    ] {
        let webhook = webhook_with(&receiver.url, &[], Some(text));
        let expected = format!("cannot render the template: {expected}");
        assert_eq!(send_one(&webhook).await, Delivery::drop_message(expected));
    }
    assert!(receiver.posts().is_empty());
}

#[tokio::test]
async fn missing_response_is_ambiguous_but_missing_connection_is_not() {
    let receiver = Receiver::start(|_| None).await;
    let limit = Duration::from_millis(500);
    let limits = HttpClientConfig {
        connect_timeout: limit,
        read_timeout: limit,
        timeout: limit,
        ca_file: None,
    };
    let url = receiver.url.parse().unwrap();
    let impatient = outbound::client_for(&limits, &url).unwrap();
    let slack = slack_with(impatient, &receiver.url);
    receiver.answer(Answer::Hang);
    receiver.answer(Answer::Hang);
    assert_eq!(
        send_one(&slack).await,
        Delivery::ambiguous("response timed out")
    );
    receiver.wait_for(1).await;
    receiver.recover();
    assert_eq!(send_one(&slack).await, Delivery::Delivered);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/services/canary-0001",
        listener.local_addr().unwrap()
    );
    let closer = tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
    });
    let cut = send_one(&webhook(&url)).await;
    assert!(
        matches!(
            &cut,
            Delivery::Retry {
                is_ambiguous: true,
                ..
            }
        ),
        "{cut:?}"
    );
    closer.await.unwrap();
    let refused = send_one(&webhook(&url)).await;
    assert!(
        matches!(
            &refused,
            Delivery::Retry {
                is_ambiguous: false,
                ..
            }
        ),
        "{refused:?}"
    );
    for delivery in [cut, refused] {
        assert!(
            !delivery.error().unwrap().contains("canary"),
            "{delivery:?}"
        );
    }
}

#[tokio::test]
async fn only_the_beginning_of_a_long_response_is_read() {
    let receiver = Receiver::start(|_| None).await;
    let (slack, webhook) = (slack(&receiver.url), webhook(&receiver.url));
    let huge = "ok ".repeat(2 * 1024 * 1024);
    receiver.answer(reply(200, &[], &huge));
    assert_eq!(send_one(&webhook).await, Delivery::Delivered);
    receiver.answer(reply(200, &[], &huge));
    let unclear = send_one(&slack).await;
    assert!(
        matches!(&unclear, Delivery::Retry { is_ambiguous: true, error, .. } if error.len() < 300),
        "{unclear:?}"
    );
}

#[tokio::test]
async fn endless_response_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nok";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head)
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let limit = Duration::from_millis(500);
    let limits = HttpClientConfig {
        connect_timeout: limit,
        read_timeout: limit,
        timeout: limit,
        ca_file: None,
    };
    let client = outbound::client_for(&limits, &url.parse().unwrap()).unwrap();
    let slack = slack_with(client, &url);
    let unclear = send_one(&slack).await;
    assert!(
        matches!(
            unclear,
            Delivery::Retry {
                is_ambiguous: true,
                ..
            }
        ),
        "{unclear:?}"
    );
    server.abort();
}
