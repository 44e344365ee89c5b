//! The made-up organization and the truth about what it spends.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::spending::{self, Habit};

/// One workspace as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// `workspace_…`.
    pub id: String,
    /// As it is.
    pub name: String,
    /// Spend limit of a month, as digits.
    pub monthly_limit: Option<String>,
    /// Request limit of a minute.
    pub requests_per_minute: Option<u64>,
}

/// What was used of one model in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// In 10⁻⁶ USD.
    pub micros: i64,
    /// Tokens.
    pub input: i64,
    /// Tokens.
    pub output: i64,
    /// Tokens.
    pub cache_read: i64,
    /// Requests.
    pub requests: i64,
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Used) {
        self.micros += other.micros;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.requests += other.requests;
    }
}

/// A loop that runs away: it doubles its spend again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runaway {
    /// Whose.
    pub workspace: String,
    /// With what.
    pub model: String,
    /// Since when.
    pub since: Timestamp,
    /// In the first second, in 10⁻⁶ USD.
    pub micros_per_second: i64,
    /// After so many seconds the pace has doubled.
    pub doubles_after: i64,
}

/// Id, name, monthly limit; model, 10⁻⁶ USD an hour and whether people work with it.
type DemoRow<'a> = (
    &'a str,
    &'a str,
    Option<&'a str>,
    &'a [(&'a str, i64, bool)],
);

/// By model.
type Models = BTreeMap<String, Used>;

/// The organization. Usage under the workspace id `""` belongs to no listed workspace.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// In the order of the list.
    pub workspaces: Vec<Workspace>,
    /// As digits.
    pub usage_limit: Option<String>,
    /// Rows whose models do not add up or are left out.
    pub without_breakdown: bool,
    /// Nothing after this is told yet.
    pub lag_until: Option<Timestamp>,
    /// Loops.
    pub runaways: Vec<Runaway>,
    seed: u64,
    habits: BTreeMap<(String, String), Habit>,
    habits_until: Option<Hour>,
    used: BTreeMap<String, BTreeMap<Hour, Models>>,
    day_extra: BTreeMap<(String, Day), i64>,
}

impl World {
    /// Nothing in it.
    pub fn empty() -> World {
        World::default()
    }

    /// So many workspaces, from large to small, that spend by habit since `began`.
    pub fn realistic(seed: u64, n_workspaces: usize, began: Timestamp) -> World {
        let mut world = World {
            seed,
            ..World::default()
        };
        for place in 0..n_workspaces {
            let id = format!("workspace_{place:05}");
            world.add_workspace(&id, &format!("Workspace {place}"));
            for (rank, model) in ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"]
                .into_iter()
                .enumerate()
            {
                let size = 9_000_000 / i64::try_from((place + 1) * (rank + 1)).unwrap_or(i64::MAX);
                world.add_habit(&id, model, size.max(50), place % 3 != 0, began);
            }
        }
        world.add_habit("", "claude-sonnet-4-5", 400_000, false, began);
        world
    }

    /// The organization of the demo: six workspaces, a launch, and a loop that runs away soon after `now`.
    pub fn demo(seed: u64, began: Timestamp, now: Timestamp) -> World {
        let mut world = World {
            seed,
            usage_limit: Some("40000".to_owned()),
            ..World::default()
        };
        let launch = now
            .checked_sub(jiff::SignedDuration::from_hours(24 * 9))
            .unwrap_or(now);
        let (opus, sonnet, haiku) = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5");
        let rows: [DemoRow<'_>; 6] = [
            (
                "search",
                "Search",
                Some("9000"),
                &[(sonnet, 6_400_000, true), (haiku, 1_100_000, true)],
            ),
            (
                "support",
                "Support Bot",
                Some("4000"),
                &[(haiku, 2_300_000, true), (sonnet, 900_000, true)],
            ),
            (
                "review",
                "Code Review",
                None,
                &[(opus, 5_200_000, true), (sonnet, 2_000_000, true)],
            ),
            (
                "pipeline",
                "Data Pipeline",
                Some("2500"),
                &[(haiku, 1_900_000, false)],
            ),
            ("research", "Research", None, &[(opus, 3_100_000, true)]),
            ("sandbox", "Sandbox", Some("150"), &[(sonnet, 40_000, true)]),
        ];
        for (id, name, limit, habits) in rows {
            let id = format!("workspace_{id}");
            world.add_workspace(&id, name);
            world.workspace_mut(&id).monthly_limit = limit.map(str::to_owned);
            for (model, micros, is_human) in habits {
                let since = if name == "Research" { launch } else { began };
                world.add_habit(&id, model, *micros, *is_human, since);
            }
        }
        world.add_habit("", sonnet, 300_000, false, began);
        let since = now
            .checked_add(jiff::SignedDuration::from_secs(8))
            .unwrap_or(now);
        world.runaways.push(Runaway {
            workspace: "workspace_sandbox".to_owned(),
            model: opus.to_owned(),
            since,
            micros_per_second: 900_000,
            doubles_after: 7,
        });
        world
    }

    /// One more workspace, without limits.
    pub fn add_workspace(&mut self, id: &str, name: &str) {
        self.workspaces.push(Workspace {
            id: id.to_owned(),
            name: name.to_owned(),
            monthly_limit: None,
            requests_per_minute: None,
        });
    }

    /// A workspace, to change it. Panics where there is none: the caller made it.
    pub fn workspace_mut(&mut self, id: &str) -> &mut Workspace {
        self.workspaces
            .iter_mut()
            .find(|workspace| workspace.id == id)
            .expect("the workspace was added")
    }

    /// A workspace leaves the list; what it used stays in the whole.
    pub fn archive(&mut self, id: &str) {
        self.workspaces.retain(|workspace| workspace.id != id);
    }

    /// Spends by habit, from a moment on.
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
        };
        self.habits
            .insert((workspace.to_owned(), model.to_owned()), habit);
    }

    /// Spends exactly so much, in USD with up to six decimals; negative for a correction downward.
    pub fn spend(&mut self, workspace: &str, model: &str, at: Timestamp, usd: &str) {
        let micros = micros(usd);
        let used = Used {
            micros,
            input: micros / 3,
            output: micros / 15,
            cache_read: 0,
            requests: 1,
        };
        self.use_exactly(workspace, model, at, used);
    }

    /// Uses exactly so much.
    pub fn use_exactly(&mut self, workspace: &str, model: &str, at: Timestamp, used: Used) {
        let models = self
            .used
            .entry(workspace.to_owned())
            .or_default()
            .entry(Hour::of(at))
            .or_default();
        *models.entry(model.to_owned()).or_default() += used;
    }

    /// A day's row says so much more than its hours.
    pub fn correct_day(&mut self, workspace: &str, day: Day, usd: &str) {
        *self
            .day_extra
            .entry((workspace.to_owned(), day))
            .or_default() += micros(usd);
    }

    /// Rows vanish as if they had never been.
    pub fn forget(&mut self, workspace: &str, hours: HourSpan) {
        if let Some(rows) = self.used.get_mut(workspace) {
            rows.retain(|hour, _| !hours.contains(*hour));
        }
    }

    /// What a workspace (`None`: the whole organization) used in some hours, by hour and model, up to `now`.
    pub fn used(
        &mut self,
        workspace: Option<&str>,
        hours: HourSpan,
        now: Timestamp,
    ) -> BTreeMap<Hour, Models> {
        let now = self.lag_until.map_or(now, |until| until.min(now));
        self.live_until(now);
        let mut sums: BTreeMap<Hour, Models> = BTreeMap::new();
        let last = Hour::of(now).plus(1);
        let hours = HourSpan {
            start: hours.start,
            end: hours.end.min(last),
        };
        if hours.is_empty() {
            return sums;
        }
        let is_asked = |id: &str| workspace.is_none_or(|wanted| wanted == id);
        for (_, rows) in self.used.iter().filter(|(id, _)| is_asked(id)) {
            for (hour, models) in rows.range(hours.start..hours.end) {
                let sum = sums.entry(*hour).or_default();
                for (model, used) in models {
                    *sum.entry(model.clone()).or_default() += *used;
                }
            }
        }
        let open = Hour::of(now);
        if hours.contains(open) {
            self.add_running(&mut sums, open, now, &is_asked);
        }
        for runaway in self
            .runaways
            .iter()
            .filter(|runaway| is_asked(&runaway.workspace))
        {
            add_runaway(&mut sums, runaway, hours, now);
        }
        sums
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

    /// The truth: what a workspace (`None`: the whole) spent in some hours, corrections of its days included.
    pub fn spent(&mut self, workspace: Option<&str>, hours: HourSpan, now: Timestamp) -> Usd {
        let by_hour = self.used(workspace, hours, now);
        let of_hours: i64 = by_hour
            .values()
            .flat_map(|models| models.values())
            .map(|used| used.micros)
            .sum();
        let mut of_days = 0;
        let mut day = hours.start.day();
        while day.last_hour() < hours.end {
            of_days += self.day_extra(workspace, day);
            day = day.plus(1);
        }
        Usd::from_pico(i128::from(of_hours + of_days) * 1_000_000)
    }

    /// Habits become facts for every hour that is over.
    fn live_until(&mut self, now: Timestamp) {
        let end = Hour::of(now);
        let Some(first) = self.habits.values().map(|habit| habit.launched).min() else {
            return;
        };
        let start = self.habits_until.unwrap_or(first);
        if start >= end {
            return;
        }
        for hour in (start.count()..end.count()).map(Hour::from_count) {
            for ((workspace, model), habit) in &self.habits {
                let micros = spending::spend(self.seed, habit, salt(workspace, model), hour);
                if micros > 0 {
                    let models = self
                        .used
                        .entry(workspace.clone())
                        .or_default()
                        .entry(hour)
                        .or_default();
                    *models.entry(model.clone()).or_default() += typical(micros);
                }
            }
        }
        self.habits_until = Some(end);
    }

    fn add_running(
        &self,
        sums: &mut BTreeMap<Hour, Models>,
        open: Hour,
        now: Timestamp,
        is_asked: &impl Fn(&str) -> bool,
    ) {
        let into = now.duration_since(open.start()).as_secs();
        for ((workspace, model), habit) in self.habits.iter().filter(|((id, _), _)| is_asked(id)) {
            let micros =
                spending::spend(self.seed, habit, salt(workspace, model), open) * into / 3600;
            if micros > 0 {
                *sums
                    .entry(open)
                    .or_default()
                    .entry(model.clone())
                    .or_default() += typical(micros);
            }
        }
    }
}

/// A loop's spend, second by second, in the hours asked for.
fn add_runaway(
    sums: &mut BTreeMap<Hour, Models>,
    runaway: &Runaway,
    hours: HourSpan,
    now: Timestamp,
) {
    let n_seconds = now.duration_since(runaway.since).as_secs().clamp(0, 7200);
    for second in 0..n_seconds {
        let at = Timestamp::from_second(runaway.since.as_second() + second).unwrap_or(now);
        let hour = Hour::of(at);
        if hours.contains(hour) {
            let n_doublings = (second / runaway.doubles_after.max(1)).min(9);
            let micros = runaway.micros_per_second << n_doublings;
            *sums
                .entry(hour)
                .or_default()
                .entry(runaway.model.clone())
                .or_default() += typical(micros);
        }
    }
}

/// Tokens and requests that go with a spend.
fn typical(micros: i64) -> Used {
    Used {
        micros,
        input: micros / 6,
        output: micros / 30,
        cache_read: micros / 3,
        requests: (micros / 20_000).max(1),
    }
}

fn salt(workspace: &str, model: &str) -> u64 {
    workspace
        .bytes()
        .chain(model.bytes())
        .fold(7, |hash, byte| spending::mix(hash ^ u64::from(byte)))
}

/// USD with up to six decimals; panics on anything else, as only tests write such texts.
fn micros(usd: &str) -> i64 {
    let pico = Usd::parse(usd).expect("an amount").pico();
    assert!(pico % 1_000_000 == 0, "`{usd}` has more than six decimals");
    i64::try_from(pico / 1_000_000).expect("a sane amount")
}
