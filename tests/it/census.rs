//! Lists of keys and people: read when a rule needs them, and what they tell; limits of spend that are no more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use spendwatch::cycle::state::Watcher;
use spendwatch::domain::alert::State;
use spendwatch::domain::census::CountedKey;
use spendwatch::domain::dialect::Dialect;
use spendwatch::domain::directory::{Directory, Presence};
use spendwatch::domain::event::Lists;
use spendwatch::domain::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch::domain::money::Usd;
use spendwatch::domain::rule::{Limit, Rule};
use spendwatch::domain::subject::SubjectKind;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::people::{Key, User};
use spendwatch::simulator::speech::{Real, Speaks};
use spendwatch::simulator::world::{Detail, Used, World};
use tokio_util::sync::CancellationToken;

use crate::alerts::words;
use crate::harness::{Stage, at, rule};

const MODEL: &str = "claude-sonnet-4-5";
const NOW: &str = "2026-11-24T13:05:00Z";
const DEFAULT: &str = "wrkspc_default0";
const BOTH: Lists = Lists {
    keys: true,
    people: true,
};

fn key(id: &str, home: Option<&str>, last_used_at: Option<&str>) -> Key {
    Key {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: last_used_at.map(at),
        ..Key::default()
    }
}

fn user(id: &str, last_active_at: Option<&str>) -> User {
    User {
        id: id.to_owned(),
        email: format!("{id}@example.com"),
        name: id.to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: last_active_at.map(at),
    }
}

/// A workspace with a key that was used and one that was not, the default one with a key, and two people.
fn world() -> World {
    let mut world = World::seeded(7);
    world.add_workspace("wrkspc_a", "Alpha");
    world.keys = vec![
        key("apikey_1", Some("wrkspc_a"), Some("2026-11-20T10:00:00Z")),
        key("apikey_2", Some("wrkspc_a"), None),
        key("apikey_3", None, None),
    ];
    world.keys[2].status = "inactive".to_owned();
    world.users = vec![
        user("user_1", Some("2026-11-21T10:00:00Z")),
        user("user_2", None),
    ];
    world
}

async fn guide(needs: Lists) -> Stage {
    let mut stage = Stage::new(world(), NOW).await;
    stage.needs = needs;
    stage
}

async fn real(dialect: Dialect, needs: Lists) -> Stage {
    let mut world = world();
    world.speaks = Speaks::Real(Real::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    let mut stage = Stage::new(world, NOW).await;
    stage.dialect = dialect;
    stage.needs = needs;
    stage
}

/// One cycle that is complete, minutes later; gives how often keys and people were asked for.
async fn asked_after(minutes: u64, stage: &Stage, watcher: &mut Watcher) -> (usize, usize) {
    stage.simulator.forget_seen();
    let report = stage.cycle_after(minutes, watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{:?}", report.troubles);
    let seen = stage.simulator.seen();
    let n = |end: &str| {
        seen.iter()
            .filter(|seen| seen.route().ends_with(end))
            .count()
    };
    (n("/api_keys"), n("/users"))
}

fn found(watcher: &Watcher, id: &str) -> CountedKey {
    watcher.census.keys.as_ref().unwrap()[id].clone()
}

fn person(watcher: &Watcher, id: &str) -> (Presence, Option<Timestamp>) {
    let person = &watcher.census.people.as_ref().unwrap()[id];
    (person.presence, person.idle_since)
}

#[tokio::test]
async fn what_no_rule_needs_is_not_read_in_the_guide() {
    let stage = guide(Lists::default()).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    for _ in 0..26 {
        assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    }
    assert_eq!(
        (&watcher.census.keys, &watcher.census.people),
        (&None, &None)
    );
}

#[tokio::test]
async fn what_a_rule_needs_is_read_once_an_hour_and_nothing_else() {
    let keys = Lists {
        keys: true,
        people: false,
    };
    let mut stage = guide(keys).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    for hour in 0..3 {
        assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 0), "{hour}");
        for _ in 1..12 {
            assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0), "{hour}");
        }
    }
    assert_eq!(watcher.census.people, None);
    // A reload brings a rule that needs people, another one takes both away.
    stage.needs = BOTH;
    watcher.reconfigure(stage.settings()).await.unwrap();
    assert_eq!(asked_after(1, &stage, &mut watcher).await, (0, 1));
    assert!(watcher.census.people.is_some());
    stage.needs = Lists::default();
    watcher.reconfigure(stage.settings()).await.unwrap();
    assert_eq!(
        (&watcher.census.keys, &watcher.census.people),
        (&None, &None)
    );
    assert_eq!(asked_after(60, &stage, &mut watcher).await, (0, 0));
}

#[tokio::test]
async fn lists_of_the_guide_tell_who_was_there_and_since_when_not() {
    let stage = guide(BOTH).await;
    stage
        .simulator
        .world()
        .keys
        .extend((10..120).map(|n| key(&format!("apikey_{n}"), Some("wrkspc_a"), None)));
    let mut watcher = stage.watcher(&stage.open_store()).await;
    assert_eq!(
        asked_after(5, &stage, &mut watcher).await,
        (2, 1),
        "all pages"
    );
    assert_eq!(watcher.census.keys.as_ref().unwrap().len(), 113);
    let made_at = Some(at("2025-01-01T00:00:00Z"));
    let used = CountedKey {
        name: "name of apikey_1".to_owned(),
        presence: Presence::Listed,
        is_active: true,
        workspace: Some("wrkspc_a".into()),
        created_by: Some("user_1".into()),
        created_at: made_at,
        expires_at: None,
        idle_since: Some(at("2026-11-20T10:00:00Z")),
    };
    assert_eq!(found(&watcher, "apikey_1"), used);
    assert_eq!(
        found(&watcher, "apikey_2").idle_since,
        made_at,
        "never used"
    );
    let inactive = found(&watcher, "apikey_3");
    assert_eq!((inactive.is_active, inactive.workspace), (false, None));
    let active = Some(at("2026-11-21T10:00:00Z"));
    assert_eq!(person(&watcher, "user_1"), (Presence::Listed, active));
    assert_eq!(person(&watcher, "user_2"), (Presence::Listed, made_at));
    // Names are kept for messages.
    assert_eq!(watcher.directory.key_name("apikey_1"), "name of apikey_1");
    assert_eq!(
        watcher.directory.people["user_1"].email,
        "user_1@example.com"
    );
}

#[tokio::test]
async fn while_somebody_is_missing_their_list_alone_is_read_in_each_cycle() {
    let stage = guide(BOTH).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    let left = stage.simulator.world().users.remove(1);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    assert_eq!(person(&watcher, "user_2").0, Presence::Listed);
    assert_eq!(asked_after(55, &stage, &mut watcher).await, (1, 1));
    for _ in 0..5 {
        assert!(matches!(person(&watcher, "user_2").0, Presence::Missing(_)));
        assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 1));
    }
    assert!(matches!(person(&watcher, "user_2").0, Presence::Missing(_)));
    assert_eq!(
        asked_after(5, &stage, &mut watcher).await,
        (0, 1),
        "30 minutes"
    );
    assert_eq!(person(&watcher, "user_2").0, Presence::Gone);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    // Once doubted and then back.
    stage.simulator.world().users.push(left);
    assert_eq!(asked_after(60, &stage, &mut watcher).await, (1, 1));
    assert_eq!(person(&watcher, "user_2").0, Presence::Listed);
    let key = stage.simulator.world().keys.remove(0);
    assert_eq!(asked_after(60, &stage, &mut watcher).await, (1, 1));
    stage.simulator.world().keys.push(key);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 0));
    assert_eq!(found(&watcher, "apikey_1").presence, Presence::Listed);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    // A new start knows nothing until it has read.
    drop(watcher);
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(
        (&watcher.census.keys, &watcher.census.people),
        (&None, &None)
    );
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert_eq!(person(&watcher, "user_2").0, Presence::Listed);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    // Who was listed before it is doubted all the same.
    drop(watcher);
    stage.simulator.world().users.pop();
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    for _ in 0..6 {
        assert!(matches!(person(&watcher, "user_2").0, Presence::Missing(_)));
        assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 1));
    }
    assert_eq!(person(&watcher, "user_2").0, Presence::Gone);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    // But not where the next cycle would begin to doubt anew.
    let mut watcher = stage.watcher(&store).await;
    watcher.believe_one_list();
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert!(
        !watcher
            .census
            .people
            .as_ref()
            .unwrap()
            .contains_key("user_2")
    );
}

#[tokio::test]
async fn a_list_that_fails_leaves_what_was_known_and_the_cycle_complete() {
    let stage = guide(BOTH).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    let bad = |status| Fault::Status(status, "{}".into(), None);
    stage.simulator.fail(FaultOn::endpoint("users"), bad(400));
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert!(watcher.census.keys.is_some() && watcher.census.people.is_none());
    assert_eq!(
        asked_after(5, &stage, &mut watcher).await,
        (0, 1),
        "the first one is waited for"
    );
    stage.simulator.heal();
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 1));
    let known = watcher.census.people.clone();
    assert!(known.is_some());
    // Later ones are not.
    stage.simulator.fail(
        FaultOn::endpoint("users"),
        Fault::Body(r#"{"data":null}"#.into()),
    );
    assert_eq!(asked_after(60, &stage, &mut watcher).await, (1, 1));
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    assert_eq!(watcher.census.people, known);
    // After a day it says nothing of now.
    for _ in 0..24 {
        asked_after(60, &stage, &mut watcher).await;
    }
    assert_eq!(watcher.census.people, None);
    assert_eq!(asked_after(5, &stage, &mut watcher).await.1, 1);
    // What is refused is unknown, and asked for once an hour.
    stage.simulator.heal();
    assert_eq!(asked_after(5, &stage, &mut watcher).await.1, 1);
    assert!(watcher.census.people.is_some());
    stage.simulator.fail(FaultOn::endpoint("users"), bad(403));
    assert_eq!(asked_after(60, &stage, &mut watcher).await, (1, 1));
    assert_eq!(watcher.census.people, None);
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    assert_eq!(asked_after(55, &stage, &mut watcher).await, (1, 1));
}

#[tokio::test]
async fn a_list_that_was_not_told_in_time_is_asked_for_in_the_next_cycle() {
    let stage = guide(BOTH).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    watcher.hurry.cancel();
    stage.cycle_after(60, &mut watcher).await;
    watcher.hurry = CancellationToken::new();
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
}

#[tokio::test]
async fn a_day_in_which_the_key_is_refused_leaves_nothing_known() {
    let stage = guide(BOTH).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    let refused = Fault::Status(401, "{}".into(), None);
    stage.simulator.fail(FaultOn::everything(), refused);
    for _ in 0..24 {
        stage.cycle_after(60, &mut watcher).await;
        assert!(watcher.census.keys.is_some() && watcher.census.people.is_some());
    }
    stage.cycle_after(60, &mut watcher).await;
    let known = (&watcher.census.keys, &watcher.census.people);
    assert_eq!(known, (&None, &None));
}

#[tokio::test]
async fn of_a_guide_that_never_says_when_anything_was_used_nothing_is_idle() {
    let stage = guide(BOTH).await;
    {
        let mut world = stage.simulator.world();
        for key in &mut world.keys {
            key.last_used_at = None;
        }
        for user in &mut world.users {
            user.last_active_at = None;
        }
    }
    let mut watcher = stage.watcher(&stage.open_store()).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert_eq!(found(&watcher, "apikey_1").idle_since, None);
    assert_eq!(person(&watcher, "user_1").1, None);
}

/// Usage of a key by a person.
fn used(stage: &Stage, key: &str, user: Option<&str>, when: &str) {
    let detail = Detail {
        api_key: Some(key.to_owned()),
        user: user.map(str::to_owned),
        ..Detail::default()
    };
    let amount = Used {
        micros: 1_000_000,
        input: 1000,
        requests: 1,
        ..Used::default()
    };
    let mut world = stage.simulator.world();
    world.use_as("wrkspc_a", MODEL, at(when), amount, detail);
}

#[tokio::test]
async fn names_alone_are_read_once_an_hour_where_usage_is_told_by_key() {
    let stage = real(Dialect::Analytics, Lists::default()).await;
    let mut watcher = stage.watcher(&stage.open_store()).await;
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (1, 1));
    assert_eq!(asked_after(5, &stage, &mut watcher).await, (0, 0));
    stage.simulator.world().users.clear();
    assert_eq!(asked_after(55, &stage, &mut watcher).await, (1, 1));
    assert_eq!(
        asked_after(5, &stage, &mut watcher).await,
        (0, 0),
        "nobody is missed"
    );
    assert_eq!(
        (&watcher.census.keys, &watcher.census.people),
        (&None, &None)
    );
}

/// The older reports tell no person, and what is long ago by the day.
#[tokio::test]
async fn the_older_reports_tell_since_when_a_key_is_idle_and_no_person() {
    let stage = real(Dialect::Reports, BOTH).await;
    used(&stage, "apikey_1", None, "2026-11-20T10:20:00Z");
    used(&stage, "apikey_2", None, "2026-09-02T10:20:00Z");
    let mut watcher = stage.watcher(&stage.open_store()).await;
    for _ in 0..15 {
        asked_after(5, &stage, &mut watcher).await;
    }
    let idle = |id: &str| found(&watcher, id).idle_since.unwrap();
    assert_eq!(idle("apikey_1"), at("2026-11-20T11:00:00Z"));
    assert_eq!(idle("apikey_2"), at("2026-09-03T00:00:00Z"));
    assert_eq!(
        idle("apikey_3"),
        at("2026-09-02T00:00:00Z"),
        "not known by key before"
    );
    assert_eq!(person(&watcher, "user_1"), (Presence::Listed, None));
}

/// While no usage can be read, nothing is idle for longer than before: it may be in use.
#[tokio::test]
async fn without_new_usage_nothing_becomes_more_idle() {
    let stage = real(Dialect::Analytics, BOTH).await;
    used(&stage, "apikey_1", None, "2026-11-20T10:20:00Z");
    let mut watcher = stage.watcher(&stage.open_store()).await;
    for _ in 0..15 {
        asked_after(5, &stage, &mut watcher).await;
    }
    let ids = ["apikey_1", "apikey_2"];
    let idle = |watcher: &Watcher| {
        let now = stage.now();
        ids.map(|id| now.duration_since(found(watcher, id).idle_since.unwrap()))
    };
    // As the list was read in this cycle.
    asked_after(60, &stage, &mut watcher).await;
    let before = idle(&watcher);
    for endpoint in ["analytics_cost", "analytics_usage", "messages"] {
        let fault = Fault::Status(400, "{}".into(), None);
        stage.simulator.fail(FaultOn::endpoint(endpoint), fault);
    }
    for hours in [1, 23, 48] {
        stage.cycle_after(hours * 60, &mut watcher).await;
        assert_eq!(idle(&watcher), before, "{hours}");
    }
}

#[tokio::test]
async fn the_ledger_tells_since_when_a_key_is_idle_where_the_list_does_not() {
    let stage = real(Dialect::Analytics, BOTH).await;
    used(&stage, "apikey_1", Some("user_1"), "2026-11-20T10:20:00Z");
    used(&stage, "apikey_1", None, "2026-11-02T10:20:00Z");
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    // History is read beside the cycles.
    for _ in 0..15 {
        asked_after(5, &stage, &mut watcher).await;
    }
    let ended = Some(at("2026-11-20T11:00:00Z"));
    assert_eq!(found(&watcher, "apikey_1").idle_since, ended);
    assert_eq!(person(&watcher, "user_1").1, ended);
    assert_eq!(
        person(&watcher, "user_2").1,
        None,
        "never charged for anything"
    );
    let home = |id: &str| found(&watcher, id).workspace;
    assert_eq!(home("apikey_1"), Some("wrkspc_a".into()));
    assert_eq!(home("apikey_3"), Some(DEFAULT_WORKSPACE.into()));
    // The first usage by key was read by the day.
    assert_eq!(
        found(&watcher, "apikey_3").idle_since,
        Some(at("2026-11-02T00:00:00Z"))
    );
    // What is recorded after that is noted, as another start would read it.
    used(&stage, "apikey_2", Some("user_2"), "2026-11-24T14:10:00Z");
    asked_after(60, &stage, &mut watcher).await;
    let idle = |watcher: &Watcher| {
        let keys = ["apikey_1", "apikey_2", "apikey_3"];
        let people = ["user_1", "user_2"].map(|id| person(watcher, id).1);
        (keys.map(|id| found(watcher, id).idle_since), people)
    };
    let noted = idle(&watcher);
    assert_eq!(noted.0[1], Some(at("2026-11-24T15:00:00Z")));
    drop(watcher);
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    assert_eq!(idle(&watcher), noted);
}

fn limits(directory: &Directory) -> (Option<Usd>, Option<Usd>) {
    let info = directory.organization.as_ref();
    let workspace = &directory.workspaces["wrkspc_a"].0;
    (
        info.and_then(|info| info.usage_limit),
        workspace.monthly_limit,
    )
}

const fn dollars(organization: i64, workspace: i64) -> (Option<Usd>, Option<Usd>) {
    (
        Some(Usd::from_dollars(organization)),
        Some(Usd::from_dollars(workspace)),
    )
}

type Removed = BTreeMap<Option<WorkspaceId>, Timestamp>;

#[tokio::test]
async fn a_limit_of_the_guide_that_is_no_more_is_noted_once() {
    let stage = guide(Lists::default()).await;
    let set = |organization: Option<&str>, workspace: Option<&str>| {
        let mut world = stage.simulator.world();
        world.usage_limit = organization.map(str::to_owned);
        world.workspace_mut("wrkspc_a").monthly_limit = workspace.map(str::to_owned);
    };
    set(Some("5000"), Some("100"));
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 100));
    set(None, None);
    stage.cycle_after(15, &mut watcher).await;
    let removed: Removed = [(None, stage.now()), (Some("wrkspc_a".into()), stage.now())].into();
    assert_eq!(watcher.directory.limits_removed, removed);
    drop(watcher);
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(
        watcher.directory.limits_removed, removed,
        "as it was stored"
    );
    stage.cycle_after(30, &mut watcher).await;
    assert_eq!(watcher.directory.limits_removed, removed, "and not anew");
    set(Some("1"), Some("1"));
    stage.cycle_after(15, &mut watcher).await;
    assert_eq!(watcher.directory.limits_removed, Removed::new());
    drop(watcher);
    let watcher = stage.watcher(&store).await;
    assert_eq!(watcher.directory.limits_removed, Removed::new());
}

/// The real service lists workspaces without limits, and tells these elsewhere.
#[tokio::test]
async fn limits_that_are_read_apart_outlive_a_restart_and_a_failure() {
    let stage = real(Dialect::Analytics, Lists::default()).await;
    let set = |limits: Vec<(Option<String>, i64)>| stage.simulator.world().spend_limits = limits;
    let of_workspace = |cents| (Some("wrkspc_a".to_owned()), cents);
    set(vec![(None, 500_000), of_workspace(10_000)]);
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 100));
    drop(watcher);
    let on = FaultOn::endpoint("spend_limits");
    stage
        .simulator
        .fail(on.clone(), Fault::Body("<html>".into()));
    let mut watcher = stage.watcher(&store).await;
    for minutes in [20, 61] {
        stage.cycle_after(minutes, &mut watcher).await;
        assert_eq!(limits(&watcher.directory), dollars(5000, 100));
        assert_eq!(watcher.directory.limits_removed, Removed::new());
    }
    stage.simulator.heal();
    set(vec![(None, 500_000)]);
    stage.cycle_after(60, &mut watcher).await;
    let removed: Removed = [(Some("wrkspc_a".into()), stage.now())].into();
    assert_eq!(watcher.directory.limits_removed, removed);
    assert_eq!(limits(&watcher.directory), (dollars(5000, 0).0, None));
    drop(watcher);
    let mut watcher = stage.watcher(&store).await;
    for _ in 0..5 {
        stage.cycle_after(15, &mut watcher).await;
    }
    assert_eq!(watcher.directory.limits_removed, removed, "not anew");
    set(vec![(None, 500_000), of_workspace(7_000)]);
    stage.cycle_after(60, &mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 70));
    assert_eq!(watcher.directory.limits_removed, Removed::new());
    // Limits that may not be read are unknown, and not removed.
    let refused = Fault::Status(403, "{}".into(), None);
    stage.simulator.fail(on, refused);
    stage.cycle_after(60, &mut watcher).await;
    assert_eq!(limits(&watcher.directory), (None, None));
    assert_eq!(watcher.directory.limits_removed, Removed::new());
}

/// Before the limits are read again, a rule on them goes by those that were read before.
#[tokio::test]
async fn a_restart_ends_no_alert_on_the_services_own_limit() {
    let stage = real(Dialect::Analytics, Lists::default()).await;
    stage.simulator.world().spend_limits = vec![(Some("wrkspc_a".to_owned()), 10)];
    used(&stage, "apikey_1", None, "2026-11-24T10:20:00Z");
    let stage = stage.with_rule(Rule {
        limit: Limit::Workspace,
        ..rule("own", SubjectKind::Workspace, 1)
    });
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    for _ in 0..14 {
        stage.cycle_after(5, &mut watcher).await;
    }
    assert_eq!(words(&stage.deliver(&store).await), ["Alpha 100% first"]);
    drop(watcher);
    let fault = Fault::Body("<html>".into());
    stage
        .simulator
        .fail(FaultOn::endpoint("spend_limits"), fault);
    let mut watcher = stage.watcher(&store).await;
    for _ in 0..5 {
        stage.cycle_after(15, &mut watcher).await;
    }
    // Its end would be told to nobody.
    let mut alerts = watcher.alerts.by_slot.values();
    assert!(alerts.all(|alert| !matches!(alert.state, State::Ended { .. })));
    assert_eq!(watcher.alerts.by_slot.len(), 1);
    assert_eq!(words(&stage.deliver(&store).await), [""; 0]);
}
