//! No core dump: it would hold the keys.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;

use rustix::process::getuid;
use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;

use crate::program::{Home, Program, get};

/// A daemon that may write core dumps of any size, as far as this system allows it.
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
    // Of a process whose memory no other may read, everything in /proc belongs to root.
    let environment = fs::metadata(format!("/proc/{}/environ", program.id())).unwrap();
    assert_eq!(environment.uid(), 0);
    program.signal("ABRT");
    let (status, _) = program.ended();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}

/// Where files in /proc belong to root, another user reads their own all the same.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_than_root_has_the_metrics_of_its_process_without_a_core_dump() {
    if !getuid().is_root() {
        // Every other test is run by that user.
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
    // The built program may be where only root can go.
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
