//! Organizations, parts and cells stand in rows by number; here names become numbers and numbers names.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::domain::coverage::{Coverage, DaySpan, Polled};
use crate::domain::ids::{ActorId, ApiKeyId, ModelName, OrganizationName, WorkspaceId};
use crate::domain::span::Day;
use crate::domain::usage::{Cell, CellKey, Part};
use crate::store::error::Cause;
use crate::store::values::At;

/// The number of an organization; `None` where nothing of it is stored.
pub(super) fn find_organization(
    db: &Connection,
    name: &OrganizationName,
) -> Result<Option<i64>, Cause> {
    Ok(db
        .prepare_cached("SELECT id FROM organizations WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}

/// The number of an organization that was loaded before.
pub(super) fn organization(db: &Connection, name: &OrganizationName) -> Result<i64, Cause> {
    find_organization(db, name)?.ok_or_else(|| Cause::Unknown(format!("organization `{name}`")))
}

/// A part as it is stored.
#[derive(Debug, Clone)]
pub(super) struct StoredPart {
    pub(super) id: i64,
    pub(super) part: Part,
    pub(super) coverage: Coverage,
    /// Known up to the newest poll; `as_of` is that one's.
    pub(super) is_current: bool,
}

const PART: &str = "id, kind, workspace_id, first_seen,
    iif(is_current, (SELECT polled_at FROM organizations WHERE organizations.id = organization_id), as_of),
    hours_from, days_start, days_end, corrected_at, recheck, is_current";

/// The number of a part; `None` where nothing of it is stored.
pub(super) fn find_part_id(
    db: &Connection,
    organization: i64,
    part: &Part,
) -> Result<Option<i64>, Cause> {
    let (kind, workspace) = part_columns(part);
    Ok(db
        .prepare_cached(
            "SELECT id FROM parts WHERE organization_id = ?1 AND kind = ?2 AND workspace_id = ?3",
        )?
        .query_row(params![organization, kind, workspace], |row| row.get(0))
        .optional()?)
}

/// One part; `None` where nothing of it is stored.
pub(super) fn find_part(
    db: &Connection,
    organization: i64,
    part: &Part,
) -> Result<Option<StoredPart>, Cause> {
    let (kind, workspace) = part_columns(part);
    let sql = format!(
        "SELECT {PART} FROM parts WHERE organization_id = ?1 AND kind = ?2 AND workspace_id = ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![organization, kind, workspace])?;
    rows.next()?.map(part_at).transpose()
}

/// All parts of an organization.
pub(super) fn parts(db: &Connection, organization: i64) -> Result<Vec<StoredPart>, Cause> {
    let sql = format!("SELECT {PART} FROM parts WHERE organization_id = ?1 ORDER BY id");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([organization])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push(part_at(row)?);
    }
    Ok(parts)
}

/// Writes a part's coverage but for `as_of`, and the part where it is new. Gives its number.
pub(super) fn save_part(
    tx: &Transaction<'_>,
    organization: i64,
    part: &Part,
    coverage: &Coverage,
) -> Result<i64, Cause> {
    let (kind, workspace) = part_columns(part);
    let recheck: Vec<i32> = coverage.recheck.iter().map(|day| day.count()).collect();
    let recheck = serde_json::to_string(&recheck).expect("whole numbers are JSON");
    let id = tx
        .prepare_cached(
            "INSERT INTO parts (organization_id, kind, workspace_id, first_seen, hours_from, days_start, days_end,
                                corrected_at, recheck)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (organization_id, kind, workspace_id) DO UPDATE SET
                 first_seen = excluded.first_seen, hours_from = excluded.hours_from,
                 days_start = excluded.days_start, days_end = excluded.days_end,
                 corrected_at = excluded.corrected_at, recheck = excluded.recheck
             RETURNING id",
        )?
        .query_row(
            params![
                organization,
                kind,
                workspace,
                At(coverage.first_seen),
                coverage.hours_from.map(Day::count),
                coverage.days.map(|days| days.start.count()),
                coverage.days.map(|days| days.end.count()),
                coverage.corrected_at.map(At),
                recheck,
            ],
            |row| row.get(0),
        )?;
    Ok(id)
}

/// Writes up to when parts are known.
pub(super) fn save_polled(
    tx: &Transaction<'_>,
    organization: i64,
    polled: &Polled,
) -> Result<(), Cause> {
    tx.prepare_cached("UPDATE organizations SET polled_at = ?2 WHERE id = ?1")?
        .execute(params![organization, At(polled.at)])?;
    let mut set = tx.prepare_cached(
        "UPDATE parts SET is_current = ?4, as_of = ?5
         WHERE organization_id = ?1 AND kind = ?2 AND workspace_id = ?3",
    )?;
    let mut set = |part: &Part, is_current: bool, as_of: Option<Timestamp>| {
        let (kind, workspace) = part_columns(part);
        let as_of = as_of.map(At);
        set.execute(params![organization, kind, workspace, is_current, as_of])
    };
    for part in &polled.caught_up {
        set(part, true, None)?;
    }
    for (part, as_of) in &polled.fell_behind {
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

fn part_at(row: &Row<'_>) -> Result<StoredPart, Cause> {
    let kind: String = row.get(1)?;
    let part = match kind.as_str() {
        "workspace" => Part::Workspace(WorkspaceId::new(row.get::<_, String>(2)?)),
        "unattributed" => Part::Unattributed,
        "whole" => Part::Whole,
        other => return Err(Cause::Corrupt(format!("a part of kind `{other}`"))),
    };
    let day = |count: Option<i32>| count.map(Day::from_count);
    let (start, end) = (day(row.get(6)?), day(row.get(7)?));
    let recheck: String = row.get(9)?;
    let recheck: Vec<i32> = serde_json::from_str(&recheck)
        .map_err(|error| Cause::Corrupt(format!("days to be read again: {error}")))?;
    Ok(StoredPart {
        id: row.get(0)?,
        part,
        is_current: row.get(10)?,
        coverage: Coverage {
            first_seen: row.get::<_, At>(3)?.0,
            as_of: row.get::<_, Option<At>>(4)?.map(|at| at.0),
            hours_from: day(row.get(5)?),
            days: start.zip(end).map(|(start, end)| DaySpan { start, end }),
            corrected_at: row.get::<_, Option<At>>(8)?.map(|at| at.0),
            recheck: recheck.into_iter().map(Day::from_count).collect(),
        },
    })
}

/// Cells by number.
#[derive(Debug)]
pub(super) struct CellNames(HashMap<i64, Cell>);

impl CellNames {
    /// All of them: dozens where no keys are told, thousands where they are.
    pub(super) fn load(db: &Connection) -> Result<CellNames, Cause> {
        let mut statement =
            db.prepare_cached("SELECT id, model, api_key, user, is_apportioned FROM cells")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, cell_at(row)?)))?;
        Ok(CellNames(rows.collect::<Result<_, _>>()?))
    }

    /// The cell of a number.
    pub(super) fn get(&self, id: i64) -> Result<&Cell, Cause> {
        self.0
            .get(&id)
            .ok_or_else(|| Cause::Corrupt(format!("cell {id} is not known")))
    }
}

fn cell_at(row: &Row<'_>) -> rusqlite::Result<Cell> {
    let text = |column: usize| row.get::<_, String>(column);
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    let key = CellKey {
        model: ModelName::new(text(1)?),
        api_key: known(text(2)?).map(ApiKeyId::new),
        user: known(text(3)?).map(ActorId::new),
        is_apportioned: row.get(4)?,
    };
    Ok(key.into())
}

/// Numbers of cells, within one transaction.
#[derive(Debug, Default)]
pub(super) struct CellIds(HashMap<Cell, i64>);

impl CellIds {
    /// The number of a cell; a new one gets one.
    pub(super) fn get(&mut self, tx: &Transaction<'_>, cell: &Cell) -> Result<i64, Cause> {
        if let Some(id) = self.0.get(cell) {
            return Ok(*id);
        }
        let key = cell.api_key.as_ref().map_or("", ApiKeyId::as_str);
        let user = cell.user.as_ref().map_or("", ActorId::as_str);
        let columns = params![cell.model.as_str(), key, user, cell.is_apportioned];
        tx.prepare_cached(
            "INSERT INTO cells (model, api_key, user, is_apportioned) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(columns)?;
        let id = tx
            .prepare_cached(
                "SELECT id FROM cells WHERE model = ?1 AND api_key = ?2 AND user = ?3 AND is_apportioned = ?4",
            )?
            .query_row(columns, |row| row.get(0))?;
        self.0.insert(cell.clone(), id);
        Ok(id)
    }
}
