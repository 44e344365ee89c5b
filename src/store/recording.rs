//! What is written of a poll: rows of usage, sums of all that was recorded, doubts, coverage, and which remainders are due.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use crate::domain::change::Recorded;
use crate::domain::coverage::Polled;
use crate::domain::ids::OrganizationName;
use crate::domain::usage::{Amounts, Cell, Part};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names;
use crate::store::rows::{Bucket, RowWriter, write_doubt};
use crate::store::values::{add, granularity_number};

impl Store {
    /// Writes what answers changed: rows, doubts, coverage but for `as_of`, and recorded sums, and notes which remainders are
    /// to be derived anew. `done` are remainders that were derived from what was stored before this call.
    pub async fn record(
        &self,
        organization: &OrganizationName,
        changes: impl Into<Arc<[(Part, Recorded)]>>,
        done: Vec<Bucket>,
    ) -> Result<(), StoreError> {
        let (name, changes) = (organization.clone(), changes.into());
        self.write("record", move |tx| {
            let organization = names::organization(tx, &name)?;
            // What this very call touches is due again, so the done ones go first.
            remove_remainders(tx, organization, &done)?;
            let mut writer = RowWriter::new(tx)?;
            for (part, recorded) in changes.iter() {
                record_part(tx, &mut writer, organization, part, recorded)?;
            }
            Ok(())
        })
        .await
    }

    /// Notes up to when parts are known: [`Self::record`] does not say it of each.
    pub async fn note_polled(
        &self,
        organization: &OrganizationName,
        polled: Polled,
    ) -> Result<(), StoreError> {
        let name = organization.clone();
        self.write("note_polled", move |tx| {
            let organization = names::organization(tx, &name)?;
            names::save_polled(tx, organization, &polled)
        })
        .await
    }
}

fn record_part(
    tx: &Transaction<'_>,
    writer: &mut RowWriter<'_>,
    organization: i64,
    part: &Part,
    recorded: &Recorded,
) -> Result<(), Cause> {
    let known = match recorded.is_coverage_changed {
        false => names::find_part_id(tx, organization, part)?,
        true => None,
    };
    let id = match known {
        Some(id) => id,
        None => names::save_part(tx, organization, part, &recorded.coverage)?,
    };
    for row in &recorded.rows {
        writer.write(id, row)?;
    }
    for (bucket, doubt) in &recorded.doubts {
        write_doubt(tx, id, *bucket, *doubt)?;
    }
    // The whole is never summed with its parts, so nothing of it is ever "recorded".
    if *part != Part::Whole {
        add_recorded(writer, id, recorded)?;
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

fn add_recorded(writer: &mut RowWriter<'_>, part: i64, recorded: &Recorded) -> Result<(), Cause> {
    let mut by_cell: BTreeMap<&Cell, Amounts> = BTreeMap::new();
    for delta in &recorded.deltas {
        let sum = by_cell.entry(&delta.cell).or_default();
        *sum = add(sum, &delta.amounts)?;
    }
    for (cell, delta) in by_cell {
        if !delta.is_zero() {
            writer.add_to_recorded(part, cell, &delta)?;
        }
    }
    Ok(())
}
