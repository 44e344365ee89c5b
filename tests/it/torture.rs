//! Kills the binary with SIGKILL at random times, also between sending a message and recording it, while the receiver fails,
//! hangs or loses responses and spend changes. Checks all posts from outside.
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
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::span::Hour;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use tokio::sync::watch;

use crate::histories::number;
use crate::program::{Home, Program};
use crate::storm::{check_sums, n_waiting, workspace};

const N_WORKSPACES: usize = 5;
/// Takes less than a minute; continuous integration uses 200.
const N_KILLS: u32 = 25;
/// Percent of a limit of 100 USD.
const THRESHOLDS: [i64; 5] = [20, 40, 60, 80, 100];
const MODEL: &str = "claude-sonnet-4-5";

/// How the receiver responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiverMode {
    Accepts,
    Fails,
    /// Neither accepts nor responds.
    Hangs,
    /// Accepts, but the response is lost.
    LosesResponse,
}

/// State of one workspace's alert according to the posts.
#[derive(Debug, Default)]
struct ReceivedAlert {
    is_open: bool,
    details: BTreeSet<String>,
    notices: BTreeSet<(String, bool)>,
}

/// Everything that the receiver was sent, and errors in it.
#[derive(Debug, Default)]
struct PostLog {
    /// Highest spend of each workspace so far, in cents.
    highest: BTreeMap<String, i64>,
    facts_by_id: BTreeMap<String, Value>,
    taken: BTreeSet<String>,
    sequences: BTreeMap<String, u64>,
    alert_states: BTreeMap<String, ReceivedAlert>,
    errors: Vec<String>,
}

impl PostLog {
    fn record(&mut self, id: &str, alerts: &Value, has_arrived: bool) {
        let recorded = self.facts_by_id.entry(id.to_owned());
        if *recorded.or_insert_with(|| alerts.clone()) != *alerts {
            self.errors
                .push(format!("message {id} has two sets of facts"));
        }
        let is_new = has_arrived && self.taken.insert(id.to_owned());
        for alert in alerts.as_array().unwrap() {
            self.record_alert(alert, is_new);
        }
    }

    fn record_alert(&mut self, alert: &Value, is_new: bool) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let details = &alert["spendwatch"];
        let (subject, threshold, reason) = (
            text(&alert["labels"]["subject_id"]),
            text(&details["threshold"]),
            text(&details["reason"]),
        );
        let shown = format!("{subject} {threshold} {reason} #{}", details["sequence"]);
        let percent: i64 = threshold.trim_end_matches('%').parse().unwrap();
        if self
            .highest
            .get(&subject)
            .is_none_or(|cents| *cents < percent * 100)
        {
            self.errors.push(format!("never crossed: {shown}"));
        }
        let sequence = details["sequence"].as_u64().unwrap();
        let newest = self.sequences.entry(subject.clone()).or_default();
        if sequence < *newest {
            self.errors.push(format!("overtaken by #{newest}: {shown}"));
        }
        *newest = sequence;
        if !is_new {
            return;
        }
        let alert_state = self.alert_states.entry(subject).or_default();
        if reason == "resolved" {
            if !alert_state.is_open && details["is_fired_and_resolved"] != true {
                self.errors
                    .push(format!("resolved without a firing: {shown}"));
            }
            *alert_state = ReceivedAlert::default();
            return;
        }
        alert_state.is_open = true;
        alert_state.details.insert(threshold.clone());
        if !alert_state.notices.insert((threshold, reason == "lowered")) {
            self.errors.push(format!("sent twice: {shown}"));
        }
    }
}

/// Responds according to its mode, and records posts.
#[derive(Clone)]
struct Receiver {
    log: Arc<Mutex<PostLog>>,
    mode: watch::Sender<ReceiverMode>,
    n_posts: watch::Sender<u64>,
}

impl Receiver {
    async fn start() -> (Receiver, String) {
        let receiver = Receiver {
            log: Arc::default(),
            mode: watch::Sender::new(ReceiverMode::Accepts),
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

    fn log(&self) -> MutexGuard<'_, PostLog> {
        self.log.lock().unwrap()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = headers["webhook-id"].to_str().unwrap();
    let mode = *receiver.mode.borrow();
    let has_arrived = matches!(mode, ReceiverMode::Accepts | ReceiverMode::LosesResponse);
    receiver.log().record(id, &body["alerts"], has_arrived);
    receiver.n_posts.send_modify(|n| *n += 1);
    match mode {
        ReceiverMode::Accepts => StatusCode::OK,
        ReceiverMode::Fails => StatusCode::SERVICE_UNAVAILABLE,
        ReceiverMode::Hangs | ReceiverMode::LosesResponse => {
            // No response until it recovers.
            let mut modes = receiver.mode.subscribe();
            let has_recovered = modes.wait_for(|mode| *mode == ReceiverMode::Accepts).await;
            has_recovered.map_or(StatusCode::OK, |_| StatusCode::BAD_GATEWAY)
        }
    }
}

fn rules(url: &str, settings: u32) -> String {
    let thresholds =
        THRESHOLDS.map(|percent| format!("{{ at = \"{percent}%\", severity = \"warning\" }}"));
    format!(
        "[[rules]]\nname = \"month\"\nfor_each = \"workspace\"\nlimit_usd = 100\nthresholds = [{}]\n\
         [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}/{settings}\"\ngroup_wait = \"0s\"\n",
        thresholds.join(", ")
    )
}

/// The simulator, the receiver, and the random numbers that control them.
struct KillTest {
    random: fastrand::Rng,
    clock: Clock,
    simulator: Simulator,
    receiver: Receiver,
    url: String,
    home: Home,
    /// Cents by workspace and hour.
    spent: BTreeMap<(usize, Hour), i64>,
    /// Number of kills within a few milliseconds of a post.
    n_after_posts: u32,
}

impl KillTest {
    /// Adds spend, or corrects that of the current hour downwards.
    fn spend(&mut self) {
        let index = self.random.usize(..N_WORKSPACES);
        let now = self.clock.now();
        let of_hour = self
            .spent
            .get(&(index, Hour::containing(now)))
            .copied()
            .unwrap_or(0);
        let total: i64 = self.of(index);
        // The row stays above zero; otherwise its removal would be pending for a while.
        let cents = if total > 10_000 || self.random.u8(..3) == 0 {
            -self.random.i64(0..=(of_hour - 1).max(0))
        } else {
            self.random.i64(500..=6_000)
        };
        let id = workspace(index);
        let highest = total + cents;
        let mut log = self.receiver.log();
        let recorded = log.highest.entry(id.clone()).or_default();
        *recorded = highest.max(*recorded);
        drop(log);
        *self
            .spent
            .entry((index, Hour::containing(now)))
            .or_default() += cents;
        let sign = if cents < 0 { "-" } else { "" };
        let usd = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
        self.simulator.world().spend(&id, MODEL, now, &usd);
    }

    fn of(&self, index: usize) -> i64 {
        let own = self.spent.iter().filter(|((of, _), _)| *of == index);
        own.map(|(_, cents)| cents).sum()
    }

    fn change_mode(&mut self) {
        let mode = match self.random.u8(..10) {
            0 => ReceiverMode::Fails,
            1 => ReceiverMode::Hangs,
            2 | 3 => ReceiverMode::LosesResponse,
            _ => ReceiverMode::Accepts,
        };
        self.receiver.mode.send_replace(mode);
    }

    /// Waits for a random time; half of the time only until shortly after the next post.
    async fn wait(&mut self) {
        let until = Duration::from_micros(self.random.u64(..1_500_000));
        let after_post = Duration::from_micros(self.random.u64(..4_000));
        let mut n_posts = self.receiver.n_posts.subscribe();
        if self.random.bool() {
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

    /// Checks that the state according to the posts matches the spend.
    fn check_received(&self) {
        let log = self.receiver.log();
        for index in 0..N_WORKSPACES {
            let cents = self.of(index);
            let percent = THRESHOLDS.iter().rfind(|percent| cents >= **percent * 100);
            let alert_state = log.alert_states.get(&workspace(index));
            let is_open = alert_state.is_some_and(|alert_state| alert_state.is_open);
            assert_eq!(
                is_open,
                percent.is_some(),
                "workspace {index}: {alert_state:?}"
            );
            if let (Some(percent), Some(alert_state)) = (percent, alert_state) {
                assert!(
                    alert_state.details.contains(&format!("{percent}%")),
                    "{index}: {alert_state:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the first seed is random and printed on failure"
)]
async fn kills_at_random_times_lose_and_invent_nothing() {
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
    let mut test = KillTest {
        random: fastrand::Rng::with_seed(seed),
        clock,
        simulator,
        receiver,
        url,
        home: Home::new(),
        spent: BTreeMap::new(),
        n_after_posts: 0,
    };
    for kill in 0..n_kills {
        // Changed settings make messages due again that wait long after many failures.
        if kill % 3 == 0 {
            test.home
                .configure(&test.simulator, &rules(&test.url, kill));
        }
        test.change_mode();
        let program = Program::run(&test.home);
        test.spend();
        test.wait().await;
        program.kill();
        let errors = test.receiver.log().errors.clone();
        assert!(errors.is_empty(), "kill {kill}: {errors:#?}");
    }
    test.receiver.mode.send_replace(ReceiverMode::Accepts);
    test.home
        .configure(&test.simulator, &rules(&test.url, n_kills));
    let mut program = Program::run(&test.home);
    let path = test.home.path("spendwatch.db");
    program.wait_for("cycle ok");
    program.wait_for("cycle ok");
    let store = Store::open_for_command(&path, test.clock.now()).unwrap();
    while n_waiting(&store).await > 0 {
        program.wait_for("cycle ok");
    }
    program.signal("TERM");
    assert!(program.ended().0.success());
    let errors = test.receiver.log().errors.clone();
    assert!(errors.is_empty(), "{errors:#?}");
    test.check_received();
    check_sums(&store, &test.simulator).await;
    let (n_posts, seconds) = (
        *test.receiver.n_posts.borrow(),
        test.clock.monotonic().as_secs(),
    );
    let n_messages = test.receiver.log().facts_by_id.len();
    let n_after_posts = test.n_after_posts;
    eprintln!(
        "{n_kills} kills in {seconds} s, {n_after_posts} of them at a post: {n_messages} messages in {n_posts} posts"
    );
}
