//! Commands that ask the real service: what they print is the simulator's own truth.

use jiff::SignedDuration;
use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::domain::money::Usd;
use spendwatch::domain::span::{Day, HourSpan};
use spendwatch::simulator::Simulator;
use spendwatch::simulator::people::Key;
use spendwatch::simulator::speech::{Access, Real, Speaks};
use spendwatch::simulator::world::World;

use crate::program::Home;

const SONNET: &str = "claude-sonnet-4-5";

/// Two workspaces and the default one, spending since yesterday's yesterday; nothing happens while it is looked at.
async fn service(real: Real) -> Simulator {
    let clock = Clock::system();
    let now = clock.now();
    let mut world = World::seeded(3);
    world.speaks = Speaks::Real(real);
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    world.keys = vec![Key {
        id: "apikey_a".to_owned(),
        name: "nightly".to_owned(),
        workspace: Some("wrkspc_a".to_owned()),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
    }];
    for (id, usd) in [("wrkspc_a", "30"), ("wrkspc_b", "15.000001"), ("", "3")] {
        world.spend(id, SONNET, now - SignedDuration::from_hours(36), usd);
        world.spend(id, SONNET, now, usd);
    }
    world.refreshed_until = Some(Day::of(now).start());
    Simulator::start(world, clock).await.unwrap()
}

fn first_of_both(simulator: &Simulator) -> (String, HourSpan) {
    let today = Day::of(simulator.now());
    let first = today.plus(-2);
    let span = HourSpan {
        start: first.first_hour(),
        end: today.plus(1).first_hour(),
    };
    (first.date().to_string(), span)
}

fn spends(told: &Value, name: &str) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let rows = told["rows"].as_array().unwrap().iter();
    rows.map(|row| (text(row, name), text(row, "spend_usd")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_usage_is_the_truth_in_both_dialects() {
    let older = Real {
        analytics: Access::Forbidden,
        ..Real::default()
    };
    for real in [Real::default(), older] {
        let simulator = service(real).await;
        let home = Home::new();
        home.configure(&simulator, "");
        let (from, span) = first_of_both(&simulator);
        let told = home.json(
            0,
            &["usage", "--live", "--from", &from, "--granularity", "day"],
        );
        let truth = simulator.world().spent(None, span, simulator.now());
        let found = Usd::parse(told["total"]["spend_usd"].as_str().unwrap()).unwrap();
        let gap = (found - truth).abs();
        // What is not billed yet is estimated by tokens.
        let estimated = Usd::parse(told["total"]["estimated_usd"].as_str().unwrap()).unwrap();
        assert!(estimated > Usd::ZERO, "{told}");
        assert!(gap <= estimated, "{told}");
        let first = spends(&told, "workspace");
        assert_eq!(first[0], ("Alpha".to_owned(), "30".to_owned()), "{told}");
        assert_eq!(first[1], ("Beta".to_owned(), "15.000001".to_owned()));
        assert_eq!(first[2], ("Default".to_owned(), "3".to_owned()));
        assert_eq!(told["remarks"][0]["kind"], "estimated");
        let by_key = home.json(0, &["usage", "--live", "--from", &from, "--by", "api_key"]);
        let keys: Vec<String> = spends(&by_key, "api_key")
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert!(keys.contains(&"nightly".to_owned()), "{by_key}");
        assert_eq!(simulator.n_not_get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_checked_and_the_estimate_is_said() {
    let simulator = service(Real::default()).await;
    let home = Home::new();
    home.configure(&simulator, "");
    let quiet = home.command(&["check", "--limit", "100000"]);
    assert_eq!(quiet.status.code(), Some(0));
    let said = String::from_utf8(quiet.stderr).unwrap();
    assert!(
        said.contains("of it is an estimate by tokens and list prices"),
        "{said}"
    );
    let loud = home.command(&["check", "--limit", "1"]);
    assert_eq!(loud.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_read_no_report_is_told() {
    let simulator = service(Real {
        analytics: Access::Forbidden,
        reports: Access::Forbidden,
        spend_limits: Access::Absent,
    })
    .await;
    let home = Home::new();
    home.configure(&simulator, "");
    let output = home.command(&["check", "--limit", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot tell which dialect"), "{said}");
    assert!(said.contains("403"), "{said}");
}
