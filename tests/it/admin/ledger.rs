//! Admin commands beside a daemon: spend and last use from its ledger, and its writes in the audit log.

use jiff::SignedDuration;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};

use super::{AdminFixture, Dialect, column};
use crate::program::{Program, exchange};

const SONNET: &str = "claude-sonnet-4-5";

/// One key spent 12 USD an hour ago, one five days ago, and one nothing.
async fn fixture_with_ledger() -> (AdminFixture, Program) {
    let mut world = Dialect::Real.world();
    let used = SimulatedUsage {
        micros: 12_000_000,
        input: 4_000_000,
        requests: 3,
        ..SimulatedUsage::default()
    };
    for (key, hours) in [("apikey_1", 1), ("apikey_3", 5 * 24)] {
        let at = Clock::system().now() - SignedDuration::from_hours(hours);
        let detail = UsageDetail {
            api_key: Some(key.to_owned()),
            ..UsageDetail::default()
        };
        world.add_detailed_usage("wrkspc_search", SONNET, at, used, detail);
    }
    let fixture = AdminFixture::of(world).await;
    let mut daemon = Program::run(&fixture.home);
    // Waits for the history to be loaded.
    loop {
        daemon.wait_for("cycle ok");
        let (rows, _) = fixture.run_json(0, "usage --from 2026-01-01 --by api_key");
        if rows.to_string().contains("bo") {
            return (fixture, daemon);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_spend_and_last_use() {
    let (fixture, daemon) = fixture_with_ledger().await;
    let (rows, stderr) = fixture.run_json(0, "workspaces list");
    let search = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "Search")
        .unwrap();
    // The usage may belong to the previous month.
    let now = jiff::tz::TimeZone::UTC.to_datetime(fixture.simulator.now());
    let of_month = |hours: i64| {
        let at = jiff::tz::TimeZone::UTC
            .to_datetime(fixture.simulator.now() - SignedDuration::from_hours(hours));
        if at.month() == now.month() { 12 } else { 0 }
    };
    let (first, third) = (of_month(1), of_month(5 * 24));
    assert_eq!(
        search["month_spend_usd"],
        (first + third).to_string(),
        "{stderr}"
    );
    let (rows, _) = fixture.run_json(0, "keys list");
    let spend = column(&rows, "month_spend_usd");
    assert_eq!(
        spend,
        [first.to_string(), "0".to_owned(), third.to_string()],
        "{rows}"
    );
    let (rows, _) = fixture.run_json(0, "offboard ada@example.com --dry-run");
    let details = column(&rows, "detail").join("\n");
    assert!(
        details.contains("$12.00 in the last 7 days")
            && details.contains("$0.00 in the last 7 days"),
        "{details}"
    );
    // An unused key is idle since its creation, at most as far back as the ledger reaches.
    let (rows, stderr) = fixture.run_json(0, "keys list --idle 3d");
    assert_eq!(column(&rows, "id"), ["apikey_2", "apikey_3"], "{stderr}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_writes_are_audited() {
    let (fixture, mut daemon) = fixture_with_ledger().await;
    fixture.run_json(
        0,
        "silence add rule=x --for 1h --comment 'load test' --actor ada",
    );
    daemon.signal("HUP");
    daemon.wait_for("configuration reloaded");
    let address = {
        let line = daemon
            .lines
            .iter()
            .find(|line| line.contains("metrics at http://"))
            .unwrap();
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split('/').next().unwrap().to_owned()
    };
    let body = r#"{"matchers":["rule=y"],"for":"1h","author":"bo","comment":"c"}"#;
    let request = format!(
        "POST /api/v1/silences HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = String::from_utf8(exchange(&address, &request)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let line = daemon.wait_for("silences.add");
    assert!(line.contains("intent"), "{line}");
    let (rows, _) = fixture.run_json(0, "audit list --action silences.add");
    assert_eq!(column(&rows, "actor"), ["ada", "http"]);
    assert_eq!(column(&rows, "outcome"), ["done", "done"]);
    let (report, _) = fixture.run_json(0, "audit verify");
    let hash = report[0]["newest_hash"].as_str().unwrap().to_owned();
    daemon.signal("TERM");
    let (status, _) = daemon.ended();
    assert!(status.success());
    let mut again = Program::run(&fixture.home);
    again.wait_for(&format!(
        "the newest entry of the audit log is 4, with hash {hash}"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn offboarding_reads_spend_live_without_ledger() {
    for dialect in [Dialect::Real, Dialect::Older] {
        let mut world = dialect.world();
        let used = SimulatedUsage {
            micros: 12_000_000,
            input: 4_000_000,
            requests: 3,
            ..SimulatedUsage::default()
        };
        let detail = UsageDetail {
            api_key: Some("apikey_1".to_owned()),
            ..UsageDetail::default()
        };
        let at = Clock::system().now() - SignedDuration::from_hours(30);
        world.add_detailed_usage("wrkspc_search", SONNET, at, used, detail);
        world
            .spend_limits
            .push((Some("wrkspc_search".to_owned()), 12_300));
        let fixture = AdminFixture::of(world).await;
        let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --dry-run");
        let details = column(&rows, "detail");
        assert!(
            details[0].contains("$12.00 in the last 7 days") && details[1].contains("$0.00 in"),
            "{dialect:?} {details:?} {stderr}"
        );
        let (rows, _) = fixture.run_json(0, "workspaces list");
        assert!(
            column(&rows, "monthly_limit_usd").contains(&"123".to_owned()),
            "{rows}"
        );
    }
}
