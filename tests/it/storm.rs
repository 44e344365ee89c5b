//! A storm of `kill -9`: in the middle of cycles, between sending and noting it down, while the receiver fails. Seen from
//! outside, nothing is lost, nothing is invented, no message id has two sets of facts, and the sums are the truth.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::domain::span::{Day, HourSpan};
use spendwatch::domain::usage::Part;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;
use tokio::sync::{mpsc, oneshot};

use crate::program::{Home, Program};

const N_WORKSPACES: usize = 5;
const N_KILLS: usize = 14;

/// A post that waits for its answer.
struct Posted {
    id: String,
    alerts: Value,
    answer: oneshot::Sender<StatusCode>,
}

/// Ends the answering; not the id of any message.
const LAST: &str = "last";

/// All that the receiver was sent.
#[derive(Default)]
struct Witness {
    facts_by_id: BTreeMap<String, Value>,
    acknowledged: BTreeSet<(String, String)>,
    ids_by_news: BTreeMap<(String, String), BTreeSet<String>>,
    sequences: BTreeMap<String, u64>,
}

impl Witness {
    /// Looks at a post before it is answered.
    fn see(&mut self, posted: &Posted) {
        let known = self
            .facts_by_id
            .entry(posted.id.clone())
            .or_insert_with(|| posted.alerts.clone());
        assert_eq!(
            *known, posted.alerts,
            "message {} has two sets of facts",
            posted.id
        );
        for alert in posted.alerts.as_array().unwrap() {
            let news = news(alert);
            let reason = alert["spendwatch"]["reason"].as_str().unwrap();
            assert!(matches!(reason, "first" | "escalated"), "invented: {alert}");
            self.ids_by_news
                .entry(news.clone())
                .or_default()
                .insert(posted.id.clone());
            let sequence = alert["spendwatch"]["sequence"].as_u64().unwrap();
            let newest = self.sequences.entry(news.0).or_default();
            assert!(sequence >= *newest, "overtaken: {alert}");
            *newest = sequence;
        }
    }

    fn acknowledge(&mut self, alerts: &Value) {
        self.acknowledged
            .extend(alerts.as_array().unwrap().iter().map(news));
    }
}

/// Which alert, at which threshold.
fn news(alert: &Value) -> (String, String) {
    let subject = alert["labels"]["subject_id"].as_str().unwrap();
    let threshold = alert["spendwatch"]["threshold"].as_str().unwrap();
    (subject.to_owned(), threshold.to_owned())
}

type Posting = mpsc::UnboundedSender<Posted>;

async fn receive(State(posting): State<Posting>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (answer, answered) = oneshot::channel();
    let posted = Posted {
        id: headers["webhook-id"].to_str().unwrap().to_owned(),
        alerts: body["alerts"].clone(),
        answer,
    };
    posting.send(posted).unwrap();
    // Without an answer the connection breaks off, as it does when the daemon is killed.
    answered.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn start_receiver() -> (String, Posting, mpsc::UnboundedReceiver<Posted>) {
    let (posting, posts) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let routes = Router::new()
        .route("/hook", post(receive))
        .with_state(posting.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, posting, posts)
}

fn rules(url: &str) -> String {
    let thresholds: Vec<String> = [20, 40, 60, 80, 100]
        .iter()
        .map(|percent| format!("{{ at = \"{percent}%\", severity = \"warning\" }}"))
        .collect();
    format!(
        "[[rules]]\nname = \"month\"\nfor_each = \"workspace\"\nlimit_usd = 100\nthresholds = [{}]\n\
         [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}\"\ngroup_wait = \"0s\"\n",
        thresholds.join(", ")
    )
}

pub fn workspace(n: usize) -> String {
    format!("workspace_{n:05}")
}

/// Twenty dollars more in one workspace: the next threshold.
fn spend(simulator: &Simulator, step: usize) -> (String, String) {
    let id = workspace(step % N_WORKSPACES);
    let now = Clock::system().now();
    simulator
        .world()
        .spend(&id, "claude-sonnet-4-5", now, "20.000001");
    (id, format!("{}%", 20 * (step / N_WORKSPACES + 1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_kills_loses_nothing_and_invents_nothing() {
    let mut world = World::empty();
    for n in 0..N_WORKSPACES {
        world.add_workspace(&workspace(n), &format!("Workspace {n}"));
    }
    let simulator = Simulator::start(world, Clock::system()).await.unwrap();
    let (url, posting, mut posts) = start_receiver().await;
    let home = Home::new();
    home.configure(&simulator, &rules(&url));
    let mut witness = Witness::default();
    let mut program = Program::run(&home);
    for step in 0..=N_KILLS {
        let expected = spend(&simulator, step);
        let mut n_failures = step % 3;
        while !witness.acknowledged.contains(&expected) {
            let posted = posts.recv().await.unwrap();
            witness.see(&posted);
            if posted.answer.is_closed() {
                continue;
            }
            if n_failures > 0 {
                n_failures -= 1;
                if n_failures == 0 {
                    // Sent, and neither answered nor noted down.
                    program.kill();
                    program = Program::run(&home);
                } else {
                    // Whoever was killed meanwhile hears of no answer.
                    let _ = posted.answer.send(StatusCode::SERVICE_UNAVAILABLE);
                }
                continue;
            }
            if posted.answer.send(StatusCode::OK).is_ok() {
                witness.acknowledge(&posted.alerts);
            }
        }
        // Answered, and perhaps not yet noted down; or in the middle of the next cycle.
        if step % 4 == 3 {
            program.wait_for("cycle ok");
        }
        program.kill();
        program = Program::run(&home);
    }
    let answering = tokio::spawn(async move {
        while let Some(posted) = posts.recv().await {
            witness.see(&posted);
            // A repeat of what is acknowledged already; its sender may be gone.
            let _ = posted.answer.send(StatusCode::OK);
            if posted.id == LAST {
                break;
            }
        }
        witness
    });
    let store =
        Store::open_for_command(&home.path("spendwatch.db"), Clock::system().now()).unwrap();
    while n_waiting(&store).await > 0 {
        program.wait_for("cycle ok");
    }
    program.signal("TERM");
    assert!(program.ended().0.success());
    let last = Posted {
        id: LAST.to_owned(),
        alerts: Value::Array(Vec::new()),
        answer: oneshot::channel().0,
    };
    posting.send(last).unwrap();
    let witness = answering.await.unwrap();
    for (news, ids) in &witness.ids_by_news {
        assert_eq!(ids.len(), 1, "told under two ids: {news:?} {ids:?}");
    }
    assert_eq!(witness.acknowledged.len(), N_KILLS + 1);
    check_sums(&store, &simulator).await;
}

pub async fn n_waiting(store: &Store) -> u64 {
    let counts = store.outbox_counts().await.unwrap();
    counts.values().map(|counts| counts.n_waiting).sum()
}

pub async fn check_sums(store: &Store, simulator: &Simulator) {
    let now = Clock::system().now();
    let hours = HourSpan {
        start: Day::of(now).plus(-1).first_hour(),
        end: Day::of(now).plus(1).first_hour(),
    };
    let sums = store.sums(&"acme".into(), hours).await.unwrap();
    for n in 0..N_WORKSPACES {
        let truth = simulator.world().spent(Some(&workspace(n)), hours, now);
        let is_it = |part: &Part| part.workspace_id() == Some(workspace(n).as_str());
        let recorded = sums
            .iter()
            .filter(|(part, _, _)| is_it(part))
            .map(|(_, _, amounts)| amounts.spend)
            .sum();
        assert_eq!(truth, recorded, "workspace {n}");
    }
}
