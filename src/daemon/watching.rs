//! One organization, watched: cycles on their schedule, another configuration when one comes, and a new beginning from the
//! store where that failed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::anthropic::AdminApi;
use crate::app::{App, wiring};
use crate::config::organizations::Organization;
use crate::cycle::state::{Outside, Report, Settings, Watcher};
use crate::domain::schedule::{Due, Schedule, due};
use crate::outbound::causes;
use crate::store::error::StoreError;

/// How long a cycle may take where the schedule has no later slot.
const LAST_CYCLE: Duration = Duration::from_mins(5);
/// How long a wait may last before the wall clock is looked at again: it may have been set.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// After a failure of the store, and doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What one organization is watched with.
pub struct Setup {
    /// What was configured, for its key's source.
    pub organization: Organization,
    /// The service.
    pub api: AdminApi,
    /// For the cycle.
    pub settings: Settings,
    /// When a cycle is due.
    pub schedule: Schedule,
}

/// Watches until the sender of `orders` is gone. Each order is another configuration.
pub async fn watch(app: &App, mut setup: Setup, mut orders: UnboundedReceiver<Setup>) {
    let name = setup.organization.name.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match open(app, &setup).await {
            Ok(mut watcher) => {
                let ended = go_on(app, &mut watcher, &mut setup, &mut orders, &mut pause).await;
                match ended {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let told = causes(&error);
        let seconds = pause.as_secs();
        tracing::error!(organization.name = %name, "{told}; trying again in {seconds} s");
        app.board.note_trouble(&name, told);
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

async fn open(app: &App, setup: &Setup) -> Result<Watcher, StoreError> {
    let outside = Outside {
        api: setup.api.clone(),
        store: app.store.clone(),
        clock: app.clock.clone(),
        chance: app.chance.clone(),
        counters: app.counters.clone(),
    };
    Watcher::open(setup.settings.clone(), outside).await
}

/// Cycles and orders, until there are no more orders to come. The error is the store's.
async fn go_on(
    app: &App,
    watcher: &mut Watcher,
    setup: &mut Setup,
    orders: &mut UnboundedReceiver<Setup>,
    pause: &mut Duration,
) -> Result<(), StoreError> {
    loop {
        let wait = match due(&setup.schedule, watcher.engine.last_cycle, app.clock.now()) {
            Due::Now(slot) => {
                run_slot(app, watcher, setup, slot).await?;
                *pause = FIRST_PAUSE;
                Duration::ZERO
            }
            Due::At(at) => until(at, app.clock.now()),
            Due::Never => until(Timestamp::MAX, app.clock.now()),
        };
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => take_order(app, watcher, setup, order).await?,
                None => return Ok(()),
            },
            () = app.clock.sleep(wait) => {}
        }
    }
}

/// One cycle; and another one at once where the key was refused and there is a new one meanwhile.
async fn run_slot(
    app: &App,
    watcher: &mut Watcher,
    setup: &Setup,
    slot: Timestamp,
) -> Result<(), StoreError> {
    let report = run_cycle(app, watcher, setup, slot).await?;
    if report.is_refused && has_new_key(app, watcher, &setup.organization).await {
        run_cycle(app, watcher, setup, slot).await?;
    }
    Ok(())
}

async fn run_cycle(
    app: &App,
    watcher: &mut Watcher,
    setup: &Setup,
    slot: Timestamp,
) -> Result<Report, StoreError> {
    let length = time_left(&setup.schedule, slot, app.clock.now());
    let started = app.clock.running();
    let report = watcher.cycle(slot, started + length).await?;
    let name = &setup.organization.name;
    for line in &report.troubles {
        tracing::warn!(organization.name = %name, "{line}");
    }
    tracing::info!(
        organization.name = %name,
        outcome = report.outcome.as_str(),
        duration_ms = app.clock.running().saturating_sub(started).as_millis(),
        "cycle {}: {} of {} read, {} messages",
        report.outcome.as_str(), report.n_fresh, report.n_parts, report.n_messages
    );
    app.board.note_cycle(
        name,
        report.outcome,
        app.clock.now(),
        report.troubles.clone(),
    );
    app.bells.ring();
    Ok(report)
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
    watcher.decide_and_commit().await?;
    app.bells.ring();
    Ok(())
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
