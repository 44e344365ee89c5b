//! For any usage, the guide's usage, analytics cost and cost report have the same sums by workspace and day.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Day;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::SimulatedApi;
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use tokio::runtime::Builder;

use crate::harness::at;
use crate::simulator::service::{DEFAULT, HAIKU, SONNET, all, empty};
use crate::simulator::{get, start};

/// Days of the tests: the 17th to the 23rd of November 2026.
const N_DAYS: i32 = 7;
const RANGE: &str = "starting_at=2026-11-17T00:00:00Z&ending_at=2026-11-24T00:00:00Z";

/// Sums by workspace (`""` is the default one) and day.
type Sums = BTreeMap<(String, String), Usd>;

#[derive(Debug, Clone)]
enum Event {
    Habit {
        micros: i64,
        is_human: bool,
        hour: i64,
    },
    Use {
        hour: i64,
        used: SimulatedUsage,
        detail: UsageDetail,
    },
    Spend {
        hour: i64,
        cents: i64,
    },
    Code {
        hour: i64,
        micros: i64,
    },
    Correct {
        day: i32,
        cents: i64,
    },
    Forget {
        hour: i64,
    },
    Archive,
}

fn hour() -> impl Strategy<Value = i64> {
    0..i64::from(N_DAYS) * 24
}

fn detail() -> impl Strategy<Value = UsageDetail> {
    let keys = prop_oneof![
        Just(None),
        Just(Some("apikey_a1".to_owned())),
        Just(Some("apikey_gone".to_owned()))
    ];
    let users = prop_oneof![Just(None), Just(Some("user_1".to_owned()))];
    let tier = prop_oneof![Just("standard"), Just("batch")];
    (keys, users, tier, any::<bool>()).prop_map(|(api_key, user, tier, is_fast)| UsageDetail {
        api_key,
        user,
        service_tier: tier.to_owned(),
        is_fast,
        ..UsageDetail::default()
    })
}

fn figures() -> impl Strategy<Value = SimulatedUsage> {
    (
        0..9_000_000_i64,
        0..1000_i64,
        0..1000_i64,
        0..50_i64,
        0..3_i64,
    )
        .prop_map(
            |(micros, input, output, cache, web_searches)| SimulatedUsage {
                micros,
                input,
                output,
                cache_read: cache,
                cache_write_1h: cache / 7,
                requests: 1,
                web_searches,
                ..SimulatedUsage::default()
            },
        )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..50_000_000_i64, any::<bool>(), hour()).prop_map(|(micros, is_human, hour)| {
            Event::Habit {
                micros,
                is_human,
                hour,
            }
        }),
        (hour(), figures(), detail()).prop_map(|(hour, used, detail)| Event::Use {
            hour,
            used,
            detail
        }),
        (hour(), -500..5000_i64).prop_map(|(hour, cents)| Event::Spend { hour, cents }),
        (hour(), 0..900_000_i64).prop_map(|(hour, micros)| Event::Code { hour, micros }),
        (0..N_DAYS, -500..500_i64).prop_map(|(day, cents)| Event::Correct { day, cents }),
        hour().prop_map(|hour| Event::Forget { hour }),
        Just(Event::Archive),
    ]
}

/// Events with the index of their workspace and the model.
fn events() -> impl Strategy<Value = Vec<(usize, bool, Event)>> {
    prop::collection::vec((0..4_usize, any::<bool>(), event()), 1..12)
}

fn world(events: &[(usize, bool, Event)]) -> World {
    let mut world = empty();
    let first = at("2026-11-17T00:00:00Z");
    let moment = |hour: i64| first + jiff::SignedDuration::from_hours(hour);
    for (place, is_sonnet, event) in events {
        // The last one is not listed.
        let id = ["", "wrkspc_a", "wrkspc_b", "wrkspc_gone"][*place];
        let model = if *is_sonnet { SONNET } else { HAIKU };
        match event.clone() {
            Event::Habit {
                micros,
                is_human,
                hour,
            } => {
                world.add_spend_pattern(id, model, micros, is_human, moment(hour));
            }
            Event::Use { hour, used, detail } => {
                world.add_detailed_usage(id, model, moment(hour), used, detail);
            }
            Event::Spend { hour, cents } => {
                let usd = Usd::from_pico(i128::from(cents) * 10_000_000_000);
                world.spend(id, model, moment(hour), &usd.to_string());
            }
            Event::Code { hour, micros } => world.add_code_execution(id, moment(hour), micros),
            Event::Correct { day, cents } => {
                let usd = Usd::from_pico(i128::from(cents) * 10_000_000_000);
                world.correct_day(id, Day::containing(first).plus(day), &usd.to_string());
            }
            Event::Forget { hour } => {
                let start = spendwatch_domain::units::span::Hour::containing(moment(hour));
                let end = start.plus(5);
                world.remove_usage(id, spendwatch_domain::units::span::HourSpan { start, end });
            }
            Event::Archive => world.archive(id),
        }
    }
    world
}

/// Sums by listed workspace, and the remainder, from the guide's API.
async fn by_guide(simulator: &Simulator) -> Sums {
    let speaks = simulator.world().api;
    simulator.world().api = SimulatedApi::Guide;
    let listed: Vec<String> = simulator
        .world()
        .workspaces
        .iter()
        .map(|of| of.id.clone())
        .collect();
    let path = "/v1/usage?start_date=2026-11-17&end_date=2026-11-23&granularity=day";
    let mut rest = days(&get(simulator, path).await.json());
    let mut sums = Sums::new();
    for id in listed {
        let path = format!("{path}&workspace_id={id}");
        for (day, spend) in days(&get(simulator, &path).await.json()) {
            *rest.entry(day.clone()).or_default() -= spend;
            sums.insert((id.clone(), day), spend);
        }
    }
    sums.extend(
        rest.into_iter()
            .map(|(day, spend)| (("rest".to_owned(), day), spend)),
    );
    simulator.world().api = speaks;
    sums
}

fn days(json: &Value) -> BTreeMap<String, Usd> {
    let rows = json["data"].as_array().unwrap().iter();
    rows.map(|row| {
        let day = row["date"].as_str().unwrap().to_owned();
        (day, Usd::parse(&row["total_cost_usd"].to_string()).unwrap())
    })
    .collect()
}

async fn by_analytics(simulator: &Simulator, more: &str) -> Sums {
    let path = format!(
        "analytics/cost?time_bucket_width=1d&limit=3&group_by[]=workspace_id{more}&{RANGE}"
    );
    let rows = all(simulator, &path).await;
    let cells = rows.iter().map(|row| {
        let id = row["group"]["workspace_id"].as_str().unwrap();
        (id.to_owned(), &row["starting_at"], &row["cost"]["amount"])
    });
    in_days(cells)
}

async fn by_reports(simulator: &Simulator, more: &str) -> Sums {
    let path = format!("cost_report?limit=3&group_by[]=workspace_id{more}&{RANGE}");
    let buckets = all(simulator, &path).await;
    let cells = buckets.iter().flat_map(|bucket| {
        let rows = bucket["results"].as_array().unwrap().iter();
        rows.map(|row| {
            let id = row["workspace_id"].as_str().unwrap_or(DEFAULT);
            (id.to_owned(), &bucket["starting_at"], &row["amount"])
        })
    });
    in_days(cells)
}

/// Converts cents by workspace and day to USD.
fn in_days<'a>(cells: impl Iterator<Item = (String, &'a Value, &'a Value)>) -> Sums {
    let mut sums = Sums::new();
    for (id, start, cents) in cells {
        let id = match id.as_str() {
            "wrkspc_a" | "wrkspc_b" => id,
            _ => format!("rest {id}"),
        };
        let day = start.as_str().unwrap()[..10].to_owned();
        let pico = Usd::parse(cents.as_str().unwrap()).unwrap().pico();
        assert_eq!(pico % 100, 0);
        *sums.entry((id, day)).or_default() += Usd::from_pico(pico / 100);
    }
    sums
}

/// Removes zero sums and combines workspaces that the guide does not list.
fn listed(sums: Sums, simulator: &Simulator) -> Sums {
    let world = simulator.world();
    let mut body = Sums::new();
    for ((id, day), spend) in sums {
        let is_listed = world.workspaces.iter().any(|of| of.id == id);
        let id = if is_listed { id } else { "rest".to_owned() };
        *body.entry((id, day)).or_default() += spend;
    }
    body.retain(|_, spend| *spend != Usd::ZERO);
    body
}

async fn check(events: Vec<(usize, bool, Event)>) {
    let (simulator, _) = start(world(&events)).await;
    let guide = listed(by_guide(&simulator).await, &simulator);
    for more in [
        "",
        "&group_by[]=model&group_by[]=api_key_id",
        "&group_by[]=cost_type",
    ] {
        let found = by_analytics(&simulator, more).await;
        assert_eq!(listed(found, &simulator), guide, "analytics {more}");
    }
    for more in ["", "&group_by[]=description"] {
        let found = by_reports(&simulator, more).await;
        assert_eq!(listed(found, &simulator), guide, "cost_report {more}");
    }
}

#[test]
fn three_reports_have_the_same_sums_by_workspace_and_day() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&events(), |events| {
        runtime.block_on(check(events));
        Ok(())
    });
    run.unwrap();
}
