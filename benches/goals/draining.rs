//! A backlog of 100,000 messages, which the daemon, as a separate process, sends to a receiver that accepts everything.
//!
//! Once as after an outage, when messages were never tried and are sent together, and once when each had an attempt and is
//! sent alone. In both cases, the decisions about each alert arrive in order, each once.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::harness::organization;
use crate::memory::status;
use crate::outbox_fixture;
use crate::program::{Home, Program, write_secret};
use crate::report::{Goal, Report};

const N_ALERTS: u64 = 1_000;
/// Decisions per alert.
const N_SEQUENCES: u64 = 100;
/// How often to check whether everything was sent.
const PATIENCE: Duration = Duration::from_millis(500);

pub fn run(report: &mut Report, _: Extent) {
    let runtime = Runtime::new().expect("threads");
    drain(report, &runtime, "never tried, many in one", false);
    drain(report, &runtime, "tried before, one by one", true);
}

fn drain(report: &mut Report, runtime: &Runtime, manner: &str, is_tried: bool) {
    let home = Home::new();
    let clock = Clock::system();
    let world = World::empty();
    let simulator = runtime
        .block_on(Simulator::start(world, clock.clone()))
        .expect("a free port");
    let posts = Arc::new(Posts {
        clock: clock.clone(),
        came: Mutex::default(),
    });
    let url = runtime.block_on(receiver(Arc::clone(&posts)));
    let secret = home.path("hook");
    write_secret(&secret, &url);
    let notifier = format!(
        "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = {{ file = \"{}\" }}\n",
        secret.display()
    );
    home.configure(&simulator, &notifier);
    let path = home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).expect("just written");
    fs::write(&path, text.replace("* * * * * *", "0 * * * * *")).expect("a file");
    let file = home.path("spendwatch.db");
    let store = Store::open_for_daemon(&file, clock.now()).expect("a store");
    runtime.block_on(async {
        let now = clock.now();
        let organization = organization();
        let loaded = store.load_organization(&organization, now, now);
        loaded.await.expect("a store");
        outbox_fixture::fill(&store, "hook", N_ALERTS, N_SEQUENCES, now).await;
    });
    drop(store);
    if is_tried {
        outbox_fixture::note_attempts(&file);
    }
    let program = Program::run(&home);
    let store = Store::open_for_command(&file, clock.now()).expect("a store");
    runtime.block_on(async {
        while !store.outbox_counts().await.expect("a store").is_empty() {
            clock.sleep(PATIENCE).await;
        }
    });
    let came = posts.came.lock().unwrap_or_else(PoisonError::into_inner);
    check(&came);
    let n_rows = u32::try_from(N_ALERTS * N_SEQUENCES).expect("a hundred thousand");
    let (first, last) = (came[0].0, came[came.len() - 1].0);
    report.add(
        &format!("draining 100,000 messages, {manner} ({} posts)", came.len()),
        f64::from(n_rows) / last.saturating_sub(first).as_secs_f64(),
        "rows/s",
        // Two minutes for everything, including the time of the receiver.
        Goal::AtLeast(833.0),
    );
    report.add(
        &format!("draining 100,000 messages, {manner}: memory of the daemon at its highest"),
        status(&program, "VmHWM:"),
        "MiB",
        Goal::AtMost(50.0),
    );
}

/// Received posts and their times.
struct Posts {
    clock: Clock,
    came: Mutex<Vec<(Duration, Bytes)>>,
}

/// Starts a receiver that accepts everything, and returns its address.
async fn receiver(posts: Arc<Posts>) -> String {
    let take = async |State(posts): State<Arc<Posts>>, body: Bytes| {
        let at = posts.clock.monotonic();
        let mut came = posts.came.lock().unwrap_or_else(PoisonError::into_inner);
        came.push((at, body));
        "ok"
    };
    let app = Router::new().route("/hook", post(take)).with_state(posts);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/hook")
}

/// Checks that all decisions about each alert arrived in order, each once.
fn check(came: &[(Duration, Bytes)]) {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for (_, body) in came {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        for alert in body["alerts"].as_array().expect("alerts") {
            let fingerprint = alert["fingerprint"].as_str().expect("one each").to_owned();
            let sequence = alert["spendwatch"]["sequence"].as_u64();
            let before = newest.entry(fingerprint).or_default();
            assert_eq!(sequence, Some(*before + 1), "in order, and each once");
            *before += 1;
        }
    }
    assert_eq!(newest.len() as u64, N_ALERTS);
    assert!(newest.values().all(|newest| *newest == N_SEQUENCES));
}
