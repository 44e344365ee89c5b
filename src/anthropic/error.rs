//! Why something could not be fetched, with the place: organization, endpoint, page.

use std::fmt;

use crate::domain::ids::OrganizationName;

/// Why a request gave nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("organization `{organization}`, {endpoint}, page {page}: {problem}")]
pub struct FetchError {
    /// Whose.
    pub organization: OrganizationName,
    /// Which call.
    pub endpoint: &'static str,
    /// Counted from 1.
    pub page: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl FetchError {
    /// Whether the service refuses the key.
    pub fn is_refused(&self) -> bool {
        matches!(self.problem, Problem::Refused { .. })
    }

    /// Whether the service does not know what was asked for, so that the list of workspaces should be read again.
    pub fn is_unknown_id(&self) -> bool {
        matches!(
            self.problem,
            Problem::Status {
                status: 400 | 404,
                ..
            }
        )
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// 401 or 403.
    Refused {
        /// Which of both.
        status: u16,
        /// What the service says, and a hint.
        message: String,
    },
    /// Any other answer but 200.
    Status {
        /// The status.
        status: u16,
        /// What the service says.
        message: String,
    },
    /// No whole answer within the time.
    TimedOut,
    /// No connection, or one that broke.
    Network(String),
    /// The body is beyond the cap, in bytes.
    TooLarge(u64),
    /// The answer cannot be understood or contradicts itself or the request.
    Faulty(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Refused { status, message } => {
                write!(f, "the key is refused ({status}): {message}")
            }
            Problem::Status { status, message } => write!(f, "status {status}: {message}"),
            Problem::TimedOut => f.write_str("no whole answer in time"),
            Problem::Network(message) => write!(f, "network: {message}"),
            Problem::TooLarge(cap) => write!(f, "the answer is larger than {cap} bytes"),
            Problem::Faulty(what) => write!(f, "faulty answer: {what}"),
        }
    }
}
