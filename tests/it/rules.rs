//! Rules as users write them: each file in `tests/rules` has a configuration, events over time and the expected
//! notifications. The real cycle runs against the simulator.

mod script;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::cycle::configured;
use spendwatch::cycle::settings::WatcherSettings;
use spendwatch::cycle::state::Watcher;
use spendwatch_config::Config;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::harness::WatcherFixture;
use script::{Expected, Script, Step};

/// Each scenario is a test with the name of its file.
macro_rules! scenarios {
    ($($name:ident)+) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test]
            async fn $name() {
                check(stringify!($name)).await;
            }
        )+
    };
}

scenarios! {
    a_berlin_day_of_23_hours
    a_berlin_day_of_25_hours
    a_correction_that_comes_days_later
    a_limit_for_each_subject
    a_limit_of_0_allows_nothing
    a_line_in_dollars
    a_month_ends_without_a_word
    a_pace_by_two_windows
    a_quarter_has_three_months
    a_rule_that_is_switched_off
    a_week_begins_on_monday
    an_hour_at_a_time
    case_01_a_clock_that_jumps_forward_makes_nothing_fire
    case_02_a_clock_that_jumps_back_repeats_nothing
    case_09_a_correction_that_stays_above_is_silent
    case_10_a_figure_that_swings_around_its_line
    case_17_a_restart_while_it_waits
    case_29_two_rules_for_the_same_subject
    case_32_a_limit_that_is_removed_and_one_of_0
    case_33_a_rename_while_it_fires
    case_35_a_rule_that_is_renamed_while_it_fires
    case_42_an_empty_list_of_workspaces
    data_that_grow_old
    each_model_over_all_workspaces
    each_notifier_from_its_severity_on
    each_team_and_the_unassigned
    each_team_hears_of_its_own
    each_workspace_has_its_own_alert
    escalates_from_80_to_100_percent
    escalates_only_after_waiting
    holds_on_until_clear_below
    jumps_from_40_to_130_percent
    keeps_firing_for_a_while
    labels_travel_with_the_alert
    only_what_the_globs_match
    requests_by_the_day
    says_it_again_every_six_hours
    the_last_24_hours
    the_limit_that_the_service_has_for_a_workspace
    the_limit_that_the_service_has_for_the_organization
    the_organization_is_everything
    the_unattributed_when_its_hours_are_settled
    tokens_by_the_day
    waits_for_an_hour
    without_resolved_a_line_speaks_once
    workspaces_that_are_new
}

#[test]
fn every_file_is_a_scenario() {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let file = entry.unwrap().file_name().into_string().unwrap();
        file.strip_suffix(".toml").unwrap_or(&file).to_owned()
    };
    let mut files: Vec<String> = std::fs::read_dir(folder()).unwrap().map(name).collect();
    files.sort();
    assert_eq!(files, SCENARIOS);
}

#[tokio::test]
async fn differences_are_printed_step_by_step() {
    let text = r#"
[[rules]]
name = "month"
limit_usd = 100

[story]
says = "A rule without thresholds speaks at its limit."

[[workspaces]]
id = "workspace_a"
name = "Alpha"

[[at]]
time = "2026-11-24T10:05:00Z"
used = [{ workspace = "workspace_a", usd = "120" }]
tells = "nothing"
"#;
    let difference = run(text).await.unwrap_err();
    insta::assert_snapshot!(difference, @r"
    A rule without thresholds speaks at its limit.
    ! 2026-11-24T10:05:00Z
        expected  nothing
        actual    to console: month of acme 100% first critical, 120 of 100 in 2026-11
    ");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

async fn check(name: &str) {
    let file = folder().join(name).with_extension("toml");
    let text = std::fs::read_to_string(&file).unwrap();
    if let Err(difference) = run(&text).await {
        panic!("{}\n{difference}", file.display());
    }
}

/// Runs a scenario; the error contains the scenario up to the difference.
async fn run(text: &str) -> Result<(), String> {
    let script = Script::read(text)?;
    let settings = settings(&script.config()?);
    let start = script.at.first().ok_or("nothing happens")?.time();
    let mut fixture = WatcherFixture::new(world(&script), &start.to_string()).await;
    fixture.policy = settings.policy.clone();
    let mut run = ScenarioRun {
        store: fixture.open_store(),
        watcher: None,
        fixture,
        settings,
    };
    let mut lines = vec![script.story.says.clone()];
    for step in &script.at {
        for (at, sent) in run.until(step, script.story.every()).await {
            if !sent.is_empty() {
                lines.extend(difference(at, &[], &sent));
                return Err(lines.join("\n"));
            }
        }
        let messages = run.step(step).await?;
        let n_messages = messages.len();
        let sent = facts(messages);
        if !step.expected().accepts(&sent) {
            lines.extend(difference(step.time(), step.expected().0, &sent));
            return Err(lines.join("\n"));
        }
        if step
            .n_messages
            .is_some_and(|expected| expected != n_messages)
        {
            lines.push(format!("! {} in {n_messages} messages", step.time()));
            return Err(lines.join("\n"));
        }
        lines.push(format!("  {}  {}", step.time(), list(&sent)));
    }
    Ok(())
}

type Notification = (NotifierName, Fact);
type Message = (NotifierName, Vec<Fact>);

fn difference(at: Timestamp, expected: &[Expected], sent: &[Notification]) -> Vec<String> {
    let expected: Vec<String> = expected.iter().map(Expected::to_string).collect();
    let expected = if expected.is_empty() {
        "nothing".to_owned()
    } else {
        expected.join("\n              ")
    };
    vec![
        format!("! {at}"),
        format!("    expected  {expected}"),
        format!("    actual    {}", list(sent)),
    ]
}

fn list(sent: &[Notification]) -> String {
    let lines: Vec<String> = sent
        .iter()
        .map(|(notifier, fact)| Expected::whole(notifier, fact).to_string())
        .collect();
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join("\n              ")
    }
}

fn settings(config: &Config) -> WatcherSettings {
    let mut settings = configured::settings(config, &config.organizations[0]);
    for delivery in settings.delivery.values_mut() {
        delivery.group_wait = SignedDuration::ZERO;
    }
    settings
}

fn facts(messages: Vec<Message>) -> Vec<Notification> {
    let to_notifications = |(notifier, facts): Message| {
        let sent = move |fact| (notifier.clone(), fact);
        facts.into_iter().map(sent).collect::<Vec<_>>()
    };
    messages.into_iter().flat_map(to_notifications).collect()
}

fn world(script: &Script) -> World {
    let mut world = World::empty();
    world
        .usage_limit
        .clone_from(&script.story.organization_limit);
    for workspace in &script.workspaces {
        world.add_workspace(&workspace.id, &workspace.name);
        world
            .workspace_mut(&workspace.id)
            .monthly_limit
            .clone_from(&workspace.limit);
    }
    world
}

struct ScenarioRun {
    fixture: WatcherFixture,
    store: Store,
    watcher: Option<Watcher>,
    settings: WatcherSettings,
}

impl ScenarioRun {
    /// Runs the cycles before a step and returns what each sent.
    async fn until(
        &mut self,
        step: &Step,
        every: SignedDuration,
    ) -> Vec<(Timestamp, Vec<Notification>)> {
        let mut sent = Vec::new();
        while self.fixture.now() + every < step.time() {
            self.pass(every);
            self.cycle().await;
            sent.push((self.fixture.now(), facts(self.messages().await)));
        }
        self.pass(step.time().duration_since(self.fixture.now()));
        sent
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Message>, String> {
        {
            let mut world = self.fixture.simulator.world();
            for used in &step.used {
                used.happen(&mut world, step.time());
            }
            for made in &step.created {
                made.happen(&mut world, step.time());
            }
            for named in &step.renamed {
                world
                    .workspace_mut(&named.workspace)
                    .name
                    .clone_from(&named.to);
            }
            for limited in &step.limited {
                limited.happen(&mut world);
            }
            for workspace in &step.archived {
                world.archive(workspace);
            }
        }
        for workspace in &step.fails {
            let fault = ServerFault::Status(400, "{}".into(), None);
            self.fixture
                .simulator
                .inject_fault(FaultTarget::usage_of(workspace), fault);
        }
        if step.empty_list {
            let list = FaultTarget::endpoint("workspaces");
            self.fixture
                .simulator
                .inject_fault(list, ServerFault::NoRows);
        }
        if step.heals {
            self.fixture.simulator.clear_faults();
        }
        if let Some(jump) = step.jump() {
            self.fixture.clock.set_wall(self.fixture.now() + jump);
        }
        if let Some(config) = step.reload() {
            self.settings = settings(&config?);
            self.fixture.policy = self.settings.policy.clone();
            let watcher = self.watcher.as_mut().ok_or("nothing runs yet")?;
            watcher.reconfigure(self.settings.clone()).await.unwrap();
            watcher.decide_and_commit().await.unwrap();
        }
        if step.restarts {
            self.watcher = None;
        }
        self.cycle().await;
        Ok(self.messages().await)
    }

    async fn cycle(&mut self) {
        if self.watcher.is_none() {
            let deps = self.fixture.deps(&self.store);
            let watcher = Watcher::open(self.settings.clone(), deps).await;
            self.watcher = Some(watcher.unwrap());
        }
        let watcher = self.watcher.as_mut().unwrap();
        self.fixture.cycle(watcher).await;
    }

    async fn messages(&self) -> Vec<Message> {
        self.fixture.deliver_messages(&self.store).await
    }

    fn pass(&self, duration: SignedDuration) {
        let duration = Duration::try_from(duration).expect("steps go forward in time");
        self.fixture.clock.advance(duration);
    }
}
