//! Poll, ledger, figures: sums match the simulator's data to the last digit.

use jiff::SignedDuration;
use proptest::prelude::*;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::harness::{WatcherFixture, at, hours};

fn since(start: &str, fixture: &WatcherFixture) -> HourSpan {
    HourSpan {
        start: Hour::containing(at(start)),
        end: Hour::containing(fixture.now()).plus(1),
    }
}

#[tokio::test]
async fn the_first_cycle_reads_everything_and_sums_match() {
    let began = at("2026-09-20T00:00:00Z");
    let fixture = WatcherFixture::new(World::realistic(7, 4, began), "2026-11-24T13:25:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let summary = fixture.cycle(&mut watcher).await;
    assert_eq!(summary.errors, Vec::<String>::new());
    assert_eq!(summary.outcome, CycleOutcome::Ok);
    for span in [
        since("2026-11-01T00:00:00Z", &fixture),
        since("2026-11-24T00:00:00Z", &fixture),
        since("2026-09-20T00:00:00Z", &fixture),
    ] {
        let truth = fixture.simulator.world().spent(None, span, fixture.now());
        assert_eq!(fixture.ledger(&store, None, span).await, truth);
        let truth = fixture
            .simulator
            .world()
            .spent(Some("workspace_00001"), span, fixture.now());
        assert_eq!(
            fixture.ledger(&store, Some("workspace_00001"), span).await,
            truth
        );
        let truth = fixture
            .simulator
            .world()
            .spent(Some(""), span, fixture.now());
        assert_eq!(
            fixture.ledger(&store, Some("unattributed"), span).await,
            truth,
            "the remainder"
        );
    }
}

#[tokio::test]
async fn sums_match_for_days_with_one_request_per_workspace_and_cycle() {
    let began = at("2026-11-10T00:00:00Z");
    let fixture = WatcherFixture::new(World::realistic(3, 3, began), "2026-11-20T22:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    for step in 0..90 {
        if step == 40 {
            fixture.simulator.world().correct_day(
                "workspace_00000",
                Day::containing(at("2026-11-18T00:00:00Z")),
                "-3.25",
            );
            fixture.simulator.world().spend(
                "workspace_00002",
                "claude-haiku-4-5",
                at("2026-11-15T05:00:00Z"),
                "7.123456",
            );
        }
        fixture.simulator.clear_requests();
        let summary = fixture.cycle_after(20, &mut watcher).await;
        assert_eq!(summary.errors, Vec::<String>::new(), "step {step}");
        let requests = fixture.simulator.requests();
        let today = format!("end_date={}", Day::containing(fixture.now()).date());
        let is_running = |path: &str| path.contains("granularity=hour") && path.contains(&today);
        // Settled hours are not read again.
        let unsettled = Day::containing(fixture.now() - SignedDuration::from_mins(30)).date();
        let from = format!("start_date={unsettled}");
        let is_late = |path: &str| is_running(path) && !path.contains(&from);
        assert!(
            !requests.iter().any(|request| is_late(&request.path)),
            "{requests:?}"
        );
        let running = requests
            .iter()
            .filter(|request| is_running(&request.path))
            .count();
        assert!(requests.iter().all(|request| request.method == "GET"));
        assert_eq!(
            running, 4,
            "step {step}: three workspaces and the whole, {requests:?}"
        );
    }
    let all = since("2026-11-10T00:00:00Z", &fixture);
    let truth = fixture.simulator.world().spent(None, all, fixture.now());
    assert_eq!(fixture.ledger(&store, None, all).await, truth);
    let corrected = hours("2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z");
    let truth = fixture
        .simulator
        .world()
        .spent(Some("workspace_00000"), corrected, fixture.now());
    assert_eq!(
        fixture
            .ledger(&store, Some("workspace_00000"), corrected)
            .await,
        truth
    );
}

#[tokio::test]
async fn a_different_stated_sum_is_reported_unless_unsettled_spend_explains_it() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let spend = |world: &mut World, time: &str, usd: &str| {
        world.spend("workspace_a", "claude-sonnet-4-5", at(time), usd);
    };
    spend(&mut world, "2026-11-20T03:00:00Z", "100");
    spend(&mut world, "2026-11-24T10:01:00Z", "7");
    let fixture = WatcherFixture::new(world, "2026-11-24T10:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let states = |usd: &str| {
        fixture.simulator.clear_faults();
        let fault = ServerFault::Field("current_month_usage_usd".to_owned(), usd.to_owned());
        fixture
            .simulator
            .inject_fault(FaultTarget::endpoint("organizations"), fault);
    };
    for (stated, expected) in [
        ("107", None),
        ("100", None),
        (
            "99.5",
            Some(
                "this month is $107.00 in the ledger but $99.50 as stated by Anthropic: $7.50 more",
            ),
        ),
        (
            "107.5",
            Some(
                "this month is $107.00 in the ledger but $107.50 as stated by Anthropic: $0.50 less",
            ),
        ),
        (
            "null",
            Some(
                "this month is $107.00 in the ledger but $107.50 as stated by Anthropic: $0.50 less",
            ),
        ),
        ("107", None),
    ] {
        states(stated);
        let summary = fixture.cycle_after(15, &mut watcher).await;
        assert_eq!(summary.outcome, CycleOutcome::Ok, "{summary:?}");
        let mismatch = summary.difference.map(|difference| difference.to_string());
        assert_eq!(mismatch.as_deref(), expected, "{stated}");
    }
}

#[tokio::test]
async fn in_the_first_hour_the_stated_sum_may_be_last_months() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    for time in ["2026-11-20T03:00:00Z", "2026-12-01T00:01:00Z"] {
        world.spend("workspace_a", "claude-sonnet-4-5", at(time), "100");
    }
    let fixture = WatcherFixture::new(world, "2026-12-01T00:50:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let fault = ServerFault::Field("current_month_usage_usd".to_owned(), "5000".to_owned());
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("organizations"), fault);
    // 01:05: the first hour is not settled. 01:20: it is.
    for (minutes, is_reported) in [(15, false), (15, true)] {
        let summary = fixture.cycle_after(minutes, &mut watcher).await;
        assert_eq!(summary.outcome, CycleOutcome::Ok, "{summary:?}");
        assert_eq!(summary.difference.is_some(), is_reported, "{summary:?}");
    }
}

/// An event between two polls.
#[derive(Debug, Clone)]
enum Event {
    /// This many hours ago, a workspace or the unattributed part used this many cents more.
    Used(usize, i64, u32),
    /// The usage of a workspace this many hours ago is no longer reported.
    Forgotten(usize, i64),
    /// A workspace or the whole cannot be read.
    Failing(usize),
    /// Everything can be read again.
    Healed,
    /// The daemon restarts.
    Restarted,
    /// Minutes until the next poll.
    Waited(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..4, 0i64..30, 1u32..500).prop_map(|(index, ago, cents)| Event::Used(index, ago, cents)),
        1 => (0usize..3, 0i64..30).prop_map(|(index, ago)| Event::Forgotten(index, ago)),
        1 => (0usize..4).prop_map(Event::Failing),
        1 => Just(Event::Healed),
        1 => Just(Event::Restarted),
        4 => (1u64..90).prop_map(Event::Waited),
    ]
}

const WORKSPACES: [&str; 3] = ["workspace_a", "workspace_b", "workspace_c"];
const MODEL: &str = "claude-sonnet-4-5";

/// Applies the events: after each complete poll the ledger matches today, and after three good days all days.
async fn apply_events(events: Vec<Event>) {
    let mut world = World::empty();
    for id in WORKSPACES {
        world.add_workspace(id, id);
        world.spend(id, MODEL, at("2026-11-20T12:00:00Z"), "1");
    }
    let fixture = WatcherFixture::new(world, "2026-11-22T22:10:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let before = |hours: i64| fixture.now() - SignedDuration::from_hours(hours);
    for event in events {
        match event {
            Event::Used(index, ago, cents) => {
                let workspace = WORKSPACES.get(index).copied().unwrap_or_default();
                let usd = format!("{}.{:02}", cents / 100, cents % 100);
                fixture
                    .simulator
                    .world()
                    .spend(workspace, MODEL, before(ago), &usd);
            }
            Event::Forgotten(index, ago) => {
                let start = Hour::containing(before(ago));
                let hours = HourSpan {
                    start,
                    end: start.plus(1),
                };
                fixture
                    .simulator
                    .world()
                    .remove_usage(WORKSPACES[index], hours);
            }
            Event::Failing(index) => {
                let workspace = WORKSPACES.get(index).copied().unwrap_or_default();
                let fault = ServerFault::Status(400, "{}".to_owned(), None);
                fixture
                    .simulator
                    .inject_fault(FaultTarget::usage_of(workspace), fault);
            }
            Event::Healed => fixture.simulator.clear_faults(),
            Event::Restarted => {
                let begun = fixture.watcher(&store).await;
                assert_eq!(
                    begun.coverages, watcher.coverages,
                    "memory matches the store"
                );
                watcher = begun;
            }
            Event::Waited(minutes) => {
                let summary = fixture.cycle_after(minutes, &mut watcher).await;
                if summary.outcome == CycleOutcome::Ok {
                    let today = Day::containing(fixture.now())
                        .first_hour()
                        .start()
                        .to_string();
                    check_ledger(&fixture, &store, since(&today, &fixture)).await;
                }
            }
        }
    }
    fixture.simulator.clear_faults();
    for _ in 0..40 {
        fixture.cycle_after(110, &mut watcher).await;
    }
    check_ledger(&fixture, &store, since("2026-11-20T00:00:00Z", &fixture)).await;
}

async fn check_ledger(fixture: &WatcherFixture, store: &Store, span: HourSpan) {
    for workspace in [
        None,
        Some("workspace_a"),
        Some("workspace_b"),
        Some("workspace_c"),
    ] {
        let truth = fixture
            .simulator
            .world()
            .spent(workspace, span, fixture.now());
        assert_eq!(
            fixture.ledger(store, workspace, span).await,
            truth,
            "{workspace:?}"
        );
    }
}

#[tokio::test]
async fn a_poll_incomplete_for_all_parts_leaves_memory_as_stored() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "a");
    let fixture = WatcherFixture::new(world, "2026-11-22T10:10:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.simulator.world().add_workspace("workspace_b", "b");
    let fault = ServerFault::Status(400, "{}".to_owned(), None);
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("usage"), fault);
    let summary = fixture.cycle_after(20, &mut watcher).await;
    assert_eq!((summary.n_fresh, summary.n_parts), (0, 3));
    // The new workspace was never read, so the remainder is unknown too.
    assert_eq!(watcher.coverages[&Part::Unattributed].as_of, None);
    let begun = fixture.watcher(&store).await;
    assert_eq!(begun.coverages, watcher.coverages);
    fixture.simulator.clear_faults();
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(fixture.watcher(&store).await.coverages, watcher.coverages);
}

#[tokio::test]
async fn hours_of_each_corrected_day_are_read_again_once() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "a");
    let fixture = WatcherFixture::new(world, "2026-11-22T22:10:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let days = ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"];
    for day in days {
        let noon = at(&format!("{day}T12:00:00Z"));
        fixture
            .simulator
            .world()
            .spend("workspace_a", MODEL, noon, "2");
    }
    fixture.simulator.clear_requests();
    for _ in 0..12 {
        fixture.cycle_after(30, &mut watcher).await;
    }
    let requests = fixture.simulator.requests();
    let count = |day: &str| {
        let is_it = |path: &str| {
            path.contains("granularity=hour")
                && path.contains("workspace_a")
                && path.contains(&format!("start_date={day}"))
        };
        requests
            .iter()
            .filter(|request| is_it(&request.path))
            .count()
    };
    assert_eq!(days.map(count), [1; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_ledger_converges_after_any_events(events in prop::collection::vec(event(), 1..40)) {
        tokio::runtime::Runtime::new().unwrap().block_on(apply_events(events));
    }
}
