//! State of a watcher between cycles, and how it is loaded from the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::cycle::reading::{Backlog, Reports};
use crate::cycle::settings::{WatcherDeps, WatcherSettings};
use crate::cycle::summary::{CycleErrors, CycleSummary};
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::error::FetchError;
use spendwatch_audit::AuditLog;
use spendwatch_base::clock::{Clock, Random};

use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::alerts::alert::{Alert, State};
use spendwatch_domain::alerts::decision::Alerts;
use spendwatch_domain::alerts::measure::{self, Measurement};
use spendwatch_domain::alerts::policy::Policy;
use spendwatch_domain::alerts::silence::Suppressions;
use spendwatch_domain::figures::period_sums::PeriodKey;
use spendwatch_domain::figures::statement::StatementMismatch;
use spendwatch_domain::figures::totals::{Figures, LoadedSum, UnreadableBuckets};
use spendwatch_domain::ledger::coverage::{Coverage, StaleParts};
use spendwatch_domain::ledger::hour_hashes::HourHashes;
use spendwatch_domain::org::directory::{Directory, OrganizationInfo};

use spendwatch_domain::org::inventory::Inventory;
use spendwatch_domain::org::last_uses::LastUses;
use spendwatch_domain::org::listing::Listings;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::ModelName;

use spendwatch_domain::units::period::Period;

use spendwatch_domain::units::skew::is_ahead;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Granularity, Part};

use spendwatch_metrics::counters::Counters;
use spendwatch_store::Store;
use spendwatch_store::error::StoreError;
use spendwatch_store::resume_state::ResumeState;

/// State of one organization. Only the cycle changes it; others read the public fields.
pub struct Watcher {
    pub settings: WatcherSettings,
    pub api: AdminApi,
    pub(in crate::cycle) store: Store,
    pub(in crate::cycle) clock: Clock,
    pub(in crate::cycle) random: Random,
    pub(in crate::cycle) counters: Arc<Counters>,
    pub(in crate::cycle) audit: Option<AuditLog>,
    /// Names and limits of workspaces.
    pub directory: Directory,
    /// API keys and users, if rules need them.
    pub inventory: Inventory,
    pub coverages: BTreeMap<Part, Coverage>,
    pub figures: Figures,
    /// Open alerts, and ended alerts of current periods.
    pub alerts: Alerts,
    pub quiet: Suppressions,
    /// State from which decisions resume.
    pub engine: ResumeState,
    /// From the newest decision.
    pub measurements: Vec<Measurement>,
    /// From the newest cycle.
    pub last_summary: Option<CycleSummary>,
    /// Whether [`Watcher::view`] may have changed since this was last set to `false`.
    pub has_view_changed: bool,
    /// Makes the cycle under way stop reading and end as partial. Replaced for each cycle.
    pub cancel: CancellationToken,
    /// Running time at which the cycle under way ends at the latest.
    pub(in crate::cycle) deadline: Duration,
    /// Start of the newest cycle.
    pub(in crate::cycle) polled_at: Timestamp,
    /// Errors of the cycle under way.
    pub(in crate::cycle) errors: CycleErrors,
    /// As recorded in the store.
    pub(in crate::cycle) behind: StaleParts,
    /// Hashes of each part's newest response about running hours, if it was recorded completely and not changed since.
    pub(in crate::cycle) hour_hashes: HashMap<Part, HourHashes>,
    pub(in crate::cycle) remainders_due: BTreeSet<(Granularity, Hour)>,
    pub(in crate::cycle) decided_at_running: Option<Duration>,
    pub(in crate::cycle) requested_at_running: Option<Duration>,
    pub(in crate::cycle) n_rejections: u32,
    pub(in crate::cycle) is_list_suspect: bool,
    pub(in crate::cycle) last_hour: Option<Hour>,
    pub(in crate::cycle) last_hour_is_touched: bool,
    pub(in crate::cycle) dropped_on: Option<Day>,
    pub(in crate::cycle) has_warned_about_rate: bool,
    pub(in crate::cycle) has_new_statement: bool,
    pub(in crate::cycle) difference: Option<StatementMismatch>,
    /// Time up to which figures must be known to be fresh in this cycle: the start of the poll, or the server's watermark.
    pub(in crate::cycle) known_at: Timestamp,
    /// A sweep of the past that continues across cycles.
    pub(in crate::cycle) backlog: Option<Backlog>,
    /// Running time at which an estimate was rejected.
    pub(in crate::cycle) estimate_refused: Option<Duration>,
    /// Models without a price that were logged.
    pub(in crate::cycle) logged_models: BTreeSet<ModelName>,
    /// Whether implausible fast usage was logged.
    pub(in crate::cycle) has_warned_about_fast: bool,
    /// Limits and the state of lists.
    pub listings: Listings,
    /// Consecutive cycles in which the dialect was rejected.
    pub(in crate::cycle) n_dialect_rejections: u32,
    /// Last uses in the ledger; `None` until they are needed.
    pub(in crate::cycle) uses: Option<LastUses>,
    /// Whether a single list is enough to treat missing entries as removed.
    pub(in crate::cycle) trusts_single_list: bool,
    /// Whether stored times were checked since the store was opened.
    pub(in crate::cycle) are_times_checked: bool,
    /// Time at which the figures' periods were cut.
    pub(in crate::cycle) cut_at: Timestamp,
    /// Response to the request that checked the clock.
    pub(in crate::cycle) organization_response: Option<Result<OrganizationInfo, FetchError>>,
    /// Buckets that could not be read in their newest response, as recorded in the store.
    pub(in crate::cycle) unreadable: UnreadableBuckets,
    /// Unreadable figures that were logged.
    pub(in crate::cycle) logged_unreadable: HashSet<(Option<Part>, Hour, Hour)>,
    /// Unreadable rows of the newest lists, by the list's path.
    pub(in crate::cycle) unreadable_lists: BTreeMap<&'static str, Vec<String>>,
}

/// How long ended alerts are loaded: a quarter and its correction window.
const ENDED_ALERTS_LOADED: SignedDuration = SignedDuration::from_hours(24 * 200);

impl Watcher {
    /// Loads the state of an organization from the store.
    pub async fn open(settings: WatcherSettings, deps: WatcherDeps) -> Result<Watcher, StoreError> {
        let WatcherDeps {
            api,
            store,
            clock,
            random,
            counters,
            audit,
        } = deps;
        let now = clock.now();
        let since = now
            .checked_sub(ENDED_ALERTS_LOADED)
            .unwrap_or(Timestamp::MIN);
        let loaded = store
            .load_organization(&settings.organization, now, since)
            .await?;
        let at = loaded.resume_state.clamp_to_last(now);
        let alerts = alerts(loaded.alerts, &loaded.resume_state);
        let mut watcher = Watcher {
            figures: Figures::new(&[], settings.poll.settle, at),
            settings,
            api,
            store,
            clock,
            random,
            counters,
            audit,
            directory: loaded.directory,
            inventory: Inventory::default(),
            coverages: loaded.coverages,
            alerts,
            quiet: Suppressions::default(),
            engine: loaded.resume_state,
            measurements: Vec::new(),
            last_summary: None,
            has_view_changed: true,
            cancel: CancellationToken::new(),
            deadline: Duration::ZERO,
            polled_at: at,
            errors: CycleErrors::default(),
            behind: loaded.behind,
            hour_hashes: HashMap::new(),
            remainders_due: loaded.due_remainders,
            decided_at_running: None,
            requested_at_running: None,
            n_rejections: 0,
            is_list_suspect: false,
            last_hour: None,
            last_hour_is_touched: true,
            dropped_on: None,
            has_warned_about_rate: false,
            has_new_statement: false,
            difference: None,
            known_at: at,
            backlog: None,
            estimate_refused: None,
            logged_models: BTreeSet::new(),
            has_warned_about_fast: false,
            listings: Listings::default(),
            n_dialect_rejections: 0,
            uses: None,
            trusts_single_list: false,
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

    /// Returns the configured or detected dialect.
    pub fn dialect(&self) -> Option<Dialect> {
        self.settings.dialect.or(self.engine.dialect)
    }

    /// Returns the kind of server; [`ServerKind::Guide`] until the dialect is known.
    pub(in crate::cycle) fn server(&self) -> ServerKind {
        self.dialect()
            .map_or(ServerKind::Guide, ServerKind::for_dialect)
    }

    /// Returns which reports are read, if the dialect has any.
    pub(in crate::cycle) fn reports(&self) -> Option<Reports> {
        Reports::of(self.dialect()?)
    }

    /// One-shot `check`: evaluates rules even if their history was never read.
    pub fn evaluate_immediately(&mut self) {
        self.alerts.store_created_at = Timestamp::MIN;
    }

    /// One-shot `check`: treats entries missing from a list as removed, because no second list will confirm it.
    pub fn trust_single_list(&mut self) {
        self.trusts_single_list = true;
    }

    /// Applies a new configuration of the same organization. Reloads the figures, as rules may need others.
    pub async fn reconfigure(&mut self, settings: WatcherSettings) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut self.settings, settings);
        // It was started with the previous settings.
        self.backlog = None;
        // With a wrong clock, periods would be cut where nothing is known.
        let at = match self.api.clock_problem() {
            None => self.engine.clamp_to_last(self.clock.now()),
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
                        figures.set_coverage(
                            &state.part,
                            coverage,
                            state.is_fresh,
                            state.is_history_read,
                        );
                    }
                }
                figures.keep_last_hours(&self.figures);
                figures.set_unreadable(&self.unreadable_figures(), at);
                self.figures = figures;
                self.has_view_changed = true;
                self.cut_at = at;
                self.drop_unneeded_lists();
                Ok(())
            }
            Err(error) => {
                self.settings = before;
                Err(error)
            }
        }
    }

    /// Reloads everything from the store after stored times were corrected or the clock was set back.
    pub(in crate::cycle) async fn reload(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let name = &self.settings.organization;
        let since = now
            .checked_sub(ENDED_ALERTS_LOADED)
            .unwrap_or(Timestamp::MIN);
        let loaded = self.store.load_organization(name, now, since).await?;
        let evaluates_immediately = self.alerts.store_created_at == Timestamp::MIN;
        let last_cycle = self.engine.last_cycle.filter(|slot| !is_ahead(*slot, now));
        self.engine = ResumeState {
            last_cycle: loaded.resume_state.last_cycle.or(last_cycle),
            dialect: loaded.resume_state.dialect.or(self.engine.dialect),
            ..loaded.resume_state
        };
        self.alerts = alerts(loaded.alerts, &self.engine);
        if evaluates_immediately {
            self.evaluate_immediately();
        }
        self.directory = loaded.directory;
        self.coverages = loaded.coverages;
        self.behind = loaded.behind;
        self.remainders_due = loaded.due_remainders;
        self.hour_hashes.clear();
        self.backlog = None;
        self.dropped_on = None;
        self.last_hour = None;
        self.last_hour_is_touched = true;
        self.cut_at = self.engine.clamp_to_last(now);
        let mut figures = self.load_figures(self.cut_at, &loaded.recorded).await?;
        figures.keep_last_hours(&self.figures);
        self.figures = figures;
        Ok(())
    }

    /// Drops lists that no rule needs, because they would be outdated when a rule needs them again.
    fn drop_unneeded_lists(&mut self) {
        if !self.settings.needs.keys {
            self.inventory.keys = None;
        }
        if !self.settings.needs.users {
            self.inventory.users = None;
        }
        if !self.settings.needs.keys && !self.settings.needs.users {
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
            &gauge_and_rule_keys(&self.settings.policy),
            self.settings.poll.settle,
            at,
        );
        for load in figures.all_loads() {
            let sums = self.store.sums(name, load.hours).await?;
            figures.load(&load, &sums);
        }
        figures.load_recorded(recorded);
        let open = open_hours(at, self.settings.poll.settle);
        let hours = self
            .store
            .sums_by_hour(name, &Part::Unattributed, open)
            .await?;
        figures.load_unattributed(hours);
        for (part, coverage) in &self.coverages {
            figures.set_coverage(part, coverage, false, true);
        }
        Ok(figures)
    }
}

/// Builds the alerts of earlier decisions from the stored ones.
fn alerts(mut stored: Vec<Alert>, engine: &ResumeState) -> Alerts {
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
        rule_start_times: engine.rules_began.clone(),
        store_created_at: engine.store_began,
    }
}

/// Returns the periods to sum: today and this month in UTC for the gauges, and those of the rules.
pub fn gauge_and_rule_keys(policy: &Policy) -> Vec<PeriodKey> {
    let mut keys = vec![PeriodKey::utc(Period::Day), PeriodKey::utc(Period::Month)];
    keys.extend(policy.rules.iter().flat_map(measure::frame_keys));
    keys
}

/// Returns the newest unsettled hours of the remainder, for [`spendwatch_domain::figures::totals::Figures::load_unattributed`].
pub fn open_hours(at: Timestamp, settle: SignedDuration) -> HourSpan {
    let start = Hour::containing(at.checked_sub(settle).unwrap_or(at)).plus(-1);
    HourSpan {
        start,
        end: Hour::containing(at).plus(1),
    }
}
