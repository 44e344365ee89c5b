//! Slack threads from the outbox to the channel, over restarts and deletions.

use spendwatch_base::receiver::{ReceiverSettings, SlackApiSettings};
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::Reason::{self, Escalated, First, Repeated, Resolved};
use spendwatch_notify::Notifier;
use spendwatch_store::outbox::messages::MessageState;
use spendwatch_store::{CommitPoint, Faults, Store};

use crate::outbox_fixture::{OutboxFixture, ids};
use crate::slack_server::{SlackServer, TOKEN};

fn bot(server: &SlackServer, channel: &str) -> Notifier {
    let settings = SlackApiSettings {
        token: Secret::new(TOKEN.to_owned()),
        channel: channel.to_owned(),
        api_url: server.url.clone(),
    };
    Notifier::new(ReceiverSettings::SlackApi(settings), false).unwrap()
}

/// Decides and sends one message with a new worker, as after a restart.
async fn send(fixture: &OutboxFixture, store: &Store, bot: &Notifier, id: &str, reason: Reason) {
    fixture
        .tell(store, "bot", id, &[("Alpha", 1, reason)])
        .await;
    let worker = fixture.worker(store, "bot", bot.clone());
    worker.resume(&fixture.counters).await.unwrap();
    fixture.run_after(1, &worker).await;
    assert_eq!(ids(store, MessageState::Waiting).await, [""; 0], "{id}");
}

/// Returns the messages of the channel: first word, parent, and `!` for a broadcast.
fn shown(server: &SlackServer) -> Vec<String> {
    let messages = server.messages();
    let place = |ts: &String| messages.iter().position(|message| message.ts == *ts);
    let line = |message: &crate::slack_server::Posted| {
        let word = message.text.split([' ', ':']).next().unwrap();
        let below = message.thread_ts.as_ref().and_then(place);
        let below = below.map_or(String::new(), |place| format!(" below {place}"));
        let sign = if message.is_broadcast { "!" } else { "" };
        format!("{word}{below}{sign}")
    };
    messages.iter().map(line).collect()
}

#[tokio::test]
async fn thread_survives_a_restart_and_ends_with_changed_settings() {
    let (fixture, server) = (OutboxFixture::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = fixture.open().await;
    send(&fixture, &store, &finops, "one", First).await;
    drop(store);
    let store = fixture.open().await;
    send(&fixture, &store, &finops, "two", Escalated).await;
    send(&fixture, &store, &finops, "three", Resolved).await;
    assert_eq!(
        shown(&server),
        ["Resolved", "Escalated below 0!", "Resolved below 0"]
    );
    let by_id = bot(&server, "C0FINOPS1");
    send(&fixture, &store, &by_id, "four", Repeated).await;
    assert_eq!(shown(&server)[3..], ["Still"]);
}

#[tokio::test]
async fn several_alerts_have_no_thread() {
    let (fixture, server) = (OutboxFixture::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = fixture.open().await;
    send(&fixture, &store, &finops, "one", First).await;
    let both = [("Alpha", 2, Escalated), ("Beta", 1, First)];
    fixture.tell(&store, "bot", "two", &both).await;
    let worker = fixture.worker(&store, "bot", finops.clone());
    fixture.run_after(1, &worker).await;
    send(&fixture, &store, &finops, "three", Resolved).await;
    assert_eq!(shown(&server), ["Resolved", "2", "Resolved below 0"]);
}

#[tokio::test]
async fn deleted_first_message_is_replaced() {
    let (fixture, server) = (OutboxFixture::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = fixture.open().await;
    send(&fixture, &store, &finops, "one", First).await;
    server.delete_all();
    send(&fixture, &store, &finops, "two", Escalated).await;
    assert_eq!(shown(&server), ["Escalated"]);
    send(&fixture, &store, &finops, "three", Resolved).await;
    assert_eq!(shown(&server), ["Resolved", "Resolved below 0"]);
}

#[tokio::test]
async fn failed_reply_is_retried_and_posted_once() {
    let (fixture, server) = (OutboxFixture::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = fixture.open().await;
    send(&fixture, &store, &finops, "one", First).await;
    server.calls();
    server.refuse("service_unavailable");
    let step = [("Alpha", 2, Escalated)];
    fixture.tell(&store, "bot", "two", &step).await;
    let worker = fixture.worker(&store, "bot", finops);
    assert_eq!(fixture.run_after(0, &worker).await, 1);
    assert_eq!(ids(&store, MessageState::Waiting).await, ["two"]);
    assert_eq!(fixture.run_after(60, &worker).await, 1);
    let calls = ["chat.update", "chat.update", "chat.postMessage"];
    assert_eq!(server.calls(), calls);
    assert_eq!(shown(&server), ["Escalated", "Escalated below 0!"]);
}

#[tokio::test]
async fn delivery_and_thread_are_recorded_atomically() {
    let (fixture, server) = (OutboxFixture::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let faults = Faults::new(|operation, moment| {
        operation == "finish" && moment == CommitPoint::BeforeCommit
    });
    let store = fixture.open_faulty(faults).await;
    let first = [("Alpha", 1, First)];
    fixture.tell(&store, "bot", "one", &first).await;
    let worker = fixture.worker(&store, "bot", finops.clone());
    worker.resume(&fixture.counters).await.unwrap();
    assert!(worker.run_due(&fixture.counters).await.is_err());
    drop((worker, store));
    let store = fixture.open().await;
    assert_eq!(ids(&store, MessageState::Waiting).await, ["one"]);
    // A kill at that moment causes a second first message, because the other one is unknown.
    let worker = fixture.worker(&store, "bot", finops.clone());
    fixture.run_after(1, &worker).await;
    send(&fixture, &store, &finops, "two", Resolved).await;
    assert_eq!(shown(&server), ["Critical", "Resolved", "Resolved below 1"]);
}
