//! The loop: cycles on their schedule, delivery in between, and an end by signal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::cycle::state::Watcher;
use crate::delivery::{LONGEST_SLEEP, Worker};
use crate::domain::schedule::{Due, Schedule, due};
use crate::metrics::counters::Counters;
use crate::store::error::StoreError;

/// How long a cycle may take where the schedule has no later slot.
const LAST_CYCLE: Duration = Duration::from_mins(5);

/// Runs until a signal comes. A cycle that is under way is dropped at a point where nothing is half done.
pub async fn run(
    mut watcher: Watcher,
    workers: Vec<Worker>,
    schedule: &Schedule,
    clock: &Clock,
    counters: &Arc<Counters>,
) -> anyhow::Result<()> {
    tokio::select! {
        result = go_on(&mut watcher, &workers, schedule, clock, counters) => Ok(result?),
        signal = ended_by_signal() => Ok(signal?),
    }
}

async fn go_on(
    watcher: &mut Watcher,
    workers: &[Worker],
    schedule: &Schedule,
    clock: &Clock,
    counters: &Counters,
) -> Result<(), StoreError> {
    loop {
        let now = clock.now();
        if let Due::Now(slot) = due(schedule, watcher.engine.last_cycle, now) {
            let length = time_left(schedule, slot, now);
            let report = watcher.cycle(slot, clock.running() + length).await?;
            for line in &report.troubles {
                tracing::warn!(organization.name = %watcher.settings.organization, "{line}");
            }
            tracing::info!(
                organization.name = %watcher.settings.organization,
                "cycle {}: {} of {} read, {} messages",
                report.outcome.as_str(), report.n_fresh, report.n_parts, report.n_messages
            );
        }
        for worker in workers {
            worker.run_due(counters).await?;
        }
        clock
            .sleep(pause(schedule, watcher.engine.last_cycle, clock.now()))
            .await;
    }
}

/// Until the slot after the one that is run.
fn time_left(schedule: &Schedule, slot: Timestamp, now: Timestamp) -> Duration {
    let left = schedule
        .next_after(slot.max(now))
        .map(|next| next.duration_since(now));
    left.and_then(|left| Duration::try_from(left).ok())
        .unwrap_or(LAST_CYCLE)
}

/// Until the next slot, but at most a second while messages may become due.
fn pause(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = match due(schedule, last, now) {
        Due::Now(_) => SignedDuration::ZERO,
        Due::At(at) => at
            .duration_since(now)
            .min(LONGEST_SLEEP)
            .min(SignedDuration::from_secs(1)),
        Due::Never => SignedDuration::from_secs(1),
    };
    Duration::try_from(left).unwrap_or_default()
}

/// Ctrl-C, or SIGTERM where there is such a thing.
async fn ended_by_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminated.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
