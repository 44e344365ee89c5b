//! Sample values for the store's tests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::params;

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, time_from_row};
use crate::decisions::Commit;
use crate::error::StoreError;
use crate::outbox::NewMessage;
use crate::resume_state::ResumeState;
use spendwatch_domain::alerts::alert::{
    AbsoluteThreshold, Alert, EndedBy, Identity, Observed, Slot, State,
};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::digest::{
    AuditAnchor, Digest, LimitUse, OpenAlert, OtherSubjects, SpendBreakdown,
    SubjectSpend as DigestLine, Truncated,
};
use spendwatch_domain::ledger::change::{Delta, PartChanges, RowChange, RowKind};
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, Span};
use spendwatch_domain::units::subject::{Subject, SubjectKind};
use spendwatch_domain::usage::bucket::{Amounts, Granularity, Part};

/// The simplest write, and its result.
impl Store {
    pub(crate) async fn set_last_run(&self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("set_last_run", move |tx| {
            let sql = "INSERT OR REPLACE INTO schedules (name, last_run) VALUES (?1, ?2)";
            query::run(tx, sql, params![name, StoredTime(at)])?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn last_run(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let name = name.to_owned();
        self.read(move |db| {
            let sql = "SELECT last_run FROM schedules WHERE name = ?1";
            query::first(db, sql, [name], |row| Ok(time_from_row(row, 0)?))
        })
        .await
    }
}

pub(crate) const ORGANIZATION: &str = "acme";

/// The first hour of all samples, at midnight.
pub(crate) const FIRST: Hour = Hour::from_count(480_000);

/// Returns the time `minute` minutes after the start of the first hour.
pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(FIRST.start().as_second() + minute * 60).unwrap()
}

/// Returns a little more than `dollars`, and some tokens.
pub(crate) fn amounts(dollars: i64) -> Amounts {
    if dollars == 0 {
        return Amounts::ZERO;
    }
    let mut amounts = Amounts::ZERO;
    amounts.spend = Usd::from_dollars(dollars) + Usd::from_pico(1);
    amounts.tokens.input = dollars * 1000;
    amounts
}

/// Returns a coverage that starts with the first hour.
pub(crate) fn coverage() -> Coverage {
    Coverage {
        as_of: Some(at(5)),
        hours_from: Some(FIRST.day()),
        ..Coverage::new(at(0))
    }
}

/// Records the spend of a workspace in an hour, replacing an earlier value.
pub(crate) async fn record_hour(
    store: &Store,
    workspace: &str,
    hour: i32,
    dollars: i64,
) -> Result<(), StoreError> {
    let (hour, usage_key) = (FIRST.plus(hour), "m".into());
    let part = Part::Workspace(workspace.into());
    let stored = store
        .sums_by_hour(
            &ORGANIZATION.into(),
            &part,
            spendwatch_domain::units::span::HourSpan {
                start: hour,
                end: hour.plus(1),
            },
        )
        .await?;
    let before = stored
        .get(&hour)
        .map(spendwatch_domain::usage::bucket::sum)
        .unwrap_or_default();
    let recorded = PartChanges {
        rows: vec![RowChange {
            kind: RowKind::Hour,
            hour,
            usage_key,
            amounts: amounts(dollars),
        }],
        deltas: vec![Delta {
            hour,
            usage_key: "m".into(),
            amounts: amounts(dollars) - before,
        }],
        pending_removals: Vec::new(),
        coverage: coverage(),
        is_coverage_changed: true,
        decreased: BTreeSet::new(),
        touched: BTreeSet::from([(Granularity::Hour, hour)]),
        is_complete: true,
    };
    store
        .record(&ORGANIZATION.into(), vec![(part, recorded)], Vec::new())
        .await
}

/// Creates a store with the organization.
pub(crate) async fn store() -> Store {
    let store = Store::in_memory().unwrap();
    store
        .load_organization(&ORGANIZATION.into(), at(0), at(0))
        .await
        .unwrap();
    store
}

pub(crate) fn resume_state(minute: i64) -> ResumeState {
    ResumeState {
        last_at: Some(at(minute)),
        observed: Observed(60_000),
        store_began: at(0),
        last_cycle: Some(at(minute)),
        rules_began: BTreeMap::from([("rule".into(), at(0))]),
        dialect: Some(Dialect::Guide),
        billed_until: Some(at(3)),
    }
}

pub(crate) fn identity(workspace: &str) -> Identity {
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
        start: Day::containing(at(0)).start(),
        end: Day::containing(at(0)).plus(3).start(),
    }
}

/// Returns the threshold at 80%.
pub(crate) fn line() -> AbsoluteThreshold {
    AbsoluteThreshold {
        quantity: 80,
        severity: Severity::Warning,
        text: "80%".into(),
    }
}

pub(crate) fn alert(workspace: &str, sequence: u64) -> Alert {
    Alert {
        identity: identity(workspace),
        watch: Watch::Spend,
        span: span(),
        state: State::Firing {
            threshold: line(),
            clearing_since: None,
        },
        rising: Vec::new(),
        sequence,
        firing_since: Some(at(1)),
        is_late: false,
        is_silenced: false,
        value: 81,
        limit: Some(100),
        notified: BTreeMap::new(),
    }
}

pub(crate) fn fact(workspace: &str, sequence: u64, reason: Reason) -> Fact {
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
        threshold: line(),
        firing_since: at(1),
        ended_at: None,
        decided_at: at(1),
        as_of: Some(at(1)),
        labels: BTreeMap::new(),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
        creator: None,
    }
}

pub(crate) async fn commit(
    store: &Store,
    minute: i64,
    alerts: Vec<Alert>,
    messages: Vec<NewMessage>,
) {
    let commit = Commit {
        alerts,
        messages,
        resume_state: resume_state(minute),
        at: at(minute),
    };
    store
        .commit_decision(&ORGANIZATION.into(), commit)
        .await
        .unwrap();
}

/// Returns the alert ended at minute 9.
pub(crate) fn ended(mut alert: Alert, sequence: u64) -> Alert {
    alert.state = State::Ended {
        by: EndedBy::Cleared,
        at: at(9),
        threshold: line(),
    };
    alert.sequence = sequence;
    alert
}

pub(crate) fn digest(name: &str) -> Digest {
    let line = |name: &str, dollars| DigestLine {
        name: name.to_owned(),
        spend: Usd::from_dollars(dollars),
        before: Some(Usd::from_pico(1)),
    };
    let breakdown = SpendBreakdown {
        lines: vec![line("a", 3)],
        rest: Some(OtherSubjects {
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
        created_at: at(75),
        spend: Usd::from_dollars(4),
        before: None,
        series: vec![("2026-11-16".to_owned(), Usd::from_dollars(4))],
        workspaces: breakdown.clone(),
        movers: breakdown,
        teams: SpendBreakdown::default(),
        models: SpendBreakdown::default(),
        limits: Truncated {
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
        alerts: Truncated {
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
        audit: Some(AuditAnchor {
            entry: 7,
            hash: "3f9a".to_owned(),
        }),
    }
}
