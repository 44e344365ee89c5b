//! What is told again and again: alerts that fire or ended lately, and the names they go by.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::alert::Alert;
use crate::domain::directory::Directory;
use crate::domain::ids::OrganizationName;
use crate::store::error::{Cause, StoreError};
use crate::store::shapes::alert_from_json;
use crate::store::values::At;
use crate::store::{Store, directory, names};

/// Alerts of an organization, each with the moment when it became what it is, and names as they were last listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resent {
    /// That fire, or ended lately.
    pub alerts: Vec<(Alert, Timestamp)>,
    /// Empty where there are no alerts.
    pub directory: Directory,
}

impl Store {
    /// Alerts of an organization that fire, and those that ended after a moment.
    pub async fn resent(
        &self,
        organization: &OrganizationName,
        ended_after: Timestamp,
    ) -> Result<Resent, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(Resent::default());
            };
            let alerts = alerts(db, organization, ended_after)?;
            let directory = if alerts.is_empty() {
                Directory::default()
            } else {
                directory::load(db, organization)?
            };
            Ok(Resent { alerts, directory })
        })
        .await
    }
}

/// What is written about whom an alert was told to has the sequence of the change before it.
fn alerts(
    db: &Connection,
    organization: i64,
    ended_after: Timestamp,
) -> Result<Vec<(Alert, Timestamp)>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT alert, coalesce((SELECT min(at) FROM alert_changes WHERE fingerprint = alerts.fingerprint
             AND json_extract(change, '$.sequence') = alerts.sequence), changed_at)
         FROM alerts
         WHERE organization_id = ?1 AND (phase = 'firing' OR phase = 'resolved' AND ended_at > ?2)",
    )?;
    let mut rows = statement.query(params![organization, At(ended_after)])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        let alert = alert_from_json(&row.get::<_, String>(0)?)?;
        alerts.push((alert, row.get::<_, At>(1)?.0));
    }
    Ok(alerts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Observed, State};
    use crate::store::samples::{ORGANIZATION, alert, at, commit, ended, line, store};

    #[tokio::test]
    async fn what_fires_and_what_ended_lately() {
        let store = store().await;
        let mut pending = alert("p", 1);
        pending.state = State::Pending {
            line: line(),
            since: Observed(0),
        };
        let (firing, over) = (alert("f", 2), ended(alert("e", 1), 3));
        let all = vec![pending, firing.clone(), over.clone()];
        commit(&store, 3, all, Vec::new()).await;
        // It is told to somebody else, which changes nothing of it.
        let mut told = firing.clone();
        told.told.insert("slack".into(), Default::default());
        commit(&store, 4, vec![told.clone()], Vec::new()).await;
        let load = async |ended_after| {
            let organization = ORGANIZATION.into();
            let found = store.resent(&organization, at(ended_after)).await;
            let mut alerts = found.unwrap().alerts;
            alerts.sort_by_key(|(alert, _)| alert.sequence);
            alerts
        };
        assert_eq!(load(8).await, [(told.clone(), at(3)), (over, at(3))]);
        assert_eq!(load(9).await, [(told, at(3))]);
        let unknown = store.resent(&"nobody".into(), at(0)).await.unwrap();
        assert_eq!(unknown, Resent::default());
    }
}
