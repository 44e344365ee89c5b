//! The workers of a configuration, with the secrets of their receivers.

use crate::app::wiring;
use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::config::source::Environment;
use crate::delivery::Worker;
use crate::store::Store;

/// One for each notifier. Where a secret is not to be had there are none, and nothing was sent.
pub async fn workers(
    config: &Config,
    environment: &Environment,
    store: &Store,
    clock: &Clock,
    chance: &Chance,
) -> anyhow::Result<Vec<Worker>> {
    let mut workers = Vec::new();
    for notifier in &config.notifiers {
        workers.push(Worker {
            name: notifier.name.clone(),
            notifier: wiring::notifier(notifier, environment).await?,
            store: store.clone(),
            clock: clock.clone(),
            chance: chance.clone(),
            links: wiring::links(config),
        });
    }
    Ok(workers)
}
