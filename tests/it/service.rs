//! The real service, by its newer and its older reports: the same spend gives the same ledger, to the last digit where the
//! dialect knows it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use spendwatch::domain::dialect::Dialect;
use spendwatch::domain::ids::ApiKeyId;
use spendwatch::domain::money::Usd;
use spendwatch::domain::span::{Hour, HourSpan};
use spendwatch::domain::usage::{Amounts, Cell, Part};
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::simulator::people::{Key, User};
use spendwatch::simulator::speech::{Real, Speaks};
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::harness::{Stage, at, hours, organization};

const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";
const DEFAULT: &str = "wrkspc_default0";

/// Two workspaces and the default one, with keys and people.
fn world() -> World {
    let mut world = World::seeded(7);
    world.speaks = Speaks::Real(Real::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let key = |id: &str, home: Option<&str>| Key {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
    };
    world.keys = vec![
        key("apikey_a1", Some("wrkspc_a")),
        key("apikey_a2", Some("wrkspc_a")),
        key("apikey_b1", Some("wrkspc_b")),
    ];
    world.users = vec![User {
        id: "user_1".to_owned(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    }];
    let since = at("2026-11-10T00:00:00Z");
    world.add_habit("wrkspc_a", SONNET, 3_600_000, true, since);
    world.add_habit("wrkspc_b", HAIKU, 1_200_000, false, since);
    world.add_habit("", SONNET, 700_000, false, since);
    world
}

async fn stage(world: World, dialect: Dialect, now: &str) -> Stage {
    let mut stage = Stage::new(world, now).await;
    stage.dialect = dialect;
    stage
}

async fn sums(store: &Store, span: HourSpan) -> BTreeMap<(Part, Cell), Amounts> {
    let sums = store.sums(&organization(), span).await.unwrap();
    sums.into_iter()
        .map(|(part, cell, amounts)| ((part, cell), amounts))
        .collect()
}

fn total(sums: &BTreeMap<(Part, Cell), Amounts>) -> Amounts {
    sums.values().fold(Amounts::ZERO, |sum, of| sum + *of)
}

fn of_part(sums: &BTreeMap<(Part, Cell), Amounts>, id: &str) -> Amounts {
    let of = sums
        .iter()
        .filter(|((part, _), _)| part.workspace_id() == Some(id));
    of.fold(Amounts::ZERO, |sum, (_, of)| sum + *of)
}

fn until_now(start: &str, stage: &Stage) -> HourSpan {
    HourSpan {
        start: Hour::of(at(start)),
        end: Hour::of(stage.now()).plus(1),
    }
}

#[tokio::test]
async fn analytics_tells_the_truth_by_workspace_and_key() {
    let mut world = world();
    world.refresh_lag = SignedDuration::from_mins(100);
    let stage = stage(world, Dialect::Analytics, "2026-11-24T13:25:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let report = stage.cycle(&mut watcher).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(report.outcome, CycleOutcome::Ok);
    // All that is billed is the truth, to the last digit.
    let billed = hours("2026-11-01T00:00:00Z", "2026-11-24T11:00:00Z");
    let found = sums(&store, billed).await;
    let truth = |id: Option<&str>, span| stage.simulator.world().spent(id, span, stage.now());
    assert_eq!(total(&found).spend, truth(None, billed));
    assert_eq!(total(&found).estimated, Usd::ZERO);
    assert_eq!(
        of_part(&found, "wrkspc_a").spend,
        truth(Some("wrkspc_a"), billed)
    );
    assert_eq!(of_part(&found, "default").spend, truth(Some(""), billed));
    assert_eq!(of_part(&found, "unattributed").spend, Usd::ZERO);
    let keys: Vec<Option<&str>> = found
        .keys()
        .filter(|(part, _)| part.workspace_id() == Some("wrkspc_a"))
        .map(|(_, cell)| cell.api_key.as_ref().map(ApiKeyId::as_str))
        .collect();
    assert_eq!(keys, [Some("apikey_a1"), Some("apikey_a2")]);
    // What follows is estimated, and says so: within a cent of the truth, as the simulator's tokens are rounded.
    let open = until_now("2026-11-24T11:00:00Z", &stage);
    let found = total(&sums(&store, open).await);
    assert_eq!(found.spend, found.estimated);
    let gap = (found.spend - truth(None, open)).abs();
    assert!(gap < Usd::parse("0.01").unwrap(), "{gap}");
    assert!(found.spend > Usd::from_dollars(1));
    assert_eq!(watcher.directory.name_of("default"), "Default");
    assert_eq!(watcher.directory.key_name("apikey_a1"), "name of apikey_a1");
}

#[tokio::test]
async fn reports_tell_the_bill_of_closed_days_and_estimate_the_rest() {
    let stage = stage(world(), Dialect::Reports, "2026-11-24T13:25:00Z").await;
    let store = stage.open_store();
    let mut watcher = stage.watcher(&store).await;
    let report = stage.cycle(&mut watcher).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(report.outcome, CycleOutcome::Ok);
    let billed = hours("2026-11-01T00:00:00Z", "2026-11-24T00:00:00Z");
    let found = sums(&store, billed).await;
    let truth = |id: Option<&str>, span| stage.simulator.world().spent(id, span, stage.now());
    assert_eq!(total(&found).spend, truth(None, billed));
    assert_eq!(total(&found).estimated, Usd::ZERO);
    assert_eq!(
        of_part(&found, "wrkspc_b").spend,
        truth(Some("wrkspc_b"), billed)
    );
    assert_eq!(of_part(&found, "default").spend, truth(Some(""), billed));
    let is_marked = |cell: &Cell| cell.is_apportioned == cell.api_key.is_some();
    assert!(found.keys().all(|(_, cell)| is_marked(cell)));
    // Each single day too, and days cut in another zone lose nothing.
    let day = hours("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    assert_eq!(total(&sums(&store, day).await).spend, truth(None, day));
    let today = until_now("2026-11-24T00:00:00Z", &stage);
    let found = total(&sums(&store, today).await);
    assert_eq!(found.spend, found.estimated);
    let gap = (found.spend - truth(None, today)).abs();
    assert!(gap < Usd::parse("0.01").unwrap(), "{gap}");
}
