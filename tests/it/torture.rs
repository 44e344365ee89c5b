//! The real binary, killed by SIGKILL at random moments, also between sending and noting it down, while its receiver fails,
//! hangs or loses its answers, spend jumps and corrections come. What was posted is checked from outside.
//!
//!     SPENDWATCH_TEST_KILLS=10000 SPENDWATCH_TEST_SEED=7 cargo test --test it torture -- --nocapture

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::domain::span::Hour;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;
use tokio::sync::watch;

use crate::histories::number;
use crate::program::{Home, Program};
use crate::storm::{check_sums, n_waiting, workspace};

const N_WORKSPACES: usize = 5;
/// As many as take less than a minute; continuous integration has 200.
const N_KILLS: u32 = 25;
/// Percent of a limit of 100 USD.
const LINES: [i64; 5] = [20, 40, 60, 80, 100];
const MODEL: &str = "claude-sonnet-4-5";

/// How the receiver answers from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    Fails,
    /// Takes nothing and answers nothing.
    Hangs,
    /// Takes everything, and the answer is lost.
    Loses,
}

/// What the receiver believes of one workspace's alert.
#[derive(Debug, Default)]
struct Belief {
    is_open: bool,
    told: BTreeSet<String>,
    spoken: BTreeSet<(String, bool)>,
}

/// All that was seen from outside.
#[derive(Debug, Default)]
struct Witness {
    /// The highest that each workspace ever had, in cents.
    highest: BTreeMap<String, i64>,
    facts_by_id: BTreeMap<String, Value>,
    taken: BTreeSet<String>,
    sequences: BTreeMap<String, u64>,
    beliefs: BTreeMap<String, Belief>,
    wrong: Vec<String>,
}

impl Witness {
    fn see(&mut self, id: &str, alerts: &Value, has_arrived: bool) {
        let known = self.facts_by_id.entry(id.to_owned());
        if *known.or_insert_with(|| alerts.clone()) != *alerts {
            self.wrong
                .push(format!("message {id} has two sets of facts"));
        }
        let is_new = has_arrived && self.taken.insert(id.to_owned());
        for alert in alerts.as_array().unwrap() {
            self.see_alert(alert, is_new);
        }
    }

    fn see_alert(&mut self, alert: &Value, is_new: bool) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let told = &alert["spendwatch"];
        let (subject, threshold, reason) = (
            text(&alert["labels"]["subject_id"]),
            text(&told["threshold"]),
            text(&told["reason"]),
        );
        let shown = format!("{subject} {threshold} {reason} #{}", told["sequence"]);
        let line: i64 = threshold.trim_end_matches('%').parse().unwrap();
        if self
            .highest
            .get(&subject)
            .is_none_or(|cents| *cents < line * 100)
        {
            self.wrong.push(format!("never crossed: {shown}"));
        }
        let sequence = told["sequence"].as_u64().unwrap();
        let newest = self.sequences.entry(subject.clone()).or_default();
        if sequence < *newest {
            self.wrong.push(format!("overtaken by #{newest}: {shown}"));
        }
        *newest = sequence;
        if !is_new {
            return;
        }
        let belief = self.beliefs.entry(subject).or_default();
        if reason == "resolved" {
            if !belief.is_open && told["is_fired_and_resolved"] != true {
                self.wrong
                    .push(format!("resolved without a firing: {shown}"));
            }
            *belief = Belief::default();
            return;
        }
        belief.is_open = true;
        belief.told.insert(threshold.clone());
        if !belief.spoken.insert((threshold, reason == "lowered")) {
            self.wrong.push(format!("told twice: {shown}"));
        }
    }
}

/// Answers by its mood, and notes what comes.
#[derive(Clone)]
struct Receiver {
    witness: Arc<Mutex<Witness>>,
    mood: watch::Sender<Mood>,
    n_posts: watch::Sender<u64>,
}

impl Receiver {
    async fn start() -> (Receiver, String) {
        let receiver = Receiver {
            witness: Arc::default(),
            mood: watch::Sender::new(Mood::Takes),
            n_posts: watch::Sender::new(0),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/hook/{settings}", post(receive))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (receiver, url)
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = headers["webhook-id"].to_str().unwrap();
    let mood = *receiver.mood.borrow();
    let has_arrived = matches!(mood, Mood::Takes | Mood::Loses);
    receiver.witness().see(id, &body["alerts"], has_arrived);
    receiver.n_posts.send_modify(|n| *n += 1);
    match mood {
        Mood::Takes => StatusCode::OK,
        Mood::Fails => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Hangs | Mood::Loses => {
            // No answer before it is well again.
            let mut moods = receiver.mood.subscribe();
            let is_well = moods.wait_for(|mood| *mood == Mood::Takes).await;
            is_well.map_or(StatusCode::OK, |_| StatusCode::BAD_GATEWAY)
        }
    }
}

fn rules(url: &str, settings: u32) -> String {
    let thresholds = LINES.map(|line| format!("{{ at = \"{line}%\", severity = \"warning\" }}"));
    format!(
        "[[rules]]\nname = \"month\"\nfor_each = \"workspace\"\nlimit_usd = 100\nthresholds = [{}]\n\
         [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}/{settings}\"\ngroup_wait = \"0s\"\n",
        thresholds.join(", ")
    )
}

/// The world, the receiver and the program, and the chance that moves them.
struct Torture {
    chance: fastrand::Rng,
    clock: Clock,
    simulator: Simulator,
    receiver: Receiver,
    url: String,
    home: Home,
    /// Cents by workspace and hour.
    spent: BTreeMap<(usize, Hour), i64>,
    /// Kills within a few milliseconds of a post.
    n_after_posts: u32,
}

impl Torture {
    /// Spend jumps, or is corrected within this hour.
    fn spend(&mut self) {
        let who = self.chance.usize(..N_WORKSPACES);
        let now = self.clock.now();
        let of_hour = self.spent.get(&(who, Hour::of(now))).copied().unwrap_or(0);
        let total: i64 = self.of(who);
        // A row stays above zero: else it would be doubted for a while.
        let cents = if total > 10_000 || self.chance.u8(..3) == 0 {
            -self.chance.i64(0..=(of_hour - 1).max(0))
        } else {
            self.chance.i64(500..=6_000)
        };
        let id = workspace(who);
        let highest = total + cents;
        let mut witness = self.receiver.witness();
        let known = witness.highest.entry(id.clone()).or_default();
        *known = highest.max(*known);
        drop(witness);
        *self.spent.entry((who, Hour::of(now))).or_default() += cents;
        let sign = if cents < 0 { "-" } else { "" };
        let usd = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        self.simulator.world().spend(&id, MODEL, now, &usd);
    }

    fn of(&self, who: usize) -> i64 {
        let mine = self.spent.iter().filter(|((of, _), _)| *of == who);
        mine.map(|(_, cents)| cents).sum()
    }

    fn change_mood(&mut self) {
        let mood = match self.chance.u8(..10) {
            0 => Mood::Fails,
            1 => Mood::Hangs,
            2 | 3 => Mood::Loses,
            _ => Mood::Takes,
        };
        self.receiver.mood.send_replace(mood);
    }

    /// Until a random moment; half of the time the next post comes first, and with it a moment shortly after.
    async fn wait(&mut self) {
        let until = Duration::from_micros(self.chance.u64(..1_500_000));
        let after_post = Duration::from_micros(self.chance.u64(..4_000));
        let mut n_posts = self.receiver.n_posts.subscribe();
        if self.chance.bool() {
            tokio::select! {
                _ = n_posts.changed() => {
                    self.n_after_posts += 1;
                    self.clock.sleep(after_post).await;
                }
                () = self.clock.sleep(until) => {}
            }
        } else {
            self.clock.sleep(until).await;
        }
    }

    /// What the receiver believes is what is true.
    fn check_told(&self) {
        let witness = self.receiver.witness();
        for who in 0..N_WORKSPACES {
            let cents = self.of(who);
            let line = LINES.iter().rfind(|line| cents >= **line * 100);
            let belief = witness.beliefs.get(&workspace(who));
            let is_open = belief.is_some_and(|belief| belief.is_open);
            assert_eq!(is_open, line.is_some(), "workspace {who}: {belief:?}");
            if let (Some(line), Some(belief)) = (line, belief) {
                assert!(
                    belief.told.contains(&format!("{line}%")),
                    "{who}: {belief:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the first seed is by chance; it is told where something fails"
)]
async fn kills_at_random_moments_lose_nothing_and_invent_nothing() {
    let n_kills = number("SPENDWATCH_TEST_KILLS", N_KILLS);
    let seed = number("SPENDWATCH_TEST_SEED", fastrand::u64(..));
    eprintln!("SPENDWATCH_TEST_SEED={seed}");
    let mut world = World::empty();
    for n in 0..N_WORKSPACES {
        world.add_workspace(&workspace(n), &format!("Workspace {n}"));
    }
    let clock = Clock::system();
    let simulator = Simulator::start(world, clock.clone()).await.unwrap();
    let (receiver, url) = Receiver::start().await;
    let mut torture = Torture {
        chance: fastrand::Rng::with_seed(seed),
        clock,
        simulator,
        receiver,
        url,
        home: Home::new(),
        spent: BTreeMap::new(),
        n_after_posts: 0,
    };
    for kill in 0..n_kills {
        // Other settings, now and then: what waits long after many failures is due again.
        if kill % 3 == 0 {
            torture
                .home
                .configure(&torture.simulator, &rules(&torture.url, kill));
        }
        torture.change_mood();
        let program = Program::run(&torture.home);
        torture.spend();
        torture.wait().await;
        program.kill();
        let wrong = torture.receiver.witness().wrong.clone();
        assert!(wrong.is_empty(), "kill {kill}: {wrong:#?}");
    }
    torture.receiver.mood.send_replace(Mood::Takes);
    torture
        .home
        .configure(&torture.simulator, &rules(&torture.url, n_kills));
    let mut program = Program::run(&torture.home);
    let path = torture.home.path("spendwatch.db");
    program.wait_for("cycle ok");
    program.wait_for("cycle ok");
    let store = Store::open_for_command(&path, torture.clock.now()).unwrap();
    while n_waiting(&store).await > 0 {
        program.wait_for("cycle ok");
    }
    program.signal("TERM");
    assert!(program.ended().0.success());
    let wrong = torture.receiver.witness().wrong.clone();
    assert!(wrong.is_empty(), "{wrong:#?}");
    torture.check_told();
    check_sums(&store, &torture.simulator).await;
    let (n_posts, seconds) = (
        *torture.receiver.n_posts.borrow(),
        torture.clock.running().as_secs(),
    );
    let n_messages = torture.receiver.witness().facts_by_id.len();
    let n_after_posts = torture.n_after_posts;
    eprintln!(
        "{n_kills} kills in {seconds} s, {n_after_posts} of them at a post: {n_messages} messages in {n_posts} posts"
    );
}
