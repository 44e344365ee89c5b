//! The limiter of one organization: a token bucket, a bound on requests at once, and pauses that the service asks for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::Clock;

/// A token bucket over running time. Whoever takes a token that is not there yet is told how long it takes to come.
#[derive(Debug, Clone, PartialEq)]
struct Bucket {
    /// Between two tokens; zero is no limit.
    interval: Duration,
    /// Tokens that may be saved up.
    burst: u32,
    /// When the bucket is full again.
    full_at: Duration,
    /// Nothing goes out before.
    paused_until: Duration,
}

impl Bucket {
    fn new(per_minute: u32) -> Bucket {
        let interval = Duration::from_mins(1)
            .checked_div(per_minute)
            .unwrap_or(Duration::ZERO);
        Bucket {
            interval,
            burst: (per_minute / 4).max(1),
            full_at: Duration::ZERO,
            paused_until: Duration::ZERO,
        }
    }

    /// Takes a token, where there is one; else says how long to wait before asking again.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if now < self.paused_until {
            return Err(self.paused_until - now);
        }
        let full_at = self.full_at.max(now);
        let ready_at = (full_at + self.interval).saturating_sub(self.interval * self.burst);
        if ready_at > now {
            return Err(ready_at - now);
        }
        self.full_at = full_at + self.interval;
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Limiter {
    bucket: Mutex<Bucket>,
    /// Who waits for a token waits in line.
    line: tokio::sync::Mutex<()>,
    slots: Semaphore,
    clock: Clock,
}

impl Limiter {
    /// 0 requests a minute is no limit.
    pub fn new(per_minute: u32, max_concurrency: usize, clock: Clock) -> Limiter {
        Limiter {
            bucket: Mutex::new(Bucket::new(per_minute)),
            line: tokio::sync::Mutex::new(()),
            slots: Semaphore::new(max_concurrency.max(1)),
            clock,
        }
    }

    /// Waits until one more request may go out. Dropping the future gives the place in line back.
    pub async fn enter(&self) -> SemaphorePermit<'_> {
        let permit = self
            .slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let _in_line = self.line.lock().await;
        loop {
            let now = self.clock.running();
            let wait = match self
                .bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(now)
            {
                Ok(()) => return permit,
                Err(wait) => wait,
            };
            self.clock.sleep(wait).await;
        }
    }

    /// Nothing of the whole organization goes out for so long.
    pub fn pause(&self, duration: Duration) {
        let until = self.clock.running() + duration;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.paused_until = bucket.paused_until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_in(bucket: &mut Bucket, from: u64, until: u64) -> usize {
        let mut now = Duration::from_secs(from);
        let mut n_sent = 0;
        while now < Duration::from_secs(until) {
            match bucket.take(now) {
                Ok(()) => n_sent += 1,
                Err(wait) => now += wait,
            }
        }
        n_sent
    }

    #[test]
    fn bursts_are_a_quarter_of_a_minute() {
        let mut bucket = Bucket::new(60);
        let burst = (0..100)
            .take_while(|_| bucket.take(Duration::ZERO).is_ok())
            .count();
        assert_eq!(burst, 15);
        assert_eq!(bucket.take(Duration::ZERO), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_minute_has_no_more_than_the_limit_and_a_burst() {
        let mut bucket = Bucket::new(60);
        assert_eq!(sent_in(&mut bucket, 0, 60), 74);
        assert_eq!(sent_in(&mut bucket, 60, 120), 60);
    }

    #[test]
    fn zero_is_no_limit_and_a_pause_holds_everything() {
        let mut bucket = Bucket::new(0);
        assert!((0..1000).all(|_| bucket.take(Duration::ZERO).is_ok()));
        bucket.paused_until = Duration::from_secs(120);
        assert_eq!(
            bucket.take(Duration::from_secs(20)),
            Err(Duration::from_secs(100))
        );
    }
}
