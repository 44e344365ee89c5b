//! When a request is tried again, and how long is waited before: pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::outbound;

/// How often one request is sent at most.
pub const MAX_ATTEMPTS: u32 = 4;
/// The wait after the first failure; each later one is twice as long …
const FIRST_STEP: Duration = Duration::from_secs(1);
/// … up to this.
const LAST_STEP: Duration = Duration::from_secs(30);
/// The longest pause that a server can ask for: beyond it, a header is more likely wrong than meant.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The step before the next attempt, jitter not yet drawn; `None` once enough were made. `n_attempts` from 1.
pub fn step_after(n_attempts: u32) -> Option<Duration> {
    (n_attempts < MAX_ATTEMPTS).then(|| {
        let doubled = FIRST_STEP.saturating_mul(2_u32.saturating_pow(n_attempts.saturating_sub(1)));
        doubled.min(LAST_STEP)
    })
}

/// Whether a later attempt may bring another status.
pub fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..=599)
}

/// How long a `retry-after-ms` header asks to wait, at most [`MAX_PAUSE`]; `None` where it says nothing of use. A fraction
/// counts as a whole millisecond.
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

/// How long a `retry-after` header asks to wait, at most [`MAX_PAUSE`]; `None` where it says nothing of use.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    outbound::retry_after(header, now).map(|wait| wait.min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_and_end() {
        let steps: Vec<_> = (1..=4).map(step_after).collect();
        let secs = |n| Some(Duration::from_secs(n));
        assert_eq!(steps, [secs(1), secs(2), secs(4), None]);
        assert_eq!(step_after(u32::MAX), None);
    }

    #[test]
    fn passing_statuses() {
        let passing: Vec<u16> = (100..600).filter(|status| is_passing(*status)).collect();
        assert_eq!(passing[..3], [408, 409, 429]);
        assert_eq!(passing[3..], (500..600).collect::<Vec<u16>>());
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
        for rubbish in ["", "soon", "-5", "1e3", ".5", "5.", "NaN"] {
            check(rubbish, None);
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
