//! Telling again: to a receiver that forgets what it is not told again, everything that fires is told in each interval, and soon
//! after each decision. The state in the store is read, so nothing waits in the outbox and nothing can be lost there.
//!
//! Each member has a task of its own and is told the newest state. One that hangs misses what comes meanwhile, and holds up no
//! other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::ground;
use crate::domain::ids::OrganizationName;
use crate::domain::matcher::Team;
use crate::domain::privacy::Privacy;
use crate::domain::resend::{Decided, Listener, Sent, standing};
use crate::domain::rule::Rule;
use crate::domain::teams;
use crate::metrics::counters::Counters;
use crate::notify::alertmanager::{self, Alertmanager};
use crate::notify::envelope::Links;
use crate::notify::outcome::Delivery;
use crate::outbound::causes;
use crate::store::Store;
use crate::store::error::StoreError;

/// After a failure of the store, and doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// One receiver that is told everything again and again.
#[derive(Debug, Clone)]
pub struct Resender {
    /// Its name, and what it hears of.
    pub listener: Listener,
    /// How often it is told.
    pub interval: Duration,
    pub alertmanager: Alertmanager,
    pub rules: Vec<Rule>,
    pub teams: Vec<Team>,
    pub organizations: Vec<OrganizationName>,
    /// By what people are named.
    pub privacy: Privacy,
    pub store: Store,
    pub clock: Clock,
    pub links: Links,
}

/// What is to be posted.
type Bodies = Arc<Vec<Vec<u8>>>;

impl Resender {
    /// Tells until asked to stop. `bell` wakes it after a commit. What is cut off then is told again by whoever comes next,
    /// which goes on from what was `sent`.
    pub async fn run(
        &self,
        sent: &mut Sent,
        counters: &Counters,
        bell: &Notify,
        stop: &CancellationToken,
    ) {
        let (news, _) = watch::channel(Bodies::default());
        let members = (0..self.alertmanager.n_members())
            .map(|place| self.serve(place, news.subscribe(), counters));
        tokio::select! {
            () = self.look_again(sent, &news, bell) => {}
            _ = join_all(members) => {}
            () = stop.cancelled() => {}
        }
        self.store.note_success(&self.shown());
    }

    /// By which failures of the store are told apart.
    fn shown(&self) -> String {
        format!("notifier `{}`", self.listener.name)
    }

    /// Tells every member once. Gives what went wrong, a line for each of them.
    pub async fn tell_once(
        &self,
        sent: &mut Sent,
        counters: &Counters,
    ) -> Result<Vec<String>, StoreError> {
        let bodies = self.look(sent, self.clock.latest()).await?;
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let tell = async |place| {
            let told = self.tell(place, &bodies, counters).await;
            let error = told.error()?;
            Some(format!("{}: {error}", self.alertmanager.name_of(place)))
        };
        let told = join_all((0..self.alertmanager.n_members()).map(tell)).await;
        Ok(told.into_iter().flatten().collect())
    }

    async fn look_again(&self, sent: &mut Sent, news: &watch::Sender<Bodies>, bell: &Notify) {
        let mut pause = FIRST_PAUSE;
        loop {
            // An end in the past would be taken for the end of what still fires.
            match self.look(sent, self.clock.latest()).await {
                Ok(bodies) => {
                    pause = FIRST_PAUSE;
                    self.store.note_success(&self.shown());
                    news.send_replace(Arc::new(bodies));
                    tokio::select! {
                        () = self.clock.sleep(self.interval) => {}
                        () = bell.notified() => {}
                    }
                }
                Err(error) => {
                    let (told, seconds) = (causes(&error), pause.as_secs());
                    if self.store.note_failure(&self.shown(), &error) {
                        tracing::error!(
                            notifier.name = %self.listener.name,
                            "{told}; trying again in {seconds} s and longer"
                        );
                    }
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(self.interval);
                }
            }
        }
    }

    /// What is to be told now.
    async fn look(&self, sent: &mut Sent, now: Timestamp) -> Result<Vec<Vec<u8>>, StoreError> {
        let since = now
            .checked_sub(self.listener.lasts)
            .unwrap_or(Timestamp::MIN);
        let mut decided = Vec::new();
        for organization in &self.organizations {
            let resent = self.store.resent(organization, since).await?;
            let directory = &resent.directory;
            decided.extend(resent.alerts.into_iter().map(|(alert, at)| {
                let subject = &alert.identity.slot.subject;
                Decided {
                    team: teams::of_subject(&self.teams, directory, subject).cloned(),
                    subject_name: ground::name_of(
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
        let standing = standing(&decided, &self.rules, &self.listener, now);
        let postings = sent.follow(standing, &self.listener, now);
        Ok(alertmanager::bodies(&postings, &self.links))
    }

    /// One member, until there is no more news to come.
    async fn serve(&self, place: usize, mut news: watch::Receiver<Bodies>, counters: &Counters) {
        let name = &self.listener.name;
        let member = self.alertmanager.name_of(place);
        let mut is_failing = false;
        while news.changed().await.is_ok() {
            let bodies = Arc::clone(&news.borrow_and_update());
            if bodies.is_empty() {
                continue;
            }
            let told = self.tell(place, &bodies, counters).await;
            match (told.error(), is_failing) {
                (Some(error), false) => tracing::error!(
                    notifier.name = %name,
                    "notifier `{name}`, {member}: {error}; it is told again and again, and this is said once"
                ),
                (None, true) => {
                    tracing::info!(notifier.name = %name, "notifier `{name}`, {member}: works again");
                }
                (Some(error), true) => {
                    tracing::debug!(notifier.name = %name, "notifier `{name}`, {member}: {error}");
                }
                (None, false) => {}
            }
            is_failing = told.error().is_some();
        }
    }

    async fn tell(&self, place: usize, bodies: &[Vec<u8>], counters: &Counters) -> Delivery {
        let now = self.clock.now();
        let told = self.alertmanager.tell(place, bodies, now).await;
        // Whatever went wrong, it is told again.
        let outcome = match &told {
            Delivery::Delivered | Delivery::Posted { .. } | Delivery::Partly { .. } => "delivered",
            Delivery::Retry { .. } | Delivery::Park { .. } | Delivery::Drop { .. } => "retried",
        };
        counters.count_notification(&self.listener.name, outcome, 1);
        told
    }
}
