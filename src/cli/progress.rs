//! Progress of long commands, on standard error and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::globals::Globals;

/// Redraw interval.
const TICK: Duration = Duration::from_millis(120);

/// Spinner or progress bar.
pub struct CommandProgress(ProgressBar);

impl CommandProgress {
    /// Shows a spinner until [`CommandProgress::finish`].
    pub fn start(globals: &Globals, message: String) -> CommandProgress {
        let bar = if globals.quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        bar.set_message(message);
        bar.enable_steady_tick(TICK);
        CommandProgress(bar)
    }

    /// Shows a progress bar if there is more than one item.
    pub fn with_total(globals: &Globals, what: &'static str, n_total: usize) -> CommandProgress {
        let bar = if globals.quiet || n_total < 2 {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(n_total).unwrap_or(u64::MAX))
        };
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        CommandProgress(bar)
    }

    /// Sets the number of items that are done.
    pub fn set_position(&self, n_done: usize) {
        self.0
            .set_position(u64::try_from(n_done).unwrap_or(u64::MAX));
    }

    /// Replaces the text in front of the bar.
    pub fn set_message(&self, message: String) {
        self.0.set_message(message);
    }

    /// Removes it from the terminal.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}
