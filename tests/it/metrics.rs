//! `/metrics` of a running daemon: real parsers, both formats, and sums that match the organization.

use std::io::Write;
use std::process::{Command, Stdio};

use spendwatch::app::published::PublishedState;
use spendwatch::cycle::state::Watcher;
use spendwatch_base::clock::Clock;
use spendwatch_domain::org::listing::RateLimit;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::privacy::UserNaming;
use spendwatch_metrics::gauges::{Rendered, Renderer};
use spendwatch_metrics::text::ExpositionFormat;
use spendwatch_metrics::view::{SeriesOptions, View};
use spendwatch_simulator::Simulator;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;

use crate::alerts::month_rule as month_rule_of_workspaces;
use crate::harness::{WatcherFixture, at, organization};
use crate::program::{Home, Program, get, month_rule, send_request, send_request_bytes};

/// Returns the body of a response.
fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

fn value(metrics: &str, series: &str) -> String {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_parses_the_metrics_and_workspaces_sum_to_the_organization() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Al\"pha\\\nx");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "12.345678");
    world.spend("", "claude-haiku-4-5", clock.now(), "1.5");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let home = Home::new();
    home.configure(&simulator, &month_rule("10"));
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle ok");
    program.wait_for("cycle ok");
    let response = get(&address, "/metrics");
    assert!(
        response.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{response}"
    );
    let metrics = body(&response);
    let alpha = "{organization=\"acme\",workspace_id=\"workspace_a\",workspace=\"Al\\\"pha\\\\\\nx\",model=\"claude-sonnet-4-5\"}";
    let rest = "{organization=\"acme\",workspace_id=\"unattributed\",workspace=\"unattributed\",model=\"claude-haiku-4-5\"}";
    assert_eq!(
        value(metrics, &format!("anthropic_spend_month_usd{alpha}")),
        "12.345678"
    );
    assert_eq!(
        value(metrics, &format!("anthropic_spend_month_usd{rest}")),
        "1.5"
    );
    assert_eq!(
        value(
            metrics,
            "anthropic_organization_spend_month_usd{organization=\"acme\"}"
        ),
        "13.845678"
    );
    assert_eq!(
        value(metrics, "spendwatch_organization_up{organization=\"acme\"}"),
        "1"
    );
    let rule =
        "{organization=\"acme\",rule=\"month\",subject_kind=\"organization\",subject_id=\"acme\"}";
    assert_eq!(
        value(metrics, &format!("spendwatch_rule_used_ratio{rule}")),
        "1.384567"
    );
    let open = send_request(
        &address,
        &format!(
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: application/openmetrics-text; version=1.0.0"
        ),
    );
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{open}"
    );
    assert!(
        open.ends_with("# EOF\n") && open.contains("# TYPE spendwatch_api_requests counter"),
        "{open}"
    );
    check_with_promtool(metrics);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_responses_have_the_same_gauges() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "3");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let home = Home::new();
    home.configure(&simulator, "");
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let yearly = [("SPENDWATCH__POLL__SCHEDULE", "0 0 0 1 1 *")];
    let mut program = Program::start(&home, &arguments, &yearly);
    let address = program.address();
    program.wait_for("cycle ok");
    let gauges = |text: &str| -> Vec<String> {
        let is_gauge = |line: &&str| line.starts_with("anthropic_");
        text.lines().filter(is_gauge).map(str::to_owned).collect()
    };
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: gzip");
    let mut found = Vec::new();
    // The log line comes slightly before the gauges.
    while found.is_empty() {
        let response = send_request_bytes(&address, &head);
        let head_end = response
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let message = String::from_utf8_lossy(&response[..head_end]).into_owned();
        assert!(message.contains("content-encoding: gzip"), "{message}");
        found = gauges(
            &std::io::read_to_string(flate2::read::GzDecoder::new(&response[head_end..])).unwrap(),
        );
    }
    assert_eq!(found, gauges(body(&get(&address, "/metrics"))));
    assert!(
        found
            .iter()
            .any(|line| line.ends_with("model=\"claude-sonnet-4-5\"} 3")),
        "{found:?}"
    );
}

/// Renders the gauges of a watcher.
fn gauges(renderer: &mut Renderer, watcher: &Watcher, shape: SeriesOptions) -> (String, Rendered) {
    // The skew is between the machine's clock and the test's.
    let view = View {
        skew: None,
        ..watcher.view()
    };
    let rendered = renderer.render(&view, shape, true);
    let chunks = rendered.chunks.iter().flatten();
    let text = chunks
        .map(|chunk| String::from_utf8(chunk.text().to_vec()).unwrap())
        .collect();
    (text, rendered)
}

const ALL_SERIES: SeriesOptions = SeriesOptions {
    by_model: true,
    by_api_key: false,
    by_user: None,
    max_series: 200_000,
};

async fn fixture() -> WatcherFixture {
    let mut world = World::empty();
    for (n, usd) in ["5", "30", "1", "20"].iter().enumerate() {
        let id = format!("workspace_{n}");
        world.add_workspace(&id, &format!("Name {n}"));
        for model in ["claude-haiku-4-5", "claude-sonnet-4-5"] {
            world.spend(&id, model, at("2026-11-24T09:00:00Z"), usd);
        }
    }
    WatcherFixture::new(world, "2026-11-24T10:05:00Z").await
}

#[tokio::test]
async fn without_by_model_the_series_are_summed() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let shape = SeriesOptions {
        by_model: false,
        ..ALL_SERIES
    };
    let (text, _) = gauges(&mut Renderer::default(), &watcher, shape);
    let series =
        "{organization=\"acme\",workspace_id=\"workspace_1\",workspace=\"Name 1\",model=\"\"}";
    assert_eq!(
        value(&text, &format!("anthropic_spend_today_usd{series}")),
        "60"
    );
}

#[tokio::test]
async fn the_smallest_beyond_max_series_are_summed_and_shown_series_stay() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let mut renderer = Renderer::default();
    let spend = |text: &str| -> Vec<String> {
        let is_month =
            |line: &&str| line.starts_with("anthropic_spend_month_usd") && line.contains("haiku");
        let id = |line: &str| {
            line.split('"').nth(3).unwrap().to_owned() + line.rsplit_once('}').unwrap().1
        };
        text.lines().filter(is_month).map(id).collect()
    };
    let (whole, _) = gauges(&mut renderer, &watcher, ALL_SERIES);
    assert_eq!(spend(&whole).len(), 4);
    // Space for one workspace besides the remainder.
    let narrow = SeriesOptions {
        max_series: 4 + n_remainder_series(&whole),
        ..ALL_SERIES
    };
    let (cut, rendered) = gauges(&mut renderer, &watcher, narrow);
    assert_eq!(spend(&cut), ["workspace_1 30", "other 26"]);
    assert!(rendered.n_dropped.values().all(|n| *n > 0) && !rendered.n_dropped.is_empty());
    // Another workspace becomes the largest: the shown one stays, and the new one does not fit.
    let now = at("2026-11-24T10:01:00Z");
    fixture
        .simulator
        .world()
        .spend("workspace_2", "claude-haiku-4-5", now, "500");
    fixture.cycle_after(5, &mut watcher).await;
    let (cut, _) = gauges(&mut renderer, &watcher, narrow);
    assert_eq!(spend(&cut), ["workspace_1 30", "other 526"]);
}

/// Returns the number of month spend series of the remainder.
fn n_remainder_series(text: &str) -> usize {
    let is_rest = |line: &&str| {
        line.starts_with("anthropic_spend_month_usd") && line.contains("unattributed\",workspace")
    };
    text.lines().filter(is_rest).count()
}

#[tokio::test]
async fn unchanged_gauges_are_not_rendered_again() {
    let fixture = fixture().await.with_rule(month_rule_of_workspaces(50));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    assert!(watcher.has_view_changed, "opened");
    let mut renderer = Renderer::default();
    for _ in 0..2 {
        fixture.cycle_after(5, &mut watcher).await;
        assert!(watcher.has_view_changed, "the time of the data");
        watcher.has_view_changed = false;
        let (before, _) = gauges(&mut renderer, &watcher, ALL_SERIES);
        watcher.decide_between_cycles().await.unwrap();
        assert!(!watcher.has_view_changed);
        let (after, _) = gauges(&mut renderer, &watcher, ALL_SERIES);
        assert_eq!(after, before);
    }
    let mut settings = watcher.settings.clone();
    settings.policy.rules.clear();
    watcher.reconfigure(settings).await.unwrap();
    assert!(watcher.has_view_changed, "reconfigured");
    watcher.has_view_changed = false;
    watcher.decide_between_cycles().await.unwrap();
    assert!(watcher.has_view_changed, "its measurements");
}

#[tokio::test]
async fn unread_parts_have_no_series() {
    let fixture = fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("usage"),
        ServerFault::Status(400, String::new(), None),
    );
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let (text, _) = gauges(&mut Renderer::default(), &watcher, ALL_SERIES);
    let of_usage: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("anthropic_"))
        .collect();
    assert_eq!(of_usage, Vec::<&str>::new());
}

#[tokio::test]
async fn an_organization_whose_store_fails_is_not_up_and_keeps_its_figures() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let published = PublishedState::default();
    published.set_gauges(
        &organization(),
        gauges(&mut Renderer::default(), &watcher, ALL_SERIES).1,
    );
    let shown = || {
        let pieces =
            published
                .exposition()
                .response_chunks(String::new(), ExpositionFormat::Text, false);
        String::from_utf8(pieces.concat()).unwrap()
    };
    let before = shown();
    published.record_failure(
        &organization(),
        "the disk is full".to_owned(),
        fixture.now(),
    );
    let up = "spendwatch_organization_up{organization=\"acme\"}";
    assert_eq!(value(&before, up), "1");
    assert_eq!(
        shown(),
        before.replace(&format!("{up} 1"), &format!("{up} 0"))
    );
}

/// Covers the series that the guide dialect does not have.
#[tokio::test]
async fn promtool_parses_the_metrics_of_the_real_api() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let limit = RateLimit {
        group: "claude \"opus\"".to_owned(),
        limiter: "requests_per_minute".to_owned(),
        value: 50,
    };
    watcher.listings.rate_limits.insert(None, vec![limit]);
    let view = View {
        dialect: Some(Dialect::Analytics),
        billed_until: Some(fixture.now()),
        unpriced: [("claude-new".into(), 7)].into(),
        ..watcher.view()
    };
    let shape = SeriesOptions {
        by_api_key: true,
        by_user: Some(UserNaming::Email),
        ..ALL_SERIES
    };
    let published = PublishedState::default();
    published.set_gauges(
        &organization(),
        Renderer::default().render(&view, shape, true),
    );
    let pieces =
        published
            .exposition()
            .response_chunks(String::new(), ExpositionFormat::Text, false);
    let metrics = String::from_utf8(pieces.concat()).unwrap();
    for series in [
        "anthropic_organization_estimated_spend_month_usd{organization=\"acme\"} 0",
        "anthropic_cache_savings_month_usd{organization=\"acme\",workspace_id=\"workspace_0\",workspace=\"Name 0\",model=\"claude-haiku-4-5\"} 0",
        "anthropic_api_key_spend_month_usd{organization=\"acme\",workspace_id=\"workspace_1\",api_key_id=\"unattributed\",api_key=\"unattributed\"} 60",
        "anthropic_user_spend_month_usd{organization=\"acme\",user_id=\"unattributed\",user=\"unattributed\"} 112",
        "anthropic_rate_limit{organization=\"acme\",workspace_id=\"\",model_group=\"claude \\\"opus\\\"\",limiter=\"requests_per_minute\"} 50",
        "spendwatch_billed_timestamp_seconds{organization=\"acme\"} 1795514700.000",
        "spendwatch_reconciliation_billed_usd{organization=\"acme\"} 112",
        "spendwatch_unpriced_tokens_month{organization=\"acme\",model=\"claude-new\"} 7",
    ] {
        assert!(
            metrics.lines().any(|line| line == series),
            "no {series} in\n{metrics}"
        );
    }
    check_with_promtool(&metrics);
}

/// Skipped without promtool; `scripts/test` reports it.
fn check_with_promtool(metrics: &str) {
    let Some(promtool) = std::env::var_os("SPENDWATCH_TEST_PROMTOOL") else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && log.trim().is_empty(), "{log}");
}

#[tokio::test]
async fn the_gauges_of_a_small_organization() {
    let mut world = World::empty();
    world.usage_limit = Some("1000".to_owned());
    for (id, name) in [("workspace_a", "Alpha"), ("workspace_b", "B \"x\"\\\n")] {
        world.add_workspace(id, name);
        world.spend(id, "claude-sonnet-4-5", at("2026-11-23T09:00:00Z"), "40");
    }
    world.workspace_mut("workspace_a").monthly_limit = Some("50".to_owned());
    world.spend(
        "workspace_a",
        "claude-haiku-4-5",
        at("2026-11-24T09:10:00Z"),
        "0.000001",
    );
    world.spend("", "claude-haiku-4-5", at("2026-11-24T09:10:00Z"), "2.5");
    let fixture = WatcherFixture::new(world, "2026-11-24T10:15:00Z").await;
    let fixture = fixture.with_rule(month_rule_of_workspaces(50));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let (text, _) = gauges(&mut Renderer::default(), &watcher, ALL_SERIES);
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn case_33_after_a_rename_no_series_has_the_old_name() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let mut renderer = Renderer::default();
    fixture.cycle(&mut watcher).await;
    let (before, _) = gauges(&mut renderer, &watcher, ALL_SERIES);
    assert!(before.contains("workspace=\"Name 1\""));
    fixture
        .simulator
        .world()
        .workspace_mut("workspace_1")
        .name
        .replace_range(.., "Other");
    fixture.cycle_after(15, &mut watcher).await;
    let (after, _) = gauges(&mut renderer, &watcher, ALL_SERIES);
    assert!(!after.contains("Name 1"), "{after}");
    assert_eq!(
        after.replace("\"Other\"", "\"Name 1\"").lines().count(),
        before.lines().count()
    );
}

#[tokio::test]
async fn the_last_hour_of_the_organization_stays_while_a_part_is_stale() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    let mut last_hour = async |minutes| {
        fixture.cycle_after(minutes, &mut watcher).await;
        let (text, _) = gauges(&mut Renderer::default(), &watcher, ALL_SERIES);
        let series = "anthropic_organization_spend_last_hour_usd{organization=\"acme\"}";
        value(&text, series)
    };
    // 09:00 to 10:00, when each workspace had spend.
    assert_eq!(last_hour(10).await, "112");
    let fault = ServerFault::Status(400, "{}".into(), None);
    fixture
        .simulator
        .inject_fault(FaultTarget::usage_of("workspace_1"), fault);
    let spend = |usd: &str| {
        let mut world = fixture.simulator.world();
        world.spend(
            "workspace_0",
            "claude-haiku-4-5",
            at("2026-11-24T10:30:00Z"),
            usd,
        );
    };
    spend("3");
    assert_eq!(last_hour(60).await, "112", "not the sum of two hours");
    fixture.simulator.clear_faults();
    assert_eq!(last_hour(5).await, "3");
}
