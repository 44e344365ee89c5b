//! Properties of all admin commands: runnable examples, secrecy, a valid audit log, bounded memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use clap::CommandFactory;
use spendwatch::cli::Arguments;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::directory::SimulatedInvite;

use super::{AdminFixture, BOTH, Dialect, column, key, user, words};

/// Commands of the Admin API.
const NOUNS: [&str; 9] = [
    "org",
    "users",
    "invites",
    "keys",
    "workspaces",
    "onboard",
    "offboard",
    "audit",
    "doctor",
];

/// Collects the examples in the help of a command and its subcommands, and whether they ask for confirmation.
fn examples(command: &clap::Command, found: &mut Vec<(String, bool)>) {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let asks = command
        .get_arguments()
        .any(|argument| argument.get_id() == "yes");
    let mut lines = help
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Example: spendwatch "));
    let own: Vec<String> = lines.by_ref().map(str::to_owned).collect();
    assert!(!own.is_empty(), "`{}` has no example", command.get_name());
    found.extend(own.into_iter().map(|line| (line, asks)));
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        examples(below, found);
    }
}

/// Fixture with every object that the examples name.
async fn fixture_for_examples(dialect: Dialect) -> AdminFixture {
    let mut world = dialect.world();
    world
        .keys
        .push(key("apikey_01Ab", "ci", "user_2", dialect.workspace()));
    world
        .keys
        .push(key("apikey_01Cd", "old", "user_2", dialect.workspace()));
    if dialect != Dialect::Guide {
        world.keys[3].status = "inactive".to_owned();
        world.members.insert(
            dialect.workspace().to_owned(),
            vec![("user_1".to_owned(), "workspace_user".to_owned())],
        );
        world.invites.push(SimulatedInvite {
            id: "invite_1".to_owned(),
            email: "ada@example.com".to_owned(),
            role: "user".to_owned(),
            status: "pending".to_owned(),
            expires_at: "2099-01-01T00:00:00Z".parse().unwrap(),
            ..SimulatedInvite::default()
        });
    }
    let fixture = AdminFixture::of(world).await;
    let write = |name: &str, text: &str| fs::write(fixture.home.path(name), text).unwrap();
    write(
        "people.csv",
        "email,name,team,workspace\ncy@example.com,Cy,search,Search\n",
    );
    write("left.csv", "email\nada@example.com\n");
    // Replaces an external tool.
    write("vault", "#!/bin/sh\ncat > vaulted\n");
    fs::set_permissions(
        fixture.home.path("vault"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::create_dir(fixture.home.path("keys")).unwrap();
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn every_help_example_runs_or_is_unsupported() {
    let mut all = Vec::new();
    for noun in Arguments::command()
        .get_subcommands()
        .filter(|one| NOUNS.contains(&one.get_name()))
    {
        examples(noun, &mut all);
    }
    let all: BTreeSet<(String, bool)> = all.into_iter().collect();
    assert!(all.len() > 30, "{}", all.len());
    for dialect in [Dialect::Guide, Dialect::Real, Dialect::Older] {
        for (line, asks) in &all {
            let fixture = fixture_for_examples(dialect).await;
            fixture.run_json(0, "users list");
            let (report, _) = fixture.run_json(0, "audit verify");
            let hash = report[0]["newest_hash"].as_str().unwrap().to_owned();
            let line = line.replace("3f9a…", &hash);
            let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
            command
                .args(words(&line))
                .current_dir(fixture.home.folder.path());
            let path = format!(
                "{}:{}",
                fixture.home.folder.path().display(),
                std::env::var_os("PATH").unwrap().display()
            );
            command.env("PATH", path).stdin(Stdio::null());
            if !line.contains("--config") {
                command.arg("--config").arg("spendwatch.toml");
            }
            if *asks && !line.contains("--dry-run") {
                command.args(["--yes", "--yes"]);
            }
            let output = command.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let refuses = stderr.contains("servers cannot")
                || stderr.contains("Admin API cannot")
                || stderr.contains("the server does not report");
            // Without key creation there is no secret to write.
            let refuses = refuses || stderr.contains("unknown role `");
            let code = output.status.code();
            assert!(
                code == Some(0) || code == Some(2) && refuses,
                "{dialect:?}: {line}\n{code:?}\n{stderr}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_appear_only_in_their_destination() {
    let fixture = Dialect::Guide.fixture().await;
    let admin = fixture.simulator.key().expose().to_owned();
    let mut stderr = String::new();
    let place = |name: &str| fixture.home.path(name).display().to_string();
    let lines = [
        format!(
            "keys create a --workspace Search --secret-out {}",
            place("a.key")
        ),
        format!(
            "keys create a --workspace Search --secret-out {}",
            place("b.key")
        ),
        "keys create a --workspace Search --secret-to-command 'cat > /dev/null'".to_owned(),
        "keys create a --workspace Search --secret-to-command 'cat >&2; exit 1'".to_owned(),
        format!(
            "onboard cy@example.com --name Cy --team x --workspace Search --secret-out {}",
            place("c.key")
        ),
        "users invite sk-ant-api03-pasted@example.com".to_owned(),
        "keys list".to_owned(),
        "audit list".to_owned(),
        "doctor".to_owned(),
        "offboard ada@example.com --yes".to_owned(),
    ];
    let faults = [
        None,
        // The response repeats the admin key and ends within a new key.
        Some(ServerFault::Status(
            400,
            format!("no, not with {admin}"),
            None,
        )),
        Some(ServerFault::Body(format!(
            "{{\"id\":\"apikey_9\",\"key\":[\"sk-ant-api03-canary-{admin}\"]}}"
        ))),
        Some(ServerFault::Truncated),
    ];
    for fault in faults {
        fixture.simulator.clear_faults();
        if let Some(fault) = fault {
            fixture.simulator.inject_fault(
                FaultTarget::endpoint("api_keys").method("POST").times(1),
                fault.clone(),
            );
            fixture
                .simulator
                .inject_fault(FaultTarget::endpoint("users_invite").times(1), fault);
        }
        for line in &lines {
            for output in [
                &fixture.run(line),
                &fixture.run(&format!("{line} --output json")),
            ] {
                stderr.push_str(&String::from_utf8_lossy(&output.stdout));
                // The output of the caller's own command is not checked.
                if !line.contains(">&2") {
                    stderr.push_str(&String::from_utf8_lossy(&output.stderr));
                }
            }
        }
    }
    let mut n_files = 0;
    for file in fs::read_dir(fixture.home.folder.path()).unwrap() {
        let path = file.unwrap().path();
        let is_place =
            path.extension().is_some_and(|ending| ending == "key") || path.ends_with("key");
        if path.is_file() && !is_place {
            stderr.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
            n_files += 1;
        }
    }
    assert!(n_files >= 3 && stderr.len() > 10_000);
    let secrets = fixture.simulator.world().secrets.clone();
    assert!(secrets.len() >= 8);
    for secret in secrets.iter().chain([&admin]) {
        assert!(!stderr.contains(secret.as_str()), "{secret}");
    }
    assert!(
        !stderr.contains("sk-ant-api03-canary"),
        "not even the beginning of one"
    );
    let audit = fs::read_to_string(fixture.home.path("audit.jsonl")).unwrap();
    assert!(
        !audit.contains("sk-ant-api03-pasted"),
        "nor one that somebody pasted"
    );
}

fn start(fixture: &AdminFixture, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(words(line))
        .arg("--config")
        .arg(fixture.home.path("spendwatch.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_audited_before_and_after() {
    for dialect in BOTH {
        let fixture = dialect.fixture().await;
        for line in [
            "users invite cy@example.com --role developer",
            "users set-role bo@example.com developer",
            "keys revoke apikey_3 --yes",
            "offboard ada@example.com --yes --actor finops",
        ] {
            fixture.run_json(0, line);
        }
        let n_sent = usize::try_from(fixture.simulator.n_writes()).unwrap();
        let text = fs::read_to_string(fixture.home.path("audit.jsonl")).unwrap();
        let count = |word: &str| text.matches(&format!("\"phase\":\"{word}\"")).count();
        assert_eq!((count("intent"), count("outcome")), (n_sent, n_sent));
        let rows = fixture.audited();
        let removed = rows
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["action"] == "users.remove")
            .unwrap();
        assert_eq!(
            (removed["actor"].as_str(), removed["target"].as_str()),
            (Some("finops"), Some("user_1"))
        );
        assert!(
            removed["request_id"].as_str().unwrap().starts_with("req_")
                && removed["elapsed_ms"].is_number()
        );
        fixture.check_audit();
        let mode = fs::metadata(fixture.home.path("audit.jsonl"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_without_audit_log() {
    let fixture = Dialect::Guide.fixture().await;
    let path = fixture.home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("audit.jsonl", "nowhere/audit.jsonl")).unwrap();
    let stderr = fixture.run_refused(1, "users invite cy@example.com");
    assert!(
        stderr.contains("nothing was sent: cannot write the audit log `"),
        "{stderr}"
    );
    let stderr = fixture.run_refused(1, "offboard ada@example.com --yes");
    assert!(
        stderr.contains("user `user_1` is still in the organization"),
        "{stderr}"
    );
    let (_, stderr) = fixture.run_json(0, "users list");
    assert!(
        stderr.contains("warning: cannot write the audit log `"),
        "looking goes on: {stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_processes_write_one_chain() {
    let fixture = Dialect::Guide.fixture().await;
    for round in 0..4 {
        let children: Vec<Child> = (0..6)
            .map(|place| {
                start(
                    &fixture,
                    &format!("users invite p{round}-{place}@example.com --role developer"),
                )
            })
            .collect();
        for child in children {
            assert!(child.wait_with_output().unwrap().status.success());
        }
    }
    let rows = fixture.audited();
    assert_eq!(rows.as_array().unwrap().len(), 24);
    let (report, _) = fixture.run_json(0, "audit verify");
    assert_eq!(
        (
            report[0]["entries"].as_i64(),
            report[0]["newest_seq"].as_i64()
        ),
        (Some(48), Some(48))
    );
    let hash = report[0]["newest_hash"].as_str().unwrap();
    fixture.run_json(0, "users list");
    fixture.run_json(0, &format!("audit verify --anchor {hash}"));
    let text = fs::read_to_string(fixture.home.path("audit.jsonl")).unwrap();
    fs::write(
        fixture.home.path("audit.jsonl"),
        text.replacen("p1-0@", "xx-0@", 1),
    )
    .unwrap();
    let (report, stderr) = fixture.run_json(1, "audit verify");
    assert!(
        stderr.contains("was changed: its hash does not match"),
        "{stderr}"
    );
    assert_eq!(report[0]["whole"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_leaves_operation_without_outcome() {
    let fixture = Dialect::Guide.fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("users_invite"),
        ServerFault::NoResponse,
    );
    let mut child = start(&fixture, "users invite cy@example.com");
    fixture.simulator.wait_until_stalled(1).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (rows, _) = fixture.run_json(0, "audit list --open");
    assert_eq!(column(&rows, "target"), ["cy@example.com"]);
    let (_, stderr) = fixture.run_json(0, "audit verify");
    assert!(
        stderr.contains("no outcome: users.invite `cy@example.com`"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_after_current_step() {
    let fixture = Dialect::Real.fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("api_key").times(1),
        ServerFault::NoResponse,
    );
    let child = start(
        &fixture,
        "keys revoke apikey_1 apikey_2 apikey_3 --yes --output json",
    );
    fixture.simulator.wait_until_stalled(1).await;
    let status = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let mut child = child;
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(line.contains("stopping after the current step"), "{line}");
    fixture.simulator.release_stalled();
    let output = child.wait_with_output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(column(&rows, "outcome"), ["done", "not begun", "not begun"]);
    assert_eq!(fixture.keys(), ["apikey_2", "apikey_3"]);
    fixture.check_audit();
}

/// Commands that only read.
const READING: [&str; 21] = [
    "run",
    "demo",
    "check-config",
    "alerts list",
    "alerts show",
    "silence list",
    "notifications list",
    "usage",
    "org show",
    "users list",
    "invites list",
    "keys list",
    "workspaces list",
    "workspaces members list",
    "audit list",
    "audit verify",
    "audit anchor",
    "doctor",
    "store check",
    "healthcheck",
    "completions",
];

/// Collects every command without subcommands, with its full name.
fn leaves(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
    for below in command.get_subcommands() {
        let words = format!("{words} {}", below.get_name());
        if below.has_subcommands() {
            leaves(below, &words, found);
        } else {
            found.push((words.trim().to_owned(), below.clone()));
        }
    }
}

#[test]
fn every_command_that_writes_accepts_yes() {
    let mut found = Vec::new();
    leaves(&Arguments::command(), "", &mut found);
    assert!(found.len() > 30);
    let lacking: Vec<&str> = found
        .iter()
        .filter(|(words, _)| !READING.contains(&words.as_str()))
        .filter(|(_, command)| !command.get_arguments().any(|one| one.get_id() == "yes"))
        .map(|(words, _)| words.as_str())
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// Maximum memory of a command.
const MAX_KIB: i64 = 60 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn large_organizations_need_little_memory() {
    for dialect in BOTH {
        let mut world = dialect.world();
        world.users = (0..2500)
            .map(|n| {
                user(
                    &format!("user_{n}"),
                    &format!("p{n}@example.com"),
                    "developer",
                )
            })
            .collect();
        world.keys = (0..10_000)
            .map(|n| {
                key(
                    &format!("apikey_{n}"),
                    &format!("key {n}"),
                    &format!("user_{}", n % 2500),
                    dialect.workspace(),
                )
            })
            .collect();
        let fixture = AdminFixture::of(world).await;
        for (line, n_rows) in [
            ("users list", 2500),
            ("keys list", 10_000),
            ("offboard user_7 --dry-run", 5),
        ] {
            let script = "import resource, subprocess, sys\n\
                          code = subprocess.run(sys.argv[1:]).returncode\n\
                          print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n";
            for format in ["json", "table"] {
                let output = Command::new("python3")
                    .args(["-c", script, env!("CARGO_BIN_EXE_spendwatch")])
                    .args(words(line))
                    .args(["--output", format, "--quiet", "--config"])
                    .arg(fixture.home.path("spendwatch.toml"))
                    .output()
                    .unwrap();
                let stderr = String::from_utf8(output.stderr).unwrap();
                let (code, kib) = stderr.trim().split_once(' ').unwrap();
                let rows = String::from_utf8(output.stdout).unwrap();
                let n_printed = match format {
                    "json" => serde_json::from_str::<Vec<serde_json::Value>>(&rows)
                        .unwrap()
                        .len(),
                    _ => rows.lines().count() - 1,
                };
                assert_eq!((code, n_printed), ("0", n_rows), "{line}");
                let kib: i64 = kib.parse().unwrap();
                assert!(kib <= MAX_KIB, "{dialect:?}: {line}, {format}: {kib} KiB");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_receives_entries_and_may_fail() {
    let fixture = Dialect::Guide.fixture().await;
    let (path, socket) = (
        fixture.home.path("spendwatch.toml"),
        fixture.home.path("syslog"),
    );
    let text = fs::read_to_string(&path).unwrap();
    let entry = format!("[audit]\nsyslog = \"{}\"\n", socket.display());
    fs::write(&path, text.replace("[audit]\n", &entry)).unwrap();
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    fixture.run_json(0, "users invite cy@example.com");
    for phase in ["intent", "outcome"] {
        let mut bytes = [0; 4096];
        let n_bytes = listener.recv(&mut bytes).unwrap();
        let line = String::from_utf8_lossy(&bytes[..n_bytes]).into_owned();
        assert!(
            line.starts_with("<86>") && line.contains(&format!("\"phase\":\"{phase}\"")),
            "{line}"
        );
    }
    drop(listener);
    fs::remove_file(&socket).unwrap();
    fixture.run_json(0, "users invite di@example.com");
    fixture.check_audit();
}

/// A kill at any time leaves a valid chain with an open operation, which the next process continues.
#[tokio::test(flavor = "multi_thread")]
async fn kills_leave_valid_chain() {
    let fixture = Dialect::Guide.fixture().await;
    for n in 0..40_u64 {
        let n_before = fixture.simulator.n_requests();
        let mut child = start(&fixture, &format!("users invite p{n}@example.com"));
        // Before, between or after the requests of a command.
        let reached = n_before + n % 4;
        tokio::select! {
            () = fixture.simulator.wait_for_requests(reached) => {}
            _ = tokio::task::spawn_blocking({
                let id = child.id();
                move || while fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
                    std::thread::yield_now();
                }
            }) => {}
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    fixture.run_json(0, "users invite last@example.com");
    let (report, stderr) = fixture.run_json(0, "audit verify");
    assert_eq!(report[0]["whole"], true, "{stderr}");
    let open = report[0]["open"].as_array().unwrap().len();
    let rows = fixture.audited();
    let n_open = column(&rows, "outcome")
        .iter()
        .filter(|outcome| *outcome == "open")
        .count();
    assert_eq!(n_open, open, "what was killed between its entries shows");
}
