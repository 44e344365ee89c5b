//! State of the simulated organization. `usage` derives usage over time from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::SimulatedApi;
use crate::directory::{SimulatedInvite, SimulatedKey, SimulatedUser};
use crate::lazy_rows::LazyRows;
use crate::spending::{self, ModelPrices, SpendPattern, SpendStream};
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

/// A workspace as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimulatedWorkspace {
    pub id: String,
    pub name: String,
    /// Monthly spend limit in USD, as digits.
    pub monthly_limit: Option<String>,
    pub requests_per_minute: Option<u64>,
    /// `None` is before the start of the simulation.
    pub created_at: Option<String>,
    /// Only in the real API.
    pub tags: BTreeMap<String, String>,
}

/// Usage of one model in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimulatedUsage {
    /// In 10⁻⁶ USD.
    pub micros: i64,
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub requests: i64,
    /// Tokens; not in the guide's API.
    pub cache_write_5m: i64,
    /// Tokens; not in the guide's API.
    pub cache_write_1h: i64,
    /// Their price is part of `micros`; not in the guide's API.
    pub web_searches: i64,
}

/// Key, user and other traits of usage, as the real API reports them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsageDetail {
    pub api_key: Option<String>,
    /// User id, if a user is charged.
    pub user: Option<String>,
    /// `standard`, `batch`, `priority`.
    pub service_tier: String,
    /// `0-200k`, `200k-1M`.
    pub context_window: String,
    /// `global`, `us`.
    pub inference_geo: String,
    pub is_fast: bool,
}

impl Default for UsageDetail {
    fn default() -> UsageDetail {
        UsageDetail {
            api_key: None,
            user: None,
            service_tier: "standard".to_owned(),
            context_window: "0-200k".to_owned(),
            inference_geo: "global".to_owned(),
            is_fast: false,
        }
    }
}

impl SimulatedUsage {
    fn counters(&mut self) -> [&mut i64; 8] {
        [
            &mut self.micros,
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.requests,
            &mut self.cache_write_5m,
            &mut self.cache_write_1h,
            &mut self.web_searches,
        ]
    }

    /// Subtracts a part.
    #[must_use]
    pub fn minus(mut self, part: &SimulatedUsage) -> SimulatedUsage {
        let mut part = *part;
        for (mine, theirs) in self.counters().into_iter().zip(part.counters()) {
            *mine -= *theirs;
        }
        self
    }

    /// Splits into `n` shares; returns the equal share of all but the last, and the last with the remainder.
    pub fn split(self, n: i64) -> (SimulatedUsage, SimulatedUsage) {
        let (mut even, mut last) = (self, self);
        for (even, last) in even.counters().into_iter().zip(last.counters()) {
            *even /= n;
            *last -= *even * (n - 1);
        }
        (even, last)
    }

    /// Derives tokens and requests from spend in 10⁻⁶ USD, by list prices.
    pub fn from_spend(prices: &ModelPrices, micros: i64) -> SimulatedUsage {
        // Percent of 10⁻⁶ USD divided by cents per million tokens gives tokens.
        let tokens = |percent: i64, price: i64| micros * percent / price;
        SimulatedUsage {
            micros,
            input: tokens(38, prices.input),
            output: tokens(52, prices.output),
            cache_read: tokens(10, prices.cache_read),
            requests: micros / prices.request_micros + i64::from(micros > 0),
            ..SimulatedUsage::default()
        }
    }
}

impl std::ops::AddAssign for SimulatedUsage {
    fn add_assign(&mut self, other: SimulatedUsage) {
        // Written out for speed, because this is the innermost step of every report.
        self.micros += other.micros;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.requests += other.requests;
        self.cache_write_5m += other.cache_write_5m;
        self.cache_write_1h += other.cache_write_1h;
        self.web_searches += other.web_searches;
    }
}

/// Runaway loop, whose spend rate doubles repeatedly until it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runaway {
    pub workspace: String,
    pub model: String,
    pub since: Timestamp,
    /// Initial rate, in 10⁻⁶ USD.
    pub micros_per_second: i64,
    /// Seconds until the rate doubles.
    pub doubles_after: i64,
    pub n_doublings: u32,
    /// Duration in seconds.
    pub lasts: i64,
}

/// Settings of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedSettings {
    pub default_model: String,
    pub require_mfa: bool,
    pub allowed_ip_ranges: Vec<String>,
}

impl Default for SimulatedSettings {
    fn default() -> SimulatedSettings {
        SimulatedSettings {
            default_model: "claude-sonnet-4-5".to_owned(),
            require_mfa: true,
            allowed_ip_ranges: vec!["203.0.113.0/24".to_owned()],
        }
    }
}

/// Month-to-date spend of the organization as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StatedMonth {
    #[default]
    Truth,
    Digits(String),
    Missing,
}

/// Content of `model_breakdown`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ModelBreakdown {
    #[default]
    Full,
    /// Omits this model, so that the models do not sum to the row.
    Without(String),
    /// Truncates each model's cost to cents, so that the models do not sum to the row.
    Cents,
}

/// Usage by model.
pub type UsageByModel = BTreeMap<String, SimulatedUsage>;

/// Model, traits and amount by hour.
pub type DetailedUsage = BTreeMap<Hour, Vec<(String, UsageDetail, SimulatedUsage)>>;

/// State of the organization. Usage under the workspace id `""` belongs to no listed workspace.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub workspaces: Vec<SimulatedWorkspace>,
    pub users: Vec<SimulatedUser>,
    pub keys: Vec<SimulatedKey>,
    pub invites: Vec<SimulatedInvite>,
    /// Users and roles by workspace; only in the real API.
    pub members: BTreeMap<String, Vec<(String, String)>>,
    pub settings: SimulatedSettings,
    /// Secrets of all created keys.
    pub secrets: Vec<String>,
    /// The guide's API accepts POST instead of PATCH.
    pub without_patch: bool,
    /// The guide's API lists deleted keys as `revoked`.
    pub deleted_keys_stay: bool,
    pub no_seats: bool,
    pub usage_limit: Option<String>,
    pub stated_month: StatedMonth,
    /// Omits the models of rows.
    pub without_breakdown: bool,
    pub breakdown: ModelBreakdown,
    /// Hours and days without usage have rows.
    pub has_zero_rows: bool,
    /// End of the reported usage.
    pub lag_until: Option<Timestamp>,
    /// By how much the server's `Date` is ahead of the clock.
    pub clock_skew: SignedDuration,
    /// Requests per minute of monotonic time; others get 429 and `retry-after`.
    pub rate_limit: Option<u32>,
    pub runaways: Vec<Runaway>,
    pub api: SimulatedApi,
    /// Id of the default workspace, to which the real API attributes usage under `""`.
    pub default_workspace: Option<String>,
    pub archived: Vec<SimulatedWorkspace>,
    pub discount_percent: i64,
    /// Ignores the filter by speed, so that all usage is reported as fast.
    pub ignores_speeds: bool,
    /// End of the data in analytics reports; `None` is now minus `refresh_lag`.
    pub refreshed_until: Option<Timestamp>,
    pub refresh_lag: SignedDuration,
    /// Time from the end of a day until it is billed.
    pub bill_lag: SignedDuration,
    /// Workspace (`None`: the organization), model group, limiter, value.
    pub rate_limits: Vec<(Option<String>, String, String, u64)>,
    /// Workspace (`None`: the organization) and cents per month.
    pub spend_limits: Vec<(Option<String>, i64)>,
    /// Newest reports by query hash and time, for their later pages.
    pub(super) cached_reports: Vec<(u64, Timestamp, Arc<LazyRows>)>,
    /// Detailed usage by workspace and hour; also included in `used`.
    pub(super) details: BTreeMap<String, DetailedUsage>,
    pub(super) seed: u64,
    pub(super) n_created: u64,
    /// Models of streams with their prices.
    pub(super) models: Vec<(String, ModelPrices)>,
    pub(super) streams: HashMap<String, Vec<SpendStream>>,
    /// Hours whose usage was removed, by workspace.
    pub(super) removed: HashMap<String, Vec<HourSpan>>,
    /// Latest hour that was ever computed.
    pub(super) simulated_until: Option<Hour>,
    /// Cached usage of all streams in past hours, by model; cleared when a stream changes.
    pub(super) closed: HashMap<Hour, Vec<SimulatedUsage>>,
    pub(super) used: BTreeMap<String, BTreeMap<Hour, UsageByModel>>,
    pub(super) day_corrections: BTreeMap<(String, Day), i64>,
    /// Cached positions of workspaces in the list.
    positions: HashMap<String, usize>,
}

impl World {
    /// Creates an empty organization.
    pub fn empty() -> World {
        World::default()
    }

    /// Creates an empty organization with a seed for spend noise.
    pub fn seeded(seed: u64) -> World {
        World {
            seed,
            ..World::default()
        }
    }

    /// Adds a workspace without limits.
    pub fn add_workspace(&mut self, id: &str, name: &str) {
        self.workspaces.push(SimulatedWorkspace {
            id: id.to_owned(),
            name: name.to_owned(),
            ..SimulatedWorkspace::default()
        });
    }

    /// Returns a workspace; panics if it does not exist.
    pub fn workspace_mut(&mut self, id: &str) -> &mut SimulatedWorkspace {
        self.workspaces
            .iter_mut()
            .find(|workspace| workspace.id == id)
            .expect("the workspace was added")
    }

    /// Returns the position of a workspace in the list.
    pub fn position_of(&mut self, id: &str) -> Option<usize> {
        let check = |position: usize, at: Option<&SimulatedWorkspace>| {
            at.is_some_and(|workspace| workspace.id == id)
                .then_some(position)
        };
        if let Some(position) = self.positions.get(id)
            && let Some(position) = check(*position, self.workspaces.get(*position))
        {
            return Some(position);
        }
        // The list is public; if one position changed, others did too.
        let ids = self.workspaces.iter().enumerate();
        self.positions = ids
            .map(|(position, workspace)| (workspace.id.clone(), position))
            .collect();
        self.positions.get(id).copied()
    }

    /// Clears cached reports, because the world may have changed.
    pub fn clear_cached_reports(&mut self) {
        self.cached_reports.clear();
    }

    /// Archives a workspace; its usage stays in the organization's total.
    pub fn archive(&mut self, id: &str) {
        let archived = self
            .workspaces
            .extract_if(.., |workspace| workspace.id == id);
        self.archived.extend(archived);
    }

    /// Adds a spend pattern with default settings; replaces an earlier one with the same model.
    pub fn add_spend_pattern(
        &mut self,
        workspace: &str,
        model: &str,
        micros_per_hour: i64,
        is_human: bool,
        since: Timestamp,
    ) {
        let pattern = SpendPattern {
            micros_per_hour,
            is_human,
            growth_permille: 12,
            launched: Hour::containing(since),
            hours_behind: 0,
            idle_permille: 0,
        };
        self.add_spend_stream(workspace, model, pattern);
    }

    /// Adds a spend pattern. An earlier pattern with the same model ends when this one starts, but keeps hours that were already
    /// reported.
    pub fn add_spend_stream(&mut self, workspace: &str, model: &str, pattern: SpendPattern) {
        let index = self.models.iter().position(|(name, _)| name == model);
        let index = index.unwrap_or_else(|| {
            let prices = spending::prices(model);
            self.models.push((model.to_owned(), prices));
            self.models.len() - 1
        });
        let simulated_until = self.simulated_until;
        let streams = self.streams.entry(workspace.to_owned()).or_default();
        let mut start = pattern.launched;
        for previous in streams.iter_mut().filter(|stream| stream.model == index) {
            start = start.max(simulated_until.unwrap_or(start));
            previous.hours.end = previous.hours.end.min(start);
        }
        streams.push(SpendStream {
            model: index,
            pattern,
            salt: spending::salt(workspace, model),
            hours: HourSpan {
                start,
                end: Hour::from_count(i32::MAX),
            },
        });
        self.closed.clear();
    }
}
