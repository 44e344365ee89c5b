//! Several steps, one after another: a failure does not keep the others from being done. Ctrl-C and SIGTERM end it after the
//! step that is under way, which is carried out to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::carry::{Carried, Outcome, carry_out};
use crate::admin::office::Office;
use crate::domain::admin::write::Write;

/// Whether somebody has asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Heeds signals from now on, until the process ends. Where that cannot be done they end it at once, as before.
    pub fn on_signal() -> Halt {
        let halt = Halt::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let Ok(mut signals) = signal(kind) else {
                continue;
            };
            let asked = Arc::clone(&halt.0);
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    asked.store(true, Ordering::Relaxed);
                    eprintln!("stopping after the step that is under way");
                }
            });
        }
        halt
    }

    /// Whether no further step is to begin.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a step of several ended; `None` where it was not begun.
pub type StepEnd = Option<Carried>;

/// How all ended together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// All is as it was to be.
    Whole,
    /// Some of it is, or may be.
    InPart,
    Nothing,
}

/// Carries them out in their order. `on_step` is told how many have ended.
pub async fn carry_out_all(
    office: &Office,
    writes: &[Write],
    halt: &Halt,
    on_step: impl Fn(usize),
) -> Vec<StepEnd> {
    let mut ends = Vec::with_capacity(writes.len());
    for write in writes {
        let end = if halt.is_asked() {
            None
        } else {
            Some(carry_out(office, write).await)
        };
        ends.push(end);
        on_step(ends.len());
    }
    ends
}

/// How they ended together.
pub fn sum<'a>(ends: impl Iterator<Item = Option<&'a Outcome>>) -> Sum {
    let (mut n_good, mut n_bad) = (0, 0);
    let mut is_unknown = false;
    for end in ends {
        match end {
            Some(Outcome::Done(_) | Outcome::Stands(_)) => n_good += 1,
            Some(Outcome::Unknown(_)) => is_unknown = true,
            Some(Outcome::NotDone(_)) | None => n_bad += 1,
        }
    }
    match (n_good, n_bad, is_unknown) {
        (_, 0, false) => Sum::Whole,
        (0, _, false) => Sum::Nothing,
        (_, _, _) => Sum::InPart,
    }
}
