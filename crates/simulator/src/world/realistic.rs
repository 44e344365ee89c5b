//! Organizations of any size by seed, for tests.

use jiff::{SignedDuration, Timestamp};

use crate::world::World;
use crate::world::demo::{HAIKU, OPUS, SONNET};
use crate::world::runaway::Runaway;
use crate::world::spending::{self, SpendPattern};

/// Names with quotes, right-to-left scripts, line breaks, markup, injections, and great length.
pub const HOSTILE_NAMES: [&str; 12] = [
    "O'Brien \"Bob\" & <b>Söhne</b>",
    "search\\prod\nline two",
    "بحث الدعم",
    "検索ボット 🚀👩‍👩‍👧",
    "{{ .Labels }} ${HOME} $(id)",
    "=HYPERLINK(\"http://evil.example\";\"x\")",
    "<!channel> <https://evil.example|click>",
    "'; DROP TABLE buckets; --",
    "a\u{202e}txt.exe",
    "tab\there, comma; semicolon",
    "   ",
    "A very long name that goes on and on, past every column and every card, because no limit made its author stop; and then on once more, to be sure that it is long enough for every limit",
];

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
                    since: start + SignedDuration::from_mins(25 * 24 * 60 + minutes),
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
    let pattern = SpendPattern::new(size, !index.is_multiple_of(3), start);
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
