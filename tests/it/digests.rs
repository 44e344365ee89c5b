//! Digests: sent once, not again after a restart, and not before the figures are complete.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use spendwatch::cycle::state::Watcher;
use spendwatch::delivery::DeliveryWorker;
use spendwatch_base::clock::Clock;
use spendwatch_config::digests::DigestConfig as Configured;
use spendwatch_domain::digest::{DataGap, Digest};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::{Period, Zone};
use spendwatch_domain::units::schedule::Schedule;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::memory::Memory;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use spendwatch_store::outbox::AttemptOutcome;
use spendwatch_store::outbox::fallbacks::Fallback;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};
use spendwatch_store::outbox::notifiers::NotifierState;
use spendwatch_store::{CommitPoint, Faults};

use crate::harness::{WatcherFixture, at, each, rule};

/// Mondays at 09:00 in Berlin, for the week before.
fn weekly() -> Configured {
    let zone = Zone {
        name: "Europe/Berlin".into(),
        rules: TimeZone::get("Europe/Berlin").unwrap(),
    };
    Configured {
        name: "weekly".to_owned(),
        schedule: Schedule::parse("0 0 9 * * Mon", zone).unwrap(),
        period: Period::Week,
        notify: Vec::new(),
    }
}

/// Two workspaces with two weeks of spend; now is Sunday evening.
async fn fixture() -> WatcherFixture {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.add_workspace("workspace_b", "Beta");
    let mut spend = |id: &str, time: &str, usd: &str| {
        world.spend(id, "claude-sonnet-4-5", at(time), usd);
    };
    spend("workspace_a", "2026-11-10T03:00:00Z", "40");
    // Sunday in UTC, Monday in Berlin.
    spend("workspace_a", "2026-11-15T23:30:00Z", "3");
    spend("workspace_a", "2026-11-18T12:00:00Z", "7");
    spend("workspace_b", "2026-11-20T12:00:00Z", "90.25");
    let mut limit = each(Period::Week, rule("week", SubjectKind::Workspace, 100));
    limit.zone = weekly().schedule.zone().clone();
    let mut fixture = WatcherFixture::new(world, "2026-11-22T20:05:00Z")
        .await
        .with_rule(limit);
    fixture.digests = vec![weekly()];
    fixture
}

/// Delivers the waiting digests and returns them.
async fn digests(fixture: &WatcherFixture, store: &Store) -> Vec<Digest> {
    let mut digests_sent = Vec::new();
    while let Some(claimed) = store.claim(&"chat".into(), fixture.now()).await.unwrap() {
        let state = NotifierState::default();
        let finish = store.finish(&claimed.id, AttemptOutcome::Delivered, state, fixture.now());
        finish.await.unwrap();
        digests_sent.extend(claimed.digest.map(|digest| *digest));
    }
    digests_sent
}

const HOUR: u64 = 60;

#[tokio::test]
async fn a_digest_is_sent_once_for_the_closed_week() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.cycle_after(11 * HOUR, &mut watcher).await;
    assert_eq!(digests(&fixture, &store).await, [], "it is 08:05 in Berlin");
    fixture.cycle_after(HOUR, &mut watcher).await;
    let digests_sent = digests(&fixture, &store).await;
    let [digest] = digests_sent.as_slice() else {
        panic!("{digests_sent:?}");
    };
    assert_eq!(digest.label.as_deref(), Some("2026-W47"));
    assert_eq!(digest.spend.to_string(), "100.25");
    assert_eq!(digest.before, Some(Usd::from_dollars(40)));
    assert_eq!(digest.series.len(), 7);
    assert_eq!(digest.series[0].1, Usd::from_dollars(3));
    let names = digest.workspaces.lines.iter().map(|line| &*line.name);
    assert_eq!(names.collect::<Vec<_>>(), ["Beta", "Alpha"]);
    let movers = digest.movers.lines.iter().map(|line| &*line.name);
    assert_eq!(movers.collect::<Vec<_>>(), ["Beta", "Alpha"]);
    let used = &digest.limits.first[0];
    assert_eq!(
        (&*used.name, used.value.to_string()),
        ("Beta", "90.25".to_owned())
    );
    assert_eq!(digest.gaps, []);
    // 97.25 USD in 168 hours, with 184 hours of the month left in Berlin.
    let forecast = digest.forecast.as_ref().unwrap();
    assert_eq!(
        (&*forecast.label, forecast.so_far.to_string()),
        ("2026-11", "140.25".to_owned())
    );
    assert_eq!(forecast.spend.to_string(), "246.761904761904");

    fixture.cycle_after(HOUR, &mut watcher).await;
    drop(watcher);
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle_after(HOUR, &mut watcher).await;
    assert_eq!(digests(&fixture, &store).await, []);
    fixture.cycle_after(7 * 24 * HOUR, &mut watcher).await;
    let digests_sent = digests(&fixture, &store).await;
    assert_eq!(digests_sent.len(), 1);
    assert_eq!(digests_sent[0].label.as_deref(), Some("2026-W48"));
}

#[tokio::test]
async fn a_digest_waits_up_to_six_hours_for_complete_data() {
    for heals in [true, false] {
        let fixture = fixture().await;
        let store = fixture.open_store();
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle(&mut watcher).await;
        let fault = ServerFault::Status(400, "{}".to_owned(), None);
        fixture
            .simulator
            .inject_fault(FaultTarget::usage_of("workspace_b"), fault);
        fixture.cycle_after(12 * HOUR, &mut watcher).await;
        assert_eq!(digests(&fixture, &store).await, []);
        // A waiting digest survives a restart.
        drop(watcher);
        let mut watcher = fixture.watcher(&store).await;
        fixture.cycle_after(5 * HOUR, &mut watcher).await;
        assert_eq!(digests(&fixture, &store).await, []);
        if heals {
            fixture.simulator.clear_faults();
        }
        fixture.cycle_after(HOUR, &mut watcher).await;
        let digests_sent = digests(&fixture, &store).await;
        assert_eq!(digests_sent.len(), 1, "{digests_sent:?}");
        let stale = DataGap::Stale {
            name: "Beta".to_owned(),
            as_of: at("2026-11-22T20:05:00Z"),
        };
        let expected = if heals { Vec::new() } else { vec![stale] };
        assert_eq!(digests_sent[0].gaps, expected);
        fixture.cycle_after(HOUR, &mut watcher).await;
        assert_eq!(digests(&fixture, &store).await, []);
    }
}

#[tokio::test]
async fn without_the_total_the_remainder_is_unknown_and_there_is_no_forecast() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    // Both workspaces are read, but the total, which is requested last, is not.
    let fault = ServerFault::Status(400, "{}".to_owned(), None);
    let whole = FaultTarget::endpoint("usage").after(2);
    fixture.simulator.inject_fault(whole, fault);
    fixture.cycle_after(18 * HOUR, &mut watcher).await;
    let digests_sent = digests(&fixture, &store).await;
    let stale = DataGap::Stale {
        name: "the whole organization".to_owned(),
        as_of: at("2026-11-22T20:05:00Z"),
    };
    assert_eq!(digests_sent[0].gaps, [stale]);
    assert_eq!(digests_sent[0].forecast, None);
}

#[tokio::test]
async fn a_stop_before_the_commit_neither_loses_nor_repeats_the_digest() {
    let mut fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    drop((watcher, store));
    fixture.faults = Some(Faults::new(|operation, moment| {
        operation == "commit_digest" && moment == CommitPoint::BeforeCommit
    }));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.clock.advance(Duration::from_hours(13));
    let deadline = Duration::from_hours(99);
    watcher.cycle(fixture.now(), deadline).await.unwrap_err();
    drop((watcher, store));
    fixture.faults = None;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle_after(5, &mut watcher).await;
    fixture.cycle_after(5, &mut watcher).await;
    let filter = MessageFilter {
        state: Some(MessageState::Waiting),
        notifier: None,
        limit: 9,
    };
    let mut waiting = store.messages(&filter).await.unwrap();
    waiting.retain(|message| message.digest.is_some());
    assert_eq!(waiting.len(), 1);
    assert_eq!(digests(&fixture, &store).await.len(), 1);
}

#[tokio::test]
async fn each_recipient_is_sent_a_copy_unless_its_notifier_takes_no_digests() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut settings = fixture.settings();
    let chat = settings
        .delivery
        .get_mut(&NotifierName::from("chat"))
        .unwrap();
    chat.recipients = ["cfo@example.com", "cto@example.com"]
        .map(str::to_owned)
        .into();
    let mut pager = chat.clone();
    (pager.recipients, pager.accepts_digests) = (Vec::new(), false);
    settings.delivery.insert("pager".into(), pager);
    let mut watcher = Watcher::open(settings, fixture.deps(&store)).await.unwrap();
    fixture.cycle(&mut watcher).await;
    fixture.cycle_after(12 * HOUR, &mut watcher).await;
    let memory = Memory::default();
    let worker = DeliveryWorker {
        name: "chat".into(),
        notifier: Notifier::Memory(memory.clone()),
        shows_repeats: false,
        store: store.clone(),
        clock: Clock::Manual(fixture.clock.clone()),
        random: fixture.random.clone(),
        links: Links::default(),
        group_interval: jiff::SignedDuration::ZERO,
        fallback: None,
    };
    memory.respond_with([Delivery::retry("503")]);
    let counters = Counters::new("test");
    worker.run_due(&counters).await.unwrap();
    fixture.clock.advance(Duration::from_mins(1));
    worker.run_due(&counters).await.unwrap();
    let mut sent = memory.take();
    let first_line = "acme: $100.25 in week 47 of 2026, up 150.6% from the week before\n";
    sent.retain(|sent| sent.text.starts_with(first_line));
    let recipients: BTreeSet<_> = sent.iter().map(|sent| sent.recipient.as_deref()).collect();
    assert_eq!(
        recipients,
        [Some("cfo@example.com"), Some("cto@example.com")].into()
    );
    let ids: BTreeSet<_> = sent.iter().map(|sent| &sent.id).collect();
    assert_eq!(ids.len(), 2, "a repeat has the same id");
    assert_eq!(
        store
            .next_due(&"pager".into(), jiff::Timestamp::MAX)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_rejected_digest_is_sent_to_the_fallback_once_with_the_reason() {
    let fixture = fixture().await;
    let store = fixture.open_store();
    let mut settings = fixture.settings();
    let chat = settings
        .delivery
        .get_mut(&NotifierName::from("chat"))
        .unwrap();
    chat.recipients = ["cfo@example.com", "cto@example.com"]
        .map(str::to_owned)
        .into();
    let mut watcher = Watcher::open(settings, fixture.deps(&store)).await.unwrap();
    fixture.cycle(&mut watcher).await;
    fixture.cycle_after(12 * HOUR, &mut watcher).await;
    let worker = |name: &str, memory: &Memory, fallback| DeliveryWorker {
        name: name.into(),
        notifier: Notifier::Memory(memory.clone()),
        shows_repeats: false,
        store: store.clone(),
        clock: Clock::Manual(fixture.clock.clone()),
        random: fixture.random.clone(),
        links: Links::default(),
        group_interval: jiff::SignedDuration::ZERO,
        fallback,
    };
    let fallback = Fallback {
        name: "mail".into(),
        recipients: Vec::new(),
        min_severity: Severity::Info,
        send_resolved: true,
        takes_digests: true,
        max_age: jiff::SignedDuration::from_hours(72),
    };
    let (refusing, memory) = (Memory::default(), Memory::default());
    refusing.respond_with(vec![Delivery::drop_message("400"); 99]);
    let chat = worker("chat", &refusing, Some(fallback));
    let counters = Counters::new("test");
    chat.run_due(&counters).await.unwrap();
    worker("mail", &memory, None)
        .run_due(&counters)
        .await
        .unwrap();
    let mut sent = memory.take();
    sent.retain(|sent| sent.text.starts_with("acme: $100.25 in week 47"));
    assert_eq!(
        sent.len(),
        1,
        "both copies were rejected and become one digest"
    );
    let note = "Sent here because `chat` is not reachable.";
    assert!(sent[0].text.contains(note), "{}", sent[0].text);
}

#[tokio::test]
async fn a_changed_schedule_does_not_make_up_for_earlier_slots() {
    let mut fixture = fixture().await;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.digests[0].schedule = Schedule::parse("0 0 7 * * *", Zone::utc()).unwrap();
    watcher.reconfigure(fixture.settings()).await.unwrap();
    fixture.cycle_after(12 * HOUR, &mut watcher).await;
    assert_eq!(digests(&fixture, &store).await, []);
    fixture.cycle_after(24 * HOUR, &mut watcher).await;
    assert_eq!(digests(&fixture, &store).await.len(), 1);
}
