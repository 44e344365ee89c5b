//! A whole cycle of ten thousand workspaces, compared with a bare client that sends the same requests to the same server.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use reqwest::Client;
use spendwatch::cycle::state::Watcher;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_metrics::exposition::Exposition;
use spendwatch_metrics::gauges::Renderer;
use spendwatch_metrics::view::SeriesOptions;
use spendwatch_simulator::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::Extent;
use crate::evaluating;
use crate::harness::{WatcherFixture, at, organization};
use crate::made;
use crate::report::{Goal, Report, Times};

const N_WORKSPACES: usize = 10_000;
/// Latency of a server in another city.
const LATENCY: Duration = Duration::from_millis(10);

pub fn run(report: &mut Report, extent: Extent) {
    let n_rounds = match extent {
        Extent::Quick => 3,
        Extent::Long => 9,
    };
    let runtime = Runtime::new().expect("threads");
    let mut fixture = runtime.block_on(WatcherFixture::new(
        World::realistic(7, N_WORKSPACES, at("2026-10-01T00:00:00Z")),
        "2026-11-24T14:17:00Z",
    ));
    fixture.policy = evaluating::policy();
    let store = fixture.open_store();
    // As after weeks of operation: there is no history to read.
    let before = fixture.now() - SignedDuration::from_mins(5);
    runtime.block_on(made::fill(
        &store,
        &organization(),
        N_WORKSPACES,
        (1, 1),
        before,
    ));
    let slow = runtime.block_on(slow_proxy(fixture.simulator.base_url()));
    for (max_concurrency, line) in [(2, None), (16, None), (16, Some(slow))] {
        fixture.max_concurrency = max_concurrency;
        fixture.asks = line;
        let mut watcher = runtime.block_on(fixture.watcher(&store));
        let mut renderer = Renderer::default();
        let mut rounds = Rounds::default();
        runtime.block_on(round(&fixture, &mut watcher, &mut renderer));
        for _ in 0..n_rounds {
            let (n_requests, cycle, bare) =
                runtime.block_on(round(&fixture, &mut watcher, &mut renderer));
            rounds.n_requests = n_requests;
            rounds.cycles.add(cycle);
            rounds.bare.add(bare);
        }
        rounds.report(report, &fixture);
    }
}

/// Starts a proxy that delays each chunk of a response by [`LATENCY`].
async fn slow_proxy(service: String) -> String {
    let clock = spendwatch_base::clock::Clock::system();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let line = format!("http://{}", listener.local_addr().expect("an address"));
    let service = service.replace("http://", "");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (service, clock) = (service.clone(), clock.clone());
            tokio::spawn(async move {
                let far = TcpStream::connect(&service).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let ((mut asking, mut client_writer), (mut answering, mut asked)) =
                    (near.into_split(), far.into_split());
                let there = tokio::io::copy(&mut asking, &mut asked);
                let back = async {
                    let mut piece = vec![0; 256 * 1024];
                    loop {
                        let n = answering.read(&mut piece).await?;
                        if n == 0 {
                            return Ok(0);
                        }
                        clock.sleep(LATENCY).await;
                        client_writer.write_all(&piece[..n]).await?;
                    }
                };
                tokio::try_join!(there, back)
            });
        }
    });
    line
}

#[derive(Default)]
struct Rounds {
    n_requests: usize,
    cycles: Times,
    bare: Times,
}

impl Rounds {
    fn report(&self, report: &mut Report, fixture: &WatcherFixture) {
        let of = |times: &Times| self.n_requests as f64 / times.median();
        let how = match fixture.asks {
            Some(_) => format!("{} at once, {LATENCY:?} each", fixture.max_concurrency),
            None => format!("{} at once", fixture.max_concurrency),
        };
        report.add(
            &format!("cycle: 10,000 workspaces, {how}: requests a second"),
            of(&self.cycles),
            "/s",
            Goal::None,
        );
        report.add(
            &format!("cycle: a bare client, {how}: requests a second"),
            of(&self.bare),
            "/s",
            Goal::None,
        );
        report.add(
            &format!("cycle: rate of the cycle against the bare client's, {how}"),
            self.bare.median() / self.cycles.median(),
            "×",
            Goal::AtLeast(0.8),
        );
    }
}

/// Runs a cycle one minute later, so that no correction becomes due, then sends the same requests by a bare client.
async fn round(
    fixture: &WatcherFixture,
    watcher: &mut Watcher,
    renderer: &mut Renderer,
) -> (usize, Duration, Duration) {
    fixture.simulator.clear_requests();
    let cycle = timed_cycle(fixture, watcher, renderer).await;
    let seen = fixture.simulator.requests();
    let urls: Vec<String> = seen
        .iter()
        .map(|seen| format!("{}{}", fixture.base_url(), seen.path))
        .collect();
    let bare = replay(fixture, urls).await;
    (seen.len(), cycle, bare)
}

async fn timed_cycle(
    fixture: &WatcherFixture,
    watcher: &mut Watcher,
    renderer: &mut Renderer,
) -> Duration {
    let clock = spendwatch_base::clock::Clock::system();
    let report = fixture.cycle_after(1, watcher).await;
    publish(watcher, renderer);
    let took = clock.monotonic();
    assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
    took
}

async fn replay(fixture: &WatcherFixture, urls: Vec<String>) -> Duration {
    let client = Client::builder().build().expect("a client");
    let key = fixture.simulator.key();
    let fetch = |url: String| {
        let request = client
            .get(url)
            .header("x-api-key", key.expose())
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json");
        async move {
            let answer = request.send().await.expect("an answer");
            answer.bytes().await.expect("a body").len()
        }
    };
    let clock = spendwatch_base::clock::Clock::system();
    let answers = stream::iter(urls)
        .map(fetch)
        .buffer_unordered(fixture.max_concurrency);
    answers.collect::<Vec<usize>>().await;
    clock.monotonic()
}

/// Publishes the gauges as the daemon does after each cycle.
pub fn publish(watcher: &Watcher, renderer: &mut Renderer) {
    let shape = SeriesOptions {
        by_model: true,
        by_api_key: false,
        by_user: None,
        max_series: 200_000,
    };
    let rendered = renderer.render(&watcher.view(), shape, true);
    std::hint::black_box(Exposition::assemble(&[(organization(), rendered)].into()));
}
