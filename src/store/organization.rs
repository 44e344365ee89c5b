//! All that the daemon needs of one organization when it starts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::alert::Alert;
use crate::domain::coverage::{Behind, Coverage};
use crate::domain::directory::Directory;
use crate::domain::figures::UnreadableBuckets;
use crate::domain::ids::OrganizationName;
use crate::domain::span::Hour;
use crate::domain::usage::{Amounts, Cell, Part};
use crate::store::Store;
use crate::store::engine::{self, Engine};
use crate::store::error::{Cause, StoreError};
use crate::store::names::{self, CellNames};
use crate::store::rows::{Bucket, unreadable_buckets};
use crate::store::values::{At, amount_names, amounts_at, granularity_of};
use crate::store::{alerts, directory};

/// What is stored of an organization, but for the rows of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationState {
    /// Workspaces and the organization's own data.
    pub directory: Directory,
    /// What is known of each part, the remainder and the whole among them.
    pub coverages: BTreeMap<Part, Coverage>,
    /// Of these, who is not known up to the newest poll.
    pub behind: Behind,
    /// What the daemon remembers of itself.
    pub engine: Engine,
    /// Everything that was ever counted, without the whole; retention does not lower it.
    pub recorded: Vec<(Part, Cell, Amounts)>,
    /// Buckets whose remainder is to be derived anew.
    pub due_remainders: BTreeSet<Bucket>,
    /// Buckets that could not be read when they were last told.
    pub unreadable: UnreadableBuckets,
    /// Alerts that have not ended, and those that ended while their period goes on.
    pub alerts: Vec<Alert>,
}

/// Who there is, and what is known of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Workspaces and the organization's own data.
    pub directory: Directory,
    /// By part, the remainder and the whole among them.
    pub coverages: BTreeMap<Part, Coverage>,
}

impl Store {
    /// What is stored of an organization. One that is new begins at `now`. Ended alerts are among it when their period ends
    /// after `ended_after`.
    pub async fn load_organization(
        &self,
        organization: &OrganizationName,
        now: Timestamp,
        ended_after: Timestamp,
    ) -> Result<OrganizationState, StoreError> {
        let name = organization.clone();
        let is_known = self
            .read(move |db| Ok(names::find_organization(db, &name)?.is_some()))
            .await?;
        if !is_known {
            let name = organization.clone();
            self.write("begin_organization", move |tx| {
                tx.execute(
                    "INSERT INTO organizations (name, store_began) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    params![name.as_str(), At(now)],
                )?;
                Ok(())
            })
            .await?;
        }
        let name = organization.clone();
        self.read(move |db| load(db, &name, ended_after)).await
    }

    /// Buckets of an organization's parts that could not be read when they were last told.
    pub async fn unreadable(
        &self,
        organization: &OrganizationName,
    ) -> Result<UnreadableBuckets, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let parts = names::parts(db, names::organization(db, &name)?)?;
            unreadable_of(db, &parts)
        })
        .await
    }

    /// The names of all organizations that are stored.
    pub async fn organizations(&self) -> Result<Vec<OrganizationName>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT name FROM organizations ORDER BY name")?;
            let names = statement.query_map([], |row| {
                Ok(OrganizationName::new(row.get::<_, String>(0)?))
            })?;
            Ok(names.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What a command needs to know of an organization; `None` where nothing of it is stored.
    pub async fn known(
        &self,
        organization: &OrganizationName,
    ) -> Result<Option<Known>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(None);
            };
            let parts = names::parts(db, organization)?.into_iter();
            Ok(Some(Known {
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
) -> Result<OrganizationState, Cause> {
    let organization = names::organization(db, name)?;
    let parts = names::parts(db, organization)?;
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
        engine: engine::load(db, organization)?,
        recorded: recorded(db, organization)?,
        unreadable,
        due_remainders: due_remainders(db, organization)?.into_iter().collect(),
        alerts: alerts::load(db, organization, ended_after)?,
    })
}

fn unreadable_of(db: &Connection, parts: &[names::StoredPart]) -> Result<UnreadableBuckets, Cause> {
    let mut unreadable = UnreadableBuckets::new();
    for part in parts {
        let buckets = unreadable_buckets(db, part.id)?;
        if !buckets.is_empty() {
            unreadable.insert(part.part.clone(), buckets);
        }
    }
    Ok(unreadable)
}

/// Everything that was ever counted, by part and cell.
fn recorded(db: &Connection, organization: i64) -> Result<Vec<(Part, Cell, Amounts)>, Cause> {
    let cells = CellNames::load(db)?;
    let sql = format!(
        "SELECT cell_id, {} FROM recorded WHERE part_id = ?1",
        amount_names()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut sums = Vec::new();
    for part in names::parts(db, organization)? {
        let mut rows = statement.query([part.id])?;
        while let Some(row) = rows.next()? {
            let cell = cells.get(row.get(0)?)?.clone();
            sums.push((part.part.clone(), cell, amounts_at(row, 1)?));
        }
    }
    Ok(sums)
}

/// Buckets whose remainder is to be derived anew.
fn due_remainders(db: &Connection, organization: i64) -> Result<Vec<Bucket>, Cause> {
    let mut statement = db.prepare_cached(
        "SELECT granularity, hour FROM due_remainders WHERE organization_id = ?1",
    )?;
    let mut rows = statement.query([organization])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push((granularity_of(row.get(0)?)?, Hour::from_count(row.get(1)?)));
    }
    Ok(due)
}
