//! The long-lived parts, wired once and passed by reference.

pub mod published;
pub mod wakeups;
pub mod wiring;

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::published::PublishedState;
use crate::app::wakeups::Wakeups;
use spendwatch_audit::files::AuditError;
use spendwatch_audit::{AuditLog, Operation};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::source::Environment;
use spendwatch_metrics::counters::Counters;
use spendwatch_store::Store;

/// Parts that live as long as the daemon.
pub struct App {
    pub environment: Environment,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    /// `None` if no file may be written, as in the demo.
    pub audit: Option<AuditLog>,
    pub counters: Arc<Counters>,
    pub wakeups: Wakeups,
    /// Notified when the newest cycle of every organization is complete; the heartbeat waits for it.
    pub cycle_completed: Notify,
    pub published: PublishedState,
}

impl App {
    /// Runs an operation requested over HTTP, with its intent and outcome in the audit log if there is one.
    pub async fn audited<T, E: Display>(
        &self,
        operation: &Operation<'_>,
        done: impl Future<Output = Result<T, E>>,
        judge: impl Fn(&T) -> Option<String>,
    ) -> Result<Result<T, E>, AuditError> {
        match &self.audit {
            Some(audit) => {
                audit
                    .with_actor("http")
                    .audited(operation, done, judge)
                    .await
            }
            None => Ok(done.await),
        }
    }
}
