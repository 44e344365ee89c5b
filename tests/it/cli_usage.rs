//! `usage` from the ledger and live: both match the simulator's exact usage.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::usage::bucket::{Part, sum};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;

use crate::harness::{WatcherFixture, at, hours};
use crate::program::write_secret;

const NOW: &str = "2026-11-24T12:30:00Z";
const END: &str = "2026-11-24T13:00:00Z";

/// Ledger of the demo organization after one cycle, and its configuration.
struct Filled {
    fixture: WatcherFixture,
}

impl Filled {
    async fn new() -> Filled {
        let world = World::demo(7, at("2026-09-20T00:00:00Z"), at(NOW));
        let fixture = WatcherFixture::new(world, NOW).await;
        let filled = Filled { fixture };
        filled.configure();
        filled
    }

    async fn read(self) -> Filled {
        let store = self.fixture.open_store();
        let mut watcher = self.fixture.watcher(&store).await;
        self.fixture.cycle(&mut watcher).await;
        drop((watcher, store));
        self
    }

    fn configure(&self) {
        let folder = self.fixture.folder.path();
        write_secret(&folder.join("key"), self.fixture.simulator.key().expose());
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nbase_url = \"{}\"\nadmin_key = {{ file = \"{}\" }}\n\
             max_requests_per_minute = 0\n[store]\nurl = \"sqlite://{}\"\n\
             [[teams]]\nname = \"core\"\nworkspaces = [\"Sand*\"]\n",
            self.fixture.simulator.base_url(),
            folder.join("key").display(),
            self.fixture.store_path().display()
        );
        fs::write(folder.join("spendwatch.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .arg("usage")
            .args(arguments)
            .arg("--config")
            .arg(self.fixture.folder.path().join("spendwatch.toml"))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn truth(&self, part: &Part, start: &str, end: &str) -> Usd {
        sum(&self.fixture.simulator.truth(part, hours(start, end))).spend
    }
}

fn usd(value: &Value) -> Usd {
    Usd::parse(value.as_str().unwrap()).unwrap()
}

fn sum_of(result: &Value, is_meant: impl Fn(&Value) -> bool) -> Usd {
    let rows = result["rows"].as_array().unwrap().iter();
    rows.filter(|row| is_meant(row))
        .map(|row| usd(&row["spend_usd"]))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_breakdown_matches_truth() {
    let filled = Filled::new().await.read().await;
    let range = ["--from", "2026-10-25", "--to", "2026-11-24"];
    let whole = filled.truth(&Part::Whole, "2026-10-25T00:00:00Z", END);
    assert!(whole > Usd::from_dollars(100));
    for by in ["organization", "workspace", "model", "team"] {
        for granularity in ["day", "month"] {
            for live in [false, true] {
                let asked = ["--by", by, "--granularity", granularity];
                let source: &[&str] = if live { &["--live"] } else { &[] };
                let result = filled.json(&[&range, &asked, source].concat());
                let place = format!("{by} {granularity} live={live}");
                assert_eq!(usd(&result["total"]["spend_usd"]), whole, "{place}");
                assert_eq!(sum_of(&result, |_| true), whole, "{place}");
                let november = |row: &Value| row["period"].as_str().unwrap().starts_with("2026-11");
                let truth = filled.truth(&Part::Whole, "2026-11-01T00:00:00Z", END);
                assert_eq!(sum_of(&result, november), truth, "{place}");
            }
        }
    }
    assert_eq!(filled.fixture.simulator.n_writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_remainder_and_zone_hours_match_truth() {
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
            let result =
                filled.json(&[&range[..], &["--granularity", granularity], source].concat());
            let ids: Vec<&str> = result["rows"]
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
                let result = sum_of(&result, |row| row["workspace_id"] == id);
                assert_eq!(
                    result,
                    filled.truth(&part, start, end),
                    "{id} {granularity} {source:?}"
                );
            }
        }
    }
    let result = filled.json(
        &[
            &range[..],
            &["--granularity", "hour", "--by", "organization"],
        ]
        .concat(),
    );
    let periods: Vec<&str> = result["rows"]
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
async fn missing_data_is_reported() {
    let filled = Filled::new().await;
    let nothing = filled.run(&["--from", "2026-11"]);
    assert_eq!(nothing.status.code(), Some(1));
    let filled = filled.read().await;
    filled.fixture.clock.advance(Duration::from_hours(1));
    let stderr = |arguments: &[&str], exit: i32| {
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
    let result = stderr(&hourly, 1);
    assert!(
        result.contains("hours are known only from 2026-11-10 00:00Z"),
        "{result}"
    );
    let result = stderr(&["--from", "2026-01-01", "--to", "2026-11-24"], 0);
    assert!(
        result.contains("data is complete only from 2026-08-16 00:00Z"),
        "{result}"
    );
    assert!(result.contains("data as of 2026-11-24 12:30Z"), "{result}");
    // The same as JSON.
    let result = filled.json(&["--from", "2026-01-01", "--to", "2026-11-24"]);
    let remarks = result["remarks"].as_array().unwrap();
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
    let result = stderr(
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
    assert!(result.contains("only UTC days are known"), "{result}");
    let result = stderr(&["--from", "2026-11"], 0);
    assert!(!result.contains("no data yet"), "{result}");
    let result = stderr(&["--from", "2026-11", "--by", "api_key"], 0);
    assert!(
        result.contains("usage is not reported by API key"),
        "{result}"
    );
    let result = stderr(&["--from", "2026-11", "--by", "user"], 0);
    assert!(result.contains("usage is not reported by user"), "{result}");
    let result = stderr(&["--time-zone", "Europe/Berlln"], 2);
    assert!(result.contains("expected an IANA time zone"), "{result}");
    let result = stderr(&["--org", "other", "--live"], 2);
    assert!(result.contains("no organization `other`"), "{result}");
}

/// Checks the output for a period of which nothing was read.
#[track_caller]
fn check_unknown(filled: &Filled, range: &[&str]) {
    let result = filled.json(range);
    let total = result["total"].as_object().unwrap();
    assert!(total.values().all(Value::is_null), "{result}");
    assert_eq!(result["is_complete"], false);
    assert_eq!(result["rows"].as_array().unwrap().len(), 0);
    assert!(
        !result["remarks"].as_array().unwrap().is_empty(),
        "{result}"
    );
    let output = filled.run(range);
    assert_eq!(output.status.code(), Some(0));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("unknown") && !table.contains("0.00"),
        "{table}"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warning: usage is unknown"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_usage_is_unknown_not_zero() {
    let filled = Filled::new().await;
    let november = ["--from", "2026-11-01", "--to", "2026-11-24"];
    drop(filled.fixture.open_store());
    check_unknown(&filled, &november);
    let filled = filled.read().await;
    check_unknown(&filled, &["--from", "2025-01-01", "--to", "2025-12-31"]);
    // A partly known total is a lower bound.
    let partly = ["--from", "2026-01-01", "--to", "2026-11-24"];
    let result = filled.json(&partly);
    assert!(usd(&result["total"]["spend_usd"]) > Usd::ZERO);
    assert_eq!(result["is_complete"], false);
    let table = String::from_utf8(filled.run(&partly).stdout).unwrap();
    assert!(table.contains("total, at least"), "{table}");
    let result = filled.json(&november);
    assert_eq!(result["is_complete"], true, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn table_has_total_and_csv_only_rows() {
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
async fn unread_workspace_is_reported() {
    let filled = Filled::new().await;
    let fault = ServerFault::Status(400, "{}".into(), None);
    let on = FaultTarget::usage_of("workspace_sandbox");
    filled.fixture.simulator.inject_fault(on, fault);
    let filled = filled.read().await;
    let output = filled.run(&["--from", "2026-11-01", "--to", "2026-11-24"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no data yet for 1 of 7 parts"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn remainder_is_never_negative() {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let now = Clock::system().now();
    world.spend("workspace_a", "claude-sonnet-4-5", now, "5");
    let filled = Filled {
        fixture: WatcherFixture::new(world, &now.to_string()).await,
    };
    filled.configure();
    let on = FaultTarget::usage_of("");
    filled
        .fixture
        .simulator
        .inject_fault(on, ServerFault::NoRows);
    let day = now.strftime("%Y-%m-%d").to_string();
    for granularity in ["hour", "day", "month"] {
        let asked = ["--live", "--from", &day, "--granularity", granularity];
        let result = filled.json(&asked);
        assert_eq!(result["total"]["spend_usd"], "5", "{granularity}");
        assert_eq!(result["rows"].as_array().unwrap().len(), 1, "{result}");
    }
}
