//! Delivery: numbered cases, failing receivers, and a kill at every write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use spendwatch::app::wakeups::Wakeups;
use spendwatch::delivery::{DeliveryWorker, STOP_LIMIT};
use spendwatch_base::clock::Clock;
use spendwatch_domain::alerts::notification::Reason::{Escalated, First, Resolved};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_notify::Notifier;
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::memory::Memory;
use spendwatch_store::outbox::NewMessage;
use spendwatch_store::outbox::fallbacks::Fallback;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};
use spendwatch_store::{CommitPoint, Faults, Store};
use tokio_util::sync::CancellationToken;

use crate::outbox_fixture::{
    OutboxFixture, commit, fill, ids, message, note_attempts, slack, webhook,
};
use crate::receiver::{Answer, Post, Receiver};

/// Returns attempts as `id:alert sequence reason,…`.
fn attempts(memory: &Memory) -> Vec<String> {
    let words = |sent: spendwatch_notify::receivers::memory::RecordedAttempt| {
        let alerts = sent.facts.iter().map(|fact| {
            let both = if fact.is_fired_and_resolved {
                "+fired"
            } else {
                ""
            };
            format!("{} {}{both}", fact.subject_name, fact.reason)
        });
        format!("{}: {}", sent.id, alerts.collect::<Vec<_>>().join(", "))
    };
    memory.take().into_iter().map(words).collect()
}

/// Returns the ids of posts in order of arrival.
fn post_ids(receiver: &Receiver) -> Vec<String> {
    let id = |post: &Post| post.headers["webhook-id"].to_str().unwrap().to_owned();
    receiver.posts().iter().map(id).collect()
}

fn reply(status: u16, body: &str) -> Answer {
    Answer::Reply(status, Vec::new(), body.to_owned())
}

/// Runs a worker until the condition holds, then asks it to stop.
async fn run_until(
    fixture: &OutboxFixture,
    worker: &DeliveryWorker,
    condition: impl Future<Output = ()>,
) {
    let (wakeups, stop) = (Wakeups::default(), CancellationToken::new());
    let ended = async {
        condition.await;
        stop.cancel();
    };
    let both = async { tokio::join!(worker.run(&fixture.counters, &wakeups, &stop), ended) };
    // Fails instead of waiting forever.
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .unwrap();
}

/// Waits until `n` tasks sleep on the clock.
async fn waiting(fixture: &OutboxFixture, n: usize) {
    while fixture.clock.n_sleeping() < n {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn case_14_kill_after_the_send_repeats_it_with_the_same_id() {
    let fixture = OutboxFixture::new();
    let faults = Faults::new(|operation, moment| {
        operation == "finish" && moment == CommitPoint::BeforeCommit
    });
    let store = fixture.open_faulty(faults).await;
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    let memory = Memory::default();
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    worker.run_due(&fixture.counters).await.unwrap_err();
    drop((worker, store));
    let store = fixture.open().await;
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    fixture.run_after(1, &worker).await;
    fixture.run_after(1, &worker).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"; 2]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// Runs all steps of a delivery: folding, a refusal, a retry, the delivery.
async fn deliver_with_retry(fixture: &OutboxFixture, store: &Store, memory: &Memory) -> bool {
    let worker = fixture.worker(store, "chat", Notifier::Memory(memory.clone()));
    if worker.resume(&fixture.counters).await.is_err() {
        return false;
    }
    for _ in 0..4 {
        fixture.clock.advance(Duration::from_secs(10));
        if worker.run_due(&fixture.counters).await.is_err() {
            return false;
        }
    }
    true
}

/// Stops at the given commit point of a delivery, and returns whether it exists.
async fn stop_at(place: usize) -> bool {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    fixture
        .tell(
            &store,
            "chat",
            "two",
            &[("Alpha", 2, Escalated), ("Beta", 1, First)],
        )
        .await;
    let memory = Memory::default();
    memory.respond_with([Delivery::retry("503")]);
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let faulty = store.clone().with_faults(Faults::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst) == place
    }));
    let was_stopped = !deliver_with_retry(&fixture, &faulty, &memory).await;
    drop((store, faulty));
    let store = fixture.open().await;
    fixture
        .tell(&store, "chat", "three", &[("Alpha", 3, Resolved)])
        .await;
    assert!(deliver_with_retry(&fixture, &store, &memory).await);

    let sent = attempts(&memory);
    let n_first = sent.iter().filter(|sent| sent.starts_with("one:")).count();
    let mut expected = vec!["one: Alpha first, Beta first".to_owned(); n_first];
    expected.push("three: Alpha resolved".to_owned());
    // A stop before the first claim leaves both messages to be folded with later ones.
    let folded = ["one: Beta first, Alpha resolved+fired"; 2];
    assert!(
        sent == expected || (sent == folded && place < 4),
        "stopped at {place}: {sent:?}"
    );
    assert!((2..=3).contains(&n_first), "stopped at {place}: {sent:?}");
    let none: Vec<String> = Vec::new();
    assert_eq!(ids(&store, MessageState::Waiting).await, none);
    assert_eq!(ids(&store, MessageState::Dead).await, none);
    was_stopped
}

#[tokio::test]
async fn kill_at_any_write_loses_and_invents_nothing() {
    let mut n_stops = 0;
    while stop_at(n_stops).await {
        n_stops += 1;
        assert!(n_stops < 100, "a delivery has a handful of writes");
    }
    // Start, claim, refusal, claim, delivery: each before and after its commit.
    assert_eq!(n_stops, 10);
}

#[tokio::test]
async fn case_19_hanging_receiver_delays_no_other() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let hanging = Receiver::start(|_| None).await;
    hanging.answer(Answer::Hang);
    for notifier in ["hook", "chat"] {
        let id = format!("{notifier}-one");
        fixture
            .tell(&store, notifier, &id, &[("Alpha", 1, First)])
            .await;
    }
    let hook = fixture.worker(&store, "hook", webhook(&hanging.url));
    let (wakeups, stop) = (Wakeups::default(), CancellationToken::new());
    let others = async {
        hanging.wait_for(1).await;
        let memory = Memory::default();
        let chat = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
        chat.run_due(&fixture.counters).await.unwrap();
        assert_eq!(attempts(&memory), ["chat-one: Alpha first"]);
        assert_eq!(ids(&store, MessageState::Waiting).await, ["hook-one"]);
        stop.cancel();
    };
    tokio::join!(hook.run(&fixture.counters, &wakeups, &stop), others);
}

#[tokio::test]
async fn case_19_backlog_of_an_hour_is_folded_and_in_order() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    for _ in 0..100 {
        receiver.answer(Answer::Hang);
    }
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture
        .tell(&store, "hook", "first", &[("Alpha", 1, First)])
        .await;
    let mut n_attempts = fixture.run_after(0, &worker).await;
    for minute in 0..60 {
        let id = format!("minute-{minute:02}");
        let (alpha, beta) = (minute + 2, minute + 1);
        let alerts = [("Alpha", alpha, Escalated), ("Beta", beta, Escalated)];
        if minute % 2 == 0 {
            fixture.tell(&store, "hook", &id, &alerts).await;
        }
        n_attempts += fixture.run_after(60, &worker).await;
    }
    // A hanging receiver is soon paused, and later messages are folded.
    assert!(n_attempts < 15, "{n_attempts} attempts in an hour");
    let n_before = receiver.posts().len();
    assert_eq!(n_before, n_attempts);
    receiver.recover();
    for _ in 0..20 {
        fixture.run_after(600, &worker).await;
    }
    let none: Vec<String> = Vec::new();
    assert_eq!(ids(&store, MessageState::Waiting).await, none);
    assert_eq!(ids(&store, MessageState::Dead).await, none);
    let n_after = receiver.posts().len() - n_before;
    assert!(n_after < 10, "30 messages came as {n_after}");
    for name in ["Alpha", "Beta"] {
        let sent = sequences(&receiver, n_before, name);
        assert!(sent.is_sorted(), "{name}: {sent:?}");
        assert_eq!(sent.last(), Some(&if name == "Alpha" { 60 } else { 59 }));
    }
    assert_eq!(sequences(&receiver, n_before, "Alpha")[0], 1);
}

/// Returns the sequences of an alert in all posts from an index on.
fn sequences(receiver: &Receiver, from: usize, name: &str) -> Vec<u64> {
    let mut sequences = Vec::new();
    for post in &receiver.posts()[from..] {
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            if alert["labels"]["subject_id"] == name {
                sequences.push(alert["spendwatch"]["sequence"].as_u64().unwrap());
            }
        }
    }
    sequences
}

#[tokio::test]
async fn case_20_messages_without_an_attempt_are_folded() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    memory.respond_with([Delivery::park("404 no_service")]);
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    fixture
        .tell(&store, "chat", "beta", &[("Beta", 1, First)])
        .await;
    fixture.run_after(1, &worker).await;
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    fixture.run_after(60, &worker).await;
    fixture
        .tell(&store, "chat", "two", &[("Alpha", 2, Resolved)])
        .await;
    fixture.run_after(60, &worker).await;
    assert_eq!(attempts(&memory), ["beta: Beta first"]);
    fixture.run_after(15 * 60, &worker).await;
    assert_eq!(
        attempts(&memory),
        ["beta: Beta first", "one: Alpha resolved+fired"]
    );
}

#[tokio::test]
async fn case_20_after_a_failed_attempt_both_are_sent_in_order() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    memory.respond_with([Delivery::retry("503"), Delivery::ambiguous("504")]);
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    fixture.run_after(0, &worker).await;
    fixture
        .tell(&store, "chat", "two", &[("Alpha", 2, Resolved)])
        .await;
    fixture.run_after(0, &worker).await;
    fixture.run_after(1, &worker).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"; 2]);
    fixture.run_after(5, &worker).await;
    assert_eq!(
        attempts(&memory),
        ["one: Alpha first", "two: Alpha resolved"]
    );
}

/// Returns the delivered sequences of each alert, in order.
fn delivered(memory: &Memory) -> BTreeMap<String, Vec<u64>> {
    let mut delivered: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for fact in memory.attempts().into_iter().flat_map(|sent| sent.facts) {
        let of_alert = delivered.entry(fact.subject_name).or_default();
        of_alert.push(fact.sequence);
    }
    delivered
}

#[tokio::test]
async fn backlog_is_delivered_once_and_in_order() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    fill(&store, "chat", 100, 12, fixture.now()).await;
    note_attempts(&fixture.path());
    let memory = Memory::default();
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    assert_eq!(fixture.run_after(0, &worker).await, 1200);
    let delivered = delivered(&memory);
    assert_eq!(delivered.len(), 100);
    let each: Vec<u64> = (1..=12).collect();
    assert!(
        delivered.values().all(|of_alert| *of_alert == each),
        "{delivered:?}"
    );
    assert!(store.outbox_counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn untried_backlog_is_folded_and_in_order() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    fill(&store, "chat", 300, 10, fixture.now()).await;
    let memory = Memory::default();
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    let n_attempts = fixture.run_after(0, &worker).await;
    assert!(n_attempts <= 20, "3,000 messages came as {n_attempts}");
    let delivered = delivered(&memory);
    assert_eq!(delivered.len(), 300);
    for (name, of_alert) in &delivered {
        let is_in_order = of_alert.is_sorted_by(|one, next| one < next);
        assert!(
            is_in_order && of_alert.last() == Some(&10),
            "{name}: {of_alert:?}"
        );
        // Crossing upwards is sent before crossing downwards.
        let raised: Vec<&u64> = of_alert.iter().filter(|n| *n % 2 == 0).collect();
        assert_eq!(raised, [&2, &4, &6, &8, &10], "{name}: {of_alert:?}");
    }
    assert!(store.outbox_counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn case_23_deleted_webhook_is_parked_and_keeps_its_messages() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    receiver.answer(reply(404, "no_service"));
    receiver.answer(reply(404, "no_service"));
    let worker = fixture.worker(&store, "chat", slack(&receiver.url));
    worker.resume(&fixture.counters).await.unwrap();
    assert_eq!(fixture.parked("chat"), Some(false));
    for (id, name) in [("one", "Alpha"), ("two", "Beta")] {
        fixture.tell(&store, "chat", id, &[(name, 1, First)]).await;
        assert_eq!(
            fixture.run_after(0, &worker).await,
            usize::from(id == "one")
        );
    }
    assert_eq!(fixture.parked("chat"), Some(true));
    assert_eq!(fixture.run_after(14 * 60, &worker).await, 0);
    assert_eq!(
        fixture.run_after(60, &worker).await,
        1,
        "a probe, refused again"
    );
    let state = store.notifier_state(&"chat".into()).await.unwrap();
    let reason = state.parked.map(|parked| parked.reason);
    assert_eq!(reason.as_deref(), Some("answered 404: no_service"));
    // A reload without changes probes at once.
    worker.resume(&fixture.counters).await.unwrap();
    assert_eq!(fixture.parked("chat"), Some(true));
    assert_eq!(fixture.run_after(0, &worker).await, 2);
    assert_eq!(fixture.parked("chat"), Some(false));
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one", "two"]);
}

#[tokio::test]
async fn case_44_changed_settings_end_parking_and_keep_ids() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let (old, new) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    old.answer(reply(410, "gone"));
    let worker = fixture.worker(&store, "hook", webhook(&old.url));
    worker.resume(&fixture.counters).await.unwrap();
    fixture
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    fixture.run_after(0, &worker).await;
    fixture
        .tell(&store, "hook", "two", &[("Alpha", 2, Resolved)])
        .await;
    // A permanently deleted webhook is not probed, not even by a reload.
    worker.resume(&fixture.counters).await.unwrap();
    assert_eq!(fixture.run_after(3600, &worker).await, 0);
    assert_eq!(fixture.parked("hook"), Some(true));

    let worker = fixture.worker(&store, "hook", webhook(&new.url));
    run_until(&fixture, &worker, new.wait_for(2)).await;
    assert_eq!(post_ids(&old), ["one"]);
    assert_eq!(post_ids(&new), ["one", "two"]);
    let state = store.notifier_state(&"hook".into()).await.unwrap();
    assert_eq!(state.parked, None);
    assert_eq!(fixture.parked("hook"), None, "its worker is gone");
}

#[tokio::test]
async fn case_44_messages_of_a_removed_notifier_become_dead_letters() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    for notifier in ["gone", "kept"] {
        fixture
            .tell(&store, notifier, notifier, &[("Alpha", 1, First)])
            .await;
    }
    store
        .dead_letter_orphans(&["kept".into()], fixture.now())
        .await
        .unwrap();
    let filter = MessageFilter {
        state: Some(MessageState::Dead),
        notifier: Some("gone".into()),
        limit: 10,
    };
    let dead = store.messages(&filter).await.unwrap();
    let listed: Vec<_> = dead
        .iter()
        .map(|row| (row.id.as_str(), row.last_error.as_deref()))
        .collect();
    assert_eq!(listed, [("gone", Some("notifier removed"))]);
    assert_eq!(ids(&store, MessageState::Waiting).await, ["kept"]);
}

#[tokio::test]
async fn chat_gets_three_ambiguous_attempts_and_a_webhook_more() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let (chat, hook) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    let workers = [
        fixture.worker(&store, "chat", slack(&chat.url)),
        fixture.worker(&store, "hook", webhook(&hook.url)),
    ];
    for (worker, (receiver, n)) in workers.iter().zip([(&chat, 3), (&hook, 4)]) {
        for _ in 0..n {
            receiver.answer(reply(504, ""));
        }
        let name = worker.name.as_str();
        fixture
            .tell(&store, name, name, &[("Alpha", 1, First)])
            .await;
    }
    for _ in 0..10 {
        for worker in &workers {
            fixture.run_after(3600, worker).await;
        }
    }
    assert_eq!((chat.posts().len(), hook.posts().len()), (3, 5));
    assert_eq!(ids(&store, MessageState::Delivered).await, ["hook"]);
    let filter = MessageFilter {
        state: Some(MessageState::Dead),
        notifier: None,
        limit: 10,
    };
    let dead = store.messages(&filter).await.unwrap();
    let error = "answered 504; sent 3 times without a clear response, may have arrived";
    assert_eq!(dead[0].last_error.as_deref(), Some(error));
    // A replay gets as many attempts again.
    let expires = fixture.now() + jiff::SignedDuration::from_hours(72);
    store.replay("chat", fixture.now(), expires).await.unwrap();
    fixture.run_after(0, &workers[0]).await;
    assert_eq!(ids(&store, MessageState::Delivered).await, ["chat", "hook"]);
}

#[tokio::test]
async fn posts_of_a_large_message_keep_their_ids_when_one_fails() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    receiver.answer(reply(200, ""));
    receiver.answer(reply(503, ""));
    let names: Vec<String> = (0..250).map(|n| format!("workspace-{n:03}")).collect();
    let alerts: Vec<_> = names.iter().map(|name| (name.as_str(), 1, First)).collect();
    fixture.tell(&store, "hook", "one", &alerts).await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture.run_after(0, &worker).await;
    fixture.run_after(1, &worker).await;
    let expected = ["one", "one-2", "one-2", "one-3"];
    assert_eq!(post_ids(&receiver), expected);
    let posts = receiver.posts();
    let alerts =
        |n: usize| serde_json::from_slice::<Value>(&posts[n].body).unwrap()["alerts"].clone();
    assert_eq!(alerts(1), alerts(2));
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// A message of three posts to a webhook.
async fn send_large_message(fixture: &OutboxFixture, store: &Store) {
    let names: Vec<String> = (0..250).map(|n| format!("workspace-{n:03}")).collect();
    let alerts: Vec<_> = names.iter().map(|name| (name.as_str(), 1, First)).collect();
    fixture.tell(store, "hook", "one", &alerts).await;
}

#[tokio::test]
async fn stop_between_posts_repeats_no_accepted_post() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    send_large_message(&fixture, &store).await;
    receiver.answer(reply(200, ""));
    // It ends by the timeout of the client.
    receiver.answer(Answer::Hang);
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    run_until(&fixture, &worker, receiver.wait_for(2)).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2"]);
    drop((worker, store));
    let store = fixture.open().await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture.run_after(60, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn kill_between_posts_repeats_no_accepted_post() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    send_large_message(&fixture, &store).await;
    receiver.answer(reply(200, ""));
    receiver.answer(reply(200, ""));
    receiver.answer(Answer::Hang);
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    tokio::select! {
        _ = worker.run_due(&fixture.counters) => panic!("the third post gets no response"),
        () = receiver.wait_for(3) => {}
    }
    drop((worker, store));
    let store = fixture.open().await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-3", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn rejected_post_does_not_block_others_and_becomes_a_dead_letter() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    send_large_message(&fixture, &store).await;
    receiver.answer(reply(400, "no"));
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Dead).await, ["one"]);
    // A replay sends all posts again.
    let expires = fixture.now() + jiff::SignedDuration::from_hours(72);
    store.replay("one", fixture.now(), expires).await.unwrap();
    fixture.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver)[3..], ["one", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

fn fallback() -> Fallback {
    Fallback {
        name: "spare".into(),
        recipients: Vec::new(),
        min_severity: Severity::Info,
        send_resolved: true,
        takes_digests: true,
        max_age: jiff::SignedDuration::from_hours(72),
    }
}

/// Returns the alert, the reason and the absent notifier of each message to the fallback.
fn sent_to_fallback(memory: &Memory) -> Vec<String> {
    let facts = memory.take().into_iter().flat_map(|sent| {
        let explained = "ent here because `hook` is not reachable";
        assert!(sent.text.contains(explained), "{}", sent.text);
        sent.facts
    });
    let words = facts.map(|fact| {
        let absent = fact.in_place_of.unwrap();
        format!("{} {} for {absent}", fact.subject_name, fact.reason)
    });
    words.collect()
}

fn n_dropped(fixture: &OutboxFixture) -> Option<String> {
    let text = fixture.counters.render();
    let series = "spendwatch_notifications_total{notifier=\"hook\",outcome=\"dropped\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(str::to_owned)
}

#[tokio::test]
async fn rejected_message_is_counted_listed_and_sent_to_the_fallback_once() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    let memory = Memory::default();
    let mut worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(fallback());
    let spare = fixture.worker(&store, "spare", Notifier::Memory(memory.clone()));
    for (id, sequence, reason) in [("one", 1, First), ("two", 2, Resolved)] {
        receiver.answer(reply(400, "no"));
        let alerts = [("Alpha", sequence, reason)];
        fixture.tell(&store, "hook", id, &alerts).await;
        fixture.run_after(1, &worker).await;
        fixture.run_after(1, &spare).await;
        let expected = format!("Alpha {reason} for hook");
        assert_eq!(sent_to_fallback(&memory), [expected]);
    }
    assert_eq!(ids(&store, MessageState::Dead).await, ["one", "two"]);
    assert_eq!(n_dropped(&fixture).as_deref(), Some("2"));
    // Neither another round nor a rejected replay sends it there again.
    receiver.answer(reply(400, "no"));
    let expires = fixture.now() + jiff::SignedDuration::from_hours(72);
    store.replay("one", fixture.now(), expires).await.unwrap();
    fixture.run_after(1, &worker).await;
    fixture.run_after(1, &spare).await;
    assert_eq!(sent_to_fallback(&memory), [""; 0]);
    assert_eq!(n_dropped(&fixture).as_deref(), Some("3"));
}

#[tokio::test]
async fn expired_message_is_sent_to_the_fallback_also_after_a_kill() {
    let fixture = OutboxFixture::new();
    let faults = Faults::new(|operation, moment| {
        operation == "forward_dead_letters" && moment == CommitPoint::BeforeCommit
    });
    let store = fixture.open_faulty(faults).await;
    let receiver = Receiver::start(|_| None).await;
    fixture
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    let mut worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(fallback());
    fixture.clock.advance(Duration::from_secs(73 * 3600));
    worker.run_due(&fixture.counters).await.unwrap_err();
    drop((worker, store));
    let store = fixture.open().await;
    let mut worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(fallback());
    fixture.run_after(1, &worker).await;
    let memory = Memory::default();
    let spare = fixture.worker(&store, "spare", Notifier::Memory(memory.clone()));
    fixture.run_after(1, &spare).await;
    assert_eq!(sent_to_fallback(&memory), ["Alpha first for hook"]);
    assert!(receiver.posts().is_empty());
}

/// Adds one message for each recipient.
async fn add_for_each(fixture: &OutboxFixture, store: &Store, alert: &str, recipients: &[&str]) {
    let messages = recipients.iter().map(|recipient| {
        let id = format!("{alert} to {recipient}");
        NewMessage {
            recipient: Some((*recipient).to_owned()),
            ..message("mail", &id, &[(alert, 1, First)], fixture.now())
        }
    });
    commit(store, messages.collect(), fixture.now()).await;
}

#[tokio::test]
async fn rejected_recipient_does_not_block_others() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    let worker = fixture.worker(&store, "mail", Notifier::Memory(memory.clone()));
    let sent = |memory: &Memory| -> Vec<String> {
        let sent = memory.take().into_iter();
        sent.map(|sent| sent.id).collect()
    };
    add_for_each(&fixture, &store, "Alpha", &["a", "b", "c"]).await;
    let refused = || Delivery::park("550 no");
    memory.respond_with([
        refused(),
        Delivery::Delivered,
        Delivery::Delivered,
        refused(),
    ]);
    fixture.run_after(0, &worker).await;
    // Another recipient shows that the notifier works.
    let expected = ["Alpha to a", "Alpha to b"];
    assert_eq!(sent(&memory)[..2], expected);
    fixture.run_after(1, &worker).await;
    assert_eq!(ids(&store, MessageState::Delivered).await.len(), 2);
    memory.take();
    assert_eq!(ids(&store, MessageState::Waiting).await, ["Alpha to a"]);
    assert_eq!(fixture.parked("mail"), Some(false));
    // The next message to the recipient does not park the notifier.
    add_for_each(&fixture, &store, "Beta", &["a", "b"]).await;
    memory.respond_with([refused(), Delivery::Delivered]);
    fixture.run_after(1, &worker).await;
    assert_eq!(sent(&memory), ["Beta to a", "Beta to b"]);
    assert_eq!(fixture.parked("mail"), Some(false));
}

#[tokio::test]
async fn notifier_is_parked_if_all_recipients_are_rejected() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    memory.respond_with(vec![Delivery::park("550 no"); 4]);
    let worker = fixture.worker(&store, "mail", Notifier::Memory(memory.clone()));
    add_for_each(&fixture, &store, "Alpha", &["a", "b", "c"]).await;
    assert_eq!(fixture.run_after(1, &worker).await, 2);
    assert_eq!(fixture.parked("mail"), Some(true));
    for _ in 0..2 {
        assert_eq!(fixture.run_after(14 * 60, &worker).await, 0);
        assert_eq!(fixture.run_after(60, &worker).await, 1);
    }
    let sent: Vec<String> = memory.take().into_iter().map(|sent| sent.id).collect();
    let turns = ["Alpha to a", "Alpha to b", "Alpha to c", "Alpha to b"];
    assert_eq!(sent, turns);
    fixture.run_after(15 * 60, &worker).await;
    assert_eq!(ids(&store, MessageState::Delivered).await.len(), 3);
}

#[tokio::test]
async fn fallback_receives_nothing_twice() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    let memory = Memory::default();
    let mut worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(fallback());
    let spare = fixture.worker(&store, "spare", Notifier::Memory(memory.clone()));
    for (id, notifier) in [("one", "hook"), ("two", "spare")] {
        fixture
            .tell(&store, notifier, id, &[("Alpha", 1, First)])
            .await;
    }
    receiver.answer(reply(400, "no"));
    fixture.run_after(0, &worker).await;
    fixture.run_after(0, &spare).await;
    assert_eq!(attempts(&memory), ["two: Alpha first"]);
}

#[tokio::test]
async fn worker_wakes_for_commits_and_due_messages_and_stops_at_once() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    let (wakeups, stop) = (Wakeups::default(), CancellationToken::new());
    let from_outside = async {
        waiting(&fixture, 1).await;
        receiver.answer(reply(503, ""));
        fixture
            .tell(&store, "hook", "one", &[("Alpha", 1, First)])
            .await;
        wakeups.wake_all();
        receiver.wait_for(1).await;
        waiting(&fixture, 1).await;
        fixture.clock.advance(Duration::from_secs(1));
        receiver.wait_for(2).await;
        waiting(&fixture, 1).await;
        // Writes of another process wake nothing.
        fixture
            .tell(&store, "hook", "two", &[("Alpha", 2, Resolved)])
            .await;
        fixture.clock.advance(Duration::from_secs(30));
        receiver.wait_for(3).await;
        waiting(&fixture, 1).await;
        stop.cancel();
    };
    tokio::join!(worker.run(&fixture.counters, &wakeups, &stop), from_outside);
    assert_eq!(post_ids(&receiver), ["one", "one", "two"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one", "two"]);
}

#[tokio::test]
async fn clock_set_back_does_not_delay_messages() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    let (wakeups, stop) = (Wakeups::default(), CancellationToken::new());
    fixture
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    let paused = vec![("retry-after", "20".to_owned())];
    receiver.answer(Answer::Reply(429, paused, String::new()));
    let from_outside = async {
        receiver.wait_for(1).await;
        waiting(&fixture, 1).await;
        fixture
            .clock
            .set_wall("2026-11-24T06:00:00Z".parse().unwrap());
        wakeups.wake_all();
        waiting(&fixture, 1).await;
        fixture.clock.advance(Duration::from_secs(20));
        receiver.wait_for(2).await;
        waiting(&fixture, 1).await;
        stop.cancel();
    };
    tokio::join!(worker.run(&fixture.counters, &wakeups, &stop), from_outside);
    assert_eq!(post_ids(&receiver), ["one", "one"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn stop_lets_an_attempt_end_and_sends_nothing_more() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = fixture.worker(&store, "hook", webhook(&receiver.url));
    fixture
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    // It ends by the timeout of the client.
    receiver.answer(Answer::Hang);
    let meanwhile = async {
        receiver.wait_for(1).await;
        fixture
            .tell(&store, "hook", "two", &[("Beta", 1, First)])
            .await;
    };
    run_until(&fixture, &worker, meanwhile).await;
    assert_eq!(post_ids(&receiver), ["one"]);
    let filter = MessageFilter {
        state: Some(MessageState::Waiting),
        notifier: None,
        limit: 10,
    };
    let waiting = store.messages(&filter).await.unwrap();
    let errors: Vec<_> = waiting
        .iter()
        .map(|row| (row.id.as_str(), row.last_error.as_deref()))
        .collect();
    assert_eq!(errors, [("two", None), ("one", Some("response timed out"))]);
}

#[tokio::test]
async fn hanging_attempt_is_abandoned_and_repeated() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let receiver = Receiver::start(|_| None).await;
    fixture
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    receiver.answer(Answer::Hang);
    // The client's timeout is far beyond the worker's.
    let notifier = {
        use spendwatch_base::receiver::{ReceiverSettings, WebhookSettings};
        let settings = WebhookSettings {
            url: spendwatch_base::secret::Secret::new(receiver.url.clone()),
            signing_secrets: Vec::new(),
            headers: Vec::new(),
            template: None,
        };
        Notifier::new(ReceiverSettings::Webhook(settings), false).unwrap()
    };
    let worker = fixture.worker(&store, "hook", notifier);
    let (wakeups, stop) = (Wakeups::default(), CancellationToken::new());
    let began = Clock::system();
    let from_outside = async {
        receiver.wait_for(1).await;
        stop.cancel();
        waiting(&fixture, 1).await;
        fixture.clock.advance(STOP_LIMIT);
    };
    tokio::join!(worker.run(&fixture.counters, &wakeups, &stop), from_outside);
    assert!(began.monotonic() < post_limit());
    fixture.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

fn post_limit() -> Duration {
    spendwatch_notify::post::WHOLE_TIMEOUT
}

#[tokio::test]
async fn failing_store_neither_ends_the_worker_nor_repeats_messages() {
    let fixture = OutboxFixture::new();
    let n_failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_failures);
    let faults = Faults::new(move |operation, moment| {
        operation == "finish"
            && moment == CommitPoint::BeforeCommit
            && counted.fetch_add(1, Ordering::SeqCst) < 3
    });
    let store = fixture.open_faulty(faults).await;
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    let memory = Memory::default();
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    let written = async {
        while ids(&store, MessageState::Delivered).await.is_empty() {
            fixture.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    run_until(&fixture, &worker, written).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"]);
    assert_eq!(n_failures.load(Ordering::SeqCst), 4);
}

/// Captures the log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn parking_and_its_end_are_logged_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    memory.respond_with(vec![Delivery::park("404 no_service"); 3]);
    let worker = fixture.worker(&store, "chat", Notifier::Memory(memory));
    fixture
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    for _ in 0..5 {
        fixture.run_after(15 * 60, &worker).await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let log_lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("spendwatch::delivery: "))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        log_lines,
        [
            "notifier `chat` is parked, its messages wait: 404 no_service notifier.name=chat",
            "notifier `chat` is no longer parked notifier.name=chat",
        ]
    );
}

#[tokio::test]
async fn alerts_within_the_group_interval_are_sent_together() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let memory = Memory::default();
    let mut worker = fixture.worker(&store, "chat", Notifier::Memory(memory.clone()));
    worker.group_interval = jiff::SignedDuration::from_mins(5);
    let go_on = async |minutes: u64| {
        fixture.clock.advance(Duration::from_secs(60 * minutes));
        worker.run_due(&fixture.counters).await.unwrap();
        memory.take().len()
    };
    fixture
        .tell(&store, "chat", "one", &[("a", 1, First)])
        .await;
    assert_eq!(go_on(0).await, 1);
    fixture
        .tell(&store, "chat", "two", &[("b", 1, First)])
        .await;
    assert_eq!(go_on(2).await, 0);
    fixture
        .tell(&store, "chat", "three", &[("c", 1, First)])
        .await;
    assert_eq!(go_on(2).await, 0);
    // Both are in one message.
    assert_eq!(go_on(1).await, 1);
    assert_eq!(go_on(10).await, 0);
}
