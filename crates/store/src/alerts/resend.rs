//! Alerts that are resent periodically: firing and recently ended ones, with the directory for their names.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, time_from_row};
use crate::directory;
use crate::error::{StoreError, StoreErrorCause};
use crate::stored::alert_from_json;
use spendwatch_domain::alerts::alert::Alert;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::ids::OrganizationName;

/// Alerts of an organization, each with the time of its last state change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertsToResend {
    /// Firing or recently ended.
    pub alerts: Vec<(Alert, Timestamp)>,
    /// Empty if there are no alerts.
    pub directory: Directory,
}

impl Store {
    /// Returns an organization's alerts that fire or ended after a time.
    pub async fn alerts_to_resend(
        &self,
        organization: &OrganizationName,
        ended_after: Timestamp,
    ) -> Result<AlertsToResend, StoreError> {
        self.read_of(organization, move |db, organization| {
            let alerts = alerts(db, organization, ended_after)?;
            let directory = if alerts.is_empty() {
                Directory::default()
            } else {
                directory::load(db, organization)?
            };
            Ok(AlertsToResend { alerts, directory })
        })
        .await
    }
}

/// Changes that only record sent messages keep the sequence of the state change before them.
fn alerts(
    db: &Connection,
    organization: i64,
    ended_after: Timestamp,
) -> Result<Vec<(Alert, Timestamp)>, StoreErrorCause> {
    query::all(
        db,
        "SELECT alert, coalesce((SELECT min(at) FROM alert_changes WHERE fingerprint = alerts.fingerprint
             AND json_extract(change, '$.sequence') = alerts.sequence), changed_at)
         FROM alerts
         WHERE organization_id = ?1 AND (phase = 'firing' OR phase = 'resolved' AND ended_at > ?2)",
        params![organization, StoredTime(ended_after)],
        |row| Ok((alert_from_json(&row.get::<_, String>(0)?)?, time_from_row(row, 1)?)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{ORGANIZATION, alert, at, commit, ended, line, store};
    use spendwatch_domain::alerts::alert::{Observed, State};

    #[tokio::test]
    async fn firing_and_recently_ended_alerts_are_returned() {
        let store = store().await;
        let mut pending = alert("p", 1);
        pending.state = State::Pending {
            threshold: line(),
            since: Observed(0),
        };
        let (firing, over) = (alert("f", 2), ended(alert("e", 1), 3));
        let all = vec![pending, firing.clone(), over.clone()];
        commit(&store, 3, all, Vec::new()).await;
        // Sending it to another notifier is no state change.
        let mut renotified = firing.clone();
        renotified
            .notified
            .insert("slack".into(), Default::default());
        commit(&store, 4, vec![renotified.clone()], Vec::new()).await;
        let load = async |ended_after| {
            let organization = ORGANIZATION.into();
            let found = store.alerts_to_resend(&organization, at(ended_after)).await;
            let mut alerts = found.unwrap().alerts;
            alerts.sort_by_key(|(alert, _)| alert.sequence);
            alerts
        };
        assert_eq!(load(8).await, [(renotified.clone(), at(3)), (over, at(3))]);
        assert_eq!(load(9).await, [(renotified, at(3))]);
        let unknown = store
            .alerts_to_resend(&"nobody".into(), at(0))
            .await
            .unwrap();
        assert_eq!(unknown, AlertsToResend::default());
    }
}
