//! The simulated service as the real one speaks: it refuses what that refuses, and floors, snaps and sorts as it does.

mod agreement;
mod analytics;
mod legacy;
mod lists;
mod mishaps;
mod paths;
mod refusals;
mod speed;

use reqwest::Method;
use serde_json::Value;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::people::{Key, User};
use spendwatch::simulator::speech::{Real, Speaks};
use spendwatch::simulator::world::{Detail, Used, World};

use crate::harness::at;
use crate::simulator::{Answer, bare, send};

const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";
const DEFAULT: &str = "wrkspc_default0";
const FAST: &str = "fast-mode-2026-02-01";
const ANALYTICS: &str = "analytics-usage-cost-2026-08-24";
const ALL_BETAS: &str =
    "fast-mode-2026-02-01, analytics-usage-cost-2026-08-24,spend-limit-reads-2026-09-26";
/// The day before now.
const DAY: &str = "starting_at=2026-11-23T00:00:00Z&ending_at=2026-11-24T00:00:00Z";

async fn ask(simulator: &Simulator, path: &str, version: Option<&str>, betas: &str) -> Answer {
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

/// With all betas, in the older version.
async fn get(simulator: &Simulator, path: &str) -> Answer {
    ask(simulator, path, Some("2023-06-01"), ALL_BETAS).await
}

/// What has to be answered.
async fn told(simulator: &Simulator, path: &str) -> Value {
    let answer = get(simulator, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

async fn check_statuses(simulator: &Simulator, cases: &[(&str, u16)]) {
    for (path, status) in cases {
        let answer = get(simulator, path).await;
        assert_eq!(answer.status, *status, "{path}: {}", answer.body);
    }
}

/// Rows of all pages.
async fn all(simulator: &Simulator, path: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = told(simulator, &format!("{path}{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().clone());
        assert_eq!(page["has_more"], !page["next_page"].is_null());
        match page["next_page"].as_str() {
            Some(next) => cursor = format!("&page={}", next.replace('=', "%3D")),
            None => return rows,
        }
    }
}

/// A place in each of some rows, such as `/group/model`.
fn column(rows: &[Value], pointer: &str) -> Vec<Value> {
    let cells = rows.iter().map(|row| row.pointer(pointer).cloned());
    cells.map(Option::unwrap_or_default).collect()
}

fn rows(json: &Value) -> &[Value] {
    json["data"].as_array().unwrap()
}

fn real(mut world: World) -> World {
    world.speaks = Speaks::Real(Real::default());
    world.default_workspace = Some(DEFAULT.to_owned());
    world
}

/// Two workspaces and the default one, with keys and people; nothing used.
fn empty() -> World {
    let mut world = real(World::seeded(7));
    world.add_workspace("wrkspc_a", "Alpha");
    world.add_workspace("wrkspc_b", "Beta");
    let key = |id: &str, home: Option<&str>| Key {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: home.map(str::to_owned),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: None,
        ..Key::default()
    };
    world.keys = vec![
        key("apikey_a1", Some("wrkspc_a")),
        key("apikey_a2", Some("wrkspc_a")),
        key("apikey_b1", Some("wrkspc_b")),
        key("apikey_d1", None),
    ];
    let user = |id: &str, role: &str| User {
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

fn used(micros: i64, input: i64, output: i64) -> Used {
    Used {
        micros,
        input,
        output,
        requests: 2,
        ..Used::default()
    }
}

fn by(key: &str) -> Detail {
    Detail {
        api_key: Some(key.to_owned()),
        ..Detail::default()
    }
}

/// On the day before now: A by two keys in three hours, B, and the default workspace.
fn spent() -> World {
    let mut world = empty();
    let mut use_as = |id: &str, model: &str, hour: &str, micros, detail: Detail| {
        let when = at(&format!("2026-11-23T{hour}:20:00Z"));
        world.use_as(id, model, when, used(micros, 600, 30), detail);
    };
    use_as("wrkspc_a", SONNET, "09", 1_000_000, by("apikey_a1"));
    use_as("wrkspc_a", SONNET, "10", 3_000_000, by("apikey_a2"));
    use_as("wrkspc_a", HAIKU, "11", 2_000_000, by("apikey_a1"));
    use_as("wrkspc_b", HAIKU, "11", 1_234_567, by("apikey_b1"));
    use_as("", SONNET, "12", 500_000, by("apikey_d1"));
    world
}
