//! The ways in which servers and proxies fail.

/// Where a fault strikes: the call and, for usage, the workspace; `None` is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultOn {
    /// `organizations`, `workspaces`, `usage`.
    pub endpoint: Option<&'static str>,
    /// A workspace's id; the whole is `""`.
    pub workspace: Option<String>,
    /// So many requests are struck; `None` is until it is healed.
    pub times: Option<usize>,
}

impl FaultOn {
    /// Every request.
    pub fn everything() -> FaultOn {
        FaultOn::default()
    }

    /// Every request of one call.
    pub fn endpoint(endpoint: &'static str) -> FaultOn {
        FaultOn {
            endpoint: Some(endpoint),
            ..FaultOn::default()
        }
    }

    /// Usage of one workspace; `""` is the whole.
    pub fn usage_of(workspace: &str) -> FaultOn {
        FaultOn {
            endpoint: Some("usage"),
            workspace: Some(workspace.to_owned()),
            times: None,
        }
    }

    /// Strikes only so often.
    #[must_use]
    pub fn times(self, times: usize) -> FaultOn {
        FaultOn {
            times: Some(times),
            ..self
        }
    }
}

/// What happens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status and body, with a `retry-after` where one is given.
    Status(u16, String, Option<String>),
    /// 200 with this body.
    Body(String),
    /// The right answer, cut in half, and then the connection closes.
    CutOff,
    /// A body that never ends.
    Endless,
    /// Headers, and then nothing.
    Stall,
    /// A redirect.
    Redirect,
    /// `has_more` for ever, with new ids.
    EndlessPages,
    /// `has_more` on a page without rows.
    EmptyPage,
    /// Every page is the first one.
    SamePage,
}
