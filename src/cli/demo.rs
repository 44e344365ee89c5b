//! `demo`: a simulated organization, the daemon on it, and alerts on the console. Needs nothing, reads no file, and leaves
//! nothing behind.

use std::net::TcpListener;

use jiff::SignedDuration;

use crate::cli::log::{self, Overrides};
use crate::clock::{Chance, Clock};
use crate::config;
use crate::config::source::Environment;
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, ReloadFrom, Start};
use crate::process;
use crate::simulator::Simulator;
use crate::simulator::world::World;
use crate::store::Store;

/// The variable that the key is found under.
const KEY: &str = "DEMO_ADMIN_KEY";

/// The example's configuration, but for the address of the service.
const CONFIGURATION: &str = r#"
[poll]
schedule = "*/3 * * * * *"
[log]
level = "warn"
[[notifiers]]
name = "console"
type = "console"
group_wait = "0s"
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
    let signals = Signals::listen()?;
    let clock = Clock::system();
    let now = clock.now();
    let began = now.checked_sub(SignedDuration::from_hours(24 * 100))?;
    let simulator = Simulator::start(World::demo(11, began, now), clock.clone()).await?;
    let text = format!(
        "[[organizations]]\nname = \"demo\"\nbase_url = \"{}\"\nadmin_key = {{ env = \"{KEY}\" }}\n\
         max_requests_per_minute = 0\n{CONFIGURATION}",
        simulator.base_url()
    );
    let environment: Environment = [(KEY.to_owned(), simulator.key().expose().to_owned())].into();
    let config = config::read(&text, None, &environment)
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let log =
        log::begin(&config.log, Overrides::default(), &environment).map_err(anyhow::Error::msg)?;
    if let Err(error) = process::raise_descriptor_limit() {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    let listener = listener()?;
    let start = Start {
        config,
        reload_from: ReloadFrom::Nowhere,
        environment,
        store: Store::in_memory()?,
        clock,
        chance: Chance::System,
        audit: None,
        listener,
        set_log: Box::new(move |section| log.set(section)),
    };
    let daemon = Daemon::start(start).await?;
    let address = daemon.address();
    eprintln!(
        "A simulated organization is watched every 3 seconds; alerts follow. Ctrl-C ends it\n\
         Page: http://{address}/\nMetrics: http://{address}/metrics\n",
    );
    daemon.run(signals).await;
    eprintln!("Stopped; nothing is left behind");
    Ok(())
}

/// The usual port where it is free, else any.
fn listener() -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 9899)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
}
