//! Anthropic's Admin API, with newer and older reports: both lead to the same ledger, exactly where the dialect reports it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use spendwatch::cycle::state::Watcher;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::figures::figure::Figure;
use spendwatch_domain::rules::rule::{Condition, GapUnit};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{ApiKeyId, WorkspaceId};
use spendwatch_domain::units::matcher::{Glob, Team};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::{Amounts, Part, UsageKey};
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};
use spendwatch_store::Store;

use crate::harness::{WatcherFixture, at, each, hours, limit_of, organization, rule};

const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";
const DEFAULT: &str = "wrkspc_default0";

/// Two workspaces and the default one, with keys and users.
fn world() -> World {
    let mut world = World::seeded(7);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let key = |id: &str, home: Option<&str>| SimulatedKey {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
        ..SimulatedKey::default()
    };
    world.keys = vec![
        key("apikey_a1", Some("wrkspc_a")),
        key("apikey_a2", Some("wrkspc_a")),
        key("apikey_b1", Some("wrkspc_b")),
    ];
    world.users = vec![SimulatedUser {
        id: "user_1".to_owned(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    }];
    let since = at("2026-11-10T00:00:00Z");
    world.add_spend_pattern("wrkspc_a", SONNET, 3_600_000, true, since);
    world.add_spend_pattern("wrkspc_b", HAIKU, 1_200_000, false, since);
    world.add_spend_pattern("", SONNET, 700_000, false, since);
    world
}

async fn fixture(world: World, dialect: Dialect, now: &str) -> WatcherFixture {
    let mut fixture = WatcherFixture::new(world, now).await;
    fixture.dialect = dialect;
    fixture
}

async fn sums(store: &Store, span: HourSpan) -> BTreeMap<(Part, UsageKey), Amounts> {
    let sums = store.sums(&organization(), span).await.unwrap();
    sums.into_iter()
        .map(|(part, usage_key, amounts)| ((part, usage_key), amounts))
        .collect()
}

fn total(sums: &BTreeMap<(Part, UsageKey), Amounts>) -> Amounts {
    sums.values().fold(Amounts::ZERO, |sum, of| sum + *of)
}

fn of_part(sums: &BTreeMap<(Part, UsageKey), Amounts>, id: &str) -> Amounts {
    let of = sums
        .iter()
        .filter(|((part, _), _)| part.workspace_id() == Some(id));
    of.fold(Amounts::ZERO, |sum, (_, of)| sum + *of)
}

fn until_now(start: &str, fixture: &WatcherFixture) -> HourSpan {
    HourSpan {
        start: Hour::containing(at(start)),
        end: Hour::containing(fixture.now()).plus(1),
    }
}

#[tokio::test]
async fn analytics_matches_truth_by_workspace_and_key() {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_mins(100);
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:25:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let report = fixture.cycle(&mut watcher).await;
    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!(report.outcome, CycleOutcome::Ok);
    // Billed spend is exact.
    let billed = hours("2026-11-01T00:00:00Z", "2026-11-24T11:00:00Z");
    let found = sums(&store, billed).await;
    let truth = |id: Option<&str>, span| fixture.simulator.world().spent(id, span, fixture.now());
    assert_eq!(total(&found).spend, truth(None, billed));
    assert_eq!(total(&found).estimated, Usd::ZERO);
    assert_eq!(
        of_part(&found, "wrkspc_a").spend,
        truth(Some("wrkspc_a"), billed)
    );
    assert_eq!(of_part(&found, "default").spend, truth(Some(""), billed));
    assert_eq!(of_part(&found, "unattributed").spend, Usd::ZERO);
    let keys: Vec<Option<&str>> = found
        .keys()
        .filter(|(part, _)| part.workspace_id() == Some("wrkspc_a"))
        .map(|(_, usage_key)| usage_key.api_key.as_ref().map(ApiKeyId::as_str))
        .collect();
    assert_eq!(keys, [Some("apikey_a1"), Some("apikey_a2")]);
    // The rest is estimated, within a cent because the simulator rounds tokens.
    let open = until_now("2026-11-24T11:00:00Z", &fixture);
    let found = total(&sums(&store, open).await);
    assert_eq!(found.spend, found.estimated);
    let gap = (found.spend - truth(None, open)).abs();
    assert!(gap < Usd::parse("0.01").unwrap(), "{gap}");
    assert!(found.spend > Usd::from_dollars(1));
    assert_eq!(watcher.directory.name_of("default"), "Default");
    assert_eq!(watcher.directory.key_name("apikey_a1"), "name of apikey_a1");
}

#[tokio::test]
async fn reports_bill_closed_days_and_estimate_the_rest() {
    let fixture = fixture(world(), Dialect::Reports, "2026-11-24T13:25:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let report = fixture.cycle(&mut watcher).await;
    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!(report.outcome, CycleOutcome::Ok);
    let billed = hours("2026-11-01T00:00:00Z", "2026-11-24T00:00:00Z");
    let found = sums(&store, billed).await;
    let truth = |id: Option<&str>, span| fixture.simulator.world().spent(id, span, fixture.now());
    assert_eq!(total(&found).spend, truth(None, billed));
    assert_eq!(total(&found).estimated, Usd::ZERO);
    assert_eq!(
        of_part(&found, "wrkspc_b").spend,
        truth(Some("wrkspc_b"), billed)
    );
    assert_eq!(of_part(&found, "default").spend, truth(Some(""), billed));
    let is_marked = |usage_key: &UsageKey| usage_key.is_apportioned == usage_key.api_key.is_some();
    assert!(found.keys().all(|(_, usage_key)| is_marked(usage_key)));
    // Every single day matches too, also in another time zone.
    let day = hours("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    assert_eq!(total(&sums(&store, day).await).spend, truth(None, day));
    let today = until_now("2026-11-24T00:00:00Z", &fixture);
    let found = total(&sums(&store, today).await);
    assert_eq!(found.spend, found.estimated);
    let gap = (found.spend - truth(None, today)).abs();
    assert!(gap < Usd::parse("0.01").unwrap(), "{gap}");
}

/// Returns the difference between the ledger and the exact usage.
async fn gap(fixture: &WatcherFixture, store: &Store, span: HourSpan) -> Usd {
    let truth = fixture.simulator.world().spent(None, span, fixture.now());
    (total(&sums(store, span).await).spend - truth).abs()
}

/// Number of requests, except those for limits.
fn n_seen(fixture: &WatcherFixture) -> usize {
    let seen = fixture.simulator.requests();
    let is_counted = |path: &str| !path.ends_with("/rate_limits");
    seen.iter().filter(|seen| is_counted(seen.route())).count()
}

fn n_asked(fixture: &WatcherFixture, route: &str) -> usize {
    let seen = fixture.simulator.requests();
    seen.iter()
        .filter(|seen| seen.route().ends_with(route))
        .count()
}

#[tokio::test]
async fn steady_analytics_cycle_reads_from_watermark() {
    let mut world = world();
    world.refreshed_until = Some(at("2026-11-24T11:40:00Z"));
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.simulator.clear_requests();
    // Nothing was billed since: one request for the bill, three for the estimate.
    let report = fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{:?}", report.errors);
    assert_eq!(n_asked(&fixture, "/analytics/cost"), 1);
    assert_eq!(n_asked(&fixture, "/analytics/usage"), 0);
    assert_eq!(n_asked(&fixture, "/usage_report/messages"), 3);
    assert_eq!(n_seen(&fixture), 4, "{:?}", fixture.simulator.requests());
    // Two more hours are billed.
    fixture.simulator.world().refreshed_until = Some(at("2026-11-24T13:10:00Z"));
    fixture.simulator.clear_requests();
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(n_asked(&fixture, "/analytics/cost"), 1);
    assert_eq!(
        n_asked(&fixture, "/analytics/usage"),
        2,
        "in fast mode and in all"
    );
    assert_eq!(n_asked(&fixture, "/usage_report/messages"), 3);
    assert_eq!(n_seen(&fixture), 6, "{:?}", fixture.simulator.requests());
    let billed = hours("2026-11-24T00:00:00Z", "2026-11-24T13:00:00Z");
    assert_eq!(gap(&fixture, &store, billed).await, Usd::ZERO);
    assert_eq!(total(&sums(&store, billed).await).estimated, Usd::ZERO);
    assert_eq!(fixture.simulator.n_writes(), 0);
}

#[tokio::test]
async fn steady_reports_cycle_sends_three_requests() {
    let fixture = fixture(world(), Dialect::Reports, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.simulator.clear_requests();
    let report = fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{:?}", report.errors);
    assert_eq!(n_seen(&fixture), 3, "{:?}", fixture.simulator.requests());
    assert_eq!(n_asked(&fixture, "/usage_report/messages"), 3);
}

/// Runs cycles over weeks with corrections, late bills and hours billed one by one.
async fn weeks(dialect: Dialect) {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_hours(3);
    world.bill_lag = SignedDuration::from_hours(9);
    let fixture = fixture(world, dialect, "2026-11-18T22:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    for step in 0..110 {
        match step {
            30 => {
                let day =
                    spendwatch_domain::units::span::Day::containing(at("2026-11-16T00:00:00Z"));
                fixture
                    .simulator
                    .world()
                    .correct_day("wrkspc_a", day, "3.25");
            }
            50 => {
                let moment = at("2026-11-15T05:00:00Z");
                let mut world = fixture.simulator.world();
                world.spend("wrkspc_b", HAIKU, moment, "7.123456");
                world.add_code_execution("wrkspc_a", at("2026-11-18T05:00:00Z"), 1_234_567);
            }
            _ => {}
        }
        let report = fixture.cycle_after(65, &mut watcher).await;
        assert_eq!(report.errors, Vec::<String>::new(), "step {step}");
        assert_eq!(report.outcome, CycleOutcome::Ok, "step {step}");
    }
    // At 21:15 on the 23rd, all closed days are billed.
    let closed = hours("2026-11-01T00:00:00Z", "2026-11-23T00:00:00Z");
    assert_eq!(gap(&fixture, &store, closed).await, Usd::ZERO);
    assert_eq!(total(&sums(&store, closed).await).estimated, Usd::ZERO);
    for day in 10..23 {
        let day = hours(
            &format!("2026-11-{day}T00:00:00Z"),
            &format!("2026-11-{}T00:00:00Z", day + 1),
        );
        assert_eq!(gap(&fixture, &store, day).await, Usd::ZERO, "{day:?}");
    }
    let open = until_now("2026-11-23T00:00:00Z", &fixture);
    let tolerance = Usd::parse("0.02").unwrap();
    assert!(gap(&fixture, &store, open).await < tolerance);
    // A restart loads the same state.
    let month = watcher.unpriced_models();
    drop(watcher);
    let again = fixture.watcher(&store).await;
    assert_eq!(again.unpriced_models(), month);
}

#[tokio::test]
async fn weeks_of_analytics_match_truth() {
    weeks(Dialect::Analytics).await;
}

#[tokio::test]
async fn weeks_of_reports_match_truth() {
    weeks(Dialect::Reports).await;
}

#[tokio::test]
async fn switching_dialects_loses_and_doubles_nothing() {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_hours(2);
    let mut fixture = fixture(world, Dialect::Analytics, "2026-11-20T10:05:00Z").await;
    let store = fixture.open_store();
    for (dialect, n_cycles) in [
        (Dialect::Analytics, 30),
        (Dialect::Reports, 40),
        (Dialect::Analytics, 40),
    ] {
        fixture.dialect = dialect;
        let mut watcher = fixture.watcher(&store).await;
        for step in 0..n_cycles {
            let report = fixture.cycle_after(65, &mut watcher).await;
            assert_eq!(
                report.errors,
                Vec::<String>::new(),
                "{dialect}, step {step}"
            );
        }
        let closed_end = Hour::containing(fixture.now()).day().first_hour();
        let closed = HourSpan {
            start: Hour::containing(at("2026-11-01T00:00:00Z")),
            end: closed_end,
        };
        assert_eq!(gap(&fixture, &store, closed).await, Usd::ZERO, "{dialect}");
        let open = until_now(&closed_end.start().to_string(), &fixture);
        let tolerance = Usd::parse("0.02").unwrap();
        assert!(gap(&fixture, &store, open).await < tolerance, "{dialect}");
    }
}

#[tokio::test]
async fn new_and_archived_workspaces_count_once() {
    for dialect in [Dialect::Analytics, Dialect::Reports] {
        let fixture = fixture(world(), dialect, "2026-11-20T10:05:00Z").await;
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        {
            let mut world = fixture.simulator.world();
            world.add_workspace("wrkspc_new", "New");
            world.add_spend_pattern(
                "wrkspc_new",
                SONNET,
                9_000_000,
                false,
                at("2026-11-20T10:00:00Z"),
            );
            world.archive("wrkspc_b");
        }
        for _ in 0..60 {
            fixture.cycle_after(30, &mut watcher).await;
        }
        let closed = hours("2026-11-01T00:00:00Z", "2026-11-21T00:00:00Z");
        assert_eq!(gap(&fixture, &store, closed).await, Usd::ZERO, "{dialect}");
        let of = |id: &str| watcher.directory.is_present(&id.into());
        assert!(of("wrkspc_new") && !of("wrkspc_b"));
        let day = hours("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
        let truth = fixture
            .simulator
            .world()
            .spent(Some("wrkspc_new"), day, fixture.now());
        assert_eq!(of_part(&sums(&store, day).await, "wrkspc_new").spend, truth);
    }
}

#[tokio::test]
async fn interrupted_history_load_resumes() {
    for dialect in [Dialect::Analytics, Dialect::Reports] {
        let mut fixture = fixture(world(), dialect, "2026-11-24T13:05:00Z").await;
        // Few requests fit into a cycle.
        fixture.max_requests_per_minute = 4;
        let store = fixture.open_store();
        let mut n_starts = 0;
        loop {
            n_starts += 1;
            assert!(n_starts < 60, "{dialect}: the history is never read");
            // Dropped while reading, like a kill.
            let mut watcher = fixture.watcher(&store).await;
            fixture.cycle_in_time(&mut watcher, 5).await;
            let known = watcher.coverages.get(&Part::Whole);
            let reads_back = |days: spendwatch_domain::ledger::coverage::DaySpan| {
                days.start <= Hour::containing(at("2026-08-17T00:00:00Z")).day()
            };
            if known.is_some_and(|known| known.days.is_some_and(reads_back)) {
                break;
            }
        }
        assert!(n_starts > 2, "{dialect}: {n_starts}");
        let closed = hours("2026-08-20T00:00:00Z", "2026-11-23T00:00:00Z");
        assert_eq!(gap(&fixture, &store, closed).await, Usd::ZERO, "{dialect}");
    }
}

#[tokio::test]
async fn without_estimate_data_age_is_that_of_the_bill() {
    let mut world = world();
    world.refreshed_until = Some(at("2026-11-24T11:40:00Z"));
    world.api = SimulatedApi::Platform(PlatformOptions {
        reports: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    });
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..3 {
        let report = fixture.cycle_after(5, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Ok, "{:?}", report.errors);
    }
    let known = watcher.coverages[&Part::Whole].as_of;
    assert_eq!(known, Some(at("2026-11-24T11:40:00Z")));
    let billed = hours("2026-11-01T00:00:00Z", "2026-11-24T11:00:00Z");
    assert_eq!(gap(&fixture, &store, billed).await, Usd::ZERO);
    let all = total(&sums(&store, until_now("2026-11-01T00:00:00Z", &fixture)).await);
    assert_eq!(all.estimated, Usd::ZERO);
}

#[tokio::test]
async fn dialect_is_detected_again_after_three_refusals() {
    let fixture = {
        let mut fixture = WatcherFixture::new(world(), "2026-11-24T13:05:00Z").await;
        fixture.is_auto = true;
        fixture
    };
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(watcher.dialect(), Some(Dialect::Analytics));
    fixture.simulator.world().api = SimulatedApi::Platform(PlatformOptions {
        analytics: EndpointAccess::Absent,
        ..PlatformOptions::default()
    });
    let mut result = Vec::new();
    for _ in 0..5 {
        fixture.cycle_after(5, &mut watcher).await;
        result.push(watcher.dialect().map(Dialect::name));
    }
    let (newer, older) = (Some("analytics"), Some("reports"));
    assert_eq!(result, [newer, newer, None, older, older]);
    // The result is stored.
    drop(watcher);
    let watcher = fixture.watcher(&store).await;
    assert_eq!(watcher.dialect(), Some(Dialect::Reports));
}

#[tokio::test]
async fn unpriced_model_makes_lower_bound() {
    let mut world = world();
    let used = SimulatedUsage {
        micros: 80_000_000,
        input: 1_000_000,
        output: 200_000,
        ..SimulatedUsage::default()
    };
    world.add_usage(
        "wrkspc_a",
        "claude-epos-9",
        at("2026-11-24T09:00:00Z"),
        used,
    );
    world.add_usage(
        "wrkspc_a",
        "claude-epos-9",
        at("2026-11-23T09:00:00Z"),
        used,
    );
    let rule = rule("month", SubjectKind::Organization, 10_000);
    let mut fixture = fixture(world, Dialect::Reports, "2026-11-24T13:05:00Z").await;
    fixture = fixture.with_rule(rule);
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let unpriced = watcher.unpriced_models();
    assert_eq!(unpriced["claude-epos-9"], 2_400_000);
    let figure = watcher.measurements[0].figure;
    assert!(matches!(figure, Figure::AtLeast(_)), "{figure:?}");
    // Its billed part counts as billed.
    let billed = hours("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z");
    assert_eq!(gap(&fixture, &store, billed).await, Usd::ZERO);
    // One day later all of it is billed.
    for _ in 0..24 {
        fixture.cycle_after(60, &mut watcher).await;
    }
    let figure = watcher.measurements[0].figure;
    assert!(matches!(figure, Figure::Known(_)), "{figure:?}");
}

#[tokio::test]
async fn estimate_uses_every_price_factor() {
    let mut world = World::seeded(1);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    let million = 1_000_000;
    let mut put = |hour: u32, model: &str, used: SimulatedUsage, detail: UsageDetail| {
        let moment = at(&format!("2026-11-24T{hour:02}:00:00Z"));
        world.add_detailed_usage("wrkspc_a", model, moment, used, detail);
    };
    let plain = SimulatedUsage {
        input: million,
        output: million,
        ..SimulatedUsage::default()
    };
    let batch_us = UsageDetail {
        service_tier: "batch".to_owned(),
        inference_geo: "us".to_owned(),
        ..UsageDetail::default()
    };
    let cached = SimulatedUsage {
        cache_read: million,
        cache_write_5m: million,
        cache_write_1h: million,
        ..SimulatedUsage::default()
    };
    let fast = UsageDetail {
        is_fast: true,
        ..UsageDetail::default()
    };
    let priority = UsageDetail {
        service_tier: "priority".to_owned(),
        ..UsageDetail::default()
    };
    let searching = SimulatedUsage {
        web_searches: 100,
        ..plain
    };
    put(1, "claude-opus-4-6", plain, UsageDetail::default());
    put(2, "claude-opus-4-6", plain, batch_us);
    put(3, "claude-opus-5-5", cached, UsageDetail::default());
    put(4, "claude-opus-5-5", plain, fast);
    put(5, "claude-opus-5-5", plain, priority);
    put(6, "claude-opus-5-5", searching, UsageDetail::default());
    for dialect in [Dialect::Reports, Dialect::Analytics] {
        world.refreshed_until = Some(at("2026-11-24T00:00:00Z"));
        let fixture = fixture(world.clone(), dialect, "2026-11-24T13:05:00Z").await;
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        let mut found = Vec::new();
        for hour in 1..7 {
            let span = hours(
                &format!("2026-11-24T{hour:02}:00:00Z"),
                &format!("2026-11-24T{:02}:00:00Z", hour + 1),
            );
            let of_hour = total(&sums(&store, span).await);
            found.push((
                of_hour.spend.to_string(),
                of_hour.saved.to_string(),
                of_hour.by_contract,
            ));
        }
        let expected = [
            ("30", "0", 0),
            ("16.5", "0", 0),
            // 0.20 + 5 + 8 against three times 4.
            ("13.2", "-1.2", 0),
            ("48", "0", 0),
            ("0", "0", 2_000_000),
            // One hundred web searches cost one dollar.
            ("25", "0", 0),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(spend, saved, tokens)| ((*spend).to_owned(), (*saved).to_owned(), *tokens))
            .collect();
        assert_eq!(found, expected, "{dialect}");
    }
}

#[tokio::test]
async fn rules_watch_keys_teams_and_reconciliation() {
    let mut world = world();
    world.discount_percent = 10;
    let mut fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let mut gaps = rule("gaps", SubjectKind::Organization, 1);
    gaps.condition = Condition::Reconciliation {
        limit: limit_of(&mut gaps).clone(),
        unit: GapUnit::Usd,
    };
    fixture = fixture
        .with_rule(rule("keys", SubjectKind::ApiKey, 1_000_000))
        .with_rule(rule("teams", SubjectKind::Team, 1_000_000))
        .with_rule(gaps);
    let store = fixture.open_store();
    let mut settings = fixture.settings();
    settings.teams = vec![Team {
        name: "first".into(),
        workspaces: Vec::new(),
        api_keys: vec![Glob::new("name of apikey_a1").unwrap()],
        workspace_tags: BTreeMap::new(),
        notify: Vec::new(),
    }];
    let mut watcher = Watcher::open(settings, fixture.deps(&store)).await.unwrap();
    fixture.cycle(&mut watcher).await;
    let value = |rule: usize, id: &str| {
        let mut all = watcher.measurements.iter();
        let found = all.find(|m| m.rule == rule && *m.subject.id == *id && !m.is_closed);
        found.and_then(|m| m.figure.value()).unwrap()
    };
    let month = until_now("2026-11-01T00:00:00Z", &fixture);
    let found = sums(&store, month).await;
    let of_key = |id: &str| -> i128 {
        let cells = found.iter().filter(|((_, usage_key), _)| {
            usage_key
                .api_key
                .as_ref()
                .is_some_and(|key| key.as_str() == id)
        });
        cells.map(|(_, amounts)| amounts.spend.pico()).sum()
    };
    assert_eq!(value(0, "apikey_a1"), of_key("apikey_a1"));
    assert_eq!(value(0, "apikey_b1"), of_key("apikey_b1"));
    assert_eq!(value(1, "first"), of_key("apikey_a1"));
    let rest = total(&found).spend.pico() - of_key("apikey_a1");
    assert_eq!(value(1, "unassigned"), rest);
    let all = total(&found);
    assert_eq!(value(2, "acme"), (all.spend - all.priced).abs().pico());
    assert!(all.list > all.spend - all.estimated);
}

#[tokio::test]
async fn reads_available_limits() {
    let mut world = world();
    world.spend_limits = vec![(None, 500_000), (Some("wrkspc_a".to_owned()), 12_345)];
    let limit = |id: Option<&str>, value| {
        let id = id.map(str::to_owned);
        (
            id,
            "Claude Opus".to_owned(),
            "requests_per_minute".to_owned(),
            value,
        )
    };
    world.rate_limits = vec![limit(None, 4000), limit(Some("wrkspc_b"), 1000)];
    let fixture = fixture(world, Dialect::Reports, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..13 {
        fixture.cycle_after(5, &mut watcher).await;
    }
    let workspace = &watcher.directory.workspaces["wrkspc_a"].0;
    assert_eq!(workspace.monthly_limit, Usd::parse("123.45").ok());
    let info = watcher.directory.organization.as_ref().unwrap();
    assert_eq!(info.usage_limit, Some(Usd::from_dollars(5000)));
    let value = |id: Option<&str>| {
        let limits = &watcher.listings.rate_limits[&id.map(WorkspaceId::from)];
        limits.iter().map(|limit| limit.value).collect::<Vec<_>>()
    };
    assert_eq!(
        (value(None), value(Some("wrkspc_b"))),
        (vec![4000], vec![1000])
    );
}

#[tokio::test]
async fn at_most_twenty_requests_per_minute() {
    let mut fixture = fixture(world(), Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    fixture.max_requests_per_minute = 20;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..3 {
        fixture.cycle_in_time(&mut watcher, 5).await;
    }
    let seen: Vec<_> = fixture
        .simulator
        .requests()
        .iter()
        .map(|seen| seen.at)
        .collect();
    assert!(seen.len() > 30, "{}", seen.len());
    for (place, start) in seen.iter().enumerate() {
        let in_minute = seen[place..]
            .iter()
            .take_while(|at| at.duration_since(*start) < SignedDuration::from_secs(60));
        let n = in_minute.count();
        assert!(
            n <= 15,
            "{n} requests in the minute from {start}: a quarter of 20 is left to others"
        );
    }
}

/// Each threshold of each alert is sent once despite bills replacing estimates, corrections and a change of dialect.
#[tokio::test]
async fn alerts_are_sent_once_while_estimates_become_bills() {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_hours(2);
    world.bill_lag = SignedDuration::from_hours(7);
    world.spend("wrkspc_a", SONNET, at("2026-11-20T09:00:00Z"), "900");
    let mut fixture = fixture(world, Dialect::Reports, "2026-11-20T10:05:00Z").await;
    let by_day = each(Period::Day, rule("day", SubjectKind::Workspace, 40));
    fixture = fixture
        .with_rule(rule("month", SubjectKind::Organization, 1500))
        .with_rule(rule("keys", SubjectKind::ApiKey, 300))
        .with_rule(by_day);
    let store = fixture.open_store();
    let mut result = Vec::new();
    for dialect in [Dialect::Reports, Dialect::Analytics, Dialect::Reports] {
        fixture.dialect = dialect;
        let mut watcher = fixture.watcher(&store).await;
        for step in 0..35 {
            if step == 20 {
                fixture
                    .simulator
                    .world()
                    .spend("wrkspc_b", HAIKU, fixture.now(), "55");
            }
            fixture.cycle_after(55, &mut watcher).await;
            result.extend(fixture.deliver(&store).await);
        }
    }
    let first = result
        .iter()
        .find(|fact| &*fact.identity.slot.subject.id == "acme")
        .unwrap();
    assert_eq!(first.top[0].workspace, "Alpha");
    assert!(result.iter().any(|fact| fact.top.iter().any(|top| {
        top.api_key
            .as_ref()
            .is_some_and(|key| key.name == "name of apikey_a1")
    })));
    let mut lines: Vec<String> = result
        .iter()
        .filter(|fact| fact.ended_at.is_none())
        .map(|fact| {
            let slot = &fact.identity.slot;
            format!(
                "{:?} {:?} {} {:?}",
                slot.rule, slot.subject, fact.threshold.text, slot.period
            )
        })
        .collect();
    assert!(lines.len() > 4, "{lines:?}");
    lines.sort();
    let n_told = lines.len();
    let all = lines.clone();
    lines.dedup();
    assert_eq!(lines.len(), n_told, "{all:#?}");
    // Nothing fell below its threshold, so nothing is sent again.
    assert!(
        result
            .iter()
            .all(|fact| fact.ended_by != Some(EndedBy::Corrected)),
        "{result:?}"
    );
}

#[tokio::test]
async fn failed_estimate_keeps_last_one_and_bill_continues() {
    let mut world = world();
    world.refreshed_until = Some(at("2026-11-24T09:30:00Z"));
    let fixture = fixture(world, Dialect::Analytics, "2026-11-24T13:05:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let open = hours("2026-11-24T12:00:00Z", "2026-11-24T14:00:00Z");
    let before = total(&sums(&store, open).await);
    let fault = ServerFault::Status(400, String::new(), None);
    fixture
        .simulator
        .inject_fault(FaultTarget::endpoint("messages"), fault);
    fixture.simulator.world().refreshed_until = Some(at("2026-11-24T11:30:00Z"));
    let report = fixture.cycle_after(5, &mut watcher).await;
    assert_ne!(report.outcome, CycleOutcome::Ok);
    assert!(
        report.errors[0].contains("usage_report/messages"),
        "{report:?}"
    );
    // Two more hours are billed; the rest keeps its estimate.
    let billed = hours("2026-11-24T00:00:00Z", "2026-11-24T11:00:00Z");
    assert_eq!(total(&sums(&store, billed).await).estimated, Usd::ZERO);
    assert_eq!(gap(&fixture, &store, billed).await, Usd::ZERO);
    assert_eq!(total(&sums(&store, open).await), before);
    fixture.simulator.clear_faults();
    let report = fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{:?}", report.errors);
    assert!(total(&sums(&store, open).await).spend > before.spend);
}

#[tokio::test]
async fn catch_up_after_outage_is_fresh_only_when_complete() {
    for dialect in [Dialect::Analytics, Dialect::Reports] {
        let fixture = fixture(world(), dialect, "2026-11-20T13:05:00Z").await;
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        // Four days later, the third day cannot be read.
        fixture.clock.advance(std::time::Duration::from_hours(96));
        let asks = if dialect == Dialect::Analytics {
            "analytics_cost"
        } else {
            "messages"
        };
        let fault = ServerFault::Status(400, String::new(), None);
        fixture
            .simulator
            .inject_fault(FaultTarget::endpoint(asks).after(9).times(1), fault.clone());
        let report = fixture.cycle(&mut watcher).await;
        if report.outcome != CycleOutcome::Ok {
            assert_eq!(report.n_fresh, 0, "{dialect}: {report:?}");
        }
        fixture.simulator.clear_faults();
        for _ in 0..3 {
            fixture.cycle_after(60, &mut watcher).await;
        }
        let closed = hours("2026-11-01T00:00:00Z", "2026-11-24T00:00:00Z");
        assert_eq!(gap(&fixture, &store, closed).await, Usd::ZERO, "{dialect}");
    }
}

/// Cached input of one model became cheaper on 7 October 2026.
#[tokio::test]
async fn price_change_applies_from_its_day() {
    let mut world = world();
    world.bill_lag = SignedDuration::from_hours(1000);
    let used = SimulatedUsage {
        cache_read: 10_000_000,
        ..SimulatedUsage::default()
    };
    for moment in ["2026-10-06T23:00:00Z", "2026-10-07T00:00:00Z"] {
        world.add_usage("wrkspc_a", "claude-sonnet-5-5", at(moment), used);
    }
    let fixture = fixture(world, Dialect::Reports, "2026-10-07T01:30:00Z").await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let spend = async |start: &str, end: &str| {
        let found = total(&sums(&store, hours(start, end)).await);
        assert_eq!(found.spend, found.estimated);
        found.spend.to_string()
    };
    assert_eq!(
        spend("2026-10-06T23:00:00Z", "2026-10-07T00:00:00Z").await,
        "2"
    );
    assert_eq!(
        spend("2026-10-07T00:00:00Z", "2026-10-07T01:00:00Z").await,
        "1"
    );
}
