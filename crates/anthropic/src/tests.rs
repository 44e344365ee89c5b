//! Tests of the client against a server on a loopback port, with a manual clock.

mod detection;
mod real;
mod wire;

use std::io::Write as _;

use crate::endpoint::Code;
use crate::error::{FetchError, FetchErrorKind};
use crate::fake::{CannedResponse, FakeServer};
use jiff::civil;
use spendwatch_base::clock::ManualClock;
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::{self, Granularity, Part};

use super::*;

const KEY: &str = "sk-ant-admin-canary";
const ME: &str = r#"{"id": "7d0c", "type": "organization", "name": "Acme"}"#;
const EMPTY_REPORT: &str = r#"{"data": [], "has_more": false, "next_page": null}"#;
const ORGANIZATION: &str = r#"{"id": "org_01", "name": "Acme"}"#;
const SECOND: Duration = Duration::from_secs(1);

/// A client of a fake server.
struct Fixture {
    fake: FakeServer,
    clock: ManualClock,
    counts: Arc<RequestCounts>,
    api: AdminApi,
}

fn settings(base_url: String) -> ApiSettings {
    ApiSettings {
        organization: "acme".into(),
        base_url,
        timeout: SECOND * 20,
        max_concurrency: 2,
        max_requests_per_minute: Some(0),
        share: RateShare::Daemon,
        api_version: API_VERSION.to_owned(),
        ca_file: None,
    }
}

fn setup(fake: FakeServer, change: impl FnOnce(&mut Transport)) -> Fixture {
    let clock = ManualClock::at("2026-11-24T02:00:00Z".parse().unwrap());
    let counts = Arc::new(RequestCounts::default());
    let settings = settings(format!("http://{}", fake.address));
    let api = AdminApi::new(
        settings,
        Secret::new(KEY.to_owned()),
        Clock::Manual(clock.clone()),
        Random::seeded(1),
        Arc::clone(&counts),
    );
    let mut transport = Arc::into_inner(api.unwrap().0).unwrap();
    change(&mut transport);
    Fixture {
        fake,
        clock,
        counts,
        api: AdminApi(Arc::new(transport)),
    }
}

async fn start(script: impl IntoIterator<Item = CannedResponse>) -> Fixture {
    setup(FakeServer::start(script).await, |_| ())
}

impl Fixture {
    /// Advances the clock while a future waits for it, and returns the result.
    async fn finish<T>(&self, request: impl Future<Output = T>) -> T {
        tokio::pin!(request);
        loop {
            tokio::select! {
                biased;
                outcome = &mut request => return outcome,
                () = tokio::task::yield_now() => if self.clock.n_sleeping() > 0 {
                    self.clock.advance(SECOND);
                },
            }
        }
    }

    /// Returns the organization's name, or the error without its place.
    async fn outcome(&self) -> String {
        match self.finish(self.api.organization(ServerKind::Guide)).await {
            Ok(info) => info.name,
            Err(error) => error.kind.to_string().replace(&self.server(), "SERVER"),
        }
    }

    fn server(&self) -> String {
        format!("`{}`", self.fake.address)
    }

    async fn wait_for_sleepers(&self, n: usize) {
        while self.clock.n_sleeping() != n {
            tokio::task::yield_now().await;
        }
    }

    fn counted(&self, code: Code) -> u64 {
        let counts = self.counts.all();
        counts
            .get(&(Endpoint::Organizations, code))
            .copied()
            .unwrap_or(0)
    }
}

/// Lets tasks run until they wait for time or the network.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_have_the_key_version_and_user_agent() {
    let setup = start([CannedResponse::ok(ORGANIZATION)]).await;
    assert_eq!(
        setup
            .api
            .organization(ServerKind::Guide)
            .await
            .unwrap()
            .name,
        "Acme"
    );
    let head = setup.fake.requests().concat();
    let has = |line: &str| assert!(head.contains(&format!("{line}\r\n")), "{head}");
    has("GET /v1/organizations HTTP/1.1");
    has("x-api-key: sk-ant-admin-canary");
    has("anthropic-version: 2023-06-01");
    has("content-type: application/json");
    has(&format!("user-agent: {}", outbound::USER_AGENT));
    has("accept-encoding: gzip");
    assert!(!format!("{:?}", setup.api).contains("canary"));
    assert!(
        setup
            .api
            .0
            .headers()
            .is_ok_and(|headers| headers["x-api-key"].is_sensitive())
    );
}

#[tokio::test]
async fn usage_requests_include_both_days() {
    let row = r#"{"data": [{"date": "2026-02-03", "input_tokens": 1, "output_tokens": 2, "total_cost_usd": 0.3}]}"#;
    let month = row.replace("2026-02-03", "2026-02");
    let setup = start([
        CannedResponse::ok(row),
        CannedResponse::ok(r#"{"data": []}"#),
        CannedResponse::ok(&month),
    ])
    .await;
    let day = |day| Day::from_date(civil::date(2026, 2, day));
    let part = Part::Workspace("w 1&x".into());
    let (first, last) = (day(3), day(4));
    let api = &setup.api;
    let (response, unreadable) = api
        .guide_usage(&part, Granularity::Day, first, last)
        .await
        .unwrap();
    assert_eq!(unreadable, []);
    assert_eq!(
        (
            response.hours.end.count() - response.hours.start.count(),
            &response.part
        ),
        (48, &part)
    );
    let cells = &response.buckets[&first.first_hour()];
    assert_eq!(bucket::sum(cells).spend.to_string(), "0.3");
    api.guide_usage(&Part::Whole, Granularity::Hour, first, last)
        .await
        .unwrap();
    let (months, _) = api
        .guide_usage_by_month(&Part::Whole, first, last)
        .await
        .unwrap();
    assert_eq!(months[0].month, civil::date(2026, 2, 1));
    assert_eq!(
        setup.fake.targets(),
        [
            "/v1/usage?start_date=2026-02-03&end_date=2026-02-04&granularity=day&workspace_id=w+1%26x",
            "/v1/usage?start_date=2026-02-03&end_date=2026-02-04&granularity=hour",
            "/v1/usage?start_date=2026-02-03&end_date=2026-02-04&granularity=month",
        ]
    );
    let error = api
        .guide_usage(&Part::Unattributed, Granularity::Hour, first, last)
        .await;
    assert_eq!(error.unwrap_err().kind, FetchErrorKind::DerivedPart);
}

#[tokio::test]
async fn invalid_figures_are_named_with_organization_endpoint_page_and_row() {
    let row = r#"{"date": "2026-02-03", "input_tokens": 1, "output_tokens": 2, "total_cost_usd": "sk-ant-admin-canary"}"#;
    let setup = start([CannedResponse::ok(&format!(r#"{{"data": [{row}]}}"#))]).await;
    let part = Part::Workspace("workspace_01\n".into());
    let day = Day::from_date(civil::date(2026, 2, 3));
    let (response, unreadable) = setup
        .api
        .guide_usage(&part, Granularity::Day, day, day)
        .await
        .unwrap();
    assert_eq!(response.unknown, [day.first_hour()].into());
    assert_eq!(
        unreadable[0].reason,
        "invalid response: organization `acme`, GET /v1/usage (workspace `workspace_01`): row 1: `total_cost_usd` is `\"[redacted]\"`, not a number"
    );
}

/// Checks that after a 429 with this header, nothing is sent for `seconds`, and requests are sent then.
async fn check_pause(header: &str, seconds: u64) {
    let limited = CannedResponse::new("429 Slow", &format!("retry-after: {header}\r\n"), "");
    let setup = start([
        limited,
        CannedResponse::ok(ORGANIZATION),
        CannedResponse::ok(ORGANIZATION),
    ])
    .await;
    let api = setup.api.clone();
    let first = tokio::spawn(async move { api.organization(ServerKind::Guide).await });
    setup.wait_for_sleepers(1).await;
    let api = setup.api.clone();
    let other = tokio::spawn(async move { api.organization(ServerKind::Guide).await });
    settle().await;
    setup.clock.advance(SECOND);
    settle().await;
    setup
        .clock
        .advance(SECOND * u32::try_from(seconds).unwrap() - SECOND - Duration::from_millis(1));
    settle().await;
    assert_eq!(setup.fake.requests().len(), 1, "{header}");
    setup.clock.advance(Duration::from_millis(1));
    assert!(first.await.unwrap().is_ok() && other.await.unwrap().is_ok());
    assert_eq!(setup.fake.requests().len(), 3, "{header}");
}

#[tokio::test]
async fn case_21_retry_after_pauses_the_whole_organization() {
    check_pause("120", 120).await;
    check_pause("Tue, 24 Nov 2026 02:02:00 GMT", 120).await;
    check_pause("3.5", 4).await;
}

#[tokio::test]
async fn case_21_an_invalid_retry_after_leaves_the_default_backoff() {
    for header in ["soon", "-5", "", "Tue, 24 Nov 2026 01:00:00 GMT", "\u{fc}"] {
        let limited = CannedResponse::new("429 Slow", &format!("retry-after: {header}\r\n"), "");
        let setup = start([limited, CannedResponse::ok(ORGANIZATION)]).await;
        let api = setup.api.clone();
        let request = tokio::spawn(async move { api.organization(ServerKind::Guide).await });
        setup.wait_for_sleepers(1).await;
        setup.clock.advance(Duration::from_millis(499));
        settle().await;
        assert_eq!(setup.fake.requests().len(), 1, "{header}");
        setup.clock.advance(Duration::from_millis(501));
        assert!(request.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let truncated =
        CannedResponse::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":".to_vec());
    for failure in [
        CannedResponse::status(408),
        CannedResponse::status(429),
        CannedResponse::status(500),
        CannedResponse::status(503),
        CannedResponse::status(529),
        CannedResponse::hang_up(),
        truncated,
    ] {
        let setup = start([
            failure.clone(),
            failure.clone(),
            failure,
            CannedResponse::ok(ORGANIZATION),
        ])
        .await;
        assert_eq!(setup.outcome().await, "Acme");
        assert_eq!(setup.fake.requests().len(), 4);
    }
}

#[tokio::test]
async fn attempts_are_limited() {
    let overloaded =
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    let setup = start(vec![CannedResponse::new("529 Busy", "", overloaded); 5]).await;
    assert_eq!(
        setup.outcome().await,
        "the server responded with status 529: overloaded_error: Overloaded"
    );
    assert_eq!(setup.fake.requests().len(), 4);
    assert_eq!(setup.counted(Code::Status(529)), 4);
}

/// Checks that a failure is not retried.
async fn check_permanent(response: CannedResponse, expected: &str) {
    let setup = start([response, CannedResponse::ok(ORGANIZATION)]).await;
    assert_eq!(setup.outcome().await, expected);
    assert_eq!(setup.fake.requests().len(), 1, "{expected}");
}

#[tokio::test]
async fn permanent_failures_are_reported_at_once() {
    let html = "<html><body>\n\tNot here.\u{7}</body></html>";
    check_permanent(
        CannedResponse::new("404 Not Found", "content-type: text/html\r\n", html),
        "the server responded with status 404: <html><body>  Not here. </body></html>",
    )
    .await;
    check_permanent(
        CannedResponse::new(
            "400 Bad",
            "",
            &format!("{{\"key\": \"{KEY}\"}}{}", "x".repeat(500)),
        ),
        &format!(
            "the server responded with status 400: {{\"key\": \"[redacted]\"}}{}…",
            "x".repeat(200 - 21)
        ),
    )
    .await;
    check_permanent(
        CannedResponse::new("403 No", "", r#"{"error": {"message": "no admin"}}"#),
        "the server rejected the key (status 403): no admin; `spendwatch doctor` lists what the key can read",
    )
    .await;
    check_permanent(
        CannedResponse::new("307 Moved", "location: https://evil.example/v1?key=1\r\n", ""),
        "the server redirected (status 307) to `https://evil.example`; redirects are not followed, because the key would be sent along; set `base_url` to the final address",
    )
    .await;
    check_permanent(
        CannedResponse::new("500 Never", "x-should-retry: false\r\n", ""),
        "the server responded with status 500: no message",
    )
    .await;
    check_permanent(
        CannedResponse::ok("<html>Sign in</html>"),
        "invalid response: not JSON (expected value at line 1 column 1), starts with `<html>Sign in</html>`",
    )
    .await;
    check_permanent(
        CannedResponse::ok(""),
        "invalid response: not JSON (EOF while parsing a value at line 1 column 0), starts with ``",
    )
    .await;
}

#[tokio::test]
async fn a_rejected_key_is_reported_and_can_be_replaced() {
    let setup = start([
        CannedResponse::status(401),
        CannedResponse::status(401),
        CannedResponse::ok(ORGANIZATION),
    ])
    .await;
    let error = setup.api.organization(ServerKind::Guide).await.unwrap_err();
    assert!(error.is_key_error());
    let rejected = "the Admin API rejected the key (401): no message; check `admin_key`, or create a new key in the Console under Settings > Admin keys";
    assert_eq!(error.kind.to_string(), rejected);
    setup
        .api
        .set_key(Secret::new("sk-ant-api03-canary".to_owned()));
    assert_eq!(
        setup.outcome().await,
        format!(
            "{rejected}; admin keys start with `sk-ant-admin`, but this one does not; a workspace's API key is not accepted here"
        )
    );
    setup.api.set_key(Secret::new("broken\nkey".to_owned()));
    let error = setup.api.organization(ServerKind::Guide).await.unwrap_err();
    assert!(error.is_key_error() && !error.to_string().contains("broken"));
    setup
        .api
        .set_key(Secret::new("sk-ant-admin-new".to_owned()));
    assert_eq!(setup.outcome().await, "Acme");
    assert!(setup.fake.requests()[2].contains("x-api-key: sk-ant-admin-new\r\n"));
    assert_eq!(setup.fake.requests().len(), 3);
}

#[tokio::test]
async fn decompressed_bodies_are_bounded() {
    let limit = |transport: &mut Transport| transport.max_body_bytes = 10_000;
    let too_large = "the response is larger than 10000 bytes";
    let endless = CannedResponse::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let other = setup(FakeServer::start([endless]).await, limit);
    assert_eq!(other.outcome().await, too_large);

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&[b' '; 1_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 10_000);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let bomb = CannedResponse::Bytes([head.into_bytes(), packed].concat());
    let other = setup(FakeServer::start([bomb]).await, limit);
    assert_eq!(other.outcome().await, too_large);

    let fitting = format!("{ORGANIZATION}{}", " ".repeat(10_000 - ORGANIZATION.len()));
    let other = setup(
        FakeServer::start([CannedResponse::ok(&fitting)]).await,
        limit,
    );
    assert_eq!(other.outcome().await, "Acme");
}

#[tokio::test]
async fn endless_error_bodies_report_the_status() {
    let endless = CannedResponse::Endless(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec());
    let setup = start([endless]).await;
    let expected = format!("the server responded with status 400: {}…", "x".repeat(200));
    assert_eq!(setup.outcome().await, expected);
}

#[tokio::test]
async fn stalled_responses_time_out() {
    let short = |transport: &mut Transport| transport.timeout = Duration::from_millis(200);
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_vec();
    let setup = setup(
        FakeServer::start([
            CannedResponse::Stall(begun),
            CannedResponse::ok(ORGANIZATION),
        ])
        .await,
        short,
    );
    assert_eq!(setup.outcome().await, "Acme");
    assert_eq!(setup.counted(Code::Timeout), 1);
    assert_eq!(setup.counted(Code::Status(200)), 1);
}

#[tokio::test]
async fn missing_responses_time_out() {
    let fake = FakeServer::start(vec![CannedResponse::Stall(Vec::new()); 4]).await;
    let clock = ManualClock::at("2026-11-24T02:00:00Z".parse().unwrap());
    let counts = Arc::new(RequestCounts::default());
    let mut settings = settings(format!("http://{}", fake.address));
    settings.timeout = Duration::from_millis(80);
    let api = AdminApi::new(
        settings,
        Secret::new(KEY.to_owned()),
        Clock::Manual(clock.clone()),
        Random::seeded(1),
        Arc::clone(&counts),
    );
    let setup = Fixture {
        api: api.unwrap(),
        fake,
        clock,
        counts,
    };
    assert_eq!(
        setup.outcome().await,
        "the request timed out: no complete response from SERVER within 80ms"
    );
    assert_eq!(setup.counted(Code::Timeout), 4);
}

#[tokio::test]
async fn unreachable_servers_are_named() {
    let setup = start([]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let api = AdminApi::new(
        settings(format!("http://{address}/v1/")),
        Secret::new(KEY.to_owned()),
        Clock::Manual(setup.clock.clone()),
        Random::seeded(1),
        Arc::clone(&setup.counts),
    );
    let error = setup
        .finish(api.unwrap().workspaces(ServerKind::Guide))
        .await
        .unwrap_err();
    let text = error.to_string();
    let expected =
        format!("cannot connect to `{address}`: organization `acme`, GET /v1/workspaces: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("refused"), "{text}");
    let counts = setup.counts.all();
    assert_eq!(counts[&(Endpoint::Workspaces, Code::Network)], 4);
}

fn page(ids: &[&str], end: &str) -> CannedResponse {
    let rows: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"id": "{id}", "name": "{id}"}}"#))
        .collect();
    CannedResponse::ok(&format!(r#"{{"data": [{}]{end}}}"#, rows.join(",")))
}

#[tokio::test]
async fn all_pages_are_fetched() {
    let setup = start([
        page(
            &["a", "b"],
            r#", "has_more": true, "first_id": "a", "last_id": "b""#,
        ),
        page(&["c"], r#", "has_more": true"#),
        page(&["d"], r#", "has_more": false, "last_id": "d""#),
    ])
    .await;
    let ids: Vec<String> = setup
        .api
        .workspaces(ServerKind::Guide)
        .await
        .unwrap()
        .iter()
        .map(|workspace| workspace.id.to_string())
        .collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(
        setup.fake.targets(),
        [
            "/v1/workspaces?limit=100",
            "/v1/workspaces?limit=100&after_id=b",
            "/v1/workspaces?limit=100&after_id=c",
        ]
    );
}

#[tokio::test]
async fn incomplete_lists_are_errors() {
    let more = |id: &str| format!(r#", "has_more": true, "last_id": "{id}""#);
    let check = async |second: CannedResponse, expected: &str| {
        let setup = start([page(&["a", "b"], &more("b")), second]).await;
        let error = setup
            .finish(setup.api.workspaces(ServerKind::Guide))
            .await
            .unwrap_err();
        let (cause, detail) = expected.split_once(": ").unwrap();
        let place = "organization `acme`, GET /v1/workspaces, page 2";
        let expected = format!("{cause}: {place}: {detail}");
        assert_eq!(error.to_string(), expected);
    };
    check(
        page(&[], &more("c")),
        "invalid response: `has_more` is true, but the page is empty",
    )
    .await;
    check(
        page(&["c"], &more("b")),
        "invalid response: the cursor `b` of the next page was already used",
    )
    .await;
    check(
        CannedResponse::status(404),
        "the server responded with status 404: no message; check `base_url` and `dialect`",
    )
    .await;
}

#[tokio::test]
async fn invalid_list_rows_are_skipped_and_reported_once() {
    let body = br#"{"data": [{"id": "a", "name": "half \ud83d pair"}, {"id": null}, "row", {"id": "b", "name": 7},
        {"id": "b"}, {"id": "c", "name": "a\u0000b"}], "has_more": false}"#;
    let body = String::from_utf8(body.to_vec()).unwrap();
    let setup = start([CannedResponse::ok(&body), CannedResponse::ok(&body)]).await;
    for _ in 0..2 {
        setup.api.workspaces(ServerKind::Guide).await.unwrap();
    }
    let unreadable: Vec<String> = setup
        .api
        .take_unreadable()
        .iter()
        .map(|error| error.kind.to_string())
        .collect();
    assert_eq!(
        unreadable,
        [
            "invalid response: row 2: `id`: invalid type: null, expected a string at line 1 column 11",
            "invalid response: row 3: `\"row\"` is not an object",
            "invalid response: `id` is `b`, listed twice",
        ]
    );
    assert_eq!(setup.api.take_unreadable(), []);
    let setup = start([CannedResponse::ok(&body)]).await;
    let listed = setup.api.workspaces(ServerKind::Guide).await.unwrap();
    let listed: Vec<(&str, &str)> = listed
        .iter()
        .map(|one| (one.id.as_str(), one.name.as_str()))
        .collect();
    let expected = [("a", "half \u{fffd} pair"), ("b", "b"), ("c", "a\0b")];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn concurrency_is_limited_and_cancelled_requests_free_their_permit() {
    let fake = FakeServer::start_held(vec![CannedResponse::ok(ORGANIZATION); 8]).await;
    let setup = setup(fake, |_| ());
    let mut pending: Vec<_> = (0..6)
        .map(|_| {
            let api = setup.api.clone();
            tokio::spawn(async move { api.organization(ServerKind::Guide).await })
        })
        .collect();
    while setup.fake.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(setup.fake.requests().len(), 2);
    pending.remove(0).abort();
    while setup.fake.requests().len() < 3 {
        tokio::task::yield_now().await;
    }
    setup.fake.release(8);
    for request in pending {
        assert!(request.await.unwrap().is_ok());
    }
    // The cancelled request is still open at the server.
    assert!(setup.fake.max_open() <= 3);
}

#[tokio::test]
async fn the_servers_clock_is_compared() {
    let late = "date: Tue, 24 Nov 2026 02:01:30 GMT\r\n";
    let setup = start([CannedResponse::new("200 OK", late, ORGANIZATION)]).await;
    assert_eq!(setup.api.skew(), None);
    setup.outcome().await;
    assert_eq!(setup.api.skew(), Some(SignedDuration::from_secs(90)));
}

#[test]
fn base_urls() {
    let check = |text: &str, expected: Result<&str, &'static str>| {
        let url = base_url(text).map(|url| url.to_string());
        assert_eq!(url.as_deref().map_err(|reason| *reason), expected, "{text}");
    };
    check(
        "https://api.anthropic.com",
        Ok("https://api.anthropic.com/"),
    );
    check(
        "https://api.anthropic.com/v1/",
        Ok("https://api.anthropic.com/"),
    );
    check(" http://127.0.0.1:80/gate/v1 ", Ok("http://127.0.0.1/gate"));
    check("https://host/v1beta//", Ok("https://host/v1beta"));
    check("api.anthropic.com", Err("is not a URL"));
    check("ftp://host", Err("must start with https:// or http://"));
    check(
        "https://me:pw@host",
        Err("must not contain a user name or password"),
    );
    check(
        "https://host/?a=b",
        Err("must not contain a query or fragment"),
    );
}
