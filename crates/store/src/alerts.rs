//! Alerts and their history.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use crate::Store;
use crate::error::{StoreError, StoreErrorCause};
use crate::json::{from_json, to_json};
use crate::row_ids;
use crate::shapes::{ChangeShape, alert_from_json, alert_to_json};
use crate::values::StoredTime;
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert, EndedBy, State};
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName, RuleName};

/// State of an alert, without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertPhase {
    Pending,
    Firing,
    Resolved,
}

impl AlertPhase {
    pub const ALL: [AlertPhase; 3] = [
        AlertPhase::Pending,
        AlertPhase::Firing,
        AlertPhase::Resolved,
    ];

    /// Returns the word used in labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlertPhase::Pending => "pending",
            AlertPhase::Firing => "firing",
            AlertPhase::Resolved => "resolved",
        }
    }

    /// Parses the word used in labels and the store.
    pub fn parse(word: &str) -> Option<AlertPhase> {
        AlertPhase::ALL
            .into_iter()
            .find(|phase| phase.as_str() == word)
    }

    /// Returns the stored phase of an alert's state.
    pub fn from_alert(alert: &Alert) -> AlertPhase {
        match alert.state {
            State::Pending { .. } => AlertPhase::Pending,
            State::Firing { .. } => AlertPhase::Firing,
            State::Ended { .. } => AlertPhase::Resolved,
        }
    }
}

/// Selects alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertFilter {
    pub organization: Option<OrganizationName>,
    pub rule: Option<RuleName>,
    /// All phases if empty.
    pub phases: Vec<AlertPhase>,
    pub limit: u32,
}

/// A stored alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub fingerprint: String,
    pub alert: Alert,
    /// When it was last written.
    pub changed_at: Timestamp,
}

/// One entry of an alert's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    pub at: Timestamp,
    pub sequence: u64,
    pub phase: AlertPhase,
    pub ended_by: Option<EndedBy>,
    /// The threshold that is crossed, or was last crossed.
    pub line: AbsoluteThreshold,
    pub value: Quantity,
    pub limit: Option<Quantity>,
    /// Notifiers that were sent a message with this change, and why.
    pub notified: Vec<(NotifierName, Reason)>,
}

/// Result of looking up a prefix of an id or fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefixMatch<T> {
    NoMatch,
    One(T),
    /// The first `MAX_LISTED` ids with the prefix, in order.
    Ambiguous(Vec<String>),
}

/// Maximum number of ids that are listed for an ambiguous prefix.
pub(super) const MAX_LISTED: u32 = 10;

impl Store {
    /// Returns alerts, the newest change first.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<AlertRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| list(db, &filter)).await
    }

    /// Finds an alert by its fingerprint or a prefix of it, with its history, oldest change first.
    pub async fn alert(
        &self,
        prefix: &str,
    ) -> Result<PrefixMatch<(AlertRow, Vec<AlertChange>)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |db| {
            Ok(match find_alert(db, &prefix)? {
                PrefixMatch::NoMatch => PrefixMatch::NoMatch,
                PrefixMatch::Ambiguous(names) => PrefixMatch::Ambiguous(names),
                PrefixMatch::One(row) => {
                    let history = history(db, &row.fingerprint)?;
                    PrefixMatch::One((row, history))
                }
            })
        })
        .await
    }
}

/// Finds an alert by its fingerprint or a prefix of it.
pub(super) fn find_alert(
    db: &Connection,
    prefix: &str,
) -> Result<PrefixMatch<AlertRow>, StoreErrorCause> {
    let sql = "SELECT fingerprint, alert, changed_at FROM alerts
               WHERE substr(fingerprint, 1, length(?1)) = ?1 ORDER BY fingerprint LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![prefix, MAX_LISTED])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(alert_from_row(row)?);
    }
    Ok(match found.len() {
        0 => PrefixMatch::NoMatch,
        1 => PrefixMatch::One(found.remove(0)),
        _ => PrefixMatch::Ambiguous(found.into_iter().map(|row| row.fingerprint).collect()),
    })
}

/// Loads an organization's alerts that have not ended, and ended ones whose period ends after `ended_after`.
pub(super) fn load(
    db: &Connection,
    organization: i64,
    ended_after: Timestamp,
) -> Result<Vec<Alert>, StoreErrorCause> {
    let mut statement = db.prepare_cached(
        "SELECT alert FROM alerts WHERE organization_id = ?1 AND phase IN ('pending', 'firing')
         UNION ALL
         SELECT alert FROM alerts WHERE organization_id = ?1 AND phase = 'resolved' AND period_end > ?2",
    )?;
    let mut rows = statement.query(params![organization, StoredTime(ended_after)])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(alert_from_json(&row.get::<_, String>(0)?)?);
    }
    Ok(alerts)
}

/// Writes changed alerts, each with an entry in its history. `notified` has the notifiers and reasons by fingerprint.
pub(super) fn save(
    tx: &Transaction<'_>,
    organization: i64,
    alerts: &[Alert],
    notified: &BTreeMap<String, Vec<(NotifierName, Reason)>>,
    at: Timestamp,
) -> Result<(), StoreErrorCause> {
    for alert in alerts {
        let fingerprint = alert.identity.fingerprint();
        let phase = AlertPhase::from_alert(alert);
        let ended_at = match alert.state {
            State::Ended { at, .. } => Some(StoredTime(at)),
            State::Pending { .. } | State::Firing { .. } => None,
        };
        let sequence = i64::try_from(alert.sequence)
            .map_err(|_| StoreErrorCause::Overflow("an alert's sequence"))?;
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
            StoredTime(alert.span.end),
            ended_at,
            StoredTime(at),
            sequence,
            alert_to_json(alert),
        ])?;
        let notified = notified.get(&fingerprint).map_or(&[][..], Vec::as_slice);
        let change = to_json(&ChangeShape::new(alert, phase.as_str(), notified));
        tx.prepare_cached(
            "INSERT INTO alert_changes (fingerprint, at, change) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![fingerprint, StoredTime(at), change])?;
    }
    Ok(())
}

fn list(db: &Connection, filter: &AlertFilter) -> Result<Vec<AlertRow>, StoreErrorCause> {
    let organization = match &filter.organization {
        Some(name) => match row_ids::find_organization_id(db, name)? {
            Some(id) => Some(id),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let wants = |phase: AlertPhase| filter.phases.is_empty() || filter.phases.contains(&phase);
    let mut statement = db.prepare_cached(
        "SELECT fingerprint, alert, changed_at FROM alerts
         WHERE (?1 IS NULL OR organization_id = ?1) AND (?2 IS NULL OR rule = ?2)
           AND ((?3 AND phase = 'pending') OR (?4 AND phase = 'firing') OR (?5 AND phase = 'resolved'))
         ORDER BY changed_at DESC, fingerprint LIMIT ?6",
    )?;
    let mut rows = statement.query(params![
        organization,
        filter.rule.as_ref().map(RuleName::as_str),
        wants(AlertPhase::Pending),
        wants(AlertPhase::Firing),
        wants(AlertPhase::Resolved),
        filter.limit,
    ])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push(alert_from_row(row)?);
    }
    Ok(alerts)
}

/// Reads the columns `fingerprint`, `alert`, `changed_at`.
pub(super) fn alert_from_row(row: &Row<'_>) -> Result<AlertRow, StoreErrorCause> {
    Ok(AlertRow {
        fingerprint: row.get(0)?,
        alert: alert_from_json(&row.get::<_, String>(1)?)?,
        changed_at: row.get::<_, StoredTime>(2)?.0,
    })
}

/// Returns an alert's history, oldest change first.
pub(super) fn history(
    db: &Connection,
    fingerprint: &str,
) -> Result<Vec<AlertChange>, StoreErrorCause> {
    let mut statement = db.prepare_cached(
        "SELECT at, change FROM alert_changes WHERE fingerprint = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([fingerprint])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let shape: ChangeShape = from_json(&row.get::<_, String>(1)?, "an alert's history")?;
        let (ended_by, value, limit) = shape.figures();
        let phase = AlertPhase::parse(&shape.phase).ok_or_else(|| {
            StoreErrorCause::Corrupt(format!("an alert that is `{}`", shape.phase))
        })?;
        changes.push(AlertChange {
            at: row.get::<_, StoredTime>(0)?.0,
            sequence: shape.sequence,
            phase,
            ended_by,
            notified: shape.notified(),
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
    use crate::outbox::NewMessage;
    use crate::samples::{ORGANIZATION, alert, at, commit, ended, fact, line, resume_state, store};
    use spendwatch_domain::alerts::alert::{NotifiedState, Observed};
    use spendwatch_domain::units::ids::RuleName;

    fn filter(phases: &[AlertPhase]) -> AlertFilter {
        AlertFilter {
            organization: None,
            rule: None,
            phases: phases.to_vec(),
            limit: 100,
        }
    }

    #[tokio::test]
    async fn committed_alerts_are_loaded_unchanged() {
        let store = store().await;
        let mut pending = alert("p", 1);
        pending.state = State::Pending {
            threshold: line(),
            since: Observed(u64::MAX),
        };
        let mut firing = alert("f", 2);
        firing.notified.insert(
            "slack".into(),
            NotifiedState {
                shown: Some(line()),
                raised: vec![line()],
                ..NotifiedState::default()
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
            assert_eq!(state.resume_state, resume_state(1));
            let mut alerts = state.alerts;
            alerts.sort_by_key(|alert| std::cmp::Reverse(alert.identity.slot.subject.id.clone()));
            alerts
        };
        assert_eq!(load(at(9)).await, [pending.clone(), firing.clone(), over]);
        assert_eq!(load(end).await, [pending, firing]);
    }

    #[tokio::test]
    async fn an_alert_is_found_with_its_history() {
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
        let PrefixMatch::One((row, history)) = store.alert(&fingerprint[..9]).await.unwrap() else {
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
                    change.notified.len(),
                )
            })
            .collect();
        assert_eq!(
            steps,
            [
                (at(1), 1, AlertPhase::Firing, None, 1),
                (at(2), 2, AlertPhase::Resolved, Some(EndedBy::Cleared), 0)
            ]
        );
        assert_eq!(history[0].notified, [("slack".into(), Reason::First)]);
        assert_eq!(store.alert("xyz").await.unwrap(), PrefixMatch::NoMatch);
        assert!(
            matches!(store.alert("").await.unwrap(), PrefixMatch::Ambiguous(names) if names.len() == 2)
        );
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
        assert_eq!(count(filter(&[AlertPhase::Firing])).await, 1);
        assert_eq!(count(filter(&[AlertPhase::Pending])).await, 0);
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
