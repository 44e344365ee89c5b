//! PagerDuty, Teams and Discord: whole payloads, sizes and hostile names.

use proptest::prelude::*;
use serde_json::Value;

use super::{pretty, roundup};
use crate::envelope::Envelope;
use crate::receivers::{discord, pagerduty, teams};
use crate::samples::{
    api_key_fact, at, fact, fact_named, gap_fact, user_fact, with_envelope, workspace_facts,
};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::rule::Severity;

#[path = "../../../../tests/fakes/discord_rules.rs"]
pub(super) mod discord_rules;
#[path = "../../../../tests/fakes/pagerduty_rules.rs"]
pub(super) mod pagerduty_rules;
#[path = "../../../../tests/fakes/teams_rules.rs"]
pub(super) mod teams_rules;

/// The event with a routing key, as it is sent.
fn event(envelope: &Envelope<'_>, fact: &Fact) -> Value {
    let mut event = pagerduty::payload(envelope, fact);
    event["routing_key"] = "r".repeat(32).into();
    event
}

#[track_caller]
fn check_accepted(facts: &[Fact]) {
    with_envelope(facts, |envelope| {
        let (teams, discord) = (teams::payload(&envelope), discord::payload(&envelope));
        assert_eq!(teams_rules::complaint(&teams), None, "{}", pretty(&teams));
        assert_eq!(
            discord_rules::complaint(&discord),
            None,
            "{}",
            pretty(&discord)
        );
        for fact in facts {
            let event = event(&envelope, fact);
            assert_eq!(
                pagerduty_rules::complaint(&event),
                None,
                "{}",
                pretty(&event)
            );
        }
    });
}

#[test]
fn payloads_of_one_alert() {
    for (what, fact) in [
        ("first", fact(Reason::First)),
        ("resolved", fact(Reason::Resolved)),
        ("key", api_key_fact()),
        ("user", user_fact()),
        ("gap", gap_fact(Reason::First)),
    ] {
        let facts = [fact];
        check_accepted(&facts);
        with_envelope(&facts, |envelope| {
            let event = pagerduty::payload(&envelope, &facts[0]);
            insta::assert_snapshot!(format!("pagerduty_{what}"), pretty(&event));
            insta::assert_snapshot!(format!("teams_{what}"), pretty(&teams::payload(&envelope)));
            insta::assert_snapshot!(
                format!("discord_{what}"),
                pretty(&discord::payload(&envelope))
            );
        });
    }
}

#[test]
fn payloads_of_several_alerts() {
    let facts = roundup();
    check_accepted(&facts);
    with_envelope(&facts, |envelope| {
        insta::assert_snapshot!("teams_several", pretty(&teams::payload(&envelope)));
        insta::assert_snapshot!("discord_several", pretty(&discord::payload(&envelope)));
    });
}

#[test]
fn all_messages_about_an_alert_share_one_incident() {
    for reason in Reason::ALL {
        let facts = [fact(reason)];
        with_envelope(&facts, |envelope| {
            let event = pagerduty::payload(&envelope, &facts[0]);
            let is_resolved = reason == Reason::Resolved;
            let action = if is_resolved { "resolve" } else { "trigger" };
            assert_eq!(event["event_action"], action, "{reason}");
            let key = "acme/workspace-month/workspace/workspace_01/2026-11";
            assert_eq!(event["dedup_key"], key, "{reason}");
        });
    }
    for severity in Severity::ALL {
        let mut fact = fact(Reason::Lowered);
        fact.threshold.severity = severity;
        let facts = [fact];
        with_envelope(&facts, |envelope| {
            let event = pagerduty::payload(&envelope, &facts[0]);
            assert_eq!(event["payload"]["severity"], severity.as_str());
        });
    }
}

#[test]
fn delayed_events_state_their_time() {
    let facts = [fact(Reason::First)];
    with_envelope(&facts, |envelope| {
        let late = Envelope {
            now: at("2026-11-24T16:25:00Z"),
            ..envelope
        };
        let notes = &pagerduty::payload(&late, &facts[0])["payload"]["custom_details"]["notes"];
        let note = "Delayed by 3 h 20 min. State as of 2026-11-24 14:05 Europe/Berlin.";
        assert_eq!(notes, &Value::from(vec![note]));
        assert!(teams::payload(&late).to_string().contains(note));
        assert!(discord::payload(&late).to_string().contains(note));
    });
}

#[test]
fn details_of_a_large_event_are_omitted() {
    let mut large = fact(Reason::First);
    large.labels.insert("note".to_owned(), "\"".repeat(300_000));
    let facts = [large];
    check_accepted(&facts);
    with_envelope(&facts, |envelope| {
        let event = pagerduty::payload(&envelope, &facts[0]);
        let details = event["payload"]["custom_details"].as_object().unwrap();
        assert_eq!(details.len(), 1);
        assert!(details["left_out"].as_str().unwrap().contains("too large"));
        let summary = event["payload"]["summary"].as_str().unwrap();
        assert!(
            summary.starts_with(
                "Critical: workspace Search is 13% over its November limit: $5,630.12"
            )
        );
    });
}

#[test]
fn case_28_three_hundred_alerts_are_one_message_within_all_limits() {
    let facts = workspace_facts(300);
    check_accepted(&facts);
    with_envelope(&facts, |envelope| {
        for payload in [teams::payload(&envelope), discord::payload(&envelope)] {
            let text = payload.to_string();
            assert!(text.contains(" more, $1,"), "{text}");
            assert!(text.contains("workspace Team 0"), "{text}");
        }
    });
}

#[test]
fn case_27_names_are_harmless() {
    for name in [
        "<!channel> & \"x\"\r\nBcc: a@b",
        "@everyone @here <@123> <@&4> <#5> <:a:6>",
        "[click](https://evil.example) ![x](y)",
        "\\[x\\](https://evil.example)",
        "{{DATE(2026-11-24T00:00:00Z, LONG)}} ${secret} @{triggerBody()}",
        "*bold* _it_ ~no~ `code` ||spoiler|| > # - + 1.",
        "- [ ] # x",
        "\u{1b}]0;title\u{7}\u{202e}gnp.exe\u{2066}\u{0}",
        "",
    ] {
        check_accepted(&[fact_named(name)]);
        check_accepted(&vec![fact_named(name); 3]);
    }
    with_envelope(
        &[fact_named("<!channel> & \"x\"\r\nBcc: a@b")],
        |envelope| {
            let discord = discord::payload(&envelope).to_string();
            assert!(
                discord.contains("\\\\<!channel> & \\\"x\\\"��Bcc: a\\\\@b"),
                "{discord}"
            );
            let teams = teams::payload(&envelope).to_string();
            assert!(
                teams.contains("\\\\<!channel> & \\\"x\\\"��Bcc: a@b"),
                "{teams}"
            );
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_name_is_harmless(name in any::<String>()) {
        check_accepted(&[fact_named(&name)]);
        check_accepted(&vec![fact_named(&name); 3]);
    }

    #[test]
    fn long_names_of_costly_characters_fit(name in "[&<>😀\"\\\\\n\\[*_日]{60,200}") {
        check_accepted(&[fact_named(&name)]);
        check_accepted(&vec![fact_named(&name); 40]);
        let rules: Vec<Fact> = (0..15)
            .map(|n| {
                let mut fact = fact_named(&name);
                fact.identity.slot.rule = format!("{n}{name}").as_str().into();
                fact
            })
            .collect();
        check_accepted(&rules);
        let mut labelled = fact_named(&name);
        labelled.labels = (0..10).map(|n| (format!("{n}{name}"), name.clone())).collect();
        check_accepted(&[labelled]);
    }
}
