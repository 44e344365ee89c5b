//! What is dropped when it is old, and what moves with it. Sums that were recorded stay.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::domain::coverage::{Coverage, DaySpan};
use crate::domain::ids::OrganizationName;
use crate::domain::record::Kind;
use crate::domain::span::{Day, Hour};
use crate::domain::usage::{Granularity, Part};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names::{self, StoredPart};
use crate::store::values::{At, granularity_number, kind_number};

/// So many parts are cut in one transaction, so that other writes need not wait long.
const PARTS_AT_ONCE: usize = 100;

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Rows of usage.
    pub n_rows: usize,
    /// Parts whose coverage is another now.
    pub coverages: Vec<(Part, Coverage)>,
}

impl Store {
    /// Drops hours of days before `hourly_before` where the day's own row stands for them, and day rows before
    /// `daily_before`; what was recorded stays. Not to be run beside [`Store::record`], whose coverage would be outdated.
    pub async fn drop_older(
        &self,
        organization: &OrganizationName,
        hourly_before: Day,
        daily_before: Day,
    ) -> Result<Dropped, StoreError> {
        let name = organization.clone();
        let parts = self
            .read(move |db| parts_to_cut(db, &name, hourly_before, daily_before))
            .await?;
        let mut dropped = Dropped::default();
        for chunk in parts.chunks(PARTS_AT_ONCE) {
            let (name, chunk) = (organization.clone(), chunk.to_vec());
            let more = self
                .write("drop_older", move |tx| {
                    let organization = names::organization(tx, &name)?;
                    drop_remainders(tx, organization, hourly_before, daily_before)?;
                    cut_parts(tx, organization, &chunk)
                })
                .await?;
            dropped.n_rows += more.n_rows;
            dropped.coverages.extend(more.coverages);
        }
        Ok(dropped)
    }

    /// Drops delivered and folded messages, and alerts that ended in a period that is over, from before
    /// `finished_before`; dead letters from before `dead_before`. Gives the number of rows.
    pub async fn drop_history(
        &self,
        finished_before: Timestamp,
        dead_before: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write("drop_history", move |tx| {
            let n_finished = tx.execute(
                "DELETE FROM outbox WHERE state IN ('delivered', 'folded') AND finished_at < ?1",
                [At(finished_before)],
            )?;
            let n_dead = tx.execute(
                "DELETE FROM outbox WHERE state = 'dead' AND finished_at < ?1",
                [At(dead_before)],
            )?;
            let n_alerts = tx.execute(
                "DELETE FROM alerts WHERE phase = 'resolved' AND ended_at < ?1 AND period_end < ?1",
                [At(finished_before)],
            )?;
            Ok(n_finished + n_dead + n_alerts)
        })
        .await
    }
}

/// The coverage after older days were dropped. Hours go day by day, as long as the day's own row counts in their place or
/// need not be kept either: no figure within the retention changes.
fn cut(coverage: &Coverage, hourly_before: Day, daily_before: Day) -> Coverage {
    let mut next = coverage.clone();
    if let Some(mut from) = coverage.hours_from {
        while from < hourly_before && (coverage.has_day(from) || from < daily_before) {
            from = from.plus(1);
        }
        next.hours_from = Some(from);
        next.recheck = coverage
            .recheck
            .iter()
            .copied()
            .filter(|day| *day >= from)
            .collect::<BTreeSet<Day>>();
    }
    next.days = coverage
        .days
        .map(|days| DaySpan {
            start: days.start.max(daily_before),
            end: days.end,
        })
        .filter(|days| days.start < days.end);
    next
}

fn parts_to_cut(
    db: &Connection,
    name: &OrganizationName,
    hourly_before: Day,
    daily_before: Day,
) -> Result<Vec<(StoredPart, Coverage)>, Cause> {
    let Some(organization) = names::find_organization(db, name)? else {
        return Ok(Vec::new());
    };
    let with_cut = |part: StoredPart| {
        let next = cut(&part.coverage, hourly_before, daily_before);
        (next != part.coverage).then_some((part, next))
    };
    Ok(names::parts(db, organization)?
        .into_iter()
        .filter_map(with_cut)
        .collect())
}

fn cut_parts(
    tx: &Transaction<'_>,
    organization: i64,
    parts: &[(StoredPart, Coverage)],
) -> Result<Dropped, Cause> {
    let mut dropped = Dropped::default();
    for (part, next) in parts {
        names::save_part(tx, organization, &part.part, next)?;
        if let Some(from) = next.hours_from {
            let end = from.first_hour();
            dropped.n_rows += drop_rows(tx, part.id, Kind::Hour, end)?;
            dropped.n_rows += drop_rows(tx, part.id, Kind::Booked, end)?;
            drop_doubts(tx, part.id, Granularity::Hour, end)?;
        }
        let end = match (next.days, part.coverage.days) {
            (Some(days), _) => days.start.first_hour(),
            (None, Some(days)) => days.end.first_hour(),
            (None, None) => continue,
        };
        dropped.n_rows += drop_rows(tx, part.id, Kind::Day, end)?;
        drop_doubts(tx, part.id, Granularity::Day, end)?;
    }
    dropped.coverages = parts
        .iter()
        .map(|(part, next)| (part.part.clone(), next.clone()))
        .collect();
    Ok(dropped)
}

fn drop_rows(tx: &Transaction<'_>, part: i64, kind: Kind, end: Hour) -> Result<usize, Cause> {
    Ok(tx
        .prepare_cached("DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour < ?3")?
        .execute(params![part, kind_number(kind), end.count()])?)
}

fn drop_doubts(
    tx: &Transaction<'_>,
    part: i64,
    granularity: Granularity,
    end: Hour,
) -> Result<(), Cause> {
    tx.prepare_cached("DELETE FROM doubts WHERE part_id = ?1 AND granularity = ?2 AND hour < ?3")?
        .execute(params![part, granularity_number(granularity), end.count()])?;
    Ok(())
}

/// A remainder cannot be derived from rows that are gone.
fn drop_remainders(
    tx: &Transaction<'_>,
    organization: i64,
    hourly_before: Day,
    daily_before: Day,
) -> Result<(), Cause> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM due_remainders WHERE organization_id = ?1 AND granularity = ?2 AND hour < ?3",
    )?;
    for (granularity, before) in [
        (Granularity::Hour, hourly_before),
        (Granularity::Day, daily_before),
    ] {
        statement.execute(params![
            organization,
            granularity_number(granularity),
            before.first_hour().count()
        ])?;
    }
    Ok(())
}
