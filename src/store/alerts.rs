//! Alerts and their history.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use crate::domain::alert::{Alert, EndedBy, Line, State};
use crate::domain::ids::{NotifierName, OrganizationName, RuleName};
use crate::domain::notification::Reason;
use crate::domain::rule::Quantity;
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::json::{from_json, to_json};
use crate::store::names;
use crate::store::shapes::{ChangeShape, alert_from_json, alert_to_json};
use crate::store::values::At;

/// Where an alert is in its life, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Crossed, not yet for long enough.
    Pending,
    Firing,
    Resolved,
}

impl Phase {
    /// All.
    pub const ALL: [Phase; 3] = [Phase::Pending, Phase::Firing, Phase::Resolved];

    /// The word in labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
        }
    }

    /// The phase of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// The phase of an alert.
    pub fn of(alert: &Alert) -> Phase {
        match alert.state {
            State::Pending { .. } => Phase::Pending,
            State::Firing { .. } => Phase::Firing,
            State::Ended { .. } => Phase::Resolved,
        }
    }
}

/// Which alerts are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertFilter {
    pub organization: Option<OrganizationName>,
    pub rule: Option<RuleName>,
    /// Only these; all where empty.
    pub phases: Vec<Phase>,
    pub limit: u32,
}

/// An alert and when it changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub fingerprint: String,
    pub alert: Alert,
    /// When it was written last.
    pub changed_at: Timestamp,
}

/// One step in an alert's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    pub at: Timestamp,
    pub sequence: u64,
    pub phase: Phase,
    pub ended_by: Option<EndedBy>,
    /// The line it held, or last held.
    pub line: Line,
    pub value: Quantity,
    pub limit: Option<Quantity>,
    /// Whom it was told to, and why.
    pub told: Vec<(NotifierName, Reason)>,
}

/// What a prefix of an id or fingerprint leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    Nothing,
    One(T),
    /// Several; the first of them by id.
    Many(Vec<String>),
}

/// How many of several are named.
pub(super) const N_NAMED: u32 = 10;

impl Store {
    /// Alerts, the newest change first.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<AlertRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| list(db, &filter)).await
    }

    /// One alert by its fingerprint or a prefix of it, with its history, oldest first.
    pub async fn alert(
        &self,
        prefix: &str,
    ) -> Result<Found<(AlertRow, Vec<AlertChange>)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |db| {
            Ok(match find_alert(db, &prefix)? {
                Found::Nothing => Found::Nothing,
                Found::Many(names) => Found::Many(names),
                Found::One(row) => {
                    let history = history(db, &row.fingerprint)?;
                    Found::One((row, history))
                }
            })
        })
        .await
    }
}

/// One alert by its fingerprint or what it begins with.
pub(super) fn find_alert(db: &Connection, prefix: &str) -> Result<Found<AlertRow>, Cause> {
    let sql = "SELECT fingerprint, alert, changed_at FROM alerts
               WHERE substr(fingerprint, 1, length(?1)) = ?1 ORDER BY fingerprint LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![prefix, N_NAMED])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(alert_at(row)?);
    }
    Ok(match found.len() {
        0 => Found::Nothing,
        1 => Found::One(found.remove(0)),
        _ => Found::Many(found.into_iter().map(|row| row.fingerprint).collect()),
    })
}

/// Alerts of an organization that have not ended, and ended ones whose period ends after `ended_after`.
pub(super) fn load(
    db: &Connection,
    organization: i64,
    ended_after: Timestamp,
) -> Result<Vec<Alert>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT alert FROM alerts WHERE organization_id = ?1 AND phase IN ('pending', 'firing')
         UNION ALL
         SELECT alert FROM alerts WHERE organization_id = ?1 AND phase = 'resolved' AND period_end > ?2",
    )?;
    let mut rows = statement.query(params![organization, At(ended_after)])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(alert_from_json(&row.get::<_, String>(0)?)?);
    }
    Ok(alerts)
}

/// Writes changed alerts and a step of their history each. `told` says by fingerprint whom they are told to.
pub(super) fn save(
    tx: &Transaction<'_>,
    organization: i64,
    alerts: &[Alert],
    told: &BTreeMap<String, Vec<(NotifierName, Reason)>>,
    at: Timestamp,
) -> Result<(), Cause> {
    for alert in alerts {
        let fingerprint = alert.identity.fingerprint();
        let phase = Phase::of(alert);
        let ended_at = match alert.state {
            State::Ended { at, .. } => Some(At(at)),
            State::Pending { .. } | State::Firing { .. } => None,
        };
        let sequence =
            i64::try_from(alert.sequence).map_err(|_| Cause::Overflow("an alert's sequence"))?;
        tx.prepare_cached(
            "INSERT INTO alerts (fingerprint, organization_id, rule, phase, period_end, ended_at, changed_at, sequence, alert)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (fingerprint) DO UPDATE SET phase = excluded.phase, period_end = excluded.period_end,
                 ended_at = excluded.ended_at, changed_at = excluded.changed_at, sequence = excluded.sequence,
                 alert = excluded.alert",
        )?
        .execute(params![
            fingerprint,
            organization,
            alert.identity.slot.rule.as_str(),
            phase.as_str(),
            At(alert.span.end),
            ended_at,
            At(at),
            sequence,
            alert_to_json(alert),
        ])?;
        let told = told.get(&fingerprint).map_or(&[][..], Vec::as_slice);
        let change = to_json(&ChangeShape::new(alert, phase.as_str(), told));
        tx.prepare_cached(
            "INSERT INTO alert_changes (fingerprint, at, change) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![fingerprint, At(at), change])?;
    }
    Ok(())
}

fn list(db: &Connection, filter: &AlertFilter) -> Result<Vec<AlertRow>, Cause> {
    let organization = match &filter.organization {
        Some(name) => match names::find_organization(db, name)? {
            Some(id) => Some(id),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let wants = |phase: Phase| filter.phases.is_empty() || filter.phases.contains(&phase);
    let mut statement = db.prepare_cached(
        "SELECT fingerprint, alert, changed_at FROM alerts
         WHERE (?1 IS NULL OR organization_id = ?1) AND (?2 IS NULL OR rule = ?2)
           AND ((?3 AND phase = 'pending') OR (?4 AND phase = 'firing') OR (?5 AND phase = 'resolved'))
         ORDER BY changed_at DESC, fingerprint LIMIT ?6",
    )?;
    let mut rows = statement.query(params![
        organization,
        filter.rule.as_ref().map(RuleName::as_str),
        wants(Phase::Pending),
        wants(Phase::Firing),
        wants(Phase::Resolved),
        filter.limit,
    ])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(alert_at(row)?);
    }
    Ok(alerts)
}

/// An alert from its fingerprint, itself and when it changed.
pub(super) fn alert_at(row: &Row<'_>) -> Result<AlertRow, Cause> {
    Ok(AlertRow {
        fingerprint: row.get(0)?,
        alert: alert_from_json(&row.get::<_, String>(1)?)?,
        changed_at: row.get::<_, At>(2)?.0,
    })
}

/// All changes of an alert, oldest first.
pub(super) fn history(db: &Connection, fingerprint: &str) -> Result<Vec<AlertChange>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT at, change FROM alert_changes WHERE fingerprint = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([fingerprint])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let shape: ChangeShape = from_json(&row.get::<_, String>(1)?, "an alert's history")?;
        let (ended_by, value, limit) = shape.figures();
        let phase = Phase::parse(&shape.phase)
            .ok_or_else(|| Cause::Corrupt(format!("an alert that is `{}`", shape.phase)))?;
        changes.push(AlertChange {
            at: row.get::<_, At>(0)?.0,
            sequence: shape.sequence,
            phase,
            ended_by,
            told: shape.told(),
            line: shape.line.into(),
            value,
            limit,
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Observed, Told};
    use crate::domain::ids::RuleName;
    use crate::store::outbox::NewMessage;
    use crate::store::samples::{
        ORGANIZATION, alert, at, commit, ended, engine, fact, line, store,
    };

    fn filter(phases: &[Phase]) -> AlertFilter {
        AlertFilter {
            organization: None,
            rule: None,
            phases: phases.to_vec(),
            limit: 100,
        }
    }

    #[tokio::test]
    async fn a_decision_is_loaded_as_it_was_committed() {
        let store = store().await;
        let mut pending = alert("p", 1);
        pending.state = State::Pending {
            line: line(),
            since: Observed(u64::MAX),
        };
        let mut firing = alert("f", 2);
        firing.told.insert(
            "slack".into(),
            Told {
                showing: Some(line()),
                raised: vec![line()],
                ..Told::default()
            },
        );
        let over = ended(alert("e", 1), 3);
        let end = over.span.end;
        commit(
            &store,
            1,
            vec![pending.clone(), firing.clone(), over.clone()],
            Vec::new(),
        )
        .await;
        let load = async |ended_after| {
            let state = store
                .load_organization(&ORGANIZATION.into(), at(0), ended_after)
                .await
                .unwrap();
            assert_eq!(state.engine, engine(1));
            let mut alerts = state.alerts;
            alerts.sort_by_key(|alert| std::cmp::Reverse(alert.identity.slot.subject.id.clone()));
            alerts
        };
        assert_eq!(load(at(9)).await, [pending.clone(), firing.clone(), over]);
        assert_eq!(load(end).await, [pending, firing]);
    }

    #[tokio::test]
    async fn an_alert_is_shown_with_its_history() {
        let store = store().await;
        let message = NewMessage {
            id: "m".to_owned(),
            notifier: "slack".into(),
            recipient: None,
            facts: vec![fact("a", 1, Reason::First)],
            not_before: at(1),
            expires: at(9),
        };
        commit(&store, 1, vec![alert("a", 1)], vec![message]).await;
        commit(
            &store,
            2,
            vec![ended(alert("a", 1), 2), alert("b", 1)],
            Vec::new(),
        )
        .await;
        let fingerprint = alert("a", 1).identity.fingerprint();
        let Found::One((row, history)) = store.alert(&fingerprint[..9]).await.unwrap() else {
            panic!("one alert has this prefix");
        };
        assert_eq!((row.fingerprint, row.changed_at), (fingerprint, at(2)));
        let steps: Vec<_> = history
            .iter()
            .map(|change| {
                (
                    change.at,
                    change.sequence,
                    change.phase,
                    change.ended_by,
                    change.told.len(),
                )
            })
            .collect();
        assert_eq!(
            steps,
            [
                (at(1), 1, Phase::Firing, None, 1),
                (at(2), 2, Phase::Resolved, Some(EndedBy::Cleared), 0)
            ]
        );
        assert_eq!(history[0].told, [("slack".into(), Reason::First)]);
        assert_eq!(store.alert("xyz").await.unwrap(), Found::Nothing);
        assert!(matches!(store.alert("").await.unwrap(), Found::Many(names) if names.len() == 2));
    }

    #[tokio::test]
    async fn alerts_are_listed_by_organization_rule_and_phase() {
        let store = store().await;
        commit(
            &store,
            1,
            vec![ended(alert("a", 1), 2), alert("b", 1)],
            Vec::new(),
        )
        .await;
        let count = async |filter: AlertFilter| store.alerts(&filter).await.unwrap().len();
        assert_eq!(count(filter(&[])).await, 2);
        assert_eq!(count(filter(&[Phase::Firing])).await, 1);
        assert_eq!(count(filter(&[Phase::Pending])).await, 0);
        assert_eq!(
            count(AlertFilter {
                limit: 1,
                ..filter(&[])
            })
            .await,
            1
        );
        assert_eq!(
            count(AlertFilter {
                organization: Some("other".into()),
                ..filter(&[])
            })
            .await,
            0
        );
        assert_eq!(
            count(AlertFilter {
                rule: Some(RuleName::from("rule")),
                ..filter(&[])
            })
            .await,
            2
        );
        assert_eq!(
            count(AlertFilter {
                rule: Some(RuleName::from("none")),
                ..filter(&[])
            })
            .await,
            0
        );
    }
}
