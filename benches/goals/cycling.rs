//! A whole cycle of ten thousand workspaces, against a bare client that makes the same requests of the same service.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use reqwest::Client;
use spendwatch::cycle::state::Watcher;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::metrics::exposition::Exposition;
use spendwatch::metrics::gauges::Renderer;
use spendwatch::metrics::view::Shape;
use spendwatch::simulator::world::World;
use tokio::runtime::Runtime;

use crate::harness::{Stage, at, organization};
use crate::report::{Goal, Report, Times};
use crate::{Extent, evaluating, made};

const N_WORKSPACES: usize = 10_000;

pub fn run(report: &mut Report, extent: Extent) {
    let n_rounds = match extent {
        Extent::Quick => 3,
        Extent::Long => 9,
    };
    let runtime = Runtime::new().expect("threads");
    let mut stage = runtime.block_on(Stage::new(
        World::realistic(7, N_WORKSPACES, at("2026-10-01T00:00:00Z")),
        "2026-11-24T14:17:00Z",
    ));
    stage.policy = evaluating::policy();
    let store = stage.open_store();
    // As after weeks: there is no history to be read.
    let before = stage.now() - SignedDuration::from_mins(5);
    runtime.block_on(made::fill(
        &store,
        &organization(),
        N_WORKSPACES,
        (1, 1),
        before,
    ));
    for max_concurrency in [2, 16] {
        stage.max_concurrency = max_concurrency;
        let mut watcher = runtime.block_on(stage.watcher(&store));
        let mut renderer = Renderer::default();
        let mut rounds = Rounds::default();
        runtime.block_on(round(&stage, &mut watcher, &mut renderer));
        for _ in 0..n_rounds {
            let (n_requests, cycle, bare) =
                runtime.block_on(round(&stage, &mut watcher, &mut renderer));
            rounds.n_requests = n_requests;
            rounds.cycles.add(cycle);
            rounds.bare.add(bare);
        }
        rounds.tell(report, max_concurrency);
    }
}

#[derive(Default)]
struct Rounds {
    n_requests: usize,
    cycles: Times,
    bare: Times,
}

impl Rounds {
    fn tell(&self, report: &mut Report, max_concurrency: usize) {
        let of = |times: &Times| self.n_requests as f64 / times.median();
        report.tell(
            &format!("cycle: 10,000 workspaces, {max_concurrency} at once: requests a second"),
            of(&self.cycles),
            "/s",
            Goal::None,
        );
        report.tell(
            &format!("cycle: a bare client, {max_concurrency} at once: requests a second"),
            of(&self.bare),
            "/s",
            Goal::None,
        );
        report.tell(
            &format!(
                "cycle: rate of the cycle against the bare client's, {max_concurrency} at once"
            ),
            self.bare.median() / self.cycles.median(),
            "×",
            Goal::AtLeast(0.8),
        );
    }
}

/// Five minutes later: a cycle with everything that belongs to it, then the same requests once more, by a bare client.
async fn round(
    stage: &Stage,
    watcher: &mut Watcher,
    renderer: &mut Renderer,
) -> (usize, Duration, Duration) {
    stage.simulator.forget_seen();
    let cycle = timed_cycle(stage, watcher, renderer).await;
    let seen = stage.simulator.seen();
    let urls: Vec<String> = seen
        .iter()
        .map(|seen| format!("{}{}", stage.simulator.base_url(), seen.path))
        .collect();
    let bare = replay(stage, urls).await;
    (seen.len(), cycle, bare)
}

async fn timed_cycle(stage: &Stage, watcher: &mut Watcher, renderer: &mut Renderer) -> Duration {
    let clock = spendwatch::clock::Clock::system();
    let report = stage.cycle_after(5, watcher).await;
    publish(watcher, renderer);
    let took = clock.running();
    assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
    took
}

async fn replay(stage: &Stage, urls: Vec<String>) -> Duration {
    let client = Client::builder().build().expect("a client");
    let key = stage.simulator.key();
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
    let clock = spendwatch::clock::Clock::system();
    let answers = stream::iter(urls)
        .map(fetch)
        .buffer_unordered(stage.max_concurrency);
    answers.collect::<Vec<usize>>().await;
    clock.running()
}

/// As the daemon does after each cycle.
pub fn publish(watcher: &Watcher, renderer: &mut Renderer) {
    let shape = Shape {
        by_model: true,
        max_series: 200_000,
    };
    let rendered = renderer.render(&watcher.view(), shape, true);
    std::hint::black_box(Exposition::assemble(&[(organization(), rendered)].into()));
}
