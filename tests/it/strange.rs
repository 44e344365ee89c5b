//! Malformed responses: an unreadable row costs only its own figure and is named; a rejected list costs only its
//! column.

use spendwatch::cycle::state::Watcher;
use spendwatch::cycle::summary::CycleSummary;
use spendwatch_domain::figures::figure::Figure;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::admin::{BOTH, Dialect as Speech};
use crate::alerts::words;
use crate::harness::{WatcherFixture, at, hours, rule};
use crate::program::{Home, Program, get, write_secret};

const SONNET: &str = "claude-sonnet-4-5";
const NOW: &str = "2026-11-24T10:05:00Z";

fn field(name: &str, json: &str) -> ServerFault {
    ServerFault::Field(name.to_owned(), json.to_owned())
}

/// Two workspaces that each spent 10 USD this morning.
fn world(is_real: bool) -> World {
    let mut world = World::empty();
    if is_real {
        world.api = SimulatedApi::Platform(PlatformOptions::default());
        world.default_workspace = Some("wrkspc_default0".to_owned());
    }
    for (id, name) in [("wrkspc_a", "Alpha"), ("wrkspc_b", "Beta")] {
        world.add_workspace(id, name);
        world.spend(id, SONNET, at("2026-11-24T08:10:00Z"), "10");
    }
    world
}

fn spend(stage: &WatcherFixture, id: &str, time: &str, usd: &str) {
    stage.simulator.world().spend(id, SONNET, at(time), usd);
}

async fn today(stage: &WatcherFixture, store: &Store, id: &str) -> Usd {
    let day = hours("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z");
    stage.ledger(store, Some(id), day).await
}

fn figure_of(watcher: &Watcher, id: &str) -> Figure {
    let of = watcher.measurements.iter();
    let mut of = of.filter(|measured| &*measured.subject.id == id && !measured.is_closed);
    of.next().unwrap().figure
}

#[track_caller]
fn is_named(summary: &CycleSummary, texts: &[&str]) {
    assert_eq!(summary.outcome, CycleOutcome::Partial, "{summary:?}");
    let named = summary.unreadable.concat();
    assert!(texts.iter().all(|text| named.contains(text)), "{summary:?}");
}

#[tokio::test]
async fn an_unreadable_figure_keeps_its_value_until_the_next_good_response() {
    let month = rule("month", SubjectKind::Workspace, 100);
    let stage = WatcherFixture::new(world(false), NOW)
        .await
        .with_rule(month);
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(stage.cycle(&mut watcher).await.outcome, CycleOutcome::Ok);
    for id in ["wrkspc_a", "wrkspc_b"] {
        spend(&stage, id, "2026-11-24T10:02:00Z", "85");
    }
    for json in [r#""10""#, "null", "1e13", "[10]", r#""NaN""#] {
        stage.simulator.clear_faults();
        stage.simulator.inject_fault(
            FaultTarget::usage_of("wrkspc_a"),
            field("total_cost_usd", json),
        );
        let summary = stage.cycle_after(5, &mut watcher).await;
        is_named(&summary, &["wrkspc_a", "total_cost_usd", "row 1"]);
        // The unreadable hour keeps its figure; the other one is read.
        assert_eq!(
            today(&stage, &store, "wrkspc_a").await,
            Usd::from_dollars(95)
        );
        assert_eq!(
            today(&stage, &store, "wrkspc_b").await,
            Usd::from_dollars(95)
        );
    }
    // A lower bound can fire and is marked as such.
    let facts = stage.deliver(&store).await;
    assert_eq!(words(&facts), ["Alpha 80% first", "Beta 80% first"]);
    assert!(facts[0].is_lower_bound && !facts[1].is_lower_bound);
    let bound = Usd::from_dollars(95).pico();
    assert_eq!(figure_of(&watcher, "wrkspc_a"), Figure::AtLeast(bound));
    assert_eq!(figure_of(&watcher, "wrkspc_b"), Figure::Known(bound));
    // A restart keeps unreadable hours, and a lower bound that may be incomplete does not resolve.
    drop(watcher);
    let mut watcher = stage.watcher(&store).await;
    spend(&stage, "wrkspc_a", "2026-11-24T10:02:00Z", "-60");
    spend(&stage, "wrkspc_b", "2026-11-24T10:02:00Z", "-60");
    stage.cycle_after(5, &mut watcher).await;
    assert!(figure_of(&watcher, "wrkspc_a") == Figure::AtLeast(Usd::from_dollars(35).pico()));
    assert_eq!(
        words(&stage.deliver(&store).await),
        ["Beta 80% resolved cleared"]
    );
    stage.simulator.clear_faults();
    let summary = stage.cycle_after(5, &mut watcher).await;
    assert_eq!(summary.outcome, CycleOutcome::Ok, "{summary:?}");
    assert_eq!(summary.remarks, Vec::<String>::new());
    assert_eq!(
        words(&stage.deliver(&store).await),
        ["Alpha 80% resolved cleared"]
    );
    assert_eq!(
        today(&stage, &store, "wrkspc_a").await,
        Usd::from_dollars(35)
    );
}

#[tokio::test]
async fn an_unreadable_report_row_costs_only_its_workspace_and_bucket() {
    for (dialect, endpoint, name, json) in [
        (Dialect::Analytics, "analytics_cost", "amount", r#""1,5""#),
        (Dialect::Analytics, "analytics_cost", "currency", r#""EUR""#),
        (
            Dialect::Analytics,
            "analytics_usage",
            "output_tokens",
            r#""12""#,
        ),
        (Dialect::Reports, "messages", "output_tokens", "1e3"),
        (Dialect::Reports, "messages", "results", "null"),
    ] {
        let mut stage = WatcherFixture::new(world(true), NOW).await;
        stage.dialect = dialect;
        let on = FaultTarget::endpoint(endpoint);
        stage.simulator.inject_fault(on, field(name, json));
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let summary = stage.cycle(&mut watcher).await;
        is_named(&summary, &[name]);
        let (alpha, beta) = (
            today(&stage, &store, "wrkspc_a").await,
            today(&stage, &store, "wrkspc_b").await,
        );
        assert!(alpha.max(beta) > Usd::ZERO, "{name}: the other one is read");
        spend(&stage, "wrkspc_a", "2026-11-24T10:02:00Z", "7");
        stage.simulator.clear_faults();
        let summary = stage.cycle_after(5, &mut watcher).await;
        assert_eq!(summary.outcome, CycleOutcome::Ok, "{name}: {summary:?}");
        // The same as without malformed responses.
        let (clean, clean_store) = undisturbed(dialect).await;
        for id in ["wrkspc_a", "wrkspc_b"] {
            assert_eq!(
                today(&stage, &store, id).await,
                today(&clean, &clean_store, id).await,
                "{name} {id}"
            );
        }
    }
}

/// The same two cycles with valid responses only.
async fn undisturbed(dialect: Dialect) -> (WatcherFixture, Store) {
    let mut stage = WatcherFixture::new(world(true), NOW).await;
    stage.dialect = dialect;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    spend(&stage, "wrkspc_a", "2026-11-24T10:02:00Z", "7");
    stage.cycle_after(5, &mut watcher).await;
    (stage, store)
}

#[tokio::test]
async fn credits_count_and_net_spend_may_be_negative() {
    let stage = WatcherFixture::new(world(false), NOW).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    for part in ["wrkspc_a", ""] {
        let on = FaultTarget::usage_of(part);
        stage
            .simulator
            .inject_fault(on, field("total_cost_usd", "-25"));
    }
    let summary = stage.cycle_after(5, &mut watcher).await;
    assert_eq!(summary.unreadable, Vec::<String>::new());
    let credit = Usd::ZERO - Usd::from_dollars(25);
    assert_eq!(today(&stage, &store, "wrkspc_a").await, credit);
}

#[tokio::test]
async fn a_list_with_an_unreadable_row_is_read_and_loses_no_entry() {
    for is_real in [false, true] {
        let mut stage = WatcherFixture::new(world(is_real), NOW).await;
        if is_real {
            stage.dialect = Dialect::Reports;
        }
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        stage.cycle(&mut watcher).await;
        let list = || FaultTarget::endpoint("workspaces");
        stage
            .simulator
            .inject_fault(list(), field("name", r#""\ud83d""#));
        let summary = stage.cycle_after(15, &mut watcher).await;
        assert_eq!(summary.outcome, CycleOutcome::Ok, "{summary:?}");
        let is_broken = watcher
            .directory
            .present()
            .any(|one| one.name == "\u{fffd}");
        assert!(is_broken, "{:?}", watcher.directory);
        stage.simulator.clear_faults();
        stage.simulator.inject_fault(list(), field("id", "null"));
        let summary = stage.cycle_after(15, &mut watcher).await;
        assert!(
            summary.remarks.concat().contains("workspaces"),
            "{summary:?}"
        );
        assert!(
            !watcher.directory.has_missing(),
            "an unreadable entry may still exist"
        );
        stage.simulator.clear_faults();
        let summary = stage.cycle_after(15, &mut watcher).await;
        assert_eq!(summary.remarks, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_limit_in_another_currency_is_unknown() {
    let body = r#"{"data": [
        {"type": "spend_limit", "scope": {"type": "workspace", "workspace_id": "wrkspc_a"}, "period": "monthly", "amount": "100000", "currency": "EUR", "is_enabled": true},
        {"type": "spend_limit", "scope": {"type": "workspace", "workspace_id": "wrkspc_b"}, "period": "monthly", "amount": "200000", "currency": "USD", "is_enabled": true}
    ], "next_page": null}"#;
    let mut stage = WatcherFixture::new(world(true), NOW).await;
    stage.dialect = Dialect::Reports;
    let on = FaultTarget::endpoint("spend_limits");
    stage
        .simulator
        .inject_fault(on, ServerFault::Body(body.to_owned()));
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let summary = stage.cycle(&mut watcher).await;
    assert_eq!(summary.outcome, CycleOutcome::Ok, "{summary:?}");
    let limit = |id: &str| watcher.directory.workspaces[id].0.monthly_limit;
    assert_eq!(limit("wrkspc_a"), None);
    assert_eq!(limit("wrkspc_b"), Some(Usd::from_dollars(2000)));
    let remarks = summary.remarks.concat();
    let expected =
        "the spend limit of workspace `wrkspc_a` is unknown: row 1: `currency` is `EUR`, not USD";
    assert!(remarks.contains(expected), "{remarks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_logs_an_unreadable_row_once_and_reports_it_in_its_readiness() {
    let clock = spendwatch_base::clock::Clock::system();
    let mut world = World::empty();
    for id in ["workspace_a", "workspace_b"] {
        world.add_workspace(id, id);
        world.spend(id, SONNET, clock.now(), "5");
    }
    let simulator = Simulator::start(world, clock).await.unwrap();
    simulator.inject_fault(
        FaultTarget::usage_of("workspace_a"),
        field("total_cost_usd", r#""much""#),
    );
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    let address = program.address();
    let line = program.wait_for("total_cost_usd");
    assert!(
        line.contains("workspace_a") && line.contains("keeping its last figure"),
        "{line}"
    );
    for _ in 0..2 {
        program.wait_for("cycle partial");
    }
    let ready = get(&address, "/readyz");
    assert!(ready.contains(r#""state":"partial""#), "{ready}");
    assert!(ready.contains("total_cost_usd"), "{ready}");
    simulator.clear_faults();
    program.wait_for("cycle ok");
    let ready = get(&address, "/readyz");
    assert!(!ready.contains("total_cost_usd"), "{ready}");
    let hours =
        |line: &&String| line.contains("row 1: `total_cost_usd`") && line.contains(":00:00Z to ");
    let named: std::collections::BTreeSet<&String> = program.lines.iter().filter(hours).collect();
    let all = program.lines.iter().filter(hours).count();
    assert_eq!(named.len(), all, "each once: {named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_daemon_report_a_rejected_key_first() {
    let rejected = "the Admin API rejected the key (401): organization `acme`, GET /v1/";
    for speech in BOTH {
        let fixture = speech.fixture().await;
        write_secret(&fixture.home.path("key"), "sk-ant-admin-wrong");
        for arguments in [
            "check --limit 5",
            "usage --live",
            "users list",
            "keys list",
            "workspaces list",
            "offboard ada@example.com --yes",
        ] {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let output = fixture.home.command(&arguments);
            let stderr = String::from_utf8(output.stderr).unwrap();
            let expected = format!("error: {rejected}");
            assert!(
                stderr.lines().any(|line| line.starts_with(&expected)),
                "{arguments:?}: {stderr}"
            );
            assert!(stderr.contains("check `admin_key`"), "{stderr}");
        }
        let mut program = Program::run(&fixture.home);
        let line = program.wait_for("rejected the key (401)");
        assert!(line.contains(rejected), "{line}");
        assert!(!line.contains("cannot tell"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_name_does_not_affect_other_objects() {
    for speech in BOTH {
        let fixture = speech.fixture().await;
        for list in ["users", "api_keys", "workspaces"] {
            let on = FaultTarget::endpoint(list).method("GET");
            fixture
                .simulator
                .inject_fault(on, field("name", r#""half \ud83d pair""#));
        }
        let (output, _) = fixture.run_json(0, "users list");
        assert!(
            output.to_string().contains("half \u{fffd} pair"),
            "{output}"
        );
        let (output, stderr) = fixture.run_json(0, "offboard bo@example.com --yes");
        assert!(output.to_string().contains("apikey_3"), "{output} {stderr}");
        fixture.run_json(0, "workspaces list");
        fixture.run_json(0, "keys list");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_secondary_list_costs_only_its_column() {
    let fixture = Speech::Real.fixture().await;
    let refuse = |lists: &[&'static str]| {
        fixture.simulator.clear_faults();
        for list in lists {
            let refused = ServerFault::Status(404, "{}".to_owned(), None);
            fixture
                .simulator
                .inject_fault(FaultTarget::endpoint(list).method("GET"), refused);
        }
    };
    refuse(&["members", "spend_limits", "api_keys"]);
    let (output, stderr) = fixture.run_json(0, "workspaces list");
    let rows = output.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{output}");
    let is_empty =
        |row: &serde_json::Value| row["members"].is_null() && row["active_keys"].is_null();
    assert!(rows.iter().all(is_empty), "{output}");
    assert_eq!(
        stderr.matches("members of workspaces are unknown").count(),
        1,
        "{stderr}"
    );
    refuse(&["members", "invites", "api_keys"]);
    let onboard = "onboard cy@example.com --name Cy --team search --workspace Search";
    let (output, stderr) = fixture.run_json(0, onboard);
    assert!(output.to_string().contains("cy@example.com"), "{output}");
    assert!(
        stderr.contains("warning: members of workspace `wrkspc_search` are unknown"),
        "{stderr}"
    );
    refuse(&["users", "workspaces"]);
    let (output, stderr) = fixture.run_json(0, "keys list");
    assert_eq!(output.as_array().unwrap().len(), 3, "{output}");
    assert!(stderr.contains("names of creators are unknown"), "{stderr}");
    refuse(&["invites"]);
    let (_, stderr) = fixture.run_json(0, "offboard bo@example.com --yes");
    assert!(stderr.contains("open invitations are unknown"), "{stderr}");
    refuse(&["users"]);
    fixture.run_json(0, "workspaces members list Search");
}
