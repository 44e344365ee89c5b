//! The board: what the outside may see of a running daemon. Whoever knows something puts it up, whoever is asked reads it,
//! and nobody waits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::domain::ids::OrganizationName;
use crate::metrics::counters::CycleOutcome;

/// What is up at the moment.
#[derive(Debug, Default)]
pub struct Board {
    organizations: Mutex<BTreeMap<OrganizationName, Status>>,
}

/// How one organization fares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Of the newest cycle and when it ended; `None` before the first.
    pub last_cycle: Option<(CycleOutcome, Timestamp)>,
    /// What is wrong, each with its place.
    pub reasons: Vec<String>,
}

impl Board {
    /// An organization that is watched from now on.
    pub fn expect(&self, organization: &OrganizationName) {
        self.lock().entry(organization.clone()).or_default();
    }

    /// An organization that is not watched any more.
    pub fn forget(&self, organization: &OrganizationName) {
        self.lock().remove(organization);
    }

    /// A cycle ended.
    pub fn note_cycle(
        &self,
        organization: &OrganizationName,
        outcome: CycleOutcome,
        at: Timestamp,
        reasons: Vec<String>,
    ) {
        let status = Status {
            last_cycle: Some((outcome, at)),
            reasons,
        };
        self.lock().insert(organization.clone(), status);
    }

    /// Something is wrong beside the cycle: the store.
    pub fn note_trouble(&self, organization: &OrganizationName, reason: String) {
        let mut organizations = self.lock();
        organizations
            .entry(organization.clone())
            .or_default()
            .reasons = vec![reason];
    }

    /// All organizations.
    pub fn organizations(&self) -> BTreeMap<OrganizationName, Status> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OrganizationName, Status>> {
        self.organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
