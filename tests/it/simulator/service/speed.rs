//! Speed of reports with a hundred workspaces, ten keys each, and three models.

use std::time::Duration;

use serde_json::Value;
use spendwatch_simulator::platform::headers::RequestHeaders;
use spendwatch_simulator::platform::{self, PlatformEndpoint};
use spendwatch_simulator::request::Query;
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::directory::SimulatedKey;

use crate::harness::at;
use crate::simulator::NOW;
use crate::simulator::service::{ANALYTICS, DAY, real, rows};

/// Hundreds of times the usual time: tolerates slow machines but detects quadratic behavior.
const LONG: Duration = Duration::from_secs(10);

/// A world of a thousand keys.
fn large() -> World {
    let mut world = real(World::seeded(11));
    for n in 0..100 {
        let id = format!("wrkspc_{n:03}");
        world.add_workspace(&id, "w");
        for model in ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"] {
            let since = at("2026-10-01T00:00:00Z");
            world.add_spend_pattern(&id, model, 50_000_000, false, since);
        }
        let keys = (0..10).map(|of| SimulatedKey {
            id: format!("apikey_{n:03}_{of}"),
            name: "k".to_owned(),
            workspace: Some(id.clone()),
            created_by: "user_1".to_owned(),
            status: "active".to_owned(),
            last_used_at: None,
            ..SimulatedKey::default()
        });
        world.keys.extend(keys);
    }
    world
}

/// Returns the time without HTTP, and the number of rows or buckets.
fn time(world: &mut World, service: PlatformEndpoint, query: &str) -> (Duration, usize) {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    let query: Query = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let head = RequestHeaders {
        version: "2023-06-01".to_owned(),
        betas: vec![ANALYTICS.to_owned()],
        workspace: None,
    };
    let began = simulator_clock();
    let body = platform::respond(world, service, &query, &head, at(NOW)).unwrap();
    let took = began.elapsed();
    println!("{took:?} for {service:?}");
    let json: Value = serde_json::from_str(&body).unwrap();
    (took, rows(&json).len())
}

#[test]
fn reports_of_a_large_organization_are_fast() {
    let mut world = large();
    let group = "&group_by[]=workspace_id&group_by[]=api_key_id&group_by[]=model";
    let cost = format!("{DAY}&time_bucket_width=1h&limit=1000{group}");
    let tokens = format!("{DAY}&bucket_width=1d&limit=1{group}");
    let bill = "starting_at=2026-11-17T00:00:00Z&ending_at=2026-11-24T00:00:00Z\
                &group_by[]=workspace_id&group_by[]=description";
    for (service, query, n_rows) in [
        (PlatformEndpoint::AnalyticsCost, cost.as_str(), 1000),
        // The second call uses the cached report, as later pages do.
        (PlatformEndpoint::AnalyticsCost, cost.as_str(), 1000),
        (PlatformEndpoint::Messages, tokens.as_str(), 1),
        (PlatformEndpoint::CostReport, bill, 7),
    ] {
        let (took, n_present) = time(&mut world, service, query);
        assert_eq!(n_present, n_rows);
        assert!(took < LONG, "{took:?} for {service:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is the question"
)]
fn simulator_clock() -> std::time::Instant {
    std::time::Instant::now()
}
