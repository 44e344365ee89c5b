//! Made-up values for the store's tests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::alert::{Alert, EndedBy, Identity, Line, Observed, Slot, State};
use crate::domain::change::{Delta, Kind, Recorded, RowChange};
use crate::domain::coverage::Coverage;
use crate::domain::dialect::Dialect;
use crate::domain::digest::{
    Anchor, Breakdown, Digest, LimitUse, Line as DigestLine, Listed, OpenAlert, Rest,
};
use crate::domain::money::Usd;
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::{Severity, Watch};
use crate::domain::span::{Day, Hour, Span};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, Granularity, Part};
use crate::store::Store;
use crate::store::decisions::Commit;
use crate::store::engine::Engine;
use crate::store::error::StoreError;
use crate::store::outbox::NewMessage;

/// The organization of all samples.
pub(super) const ORGANIZATION: &str = "acme";

/// The first hour of all samples: a midnight.
pub(super) const FIRST: Hour = Hour::from_count(480_000);

/// So many minutes after the first hour began.
pub(super) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(FIRST.start().as_second() + minute * 60).unwrap()
}

/// So many dollars and a bit, and some tokens.
pub(super) fn amounts(dollars: i64) -> Amounts {
    if dollars == 0 {
        return Amounts::ZERO;
    }
    let mut amounts = Amounts::ZERO;
    amounts.spend = Usd::from_dollars(dollars) + Usd::from_pico(1);
    amounts.tokens.input = dollars * 1000;
    amounts
}

/// A coverage whose hours begin with the first one.
pub(super) fn coverage() -> Coverage {
    Coverage {
        as_of: Some(at(5)),
        hours_from: Some(FIRST.day()),
        ..Coverage::new(at(0))
    }
}

/// An hour of a workspace is told to be so many dollars; it was nothing, or is nothing now.
pub(super) async fn record_hour(
    store: &Store,
    workspace: &str,
    hour: i32,
    dollars: i64,
) -> Result<(), StoreError> {
    let (hour, cell) = (FIRST.plus(hour), "m".into());
    let part = Part::Workspace(workspace.into());
    let stored = store
        .sums_by_hour(
            &ORGANIZATION.into(),
            &part,
            crate::domain::span::HourSpan {
                start: hour,
                end: hour.plus(1),
            },
        )
        .await?;
    let before = stored
        .get(&hour)
        .map(crate::domain::usage::sum)
        .unwrap_or_default();
    let recorded = Recorded {
        rows: vec![RowChange {
            kind: Kind::Hour,
            hour,
            cell,
            amounts: amounts(dollars),
        }],
        deltas: vec![Delta {
            hour,
            cell: "m".into(),
            amounts: amounts(dollars) - before,
        }],
        doubts: Vec::new(),
        coverage: coverage(),
        is_coverage_changed: true,
        fell: BTreeSet::new(),
        touched: BTreeSet::from([(Granularity::Hour, hour)]),
        is_complete: true,
    };
    store
        .record(&ORGANIZATION.into(), vec![(part, recorded)], Vec::new())
        .await
}

/// A store that knows the organization.
pub(super) async fn store() -> Store {
    let store = Store::in_memory().unwrap();
    store
        .load_organization(&ORGANIZATION.into(), at(0), at(0))
        .await
        .unwrap();
    store
}

/// What the daemon remembers after a decision.
pub(super) fn engine(minute: i64) -> Engine {
    Engine {
        last_at: Some(at(minute)),
        observed: Observed(60_000),
        store_began: at(0),
        last_cycle: Some(at(minute)),
        rules_began: BTreeMap::from([("rule".into(), at(0))]),
        dialect: Some(Dialect::Guide),
        billed_until: Some(at(3)),
    }
}

/// What an alert about a workspace is.
pub(super) fn identity(workspace: &str) -> Identity {
    Identity {
        organization: ORGANIZATION.into(),
        slot: Slot {
            rule: "rule".into(),
            subject: Subject::new(SubjectKind::Workspace, workspace),
            period: Some("2024-10".into()),
            event: None,
        },
        started_at: at(0),
    }
}

fn span() -> Span {
    Span {
        start: Day::of(at(0)).start(),
        end: Day::of(at(0)).plus(3).start(),
    }
}

/// The line at 80 %.
pub(super) fn line() -> Line {
    Line {
        quantity: 80,
        severity: Severity::Warning,
        text: "80%".into(),
    }
}

/// A firing alert about a workspace.
pub(super) fn alert(workspace: &str, sequence: u64) -> Alert {
    Alert {
        identity: identity(workspace),
        watch: Watch::Spend,
        span: span(),
        state: State::Firing {
            line: line(),
            clearing_since: None,
        },
        rising: Vec::new(),
        sequence,
        firing_since: Some(at(1)),
        is_late: false,
        is_silenced: false,
        value: 81,
        limit: Some(100),
        told: BTreeMap::new(),
    }
}

/// What is told of it.
pub(super) fn fact(workspace: &str, sequence: u64, reason: Reason) -> Fact {
    Fact {
        identity: identity(workspace),
        sequence,
        reason,
        ended_by: None,
        is_late: false,
        in_place_of: None,
        is_fired_and_resolved: false,
        subject_name: workspace.to_owned(),
        watch: Watch::Spend,
        span: span(),
        zone_name: "UTC".to_owned(),
        value: 81,
        is_lower_bound: false,
        limit: Some(100),
        line: line(),
        firing_since: at(1),
        ended_at: None,
        decided_at: at(1),
        as_of: Some(at(1)),
        labels: BTreeMap::new(),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
        maker: None,
    }
}

/// Commits alerts and messages at a minute.
pub(super) async fn commit(
    store: &Store,
    minute: i64,
    alerts: Vec<Alert>,
    messages: Vec<NewMessage>,
) {
    let commit = Commit {
        alerts,
        messages,
        engine: engine(minute),
        at: at(minute),
    };
    store
        .commit_decision(&ORGANIZATION.into(), commit)
        .await
        .unwrap();
}

/// The same, over since minute 9.
pub(super) fn ended(mut alert: Alert, sequence: u64) -> Alert {
    alert.state = State::Ended {
        by: EndedBy::Cleared,
        at: at(9),
        line: line(),
    };
    alert.sequence = sequence;
    alert
}

/// A digest of an hour.
pub(super) fn digest(name: &str) -> Digest {
    let line = |name: &str, dollars| DigestLine {
        name: name.to_owned(),
        spend: Usd::from_dollars(dollars),
        before: Some(Usd::from_pico(1)),
    };
    let breakdown = Breakdown {
        lines: vec![line("a", 3)],
        rest: Some(Rest {
            n: 2,
            spend: Usd::from_dollars(1),
            before: None,
        }),
    };
    let subject = Subject::new(SubjectKind::Workspace, "a");
    Digest {
        organization: ORGANIZATION.into(),
        name: name.to_owned(),
        label: Some("2026-W47".to_owned()),
        span: Span {
            start: at(0),
            end: at(60),
        },
        zone_name: "UTC".to_owned(),
        made_at: at(75),
        spend: Usd::from_dollars(4),
        before: None,
        series: vec![("2026-11-16".to_owned(), Usd::from_dollars(4))],
        workspaces: breakdown.clone(),
        movers: breakdown,
        teams: Breakdown::default(),
        models: Breakdown::default(),
        limits: Listed {
            first: vec![LimitUse {
                rule: "week".into(),
                subject: subject.clone(),
                name: "a".to_owned(),
                value: Usd::from_dollars(3),
                is_lower_bound: true,
                limit: Usd::from_dollars(5),
            }],
            n_more: 1,
        },
        alerts: Listed {
            first: vec![OpenAlert {
                rule: "week".into(),
                subject,
                name: "a".to_owned(),
                severity: Severity::Warning,
                threshold: "50%".to_owned(),
                event: None,
                since: Some(at(3)),
            }],
            n_more: 0,
        },
        forecast: None,
        idle_keys: None,
        gaps: Vec::new(),
        audit: Some(Anchor {
            entry: 7,
            hash: "3f9a".to_owned(),
        }),
    }
}
