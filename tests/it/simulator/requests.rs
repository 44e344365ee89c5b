//! Request validation, request log, dates and rate limit of the simulator.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::Value;

use crate::harness::at;
use crate::simulator::{NOW, OPUS, TODAY, get, request, send, start, two};

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let (simulator, _) = start(two()).await;
    let usage = |rest: &str| format!("/v1/usage?granularity=day&{rest}");
    for (path, status) in [
        ("/v1/organizations/me".to_owned(), 404),
        ("/v1/nothing".to_owned(), 404),
        ("/v1/users/user_00001".to_owned(), 405),
        ("/v1/users/invite".to_owned(), 405),
        ("/v1/organizations?limit=3".to_owned(), 400),
        ("/v1/workspaces?limit=0".to_owned(), 400),
        ("/v1/workspaces?limit=101".to_owned(), 400),
        ("/v1/workspaces?limit=many".to_owned(), 400),
        ("/v1/workspaces?after_id=workspace_z".to_owned(), 400),
        ("/v1/users?after_id=user_z".to_owned(), 400),
        ("/v1/workspaces?page=2".to_owned(), 400),
        (TODAY.replace("granularity=hour", "granularity=week"), 400),
        (TODAY.replace("&granularity=hour", ""), 400),
        (usage("start_date=2026-11-24"), 400),
        (usage("start_date=2026-11-24&end_date=2026-11-23"), 400),
        (usage("start_date=2026-11-31&end_date=2026-12-01"), 400),
        (usage("start_date=20261101&end_date=2026-12-01"), 400),
        (usage("start_date=2001-01-01&end_date=2026-12-01"), 400),
        (format!("{TODAY}&start_date=2026-11-24"), 400),
        (format!("{TODAY}&workspace_id=workspace_z"), 404),
        (format!("{TODAY}&workspace_id=workspace%5Fb"), 200),
    ] {
        let response = get(&simulator, &path).await;
        assert_eq!(response.status, status, "{path}: {}", response.body);
        let kind = if status == 200 {
            Value::Null
        } else {
            "error".into()
        };
        assert_eq!(response.json()["type"], kind, "{path}");
    }
    assert_eq!(simulator.n_writes(), 0);
    // Writes need a body; other methods are not allowed.
    for (method, status) in [
        (Method::POST, 400),
        (Method::PATCH, 405),
        (Method::DELETE, 405),
    ] {
        let refused = send(request(&simulator, method, "/v1/workspaces")).await;
        assert_eq!(refused.unwrap().status, status);
    }
    assert_eq!(simulator.n_writes(), 3);
    let before = request(&simulator, Method::GET, TODAY);
    simulator.accept_key("sk-ant-admin-rotated");
    assert_eq!(send(before).await.unwrap().status, 401);
    assert_eq!(get(&simulator, TODAY).await.status, 200);
}

#[tokio::test]
async fn requests_are_logged() {
    let (simulator, time) = start(two()).await;
    get(&simulator, &format!("{TODAY}&workspace_id=workspace_b")).await;
    time.advance(Duration::from_secs(5));
    get(&simulator, "/v1/organizations").await;
    let requests = simulator.requests();
    assert_eq!(requests[0].parameter("workspace_id"), Some("workspace_b"));
    assert_eq!(
        (requests[0].route(), requests[0].at),
        ("/v1/usage", at(NOW))
    );
    assert_eq!(
        (requests[1].route(), requests[1].at),
        ("/v1/organizations", simulator.now())
    );
    assert_eq!(requests[1].parameter("workspace_id"), None);
    assert_eq!(simulator.n_requests(), 2);
    simulator.clear_requests();
    assert_eq!(
        (simulator.n_requests(), simulator.requests()),
        (0, Vec::new())
    );
}

#[tokio::test]
async fn dates_and_lag_follow_the_clock() {
    let (simulator, time) = start(two()).await;
    let date = get(&simulator, TODAY).await;
    assert_eq!(date.header("date"), Some("Tue, 24 Nov 2026 14:30:00 GMT"));
    simulator.world().clock_skew = SignedDuration::from_secs(90);
    time.advance(Duration::from_mins(60));
    let date = get(&simulator, "/v1/nothing").await;
    assert_eq!(date.header("date"), Some("Tue, 24 Nov 2026 15:31:30 GMT"));
    simulator.world().spend("", OPUS, at(NOW), "1");
    simulator
        .world()
        .spend("", OPUS, at("2026-11-24T15:10:00Z"), "2");
    assert_eq!(get(&simulator, TODAY).await.spend().to_string(), "3");
    simulator.world().lag_until = Some(at("2026-11-24T14:59:00Z"));
    assert_eq!(get(&simulator, TODAY).await.spend().to_string(), "1");
}

#[tokio::test]
async fn the_rate_limit_sends_retry_after() {
    let (simulator, time) = start(two()).await;
    simulator.world().rate_limit = Some(2);
    for expected in [200, 200, 429] {
        assert_eq!(get(&simulator, TODAY).await.status, expected);
        time.advance(Duration::from_secs(5));
    }
    let refused = get(&simulator, TODAY).await;
    assert_eq!(refused.header("retry-after"), Some("45"));
    time.advance(Duration::from_secs(44));
    assert_eq!(get(&simulator, TODAY).await.status, 429);
    time.advance(Duration::from_secs(1));
    assert_eq!(get(&simulator, TODAY).await.status, 200);
}
