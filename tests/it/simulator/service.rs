//! The simulated real API validates, rounds and sorts as the Admin API does.

mod agreement;
mod analytics;
mod faults;
mod legacy;
mod lists;
mod paths;
mod rejections;
mod speed;

use reqwest::Method;
use serde_json::Value;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};

use crate::harness::at;
use crate::simulator::{TestResponse, bare, send};

const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";
const DEFAULT: &str = "wrkspc_default0";
const FAST: &str = "fast-mode-2026-02-01";
const ANALYTICS: &str = "analytics-usage-cost-2026-08-24";
const ALL_BETAS: &str =
    "fast-mode-2026-02-01, analytics-usage-cost-2026-08-24,spend-limit-reads-2026-09-26";
/// Yesterday.
const DAY: &str = "starting_at=2026-11-23T00:00:00Z&ending_at=2026-11-24T00:00:00Z";

async fn send_request(
    simulator: &Simulator,
    path: &str,
    version: Option<&str>,
    betas: &str,
) -> TestResponse {
    let path = format!("/v1/organizations/{path}");
    let mut request =
        bare(simulator, Method::GET, &path).header("x-api-key", simulator.key().expose());
    if let Some(version) = version {
        request = request.header("anthropic-version", version);
    }
    if !betas.is_empty() {
        request = request.header("anthropic-beta", betas);
    }
    send(request).await.unwrap()
}

/// Sends a request with all betas and the older version.
async fn get(simulator: &Simulator, path: &str) -> TestResponse {
    send_request(simulator, path, Some("2023-06-01"), ALL_BETAS).await
}

/// Returns the body of a successful response.
async fn body(simulator: &Simulator, path: &str) -> Value {
    let response = get(simulator, path).await;
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    response.json()
}

async fn check_statuses(simulator: &Simulator, cases: &[(&str, u16)]) {
    for (path, status) in cases {
        let response = get(simulator, path).await;
        assert_eq!(response.status, *status, "{path}: {}", response.body);
    }
}

/// Returns the rows of all pages.
async fn all(simulator: &Simulator, path: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = body(simulator, &format!("{path}{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().clone());
        assert_eq!(page["has_more"], !page["next_page"].is_null());
        match page["next_page"].as_str() {
            Some(next) => cursor = format!("&page={}", next.replace('=', "%3D")),
            None => return rows,
        }
    }
}

/// Returns the value at a pointer such as `/group/model` in each row.
fn column(rows: &[Value], pointer: &str) -> Vec<Value> {
    let cells = rows.iter().map(|row| row.pointer(pointer).cloned());
    cells.map(Option::unwrap_or_default).collect()
}

fn rows(json: &Value) -> &[Value] {
    json["data"].as_array().unwrap()
}

fn real(mut world: World) -> World {
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    world
}

/// Two workspaces and the default one, with keys and users, without usage.
fn empty() -> World {
    let mut world = real(World::seeded(7));
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let key = |id: &str, home: Option<&str>| SimulatedKey {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
        ..SimulatedKey::default()
    };
    world.keys = vec![
        key("apikey_a1", Some("wrkspc_a")),
        key("apikey_a2", Some("wrkspc_a")),
        key("apikey_b1", Some("wrkspc_b")),
        key("apikey_d1", None),
    ];
    let user = |id: &str, role: &str| SimulatedUser {
        id: id.to_owned(),
        email: format!("{id}@example.com"),
        name: id.to_owned(),
        role: role.to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    };
    world.users = vec![user("user_1", "owner"), user("user_2", "developer")];
    world
}

fn used(micros: i64, input: i64, output: i64) -> SimulatedUsage {
    SimulatedUsage {
        micros,
        input,
        output,
        requests: 2,
        ..SimulatedUsage::default()
    }
}

fn by(key: &str) -> UsageDetail {
    UsageDetail {
        api_key: Some(key.to_owned()),
        ..UsageDetail::default()
    }
}

/// Usage yesterday: workspace A by two keys in three hours, B, and the default workspace.
fn spent() -> World {
    let mut world = empty();
    let mut add_yesterday = |id: &str, model: &str, hour: &str, micros, detail: UsageDetail| {
        let when = at(&format!("2026-11-23T{hour}:20:00Z"));
        world.add_detailed_usage(id, model, when, used(micros, 600, 30), detail);
    };
    add_yesterday("wrkspc_a", SONNET, "09", 1_000_000, by("apikey_a1"));
    add_yesterday("wrkspc_a", SONNET, "10", 3_000_000, by("apikey_a2"));
    add_yesterday("wrkspc_a", HAIKU, "11", 2_000_000, by("apikey_a1"));
    add_yesterday("wrkspc_b", HAIKU, "11", 1_234_567, by("apikey_b1"));
    add_yesterday("", SONNET, "12", 500_000, by("apikey_d1"));
    world
}
