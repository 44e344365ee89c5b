//! A cycle's commits: where every workspace used something, and where one in a hundred did.

use jiff::{SignedDuration, Timestamp};
use spendwatch::domain::change::{Kind, Recorded, RowChange};
use spendwatch::domain::coverage::{Behind, Coverage, Polled};
use spendwatch::domain::span::Hour;
use spendwatch::domain::usage::Part;
use spendwatch::store::Store;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::harness::{at, organization};
use crate::made;
use crate::report::{Goal, Report, Times, timed};

const N_WORKSPACES: usize = 10_000;
/// Answers in one transaction, as the cycle has them at most.
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
    report.tell(
        "writing a cycle of 10,000 workspaces in which all changed",
        all.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.tell(
        "writing a cycle in which 1 % changed",
        few.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.tell(
        "writing a cycle in which nothing changed but the time",
        none.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.tell(
        "writing: 1 % changed, against all changed",
        few.median() / all.median(),
        "×",
        Goal::None,
    );
}

/// What a cycle records, in batches; every so manieth workspace used something, the others are not written.
fn cycle(step: usize, at: Timestamp) -> Vec<Vec<(Part, Recorded)>> {
    let hour = Hour::of(at);
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

/// Everyone was known up to the poll before, and is known up to this one.
fn polled(at: Timestamp) -> Polled {
    Polled {
        at,
        caught_up: Vec::new(),
        fell_behind: Behind::new(),
    }
}

/// The open hour's amounts grow from poll to poll.
fn changed(place: usize, hour: Hour, coverage: Coverage, at: Timestamp) -> Recorded {
    let minute = at.as_second() / 60;
    let mut deltas = made::deltas(place, hour);
    for delta in &mut deltas {
        delta.amounts.requests += minute;
    }
    let rows = deltas.iter().map(|delta| RowChange {
        kind: Kind::Hour,
        hour,
        cell: delta.cell.clone(),
        amounts: delta.amounts,
    });
    Recorded {
        is_coverage_changed: false,
        ..made::recorded(rows.collect(), deltas.clone(), coverage)
    }
}
