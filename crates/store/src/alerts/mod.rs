//! Alerts and their history.

pub mod compiled_matchers;
pub mod suppressions;

pub mod overview;
mod resend;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use crate::prefix_match::PrefixMatch;
use crate::stored::{AsStored, Stored, StoredText, alert_from_json, from_json, to_json};
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

impl StoredText for AlertPhase {
    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
    fn from_text(text: &str) -> Option<AlertPhase> {
        AlertPhase::parse(text)
    }
}

/// Selects alerts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertChange {
    /// Has a column of its own.
    #[serde(skip)]
    pub at: Timestamp,
    pub sequence: u64,
    #[serde(with = "Stored")]
    pub phase: AlertPhase,
    #[serde(with = "Stored", default)]
    pub ended_by: Option<EndedBy>,
    /// The threshold that is crossed, or was last crossed.
    #[serde(with = "Stored")]
    pub line: AbsoluteThreshold,
    #[serde(with = "Stored")]
    pub value: Quantity,
    #[serde(with = "Stored", default)]
    pub limit: Option<Quantity>,
    /// Notifiers that were sent a message with this change, and why.
    #[serde(with = "Stored", rename = "told")]
    pub notified: Vec<(NotifierName, Reason)>,
}

impl Store {
    /// Finds an alert by its fingerprint or a prefix of it, with its history, oldest change first.
    pub async fn alert(
        &self,
        prefix: &str,
    ) -> Result<PrefixMatch<(AlertRow, Vec<AlertChange>)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |db| {
            find_alert(db, &prefix)?.try_map(|row| {
                let history = history(db, &row.fingerprint)?;
                Ok((row, history))
            })
        })
        .await
    }
}

/// Finds an alert by its fingerprint or a prefix of it.
pub(crate) fn find_alert(
    db: &Connection,
    prefix: &str,
) -> Result<PrefixMatch<AlertRow>, StoreErrorCause> {
    let select = "SELECT fingerprint, alert, changed_at FROM alerts";
    PrefixMatch::find(db, select, "fingerprint", prefix, alert_from_row)
}

/// Loads an organization's alerts that have not ended, and ended ones whose period ends after `ended_after`.
pub(crate) fn load(
    db: &Connection,
    organization: i64,
    ended_after: Timestamp,
) -> Result<Vec<Alert>, StoreErrorCause> {
    query::all(
        db,
        "SELECT alert FROM alerts WHERE organization_id = ?1 AND phase IN ('pending', 'firing')
         UNION ALL
         SELECT alert FROM alerts WHERE organization_id = ?1 AND phase = 'resolved' AND period_end > ?2",
        params![organization, StoredTime(ended_after)],
        |row| alert_from_json(&row.get::<_, String>(0)?),
    )
}

/// Writes changed alerts, each with an entry in its history. `notified` has the notifiers and reasons by fingerprint.
pub(crate) fn save(
    tx: &Transaction<'_>,
    organization: i64,
    alerts: &[Alert],
    notified: &BTreeMap<String, Vec<(NotifierName, Reason)>>,
    at: Timestamp,
) -> Result<(), StoreErrorCause> {
    for alert in alerts {
        let fingerprint = alert.identity.fingerprint();
        let phase = AlertPhase::from_alert(alert);
        let (ended_by, ended_at) = match alert.state {
            State::Ended { by, at, .. } => (Some(by), Some(StoredTime(at))),
            State::Pending { .. } | State::Firing { .. } => (None, None),
        };
        let sequence = i64::try_from(alert.sequence)
            .map_err(|_| StoreErrorCause::Overflow("an alert's sequence"))?;
        query::run(
            tx,
            "INSERT INTO alerts (fingerprint, organization_id, rule, phase, period_end, ended_at, changed_at, sequence, alert)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (fingerprint) DO UPDATE SET phase = excluded.phase, period_end = excluded.period_end,
                 ended_at = excluded.ended_at, changed_at = excluded.changed_at, sequence = excluded.sequence,
                 alert = excluded.alert",
        params![
            fingerprint,
            organization,
            alert.identity.slot.rule.as_str(),
            phase.as_str(),
            StoredTime(alert.span.end),
            ended_at,
            StoredTime(at),
            sequence,
            to_json(&AsStored(alert)),
        ])?;
        let change = to_json(&AlertChange {
            at,
            sequence: alert.sequence,
            phase,
            ended_by,
            line: alert.threshold().clone(),
            value: alert.value,
            limit: alert.limit,
            notified: notified.get(&fingerprint).cloned().unwrap_or_default(),
        });
        let sql = "INSERT INTO alert_changes (fingerprint, at, change) VALUES (?1, ?2, ?3)";
        query::run(tx, sql, params![fingerprint, StoredTime(at), change])?;
    }
    Ok(())
}

/// Reads the columns `fingerprint`, `alert`, `changed_at`.
pub(crate) fn alert_from_row(row: &Row<'_>) -> Result<AlertRow, StoreErrorCause> {
    Ok(AlertRow {
        fingerprint: row.get(0)?,
        alert: alert_from_json(&row.get::<_, String>(1)?)?,
        changed_at: time_from_row(row, 2)?,
    })
}

/// Returns an alert's history, oldest change first.
pub(crate) fn history(
    db: &Connection,
    fingerprint: &str,
) -> Result<Vec<AlertChange>, StoreErrorCause> {
    let sql = "SELECT at, change FROM alert_changes WHERE fingerprint = ?1 ORDER BY id";
    query::all(db, sql, [fingerprint], |row| {
        Ok(AlertChange {
            at: time_from_row(row, 0)?,
            ..from_json(&row.get::<_, String>(1)?, "an alert's history")?
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::NewMessage;
    use crate::samples::{ORGANIZATION, alert, at, commit, ended, fact, line, resume_state, store};
    use spendwatch_domain::alerts::alert::{NotifiedState, Observed};
    use spendwatch_domain::units::ids::RuleName;
    use spendwatch_domain::units::privacy::Privacy;

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
        let count = async |filter: AlertFilter| {
            let found = store.worst_first(&filter, Privacy::default()).await;
            found.unwrap().len()
        };
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
