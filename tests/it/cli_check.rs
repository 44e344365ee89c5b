//! `check` over rules: with a store and without, beside a daemon, and as what sends.

use std::fs;

use serde_json::{Value, json};
use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;

use crate::program::{Home, Program, month_rule, write_secret};
use crate::receiver::{Answer, Receiver};

const MODEL: &str = "claude-sonnet-4-5";

/// Two workspaces: Alpha has spent 120 and Beta 30, two minutes ago at most.
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

fn standing(rows: &Value) -> Vec<(String, String, String)> {
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
async fn without_a_store_it_polls_evaluates_and_leaves_nothing() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &rule("patient", "10", "for = \"1h\"")),
    );
    let before = files(&home);
    let rows = home.json(2, &["check", "--all"]);
    assert_eq!(
        standing(&rows),
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
    assert_eq!(simulator.n_not_get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_shows_what_is_crossed_and_of_each_rule_the_nearest() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &rule("month", "1000", ""));
    let output = home.command(&["check"]);
    let (table, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{said}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[1].contains("Alpha") && lines[1].contains("12.0"),
        "{table}"
    );
    assert_eq!(
        said,
        "0 of 3 measured fire; 2 quiet ones are not listed, `--all` lists them\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_daemon_it_sees_what_fires_and_changes_nothing() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &month_rule("100"));
    let mut daemon = Program::run(&home);
    daemon.wait_for_output("month");
    let told = |home: &Home| home.json(0, &["notifications", "list"]);
    assert_eq!(told(&home).as_array().unwrap().len(), 1);
    let rows = home.json(2, &["check"]);
    assert_eq!(standing(&rows), expected(&[["month", "acme", "firing"]]));
    assert_eq!(told(&home).as_array().unwrap().len(), 1);
    let sent = home.command(&["check", "--notify"]);
    let said = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(1), "{said}");
    assert!(said.contains("held by process"), "{said}");
}

/// A notifier at a receiver whose URL is a secret.
fn hook(home: &Home, receiver: &Receiver) -> String {
    let url = home.path("url");
    write_secret(&url, &receiver.url);
    format!(
        "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = {{ file = \"{}\" }}\n",
        url.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_tells_once_over_many_runs() {
    let (simulator, receiver) = (simulator().await, Receiver::start(|_| None).await);
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &hook(&home, &receiver)),
    );
    for _ in 0..2 {
        let rows = home.json(2, &["check", "--notify"]);
        assert_eq!(standing(&rows)[0].2, "firing");
        assert_eq!(receiver.posts().len(), 1);
    }
    let delivered = home.json(0, &["notifications", "list", "--state", "delivered"]);
    assert_eq!(delivered.as_array().unwrap().len(), 1);
    assert_eq!(simulator.n_not_get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_said_and_waits() {
    let (simulator, receiver) = (simulator().await, Receiver::start(|_| None).await);
    let home = Home::new();
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &hook(&home, &receiver)),
    );
    receiver.answer(Answer::Reply(503, Vec::new(), String::new()));
    let failed = home.command(&["check", "--notify"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`hook`: 1 message waits") && said.contains("503"),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");
    let n_of = |state: &str| {
        let listed = home.json(0, &["notifications", "list", "--state", state]);
        listed.as_array().unwrap().len()
    };
    assert_eq!((n_of("waiting"), n_of("dead")), (1, 0));
    // Its notifier is taken out of the configuration.
    home.configure(&simulator, &rule("month", "1000", ""));
    let known = home.command(&["check", "--notify"]);
    let said = String::from_utf8(known.stderr).unwrap();
    assert!(
        said.contains("notifier `hook`, which is not configured any more"),
        "{said}"
    );
    assert_eq!((n_of("waiting"), n_of("dead")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_secret_is_gone_is_told_before_anything_is_decided() {
    let simulator = simulator().await;
    let receiver = Receiver::start(|_| None).await;
    let home = Home::new();
    // A command's secret is asked for when it is needed, not when the file is checked.
    let hook =
        "[[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = { command = [\"false\"] }\n";
    home.configure(&simulator, &(rule("month", "100", "") + hook));
    let failed = home.command(&["check", "--notify"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("notifier `hook`"), "{said}");
    assert_eq!(simulator.n_seen(), 0, "nothing was polled");
    home.configure(
        &simulator,
        &(rule("month", "100", "") + &self::hook(&home, &receiver)),
    );
    home.json(2, &["check", "--notify"]);
    assert_eq!(receiver.posts().len(), 1, "and nothing was decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_poll_is_not_quiet_and_what_fires_still_fires() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, &rule("month", "100", ""));
    let refuse = |workspace| {
        let fault = Fault::Status(400, "{}".into(), None);
        simulator.fail(FaultOn::usage_of(workspace), fault);
    };
    refuse("workspace_a");
    let output = home.command(&["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2 of 3 parts could be read"), "{said}");
    simulator.heal();
    refuse("workspace_b");
    assert_eq!(home.command(&["check"]).status.code(), Some(2));
}

#[test]
fn what_it_cannot_do_is_one_and_says_what_to_do() {
    let home = Home::new();
    let config = home.path("spendwatch.toml");
    let organization = "[[organizations]]\nadmin_key = \"canary-0004\"\n[poll]\n";
    let check = |text: &str, arguments: &[&str], expected: &str| {
        fs::write(&config, format!("{organization}{text}")).unwrap();
        let output = home.command(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(expected) && !said.contains("canary"),
            "{said}"
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
    check("nope = 1\n", &["check"], "`poll.nope` is an unknown key");
}
