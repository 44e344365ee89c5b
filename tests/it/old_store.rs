//! The files of spendwatch 0.1 (`tests/stores/v0.1`): a store with alerts, silences, waiting messages and dead letters for
//! every kind of notifier, its configuration, and an audit log. This version opens them and delivers what waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use spendwatch::cycle::configured;
use spendwatch::cycle::state::Watcher;
use spendwatch::delivery::configured::senders;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::source::Environment;
use spendwatch_config::{self as config, Config};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_metrics::counters::{Counters, CycleOutcome};
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};
use spendwatch_store::Store;
use spendwatch_store::outbox::messages::{MessageFilter, MessageRow, MessageState};

use crate::harness::{WatcherFixture, at};
use crate::receiver::Receiver;
use crate::slack_server::{SlackServer, TOKEN};
use crate::smtp::{Encryption, MailServer};

/// One minute after the last cycle of the old version.
const NOW: &str = "2026-11-23T08:46:00Z";
/// Dead letters of the old version.
const DEAD: [&str; 3] = ["id-000009", "id-000010", "id-000022"];

fn old_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/v0.1")
}

fn spend(world: &mut World, workspace: &str, key: &str, user: Option<&str>, hour: &str, usd: i64) {
    let detail = UsageDetail {
        api_key: Some(key.to_owned()),
        user: user.map(str::to_owned),
        ..UsageDetail::default()
    };
    let used = SimulatedUsage {
        micros: usd * 1_000_000,
        input: usd * 200_000,
        output: usd * 20_000,
        cache_read: 1000,
        cache_write_5m: 10,
        cache_write_1h: 5,
        requests: usd,
        ..SimulatedUsage::default()
    };
    world.add_detailed_usage(workspace, "claude-sonnet-4-5", at(hour), used, detail);
}

/// The organization as it was when the old version stopped.
fn world() -> World {
    let mut world = World::seeded(7);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.discount_percent = 10;
    for (id, name) in [
        ("wrkspc_a", "Alpha"),
        ("wrkspc_b", "Beta"),
        ("wrkspc_c", "Gamma \"east\""),
    ] {
        world.add_workspace(id, name);
    }
    let tags = &mut world.workspace_mut("wrkspc_a").tags;
    tags.insert("team".to_owned(), "search".to_owned());
    let key =
        |id: &str, workspace: &str, creator: &str, status: &str, is_used: bool| SimulatedKey {
            id: id.to_owned(),
            name: format!("name of {id}"),
            workspace: Some(workspace.to_owned()),
            created_by: creator.to_owned(),
            status: status.to_owned(),
            last_used_at: is_used.then(|| at("2026-11-20T10:00:00Z")),
            ..SimulatedKey::default()
        };
    world.keys = vec![
        key("apikey_a1", "wrkspc_a", "user_1", "active", true),
        key("apikey_b1", "wrkspc_b", "user_9", "inactive", true),
        key("apikey_c1", "wrkspc_c", "user_1", "active", false),
    ];
    world.users = vec![SimulatedUser {
        id: "user_1".to_owned(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    }];
    for (workspace, key, user, hour, usd) in [
        (
            "wrkspc_a",
            "apikey_a1",
            Some("user_1"),
            "2026-11-12T10:00:00Z",
            30,
        ),
        ("wrkspc_a", "apikey_a1", None, "2026-11-18T10:00:00Z", 55),
        ("wrkspc_b", "apikey_b1", None, "2026-11-22T10:00:00Z", 120),
        ("wrkspc_c", "apikey_c1", None, "2026-11-23T05:00:00Z", 30),
        ("wrkspc_a", "apikey_a1", None, "2026-11-23T07:20:00Z", 40),
        ("wrkspc_c", "apikey_c1", None, "2026-11-23T07:40:00Z", 90),
        (
            "wrkspc_default0",
            "apikey_a1",
            None,
            "2026-11-23T08:36:00Z",
            35,
        ),
    ] {
        spend(&mut world, workspace, key, user, hour, usd);
    }
    world
}

/// The receivers of the old configuration; all of them accept messages now.
struct Receivers {
    posts: BTreeMap<&'static str, Receiver>,
    bot: SlackServer,
    mail: MailServer,
}

impl Receivers {
    async fn start() -> Receivers {
        let mut posts = BTreeMap::new();
        for name in ["chat", "hook", "spare", "short"] {
            posts.insert(name, Receiver::start(|_| None).await);
        }
        for (name, status) in [("pager", 202), ("teams", 202), ("discord", 204)] {
            let accept = match status {
                202 => |_: Option<&str>| (202, "{}"),
                _ => |_: Option<&str>| (204, ""),
            };
            posts.insert(name, Receiver::start_with(|_| None, accept).await);
        }
        Receivers {
            posts,
            bot: SlackServer::start().await,
            mail: MailServer::start(Encryption::Never).await,
        }
    }

    fn n_posts(&self, name: &str) -> usize {
        match name {
            "bot" => self.bot.messages().len(),
            "mail" => self.mail.mails().len(),
            _ => self.posts[name].posts().len(),
        }
    }

    fn bodies(&self, name: &str) -> Vec<Value> {
        let posts = self.posts[name].posts();
        let bodies = posts.iter().map(|post| serde_json::from_slice(&post.body));
        bodies.collect::<Result<_, _>>().unwrap()
    }
}

/// The old files in a temporary folder, beside the simulated service and the receivers.
struct Fixture {
    stage: WatcherFixture,
    receivers: Receivers,
    environment: Environment,
    config: Config,
}

impl Fixture {
    async fn new() -> Fixture {
        let mut stage = WatcherFixture::new(world(), NOW).await;
        stage.dialect = Dialect::Analytics;
        let db = rusqlite::Connection::open(stage.store_path()).unwrap();
        let sql = fs::read_to_string(old_files().join("store.sql")).unwrap();
        db.execute_batch(&sql).unwrap();
        drop(db);
        let receivers = Receivers::start().await;
        let folder = stage.folder.path().to_owned();
        let text = fs::read_to_string(old_files().join("spendwatch.toml")).unwrap();
        let text = text
            .replace("@folder@", &folder.display().to_string())
            .replace("@base@", &stage.base_url())
            .replace("@bot@", &receivers.bot.url)
            .replace(
                "@smtp@",
                &format!("smtp://127.0.0.1:{}", receivers.mail.port),
            );
        let audit = format!("\n[audit]\nfile = \"{}/audit.jsonl\"\n", folder.display());
        let text = text + &audit;
        fs::write(folder.join("spendwatch.toml"), &text).unwrap();
        fs::copy(old_files().join("audit.jsonl"), folder.join("audit.jsonl")).unwrap();
        fs::copy(
            old_files().join("audit.head"),
            folder.join("audit.jsonl.head"),
        )
        .unwrap();
        let key = stage.simulator.key().expose().to_owned();
        let mut environment: BTreeMap<String, String> = [
            ("ANTHROPIC_ADMIN_KEY", &*key),
            ("AM", "http://127.0.0.1:9"),
            ("TOKEN", TOKEN),
            ("ROUTING_KEY", "0123456789abcdef0123456789abcdef"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, receiver) in &receivers.posts {
            environment.insert(name.to_uppercase(), receiver.url.clone());
        }
        let environment: Environment = environment.into_iter().collect();
        let config = match config::read(&text, None, &environment) {
            Ok(config) => config,
            Err(problems) => panic!("{problems}"),
        };
        Fixture {
            stage,
            receivers,
            environment,
            config,
        }
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(line.split_whitespace())
            .arg("--config")
            .arg(self.stage.folder.path().join("spendwatch.toml"))
            .envs(&self.environment)
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    /// The rows that a command prints.
    #[track_caller]
    fn rows(&self, line: &str) -> Vec<Value> {
        let output = self.run(&format!("{line} --output json"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        match serde_json::from_slice(&output.stdout).unwrap() {
            Value::Array(rows) => rows,
            one => vec![one],
        }
    }
}

async fn messages(store: &Store) -> Vec<MessageRow> {
    let filter = MessageFilter {
        state: None,
        notifier: None,
        limit: 1000,
    };
    store.messages(&filter).await.unwrap()
}

fn ids(messages: &[MessageRow], state: MessageState) -> BTreeSet<String> {
    let found = messages.iter().filter(|message| message.state == state);
    found.map(|message| message.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_show_what_the_old_version_stored() {
    let fixture = Fixture::new().await;
    let alerts = fixture.rows("alerts list --state pending --state firing --state ended");
    assert_eq!(alerts.len(), 14);
    for alert in &alerts {
        let id = alert["id"].as_str().unwrap();
        let shown = fixture.rows(&format!("alerts show {id}"));
        assert_eq!(shown[0]["id"], alert["id"]);
        assert!(!shown[0]["changes"].as_array().unwrap().is_empty(), "{id}");
    }
    assert_eq!(fixture.rows("silence list --all").len(), 2);
    let messages = fixture.rows("notifications list --limit 1000");
    let n_in = |state: &str| messages.iter().filter(|row| row["state"] == state).count();
    let counts = ["waiting", "delivered", "dead", "folded"].map(n_in);
    assert_eq!(counts, [33, 1, 3, 2]);
    // Waiting digests have no alerts.
    let checked = fixture.rows("store check");
    assert_eq!(checked[0]["n_problems"], 0);
    let verified = fixture.rows("audit verify");
    assert_eq!(verified[0]["whole"], true);
    assert_eq!(fixture.rows("audit list").len(), 3);
}

#[tokio::test]
async fn a_cycle_runs_on_the_old_store_and_all_waiting_messages_are_delivered() {
    let fixture = Fixture::new().await;
    let Fixture {
        stage,
        receivers,
        environment,
        config,
    } = &fixture;
    let store = stage.open_store();
    let before = messages(&store).await;
    let waiting = ids(&before, MessageState::Waiting);
    assert_eq!(
        ids(&before, MessageState::Dead),
        DEAD.map(str::to_owned).into()
    );
    let parked = store.notifier_state(&"hook".into()).await.unwrap().parked;
    assert_eq!(parked.unwrap().reason, "answered 401: no");

    let settings = configured::settings(config, &config.organizations[0]);
    let mut watcher = Watcher::open(settings, stage.deps(&store)).await.unwrap();
    let summary = stage.cycle(&mut watcher).await;
    assert_eq!(summary.outcome, CycleOutcome::Ok);
    assert_eq!(summary.n_messages, 0, "nothing changed since");

    let replayed = DEAD[0];
    let (now, expires) = (stage.now(), at("2026-11-26T00:00:00Z"));
    store.replay(replayed, now, expires).await.unwrap();
    let clock = Clock::Manual(stage.clock.clone());
    let random = Random::seeded(1);
    let senders = senders(config, environment, &store, &clock, &random)
        .await
        .unwrap();
    let counters = Counters::new("test");
    for _ in 0..8 {
        for worker in &senders.workers {
            worker.run_due(&counters).await.unwrap();
        }
        stage.clock.advance(Duration::from_mins(10));
    }

    let after = messages(&store).await;
    assert_eq!(after.len(), before.len());
    assert_eq!(ids(&after, MessageState::Waiting), BTreeSet::new());
    let dead = [DEAD[1], DEAD[2]].map(str::to_owned);
    assert_eq!(ids(&after, MessageState::Dead), dead.into());
    let delivered = ids(&after, MessageState::Delivered);
    let mut n_delivered: BTreeMap<&str, usize> = BTreeMap::new();
    for message in &after {
        let is_new = waiting.contains(&message.id) || message.id == replayed;
        match &message.folded_into {
            Some(other) => assert!(delivered.contains(other), "{}", message.id),
            None if is_new => *n_delivered.entry(message.notifier.as_str()).or_default() += 1,
            None => {}
        }
    }
    let parked = store.notifier_state(&"hook".into()).await.unwrap().parked;
    assert_eq!(parked, None);

    let printed = ["console", "program", "pager"];
    for (notifier, n_messages) in n_delivered {
        if !printed.contains(&notifier) {
            assert!(receivers.n_posts(notifier) >= n_messages, "{notifier}");
        }
    }
    let written = fs::read_to_string(stage.folder.path().join("program.jsonl")).unwrap();
    let written = serde_json::Deserializer::from_str(&written).into_iter::<Value>();
    let written: Vec<Value> = written.collect::<Result<_, _>>().unwrap();
    for (name, bodies) in [
        ("hook", receivers.bodies("hook")),
        ("spare", receivers.bodies("spare")),
        ("short", receivers.bodies("short")),
        ("program", written),
    ] {
        let alerts = bodies.iter().filter_map(|body| body["alerts"].as_array());
        let sent: BTreeSet<&str> = alerts
            .flatten()
            .map(|alert| alert["fingerprint"].as_str().unwrap())
            .collect();
        for message in before.iter().filter(|row| row.notifier.as_str() == name) {
            let was_sent = waiting.contains(&message.id) || message.id == replayed;
            for fact in message.facts.iter().filter(|_| was_sent) {
                let fingerprint = fact.identity.fingerprint();
                assert!(sent.contains(&*fingerprint), "{name}: {fingerprint}");
            }
        }
    }
}
