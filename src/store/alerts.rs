//! Alerts and the decisions that change them: states, what each notifier was told, and messages commit in one
//! transaction.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::domain::alert::{Alert, State};
use crate::domain::ids::OrganizationName;
use crate::store::Store;
use crate::store::error::{RowError, StoreError};
use crate::store::ledger::{Engine, known_organization, organization_id};
use crate::store::outbox::{NewMessage, add_message};
use crate::store::shapes::{AlertShape, from_text, to_text};

/// One decision, ready to be made durable.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Alerts that changed, as they are now.
    pub alerts: Vec<Alert>,
    /// What is to be sent.
    pub messages: Vec<NewMessage>,
    /// What the next decision goes on from.
    pub engine: Engine,
    /// The moment of the decision.
    pub at: Timestamp,
}

/// One entry of an alert's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `pending`, `firing` or the reason of the end.
    pub state: String,
    /// The threshold.
    pub threshold: String,
    /// How bad.
    pub severity: String,
    /// The figure, in the rule's unit.
    pub value: String,
    /// The limit, in the rule's unit.
    pub limit: Option<String>,
    /// The alert's sequence number.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who was told why, in this step.
    pub told: Vec<(String, String)>,
}

impl Store {
    /// Makes a decision durable: all of it, or nothing.
    pub async fn commit_decision(
        &self,
        name: &OrganizationName,
        commit: Commit,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("decision", move |transaction| {
            let organization = organization_id(transaction, &name, commit.at)?;
            transaction
                .prepare_cached("UPDATE organizations SET engine = ?2 WHERE id = ?1")?
                .execute(params![organization, to_text(&commit.engine)])?;
            let mut write = transaction.prepare_cached(
                "INSERT OR REPLACE INTO alerts (fingerprint, organization, is_open, ends_ms, changed_ms, alert)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut remember = transaction.prepare_cached(
                "INSERT OR REPLACE INTO alert_history (fingerprint, sequence, at_ms, change) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let now_ms = commit.at.as_millisecond();
            for alert in &commit.alerts {
                let fingerprint = alert.identity.fingerprint();
                let is_open = !matches!(alert.state, State::Ended { .. });
                let ends_ms = alert.span.end.as_millisecond();
                let text = to_text(&AlertShape::from(alert));
                write.execute(params![fingerprint, organization, is_open, ends_ms, now_ms, text])?;
                let change = to_text(&change_of(alert, &commit));
                remember.execute(params![fingerprint, i64::try_from(alert.sequence).unwrap_or(i64::MAX), now_ms, change])?;
            }
            for message in &commit.messages {
                add_message(transaction, message, commit.at)?;
            }
            Ok(())
        })
        .await
    }

    /// Alerts that are open, and those that ended in a period that reaches beyond `period_after`.
    pub async fn alerts(
        &self,
        name: &OrganizationName,
        period_after: Timestamp,
    ) -> Result<Vec<Alert>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let Some(organization) = known_organization(transaction, &name)? else {
                return Ok(Vec::new());
            };
            let mut statement = transaction.prepare_cached(
                "SELECT alert FROM alerts WHERE organization = ?1 AND (is_open = 1 OR ends_ms >= ?2)
                 ORDER BY changed_ms DESC, fingerprint",
            )?;
            let rows = statement.query_map(
                params![organization, period_after.as_millisecond()],
                |row| row.get::<_, String>(0),
            )?;
            rows.map(|text| from_text::<AlertShape>(&text?)?.into_alert())
                .collect()
        })
        .await
    }

    /// One alert by the beginning of its fingerprint, and its history, oldest first.
    pub async fn alert(&self, prefix: &str) -> Result<(Alert, Vec<Change>), StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |transaction| {
            let wanted = format!("{}%", prefix.replace(['%', '_'], ""));
            let found: Option<(String, String)> = transaction
                .query_row(
                    "SELECT fingerprint, alert FROM alerts WHERE fingerprint LIKE ?1 LIMIT 1",
                    [wanted],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((fingerprint, text)) = found else {
                return Err(RowError::NotFound(format!(
                    "no alert `{prefix}`; `spendwatch alerts list` shows them"
                )));
            };
            let mut statement = transaction.prepare_cached(
                "SELECT change FROM alert_history WHERE fingerprint = ?1 ORDER BY sequence, at_ms",
            )?;
            let changes = statement.query_map([fingerprint], |row| row.get::<_, String>(0))?;
            let changes = changes
                .map(|text| from_text(&text?))
                .collect::<Result<_, RowError>>()?;
            Ok((from_text::<AlertShape>(&text)?.into_alert()?, changes))
        })
        .await
    }
}

fn change_of(alert: &Alert, commit: &Commit) -> Change {
    let told = commit.messages.iter().flat_map(|message| {
        let about = message
            .facts
            .iter()
            .filter(|fact| fact.identity == alert.identity);
        about.map(|fact| (message.notifier.to_string(), fact.reason.to_string()))
    });
    let state = match &alert.state {
        State::Pending { .. } => "pending",
        State::Firing { .. } => "firing",
        State::Ended { by, .. } => by.as_str(),
    };
    Change {
        state: state.to_owned(),
        threshold: alert.line().text.to_string(),
        severity: alert.line().severity.to_string(),
        value: alert.value.to_string(),
        limit: alert.limit.map(|limit| limit.to_string()),
        sequence: alert.sequence,
        at: commit.at,
        told: told.collect(),
    }
}
