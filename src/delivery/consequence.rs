//! Decides what one delivery attempt means for the message and its notifier: delivered, retry, park or drop. Pure.

use std::time::Duration;

use jiff::Timestamp;

use spendwatch_notify::outcome::{Delivery, RetrySchedule};
use spendwatch_store::outbox::AttemptOutcome;
use spendwatch_store::outbox::notifiers::{NotifierState, Parked};

/// How often a parked notifier is tried.
pub const PROBE_INTERVAL: Duration = Duration::from_mins(15);
/// Pause of a notifier that must not be probed; a change of its settings ends it.
const NO_PROBE_INTERVAL: Duration = Duration::from_hours(24 * 365);
/// Seconds before each retry; the last one repeats.
const COMMON_STEPS: [u64; 7] = [1, 5, 30, 120, 600, 1800, 3600];
/// Seconds before each retry after a temporary refusal by a mail server.
const MAIL_STEPS: [u64; 4] = [300, 900, 1800, 3600];
/// Seconds before each retry of a message that may have arrived, if people would see duplicates. The few attempts
/// outlast an hour in which the receiver hangs.
const VISIBLE_STEPS: [u64; 2] = [30, 7200];
/// Maximum attempts that may have arrived, if people would see duplicates.
pub const MAX_VISIBLE_ATTEMPTS: u32 = 3;
/// Consecutive failures after which the notifier is paused; messages decided meanwhile are folded.
const MAX_FAILURES: u32 = 5;

/// What [`assess`] needs to know about earlier attempts and other messages of the notifier.
#[derive(Debug, Clone, Copy)]
pub struct AttemptContext<'a> {
    pub n_attempts: u32,
    /// Attempts before this one that may have arrived.
    pub n_ambiguous: u32,
    pub shows_repeats: bool,
    pub state: &'a NotifierState,
    /// When a refusal of a message to this recipient first parked the notifier.
    pub parked_at: Option<Timestamp>,
    /// Whether a message to another recipient waits, which shows whether the notifier or only this recipient is refused.
    pub has_other_recipient: bool,
    pub now: Timestamp,
}

/// Outcome for the message and new state of the notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    pub outcome: AttemptOutcome,
    pub state: NotifierState,
    /// The `outcome` label of the counter.
    pub outcome_label: &'static str,
}

/// Returns the consequence of an attempt. `jitter` returns a random duration between half and all of its argument.
pub fn assess(
    delivery: Delivery,
    attempt: AttemptContext<'_>,
    jitter: impl Fn(Duration) -> Duration,
) -> Consequence {
    match delivery {
        Delivery::Delivered => delivered(AttemptOutcome::Delivered, attempt.now),
        Delivery::Posted { thread } => delivered(AttemptOutcome::Posted { thread }, attempt.now),
        // The remaining posts are due at once.
        Delivery::PartSent { .. } => retry(
            attempt.now,
            "sent in part".to_owned(),
            attempt.state.clone(),
        ),
        Delivery::Drop { error } => dead(error, attempt.state.clone()),
        Delivery::Retry {
            error,
            after,
            is_ambiguous,
            schedule,
        } => {
            let is_visible = is_ambiguous && attempt.shows_repeats;
            let steps: &[u64] = match schedule {
                _ if is_visible => &VISIBLE_STEPS,
                RetrySchedule::Common => &COMMON_STEPS,
                RetrySchedule::Mail => &MAIL_STEPS,
            };
            let n = if is_visible {
                attempt.n_ambiguous + 1
            } else {
                attempt.n_attempts
            };
            // A requested pause applies to all messages of the receiver, a retry step only to this one.
            let pause = jitter(step(steps, n)).max(after.unwrap_or_default());
            let state = failed(&attempt, after, schedule, jitter);
            if is_visible && n >= MAX_VISIBLE_ATTEMPTS {
                let error =
                    format!("{error}; sent {n} times without a clear response, may have arrived");
                return dead(error, state);
            }
            Consequence {
                outcome: AttemptOutcome::Retry {
                    at: later(attempt.now, pause),
                    error,
                    may_have_arrived: is_ambiguous,
                },
                state,
                outcome_label: "retried",
            }
        }
        Delivery::Park {
            error,
            is_probed: true,
        } if is_only_this_message_refused(&attempt) => {
            let pause = jitter(step(&MAIL_STEPS, attempt.n_attempts));
            retry(later(attempt.now, pause), error, attempt.state.clone())
        }
        Delivery::Park { error, is_probed } => park(error, is_probed, &attempt),
    }
}

/// Retries a message that did not arrive.
fn retry(at: Timestamp, error: String, state: NotifierState) -> Consequence {
    Consequence {
        outcome: AttemptOutcome::Retry {
            at,
            error,
            may_have_arrived: false,
        },
        state,
        outcome_label: "retried",
    }
}

fn dead(error: String, state: NotifierState) -> Consequence {
    Consequence {
        outcome: AttemptOutcome::Dead { error },
        state,
        outcome_label: "dropped",
    }
}

fn delivered(outcome: AttemptOutcome, now: Timestamp) -> Consequence {
    Consequence {
        outcome,
        state: NotifierState {
            last_delivered_at: Some(now),
            ..NotifierState::default()
        },
        outcome_label: "delivered",
    }
}

/// Returns the pause after the `n`th failure, without jitter.
fn step(steps: &[u64], n: u32) -> Duration {
    let place = usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    Duration::from_secs(steps[place.min(steps.len() - 1)])
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// Returns the state after an attempt that will be retried.
fn failed(
    attempt: &AttemptContext<'_>,
    after: Option<Duration>,
    schedule: RetrySchedule,
    jitter: impl Fn(Duration) -> Duration,
) -> NotifierState {
    let failures_in_row = attempt.state.failures_in_row.saturating_add(1);
    // A temporary refusal by a mail server is about one recipient; the server is not down.
    let is_down = schedule == RetrySchedule::Common && failures_in_row >= MAX_FAILURES;
    let own = if attempt.state.parked.is_some() {
        Some(PROBE_INTERVAL)
    } else {
        is_down.then(|| jitter(step(&COMMON_STEPS, failures_in_row).min(PROBE_INTERVAL)))
    };
    NotifierState {
        failures_in_row,
        paused_until: after.max(own).map(|pause| later(attempt.now, pause)),
        ..attempt.state.clone()
    }
}

/// Returns whether the receiver accepted other messages after it refused this one, so that parking would delay them all.
fn is_only_this_message_refused(attempt: &AttemptContext<'_>) -> bool {
    let parked_at = attempt.parked_at.filter(|_| attempt.state.parked.is_none());
    parked_at.is_some_and(|parked_at| attempt.state.last_delivered_at >= Some(parked_at))
}

/// Keeps the message, due at the next probe.
fn park(error: String, is_probed: bool, attempt: &AttemptContext<'_>) -> Consequence {
    let before = attempt.state.parked.as_ref();
    // Try another recipient first.
    let tries_other_recipient = is_probed && before.is_none() && attempt.has_other_recipient;
    let pause = match is_probed {
        _ if tries_other_recipient => None,
        true => Some(PROBE_INTERVAL),
        false => Some(NO_PROBE_INTERVAL),
    };
    let own_pause = Duration::from_secs(u64::from(tries_other_recipient));
    Consequence {
        outcome: AttemptOutcome::Retry {
            at: later(attempt.now, own_pause),
            error: error.clone(),
            may_have_arrived: false,
        },
        state: NotifierState {
            parked: Some(Parked {
                since: before.map_or(attempt.now, |parked| parked.since),
                reason: error,
                is_probed,
            }),
            paused_until: pause.map(|pause| later(attempt.now, pause)),
            failures_in_row: attempt.state.failures_in_row.saturating_add(1),
            ..attempt.state.clone()
        },
        outcome_label: "parked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn attempt(n_attempts: u32, state: &NotifierState) -> AttemptContext<'_> {
        AttemptContext {
            n_attempts,
            n_ambiguous: 0,
            shows_repeats: false,
            state,
            parked_at: None,
            has_other_recipient: false,
            now: at(NOW),
        }
    }

    fn after(seconds: u64) -> Delivery {
        Delivery::Retry {
            error: "later".into(),
            after: Some(Duration::from_secs(seconds)),
            is_ambiguous: false,
            schedule: RetrySchedule::Common,
        }
    }

    /// Returns the seconds until the message is retried, and until the notifier is used again.
    fn pauses(delivery: Delivery, attempt: AttemptContext<'_>) -> (Option<i64>, Option<i64>) {
        let now = attempt.now;
        let result = assess(delivery, attempt, |whole| whole);
        let until = |then: Timestamp| then.duration_since(now).as_secs();
        let message = match result.outcome {
            AttemptOutcome::Retry { at, .. } => Some(until(at)),
            AttemptOutcome::Delivered
            | AttemptOutcome::Posted { .. }
            | AttemptOutcome::Dead { .. } => None,
        };
        (message, result.state.paused_until.map(until))
    }

    #[test]
    fn steps_grow_and_mail_waits_longer() {
        let healthy = NotifierState::default();
        let mail = || Delivery::Retry {
            error: "greylisted".into(),
            after: None,
            is_ambiguous: false,
            schedule: RetrySchedule::Mail,
        };
        let common = (1..=9).map(|n| pauses(Delivery::retry("503"), attempt(n, &healthy)).0);
        let expected = [1, 5, 30, 120, 600, 1800, 3600, 3600, 3600].map(Some);
        assert_eq!(common.collect::<Vec<_>>(), expected);
        let mail = (1..=5).map(|n| pauses(mail(), attempt(n, &healthy)).0);
        let expected = [300, 900, 1800, 3600, 3600].map(Some);
        assert_eq!(mail.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn case_21_requested_pause_applies_to_the_notifier() {
        let healthy = NotifierState::default();
        assert_eq!(
            pauses(after(120), attempt(1, &healthy)),
            (Some(120), Some(120))
        );
        assert_eq!(pauses(after(7), attempt(3, &healthy)), (Some(30), Some(7)));
        let own = pauses(Delivery::retry("503"), attempt(3, &healthy));
        assert_eq!(own, (Some(30), None));
    }

    #[test]
    fn repeated_failures_pause_the_notifier() {
        let pause_after = |failures_in_row, delivery| {
            let state = NotifierState {
                failures_in_row,
                ..NotifierState::default()
            };
            pauses(delivery, attempt(1, &state)).1
        };
        let found: Vec<_> = (0..8)
            .map(|n| pause_after(n, Delivery::retry("503")))
            .collect();
        let open = [Some(600), Some(900), Some(900), Some(900)];
        assert_eq!(found[..4], [None; 4]);
        assert_eq!(found[4..], open);
        let greylisted = Delivery::Retry {
            error: "451".into(),
            after: None,
            is_ambiguous: false,
            schedule: RetrySchedule::Mail,
        };
        assert_eq!(pause_after(7, greylisted), None);
    }

    #[test]
    fn parking_keeps_the_message_and_success_ends_it() {
        let healthy = NotifierState::default();
        let parked = assess(Delivery::park("gone"), attempt(4, &healthy), |whole| whole);
        assert_eq!(parked.state.paused_until, Some(at("2026-11-24T12:15:00Z")));
        assert!(matches!(parked.outcome, AttemptOutcome::Retry { .. }));
        // Other failures meanwhile do not shorten the probe interval.
        let (_, paused) = pauses(Delivery::retry("503"), attempt(5, &parked.state));
        assert_eq!(paused, Some(900));
        let again = assess(
            Delivery::park("still gone"),
            AttemptContext {
                now: at("2026-11-24T12:15:00Z"),
                ..attempt(5, &parked.state)
            },
            |whole| whole,
        );
        let reason = again
            .state
            .parked
            .map(|parked| (parked.since, parked.reason));
        assert_eq!(reason, Some((at(NOW), "still gone".to_owned())));
        let delivered = assess(Delivery::Delivered, attempt(5, &parked.state), |whole| {
            whole
        });
        assert_eq!(delivered.state.parked, None);
        assert_eq!(delivered.state.failures_in_row, 0);
    }

    #[test]
    fn refused_message_does_not_park_the_notifier_again() {
        let healthy = NotifierState {
            last_delivered_at: Some(at("2026-11-24T11:50:00Z")),
            ..NotifierState::default()
        };
        let parked_at = |time: &str| AttemptContext {
            parked_at: Some(at(time)),
            ..attempt(2, &healthy)
        };
        let alone = parked_at("2026-11-24T11:45:00Z");
        assert_eq!(pauses(Delivery::park("550"), alone), (Some(900), None));
        // Nothing was delivered since: the notifier may be at fault.
        let again = parked_at("2026-11-24T11:55:00Z");
        assert_eq!(pauses(Delivery::park("550"), again), (Some(0), Some(900)));
        let first = AttemptContext {
            has_other_recipient: true,
            ..attempt(1, &healthy)
        };
        assert_eq!(pauses(Delivery::park("550"), first), (Some(1), None));
    }

    #[test]
    fn no_probes_where_they_are_not_allowed() {
        let park = Delivery::Park {
            error: "410".into(),
            is_probed: false,
        };
        let healthy = NotifierState::default();
        let (_, paused) = pauses(park, attempt(1, &healthy));
        assert_eq!(paused, Some(365 * 24 * 3600));
    }

    #[test]
    fn ambiguous_attempts_are_limited_only_if_people_see_duplicates() {
        let healthy = NotifierState::default();
        let pause = |shows_repeats, n| {
            let attempt = AttemptContext {
                n_ambiguous: n - 1,
                shows_repeats,
                ..attempt(n, &healthy)
            };
            pauses(Delivery::ambiguous("response timed out"), attempt).0
        };
        let seen: Vec<_> = (1..=3).map(|n| pause(true, n)).collect();
        assert_eq!(seen, [Some(30), Some(7200), None]);
        let unseen: Vec<_> = (1..=4).map(|n| pause(false, n)).collect();
        assert_eq!(unseen, [1, 5, 30, 120].map(Some));
        let last = AttemptContext {
            n_ambiguous: 2,
            shows_repeats: true,
            ..attempt(9, &healthy)
        };
        let result = assess(Delivery::ambiguous("response timed out"), last, |whole| {
            whole
        });
        let error = "response timed out; sent 3 times without a clear response, may have arrived";
        assert_eq!(
            result.outcome,
            AttemptOutcome::Dead {
                error: error.into()
            }
        );
        assert_eq!(result.outcome_label, "dropped");
        // A clear refusal does not count.
        let (clear, _) = pauses(Delivery::retry("503"), last);
        assert_eq!(clear, Some(3600));
    }
}
