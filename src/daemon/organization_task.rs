//! The task of one organization: runs scheduled cycles, applies new configurations, and starts over from the store after a
//! store error.

use std::mem;
use std::pin::pin;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::published::{ClockState, OrganizationStatus};
use crate::app::{App, wiring};
use crate::cycle::settings::{WatcherDeps, WatcherSettings};
use crate::cycle::state::Watcher;
use crate::cycle::summary::CycleSummary;
use crate::delivery::orphans;
use spendwatch_anthropic::AdminApi;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_domain::units::plural::counted;
use spendwatch_domain::units::schedule::{Due, Schedule, due};
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_metrics::exposition::MAX_KEPT_TEXT;
use spendwatch_metrics::gauges::Renderer;
use spendwatch_metrics::view::SeriesOptions;
use spendwatch_store::error::StoreError;

/// Maximum length of a cycle if the schedule has no later slot.
const DEFAULT_CYCLE_LENGTH: Duration = Duration::from_mins(5);
/// Maximum length of a wait, because the wall clock may be set meanwhile.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// Clock difference above which a warning is logged.
const SKEW_WARNING: SignedDuration = SignedDuration::from_mins(1);
/// Pause after a store error; doubled after each further one.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause after a store error.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Everything needed to watch one organization.
pub struct WatchSetup {
    /// For the source of its key.
    pub organization: OrganizationConfig,
    pub api: AdminApi,
    pub settings: WatcherSettings,
    pub schedule: Schedule,
    pub shape: SeriesOptions,
}

/// Watches an organization until the sender of `new_setups` is dropped. Each one is a new configuration.
pub async fn watch(
    app: &App,
    mut setup: WatchSetup,
    mut new_setups: UnboundedReceiver<WatchSetup>,
) {
    let name = setup.organization.name.clone();
    let mut pause = MIN_PAUSE;
    let mut parked = app.wakeups.subscribe_parked();
    loop {
        let started = app.clock.monotonic();
        let error = match open(app, &setup).await {
            Ok(mut watcher) => {
                let channels = (&mut new_setups, &mut parked);
                match run_cycles(app, &mut watcher, &mut setup, channels, &mut pause).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => {
                count_failed(app, &name, started);
                error
            }
        };
        // The decision about a parked notifier may be what failed.
        parked.mark_changed();
        let reason = error_chain(&error);
        // Publish before logging, so that the health page is up to date when the log line appears.
        app.published
            .record_failure(&name, reason.clone(), app.clock.now());
        let seconds = pause.as_secs();
        if app.store.note_failure(&store_key(&name), &error) {
            tracing::error!(
                organization.name = %name,
                "{reason}; watching nothing until the store works, retrying in {seconds} s, then less often"
            );
        }
        tokio::select! {
            () = app.clock.sleep(pause) => {}
            new_setup = new_setups.recv() => match new_setup {
                Some(new_setup) => setup = new_setup,
                None => return,
            },
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Returns the key by which the store counts failures.
pub fn store_key(name: &OrganizationName) -> String {
    format!("organization `{name}`")
}

/// Counts a cycle that a store error prevented.
fn count_failed(app: &App, name: &OrganizationName, started: Duration) {
    let elapsed = app.clock.monotonic().saturating_sub(started);
    let outcome = CycleOutcome::Failed;
    app.counters
        .count_cycle(name, outcome, elapsed.as_secs_f64());
}

async fn open(app: &App, setup: &WatchSetup) -> Result<Watcher, StoreError> {
    app.store.check_files()?;
    give_up_orphans(app, setup).await?;
    let deps = WatcherDeps {
        api: setup.api.clone(),
        store: app.store.clone(),
        clock: app.clock.clone(),
        random: app.random.clone(),
        counters: app.counters.clone(),
        audit: app.audit.clone(),
    };
    Watcher::open(setup.settings.clone(), deps).await
}

/// Runs cycles and handles new setups and parked notifiers until no more setups can come. Fails on a store error.
async fn run_cycles(
    app: &App,
    watcher: &mut Watcher,
    setup: &mut WatchSetup,
    (new_setups, parked): (&mut UnboundedReceiver<WatchSetup>, &mut watch::Receiver<()>),
    pause: &mut Duration,
) -> Result<(), StoreError> {
    let mut cut_short = None;
    let mut gauges = Renderer::default();
    loop {
        let next = match cut_short.take() {
            Some(slot) => Due::Now(slot),
            None => due(&setup.schedule, watcher.engine.last_cycle, app.clock.now()),
        };
        let new_setup = match next {
            Due::Now(slot) => {
                let new_setup = run_slot(app, watcher, setup, new_setups, slot).await?;
                *pause = MIN_PAUSE;
                publish_gauges(app, watcher, setup, &mut gauges);
                cut_short = new_setup.is_some().then_some(slot);
                new_setup
            }
            Due::At(_) | Due::Never => {
                let wait = match next {
                    Due::At(at) => at.duration_since(app.clock.now()).min(MAX_WAIT),
                    Due::Now(_) | Due::Never => MAX_WAIT,
                };
                let time = Duration::try_from(wait).unwrap_or_default();
                tokio::select! {
                    biased;
                    new_setup = new_setups.recv() => Some(new_setup),
                    // The sender exists as long as the daemon.
                    Ok(()) = parked.changed() => {
                        // The fallback of the parked notifier may have to be notified.
                        if watcher.decide_between_cycles().await? > 0 {
                            app.wakeups.wake_all();
                        }
                        publish_gauges(app, watcher, setup, &mut gauges);
                        None
                    }
                    () = app.clock.sleep(time) => None,
                }
            }
        };
        match new_setup {
            None => {}
            Some(Some(new_setup)) => {
                apply_setup(app, watcher, setup, new_setup).await?;
                gauges = Renderer::default();
                publish_gauges(app, watcher, setup, &mut gauges);
            }
            Some(None) => return Ok(()),
        }
    }
}

/// Publishes the current gauges, unless nothing changed.
fn publish_gauges(app: &App, watcher: &mut Watcher, setup: &WatchSetup, gauges: &mut Renderer) {
    if !mem::take(&mut watcher.has_view_changed) {
        return;
    }
    let view = watcher.view();
    let is_text_kept = app.published.exposition().len() <= MAX_KEPT_TEXT;
    let rendered = gauges.render(&view, setup.shape, is_text_kept);
    app.published.set_gauges(&setup.organization.name, rendered);
}

/// A received setup; `Some(None)` if no more can come, `None` if the wait ended without one.
type Interruption = Option<Option<WatchSetup>>;

/// Runs one cycle, and a second one if the key was rejected and its source has a new one.
async fn run_slot(
    app: &App,
    watcher: &mut Watcher,
    setup: &WatchSetup,
    new_setups: &mut UnboundedReceiver<WatchSetup>,
    slot: Timestamp,
) -> Result<Interruption, StoreError> {
    let (summary, interruption) = run_cycle(app, watcher, setup, new_setups, slot).await?;
    if interruption.is_none()
        && summary.is_refused
        && has_new_key(app, watcher, &setup.organization).await
    {
        return Ok(run_cycle(app, watcher, setup, new_setups, slot).await?.1);
    }
    Ok(interruption)
}

/// Runs one cycle, which a new setup cuts short.
async fn run_cycle(
    app: &App,
    watcher: &mut Watcher,
    setup: &WatchSetup,
    new_setups: &mut UnboundedReceiver<WatchSetup>,
    slot: Timestamp,
) -> Result<(CycleSummary, Interruption), StoreError> {
    let length = time_left(&setup.schedule, slot, app.clock.now());
    let started = app.clock.monotonic();
    watcher.cancel = CancellationToken::new();
    let cancel = watcher.cancel.clone();
    let mut cycle = pin!(watcher.cycle(slot, started + length));
    let (summary, interruption) = tokio::select! {
        summary = &mut cycle => (summary, None),
        new_setup = new_setups.recv() => {
            cancel.cancel();
            (cycle.await, Some(new_setup))
        }
    };
    let name = &setup.organization.name;
    let summary = summary.inspect_err(|_| count_failed(app, name, started))?;
    if app.store.note_success(&store_key(name)) {
        tracing::info!(organization.name = %name, "organization `{name}`: the store is working again");
    }
    let elapsed = app.clock.monotonic().saturating_sub(started);
    publish_cycle(app, setup, &summary, elapsed);
    Ok((summary, interruption))
}

/// Publishes and logs the result of a cycle: one line for the cycle and one for each error.
fn publish_cycle(app: &App, setup: &WatchSetup, summary: &CycleSummary, elapsed: Duration) {
    let name = &setup.organization.name;
    // Publish before logging, so that the status is up to date when the log line appears.
    let skew = setup.api.skew().filter(|skew| skew.abs() > SKEW_WARNING);
    let clock = match (summary.clock, skew) {
        (Some(_), _) => ClockState::Wrong,
        (None, Some(_)) => ClockState::Skewed,
        (None, None) => ClockState::InSync,
    };
    let problem = summary.clock.iter().map(ToString::to_string);
    let reasons = summary.errors.iter().chain(&summary.unreadable);
    let difference = summary.difference.iter().map(ToString::to_string);
    let status = OrganizationStatus {
        last_cycle: Some((summary.outcome, app.clock.now())),
        reasons: problem.chain(reasons.cloned()).collect(),
        remarks: difference.chain(summary.remarks.iter().cloned()).collect(),
        has_difference: summary.difference.is_some(),
        clock,
    };
    let before = app.published.record_cycle(name, status);
    let clock_before = before
        .as_ref()
        .map(|before| before.clock)
        .unwrap_or_default();
    log_clock(name, summary, skew, (clock_before, clock));
    for line in &summary.errors {
        tracing::warn!(organization.name = %name, "{line}");
    }
    // Log a difference once, because both sums change all the time.
    let was_different = before.is_some_and(|before| before.has_difference);
    match summary.difference {
        Some(difference) if !was_different => {
            tracing::warn!(organization.name = %name, "organization `{name}`: {difference}");
        }
        None if was_different => tracing::info!(
            organization.name = %name,
            "organization `{name}`: the ledger and Anthropic's statement agree on this month again"
        ),
        Some(_) | None => {}
    }
    tracing::info!(
        organization.name = %name,
        outcome = summary.outcome.as_str(),
        duration_ms = elapsed.as_millis(),
        "cycle {}: {} of {} read, {}",
        summary.outcome.as_str(), summary.n_fresh, summary.n_parts, counted(summary.n_messages, "message")
    );
    app.wakeups.wake_all();
    if app.published.are_all_complete() {
        app.cycle_completed.notify_one();
    }
}

/// Logs when the clock becomes wrong or inaccurate, and when it is right again.
fn log_clock(
    name: &OrganizationName,
    summary: &CycleSummary,
    skew: Option<SignedDuration>,
    (before, now): (ClockState, ClockState),
) {
    if before == now {
        return;
    }
    match (summary.clock, skew) {
        (Some(problem), _) => {
            tracing::error!(organization.name = %name, "organization `{name}`: {problem}");
        }
        (None, Some(skew)) => tracing::warn!(
            organization.name = %name,
            "organization `{name}`: the `Date` of the Admin API is {} s {} this machine's clock; check the time \
             synchronization (NTP) of this machine",
            skew.as_secs().abs(),
            if skew.is_negative() { "behind" } else { "ahead of" }
        ),
        (None, None) => tracing::info!(
            organization.name = %name,
            "organization `{name}`: the clock agrees with the Admin API again, resuming decisions and storing"
        ),
    }
}

/// Reads the key from its source again. Returns whether it has changed.
async fn has_new_key(app: &App, watcher: &Watcher, organization: &OrganizationConfig) -> bool {
    match wiring::admin_key(organization, &app.environment).await {
        Ok(key) => watcher.api.set_key(key),
        Err(error) => {
            tracing::warn!(organization.name = %organization.name, "cannot reread the admin key, keeping the current one: {error:#}");
            false
        }
    }
}

/// Applies a new configuration and evaluates it immediately on the existing figures.
async fn apply_setup(
    app: &App,
    watcher: &mut Watcher,
    setup: &mut WatchSetup,
    new_setup: WatchSetup,
) -> Result<(), StoreError> {
    *setup = new_setup;
    watcher.api = setup.api.clone();
    watcher.reconfigure(setup.settings.clone()).await?;
    watcher.decide_between_cycles().await?;
    // After the last decision that may have used a removed notifier.
    give_up_orphans(app, setup).await?;
    app.wakeups.wake_all();
    Ok(())
}

async fn give_up_orphans(app: &App, setup: &WatchSetup) -> Result<(), StoreError> {
    let known: Vec<NotifierName> = setup.settings.delivery.keys().cloned().collect();
    orphans::give_up(&known, &app.store, &app.counters, app.clock.now()).await
}

/// Returns the time until the slot after `slot`.
fn time_left(schedule: &Schedule, slot: Timestamp, now: Timestamp) -> Duration {
    let left = schedule
        .next_after(slot.max(now))
        .map(|next| next.duration_since(now));
    left.and_then(|left| Duration::try_from(left).ok())
        .unwrap_or(DEFAULT_CYCLE_LENGTH)
}
