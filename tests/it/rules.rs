//! Rules as users would write them: every file of `tests/rules` is a configuration, what happens in time, and what is told
//! then. The real cycle runs on the simulated service.

mod script;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spendwatch::config::Config;
use spendwatch::cycle::configured;
use spendwatch::cycle::state::{Settings, Watcher};
use spendwatch::domain::ids::NotifierName;
use spendwatch::domain::notification::Fact;
use spendwatch::simulator::faults::{Fault, FaultOn};
use spendwatch::simulator::world::World;
use spendwatch::store::Store;

use crate::harness::Stage;
use script::{Expected, Script, Step};

/// So many stories there are at least: a folder that is not found is no success.
const N_STORIES: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn every_story_is_told_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= N_STORIES, "only {} stories", files.len());
    let stories: Vec<_> = files
        .into_iter()
        .map(|file| tokio::spawn(tell(file)))
        .collect();
    let mut failed = Vec::new();
    for story in stories {
        failed.extend(story.await.unwrap());
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[tokio::test]
async fn a_story_that_goes_otherwise_is_told_line_by_line() {
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
        told      to console: month of acme 100% first critical, 120 of 100 in 2026-11
    ");
}

/// The story of a file; gives what differs.
async fn tell(file: PathBuf) -> Option<String> {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let told = run(&text).await;
    told.err().map(|difference| format!("{name}: {difference}"))
}

/// What differs, as the whole story up to there.
async fn run(text: &str) -> Result<(), String> {
    let script = Script::read(text)?;
    let settings = settings(&script.config()?);
    let start = script.at.first().ok_or("nothing happens")?.time();
    let mut stage = Stage::new(world(&script), &start.to_string()).await;
    stage.policy = settings.policy.clone();
    let mut story = Story {
        store: stage.open_store(),
        watcher: None,
        stage,
        settings,
    };
    let mut lines = vec![script.story.says.clone()];
    for step in &script.at {
        for (at, told) in story.until(step, script.story.every()).await {
            if !told.is_empty() {
                lines.extend(difference(at, &[], &told));
                return Err(lines.join("\n"));
            }
        }
        let messages = story.step(step).await?;
        let n_messages = messages.len();
        let told = facts(messages);
        if !step.expected().accepts(&told) {
            lines.extend(difference(step.time(), step.expected().0, &told));
            return Err(lines.join("\n"));
        }
        if step
            .n_messages
            .is_some_and(|expected| expected != n_messages)
        {
            lines.push(format!("! {} in {n_messages} messages", step.time()));
            return Err(lines.join("\n"));
        }
        lines.push(format!("  {}  {}", step.time(), listed(&told)));
    }
    Ok(())
}

type Told = (NotifierName, Fact);
type Message = (NotifierName, Vec<Fact>);

fn difference(at: Timestamp, expected: &[Expected], told: &[Told]) -> Vec<String> {
    let expected: Vec<String> = expected.iter().map(Expected::to_string).collect();
    let expected = if expected.is_empty() {
        "nothing".to_owned()
    } else {
        expected.join("\n              ")
    };
    vec![
        format!("! {at}"),
        format!("    expected  {expected}"),
        format!("    told      {}", listed(told)),
    ]
}

fn listed(told: &[Told]) -> String {
    let lines: Vec<String> = told
        .iter()
        .map(|(notifier, fact)| Expected::whole(notifier, fact).to_string())
        .collect();
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join("\n              ")
    }
}

fn settings(config: &Config) -> Settings {
    let mut settings = configured::settings(config, &config.organizations[0]);
    for postage in settings.postage.values_mut() {
        postage.group_wait = SignedDuration::ZERO;
    }
    settings
}

fn facts(messages: Vec<Message>) -> Vec<Told> {
    let of_message = |(notifier, facts): Message| {
        let told = move |fact| (notifier.clone(), fact);
        facts.into_iter().map(told).collect::<Vec<_>>()
    };
    messages.into_iter().flat_map(of_message).collect()
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

struct Story {
    stage: Stage,
    store: Store,
    watcher: Option<Watcher>,
    settings: Settings,
}

impl Story {
    /// Cycles of the time before a step, each with what was told in it.
    async fn until(&mut self, step: &Step, every: SignedDuration) -> Vec<(Timestamp, Vec<Told>)> {
        let mut told = Vec::new();
        while self.stage.now() + every < step.time() {
            self.pass(every);
            self.cycle().await;
            told.push((self.stage.now(), facts(self.messages().await)));
        }
        self.pass(step.time().duration_since(self.stage.now()));
        told
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Message>, String> {
        {
            let mut world = self.stage.simulator.world();
            for used in &step.used {
                used.happen(&mut world, step.time());
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
            let fault = Fault::Status(400, "{}".into(), None);
            self.stage
                .simulator
                .fail(FaultOn::usage_of(workspace), fault);
        }
        if step.empty_list {
            let list = FaultOn::endpoint("workspaces");
            self.stage.simulator.fail(list, Fault::NoRows);
        }
        if step.heals {
            self.stage.simulator.heal();
        }
        if let Some(jump) = step.jump() {
            self.stage.clock.set_wall(self.stage.now() + jump);
        }
        if let Some(config) = step.reload() {
            self.settings = settings(&config?);
            self.stage.policy = self.settings.policy.clone();
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
            let outside = self.stage.outside(&self.store);
            let watcher = Watcher::open(self.settings.clone(), outside).await;
            self.watcher = Some(watcher.unwrap());
        }
        let watcher = self.watcher.as_mut().unwrap();
        self.stage.cycle(watcher).await;
    }

    async fn messages(&self) -> Vec<Message> {
        self.stage.deliver_messages(&self.store).await
    }

    fn pass(&self, duration: SignedDuration) {
        let duration = Duration::try_from(duration).expect("steps go forward in time");
        self.stage.clock.advance(duration);
    }
}
