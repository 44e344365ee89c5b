//! The last completed slot of each digest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use spendwatch_domain::units::ids::OrganizationName;

/// Last completed slot of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestProgress {
    pub name: String,
    /// Schedule of the slot, with its time zone.
    pub schedule: String,
    /// The last completed slot, or the time after which slots are due.
    pub last_slot: Timestamp,
}

impl Store {
    /// Returns the progress of an organization's digests, by name.
    pub async fn digest_progress(
        &self,
        organization: &OrganizationName,
    ) -> Result<BTreeMap<String, DigestProgress>, StoreError> {
        self.read_of(organization, |db, organization| {
            let sql = "SELECT name, schedule, last_slot FROM digests WHERE organization_id = ?1";
            query::all(db, sql, [organization], |row| {
                let mark = DigestProgress {
                    name: row.get(0)?,
                    schedule: row.get(1)?,
                    last_slot: time_from_row(row, 2)?,
                };
                Ok((mark.name.clone(), mark))
            })
        })
        .await
    }
}

pub(crate) fn save_progress(
    tx: &Transaction<'_>,
    organization: i64,
    mark: &DigestProgress,
) -> Result<(), StoreErrorCause> {
    tx.prepare_cached(
        "INSERT INTO digests (organization_id, name, schedule, last_slot) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (organization_id, name) DO UPDATE SET schedule = excluded.schedule, last_slot = excluded.last_slot",
    )?
    .execute(params![
        organization,
        mark.name,
        mark.schedule,
        StoredTime(mark.last_slot)
    ])?;
    Ok(())
}
