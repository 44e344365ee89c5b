//! The only place that asks for the time, waits for it, or draws ids and chance.
//!
//! The manual clock is for tests: its wall time and its running time move only when told to, and who waits wakes up
//! then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Asks for the time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clocks.
    System(SystemClock),
    /// Moved by hand.
    Manual(ManualClock),
}

/// The machine's clocks: wall time, and running time since this value was made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

/// A clock that is moved by hand.
#[derive(Debug, Clone)]
pub struct ManualClock {
    times: Arc<watch::Sender<Times>>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    wall: Timestamp,
    running: Duration,
}

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
    pub fn system() -> Clock {
        Clock::System(SystemClock {
            started: Instant::now(),
        })
    }

    /// Wall time: may jump, forward and back.
    #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System(_) => Timestamp::now(),
            Clock::Manual(clock) => clock.times.borrow().wall,
        }
    }

    /// Running time since the clock was made: never jumps.
    pub fn running(&self) -> Duration {
        match self {
            Clock::System(clock) => clock.started.elapsed(),
            Clock::Manual(clock) => clock.times.borrow().running,
        }
    }

    /// Waits so long, by running time.
    #[expect(clippy::disallowed_methods, reason = "this is the place that waits")]
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Clock::System(_) => tokio::time::sleep(duration).await,
            Clock::Manual(clock) => {
                let until = clock.times.borrow().running + duration;
                let mut times = clock.times.subscribe();
                // The sender lives in this very clock, so the channel is open for as long as we wait.
                let _ = times.wait_for(|times| times.running >= until).await;
            }
        }
    }
}

impl ManualClock {
    /// A clock that stands at an instant.
    pub fn at(wall: Timestamp) -> ManualClock {
        ManualClock {
            times: Arc::new(watch::Sender::new(Times {
                wall,
                running: Duration::ZERO,
            })),
        }
    }

    /// Time passes.
    pub fn advance(&self, duration: Duration) {
        let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        self.times.send_modify(|times| {
            times.running += duration;
            times.wall = times.wall.checked_add(signed).unwrap_or(Timestamp::MAX);
        });
    }

    /// How many are waiting at the moment.
    pub fn n_waiting(&self) -> usize {
        self.times.receiver_count()
    }

    /// The wall clock is set; no time passes.
    pub fn set_wall(&self, wall: Timestamp) {
        self.times.send_modify(|times| times.wall = wall);
    }
}

/// Draws ids of notifications and chance for jitter.
#[derive(Debug, Clone)]
pub enum Chance {
    /// Ids by time and chance (UUID version 7), jitter by chance.
    System,
    /// The same ids and jitter in every run.
    Seeded(Arc<Mutex<Seeded>>),
}

/// A deterministic source.
#[derive(Debug)]
pub struct Seeded {
    random: fastrand::Rng,
    n_ids: u64,
}

impl Chance {
    /// The same ids and jitter for the same seed.
    pub fn seeded(seed: u64) -> Chance {
        Chance::Seeded(Arc::new(Mutex::new(Seeded {
            random: fastrand::Rng::with_seed(seed),
            n_ids: 0,
        })))
    }

    /// A new id, unique and without a dot.
    #[expect(clippy::disallowed_methods, reason = "this is the place that draws")]
    pub fn id(&self) -> String {
        match self {
            Chance::System => uuid::Uuid::now_v7().to_string(),
            Chance::Seeded(seeded) => {
                let mut seeded = seeded.lock().unwrap_or_else(PoisonError::into_inner);
                seeded.n_ids += 1;
                format!("id-{:06}", seeded.n_ids)
            }
        }
    }

    /// A random duration between half and the whole of one.
    #[expect(clippy::disallowed_methods, reason = "this is the place that draws")]
    pub fn jitter(&self, whole: Duration) -> Duration {
        let half = whole / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let nanos = match self {
            Chance::System => fastrand::u64(0..=span),
            Chance::Seeded(seeded) => seeded
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .random
                .u64(0..=span),
        };
        half + Duration::from_nanos(nanos)
    }
}
