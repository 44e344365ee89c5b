//! Responses with something strange in them: a row that cannot be read costs its own figure and nothing else, and is named; a list
//! that is refused costs its column.

use spendwatch::cycle::state::{Report, Watcher};
use spendwatch::domain::dialect::Dialect;
use spendwatch::domain::knowledge::Figure;
use spendwatch::domain::money::Usd;
use spendwatch::domain::subject::SubjectKind;
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::speech::{Real, Speaks};
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::admin::{BOTH, Dialect as Speech};
use crate::alerts::words;
use crate::harness::{Stage, at, hours, rule};
use crate::program::{Home, Program, get, write_secret};

const SONNET: &str = "claude-sonnet-4-5";
const NOW: &str = "2026-11-24T10:05:00Z";

fn field(name: &str, json: &str) -> Fault {
    Fault::Field(name.to_owned(), json.to_owned())
}

/// Two workspaces that have spent 10 USD each this morning.
fn world(is_real: bool) -> World {
    let mut world = World::empty();
    if is_real {
        world.speaks = Speaks::Real(Real::default());
        world.default_workspace = Some("wrkspc_default0".to_owned());
    }
    for (id, name) in [("wrkspc_a", "Alpha"), ("wrkspc_b", "Beta")] {
        world.add_workspace(id, name);
        world.spend(id, SONNET, at("2026-11-24T08:10:00Z"), "10");
    }
    world
}

fn spend(stage: &Stage, id: &str, time: &str, usd: &str) {
    stage.simulator.world().spend(id, SONNET, at(time), usd);
}

async fn today(stage: &Stage, store: &Store, id: &str) -> Usd {
    let day = hours("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z");
    stage.ledger(store, Some(id), day).await
}

fn figure_of(watcher: &Watcher, id: &str) -> Figure {
    let of = watcher.measurements.iter();
    let mut of = of.filter(|measured| &*measured.subject.id == id && !measured.is_closed);
    of.next().unwrap().figure
}

#[track_caller]
fn is_named(report: &Report, texts: &[&str]) {
    assert_eq!(report.outcome, CycleOutcome::Partial, "{report:?}");
    let named = report.unreadable.concat();
    assert!(texts.iter().all(|text| named.contains(text)), "{report:?}");
}

#[tokio::test]
async fn a_strange_figure_keeps_its_value_while_all_others_move_and_the_next_good_answer_heals() {
    let month = rule("month", SubjectKind::Workspace, 100);
    let stage = Stage::new(world(false), NOW).await.with_rule(month);
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    assert_eq!(stage.cycle(&mut watcher).await.outcome, CycleOutcome::Ok);
    for id in ["wrkspc_a", "wrkspc_b"] {
        spend(&stage, id, "2026-11-24T10:02:00Z", "85");
    }
    for json in [r#""10""#, "null", "1e13", "[10]", r#""NaN""#] {
        stage.simulator.heal();
        stage
            .simulator
            .fail(FaultOn::usage_of("wrkspc_a"), field("total_cost_usd", json));
        let report = stage.cycle_after(5, &mut watcher).await;
        is_named(&report, &["wrkspc_a", "total_cost_usd", "row 1"]);
        // The hour that cannot be read keeps its figure, the other one is read.
        assert_eq!(
            today(&stage, &store, "wrkspc_a").await,
            Usd::from_dollars(95)
        );
        assert_eq!(
            today(&stage, &store, "wrkspc_b").await,
            Usd::from_dollars(95)
        );
    }
    // A lower bound can fire, and says that it is one.
    let facts = stage.deliver(&store).await;
    assert_eq!(words(&facts), ["Alpha 80% first", "Beta 80% first"]);
    assert!(facts[0].is_lower_bound && !facts[1].is_lower_bound);
    let bound = Usd::from_dollars(95).pico();
    assert_eq!(figure_of(&watcher, "wrkspc_a"), Figure::AtLeast(bound));
    assert_eq!(figure_of(&watcher, "wrkspc_b"), Figure::Known(bound));
    // A restart does not forget what is unknown, and a lower figure that may be incomplete resolves nothing.
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
    stage.simulator.heal();
    let report = stage.cycle_after(5, &mut watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
    assert_eq!(report.remarks, Vec::<String>::new());
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
async fn a_strange_row_of_a_report_costs_its_workspace_and_bucket() {
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
        let mut stage = Stage::new(world(true), NOW).await;
        stage.dialect = dialect;
        let on = FaultOn::endpoint(endpoint);
        stage.simulator.fail(on, field(name, json));
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        let report = stage.cycle(&mut watcher).await;
        is_named(&report, &[name]);
        let (alpha, beta) = (
            today(&stage, &store, "wrkspc_a").await,
            today(&stage, &store, "wrkspc_b").await,
        );
        assert!(alpha.max(beta) > Usd::ZERO, "{name}: the other one is read");
        spend(&stage, "wrkspc_a", "2026-11-24T10:02:00Z", "7");
        stage.simulator.heal();
        let report = stage.cycle_after(5, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Ok, "{name}: {report:?}");
        // As if nothing strange had been answered.
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

/// The same two cycles, with good answers alone.
async fn undisturbed(dialect: Dialect) -> (Stage, Store) {
    let mut stage = Stage::new(world(true), NOW).await;
    stage.dialect = dialect;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    spend(&stage, "wrkspc_a", "2026-11-24T10:02:00Z", "7");
    stage.cycle_after(5, &mut watcher).await;
    (stage, store)
}

#[tokio::test]
async fn a_credit_counts_and_the_net_amount_may_be_below_zero() {
    let stage = Stage::new(world(false), NOW).await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    stage.cycle(&mut watcher).await;
    for part in ["wrkspc_a", ""] {
        let on = FaultOn::usage_of(part);
        stage.simulator.fail(on, field("total_cost_usd", "-25"));
    }
    let report = stage.cycle_after(5, &mut watcher).await;
    assert_eq!(report.unreadable, Vec::<String>::new());
    let credit = Usd::ZERO - Usd::from_dollars(25);
    assert_eq!(today(&stage, &store, "wrkspc_a").await, credit);
}

#[tokio::test]
async fn a_list_with_a_strange_row_is_read_and_hides_nobody() {
    for is_real in [false, true] {
        let mut stage = Stage::new(world(is_real), NOW).await;
        if is_real {
            stage.dialect = Dialect::Reports;
        }
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        stage.cycle(&mut watcher).await;
        let list = || FaultOn::endpoint("workspaces");
        stage.simulator.fail(list(), field("name", r#""\ud83d""#));
        let report = stage.cycle_after(15, &mut watcher).await;
        assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
        let is_broken = watcher
            .directory
            .present()
            .any(|one| one.name == "\u{fffd}");
        assert!(is_broken, "{:?}", watcher.directory);
        stage.simulator.heal();
        stage.simulator.fail(list(), field("id", "null"));
        let report = stage.cycle_after(15, &mut watcher).await;
        assert!(report.remarks.concat().contains("workspaces"), "{report:?}");
        assert!(
            !watcher.directory.has_missing(),
            "who is unreadable may be there"
        );
        stage.simulator.heal();
        let report = stage.cycle_after(15, &mut watcher).await;
        assert_eq!(report.remarks, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_limit_in_another_currency_makes_only_itself_unknown() {
    let body = r#"{"data": [
        {"type": "spend_limit", "scope": {"type": "workspace", "workspace_id": "wrkspc_a"}, "period": "monthly", "amount": "100000", "currency": "EUR", "is_enabled": true},
        {"type": "spend_limit", "scope": {"type": "workspace", "workspace_id": "wrkspc_b"}, "period": "monthly", "amount": "200000", "currency": "USD", "is_enabled": true}
    ], "next_page": null}"#;
    let mut stage = Stage::new(world(true), NOW).await;
    stage.dialect = Dialect::Reports;
    let on = FaultOn::endpoint("spend_limits");
    stage.simulator.fail(on, Fault::Body(body.to_owned()));
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let report = stage.cycle(&mut watcher).await;
    assert_eq!(report.outcome, CycleOutcome::Ok, "{report:?}");
    let limit = |id: &str| watcher.directory.workspaces[id].0.monthly_limit;
    assert_eq!(limit("wrkspc_a"), None);
    assert_eq!(limit("wrkspc_b"), Some(Usd::from_dollars(2000)));
    let remarks = report.remarks.concat();
    let expected =
        "the spend limit of workspace `wrkspc_a` is unknown: row 1: `currency` is `EUR`, not USD";
    assert!(remarks.contains(expected), "{remarks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_names_a_strange_row_in_its_log_once_and_in_its_readiness() {
    let clock = spendwatch::clock::Clock::system();
    let mut world = World::empty();
    for id in ["workspace_a", "workspace_b"] {
        world.add_workspace(id, id);
        world.spend(id, SONNET, clock.now(), "5");
    }
    let simulator = Simulator::start(world, clock).await.unwrap();
    simulator.fail(
        FaultOn::usage_of("workspace_a"),
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
    simulator.heal();
    program.wait_for("cycle ok");
    let ready = get(&address, "/readyz");
    assert!(!ready.contains("total_cost_usd"), "{ready}");
    let hours =
        |line: &&String| line.contains("row 1: `total_cost_usd`") && line.contains(":00:00Z to ");
    let named: std::collections::BTreeSet<&String> = program.said.iter().filter(hours).collect();
    let all = program.said.iter().filter(hours).count();
    assert_eq!(named.len(), all, "each once: {named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_key_is_the_first_thing_that_every_command_and_the_daemon_say() {
    let rejected = "the Admin API rejected the key (401): organization `acme`, GET /v1/";
    for speech in BOTH {
        let office = speech.office().await;
        write_secret(&office.home.path("key"), "sk-ant-admin-wrong");
        for arguments in [
            "check --limit 5",
            "usage --live",
            "users list",
            "keys list",
            "workspaces list",
            "offboard ada@example.com --yes",
        ] {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let output = office.home.command(&arguments);
            let said = String::from_utf8(output.stderr).unwrap();
            let expected = format!("error: {rejected}");
            assert!(
                said.lines().any(|line| line.starts_with(&expected)),
                "{arguments:?}: {said}"
            );
            assert!(said.contains("check `admin_key`"), "{said}");
        }
        let mut program = Program::run(&office.home);
        let line = program.wait_for("rejected the key (401)");
        assert!(line.contains(rejected), "{line}");
        assert!(!line.contains("cannot tell"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_name_of_one_hinders_nothing_that_is_done_to_another() {
    for speech in BOTH {
        let office = speech.office().await;
        for list in ["users", "api_keys", "workspaces"] {
            let on = FaultOn::endpoint(list).method("GET");
            office
                .simulator
                .fail(on, field("name", r#""half \ud83d pair""#));
        }
        let (told, _) = office.told(0, "users list");
        assert!(told.to_string().contains("half \u{fffd} pair"), "{told}");
        let (told, said) = office.told(0, "offboard bo@example.com --yes");
        assert!(told.to_string().contains("apikey_3"), "{told} {said}");
        office.told(0, "workspaces list");
        office.told(0, "keys list");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_list_that_is_refused_costs_only_its_column() {
    let office = Speech::Real.office().await;
    let refuse = |lists: &[&'static str]| {
        office.simulator.heal();
        for list in lists {
            let refused = Fault::Status(404, "{}".to_owned(), None);
            office
                .simulator
                .fail(FaultOn::endpoint(list).method("GET"), refused);
        }
    };
    refuse(&["members", "spend_limits", "api_keys"]);
    let (told, said) = office.told(0, "workspaces list");
    let rows = told.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{told}");
    let is_empty =
        |row: &serde_json::Value| row["members"].is_null() && row["active_keys"].is_null();
    assert!(rows.iter().all(is_empty), "{told}");
    assert_eq!(
        said.matches("members of workspaces are unknown").count(),
        1,
        "{said}"
    );
    refuse(&["members", "invites", "api_keys"]);
    let onboard = "onboard cy@example.com --name Cy --team search --workspace Search";
    let (told, said) = office.told(0, onboard);
    assert!(told.to_string().contains("cy@example.com"), "{told}");
    assert!(
        said.contains("warning: members of workspace `wrkspc_search` are unknown"),
        "{said}"
    );
    refuse(&["users", "workspaces"]);
    let (told, said) = office.told(0, "keys list");
    assert_eq!(told.as_array().unwrap().len(), 3, "{told}");
    assert!(said.contains("names of creators are unknown"), "{said}");
    refuse(&["invites"]);
    let (_, said) = office.told(0, "offboard bo@example.com --yes");
    assert!(said.contains("open invitations are unknown"), "{said}");
    refuse(&["users"]);
    office.told(0, "workspaces members list Search");
}
