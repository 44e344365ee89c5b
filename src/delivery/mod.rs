//! Delivery: claim a message, send it, write down what became of it. A worker for each notifier, so that a receiver that
//! hangs delays no other.
//!
//! An attempt is counted before it is made and its outcome written after: a kill in between repeats it under the same id.

pub mod consequence;
pub mod orphans;
pub mod resend;

pub mod configured;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use tokio_util::sync::CancellationToken;

use crate::app::bells::Bells;
use crate::clock::{Chance, Clock};
use crate::delivery::consequence::{Consequence, Tried, follow};
use crate::domain::ids::NotifierName;
use crate::domain::skew::differs;
use crate::metrics::counters::Counters;
use crate::notify::Notifier;
use crate::notify::digest::Letter;
use crate::notify::envelope::{Envelope, Links};
use crate::notify::outcome::Delivery;
use crate::outbound::causes;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fallbacks::Fallback;
use crate::store::notifiers::NotifierState;
use crate::store::outbox::{Claimed, Outcome};

/// How long a worker may sleep before it looks again: another process may have put a message back.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long an attempt that is under way may last after the worker was asked to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// After a failure of the store, and doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// One receiver and its messages.
///
/// What it knows is in the store. To exchange it for one with other settings: stop its task, wait for its end, and run
/// another one of the same name. What waits goes out by the new settings, under the ids it has.
#[derive(Debug, Clone)]
pub struct Worker {
    pub name: NotifierName,
    pub notifier: Notifier,
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    pub links: Links,
    /// So long after something was delivered nothing new goes out: what is decided meanwhile goes together.
    pub group_interval: SignedDuration,
    /// The notifier that receives its dead letters.
    pub fallback: Option<Fallback>,
}

/// What a worker remembers from one round of work to the next.
#[derive(Default)]
struct Progress {
    has_begun: bool,
    was_parked: bool,
    unwritten: Option<Unwritten>,
    /// The wall clock and the running time at the last look.
    looked_at: Option<(Timestamp, Duration)>,
}

/// What came of a post and is not yet written down. It must be, before anything else is sent: else a store that
/// fails would have the same message sent again and again.
enum Unwritten {
    /// One post of several was answered.
    Post {
        claimed: Box<Claimed>,
        before: NotifierState,
    },
    End(Box<Ended>),
}

/// An attempt that ended.
struct Ended {
    claimed: Claimed,
    before: NotifierState,
    consequence: Consequence,
    at: Timestamp,
}

/// What one round of sending did.
#[derive(Default)]
struct Round {
    n_attempts: usize,
    /// The fallback got something to send.
    has_passed_on: bool,
}

impl Worker {
    /// Sends what is due, whenever something is, until asked to stop. Its bell wakes it after a commit, and it rings itself
    /// when it parks. An attempt that is under way then is made to its end, unless that lasts longer than [`STOP_LIMIT`]. A
    /// failure of the store is logged and tried again.
    pub async fn run(&self, counters: &Counters, bells: &Bells, stop: &CancellationToken) {
        let patience = async {
            stop.cancelled().await;
            self.clock.sleep(STOP_LIMIT).await;
        };
        tokio::select! {
            () = self.go_on(counters, bells, stop) => {}
            () = patience => {
                tracing::warn!(
                    notifier.name = %self.name,
                    "an attempt hangs and is left: it is made again, under the same id"
                );
            }
        }
        counters.forget_parked(&self.name);
        self.store.note_success(&self.shown());
    }

    /// By which failures of the store are told apart.
    fn shown(&self) -> String {
        format!("notifier `{}`", self.name)
    }

    /// Sends everything that is due now, one message after the other. Gives the number of attempts.
    pub async fn run_due(&self, counters: &Counters) -> Result<usize, StoreError> {
        let round = self
            .send_due(counters, &mut None, &CancellationToken::new())
            .await?;
        Ok(round.n_attempts)
    }

    async fn go_on(&self, counters: &Counters, bells: &Bells, stop: &CancellationToken) {
        let bell = bells.of(&self.name);
        let mut progress = Progress::default();
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let sleep = match self.work(counters, bells, &mut progress, stop).await {
                Ok(sleep) => {
                    pause = FIRST_PAUSE;
                    self.store.note_success(&self.shown());
                    sleep
                }
                Err(error) => {
                    let (told, seconds) = (causes(&error), pause.as_secs());
                    if self.store.note_failure(&self.shown(), &error) {
                        tracing::error!(
                            notifier.name = %self.name,
                            "{told}; notifier `{}` sends nothing, trying again in {seconds} s and longer", self.name
                        );
                    }
                    // The bell is not listened to: it would ring the failing store at every cycle.
                    let sleep = self.clock.sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::select! {
                        () = sleep => {}
                        () = stop.cancelled() => {}
                    }
                    continue;
                }
            };
            tokio::select! {
                () = self.clock.sleep(sleep) => {}
                () = bell.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Everything that is to be done now; gives how long there will be nothing to do.
    async fn work(
        &self,
        counters: &Counters,
        bells: &Bells,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<Duration, StoreError> {
        if !progress.has_begun {
            self.begin(counters).await?;
            let state = self.store.notifier_state(&self.name).await?;
            progress.was_parked = state.parked.is_some();
            progress.has_begun = true;
        }
        self.follow_clock(&mut progress.looked_at).await?;
        let round = self
            .send_due(counters, &mut progress.unwritten, stop)
            .await?;
        if round.has_passed_on {
            bells.ring();
            // The fallback is told of what follows from the next decision on.
            bells.ring_of_parking();
        }
        let due = self.store.next_due(&self.name, self.clock.now()).await?;
        let state = self.store.notifier_state(&self.name).await?;
        let is_parked = state.parked.is_some();
        if is_parked && !progress.was_parked {
            bells.ring_of_parking();
        }
        progress.was_parked = is_parked;
        let quiet_until = state.paused_until.max(self.held_until(&state));
        Ok(sleep_until(due, quiet_until, self.clock.now()))
    }

    /// Until when nothing goes out because something just did.
    fn held_until(&self, state: &NotifierState) -> Option<Timestamp> {
        let now = self.clock.now();
        state
            .last_delivered_at
            .filter(|at| !differs(now, (*at).max(now)))?
            .checked_add(self.group_interval)
            .ok()
    }

    /// Where the wall clock was set back, what waits by it waits as long as it was to, and not as much longer.
    async fn follow_clock(
        &self,
        looked_at: &mut Option<(Timestamp, Duration)>,
    ) -> Result<(), StoreError> {
        let now = (self.clock.now(), self.clock.running());
        match *looked_at {
            // Before the start the clock may have been another one.
            None => self.store.shorten_waits(&self.name, now.0).await?,
            Some(before) => {
                if let Some(back) = set_back(before, now) {
                    self.store.wait_less(&self.name, back, now.0).await?;
                }
            }
        }
        *looked_at = Some(now);
        Ok(())
    }

    /// Sees whether the receiver is still the one that was parked or asked for a pause; if it is, a parked one is probed
    /// at once, unless it wants no probes.
    pub async fn begin(&self, counters: &Counters) -> Result<(), StoreError> {
        let state = self.store.notifier_state(&self.name).await?;
        let mark = self.store.settings_mark(&self.name).await?;
        if !mark.is_some_and(|mark| self.notifier.is_marked(&mark)) {
            let mark = self.notifier.mark(&self.chance.id());
            let now = self.clock.now();
            self.store.renew_notifier(&self.name, mark, now).await?;
            if state.parked.is_some() {
                tracing::info!(
                    notifier.name = %self.name,
                    "notifier `{}` has other settings and is no longer parked", self.name
                );
            }
            counters.note_parked(&self.name, false);
            return Ok(());
        }
        counters.note_parked(&self.name, state.parked.is_some());
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
        unwritten: &mut Option<Unwritten>,
        stop: &CancellationToken,
    ) -> Result<Round, StoreError> {
        let mut round = Round::default();
        loop {
            let under_way = self.write_down(counters, unwritten).await?;
            let now = self.clock.now();
            round.has_passed_on |= self.pass_on(now).await?;
            if stop.is_cancelled() {
                return Ok(round);
            }
            if let Some((claimed, before)) = under_way {
                *unwritten = Some(self.attempt(claimed, before, now).await);
                continue;
            }
            self.expire(counters, now).await?;
            round.has_passed_on |= self.pass_on(now).await?;
            let state = self.store.notifier_state(&self.name).await?;
            let held_until = self.held_until(&state).filter(|_| round.n_attempts == 0);
            if state
                .paused_until
                .max(held_until)
                .is_some_and(|until| until > now)
            {
                return Ok(round);
            }
            let Some(claimed) = self.store.claim(&self.name, now).await? else {
                return Ok(round);
            };
            round.n_attempts += 1;
            *unwritten = Some(self.attempt(claimed, state, now).await);
        }
    }

    /// Sends dead letters to the fallback. Whether there were any.
    async fn pass_on(&self, now: Timestamp) -> Result<bool, StoreError> {
        let fallback = self.fallback.as_ref();
        let passed_on = self.store.pass_on(&self.name, fallback, &self.chance, now);
        let n_copies = passed_on.await?;
        if let Some(fallback) = fallback.filter(|_| n_copies > 0) {
            tracing::warn!(
                notifier.name = %self.name,
                "notifier `{}` could not deliver, sending to its fallback `{}` (messages: {n_copies})",
                self.name,
                fallback.name
            );
        }
        Ok(n_copies > 0)
    }

    /// Drops messages that are too old, unless the clock may be wrong.
    async fn expire(&self, counters: &Counters, now: Timestamp) -> Result<(), StoreError> {
        if !self.clock.is_confirmed() {
            return Ok(());
        }
        for (notifier, id) in self.store.expire(now).await? {
            counters.count_notification(&notifier, "dropped", 1);
            tracing::error!(notifier.name = %notifier, "message {id} is a dead letter: older than `max_age`");
        }
        Ok(())
    }

    async fn send(&self, claimed: &Claimed, now: Timestamp) -> Delivery {
        if let Some(digest) = &claimed.digest {
            let letter = Letter {
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
            return self.notifier.send_digest(&letter).await;
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

    /// Sends one post, mostly the whole message.
    async fn attempt(
        &self,
        mut claimed: Claimed,
        before: NotifierState,
        now: Timestamp,
    ) -> Unwritten {
        let delivery = match self.send(&claimed, now).await {
            Delivery::Partly { refused } => {
                claimed.n_posted += 1;
                claimed.refused = claimed.refused.or(refused);
                let claimed = Box::new(claimed);
                return Unwritten::Post { claimed, before };
            }
            last => last.of_whole(claimed.refused.as_deref()),
        };
        let at = self.clock.now();
        let is_parking = matches!(
            delivery,
            Delivery::Park {
                is_probed: true,
                ..
            }
        );
        let has_other_recipient = match claimed.recipient.as_ref().filter(|_| is_parking) {
            Some(recipient) => {
                let store = &self.store;
                let asked = store.has_other_recipient(&self.name, recipient, at).await;
                // A store that fails now fails again when the outcome is written.
                asked.unwrap_or(false)
            }
            None => false,
        };
        let tried = Tried {
            n_attempts: claimed.n_attempts,
            n_ambiguous: claimed.n_ambiguous,
            shows_repeats: self.notifier.shows_repeats(),
            state: &before,
            parked_at: claimed.parked_at,
            has_other_recipient,
            now: at,
        };
        let consequence = consequence(delivery, tried, |whole| self.chance.jitter(whole));
        Unwritten::End(Box::new(Ended {
            claimed,
            before,
            consequence,
            at,
        }))
    }

    /// Gives the message of which another post is to follow.
    async fn write_down(
        &self,
        counters: &Counters,
        unwritten: &mut Option<Unwritten>,
    ) -> Result<Option<(Claimed, NotifierState)>, StoreError> {
        let ended = match unwritten.as_ref() {
            None => return Ok(None),
            Some(Unwritten::End(ended)) => ended,
            Some(Unwritten::Post { claimed, before }) => {
                let refused = claimed.refused.clone();
                let noted = self
                    .store
                    .note_posted(&claimed.id, claimed.n_posted, refused);
                let under_way = match noted.await {
                    Ok(()) => Some(((**claimed).clone(), before.clone())),
                    // Somebody took the message out of the store.
                    Err(StoreError::Unknown { .. }) => None,
                    Err(error) => return Err(error),
                };
                *unwritten = None;
                return Ok(under_way);
            }
        };
        let Consequence { outcome, state, .. } = ended.consequence.clone();
        let written = self
            .store
            .finish(&ended.claimed.id, outcome, state, ended.at);
        match written.await {
            // Somebody took the message out of the store: there is nothing left to write.
            Ok(()) | Err(StoreError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        counters.count_notification(&self.name, ended.consequence.counted, 1);
        counters.note_parked(&self.name, ended.consequence.state.parked.is_some());
        self.log(ended);
        *unwritten = None;
        Ok(None)
    }

    fn log(&self, ended: &Ended) {
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
            Outcome::Delivered | Outcome::Posted { .. } => {
                tracing::debug!(notifier.name = %name, "message {id} is delivered");
            }
            // That the notifier is parked was said, once.
            Outcome::Retry { error, .. } if after.parked.is_some() => {
                tracing::debug!(notifier.name = %name, "message {id} waits, the notifier is parked: {error}");
            }
            Outcome::Retry { at, error, .. } => {
                tracing::warn!(notifier.name = %name, "message {id} waits until {at:.0}: {error}");
            }
            Outcome::Dead { error } => {
                tracing::error!(notifier.name = %name, "message {id} is a dead letter: {error}");
            }
        }
    }
}

/// Until the next message is due and the receiver not paused, at most [`LONGEST_SLEEP`].
fn sleep_until(
    due: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    let Some(due) = due else {
        return LONGEST_SLEEP;
    };
    let until = paused_until.map_or(due, |paused| paused.max(due));
    Duration::try_from(until.duration_since(now))
        .unwrap_or_default()
        .min(LONGEST_SLEEP)
}

/// How far the wall clock was set back between two looks at it and at the running time. A step of up to a second is how
/// clocks are kept right, and holds up nothing.
fn set_back(
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
    fn a_clock_that_was_set_back_is_noticed_by_the_time_that_passed() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let check = |wall: i64, running: u64, expected: Option<i64>| {
            let found = set_back(
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
    fn a_worker_sleeps_until_there_is_something_to_do() {
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
