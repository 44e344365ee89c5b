//! Versions, keys, paths and access of the real API.

use reqwest::Method;
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};

use crate::simulator::service::{DAY, check_statuses, empty, get, send_request, spent};
use crate::simulator::{bare, request, send, start, two};

const COST: &str = "analytics/cost?time_bucket_width=1d";

#[tokio::test]
async fn requests_need_a_known_version() {
    let (simulator, _) = start(empty()).await;
    for path in ["me", "workspaces", "rate_limits"] {
        for (version, status) in [
            (Some("2023-06-01"), 200),
            (Some("2026-10-21"), 200),
            (Some("2024-01-01"), 400),
            (Some(""), 400),
            (None, 400),
        ] {
            let response = send_request(&simulator, path, version, "").await;
            assert_eq!(response.status, status, "{path} {version:?}");
        }
    }
}

#[tokio::test]
async fn admin_keys_work_in_both_headers_and_keys_cannot_be_created_or_deleted() {
    let (simulator, _) = start(empty()).await;
    let path = "/v1/organizations/me";
    let bearer = bare(&simulator, Method::GET, path)
        .bearer_auth(simulator.key().expose())
        .header("anthropic-version", "2023-06-01");
    assert_eq!(send(bearer).await.unwrap().status, 200);
    for wrong in [
        bare(&simulator, Method::GET, path).bearer_auth("other"),
        bare(&simulator, Method::GET, path),
    ] {
        let response = send(wrong.header("anthropic-version", "2023-06-01")).await;
        let response = response.unwrap();
        assert_eq!(response.status, 401);
        assert_eq!(response.json()["error"]["type"], "authentication_error");
    }
    // The real API can neither create nor delete keys.
    for (method, path) in [
        (Method::POST, "api_keys"),
        (Method::DELETE, "api_keys/apikey_1"),
    ] {
        let path = format!("/v1/organizations/{path}");
        assert_eq!(
            send(request(&simulator, method, &path))
                .await
                .unwrap()
                .status,
            405
        );
    }
}

#[tokio::test]
async fn each_api_has_its_own_paths() {
    let (real, _) = start(spent()).await;
    let (guide, _) = start(two()).await;
    let of_guide = [
        "/v1/organizations",
        "/v1/workspaces",
        "/v1/users",
        "/v1/api_keys",
        "/v1/users/user_1",
        "/v1/usage?start_date=2026-11-24&end_date=2026-11-24&granularity=hour",
    ];
    for path in of_guide {
        let response = crate::simulator::get(&real, path).await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["error"]["type"], "not_found_error");
    }
    let day = format!("?{DAY}");
    for (path, query) in [
        ("me", ""),
        ("workspaces", ""),
        ("users", ""),
        ("api_keys", ""),
        ("rate_limits", ""),
        ("workspaces/wrkspc_a/rate_limits", ""),
        ("spend_limits", ""),
        ("usage_report/messages", &day),
        ("cost_report", &day),
        ("analytics/usage", &day),
        ("analytics/cost", &day),
    ] {
        let path = format!("{path}{query}");
        assert_eq!(get(&real, &path).await.status, 200, "{path}");
        let path = format!("/v1/organizations/{path}");
        let response = crate::simulator::get(&guide, &path).await;
        assert_eq!(response.status, 404, "{path}");
    }
    for path in [
        "usage_report",
        "analytics",
        "workspaces/wrkspc_a",
        "nothing",
    ] {
        check_statuses(&real, &[(path, 404)]).await;
    }
}

#[tokio::test]
async fn forbidden_and_absent_endpoints_do_not_affect_others() {
    let (simulator, _) = start(spent()).await;
    let paths = [
        format!("{COST}&{DAY}"),
        format!("analytics/usage?{DAY}"),
        format!("usage_report/messages?{DAY}"),
        format!("cost_report?{DAY}"),
        "spend_limits".to_owned(),
        "workspaces".to_owned(),
    ];
    let open = PlatformOptions::default();
    for (access, status, kind) in [
        (EndpointAccess::Forbidden, 403, "permission_error"),
        (EndpointAccess::Absent, 404, "not_found_error"),
    ] {
        for (real, n_refused, first) in [
            (
                PlatformOptions {
                    analytics: access,
                    ..open
                },
                2,
                0,
            ),
            (
                PlatformOptions {
                    reports: access,
                    ..open
                },
                2,
                2,
            ),
            (
                PlatformOptions {
                    spend_limits: access,
                    ..open
                },
                1,
                4,
            ),
        ] {
            simulator.world().api = SimulatedApi::Platform(real);
            for (place, path) in paths.iter().enumerate() {
                let response = get(&simulator, path).await;
                let is_refused = (first..first + n_refused).contains(&place);
                let expected = if is_refused { status } else { 200 };
                assert_eq!(response.status, expected, "{real:?} {path}");
                if is_refused {
                    assert_eq!(response.json()["error"]["type"], kind);
                }
            }
        }
    }
}
