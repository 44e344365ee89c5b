//! How far this machine's clock may be from a server's, and what is wrong when it is further off.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Maximum difference between two clocks at which figures are recorded and decisions made.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How far a stored time may be ahead of now. After the clock is set back by up to this much, stored times stay as they
/// are; times further ahead were written by a wrong clock and are corrected.
pub const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(2);
/// Until the server has responded, how far the clock may be after the newest stored time.
pub const MAX_UNCONFIRMED: SignedDuration = SignedDuration::from_hours(24);

/// Why nothing is decided or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockProblem {
    /// The clock and the server's `Date` differ; either may be wrong.
    Differs { ours: Timestamp, theirs: Timestamp },
    /// The server has not responded since the start, and the clock does not follow from the newest stored time.
    Unconfirmed {
        ours: Timestamp,
        stored: Option<Timestamp>,
    },
}

/// Returns whether two clocks differ by more than [`MAX_SKEW`].
pub fn differs(ours: Timestamp, theirs: Timestamp) -> bool {
    theirs.duration_since(ours).abs() > MAX_SKEW
}

/// Returns whether a stored time cannot be right because it is too far ahead of now.
pub fn is_ahead(stored: Timestamp, now: Timestamp) -> bool {
    stored.duration_since(now) > MAX_AHEAD
}

/// Checks a clock that no server has confirmed yet against the newest time in the store.
pub fn check_unconfirmed(ours: Timestamp, stored: Option<Timestamp>) -> Result<(), ClockProblem> {
    let follows = stored.is_some_and(|stored| {
        let passed = ours.duration_since(stored);
        -MAX_SKEW <= passed && passed <= MAX_UNCONFIRMED
    });
    match follows {
        true => Ok(()),
        false => Err(ClockProblem::Unconfirmed { ours, stored }),
    }
}

impl fmt::Display for ClockProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ClockProblem::Differs { ours, theirs } => write!(
                f,
                "this machine's clock ({ours:.0}) and the `Date` of the Admin API ({theirs:.0}) differ by {}; nothing is \
                 decided or stored until they agree within {}; check the time synchronization (NTP) of this machine",
                length(theirs.duration_since(ours).abs()),
                length(MAX_SKEW),
            ),
            ClockProblem::Unconfirmed { ours, stored } => {
                write!(f, "this machine's clock ({ours:.0}) cannot be checked yet")?;
                if let Some(stored) = stored {
                    write!(f, ", and the newest entry in the store is from {stored:.0}")?;
                }
                f.write_str("; nothing is decided or stored until the Admin API responds")
            }
        }
    }
}

/// Formats the two largest units: `40d 2h`, `1h 5m`, `10m`.
fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().skip_while(|(count, _)| *count == 0).take(2);
    let parts = parts.filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn five_minutes_are_allowed_in_both_directions() {
        let now = at("2026-11-30T10:00:00Z");
        for (theirs, expected) in [
            ("2026-11-30T10:05:00Z", false),
            ("2026-11-30T10:05:01Z", true),
            ("2026-11-30T09:55:00Z", false),
            ("2026-11-30T09:54:59Z", true),
        ] {
            assert_eq!(differs(now, at(theirs)), expected, "{theirs}");
        }
    }

    #[test]
    fn without_a_response_the_clock_must_follow_from_the_store() {
        let now = at("2026-11-30T10:00:00Z");
        for (stored, is_right) in [
            (Some("2026-11-30T09:55:00Z"), true),
            (Some("2026-11-30T10:04:00Z"), true),
            (Some("2026-11-29T10:00:00Z"), true),
            (Some("2026-11-29T09:00:00Z"), false),
            (Some("2026-11-30T10:06:00Z"), false),
            (None, false),
        ] {
            let checked = check_unconfirmed(now, stored.map(at));
            assert_eq!(checked.is_ok(), is_right, "{stored:?}");
        }
    }

    #[test]
    fn a_problem_states_both_times() {
        let problem = ClockProblem::Differs {
            ours: at("2027-01-09T12:30:00.5Z"),
            theirs: at("2026-11-30T10:00:00Z"),
        };
        assert_eq!(
            problem.to_string(),
            "this machine's clock (2027-01-09T12:30:00Z) and the `Date` of the Admin API (2026-11-30T10:00:00Z) differ by \
             40d 2h; nothing is decided or stored until they agree within 5m; check the time synchronization (NTP) of \
             this machine"
        );
    }
}
