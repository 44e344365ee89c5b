//! Delivery: claims a message, sends it and records the outcome. Each notifier has its own worker, so that a receiver
//! that hangs delays no other.
//!
//! An attempt is counted before it is made, and its outcome is recorded afterwards. If the process is killed in between,
//! the attempt is repeated with the same id.

pub mod consequence;
pub mod orphans;
pub mod resend;

pub mod configured;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use tokio_util::sync::CancellationToken;

use crate::app::wakeups::Wakeups;
use crate::delivery::consequence::{AttemptContext, Consequence, assess};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::outbound::error_chain;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::skew::{MAX_SKEW, differs};
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::{Envelope, Links};
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::wording::digest::DigestEnvelope;
use spendwatch_store::Store;
use spendwatch_store::error::{StoreError, StoreErrorCause};
use spendwatch_store::outbox::fallbacks::Fallback;
use spendwatch_store::outbox::notifiers::NotifierState;
use spendwatch_store::outbox::{AttemptOutcome, ClaimedMessage};

/// Maximum sleep of a worker, because another process may have replayed a message.
const MAX_SLEEP: Duration = Duration::from_secs(30);
/// How long a running attempt may take after the worker was asked to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a store failure, doubled after each further one up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Sends the messages of one notifier.
///
/// All its state is in the store. To change settings, stop its task, wait for it to end, and run a new worker with the
/// same name: waiting messages are sent with the new settings and keep their ids.
#[derive(Debug, Clone)]
pub struct DeliveryWorker {
    pub name: NotifierName,
    pub notifier: Notifier,
    /// Whether people see a message twice when it is sent twice.
    pub shows_repeats: bool,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    pub links: Links,
    /// Minimum time between a delivery and the next message, during which new alerts are grouped.
    pub group_interval: SignedDuration,
    pub fallback: Option<Fallback>,
}

/// State of a worker between two rounds.
#[derive(Default)]
struct WorkerProgress {
    has_started: bool,
    was_parked: bool,
    pending_write: Option<PendingWrite>,
    /// Wall clock and running time at the previous round.
    last_clock: Option<(Timestamp, Duration)>,
}

/// Result of a post that is not yet recorded. It must be recorded before anything else is sent: otherwise a failing
/// store would cause the same message to be sent repeatedly.
enum PendingWrite {
    /// One of several posts was accepted or refused.
    Post {
        claimed: Box<ClaimedMessage>,
        before: NotifierState,
    },
    End(Box<FinishedAttempt>),
}

struct FinishedAttempt {
    claimed: ClaimedMessage,
    before: NotifierState,
    consequence: Consequence,
    at: Timestamp,
}

#[derive(Default)]
struct SendRound {
    n_attempts: usize,
    has_used_fallback: bool,
}

impl DeliveryWorker {
    /// Sends due messages until asked to stop; a commit wakes it. A running attempt may finish within [`STOP_LIMIT`].
    /// Store failures are logged and retried.
    pub async fn run(&self, counters: &Counters, wakeups: &Wakeups, stop: &CancellationToken) {
        let stop_deadline = async {
            stop.cancelled().await;
            self.clock.sleep(STOP_LIMIT).await;
        };
        tokio::select! {
            () = self.run_until_stopped(counters, wakeups, stop) => {}
            () = stop_deadline => {
                tracing::warn!(
                    notifier.name = %self.name,
                    "delivery attempt timed out, retrying with the same id"
                );
            }
        }
        counters.remove_parked(&self.name);
        self.store.note_success(&self.failure_key());
    }

    /// Identifies this worker's store failures.
    fn failure_key(&self) -> String {
        format!("notifier `{}`", self.name)
    }

    /// Sends all due messages, one after the other, and returns the number of attempts.
    pub async fn run_due(&self, counters: &Counters) -> Result<usize, StoreError> {
        let round = self
            .send_due(counters, &mut None, &CancellationToken::new())
            .await?;
        Ok(round.n_attempts)
    }

    async fn run_until_stopped(
        &self,
        counters: &Counters,
        wakeups: &Wakeups,
        stop: &CancellationToken,
    ) {
        let wakeup = wakeups.for_notifier(&self.name);
        let mut progress = WorkerProgress::default();
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            match self.run_once(counters, wakeups, &mut progress, stop).await {
                Ok(sleep) => {
                    pause = FIRST_PAUSE;
                    self.store.note_success(&self.failure_key());
                    tokio::select! {
                        () = self.clock.sleep(sleep) => {}
                        () = wakeup.notified() => {}
                        () = stop.cancelled() => {}
                    }
                }
                Err(error) => {
                    let (error_text, seconds) = (error_chain(&error), pause.as_secs());
                    if self.store.note_failure(&self.failure_key(), &error) {
                        tracing::error!(
                            notifier.name = %self.name,
                            "{error_text}; notifier `{}` sends nothing, retrying in {seconds} s", self.name
                        );
                    }
                    // Wake-ups are ignored: each cycle would query the failing store again.
                    let sleep = self.clock.sleep(pause);
                    let _ = stop.run_until_cancelled(sleep).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Runs one round and returns how long to sleep.
    async fn run_once(
        &self,
        counters: &Counters,
        wakeups: &Wakeups,
        progress: &mut WorkerProgress,
        stop: &CancellationToken,
    ) -> Result<Duration, StoreError> {
        if !progress.has_started {
            self.resume(counters).await?;
            let state = self.store.notifier_state(&self.name).await?;
            progress.was_parked = state.parked.is_some();
            progress.has_started = true;
        }
        self.adjust_to_clock(&mut progress.last_clock).await?;
        let round = self
            .send_due(counters, &mut progress.pending_write, stop)
            .await?;
        if round.has_used_fallback {
            wakeups.wake_all();
            // From the next decision on, the fallback receives new alerts directly.
            wakeups.notify_parked();
        }
        let due = self.store.next_due(&self.name, self.clock.now()).await?;
        let state = self.store.notifier_state(&self.name).await?;
        let is_parked = state.parked.is_some();
        if is_parked && !progress.was_parked {
            wakeups.notify_parked();
        }
        progress.was_parked = is_parked;
        let quiet_until = state.paused_until.max(self.group_interval_end(&state));
        Ok(sleep_until(due, quiet_until, self.clock.now()))
    }

    /// Returns when `group_interval` after the last delivery ends.
    fn group_interval_end(&self, state: &NotifierState) -> Option<Timestamp> {
        let now = self.clock.now();
        state
            .last_delivered_at
            .filter(|at| !differs(now, (*at).max(now)))?
            .checked_add(self.group_interval)
            .ok()
    }

    /// Shortens waiting times when the wall clock was set back, so that they do not become longer.
    async fn adjust_to_clock(
        &self,
        last_clock: &mut Option<(Timestamp, Duration)>,
    ) -> Result<(), StoreError> {
        let now = (self.clock.now(), self.clock.monotonic());
        match *last_clock {
            // The clock may have been different before the start.
            None => self.store.end_impossible_waits(&self.name, now.0).await?,
            Some(before) => {
                if let Some(back) = clock_set_back(before, now) {
                    self.store.advance_waits(&self.name, back, now.0).await?;
                }
            }
        }
        *last_clock = Some(now);
        Ok(())
    }

    /// Ends parking and pauses if the settings changed since the last start. With unchanged settings, a parked notifier
    /// is probed at once, unless it must not be probed.
    pub async fn resume(&self, counters: &Counters) -> Result<(), StoreError> {
        let state = self.store.notifier_state(&self.name).await?;
        let mark = self.store.settings_mark(&self.name).await?;
        if !mark.is_some_and(|mark| self.notifier.has_settings_mark(&mark)) {
            let mark = self.notifier.settings_mark(&self.random.id());
            let now = self.clock.now();
            self.store.reset_notifier(&self.name, mark, now).await?;
            if state.parked.is_some() {
                tracing::info!(
                    notifier.name = %self.name,
                    "notifier `{}` is no longer parked: its settings changed", self.name
                );
            }
            counters.set_parked(&self.name, false);
            return Ok(());
        }
        counters.set_parked(&self.name, state.parked.is_some());
        if state.parked.as_ref().is_some_and(|parked| parked.is_probed) {
            let probed = NotifierState {
                paused_until: None,
                ..state
            };
            self.store.save_notifier_state(&self.name, probed).await?;
        }
        Ok(())
    }

    async fn send_due(
        &self,
        counters: &Counters,
        pending_write: &mut Option<PendingWrite>,
        stop: &CancellationToken,
    ) -> Result<SendRound, StoreError> {
        let mut round = SendRound::default();
        loop {
            let unfinished = self.record_pending(counters, pending_write).await?;
            let now = self.clock.now();
            round.has_used_fallback |= self.pass_to_fallback(now).await?;
            if stop.is_cancelled() {
                return Ok(round);
            }
            if let Some((claimed, before)) = unfinished {
                *pending_write = Some(self.attempt(claimed, before, now).await);
                continue;
            }
            self.expire(counters, now).await?;
            round.has_used_fallback |= self.pass_to_fallback(now).await?;
            let state = self.store.notifier_state(&self.name).await?;
            let group_end = self.group_interval_end(&state);
            let quiet_until = state
                .paused_until
                .max(group_end.filter(|_| round.n_attempts == 0));
            if quiet_until > Some(now) {
                return Ok(round);
            }
            let Some(claimed) = self.store.claim(&self.name, now).await? else {
                return Ok(round);
            };
            round.n_attempts += 1;
            *pending_write = Some(self.attempt(claimed, state, now).await);
        }
    }

    /// Sends dead letters to the fallback and returns whether there were any.
    async fn pass_to_fallback(&self, now: Timestamp) -> Result<bool, StoreError> {
        let fallback = self.fallback.as_ref();
        let passed_on = self
            .store
            .forward_dead_letters(&self.name, fallback, &self.random, now);
        let n_copies = passed_on.await?;
        if let Some(fallback) = fallback.filter(|_| n_copies > 0) {
            tracing::warn!(
                notifier.name = %self.name,
                "notifier `{}` is not reachable, sending to its fallback `{}` (messages: {n_copies})",
                self.name,
                fallback.name
            );
        }
        Ok(n_copies > 0)
    }

    /// Drops messages that are too old, unless the clock may be wrong.
    async fn expire(&self, counters: &Counters, now: Timestamp) -> Result<(), StoreError> {
        if !self.clock.is_confirmed(MAX_SKEW) {
            return Ok(());
        }
        for (notifier, id) in self.store.expire(now).await? {
            counters.count_notification(&notifier, "dropped", 1);
            tracing::error!(notifier.name = %notifier, "message {id} became a dead letter: older than `max_age`");
        }
        Ok(())
    }

    async fn send(&self, claimed: &ClaimedMessage, now: Timestamp) -> Delivery {
        if let Some(digest) = &claimed.digest {
            let envelope = DigestEnvelope {
                id: &claimed.id,
                notifier: &self.name,
                digest,
                created_at: claimed.created_at,
                now,
                n_attempts: claimed.n_attempts.saturating_sub(1),
                is_replay: claimed.is_replay,
                links: &self.links,
                recipient: claimed.recipient.as_deref(),
                in_place_of: claimed.in_place_of.as_ref(),
            };
            return self.notifier.send_digest(&envelope).await;
        }
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
            thread: claimed.thread.as_ref(),
            n_posted: claimed.n_posted,
        };
        self.notifier.send(&envelope).await
    }

    /// Sends one post, which usually is the whole message.
    async fn attempt(
        &self,
        mut claimed: ClaimedMessage,
        before: NotifierState,
        now: Timestamp,
    ) -> PendingWrite {
        let delivery = match self.send(&claimed, now).await {
            Delivery::PartSent { refused } => {
                claimed.n_posted += 1;
                claimed.refused = claimed.refused.or(refused);
                let claimed = Box::new(claimed);
                return PendingWrite::Post { claimed, before };
            }
            last => last.for_message(claimed.refused.as_deref()),
        };
        let at = self.clock.now();
        let is_parking = matches!(
            delivery,
            Delivery::Park {
                is_probed: true,
                ..
            }
        );
        let mut has_other_recipient = false;
        if let Some(recipient) = claimed.recipient.as_ref().filter(|_| is_parking) {
            let asked = self.store.has_other_recipient(&self.name, recipient, at);
            // A failing store fails again when the outcome is recorded.
            has_other_recipient = asked.await.unwrap_or(false);
        }
        let attempt = AttemptContext {
            n_attempts: claimed.n_attempts,
            n_ambiguous: claimed.n_ambiguous,
            shows_repeats: self.shows_repeats,
            state: &before,
            parked_at: claimed.parked_at,
            has_other_recipient,
            now: at,
        };
        let consequence = assess(delivery, attempt, |whole| self.random.jitter(whole));
        PendingWrite::End(Box::new(FinishedAttempt {
            claimed,
            before,
            consequence,
            at,
        }))
    }

    /// Records the pending result and returns the message if it has further posts.
    async fn record_pending(
        &self,
        counters: &Counters,
        pending_write: &mut Option<PendingWrite>,
    ) -> Result<Option<(ClaimedMessage, NotifierState)>, StoreError> {
        let ended = match pending_write.as_ref() {
            None => return Ok(None),
            Some(PendingWrite::End(ended)) => ended,
            Some(PendingWrite::Post { claimed, before }) => {
                let refused = claimed.refused.clone();
                let noted = self
                    .store
                    .note_posted(&claimed.id, claimed.n_posted, refused);
                let unfinished = match noted.await {
                    Ok(()) => Some(((**claimed).clone(), before.clone())),
                    // The message was removed from the store.
                    Err(StoreError {
                        cause: StoreErrorCause::Unknown(_),
                        ..
                    }) => None,
                    Err(error) => return Err(error),
                };
                *pending_write = None;
                return Ok(unfinished);
            }
        };
        let Consequence { outcome, state, .. } = ended.consequence.clone();
        let written = self
            .store
            .finish(&ended.claimed.id, outcome, state, ended.at);
        match written.await {
            // The message was removed from the store.
            Ok(())
            | Err(StoreError {
                cause: StoreErrorCause::Unknown(_),
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        counters.count_notification(&self.name, ended.consequence.outcome_label, 1);
        counters.set_parked(&self.name, ended.consequence.state.parked.is_some());
        self.log(ended);
        *pending_write = None;
        Ok(None)
    }

    fn log(&self, ended: &FinishedAttempt) {
        let (name, id) = (&self.name, &ended.claimed.id);
        let after = &ended.consequence.state;
        match (&ended.before.parked, &after.parked) {
            (None, Some(parked)) => tracing::error!(
                notifier.name = %name,
                "notifier `{name}` is parked, its messages wait{}: {}",
                if parked.is_probed { "" } else { " until its settings change" },
                parked.reason
            ),
            (Some(_), None) => {
                tracing::info!(notifier.name = %name, "notifier `{name}` is no longer parked");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        match &ended.consequence.outcome {
            AttemptOutcome::Delivered | AttemptOutcome::Posted { .. } => {
                tracing::debug!(notifier.name = %name, "message {id} delivered");
            }
            // Parking was already logged.
            AttemptOutcome::Retry { error, .. } if after.parked.is_some() => {
                tracing::debug!(notifier.name = %name, "message {id} waits, the notifier is parked: {error}");
            }
            AttemptOutcome::Retry { at, error, .. } => {
                tracing::warn!(notifier.name = %name, "message {id} waits until {at:.0}: {error}");
            }
            AttemptOutcome::Dead { error } => {
                tracing::error!(notifier.name = %name, "message {id} became a dead letter: {error}");
            }
        }
    }
}

/// Returns the time until a message is due and the receiver is not paused, at most [`MAX_SLEEP`].
fn sleep_until(
    due: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    let Some(due) = due else {
        return MAX_SLEEP;
    };
    let until = paused_until.map_or(due, |paused| paused.max(due));
    Duration::try_from(until.duration_since(now))
        .unwrap_or_default()
        .min(MAX_SLEEP)
}

/// Returns how far the wall clock was set back between two rounds. Steps of up to a second are normal clock corrections.
fn clock_set_back(
    (wall_before, before): (Timestamp, Duration),
    (wall, running): (Timestamp, Duration),
) -> Option<SignedDuration> {
    let passed = SignedDuration::try_from(running.saturating_sub(before)).ok()?;
    let back = passed - wall.duration_since(wall_before);
    (back > SignedDuration::from_secs(1)).then_some(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_set_back_is_detected() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let check = |wall: i64, running: u64, expected: Option<i64>| {
            let found = clock_set_back(
                (at(1000), Duration::from_secs(5)),
                (at(wall), Duration::from_secs(5 + running)),
            );
            assert_eq!(found.map(|back| back.as_secs()), expected);
        };
        check(1010, 10, None);
        check(1009, 10, None);
        check(1007, 10, Some(3));
        check(400, 0, Some(600));
        check(9000, 10, None);
    }

    #[track_caller]
    fn check(due: Option<&str>, paused_until: Option<&str>, expected_seconds: u64) {
        let at = |text: &str| format!("2026-11-24T{text}Z").parse().unwrap();
        let found = sleep_until(due.map(at), paused_until.map(at), at("12:00:00"));
        assert_eq!(found.as_secs(), expected_seconds);
    }

    #[test]
    fn sleeps_until_a_message_is_due() {
        check(None, None, 30);
        check(None, Some("12:00:05"), 30);
        check(Some("11:00:00"), None, 0);
        check(Some("12:00:07"), None, 7);
        check(Some("12:00:07"), Some("12:00:09"), 9);
        check(Some("11:00:00"), Some("12:00:09"), 9);
        check(Some("12:00:07"), Some("11:00:00"), 7);
        check(Some("13:00:00"), None, 30);
    }
}
