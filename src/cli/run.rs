//! `run`: the daemon.

use std::net::TcpListener;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::audit::AuditLog;
use crate::audit::chain::Head;
use crate::cli::globals::{Failure, Globals};
use crate::cli::log::{self, Overrides};
use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::config::source::Environment;
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, ReloadFrom, Start};
use crate::store::Store;

/// Watch until stopped.
#[derive(Debug, Args)]
pub struct Run {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `spendwatch=debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How a line of the log looks
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Run {
    /// Until a signal: 0. What is wrong before that: 2 for the configuration, 1 for the rest.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let (daemon, signals) = self.start(globals, environment).await?;
        daemon.run(signals).await;
        Ok(ExitCode::SUCCESS)
    }

    async fn start(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<(Daemon, Signals), Failure> {
        let mut config = globals.read_with_all_secrets(environment)?;
        if let Some(name) = &globals.org {
            config = config.with_only(name).map_err(Failure::usage)?;
        }
        let overrides = Overrides {
            level: self.log_level.clone(),
            is_json: self.log_format.map(|format| format == LogFormat::Json),
        };
        let log = log::begin(&config.log, overrides, environment).map_err(Failure::usage)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let clock = Clock::system();
        let signals = Signals::listen()
            .map_err(|error| Failure::World(format!("cannot listen to signals: {error}")))?;
        let store = Store::open_for_daemon(&config.store.path, clock.now())?;
        let listener = listen(&config).map_err(Failure::World)?;
        let audit = globals.audit(&config, &clock);
        tell_audit(&audit);
        let start = Start {
            reload_from: ReloadFrom::Same {
                file: globals.config.clone(),
                only: globals.org.clone(),
            },
            environment: environment.clone(),
            store,
            clock,
            chance: Chance::System,
            audit: Some(audit),
            listener,
            set_log: Box::new(move |section| log.set(section)),
            config,
        };
        let daemon = Daemon::start(start)
            .await
            .map_err(|error| Failure::usage(format!("{error:#}")))?;
        tracing::info!("watching; metrics at http://{}/metrics", daemon.address());
        Ok((daemon, signals))
    }
}

/// Says where the audit log stands: a hash in a log elsewhere tells a chain that was made anew.
fn tell_audit(audit: &AuditLog) {
    match audit.newest() {
        Ok(Some(Head { seq, hash })) => tracing::info!(
            seq,
            hash = hash.as_str(),
            "the newest entry of the audit log is {seq}, with hash {hash}"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!("{error}"),
    }
}

fn listen(config: &Config) -> Result<TcpListener, String> {
    let address = config.http.listen;
    let refused = |error: std::io::Error| {
        format!(
            "cannot listen on {address}: {error} (is another daemon there? `listen` in `[http]` names another address)"
        )
    };
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}
