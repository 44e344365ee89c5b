//! How the server speaks, and what it lets be asked.

use crate::simulator::refusal::Refusal;

/// What a request says beside its query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// `anthropic-version`.
    pub version: String,
    /// `anthropic-beta`, one by one.
    pub betas: Vec<String>,
    /// Of a path with a workspace in it.
    pub workspace: Option<String>,
}

impl Head {
    /// Whether a beta is named.
    pub fn has(&self, beta: &str) -> bool {
        self.betas.iter().any(|named| named == beta)
    }
}

/// Who may ask something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    #[default]
    Open,
    /// 403.
    Forbidden,
    /// 404.
    Absent,
}

impl Access {
    /// Refuses where it is not open.
    pub fn check(self) -> Result<(), Refusal> {
        match self {
            Access::Open => Ok(()),
            Access::Forbidden => Err(Refusal {
                status: 403,
                kind: "permission_error",
                ..Refusal::bad("this key may not read it")
            }),
            Access::Absent => Err(Refusal::not_found("not enabled")),
        }
    }
}

/// What the real service lets be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Real {
    pub analytics: Access,
    pub reports: Access,
    pub spend_limits: Access,
    /// The newer reports do not say up to when they are complete.
    pub hides_watermark: bool,
}

/// How the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    #[default]
    Guide,
    /// As the real service does.
    Real(Real),
}
