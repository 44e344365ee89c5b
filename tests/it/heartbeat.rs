//! The dead-man's switch against a test server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use spendwatch::app::App;
use spendwatch::app::published::OrganizationStatus;
use spendwatch::heartbeat::Heartbeat;
use spendwatch_base::clock::Clock;
use spendwatch_base::secret::Secret;
use spendwatch_config::sections;
use spendwatch_config::source::{Environment, SecretSource};
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::harness::{WatcherFixture, organization};
use crate::program::{Home, Program, get, post_reload, write_secret};

/// Counts requests and responds with the configured status.
struct Listener {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    status: Mutex<StatusCode>,
    calls: watch::Sender<Vec<String>>,
}

impl Listener {
    async fn start() -> Listener {
        let shared = Arc::new(Shared {
            status: Mutex::new(StatusCode::OK),
            calls: watch::Sender::new(Vec::new()),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(called)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Listener { url, shared }
    }

    fn answer(&self, status: u16) {
        *self.shared.status.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    fn n_calls(&self) -> usize {
        self.shared.calls.borrow().len()
    }

    /// Waits for the `n`th request and returns it.
    async fn wait_for(&self, n: usize) -> String {
        let mut calls = self.shared.calls.subscribe();
        let calls = calls.wait_for(|calls| calls.len() >= n).await.unwrap();
        calls[n - 1].clone()
    }
}

async fn called(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
) -> (StatusCode, String) {
    let call = format!("{method} {uri}");
    shared.calls.send_modify(|calls| calls.push(call.clone()));
    (*shared.status.lock().unwrap(), call)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_complete_cycles_and_errors_hide_the_url() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let listener = Listener::start().await;
    let home = Home::new();
    let url = home.path("heartbeat");
    write_secret(&url, &format!("{}/ping/canary-0001?x=1", listener.url));
    let section = format!("[heartbeat]\nurl = {{ file = \"{}\" }}\n", url.display());
    home.configure(&simulator, &section);
    let mut program = Program::run(&home);
    let address = program.address();
    assert_eq!(listener.wait_for(2).await, "GET /ping/canary-0001?x=1");
    let counted = |outcome: &str| {
        let metrics = get(&address, "/metrics");
        let series = format!("spendwatch_heartbeats_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|n| n.parse::<u64>().unwrap())
    };
    assert!(counted("sent").unwrap() >= 1);
    assert_eq!(counted("failed"), Some(0));

    simulator.inject_fault(
        FaultTarget::usage_of("workspace_a"),
        ServerFault::Status(400, String::new(), None),
    );
    // A running request ends within the second.
    program.wait_for("cycle partial");
    program.wait_for("cycle partial");
    let n_calls = listener.n_calls();
    program.wait_for("cycle partial");
    program.wait_for("cycle partial");
    assert_eq!(listener.n_calls(), n_calls);

    listener.answer(500);
    simulator.clear_faults();
    program.wait_for("heartbeat failed: answered 500");
    listener.wait_for(n_calls + 3).await;
    assert!(counted("failed").unwrap() >= 2);
    write_secret(&url, "http://127.0.0.1:1/ping/canary-0002");
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    program.wait_for("heartbeat failed: error sending request");
    write_secret(&url, &format!("{}/ping/canary-0003", listener.url));
    listener.answer(200);
    let n_calls = listener.n_calls();
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    assert_eq!(
        listener.wait_for(n_calls + 1).await,
        "GET /ping/canary-0003"
    );

    home.configure(&simulator, "");
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    assert_eq!((counted("sent"), counted("failed")), (None, None));
    program.signal("TERM");
    let (_, log_lines) = program.ended();
    let failures = log_lines
        .iter()
        .filter(|line| line.contains("heartbeat failed"));
    assert_eq!(failures.count(), 2, "once for each URL: {log_lines:?}");
    assert!(!log_lines.join("\n").contains("canary"), "{log_lines:?}");
}

/// A heartbeat with manual cycles and clock.
struct ManualHeartbeat {
    fixture: WatcherFixture,
    app: Arc<App>,
    listener: Listener,
}

impl ManualHeartbeat {
    async fn new() -> ManualHeartbeat {
        let fixture = WatcherFixture::new(World::empty(), "2026-11-24T12:00:00Z").await;
        let app = Arc::new(fixture.app(&fixture.open_store()));
        let listener = Listener::start().await;
        let url = Secret::new(format!("{}/canary-0001", listener.url));
        let configured = sections::HeartbeatConfig {
            url: SecretSource::Literal(url),
            allow_http: false,
        };
        let heartbeat = Heartbeat::from_config(&configured, &Environment::new())
            .await
            .unwrap();
        let app_of_task = Arc::clone(&app);
        let stop = CancellationToken::new();
        tokio::spawn(async move { heartbeat.run(&app_of_task, &stop).await });
        ManualHeartbeat {
            fixture,
            app,
            listener,
        }
    }

    fn end_cycle(&self, outcome: CycleOutcome) {
        let status = OrganizationStatus {
            last_cycle: Some((outcome, self.fixture.now())),
            ..OrganizationStatus::default()
        };
        self.app.published.record_cycle(&organization(), status);
        self.app.cycle_completed.notify_one();
    }

    /// Advances the clock while the heartbeat waits for its next request.
    async fn advance(&self, seconds: u64) {
        while self.fixture.clock.n_sleeping() == 0 {
            tokio::task::yield_now().await;
        }
        self.fixture.clock.advance(Duration::from_secs(seconds));
    }

    /// Checks that there were `n` requests and no retry waits.
    async fn assert_idle_after(&self, n: usize) {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (self.listener.n_calls(), self.fixture.clock.n_sleeping()),
            (n, 0)
        );
    }
}

#[tokio::test]
async fn failed_request_is_retried_twice() {
    let manual = ManualHeartbeat::new().await;
    manual.listener.answer(503);
    manual.end_cycle(CycleOutcome::Ok);
    manual.listener.wait_for(1).await;
    manual.advance(5).await;
    manual.listener.wait_for(2).await;
    manual.advance(29).await;
    assert_eq!(manual.listener.n_calls(), 2);
    manual.advance(1).await;
    manual.listener.wait_for(3).await;
    manual.assert_idle_after(3).await;
    manual.listener.answer(200);
    manual.end_cycle(CycleOutcome::Ok);
    manual.listener.wait_for(4).await;
    manual.assert_idle_after(4).await;
}

#[tokio::test]
async fn newer_cycle_replaces_a_failed_request() {
    let manual = ManualHeartbeat::new().await;
    manual.listener.answer(503);
    manual.end_cycle(CycleOutcome::Ok);
    manual.advance(1).await;
    manual.end_cycle(CycleOutcome::Ok);
    manual.listener.wait_for(2).await;
    // It has its own two retries.
    manual.advance(5).await;
    manual.listener.wait_for(3).await;
    manual.advance(30).await;
    manual.listener.wait_for(4).await;
    manual.assert_idle_after(4).await;
}

#[tokio::test]
async fn no_retry_after_an_incomplete_cycle() {
    let manual = ManualHeartbeat::new().await;
    manual.listener.answer(503);
    manual.end_cycle(CycleOutcome::Ok);
    manual.advance(1).await;
    manual.end_cycle(CycleOutcome::Partial);
    manual.assert_idle_after(1).await;
}
