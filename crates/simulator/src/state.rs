//! State shared by the server and the `Simulator`: world, faults, request log and stalled responses.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::faults::{FaultTarget, ServerFault};
use crate::request_log::RequestLog;
use crate::world::World;
use spendwatch_base::clock::Clock;
use spendwatch_base::secret::Secret;

/// Window of the server's rate limit.
const MINUTE: Duration = Duration::from_mins(1);

/// State shared by all requests.
pub struct SimulatorState {
    pub world: Mutex<World>,
    pub faults: Mutex<Vec<(FaultTarget, ServerFault)>>,
    pub log: RequestLog,
    pub gate: Gate,
    pub clock: Clock,
    pub key: Mutex<Secret>,
    /// Monotonic times of the requests admitted in the last minute.
    admitted: Mutex<VecDeque<Duration>>,
}

impl SimulatorState {
    /// Creates the state without faults and requests.
    pub fn new(world: World, clock: Clock, key: Secret) -> SimulatorState {
        SimulatorState {
            world: Mutex::new(world),
            faults: Mutex::default(),
            log: RequestLog::default(),
            gate: Gate::default(),
            clock,
            key: Mutex::new(key),
            admitted: Mutex::default(),
        }
    }

    /// Counts a request against the rate limit; returns the seconds to wait if it is exceeded.
    pub fn check_rate_limit(&self, limit: Option<u32>) -> Result<(), u64> {
        let Some(limit) = limit else {
            return Ok(());
        };
        let now = self.clock.monotonic();
        let mut admitted = lock(&self.admitted);
        while admitted.front().is_some_and(|at| *at + MINUTE <= now) {
            admitted.pop_front();
        }
        if admitted.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            admitted.push_back(now);
            return Ok(());
        }
        let free_at = admitted.front().map_or(now + MINUTE, |at| *at + MINUTE);
        // Rounded up, so that a retry after this time succeeds.
        let seconds = (free_at - now).as_millis().div_ceil(1000);
        Err(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    /// Returns the server's time as an HTTP date.
    pub fn date(&self) -> String {
        let skew = lock(&self.world).clock_skew;
        let now = self.clock.now();
        httpdate::fmt_http_date(SystemTime::from(now.checked_add(skew).unwrap_or(now)))
    }
}

/// Holds stalled responses until all of them are released.
#[derive(Debug, Default)]
pub struct Gate {
    n_releases: watch::Sender<u64>,
    n_waiting: watch::Sender<usize>,
}

impl Gate {
    /// Releases all responses that wait now.
    pub fn release(&self) {
        self.n_releases.send_modify(|n| *n += 1);
    }

    /// Waits until at least this many responses wait.
    pub async fn wait_for_waiting(&self, n_responses: usize) {
        let mut waiting = self.n_waiting.subscribe();
        // The sender is a field of `self`, so the channel stays open.
        let _ = waiting.wait_for(|n| *n >= n_responses).await;
    }

    /// Waits for the next release.
    pub async fn wait(&self) {
        let mut releases = self.n_releases.subscribe();
        self.n_waiting.send_modify(|n| *n += 1);
        let _guard = WaitingGuard(self);
        // The sender is a field of `self`.
        let _ = releases.changed().await;
    }
}

/// Decrements the number of waiting responses, even if the client has disconnected.
struct WaitingGuard<'a>(&'a Gate);

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.n_waiting.send_modify(|n| *n -= 1);
    }
}

/// Locks a mutex, ignoring poisoning.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
