//! Confirmation of key revocation: keys in use, their spend, and the second question.

use jiff::SignedDuration;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};

use super::terminal::Terminal;
use super::{AdminFixture, Dialect, column};

/// Second question as shown in the error.
const SECOND: &str = "1 key is IN USE: `ci` (apikey_1)";

/// Sets how many hours ago each key was used.
fn use_keys(world: &mut World, hours: &[Option<i64>]) {
    for (key, hours) in world.keys.iter_mut().zip(hours) {
        key.last_used_at =
            hours.map(|hours| Clock::system().now() - SignedDuration::from_hours(hours));
    }
}

/// One of Ada's two keys was used an hour ago, the other last month.
async fn guide() -> AdminFixture {
    let mut world = Dialect::Guide.world();
    use_keys(&mut world, &[Some(1), Some(40 * 24), Some(40 * 24)]);
    AdminFixture::of(world).await
}

/// One of Ada's two keys spent 12 USD 30 hours ago.
async fn real(dialect: Dialect) -> AdminFixture {
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
    world.add_detailed_usage("wrkspc_search", "claude-sonnet-4-5", at, used, detail);
    AdminFixture::of(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_shows_affected_keys() {
    let fixture = guide().await;
    let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&rows, "in_use"), ["true", "false", "null"], "{rows}");
    assert_eq!(column(&rows, "workspace"), ["Search", "Search", "null"]);
    assert_eq!(rows[0]["workspace_id"], "workspace_search");
    assert!(rows[0]["last_used_at"].is_string(), "{rows}");
    assert!(
        rows[0]["spend_last_7_days_usd"].is_null(),
        "not known by key"
    );
    assert!(
        stderr.contains("Affected: 2 keys, 1 IN USE; spend in the last 7 days is unknown"),
        "{stderr}"
    );
    let fixture = real(Dialect::Real).await;
    let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&rows, "in_use"), ["true", "false", "null"], "{rows}");
    assert_eq!(column(&rows, "spend_last_7_days_usd"), ["12", "0", "null"]);
    assert!(
        stderr.contains("Affected: 2 keys, 1 IN USE; $12.00 spent in the last 7 days"),
        "{stderr}"
    );
    let table = fixture.run("offboard ada@example.com --dry-run");
    let table = String::from_utf8(table.stdout).unwrap();
    for heading in ["WORKSPACE", "IN USE", "LAST USED", "7 DAYS $"] {
        assert!(table.contains(heading), "{table}");
    }
    assert!(table.contains("12.00"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_use_need_second_confirmation() {
    let file_of = |fixture: &AdminFixture, text: &str| {
        let path = fixture.home.path("list");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    for (place, fixtures) in [
        guide().await,
        real(Dialect::Real).await,
        real(Dialect::Older).await,
    ]
    .into_iter()
    .enumerate()
    {
        let fixture = fixtures;
        let keys = file_of(&fixture, "apikey_1\n");
        let lines = [
            "offboard ada@example.com".to_owned(),
            "keys revoke apikey_1 apikey_2".to_owned(),
            format!("keys revoke --from {keys}"),
            "keys revoke --user ada@example.com".to_owned(),
        ];
        for line in &lines {
            for line in [line.clone(), format!("{line} --yes")] {
                let stderr = fixture.run_refused(2, &line);
                assert!(stderr.contains(SECOND), "{line}: {stderr}");
                assert!(stderr.contains("`--yes --yes`"), "{line}: {stderr}");
                assert_eq!(stderr.contains("$12.00"), place > 0, "{line}: {stderr}");
            }
        }
        let left = file_of(&fixture, "email\nada@example.com\nbo@example.com\n");
        let line = format!("offboard --all-left {left} --yes");
        let stderr = fixture.run_refused(2, &line);
        assert!(stderr.contains(SECOND), "{stderr}");
        assert_eq!(fixture.keys().len(), 3, "nothing was revoked");
        fixture.run_json(0, &format!("{line} --yes"));
        assert!(fixture.keys().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_keys_need_one_confirmation() {
    let fixture = guide().await;
    let (rows, stderr) = fixture.run_json(0, "keys revoke apikey_2 --yes");
    assert_eq!(column(&rows, "in_use"), ["false"], "{stderr}");
    fixture.run_json(0, "keys revoke --idle 30d --yes");
    assert_eq!(fixture.keys(), ["apikey_1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_use_is_not_unused() {
    let fixture = Dialect::Guide.fixture().await;
    let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&rows, "in_use"), ["null", "null", "null"]);
    assert!(
        stderr.contains("2 keys, none known to be in use, 2 unknown"),
        "{stderr}"
    );
    let table = fixture.run("keys revoke apikey_1 --dry-run");
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.matches("unknown").count(), 3, "{table}");
    fixture.run_json(0, "keys revoke apikey_1 --yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_users_or_workspaces_with_keys_in_use_needs_second_confirmation() {
    let fixture = guide().await;
    let stderr = fixture.run_refused(2, "users remove ada@example.com --yes");
    assert!(
        stderr.contains(SECOND) && stderr.contains("`--yes --yes`"),
        "{stderr}"
    );
    let (rows, stderr) = fixture.run_json(0, "users remove ada@example.com --dry-run");
    assert_eq!(rows[0]["in_use"], true);
    assert!(
        stderr.contains("apikey_1") && stderr.contains("apikey_2"),
        "{stderr}"
    );
    fixture.run_json(0, "users remove bo@example.com --yes");
    fixture.run_json(0, "users remove ada@example.com --yes --yes");
    assert!(!fixture.has_user("user_1") && !fixture.has_user("user_2"));
    let fixture = real(Dialect::Real).await;
    let stderr = fixture.run_refused(2, "workspaces archive Search --yes");
    assert!(
        stderr.contains(SECOND) && stderr.contains("$12.00"),
        "{stderr}"
    );
    let (rows, _) = fixture.run_json(0, "workspaces archive Search --dry-run");
    assert_eq!(rows[0]["spend_last_7_days_usd"], "12", "{rows}");
    fixture.run_json(0, "workspaces archive Search --yes --yes");
    // This server keeps the keys of removed users.
    let fixture = real(Dialect::Real).await;
    fixture.run_json(0, "users remove ada@example.com --yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_shows_affected_keys_and_asks_twice() {
    let fixture = real(Dialect::Real).await;
    for (line, first) in [
        ("offboard ada@example.com", true),
        ("offboard ada@example.com --yes", false),
    ] {
        let mut terminal = Terminal::run(&fixture, line);
        terminal.until("IN USE");
        terminal.until("Affected: 2 keys, 1 IN USE; $12.00 spent in the last 7 days");
        if first {
            terminal.until("and remove them from organization `acme`? [y/N] ");
            terminal.answer("y\n");
        }
        terminal.until("1 key is IN USE: `ci` (apikey_1); $12.00 spent in the last 7 days. Whatever uses it stops working. Are you sure? [y/N] ");
        terminal.answer("n\n");
        let (exit, shown) = terminal.end();
        assert_eq!(exit, Some(1), "{shown}");
        assert!(shown.contains("no change"), "{shown}");
        assert_eq!(shown.contains("Revoke 2 keys of"), first, "{shown}");
        assert_eq!(fixture.simulator.n_writes(), 0);
    }
    let mut terminal = Terminal::run(&fixture, "offboard ada@example.com --yes");
    terminal.until("Are you sure? [y/N] ");
    terminal.answer("y\n");
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(0), "{shown}");
    assert_eq!(fixture.keys(), ["apikey_3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_errors_name_organization_once_and_are_not_fatal() {
    let fixture = real(Dialect::Real).await;
    for endpoint in ["analytics_cost", "cost_report", "workspaces"] {
        let fault = ServerFault::Status(404, "{}".to_owned(), None);
        fixture
            .simulator
            .inject_fault(FaultTarget::endpoint(endpoint), fault);
    }
    let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --dry-run");
    assert_eq!(
        column(&rows, "in_use"),
        ["null", "null", "null"],
        "{stderr}"
    );
    assert_eq!(rows[0]["workspace"], "wrkspc_search", "{stderr}");
    let line = stderr
        .lines()
        .find(|line| line.contains("recent spend of keys"));
    assert_eq!(
        line.unwrap().matches("organization `acme`").count(),
        1,
        "{stderr}"
    );
    let doctor = fixture.run("doctor");
    let text = String::from_utf8(doctor.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("GET /v1/"));
    assert_eq!(line.unwrap().matches("acme").count(), 1, "{text}");
}
