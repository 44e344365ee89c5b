//! Usage as the real API reports it: one record per hour and traits (key, user, tier and so on).
//!
//! An hour of a thousand keys has thousands of records, and reports sum all of them. Therefore a record is numbers only, and
//! refers to its traits by index.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use crate::world::World;
use crate::world::amounts::{DetailedUsage, SimulatedUsage, UsageByModel, UsageDetail};
use crate::world::spending::SpendStream;
use crate::world::usage::started_hours;
use spendwatch_domain::units::span::{Hour, HourSpan};

/// Workspace, model and details of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTraits {
    /// Id; empty is the default workspace.
    pub workspace: String,
    /// Empty for code execution and corrections.
    pub model: String,
    pub detail: UsageDetail,
    /// Correction of a whole day.
    pub is_daily: bool,
}

impl UsageTraits {
    /// Returns whether the usage is billed; Priority Tier usage is not.
    pub fn is_billed(&self) -> bool {
        self.detail.service_tier != "priority"
    }
}

/// Usage with the same traits in one hour, or a correction of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRecord {
    /// For a correction, the first hour of the day.
    pub hour: Hour,
    /// Index into `UsageRecords::traits`.
    pub traits: usize,
    pub usage: SimulatedUsage,
}

/// Usage records and the traits that they refer to.
#[derive(Debug, Default)]
pub struct UsageRecords {
    pub traits: Vec<UsageTraits>,
    /// Ordered by hour.
    pub records: Vec<UsageRecord>,
}

/// Selects usage records.
pub struct RecordFilter<'a> {
    pub hours: HourSpan,
    /// End of the reported data. Unless it is now, the hour that contains it has half of its spend.
    pub until: Timestamp,
    pub includes_workspace: &'a dyn Fn(&str) -> bool,
    /// Creates one record per key; otherwise keys are combined.
    pub is_by_key: bool,
}

/// Usage sources of one workspace.
struct WorkspaceUsage<'a> {
    id: &'a str,
    streams: &'a [SpendStream],
    exact: Option<&'a BTreeMap<Hour, UsageByModel>>,
    details: Option<&'a DetailedUsage>,
    runaway_usage: BTreeMap<Hour, Vec<(&'a str, SimulatedUsage)>>,
    keys: Vec<&'a str>,
    /// By model: index of the traits of its first key.
    first_traits: Vec<Option<usize>>,
    detailed_traits: HashMap<(usize, &'a UsageDetail), usize>,
}

/// Models by index, starting with those of spend streams.
struct ModelNames<'a> {
    all: Vec<&'a str>,
    indexes: HashMap<&'a str, usize>,
}

impl World {
    /// Returns the selected records as of `now`.
    pub fn usage_records(&mut self, filter: &RecordFilter<'_>, now: Timestamp) -> UsageRecords {
        let is_cut = filter.until < now;
        let until = self.as_of(filter.until.min(now));
        self.simulated_until = self.simulated_until.max(Some(Hour::containing(until)));
        let mut hours = started_hours(filter.hours, until);
        if is_cut {
            hours.end = hours.end.min(Hour::ceil(filter.until)).max(hours.start);
        }
        let mut names = ModelNames::new(self.models.iter().map(|(model, _)| model.as_str()));
        let mut workspaces = self.workspaces_with_usage(filter, hours, until);
        let mut records = UsageRecords::default();
        let mut used = Vec::new();
        for hour in (hours.start.count()..hours.end.count()).map(Hour::from_count) {
            let divisor = if is_cut && hour == Hour::containing(filter.until) {
                2
            } else {
                1
            };
            for workspace in &mut workspaces {
                self.usage_in_hour(workspace, &mut names, &mut used, hour, until);
                workspace.append_records(&mut records, &mut names, &mut used, hour, divisor);
            }
        }
        self.append_corrections(&mut records, filter, until);
        records
    }

    /// Returns the workspaces that may have usage in these hours.
    fn workspaces_with_usage<'a>(
        &'a self,
        filter: &RecordFilter<'_>,
        hours: HourSpan,
        now: Timestamp,
    ) -> Vec<WorkspaceUsage<'a>> {
        let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
        for key in self.keys.iter().filter(|_| filter.is_by_key) {
            let workspace = key.workspace.as_deref().unwrap_or_default();
            keys.entry(workspace).or_default().push(&key.id);
        }
        let streaming = self.streams.keys();
        let looping = self.runaways.iter().map(|runaway| &runaway.workspace);
        let ids: BTreeSet<&String> = streaming.chain(self.used.keys()).chain(looping).collect();
        let included = ids.into_iter().filter(|id| (filter.includes_workspace)(id));
        let workspace = |id: &'a String| {
            let mut runaway_usage: BTreeMap<Hour, Vec<(&str, SimulatedUsage)>> = BTreeMap::new();
            for runaway in self
                .runaways
                .iter()
                .filter(|runaway| runaway.workspace == *id)
            {
                for (hour, used) in runaway.used(hours, now) {
                    let of_hour = runaway_usage.entry(hour).or_default();
                    of_hour.push((&runaway.model, used));
                }
            }
            WorkspaceUsage {
                id,
                streams: self.streams.get(id).map_or(&[], Vec::as_slice),
                exact: self.used.get(id),
                details: self.details.get(id),
                runaway_usage,
                keys: keys.get(id.as_str()).cloned().unwrap_or_default(),
                first_traits: Vec::new(),
                detailed_traits: HashMap::new(),
            }
        };
        included.map(workspace).collect()
    }

    /// Computes the usage of a workspace in one hour, by index of the model.
    fn usage_in_hour<'a>(
        &self,
        workspace: &WorkspaceUsage<'a>,
        names: &mut ModelNames<'a>,
        used: &mut Vec<(usize, SimulatedUsage)>,
        hour: Hour,
        now: Timestamp,
    ) {
        used.clear();
        if !self.is_removed(workspace.id, hour) {
            for stream in workspace.streams {
                if let Some(by_stream) = self.stream_usage(stream, hour, now) {
                    add(used, stream.model, by_stream);
                }
            }
            for (model, by_loop) in workspace.runaway_usage.get(&hour).into_iter().flatten() {
                add(used, names.index_of(model), *by_loop);
            }
        }
        let exact = workspace.exact.and_then(|hours| hours.get(&hour));
        for (model, exactly) in exact.into_iter().flatten() {
            add(used, names.index_of(model), *exactly);
        }
    }

    fn append_corrections(
        &self,
        records: &mut UsageRecords,
        filter: &RecordFilter<'_>,
        until: Timestamp,
    ) {
        for ((workspace, day), micros) in &self.day_corrections {
            let is_included = filter.hours.contains(day.first_hour()) && day.start() < until;
            if !is_included || !(filter.includes_workspace)(workspace) {
                continue;
            }
            records.records.push(UsageRecord {
                hour: day.first_hour(),
                traits: records.traits.len(),
                usage: SimulatedUsage {
                    micros: *micros,
                    ..SimulatedUsage::default()
                },
            });
            records.traits.push(UsageTraits {
                workspace: workspace.clone(),
                model: String::new(),
                detail: UsageDetail::default(),
                is_daily: true,
            });
        }
        records.records.sort_by_key(|record| record.hour);
    }
}

impl<'a> WorkspaceUsage<'a> {
    /// Appends detailed usage as it is, and divides the rest among the workspace's keys. Amounts are divided by `divisor`
    /// first, so that their sum does not depend on the number of keys.
    fn append_records(
        &mut self,
        records: &mut UsageRecords,
        names: &mut ModelNames<'a>,
        used: &mut [(usize, SimulatedUsage)],
        hour: Hour,
        divisor: i64,
    ) {
        let divided = |used: SimulatedUsage| SimulatedUsage {
            micros: used.micros / divisor,
            ..used
        };
        let details = self.details.and_then(|hours| hours.get(&hour));
        for (name, detail, part) in details.into_iter().flatten() {
            let model = names.index_of(name);
            let id = self.id;
            let traits = *self
                .detailed_traits
                .entry((model, detail))
                .or_insert_with(|| {
                    records.traits.push(new_traits(id, name, detail.clone()));
                    records.traits.len() - 1
                });
            push(records, hour, traits, divided(*part));
            if let Some((_, whole)) = used.iter_mut().find(|(index, _)| *index == model) {
                *whole = whole.minus(part);
            }
        }
        let n_keys = self.keys.len().max(1);
        let n = i64::try_from(n_keys).expect("keys fit 64 bits");
        for (model, rest) in used
            .iter()
            .filter(|(_, rest)| *rest != SimulatedUsage::default())
        {
            let first = self.first_traits(records, *model, names.all[*model]);
            let (even, last) = divided(*rest).split(n);
            for key in 0..n_keys - 1 {
                push(records, hour, first + key, even);
            }
            push(records, hour, first + n_keys - 1, last);
        }
    }

    /// Returns the index of the traits of the first key with a model; those of the other keys follow.
    fn first_traits(&mut self, records: &mut UsageRecords, model: usize, name: &str) -> usize {
        if self.first_traits.len() <= model {
            self.first_traits.resize(model + 1, None);
        }
        if let Some(first) = self.first_traits[model] {
            return first;
        }
        let first = records.traits.len();
        for key in &self.keys {
            let detail = UsageDetail {
                api_key: Some((*key).to_owned()),
                ..UsageDetail::default()
            };
            records.traits.push(new_traits(self.id, name, detail));
        }
        if self.keys.is_empty() {
            records
                .traits
                .push(new_traits(self.id, name, UsageDetail::default()));
        }
        self.first_traits[model] = Some(first);
        first
    }
}

impl<'a> ModelNames<'a> {
    fn new(names: impl Iterator<Item = &'a str>) -> ModelNames<'a> {
        let all: Vec<&str> = names.collect();
        let indexes = all.iter().enumerate().map(|(index, name)| (*name, index));
        ModelNames {
            indexes: indexes.collect(),
            all,
        }
    }

    fn index_of(&mut self, name: &'a str) -> usize {
        *self.indexes.entry(name).or_insert_with(|| {
            self.all.push(name);
            self.all.len() - 1
        })
    }
}

fn new_traits(workspace: &str, model: &str, detail: UsageDetail) -> UsageTraits {
    UsageTraits {
        workspace: workspace.to_owned(),
        model: model.to_owned(),
        detail,
        is_daily: false,
    }
}

fn push(records: &mut UsageRecords, hour: Hour, traits: usize, usage: SimulatedUsage) {
    if usage != SimulatedUsage::default() {
        records.records.push(UsageRecord {
            hour,
            traits,
            usage,
        });
    }
}

fn add(sums: &mut Vec<(usize, SimulatedUsage)>, model: usize, used: SimulatedUsage) {
    match sums.iter_mut().find(|(index, _)| *index == model) {
        Some((_, sum)) => *sum += used,
        None => sums.push((model, used)),
    }
}
