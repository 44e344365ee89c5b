//! Slack by a bot's token, from the outbox to the channel: what is told of one alert stays together, over restarts and
//! deletions.

use spendwatch::domain::notification::Reason::{self, Escalated, First, Repeated, Resolved};
use spendwatch::notify::slack_api::{Settings, SlackApi};
use spendwatch::notify::{Notifier, post};
use spendwatch::secret::Secret;
use spendwatch::store::messages::MessageState;
use spendwatch::store::{Faults, Moment, Store};

use crate::office::{Office, ids};
use crate::slack_server::{SlackServer, TOKEN};

fn bot(server: &SlackServer, channel: &str) -> Notifier {
    let settings = Settings {
        token: Secret::new(TOKEN.to_owned()),
        channel: channel.to_owned(),
        api_url: server.url.clone(),
    };
    let client = post::client(&Secret::new(server.url.clone()), false).unwrap();
    Notifier::SlackApi(SlackApi::new(client, settings).unwrap())
}

/// As a start of the daemon: one message is decided and sent.
async fn tell(office: &Office, store: &Store, bot: &Notifier, id: &str, reason: Reason) {
    office.tell(store, "bot", id, &[("Alpha", 1, reason)]).await;
    let worker = office.worker(store, "bot", bot.clone());
    worker.begin(&office.counters).await.unwrap();
    office.run_after(1, &worker).await;
    assert_eq!(ids(store, MessageState::Waiting).await, [""; 0], "{id}");
}

/// What stands in the channel: the first word of each message, which one it stands below, and whether all see it.
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
async fn a_thread_outlives_a_restart_and_ends_with_other_settings() {
    let (office, server) = (Office::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = office.open().await;
    tell(&office, &store, &finops, "one", First).await;
    drop(store);
    let store = office.open().await;
    tell(&office, &store, &finops, "two", Escalated).await;
    tell(&office, &store, &finops, "three", Resolved).await;
    assert_eq!(
        shown(&server),
        ["Resolved", "Escalated below 0!", "Resolved below 0"]
    );
    let by_id = bot(&server, "C0FINOPS1");
    tell(&office, &store, &by_id, "four", Repeated).await;
    assert_eq!(shown(&server)[3..], ["Still"]);
}

#[tokio::test]
async fn several_alerts_have_no_thread_and_end_none() {
    let (office, server) = (Office::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = office.open().await;
    tell(&office, &store, &finops, "one", First).await;
    let both = [("Alpha", 2, Escalated), ("Beta", 1, First)];
    office.tell(&store, "bot", "two", &both).await;
    let worker = office.worker(&store, "bot", finops.clone());
    office.run_after(1, &worker).await;
    tell(&office, &store, &finops, "three", Resolved).await;
    assert_eq!(shown(&server), ["Resolved", "2", "Resolved below 0"]);
}

#[tokio::test]
async fn a_deleted_message_is_replaced_and_the_new_one_is_remembered() {
    let (office, server) = (Office::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = office.open().await;
    tell(&office, &store, &finops, "one", First).await;
    server.delete_all();
    tell(&office, &store, &finops, "two", Escalated).await;
    assert_eq!(shown(&server), ["Escalated"]);
    tell(&office, &store, &finops, "three", Resolved).await;
    assert_eq!(shown(&server), ["Resolved", "Resolved below 0"]);
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_and_is_posted_once() {
    let (office, server) = (Office::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let store = office.open().await;
    tell(&office, &store, &finops, "one", First).await;
    server.calls();
    server.refuse("service_unavailable");
    let step = [("Alpha", 2, Escalated)];
    office.tell(&store, "bot", "two", &step).await;
    let worker = office.worker(&store, "bot", finops);
    assert_eq!(office.run_after(0, &worker).await, 1);
    assert_eq!(ids(&store, MessageState::Waiting).await, ["two"]);
    assert_eq!(office.run_after(60, &worker).await, 1);
    let calls = ["chat.update", "chat.update", "chat.postMessage"];
    assert_eq!(server.calls(), calls);
    assert_eq!(shown(&server), ["Escalated", "Escalated below 0!"]);
}

#[tokio::test]
async fn that_it_was_told_and_where_is_written_at_once_or_not_at_all() {
    let (office, server) = (Office::new(), SlackServer::start().await);
    let finops = bot(&server, "#finops");
    let faults =
        Faults::new(|operation, moment| operation == "finish" && moment == Moment::BeforeCommit);
    let store = office.open_faulty(faults).await;
    let first = [("Alpha", 1, First)];
    office.tell(&store, "bot", "one", &first).await;
    let worker = office.worker(&store, "bot", finops.clone());
    worker.begin(&office.counters).await.unwrap();
    assert!(worker.run_due(&office.counters).await.is_err());
    drop((worker, store));
    let store = office.open().await;
    assert_eq!(ids(&store, MessageState::Waiting).await, ["one"]);
    // A kill at that moment costs a second first message: nobody knows of the other one.
    let worker = office.worker(&store, "bot", finops.clone());
    office.run_after(1, &worker).await;
    tell(&office, &store, &finops, "two", Resolved).await;
    assert_eq!(shown(&server), ["Critical", "Resolved", "Resolved below 1"]);
}
