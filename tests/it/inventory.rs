//! Lists of API keys and users, read only if a rule needs them; and removed spend limits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use spendwatch::cycle::state::Watcher;
use spendwatch_domain::alerts::alert::State;
use spendwatch_domain::org::directory::{Directory, Presence};
use spendwatch_domain::org::events::RequiredLists;
use spendwatch_domain::org::inventory::InventoryKey;
use spendwatch_domain::rules::rule::Limit;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};
use tokio_util::sync::CancellationToken;

use crate::alerts::words;
use crate::harness::{WatcherFixture, at, limit_of, rule};

const MODEL: &str = "claude-sonnet-4-5";
const NOW: &str = "2026-11-24T13:05:00Z";
const DEFAULT: &str = "wrkspc_default0";
const BOTH: RequiredLists = RequiredLists {
    keys: true,
    users: true,
};

fn key(id: &str, home: Option<&str>, last_used_at: Option<&str>) -> SimulatedKey {
    SimulatedKey {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: last_used_at.map(at),
        ..SimulatedKey::default()
    }
}

fn user(id: &str, last_active_at: Option<&str>) -> SimulatedUser {
    SimulatedUser {
        id: id.to_owned(),
        email: format!("{id}@example.com"),
        name: id.to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: last_active_at.map(at),
    }
}

/// A workspace with a used and an unused key, the default workspace with a key, and two users.
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

async fn guide(needs: RequiredLists) -> WatcherFixture {
    let mut fixture = WatcherFixture::new(world(), NOW).await;
    fixture.needs = needs;
    fixture
}

async fn real(dialect: Dialect, needs: RequiredLists) -> WatcherFixture {
    let mut world = world();
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    let mut fixture = WatcherFixture::new(world, NOW).await;
    fixture.dialect = dialect;
    fixture.needs = needs;
    fixture
}

/// Runs one complete cycle `minutes` later; returns how often keys and users were requested.
async fn requests_after(
    minutes: u64,
    fixture: &WatcherFixture,
    watcher: &mut Watcher,
) -> (usize, usize) {
    fixture.simulator.clear_requests();
    let summary = fixture.cycle_after(minutes, watcher).await;
    assert_eq!(summary.outcome, CycleOutcome::Ok, "{:?}", summary.errors);
    let requests = fixture.simulator.requests();
    let n = |end: &str| {
        requests
            .iter()
            .filter(|request| request.route().ends_with(end))
            .count()
    };
    (n("/api_keys"), n("/users"))
}

fn found(watcher: &Watcher, id: &str) -> InventoryKey {
    watcher.inventory.keys.as_ref().unwrap()[id].clone()
}

fn user_state(watcher: &Watcher, id: &str) -> (Presence, Option<Timestamp>) {
    let user_state = &watcher.inventory.users.as_ref().unwrap()[id];
    (user_state.presence, user_state.idle_since)
}

#[tokio::test]
async fn guide_lists_without_a_rule_are_not_read() {
    let fixture = guide(RequiredLists::default()).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    for _ in 0..26 {
        assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    }
    assert_eq!(
        (&watcher.inventory.keys, &watcher.inventory.users),
        (&None, &None)
    );
}

#[tokio::test]
async fn lists_needed_by_a_rule_are_read_once_an_hour() {
    let keys = RequiredLists {
        keys: true,
        users: false,
    };
    let mut fixture = guide(keys).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    for hour in 0..3 {
        assert_eq!(
            requests_after(5, &fixture, &mut watcher).await,
            (1, 0),
            "{hour}"
        );
        for _ in 1..12 {
            assert_eq!(
                requests_after(5, &fixture, &mut watcher).await,
                (0, 0),
                "{hour}"
            );
        }
    }
    assert_eq!(watcher.inventory.users, None);
    // A reload adds a rule that needs users; another one removes both rules.
    fixture.needs = BOTH;
    watcher.reconfigure(fixture.settings()).await.unwrap();
    assert_eq!(requests_after(1, &fixture, &mut watcher).await, (0, 1));
    assert!(watcher.inventory.users.is_some());
    fixture.needs = RequiredLists::default();
    watcher.reconfigure(fixture.settings()).await.unwrap();
    assert_eq!(
        (&watcher.inventory.keys, &watcher.inventory.users),
        (&None, &None)
    );
    assert_eq!(requests_after(60, &fixture, &mut watcher).await, (0, 0));
}

#[tokio::test]
async fn guide_lists_report_presence_and_last_use() {
    let fixture = guide(BOTH).await;
    fixture
        .simulator
        .world()
        .keys
        .extend((10..120).map(|n| key(&format!("apikey_{n}"), Some("wrkspc_a"), None)));
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    assert_eq!(
        requests_after(5, &fixture, &mut watcher).await,
        (2, 1),
        "all pages"
    );
    assert_eq!(watcher.inventory.keys.as_ref().unwrap().len(), 113);
    let made_at = Some(at("2025-01-01T00:00:00Z"));
    let used = InventoryKey {
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
    assert_eq!(user_state(&watcher, "user_1"), (Presence::Listed, active));
    assert_eq!(user_state(&watcher, "user_2"), (Presence::Listed, made_at));
    // Names are kept for messages.
    assert_eq!(watcher.directory.key_name("apikey_1"), "name of apikey_1");
    assert_eq!(
        watcher.directory.users["user_1"].email,
        "user_1@example.com"
    );
}

#[tokio::test]
async fn only_a_list_with_a_missing_entry_is_read_in_each_cycle() {
    let fixture = guide(BOTH).await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    let left = fixture.simulator.world().users.remove(1);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    assert_eq!(user_state(&watcher, "user_2").0, Presence::Listed);
    assert_eq!(requests_after(55, &fixture, &mut watcher).await, (1, 1));
    for _ in 0..5 {
        assert!(matches!(
            user_state(&watcher, "user_2").0,
            Presence::Missing(_)
        ));
        assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 1));
    }
    assert!(matches!(
        user_state(&watcher, "user_2").0,
        Presence::Missing(_)
    ));
    assert_eq!(
        requests_after(5, &fixture, &mut watcher).await,
        (0, 1),
        "30 minutes"
    );
    assert_eq!(user_state(&watcher, "user_2").0, Presence::Removed);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    // Missing once and then listed again.
    fixture.simulator.world().users.push(left);
    assert_eq!(requests_after(60, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(user_state(&watcher, "user_2").0, Presence::Listed);
    let key = fixture.simulator.world().keys.remove(0);
    assert_eq!(requests_after(60, &fixture, &mut watcher).await, (1, 1));
    fixture.simulator.world().keys.push(key);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 0));
    assert_eq!(found(&watcher, "apikey_1").presence, Presence::Listed);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    // After a restart nothing is known until the lists are read.
    drop(watcher);
    let mut watcher = fixture.watcher(&store).await;
    assert_eq!(
        (&watcher.inventory.keys, &watcher.inventory.users),
        (&None, &None)
    );
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(user_state(&watcher, "user_2").0, Presence::Listed);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    // Entries listed before the restart are pending first.
    drop(watcher);
    fixture.simulator.world().users.pop();
    let mut watcher = fixture.watcher(&store).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    for _ in 0..6 {
        assert!(matches!(
            user_state(&watcher, "user_2").0,
            Presence::Missing(_)
        ));
        assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 1));
    }
    assert_eq!(user_state(&watcher, "user_2").0, Presence::Removed);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    // But not if the next cycle would start over.
    let mut watcher = fixture.watcher(&store).await;
    watcher.trust_single_list();
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert!(
        !watcher
            .inventory
            .users
            .as_ref()
            .unwrap()
            .contains_key("user_2")
    );
}

#[tokio::test]
async fn a_failed_list_keeps_known_entries_and_the_cycle_complete() {
    let fixture = guide(BOTH).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    let bad = |status| ServerFault::Status(status, "{}".into(), None);
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("users"), bad(400));
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert!(watcher.inventory.keys.is_some() && watcher.inventory.users.is_none());
    assert_eq!(
        requests_after(5, &fixture, &mut watcher).await,
        (0, 1),
        "the first one is waited for"
    );
    fixture.simulator.clear_faults();
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 1));
    let known = watcher.inventory.users.clone();
    assert!(known.is_some());
    // Later ones are not.
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("users"),
        ServerFault::Body(r#"{"data":null}"#.into()),
    );
    assert_eq!(requests_after(60, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    assert_eq!(watcher.inventory.users, known);
    // After a day the list is outdated.
    for _ in 0..24 {
        requests_after(60, &fixture, &mut watcher).await;
    }
    assert_eq!(watcher.inventory.users, None);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await.1, 1);
    // A rejected list is unknown, and requested once an hour.
    fixture.simulator.clear_faults();
    assert_eq!(requests_after(5, &fixture, &mut watcher).await.1, 1);
    assert!(watcher.inventory.users.is_some());
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("users"), bad(403));
    assert_eq!(requests_after(60, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(watcher.inventory.users, None);
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    assert_eq!(requests_after(55, &fixture, &mut watcher).await, (1, 1));
}

#[tokio::test]
async fn a_list_that_times_out_is_requested_in_the_next_cycle() {
    let fixture = guide(BOTH).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    watcher.cancel.cancel();
    fixture.cycle_after(60, &mut watcher).await;
    watcher.cancel = CancellationToken::new();
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
}

#[tokio::test]
async fn after_a_day_with_a_rejected_key_nothing_is_known() {
    let fixture = guide(BOTH).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    let refused = ServerFault::Status(401, "{}".into(), None);
    fixture
        .simulator
        .inject_fault(FaultTarget::everything(), refused);
    for _ in 0..24 {
        fixture.cycle_after(60, &mut watcher).await;
        assert!(watcher.inventory.keys.is_some() && watcher.inventory.users.is_some());
    }
    fixture.cycle_after(60, &mut watcher).await;
    let known = (&watcher.inventory.keys, &watcher.inventory.users);
    assert_eq!(known, (&None, &None));
}

#[tokio::test]
async fn nothing_is_idle_if_the_guide_never_reports_last_uses() {
    let fixture = guide(BOTH).await;
    {
        let mut world = fixture.simulator.world();
        for key in &mut world.keys {
            key.last_used_at = None;
        }
        for user in &mut world.users {
            user.last_active_at = None;
        }
    }
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(found(&watcher, "apikey_1").idle_since, None);
    assert_eq!(user_state(&watcher, "user_1").1, None);
}

/// Adds usage of a key by a user.
fn used(fixture: &WatcherFixture, key: &str, user: Option<&str>, when: &str) {
    let detail = UsageDetail {
        api_key: Some(key.to_owned()),
        user: user.map(str::to_owned),
        ..UsageDetail::default()
    };
    let amount = SimulatedUsage {
        micros: 1_000_000,
        input: 1000,
        requests: 1,
        ..SimulatedUsage::default()
    };
    let mut world = fixture.simulator.world();
    world.add_detailed_usage("wrkspc_a", MODEL, at(when), amount, detail);
}

#[tokio::test]
async fn only_names_are_read_hourly_if_usage_is_reported_by_key() {
    let fixture = real(Dialect::Analytics, RequiredLists::default()).await;
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(requests_after(5, &fixture, &mut watcher).await, (0, 0));
    fixture.simulator.world().users.clear();
    assert_eq!(requests_after(55, &fixture, &mut watcher).await, (1, 1));
    assert_eq!(
        requests_after(5, &fixture, &mut watcher).await,
        (0, 0),
        "no user is missing"
    );
    assert_eq!(
        (&watcher.inventory.keys, &watcher.inventory.users),
        (&None, &None)
    );
}

/// The older reports have no users, and older usage only by the day.
#[tokio::test]
async fn the_older_reports_show_idle_keys_but_no_users() {
    let fixture = real(Dialect::Reports, BOTH).await;
    used(&fixture, "apikey_1", None, "2026-11-20T10:20:00Z");
    used(&fixture, "apikey_2", None, "2026-09-02T10:20:00Z");
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    for _ in 0..15 {
        requests_after(5, &fixture, &mut watcher).await;
    }
    let idle = |id: &str| found(&watcher, id).idle_since.unwrap();
    assert_eq!(idle("apikey_1"), at("2026-11-20T11:00:00Z"));
    assert_eq!(idle("apikey_2"), at("2026-09-03T00:00:00Z"));
    assert_eq!(
        idle("apikey_3"),
        at("2026-09-02T00:00:00Z"),
        "not known by key before"
    );
    assert_eq!(user_state(&watcher, "user_1"), (Presence::Listed, None));
}

/// Without new usage data, idle times do not grow, because anything may be in use.
#[tokio::test]
async fn without_new_usage_data_idle_times_do_not_grow() {
    let fixture = real(Dialect::Analytics, BOTH).await;
    used(&fixture, "apikey_1", None, "2026-11-20T10:20:00Z");
    let mut watcher = fixture.watcher(&fixture.open_store()).await;
    for _ in 0..15 {
        requests_after(5, &fixture, &mut watcher).await;
    }
    let ids = ["apikey_1", "apikey_2"];
    let idle = |watcher: &Watcher| {
        let now = fixture.now();
        ids.map(|id| now.duration_since(found(watcher, id).idle_since.unwrap()))
    };
    // As of this cycle, in which the list was read.
    requests_after(60, &fixture, &mut watcher).await;
    let before = idle(&watcher);
    for endpoint in ["analytics_cost", "analytics_usage", "messages"] {
        let fault = ServerFault::Status(400, "{}".into(), None);
        fixture
            .simulator
            .inject_fault(FaultTarget::endpoint(endpoint), fault);
    }
    for hours in [1, 23, 48] {
        fixture.cycle_after(hours * 60, &mut watcher).await;
        assert_eq!(idle(&watcher), before, "{hours}");
    }
}

#[tokio::test]
async fn the_ledger_shows_idle_keys_if_the_list_does_not() {
    let fixture = real(Dialect::Analytics, BOTH).await;
    used(&fixture, "apikey_1", Some("user_1"), "2026-11-20T10:20:00Z");
    used(&fixture, "apikey_1", None, "2026-11-02T10:20:00Z");
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    // History is read concurrently with the cycles.
    for _ in 0..15 {
        requests_after(5, &fixture, &mut watcher).await;
    }
    let ended = Some(at("2026-11-20T11:00:00Z"));
    assert_eq!(found(&watcher, "apikey_1").idle_since, ended);
    assert_eq!(user_state(&watcher, "user_1").1, ended);
    assert_eq!(
        user_state(&watcher, "user_2").1,
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
    // Later changes are tracked in the same way as a restart would load them.
    used(&fixture, "apikey_2", Some("user_2"), "2026-11-24T14:10:00Z");
    requests_after(60, &fixture, &mut watcher).await;
    let idle = |watcher: &Watcher| {
        let keys = ["apikey_1", "apikey_2", "apikey_3"];
        let users = ["user_1", "user_2"].map(|id| user_state(watcher, id).1);
        (keys.map(|id| found(watcher, id).idle_since), users)
    };
    let noted = idle(&watcher);
    assert_eq!(noted.0[1], Some(at("2026-11-24T15:00:00Z")));
    drop(watcher);
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
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
async fn a_removed_guide_limit_is_recorded_once() {
    let fixture = guide(RequiredLists::default()).await;
    let set = |organization: Option<&str>, workspace: Option<&str>| {
        let mut world = fixture.simulator.world();
        world.usage_limit = organization.map(str::to_owned);
        world.workspace_mut("wrkspc_a").monthly_limit = workspace.map(str::to_owned);
    };
    set(Some("5000"), Some("100"));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 100));
    set(None, None);
    fixture.cycle_after(15, &mut watcher).await;
    let removed: Removed = [
        (None, fixture.now()),
        (Some("wrkspc_a".into()), fixture.now()),
    ]
    .into();
    assert_eq!(watcher.directory.limits_removed, removed);
    drop(watcher);
    let mut watcher = fixture.watcher(&store).await;
    assert_eq!(
        watcher.directory.limits_removed, removed,
        "as it was stored"
    );
    fixture.cycle_after(30, &mut watcher).await;
    assert_eq!(watcher.directory.limits_removed, removed, "and not anew");
    set(Some("1"), Some("1"));
    fixture.cycle_after(15, &mut watcher).await;
    assert_eq!(watcher.directory.limits_removed, Removed::new());
    drop(watcher);
    let watcher = fixture.watcher(&store).await;
    assert_eq!(watcher.directory.limits_removed, Removed::new());
}

/// The real service lists workspaces without limits, which have their own endpoints.
#[tokio::test]
async fn separately_read_limits_survive_a_restart_and_a_failure() {
    let fixture = real(Dialect::Analytics, RequiredLists::default()).await;
    let set = |limits: Vec<(Option<String>, i64)>| fixture.simulator.world().spend_limits = limits;
    let of_workspace = |cents| (Some("wrkspc_a".to_owned()), cents);
    set(vec![(None, 500_000), of_workspace(10_000)]);
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 100));
    drop(watcher);
    let on = FaultTarget::endpoint("spend_limits");
    fixture
        .simulator
        .inject_fault(on.clone(), ServerFault::Body("<html>".into()));
    let mut watcher = fixture.watcher(&store).await;
    for minutes in [20, 61] {
        fixture.cycle_after(minutes, &mut watcher).await;
        assert_eq!(limits(&watcher.directory), dollars(5000, 100));
        assert_eq!(watcher.directory.limits_removed, Removed::new());
    }
    fixture.simulator.clear_faults();
    set(vec![(None, 500_000)]);
    fixture.cycle_after(60, &mut watcher).await;
    let removed: Removed = [(Some("wrkspc_a".into()), fixture.now())].into();
    assert_eq!(watcher.directory.limits_removed, removed);
    assert_eq!(limits(&watcher.directory), (dollars(5000, 0).0, None));
    drop(watcher);
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..5 {
        fixture.cycle_after(15, &mut watcher).await;
    }
    assert_eq!(watcher.directory.limits_removed, removed, "not anew");
    set(vec![(None, 500_000), of_workspace(7_000)]);
    fixture.cycle_after(60, &mut watcher).await;
    assert_eq!(limits(&watcher.directory), dollars(5000, 70));
    assert_eq!(watcher.directory.limits_removed, Removed::new());
    // Limits without read access are unknown, not removed.
    let refused = ServerFault::Status(403, "{}".into(), None);
    fixture.simulator.inject_fault(on, refused);
    fixture.cycle_after(60, &mut watcher).await;
    assert_eq!(limits(&watcher.directory), (None, None));
    assert_eq!(watcher.directory.limits_removed, Removed::new());
}

/// Until limits are read again, rules use the stored ones.
#[tokio::test]
async fn a_restart_resolves_no_alert_on_a_provider_limit() {
    let fixture = real(Dialect::Analytics, RequiredLists::default()).await;
    fixture.simulator.world().spend_limits = vec![(Some("wrkspc_a".to_owned()), 10)];
    used(&fixture, "apikey_1", None, "2026-11-24T10:20:00Z");
    let mut own = rule("own", SubjectKind::Workspace, 1);
    limit_of(&mut own).limit = Limit::Workspace;
    let fixture = fixture.with_rule(own);
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..14 {
        fixture.cycle_after(5, &mut watcher).await;
    }
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 100% first"]);
    drop(watcher);
    let fault = ServerFault::Body("<html>".into());
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("spend_limits"), fault);
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..5 {
        fixture.cycle_after(15, &mut watcher).await;
    }
    // No resolution would be sent.
    let mut alerts = watcher.alerts.by_slot.values();
    assert!(alerts.all(|alert| !matches!(alert.state, State::Ended { .. })));
    assert_eq!(watcher.alerts.by_slot.len(), 1);
    assert_eq!(words(&fixture.deliver(&store).await), [""; 0]);
}
