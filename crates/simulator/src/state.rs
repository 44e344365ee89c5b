//! State shared by the server and the `Simulator`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

#[cfg(feature = "faults")]
use crate::faults::TestHooks;
use crate::world::World;
use spendwatch_base::clock::Clock;
use spendwatch_base::lock;
use spendwatch_base::secret::Secret;

/// Window of the server's rate limit.
const MINUTE: Duration = Duration::from_mins(1);

/// State shared by all requests.
pub struct SimulatorState {
    pub world: Mutex<World>,
    pub clock: Clock,
    pub key: Mutex<Secret>,
    #[cfg(feature = "faults")]
    pub hooks: TestHooks,
    n_requests: AtomicU64,
    /// Monotonic times of the requests admitted in the last minute.
    admitted: Mutex<VecDeque<Duration>>,
}

impl SimulatorState {
    /// Creates the state of a server without requests.
    pub fn new(world: World, clock: Clock, key: Secret) -> SimulatorState {
        SimulatorState {
            world: Mutex::new(world),
            clock,
            key: Mutex::new(key),
            #[cfg(feature = "faults")]
            hooks: TestHooks::default(),
            n_requests: AtomicU64::new(0),
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

    /// Counts a request; returns its number, starting at 1.
    pub fn next_number(&self) -> u64 {
        self.n_requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the server's time as an HTTP date.
    pub fn date(&self) -> String {
        let skew = lock(&self.world).clock_skew;
        let now = self.clock.now();
        httpdate::fmt_http_date(SystemTime::from(now.checked_add(skew).unwrap_or(now)))
    }
}
