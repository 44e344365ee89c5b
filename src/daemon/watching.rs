//! One organization, watched: cycles on their schedule, another configuration when one comes, and a new beginning from the
//! store where that failed.

use std::pin::pin;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::anthropic::AdminApi;
use crate::app::board::{ClockState, Status};
use crate::app::{App, wiring};
use crate::config::organizations::Organization;
use crate::cycle::state::{Outside, Report, Settings, Watcher};
use crate::delivery::orphans;
use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::plural::counted;
use crate::domain::schedule::{Due, Schedule, due};
use crate::metrics::counters::CycleOutcome;
use crate::metrics::exposition::MAX_KEPT_TEXT;
use crate::metrics::gauges::Renderer;
use crate::metrics::view::Shape;
use crate::outbound::causes;
use crate::store::error::StoreError;

/// How long a cycle may take where the schedule has no later slot.
const LAST_CYCLE: Duration = Duration::from_mins(5);
/// How long a wait may last before the wall clock is looked at again: it may have been set.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// From this difference on the clock is warned about.
const WARNED_SKEW: SignedDuration = SignedDuration::from_mins(1);
/// After a failure of the store, and doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What one organization is watched with.
pub struct Setup {
    /// What was configured, for its key's source.
    pub organization: Organization,
    pub api: AdminApi,
    pub settings: Settings,
    /// When a cycle is due.
    pub schedule: Schedule,
    pub shape: Shape,
}

/// Watches until the sender of `orders` is gone. Each order is another configuration.
pub async fn watch(app: &App, mut setup: Setup, mut orders: UnboundedReceiver<Setup>) {
    let name = setup.organization.name.clone();
    let mut pause = FIRST_PAUSE;
    let mut parkings = app.bells.parkings();
    loop {
        let started = app.clock.running();
        let opened = open(app, &setup).await;
        if opened.is_err() {
            count_failed(app, &name, started);
        }
        let error = match opened {
            Ok(mut watcher) => {
                let calls = (&mut orders, &mut parkings);
                match go_on(app, &mut watcher, &mut setup, calls, &mut pause).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // A parking that was heard may be what could not be decided about.
        parkings.mark_changed();
        let told = causes(&error);
        // First, so that whoever reads the log or the health page finds the board up to date.
        app.board.note_failure(&name, told.clone(), app.clock.now());
        let seconds = pause.as_secs();
        if app.store.note_failure(&shown(&name), &error) {
            tracing::error!(
                organization.name = %name,
                "{told}; nothing is watched until the store works, trying again in {seconds} s and longer"
            );
        }
        tokio::select! {
            () = app.clock.sleep(pause) => {}
            order = orders.recv() => match order {
                Some(order) => setup = order,
                None => return,
            },
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// By which failures of the store are told apart.
pub fn shown(name: &OrganizationName) -> String {
    format!("organization `{name}`")
}

/// A cycle that the store does not allow is a cycle that failed.
fn count_failed(app: &App, name: &OrganizationName, started: Duration) {
    let elapsed = app.clock.running().saturating_sub(started);
    let outcome = CycleOutcome::Failed;
    app.counters
        .count_cycle(name, outcome, elapsed.as_secs_f64());
}

async fn open(app: &App, setup: &Setup) -> Result<Watcher, StoreError> {
    app.store.check_files()?;
    give_up_orphans(app, setup).await?;
    let outside = Outside {
        api: setup.api.clone(),
        store: app.store.clone(),
        clock: app.clock.clone(),
        chance: app.chance.clone(),
        counters: app.counters.clone(),
        audit: app.audit.clone(),
    };
    Watcher::open(setup.settings.clone(), outside).await
}

/// Cycles, orders and parkings, until there are no more orders to come. The error is the store's.
async fn go_on(
    app: &App,
    watcher: &mut Watcher,
    setup: &mut Setup,
    (orders, parkings): (&mut UnboundedReceiver<Setup>, &mut watch::Receiver<()>),
    pause: &mut Duration,
) -> Result<(), StoreError> {
    let mut cut_short = None;
    let mut gauges = Renderer::default();
    loop {
        let next = match cut_short.take() {
            Some(slot) => Due::Now(slot),
            None => due(&setup.schedule, watcher.engine.last_cycle, app.clock.now()),
        };
        let order = match next {
            Due::Now(slot) => {
                let order = run_slot(app, watcher, setup, orders, slot).await?;
                *pause = FIRST_PAUSE;
                show(app, watcher, setup, &mut gauges);
                cut_short = order.is_some().then_some(slot);
                order
            }
            Due::At(_) | Due::Never => {
                let at = match next {
                    Due::At(at) => at,
                    Due::Now(_) | Due::Never => Timestamp::MAX,
                };
                let time = until(at, app.clock.now());
                tokio::select! {
                    biased;
                    order = orders.recv() => Some(order),
                    // The sender lives as long as the daemon.
                    Ok(()) = parkings.changed() => {
                        decide_between_cycles(app, watcher).await?;
                        show(app, watcher, setup, &mut gauges);
                        None
                    }
                    () = app.clock.sleep(time) => None,
                }
            }
        };
        match order {
            None => {}
            Some(Some(order)) => {
                take_order(app, watcher, setup, order).await?;
                gauges = Renderer::default();
                show(app, watcher, setup, &mut gauges);
            }
            Some(None) => return Ok(()),
        }
    }
}

/// Puts the gauges up as they are now.
fn show(app: &App, watcher: &Watcher, setup: &Setup, gauges: &mut Renderer) {
    let view = watcher.view();
    let is_text_kept = app.board.exposition().len() <= MAX_KEPT_TEXT;
    let rendered = gauges.render(&view, setup.shape, is_text_kept);
    app.board.show(&setup.organization.name, rendered);
}

/// An order, `Some(None)` where none can come any more, or nothing: the time is over.
type Interruption = Option<Option<Setup>>;

/// Where a notifier was parked, somebody may have to be told in its place.
async fn decide_between_cycles(app: &App, watcher: &mut Watcher) -> Result<(), StoreError> {
    if watcher.decide_between_cycles().await? > 0 {
        app.bells.ring();
    }
    Ok(())
}

/// One cycle; and another one at once where the key was refused and there is a new one meanwhile.
async fn run_slot(
    app: &App,
    watcher: &mut Watcher,
    setup: &Setup,
    orders: &mut UnboundedReceiver<Setup>,
    slot: Timestamp,
) -> Result<Interruption, StoreError> {
    let (report, interruption) = run_cycle(app, watcher, setup, orders, slot).await?;
    if interruption.is_none()
        && report.is_refused
        && has_new_key(app, watcher, &setup.organization).await
    {
        return Ok(run_cycle(app, watcher, setup, orders, slot).await?.1);
    }
    Ok(interruption)
}

/// An order that comes meanwhile cuts the cycle short.
async fn run_cycle(
    app: &App,
    watcher: &mut Watcher,
    setup: &Setup,
    orders: &mut UnboundedReceiver<Setup>,
    slot: Timestamp,
) -> Result<(Report, Interruption), StoreError> {
    let length = time_left(&setup.schedule, slot, app.clock.now());
    let started = app.clock.running();
    watcher.hurry = CancellationToken::new();
    let hurry = watcher.hurry.clone();
    let mut cycle = pin!(watcher.cycle(slot, started + length));
    let (report, interruption) = tokio::select! {
        report = &mut cycle => (report, None),
        order = orders.recv() => {
            hurry.cancel();
            (cycle.await, Some(order))
        }
    };
    let name = &setup.organization.name;
    let report = report.inspect_err(|_| count_failed(app, name, started))?;
    if app.store.note_success(&shown(name)) {
        tracing::info!(organization.name = %name, "organization `{name}`: the store works again");
    }
    let took = app.clock.running().saturating_sub(started);
    tell(app, setup, &report, took);
    Ok((report, interruption))
}

/// One line for the cycle and one for each trouble; the same is put up on the board.
fn tell(app: &App, setup: &Setup, report: &Report, took: Duration) {
    let name = &setup.organization.name;
    // First, so that whoever reads the log finds the board up to date.
    let skew = setup.api.skew().filter(|skew| skew.abs() > WARNED_SKEW);
    let clock = match (report.clock, skew) {
        (Some(_), _) => ClockState::Wrong,
        (None, Some(_)) => ClockState::Off,
        (None, None) => ClockState::Right,
    };
    let problem = report.clock.iter().map(ToString::to_string);
    let reasons = report.troubles.iter().chain(&report.unreadable);
    let difference = report.difference.iter().map(ToString::to_string);
    let status = Status {
        last_cycle: Some((report.outcome, app.clock.now())),
        reasons: problem.chain(reasons.cloned()).collect(),
        remarks: difference.chain(report.remarks.iter().cloned()).collect(),
        is_different: report.difference.is_some(),
        clock,
    };
    let before = app.board.note_cycle(name, status);
    let clock_before = before
        .as_ref()
        .map(|before| before.clock)
        .unwrap_or_default();
    log_clock(name, report, skew, (clock_before, clock));
    for line in &report.troubles {
        tracing::warn!(organization.name = %name, "{line}");
    }
    // Said once: the figures of both move all the time.
    let was_different = before.is_some_and(|before| before.is_different);
    match report.difference {
        Some(difference) if !was_different => {
            tracing::warn!(organization.name = %name, "organization `{name}`: {difference}");
        }
        None if was_different => tracing::info!(
            organization.name = %name,
            "organization `{name}`: the ledger and the service agree on this month again"
        ),
        Some(_) | None => {}
    }
    tracing::info!(
        organization.name = %name,
        outcome = report.outcome.as_str(),
        duration_ms = took.as_millis(),
        "cycle {}: {} of {} read, {}",
        report.outcome.as_str(), report.n_fresh, report.n_parts, counted(report.n_messages, "message")
    );
    app.bells.ring();
    if app.board.is_complete() {
        app.pulse.notify_one();
    }
}

/// Logs once that the clock is wrong or off, and once that it is right again.
fn log_clock(
    name: &OrganizationName,
    report: &Report,
    skew: Option<SignedDuration>,
    (before, now): (ClockState, ClockState),
) {
    if before == now {
        return;
    }
    match (report.clock, skew) {
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
            "organization `{name}`: the clock agrees with the Admin API again, deciding and storing"
        ),
    }
}

/// Reads the key again from its source. Whether it is another one.
async fn has_new_key(app: &App, watcher: &Watcher, organization: &Organization) -> bool {
    match wiring::admin_key(organization, &app.environment).await {
        Ok(key) => watcher.api.set_key(key),
        Err(error) => {
            tracing::warn!(organization.name = %organization.name, "the key cannot be read again: {error:#}");
            false
        }
    }
}

/// Another configuration is taken over and evaluated at once, on the figures there are.
async fn take_order(
    app: &App,
    watcher: &mut Watcher,
    setup: &mut Setup,
    order: Setup,
) -> Result<(), StoreError> {
    *setup = order;
    watcher.api = setup.api.clone();
    watcher.reconfigure(setup.settings.clone()).await?;
    watcher.decide_between_cycles().await?;
    // After the last decision that may have been made for a notifier that is gone.
    give_up_orphans(app, setup).await?;
    app.bells.ring();
    Ok(())
}

async fn give_up_orphans(app: &App, setup: &Setup) -> Result<(), StoreError> {
    let known: Vec<NotifierName> = setup.settings.postage.keys().cloned().collect();
    orphans::give_up(&known, &app.store, &app.counters, app.clock.now()).await
}

/// Until the slot after the one that is run.
fn time_left(schedule: &Schedule, slot: Timestamp, now: Timestamp) -> Duration {
    let left = schedule
        .next_after(slot.max(now))
        .map(|next| next.duration_since(now));
    left.and_then(|left| Duration::try_from(left).ok())
        .unwrap_or(LAST_CYCLE)
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now).min(LONGEST_WAIT)).unwrap_or_default()
}
