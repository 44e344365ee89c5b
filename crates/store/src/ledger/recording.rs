//! Writes the results of a poll: rows of usage, totals, pending removals, coverage and due remainders.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use crate::Store;
use crate::db::values::{add, granularity_number};
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids;
use crate::ledger::rows::{Bucket, RowWriter, write_pending_removal};
use spendwatch_domain::ledger::change::PartChanges;
use spendwatch_domain::ledger::coverage::StaleChange;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::usage::bucket::{Amounts, Part, UsageKey};

impl Store {
    /// Writes changes from responses: rows, pending removals, coverage except `as_of`, totals, and which remainders must be
    /// derived again. `done` are remainders that were derived from the state before this call.
    pub async fn record(
        &self,
        organization: &OrganizationName,
        changes: impl Into<Arc<[(Part, PartChanges)]>>,
        done: Vec<Bucket>,
    ) -> Result<(), StoreError> {
        let changes = changes.into();
        self.write_of(organization, "record", move |tx, organization| {
            // Before the changes, because these may make the same remainders due again.
            run_for_buckets(
                tx,
                "DELETE FROM due_remainders WHERE organization_id = ?1 AND granularity = ?2 AND hour = ?3",
                organization,
                &done,
            )?;
            let mut writer = RowWriter::new(tx)?;
            for (part, recorded) in changes.iter() {
                record_part(tx, &mut writer, organization, part, recorded)?;
            }
            Ok(())
        })
        .await
    }

    /// Records as of when parts are current, which [`Self::record`] does not write.
    pub async fn note_polled(
        &self,
        organization: &OrganizationName,
        polled: StaleChange,
    ) -> Result<(), StoreError> {
        self.write_of(organization, "note_polled", move |tx, organization| {
            row_ids::save_polled(tx, organization, &polled)
        })
        .await
    }
}

fn record_part(
    tx: &Transaction<'_>,
    writer: &mut RowWriter<'_>,
    organization: i64,
    part: &Part,
    recorded: &PartChanges,
) -> Result<(), StoreErrorCause> {
    let known = match recorded.is_coverage_changed {
        false => row_ids::find_part_id(tx, organization, part)?,
        true => None,
    };
    let id = match known {
        Some(id) => id,
        None => row_ids::save_part(tx, organization, part, &recorded.coverage)?,
    };
    for row in &recorded.rows {
        writer.write(id, row)?;
    }
    for (bucket, pending) in &recorded.pending_removals {
        write_pending_removal(tx, id, *bucket, *pending)?;
    }
    // The whole is never added to its parts, so it has no totals.
    if *part != Part::Whole {
        add_recorded(writer, id, recorded)?;
    }
    // The remainder is derived from the other parts.
    if *part != Part::Unattributed {
        run_for_buckets(
            tx,
            "INSERT INTO due_remainders (organization_id, granularity, hour) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            organization,
            &recorded.touched,
        )?;
    }
    Ok(())
}

fn run_for_buckets<'a>(
    tx: &Transaction<'_>,
    sql: &str,
    organization: i64,
    buckets: impl IntoIterator<Item = &'a Bucket>,
) -> Result<(), StoreErrorCause> {
    let mut statement = tx.prepare_cached(sql)?;
    for (granularity, hour) in buckets {
        statement.execute(params![
            organization,
            granularity_number(*granularity),
            hour.count()
        ])?;
    }
    Ok(())
}

fn add_recorded(
    writer: &mut RowWriter<'_>,
    part: i64,
    recorded: &PartChanges,
) -> Result<(), StoreErrorCause> {
    let mut by_cell: BTreeMap<&UsageKey, Amounts> = BTreeMap::new();
    for delta in &recorded.deltas {
        let sum = by_cell.entry(&delta.usage_key).or_default();
        *sum = add(sum, &delta.amounts)?;
    }
    for (usage_key, delta) in by_cell {
        if !delta.is_zero() {
            writer.add_to_recorded(part, usage_key, &delta)?;
        }
    }
    Ok(())
}
