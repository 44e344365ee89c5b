//! A clock that is wrong for a while: nothing is decided or stored meanwhile, and afterwards everything is as if it had been
//! right all the time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;
use spendwatch::clock::Clock;
use spendwatch::cycle::state::{Report, Watcher};
use spendwatch::domain::dialect::Dialect;
use spendwatch::domain::ids::NotifierName;
use spendwatch::domain::money::Usd;
use spendwatch::domain::notification::Reason;
use spendwatch::domain::rule::{Limit, Rule, Watch};
use spendwatch::domain::skew::ClockProblem;
use spendwatch::domain::span::{Hour, HourSpan};
use spendwatch::domain::subject::SubjectKind;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::notify::Notifier;
use spendwatch::notify::memory::Memory;
use spendwatch::notify::outcome::Delivery;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::speech::{Real, Speaks};
use spendwatch::simulator::world::World;
use spendwatch::store::Store;
use spendwatch::store::messages::{MessageFilter, MessageState};

use crate::alerts::words;
use crate::harness::{Stage, at, rule};
use crate::office::Office;
use crate::program::{Home, Program, get, month_rule};

const NOW: &str = "2026-11-24T10:05:00Z";
const SONNET: &str = "claude-sonnet-4-5";
const DIALECTS: [Dialect; 3] = [Dialect::Guide, Dialect::Analytics, Dialect::Reports];
/// In minutes.
const STEPS: [i64; 6] = [40 * 1440, 1440, 10, -10, -1440, -40 * 1440];

fn world(dialect: Dialect) -> World {
    let mut world = World::seeded(7);
    if dialect != Dialect::Guide {
        world.speaks = Speaks::Real(Real::default());
        world.default_workspace = Some("wrkspc_default0".to_owned());
    }
    world.refresh_lag = SignedDuration::from_hours(2);
    world.bill_lag = SignedDuration::from_hours(9);
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let since = at("2026-11-10T00:00:00Z");
    world.add_habit("wrkspc_a", SONNET, 3_600_000, true, since);
    world.add_habit("wrkspc_b", SONNET, 1_200_000, false, since);
    world
}

/// A stage with two clocks, a rule that fires, and one on the age of the data.
async fn stage(dialect: Dialect) -> Stage {
    let age = Rule {
        watch: Watch::DataAge,
        limit: Limit::Fixed(3 * 3600),
        ..rule("age", SubjectKind::Organization, 1)
    };
    let mut stage = Stage::with_two_clocks(world(dialect), NOW)
        .await
        .with_rule(rule("month", SubjectKind::Organization, 50))
        .with_rule(age);
    stage.dialect = dialect;
    stage
}

/// Both clocks go on.
fn pass(stage: &Stage, minutes: u64) {
    stage.clock.advance(Duration::from_mins(minutes));
    stage.server_clock.advance(Duration::from_mins(minutes));
}

async fn cycle(stage: &Stage, watcher: &mut Watcher) -> Report {
    pass(stage, 5);
    stage.cycle(watcher).await
}

fn server_now(stage: &Stage) -> Timestamp {
    Clock::Manual(stage.server_clock.clone()).now()
}

/// Sets the daemon's clock so many minutes off.
fn step(stage: &Stage, minutes: i64) {
    let wrong = server_now(stage) + SignedDuration::from_mins(minutes);
    stage.clock.set_wall(wrong);
}

/// Every row of every table.
fn rows(stage: &Stage) -> Vec<String> {
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

fn check_held(stage: &Stage, report: &Report, before: &[String], told: &str) {
    assert_eq!(report.outcome, CycleOutcome::Failed, "{told}");
    let Some(ClockProblem::Differs { ours, theirs }) = report.clock else {
        panic!("{told}: {report:?}");
    };
    assert_eq!(ours, stage.now(), "{told}");
    let off = theirs.duration_since(server_now(stage)).abs();
    assert!(off <= SignedDuration::from_secs(1), "{told}: {off}");
    assert_eq!(rows(stage), before, "{told}");
}

/// The month is the truth, its alert fires, nothing is told twice, and nothing fires for the age of the data.
async fn check_right(stage: &Stage, store: &Store, watcher: &Watcher, report: &Report, told: &str) {
    assert_eq!(report.troubles, Vec::<String>::new(), "{told}");
    assert_eq!(report.outcome, CycleOutcome::Ok, "{told}");
    assert_eq!(report.clock, None, "{told}");
    let month = HourSpan {
        start: Hour::of(at("2026-11-01T00:00:00Z")),
        end: Hour::of(server_now(stage)).plus(1),
    };
    let truth = stage
        .simulator
        .world()
        .spent(None, month, server_now(stage));
    let ledger = stage.ledger(store, None, month).await;
    let gap = (ledger - truth).abs();
    assert!(
        gap < Usd::parse("0.05").unwrap(),
        "{told}: {gap} of {truth}"
    );
    let measured = watcher
        .measurements
        .iter()
        .find(|measured| measured.label.as_deref() == Some("2026-11"))
        .unwrap();
    // What belongs to no workspace counts when its hours are settled.
    let judged = Usd::from_pico(measured.figure.value().unwrap());
    assert!(
        (ledger - judged).abs() < Usd::from_dollars(1),
        "{told}: {judged} of {ledger}"
    );
    let firing: Vec<_> = watcher
        .alerts
        .by_slot
        .iter()
        .filter(|(_, alert)| alert.is_firing())
        .map(|(slot, _)| (slot.rule.to_string(), slot.period.as_deref()))
        .collect();
    assert_eq!(firing, [("month".to_owned(), Some("2026-11"))], "{told}");
}

#[tokio::test]
async fn nothing_is_decided_or_stored_by_a_wrong_clock_and_work_goes_on_when_it_is_right() {
    for dialect in DIALECTS {
        let stage = stage(dialect).await;
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let report = cycle(&stage, &mut watcher).await;
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
        check_right(&stage, &store, &watcher, &report, "at first").await;
        for minutes in STEPS {
            let told = format!("{dialect}, {minutes} minutes");
            let before = rows(&stage);
            step(&stage, minutes);
            for _ in 0..3 {
                let report = cycle(&stage, &mut watcher).await;
                check_held(&stage, &report, &before, &told);
                watcher.decide_and_commit().await.unwrap();
                watcher.reconfigure(stage.settings()).await.unwrap();
                assert_eq!(rows(&stage), before, "{told}");
            }
            // Corrected while it runs.
            step(&stage, 0);
            let report = cycle(&stage, &mut watcher).await;
            check_right(&stage, &store, &watcher, &report, &told).await;
            assert_eq!(words(&stage.deliver(&store).await), [""; 0], "{told}");
        }
    }
}

#[tokio::test]
async fn a_start_with_a_wrong_clock_changes_nothing() {
    for dialect in DIALECTS {
        let mut stage = stage(dialect).await;
        stage.is_auto = dialect == Dialect::Reports;
        if stage.is_auto {
            stage.simulator.world().speaks = Speaks::Real(Real {
                analytics: spendwatch::simulator::speech::Access::Absent,
                ..Real::default()
            });
        }
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        cycle(&stage, &mut watcher).await;
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
        for minutes in STEPS {
            let told = format!("{dialect}, {minutes} minutes");
            drop(watcher);
            let before = rows(&stage);
            step(&stage, minutes);
            watcher = stage.watcher(&store).await;
            let report = cycle(&stage, &mut watcher).await;
            check_held(&stage, &report, &before, &told);
            if minutes % 1440 == 0 {
                // Restarted once more before it is right; else corrected while it runs.
                watcher = stage.watcher(&store).await;
            }
            step(&stage, 0);
            let report = cycle(&stage, &mut watcher).await;
            check_right(&stage, &store, &watcher, &report, &told).await;
            assert_eq!(words(&stage.deliver(&store).await), [""; 0], "{told}");
        }
    }
}

#[tokio::test]
async fn the_first_start_of_all_with_a_wrong_clock_leaves_no_trace() {
    for minutes in STEPS {
        let told = format!("{minutes} minutes");
        let stage = stage(Dialect::Guide).await;
        step(&stage, minutes);
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let before = rows(&stage);
        let report = cycle(&stage, &mut watcher).await;
        check_held(&stage, &report, &before, &told);
        step(&stage, 0);
        let report = cycle(&stage, &mut watcher).await;
        check_right(&stage, &store, &watcher, &report, &told).await;
        assert_eq!(watcher.engine.store_began, stage.now(), "{told}");
        assert_eq!(words(&stage.deliver(&store).await), ["acme 100% first"]);
    }
}

/// The server sends dates that agree with the wrong clock, as one without dates would: everything is stored by it.
async fn recovers(dialect: Dialect, minutes: i64, restarts: bool) {
    let told = format!("{dialect}, {minutes} minutes, restarts: {restarts}");
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
    let mut report = cycle(&stage, &mut watcher).await;
    for _ in 0..60 {
        report = cycle(&stage, &mut watcher).await;
    }
    check_right(&stage, &store, &watcher, &report, &told).await;
    // A workspace that is new is found again, and the age of the data is noticed.
    let n_present = watcher.directory.present().count();
    stage.simulator.world().add_workspace("wrkspc_c", "Gamma");
    for _ in 0..4 {
        cycle(&stage, &mut watcher).await;
    }
    assert_eq!(watcher.directory.present().count(), n_present + 1, "{told}");
    stage.deliver(&store).await;
    let usage = match dialect {
        Dialect::Guide => "usage",
        Dialect::Analytics => "analytics_cost",
        Dialect::Reports => "messages",
    };
    stage.simulator.fail(
        FaultOn::endpoint(usage),
        Fault::Status(400, "{}".into(), None),
    );
    pass(&stage, 4 * 60);
    cycle(&stage, &mut watcher).await;
    let facts = stage.deliver(&store).await;
    assert_eq!(facts.len(), 1, "{told}: {:?}", words(&facts));
    assert_eq!(facts[0].identity.slot.rule.as_str(), "age", "{told}");
}

#[tokio::test]
async fn what_a_wrong_clock_stored_is_corrected() {
    for dialect in DIALECTS {
        for minutes in [40 * 1440, 1440] {
            for restarts in [false, true] {
                recovers(dialect, minutes, restarts).await;
            }
        }
    }
}

#[tokio::test]
async fn the_time_of_a_wrong_clock_is_not_observed() {
    let waits = Rule {
        hold: SignedDuration::from_hours(1),
        ..rule("month", SubjectKind::Organization, 50)
    };
    let stage = Stage::with_two_clocks(world(Dialect::Guide), NOW)
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
async fn a_step_in_the_middle_of_a_cycle_decides_nothing() {
    let stage = stage(Dialect::Guide).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    cycle(&stage, &mut watcher).await;
    stage.deliver(&store).await;
    let before = watcher.engine.clone();
    stage
        .simulator
        .fail(FaultOn::usage_of("wrkspc_a").times(1), Fault::Silence);
    let jumps = async {
        stage.simulator.until_silent(1).await;
        step(&stage, 40 * 1440);
        stage.simulator.heal();
        stage.simulator.release();
    };
    let (report, ()) = tokio::join!(cycle(&stage, &mut watcher), jumps);
    assert_eq!(report.outcome, CycleOutcome::Failed);
    assert!(report.clock.is_some());
    let loaded = store
        .load_organization(&watcher.settings.organization, stage.now(), stage.now())
        .await
        .unwrap();
    assert_eq!(loaded.engine.last_at, before.last_at);
    step(&stage, 0);
    let report = cycle(&stage, &mut watcher).await;
    check_right(&stage, &store, &watcher, &report, "after").await;
    assert_eq!(words(&stage.deliver(&store).await), [""; 0]);
}

#[tokio::test]
async fn without_a_response_a_clock_that_does_not_follow_from_the_store_is_not_relied_upon() {
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
        let report = unreachable_cycle(&stage, &mut watcher).await;
        assert!(
            matches!(report.clock, Some(ClockProblem::Unconfirmed { .. })),
            "{report:?}"
        );
        assert_eq!(report.troubles.len(), 1, "{report:?}");
        assert_eq!(rows(&stage), before);
    }
    // The age of the data is told all the same where the clock may be right.
    step(&stage, 4 * 60);
    watcher = stage.watcher(&store).await;
    let report = unreachable_cycle(&stage, &mut watcher).await;
    assert_eq!(report.clock, None);
    let facts = stage.deliver(&store).await;
    assert_eq!(facts[0].identity.slot.rule.as_str(), "age");
}

/// The pauses between attempts pass.
async fn unreachable_cycle(stage: &Stage, watcher: &mut Watcher) -> Report {
    let mut cycle = std::pin::pin!(stage.cycle(watcher));
    loop {
        tokio::select! {
            biased;
            report = &mut cycle => return report,
            () = tokio::task::yield_now() => {}
        }
        if stage.clock.n_waiting() > 1 {
            stage.clock.advance(Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn messages_neither_expire_nor_wait_by_a_wrong_clock() {
    let office = Office::new();
    let (store, memory) = (office.open().await, Memory::default());
    let clock = Clock::Manual(office.clock.clone());
    let (server, now) = (clock.add_server(), office.now());
    let day = SignedDuration::from_hours(24);
    office
        .tell(&store, "chat", "m", &[("a", 1, Reason::First)])
        .await;
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    memory.answer((0..10).map(|_| Delivery::retry("503")));
    let expires = async |wrong: Timestamp| {
        office.clock.set_wall(wrong);
        worker.run_due(&office.counters).await.unwrap();
        waiting(&store).await == 0
    };
    // Nobody has confirmed the clock yet, and then the server denies it.
    assert!(!expires(now + 40 * day).await);
    clock.note_server_time(&server, Some(now));
    assert!(!expires(now + 40 * day).await);
    assert!(!expires(now).await);
    // A restart with a clock that is behind: what was created in what is now the future is due.
    for behind in [40 * day, day] {
        office.clock.set_wall(now - behind);
        let chat = NotifierName::from("chat");
        store.shorten_waits(&chat, office.now()).await.unwrap();
        let due = store.next_due(&chat, office.now()).await.unwrap();
        assert!(due <= Some(office.now()), "{due:?}");
    }
    // By a clock that is right it is too old at last.
    office.clock.set_wall(now);
    office.clock.advance(Duration::from_hours(24 * 40));
    worker.run_due(&office.counters).await.unwrap();
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
async fn a_time_of_data_far_ahead_is_no_watermark() {
    let stage = stage(Dialect::Analytics).await;
    let far = "\"2099-01-01T00:00:00Z\"".to_owned();
    stage.simulator.fail(
        FaultOn::endpoint("analytics_cost"),
        Fault::Field("data_refreshed_at".to_owned(), far),
    );
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let report = cycle(&stage, &mut watcher).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    let until = watcher.engine.billed_until.unwrap();
    assert!(until < stage.now(), "{until}");
}

/// A server by the machine's clock whose dates are so many minutes off.
async fn skewed(minutes: i64, dialect: Dialect) -> Simulator {
    let clock = Clock::system();
    let mut world = World::empty();
    if dialect != Dialect::Guide {
        world.speaks = Speaks::Real(Real::default());
    }
    world.add_workspace("wrkspc_a", "Alpha");
    world.spend("wrkspc_a", SONNET, clock.now(), "7");
    world.clock_skew = SignedDuration::from_mins(minutes);
    Simulator::start(world, clock).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_refuse_to_judge_by_a_wrong_clock() {
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
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(
                said.contains("the `Date` of the Admin API (20") && said.contains("clock (20"),
                "{command:?}: {said}"
            );
        }
        simulator.world().clock_skew = SignedDuration::ZERO;
        for command in commands {
            let output = home.command(command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_says_once_that_its_clock_is_wrong_and_once_that_it_is_right() {
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
    let (_, said) = program.ended();
    for line in ["differ by", "ahead of this machine's clock", "agrees with"] {
        let n = said.iter().filter(|said| said.contains(line)).count();
        assert_eq!(n, 1, "{line}: {said:?}");
    }
}
