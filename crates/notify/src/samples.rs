//! Facts and envelopes for tests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::envelope::{Envelope, Links};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, EndedBy, Identity, Slot};
use spendwatch_domain::alerts::notification::{Contributor, Fact, Reason, Reconciled};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn usd(text: &str) -> i128 {
    Usd::parse(text).unwrap().pico()
}

/// A workspace over its monthly limit.
pub(crate) fn fact(reason: Reason) -> Fact {
    let is_resolved = reason == Reason::Resolved;
    Fact {
        identity: Identity {
            organization: "acme".into(),
            slot: Slot {
                rule: "workspace-month".into(),
                subject: Subject::new(SubjectKind::Workspace, "workspace_01"),
                period: Some("2026-11".into()),
                event: None,
            },
            started_at: at("2026-11-24T13:05:00Z"),
        },
        sequence: 3,
        reason,
        ended_by: is_resolved.then_some(EndedBy::Corrected),
        is_late: false,
        in_place_of: None,
        is_fired_and_resolved: false,
        subject_name: "Search".to_owned(),
        watch: Watch::Spend,
        span: Span {
            start: at("2026-10-31T23:00:00Z"),
            end: at("2026-11-30T23:00:00Z"),
        },
        zone_name: "Europe/Berlin".to_owned(),
        value: usd(if is_resolved { "4900" } else { "5630.125" }),
        is_lower_bound: false,
        limit: Some(usd("5000")),
        threshold: AbsoluteThreshold {
            quantity: usd("5000"),
            severity: Severity::Critical,
            text: "100%".into(),
        },
        firing_since: at("2026-11-24T13:05:00Z"),
        ended_at: is_resolved.then(|| at("2026-11-24T15:00:00Z")),
        decided_at: at("2026-11-24T13:05:00Z"),
        as_of: Some(at("2026-11-24T13:00:00Z")),
        labels: BTreeMap::from([("cost_center".to_owned(), "platform".to_owned())]),
        top: vec![
            contributor("claude-opus-4-1", "4000", Some("2000")),
            contributor("claude-haiku-4-5", "1630.125", Some("1700")),
        ],
        forecast: Some(Usd::from_pico(usd("7100"))),
        reconciled: None,
        creator: None,
    }
}

/// An API key over its daily limit.
pub(crate) fn api_key_fact() -> Fact {
    let mut fact = fact(Reason::First);
    fact.identity.slot.rule = "runaway-key".into();
    fact.identity.slot.subject = Subject::new(SubjectKind::ApiKey, "apikey_01");
    fact.identity.slot.period = Some("2026-11-24".into());
    fact.span = Span {
        start: at("2026-11-23T23:00:00Z"),
        end: at("2026-11-24T23:00:00Z"),
    };
    fact.subject_name = "ci".to_owned();
    fact
}

/// A user over their monthly limit.
pub(crate) fn user_fact() -> Fact {
    let mut fact = fact(Reason::First);
    fact.identity.slot.subject = Subject::new(SubjectKind::User, "user_01");
    fact.subject_name = "ada@example.com".to_owned();
    fact
}

/// An organization whose bill is below the estimate by more than 5%.
pub(crate) fn gap_fact(reason: Reason) -> Fact {
    let mut fact = fact(reason);
    fact.identity.slot.rule = "bill-and-tokens".into();
    fact.identity.slot.subject = Subject::new(SubjectKind::Organization, "acme");
    fact.subject_name = "acme".to_owned();
    fact.watch = Watch::ReconciliationPercent;
    (fact.value, fact.limit) = (8_053_435, Some(5_000_000));
    fact.threshold.quantity = 5_000_000;
    fact.top = Vec::new();
    fact.forecast = None;
    fact.reconciled = Some(Reconciled {
        billed: Usd::from_pico(usd("1204.5")),
        estimated: Usd::from_pico(usd("1310")),
        uncertain: Usd::ZERO,
        unpriced: Vec::new(),
    });
    fact
}

/// An event of an API key, a user or a workspace.
pub(crate) fn event_fact(event: Event, reason: Reason) -> Fact {
    let mut fact = fact(reason);
    let (kind, id, name) = if event.applies_to(SubjectKind::ApiKey) {
        (SubjectKind::ApiKey, "apikey_01", "ci")
    } else if event.applies_to(SubjectKind::User) {
        (SubjectKind::User, "user_01", "ada@example.com")
    } else {
        (SubjectKind::Workspace, "workspace_01", "Search")
    };
    fact.identity.slot = Slot {
        rule: "keys-and-people".into(),
        subject: Subject::new(kind, id),
        period: None,
        event: Some(event),
    };
    fact.subject_name = name.to_owned();
    fact.watch = Watch::Lifecycle;
    (fact.value, fact.limit) = (2, Some(2));
    fact.threshold = AbsoluteThreshold {
        quantity: 2,
        severity: Severity::Warning,
        text: "warning".into(),
    };
    let (moment, time) = match event {
        Event::KeyExpiring => ("2026-12-01T09:00:00Z", 30),
        Event::KeyIdle | Event::UserIdle => ("2026-08-23T10:00:00Z", 90),
        Event::WorkspaceCreated
        | Event::KeyCreated
        | Event::KeyOfRemovedUser
        | Event::LimitRemoved => ("2026-11-24T10:00:00Z", 7),
    };
    let time = SignedDuration::from_hours(24 * time);
    fact.span = event.span(at(moment), time, fact.decided_at);
    fact.creator = (event == Event::KeyOfRemovedUser).then(|| "bob@example.com".to_owned());
    fact.ended_by = fact.ended_by.map(|_| EndedBy::Cleared);
    fact.top = Vec::new();
    fact.forecast = None;
    fact
}

pub(crate) fn contributor(model: &str, value: &str, before: Option<&str>) -> Contributor {
    Contributor {
        workspace_id: "workspace_01".into(),
        workspace: "Search".to_owned(),
        model: Some(model.into()),
        api_key: None,
        person: None,
        value: usd(value),
        before: before.map(usd),
    }
}

/// A fact with this name everywhere.
pub(crate) fn fact_named(name: &str) -> Fact {
    let mut fact = fact(Reason::First);
    fact.identity.slot.rule = name.into();
    fact.identity.organization = name.into();
    fact.subject_name = name.to_owned();
    fact.threshold.text = name.into();
    fact.zone_name = name.to_owned();
    fact.labels = BTreeMap::from([(name.to_owned(), name.to_owned())]);
    for contributor in &mut fact.top {
        contributor.workspace = name.to_owned();
        contributor.model = Some(name.into());
    }
    fact
}

/// `n` workspaces over their limits.
pub(crate) fn workspace_facts(n: usize) -> Vec<Fact> {
    (0..n)
        .map(|index| {
            let mut fact = fact(Reason::First);
            let id = format!("workspace_{index:03}");
            fact.identity.slot.subject = Subject::new(SubjectKind::Workspace, id);
            fact.subject_name = format!("Team {index}");
            for part in &mut fact.top {
                part.workspace = fact.subject_name.clone();
            }
            fact
        })
        .collect()
}

/// Runs a test with an envelope two minutes after the decision.
pub(crate) fn with_envelope<T>(facts: &[Fact], test: impl FnOnce(Envelope<'_>) -> T) -> T {
    let notifier = NotifierName::from("finops");
    let links = Links {
        external_url: Some("https://spend.example.com".to_owned()),
        ..Links::default()
    };
    test(Envelope {
        id: "id-000001",
        notifier: &notifier,
        facts,
        created_at: at("2026-11-24T13:05:00Z"),
        now: at("2026-11-24T13:07:00Z"),
        n_attempts: 0,
        is_replay: false,
        links: &links,
        recipient: Some("cfo@example.com"),
        thread: None,
        n_posted: 0,
    })
}
