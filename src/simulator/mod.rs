//! A made-up organization behind real HTTP, in the guide dialect or as the real service speaks: for
//! `demo` and for the tests.
//!
//! It is deterministic by its seed, lives by a clock that is an argument, refuses what the API refuses, records every
//! request and can be made to fail in the ways in which servers and proxies fail. Changes are carried out, and stay.

pub mod edit;
pub mod faults;
pub mod journal;
pub mod people;
pub mod spending;

pub mod refusal;
pub mod speech;
pub mod told;

pub mod world;

pub mod exact;
pub mod runaways;

pub mod living;
pub mod scenes;
pub mod wire;

pub mod lines;

pub mod orders;

pub mod buckets;
pub mod charges;
pub mod question;

pub mod dimensions;
pub mod paging;
pub mod sums;

pub mod analytics;
pub mod catalog;
pub mod legacy;

pub mod service;

pub mod guide_orders;
pub mod real_orders;

pub mod changes;

pub mod answers;
pub mod truth;

pub mod reply;
pub mod shared;

pub mod faulty;

pub mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::domain::money::Usd;
use crate::domain::span::HourSpan;
use crate::domain::usage::{Cells, Part, sum};
use crate::secret::Secret;
use crate::simulator::faults::{Fault, FaultOn};
use crate::simulator::journal::Seen;
use crate::simulator::shared::{Shared, lock};
use crate::simulator::world::World;

/// The key that it accepts.
const KEY: &str = "sk-ant-admin-simulated-0123456789";

/// A running server; stops when dropped.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Serves a world on a free port of the loopback address.
    pub async fn start(world: World, clock: Clock) -> io::Result<Simulator> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(world, clock, Secret::new(KEY.to_owned())));
        let routes = server::routes(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Serving ends with the task; an error of the listener ends the simulated server, as it would a real one.
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!("the simulated service stopped: {error}");
            }
        });
        Ok(Simulator {
            address,
            shared,
            task,
        })
    }

    /// Where it listens, without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that it accepts.
    pub fn key(&self) -> Secret {
        let key = lock(&self.shared.key);
        Secret::new(key.expose().to_owned())
    }

    /// Accepts another key from now on, and no more the one before.
    pub fn accept_key(&self, key: &str) {
        *lock(&self.shared.key) = Secret::new(key.to_owned());
    }

    /// Now, by its clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The world, to look at or to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.shared.world);
        world.forget_answers();
        world
    }

    /// The truth as of now: what a part used in some hours, by model, as the API tells it with a full breakdown.
    pub fn truth(&self, part: &Part, hours: HourSpan) -> Cells {
        let now = self.now();
        self.world().truth(part, hours, now)
    }

    /// The truth as of now: what a part spent in some hours.
    pub fn spent(&self, part: &Part, hours: HourSpan) -> Usd {
        sum(&self.truth(part, hours)).spend
    }

    /// Fails from now on, in this way. A request is struck by the first fault that fits.
    pub fn fail(&self, on: FaultOn, fault: Fault) {
        lock(&self.shared.faults).push((on, fault));
    }

    /// Works again. What is silent stays so until it is released.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Lets go on whatever is silent now.
    pub fn release(&self) {
        self.shared.gate.release();
    }

    /// Waits until at least so many answers are silent.
    pub async fn until_silent(&self, n_answers: usize) {
        self.shared.gate.until_waiting(n_answers).await;
    }

    /// Every request so far, at most the newest 200,000.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.journal.seen()
    }

    /// How many requests there were.
    pub fn n_seen(&self) -> u64 {
        self.shared.journal.n_seen()
    }

    /// How many of them were anything but GET.
    pub fn n_not_get(&self) -> u64 {
        self.shared.journal.n_not_get()
    }

    /// Forgets the requests so far.
    pub fn forget_seen(&self) {
        self.shared.journal.forget();
    }

    /// Waits until there were at least so many requests.
    pub async fn until_seen(&self, n_requests: u64) {
        self.shared.journal.until(n_requests).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.gate.release();
    }
}
