//! Promise 5 from outside: no output of a daemon with every kind of secret contains one, whatever the servers respond.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::directory::{SimulatedInvite, SimulatedKey, SimulatedUser};

use crate::program::{Home, Program, get, month_rule, send_request, write_secret};
use crate::receiver::{Answer, Receiver};

/// Part of every secret in the configuration.
const MARK: &str = "canary";
/// The one secret without [`MARK`], because it is base64.
const SIGNING: &str = "Y2FuYXJ5LXNpZ24tY2FuYXJ5LXNpZ24teHl6";

#[track_caller]
fn check(place: &str, text: &str) {
    let mut lines = text.lines();
    let found = lines.find(|line| line.contains(MARK) || line.contains(SIGNING));
    assert_eq!(found, None, "a secret in {place}");
}

/// Returns a response that repeats secrets of the request.
fn echo(status: u16, secrets: &[&str]) -> Answer {
    let body = format!("not with {}", secrets.join(" and "));
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
    let token = secret("token", "canary-token-of-http");
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
async fn secrets_appear_in_no_log_metric_response_store_or_command_output() {
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
    let sent = [hook.url.as_str(), SIGNING, "Bearer canary-head"];
    hook.answer(echo(500, &sent));
    chat.answer(echo(404, &[&chat.url]));
    home.configure(&simulator, &configuration(&home, &hook, &chat));
    write_secret(&home.path("key"), "sk-ant-admin-canary");
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for_all(&[
        "`chat` is parked",
        "answered 500",
        "no connection",
        "heartbeat failed",
    ]);
    let refusal = ServerFault::Status(401, "no sk-ant-admin-canary".into(), None);
    simulator.inject_fault(FaultTarget::everything(), refusal);
    program.wait_for("401");
    let token = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer canary-token-of-http"
    );
    let metrics = send_request(&address, &token);
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
        hook.answer(echo(400, &sent));
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
    let log = program.ended().1.join("\n");
    assert!(log.contains("[redacted]"), "{log}");
    check("the log", &log);
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
    assert!(n_files > 0, "no store found");
}

/// A key that the Admin API returns in unexpected places.
const RETURNED: &str = "sk-ant-api03-Canary_returned-canaryAA";

/// Returns the encodings that a server might use.
fn encodings(secret: &str) -> Vec<String> {
    let bytes = |each: fn(u8) -> String| secret.bytes().map(each).collect::<String>();
    let once = secret.replace('-', "%2D").replace('_', "%5F");
    vec![
        secret.to_owned(),
        secret.to_uppercase(),
        once.replace('%', "%25"),
        once,
        bytes(|byte| format!("%{byte:02x}")),
        bytes(|byte| format!("{byte:02x}")),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(format!("x{secret}")),
        STANDARD.encode(format!("my {secret}")),
        STANDARD.encode(STANDARD.encode(secret)),
    ]
}

/// Checks that a text does not contain the secret in any encoding.
#[track_caller]
fn check_returned(place: &str, bytes: &[u8], secret: &str) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for encoding in encodings(secret) {
        // Not even a part may appear, except the prefix `sk-ant-api03-`, which is in every hint.
        let encoding = encoding.to_lowercase();
        let part = &encoding[encoding.len() / 2..encoding.len() - 3];
        let found = text.find(part).map(|at| {
            let around = text[..at].chars().rev().take(60).collect::<Vec<_>>();
            let before: String = around.into_iter().rev().collect();
            format!("{before}{part}")
        });
        assert_eq!(found, None, "a returned key in {place}");
    }
}

/// Returns a world whose names, tags and models, and some ids, contain keys.
fn world_of_keys(clock: &Clock, speaks: SimulatedApi, own: &str) -> World {
    let mut world = World::empty();
    world.api = speaks;
    world.default_workspace = Some("wrkspc_default0".to_owned());
    let mut names = encodings(RETURNED);
    names.extend(encodings(own));
    for (place, name) in names.into_iter().enumerate() {
        let (place, id) = (place, format!("wrkspc_{place}"));
        world.add_workspace(&id, &format!("a name: {name}, and more"));
        world.spend(&id, "claude-sonnet-4-5", clock.now(), "120");
        let tags = [
            ("team".to_owned(), name.clone()),
            (name.clone(), "x".to_owned()),
        ];
        world.workspace_mut(&id).tags = tags.into();
        world.users.push(SimulatedUser {
            id: format!("user_{place}"),
            email: format!("{place}{name}@example.com"),
            name: name.clone(),
            role: "developer".to_owned(),
            status: "active".to_owned(),
            last_active_at: None,
        });
        world.keys.push(SimulatedKey {
            id: format!("apikey_{place}"),
            name: name.clone(),
            workspace: Some(id.clone()),
            created_by: format!("user_{place}"),
            status: "active".to_owned(),
            ..SimulatedKey::default()
        });
        world.invites.push(SimulatedInvite {
            id: format!("invite_{place}"),
            email: format!("{name}@example.com"),
            role: "developer".to_owned(),
            status: "pending".to_owned(),
            invited_at: clock.now(),
            expires_at: clock.now(),
        });
    }
    for (id, usd) in [(RETURNED.to_owned(), "7"), (RETURNED.to_uppercase(), "8")] {
        world.add_workspace(&id, "Plain");
        world.spend(&id, "claude-sonnet-4-5", clock.now(), usd);
    }
    world.add_workspace("wrkspc_model", "Model");
    world.spend("wrkspc_model", RETURNED, clock.now(), "9");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn returned_keys_reach_no_output_and_their_workspaces_stay_distinct() {
    let older = PlatformOptions {
        analytics: EndpointAccess::Forbidden,
        ..PlatformOptions::default()
    };
    for speaks in [
        SimulatedApi::Guide,
        SimulatedApi::Platform(PlatformOptions::default()),
        SimulatedApi::Platform(older),
    ] {
        let hook = Receiver::start(|_| None).await;
        let own = hook
            .url
            .rsplit_once('/')
            .unwrap()
            .1
            .replace("canary", "Own_canary-hook");
        let hook_url = hook.url.replace("canary-0001", &own);
        let clock = Clock::system();
        let world = world_of_keys(&clock, speaks, &hook_url);
        let simulator = Simulator::start(world, clock).await.unwrap();
        let home = Home::new();
        let rest = format!(
            "[log]\nlevel = \"debug\"\n[metrics]\nby_api_key = true\n[audit]\nfile = \"{}\"\n\
             [[rules]]\nname = \"each\"\nlimit_usd = 5\nfor_each = \"workspace\"\n\
             [[rules]]\nname = \"models\"\nlimit_usd = 5\nfor_each = \"model\"\n\
             [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\ngroup_wait = \"0s\"\nurl = \"{hook_url}\"\n",
            home.path("audit.jsonl").display()
        );
        home.configure(&simulator, &rest);
        let mut program = Program::run(&home);
        let address = program.address();
        hook.wait_for(1).await;
        let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
        for path in [
            "/metrics",
            "/readyz",
            "/",
            "/api/v1/alerts",
            "/api/v1/silences",
        ] {
            outputs.push((path.to_owned(), get(&address, path).into_bytes()));
        }
        let metrics = String::from_utf8_lossy(&outputs[0].1).into_owned();
        // The spend of each of the two workspaces (estimated before there is a bill).
        let redacted = metrics.lines().filter(|line| {
            line.starts_with("anthropic_spend_month_usd")
                && line.contains("workspace_id=\"redacted-")
                && !line.ends_with(" 0")
        });
        assert_eq!(redacted.count(), 2, "{speaks:?}: {metrics}");
        for post in hook.posts() {
            outputs.push(("a message".to_owned(), post.body.to_vec()));
        }
        let refusal = ServerFault::Status(400, encodings(RETURNED).join(" "), None);
        simulator.inject_fault(FaultTarget::everything(), refusal);
        program.wait_for("status 400");
        simulator.clear_faults();
        program.signal("TERM");
        let (_, log) = program.ended();
        outputs.push(("the log".to_owned(), log.join("\n").into_bytes()));
        for arguments in [
            &["usage", "--by", "workspace"][..],
            &["usage", "--by", "model", "--output", "csv"],
            &["usage", "--by", "api_key", "--live"],
            &["workspaces", "list"],
            &["workspaces", "list", "--output", "json"],
            &["keys", "list", "--output", "json"],
            &["users", "list", "--output", "csv"],
            &["invites", "list"],
            &["me"],
            &["alerts", "list", "--output", "json"],
            &["check"],
            &["doctor"],
            &["users", "set-role", "user_0", "billing", "--yes"],
            &["workspaces", "create", RETURNED, "--yes"],
            &["audit", "list", "--output", "json"],
        ] {
            let output = home.command(arguments);
            let printed = [output.stdout, output.stderr].concat();
            outputs.push((format!("{arguments:?}"), printed));
        }
        let mut n_files = 0;
        for entry in fs::read_dir(home.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("spendwatch.toml") {
                outputs.push((path.display().to_string(), fs::read(path).unwrap()));
                n_files += 1;
            }
        }
        assert!(n_files > 3, "no store or audit log found");
        let hint = outputs
            .iter()
            .find(|(place, _)| place.contains("keys"))
            .unwrap();
        let hint = String::from_utf8_lossy(&hint.1).into_owned();
        assert!(
            hint.contains("sk-ant-api03-"),
            "hints are unchanged: {hint}"
        );
        for (place, bytes) in &outputs {
            let place = format!("{place} ({speaks:?})");
            check_returned(&place, bytes, RETURNED);
            let is_daemon = !place.starts_with('[');
            if is_daemon {
                check_returned(&place, bytes, &own);
            }
        }
    }
}
