//! Core dumps are disabled, because they would contain keys.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;

use rustix::process::getuid;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;

use crate::program::{Home, Program, get};

/// Starts a daemon without a limit on core dumps, if the system allows that.
const UNLIMITED: &str = "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\"";

async fn home() -> (Simulator, Home) {
    let world = World::empty();
    let simulator = Simulator::start(world, Clock::system()).await.unwrap();
    let home = Home::new();
    home.configure(&simulator, "");
    (simulator, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_dump() {
    let (_simulator, home) = home().await;
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let starter = ["sh", "-c", UNLIMITED];
    let mut program = Program::start_by(&home, &starter, &arguments, &[]);
    program.address();
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let fields: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(fields[4..6], ["0", "0"], "{limits}");
    // The files in /proc of a process that is not dumpable belong to root.
    let environment = fs::metadata(format!("/proc/{}/environ", program.id())).unwrap();
    assert_eq!(environment.uid(), 0);
    program.signal("ABRT");
    let (status, _) = program.ended();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}

/// A process can read its own files in /proc even though they belong to root.
#[tokio::test(flavor = "multi_thread")]
async fn process_metrics_work_without_root_and_without_core_dumps() {
    if !getuid().is_root() {
        // All other tests already run as a normal user.
        return;
    }
    let (_simulator, home) = home().await;
    let folder = home.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    for name in ["key", "spendwatch.toml"] {
        std::os::unix::fs::chown(home.path(name), Some(10001), Some(10001)).unwrap();
    }
    let script = "ulimit -c unlimited 2>/dev/null; \
        exec setpriv --reuid=10001 --regid=10001 --clear-groups -- ./spendwatch-copy \"$@\"";
    // The user may not have access to the built program.
    fs::copy(
        env!("CARGO_BIN_EXE_spendwatch"),
        home.path("spendwatch-copy"),
    )
    .unwrap();
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let mut program = Program::start_by(&home, &["sh", "-c", script], &arguments, &[]);
    let address = program.address();
    let metrics = get(&address, "/metrics");
    for name in [
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_max_fds",
        "process_open_fds",
    ] {
        assert!(metrics.contains(&format!("\n{name} ")), "{name}: {metrics}");
    }
    let environment = fs::metadata(format!("/proc/{}/environ", program.id())).unwrap();
    assert_eq!(environment.uid(), 0);
    program.signal("ABRT");
    let (status, _) = program.ended();
    assert!(!status.core_dumped());
}
