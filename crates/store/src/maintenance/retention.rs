//! Deletes rows older than the retention and adjusts coverage. Totals are kept.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, granularity_number, kind_number};
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::{self, StoredPart};
use spendwatch_domain::ledger::change::RowKind;
use spendwatch_domain::ledger::coverage::{Coverage, DaySpan};
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::{Granularity, Part};

/// Maximum number of parts per transaction, so that other writes do not wait long.
const PARTS_AT_ONCE: usize = 100;

/// Result of applying the retention.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionSummary {
    pub n_rows: usize,
    /// Parts whose coverage changed.
    pub coverages: Vec<(Part, Coverage)>,
}

impl Store {
    /// Deletes hours of days before `hourly_before` if a day row replaces them, and day rows before `daily_before`. Must not run
    /// concurrently with [`Store::record`], whose coverage would be outdated.
    pub async fn drop_older(
        &self,
        organization: &OrganizationName,
        hourly_before: Day,
        daily_before: Day,
    ) -> Result<RetentionSummary, StoreError> {
        let parts = self
            .read_of(organization, move |db, organization| {
                parts_to_cut(db, organization, hourly_before, daily_before)
            })
            .await?;
        let mut dropped = RetentionSummary::default();
        for chunk in parts.chunks(PARTS_AT_ONCE) {
            let chunk = chunk.to_vec();
            let more = self
                .write_of(organization, "drop_older", move |tx, organization| {
                    drop_remainders(tx, organization, hourly_before, daily_before)?;
                    cut_parts(tx, organization, &chunk)
                })
                .await?;
            dropped.n_rows += more.n_rows;
            dropped.coverages.extend(more.coverages);
        }
        Ok(dropped)
    }

    /// Deletes delivered and folded messages, and ended alerts of past periods, from before `finished_before`, and dead letters
    /// from before `dead_before`, and threads whose alert and messages are deleted. Returns the number of rows.
    pub async fn drop_history(
        &self,
        finished_before: Timestamp,
        dead_before: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write("drop_history", move |tx| {
            let n_finished = tx.execute(
                "DELETE FROM outbox WHERE state IN ('delivered', 'folded') AND finished_at < ?1",
                [StoredTime(finished_before)],
            )?;
            let n_dead = tx.execute(
                "DELETE FROM outbox WHERE state = 'dead' AND finished_at < ?1",
                [StoredTime(dead_before)],
            )?;
            let n_alerts = tx.execute(
                "DELETE FROM alerts WHERE phase = 'resolved' AND ended_at < ?1 AND period_end < ?1",
                [StoredTime(finished_before)],
            )?;
            let n_threads = tx.execute(
                "DELETE FROM threads WHERE began_at < ?1
                     AND fingerprint NOT IN (SELECT fingerprint FROM alerts)
                     AND fingerprint NOT IN (SELECT a.fingerprint FROM outbox_alerts a JOIN outbox o USING (position))",
                [StoredTime(finished_before)],
            )?;
            Ok(n_finished + n_dead + n_alerts + n_threads)
        })
        .await
    }
}

/// Returns the coverage after deleting older days. Hours are deleted day by day, as long as a day row replaces them or is
/// beyond the retention too, so that no figure within the retention changes.
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
    // A fully deleted span remains as an empty one, so that its days are not fetched again.
    next.days = coverage.days.map(|days| DaySpan {
        start: days.start.max(daily_before.min(days.end)),
        end: days.end,
    });
    next
}

fn parts_to_cut(
    db: &Connection,
    organization: i64,
    hourly_before: Day,
    daily_before: Day,
) -> Result<Vec<(StoredPart, Coverage)>, StoreErrorCause> {
    let with_cut = |part: StoredPart| {
        let next = cut(&part.coverage, hourly_before, daily_before);
        (next != part.coverage).then_some((part, next))
    };
    Ok(row_ids::parts(db, organization)?
        .into_iter()
        .filter_map(with_cut)
        .collect())
}

fn cut_parts(
    tx: &Transaction<'_>,
    organization: i64,
    parts: &[(StoredPart, Coverage)],
) -> Result<RetentionSummary, StoreErrorCause> {
    let drop_rows = |part: i64, kind: RowKind, end: Day| {
        let sql = "DELETE FROM usage WHERE part_id = ?1 AND kind = ?2 AND hour < ?3";
        query::run(
            tx,
            sql,
            params![part, kind_number(kind), end.first_hour().count()],
        )
    };
    let drop_doubts = |part: i64, granularity: Granularity, end: Day| {
        let sql = "DELETE FROM doubts WHERE part_id = ?1 AND granularity = ?2 AND hour < ?3";
        let granularity = granularity_number(granularity);
        query::run(
            tx,
            sql,
            params![part, granularity, end.first_hour().count()],
        )
    };
    let mut dropped = RetentionSummary::default();
    for (part, next) in parts {
        row_ids::save_part(tx, organization, &part.part, next)?;
        if let Some(from) = next.hours_from {
            dropped.n_rows += drop_rows(part.id, RowKind::Hour, from)?;
            dropped.n_rows += drop_rows(part.id, RowKind::Booked, from)?;
            drop_doubts(part.id, Granularity::Hour, from)?;
        }
        if let Some(days) = next.days {
            dropped.n_rows += drop_rows(part.id, RowKind::Day, days.start)?;
            drop_doubts(part.id, Granularity::Day, days.start)?;
        }
        dropped.coverages.push((part.part.clone(), next.clone()));
    }
    Ok(dropped)
}

/// Deletes due remainders whose rows are deleted.
fn drop_remainders(
    tx: &Transaction<'_>,
    organization: i64,
    hourly_before: Day,
    daily_before: Day,
) -> Result<(), StoreErrorCause> {
    for (granularity, before) in [
        (Granularity::Hour, hourly_before),
        (Granularity::Day, daily_before),
    ] {
        query::run(
            tx,
            "DELETE FROM due_remainders WHERE organization_id = ?1 AND granularity = ?2 AND hour < ?3",
            params![
                organization,
                granularity_number(granularity),
                before.first_hour().count()
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::Commit;
    use crate::outbox::notifiers::NotifierState;
    use crate::outbox::{AttemptOutcome, NewMessage};
    use crate::samples::{FIRST, ORGANIZATION, alert, amounts, at, fact, resume_state, store};
    use jiff::SignedDuration;
    use spendwatch_domain::alerts::alert::{EndedBy, State};
    use spendwatch_domain::alerts::notification::{Reason, Thread};
    use spendwatch_domain::ledger::change::{PartChanges, RowChange};
    use spendwatch_domain::units::span::HourSpan;

    fn day(n: i32) -> Day {
        FIRST.day().plus(n)
    }

    /// Day rows of days 0 to 5, hours of days 3 to 5; the row of day 5 is not settled yet.
    fn coverage() -> Coverage {
        Coverage {
            hours_from: Some(day(3)),
            days: Some(DaySpan {
                start: day(0),
                end: day(5),
            }),
            recheck: BTreeSet::from([day(3), day(4)]),
            ..Coverage::new(at(0))
        }
    }

    #[track_caller]
    fn check_cut(hourly_before: i32, daily_before: i32, hours_from: i32, days: (i32, i32)) {
        let next = cut(&coverage(), day(hourly_before), day(daily_before));
        assert_eq!(next.hours_from, Some(day(hours_from)));
        let (start, end) = (day(days.0), day(days.1));
        assert_eq!(next.days, Some(DaySpan { start, end }));
        assert!(
            next.recheck
                .iter()
                .all(|day| *day >= next.hours_from.unwrap())
        );
    }

    #[test]
    fn hours_are_deleted_where_day_rows_replace_them() {
        check_cut(0, 0, 3, (0, 5));
        check_cut(4, 0, 4, (0, 5));
        // Day 5 has no settled row, so its hours are kept.
        check_cut(9, 0, 5, (0, 5));
        check_cut(4, 2, 4, (2, 5));
        // Beyond both retentions, no day row is needed.
        check_cut(9, 9, 9, (5, 5));
        // With a longer retention for hours than for days.
        check_cut(2, 4, 3, (4, 5));
    }

    async fn fill(store: &Store, part: &Part) {
        let row = |kind, hour, dollars| RowChange {
            kind,
            hour,
            usage_key: "m".into(),
            amounts: amounts(dollars),
        };
        let mut rows = Vec::new();
        for n in 0..5 {
            rows.push(row(RowKind::Day, day(n).first_hour(), 10));
        }
        for n in 3..6 {
            rows.push(row(RowKind::Hour, day(n).first_hour().plus(7), 10));
        }
        let recorded = PartChanges {
            rows,
            deltas: Vec::new(),
            pending_removals: Vec::new(),
            coverage: coverage(),
            is_coverage_changed: true,
            decreased: BTreeSet::new(),
            touched: BTreeSet::from([(Granularity::Hour, day(3).first_hour())]),
            is_complete: true,
        };
        store
            .record(
                &ORGANIZATION.into(),
                vec![(part.clone(), recorded)],
                Vec::new(),
            )
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn retention_changes_no_remaining_figure() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        for n in 0..150 {
            fill(&store, &Part::Workspace(format!("w{n}").as_str().into())).await;
        }
        let retained = HourSpan {
            start: day(1).first_hour(),
            end: day(6).first_hour(),
        };
        let before = store.sums(&organization, retained).await.unwrap();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        let dropped = store
            .drop_older(&organization, day(5), day(1))
            .await
            .unwrap();
        assert_eq!((dropped.n_rows, dropped.coverages.len()), (150 * 3, 150));
        assert_eq!(store.sums(&organization, retained).await.unwrap(), before);
        let after = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert_eq!(after.recorded, state.recorded);
        assert!(after.due_remainders.is_empty());
        assert_eq!(after.coverages, dropped.coverages.into_iter().collect());
        let again = store
            .drop_older(&organization, day(5), day(1))
            .await
            .unwrap();
        assert_eq!(again, RetentionSummary::default());
    }

    #[tokio::test]
    async fn threads_are_deleted_after_their_alert_and_messages() {
        let store = store().await;
        let message = NewMessage {
            id: "one".to_owned(),
            notifier: "slack".into(),
            recipient: None,
            facts: vec![fact("over", 1, Reason::First)],
            not_before: at(1),
            expires: at(9000),
        };
        let mut over = alert("over", 2);
        over.state = State::Ended {
            by: EndedBy::Cleared,
            at: at(2),
            threshold: over.threshold().clone(),
        };
        let end = over.span.end;
        let commit = Commit {
            alerts: vec![over],
            messages: vec![message],
            resume_state: resume_state(1),
            at: at(1),
        };
        let organization = ORGANIZATION.into();
        store.commit_decision(&organization, commit).await.unwrap();
        let thread = Thread {
            channel: "C1".to_owned(),
            ts: "1.1".to_owned(),
        };
        let well = NotifierState::default();
        let posted = AttemptOutcome::Posted { thread };
        store.finish("one", posted, well, at(3)).await.unwrap();
        let long_after = end + SignedDuration::from_secs(1);
        assert_eq!(
            store.drop_history(at(4), at(3)).await.unwrap(),
            1,
            "the message"
        );
        let n_dropped = store.drop_history(long_after, at(3)).await.unwrap();
        assert_eq!(n_dropped, 2, "the alert and its thread");
    }

    #[tokio::test]
    async fn old_messages_and_alerts_are_deleted_unless_still_needed() {
        let store = store().await;
        let mut over = alert("over", 2);
        over.state = State::Ended {
            by: EndedBy::Cleared,
            at: at(2),
            threshold: over.threshold().clone(),
        };
        let end = over.span.end;
        let message = |id: &str| NewMessage {
            id: id.to_owned(),
            notifier: "slack".into(),
            recipient: None,
            facts: vec![fact(id, 1, Reason::First)],
            not_before: at(1),
            expires: at(9000),
        };
        let commit = Commit {
            alerts: vec![over, alert("firing", 1)],
            messages: ["delivered", "dead", "waiting"].map(message).into(),
            resume_state: resume_state(1),
            at: at(1),
        };
        store
            .commit_decision(&ORGANIZATION.into(), commit)
            .await
            .unwrap();
        store
            .finish(
                "delivered",
                AttemptOutcome::Delivered,
                NotifierState::default(),
                at(3),
            )
            .await
            .unwrap();
        store
            .finish(
                "dead",
                AttemptOutcome::Dead {
                    error: "410".to_owned(),
                },
                NotifierState::default(),
                at(3),
            )
            .await
            .unwrap();
        assert_eq!(store.drop_history(at(3), at(3)).await.unwrap(), 0);
        assert_eq!(
            store.drop_history(at(4), at(3)).await.unwrap(),
            1,
            "the period goes on"
        );
        assert_eq!(
            store
                .drop_history(end + SignedDuration::from_secs(1), at(3))
                .await
                .unwrap(),
            1
        );
        assert_eq!(store.drop_history(at(4), at(4)).await.unwrap(), 1);
        let report = store.check().await.unwrap();
        assert_eq!((report.n_alerts, report.n_messages), (1, 1));
        assert!(report.problems.is_empty());
    }
}
