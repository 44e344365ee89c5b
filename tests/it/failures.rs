//! The daemon on a store that fails: it says so, goes on, and the sums are the truth afterwards.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spendwatch::clock::{Chance, Clock};
use spendwatch::config;
use spendwatch::daemon::{Daemon, ReloadFrom, Start};
use spendwatch::domain::money::Usd;
use spendwatch::domain::span::{Day, HourSpan};
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::{Faults, Moment, Store};

use crate::program::{Home, get, month_rule};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_of_the_store_the_figures_are_those_of_the_store() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "50");
    let simulator = Simulator::start(world, clock.clone()).await.unwrap();
    let home = Home::new();
    home.configure(&simulator, &month_rule("40"));
    let path = home.path("spendwatch.toml");
    let config = config::load(Some(&path), &config::source::Environment::new()).unwrap();
    let n_failed = Arc::new(AtomicUsize::new(0));
    let failing = Arc::clone(&n_failed);
    // Each second record fails, before its commit or after it, three times in all.
    let faults = Faults::new(move |operation, moment| {
        let is_meant = operation == "record" || operation == "commit_decision";
        let n = failing.load(Ordering::SeqCst);
        let is_now =
            is_meant && n < 3 && moment == [Moment::BeforeCommit, Moment::AfterCommit][n % 2];
        if is_now {
            failing.fetch_add(1, Ordering::SeqCst);
        }
        is_now
    });
    let store = Store::open_for_daemon(&config.store.path, clock.now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let start = Start {
        config,
        reload_from: ReloadFrom::Nowhere,
        environment: config::source::Environment::new(),
        store: store.clone().with_faults(faults),
        clock: clock.clone(),
        chance: Chance::seeded(3),
        audit: None,
        listener,
        set_log: Box::new(|_| {}),
    };
    let daemon = Daemon::start(start).await.unwrap();
    let address = daemon.address().to_string();
    let ask = move || get(&address, "/-/ready");
    while !tokio::task::spawn_blocking(ask.clone())
        .await
        .unwrap()
        .contains(r#""state":"ok""#)
    {
        tokio::task::yield_now().await;
    }
    daemon.stop().await;
    assert_eq!(n_failed.load(Ordering::SeqCst), 3);
    let today = Day::of(clock.now());
    let hours = HourSpan {
        start: today.plus(-1).first_hour(),
        end: today.plus(1).first_hour(),
    };
    let sums = store.sums(&"acme".into(), hours).await.unwrap();
    let spent: Usd = sums.iter().map(|(_, _, amounts)| amounts.spend).sum();
    assert_eq!(spent, Usd::from_dollars(50));
}
