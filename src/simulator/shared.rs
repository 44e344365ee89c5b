//! What the server and its owner share: the world, what goes wrong, what was asked, and what waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::secret::Secret;
use crate::simulator::faults::{Fault, FaultOn};
use crate::simulator::journal::Journal;
use crate::simulator::world::World;

/// The span over which the server's own limit counts.
const MINUTE: Duration = Duration::from_mins(1);

/// What all requests share.
pub struct Shared {
    pub world: Mutex<World>,
    pub faults: Mutex<Vec<(FaultOn, Fault)>>,
    pub journal: Journal,
    pub gate: Gate,
    /// Tells the time of all answers.
    pub clock: Clock,
    /// The key that is accepted.
    pub key: Mutex<Secret>,
    /// Running times of the requests that the server's own limit let pass in the last minute.
    admitted: Mutex<VecDeque<Duration>>,
}

impl Shared {
    /// Nothing asked, nothing wrong.
    pub fn new(world: World, clock: Clock, key: Secret) -> Shared {
        Shared {
            world: Mutex::new(world),
            faults: Mutex::default(),
            journal: Journal::default(),
            gate: Gate::default(),
            clock,
            key: Mutex::new(key),
            admitted: Mutex::default(),
        }
    }

    /// Counts a request against the server's own limit; where there is no room, gives the seconds until there is.
    pub fn admit(&self, limit: Option<u32>) -> Result<(), u64> {
        let Some(limit) = limit else {
            return Ok(());
        };
        let now = self.clock.running();
        let mut admitted = lock(&self.admitted);
        while admitted.front().is_some_and(|at| *at + MINUTE <= now) {
            admitted.pop_front();
        }
        if admitted.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            admitted.push_back(now);
            return Ok(());
        }
        let room_at = admitted.front().map_or(now + MINUTE, |at| *at + MINUTE);
        // Rounded up: who comes back then finds room.
        let seconds = (room_at - now).as_millis().div_ceil(1000);
        Err(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    /// The server's time as HTTP writes it.
    pub fn date(&self) -> String {
        let skew = lock(&self.world).clock_skew;
        let now = self.clock.now();
        httpdate::fmt_http_date(SystemTime::from(now.checked_add(skew).unwrap_or(now)))
    }
}

/// Where silent answers wait until all of them are released.
#[derive(Debug, Default)]
pub struct Gate {
    n_releases: watch::Sender<u64>,
    n_waiting: watch::Sender<usize>,
}

impl Gate {
    /// Lets everything go that waits now.
    pub fn release(&self) {
        self.n_releases.send_modify(|n| *n += 1);
    }

    /// Waits until at least so many answers wait.
    pub async fn until_waiting(&self, n_answers: usize) {
        let mut waiting = self.n_waiting.subscribe();
        // The sender lives in this gate, so the channel is open for as long as we wait.
        let _ = waiting.wait_for(|n| *n >= n_answers).await;
    }

    /// Waits for the next release.
    pub async fn wait(&self) {
        let mut releases = self.n_releases.subscribe();
        self.n_waiting.send_modify(|n| *n += 1);
        let _leaves = Leaves(self);
        // The sender lives in this gate too.
        let _ = releases.changed().await;
    }
}

/// Counts an answer out of the gate, also when its client has gone away.
struct Leaves<'a>(&'a Gate);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.n_waiting.send_modify(|n| *n -= 1);
    }
}

/// What a mutex guards; a panic elsewhere leaves it as it is.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
