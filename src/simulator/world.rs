//! The made-up organization: who is in it, and what was used. What follows from it in time is told by `living`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::people::{Invite, Key, User};
use crate::simulator::speech::Speaks;
use crate::simulator::spending::{self, Habit, Prices, Stream};
use crate::simulator::told::Told;

/// One workspace as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    /// `workspace_…`.
    pub id: String,
    pub name: String,
    /// Spend limit of a month, as digits.
    pub monthly_limit: Option<String>,
    /// Request limit of a minute.
    pub requests_per_minute: Option<u64>,
    /// Since when it is there; `None` is since the beginning.
    pub created_at: Option<String>,
    /// Only the real service has them.
    pub tags: BTreeMap<String, String>,
}

/// What was used of one model in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// In 10⁻⁶ USD.
    pub micros: i64,
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    pub requests: i64,
    /// Tokens. The guide's dialect does not tell them.
    pub cache_write_5m: i64,
    /// Tokens. The guide's dialect does not tell them.
    pub cache_write_1h: i64,
    /// Searches of the web, paid within `micros`. The guide's dialect does not tell them.
    pub web_searches: i64,
}

/// By whom and how something was used, as the real service tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Detail {
    pub api_key: Option<String>,
    /// The user's id, where a person is charged.
    pub user: Option<String>,
    /// `standard`, `batch`, `priority`.
    pub service_tier: String,
    /// `0-200k`, `200k-1M`.
    pub context_window: String,
    /// `global`, `us`.
    pub inference_geo: String,
    pub is_fast: bool,
}

impl Default for Detail {
    fn default() -> Detail {
        Detail {
            api_key: None,
            user: None,
            service_tier: "standard".to_owned(),
            context_window: "0-200k".to_owned(),
            inference_geo: "global".to_owned(),
            is_fast: false,
        }
    }
}

impl Used {
    /// Figure by figure.
    fn figures(&mut self) -> [&mut i64; 8] {
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

    /// Without a part of it.
    #[must_use]
    pub fn minus(mut self, part: &Used) -> Used {
        let mut part = *part;
        for (mine, theirs) in self.figures().into_iter().zip(part.figures()) {
            *mine -= *theirs;
        }
        self
    }

    /// Of `n` equal shares all but the last, and the last, which takes what is left over.
    pub fn shares(self, n: i64) -> (Used, Used) {
        let (mut even, mut last) = (self, self);
        for (even, last) in even.figures().into_iter().zip(last.figures()) {
            *even /= n;
            *last -= *even * (n - 1);
        }
        (even, last)
    }

    /// Tokens and requests that go with a spend, by list prices.
    pub fn worth(prices: &Prices, micros: i64) -> Used {
        // Percent of the spend by cents per million tokens are tokens.
        let tokens = |percent: i64, price: i64| micros * percent / price;
        Used {
            micros,
            input: tokens(38, prices.input),
            output: tokens(52, prices.output),
            cache_read: tokens(10, prices.cache_read),
            requests: micros / prices.request_micros + i64::from(micros > 0),
            ..Used::default()
        }
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Used) {
        // Field by field: this is the innermost step of every report.
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

/// A loop that runs away: it doubles its spend again and again, until somebody stops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runaway {
    pub workspace: String,
    pub model: String,
    pub since: Timestamp,
    /// In the first second, in 10⁻⁶ USD.
    pub micros_per_second: i64,
    /// After so many seconds the pace has doubled.
    pub doubles_after: i64,
    /// So often it doubles, and no more.
    pub n_doublings: u32,
    /// After so many seconds somebody stops it.
    pub lasts: i64,
}

/// What can be changed of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub default_model: String,
    pub require_mfa: bool,
    pub allowed_ip_ranges: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            default_model: "claude-sonnet-4-5".to_owned(),
            require_mfa: true,
            allowed_ip_ranges: vec!["203.0.113.0/24".to_owned()],
        }
    }
}

/// What the server says is the organization's month to date.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stated {
    #[default]
    Truth,
    Digits(String),
    /// Nothing: the field is missing.
    Missing,
}

/// How `model_breakdown` is told where it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Breakdown {
    #[default]
    Full,
    /// Without this model: the rest does not sum to the row.
    Without(String),
    /// Each model's cost without what lies below cents: the rest does not sum to the row.
    Cents,
}

/// By model.
pub type Models = BTreeMap<String, Used>;

/// By hour: model, manner, and how much.
pub type Details = BTreeMap<Hour, Vec<(String, Detail, Used)>>;

/// The organization. Usage under the workspace id `""` belongs to no listed workspace.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// In the order of the list.
    pub workspaces: Vec<Workspace>,
    /// In the order of the list.
    pub users: Vec<User>,
    /// In the order of the list.
    pub keys: Vec<Key>,
    /// In the order in which they were sent.
    pub invites: Vec<Invite>,
    /// Users and their roles, by workspace; only the real service knows them.
    pub members: BTreeMap<String, Vec<(String, String)>>,
    /// What can be changed of the organization.
    pub settings: Settings,
    /// Every secret that was handed out.
    pub secrets: Vec<String>,
    /// The guide's server takes POST where it is told PATCH.
    pub without_patch: bool,
    /// The guide's server lists keys that were deleted, as `revoked`.
    pub deleted_keys_stay: bool,
    /// Nobody else can be invited.
    pub no_seats: bool,
    pub usage_limit: Option<String>,
    /// The organization's month to date, as the server states it.
    pub stated_month: Stated,
    /// Rows whose models are left out.
    pub without_breakdown: bool,
    /// How models are told, where they are.
    pub breakdown: Breakdown,
    /// Hours and days without usage have a row too.
    pub has_zero_rows: bool,
    /// Nothing after this is told yet.
    pub lag_until: Option<Timestamp>,
    /// So far the server's `Date` is ahead of the clock.
    pub clock_skew: SignedDuration,
    /// So many requests are answered in any minute of running time; the others get 429 and `retry-after`.
    pub rate_limit: Option<u32>,
    pub runaways: Vec<Runaway>,
    pub speaks: Speaks,
    /// The default workspace's real id: what is used under `""` is its own, as the real service tells it.
    pub default_workspace: Option<String>,
    /// No longer listed, but where it is asked for.
    pub archived: Vec<Workspace>,
    /// What is billed is so much below list price.
    pub discount_percent: i64,
    /// The filter by speed is ignored, as by a server that does not know it: all usage is reported as fast.
    pub ignores_speeds: bool,
    /// Up to when the newer reports tell what is billed; `None` is now, less the lag.
    pub refreshed_until: Option<Timestamp>,
    /// So far the newer reports lag behind.
    pub refresh_lag: SignedDuration,
    /// So long after its end a day has its bill.
    pub bill_lag: SignedDuration,
    /// Workspace (`None`: the organization), model group, limiter, value.
    pub rate_limits: Vec<(Option<String>, String, String, u64)>,
    /// Workspace (`None`: the organization) and cents a month.
    pub spend_limits: Vec<(Option<String>, i64)>,
    /// The newest reports that were told, by their question and moment: the pages that follow come from there.
    pub(super) told: Vec<(u64, Timestamp, Arc<Told>)>,
    /// By workspace and hour: what was used of a model in one manner; it is within `used` too.
    pub(super) details: BTreeMap<String, Details>,
    pub(super) seed: u64,
    /// How many things were made.
    pub(super) n_made: u64,
    /// Every model with a habit, and its prices; streams have an index into it.
    pub(super) models: Vec<(String, Prices)>,
    pub(super) streams: HashMap<String, Vec<Stream>>,
    /// Hours that were forgotten, by workspace.
    pub(super) forgotten: HashMap<String, Vec<HourSpan>>,
    /// The newest hour that was ever asked for.
    pub(super) lived_until: Option<Hour>,
    /// What all habits together used in hours that are over, by model; kept until a habit changes.
    pub(super) closed: HashMap<Hour, Vec<Used>>,
    pub(super) used: BTreeMap<String, BTreeMap<Hour, Models>>,
    pub(super) day_extra: BTreeMap<(String, Day), i64>,
    /// Where a workspace stood in the list when it was last looked for.
    places: HashMap<String, usize>,
}

impl World {
    /// Nothing in it.
    pub fn empty() -> World {
        World::default()
    }

    /// Nothing in it, and habits that tremble by this seed.
    pub fn seeded(seed: u64) -> World {
        World {
            seed,
            ..World::default()
        }
    }

    /// One more workspace, without limits.
    pub fn add_workspace(&mut self, id: &str, name: &str) {
        self.workspaces.push(Workspace {
            id: id.to_owned(),
            name: name.to_owned(),
            ..Workspace::default()
        });
    }

    /// A workspace, to change it. Panics where there is none: the caller made it.
    pub fn workspace_mut(&mut self, id: &str) -> &mut Workspace {
        self.workspaces
            .iter_mut()
            .find(|workspace| workspace.id == id)
            .expect("the workspace was added")
    }

    /// Where a workspace stands in the list.
    pub fn place_of(&mut self, id: &str) -> Option<usize> {
        let stands = |place: usize, at: Option<&Workspace>| {
            at.is_some_and(|workspace| workspace.id == id)
                .then_some(place)
        };
        if let Some(place) = self.places.get(id)
            && let Some(place) = stands(*place, self.workspaces.get(*place))
        {
            return Some(place);
        }
        // The list is open to everyone: whoever moved has moved the others too.
        let ids = self.workspaces.iter().enumerate();
        self.places = ids
            .map(|(place, workspace)| (workspace.id.clone(), place))
            .collect();
        self.places.get(id).copied()
    }

    /// The world may have changed: reports are made anew.
    pub fn forget_answers(&mut self) {
        self.told.clear();
    }

    /// A workspace leaves the list; what it used stays in the whole.
    pub fn archive(&mut self, id: &str) {
        let archived = self
            .workspaces
            .extract_if(.., |workspace| workspace.id == id);
        self.archived.extend(archived);
    }

    /// Spends by habit, from a moment on. A habit with the same model that there was before ends then.
    pub fn add_habit(
        &mut self,
        workspace: &str,
        model: &str,
        micros_per_hour: i64,
        is_human: bool,
        since: Timestamp,
    ) {
        let habit = Habit {
            micros_per_hour,
            is_human,
            growth_permille: 12,
            launched: Hour::of(since),
            hours_behind: 0,
            silent_permille: 0,
        };
        self.add_stream(workspace, model, habit);
    }

    /// Spends by any habit. A habit with the same model that there was before ends where this one begins, but keeps the
    /// hours that were told already.
    pub fn add_stream(&mut self, workspace: &str, model: &str, habit: Habit) {
        let known = self.models.iter().position(|(known, _)| known == model);
        let index = known.unwrap_or_else(|| {
            let prices = spending::prices(model);
            self.models.push((model.to_owned(), prices));
            self.models.len() - 1
        });
        let lived_until = self.lived_until;
        let streams = self.streams.entry(workspace.to_owned()).or_default();
        let mut start = habit.launched;
        for before in streams.iter_mut().filter(|stream| stream.model == index) {
            start = start.max(lived_until.unwrap_or(start));
            before.hours.end = before.hours.end.min(start);
        }
        streams.push(Stream {
            model: index,
            habit,
            salt: spending::salt(workspace, model),
            hours: HourSpan {
                start,
                end: Hour::from_count(i32::MAX),
            },
        });
        self.closed.clear();
    }
}
