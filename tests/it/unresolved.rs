//! Unresolved secrets stop only what needs them; secret commands get a minimal environment and a time limit.

use std::fs;
use std::process::{Command, Output};

use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::program::{Home, Program, send_request, write_secret};

/// A simulator, and a configuration with a valid key and unresolved other secrets.
struct Fixture {
    home: Home,
    simulator: Simulator,
}

const NOTIFIERS: &str = "[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { env = \"UNSET_URL\" }\n\
                         [[notifiers]]\nname = \"console\"\ntype = \"console\"\n";

const CONSOLE: &str = "[[notifiers]]\nname = \"console\"\ntype = \"console\"\n";

impl Fixture {
    async fn new(rest: &str) -> Fixture {
        let home = Home::new();
        let simulator = Simulator::start(World::empty(), Clock::system())
            .await
            .unwrap();
        home.configure(&simulator, rest);
        drop(Store::open_for_daemon(&home.path("spendwatch.db"), Clock::system().now()).unwrap());
        Fixture { home, simulator }
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(line.split_whitespace())
            .arg("--config")
            .arg(self.home.path("spendwatch.toml"))
            .current_dir(self.home.folder.path())
            .env_remove("UNSET_URL")
            .env_remove("UNSET_KEY")
            .env("UNLISTED", "canary-unlisted")
            .env("LISTED", "canary-listed")
            .env("TOKEN", "canary-of-19-charac")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn output(&self, exit: i32, line: &str) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.run(line);
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(exit), "{line}: {text}");
        text
    }

    fn change(&self, from: &str, to: &str) {
        let path = self.home.path("spendwatch.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresolved_notifier_stops_only_what_needs_it() {
    let rest = format!(
        "bearer_token = {{ file = \"no-such-file\" }}\n[heartbeat]\nurl = {{ env = \"UNSET_URL\" }}\n{NOTIFIERS}"
    );
    let fixture = Fixture::new(&rest).await;
    for line in [
        "users list",
        "keys list",
        "workspaces list",
        "usage",
        "usage --live",
        "alerts list",
        "notifications list",
        "silence add rule=a --for 1h --comment quiet",
        "silence list",
        "audit list",
        "audit verify",
        "audit anchor",
        "store check",
        "store backup b.db",
        "notify test console",
        "check --limit 5",
    ] {
        fixture.output(0, line);
    }
    for line in ["run", "check-config", "check-config --show"] {
        let output = fixture.output(2, line);
        assert!(
            output.contains("environment variable `UNSET_URL` is not set: `notifiers[0].url.env`"),
            "{output}"
        );
        assert!(output.contains("`http.bearer_token.file`, "), "{output}");
        assert!(output.contains("`heartbeat.url.env`"), "{output}");
        assert!(output.contains("spendwatch.toml:"), "{output}");
    }
    let output = fixture.output(2, "notify test chat");
    assert!(
        output.contains("environment variable `UNSET_URL` is not set: `notifiers[0].url.env`"),
        "{output}"
    );
    let output = fixture.output(1, "doctor");
    assert!(
        output.contains("environment variable `UNSET_URL` is not set: `notifiers[0].url.env`"),
        "{output}"
    );
    assert!(output.contains("bad      notifier chat"), "{output}");
    assert!(output.contains("ok       service acme"), "{output}");
    assert_eq!(fixture.simulator.n_writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_the_store_work_without_the_admin_key() {
    let fixture = Fixture::new("").await;
    let key = fixture.home.path("key").display().to_string();
    fixture.change(
        &format!("{{ file = \"{key}\" }}"),
        "{ env = \"UNSET_KEY\" }",
    );
    for line in [
        "usage",
        "alerts list",
        "silence list",
        "audit list",
        "store check",
    ] {
        fixture.output(0, line);
    }
    for line in ["users list", "usage --live", "org show"] {
        let output = fixture.output(2, line);
        assert!(
            output.contains(
                "environment variable `UNSET_KEY` is not set: `organizations[0].admin_key.env`"
            ),
            "{output}"
        );
    }
    fixture.output(1, "check --limit 5");
    let output = fixture.output(1, "doctor");
    assert!(
        output.contains("`organizations[0].admin_key.env`"),
        "{output}"
    );
    assert!(output.contains("ok       store"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_secret_affects_only_its_notifier() {
    let fixture = Fixture::new(
        "[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { file = \"url\" }\n",
    )
    .await;
    write_secret(&fixture.home.path("url"), "no address");
    fixture.output(0, "users list");
    let output = fixture.output(2, "check-config");
    assert!(
        output.contains("`notifiers[0].url` is not a URL"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_runs_all_secret_commands_and_others_only_their_own() {
    let rest = "[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { command = [\"sh\", \"-c\", \"touch ran; exit 3\"] }\n";
    let fixture = Fixture::new(rest).await;
    fixture.output(0, "users list");
    assert!(!fixture.home.path("ran").exists());
    let output = fixture.output(2, "check-config");
    assert!(
        output.contains("notifier `chat`: secret command `sh`: ended with exit status: 3"),
        "{output}"
    );
    assert!(fixture.home.path("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_commands_get_a_minimal_environment_and_listed_variables() {
    let fixture = Fixture::new("").await;
    let key = fixture.home.path("key").display().to_string();
    // Fails if it receives more or fewer variables.
    let script = "test -z \\\"$UNLISTED\\\" && test \\\"$LISTED\\\" = canary-listed && test -n \\\"$PATH\\\" && cat key; sleep 100 &";
    let command =
        format!("{{ command = [\"sh\", \"-c\", \"{script}\"], environment = [\"LISTED\"] }}");
    fixture.change(&format!("{{ file = \"{key}\" }}"), &command);
    fixture.output(0, "users list");
    let output = fixture.output(0, "check-config --show");
    assert!(output.contains("environment = [\"LISTED\"]"), "{output}");
    fixture.change("environment = [\"LISTED\"]", "environment = []");
    fixture.output(1, "users list");
    fixture.change("environment = []", "environment = [\"A=B\"]");
    let output = fixture.output(2, "users list");
    assert!(
        output.contains("is not a valid name of an environment variable"),
        "{output}"
    );
    fixture.change(
        &command.replace("[\"LISTED\"]", "[\"A=B\"]"),
        "{ command = [\"yes\"] }",
    );
    let output = fixture.output(1, "users list");
    assert!(
        output.contains("secret command `yes`: printed more than 64 KiB"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_to_command_gets_a_minimal_environment_and_listed_variables() {
    let fixture = Fixture::new("[secret_to_command]\nenvironment = [\"LISTED\"]\n").await;
    fixture
        .simulator
        .world()
        .add_workspace("workspace_a", "Alpha");
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(["keys", "create", "ci", "--workspace", "Alpha"])
        .args([
            "--secret-to-command",
            "cat > received; env > environment; cat received; sleep 100 &",
        ])
        .arg("--config")
        .arg(fixture.home.path("spendwatch.toml"))
        .current_dir(fixture.home.folder.path())
        .env("UNLISTED", "canary-unlisted")
        .env("LISTED", "canary-listed")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let secret = fs::read_to_string(fixture.home.path("received")).unwrap();
    assert!(fixture.simulator.world().secrets.contains(&secret));
    assert!(
        stderr.contains("[redacted]") && !stderr.contains(&secret),
        "{stderr}"
    );
    let environment = fs::read_to_string(fixture.home.path("environment")).unwrap();
    assert!(
        environment.contains("LISTED=canary-listed"),
        "{environment}"
    );
    assert!(!environment.contains("UNLISTED"), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_bearer_tokens_are_rejected() {
    const SHORT: &str = "canary-of-19-charac";
    for source in [
        format!("\"{SHORT}\""),
        "{ file = \"token\" }".to_owned(),
        "{ env = \"TOKEN\" }".to_owned(),
        format!("{{ command = [\"printf\", \"{SHORT}\"] }}"),
    ] {
        let fixture = Fixture::new(&format!("bearer_token = {source}\n{CONSOLE}")).await;
        write_secret(&fixture.home.path("token"), SHORT);
        for line in ["run", "check-config"] {
            let output = fixture.output(2, line);
            let expected = "`http.bearer_token` has fewer than 20 characters";
            assert!(output.contains(expected), "{source}: {output}");
            assert!(!output.contains("canary"), "{source}: {output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_a_short_bearer_token_keeps_the_old_one() {
    let token = "{ command = [\"cat\", \"token\"] }";
    let fixture = Fixture::new(&format!("bearer_token = {token}\n{CONSOLE}")).await;
    write_secret(&fixture.home.path("token"), "canary-10-characters");
    let mut program = Program::run(&fixture.home);
    let address = program.address();
    write_secret(&fixture.home.path("token"), "canary-9-characters");
    program.signal("HUP");
    let line = program.wait_for("`http.bearer_token` has fewer than 20 characters");
    assert!(!line.contains("canary"), "{line}");
    for (token, expected) in [("canary-10-characters", 200), ("canary-9-characters", 401)] {
        let head =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}");
        let response = send_request(&address, &head);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{response}"
        );
    }
}
