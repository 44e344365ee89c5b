//! A hundred workspaces with ten keys each and three models: a report is made while one waits.

use std::time::Duration;

use spendwatch::simulator::people::Key;
use spendwatch::simulator::world::World;

use crate::harness::at;
use crate::simulator::service::{all, real, rows, told};
use crate::simulator::start;

/// Hundreds of times what it takes, so that a slow machine does not matter and a report that looks at everybody again for
/// every line does.
const LONG: Duration = Duration::from_secs(10);

/// A world of a thousand keys.
fn large() -> World {
    let mut world = real(World::seeded(11));
    for n in 0..100 {
        let id = format!("wrkspc_{n:03}");
        world.add_workspace(&id, "w");
        for model in ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"] {
            let since = at("2026-10-01T00:00:00Z");
            world.add_habit(&id, model, 50_000_000, false, since);
        }
        let keys = (0..10).map(|of| Key {
            id: format!("apikey_{n:03}_{of}"),
            name: "k".to_owned(),
            workspace: Some(id.clone()),
            created_by: "user_1".to_owned(),
            status: "active".to_owned(),
            last_used_at: None,
        });
        world.keys.extend(keys);
    }
    world
}

#[tokio::test]
async fn pages_of_a_large_organization_do_not_take_long() {
    let (simulator, _) = start(large()).await;
    let day = "starting_at=2026-11-23T00:00:00Z&ending_at=2026-11-24T00:00:00Z&limit=";
    let group = "&group_by[]=workspace_id&group_by[]=api_key_id&group_by[]=model";
    let cost = format!("analytics/cost?time_bucket_width=1h{group}&{day}1000");
    let tokens = format!("usage_report/messages?bucket_width=1d{group}&{day}1");
    let bill = "cost_report?group_by[]=workspace_id&group_by[]=description\
                &starting_at=2026-11-01T00:00:00Z&ending_at=2026-11-24T00:00:00Z";
    for path in [&cost, &tokens, bill] {
        let began = simulator_clock();
        told(&simulator, path).await;
        let took = began.elapsed();
        println!("{took:?} for {path}");
        assert!(took < LONG, "{took:?} for {path}");
    }
    let page = told(&simulator, &cost).await;
    assert_eq!(rows(&page).len(), 1000);
    let began = simulator_clock();
    assert_eq!(all(&simulator, &cost).await.len(), 24 * 3000);
    let took = began.elapsed();
    println!("{took:?} for all pages");
    assert!(took < LONG * 4, "{took:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is the question"
)]
fn simulator_clock() -> std::time::Instant {
    std::time::Instant::now()
}
