//! Simulates an organization behind a real HTTP server, in the guide's API or the real Admin API, for `demo` and tests.
//!
//! It is deterministic for a seed, takes its clock as an argument, and rejects what the API rejects. Features, which only tests
//! enable: `platform` is the real Admin API, `changes` is writing in either API, and `faults` injects those of servers and
//! proxies, logs every request, and adds exact usage.

pub mod api_error;

pub mod api;

pub mod world;

pub mod request;

pub mod parameters;

pub mod paging;

pub mod response;

pub mod guide;

#[cfg(feature = "platform")]
pub mod platform;

#[cfg(feature = "changes")]
pub mod changes;

#[cfg(feature = "faults")]
pub mod faults;

pub mod state;

#[cfg(feature = "faults")]
mod control;

pub mod dispatch;

pub mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::state::SimulatorState;
use crate::world::World;
use spendwatch_base::clock::Clock;
use spendwatch_base::lock;
use spendwatch_base::secret::Secret;

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
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
        #[cfg(feature = "faults")]
        self.state.hooks.gate.release();
    }
}
