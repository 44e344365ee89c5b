//! With a broken store, cycles fail, health checks fail and no heartbeat is sent, until the store works again.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spendwatch::daemon::{Daemon, DaemonParts, ReloadFrom};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config as config;
use spendwatch_config::source::Environment;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::{CommitPoint, Faults, Store};

use crate::program::{Home, Program, get, month_rule};

async fn simulator() -> Simulator {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "50");
    Simulator::start(world, clock).await.unwrap()
}

/// Returns a home with a store after some cycles, without a running daemon.
async fn used_home(simulator: &Simulator) -> Home {
    let home = Home::new();
    home.configure(simulator, &month_rule("40"));
    let mut program = Program::run(&home);
    program.wait_for("cycle ok");
    program.wait_for("cycle ok");
    program.signal("TERM");
    program.ended();
    home
}

fn store_path(home: &Home) -> PathBuf {
    home.path("spendwatch.db")
}

/// Overwrites the first page of a table.
fn damage(path: &Path, table: &str) {
    let db = rusqlite::Connection::open(path).unwrap();
    let of = |sql: &str| -> u64 {
        let found: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        found.try_into().unwrap()
    };
    let page = of(&format!(
        "SELECT rootpage FROM sqlite_schema WHERE name = '{table}'"
    ));
    let size = of("PRAGMA page_size");
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let garbage = vec![0xa5; usize::try_from(size).unwrap()];
    file.write_all_at(&garbage, (page - 1) * size).unwrap();
}

fn n_failed(address: &str) -> u64 {
    let metrics = get(address, "/metrics");
    let series = "spendwatch_poll_cycles_total{organization=\"acme\",outcome=\"failed\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap().parse().unwrap()
}

/// Checks that health, readiness, metrics and `healthcheck` report the failure and its reason.
#[track_caller]
fn check_unhealthy(address: &str, reason: &str) {
    for path in ["/healthz", "/-/healthy"] {
        let health = get(address, path);
        assert!(health.starts_with("HTTP/1.1 503"), "{health}");
        assert!(health.contains(reason), "{health}");
    }
    let ready = get(address, "/readyz");
    assert!(ready.contains("\"state\":\"failed\""), "{ready}");
    assert!(ready.contains(reason), "{ready}");
    let metrics = get(address, "/metrics");
    let up = "spendwatch_organization_up{organization=\"acme\"} 0";
    assert!(metrics.contains(up), "{metrics}");
    assert!(n_failed(address) > 0);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .arg("healthcheck")
        .env("SPENDWATCH__HTTP__LISTEN", address)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("503") && stderr.contains(reason),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_makes_the_daemon_unhealthy() {
    let simulator = simulator().await;
    for table in ["parts", "usage", "outbox"] {
        let home = used_home(&simulator).await;
        damage(&store_path(&home), table);
        let mut program = Program::run(&home);
        let address = program.address();
        program.wait_for_all(&["is damaged"]);
        check_unhealthy(&address, "is damaged");
        program.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_and_replaced_store_files_are_detected_and_restored_ones_work() {
    let simulator = simulator().await;
    let home = used_home(&simulator).await;
    let (path, aside) = (store_path(&home), home.path("aside.db"));
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle ok");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    std::fs::rename(&path, &aside).unwrap();
    program.wait_for("was removed or replaced");
    check_unhealthy(&address, "was removed or replaced");
    std::fs::copy(&aside, &path).unwrap();
    check_unhealthy(&address, "was removed or replaced");
    std::fs::rename(&aside, &path).unwrap();
    program.wait_for("the store is working again");
    program.wait_for("cycle ok");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    let log = home.path("spendwatch.db-wal");
    std::fs::remove_file(&log).unwrap();
    program.wait_for("was removed or replaced");
    check_unhealthy(&address, "write-ahead log");
    program.signal("TERM");
    let (_, output) = program.ended();
    let n_lines = output
        .iter()
        .filter(|line| line.contains("was removed or replaced"))
        .count();
    assert!(n_lines <= 4, "logged once for each: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_cycles() {
    let simulator = simulator().await;
    let home = used_home(&simulator).await;
    // Limits files to 32 KiB, but not the pipes of the log.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" run --config \"$1\"";
    let config = home.path("spendwatch.toml");
    let program = env!("CARGO_BIN_EXE_spendwatch");
    let arguments = ["-c", script, program, config.to_str().unwrap()];
    let mut program = Program::start_as("sh", &home, &arguments, &[]);
    let address = program.address();
    program.wait_for_all(&["watching nothing until the store works"]);
    check_unhealthy(&address, "store `");
    program.kill();
}

/// Starts a daemon in this process whose store fails in one operation while the flag is set.
async fn failing(
    simulator: &Simulator,
    home: &Home,
    failing: &'static str,
) -> (Daemon, Arc<AtomicBool>) {
    home.configure(simulator, &month_rule("40"));
    let clock = Clock::system();
    let path = home.path("spendwatch.toml");
    let config = config::load(Some(&path), &Environment::new()).unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&fails);
    let faults = Faults::new(move |operation, moment| {
        operation == failing && moment == CommitPoint::BeforeCommit && flag.load(Ordering::SeqCst)
    });
    let store = Store::open_for_daemon(&config.store.path, clock.now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let start = DaemonParts {
        config,
        reload_from: ReloadFrom::Nowhere,
        environment: Environment::new(),
        store: store.with_faults(faults),
        clock,
        random: Random::seeded(3),
        audit: None,
        listener,
        set_log: Box::new(|_| {}),
    };
    (Daemon::start(start).await.unwrap(), fails)
}

/// Waits until the health page has a status and contains a text.
async fn until_health(address: &str, status: &str, text: &str) {
    let begins = format!("HTTP/1.1 {status}");
    loop {
        let address = address.to_owned();
        let health = tokio::task::spawn_blocking(move || get(&address, "/healthz"))
            .await
            .unwrap();
        if health.starts_with(&begins) && health.contains(text) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unrecorded_cycles_are_unhealthy_until_one_is_recorded() {
    let simulator = simulator().await;
    let home = Home::new();
    let (daemon, fails) = failing(&simulator, &home, "commit_decision").await;
    let address = daemon.address().to_string();
    until_health(&address, "503", "organization `acme`").await;
    let asked = address.clone();
    let failed = tokio::task::spawn_blocking(move || n_failed(&asked));
    assert!(failed.await.unwrap() > 0);
    fails.store(false, Ordering::SeqCst);
    until_health(&address, "200", "").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unrecorded_deliveries_are_unhealthy_until_one_is_recorded() {
    let simulator = simulator().await;
    let home = Home::new();
    let (daemon, fails) = failing(&simulator, &home, "finish").await;
    let address = daemon.address().to_string();
    until_health(&address, "503", "notifier `console`").await;
    fails.store(false, Ordering::SeqCst);
    until_health(&address, "200", "").await;
    daemon.stop().await;
}
