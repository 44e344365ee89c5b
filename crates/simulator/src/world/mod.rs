//! State of the simulated organization. `usage` derives usage over time from it.

pub mod spending;

pub mod amounts;

pub mod runaway;

pub mod directory;

#[cfg(feature = "platform")]
pub mod report_cache;

pub mod usage;

#[cfg(any(test, feature = "faults"))]
pub mod exact_usage;

#[cfg(feature = "faults")]
pub mod truth;

pub mod demo;

#[cfg(any(test, feature = "faults"))]
pub mod realistic;

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::api::SimulatedApi;
use crate::world::amounts::{DetailedUsage, SimulatedUsage, UsageByModel};
use crate::world::directory::{SimulatedInvite, SimulatedKey, SimulatedUser};
#[cfg(feature = "platform")]
use crate::world::report_cache::ReportCache;
use crate::world::runaway::Runaway;
use crate::world::spending::{ModelPrices, SpendPattern, SpendStream};
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
    #[cfg(feature = "platform")]
    pub(crate) reports: ReportCache,
    /// Detailed usage by workspace and hour; also included in `used`.
    pub details: BTreeMap<String, DetailedUsage>,
    pub(crate) seed: u64,
    #[cfg(feature = "changes")]
    pub(crate) n_created: u64,
    /// Models of streams with their prices.
    pub(crate) models: Vec<(String, ModelPrices)>,
    pub(crate) streams: HashMap<String, Vec<SpendStream>>,
    /// Hours whose usage was removed, by workspace.
    pub(crate) removed: HashMap<String, Vec<HourSpan>>,
    /// Latest hour that was ever computed.
    pub(crate) simulated_until: Option<Hour>,
    /// Cached usage of all streams in past hours, by model; cleared when a stream changes.
    pub(crate) closed: HashMap<Hour, Vec<SimulatedUsage>>,
    pub(crate) used: BTreeMap<String, BTreeMap<Hour, UsageByModel>>,
    pub(crate) day_corrections: BTreeMap<(String, Day), i64>,
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
        #[cfg(feature = "platform")]
        self.reports.clear();
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
        let pattern = SpendPattern::new(micros_per_hour, is_human, since);
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
