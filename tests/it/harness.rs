//! A simulated service, a watcher on it, a temporary store and a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::anthropic::limiter::Share;
use spendwatch::anthropic::{API_VERSION, AdminApi, Settings as ApiSettings};
use spendwatch::app::App;
use spendwatch::app::bells::Bells;
use spendwatch::app::board::Board;
use spendwatch::clock::{Chance, Clock, ManualClock};
use spendwatch::config::digests::Digest;
use spendwatch::config::prices;
use spendwatch::config::source::Environment;
use spendwatch::cycle::state::{Outside, Postage, Report, Settings, Watcher};
use spendwatch::domain::coverage::Reading;
use spendwatch::domain::dialect::Dialect;
use spendwatch::domain::event::Lists;
use spendwatch::domain::ids::{NotifierName, OrganizationName, RuleName};
use spendwatch::domain::matcher::Matcher;
use spendwatch::domain::money::{Percent, Usd};
use spendwatch::domain::notification::Fact;
use spendwatch::domain::period::{Period, Zone};
use spendwatch::domain::policy::{Manners, Policy};
use spendwatch::domain::prices::Prices;
use spendwatch::domain::privacy::Privacy;
use spendwatch::domain::rule::{At, Limit, Rule, Severity, Threshold, Watch, Windows};
use spendwatch::domain::span::{Hour, HourSpan};
use spendwatch::domain::subject::SubjectKind;
use spendwatch::domain::usage::Part;
use spendwatch::metrics::counters::Counters;
use spendwatch::metrics::requests::RequestCounts;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::error::StoreError;
use spendwatch::store::messages::{MessageFilter, MessageState};
use spendwatch::store::notifiers::NotifierState;
use spendwatch::store::outbox::Outcome;
use spendwatch::store::{Faults, Store};
use tokio::sync::Notify;

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn organization() -> OrganizationName {
    OrganizationName::new("acme")
}

/// Everything around one watcher. The store and the service outlive it, so that it can be restarted.
pub struct Stage {
    pub simulator: Simulator,
    pub clock: ManualClock,
    /// The server's, which is the same one unless the stage was made with two.
    pub server_clock: ManualClock,
    pub chance: Chance,
    pub folder: tempfile::TempDir,
    pub policy: Policy,
    /// Which lists are needed, beside those that the rules need.
    pub needs: Lists,
    pub digests: Vec<Digest>,
    pub faults: Option<Faults>,
    pub max_requests_per_minute: u32,
    pub max_concurrency: usize,
    pub dialect: Dialect,
    /// The watcher asks for the dialect instead.
    pub is_auto: bool,
    pub prices: Arc<Prices>,
    /// Where the watcher asks, in place of the simulator itself.
    pub asks: Option<String>,
}

impl Stage {
    pub async fn new(world: World, now: &str) -> Stage {
        let clock = ManualClock::at(at(now));
        Stage::of(world, clock.clone(), clock).await
    }

    /// The server has a clock of its own, so that the daemon's may be wrong.
    pub async fn with_two_clocks(world: World, now: &str) -> Stage {
        let clocks = [at(now), at(now)].map(ManualClock::at);
        let [clock, server_clock] = clocks;
        Stage::of(world, clock, server_clock).await
    }

    async fn of(world: World, clock: ManualClock, server_clock: ManualClock) -> Stage {
        let simulator = Simulator::start(world, Clock::Manual(server_clock.clone()))
            .await
            .unwrap();
        Stage {
            simulator,
            clock,
            server_clock,
            chance: Chance::seeded(1),
            folder: tempfile::tempdir().unwrap(),
            policy: Policy::default(),
            needs: Lists::default(),
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

    /// Where requests go.
    pub fn base_url(&self) -> String {
        let asks = self.asks.clone();
        asks.unwrap_or_else(|| self.simulator.base_url())
    }

    pub fn with_rule(mut self, rule: Rule) -> Stage {
        for name in &rule.notify {
            self.policy
                .notifiers
                .entry(name.clone())
                .or_insert(Manners {
                    send_resolved: true,
                    tells_period_end: false,
                    min_severity: Severity::Info,
                    holds_state: false,
                });
        }
        self.policy.rules.push(rule);
        self
    }

    pub fn settings(&self) -> Settings {
        let postage = |name: &NotifierName| {
            let postage = Postage {
                recipients: Vec::new(),
                group_wait: SignedDuration::ZERO,
                max_age: SignedDuration::from_hours(72),
                takes_digests: true,
            };
            (name.clone(), postage)
        };
        Settings {
            organization: organization(),
            dialect: (!self.is_auto).then_some(self.dialect),
            prices: Arc::clone(&self.prices),
            privacy: Privacy::default(),
            max_concurrency: self.max_concurrency,
            reading: Reading {
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
            needs: self.policy.needs().and(self.needs),
            digests: self.digests.clone(),
            postage: self
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
            share: Share::Daemon,
            api_version: API_VERSION.to_owned(),
            ca_file: None,
        };
        let clock = Clock::Manual(self.clock.clone());
        AdminApi::new(
            settings,
            self.simulator.key(),
            clock,
            self.chance.clone(),
            Arc::new(RequestCounts::default()),
        )
        .unwrap()
    }

    pub async fn watcher(&self, store: &Store) -> Watcher {
        self.try_watcher(store).await.unwrap()
    }

    pub async fn try_watcher(&self, store: &Store) -> Result<Watcher, StoreError> {
        Watcher::open(self.settings(), self.outside(store)).await
    }

    pub fn outside(&self, store: &Store) -> Outside {
        Outside {
            api: self.api(),
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            chance: self.chance.clone(),
            counters: Arc::new(Counters::new(&[organization()], &[], "test")),
            audit: None,
        }
    }

    /// The long-lived parts of a daemon.
    pub fn app(&self, store: &Store) -> App {
        App {
            environment: Environment::new(),
            store: store.clone(),
            clock: Clock::Manual(self.clock.clone()),
            chance: self.chance.clone(),
            audit: None,
            counters: Arc::new(Counters::new(&[organization()], &[], "test")),
            bells: Bells::default(),
            pulse: Notify::new(),
            board: Board::default(),
        }
    }

    /// One cycle that has five minutes.
    pub async fn cycle(&self, watcher: &mut Watcher) -> Report {
        let deadline = Clock::Manual(self.clock.clone()).running() + Duration::from_mins(5);
        watcher.cycle(self.now(), deadline).await.unwrap()
    }

    /// One cycle that has so many minutes, which pass while it waits for its turn to ask.
    pub async fn cycle_in_time(&self, watcher: &mut Watcher, minutes: u64) -> Report {
        let slot = self.now();
        let deadline = Clock::Manual(self.clock.clone()).running() + Duration::from_mins(minutes);
        let mut cycle = std::pin::pin!(watcher.cycle(slot, deadline));
        loop {
            tokio::select! {
                biased;
                report = &mut cycle => return report.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            // One waits for the deadline, another for its turn.
            if self.clock.n_waiting() > 1 {
                self.clock.advance(Duration::from_secs(1));
            }
        }
    }

    /// Minutes pass, then one cycle.
    pub async fn cycle_after(&self, minutes: u64, watcher: &mut Watcher) -> Report {
        self.clock.advance(Duration::from_mins(minutes));
        self.cycle(watcher).await
    }

    pub fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    /// What a ledger has of a workspace (`None`: all parts) in a span.
    pub async fn ledger(&self, store: &Store, workspace: Option<&str>, hours: HourSpan) -> Usd {
        let sums = store.sums(&organization(), hours).await.unwrap();
        let is_asked = |part: &Part| workspace.is_none_or(|id| part.workspace_id() == Some(id));
        sums.iter()
            .filter(|(part, _, _)| is_asked(part))
            .map(|(_, _, amounts)| amounts.spend)
            .sum()
    }

    /// All waiting messages are delivered; gives what they say.
    pub async fn deliver(&self, store: &Store) -> Vec<Fact> {
        let messages = self.deliver_messages(store).await;
        messages.into_iter().flat_map(|(_, facts)| facts).collect()
    }

    /// All waiting messages are delivered; gives to whom each goes and what it says.
    pub async fn deliver_messages(&self, store: &Store) -> Vec<(NotifierName, Vec<Fact>)> {
        let mut told = Vec::new();
        for notifier in self.policy.notifiers.keys() {
            while let Some(claimed) = store.claim(notifier, self.now()).await.unwrap() {
                store
                    .finish(
                        &claimed.id,
                        Outcome::Delivered,
                        NotifierState::default(),
                        self.now(),
                    )
                    .await
                    .unwrap();
                told.push((notifier.clone(), claimed.facts));
            }
        }
        let filter = MessageFilter {
            state: Some(MessageState::Waiting),
            notifier: None,
            limit: 10,
        };
        let waiting = store.messages(&filter).await.unwrap();
        assert_eq!(waiting, [], "nothing is left in the outbox");
        told
    }
}

/// Half-open.
pub fn hours(start: &str, end: &str) -> HourSpan {
    HourSpan {
        start: Hour::of(at(start)),
        end: Hour::of(at(end)),
    }
}

/// A month's spend against a limit in USD, at 80 % and 100 %, told to `chat`.
pub fn rule(name: &str, for_each: SubjectKind, limit: i64) -> Rule {
    let threshold = |percent, severity| Threshold {
        at: At::Share(Percent::from_whole(percent)),
        severity,
        text: format!("{percent}%").into(),
    };
    Rule {
        name: RuleName::from(name),
        watch: Watch::Spend,
        for_each,
        matcher: Matcher::default(),
        period: Period::Month,
        zone: Zone::utc(),
        limit: Limit::Fixed(Usd::from_dollars(limit).pico()),
        min_usd: Usd::ZERO,
        windows: Windows::default(),
        inactive: Vec::new(),
        tells_by_default: false,
        events: Vec::new(),
        thresholds: vec![
            threshold(80, Severity::Warning),
            threshold(100, Severity::Critical),
        ],
        hold: SignedDuration::ZERO,
        keep_firing: SignedDuration::ZERO,
        clear_below: Percent::HUNDRED,
        repeat_interval: None,
        notify: vec![NotifierName::from("chat")],
        labels: BTreeMap::new(),
    }
}
