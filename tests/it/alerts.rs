//! Rules, alerts and notifications: cases by number.

use std::time::Duration;

use spendwatch::cycle::state::Watcher;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::measure::Measurement;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::figures::figure::Figure;
use spendwatch_domain::rules::rule::{Limit, Rule};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::harness::{WatcherFixture, at, each, limit_of, rule};

const NOW: &str = "2026-11-24T10:05:00Z";

/// A monthly limit in USD for each workspace.
pub fn month_rule(limit: i64) -> Rule {
    rule("month", SubjectKind::Workspace, limit)
}

fn world() -> World {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.add_workspace("workspace_b", "Beta");
    world.spend(
        "workspace_a",
        "claude-sonnet-4-5",
        at("2026-11-20T03:00:00Z"),
        "40",
    );
    world
}

/// A fixture with a rule, its store, and a watcher before its first cycle.
async fn begin(world: World, now: &str, rule: Rule) -> (WatcherFixture, Store, Watcher) {
    let fixture = WatcherFixture::new(world, now).await.with_rule(rule);
    let store = fixture.open_store();
    let watcher = fixture.watcher(&store).await;
    (fixture, store, watcher)
}

fn spend(fixture: &WatcherFixture, time: &str, usd: &str) {
    let mut world = fixture.simulator.world();
    world.spend("workspace_a", "claude-sonnet-4-5", at(time), usd);
}

pub fn words(facts: &[Fact]) -> Vec<String> {
    let word = |fact: &Fact| {
        let by = fact.ended_by.map_or(String::new(), |by| format!(" {by}"));
        format!(
            "{} {} {}{by}",
            fact.subject_name, fact.threshold.text, fact.reason
        )
    };
    facts.iter().map(word).collect()
}

#[tokio::test]
async fn case_11_a_jump_over_several_thresholds_sends_the_highest() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 100)).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), Vec::<String>::new());
    spend(&fixture, "2026-11-24T10:01:00Z", "90");
    fixture.cycle_after(5, &mut watcher).await;
    let facts = fixture.deliver(&store).await;
    assert_eq!(words(&facts), ["Alpha 100% first"]);
    assert_eq!(facts[0].top[0].value, Usd::from_dollars(130).pico());
}

#[tokio::test]
async fn case_12_a_higher_threshold_escalates_under_the_same_identity() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 100)).await;
    spend(&fixture, NOW, "45");
    fixture.cycle(&mut watcher).await;
    let first = fixture.deliver(&store).await;
    spend(&fixture, NOW, "20");
    fixture.cycle_after(5, &mut watcher).await;
    let second = fixture.deliver(&store).await;
    assert_eq!(words(&first), ["Alpha 80% first"]);
    assert_eq!(words(&second), ["Alpha 100% escalated"]);
    assert_eq!(
        first[0].identity.fingerprint(),
        second[0].identity.fingerprint()
    );
    assert!(first[0].sequence < second[0].sequence);
}

#[tokio::test]
async fn case_08_a_downward_correction_resolves_once_as_corrected() {
    let fixture = WatcherFixture::new(world(), NOW).await.with_rule(rule(
        "month",
        SubjectKind::Workspace,
        50,
    ));
    let store = fixture.open_store();
    spend(&fixture, "2026-11-22T03:00:00Z", "15");
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 100% first"]);
    spend(&fixture, "2026-11-22T03:00:00Z", "-14");
    spend(&fixture, "2026-11-20T03:00:00Z", "-10");
    let mut sent = Vec::new();
    for _ in 0..30 {
        fixture.cycle_after(5, &mut watcher).await;
        sent.extend(fixture.deliver(&store).await);
    }
    let last = sent.last().unwrap();
    assert_eq!(
        last.ended_by,
        Some(EndedBy::Corrected),
        "{:?}",
        words(&sent)
    );
    assert_eq!(
        sent.iter()
            .filter(|fact| fact.reason == Reason::Resolved)
            .count(),
        1
    );
}

#[tokio::test]
async fn case_16_a_restart_while_alerts_fire_sends_nothing() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 30)).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 100% first"]);
    drop(watcher);
    drop(store);
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..3 {
        fixture.cycle_after(5, &mut watcher).await;
    }
    assert_eq!(words(&fixture.deliver(&store).await), Vec::<String>::new());
}

#[tokio::test]
async fn case_30_and_31_a_changed_limit_ends_or_fires_once() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 30)).await;
    fixture.cycle(&mut watcher).await;
    fixture.deliver(&store).await;
    let mut sent = Vec::new();
    for limit in [500, 500, 20, 20] {
        let mut settings = fixture.settings();
        limit_of(&mut settings.policy.rules[0]).limit =
            Limit::Fixed(Usd::from_dollars(limit).pico());
        watcher.reconfigure(settings).await.unwrap();
        watcher.decide_and_commit().await.unwrap();
        sent.extend(fixture.deliver(&store).await);
    }
    assert_eq!(
        words(&sent),
        ["Alpha 100% resolved limit_changed", "Alpha 100% first"]
    );
}

#[tokio::test]
async fn case_39_a_total_with_an_unknown_part_may_fire_and_cannot_resolve() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("total", SubjectKind::Organization, 100)).await;
    fixture.cycle(&mut watcher).await;
    fixture.simulator.inject_fault(
        FaultTarget::usage_of("workspace_b"),
        ServerFault::Status(400, "{}".into(), None),
    );
    spend(&fixture, NOW, "70");
    fixture.cycle_after(5, &mut watcher).await;
    let facts = fixture.deliver(&store).await;
    assert_eq!(words(&facts), ["acme 100% first"]);
    assert!(facts[0].is_lower_bound);
    spend(&fixture, NOW, "-60");
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(
        words(&fixture.deliver(&store).await),
        Vec::<String>::new(),
        "it cannot resolve"
    );
    fixture.simulator.clear_faults();
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(
        words(&fixture.deliver(&store).await),
        ["acme 100% resolved cleared"]
    );
}

#[tokio::test]
async fn case_34_a_missing_workspace_is_removed_after_three_lists_and_its_spend_stays() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 30)).await;
    fixture.cycle(&mut watcher).await;
    fixture.deliver(&store).await;
    fixture.simulator.world().archive("workspace_a");
    let mut sent = Vec::new();
    for _ in 0..12 {
        fixture.cycle_after(5, &mut watcher).await;
        sent.extend(fixture.deliver(&store).await);
    }
    assert_eq!(words(&sent)[0], "Alpha 100% resolved subject_gone");
    let month = crate::harness::hours("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(
        fixture.ledger(&store, None, month).await,
        Usd::from_dollars(40)
    );
}

#[tokio::test]
async fn case_07_and_38_a_closed_period_ends_without_a_message_and_fires_late_once() {
    let (fixture, store, mut watcher) = begin(
        world(),
        "2026-11-30T22:05:00Z",
        rule("month", SubjectKind::Workspace, 45),
    )
    .await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 80% first"]);
    let mut sent = Vec::new();
    for step in 0..60 {
        if step == 40 {
            spend(&fixture, "2026-11-29T03:00:00Z", "9");
        }
        fixture.cycle_after(20, &mut watcher).await;
        sent.extend(fixture.deliver(&store).await);
    }
    assert_eq!(words(&sent), ["Alpha 100% first"]);
    assert!(sent[0].is_late, "it is about the closed month");
    assert_eq!(sent[0].identity.slot.period.as_deref(), Some("2026-11"));
}

#[tokio::test]
async fn case_02_stored_times_never_decrease() {
    let (fixture, store, mut watcher) =
        begin(world(), NOW, rule("month", SubjectKind::Workspace, 30)).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(fixture.deliver(&store).await.len(), 1);
    let (before, observed) = (watcher.engine.last_at, watcher.engine.observed);
    fixture.clock.set_wall(at("2026-11-24T09:00:00Z"));
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(watcher.engine.last_at, before);
    assert!(watcher.engine.observed > observed);
    let loaded = store
        .load_organization(&watcher.settings.organization, fixture.now(), fixture.now())
        .await
        .unwrap();
    assert_eq!(loaded.resume_state.last_at, before);
    assert_eq!(words(&fixture.deliver(&store).await), Vec::<String>::new());
}

#[tokio::test]
async fn case_05_a_month_that_ends_in_the_middle_of_a_poll() {
    let (fixture, store, mut watcher) = begin(
        world(),
        "2026-11-30T23:59:50Z",
        rule("month", SubjectKind::Workspace, 45),
    )
    .await;
    // The request for Alpha is sent before midnight and answered after it.
    let seen = fixture.simulator.n_requests();
    fixture.simulator.inject_fault(
        FaultTarget::usage_of("workspace_a").times(1),
        ServerFault::Delay(Duration::from_secs(20)),
    );
    let midnight = async {
        fixture.simulator.wait_for_requests(seen + 3).await;
        while fixture.clock.n_sleeping() == 0 {
            tokio::task::yield_now().await;
        }
        fixture.clock.advance(Duration::from_secs(20));
    };
    tokio::join!(fixture.cycle(&mut watcher), midnight);
    assert!(fixture.now() >= at("2026-12-01T00:00:00Z"));
    let facts = fixture.deliver(&store).await;
    assert_eq!(words(&facts), ["Alpha 80% first"]);
    assert_eq!(facts[0].identity.slot.period.as_deref(), Some("2026-11"));
    let november = crate::harness::hours("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    let spent = fixture
        .simulator
        .world()
        .spent(None, november, fixture.now());
    assert_eq!(fixture.ledger(&store, None, november).await, spent);
    // The new month starts at zero with its first complete response.
    fixture.cycle_after(5, &mut watcher).await;
    let of_december = |measurement: &&Measurement| measurement.label.as_deref() == Some("2026-12");
    let new: Vec<_> = watcher.measurements.iter().filter(of_december).collect();
    assert_eq!(new.len(), 3);
    assert!(
        new.iter().all(|new| new.figure == Figure::Known(0)),
        "{new:?}"
    );
}

#[tokio::test]
async fn case_06_responses_about_the_old_month_fire_nothing_in_the_new_one() {
    let mut world = world();
    world.usage_limit = Some("45".to_owned());
    let (fixture, store, mut watcher) = begin(
        world,
        "2026-11-30T23:30:00Z",
        rule("month", SubjectKind::Workspace, 45),
    )
    .await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 80% first"]);
    fixture.cycle_after(45, &mut watcher).await;
    fixture.deliver(&store).await;
    // The organization's total is still November's, and usage of December contains rows of November.
    let old = |field: &str, json: &str| ServerFault::Field(field.to_owned(), json.to_owned());
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("organizations"),
        old("current_month_usage_usd", "40"),
    );
    let row = r#"{"data":[{"date":"2026-11-20T03:00:00Z","total_cost_usd":40,"requests":1}]}"#;
    fixture.simulator.inject_fault(
        FaultTarget::usage_of("workspace_a"),
        ServerFault::Body(row.to_owned()),
    );
    for _ in 0..6 {
        let report = fixture.cycle_after(10, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Partial);
        assert_eq!(words(&fixture.deliver(&store).await), Vec::<String>::new());
    }
    fixture.simulator.clear_faults();
    fixture.cycle_after(10, &mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), Vec::<String>::new());
}

#[tokio::test]
async fn a_period_longer_than_the_history_is_evaluated_once_the_history_is_read() {
    let quarter = each(Period::Quarter, rule("quarter", SubjectKind::Workspace, 30));
    let fixture = WatcherFixture::new(world(), NOW).await.with_rule(quarter);
    let store = fixture.open_store();
    let mut settings = fixture.settings();
    settings.poll.history_days = 10;
    settings.poll.hourly_history_days = 1;
    let mut watcher = Watcher::open(settings, fixture.deps(&store)).await.unwrap();
    fixture.cycle(&mut watcher).await;
    let facts = fixture.deliver(&store).await;
    assert_eq!(words(&facts), ["Alpha 100% first"]);
    assert!(facts[0].is_lower_bound);
}
