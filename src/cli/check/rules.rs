//! `check` over the rules of the configuration: one poll and one evaluation.
//!
//! It works on a private copy of the store, so that nothing is changed, or with `--notify` on the store itself, as the
//! daemon would: what was told is not told again.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::cli::check::findings::{self, Finding, Standing};
use crate::cli::check::verdict::Verdict;
use crate::cli::globals::{Failure, Globals, check_key, check_notifier};
use crate::cli::log::{self, Overrides};
use crate::cli::progress::Progress;
use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::source::Environment;
use crate::cycle::configured;
use crate::cycle::state::{Outside, Settings, Watcher, frame_keys};
use crate::delivery::configured::Senders;
use crate::delivery::resend::Resender;
use crate::delivery::{self, Worker, orphans};
use crate::domain::coverage::Reading;
use crate::domain::frame::FrameKey;
use crate::domain::period::{self, Period};
use crate::domain::plural::{agreeing, counted};
use crate::domain::resend::Sent;
use crate::domain::span::Day;
use crate::metrics::counters::{Counters, CycleOutcome};
use crate::metrics::requests::RequestCounts;
use crate::outbound::causes;
use crate::store::Store;
use crate::store::messages::{MessageFilter, MessageState};

/// Nobody waits for the next slot here; whoever waits can end it.
const PATIENCE: Duration = Duration::from_hours(24);
/// So many waiting messages are looked at.
const MAX_WAITING: u32 = 1000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Messages are sent, and what was decided is kept.
    pub is_sent: bool,
    /// Also what is quiet is listed.
    pub is_all_shown: bool,
}

/// Everything outside.
struct Surroundings<'a> {
    globals: &'a Globals,
    config: &'a Config,
    environment: &'a Environment,
    store: Store,
    is_new: bool,
    clock: Clock,
    counters: Arc<Counters>,
}

/// Polls each organization once and evaluates the rules. Exit 2 where an alert fires, told before or not, 1 where a poll
/// was incomplete or a message could not be sent, else 0.
pub async fn evaluate(
    request: Request,
    globals: &Globals,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let config = globals.load(environment)?;
    let organizations = globals.organizations(&config)?;
    if config.rules.is_empty() {
        return Err(Failure::usage(
            "the configuration has no rules; `check --limit USD` needs none",
        ));
    }
    if request.is_sent {
        for notifier in &config.notifiers {
            check_notifier(&config, notifier)?;
        }
    }
    begin_log(globals, &config, environment)?;
    let around = surroundings(request, globals, &config, environment)?;
    // Before anything is decided: who cannot be told is known while nothing is half done.
    let senders = around.senders(request).await?;
    let (mut found, mut verdict) = (Vec::new(), Verdict::default());
    for organization in organizations {
        let progress = Progress::begin(globals, format!("polling {}", organization.name));
        let looked = look(request, &around, organization).await;
        progress.end();
        match looked {
            Ok(looked) => {
                verdict.is_unknown |= looked.is_partial;
                found.extend(looked.findings);
            }
            Err(failure) => {
                failure.tell();
                verdict.is_unknown = true;
            }
        }
    }
    verdict.is_unknown |= !send(&senders.workers, &around.counters).await?;
    verdict.is_unknown |= !resend(&senders.resenders, &around.counters).await;
    let is_firing = |finding: &Finding| finding.standing == Standing::Firing;
    verdict.is_over = found.iter().any(is_firing);
    let n_firing = found.iter().filter(|finding| is_firing(finding)).count();
    let n_found = found.len();
    let (shown, n_others) = findings::worst_first(found, request.is_all_shown);
    let exit = globals.print(&findings::sheet(&shown), verdict.exit());
    globals.remark(&summary(n_firing, n_found, n_others));
    Ok(exit)
}

fn summary(n_firing: usize, n_found: usize, n_others: usize) -> String {
    let others = match n_others {
        0 => String::new(),
        1 => "; 1 quiet one is not listed, `--all` lists it".to_owned(),
        n => format!("; {n} quiet ones are not listed, `--all` lists them"),
    };
    let fire = agreeing(&n_firing, "fires", "fire");
    format!("{n_firing} of {n_found} measured {fire}{others}")
}

/// Only what is wrong.
fn begin_log(globals: &Globals, config: &Config, environment: &Environment) -> Result<(), Failure> {
    let level = if globals.quiet { "error" } else { "warn" };
    let overrides = Overrides {
        level: (!environment.contains_key("RUST_LOG")).then(|| level.to_owned()),
        is_json: None,
    };
    log::begin(&config.log, overrides, environment).map_err(Failure::usage)?;
    Ok(())
}

fn surroundings<'a>(
    request: Request,
    globals: &'a Globals,
    config: &'a Config,
    environment: &'a Environment,
) -> Result<Surroundings<'a>, Failure> {
    let clock = Clock::system();
    let path = &config.store.path;
    let is_new = !path.exists();
    let store = if request.is_sent {
        Store::open_for_daemon(path, clock.now())?
    } else {
        Store::private_copy(path)?
    };
    let names: Vec<_> = config
        .organizations
        .iter()
        .map(|o| o.name.clone())
        .collect();
    let notifiers: Vec<_> = config.notifiers.iter().map(|n| n.name.clone()).collect();
    Ok(Surroundings {
        globals,
        config,
        environment,
        store,
        is_new,
        clock,
        counters: Arc::new(Counters::new(&names, &notifiers, "")),
    })
}

impl Surroundings<'_> {
    /// Who sends; nobody where nothing is to be sent.
    async fn senders(&self, request: Request) -> Result<Senders, Failure> {
        if !request.is_sent {
            return Ok(Senders::default());
        }
        let Surroundings {
            config,
            environment,
            store,
            clock,
            ..
        } = self;
        let chance = &Chance::System;
        let senders =
            delivery::configured::senders(config, environment, store, clock, chance).await?;
        let workers = senders.workers.iter();
        let known: Vec<_> = workers.map(|worker| worker.name.clone()).collect();
        orphans::give_up(&known, store, &self.counters, clock.now()).await?;
        Ok(senders)
    }
}

struct Look {
    findings: Vec<Finding>,
    is_partial: bool,
}

async fn look(
    request: Request,
    around: &Surroundings<'_>,
    organization: &Organization,
) -> Result<Look, Failure> {
    check_key(around.config, organization)?;
    let (clock, environment) = (&around.clock, around.environment);
    let counts = Arc::new(RequestCounts::default());
    let api = wiring::command_api(organization, environment, clock, counts, Share::Daemon).await?;
    let mut settings = configured::settings(around.config, organization);
    if request.is_sent {
        // All that is decided here is decided at once: there is no company to wait for.
        for postage in settings.postage.values_mut() {
            postage.group_wait = SignedDuration::ZERO;
        }
    } else {
        settings.postage.clear();
        if around.is_new {
            settings.reading = needed(&settings, clock.now());
        }
    }
    let outside = Outside {
        api,
        store: around.store.clone(),
        clock: clock.clone(),
        chance: Chance::System,
        counters: Arc::clone(&around.counters),
        audit: None,
    };
    let mut watcher = Watcher::open(settings, outside).await?;
    watcher.believe_one_list();
    if !request.is_sent {
        watcher.judge_at_once();
    }
    let deadline = clock.running() + PATIENCE;
    let report = watcher.cycle(clock.now(), deadline).await?;
    for line in &report.troubles {
        around.globals.remark(&format!("warning: {line}"));
    }
    if let Some(problem) = report.clock {
        // What was decided before says nothing of now.
        return Err(Failure::World(format!(
            "organization `{}`: {problem}",
            organization.name
        )));
    }
    let is_partial = report.outcome != CycleOutcome::Ok;
    if is_partial {
        eprintln!(
            "error: organization `{}`: {} of {} could be read; the rest is unknown",
            organization.name,
            report.n_fresh,
            counted(report.n_parts, "part")
        );
    }
    Ok(Look {
        findings: findings::findings(&watcher),
        is_partial,
    })
}

/// What is read where nothing is kept: no more than the rules look at.
fn needed(settings: &Settings, now: Timestamp) -> Reading {
    let days_since = |key: &FrameKey| {
        let start = period::cut(key.period, &key.zone.rules, now).span.start;
        Day::of(now).count() - Day::of(start).count()
    };
    let needs_hours = |key: &&FrameKey| match key.period {
        Period::Hour | Period::Rolling(_) | Period::Complete(_) => true,
        Period::Day | Period::Week | Period::Month | Period::Quarter => &*key.zone.name != "UTC",
    };
    let keys = frame_keys(&settings.policy);
    let days = keys.iter().map(days_since).max().unwrap_or(0);
    let hourly_days = keys.iter().filter(needs_hours).map(days_since).max();
    let reading = settings.reading;
    Reading {
        history_days: reading.history_days.min(days.max(1)),
        hourly_history_days: reading.hourly_history_days.min(hourly_days.unwrap_or(0)),
        ..reading
    }
}

/// Everything that is due, once. Gives whether nothing that was tried is left.
async fn send(workers: &[Worker], counters: &Counters) -> Result<bool, Failure> {
    let mut is_all_sent = true;
    for worker in workers {
        if let Err(error) = worker.begin(counters).await {
            eprintln!("error: notifier `{}`: {}", worker.name, causes(&error));
            is_all_sent = false;
        }
    }
    // What one could not deliver goes to its fallback, which may stand before it.
    let is_fallback = |worker: &&Worker| {
        let mut fallbacks = workers.iter().filter_map(|other| other.fallback.as_ref());
        fallbacks.any(|fallback| fallback.name == worker.name)
    };
    for worker in workers.iter().chain(workers.iter().filter(is_fallback)) {
        if let Err(error) = worker.run_due(counters).await {
            eprintln!("error: notifier `{}`: {}", worker.name, causes(&error));
            is_all_sent = false;
        }
    }
    for worker in workers {
        let filter = MessageFilter {
            state: Some(MessageState::Waiting),
            notifier: Some(worker.name.clone()),
            limit: MAX_WAITING,
        };
        let waiting = worker.store.messages(&filter).await?;
        if let Some(message) = waiting.first() {
            let reason = message.last_error.as_deref().unwrap_or("not tried yet");
            let waits = match waiting.len() {
                1 => "1 message waits".to_owned(),
                n => format!("{n} messages wait"),
            };
            eprintln!(
                "error: notifier `{}`: {waits} for the next `check --notify` or a daemon: {reason}",
                worker.name
            );
            is_all_sent = false;
        }
    }
    Ok(is_all_sent)
}

/// Tells once whoever is told again and again. Gives whether all of them took it.
async fn resend(resenders: &[Resender], counters: &Counters) -> bool {
    let mut is_all_told = true;
    for resender in resenders {
        let problems = match resender.tell_once(&mut Sent::default(), counters).await {
            Ok(problems) => problems,
            Err(error) => vec![causes(&error)],
        };
        for problem in &problems {
            eprintln!("error: notifier `{}`, {problem}", resender.listener.name);
        }
        is_all_told &= problems.is_empty();
    }
    is_all_told
}
