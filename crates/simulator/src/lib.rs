//! Simulates an organization behind a real HTTP server, in the guide's API or the real Admin API, for `demo` and tests.
//!
//! It is deterministic for a seed, takes its clock as an argument, rejects what the API rejects, logs every request, and can
//! inject the faults of servers and proxies. Changes take effect and persist.

pub mod directory;

pub mod edit;

pub mod faults;

pub mod request_log;

pub mod spending;

pub mod api_error;

pub mod api;

pub mod lazy_rows;

pub mod world;

pub mod exact_usage;

pub mod runaways;

pub mod presets;

pub mod usage;

pub mod wire;

pub mod usage_records;

pub mod change_request;

pub mod buckets;

pub mod charges;

pub mod query;

pub mod dimensions;

pub mod paging;

pub mod sums;

pub mod analytics;

pub mod legacy;

pub mod lists;

pub mod real_api;

pub mod guide_changes;

pub mod real_changes;

pub mod changes;

pub mod guide_api;

pub mod truth;

pub mod response;

pub mod state;

pub mod fault_responses;

pub mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::{FaultTarget, ServerFault};
use crate::request_log::LoggedRequest;
use crate::state::{SimulatorState, lock};
use crate::world::World;
use spendwatch_base::clock::Clock;
use spendwatch_base::secret::Secret;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::bucket::{Part, UsageByKey, sum};

const DEFAULT_KEY: &str = "sk-ant-admin-simulated-0123456789";

/// Running simulated server; stops when dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<SimulatorState>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Serves a world on a free loopback port.
    pub async fn start(world: World, clock: Clock) -> io::Result<Simulator> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(SimulatorState::new(
            world,
            clock,
            Secret::new(DEFAULT_KEY.to_owned()),
        ));
        let routes = server::routes(Arc::clone(&state));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!("the simulated server stopped: {error}");
            }
        });
        Ok(Simulator {
            address,
            state,
            task,
        })
    }

    /// Returns the base URL, without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the accepted admin key.
    pub fn key(&self) -> Secret {
        let key = lock(&self.state.key);
        Secret::new(key.expose().to_owned())
    }

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
        lock(&self.state.faults).push((target, fault));
    }

    /// Removes all faults. Stalled responses stay stalled until they are released.
    pub fn clear_faults(&self) {
        lock(&self.state.faults).clear();
    }

    /// Continues all responses that are stalled now.
    pub fn release_stalled(&self) {
        self.state.gate.release();
    }

    /// Waits until at least this many responses are stalled.
    pub async fn wait_until_stalled(&self, n_responses: usize) {
        self.state.gate.wait_for_waiting(n_responses).await;
    }

    /// Returns the logged requests, oldest first; at most the newest 200,000.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state.log.requests()
    }

    /// Returns the number of requests.
    pub fn n_requests(&self) -> u64 {
        self.state.log.n_requests()
    }

    /// Returns the number of requests other than GET.
    pub fn n_writes(&self) -> u64 {
        self.state.log.n_writes()
    }

    /// Clears the request log.
    pub fn clear_requests(&self) {
        self.state.log.clear();
    }

    /// Waits for at least this many requests.
    pub async fn wait_for_requests(&self, n_requests: u64) {
        self.state.log.wait_for(n_requests).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
        self.state.gate.release();
    }
}
