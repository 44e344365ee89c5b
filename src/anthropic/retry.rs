//! When a request is tried again, and how long is waited before: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

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
    matches!(status, 408 | 429 | 500..=599)
}

/// How long a `retry-after` header asks to wait: seconds (a fraction counts as a whole one), or a date; one in the
/// past means now. At most [`MAX_PAUSE`]. Anything else is `None`, and ignored.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    seconds(header)
        .or_else(|| until_date(header, now))
        .map(|wait| wait.min(MAX_PAUSE))
}

fn seconds(header: &str) -> Option<Duration> {
    let (whole, fraction) = header.split_once('.').unwrap_or((header, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // More digits than 64 bits hold: longer than any pause that is granted.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let has_fraction = fraction.bytes().any(|byte| byte != b'0');
    Some(Duration::from_secs(
        whole.saturating_add(u64::from(has_fraction)),
    ))
}

fn until_date(header: &str, now: Timestamp) -> Option<Duration> {
    let wait = http_date(header)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

/// A date as HTTP writes it: `Tue, 24 Nov 2026 02:00:00 GMT`, or one of the two older forms.
pub fn http_date(header: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(header)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Timestamp::from_duration(SignedDuration::try_from(since_1970).ok()?).ok()
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
        assert_eq!(passing[..2], [408, 429]);
        assert_eq!(passing[2..], (500..600).collect::<Vec<u16>>());
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
    fn case_21_retry_after_is_seconds_or_a_date_and_rubbish_is_ignored() {
        check("120", Some(120));
        check(" 7 ", Some(7));
        check("0", Some(0));
        check("1.5", Some(2));
        check("2.0", Some(2));
        check("Tue, 24 Nov 2026 02:02:00 GMT", Some(120));
        check("Tuesday, 24-Nov-26 02:02:00 GMT", Some(120));
        check("Tue Nov 24 02:02:00 2026", Some(120));
        check("Tue, 24 Nov 2026 01:00:00 GMT", Some(0));
        check("Fri, 01 Jan 9999 00:00:00 GMT", Some(24 * 3600));
        check("99999999999999999999999999", Some(24 * 3600));
        for rubbish in [
            "",
            "soon",
            "-5",
            "+5",
            "1e3",
            "5 s",
            ".5",
            "5.",
            "2026-11-24T02:02:00Z",
            "NaN",
        ] {
            check(rubbish, None);
        }
    }
}
