//! Stops at every write of a cycle, before and after its commit, and after restoring a backup.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spendwatch_base::clock::Clock;
use spendwatch_domain::units::money::Usd;
use spendwatch_simulator::world::World;
use spendwatch_store::outbox::messages::{MessageFilter, MessageRow};
use spendwatch_store::{CommitPoint, Faults};

use crate::alerts::{month_rule, words};
use crate::harness::{WatcherFixture, at, hours};

/// Stops at the `index`-th commit point and returns whether there is one.
async fn stop_at(index: usize) -> bool {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend(
        "workspace_a",
        "claude-sonnet-4-5",
        at("2026-11-20T03:00:00Z"),
        "40.25",
    );
    world.spend("", "claude-sonnet-4-5", at("2026-11-24T09:30:00Z"), "1.75");
    let mut fixture = WatcherFixture::new(world, "2026-11-24T10:05:00Z")
        .await
        .with_rule(month_rule(30));
    let n_points = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_points);
    fixture.faults = Some(Faults::new(move |_: &'static str, _: CommitPoint| {
        counted.fetch_add(1, Ordering::SeqCst) == index
    }));
    let store = fixture.open_store();
    let deadline = Clock::Manual(fixture.clock.clone()).monotonic() + Duration::from_mins(5);
    let was_stopped = match fixture.try_watcher(&store).await {
        Ok(mut watcher) => watcher.cycle(fixture.now(), deadline).await.is_err(),
        Err(_) => true,
    };
    drop(store);
    fixture.faults = None;
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    for _ in 0..3 {
        fixture.cycle_after(5, &mut watcher).await;
    }
    let notified = fixture.deliver(&store).await;
    assert_eq!(words(&notified), ["Alpha 100% first"], "stopped at {index}");
    let month = hours("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    assert_eq!(
        fixture.ledger(&store, None, month).await,
        Usd::from_dollars(42),
        "stopped at {index}"
    );
    was_stopped
}

#[tokio::test]
async fn case_13_and_15_a_stop_at_any_write_loses_and_invents_nothing() {
    let mut n_stops = 0;
    while stop_at(n_stops).await {
        n_stops += 1;
        assert!(n_stops < 200, "a cycle has a handful of writes");
    }
    assert!(n_stops >= 8, "only {n_stops} commit points");
}

/// Alerts newer than the backup are sent again under new ids; older ones are not.
#[tokio::test]
async fn case_18_after_restoring_a_backup_newer_alerts_are_sent_again() {
    let mut world = World::empty();
    for (id, name) in [
        ("workspace_a", "Alpha"),
        ("workspace_b", "Beta"),
        ("workspace_c", "Gamma"),
    ] {
        world.add_workspace(id, name);
    }
    let spend = |world: &mut World, id: &str, when: &str| {
        world.spend(id, "claude-sonnet-4-5", at(when), "40");
    };
    spend(&mut world, "workspace_a", "2026-11-23T08:00:00Z");
    let fixture = WatcherFixture::new(world, "2026-11-23T10:05:00Z")
        .await
        .with_rule(month_rule(30));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), ["Alpha 100% first"]);
    let backup = fixture.folder.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    for id in ["workspace_b", "workspace_c"] {
        spend(&mut fixture.simulator.world(), id, "2026-11-24T08:00:00Z");
    }
    fixture.cycle_after(24 * 60, &mut watcher).await;
    let today = ["Beta 100% first", "Gamma 100% first"];
    assert_eq!(words(&fixture.deliver(&store).await), today);
    let ids = |rows: Vec<MessageRow>| -> BTreeSet<String> {
        rows.into_iter().map(|row| row.id).collect()
    };
    let all = MessageFilter {
        state: None,
        notifier: None,
        limit: 100,
    };
    let before = ids(store.messages(&all).await.unwrap());
    drop((watcher, store));
    for end in ["-wal", "-shm"] {
        let path = format!("{}{end}", fixture.store_path().display());
        let _ = std::fs::remove_file(path);
    }
    std::fs::copy(&backup, fixture.store_path()).unwrap();
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), today);
    let after = ids(store.messages(&all).await.unwrap());
    assert_eq!(
        after.intersection(&before).count(),
        1,
        "yesterday's message"
    );
    fixture.cycle_after(5, &mut watcher).await;
    assert_eq!(words(&fixture.deliver(&store).await), [""; 0]);
}
