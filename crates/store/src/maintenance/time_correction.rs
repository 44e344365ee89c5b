//! Corrects stored times that are ahead of now. A wrong clock wrote them, and each would block something until then.

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::StoredTime;
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::{self, StoredPart};
use crate::resume_state;
use crate::stored::{AsStored, alert_from_json, to_json};
use spendwatch_domain::alerts::alert::State;
use spendwatch_domain::ledger::coverage::{Coverage, PollSettings};
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::skew::{MAX_AHEAD, differs};

/// Columns with times of an organization, the condition for its rows, and whether they are of past events, which are set to
/// now. Other times are set to null, which makes something due immediately.
const TIMES: [(&str, &str, &str, bool); 10] = [
    ("organizations", "store_began", "id = ?1", true),
    ("organizations", "last_at", "id = ?1", true),
    ("organizations", "polled_at", "id = ?1", true),
    ("organizations", "last_cycle", "id = ?1", false),
    ("organizations", "listed_at", "id = ?1", false),
    ("organizations", "billed_until", "id = ?1", false),
    ("rules_began", "began_at", "organization_id = ?1", true),
    ("workspaces", "missing_since", "organization_id = ?1", true),
    ("limits_removed", "removed_at", "organization_id = ?1", true),
    (
        "doubts",
        "since",
        "part_id IN (SELECT id FROM parts WHERE organization_id = ?1)",
        true,
    ),
];

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
        "EXISTS (SELECT 1 FROM alerts WHERE organization_id = ?1 AND (ended_at > ?2 OR changed_at > ?2))".to_owned(),
    ];
    for (table, column, belongs, _) in TIMES {
        conditions.push(format!(
            "EXISTS (SELECT 1 FROM {table} WHERE {belongs} AND {column} > ?2)"
        ));
    }
    let sql = format!("SELECT {}", conditions.join(" OR "));
    query::value(db, &sql, params![organization, latest(now)])
}

fn correct_organization(
    tx: &Transaction<'_>,
    organization: i64,
    now: Timestamp,
) -> Result<(), StoreErrorCause> {
    for (table, column, belongs, is_past) in TIMES {
        let sql = format!("UPDATE {table} SET {column} = ?3 WHERE {belongs} AND {column} > ?2");
        let corrected = is_past.then_some(StoredTime(now));
        tx.execute(&sql, params![organization, latest(now), corrected])?;
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
