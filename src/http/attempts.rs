//! Limits how often one client may present a wrong bearer token.
//!
//! Each source has a budget of wrong tokens that refills slowly. While it is spent, requests with a token are rejected
//! without comparing it: if the correct token still got an answer, a client could guess without limit. No connection is
//! held open to slow a client down.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::http::access::AccessDenied;
use crate::http::connections::ClientSource;
use spendwatch_base::lock;

/// Wrong tokens that one source may present at once.
const BUDGET: u32 = 10;
/// Time after which one more wrong token is allowed. Short, because a proxy makes all clients one source, and a correct
/// token has to wait as well.
const REFILL: Duration = Duration::from_secs(5);
/// Sources remembered at a time.
const MAX_SOURCES: usize = 1024;
/// A source that presented no token for this long begins a new burst.
const BURST_GAP: Duration = Duration::from_mins(10);
/// A burst that lasts is logged again after this time.
const LOG_INTERVAL: Duration = Duration::from_mins(10);

/// Token bucket: one unit is refilled per `REFILL`.
#[derive(Debug, Clone, Copy, Default)]
struct TokenBudget {
    /// Monotonic time at which the budget is full again.
    full_at: Duration,
}

impl TokenBudget {
    /// Returns the time until a unit is available, zero if one is available now.
    fn wait(self, now: Duration) -> Duration {
        let until_full = self.full_at.saturating_sub(now);
        until_full.saturating_sub(REFILL * (BUDGET - 1))
    }

    fn spend(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + REFILL;
    }
}

/// The wrong tokens that one source presented without a long pause between them.
#[derive(Debug, Default)]
struct Burst {
    budget: TokenBudget,
    last_at: Duration,
    n_wrong: u64,
    /// Requests rejected without comparing their token.
    n_rejected: u64,
    /// Whether the budget was spent at any time.
    was_spent: bool,
    is_log_due: bool,
    logged_at: Duration,
}

#[derive(Debug, PartialEq, Eq)]
struct BurstReport {
    source: ClientSource,
    n_wrong: u64,
    n_rejected: u64,
    was_spent: bool,
}

impl fmt::Display for BurstReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.n_wrong == 1 { "" } else { "s" };
        write!(
            f,
            "received {} wrong bearer token{plural} from {}",
            self.n_wrong, self.source
        )?;
        if self.n_rejected > 0 {
            write!(f, " and rejected {} more requests", self.n_rejected)?;
        }
        if self.was_spent {
            let seconds = REFILL.as_secs();
            write!(f, ", answering 429 but for one attempt per {seconds} s")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct AttemptState {
    bursts: HashMap<ClientSource, Burst>,
    /// Limits log lines, because a client with many addresses must not fill the log.
    log_budget: TokenBudget,
}

impl AttemptState {
    fn check(
        &mut self,
        source: ClientSource,
        now: Duration,
        authorize: impl FnOnce() -> Result<(), AccessDenied>,
    ) -> (Result<(), AccessDenied>, Option<BurstReport>) {
        if let Some(burst) = self.bursts.get_mut(&source) {
            let wait = burst.budget.wait(now);
            if !wait.is_zero() {
                burst.n_rejected += 1;
                burst.last_at = now;
                let seconds = wait.as_millis().div_ceil(1000);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).max(1);
                return (Err(AccessDenied::TooManyAttempts(seconds)), None);
            }
        }
        let result = authorize();
        let report = match result {
            Err(AccessDenied::NoToken) => self.record_wrong(source, now),
            Ok(()) | Err(_) => None,
        };
        (result, report)
    }

    fn record_wrong(&mut self, source: ClientSource, now: Duration) -> Option<BurstReport> {
        if !self.bursts.contains_key(&source) && self.bursts.len() >= MAX_SOURCES {
            self.make_room(now);
        }
        let burst = self.bursts.entry(source).or_default();
        if now.saturating_sub(burst.last_at) >= BURST_GAP {
            *burst = Burst::default();
        }
        burst.last_at = now;
        burst.n_wrong += 1;
        burst.budget.spend(now);
        let is_spent = !burst.budget.wait(now).is_zero();
        burst.is_log_due |= burst.n_wrong == 1
            || (is_spent && !burst.was_spent)
            || now.saturating_sub(burst.logged_at) >= LOG_INTERVAL;
        burst.was_spent |= is_spent;
        if !burst.is_log_due || !self.log_budget.wait(now).is_zero() {
            return None;
        }
        self.log_budget.spend(now);
        burst.is_log_due = false;
        burst.logged_at = now;
        Some(BurstReport {
            source,
            n_wrong: burst.n_wrong,
            n_rejected: burst.n_rejected,
            was_spent: burst.was_spent,
        })
    }

    /// Forgets ended bursts, or else the source whose budget is full again first.
    fn make_room(&mut self, now: Duration) {
        self.bursts
            .retain(|_, burst| now.saturating_sub(burst.last_at) < BURST_GAP);
        if self.bursts.len() >= MAX_SOURCES {
            let bursts = self.bursts.iter();
            let least = bursts.min_by_key(|(_, burst)| (burst.budget.full_at, burst.last_at));
            if let Some(source) = least.map(|(source, _)| *source) {
                self.bursts.remove(&source);
            }
        }
    }
}

/// Wrong tokens of all sources.
#[derive(Debug, Default)]
pub struct TokenAttempts(Mutex<AttemptState>);

impl TokenAttempts {
    /// Authorizes a request that presents a token, unless its source presented too many wrong ones. `now` is monotonic.
    ///
    /// Comparing and counting happen under one lock, so that simultaneous requests do not exceed the budget.
    pub fn check(
        &self,
        source: ClientSource,
        now: Duration,
        authorize: impl FnOnce() -> Result<(), AccessDenied>,
    ) -> Result<(), AccessDenied> {
        let mut state = lock(&self.0);
        let (result, report) = state.check(source, now, authorize);
        drop(state);
        if let Some(report) = report {
            tracing::warn!("{report}");
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> ClientSource {
        ClientSource::new(address.parse().unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const WRONG: Result<(), AccessDenied> = Err(AccessDenied::NoToken);

    /// Presents a wrong token; returns whether it was compared, and the log line.
    fn guess(state: &mut AttemptState, address: &str, now: Duration) -> (bool, Option<String>) {
        let (result, report) = state.check(source(address), now, || WRONG);
        (result == WRONG, report.map(|report| report.to_string()))
    }

    #[test]
    fn ten_wrong_tokens_are_compared_and_then_one_more_per_five_seconds() {
        let mut state = AttemptState::default();
        let start = seconds(3600);
        for _ in 0..10 {
            assert!(guess(&mut state, "192.0.2.1", start).0);
        }
        for (after, left) in [(0, 5), (1, 4), (4, 1)] {
            let (result, report) = state.check(source("192.0.2.1"), start + seconds(after), || {
                panic!("the token was compared")
            });
            assert_eq!(result, Err(AccessDenied::TooManyAttempts(left)));
            assert_eq!(report, None);
        }
        let almost = start + Duration::from_millis(4999);
        let (result, _) = state.check(source("192.0.2.1"), almost, || Ok(()));
        assert_eq!(result, Err(AccessDenied::TooManyAttempts(1)));
        let later = start + seconds(5);
        assert!(guess(&mut state, "192.0.2.1", later).0);
        assert!(!guess(&mut state, "192.0.2.1", later).0);
        let much_later = start + seconds(3600);
        let n_compared = (0..20)
            .filter(|_| guess(&mut state, "192.0.2.1", much_later).0)
            .count();
        assert_eq!(n_compared, 10);
    }

    #[test]
    fn a_correct_token_spends_nothing_and_gives_nothing_back() {
        let mut state = AttemptState::default();
        let client = source("192.0.2.1");
        for _ in 0..9 {
            guess(&mut state, "192.0.2.1", seconds(1));
        }
        for _ in 0..100 {
            let (result, report) = state.check(client, seconds(1), || Ok(()));
            assert_eq!((result, report), (Ok(()), None));
        }
        let (result, _) = state.check(client, seconds(1), || Err(AccessDenied::ForeignOrigin));
        assert_eq!(result, Err(AccessDenied::ForeignOrigin));
        assert!(guess(&mut state, "192.0.2.1", seconds(1)).0);
        assert!(!guess(&mut state, "192.0.2.1", seconds(1)).0);
        let (result, _) = state.check(source("192.0.2.2"), seconds(1), || Ok(()));
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn all_addresses_of_a_client_share_one_budget() {
        for [first, second, other] in [
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"],
            ["2001:db8::1", "2001:db8::ffff:ffff:1:1", "2001:db8:0:1::1"],
        ] {
            let mut state = AttemptState::default();
            for _ in 0..10 {
                guess(&mut state, first, seconds(1));
            }
            assert!(!guess(&mut state, second, seconds(1)).0);
            assert!(guess(&mut state, other, seconds(1)).0);
        }
    }

    #[test]
    fn a_burst_is_logged_when_it_begins_and_when_it_is_limited_and_rarely_after_that() {
        let mut state = AttemptState::default();
        let mut lines = Vec::new();
        for second in 0..900 {
            for _ in 0..3 {
                lines.extend(guess(&mut state, "2001:db8::1", seconds(second)).1);
            }
        }
        let expected = [
            "received 1 wrong bearer token from 2001:db8::/64",
            "received 10 wrong bearer tokens from 2001:db8::/64, answering 429 but for one attempt per 5 s",
        ];
        assert_eq!(lines[..2], expected);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[2].contains(" and rejected "), "{lines:?}");
        let (_, line) = guess(&mut state, "2001:db8::1", seconds(899) + BURST_GAP);
        assert_eq!(line.as_deref(), Some(expected[0]));
    }

    #[test]
    fn a_client_with_many_addresses_fills_neither_the_memory_nor_the_log() {
        let mut state = AttemptState::default();
        for _ in 0..10 {
            guess(&mut state, "192.0.2.1", seconds(1));
        }
        let mut n_lines = 0;
        for n in 0..3000 {
            let address = format!("2001:db8:0:{n:x}::1");
            let (is_compared, line) = guess(&mut state, &address, seconds(1));
            assert!(is_compared);
            n_lines += usize::from(line.is_some());
        }
        assert_eq!(state.bursts.len(), MAX_SOURCES);
        assert!(n_lines < 10, "{n_lines}");
        assert!(!guess(&mut state, "192.0.2.1", seconds(1)).0);
        // All of them are old by now.
        assert!(guess(&mut state, "192.0.2.2", seconds(1) + BURST_GAP).0);
        assert_eq!(state.bursts.len(), 1);
    }
}
