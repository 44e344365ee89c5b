//! The bells of the workers: whoever committed messages rings, and nobody's ring is lost while its worker is busy. And the other
//! way round: a worker that parks rings for a decision, since somebody may have to be told in its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::ids::NotifierName;

/// One bell for each notifier, and one that tells all organizations that a notifier was parked.
#[derive(Debug, Default)]
pub struct Bells {
    notifiers: Mutex<BTreeMap<NotifierName, Arc<Notify>>>,
    parkings: watch::Sender<()>,
}

impl Bells {
    /// The bell of one notifier.
    pub fn of(&self, notifier: &NotifierName) -> Arc<Notify> {
        let mut bells = self
            .notifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(notifier.clone()).or_default())
    }

    /// Whose bells there are.
    pub fn names(&self) -> Vec<NotifierName> {
        let bells = self
            .notifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bells.keys().cloned().collect()
    }

    /// Keeps the bells of these alone.
    pub fn keep(&self, names: &[NotifierName]) {
        let mut bells = self
            .notifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bells.retain(|name, _| names.contains(name));
    }

    /// There may be something to do for everyone.
    pub fn ring(&self) {
        for bell in self
            .notifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            bell.notify_one();
        }
    }

    /// A notifier was parked.
    pub fn ring_of_parking(&self) {
        self.parkings.send_replace(());
    }

    /// Changes when a notifier is parked from now on.
    pub fn parkings(&self) -> watch::Receiver<()> {
        self.parkings.subscribe()
    }
}
