//! Builds the delivery workers and resenders of a configuration.

use jiff::SignedDuration;

use crate::app::wiring;
use crate::delivery::DeliveryWorker;
use crate::delivery::resend::Resender;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::secret::Secret;
use spendwatch_config::Config;
use spendwatch_config::notifiers::NotifierConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::resend::ResendTarget;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_notify::Notifier;
use spendwatch_notify::receivers::alertmanager;
use spendwatch_store::Store;
use spendwatch_store::outbox::fallbacks::Fallback;

/// One worker or resender per notifier.
#[derive(Debug, Default)]
pub struct Senders {
    pub workers: Vec<DeliveryWorker>,
    pub resenders: Vec<Resender>,
    pub secrets: Vec<Secret>,
}

impl Senders {
    /// Returns the names of all notifiers.
    pub fn names(&self) -> Vec<NotifierName> {
        let workers = self.workers.iter().map(|worker| &worker.name);
        let resenders = self.resenders.iter().map(|resender| &resender.target.name);
        workers.chain(resenders).cloned().collect()
    }
}

/// Builds all senders. Fails before anything is sent if a secret cannot be resolved.
pub async fn senders(
    config: &Config,
    environment: &Environment,
    store: &Store,
    clock: &Clock,
    random: &Random,
) -> anyhow::Result<Senders> {
    let mut senders = Senders::default();
    for configured in &config.notifiers {
        let (notifier, secrets) = wiring::notifier(configured, environment).await?;
        senders.secrets.extend(secrets);
        let capabilities = configured.kind.capabilities();
        match (capabilities.resend_interval, notifier) {
            (Some(interval), Notifier::Alertmanager(alertmanager)) => {
                senders.resenders.push(Resender {
                    target: ResendTarget {
                        name: configured.name.clone(),
                        send_resolved: configured.send_resolved,
                        min_severity: configured.min_severity,
                        valid_for: alertmanager::validity(interval),
                    },
                    interval,
                    alertmanager,
                    rules: config.rules.clone(),
                    teams: config.teams.clone(),
                    organizations: config
                        .organizations
                        .iter()
                        .map(|organization| organization.name.clone())
                        .collect(),
                    privacy: config.privacy,
                    store: store.clone(),
                    clock: clock.clone(),
                    links: wiring::links(config),
                });
            }
            (_, notifier) => senders.workers.push(DeliveryWorker {
                name: configured.name.clone(),
                notifier,
                shows_repeats: capabilities.shows_repeats,
                store: store.clone(),
                clock: clock.clone(),
                random: random.clone(),
                links: wiring::links(config),
                group_interval: SignedDuration::try_from(configured.group_interval)
                    .unwrap_or(SignedDuration::MAX),
                fallback: fallback(config, configured),
            }),
        }
    }
    Ok(senders)
}

fn fallback(config: &Config, of: &NotifierConfig) -> Option<Fallback> {
    let name = of.fallback.as_ref()?;
    let mut all = config.notifiers.iter();
    let fallback = all.find(|notifier| notifier.name == *name)?;
    Some(Fallback {
        name: name.clone(),
        recipients: fallback.kind.capabilities().recipients.to_vec(),
        min_severity: fallback.min_severity,
        send_resolved: fallback.send_resolved,
        takes_digests: fallback.kind.capabilities().accepts_digests,
        max_age: SignedDuration::try_from(fallback.max_age).unwrap_or(SignedDuration::MAX),
    })
}
