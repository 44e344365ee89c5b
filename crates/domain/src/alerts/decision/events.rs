//! Tests of lifecycle rules, from lists to notifications.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::alerts::decision::Decision;
use crate::alerts::decision::fixture::{Fixture, at};
use crate::alerts::notification::Fact;
use crate::alerts::silence::{LabelMatcher, Silence};
use crate::org::directory::{OrganizationInfo, PendingRemoval, Presence, UserInfo};
use crate::org::events::{Event, RequiredLists};
use crate::org::inventory::{Inventory, InventoryKey, InventoryUser};
use crate::rules::rule::{Condition, EventRule, Rule, Severity, Threshold, required_lists};
use crate::units::ids::WorkspaceId;
use crate::units::matcher::Glob;
use crate::units::privacy::UserNaming;
use crate::units::span::Span;

const NOON: &str = "2026-11-24T12:00:00Z";
const NOTHING: [&str; 0] = [];
const DAY: u64 = 24 * 60;

fn rule_on(events: &[Event]) -> Rule {
    let event_rule = |event: &Event| EventRule {
        severity: Severity::Warning,
        ..EventRule::new(*event)
    };
    let events = events.iter().map(event_rule).collect();
    Rule {
        notify: vec!["chat".into()],
        ..Rule::new("events", Condition::Lifecycle(events))
    }
}

fn first_event(fixture: &mut Fixture) -> &mut EventRule {
    match &mut fixture.policy.rules[0].condition {
        Condition::Lifecycle(events) => &mut events[0],
        other => panic!("{other:?} has no events"),
    }
}

fn fixture(events: &[Event]) -> Fixture {
    let mut fixture = Fixture::new(vec![rule_on(events)], NOON);
    fixture.inventory.keys = Some(BTreeMap::from([("k".into(), key())]));
    fixture.inventory.users = Some(BTreeMap::from([("user_ada".into(), person())]));
    fixture.directory.keys.insert("k".into(), "ci".to_owned());
    fixture
}

/// An active key in workspace `a`, created by Ada.
fn key() -> InventoryKey {
    InventoryKey {
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

fn person() -> InventoryUser {
    InventoryUser {
        presence: Presence::Listed,
        idle_since: None,
    }
}

fn missing() -> Presence {
    Presence::Missing(PendingRemoval {
        since: at(NOON),
        n_responses: 1,
    })
}

fn before(seconds: i64) -> Timestamp {
    at(NOON) - SignedDuration::from_secs(seconds)
}

fn days(days: i64) -> i64 {
    days * 86_400
}

fn with_key(fixture: &mut Fixture, change: impl FnOnce(&mut InventoryKey)) {
    change(
        fixture
            .inventory
            .keys
            .as_mut()
            .unwrap()
            .get_mut("k")
            .unwrap(),
    );
}

fn with_ada(fixture: &mut Fixture, change: impl FnOnce(&mut InventoryUser)) {
    let people = fixture.inventory.users.as_mut().unwrap();
    change(people.get_mut("user_ada").unwrap());
}

fn facts(decision: &Decision) -> impl Iterator<Item = &Fact> {
    decision.drafts.iter().flat_map(|draft| &draft.facts)
}

/// Formats notifications like `ci key_idle first`.
fn notices(decision: &Decision) -> Vec<String> {
    let notice = |fact: &Fact| {
        let (event, _) = fact.event().unwrap();
        let by = fact.ended_by.map_or(String::new(), |by| format!(" {by}"));
        format!("{} {event} {}{by}", fact.subject_name, fact.reason)
    };
    facts(decision).map(notice).collect()
}

/// Returns how alerts ended, whether or not that is sent.
fn ends(decision: &Decision) -> Vec<String> {
    use crate::alerts::alert::State;
    let end = |state: &State| match state {
        State::Ended { by, .. } => Some(by.to_string()),
        State::Pending { .. } | State::Firing { .. } => None,
    };
    let alerts = decision.alerts.iter();
    alerts.filter_map(|alert| end(&alert.state)).collect()
}

#[test]
fn a_key_is_idle_from_its_age_on_until_it_is_used() {
    let mut fixture = fixture(&[Event::KeyIdle]);
    // Idle for 90 days at 12:05.
    with_key(&mut fixture, |key| {
        key.idle_since = Some(before(days(90) - 300));
    });
    assert_eq!(notices(&fixture.decide_after(4)), NOTHING);
    let decision = fixture.decide_after(1);
    assert_eq!(notices(&decision), ["ci key_idle first"]);
    let fact = facts(&decision).next().unwrap();
    assert_eq!(
        fact.event(),
        Some((Event::KeyIdle, Some(before(days(90) - 300))))
    );
    assert_eq!(notices(&fixture.decide_after(DAY)), NOTHING);
    with_key(&mut fixture, |key| key.idle_since = Some(at(NOON)));
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["ci key_idle resolved cleared"]);
    let over = facts(&decision).next().unwrap();
    let (_, moment) = over.event().unwrap();
    assert_eq!(moment, Some(before(days(90) - 300)), "as sent first");
}

#[test]
fn repeats_show_the_new_expiry_of_a_key() {
    let mut fixture = fixture(&[Event::KeyExpiring]);
    fixture.policy.rules[0].repeat_interval = Some(SignedDuration::from_hours(1));
    with_key(&mut fixture, |key| key.expires_at = Some(before(-days(7))));
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_expiring first"]);
    let later = Some(before(-days(8)));
    with_key(&mut fixture, |key| key.expires_at = later);
    let decision = fixture.decide_after(60);
    assert_eq!(notices(&decision), ["ci key_expiring repeated"]);
    let (_, moment) = facts(&decision).next().unwrap().event().unwrap();
    assert_eq!(moment, later);
    // While lists are unknown, repeats show the span of the alert.
    fixture.inventory = Inventory::UNKNOWN;
    let decision = fixture.decide_after(60);
    assert_eq!(notices(&decision), ["ci key_expiring repeated"]);
    let (_, moment) = facts(&decision).next().unwrap().event().unwrap();
    assert_eq!(moment, Some(before(-days(7))), "as it was when it fired");
}

#[test]
fn a_silence_can_match_one_event() {
    let mut fixture = fixture(&[Event::KeyIdle, Event::KeyExpiring]);
    with_key(&mut fixture, |key| {
        key.idle_since = Some(before(days(93)));
        key.expires_at = Some(before(-days(3)));
    });
    let start = fixture.now.at;
    fixture.suppressions.silences.push(Silence {
        id: "one".to_owned(),
        span: Span {
            start,
            end: start + SignedDuration::from_hours(1),
        },
        matchers: vec![LabelMatcher::parse("event=key_idle").unwrap()],
        author: "ada".to_owned(),
        comment: String::new(),
    });
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_expiring first"]);
}

#[test]
fn a_restart_and_a_reload_decide_nothing() {
    let mut fixture = fixture(&[Event::KeyIdle, Event::KeyCreated]);
    with_key(&mut fixture, |key| {
        key.idle_since = Some(before(days(93)));
        key.created_at = Some(before(days(93)));
    });
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_idle first"]);
    let listed = fixture.inventory.clone();
    fixture.inventory = Inventory::UNKNOWN;
    assert_eq!(fixture.decide_after(5).alerts, []);
    fixture.inventory = listed;
    assert_eq!(fixture.decide_after(5).alerts, []);
    // A longer age of the rule itself ends the alert.
    first_event(&mut fixture).time = SignedDuration::from_hours(24 * 100);
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["ci key_idle resolved cleared"]);
}

#[test]
fn rules_require_the_lists_of_their_events() {
    let lists = |events: &[Event]| {
        let RequiredLists {
            keys,
            users: people,
        } = required_lists(&[rule_on(events)]);
        (keys, people)
    };
    assert_eq!(lists(&[]), (false, false));
    let other_events = [Event::WorkspaceCreated, Event::LimitRemoved];
    assert_eq!(lists(&other_events), (false, false));
    assert_eq!(lists(&[Event::KeyExpiring]), (true, false));
    assert_eq!(lists(&[Event::UserIdle]), (false, true));
    assert_eq!(lists(&[Event::KeyOfRemovedUser]), (true, true));
    assert_eq!(lists(&[Event::KeyIdle, Event::UserIdle]), (true, true));
}

#[test]
fn hidden_users_are_not_reported_as_idle() {
    let mut fixture = fixture(&[Event::UserIdle, Event::KeyOfRemovedUser]);
    fixture.privacy.naming = Some(UserNaming::Hidden);
    with_ada(&mut fixture, |ada| {
        ada.idle_since = Some(before(days(91)));
        ada.presence = Presence::Removed;
    });
    let mut bob = person();
    bob.idle_since = Some(before(days(91)));
    let people = fixture.inventory.users.as_mut().unwrap();
    people.insert("user_bob".into(), bob);
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["ci key_of_removed_user first"]);
    assert_eq!(facts(&decision).next().unwrap().creator, None);
}

#[test]
fn unlisted_and_missing_keys_neither_fire_nor_resolve() {
    let mut fixture = fixture(&[Event::KeyIdle]);
    with_key(&mut fixture, |key| key.idle_since = Some(before(days(91))));
    let listed = fixture.inventory.clone();
    fixture.inventory.keys = None;
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert!(
        fixture.alerts.rule_start_times.is_empty(),
        "it waits for the first list"
    );
    fixture.inventory = listed.clone();
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_idle first"]);
    // After a restart, before anything is read.
    fixture.inventory.keys = None;
    assert_eq!(fixture.decide_after(5).alerts, []);
    fixture.inventory = listed;
    with_key(&mut fixture, |key| key.presence = missing());
    assert_eq!(fixture.decide_after(5).alerts, []);
    with_key(&mut fixture, |key| {
        key.presence = Presence::Listed;
        key.idle_since = None;
    });
    assert_eq!(fixture.decide_after(5).alerts, []);
    with_key(&mut fixture, |key| key.presence = Presence::Removed);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["ci key_idle resolved subject_gone"]
    );
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
}

#[test]
fn revoked_keys_are_not_idle() {
    let mut fixture = fixture(&[Event::KeyIdle]);
    with_key(&mut fixture, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_idle first"]);
    with_key(&mut fixture, |key| key.is_active = false);
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["ci key_idle resolved cleared"]);
}

#[test]
fn an_expiring_key_is_reported_and_its_expiry_is_not() {
    let mut fixture = fixture(&[Event::KeyExpiring]);
    // 30 days before its expiry is 12:05.
    with_key(&mut fixture, |key| {
        key.expires_at = Some(before(-days(30) - 300));
    });
    assert_eq!(notices(&fixture.decide_after(4)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["ci key_expiring first"]);
    assert_eq!(notices(&fixture.decide_after(30 * DAY - 1)), NOTHING);
    // The Admin API lists it as expired.
    with_key(&mut fixture, |key| key.is_active = false);
    let decision = fixture.decide_after(1);
    assert_eq!(
        (notices(&decision), ends(&decision)),
        (vec![], vec!["period_over".to_owned()])
    );
    assert_eq!(fixture.decide_after(5).alerts, []);
}

#[test]
fn revoking_or_extending_an_expiring_key_resolves() {
    let soon = Some(before(-days(7)));
    for change in [
        (|key: &mut InventoryKey| key.is_active = false) as fn(&mut InventoryKey),
        |key| key.expires_at = None,
        |key| key.expires_at = Some(before(-days(60))),
    ] {
        let mut fixture = fixture(&[Event::KeyExpiring]);
        with_key(&mut fixture, |key| key.expires_at = soon);
        assert_eq!(notices(&fixture.decide_after(5)), ["ci key_expiring first"]);
        with_key(&mut fixture, change);
        assert_eq!(
            notices(&fixture.decide_after(5)),
            ["ci key_expiring resolved cleared"]
        );
    }
}

#[test]
fn objects_created_before_the_rule_are_not_reported() {
    let mut fixture = fixture(&[Event::KeyCreated, Event::WorkspaceCreated]);
    let old = before(60);
    with_key(&mut fixture, |key| key.created_at = Some(old));
    let workspaces = &mut fixture.directory.workspaces;
    workspaces.get_mut("a").unwrap().0.created_at = Some(old);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    let began = fixture.now.at;
    let mut new = key();
    new.created_at = Some(began);
    let keys = fixture.inventory.keys.as_mut().unwrap();
    keys.insert("new".into(), new);
    let workspaces = &mut fixture.directory.workspaces;
    workspaces.get_mut("b").unwrap().0.created_at = Some(began);
    let mut news = notices(&fixture.decide_after(5));
    news.sort();
    assert_eq!(news, ["B workspace_created first", "new key_created first"]);
    assert_eq!(notices(&fixture.decide_after(DAY - 6)), NOTHING);
    assert_eq!(
        fixture.alerts.by_slot.len(),
        2,
        "a minute before the day ends"
    );
    let decision = fixture.decide_after(1);
    assert_eq!((notices(&decision), ends(&decision).len()), (vec![], 2));
    assert!(fixture.alerts.by_slot.is_empty());
}

#[test]
fn a_key_of_a_removed_user_is_reported_once_the_removal_is_certain() {
    let mut fixture = fixture(&[Event::KeyOfRemovedUser]);
    let ada = UserInfo {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
    };
    fixture.directory.users.insert("user_ada".into(), ada);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    with_ada(&mut fixture, |ada| ada.presence = missing());
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    with_ada(&mut fixture, |ada| ada.presence = Presence::Removed);
    let decision = fixture.decide_after(5);
    assert_eq!(notices(&decision), ["ci key_of_removed_user first"]);
    let fact = facts(&decision).next().unwrap();
    assert_eq!(fact.creator.as_deref(), Some("ada@example.com"));
    // Without a list of users nothing changes.
    let people = fixture.inventory.users.take();
    assert_eq!(fixture.decide_after(5).alerts, []);
    fixture.inventory.users = people;
    with_ada(&mut fixture, |ada| ada.presence = Presence::Listed);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["ci key_of_removed_user resolved cleared"]
    );
    // A user who was never listed counts as removed; a service account is not a user.
    with_key(&mut fixture, |key| key.created_by = Some("user_bob".into()));
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["ci key_of_removed_user first"]
    );
    with_key(&mut fixture, |key| key.created_by = None);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["ci key_of_removed_user resolved cleared"]
    );
}

#[test]
fn inactive_users_are_idle_until_they_are_removed() {
    let mut fixture = fixture(&[Event::UserIdle]);
    with_ada(&mut fixture, |ada| {
        ada.idle_since = Some(before(days(90) - 300));
    });
    assert_eq!(notices(&fixture.decide_after(4)), NOTHING);
    assert_eq!(
        notices(&fixture.decide_after(1)),
        ["user_ada user_idle first"]
    );
    fixture.inventory.users = Some(BTreeMap::new());
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["user_ada user_idle resolved subject_gone"]
    );
}

#[test]
fn idleness_is_judged_at_the_time_of_the_list() {
    let mut fixture = fixture(&[Event::KeyIdle, Event::UserIdle]);
    // For 90 days at 12:10.
    let since = Some(before(days(90) - 600));
    with_key(&mut fixture, |key| key.idle_since = since);
    with_ada(&mut fixture, |ada| ada.idle_since = since);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.lists_fail = true;
    let later = notices(&fixture.decide_after(60));
    assert_eq!(later, NOTHING, "both may have been used since");
    fixture.lists_fail = false;
    let sent = notices(&fixture.decide_after(5));
    assert_eq!(sent, ["ci key_idle first", "user_ada user_idle first"]);
    // A key reported as idle stays so until a list shows otherwise.
    fixture.lists_fail = true;
    assert_eq!(fixture.decide_after(60).alerts, []);
}

#[test]
fn a_key_of_a_user_who_joined_after_the_list_is_not_orphaned() {
    let mut fixture = fixture(&[Event::KeyOfRemovedUser]);
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    // Keys are listed again, but users are not.
    fixture.lists_fail = true;
    fixture.inventory.keys_at = Some(fixture.now.at + SignedDuration::from_mins(5));
    let mut new = key();
    new.created_by = Some("user_new".into());
    let mut old = new.clone();
    new.created_at = Some(fixture.now.at + SignedDuration::from_mins(1));
    old.created_at = Some(before(days(1)));
    let keys = fixture.inventory.keys.as_mut().unwrap();
    keys.insert("new".into(), new);
    keys.insert("old".into(), old);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["old key_of_removed_user first"]
    );
    fixture.lists_fail = false;
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["new key_of_removed_user first"]
    );
}

#[test]
fn a_removed_limit_is_reported_for_a_week() {
    let mut fixture = fixture(&[Event::LimitRemoved]);
    let removed = &mut fixture.directory.limits_removed;
    removed.insert(None, at(NOON));
    removed.insert(Some(WorkspaceId::new("a")), at(NOON));
    removed.insert(Some(WorkspaceId::new("b")), before(days(7)));
    let mut news = notices(&fixture.decide_after(5));
    news.sort();
    assert_eq!(news, ["A limit_removed first", "acme limit_removed first"]);
    fixture.directory.organization = None;
    assert_eq!(fixture.decide_after(5).alerts, [], "unknown");
    fixture.directory.organization = Some(OrganizationInfo::default());
    fixture.directory.limits_removed.remove(&None);
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["acme limit_removed resolved cleared"]
    );
    assert_eq!(notices(&fixture.decide_after(7 * DAY - 16)), NOTHING);
    let decision = fixture.decide_after(1);
    assert_eq!(
        (notices(&decision), ends(&decision)),
        (vec![], vec!["period_over".to_owned()])
    );
}

#[test]
fn one_key_may_have_several_events_at_once() {
    let mut fixture = fixture(&[Event::KeyIdle, Event::KeyExpiring]);
    with_key(&mut fixture, |key| {
        key.idle_since = Some(before(days(93)));
        key.expires_at = Some(before(-days(3)));
    });
    let decision = fixture.decide_after(5);
    assert_eq!(decision.drafts.len(), 1, "one message");
    assert_eq!(
        notices(&decision),
        ["ci key_idle first", "ci key_expiring first"]
    );
    let ids: Vec<String> = facts(&decision)
        .map(|fact| fact.identity.fingerprint())
        .collect();
    assert_ne!(ids[0], ids[1]);
    with_key(&mut fixture, |key| key.idle_since = Some(at(NOON)));
    assert_eq!(
        notices(&fixture.decide_after(5)),
        ["ci key_idle resolved cleared"]
    );
}

#[test]
fn a_rule_that_no_longer_covers_a_key_ends_its_alert_without_a_message() {
    let glob = |pattern: &str| Some(Glob::new(pattern).unwrap());
    let mut fixture = fixture(&[Event::KeyIdle]);
    with_key(&mut fixture, |key| key.idle_since = Some(before(days(91))));
    let matcher = &mut fixture.policy.rules[0].matcher;
    matcher.workspace = glob("B");
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    fixture.policy.rules[0].matcher.workspace = glob("A");
    fixture.policy.rules[0].matcher.team = glob("first");
    fixture.policy.rules[0].matcher.api_key = glob("c?");
    fixture.policy.rules[0].matcher.user = glob("user_*");
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_idle first"]);
    // Matching is unknown before the first list.
    let keys = fixture.inventory.keys.take();
    assert_eq!(fixture.decide_after(5).alerts, []);
    fixture.inventory.keys = keys;
    first_event(&mut fixture).event = Event::KeyExpiring;
    let decision = fixture.decide_after(5);
    assert_eq!(
        (notices(&decision), ends(&decision)),
        (vec![], vec!["rule_removed".to_owned()])
    );
}

#[test]
fn another_severity_is_another_threshold_of_the_same_alert() {
    let mut fixture = fixture(&[Event::KeyIdle]);
    with_key(&mut fixture, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(notices(&fixture.decide_after(5)), ["ci key_idle first"]);
    for (severity, reason) in [
        (Severity::Critical, "escalated"),
        (Severity::Info, "lowered"),
    ] {
        first_event(&mut fixture).severity = severity;
        fixture.policy.rules[0].thresholds = vec![Threshold::for_event(severity)];
        assert_eq!(
            notices(&fixture.decide_after(5)),
            [format!("ci key_idle {reason}")]
        );
        assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    }
}

#[test]
fn events_wait_for_the_duration_of_the_rule() {
    let mut fixture = fixture(&[Event::KeyIdle]);
    fixture.policy.rules[0].for_duration = SignedDuration::from_mins(10);
    with_key(&mut fixture, |key| key.idle_since = Some(before(days(91))));
    assert_eq!(notices(&fixture.decide_after(5)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(9)), NOTHING);
    assert_eq!(notices(&fixture.decide_after(1)), ["ci key_idle first"]);
}
