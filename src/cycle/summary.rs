//! Outcome and errors of a cycle.

use spendwatch_domain::figures::statement::StatementMismatch;
use spendwatch_domain::units::skew::ClockProblem;
use spendwatch_metrics::counters::CycleOutcome;

/// Outcome of a cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct CycleSummary {
    pub outcome: CycleOutcome,
    /// Failed requests, each with its location.
    pub errors: Vec<String>,
    /// Unreadable figures, each with its location; each is logged once.
    pub unreadable: Vec<String>,
    /// Figures still unreadable from earlier cycles, and unreadable rows of lists; logged once as well.
    pub remarks: Vec<String>,
    pub n_parts: usize,
    /// Parts that are known up to this cycle.
    pub n_fresh: usize,
    pub n_messages: usize,
    pub is_refused: bool,
    /// Set if Anthropic states another sum for this month.
    pub difference: Option<StatementMismatch>,
    /// Why nothing, or only a part, was decided and stored.
    pub clock: Option<ClockProblem>,
}

/// Errors of a cycle.
#[derive(Debug, Default)]
pub struct CycleErrors {
    /// Each with its location, up to a maximum number.
    pub lines: Vec<String>,
    /// Unreadable figures, up to a maximum number.
    pub unreadable: Vec<String>,
    pub is_refused: bool,
    /// The server rejected an endpoint as unknown or forbidden.
    pub is_dialect_refused: bool,
}

/// Maximum number of errors kept per cycle.
const MAX_LINES: usize = 20;

impl CycleErrors {
    /// Adds an error with its location. Ignores those above the maximum.
    pub fn note(&mut self, line: String) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    /// Adds an unreadable figure. Ignores those above the maximum.
    pub fn note_unreadable(&mut self, line: String) {
        if self.unreadable.len() < MAX_LINES {
            self.unreadable.push(line);
        }
    }

    /// Adds the rejection of the key.
    pub fn add_key_rejection(&mut self, line: String) {
        self.is_refused = true;
        self.note(line);
    }
}
