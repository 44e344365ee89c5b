//! Poll, ledger, figures: sums are the simulator's own truth to the last digit.

use jiff::SignedDuration;
use proptest::prelude::*;
use spendwatch::domain::span::{Day, Hour, HourSpan};
use spendwatch::domain::usage::Part;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::harness::{Stage, at, hours};

fn since(start: &str, stage: &Stage) -> HourSpan {
    HourSpan {
        start: Hour::of(at(start)),
        end: Hour::of(stage.now()).plus(1),
    }
}

#[tokio::test]
async fn a_first_cycle_reads_everything_and_the_sums_are_the_truth() {
    let began = at("2026-09-20T00:00:00Z");
    let stage = Stage::new(World::realistic(7, 4, began), "2026-11-24T13:25:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let report = stage.cycle(&mut watcher).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(report.outcome, CycleOutcome::Ok);
    for span in [
        since("2026-11-01T00:00:00Z", &stage),
        since("2026-11-24T00:00:00Z", &stage),
        since("2026-09-20T00:00:00Z", &stage),
    ] {
        let truth = stage.simulator.world().spent(None, span, stage.now());
        assert_eq!(stage.ledger(&store, None, span).await, truth);
        let truth = stage
            .simulator
            .world()
            .spent(Some("workspace_00001"), span, stage.now());
        assert_eq!(
            stage.ledger(&store, Some("workspace_00001"), span).await,
            truth
        );
        let truth = stage.simulator.world().spent(Some(""), span, stage.now());
        assert_eq!(
            stage.ledger(&store, Some("unattributed"), span).await,
            truth,
            "the remainder"
        );
    }
}

#[tokio::test]
async fn days_of_cycles_stay_at_the_truth_and_cost_one_request_per_workspace() {
    let began = at("2026-11-10T00:00:00Z");
    let stage = Stage::new(World::realistic(3, 3, began), "2026-11-20T22:05:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    for step in 0..90 {
        if step == 40 {
            stage.simulator.world().correct_day(
                "workspace_00000",
                Day::of(at("2026-11-18T00:00:00Z")),
                "-3.25",
            );
            stage.simulator.world().spend(
                "workspace_00002",
                "claude-haiku-4-5",
                at("2026-11-15T05:00:00Z"),
                "7.123456",
            );
        }
        stage.simulator.forget_seen();
        let report = stage.cycle_after(20, &mut watcher).await;
        assert_eq!(report.troubles, Vec::<String>::new(), "step {step}");
        let seen = stage.simulator.seen();
        let today = format!("end_date={}", Day::of(stage.now()).date());
        let is_running = |path: &str| path.contains("granularity=hour") && path.contains(&today);
        // Hours that are settled are not read again.
        let unsettled = Day::of(stage.now() - SignedDuration::from_mins(30)).date();
        let from = format!("start_date={unsettled}");
        let is_late = |path: &str| is_running(path) && !path.contains(&from);
        assert!(!seen.iter().any(|seen| is_late(&seen.path)), "{seen:?}");
        let running = seen.iter().filter(|seen| is_running(&seen.path)).count();
        assert!(seen.iter().all(|seen| seen.method == "GET"));
        assert_eq!(
            running, 4,
            "step {step}: three workspaces and the whole, {seen:?}"
        );
    }
    let all = since("2026-11-10T00:00:00Z", &stage);
    let truth = stage.simulator.world().spent(None, all, stage.now());
    assert_eq!(stage.ledger(&store, None, all).await, truth);
    let corrected = hours("2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z");
    let truth = stage
        .simulator
        .world()
        .spent(Some("workspace_00000"), corrected, stage.now());
    assert_eq!(
        stage
            .ledger(&store, Some("workspace_00000"), corrected)
            .await,
        truth
    );
}

#[tokio::test]
async fn another_sum_at_the_service_is_remarked_and_what_it_has_not_counted_yet_is_not() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let spend = |world: &mut World, time: &str, usd: &str| {
        world.spend("workspace_a", "claude-sonnet-4-5", at(time), usd);
    };
    spend(&mut world, "2026-11-20T03:00:00Z", "100");
    spend(&mut world, "2026-11-24T10:01:00Z", "7");
    let stage = Stage::new(world, "2026-11-24T10:05:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let states = |usd: &str| {
        stage.simulator.heal();
        let fault = Fault::Field("current_month_usage_usd".to_owned(), usd.to_owned());
        stage
            .simulator
            .fail(FaultOn::endpoint("organizations"), fault);
    };
    for (stated, expected) in [
        ("107", None),
        ("100", None),
        (
            "99.5",
            Some(
                "this month is $107.00 in the ledger and $99.50 as the service states it: $7.50 more",
            ),
        ),
        (
            "107.5",
            Some(
                "this month is $107.00 in the ledger and $107.50 as the service states it: $0.50 less",
            ),
        ),
        (
            "null",
            Some(
                "this month is $107.00 in the ledger and $107.50 as the service states it: $0.50 less",
            ),
        ),
        ("107", None),
    ] {
        states(stated);
        let report = stage.cycle_after(15, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
        let told = report.difference.map(|difference| difference.to_string());
        assert_eq!(told.as_deref(), expected, "{stated}");
    }
}

#[tokio::test]
async fn in_the_first_hour_of_a_month_the_statement_may_still_be_the_old_ones() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    for time in ["2026-11-20T03:00:00Z", "2026-12-01T00:01:00Z"] {
        world.spend("workspace_a", "claude-sonnet-4-5", at(time), "100");
    }
    let stage = Stage::new(world, "2026-12-01T00:50:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let fault = Fault::Field("current_month_usage_usd".to_owned(), "5000".to_owned());
    stage
        .simulator
        .fail(FaultOn::endpoint("organizations"), fault);
    // 01:05: the first hour is not settled. 01:20: it is.
    for (minutes, is_told) in [(15, false), (15, true)] {
        let report = stage.cycle_after(minutes, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
        assert_eq!(report.difference.is_some(), is_told, "{report:?}");
    }
}

/// What happens between two polls.
#[derive(Debug, Clone)]
enum Event {
    /// So many hours ago, one of the workspaces or nobody's part of the whole used so many cents more.
    Used(usize, i64, u32),
    /// So many hours ago, what a workspace used is told no more.
    Forgotten(usize, i64),
    /// One of the workspaces, or the whole, cannot be read.
    Failing(usize),
    /// All can be read again.
    Healed,
    /// The daemon ends and begins anew.
    Restarted,
    /// So many minutes until the next poll.
    Waited(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..4, 0i64..30, 1u32..500).prop_map(|(who, ago, cents)| Event::Used(who, ago, cents)),
        1 => (0usize..3, 0i64..30).prop_map(|(who, ago)| Event::Forgotten(who, ago)),
        1 => (0usize..4).prop_map(Event::Failing),
        1 => Just(Event::Healed),
        1 => Just(Event::Restarted),
        4 => (1u64..90).prop_map(Event::Waited),
    ]
}

const WORKSPACES: [&str; 3] = ["workspace_a", "workspace_b", "workspace_c"];
const MODEL: &str = "claude-sonnet-4-5";

/// Tells it as it comes: after each good poll the ledger has the truth of today, and after three good days that of all.
async fn lives_through(events: Vec<Event>) {
    let mut world = World::empty();
    for id in WORKSPACES {
        world.add_workspace(id, id);
        world.spend(id, MODEL, at("2026-11-20T12:00:00Z"), "1");
    }
    let stage = Stage::new(world, "2026-11-22T22:10:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let before = |hours: i64| stage.now() - SignedDuration::from_hours(hours);
    for event in events {
        match event {
            Event::Used(who, ago, cents) => {
                let whose = WORKSPACES.get(who).copied().unwrap_or_default();
                let usd = format!("{}.{:02}", cents / 100, cents % 100);
                stage
                    .simulator
                    .world()
                    .spend(whose, MODEL, before(ago), &usd);
            }
            Event::Forgotten(who, ago) => {
                let start = Hour::of(before(ago));
                let hours = HourSpan {
                    start,
                    end: start.plus(1),
                };
                stage.simulator.world().forget(WORKSPACES[who], hours);
            }
            Event::Failing(who) => {
                let whose = WORKSPACES.get(who).copied().unwrap_or_default();
                let fault = Fault::Status(400, "{}".to_owned(), None);
                stage.simulator.fail(FaultOn::usage_of(whose), fault);
            }
            Event::Healed => stage.simulator.heal(),
            Event::Restarted => {
                let begun = stage.watcher(&store).await;
                assert_eq!(
                    begun.coverages, watcher.coverages,
                    "memory is what is stored"
                );
                watcher = begun;
            }
            Event::Waited(minutes) => {
                let report = stage.cycle_after(minutes, &mut watcher).await;
                if report.outcome == CycleOutcome::Ok {
                    let today = Day::of(stage.now()).first_hour().start().to_string();
                    is_the_truth(&stage, &store, since(&today, &stage)).await;
                }
            }
        }
    }
    stage.simulator.heal();
    for _ in 0..40 {
        stage.cycle_after(110, &mut watcher).await;
    }
    is_the_truth(&stage, &store, since("2026-11-20T00:00:00Z", &stage)).await;
}

async fn is_the_truth(stage: &Stage, store: &Store, span: HourSpan) {
    for whose in [
        None,
        Some("workspace_a"),
        Some("workspace_b"),
        Some("workspace_c"),
    ] {
        let truth = stage.simulator.world().spent(whose, span, stage.now());
        assert_eq!(stage.ledger(store, whose, span).await, truth, "{whose:?}");
    }
}

#[tokio::test]
async fn a_poll_that_was_complete_for_nobody_leaves_memory_as_it_is_stored() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "a");
    let stage = Stage::new(world, "2026-11-22T10:10:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    stage.simulator.world().add_workspace("workspace_b", "b");
    let fault = Fault::Status(400, "{}".to_owned(), None);
    stage.simulator.fail(FaultOn::endpoint("usage"), fault);
    let report = stage.cycle_after(20, &mut watcher).await;
    assert_eq!((report.n_fresh, report.n_parts), (0, 3));
    // Of the new workspace nothing was ever read, so the remainder is not known either.
    assert_eq!(watcher.coverages[&Part::Unattributed].as_of, None);
    let begun = stage.watcher(&store).await;
    assert_eq!(begun.coverages, watcher.coverages);
    stage.simulator.heal();
    stage.cycle_after(5, &mut watcher).await;
    assert_eq!(stage.watcher(&store).await.coverages, watcher.coverages);
}

#[tokio::test]
async fn hours_of_several_corrected_days_are_each_read_again_once() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "a");
    let stage = Stage::new(world, "2026-11-22T22:10:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    let days = ["2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20"];
    for day in days {
        let noon = at(&format!("{day}T12:00:00Z"));
        stage
            .simulator
            .world()
            .spend("workspace_a", MODEL, noon, "2");
    }
    stage.simulator.forget_seen();
    for _ in 0..12 {
        stage.cycle_after(30, &mut watcher).await;
    }
    let seen = stage.simulator.seen();
    let count = |day: &str| {
        let is_it = |path: &str| {
            path.contains("granularity=hour")
                && path.contains("workspace_a")
                && path.contains(&format!("start_date={day}"))
        };
        seen.iter().filter(|seen| is_it(&seen.path)).count()
    };
    assert_eq!(days.map(count), [1; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_happens_the_ledger_comes_to_the_truth(events in prop::collection::vec(event(), 1..40)) {
        tokio::runtime::Runtime::new().unwrap().block_on(lives_through(events));
    }
}
