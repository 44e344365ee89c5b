//! Beside a daemon: spend of the month, idleness that the service does not tell, and the daemon's own writes in the audit log.

use jiff::SignedDuration;
use spendwatch::clock::Clock;
use spendwatch::simulator::world::{Detail, Used};

use super::{Dialect, Office, column};
use crate::program::{Program, exchange};

const SONNET: &str = "claude-sonnet-4-5";

/// A key that spent 12 USD an hour ago, one that did five days ago, and one that spent nothing.
async fn office_with_a_ledger() -> (Office, Program) {
    let mut world = Dialect::Real.world();
    let used = Used {
        micros: 12_000_000,
        input: 4_000_000,
        requests: 3,
        ..Used::default()
    };
    for (key, hours) in [("apikey_1", 1), ("apikey_3", 5 * 24)] {
        let at = Clock::system().now() - SignedDuration::from_hours(hours);
        let detail = Detail {
            api_key: Some(key.to_owned()),
            ..Detail::default()
        };
        world.use_as("wrkspc_search", SONNET, at, used, detail);
    }
    let office = Office::of(world).await;
    let mut daemon = Program::run(&office.home);
    // The past is read beside the cycles.
    loop {
        daemon.wait_for("cycle ok");
        let (told, _) = office.told(0, "usage --from 2026-01-01 --by api_key");
        if told.to_string().contains("bo") {
            return (office, daemon);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_workspaces_have_their_spend_and_their_idleness() {
    let (office, daemon) = office_with_a_ledger().await;
    let (told, said) = office.told(0, "workspaces list");
    let search = told
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "Search")
        .unwrap();
    // What was five days ago, or one hour, may have been the month before.
    let now = jiff::tz::TimeZone::UTC.to_datetime(office.simulator.now());
    let of_month = |hours: i64| {
        let at = jiff::tz::TimeZone::UTC
            .to_datetime(office.simulator.now() - SignedDuration::from_hours(hours));
        if at.month() == now.month() { 12 } else { 0 }
    };
    let (first, third) = (of_month(1), of_month(5 * 24));
    assert_eq!(
        search["month_spend_usd"],
        (first + third).to_string(),
        "{said}"
    );
    let (told, _) = office.told(0, "keys list");
    let spend = column(&told, "month_spend_usd");
    assert_eq!(
        spend,
        [first.to_string(), "0".to_owned(), third.to_string()],
        "{told}"
    );
    let (told, _) = office.told(0, "offboard ada@example.com --dry-run");
    let details = column(&told, "detail").join("\n");
    assert!(
        details.contains("$12.00 in the last 7 days")
            && details.contains("$0.00 in the last 7 days"),
        "{details}"
    );
    // What was used an hour ago is not idle; what never was is so since it was made, as far back as the ledger reaches.
    let (told, said) = office.told(0, "keys list --idle 3d");
    assert_eq!(column(&told, "id"), ["apikey_2", "apikey_3"], "{said}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_over_http_stands_in_the_audit_log() {
    let (office, mut daemon) = office_with_a_ledger().await;
    office.told(
        0,
        "silence add rule=x --for 1h --comment 'load test' --actor ada",
    );
    daemon.signal("HUP");
    daemon.wait_for("was read again");
    let address = {
        let line = daemon
            .said
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
    // The daemon's own log has them, too.
    let line = daemon.wait_for("silences.add");
    assert!(line.contains("intent"), "{line}");
    let (rows, _) = office.told(0, "audit list --action silences.add");
    assert_eq!(column(&rows, "actor"), ["ada", "http"]);
    assert_eq!(column(&rows, "outcome"), ["done", "done"]);
    let (report, _) = office.told(0, "audit verify");
    let hash = report[0]["newest_hash"].as_str().unwrap().to_owned();
    daemon.signal("TERM");
    let (status, _) = daemon.ended();
    assert!(status.success());
    let mut again = Program::run(&office.home);
    again.wait_for(&format!(
        "the newest entry of the audit log is 4, with hash {hash}"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_the_service_is_asked_what_a_leaver_s_keys_spent() {
    for dialect in [Dialect::Real, Dialect::Older] {
        let mut world = dialect.world();
        let used = Used {
            micros: 12_000_000,
            input: 4_000_000,
            requests: 3,
            ..Used::default()
        };
        let detail = Detail {
            api_key: Some("apikey_1".to_owned()),
            ..Detail::default()
        };
        let at = Clock::system().now() - SignedDuration::from_hours(30);
        world.use_as("wrkspc_search", SONNET, at, used, detail);
        world
            .spend_limits
            .push((Some("wrkspc_search".to_owned()), 12_300));
        let office = Office::of(world).await;
        let (told, said) = office.told(0, "offboard ada@example.com --dry-run");
        let details = column(&told, "detail");
        assert!(
            details[0].contains("$12.00 in the last 7 days") && details[1].contains("$0.00 in"),
            "{dialect:?} {details:?} {said}"
        );
        let (told, _) = office.told(0, "workspaces list");
        assert!(
            column(&told, "monthly_limit_usd").contains(&"123".to_owned()),
            "{told}"
        );
    }
}
