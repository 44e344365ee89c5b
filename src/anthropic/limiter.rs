//! Lets requests through one after another, in the order they came: not too many at once, not too many in a minute,
//! and none while the server has asked for a pause.
//!
//! One per organization, since the server counts per organization. The pure core is [`Rate`]; everything here may be
//! dropped at any moment without losing a place or a token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;

const MINUTE: Duration = Duration::from_secs(60);
/// What two requests a minute apart are kept further apart, so that no minute holds both.
const MARGIN: Duration = Duration::from_millis(1);

/// Whose part of an organization's requests: a command beside the daemon takes nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// What it leaves to commands excepted, spread over the minute; at least one.
    Daemon,
    /// A quarter, at least one; all at once.
    Command,
}

impl Share {
    /// Its part of so many requests in a minute, of which 0 is no limit: `None`. Of one in a minute, each share has one.
    pub fn of(self, per_minute: u32) -> Option<u32> {
        let for_commands = (per_minute / 4).max(1);
        match self {
            _ if per_minute == 0 => None,
            Share::Daemon => Some(per_minute.saturating_sub(for_commands).max(1)),
            Share::Command => Some(for_commands),
        }
    }
}

/// How many requests may pass in any minute, and the end of a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    pace: Pace,
    /// Until when nothing may pass.
    paused_until: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pace {
    Unlimited,
    /// A bucket of tokens, by running time.
    Spread {
        /// How many tokens a full bucket holds.
        burst: u32,
        /// The time in which one token grows.
        interval: Duration,
        /// When the bucket will be (or became) full.
        full_at: Duration,
    },
    /// As many as there may be, whenever; the last of them are remembered.
    AtOnce {
        most: usize,
        passed: VecDeque<Duration>,
    },
}

impl Rate {
    /// No limit but pauses.
    pub fn unlimited() -> Rate {
        Rate::of(Pace::Unlimited)
    }

    /// Never more than so many in any minute (at least one): a quarter of them at once, the others evenly.
    pub fn spread(most: u32) -> Rate {
        let burst = (most / 4).max(1);
        // What grows within a minute of a burst comes on top of it.
        let interval = match most.saturating_sub(burst) {
            0 => MINUTE + MARGIN,
            n => MINUTE / n + Duration::from_nanos(1),
        };
        Rate::of(Pace::Spread {
            burst,
            interval,
            full_at: Duration::ZERO,
        })
    }

    /// Never more than so many in any minute (at least one), all at once.
    pub fn at_once(most: u32) -> Rate {
        Rate::of(Pace::AtOnce {
            most: usize::try_from(most.max(1)).unwrap_or(usize::MAX),
            passed: VecDeque::new(),
        })
    }

    /// A share of so many requests in a minute; 0 is no limit.
    pub fn share(per_minute: u32, share: Share) -> Rate {
        match (share.of(per_minute), share) {
            (None, _) => Rate::unlimited(),
            (Some(most), Share::Daemon) => Rate::spread(most),
            (Some(most), Share::Command) => Rate::at_once(most),
        }
    }

    fn of(pace: Pace) -> Rate {
        Rate {
            pace,
            paused_until: Duration::ZERO,
        }
    }

    /// Takes a token, or says how long to wait before asking again.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(rest) = self.paused_until.checked_sub(now)
            && !rest.is_zero()
        {
            return Err(rest);
        }
        match &mut self.pace {
            Pace::Unlimited => Ok(()),
            Pace::Spread {
                burst,
                interval,
                full_at,
            } => {
                let full_after_this = (*full_at).max(now) + *interval;
                until(full_after_this.saturating_sub(*interval * *burst), now)?;
                *full_at = full_after_this;
                Ok(())
            }
            Pace::AtOnce { most, passed } => {
                if passed.len() >= *most
                    && let Some(first) = passed.front()
                {
                    until(*first + MINUTE + MARGIN, now)?;
                    passed.pop_front();
                }
                passed.push_back(now);
                Ok(())
            }
        }
    }

    /// Lets nothing pass for so long from now. A pause is never shortened by another.
    pub fn pause(&mut self, now: Duration, wait: Duration) {
        self.paused_until = self.paused_until.max(now + wait);
    }

    /// From now on at another rate. Neither a pause is forgotten nor what has passed before.
    pub fn change(&mut self, to: Rate) {
        let paused_until = self.paused_until.max(to.paused_until);
        let pace = match (&self.pace, to.pace) {
            (
                Pace::Spread { full_at, .. },
                Pace::Spread {
                    burst, interval, ..
                },
            ) => Pace::Spread {
                burst,
                interval,
                full_at: *full_at,
            },
            (Pace::AtOnce { passed, .. }, Pace::AtOnce { most, .. }) => Pace::AtOnce {
                most,
                passed: passed
                    .range(passed.len().saturating_sub(most)..)
                    .copied()
                    .collect(),
            },
            (Pace::Unlimited | Pace::Spread { .. } | Pace::AtOnce { .. }, pace) => pace,
        };
        *self = Rate { pace, paused_until };
    }
}

/// Whether an instant has come, or how long it is off.
fn until(instant: Duration, now: Duration) -> Result<(), Duration> {
    match instant.checked_sub(now) {
        Some(wait) if !wait.is_zero() => Err(wait),
        Some(_) | None => Ok(()),
    }
}

/// The gate before every request of one organization.
#[derive(Debug)]
pub struct Limiter {
    rate: Mutex<Rate>,
    /// Who stands here is next. The lock is fair: first come, first served.
    front: tokio::sync::Mutex<()>,
    seats: Arc<Semaphore>,
    clock: Clock,
}

/// Held as long as a request is under way.
#[derive(Debug)]
pub struct Pass(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Limiter {
    /// So many at once (at least one), at that rate.
    pub fn new(max_concurrency: usize, rate: Rate, clock: Clock) -> Limiter {
        let n_seats = max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Limiter {
            rate: Mutex::new(rate),
            front: tokio::sync::Mutex::new(()),
            seats: Arc::new(Semaphore::new(n_seats)),
            clock,
        }
    }

    /// Waits for one's turn.
    pub async fn pass(&self) -> Pass {
        let _front = self.front.lock().await;
        let seat = Arc::clone(&self.seats)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while let Err(wait) = self.take() {
            self.clock.sleep(wait).await;
        }
        Pass(seat)
    }

    /// From now on at another rate.
    pub fn change(&self, to: Rate) {
        self.rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .change(to);
    }

    /// Holds up every request of the organization for so long.
    pub fn pause(&self, wait: Duration) {
        let now = self.clock.running();
        self.rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pause(now, wait);
    }

    fn take(&self) -> Result<(), Duration> {
        let now = self.clock.running();
        self.rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use futures_util::FutureExt;
    use jiff::Timestamp;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When each of so many requests, all wanted at the start, may go; in whole seconds.
    fn times(mut rate: Rate, n: usize) -> Vec<u64> {
        let mut now = Duration::ZERO;
        (0..n)
            .map(|_| {
                while let Err(wait) = rate.take(now) {
                    now += wait;
                }
                now.as_secs()
            })
            .collect()
    }

    #[test]
    fn the_daemon_has_a_quarter_at_once_and_the_others_evenly() {
        let check = |per_minute, n, expected: &[u64]| {
            assert_eq!(times(Rate::share(per_minute, Share::Daemon), n), expected);
        };
        check(
            20,
            16,
            &[0, 0, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65],
        );
        check(4, 4, &[0, 30, 60, 90]);
        check(1, 3, &[0, 60, 120]);
        check(0, 4, &[0, 0, 0, 0]);
    }

    #[test]
    fn a_command_has_its_part_at_once() {
        let check = |per_minute, n, expected: &[u64]| {
            assert_eq!(times(Rate::share(per_minute, Share::Command), n), expected);
        };
        check(20, 7, &[0, 0, 0, 0, 0, 60, 60]);
        check(2, 3, &[0, 60, 120]);
        check(0, 4, &[0, 0, 0, 0]);
    }

    #[test]
    fn an_idle_bucket_fills_up_to_its_burst_and_not_beyond() {
        let mut rate = Rate::spread(8);
        assert_eq!((rate.take(SECOND), rate.take(SECOND)), (Ok(()), Ok(())));
        assert!(rate.take(SECOND).is_err());
        let later = SECOND * 1000;
        assert_eq!((rate.take(later), rate.take(later)), (Ok(()), Ok(())));
        let step = SECOND * 10 + Duration::from_nanos(1);
        assert_eq!(rate.take(later), Err(step));
    }

    #[test]
    fn a_pause_holds_everything_and_is_never_shortened() {
        let mut rate = Rate::unlimited();
        rate.pause(SECOND, SECOND * 120);
        rate.pause(SECOND * 2, SECOND);
        assert_eq!(rate.take(SECOND * 21), Err(SECOND * 100));
        assert_eq!(rate.take(SECOND * 121), Ok(()));
    }

    #[test]
    fn another_rate_forgets_neither_a_pause_nor_what_has_passed() {
        let mut rate = Rate::spread(15);
        while rate.take(SECOND).is_ok() {}
        rate.change(Rate::spread(4));
        assert!(rate.take(SECOND).is_err());
        rate.pause(SECOND, SECOND * 200);
        rate.change(Rate::spread(45));
        assert_eq!(rate.take(SECOND), Err(SECOND * 200));

        let mut rate = Rate::at_once(2);
        assert_eq!((rate.take(SECOND), rate.take(SECOND)), (Ok(()), Ok(())));
        rate.change(Rate::at_once(3));
        assert_eq!(rate.take(SECOND), Ok(()));
        assert!(rate.take(SECOND).is_err());
    }

    /// Everything that passes when, after each gap, so many are wanted at once.
    fn passed(rate: &mut Rate, demand: &[(u64, usize)]) -> Vec<Duration> {
        let mut now = Duration::ZERO;
        let mut passed = Vec::new();
        for (gap, wanted) in demand {
            now += Duration::from_millis(*gap);
            for _ in 0..*wanted {
                passed.extend(rate.take(now).is_ok().then_some(now));
            }
        }
        passed
    }

    /// The most that one minute holds, its last instant included. A fullest minute begins with something that passed.
    fn fullest_minute(passed: &[Duration]) -> usize {
        let from = |(index, first): (usize, &Duration)| {
            let minute = passed[index..].iter();
            minute.take_while(|at| **at <= *first + MINUTE).count()
        };
        passed.iter().enumerate().map(from).max().unwrap_or(0)
    }

    fn demand() -> impl Strategy<Value = Vec<(u64, usize)>> {
        let gap = prop_oneof![0..50_u64, 0..5_000_u64, 0..90_000_u64];
        prop::collection::vec((gap, 0..100_usize), 1..120)
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_is_configured(
            per_minute in prop_oneof![2_u32..30, 2_u32..300],
            daemon in demand(),
            command in demand(),
        ) {
            let of_daemon = passed(&mut Rate::share(per_minute, Share::Daemon), &daemon);
            let of_command = passed(&mut Rate::share(per_minute, Share::Command), &command);
            let mut both = [of_daemon.clone(), of_command.clone()].concat();
            both.sort_unstable();
            let quarter = (per_minute / 4).max(1) as usize;
            prop_assert!(fullest_minute(&of_daemon) <= per_minute as usize - quarter);
            prop_assert!(fullest_minute(&of_command) <= quarter);
            prop_assert!(fullest_minute(&both) <= per_minute as usize);
        }
    }

    #[test]
    fn the_rate_is_also_reached() {
        let all_the_time = vec![(10, 1); 13_000];
        let of_daemon = passed(&mut Rate::share(20, Share::Daemon), &all_the_time);
        assert_eq!(fullest_minute(&of_daemon), 14);
        let of_command = passed(&mut Rate::share(20, Share::Command), &all_the_time);
        assert_eq!(fullest_minute(&of_command), 5);
    }

    fn limiter(max_concurrency: usize, rate: Rate) -> (Arc<Limiter>, ManualClock) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let limiter = Limiter::new(max_concurrency, rate, Clock::Manual(clock.clone()));
        (Arc::new(limiter), clock)
    }

    #[tokio::test]
    async fn first_come_first_served_within_the_seats() {
        let (limiter, _) = limiter(2, Rate::unlimited());
        let first = limiter.pass().await;
        let _second = limiter.pass().await;
        let mut third = Box::pin(limiter.pass());
        let mut fourth = Box::pin(limiter.pass());
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        drop(first);
        assert!((&mut fourth).now_or_never().is_none(), "the third is next");
        assert!((&mut third).now_or_never().is_some());
    }

    #[tokio::test]
    async fn first_come_first_served_also_when_only_the_rate_holds_up() {
        let (limiter, clock) = limiter(3, Rate::spread(1));
        let _first = limiter.pass().await;
        let mut second = Box::pin(limiter.pass());
        let mut third = Box::pin(limiter.pass());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        clock.advance(MINUTE + MARGIN);
        assert!((&mut third).now_or_never().is_none(), "the second is next");
        assert!((&mut second).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_nothing_along() {
        let (limiter, clock) = limiter(1, Rate::spread(1));
        drop(limiter.pass().await);
        let mut impatient = Box::pin(limiter.pass());
        assert!((&mut impatient).now_or_never().is_none());
        drop(impatient);
        clock.advance(MINUTE + MARGIN);
        assert!(limiter.pass().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_pause_that_comes_while_waiting_is_waited_for_too() {
        let (limiter, clock) = limiter(1, Rate::spread(1));
        drop(limiter.pass().await);
        let mut waiting = Box::pin(limiter.pass());
        assert!((&mut waiting).now_or_never().is_none());
        limiter.pause(SECOND * 100);
        clock.advance(MINUTE + MARGIN);
        assert!((&mut waiting).now_or_never().is_none());
        clock.advance(SECOND * 40);
        assert!((&mut waiting).now_or_never().is_some());
    }
}
