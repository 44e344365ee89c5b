//! Reads the ledger: rows of usage by part, hour and usage key, and their sums.

pub mod row_ids;

pub mod rows;

mod last_uses;
mod recording;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::Store;
use crate::db::values::{add, kind_for};
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::{StoredPart, UsageKeysById};
use crate::ledger::rows::{Bucket, for_rows, pending_removals};
use spendwatch_domain::ledger::change::{RowKind, StoredUsage};
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::{
    Amounts, Buckets, Granularity, Part, UsageByKey, UsageKey, UsageRow, add_to,
};

impl Store {
    /// Returns a part's rows and pending removals in a span; empty for an unknown part.
    pub async fn stored(
        &self,
        organization: &OrganizationName,
        part: &Part,
        hours: HourSpan,
    ) -> Result<StoredUsage, StoreError> {
        let mut many = self
            .stored_many(organization, vec![(part.clone(), hours)])
            .await?;
        Ok(many.pop().unwrap_or_default())
    }

    /// Returns the same for many parts, in the given order.
    pub async fn stored_many(
        &self,
        organization: &OrganizationName,
        asked: Vec<(Part, HourSpan)>,
    ) -> Result<Vec<StoredUsage>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let cells = UsageKeysById::load(db)?;
            let organization = row_ids::find_organization_id(db, &name)?;
            let stored = |(part, hours): &(Part, HourSpan)| match organization {
                Some(organization) => stored_of(db, &cells, organization, part, *hours),
                None => Ok(StoredUsage::default()),
            };
            asked.iter().map(stored).collect()
        })
        .await
    }

    /// Returns nonzero sums of a span by part and usage key, without the whole.
    pub async fn sums(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
    ) -> Result<Vec<(Part, UsageKey, Amounts)>, StoreError> {
        let rows = self
            .usage(organization, hours, move |_| hours.start)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.part, row.usage_key, row.amounts))
            .collect())
    }

    /// Returns sums of a part in a span by hour. Days before the part's first hour are at their first hour.
    pub async fn sums_by_hour(
        &self,
        organization: &OrganizationName,
        part: &Part,
        hours: HourSpan,
    ) -> Result<Buckets, StoreError> {
        let part = part.clone();
        self.read_of(organization, move |db, organization| {
            let cells = UsageKeysById::load(db)?;
            let mut buckets = Buckets::new();
            let Some(part) = row_ids::find_part(db, organization, &part)? else {
                return Ok(buckets);
            };
            for ((hour, usage_key), amounts) in effective(db, &part, hours, |hour| hour)? {
                let bucket = buckets.entry(hour).or_default();
                bucket.insert(cells.get(usage_key)?.clone(), amounts);
            }
            Ok(buckets)
        })
        .await
    }

    /// Returns sums of a span by part, usage key and group of hours. `group` maps an hour to the first hour of its group.
    pub async fn usage(
        &self,
        organization: &OrganizationName,
        hours: HourSpan,
        group: impl Fn(Hour) -> Hour + Send + 'static,
    ) -> Result<Vec<UsageRow>, StoreError> {
        self.read_of(organization, move |db, organization| {
            let cells = UsageKeysById::load(db)?;
            let mut rows = Vec::new();
            for part in row_ids::parts(db, organization)? {
                if part.part == Part::Whole {
                    continue;
                }
                for ((hour, usage_key), amounts) in effective(db, &part, hours, &group)? {
                    rows.push(UsageRow {
                        part: part.part.clone(),
                        usage_key: cells.get(usage_key)?.clone(),
                        hour,
                        amounts,
                    });
                }
            }
            Ok(rows)
        })
        .await
    }

    /// Returns the sum of the API's own rows over all workspaces, by model, for each given bucket.
    pub async fn listed_sum(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
    ) -> Result<BTreeMap<Bucket, UsageByKey>, StoreError> {
        self.bucket_sums(organization, buckets, |part| {
            matches!(part, Part::Workspace(_))
        })
        .await
    }

    /// Returns the API's own rows of the whole, by model, for each given bucket.
    pub async fn whole(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
    ) -> Result<BTreeMap<Bucket, UsageByKey>, StoreError> {
        self.bucket_sums(organization, buckets, |part| *part == Part::Whole)
            .await
    }

    async fn bucket_sums(
        &self,
        organization: &OrganizationName,
        buckets: &[Bucket],
        is_wanted: fn(&Part) -> bool,
    ) -> Result<BTreeMap<Bucket, UsageByKey>, StoreError> {
        let (name, buckets) = (organization.clone(), buckets.to_vec());
        self.read(move |db| {
            let parts = match row_ids::find_organization_id(db, &name)? {
                Some(organization) => row_ids::parts(db, organization)?,
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
    cells: &UsageKeysById,
    organization: i64,
    part: &Part,
    hours: HourSpan,
) -> Result<StoredUsage, StoreErrorCause> {
    let Some(part) = row_ids::find_part_id(db, organization, part)? else {
        return Ok(StoredUsage::default());
    };
    let mut stored = StoredUsage {
        pending_removals: pending_removals(db, part, hours)?,
        ..StoredUsage::default()
    };
    for (kind, rows) in [
        (RowKind::Hour, &mut stored.hours),
        (RowKind::Booked, &mut stored.booked),
        (RowKind::Day, &mut stored.days),
    ] {
        for_rows(db, part, kind, hours, |hour, usage_key, amounts| {
            let bucket = rows.entry(hour).or_default();
            bucket.insert(cells.get(usage_key)?.clone(), amounts);
            Ok(())
        })?;
    }
    Ok(stored)
}

/// Returns the spans in which each kind of rows counts.
fn counted(coverage: &Coverage, hours: HourSpan) -> [(RowKind, HourSpan); 3] {
    // Without hours, every day counts by its day row.
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
        (RowKind::Hour, hourly),
        (RowKind::Booked, hourly),
        (RowKind::Day, daily),
    ]
}

/// Returns nonzero sums of a part in a span, by group and usage key.
fn effective(
    db: &Connection,
    part: &StoredPart,
    hours: HourSpan,
    group: impl Fn(Hour) -> Hour,
) -> Result<BTreeMap<(Hour, i64), Amounts>, StoreErrorCause> {
    let mut sums: BTreeMap<(Hour, i64), Amounts> = BTreeMap::new();
    for (kind, piece) in counted(&part.coverage, hours) {
        for_rows(db, part.id, kind, piece, |hour, usage_key, amounts| {
            let sum = sums.entry((group(hour), usage_key)).or_default();
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
) -> Result<BTreeMap<Bucket, UsageByKey>, StoreErrorCause> {
    let mut sums: BTreeMap<Bucket, BTreeMap<i64, Amounts>> = buckets
        .iter()
        .map(|bucket| (*bucket, BTreeMap::new()))
        .collect();
    let runs = runs(buckets);
    // Part by part, in the order of the rows in the file.
    for part in parts {
        for (granularity, span) in &runs {
            let kind = kind_for(*granularity);
            for_rows(db, *part, kind, *span, |hour, usage_key, amounts| {
                if let Some(by_cell) = sums.get_mut(&(*granularity, hour)) {
                    let sum = by_cell.entry(usage_key).or_default();
                    *sum = add(sum, &amounts)?;
                }
                Ok(())
            })?;
        }
    }
    let names = UsageKeysById::load(db)?;
    let named = |by_cell: BTreeMap<i64, Amounts>| -> Result<UsageByKey, StoreErrorCause> {
        let mut cells = UsageByKey::new();
        for (usage_key, amounts) in by_cell {
            let model = names.get(usage_key)?.model.clone();
            add_to(&mut cells, &UsageKey::for_model(model), amounts);
        }
        Ok(cells)
    };
    sums.into_iter()
        .map(|(bucket, by_cell)| Ok((bucket, named(by_cell)?)))
        .collect()
}

/// Merges consecutive buckets into spans.
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
    use crate::samples::{FIRST, ORGANIZATION, amounts, at, record_hour, store};
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use spendwatch_domain::ledger::change::effective as count;
    use spendwatch_domain::ledger::coverage::{Purpose, stale_change};
    use spendwatch_domain::ledger::record::{self};
    use spendwatch_domain::units::span::Day;
    use spendwatch_domain::usage::bucket::{Basis, Granularity, UsageResponse, add_to, sum};

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);

    #[test]
    fn consecutive_buckets_are_merged() {
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

    /// A response about a part: its first day, and dollars by model for some of its buckets.
    #[derive(Debug, Clone)]
    struct TestResponse {
        granularity: Granularity,
        first: i32,
        n_days: i32,
        minute: i64,
        buckets: Vec<(i32, u8, i64)>,
    }

    fn test_response() -> impl Strategy<Value = TestResponse> {
        let bucket = (0i32..72, 0u8..3, 0i64..50);
        (
            any::<bool>(),
            -3i32..2,
            1i32..3,
            0i64..4000,
            prop::collection::vec(bucket, 0..12),
        )
            .prop_map(|(is_hourly, first, n_days, minute, buckets)| TestResponse {
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

    fn usage_response(response: &TestResponse, part: &Part) -> UsageResponse {
        let hours = days(response.first, response.n_days);
        let mut buckets = Buckets::new();
        for (offset, model, dollars) in &response.buckets {
            let hour = hours.start.plus(*offset);
            let hour = match response.granularity {
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
        UsageResponse {
            part: part.clone(),
            granularity: response.granularity,
            hours,
            buckets,
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
        }
    }

    fn totals(buckets: &Buckets, hours: HourSpan) -> UsageByKey {
        let mut cells = UsageByKey::new();
        for (_, bucket) in buckets.iter().filter(|(hour, _)| hours.contains(**hour)) {
            for (model, amounts) in bucket {
                add_to(&mut cells, model, *amounts);
            }
        }
        cells
    }

    async fn check_replay(responses: &[TestResponse]) {
        let store = store().await;
        let organization = ORGANIZATION.into();
        let part = Part::Workspace("w".into());
        let mut coverage = Coverage::new(at(0));
        let mut recorded = UsageByKey::new();
        for response in responses {
            let usage = usage_response(response, &part);
            let purpose = match response.granularity {
                Granularity::Hour => Purpose::OpenHours,
                Granularity::Day => Purpose::Corrections,
            };
            let before = store
                .stored(&organization, &part, usage.hours)
                .await
                .unwrap();
            let change = record::record(
                &usage,
                purpose,
                &coverage,
                &before,
                SETTLE,
                at(response.minute),
            );
            coverage = change.coverage.clone();
            for delta in &change.deltas {
                add_to(&mut recorded, &delta.usage_key, delta.amounts);
            }
            store
                .record(&organization, vec![(part.clone(), change)], Vec::new())
                .await
                .unwrap();
            // `as_of` is written for all parts together, by later polls.
            let known = [(part.clone(), coverage.clone())].into();
            let behind = store
                .load_organization(&organization, at(0), at(0))
                .await
                .unwrap()
                .behind;
            if let Some(change) = stale_change(&known, &behind, at(response.minute)) {
                store.note_polled(&organization, change).await.unwrap();
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
                let sums: UsageByKey = sums
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
        if !responses.is_empty() {
            assert_eq!(state.coverages[&part], coverage);
        }
        let stored = state
            .recorded
            .into_iter()
            .map(|(_, model, amounts)| (model, amounts));
        let stored: UsageByKey = stored.filter(|(_, amounts)| !amounts.is_zero()).collect();
        assert_eq!(stored, recorded);
        assert!(store.check().await.unwrap().problems.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_store_returns_what_was_recorded(responses in prop::collection::vec(test_response(), 0..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(check_replay(&responses));
        }
    }

    #[tokio::test]
    async fn the_whole_is_not_summed_and_the_remainder_makes_no_remainder_due() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        let change_of = |part: &Part, dollars| {
            let response = TestResponse {
                granularity: Granularity::Hour,
                first: 0,
                n_days: 1,
                minute: 65,
                buckets: vec![(0, 0, dollars)],
            };
            let change = record::record(
                &usage_response(&response, part),
                Purpose::OpenHours,
                &Coverage::new(at(0)),
                &StoredUsage::default(),
                SETTLE,
                at(1),
            );
            (part.clone(), change)
        };
        let listed = Part::Workspace("w".into());
        let changes = vec![change_of(&listed, 3), change_of(&Part::Whole, 10)];
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
            .record(&organization, vec![change_of(&Part::Unattributed, 7)], due)
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
    async fn usage_is_grouped_by_the_given_function() {
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
    async fn organizations_are_separate() {
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
        assert_eq!(state.resume_state.store_began, at(3));
        assert!(
            state.coverages.is_empty()
                && state.recorded.is_empty()
                && state.due_remainders.is_empty()
        );
    }

    #[tokio::test]
    async fn a_failed_record_changes_nothing() {
        let store = store().await;
        record_hour(&store, "w", 0, 2).await.unwrap();
        let before = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        let part = Part::Workspace("w".into());
        let response = TestResponse {
            granularity: Granularity::Hour,
            first: 0,
            n_days: 1,
            minute: 9,
            buckets: vec![(3, 1, 5)],
        };
        let good = record::record(
            &usage_response(&response, &part),
            Purpose::OpenHours,
            &before.coverages[&part],
            &StoredUsage::default(),
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
        assert!(
            matches!(error.cause, StoreErrorCause::Overflow(_)),
            "{error}"
        );
        let after = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(after, before);
    }
}
