//! Resends all firing alerts to Alertmanager, which forgets alerts that are not refreshed: every interval, and soon after
//! each decision. It reads alert states from the store and does not use the outbox.
//!
//! Each member has its own task and always receives the newest state, so a member that hangs delays no other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_domain::alerts::resend::{DecidedAlert, ResendState, ResendTarget, current_facts};
use spendwatch_domain::figures::snapshot;
use spendwatch_domain::org::teams;
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::matcher::Team;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::alertmanager::{self, Alertmanager};
use spendwatch_store::Store;
use spendwatch_store::error::StoreError;

/// Pause after a store failure, doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Resends alerts to the members of one Alertmanager.
#[derive(Debug, Clone)]
pub struct Resender {
    pub target: ResendTarget,
    pub interval: Duration,
    pub alertmanager: Alertmanager,
    pub rules: Vec<Rule>,
    pub teams: Vec<Team>,
    pub organizations: Vec<OrganizationName>,
    pub privacy: Privacy,
    pub store: Store,
    pub clock: Clock,
    pub links: Links,
}

type Bodies = Arc<Vec<Vec<u8>>>;

impl Resender {
    /// Resends until asked to stop; `wakeup` triggers it after a commit. `sent` lets a successor continue.
    pub async fn run(
        &self,
        sent: &mut ResendState,
        counters: &Counters,
        wakeup: &Notify,
        stop: &CancellationToken,
    ) {
        let (updates, _) = watch::channel(Bodies::default());
        let members = (0..self.alertmanager.n_members())
            .map(|index| self.run_member(index, updates.subscribe(), counters));
        tokio::select! {
            () = self.render_loop(sent, &updates, wakeup) => {}
            _ = join_all(members) => {}
            () = stop.cancelled() => {}
        }
        self.store.note_success(&self.failure_key());
    }

    /// Identifies store failures of this resender.
    fn failure_key(&self) -> String {
        format!("notifier `{}`", self.target.name)
    }

    /// Sends to every member once and returns one error line per failed member.
    pub async fn send_once(
        &self,
        sent: &mut ResendState,
        counters: &Counters,
    ) -> Result<Vec<String>, StoreError> {
        let bodies = self.render(sent, self.clock.latest()).await?;
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let send = async |index| {
            let delivery = self.send_to(index, &bodies, counters).await;
            let error = delivery.error()?;
            Some(format!("{}: {error}", self.alertmanager.member_name(index)))
        };
        let errors = join_all((0..self.alertmanager.n_members()).map(send)).await;
        Ok(errors.into_iter().flatten().collect())
    }

    async fn render_loop(
        &self,
        sent: &mut ResendState,
        updates: &watch::Sender<Bodies>,
        wakeup: &Notify,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            // `endsAt` in the past would resolve alerts that still fire.
            match self.render(sent, self.clock.latest()).await {
                Ok(bodies) => {
                    pause = FIRST_PAUSE;
                    self.store.note_success(&self.failure_key());
                    updates.send_replace(Arc::new(bodies));
                    tokio::select! {
                        () = self.clock.sleep(self.interval) => {}
                        () = wakeup.notified() => {}
                    }
                }
                Err(error) => {
                    let (error_text, seconds) = (error_chain(&error), pause.as_secs());
                    if self.store.note_failure(&self.failure_key(), &error) {
                        tracing::error!(
                            notifier.name = %self.target.name,
                            "{error_text}; retrying in {seconds} s"
                        );
                    }
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(self.interval);
                }
            }
        }
    }

    /// Renders the request bodies for the current state.
    async fn render(
        &self,
        sent: &mut ResendState,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let since = now
            .checked_sub(self.target.valid_for)
            .unwrap_or(Timestamp::MIN);
        let mut decided = Vec::new();
        for organization in &self.organizations {
            let resent = self.store.alerts_to_resend(organization, since).await?;
            let directory = &resent.directory;
            decided.extend(resent.alerts.into_iter().map(|(alert, at)| {
                let subject = &alert.identity.slot.subject;
                DecidedAlert {
                    team: teams::for_subject(&self.teams, directory, subject).cloned(),
                    subject_name: snapshot::name_of(
                        &alert.identity.slot.subject,
                        directory,
                        self.privacy,
                    )
                    .to_owned(),
                    alert,
                    at,
                }
            }));
        }
        let facts = current_facts(&decided, &self.rules, &self.target, now);
        let postings = sent.update(facts, &self.target, now);
        Ok(alertmanager::bodies(&postings, &self.links))
    }

    /// Sends updates to one member until the channel closes.
    async fn run_member(
        &self,
        index: usize,
        mut updates: watch::Receiver<Bodies>,
        counters: &Counters,
    ) {
        let name = &self.target.name;
        let member = self.alertmanager.member_name(index);
        let mut is_failing = false;
        while updates.changed().await.is_ok() {
            let bodies = Arc::clone(&updates.borrow_and_update());
            if bodies.is_empty() {
                continue;
            }
            let delivery = self.send_to(index, &bodies, counters).await;
            match (delivery.error(), is_failing) {
                (Some(error), false) => tracing::error!(
                    notifier.name = %name,
                    "notifier `{name}`, {member}: {error}; resending every {} s, logging this once",
                    self.interval.as_secs()
                ),
                (None, true) => {
                    tracing::info!(notifier.name = %name, "notifier `{name}`, {member}: reachable again");
                }
                (Some(error), true) => {
                    tracing::debug!(notifier.name = %name, "notifier `{name}`, {member}: {error}");
                }
                (None, false) => {}
            }
            is_failing = delivery.error().is_some();
        }
    }

    async fn send_to(&self, index: usize, bodies: &[Vec<u8>], counters: &Counters) -> Delivery {
        let now = self.clock.now();
        let delivery = self.alertmanager.send_to(index, bodies, now).await;
        // Failures are never final: everything is resent.
        let outcome = match &delivery {
            Delivery::Delivered | Delivery::Posted { .. } | Delivery::PartSent { .. } => {
                "delivered"
            }
            Delivery::Retry { .. } | Delivery::Park { .. } | Delivery::Drop { .. } => "retried",
        };
        counters.count_notification(&self.target.name, outcome, 1);
        delivery
    }
}
