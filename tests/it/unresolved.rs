//! Secrets that cannot be had stop what needs them, and nothing else; programs for secrets get little and are ended in time.

use std::fs;
use std::process::{Command, Output};

use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::program::{Home, Program, ask, write_secret};

/// A service that answers, and a configuration with a key that is good and other secrets that are not.
struct Scene {
    home: Home,
    simulator: Simulator,
}

const NOTIFIERS: &str = "[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { env = \"UNSET_URL\" }\n\
                         [[notifiers]]\nname = \"console\"\ntype = \"console\"\n";

const CONSOLE: &str = "[[notifiers]]\nname = \"console\"\ntype = \"console\"\n";

impl Scene {
    async fn new(rest: &str) -> Scene {
        let home = Home::new();
        let simulator = Simulator::start(World::empty(), Clock::system())
            .await
            .unwrap();
        home.configure(&simulator, rest);
        drop(Store::open_for_daemon(&home.path("spendwatch.db"), Clock::system().now()).unwrap());
        Scene { home, simulator }
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
    fn told(&self, exit: i32, line: &str) -> String {
        let output = self.run(line);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{line}: {told}");
        told
    }

    fn change(&self, from: &str, to: &str) {
        let path = self.home.path("spendwatch.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notifier_without_its_secret_stops_only_what_needs_it() {
    let rest = format!(
        "bearer_token = {{ file = \"no-such-file\" }}\n[heartbeat]\nurl = {{ env = \"UNSET_URL\" }}\n{NOTIFIERS}"
    );
    let scene = Scene::new(&rest).await;
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
        scene.told(0, line);
    }
    for line in ["run", "check-config", "check-config --show"] {
        let told = scene.told(2, line);
        assert!(
            told.contains(
                "`notifiers[0].url.env` names the variable `UNSET_URL`, which is not set"
            ),
            "{told}"
        );
        assert!(
            told.contains("`http.bearer_token.file` names what cannot be used"),
            "{told}"
        );
        assert!(told.contains("`heartbeat.url.env`"), "{told}");
        assert!(told.contains("spendwatch.toml, line "), "{told}");
    }
    let told = scene.told(2, "notify test chat");
    assert!(
        told.contains("`notifiers[0].url.env` names the variable `UNSET_URL`"),
        "{told}"
    );
    let told = scene.told(1, "doctor");
    assert!(
        told.contains("`notifiers[0].url.env` names the variable `UNSET_URL`"),
        "{told}"
    );
    assert!(told.contains("bad      notifier chat"), "{told}");
    assert!(told.contains("ok       service acme"), "{told}");
    assert_eq!(scene.simulator.n_not_get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_admin_key_whatever_reads_the_store_still_works() {
    let scene = Scene::new("").await;
    let key = scene.home.path("key").display().to_string();
    scene.change(
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
        scene.told(0, line);
    }
    for line in ["users list", "usage --live", "org show"] {
        let told = scene.told(2, line);
        assert!(told.contains("line 4: `organizations[0].admin_key.env` names the variable `UNSET_KEY`, which is not set"), "{told}");
    }
    scene.told(1, "check --limit 5");
    let told = scene.told(1, "doctor");
    assert!(told.contains("`organizations[0].admin_key.env`"), "{told}");
    assert!(told.contains("ok       store"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_form_matters_only_to_its_notifier() {
    let scene =
        Scene::new("[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { file = \"url\" }\n")
            .await;
    write_secret(&scene.home.path("url"), "no address");
    scene.told(0, "users list");
    let told = scene.told(2, "check-config");
    assert!(told.contains("`notifiers[0].url` is no address"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_runs_the_commands_of_secrets_and_other_commands_only_theirs() {
    let rest = "[[notifiers]]\nname = \"chat\"\ntype = \"slack\"\nurl = { command = [\"sh\", \"-c\", \"touch ran; exit 3\"] }\n";
    let scene = Scene::new(rest).await;
    scene.told(0, "users list");
    assert!(!scene.home.path("ran").exists());
    let told = scene.told(2, "check-config");
    assert!(
        told.contains("notifier `chat`: secret command `sh`: ended with exit status: 3"),
        "{told}"
    );
    assert!(scene.home.path("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_command_gets_a_minimal_environment_and_what_is_listed() {
    let scene = Scene::new("").await;
    let key = scene.home.path("key").display().to_string();
    // Fails where it sees more, or less.
    let script = "test -z \\\"$UNLISTED\\\" && test \\\"$LISTED\\\" = canary-listed && test -n \\\"$PATH\\\" && cat key; sleep 100 &";
    let command =
        format!("{{ command = [\"sh\", \"-c\", \"{script}\"], environment = [\"LISTED\"] }}");
    scene.change(&format!("{{ file = \"{key}\" }}"), &command);
    scene.told(0, "users list");
    let told = scene.told(0, "check-config --show");
    assert!(told.contains("environment = [\"LISTED\"]"), "{told}");
    scene.change("environment = [\"LISTED\"]", "environment = []");
    scene.told(1, "users list");
    scene.change("environment = []", "environment = [\"A=B\"]");
    let told = scene.told(2, "users list");
    assert!(
        told.contains("is not the name of an environment variable"),
        "{told}"
    );
    scene.change(
        &command.replace("[\"LISTED\"]", "[\"A=B\"]"),
        "{ command = [\"yes\"] }",
    );
    let told = scene.told(1, "users list");
    assert!(
        told.contains("secret command `yes`: printed more than 64 KiB"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_for_a_new_secret_gets_a_minimal_environment_and_what_is_listed() {
    let scene = Scene::new("[secret_to_command]\nenvironment = [\"LISTED\"]\n").await;
    scene
        .simulator
        .world()
        .add_workspace("workspace_a", "Alpha");
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(["keys", "create", "ci", "--workspace", "Alpha"])
        .args([
            "--secret-to-command",
            "cat > got; env > environment; cat got; sleep 100 &",
        ])
        .arg("--config")
        .arg(scene.home.path("spendwatch.toml"))
        .current_dir(scene.home.folder.path())
        .env("UNLISTED", "canary-unlisted")
        .env("LISTED", "canary-listed")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let secret = fs::read_to_string(scene.home.path("got")).unwrap();
    assert!(scene.simulator.world().secrets.contains(&secret));
    assert!(
        told.contains("[redacted]") && !told.contains(&secret),
        "{told}"
    );
    let environment = fs::read_to_string(scene.home.path("environment")).unwrap();
    assert!(
        environment.contains("LISTED=canary-listed"),
        "{environment}"
    );
    assert!(!environment.contains("UNLISTED"), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_that_is_too_short_stops_the_start_and_the_check() {
    const SHORT: &str = "canary-of-19-charac";
    for source in [
        format!("\"{SHORT}\""),
        "{ file = \"token\" }".to_owned(),
        "{ env = \"TOKEN\" }".to_owned(),
        format!("{{ command = [\"printf\", \"{SHORT}\"] }}"),
    ] {
        let scene = Scene::new(&format!("bearer_token = {source}\n{CONSOLE}")).await;
        write_secret(&scene.home.path("token"), SHORT);
        for line in ["run", "check-config"] {
            let told = scene.told(2, line);
            let expected = "`http.bearer_token` has fewer than 20 characters";
            assert!(told.contains(expected), "{source}: {told}");
            assert!(!told.contains("canary"), "{source}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_a_bearer_token_that_is_too_short_keeps_the_old_one() {
    let token = "{ command = [\"cat\", \"token\"] }";
    let scene = Scene::new(&format!("bearer_token = {token}\n{CONSOLE}")).await;
    write_secret(&scene.home.path("token"), "canary-10-characters");
    let mut program = Program::run(&scene.home);
    let address = program.address();
    write_secret(&scene.home.path("token"), "canary-9-characters");
    program.signal("HUP");
    let line = program.wait_for("`http.bearer_token` has fewer than 20 characters");
    assert!(!line.contains("canary"), "{line}");
    for (token, expected) in [("canary-10-characters", 200), ("canary-9-characters", 401)] {
        let head =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}");
        let response = ask(&address, &head);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{response}"
        );
    }
}
