//! A clock that is wrong for a while: nothing is decided or stored meanwhile, and afterwards the state is as if it had
//! always been correct.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;
use spendwatch::cycle::state::Watcher;
use spendwatch::cycle::summary::CycleSummary;
use spendwatch_base::clock::Clock;
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::rules::rule::{Condition, Rule};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::skew::ClockProblem;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_notify::Notifier;
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::memory::Memory;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};

use crate::alerts::words;
use crate::harness::{WatcherFixture, at, rule};
use crate::outbox_fixture::OutboxFixture;
use crate::program::{Home, Program, get, month_rule};

const NOW: &str = "2026-11-24T10:05:00Z";
const SONNET: &str = "claude-sonnet-4-5";
const DIALECTS: [Dialect; 3] = [Dialect::Guide, Dialect::Analytics, Dialect::Reports];
/// In minutes.
const STEPS: [i64; 6] = [40 * 1440, 1440, 10, -10, -1440, -40 * 1440];

fn world(dialect: Dialect) -> World {
    let mut world = World::seeded(7);
    if dialect != Dialect::Guide {
        world.api = SimulatedApi::Platform(PlatformOptions::default());
        world.default_workspace = Some("wrkspc_default0".to_owned());
    }
    world.refresh_lag = SignedDuration::from_hours(2);
    world.bill_lag = SignedDuration::from_hours(9);
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let since = at("2026-11-10T00:00:00Z");
    world.add_spend_pattern("wrkspc_a", SONNET, 3_600_000, true, since);
    world.add_spend_pattern("wrkspc_b", SONNET, 1_200_000, false, since);
    world
}

/// A setup with two clocks, a rule that fires, and one on data age.
async fn stage(dialect: Dialect) -> WatcherFixture {
    let age = Rule {
        condition: Condition::DataAge {
            for_each: SubjectKind::Organization,
            limit: 3 * 3600,
        },
        ..rule("age", SubjectKind::Organization, 1)
    };
    let mut stage = WatcherFixture::with_two_clocks(world(dialect), NOW)
        .await
        .with_rule(rule("month", SubjectKind::Organization, 50))
        .with_rule(age);
    stage.dialect = dialect;
    stage
}

/// Advances both clocks.
fn pass(stage: &WatcherFixture, minutes: u64) {
    stage.clock.advance(Duration::from_mins(minutes));
    stage.server_clock.advance(Duration::from_mins(minutes));
}

async fn cycle(stage: &WatcherFixture, watcher: &mut Watcher) -> CycleSummary {
    pass(stage, 5);
    stage.cycle(watcher).await
}

fn server_now(stage: &WatcherFixture) -> Timestamp {
    Clock::Manual(stage.server_clock.clone()).now()
}

/// Moves the daemon's clock by this many minutes.
fn step(stage: &WatcherFixture, minutes: i64) {
    let wrong = server_now(stage) + SignedDuration::from_mins(minutes);
    stage.clock.set_wall(wrong);
}

/// Returns every row of every table.
fn rows(stage: &WatcherFixture) -> Vec<String> {
    let db = rusqlite::Connection::open(stage.store_path()).unwrap();
    let mut names = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut all = Vec::new();
    for name in names {
        let mut statement = db.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let n_columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..n_columns).map(|n| row.get(n).unwrap()).collect();
            all.push(format!("{name} {values:?}"));
        }
    }
    all
}

fn check_held(stage: &WatcherFixture, summary: &CycleSummary, before: &[String], context: &str) {
    assert_eq!(summary.outcome, CycleOutcome::Failed, "{context}");
    let Some(ClockProblem::Differs { ours, theirs }) = summary.clock else {
        panic!("{context}: {summary:?}");
    };
    assert_eq!(ours, stage.now(), "{context}");
    let off = theirs.duration_since(server_now(stage)).abs();
    assert!(off <= SignedDuration::from_secs(1), "{context}: {off}");
    assert_eq!(rows(stage), before, "{context}");
}

/// Checks that the month's spend is correct, its alert fires, nothing is sent twice, and no data age alert fires.
async fn check_correct(
    stage: &WatcherFixture,
    store: &Store,
    watcher: &Watcher,
    summary: &CycleSummary,
    context: &str,
) {
    assert_eq!(summary.errors, Vec::<String>::new(), "{context}");
    assert_eq!(summary.outcome, CycleOutcome::Ok, "{context}");
    assert_eq!(summary.clock, None, "{context}");
    let month = HourSpan {
        start: Hour::containing(at("2026-11-01T00:00:00Z")),
        end: Hour::containing(server_now(stage)).plus(1),
    };
    let truth = stage
        .simulator
        .world()
        .spent(None, month, server_now(stage));
    let ledger = stage.ledger(store, None, month).await;
    let gap = (ledger - truth).abs();
    assert!(
        gap < Usd::parse("0.05").unwrap(),
        "{context}: {gap} of {truth}"
    );
    let measured = watcher
        .measurements
        .iter()
        .find(|measured| measured.label.as_deref() == Some("2026-11"))
        .unwrap();
    // Unattributed spend counts when its hours are settled.
    let judged = Usd::from_pico(measured.figure.value().unwrap());
    assert!(
        (ledger - judged).abs() < Usd::from_dollars(1),
        "{context}: {judged} of {ledger}"
    );
    let firing: Vec<_> = watcher
        .alerts
        .by_slot
        .iter()
        .filter(|(_, alert)| alert.is_firing())
        .map(|(slot, _)| (slot.rule.to_string(), slot.period.as_deref()))
        .collect();
    assert_eq!(firing, [("month".to_owned(), Some("2026-11"))], "{context}");
}

#[tokio::test]
async fn nothing_is_decided_or_stored_until_a_wrong_clock_is_corrected() {
    for dialect in DIALECTS {
        let stage = stage(dialect).await;
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let summary = cycle(&stage, &mut watcher).await;
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
        check_correct(&stage, &store, &watcher, &summary, "at first").await;
        for minutes in STEPS {
            let context = format!("{dialect}, {minutes} minutes");
            let before = rows(&stage);
            step(&stage, minutes);
            for _ in 0..3 {
                let summary = cycle(&stage, &mut watcher).await;
                check_held(&stage, &summary, &before, &context);
                watcher.decide_and_commit().await.unwrap();
                watcher.reconfigure(stage.settings()).await.unwrap();
                assert_eq!(rows(&stage), before, "{context}");
            }
            // Corrected while running.
            step(&stage, 0);
            let summary = cycle(&stage, &mut watcher).await;
            check_correct(&stage, &store, &watcher, &summary, &context).await;
            assert_eq!(words(&stage.deliver(&store).await), [""; 0], "{context}");
        }
    }
}

#[tokio::test]
async fn a_start_with_a_wrong_clock_changes_nothing() {
    for dialect in DIALECTS {
        let mut stage = stage(dialect).await;
        stage.is_auto = dialect == Dialect::Reports;
        if stage.is_auto {
            stage.simulator.world().api = SimulatedApi::Platform(PlatformOptions {
                analytics: spendwatch_simulator::api::EndpointAccess::Absent,
                ..PlatformOptions::default()
            });
        }
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        cycle(&stage, &mut watcher).await;
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
        for minutes in STEPS {
            let context = format!("{dialect}, {minutes} minutes");
            drop(watcher);
            let before = rows(&stage);
            step(&stage, minutes);
            watcher = stage.watcher(&store).await;
            let summary = cycle(&stage, &mut watcher).await;
            check_held(&stage, &summary, &before, &context);
            if minutes % 1440 == 0 {
                // Restarted once more before the correction, or corrected while running.
                watcher = stage.watcher(&store).await;
            }
            step(&stage, 0);
            let summary = cycle(&stage, &mut watcher).await;
            check_correct(&stage, &store, &watcher, &summary, &context).await;
            assert_eq!(words(&stage.deliver(&store).await), [""; 0], "{context}");
        }
    }
}

#[tokio::test]
async fn a_first_start_with_a_wrong_clock_stores_nothing() {
    for minutes in STEPS {
        let context = format!("{minutes} minutes");
        let stage = stage(Dialect::Guide).await;
        step(&stage, minutes);
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let before = rows(&stage);
        let summary = cycle(&stage, &mut watcher).await;
        check_held(&stage, &summary, &before, &context);
        step(&stage, 0);
        let summary = cycle(&stage, &mut watcher).await;
        check_correct(&stage, &store, &watcher, &summary, &context).await;
        assert_eq!(watcher.engine.store_began, stage.now(), "{context}");
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
    }
}

/// The server's dates agree with the wrong clock, so everything is stored with it.
async fn recovers(dialect: Dialect, minutes: i64, restarts: bool) {
    let context = format!("{dialect}, {minutes} minutes, restarts: {restarts}");
    let stage = stage(dialect).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    cycle(&stage, &mut watcher).await;
    assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
    step(&stage, minutes);
    stage.simulator.world().clock_skew = SignedDuration::from_mins(minutes);
    for _ in 0..2 {
        cycle(&stage, &mut watcher).await;
    }
    stage.deliver(&store).await;
    step(&stage, 0);
    stage.simulator.world().clock_skew = SignedDuration::ZERO;
    if restarts {
        drop(watcher);
        watcher = stage.watcher(&store).await;
    }
    let mut summary = cycle(&stage, &mut watcher).await;
    for _ in 0..60 {
        summary = cycle(&stage, &mut watcher).await;
    }
    check_correct(&stage, &store, &watcher, &summary, &context).await;
    // The new workspace is found again, and data age is noticed.
    let n_present = watcher.directory.present().count();
    stage.simulator.world().add_workspace("wrkspc_c", "Gamma");
    for _ in 0..4 {
        cycle(&stage, &mut watcher).await;
    }
    assert_eq!(
        watcher.directory.present().count(),
        n_present + 1,
        "{context}"
    );
    stage.deliver(&store).await;
    let usage = match dialect {
        Dialect::Guide => "usage",
        Dialect::Analytics => "analytics_cost",
        Dialect::Reports => "messages",
    };
    stage.simulator.inject_fault(
        FaultTarget::endpoint(usage),
        ServerFault::Status(400, "{}".into(), None),
    );
    pass(&stage, 4 * 60);
    cycle(&stage, &mut watcher).await;
    let facts = stage.deliver(&store).await;
    assert_eq!(facts.len(), 1, "{context}: {:?}", words(&facts));
    assert_eq!(facts[0].identity.slot.rule.as_str(), "age", "{context}");
}

#[tokio::test]
async fn data_stored_by_a_wrong_clock_is_corrected() {
    for dialect in DIALECTS {
        for minutes in [40 * 1440, 1440] {
            for restarts in [false, true] {
                recovers(dialect, minutes, restarts).await;
            }
        }
    }
}

#[tokio::test]
async fn times_of_a_wrong_clock_are_not_observed() {
    let waits = Rule {
        for_duration: SignedDuration::from_hours(1),
        ..rule("month", SubjectKind::Organization, 50)
    };
    let stage = WatcherFixture::with_two_clocks(world(Dialect::Guide), NOW)
        .await
        .with_rule(waits);
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    cycle(&stage, &mut watcher).await;
    step(&stage, 1440);
    for _ in 0..20 {
        cycle(&stage, &mut watcher).await;
    }
    step(&stage, 0);
    for _ in 0..11 {
        cycle(&stage, &mut watcher).await;
        assert_eq!(words(&stage.deliver(&store).await), [""; 0]);
    }
    cycle(&stage, &mut watcher).await;
    assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
}

#[tokio::test]
async fn a_clock_step_during_a_cycle_decides_nothing() {
    let stage = stage(Dialect::Guide).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    cycle(&stage, &mut watcher).await;
    stage.deliver(&store).await;
    let before = watcher.engine.clone();
    stage.simulator.inject_fault(
        FaultTarget::usage_of("wrkspc_a").times(1),
        ServerFault::NoResponse,
    );
    let jumps = async {
        stage.simulator.wait_until_stalled(1).await;
        step(&stage, 40 * 1440);
        stage.simulator.clear_faults();
        stage.simulator.release_stalled();
    };
    let (summary, ()) = tokio::join!(cycle(&stage, &mut watcher), jumps);
    assert_eq!(summary.outcome, CycleOutcome::Failed);
    assert!(summary.clock.is_some());
    let loaded = store
        .load_organization(&watcher.settings.organization, stage.now(), stage.now())
        .await
        .unwrap();
    assert_eq!(loaded.resume_state.last_at, before.last_at);
    step(&stage, 0);
    let summary = cycle(&stage, &mut watcher).await;
    check_correct(&stage, &store, &watcher, &summary, "after").await;
    assert_eq!(words(&stage.deliver(&store).await), [""; 0]);
}

#[tokio::test]
async fn without_a_response_the_clock_must_follow_from_the_store() {
    let mut stage = stage(Dialect::Guide).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    cycle(&stage, &mut watcher).await;
    stage.deliver(&store).await;
    // Nothing listens there.
    stage.asks = Some("http://127.0.0.1:1".to_owned());
    for minutes in [40 * 1440, -1440] {
        step(&stage, minutes);
        let before = rows(&stage);
        watcher = stage.watcher(&store).await;
        let summary = unreachable_cycle(&stage, &mut watcher).await;
        assert!(
            matches!(summary.clock, Some(ClockProblem::Unconfirmed { .. })),
            "{summary:?}"
        );
        assert_eq!(summary.errors.len(), 1, "{summary:?}");
        assert_eq!(rows(&stage), before);
    }
    // Data age is still reported if the clock may be correct.
    step(&stage, 4 * 60);
    watcher = stage.watcher(&store).await;
    let summary = unreachable_cycle(&stage, &mut watcher).await;
    assert_eq!(summary.clock, None);
    let facts = stage.deliver(&store).await;
    assert_eq!(facts[0].identity.slot.rule.as_str(), "age");
}

/// Advances time past the retry delays.
async fn unreachable_cycle(stage: &WatcherFixture, watcher: &mut Watcher) -> CycleSummary {
    let mut cycle = std::pin::pin!(stage.cycle(watcher));
    loop {
        tokio::select! {
            biased;
            summary = &mut cycle => return summary,
            () = tokio::task::yield_now() => {}
        }
        if stage.clock.n_sleeping() > 1 {
            stage.clock.advance(Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn messages_neither_expire_nor_wait_because_of_a_wrong_clock() {
    let fixture = OutboxFixture::new();
    let (store, memory) = (fixture.open().await, Memory::default());
    let clock = Clock::Manual(fixture.clock.clone());
    let (server, now) = (clock.add_server(), fixture.now());
    let day = SignedDuration::from_hours(24);
    fixture
        .tell(&store, "chat", "m", &[("a", 1, Reason::First)])
        .await;
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    memory.respond_with((0..10).map(|_| Delivery::retry("503")));
    let expires = async |wrong: Timestamp| {
        fixture.clock.set_wall(wrong);
        worker.run_due(&fixture.counters).await.unwrap();
        waiting(&store).await == 0
    };
    // No server has confirmed the clock yet, and then one contradicts it.
    assert!(!expires(now + 40 * day).await);
    clock.record_server_time(&server, Some(now));
    assert!(!expires(now + 40 * day).await);
    assert!(!expires(now).await);
    // A restart with a slow clock: messages created in its future are due.
    for behind in [40 * day, day] {
        fixture.clock.set_wall(now - behind);
        let chat = NotifierName::from("chat");
        store
            .end_impossible_waits(&chat, fixture.now())
            .await
            .unwrap();
        let due = store.next_due(&chat, fixture.now()).await.unwrap();
        assert!(due <= Some(fixture.now()), "{due:?}");
    }
    // With a correct clock the message expires.
    fixture.clock.set_wall(now);
    fixture.clock.advance(Duration::from_hours(24 * 40));
    worker.run_due(&fixture.counters).await.unwrap();
    assert_eq!(waiting(&store).await, 0);
}

async fn waiting(store: &Store) -> usize {
    let filter = MessageFilter {
        state: Some(MessageState::Waiting),
        notifier: None,
        limit: 10,
    };
    store.messages(&filter).await.unwrap().len()
}

#[tokio::test]
async fn data_times_far_ahead_are_ignored() {
    let stage = stage(Dialect::Analytics).await;
    let far = "\"2099-01-01T00:00:00Z\"".to_owned();
    stage.simulator.inject_fault(
        FaultTarget::endpoint("analytics_cost"),
        ServerFault::Field("data_refreshed_at".to_owned(), far),
    );
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let summary = cycle(&stage, &mut watcher).await;
    assert_eq!(summary.errors, Vec::<String>::new());
    let until = watcher.engine.billed_until.unwrap();
    assert!(until < stage.now(), "{until}");
}

/// A server whose dates differ from the machine's clock by this many minutes.
async fn skewed(minutes: i64, dialect: Dialect) -> Simulator {
    let clock = Clock::system();
    let mut world = World::empty();
    if dialect != Dialect::Guide {
        world.api = SimulatedApi::Platform(PlatformOptions::default());
    }
    world.add_workspace("wrkspc_a", "Alpha");
    world.spend("wrkspc_a", SONNET, clock.now(), "7");
    world.clock_skew = SignedDuration::from_mins(minutes);
    Simulator::start(world, clock).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_fail_with_a_wrong_clock() {
    for (minutes, dialect) in [(10, Dialect::Guide), (-1440, Dialect::Analytics)] {
        let simulator = skewed(minutes, dialect).await;
        let home = Home::new();
        home.configure(&simulator, &month_rule("1000"));
        let commands: [&[&str]; 3] = [
            &["check"],
            &["check", "--limit", "1000"],
            &["usage", "--live", "--by", "workspace"],
        ];
        for command in commands {
            let output = home.command(command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
            assert!(
                stderr.contains("the `Date` of the Admin API (20") && stderr.contains("clock (20"),
                "{command:?}: {stderr}"
            );
        }
        simulator.world().clock_skew = SignedDuration::ZERO;
        for command in commands {
            let output = home.command(command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{command:?}: {stderr}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_logs_a_wrong_clock_and_its_correction_once() {
    let simulator = skewed(10, Dialect::Guide).await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("5"));
    let mut program = Program::run(&home);
    let address = program.address();
    for _ in 0..3 {
        program.wait_for("cycle failed");
    }
    let ready = get(&address, "/readyz");
    assert!(ready.contains("differ by"), "{ready}");
    assert!(ready.contains("\"state\":\"failed\""), "{ready}");
    let page = get(&address, "/");
    assert!(page.contains("differ by"), "{page}");
    let metrics = get(&address, "/metrics");
    assert!(metrics.contains("spendwatch_organization_up{organization=\"acme\"} 0"));
    assert!(metrics.contains("cycles_total{organization=\"acme\",outcome=\"failed\"}"));
    simulator.world().clock_skew = SignedDuration::from_mins(3);
    program.wait_for("s ahead of this machine's clock");
    simulator.world().clock_skew = SignedDuration::ZERO;
    program.wait_for("the clock agrees with the Admin API again");
    program.wait_for("cycle ok");
    assert!(!get(&address, "/readyz").contains("differ by"));
    program.signal("TERM");
    let (_, stderr) = program.ended();
    for line in ["differ by", "ahead of this machine's clock", "agrees with"] {
        let n = stderr.iter().filter(|stderr| stderr.contains(line)).count();
        assert_eq!(n, 1, "{line}: {stderr:?}");
    }
}
