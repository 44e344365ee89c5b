//! `check` over the rules of the configuration: one poll and one evaluation.
//!
//! Works on a private copy of the store, so that nothing changes, or with `--notify` on the store itself, as the daemon does,
//! so that no message is sent twice.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::app::wiring;
use crate::cli::check::findings::{self, RuleFinding, RuleStatus};
use crate::cli::check::outcome::CheckOutcome;
use crate::cli::globals::{CommandError, Globals, check_key, check_notifier};
use crate::cli::log::{self, LogOverrides};
use crate::cli::progress::CommandProgress;
use crate::cycle::configured;
use crate::cycle::settings::{WatcherDeps, WatcherSettings};
use crate::cycle::state::{Watcher, gauge_and_rule_keys};
use crate::delivery::configured::Senders;
use crate::delivery::resend::Resender;
use crate::delivery::{self, DeliveryWorker, orphans};
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::outbound::error_chain;
use spendwatch_config::Config;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::resend::ResendState;
use spendwatch_domain::figures::period_sums::PeriodKey;
use spendwatch_domain::ledger::coverage::PollSettings;
use spendwatch_domain::units::period::{self, Period};
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_domain::units::span::Day;
use spendwatch_metrics::counters::{Counters, CycleOutcome};
use spendwatch_store::Store;
use spendwatch_store::outbox::messages::{MessageFilter, MessageState};

/// Deadline of the cycle. There is no next slot to wait for, and the user can interrupt the command.
const CYCLE_DEADLINE: Duration = Duration::from_hours(24);
/// So many waiting messages are result at.
const MAX_WAITING: u32 = 1000;

/// Options of the evaluation.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest {
    /// Send messages and store the decisions.
    pub notify: bool,
    /// List quiet subjects too.
    pub show_all: bool,
}

/// Inputs shared by all organizations.
struct CheckContext<'a> {
    globals: &'a Globals,
    config: &'a Config,
    environment: &'a Environment,
    store: Store,
    is_new: bool,
    clock: Clock,
    counters: Arc<Counters>,
}

/// Polls each organization once and evaluates the rules. Returns exit code 2 if an alert fires, whether sent before or not, 1 if
/// a poll was incomplete or a message could not be sent, else 0.
pub async fn evaluate(
    request: CheckRequest,
    globals: &Globals,
    environment: &Environment,
) -> Result<ExitCode, CommandError> {
    let config = globals.load(environment)?;
    let organizations = globals.organizations(&config)?;
    if config.rules.is_empty() {
        return Err(CommandError::usage(
            "the configuration has no rules; `check --limit USD` needs none",
        ));
    }
    if request.notify {
        for notifier in &config.notifiers {
            check_notifier(&config, notifier)?;
        }
    }
    begin_log(globals, &config, environment)?;
    let context = check_context(request, globals, &config, environment)?;
    // Finds unusable notifiers before anything is decided.
    let senders = context.senders(request).await?;
    let (mut found, mut outcome) = (Vec::new(), CheckOutcome::default());
    for organization in organizations {
        let progress = CommandProgress::start(globals, format!("polling {}", organization.name));
        let result = check_organization(request, &context, organization).await;
        progress.finish();
        match result {
            Ok(result) => {
                outcome.is_unknown |= result.is_partial;
                found.extend(result.findings);
            }
            Err(error) => {
                error.report();
                outcome.is_unknown = true;
            }
        }
    }
    outcome.is_unknown |= !send(&senders.workers, &context.counters).await?;
    outcome.is_unknown |= !resend(&senders.resenders, &context.counters).await;
    let is_firing = |finding: &RuleFinding| finding.status == RuleStatus::Firing;
    outcome.is_over = found.iter().any(is_firing);
    let n_firing = found.iter().filter(|finding| is_firing(finding)).count();
    let n_found = found.len();
    let (shown, n_others) = findings::worst_first(found, request.show_all);
    let exit = globals.print(&findings::table(&shown), outcome.exit());
    globals.remark(&summary(n_firing, n_found, n_others));
    Ok(exit)
}

fn summary(n_firing: usize, n_found: usize, n_others: usize) -> String {
    let others = match n_others {
        0 => String::new(),
        1 => "; 1 quiet one not shown; pass `--all` to show it".to_owned(),
        n => format!("; {n} quiet ones not shown; pass `--all` to show them"),
    };
    let fire = agreeing(&n_firing, "fires", "fire");
    format!("{n_firing} of {n_found} measured {fire}{others}")
}

fn begin_log(
    globals: &Globals,
    config: &Config,
    environment: &Environment,
) -> Result<(), CommandError> {
    let level = if globals.quiet { "error" } else { "warn" };
    let overrides = LogOverrides {
        level: (!environment.contains_key("RUST_LOG")).then(|| level.to_owned()),
        is_json: None,
    };
    log::begin(&config.log, overrides, environment).map_err(CommandError::usage)?;
    Ok(())
}

fn check_context<'a>(
    request: CheckRequest,
    globals: &'a Globals,
    config: &'a Config,
    environment: &'a Environment,
) -> Result<CheckContext<'a>, CommandError> {
    let clock = Clock::system();
    let path = &config.store.path;
    let is_new = !path.exists();
    let store = if request.notify {
        Store::open_for_daemon(path, clock.now())?
    } else {
        Store::private_copy(path)?
    };
    Ok(CheckContext {
        globals,
        config,
        environment,
        store,
        is_new,
        clock,
        counters: Arc::new(Counters::new("")),
    })
}

impl CheckContext<'_> {
    /// Returns the senders; none without `--notify`.
    async fn senders(&self, request: CheckRequest) -> Result<Senders, CommandError> {
        if !request.notify {
            return Ok(Senders::default());
        }
        let CheckContext {
            config,
            environment,
            store,
            clock,
            ..
        } = self;
        let random = &Random::System;
        let senders =
            delivery::configured::senders(config, environment, store, clock, random).await?;
        let workers = senders.workers.iter();
        let known: Vec<_> = workers.map(|worker| worker.name.clone()).collect();
        orphans::give_up(&known, store, &self.counters, clock.now()).await?;
        Ok(senders)
    }
}

struct CheckResult {
    findings: Vec<RuleFinding>,
    is_partial: bool,
}

async fn check_organization(
    request: CheckRequest,
    context: &CheckContext<'_>,
    organization: &OrganizationConfig,
) -> Result<CheckResult, CommandError> {
    check_key(context.config, organization)?;
    let (clock, environment) = (&context.clock, context.environment);
    let counts = Arc::new(RequestCounts::default());
    let api =
        wiring::command_api(organization, environment, clock, counts, RateShare::Daemon).await?;
    let mut settings = configured::settings(context.config, organization);
    if request.notify {
        // Everything is decided at once, so there is nothing to group.
        for postage in settings.delivery.values_mut() {
            postage.group_wait = SignedDuration::ZERO;
        }
    } else {
        settings.delivery.clear();
        if context.is_new {
            settings.poll = needed_polls(&settings, clock.now());
        }
    }
    let outside = WatcherDeps {
        api,
        store: context.store.clone(),
        clock: clock.clone(),
        random: Random::System,
        counters: Arc::clone(&context.counters),
        audit: None,
    };
    let mut watcher = Watcher::open(settings, outside).await?;
    watcher.trust_single_list();
    if !request.notify {
        watcher.evaluate_immediately();
    }
    let deadline = clock.monotonic() + CYCLE_DEADLINE;
    let report = watcher.cycle(clock.now(), deadline).await?;
    for line in &report.errors {
        context.globals.remark(&format!("warning: {line}"));
    }
    if let Some(problem) = report.clock {
        // Earlier decisions say nothing about the current state.
        return Err(CommandError::Failed(format!(
            "organization `{}`: {problem}",
            organization.name
        )));
    }
    let is_partial = report.outcome != CycleOutcome::Ok;
    if is_partial {
        eprintln!(
            "error: organization `{}`: only {} of {} could be read; the rest is unknown",
            organization.name,
            report.n_fresh,
            counted(report.n_parts, "part")
        );
    }
    Ok(CheckResult {
        findings: findings::findings(&watcher),
        is_partial,
    })
}

/// Restricts reading to what the rules need, because nothing is stored.
fn needed_polls(settings: &WatcherSettings, now: Timestamp) -> PollSettings {
    let days_since = |key: &PeriodKey| {
        let start = period::containing(key.period, &key.zone.rules, now)
            .span
            .start;
        Day::containing(now).count() - Day::containing(start).count()
    };
    let needs_hours = |key: &&PeriodKey| match key.period {
        Period::Hour | Period::Rolling(_) | Period::Complete(_) => true,
        Period::Day | Period::Week | Period::Month | Period::Quarter => &*key.zone.name != "UTC",
    };
    let keys = gauge_and_rule_keys(&settings.policy);
    let days = keys.iter().map(days_since).max().unwrap_or(0);
    let hourly_days = keys.iter().filter(needs_hours).map(days_since).max();
    let reading = settings.poll;
    PollSettings {
        history_days: reading.history_days.min(days.max(1)),
        hourly_history_days: reading.hourly_history_days.min(hourly_days.unwrap_or(0)),
        ..reading
    }
}

/// Sends everything that is due once. Returns whether all of it was delivered.
async fn send(workers: &[DeliveryWorker], counters: &Counters) -> Result<bool, CommandError> {
    let mut is_all_sent = true;
    for worker in workers {
        if let Err(error) = worker.resume(counters).await {
            eprintln!("error: notifier `{}`: {}", worker.name, error_chain(&error));
            is_all_sent = false;
        }
    }
    // A fallback may come earlier in the list and receives messages that failed later.
    let is_fallback = |worker: &&DeliveryWorker| {
        let mut fallbacks = workers.iter().filter_map(|other| other.fallback.as_ref());
        fallbacks.any(|fallback| fallback.name == worker.name)
    };
    for worker in workers.iter().chain(workers.iter().filter(is_fallback)) {
        if let Err(error) = worker.run_due(counters).await {
            eprintln!("error: notifier `{}`: {}", worker.name, error_chain(&error));
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
            let reason = message.last_error.as_deref().unwrap_or("not attempted yet");
            let waits = match waiting.len() {
                1 => "1 message is waiting".to_owned(),
                n => format!("{n} messages are waiting"),
            };
            eprintln!(
                "error: notifier `{}`: {waits} for the next `check --notify` or daemon: {reason}",
                worker.name
            );
            is_all_sent = false;
        }
    }
    Ok(is_all_sent)
}

/// Sends firing alerts once to notifiers with state. Returns whether all of them accepted.
async fn resend(resenders: &[Resender], counters: &Counters) -> bool {
    let mut is_all_sent = true;
    for resender in resenders {
        let problems = match resender
            .send_once(&mut ResendState::default(), counters)
            .await
        {
            Ok(problems) => problems,
            Err(error) => vec![error_chain(&error)],
        };
        for problem in &problems {
            eprintln!("error: notifier `{}`, {problem}", resender.target.name);
        }
        is_all_sent &= problems.is_empty();
    }
    is_all_sent
}
