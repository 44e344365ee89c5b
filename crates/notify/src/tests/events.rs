//! Messages about events.

use crate::json::alerts;
use crate::receivers::{alertmanager, console, discord, pagerduty, slack, teams};
use crate::samples::{event_fact, with_envelope};
use crate::tests::{mail, pretty, slack_rules};
use crate::wording::message;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::resend::{self, ResentAlert};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

fn render(fact: Fact) -> String {
    let message = with_envelope(&[fact], |envelope| message::render(&envelope, 20));
    format!("{}: {}", message.title, message.summary)
}

#[test]
fn each_event_has_its_text() {
    let lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| render(event_fact(event, Reason::First)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Warning: workspace Search created on 2026-11-24: Created on 2026-11-24 11:00 Europe/Berlin
    Warning: API key "ci" (apikey_01) created on 2026-11-24: Created on 2026-11-24 11:00 Europe/Berlin
    Warning: API key "ci" (apikey_01) not used for 93 days: Idle since 2026-08-23 12:00 Europe/Berlin
    Warning: API key "ci" (apikey_01) still active, but its creator bob@example.com has left the organization: Firing since 2026-11-24 14:05 Europe/Berlin
    Warning: API key "ci" (apikey_01) expires in 6 days, on 2026-12-01: Expires on 2026-12-01 10:00 Europe/Berlin
    Warning: user ada@example.com: no activity for 93 days: Idle since 2026-08-23 12:00 Europe/Berlin
    Warning: workspace Search: no spend limit since 2026-11-24: Limit removed on 2026-11-24 11:00 Europe/Berlin
    "#);
    let mut unknown = event_fact(Event::KeyOfRemovedUser, Reason::First);
    unknown.creator = None;
    assert!(render(unknown).contains("still active, but its creator has left the organization"));
    let mut whole = event_fact(Event::LimitRemoved, Reason::First);
    whole.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    whole.subject_name = "acme".to_owned();
    assert!(render(whole).starts_with("Warning: acme: no spend limit since 2026-11-24: "));
}

#[test]
fn resolved_events_state_why() {
    let resolved = |event, by| {
        let mut fact = event_fact(event, Reason::Resolved);
        fact.ended_by = by;
        render(fact)
    };
    let mut lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| resolved(event, Some(EndedBy::Cleared)))
        .collect();
    for by in [
        Some(EndedBy::PeriodOver),
        Some(EndedBy::SubjectGone),
        Some(EndedBy::RuleRemoved),
        None,
    ] {
        lines.push(resolved(Event::KeyExpiring, by));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Resolved: workspace Search, it turned out to be older: Created on 2026-11-24 11:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), it turned out to be older: Created on 2026-11-24 11:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the key was used again or deactivated, or the rule now allows a longer idle time: Idle since 2026-08-23 12:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the key was deactivated, or its creator is back in the organization: Firing since 2026-11-24 14:05 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the key was deactivated or now expires later: Expires on 2026-12-01 10:00 Europe/Berlin
    Resolved: user ada@example.com, the user is active again, or the rule now allows a longer idle time: Idle since 2026-08-23 12:00 Europe/Berlin
    Resolved: workspace Search, there is a limit again: Limit removed on 2026-11-24 11:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the key has expired: Expires on 2026-12-01 10:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the API key no longer exists: Expires on 2026-12-01 10:00 Europe/Berlin
    Resolved: API key "ci" (apikey_01), the rule no longer covers it: Expires on 2026-12-01 10:00 Europe/Berlin
    No longer warning: API key "ci" (apikey_01) dropped below this notifier's minimum severity: Expires on 2026-12-01 10:00 Europe/Berlin
    "#);
}

#[test]
fn next_steps_have_links() {
    let lines: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| {
            let fact = event_fact(event, Reason::First);
            let text = with_envelope(&[fact], |envelope| console::payload(&envelope));
            let (_, advice) = text.split_once("Next steps:\n").unwrap();
            advice.lines().next().unwrap().to_owned()
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    - Check whether workspace Search is expected, and set a spend limit for it: https://console.anthropic.com/settings/workspaces
    - Check whether API key "ci" (apikey_01) is expected; if not, revoke it: https://console.anthropic.com/settings/keys
    - Ask the creator of API key "ci" (apikey_01) whether it is still needed; if not, revoke it: https://console.anthropic.com/settings/keys
    - Find out what uses API key "ci" (apikey_01), replace it with a key of a current user, then revoke it: https://console.anthropic.com/settings/keys
    - Create a new key and replace API key "ci" (apikey_01) before it expires: https://console.anthropic.com/settings/keys
    - Ask whether user ada@example.com still needs access; if not, remove the user: https://console.anthropic.com/settings/members
    - Find out who removed the limit of workspace Search, and set a new one: https://console.anthropic.com/settings/workspaces
    "#);
}

#[test]
fn payloads() {
    let idle = event_fact(Event::KeyIdle, Reason::First);
    with_envelope(&[idle], |envelope| {
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        insta::assert_snapshot!("slack_event", pretty(&slack));
        let webhook = alerts::payload(&envelope, envelope.facts);
        insta::assert_snapshot!("webhook_event", pretty(&webhook));
        insta::assert_snapshot!("email_event", mail(&envelope));
        insta::assert_snapshot!("console_event", console::payload(&envelope));
        let fact = &envelope.facts[0];
        let incident = pagerduty::payload(&envelope, fact);
        insta::assert_snapshot!("pagerduty_event", pretty(&incident));
        insta::assert_snapshot!("teams_event", pretty(&teams::payload(&envelope)));
        insta::assert_snapshot!("discord_event", pretty(&discord::payload(&envelope)));
        let posting = ResentAlert {
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
            let mut fact = event_fact(Event::KeyIdle, Reason::First);
            fact.identity.slot.subject =
                Subject::new(SubjectKind::ApiKey, format!("apikey_{n:02}"));
            fact.subject_name = format!("job {n}");
            fact
        })
        .collect();
    facts.push(event_fact(Event::KeyExpiring, Reason::First));
    with_envelope(&facts, |envelope| {
        insta::assert_snapshot!("console_events", console::payload(&envelope));
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        insta::assert_snapshot!("slack_events", pretty(&slack));
    });
}
