//! PagerDuty, Teams and Discord over HTTP: accepted messages, responses and secrets.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::pagerduty_teams_discord::{discord_rules, pagerduty_rules, teams_rules};
use super::receiver::Receiver;
use super::{reply, retry, secret, send, send_from, send_one};
use crate::Notifier;
use crate::outcome::{Delivery, SettingsError};
use crate::post::ReceiverEndpoint;
use crate::receivers::pagerduty::PagerDuty;
use crate::samples::{fact, fact_named, workspace_facts};
use spendwatch_base::receiver::{PagerDutySettings, ReceiverSettings};
use spendwatch_domain::alerts::notification::Reason;

const ROUTING_KEY: &str = "R0UTINGKEYcanary0123456789abcdef";

fn pagerduty(url: &str) -> Notifier {
    let settings = PagerDutySettings {
        url: secret(url),
        routing_key: secret(ROUTING_KEY),
    };
    Notifier::new(ReceiverSettings::PagerDuty(settings), false).unwrap()
}

fn teams(url: &str) -> Notifier {
    Notifier::new(ReceiverSettings::Teams { url: secret(url) }, false).unwrap()
}

fn discord(url: &str) -> Notifier {
    Notifier::new(ReceiverSettings::Discord { url: secret(url) }, false).unwrap()
}

async fn start_pagerduty() -> Receiver {
    let accepted = |_: Option<&str>| {
        (
            202,
            "{\"status\":\"success\",\"message\":\"Event processed\"}",
        )
    };
    Receiver::start_with(pagerduty_rules::complaint, accepted).await
}

/// A workflow requires its signature.
async fn start_teams() -> Receiver {
    Receiver::start_with(teams_rules::complaint, |query| match query {
        Some("api-version=1&sig=canary-sig") => (202, ""),
        _ => (
            401,
            "{\"error\":{\"code\":\"DirectApiAuthorizationRequired\"}}",
        ),
    })
    .await
}

/// Discord only reports whether the message was saved if `wait` is set.
async fn start_discord() -> Receiver {
    Receiver::start_with(discord_rules::complaint, |query| match query {
        Some("thread_id=77&wait=true") => (200, "{\"id\":\"1\",\"type\":0}"),
        Some(_) | None => (
            400,
            "{\"message\":\"not waited for, or another thread\",\"code\":50035}",
        ),
    })
    .await
}

async fn check_accepted(notifier: &Notifier) {
    let hostile = fact_named("<!channel> & \"x\"\r\nBcc: a@b");
    for facts in [
        vec![fact(Reason::First)],
        vec![fact(Reason::Resolved)],
        vec![hostile],
        workspace_facts(300),
    ] {
        assert_eq!(send(notifier, &facts).await, Delivery::Delivered);
    }
}

#[tokio::test]
async fn all_three_accept_all_messages() {
    let (of_pagerduty, of_teams, of_discord) = (
        start_pagerduty().await,
        start_teams().await,
        start_discord().await,
    );
    check_accepted(&pagerduty(&of_pagerduty.url)).await;
    assert_eq!(of_pagerduty.posts().len(), 303);
    check_accepted(&teams(&format!(
        "{}?api-version=1&sig=canary-sig",
        of_teams.url
    )))
    .await;
    assert_eq!(of_teams.posts().len(), 4);
    check_accepted(&discord(&format!("{}?thread_id=77", of_discord.url))).await;
    assert_eq!(of_discord.posts().len(), 4);
}

fn keys(receiver: &Receiver) -> Vec<String> {
    let events = receiver.posts();
    let event = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
    let keys = events
        .iter()
        .map(|post| event(&post.body)["dedup_key"].to_string());
    keys.collect()
}

#[tokio::test]
async fn rate_limit_delays_the_rest_and_repeats_nothing() {
    let receiver = start_pagerduty().await;
    let pagerduty = pagerduty(&receiver.url);
    let facts = workspace_facts(10);
    for _ in 0..4 {
        receiver.answer(reply(202, &[], ""));
    }
    receiver.answer(reply(429, &[("retry-after", "30")], "slow down"));
    let mut n_posted = 0;
    let limited = send_from(&pagerduty, &facts, &mut n_posted).await;
    assert_eq!(limited, retry("answered 429: slow down", Some(30)));
    assert_eq!((receiver.posts().len(), n_posted), (5, 4));
    let rest = send_from(&pagerduty, &facts, &mut n_posted).await;
    assert_eq!(rest, Delivery::Delivered);
    let keys = keys(&receiver);
    assert_eq!(keys.len(), 11);
    assert_eq!(keys[4], keys[5]);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 10);
    assert_eq!(send(&pagerduty, &facts).await, Delivery::Delivered);
    assert_eq!(receiver.posts().len(), 21);
}

#[tokio::test]
async fn rejected_event_does_not_block_others() {
    let receiver = start_pagerduty().await;
    let pagerduty = pagerduty(&receiver.url);
    receiver.answer(reply(202, &[], ""));
    receiver.answer(reply(400, &[], "Event object is invalid"));
    let dropped = Delivery::drop_message("answered 400: Event object is invalid");
    assert_eq!(send(&pagerduty, &workspace_facts(4)).await, dropped);
    assert_eq!(receiver.posts().len(), 4);
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Retry,
    Park,
    ParkForGood,
    Drop,
}

async fn check_responses(receiver: &Receiver, notifier: &Notifier, table: &[(&[u16], &str, Kind)]) {
    for (statuses, body, expected) in table {
        for status in *statuses {
            receiver.answer(reply(*status, &[], body));
            let kind = match send_one(notifier).await {
                Delivery::Delivered | Delivery::Posted { .. } | Delivery::PartSent { .. } => {
                    panic!("{status} is delivered")
                }
                Delivery::Retry { .. } => Kind::Retry,
                Delivery::Park {
                    is_probed: true, ..
                } => Kind::Park,
                Delivery::Park {
                    is_probed: false, ..
                } => Kind::ParkForGood,
                Delivery::Drop { .. } => Kind::Drop,
            };
            assert_eq!(kind, *expected, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn other_responses() {
    let receiver = start_pagerduty().await;
    let key = "{\"status\":\"invalid event\",\"errors\":[\"Invalid routing key\"]}";
    check_responses(
        &receiver,
        &pagerduty(&receiver.url),
        &[
            (&[429, 500, 502, 503, 504], "", Kind::Retry),
            (&[200], "<html>Please log in</html>", Kind::Retry),
            (&[302, 401, 403, 404], "", Kind::Park),
            (&[400], key, Kind::Park),
            (&[400, 413], "Event object is invalid", Kind::Drop),
        ],
    )
    .await;
    let receiver = start_teams().await;
    check_responses(
        &receiver,
        &teams(&receiver.url),
        &[
            (&[408, 429, 500, 502, 503, 504], "", Kind::Retry),
            (&[200, 202], "<html>Please log in</html>", Kind::Retry),
            (&[302, 401, 403, 404, 410], "", Kind::Park),
            (&[400, 413], "", Kind::Drop),
        ],
    )
    .await;
    let receiver = start_discord().await;
    check_responses(
        &receiver,
        &discord(&receiver.url),
        &[
            (&[429, 500, 502, 503, 504], "", Kind::Retry),
            (&[302, 401, 403], "", Kind::Park),
            (
                &[404],
                "{\"message\":\"Unknown Webhook\",\"code\":10015}",
                Kind::ParkForGood,
            ),
            (&[400, 413], "{\"code\":50035}", Kind::Drop),
        ],
    )
    .await;
}

#[tokio::test]
async fn longer_requested_pause_applies() {
    let receiver = start_discord().await;
    let discord = discord(&receiver.url);
    for (header, body, expected) in [
        (
            "1",
            "{\"retry_after\":1.337,\"global\":false}",
            Duration::from_secs_f64(1.337),
        ),
        (
            "3",
            "{\"retry_after\":0.5,\"global\":true}",
            Duration::from_secs(3),
        ),
        ("2", "error code: 1015", Duration::from_secs(2)),
        (
            "rubbish",
            "{\"retry_after\":0.5}",
            Duration::from_secs_f64(0.5),
        ),
    ] {
        receiver.answer(reply(429, &[("retry-after", header)], body));
        let delivery = send_one(&discord).await;
        assert!(
            matches!(&delivery, Delivery::Retry { after, .. } if *after == Some(expected)),
            "{delivery:?}"
        );
    }
    receiver.answer(reply(429, &[], "{\"retry_after\":90000.5}"));
    assert!(matches!(send_one(&discord).await, Delivery::Park { .. }));
}

#[tokio::test]
async fn secrets_are_not_quoted_or_shown() {
    let receiver = Receiver::start(|_| None).await;
    let url = format!("{}?sig=canary-sig%2B1&thread_id=77", receiver.url);
    let notifiers = [pagerduty(&url), teams(&url), discord(&url)];
    for notifier in &notifiers {
        let echo = format!("bad {url} {ROUTING_KEY} canary-0001 canary-sig+1 canary-sig%2B1");
        receiver.answer(reply(400, &[], &echo));
        let delivery = send_one(notifier).await;
        let error = delivery.error().unwrap();
        let is_pagerduty = matches!(notifier, Notifier::PagerDuty(_));
        let text = if is_pagerduty {
            error.to_owned()
        } else {
            error.replace(ROUTING_KEY, "")
        };
        assert!(!text.contains("canary"), "{text}");
        assert!(!format!("{notifier:?}").contains("canary"));
    }
}

#[test]
fn invalid_settings_are_rejected() {
    let build = |url: &str, key: &str| {
        let settings = PagerDutySettings {
            url: secret(url),
            routing_key: secret(key),
        };
        PagerDuty::new(settings, false)
    };
    let events = "https://events.eu.pagerduty.com/v2/enqueue";
    assert!(build(events, &format!("{ROUTING_KEY}\n")).is_ok());
    for key in ["", "canary", &ROUTING_KEY[1..], &format!("{ROUTING_KEY}0")] {
        let error = build(events, key).unwrap_err();
        assert!(matches!(error, SettingsError::RoutingKey));
        assert!(!error.to_string().contains("canary"));
    }
    let clear = "http://events.example.com/canary";
    let refused = ReceiverEndpoint::new(secret(clear), false);
    assert!(matches!(refused, Err(SettingsError::ClearText)));
    assert!(ReceiverEndpoint::new(secret(clear), true).is_ok());
}

/// A changed setting means another receiver, so that a parked notifier is tried again.
#[test]
fn mark_depends_on_all_settings() {
    let url = "https://example.com/canary-0001";
    let other = "https://example.com/canary-0002";
    for (one, another) in [
        (pagerduty(url), pagerduty(other)),
        (teams(url), teams(other)),
        (discord(url), discord(other)),
        (teams(url), discord(url)),
    ] {
        let mark = one.settings_mark("salt");
        assert!(one.has_settings_mark(&mark) && !another.has_settings_mark(&mark));
        assert!(!mark.contains("canary"));
    }
}
