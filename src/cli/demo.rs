//! `demo`: a simulated organization, a watcher on it, and alerts on the console. Needs nothing, reads no file, and leaves
//! nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::anthropic::{AdminApi, Dialect, Settings as ApiSettings};
use crate::clock::{Chance, Clock};
use crate::config::{self, Config};
use crate::cycle::state::{Outside, Postage, Settings, Watcher};
use crate::daemon;
use crate::delivery::Worker;
use crate::domain::coverage::Reading;
use crate::domain::period::Zone;
use crate::domain::policy::{Manners, Policy};
use crate::domain::schedule::Schedule;
use crate::metrics::counters::Counters;
use crate::metrics::requests::RequestCounts;
use crate::notify::Notifier;
use crate::notify::console::Console;
use crate::notify::envelope::Links;
use crate::simulator::Simulator;
use crate::simulator::world::World;
use crate::store::Store;

/// The example's rules.
const RULES: &str = r#"
organizations = [{ name = "demo", admin_key = { env = "DEMO" } }]
[[rules]]
name = "organization-month"
limit_usd = 20000
thresholds = [{ at = "50%", severity = "info" }, { at = "80%", severity = "warning" }, { at = "100%", severity = "critical" }]
[[rules]]
name = "workspace-day"
for_each = "workspace"
match = { workspace = "Sandbox" }
period = "day"
limit_usd = 200
thresholds = [{ at = "25%", severity = "info" }, { at = "50%", severity = "warning" }, { at = "100%", severity = "critical" }]
"#;

/// Until Ctrl-C.
pub async fn run() -> anyhow::Result<()> {
    let clock = Clock::system();
    let now = clock.now();
    let began = now.checked_sub(SignedDuration::from_hours(24 * 100))?;
    let simulator = Simulator::start(World::demo(11, began, now), clock.clone()).await?;
    let config = config::read(
        RULES,
        None,
        &[("DEMO".to_owned(), "demo".to_owned())].into(),
    )
    .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let (watcher, workers, counters) = set_up(&config, &simulator, &clock).await?;
    eprintln!(
        "A simulated organization at {} is watched every 3 seconds; alerts follow. Ctrl-C ends it",
        simulator.base_url()
    );
    let schedule = Schedule::parse("*/3 * * * * *", Zone::utc()).map_err(anyhow::Error::msg)?;
    daemon::run(watcher, workers, &schedule, &clock, &counters).await?;
    eprintln!("Stopped; nothing is left behind");
    Ok(())
}

async fn set_up(
    config: &Config,
    simulator: &Simulator,
    clock: &Clock,
) -> anyhow::Result<(Watcher, Vec<Worker>, Arc<Counters>)> {
    let organization = config.organizations[0].name.clone();
    let names: Vec<_> = config
        .notifiers
        .iter()
        .map(|notifier| notifier.name.clone())
        .collect();
    let counters = Arc::new(Counters::new(
        std::slice::from_ref(&organization),
        &names,
        "",
    ));
    let api = ApiSettings {
        organization: organization.clone(),
        base_url: simulator.base_url(),
        timeout: Duration::from_secs(10),
        max_concurrency: 2,
        max_requests_per_minute: Some(0),
        ca_file: None,
    };
    let api = AdminApi::new(
        api,
        simulator.key(),
        clock.clone(),
        Chance::System,
        Arc::new(RequestCounts::default()),
    )?;
    let store = Store::in_memory()?;
    let manners = |notifier: &config::notifiers::Notifier| Manners {
        send_resolved: notifier.send_resolved,
        tells_period_end: notifier.tell_period_end,
        min_severity: notifier.min_severity,
        holds_state: false,
    };
    let postage = Postage {
        recipients: Vec::new(),
        group_wait: SignedDuration::ZERO,
        max_age: SignedDuration::from_hours(72),
    };
    let settings = Settings {
        organization,
        dialect: Some(Dialect::Guide),
        max_concurrency: 2,
        reading: Reading {
            settle: config.poll.settle,
            history_days: config.poll.history_days,
            hourly_history_days: config.poll.hourly_history_days,
            correction_days: config.poll.correction_days,
            correction_interval: config.poll.correction_interval,
        },
        hourly_retention_days: config.store.hourly_retention_days,
        daily_retention_days: config.store.daily_retention_days,
        teams: config.teams.clone(),
        policy: Policy {
            rules: config.rules.clone(),
            notifiers: config
                .notifiers
                .iter()
                .map(|n| (n.name.clone(), manners(n)))
                .collect(),
        },
        postage: names
            .iter()
            .map(|name| (name.clone(), postage.clone()))
            .collect::<BTreeMap<_, _>>(),
    };
    let workers = names.iter().map(|name| Worker {
        name: name.clone(),
        notifier: Notifier::Console(Console::new(std::io::stdout())),
        store: store.clone(),
        clock: clock.clone(),
        chance: Chance::System,
        links: Links::default(),
    });
    let workers = workers.collect();
    let outside = Outside {
        api,
        store,
        clock: clock.clone(),
        chance: Chance::System,
        counters: Arc::clone(&counters),
    };
    Ok((Watcher::open(settings, outside).await?, workers, counters))
}
