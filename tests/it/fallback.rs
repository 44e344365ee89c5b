//! Who is told in the place of a notifier that cannot be reached, from the spend to the posts.

use std::fs;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::cycle::state::Watcher;
use spendwatch::delivery::Worker;
use spendwatch::domain::ids::NotifierName;
use spendwatch::domain::subject::SubjectKind;
use spendwatch::metrics::counters::Counters;
use spendwatch::notify::envelope::Links;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::harness::{Stage, at, organization, rule};
use crate::office::webhook;
use crate::program::{Home, Program, write_secret};
use crate::receiver::{Answer, Receiver};

const NOW: &str = "2026-11-24T10:05:00Z";
const NOTHING: [&str; 0] = [];

/// A workspace's month, told to `chat`, and to `mail` in its place.
struct Scene {
    stage: Stage,
    store: Store,
    watcher: Watcher,
    chat: Receiver,
    mail: Receiver,
    /// Posts that were looked at, of both.
    n_seen: (usize, usize),
}

impl Scene {
    async fn begin() -> Scene {
        let mut world = World::empty();
        world.add_workspace("workspace_a", "Alpha");
        let mut stage =
            Stage::new(world, NOW)
                .await
                .with_rule(rule("month", SubjectKind::Workspace, 100));
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

    /// As after a kill.
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

    /// Minutes pass, then a cycle, and whatever is due is sent. Gives what came to `chat` and to `mail`.
    async fn after(&mut self, minutes: u64) -> (Vec<String>, Vec<String>) {
        self.stage.cycle_after(minutes, &mut self.watcher).await;
        self.send().await
    }

    /// Decides as when the bell of a parking rings, and sends.
    async fn decide(&mut self) -> (Vec<String>, Vec<String>) {
        self.watcher.decide_and_commit().await.unwrap();
        self.send().await
    }

    async fn send(&mut self) -> (Vec<String>, Vec<String>) {
        let counters = Counters::new(&[organization()], &[], "test");
        for (name, receiver) in [("chat", &self.chat), ("mail", &self.mail)] {
            let worker = Worker {
                name: name.into(),
                notifier: webhook(&receiver.url),
                store: self.store.clone(),
                clock: Clock::Manual(self.stage.clock.clone()),
                chance: self.stage.chance.clone(),
                links: Links::default(),
                group_interval: SignedDuration::ZERO,
                fallback: None,
            };
            worker.run_due(&counters).await.unwrap();
        }
        let chat = words(&self.chat, &mut self.n_seen.0);
        let mail = words(&self.mail, &mut self.n_seen.1);
        (chat, mail)
    }

    async fn is_parked(&self) -> bool {
        let state = self.store.notifier_state(&"chat".into()).await.unwrap();
        state.parked.is_some()
    }
}

/// What each alert of the newest posts says: the line, the reason, and in whose place.
fn words(receiver: &Receiver, n_seen: &mut usize) -> Vec<String> {
    let posts = receiver.posts();
    let mut words = Vec::new();
    for post in &posts[*n_seen..] {
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            let told = &alert["spendwatch"];
            let text = |key: &str| told[key].as_str().unwrap_or_default();
            let absent = text("in_place_of");
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            let is_explained = summary.contains("sent here because `chat` could not deliver it");
            assert_eq!(is_explained, !absent.is_empty(), "{summary}");
            words.push(format!("{} {} {absent}", text("threshold"), text("reason")));
        }
    }
    *n_seen = posts.len();
    words
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
async fn a_fallback_hears_of_an_alert_to_its_end_over_restarts_and_the_end_of_the_parking() {
    let mut scene = Scene::begin().await;
    scene.chat.answer(refusal());
    scene.spend("85");
    check(&scene.after(5).await, &["80% first "], &NOTHING);
    assert!(scene.is_parked().await);
    check(&scene.decide().await, &NOTHING, &["80% first chat"]);
    // Neither another decision nor a restart tells it again.
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    let mut scene = scene.restart().await;
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    assert!(scene.is_parked().await);
    scene.spend("20");
    check(&scene.after(1).await, &NOTHING, &["100% escalated chat"]);
    // It is probed, and well again: it hears of all that waited, and the other of no end that is none.
    check(
        &scene.after(15).await,
        &["80% first ", "100% escalated "],
        &NOTHING,
    );
    assert!(!scene.is_parked().await);
    let mut scene = scene.restart().await;
    check(&scene.after(5).await, &NOTHING, &NOTHING);
    scene.spend("-60");
    let mut told = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let (chat, mail) = scene.after(5).await;
        told.0.extend(chat);
        told.1.extend(mail);
    }
    check(&told, &["100% resolved "], &["100% resolved chat"]);
    // What fires now is told to who can be reached.
    scene.spend("70");
    check(&scene.after(5).await, &["100% first "], &NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_is_told_at_once_and_not_in_the_next_cycle() {
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
    // There is the first cycle, and no other for as long as anybody waits.
    let path = home.path("spendwatch.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("* * * * * *", "0 0 0 29 2 *")).unwrap();
    let mut program = Program::run(&home);
    program.wait_for("notifier `hook` is parked");
    let told = tokio::time::timeout(Duration::from_secs(60), other.wait_for(1));
    told.await.unwrap();
    let body: Value = serde_json::from_slice(&other.posts()[0].body).unwrap();
    assert_eq!(body["alerts"][0]["spendwatch"]["reason"], "first");
    assert_eq!(body["alerts"][0]["spendwatch"]["in_place_of"], "hook");
    assert_eq!(hook.posts().len(), 1);
}
