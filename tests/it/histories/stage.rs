//! The program in one process without network: the real decision, store and delivery. Responses of the Admin API are created
//! here, receivers record what they are sent, and a kill drops everything in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use spendwatch::cycle::settings::{WatcherDeps, WatcherSettings};
use spendwatch::cycle::state::Watcher;
use spendwatch::delivery::DeliveryWorker;
use spendwatch_anthropic::AdminApi;
use spendwatch_base::clock::{Clock, ManualClock, Random};
use spendwatch_config::prices;
use spendwatch_domain::alerts::alert::{Alert, EndedBy, Now, State};
use spendwatch_domain::alerts::decision;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::alerts::silence::{LabelMatcher, Silence};
use spendwatch_domain::figures::period_sums::SumsToLoad;
use spendwatch_domain::ledger::coverage::{Coverage, Purpose};
use spendwatch_domain::ledger::record::record;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::span::{Day, Hour, Span};
use spendwatch_domain::usage::bucket::{Amounts, Basis, Granularity, Part, UsageResponse};
use spendwatch_domain::usage::prices::PriceTable;
use spendwatch_metrics::counters::Counters;
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::memory::{Memory, RecordedAttempt};
use spendwatch_store::alerts::suppressions::Attribution;
use spendwatch_store::error::{StoreError, StoreErrorCause};
use spendwatch_store::{Faults, Store};

use crate::harness::{at, organization};
use crate::histories::policy::{
    DAY_LIMIT, LINES, NOTIFIERS, SETTLE, SPARE, START, directory, hours_until, label, read_back,
    settings, usd,
};
use crate::histories::story::{LIMITS, Mood, Step, WHO};
use crate::histories::witness::{Which, Witness};

/// More than are ever due at once.
const N_ANSWERS: usize = 100;
/// Never reached.
const NO_KILL: i64 = i64::MAX;

/// Cents by workspace and hour.
type Spent = BTreeMap<(usize, Hour), i64>;

/// Shared by all histories, because it is slow to create.
#[derive(Clone)]
pub struct Shared {
    pub api: AdminApi,
    pub prices: Arc<PriceTable>,
}

impl Shared {
    pub fn new(api: AdminApi) -> Shared {
        Shared {
            api,
            prices: Arc::new(prices::built_in()),
        }
    }
}

/// A running history.
pub struct Stage {
    shared: Shared,
    clock: ManualClock,
    random: Random,
    counters: Arc<Counters>,
    /// Used by commands and after a restart.
    store: Store,
    /// Commit points until the kill.
    until_kill: Arc<AtomicI64>,
    watcher: Option<Watcher>,
    truth: Spent,
    /// As last configured.
    known: Spent,
    failing: [bool; 2],
    limit: i64,
    has_rule: bool,
    was_rule_gone: bool,
    is_silenced: bool,
    mood: Mood,
    /// Whether a notifier was ever parked; only then may the fallback receive messages.
    was_gone: bool,
    n_silences: usize,
    witness: Witness,
}

/// Why a history stopped: the program was killed, or a check failed.
enum Broken {
    Killed,
    Wrong(String),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Broken {
        match error.cause {
            StoreErrorCause::Stopped { .. } => Broken::Killed,
            _ => Broken::Wrong(format!("the store fails: {error}")),
        }
    }
}

impl From<String> for Broken {
    fn from(what: String) -> Broken {
        Broken::Wrong(what)
    }
}

/// Plays a history, lets everything recover, and returns what is wrong.
pub async fn play(shared: &Shared, steps: &[Step]) -> Result<(), String> {
    let mut fixture = Stage::new(shared.clone()).await;
    for step in steps {
        fixture.step(step).await?;
    }
    fixture.end().await
}

impl Stage {
    async fn new(shared: Shared) -> Stage {
        let store = Store::in_memory().unwrap();
        let start = at(START);
        store
            .load_organization(&organization(), start, start)
            .await
            .unwrap();
        store
            .save_directory(&organization(), &directory(start))
            .await
            .unwrap();
        Stage {
            shared,
            clock: ManualClock::at(start),
            random: Random::seeded(1),
            counters: Arc::new(Counters::new("test")),
            store,
            until_kill: Arc::new(AtomicI64::new(NO_KILL)),
            watcher: None,
            truth: Spent::new(),
            known: Spent::new(),
            failing: [false; 2],
            limit: LIMITS[0],
            has_rule: true,
            was_rule_gone: false,
            is_silenced: false,
            mood: Mood::Well,
            was_gone: false,
            n_silences: 0,
            witness: Witness::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    /// Drops everything in memory; what is stored stays.
    fn drop_program(&mut self) {
        self.watcher = None;
        self.until_kill.store(NO_KILL, Ordering::SeqCst);
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let done = match step {
            Step::Cycle(minutes) => {
                self.clock.advance(Duration::from_mins(*minutes));
                self.cycle().await.map(|_| ())
            }
            Step::Deliver(seconds) => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.deliver().await
            }
            Step::RuleGone | Step::RuleBack | Step::Limit(_) => {
                self.configure(step);
                self.reload().await
            }
            Step::Restart => {
                self.drop_program();
                Ok(())
            }
            Step::Kill(place) => {
                self.until_kill.store(i64::from(*place), Ordering::SeqCst);
                Ok(())
            }
            Step::Silence | Step::EndSilence => {
                self.silence(*step == Step::Silence).await;
                Ok(())
            }
            Step::Acknowledge(who) => {
                self.acknowledge(*who).await;
                Ok(())
            }
            Step::Spend(..)
            | Step::Correct(..)
            | Step::Fail(_)
            | Step::Heal
            | Step::Receivers(_) => {
                self.happen(step);
                Ok(())
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Broken::Killed) => {
                self.drop_program();
                Ok(())
            }
            Err(Broken::Wrong(what)) => Err(what),
        }
    }

    /// Applies a step outside of the program.
    fn happen(&mut self, step: &Step) {
        match step {
            Step::Spend(who, usd) => {
                let hour = Hour::containing(self.now());
                *self.truth.entry((*who, hour)).or_default() += usd * 100;
            }
            Step::Correct(who, usd) => self.correct(*who, usd * 100),
            Step::Fail(who) => self.failing[*who] = true,
            Step::Heal => self.failing = [false; 2],
            Step::Receivers(mood) => {
                self.mood = *mood;
                self.was_gone |= *mood == Mood::Gone;
            }
            other => unreachable!("{other} is of the program"),
        }
    }

    fn correct(&mut self, who: usize, mut cents: i64) {
        let hours = self.truth.iter_mut().rev();
        for (_, spent) in hours.filter(|((of, _), _)| *of == who) {
            // A removed row would be treated as pending removal for a while.
            let less = cents.min(*spent - 1);
            *spent -= less;
            cents -= less;
        }
    }

    fn configure(&mut self, step: &Step) {
        match step {
            Step::Limit(place) => self.limit = LIMITS[*place],
            Step::RuleGone => {
                self.has_rule = false;
                self.was_rule_gone = true;
            }
            _ => self.has_rule = true,
        }
    }

    async fn reload(&mut self) -> Result<(), Broken> {
        let settings = self.settings();
        if let Some(watcher) = &mut self.watcher {
            watcher.reconfigure(settings).await?;
        }
        Ok(())
    }

    async fn silence(&mut self, begins: bool) {
        if begins == self.is_silenced {
            return;
        }
        self.is_silenced = begins;
        let now = self.now();
        let id = |n: usize| format!("silence-{n:03}");
        if begins {
            self.n_silences += 1;
            let span = Span {
                start: now,
                end: at("2027-11-01T00:00:00Z"),
            };
            self.witness.silenced.push((span.start, span.end));
            let silence = Silence {
                id: id(self.n_silences),
                span,
                matchers: vec![LabelMatcher::parse("rule=*").unwrap()],
                author: "ada".to_owned(),
                comment: String::new(),
            };
            self.store.add_silence(&silence, now).await.unwrap();
        } else {
            self.witness.silenced.last_mut().unwrap().1 = now;
            let id = id(self.n_silences);
            self.store.end_silence(&id, now).await.unwrap();
        }
    }

    async fn acknowledge(&mut self, who: usize) {
        let Some(watcher) = &self.watcher else { return };
        let alerts = watcher.alerts.by_slot.values();
        let mut of_who = alerts.filter(|alert| *alert.identity.slot.subject.id == *WHO[who]);
        let Some(alert) = of_who.next() else { return };
        let by = Attribution {
            author: "ada".to_owned(),
            comment: String::new(),
        };
        let prefix = alert.identity.fingerprint();
        self.store
            .acknowledge(&prefix, by, self.now())
            .await
            .unwrap();
    }

    /// Opens the store for the program; after a kill it rejects all writes.
    fn store_of_program(&self) -> Store {
        let until_kill = Arc::clone(&self.until_kill);
        self.store.clone().with_faults(Faults::new(move |_, _| {
            until_kill.fetch_sub(1, Ordering::SeqCst) <= 0
        }))
    }

    async fn open(&self) -> Result<Watcher, StoreError> {
        let outside = WatcherDeps {
            api: self.shared.api.clone(),
            store: self.store_of_program(),
            clock: Clock::Manual(self.clock.clone()),
            random: self.random.clone(),
            counters: Arc::clone(&self.counters),
            audit: None,
        };
        Watcher::open(self.settings(), outside).await
    }

    /// Runs a cycle like the program, with responses created here. Returns the number of messages.
    async fn cycle(&mut self) -> Result<usize, Broken> {
        let now = self.now();
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => self.open().await?,
        };
        let store = self.store_of_program();
        let loads = watcher.figures.advance(now);
        load(&store, &mut watcher, &loads).await?;
        watcher.figures.start_cycle();
        self.note_crossed(now);
        self.poll(&store, &mut watcher, now).await?;
        self.note_crossed(now);
        let loads = watcher.figures.roll(now);
        load(&store, &mut watcher, &loads).await?;
        self.cover(&mut watcher, now);
        let n_messages = watcher.decide_and_commit().await?;
        check_decided(&watcher, now)?;
        self.watcher = Some(watcher);
        Ok(n_messages)
    }

    /// Records everything that can be read.
    async fn poll(
        &mut self,
        store: &Store,
        watcher: &mut Watcher,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let read: Vec<usize> = (0..WHO.len()).filter(|who| !self.failing[*who]).collect();
        let mut changes = Vec::new();
        for who in &read {
            let part = Part::Workspace(WHO[*who].into());
            let known = watcher.coverages.get(&part);
            let coverage = known.cloned().unwrap_or_else(|| read_back(at(START)));
            let answer = self.answer(*who, now);
            let stored = store.stored(&organization(), &part, answer.hours).await?;
            let mut recorded = record(&answer, Purpose::OpenHours, &coverage, &stored, SETTLE, now);
            recorded.is_coverage_changed |= known.is_none();
            changes.push((part, recorded));
        }
        // After a kill following the commit, the data counts as read now.
        let before = self.known.clone();
        for who in &read {
            self.known.retain(|(of, _), _| of != who);
        }
        let result = self.truth.iter().filter(|((of, _), _)| read.contains(of));
        self.known.extend(result.map(|(key, cents)| (*key, *cents)));
        let written = store
            .record(&organization(), changes.clone(), Vec::new())
            .await;
        if let Err(error) = written {
            if !self.is_in_ledger().await {
                self.known = before;
            }
            return Err(error.into());
        }
        for (part, recorded) in changes {
            watcher
                .figures
                .apply(&part, &recorded.deltas, &recorded.decreased);
            watcher.coverages.insert(part, recorded.coverage);
        }
        Ok(())
    }

    /// Returns the spend of a workspace until now.
    fn answer(&self, who: usize, now: Timestamp) -> UsageResponse {
        let mine = self.truth.iter().filter(|((of, _), _)| *of == who);
        let bucket = |cents: i64| {
            let amounts = Amounts {
                spend: usd(cents),
                ..Amounts::ZERO
            };
            BTreeMap::from([("opus".into(), amounts)])
        };
        UsageResponse {
            part: Part::Workspace(WHO[who].into()),
            granularity: Granularity::Hour,
            hours: hours_until(now),
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
            buckets: mine
                .map(|((_, hour), cents)| (*hour, bucket(*cents)))
                .collect(),
        }
    }

    /// Returns whether the ledger matches what is known.
    async fn is_in_ledger(&self) -> bool {
        let hours = hours_until(self.now());
        let sums = self.store.sums(&organization(), hours).await.unwrap();
        (0..WHO.len()).all(|who| {
            let part = Part::Workspace(WHO[who].into());
            let mine = sums.iter().filter(|(of, _, _)| *of == part);
            let recorded: Usd = mine.map(|(_, _, amounts)| amounts.spend).sum();
            let known = self.known.iter().filter(|((of, _), _)| *of == who);
            recorded == usd(known.map(|(_, cents)| cents).sum())
        })
    }

    fn cover(&self, watcher: &mut Watcher, now: Timestamp) {
        for (who, name) in WHO.iter().enumerate() {
            let part = Part::Workspace((*name).into());
            if let Some(coverage) = watcher.coverages.get(&part) {
                let is_fresh = !self.failing[who];
                watcher
                    .figures
                    .set_coverage(&part, coverage, is_fresh, true);
            }
        }
        let is_fresh = self.failing == [false; 2];
        let rest = Coverage {
            as_of: Some(now).filter(|_| is_fresh),
            ..read_back(at(START))
        };
        for part in [Part::Unattributed, Part::Whole] {
            watcher.figures.set_coverage(&part, &rest, is_fresh, true);
        }
    }

    /// Returns the thresholds that known spend crosses, in any period so far.
    fn note_crossed(&mut self, now: Timestamp) {
        for (which, value, limit) in self.standings(now, &self.known) {
            for (percent, _) in LINES {
                let line = limit * percent / 100;
                if value >= line {
                    self.witness.crossed.insert((which.clone(), line));
                }
            }
        }
    }

    /// Returns figure and limit of each rule and subject in each period so far.
    fn standings(&self, now: Timestamp, spent: &Spent) -> Vec<(Which, Quantity, Quantity)> {
        let mut values: BTreeMap<Which, i64> = BTreeMap::new();
        for ((who, hour), cents) in spent {
            let moment = hour.start().min(now);
            let month = (
                "month".to_owned(),
                WHO[*who].to_owned(),
                label(Period::Month, moment),
            );
            let day = (
                "day".to_owned(),
                "acme".to_owned(),
                label(Period::Day, moment),
            );
            *values.entry(month).or_default() += cents;
            *values.entry(day).or_default() += cents;
        }
        let limit = |rule: &str| if rule == "day" { DAY_LIMIT } else { self.limit };
        let is_watched = |rule: &str| rule == "day" || self.has_rule;
        values
            .into_iter()
            .filter(|((rule, _, _), _)| is_watched(rule))
            .map(|(which, cents)| {
                let limit = Usd::from_dollars(limit(&which.0)).pico();
                (which, usd(cents).pico(), limit)
            })
            .collect()
    }

    /// Sends what is due to each receiver, and records it in the witness.
    async fn deliver(&mut self) -> Result<(), Broken> {
        let mut was_killed = false;
        for name in NOTIFIERS {
            // The fallback is always reachable.
            let mood = if name == SPARE { Mood::Well } else { self.mood };
            let memory = Memory::default();
            memory.respond_with(std::iter::repeat_n(answer_of(mood), N_ANSWERS));
            let worker = DeliveryWorker {
                name: NotifierName::from(name),
                notifier: Notifier::Memory(memory.clone()),
                shows_repeats: false,
                store: self.store_of_program(),
                clock: Clock::Manual(self.clock.clone()),
                random: self.random.clone(),
                links: Links::default(),
                group_interval: jiff::SignedDuration::ZERO,
                fallback: None,
            };
            let begun = worker.resume(&self.counters).await;
            let sent = match begun {
                Ok(()) => worker.run_due(&self.counters).await.map(|_| ()),
                Err(error) => Err(error),
            };
            for sent in memory.take() {
                let has_arrived = matches!(mood, Mood::Well | Mood::Mute);
                self.check_place(&sent)?;
                self.witness.see(&sent, has_arrived)?;
            }
            match sent.map_err(Broken::from) {
                Ok(()) => {}
                Err(Broken::Killed) => was_killed = true,
                Err(wrong @ Broken::Wrong(_)) => return Err(wrong),
            }
        }
        if was_killed {
            Err(Broken::Killed)
        } else {
            Ok(())
        }
    }

    /// Checks that only the fallback replaces another notifier, and only after that one was parked.
    fn check_place(&self, sent: &RecordedAttempt) -> Result<(), String> {
        let is_spare = sent.notifier.as_str() == SPARE;
        let is_in_place = |fact: &Fact| fact.in_place_of == is_spare.then(|| "pager".into());
        if sent.facts.iter().all(is_in_place) && (self.was_gone || !is_spare) {
            return Ok(());
        }
        Err(format!("{} is told in the wrong place", sent.notifier))
    }

    /// Lets everything recover, and time pass.
    async fn end(mut self) -> Result<(), String> {
        self.drop_program();
        self.silence(false).await;
        self.happen(&Step::Heal);
        self.happen(&Step::Receivers(Mood::Well));
        for round in 0.. {
            self.step(&Step::Cycle(40)).await?;
            self.step(&Step::Deliver(60)).await?;
            // A day that has just ended has not settled.
            let is_settled =
                Hour::containing(self.now()) > Day::containing(self.now()).first_hour();
            if round >= 3 && is_settled && self.n_waiting().await == 0 {
                break;
            }
            if round > 50 {
                return Err("messages wait, although all is well".to_owned());
            }
        }
        if !self.is_in_ledger().await || self.known != self.truth {
            return Err("the ledger is not what was spent".to_owned());
        }
        self.check_notified()?;
        // A restart decides nothing.
        self.drop_program();
        match self.cycle().await {
            Ok(0) => Ok(()),
            Ok(n) => Err(format!("{n} messages after a restart")),
            Err(Broken::Killed) => Err("killed after the end".to_owned()),
            Err(Broken::Wrong(what)) => Err(what),
        }
    }

    async fn n_waiting(&self) -> u64 {
        let counts = self.store.outbox_counts().await.unwrap();
        counts
            .values()
            .map(|counts| counts.n_waiting + counts.n_dead)
            .sum()
    }

    /// Checks that receivers show the actual state.
    fn check_notified(&self) -> Result<(), String> {
        let now = self.now();
        let labels = [label(Period::Month, now), label(Period::Day, now)];
        let standings = self.standings(now, &self.truth);
        let firing = |which: &Which| {
            let is_now = labels.contains(&which.2);
            let found = standings.iter().find(|(of, _, _)| is_now && of == which);
            let (_, value, limit) = found?;
            let crossed = |(percent, _): &&(Quantity, &str)| *value >= limit * percent / 100;
            LINES.iter().rfind(crossed).map(|(_, text)| *text)
        };
        for (which, _, _) in &standings {
            for name in ["chat", "pager"] {
                let line = firing(which).filter(|line| name == "chat" || *line == "100%");
                let belief = self.witness.beliefs.get(&(name.into(), which.clone()));
                let is_notified =
                    |line| belief.is_some_and(|b| b.is_open && b.notified.contains(line));
                if let Some(line) = line
                    && !is_notified(line)
                {
                    return Err(format!(
                        "{which:?} fires at {line}, and {name} was not told"
                    ));
                }
            }
        }
        for ((name, which), belief) in &self.witness.beliefs {
            let hears_of_every_end =
                name.as_str() == "pager" || (labels.contains(&which.2) && !self.was_rule_gone);
            let line = firing(which).filter(|line| name.as_str() != "pager" || *line == "100%");
            if belief.is_open && line.is_none() && hears_of_every_end {
                return Err(format!("{name} never heard that {which:?} is over"));
            }
        }
        Ok(())
    }

    fn settings(&self) -> WatcherSettings {
        let limit = Some(self.limit).filter(|_| self.has_rule);
        settings(limit, Arc::clone(&self.shared.prices))
    }
}

fn answer_of(mood: Mood) -> Delivery {
    match mood {
        Mood::Well => Delivery::Delivered,
        Mood::Failing => Delivery::retry("503"),
        Mood::Mute => Delivery::ambiguous("no answer"),
        Mood::Gone => Delivery::park("404"),
    }
}

async fn load(
    store: &Store,
    watcher: &mut Watcher,
    loads: &[SumsToLoad],
) -> Result<(), StoreError> {
    for load in loads {
        let sums = store.sums(&organization(), load.hours).await?;
        watcher.figures.load(load, &sums);
    }
    Ok(())
}

/// Checks that deciding again decides nothing.
fn check_decided(watcher: &Watcher, at: Timestamp) -> Result<(), String> {
    let now = Now {
        at,
        observed: watcher.engine.observed,
        elapsed: 0,
    };
    let again = decision::decide(
        &watcher.settings.policy,
        &watcher.snapshot(),
        &watcher.alerts,
        &watcher.quiet,
        now,
    );
    // An alert that fired late, for a closed period, ends in the next decision.
    let is_late_end = |alert: &Alert| match alert.state {
        State::Ended { by, .. } => by == EndedBy::PeriodOver && alert.is_late,
        State::Pending { .. } | State::Firing { .. } => false,
    };
    if again.alerts.iter().all(is_late_end) && again.started_rules.is_empty() {
        return Ok(());
    }
    Err(format!(
        "decided once more: {:?} {:?}",
        again.alerts, again.drafts
    ))
}
