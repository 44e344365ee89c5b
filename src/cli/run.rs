//! `run`: the daemon.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::log::{self, Overrides};
use crate::clock::{Chance, Clock};
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, ReloadFrom, Start};
use crate::outbound::causes;
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

/// Why it did not start.
enum Failure {
    /// What was configured: 2.
    Configuration(String),
    /// The world: 1.
    World(String),
}

impl Run {
    /// Until a signal: 0. What is wrong before that: 2 for the configuration, 1 for the rest.
    pub async fn run(&self, file: Option<&Path>, environment: &Environment) -> ExitCode {
        match self.start(file, environment).await {
            Ok((daemon, signals)) => {
                daemon.run(signals).await;
                ExitCode::SUCCESS
            }
            Err(Failure::Configuration(told)) => {
                eprintln!("{told}");
                ExitCode::from(2)
            }
            Err(Failure::World(told)) => {
                eprintln!("{told}");
                ExitCode::FAILURE
            }
        }
    }

    async fn start(
        &self,
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<(Daemon, Signals), Failure> {
        let config = config::load(file, environment).map_err(|problems| {
            let told: Vec<String> = problems
                .errors()
                .iter()
                .map(|problem| format!("error: {problem}"))
                .collect();
            Failure::Configuration(told.join("\n"))
        })?;
        let overrides = Overrides {
            level: self.log_level.clone(),
            is_json: self.log_format.map(|format| format == LogFormat::Json),
        };
        let log = log::begin(&config.log, overrides, environment)
            .map_err(|problem| Failure::Configuration(format!("error: {problem}")))?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let clock = Clock::system();
        let world = |told: String| Failure::World(format!("error: {told}"));
        let signals = Signals::listen()
            .map_err(|error| world(format!("cannot listen to signals: {error}")))?;
        let store = Store::open_for_daemon(&config.store.path, clock.now())
            .map_err(|error| world(causes(&error)))?;
        let listener = listen(&config).map_err(world)?;
        let start = Start {
            reload_from: ReloadFrom::Named(file.map(Path::to_owned)),
            environment: environment.clone(),
            store,
            clock,
            chance: Chance::System,
            listener,
            set_log: Box::new(move |section| log.set(section)),
            config,
        };
        let daemon = Daemon::start(start)
            .await
            .map_err(|error| Failure::Configuration(format!("error: {error:#}")))?;
        tracing::info!("watching; metrics at http://{}/metrics", daemon.address());
        Ok((daemon, signals))
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
