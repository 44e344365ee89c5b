//! Usage up to a time: spend patterns, runaway loops, and exact usage.
//!
//! Patterns are computed on demand from the seed, so that ten thousand workspaces need no memory; only the sums of all
//! workspaces in past hours are cached.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::world::World;
use crate::world::amounts::{SimulatedUsage, UsageByModel};
use crate::world::spending::{self, SpendStream};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

const SECONDS_PER_HOUR: i64 = 3600;

impl World {
    /// Returns the usage of a workspace (`None`: the whole organization) by hour and model, up to `now`.
    pub fn used(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, UsageByModel> {
        self.used_by(|hour| hour, workspace, hours, now)
    }

    /// Returns the same by day; keys are the first hours of the days.
    pub fn used_by_day(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, UsageByModel> {
        self.used_by(|hour| hour.day().first_hour(), workspace, hours, now)
    }

    fn used_by(
        &mut self,
        bucket: impl Fn(Hour) -> Hour,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, UsageByModel> {
        let now = self.as_of(now);
        self.simulated_until = self.simulated_until.max(Some(Hour::containing(now)));
        let hours = started_hours(hours, now);
        let mut sums = self.by_pattern(&bucket, workspace, hours, now);
        let is_requested = |id: &str| workspace.is_none_or(|wanted| wanted == id);
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
        for runaway in self
            .runaways
            .iter()
            .filter(|runaway| is_requested(&runaway.workspace))
        {
            for (hour, used) in runaway.used(hours, now) {
                if self.is_removed(&runaway.workspace, hour) {
                    continue;
                }
                let models = sums.entry(bucket(hour)).or_default();
                *models.entry(runaway.model.clone()).or_default() += used;
            }
        }
        sums
    }

    /// Returns the time up to which usage is reported at `now`.
    pub fn as_of(&self, now: Timestamp) -> Timestamp {
        self.lag_until.map_or(now, |until| until.min(now))
    }

    /// Returns the corrections of a workspace (`None`: the whole organization), by day, in 10⁻⁶ USD.
    pub fn day_corrections(&self, workspace: Option<&str>) -> impl Iterator<Item = (Day, i64)> {
        let all = self.day_corrections.iter();
        let requested = all.filter(move |((id, _), _)| workspace.is_none_or(|wanted| wanted == id));
        requested.map(|((_, day), micros)| (*day, *micros))
    }

    /// Returns the spend of a workspace (`None`: the whole organization), including corrections of days.
    pub fn spent(&mut self, workspace: Option<&str>, hours: HourSpan, now: Timestamp) -> Usd {
        let by_hour = self.used(workspace, hours, now);
        let hours_sum: i64 = by_hour
            .values()
            .flat_map(|models| models.values())
            .map(|used| used.micros)
            .sum();
        Usd::from_pico(i128::from(hours_sum + self.corrections(workspace, hours)) * 1_000_000)
    }

    /// Returns the corrections of the days that end within some hours, in 10⁻⁶ USD.
    pub fn corrections(&self, workspace: Option<&str>, hours: HourSpan) -> i64 {
        let days = hours.start.day()..hours.end.day();
        let corrections = self.day_corrections(workspace);
        let within = corrections.filter(|(day, _)| days.contains(day));
        within.map(|(_, micros)| micros).sum()
    }

    fn by_pattern(
        &mut self,
        bucket: impl Fn(Hour) -> Hour,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, UsageByModel> {
        let mut sums: BTreeMap<Hour, Vec<SimulatedUsage>> = BTreeMap::new();
        if workspace.is_some_and(|id| !self.streams.contains_key(id)) {
            return BTreeMap::new();
        }
        for hour in (hours.start.count()..hours.end.count()).map(Hour::from_count) {
            let sum = sums
                .entry(bucket(hour))
                .or_insert_with(|| vec![SimulatedUsage::default(); self.models.len()]);
            match workspace {
                Some(id) => self.add_streams(sum, id, &self.streams[id], hour, now),
                None => self.add_all(sum, hour, now),
            }
        }
        let buckets = sums.into_iter().map(|(bucket, by_model)| {
            let models = self.models.iter().zip(by_model);
            let models = models.filter(|(_, used)| used.micros != 0);
            let models: UsageByModel = models
                .map(|((model, _), used)| (model.clone(), used))
                .collect();
            (bucket, models)
        });
        buckets.filter(|(_, models)| !models.is_empty()).collect()
    }

    fn add_all(&mut self, sums: &mut [SimulatedUsage], hour: Hour, now: Timestamp) {
        let is_over = hour.end() <= now;
        let of_hour = match self.closed.get(&hour).filter(|_| is_over) {
            Some(cached) => cached.clone(),
            None => {
                let mut of_hour = vec![SimulatedUsage::default(); self.models.len()];
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
        sums: &mut [SimulatedUsage],
        workspace: &str,
        streams: &[SpendStream],
        hour: Hour,
        now: Timestamp,
    ) {
        if self.is_removed(workspace, hour) {
            return;
        }
        for stream in streams {
            if let Some(used) = self.stream_usage(stream, hour, now) {
                sums[stream.model] += used;
            }
        }
    }

    /// Returns the usage of a stream in an hour, up to `now`.
    pub(crate) fn stream_usage(
        &self,
        stream: &SpendStream,
        hour: Hour,
        now: Timestamp,
    ) -> Option<SimulatedUsage> {
        if !stream.hours.contains(hour) {
            return None;
        }
        let elapsed = now.duration_since(hour.start()).as_secs();
        let elapsed = elapsed.clamp(0, SECONDS_PER_HOUR);
        let whole = spending::spend(self.seed, &stream.pattern, stream.salt, hour);
        let micros = whole * elapsed / SECONDS_PER_HOUR;
        let (_, prices) = &self.models[stream.model];
        (micros > 0).then(|| SimulatedUsage::from_spend(prices, micros))
    }

    pub(crate) fn is_removed(&self, workspace: &str, hour: Hour) -> bool {
        let spans = self.removed.get(workspace);
        spans.is_some_and(|spans| spans.iter().any(|span| span.contains(hour)))
    }
}

/// Returns the hours that have started.
pub(crate) fn started_hours(hours: HourSpan, now: Timestamp) -> HourSpan {
    let end = hours.end.min(Hour::containing(now).plus(1));
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
            start: Hour::containing(at("2026-11-01T00:00:00Z")),
            end: Hour::containing(at("2026-12-01T00:00:00Z")),
        }
    }

    /// One workspace that spends evenly since November.
    fn world() -> World {
        let mut world = World::seeded(5);
        world.add_workspace(A, "A");
        world.add_spend_pattern(A, OPUS, 3_600_000, false, at("2026-11-01T00:00:00Z"));
        world
    }

    fn spent(world: &mut World, now: &str) -> i128 {
        world.spent(Some(A), november(), at(now)).pico() / 1_000_000
    }

    #[test]
    fn the_current_hour_grows_and_future_hours_have_no_usage() {
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
        // Past hours do not change.
        assert_eq!(spent(&mut world, "2026-11-02T10:59:00Z"), last);
        let whole = world.spent(None, november(), at("2026-11-20T00:00:00Z"));
        let part = world.spent(Some(A), november(), at("2026-11-20T00:00:00Z"));
        assert_eq!(whole, part, "cached sums are equal");
    }

    #[test]
    fn removed_usage_stays_removed_and_later_usage_is_reported() {
        let mut world = world();
        let before = spent(&mut world, "2026-11-10T12:30:00Z");
        world.spend(A, OPUS, at("2026-11-09T12:00:00Z"), "7");
        assert_eq!(
            spent(&mut world, "2026-11-10T12:30:00Z"),
            before + 7_000_000
        );
        world.remove_usage(A, november());
        let running = spent(&mut world, "2026-11-10T12:30:00Z");
        assert!(running > 0 && running < 3_600_000, "only the current hour");
        let whole = world.spent(None, november(), at("2026-11-10T12:30:00Z"));
        assert_eq!(whole.pico() / 1_000_000, running);
        assert!(spent(&mut world, "2026-11-10T15:00:00Z") > running + 2 * 2_000_000);
        world.spend(A, OPUS, at("2026-11-09T12:00:00Z"), "7");
        let with = world.used(Some(A), november(), at("2026-11-10T12:30:00Z"));
        assert_eq!(
            with.len(),
            2,
            "usage added afterwards is reported: {with:?}"
        );
    }

    #[test]
    fn a_new_pattern_keeps_past_usage() {
        let mut world = world();
        let noon = "2026-11-10T12:00:00Z";
        let before = spent(&mut world, noon);
        world.add_spend_pattern(A, OPUS, 360_000_000, false, at("2026-11-05T00:00:00Z"));
        assert_eq!(spent(&mut world, noon), before);
        let more = spent(&mut world, "2026-11-10T13:00:00Z") - before;
        assert!(more > 200_000_000, "{more}");
        world.add_spend_pattern(A, OPUS, 3_600, false, at("2026-11-05T00:00:00Z"));
        let less = spent(&mut world, "2026-11-10T14:00:00Z") - before - more;
        assert!(less < 10_000, "{less}");
        let mut fresh = self::world();
        fresh.add_spend_pattern(A, OPUS, 360_000_000, false, at("2026-11-10T12:00:00Z"));
        assert_eq!(spent(&mut fresh, noon), before, "no duplicate usage");
    }

    #[test]
    fn ten_thousand_workspaces_need_no_rows() {
        let mut world = World::realistic(1, 10_000, at("2026-08-01T00:00:00Z"));
        let now = at("2026-11-20T02:30:00Z");
        let one = world.used(Some("workspace_09999"), november(), now);
        assert!(one.len() > 300, "{}", one.len());
        assert!(world.used.is_empty() && world.closed.is_empty());
        let today = HourSpan {
            start: Hour::containing(at("2026-11-20T00:00:00Z")),
            ..november()
        };
        assert_eq!(world.used(None, today, now).len(), 3);
        assert_eq!(world.closed.len(), 2, "sums of past hours");
    }

    #[test]
    fn corrections_count_if_their_whole_day_is_included() {
        let mut world = World::empty();
        let day = Day::containing(at("2026-11-10T00:00:00Z"));
        world.correct_day(A, day, "-1.5");
        let span = |end: Hour| HourSpan {
            start: day.first_hour(),
            end,
        };
        let now = at("2026-11-20T00:00:00Z");
        let mut of = |end| world.spent(Some(A), span(end), now).to_string();
        assert_eq!(of(day.plus(1).first_hour()), "-1.5");
        assert_eq!(of(day.last_hour()), "0");
        let corrections = |workspace| world.day_corrections(workspace).collect::<Vec<_>>();
        assert_eq!(corrections(None), [(day, -1_500_000)]);
        assert_eq!(corrections(Some("b")), []);
    }

    #[test]
    fn positions_follow_changes_of_the_list() {
        let mut world = World::realistic(1, 5, at("2026-11-01T00:00:00Z"));
        assert_eq!(world.position_of("workspace_00003"), Some(3));
        world.archive("workspace_00001");
        assert_eq!(world.position_of("workspace_00003"), Some(2));
        assert_eq!(world.position_of("workspace_00001"), None);
        world.workspaces.reverse();
        assert_eq!(world.position_of("workspace_00003"), Some(1));
        world.add_workspace("workspace_new", "New");
        assert_eq!(world.position_of("workspace_new"), Some(4));
    }
}
