//! Analytics reports: sparse sorted rows, list amounts, split amounts, and the watermark.

use jiff::SignedDuration;
use serde_json::{Value, json};
use spendwatch_domain::units::span::Day;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};

use crate::harness::at;
use crate::simulator::service::{
    DAY, DEFAULT, HAIKU, SONNET, all, body, by, column, empty, rows, spent, used,
};
use crate::simulator::start;

const HOURLY: &str = "analytics/cost?time_bucket_width=1h";

#[tokio::test]
async fn rows_are_sparse_and_largest_first() {
    let (simulator, _) = start(spent()).await;
    let path = format!("{HOURLY}&{DAY}&group_by[]=api_key_id&limit=2");
    let (amount, hour) = ("/cost/amount", "/starting_at");
    let found = all(&simulator, &path).await;
    let amounts = ["300", "200", "123.4567", "100", "50"];
    assert_eq!(column(&found, amount), amounts);
    assert_eq!(found[0]["starting_at"], "2026-11-23T10:00:00Z");
    assert_eq!(found[0]["ending_at"], "2026-11-23T11:00:00Z");
    let rising = all(&simulator, &format!("{path}&order=asc")).await;
    let reversed: Vec<&str> = amounts.iter().rev().copied().collect();
    assert_eq!(column(&rising, amount), reversed);
    let hours = [9, 10, 11, 11, 12].map(|hour| json!(format!("2026-11-23T{hour:02}:00:00Z")));
    let in_time = all(&simulator, &format!("{path}&order_by=time&order=asc")).await;
    assert_eq!(column(&in_time, hour), hours);
    let newest = all(&simulator, &format!("{path}&order_by=time")).await;
    let backwards: Vec<Value> = hours.iter().rev().cloned().collect();
    assert_eq!(column(&newest, hour), backwards);
    let nothing = body(&simulator, &format!("{path}&models[]=claude-nobody")).await;
    assert_eq!(
        (rows(&nothing).len(), &nothing["has_more"]),
        (0, &json!(false))
    );
}

#[tokio::test]
async fn usage_can_be_sorted_by_any_counter() {
    let mut world = empty();
    for (hour, input, output, requests) in [(9, 100, 5, 1), (10, 50, 60, 2), (11, 1, 30, 9)] {
        let used = SimulatedUsage {
            input,
            output,
            requests,
            micros: 1,
            ..SimulatedUsage::default()
        };
        let when = at(&format!("2026-11-23T{hour:02}:00:00Z"));
        world.add_usage("wrkspc_b", SONNET, when, used);
    }
    let (simulator, _) = start(world).await;
    for (by, expected) in [
        ("", [10, 9, 11]),
        ("&order_by=total_tokens", [10, 9, 11]),
        ("&order_by=uncached_input_tokens", [9, 10, 11]),
        ("&order_by=output_tokens", [10, 11, 9]),
        ("&order_by=requests&order=asc", [9, 10, 11]),
        ("&order_by=time", [11, 10, 9]),
    ] {
        let path = format!("analytics/usage?time_bucket_width=1h&{DAY}{by}");
        let json = body(&simulator, &path).await;
        let expected = expected.map(|hour| json!(format!("2026-11-23T{hour:02}:00:00Z")));
        assert_eq!(column(rows(&json), "/starting_at"), expected, "{by}");
    }
}

#[tokio::test]
async fn the_default_workspace_has_its_id_and_other_dimensions_are_null() {
    let (simulator, _) = start(spent()).await;
    let path = format!("{HOURLY}&{DAY}&group_by[]=workspace_id&order_by=time");
    let json = body(&simulator, &path).await;
    assert_eq!(rows(&json)[0]["group"]["workspace_id"], DEFAULT);
    let group = rows(&json)[0]["group"].as_object().unwrap();
    assert_eq!(group.len(), 22, "every dimension, and two of money");
    let n_present = group.values().filter(|value| !value.is_null()).count();
    assert_eq!(n_present, 1);
    let chosen = body(&simulator, &format!("{path}&workspace_ids[]={DEFAULT}")).await;
    assert_eq!(column(rows(&chosen), "/cost/amount"), ["50"]);
    let usage = body(&simulator, &path.replace("cost", "usage")).await;
    let group = rows(&usage)[0]["group"].as_object().unwrap();
    assert_eq!((group.len(), group.contains_key("cost_type")), (20, false));
    let whole = body(
        &simulator,
        &format!("analytics/cost?time_bucket_width=1d&{DAY}"),
    )
    .await;
    assert!(rows(&whole)[0]["group"]["workspace_id"].is_null());
}

#[tokio::test]
async fn actors_are_users_or_keys() {
    let mut world = empty();
    let when = at("2026-11-23T09:00:00Z");
    let person = UsageDetail {
        user: Some("user_1".to_owned()),
        ..UsageDetail::default()
    };
    world.add_detailed_usage("wrkspc_a", SONNET, when, used(2_000_000, 1, 1), person);
    world.add_detailed_usage(
        "wrkspc_a",
        SONNET,
        when,
        used(1_000_000, 1, 1),
        by("apikey_a1"),
    );
    let (simulator, _) = start(world).await;
    let group = "&group_by[]=actor&group_by[]=actor_type&group_by[]=api_key_id";
    let json = body(&simulator, &format!("{HOURLY}&{DAY}{group}")).await;
    let actors = column(rows(&json), "/group/actor");
    assert_eq!(actors[0]["user_id"], "user_1");
    assert_eq!(
        actors[1],
        json!({"type": "api_actor", "api_key_id": "apikey_a1"})
    );
    let types = column(rows(&json), "/group/actor_type");
    assert_eq!(types, ["user_actor", "api_actor"]);
    for (choice, amount) in [
        ("api_key_ids[]=", "200"),
        ("api_key_ids[]=apikey_a1", "100"),
        ("api_key_ids[]=&api_key_ids[]=apikey_a1", "300"),
        ("actor_ids[]=user_1", "200"),
        ("actor_types[]=api_actor", "100"),
    ] {
        let json = body(&simulator, &format!("{HOURLY}&{DAY}&{choice}")).await;
        assert_eq!(column(rows(&json), "/cost/amount"), [amount], "{choice}");
    }
}

#[tokio::test]
async fn split_amounts_stay_together_and_have_no_requests() {
    let mut world = spent();
    let searched = SimulatedUsage {
        micros: 5_060_000,
        input: 10,
        cache_write_1h: 10,
        web_searches: 6,
        requests: 4,
        ..SimulatedUsage::default()
    };
    let when = at("2026-11-23T08:00:00Z");
    world.add_detailed_usage("wrkspc_b", SONNET, when, searched, by("apikey_b1"));
    world.add_code_execution("wrkspc_b", when, 70_000);
    let (simulator, _) = start(world).await;
    let daily = format!("analytics/cost?time_bucket_width=1d&{DAY}");
    let group = "&group_by[]=workspace_id&group_by[]=cost_type";
    let first = body(&simulator, &format!("{daily}{group}&limit=1")).await;
    let of = |name: &str| column(rows(&first), name);
    assert_eq!(
        of("/group/workspace_id"),
        ["wrkspc_b"; 3],
        "one row, in three"
    );
    let kinds = ["code_execution", "tokens", "web_search"];
    assert_eq!(of("/group/cost_type"), kinds);
    assert_eq!(of("/cost/amount"), ["7", "623.4567", "6"]);
    assert_eq!(
        of("/cost/requests"),
        [Value::Null, Value::Null, Value::Null]
    );
    assert_eq!(first["has_more"], true);
    let found = all(&simulator, &format!("{daily}{group}&limit=1")).await;
    assert_eq!(found.len(), 5);
    let group = "&group_by[]=token_type&group_by[]=workspace_id&workspace_ids[]=wrkspc_b";
    let json = body(&simulator, &format!("{daily}{group}")).await;
    let kinds = column(rows(&json), "/group/token_type");
    let one_hour = "cache_creation.ephemeral_1h_input_tokens";
    let expected = [
        Value::Null,
        json!(one_hour),
        json!("output_tokens"),
        json!("uncached_input_tokens"),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(rows(&json)[0]["cost"]["amount"], "13");
    assert_eq!(rows(&json)[1]["cost"]["amount"], "250");
    let whole = body(&simulator, &daily).await;
    assert_eq!(rows(&whole)[0]["cost"]["requests"], 14);
}

#[tokio::test]
async fn list_amounts_are_before_the_discount_and_in_cents() {
    let mut world = empty();
    world.discount_percent = 10;
    let when = at("2026-11-23T09:00:00Z");
    world.add_usage("wrkspc_b", HAIKU, when, used(18_302_523, 3, 4));
    world.add_usage(
        "wrkspc_b",
        HAIKU,
        at("2026-11-23T10:00:00Z"),
        used(-1_000, 1, 0),
    );
    let (simulator, _) = start(world).await;
    let json = body(&simulator, &format!("{HOURLY}&{DAY}")).await;
    let expected = json!({"amount": "1830.2523", "list_amount": "2033.61366667", "currency": "USD", "requests": 2});
    let mut found = rows(&json)[0]["cost"].clone();
    let list = found["list_amount"].as_str().unwrap().to_owned();
    assert!(list.starts_with("2033.6136666666"), "{list}");
    found["list_amount"] = expected["list_amount"].clone();
    assert_eq!(found, expected);
    assert_eq!(rows(&json)[1]["cost"]["amount"], "-0.1");
    simulator.world().discount_percent = 0;
    let json = body(&simulator, &format!("{HOURLY}&{DAY}")).await;
    assert_eq!(rows(&json)[0]["cost"]["list_amount"], "1830.2523");
}

#[tokio::test]
async fn tokens_and_searches_are_reported_by_type() {
    let mut world = empty();
    let everything = SimulatedUsage {
        micros: 1,
        input: 2,
        output: 3,
        cache_read: 4,
        requests: 5,
        cache_write_5m: 6,
        cache_write_1h: 7,
        web_searches: 8,
    };
    let when = at("2026-11-23T09:00:00Z");
    world.add_detailed_usage("wrkspc_a", SONNET, when, everything, by("apikey_a1"));
    let (simulator, _) = start(world).await;
    let path = format!("analytics/usage?time_bucket_width=1h&{DAY}");
    let json = body(&simulator, &path).await;
    let expected = json!({"uncached_input_tokens": 2, "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 7},
        "cache_read_input_tokens": 4, "total_tokens": 22, "requests": 5,
        "server_tool_use": {"web_search_requests": 8}});
    assert_eq!(rows(&json)[0]["usage"], expected);
    let json = body(&simulator, &format!("usage_report/messages?{DAY}")).await;
    let row = &json["data"][0]["results"][0];
    assert_eq!(row["server_tool_use"]["web_search_requests"], 8);
    assert_eq!(row["cache_creation"]["ephemeral_1h_input_tokens"], 7);
}

#[tokio::test]
async fn there_is_no_usage_after_the_watermark() {
    let mut world = spent();
    world.refresh_lag = SignedDuration::from_hours(27);
    let (simulator, time) = start(world).await;
    let path = format!("{HOURLY}&{DAY}&order_by=time&order=asc");
    let json = body(&simulator, &path).await;
    assert_eq!(json["data_refreshed_at"], "2026-11-23T11:30:00Z");
    // The hour that contains it has half of its spend.
    let amounts = column(rows(&json), "/cost/amount");
    assert_eq!(amounts, ["100", "300", "161.7283"]);
    time.advance(std::time::Duration::from_secs(1800));
    let json = body(&simulator, &path).await;
    assert_eq!(json["data_refreshed_at"], "2026-11-23T12:00:00Z");
    let amounts = column(rows(&json), "/cost/amount");
    assert_eq!(
        amounts,
        ["100", "300", "323.4567"],
        "nothing of the hour that begins"
    );
    simulator.world().refreshed_until = Some(at("2026-11-23T09:00:00Z"));
    let json = body(&simulator, &path).await;
    assert_eq!(
        (rows(&json).len(), &json["data_refreshed_at"]),
        (0, &json!("2026-11-23T09:00:00Z"))
    );
    simulator.world().refreshed_until = Some(at("2027-01-01T00:00:00Z"));
    let json = body(&simulator, &path).await;
    assert_eq!(
        json["data_refreshed_at"],
        simulator.now().to_string(),
        "never ahead of now"
    );
}

#[tokio::test]
async fn without_buckets_there_is_one_row_over_whole_hours() {
    let (simulator, _) = start(spent()).await;
    let path = "analytics/cost?starting_at=2026-11-23T09:45:00Z&ending_at=2026-11-23T11:59:00Z\
                &group_by[]=workspace_id&order_by=time";
    let json = body(&simulator, path).await;
    assert_eq!(
        column(rows(&json), "/cost/amount"),
        ["400"],
        "by amount after all"
    );
    assert_eq!(rows(&json)[0]["starting_at"], "2026-11-23T09:00:00Z");
    assert_eq!(rows(&json)[0]["ending_at"], "2026-11-23T11:00:00Z");
    let json = body(
        &simulator,
        "analytics/cost?starting_at=2026-11-01T00:00:00Z",
    )
    .await;
    assert_eq!(rows(&json)[0]["ending_at"], "2026-11-24T14:00:00Z");
    let json = body(
        &simulator,
        "analytics/cost?starting_at=2026-10-02T07:10:00Z",
    )
    .await;
    assert_eq!(rows(&json).len(), 0);
}

#[tokio::test]
async fn buckets_are_whole_and_corrections_are_daily() {
    let mut world = spent();
    world.correct_day("wrkspc_b", Day::containing(at("2026-11-23T00:00:00Z")), "4");
    let (simulator, _) = start(world).await;
    let bounds = "starting_at=2026-11-23T10:30:00Z&ending_at=2026-11-23T12:00:00Z";
    let json = body(
        &simulator,
        &format!("{HOURLY}&{bounds}&order_by=time&order=asc"),
    )
    .await;
    let starts = ["2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"];
    assert_eq!(column(rows(&json), "/starting_at"), starts);
    let path = format!("analytics/cost?time_bucket_width=1d&{DAY}&workspace_ids[]=wrkspc_b");
    let json = body(&simulator, &path).await;
    assert_eq!(column(rows(&json), "/cost/amount"), ["523.4567"]);
    assert_eq!(rows(&json)[0]["ending_at"], "2026-11-24T00:00:00Z");
}
