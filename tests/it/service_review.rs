//! Faults of the real API: bills that disappear, interrupted reading, and temporary refusals.

use jiff::SignedDuration;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::figures::figure::Figure;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::span::Hour;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::{Amounts, Part};
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;

use crate::harness::{WatcherFixture, at, each, hours, organization, rule};

const SONNET: &str = "claude-sonnet-4-5";

fn world() -> World {
    let mut world = World::seeded(7);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let since = at("2026-11-10T00:00:00Z");
    world.add_spend_pattern("wrkspc_a", SONNET, 3_600_000, false, since);
    world.add_spend_pattern("wrkspc_b", SONNET, 1_200_000, false, since);
    world
}

async fn fixture(world: World, dialect: Dialect, now: &str) -> WatcherFixture {
    let mut fixture = WatcherFixture::new(world, now).await;
    fixture.dialect = dialect;
    fixture
}

#[tokio::test]
async fn empty_bill_removes_nothing_at_once() {
    for (dialect, endpoint) in [
        (Dialect::Analytics, "analytics_cost"),
        (Dialect::Reports, "cost_report"),
    ] {
        let mut world = world();
        world.refresh_lag = SignedDuration::from_mins(70);
        let fixture = fixture(world, dialect, "2026-11-24T13:05:00Z").await;
        let fixture = fixture.with_rule(rule("month", SubjectKind::Organization, 1_000_000));
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        let month = hours("2026-11-01T00:00:00Z", "2026-11-24T10:00:00Z");
        let before = fixture.ledger(&store, None, month).await;
        fixture
            .simulator
            .inject_fault(FaultTarget::endpoint(endpoint), ServerFault::NoRows);
        let report = fixture.cycle_after(65, &mut watcher).await;
        let after = fixture.ledger(&store, None, month).await;
        assert!(
            after >= before,
            "{dialect}: {after} after {before}: {report:?}"
        );
        assert_ne!(report.errors, Vec::<String>::new(), "{dialect}");
        // Hours without a bill and the newest data are unconfirmed; past days are not affected.
        if dialect == Dialect::Analytics {
            let figure = watcher.measurements[0].figure;
            assert!(!matches!(figure, Figure::Known(_)), "{dialect}: {figure:?}");
        }
        fixture.simulator.clear_faults();
        let report = fixture.cycle_after(65, &mut watcher).await;
        assert_eq!(report.errors, Vec::<String>::new(), "{dialect}");
        let again = fixture.ledger(&store, None, month).await;
        assert_eq!(again, before, "{dialect}");
    }
}

#[tokio::test]
async fn interrupted_catch_up_is_not_fresh() {
    for (dialect, endpoint, n_before) in [
        (Dialect::Analytics, "analytics_cost", 1),
        (Dialect::Reports, "messages", 6),
    ] {
        let day = each(
            Period::Day,
            rule("day", SubjectKind::Organization, 1_000_000),
        );
        let fixture = fixture(world(), dialect, "2026-11-20T13:05:00Z").await;
        let fixture =
            fixture
                .with_rule(day)
                .with_rule(rule("month", SubjectKind::Organization, 1_000_000));
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        // After an outage of two days, the current day cannot be read.
        let on = FaultTarget::endpoint(endpoint).after(n_before);
        fixture
            .simulator
            .inject_fault(on, ServerFault::Status(400, "{}".to_owned(), None));
        let report = fixture.cycle_after(2 * 24 * 60, &mut watcher).await;
        assert_ne!(report.errors, Vec::<String>::new());
        let fresh: Vec<_> = watcher
            .measurements
            .iter()
            .filter(|m| !m.is_closed && matches!(m.figure, Figure::Known(_)))
            .collect();
        assert!(
            fresh.is_empty(),
            "{dialect}: {fresh:?} {:?} {:?}",
            report,
            watcher.coverages[&Part::Whole]
        );
        assert_eq!(report.n_fresh, 0, "{dialect}");
    }
}

#[tokio::test]
async fn refused_estimate_keeps_last_value() {
    let mut world = world();
    world.refreshed_until = Some(at("2026-11-24T08:40:00Z"));
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let unbilled = hours("2026-11-24T10:00:00Z", "2026-11-24T13:00:00Z");
    let before = fixture.ledger(&store, None, unbilled).await;
    assert!(before > Usd::from_dollars(1));
    fixture.simulator.world().api = SimulatedApi::Platform(PlatformOptions {
        reports: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    });
    fixture.simulator.world().refreshed_until = Some(at("2026-11-24T09:40:00Z"));
    for minutes in 0..8 {
        fixture.simulator.world().refreshed_until =
            Some(at("2026-11-24T09:40:00Z") + SignedDuration::from_mins(minutes));
        fixture.cycle_after(15, &mut watcher).await;
    }
    assert_eq!(fixture.ledger(&store, None, unbilled).await, before);
    // Once it is reported again, everything matches.
    fixture.simulator.world().api = SimulatedApi::Platform(PlatformOptions::default());
    for _ in 0..5 {
        fixture.cycle_after(20, &mut watcher).await;
    }
    fixture.simulator.world().refreshed_until = Some(fixture.now());
    fixture.cycle_after(5, &mut watcher).await;
    let closed = hours("2026-11-01T00:00:00Z", "2026-11-24T16:00:00Z");
    let truth = fixture.simulator.world().spent(None, closed, fixture.now());
    assert_eq!(fixture.ledger(&store, None, closed).await, truth);
}

#[tokio::test]
async fn default_workspace_id_learned_later_doubles_nothing() {
    let mut world = world();
    world.add_spend_pattern("", SONNET, 5_000_000, false, at("2026-11-10T00:00:00Z"));
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    watcher.directory.default_workspace = None;
    fixture.cycle(&mut watcher).await;
    let mut worst = Usd::ZERO;
    for _ in 0..30 {
        let closed = hours("2026-11-01T00:00:00Z", "2026-11-24T13:00:00Z");
        let found = fixture.ledger(&store, None, closed).await;
        let truth = fixture.simulator.world().spent(None, closed, fixture.now());
        worst = worst.max((found - truth).abs());
        fixture.cycle_after(5, &mut watcher).await;
    }
    assert!(worst < Usd::parse("0.02").unwrap(), "{worst}");
}

#[tokio::test]
async fn moving_watermark_matches_truth() {
    let mut world = world();
    world.refreshed_until = Some(at("2026-11-23T22:00:00Z"));
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T00:03:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    for mark in [
        "2026-11-23T23:00:00Z",
        "2026-11-24T00:00:00Z",
        "2026-11-23T20:30:00Z",
        "2026-11-24T01:00:00Z",
        "2026-11-23T12:00:00Z",
        "2030-01-01T00:00:00Z",
        "2026-11-24T00:30:00Z",
        "2026-11-24T02:00:00Z",
    ] {
        fixture.simulator.world().refreshed_until = Some(at(mark));
        for _ in 0..3 {
            let report = fixture.cycle_after(7, &mut watcher).await;
            assert_eq!(report.errors, Vec::<String>::new(), "{mark}");
        }
        let until = Hour::containing(at(mark).min(fixture.now()));
        let billed = spendwatch_domain::units::span::HourSpan {
            start: Hour::containing(at("2026-11-01T00:00:00Z")),
            end: until,
        };
        let truth = fixture.simulator.world().spent(None, billed, fixture.now());
        assert_eq!(fixture.ledger(&store, None, billed).await, truth, "{mark}");
    }
}

/// The bill is complete up to at least a day ago; the rest is estimated.
#[tokio::test]
async fn without_watermark_newest_day_is_estimated() {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_hours(5);
    world.api = SimulatedApi::Platform(PlatformOptions {
        hides_watermark: true,
        ..PlatformOptions::default()
    });
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let report = fixture.cycle(&mut watcher).await;
    assert_eq!(report.errors, Vec::<String>::new());
    let mut billed = hours("2026-11-01T00:00:00Z", "2026-11-23T13:00:00Z");
    let newest = hours("2026-11-23T13:00:00Z", "2026-11-24T14:00:00Z");
    let estimated = |span| {
        let store = &store;
        async move {
            let sums = store.sums(&organization(), span).await.unwrap();
            sums.iter().fold(Amounts::ZERO, |sum, (_, _, of)| sum + *of)
        }
    };
    let truth = |span| fixture.simulator.world().spent(None, span, fixture.now());
    assert_eq!(estimated(billed).await.spend, truth(billed));
    let open = estimated(newest).await;
    assert_eq!(open.spend, open.estimated);
    let gap = (open.spend - truth(newest)).abs();
    assert!(gap < Usd::parse("0.01").unwrap(), "{gap}");
    // A day later it is billed.
    let report = fixture.cycle_after(24 * 60, &mut watcher).await;
    assert_eq!(report.errors, Vec::<String>::new());
    billed.end = Hour::containing(at("2026-11-24T13:00:00Z"));
    assert_eq!(estimated(billed).await.spend, truth(billed));
    assert_eq!(estimated(billed).await.estimated, Usd::ZERO);
}

/// Without an estimate, a rolling span ends with the bill: it is known, fires and resolves.
#[tokio::test]
async fn rolling_span_ends_with_data() {
    let mut world = World::seeded(7);
    world.api = SimulatedApi::Platform(PlatformOptions {
        reports: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    });
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.refresh_lag = SignedDuration::from_hours(3);
    world.spend("wrkspc_a", SONNET, at("2026-11-24T10:30:00Z"), "500");
    let last_hours = each(
        Period::Rolling(4),
        rule("rolling", SubjectKind::Organization, 100),
    );
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let fixture = fixture.with_rule(last_hours);
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let mut result = Vec::new();
    for _ in 0..8 {
        let report = fixture.cycle_after(60, &mut watcher).await;
        assert_eq!(report.errors, Vec::<String>::new());
        result.push(watcher.measurements[0].figure);
    }
    let known = |usd| Figure::Known(Usd::from_dollars(usd).pico());
    // Billed up to 11:05, 12:05 and so on: the hour of 10:30 moves through the four-hour span and leaves it.
    let expected = [500, 500, 500, 0, 0, 0, 0, 0].map(known);
    assert_eq!(result, expected);
    let result = fixture.deliver(&store).await;
    // Nothing was sent in between, so one message reports both.
    assert_eq!(result.len(), 1);
    assert!(result[0].is_fired_and_resolved);
    assert_eq!(result[0].ended_by, Some(EndedBy::Cleared));
}
