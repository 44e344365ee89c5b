//! Tests for all receivers: texts by reason, whole payloads, sizes and hostile names.

use std::fs;
use std::path::Path;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::json::alerts;
use crate::receivers::{console, email, slack, slack_api, webhook};
use crate::samples::{
    api_key_fact, at, contributor, fact, fact_named, gap_fact, usd, user_fact, with_envelope,
    workspace_facts,
};
use crate::wording::{contributors, headline, message, watches};
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{
    Contributor, Fact, NamedKey, Reason, Reconciled, Thread,
};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

#[path = "../../../tests/fakes/slack_rules.rs"]
mod slack_rules;

mod by_program;
mod digests;
mod events;
mod pagerduty_teams_discord;

mod over_http;
mod over_slack_api;
mod over_smtp;

#[track_caller]
fn check(change: impl FnOnce(&mut Fact), expected: &str) {
    check_reason(Reason::First, change, expected);
}

#[track_caller]
fn check_reason(reason: Reason, change: impl FnOnce(&mut Fact), expected: &str) {
    let mut fact = fact(reason);
    change(&mut fact);
    let message = with_envelope(&[fact], |envelope| message::render(&envelope, 20));
    assert_eq!(format!("{}: {}", message.title, message.summary), expected);
}

#[test]
fn first_line_depends_on_the_reason() {
    for (reason, title) in [
        (
            Reason::First,
            "Critical: workspace Search is 13% over its November limit",
        ),
        (
            Reason::Escalated,
            "Escalated to critical: workspace Search is now at 113% of its November limit",
        ),
        (
            Reason::Lowered,
            "Lowered to critical: workspace Search is back at 113% of its November limit",
        ),
        (
            Reason::Repeated,
            "Still critical: workspace Search at 113% of its November limit, firing for 0 s",
        ),
        (
            Reason::Unsilenced,
            "Silence ended, still critical: workspace Search at 113% of its November limit",
        ),
    ] {
        check_reason(reason, |_| {}, &format!("{title}: $5,630.12 of $5,000.00"));
    }
}

#[test]
fn resolved_messages_state_why() {
    for (ended_by, why) in [
        (Some(EndedBy::Cleared), "spend fell below 100%"),
        (
            Some(EndedBy::Corrected),
            "Anthropic corrected earlier figures",
        ),
        (Some(EndedBy::LimitChanged), "the limit was raised"),
        (Some(EndedBy::PeriodOver), "the period ended"),
        (Some(EndedBy::SubjectGone), "the workspace no longer exists"),
        (Some(EndedBy::RuleRemoved), "the rule no longer covers it"),
    ] {
        let expected = format!("Resolved: workspace Search, {why}: Now $4,900.00 of $5,000.00");
        check_reason(Reason::Resolved, |fact| fact.ended_by = ended_by, &expected);
    }
    check_reason(
        Reason::Resolved,
        |fact| fact.ended_by = None,
        "No longer critical: workspace Search dropped below this notifier's minimum severity: \
         Now $4,900.00 of $5,000.00",
    );
    check_reason(
        Reason::Resolved,
        |fact| fact.is_fired_and_resolved = true,
        "Fired and resolved: workspace Search reached 100% between 2026-11-24 14:05 Europe/Berlin and \
         2026-11-24 16:00 Europe/Berlin: Anthropic corrected earlier figures; now $4,900.00 of $5,000.00",
    );
}

#[test]
fn limits_and_bounds() {
    check(
        |fact| {
            fact.value = usd("4100");
            fact.threshold.severity = Severity::Warning;
        },
        "Warning: workspace Search used 82% of its November limit: $4,100.00 of $5,000.00",
    );
    check(
        |fact| fact.value = usd("5000"),
        "Critical: workspace Search used 100% of its November limit: $5,000.00 of $5,000.00",
    );
    check(
        |fact| fact.value = usd("4980"),
        "Critical: workspace Search used 99.6% of its November limit: $4,980.00 of $5,000.00",
    );
    check(
        |fact| fact.is_lower_bound = true,
        "Critical: workspace Search is at least 13% over its November limit: At least $5,630.12 of $5,000.00",
    );
    check(
        |fact| fact.limit = Some(0),
        "Critical: workspace Search spent $5,630 where no spend is allowed: $5,630.12 in November 2026",
    );
    check(
        |fact| fact.limit = None,
        "Critical: workspace Search spent $5,630 in November 2026: $5,630.12 in November 2026",
    );
    check(
        |fact| fact.is_late = true,
        "Critical: workspace Search is 13% over its November limit: \
         $5,630.12 of $5,000.00 in November 2026, which has ended",
    );
}

#[test]
fn other_watches_use_their_own_units() {
    check(
        |fact| {
            fact.watch = Watch::Tokens;
            (fact.value, fact.limit) = (1_200_000, Some(1_000_000));
            fact.identity.slot.subject = Subject::new(SubjectKind::Model, "claude-opus-4-1");
            fact.subject_name = "claude-opus-4-1".to_owned();
            fact.identity.slot.period = None;
            fact.span.start = at("2026-11-23T14:00:00Z");
            fact.span.end = at("2026-11-24T14:00:00Z");
        },
        "Critical: model claude-opus-4-1 is 20% over its token limit for the last 24 h: \
         1,200,000 tokens of 1,000,000 tokens",
    );
    check(
        |fact| {
            fact.watch = Watch::BurnRate;
            fact.value = usd("15500");
            fact.identity.slot.period = None;
            fact.span.start = at("2026-11-24T08:00:00Z");
            fact.span.end = at("2026-11-24T14:00:00Z");
        },
        "Critical: workspace Search is on track for 310% of its limit: \
         $15,500.00 of $5,000.00 in a whole period, at the rate of the last 6 h",
    );
    check(
        |fact| {
            fact.watch = Watch::DataAge;
            (fact.value, fact.limit) = (11_100, Some(3600));
            fact.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
            fact.subject_name = "acme".to_owned();
            fact.identity.slot.period = None;
            fact.as_of = None;
            fact.top = Vec::new();
        },
        "Critical: spend data of acme is 3 h 5 min old: Data age 3 h 5 min, limit 1 h",
    );
}

#[test]
fn keys_and_users_are_named() {
    let render = |fact: &Fact| {
        let facts = std::slice::from_ref(fact);
        with_envelope(facts, |envelope| message::render(&envelope, 20))
    };
    let title = |subject: &str, limit: &str| format!("Critical: {subject} is 13% over its {limit}");
    let mut key = api_key_fact();
    let limit = "limit for 24 November 2026";
    assert_eq!(
        render(&key).title,
        title("API key \"ci\" (apikey_01)", limit)
    );
    let subject = "[critical] API key \"ci\" (apikey_01) $5,630 of $5,000 (113%), 24 November 2026";
    assert_eq!(render(&key).subject, subject);
    key.subject_name = "apikey_01".to_owned();
    assert_eq!(render(&key).title, title("API key apikey_01", limit));
    key.identity.slot.subject = Subject::new(SubjectKind::ApiKey, "unattributed");
    assert_eq!(render(&key).title, title("usage without an API key", limit));
    key.identity.slot.subject = Subject::new(SubjectKind::User, "unattributed");
    assert_eq!(render(&key).title, title("usage without a user", limit));
    let mut user = user_fact();
    let limit = "November limit";
    assert_eq!(render(&user).title, title("user ada@example.com", limit));
    assert!(!render(&user).title.contains("user_01"));
    user.subject_name = "user_01".to_owned();
    assert_eq!(render(&user).title, title("user user_01", limit));
    check_reason(
        Reason::Resolved,
        |fact| {
            *fact = api_key_fact();
            fact.reason = Reason::Resolved;
            fact.ended_by = Some(EndedBy::SubjectGone);
        },
        "Resolved: API key \"ci\" (apikey_01), the API key no longer exists: Now $5,630.12 of $5,000.00",
    );
}

#[test]
fn mail_subjects_state_reason_amount_and_limit() {
    let subject = |reason| {
        with_envelope(&[fact(reason)], |envelope| {
            message::render(&envelope, 20).subject
        })
    };
    let amounts = "Search $5,630 of $5,000 (113%), November 2026";
    for (reason, tag) in [
        (Reason::First, "critical"),
        (Reason::Escalated, "critical, escalated"),
        (Reason::Lowered, "critical, lowered"),
        (Reason::Repeated, "still critical"),
        (Reason::Unsilenced, "critical, silence ended"),
    ] {
        assert_eq!(subject(reason), format!("[{tag}] {amounts}"));
    }
    assert_eq!(
        subject(Reason::Resolved),
        "[resolved] Search $4,900 of $5,000 (98%), November 2026: Anthropic corrected earlier figures"
    );
}

#[test]
fn gaps_state_bill_and_estimate() {
    let with = |change: fn(&mut Fact)| {
        move |fact: &mut Fact| {
            *fact = gap_fact(fact.reason);
            change(fact);
        }
    };
    check(
        with(|_| {}),
        "Critical: bill and estimate of acme differ by 8.1% in November 2026: \
         $1,204.50 billed in November 2026, $1,310.00 estimated from list prices; gap 8.1%, limit 5%",
    );
    check(
        with(|fact| {
            fact.watch = Watch::ReconciliationUsd;
            (fact.value, fact.limit) = (usd("105.5"), Some(usd("100")));
        }),
        "Critical: bill and estimate of acme differ by $105.50 in November 2026: \
         $1,204.50 billed in November 2026, $1,310.00 estimated from list prices; gap $105.50, limit $100.00",
    );
    check(
        with(|fact| {
            fact.reconciled = None;
            fact.is_late = true;
            fact.is_lower_bound = true;
        }),
        "Critical: bill and estimate of acme differ by at least 8.1% in November 2026: \
         Gap at least 8.1%, limit 5% in November 2026, which has ended",
    );
    check_reason(
        Reason::Resolved,
        with(|fact| fact.ended_by = Some(EndedBy::Cleared)),
        "Resolved: acme, gap fell below 100% of the limit: Now $1,204.50 billed in November 2026, \
         $1,310.00 estimated from list prices; gap 8.1%, limit 5%",
    );
    let several = vec![gap_fact(Reason::First); 2];
    let summary = with_envelope(&several, |envelope| message::render(&envelope, 20).summary);
    assert!(summary.contains("largest gap 8.1%"), "{summary}");
}

#[track_caller]
fn check_notes(age: SignedDuration, is_replay: bool, expected: &[&str]) {
    let facts = [fact(Reason::First)];
    let notes = with_envelope(&facts, |envelope| {
        let envelope = Envelope {
            now: envelope.created_at + age,
            is_replay,
            ..envelope
        };
        message::render(&envelope, 20).notes
    });
    assert_eq!(notes, expected);
}

#[test]
fn delayed_messages_state_their_time() {
    check_notes(SignedDuration::from_mins(15), false, &[]);
    let when = "2026-11-24 14:05 Europe/Berlin";
    check_notes(
        SignedDuration::from_mins(200),
        false,
        &[&format!("Delayed by 3 h 20 min. State as of {when}.")],
    );
    check_notes(
        SignedDuration::from_hours(50),
        true,
        &[&format!("Delayed by 2 days 2 h. State as of {when}.")],
    );
}

#[test]
fn next_steps_depend_on_the_alert() {
    let advice = |fact: Fact| {
        let text = with_envelope(&[fact], |envelope| console::payload(&envelope));
        match text.split_once("Next steps:\n") {
            Some((_, advice)) => advice.to_owned(),
            None => String::new(),
        }
    };
    let resolved = fact(Reason::Resolved);
    assert_eq!(advice(resolved), "");
    let mut small = fact(Reason::First);
    small.top = vec![contributor("claude-haiku-4-5", "5630.125", None)];
    assert!(
        advice(small)
            .contains("Batch and cache high-volume calls of claude-haiku-4-5 in workspace Search")
    );
    let mut organization = fact(Reason::First);
    organization.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    assert!(advice(organization).contains(
        "or that of workspace Search, in the Console: https://console.anthropic.com/settings/limits"
    ));
    let gap = |billed: &str, estimated: &str, unpriced: &[&str]| {
        let mut gap = gap_fact(Reason::First);
        gap.reconciled = Some(Reconciled {
            billed: Usd::from_pico(usd(billed)),
            estimated: Usd::from_pico(usd(estimated)),
            uncertain: Usd::ZERO,
            unpriced: unpriced.iter().map(|model| (*model).into()).collect(),
        });
        advice(gap)
    };
    let (less, more) = (gap("90", "100", &[]), gap("100", "90", &[]));
    assert!(less.contains("`discount_percent`") && less.contains("Priority Tier"));
    assert!(!less.contains("web search") && more.contains("web search"));
    assert!(!more.contains("`discount_percent`") && !more.contains("Priority Tier"));
    let unpriced = gap("100", "90", &["claude-new", "claude-newer"]);
    assert!(unpriced.contains("list prices of claude-new, claude-newer to the file"));
    let mut uncertain = gap_fact(Reason::First);
    uncertain.reconciled.as_mut().unwrap().uncertain = Usd::from_dollars(40);
    assert!(
        headline::summary(&uncertain)
            .contains("$1,310.00 estimated from list prices ($40.00 of it uncertain); gap 8.1%")
    );
    let mut gap = gap_fact(Reason::First);
    gap.reconciled = None;
    assert_eq!(advice(gap).matches("\n- ").count(), 2);
    let mut key = api_key_fact();
    key.top = Vec::new();
    let expected =
        "Review the calls with API key \"ci\" (apikey_01); revoke the key if it is out of control";
    assert!(advice(key).contains(expected));
    let mut stale = fact(Reason::First);
    stale.watch = Watch::DataAge;
    assert!(advice(stale).contains("https://spend.example.com/-/ready"));
}

fn mail(envelope: &Envelope<'_>) -> String {
    let from = "spendwatch@example.com".parse().unwrap();
    let to = "cfo@example.com".parse().unwrap();
    String::from_utf8(email::payload(envelope, &from, &to).unwrap()).unwrap()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn payloads_of_one_alert() {
    for reason in [Reason::First, Reason::Resolved] {
        with_envelope(&[fact(reason)], |envelope| {
            insta::assert_snapshot!(
                format!("slack_{reason}"),
                pretty(&slack::payload(&envelope))
            );
            let webhook = alerts::payload(&envelope, envelope.facts);
            insta::assert_snapshot!(format!("webhook_{reason}"), pretty(&webhook));
            insta::assert_snapshot!(format!("email_{reason}"), mail(&envelope));
            insta::assert_snapshot!(format!("console_{reason}"), console::payload(&envelope));
        });
    }
}

#[test]
fn payloads_about_a_key_a_user_and_a_gap() {
    for (what, fact) in [
        ("key", api_key_fact()),
        ("user", user_fact()),
        ("gap", gap_fact(Reason::First)),
    ] {
        with_envelope(&[fact], |envelope| {
            let slack = slack::payload(&envelope);
            assert_eq!(slack_rules::complaint(&slack), None);
            insta::assert_snapshot!(format!("slack_{what}"), pretty(&slack));
            let webhook = alerts::payload(&envelope, envelope.facts);
            insta::assert_snapshot!(format!("webhook_{what}"), pretty(&webhook));
            insta::assert_snapshot!(format!("email_{what}"), mail(&envelope));
            insta::assert_snapshot!(format!("console_{what}"), console::payload(&envelope));
        });
    }
}

#[test]
fn payloads_of_a_thread() {
    let thread = Thread {
        channel: "C0FINOPS1".to_owned(),
        ts: "1795525500.000001".to_owned(),
    };
    with_envelope(&[fact(Reason::Escalated)], |envelope| {
        let (first, step, newest) = (
            slack_api::first_payload(&envelope, "#finops"),
            slack_api::reply_payload(&envelope, &thread),
            slack_api::update_payload(&envelope, &thread),
        );
        insta::assert_snapshot!("slack_api_step", pretty(&step));
        let webhook = slack::payload(&envelope);
        for (payload, own) in [
            (&first, &["channel"][..]),
            (&step, &["channel", "reply_broadcast", "thread_ts"]),
            (&newest, &["channel", "ts"]),
        ] {
            assert_eq!(slack_rules::complaint(payload), None);
            let members = payload.as_object().unwrap().iter();
            let (same, more): (Vec<_>, Vec<_>) =
                members.partition(|(key, value)| webhook[key.as_str()] == **value);
            let more: Vec<&str> = more.into_iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!((same.len(), more.as_slice()), (5, own));
        }
        assert_eq!(first["channel"], "#finops");
        assert_eq!(
            (&newest["channel"], &newest["ts"]),
            (&step["channel"], &step["thread_ts"])
        );
    });
    with_envelope(&[fact(Reason::Resolved)], |envelope| {
        let step = slack_api::reply_payload(&envelope, &thread);
        assert_eq!(step["reply_broadcast"], Value::Null);
    });
}

/// Two workspaces under one rule without labels: the name of one must be quoted in JSON, the other is resolved.
fn webhook_sample() -> Vec<Fact> {
    let mut quoted = fact(Reason::First);
    quoted.labels.clear();
    quoted.subject_name = "Search \"beta\"".to_owned();
    for part in &mut quoted.top {
        part.workspace = quoted.subject_name.clone();
    }
    let mut over = fact(Reason::Resolved);
    over.identity.slot.subject = Subject::new(SubjectKind::Workspace, "workspace_02");
    over.subject_name = "Sales".to_owned();
    over.labels.clear();
    for part in &mut over.top {
        part.workspace = over.subject_name.clone();
    }
    vec![quoted, over]
}

#[test]
fn template_sample_matches_a_real_post() {
    let file = "crates/config/src/notifiers/webhook_sample.json";
    let text =
        fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(file))
            .unwrap();
    let posted = with_envelope(&webhook_sample(), |envelope| {
        pretty(&alerts::payload(&envelope, envelope.facts))
    });
    assert!(
        text == format!("{posted}\n"),
        "{file} must contain:\n{posted}"
    );
}

/// Two rules, one resolved alert, and so many alerts that some have no line.
fn roundup() -> Vec<Fact> {
    let mut facts = workspace_facts(22);
    let mut model = fact(Reason::Escalated);
    model.identity.slot.rule = "model-day".into();
    model.identity.slot.subject = Subject::new(SubjectKind::Model, "claude-opus-4-1");
    model.subject_name = "claude-opus-4-1".to_owned();
    model.identity.slot.period = Some("2026-11-24".into());
    facts.insert(1, model);
    facts.push(fact(Reason::Resolved));
    facts
}

#[test]
fn payloads_of_several_alerts() {
    with_envelope(&roundup(), |envelope| {
        insta::assert_snapshot!("slack_several", pretty(&slack::payload(&envelope)));
        insta::assert_snapshot!("email_several", mail(&envelope));
        insta::assert_snapshot!("console_several", console::payload(&envelope));
    });
}

#[test]
fn case_28_three_hundred_alerts_are_one_message_within_all_limits() {
    with_envelope(&workspace_facts(300), |envelope| {
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        let more = "and 280 more, $1,576,435.00 of $1,400,000.00 in total";
        assert!(slack.to_string().contains(more));
        assert!(console::payload(&envelope).contains(more));
        let mail = mail(&envelope);
        assert!(mail.len() < 30_000 && mail.lines().all(|line| line.len() <= 998));
        for facts in envelope.facts.chunks(webhook::MAX_ALERTS) {
            assert!(alerts::payload(&envelope, facts).to_string().len() < 500_000);
        }
    });
}

/// Checks a message about one alert and one about three for every receiver.
fn check_harmless(name: &str) {
    for n_facts in [1, 3] {
        let facts = vec![fact_named(name); n_facts];
        with_envelope(&facts, |envelope| {
            let slack = slack::payload(&envelope);
            assert_eq!(slack_rules::complaint(&slack), None, "{slack}");
            let webhook = alerts::payload(&envelope, envelope.facts).to_string();
            let parsed: Value = serde_json::from_str(&webhook).unwrap();
            assert_eq!(parsed["alerts"].as_array().map(Vec::len), Some(n_facts));
            let console = console::payload(&envelope);
            assert!(console.chars().all(|c| c == '\n' || !c.is_control()));
            assert_eq!(
                header_names(&mail(&envelope)),
                header_names(&harmless_mail(n_facts))
            );
        });
    }
}

fn harmless_mail(n_facts: usize) -> String {
    with_envelope(&vec![fact_named("x"); n_facts], |envelope| mail(&envelope))
}

/// Returns the header names; continuation lines begin with a space.
fn header_names(mail: &str) -> Vec<String> {
    assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0']));
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    head.lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split_once(':').unwrap().0.to_owned())
        .collect()
}

/// The organization's month with these contributors.
fn fact_with_contributors(top: Vec<Contributor>, value: &str) -> Fact {
    let mut fact = fact(Reason::First);
    fact.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    fact.subject_name = "acme".to_owned();
    (fact.value, fact.top) = (usd(value), top);
    fact
}

fn workspace_contributor(
    name: &str,
    model: Option<&str>,
    value: &str,
    before: Option<&str>,
) -> Contributor {
    Contributor {
        workspace_id: name.into(),
        workspace: name.to_owned(),
        model: model.map(Into::into),
        ..contributor("", value, before)
    }
}

#[test]
fn all_texts_name_the_same_top_contributor() {
    let key = NamedKey {
        id: "apikey_01".into(),
        name: "ci".to_owned(),
    };
    for top in [
        // Without a previous period, the largest.
        workspace_contributor("Alpha", None, "2800", None),
        // Grew the most, although others are larger.
        workspace_contributor("Alpha", Some("claude-opus-5-5"), "200", Some("0")),
        Contributor {
            api_key: Some(key),
            ..workspace_contributor("Alpha", None, "200", Some("150"))
        },
        Contributor {
            workspace_id: UNATTRIBUTED.into(),
            ..workspace_contributor("Alpha", None, "200", Some("150"))
        },
    ] {
        let is_listed = top.workspace_id.as_str() != UNATTRIBUTED;
        let before = top.before;
        let others = [
            workspace_contributor(
                "Beta",
                Some("claude-haiku-4-5"),
                "2790",
                before.map(|_| "2790"),
            ),
            workspace_contributor("Gamma", None, "300", before.map(|_| "400")),
        ];
        let fact = fact_with_contributors([vec![top], others.to_vec()].concat(), "10000");
        let (advice, posted, line) = with_envelope(&[fact.clone(), fact], |envelope| {
            let advice = watches::advise(&envelope.facts[0], envelope.links);
            let message = message::render(&envelope, 20);
            let posted = alerts::payload(&envelope, envelope.facts);
            (advice, posted, message.groups[0].lines[0].clone())
        });
        let texts: Vec<&str> = advice.iter().map(|advice| advice.text.as_str()).collect();
        for text in &texts {
            assert!(
                !text.contains("Beta") && !text.contains("Gamma"),
                "{texts:?}"
            );
            assert_eq!(text.contains("Alpha"), is_listed, "{texts:?}");
        }
        let expected = if before.is_some() {
            "grew the most"
        } else {
            "the top contributor"
        };
        assert!(texts[0].contains(expected), "{texts:?}");
        assert!(line.contains("top contributor Alpha"), "{line}");
        let top = &posted["alerts"][0]["spendwatch"]["top"][0];
        assert_eq!(top["workspace"], "Alpha");
        assert!(top["model"].is_string());
    }
}

#[test]
fn contributors_sum_to_the_value() {
    let top = vec![
        workspace_contributor("Alpha", None, "2800", Some("1400")),
        workspace_contributor("Beta", Some("claude-haiku-4-5"), "2790", Some("3100")),
        workspace_contributor("Gamma", None, "10", Some("0")),
    ];
    let mut fact = fact_with_contributors(top, "10000");
    assert_eq!(
        contributors::lines(&fact),
        [
            "Alpha: $2,800.00 (28.0%), up 100.0% from $1,400.00 at the same point last month",
            "Beta, claude-haiku-4-5: $2,790.00 (27.9%), down 10.0% from $3,100.00 at the same point last month",
            "Gamma: $10.00 (0.1%), new, nothing at the same point last month",
            "everything else: $4,400.00 (44.0%)",
        ]
    );
    fact.value = usd("5600");
    assert_eq!(contributors::lines(&fact).len(), 3, "no remainder");
    fact.top[0].before = None;
    assert!(contributors::lines(&fact)[0].ends_with(", no data for the previous period"));
    fact.identity.slot.period = None;
    fact.span.start = fact.span.end - SignedDuration::from_hours(24);
    assert!(contributors::lines(&fact)[1].ends_with("from $3,100.00 in the 24 h before"));
}

/// Contributors of a burn rate are sums of spend: they are no shares of it and have no rate of their own.
#[test]
fn burn_rate_contributors_are_sums_of_spend() {
    let mut burn_rate = fact(Reason::First);
    (burn_rate.watch, burn_rate.value) = (Watch::BurnRate, usd("22520.5"));
    burn_rate.identity.slot.period = None;
    assert!(
        contributors::lines(&burn_rate)[0].starts_with("claude-opus-4-1: $4,000.00, up 100.0%")
    );
    with_envelope(&[burn_rate], |envelope| {
        let body = alerts::payload(&envelope, envelope.facts);
        let figures = &body["alerts"][0]["spendwatch"];
        assert_eq!(
            (&figures["pace_usd"], &figures["top"][0]["spend_usd"]),
            (&json!("22520.5"), &json!("4000"))
        );
        assert_eq!(figures["top"][0].get("pace_usd"), None);
    });
}

#[test]
fn case_27_names_are_harmless_everywhere() {
    for name in [
        "<!channel> & \"x\"\r\nBcc: a@b",
        "<@U123|you> <http://evil|good>",
        "\u{1b}]0;title\u{7}\u{1b}[2J",
        "\u{202e}gnp.exe\u{2066}",
        "'; DROP TABLE x; -- </td><script>alert(1)</script>",
        "*bold* _it_ ~no~ `code` &amp; &lt;",
        "\u{0}\u{85}\u{2028}\u{2029}\u{feff}",
        "",
        "=?utf-8?q?Bcc:_a?=",
    ] {
        check_harmless(name);
    }
    with_envelope(
        &[fact_named("<!channel> & \"x\"\r\nBcc: a@b")],
        |envelope| {
            let slack = slack::payload(&envelope).to_string();
            assert!(slack.contains("&lt;!channel&gt; &amp; \\\"x\\\"��Bcc: a@b"));
            let mail = mail(&envelope);
            assert!(mail.contains("&lt;!channel&gt;"));
            assert!(!mail.contains("\r\nBcc:"));
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_name_is_harmless(name in any::<String>()) {
        check_harmless(&name);
    }

    #[test]
    fn long_names_of_costly_characters_fit(name in "[&<>😀\"\\\\\n]{60,200}") {
        check_harmless(&name);
        let facts = vec![fact_named(&name); 40];
        with_envelope(&facts, |envelope| {
            assert_eq!(slack_rules::complaint(&slack::payload(&envelope)), None);
        });
    }
}
