//! The bells of the workers: whoever committed messages rings, and nobody's ring is lost while its worker is busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::ids::NotifierName;

/// One bell for each notifier.
#[derive(Debug, Default)]
pub struct Bells(Mutex<BTreeMap<NotifierName, Arc<Notify>>>);

impl Bells {
    /// The bell of one notifier.
    pub fn of(&self, notifier: &NotifierName) -> Arc<Notify> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(notifier.clone()).or_default())
    }

    /// Whose bells there are.
    pub fn names(&self) -> Vec<NotifierName> {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.keys().cloned().collect()
    }

    /// Keeps the bells of these alone.
    pub fn keep(&self, names: &[NotifierName]) {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|name, _| names.contains(name));
    }

    /// There may be something to do for everyone.
    pub fn ring(&self) {
        for bell in self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            bell.notify_one();
        }
    }
}
