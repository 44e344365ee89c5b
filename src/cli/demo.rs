//! `demo`: runs the daemon on a simulated organization, with alerts on the console. Reads and leaves no files.

use std::net::TcpListener;

use jiff::SignedDuration;

use crate::cli::log::{self, LogOverrides};
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, DaemonParts, ReloadFrom};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::process;
use spendwatch_config as config;
use spendwatch_config::source::Environment;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

/// Environment variable of the admin key.
const KEY: &str = "DEMO_ADMIN_KEY";

/// Configuration of the demo without the organization.
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

/// Runs until Ctrl-C.
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
    let log = log::begin(&config.log, LogOverrides::default(), &environment)
        .map_err(anyhow::Error::msg)?;
    if let Err(error) = process::raise_descriptor_limit() {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    let listener = listener()?;
    let start = DaemonParts {
        config,
        reload_from: ReloadFrom::Nowhere,
        environment,
        store: Store::in_memory()?,
        clock,
        random: Random::System,
        audit: None,
        listener,
        set_log: Box::new(move |section| log.set(section)),
    };
    let daemon = Daemon::start(start).await?;
    let address = daemon.address();
    eprintln!(
        "Watching a simulated organization every 3 seconds; alerts follow. Press Ctrl-C to stop\n\
         Page: http://{address}/\nMetrics: http://{address}/metrics\n",
    );
    daemon.run(signals).await;
    eprintln!("Stopped; no files were left behind");
    Ok(())
}

/// Binds the default port, or any free one.
fn listener() -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 9899)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
}
