//! What the organization has used up to a moment: habits, loops that run away, and what was used exactly.
//!
//! Habits are computed on the fly from the seed, so that an organization of ten thousand workspaces costs no memory;
//! only the sums of all workspaces in hours that are over are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::spending::{self, Stream};
use crate::simulator::world::{Models, Runaway, Used, World};

const SECONDS_OF_AN_HOUR: i64 = 3600;

impl World {
    /// What a workspace (`None`: the whole organization) used in some hours, by hour and model, up to `now`.
    pub fn used(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        let now = self.as_of(now);
        self.lived_until = self.lived_until.max(Some(Hour::of(now)));
        let hours = begun(hours, now);
        let mut sums = self.by_habit(workspace, hours, now);
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        let rows_of_one = workspace.and_then(|id| self.used.get_key_value(id));
        let rows_of_all = self.used.iter().filter(|_| workspace.is_none());
        for (_, rows) in rows_of_one.into_iter().chain(rows_of_all) {
            for (hour, models) in rows.range(hours.start..hours.end) {
                let sum = sums.entry(*hour).or_default();
                for (model, used) in models {
                    *sum.entry(model.clone()).or_default() += *used;
                }
            }
        }
        for runaway in self.runaways.iter().filter(|of| is_asked(&of.workspace)) {
            self.add_runaway(&mut sums, runaway, hours, now);
        }
        sums
    }

    /// Up to when usage is told at a moment.
    pub fn as_of(&self, now: Timestamp) -> Timestamp {
        self.lag_until.map_or(now, |until| until.min(now))
    }

    /// What a day's row says beyond its hours.
    pub fn day_extra(&self, workspace: Option<&str>, day: Day) -> i64 {
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        let extras = self
            .day_extra
            .iter()
            .filter(|((id, of), _)| is_asked(id) && *of == day);
        extras.map(|(_, micros)| *micros).sum()
    }

    /// The days of a span whose rows say something beyond their hours.
    pub fn days_with_extra(&self, workspace: Option<&str>, first: Day, last: Day) -> Vec<Day> {
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        let days = self.day_extra.keys().filter(|(id, _)| is_asked(id));
        days.map(|(_, day)| *day)
            .filter(|day| (first..=last).contains(day))
            .collect()
    }

    /// The truth: what a workspace (`None`: the whole) spent in some hours, corrections of its days included.
    pub fn spent(&mut self, workspace: Option<&str>, hours: HourSpan, now: Timestamp) -> Usd {
        let by_hour = self.used(workspace, hours, now);
        let of_hours: i64 = by_hour
            .values()
            .flat_map(|models| models.values())
            .map(|used| used.micros)
            .sum();
        Usd::from_pico(i128::from(of_hours + self.extra(workspace, hours)) * 1_000_000)
    }

    /// Corrections of the days that end within some hours, in 10⁻⁶ USD.
    pub fn extra(&self, workspace: Option<&str>, hours: HourSpan) -> i64 {
        let days = hours.start.day()..hours.end.day();
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        let extras = self
            .day_extra
            .iter()
            .filter(|((id, day), _)| is_asked(id) && days.contains(day));
        extras.map(|(_, micros)| *micros).sum()
    }

    fn by_habit(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        let mut sums = BTreeMap::new();
        if workspace.is_some_and(|id| !self.streams.contains_key(id)) {
            return sums;
        }
        for hour in (hours.start.count()..hours.end.count()).map(Hour::from_count) {
            let by_model = match workspace {
                Some(id) => self.habits_of(id, hour, now),
                None => self.habits_of_all(hour, now),
            };
            let told = self.models.iter().zip(by_model);
            let told: Models = told
                .filter(|(_, used)| used.micros != 0)
                .map(|(model, used)| (model.clone(), used))
                .collect();
            if !told.is_empty() {
                sums.insert(hour, told);
            }
        }
        sums
    }

    fn habits_of(&self, workspace: &str, hour: Hour, now: Timestamp) -> Vec<Used> {
        let mut sums = vec![Used::default(); self.models.len()];
        if let Some(streams) = self.streams.get(workspace) {
            self.add_streams(&mut sums, workspace, streams, hour, now);
        }
        sums
    }

    fn habits_of_all(&mut self, hour: Hour, now: Timestamp) -> Vec<Used> {
        let is_over = hour.end() <= now;
        if let Some(sums) = self.closed.get(&hour).filter(|_| is_over) {
            return sums.clone();
        }
        let mut sums = vec![Used::default(); self.models.len()];
        for (workspace, streams) in &self.streams {
            self.add_streams(&mut sums, workspace, streams, hour, now);
        }
        if is_over {
            self.closed.insert(hour, sums.clone());
        }
        sums
    }

    fn add_streams(
        &self,
        sums: &mut [Used],
        workspace: &str,
        streams: &[Stream],
        hour: Hour,
        now: Timestamp,
    ) {
        if self.is_forgotten(workspace, hour) {
            return;
        }
        let into = now.duration_since(hour.start()).as_secs();
        let into = into.clamp(0, SECONDS_OF_AN_HOUR);
        for stream in streams.iter().filter(|of| of.hours.contains(hour)) {
            let whole = spending::spend(self.seed, &stream.habit, stream.salt, hour);
            let micros = whole * into / SECONDS_OF_AN_HOUR;
            if micros > 0 {
                sums[stream.model] += Used::typical(&self.models[stream.model], micros);
            }
        }
    }

    fn is_forgotten(&self, workspace: &str, hour: Hour) -> bool {
        let spans = self.forgotten.get(workspace);
        spans.is_some_and(|spans| spans.iter().any(|span| span.contains(hour)))
    }

    fn add_runaway(
        &self,
        sums: &mut BTreeMap<Hour, Models>,
        runaway: &Runaway,
        hours: HourSpan,
        now: Timestamp,
    ) {
        let last = runaway.since.as_second() + runaway.lasts.max(0);
        let ended = Timestamp::from_second(last).unwrap_or(now).min(now);
        let touched = HourSpan {
            start: Hour::of(runaway.since),
            end: Hour::of(ended).plus(1),
        };
        let touched = hours.intersect(touched);
        for hour in (touched.start.count()..touched.end.count()).map(Hour::from_count) {
            let until = |at: Timestamp| runaway.micros_until(at.min(ended));
            let micros = until(hour.end()) - until(hour.start());
            if micros > 0 && !self.is_forgotten(&runaway.workspace, hour) {
                let models = sums.entry(hour).or_default();
                *models.entry(runaway.model.clone()).or_default() +=
                    Used::typical(&runaway.model, micros);
            }
        }
    }
}

impl Runaway {
    /// What it has spent from its start to a moment, in 10⁻⁶ USD, second by second.
    fn micros_until(&self, at: Timestamp) -> i64 {
        let mut seconds = at.duration_since(self.since).as_secs().max(0);
        let mut sum = 0;
        for n_doublings in 0..=self.n_doublings {
            let is_last = n_doublings == self.n_doublings;
            let of_pace = if is_last {
                seconds
            } else {
                seconds.min(self.doubles_after.max(1))
            };
            sum += of_pace * (self.micros_per_second << n_doublings);
            seconds -= of_pace;
        }
        sum
    }
}

/// Hours that have begun.
fn begun(hours: HourSpan, now: Timestamp) -> HourSpan {
    let end = hours.end.min(Hour::of(now).plus(1));
    HourSpan {
        start: hours.start,
        end: end.max(hours.start),
    }
}
