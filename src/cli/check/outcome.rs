//! Outcome and exit code of `check`.

use std::process::ExitCode;

/// Outcome over all organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOutcome {
    /// Something is at or above its limit.
    pub is_over: bool,
    /// Something could not be determined.
    pub is_unknown: bool,
}

impl CheckOutcome {
    /// Returns 2 if something is over its limit, whatever else is unknown; otherwise 1 if something is unknown, else 0.
    pub fn exit(self) -> ExitCode {
        match (self.is_over, self.is_unknown) {
            (true, _) => ExitCode::from(2),
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::SUCCESS,
        }
    }
}
