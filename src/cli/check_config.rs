//! `check-config`: reports all problems of the configuration, or prints the effective configuration.

use std::process::ExitCode;

use clap::Args;

use crate::app::wiring;
use crate::cli::globals::{CommandError, Globals};
use crate::cli::output::print;
use crate::heartbeat::Heartbeat;
use crate::http::access::AccessPolicy;
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_domain::units::plural::counted;

/// Arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// Print the effective configuration as TOML, with defaults, without secrets
    #[arg(long)]
    show: bool,
}

impl CheckConfig {
    /// Returns exit code 0 if the configuration is valid, even with warnings, and every secret can be read, else 2.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let config = globals.read_with_all_secrets(environment)?;
        globals.remark_warnings(&config);
        resolve_all(&config, environment).await?;
        let text = if self.show {
            config.effective.to_toml()
        } else {
            summary(&config)
        };
        Ok(print(&text, ExitCode::SUCCESS))
    }
}

/// Reads every secret as `run` does, without sending messages or requests to the Admin API.
async fn resolve_all(config: &Config, environment: &Environment) -> Result<(), CommandError> {
    let mut errors = Vec::new();
    for organization in &config.organizations {
        if let Err(error) = wiring::admin_key(organization, environment).await {
            errors.push(format!("{error:#}"));
        }
    }
    for notifier in &config.notifiers {
        if let Err(error) = wiring::notifier(notifier, environment).await {
            errors.push(format!("{error:#}"));
        }
    }
    if let Some(heartbeat) = &config.heartbeat
        && let Err(error) = Heartbeat::from_config(heartbeat, environment).await
    {
        errors.push(format!("{error:#}"));
    }
    if let Err(error) =
        AccessPolicy::from_config(&config.http, config.http.listen, environment).await
    {
        errors.push(error.to_string());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Usage(errors))
    }
}

fn summary(config: &Config) -> String {
    let source = config.file.as_ref().map_or_else(
        || "The environment".to_owned(),
        |file| format!("`{}`", file.display()),
    );
    format!(
        "{source} is valid: {}, {}, {}\n",
        counted(config.organizations.len(), "organization"),
        counted(config.rules.len(), "rule"),
        counted(config.notifiers.len(), "notifier")
    )
}
