use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use crate::alerts::alert::State;
use crate::alerts::decision::Decision;
use crate::alerts::decision::fixture::{Fixture, MODELS, at, each, limit_of, notices, rule};
use crate::alerts::measure::Measurement;
use crate::alerts::notification::Reason;
use crate::alerts::policy::NotifierPolicy;
use crate::alerts::silence::{Acknowledgement, LabelMatcher, Silence};
use crate::rules::budget::{Budget, BudgetEntry};
use crate::rules::rule::{Limit, Rule, Severity};
use crate::rules::watch::Quantity;
use crate::units::ids::NotifierName;
use crate::units::matcher::Glob;
use crate::units::money::{Percent, Usd};
use crate::units::period::Period;
use crate::units::span::Span;
use crate::units::subject::SubjectKind;
use crate::units::weekly::WeeklyWindow;

/// Adds a silence from now on for some minutes.
fn silence(fixture: &mut Fixture, minutes: i64, matchers: &[&str]) {
    let start = fixture.now.at;
    fixture.suppressions.silences.push(Silence {
        id: format!("silence {minutes}"),
        span: Span {
            start,
            end: start + SignedDuration::from_mins(minutes),
        },
        matchers: matchers
            .iter()
            .map(|text| LabelMatcher::parse(text).unwrap())
            .collect(),
        author: "ada".to_owned(),
        comment: "planned".to_owned(),
    });
}

const NOON: &str = "2026-11-24T12:05:00Z";
/// Start of random histories, which stay within this day.
const MORNING: &str = "2026-11-24T05:00:00Z";
const NOTHING: [&str; 0] = [];

fn limited(fixture: &mut Fixture, dollars: i64) {
    limit_of(&mut fixture.policy.rules[0]).limit = Limit::Fixed(Usd::from_dollars(dollars).pico());
}

fn for_an_hour(rule: Rule) -> Rule {
    Rule {
        for_duration: SignedDuration::from_hours(1),
        ..rule
    }
}

#[test]
fn case_36_a_silence_ends_while_it_fires() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    silence(&mut fixture, 20, &["subject=A"]);
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(300);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    // One message with the state at the end of the silence.
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% unsilenced"]);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
}

#[test]
fn case_37_an_alert_resolved_under_a_silence_is_sent_afterwards_if_its_firing_was_sent() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    silence(&mut fixture, 15, &["rule=rule"]);
    fixture.spend("b", MODELS[0], fixture.now.at, 90_000);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    for id in ["a", "b"] {
        fixture.spend(id, MODELS[0], fixture.now.at, -80_000);
    }
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["A 80% resolved cleared"]
    );
    // It fires again under another silence, and is sent once.
    silence(&mut fixture, 10, &["workspace=A"]);
    fixture.spend_now(800);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% unsilenced"]);
}

#[test]
fn case_43_a_notifier_for_critical_alerts_is_sent_the_end_of_critical() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let settings = fixture.policy.notifiers[&NotifierName::from("chat")];
    fixture.policy.notifiers.insert(
        "pager".into(),
        NotifierPolicy {
            min_severity: Severity::Critical,
            ..settings
        },
    );
    fixture.policy.rules[0].notify.push("pager".into());
    let sent = |decision: &Decision| -> Vec<String> {
        let drafts = decision.drafts.iter();
        let sent = drafts.flat_map(|draft| {
            draft.facts.iter().map(|fact| {
                let ended = fact
                    .ended_by
                    .map_or("nothing".to_owned(), |by| by.to_string());
                format!(
                    "{} {} {} {ended}",
                    draft.notifier,
                    fact.threshold.text,
                    fact.public_reason()
                )
            })
        });
        sent.collect()
    };
    fixture.spend_now(1100);
    let first = ["chat 100% first nothing", "pager 100% first nothing"];
    assert_eq!(sent(&fixture.decide_after(5)), first);
    fixture.spend_now(-200);
    let lowered = ["chat 80% lowered nothing", "pager 100% lowered nothing"];
    assert_eq!(sent(&fixture.decide_after(5)), lowered);
    assert_eq!(sent(&fixture.decide_after(5)), NOTHING);
}

/// Formats each notification with its notifier and the one it replaces.
fn notices_by_notifier(decision: &Decision) -> Vec<String> {
    let drafts = decision.drafts.iter();
    let sent = drafts.flat_map(|draft| {
        draft.facts.iter().map(|fact| {
            let parked = fact.in_place_of.as_ref();
            let place = parked.map_or(String::new(), |parked| format!(" for {parked}"));
            let (line, reason) = (&fact.threshold.text, fact.reason);
            format!("{}: {line} {reason}{place}", draft.notifier)
        })
    });
    sent.collect()
}

#[test]
fn a_fallback_receives_alerts_of_a_parked_notifier_until_they_end() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let settings = fixture.policy.notifiers[&NotifierName::from("chat")];
    for (name, fallback) in [
        ("mail", Some("pager")),
        ("pager", None),
        ("chat", Some("mail")),
    ] {
        fixture.policy.notifiers.insert(name.into(), settings);
        let fallback = fallback.map(|fallback| (name.into(), fallback.into()));
        fixture.policy.fallbacks.extend(fallback);
    }
    fixture.spend_now(800);
    assert_eq!(
        notices_by_notifier(&fixture.decide_after(5)),
        ["chat: 80% first"]
    );
    let park = |fixture: &mut Fixture, names: &[&str]| {
        fixture.suppressions.parked = names.iter().map(|name| NotifierName::from(*name)).collect();
    };
    park(&mut fixture, &["chat"]);
    assert_eq!(
        notices_by_notifier(&fixture.decide_after(0)),
        ["mail: 80% first for chat"]
    );
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), NOTHING);
    fixture.spend("b", MODELS[0], fixture.now.at, 85_000);
    // The parked notifier has a message too, which waits.
    let both = ["chat: 80% first", "mail: 80% first for chat"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), both);
    park(&mut fixture, &["chat", "mail"]);
    let next = ["pager: 80% first for mail", "pager: 80% first for mail"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), next);
    // After recovery no notifier is sent "resolved" while the alert fires.
    park(&mut fixture, &[]);
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(300);
    let escalated = [
        "chat: 100% escalated",
        "mail: 100% escalated for chat",
        "pager: 100% escalated for mail",
    ];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), escalated);
    fixture.spend_now(-1000);
    let resolved = [
        "chat: 100% resolved",
        "mail: 100% resolved for chat",
        "pager: 100% resolved for mail",
    ];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), resolved);
    // A new firing is sent to the regular notifier only.
    fixture.spend_now(900);
    assert_eq!(
        notices_by_notifier(&fixture.decide_after(5)),
        ["chat: 100% first"]
    );
}

#[test]
fn a_fallback_receives_only_what_the_other_would_have_received() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let settings = fixture.policy.notifiers[&NotifierName::from("chat")];
    fixture.policy.notifiers.insert("mail".into(), settings);
    let critical_only = NotifierPolicy {
        min_severity: Severity::Critical,
        ..settings
    };
    fixture
        .policy
        .notifiers
        .insert("chat".into(), critical_only);
    fixture
        .policy
        .fallbacks
        .insert("chat".into(), "mail".into());
    fixture.suppressions.parked = ["chat".into()].into();
    fixture.spend_now(800);
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(300);
    let both = ["chat: 100% first", "mail: 100% first for chat"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), both);
}

#[test]
fn a_fallback_with_a_copy_of_a_dead_letter_receives_what_follows() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let settings = fixture.policy.notifiers[&NotifierName::from("chat")];
    fixture.policy.notifiers.insert("mail".into(), settings);
    fixture
        .policy
        .fallbacks
        .insert("chat".into(), "mail".into());
    fixture.spend_now(800);
    let first = fixture.decide_after(5);
    assert_eq!(notices_by_notifier(&first), ["chat: 80% first"]);
    let fact = &first.drafts[0].facts[0];
    let copy = (fact.identity.fingerprint(), "mail".into());
    fixture.suppressions.forwarded = [(copy, fact.decided_at)].into();
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(300);
    let both = ["chat: 100% escalated", "mail: 100% escalated for chat"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), both);
    fixture.spend_now(-900);
    let both = ["chat: 100% resolved", "mail: 100% resolved for chat"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), both);
    // A new firing is sent to the regular notifier only.
    fixture.spend_now(700);
    assert_eq!(
        notices_by_notifier(&fixture.decide_after(5)),
        ["chat: 80% first"]
    );
}

#[test]
fn a_former_fallback_is_sent_resolved() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let settings = fixture.policy.notifiers[&NotifierName::from("chat")];
    fixture.policy.notifiers.insert("mail".into(), settings);
    fixture
        .policy
        .fallbacks
        .insert("chat".into(), "mail".into());
    fixture.suppressions.parked = ["chat".into()].into();
    fixture.spend_now(800);
    let both = ["chat: 80% first", "mail: 80% first for chat"];
    assert_eq!(notices_by_notifier(&fixture.decide_after(5)), both);
    fixture.policy.fallbacks.clear();
    assert_eq!(
        notices_by_notifier(&fixture.decide_after(5)),
        ["mail: 80% resolved"]
    );
}

#[test]
fn a_silence_applies_if_all_matchers_match() {
    let muted = |matchers: &[&str]| {
        let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
        fixture.policy.rules[0]
            .labels
            .insert("cost_center".to_owned(), "platform".to_owned());
        silence(&mut fixture, 60, matchers);
        fixture.spend_now(850);
        notices(&fixture.decide_after(5)).is_empty()
    };
    for matchers in [
        &["alertname=rule", "severity=warning"][..],
        &["rule=r*", "subject_id=a", "period=2026-11"],
        &["workspace=A", "workspace_id=a", "subject_kind=workspace"],
        &["cost_center=~plat.*|x", "organization!=other"],
        // Missing labels are empty.
        &["team=", "model!=opus"],
        &["rule!~month.*"],
    ] {
        assert!(muted(matchers), "{matchers:?}");
    }
    for matchers in [
        &["severity=critical"][..],
        &["rule=rule", "subject=B"],
        &["subject!=A"],
        &["subject!=a"],
        &["subject!~a|z"],
        // A regular expression matches the whole value.
        &["cost_center=~plat"],
        &["cost_center=Platform"],
        &["period=2026-10"],
    ] {
        assert!(!muted(matchers), "{matchers:?}");
    }
    for (text, sent) in [
        ("rule", "has none of"),
        ("=x", "not a label name"),
        ("a b=x", "not a label name"),
        ("rule!x", "has none of"),
        ("rule=~(", "invalid pattern"),
        ("rule=[", "invalid pattern"),
    ] {
        let error = LabelMatcher::parse(text).unwrap_err().to_string();
        assert!(error.contains(sent), "{text}: {error}");
    }
}

/// A closed period keeps the limit of its own days.
#[test]
fn a_budget_may_change_with_the_month() {
    let mut budget = Budget::default();
    for (from, until, dollars) in [
        ("2026-11-01", "2026-11-30", 100),
        ("2026-12-01", "2026-12-31", 1000),
    ] {
        let share = BudgetEntry {
            from: from.parse().ok(),
            until: until.parse().ok(),
            limit: Usd::from_dollars(dollars),
        };
        assert!(budget.add(&Glob::new("A").unwrap(), share));
    }
    let mut on_budget = rule(SubjectKind::Workspace, 0);
    limit_of(&mut on_budget).limit = Limit::Budget(Arc::new(budget));
    let mut fixture = Fixture::new(vec![on_budget], "2026-11-30T23:50:00Z");
    fixture.spend_now(70);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    let november = fixture.now.at;
    assert_eq!(notices(&fixture.decide_after(10)), NOTHING);
    fixture.spend("a", MODELS[0], november, 4000);
    fixture.spend_now(810);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["A 100% first", "A 80% first"]
    );
}

/// 2026-11-27 is a Friday.
#[test]
fn an_inactive_rule_sends_nothing_and_then_the_current_state() {
    let mut fixture = Fixture::new(
        vec![Rule {
            inactive: ["Fri 12:00-13:00", "Sat-Sun"]
                .map(|text| WeeklyWindow::parse(text).unwrap())
                .to_vec(),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        "2026-11-27T12:05:00Z",
    );
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(200);
    assert_eq!(notices(&fixture.decide_after(45)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% unsilenced"]);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
}

#[test]
fn acknowledged_alerts_are_not_repeated_until_they_get_worse() {
    let mut fixture = Fixture::new(
        vec![Rule {
            repeat_interval: Some(SignedDuration::from_mins(10)),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        NOON,
    );
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    assert_eq!(notices(&fixture.decide_after(10)), ["A 80% repeated"]);
    let alert = fixture.alerts.by_slot.values().next().unwrap();
    let acknowledgement = Acknowledgement {
        at: fixture.now.at,
        author: "ada".to_owned(),
        comment: "on it".to_owned(),
        threshold: alert.threshold().clone(),
    };
    let fingerprint = alert.identity.fingerprint();
    fixture
        .suppressions
        .acknowledgements
        .insert(fingerprint, acknowledgement);
    assert_eq!(notices(&fixture.decide_after(30)), NOTHING);
    fixture.spend_now(200);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% escalated"]);
    assert_eq!(notices(&fixture.decide_after(10)), ["A 100% repeated"]);
    // A new firing is not acknowledged.
    fixture.spend_now(-1000);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["A 100% resolved cleared"]
    );
    fixture.spend_now(800);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    assert_eq!(notices(&fixture.decide_after(10)), ["A 80% repeated"]);
}

#[test]
fn a_limit_lowered_below_the_spend_escalates_despite_lower_thresholds() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    limited(&mut fixture, 500);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% escalated"]);
    limited(&mut fixture, 1000);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% lowered"]);
}

#[test]
fn the_shown_threshold_follows_a_changed_limit() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    fixture.spend_now(130);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% first"]);
    limited(&mut fixture, 120);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(-60);
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["A 100% resolved cleared"]);
    let line = &decision.drafts[0].facts[0].threshold;
    assert_eq!(line.quantity, Usd::from_dollars(120).pico());
}

#[test]
fn a_threshold_for_another_limit_may_be_sent_again() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    fixture.spend_now(105);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% first"]);
    fixture.spend_now(-15);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% lowered"]);
    fixture.spend_now(15);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        NOTHING,
        "the same threshold again"
    );
    fixture.spend_now(-15);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    limited(&mut fixture, 110);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        NOTHING,
        "still above 80%"
    );
    fixture.spend_now(25);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% escalated"]);
}

#[test]
fn hysteresis_never_holds_a_threshold_that_was_not_crossed() {
    let mut fixture = Fixture::new(
        vec![Rule {
            clear_below: Percent::from_whole(50),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        NOON,
    );
    fixture.spend_now(850);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    fixture.spend_now(-450);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING, "held at 400");
    limited(&mut fixture, 450);
    // 100% is 450 now: below what was crossed before, but a different threshold.
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
}

#[test]
fn hysteresis_does_not_apply_to_a_raised_limit() {
    let mut fixture = Fixture::new(
        vec![Rule {
            clear_below: Percent::from_whole(50),
            ..rule(SubjectKind::Workspace, 100)
        }],
        NOON,
    );
    fixture.spend_now(103);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 100% first"]);
    limited(&mut fixture, 200);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["A 100% resolved limit_changed"]
    );
}

#[test]
fn every_threshold_waits_separately() {
    let mut fixture = Fixture::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    fixture.spend_now(85);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(20);
    assert_eq!(notices(&fixture.decide_after(30)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(30)), ["A 80% first"]);
    assert_eq!(notices(&fixture.decide_after(29)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn a_threshold_left_again_restarts_its_wait_and_the_one_below_does_not() {
    let mut fixture = Fixture::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    fixture.spend_now(105);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(-20);
    assert_eq!(notices(&fixture.decide_after(40)), NOTHING);
    fixture.spend_now(20);
    assert_eq!(notices(&fixture.decide_after(10)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(10)), ["A 80% first"]);
    assert_eq!(notices(&fixture.decide_after(49)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn waiting_pauses_while_the_figure_is_unknown() {
    let mut fixture = Fixture::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    fixture.spend_now(85);
    fixture.decide_after(5);
    assert_eq!(notices(&fixture.decide_after(60)), ["A 80% first"]);
    fixture.spend_now(20);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(30)), NOTHING);
    fixture.fail("a");
    assert_eq!(notices(&fixture.decide_after(600)), NOTHING);
    fixture.heal();
    assert_eq!(notices(&fixture.decide_after(29)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn a_lower_bound_neither_lowers_nor_advances_thresholds_above_it() {
    let mut fixture = Fixture::new(
        vec![for_an_hour(rule(SubjectKind::Organization, 100))],
        NOON,
    );
    fixture.spend_now(60);
    fixture.spend("b", MODELS[0], at(NOON), 4500);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.fail("b");
    fixture.spend_now(-50);
    assert_eq!(notices(&fixture.decide_after(120)), NOTHING, "at least 55");
    fixture.spend_now(50);
    assert_eq!(notices(&fixture.decide_after(59)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["acme 100% first"]);
}

#[test]
fn a_longer_wait_does_not_affect_firing_alerts() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    fixture.spend_now(85);
    assert_eq!(notices(&fixture.decide_after(5)), ["A 80% first"]);
    fixture.policy.rules[0].for_duration = SignedDuration::from_hours(10);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.spend_now(-10);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["A 80% resolved cleared"]
    );
}

#[test]
fn a_model_without_usage_after_a_restart_resolves() {
    for period in [Period::Month, Period::Rolling(24)] {
        let rule = each(period, rule(SubjectKind::Model, 100));
        let mut fixture = Fixture::new(vec![rule], NOON);
        fixture.spend("a", MODELS[0], at(NOON), 12_000);
        fixture.spend("a", MODELS[1], at(NOON), 500);
        assert_eq!(notices(&fixture.decide_after(5)), ["opus 100% first"]);
        fixture.restart(&[("a", MODELS[1], 5)]);
        fixture.fail("b");
        assert_eq!(
            notices(&fixture.decide_after(5)),
            NOTHING,
            "{period}: `b` may have used it"
        );
        fixture.heal();
        assert_eq!(
            notices(&fixture.decide_after(5)),
            ["opus 100% resolved cleared"],
            "{period}"
        );
        assert_eq!(notices(&fixture.decide_after(5)), NOTHING, "{period}");
    }
}

#[test]
fn a_team_without_workspaces_resolves() {
    let mut fixture = Fixture::new(vec![rule(SubjectKind::Team, 100)], NOON);
    fixture.spend_now(120);
    assert_eq!(notices(&fixture.decide_after(5)), ["first 100% first"]);
    fixture.directory.workspaces.get_mut("a").unwrap().0.name = "Elsewhere".to_owned();
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["unassigned 100% first", "first 100% resolved cleared"]
    );
}

/// A step of a random history: part, model, cents, whether parts recover and fail, and minutes.
type Move = (usize, usize, i64, bool, bool, u64);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = (
        0usize..3,
        0usize..2,
        -6_000i64..8_000,
        any::<bool>(),
        prop::bool::weighted(0.2),
        1u64..50,
    );
    prop::collection::vec(one, 1..14)
}

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (
        prop::sample::select(vec![
            SubjectKind::Organization,
            SubjectKind::Workspace,
            SubjectKind::Model,
            SubjectKind::Team,
        ]),
        20i64..150,
        prop::sample::select(vec![50, 90, 100]),
        prop::sample::select(vec![Period::Month, Period::Day]),
    );
    prop::collection::vec(one, 1..4).prop_map(|all| {
        let rules = all.into_iter().enumerate();
        rules
            .map(|(place, (for_each, limit, clear_below, period))| Rule {
                name: format!("rule-{place}").as_str().into(),
                clear_below: Percent::from_whole(clear_below),
                ..each(period, rule(for_each, limit))
            })
            .collect()
    })
}

fn any_waiting() -> impl Strategy<Value = (i64, i64)> {
    (
        prop::sample::select(vec![0i64, 20, 60]),
        prop::sample::select(vec![0i64, 20, 60]),
    )
}

/// Applies a step. Sums never fall below zero, and the remainder changes in a settled hour.
fn play(fixture: &mut Fixture, step: &Move, spent: &mut [[i64; 2]; 3]) {
    let (part, model, cents, heals, fails, _) = *step;
    let cents = cents.max(-spent[part][model]);
    spent[part][model] += cents;
    let now = fixture.now.at;
    let (id, hour) = match part {
        0 => ("a", now),
        1 => ("b", now),
        _ => ("-", now.checked_sub(SignedDuration::from_hours(2)).unwrap()),
    };
    fixture.spend(id, MODELS[model], hour, cents);
    if fails {
        fixture.fail("b");
    }
    if heals {
        fixture.heal();
    }
}

fn summed(measurements: &[Measurement]) -> Quantity {
    let values = measurements.iter().filter_map(|m| m.figure.value());
    values.sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_replay_decides_nothing_new(
        rules in any_rules(),
        (hold, keep) in any_waiting(),
        steps in moves(),
        later in 0u64..9,
    ) {
        let rules = rules.into_iter().map(|rule| Rule {
            for_duration: SignedDuration::from_mins(hold),
            keep_firing_for: SignedDuration::from_mins(keep),
            ..rule
        });
        let mut fixture = Fixture::new(rules.collect(), MORNING);
        let mut spent = [[0; 2]; 3];
        for step in &steps {
            play(&mut fixture, step, &mut spent);
            fixture.decide_after(step.5);
            fixture.now.elapsed = 0;
            let again = fixture.decide();
            prop_assert_eq!(&again.alerts, &vec![]);
            prop_assert_eq!(&again.drafts, &vec![]);
        }
        // Later with the same figures, only waiting thresholds may be sent.
        let decision = fixture.decide_after(later);
        if (hold, keep) == (0, 0) {
            prop_assert_eq!(notices(&decision), NOTHING.map(str::to_owned).to_vec());
        }
    }

    #[test]
    fn an_unknown_figure_changes_no_alert(
        rules in any_rules(),
        (hold, keep) in any_waiting(),
        steps in moves(),
        minutes in 1u64..400,
    ) {
        let rules = rules.into_iter().map(|rule| Rule {
            for_duration: SignedDuration::from_mins(hold),
            keep_firing_for: SignedDuration::from_mins(keep),
            // A day would end during the test.
            ..each(Period::Month, rule)
        });
        let mut fixture = Fixture::new(rules.collect(), MORNING);
        let mut spent = [[0; 2]; 3];
        for step in &steps {
            play(&mut fixture, step, &mut spent);
            fixture.heal();
            fixture.decide_after(step.5);
        }
        let before = fixture.alerts.clone();
        fixture.fail("a");
        fixture.fail("b");
        for _ in 0..3 {
            prop_assert_eq!(&fixture.decide_after(minutes).drafts, &vec![]);
        }
        for (slot, was) in &before.by_slot {
            let is = &fixture.alerts.by_slot[slot];
            prop_assert_eq!(is.threshold(), was.threshold());
            prop_assert_eq!(is.notified.clone(), was.notified.clone());
            let phase = |state: &State| std::mem::discriminant(state);
            prop_assert_eq!(phase(&is.state), phase(&was.state));
        }
        prop_assert_eq!(fixture.alerts.by_slot.len(), before.by_slot.len());
        fixture.heal();
        // Once readable again, a decision without elapsed time sends nothing.
        let back = fixture.decide_after(0);
        prop_assert_eq!(&back.drafts, &vec![]);
    }

    #[test]
    fn a_threshold_is_sent_once_until_resolved_is_sent(rules in any_rules(), steps in moves()) {
        let mut fixture = Fixture::new(rules, MORNING);
        let mut spent = [[0; 2]; 3];
        let mut sent: Vec<(String, String, Reason)> = Vec::new();
        for step in &steps {
            play(&mut fixture, step, &mut spent);
            let decision = fixture.decide_after(step.5);
            for fact in decision.drafts.iter().flat_map(|draft| &draft.facts) {
                let alert = fact.identity.fingerprint();
                let now = decision.drafts.iter().flat_map(|draft| &draft.facts);
                let n_now = now.filter(|other| other.identity.fingerprint() == alert).count();
                prop_assert_eq!(n_now, 1, "only the highest of several thresholds is sent");
                if fact.reason == Reason::Resolved {
                    sent.retain(|(known, _, _)| *known != alert);
                    continue;
                }
                let raises = matches!(fact.reason, Reason::First | Reason::Escalated);
                let direction = if raises { Reason::Escalated } else { Reason::Lowered };
                let notice = (alert, fact.threshold.text.to_string(), direction);
                prop_assert!(!sent.contains(&notice), "{:?} was sent before", notice);
                sent.push(notice);
            }
        }
    }

    #[test]
    fn the_parts_sum_to_the_total(steps in moves()) {
        let kinds = [
            SubjectKind::Organization,
            SubjectKind::Workspace,
            SubjectKind::Model,
            SubjectKind::Team,
        ];
        for kind in kinds {
            let mut fixture = Fixture::new(vec![rule(kind, 1)], MORNING);
            let mut spent = [[0i64; 2]; 3];
            for step in &steps {
                play(&mut fixture, step, &mut spent);
                fixture.decide_after(step.5);
            }
            fixture.heal();
            let decision = fixture.decide_after(5);
            let cents: i64 = spent.iter().flatten().sum();
            let expected = i128::from(cents) * 10_000_000_000;
            prop_assert_eq!(summed(&decision.measurements), expected, "{}", kind);
        }
    }
}
