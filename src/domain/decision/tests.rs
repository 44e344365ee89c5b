use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use crate::domain::alert::State;
use crate::domain::budget::{Budget, Share};
use crate::domain::decision::Decision;
use crate::domain::decision::scene::{MODELS, Scene, at, rule, words};
use crate::domain::ids::NotifierName;
use crate::domain::matcher::Glob;
use crate::domain::measure::Measurement;
use crate::domain::money::{Percent, Usd};
use crate::domain::notification::Reason;
use crate::domain::period::Period;
use crate::domain::policy::Manners;
use crate::domain::rule::{Limit, Quantity, Rule, Severity};
use crate::domain::silence::{Acknowledgement, LabelMatcher, Silence};
use crate::domain::span::Span;
use crate::domain::subject::SubjectKind;
use crate::domain::weekly::Window;

/// Mutes workspace `A` from the scene's moment on, for so many minutes.
fn silence(scene: &mut Scene, minutes: i64, matchers: &[&str]) {
    let start = scene.now.at;
    scene.quiet.silences.push(Silence {
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
/// Whatever happens at random happens on this day.
const MORNING: &str = "2026-11-24T05:00:00Z";
const NOTHING: [&str; 0] = [];

fn limited(scene: &mut Scene, dollars: i64) {
    scene.policy.rules[0].limit = Limit::Fixed(Usd::from_dollars(dollars).pico());
}

fn for_an_hour(rule: Rule) -> Rule {
    Rule {
        hold: SignedDuration::from_hours(1),
        ..rule
    }
}

#[test]
fn case_36_a_silence_ends_while_it_fires() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    silence(&mut scene, 20, &["subject=A"]);
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(300);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    // Once, with what is true at its end.
    assert_eq!(words(&scene.decide_after(5)), ["A 100% unsilenced"]);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
}

#[test]
fn case_37_what_is_resolved_under_a_silence_is_told_at_its_end_if_it_was_told_to_fire() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    silence(&mut scene, 15, &["rule=rule"]);
    scene.spend("b", MODELS[0], scene.now.at, 90_000);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    for id in ["a", "b"] {
        scene.spend(id, MODELS[0], scene.now.at, -80_000);
    }
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% resolved cleared"]);
    // It fires again under another silence, and nobody is told twice.
    silence(&mut scene, 10, &["workspace=A"]);
    scene.spend_now(800);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% unsilenced"]);
}

#[test]
fn case_43_who_hears_of_what_is_critical_alone_is_told_that_it_is_no_more() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let manners = scene.policy.notifiers[&NotifierName::from("chat")];
    scene.policy.notifiers.insert(
        "pager".into(),
        Manners {
            min_severity: Severity::Critical,
            ..manners
        },
    );
    scene.policy.rules[0].notify.push("pager".into());
    let told = |decision: &Decision| -> Vec<String> {
        let drafts = decision.drafts.iter();
        let told = drafts.flat_map(|draft| {
            draft.facts.iter().map(|fact| {
                let ended = fact
                    .ended_by
                    .map_or("nothing".to_owned(), |by| by.to_string());
                format!(
                    "{} {} {} {ended}",
                    draft.notifier,
                    fact.line.text,
                    fact.public_reason()
                )
            })
        });
        told.collect()
    };
    scene.spend_now(1100);
    let first = ["chat 100% first nothing", "pager 100% first nothing"];
    assert_eq!(told(&scene.decide_after(5)), first);
    scene.spend_now(-200);
    let lowered = ["chat 80% lowered nothing", "pager 100% lowered nothing"];
    assert_eq!(told(&scene.decide_after(5)), lowered);
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
}

/// What each notifier is told, and in whose place.
fn told_to(decision: &Decision) -> Vec<String> {
    let drafts = decision.drafts.iter();
    let told = drafts.flat_map(|draft| {
        draft.facts.iter().map(|fact| {
            let absent = fact.in_place_of.as_ref();
            let place = absent.map_or(String::new(), |absent| format!(" for {absent}"));
            let (line, reason) = (&fact.line.text, fact.reason);
            format!("{}: {line} {reason}{place}", draft.notifier)
        })
    });
    told.collect()
}

#[test]
fn a_fallback_hears_of_what_fires_while_the_other_is_parked_and_of_its_end() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let manners = scene.policy.notifiers[&NotifierName::from("chat")];
    for (name, fallback) in [
        ("mail", Some("pager")),
        ("pager", None),
        ("chat", Some("mail")),
    ] {
        scene.policy.notifiers.insert(name.into(), manners);
        let fallback = fallback.map(|fallback| (name.into(), fallback.into()));
        scene.policy.fallbacks.extend(fallback);
    }
    scene.spend_now(800);
    assert_eq!(told_to(&scene.decide_after(5)), ["chat: 80% first"]);
    let park = |scene: &mut Scene, names: &[&str]| {
        scene.quiet.parked = names.iter().map(|name| NotifierName::from(*name)).collect();
    };
    park(&mut scene, &["chat"]);
    assert_eq!(
        told_to(&scene.decide_after(0)),
        ["mail: 80% first for chat"]
    );
    assert_eq!(told_to(&scene.decide_after(5)), NOTHING);
    scene.spend("b", MODELS[0], scene.now.at, 85_000);
    // Who is parked has its message, too: it waits for it.
    let both = ["chat: 80% first", "mail: 80% first for chat"];
    assert_eq!(told_to(&scene.decide_after(5)), both);
    park(&mut scene, &["chat", "mail"]);
    let next = ["pager: 80% first for mail", "pager: 80% first for mail"];
    assert_eq!(told_to(&scene.decide_after(5)), next);
    // Everyone is well again: nobody hears that it is over while it is not.
    park(&mut scene, &[]);
    assert_eq!(told_to(&scene.decide_after(5)), NOTHING);
    scene.spend_now(300);
    let escalated = [
        "chat: 100% escalated",
        "mail: 100% escalated for chat",
        "pager: 100% escalated for mail",
    ];
    assert_eq!(told_to(&scene.decide_after(5)), escalated);
    scene.spend_now(-1000);
    let resolved = [
        "chat: 100% resolved",
        "mail: 100% resolved for chat",
        "pager: 100% resolved for mail",
    ];
    assert_eq!(told_to(&scene.decide_after(5)), resolved);
    // What fires anew is told to who is asked alone.
    scene.spend_now(900);
    assert_eq!(told_to(&scene.decide_after(5)), ["chat: 100% first"]);
}

#[test]
fn a_fallback_hears_only_of_what_the_other_would_have_heard_of() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let manners = scene.policy.notifiers[&NotifierName::from("chat")];
    scene.policy.notifiers.insert("mail".into(), manners);
    let critical_alone = Manners {
        min_severity: Severity::Critical,
        ..manners
    };
    scene.policy.notifiers.insert("chat".into(), critical_alone);
    scene.policy.fallbacks.insert("chat".into(), "mail".into());
    scene.quiet.parked = ["chat".into()].into();
    scene.spend_now(800);
    assert_eq!(told_to(&scene.decide_after(5)), NOTHING);
    scene.spend_now(300);
    let both = ["chat: 100% first", "mail: 100% first for chat"];
    assert_eq!(told_to(&scene.decide_after(5)), both);
}

#[test]
fn a_fallback_that_has_the_copy_of_a_dead_letter_is_told_of_what_follows() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let manners = scene.policy.notifiers[&NotifierName::from("chat")];
    scene.policy.notifiers.insert("mail".into(), manners);
    scene.policy.fallbacks.insert("chat".into(), "mail".into());
    scene.spend_now(800);
    let first = scene.decide_after(5);
    assert_eq!(told_to(&first), ["chat: 80% first"]);
    let fact = &first.drafts[0].facts[0];
    let copy = (fact.identity.fingerprint(), "mail".into());
    scene.quiet.passed_on = [(copy, fact.decided_at)].into();
    assert_eq!(told_to(&scene.decide_after(5)), NOTHING);
    scene.spend_now(300);
    let both = ["chat: 100% escalated", "mail: 100% escalated for chat"];
    assert_eq!(told_to(&scene.decide_after(5)), both);
    scene.spend_now(-900);
    let both = ["chat: 100% resolved", "mail: 100% resolved for chat"];
    assert_eq!(told_to(&scene.decide_after(5)), both);
    // What fires anew is told to who is asked alone.
    scene.spend_now(700);
    assert_eq!(told_to(&scene.decide_after(5)), ["chat: 80% first"]);
}

#[test]
fn who_is_no_fallback_any_more_is_told_that_it_is_over() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    let manners = scene.policy.notifiers[&NotifierName::from("chat")];
    scene.policy.notifiers.insert("mail".into(), manners);
    scene.policy.fallbacks.insert("chat".into(), "mail".into());
    scene.quiet.parked = ["chat".into()].into();
    scene.spend_now(800);
    let both = ["chat: 80% first", "mail: 80% first for chat"];
    assert_eq!(told_to(&scene.decide_after(5)), both);
    scene.policy.fallbacks.clear();
    assert_eq!(told_to(&scene.decide_after(5)), ["mail: 80% resolved"]);
}

#[test]
fn a_silence_mutes_what_all_of_its_matchers_match() {
    let muted = |matchers: &[&str]| {
        let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
        scene.policy.rules[0]
            .labels
            .insert("cost_center".to_owned(), "platform".to_owned());
        silence(&mut scene, 60, matchers);
        scene.spend_now(850);
        words(&scene.decide_after(5)).is_empty()
    };
    for matchers in [
        &["alertname=rule", "severity=warning"][..],
        &["rule=r*", "subject_id=a", "period=2026-11"],
        &["workspace=A", "workspace_id=a", "subject_kind=workspace"],
        &["cost_center=~plat.*|x", "organization!=other"],
        // What an alert does not have is empty.
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
        // All of the value.
        &["cost_center=~plat"],
        &["cost_center=Platform"],
        &["period=2026-10"],
    ] {
        assert!(!muted(matchers), "{matchers:?}");
    }
    for (text, told) in [
        ("rule", "has none of"),
        ("=x", "not the name of a label"),
        ("a b=x", "not the name of a label"),
        ("rule!x", "has none of"),
        ("rule=~(", "cannot be read"),
        ("rule=[", "cannot be read"),
    ] {
        let error = LabelMatcher::parse(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

/// A budget plan: the period that is over keeps the limit of its own days.
#[test]
fn a_budget_may_change_with_the_month() {
    let mut budget = Budget::default();
    for (from, until, dollars) in [
        ("2026-11-01", "2026-11-30", 100),
        ("2026-12-01", "2026-12-31", 1000),
    ] {
        let share = Share {
            from: from.parse().ok(),
            until: until.parse().ok(),
            limit: Usd::from_dollars(dollars),
        };
        assert!(budget.add(&Glob::new("A").unwrap(), share));
    }
    let mut scene = Scene::new(
        vec![Rule {
            limit: Limit::Budget(Arc::new(budget)),
            ..rule(SubjectKind::Workspace, 0)
        }],
        "2026-11-30T23:50:00Z",
    );
    scene.spend_now(70);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    let november = scene.now.at;
    assert_eq!(words(&scene.decide_after(10)), NOTHING);
    scene.spend("a", MODELS[0], november, 4000);
    scene.spend_now(810);
    assert_eq!(
        words(&scene.decide_after(5)),
        ["A 100% first", "A 80% first"]
    );
}

/// 2026-11-27 is a Friday.
#[test]
fn a_rule_says_nothing_while_it_is_inactive_and_then_what_is_true() {
    let mut scene = Scene::new(
        vec![Rule {
            inactive: ["Fri 12:00-13:00", "Sat-Sun"]
                .map(|text| Window::parse(text).unwrap())
                .to_vec(),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        "2026-11-27T12:05:00Z",
    );
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(200);
    assert_eq!(words(&scene.decide_after(45)), NOTHING);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% unsilenced"]);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
}

#[test]
fn what_is_taken_up_is_not_repeated_until_it_gets_worse() {
    let mut scene = Scene::new(
        vec![Rule {
            repeat_interval: Some(SignedDuration::from_mins(10)),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        NOON,
    );
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    assert_eq!(words(&scene.decide_after(10)), ["A 80% repeated"]);
    let alert = scene.alerts.by_slot.values().next().unwrap();
    let taken_up = Acknowledgement {
        at: scene.now.at,
        author: "ada".to_owned(),
        comment: "on it".to_owned(),
        line: alert.line().clone(),
    };
    let print = alert.identity.fingerprint();
    scene.quiet.acknowledged.insert(print, taken_up);
    assert_eq!(words(&scene.decide_after(30)), NOTHING);
    scene.spend_now(200);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% escalated"]);
    assert_eq!(words(&scene.decide_after(10)), ["A 100% repeated"]);
    // What fires anew is taken up by nobody.
    scene.spend_now(-1000);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% resolved cleared"]);
    scene.spend_now(800);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    assert_eq!(words(&scene.decide_after(10)), ["A 80% repeated"]);
}

#[test]
fn a_limit_lowered_below_the_spend_escalates_although_its_lines_are_lower_numbers() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 1000)], NOON);
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    limited(&mut scene, 500);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% escalated"]);
    limited(&mut scene, 1000);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% lowered"]);
}

#[test]
fn what_is_shown_follows_a_limit_that_moves_its_line() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    scene.spend_now(130);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% first"]);
    limited(&mut scene, 120);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(-60);
    let decision = scene.decide_after(5);
    assert_eq!(words(&decision), ["A 100% resolved cleared"]);
    let line = &decision.drafts[0].facts[0].line;
    assert_eq!(line.quantity, Usd::from_dollars(120).pico());
}

#[test]
fn a_line_against_another_limit_may_speak_again() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    scene.spend_now(105);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% first"]);
    scene.spend_now(-15);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% lowered"]);
    scene.spend_now(15);
    assert_eq!(
        words(&scene.decide_after(5)),
        NOTHING,
        "the same line again"
    );
    scene.spend_now(-15);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    limited(&mut scene, 110);
    assert_eq!(words(&scene.decide_after(5)), NOTHING, "still above 80 %");
    scene.spend_now(25);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% escalated"]);
}

#[test]
fn hysteresis_never_holds_a_line_that_was_not_crossed() {
    let mut scene = Scene::new(
        vec![Rule {
            clear_below: Percent::from_whole(50),
            ..rule(SubjectKind::Workspace, 1000)
        }],
        NOON,
    );
    scene.spend_now(850);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    scene.spend_now(-450);
    assert_eq!(words(&scene.decide_after(5)), NOTHING, "held at 400");
    limited(&mut scene, 450);
    // 100 % lies at 450 now: below what was crossed once, but it was another line.
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
}

#[test]
fn a_limit_that_was_raised_is_not_held_by_hysteresis() {
    let mut scene = Scene::new(
        vec![Rule {
            clear_below: Percent::from_whole(50),
            ..rule(SubjectKind::Workspace, 100)
        }],
        NOON,
    );
    scene.spend_now(103);
    assert_eq!(words(&scene.decide_after(5)), ["A 100% first"]);
    limited(&mut scene, 200);
    assert_eq!(
        words(&scene.decide_after(5)),
        ["A 100% resolved limit_changed"]
    );
}

#[test]
fn every_line_waits_for_its_own_hour() {
    let mut scene = Scene::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    scene.spend_now(85);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(20);
    assert_eq!(words(&scene.decide_after(30)), NOTHING);
    assert_eq!(words(&scene.decide_after(30)), ["A 80% first"]);
    assert_eq!(words(&scene.decide_after(29)), NOTHING);
    assert_eq!(words(&scene.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn a_line_that_is_left_waits_anew_and_the_one_below_does_not() {
    let mut scene = Scene::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    scene.spend_now(105);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(-20);
    assert_eq!(words(&scene.decide_after(40)), NOTHING);
    scene.spend_now(20);
    assert_eq!(words(&scene.decide_after(10)), NOTHING);
    assert_eq!(words(&scene.decide_after(10)), ["A 80% first"]);
    assert_eq!(words(&scene.decide_after(49)), NOTHING);
    assert_eq!(words(&scene.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn a_wait_stands_still_while_nothing_is_known() {
    let mut scene = Scene::new(vec![for_an_hour(rule(SubjectKind::Workspace, 100))], NOON);
    scene.spend_now(85);
    scene.decide_after(5);
    assert_eq!(words(&scene.decide_after(60)), ["A 80% first"]);
    scene.spend_now(20);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    assert_eq!(words(&scene.decide_after(30)), NOTHING);
    scene.fail("a");
    assert_eq!(words(&scene.decide_after(600)), NOTHING);
    scene.heal();
    assert_eq!(words(&scene.decide_after(29)), NOTHING);
    assert_eq!(words(&scene.decide_after(1)), ["A 100% escalated"]);
}

#[test]
fn a_lower_bound_neither_lowers_nor_lets_a_line_that_it_does_not_reach_ripen() {
    let mut scene = Scene::new(
        vec![for_an_hour(rule(SubjectKind::Organization, 100))],
        NOON,
    );
    scene.spend_now(60);
    scene.spend("b", MODELS[0], at(NOON), 4500);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.fail("b");
    scene.spend_now(-50);
    assert_eq!(words(&scene.decide_after(120)), NOTHING, "at least 55");
    scene.spend_now(50);
    assert_eq!(words(&scene.decide_after(59)), NOTHING);
    assert_eq!(words(&scene.decide_after(1)), ["acme 100% first"]);
}

#[test]
fn a_rule_that_waits_longer_now_takes_nothing_back() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Workspace, 100)], NOON);
    scene.spend_now(85);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% first"]);
    scene.policy.rules[0].hold = SignedDuration::from_hours(10);
    assert_eq!(words(&scene.decide_after(5)), NOTHING);
    scene.spend_now(-10);
    assert_eq!(words(&scene.decide_after(5)), ["A 80% resolved cleared"]);
}

#[test]
fn a_model_of_which_nothing_is_left_after_a_restart_resolves() {
    for period in [Period::Month, Period::Rolling(24)] {
        let rule = Rule {
            period,
            ..rule(SubjectKind::Model, 100)
        };
        let mut scene = Scene::new(vec![rule], NOON);
        scene.spend("a", MODELS[0], at(NOON), 12_000);
        scene.spend("a", MODELS[1], at(NOON), 500);
        assert_eq!(words(&scene.decide_after(5)), ["opus 100% first"]);
        scene.restart(&[("a", MODELS[1], 5)]);
        scene.fail("b");
        assert_eq!(
            words(&scene.decide_after(5)),
            NOTHING,
            "{period}: `b` may have used it"
        );
        scene.heal();
        assert_eq!(
            words(&scene.decide_after(5)),
            ["opus 100% resolved cleared"],
            "{period}"
        );
        assert_eq!(words(&scene.decide_after(5)), NOTHING, "{period}");
    }
}

#[test]
fn a_team_that_nobody_is_in_any_more_resolves() {
    let mut scene = Scene::new(vec![rule(SubjectKind::Team, 100)], NOON);
    scene.spend_now(120);
    assert_eq!(words(&scene.decide_after(5)), ["first 100% first"]);
    scene.directory.workspaces.get_mut("a").unwrap().0.name = "Elsewhere".to_owned();
    assert_eq!(
        words(&scene.decide_after(5)),
        ["unassigned 100% first", "first 100% resolved cleared"]
    );
}

/// One step of a random history: whose spend moves by how many cents, what fails, and how long it takes.
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
                period,
                ..rule(for_each, limit)
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

/// Spend never falls below zero: a part's sum is a sum of what was used. The remainder's is of an hour that is settled.
fn play(scene: &mut Scene, step: &Move, spent: &mut [[i64; 2]; 3]) {
    let (part, model, cents, heals, fails, _) = *step;
    let cents = cents.max(-spent[part][model]);
    spent[part][model] += cents;
    let now = scene.now.at;
    let (id, hour) = match part {
        0 => ("a", now),
        1 => ("b", now),
        _ => ("-", now.checked_sub(SignedDuration::from_hours(2)).unwrap()),
    };
    scene.spend(id, MODELS[model], hour, cents);
    if fails {
        scene.fail("b");
    }
    if heals {
        scene.heal();
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
            hold: SignedDuration::from_mins(hold),
            keep_firing: SignedDuration::from_mins(keep),
            ..rule
        });
        let mut scene = Scene::new(rules.collect(), MORNING);
        let mut spent = [[0; 2]; 3];
        for step in &steps {
            play(&mut scene, step, &mut spent);
            scene.decide_after(step.5);
            scene.now.elapsed = 0;
            let again = scene.decide();
            prop_assert_eq!(&again.alerts, &vec![]);
            prop_assert_eq!(&again.drafts, &vec![]);
        }
        // The same figures a little later: only what waits may speak.
        let decision = scene.decide_after(later);
        if (hold, keep) == (0, 0) {
            prop_assert_eq!(words(&decision), NOTHING.map(str::to_owned).to_vec());
        }
    }

    #[test]
    fn a_figure_that_is_unknown_changes_no_alert(
        rules in any_rules(),
        (hold, keep) in any_waiting(),
        steps in moves(),
        minutes in 1u64..400,
    ) {
        let rules = rules.into_iter().map(|rule| Rule {
            hold: SignedDuration::from_mins(hold),
            keep_firing: SignedDuration::from_mins(keep),
            // The day's end is an end of its own; it is no matter here.
            period: Period::Month,
            ..rule
        });
        let mut scene = Scene::new(rules.collect(), MORNING);
        let mut spent = [[0; 2]; 3];
        for step in &steps {
            play(&mut scene, step, &mut spent);
            scene.heal();
            scene.decide_after(step.5);
        }
        let before = scene.alerts.clone();
        scene.fail("a");
        scene.fail("b");
        for _ in 0..3 {
            prop_assert_eq!(&scene.decide_after(minutes).drafts, &vec![]);
        }
        for (slot, was) in &before.by_slot {
            let is = &scene.alerts.by_slot[slot];
            prop_assert_eq!(is.line(), was.line());
            prop_assert_eq!(is.told.clone(), was.told.clone());
            let phase = |state: &State| std::mem::discriminant(state);
            prop_assert_eq!(phase(&is.state), phase(&was.state));
        }
        prop_assert_eq!(scene.alerts.by_slot.len(), before.by_slot.len());
        scene.heal();
        // It goes on where it stood: one more look of no length decides what a look before had decided.
        let back = scene.decide_after(0);
        prop_assert_eq!(&back.drafts, &vec![]);
    }

    #[test]
    fn a_line_is_told_once_until_resolved_is_told(rules in any_rules(), steps in moves()) {
        let mut scene = Scene::new(rules, MORNING);
        let mut spent = [[0; 2]; 3];
        let mut told: Vec<(String, String, Reason)> = Vec::new();
        for step in &steps {
            play(&mut scene, step, &mut spent);
            let decision = scene.decide_after(step.5);
            for fact in decision.drafts.iter().flat_map(|draft| &draft.facts) {
                let alert = fact.identity.fingerprint();
                let now = decision.drafts.iter().flat_map(|draft| &draft.facts);
                let n_now = now.filter(|other| other.identity.fingerprint() == alert).count();
                prop_assert_eq!(n_now, 1, "of several lines only the highest is told");
                if fact.reason == Reason::Resolved {
                    told.retain(|(known, _, _)| *known != alert);
                    continue;
                }
                let raises = matches!(fact.reason, Reason::First | Reason::Escalated);
                let direction = if raises { Reason::Escalated } else { Reason::Lowered };
                let said = (alert, fact.line.text.to_string(), direction);
                prop_assert!(!told.contains(&said), "{:?} was told before", said);
                told.push(said);
            }
        }
    }

    #[test]
    fn the_parts_sum_to_the_whole(steps in moves()) {
        let kinds = [
            SubjectKind::Organization,
            SubjectKind::Workspace,
            SubjectKind::Model,
            SubjectKind::Team,
        ];
        for kind in kinds {
            let mut scene = Scene::new(vec![rule(kind, 1)], MORNING);
            let mut spent = [[0i64; 2]; 3];
            for step in &steps {
                play(&mut scene, step, &mut spent);
                scene.decide_after(step.5);
            }
            scene.heal();
            let decision = scene.decide_after(5);
            let cents: i64 = spent.iter().flatten().sum();
            let expected = i128::from(cents) * 10_000_000_000;
            prop_assert_eq!(summed(&decision.measurements), expected, "{}", kind);
        }
    }
}
