//! Commands on a filled store: alerts, messages, silences and the store itself, with and without a running daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use spendwatch_store::outbox::AttemptOutcome;

use crate::admin::tables::check_table;
use crate::admin::terminal::Terminal;
use crate::alerts::month_rule;
use crate::harness::{WatcherFixture, at};

/// A store with a firing alert and a dead letter, and a configuration.
struct FilledStore {
    fixture: WatcherFixture,
}

impl FilledStore {
    async fn new() -> FilledStore {
        let now = "2026-11-24T12:30:00Z";
        let mut world = World::empty();
        world.add_workspace("workspace_a", "Al\u{1b}[2Jpha");
        world.spend(
            "workspace_a",
            "claude-sonnet-4-5",
            at("2026-11-24T12:10:00Z"),
            "120.000001",
        );
        let filled = FilledStore::of(world).await;
        let store = filled.fixture.open_store();
        let notifier = NotifierName::from("chat");
        let claimed = store.claim(&notifier, at(now)).await.unwrap().unwrap();
        let error = "refused\u{1b}[31m with 404".to_owned();
        store
            .finish(
                &claimed.id,
                AttemptOutcome::Dead { error },
                spendwatch_store::outbox::notifiers::NotifierState::default(),
                at(now),
            )
            .await
            .unwrap();
        filled
    }

    /// Runs one cycle at 12:30.
    async fn of(world: World) -> FilledStore {
        let now = "2026-11-24T12:30:00Z";
        let fixture = WatcherFixture::new(world, now)
            .await
            .with_rule(month_rule(100));
        let filled = FilledStore { fixture };
        let store = filled.fixture.open_store();
        let mut watcher = filled.fixture.watcher(&store).await;
        filled.fixture.cycle(&mut watcher).await;
        filled.configure("");
        filled
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.fixture.folder.path().join(name)
    }

    fn configure(&self, rest: &str) {
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nbase_url = \"{}\"\nadmin_key = {{ env = \"KEY\" }}\n\
             [store]\nurl = \"sqlite://{}\"\n{rest}",
            self.fixture.simulator.base_url(),
            self.fixture.store_path().display()
        );
        fs::write(self.path("spendwatch.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("spendwatch.toml"))
            .env("KEY", self.fixture.simulator.key().expose())
            .env_remove("USER");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn output_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        serde_json::from_str(&self.output_of(&arguments)).unwrap()
    }

    #[track_caller]
    fn assert_error(&self, arguments: &[&str], code: i32, expected: &str) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert!(
            stderr.starts_with("error: ") && stderr.contains(expected),
            "{stderr}"
        );
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_listed_filtered_and_shown_with_their_changes() {
    let filled = FilledStore::new().await;
    let listed = filled.json(&["alerts", "list"]);
    insta::assert_snapshot!(format!("{listed:#}"), @r#"
[
  {
    "changed_at": "2026-11-24T12:30:00Z",
    "ended_at": null,
    "ended_by": null,
    "event": null,
    "firing_since": "2026-11-24T12:30:00Z",
    "id": "28a5f1d103afb058",
    "limit": "100",
    "organization": "acme",
    "period": "2026-11",
    "rule": "month",
    "sequence": 1,
    "severity": "critical",
    "state": "firing",
    "subject": "Al\u001b[2Jpha",
    "subject_id": "workspace_a",
    "subject_kind": "workspace",
    "threshold": "100%",
    "used_percent": "120.0",
    "value": "120.000001",
    "watch": "spend"
  }
]
"#);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let shown = filled.json(&["alerts", "show", &id[..4]]);
    insta::assert_snapshot!(format!("{:#}", shown["changes"]), @r#"
[
  {
    "at": "2026-11-24T12:30:00Z",
    "ended_by": null,
    "limit": "100",
    "sequence": 1,
    "severity": "critical",
    "state": "firing",
    "threshold": "100%",
    "told": [
      "chat: first"
    ],
    "value": "120.000001",
    "watch": "spend"
  }
]
"#);
    let table = filled.output_of(&["alerts", "show", &id]);
    let (heading, rest) = table.split_once('\n').unwrap();
    let headings = [
        "ID", "STATE", "SEVERITY", "RULE", "SUBJECT", "PERIOD", "VALUE", "LIMIT", "USED", "%",
    ];
    assert_eq!(heading.split_whitespace().collect::<Vec<_>>(), headings);
    let row: Vec<&str> = rest.lines().next().unwrap().split_whitespace().collect();
    let expected = [
        "28a5f1d103afb058",
        "firing",
        "critical",
        "month",
        "Al\u{fffd}[2Jpha",
        "2026-11",
        "120.00",
        "100.00",
        "120.0",
    ];
    assert_eq!(row, expected);
    let history = "
TIME               STATE   ENDED BY  SEVERITY  THRESHOLD  VALUE   NOTIFIED
2026-11-24 12:30Z  firing  -         critical  100%       120.00  chat: first
";
    assert!(table.ends_with(history), "{table}");
    assert_eq!(
        filled.json(&["alerts", "list", "--state", "ended"]),
        Value::from(Vec::<Value>::new())
    );
    assert_eq!(
        filled.json(&["alerts", "list", "--rule", "other"]),
        Value::from(Vec::<Value>::new())
    );
    assert_eq!(
        filled.json(&[
            "alerts",
            "list",
            "--state",
            "firing,pending",
            "--rule",
            "month"
        ]),
        listed
    );
    filled.assert_error(&["alerts", "show", "zz"], 1, "no alert `zz`");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_alerts_come_first_and_details_include_the_message() {
    let spent = [
        ("search", "130"),
        ("support", "410"),
        ("sales", "205.5"),
        ("ops", "101"),
        ("legal", "320"),
    ];
    let mut world = World::empty();
    for (name, usd) in spent {
        world.add_workspace(&format!("workspace_{name}"), &name.to_uppercase());
        world.spend(
            &format!("workspace_{name}"),
            "claude-sonnet-4-5",
            at("2026-11-24T12:10:00Z"),
            usd,
        );
    }
    let filled = FilledStore::of(world).await;
    let listed = filled.json(&["alerts", "list"]);
    let all = listed.as_array().unwrap();
    let of = |key: &str| -> Vec<&str> { all.iter().filter_map(|row| row[key].as_str()).collect() };
    assert_eq!(
        of("subject"),
        ["SUPPORT", "LEGAL", "SALES", "SEARCH", "OPS"]
    );
    assert_eq!(
        of("used_percent"),
        ["410.0", "320.0", "205.5", "130.0", "101.0"]
    );
    assert_eq!(of("limit"), ["100"; 5]);
    let first = filled.json(&["alerts", "list", "--limit", "1"]);
    assert_eq!(first[0]["subject"], "SUPPORT");
    let id = of("id")[0];
    let shown = filled.json(&["alerts", "show", id]);
    let message = &shown["message"];
    assert_eq!(
        (&message["notifier"], &message["reason"], &message["state"]),
        (&"chat".into(), &"first".into(), &"waiting".into())
    );
    let title = message["title"].as_str().unwrap();
    assert!(title.contains("workspace SUPPORT"), "{title}");
    let contributors = message["contributors"].as_array().unwrap();
    assert!(
        contributors[0]
            .as_str()
            .unwrap()
            .contains("claude-sonnet-4-5")
    );
    assert!(!message["advice"].as_array().unwrap().is_empty());
    let text = message["text"].as_str().unwrap();
    let table = filled.output_of(&["alerts", "show", id]);
    for line in text.lines().chain(["SUPPORT", "410.0", "100.00"]) {
        assert!(table.contains(line), "{line}\n{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_author_is_the_actor_of_the_audit_log() {
    let filled = FilledStore::new().await;
    let audit = filled.path("audit.jsonl");
    filled.configure(&format!("[audit]\nfile = \"{}\"\n", audit.display()));
    let add = [
        "silence",
        "add",
        "rule=month",
        "--for",
        "1h",
        "--comment",
        "x",
        "--yes",
    ];
    let own = filled.json(&add)[0]["author"].clone();
    let named = filled.json(&[&add[..], &["--actor", "ada"]].concat())[0]["author"].clone();
    let id = filled.json(&["alerts", "list"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    filled.output_of(&["alerts", "ack", &id, "--yes"]);
    let taken_up = filled.json(&["alerts", "show", &id])["acknowledged"]["author"].clone();
    let entries = filled.json(&["audit", "list"]);
    let actors: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["actor"])
        .collect();
    assert_eq!(actors, [&own, &named, &taken_up]);
    assert_eq!(
        (own.as_str() != Some("unknown"), &named),
        (true, &"ada".into())
    );
    let silences = filled.json(&["silence", "list"]);
    let id = silences[0]["id"].as_str().unwrap();
    filled.output_of(&["silence", "remove", id, "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_the_terminal_and_severities_are_colored() {
    let name = "検索サービスの夜間バッチ処理 👩\u{200d}💻 and a name that goes on for long";
    let mut world = World::empty();
    world.add_workspace("workspace_01Rj2N8SVvo6BePZj99Nhm", name);
    world.spend(
        "workspace_01Rj2N8SVvo6BePZj99Nhm",
        "claude-sonnet-4-5",
        at("2026-11-24T12:10:00Z"),
        "1234567.89",
    );
    let filled = FilledStore::of(world).await;
    let audit = filled.path("audit.jsonl");
    filled.configure(&format!(
        "[[rules]]\nname = \"month\"\nfor_each = \"workspace\"\nlimit_usd = 100\n[audit]\nfile = \"{}\"\n",
        audit.display()
    ));
    let comment = "a load test that runs all night, and the whole of the next day";
    filled.output_of(&[
        "silence",
        "add",
        "rule=month",
        "--for",
        "1h",
        "--comment",
        comment,
    ]);
    let id_of = |command: &[&str]| filled.json(command)[0]["id"].as_str().unwrap().to_owned();
    let alert = id_of(&["alerts", "list"]);
    let (message, silence) = (
        id_of(&["notifications", "list"]),
        id_of(&["silence", "list"]),
    );
    let run = |arguments: &[&str], width, variables: &[(&str, &str)]| {
        let mut command = filled.command(arguments);
        command.arg("--quiet").envs(variables.iter().copied());
        let (exit, shown) = Terminal::start(command, Some(width)).end();
        (exit, shown.replace('\r', ""))
    };
    let usage = ["usage", "--from", "2026-11-01", "--to", "2026-11-30"];
    let tables: [(&[&str], &[&str]); 7] = [
        (&["alerts", "list"], &[&alert, "1,234,567.89", "critical"]),
        (
            &["alerts", "show", &alert],
            &[&alert, &message, "2026-11-24 12:30Z"],
        ),
        (&["notifications", "list"], &[&message, "2026-11-24 12:30Z"]),
        (&["silence", "list"], &[&silence]),
        (&["audit", "list"], &[&silence, "silences.add"]),
        (&["audit", "verify"], &[]),
        (&usage, &["1,234,567.89"]),
    ];
    for (arguments, whole) in tables {
        for width in [40, 80, 200] {
            let (exit, shown) = run(arguments, width, &[]);
            assert_eq!(exit, Some(0), "{shown}");
            check_table(&shown, width, whole);
        }
    }
    let red = "\u{1b}[1;31mcritical\u{1b}[0m";
    let (_, shown) = run(&["alerts", "list"], 80, &[]);
    assert!(shown.contains(red), "{shown:?}");
    for (arguments, variables) in [
        (&["alerts", "list"][..], &[("NO_COLOR", "1")][..]),
        (&["alerts", "list"], &[("TERM", "dumb")]),
        (&["alerts", "list", "--output", "json"], &[]),
        (&["alerts", "list", "--output", "csv"], &[]),
    ] {
        let (_, shown) = run(arguments, 80, variables);
        assert!(
            shown.contains("critical") && !shown.contains('\u{1b}'),
            "{shown:?}"
        );
    }
    let piped = filled.output_of(&["alerts", "list"]);
    assert!(
        piped.contains(name) && !piped.contains('\u{1b}'),
        "{piped:?}"
    );
    // `COLUMNS` overrides the width of the terminal.
    let (_, shown) = run(&["alerts", "list"], 200, &[("COLUMNS", "60")]);
    check_table(&shown, 60, &[&alert]);
    let (_, shown) = run(&["alerts", "list"], 200, &[]);
    assert!(
        shown.contains(name),
        "a wide terminal breaks no name: {shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_and_dead_letters_are_replayed() {
    let filled = FilledStore::new().await;
    let store =
        Store::open_for_command(&filled.fixture.store_path(), filled.fixture.now()).unwrap();
    let dead = filled.json(&["notifications", "list", "--state", "dead"]);
    let id = dead[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&dead[0]["notifier"], &dead[0]["n_attempts"]),
        (&"chat".into(), &1.into())
    );
    let table = filled.output_of(&["notifications", "list"]);
    assert!(table.contains("refused\u{fffd}[31m with 404"), "{table:?}");
    assert_eq!(
        filled.json(&["notifications", "list", "--notifier", "mail"]),
        Value::from(Vec::<Value>::new())
    );
    filled.assert_error(&["notifications", "replay", "nope"], 1, "no message `nope`");
    filled.assert_error(
        &["notifications", "replay", &id, "nope"],
        1,
        "no message `nope`",
    );
    filled.json(&["notifications", "replay", "--all-dead", "--dry-run"]);
    assert_eq!(
        filled.json(&["notifications", "list", "--state", "dead"]),
        dead,
        "nothing was changed"
    );
    let replayed = filled.json(&["notifications", "replay", &id[..6]]);
    assert_eq!(replayed[0]["state"], "waiting");
    let claimed = store
        .claim(
            &"chat".into(),
            spendwatch_base::clock::Clock::system().now(),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (claimed.id.as_str(), claimed.is_replay),
        (id.as_str(), true)
    );
    filled.assert_error(
        &["notifications", "replay", &id],
        1,
        "is waiting, expected a dead letter",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_checked_and_copied_with_a_running_daemon() {
    let filled = FilledStore::new().await;
    let _daemon = filled.fixture.open_store();
    let report = filled.json(&["store", "check"]);
    assert_eq!(
        (&report[0]["n_problems"], &report[0]["alerts"]),
        (&0.into(), &1.into())
    );
    let copy = filled.path("copy.db");
    filled.output_of(&["store", "backup", copy.to_str().unwrap()]);
    assert_eq!(
        fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        Store::open_for_command(&copy, at("2026-11-24T13:00:00Z"))
            .unwrap()
            .check()
            .await
            .unwrap()
            .n_alerts,
        1
    );
    let before = fs::read(&copy).unwrap();
    filled.assert_error(&["store", "backup", copy.to_str().unwrap()], 1, "copy.db");
    assert_eq!(fs::read(&copy).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_foreign_and_newer_stores_are_errors() {
    let filled = FilledStore::new().await;
    let path = filled.fixture.store_path();
    let commands: [&[&str]; 4] = [
        &["store", "check"],
        &["alerts", "list"],
        &["notifications", "list"],
        &["alerts", "show", "a"],
    ];
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 1_000_000)
        .unwrap();
    for command in commands {
        filled.assert_error(command, 1, "run the newer program");
    }
    remove(&path);
    fs::write(
        &path,
        "this is a text of more than a few bytes, and no database".repeat(20),
    )
    .unwrap();
    for command in commands {
        filled.assert_error(command, 1, "is not a spendwatch store");
    }
    remove(&path);
    for command in commands {
        filled.assert_error(command, 1, "does not exist; start the daemon");
    }
    assert!(!path.exists(), "a command makes none");
}

fn remove(store: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", store.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_errors_exit_with_2_and_list_values() {
    let filled = FilledStore::new().await;
    filled.assert_error(&["alerts", "list", "--limit", "x"], 2, "");
    for wrong in [
        &["alerts", "list", "--state", "burning"][..],
        &["notifications", "list", "--state", "lost"],
        &["notifications", "replay"],
        &["notifications", "replay", "a", "--all-dead"],
        &["store", "backup"],
        &["--output", "xml", "alerts", "list"],
    ] {
        filled.assert_error(wrong, 2, "");
    }
    filled.configure("[polll]\n");
    filled.assert_error(&["store", "check"], 2, "did you mean `poll`?");
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_are_added_listed_applied_and_removed() {
    let filled = FilledStore::new().await;
    filled.configure(
        "[[rules]]\nname = \"month\"\nlimit_usd = 100\nlabels = { cost_center = \"x\" }\n",
    );
    let add = |matcher: &'static str| {
        [
            "silence",
            "add",
            matcher,
            "--from",
            "2026-11-24T12:00:00Z",
            "--until",
            "2027-06-01T00:00",
            "--author",
            "ada",
            "--comment",
            "load test",
        ]
    };
    let added = filled.json(&add("subject=workspace_*"));
    insta::assert_snapshot!(format!("{:#}", {
        let mut shown = added.clone();
        shown[0]["id"] = "…".into();
        shown
    }), @r#"
    [
      {
        "author": "ada",
        "comment": "load test",
        "ends_at": "2027-06-01T00:00:00Z",
        "id": "…",
        "matchers": [
          "subject=workspace_*"
        ],
        "starts_at": "2026-11-24T12:00:00Z",
        "state": "active"
      }
    ]
    "#);
    // A silence that matches nothing is added with a warning.
    for (matcher, expected) in [
        ("rule=mont", "matches no rule"),
        ("subjct=a", "no alert has a label `subjct`"),
    ] {
        let stderr = text(&filled.run(&add(matcher)).stderr);
        assert!(
            stderr.starts_with("warning: ") && stderr.contains(expected),
            "{stderr}"
        );
    }
    assert_eq!(text(&filled.run(&add("cost_center=x")).stderr), "");
    // The next decision applies it: the alert escalates without a message.
    let store = filled.fixture.open_store();
    let mut watcher = filled.fixture.watcher(&store).await;
    let report = filled.fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(report.n_messages, 0);
    assert!(
        watcher
            .alerts
            .by_slot
            .values()
            .all(|alert| alert.is_silenced)
    );
    let listed = filled.json(&["silence", "list"]);
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 4);
    filled.output_of(&[&["silence", "remove"], &ids[..]].concat());
    assert_eq!(filled.json(&["silence", "list"]), serde_json::json!([]));
    assert_eq!(
        filled
            .json(&["silence", "list", "--all"])
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let some = filled.run(&["silence", "remove", ids[0], "nothing"]);
    assert_eq!(some.status.code(), Some(3));
    filled.assert_error(&["silence", "remove", "nothing"], 1, "no silence `nothing`");
    filled.assert_error(
        &["silence", "add", "rule", "--for", "1h", "--comment", "x"],
        2,
        "has none of",
    );
    filled.assert_error(
        &["silence", "add", "rule=x", "--for", "1", "--comment", "x"],
        2,
        "expected a duration, for example `30m`",
    );
    filled.assert_error(
        &[
            "silence",
            "add",
            "rule=x",
            "--until",
            "2020-01-01T00:00Z",
            "--comment",
            "x",
        ],
        2,
        "not after its start",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_acknowledged() {
    let filled = FilledStore::new().await;
    let id = filled.json(&["alerts", "list"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        filled.json(&["alerts", "show", &id])["acknowledged"],
        Value::Null
    );
    filled.output_of(&[
        "alerts",
        "ack",
        &id[..5],
        "--author",
        "ada",
        "--comment",
        "on \u{1b}[2Jit",
    ]);
    let shown = filled.json(&["alerts", "show", &id]);
    let taken_up = &shown["acknowledged"];
    assert_eq!(
        [
            &taken_up["author"],
            &taken_up["comment"],
            &taken_up["threshold"]
        ],
        ["ada", "on \u{1b}[2Jit", "100%"]
    );
    let table = filled.output_of(&["alerts", "show", &id, "--output", "table"]);
    assert!(
        table.contains("ACKNOWLEDGED BY") && !table.contains('\u{1b}'),
        "{table}"
    );
    filled.assert_error(&["alerts", "ack", "zz"], 1, "no alert `zz`");
}
