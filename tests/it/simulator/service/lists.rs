//! Lists of the real API: workspaces, users, keys and limits, in both versions.

use serde_json::{Value, json};
use spendwatch_simulator::world::World;

use crate::simulator::service::{
    DEFAULT, body, check_statuses, column, empty, real, rows, send_request,
};
use crate::simulator::start;

#[tokio::test]
async fn me_returns_the_organization() {
    let (simulator, _) = start(empty()).await;
    let me = body(&simulator, "me").await;
    assert_eq!(
        (&me["type"], me["id"].as_str().unwrap().len()),
        (&json!("organization"), 36)
    );
    assert_eq!(me.as_object().unwrap().len(), 3);
    check_statuses(&simulator, &[("me?limit=1", 400)]).await;
}

#[tokio::test]
async fn default_and_archived_workspaces_are_listed_on_request() {
    let mut world = empty();
    world.archive("wrkspc_b");
    world
        .workspace_mut("wrkspc_a")
        .tags
        .insert("team".to_owned(), "search".to_owned());
    let (simulator, _) = start(world).await;
    for (query, expected) in [
        ("", vec!["wrkspc_a"]),
        ("include_default=false", vec!["wrkspc_a"]),
        ("include_default=true", vec![DEFAULT, "wrkspc_a"]),
        ("include_archived=true", vec!["wrkspc_a", "wrkspc_b"]),
        (
            "include_archived=true&include_default=true",
            vec![DEFAULT, "wrkspc_a", "wrkspc_b"],
        ),
        (
            "include_archived=true&ids[]=wrkspc_b&ids[]=x",
            vec!["wrkspc_b"],
        ),
        ("ids[]=wrkspc_b", vec![]),
    ] {
        let json = body(&simulator, &format!("workspaces?{query}")).await;
        assert_eq!(column(rows(&json), "/id"), expected, "{query}");
    }
    let all = body(
        &simulator,
        "workspaces?include_archived=true&include_default=true",
    )
    .await;
    assert_eq!(rows(&all)[0]["name"], "Default");
    assert_eq!(rows(&all)[1]["tags"], json!({"team": "search"}));
    let archived: Vec<bool> = column(rows(&all), "/archived_at")
        .iter()
        .map(Value::is_null)
        .collect();
    assert_eq!(archived, [true, true, false]);
    let many = "ids[]=x&".repeat(101);
    check_statuses(
        &simulator,
        &[
            ("workspaces?include_default=yes", 400),
            ("workspaces?page=x", 400),
            (&format!("workspaces?{many}limit=1"), 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn lists_are_paginated_by_id_in_both_directions() {
    let mut world = real(World::empty());
    for n in 0..25 {
        world.add_workspace(&format!("wrkspc_{n:02}"), "w");
    }
    let (simulator, _) = start(world).await;
    let page = body(&simulator, "workspaces").await;
    assert_eq!((rows(&page).len(), &page["has_more"]), (20, &json!(true)));
    assert_eq!(
        (&page["first_id"], &page["last_id"]),
        (&json!("wrkspc_00"), &json!("wrkspc_19"))
    );
    let rest = body(&simulator, "workspaces?after_id=wrkspc_19").await;
    assert_eq!((rows(&rest).len(), &rest["has_more"]), (5, &json!(false)));
    let before = body(&simulator, "workspaces?limit=3&before_id=wrkspc_05").await;
    assert_eq!(
        column(rows(&before), "/id"),
        ["wrkspc_02", "wrkspc_03", "wrkspc_04"]
    );
    assert_eq!(before["has_more"], true);
    let end = body(&simulator, "workspaces?after_id=wrkspc_24").await;
    let expected = json!({"data": [], "has_more": false, "first_id": null, "last_id": null});
    assert_eq!(end, expected);
    check_statuses(
        &simulator,
        &[
            ("workspaces?limit=1000", 200),
            ("workspaces?limit=1001", 400),
            ("workspaces?limit=0", 400),
            ("workspaces?after_id=nobody", 400),
            ("workspaces?before_id=nobody", 400),
            ("workspaces?after_id=wrkspc_01&before_id=wrkspc_03", 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn users_and_keys_can_be_filtered() {
    let (simulator, _) = start(empty()).await;
    simulator.world().keys[1].status = "inactive".to_owned();
    for (path, expected) in [
        ("users?", vec!["user_1", "user_2"]),
        ("users?email=user_2@example.com", vec!["user_2"]),
        ("users?roles[]=admin", vec!["user_1"]),
        ("api_keys?status=inactive", vec!["apikey_a2"]),
        (
            "api_keys?workspace_id=wrkspc_a",
            vec!["apikey_a1", "apikey_a2"],
        ),
        ("api_keys?workspace_id=wrkspc_default0", vec!["apikey_d1"]),
        ("api_keys?created_by_user_id=user_2", vec![]),
        (
            "api_keys?status=active&limit=2",
            vec!["apikey_a1", "apikey_b1"],
        ),
    ] {
        let json = body(&simulator, path).await;
        assert_eq!(column(rows(&json), "/id"), expected, "{path}");
    }
    let people = body(&simulator, "users").await;
    assert_eq!(column(rows(&people), "/role"), ["admin", "developer"]);
    check_statuses(
        &simulator,
        &[
            ("users?roles[]=owner", 400),
            ("users?status=active", 400),
            ("api_keys?status=lost", 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_newer_version_omits_duplicate_fields() {
    let mut world = empty();
    let limiter = "requests_per_minute".to_owned();
    world.rate_limits = vec![(None, "claude_sonnet".to_owned(), limiter, 1000)];
    let (simulator, _) = start(world).await;
    let old = body(&simulator, "api_keys").await;
    let homes = column(rows(&old), "/workspace_id");
    assert_eq!((&homes[0], &homes[3]), (&json!("wrkspc_a"), &Value::Null));
    let new = send_request(&simulator, "api_keys", Some("2026-10-21"), "")
        .await
        .json();
    for (old, new) in rows(&old).iter().zip(rows(&new)) {
        assert!(old.get("workspace_id").is_some() && new.get("workspace_id").is_none());
        assert_eq!(old["scope"], new["scope"]);
    }
    assert_eq!(rows(&new)[3]["scope"]["workspace_id"], DEFAULT);
    let old = body(&simulator, "rate_limits").await;
    let new = send_request(&simulator, "rate_limits", Some("2026-10-21"), "")
        .await
        .json();
    assert_eq!(rows(&old)[0]["group_type"], "model_group");
    assert!(rows(&new)[0].get("group_type").is_none());
    assert_eq!(rows(&old)[0]["group"], rows(&new)[0]["group"]);
    assert_eq!(old.as_object().unwrap().len(), 2, "no `has_more`");
}

#[tokio::test]
async fn rate_limits_of_a_workspace_are_its_own_or_inherited() {
    let mut world = empty();
    let limit = |of: Option<&str>, group: &str, value| {
        let limiter = "requests_per_minute".to_owned();
        (of.map(str::to_owned), group.to_owned(), limiter, value)
    };
    world.rate_limits = vec![
        limit(None, "claude_sonnet", 1000),
        limit(None, "claude_haiku", 4000),
        limit(Some("wrkspc_a"), "claude_sonnet", 100),
    ];
    let (simulator, _) = start(world).await;
    let values = |json: &Value| column(rows(json), "/limits/0/value");
    assert_eq!(values(&body(&simulator, "rate_limits").await), [1000, 4000]);
    let path = "workspaces/wrkspc_a/rate_limits";
    let own = body(&simulator, path).await;
    let expected = json!({"type": "requests_per_minute", "value": 100, "org_limit": 1000, "source": {"type": "workspace"}});
    assert_eq!(rows(&own)[0]["limits"], json!([expected]));
    assert_eq!(rows(&own)[0]["workspace_id"], "wrkspc_a");
    let all = body(&simulator, &format!("{path}?include_inherited=true")).await;
    assert_eq!(values(&all), [100, 4000]);
    assert_eq!(rows(&all)[1]["limits"][0]["source"]["type"], "organization");
    let json = body(&simulator, "workspaces/wrkspc_b/rate_limits").await;
    assert_eq!(json, json!({"data": [], "next_page": null}));
    let chosen = body(
        &simulator,
        "rate_limits?model=claude_haiku&group_type=model_group",
    )
    .await;
    assert_eq!(values(&chosen), [4000]);
    let first = body(&simulator, "rate_limits?limit=1").await;
    let cursor = first["next_page"].as_str().unwrap().replace('=', "%3D");
    let rest = body(&simulator, &format!("rate_limits?limit=1&page={cursor}")).await;
    assert_eq!(
        (values(&rest), &rest["next_page"]),
        (vec![json!(4000)], &Value::Null)
    );
    check_statuses(
        &simulator,
        &[
            ("workspaces/wrkspc_z/rate_limits", 404),
            ("workspaces/wrkspc_default0/rate_limits", 200),
            ("rate_limits?group_type=other", 400),
            ("rate_limits?include_inherited=true", 400),
            (&format!("rate_limits?limit=1&model=x&page={cursor}"), 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn spend_limits_are_whole_cents() {
    let mut world = empty();
    world.spend_limits = vec![(None, 500_000), (Some("wrkspc_a".to_owned()), 12_345)];
    let (simulator, _) = start(world).await;
    let json = body(&simulator, "spend_limits").await;
    assert_eq!(column(rows(&json), "/amount"), ["500000", "12345"]);
    assert_eq!(
        column(rows(&json), "/scope/type"),
        ["organization", "workspace"]
    );
    assert_ne!(rows(&json)[0]["id"], rows(&json)[1]["id"]);
    for chosen in ["scope_type[]=workspace", "workspace_id=wrkspc_a"] {
        let json = body(&simulator, &format!("spend_limits?{chosen}")).await;
        assert_eq!(column(rows(&json), "/amount"), ["12345"], "{chosen}");
    }
    check_statuses(&simulator, &[("spend_limits?scope_type[]=team", 400)]).await;
}
