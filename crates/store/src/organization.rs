//! Loads the stored state of an organization.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::Store;
use crate::alerts;
use crate::db::query;
use crate::db::values::{StoredTime, amount_names, amounts_from_row};
use crate::directory;
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::{self, UsageKeysById};
use crate::ledger::rows::{Bucket, bucket_from_row, unreadable_buckets};
use crate::resume_state::{self, ResumeState};
use spendwatch_domain::alerts::alert::Alert;
use spendwatch_domain::figures::totals::UnreadableBuckets;
use spendwatch_domain::ledger::coverage::{Coverage, StaleParts};
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::usage::bucket::{Amounts, Part, UsageKey};

/// Everything stored of an organization except the rows of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationState {
    pub directory: Directory,
    /// By part, including the remainder and the whole.
    pub coverages: BTreeMap<Part, Coverage>,
    /// Parts that are not current as of the newest poll.
    pub behind: StaleParts,
    pub resume_state: ResumeState,
    /// Totals of everything ever counted, without the whole. Retention does not lower them.
    pub recorded: Vec<(Part, UsageKey, Amounts)>,
    /// Buckets whose remainder must be derived again.
    pub due_remainders: BTreeSet<Bucket>,
    /// Buckets whose last response could not be read.
    pub unreadable: UnreadableBuckets,
    /// Alerts that have not ended, and ended ones whose period has not.
    pub alerts: Vec<Alert>,
}

/// Directory and coverages of an organization, for commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDirectory {
    pub directory: Directory,
    /// By part, including the remainder and the whole.
    pub coverages: BTreeMap<Part, Coverage>,
}

impl Store {
    /// Loads an organization, and creates a new one that begins at `now`. Includes ended alerts whose period ends after
    /// `ended_after`.
    pub async fn load_organization(
        &self,
        organization: &OrganizationName,
        now: Timestamp,
        ended_after: Timestamp,
    ) -> Result<OrganizationState, StoreError> {
        let name = organization.clone();
        let is_known = self
            .read(move |db| Ok(row_ids::find_organization_id(db, &name)?.is_some()))
            .await?;
        if !is_known {
            let name = organization.clone();
            self.write("begin_organization", move |tx| {
                tx.execute(
                    "INSERT INTO organizations (name, store_began) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    params![name.as_str(), StoredTime(now)],
                )?;
                Ok(())
            })
            .await?;
        }
        let name = organization.clone();
        self.read(move |db| load(db, &name, ended_after)).await
    }

    /// Returns buckets of an organization's parts whose last response could not be read.
    pub async fn unreadable(
        &self,
        organization: &OrganizationName,
    ) -> Result<UnreadableBuckets, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let parts = row_ids::parts(db, row_ids::organization_id(db, &name)?)?;
            unreadable_of(db, &parts)
        })
        .await
    }

    /// Returns the directory and coverages of an organization, if it is stored.
    pub async fn stored_directory(
        &self,
        organization: &OrganizationName,
    ) -> Result<Option<StoredDirectory>, StoreError> {
        self.read_of(organization, |db, organization| {
            let parts = row_ids::parts(db, organization)?.into_iter();
            Ok(Some(StoredDirectory {
                directory: directory::load(db, organization)?,
                coverages: parts.map(|part| (part.part, part.coverage)).collect(),
            }))
        })
        .await
    }
}

fn load(
    db: &Connection,
    name: &OrganizationName,
    ended_after: Timestamp,
) -> Result<OrganizationState, StoreErrorCause> {
    let organization = row_ids::organization_id(db, name)?;
    let parts = row_ids::parts(db, organization)?;
    let behind = parts.iter().filter(|part| !part.is_current);
    let unreadable = unreadable_of(db, &parts)?;
    Ok(OrganizationState {
        directory: directory::load(db, organization)?,
        behind: behind
            .map(|part| (part.part.clone(), part.coverage.as_of))
            .collect(),
        coverages: parts
            .into_iter()
            .map(|part| (part.part, part.coverage))
            .collect(),
        resume_state: resume_state::load(db, organization)?,
        recorded: recorded(db, organization)?,
        unreadable,
        due_remainders: query::all(
            db,
            "SELECT granularity, hour FROM due_remainders WHERE organization_id = ?1",
            [organization],
            bucket_from_row,
        )?,
        alerts: alerts::load(db, organization, ended_after)?,
    })
}

fn unreadable_of(
    db: &Connection,
    parts: &[row_ids::StoredPart],
) -> Result<UnreadableBuckets, StoreErrorCause> {
    let mut unreadable = UnreadableBuckets::new();
    for part in parts {
        let buckets = unreadable_buckets(db, part.id)?;
        if !buckets.is_empty() {
            unreadable.insert(part.part.clone(), buckets);
        }
    }
    Ok(unreadable)
}

/// Loads the totals of everything ever counted, by part and usage key.
fn recorded(
    db: &Connection,
    organization: i64,
) -> Result<Vec<(Part, UsageKey, Amounts)>, StoreErrorCause> {
    let cells = UsageKeysById::load(db)?;
    let sql = format!(
        "SELECT cell_id, {} FROM recorded WHERE part_id = ?1",
        amount_names()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut sums = Vec::new();
    for part in row_ids::parts(db, organization)? {
        let mut rows = statement.query([part.id])?;
        while let Some(row) = rows.next()? {
            let usage_key = cells.get(row.get(0)?)?.clone();
            sums.push((part.part.clone(), usage_key, amounts_from_row(row, 1)?));
        }
    }
    Ok(sums)
}
