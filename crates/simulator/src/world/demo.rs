//! The organization of the demo.

use jiff::{SignedDuration, Timestamp};

use crate::world::World;
use crate::world::runaway::Runaway;
use crate::world::spending::SpendPattern;

pub(super) const OPUS: &str = "claude-opus-4-5";
pub(super) const SONNET: &str = "claude-sonnet-4-5";
pub(super) const HAIKU: &str = "claude-haiku-4-5";

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
                    hours_behind: demo.hours_behind,
                    ..SpendPattern::new(*micros, *is_human, since)
                };
                world.add_spend_stream(demo.id, model, pattern);
            }
        }
        world.add_spend_pattern("", SONNET, 300_000, false, start);
        world.runaways = vec![past_loop(now), next_loop(now)];
        world.with_users_and_keys(now)
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
    use spendwatch_domain::units::money::Usd;
    use spendwatch_domain::units::span::{Day, Hour, HourSpan};

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
}
