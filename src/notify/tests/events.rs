//! Alerts of rules on events, as they are told.

use crate::domain::alert::EndedBy;
use crate::domain::event::Event;
use crate::domain::notification::{Fact, Reason};
use crate::domain::resend::{self, Posting};
use crate::domain::subject::{Subject, SubjectKind};
use crate::notify::samples::{of_an_event, with_envelope};
use crate::notify::tests::{mail, pretty, slack_rules};
use crate::notify::{alertmanager, console, discord, message, pagerduty, slack, teams, webhook};

fn told(fact: Fact) -> String {
    let message = with_envelope(&[fact], |envelope| message::render(&envelope, 20));
    format!("{}: {}", message.title, message.summary)
}

#[test]
fn each_event_has_its_words() {
    let lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| told(of_an_event(event, Reason::First)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Warning: new workspace Search: Created on 2026-11-24 11:00 Europe/Berlin
    Warning: new API key "ci" (apikey_01): Created on 2026-11-24 11:00 Europe/Berlin
    Warning: idle API key "ci" (apikey_01): Not used for 93 days, since 2026-08-23 12:00 Europe/Berlin
    Warning: orphaned API key "ci" (apikey_01): Belongs to nobody: bob@example.com, who made it, is not in the organization any more
    Warning: expiring API key "ci" (apikey_01): Expires on 2026-12-01 10:00 Europe/Berlin, in 6 days
    Warning: idle user ada@example.com: Used nothing for 93 days, since 2026-08-23 12:00 Europe/Berlin
    Warning: removed limit of workspace Search: There is no spend limit at the service any more, since 2026-11-24 11:00 Europe/Berlin
    "#);
    let mut unknown = of_an_event(Event::KeyOfRemovedUser, Reason::First);
    unknown.maker = None;
    assert!(
        told(unknown)
            .ends_with("Belongs to nobody: who made it is not in the organization any more")
    );
    let mut whole = of_an_event(Event::LimitRemoved, Reason::First);
    whole.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    whole.subject_name = "acme".to_owned();
    assert!(told(whole).starts_with("Warning: removed limit of organization acme: "));
}

#[test]
fn what_is_over_says_why() {
    let over = |event, by| {
        let mut fact = of_an_event(event, Reason::Resolved);
        fact.ended_by = by;
        told(fact)
    };
    let mut lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| over(event, Some(EndedBy::Cleared)))
        .collect();
    for by in [
        Some(EndedBy::PeriodOver),
        Some(EndedBy::SubjectGone),
        Some(EndedBy::RuleRemoved),
        None,
    ] {
        lines.push(over(Event::KeyExpiring, by));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Resolved: new workspace Search: It was not made lately, after all
    Resolved: new API key "ci" (apikey_01): It was not made lately, after all
    Resolved: idle API key "ci" (apikey_01): The key was used again, opens nothing any more, or may be idle for longer
    Resolved: orphaned API key "ci" (apikey_01): The key opens nothing any more, or who made it is back
    Resolved: expiring API key "ci" (apikey_01): The key expires later than is told, or opens nothing any more
    Resolved: idle user ada@example.com: They are active again, or may be idle for longer
    Resolved: removed limit of workspace Search: There is a limit again
    Resolved: expiring API key "ci" (apikey_01): The key has expired
    Resolved: expiring API key "ci" (apikey_01): The API key exists no more
    Resolved: expiring API key "ci" (apikey_01): The rule does not look at it any more
    No longer warning: expiring API key "ci" (apikey_01): It dropped below this notifier's minimum severity
    "#);
}

#[test]
fn advice_says_where() {
    let lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| {
            let fact = of_an_event(event, Reason::First);
            let text = with_envelope(&[fact], |envelope| console::payload(&envelope));
            let (_, advice) = text.split_once("What to do:\n").unwrap();
            advice.lines().next().unwrap().to_owned()
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    - See whether workspace Search is meant to be, and give it a spend limit: https://console.anthropic.com/settings/workspaces
    - See whether API key "ci" (apikey_01) is meant to be; if nobody knows it, revoke it: https://console.anthropic.com/settings/keys
    - Ask whoever made API key "ci" (apikey_01) whether it is still needed; if not, revoke it: https://console.anthropic.com/settings/keys
    - Find out what uses API key "ci" (apikey_01), give that a key of somebody who is there, and revoke this one: https://console.anthropic.com/settings/keys
    - Make a new key and put it in the place of API key "ci" (apikey_01) before it expires: https://console.anthropic.com/settings/keys
    - Ask whether user ada@example.com still needs to be in the organization; if not, remove them: https://console.anthropic.com/settings/members
    - Ask who removed the limit of workspace Search, and set one again: https://console.anthropic.com/settings/workspaces
    "#);
}

#[test]
fn payloads() {
    let idle = of_an_event(Event::KeyIdle, Reason::First);
    with_envelope(&[idle], |envelope| {
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        insta::assert_snapshot!("slack_event", pretty(&slack));
        let webhook = webhook::payload(&envelope, envelope.facts);
        insta::assert_snapshot!("webhook_event", pretty(&webhook));
        insta::assert_snapshot!("email_event", mail(&envelope));
        insta::assert_snapshot!("console_event", console::payload(&envelope));
        let fact = &envelope.facts[0];
        let incident = pagerduty::payload(&envelope, fact);
        insta::assert_snapshot!("pagerduty_event", pretty(&incident));
        insta::assert_snapshot!("teams_event", pretty(&teams::payload(&envelope)));
        insta::assert_snapshot!("discord_event", pretty(&discord::payload(&envelope)));
        let posting = Posting {
            labels: resend::labels(fact),
            fact: fact.clone(),
            ends_at: envelope.now,
        };
        let bodies = alertmanager::bodies(&[posting], envelope.links);
        let body = serde_json::from_slice(&bodies[0]).unwrap();
        insta::assert_snapshot!("alertmanager_event", pretty(&body));
    });
}

#[test]
fn many_idle_keys_are_one_list() {
    let mut facts: Vec<Fact> = (0..12)
        .map(|n| {
            let mut fact = of_an_event(Event::KeyIdle, Reason::First);
            fact.identity.slot.subject =
                Subject::new(SubjectKind::ApiKey, format!("apikey_{n:02}"));
            fact.subject_name = format!("job {n}");
            fact
        })
        .collect();
    facts.push(of_an_event(Event::KeyExpiring, Reason::First));
    with_envelope(&facts, |envelope| {
        insta::assert_snapshot!("console_events", console::payload(&envelope));
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        insta::assert_snapshot!("slack_events", pretty(&slack));
    });
}
