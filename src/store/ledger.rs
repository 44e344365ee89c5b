//! The ledger: rows of usage by part, hour and model, and the sums that figures start from.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use crate::domain::coverage::Coverage;
use crate::domain::ids::{ModelName, OrganizationName};
use crate::domain::record::{Kind, Recorded, Stored};
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Buckets, Cells, Part};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names::{self, ModelIds, ModelNames, StoredPart};
use crate::store::rows::{Bucket, add_to_recorded, doubts, for_rows, write_doubt, write_row};
use crate::store::values::{AMOUNTS, add, amounts_at, granularity_number, granularity_of, kind_of};

/// What one part used of one model from some hour on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose usage; never the whole.
    pub part: Part,
    /// Of which model.
    pub model: ModelName,
    /// The first hour of the group.
    pub hour: Hour,
    /// How much; never all zero.
    pub amounts: Amounts,
}

impl Store {
    /// A part's rows and doubts in whole days; nothing where the part is not known.
    pub async fn stored(
        &self,
        organization: &OrganizationName,
        part: &Part,
        hours: HourSpan,
    ) -> Result<Stored, StoreError> {
        let mut many = self
            .stored_many(organization, vec![(part.clone(), hours)])
            .await?;
        Ok(many.pop().unwrap_or_default())
    }

    /// The same for many parts, in the order in which they were asked for.
    pub async fn stored_many(
        &self,
        organization: &OrganizationName,
        asked: Vec<(Part, HourSpan)>,
    ) -> Result<Vec<Stored>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let models = ModelNames::load(db)?;
            let organization = names::find_organization(db, &name)?;
            let stored = |(part, hours): &(Part, HourSpan)| match organization {
                Some(organization) => stored_of(db, &models, organization, part, *hours),
                None => Ok(Stored::default()),
            };
            asked.iter().map(stored).collect()
        })
        .await
    }

    /// Writes what answers changed: rows, doubts, coverage and recorded sums, and notes which remainders are to be derived
    /// anew. `done` are remainders that were derived from what was stored before this call.
    pub async fn record(
        &self,
        organization: &OrganizationName,
        changes: Vec<(Part, Recorded)>,
        done: Vec<Bucket>,
    ) -> Result<(), StoreError> {
        let name = organization.clone();
        self.write("record", move |tx| {
            let organization = names::organization(tx, &name)?;
            // What this very call touches is due again, so the done ones go first.
            remove_remainders(tx, organization, &done)?;
            let mut models = ModelIds::default();
            for (part, recorded) in &changes {
                record_part(tx, &mut models, organization, part, recorded)?;
            }
            Ok(())
        })
        .await
    }

    /// What counts in a span, by part and model, without the whole and without zeros.
    pub async fn sums(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
    ) -> Result<Vec<(Part, ModelName, Amounts)>, StoreError> {
        let rows = self
            .usage(organization, hours, move |_| hours.start)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.part, row.model, row.amounts))
            .collect())
    }

    /// What counts of one part in a span, by hour; days before the part's hours stand at their first hour.
    pub async fn sums_by_hour(
        &self,
        organization: &OrganizationName,
        part: &Part,
        hours: HourSpan,
    ) -> Result<Buckets, StoreError> {
        let (name, part) = (organization.clone(), part.clone());
        self.read(move |db| {
            let models = ModelNames::load(db)?;
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(Buckets::new());
            };
            let Some(part) = names::find_part(db, organization, &part)? else {
                return Ok(Buckets::new());
            };
            let mut buckets = Buckets::new();
            for ((hour, model), amounts) in effective(db, &part, hours, |hour| hour)? {
                let cells = buckets.entry(hour).or_default();
                cells.insert(models.get(model)?.clone(), amounts);
            }
            Ok(buckets)
        })
        .await
    }

    /// What counts in a span, by part, model and group of hours. `group` gives the first hour of the group of an hour.
    pub async fn usage(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
        group: impl Fn(Hour) -> Hour + Send + 'static,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let models = ModelNames::load(db)?;
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(Vec::new());
            };
            let mut rows = Vec::new();
            for part in names::parts(db, organization)? {
                if part.part == Part::Whole {
                    continue;
                }
                for ((hour, model), amounts) in effective(db, &part, hours, &group)? {
                    rows.push(UsageRow {
                        part: part.part.clone(),
                        model: models.get(model)?.clone(),
                        hour,
                        amounts,
                    });
                }
            }
            Ok(rows)
        })
        .await
    }

    /// The sum over all workspaces of the API's own rows, for each bucket that is asked for.
    pub async fn listed_sum(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
    ) -> Result<BTreeMap<Bucket, Cells>, StoreError> {
        self.bucket_sums(organization, buckets, |part| {
            matches!(part, Part::Workspace(_))
        })
        .await
    }

    /// The API's own rows of the whole, for each bucket that is asked for.
    pub async fn whole(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
    ) -> Result<BTreeMap<Bucket, Cells>, StoreError> {
        self.bucket_sums(organization, buckets, |part| *part == Part::Whole)
            .await
    }

    async fn bucket_sums(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
        is_wanted: fn(&Part) -> bool,
    ) -> Result<BTreeMap<Bucket, Cells>, StoreError> {
        let (name, buckets) = (organization.clone(), buckets.to_vec());
        self.read(move |db| {
            let parts = match names::find_organization(db, &name)? {
                Some(organization) => names::parts(db, organization)?,
                None => Vec::new(),
            };
            let parts: Vec<i64> = parts
                .iter()
                .filter(|part| is_wanted(&part.part))
                .map(|part| part.id)
                .collect();
            sum_buckets(db, &parts, &buckets)
        })
        .await
    }
}

/// Everything that was ever counted, by part and model.
pub(super) fn recorded(
    db: &Connection,
    organization: i64,
) -> Result<Vec<(Part, ModelName, Amounts)>, Cause> {
    let models = ModelNames::load(db)?;
    let sql = format!("SELECT model_id, {AMOUNTS} FROM recorded WHERE part_id = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut sums = Vec::new();
    for part in names::parts(db, organization)? {
        let mut rows = statement.query([part.id])?;
        while let Some(row) = rows.next()? {
            let model = models.get(row.get(0)?)?.clone();
            sums.push((part.part.clone(), model, amounts_at(row, 1)?));
        }
    }
    Ok(sums)
}

/// Buckets whose remainder is to be derived anew.
pub(super) fn due_remainders(db: &Connection, organization: i64) -> Result<Vec<Bucket>, Cause> {
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

fn stored_of(
    db: &Connection,
    models: &ModelNames,
    organization: i64,
    part: &Part,
    hours: HourSpan,
) -> Result<Stored, Cause> {
    let Some(part) = names::find_part(db, organization, part)? else {
        return Ok(Stored::default());
    };
    let buckets = |kind| -> Result<Buckets, Cause> {
        let mut buckets = Buckets::new();
        for_rows(db, part.id, kind, hours, |hour, model, amounts| {
            let cells: &mut Cells = buckets.entry(hour).or_default();
            cells.insert(models.get(model)?.clone(), amounts);
            Ok(())
        })?;
        Ok(buckets)
    };
    Ok(Stored {
        hours: buckets(Kind::Hour)?,
        booked: buckets(Kind::Booked)?,
        days: buckets(Kind::Day)?,
        doubts: doubts(db, part.id, hours)?,
    })
}

/// The pieces of a span in which each kind of rows counts.
fn counted(coverage: &Coverage, hours: HourSpan) -> [(Kind, HourSpan); 3] {
    // Without any hours every day counts by its row.
    let boundary = coverage.hours_from.map_or(hours.end, |day| {
        day.first_hour()
            .clamp(hours.start, hours.end.max(hours.start))
    });
    let (daily, hourly) = (
        HourSpan {
            end: boundary,
            ..hours
        },
        HourSpan {
            start: boundary,
            ..hours
        },
    );
    [
        (Kind::Hour, hourly),
        (Kind::Booked, hourly),
        (Kind::Day, daily),
    ]
}

/// What counts of a part in a span, by group and model, without zeros.
fn effective(
    db: &Connection,
    part: &StoredPart,
    hours: HourSpan,
    group: impl Fn(Hour) -> Hour,
) -> Result<BTreeMap<(Hour, i64), Amounts>, Cause> {
    let mut sums: BTreeMap<(Hour, i64), Amounts> = BTreeMap::new();
    for (kind, piece) in counted(&part.coverage, hours) {
        for_rows(db, part.id, kind, piece, |hour, model, amounts| {
            let sum = sums.entry((group(hour), model)).or_default();
            *sum = add(sum, &amounts)?;
            Ok(())
        })?;
    }
    sums.retain(|_, amounts| !amounts.is_zero());
    Ok(sums)
}

fn sum_buckets(
    db: &Connection,
    parts: &[i64],
    buckets: &[Bucket],
) -> Result<BTreeMap<Bucket, Cells>, Cause> {
    let models = ModelNames::load(db)?;
    let mut sums = BTreeMap::new();
    for (granularity, hour) in buckets {
        let only = HourSpan {
            start: *hour,
            end: hour.plus(1),
        };
        let mut by_model: BTreeMap<i64, Amounts> = BTreeMap::new();
        for part in parts {
            for_rows(
                db,
                *part,
                kind_of(*granularity),
                only,
                |_, model, amounts| {
                    let sum = by_model.entry(model).or_default();
                    *sum = add(sum, &amounts)?;
                    Ok(())
                },
            )?;
        }
        let mut cells = Cells::new();
        for (model, amounts) in by_model {
            if !amounts.is_zero() {
                cells.insert(models.get(model)?.clone(), amounts);
            }
        }
        sums.insert((*granularity, *hour), cells);
    }
    Ok(sums)
}

fn record_part(
    tx: &Transaction<'_>,
    models: &mut ModelIds,
    organization: i64,
    part: &Part,
    recorded: &Recorded,
) -> Result<(), Cause> {
    let id = names::save_part(tx, organization, part, &recorded.coverage)?;
    for row in &recorded.rows {
        write_row(tx, models, id, row)?;
    }
    for (bucket, doubt) in &recorded.doubts {
        write_doubt(tx, id, *bucket, *doubt)?;
    }
    // The whole is never summed with its parts, so nothing of it is ever "recorded".
    if *part != Part::Whole {
        add_recorded(tx, models, id, recorded)?;
    }
    // The remainder is derived from the others, not from itself.
    if *part != Part::Unattributed {
        let mut statement = tx.prepare_cached(
            "INSERT INTO due_remainders (organization_id, granularity, hour) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        for (granularity, hour) in &recorded.touched {
            statement.execute(params![
                organization,
                granularity_number(*granularity),
                hour.count()
            ])?;
        }
    }
    Ok(())
}

fn remove_remainders(
    tx: &Transaction<'_>,
    organization: i64,
    done: &[Bucket],
) -> Result<(), Cause> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM due_remainders WHERE organization_id = ?1 AND granularity = ?2 AND hour = ?3",
    )?;
    for (granularity, hour) in done {
        statement.execute(params![
            organization,
            granularity_number(*granularity),
            hour.count()
        ])?;
    }
    Ok(())
}

fn add_recorded(
    tx: &Transaction<'_>,
    models: &mut ModelIds,
    part: i64,
    recorded: &Recorded,
) -> Result<(), Cause> {
    let mut by_model: BTreeMap<&ModelName, Amounts> = BTreeMap::new();
    for delta in &recorded.deltas {
        let sum = by_model.entry(&delta.model).or_default();
        *sum = add(sum, &delta.amounts)?;
    }
    for (model, delta) in by_model {
        if !delta.is_zero() {
            add_to_recorded(tx, part, models.get(tx, model)?, &delta)?;
        }
    }
    Ok(())
}
