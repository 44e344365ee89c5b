//! Settings and dependencies of a watcher.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use spendwatch_anthropic::AdminApi;
use spendwatch_audit::AuditLog;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::digests::DigestConfig;
use spendwatch_domain::alerts::policy::Policy;
use spendwatch_domain::ledger::coverage::PollSettings;
use spendwatch_domain::org::events::RequiredLists;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_domain::units::matcher::Team;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::usage::prices::PriceTable;
use spendwatch_metrics::counters::Counters;
use spendwatch_store::Store;

/// Delivery settings of one notifier, used when messages are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Each has its own delivery; empty if the receiver has a single one.
    pub recipients: Vec<String>,
    /// How long a message waits for further alerts.
    pub group_wait: SignedDuration,
    /// Age at which an undelivered message becomes a dead letter.
    pub max_age: SignedDuration,
    pub accepts_digests: bool,
}

impl DeliverySettings {
    /// Returns the recipient of each copy of a message; `[None]` if the receiver has a single delivery.
    pub fn recipients_or_none(&self) -> Vec<Option<String>> {
        if self.recipients.is_empty() {
            vec![None]
        } else {
            self.recipients.iter().cloned().map(Some).collect()
        }
    }
}

/// Settings of one organization's watcher.
#[derive(Debug, Clone)]
pub struct WatcherSettings {
    pub organization: OrganizationName,
    /// `None` means that it is detected.
    pub dialect: Option<Dialect>,
    pub max_concurrency: usize,
    /// For estimates until usage is billed.
    pub prices: Arc<PriceTable>,
    pub privacy: Privacy,
    pub poll: PollSettings,
    pub hourly_retention_days: i32,
    pub daily_retention_days: i32,
    pub teams: Vec<Team>,
    pub policy: Policy,
    /// Lists that the rules need.
    pub needs: RequiredLists,
    pub digests: Vec<DigestConfig>,
    pub delivery: BTreeMap<NotifierName, DeliverySettings>,
}

/// Dependencies of a watcher.
#[derive(Clone)]
pub struct WatcherDeps {
    pub api: AdminApi,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    pub counters: Arc<Counters>,
    /// `None` if no file may be written, as in the demo.
    pub audit: Option<AuditLog>,
}
