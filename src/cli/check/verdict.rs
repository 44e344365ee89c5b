//! How `check` ends.

use std::process::ExitCode;

/// What was found, over all organizations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Something is at or above its limit.
    pub is_over: bool,
    /// Something could not be told.
    pub is_unknown: bool,
}

impl Verdict {
    /// 2 over, 0 quiet, 1 where that cannot be told. What is over is over, whatever else is unknown; what is unknown is
    /// never quiet.
    pub fn exit(self) -> ExitCode {
        match (self.is_over, self.is_unknown) {
            (true, _) => ExitCode::from(2),
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::SUCCESS,
        }
    }
}
