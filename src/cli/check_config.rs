//! `check-config`: all problems of a configuration at once, or the configuration that is in force.

use std::process::ExitCode;

use clap::Args;

use crate::app::wiring;
use crate::cli::globals::{Failure, Globals};
use crate::cli::output::print;
use crate::config::source::Environment;
use crate::config::{Config, show};
use crate::domain::plural::counted;
use crate::heartbeat::Heartbeat;
use crate::http::access::Access;

/// Check the configuration.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// Print the effective configuration as TOML: defaults included, secrets hidden
    #[arg(long)]
    show: bool,
}

impl CheckConfig {
    /// Exit 0 when the configuration is good, warnings included, and every secret can be read, else 2.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let config = globals.read_with_all_secrets(environment)?;
        globals.remark_warnings(&config);
        resolve_all(&config, environment).await?;
        let told = if self.show {
            show::to_toml(&config)
        } else {
            summary(&config)
        };
        Ok(print(&told, ExitCode::SUCCESS))
    }
}

/// Reads every secret as `run` does; sends no message and no request to the Admin API.
async fn resolve_all(config: &Config, environment: &Environment) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for organization in &config.organizations {
        if let Err(error) = wiring::admin_key(organization, environment).await {
            wrong.push(format!("{error:#}"));
        }
    }
    for notifier in &config.notifiers {
        if let Err(error) = wiring::notifier(notifier, environment).await {
            wrong.push(format!("{error:#}"));
        }
    }
    if let Some(heartbeat) = &config.heartbeat
        && let Err(error) = Heartbeat::configured(heartbeat, environment).await
    {
        wrong.push(format!("{error:#}"));
    }
    if let Err(error) = Access::configured(&config.http, config.http.listen, environment).await {
        wrong.push(error.to_string());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::Usage(wrong))
    }
}

fn summary(config: &Config) -> String {
    let whence = config.file.as_ref().map_or_else(
        || "The environment".to_owned(),
        |file| format!("`{}`", file.display()),
    );
    format!(
        "{whence} is a good configuration: {}, {}, {}\n",
        counted(config.organizations.len(), "organization"),
        counted(config.rules.len(), "rule"),
        counted(config.notifiers.len(), "notifier")
    )
}
