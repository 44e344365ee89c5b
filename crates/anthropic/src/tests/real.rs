//! Tests of requests to Anthropic's Admin API and their responses.

use crate::reads::report_pages::ReportPages;
use crate::reads::reports::UsageGrouping;
use crate::wire::report::BucketSpan;
use spendwatch_domain::org::listing::{SpendLimits, WorkspaceList};
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_domain::units::span::HourSpan;

use super::*;

const BETA: &str = "anthropic-beta: ";

/// The first two days of November 2026.
fn span(granularity: Granularity) -> BucketSpan {
    let day = |day| Day::from_date(civil::date(2026, 11, day)).first_hour();
    let (start, end) = (day(1), day(3));
    BucketSpan {
        granularity,
        hours: HourSpan { start, end },
    }
}

/// Returns all rows of a report.
async fn read<T>(mut pages: ReportPages<T>) -> Result<Vec<T>, FetchError> {
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await? {
        rows.extend(page.rows);
    }
    Ok(rows)
}

/// Returns the path and the decoded parameters of each request.
fn parsed_requests(setup: &Fixture) -> Vec<(String, Vec<String>)> {
    let parsed = |target: String| {
        let url = Url::parse("http://host").unwrap().join(&target).unwrap();
        let pairs = url
            .query_pairs()
            .map(|(name, value)| format!("{name}={value}"));
        (url.path().to_owned(), pairs.collect())
    };
    setup.fake.targets().into_iter().map(parsed).collect()
}

/// Checks the single request of a report, with its beta header.
async fn check_request<T>(
    pages: impl Fn(&AdminApi) -> ReportPages<T>,
    beta: Option<&str>,
    path: &str,
    expected: &[&str],
) {
    let setup = start([CannedResponse::ok(EMPTY_REPORT)]).await;
    assert_eq!(read(pages(&setup.api)).await.unwrap().len(), 0);
    let [(actual_path, parameters)] = parsed_requests(&setup).try_into().unwrap();
    assert_eq!(
        (actual_path.as_str(), parameters.as_slice()),
        (
            path,
            expected
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
                .as_slice()
        )
    );
    let head = setup.fake.requests().concat();
    let header = head.lines().find_map(|line| line.strip_prefix(BETA));
    assert_eq!(header, beta, "{head}");
}

const DAYS: [&str; 2] = [
    "starting_at=2026-11-01T00:00:00Z",
    "ending_at=2026-11-03T00:00:00Z",
];

#[tokio::test]
async fn analytics_requests() {
    let beta = Some("analytics-usage-cost-2026-08-24");
    let cost = [
        "group_by[]=workspace_id",
        "group_by[]=api_key_id",
        "group_by[]=model",
        "group_by[]=actor",
    ];
    let end = ["order_by=time", "order=asc", "limit=1000"];
    check_request(
        |api| api.analytics_cost(span(Granularity::Hour)),
        beta,
        "/v1/organizations/analytics/cost",
        &[&DAYS[..], &["time_bucket_width=1h"], &cost, &end].concat(),
    )
    .await;
    let usage = [
        "group_by[]=workspace_id",
        "group_by[]=api_key_id",
        "group_by[]=model",
        "group_by[]=service_tier",
        "group_by[]=inference_geo",
    ];
    let path = "/v1/organizations/analytics/usage";
    let used = [&DAYS[..], &["time_bucket_width=1d"], &usage, &end].concat();
    check_request(
        |api| api.analytics_usage(span(Granularity::Day), false),
        beta,
        path,
        &used,
    )
    .await;
    let fast = [&used[..], &["speeds[]=fast"]].concat();
    check_request(
        |api| api.analytics_usage(span(Granularity::Day), true),
        beta,
        path,
        &fast,
    )
    .await;
}

#[tokio::test]
async fn reports_requests() {
    let path = "/v1/organizations/usage_report/messages";
    let pricing = [
        "group_by[]=workspace_id",
        "group_by[]=model",
        "group_by[]=service_tier",
        "group_by[]=context_window",
        "group_by[]=inference_geo",
    ];
    let hours = [&DAYS[..], &["bucket_width=1h"], &pricing].concat();
    check_request(
        |api| api.usage_report(span(Granularity::Hour), UsageGrouping::Pricing),
        None,
        path,
        &[&hours[..], &["limit=168"]].concat(),
    )
    .await;
    check_request(
        |api| api.usage_report(span(Granularity::Hour), UsageGrouping::FastMode),
        Some("fast-mode-2026-02-01"),
        path,
        &[&hours[..], &["speeds[]=fast", "limit=168"]].concat(),
    )
    .await;
    let keys = [
        "bucket_width=1d",
        "group_by[]=workspace_id",
        "group_by[]=api_key_id",
        "group_by[]=model",
        "limit=5",
    ];
    check_request(
        |api| api.usage_report(span(Granularity::Day), UsageGrouping::ApiKey),
        None,
        path,
        &[&DAYS[..], &keys].concat(),
    )
    .await;
    let bills = [
        "bucket_width=1d",
        "group_by[]=workspace_id",
        "group_by[]=description",
        "limit=31",
    ];
    // The cost report has daily buckets only.
    for granularity in [Granularity::Hour, Granularity::Day] {
        check_request(
            |api| api.cost_report(span(granularity)),
            None,
            "/v1/organizations/cost_report",
            &[&DAYS[..], &bills].concat(),
        )
        .await;
    }
}

#[tokio::test]
async fn cost_report_requests_cover_whole_days() {
    let hour = Day::from_date(civil::date(2026, 11, 2))
        .first_hour()
        .plus(5);
    let span = BucketSpan {
        granularity: Granularity::Hour,
        hours: HourSpan {
            start: hour,
            end: hour.plus(1),
        },
    };
    let bills = [
        "starting_at=2026-11-02T00:00:00Z",
        "ending_at=2026-11-03T00:00:00Z",
        "bucket_width=1d",
        "group_by[]=workspace_id",
        "group_by[]=description",
        "limit=31",
    ];
    let path = "/v1/organizations/cost_report";
    check_request(|api| api.cost_report(span), None, path, &bills).await;
}

#[tokio::test]
async fn version_and_beta_headers() {
    let fake = FakeServer::start(vec![CannedResponse::ok(r#"{"data": []}"#); 6]).await;
    let setup = setup(fake, |transport| {
        transport.api_version = HeaderValue::from_static("2026-10-21");
    });
    let api = &setup.api;
    api.workspaces_with_default(ServerKind::Real, Some(&"wrkspc_d".into()))
        .await
        .unwrap();
    api.keys(ServerKind::Real, None, &|_| {}).await.unwrap();
    api.users(ServerKind::Real, &|_| {}).await.unwrap();
    api.rate_limits(None).await.unwrap();
    api.spend_limits(ServerKind::Real).await.unwrap();
    let heads = setup.fake.requests();
    assert_eq!(heads.len(), 6);
    for head in &heads {
        let has = |line: &str| assert!(head.contains(&format!("{line}\r\n")), "{head}");
        has("anthropic-version: 2026-10-21");
        has("x-api-key: sk-ant-admin-canary");
        has(&format!("user-agent: {}", outbound::USER_AGENT));
        assert_eq!(
            head.contains(BETA),
            head.contains("/spend_limits"),
            "{head}"
        );
    }
    assert!(heads[5].contains("anthropic-beta: spend-limit-reads-2026-09-26\r\n"));
    assert!(outbound::USER_AGENT.starts_with("spendwatch/"));
}

fn row(hour: u32, model: &str) -> String {
    format!(
        r#"{{"starting_at": "2026-11-01T{hour:02}:00:00Z", "ending_at": "2026-11-01T{:02}:00:00Z",
        "group": {{"model": "{model}"}}, "cost": {{"amount": "1"}}}}"#,
        hour + 1
    )
}

fn report(rows: &[String], end: &str) -> CannedResponse {
    CannedResponse::ok(&format!(r#"{{"data": [{}], {end}}}"#, rows.join(",")))
}

#[tokio::test]
async fn all_pages_of_a_report_have_the_same_query() {
    let setup = start([
        report(
            &[row(1, "a")],
            r#""has_more": true, "next_page": "page_x=""#,
        ),
        report(
            &[row(2, "a")],
            r#""has_more": true, "next_page": "p&q+ r/%""#,
        ),
        report(&[row(3, "a")], r#""has_more": false, "next_page": null"#),
    ])
    .await;
    let rows = read(setup.api.analytics_cost(span(Granularity::Hour)))
        .await
        .unwrap();
    assert_eq!(rows.len(), 3);
    let targets = setup.fake.targets();
    assert_eq!(targets[1], format!("{}&page=page_x%3D", targets[0]));
    assert!(targets[2].starts_with(&targets[0]));
    let pages = parsed_requests(&setup);
    assert_eq!(pages[2].1.last().unwrap(), "page=p&q+ r/%");
    let n_features = setup.fake.requests().concat().matches(BETA).count();
    assert_eq!(n_features, 3, "with every page");
}

#[tokio::test]
async fn all_pages_of_a_cursor_list_are_fetched() {
    let limits = |model: &str, next: &str| {
        CannedResponse::ok(&format!(
            r#"{{"data": [{{"group": {{"type": "model_group", "id": "{model}"}}, "limits": [{{"type": "requests_per_minute", "value": 5}}]}}], "next_page": {next}}}"#
        ))
    };
    let setup = start([limits("a", r#""page_x=""#), limits("b", "null")]).await;
    let id = WorkspaceId::from("wrkspc_1/..");
    let groups: Vec<String> = setup
        .api
        .rate_limits(Some(&id))
        .await
        .unwrap()
        .into_iter()
        .map(|limit| limit.group)
        .collect();
    assert_eq!(groups, ["a", "b"]);
    let path = "/v1/organizations/workspaces/wrkspc_1%2F../rate_limits";
    assert_eq!(
        setup.fake.targets(),
        [path.to_owned(), format!("{path}?page=page_x%3D")]
    );
}

#[tokio::test]
async fn a_failed_report_stays_failed() {
    let check = async |second: CannedResponse, expected: &str| {
        let first = report(&[row(1, "a")], r#""has_more": true, "next_page": "x""#);
        let setup = start([first, second]).await;
        let mut pages = setup.api.analytics_cost(span(Granularity::Hour));
        assert!(pages.next().await.unwrap().is_some());
        let error = pages.next().await.unwrap_err();
        let place =
            "invalid response: organization `acme`, GET /v1/organizations/analytics/cost, page 2: ";
        assert_eq!(error.to_string(), format!("{place}{expected}"));
        assert_eq!(pages.next().await, Err(error));
        assert_eq!(setup.fake.requests().len(), 2);
    };
    let more = r#""has_more": true, "next_page": "x""#;
    check(
        report(&[row(2, "a")], more),
        "the cursor `x` of the next page was already used",
    )
    .await;
    check(
        report(&[row(2, "a")], r#""has_more": true"#),
        "`next_page` is missing",
    )
    .await;
}

#[tokio::test]
async fn reports_continue_past_empty_pages_until_there_is_no_cursor() {
    let setup = start([
        report(&[row(1, "a")], r#""has_more": true, "next_page": "x""#),
        report(&[], r#""has_more": true, "next_page": "y""#),
        report(&[], r#""has_more": false, "next_page": "z""#),
        report(&[row(1, "a")], r#""has_more": false, "next_page": null"#),
    ])
    .await;
    let rows = read(setup.api.analytics_cost(span(Granularity::Hour))).await;
    assert_eq!(rows.unwrap().len(), 2, "a repeated group is another row");
    assert_eq!(setup.fake.requests().len(), 4);
}

#[tokio::test]
async fn invalid_report_rows_are_named_and_others_are_decoded() {
    let invalid = r#"{"starting_at": "2026-11-01T02:00:00Z", "ending_at": "2026-11-01T03:00:00Z",
        "group": {"workspace_id": "a"}, "cost": {"amount": "much"}}"#;
    let setup = start([report(
        &[invalid.to_owned(), row(1, "a")],
        r#""next_page": null"#,
    )])
    .await;
    let mut pages = setup.api.analytics_cost(span(Granularity::Hour));
    let page = pages.next().await.unwrap().unwrap();
    assert_eq!(page.rows.len(), 1);
    let [unreadable] = page.unreadable.as_slice() else {
        panic!("{:?}", page.unreadable)
    };
    assert_eq!(unreadable.workspace, Some(Some("a".into())));
    assert_eq!(
        unreadable.reason,
        "invalid response: organization `acme`, GET /v1/organizations/analytics/cost: row 1: `cost.amount` is `\"much\"`, not a number of cents"
    );
}

fn workspaces(named: &[(&str, &str)]) -> CannedResponse {
    let row = |(id, name): &(&str, &str)| format!(r#"{{"id": "{id}", "name": "{name}"}}"#);
    let rows: Vec<String> = named.iter().map(row).collect();
    CannedResponse::ok(&format!(
        r#"{{"data": [{}], "has_more": false}}"#,
        rows.join(",")
    ))
}

fn ids(listed: &WorkspaceList) -> Vec<&str> {
    let ids = listed
        .workspaces
        .iter()
        .map(|workspace| workspace.id.as_str());
    ids.collect()
}

const A: (&str, &str) = ("wrkspc_a", "A");
const B: (&str, &str) = ("wrkspc_b", "B");
const D: (&str, &str) = ("wrkspc_d", "Default");

/// Checks the default workspace found in two lists, without and with it.
async fn check_default(
    without: &[(&str, &str)],
    with: &[(&str, &str)],
    expected: (&[&str], Option<&str>),
) {
    let setup = start([workspaces(without), workspaces(with)]).await;
    let listed = setup
        .api
        .workspaces_with_default(ServerKind::Real, None)
        .await
        .unwrap();
    let default = listed.default.as_ref().map(WorkspaceId::as_str);
    assert_eq!((ids(&listed).as_slice(), default), expected);
    let path = "/v1/organizations/workspaces?limit=1000";
    assert_eq!(
        setup.fake.targets(),
        [path.to_owned(), format!("{path}&include_default=true")]
    );
}

#[tokio::test]
async fn the_default_workspace_is_found_by_comparing_lists() {
    let default = (D.0, "Renamed");
    check_default(
        &[A],
        &[A, default],
        (&["wrkspc_a", DEFAULT_WORKSPACE], Some(D.0)),
    )
    .await;
    check_default(&[], &[D], (&[DEFAULT_WORKSPACE], Some(D.0))).await;
    check_default(&[A], &[A], (&["wrkspc_a"], None)).await;
}

#[tokio::test]
async fn a_workspace_created_between_the_lists_is_not_the_default_one() {
    let found: (&[&str], Option<&str>) = (&["wrkspc_a", "wrkspc_b", DEFAULT_WORKSPACE], Some(D.0));
    check_default(&[A], &[A, B, D], found).await;
    let ambiguous: (&[&str], Option<&str>) = (&["wrkspc_a", "wrkspc_b", "wrkspc_d"], None);
    check_default(&[A], &[A, B, (D.0, "Renamed")], ambiguous).await;
    check_default(&[A], &[A, (B.0, "Default"), D], ambiguous).await;
}

#[tokio::test]
async fn a_known_default_workspace_needs_one_request_until_it_is_missing() {
    let known = WorkspaceId::from(D.0);
    let setup = start([workspaces(&[A, (D.0, "Renamed")])]).await;
    let listed = setup
        .api
        .workspaces_with_default(ServerKind::Real, Some(&known))
        .await
        .unwrap();
    assert_eq!(ids(&listed), ["wrkspc_a", DEFAULT_WORKSPACE]);
    assert_eq!(listed.default, Some(known.clone()));
    assert_eq!(setup.fake.requests().len(), 1);

    let setup = start([workspaces(&[A, B]), workspaces(&[A])]).await;
    let listed = setup
        .api
        .workspaces_with_default(ServerKind::Real, Some(&known))
        .await
        .unwrap();
    assert_eq!(ids(&listed), ["wrkspc_a", DEFAULT_WORKSPACE]);
    assert_eq!(listed.default, Some(B.0.into()));
}

#[tokio::test]
async fn rate_limits_are_read_in_both_versions() {
    let check = async |group: &str, expected: &str| {
        let body = format!(
            r#"{{"data": [{{"type": "rate_limit", "id": "rl_1", {group}, "models": ["claude-opus-5-5"],
            "limits": [{{"type": "requests_per_minute", "value": 4000}}, {{"type": "from_later", "value": null}}]}}]}}"#
        );
        let setup = start([CannedResponse::ok(&body)]).await;
        let limits = setup.api.rate_limits(None).await.unwrap();
        let limits: Vec<_> = limits
            .iter()
            .map(|limit| (limit.group.as_str(), limit.limiter.as_str(), limit.value))
            .collect();
        assert_eq!(limits, [(expected, "requests_per_minute", 4000)]);
    };
    let both = r#""group": {"type": "model_group", "id": "mg_1", "display_name": "Opus"}, "group_type": "model_group""#;
    check(both, "Opus").await;
    check(r#""group": {"type": "model_group", "id": "mg_1"}"#, "mg_1").await;
    check(
        r#""group": {"type": "batch", "id": "b_1", "display_name": "Batches"}"#,
        "batch",
    )
    .await;
    check(r#""group_type": "model_group""#, "claude-opus-5-5").await;
    check(r#""group_type": "batch""#, "batch").await;
}

#[tokio::test]
async fn spend_limits_that_cannot_be_read_are_unknown() {
    for status in [400, 403, 404] {
        let setup = start([CannedResponse::status(status)]).await;
        assert_eq!(
            setup.api.spend_limits(ServerKind::Real).await,
            Ok(None),
            "{status}"
        );
    }
    let setup = start([CannedResponse::ok(r#"{"data": []}"#)]).await;
    assert_eq!(
        setup.api.spend_limits(ServerKind::Real).await,
        Ok(Some(SpendLimits::default()))
    );
    for (status, n_requests) in [(500, 4), (429, 4), (401, 1)] {
        let setup = start(vec![CannedResponse::status(status); n_requests]).await;
        let error = setup
            .finish(setup.api.spend_limits(ServerKind::Real))
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(setup.fake.requests().len(), n_requests);
    }
}

#[tokio::test]
async fn the_server_says_whether_asking_again_helps() {
    let check = async |status: &str, header: &str, n_requests: usize| {
        let header = format!("x-should-retry: {header}\r\n");
        let setup = start([
            CannedResponse::new(status, &header, ""),
            CannedResponse::ok(ME),
        ])
        .await;
        let outcome = setup.finish(setup.api.organization(ServerKind::Real)).await;
        assert_eq!(
            (outcome.is_ok(), setup.fake.requests().len()),
            (n_requests == 2, n_requests)
        );
    };
    check("400 Bad", "true", 2).await;
    check("400 Bad", "soon", 1).await;
    check("409 Conflict", "", 2).await;
    check("409 Conflict", "False", 1).await;
    check("429 Slow", "false", 1).await;
    check("503 Busy", "false", 1).await;
}

/// Requests wait for a requested pause.
#[tokio::test]
async fn a_pause_is_kept_to_the_millisecond() {
    let limited = CannedResponse::new(
        "429 Slow",
        "retry-after-ms: 90500\r\nretry-after: 1\r\n",
        "",
    );
    let setup = start([limited, CannedResponse::ok(ME)]).await;
    let api = setup.api.clone();
    let request = tokio::spawn(async move { api.organization(ServerKind::Real).await });
    setup.wait_for_sleepers(1).await;
    setup.clock.advance(SECOND * 2);
    settle().await;
    setup.clock.advance(Duration::from_millis(88_499));
    settle().await;
    assert_eq!(setup.fake.requests().len(), 1);
    setup.clock.advance(Duration::from_millis(1));
    assert!(request.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_cap_is_told_with_its_end_and_not_asked_again() {
    let body = r#"{"type": "error", "error": {"type": "rate_limit_error", "message": "spent", "details": {"error_code": "enforced_spend_limit_reached"}}}"#;
    for headers in ["", "x-should-retry: true\r\n"] {
        let setup = start([
            CannedResponse::new("429 Slow", headers, body),
            CannedResponse::ok(ME),
        ])
        .await;
        let error = setup
            .finish(setup.api.organization(ServerKind::Real))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the organization reached its monthly cap, until 2026-12-01 00:00 UTC (status 429): organization `acme`, GET /v1/organizations/me: rate_limit_error: spent (`enforced_spend_limit_reached`)"
        );
        assert_eq!(setup.fake.requests().len(), 1);
    }
}

fn coded(status: &str, code: &str, headers: &str) -> CannedResponse {
    let body = format!(
        r#"{{"type": "error", "error": {{"type": "some_error", "message": "no", "details": {{"error_code": "{code}"}}}}}}"#
    );
    CannedResponse::new(status, headers, &body)
}

#[tokio::test]
async fn spend_caps_are_explained_and_not_retried() {
    for (status, code, expected) in [
        (
            "429 Slow",
            "contract_spend_limit_reached",
            "the organization reached the spend limit of its contract with Anthropic",
        ),
        (
            "402 Pay",
            "linked_organization_spend_limit_reached",
            "the linked organization that pays reached its spend limit",
        ),
        (
            "429 Slow",
            "enforced_spend_limit_reached",
            "the organization reached its monthly cap, until 2026-12-01 00:00 UTC",
        ),
    ] {
        let headers = "retry-after: 3600\r\nx-should-retry: true\r\n";
        let setup = start([coded(status, code, headers), CannedResponse::ok(ME)]).await;
        let error = setup.api.organization(ServerKind::Real).await.unwrap_err();
        assert!(error.kind.to_string().starts_with(expected), "{error}");
        assert_eq!(setup.fake.requests().len(), 1, "{code}");
        // Other requests are not delayed: the clock does not advance.
        assert!(
            setup.api.organization(ServerKind::Real).await.is_ok(),
            "{code}"
        );
    }
}

#[tokio::test]
async fn ramp_limits_are_retried_after_the_requested_wait() {
    let limited = coded("429 Slow", "ramp_limit_exceeded", "retry-after: 30\r\n");
    let setup = start([limited, CannedResponse::ok(ME)]).await;
    assert!(
        setup
            .finish(setup.api.organization(ServerKind::Real))
            .await
            .is_ok()
    );
    assert_eq!(setup.fake.requests().len(), 2);
    let setup = start(vec![coded("429 Slow", "ramp_limit_exceeded", ""); 4]).await;
    let error = setup
        .finish(setup.api.organization(ServerKind::Real))
        .await
        .unwrap_err();
    let expected = "the organization's usage grows faster than Anthropic allows";
    assert!(error.kind.to_string().starts_with(expected), "{error}");
}

#[tokio::test]
async fn missing_features_are_unavailable() {
    for code in [
        "organization_type_not_supported",
        "organization_not_enrolled_in_beta",
    ] {
        let setup = start(vec![coded("400 Bad", code, ""); 3]).await;
        assert_eq!(
            setup.api.spend_limits(ServerKind::Real).await,
            Ok(None),
            "{code}"
        );
        let rates = setup.api.rate_limits(None).await.unwrap_err();
        assert!(rates.is_forbidden_or_not_found(), "{rates}");
        let mut usage = setup
            .api
            .usage_report(span(Granularity::Hour), UsageGrouping::Pricing);
        let usage = usage.next().await.unwrap_err();
        assert!(usage.is_forbidden_or_not_found(), "{usage}");
        assert!(
            usage
                .to_string()
                .contains("not available to this organization")
        );
    }
    let setup = start([CannedResponse::status(400)]).await;
    let other = setup.api.rate_limits(None).await.unwrap_err();
    assert!(
        !other.is_forbidden_or_not_found(),
        "any other 400 is an error"
    );
}

#[tokio::test]
async fn unavailable_analytics_reports_suggest_another_dialect() {
    let setup = start([CannedResponse::status(400), CannedResponse::status(400)]).await;
    let mut pages = setup.api.analytics_cost(span(Granularity::Hour));
    let error = pages.next().await.unwrap_err().to_string();
    assert!(error.contains("HIPAA-ready"), "{error}");
    assert!(error.ends_with(r#"set `dialect = "reports"` or `dialect = "auto"`"#));
    let error = setup
        .api
        .check_dialect(Dialect::Analytics)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("HIPAA-ready"));
}

#[tokio::test]
async fn the_default_rate_depends_on_the_dialect() {
    let check = async |dialect: Option<Dialect>, configured: Option<u32>, expected: usize| {
        let fake = FakeServer::start(vec![CannedResponse::ok(ME); 70]).await;
        let mut settings = settings(format!("http://{}", fake.address));
        settings.max_requests_per_minute = configured;
        settings.share = RateShare::Command;
        let clock = Clock::Manual(ManualClock::at("2026-11-24T02:00:00Z".parse().unwrap()));
        let key = Secret::new(KEY.to_owned());
        let requests = Arc::new(RequestCounts::default());
        let api = AdminApi::new(settings, key, clock, Random::seeded(1), requests).unwrap();
        if let Some(dialect) = dialect {
            api.set_dialect(dialect);
        }
        let mut n_sent = 0;
        while n_sent < 70 {
            tokio::select! {
                biased;
                permit = api.0.limiter.acquire() => drop(permit),
                () = std::future::ready(()) => break,
            }
            n_sent += 1;
        }
        assert_eq!(n_sent, expected, "{dialect:?} {configured:?}");
    };
    check(None, None, 5).await;
    check(Some(Dialect::Analytics), None, 5).await;
    check(Some(Dialect::Reports), None, 5).await;
    check(Some(Dialect::Guide), None, 15).await;
    check(Some(Dialect::Guide), Some(20), 5).await;
    check(Some(Dialect::Analytics), Some(0), 70).await;
}
