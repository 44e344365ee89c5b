//! Faults on the real API's endpoints, and the request log.

use spendwatch_simulator::faults::request_log::LoggedRequest;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};

use crate::harness::{at, hours};
use crate::simulator::service::{DAY, FAST, body, column, get, rows, send_request, spent};
use crate::simulator::{NOW, start};

const HOURS: &str = "usage_report/messages?bucket_width=1h&limit=10";

#[tokio::test]
async fn faults_match_the_endpoint_name() {
    let (simulator, _) = start(spent()).await;
    let day = format!("?{DAY}");
    let paths = [
        ("workspaces", "workspaces", ""),
        ("users", "users", ""),
        ("api_keys", "api_keys", ""),
        ("messages", "usage_report/messages", &day),
        ("cost_report", "cost_report", &day),
        ("analytics_usage", "analytics/usage", &day),
        ("analytics_cost", "analytics/cost", &day),
        ("rate_limits", "rate_limits", ""),
        (
            "workspace_rate_limits",
            "workspaces/wrkspc_a/rate_limits",
            "",
        ),
        ("spend_limits", "spend_limits", ""),
    ];
    for (affected, ..) in paths {
        simulator.clear_faults();
        simulator.inject_fault(FaultTarget::endpoint(affected), ServerFault::Html(503));
        for (name, path, query) in paths {
            let response = get(&simulator, &format!("{path}{query}")).await;
            let expected = if name == affected { 503 } else { 200 };
            assert_eq!(response.status, expected, "{affected}: {name}");
        }
    }
    simulator.clear_faults();
    simulator.inject_fault(FaultTarget::everything(), ServerFault::Html(503));
    assert_eq!(
        get(&simulator, "me").await.status,
        200,
        "only where it is named"
    );
}

#[tokio::test]
async fn endless_and_repeating_reports() {
    let (simulator, _) = start(spent()).await;
    for path in [
        format!("{HOURS}&{DAY}"),
        format!("analytics/cost?time_bucket_width=1h&{DAY}"),
        "rate_limits?".to_owned(),
    ] {
        simulator.clear_faults();
        let right = body(&simulator, &path).await;
        simulator.inject_fault(FaultTarget::everything(), ServerFault::EndlessPages);
        let mut next_path = path.clone();
        for n in 0..5 {
            let page = body(&simulator, &next_path).await;
            let next = format!("endless_{n}");
            assert_eq!(page["next_page"], next.as_str(), "{path}");
            let n_rows = if n == 0 {
                rows(&right).len()
            } else {
                1.min(rows(&right).len())
            };
            assert_eq!(rows(&page).len(), n_rows);
            next_path = format!("{path}&page={next}");
        }
        simulator.clear_faults();
        simulator.inject_fault(FaultTarget::everything(), ServerFault::EmptyPage);
        let empty = body(&simulator, &path).await;
        assert!(rows(&empty).is_empty() && empty["next_page"].is_string());
        simulator.clear_faults();
        simulator.inject_fault(FaultTarget::everything(), ServerFault::SamePage);
        let first = body(&simulator, &path).await;
        let cursor = first["next_page"].as_str().unwrap();
        let again = body(&simulator, &format!("{path}&page={cursor}")).await;
        assert_eq!((again, &first["data"]), (first.clone(), &right["data"]));
    }
}

#[tokio::test]
async fn faults_can_affect_one_page_of_a_report() {
    let (simulator, _) = start(spent()).await;
    simulator.inject_fault(
        FaultTarget::endpoint("messages").page(2),
        ServerFault::Html(500),
    );
    let path = format!("{HOURS}&{DAY}");
    let mut cursor = String::new();
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let response = get(&simulator, &format!("{path}{cursor}")).await;
        statuses.push(response.status);
        if response.status == 200 {
            let next = response.json()["next_page"].as_str().unwrap().to_owned();
            cursor = format!("&page={}", next.replace('=', "%3D"));
        }
    }
    assert_eq!(statuses, [200, 500]);
}

#[tokio::test]
async fn rows_can_be_missing() {
    let (simulator, _) = start(spent()).await;
    let path = format!("analytics/cost?time_bucket_width=1h&{DAY}&order_by=time&order=asc");
    let missing = hours("2026-11-23T10:00:00Z", "2026-11-23T12:00:00Z");
    simulator.inject_fault(
        FaultTarget::everything().times(1),
        ServerFault::MissingRows(missing),
    );
    let amounts = column(rows(&body(&simulator, &path).await), "/cost/amount");
    assert_eq!(amounts, ["100", "50"]);
    simulator.inject_fault(FaultTarget::everything().times(1), ServerFault::NoRows);
    let none = body(&simulator, &format!("{path}&limit=1")).await;
    assert!(rows(&none).is_empty() && none["next_page"].is_null());
    assert_eq!(none["has_more"], false);
    assert_eq!(rows(&body(&simulator, &path).await).len(), 4);
}

#[tokio::test]
async fn requests_are_logged_with_query_even_if_rejected() {
    let (simulator, _) = start(spent()).await;
    let path = format!("usage_report/messages?{DAY}&group_by[]=model");
    send_request(&simulator, &path, Some("2023-06-01"), FAST).await;
    send_request(&simulator, "analytics/cost", Some("2023-06-01"), "").await;
    send_request(&simulator, "me", None, "").await;
    let requests = simulator.requests();
    let routes: Vec<&str> = requests.iter().map(LoggedRequest::route).collect();
    let expected = [
        "/v1/organizations/usage_report/messages",
        "/v1/organizations/analytics/cost",
        "/v1/organizations/me",
    ];
    assert_eq!(routes, expected);
    assert_eq!(requests[0].parameter("group_by[]"), Some("model"));
    assert_eq!(
        requests[0].parameter("starting_at"),
        Some("2026-11-23T00:00:00Z")
    );
    assert_eq!(
        (requests[0].at, requests[0].method.as_str()),
        (at(NOW), "GET")
    );
    assert_eq!((simulator.n_requests(), simulator.n_writes()), (3, 0));
}

#[tokio::test]
async fn the_rate_limit_applies() {
    let (simulator, time) = start(spent()).await;
    simulator.world().rate_limit = Some(1);
    assert_eq!(get(&simulator, "me").await.status, 200);
    let refused = get(&simulator, "users").await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("60"))
    );
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    time.advance(std::time::Duration::from_secs(60));
    assert_eq!(get(&simulator, "users").await.status, 200);
}
