//! Delivery: cases by their number, against receivers that fail in every way and stops at every write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use spendwatch::app::bells::Bells;
use spendwatch::clock::Clock;
use spendwatch::delivery::{STOP_LIMIT, Worker};
use spendwatch::domain::notification::Reason::{Escalated, First, Resolved};
use spendwatch::domain::rule::Severity;
use spendwatch::notify::Notifier;
use spendwatch::notify::memory::Memory;
use spendwatch::notify::outcome::Delivery;
use spendwatch::store::fallbacks::Fallback;
use spendwatch::store::messages::{MessageFilter, MessageState};
use spendwatch::store::outbox::NewMessage;
use spendwatch::store::{Faults, Moment, Store};
use tokio_util::sync::CancellationToken;

use crate::office::{Office, commit, fill, ids, message, note_attempts, slack, webhook};
use crate::receiver::{Answer, Post, Receiver};

/// Attempts as `id:alert sequence reason,…`.
fn attempts(memory: &Memory) -> Vec<String> {
    let words = |sent: spendwatch::notify::memory::Sent| {
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

/// The ids of posts, in the order in which they came.
fn post_ids(receiver: &Receiver) -> Vec<String> {
    let id = |post: &Post| post.headers["webhook-id"].to_str().unwrap().to_owned();
    receiver.posts().iter().map(id).collect()
}

fn reply(status: u16, body: &str) -> Answer {
    Answer::Reply(status, Vec::new(), body.to_owned())
}

/// Runs a worker until the condition holds, then asks it to stop.
async fn run_until(office: &Office, worker: &Worker, condition: impl Future<Output = ()>) {
    let (bells, stop) = (Bells::default(), CancellationToken::new());
    let ended = async {
        condition.await;
        stop.cancel();
    };
    let both = async { tokio::join!(worker.run(&office.counters, &bells, &stop), ended) };
    // What it waits for takes a moment, unless it never comes.
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .unwrap();
}

/// Waits until so many wait for the clock.
async fn waiting(office: &Office, n: usize) {
    while office.clock.n_waiting() < n {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn case_14_a_kill_after_the_send_repeats_it_under_the_same_id() {
    let office = Office::new();
    let faults =
        Faults::new(|operation, moment| operation == "finish" && moment == Moment::BeforeCommit);
    let store = office.open_faulty(faults).await;
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    let memory = Memory::default();
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    worker.run_due(&office.counters).await.unwrap_err();
    drop((worker, store));
    let store = office.open().await;
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    office.run_after(1, &worker).await;
    office.run_after(1, &worker).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"; 2]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// Everything that a delivery does: folds, is refused, is tried again, is delivered.
async fn deliver_a_story(office: &Office, store: &Store, memory: &Memory) -> bool {
    let worker = office.worker(store, "chat", Notifier::Memory(memory.clone()));
    if worker.begin(&office.counters).await.is_err() {
        return false;
    }
    for _ in 0..4 {
        office.clock.advance(Duration::from_secs(10));
        if worker.run_due(&office.counters).await.is_err() {
            return false;
        }
    }
    true
}

/// Stops at the given moment, counted over all writes of a delivery; gives whether there was such a moment.
async fn stop_at(place: usize) -> bool {
    let office = Office::new();
    let store = office.open().await;
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    office
        .tell(
            &store,
            "chat",
            "two",
            &[("Alpha", 2, Escalated), ("Beta", 1, First)],
        )
        .await;
    let memory = Memory::default();
    memory.answer([Delivery::retry("503")]);
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let faulty = store.clone().with_faults(Faults::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst) == place
    }));
    let was_stopped = !deliver_a_story(&office, &faulty, &memory).await;
    drop((store, faulty));
    let store = office.open().await;
    office
        .tell(&store, "chat", "three", &[("Alpha", 3, Resolved)])
        .await;
    assert!(deliver_a_story(&office, &store, &memory).await);

    let sent = attempts(&memory);
    let n_first = sent.iter().filter(|sent| sent.starts_with("one:")).count();
    let mut expected = vec!["one: Alpha first, Beta first".to_owned(); n_first];
    expected.push("three: Alpha resolved".to_owned());
    // A stop before the very first claim leaves both to be folded with what comes.
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
async fn a_stop_at_any_write_of_a_delivery_loses_nothing_and_invents_nothing() {
    let mut n_stops = 0;
    while stop_at(n_stops).await {
        n_stops += 1;
        assert!(n_stops < 100, "a delivery has a handful of writes");
    }
    // Begin, claim, refused, claim, delivered: each before and after its commit.
    assert_eq!(n_stops, 10);
}

#[tokio::test]
async fn case_19_a_receiver_that_hangs_delays_no_other() {
    let office = Office::new();
    let store = office.open().await;
    let hanging = Receiver::start(|_| None).await;
    hanging.answer(Answer::Hang);
    for notifier in ["hook", "chat"] {
        let id = format!("{notifier}-one");
        office
            .tell(&store, notifier, &id, &[("Alpha", 1, First)])
            .await;
    }
    let hook = office.worker(&store, "hook", webhook(&hanging.url));
    let (bells, stop) = (Bells::default(), CancellationToken::new());
    let others = async {
        hanging.wait_for(1).await;
        let memory = Memory::default();
        let chat = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
        chat.run_due(&office.counters).await.unwrap();
        assert_eq!(attempts(&memory), ["chat-one: Alpha first"]);
        assert_eq!(ids(&store, MessageState::Waiting).await, ["hook-one"]);
        stop.cancel();
    };
    tokio::join!(hook.run(&office.counters, &bells, &stop), others);
}

#[tokio::test]
async fn case_19_the_backlog_of_an_hour_comes_folded_and_in_order() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    for _ in 0..100 {
        receiver.answer(Answer::Hang);
    }
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office
        .tell(&store, "hook", "first", &[("Alpha", 1, First)])
        .await;
    let mut n_attempts = office.run_after(0, &worker).await;
    for minute in 0..60 {
        let id = format!("minute-{minute:02}");
        let (alpha, beta) = (minute + 2, minute + 1);
        let alerts = [("Alpha", alpha, Escalated), ("Beta", beta, Escalated)];
        if minute % 2 == 0 {
            office.tell(&store, "hook", &id, &alerts).await;
        }
        n_attempts += office.run_after(60, &worker).await;
    }
    // A receiver that only hangs is soon left alone, and what comes meanwhile is folded.
    assert!(n_attempts < 15, "{n_attempts} attempts in an hour");
    let n_before = receiver.posts().len();
    assert_eq!(n_before, n_attempts);
    receiver.recover();
    for _ in 0..20 {
        office.run_after(600, &worker).await;
    }
    let none: Vec<String> = Vec::new();
    assert_eq!(ids(&store, MessageState::Waiting).await, none);
    assert_eq!(ids(&store, MessageState::Dead).await, none);
    let n_after = receiver.posts().len() - n_before;
    assert!(n_after < 10, "30 messages came as {n_after}");
    for name in ["Alpha", "Beta"] {
        let told = sequences(&receiver, n_before, name);
        assert!(told.is_sorted(), "{name}: {told:?}");
        assert_eq!(told.last(), Some(&if name == "Alpha" { 60 } else { 59 }));
    }
    assert_eq!(sequences(&receiver, n_before, "Alpha")[0], 1);
}

/// What was told about an alert, from a post on.
fn sequences(receiver: &Receiver, from: usize, name: &str) -> Vec<u64> {
    let mut told = Vec::new();
    for post in &receiver.posts()[from..] {
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            if alert["labels"]["subject_id"] == name {
                told.push(alert["spendwatch"]["sequence"].as_u64().unwrap());
            }
        }
    }
    told
}

#[tokio::test]
async fn case_20_what_had_no_attempt_is_folded_into_one_line() {
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    memory.answer([Delivery::park("404 no_service")]);
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    office
        .tell(&store, "chat", "beta", &[("Beta", 1, First)])
        .await;
    office.run_after(1, &worker).await;
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    office.run_after(60, &worker).await;
    office
        .tell(&store, "chat", "two", &[("Alpha", 2, Resolved)])
        .await;
    office.run_after(60, &worker).await;
    assert_eq!(attempts(&memory), ["beta: Beta first"]);
    office.run_after(15 * 60, &worker).await;
    assert_eq!(
        attempts(&memory),
        ["beta: Beta first", "one: Alpha resolved+fired"]
    );
}

#[tokio::test]
async fn case_20_after_a_failed_attempt_both_go_out_in_order() {
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    memory.answer([Delivery::retry("503"), Delivery::ambiguous("504")]);
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    office.run_after(0, &worker).await;
    office
        .tell(&store, "chat", "two", &[("Alpha", 2, Resolved)])
        .await;
    office.run_after(0, &worker).await;
    office.run_after(1, &worker).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"; 2]);
    office.run_after(5, &worker).await;
    assert_eq!(
        attempts(&memory),
        ["one: Alpha first", "two: Alpha resolved"]
    );
}

/// What was delivered of each alert, in that order.
fn told(memory: &Memory) -> BTreeMap<String, Vec<u64>> {
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for fact in memory.sent().into_iter().flat_map(|sent| sent.facts) {
        let of_alert = told.entry(fact.subject_name).or_default();
        of_alert.push(fact.sequence);
    }
    told
}

#[tokio::test]
async fn a_backlog_is_told_in_order_and_each_of_its_messages_once() {
    let office = Office::new();
    let store = office.open().await;
    fill(&store, "chat", 100, 12, office.now()).await;
    note_attempts(&office.path());
    let memory = Memory::default();
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    assert_eq!(office.run_after(0, &worker).await, 1200);
    let told = told(&memory);
    assert_eq!(told.len(), 100);
    let each: Vec<u64> = (1..=12).collect();
    assert!(told.values().all(|of_alert| *of_alert == each), "{told:?}");
    assert!(store.outbox_counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_backlog_that_was_never_tried_goes_together_and_in_order() {
    let office = Office::new();
    let store = office.open().await;
    fill(&store, "chat", 300, 10, office.now()).await;
    let memory = Memory::default();
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    let n_attempts = office.run_after(0, &worker).await;
    assert!(n_attempts <= 20, "3,000 messages came as {n_attempts}");
    let told = told(&memory);
    assert_eq!(told.len(), 300);
    for (name, of_alert) in &told {
        let is_in_order = of_alert.is_sorted_by(|one, next| one < next);
        assert!(
            is_in_order && of_alert.last() == Some(&10),
            "{name}: {of_alert:?}"
        );
        // What was crossed upwards is told before it is left again.
        let raised: Vec<&u64> = of_alert.iter().filter(|n| *n % 2 == 0).collect();
        assert_eq!(raised, [&2, &4, &6, &8, &10], "{name}: {of_alert:?}");
    }
    assert!(store.outbox_counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn case_23_a_deleted_hook_is_parked_probed_and_keeps_its_messages() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    receiver.answer(reply(404, "no_service"));
    receiver.answer(reply(404, "no_service"));
    let worker = office.worker(&store, "chat", slack(&receiver.url));
    worker.begin(&office.counters).await.unwrap();
    assert_eq!(office.parked("chat"), Some(false));
    for (id, name) in [("one", "Alpha"), ("two", "Beta")] {
        office.tell(&store, "chat", id, &[(name, 1, First)]).await;
        assert_eq!(office.run_after(0, &worker).await, usize::from(id == "one"));
    }
    assert_eq!(office.parked("chat"), Some(true));
    assert_eq!(office.run_after(14 * 60, &worker).await, 0);
    assert_eq!(
        office.run_after(60, &worker).await,
        1,
        "a probe, refused again"
    );
    let state = store.notifier_state(&"chat".into()).await.unwrap();
    let reason = state.parked.map(|parked| parked.reason);
    assert_eq!(reason.as_deref(), Some("answered 404: no_service"));
    // A reload that changes nothing probes at once.
    worker.begin(&office.counters).await.unwrap();
    assert_eq!(office.parked("chat"), Some(true));
    assert_eq!(office.run_after(0, &worker).await, 2);
    assert_eq!(office.parked("chat"), Some(false));
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one", "two"]);
}

#[tokio::test]
async fn case_44_other_settings_end_the_parking_and_what_waits_goes_there_with_its_ids() {
    let office = Office::new();
    let store = office.open().await;
    let (old, new) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    old.answer(reply(410, "gone"));
    let worker = office.worker(&store, "hook", webhook(&old.url));
    worker.begin(&office.counters).await.unwrap();
    office
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    office.run_after(0, &worker).await;
    office
        .tell(&store, "hook", "two", &[("Alpha", 2, Resolved)])
        .await;
    // Who is gone for good is not probed, not even by a reload.
    worker.begin(&office.counters).await.unwrap();
    assert_eq!(office.run_after(3600, &worker).await, 0);
    assert_eq!(office.parked("hook"), Some(true));

    let worker = office.worker(&store, "hook", webhook(&new.url));
    run_until(&office, &worker, new.wait_for(2)).await;
    assert_eq!(post_ids(&old), ["one"]);
    assert_eq!(post_ids(&new), ["one", "two"]);
    let state = store.notifier_state(&"hook".into()).await.unwrap();
    assert_eq!(state.parked, None);
    assert_eq!(office.parked("hook"), None, "nobody serves it any more");
}

#[tokio::test]
async fn case_44_what_waits_for_a_removed_notifier_becomes_a_dead_letter() {
    let office = Office::new();
    let store = office.open().await;
    for notifier in ["gone", "kept"] {
        office
            .tell(&store, notifier, notifier, &[("Alpha", 1, First)])
            .await;
    }
    store.orphan(&["kept".into()], office.now()).await.unwrap();
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
async fn a_chat_hook_gets_three_attempts_that_may_have_arrived_and_a_webhook_goes_on() {
    let office = Office::new();
    let store = office.open().await;
    let (chat, hook) = (
        Receiver::start(|_| None).await,
        Receiver::start(|_| None).await,
    );
    let workers = [
        office.worker(&store, "chat", slack(&chat.url)),
        office.worker(&store, "hook", webhook(&hook.url)),
    ];
    for (worker, (receiver, n)) in workers.iter().zip([(&chat, 3), (&hook, 4)]) {
        for _ in 0..n {
            receiver.answer(reply(504, ""));
        }
        let name = worker.name.as_str();
        office
            .tell(&store, name, name, &[("Alpha", 1, First)])
            .await;
    }
    for _ in 0..10 {
        for worker in &workers {
            office.run_after(3600, worker).await;
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
    let error = "answered 504; sent 3 times without a clear answer, it may have arrived";
    assert_eq!(dead[0].last_error.as_deref(), Some(error));
    // Whoever asks for it again gets as many attempts again.
    let expires = office.now() + jiff::SignedDuration::from_hours(72);
    store.replay("chat", office.now(), expires).await.unwrap();
    office.run_after(0, &workers[0]).await;
    assert_eq!(ids(&store, MessageState::Delivered).await, ["chat", "hook"]);
}

#[tokio::test]
async fn parts_of_a_large_message_keep_their_ids_when_one_of_them_fails() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    receiver.answer(reply(200, ""));
    receiver.answer(reply(503, ""));
    let names: Vec<String> = (0..250).map(|n| format!("workspace-{n:03}")).collect();
    let alerts: Vec<_> = names.iter().map(|name| (name.as_str(), 1, First)).collect();
    office.tell(&store, "hook", "one", &alerts).await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office.run_after(0, &worker).await;
    office.run_after(1, &worker).await;
    let expected = ["one", "one-2", "one-2", "one-3"];
    assert_eq!(post_ids(&receiver), expected);
    let posts = receiver.posts();
    let alerts =
        |n: usize| serde_json::from_slice::<Value>(&posts[n].body).unwrap()["alerts"].clone();
    assert_eq!(alerts(1), alerts(2));
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// A message of three posts to a webhook.
async fn tell_of_many(office: &Office, store: &Store) {
    let names: Vec<String> = (0..250).map(|n| format!("workspace-{n:03}")).collect();
    let alerts: Vec<_> = names.iter().map(|name| (name.as_str(), 1, First)).collect();
    office.tell(store, "hook", "one", &alerts).await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_several_posts_repeats_none_that_was_answered() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    tell_of_many(&office, &store).await;
    receiver.answer(reply(200, ""));
    // It comes to its end by the limit of the client.
    receiver.answer(Answer::Hang);
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    run_until(&office, &worker, receiver.wait_for(2)).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2"]);
    drop((worker, store));
    let store = office.open().await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office.run_after(60, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn a_kill_between_two_posts_repeats_none_that_was_answered() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    tell_of_many(&office, &store).await;
    receiver.answer(reply(200, ""));
    receiver.answer(reply(200, ""));
    receiver.answer(Answer::Hang);
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    tokio::select! {
        _ = worker.run_due(&office.counters) => panic!("the third post gets no answer"),
        () = receiver.wait_for(3) => {}
    }
    drop((worker, store));
    let store = office.open().await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-3", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn a_post_that_is_refused_holds_up_none_of_the_others_and_the_message_is_a_dead_letter() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    tell_of_many(&office, &store).await;
    receiver.answer(reply(400, "no"));
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Dead).await, ["one"]);
    // Whoever asks for it again gets all of it again.
    let expires = office.now() + jiff::SignedDuration::from_hours(72);
    store.replay("one", office.now(), expires).await.unwrap();
    office.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver)[3..], ["one", "one-2", "one-3"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// Receives what another notifier could not deliver.
fn spare() -> Fallback {
    Fallback {
        name: "spare".into(),
        recipients: Vec::new(),
        min_severity: Severity::Info,
        send_resolved: true,
        takes_digests: true,
        max_age: jiff::SignedDuration::from_hours(72),
    }
}

/// What was sent to the fallback: the alert, the reason, and in whose place.
fn sent_instead(memory: &Memory) -> Vec<String> {
    let facts = memory.take().into_iter().flat_map(|sent| {
        let explained = "ent here because `hook` could not deliver it";
        assert!(sent.text.contains(explained), "{}", sent.text);
        sent.facts
    });
    let words = facts.map(|fact| {
        let absent = fact.in_place_of.unwrap();
        format!("{} {} for {absent}", fact.subject_name, fact.reason)
    });
    words.collect()
}

fn n_dropped(office: &Office) -> Option<String> {
    let text = office.counters.render();
    let series = "spendwatch_notifications_total{notifier=\"hook\",outcome=\"dropped\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(str::to_owned)
}

#[tokio::test]
async fn a_message_that_is_refused_is_counted_listed_and_sent_to_the_fallback_once() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    let memory = Memory::default();
    let mut worker = office.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(spare());
    let spare = office.worker(&store, "spare", Notifier::Memory(memory.clone()));
    for (id, sequence, reason) in [("one", 1, First), ("two", 2, Resolved)] {
        receiver.answer(reply(400, "no"));
        let alerts = [("Alpha", sequence, reason)];
        office.tell(&store, "hook", id, &alerts).await;
        office.run_after(1, &worker).await;
        office.run_after(1, &spare).await;
        let expected = format!("Alpha {reason} for hook");
        assert_eq!(sent_instead(&memory), [expected]);
    }
    assert_eq!(ids(&store, MessageState::Dead).await, ["one", "two"]);
    assert_eq!(n_dropped(&office).as_deref(), Some("2"));
    // Neither another round nor a replay that is refused again sends it there again.
    receiver.answer(reply(400, "no"));
    let expires = office.now() + jiff::SignedDuration::from_hours(72);
    store.replay("one", office.now(), expires).await.unwrap();
    office.run_after(1, &worker).await;
    office.run_after(1, &spare).await;
    assert_eq!(sent_instead(&memory), [""; 0]);
    assert_eq!(n_dropped(&office).as_deref(), Some("3"));
}

#[tokio::test]
async fn a_message_that_is_too_old_goes_to_the_fallback_also_after_a_kill() {
    let office = Office::new();
    let faults =
        Faults::new(|operation, moment| operation == "pass_on" && moment == Moment::BeforeCommit);
    let store = office.open_faulty(faults).await;
    let receiver = Receiver::start(|_| None).await;
    office
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    let mut worker = office.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(spare());
    office.clock.advance(Duration::from_secs(73 * 3600));
    worker.run_due(&office.counters).await.unwrap_err();
    drop((worker, store));
    let store = office.open().await;
    let mut worker = office.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(spare());
    office.run_after(1, &worker).await;
    let memory = Memory::default();
    let spare = office.worker(&store, "spare", Notifier::Memory(memory.clone()));
    office.run_after(1, &spare).await;
    assert_eq!(sent_instead(&memory), ["Alpha first for hook"]);
    assert!(receiver.posts().is_empty());
}

/// One message to each of these recipients.
async fn tell_each(office: &Office, store: &Store, alert: &str, recipients: &[&str]) {
    let messages = recipients.iter().map(|recipient| {
        let id = format!("{alert} to {recipient}");
        NewMessage {
            recipient: Some((*recipient).to_owned()),
            ..message("mail", &id, &[(alert, 1, First)], office.now())
        }
    });
    commit(store, messages.collect(), office.now()).await;
}

#[tokio::test]
async fn a_recipient_that_alone_is_refused_holds_up_no_other_one() {
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    let worker = office.worker(&store, "mail", Notifier::Memory(memory.clone()));
    let sent = |memory: &Memory| -> Vec<String> {
        let sent = memory.take().into_iter();
        sent.map(|sent| sent.id).collect()
    };
    tell_each(&office, &store, "Alpha", &["a", "b", "c"]).await;
    let refused = || Delivery::park("550 no");
    memory.answer([
        refused(),
        Delivery::Delivered,
        Delivery::Delivered,
        refused(),
    ]);
    office.run_after(0, &worker).await;
    // Another recipient shows that it is not the notifier's fault.
    let expected = ["Alpha to a", "Alpha to b"];
    assert_eq!(sent(&memory)[..2], expected);
    office.run_after(1, &worker).await;
    assert_eq!(ids(&store, MessageState::Delivered).await.len(), 2);
    memory.take();
    assert_eq!(ids(&store, MessageState::Waiting).await, ["Alpha to a"]);
    assert_eq!(office.parked("mail"), Some(false));
    // The next message to it parks nothing.
    tell_each(&office, &store, "Beta", &["a", "b"]).await;
    memory.answer([refused(), Delivery::Delivered]);
    office.run_after(1, &worker).await;
    assert_eq!(sent(&memory), ["Beta to a", "Beta to b"]);
    assert_eq!(office.parked("mail"), Some(false));
}

#[tokio::test]
async fn where_all_recipients_are_refused_the_notifier_is_parked_and_they_take_turns() {
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    memory.answer(vec![Delivery::park("550 no"); 4]);
    let worker = office.worker(&store, "mail", Notifier::Memory(memory.clone()));
    tell_each(&office, &store, "Alpha", &["a", "b", "c"]).await;
    assert_eq!(office.run_after(1, &worker).await, 2);
    assert_eq!(office.parked("mail"), Some(true));
    for _ in 0..2 {
        assert_eq!(office.run_after(14 * 60, &worker).await, 0);
        assert_eq!(office.run_after(60, &worker).await, 1);
    }
    let sent: Vec<String> = memory.take().into_iter().map(|sent| sent.id).collect();
    let turns = ["Alpha to a", "Alpha to b", "Alpha to c", "Alpha to b"];
    assert_eq!(sent, turns);
    office.run_after(15 * 60, &worker).await;
    assert_eq!(ids(&store, MessageState::Delivered).await.len(), 3);
}

#[tokio::test]
async fn what_a_fallback_was_told_anyway_is_not_sent_there_again() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    let memory = Memory::default();
    let mut worker = office.worker(&store, "hook", webhook(&receiver.url));
    worker.fallback = Some(spare());
    let spare = office.worker(&store, "spare", Notifier::Memory(memory.clone()));
    for (id, notifier) in [("one", "hook"), ("two", "spare")] {
        office
            .tell(&store, notifier, id, &[("Alpha", 1, First)])
            .await;
    }
    receiver.answer(reply(400, "no"));
    office.run_after(0, &worker).await;
    office.run_after(0, &spare).await;
    assert_eq!(attempts(&memory), ["two: Alpha first"]);
}

#[tokio::test]
async fn a_worker_wakes_for_the_bell_and_for_what_is_due_and_stops_at_once_while_it_waits() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    let (bells, stop) = (Bells::default(), CancellationToken::new());
    let from_outside = async {
        waiting(&office, 1).await;
        receiver.answer(reply(503, ""));
        office
            .tell(&store, "hook", "one", &[("Alpha", 1, First)])
            .await;
        bells.ring();
        receiver.wait_for(1).await;
        waiting(&office, 1).await;
        office.clock.advance(Duration::from_secs(1));
        receiver.wait_for(2).await;
        waiting(&office, 1).await;
        // What another process writes rings no bell.
        office
            .tell(&store, "hook", "two", &[("Alpha", 2, Resolved)])
            .await;
        office.clock.advance(Duration::from_secs(30));
        receiver.wait_for(3).await;
        waiting(&office, 1).await;
        stop.cancel();
    };
    tokio::join!(worker.run(&office.counters, &bells, &stop), from_outside);
    assert_eq!(post_ids(&receiver), ["one", "one", "two"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one", "two"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_hold_up_a_message() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    let (bells, stop) = (Bells::default(), CancellationToken::new());
    office
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    let paused = vec![("retry-after", "20".to_owned())];
    receiver.answer(Answer::Reply(429, paused, String::new()));
    let from_outside = async {
        receiver.wait_for(1).await;
        waiting(&office, 1).await;
        office
            .clock
            .set_wall("2026-11-24T06:00:00Z".parse().unwrap());
        bells.ring();
        waiting(&office, 1).await;
        office.clock.advance(Duration::from_secs(20));
        receiver.wait_for(2).await;
        waiting(&office, 1).await;
        stop.cancel();
    };
    tokio::join!(worker.run(&office.counters, &bells, &stop), from_outside);
    assert_eq!(post_ids(&receiver), ["one", "one"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

#[tokio::test]
async fn a_stop_lets_an_attempt_end_and_sends_nothing_more() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    let worker = office.worker(&store, "hook", webhook(&receiver.url));
    office
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    // It comes to its end by the limit of the client.
    receiver.answer(Answer::Hang);
    let meanwhile = async {
        receiver.wait_for(1).await;
        office
            .tell(&store, "hook", "two", &[("Beta", 1, First)])
            .await;
    };
    run_until(&office, &worker, meanwhile).await;
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
    assert_eq!(errors, [("two", None), ("one", Some("no answer in time"))]);
}

#[tokio::test]
async fn an_attempt_that_hangs_beyond_the_limit_is_left_and_made_again() {
    let office = Office::new();
    let store = office.open().await;
    let receiver = Receiver::start(|_| None).await;
    office
        .tell(&store, "hook", "one", &[("Alpha", 1, First)])
        .await;
    receiver.answer(Answer::Hang);
    // A client of a patience far beyond the worker's.
    let notifier = {
        use spendwatch::notify::{post, webhook};
        let url = spendwatch::secret::Secret::new(receiver.url.clone());
        let client = post::client(&url, false).unwrap();
        let settings = webhook::Settings {
            url,
            signing_secrets: Vec::new(),
            headers: Vec::new(),
            template: None,
        };
        Notifier::Webhook(webhook::Webhook::new(client, settings).unwrap())
    };
    let worker = office.worker(&store, "hook", notifier);
    let (bells, stop) = (Bells::default(), CancellationToken::new());
    let began = Clock::system();
    let from_outside = async {
        receiver.wait_for(1).await;
        stop.cancel();
        waiting(&office, 1).await;
        office.clock.advance(STOP_LIMIT);
    };
    tokio::join!(worker.run(&office.counters, &bells, &stop), from_outside);
    assert!(began.running() < post_limit());
    office.run_after(0, &worker).await;
    assert_eq!(post_ids(&receiver), ["one", "one"]);
    assert_eq!(ids(&store, MessageState::Delivered).await, ["one"]);
}

/// How long the attempt would have taken.
fn post_limit() -> Duration {
    spendwatch::notify::post::WHOLE_TIMEOUT
}

#[tokio::test]
async fn a_store_that_fails_neither_ends_the_worker_nor_sends_anything_twice() {
    let office = Office::new();
    let n_failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_failures);
    let faults = Faults::new(move |operation, moment| {
        operation == "finish"
            && moment == Moment::BeforeCommit
            && counted.fetch_add(1, Ordering::SeqCst) < 3
    });
    let store = office.open_faulty(faults).await;
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    let memory = Memory::default();
    let worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    let written = async {
        while ids(&store, MessageState::Delivered).await.is_empty() {
            office.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    run_until(&office, &worker, written).await;
    assert_eq!(attempts(&memory), ["one: Alpha first"]);
    assert_eq!(n_failures.load(Ordering::SeqCst), 4);
}

/// What is logged while it lives, on this thread.
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
async fn parking_is_said_once_and_so_is_its_end() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    memory.answer(vec![Delivery::park("404 no_service"); 3]);
    let worker = office.worker(&store, "chat", Notifier::Memory(memory));
    office
        .tell(&store, "chat", "one", &[("Alpha", 1, First)])
        .await;
    for _ in 0..5 {
        office.run_after(15 * 60, &worker).await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("spendwatch::delivery: "))
        .map(|(_, said)| said)
        .collect();
    assert_eq!(
        said,
        [
            "notifier `chat` is parked, its messages wait: 404 no_service notifier.name=chat",
            "notifier `chat` is no longer parked notifier.name=chat",
        ]
    );
}

#[tokio::test]
async fn what_is_decided_soon_after_a_message_goes_together() {
    let office = Office::new();
    let store = office.open().await;
    let memory = Memory::default();
    let mut worker = office.worker(&store, "chat", Notifier::Memory(memory.clone()));
    worker.group_interval = jiff::SignedDuration::from_mins(5);
    let go_on = async |minutes: u64| {
        office.clock.advance(Duration::from_secs(60 * minutes));
        worker.run_due(&office.counters).await.unwrap();
        memory.take().len()
    };
    office.tell(&store, "chat", "one", &[("a", 1, First)]).await;
    assert_eq!(go_on(0).await, 1);
    office.tell(&store, "chat", "two", &[("b", 1, First)]).await;
    assert_eq!(go_on(2).await, 0);
    office
        .tell(&store, "chat", "three", &[("c", 1, First)])
        .await;
    assert_eq!(go_on(2).await, 0);
    // Both in one message.
    assert_eq!(go_on(1).await, 1);
    assert_eq!(go_on(10).await, 0);
}
