//! Rung 5: the long-lived parts, put together once and passed down by reference.

pub mod bells;
pub mod board;
pub mod wiring;

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::bells::Bells;
use crate::app::board::Board;
use crate::audit::files::AuditError;
use crate::audit::{AuditLog, Operation};
use crate::clock::{Chance, Clock};
use crate::config::source::Environment;
use crate::metrics::counters::Counters;
use crate::store::Store;

/// What lives as long as the daemon.
pub struct App {
    /// Where secrets and single values come from.
    pub environment: Environment,
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    /// What is done; `None` where nothing is to be left behind.
    pub audit: Option<AuditLog>,
    pub counters: Arc<Counters>,
    pub bells: Bells,
    /// Given when the newest cycle of every organization was complete; the heartbeat waits for it.
    pub pulse: Notify,
    /// What is shown to the outside.
    pub board: Board,
}

impl App {
    /// Does what somebody asks for over HTTP between its intent and its outcome in the audit log, where there is one.
    pub async fn audited<T, E: Display>(
        &self,
        operation: &Operation<'_>,
        done: impl Future<Output = Result<T, E>>,
        judge: impl Fn(&T) -> Option<String>,
    ) -> Result<Result<T, E>, AuditError> {
        match &self.audit {
            Some(audit) => audit.by("http").around(operation, done, judge).await,
            None => Ok(done.await),
        }
    }
}
