//! The binary as seen by a user.

use std::process::{Command, Output};

use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
    command
        .args(arguments)
        .env_remove("SPENDWATCH_CONFIG")
        .env_remove("ANTHROPIC_ADMIN_KEY");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_command_help_has_example() {
    for command in ["check", "check-config", "init", "completions"] {
        let help = text(&run(&[command, "--help"], &[]).stdout);
        assert!(help.contains("Example: spendwatch"), "{command}: {help}");
    }
}

#[test]
fn missing_configuration_names_both_options() {
    let output = run(&["check", "--limit", "5"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("ANTHROPIC_ADMIN_KEY") && stderr.contains("--config"),
        "{stderr}"
    );
}

#[test]
fn local_file_is_read_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("SPENDWATCH_CONFIG")
            .env_remove("ANTHROPIC_ADMIN_KEY")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, stderr) = here(&["init"], &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("run `spendwatch check-config`\n"),
        "{stderr}"
    );
    assert_eq!(here(&["init"], &[]).0, Some(1));
    let (code, stderr) = here(&["check-config"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("./spendwatch.toml:"), "{stderr}");
    // Explicitly named files take precedence.
    std::fs::write(folder.path().join("other.toml"), "[nonsense]\n").unwrap();
    for (arguments, environment) in [
        (&["check-config", "--config", "other.toml"][..], &[][..]),
        (&["check-config"], &[("SPENDWATCH_CONFIG", "other.toml")]),
    ] {
        let (_, stderr) = here(arguments, environment);
        assert!(stderr.contains("other.toml:1"), "{stderr}");
    }
    let file = folder.path().join("spendwatch.toml");
    // Only root can change the owner of a file.
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
        let (code, stderr) = here(&["check-config"], &[]);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("owned by user 12345"), "{stderr}");
        let (_, stderr) = here(&["check-config", "--config", "spendwatch.toml"], &[]);
        assert!(stderr.contains("spendwatch.toml:"), "{stderr}");
    }
}

#[test]
fn init_writes_valid_file_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spendwatch.toml");
    let name = file.to_str().unwrap();
    assert!(run(&["init", name], &[]).status.success());
    assert_eq!(run(&["init", name], &[]).status.code(), Some(1));
    let good = run(
        &["check-config", "--config", name],
        &[("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")],
    );
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let bad = run(&["check-config", "--config", name], &[]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(
        text(&bad.stderr).contains("environment variable `ANTHROPIC_ADMIN_KEY` is not set"),
        "{}",
        text(&bad.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_limit_compares_month_and_only_reads() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.spend("", "claude-sonnet-4-5", clock.now(), "120.5");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let (url, key) = (simulator.base_url(), simulator.key());
    let environment = [
        ("ANTHROPIC_ADMIN_KEY", key.expose()),
        ("SPENDWATCH_BASE_URL", url.as_str()),
    ];
    let over = run(&["check", "--limit", "100"], &environment);
    assert_eq!(over.status.code(), Some(2), "{}", text(&over.stderr));
    assert!(text(&over.stdout).contains("month to date $120.50, limit $100.00, 20.5% over"));
    assert_eq!(
        run(&["check", "--limit", "500"], &environment)
            .status
            .code(),
        Some(0)
    );
    assert!(simulator.requests().iter().all(|seen| seen.method == "GET"));
    let refused = [
        ("ANTHROPIC_ADMIN_KEY", "canary-wrong-key"),
        ("SPENDWATCH_BASE_URL", url.as_str()),
    ];
    let output = run(&["check", "--limit", "500"], &refused);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        !text(&output.stderr).contains("canary"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn usage_errors_of_check_exit_with_1() {
    assert_eq!(
        run(&["check", "--limit", "abc"], &[]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(&["--config", "a.toml", "check"], &[]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(&["--config", "check", "init", "--nope"], &[])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(run(&["checkk"], &[]).status.code(), Some(2));
    assert_eq!(run(&["--help"], &[]).status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn full_or_closed_stdout_does_not_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command
        .args(["completions", "bash"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("error: cannot write"),
        "{}",
        text(&output.stderr)
    );
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
    let output = command
        .args(["completions", "bash"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn organization_over_limit_is_reported_despite_unknown_other() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.spend("", "claude-sonnet-4-5", clock.now(), "120.5");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    let organization = |name: &str, variable: &str| {
        format!(
            "[[organizations]]\nname = \"{name}\"\nbase_url = \"{}\"\nadmin_key = {{ env = \"{variable}\" }}\n",
            simulator.base_url()
        )
    };
    std::fs::write(
        &file,
        organization("bad", "BAD") + &organization("good", "GOOD"),
    )
    .unwrap();
    let (key, name) = (simulator.key(), file.to_str().unwrap());
    let environment = [("BAD", "canary-wrong-key"), ("GOOD", key.expose())];
    let over = run(&["check", "--limit", "100", "--config", name], &environment);
    assert_eq!(over.status.code(), Some(2), "{}", text(&over.stderr));
    assert!(text(&over.stdout).starts_with("good: month to date $120.50"));
    let below = run(&["check", "--limit", "500", "--config", name], &environment);
    assert_eq!(below.status.code(), Some(1), "what is unknown is not quiet");
}

#[test]
fn notify_test_sends_test_message_and_suggests_names() {
    let environment = [("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")];
    let sent = run(&["notify", "test", "console"], &environment);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    assert!(
        text(&sent.stdout).starts_with("Info: workspace TEST, sent by"),
        "{}",
        text(&sent.stdout)
    );
    let unknown = run(&["notify", "test", "consol"], &environment);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("did you mean `console`?"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn check_selects_organization() {
    let environment = [("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")];
    let output = run(&["check", "--limit", "5", "--org", "defalt"], &environment);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("no organization `defalt`; did you mean `default`?"),
        "{stderr}"
    );
}
