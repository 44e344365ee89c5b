//! A simulator, a watcher on it, a temporary store and a manual clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::app::App;
use spendwatch::app::published::PublishedState;
use spendwatch::app::wakeups::Wakeups;
use spendwatch::cycle::settings::{DeliverySettings, WatcherDeps, WatcherSettings};
use spendwatch::cycle::state::Watcher;
use spendwatch::cycle::summary::CycleSummary;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_anthropic::{API_VERSION, AdminApi, ApiSettings};
use spendwatch_base::clock::{Clock, ManualClock, Random};
use spendwatch_config::digests::DigestConfig;
use spendwatch_config::prices;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::alerts::policy::{NotifierPolicy, Policy};
use spendwatch_domain::ledger::coverage::PollSettings;
use spendwatch_domain::org::events::RequiredLists;
use spendwatch_domain::rules::rule::{
    Condition, Limit, PeriodLimit, Rule, Severity, Threshold, ThresholdValue,
};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::Part;
use spendwatch_domain::usage::prices::PriceTable;
use spendwatch_metrics::counters::Counters;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::error::StoreError;
use spendwatch_store::outbox::AttemptOutcome;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};
use spendwatch_store::outbox::notifiers::NotifierState;
use spendwatch_store::{Faults, Store};
use tokio::sync::Notify;

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn organization() -> OrganizationName {
    OrganizationName::new("acme")
}

/// Everything around one watcher. The store and the simulator outlive it, so that it can be restarted.
pub struct WatcherFixture {
    pub simulator: Simulator,
    pub clock: ManualClock,
    /// The server's clock, which differs only after `with_two_clocks`.
    pub server_clock: ManualClock,
    pub random: Random,
    pub folder: tempfile::TempDir,
    pub policy: Policy,
    /// Lists needed in addition to those of the rules.
    pub needs: RequiredLists,
    pub digests: Vec<DigestConfig>,
    pub faults: Option<Faults>,
    pub max_requests_per_minute: u32,
    pub max_concurrency: usize,
    pub dialect: Dialect,
    /// Makes the watcher detect the dialect.
    pub is_auto: bool,
    pub prices: Arc<PriceTable>,
    /// Base URL of a proxy in front of the simulator.
    pub asks: Option<String>,
}

impl WatcherFixture {
    pub async fn new(world: World, now: &str) -> WatcherFixture {
        let clock = ManualClock::at(at(now));
        WatcherFixture::of(world, clock.clone(), clock).await
    }

    /// Gives the server its own clock, so that the daemon's may be wrong.
    pub async fn with_two_clocks(world: World, now: &str) -> WatcherFixture {
        let clocks = [at(now), at(now)].map(ManualClock::at);
        let [clock, server_clock] = clocks;
        WatcherFixture::of(world, clock, server_clock).await
    }

    async fn of(world: World, clock: ManualClock, server_clock: ManualClock) -> WatcherFixture {
        let simulator = Simulator::start(world, Clock::Manual(server_clock.clone()))
            .await
            .unwrap();
        WatcherFixture {
            simulator,
            clock,
            server_clock,
            random: Random::seeded(1),
            folder: tempfile::tempdir().unwrap(),
            policy: Policy::default(),
            needs: RequiredLists::default(),
            digests: Vec::new(),
            faults: None,
            max_requests_per_minute: 0,
            max_concurrency: 2,
            dialect: Dialect::Guide,
            is_auto: false,
            prices: Arc::new(prices::built_in()),
            asks: None,
        }
    }

    /// Returns the base URL for requests.
    pub fn base_url(&self) -> String {
        let asks = self.asks.clone();
        asks.unwrap_or_else(|| self.simulator.base_url())
    }

    pub fn with_rule(mut self, rule: Rule) -> WatcherFixture {
        for name in &rule.notify {
            self.policy
                .notifiers
                .entry(name.clone())
                .or_insert(NotifierPolicy {
                    send_resolved: true,
                    send_period_end: false,
                    min_severity: Severity::Info,
                    holds_state: false,
                });
        }
        self.policy.rules.push(rule);
        self
    }

    pub fn settings(&self) -> WatcherSettings {
        let postage = |name: &NotifierName| {
            let postage = DeliverySettings {
                recipients: Vec::new(),
                group_wait: SignedDuration::ZERO,
                max_age: SignedDuration::from_hours(72),
                accepts_digests: true,
            };
            (name.clone(), postage)
        };
        WatcherSettings {
            organization: organization(),
            dialect: (!self.is_auto).then_some(self.dialect),
            prices: Arc::clone(&self.prices),
            privacy: Privacy::default(),
            max_concurrency: self.max_concurrency,
            poll: PollSettings {
                settle: SignedDuration::from_mins(10),
                history_days: 100,
                hourly_history_days: 14,
                correction_days: 30,
                correction_interval: SignedDuration::from_hours(1),
            },
            hourly_retention_days: 100,
            daily_retention_days: 800,
            teams: Vec::new(),
            policy: self.policy.clone(),
            needs: self.policy.required_lists().union(self.needs),
            digests: self.digests.clone(),
            delivery: self
                .policy
                .notifiers
                .keys()
                .map(postage)
                .collect::<BTreeMap<_, _>>(),
        }
    }

    pub fn store_path(&self) -> std::path::PathBuf {
        self.folder.path().join("spendwatch.db")
    }

    pub fn open_store(&self) -> Store {
        let store = Store::open_for_daemon(&self.store_path(), self.now()).unwrap();
        match &self.faults {
            Some(faults) => store.with_faults(faults.clone()),
            None => store,
        }
    }

    pub fn api(&self) -> AdminApi {
        let settings = ApiSettings {
            organization: organization(),
            base_url: self.base_url(),
            timeout: Duration::from_secs(5),
            max_concurrency: self.max_concurrency,
            max_requests_per_minute: Some(self.max_requests_per_minute),
            share: RateShare::Daemon,
            api_version: API_VERSION.to_owned(),
            ca_file: None,
        };
        let clock = Clock::Manual(self.clock.clone());
        AdminApi::new(
            settings,
            self.simulator.key(),
            clock,
            self.random.clone(),
            Arc::new(RequestCounts::default()),
        )
        .unwrap()
    }

    pub async fn watcher(&self, store: &Store) -> Watcher {
        self.try_watcher(store).await.unwrap()
    }

    pub async fn try_watcher(&self, store: &Store) -> Result<Watcher, StoreError> {
        Watcher::open(self.settings(), self.deps(store)).await
    }

    pub fn deps(&self, store: &Store) -> WatcherDeps {
        WatcherDeps {
            api: self.api(),
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            random: self.random.clone(),
            counters: Arc::new(Counters::new("test")),
            audit: None,
        }
    }

    /// Returns the long-lived parts of a daemon.
    pub fn app(&self, store: &Store) -> App {
        let counters = Counters::new("test");
        counters.add_organization(&organization());
        App {
            environment: Environment::new(),
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            random: self.random.clone(),
            audit: None,
            counters: Arc::new(counters),
            wakeups: Wakeups::default(),
            cycle_completed: Notify::new(),
            published: PublishedState::default(),
        }
    }

    /// Runs a cycle with a deadline of five minutes.
    pub async fn cycle(&self, watcher: &mut Watcher) -> CycleSummary {
        let deadline = Clock::Manual(self.clock.clone()).monotonic() + Duration::from_mins(5);
        watcher.cycle(self.now(), deadline).await.unwrap()
    }

    /// Runs a cycle with a deadline, and advances the clock while it waits for the rate limit.
    pub async fn cycle_in_time(&self, watcher: &mut Watcher, minutes: u64) -> CycleSummary {
        let slot = self.now();
        let deadline = Clock::Manual(self.clock.clone()).monotonic() + Duration::from_mins(minutes);
        let mut cycle = std::pin::pin!(watcher.cycle(slot, deadline));
        loop {
            tokio::select! {
                biased;
                report = &mut cycle => return report.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            // One sleeper is the deadline, another the rate limit.
            if self.clock.n_sleeping() > 1 {
                self.clock.advance(Duration::from_secs(1));
            }
        }
    }

    /// Advances the clock, then runs a cycle.
    pub async fn cycle_after(&self, minutes: u64, watcher: &mut Watcher) -> CycleSummary {
        self.clock.advance(Duration::from_mins(minutes));
        self.cycle(watcher).await
    }

    pub fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    /// Returns the recorded spend of a workspace (`None`: all parts) in a span.
    pub async fn ledger(&self, store: &Store, workspace: Option<&str>, hours: HourSpan) -> Usd {
        let sums = store.sums(&organization(), hours).await.unwrap();
        let is_asked = |part: &Part| workspace.is_none_or(|id| part.workspace_id() == Some(id));
        sums.iter()
            .filter(|(part, _, _)| is_asked(part))
            .map(|(_, _, amounts)| amounts.spend)
            .sum()
    }

    /// Delivers all waiting messages and returns their facts.
    pub async fn deliver(&self, store: &Store) -> Vec<Fact> {
        let messages = self.deliver_messages(store).await;
        messages.into_iter().flat_map(|(_, facts)| facts).collect()
    }

    /// Delivers all waiting messages and returns their notifiers and facts.
    pub async fn deliver_messages(&self, store: &Store) -> Vec<(NotifierName, Vec<Fact>)> {
        let mut result = Vec::new();
        for notifier in self.policy.notifiers.keys() {
            while let Some(claimed) = store.claim(notifier, self.now()).await.unwrap() {
                store
                    .finish(
                        &claimed.id,
                        AttemptOutcome::Delivered,
                        NotifierState::default(),
                        self.now(),
                    )
                    .await
                    .unwrap();
                result.push((notifier.clone(), claimed.facts));
            }
        }
        let filter = MessageFilter {
            state: Some(MessageState::Waiting),
            notifier: None,
            limit: 10,
        };
        let waiting = store.messages(&filter).await.unwrap();
        assert_eq!(waiting, [], "nothing is left in the outbox");
        result
    }
}

/// Returns a half-open span.
pub fn hours(start: &str, end: &str) -> HourSpan {
    HourSpan {
        start: Hour::containing(at(start)),
        end: Hour::containing(at(end)),
    }
}

/// Returns a rule on the month's spend against a limit in USD, with thresholds at 80% and 100%, that notifies `chat`.
pub fn rule(name: &str, for_each: SubjectKind, limit: i64) -> Rule {
    let threshold = |percent, severity| Threshold {
        at: ThresholdValue::Share(Percent::from_whole(percent)),
        severity,
        text: format!("{percent}%").into(),
    };
    let limit = PeriodLimit {
        for_each,
        period: Period::Month,
        limit: Limit::Fixed(Usd::from_dollars(limit).pico()),
    };
    Rule {
        thresholds: vec![
            threshold(80, Severity::Warning),
            threshold(100, Severity::Critical),
        ],
        notify: vec!["chat".into()],
        ..Rule::new(name, Condition::Spend(limit))
    }
}

/// Returns the limit of a rule on spend.
pub fn limit_of(rule: &mut Rule) -> &mut PeriodLimit {
    let Condition::Spend(limit) = &mut rule.condition else {
        unreachable!("a rule on spend");
    };
    limit
}

/// Returns a rule on spend with another period.
pub fn each(period: Period, mut rule: Rule) -> Rule {
    limit_of(&mut rule).period = period;
    rule
}
