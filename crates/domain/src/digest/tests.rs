use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::create::{DigestInput, create, idle_keys};
use super::forecast::{forecast, forecast_spans};
use super::gaps::{gaps, is_complete};
use super::period::{DigestAction, last_closed_period, next_action, pieces};
use super::*;
use crate::alerts::measure::Measurement;
use crate::figures::figure::Figure;
use crate::figures::snapshot::OrganizationSnapshot;
use crate::figures::totals::Figures;
use crate::ledger::coverage::Coverage;
use crate::org::directory::{Directory, Presence};
use crate::org::inventory::{Inventory, InventoryKey};
use crate::units::ids::WorkspaceId;
use crate::units::period::Period;
use crate::units::period::Zone;
use crate::units::privacy::Privacy;
use crate::units::schedule::Schedule;
use crate::units::span::Day;
use crate::units::span::Hour;
use crate::units::subject::SubjectKind;
use crate::usage::bucket::Part;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn check_closed(period: Period, zone: &str, slot: &str, expected: &str) {
    let zone = TimeZone::get(zone).unwrap();
    let closed = last_closed_period(period, &zone, at(slot));
    let span = closed.cut.span;
    let actual = format!("{} {} {}", closed.before.span.start, span.start, span.end);
    assert_eq!(actual, expected);
}

#[test]
fn digests_cover_the_last_closed_period() {
    check_closed(
        Period::Week,
        "Europe/Berlin",
        "2026-11-23T08:00:00Z",
        "2026-11-08T23:00:00Z 2026-11-15T23:00:00Z 2026-11-22T23:00:00Z",
    );
    check_closed(
        Period::Month,
        "UTC",
        "2026-12-01T00:00:00Z",
        "2026-10-01T00:00:00Z 2026-11-01T00:00:00Z 2026-12-01T00:00:00Z",
    );
    check_closed(
        Period::Day,
        "UTC",
        "2026-11-23T00:00:00Z",
        "2026-11-21T00:00:00Z 2026-11-22T00:00:00Z 2026-11-23T00:00:00Z",
    );
    check_closed(
        Period::Rolling(24),
        "UTC",
        "2026-11-23T09:30:00Z",
        "2026-11-21T09:00:00Z 2026-11-22T09:00:00Z 2026-11-23T09:00:00Z",
    );
}

#[track_caller]
fn check_action(last: Option<&str>, now: &str, expected: DigestAction) {
    let schedule = Schedule::parse("0 0 9 * * *", Zone::utc()).unwrap();
    assert_eq!(next_action(&schedule, last.map(at), at(now)), expected);
}

#[test]
fn each_slot_is_handled_once() {
    let now = "2026-11-24T10:00:00Z";
    check_action(None, now, DigestAction::Count(at(now)));
    check_action(Some("2026-11-24T09:00:00Z"), now, DigestAction::Rest);
    let due = |since| DigestAction::Due {
        slot: at("2026-11-24T09:00:00Z"),
        since: at(since),
    };
    check_action(
        Some("2026-11-23T09:00:00Z"),
        now,
        due("2026-11-24T09:00:00Z"),
    );
    check_action(
        Some("2026-11-20T09:00:00Z"),
        now,
        due("2026-11-21T09:00:00Z"),
    );
    check_action(
        Some("2030-01-01T09:00:00Z"),
        now,
        DigestAction::Count(at(now)),
    );
}

fn coverage(from: &str, as_of: Option<&str>) -> Coverage {
    Coverage {
        as_of: as_of.map(at),
        hours_from: Some(Day::containing(at(from))),
        ..Coverage::new(at(from))
    }
}

#[track_caller]
fn check_gaps(coverages: &[Option<Coverage>], expected: &[DataGap], is_expected_complete: bool) {
    let closed = last_closed_period(Period::Week, &TimeZone::UTC, at("2026-11-23T08:00:00Z"));
    let parts: Vec<_> = coverages
        .iter()
        .enumerate()
        .map(|(place, coverage)| (format!("w{place}"), coverage.as_ref()))
        .collect();
    let gaps = gaps(&parts, &closed, SignedDuration::from_mins(10));
    assert_eq!(gaps, expected);
    assert_eq!(is_complete(&gaps), is_expected_complete);
}

#[test]
fn gaps_are_listed_and_stale_parts_awaited() {
    let good = || {
        Some(coverage(
            "2026-11-01T00:00:00Z",
            Some("2026-11-23T00:10:00Z"),
        ))
    };
    check_gaps(&[good(), good()], &[], true);
    let behind = "2026-11-23T00:09:59Z";
    let stale = DataGap::Stale {
        name: "w0".to_owned(),
        as_of: at(behind),
    };
    let late = Some(coverage("2026-11-01T00:00:00Z", Some(behind)));
    check_gaps(&[late.clone(), good()], &[stale], false);
    check_gaps(
        &[None, good()],
        &[DataGap::Unread { n: 1, n_all: 2 }],
        false,
    );
    let young = coverage("2026-11-10T00:00:00Z", Some("2026-11-23T08:00:00Z"));
    let known_from = DataGap::KnownFrom {
        at: at("2026-11-10T00:00:00Z"),
    };
    check_gaps(&[Some(young), good()], &[known_from], true);
}

fn row(workspace: &str, model: &str, hour: Hour, dollars: i64) -> UsageRow {
    UsageRow {
        part: Part::Workspace(workspace.into()),
        usage_key: model.into(),
        hour,
        amounts: Amounts {
            spend: Usd::from_dollars(dollars),
            ..Amounts::ZERO
        },
    }
}

#[track_caller]
fn check_forecast(now: &str, so_far: i64, last_week: i64, expected: &str) {
    let now = at(now);
    let spans = forecast_spans(&TimeZone::UTC, Hour::containing(now).plus(-1), now);
    let spent = |dollars| [row("w", "m", spans.last_week.start, dollars)];
    let actual = forecast(&spans, &spent(so_far), &spent(last_week)).unwrap();
    let week = spans.last_week.span();
    assert_eq!(week.duration(), SignedDuration::from_hours(7 * 24));
    let months = format!(
        "{} {} {}",
        actual.label,
        spans.so_far.span().start,
        week.end
    );
    assert_eq!(format!("{months} {}", actual.spend), expected);
}

#[test]
fn forecasts_extrapolate_the_last_seven_days() {
    // Ten days are left, and each day of the last week cost 100 USD.
    let expected = "2026-11 2026-11-01T00:00:00Z 2026-11-21T00:00:00Z 3000";
    check_forecast("2026-11-21T00:30:00Z", 2000, 700, expected);
    // No hour of the month is settled yet, so the whole month is extrapolated.
    let expected = "2026-12 2026-12-01T00:00:00Z 2026-12-01T00:00:00Z 3100";
    check_forecast("2026-12-01T00:30:00Z", 0, 700, expected);
    let expected = "2026-11 2026-11-01T00:00:00Z 2026-11-30T23:00:00Z 2999";
    check_forecast("2026-11-30T23:30:00Z", 2998, 168, expected);
}

#[test]
fn tokens_without_a_price_prevent_a_forecast() {
    let now = at("2026-11-21T00:30:00Z");
    let spans = forecast_spans(&TimeZone::UTC, Hour::containing(now).plus(-1), now);
    let priced = [row("w", "m", spans.last_week.start, 700)];
    let mut unpriced = priced.clone();
    unpriced[0].amounts.unpriced = 1;
    assert!(forecast(&spans, &priced, &priced).is_some());
    assert_eq!(forecast(&spans, &unpriced, &priced), None);
    assert_eq!(forecast(&spans, &priced, &unpriced), None);
}

/// Creates a weekly digest of workspaces that spent (this week, the week before) in USD.
fn digest_of(spent: &[(i64, i64)], gaps: &[DataGap]) -> Digest {
    let closed = last_closed_period(Period::Week, &TimeZone::UTC, at("2026-11-23T08:00:00Z"));
    let pieces = pieces(Period::Week, &TimeZone::UTC, closed.cut.span);
    let rows = |span: Span, amount: fn(&(i64, i64)) -> i64| -> Vec<UsageRow> {
        let first = span.hours().start;
        let each = spent.iter().enumerate();
        each.map(|(place, spent)| {
            let hour = first.plus(i32::try_from(place % 7).unwrap() * 24 + 5);
            row(&format!("w{place:02}"), "m", hour, amount(spent))
        })
        .collect()
    };
    let now = at("2026-11-23T08:00:00Z");
    let figures = Figures::new(&[], SignedDuration::from_mins(10), now);
    let source = DigestInput {
        snapshot: OrganizationSnapshot {
            organization: &"acme".into(),
            directory: &Directory::default(),
            inventory: &Inventory::UNKNOWN,
            teams: &[],
            figures: &figures,
            privacy: Privacy::default(),
        },
        name: "weekly",
        zone_name: "UTC",
        closed: &closed,
        pieces: &pieces,
        rows: &rows(closed.cut.span, |spent| spent.0),
        rows_before: &rows(closed.before.span, |spent| spent.1),
        forecast: None,
        rules: &[],
        measurements: &[],
        gaps,
        audit: None,
    };
    create(&source, std::iter::empty(), now)
}

fn names(breakdown: &SpendBreakdown) -> Vec<&str> {
    breakdown.lines.iter().map(|line| &*line.name).collect()
}

#[test]
fn movers_are_listed_in_both_directions_and_the_rest_is_summed() {
    let spent = [
        (5, 5),
        (9, 1),
        (1, 9),
        (7, 6),
        (6, 7),
        (8, 2),
        (2, 8),
        (50, 50),
    ];
    let digest = digest_of(&spent, &[]);
    assert_eq!(digest.spend, Usd::from_dollars(88));
    assert_eq!(
        names(&digest.movers),
        ["w01", "w05", "w03", "w04", "w06", "w02"]
    );
    let rest = digest.movers.rest.map(|rest| (rest.n, rest.spend));
    assert_eq!(rest, Some((2, Usd::from_dollars(55))));
    assert_eq!(digest.teams, SpendBreakdown::default(), "no teams");
}

#[test]
fn an_unknown_previous_week_is_not_compared() {
    let gap = DataGap::KnownFrom {
        at: at("2026-11-12T00:00:00Z"),
    };
    let digest = digest_of(&[(5, 4)], &[gap]);
    assert_eq!(digest.before, None);
    assert_eq!(digest.workspaces.lines[0].before, None);
    assert_eq!(digest.movers, SpendBreakdown::default());
}

#[test]
fn idle_keys_are_sorted_longest_first() {
    let key = |workspace: Option<&str>| InventoryKey {
        name: String::new(),
        presence: Presence::Listed,
        is_active: true,
        workspace: workspace.map(WorkspaceId::from),
        created_by: None,
        created_at: None,
        expires_at: None,
        idle_since: None,
    };
    let mut directory = Directory::default();
    directory.keys.insert("b".into(), "ci".to_owned());
    let inventory = Inventory {
        keys: Some(BTreeMap::from([
            ("a".into(), key(None)),
            ("b".into(), key(Some("w"))),
        ])),
        ..Inventory::UNKNOWN
    };
    let now = at("2026-11-23T08:00:00Z");
    let figures = Figures::new(&[], SignedDuration::from_mins(10), now);
    let snapshot = OrganizationSnapshot {
        organization: &"acme".into(),
        directory: &directory,
        inventory: &inventory,
        teams: &[],
        figures: &figures,
        privacy: Privacy::default(),
    };
    let measured = |id: &str, event, since: &str, value| Measurement {
        rule: 0,
        subject: Subject::new(SubjectKind::ApiKey, id),
        figure: Figure::Known(value),
        limit: Some(2),
        label: None,
        event: Some(event),
        span: Span {
            start: at(since),
            end: now,
        },
        is_closed: false,
        is_corrected_down: false,
        as_of: Some(now),
        sides: None,
    };
    let (early, late) = ("2026-08-01T00:00:00Z", "2026-08-02T00:00:00Z");
    let measurements = [
        measured("a", Event::KeyIdle, late, 2),
        measured("b", Event::KeyIdle, early, 2),
        measured("b", Event::KeyIdle, early, 1),
        measured("c", Event::KeyIdle, early, 0),
        measured("a", Event::KeyExpiring, early, 2),
    ];
    let idle = idle_keys(&snapshot, &measurements).unwrap();
    let actual: Vec<_> = idle
        .first
        .iter()
        .map(|key| (&*key.name, key.workspace.as_deref(), key.since))
        .collect();
    let expected = [("ci", Some("w"), at(early)), ("a", None, at(late))];
    assert_eq!((actual, idle.n_more), (expected.to_vec(), 0));
    let unlisted = OrganizationSnapshot {
        inventory: &Inventory::UNKNOWN,
        ..snapshot
    };
    assert_eq!(idle_keys(&unlisted, &measurements), None);
}

proptest! {
    #[test]
    fn parts_sum_to_the_total(spent in prop::collection::vec((0i64..1000, 0i64..1000), 0..30)) {
        let digest = digest_of(&spent, &[]);
        for breakdown in [&digest.workspaces, &digest.movers, &digest.models] {
            let lines = breakdown.lines.iter().map(|line| line.spend);
            let rest = breakdown.rest.map(|rest| rest.spend);
            prop_assert_eq!(lines.chain(rest).sum::<Usd>(), digest.spend);
            let lines = breakdown.lines.iter().filter_map(|line| line.before);
            let rest = breakdown.rest.and_then(|rest| rest.before);
            prop_assert_eq!(Some(lines.chain(rest).sum::<Usd>()), digest.before);
        }
        let series: Usd = digest.series.iter().map(|(_, spend)| *spend).sum();
        prop_assert_eq!(series, digest.spend);
        prop_assert_eq!(digest.series.len(), 7);
    }
}
