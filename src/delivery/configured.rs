//! The senders of a configuration, with the secrets of their receivers.

use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use crate::app::wiring;
use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::config::notifiers::Notifier as NotifierConfig;
use crate::config::source::Environment;
use crate::delivery::Worker;
use crate::delivery::resend::Resender;
use crate::domain::ids::NotifierName;
use crate::domain::resend::Listener;
use crate::notify::Notifier;
use crate::notify::alertmanager;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::fallbacks::Fallback;

/// One for each notifier.
#[derive(Debug, Default)]
pub struct Senders {
    pub workers: Vec<Worker>,
    /// Of everything, again and again.
    pub resenders: Vec<Resender>,
    /// Everything secret in the receivers' configuration.
    pub secrets: Vec<Secret>,
}

impl Senders {
    /// Of all.
    pub fn names(&self) -> Vec<NotifierName> {
        let workers = self.workers.iter().map(|worker| &worker.name);
        let resenders = self
            .resenders
            .iter()
            .map(|resender| &resender.listener.name);
        workers.chain(resenders).cloned().collect()
    }
}

/// Where a secret is not to be had there are none, and nothing was sent.
pub async fn senders(
    config: &Config,
    environment: &Environment,
    store: &Store,
    clock: &Clock,
    chance: &Chance,
) -> anyhow::Result<Senders> {
    let mut senders = Senders::default();
    let secrets = Mutex::default();
    for configured in &config.notifiers {
        let notifier = wiring::notifier_and_secrets(configured, environment, &secrets).await?;
        match (wiring::resend_interval(configured), notifier) {
            (Some(interval), Notifier::Alertmanager(alertmanager)) => {
                senders.resenders.push(Resender {
                    listener: Listener {
                        name: configured.name.clone(),
                        send_resolved: configured.send_resolved,
                        min_severity: configured.min_severity,
                        lasts: alertmanager::lasts(interval),
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
            (_, notifier) => senders.workers.push(Worker {
                name: configured.name.clone(),
                notifier,
                store: store.clone(),
                clock: clock.clone(),
                chance: chance.clone(),
                links: wiring::links(config),
                group_interval: SignedDuration::try_from(configured.group_interval)
                    .unwrap_or(SignedDuration::MAX),
                fallback: fallback(config, configured),
            }),
        }
    }
    senders.secrets = secrets.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(senders)
}

/// The notifier that receives the dead letters of another one.
fn fallback(config: &Config, of: &NotifierConfig) -> Option<Fallback> {
    let name = of.fallback.as_ref()?;
    let mut all = config.notifiers.iter();
    let fallback = all.find(|notifier| notifier.name == *name)?;
    Some(Fallback {
        name: name.clone(),
        recipients: wiring::recipients(fallback),
        min_severity: fallback.min_severity,
        send_resolved: fallback.send_resolved,
        takes_digests: fallback.kind.takes_digests(),
        max_age: SignedDuration::try_from(fallback.max_age).unwrap_or(SignedDuration::MAX),
    })
}
