//! Commands against the real API: their output matches the simulator's exact usage.

use jiff::SignedDuration;
use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};

use crate::program::{Home, month_rule};

const SONNET: &str = "claude-sonnet-4-5";

/// Two workspaces and the default one, with spend of the last two days and none during the test.
async fn service(real: PlatformOptions) -> Simulator {
    let clock = Clock::system();
    let now = clock.now();
    let mut world = World::seeded(3);
    world.api = SimulatedApi::Platform(real);
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    world.keys = vec![SimulatedKey {
        id: "apikey_a".to_owned(),
        name: "nightly".to_owned(),
        workspace: Some("wrkspc_a".to_owned()),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
        ..SimulatedKey::default()
    }];
    for (id, usd) in [("wrkspc_a", "30"), ("wrkspc_b", "15.000001"), ("", "3")] {
        world.spend(id, SONNET, now - SignedDuration::from_hours(36), usd);
        world.spend(id, SONNET, now, usd);
    }
    world.refreshed_until = Some(Day::containing(now).start());
    Simulator::start(world, clock).await.unwrap()
}

fn first_of_both(simulator: &Simulator) -> (String, HourSpan) {
    let today = Day::containing(simulator.now());
    let first = today.plus(-2);
    let span = HourSpan {
        start: first.first_hour(),
        end: today.plus(1).first_hour(),
    };
    (first.date().to_string(), span)
}

fn spends(result: &Value, name: &str) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let rows = result["rows"].as_array().unwrap().iter();
    rows.map(|row| (text(row, name), text(row, "spend_usd")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_usage_matches_truth() {
    let older = PlatformOptions {
        analytics: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    };
    for real in [PlatformOptions::default(), older] {
        let simulator = service(real).await;
        let home = Home::new();
        home.configure(&simulator, "");
        let (from, span) = first_of_both(&simulator);
        let result = home.json(
            0,
            &["usage", "--live", "--from", &from, "--granularity", "day"],
        );
        let truth = simulator.world().spent(None, span, simulator.now());
        let found = Usd::parse(result["total"]["spend_usd"].as_str().unwrap()).unwrap();
        let gap = (found - truth).abs();
        // Unbilled usage is estimated from tokens.
        let estimated = Usd::parse(result["total"]["estimated_usd"].as_str().unwrap()).unwrap();
        assert!(estimated > Usd::ZERO, "{result}");
        assert!(gap <= estimated, "{result}");
        let first = spends(&result, "workspace");
        assert_eq!(first[0], ("Alpha".to_owned(), "30".to_owned()), "{result}");
        assert_eq!(first[1], ("Beta".to_owned(), "15.000001".to_owned()));
        assert_eq!(first[2], ("Default".to_owned(), "3".to_owned()));
        assert_eq!(result["remarks"][0]["kind"], "estimated");
        let by_key = home.json(0, &["usage", "--live", "--from", &from, "--by", "api_key"]);
        let keys: Vec<String> = spends(&by_key, "api_key")
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert!(keys.contains(&"nightly".to_owned()), "{by_key}");
        assert_eq!(simulator.n_writes(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreported_amounts_are_unknown_not_zero() {
    let older = PlatformOptions {
        analytics: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    };
    for (real, has_users) in [(PlatformOptions::default(), true), (older, false)] {
        let simulator = service(real).await;
        let at = simulator.now() - SignedDuration::from_hours(36);
        let by_a_user = UsageDetail {
            user: Some("user_1".to_owned()),
            ..UsageDetail::default()
        };
        let used = SimulatedUsage {
            micros: 7_000_000,
            input: 1000,
            requests: 1,
            ..SimulatedUsage::default()
        };
        simulator
            .world()
            .add_detailed_usage("wrkspc_a", SONNET, at, used, by_a_user);
        let home = Home::new();
        home.configure(&simulator, "");
        let (from, _) = first_of_both(&simulator);
        let result = home.json(0, &["usage", "--live", "--from", &from, "--by", "user"]);
        let rows = result["rows"].as_array().unwrap();
        assert!(result["total"]["tokens"].as_i64().unwrap() > 0, "{result}");
        for row in rows {
            for key in ["tokens", "input_tokens", "priced_usd", "gap_usd"] {
                assert_eq!(row[key].is_null(), has_users, "{key}: {row}");
            }
            // Only the bill of the newer reports has requests.
            if row["user_id"] == "user_1" || !has_users {
                assert_eq!(row["requests"].is_null(), !has_users, "{row}");
            }
        }
        assert_eq!(rows.iter().any(|row| row["user_id"] == "user_1"), has_users);
        let remarks = result["remarks"].to_string();
        assert_eq!(
            remarks.contains("no_tokens_by_user"),
            has_users,
            "{remarks}"
        );
        let total_requests = &result["total"]["requests"];
        assert_eq!(total_requests.is_null(), !has_users, "{result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_limit_reports_estimate() {
    let simulator = service(PlatformOptions::default()).await;
    let home = Home::new();
    home.configure(&simulator, "");
    let quiet = home.command(&["check", "--limit", "100000"]);
    assert_eq!(quiet.status.code(), Some(0));
    let stderr = String::from_utf8(quiet.stderr).unwrap();
    assert!(
        stderr.contains("of it is estimated from tokens and list prices"),
        "{stderr}"
    );
    let loud = home.command(&["check", "--limit", "1"]);
    assert_eq!(loud.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_without_report_access_is_reported() {
    let simulator = service(PlatformOptions {
        analytics: EndpointAccess::Forbidden,
        reports: EndpointAccess::Forbidden,
        spend_limits: EndpointAccess::Absent,
        ..PlatformOptions::default()
    })
    .await;
    let home = Home::new();
    home.configure(&simulator, "");
    let output = home.command(&["check", "--limit", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("cannot detect the server's dialect"),
        "{stderr}"
    );
    assert!(stderr.contains("403"), "{stderr}");
}

fn usd(result: &Value, key: &str) -> Usd {
    Usd::parse(result[key].as_str().unwrap()).unwrap()
}

/// Forbids the newer reports, so that the older ones are used.
fn without_analytics() -> PlatformOptions {
    PlatformOptions {
        analytics: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    }
}

/// Newer reports without the token report.
fn without_estimates() -> PlatformOptions {
    PlatformOptions {
        reports: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_breakdown_is_exact_in_both_dialects() {
    for real in [PlatformOptions::default(), without_analytics()] {
        let simulator = service(real).await;
        // The estimate is exact.
        let now = simulator.now();
        let before = now - SignedDuration::from_hours(24 * 8);
        for (id, at) in [("wrkspc_a", now), ("wrkspc_gone", before), ("", before)] {
            let used = SimulatedUsage {
                micros: 2_000_001,
                input: 666_667,
                requests: 1,
                ..SimulatedUsage::default()
            };
            simulator.world().add_usage(id, SONNET, at, used);
        }
        let home = Home::new();
        home.configure(&simulator, "");
        let first = Day::containing(before);
        let closed = HourSpan {
            start: first.first_hour(),
            end: Day::containing(now).first_hour(),
        };
        let truth = simulator.world().spent(None, closed, now);
        let (from, to) = (first.date(), Day::containing(now).plus(-1).date());
        for granularity in ["hour", "day", "month"] {
            for by in ["organization", "workspace", "model", "api_key", "team"] {
                let result = home.json(
                    0,
                    &[
                        "usage",
                        "--live",
                        "--from",
                        &from.to_string(),
                        "--to",
                        &to.to_string(),
                        "--granularity",
                        granularity,
                        "--by",
                        by,
                    ],
                );
                let place = format!("{real:?} {by} {granularity}: {result}");
                assert_eq!(usd(&result["total"], "spend_usd"), truth, "{place}");
                assert_eq!(usd(&result["total"], "estimated_usd"), Usd::ZERO, "{place}");
                assert_eq!(result["total"]["billed_usd"], result["total"]["spend_usd"]);
                let rows = result["rows"].as_array().unwrap().iter();
                let sum: Usd = rows.map(|row| usd(row, "spend_usd")).sum();
                assert_eq!(sum, truth, "{place}");
            }
        }
        assert_eq!(simulator.n_writes(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_days_share_daily_bills() {
    for real in [PlatformOptions::default(), without_analytics()] {
        let simulator = service(real).await;
        let home = Home::new();
        home.configure(&simulator, "");
        let spent_at = simulator.now() - SignedDuration::from_hours(36);
        let zone = jiff::tz::TimeZone::get("Pacific/Auckland").unwrap();
        let day = spent_at.to_zoned(zone).date().to_string();
        for granularity in ["hour", "day", "month"] {
            let result = home.json(
                0,
                &[
                    "usage",
                    "--live",
                    "--from",
                    &day,
                    "--to",
                    &day,
                    "--time-zone",
                    "Pacific/Auckland",
                    "--granularity",
                    granularity,
                    "--by",
                    "organization",
                ],
            );
            let place = format!("{real:?} {granularity}: {result}");
            assert_eq!(result["total"]["spend_usd"], "48.000001", "{place}");
            assert_eq!(result["total"]["estimated_usd"], "0", "{place}");
            assert_eq!(result["remarks"].as_array().unwrap().len(), 0, "{place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apportioned_rows_are_marked_and_keys_named() {
    let simulator = service(without_analytics()).await;
    let home = Home::new();
    home.configure(&simulator, "");
    let (from, _) = first_of_both(&simulator);
    let asked = ["usage", "--live", "--from", &from, "--by", "api_key"];
    let result = home.json(0, &asked);
    let rows = result["rows"].as_array().unwrap();
    let nightly = rows.iter().find(|row| row["api_key"] == "nightly").unwrap();
    assert_eq!(nightly["api_key_id"], "apikey_a");
    assert_eq!(nightly["apportioned"], true, "{result}");
    let csv = home.command(&[&asked[..], &["--output", "csv"]].concat());
    let csv = String::from_utf8(csv.stdout).unwrap();
    for key in [
        "billed_usd",
        "estimated_usd",
        "list_usd",
        "priced_usd",
        "gap_usd",
        "apportioned",
    ] {
        assert!(csv.lines().next().unwrap().contains(key), "{csv}");
    }
    let table = home.command(&asked);
    let stderr = String::from_utf8(table.stderr).unwrap();
    assert_eq!(
        stderr.matches("apportioned to keys by tokens").count(),
        1,
        "{stderr}"
    );
    let table = String::from_utf8(table.stdout).unwrap();
    for heading in ["API KEY", "USD", "ESTIMATED", "BILL−LIST"] {
        assert!(table.lines().next().unwrap().contains(heading), "{table}");
    }
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unbilled_usage_without_estimate_is_reported() {
    let simulator = service(without_estimates()).await;
    let home = Home::new();
    home.configure(&simulator, "");
    let (from, _) = first_of_both(&simulator);
    let result = home.json(0, &["usage", "--live", "--from", &from]);
    assert_eq!(result["total"]["spend_usd"], "48.000001", "{result}");
    assert_eq!(result["remarks"][0]["kind"], "known_up_to", "{result}");
    // Below the limit, but incomplete: the result is unknown.
    let quiet = home.command(&["check", "--limit", "100000"]);
    let stderr = String::from_utf8(quiet.stderr).unwrap();
    assert_eq!(quiet.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("not billed yet"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_estimate_is_an_error() {
    let simulator = service(PlatformOptions::default()).await;
    let home = Home::new();
    home.configure(&simulator, "");
    let fault = ServerFault::Status(400, "{}".into(), None);
    simulator.inject_fault(FaultTarget::endpoint("messages"), fault);
    let (from, _) = first_of_both(&simulator);
    for command in [
        &["usage", "--live", "--from", &from][..],
        &["check", "--limit", "100000"],
    ] {
        let output = home.command(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
        assert!(stderr.contains("400"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unpriced_model_makes_limit_unknown() {
    let simulator = service(PlatformOptions::default()).await;
    let used = SimulatedUsage {
        micros: 1,
        input: 1_234,
        requests: 1,
        ..SimulatedUsage::default()
    };
    let now = simulator.now();
    simulator
        .world()
        .add_usage("wrkspc_a", "claude-unheard-of", now, used);
    let home = Home::new();
    home.configure(&simulator, "");
    let check = |limit: &str, exit: i32| {
        let output = home.command(&["check", "--limit", limit]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{stderr}");
        assert!(stderr.contains("`claude-unheard-of`"), "{stderr}");
    };
    check("100000", 1);
    // Missing spend cannot lower the total.
    check("1", 2);
    let result = home.json(0, &["usage", "--live"]);
    let remarks = result["remarks"].as_array().unwrap();
    let unpriced = remarks
        .iter()
        .find(|remark| remark["kind"] == "unpriced")
        .unwrap();
    assert!(
        unpriced["text"].as_str().unwrap().contains("1,234 tokens"),
        "{result}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_matches_live_by_key_and_user() {
    let simulator = service(PlatformOptions::default()).await;
    let at = Day::containing(simulator.now()).plus(-1).start();
    {
        let mut world = simulator.world();
        world.users = vec![SimulatedUser {
            id: "user_1".to_owned(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            role: "developer".to_owned(),
            status: "active".to_owned(),
            last_active_at: None,
        }];
        let used = SimulatedUsage {
            micros: 7_000_000,
            input: 2_000_000,
            requests: 1,
            ..SimulatedUsage::default()
        };
        let by_person = UsageDetail {
            user: Some("user_1".to_owned()),
            ..UsageDetail::default()
        };
        world.add_detailed_usage("wrkspc_b", SONNET, at, used, by_person);
    }
    let home = Home::new();
    let rule = month_rule("1000000");
    home.configure(&simulator, &rule);
    assert_eq!(
        home.command(&["check", "--notify"]).status.code(),
        Some(0),
        "the ledger is filled"
    );
    let (from, _) = first_of_both(&simulator);
    let asked = ["usage", "--from", &from, "--granularity", "day", "--by"];
    let of = |result: &Value, key: &str, name: &str| -> Usd {
        let rows = result["rows"].as_array().unwrap().iter();
        let named = rows.filter(|row| row[key] == name);
        named.map(|row| usd(row, "spend_usd")).sum()
    };
    for live in [&[][..], &["--live"]] {
        let result = home.json(0, &[&asked[..], &["api_key"], live].concat());
        assert!(of(&result, "api_key", "nightly") > Usd::ZERO, "{result}");
        assert!(
            of(&result, "api_key", "unattributed") > Usd::ZERO,
            "{result}"
        );
        let result = home.json(0, &[&asked[..], &["user"], live].concat());
        assert_eq!(
            of(&result, "user", "ada@example.com"),
            Usd::from_dollars(7),
            "{result}"
        );
    }
    for (people, name) in [("id", "user_1"), ("hidden", "hidden")] {
        home.configure(
            &simulator,
            &format!("{rule}[privacy]\npeople = \"{people}\"\n"),
        );
        for live in [&[][..], &["--live"]] {
            let result = home.json(0, &[&asked[..], &["user"], live].concat());
            assert_eq!(of(&result, "user", name), Usd::from_dollars(7), "{result}");
            assert!(!result.to_string().contains("ada@"), "{result}");
        }
    }
}
