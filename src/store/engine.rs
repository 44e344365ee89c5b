//! What the daemon remembers of itself: the last decision, observed time, schedules, since when a rule is evaluated.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::alert::Observed;
use crate::domain::dialect::Dialect;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::skew::is_ahead;
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names;
use crate::store::values::{At, count_at};

/// What the daemon remembers of one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// The clock at the last decision.
    pub last_at: Option<Timestamp>,
    /// Observed time at the last decision; at most 2⁶³ − 1 ms.
    pub observed: Observed,
    /// When the organization was stored first; never changed by a save.
    pub store_began: Timestamp,
    /// The slot of the last cycle that was run.
    pub last_cycle: Option<Timestamp>,
    /// When each rule was evaluated first.
    pub rules_began: BTreeMap<RuleName, Timestamp>,
    /// The dialect that was recognized.
    pub dialect: Option<Dialect>,
    /// Up to when all is billed by the hour, where the dialect says it.
    pub billed_until: Option<Timestamp>,
}

impl Engine {
    /// Stored times never decrease when the clock is set back a little. A last decision far ahead was made by a wrong clock
    /// and does not count.
    pub fn not_before_last(&self, now: Timestamp) -> Timestamp {
        self.last_at
            .filter(|last| !is_ahead(*last, now))
            .map_or(now, |last| last.max(now))
    }
}

impl Store {
    /// Stores what the daemon remembers, outside of a decision.
    pub async fn save_engine(
        &self,
        organization: &OrganizationName,
        engine: &Engine,
    ) -> Result<(), StoreError> {
        let (name, engine) = (organization.clone(), engine.clone());
        self.write("save_engine", move |tx| {
            let organization = names::organization(tx, &name)?;
            save(tx, organization, &engine)
        })
        .await
    }

    /// The slot of a schedule that was run last.
    pub async fn last_run(&self, schedule: &str) -> Result<Option<Timestamp>, StoreError> {
        let schedule = schedule.to_owned();
        self.read(move |db| {
            let at: Option<At> = db
                .prepare_cached("SELECT last_run FROM schedules WHERE name = ?1")?
                .query_row([schedule], |row| row.get(0))
                .optional()?;
            Ok(at.map(|at| at.0))
        })
        .await
    }

    /// Remembers the slot of a schedule that was run last.
    pub async fn set_last_run(&self, schedule: &str, slot: Timestamp) -> Result<(), StoreError> {
        let schedule = schedule.to_owned();
        self.write("set_last_run", move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO schedules (name, last_run) VALUES (?1, ?2)")?
                .execute(params![schedule, At(slot)])?;
            Ok(())
        })
        .await
    }
}

/// What is remembered of an organization.
pub(super) fn load(db: &Connection, organization: i64) -> Result<Engine, Cause> {
    let mut statement =
        db.prepare_cached("SELECT rule, began_at FROM rules_began WHERE organization_id = ?1")?;
    let rows = statement.query_map([organization], |row| {
        let rule = RuleName::new(row.get::<_, String>(0)?);
        Ok((rule, row.get::<_, At>(1)?.0))
    })?;
    let rules_began = rows.collect::<Result<_, _>>()?;
    let engine = db.query_row(
        "SELECT last_at, observed, store_began, last_cycle, dialect, billed_until FROM organizations WHERE id = ?1",
        [organization],
        |row| {
            let instant = |at: Option<At>| at.map(|at| at.0);
            Ok(Engine {
                last_at: instant(row.get(0)?),
                observed: Observed(count_at(row, 1)?),
                store_began: row.get::<_, At>(2)?.0,
                last_cycle: instant(row.get(3)?),
                rules_began,
                // A word of another version is asked for again.
                dialect: row
                    .get::<_, Option<String>>(4)?
                    .and_then(|word| Dialect::parse(&word)),
                billed_until: instant(row.get(5)?),
            })
        },
    )?;
    Ok(engine)
}

/// Stores what is remembered, but for when the organization was stored first.
pub(super) fn save(tx: &Transaction<'_>, organization: i64, engine: &Engine) -> Result<(), Cause> {
    let observed =
        i64::try_from(engine.observed.0).map_err(|_| Cause::Overflow("observed time"))?;
    tx.prepare_cached(
        "UPDATE organizations SET last_at = ?2, observed = ?3, last_cycle = ?4, dialect = ?5, billed_until = ?6
         WHERE id = ?1",
    )?
    .execute(params![
        organization,
        engine.last_at.map(At),
        observed,
        engine.last_cycle.map(At),
        engine.dialect.map(Dialect::name),
        engine.billed_until.map(At),
    ])?;
    let before = load(tx, organization)?.rules_began;
    for rule in before
        .keys()
        .filter(|rule| !engine.rules_began.contains_key(*rule))
    {
        tx.prepare_cached("DELETE FROM rules_began WHERE organization_id = ?1 AND rule = ?2")?
            .execute(params![organization, rule.as_str()])?;
    }
    for (rule, began) in &engine.rules_began {
        if before.get(rule) != Some(began) {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO rules_began (organization_id, rule, began_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![organization, rule.as_str(), At(*began)])?;
        }
    }
    Ok(())
}
