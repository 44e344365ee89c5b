//! Older reports: all buckets, null for unrequested dimensions, cost by day.

use serde_json::{Value, json};
use spendwatch_domain::units::span::Day;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};

use crate::harness::at;
use crate::simulator::service::{
    DAY, FAST, HAIKU, SONNET, all, body, by, column, empty, rows, send_request, spent, used,
};
use crate::simulator::start;

#[tokio::test]
async fn all_buckets_are_present_oldest_first() {
    let (simulator, _) = start(spent()).await;
    let path = "usage_report/messages?limit=2\
                &starting_at=2026-11-21T00:00:00Z&ending_at=2026-11-26T00:00:00Z";
    let days = all(&simulator, path).await;
    let starts = column(&days, "/starting_at");
    let expected = [21, 22, 23, 24, 25].map(|day| json!(format!("2026-11-{day}T00:00:00Z")));
    assert_eq!(starts, expected);
    assert_eq!(days[2]["ending_at"], "2026-11-24T00:00:00Z");
    let n_results: Vec<usize> = days
        .iter()
        .map(|day| day["results"].as_array().unwrap().len())
        .collect();
    assert_eq!(n_results, [0, 0, 1, 0, 0]);
    let bills = all(
        &simulator,
        &path.replace("usage_report/messages", "cost_report"),
    )
    .await;
    assert_eq!(column(&bills, "/starting_at"), expected);
    assert_eq!(bills[1]["results"], json!([]));
}

#[tokio::test]
async fn the_start_is_snapped_and_the_end_is_exclusive() {
    let (simulator, _) = start(spent()).await;
    for (width, start, end, expected) in [
        (
            "1d",
            "2026-11-23T17:45:10Z",
            "2026-11-24T00:00:00Z",
            vec!["2026-11-23T00:00:00Z"],
        ),
        (
            "1h",
            "2026-11-23T17:45:10Z",
            "2026-11-23T18:00:00Z",
            vec!["2026-11-23T17:00:00Z"],
        ),
        (
            "1h",
            "2026-11-23T17:00:00Z",
            "2026-11-23T18:00:01Z",
            vec!["2026-11-23T17:00:00Z", "2026-11-23T18:00:00Z"],
        ),
        // Other offsets are converted.
        (
            "1h",
            "2026-11-23T18:45:00%2B01:00",
            "2026-11-23T18:00:00Z",
            vec!["2026-11-23T17:00:00Z"],
        ),
    ] {
        let path = format!(
            "usage_report/messages?bucket_width={width}&starting_at={start}&ending_at={end}"
        );
        let json = body(&simulator, &path).await;
        let starts = column(rows(&json), "/starting_at");
        assert_eq!(starts, expected, "{path}");
    }
    // The default end is now.
    let path = "usage_report/messages?bucket_width=1h&starting_at=2026-11-24T12:30:00Z";
    let json = body(&simulator, path).await;
    let expected = [
        "2026-11-24T12:00:00Z",
        "2026-11-24T13:00:00Z",
        "2026-11-24T14:00:00Z",
    ];
    assert_eq!(column(rows(&json), "/starting_at"), expected);
}

#[tokio::test]
async fn cost_bounds_are_midnights_and_exclude_today_by_default() {
    let mut world = spent();
    world.spend("wrkspc_a", SONNET, at("2026-11-24T01:00:00Z"), "7");
    let (simulator, _) = start(world).await;
    let path = "cost_report?starting_at=2026-11-22T15:00:00Z";
    let expected = ["2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"];
    let json = body(&simulator, path).await;
    assert_eq!(column(rows(&json), "/starting_at"), expected);
    let json = body(
        &simulator,
        &format!("{path}&ending_at=2026-11-24T23:59:59Z"),
    )
    .await;
    assert_eq!(column(rows(&json), "/starting_at"), expected);
    let json = body(
        &simulator,
        &format!("{path}&ending_at=2026-11-25T00:00:00Z"),
    )
    .await;
    assert_eq!(
        rows(&json)[2]["results"],
        json!([]),
        "today has no bill yet"
    );
}

#[tokio::test]
async fn unrequested_dimensions_and_the_default_workspace_are_null() {
    let (simulator, _) = start(spent()).await;
    let of = |more: &str| format!("usage_report/messages?{DAY}{more}");
    let json = body(&simulator, &of("")).await;
    let expected = json!([{
        "uncached_input_tokens": 3000, "cache_read_input_tokens": 0, "output_tokens": 150,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 0},
        "account_id": null, "api_key_id": null, "context_window": null, "inference_geo": null, "model": null,
        "service_account_id": null, "service_tier": null, "speed": null, "workspace_id": null,
    }]);
    assert_eq!(json["data"][0]["results"], expected);
    let json = body(&simulator, &of("&group_by[]=workspace_id")).await;
    let results = json["data"][0]["results"].as_array().unwrap();
    let ids = column(results, "/workspace_id");
    assert_eq!(ids, [Value::Null, json!("wrkspc_a"), json!("wrkspc_b")]);
    assert_eq!(column(results, "/output_tokens"), [30, 90, 30]);
    assert_eq!(
        column(results, "/model"),
        [Value::Null, Value::Null, Value::Null]
    );
    let bill = body(
        &simulator,
        &format!("cost_report?{DAY}&group_by[]=workspace_id"),
    )
    .await;
    let results = bill["data"][0]["results"].as_array().unwrap();
    let ids = column(results, "/workspace_id");
    assert_eq!(ids, [Value::Null, json!("wrkspc_a"), json!("wrkspc_b")]);
    let plain = send_request(&simulator, &of(""), Some("2023-06-01"), "").await;
    assert!(!plain.body.contains("speed"), "known with its beta alone");
}

#[tokio::test]
async fn usage_can_be_filtered_by_every_dimension() {
    let mut world = spent();
    let detail = UsageDetail {
        user: Some("user_1".to_owned()),
        service_tier: "batch".to_owned(),
        context_window: "200k-1M".to_owned(),
        inference_geo: "us".to_owned(),
        is_fast: true,
        api_key: None,
    };
    let when = at("2026-11-23T15:00:00Z");
    world.add_detailed_usage("wrkspc_b", SONNET, when, used(70_000, 1, 7), detail);
    let (simulator, _) = start(world).await;
    for (choice, output) in [
        ("models[]=claude-sonnet-4-5", 97),
        ("models[]=claude-haiku-4-5", 60),
        ("models[]=claude-haiku-4-5&models[]=claude-sonnet-4-5", 157),
        ("workspace_ids[]=wrkspc_b", 37),
        ("api_key_ids[]=apikey_a1", 60),
        ("account_ids[]=user_1", 7),
        ("service_tiers[]=batch", 7),
        ("context_window[]=200k-1M", 7),
        ("inference_geos[]=us", 7),
        ("inference_geos[]=global&inference_geos[]=us", 157),
        ("speeds[]=fast", 7),
        ("speeds[]=standard&workspace_ids[]=wrkspc_b", 30),
        ("service_account_ids[]=svac_1", 0),
    ] {
        let path = format!("usage_report/messages?{DAY}&{choice}");
        let json = body(&simulator, &path).await;
        let results = json["data"][0]["results"].as_array().unwrap();
        let sum: i64 = column(results, "/output_tokens")
            .iter()
            .map(|n| n.as_i64().unwrap())
            .sum();
        assert_eq!(sum, output, "{choice}");
    }
    let path = format!("usage_report/messages?{DAY}&group_by[]=speed&group_by[]=account_id");
    let response = send_request(&simulator, &path, Some("2026-10-21"), FAST).await;
    let json = response.json();
    let results = json["data"][0]["results"].as_array().unwrap();
    assert_eq!(column(results, "/speed"), ["fast", "standard"]);
    assert_eq!(
        column(results, "/account_id"),
        [json!("user_1"), Value::Null]
    );
}

#[tokio::test]
async fn costs_are_split_by_charge_in_cents() {
    let mut world = empty();
    let batch = UsageDetail {
        service_tier: "batch".to_owned(),
        inference_geo: "us".to_owned(),
        ..by("apikey_a1")
    };
    let used = SimulatedUsage {
        micros: 1_234_567,
        input: 5,
        output: 6,
        web_searches: 3,
        ..SimulatedUsage::default()
    };
    world.add_detailed_usage("wrkspc_a", SONNET, at("2026-11-23T09:00:00Z"), used, batch);
    world.add_code_execution("wrkspc_a", at("2026-11-23T10:00:00Z"), 50_000);
    world.correct_day(
        "wrkspc_a",
        Day::containing(at("2026-11-23T00:00:00Z")),
        "-0.25",
    );
    let (simulator, _) = start(world).await;
    let whole = body(&simulator, &format!("cost_report?{DAY}")).await;
    let expected = json!([{"amount": "103.4567", "currency": "USD", "workspace_id": null, "description": null,
        "cost_type": null, "model": null, "token_type": null, "service_tier": null,
        "context_window": null, "inference_geo": null}]);
    assert_eq!(whole["data"][0]["results"], expected);
    let path = format!("cost_report?{DAY}&group_by[]=description&group_by[]=workspace_id");
    let json = body(&simulator, &path).await;
    let results = json["data"][0]["results"].as_array().unwrap();
    let body: Vec<[Value; 6]> = results
        .iter()
        .map(|row| {
            [
                "amount",
                "cost_type",
                "token_type",
                "model",
                "service_tier",
                "workspace_id",
            ]
            .map(|name| row[name].clone())
        })
        .collect();
    let a = json!("wrkspc_a");
    let plain = |amount: &str, kind: &str| {
        [
            json!(amount),
            json!(kind),
            Value::Null,
            Value::Null,
            Value::Null,
            a.clone(),
        ]
    };
    let tokens = |amount: &str, kind: &str| {
        [
            json!(amount),
            json!("tokens"),
            json!(kind),
            json!(SONNET),
            json!("batch"),
            a.clone(),
        ]
    };
    let expected = [
        plain("-25", "code_execution"),
        plain("5", "code_execution"),
        plain("3", "web_search"),
        tokens("60.2284", "output_tokens"),
        tokens("60.2283", "uncached_input_tokens"),
    ];
    assert_eq!(body, expected);
    let descriptions = column(results, "/description");
    assert_eq!(descriptions[1], "Code Execution Usage");
}

#[tokio::test]
async fn days_are_billed_after_the_lag() {
    let mut world = spent();
    world.bill_lag = jiff::SignedDuration::from_hours(15);
    let (simulator, time) = start(world).await;
    let path = format!("cost_report?{DAY}");
    assert_eq!(
        body(&simulator, &path).await["data"][0]["results"],
        json!([])
    );
    time.advance(std::time::Duration::from_secs(1800));
    let json = body(&simulator, &path).await;
    assert_eq!(json["data"][0]["results"][0]["amount"], "773.4567");
}

#[tokio::test]
async fn the_priority_tier_is_only_in_messages_and_code_execution_only_in_costs() {
    let mut world = empty();
    let when = at("2026-11-23T09:00:00Z");
    let priority = UsageDetail {
        service_tier: "priority".to_owned(),
        ..by("apikey_a1")
    };
    world.add_detailed_usage("wrkspc_a", SONNET, when, used(9_000_000, 10, 11), priority);
    world.add_code_execution("wrkspc_b", when, 40_000);
    world.add_detailed_usage(
        "wrkspc_b",
        HAIKU,
        when,
        used(10_000, 20, 21),
        by("apikey_b1"),
    );
    let (simulator, _) = start(world).await;
    let group = "&group_by[]=workspace_id&group_by[]=model";
    let json = body(&simulator, &format!("usage_report/messages?{DAY}{group}")).await;
    let results = json["data"][0]["results"].as_array().unwrap();
    assert_eq!(column(results, "/model"), [SONNET, HAIKU]);
    assert_eq!(column(results, "/output_tokens"), [11, 21]);
    let bill = body(&simulator, &format!("cost_report?{DAY}")).await;
    assert_eq!(bill["data"][0]["results"][0]["amount"], "5");
    let path = format!("analytics/cost?{DAY}&time_bucket_width=1h{group}");
    let cost = body(&simulator, &path).await;
    assert_eq!(column(rows(&cost), "/cost/amount"), ["4", "1"]);
    assert_eq!(
        column(rows(&cost), "/group/model"),
        [Value::Null, json!(HAIKU)]
    );
    let usage = body(&simulator, &path.replace("cost", "usage")).await;
    assert_eq!(column(rows(&usage), "/usage/total_tokens"), [41]);
}
