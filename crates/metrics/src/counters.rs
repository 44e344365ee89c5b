//! Counters of this process as typed fields, incremented where events happen. The contract defines the names.

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::process::Process;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};

/// The daemon's own metrics.
pub struct Counters {
    registry: Registry,
    poll_cycles: IntCounterVec,
    poll_duration: HistogramVec,
    notifications: IntCounterVec,
    heartbeats: IntCounterVec,
    parked: GaugeVec,
    reload_successful: Gauge,
    reload_at: Gauge,
    process: Process,
}

/// Outcome of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CycleOutcome {
    Ok,
    /// Some data could not be read.
    Partial,
    /// No data could be read.
    Failed,
}

impl CycleOutcome {
    pub const ALL: [CycleOutcome; 3] = [
        CycleOutcome::Ok,
        CycleOutcome::Partial,
        CycleOutcome::Failed,
    ];

    /// Returns the value of the label `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            CycleOutcome::Ok => "ok",
            CycleOutcome::Partial => "partial",
            CycleOutcome::Failed => "failed",
        }
    }
}

pub const DELIVERY_OUTCOMES: [&str; 4] = ["delivered", "retried", "parked", "dropped"];

pub const HEARTBEAT_OUTCOMES: [&str; 2] = ["sent", "failed"];

impl Counters {
    /// Creates the counters. Label values are added when they become known.
    pub fn new(revision: &str) -> Counters {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge =
            |name: &str, help: &str| register(&registry, Gauge::with_opts(Opts::new(name, help)));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        gauges(
            "spendwatch_build_info",
            "The version that runs; always 1.",
            &["version", "revision"],
        )
        .with_label_values(&[env!("CARGO_PKG_VERSION"), revision])
        .set(1.0);
        let poll_duration = HistogramOpts::new(
            "spendwatch_poll_duration_seconds",
            "How long a whole cycle took.",
        )
        .buckets(vec![0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0]);
        Counters {
            poll_cycles: counter(
                "spendwatch_poll_cycles_total",
                "Cycles, by how they ended.",
                &["organization", "outcome"],
            ),
            poll_duration: register(
                &registry,
                HistogramVec::new(poll_duration, &["organization"]),
            ),
            notifications: counter(
                "spendwatch_notifications_total",
                "Attempts to deliver a message, by outcome.",
                &["notifier", "outcome"],
            ),
            heartbeats: counter(
                "spendwatch_heartbeats_total",
                "Calls of the heartbeat, by outcome.",
                &["outcome"],
            ),
            parked: gauges(
                "spendwatch_notifier_parked",
                "Whether a notifier is parked after an authentication or configuration error; its messages wait.",
                &["notifier"],
            ),
            reload_successful: gauge(
                "spendwatch_config_last_reload_successful",
                "Whether the last reload of the configuration was accepted.",
            ),
            reload_at: gauge(
                "spendwatch_config_last_reload_success_timestamp_seconds",
                "When a configuration was last accepted.",
            ),
            process: Process::current(),
            registry,
        }
    }

    /// Adds an organization, at zero.
    pub fn add_organization(&self, organization: &OrganizationName) {
        for outcome in CycleOutcome::ALL {
            self.poll_cycles
                .with_label_values(&[organization.as_str(), outcome.as_str()])
                .inc_by(0);
        }
    }

    /// Adds a notifier, at zero.
    pub fn add_notifier(&self, notifier: &NotifierName) {
        for outcome in DELIVERY_OUTCOMES {
            self.notifications
                .with_label_values(&[notifier.as_str(), outcome])
                .inc_by(0);
        }
    }

    /// Counts a cycle and observes its duration, in seconds.
    pub fn count_cycle(
        &self,
        organization: &OrganizationName,
        outcome: CycleOutcome,
        seconds: f64,
    ) {
        self.poll_cycles
            .with_label_values(&[organization.as_str(), outcome.as_str()])
            .inc();
        self.poll_duration
            .with_label_values(&[organization.as_str()])
            .observe(seconds);
    }

    /// Counts delivery attempts; `outcome` is one of [`DELIVERY_OUTCOMES`].
    pub fn count_notification(&self, notifier: &NotifierName, outcome: &'static str, n: u64) {
        self.notifications
            .with_label_values(&[notifier.as_str(), outcome])
            .inc_by(n);
    }

    /// Adds the heartbeat, at zero.
    pub fn add_heartbeat(&self) {
        for outcome in HEARTBEAT_OUTCOMES {
            self.heartbeats.with_label_values(&[outcome]).inc_by(0);
        }
    }

    /// Counts a heartbeat; `outcome` is one of [`HEARTBEAT_OUTCOMES`].
    pub fn count_heartbeat(&self, outcome: &'static str) {
        self.heartbeats.with_label_values(&[outcome]).inc();
    }

    /// Removes the series of the heartbeat, after it was removed from the configuration.
    pub fn remove_heartbeat(&self) {
        self.heartbeats.reset();
    }

    /// Sets whether a notifier is parked.
    pub fn set_parked(&self, notifier: &NotifierName, is_parked: bool) {
        self.parked
            .with_label_values(&[notifier.as_str()])
            .set(if is_parked { 1.0 } else { 0.0 });
    }

    /// Removes the parked state of a removed notifier.
    pub fn remove_parked(&self, notifier: &NotifierName) {
        // There may be none.
        let _ = self.parked.remove_label_values(&[notifier.as_str()]);
    }

    /// Records whether a reload succeeded.
    pub fn record_reload(&self, is_accepted: bool, at: Timestamp) {
        self.reload_successful
            .set(if is_accepted { 1.0 } else { 0.0 });
        if is_accepted {
            self.reload_at.set(at.as_duration().as_secs_f64());
        }
    }

    /// Returns the process metrics.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Renders all counters as Prometheus text 0.0.4.
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        let families: Vec<_> = families
            .into_iter()
            .filter(|family| !family.get_metric().is_empty())
            .collect();
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("writing to memory, and no family is empty");
        String::from_utf8(text).expect("the encoder writes text")
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("a valid name");
    let registered = registry.register(Box::new(metric.clone()));
    registered.expect("each name once");
    metric
}
