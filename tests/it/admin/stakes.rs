//! Before keys are revoked: which of them are in use, what they spent, and a second confirmation.

use jiff::SignedDuration;
use spendwatch::clock::Clock;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::{Detail, Used, World};

use super::terminal::Terminal;
use super::{Dialect, Office, column};

/// What a refusal names, so that the right thing is confirmed.
const SECOND: &str = "1 key is IN USE: `ci` (apikey_1)";

/// The keys of `world` were used so many hours ago, where a number is given.
fn use_keys(world: &mut World, hours: &[Option<i64>]) {
    for (key, hours) in world.keys.iter_mut().zip(hours) {
        key.last_used_at =
            hours.map(|hours| Clock::system().now() - SignedDuration::from_hours(hours));
    }
}

/// Of Ada's two keys one was used an hour ago and the other one last month.
async fn guide() -> Office {
    let mut world = Dialect::Guide.world();
    use_keys(&mut world, &[Some(1), Some(40 * 24), Some(40 * 24)]);
    Office::of(world).await
}

/// One of Ada's two keys spent 12 USD 30 hours ago.
async fn real(dialect: Dialect) -> Office {
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
    world.use_as("wrkspc_search", "claude-sonnet-4-5", at, used, detail);
    Office::of(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_an_offboarding_shows_what_will_break() {
    let office = guide().await;
    let (told, said) = office.told(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&told, "in_use"), ["true", "false", "null"], "{told}");
    assert_eq!(column(&told, "workspace"), ["Search", "Search", "null"]);
    assert_eq!(told[0]["workspace_id"], "workspace_search");
    assert!(told[0]["last_used_at"].is_string(), "{told}");
    assert!(
        told[0]["spend_last_7_days_usd"].is_null(),
        "not known by key"
    );
    assert!(
        said.contains("At stake: 2 keys, 1 IN USE; spend in the last 7 days is unknown"),
        "{said}"
    );
    let office = real(Dialect::Real).await;
    let (told, said) = office.told(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&told, "in_use"), ["true", "false", "null"], "{told}");
    assert_eq!(column(&told, "spend_last_7_days_usd"), ["12", "0", "null"]);
    assert!(
        said.contains("At stake: 2 keys, 1 IN USE; $12.00 spent in the last 7 days"),
        "{said}"
    );
    let table = office.run("offboard ada@example.com --dry-run");
    let table = String::from_utf8(table.stdout).unwrap();
    for heading in ["WORKSPACE", "IN USE", "LAST USED", "7 DAYS $"] {
        assert!(table.contains(heading), "{table}");
    }
    assert!(table.contains("12.00"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_use_are_revoked_only_after_a_second_confirmation() {
    let file_of = |office: &Office, text: &str| {
        let path = office.home.path("list");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    for (place, offices) in [
        guide().await,
        real(Dialect::Real).await,
        real(Dialect::Older).await,
    ]
    .into_iter()
    .enumerate()
    {
        let office = offices;
        let keys = file_of(&office, "apikey_1\n");
        let lines = [
            "offboard ada@example.com".to_owned(),
            "keys revoke apikey_1 apikey_2".to_owned(),
            format!("keys revoke --from {keys}"),
            "keys revoke --user ada@example.com".to_owned(),
        ];
        for line in &lines {
            for line in [line.clone(), format!("{line} --yes")] {
                let said = office.refused(2, &line);
                assert!(said.contains(SECOND), "{line}: {said}");
                assert!(said.contains("`--yes --yes`"), "{line}: {said}");
                assert_eq!(said.contains("$12.00"), place > 0, "{line}: {said}");
            }
        }
        let left = file_of(&office, "email\nada@example.com\nbo@example.com\n");
        let line = format!("offboard --all-left {left} --yes");
        let said = office.refused(2, &line);
        assert!(said.contains(SECOND), "{said}");
        assert_eq!(office.keys().len(), 3, "nothing was revoked");
        office.told(0, &format!("{line} --yes"));
        assert!(office.keys().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_confirmation_is_enough_for_keys_that_are_not_in_use() {
    let office = guide().await;
    let (told, said) = office.told(0, "keys revoke apikey_2 --yes");
    assert_eq!(column(&told, "in_use"), ["false"], "{said}");
    office.told(0, "keys revoke --idle 30d --yes");
    assert_eq!(office.keys(), ["apikey_1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_which_nothing_is_known_is_not_called_unused() {
    let office = Dialect::Guide.office().await;
    let (told, said) = office.told(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&told, "in_use"), ["null", "null", "null"]);
    assert!(
        said.contains("2 keys, none known to be in use, 2 unknown"),
        "{said}"
    );
    let table = office.run("keys revoke apikey_1 --dry-run");
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.matches("unknown").count(), 3, "{table}");
    office.told(0, "keys revoke apikey_1 --yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_or_workspace_takes_keys_in_use_along_only_after_a_second_confirmation() {
    let office = guide().await;
    let said = office.refused(2, "users remove ada@example.com --yes");
    assert!(
        said.contains(SECOND) && said.contains("`--yes --yes`"),
        "{said}"
    );
    let (told, said) = office.told(0, "users remove ada@example.com --dry-run");
    assert_eq!(told[0]["in_use"], true);
    assert!(
        said.contains("apikey_1") && said.contains("apikey_2"),
        "{said}"
    );
    office.told(0, "users remove bo@example.com --yes");
    office.told(0, "users remove ada@example.com --yes --yes");
    assert!(!office.has_user("user_1") && !office.has_user("user_2"));
    let office = real(Dialect::Real).await;
    let said = office.refused(2, "workspaces archive Search --yes");
    assert!(said.contains(SECOND) && said.contains("$12.00"), "{said}");
    let (told, _) = office.told(0, "workspaces archive Search --dry-run");
    assert_eq!(told[0]["spend_last_7_days_usd"], "12", "{told}");
    office.told(0, "workspaces archive Search --yes --yes");
    // There keys outlive the user: nothing breaks.
    let office = real(Dialect::Real).await;
    office.told(0, "users remove ada@example.com --yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_what_will_break_and_asks_twice() {
    let office = real(Dialect::Real).await;
    for (line, first) in [
        ("offboard ada@example.com", true),
        ("offboard ada@example.com --yes", false),
    ] {
        let mut terminal = Terminal::run(&office, line);
        terminal.until("IN USE");
        terminal.until("At stake: 2 keys, 1 IN USE; $12.00 spent in the last 7 days");
        if first {
            terminal.until("and remove them from organization `acme`? [y/N] ");
            terminal.answer("y\n");
        }
        terminal.until("1 key is IN USE: `ci` (apikey_1); $12.00 spent in the last 7 days. Whatever uses it stops working. Are you sure? [y/N] ");
        terminal.answer("n\n");
        let (exit, shown) = terminal.end();
        assert_eq!(exit, Some(1), "{shown}");
        assert!(shown.contains("nothing was changed"), "{shown}");
        assert_eq!(shown.contains("Revoke 2 keys of"), first, "{shown}");
        assert_eq!(office.simulator.n_not_get(), 0);
    }
    let mut terminal = Terminal::run(&office, "offboard ada@example.com --yes");
    terminal.until("Are you sure? [y/N] ");
    terminal.answer("y\n");
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(0), "{shown}");
    assert_eq!(office.keys(), ["apikey_3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_names_its_organization_once_and_stops_nothing() {
    let office = real(Dialect::Real).await;
    for endpoint in ["analytics_cost", "cost_report", "workspaces"] {
        let fault = Fault::Status(404, "{}".to_owned(), None);
        office.simulator.fail(FaultOn::endpoint(endpoint), fault);
    }
    let (told, said) = office.told(0, "offboard ada@example.com --dry-run");
    assert_eq!(column(&told, "in_use"), ["null", "null", "null"], "{said}");
    assert_eq!(told[0]["workspace"], "wrkspc_search", "{said}");
    let line = said.lines().find(|line| line.contains("what keys spent"));
    assert_eq!(
        line.unwrap().matches("organization `acme`").count(),
        1,
        "{said}"
    );
    let doctor = office.run("doctor");
    let text = String::from_utf8(doctor.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("GET /v1/"));
    assert_eq!(line.unwrap().matches("acme").count(), 1, "{text}");
}
