//! The only place that asks for the time, waits for it, or draws ids and chance.
//!
//! The manual clock is for tests: its wall time and its running time move only when told to, and who waits wakes up
//! then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::domain::skew::differs;

/// How long a `Date` header outweighs later responses without one.
const DATE_LASTS: Duration = Duration::from_hours(1);

/// Asks for the time.
#[derive(Debug, Clone)]
pub enum Clock {
    System(SystemClock),
    Manual(ManualClock),
}

/// The machine's clocks: wall time, and running time since this value was made.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    servers: Servers,
}

/// A clock that is moved by hand.
#[derive(Debug, Clone)]
pub struct ManualClock {
    times: Arc<watch::Sender<Times>>,
    servers: Servers,
}

/// The servers that a clock is compared with, as long as their clients exist.
type Servers = Arc<Mutex<Vec<Weak<ServerTime>>>>;

/// The time that one server last reported.
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

/// What is known of a server's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerNow {
    /// The server has not responded yet.
    Silent,
    /// It responds without a `Date`.
    Undated,
    /// Its last `Date` plus the running time since.
    At(Timestamp),
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
            servers: Servers::default(),
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

    /// Registers a server whose time this clock is compared with until the returned value is dropped.
    pub fn add_server(&self) -> Arc<ServerTime> {
        let server = Arc::new(ServerTime::default());
        let mut servers = hold(self.servers());
        servers.retain(|known| known.strong_count() > 0);
        servers.push(Arc::downgrade(&server));
        server
    }

    /// Records the `Date` of a response, or that it had none.
    pub fn note_server_time(&self, server: &ServerTime, date: Option<Timestamp>) {
        let running = self.running();
        let mut reported = hold(&server.reported);
        let is_outweighed = date.is_none()
            && reported.is_some_and(|last| {
                last.date.is_some() && running.saturating_sub(last.running) < DATE_LASTS
            });
        if !is_outweighed {
            *reported = Some(Reported { date, running });
        }
    }

    /// Returns the present time by a server's clock. Running time never jumps, so this also shows a step of the wall clock
    /// that happened since the last response.
    pub fn server_now(&self, server: &ServerTime) -> ServerNow {
        let Some(Reported { date, running }) = *hold(&server.reported) else {
            return ServerNow::Silent;
        };
        let Some(date) = date else {
            return ServerNow::Undated;
        };
        let passed = self.running().saturating_sub(running);
        ServerNow::At(date.checked_add(passed).unwrap_or(Timestamp::MAX))
    }

    /// Returns whether the wall clock may decide that something is over for good. It may if at least one server confirms
    /// it, if no server sends a `Date`, and if there is no server to compare it with.
    pub fn is_confirmed(&self) -> bool {
        let now = self.now();
        let known = self.known_servers();
        let is_dated = known.iter().any(|of| matches!(of, ServerNow::At(_)));
        known.is_empty()
            || known.iter().any(|of| match of {
                ServerNow::Silent => false,
                ServerNow::Undated => !is_dated,
                ServerNow::At(theirs) => !differs(now, *theirs),
            })
    }

    /// Returns the later of the wall clock and the servers' clocks.
    pub fn latest(&self) -> Timestamp {
        let theirs = self.known_servers().into_iter().map(|of| match of {
            ServerNow::Silent | ServerNow::Undated => Timestamp::MIN,
            ServerNow::At(theirs) => theirs,
        });
        theirs.fold(self.now(), Timestamp::max)
    }

    fn known_servers(&self) -> Vec<ServerNow> {
        let servers: Vec<_> = hold(self.servers())
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
            servers: Servers::default(),
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

fn hold<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_step_of_the_wall_clock_shows_before_the_next_response() {
        let manual = ManualClock::at(at("2026-11-30T10:00:00Z"));
        let clock = Clock::Manual(manual.clone());
        let server = clock.add_server();
        assert!(!clock.is_confirmed(), "no response yet");
        clock.note_server_time(&server, Some(at("2026-11-30T10:00:01Z")));
        manual.advance(Duration::from_mins(90));
        assert!(clock.is_confirmed());
        assert_eq!(
            clock.server_now(&server),
            ServerNow::At(at("2026-11-30T11:30:01Z"))
        );
        for wrong in ["2027-01-09T11:30:00Z", "2026-11-30T11:20:00Z"] {
            manual.set_wall(at(wrong));
            assert!(!clock.is_confirmed(), "{wrong}");
        }
        manual.set_wall(at("2026-11-30T11:27:00Z"));
        assert!(clock.is_confirmed());
        assert_eq!(clock.latest(), at("2026-11-30T11:30:01Z"));
        drop(server);
        manual.set_wall(at("2027-01-09T11:30:00Z"));
        assert!(clock.is_confirmed(), "no server to compare with");
    }

    #[test]
    fn a_response_without_a_date_outweighs_none_that_had_one_lately() {
        let manual = ManualClock::at(at("2026-11-30T10:00:00Z"));
        let clock = Clock::Manual(manual.clone());
        let server = clock.add_server();
        clock.note_server_time(&server, None);
        assert!(clock.is_confirmed(), "the server sends no dates");
        clock.note_server_time(&server, Some(at("2026-10-30T10:00:00Z")));
        clock.note_server_time(&server, None);
        assert!(!clock.is_confirmed());
        manual.advance(Duration::from_hours(2));
        clock.note_server_time(&server, None);
        assert_eq!(clock.server_now(&server), ServerNow::Undated);
    }

    #[test]
    fn one_server_that_agrees_is_enough() {
        let clock = Clock::Manual(ManualClock::at(at("2026-11-30T10:00:00Z")));
        let (right, wrong) = (clock.add_server(), clock.add_server());
        clock.note_server_time(&wrong, Some(at("2026-10-30T10:00:00Z")));
        assert!(!clock.is_confirmed());
        clock.note_server_time(&right, Some(at("2026-11-30T10:00:00Z")));
        assert!(clock.is_confirmed());
    }
}
