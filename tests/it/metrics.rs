//! `/metrics` of a running daemon: real parsers, both formats, and sums that are the organization's.

use std::io::Write;
use std::process::{Command, Stdio};

use spendwatch::clock::Clock;
use spendwatch::metrics::chunk::gunzip;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;

use crate::program::{Home, Program, ask, get, month_rule};

/// What stands after the head of an answer.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn value(metrics: &str, series: &str) -> String {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_parsed_by_promtool_and_sums_to_the_whole() {
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
    let answer = get(&address, "/metrics");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{answer}"
    );
    let metrics = body(&answer);
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
    let open = ask(
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

#[test]
fn gzip_of_nothing_is_an_error_and_no_panic() {
    assert!(gunzip(b"").is_err());
}

/// Left out where there is no promtool; `scripts/test` says so.
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
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
