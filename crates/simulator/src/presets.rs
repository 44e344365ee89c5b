//! Realistic organizations: one of any size by seed, and that of the demo.

use jiff::{SignedDuration, Timestamp};

use crate::directory::{self, HOSTILE_NAMES};
use crate::spending::{self, SpendPattern};
use crate::world::{Runaway, World};
use spendwatch_domain::units::span::Hour;

const OPUS: &str = "claude-opus-4-5";
const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";

struct DemoWorkspace {
    id: &'static str,
    name: &'static str,
    monthly_limit: Option<&'static str>,
    hours_behind: i32,
    /// Model, 10⁻⁶ USD per hour, and whether usage follows office hours.
    spend_patterns: &'static [(&'static str, i64, bool)],
}

const DEMO_WORKSPACES: [DemoWorkspace; 6] = [
    DemoWorkspace {
        id: "workspace_search",
        name: "Search",
        monthly_limit: Some("9000"),
        hours_behind: 0,
        spend_patterns: &[(SONNET, 6_400_000, true), (HAIKU, 1_100_000, true)],
    },
    DemoWorkspace {
        id: "workspace_support",
        name: "Support Bot",
        monthly_limit: Some("4000"),
        hours_behind: -1,
        spend_patterns: &[(HAIKU, 2_300_000, true), (SONNET, 900_000, true)],
    },
    DemoWorkspace {
        id: "workspace_review",
        name: "Code Review",
        monthly_limit: None,
        hours_behind: 7,
        spend_patterns: &[(OPUS, 5_200_000, true), (SONNET, 2_000_000, true)],
    },
    DemoWorkspace {
        id: "workspace_pipeline",
        name: "Data Pipeline",
        monthly_limit: Some("2500"),
        hours_behind: 0,
        spend_patterns: &[(HAIKU, 1_900_000, false)],
    },
    DemoWorkspace {
        id: RESEARCH,
        name: "Research",
        monthly_limit: None,
        hours_behind: 0,
        spend_patterns: &[(OPUS, 3_100_000, true)],
    },
    DemoWorkspace {
        id: SANDBOX,
        name: "Sandbox",
        monthly_limit: Some("150"),
        hours_behind: 0,
        spend_patterns: &[(SONNET, 40_000, true)],
    },
];

/// Launched nine days before the start of the demo.
const RESEARCH: &str = "workspace_research";
/// Has a runaway loop soon after the start of the demo.
const SANDBOX: &str = "workspace_sandbox";

impl World {
    /// Creates workspaces, from large to small, that spend since `start`. From the fifth on, some grow fast, work in another
    /// time zone, launch later, or are idle most of the time; from the thirteenth on, some have a runaway loop.
    pub fn realistic(seed: u64, n_workspaces: usize, start: Timestamp) -> World {
        let mut world = World::seeded(seed);
        for index in 0..n_workspaces {
            let id = format!("workspace_{index:05}");
            world.add_workspace(&id, &format!("Workspace {index}"));
            for (rank, model) in [OPUS, SONNET, HAIKU].into_iter().enumerate() {
                let size = 9_000_000 / i64::try_from((index + 1) * (rank + 1)).unwrap_or(i64::MAX);
                world.add_spend_stream(&id, model, varied_pattern(index, size.max(50), start));
            }
            if index % 64 == 12 {
                let random = spending::mix(seed ^ spending::salt(&id, OPUS)) % (24 * 60);
                let minutes = i64::try_from(random).unwrap_or(0);
                world.runaways.push(Runaway {
                    workspace: id,
                    model: OPUS.to_owned(),
                    since: later(start, SignedDuration::from_mins(25 * 24 * 60 + minutes)),
                    micros_per_second: 4_000,
                    doubles_after: 600,
                    n_doublings: 4,
                    lasts: 3_000,
                });
            }
        }
        world.add_spend_pattern("", SONNET, 400_000, false, start);
        world.with_users_and_keys(start)
    }

    /// Creates the organization of the demo: six workspaces, a launch, a past runaway loop, and one that starts soon after
    /// `now` and stops a minute later.
    pub fn demo(seed: u64, start: Timestamp, now: Timestamp) -> World {
        let mut world = World::seeded(seed);
        world.usage_limit = Some("40000".to_owned());
        let launch = later(now, SignedDuration::from_hours(-24 * 9));
        for demo in DEMO_WORKSPACES {
            world.add_workspace(demo.id, demo.name);
            let workspace = world.workspace_mut(demo.id);
            workspace.monthly_limit = demo.monthly_limit.map(str::to_owned);
            workspace.requests_per_minute = demo.monthly_limit.map(|_| 4_000);
            let since = if demo.id == RESEARCH { launch } else { start };
            for (model, micros, is_human) in demo.spend_patterns {
                let pattern = SpendPattern {
                    is_human: *is_human,
                    hours_behind: demo.hours_behind,
                    ..default_pattern(*micros, since)
                };
                world.add_spend_stream(demo.id, model, pattern);
            }
        }
        world.add_spend_pattern("", SONNET, 300_000, false, start);
        world.runaways = vec![past_loop(now), next_loop(now)];
        world.with_users_and_keys(now)
    }

    /// Adds users and keys, some of them idle at `now`: two users per workspace, at least 3 and at most 250.
    #[must_use]
    pub fn with_users_and_keys(mut self, now: Timestamp) -> World {
        self.users = directory::users((self.workspaces.len() * 2).clamp(3, 250), now);
        let ids = self
            .workspaces
            .iter()
            .map(|workspace| workspace.id.as_str());
        self.keys = directory::keys(ids, &self.users, now);
        self
    }

    /// Renames the workspaces to names that try injection and confuse layouts.
    #[must_use]
    pub fn with_hostile_names(mut self) -> World {
        for (workspace, name) in self.workspaces.iter_mut().zip(HOSTILE_NAMES.iter().cycle()) {
            (*name).clone_into(&mut workspace.name);
        }
        self
    }
}

fn varied_pattern(index: usize, size: i64, start: Timestamp) -> SpendPattern {
    let pattern = SpendPattern {
        is_human: !index.is_multiple_of(3),
        ..default_pattern(size, start)
    };
    // The first four are regular, so that a small organization is easy to reason about.
    match (index >= 4).then_some(index % 8) {
        Some(4) => SpendPattern {
            growth_permille: 40,
            hours_behind: 8,
            ..pattern
        },
        Some(5) => SpendPattern {
            launched: pattern.launched.plus(24 * 20),
            ..pattern
        },
        Some(6) => SpendPattern {
            idle_permille: 600,
            ..pattern
        },
        Some(7) => SpendPattern {
            growth_permille: 0,
            hours_behind: -8,
            ..pattern
        },
        Some(_) | None => pattern,
    }
}

/// Office hours in UTC, and slow growth.
fn default_pattern(micros_per_hour: i64, since: Timestamp) -> SpendPattern {
    SpendPattern {
        micros_per_hour,
        is_human: true,
        growth_permille: 12,
        launched: Hour::containing(since),
        hours_behind: 0,
        idle_permille: 0,
    }
}

fn past_loop(now: Timestamp) -> Runaway {
    Runaway {
        workspace: "workspace_pipeline".to_owned(),
        model: HAIKU.to_owned(),
        since: later(now, SignedDuration::from_hours(-24 * 12 - 3)),
        micros_per_second: 40_000,
        doubles_after: 600,
        n_doublings: 2,
        lasts: 2_400,
    }
}

/// Passes 50, 100 and 200 USD within a minute.
fn next_loop(now: Timestamp) -> Runaway {
    Runaway {
        workspace: SANDBOX.to_owned(),
        model: OPUS.to_owned(),
        since: later(now, SignedDuration::from_secs(8)),
        micros_per_second: 900_000,
        doubles_after: 7,
        n_doublings: 4,
        lasts: 60,
    }
}

fn later(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SimulatedUsage;
    use spendwatch_domain::units::money::Usd;
    use spendwatch_domain::units::span::{Day, HourSpan};

    fn day(now: Timestamp) -> HourSpan {
        let today = Day::containing(now);
        HourSpan {
            start: today.first_hour(),
            end: today.plus(1).first_hour(),
        }
    }

    fn demo(now: Timestamp) -> World {
        World::demo(11, later(now, SignedDuration::from_hours(-24 * 100)), now)
    }

    #[test]
    fn the_demo_crosses_each_threshold_of_its_day_within_a_minute() {
        for start in [
            "2026-11-24T14:30:00Z",
            "2026-12-01T00:00:20Z",
            "2026-02-28T22:59:00Z",
        ] {
            let now: Timestamp = start.parse().unwrap();
            let mut world = demo(now);
            let mut sandbox = |seconds: i64| {
                let at = later(now, SignedDuration::from_secs(seconds));
                world.spent(Some(SANDBOX), day(at), at)
            };
            assert!(sandbox(8) < Usd::from_dollars(5), "{start}");
            let dollars = [29, 35, 38, 46, 60, 3_000].map(sandbox);
            let [info, soon, warning, critical, minute, hour] = dollars;
            let span = |from, to| Usd::from_dollars(from)..Usd::from_dollars(to);
            assert!(span(40, 60).contains(&info), "{start}: {dollars:?}");
            assert!(span(60, 100).contains(&soon), "{start}: {dollars:?}");
            assert!(span(100, 200).contains(&warning), "{start}: {dollars:?}");
            assert!(span(200, 300).contains(&critical), "{start}: {dollars:?}");
            assert!(minute < hour, "{start}: {dollars:?}");
            assert!(
                hour < Usd::from_dollars(700),
                "the loop is stopped: {dollars:?}"
            );
        }
    }

    #[test]
    fn the_demo_has_realistic_spend() {
        let now: Timestamp = "2026-11-24T14:30:00Z".parse().unwrap();
        let mut world = demo(now);
        let month = HourSpan {
            start: Hour::containing("2026-10-01T00:00:00Z".parse().unwrap()),
            end: Hour::containing("2026-11-01T00:00:00Z".parse().unwrap()),
        };
        let whole = world.spent(None, month, now);
        assert!(whole > Usd::from_dollars(10_000), "{whole}");
        assert!(whole < Usd::from_dollars(20_000), "{whole}");
        assert_eq!(world.spent(Some(RESEARCH), month, now), Usd::ZERO);
        assert!(world.spent(Some(RESEARCH), day(now), now) > Usd::from_dollars(20));
        let pipeline = |world: &mut World, days_ago: i64| {
            let at = later(now, SignedDuration::from_hours(-24 * days_ago));
            world.spent(Some("workspace_pipeline"), day(at), now)
        };
        let (normal, incident) = (pipeline(&mut world, 13), pipeline(&mut world, 12));
        assert!(incident.pico() > normal.pico() * 3, "{incident}, {normal}");
        for limited in world.workspaces.clone() {
            let Some(limit) = limited.monthly_limit else {
                continue;
            };
            let spent = world.spent(Some(&limited.id), month, now);
            assert!(spent < Usd::parse(&limit).unwrap(), "{}", limited.name);
        }
    }

    #[test]
    fn tokens_match_their_spend() {
        for (model, input, output, cache_read) in [
            (OPUS, 500, 2500, 50),
            (SONNET, 300, 1500, 30),
            (HAIKU, 100, 500, 10),
        ] {
            let used = SimulatedUsage::from_spend(&spending::prices(model), 1_000_000_000);
            let hundredths =
                used.input * input + used.output * output + used.cache_read * cache_read;
            let off = used.micros * 100 - hundredths;
            assert!((0..10_000).contains(&off), "{model}: {off}");
            assert!((1_000..1_000_000).contains(&used.requests));
        }
    }

    #[test]
    fn workspaces_of_a_large_organization_differ() {
        let start: Timestamp = "2026-09-01T00:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        let mut world = World::realistic(3, 80, start);
        let first_day = |world: &mut World, index: usize| {
            let id = format!("workspace_{index:05}");
            world.spent(Some(&id), day(start), now)
        };
        assert!(first_day(&mut world, 0).pico() > first_day(&mut world, 60).pico() * 30);
        assert_eq!(first_day(&mut world, 13), Usd::ZERO, "launched later");
        assert!(first_day(&mut world, 12) > Usd::ZERO);
        let runaways: Vec<&str> = world
            .runaways
            .iter()
            .map(|runaway| runaway.workspace.as_str())
            .collect();
        assert_eq!(runaways, ["workspace_00012", "workspace_00076"]);
        let hours = HourSpan {
            start: Hour::containing(start),
            end: Hour::containing(now),
        };
        let n_busy = world.used(Some("workspace_00014"), hours, now).len();
        let n_hours = usize::try_from(hours.end.count() - hours.start.count()).unwrap();
        assert!(
            n_busy * 10 < n_hours * 8 + n_hours,
            "three models, each silent: {n_busy} of {n_hours}"
        );
        assert_eq!((world.users.len(), world.keys.len()), (160, 161));
        let idle = world.keys.iter().filter(|key| key.last_used_at.is_none());
        assert_eq!(idle.count(), 32);
    }
}
