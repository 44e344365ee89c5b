//! What was used as the real service tells it: line by line, with the key, the person and the manner of each.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::world::{Detail, Used, World};

/// What a search of the web costs, in 10⁻⁶ USD.
pub const SEARCH_MICROS: i64 = 10_000;

/// What was used by one key in one manner, in one hour or, where it is a correction, in one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The hour; of a correction the day's first one.
    pub hour: Hour,
    /// The id; empty is the default workspace.
    pub workspace: String,
    /// Empty is none: code execution, or a correction.
    pub model: String,
    /// By whom and how.
    pub detail: Detail,
    /// How much.
    pub used: Used,
    /// Only whole days tell it.
    pub is_of_day: bool,
}

impl Line {
    /// Whether it is billed at all: the Priority Tier is not.
    pub fn is_billed(&self) -> bool {
        self.detail.service_tier != "priority"
    }
}

impl World {
    /// All lines of some hours up to a moment. Of the hour that holds `until` only half of the money is told.
    pub fn lines(&mut self, hours: HourSpan, until: Timestamp, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        for workspace in self.everyone() {
            for (hour, models) in self.used(Some(&workspace), hours, now.min(until)) {
                for (model, used) in models {
                    self.split(&mut lines, &workspace, hour, &model, used);
                }
            }
        }
        let held = Hour::of(until);
        for line in lines
            .iter_mut()
            .filter(|line| line.hour == held && until < now)
        {
            line.used.micros /= 2;
        }
        lines.extend(self.corrections(hours, until));
        lines
    }

    /// Whoever ever used anything.
    fn everyone(&self) -> BTreeSet<String> {
        let listed = self.workspaces.iter().map(|workspace| workspace.id.clone());
        let habits = self.streams.keys().cloned();
        let exact = self.used.keys().cloned();
        let wild = self
            .runaways
            .iter()
            .map(|runaway| runaway.workspace.clone());
        listed.chain(habits).chain(exact).chain(wild).collect()
    }

    /// What was told in detail as it was, and the rest among the workspace's keys.
    fn split(
        &self,
        lines: &mut Vec<Line>,
        workspace: &str,
        hour: Hour,
        model: &str,
        mut used: Used,
    ) {
        let mut push = |detail: Detail, used: Used| {
            if used != Used::default() {
                lines.push(Line {
                    hour,
                    workspace: workspace.to_owned(),
                    model: model.to_owned(),
                    detail,
                    used,
                    is_of_day: false,
                });
            }
        };
        let place = (workspace.to_owned(), hour, model.to_owned());
        for (detail, part) in self.details.get(&place).into_iter().flatten() {
            push(detail.clone(), *part);
            used = used.minus(part);
        }
        let home = Some(workspace).filter(|id| !id.is_empty());
        let keys: Vec<&str> = self
            .keys
            .iter()
            .filter(|key| key.workspace.as_deref() == home)
            .map(|key| key.id.as_str())
            .collect();
        let n = i64::try_from(keys.len()).expect("a handful of keys");
        for (place, key) in keys.iter().enumerate() {
            let share = used.share(n, place + 1 == keys.len());
            let detail = Detail {
                api_key: Some((*key).to_owned()),
                ..Detail::default()
            };
            push(detail, share);
        }
        if keys.is_empty() {
            push(Detail::default(), used);
        }
    }

    fn corrections(&self, hours: HourSpan, until: Timestamp) -> Vec<Line> {
        let is_told = |day: Day| hours.contains(day.first_hour()) && day.start() < until;
        let extras = self.day_extra.iter().filter(|((_, day), _)| is_told(*day));
        let line = |((workspace, day), micros): (&(String, Day), &i64)| Line {
            hour: day.first_hour(),
            workspace: workspace.clone(),
            model: String::new(),
            detail: Detail::default(),
            used: Used {
                micros: *micros,
                ..Used::default()
            },
            is_of_day: true,
        };
        extras.map(line).collect()
    }

    /// Used by one key in one manner.
    pub fn use_as(
        &mut self,
        workspace: &str,
        model: &str,
        at: Timestamp,
        used: Used,
        detail: Detail,
    ) {
        let place = (workspace.to_owned(), Hour::of(at), model.to_owned());
        self.details.entry(place).or_default().push((detail, used));
        self.use_exactly(workspace, model, at, used);
    }

    /// Money for code execution: there is neither a model nor a token.
    pub fn run_code(&mut self, workspace: &str, at: Timestamp, micros: i64) {
        let used = Used {
            micros,
            ..Used::default()
        };
        self.use_as(workspace, "", at, used, Detail::default());
    }
}
