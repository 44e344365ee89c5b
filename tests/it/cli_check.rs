//! `check` with rules: with and without a store, beside a daemon, and with `--notify`.

use std::fs;

use serde_json::{Value, json};
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;

use crate::program::{Home, Program, month_rule, write_secret};
use crate::receiver::{Answer, Receiver};

const MODEL: &str = "claude-sonnet-4-5";

/// Two workspaces: Alpha spent 120 and Beta 30 within the last two minutes.
async fn simulator() -> Simulator {
    let clock = Clock::system();
    let mut world = World::empty();
    for (id, name, usd) in [
        ("workspace_a", "Alpha", "120.000001"),
        ("workspace_b", "Beta", "30"),
    ] {
        world.add_workspace(id, name);
        world.spend(id, MODEL, clock.now(), usd);
    }
    Simulator::start(world, clock).await.unwrap()
}

fn rule(name: &str, limit: &str, rest: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\nfor_each = \"workspace\"\nlimit_usd = {limit}\n{rest}\n")
}

fn statuses(rows: &Value) -> Vec<(String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (text(row, "rule"), text(row, "subject"), text(row, "state")))
        .collect()
}

fn expected(rows: &[[&str; 3]]) -> Vec<(String, String, String)> {
    rows.iter()
        .map(|[rule, subject, state]| (rule.to_string(), subject.to_string(), state.to_string()))
        .collect()
}

fn files(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn without_store_leaves_no_files() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &rule("patient", "10", "for = \"1h\"")),
    );
    let before = files(&home);
    let rows = home.json(2, &["check", "--all"]);
    assert_eq!(
        statuses(&rows),
        expected(&[
            ["month", "Alpha", "firing"],
            ["patient", "Alpha", "pending"],
            ["patient", "Beta", "pending"],
            ["month", "Beta", "quiet"],
            ["month", "unattributed", "quiet"],
            ["patient", "unattributed", "quiet"],
        ])
    );
    let first = &rows[0];
    assert_eq!(
        (&first["value"], &first["limit"], &first["used_percent"]),
        (&json!("120.000001"), &json!("100"), &json!("120.0"))
    );
    assert_eq!(
        (
            &first["severity"],
            &first["is_lower_bound"],
            &first["organization"]
        ),
        (&json!("critical"), &json!(false), &json!("acme"))
    );
    assert_eq!(files(&home), before);
    assert_eq!(simulator.n_writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_shows_crossed_and_nearest_subjects() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &rule("month", "1000", ""));
    let output = home.command(&["check"]);
    let (table, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[1].contains("Alpha") && lines[1].contains("12.0"),
        "{table}"
    );
    assert_eq!(
        stderr,
        "0 of 3 measured fire; 2 quiet ones not shown; pass `--all` to show them\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_daemon_reads_without_changes() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("100"));
    let mut daemon = Program::run(&home);
    daemon.wait_for_output("month");
    let result = |home: &Home| home.json(0, &["notifications", "list"]);
    assert_eq!(result(&home).as_array().unwrap().len(), 1);
    let rows = home.json(2, &["check"]);
    assert_eq!(statuses(&rows), expected(&[["month", "acme", "firing"]]));
    assert_eq!(result(&home).as_array().unwrap().len(), 1);
    let sent = home.command(&["check", "--notify"]);
    let stderr = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("in use by process"), "{stderr}");
}

/// Configuration of a webhook notifier with a secret URL.
fn hook(home: &Home, receiver: &Receiver) -> String {
    let url = home.path("url");
    write_secret(&url, &receiver.url);
    format!(
        "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = {{ file = \"{}\" }}\n",
        url.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_sends_once_over_many_runs() {
    let (simulator, receiver) = (simulator().await, Receiver::start(|_| None).await);
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &hook(&home, &receiver)),
    );
    for _ in 0..2 {
        let rows = home.json(2, &["check", "--notify"]);
        assert_eq!(statuses(&rows)[0].2, "firing");
        assert_eq!(receiver.posts().len(), 1);
    }
    let delivered = home.json(0, &["notifications", "list", "--state", "delivered"]);
    assert_eq!(delivered.as_array().unwrap().len(), 1);
    assert_eq!(simulator.n_writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_messages_are_reported_and_wait() {
    let (simulator, receiver) = (simulator().await, Receiver::start(|_| None).await);
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &hook(&home, &receiver)),
    );
    receiver.answer(Answer::Reply(503, Vec::new(), String::new()));
    let failed = home.command(&["check", "--notify"]);
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("`hook`: 1 message is waiting") && stderr.contains("503"),
        "{stderr}"
    );
    assert!(!stderr.contains("canary"), "{stderr}");
    let n_of = |state: &str| {
        let listed = home.json(0, &["notifications", "list", "--state", state]);
        listed.as_array().unwrap().len()
    };
    assert_eq!((n_of("waiting"), n_of("dead")), (1, 0));
    // The notifier is removed from the configuration.
    home.configure(&simulator, &rule("month", "1000", ""));
    let known = home.command(&["check", "--notify"]);
    let stderr = String::from_utf8(known.stderr).unwrap();
    assert!(
        stderr.contains("notifier `hook`, which is no longer configured"),
        "{stderr}"
    );
    assert_eq!((n_of("waiting"), n_of("dead")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_notifier_secret_fails_before_evaluation() {
    let simulator = simulator().await;
    let receiver = Receiver::start(|_| None).await;
    let home = Home::new();
    // Secrets from commands are read when needed, not when the file is checked.
    let hook =
        "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = { command = [\"false\"] }\n";
    home.configure(&simulator, &(rule("month", "100", "") + hook));
    let failed = home.command(&["check", "--notify"]);
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("notifier `hook`"), "{stderr}");
    assert_eq!(simulator.n_requests(), 0, "nothing was polled");
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &self::hook(&home, &receiver)),
    );
    home.json(2, &["check", "--notify"]);
    assert_eq!(receiver.posts().len(), 1, "and nothing was decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_poll_is_not_quiet() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &rule("month", "100", ""));
    let refuse = |workspace| {
        let fault = ServerFault::Status(400, "{}".into(), None);
        simulator.inject_fault(FaultTarget::usage_of(workspace), fault);
    };
    refuse("workspace_a");
    let output = home.command(&["check"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("2 of 3 parts could be read"), "{stderr}");
    simulator.clear_faults();
    refuse("workspace_b");
    assert_eq!(home.command(&["check"]).status.code(), Some(2));
}

#[test]
fn errors_exit_with_1_and_suggest_fix() {
    let home = Home::new();
    let config = home.path("spendwatch.toml");
    let organization = "[[organizations]]\nadmin_key = \"canary-0004\"\n[poll]\n";
    let check = |text: &str, arguments: &[&str], expected: &str| {
        fs::write(&config, format!("{organization}{text}")).unwrap();
        let output = home.command(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(expected) && !stderr.contains("canary"),
            "{stderr}"
        );
    };
    check(
        "",
        &["check"],
        "has no rules; `check --limit USD` needs none",
    );
    let month = "[[rules]]\nname = \"m\"\nlimit_usd = 1\n";
    check(month, &["check", "--org", "acme"], "no organization `acme`");
    check(
        month,
        &["check", "--limit", "5", "--notify"],
        "cannot be used with",
    );
    check("nope = 1\n", &["check"], "unknown key `poll.nope`");
}
