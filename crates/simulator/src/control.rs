//! What tests ask of a running simulator and change in it.

use std::sync::MutexGuard;

use jiff::Timestamp;

use crate::Simulator;
use crate::faults::request_log::LoggedRequest;
use crate::faults::{FaultTarget, ServerFault};
use crate::world::World;
use spendwatch_base::lock;
use spendwatch_base::secret::Secret;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::bucket::{Part, UsageByKey, sum};

impl Simulator {
    /// Replaces the accepted admin key.
    pub fn accept_key(&self, key: &str) {
        *lock(&self.state.key) = Secret::new(key.to_owned());
    }

    /// Returns the time of the simulator's clock.
    pub fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    /// Returns the world, to read or change it.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.state.world);
        world.clear_cached_reports();
        world
    }

    /// Returns the true usage of a part up to now, by model, as the API reports it with a full breakdown.
    pub fn truth(&self, part: &Part, hours: HourSpan) -> UsageByKey {
        let now = self.now();
        self.world().truth(part, hours, now)
    }

    /// Returns the true spend of a part up to now.
    pub fn spent(&self, part: &Part, hours: HourSpan) -> Usd {
        sum(&self.truth(part, hours)).spend
    }

    /// Injects a fault. Each request is affected by the first fault that matches it.
    pub fn inject_fault(&self, target: FaultTarget, fault: ServerFault) {
        lock(&self.state.hooks.faults).push((target, fault));
    }

    /// Removes all faults. Stalled responses stay stalled until they are released.
    pub fn clear_faults(&self) {
        lock(&self.state.hooks.faults).clear();
    }

    /// Continues all responses that are stalled now.
    pub fn release_stalled(&self) {
        self.state.hooks.gate.release();
    }

    /// Waits until at least this many responses are stalled.
    pub async fn wait_until_stalled(&self, n_responses: usize) {
        self.state.hooks.gate.wait_for_waiting(n_responses).await;
    }

    /// Returns the logged requests, oldest first; at most the newest 200,000.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state.hooks.log.requests()
    }

    /// Returns the number of requests.
    pub fn n_requests(&self) -> u64 {
        self.state.hooks.log.n_requests()
    }

    /// Returns the number of requests other than GET.
    pub fn n_writes(&self) -> u64 {
        self.state.hooks.log.n_writes()
    }

    /// Clears the request log.
    pub fn clear_requests(&self) {
        self.state.hooks.log.clear();
    }

    /// Waits for at least this many requests.
    pub async fn wait_for_requests(&self, n_requests: u64) {
        self.state.hooks.log.wait_for(n_requests).await;
    }
}
