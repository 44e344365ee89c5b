//! Wake-ups between decisions and delivery: a commit wakes the workers, and a worker that parks wakes the organizations,
//! because a fallback may have to be notified. A wake-up is not lost while its receiver is busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use spendwatch_base::lock;
use spendwatch_domain::units::ids::NotifierName;

/// One wake-up per notifier, and one for all organizations when a notifier is parked.
#[derive(Debug, Default)]
pub struct Wakeups {
    notifiers: Mutex<BTreeMap<NotifierName, Arc<Notify>>>,
    parked: watch::Sender<()>,
}

impl Wakeups {
    /// Returns the wake-up of one notifier.
    pub fn for_notifier(&self, notifier: &NotifierName) -> Arc<Notify> {
        let mut wakeups = lock(&self.notifiers);
        Arc::clone(wakeups.entry(notifier.clone()).or_default())
    }

    /// Returns the notifiers that have a wake-up.
    pub fn names(&self) -> Vec<NotifierName> {
        let wakeups = lock(&self.notifiers);
        wakeups.keys().cloned().collect()
    }

    /// Removes the wake-ups of all other notifiers.
    pub fn retain(&self, names: &[NotifierName]) {
        let mut wakeups = lock(&self.notifiers);
        wakeups.retain(|name, _| names.contains(name));
    }

    /// Wakes all workers.
    pub fn wake_all(&self) {
        for wakeup in lock(&self.notifiers).values() {
            wakeup.notify_one();
        }
    }

    /// Wakes all organizations after a notifier was parked.
    pub fn notify_parked(&self) {
        self.parked.send_replace(());
    }

    /// Returns a receiver that changes whenever a notifier is parked from now on.
    pub fn subscribe_parked(&self) -> watch::Receiver<()> {
        self.parked.subscribe()
    }
}
