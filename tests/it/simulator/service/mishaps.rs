//! Failures of the real service's routes, and what is remembered of the requests.

use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::journal::Seen;

use crate::harness::{at, hours};
use crate::simulator::service::{DAY, FAST, ask, column, get, rows, spent, told};
use crate::simulator::{NOW, start};

const HOURS: &str = "usage_report/messages?bucket_width=1h&limit=10";

#[tokio::test]
async fn faults_strike_by_the_name_of_a_route() {
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
    for (struck, ..) in paths {
        simulator.heal();
        simulator.fail(FaultOn::endpoint(struck), Fault::Html(503));
        for (name, path, query) in paths {
            let answer = get(&simulator, &format!("{path}{query}")).await;
            let expected = if name == struck { 503 } else { 200 };
            assert_eq!(answer.status, expected, "{struck}: {name}");
        }
    }
    simulator.heal();
    simulator.fail(FaultOn::everything(), Fault::Html(503));
    assert_eq!(
        get(&simulator, "me").await.status,
        200,
        "only where it is named"
    );
}

#[tokio::test]
async fn reports_that_never_end_or_begin_again() {
    let (simulator, _) = start(spent()).await;
    for path in [
        format!("{HOURS}&{DAY}"),
        format!("analytics/cost?time_bucket_width=1h&{DAY}"),
        "rate_limits?".to_owned(),
    ] {
        simulator.heal();
        let right = told(&simulator, &path).await;
        simulator.fail(FaultOn::everything(), Fault::EndlessPages);
        let mut asked = path.clone();
        for n in 0..5 {
            let page = told(&simulator, &asked).await;
            let next = format!("endless_{n}");
            assert_eq!(page["next_page"], next.as_str(), "{path}");
            let n_rows = if n == 0 {
                rows(&right).len()
            } else {
                1.min(rows(&right).len())
            };
            assert_eq!(rows(&page).len(), n_rows);
            asked = format!("{path}&page={next}");
        }
        simulator.heal();
        simulator.fail(FaultOn::everything(), Fault::EmptyPage);
        let empty = told(&simulator, &path).await;
        assert!(rows(&empty).is_empty() && empty["next_page"].is_string());
        simulator.heal();
        simulator.fail(FaultOn::everything(), Fault::SamePage);
        let first = told(&simulator, &path).await;
        let cursor = first["next_page"].as_str().unwrap();
        let again = told(&simulator, &format!("{path}&page={cursor}")).await;
        assert_eq!((again, &first["data"]), (first.clone(), &right["data"]));
    }
}

#[tokio::test]
async fn a_page_of_a_report_can_be_struck_alone() {
    let (simulator, _) = start(spent()).await;
    simulator.fail(FaultOn::endpoint("messages").page(2), Fault::Html(500));
    let path = format!("{HOURS}&{DAY}");
    let mut cursor = String::new();
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let answer = get(&simulator, &format!("{path}{cursor}")).await;
        statuses.push(answer.status);
        if answer.status == 200 {
            let next = answer.json()["next_page"].as_str().unwrap().to_owned();
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
    simulator.fail(FaultOn::everything().times(1), Fault::MissingRows(missing));
    let amounts = column(rows(&told(&simulator, &path).await), "/cost/amount");
    assert_eq!(amounts, ["100", "50"]);
    simulator.fail(FaultOn::everything().times(1), Fault::NoRows);
    let none = told(&simulator, &format!("{path}&limit=1")).await;
    assert!(rows(&none).is_empty() && none["next_page"].is_null());
    assert_eq!(none["has_more"], false);
    assert_eq!(rows(&told(&simulator, &path).await).len(), 4);
}

#[tokio::test]
async fn requests_are_recorded_with_their_query_and_what_is_refused_too() {
    let (simulator, _) = start(spent()).await;
    let path = format!("usage_report/messages?{DAY}&group_by[]=model");
    ask(&simulator, &path, Some("2023-06-01"), FAST).await;
    ask(&simulator, "analytics/cost", Some("2023-06-01"), "").await;
    ask(&simulator, "me", None, "").await;
    let seen = simulator.seen();
    let routes: Vec<&str> = seen.iter().map(Seen::route).collect();
    let expected = [
        "/v1/organizations/usage_report/messages",
        "/v1/organizations/analytics/cost",
        "/v1/organizations/me",
    ];
    assert_eq!(routes, expected);
    assert_eq!(seen[0].parameter("group_by[]"), Some("model"));
    assert_eq!(
        seen[0].parameter("starting_at"),
        Some("2026-11-23T00:00:00Z")
    );
    assert_eq!((seen[0].at, seen[0].method.as_str()), (at(NOW), "GET"));
    assert_eq!((simulator.n_seen(), simulator.n_not_get()), (3, 0));
}

#[tokio::test]
async fn its_own_limit_counts_here_too() {
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
