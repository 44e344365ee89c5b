//! What follows from one attempt, for the message and for its receiver: pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::notify::outcome::{Delivery, Schedule};
use crate::store::notifiers::{NotifierState, Parked};
use crate::store::outbox::Outcome;

/// A parked receiver is tried so often.
pub const PROBE: Duration = Duration::from_mins(15);
/// The pause of a receiver that wants no probes: until its settings change.
const NO_PROBE: Duration = Duration::from_hours(24 * 365);
/// The common steps, in seconds; the last one goes on for ever.
const COMMON: [u64; 7] = [1, 5, 30, 120, 600, 1800, 3600];
/// The steps for a mail server that says "later".
const MAIL: [u64; 4] = [300, 900, 1800, 3600];
/// The steps after attempts that may have arrived, where people would see each repeat. There are few, so they reach
/// beyond an hour in which a receiver only hangs.
const VISIBLE: [u64; 2] = [30, 7200];
/// So many attempts that may have arrived are made where people would see each repeat.
pub const MAX_VISIBLE: u32 = 3;
/// After so many failures in a row the receiver is left alone for a step; what comes meanwhile is folded.
const MAX_FAILURES: u32 = 5;

/// One attempt, as far as its consequence depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    pub n_attempts: u32,
    /// Attempts before this one that may have arrived.
    pub n_ambiguous: u32,
    /// Whether people see a message twice when it is sent twice.
    pub shows_repeats: bool,
    /// How the receiver fared before.
    pub state: &'a NotifierState,
    /// When a refusal of this message, or of another one to the same recipient, first parked the notifier.
    pub parked_at: Option<Timestamp>,
    /// Whether a message to another recipient can show at once whether it is the notifier or the recipient that is refused.
    pub has_other_recipient: bool,
    pub now: Timestamp,
}

/// What follows from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    pub outcome: Outcome,
    pub state: NotifierState,
    /// The `outcome` label of the counter.
    pub counted: &'static str,
}

/// What follows. `jitter` makes a random duration between half and the whole of one.
pub fn follow(
    delivery: Delivery,
    tried: Tried<'_>,
    jitter: impl Fn(Duration) -> Duration,
) -> Consequence {
    match delivery {
        Delivery::Delivered => delivered(Outcome::Delivered, tried.now),
        Delivery::Posted { thread } => delivered(Outcome::Posted { thread }, tried.now),
        // What is left of it is due at once.
        Delivery::Partly { .. } => Consequence {
            outcome: Outcome::Retry {
                at: tried.now,
                error: "posted in part".to_owned(),
                may_have_arrived: false,
            },
            state: tried.state.clone(),
            counted: "retried",
        },
        Delivery::Drop { error } => Consequence {
            outcome: Outcome::Dead { error },
            state: tried.state.clone(),
            counted: "dropped",
        },
        Delivery::Retry {
            error,
            after,
            is_ambiguous,
            schedule,
        } => {
            let is_visible = is_ambiguous && tried.shows_repeats;
            let steps: &[u64] = match schedule {
                _ if is_visible => &VISIBLE,
                Schedule::Common => &COMMON,
                Schedule::Mail => &MAIL,
            };
            let n = if is_visible {
                tried.n_ambiguous + 1
            } else {
                tried.n_attempts
            };
            // What the receiver asks for holds for all of its messages, our own step just for this one.
            let pause = jitter(step(steps, n)).max(after.unwrap_or_default());
            let state = failed(&tried, after, schedule, jitter);
            if is_visible && n >= MAX_VISIBLE {
                let error =
                    format!("{error}; sent {n} times without a clear answer, it may have arrived");
                return Consequence {
                    outcome: Outcome::Dead { error },
                    state,
                    counted: "dropped",
                };
            }
            Consequence {
                outcome: Outcome::Retry {
                    at: later(tried.now, pause),
                    error,
                    may_have_arrived: is_ambiguous,
                },
                state,
                counted: "retried",
            }
        }
        Delivery::Park {
            error,
            is_probed: true,
        } if is_refused_alone(&tried) => Consequence {
            outcome: Outcome::Retry {
                at: later(tried.now, jitter(step(&MAIL, tried.n_attempts))),
                error,
                may_have_arrived: false,
            },
            state: tried.state.clone(),
            counted: "retried",
        },
        Delivery::Park { error, is_probed } => park(error, is_probed, &tried),
    }
}

fn delivered(outcome: Outcome, now: Timestamp) -> Consequence {
    Consequence {
        outcome,
        state: NotifierState {
            last_delivered_at: Some(now),
            ..NotifierState::default()
        },
        counted: "delivered",
    }
}

/// The step before the next attempt, without jitter; `n` counts the failures, the last one included.
fn step(steps: &[u64], n: u32) -> Duration {
    let place = usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    Duration::from_secs(steps[place.min(steps.len() - 1)])
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// How a receiver fares after an attempt that is to be made again.
fn failed(
    tried: &Tried<'_>,
    after: Option<Duration>,
    schedule: Schedule,
    jitter: impl Fn(Duration) -> Duration,
) -> NotifierState {
    let failures_in_row = tried.state.failures_in_row.saturating_add(1);
    // A mail server that says "later" answers for one recipient, and is not down.
    let is_down = schedule == Schedule::Common && failures_in_row >= MAX_FAILURES;
    let own = if tried.state.parked.is_some() {
        Some(PROBE)
    } else {
        is_down.then(|| jitter(step(&COMMON, failures_in_row).min(PROBE)))
    };
    NotifierState {
        failures_in_row,
        paused_until: after.max(own).map(|pause| later(tried.now, pause)),
        ..tried.state.clone()
    }
}

/// Whether the receiver took other messages after it had refused this one: then parking would hold up all of them for it.
fn is_refused_alone(tried: &Tried<'_>) -> bool {
    let parked_at = tried.parked_at.filter(|_| tried.state.parked.is_none());
    parked_at.is_some_and(|parked_at| tried.state.last_delivered_at >= Some(parked_at))
}

/// The message is kept, and is due when the receiver is asked again.
fn park(error: String, is_probed: bool, tried: &Tried<'_>) -> Consequence {
    let before = tried.state.parked.as_ref();
    // Another recipient goes first.
    let is_asking_another = is_probed && before.is_none() && tried.has_other_recipient;
    let pause = match is_probed {
        _ if is_asking_another => None,
        true => Some(PROBE),
        false => Some(NO_PROBE),
    };
    let own_pause = Duration::from_secs(u64::from(is_asking_another));
    Consequence {
        outcome: Outcome::Retry {
            at: later(tried.now, own_pause),
            error: error.clone(),
            may_have_arrived: false,
        },
        state: NotifierState {
            parked: Some(Parked {
                since: before.map_or(tried.now, |parked| parked.since),
                reason: error,
                is_probed,
            }),
            paused_until: pause.map(|pause| later(tried.now, pause)),
            failures_in_row: tried.state.failures_in_row.saturating_add(1),
            ..tried.state.clone()
        },
        counted: "parked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tried(n_attempts: u32, state: &NotifierState) -> Tried<'_> {
        Tried {
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
            schedule: Schedule::Common,
        }
    }

    /// Seconds until the message's next attempt, and until the receiver is asked for anything again.
    fn pauses(delivery: Delivery, tried: Tried<'_>) -> (Option<i64>, Option<i64>) {
        let now = tried.now;
        let followed = follow(delivery, tried, |whole| whole);
        let until = |then: Timestamp| then.duration_since(now).as_secs();
        let message = match followed.outcome {
            Outcome::Retry { at, .. } => Some(until(at)),
            Outcome::Delivered | Outcome::Posted { .. } | Outcome::Dead { .. } => None,
        };
        (message, followed.state.paused_until.map(until))
    }

    #[test]
    fn steps_grow_and_mail_waits_longer() {
        let well = NotifierState::default();
        let mail = || Delivery::Retry {
            error: "greylisted".into(),
            after: None,
            is_ambiguous: false,
            schedule: Schedule::Mail,
        };
        let common = (1..=9).map(|n| pauses(Delivery::retry("503"), tried(n, &well)).0);
        let expected = [1, 5, 30, 120, 600, 1800, 3600, 3600, 3600].map(Some);
        assert_eq!(common.collect::<Vec<_>>(), expected);
        let mail = (1..=5).map(|n| pauses(mail(), tried(n, &well)).0);
        let expected = [300, 900, 1800, 3600, 3600].map(Some);
        assert_eq!(mail.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn case_21_what_the_receiver_asks_for_pauses_the_notifier() {
        let well = NotifierState::default();
        assert_eq!(pauses(after(120), tried(1, &well)), (Some(120), Some(120)));
        assert_eq!(pauses(after(7), tried(3, &well)), (Some(30), Some(7)));
        let own = pauses(Delivery::retry("503"), tried(3, &well));
        assert_eq!(own, (Some(30), None));
    }

    #[test]
    fn a_receiver_that_fails_again_and_again_is_left_alone_for_a_step() {
        let pause_after = |failures_in_row, delivery| {
            let state = NotifierState {
                failures_in_row,
                ..NotifierState::default()
            };
            pauses(delivery, tried(1, &state)).1
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
            schedule: Schedule::Mail,
        };
        assert_eq!(pause_after(7, greylisted), None);
    }

    #[test]
    fn parking_keeps_the_message_and_probes_and_success_ends_it() {
        let well = NotifierState::default();
        let parked = follow(Delivery::park("gone"), tried(4, &well), |whole| whole);
        assert_eq!(parked.state.paused_until, Some(at("2026-11-24T12:15:00Z")));
        assert!(matches!(parked.outcome, Outcome::Retry { .. }));
        // What fails otherwise meanwhile is not tried more often for it.
        let (_, paused) = pauses(Delivery::retry("503"), tried(5, &parked.state));
        assert_eq!(paused, Some(900));
        let again = follow(
            Delivery::park("still gone"),
            Tried {
                now: at("2026-11-24T12:15:00Z"),
                ..tried(5, &parked.state)
            },
            |whole| whole,
        );
        let reason = again
            .state
            .parked
            .map(|parked| (parked.since, parked.reason));
        assert_eq!(reason, Some((at(NOW), "still gone".to_owned())));
        let delivered = follow(Delivery::Delivered, tried(5, &parked.state), |whole| whole);
        assert_eq!(delivered.state.parked, None);
        assert_eq!(delivered.state.failures_in_row, 0);
    }

    #[test]
    fn a_message_that_alone_is_refused_does_not_park_the_notifier_again() {
        let well = NotifierState {
            last_delivered_at: Some(at("2026-11-24T11:50:00Z")),
            ..NotifierState::default()
        };
        let parked_at = |time: &str| Tried {
            parked_at: Some(at(time)),
            ..tried(2, &well)
        };
        let alone = parked_at("2026-11-24T11:45:00Z");
        assert_eq!(pauses(Delivery::park("550"), alone), (Some(900), None));
        // Nothing was delivered since: the notifier may be at fault.
        let again = parked_at("2026-11-24T11:55:00Z");
        assert_eq!(pauses(Delivery::park("550"), again), (Some(0), Some(900)));
        let first = Tried {
            has_other_recipient: true,
            ..tried(1, &well)
        };
        assert_eq!(pauses(Delivery::park("550"), first), (Some(1), None));
    }

    #[test]
    fn a_receiver_that_wants_no_probes_gets_none() {
        let park = Delivery::Park {
            error: "410".into(),
            is_probed: false,
        };
        let well = NotifierState::default();
        let (_, paused) = pauses(park, tried(1, &well));
        assert_eq!(paused, Some(365 * 24 * 3600));
    }

    #[test]
    fn what_may_have_arrived_is_sent_three_times_where_people_see_it_and_for_ever_where_not() {
        let well = NotifierState::default();
        let pause = |shows_repeats, n| {
            let tried = Tried {
                n_ambiguous: n - 1,
                shows_repeats,
                ..tried(n, &well)
            };
            pauses(Delivery::ambiguous("no answer in time"), tried).0
        };
        let seen: Vec<_> = (1..=3).map(|n| pause(true, n)).collect();
        assert_eq!(seen, [Some(30), Some(7200), None]);
        let unseen: Vec<_> = (1..=4).map(|n| pause(false, n)).collect();
        assert_eq!(unseen, [1, 5, 30, 120].map(Some));
        let last = Tried {
            n_ambiguous: 2,
            shows_repeats: true,
            ..tried(9, &well)
        };
        let followed = follow(Delivery::ambiguous("no answer in time"), last, |whole| {
            whole
        });
        let error = "no answer in time; sent 3 times without a clear answer, it may have arrived";
        assert_eq!(
            followed.outcome,
            Outcome::Dead {
                error: error.into()
            }
        );
        assert_eq!(followed.counted, "dropped");
        // A clear refusal is no such try.
        let (clear, _) = pauses(Delivery::retry("503"), last);
        assert_eq!(clear, Some(3600));
    }
}
