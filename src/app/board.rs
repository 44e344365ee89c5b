//! The board: what the outside may see of a running daemon. Whoever knows something puts it up, whoever is asked reads it,
//! and nobody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::privacy::Privacy;
use crate::metrics::counters::CycleOutcome;
use crate::metrics::exposition::Exposition;
use crate::metrics::gauges::Rendered;
use crate::metrics::own::Post;
use crate::metrics::requests::RequestCounts;

/// What is up at the moment.
#[derive(Debug, Default)]
pub struct Board {
    organizations: Mutex<BTreeMap<OrganizationName, Status>>,
    gauges: Mutex<BTreeMap<OrganizationName, Rendered>>,
    exposition: ArcSwap<Exposition>,
    requests: Mutex<BTreeMap<OrganizationName, Arc<RequestCounts>>>,
    posts: Mutex<BTreeMap<NotifierName, Post>>,
    privacy: ArcSwap<Privacy>,
}

/// How one organization fares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Of the newest cycle and when it ended; `None` before the first.
    pub last_cycle: Option<(CycleOutcome, Timestamp)>,
    /// What is wrong, each with its place.
    pub reasons: Vec<String>,
    /// What is right and yet worth a look.
    pub remarks: Vec<String>,
    /// Whether one of the remarks is that the service states another sum for this month.
    pub is_different: bool,
    /// How the clock compares with the server's.
    pub clock: ClockState,
}

/// How the clock compares with the server's, as far as it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockState {
    /// They agree, or the server does not state its time.
    #[default]
    Right,
    /// They differ by more than a minute.
    Off,
    /// Nothing is decided or stored.
    Wrong,
}

impl Board {
    /// An organization that is watched from now on.
    pub fn expect(&self, organization: &OrganizationName) {
        self.lock().entry(organization.clone()).or_default();
    }

    /// An organization that is not watched any more.
    pub fn forget(&self, organization: &OrganizationName) {
        self.lock().remove(organization);
        hold(&self.requests).remove(organization);
        let mut gauges = hold(&self.gauges);
        gauges.remove(organization);
        self.assemble(&gauges);
    }

    /// Where an organization's requests are counted.
    pub fn count_requests_of(&self, organization: &OrganizationName, counts: &Arc<RequestCounts>) {
        hold(&self.requests).insert(organization.clone(), Arc::clone(counts));
    }

    /// The gauges of one organization, whole: the others stay as they are.
    pub fn show(&self, organization: &OrganizationName, rendered: Rendered) {
        let mut gauges = hold(&self.gauges);
        gauges.insert(organization.clone(), rendered);
        self.assemble(&gauges);
    }

    /// What a scraper gets, but for the daemon's own series.
    pub fn exposition(&self) -> Arc<Exposition> {
        self.exposition.load_full()
    }

    /// The request counts of all organizations.
    pub fn requests(&self) -> BTreeMap<OrganizationName, Arc<RequestCounts>> {
        hold(&self.requests).clone()
    }

    /// How delivery fares.
    pub fn show_posts(&self, posts: BTreeMap<NotifierName, Post>) {
        *hold(&self.posts) = posts;
    }

    /// How delivery fared when it was last shown.
    pub fn posts(&self) -> BTreeMap<NotifierName, Post> {
        hold(&self.posts).clone()
    }

    /// By what people are named from now on.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.privacy.store(Arc::new(privacy));
    }

    /// By what people are named.
    pub fn privacy(&self) -> Privacy {
        **self.privacy.load()
    }

    fn assemble(&self, gauges: &BTreeMap<OrganizationName, Rendered>) {
        self.exposition
            .store(Arc::new(Exposition::assemble(gauges)));
    }

    /// A cycle ended. Gives how it was before.
    pub fn note_cycle(&self, organization: &OrganizationName, status: Status) -> Option<Status> {
        self.lock().insert(organization.clone(), status)
    }

    /// A cycle could not be brought to its end: the store failed. The figures stay as they are shown, but are not up.
    pub fn note_failure(&self, organization: &OrganizationName, reason: String, at: Timestamp) {
        let mut organizations = self.lock();
        let status = organizations.entry(organization.clone()).or_default();
        status.last_cycle = Some((CycleOutcome::Failed, at));
        status.reasons = vec![reason];
        drop(organizations);
        let mut gauges = hold(&self.gauges);
        let rendered = gauges.entry(organization.clone());
        rendered.or_default().take_down(organization);
        self.assemble(&gauges);
    }

    /// Whether the newest cycle of every organization was complete.
    pub fn is_complete(&self) -> bool {
        let organizations = self.lock();
        organizations
            .values()
            .all(|status| matches!(status.last_cycle, Some((CycleOutcome::Ok, _))))
    }

    /// All organizations.
    pub fn organizations(&self) -> BTreeMap<OrganizationName, Status> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OrganizationName, Status>> {
        hold(&self.organizations)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_is_what_was_complete_for_every_organization_last() {
        let board = Board::default();
        let (one, other) = ("one".into(), "other".into());
        let ended = |name, outcome| {
            let status = Status {
                last_cycle: Some((outcome, Timestamp::UNIX_EPOCH)),
                ..Status::default()
            };
            board.note_cycle(name, status);
            board.is_complete()
        };
        board.expect(&one);
        board.expect(&other);
        assert!(!ended(&one, CycleOutcome::Ok), "the other has none yet");
        assert!(ended(&other, CycleOutcome::Ok));
        assert!(!ended(&other, CycleOutcome::Partial));
        assert!(!ended(&one, CycleOutcome::Ok));
        board.forget(&other);
        assert!(board.is_complete());
        board.note_failure(&one, "the disk is full".to_owned(), Timestamp::UNIX_EPOCH);
        assert!(!board.is_complete());
    }
}
