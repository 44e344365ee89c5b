//! A post office: messages that were decided, the store they wait in, receivers, and a clock that is moved by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::clock::{Chance, Clock, ManualClock};
use spendwatch::delivery::Worker;
use spendwatch::domain::alert::{EndedBy, Identity, Line, Observed, Slot};
use spendwatch::domain::ids::NotifierName;
use spendwatch::domain::money::Usd;
use spendwatch::domain::notification::{Fact, Reason};
use spendwatch::domain::rule::{Severity, Watch};
use spendwatch::domain::span::Span;
use spendwatch::domain::subject::{Subject, SubjectKind};
use spendwatch::metrics::counters::Counters;
use spendwatch::notify::Notifier;
use spendwatch::notify::envelope::Links;
use spendwatch::notify::slack::{self, Slack};
use spendwatch::notify::webhook::{self, Webhook};
use spendwatch::outbound::{Outbound, client_for};
use spendwatch::secret::Secret;
use spendwatch::store::decisions::Commit;
use spendwatch::store::engine::Engine;
use spendwatch::store::messages::{MessageFilter, MessageState};
use spendwatch::store::outbox::NewMessage;
use spendwatch::store::{Faults, Store};

use crate::harness::{at, organization};

/// Longer than anything that answers at all takes, short for what never does.
const PATIENCE: Duration = Duration::from_millis(500);

/// The store can be opened again, as after a kill.
pub struct Office {
    folder: tempfile::TempDir,
    pub clock: ManualClock,
    pub counters: Counters,
}

impl Office {
    pub fn new() -> Office {
        Office {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(at("2026-11-24T12:00:00Z")),
            counters: Counters::new(&[organization()], &[], "test"),
        }
    }

    /// Where the store is.
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

    /// The same, with writes that fail.
    pub async fn open_faulty(&self, faults: Faults) -> Store {
        self.open().await.with_faults(faults)
    }

    pub fn worker(&self, store: &Store, name: &str, notifier: Notifier) -> Worker {
        Worker {
            name: NotifierName::from(name),
            notifier,
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            chance: Chance::seeded(1),
            links: Links::default(),
            group_interval: SignedDuration::ZERO,
            fallback: None,
        }
    }

    /// A decision now: one message about some alerts, with their place and reason. It is due at once.
    pub async fn tell(&self, store: &Store, to: &str, id: &str, alerts: &[(&str, u64, Reason)]) {
        let message = message(to, id, alerts, self.now());
        commit(store, vec![message], self.now()).await;
    }

    /// Time passes, then all that is due is sent.
    pub async fn run_after(&self, seconds: u64, worker: &Worker) -> usize {
        self.clock.advance(Duration::from_secs(seconds));
        worker.run_due(&self.counters).await.unwrap()
    }

    /// Whether the gauge says that a notifier is parked; `None` where it says nothing.
    pub fn parked(&self, name: &str) -> Option<bool> {
        let text = self.counters.render();
        let series = format!("spendwatch_notifier_parked{{notifier=\"{name}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value == "1")
    }
}

/// A message about some alerts, with their place and reason; due at once.
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

/// A backlog: decisions about each of so many alerts, with a message for each, decided in turn.
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

/// As if each message that waits had been tried: none is folded into another any more.
pub fn note_attempts(store: &Path) {
    let db = rusqlite::Connection::open(store).unwrap();
    db.execute("UPDATE outbox SET n_attempts = 1", []).unwrap();
}

pub async fn commit(store: &Store, messages: Vec<NewMessage>, now: Timestamp) {
    let engine = Engine {
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
        engine,
        at: now,
    };
    store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
}

/// A workspace's month over its limit.
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
        line: Line {
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
        maker: None,
    }
}

pub fn client(url: &str) -> reqwest::Client {
    let limits = Outbound {
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

pub fn slack(url: &str) -> Notifier {
    let settings = slack::Settings { url: secret(url) };
    Notifier::Slack(Slack::new(client(url), settings).unwrap())
}

pub fn webhook(url: &str) -> Notifier {
    let settings = webhook::Settings {
        url: secret(url),
        signing_secrets: Vec::new(),
        headers: Vec::new(),
        template: None,
    };
    Notifier::Webhook(Webhook::new(client(url), settings).unwrap())
}

/// The ids of messages in a state, oldest first.
pub async fn ids(store: &Store, state: MessageState) -> Vec<String> {
    let filter = MessageFilter {
        state: Some(state),
        notifier: None,
        limit: 100,
    };
    let messages = store.messages(&filter).await.unwrap();
    messages.into_iter().rev().map(|row| row.id).collect()
}
