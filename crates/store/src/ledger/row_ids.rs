//! Maps organizations, parts and usage keys to the row ids by which other tables refer to them, and back.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use crate::db::query;
use crate::db::values::{StoredTime, optional_time_from_row, time_from_row};
use crate::error::StoreErrorCause;
use crate::stored::{from_json, to_json};
use spendwatch_domain::ledger::coverage::{Coverage, DaySpan, StaleChange};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, ModelName, OrganizationName, WorkspaceId};
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::{Part, UsageKey, UsageKeyFields};

pub(crate) fn find_organization_id(
    db: &Connection,
    name: &OrganizationName,
) -> Result<Option<i64>, StoreErrorCause> {
    let sql = "SELECT id FROM organizations WHERE name = ?1";
    query::first(db, sql, [name.as_str()], |row| Ok(row.get(0)?))
}

/// Returns the row id of an organization that was loaded before.
pub(crate) fn organization_id(
    db: &Connection,
    name: &OrganizationName,
) -> Result<i64, StoreErrorCause> {
    find_organization_id(db, name)?
        .ok_or_else(|| StoreErrorCause::Unknown(format!("organization `{name}`")))
}

#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub(crate) id: i64,
    pub(crate) part: Part,
    pub(crate) coverage: Coverage,
    /// Current as of the newest poll, whose time `as_of` is.
    pub(crate) is_current: bool,
}

const PART: &str = "id, kind, workspace_id, first_seen,
    iif(is_current, (SELECT polled_at FROM organizations WHERE organizations.id = organization_id), as_of),
    hours_from, days_start, days_end, corrected_at, recheck, is_current";

pub(crate) fn find_part_id(
    db: &Connection,
    organization: i64,
    part: &Part,
) -> Result<Option<i64>, StoreErrorCause> {
    Ok(find_part(db, organization, part)?.map(|part| part.id))
}

pub(crate) fn find_part(
    db: &Connection,
    organization: i64,
    part: &Part,
) -> Result<Option<StoredPart>, StoreErrorCause> {
    let (kind, workspace) = part_columns(part);
    let sql = format!(
        "SELECT {PART} FROM parts WHERE organization_id = ?1 AND kind = ?2 AND workspace_id = ?3"
    );
    query::first(
        db,
        &sql,
        params![organization, kind, workspace],
        part_from_row,
    )
}

pub(crate) fn parts(
    db: &Connection,
    organization: i64,
) -> Result<Vec<StoredPart>, StoreErrorCause> {
    let sql = format!("SELECT {PART} FROM parts WHERE organization_id = ?1 ORDER BY id");
    query::all(db, &sql, [organization], part_from_row)
}

/// Writes a part's coverage except `as_of`, and the part if it is new. Returns its row id.
pub(crate) fn save_part(
    tx: &Transaction<'_>,
    organization: i64,
    part: &Part,
    coverage: &Coverage,
) -> Result<i64, StoreErrorCause> {
    let (kind, workspace) = part_columns(part);
    let recheck: Vec<i32> = coverage.recheck.iter().map(|day| day.count()).collect();
    query::value(
        tx,
            "INSERT INTO parts (organization_id, kind, workspace_id, first_seen, hours_from, days_start, days_end,
                                corrected_at, recheck)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (organization_id, kind, workspace_id) DO UPDATE SET
                 first_seen = excluded.first_seen, hours_from = excluded.hours_from,
                 days_start = excluded.days_start, days_end = excluded.days_end,
                 corrected_at = excluded.corrected_at, recheck = excluded.recheck
             RETURNING id",
            params![
                organization,
                kind,
                workspace,
                StoredTime(coverage.first_seen),
                coverage.hours_from.map(Day::count),
                coverage.days.map(|days| days.start.count()),
                coverage.days.map(|days| days.end.count()),
                coverage.corrected_at.map(StoredTime),
                to_json(&recheck),
            ],
        )
}

/// Writes the time as of which parts are current.
pub(crate) fn save_polled(
    tx: &Transaction<'_>,
    organization: i64,
    polled: &StaleChange,
) -> Result<(), StoreErrorCause> {
    let sql = "UPDATE organizations SET polled_at = ?2 WHERE id = ?1";
    query::run(tx, sql, params![organization, StoredTime(polled.at)])?;
    let mut set = tx.prepare_cached(
        "UPDATE parts SET is_current = ?4, as_of = ?5
         WHERE organization_id = ?1 AND kind = ?2 AND workspace_id = ?3",
    )?;
    let mut set = |part: &Part, is_current: bool, as_of: Option<Timestamp>| {
        let (kind, workspace) = part_columns(part);
        let as_of = as_of.map(StoredTime);
        set.execute(params![organization, kind, workspace, is_current, as_of])
    };
    for part in &polled.recovered {
        set(part, true, None)?;
    }
    for (part, as_of) in &polled.newly_stale {
        set(part, false, *as_of)?;
    }
    Ok(())
}

fn part_columns(part: &Part) -> (&'static str, &str) {
    match part {
        Part::Workspace(id) => ("workspace", id.as_str()),
        Part::Unattributed => ("unattributed", ""),
        Part::Whole => ("whole", ""),
    }
}

fn part_from_row(row: &Row<'_>) -> Result<StoredPart, StoreErrorCause> {
    let kind: String = row.get(1)?;
    let part = match kind.as_str() {
        "workspace" => Part::Workspace(WorkspaceId::new(row.get::<_, String>(2)?)),
        "unattributed" => Part::Unattributed,
        "whole" => Part::Whole,
        other => {
            return Err(StoreErrorCause::Corrupt(format!(
                "a part of kind `{other}`"
            )));
        }
    };
    let day = |count: Option<i32>| count.map(Day::from_count);
    let (start, end) = (day(row.get(6)?), day(row.get(7)?));
    let recheck: Vec<i32> = from_json(&row.get::<_, String>(9)?, "days to be read again")?;
    Ok(StoredPart {
        id: row.get(0)?,
        part,
        is_current: row.get(10)?,
        coverage: Coverage {
            first_seen: time_from_row(row, 3)?,
            as_of: optional_time_from_row(row, 4)?,
            hours_from: day(row.get(5)?),
            days: start.zip(end).map(|(start, end)| DaySpan { start, end }),
            corrected_at: optional_time_from_row(row, 8)?,
            recheck: recheck.into_iter().map(Day::from_count).collect(),
        },
    })
}

#[derive(Debug)]
pub(crate) struct UsageKeysById(HashMap<i64, UsageKey>);

impl UsageKeysById {
    /// Loads all usage keys: dozens without API keys, thousands with them.
    pub(crate) fn load(db: &Connection) -> Result<UsageKeysById, StoreErrorCause> {
        let sql = "SELECT id, model, api_key, user, is_apportioned FROM cells";
        let read = |row: &Row<'_>| Ok((row.get(0)?, usage_key_from_row(row)?));
        query::all(db, sql, [], read).map(UsageKeysById)
    }

    pub(crate) fn get(&self, id: i64) -> Result<&UsageKey, StoreErrorCause> {
        self.0
            .get(&id)
            .ok_or_else(|| StoreErrorCause::Corrupt(format!("usage key {id} is unknown")))
    }
}

fn usage_key_from_row(row: &Row<'_>) -> rusqlite::Result<UsageKey> {
    let text = |column: usize| row.get::<_, String>(column);
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    let key = UsageKeyFields {
        model: ModelName::new(text(1)?),
        api_key: known(text(2)?).map(ApiKeyId::new),
        user: known(text(3)?).map(ActorId::new),
        is_apportioned: row.get(4)?,
    };
    Ok(key.into())
}

/// Row ids of usage keys, within one transaction.
#[derive(Debug, Default)]
pub(crate) struct UsageKeyIds(HashMap<UsageKey, i64>);

impl UsageKeyIds {
    /// Returns the row id of a usage key, which is added if it is new.
    pub(crate) fn get(
        &mut self,
        tx: &Transaction<'_>,
        usage_key: &UsageKey,
    ) -> Result<i64, StoreErrorCause> {
        if let Some(id) = self.0.get(usage_key) {
            return Ok(*id);
        }
        let key = usage_key.api_key.as_ref().map_or("", ApiKeyId::as_str);
        let user = usage_key.user.as_ref().map_or("", ActorId::as_str);
        let columns = params![
            usage_key.model.as_str(),
            key,
            user,
            usage_key.is_apportioned
        ];
        query::run(
            tx,
            "INSERT INTO cells (model, api_key, user, is_apportioned) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            columns,
        )?;
        let id = query::value(
            tx,
            "SELECT id FROM cells WHERE model = ?1 AND api_key = ?2 AND user = ?3 AND is_apportioned = ?4",
            columns,
        )?;
        self.0.insert(usage_key.clone(), id);
        Ok(id)
    }
}
