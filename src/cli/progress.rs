//! That something long goes on: on standard error, and only on a terminal.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::globals::Globals;

/// How often it moves.
const TICK: Duration = Duration::from_millis(120);

/// One long thing.
pub struct Progress(ProgressBar);

impl Progress {
    /// Says what is going on, until [`Progress::end`].
    pub fn begin(globals: &Globals, what: String) -> Progress {
        let bar = if globals.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    /// Takes it away.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}
