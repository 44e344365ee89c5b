//! Corrects stored times that are ahead of now. A wrong clock wrote them, and each would block something until then.

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::Store;
use crate::db::values::StoredTime;
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::{self, StoredPart};
use crate::resume_state;
use crate::stored::{AsStored, alert_from_json, to_json};
use spendwatch_domain::alerts::alert::State;
use spendwatch_domain::ledger::coverage::{Coverage, PollSettings};
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::skew::{MAX_AHEAD, differs};

/// Columns with times of past events; set to now.
const PAST_TIMES: [(&str, &str, &str); 4] = [
    ("rules_began", "began_at", OF_ORGANIZATION),
    ("workspaces", "missing_since", OF_ORGANIZATION),
    ("limits_removed", "removed_at", OF_ORGANIZATION),
    (
        "doubts",
        "since",
        "part_id IN (SELECT id FROM parts WHERE organization_id = ?1)",
    ),
];
const OF_ORGANIZATION: &str = "organization_id = ?1";
/// Columns of the organization after which something is due again; set to null, which makes it due immediately.
const DUE: [&str; 3] = ["last_cycle", "listed_at", "billed_until"];

impl Store {
    /// Corrects all stored times of an organization that are too far ahead, and returns whether there were any. Call it only
    /// with a clock known to be correct.
    pub async fn correct_times(
        &self,
        organization: &OrganizationName,
        reading: PollSettings,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = organization.clone();
        let is_wrong = self.read(move |db| {
            let organization = row_ids::organization_id(db, &name)?;
            Ok(is_start_ahead(db, organization, now)?
                || is_any_ahead(db, organization, now)?
                || !wrong_parts(db, organization, &reading, now)?.is_empty())
        });
        if !is_wrong.await? {
            return Ok(false);
        }
        self.write_of(organization, "correct_times", move |tx, organization| {
            if is_start_ahead(tx, organization, now)? {
                tx.execute(
                    "UPDATE organizations SET store_began = ?2 WHERE id = ?1",
                    params![organization, StoredTime(now)],
                )?;
            }
            // First, because the time of the newest poll identifies the wrong parts.
            correct_parts(tx, organization, &reading, now)?;
            correct_organization(tx, organization, now)?;
            correct_alerts(tx, organization, now)?;
            Ok(true)
        })
        .await
    }
}

/// Returns whether the store begins in the future. Only before the first decision, because later times depend on it.
fn is_start_ahead(
    db: &Connection,
    organization: i64,
    now: Timestamp,
) -> Result<bool, StoreErrorCause> {
    let state = resume_state::load(db, organization)?;
    Ok(state.last_at.is_none() && differs(now, state.store_began))
}

fn latest(now: Timestamp) -> StoredTime {
    StoredTime(now.checked_add(MAX_AHEAD).unwrap_or(Timestamp::MAX))
}

fn is_any_ahead(
    db: &Connection,
    organization: i64,
    now: Timestamp,
) -> Result<bool, StoreErrorCause> {
    let mut conditions = vec![
        "EXISTS (SELECT 1 FROM organizations WHERE id = ?1 AND (store_began > ?2 OR last_at > ?2 OR polled_at > ?2))"
            .to_owned(),
        format!("EXISTS (SELECT 1 FROM alerts WHERE {OF_ORGANIZATION} AND (ended_at > ?2 OR changed_at > ?2))"),
    ];
    for column in DUE {
        conditions.push(format!(
            "EXISTS (SELECT 1 FROM organizations WHERE id = ?1 AND {column} > ?2)"
        ));
    }
    for (table, column, belongs) in PAST_TIMES {
        conditions.push(format!(
            "EXISTS (SELECT 1 FROM {table} WHERE {belongs} AND {column} > ?2)"
        ));
    }
    let sql = format!("SELECT {}", conditions.join(" OR "));
    Ok(db.query_row(&sql, params![organization, latest(now)], |row| row.get(0))?)
}

fn correct_organization(
    tx: &Transaction<'_>,
    organization: i64,
    now: Timestamp,
) -> Result<(), StoreErrorCause> {
    let (latest, now) = (latest(now), StoredTime(now));
    for column in ["store_began", "last_at", "polled_at"] {
        tx.execute(
            &format!("UPDATE organizations SET {column} = ?3 WHERE id = ?1 AND {column} > ?2"),
            params![organization, latest, now],
        )?;
    }
    for column in DUE {
        tx.execute(
            &format!("UPDATE organizations SET {column} = NULL WHERE id = ?1 AND {column} > ?2"),
            params![organization, latest],
        )?;
    }
    for (table, column, belongs) in PAST_TIMES {
        tx.execute(
            &format!("UPDATE {table} SET {column} = ?3 WHERE {belongs} AND {column} > ?2"),
            params![organization, latest, now],
        )?;
    }
    Ok(())
}

fn wrong_parts(
    db: &Connection,
    organization: i64,
    reading: &PollSettings,
    now: Timestamp,
) -> Result<Vec<(StoredPart, Coverage)>, StoreErrorCause> {
    let corrected = |part: StoredPart| {
        let next = part.coverage.without_future(reading, now)?;
        Some((part, next))
    };
    let parts = row_ids::parts(db, organization)?.into_iter();
    Ok(parts.filter_map(corrected).collect())
}

fn correct_parts(
    tx: &Transaction<'_>,
    organization: i64,
    reading: &PollSettings,
    now: Timestamp,
) -> Result<(), StoreErrorCause> {
    for (part, next) in wrong_parts(tx, organization, reading, now)? {
        row_ids::save_part(tx, organization, &part.part, &next)?;
        tx.execute(
            "UPDATE parts SET is_current = 0, as_of = ?2 WHERE id = ?1",
            params![part.id, next.as_of.map(StoredTime)],
        )?;
    }
    Ok(())
}

fn correct_alerts(
    tx: &Transaction<'_>,
    organization: i64,
    now: Timestamp,
) -> Result<(), StoreErrorCause> {
    let mut statement = tx.prepare(
        "SELECT fingerprint, alert FROM alerts
         WHERE organization_id = ?1 AND (ended_at > ?2 OR changed_at > ?2)",
    )?;
    let rows = statement.query_map(params![organization, latest(now)], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    for (fingerprint, text) in rows.collect::<Result<Vec<_>, _>>()? {
        let mut alert = alert_from_json(&text)?;
        if let State::Ended { at, .. } = &mut alert.state {
            *at = (*at).min(now);
        }
        alert.firing_since = alert.firing_since.map(|since| since.min(now));
        tx.execute(
            "UPDATE alerts SET alert = ?2, changed_at = min(changed_at, ?3), ended_at = min(ended_at, ?3)
             WHERE fingerprint = ?1",
            params![fingerprint, to_json(&AsStored(&alert)), StoredTime(now)],
        )?;
    }
    Ok(())
}
