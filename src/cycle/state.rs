//! What a watcher holds between cycles, and how it begins: from the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::audit::AuditLog;
use crate::clock::{Chance, Clock};
use crate::config::digests::Digest;
use crate::cycle::reading::{Backlog, Reports};
use crate::domain::alert::{Alert, State};
use crate::domain::census::Census;
use crate::domain::coverage::{Behind, Coverage, Reading};
use crate::domain::decision::Alerts;
use crate::domain::dialect::Dialect;
use crate::domain::directory::{Directory, OrganizationInfo};
use crate::domain::event::Lists;
use crate::domain::figures::{Figures, LoadedSum, UnreadableBuckets};
use crate::domain::frame::FrameKey;
use crate::domain::ids::{ModelName, NotifierName, OrganizationName};
use crate::domain::listing::Listings;
use crate::domain::matcher::Team;
use crate::domain::measure::{self, Measurement};
use crate::domain::period::{Period, Zone};
use crate::domain::policy::Policy;
use crate::domain::prices::Prices;
use crate::domain::privacy::Privacy;
use crate::domain::seen::Seen;
use crate::domain::silence::Quiet;
use crate::domain::skew::{ClockProblem, is_ahead};
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::statement::Difference;
use crate::domain::usage::{Granularity, Part};
use crate::domain::uses::LastUses;
use crate::metrics::counters::{Counters, CycleOutcome};
use crate::store::Store;
use crate::store::engine::Engine;
use crate::store::error::StoreError;

/// How one notifier's messages travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postage {
    /// Each has a delivery of its own; empty where the receiver is one.
    pub recipients: Vec<String>,
    /// How long a message waits for company.
    pub group_wait: SignedDuration,
    /// How long it is tried.
    pub max_age: SignedDuration,
    /// Whether it has a place for a digest.
    pub takes_digests: bool,
}

impl Postage {
    /// The recipients of one message each; one of nobody in particular where the receiver is one.
    pub fn copies(&self) -> Vec<Option<String>> {
        if self.recipients.is_empty() {
            vec![None]
        } else {
            self.recipients.iter().cloned().map(Some).collect()
        }
    }
}

/// What was configured for one organization.
#[derive(Debug, Clone)]
pub struct Settings {
    pub organization: OrganizationName,
    /// `None` asks the server.
    pub dialect: Option<Dialect>,
    pub max_concurrency: usize,
    /// What tokens cost until it is billed.
    pub prices: Arc<Prices>,
    /// By what people are named.
    pub privacy: Privacy,
    pub reading: Reading,
    /// How long hours are kept.
    pub hourly_retention_days: i32,
    /// How long days are kept.
    pub daily_retention_days: i32,
    pub teams: Vec<Team>,
    pub policy: Policy,
    /// Which lists its rules are measured against.
    pub needs: Lists,
    pub digests: Vec<Digest>,
    pub postage: BTreeMap<NotifierName, Postage>,
}

/// The outside things of a watcher.
#[derive(Clone)]
pub struct Outside {
    pub api: AdminApi,
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    pub counters: Arc<Counters>,
    /// What is done; `None` where nothing is to be left behind.
    pub audit: Option<AuditLog>,
}

/// What is known of one organization. Its fields are read by those who show them; only the cycle changes them.
pub struct Watcher {
    pub settings: Settings,
    pub api: AdminApi,
    pub(in crate::cycle) store: Store,
    pub(in crate::cycle) clock: Clock,
    pub(in crate::cycle) chance: Chance,
    pub(in crate::cycle) counters: Arc<Counters>,
    pub(in crate::cycle) audit: Option<AuditLog>,
    /// Workspaces by name and limit.
    pub directory: Directory,
    /// Keys and people, as far as rules are measured against them.
    pub census: Census,
    pub coverages: BTreeMap<Part, Coverage>,
    pub figures: Figures,
    /// Open alerts, and ended ones of periods that are looked at.
    pub alerts: Alerts,
    pub quiet: Quiet,
    /// What decisions go on from.
    pub engine: Engine,
    /// Of the newest decision.
    pub measurements: Vec<Measurement>,
    /// Of the newest cycle.
    pub last_report: Option<Report>,
    /// Cancelled by whoever cannot wait: the cycle under way then reads no more and ends as partial. Made anew for each cycle.
    pub hurry: CancellationToken,
    /// As the store has it.
    pub(in crate::cycle) behind: Behind,
    /// Of each part's newest answer about its running hours, where that was recorded whole and nothing of it since.
    pub(in crate::cycle) seen: HashMap<Part, Seen>,
    pub(in crate::cycle) remainders_due: BTreeSet<(Granularity, Hour)>,
    pub(in crate::cycle) decided_running: Option<Duration>,
    pub(in crate::cycle) asked_running: Option<Duration>,
    pub(in crate::cycle) n_refusals: u32,
    pub(in crate::cycle) list_is_doubted: bool,
    pub(in crate::cycle) last_hour: Option<Hour>,
    pub(in crate::cycle) last_hour_is_touched: bool,
    pub(in crate::cycle) dropped_on: Option<Day>,
    pub(in crate::cycle) has_warned_of_rate: bool,
    pub(in crate::cycle) has_new_statement: bool,
    pub(in crate::cycle) difference: Option<Difference>,
    /// Up to when figures are known that count as fresh in this cycle: the start of the poll, or the service's own watermark.
    pub(in crate::cycle) known_at: Timestamp,
    /// What is read of the past beside the cycles.
    pub(in crate::cycle) backlog: Option<Backlog>,
    /// When an estimate was refused, by running time.
    pub(in crate::cycle) estimate_refused: Option<Duration>,
    /// Models without a price that were told.
    pub(in crate::cycle) warned_models: BTreeSet<ModelName>,
    /// Fast usage was reported that cannot be.
    pub(in crate::cycle) has_warned_of_fast: bool,
    /// What the service lists beside usage.
    pub listings: Listings,
    /// Cycles in a row in which the dialect was refused.
    pub(in crate::cycle) n_dialect_refused: u32,
    /// By the ledger; `None` until a list is measured by it.
    pub(in crate::cycle) uses: Option<LastUses>,
    /// One list is enough to believe that somebody is gone.
    pub(in crate::cycle) believes_one_list: bool,
    /// Whether the stored times were checked since the store was opened.
    pub(in crate::cycle) are_times_checked: bool,
    /// The moment at which the figures' periods are cut.
    pub(in crate::cycle) cut_at: Timestamp,
    /// The response to the request that checked the clock.
    pub(in crate::cycle) organization_response: Option<Result<OrganizationInfo, FetchError>>,
    /// Buckets that could not be read when they were last told, as the store has them.
    pub(in crate::cycle) unreadable: UnreadableBuckets,
    /// Figures that could not be read and were logged.
    pub(in crate::cycle) logged_unreadable: HashSet<(Option<Part>, Hour, Hour)>,
    /// Rows of the newest lists that could not be read, by the list's path.
    pub(in crate::cycle) unreadable_lists: BTreeMap<&'static str, Vec<String>>,
}

/// What a cycle did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub outcome: CycleOutcome,
    /// What could not be read, each with its place.
    pub troubles: Vec<String>,
    /// Figures that were told in a way that cannot be read, each with its place; each was logged when it was first met.
    pub unreadable: Vec<String>,
    /// What stays unreadable of earlier cycles, and rows of lists; logged as well.
    pub remarks: Vec<String>,
    pub n_parts: usize,
    /// Of which were read well.
    pub n_fresh: usize,
    pub n_messages: usize,
    pub is_refused: bool,
    /// The service states another sum for this month.
    pub difference: Option<Difference>,
    /// Why nothing, or not everything, was decided and stored.
    pub clock: Option<ClockProblem>,
}

/// What went wrong in a cycle.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Each with its place; only the first few of many alike.
    pub lines: Vec<String>,
    /// Figures that could not be read; only the first few of many alike.
    pub unreadable: Vec<String>,
    pub is_refused: bool,
    /// The service knows nothing of what was asked, or allows none of it.
    pub is_dialect_refused: bool,
}

/// So many lines of trouble are kept of one cycle.
const MAX_LINES: usize = 20;

impl Trouble {
    /// One thing.
    pub fn note(&mut self, line: String) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    /// A figure that could not be read.
    pub fn note_unreadable(&mut self, line: String) {
        if self.unreadable.len() < MAX_LINES {
            self.unreadable.push(line);
        }
    }

    /// The key was refused.
    pub fn note_refused(&mut self, line: String) {
        self.is_refused = true;
        self.note(line);
    }
}

/// An alert that ended is looked up for so long: a quarter and its correction.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 200);

impl Watcher {
    /// From the store.
    pub async fn open(settings: Settings, outside: Outside) -> Result<Watcher, StoreError> {
        let Outside {
            api,
            store,
            clock,
            chance,
            counters,
            audit,
        } = outside;
        let now = clock.now();
        let since = now.checked_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        let loaded = store
            .load_organization(&settings.organization, now, since)
            .await?;
        let at = loaded.engine.not_before_last(now);
        let alerts = alerts(loaded.alerts, &loaded.engine);
        let mut watcher = Watcher {
            figures: Figures::new(&[], settings.reading.settle, at),
            settings,
            api,
            store,
            clock,
            chance,
            counters,
            audit,
            directory: loaded.directory,
            census: Census::default(),
            coverages: loaded.coverages,
            alerts,
            quiet: Quiet::default(),
            engine: loaded.engine,
            measurements: Vec::new(),
            last_report: None,
            hurry: CancellationToken::new(),
            behind: loaded.behind,
            seen: HashMap::new(),
            remainders_due: loaded.due_remainders,
            decided_running: None,
            asked_running: None,
            n_refusals: 0,
            list_is_doubted: false,
            last_hour: None,
            last_hour_is_touched: true,
            dropped_on: None,
            has_warned_of_rate: false,
            has_new_statement: false,
            difference: None,
            known_at: at,
            backlog: None,
            estimate_refused: None,
            warned_models: BTreeSet::new(),
            has_warned_of_fast: false,
            listings: Listings::default(),
            n_dialect_refused: 0,
            uses: None,
            believes_one_list: false,
            are_times_checked: false,
            cut_at: at,
            organization_response: None,
            unreadable: loaded.unreadable,
            logged_unreadable: HashSet::new(),
            unreadable_lists: BTreeMap::new(),
        };
        watcher.figures = watcher.load_figures(at, &loaded.recorded).await?;
        Ok(watcher)
    }

    /// How the service speaks, as far as it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        self.settings.dialect.or(self.engine.dialect)
    }

    /// Which of the service's reports are read, where it has any.
    pub(in crate::cycle) fn reports(&self) -> Option<Reports> {
        Reports::of(self.dialect()?)
    }

    /// For a single look: what was never read holds up no rule.
    pub fn judge_at_once(&mut self) {
        self.alerts.store_began = Timestamp::MIN;
    }

    /// For one cycle alone: whoever is missing from its lists would be doubted for ever, because the next one begins anew.
    pub fn believe_one_list(&mut self) {
        self.believes_one_list = true;
    }

    /// Takes over another configuration of the same organization. The figures are loaded anew, as rules may need others.
    pub async fn reconfigure(&mut self, settings: Settings) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut self.settings, settings);
        // It was begun under the settings before.
        self.backlog = None;
        // By a wrong clock the periods would be cut where nothing is known.
        let at = match self.api.clock_problem() {
            None => self.engine.not_before_last(self.clock.now()),
            Some(_) => self.cut_at,
        };
        let loaded = self
            .store
            .load_organization(&self.settings.organization, at, at)
            .await;
        let figures = match loaded {
            Ok(loaded) => self.load_figures(at, &loaded.recorded).await,
            Err(error) => Err(error),
        };
        match figures {
            Ok(mut figures) => {
                for state in self.figures.parts() {
                    if let Some(coverage) = self.coverages.get(&state.part) {
                        figures.cover(&state.part, coverage, state.is_fresh, state.is_history_read);
                    }
                }
                figures.keep_last_hours(&self.figures);
                figures.note_unreadable(&self.unreadable_figures(), at);
                self.figures = figures;
                self.cut_at = at;
                self.forget_unneeded();
                Ok(())
            }
            Err(error) => {
                self.settings = before;
                Err(error)
            }
        }
    }

    /// Takes over the store as it is, where stored times were corrected or the figures are cut at a time that is no more.
    pub(in crate::cycle) async fn reload(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let name = &self.settings.organization;
        let since = now.checked_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        let loaded = self.store.load_organization(name, now, since).await?;
        let judges_at_once = self.alerts.store_began == Timestamp::MIN;
        let last_cycle = self.engine.last_cycle.filter(|slot| !is_ahead(*slot, now));
        self.engine = Engine {
            last_cycle: loaded.engine.last_cycle.or(last_cycle),
            dialect: loaded.engine.dialect.or(self.engine.dialect),
            ..loaded.engine
        };
        self.alerts = alerts(loaded.alerts, &self.engine);
        if judges_at_once {
            self.judge_at_once();
        }
        self.directory = loaded.directory;
        self.coverages = loaded.coverages;
        self.behind = loaded.behind;
        self.remainders_due = loaded.due_remainders;
        self.seen.clear();
        self.backlog = None;
        self.dropped_on = None;
        self.last_hour = None;
        self.last_hour_is_touched = true;
        self.cut_at = self.engine.not_before_last(now);
        let mut figures = self.load_figures(self.cut_at, &loaded.recorded).await?;
        figures.keep_last_hours(&self.figures);
        self.figures = figures;
        Ok(())
    }

    /// What no rule needs is read no more: when one needs it again, it would be old.
    fn forget_unneeded(&mut self) {
        if !self.settings.needs.keys {
            self.census.keys = None;
        }
        if !self.settings.needs.people {
            self.census.people = None;
        }
        if !self.settings.needs.keys && !self.settings.needs.people {
            self.uses = None;
        }
    }

    async fn load_figures(
        &self,
        at: Timestamp,
        recorded: &[LoadedSum],
    ) -> Result<Figures, StoreError> {
        let name = &self.settings.organization;
        let mut figures = Figures::new(
            &frame_keys(&self.settings.policy),
            self.settings.reading.settle,
            at,
        );
        for load in figures.all_loads() {
            let sums = self.store.sums(name, load.hours).await?;
            figures.load(&load, &sums);
        }
        figures.load_recorded(recorded);
        let open = open_hours(at, self.settings.reading.settle);
        let hours = self
            .store
            .sums_by_hour(name, &Part::Unattributed, open)
            .await?;
        figures.load_unattributed(hours);
        for (part, coverage) in &self.coverages {
            figures.cover(part, coverage, false, true);
        }
        Ok(figures)
    }
}

/// What was decided before, as it is stored.
fn alerts(mut stored: Vec<Alert>, engine: &Engine) -> Alerts {
    stored.sort_by(|one, other| one.identity.slot.cmp(&other.identity.slot));
    let by_slot = stored
        .into_iter()
        .filter(|alert| {
            alert.identity.slot.period.is_some() || !matches!(alert.state, State::Ended { .. })
        })
        .map(|alert| (alert.identity.slot.clone(), alert))
        .collect();
    Alerts {
        by_slot,
        rules_began: engine.rules_began.clone(),
        store_began: engine.store_began,
    }
}

/// Today and this month in UTC for the gauges, and what the rules need.
pub fn frame_keys(policy: &Policy) -> Vec<FrameKey> {
    let utc = |period| FrameKey {
        period,
        zone: Zone::utc(),
    };
    let mut keys = vec![utc(Period::Day), utc(Period::Month)];
    keys.extend(policy.rules.iter().flat_map(measure::frame_keys));
    keys
}

/// The newest hours of the remainder that are not settled, for [`crate::domain::figures::Figures::load_unattributed`].
pub fn open_hours(at: Timestamp, settle: SignedDuration) -> HourSpan {
    let start = Hour::of(at.checked_sub(settle).unwrap_or(at)).plus(-1);
    HourSpan {
        start,
        end: Hour::of(at).plus(1),
    }
}
