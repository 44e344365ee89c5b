//! The only module that reads the time, sleeps, or draws random values.
//!
//! The manual clock is for tests: its wall and monotonic times change only when it is set or advanced, which wakes sleepers.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::lock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// How long a `Date` header counts more than later responses without one.
const DATE_LIFETIME: Duration = Duration::from_hours(1);

/// Source of wall and monotonic time.
#[derive(Debug, Clone)]
pub enum Clock {
    System(SystemClock),
    Manual(ManualClock),
}

/// The machine's clocks; monotonic time starts at creation.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    servers: Servers,
}

/// A clock for tests that is advanced explicitly.
#[derive(Debug, Clone)]
pub struct ManualClock {
    times: Arc<watch::Sender<Times>>,
    servers: Servers,
}

/// Servers that the clock is compared with, until their clients are dropped.
type Servers = Arc<Mutex<Vec<Weak<ServerTime>>>>;

/// Time that one server last reported in the header `date`.
#[derive(Debug, Default)]
pub struct ServerTime {
    reported: Mutex<Option<Reported>>,
}

#[derive(Debug, Clone, Copy)]
struct Reported {
    /// `None` if the response had no `Date`.
    date: Option<Timestamp>,
    running: Duration,
}

/// A server's current time, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerNow {
    /// The server has not responded yet.
    NoResponse,
    /// The last response had no `Date`.
    NoDate,
    /// Its last `Date` plus the monotonic time since.
    At(Timestamp),
}

#[derive(Debug, Clone, Copy)]
struct Times {
    wall: Timestamp,
    running: Duration,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only module that reads the time"
    )]
    /// Returns a clock that reads the clocks of the machine.
    pub fn system() -> Clock {
        Clock::System(SystemClock {
            started: Instant::now(),
            servers: Servers::default(),
        })
    }

    /// Returns the wall time, which may jump forward and back.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only module that reads the time"
    )]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System(_) => Timestamp::now(),
            Clock::Manual(clock) => clock.times.borrow().wall,
        }
    }

    /// Returns the monotonic time since the clock was created; never jumps.
    pub fn monotonic(&self) -> Duration {
        match self {
            Clock::System(clock) => clock.started.elapsed(),
            Clock::Manual(clock) => clock.times.borrow().running,
        }
    }

    /// Registers a server whose time this clock is compared with until the returned value is dropped.
    pub fn add_server(&self) -> Arc<ServerTime> {
        let server = Arc::new(ServerTime::default());
        let mut servers = lock(self.servers());
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(&server));
        server
    }

    /// Records the `Date` of a response, or that it had none.
    pub fn record_server_time(&self, server: &ServerTime, date: Option<Timestamp>) {
        let running = self.monotonic();
        let mut reported = lock(&server.reported);
        let is_ignored = date.is_none()
            && reported.is_some_and(|last| {
                last.date.is_some() && running.saturating_sub(last.running) < DATE_LIFETIME
            });
        if !is_ignored {
            *reported = Some(Reported { date, running });
        }
    }

    /// Returns the current time by a server's clock. It is based on monotonic time, so it also reveals a step of the wall clock since
    /// the last response.
    pub fn server_now(&self, server: &ServerTime) -> ServerNow {
        let Some(Reported { date, running }) = *lock(&server.reported) else {
            return ServerNow::NoResponse;
        };
        let Some(date) = date else {
            return ServerNow::NoDate;
        };
        let passed = self.monotonic().saturating_sub(running);
        ServerNow::At(date.checked_add(passed).unwrap_or(Timestamp::MAX))
    }

    /// Returns whether the wall clock is reliable enough for irreversible decisions: a server confirms it, no server sends a `Date`, or
    /// there are no servers.
    pub fn is_confirmed(&self, max_skew: SignedDuration) -> bool {
        let now = self.now();
        let known = self.known_servers();
        let is_dated = known.iter().any(|of| matches!(of, ServerNow::At(_)));
        known.is_empty()
            || known.iter().any(|of| match of {
                ServerNow::NoResponse => false,
                ServerNow::NoDate => !is_dated,
                ServerNow::At(theirs) => theirs.duration_since(now).abs() <= max_skew,
            })
    }

    /// Returns the later of the wall clock and the servers' clocks.
    pub fn latest(&self) -> Timestamp {
        let theirs = self.known_servers().into_iter().map(|of| match of {
            ServerNow::NoResponse | ServerNow::NoDate => Timestamp::MIN,
            ServerNow::At(theirs) => theirs,
        });
        theirs.fold(self.now(), Timestamp::max)
    }

    fn known_servers(&self) -> Vec<ServerNow> {
        let servers: Vec<_> = lock(self.servers())
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let known = servers.iter().map(|server| self.server_now(server));
        known.collect()
    }

    fn servers(&self) -> &Mutex<Vec<Weak<ServerTime>>> {
        match self {
            Clock::System(clock) => &clock.servers,
            Clock::Manual(clock) => &clock.servers,
        }
    }

    /// Sleeps for a duration of monotonic time.
    #[expect(clippy::disallowed_methods, reason = "the only module that sleeps")]
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Clock::System(_) => tokio::time::sleep(duration).await,
            Clock::Manual(clock) => {
                let until = clock.times.borrow().running + duration;
                let mut times = clock.times.subscribe();
                // The clock holds the sender, so the channel stays open.
                let _ = times.wait_for(|times| times.running >= until).await;
            }
        }
    }
}

impl ManualClock {
    /// Creates a clock at a wall time.
    pub fn at(wall: Timestamp) -> ManualClock {
        ManualClock {
            times: Arc::new(watch::Sender::new(Times {
                wall,
                running: Duration::ZERO,
            })),
            servers: Servers::default(),
        }
    }

    /// Advances wall and monotonic time.
    pub fn advance(&self, duration: Duration) {
        let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        self.times.send_modify(|times| {
            times.running += duration;
            times.wall = times.wall.checked_add(signed).unwrap_or(Timestamp::MAX);
        });
    }

    /// Returns the number of sleepers.
    pub fn n_sleeping(&self) -> usize {
        self.times.receiver_count()
    }

    /// Sets the wall time without advancing monotonic time.
    pub fn set_wall(&self, wall: Timestamp) {
        self.times.send_modify(|times| times.wall = wall);
    }
}

/// Source of ids and jitter.
#[derive(Debug, Clone)]
pub enum Random {
    /// Random ids (UUID version 7) and jitter.
    System,
    /// The same ids and jitter in every run, for tests.
    Seeded(Arc<Mutex<Seeded>>),
}

/// State of a deterministic source.
#[derive(Debug)]
pub struct Seeded {
    random: fastrand::Rng,
    n_ids: u64,
}

impl Random {
    /// Creates a source with the same ids and jitter for the same seed.
    pub fn seeded(seed: u64) -> Random {
        Random::Seeded(Arc::new(Mutex::new(Seeded {
            random: fastrand::Rng::with_seed(seed),
            n_ids: 0,
        })))
    }

    /// Returns a new unique id without a dot.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only module that draws random values"
    )]
    pub fn id(&self) -> String {
        match self {
            Random::System => uuid::Uuid::now_v7().to_string(),
            Random::Seeded(seeded) => {
                let mut seeded = lock(seeded);
                seeded.n_ids += 1;
                format!("id-{:06}", seeded.n_ids)
            }
        }
    }

    /// Returns a random duration between half of `whole` and `whole`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only module that draws random values"
    )]
    pub fn jitter(&self, whole: Duration) -> Duration {
        let half = whole / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let nanos = match self {
            Random::System => fastrand::u64(0..=span),
            Random::Seeded(seeded) => lock(seeded).random.u64(0..=span),
        };
        half + Duration::from_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn steps_of_the_wall_clock_are_detected_before_the_next_response() {
        let manual = ManualClock::at(at("2026-11-30T10:00:00Z"));
        let clock = Clock::Manual(manual.clone());
        let server = clock.add_server();
        assert!(!clock.is_confirmed(MAX_SKEW), "no response yet");
        clock.record_server_time(&server, Some(at("2026-11-30T10:00:01Z")));
        manual.advance(Duration::from_mins(90));
        assert!(clock.is_confirmed(MAX_SKEW));
        assert_eq!(
            clock.server_now(&server),
            ServerNow::At(at("2026-11-30T11:30:01Z"))
        );
        for wrong in ["2027-01-09T11:30:00Z", "2026-11-30T11:20:00Z"] {
            manual.set_wall(at(wrong));
            assert!(!clock.is_confirmed(MAX_SKEW), "{wrong}");
        }
        manual.set_wall(at("2026-11-30T11:27:00Z"));
        assert!(clock.is_confirmed(MAX_SKEW));
        assert_eq!(clock.latest(), at("2026-11-30T11:30:01Z"));
        drop(server);
        manual.set_wall(at("2027-01-09T11:30:00Z"));
        assert!(clock.is_confirmed(MAX_SKEW), "no server to compare with");
    }

    #[test]
    fn a_recent_date_counts_more_than_a_response_without_one() {
        let manual = ManualClock::at(at("2026-11-30T10:00:00Z"));
        let clock = Clock::Manual(manual.clone());
        let server = clock.add_server();
        clock.record_server_time(&server, None);
        assert!(clock.is_confirmed(MAX_SKEW), "the server sends no dates");
        clock.record_server_time(&server, Some(at("2026-10-30T10:00:00Z")));
        clock.record_server_time(&server, None);
        assert!(!clock.is_confirmed(MAX_SKEW));
        manual.advance(Duration::from_hours(2));
        clock.record_server_time(&server, None);
        assert_eq!(clock.server_now(&server), ServerNow::NoDate);
    }

    #[test]
    fn one_confirming_server_is_enough() {
        let clock = Clock::Manual(ManualClock::at(at("2026-11-30T10:00:00Z")));
        let (right, wrong) = (clock.add_server(), clock.add_server());
        clock.record_server_time(&wrong, Some(at("2026-10-30T10:00:00Z")));
        assert!(!clock.is_confirmed(MAX_SKEW));
        clock.record_server_time(&right, Some(at("2026-11-30T10:00:00Z")));
        assert!(clock.is_confirmed(MAX_SKEW));
    }
}
