//! What the organization has used up to a moment: habits, loops that run away, and what was used exactly.
//!
//! Habits are computed on the fly from the seed, so that an organization of ten thousand workspaces costs no memory;
//! only the sums of all workspaces in hours that are over are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::spending::{self, Stream};
use crate::simulator::world::{Models, Used, World};

const SECONDS_OF_AN_HOUR: i64 = 3600;

impl World {
    /// What a workspace (`None`: the whole organization) used in some hours, by hour and model, up to `now`.
    pub fn used(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        self.used_by(|hour| hour, workspace, hours, now)
    }

    /// The same by day, under its first hour: the sums of its hours.
    pub fn used_by_day(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        self.used_by(|hour| hour.day().first_hour(), workspace, hours, now)
    }

    fn used_by(
        &mut self,
        bucket: impl Fn(Hour) -> Hour,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        let now = self.as_of(now);
        self.lived_until = self.lived_until.max(Some(Hour::of(now)));
        let hours = begun(hours, now);
        let mut sums = self.by_habit(&bucket, workspace, hours, now);
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        let rows_of_one = workspace.and_then(|id| self.used.get_key_value(id));
        let rows_of_all = self.used.iter().filter(|_| workspace.is_none());
        for (_, rows) in rows_of_one.into_iter().chain(rows_of_all) {
            for (hour, models) in rows.range(hours.start..hours.end) {
                let sum = sums.entry(bucket(*hour)).or_default();
                for (model, used) in models {
                    *sum.entry(model.clone()).or_default() += *used;
                }
            }
        }
        for runaway in self.runaways.iter().filter(|of| is_asked(&of.workspace)) {
            for (hour, used) in runaway.used(hours, now) {
                if self.is_forgotten(&runaway.workspace, hour) {
                    continue;
                }
                let models = sums.entry(bucket(hour)).or_default();
                *models.entry(runaway.model.clone()).or_default() += used;
            }
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
        bucket: impl Fn(Hour) -> Hour,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        let mut sums: BTreeMap<Hour, Vec<Used>> = BTreeMap::new();
        if workspace.is_some_and(|id| !self.streams.contains_key(id)) {
            return BTreeMap::new();
        }
        for hour in (hours.start.count()..hours.end.count()).map(Hour::from_count) {
            let sum = sums
                .entry(bucket(hour))
                .or_insert_with(|| vec![Used::default(); self.models.len()]);
            match workspace {
                Some(id) => self.add_streams(sum, id, &self.streams[id], hour, now),
                None => self.add_all(sum, hour, now),
            }
        }
        let told = sums.into_iter().map(|(bucket, by_model)| {
            let told = self.models.iter().zip(by_model);
            let told = told.filter(|(_, used)| used.micros != 0);
            let told: Models = told
                .map(|((model, _), used)| (model.clone(), used))
                .collect();
            (bucket, told)
        });
        told.filter(|(_, told)| !told.is_empty()).collect()
    }

    fn add_all(&mut self, sums: &mut [Used], hour: Hour, now: Timestamp) {
        let is_over = hour.end() <= now;
        let of_hour = match self.closed.get(&hour).filter(|_| is_over) {
            Some(kept) => kept.clone(),
            None => {
                let mut of_hour = vec![Used::default(); self.models.len()];
                for (workspace, streams) in &self.streams {
                    self.add_streams(&mut of_hour, workspace, streams, hour, now);
                }
                of_hour
            }
        };
        for (sum, used) in sums.iter_mut().zip(&of_hour) {
            *sum += *used;
        }
        if is_over {
            self.closed.entry(hour).or_insert(of_hour);
        }
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
        for stream in streams {
            if let Some(used) = self.used_by_stream(stream, hour, now) {
                sums[stream.model] += used;
            }
        }
    }

    /// What a habit used in an hour up to `now`.
    pub(super) fn used_by_stream(
        &self,
        stream: &Stream,
        hour: Hour,
        now: Timestamp,
    ) -> Option<Used> {
        if !stream.hours.contains(hour) {
            return None;
        }
        let into = now.duration_since(hour.start()).as_secs();
        let into = into.clamp(0, SECONDS_OF_AN_HOUR);
        let whole = spending::spend(self.seed, &stream.habit, stream.salt, hour);
        let micros = whole * into / SECONDS_OF_AN_HOUR;
        let (_, prices) = &self.models[stream.model];
        (micros > 0).then(|| Used::worth(prices, micros))
    }

    pub(super) fn is_forgotten(&self, workspace: &str, hour: Hour) -> bool {
        let spans = self.forgotten.get(workspace);
        spans.is_some_and(|spans| spans.iter().any(|span| span.contains(hour)))
    }
}

/// Hours that have begun.
pub(super) fn begun(hours: HourSpan, now: Timestamp) -> HourSpan {
    let end = hours.end.min(Hour::of(now).plus(1));
    HourSpan {
        start: hours.start,
        end: end.max(hours.start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPUS: &str = "claude-opus-4-5";
    const A: &str = "workspace_a";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn november() -> HourSpan {
        HourSpan {
            start: Hour::of(at("2026-11-01T00:00:00Z")),
            end: Hour::of(at("2026-12-01T00:00:00Z")),
        }
    }

    /// One workspace that spends evenly since November.
    fn world() -> World {
        let mut world = World::seeded(5);
        world.add_workspace(A, "A");
        world.add_habit(A, OPUS, 3_600_000, false, at("2026-11-01T00:00:00Z"));
        world
    }

    fn spent(world: &mut World, now: &str) -> i128 {
        world.spent(Some(A), november(), at(now)).pico() / 1_000_000
    }

    #[test]
    fn the_running_hour_grows_and_the_future_is_not_told() {
        let mut world = world();
        let mut last = spent(&mut world, "2026-11-02T10:00:00Z");
        for minute in 1..60 {
            let now = spent(&mut world, &format!("2026-11-02T10:{minute:02}:00Z"));
            assert!(now > last, "minute {minute}");
            let at = at(&format!("2026-11-02T10:{minute:02}:00Z"));
            let whole = world.spent(None, november(), at);
            assert_eq!(whole.pico() / 1_000_000, now, "minute {minute}");
            last = now;
        }
        let hours = world.used(Some(A), november(), at("2026-11-02T10:59:00Z"));
        assert_eq!(hours.len(), 24 + 11);
        // What was told of an hour once is told of it for ever.
        assert_eq!(spent(&mut world, "2026-11-02T10:59:00Z"), last);
        let whole = world.spent(None, november(), at("2026-11-20T00:00:00Z"));
        let part = world.spent(Some(A), november(), at("2026-11-20T00:00:00Z"));
        assert_eq!(whole, part, "kept sums are the same sums");
    }

    #[test]
    fn what_is_forgotten_stays_so_and_what_comes_later_is_told() {
        let mut world = world();
        let before = spent(&mut world, "2026-11-10T12:30:00Z");
        world.spend(A, OPUS, at("2026-11-09T12:00:00Z"), "7");
        assert_eq!(
            spent(&mut world, "2026-11-10T12:30:00Z"),
            before + 7_000_000
        );
        world.forget(A, november());
        let running = spent(&mut world, "2026-11-10T12:30:00Z");
        assert!(running > 0 && running < 3_600_000, "the running hour alone");
        let whole = world.spent(None, november(), at("2026-11-10T12:30:00Z"));
        assert_eq!(whole.pico() / 1_000_000, running);
        assert!(spent(&mut world, "2026-11-10T15:00:00Z") > running + 2 * 2_000_000);
        world.spend(A, OPUS, at("2026-11-09T12:00:00Z"), "7");
        let with = world.used(Some(A), november(), at("2026-11-10T12:30:00Z"));
        assert_eq!(with.len(), 2, "what is spent after it is told: {with:?}");
    }

    #[test]
    fn another_habit_leaves_what_was_told() {
        let mut world = world();
        let noon = "2026-11-10T12:00:00Z";
        let before = spent(&mut world, noon);
        world.add_habit(A, OPUS, 360_000_000, false, at("2026-11-05T00:00:00Z"));
        assert_eq!(spent(&mut world, noon), before);
        let more = spent(&mut world, "2026-11-10T13:00:00Z") - before;
        assert!(more > 200_000_000, "{more}");
        world.add_habit(A, OPUS, 3_600, false, at("2026-11-05T00:00:00Z"));
        let less = spent(&mut world, "2026-11-10T14:00:00Z") - before - more;
        assert!(less < 10_000, "{less}");
        let mut fresh = self::world();
        fresh.add_habit(A, OPUS, 360_000_000, false, at("2026-11-10T12:00:00Z"));
        assert_eq!(spent(&mut fresh, noon), before, "nothing twice");
    }

    #[test]
    fn ten_thousand_workspaces_keep_no_rows() {
        let mut world = World::realistic(1, 10_000, at("2026-08-01T00:00:00Z"));
        let now = at("2026-11-20T02:30:00Z");
        let one = world.used(Some("workspace_09999"), november(), now);
        assert!(one.len() > 300, "{}", one.len());
        assert!(world.used.is_empty() && world.closed.is_empty());
        let today = HourSpan {
            start: Hour::of(at("2026-11-20T00:00:00Z")),
            ..november()
        };
        assert_eq!(world.used(None, today, now).len(), 3);
        assert_eq!(world.closed.len(), 2, "the sums of the hours that are over");
    }

    #[test]
    fn corrections_count_where_their_whole_day_is() {
        let mut world = World::empty();
        let day = Day::of(at("2026-11-10T00:00:00Z"));
        world.correct_day(A, day, "-1.5");
        let span = |end: Hour| HourSpan {
            start: day.first_hour(),
            end,
        };
        let now = at("2026-11-20T00:00:00Z");
        let mut of = |end| world.spent(Some(A), span(end), now).to_string();
        assert_eq!(of(day.plus(1).first_hour()), "-1.5");
        assert_eq!(of(day.last_hour()), "0");
        assert_eq!(world.days_with_extra(None, day, day), [day]);
        assert_eq!(world.days_with_extra(Some("b"), day, day), []);
    }

    #[test]
    fn places_follow_a_list_that_is_changed_from_outside() {
        let mut world = World::realistic(1, 5, at("2026-11-01T00:00:00Z"));
        assert_eq!(world.place_of("workspace_00003"), Some(3));
        world.archive("workspace_00001");
        assert_eq!(world.place_of("workspace_00003"), Some(2));
        assert_eq!(world.place_of("workspace_00001"), None);
        world.workspaces.reverse();
        assert_eq!(world.place_of("workspace_00003"), Some(1));
        world.add_workspace("workspace_new", "New");
        assert_eq!(world.place_of("workspace_new"), Some(4));
    }
}
