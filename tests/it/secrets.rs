//! Promise 5 from outside: a daemon with every kind of secret, told to say all that it can, through good and bad answers.

use std::fs;

use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;

use crate::program::{Home, Program, ask, get, month_rule, write_secret};
use crate::receiver::{Answer, Receiver};

/// What stands in each secret of the configuration.
const MARK: &str = "canary";
/// But in this one, which is base64.
const SIGNING: &str = "Y2FuYXJ5LXNpZ24tY2FuYXJ5LXNpZ24teHl6";

#[track_caller]
fn check(place: &str, text: &str) {
    let mut lines = text.lines();
    let found = lines.find(|line| line.contains(MARK) || line.contains(SIGNING));
    assert_eq!(found, None, "a secret in {place}");
}

/// The answer repeats what it was asked with, as careless services do.
fn echo(status: u16, asked_with: &[&str]) -> Answer {
    let body = format!("not with {}", asked_with.join(" and "));
    Answer::Reply(status, Vec::new(), body)
}

fn configuration(home: &Home, hook: &Receiver, chat: &Receiver) -> String {
    let secret = |name: &str, text: &str| {
        let path = home.path(name);
        write_secret(&path, text);
        format!("{{ file = \"{}\" }}", path.display())
    };
    let (hook, chat) = (secret("hook", &hook.url), secret("chat", &chat.url));
    let signing = secret("signing", &format!("whsec_{SIGNING}"));
    let header = secret("header", "Bearer canary-head");
    let password = secret("password", "canary-mail");
    let token = secret("token", "canary-token");
    format!(
        "bearer_token = {token}\n[log]\nlevel = \"trace\"\n\
         [heartbeat]\nurl = \"http://127.0.0.1:9/canary-beat\"\n\
         [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\ngroup_wait = \"0s\"\nurl = {hook}\n\
         signing_secrets = [{signing}]\nheaders = {{ Authorization = {header} }}\n\
         [[notifiers]]\nname = \"chat\"\ntype = \"slack\"\ngroup_wait = \"0s\"\nurl = {chat}\n\
         [[notifiers]]\nname = \"mail\"\ntype = \"email\"\ngroup_wait = \"0s\"\nsmtp = \"smtp://127.0.0.1:9\"\n\
         from = \"a@example.com\"\nto = [\"b@example.com\"]\n\
         username = \"u\"\npassword = {password}\n{}",
        month_rule("100")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_a_metric_an_answer_the_store_or_a_command() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "120");
    let simulator = Simulator::start(world, clock).await.unwrap();
    simulator.accept_key("sk-ant-admin-canary");
    let home = Home::new();
    let (hook, chat) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    let asked = [hook.url.as_str(), SIGNING, "Bearer canary-head"];
    hook.answer(echo(500, &asked));
    chat.answer(echo(404, &[&chat.url]));
    home.configure(&simulator, &configuration(&home, &hook, &chat));
    write_secret(&home.path("key"), "sk-ant-admin-canary");
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for_all(&[
        "`chat` is parked",
        "answered 500",
        "no connection",
        "the heartbeat failed",
    ]);
    let refusal = Fault::Status(401, "no sk-ant-admin-canary".into(), None);
    simulator.fail(FaultOn::everything(), refusal);
    program.wait_for("401");
    let token = "GET /metrics HTTP/1.1\r\nauthorization: Bearer canary-token\r\n";
    let metrics = ask(&address, token);
    assert!(
        metrics.contains("spendwatch_notifier_parked{notifier=\"chat\"} 1"),
        "{metrics}"
    );
    check("/metrics", &metrics);
    for path in ["/readyz", "/healthz", "/metrics"] {
        check(path, &get(&address, path));
    }
    for arguments in [
        &["notifications", "list", "--output", "json"][..],
        &["alerts", "list", "--output", "json"],
        &["check-config", "--show"],
        &["check"],
        &["notify", "test", "hook"],
        &["notify", "test", "mail"],
    ] {
        hook.answer(echo(400, &asked));
        let output = home.command(arguments);
        check(
            &format!("{arguments:?}"),
            &String::from_utf8_lossy(&output.stdout),
        );
        check(
            &format!("{arguments:?}"),
            &String::from_utf8_lossy(&output.stderr),
        );
    }
    program.signal("TERM");
    let said = {
        let (_, said) = program.ended();
        said.join("\n")
    };
    assert!(said.contains("[redacted]"), "{said}");
    check("the log", &said);
    let mut n_files = 0;
    for entry in fs::read_dir(home.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("spendwatch.db") {
            check(
                "the store",
                &String::from_utf8_lossy(&fs::read(path).unwrap()),
            );
            n_files += 1;
        }
    }
    assert!(n_files > 0, "there is a store to look at");
}
