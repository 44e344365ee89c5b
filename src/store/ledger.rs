//! The ledger's tables: buckets, coverage, doubts, sums of everything ever recorded, and the directory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::domain::alert::Observed;
use crate::domain::coverage::{Coverage, DaySpan};
use crate::domain::directory::{Directory, Doubt};
use crate::domain::ids::{ModelName, OrganizationName, RuleName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::record::{Kind, Recorded, RowChange, Stored};
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{Amounts, Buckets, Cells, Granularity, Part, Tokens, add_to};
use crate::store::Store;
use crate::store::error::{RowError, StoreError};
use crate::store::shapes::{CoverageShape, DirectoryShape, WorkspaceShape, from_text, to_text};

/// 10⁻¹² USD in a millionth of a USD.
const REST: i128 = 1_000_000;

/// What the decisions of one organization go on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// When the organization was first written.
    pub began: Timestamp,
    /// The moment of the newest decision.
    pub last_at: Option<Timestamp>,
    /// Observed time, in milliseconds.
    pub observed_ms: u64,
    /// The newest slot of the schedule that was run.
    pub last_slot: Option<Timestamp>,
    /// When each rule was evaluated first.
    pub rules_began: BTreeMap<String, Timestamp>,
    /// The dialect that `auto` found.
    pub dialect: Option<String>,
}

impl Engine {
    /// Of a new store.
    pub fn new(began: Timestamp) -> Engine {
        Engine {
            began,
            last_at: None,
            observed_ms: 0,
            last_slot: None,
            rules_began: BTreeMap::new(),
            dialect: None,
        }
    }

    /// Observed time.
    pub fn observed(&self) -> Observed {
        Observed(self.observed_ms)
    }

    /// When each rule was evaluated first, by name.
    pub fn rules_began(&self) -> BTreeMap<RuleName, Timestamp> {
        self.rules_began
            .iter()
            .map(|(name, at)| (name.as_str().into(), *at))
            .collect()
    }
}

/// What is loaded at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What decisions go on from.
    pub engine: Engine,
    /// Workspaces and the organization's own data.
    pub directory: Directory,
    /// By part.
    pub coverages: BTreeMap<Part, Coverage>,
    /// Everything ever recorded.
    pub recorded: Vec<(Part, ModelName, Amounts)>,
    /// Buckets whose remainder has to be derived.
    pub remainders_due: BTreeSet<(Granularity, Hour)>,
}

/// A bucket's amounts in a listing.
pub type UsageRow = (Part, ModelName, Hour, Amounts);

impl Store {
    /// What is known of an organization; makes it when it is new.
    pub async fn load_organization(
        &self,
        name: &OrganizationName,
        now: Timestamp,
    ) -> Result<Loaded, StoreError> {
        let name = name.clone();
        self.write("organization", move |transaction| {
            let organization = organization_id(transaction, &name, now)?;
            let (engine, directory): (String, String) = transaction.query_row(
                "SELECT engine, directory FROM organizations WHERE id = ?1",
                [organization],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            Ok(Loaded {
                engine: from_text(&engine)?,
                directory: load_directory(transaction, organization, &directory)?,
                coverages: load_coverages(transaction, organization)?,
                recorded: load_recorded(transaction, organization)?,
                remainders_due: load_remainders(transaction, organization)?,
            })
        })
        .await
    }

    /// The organizations that the store knows.
    pub async fn organizations(&self) -> Result<Vec<OrganizationName>, StoreError> {
        self.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT name FROM organizations ORDER BY name")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            names.map(|name| Ok(OrganizationName::new(name?))).collect()
        })
        .await
    }

    /// The directory of an organization, for commands.
    pub async fn directory(&self, name: &OrganizationName) -> Result<Directory, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let found: Option<(i64, String)> = transaction
                .query_row(
                    "SELECT id, directory FROM organizations WHERE name = ?1",
                    [name.as_str()],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            match found {
                Some((organization, text)) => load_directory(transaction, organization, &text),
                None => Ok(Directory::default()),
            }
        })
        .await
    }

    /// Rows and doubts of several parts, each in whole days.
    pub async fn stored(
        &self,
        name: &OrganizationName,
        wanted: Vec<(Part, HourSpan)>,
    ) -> Result<Vec<Stored>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let Some(organization) = known_organization(transaction, &name)? else {
                return Ok(vec![Stored::default(); wanted.len()]);
            };
            let load = |(part, hours): &(Part, HourSpan)| match known_part(
                transaction,
                organization,
                part,
            )? {
                Some(id) => load_stored(transaction, id, *hours),
                None => Ok(Stored::default()),
            };
            wanted.iter().map(load).collect()
        })
        .await
    }

    /// Takes over what answers changed, all of it or nothing. `done` are the remainders that were derived.
    pub async fn record(
        &self,
        name: &OrganizationName,
        changes: Vec<(Part, Recorded)>,
        done: Vec<(Granularity, Hour)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("record", move |transaction| {
            let organization = organization_id(transaction, &name, now)?;
            let mut ids = ModelIds::default();
            for (part, recorded) in &changes {
                let id = part_id(transaction, organization, part, &recorded.coverage)?;
                write_rows(transaction, id, &recorded.rows, &mut ids)?;
                write_doubts(transaction, id, recorded)?;
                write_sums(transaction, id, recorded, &mut ids)?;
                if *part != Part::Unattributed {
                    add_remainders(transaction, organization, &recorded.touched)?;
                }
            }
            let mut statement = transaction.prepare_cached(
                "DELETE FROM remainders_due WHERE organization = ?1 AND granularity = ?2 AND hour = ?3",
            )?;
            for (granularity, hour) in done {
                statement.execute(params![organization, code(granularity), hour.count()])?;
            }
            Ok(())
        })
        .await
    }

    /// Sums over a span by part and model, without the whole: hours and what is booked where hours are known, days before.
    pub async fn sums(
        &self,
        name: &OrganizationName,
        hours: HourSpan,
    ) -> Result<Vec<(Part, ModelName, Amounts)>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let mut sums: BTreeMap<(Part, ModelName), Amounts> = BTreeMap::new();
            for_effective(
                transaction,
                &name,
                hours,
                None,
                |part, model, _, amounts| {
                    *sums.entry((part.clone(), model)).or_default() += amounts;
                },
            )?;
            Ok(sums
                .into_iter()
                .map(|((part, model), amounts)| (part, model, amounts))
                .collect())
        })
        .await
    }

    /// The amounts that count in a span, row by row, without the whole; of one part where one is named.
    pub async fn usage(
        &self,
        name: &OrganizationName,
        hours: HourSpan,
        only: Option<Part>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let name = name.clone();
        self.read(move |transaction| {
            let mut rows = Vec::new();
            for_effective(
                transaction,
                &name,
                hours,
                only.as_ref(),
                |part, model, hour, amounts| {
                    rows.push((part.clone(), model, hour, amounts));
                },
            )?;
            Ok(rows)
        })
        .await
    }

    /// Some buckets of the whole, and the sums of all workspaces in them.
    pub async fn whole_and_listed(
        &self,
        name: &OrganizationName,
        buckets: Vec<(Granularity, Hour)>,
    ) -> Result<
        (
            BTreeMap<(Granularity, Hour), Cells>,
            BTreeMap<(Granularity, Hour), Cells>,
        ),
        StoreError,
    > {
        let name = name.clone();
        self.read(move |transaction| {
            let Some(organization) = known_organization(transaction, &name)? else {
                return Ok(Default::default());
            };
            let models = model_names(transaction)?;
            let ids = |kind: i64| part_ids(transaction, organization, kind);
            let whole = sum_buckets(transaction, &ids(2)?, &buckets, &models)?;
            let listed = sum_buckets(transaction, &ids(0)?, &buckets, &models)?;
            Ok((whole, listed))
        })
        .await
    }

    /// Writes what changed of a directory.
    pub async fn save_directory(
        &self,
        name: &OrganizationName,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (name, directory) = (name.clone(), directory.clone());
        self.write("directory", move |transaction| {
            let organization = organization_id(transaction, &name, now)?;
            let shape = DirectoryShape::new(directory.listed_at, directory.organization.as_ref());
            transaction.execute(
                "UPDATE organizations SET directory = ?2 WHERE id = ?1",
                params![organization, to_text(&shape)],
            )?;
            let mut statement = transaction.prepare_cached(
                "INSERT INTO workspaces (organization, id, workspace) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET workspace = excluded.workspace WHERE workspace != excluded.workspace",
            )?;
            for (id, (workspace, presence)) in &directory.workspaces {
                let text = to_text(&WorkspaceShape::new(workspace, *presence));
                statement.execute(params![organization, id.as_str(), text])?;
            }
            Ok(())
        })
        .await
    }

    /// Drops hours before one day, where the days' own rows are known, and days before another. No sum changes but for
    /// spans that reach back so far; what was ever recorded stays.
    pub async fn drop_older(
        &self,
        name: &OrganizationName,
        hours_before: Day,
        days_before: Day,
    ) -> Result<BTreeMap<Part, Coverage>, StoreError> {
        let name = name.clone();
        self.write("retention", move |transaction| {
            let mut changed = BTreeMap::new();
            let Some(organization) = known_organization(transaction, &name)? else {
                return Ok(changed);
            };
            for (part, coverage) in load_coverages(transaction, organization)? {
                let next = kept(&coverage, hours_before, days_before);
                if next == coverage {
                    continue;
                }
                let id = part_id(transaction, organization, &part, &next)?;
                let hours = next
                    .hours_from
                    .map_or(i32::MIN, |day| day.first_hour().count());
                let days = next
                    .days
                    .map_or(i32::MIN, |days| days.start.first_hour().count());
                let mut statement = transaction.prepare_cached(
                    "DELETE FROM buckets WHERE part = ?1 AND kind = ?2 AND hour < ?3",
                )?;
                for (kind, before) in [
                    (Kind::Hour, hours),
                    (Kind::Booked, hours),
                    (Kind::Day, days),
                ] {
                    statement.execute(params![id, kind_code(kind), before])?;
                }
                changed.insert(part, next);
            }
            Ok(changed)
        })
        .await
    }
}

/// The coverage after retention: hours go only where the day rows take over.
fn kept(coverage: &Coverage, hours_before: Day, days_before: Day) -> Coverage {
    let mut next = coverage.clone();
    if let (Some(from), Some(days)) = (coverage.hours_from, coverage.days) {
        let target = hours_before.min(days.end);
        if from < target && days.start <= from {
            next.hours_from = Some(target);
        }
    }
    if let (Some(days), Some(from)) = (next.days, next.hours_from) {
        let start = days.start.max(days_before).min(from).min(days.end);
        next.days = Some(DaySpan {
            start: start.max(days.start),
            end: days.end,
        });
    }
    next
}

pub(in crate::store) fn organization_id(
    transaction: &Transaction<'_>,
    name: &OrganizationName,
    now: Timestamp,
) -> Result<i64, RowError> {
    if let Some(id) = known_organization(transaction, name)? {
        return Ok(id);
    }
    transaction.execute(
        "INSERT INTO organizations (name, engine, directory) VALUES (?1, ?2, ?3)",
        params![
            name.as_str(),
            to_text(&Engine::new(now)),
            to_text(&DirectoryShape::default())
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

pub(in crate::store) fn known_organization(
    transaction: &Transaction<'_>,
    name: &OrganizationName,
) -> Result<Option<i64>, RowError> {
    let mut statement =
        transaction.prepare_cached("SELECT id FROM organizations WHERE name = ?1")?;
    Ok(statement
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}

fn part_key(part: &Part) -> (i64, &str) {
    match part {
        Part::Workspace(id) => (0, id.as_str()),
        Part::Unattributed => (1, ""),
        Part::Whole => (2, ""),
    }
}

fn part_of(kind: i64, id: String) -> Result<Part, RowError> {
    match kind {
        0 => Ok(Part::Workspace(WorkspaceId::new(id))),
        1 => Ok(Part::Unattributed),
        2 => Ok(Part::Whole),
        other => Err(RowError::Shape(format!("unknown kind of part {other}"))),
    }
}

fn code(granularity: Granularity) -> i64 {
    match granularity {
        Granularity::Hour => 0,
        Granularity::Day => 1,
    }
}

fn granularity_of(code: i64) -> Result<Granularity, RowError> {
    match code {
        0 => Ok(Granularity::Hour),
        1 => Ok(Granularity::Day),
        other => Err(RowError::Shape(format!("unknown granularity {other}"))),
    }
}

fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Hour => 0,
        Kind::Booked => 1,
        Kind::Day => 2,
    }
}

fn known_part(
    transaction: &Transaction<'_>,
    organization: i64,
    part: &Part,
) -> Result<Option<i64>, RowError> {
    let (kind, id) = part_key(part);
    let mut statement = transaction.prepare_cached(
        "SELECT id FROM parts WHERE organization = ?1 AND kind = ?2 AND workspace_id = ?3",
    )?;
    Ok(statement
        .query_row(params![organization, kind, id], |row| row.get(0))
        .optional()?)
}

fn part_id(
    transaction: &Transaction<'_>,
    organization: i64,
    part: &Part,
    coverage: &Coverage,
) -> Result<i64, RowError> {
    let (kind, id) = part_key(part);
    let mut statement = transaction.prepare_cached(
        "INSERT INTO parts (organization, kind, workspace_id, hours_from, coverage) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (organization, kind, workspace_id)
         DO UPDATE SET hours_from = excluded.hours_from, coverage = excluded.coverage
         RETURNING id",
    )?;
    let hours_from = coverage.hours_from.map(Day::count);
    let text = to_text(&CoverageShape::from(coverage));
    Ok(
        statement.query_row(params![organization, kind, id, hours_from, text], |row| {
            row.get(0)
        })?,
    )
}

fn part_ids(
    transaction: &Transaction<'_>,
    organization: i64,
    kind: i64,
) -> Result<Vec<i64>, RowError> {
    let mut statement = transaction
        .prepare_cached("SELECT id FROM parts WHERE organization = ?1 AND kind = ?2 ORDER BY id")?;
    let ids = statement.query_map([organization, kind], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn load_directory(
    transaction: &Transaction<'_>,
    organization: i64,
    text: &str,
) -> Result<Directory, RowError> {
    let shape: DirectoryShape = from_text(text)?;
    let mut directory = Directory {
        listed_at: shape.listed_at,
        organization: shape.into_info()?,
        ..Directory::default()
    };
    let mut statement = transaction
        .prepare_cached("SELECT id, workspace FROM workspaces WHERE organization = ?1")?;
    let rows = statement.query_map([organization], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    for row in rows {
        let (id, text) = row?;
        let workspace = from_text::<WorkspaceShape>(&text)?.into_workspace(&id)?;
        directory.workspaces.insert(WorkspaceId::new(id), workspace);
    }
    Ok(directory)
}

fn load_coverages(
    transaction: &Transaction<'_>,
    organization: i64,
) -> Result<BTreeMap<Part, Coverage>, RowError> {
    let mut statement = transaction
        .prepare_cached("SELECT kind, workspace_id, coverage FROM parts WHERE organization = ?1")?;
    let rows = statement.query_map([organization], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut coverages = BTreeMap::new();
    for row in rows {
        let (kind, id, text) = row?;
        coverages.insert(
            part_of(kind, id)?,
            from_text::<CoverageShape>(&text)?.into(),
        );
    }
    Ok(coverages)
}

fn load_recorded(
    transaction: &Transaction<'_>,
    organization: i64,
) -> Result<Vec<(Part, ModelName, Amounts)>, RowError> {
    let mut statement = transaction.prepare_cached(
        "SELECT parts.kind, parts.workspace_id, models.name, spend_micros, spend_rest, input, output, cache_read,
                cache_write_5m, cache_write_1h, requests
         FROM recorded JOIN parts ON parts.id = recorded.part JOIN models ON models.id = recorded.model
         WHERE parts.organization = ?1 AND parts.kind != 2",
    )?;
    let mut rows = statement.query([organization])?;
    let mut recorded = Vec::new();
    while let Some(row) = rows.next()? {
        let part = part_of(row.get(0)?, row.get(1)?)?;
        recorded.push((
            part,
            ModelName::new(row.get::<_, String>(2)?),
            amounts_of(row, 3)?,
        ));
    }
    Ok(recorded)
}

fn load_remainders(
    transaction: &Transaction<'_>,
    organization: i64,
) -> Result<BTreeSet<(Granularity, Hour)>, RowError> {
    let mut statement = transaction
        .prepare_cached("SELECT granularity, hour FROM remainders_due WHERE organization = ?1")?;
    let rows = statement.query_map([organization], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i32>(1)?))
    })?;
    rows.map(|row| {
        let (granularity, hour) = row?;
        Ok((granularity_of(granularity)?, Hour::from_count(hour)))
    })
    .collect()
}

fn add_remainders(
    transaction: &Transaction<'_>,
    organization: i64,
    touched: &BTreeSet<(Granularity, Hour)>,
) -> Result<(), RowError> {
    let mut statement = transaction
        .prepare_cached("INSERT OR IGNORE INTO remainders_due (organization, granularity, hour) VALUES (?1, ?2, ?3)")?;
    for (granularity, hour) in touched {
        statement.execute(params![organization, code(*granularity), hour.count()])?;
    }
    Ok(())
}

fn load_stored(
    transaction: &Transaction<'_>,
    part: i64,
    hours: HourSpan,
) -> Result<Stored, RowError> {
    let models = model_names(transaction)?;
    let mut stored = Stored::default();
    for kind in [Kind::Hour, Kind::Booked, Kind::Day] {
        let rows: &mut Buckets = match kind {
            Kind::Hour => &mut stored.hours,
            Kind::Booked => &mut stored.booked,
            Kind::Day => &mut stored.days,
        };
        each_row(transaction, part, kind, hours, |hour, model, amounts| {
            rows.entry(hour)
                .or_default()
                .insert(name_of(&models, model)?, amounts);
            Ok(())
        })?;
    }
    let mut statement = transaction.prepare_cached(
        "SELECT granularity, hour, since, n_answers FROM doubts WHERE part = ?1 AND hour >= ?2 AND hour < ?3",
    )?;
    let mut rows = statement.query(params![part, hours.start.count(), hours.end.count()])?;
    while let Some(row) = rows.next()? {
        let since: String = row.get(2)?;
        let since = since
            .parse()
            .map_err(|_| RowError::Shape(format!("`{since}` is not a time")))?;
        let key = (granularity_of(row.get(0)?)?, Hour::from_count(row.get(1)?));
        stored.doubts.insert(
            key,
            Doubt {
                since,
                n_answers: row.get(3)?,
            },
        );
    }
    Ok(stored)
}

fn each_row(
    transaction: &Transaction<'_>,
    part: i64,
    kind: Kind,
    hours: HourSpan,
    mut take: impl FnMut(Hour, i64, Amounts) -> Result<(), RowError>,
) -> Result<(), RowError> {
    let mut statement = transaction.prepare_cached(
        "SELECT hour, model, spend_micros, spend_rest, input, output, cache_read, cache_write_5m, cache_write_1h, requests
         FROM buckets WHERE part = ?1 AND kind = ?2 AND hour >= ?3 AND hour < ?4",
    )?;
    let mut rows = statement.query(params![
        part,
        kind_code(kind),
        hours.start.count(),
        hours.end.count()
    ])?;
    while let Some(row) = rows.next()? {
        take(
            Hour::from_count(row.get(0)?),
            row.get(1)?,
            amounts_of(row, 2)?,
        )?;
    }
    Ok(())
}

/// Every row that counts: of hours and bookings from `hours_from` on, of days before it.
fn for_effective(
    transaction: &Transaction<'_>,
    name: &OrganizationName,
    hours: HourSpan,
    only: Option<&Part>,
    mut take: impl FnMut(&Part, ModelName, Hour, Amounts),
) -> Result<(), RowError> {
    let Some(organization) = known_organization(transaction, name)? else {
        return Ok(());
    };
    let models = model_names(transaction)?;
    let mut statement = transaction
        .prepare_cached("SELECT id, kind, workspace_id, hours_from FROM parts WHERE organization = ?1 AND kind != 2")?;
    let mut rows = statement.query([organization])?;
    while let Some(row) = rows.next()? {
        let part = part_of(row.get(1)?, row.get(2)?)?;
        if only.is_some_and(|only| *only != part) {
            continue;
        }
        let id: i64 = row.get(0)?;
        let from: Option<i32> = row.get(3)?;
        let border = from.map_or(Hour::from_count(i32::MAX), |day| {
            Day::from_count(day).first_hour()
        });
        let daily = HourSpan {
            start: hours.start,
            end: hours.end.min(border),
        };
        let hourly = HourSpan {
            start: hours.start.max(border),
            end: hours.end,
        };
        for (kind, span) in [
            (Kind::Day, daily),
            (Kind::Hour, hourly),
            (Kind::Booked, hourly),
        ] {
            if !span.is_empty() {
                each_row(transaction, id, kind, span, |hour, model, amounts| {
                    take(&part, name_of(&models, model)?, hour, amounts);
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

fn sum_buckets(
    transaction: &Transaction<'_>,
    parts: &[i64],
    buckets: &[(Granularity, Hour)],
    models: &BTreeMap<i64, ModelName>,
) -> Result<BTreeMap<(Granularity, Hour), Cells>, RowError> {
    let mut sums = BTreeMap::new();
    for (granularity, hour) in buckets {
        let kind = match granularity {
            Granularity::Hour => Kind::Hour,
            Granularity::Day => Kind::Day,
        };
        let mut by_model: BTreeMap<i64, Amounts> = BTreeMap::new();
        for part in parts {
            let span = HourSpan {
                start: *hour,
                end: hour.plus(1),
            };
            each_row(transaction, *part, kind, span, |_, model, amounts| {
                *by_model.entry(model).or_default() += amounts;
                Ok(())
            })?;
        }
        let mut cells = Cells::new();
        for (model, amounts) in by_model {
            add_to(&mut cells, &name_of(models, model)?, amounts);
        }
        sums.insert((*granularity, *hour), cells);
    }
    Ok(sums)
}

fn model_names(transaction: &Transaction<'_>) -> Result<BTreeMap<i64, ModelName>, RowError> {
    let mut statement = transaction.prepare_cached("SELECT id, name FROM models")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, ModelName::new(row.get::<_, String>(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn name_of(models: &BTreeMap<i64, ModelName>, model: i64) -> Result<ModelName, RowError> {
    models
        .get(&model)
        .cloned()
        .ok_or_else(|| RowError::Shape(format!("no model has the number {model}")))
}

/// Numbers of models, looked up once a transaction.
#[derive(Default)]
struct ModelIds(BTreeMap<ModelName, i64>);

impl ModelIds {
    fn id(&mut self, transaction: &Transaction<'_>, model: &ModelName) -> Result<i64, RowError> {
        if let Some(id) = self.0.get(model) {
            return Ok(*id);
        }
        transaction
            .prepare_cached("INSERT INTO models (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([model.as_str()])?;
        let id = transaction
            .prepare_cached("SELECT id FROM models WHERE name = ?1")?
            .query_row([model.as_str()], |row| row.get(0))?;
        self.0.insert(model.clone(), id);
        Ok(id)
    }
}

fn write_rows(
    transaction: &Transaction<'_>,
    part: i64,
    rows: &[RowChange],
    ids: &mut ModelIds,
) -> Result<(), RowError> {
    let mut write = transaction.prepare_cached(
        "INSERT OR REPLACE INTO buckets (part, kind, hour, model, spend_micros, spend_rest, input, output, cache_read,
                                         cache_write_5m, cache_write_1h, requests)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut remove = transaction.prepare_cached(
        "DELETE FROM buckets WHERE part = ?1 AND kind = ?2 AND hour = ?3 AND model = ?4",
    )?;
    for row in rows {
        let model = ids.id(transaction, &row.model)?;
        let (kind, hour, amounts) = (kind_code(row.kind), row.hour.count(), &row.amounts);
        if amounts.is_zero() {
            remove.execute(params![part, kind, hour, model])?;
            continue;
        }
        let (micros, rest) = split(amounts.spend)?;
        let tokens = &amounts.tokens;
        write.execute(params![
            part,
            kind,
            hour,
            model,
            micros,
            rest,
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_write_5m,
            tokens.cache_write_1h,
            amounts.requests
        ])?;
    }
    Ok(())
}

fn write_doubts(
    transaction: &Transaction<'_>,
    part: i64,
    recorded: &Recorded,
) -> Result<(), RowError> {
    for ((granularity, hour), doubt) in &recorded.doubts {
        match doubt {
            Some(doubt) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO doubts (part, granularity, hour, since, n_answers)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    part,
                    code(*granularity),
                    hour.count(),
                    doubt.since.to_string(),
                    doubt.n_answers
                ])?,
            None => transaction
                .prepare_cached(
                    "DELETE FROM doubts WHERE part = ?1 AND granularity = ?2 AND hour = ?3",
                )?
                .execute(params![part, code(*granularity), hour.count()])?,
        };
    }
    Ok(())
}

fn write_sums(
    transaction: &Transaction<'_>,
    part: i64,
    recorded: &Recorded,
    ids: &mut ModelIds,
) -> Result<(), RowError> {
    let mut by_model: BTreeMap<&ModelName, Amounts> = BTreeMap::new();
    for delta in &recorded.deltas {
        *by_model.entry(&delta.model).or_default() += delta.amounts;
    }
    for (model, delta) in by_model.into_iter().filter(|(_, delta)| !delta.is_zero()) {
        let model = ids.id(transaction, model)?;
        let known: Option<Amounts> = {
            let mut statement = transaction.prepare_cached(
                "SELECT spend_micros, spend_rest, input, output, cache_read, cache_write_5m, cache_write_1h, requests
                 FROM recorded WHERE part = ?1 AND model = ?2",
            )?;
            statement
                .query_row([part, model], |row| Ok(amounts_of(row, 0)))
                .optional()?
                .transpose()?
        };
        let sum = known.unwrap_or_default() + delta;
        let (micros, rest) = split(sum.spend)?;
        let tokens = &sum.tokens;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO recorded VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                part,
                model,
                micros,
                rest,
                tokens.input,
                tokens.output,
                tokens.cache_read,
                tokens.cache_write_5m,
                tokens.cache_write_1h,
                sum.requests
            ])?;
    }
    Ok(())
}

/// Whole millionths of a USD and the rest in 10⁻¹² USD: a sum of cells is exact, and most rests take no room.
fn split(spend: Usd) -> Result<(i64, i64), RowError> {
    let micros = i64::try_from(spend.pico().div_euclid(REST))
        .map_err(|_| RowError::Shape(format!("{spend} USD is beyond what a store can hold")))?;
    let rest = i64::try_from(spend.pico().rem_euclid(REST)).expect("a rest is below a million");
    Ok((micros, rest))
}

/// Eight columns from `at` on.
fn amounts_of(row: &Row<'_>, at: usize) -> Result<Amounts, RowError> {
    let micros: i64 = row.get(at)?;
    let rest: i64 = row.get(at + 1)?;
    Ok(Amounts {
        spend: Usd::from_pico(i128::from(micros) * REST + i128::from(rest)),
        tokens: Tokens {
            input: row.get(at + 2)?,
            output: row.get(at + 3)?,
            cache_read: row.get(at + 4)?,
            cache_write_5m: row.get(at + 5)?,
            cache_write_1h: row.get(at + 6)?,
        },
        requests: row.get(at + 7)?,
    })
}
