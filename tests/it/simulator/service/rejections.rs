//! Requests that the real API rejects.

use crate::harness::at;
use crate::simulator::service::{
    ALL_BETAS, ANALYTICS, DAY, FAST, all, body, check_statuses, get, send_request, spent,
};
use crate::simulator::start;

const COST: &str = "analytics/cost?time_bucket_width=1d";

#[tokio::test]
async fn at_most_five_dimensions_besides_split_dimensions() {
    let (simulator, _) = start(spent()).await;
    let five = [
        "workspace_id",
        "model",
        "api_key_id",
        "service_tier",
        "inference_geo",
    ];
    let group = |names: &[&str]| -> String {
        let names = names.iter();
        names.map(|name| format!("&group_by[]={name}")).collect()
    };
    let (five_of, six_of) = (
        group(&five),
        group(&five) + "&group_by%5B%5D=context_window",
    );
    let divided = group(&["cost_type", "token_type"]);
    for report in ["usage_report/messages?", &format!("{COST}&")] {
        let path = format!("{report}{DAY}{five_of}");
        assert_eq!(get(&simulator, &path).await.status, 200, "{path}");
        let refused = get(&simulator, &format!("{report}{DAY}{six_of}")).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("more than 5 group_by[] dimensions"));
    }
    let usage = "analytics/usage?time_bucket_width=1d";
    check_statuses(
        &simulator,
        &[
            (&format!("{COST}&{DAY}{divided}{five_of}"), 200),
            (&format!("{COST}&{DAY}{divided}{six_of}"), 400),
            (&format!("{usage}&{DAY}{five_of}"), 200),
            (&format!("{usage}&{DAY}{six_of}"), 400),
            (&format!("{usage}&{DAY}{divided}"), 400),
            (&format!("usage_report/messages?{DAY}{divided}"), 400),
        ],
    )
    .await;
}

#[tokio::test]
async fn unknown_parameters_and_values_are_rejected() {
    let (simulator, _) = start(spent()).await;
    for (more, status) in [
        ("", 200),
        ("&time_bucket_width=1d", 400),
        ("&order_by=time", 400),
        ("&context_windows[]=0-200k", 400),
        ("&context_window[]=0-200k", 200),
        ("&context_window[]=0-100k", 400),
        ("&group_by[]=actor", 400),
        ("&group_by[]=account_id", 200),
        ("&group_by=model", 400),
        ("&speeds[]=fast", 200),
        ("&speeds[]=slow", 400),
        ("&service_tiers[]=flex_discount", 200),
        ("&service_tiers[]=auto", 400),
        ("&inference_geos[]=not_available", 200),
        ("&inference_geos[]=eu", 400),
        ("&models[]=claude-nobody", 200),
        ("&bucket_width=1w", 400),
        ("&bucket_width=1d&bucket_width=1d", 400),
    ] {
        let path = format!("usage_report/messages?{DAY}{more}");
        check_statuses(&simulator, &[(&path, status)]).await;
    }
    for (more, status) in [
        ("", 200),
        ("&bucket_width=1d", 400),
        ("&context_window[]=0-200k", 400),
        ("&context_windows[]=200k-1M", 200),
        ("&context_windows[]=1M", 400),
        ("&group_by[]=actor&group_by[]=product", 200),
        ("&group_by[]=account_id", 400),
        ("&actor_types[]=api_actor&actor_ids[]=x&products[]=y", 200),
        ("&actor_types[]=robot", 400),
        ("&order_by=total_tokens", 400),
        ("&order_by=list_amount&order=asc", 200),
        ("&order=up", 400),
        ("&time_bucket_width=1h", 400),
    ] {
        check_statuses(&simulator, &[(&format!("{COST}&{DAY}{more}"), status)]).await;
    }
    for (more, status) in [
        ("", 200),
        ("&group_by[]=workspace_id&group_by[]=description", 200),
        ("&group_by[]=model", 400),
        ("&workspace_ids[]=wrkspc_a", 400),
        ("&models[]=x", 400),
        ("&bucket_width=1d", 200),
        ("&bucket_width=1h", 400),
    ] {
        check_statuses(&simulator, &[(&format!("cost_report?{DAY}{more}"), status)]).await;
    }
}

#[tokio::test]
async fn betas_are_required() {
    let (simulator, _) = start(spent()).await;
    let by_speed = format!("usage_report/messages?{DAY}&group_by[]=speed");
    let chosen = format!("usage_report/messages?{DAY}&speeds[]=fast");
    let plain = format!("usage_report/messages?{DAY}");
    let cost = format!("{COST}&{DAY}");
    let usage = format!("analytics/usage?time_bucket_width=1d&{DAY}");
    let limits = "spend_limits".to_owned();
    for (path, betas, status) in [
        (&by_speed, "", 400),
        (&by_speed, FAST, 200),
        (&by_speed, ANALYTICS, 400),
        (&chosen, "", 400),
        (&chosen, ALL_BETAS, 200),
        (&plain, "", 200),
        (&cost, "", 404),
        (&cost, FAST, 404),
        (&cost, ANALYTICS, 200),
        (&cost, ALL_BETAS, 200),
        (&usage, "", 404),
        (&usage, ANALYTICS, 200),
        (&limits, "", 404),
        (&limits, ANALYTICS, 404),
        (&limits, "spend-limit-reads-2026-09-26", 200),
    ] {
        let response = send_request(&simulator, path, Some("2026-10-21"), betas).await;
        assert_eq!(response.status, status, "{path} {betas}: {}", response.body);
    }
}

#[tokio::test]
async fn analytics_ranges_are_limited() {
    let (simulator, time) = start(spent()).await;
    let range = |start: &str, end: &str| format!("{COST}&starting_at={start}&ending_at={end}");
    let cases = [
        (range("2026-10-24T00:00:00Z", "2026-11-24T00:00:00Z"), 200),
        (range("2026-10-24T00:00:00Z", "2026-11-24T00:00:01Z"), 400),
        (range("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), 200),
        (range("2025-12-31T23:00:00Z", "2026-01-02T00:00:00Z"), 400),
        (range("2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"), 400),
        (range("2026-11-24T00:00:00Z", "2026-11-23T00:00:00Z"), 400),
        (range("yesterday", "2026-11-23T00:00:00Z"), 400),
        (format!("{COST}&starting_at=2026-11-23T00:00:00Z"), 400),
        (format!("{COST}&ending_at=2026-11-23T00:00:00Z"), 400),
        // Without buckets the end is optional.
        (
            "analytics/cost?starting_at=2026-11-23T00:00:00Z".to_owned(),
            200,
        ),
        (
            "analytics/cost?starting_at=2026-11-24T14:00:00Z".to_owned(),
            400,
        ),
    ];
    for (path, status) in &cases {
        check_statuses(&simulator, &[(path, *status)]).await;
    }
    time.set_wall(at("2027-03-01T00:00:00Z"));
    for (start, status) in [("2026-03-01T00:00:00Z", 200), ("2026-02-28T23:59:59Z", 400)] {
        let path = range(start, "2026-03-02T00:00:00Z");
        check_statuses(&simulator, &[(&path, status)]).await;
    }
}

#[tokio::test]
async fn older_report_ranges_are_limited() {
    let (simulator, time) = start(spent()).await;
    let messages = |rest: &str| format!("usage_report/messages?{rest}");
    for (path, status) in [
        (messages("ending_at=2026-11-24T00:00:00Z"), 400),
        (messages("starting_at=2023-01-01T00:00:00Z"), 200),
        (
            messages("starting_at=2026-11-24T00:00:00Z&ending_at=2026-11-24T00:00:00Z"),
            400,
        ),
        (
            messages("starting_at=2026-11-24T00:00:00Z&ending_at=2026-11-23T00:00:00Z"),
            400,
        ),
        (messages("starting_at=2026-11-24"), 400),
        ("cost_report?ending_at=2026-11-24T00:00:00Z".to_owned(), 400),
    ] {
        check_statuses(&simulator, &[(&path, status)]).await;
    }
    time.set_wall(at("2026-11-01T09:00:00Z"));
    for range in [
        "starting_at=2026-10-20T00:00:00Z&ending_at=2026-10-20T23:59:59Z",
        "starting_at=2026-10-20T00:00:00Z&ending_at=2026-10-20T00:00:00Z",
        "starting_at=2026-10-20T00:00:00Z&ending_at=2026-10-19T00:00:00Z",
        // On the first day of a month, up to now.
        "starting_at=2026-11-01T00:00:00Z",
    ] {
        let refused = get(&simulator, &format!("cost_report?{range}")).await;
        assert_eq!(refused.status, 400, "{range}");
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        let message = "Invalid date range: ending date must be after starting date";
        assert!(refused.body.contains(message), "{}", refused.body);
    }
    let other = get(&simulator, "cost_report").await;
    assert_eq!((other.status, other.header("x-should-retry")), (400, None));
}

#[tokio::test]
async fn page_sizes_are_limited() {
    let (simulator, _) = start(spent()).await;
    let week = "starting_at=2026-11-10T00:00:00Z&ending_at=2026-11-24T00:00:00Z";
    for (report, usual, most) in [
        ("usage_report/messages?bucket_width=1d", 7, 31),
        ("usage_report/messages?bucket_width=1h", 24, 168),
        ("cost_report?bucket_width=1d", 7, 31),
        ("analytics/cost?time_bucket_width=1d", 20, 1000),
        ("analytics/usage?time_bucket_width=1h", 20, 1000),
    ] {
        let with = |limit: String| format!("{report}&{week}&limit={limit}");
        let (most_of, too_many) = (with(most.to_string()), with((most + 1).to_string()));
        let cases = [(most_of.as_str(), 200), (too_many.as_str(), 400)];
        check_statuses(&simulator, &cases).await;
        for wrong in ["0", "-1", "many", ""] {
            check_statuses(&simulator, &[(&with(wrong.to_owned()), 400)]).await;
        }
        let page = body(&simulator, &format!("{report}&{week}")).await;
        let n_rows = page["data"].as_array().unwrap().len();
        assert!(n_rows <= usual, "{report}: {n_rows}");
        if !report.starts_with("analytics") {
            assert_eq!(n_rows, usual, "{report}");
        }
    }
}

#[tokio::test]
async fn cursors_are_only_valid_for_their_query() {
    let (simulator, _) = start(spent()).await;
    let wide = "starting_at=2026-11-01T00:00:00Z&ending_at=2026-11-24T00:00:00Z";
    let other = "starting_at=2026-11-02T00:00:00Z&ending_at=2026-11-24T00:00:00Z";
    let group = "group_by[]=workspace_id";
    for (report, filter) in [
        ("usage_report/messages?limit=2", "&models[]=x"),
        ("cost_report?limit=2", ""),
        ("analytics/cost?time_bucket_width=1h&limit=2", "&models[]=x"),
        (
            "analytics/usage?time_bucket_width=1h&limit=2",
            "&models[]=x",
        ),
    ] {
        let path = format!("{report}&{wide}&{group}");
        let first = body(&simulator, &path).await;
        let cursor = first["next_page"]
            .as_str()
            .expect("another page")
            .to_owned();
        let page = format!("&page={}", cursor.replace('=', "%3D"));
        let second = get(&simulator, &format!("{path}{page}")).await;
        assert_eq!(second.status, 200, "{}", second.body);
        let again = get(&simulator, &format!("{path}{page}")).await;
        assert_eq!(again.body, second.body, "twice is fine");
        let turned = format!("{report}&{group}&{wide}{page}");
        check_statuses(&simulator, &[(&turned, 200)]).await;
        for changed in [
            format!("{report}&{other}&{group}{page}"),
            format!("{report}&{wide}{page}"),
            format!("{path}&{group}{page}"),
            format!("{path}{page}0"),
            format!("{path}&page=page_1%3D"),
            format!("{path}&page="),
        ] {
            check_statuses(&simulator, &[(&changed, 400)]).await;
        }
        if !filter.is_empty() {
            check_statuses(&simulator, &[(&format!("{path}{filter}{page}"), 400)]).await;
        }
    }
    // Other reports have other cursors and rows.
    let of =
        |report: &str| format!("analytics/{report}?time_bucket_width=1h&limit=2&{wide}&{group}");
    let cost = body(&simulator, &of("cost")).await;
    let cursor = cost["next_page"].as_str().unwrap().replace('=', "%3D");
    let stolen = format!("{}&page={cursor}", of("usage"));
    check_statuses(&simulator, &[(&stolen, 400)]).await;
    let usage = body(&simulator, &of("usage")).await;
    assert!(usage["data"][0].get("usage").is_some() && cost["data"][0].get("cost").is_some());
}

#[tokio::test]
async fn all_pages_of_a_report_have_the_same_data() {
    let mut world = spent();
    world.add_spend_pattern(
        "wrkspc_a",
        "m",
        3_600_000,
        false,
        at("2026-11-01T00:00:00Z"),
    );
    let (simulator, time) = start(world).await;
    let path = "analytics/cost?time_bucket_width=1h&limit=2\
                &starting_at=2026-11-24T00:00:00Z&ending_at=2026-11-25T00:00:00Z";
    let before = all(&simulator, path).await;
    let first = body(&simulator, path).await;
    time.advance(std::time::Duration::from_secs(600));
    let cursor = first["next_page"].as_str().unwrap().replace('=', "%3D");
    let second = body(&simulator, &format!("{path}&page={cursor}")).await;
    assert_eq!(second["data"], serde_json::json!(before[2..4]));
    assert_eq!(second["data_refreshed_at"], first["data_refreshed_at"]);
    let later = body(&simulator, path).await;
    assert_ne!(later["data_refreshed_at"], first["data_refreshed_at"]);
}
