//! State of a running daemon as HTTP and the heartbeat see it. Activities publish it and readers copy it, so neither waits
//! for the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_base::lock;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_metrics::daemon::DeliveryGauges;
use spendwatch_metrics::daemon::RequestCount;
use spendwatch_metrics::exposition::Exposition;
use spendwatch_metrics::gauges::Rendered;

/// The newest published state.
#[derive(Debug, Default)]
pub struct PublishedState {
    organizations: Mutex<BTreeMap<OrganizationName, OrganizationStatus>>,
    gauges: Mutex<BTreeMap<OrganizationName, Rendered>>,
    exposition: ArcSwap<Exposition>,
    requests: Mutex<BTreeMap<OrganizationName, Arc<RequestCounts>>>,
    posts: Mutex<BTreeMap<NotifierName, DeliveryGauges>>,
    privacy: ArcSwap<Privacy>,
}

/// Status of one organization.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OrganizationStatus {
    /// Outcome and end of the newest cycle; `None` before the first.
    pub last_cycle: Option<(CycleOutcome, Timestamp)>,
    /// Errors, each with its location.
    pub reasons: Vec<String>,
    /// Notes that do not make a cycle partial.
    pub remarks: Vec<String>,
    /// Whether Anthropic states another sum for this month; also one of the remarks.
    pub has_difference: bool,
    pub clock: ClockState,
}

impl OrganizationStatus {
    /// Returns the outcome of the newest cycle, as health checks and the page show it.
    pub fn state(&self) -> &'static str {
        self.last_cycle
            .map_or("starting", |(outcome, _)| outcome.as_str())
    }
}

/// Result of comparing our clock with the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockState {
    /// The clocks agree, or the server does not state its time.
    #[default]
    InSync,
    /// The clocks differ by more than a minute.
    Skewed,
    /// The clocks differ so much that nothing is decided or stored.
    Wrong,
}

impl PublishedState {
    /// Adds an organization, without a cycle yet.
    pub fn add_organization(&self, organization: &OrganizationName) {
        lock(&self.organizations)
            .entry(organization.clone())
            .or_default();
    }

    /// Removes an organization and its gauges.
    pub fn remove_organization(&self, organization: &OrganizationName) {
        lock(&self.organizations).remove(organization);
        lock(&self.requests).remove(organization);
        let mut gauges = lock(&self.gauges);
        gauges.remove(organization);
        self.assemble(&gauges);
    }

    /// Registers the request counts of an organization.
    pub fn set_request_counts(&self, organization: &OrganizationName, counts: &Arc<RequestCounts>) {
        lock(&self.requests).insert(organization.clone(), Arc::clone(counts));
    }

    /// Replaces the gauges of one organization.
    pub fn set_gauges(&self, organization: &OrganizationName, rendered: Rendered) {
        let mut gauges = lock(&self.gauges);
        gauges.insert(organization.clone(), rendered);
        self.assemble(&gauges);
    }

    /// Returns what a scrape receives, without the daemon's own series.
    pub fn exposition(&self) -> Arc<Exposition> {
        self.exposition.load_full()
    }

    /// Returns the request counts of all organizations.
    pub fn request_counts(&self) -> Vec<RequestCount> {
        let requests = lock(&self.requests);
        let of_each = requests.iter().flat_map(|(organization, counts)| {
            let organization = organization.clone();
            counts
                .all()
                .into_iter()
                .map(move |((endpoint, code), n)| RequestCount {
                    organization: organization.clone(),
                    endpoint: endpoint.label(),
                    code: code.to_string(),
                    n,
                })
        });
        of_each.collect()
    }

    /// Replaces the delivery gauges of all notifiers.
    pub fn set_delivery_gauges(&self, posts: BTreeMap<NotifierName, DeliveryGauges>) {
        *lock(&self.posts) = posts;
    }

    /// Returns the delivery gauges as last set.
    pub fn delivery_gauges(&self) -> BTreeMap<NotifierName, DeliveryGauges> {
        lock(&self.posts).clone()
    }

    /// Sets how users are named.
    pub fn set_privacy(&self, privacy: Privacy) {
        self.privacy.store(Arc::new(privacy));
    }

    /// Returns how users are named.
    pub fn privacy(&self) -> Privacy {
        **self.privacy.load()
    }

    fn assemble(&self, gauges: &BTreeMap<OrganizationName, Rendered>) {
        self.exposition
            .store(Arc::new(Exposition::assemble(gauges)));
    }

    /// Records the end of a cycle. Returns the previous status.
    pub fn record_cycle(
        &self,
        organization: &OrganizationName,
        status: OrganizationStatus,
    ) -> Option<OrganizationStatus> {
        lock(&self.organizations).insert(organization.clone(), status)
    }

    /// Records a cycle that a store error aborted. The gauges stay, but show the organization as down.
    pub fn record_failure(&self, organization: &OrganizationName, reason: String, at: Timestamp) {
        let mut organizations = lock(&self.organizations);
        let status = organizations.entry(organization.clone()).or_default();
        status.last_cycle = Some((CycleOutcome::Failed, at));
        status.reasons = vec![reason];
        drop(organizations);
        let mut gauges = lock(&self.gauges);
        let rendered = gauges.entry(organization.clone());
        rendered.or_default().mark_down(organization);
        self.assemble(&gauges);
    }

    /// Returns whether the newest cycle of every organization was complete.
    pub fn are_all_complete(&self) -> bool {
        let organizations = lock(&self.organizations);
        organizations
            .values()
            .all(|status| matches!(status.last_cycle, Some((CycleOutcome::Ok, _))))
    }

    /// Returns the status of all organizations.
    pub fn organizations(&self) -> BTreeMap<OrganizationName, OrganizationStatus> {
        lock(&self.organizations).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_organizations_must_have_completed_their_newest_cycle() {
        let published = PublishedState::default();
        let (one, other) = ("one".into(), "other".into());
        let ended = |name, outcome| {
            let status = OrganizationStatus {
                last_cycle: Some((outcome, Timestamp::UNIX_EPOCH)),
                ..OrganizationStatus::default()
            };
            published.record_cycle(name, status);
            published.are_all_complete()
        };
        published.add_organization(&one);
        published.add_organization(&other);
        assert!(!ended(&one, CycleOutcome::Ok), "the other has none yet");
        assert!(ended(&other, CycleOutcome::Ok));
        assert!(!ended(&other, CycleOutcome::Partial));
        assert!(!ended(&one, CycleOutcome::Ok));
        published.remove_organization(&other);
        assert!(published.are_all_complete());
        published.record_failure(&one, "the disk is full".to_owned(), Timestamp::UNIX_EPOCH);
        assert!(!published.are_all_complete());
    }
}
