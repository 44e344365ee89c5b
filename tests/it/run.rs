//! `run` from outside: start, reload, rejected keys, unresponsive servers, and shutdown.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use spendwatch_base::clock::Clock;
use spendwatch_config::source::Environment;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::program::{Home, Program, get, month_rule, post_reload, send_request, write_secret};

/// An organization with spend today.
async fn simulator(usd: &str) -> Simulator {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), usd);
    Simulator::start(world, clock).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_alone_is_enough() {
    let simulator = simulator("120.5").await;
    let home = Home::new();
    let (url, key) = (simulator.base_url(), simulator.key());
    let environment = [
        ("ANTHROPIC_ADMIN_KEY", key.expose()),
        ("SPENDWATCH_BASE_URL", url.as_str()),
        ("SPENDWATCH_MONTHLY_LIMIT_USD", "100"),
        ("SPENDWATCH__HTTP__LISTEN", "127.0.0.1:0"),
    ];
    let mut program = Program::start(&home, &["run"], &environment);
    let address = program.address();
    assert!(get(&address, "/-/healthy").starts_with("HTTP/1.1 200"));
    program.wait_for_output("Critical: default is");
    program.signal("TERM");
    let (status, said) = program.ended();
    assert_eq!(status.code(), Some(0));
    assert!(!said.join("\n").contains(key.expose()), "{said:?}");
    let seen = simulator.requests();
    assert!(seen.iter().all(|seen| seen.method == "GET"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_reports_the_state_of_each_organization() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    simulator.inject_fault(FaultTarget::everything(), ServerFault::Stall);
    let mut program = Program::run(&home);
    let address = program.address();
    let before = get(&address, "/readyz");
    assert!(before.starts_with("HTTP/1.1 503"), "{before}");
    assert!(before.contains(r#""state":"starting""#), "{before}");
    simulator.clear_faults();
    program.wait_for("cycle ok");
    let after = get(&address, "/-/ready");
    assert!(after.starts_with("HTTP/1.1 200"), "{after}");
    assert!(after.contains(r#""state":"ok""#), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_works_even_if_the_configuration_file_became_invalid() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    let address = program.address();
    let healthcheck = |listen: Option<&str>| {
        let asked = Program::start(
            &home,
            &["healthcheck", "--config", "spendwatch.toml"],
            &listen.map_or(vec![], |listen| vec![("SPENDWATCH__HTTP__LISTEN", listen)]),
        );
        asked.ended().0.code()
    };
    assert_eq!(healthcheck(Some(&address)), Some(0));
    fs::write(home.path("spendwatch.toml"), "[[organizations").unwrap();
    assert_eq!(healthcheck(Some(&address)), Some(0));
    assert_eq!(healthcheck(None), Some(2));
    program.kill();
    assert_eq!(healthcheck(Some(&address)), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_41_a_second_daemon_on_one_store_is_rejected_with_the_process_id() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut first = Program::run(&home);
    first.address();
    let (status, said) = Program::run(&home).ended();
    assert_eq!(status.code(), Some(1));
    let holder = format!("in use by process {}", first.id());
    assert!(said.join("\n").contains(&holder), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_and_the_store_is_released() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let listen = [("SPENDWATCH__HTTP__LISTEN", address.as_str())];
    let (status, said) = Program::start(&home, &arguments, &listen).ended();
    assert_eq!(status.code(), Some(1));
    let said = said.join("\n");
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    let config = spendwatch_config::load(Some(&config), &Environment::new()).unwrap();
    Store::open_for_daemon(&config.store.path, Clock::system().now()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_removed_notifiers_become_dead_letters() {
    let simulator = simulator("50").await;
    let home = Home::new();
    let hook = "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"\ngroup_wait = \"0s\"\n";
    home.configure(
        &simulator,
        &format!("[[rules]]\nname = \"month\"\nlimit_usd = 40\n{hook}"),
    );
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("waits until");
    home.configure(&simulator, &month_rule("40"));
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    program.wait_for(
        "1 message for notifier `hook`, which is no longer configured, became a dead letter",
    );
    program.wait_for_output("Critical: acme is");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_name_their_organization_once() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let fault = ServerFault::Status(400, "{}".to_owned(), None);
    simulator.inject_fault(FaultTarget::endpoint("usage"), fault);
    let mut program = Program::run(&home);
    program.wait_for("GET /v1/usage");
    program.wait_for("cycle ");
    let of_service = program
        .lines
        .iter()
        .filter(|line| line.contains("GET /v1/"));
    for line in of_service {
        assert_eq!(line.matches("acme").count(), 1, "{line}");
    }
    let cycles = program.lines.iter().filter(|line| line.contains("cycle "));
    for line in cycles {
        assert_eq!(line.matches("acme").count(), 1, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_request_limit_no_higher_limit_is_advised() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    simulator.inject_fault(FaultTarget::endpoint("usage"), ServerFault::Stall);
    let mut program = Program::run(&home);
    let line = program.wait_for("a cycle needs 2 requests");
    assert!(
        line.contains("poll less often") && !line.contains("max_requests_per_minute"),
        "{line}"
    );
}

#[test]
fn unknown_log_levels_are_rejected() {
    let home = Home::new();
    let key = [("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")];
    let (status, said) = Program::start(&home, &["run", "--log-level", "inof"], &key).ended();
    assert_eq!(status.code(), Some(2));
    assert!(said.join("\n").contains("did you mean `info`?"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_key_is_logged_once_and_a_new_key_is_used_without_a_restart() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    write_secret(&home.path("key"), "sk-ant-admin-canary-revoked");
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle failed");
    let refused: Vec<&String> = program
        .lines
        .iter()
        .filter(|line| line.contains("401"))
        .collect();
    assert_eq!(refused.len(), 1, "{:?}", program.lines);
    let ready = get(&address, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("401"),
        "{ready}"
    );
    write_secret(&home.path("key"), simulator.key().expose());
    program.wait_for("cycle ok");
    assert!(
        !program.lines.join("\n").contains("canary"),
        "{:?}",
        program.lines
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn case_40_a_failed_reload_changes_nothing_and_names_the_location() {
    let simulator = simulator("50").await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("100"));
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle ok");
    let bad = format!(
        "{}[[rules]]\nname = \"other\"\nlimit_usd = 1\nnotify = [\"consol\"]\n",
        month_rule("10")
    );
    home.configure(&simulator, &bad);
    let answer = post_reload(&address);
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(
        answer.contains("is `consol`, which is not a notifier: ")
            && answer.contains("spendwatch.toml:")
            && answer.contains("; did you mean `console`?"),
        "{answer}"
    );
    let metrics = get(&address, "/metrics");
    assert!(
        metrics.contains("spendwatch_config_last_reload_successful 0"),
        "{metrics}"
    );
    program.wait_for("cycle ok");
    assert_eq!(program.output(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successful_reload_is_evaluated_immediately() {
    let simulator = simulator("50").await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("1000"));
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle ok");
    home.configure(&simulator, &month_rule("40"));
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    program.wait_for_output("Critical: acme is");
    home.configure(&simulator, &month_rule("60"));
    program.signal("HUP");
    program.wait_for("configuration reloaded");
    program.wait_for_output("Resolved: acme, ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_cuts_short_a_blocked_cycle() {
    for endpoint in ["organizations", "workspaces", "usage"] {
        check_cut_short(endpoint).await;
    }
}

async fn check_cut_short(endpoint: &'static str) {
    let simulator = simulator("50").await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("1000"));
    simulator.inject_fault(FaultTarget::endpoint(endpoint), ServerFault::Stall);
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let yearly = [("SPENDWATCH__POLL__SCHEDULE", "0 0 0 1 1 *")];
    let mut program = Program::start(&home, &arguments, &yearly);
    let address = program.address();
    while !program.lines.iter().any(|line| line.contains("cut short")) {
        assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
        program.wait_for("configuration reloaded");
    }
    simulator.clear_faults();
    program.wait_for("cycle ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_origin_reloads_are_rejected() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    let address = program.address();
    let rebound = "POST /-/reload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0";
    assert!(send_request(&address, rebound).starts_with("HTTP/1.1 403"));
    let crossed = format!(
        "POST /-/reload HTTP/1.1\r\nHost: {address}\r\nOrigin: http://evil.example\r\nContent-Length: 0"
    );
    assert!(send_request(&address, &crossed).starts_with("HTTP/1.1 403"));
    assert!(get(&address, "/-/reload").starts_with("HTTP/1.1 405"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_are_rejected() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    let address = program.address();
    let many: String = (0..100).map(|n| format!("\r\nX-{n}: y")).collect();
    let answer = send_request(
        &address,
        &format!("GET /metrics HTTP/1.1\r\nHost: {address}{many}"),
    );
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresponsive_server_does_not_delay_shutdown() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(&simulator, "");
    simulator.inject_fault(FaultTarget::everything(), ServerFault::Stall);
    let mut program = Program::run(&home);
    program.address();
    let clock = Clock::system();
    program.signal("INT");
    let (status, _) = program.ended();
    assert_eq!(status.code(), Some(0));
    assert!(clock.monotonic() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_resumes_and_repeats_nothing() {
    let simulator = simulator("50").await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("40"));
    let config = home.path("spendwatch.toml");
    let arguments = [
        "run",
        "--log-level",
        "debug",
        "--config",
        config.to_str().unwrap(),
    ];
    let mut program = Program::start(&home, &arguments, &[]);
    program.wait_for_output("Critical: acme is");
    program.wait_for(" delivered");
    program.kill();
    let mut program = Program::run(&home);
    program.wait_for("cycle ok");
    program.signal("TERM");
    program.wait_for("stopping");
    assert_eq!(program.output(), Vec::<String>::new());
}

#[test]
fn an_invalid_configuration_reports_all_errors_and_starts_nothing() {
    let home = Home::new();
    fs::write(
        home.path("spendwatch.toml"),
        "[pol]\n[http]\nlisten = \"nowhere\"\n",
    )
    .unwrap();
    let (status, said) = Program::run(&home).ended();
    assert_eq!(status.code(), Some(2));
    let said = said.join("\n");
    for expected in [
        "`pol`",
        "did you mean `poll`?",
        "`http.listen` is `nowhere`",
        "spendwatch.toml:3",
        "`organizations` is missing",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!home.path("spendwatch.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_org_only_that_organization_is_watched_even_after_a_reload() {
    let simulator = simulator("1").await;
    let home = Home::new();
    home.configure(
        &simulator,
        "[[organizations]]\nname = \"other\"\nbase_url = \"http://127.0.0.1:9\"\nadmin_key = \"x\"\n",
    );
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap(), "--org"];
    let wrong = Program::start(&home, &[&arguments[..], &["othr"]].concat(), &[]);
    let (status, said) = wrong.ended();
    assert_eq!(status.code(), Some(2));
    assert!(said[0].contains("did you mean `other`?"), "{said:?}");
    let mut program = Program::start(&home, &[&arguments[..], &["acme"]].concat(), &[]);
    let address = program.address();
    program.wait_for("cycle ok");
    for _ in 0..2 {
        let ready = get(&address, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        assert!(
            ready.contains("acme") && !ready.contains("other"),
            "{ready}"
        );
        assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    }
}
