//! Rules on events, from what the lists say to what is told.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::census::{Census, CountedKey, CountedPerson};
use crate::domain::decision::Decision;
use crate::domain::decision::scene::{Scene, at, rule};
use crate::domain::directory::{Doubt, OrganizationInfo, Person, Presence};
use crate::domain::event::{Event, Lists};
use crate::domain::ids::WorkspaceId;
use crate::domain::matcher::Glob;
use crate::domain::notification::Fact;
use crate::domain::privacy::People;
use crate::domain::rule::{EventRule, Rule, Severity, Threshold, Watch, lists_needed};
use crate::domain::silence::{LabelMatcher, Silence};
use crate::domain::span::Span;
use crate::domain::subject::SubjectKind;

const NOON: &str = "2026-11-24T12:00:00Z";
const NOTHING: [&str; 0] = [];
const DAY: u64 = 24 * 60;

fn rule_on(events: &[Event]) -> Rule {
    Rule {
        name: "events".into(),
        watch: Watch::Lifecycle,
        events: events
            .iter()
            .map(|event| EventRule {
                event: *event,
                time: event.timing().duration(),
                severity: Severity::Warning,
            })
            .collect(),
        thresholds: vec![Threshold::of_event(Severity::Warning)],
        ..rule(SubjectKind::Organization, 0)
    }
}

fn scene(events: &[Event]) -> Scene {
    let mut scene = Scene::new(vec![rule_on(events)], NOON);
    scene.census.keys = Some(BTreeMap::from([("k".into(), key())]));
    scene.census.people = Some(BTreeMap::from([("user_ada".into(), person())]));
    scene.directory.keys.insert("k".into(), "ci".to_owned());
    scene
}

/// Active, in workspace `a`, made by Ada; nothing else is known of it.
fn key() -> CountedKey {
    CountedKey {
        name: "ci".to_owned(),
        presence: Presence::Listed,
        is_active: true,
        workspace: Some("a".into()),
        created_by: Some("user_ada".into()),
        created_at: None,
        expires_at: None,
        idle_since: None,
    }
}

fn person() -> CountedPerson {
    CountedPerson {
        presence: Presence::Listed,
        idle_since: None,
    }
}

fn doubt() -> Presence {
    Presence::Missing(Doubt {
        since: at(NOON),
        n_answers: 1,
    })
}

/// So many seconds before noon.
fn before(seconds: i64) -> Timestamp {
    at(NOON) - SignedDuration::from_secs(seconds)
}

fn days(days: i64) -> i64 {
    days * 86_400
}

fn with_key(scene: &mut Scene, change: impl FnOnce(&mut CountedKey)) {
    change(scene.census.keys.as_mut().unwrap().get_mut("k").unwrap());
}

fn with_ada(scene: &mut Scene, change: impl FnOnce(&mut CountedPerson)) {
    let people = scene.census.people.as_mut().unwrap();
    change(people.get_mut("user_ada").unwrap());
}

fn facts(decision: &Decision) -> impl Iterator<Item = &Fact> {
    decision.drafts.iter().flat_map(|draft| &draft.facts)
}

/// `ci key_idle first`.
fn told(decision: &Decision) -> Vec<String> {
    let word = |fact: &Fact| {
        let (event, _) = fact.event().unwrap();
        let by = fact.ended_by.map_or(String::new(), |by| format!(" {by}"));
        format!("{} {event} {}{by}", fact.subject_name, fact.reason)
    };
    facts(decision).map(word).collect()
}

/// How alerts ended, told or not.
fn ends(decision: &Decision) -> Vec<String> {
    use crate::domain::alert::State;
    let end = |state: &State| match state {
        State::Ended { by, .. } => Some(by.to_string()),
        State::Pending { .. } | State::Firing { .. } => None,
    };
    let alerts = decision.alerts.iter();
    alerts.filter_map(|alert| end(&alert.state)).collect()
}

#[test]
fn a_key_is_idle_from_its_age_on_until_it_is_used() {
    let mut scene = scene(&[Event::KeyIdle]);
    // Idle for 90 days at 12:05.
    with_key(&mut scene, |key| {
        key.idle_since = Some(before(days(90) - 300));
    });
    assert_eq!(told(&scene.decide_after(4)), NOTHING);
    let decision = scene.decide_after(1);
    assert_eq!(told(&decision), ["ci key_idle first"]);
    let fact = facts(&decision).next().unwrap();
    assert_eq!(
        fact.event(),
        Some((Event::KeyIdle, Some(before(days(90) - 300))))
    );
    assert_eq!(told(&scene.decide_after(DAY)), NOTHING);
    with_key(&mut scene, |key| key.idle_since = Some(at(NOON)));
    let decision = scene.decide_after(5);
    assert_eq!(told(&decision), ["ci key_idle resolved cleared"]);
    let over = facts(&decision).next().unwrap();
    let (_, moment) = over.event().unwrap();
    assert_eq!(moment, Some(before(days(90) - 300)), "as it was told");
}

#[test]
fn a_key_that_expires_later_than_was_told_is_repeated_with_its_new_time() {
    let mut scene = scene(&[Event::KeyExpiring]);
    scene.policy.rules[0].repeat_interval = Some(SignedDuration::from_hours(1));
    with_key(&mut scene, |key| key.expires_at = Some(before(-days(7))));
    assert_eq!(told(&scene.decide_after(5)), ["ci key_expiring first"]);
    let later = Some(before(-days(8)));
    with_key(&mut scene, |key| key.expires_at = later);
    let decision = scene.decide_after(60);
    assert_eq!(told(&decision), ["ci key_expiring repeated"]);
    let (_, moment) = facts(&decision).next().unwrap().event().unwrap();
    assert_eq!(moment, later);
    // Repeated while nobody knows: with what the alert holds.
    scene.census = Census::UNKNOWN;
    let decision = scene.decide_after(60);
    assert_eq!(told(&decision), ["ci key_expiring repeated"]);
    let (_, moment) = facts(&decision).next().unwrap().event().unwrap();
    assert_eq!(moment, Some(before(-days(7))), "as it was when it fired");
}

#[test]
fn a_silence_may_mean_one_event() {
    let mut scene = scene(&[Event::KeyIdle, Event::KeyExpiring]);
    with_key(&mut scene, |key| {
        key.idle_since = Some(before(days(93)));
        key.expires_at = Some(before(-days(3)));
    });
    let start = scene.now.at;
    scene.quiet.silences.push(Silence {
        id: "one".to_owned(),
        span: Span {
            start,
            end: start + SignedDuration::from_hours(1),
        },
        matchers: vec![LabelMatcher::parse("event=key_idle").unwrap()],
        author: "ada".to_owned(),
        comment: String::new(),
    });
    assert_eq!(told(&scene.decide_after(5)), ["ci key_expiring first"]);
}

#[test]
fn a_restart_and_a_reload_decide_nothing() {
    let mut scene = scene(&[Event::KeyIdle, Event::KeyCreated]);
    with_key(&mut scene, |key| {
        key.idle_since = Some(before(days(93)));
        key.created_at = Some(before(days(93)));
    });
    assert_eq!(told(&scene.decide_after(5)), ["ci key_idle first"]);
    let listed = scene.census.clone();
    scene.census = Census::UNKNOWN;
    assert_eq!(scene.decide_after(5).alerts, []);
    scene.census = listed;
    assert_eq!(scene.decide_after(5).alerts, []);
    // Another limit of another rule is none of its business; its own age is.
    scene.policy.rules[0].events[0].time = SignedDuration::from_hours(24 * 100);
    let decision = scene.decide_after(5);
    assert_eq!(told(&decision), ["ci key_idle resolved cleared"]);
}

#[test]
fn rules_say_which_lists_they_need() {
    let lists = |events: &[Event]| {
        let Lists { keys, people } = lists_needed(&[rule_on(events)]);
        (keys, people)
    };
    assert_eq!(lists(&[]), (false, false));
    let of_others = [Event::WorkspaceCreated, Event::LimitRemoved];
    assert_eq!(lists(&of_others), (false, false));
    assert_eq!(lists(&[Event::KeyExpiring]), (true, false));
    assert_eq!(lists(&[Event::UserIdle]), (false, true));
    assert_eq!(lists(&[Event::KeyOfRemovedUser]), (true, true));
    assert_eq!(lists(&[Event::KeyIdle, Event::UserIdle]), (true, true));
}

#[test]
fn nobody_is_told_to_be_idle_where_people_are_hidden() {
    let mut scene = scene(&[Event::UserIdle, Event::KeyOfRemovedUser]);
    scene.privacy.people = Some(People::Hidden);
    with_ada(&mut scene, |ada| {
        ada.idle_since = Some(before(days(91)));
        ada.presence = Presence::Gone;
    });
    let mut bob = person();
    bob.idle_since = Some(before(days(91)));
    let people = scene.census.people.as_mut().unwrap();
    people.insert("user_bob".into(), bob);
    let decision = scene.decide_after(5);
    assert_eq!(told(&decision), ["ci key_of_removed_user first"]);
    assert_eq!(facts(&decision).next().unwrap().maker, None);
}

#[test]
fn what_was_not_listed_yet_or_is_in_doubt_neither_fires_nor_resolves() {
    let mut scene = scene(&[Event::KeyIdle]);
    with_key(&mut scene, |key| key.idle_since = Some(before(days(91))));
    let listed = scene.census.clone();
    scene.census.keys = None;
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    assert!(
        scene.alerts.rules_began.is_empty(),
        "it waits for the first list"
    );
    scene.census = listed.clone();
    assert_eq!(told(&scene.decide_after(5)), ["ci key_idle first"]);
    // A new program, which has read nothing yet.
    scene.census.keys = None;
    assert_eq!(scene.decide_after(5).alerts, []);
    scene.census = listed;
    with_key(&mut scene, |key| key.presence = doubt());
    assert_eq!(scene.decide_after(5).alerts, []);
    with_key(&mut scene, |key| {
        key.presence = Presence::Listed;
        key.idle_since = None;
    });
    assert_eq!(scene.decide_after(5).alerts, []);
    with_key(&mut scene, |key| key.presence = Presence::Gone);
    assert_eq!(
        told(&scene.decide_after(5)),
        ["ci key_idle resolved subject_gone"]
    );
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
}

#[test]
fn a_key_that_is_revoked_is_idle_no_more() {
    let mut scene = scene(&[Event::KeyIdle]);
    with_key(&mut scene, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(told(&scene.decide_after(5)), ["ci key_idle first"]);
    with_key(&mut scene, |key| key.is_active = false);
    let decision = scene.decide_after(5);
    assert_eq!(told(&decision), ["ci key_idle resolved cleared"]);
}

#[test]
fn a_key_expires_soon_and_its_end_is_no_news() {
    let mut scene = scene(&[Event::KeyExpiring]);
    // 30 days before it is 12:05.
    with_key(&mut scene, |key| {
        key.expires_at = Some(before(-days(30) - 300));
    });
    assert_eq!(told(&scene.decide_after(4)), NOTHING);
    assert_eq!(told(&scene.decide_after(1)), ["ci key_expiring first"]);
    assert_eq!(told(&scene.decide_after(30 * DAY - 1)), NOTHING);
    // The service lists it as expired.
    with_key(&mut scene, |key| key.is_active = false);
    let decision = scene.decide_after(1);
    assert_eq!(
        (told(&decision), ends(&decision)),
        (vec![], vec!["period_over".to_owned()])
    );
    assert_eq!(scene.decide_after(5).alerts, []);
}

#[test]
fn a_key_that_is_revoked_before_it_expires_or_expires_later_is_told() {
    let soon = Some(before(-days(7)));
    for change in [
        (|key: &mut CountedKey| key.is_active = false) as fn(&mut CountedKey),
        |key| key.expires_at = None,
        |key| key.expires_at = Some(before(-days(60))),
    ] {
        let mut scene = scene(&[Event::KeyExpiring]);
        with_key(&mut scene, |key| key.expires_at = soon);
        assert_eq!(told(&scene.decide_after(5)), ["ci key_expiring first"]);
        with_key(&mut scene, change);
        assert_eq!(
            told(&scene.decide_after(5)),
            ["ci key_expiring resolved cleared"]
        );
    }
}

#[test]
fn what_was_made_before_the_rule_began_is_no_news() {
    let mut scene = scene(&[Event::KeyCreated, Event::WorkspaceCreated]);
    let old = before(60);
    with_key(&mut scene, |key| key.created_at = Some(old));
    let workspaces = &mut scene.directory.workspaces;
    workspaces.get_mut("a").unwrap().0.created_at = Some(old);
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    let began = scene.now.at;
    let mut new = key();
    new.created_at = Some(began);
    let keys = scene.census.keys.as_mut().unwrap();
    keys.insert("new".into(), new);
    let workspaces = &mut scene.directory.workspaces;
    workspaces.get_mut("b").unwrap().0.created_at = Some(began);
    let mut news = told(&scene.decide_after(5));
    news.sort();
    assert_eq!(news, ["B workspace_created first", "new key_created first"]);
    assert_eq!(told(&scene.decide_after(DAY - 6)), NOTHING);
    assert_eq!(
        scene.alerts.by_slot.len(),
        2,
        "a minute before a day is over"
    );
    let decision = scene.decide_after(1);
    assert_eq!((told(&decision), ends(&decision).len()), (vec![], 2));
    assert!(scene.alerts.by_slot.is_empty());
}

#[test]
fn a_key_of_somebody_who_left_is_told_once_that_is_certain() {
    let mut scene = scene(&[Event::KeyOfRemovedUser]);
    let ada = Person {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
    };
    scene.directory.people.insert("user_ada".into(), ada);
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    with_ada(&mut scene, |ada| ada.presence = doubt());
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    with_ada(&mut scene, |ada| ada.presence = Presence::Gone);
    let decision = scene.decide_after(5);
    assert_eq!(told(&decision), ["ci key_of_removed_user first"]);
    let fact = facts(&decision).next().unwrap();
    assert_eq!(fact.maker.as_deref(), Some("ada@example.com"));
    // While nobody knows who is there, nothing changes.
    let people = scene.census.people.take();
    assert_eq!(scene.decide_after(5).alerts, []);
    scene.census.people = people;
    with_ada(&mut scene, |ada| ada.presence = Presence::Listed);
    assert_eq!(
        told(&scene.decide_after(5)),
        ["ci key_of_removed_user resolved cleared"]
    );
    // Who was never listed is not there either; a service account is no person.
    with_key(&mut scene, |key| key.created_by = Some("user_bob".into()));
    assert_eq!(
        told(&scene.decide_after(5)),
        ["ci key_of_removed_user first"]
    );
    with_key(&mut scene, |key| key.created_by = None);
    assert_eq!(
        told(&scene.decide_after(5)),
        ["ci key_of_removed_user resolved cleared"]
    );
}

#[test]
fn who_does_nothing_is_idle_until_they_do_or_are_gone() {
    let mut scene = scene(&[Event::UserIdle]);
    with_ada(&mut scene, |ada| {
        ada.idle_since = Some(before(days(90) - 300));
    });
    assert_eq!(told(&scene.decide_after(4)), NOTHING);
    assert_eq!(told(&scene.decide_after(1)), ["user_ada user_idle first"]);
    scene.census.people = Some(BTreeMap::new());
    assert_eq!(
        told(&scene.decide_after(5)),
        ["user_ada user_idle resolved subject_gone"]
    );
}

#[test]
fn idle_is_what_was_so_when_it_was_listed() {
    let mut scene = scene(&[Event::KeyIdle, Event::UserIdle]);
    // For 90 days at 12:10.
    let since = Some(before(days(90) - 600));
    with_key(&mut scene, |key| key.idle_since = since);
    with_ada(&mut scene, |ada| ada.idle_since = since);
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    scene.lists_fail = true;
    let later = told(&scene.decide_after(60));
    assert_eq!(later, NOTHING, "both may have been used since");
    scene.lists_fail = false;
    let told = told(&scene.decide_after(5));
    assert_eq!(told, ["ci key_idle first", "user_ada user_idle first"]);
    // One that is told to be idle stays so until a list says otherwise.
    scene.lists_fail = true;
    assert_eq!(scene.decide_after(60).alerts, []);
}

#[test]
fn a_key_of_somebody_who_came_after_people_were_listed_is_not_orphaned() {
    let mut scene = scene(&[Event::KeyOfRemovedUser]);
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    // Keys are listed again, and people are not.
    scene.lists_fail = true;
    scene.census.keys_at = Some(scene.now.at + SignedDuration::from_mins(5));
    let mut new = key();
    new.created_by = Some("user_new".into());
    let mut old = new.clone();
    new.created_at = Some(scene.now.at + SignedDuration::from_mins(1));
    old.created_at = Some(before(days(1)));
    let keys = scene.census.keys.as_mut().unwrap();
    keys.insert("new".into(), new);
    keys.insert("old".into(), old);
    assert_eq!(
        told(&scene.decide_after(5)),
        ["old key_of_removed_user first"]
    );
    scene.lists_fail = false;
    assert_eq!(
        told(&scene.decide_after(5)),
        ["new key_of_removed_user first"]
    );
}

#[test]
fn a_limit_that_is_removed_is_told_for_a_week() {
    let mut scene = scene(&[Event::LimitRemoved]);
    let removed = &mut scene.directory.limits_removed;
    removed.insert(None, at(NOON));
    removed.insert(Some(WorkspaceId::new("a")), at(NOON));
    removed.insert(Some(WorkspaceId::new("b")), before(days(7)));
    let mut news = told(&scene.decide_after(5));
    news.sort();
    assert_eq!(news, ["A limit_removed first", "acme limit_removed first"]);
    scene.directory.organization = None;
    assert_eq!(scene.decide_after(5).alerts, [], "nobody knows");
    scene.directory.organization = Some(OrganizationInfo::default());
    scene.directory.limits_removed.remove(&None);
    assert_eq!(
        told(&scene.decide_after(5)),
        ["acme limit_removed resolved cleared"]
    );
    assert_eq!(told(&scene.decide_after(7 * DAY - 16)), NOTHING);
    let decision = scene.decide_after(1);
    assert_eq!(
        (told(&decision), ends(&decision)),
        (vec![], vec!["period_over".to_owned()])
    );
}

#[test]
fn one_key_may_have_several_events_at_once() {
    let mut scene = scene(&[Event::KeyIdle, Event::KeyExpiring]);
    with_key(&mut scene, |key| {
        key.idle_since = Some(before(days(93)));
        key.expires_at = Some(before(-days(3)));
    });
    let decision = scene.decide_after(5);
    assert_eq!(decision.drafts.len(), 1, "one message");
    assert_eq!(
        told(&decision),
        ["ci key_idle first", "ci key_expiring first"]
    );
    let ids: Vec<String> = facts(&decision)
        .map(|fact| fact.identity.fingerprint())
        .collect();
    assert_ne!(ids[0], ids[1]);
    with_key(&mut scene, |key| key.idle_since = Some(at(NOON)));
    assert_eq!(
        told(&scene.decide_after(5)),
        ["ci key_idle resolved cleared"]
    );
}

#[test]
fn a_rule_that_looks_elsewhere_is_silent_and_ends_what_it_had() {
    let glob = |pattern: &str| Some(Glob::new(pattern).unwrap());
    let mut scene = scene(&[Event::KeyIdle]);
    with_key(&mut scene, |key| key.idle_since = Some(before(days(91))));
    let matcher = &mut scene.policy.rules[0].matcher;
    matcher.workspace = glob("B");
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    scene.policy.rules[0].matcher.workspace = glob("A");
    scene.policy.rules[0].matcher.team = glob("first");
    scene.policy.rules[0].matcher.api_key = glob("c?");
    scene.policy.rules[0].matcher.user = glob("user_*");
    assert_eq!(told(&scene.decide_after(5)), ["ci key_idle first"]);
    // What it is narrowed to is not known before the first list.
    let keys = scene.census.keys.take();
    assert_eq!(scene.decide_after(5).alerts, []);
    scene.census.keys = keys;
    scene.policy.rules[0].events[0].event = Event::KeyExpiring;
    let decision = scene.decide_after(5);
    assert_eq!(
        (told(&decision), ends(&decision)),
        (vec![], vec!["rule_removed".to_owned()])
    );
}

#[test]
fn another_severity_is_another_line_of_the_same_alert() {
    let mut scene = scene(&[Event::KeyIdle]);
    with_key(&mut scene, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(told(&scene.decide_after(5)), ["ci key_idle first"]);
    for (severity, reason) in [
        (Severity::Critical, "escalated"),
        (Severity::Info, "lowered"),
    ] {
        scene.policy.rules[0].events[0].severity = severity;
        scene.policy.rules[0].thresholds = vec![Threshold::of_event(severity)];
        assert_eq!(
            told(&scene.decide_after(5)),
            [format!("ci key_idle {reason}")]
        );
        assert_eq!(told(&scene.decide_after(5)), NOTHING);
    }
}

#[test]
fn it_waits_as_long_as_the_rule_says() {
    let mut scene = scene(&[Event::KeyIdle]);
    scene.policy.rules[0].hold = SignedDuration::from_mins(10);
    with_key(&mut scene, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(told(&scene.decide_after(5)), NOTHING);
    assert_eq!(told(&scene.decide_after(9)), NOTHING);
    assert_eq!(told(&scene.decide_after(1)), ["ci key_idle first"]);
}
