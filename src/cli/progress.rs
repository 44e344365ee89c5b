//! That something long goes on: on standard error, and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

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

    /// One of so many things after another: a bar that fills.
    pub fn count(globals: &Globals, what: &'static str, n_all: usize) -> Progress {
        let bar = if globals.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(n_all).unwrap_or(u64::MAX))
        };
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    /// How far it is.
    pub fn at(&self, n_done: usize) {
        self.0
            .set_position(u64::try_from(n_done).unwrap_or(u64::MAX));
    }

    /// What is going on now.
    pub fn say(&self, what: String) {
        self.0.set_message(what);
    }

    /// Takes it away.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}
