//! Limits the requests to one organization: concurrency, requests per minute, and pauses that the server requests. First come,
//! first served.
//!
//! The pure core is [`Rate`]. Waiting is cancel-safe: a dropped waiter uses no permit and no token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use spendwatch_base::clock::Clock;
use spendwatch_base::lock;

const MINUTE: Duration = Duration::from_secs(60);
/// Extra distance between requests a minute apart, so that no minute contains both.
const MARGIN: Duration = Duration::from_millis(1);

/// Who uses an organization's requests per minute. Daemon and commands have separate shares, so neither can starve the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateShare {
    /// Three quarters, spread over the minute; at least one.
    Daemon,
    /// One quarter, usable at once; at least one.
    Command,
}

impl RateShare {
    /// Returns this share of `per_minute` requests, at least one; `None` for 0, which means unlimited.
    pub fn max_per_minute(self, per_minute: u32) -> Option<u32> {
        let for_commands = (per_minute / 4).max(1);
        match self {
            _ if per_minute == 0 => None,
            RateShare::Daemon => Some(per_minute.saturating_sub(for_commands).max(1)),
            RateShare::Command => Some(for_commands),
        }
    }
}

/// Limits the requests in any minute, and pauses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    algorithm: RateAlgorithm,
    paused_until: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RateAlgorithm {
    Unlimited,
    TokenBucket {
        /// Tokens in a full bucket.
        burst: u32,
        interval: Duration,
        /// When the bucket is or was full.
        full_at: Duration,
    },
    SlidingWindow {
        max: usize,
        /// Times of the last `max` requests.
        sent: VecDeque<Duration>,
    },
}

impl Rate {
    /// Creates a rate that only pauses limit.
    pub fn unlimited() -> Rate {
        Rate::new(RateAlgorithm::Unlimited)
    }

    /// Allows `max` requests in any minute (at least one): a quarter in a burst, the others evenly.
    pub fn spread(max: u32) -> Rate {
        let burst = (max / 4).max(1);
        // Tokens that accrue within a minute of a burst add to it.
        let interval = match max.saturating_sub(burst) {
            0 => MINUTE + MARGIN,
            n => MINUTE / n + Duration::from_nanos(1),
        };
        Rate::new(RateAlgorithm::TokenBucket {
            burst,
            interval,
            full_at: Duration::ZERO,
        })
    }

    /// Allows `max` requests in any minute (at least one), all at once if needed.
    pub fn at_once(max: u32) -> Rate {
        Rate::new(RateAlgorithm::SlidingWindow {
            max: usize::try_from(max.max(1)).unwrap_or(usize::MAX),
            sent: VecDeque::new(),
        })
    }

    /// Creates the rate of a share of `per_minute` requests; 0 is unlimited.
    pub fn for_share(per_minute: u32, share: RateShare) -> Rate {
        match (share.max_per_minute(per_minute), share) {
            (None, _) => Rate::unlimited(),
            (Some(max), RateShare::Daemon) => Rate::spread(max),
            (Some(max), RateShare::Command) => Rate::at_once(max),
        }
    }

    fn new(algorithm: RateAlgorithm) -> Rate {
        Rate {
            algorithm,
            paused_until: Duration::ZERO,
        }
    }

    /// Takes a token, or returns how long to wait before the next try.
    pub fn try_take(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(rest) = self.paused_until.checked_sub(now)
            && !rest.is_zero()
        {
            return Err(rest);
        }
        match &mut self.algorithm {
            RateAlgorithm::Unlimited => Ok(()),
            RateAlgorithm::TokenBucket {
                burst,
                interval,
                full_at,
            } => {
                let full_after_this = (*full_at).max(now) + *interval;
                until(full_after_this.saturating_sub(*interval * *burst), now)?;
                *full_at = full_after_this;
                Ok(())
            }
            RateAlgorithm::SlidingWindow { max, sent } => {
                if sent.len() >= *max
                    && let Some(first) = sent.front()
                {
                    until(*first + MINUTE + MARGIN, now)?;
                    sent.pop_front();
                }
                sent.push_back(now);
                Ok(())
            }
        }
    }

    /// Pauses all requests; never shortens an earlier pause.
    pub fn pause(&mut self, now: Duration, wait: Duration) {
        self.paused_until = self.paused_until.max(now + wait);
    }

    /// Changes the rate; keeps pauses and what was sent before.
    pub fn set(&mut self, to: Rate) {
        let paused_until = self.paused_until.max(to.paused_until);
        let algorithm = match (&self.algorithm, to.algorithm) {
            (
                RateAlgorithm::TokenBucket { full_at, .. },
                RateAlgorithm::TokenBucket {
                    burst, interval, ..
                },
            ) => RateAlgorithm::TokenBucket {
                burst,
                interval,
                full_at: *full_at,
            },
            (
                RateAlgorithm::SlidingWindow { sent, .. },
                RateAlgorithm::SlidingWindow { max, .. },
            ) => RateAlgorithm::SlidingWindow {
                max,
                sent: sent
                    .range(sent.len().saturating_sub(max)..)
                    .copied()
                    .collect(),
            },
            (
                RateAlgorithm::Unlimited
                | RateAlgorithm::TokenBucket { .. }
                | RateAlgorithm::SlidingWindow { .. },
                algorithm,
            ) => algorithm,
        };
        *self = Rate {
            algorithm,
            paused_until,
        };
    }
}

/// Checks that an instant has come, or returns the time until then.
fn until(instant: Duration, now: Duration) -> Result<(), Duration> {
    match instant.checked_sub(now) {
        Some(wait) if !wait.is_zero() => Err(wait),
        Some(_) | None => Ok(()),
    }
}

/// Limits the requests of one organization.
#[derive(Debug)]
pub struct Limiter {
    rate: Mutex<Rate>,
    /// Held by the next request to be sent. The lock is fair.
    next: tokio::sync::Mutex<()>,
    permits: Arc<Semaphore>,
    clock: Clock,
}

/// Held during a request.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Limiter {
    /// Creates a limiter of at least one concurrent request.
    pub fn new(max_concurrency: usize, rate: Rate, clock: Clock) -> Limiter {
        let n_permits = max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Limiter {
            rate: Mutex::new(rate),
            next: tokio::sync::Mutex::new(()),
            permits: Arc::new(Semaphore::new(n_permits)),
            clock,
        }
    }

    /// Waits until a request may be sent.
    pub async fn acquire(&self) -> Permit {
        let _next = self.next.lock().await;
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while let Err(wait) = self.try_take() {
            self.clock.sleep(wait).await;
        }
        Permit(permit)
    }

    /// Changes the rate; requests that were already permitted still count.
    pub fn set_rate(&self, to: Rate) {
        lock(&self.rate).set(to);
    }

    /// Pauses all requests of the organization.
    pub fn pause(&self, wait: Duration) {
        let now = self.clock.monotonic();
        lock(&self.rate).pause(now, wait);
    }

    fn try_take(&self) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        lock(&self.rate).try_take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use spendwatch_base::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns when each of `n` requests queued at the start is sent, in seconds.
    fn times(mut rate: Rate, n: usize) -> Vec<u64> {
        let mut now = Duration::ZERO;
        (0..n)
            .map(|_| {
                while let Err(wait) = rate.try_take(now) {
                    now += wait;
                }
                now.as_secs()
            })
            .collect()
    }

    #[test]
    fn daemon_requests_are_a_burst_and_then_spread_evenly() {
        let check = |per_minute, n, expected: &[u64]| {
            assert_eq!(
                times(Rate::for_share(per_minute, RateShare::Daemon), n),
                expected
            );
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
    fn commands_use_their_share_at_once() {
        let check = |per_minute, n, expected: &[u64]| {
            assert_eq!(
                times(Rate::for_share(per_minute, RateShare::Command), n),
                expected
            );
        };
        check(20, 7, &[0, 0, 0, 0, 0, 60, 60]);
        check(2, 3, &[0, 60, 120]);
        check(0, 4, &[0, 0, 0, 0]);
    }

    #[test]
    fn an_idle_bucket_fills_up_to_its_burst() {
        let mut rate = Rate::spread(8);
        assert_eq!(
            (rate.try_take(SECOND), rate.try_take(SECOND)),
            (Ok(()), Ok(()))
        );
        assert!(rate.try_take(SECOND).is_err());
        let later = SECOND * 1000;
        assert_eq!(
            (rate.try_take(later), rate.try_take(later)),
            (Ok(()), Ok(()))
        );
        let step = SECOND * 10 + Duration::from_nanos(1);
        assert_eq!(rate.try_take(later), Err(step));
    }

    #[test]
    fn pauses_are_never_shortened() {
        let mut rate = Rate::unlimited();
        rate.pause(SECOND, SECOND * 120);
        rate.pause(SECOND * 2, SECOND);
        assert_eq!(rate.try_take(SECOND * 21), Err(SECOND * 100));
        assert_eq!(rate.try_take(SECOND * 121), Ok(()));
    }

    #[test]
    fn changing_the_rate_keeps_pauses_and_sent_requests() {
        let mut rate = Rate::spread(15);
        while rate.try_take(SECOND).is_ok() {}
        rate.set(Rate::spread(4));
        assert!(rate.try_take(SECOND).is_err());
        rate.pause(SECOND, SECOND * 200);
        rate.set(Rate::spread(45));
        assert_eq!(rate.try_take(SECOND), Err(SECOND * 200));

        let mut rate = Rate::at_once(2);
        assert_eq!(
            (rate.try_take(SECOND), rate.try_take(SECOND)),
            (Ok(()), Ok(()))
        );
        rate.set(Rate::at_once(3));
        assert_eq!(rate.try_take(SECOND), Ok(()));
        assert!(rate.try_take(SECOND).is_err());
    }

    /// Returns when requests are sent if, after each gap in milliseconds, the given number is wanted.
    fn sent(rate: &mut Rate, demand: &[(u64, usize)]) -> Vec<Duration> {
        let mut now = Duration::ZERO;
        let mut sent = Vec::new();
        for (gap, wanted) in demand {
            now += Duration::from_millis(*gap);
            for _ in 0..*wanted {
                sent.extend(rate.try_take(now).is_ok().then_some(now));
            }
        }
        sent
    }

    /// Returns the maximum number of requests in a minute, its last instant included.
    fn max_in_a_minute(sent: &[Duration]) -> usize {
        let from = |(index, first): (usize, &Duration)| {
            let minute = sent[index..].iter();
            minute.take_while(|at| **at <= *first + MINUTE).count()
        };
        sent.iter().enumerate().map(from).max().unwrap_or(0)
    }

    fn demand() -> impl Strategy<Value = Vec<(u64, usize)>> {
        let gap = prop_oneof![0..50_u64, 0..5_000_u64, 0..90_000_u64];
        prop::collection::vec((gap, 0..100_usize), 1..120)
    }

    proptest! {
        #[test]
        fn no_minute_exceeds_the_configured_rate(
            per_minute in prop_oneof![2_u32..30, 2_u32..300],
            daemon in demand(),
            command in demand(),
        ) {
            let by_daemon = sent(&mut Rate::for_share(per_minute, RateShare::Daemon), &daemon);
            let by_commands = sent(&mut Rate::for_share(per_minute, RateShare::Command), &command);
            let mut both = [by_daemon.clone(), by_commands.clone()].concat();
            both.sort_unstable();
            let quarter = (per_minute / 4).max(1) as usize;
            prop_assert!(max_in_a_minute(&by_daemon) <= per_minute as usize - quarter);
            prop_assert!(max_in_a_minute(&by_commands) <= quarter);
            prop_assert!(max_in_a_minute(&both) <= per_minute as usize);
        }
    }

    #[test]
    fn the_configured_rate_is_reached() {
        let all_the_time = vec![(10, 1); 13_000];
        let by_daemon = sent(&mut Rate::for_share(20, RateShare::Daemon), &all_the_time);
        assert_eq!(max_in_a_minute(&by_daemon), 14);
        let by_commands = sent(&mut Rate::for_share(20, RateShare::Command), &all_the_time);
        assert_eq!(max_in_a_minute(&by_commands), 5);
    }

    fn limiter(max_concurrency: usize, rate: Rate) -> (Arc<Limiter>, ManualClock) {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let limiter = Limiter::new(max_concurrency, rate, Clock::Manual(clock.clone()));
        (Arc::new(limiter), clock)
    }

    #[tokio::test]
    async fn concurrency_limits_are_first_come_first_served() {
        let (limiter, _) = limiter(2, Rate::unlimited());
        let first = limiter.acquire().await;
        let _second = limiter.acquire().await;
        let mut third = Box::pin(limiter.acquire());
        let mut fourth = Box::pin(limiter.acquire());
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        drop(first);
        assert!((&mut fourth).now_or_never().is_none(), "the third is next");
        assert!((&mut third).now_or_never().is_some());
    }

    #[tokio::test]
    async fn rate_limits_are_first_come_first_served() {
        let (limiter, clock) = limiter(3, Rate::spread(1));
        let _first = limiter.acquire().await;
        let mut second = Box::pin(limiter.acquire());
        let mut third = Box::pin(limiter.acquire());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        clock.advance(MINUTE + MARGIN);
        assert!((&mut third).now_or_never().is_none(), "the second is next");
        assert!((&mut second).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_cancelled_wait_uses_no_token() {
        let (limiter, clock) = limiter(1, Rate::spread(1));
        drop(limiter.acquire().await);
        let mut cancelled = Box::pin(limiter.acquire());
        assert!((&mut cancelled).now_or_never().is_none());
        drop(cancelled);
        clock.advance(MINUTE + MARGIN);
        assert!(limiter.acquire().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_pause_also_delays_requests_already_waiting() {
        let (limiter, clock) = limiter(1, Rate::spread(1));
        drop(limiter.acquire().await);
        let mut waiting = Box::pin(limiter.acquire());
        assert!((&mut waiting).now_or_never().is_none());
        limiter.pause(SECOND * 100);
        clock.advance(MINUTE + MARGIN);
        assert!((&mut waiting).now_or_never().is_none());
        clock.advance(SECOND * 40);
        assert!((&mut waiting).now_or_never().is_some());
    }
}
