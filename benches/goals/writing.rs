//! Commits of a cycle in which every workspace, or one in a hundred, has new usage.

use jiff::{SignedDuration, Timestamp};
use spendwatch_domain::ledger::change::{PartChanges, RowChange, RowKind};
use spendwatch_domain::ledger::coverage::{Coverage, StaleChange, StaleParts};
use spendwatch_domain::units::span::Hour;
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::Store;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::harness::{at, organization};
use crate::made;
use crate::report::{Goal, Report, Times, timed};

const N_WORKSPACES: usize = 10_000;
/// Responses per transaction, the maximum of a cycle.
const BATCH: usize = 256;

pub fn run(report: &mut Report, _: Extent) {
    let runtime = Runtime::new().expect("threads");
    let folder = tempfile::tempdir().expect("a folder");
    let organization = organization();
    let mut at = at("2026-11-24T12:00:00Z");
    let store = Store::open_for_daemon(&folder.path().join("spendwatch.db"), at).expect("a store");
    let filled = made::fill(&store, &organization, N_WORKSPACES, (1, 1), at);
    runtime.block_on(filled);
    let (mut all, mut few, mut none) = (Times::default(), Times::default(), Times::default());
    for _ in 0..5 {
        for (times, step) in [(&mut all, 1), (&mut few, 100), (&mut none, usize::MAX)] {
            at += SignedDuration::from_mins(5);
            let batches = cycle(step, at);
            let (took, ()) = timed(|| {
                runtime.block_on(async {
                    for changes in batches.into_iter().filter(|batch| !batch.is_empty()) {
                        let done = store.record(&organization, changes, Vec::new());
                        done.await.expect("a store");
                    }
                    let done = store.note_polled(&organization, polled(at));
                    done.await.expect("a store");
                });
            });
            times.add(took);
        }
    }
    report.add(
        "writing a cycle of 10,000 workspaces in which all changed",
        all.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.add(
        "writing a cycle in which 1% changed",
        few.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.add(
        "writing a cycle in which nothing changed but the time",
        none.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.add(
        "writing: 1% changed, compared with all changed",
        few.median() / all.median(),
        "×",
        Goal::None,
    );
}

/// Returns the changes of a cycle, in batches: usage of every `step`-th workspace.
fn cycle(step: usize, at: Timestamp) -> Vec<Vec<(Part, PartChanges)>> {
    let hour = Hour::containing(at);
    let places: Vec<usize> = (0..N_WORKSPACES).collect();
    let used = |place: &&usize| **place % step == 1 % step;
    let of_one = |place: &usize| {
        let read = made::coverage(at, 1, 1);
        (made::part(*place), changed(*place, hour, read, at))
    };
    let batches = places.chunks(BATCH);
    batches
        .map(|batch| batch.iter().filter(used).map(of_one).collect())
        .collect()
}

/// Returns the change when all parts were known up to the previous poll and are known up to this one.
fn polled(at: Timestamp) -> StaleChange {
    StaleChange {
        at,
        recovered: Vec::new(),
        newly_stale: StaleParts::new(),
    }
}

/// Returns changes in which the open hour's amounts grow from poll to poll.
fn changed(place: usize, hour: Hour, coverage: Coverage, at: Timestamp) -> PartChanges {
    let minute = at.as_second() / 60;
    let mut deltas = made::deltas(place, hour);
    for delta in &mut deltas {
        delta.amounts.requests += minute;
    }
    let rows = deltas.iter().map(|delta| RowChange {
        kind: RowKind::Hour,
        hour,
        usage_key: delta.usage_key.clone(),
        amounts: delta.amounts,
    });
    PartChanges {
        is_coverage_changed: false,
        ..made::recorded(rows.collect(), deltas.clone(), coverage)
    }
}
