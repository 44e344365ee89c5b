//! What is read of the ledger: rows of usage by part, hour and cell, and the sums that figures start from.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::domain::change::{Kind, Stored};
use crate::domain::coverage::Coverage;
use crate::domain::ids::OrganizationName;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Buckets, Cell, Cells, Granularity, Part, UsageRow, add_to};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names::{self, CellNames, StoredPart};
use crate::store::rows::{Bucket, doubts, for_all_rows, for_rows};
use crate::store::values::{add, kind_of};

impl Store {
    /// A part's rows and doubts in a span; nothing where the part is not known.
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
            let cells = CellNames::load(db)?;
            let organization = names::find_organization(db, &name)?;
            let stored = |(part, hours): &(Part, HourSpan)| match organization {
                Some(organization) => stored_of(db, &cells, organization, part, *hours),
                None => Ok(Stored::default()),
            };
            asked.iter().map(stored).collect()
        })
        .await
    }

    /// What counts in a span, by part and cell, without the whole and without zeros.
    pub async fn sums(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
    ) -> Result<Vec<(Part, Cell, Amounts)>, StoreError> {
        let rows = self
            .usage(organization, hours, move |_| hours.start)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.part, row.cell, row.amounts))
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
            let cells = CellNames::load(db)?;
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(Buckets::new());
            };
            let Some(part) = names::find_part(db, organization, &part)? else {
                return Ok(Buckets::new());
            };
            let mut buckets = Buckets::new();
            for ((hour, cell), amounts) in effective(db, &part, hours, |hour| hour)? {
                let bucket = buckets.entry(hour).or_default();
                bucket.insert(cells.get(cell)?.clone(), amounts);
            }
            Ok(buckets)
        })
        .await
    }

    /// What counts in a span, by part, cell and group of hours. `group` gives the first hour of the group of an hour.
    pub async fn usage(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
        group: impl Fn(Hour) -> Hour + Send + 'static,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let cells = CellNames::load(db)?;
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(Vec::new());
            };
            let mut rows = Vec::new();
            for part in names::parts(db, organization)? {
                if part.part == Part::Whole {
                    continue;
                }
                for ((hour, cell), amounts) in effective(db, &part, hours, &group)? {
                    rows.push(UsageRow {
                        part: part.part.clone(),
                        cell: cells.get(cell)?.clone(),
                        hour,
                        amounts,
                    });
                }
            }
            Ok(rows)
        })
        .await
    }

    /// The sum over all workspaces of the API's own rows, by model alone, for each bucket that is asked for.
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

    /// The API's own rows of the whole, by model alone, for each bucket that is asked for.
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

fn stored_of(
    db: &Connection,
    cells: &CellNames,
    organization: i64,
    part: &Part,
    hours: HourSpan,
) -> Result<Stored, Cause> {
    let Some(part) = names::find_part_id(db, organization, part)? else {
        return Ok(Stored::default());
    };
    let mut stored = Stored {
        doubts: doubts(db, part, hours)?,
        ..Stored::default()
    };
    for_all_rows(db, part, hours, |kind, hour, cell, amounts| {
        let rows = match kind {
            Kind::Hour => &mut stored.hours,
            Kind::Booked => &mut stored.booked,
            Kind::Day => &mut stored.days,
        };
        let bucket = rows.entry(hour).or_default();
        bucket.insert(cells.get(cell)?.clone(), amounts);
        Ok(())
    })?;
    Ok(stored)
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

/// What counts of a part in a span, by group and cell, without zeros.
fn effective(
    db: &Connection,
    part: &StoredPart,
    hours: HourSpan,
    group: impl Fn(Hour) -> Hour,
) -> Result<BTreeMap<(Hour, i64), Amounts>, Cause> {
    let mut sums: BTreeMap<(Hour, i64), Amounts> = BTreeMap::new();
    for (kind, piece) in counted(&part.coverage, hours) {
        for_rows(db, part.id, kind, piece, |hour, cell, amounts| {
            let sum = sums.entry((group(hour), cell)).or_default();
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
    let mut sums: BTreeMap<Bucket, BTreeMap<i64, Amounts>> = buckets
        .iter()
        .map(|bucket| (*bucket, BTreeMap::new()))
        .collect();
    let runs = runs(buckets);
    // Part by part, as the rows stand in the file.
    for part in parts {
        for (granularity, span) in &runs {
            let kind = kind_of(*granularity);
            for_rows(db, *part, kind, *span, |hour, cell, amounts| {
                if let Some(by_cell) = sums.get_mut(&(*granularity, hour)) {
                    let sum = by_cell.entry(cell).or_default();
                    *sum = add(sum, &amounts)?;
                }
                Ok(())
            })?;
        }
    }
    let names = CellNames::load(db)?;
    let named = |by_cell: BTreeMap<i64, Amounts>| -> Result<Cells, Cause> {
        let mut cells = Cells::new();
        for (cell, amounts) in by_cell {
            let model = names.get(cell)?.model.clone();
            add_to(&mut cells, &Cell::of_model(model), amounts);
        }
        Ok(cells)
    };
    sums.into_iter()
        .map(|(bucket, by_cell)| Ok((bucket, named(by_cell)?)))
        .collect()
}

/// Buckets that follow each other, as spans of their first hours.
fn runs(buckets: &[Bucket]) -> Vec<(Granularity, HourSpan)> {
    let buckets: BTreeSet<Bucket> = buckets.iter().copied().collect();
    let mut runs: Vec<(Granularity, HourSpan)> = Vec::new();
    for (granularity, hour) in buckets {
        let step = match granularity {
            Granularity::Hour => 1,
            Granularity::Day => 24,
        };
        let follows = |(of, span): &&mut (Granularity, HourSpan)| {
            *of == granularity && span.end.plus(step - 1) == hour
        };
        match runs.last_mut().filter(|last| follows(last)) {
            Some((_, span)) => span.end = hour.plus(1),
            None => runs.push((
                granularity,
                HourSpan {
                    start: hour,
                    end: hour.plus(1),
                },
            )),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::effective as count;
    use crate::domain::coverage::{Purpose, polled};
    use crate::domain::record::{self};
    use crate::domain::span::Day;
    use crate::domain::usage::{Answer, Basis, Granularity, add_to, sum};
    use crate::store::samples::{FIRST, ORGANIZATION, amounts, at, record_hour, store};
    use jiff::SignedDuration;
    use proptest::prelude::*;

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);

    #[test]
    fn buckets_that_follow_each_other_are_one_run() {
        let hour = |n| (Granularity::Hour, FIRST.plus(n));
        let day = |n| (Granularity::Day, FIRST.day().plus(n).first_hour());
        let span = |(granularity, start): Bucket, (_, last): Bucket| {
            let end = last.plus(1);
            (granularity, HourSpan { start, end })
        };
        let check = |buckets: &[Bucket], expected: &[(Granularity, HourSpan)]| {
            assert_eq!(runs(buckets), expected);
        };
        check(&[], &[]);
        check(
            &[hour(1), hour(0), hour(3), day(2), day(1), day(4)],
            &[
                span(hour(0), hour(1)),
                span(hour(3), hour(3)),
                span(day(1), day(2)),
                span(day(4), day(4)),
            ],
        );
    }

    fn days(first: i32, n_days: i32) -> HourSpan {
        let day = |n| FIRST.day().plus(n).first_hour();
        HourSpan {
            start: day(first),
            end: day(first + n_days),
        }
    }

    /// One answer about one part: which day it begins with, and dollars by model for some of its buckets.
    #[derive(Debug, Clone)]
    struct Told {
        granularity: Granularity,
        first: i32,
        n_days: i32,
        minute: i64,
        buckets: Vec<(i32, u8, i64)>,
    }

    fn told() -> impl Strategy<Value = Told> {
        let bucket = (0i32..72, 0u8..3, 0i64..50);
        (
            any::<bool>(),
            -3i32..2,
            1i32..3,
            0i64..4000,
            prop::collection::vec(bucket, 0..12),
        )
            .prop_map(|(is_hourly, first, n_days, minute, buckets)| Told {
                granularity: if is_hourly {
                    Granularity::Hour
                } else {
                    Granularity::Day
                },
                first,
                n_days,
                minute,
                buckets,
            })
    }

    fn answer(told: &Told, part: &Part) -> Answer {
        let hours = days(told.first, told.n_days);
        let mut buckets = Buckets::new();
        for (offset, model, dollars) in &told.buckets {
            let hour = hours.start.plus(*offset);
            let hour = match told.granularity {
                Granularity::Hour => hour,
                Granularity::Day => hour.day().first_hour(),
            };
            if hours.contains(hour) {
                let cells = buckets.entry(hour).or_default();
                add_to(
                    cells,
                    &format!("model-{model}").as_str().into(),
                    amounts(*dollars),
                );
            }
        }
        Answer {
            part: part.clone(),
            granularity: told.granularity,
            hours,
            buckets,
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
        }
    }

    fn totals(buckets: &Buckets, hours: HourSpan) -> Cells {
        let mut cells = Cells::new();
        for (_, bucket) in buckets.iter().filter(|(hour, _)| hours.contains(**hour)) {
            for (model, amounts) in bucket {
                add_to(&mut cells, model, *amounts);
            }
        }
        cells
    }

    async fn check_replay(answers: &[Told]) {
        let store = store().await;
        let organization = ORGANIZATION.into();
        let part = Part::Workspace("w".into());
        let mut coverage = Coverage::new(at(0));
        let mut recorded = Cells::new();
        for told in answers {
            let answer = answer(told, &part);
            let purpose = match told.granularity {
                Granularity::Hour => Purpose::Running,
                Granularity::Day => Purpose::Corrections,
            };
            let before = store
                .stored(&organization, &part, answer.hours)
                .await
                .unwrap();
            let change = record::record(
                &answer,
                purpose,
                &coverage,
                &before,
                SETTLE,
                at(told.minute),
            );
            coverage = change.coverage.clone();
            for delta in &change.deltas {
                add_to(&mut recorded, &delta.cell, delta.amounts);
            }
            store
                .record(&organization, vec![(part.clone(), change)], Vec::new())
                .await
                .unwrap();
            // Up to when a part is known is noted for all parts together, by polls that go forward.
            let known = [(part.clone(), coverage.clone())].into();
            let behind = store
                .load_organization(&organization, at(0), at(0))
                .await
                .unwrap()
                .behind;
            if let Some(polled) = polled(&known, &behind, at(told.minute)) {
                store.note_polled(&organization, polled).await.unwrap();
            }

            let all = store
                .stored(&organization, &part, days(-9, 18))
                .await
                .unwrap();
            let by_hour: Buckets = count(&all, &coverage)
                .into_iter()
                .filter(|(_, cells)| !cells.is_empty())
                .collect();
            assert_eq!(
                store
                    .sums_by_hour(&organization, &part, days(-9, 18))
                    .await
                    .unwrap(),
                by_hour
            );
            for span in [
                days(-9, 18),
                days(0, 1),
                HourSpan {
                    start: FIRST.plus(-5),
                    end: FIRST.plus(7),
                },
            ] {
                let sums = store.sums(&organization, span).await.unwrap();
                let sums: Cells = sums
                    .into_iter()
                    .map(|(_, model, amounts)| (model, amounts))
                    .collect();
                assert_eq!(sums, totals(&by_hour, span));
            }
        }
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        if !answers.is_empty() {
            assert_eq!(state.coverages[&part], coverage);
        }
        let stored = state
            .recorded
            .into_iter()
            .map(|(_, model, amounts)| (model, amounts));
        let stored: Cells = stored.filter(|(_, amounts)| !amounts.is_zero()).collect();
        assert_eq!(stored, recorded);
        assert!(store.check().await.unwrap().problems.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_store_holds_what_the_domain_decided(answers in prop::collection::vec(told(), 0..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(check_replay(&answers));
        }
    }

    #[tokio::test]
    async fn the_whole_is_no_part_of_any_sum_and_the_remainder_makes_no_remainder_due() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        let told = |part: &Part, dollars| {
            let told = Told {
                granularity: Granularity::Hour,
                first: 0,
                n_days: 1,
                minute: 65,
                buckets: vec![(0, 0, dollars)],
            };
            let change = record::record(
                &answer(&told, part),
                Purpose::Running,
                &Coverage::new(at(0)),
                &Stored::default(),
                SETTLE,
                at(1),
            );
            (part.clone(), change)
        };
        let listed = Part::Workspace("w".into());
        let changes = vec![told(&listed, 3), told(&Part::Whole, 10)];
        store
            .record(&organization, changes, Vec::new())
            .await
            .unwrap();
        let bucket = (Granularity::Hour, FIRST);
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert!(state.due_remainders.contains(&bucket));
        let whole = store.whole(&organization, &[bucket]).await.unwrap();
        let parts = store.listed_sum(&organization, &[bucket]).await.unwrap();
        assert_eq!(sum(&whole[&bucket]), amounts(10));
        assert_eq!(sum(&parts[&bucket]), amounts(3));

        let due = state.due_remainders.iter().copied().collect();
        store
            .record(&organization, vec![told(&Part::Unattributed, 7)], due)
            .await
            .unwrap();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert!(state.due_remainders.is_empty());
        assert_eq!(state.recorded.len(), 2);
        let sums = store.sums(&organization, days(0, 1)).await.unwrap();
        let parts: Vec<&Part> = sums.iter().map(|(part, _, _)| part).collect();
        assert_eq!(parts, [&listed, &Part::Unattributed]);
        let parts = store.listed_sum(&organization, &[bucket]).await.unwrap();
        assert_eq!(
            sum(&parts[&bucket]),
            amounts(3),
            "the remainder is not listed"
        );
    }

    #[tokio::test]
    async fn usage_is_grouped_as_the_caller_says() {
        let store = store().await;
        for hour in [0, 5, 23, 24, 30] {
            record_hour(&store, "w", hour, 2).await.unwrap();
        }
        let by_day = |hour: Hour| hour.day().first_hour();
        let rows = store
            .usage(&ORGANIZATION.into(), days(0, 2), by_day)
            .await
            .unwrap();
        let shown: Vec<(Day, Amounts)> = rows
            .iter()
            .map(|row| (row.hour.day(), row.amounts))
            .collect();
        let (two, three) = (
            amounts(2) + amounts(2),
            amounts(2) + amounts(2) + amounts(2),
        );
        assert_eq!(shown, [(FIRST.day(), three), (FIRST.day().plus(1), two)]);
    }

    #[tokio::test]
    async fn organizations_are_kept_apart() {
        let store = store().await;
        record_hour(&store, "w", 0, 2).await.unwrap();
        let other = OrganizationName::from("other");
        let nothing = store.sums(&other, days(0, 1)).await.unwrap();
        assert!(nothing.is_empty());
        let error = store
            .record(&other, Vec::new(), Vec::new())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("no organization `other`"),
            "{error}"
        );
        let state = store.load_organization(&other, at(3), at(0)).await.unwrap();
        assert_eq!(state.engine.store_began, at(3));
        assert!(
            state.coverages.is_empty()
                && state.recorded.is_empty()
                && state.due_remainders.is_empty()
        );
    }

    #[tokio::test]
    async fn a_record_that_fails_changes_nothing() {
        let store = store().await;
        record_hour(&store, "w", 0, 2).await.unwrap();
        let before = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        let part = Part::Workspace("w".into());
        let told = Told {
            granularity: Granularity::Hour,
            first: 0,
            n_days: 1,
            minute: 9,
            buckets: vec![(3, 1, 5)],
        };
        let good = record::record(
            &answer(&told, &part),
            Purpose::Running,
            &before.coverages[&part],
            &Stored::default(),
            SETTLE,
            at(9),
        );
        let mut bad = good.clone();
        bad.deltas[0].amounts.tokens.input = i64::MAX;
        bad.deltas.push(bad.deltas[0].clone());
        let changes = vec![(part.clone(), good), (Part::Workspace("x".into()), bad)];
        let error = store
            .record(&ORGANIZATION.into(), changes, Vec::new())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Overflow { .. }), "{error}");
        let after = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(after, before);
    }
}
