//! A made-up organization behind real HTTP, in the guide dialect: for `demo` and for the tests.
//!
//! It is deterministic by its seed, lives by a clock that is an argument, refuses what the API refuses, records every
//! request and can be made to fail in the ways in which servers and proxies fail.

pub mod faults;
pub mod spending;

pub mod world;

pub mod wire;

pub mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::simulator::faults::{Fault, FaultOn};
use crate::simulator::server::{Seen, Shared};
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
        Secret::new(KEY.to_owned())
    }

    /// The world, to look at or to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared
            .world
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails from now on, in this way.
    pub fn fail(&self, on: FaultOn, fault: Fault) {
        lock(&self.shared.faults).push((on, fault));
    }

    /// Works again.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Forgets the requests so far.
    pub fn forget_seen(&self) {
        lock(&self.shared.seen).clear();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
