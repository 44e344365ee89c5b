//! PagerDuty, Teams and Discord: whole payloads, sizes, and names that are up to something.

use proptest::prelude::*;
use serde_json::Value;

use super::{pretty, roundup};
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::Severity;
use crate::notify::envelope::Envelope;
use crate::notify::samples::{
    at, fact, many, named, of_a_gap, of_a_key, of_a_person, with_envelope,
};
use crate::notify::{discord, pagerduty, teams};

#[path = "../../../tests/fakes/discord_rules.rs"]
pub(super) mod discord_rules;
#[path = "../../../tests/fakes/pagerduty_rules.rs"]
pub(super) mod pagerduty_rules;
#[path = "../../../tests/fakes/teams_rules.rs"]
pub(super) mod teams_rules;

/// With a key, as it is sent.
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
        ("key", of_a_key()),
        ("person", of_a_person()),
        ("gap", of_a_gap(Reason::First)),
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
fn an_incident_stays_the_same_through_all_that_is_told_of_it() {
    for reason in Reason::ALL {
        let facts = [fact(reason)];
        with_envelope(&facts, |envelope| {
            let event = pagerduty::payload(&envelope, &facts[0]);
            let is_over = reason == Reason::Resolved;
            let action = if is_over { "resolve" } else { "trigger" };
            assert_eq!(event["event_action"], action, "{reason}");
            let key = "acme/workspace-month/workspace/workspace_01/2026-11";
            assert_eq!(event["dedup_key"], key, "{reason}");
        });
    }
    for severity in Severity::ALL {
        let mut fact = fact(Reason::Lowered);
        fact.line.severity = severity;
        let facts = [fact];
        with_envelope(&facts, |envelope| {
            let event = pagerduty::payload(&envelope, &facts[0]);
            assert_eq!(event["payload"]["severity"], severity.as_str());
        });
    }
}

#[test]
fn an_old_event_says_when_it_was_true() {
    let facts = [fact(Reason::First)];
    with_envelope(&facts, |envelope| {
        let late = Envelope {
            now: at("2026-11-24T16:25:00Z"),
            ..envelope
        };
        let notes = &pagerduty::payload(&late, &facts[0])["payload"]["custom_details"]["notes"];
        let note = "This was true on 2026-11-24 14:05 Europe/Berlin, 3 h 20 min ago";
        assert_eq!(notes, &Value::from(vec![note]));
        assert!(teams::payload(&late).to_string().contains(note));
        assert!(discord::payload(&late).to_string().contains(note));
    });
}

#[test]
fn of_an_event_that_is_too_large_the_details_are_left_out() {
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
        assert!(summary.starts_with("Critical: workspace Search: $5,630.12"));
    });
}

#[test]
fn case_28_three_hundred_alerts_are_one_message_within_all_limits() {
    let facts = many(300);
    check_accepted(&facts);
    with_envelope(&facts, |envelope| {
        for payload in [teams::payload(&envelope), discord::payload(&envelope)] {
            let text = payload.to_string();
            assert!(text.contains("more, together $1,"), "{text}");
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
        check_accepted(&[named(name)]);
        check_accepted(&vec![named(name); 3]);
    }
    with_envelope(&[named("<!channel> & \"x\"\r\nBcc: a@b")], |envelope| {
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
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_name_is_harmless(name in any::<String>()) {
        check_accepted(&[named(&name)]);
        check_accepted(&vec![named(&name); 3]);
    }

    #[test]
    fn long_names_of_costly_characters_fit(name in "[&<>😀\"\\\\\n\\[*_日]{60,200}") {
        check_accepted(&[named(&name)]);
        check_accepted(&vec![named(&name); 40]);
        let rules: Vec<Fact> = (0..15)
            .map(|n| {
                let mut fact = named(&name);
                fact.identity.slot.rule = format!("{n}{name}").as_str().into();
                fact
            })
            .collect();
        check_accepted(&rules);
        let mut labelled = named(&name);
        labelled.labels = (0..10).map(|n| (format!("{n}{name}"), name.clone())).collect();
        check_accepted(&[labelled]);
    }
}
