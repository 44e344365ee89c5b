//! What holds for all of them: examples that run, secrets that stay secret, an audit log that holds, limits of size.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use clap::CommandFactory;
use spendwatch::cli::Arguments;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::people::Invite;

use super::{BOTH, Dialect, Office, column, key, user, words};

/// The nouns of the Admin API.
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

/// Each example in the help of a command and of those below it, and whether it asks before it goes on.
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

/// All that the examples speak of.
async fn office_of_examples(dialect: Dialect) -> Office {
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
        world.invites.push(Invite {
            id: "invite_1".to_owned(),
            email: "ada@example.com".to_owned(),
            role: "user".to_owned(),
            status: "pending".to_owned(),
            expires_at: "2099-01-01T00:00:00Z".parse().unwrap(),
            ..Invite::default()
        });
    }
    let office = Office::of(world).await;
    let write = |name: &str, text: &str| fs::write(office.home.path(name), text).unwrap();
    write(
        "people.csv",
        "email,name,team,workspace\ncy@example.com,Cy,search,Search\n",
    );
    write("left.csv", "email\nada@example.com\n");
    // What stands in for somebody's own tool.
    write("vault", "#!/bin/sh\ncat > vaulted\n");
    fs::set_permissions(office.home.path("vault"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(office.home.path("keys")).unwrap();
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_or_says_what_the_service_cannot_do() {
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
            let office = office_of_examples(dialect).await;
            office.told(0, "users list");
            let (report, _) = office.told(0, "audit verify");
            let hash = report[0]["newest_hash"].as_str().unwrap().to_owned();
            let line = line.replace("3f9a…", &hash);
            let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
            command
                .args(words(&line))
                .current_dir(office.home.folder.path());
            let path = format!(
                "{}:{}",
                office.home.folder.path().display(),
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
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let refuses =
                said.contains("this service") || said.contains("the service does not tell");
            // Where the service speaks of no keys, there is no secret to write.
            let refuses = refuses || said.contains("is no role of this service");
            let code = output.status.code();
            assert!(
                code == Some(0) || code == Some(2) && refuses,
                "{dialect:?}: {line}\n{code:?}\n{said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_but_in_its_place() {
    let office = Dialect::Guide.office().await;
    let admin = office.simulator.key().expose().to_owned();
    let mut said = String::new();
    let place = |name: &str| office.home.path(name).display().to_string();
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
        // The answer repeats the key that it was asked with, and ends in the middle of a new one.
        Some(Fault::Status(400, format!("no, not with {admin}"), None)),
        Some(Fault::Body(format!(
            "{{\"id\":\"apikey_9\",\"key\":[\"sk-ant-api03-canary-{admin}\"]}}"
        ))),
        Some(Fault::Truncated),
    ];
    for fault in faults {
        office.simulator.heal();
        if let Some(fault) = fault {
            office.simulator.fail(
                FaultOn::endpoint("api_keys").method("POST").times(1),
                fault.clone(),
            );
            office
                .simulator
                .fail(FaultOn::endpoint("users_invite").times(1), fault);
        }
        for line in &lines {
            for output in [
                &office.run(line),
                &office.run(&format!("{line} --output json")),
            ] {
                said.push_str(&String::from_utf8_lossy(&output.stdout));
                // What a command of the caller's own prints is the caller's.
                if !line.contains(">&2") {
                    said.push_str(&String::from_utf8_lossy(&output.stderr));
                }
            }
        }
    }
    let mut n_files = 0;
    for file in fs::read_dir(office.home.folder.path()).unwrap() {
        let path = file.unwrap().path();
        let is_place =
            path.extension().is_some_and(|ending| ending == "key") || path.ends_with("key");
        if path.is_file() && !is_place {
            said.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
            n_files += 1;
        }
    }
    assert!(n_files >= 3 && said.len() > 10_000);
    let secrets = office.simulator.world().secrets.clone();
    assert!(secrets.len() >= 8);
    for secret in secrets.iter().chain([&admin]) {
        assert!(!said.contains(secret.as_str()), "{secret}");
    }
    assert!(
        !said.contains("sk-ant-api03-canary"),
        "not even the beginning of one"
    );
    let audit = fs::read_to_string(office.home.path("audit.jsonl")).unwrap();
    assert!(
        !audit.contains("sk-ant-api03-pasted"),
        "nor one that somebody pasted"
    );
}

fn start(office: &Office, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(words(line))
        .arg("--config")
        .arg(office.home.path("spendwatch.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_has_an_intent_before_it_and_an_outcome_after_it() {
    for dialect in BOTH {
        let office = dialect.office().await;
        for line in [
            "users invite cy@example.com --role developer",
            "users set-role bo@example.com developer",
            "keys revoke apikey_3 --yes",
            "offboard ada@example.com --yes --actor finops",
        ] {
            office.told(0, line);
        }
        let n_sent = usize::try_from(office.simulator.n_not_get()).unwrap();
        let text = fs::read_to_string(office.home.path("audit.jsonl")).unwrap();
        let count = |word: &str| text.matches(&format!("\"phase\":\"{word}\"")).count();
        assert_eq!((count("intent"), count("outcome")), (n_sent, n_sent));
        let rows = office.audited();
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
        office.check_audit();
        let mode = fs::metadata(office.home.path("audit.jsonl"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_the_audit_log_cannot_be_written() {
    let office = Dialect::Guide.office().await;
    let path = office.home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("audit.jsonl", "nowhere/audit.jsonl")).unwrap();
    let said = office.refused(1, "users invite cy@example.com");
    assert!(said.contains("nothing was sent: the audit log `"), "{said}");
    let said = office.refused(1, "offboard ada@example.com --yes");
    assert!(
        said.contains("still user `user_1` is in the organization"),
        "{said}"
    );
    let (_, said) = office.told(0, "users list");
    assert!(
        said.contains("warning: the audit log"),
        "looking goes on: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_write_one_chain() {
    let office = Dialect::Guide.office().await;
    for round in 0..4 {
        let children: Vec<Child> = (0..6)
            .map(|place| {
                start(
                    &office,
                    &format!("users invite p{round}-{place}@example.com --role developer"),
                )
            })
            .collect();
        for child in children {
            assert!(child.wait_with_output().unwrap().status.success());
        }
    }
    let rows = office.audited();
    assert_eq!(rows.as_array().unwrap().len(), 24);
    let (report, _) = office.told(0, "audit verify");
    assert_eq!(
        (
            report[0]["entries"].as_i64(),
            report[0]["newest_seq"].as_i64()
        ),
        (Some(48), Some(48))
    );
    let hash = report[0]["newest_hash"].as_str().unwrap();
    office.told(0, "users list");
    office.told(0, &format!("audit verify --anchor {hash}"));
    let text = fs::read_to_string(office.home.path("audit.jsonl")).unwrap();
    fs::write(
        office.home.path("audit.jsonl"),
        text.replacen("p1-0@", "xx-0@", 1),
    )
    .unwrap();
    let (report, said) = office.told(1, "audit verify");
    assert!(
        said.contains("was changed: its hash does not fit it"),
        "{said}"
    );
    assert_eq!(report[0]["whole"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_intent_and_outcome_shows() {
    let office = Dialect::Guide.office().await;
    office
        .simulator
        .fail(FaultOn::endpoint("users_invite"), Fault::Silence);
    let mut child = start(&office, "users invite cy@example.com");
    office.simulator.until_silent(1).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (rows, _) = office.told(0, "audit list --open");
    assert_eq!(column(&rows, "target"), ["cy@example.com"]);
    let (_, said) = office.told(0, "audit verify");
    assert!(
        said.contains("without an outcome: users.invite `cy@example.com`"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_ends_after_the_step_that_is_under_way() {
    let office = Dialect::Real.office().await;
    office
        .simulator
        .fail(FaultOn::endpoint("api_key").times(1), Fault::Silence);
    let child = start(
        &office,
        "keys revoke apikey_1 apikey_2 apikey_3 --yes --output json",
    );
    office.simulator.until_silent(1).await;
    let status = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    // What is heard is said, before anything else can be.
    let mut child = child;
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("stopping after the step"), "{line}");
    office.simulator.release();
    let output = child.wait_with_output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(column(&rows, "outcome"), ["done", "not begun", "not begun"]);
    assert_eq!(office.keys(), ["apikey_2", "apikey_3"]);
    office.check_audit();
}

/// Commands that only read, with what they are below.
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

/// Every command that has none below it, with the words that lead to it.
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

/// So much memory a command may take.
const MAX_KIB: i64 = 60 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_of_thousands_of_people_need_little_memory() {
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
        let office = Office::of(world).await;
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
                    .arg(office.home.path("spendwatch.toml"))
                    .output()
                    .unwrap();
                let said = String::from_utf8(output.stderr).unwrap();
                let (code, kib) = said.trim().split_once(' ').unwrap();
                let told = String::from_utf8(output.stdout).unwrap();
                let n_told = match format {
                    "json" => serde_json::from_str::<Vec<serde_json::Value>>(&told)
                        .unwrap()
                        .len(),
                    _ => told.lines().count() - 1,
                };
                assert_eq!((code, n_told), ("0", n_rows), "{line}");
                let kib: i64 = kib.parse().unwrap();
                assert!(kib <= MAX_KIB, "{dialect:?}: {line}, {format}: {kib} KiB");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_to_syslog_too_and_one_that_is_gone_stops_nothing() {
    let office = Dialect::Guide.office().await;
    let (path, socket) = (
        office.home.path("spendwatch.toml"),
        office.home.path("syslog"),
    );
    let text = fs::read_to_string(&path).unwrap();
    let entry = format!("[audit]\nsyslog = \"{}\"\n", socket.display());
    fs::write(&path, text.replace("[audit]\n", &entry)).unwrap();
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    office.told(0, "users invite cy@example.com");
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
    office.told(0, "users invite di@example.com");
    office.check_audit();
}

/// Wherever a process is killed, the chain holds: what it was doing shows, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_leave_a_chain_that_holds() {
    let office = Dialect::Guide.office().await;
    for n in 0..40_u64 {
        let n_before = office.simulator.n_seen();
        let mut child = start(&office, &format!("users invite p{n}@example.com"));
        // Before the first request, between two of them, or behind the last that a command sends.
        let reached = n_before + n % 4;
        tokio::select! {
            () = office.simulator.until_seen(reached) => {}
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
    office.told(0, "users invite last@example.com");
    let (report, said) = office.told(0, "audit verify");
    assert_eq!(report[0]["whole"], true, "{said}");
    let open = report[0]["open"].as_array().unwrap().len();
    let rows = office.audited();
    let n_open = column(&rows, "outcome")
        .iter()
        .filter(|outcome| *outcome == "open")
        .count();
    assert_eq!(n_open, open, "what was killed between its entries shows");
}
