//! Resident memory of the daemon as a separate process: idle, and with ten thousand workspaces.

use std::fs;

use jiff::SignedDuration;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::Part;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::directory::SimulatedKey;
use spendwatch_store::Store;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::harness::organization;
use crate::made;
use crate::program::{Home, Program, get};
use crate::report::{Goal, Report};

pub fn run(report: &mut Report, extent: Extent) {
    let runtime = Runtime::new().expect("threads");
    idle(report, &runtime);
    if extent == Extent::Long {
        large(
            report,
            &runtime,
            "ledger of 14 days of hours + 100 days, loaded",
            (14, 100),
        );
        // With so little in the ledger, the daemon reads the hours of three weeks first.
        large(
            report,
            &runtime,
            "three weeks of hours read by itself",
            (3, 10),
        );
    }
}

/// The real service by both of its reports, in minutes.
pub fn run_service(report: &mut Report, extent: Extent) {
    let runtime = Runtime::new().expect("threads");
    if extent == Extent::Long {
        for dialect in ["analytics", "reports"] {
            service(report, &runtime, dialect);
        }
    }
}

/// The real service: a hundred workspaces, a thousand keys and three models, with 14 days of hours and 100 days, read by the
/// daemon itself.
fn service(report: &mut Report, runtime: &Runtime, dialect: &str) {
    let home = Home::new();
    let clock = Clock::system();
    let now = clock.now();
    let mut world = World::seeded(11);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.refresh_lag = SignedDuration::from_hours(2);
    let since = now - SignedDuration::from_hours(24 * 100);
    for place in 0..100_i64 {
        let id = format!("wrkspc_{place:03}");
        world.add_workspace(&id, &format!("Workspace {place}"));
        for model in ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"] {
            world.add_spend_pattern(&id, model, 200_000 + place * 10_000, false, since);
        }
        for key in 0..10 {
            world.keys.push(SimulatedKey {
                id: format!("apikey_{place:03}_{key}"),
                name: format!("key {key}"),
                workspace: Some(id.clone()),
                created_by: "user_1".to_owned(),
                status: "active".to_owned(),
                last_used_at: None,
                ..SimulatedKey::default()
            });
        }
    }
    let simulator = runtime
        .block_on(Simulator::start(world, clock))
        .expect("a free port");
    home.configure(&simulator, "[metrics]\nby_api_key = true\n");
    let path = home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).expect("just written");
    let text = text.replace("* * * * * *", "0 * * * * *").replace(
        "timeout = \"5s\"",
        &format!("timeout = \"60s\"\ndialect = \"{dialect}\""),
    );
    fs::write(&path, text).expect("a file");
    let mut program = Program::run(&home);
    let address = program.address();
    // The history is read across cycles. It is complete once the hours of the day before yesterday are known.
    let known = "spendwatch_reconciliation_billed_usd";
    let mut n_cycles = 0;
    let deadline = 60;
    let is_read = || {
        let store = home.path("spendwatch.db");
        let store = Store::open_for_command(&store, now).ok()?;
        let known = runtime
            .block_on(store.stored_directory(&organization()))
            .ok()??;
        let whole = known.coverages.get(&Part::Whole)?;
        let from = whole.hours_from?;
        let days = whole.days?;
        let (hourly, daily) = (
            Day::containing(now).plus(-14),
            Day::containing(now).plus(-100),
        );
        (from <= hourly && days.start <= daily).then_some(())
    };
    while is_read().is_none() && n_cycles < deadline {
        program.wait_for("cycle ");
        get(&address, "/metrics");
        n_cycles += 1;
    }
    println!("memory: {dialect}, history read after {n_cycles} cycles of a minute");
    program.wait_for("cycle ok");
    let page = get(&address, "/metrics");
    assert!(page.contains(known), "the page tells of the real service");
    for (name, figure, goal) in [
        ("VmRSS:", "after its history was read", Goal::AtMost(60.0)),
        ("VmHWM:", "at its highest", Goal::AtMost(60.0)),
    ] {
        report.add(
            &format!("memory: {dialect}, 100 workspaces, 1,000 keys, 3 models, {figure}"),
            status(&program, name),
            "MiB",
            goal,
        );
    }
}

/// Measures one workspace, polled every second.
fn idle(report: &mut Report, runtime: &Runtime) {
    let home = Home::new();
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "1");
    let simulator = runtime
        .block_on(Simulator::start(world, clock))
        .expect("a free port");
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    for _ in 0..5 {
        program.wait_for("cycle ok");
    }
    report.add(
        "memory: idle",
        status(&program, "VmRSS:"),
        "MiB",
        Goal::AtMost(25.0),
    );
}

/// Measures a filled ledger with a cycle per minute. A cycle is logged before its gauges are published, so three are
/// published when the fourth is logged.
fn large(report: &mut Report, runtime: &Runtime, depth: &str, days: (i32, i32)) {
    const N_WORKSPACES: usize = 10_000;
    let home = Home::new();
    let clock = Clock::system();
    let now = clock.now();
    let mut world = World::realistic(
        7,
        N_WORKSPACES,
        made::coverage(now, days.0, days.1).first_seen,
    );
    // Each hour has a row, so that no stored row seems to disappear.
    world.has_zero_rows = true;
    let simulator = runtime
        .block_on(Simulator::start(world, clock))
        .expect("a free port");
    home.configure(&simulator, "");
    let path = home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).expect("just written");
    fs::write(&path, text.replace("* * * * * *", "0 * * * * *")).expect("a file");
    let store = Store::open_for_daemon(&home.path("spendwatch.db"), now).expect("a store");
    let n_buckets = runtime.block_on(made::fill(&store, &organization(), N_WORKSPACES, days, now));
    drop(store);
    println!("memory: {n_buckets} buckets in the ledger");
    let mut program = Program::run(&home);
    let address = program.address();
    for _ in 0..4 {
        program.wait_for("cycle ok");
        get(&address, "/metrics");
    }
    for (name, figure, goal) in [
        (
            "VmRSS:",
            "after four cycles and scrapes",
            Goal::AtMost(250.0),
        ),
        ("VmHWM:", "at its highest", Goal::None),
    ] {
        report.add(
            &format!("memory: 10,000 workspaces, {depth}, {figure}"),
            status(&program, name),
            "MiB",
            goal,
        );
    }
}

/// Returns a value of the process's status, in MiB.
pub fn status(program: &Program, name: &str) -> f64 {
    let path = format!("/proc/{}/status", program.id());
    let text = fs::read_to_string(path).expect("it is running");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes
        .and_then(|text| text.trim().parse().ok())
        .expect("a value in kB");
    kibibytes / 1024.0
}
