//! `usage`: from the ledger and from the service, both against the simulator's own truth to the last digit.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::domain::money::Usd;
use spendwatch::domain::usage::{Part, sum};
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;

use crate::harness::{Stage, at, hours};
use crate::program::write_secret;

const NOW: &str = "2026-11-24T12:30:00Z";
/// Of the open hour.
const END: &str = "2026-11-24T13:00:00Z";

/// A ledger of the demo's organization after one cycle, and a configuration for it.
struct Filled {
    stage: Stage,
}

impl Filled {
    async fn new() -> Filled {
        let world = World::demo(7, at("2026-09-20T00:00:00Z"), at(NOW));
        let stage = Stage::new(world, NOW).await;
        let filled = Filled { stage };
        filled.configure();
        filled
    }

    async fn read(self) -> Filled {
        let store = self.stage.open_store();
        let mut watcher = self.stage.watcher(&store).await;
        self.stage.cycle(&mut watcher).await;
        drop((watcher, store));
        self
    }

    fn configure(&self) {
        let folder = self.stage.folder.path();
        write_secret(&folder.join("key"), self.stage.simulator.key().expose());
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nbase_url = \"{}\"\nadmin_key = {{ file = \"{}\" }}\n\
             max_requests_per_minute = 0\n[store]\nurl = \"sqlite://{}\"\n\
             [[teams]]\nname = \"core\"\nworkspaces = [\"Sand*\"]\n",
            self.stage.simulator.base_url(),
            folder.join("key").display(),
            self.stage.store_path().display()
        );
        fs::write(folder.join("spendwatch.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .arg("usage")
            .args(arguments)
            .arg("--config")
            .arg(self.stage.folder.path().join("spendwatch.toml"))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn truth(&self, part: &Part, start: &str, end: &str) -> Usd {
        sum(&self.stage.simulator.truth(part, hours(start, end))).spend
    }
}

fn usd(value: &Value) -> Usd {
    Usd::parse(value.as_str().unwrap()).unwrap()
}

fn sum_of(told: &Value, is_meant: impl Fn(&Value) -> bool) -> Usd {
    let rows = told["rows"].as_array().unwrap().iter();
    rows.filter(|row| is_meant(row))
        .map(|row| usd(&row["spend_usd"]))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_breakdown_of_ledger_and_service_is_the_truth() {
    let filled = Filled::new().await.read().await;
    let range = ["--from", "2026-10-25", "--to", "2026-11-24"];
    let whole = filled.truth(&Part::Whole, "2026-10-25T00:00:00Z", END);
    assert!(whole > Usd::from_dollars(100));
    for by in ["organization", "workspace", "model", "team"] {
        for granularity in ["day", "month"] {
            for live in [false, true] {
                let asked = ["--by", by, "--granularity", granularity];
                let source: &[&str] = if live { &["--live"] } else { &[] };
                let told = filled.json(&[&range, &asked, source].concat());
                let place = format!("{by} {granularity} live={live}");
                assert_eq!(usd(&told["total"]["spend_usd"]), whole, "{place}");
                assert_eq!(sum_of(&told, |_| true), whole, "{place}");
                let november = |row: &Value| row["period"].as_str().unwrap().starts_with("2026-11");
                let truth = filled.truth(&Part::Whole, "2026-11-01T00:00:00Z", END);
                assert_eq!(sum_of(&told, november), truth, "{place}");
            }
        }
    }
    assert_eq!(filled.stage.simulator.n_not_get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_the_remainder_and_hours_of_a_zone_are_the_truth() {
    let filled = Filled::new().await.read().await;
    let (start, end) = ("2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z");
    let range = [
        "--from",
        "2026-11-23",
        "--to",
        "2026-11-23",
        "--time-zone",
        "Europe/Berlin",
    ];
    for source in [&[][..], &["--live"]] {
        for granularity in ["hour", "day", "month"] {
            let told = filled.json(&[&range[..], &["--granularity", granularity], source].concat());
            let ids: Vec<&str> = told["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["workspace_id"].as_str().unwrap())
                .collect();
            assert!(ids.contains(&"unattributed"), "{ids:?}");
            for id in ids {
                let part = match id {
                    "unattributed" => Part::Unattributed,
                    id => Part::Workspace(id.into()),
                };
                let told = sum_of(&told, |row| row["workspace_id"] == id);
                assert_eq!(
                    told,
                    filled.truth(&part, start, end),
                    "{id} {granularity} {source:?}"
                );
            }
        }
    }
    let told = filled.json(
        &[
            &range[..],
            &["--granularity", "hour", "--by", "organization"],
        ]
        .concat(),
    );
    let periods: Vec<&str> = told["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["period"].as_str().unwrap())
        .collect();
    assert_eq!(periods.len(), 24);
    assert_eq!(
        (periods[0], periods[23]),
        ("2026-11-23T00+01:00", "2026-11-23T23+01:00")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_does_not_know_is_said() {
    let filled = Filled::new().await;
    let nothing = filled.run(&["--from", "2026-11"]);
    assert_eq!(nothing.status.code(), Some(1));
    let filled = filled.read().await;
    filled.stage.clock.advance(Duration::from_hours(1));
    let said = |arguments: &[&str], exit: i32| {
        let output = filled.run(arguments);
        assert_eq!(output.status.code(), Some(exit));
        String::from_utf8(output.stderr).unwrap()
    };
    let hourly = [
        "--from",
        "2026-10-01",
        "--to",
        "2026-11-24",
        "--granularity",
        "hour",
    ];
    let told = said(&hourly, 1);
    assert!(
        told.contains("hours are known from 2026-11-10 00:00Z on"),
        "{told}"
    );
    let told = said(&["--from", "2026-01-01", "--to", "2026-11-24"], 0);
    assert!(
        told.contains("all is known from 2026-08-16 00:00Z on"),
        "{told}"
    );
    assert!(told.contains("known up to 2026-11-24 12:30Z"), "{told}");
    // The same for programs.
    let told = filled.json(&["--from", "2026-01-01", "--to", "2026-11-24"]);
    let remarks = told["remarks"].as_array().unwrap();
    let kinds: Vec<_> = remarks
        .iter()
        .map(|remark| (&remark["kind"], &remark["at"]))
        .collect();
    assert_eq!(
        serde_json::json!(kinds),
        serde_json::json!([
            ["known_from", "2026-08-16T00:00:00Z"],
            ["known_up_to", "2026-11-24T12:30:00Z"]
        ])
    );
    assert_eq!(remarks[0]["organization"], "acme");
    let told = said(
        &[
            "--from",
            "2026-10",
            "--to",
            "2026-10",
            "--time-zone",
            "Europe/Berlin",
        ],
        0,
    );
    assert!(told.contains("only days of UTC are known"), "{told}");
    let told = said(&["--from", "2026-11"], 0);
    assert!(!told.contains("nothing is known yet"), "{told}");
    let told = said(&["--by", "api_key"], 0);
    assert!(told.contains("no usage is told by API key"), "{told}");
    let told = said(&["--by", "user"], 0);
    assert!(told.contains("no usage is told by person"), "{told}");
    let told = said(&["--time-zone", "Europe/Berlln"], 2);
    assert!(told.contains("is no time zone"), "{told}");
    let told = said(&["--org", "other", "--live"], 2);
    assert!(told.contains("no organization `other`"), "{told}");
}

/// What `usage` says of a time of which nothing was read.
#[track_caller]
fn check_unknown(filled: &Filled, range: &[&str]) {
    let told = filled.json(range);
    let total = told["total"].as_object().unwrap();
    assert!(total.values().all(Value::is_null), "{told}");
    assert_eq!(told["is_complete"], false);
    assert_eq!(told["rows"].as_array().unwrap().len(), 0);
    assert!(!told["remarks"].as_array().unwrap().is_empty(), "{told}");
    let output = filled.run(range);
    assert_eq!(output.status.code(), Some(0));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("unknown") && !table.contains("0.00"),
        "{table}"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("warning: usage is unknown"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_time_that_was_never_read_is_unknown_and_not_zero() {
    let filled = Filled::new().await;
    let november = ["--from", "2026-11-01", "--to", "2026-11-24"];
    drop(filled.stage.open_store());
    check_unknown(&filled, &november);
    let filled = filled.read().await;
    check_unknown(&filled, &["--from", "2025-01-01", "--to", "2025-12-31"]);
    // What is known in part is a lower bound.
    let partly = ["--from", "2026-01-01", "--to", "2026-11-24"];
    let told = filled.json(&partly);
    assert!(usd(&told["total"]["spend_usd"]) > Usd::ZERO);
    assert_eq!(told["is_complete"], false);
    let table = String::from_utf8(filled.run(&partly).stdout).unwrap();
    assert!(table.contains("total, at least"), "{table}");
    let told = filled.json(&november);
    assert_eq!(told["is_complete"], true, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_ends_with_the_total_and_csv_has_rows_alone() {
    let filled = Filled::new().await.read().await;
    let range = ["--from", "2026-11-01", "--to", "2026-11-24", "--by", "team"];
    let table = String::from_utf8(filled.run(&range).stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[1..3].iter().any(|line| line.contains("unassigned")),
        "{table}"
    );
    assert!(lines[3].trim_start().starts_with("total"), "{table}");
    let csv = String::from_utf8(
        filled
            .run(&[&range[..], &["--output", "csv"]].concat())
            .stdout,
    )
    .unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(
        csv.starts_with("period,organization,team_id,team,spend_usd,tokens,"),
        "{csv}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_was_never_read_is_not_passed_over() {
    let filled = Filled::new().await;
    let fault = Fault::Status(400, "{}".into(), None);
    let on = FaultOn::usage_of("workspace_sandbox");
    filled.stage.simulator.fail(on, fault);
    let filled = filled.read().await;
    let output = filled.run(&["--from", "2026-11-01", "--to", "2026-11-24"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("nothing is known yet of 1 of 7 parts"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_whole_does_not_count_yet_is_no_spend_below_zero() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let now = Clock::system().now();
    world.spend("workspace_a", "claude-sonnet-4-5", now, "5");
    let filled = Filled {
        stage: Stage::new(world, &now.to_string()).await,
    };
    filled.configure();
    let on = FaultOn::usage_of("");
    filled.stage.simulator.fail(on, Fault::NoRows);
    let day = now.strftime("%Y-%m-%d").to_string();
    for granularity in ["hour", "day", "month"] {
        let asked = ["--live", "--from", &day, "--granularity", granularity];
        let told = filled.json(&asked);
        assert_eq!(told["total"]["spend_usd"], "5", "{granularity}");
        assert_eq!(told["rows"].as_array().unwrap().len(), 1, "{told}");
    }
}
