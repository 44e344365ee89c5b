//! Which failures are tried again and when; pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::error::Problem;

/// Attempts at one request, the first included.
pub const MAX_ATTEMPTS: u32 = 4;

/// Whether another attempt may succeed.
pub fn is_retried(problem: &Problem) -> bool {
    match problem {
        Problem::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
        Problem::TimedOut | Problem::Network(_) => true,
        Problem::Refused { .. } | Problem::TooLarge(_) | Problem::Faulty(_) => false,
    }
}

/// The pause before attempt `n_attempts + 1`: 1 s, 2 s, 4 s …, before jitter.
pub fn backoff(n_attempts: u32) -> Duration {
    Duration::from_secs(1 << n_attempts.saturating_sub(1).min(5))
}

/// A `retry-after` header: whole seconds, or an HTTP date, which in the past means now. Anything else says nothing.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let at = http_date(value)?;
    Some(Duration::try_from(at.duration_since(now).max(SignedDuration::ZERO)).unwrap_or_default())
}

/// An HTTP date.
pub fn http_date(value: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(value.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_21_retry_after_takes_seconds_or_a_date_and_ignores_rubbish() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let check = |value: &str, seconds: Option<u64>| {
            assert_eq!(
                retry_after(value, now),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Tue, 24 Nov 2026 12:02:00 GMT", Some(120));
        check("Tue, 24 Nov 2026 11:00:00 GMT", Some(0));
        for rubbish in ["", "soon", "-5", "1.5", "99999999999999999999999", "24 Nov"] {
            check(rubbish, None);
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let status = |status| Problem::Status {
            status,
            message: String::new(),
        };
        for good in [
            status(408),
            status(429),
            status(500),
            status(529),
            Problem::TimedOut,
        ] {
            assert!(is_retried(&good), "{good}");
        }
        for bad in [
            status(400),
            status(302),
            status(404),
            Problem::TooLarge(1),
            Problem::Faulty(String::new()),
        ] {
            assert!(!is_retried(&bad), "{bad}");
        }
        assert_eq!(
            (1..=8).map(|n| backoff(n).as_secs()).collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 32, 32, 32]
        );
    }
}
