//! When to retry a request, and how long to wait. Pure.

use std::time::Duration;

use jiff::Timestamp;

use spendwatch_base::outbound;

/// Maximum attempts of one request.
pub const MAX_ATTEMPTS: u32 = 4;
/// Wait after the first failure; doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Maximum pause that a server can request; a longer one is more likely a mistake.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Returns the wait after `n_attempts` (from 1), without jitter; `None` if there are no attempts left.
pub fn backoff_after(n_attempts: u32) -> Option<Duration> {
    (n_attempts < MAX_ATTEMPTS).then(|| {
        let doubled =
            FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(n_attempts.saturating_sub(1)));
        doubled.min(MAX_BACKOFF)
    })
}

/// Returns whether a retry may succeed after this status.
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..=599)
}

/// Parses a `retry-after-ms` header, rounded up to milliseconds, at most [`MAX_PAUSE`]; `None` if invalid.
pub fn retry_after_ms(header: &str) -> Option<Duration> {
    let (whole, fraction) = header
        .trim()
        .split_once('.')
        .unwrap_or((header.trim(), "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let more = u64::from(fraction.bytes().any(|byte| byte != b'0'));
    Some(Duration::from_millis(whole.saturating_add(more)).min(MAX_PAUSE))
}

/// Parses a `retry-after` header, at most [`MAX_PAUSE`]; `None` if invalid.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    outbound::retry_after(header, now).map(|wait| wait.min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_ends() {
        let steps: Vec<_> = (1..=4).map(backoff_after).collect();
        let secs = |n| Some(Duration::from_secs(n));
        assert_eq!(steps, [secs(1), secs(2), secs(4), None]);
        assert_eq!(backoff_after(u32::MAX), None);
    }

    #[test]
    fn transient_statuses() {
        let transient: Vec<u16> = (100..600).filter(|status| is_transient(*status)).collect();
        assert_eq!(transient[..3], [408, 409, 429]);
        assert_eq!(transient[3..], (500..600).collect::<Vec<u16>>());
    }

    #[test]
    fn pauses_in_milliseconds() {
        let check = |header, expected: Option<u64>| {
            assert_eq!(retry_after_ms(header), expected.map(Duration::from_millis));
        };
        check("1500", Some(1500));
        check(" 0.5 ", Some(1));
        check("2.0", Some(2));
        check("99999999999999999999999", Some(24 * 3600 * 1000));
        for invalid in ["", "soon", "-5", "1e3", ".5", "5.", "NaN"] {
            check(invalid, None);
        }
    }

    #[track_caller]
    fn check(header: &str, expected_seconds: Option<u64>) {
        let now = "2026-11-24T02:00:00Z".parse().unwrap();
        assert_eq!(
            retry_after(header, now),
            expected_seconds.map(Duration::from_secs),
            "{header:?}"
        );
    }

    #[test]
    fn case_21_no_pause_is_longer_than_a_day() {
        check("120", Some(120));
        check("Tue, 24 Nov 2026 02:02:00 GMT", Some(120));
        check("soon", None);
        check("86401", Some(24 * 3600));
        check("Fri, 01 Jan 9999 00:00:00 GMT", Some(24 * 3600));
        check("99999999999999999999999999", Some(24 * 3600));
    }
}
