//! Executes several steps in sequence. A failed step does not stop the others; Ctrl-C and SIGTERM stop the batch after the
//! step in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::execute::{StepOutcome, StepResult, execute_step};
use crate::admin::session::AdminSession;
use spendwatch_domain::admin::change::AdminChange;

/// Set once the user asks to stop.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Returns a flag that SIGINT and SIGTERM set. If they cannot be handled, they still end the process at once.
    pub fn on_signal() -> StopFlag {
        let stop = StopFlag::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let Ok(mut signals) = signal(kind) else {
                continue;
            };
            let is_set = Arc::clone(&stop.0);
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    is_set.store(true, Ordering::Relaxed);
                    eprintln!("stopping after the current step");
                }
            });
        }
        stop
    }

    /// Returns whether a stop was requested; checked between two steps, never within one.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Result of one step of a batch; `None` if it was not started.
pub type StartedStep = Option<StepResult>;

/// Combined outcome of all steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    Complete,
    /// Some steps took effect, or may have.
    Partial,
    Nothing,
}

/// Executes the changes in order and calls `on_step` with the number of finished steps.
pub async fn execute_all(
    session: &AdminSession,
    changes: &[AdminChange],
    stop: &StopFlag,
    on_step: impl Fn(usize),
) -> Vec<StartedStep> {
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let result = if stop.is_set() {
            None
        } else {
            Some(execute_step(session, change).await)
        };
        results.push(result);
        on_step(results.len());
    }
    results
}

/// Combines the outcomes of steps; `None` is a step that was not started.
pub fn batch_outcome<'a>(outcomes: impl Iterator<Item = Option<&'a StepOutcome>>) -> BatchOutcome {
    let (mut n_good, mut n_bad) = (0, 0);
    let mut is_unknown = false;
    for outcome in outcomes {
        match outcome {
            Some(StepOutcome::Done(_) | StepOutcome::AlreadyDone(_)) => n_good += 1,
            Some(StepOutcome::Unknown(_)) => is_unknown = true,
            Some(StepOutcome::NotDone(_)) | None => n_bad += 1,
        }
    }
    match (n_good, n_bad, is_unknown) {
        (_, 0, false) => BatchOutcome::Complete,
        (0, _, false) => BatchOutcome::Nothing,
        (_, _, _) => BatchOutcome::Partial,
    }
}
