//! Time from opening the store to the first snapshot, with a ledger of a million buckets.

use spendwatch::cycle::state::Watcher;
use spendwatch_metrics::gauges::Renderer;
use spendwatch_simulator::world::World;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::cycling;
use crate::evaluating;
use crate::harness::{WatcherFixture, organization};
use crate::made;
use crate::report::{Goal, Report, Times, timed};

/// Workspaces, days of hours, and days; each about a million buckets of three models.
const SHAPES: [(usize, i32, i32); 2] = [(760, 14, 100), (10_000, 1, 10)];

pub fn run(report: &mut Report, _: Extent) {
    let runtime = Runtime::new().expect("threads");
    for (n_workspaces, n_hourly_days, n_days) in SHAPES {
        let mut fixture =
            runtime.block_on(WatcherFixture::new(World::empty(), "2026-11-24T14:20:00Z"));
        fixture.policy = evaluating::policy();
        let store = fixture.open_store();
        let days = (n_hourly_days, n_days);
        let n_buckets = runtime.block_on(made::fill(
            &store,
            &organization(),
            n_workspaces,
            days,
            fixture.now(),
        ));
        drop(store);
        let mut times = Times::default();
        for _ in 0..3 {
            times.add(timed(|| runtime.block_on(start(&fixture))).0);
        }
        report.add(
            &format!("starting: {n_buckets} buckets of {n_workspaces} workspaces, until the first snapshot"),
            times.median(),
            "s",
            Goal::AtMost(3.0),
        );
    }
}

/// Starts as the daemon does until the first gauges, with ten rules.
async fn start(fixture: &WatcherFixture) -> Watcher {
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    watcher.decide_and_commit().await.expect("a store");
    cycling::publish(&watcher, &mut Renderer::default());
    watcher
}
