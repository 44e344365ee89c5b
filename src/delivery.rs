//! Delivery: claim a message, send it, write down what became of it. What follows from an attempt is pure; the rest is
//! three calls.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{Chance, Clock};
use crate::domain::ids::NotifierName;
use crate::metrics::counters::Counters;
use crate::notify::Notifier;
use crate::notify::envelope::{Envelope, Links};
use crate::notify::outcome::{Delivery, Schedule};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::messages::{NotifierState, Parked};
use crate::store::outbox::Outcome;

/// A parked receiver is tried so often.
const PROBE: Duration = Duration::from_mins(15);
/// The common steps, in seconds; the last one goes on for ever.
const COMMON: [u64; 7] = [1, 5, 30, 120, 600, 1800, 3600];
/// The steps for a mail server that says "later".
const MAIL: [u64; 4] = [300, 900, 1800, 3600];

/// What follows from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// Of the message.
    pub outcome: Outcome,
    /// Of the receiver.
    pub state: NotifierState,
    /// The `outcome` label of the counter.
    pub counted: &'static str,
}

/// The step before the next attempt, without jitter; `n_attempts` counts the one that failed.
pub fn step(schedule: Schedule, n_attempts: u32) -> Duration {
    let steps: &[u64] = match schedule {
        Schedule::Common => &COMMON,
        Schedule::Mail => &MAIL,
    };
    let place = usize::try_from(n_attempts.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .min(steps.len() - 1);
    Duration::from_secs(steps[place])
}

/// What follows. `jitter` makes a random duration between half and the whole of one.
pub fn follow(
    delivery: Delivery,
    n_attempts: u32,
    state: &NotifierState,
    now: Timestamp,
    jitter: impl Fn(Duration) -> Duration,
) -> Consequence {
    let later = |pause: Duration| now.checked_add(pause).unwrap_or(Timestamp::MAX);
    let failed = NotifierState {
        failures_in_row: state.failures_in_row.saturating_add(1),
        ..state.clone()
    };
    match delivery {
        Delivery::Delivered => Consequence {
            outcome: Outcome::Delivered,
            state: NotifierState {
                last_delivered_at: Some(now),
                ..NotifierState::default()
            },
            counted: "delivered",
        },
        Delivery::Drop { error } => Consequence {
            outcome: Outcome::Dead { error },
            state: state.clone(),
            counted: "dropped",
        },
        Delivery::Retry {
            error,
            after,
            schedule,
            ..
        } => {
            // What the receiver asks for pauses all of its messages, our own step just this one.
            let at = later(jitter(step(schedule, n_attempts)).max(after.unwrap_or_default()));
            let paused_until = after.map(later).or(state.paused_until);
            Consequence {
                outcome: Outcome::Retry { at, error },
                state: NotifierState {
                    paused_until,
                    ..failed
                },
                counted: "retried",
            }
        }
        Delivery::Park { error, is_probed } => {
            let pause = if is_probed {
                PROBE
            } else {
                Duration::from_hours(24 * 365)
            };
            let since = state.parked.as_ref().map_or(now, |parked| parked.since);
            Consequence {
                outcome: Outcome::Retry {
                    at: now,
                    error: error.clone(),
                },
                state: NotifierState {
                    parked: Some(Parked {
                        since,
                        reason: error,
                    }),
                    paused_until: Some(later(pause)),
                    ..failed
                },
                counted: "parked",
            }
        }
    }
}

/// One receiver and its messages.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name.
    pub name: NotifierName,
    /// How it is reached.
    pub notifier: Notifier,
    /// Where its messages wait.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub chance: Chance,
    /// Where links lead to.
    pub links: Links,
}

impl Worker {
    /// Sends what is due, whenever something is, until asked to stop.
    pub async fn run(&self, counters: &Counters, bell: &Notify, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.run_due(counters).await {
                tracing::error!(notifier.name = %self.name, "the store failed: {error}");
            }
            tokio::select! {
                () = self.clock.sleep(Duration::from_secs(1)) => {}
                () = bell.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Sends everything that is due now, one message after the other. Gives the number of attempts.
    pub async fn run_due(&self, counters: &Counters) -> Result<usize, StoreError> {
        let mut n_attempts = 0;
        loop {
            let now = self.clock.now();
            for (notifier, id) in self.store.expire(now).await? {
                counters.count_notification(&notifier, "dropped", 1);
                tracing::error!(notifier.name = %notifier, "message {id} is a dead letter: older than `max_age`");
            }
            let state = self.store.notifier_state(&self.name).await?;
            if state.paused_until.is_some_and(|until| until > now) {
                return Ok(n_attempts);
            }
            let Some(claimed) = self.store.claim(&self.name, now).await? else {
                return Ok(n_attempts);
            };
            n_attempts += 1;
            let envelope = Envelope {
                id: &claimed.id,
                notifier: &self.name,
                facts: &claimed.facts,
                created_at: claimed.created_at,
                now,
                n_attempts: claimed.n_attempts.saturating_sub(1),
                is_replay: claimed.is_replay,
                links: &self.links,
                recipient: claimed.recipient.as_deref(),
            };
            let delivery = self.notifier.send(&envelope).await;
            let now = self.clock.now();
            let jitter = |whole| self.chance.jitter(whole);
            let consequence = follow(delivery, claimed.n_attempts, &state, now, jitter);
            counters.count_notification(&self.name, consequence.counted, 1);
            self.store
                .finish(&claimed.id, consequence.outcome.clone(), now)
                .await?;
            self.log(&claimed.id, &consequence.outcome);
            if consequence.state != state {
                self.store
                    .save_notifier_state(&self.name, consequence.state)
                    .await?;
            }
        }
    }

    fn log(&self, id: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered => {
                tracing::debug!(notifier.name = %self.name, "message {id} is delivered");
            }
            Outcome::Retry { at, error } => {
                tracing::warn!(notifier.name = %self.name, "message {id} waits until {at}: {error}");
            }
            Outcome::Dead { error } => {
                tracing::error!(notifier.name = %self.name, "message {id} is a dead letter: {error}");
            }
        }
    }
}

/// How long a loop may sleep before it looks again.
pub const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn retry(after: Option<u64>, is_ambiguous: bool) -> Delivery {
        let after = after.map(Duration::from_secs);
        Delivery::Retry {
            error: "later".into(),
            after,
            is_ambiguous,
            schedule: Schedule::Common,
        }
    }

    #[test]
    fn steps_grow_and_mail_waits_longer() {
        let common: Vec<u64> = (1..=9)
            .map(|n| step(Schedule::Common, n).as_secs())
            .collect();
        assert_eq!(common, [1, 5, 30, 120, 600, 1800, 3600, 3600, 3600]);
        let mail: Vec<u64> = (1..=5).map(|n| step(Schedule::Mail, n).as_secs()).collect();
        assert_eq!(mail, [300, 900, 1800, 3600, 3600]);
    }

    #[test]
    fn case_21_what_the_receiver_asks_for_pauses_the_notifier() {
        let now = at("2026-11-24T12:00:00Z");
        let asked = follow(
            retry(Some(120), false),
            1,
            &NotifierState::default(),
            now,
            |whole| whole,
        );
        assert_eq!(asked.state.paused_until, Some(at("2026-11-24T12:02:00Z")));
        assert_eq!(
            asked.outcome,
            Outcome::Retry {
                at: at("2026-11-24T12:02:00Z"),
                error: "later".into()
            }
        );
        let own = follow(
            retry(None, false),
            3,
            &NotifierState::default(),
            now,
            |whole| whole,
        );
        assert_eq!(
            own.outcome,
            Outcome::Retry {
                at: at("2026-11-24T12:00:30Z"),
                error: "later".into()
            }
        );
        assert_eq!(own.state.paused_until, None);
    }

    #[test]
    fn parking_keeps_the_message_and_probes_and_success_ends_it() {
        let now = at("2026-11-24T12:00:00Z");
        let park = Delivery::Park {
            error: "gone".into(),
            is_probed: true,
        };
        let parked = follow(park, 4, &NotifierState::default(), now, |whole| whole);
        assert_eq!(parked.state.paused_until, Some(at("2026-11-24T12:15:00Z")));
        assert!(matches!(parked.outcome, Outcome::Retry { .. }));
        let delivered = follow(Delivery::Delivered, 5, &parked.state, now, |whole| whole);
        assert_eq!(delivered.state.parked, None);
        assert_eq!(delivered.state.failures_in_row, 0);
    }

    #[test]
    fn an_attempt_that_may_have_arrived_is_repeated_rather_than_lost() {
        let now = at("2026-11-24T12:00:00Z");
        let third = follow(
            retry(None, true),
            3,
            &NotifierState::default(),
            now,
            |whole| whole,
        );
        assert!(matches!(third.outcome, Outcome::Retry { .. }));
    }
}
