//! Rung 5: the long-lived parts, put together once and passed down by reference.

pub mod bells;
pub mod board;
pub mod wiring;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::bells::Bells;
use crate::app::board::Board;
use crate::clock::{Chance, Clock};
use crate::config::source::Environment;
use crate::metrics::counters::Counters;
use crate::store::Store;

/// What lives as long as the daemon.
pub struct App {
    /// Where secrets and single values come from.
    pub environment: Environment,
    /// Ledger, alerts and outbox.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Ids and jitter.
    pub chance: Chance,
    /// What happened.
    pub counters: Arc<Counters>,
    /// Wakes the workers.
    pub bells: Bells,
    /// Given when the newest cycle of every organization was complete; the heartbeat waits for it.
    pub pulse: Notify,
    /// What is shown to the outside.
    pub board: Board,
}
