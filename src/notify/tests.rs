//! What holds for all receivers: words by reason, whole payloads, sizes, and names that are up to something.

use std::fs;
use std::path::Path;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::domain::alert::EndedBy;
use crate::domain::ids::UNATTRIBUTED;
use crate::domain::money::Usd;
use crate::domain::notification::{Contributor, Fact, NamedKey, Reason, Reconciled, Thread};
use crate::domain::rule::{Gap, Severity, Watch};
use crate::domain::subject::{Subject, SubjectKind};
use crate::notify::envelope::Envelope;
use crate::notify::samples::{
    at, contributor, fact, many, named, of_a_gap, of_a_key, of_a_person, usd, with_envelope,
};
use crate::notify::{advice, console, email, message, slack, slack_api, wording, webhook};

#[path = "../../tests/fakes/slack_rules.rs"]
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
fn each_reason_has_its_words() {
    for (reason, title) in [
        (Reason::First, "Critical"),
        (Reason::Escalated, "Escalated to critical"),
        (Reason::Lowered, "Lowered to critical"),
        (Reason::Repeated, "Still critical"),
        (Reason::Unsilenced, "Silence over, still critical"),
    ] {
        let figures = "$5,630.12 spent in November 2026, 12.6% over the limit of $5,000.00";
        check_reason(
            reason,
            |_| {},
            &format!("{title}: workspace Search: {figures}"),
        );
    }
}

#[test]
fn what_is_resolved_says_why() {
    let now = "now $4,900.00 spent in November 2026, 98.0% of the limit of $5,000.00";
    for (ended_by, why) in [
        (
            Some(EndedBy::Cleared),
            "The spend fell below the threshold of 100%",
        ),
        (
            Some(EndedBy::Corrected),
            "The service corrected earlier figures downward",
        ),
        (Some(EndedBy::LimitChanged), "The limit was changed"),
        (Some(EndedBy::PeriodOver), "The period is over"),
        (Some(EndedBy::SubjectGone), "The workspace exists no more"),
        (
            Some(EndedBy::RuleRemoved),
            "The rule does not look at it any more",
        ),
        (None, "It dropped below this notifier's minimum severity"),
    ] {
        let what = ended_by.map_or("No longer critical", |_| "Resolved");
        let expected = format!("{what}: workspace Search: {why}; {now}");
        check_reason(Reason::Resolved, |fact| fact.ended_by = ended_by, &expected);
    }
    check_reason(
        Reason::Resolved,
        |fact| fact.is_fired_and_resolved = true,
        &format!(
            "Fired and resolved: workspace Search: The service corrected earlier figures downward; {now}"
        ),
    );
}

#[test]
fn limits_and_bounds() {
    check(
        |fact| {
            fact.value = usd("4100");
            fact.line.severity = Severity::Warning;
        },
        "Warning: workspace Search: $4,100.00 spent in November 2026, 82.0% of the limit of $5,000.00",
    );
    check(
        |fact| fact.value = usd("5000"),
        "Critical: workspace Search: $5,000.00 spent in November 2026, exactly the limit of $5,000.00",
    );
    check(
        |fact| fact.is_lower_bound = true,
        "Critical: workspace Search: At least $5,630.12 spent in November 2026, at least 12.6% over the limit of $5,000.00",
    );
    check(
        |fact| fact.limit = Some(0),
        "Critical: workspace Search: $5,630.12 spent in November 2026, where nothing is allowed",
    );
    check(
        |fact| fact.limit = None,
        "Critical: workspace Search: $5,630.12 spent in November 2026",
    );
    check(
        |fact| fact.is_late = true,
        "Critical: workspace Search: $5,630.12 spent in November 2026, which is over, 12.6% over the limit of $5,000.00",
    );
}

#[test]
fn other_watches_speak_of_their_own_units() {
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
        "Critical: model claude-opus-4-1: 1,200,000 tokens used in the last 24 h, 20.0% over the limit of 1,000,000 tokens",
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
        "Critical: organization acme: Figures 3 h 5 min old, 208.3% over the limit of 1 h",
    );
}

#[test]
fn keys_and_people_are_named() {
    let told = |fact: &Fact| {
        let facts = std::slice::from_ref(fact);
        with_envelope(facts, |envelope| message::render(&envelope, 20))
    };
    let mut key = of_a_key();
    assert_eq!(told(&key).title, "Critical: API key \"ci\" (apikey_01)");
    let subject = "[spendwatch] runaway-key: acme, API key \"ci\" (apikey_01), 24 November 2026";
    assert_eq!(told(&key).subject, subject);
    key.subject_name = "apikey_01".to_owned();
    assert_eq!(told(&key).title, "Critical: API key apikey_01");
    key.identity.slot.subject = Subject::new(SubjectKind::ApiKey, "unattributed");
    assert_eq!(told(&key).title, "Critical: usage without an API key");
    key.identity.slot.subject = Subject::new(SubjectKind::User, "unattributed");
    assert_eq!(told(&key).title, "Critical: usage of nobody in particular");
    let mut person = of_a_person();
    assert_eq!(told(&person).title, "Critical: user ada@example.com");
    assert!(!told(&person).title.contains("user_01"));
    person.subject_name = "user_01".to_owned();
    assert_eq!(told(&person).title, "Critical: user user_01");
    check_reason(
        Reason::Resolved,
        |fact| {
            *fact = of_a_key();
            fact.reason = Reason::Resolved;
            fact.ended_by = Some(EndedBy::SubjectGone);
        },
        "Resolved: API key \"ci\" (apikey_01): The API key exists no more; now $5,630.12 spent on 24 November 2026, \
         12.6% over the limit of $5,000.00",
    );
}

#[test]
fn a_gap_says_what_it_lies_between() {
    let with = |change: fn(&mut Fact)| {
        move |fact: &mut Fact| {
            *fact = of_a_gap(fact.reason);
            change(fact);
        }
    };
    check(
        with(|_| {}),
        "Critical: organization acme: $1,204.50 billed in November 2026, $1,310.00 estimated by tokens and list prices: \
         8.1% apart, against a limit of 5%",
    );
    check(
        with(|fact| {
            fact.watch = Watch::Reconciliation(Gap::Usd);
            (fact.value, fact.limit) = (usd("105.5"), Some(usd("100")));
        }),
        "Critical: organization acme: $1,204.50 billed in November 2026, $1,310.00 estimated by tokens and list prices: \
         $105.50 apart, against a limit of $100.00",
    );
    check(
        with(|fact| {
            fact.reconciled = None;
            fact.is_late = true;
            fact.is_lower_bound = true;
        }),
        "Critical: organization acme: Bill and estimate by tokens and list prices in November 2026, which is over: \
         at least 8.1% apart, against a limit of 5%",
    );
    check_reason(
        Reason::Resolved,
        with(|fact| fact.ended_by = Some(EndedBy::Cleared)),
        "Resolved: organization acme: The gap fell below 100% of the limit; now $1,204.50 billed in November 2026, \
         $1,310.00 estimated by tokens and list prices: 8.1% apart, against a limit of 5%",
    );
    let several = vec![of_a_gap(Reason::First); 2];
    let summary = with_envelope(&several, |envelope| message::render(&envelope, 20).summary);
    assert!(summary.contains("the largest gap 8.1%"), "{summary}");
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
fn an_old_message_says_when_it_was_true() {
    check_notes(SignedDuration::from_mins(15), false, &[]);
    let when = "2026-11-24 14:05 Europe/Berlin";
    check_notes(
        SignedDuration::from_mins(200),
        false,
        &[&format!("This was true on {when}, 3 h 20 min ago")],
    );
    check_notes(
        SignedDuration::from_hours(50),
        true,
        &[&format!("Delayed by 2 days 2 h: this was true on {when}")],
    );
}

#[test]
fn advice_fits_the_case() {
    let advice = |fact: Fact| {
        let text = with_envelope(&[fact], |envelope| console::payload(&envelope));
        match text.split_once("What to do:\n") {
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
        let mut gap = of_a_gap(Reason::First);
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
    assert!(unpriced.contains("list prices of claude-new, claude-newer in a table"));
    let mut doubtful = of_a_gap(Reason::First);
    doubtful.reconciled.as_mut().unwrap().uncertain = Usd::from_dollars(40);
    assert!(wording::summary(&doubtful).contains(
        "$1,310.00 estimated by tokens and list prices ($40.00 of it uncertain): 8.1% apart"
    ));
    let mut gap = of_a_gap(Reason::First);
    gap.reconciled = None;
    assert_eq!(advice(gap).matches("\n- ").count(), 2);
    let mut key = of_a_key();
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
            let webhook = webhook::payload(&envelope, envelope.facts);
            insta::assert_snapshot!(format!("webhook_{reason}"), pretty(&webhook));
            insta::assert_snapshot!(format!("email_{reason}"), mail(&envelope));
            insta::assert_snapshot!(format!("console_{reason}"), console::payload(&envelope));
        });
    }
}

#[test]
fn payloads_about_a_key_a_person_and_a_gap() {
    for (what, fact) in [
        ("key", of_a_key()),
        ("person", of_a_person()),
        ("gap", of_a_gap(Reason::First)),
    ] {
        with_envelope(&[fact], |envelope| {
            let slack = slack::payload(&envelope);
            assert_eq!(slack_rules::complaint(&slack), None);
            insta::assert_snapshot!(format!("slack_{what}"), pretty(&slack));
            let webhook = webhook::payload(&envelope, envelope.facts);
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
            slack_api::first(&envelope, "#finops"),
            slack_api::step(&envelope, &thread),
            slack_api::newest(&envelope, &thread),
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
        let step = slack_api::step(&envelope, &thread);
        assert_eq!(step["reply_broadcast"], Value::Null);
    });
}

/// Two workspaces over one rule without labels; the name of one must be quoted in JSON, and the other is over.
fn sample_of_a_webhook() -> Vec<Fact> {
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
fn templates_are_checked_with_what_a_webhook_really_posts() {
    let file = "src/config/webhook_sample.json";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let posted = with_envelope(&sample_of_a_webhook(), |envelope| {
        pretty(&webhook::payload(&envelope, envelope.facts))
    });
    assert!(
        text == format!("{posted}\n"),
        "{file} is to hold:\n{posted}"
    );
}

/// Two rules, one alert that is over, and so many that some have no line.
fn roundup() -> Vec<Fact> {
    let mut facts = many(22);
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
    with_envelope(&many(300), |envelope| {
        let slack = slack::payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None);
        let more = "and 280 more, together $1,576,435.00 against limits of $1,400,000.00";
        assert!(slack.to_string().contains(more));
        assert!(console::payload(&envelope).contains(more));
        let mail = mail(&envelope);
        assert!(mail.len() < 30_000 && mail.lines().all(|line| line.len() <= 998));
        for facts in envelope.facts.chunks(webhook::MAX_ALERTS) {
            assert!(webhook::payload(&envelope, facts).to_string().len() < 500_000);
        }
    });
}

/// A message about one alert, and one about three, under every name.
fn check_harmless(name: &str) {
    for n_facts in [1, 3] {
        let facts = vec![named(name); n_facts];
        with_envelope(&facts, |envelope| {
            let slack = slack::payload(&envelope);
            assert_eq!(slack_rules::complaint(&slack), None, "{slack}");
            let webhook = webhook::payload(&envelope, envelope.facts).to_string();
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
    with_envelope(&vec![named("x"); n_facts], |envelope| mail(&envelope))
}

/// Lines that begin a header; folded ones go on with a space.
fn header_names(mail: &str) -> Vec<String> {
    assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0']));
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    head.lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split_once(':').unwrap().0.to_owned())
        .collect()
}

/// The organization's month with these contributors.
fn caused_by(top: Vec<Contributor>, value: &str) -> Fact {
    let mut fact = fact(Reason::First);
    fact.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    fact.subject_name = "acme".to_owned();
    (fact.value, fact.top) = (usd(value), top);
    fact
}

fn of_workspace(name: &str, model: Option<&str>, value: &str, before: Option<&str>) -> Contributor {
    Contributor {
        workspace_id: name.into(),
        workspace: name.to_owned(),
        model: model.map(Into::into),
        ..contributor("", value, before)
    }
}

#[test]
fn every_sentence_names_the_same_top_contributor() {
    let key = NamedKey {
        id: "apikey_01".into(),
        name: "ci".to_owned(),
    };
    for top in [
        // Nothing is known of the previous period: the largest.
        of_workspace("Alpha", None, "2800", None),
        // It grew the most, although others are larger.
        of_workspace("Alpha", Some("claude-opus-5-5"), "200", Some("0")),
        Contributor {
            api_key: Some(key),
            ..of_workspace("Alpha", None, "200", Some("150"))
        },
        Contributor {
            workspace_id: UNATTRIBUTED.into(),
            ..of_workspace("Alpha", None, "200", Some("150"))
        },
    ] {
        let is_listed = top.workspace_id.as_str() != UNATTRIBUTED;
        let before = top.before;
        let others = [
            of_workspace(
                "Beta",
                Some("claude-haiku-4-5"),
                "2790",
                before.map(|_| "2790"),
            ),
            of_workspace("Gamma", None, "300", before.map(|_| "400")),
        ];
        let fact = caused_by([vec![top], others.to_vec()].concat(), "10000");
        let (advice, posted, line) = with_envelope(&[fact.clone(), fact], |envelope| {
            let advice = advice::advise(&envelope.facts[0], envelope.links);
            let message = message::render(&envelope, 20);
            let message::Body::Many(roundup) = message.body else {
                unreachable!("two alerts")
            };
            let posted = webhook::payload(&envelope, envelope.facts);
            (advice, posted, roundup.groups[0].lines[0].clone())
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
        assert!(line.contains("most by Alpha"), "{line}");
        let top = &posted["alerts"][0]["spendwatch"]["top"][0];
        assert_eq!(top["workspace"], "Alpha");
        assert!(top["model"].is_string());
    }
}

#[test]
fn contributors_sum_to_the_figure_with_everything_else() {
    let top = vec![
        of_workspace("Alpha", None, "2800", Some("1400")),
        of_workspace("Beta", Some("claude-haiku-4-5"), "2790", Some("3100")),
        of_workspace("Gamma", None, "10", Some("0")),
    ];
    let mut fact = caused_by(top, "10000");
    assert_eq!(
        wording::contributors(&fact),
        [
            "Alpha: $2,800.00 (28.0%), up 100.0% from $1,400.00 at the same point last month",
            "Beta, claude-haiku-4-5: $2,790.00 (27.9%), down 10.0% from $3,100.00 at the same point last month",
            "Gamma: $10.00 (0.1%), new: nothing at the same point last month",
            "everything else: $4,400.00 (44.0%)",
        ]
    );
    fact.value = usd("5600");
    assert_eq!(wording::contributors(&fact).len(), 3, "nothing else");
    fact.top[0].before = None;
    assert!(wording::contributors(&fact)[0].ends_with(", no data for the previous period"));
    fact.identity.slot.period = None;
    fact.span.start = fact.span.end - SignedDuration::from_hours(24);
    assert!(wording::contributors(&fact)[1].ends_with("from $3,100.00 in the 24 h before"));
}

/// Of a pace the contributors are what was spent: no share of what a whole period would cost, and no pace of their own.
#[test]
fn who_causes_a_pace_is_told_by_what_was_spent() {
    let mut pace = fact(Reason::First);
    (pace.watch, pace.value) = (Watch::BurnRate, usd("22520.5"));
    pace.identity.slot.period = None;
    assert!(wording::contributors(&pace)[0].starts_with("claude-opus-4-1: $4,000.00, up 100.0%"));
    with_envelope(&[pace], |envelope| {
        let told = webhook::payload(&envelope, envelope.facts);
        let told = &told["alerts"][0]["spendwatch"];
        assert_eq!(
            (&told["pace_usd"], &told["top"][0]["spend_usd"]),
            (&json!("22520.5"), &json!("4000"))
        );
        assert_eq!(told["top"][0].get("pace_usd"), None);
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
    with_envelope(&[named("<!channel> & \"x\"\r\nBcc: a@b")], |envelope| {
        let slack = slack::payload(&envelope).to_string();
        assert!(slack.contains("&lt;!channel&gt; &amp; \\\"x\\\"��Bcc: a@b"));
        let mail = mail(&envelope);
        assert!(mail.contains("&lt;!channel&gt;"));
        assert!(!mail.contains("\r\nBcc:"));
    });
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
        let facts = vec![named(&name); 40];
        with_envelope(&facts, |envelope| {
            assert_eq!(slack_rules::complaint(&slack::payload(&envelope)), None);
        });
    }
}
