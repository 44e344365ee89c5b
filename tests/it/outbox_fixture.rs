//! Fixture for delivery tests: a store with waiting messages, receivers, and a manual clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::delivery::DeliveryWorker;
use spendwatch_base::clock::{Clock, ManualClock, Random};
use spendwatch_base::outbound::{HttpClientConfig, client_for};
use spendwatch_base::receiver::WebhookSettings;
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, EndedBy, Identity, Observed, Slot};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::post::ReceiverEndpoint;
use spendwatch_notify::receivers::chat::ChatWebhook;
use spendwatch_notify::receivers::slack;
use spendwatch_notify::receivers::webhook::Webhook;
use spendwatch_store::decisions::Commit;
use spendwatch_store::outbox::NewMessage;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};
use spendwatch_store::resume_state::ResumeState;
use spendwatch_store::{Faults, Store};

use crate::harness::{at, organization};

/// Longer than any response takes, but short for requests without one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Store that can be reopened, as after a kill.
pub struct OutboxFixture {
    folder: tempfile::TempDir,
    pub clock: ManualClock,
    pub counters: Counters,
}

impl OutboxFixture {
    pub fn new() -> OutboxFixture {
        OutboxFixture {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(at("2026-11-24T12:00:00Z")),
            counters: Counters::new("test"),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("spendwatch.db")
    }

    pub fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    pub async fn open(&self) -> Store {
        let store = Store::open_for_daemon(&self.path(), self.now()).unwrap();
        store
            .load_organization(&organization(), self.now(), self.now())
            .await
            .unwrap();
        store
    }

    /// Opens the store with failing writes.
    pub async fn open_faulty(&self, faults: Faults) -> Store {
        self.open().await.with_faults(faults)
    }

    pub fn worker(&self, store: &Store, name: &str, notifier: Notifier) -> DeliveryWorker {
        DeliveryWorker {
            name: NotifierName::from(name),
            shows_repeats: matches!(notifier, Notifier::Chat(_) | Notifier::SlackApi(_)),
            notifier,
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            random: Random::seeded(1),
            links: Links::default(),
            group_interval: SignedDuration::ZERO,
            fallback: None,
        }
    }

    /// Commits one message about these alerts (name, sequence, reason), due at once.
    pub async fn tell(&self, store: &Store, to: &str, id: &str, alerts: &[(&str, u64, Reason)]) {
        let message = message(to, id, alerts, self.now());
        commit(store, vec![message], self.now()).await;
    }

    /// Advances the clock and sends everything due.
    pub async fn run_after(&self, seconds: u64, worker: &DeliveryWorker) -> usize {
        self.clock.advance(Duration::from_secs(seconds));
        worker.run_due(&self.counters).await.unwrap()
    }

    /// Returns whether the gauge shows the notifier as parked, or `None` if it is absent.
    pub fn parked(&self, name: &str) -> Option<bool> {
        let text = self.counters.render();
        let series = format!("spendwatch_notifier_parked{{notifier=\"{name}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value == "1")
    }
}

/// Returns a message about these alerts (name, sequence, reason), due at once.
pub fn message(to: &str, id: &str, alerts: &[(&str, u64, Reason)], now: Timestamp) -> NewMessage {
    let facts = alerts
        .iter()
        .map(|(name, sequence, reason)| fact(name, *sequence, *reason, now));
    NewMessage {
        id: id.to_owned(),
        notifier: NotifierName::from(to),
        recipient: None,
        facts: facts.collect(),
        not_before: now,
        expires: now + SignedDuration::from_hours(72),
    }
}

/// Fills the outbox with `n_sequences` messages about each alert.
pub async fn fill(store: &Store, to: &str, n_alerts: u64, n_sequences: u64, now: Timestamp) {
    for sequence in 1..=n_sequences {
        let reason = match sequence {
            1 => Reason::First,
            even if even % 2 == 0 => Reason::Escalated,
            _ => Reason::Lowered,
        };
        let messages = (0..n_alerts).map(|alert| {
            let (id, name) = (
                format!("{sequence:03}-{alert:04}"),
                format!("workspace {alert}"),
            );
            message(to, &id, &[(&name, sequence, reason)], now)
        });
        commit(store, messages.collect(), now).await;
    }
}

/// Marks all waiting messages as attempted, so that none is folded.
pub fn note_attempts(store: &Path) {
    let db = rusqlite::Connection::open(store).unwrap();
    db.execute("UPDATE outbox SET n_attempts = 1", []).unwrap();
}

pub async fn commit(store: &Store, messages: Vec<NewMessage>, now: Timestamp) {
    let engine = ResumeState {
        last_at: Some(now),
        observed: Observed(0),
        store_began: now,
        last_cycle: Some(now),
        rules_began: BTreeMap::new(),
        dialect: None,
        billed_until: None,
    };
    let commit = Commit {
        alerts: Vec::new(),
        messages,
        resume_state: engine,
        at: now,
    };
    store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
}

/// Returns a fact about a workspace over its monthly limit.
pub fn fact(name: &str, sequence: u64, reason: Reason, now: Timestamp) -> Fact {
    let is_resolved = reason == Reason::Resolved;
    let usd = |dollars| Usd::from_dollars(dollars).pico();
    Fact {
        identity: Identity {
            organization: organization(),
            slot: Slot {
                rule: "month".into(),
                subject: Subject::new(SubjectKind::Workspace, name),
                period: Some("2026-11".into()),
                event: None,
            },
            started_at: at("2026-11-24T12:00:00Z"),
        },
        sequence,
        reason,
        ended_by: is_resolved.then_some(EndedBy::Corrected),
        is_late: false,
        in_place_of: None,
        is_fired_and_resolved: false,
        subject_name: name.to_owned(),
        watch: Watch::Spend,
        span: Span {
            start: at("2026-11-01T00:00:00Z"),
            end: at("2026-12-01T00:00:00Z"),
        },
        zone_name: "UTC".to_owned(),
        value: usd(if is_resolved { 90 } else { 120 }),
        is_lower_bound: false,
        limit: Some(usd(100)),
        threshold: AbsoluteThreshold {
            quantity: usd(100),
            severity: Severity::Critical,
            text: "100%".into(),
        },
        firing_since: now,
        ended_at: is_resolved.then_some(now),
        decided_at: now,
        as_of: Some(now),
        labels: BTreeMap::new(),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
        creator: None,
    }
}

pub fn client(url: &str) -> reqwest::Client {
    let limits = HttpClientConfig {
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        timeout: PATIENCE,
        ca_file: None,
    };
    client_for(&limits, &url.parse().unwrap()).unwrap()
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub fn endpoint(url: &str) -> ReceiverEndpoint {
    let mut endpoint = ReceiverEndpoint::new(secret(url), true).unwrap();
    endpoint.client = client(url);
    endpoint
}

pub fn slack(url: &str) -> Notifier {
    Notifier::Chat(ChatWebhook {
        endpoint: endpoint(url),
        format: slack::FORMAT,
    })
}

pub fn webhook(url: &str) -> Notifier {
    let settings = WebhookSettings {
        url: secret(url),
        signing_secrets: Vec::new(),
        headers: Vec::new(),
        template: None,
    };
    let mut webhook = Webhook::new(settings, true).unwrap();
    webhook.endpoint.client = client(url);
    Notifier::Webhook(webhook)
}

/// Returns the ids of messages in a state, oldest first.
pub async fn ids(store: &Store, state: MessageState) -> Vec<String> {
    let filter = MessageFilter {
        state: Some(state),
        notifier: None,
        limit: 100,
    };
    let messages = store.messages(&filter).await.unwrap();
    messages.into_iter().rev().map(|row| row.id).collect()
}
