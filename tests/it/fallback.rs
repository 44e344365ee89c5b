//! Fallback of an unreachable notifier, from spend to posts.

use std::fs;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use spendwatch::cycle::state::Watcher;
use spendwatch::delivery::DeliveryWorker;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::envelope::Links;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::harness::{WatcherFixture, at, rule};
use crate::outbox_fixture::webhook;
use crate::program::{Home, Program, write_secret};
use crate::receiver::{Answer, Receiver};

const NOW: &str = "2026-11-24T10:05:00Z";
const NOTHING: [&str; 0] = [];

/// A monthly limit with notifier `chat` and its fallback `mail`.
struct Scene {
    stage: WatcherFixture,
    store: Store,
    watcher: Watcher,
    chat: Receiver,
    mail: Receiver,
    /// Number of posts already checked, of both.
    n_seen: (usize, usize),
}

impl Scene {
    async fn begin() -> Scene {
        let mut world = World::empty();
        world.add_workspace("workspace_a", "Alpha");
        let mut stage = WatcherFixture::new(world, NOW).await.with_rule(rule(
            "month",
            SubjectKind::Workspace,
            100,
        ));
        let manners = stage.policy.notifiers[&NotifierName::from("chat")];
        stage.policy.notifiers.insert("mail".into(), manners);
        stage.policy.fallbacks.insert("chat".into(), "mail".into());
        let store = stage.open_store();
        let watcher = stage.watcher(&store).await;
        Scene {
            stage,
            store,
            watcher,
            chat: Receiver::start(|_| None).await,
            mail: Receiver::start(|_| None).await,
            n_seen: (0, 0),
        }
    }

    async fn restart(self) -> Scene {
        drop((self.watcher, self.store));
        let store = self.stage.open_store();
        Scene {
            watcher: self.stage.watcher(&store).await,
            store,
            ..self
        }
    }

    fn spend(&self, usd: &str) {
        let mut world = self.stage.simulator.world();
        world.spend("workspace_a", "claude-sonnet-4-5", at(NOW), usd);
    }

    /// Advances the clock, runs a cycle and sends due messages. Returns the messages to `chat` and `mail`.
    async fn after(&mut self, minutes: u64) -> (Vec<String>, Vec<String>) {
        self.stage.cycle_after(minutes, &mut self.watcher).await;
        self.send().await
    }

    /// Decides as after a parking, and sends.
    async fn decide(&mut self) -> (Vec<String>, Vec<String>) {
        self.watcher.decide_and_commit().await.unwrap();
        self.send().await
    }

    async fn send(&mut self) -> (Vec<String>, Vec<String>) {
        let counters = Counters::new("test");
        for (name, receiver) in [("chat", &self.chat), ("mail", &self.mail)] {
            let worker = DeliveryWorker {
                name: name.into(),
                notifier: webhook(&receiver.url),
                shows_repeats: false,
                store: self.store.clone(),
                clock: Clock::Manual(self.stage.clock.clone()),
                random: self.stage.random.clone(),
                links: Links::default(),
                group_interval: SignedDuration::ZERO,
                fallback: None,
            };
            worker.run_due(&counters).await.unwrap();
        }
        let chat = new_alerts(&self.chat, &mut self.n_seen.0);
        let mail = new_alerts(&self.mail, &mut self.n_seen.1);
        (chat, mail)
    }

    async fn is_parked(&self) -> bool {
        let state = self.store.notifier_state(&"chat".into()).await.unwrap();
        state.parked.is_some()
    }
}

/// Returns threshold, reason and absent notifier of each alert in the newest posts.
fn new_alerts(receiver: &Receiver, n_seen: &mut usize) -> Vec<String> {
    let posts = receiver.posts();
    let mut alerts = Vec::new();
    for post in &posts[*n_seen..] {
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            let figures = &alert["spendwatch"];
            let text = |key: &str| figures[key].as_str().unwrap_or_default();
            let absent = text("in_place_of");
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            let is_explained = summary.contains("sent here because `chat` is not reachable");
            assert_eq!(is_explained, !absent.is_empty(), "{summary}");
            alerts.push(format!("{} {} {absent}", text("threshold"), text("reason")));
        }
    }
    *n_seen = posts.len();
    alerts
}

fn refusal() -> Answer {
    Answer::Reply(401, Vec::new(), "gone".to_owned())
}

#[track_caller]
fn check((of_chat, of_mail): &(Vec<String>, Vec<String>), chat: &[&str], mail: &[&str]) {
    assert_eq!(of_chat, chat, "chat");
    assert_eq!(of_mail, mail, "mail");
}

#[tokio::test]
async fn fallback_receives_an_alert_to_its_end() {
    let mut scene = Scene::begin().await;
    scene.chat.answer(refusal());
    scene.spend("85");
    check(&scene.after(5).await, &["80% first "], &NOTHING);
    assert!(scene.is_parked().await);
    check(&scene.decide().await, &NOTHING, &["80% first chat"]);
    // Neither another decision nor a restart repeats it.
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    let mut scene = scene.restart().await;
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    assert!(scene.is_parked().await);
    scene.spend("20");
    check(&scene.after(1).await, &NOTHING, &["100% escalated chat"]);
    // After a successful probe, `chat` receives all waiting messages, and `mail` no false resolution.
    check(
        &scene.after(15).await,
        &["80% first ", "100% escalated "],
        &NOTHING,
    );
    assert!(!scene.is_parked().await);
    let mut scene = scene.restart().await;
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    scene.spend("-60");
    let mut sent = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let (chat, mail) = scene.after(5).await;
        sent.0.extend(chat);
        sent.1.extend(mail);
    }
    check(&sent, &["100% resolved "], &["100% resolved chat"]);
    // New alerts go to the reachable notifier.
    scene.spend("70");
    check(&scene.after(5).await, &["100% first "], &NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_is_notified_before_the_next_cycle() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "50");
    let simulator = Simulator::start(world, clock).await.unwrap();
    let (hook, other) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    hook.answer(refusal());
    let home = Home::new();
    let notifier = |name: &str, receiver: &Receiver, rest: &str| {
        let file = home.path(name);
        write_secret(&file, &receiver.url);
        format!(
            "[[notifiers]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = {{ file = \"{}\" }}\ngroup_wait = \"0s\"\n{rest}",
            file.display()
        )
    };
    let notifiers = [
        notifier("hook", &hook, "fallback = \"other\"\n"),
        notifier("other", &other, ""),
    ]
    .concat();
    let rule = "[[rules]]\nname = \"month\"\nlimit_usd = 40\n";
    home.configure(&simulator, &format!("{rule}{notifiers}"));
    // There is only the first cycle while the test waits.
    let path = home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("* * * * * *", "0 0 0 29 2 *")).unwrap();
    let mut program = Program::run(&home);
    program.wait_for("notifier `hook` is parked");
    let post = tokio::time::timeout(Duration::from_secs(60), other.wait_for(1));
    post.await.unwrap();
    let body: Value = serde_json::from_slice(&other.posts()[0].body).unwrap();
    assert_eq!(body["alerts"][0]["spendwatch"]["reason"], "first");
    assert_eq!(body["alerts"][0]["spendwatch"]["in_place_of"], "hook");
    assert_eq!(hook.posts().len(), 1);
}
