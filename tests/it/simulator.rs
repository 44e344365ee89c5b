//! The simulator over HTTP reports exactly the usage of its world.

mod faults;
mod requests;
mod service;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use spendwatch_base::clock::{Clock, ManualClock};
use spendwatch_base::outbound::{self, HttpClientConfig};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::{Part, sum};
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::amounts::SimulatedUsage;
use spendwatch_simulator::world::realistic::HOSTILE_NAMES;
use spendwatch_simulator::world::{ModelBreakdown, StatedMonth, World};

use crate::harness::{at, hours};

const NOW: &str = "2026-11-24T14:30:00Z";
const OPUS: &str = "claude-opus-4-5";
const TODAY: &str = "/v1/usage?start_date=2026-11-24&end_date=2026-11-24&granularity=hour";

struct TestResponse {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl TestResponse {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns a string field of every row.
    fn rows(&self, field: &str) -> Vec<String> {
        let json = self.json();
        let rows = json["data"].as_array().unwrap().iter();
        rows.map(|row| row[field].as_str().unwrap().to_owned())
            .collect()
    }

    /// Sums an amount field exactly.
    fn money(&self, field: &str) -> Usd {
        let key = format!("\"{field}\":");
        let values = self.body.split(&key).skip(1);
        values
            .map(|rest| rest.split([',', '}']).next().unwrap())
            .map(|digits| Usd::parse(digits).unwrap())
            .sum()
    }

    /// Returns the sum of the rows and checks it against the total.
    fn spend(&self) -> Usd {
        Usd::from_pico(self.money("total_cost_usd").pico() / 2)
    }
}

fn request(simulator: &Simulator, method: Method, path: &str) -> RequestBuilder {
    bare(simulator, method, path)
        .header("x-api-key", simulator.key().expose())
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
}

/// Creates a request without headers.
fn bare(simulator: &Simulator, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", simulator.base_url());
    let waits = HttpClientConfig {
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        ca_file: None,
    };
    let client = outbound::client_for(&waits, &url.parse().unwrap()).unwrap();
    client.request(method, url)
}

async fn send(request: RequestBuilder) -> reqwest::Result<TestResponse> {
    let response = request.send().await?;
    Ok(TestResponse {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await?,
    })
}

async fn try_get(simulator: &Simulator, path: &str) -> reqwest::Result<TestResponse> {
    send(request(simulator, Method::GET, path)).await
}

async fn get(simulator: &Simulator, path: &str) -> TestResponse {
    try_get(simulator, path).await.unwrap()
}

async fn start(world: World) -> (Simulator, ManualClock) {
    let time = ManualClock::at(at(NOW));
    let simulator = Simulator::start(world, Clock::Manual(time.clone())).await;
    (simulator.unwrap(), time)
}

/// Two workspaces without usage.
fn two() -> World {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Search");
    world.add_workspace("workspace_b", "Support \"Bot\"");
    world
}

fn realistic(seed: u64, n_workspaces: usize) -> World {
    World::realistic(seed, n_workspaces, at("2026-10-15T00:00:00Z"))
}

fn part(id: &str) -> Part {
    Part::Workspace(id.into())
}

fn today() -> HourSpan {
    hours("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
}

#[tokio::test]
async fn spend_and_tokens_are_reported_exactly() {
    let mut world = two();
    world.spend("workspace_a", OPUS, at(NOW), "12.5");
    world.spend("", OPUS, at(NOW), "0.1");
    world.spend("", OPUS, at("2026-11-24T15:00:00Z"), "77");
    let used = SimulatedUsage {
        micros: 900_719_925_474_099_301,
        input: 9_007_199_254_740_993,
        output: 2,
        cache_read: 5,
        requests: 7,
        ..SimulatedUsage::default()
    };
    world.add_usage("workspace_a", OPUS, at("2026-11-24T13:00:00Z"), used);
    let (simulator, _) = start(world).await;
    let one = get(&simulator, &format!("{TODAY}&workspace_id=workspace_a")).await;
    let digits = r#""total_cost_usd":900719925474.099301,"requests":7,"#;
    assert!(one.body.contains(digits), "{}", one.body);
    assert!(one.body.contains(r#""cost_usd":12.5}"#));
    assert!(
        one.body
            .ends_with(r#""total_cost_usd":900719925486.599301}}"#)
    );
    assert_eq!(
        one.rows("date"),
        ["2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"]
    );
    let row = &one.json()["data"][0];
    assert_eq!(row["cache_read_tokens"], 5);
    assert_eq!(row["model_breakdown"][OPUS]["input_tokens"], used.input);
    let whole = get(&simulator, TODAY).await;
    assert_eq!(whole.spend(), simulator.spent(&Part::Whole, today()));
    assert_eq!(
        simulator.spent(&Part::Unattributed, today()).to_string(),
        "0.1"
    );
    let cells = simulator.truth(&part("workspace_a"), today());
    assert_eq!(cells[&"unattributed".into()].tokens.cache_read, 5);
    assert_eq!(
        (
            cells[&"unattributed".into()].requests,
            cells[&OPUS.into()].requests
        ),
        (8, 0)
    );
    assert_eq!(sum(&cells).spend, one.spend());
}

#[tokio::test]
async fn parts_sum_to_the_whole_hours_to_days_and_days_to_months() {
    let (simulator, _) = start(realistic(3, 14)).await;
    simulator.world().archive("workspace_00002");
    let (first, last) = (
        Day::containing(at("2026-10-30T00:00:00Z")),
        Day::containing(at(NOW)),
    );
    simulator
        .world()
        .correct_day("workspace_00001", first.plus(3), "-1.25");
    let span = "start_date=2026-10-30&end_date=2026-11-24";
    let whole = |width| format!("/v1/usage?{span}&granularity={width}");
    let by_hour = get(&simulator, &whole("hour")).await;
    let by_day = get(&simulator, &whole("day")).await;
    let by_month = get(&simulator, &whole("month")).await;
    assert_eq!(by_day.rows("date").len(), 26);
    assert_eq!(by_month.rows("date"), ["2026-10", "2026-11"]);
    assert_eq!(by_month.spend(), by_day.spend());
    let correction = Usd::parse("1.25").unwrap();
    assert_eq!(by_day.spend() + correction, by_hour.spend());
    assert_eq!(by_hour.spend(), by_hour.money("cost_usd"));
    let hours = HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    };
    let mut parts = simulator.spent(&Part::Unattributed, hours);
    for id in get(&simulator, "/v1/workspaces").await.rows("id") {
        let of_one = get(&simulator, &format!("{}&workspace_id={id}", whole("day"))).await;
        assert_eq!(of_one.spend(), simulator.spent(&part(&id), hours), "{id}");
        parts += of_one.spend();
    }
    assert_eq!(parts, by_day.spend());
    assert_eq!(parts, simulator.spent(&Part::Whole, hours));
}

#[tokio::test]
async fn usage_depends_only_on_the_seed() {
    let (first, _) = start(realistic(7, 12)).await;
    let (second, _) = start(realistic(7, 12)).await;
    let (other, _) = start(realistic(8, 12)).await;
    for path in [TODAY, "/v1/workspaces", "/v1/users", "/v1/api_keys"] {
        assert_eq!(get(&first, path).await.body, get(&second, path).await.body);
    }
    assert_ne!(get(&first, TODAY).await.body, get(&other, TODAY).await.body);
}

#[tokio::test]
async fn lists_are_paginated() {
    let (simulator, _) = start(realistic(7, 45)).await;
    for (path, n_rows) in [
        ("/v1/workspaces", 45),
        ("/v1/users", 90),
        ("/v1/api_keys", 91),
        ("/v1/api_keys?workspace_id=workspace_00007", 2),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut ids = Vec::new();
        let mut after = String::new();
        loop {
            let page = get(&simulator, &format!("{path}{separator}limit=9{after}")).await;
            let of_page = page.rows("id");
            assert!(of_page.len() <= 9);
            let json = page.json();
            assert_eq!(json["first_id"], of_page[0].as_str());
            assert_eq!(json["last_id"], of_page[of_page.len() - 1].as_str());
            after = format!("&after_id={}", of_page[of_page.len() - 1]);
            ids.extend(of_page);
            if json["has_more"] == false {
                break;
            }
        }
        assert_eq!(ids.len(), n_rows, "{path}");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), n_rows, "{path}: an id twice");
        let default = get(&simulator, path).await;
        assert_eq!(default.rows("id").len(), n_rows.min(20), "{path}");
    }
}

#[tokio::test]
async fn users_keys_and_names_are_reported_unchanged() {
    let world = realistic(7, 12)
        .with_hostile_names()
        .with_users_and_keys(at(NOW));
    let (simulator, _) = start(world).await;
    assert_eq!(
        get(&simulator, "/v1/workspaces").await.rows("name"),
        HOSTILE_NAMES
    );
    let users = get(&simulator, "/v1/users?limit=100").await.json();
    assert_eq!(users["data"][0]["role"], "owner");
    assert_eq!(users["data"][9]["name"], "Robert'); DROP TABLE users;--");
    assert_eq!(users["data"][5]["last_active_at"], Value::Null);
    let keys = get(&simulator, "/v1/api_keys?limit=100").await.json();
    assert_eq!(keys["data"][0]["workspace_id"], Value::Null);
    assert_eq!(keys["data"][1]["workspace_id"], "workspace_00000");
    assert_eq!(keys["data"][3]["last_used_at"], Value::Null);
    assert_eq!(
        keys["data"][1]["created_by"]["email"],
        "bjoern@simulated.example"
    );
    assert_eq!(keys["data"][1]["partial_key"], "sk-ant-api03-...0001");
}

#[tokio::test]
async fn the_organization_reports_its_limits_and_month() {
    let mut world = two();
    world.spend("", OPUS, at("2026-11-01T00:00:00Z"), "4.000001");
    world.spend("", OPUS, at("2026-10-31T23:00:00Z"), "100");
    world.usage_limit = Some("5000.5".to_owned());
    world.workspace_mut("workspace_a").monthly_limit = Some("0".to_owned());
    world.workspace_mut("workspace_b").requests_per_minute = Some(60);
    let (simulator, _) = start(world).await;
    let organization = get(&simulator, "/v1/organizations").await;
    assert_eq!(organization.money("usage_limit_usd").to_string(), "5000.5");
    assert_eq!(
        organization.money("current_month_usage_usd").to_string(),
        "4.000001"
    );
    simulator.world().stated_month = StatedMonth::Digits("3.5".to_owned());
    let stated = get(&simulator, "/v1/organizations").await;
    assert_eq!(stated.money("current_month_usage_usd").to_string(), "3.5");
    simulator.world().stated_month = StatedMonth::Missing;
    let missing = get(&simulator, "/v1/organizations").await.json();
    assert!(missing["billing"].get("current_month_usage_usd").is_none());
    let list = get(&simulator, "/v1/workspaces").await.json();
    assert_eq!(list["data"][0]["usage_limits"]["monthly_spend_usd"], 0);
    assert_eq!(list["data"][1]["usage_limits"]["requests_per_minute"], 60);
}

#[tokio::test]
async fn rows_may_have_no_models_or_be_zero() {
    let mut world = two();
    world.spend("", OPUS, at(NOW), "1.239");
    world.spend("", "claude-new", at(NOW), "2");
    let (simulator, _) = start(world).await;
    for (breakdown, expected) in [
        (ModelBreakdown::Full, "3.239"),
        (ModelBreakdown::Without("claude-new".to_owned()), "1.239"),
        (ModelBreakdown::Cents, "3.23"),
    ] {
        simulator.world().breakdown = breakdown;
        let response = get(&simulator, TODAY).await;
        assert_eq!(response.money("cost_usd").to_string(), expected);
        assert_eq!(response.spend().to_string(), "3.239");
    }
    simulator.world().without_breakdown = true;
    assert!(
        !get(&simulator, TODAY)
            .await
            .body
            .contains("model_breakdown")
    );
    assert_eq!(get(&simulator, TODAY).await.rows("date").len(), 1);
    simulator.world().has_zero_rows = true;
    assert_eq!(get(&simulator, TODAY).await.rows("date").len(), 15);
}
