//! The dead-man's switch, with a server that is called.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use spendwatch::app::App;
use spendwatch::app::board::Status;
use spendwatch::clock::Clock;
use spendwatch::config::sections;
use spendwatch::config::source::{Environment, SecretSource};
use spendwatch::heartbeat::Heartbeat;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::secret::Secret;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::harness::{Stage, organization};
use crate::program::{Home, Program, get, post_reload, write_secret};

/// Counts its calls and answers as it is told, with what was asked for.
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

    /// Waits until so many calls have come; gives the last of them.
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
async fn it_is_called_after_complete_cycles_alone_and_where_it_fails_the_address_is_not_told() {
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

    simulator.fail(
        FaultOn::usage_of("workspace_a"),
        Fault::Status(400, String::new(), None),
    );
    // A call that is under way has its answer within the second.
    program.wait_for("cycle partial");
    program.wait_for("cycle partial");
    let n_calls = listener.n_calls();
    program.wait_for("cycle partial");
    program.wait_for("cycle partial");
    assert_eq!(listener.n_calls(), n_calls);

    listener.answer(500);
    simulator.heal();
    program.wait_for("the heartbeat failed: answered 500");
    listener.wait_for(n_calls + 3).await;
    assert!(counted("failed").unwrap() >= 2);
    write_secret(&url, "http://127.0.0.1:1/ping/canary-0002");
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    program.wait_for("the heartbeat failed: error sending request");
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
    let (_, said) = program.ended();
    let failures = said.iter().filter(|line| line.contains("heartbeat failed"));
    assert_eq!(failures.count(), 2, "once for each address: {said:?}");
    assert!(!said.join("\n").contains("canary"), "{said:?}");
}

/// A heart that beats by hand, and its clock.
struct Beating {
    stage: Stage,
    app: Arc<App>,
    listener: Listener,
}

impl Beating {
    async fn new() -> Beating {
        let stage = Stage::new(World::empty(), "2026-11-24T12:00:00Z").await;
        let app = Arc::new(stage.app(&stage.open_store()));
        let listener = Listener::start().await;
        let url = Secret::new(format!("{}/canary-0001", listener.url));
        let configured = sections::Heartbeat {
            url: SecretSource::Literal(url),
            allow_http: false,
        };
        let heartbeat = Heartbeat::configured(&configured, &Environment::new())
            .await
            .unwrap();
        let beaten = Arc::clone(&app);
        let stop = CancellationToken::new();
        tokio::spawn(async move { heartbeat.run(&beaten, &stop).await });
        Beating {
            stage,
            app,
            listener,
        }
    }

    fn end_cycle(&self, outcome: CycleOutcome) {
        let status = Status {
            last_cycle: Some((outcome, self.stage.now())),
            ..Status::default()
        };
        self.app.board.note_cycle(&organization(), status);
        self.app.pulse.notify_one();
    }

    /// Time passes while it waits to call again.
    async fn pass(&self, seconds: u64) {
        while self.stage.clock.n_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        self.stage.clock.advance(Duration::from_secs(seconds));
    }

    /// What was done after so many calls was all.
    async fn rests_after(&self, n: usize) {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (self.listener.n_calls(), self.stage.clock.n_waiting()),
            (n, 0)
        );
    }
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_twice() {
    let beating = Beating::new().await;
    beating.listener.answer(503);
    beating.end_cycle(CycleOutcome::Ok);
    beating.listener.wait_for(1).await;
    beating.pass(5).await;
    beating.listener.wait_for(2).await;
    beating.pass(29).await;
    assert_eq!(beating.listener.n_calls(), 2);
    beating.pass(1).await;
    beating.listener.wait_for(3).await;
    beating.rests_after(3).await;
    beating.listener.answer(200);
    beating.end_cycle(CycleOutcome::Ok);
    beating.listener.wait_for(4).await;
    beating.rests_after(4).await;
}

#[tokio::test]
async fn a_newer_call_takes_the_place_of_one_that_failed() {
    let beating = Beating::new().await;
    beating.listener.answer(503);
    beating.end_cycle(CycleOutcome::Ok);
    beating.pass(1).await;
    beating.end_cycle(CycleOutcome::Ok);
    beating.listener.wait_for(2).await;
    // It has its own two.
    beating.pass(5).await;
    beating.listener.wait_for(3).await;
    beating.pass(30).await;
    beating.listener.wait_for(4).await;
    beating.rests_after(4).await;
}

#[tokio::test]
async fn what_is_not_complete_any_more_is_not_told_again() {
    let beating = Beating::new().await;
    beating.listener.answer(503);
    beating.end_cycle(CycleOutcome::Ok);
    beating.pass(1).await;
    beating.end_cycle(CycleOutcome::Partial);
    beating.rests_after(1).await;
}
