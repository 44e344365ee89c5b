//! A generated organization, with a ledger and figures as after weeks of operation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use spendwatch::cycle::state::gauge_and_rule_keys;
use spendwatch_domain::alerts::policy::Policy;
use spendwatch_domain::figures::totals::Figures;
use spendwatch_domain::ledger::change::{Delta, PartChanges, RowChange, RowKind};
use spendwatch_domain::ledger::coverage::{Coverage, DaySpan, StaleChange, StaleParts};
use spendwatch_domain::org::directory::{Directory, OrganizationInfo, Workspace};
use spendwatch_domain::units::ids::{OrganizationName, UNATTRIBUTED, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour};
use spendwatch_domain::usage::bucket::{Amounts, Part, Tokens, UsageKey};
use spendwatch_store::Store;

pub const SETTLE: SignedDuration = SignedDuration::from_mins(10);
const MODELS: [&str; 3] = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"];
/// Parts per transaction.
const BATCH: usize = 256;

/// Returns the same ids as `World::realistic`.
pub fn workspace(place: usize) -> WorkspaceId {
    WorkspaceId::new(format!("workspace_{place:05}"))
}

pub fn part(place: usize) -> Part {
    Part::Workspace(workspace(place))
}

pub fn directory(n_workspaces: usize, at: Timestamp) -> Directory {
    let listed = (0..n_workspaces).map(|place| Workspace {
        id: workspace(place),
        name: format!("Workspace {place}"),
        monthly_limit: Some(Usd::from_dollars(100_000)),
        requests_per_minute: Some(1_000),
        created_at: None,
        tags: BTreeMap::new(),
    });
    Directory {
        organization: Some(OrganizationInfo::default()),
        ..Directory::default().with_list(listed.collect(), at)
    }
}

/// Returns a workspace's usage in an hour: three models, and requests, which have no model.
pub fn cells(place: usize, hour: Hour) -> Vec<(UsageKey, Amounts)> {
    let of_place = i64::try_from(place % 97).expect("below 97");
    let size = 1 + of_place + i64::from(hour.count() % 24);
    let used = |rank: usize| Amounts {
        spend: Usd::from_pico(i128::from(size) * 12_345_678_900 * (rank as i128 + 1)),
        tokens: Tokens {
            input: size * 1_234,
            output: size * 345,
            cache_read: size * 6_789,
            ..Tokens::default()
        },
        ..Amounts::ZERO
    };
    let of_models = MODELS.iter().enumerate();
    let requests = Amounts {
        requests: size * 7,
        ..Amounts::ZERO
    };
    of_models
        .map(|(rank, model)| (UsageKey::from(*model), used(rank)))
        .chain([(UsageKey::from(UNATTRIBUTED), requests)])
        .collect()
}

/// Returns complete coverage at a time, with a number of days of hours and of days.
pub fn coverage(at: Timestamp, n_hourly_days: i32, n_days: i32) -> Coverage {
    let today = Day::containing(at);
    Coverage {
        as_of: Some(at),
        hours_from: Some(today.plus(-n_hourly_days)),
        days: Some(DaySpan {
            start: today.plus(-n_days),
            end: today,
        }),
        corrected_at: Some(at),
        ..Coverage::new(today.plus(-n_days).start())
    }
}

/// Returns figures of workspaces with usage in each of the last hours.
pub fn figures(policy: &Policy, n_workspaces: usize, at: Timestamp) -> Figures {
    let mut figures = Figures::new(&gauge_and_rule_keys(policy), SETTLE, at);
    let read = coverage(at, 14, 100);
    for place in 0..n_workspaces {
        let part = part(place);
        for back in 0..3 {
            let hour = Hour::containing(at).plus(-back);
            figures.apply(&part, &deltas(place, hour), &BTreeSet::new());
        }
        figures.set_coverage(&part, &read, true, true);
    }
    for part in [Part::Unattributed, Part::Whole] {
        figures.set_coverage(&part, &read, true, true);
    }
    figures
}

pub fn deltas(place: usize, hour: Hour) -> Vec<Delta> {
    let cells = cells(place, hour).into_iter();
    cells
        .map(|(usage_key, amounts)| Delta {
            hour,
            usage_key,
            amounts,
        })
        .collect()
}

pub fn recorded(rows: Vec<RowChange>, deltas: Vec<Delta>, coverage: Coverage) -> PartChanges {
    PartChanges {
        rows,
        deltas,
        pending_removals: Vec::new(),
        coverage,
        is_coverage_changed: true,
        decreased: BTreeSet::new(),
        touched: BTreeSet::new(),
        is_complete: true,
    }
}

/// Fills a store with hours up to the last midnight and with days. Returns the number of buckets: workspace × model × hour or
/// day.
pub async fn fill(
    store: &Store,
    organization: &OrganizationName,
    n_workspaces: usize,
    (n_hourly_days, n_days): (i32, i32),
    at: Timestamp,
) -> usize {
    store
        .load_organization(organization, at, at)
        .await
        .expect("a store");
    store
        .save_directory(organization, &directory(n_workspaces, at))
        .await
        .expect("a store");
    let read = coverage(at, n_hourly_days, n_days);
    let mut n_buckets = 0;
    let places: Vec<usize> = (0..n_workspaces).collect();
    for batch in places.chunks(BATCH) {
        let of_one = |place: &usize| {
            let rows = history(*place, (n_hourly_days, n_days), at);
            let sums = deltas(*place, Hour::containing(at));
            (part(*place), recorded(rows, sums, read.clone()))
        };
        let changes: Vec<_> = batch.iter().map(of_one).collect();
        n_buckets += changes
            .iter()
            .map(|(_, recorded)| recorded.rows.len())
            .sum::<usize>();
        store
            .record(organization, changes, Vec::new())
            .await
            .expect("a store");
    }
    let rest = [Part::Unattributed, Part::Whole]
        .map(|part| (part, recorded(Vec::new(), Vec::new(), read.clone())));
    store
        .record(organization, rest.to_vec(), Vec::new())
        .await
        .expect("a store");
    let polled = StaleChange {
        at,
        recovered: places
            .iter()
            .map(|place| part(*place))
            .chain([Part::Unattributed, Part::Whole])
            .collect(),
        newly_stale: StaleParts::new(),
    };
    store
        .note_polled(organization, polled)
        .await
        .expect("a store");
    n_buckets
}

/// Returns the history of one workspace. Only the newest hour has requests, so that three models are three buckets.
fn history(place: usize, (n_hourly_days, n_days): (i32, i32), at: Timestamp) -> Vec<RowChange> {
    let today = Day::containing(at);
    let row = |kind, hour: Hour, (usage_key, amounts)| RowChange {
        kind,
        hour,
        usage_key,
        amounts,
    };
    let of_models = move |hour| cells(place, hour).into_iter().take(MODELS.len());
    let first = today.plus(-n_hourly_days).first_hour();
    let hours = (first.count()..today.first_hour().count()).map(Hour::from_count);
    let hourly = hours
        .flat_map(|hour| of_models(hour).map(move |usage_key| row(RowKind::Hour, hour, usage_key)));
    let days = (1..=n_days).map(|back| today.plus(-back).first_hour());
    let daily = days
        .flat_map(|hour| of_models(hour).map(move |usage_key| row(RowKind::Day, hour, usage_key)));
    hourly.chain(daily).collect()
}
