//! The client against a real server on a loopback port, with a clock that is moved by hand.

mod detection;
mod real;
mod wire;

use std::io::Write as _;

use crate::anthropic::fake::{Fake, Reply};
use crate::clock::ManualClock;
use crate::domain::usage;
use crate::metrics::requests::Code;
use jiff::civil;

use super::*;

const KEY: &str = "sk-ant-admin-canary";
const ME: &str = r#"{"id": "7d0c", "type": "organization", "name": "Acme"}"#;
const EMPTY_REPORT: &str = r#"{"data": [], "has_more": false, "next_page": null}"#;
const ORGANIZATION: &str = r#"{"id": "org_01", "name": "Acme"}"#;
const SECOND: Duration = Duration::from_secs(1);

/// A client of a fake server, and everything it was given.
struct Setup {
    fake: Fake,
    clock: ManualClock,
    counts: Arc<RequestCounts>,
    api: AdminApi,
}

fn settings(base_url: String) -> Settings {
    Settings {
        organization: "acme".into(),
        base_url,
        timeout: SECOND * 20,
        max_concurrency: 2,
        max_requests_per_minute: Some(0),
        share: Share::Daemon,
        api_version: API_VERSION.to_owned(),
        ca_file: None,
    }
}

fn setup(fake: Fake, change: impl FnOnce(&mut Transport)) -> Setup {
    let clock = ManualClock::at("2026-11-24T02:00:00Z".parse().unwrap());
    let counts = Arc::new(RequestCounts::default());
    let settings = settings(format!("http://{}", fake.address));
    let api = AdminApi::new(
        settings,
        Secret::new(KEY.to_owned()),
        Clock::Manual(clock.clone()),
        Chance::seeded(1),
        Arc::clone(&counts),
    );
    let mut transport = Arc::into_inner(api.unwrap().0).unwrap();
    change(&mut transport);
    Setup {
        fake,
        clock,
        counts,
        api: AdminApi(Arc::new(transport)),
    }
}

async fn start(script: impl IntoIterator<Item = Reply>) -> Setup {
    setup(Fake::start(script).await, |_| ())
}

impl Setup {
    /// Lets time pass whenever somebody waits for it, until there is an outcome.
    async fn patiently<T>(&self, question: impl Future<Output = T>) -> T {
        tokio::pin!(question);
        loop {
            tokio::select! {
                biased;
                outcome = &mut question => return outcome,
                () = tokio::task::yield_now() => if self.clock.n_waiting() > 0 {
                    self.clock.advance(SECOND);
                },
            }
        }
    }

    /// The organization, or the error in words without its place.
    async fn outcome(&self) -> String {
        match self.patiently(self.api.organization()).await {
            Ok(info) => info.name,
            Err(error) => error.problem.to_string().replace(&self.server(), "SERVER"),
        }
    }

    fn server(&self) -> String {
        format!("`{}`", self.fake.address)
    }

    async fn n_waiting(&self, n: usize) {
        while self.clock.n_waiting() != n {
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

/// Lets everything run that can run without time or the network.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_says_who_asks_and_in_which_version() {
    let setup = start([Reply::ok(ORGANIZATION)]).await;
    assert_eq!(setup.api.organization().await.unwrap().name, "Acme");
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
async fn usage_is_asked_with_both_days_included() {
    let row = r#"{"data": [{"date": "2026-02-03", "input_tokens": 1, "output_tokens": 2, "total_cost_usd": 0.3}]}"#;
    let month = row.replace("2026-02-03", "2026-02");
    let setup = start([
        Reply::ok(row),
        Reply::ok(r#"{"data": []}"#),
        Reply::ok(&month),
    ])
    .await;
    let day = |day| Day::from_date(civil::date(2026, 2, day));
    let part = Part::Workspace("w 1&x".into());
    let (first, last) = (day(3), day(4));
    let api = &setup.api;
    let (answer, unreadable) = api
        .usage(&part, Granularity::Day, first, last)
        .await
        .unwrap();
    assert_eq!(unreadable, []);
    assert_eq!(
        (
            answer.hours.end.count() - answer.hours.start.count(),
            &answer.part
        ),
        (48, &part)
    );
    let cells = &answer.buckets[&first.first_hour()];
    assert_eq!(usage::sum(cells).spend.to_string(), "0.3");
    api.usage(&Part::Whole, Granularity::Hour, first, last)
        .await
        .unwrap();
    let (months, _) = api.usage_by_month(&Part::Whole, first, last).await.unwrap();
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
        .usage(&Part::Unattributed, Granularity::Hour, first, last)
        .await;
    assert_eq!(error.unwrap_err().problem, Problem::NotAskable);
}

#[tokio::test]
async fn a_figure_that_cannot_be_read_is_named_with_organization_endpoint_page_and_row() {
    let row = r#"{"date": "2026-02-03", "input_tokens": 1, "output_tokens": 2, "total_cost_usd": "sk-ant-admin-canary"}"#;
    let setup = start([Reply::ok(&format!(r#"{{"data": [{row}]}}"#))]).await;
    let part = Part::Workspace("workspace_01\n".into());
    let day = Day::from_date(civil::date(2026, 2, 3));
    let (answer, unreadable) = setup
        .api
        .usage(&part, Granularity::Day, day, day)
        .await
        .unwrap();
    assert_eq!(answer.unknown, [day.first_hour()].into());
    assert_eq!(
        unreadable[0].reason,
        "organization `acme`: GET /v1/usage (workspace `workspace_01`), page 1: faulty answer: row 1: `total_cost_usd` is `\"[redacted]\"`, not a number"
    );
}

/// A 429 with this header, then an answer: nothing is sent before so many seconds have passed, and something after.
async fn check_pause(header: &str, seconds: u64) {
    let limited = Reply::new("429 Slow", &format!("retry-after: {header}\r\n"), "");
    let setup = start([limited, Reply::ok(ORGANIZATION), Reply::ok(ORGANIZATION)]).await;
    let api = setup.api.clone();
    let first = tokio::spawn(async move { api.organization().await });
    setup.n_waiting(1).await;
    let api = setup.api.clone();
    let other = tokio::spawn(async move { api.organization().await });
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
async fn case_21_a_retry_after_that_is_rubbish_leaves_the_own_step() {
    for header in ["soon", "-5", "", "Tue, 24 Nov 2026 01:00:00 GMT", "\u{fc}"] {
        let limited = Reply::new("429 Slow", &format!("retry-after: {header}\r\n"), "");
        let setup = start([limited, Reply::ok(ORGANIZATION)]).await;
        let api = setup.api.clone();
        let question = tokio::spawn(async move { api.organization().await });
        setup.n_waiting(1).await;
        setup.clock.advance(Duration::from_millis(499));
        settle().await;
        assert_eq!(setup.fake.requests().len(), 1, "{header}");
        setup.clock.advance(Duration::from_millis(501));
        assert!(question.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let gone = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":".to_vec());
    for failure in [
        Reply::status(408),
        Reply::status(429),
        Reply::status(500),
        Reply::status(503),
        Reply::status(529),
        Reply::hang_up(),
        gone,
    ] {
        let setup = start([
            failure.clone(),
            failure.clone(),
            failure,
            Reply::ok(ORGANIZATION),
        ])
        .await;
        assert_eq!(setup.outcome().await, "Acme");
        assert_eq!(setup.fake.requests().len(), 4);
    }
}

#[tokio::test]
async fn attempts_end() {
    let overloaded =
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    let setup = start(vec![Reply::new("529 Busy", "", overloaded); 5]).await;
    assert_eq!(
        setup.outcome().await,
        "the server answers with status 529: overloaded_error: Overloaded"
    );
    assert_eq!(setup.fake.requests().len(), 4);
    assert_eq!(setup.counted(Code::Status(529)), 4);
}

/// An answer that is not asked for again.
async fn check_refused(reply: Reply, expected: &str) {
    let setup = start([reply, Reply::ok(ORGANIZATION)]).await;
    assert_eq!(setup.outcome().await, expected);
    assert_eq!(setup.fake.requests().len(), 1, "{expected}");
}

#[tokio::test]
async fn what_will_not_pass_is_told_at_once() {
    let html = "<html><body>\n\tNot here.\u{7}</body></html>";
    check_refused(
        Reply::new("404 Not Found", "content-type: text/html\r\n", html),
        "the server answers with status 404: <html><body>  Not here. </body></html>",
    )
    .await;
    check_refused(
        Reply::new(
            "400 Bad",
            "",
            &format!("{{\"key\": \"{KEY}\"}}{}", "x".repeat(500)),
        ),
        &format!(
            "the server answers with status 400: {{\"key\": \"[redacted]\"}}{}…",
            "x".repeat(200 - 21)
        ),
    )
    .await;
    check_refused(
        Reply::new("403 No", "", r#"{"error": {"message": "no admin"}}"#),
        "the server refuses the key (status 403): no admin",
    )
    .await;
    check_refused(
        Reply::new("307 Moved", "location: https://evil.example/v1?key=1\r\n", ""),
        "the server redirects (status 307) to `https://evil.example`; redirects are not followed, because the key would go along: set `base_url` to the address that is meant",
    )
    .await;
    check_refused(
        Reply::new("500 Never", "x-should-retry: false\r\n", ""),
        "the server answers with status 500: without a word",
    )
    .await;
    check_refused(
        Reply::ok("<html>Sign in</html>"),
        "faulty answer: not JSON (expected value at line 1 column 1); it begins with `<html>Sign in</html>`",
    )
    .await;
    check_refused(
        Reply::ok(""),
        "faulty answer: not JSON (EOF while parsing a value at line 1 column 0); it begins with ``",
    )
    .await;
}

#[tokio::test]
async fn a_refused_key_is_told_and_may_be_replaced() {
    let setup = start([
        Reply::status(401),
        Reply::status(401),
        Reply::ok(ORGANIZATION),
    ])
    .await;
    let error = setup.api.organization().await.unwrap_err();
    assert!(error.is_about_the_key());
    let refused = "the server refuses the key (status 401): without a word";
    assert_eq!(error.problem.to_string(), refused);
    setup
        .api
        .set_key(Secret::new("sk-ant-api03-canary".to_owned()));
    assert_eq!(
        setup.outcome().await,
        format!(
            "{refused}; admin keys begin with `sk-ant-admin`, which this one does not; the key of a single workspace opens nothing here"
        )
    );
    setup.api.set_key(Secret::new("broken\nkey".to_owned()));
    let error = setup.api.organization().await.unwrap_err();
    assert!(error.is_about_the_key() && !error.to_string().contains("broken"));
    setup
        .api
        .set_key(Secret::new("sk-ant-admin-new".to_owned()));
    assert_eq!(setup.outcome().await, "Acme");
    assert!(setup.fake.requests()[2].contains("x-api-key: sk-ant-admin-new\r\n"));
    assert_eq!(setup.fake.requests().len(), 3);
}

#[tokio::test]
async fn a_body_is_read_up_to_a_limit_counted_unpacked() {
    let limit = |transport: &mut Transport| transport.max_body_bytes = 10_000;
    let too_large = "the answer is larger than 10000 bytes";
    let endless = Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let other = setup(Fake::start([endless]).await, limit);
    assert_eq!(other.outcome().await, too_large);

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&[b' '; 1_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 10_000);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let bomb = Reply::Bytes([head.into_bytes(), packed].concat());
    let other = setup(Fake::start([bomb]).await, limit);
    assert_eq!(other.outcome().await, too_large);

    let fitting = format!("{ORGANIZATION}{}", " ".repeat(10_000 - ORGANIZATION.len()));
    let other = setup(Fake::start([Reply::ok(&fitting)]).await, limit);
    assert_eq!(other.outcome().await, "Acme");
}

#[tokio::test]
async fn an_endless_error_is_still_its_status() {
    let endless = Reply::Endless(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec());
    let setup = start([endless]).await;
    let expected = format!("the server answers with status 400: {}…", "x".repeat(200));
    assert_eq!(setup.outcome().await, expected);
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let short = |transport: &mut Transport| transport.timeout = Duration::from_millis(200);
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_vec();
    let setup = setup(
        Fake::start([Reply::Stall(begun), Reply::ok(ORGANIZATION)]).await,
        short,
    );
    assert_eq!(setup.outcome().await, "Acme");
    assert_eq!(setup.counted(Code::Timeout), 1);
    assert_eq!(setup.counted(Code::Status(200)), 1);
}

#[tokio::test]
async fn no_first_byte_ends_in_a_timeout() {
    let fake = Fake::start(vec![Reply::Stall(Vec::new()); 4]).await;
    let clock = ManualClock::at("2026-11-24T02:00:00Z".parse().unwrap());
    let counts = Arc::new(RequestCounts::default());
    let mut settings = settings(format!("http://{}", fake.address));
    settings.timeout = Duration::from_millis(80);
    let api = AdminApi::new(
        settings,
        Secret::new(KEY.to_owned()),
        Clock::Manual(clock.clone()),
        Chance::seeded(1),
        Arc::clone(&counts),
    );
    let setup = Setup {
        api: api.unwrap(),
        fake,
        clock,
        counts,
    };
    assert_eq!(
        setup.outcome().await,
        "no complete answer in time: SERVER took longer than 80ms"
    );
    assert_eq!(setup.counted(Code::Timeout), 4);
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    let setup = start([]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let api = AdminApi::new(
        settings(format!("http://{address}/v1/")),
        Secret::new(KEY.to_owned()),
        Clock::Manual(setup.clock.clone()),
        Chance::seeded(1),
        Arc::clone(&setup.counts),
    );
    let error = setup
        .patiently(api.unwrap().workspaces())
        .await
        .unwrap_err();
    let text = error.to_string();
    let expected =
        format!("organization `acme`: GET /v1/workspaces, page 1: cannot connect to `{address}`: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("refused"), "{text}");
    let counts = setup.counts.all();
    assert_eq!(counts[&(Endpoint::Workspaces, Code::Network)], 4);
}

fn page(ids: &[&str], end: &str) -> Reply {
    let rows: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"id": "{id}", "name": "{id}"}}"#))
        .collect();
    Reply::ok(&format!(r#"{{"data": [{}]{end}}}"#, rows.join(",")))
}

#[tokio::test]
async fn every_page_is_read() {
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
        .workspaces()
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
async fn a_list_that_does_not_end_well_is_an_error() {
    let more = |id: &str| format!(r#", "has_more": true, "last_id": "{id}""#);
    let check = async |second: Reply, expected: &str| {
        let setup = start([page(&["a", "b"], &more("b")), second]).await;
        let error = setup.patiently(setup.api.workspaces()).await.unwrap_err();
        let expected = format!("organization `acme`: GET /v1/workspaces, page 2: {expected}");
        assert_eq!(error.to_string(), expected);
    };
    check(
        page(&[], &more("c")),
        "faulty answer: `has_more` is true, but the page has no rows",
    )
    .await;
    check(
        page(&["c"], &more("b")),
        "faulty answer: another page is promised, but the cursor `b` was already used",
    )
    .await;
    check(
        Reply::status(404),
        "the server answers with status 404: without a word",
    )
    .await;
}

#[tokio::test]
async fn a_strange_row_of_a_list_costs_only_itself_and_is_named_once() {
    let body = br#"{"data": [{"id": "a", "name": "half \ud83d pair"}, {"id": null}, "row", {"id": "b", "name": 7},
        {"id": "b"}, {"id": "c", "name": "a\u0000b"}], "has_more": false}"#;
    let body = String::from_utf8(body.to_vec()).unwrap();
    let setup = start([Reply::ok(&body), Reply::ok(&body)]).await;
    for _ in 0..2 {
        setup.api.workspaces().await.unwrap();
    }
    let unreadable: Vec<String> = setup
        .api
        .take_unreadable()
        .iter()
        .map(|error| error.problem.to_string())
        .collect();
    assert_eq!(
        unreadable,
        [
            "faulty answer: row 2: invalid type: null, expected a string at line 1 column 11",
            "faulty answer: row 3: `\"row\"` is not an object",
            "faulty answer: `id` is `b`, listed twice",
        ]
    );
    assert_eq!(setup.api.take_unreadable(), []);
    let setup = start([Reply::ok(&body)]).await;
    let listed = setup.api.workspaces().await.unwrap();
    let listed: Vec<(&str, &str)> = listed
        .iter()
        .map(|one| (one.id.as_str(), one.name.as_str()))
        .collect();
    let expected = [("a", "half \u{fffd} pair"), ("b", "b"), ("c", "a\0b")];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn not_more_at_once_than_allowed_and_who_gives_up_makes_room() {
    let fake = Fake::start_closed(vec![Reply::ok(ORGANIZATION); 8]).await;
    let setup = setup(fake, |_| ());
    let mut questions: Vec<_> = (0..6)
        .map(|_| {
            let api = setup.api.clone();
            tokio::spawn(async move { api.organization().await })
        })
        .collect();
    while setup.fake.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(setup.fake.requests().len(), 2);
    questions.remove(0).abort();
    while setup.fake.requests().len() < 3 {
        tokio::task::yield_now().await;
    }
    setup.fake.let_out(8);
    for question in questions {
        assert!(question.await.unwrap().is_ok());
    }
    // The one that was given up is still open at the server.
    assert!(setup.fake.most_open() <= 3);
}

#[tokio::test]
async fn the_servers_clock_is_compared() {
    let late = "date: Tue, 24 Nov 2026 02:01:30 GMT\r\n";
    let setup = start([Reply::new("200 OK", late, ORGANIZATION)]).await;
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
    check("ftp://host", Err("must begin with https:// or http://"));
    check(
        "https://me:pw@host",
        Err("must not hold a user or a password"),
    );
    check(
        "https://host/?a=b",
        Err("must not hold a query or a fragment"),
    );
}
