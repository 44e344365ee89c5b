//! The daemon recovers from failures of the store with correct sums.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spendwatch::daemon::{Daemon, DaemonParts, ReloadFrom};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config as config;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::{CommitPoint, Faults, Store};

use crate::program::{Home, get, month_rule};

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_correct_after_failures_of_the_store() {
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
    // Three writes fail, alternately before and after their commit.
    let faults = Faults::new(move |operation, moment| {
        let is_meant = operation == "record" || operation == "commit_decision";
        let n = failing.load(Ordering::SeqCst);
        let is_now = is_meant
            && n < 3
            && moment == [CommitPoint::BeforeCommit, CommitPoint::AfterCommit][n % 2];
        if is_now {
            failing.fetch_add(1, Ordering::SeqCst);
        }
        is_now
    });
    let store = Store::open_for_daemon(&config.store.path, clock.now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let start = DaemonParts {
        config,
        reload_from: ReloadFrom::Nowhere,
        environment: config::source::Environment::new(),
        store: store.clone().with_faults(faults),
        clock: clock.clone(),
        random: Random::seeded(3),
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
    let today = Day::containing(clock.now());
    let hours = HourSpan {
        start: today.plus(-1).first_hour(),
        end: today.plus(1).first_hour(),
    };
    let sums = store.sums(&"acme".into(), hours).await.unwrap();
    let spent: Usd = sums.iter().map(|(_, _, amounts)| amounts.spend).sum();
    assert_eq!(spent, Usd::from_dollars(50));
}
