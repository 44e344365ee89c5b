//! State from which the daemon resumes after a restart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, count_from_row, optional_time_from_row, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use spendwatch_domain::alerts::alert::Observed;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{OrganizationName, RuleName};
use spendwatch_domain::units::skew::is_ahead;

/// State from which the watcher of an organization resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeState {
    /// Wall clock at the last decision.
    pub last_at: Option<Timestamp>,
    /// Observed time at the last decision; at most 2⁶³ − 1 ms.
    pub observed: Observed,
    /// When the organization was first stored; not changed by a save.
    pub store_began: Timestamp,
    /// Slot of the last cycle.
    pub last_cycle: Option<Timestamp>,
    /// When each rule was first evaluated.
    pub rules_began: BTreeMap<RuleName, Timestamp>,
    /// The detected dialect.
    pub dialect: Option<Dialect>,
    /// Time up to which all hours are billed, if the dialect reports it.
    pub billed_until: Option<Timestamp>,
}

impl ResumeState {
    /// Returns the later of `now` and the last decision, so that stored times never decrease when the clock is set back a
    /// little. Ignores a last decision far ahead, which was made with a wrong clock.
    pub fn clamp_to_last(&self, now: Timestamp) -> Timestamp {
        self.last_at
            .filter(|last| !is_ahead(*last, now))
            .map_or(now, |last| last.max(now))
    }
}

impl Store {
    /// Stores the state outside of a decision.
    pub async fn save_resume_state(
        &self,
        organization: &OrganizationName,
        state: &ResumeState,
    ) -> Result<(), StoreError> {
        let state = state.clone();
        self.write_of(
            organization,
            "save_resume_state",
            move |tx, organization| save(tx, organization, &state),
        )
        .await
    }
}

pub(crate) fn load(db: &Connection, organization: i64) -> Result<ResumeState, StoreErrorCause> {
    let sql = "SELECT rule, began_at FROM rules_began WHERE organization_id = ?1";
    let rules_began = query::all(db, sql, [organization], |row| {
        let rule = RuleName::new(row.get::<_, String>(0)?);
        Ok((rule, time_from_row(row, 1)?))
    })?;
    let state = db.query_row(
        "SELECT last_at, observed, store_began, last_cycle, dialect, billed_until FROM organizations WHERE id = ?1",
        [organization],
        |row| {
            Ok(ResumeState {
                last_at: optional_time_from_row(row, 0)?,
                observed: Observed(count_from_row(row, 1)?),
                store_began: time_from_row(row, 2)?,
                last_cycle: optional_time_from_row(row, 3)?,
                rules_began,
                // A name that this version does not know is detected again.
                dialect: row
                    .get::<_, Option<String>>(4)?
                    .and_then(|word| Dialect::parse(&word)),
                billed_until: optional_time_from_row(row, 5)?,
            })
        },
    )?;
    Ok(state)
}

/// Stores everything except `store_began`.
pub(crate) fn save(
    tx: &Transaction<'_>,
    organization: i64,
    state: &ResumeState,
) -> Result<(), StoreErrorCause> {
    let observed =
        i64::try_from(state.observed.0).map_err(|_| StoreErrorCause::Overflow("observed time"))?;
    tx.prepare_cached(
        "UPDATE organizations SET last_at = ?2, observed = ?3, last_cycle = ?4, dialect = ?5, billed_until = ?6
         WHERE id = ?1",
    )?
    .execute(params![
        organization,
        state.last_at.map(StoredTime),
        observed,
        state.last_cycle.map(StoredTime),
        state.dialect.map(Dialect::name),
        state.billed_until.map(StoredTime),
    ])?;
    let before = load(tx, organization)?.rules_began;
    for rule in before
        .keys()
        .filter(|rule| !state.rules_began.contains_key(*rule))
    {
        let sql = "DELETE FROM rules_began WHERE organization_id = ?1 AND rule = ?2";
        query::run(tx, sql, params![organization, rule.as_str()])?;
    }
    for (rule, began) in &state.rules_began {
        if before.get(rule) != Some(began) {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO rules_began (organization_id, rule, began_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![organization, rule.as_str(), StoredTime(*began)])?;
        }
    }
    Ok(())
}
