//! Repeated `kill -9` during cycles and between sending and recording a message, while the receiver fails. No message is lost
//! or invented, no message id has two sets of facts, and the sums are correct.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use tokio::sync::{mpsc, oneshot};

use crate::program::{Home, Program};

const N_WORKSPACES: usize = 5;
const N_KILLS: usize = 14;

/// A post waiting for its response.
struct PendingPost {
    id: String,
    alerts: Value,
    response: oneshot::Sender<StatusCode>,
}

/// Id of the post that stops the responder; not the id of a message.
const LAST: &str = "last";

/// Everything that the receiver was sent.
#[derive(Default)]
struct PostLog {
    facts_by_id: BTreeMap<String, Value>,
    acknowledged: BTreeSet<(String, String)>,
    ids_by_alert: BTreeMap<(String, String), BTreeSet<String>>,
    sequences: BTreeMap<String, u64>,
}

impl PostLog {
    /// Records and checks a post before the response.
    fn record(&mut self, post_request: &PendingPost) {
        let recorded = self
            .facts_by_id
            .entry(post_request.id.clone())
            .or_insert_with(|| post_request.alerts.clone());
        assert_eq!(
            *recorded, post_request.alerts,
            "message {} has two sets of facts",
            post_request.id
        );
        for alert in post_request.alerts.as_array().unwrap() {
            let alert_and_threshold = alert_and_threshold(alert);
            let reason = alert["spendwatch"]["reason"].as_str().unwrap();
            assert!(matches!(reason, "first" | "escalated"), "invented: {alert}");
            self.ids_by_alert
                .entry(alert_and_threshold.clone())
                .or_default()
                .insert(post_request.id.clone());
            let sequence = alert["spendwatch"]["sequence"].as_u64().unwrap();
            let newest = self.sequences.entry(alert_and_threshold.0).or_default();
            assert!(sequence >= *newest, "overtaken: {alert}");
            *newest = sequence;
        }
    }

    fn acknowledge(&mut self, alerts: &Value) {
        self.acknowledged
            .extend(alerts.as_array().unwrap().iter().map(alert_and_threshold));
    }
}

/// Returns the subject and threshold of an alert.
fn alert_and_threshold(alert: &Value) -> (String, String) {
    let subject = alert["labels"]["subject_id"].as_str().unwrap();
    let threshold = alert["spendwatch"]["threshold"].as_str().unwrap();
    (subject.to_owned(), threshold.to_owned())
}

type PostSender = mpsc::UnboundedSender<PendingPost>;

async fn receive(
    State(posts_sender): State<PostSender>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (response, receiver) = oneshot::channel();
    let post_request = PendingPost {
        id: headers["webhook-id"].to_str().unwrap().to_owned(),
        alerts: body["alerts"].clone(),
        response,
    };
    posts_sender.send(post_request).unwrap();
    // Without a response the connection is closed, as when the daemon is killed.
    receiver.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn start_receiver() -> (String, PostSender, mpsc::UnboundedReceiver<PendingPost>) {
    let (posts_sender, posts) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let routes = Router::new()
        .route("/hook", post(receive))
        .with_state(posts_sender.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, posts_sender, posts)
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

/// Adds twenty dollars to a workspace, which crosses the next threshold.
fn spend(simulator: &Simulator, step: usize) -> (String, String) {
    let id = workspace(step % N_WORKSPACES);
    let now = Clock::system().now();
    simulator
        .world()
        .spend(&id, "claude-sonnet-4-5", now, "20.000001");
    (id, format!("{}%", 20 * (step / N_WORKSPACES + 1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_kills_lose_and_invent_nothing() {
    let mut world = World::empty();
    for n in 0..N_WORKSPACES {
        world.add_workspace(&workspace(n), &format!("Workspace {n}"));
    }
    let simulator = Simulator::start(world, Clock::system()).await.unwrap();
    let (url, posts_sender, mut posts) = start_receiver().await;
    let home = Home::new();
    home.configure(&simulator, &rules(&url));
    let mut log = PostLog::default();
    let mut program = Program::run(&home);
    for step in 0..=N_KILLS {
        let expected = spend(&simulator, step);
        let mut n_failures = step % 3;
        while !log.acknowledged.contains(&expected) {
            let post_request = posts.recv().await.unwrap();
            log.record(&post_request);
            if post_request.response.is_closed() {
                continue;
            }
            if n_failures > 0 {
                n_failures -= 1;
                if n_failures == 0 {
                    // Kill between sending and response.
                    program.kill();
                    program = Program::run(&home);
                } else {
                    // The sender may have been killed.
                    let _ = post_request.response.send(StatusCode::SERVICE_UNAVAILABLE);
                }
                continue;
            }
            if post_request.response.send(StatusCode::OK).is_ok() {
                log.acknowledge(&post_request.alerts);
            }
        }
        // Kill before or after the response is recorded, or during the next cycle.
        if step % 4 == 3 {
            program.wait_for("cycle ok");
        }
        program.kill();
        program = Program::run(&home);
    }
    let responder = tokio::spawn(async move {
        while let Some(post_request) = posts.recv().await {
            log.record(&post_request);
            // A repeated post, whose sender may have been killed.
            let _ = post_request.response.send(StatusCode::OK);
            if post_request.id == LAST {
                break;
            }
        }
        log
    });
    let store =
        Store::open_for_command(&home.path("spendwatch.db"), Clock::system().now()).unwrap();
    while n_waiting(&store).await > 0 {
        program.wait_for("cycle ok");
    }
    program.signal("TERM");
    assert!(program.ended().0.success());
    let last = PendingPost {
        id: LAST.to_owned(),
        alerts: Value::Array(Vec::new()),
        response: oneshot::channel().0,
    };
    posts_sender.send(last).unwrap();
    let log = responder.await.unwrap();
    for (alert_and_threshold, ids) in &log.ids_by_alert {
        assert_eq!(
            ids.len(),
            1,
            "sent under two ids: {alert_and_threshold:?} {ids:?}"
        );
    }
    assert_eq!(log.acknowledged.len(), N_KILLS + 1);
    check_sums(&store, &simulator).await;
}

pub async fn n_waiting(store: &Store) -> u64 {
    let counts = store.outbox_counts().await.unwrap();
    counts.values().map(|counts| counts.n_waiting).sum()
}

pub async fn check_sums(store: &Store, simulator: &Simulator) {
    let now = Clock::system().now();
    let hours = HourSpan {
        start: Day::containing(now).plus(-1).first_hour(),
        end: Day::containing(now).plus(1).first_hour(),
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
