//! Resident memory of the daemon, as a process of its own: idle, and with ten thousand workspaces.

use std::fs;

use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;
use tokio::runtime::Runtime;

use crate::harness::organization;
use crate::program::{Home, Program, get};
use crate::report::{Goal, Report};
use crate::{Extent, made};

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

/// One workspace, polled each second.
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
    report.tell(
        "memory: idle",
        status(&program, "VmRSS:"),
        "MiB",
        Goal::AtMost(25.0),
    );
}

/// A filled ledger, and a cycle each minute. A cycle is logged before its page is published: after the line of the fourth,
/// three are.
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
    // Each hour has a row, so that nothing of what is stored seems to vanish.
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
        report.tell(
            &format!("memory: 10,000 workspaces, {depth}, {figure}"),
            status(&program, name),
            "MiB",
            goal,
        );
    }
}

/// A line of the process's status, in MiB.
fn status(program: &Program, name: &str) -> f64 {
    let path = format!("/proc/{}/status", program.id());
    let text = fs::read_to_string(path).expect("it is running");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes
        .and_then(|text| text.trim().parse().ok())
        .expect("Linux says so");
    kibibytes / 1024.0
}
