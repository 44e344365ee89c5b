//! `check`: one evaluation now, with the result as exit code.

pub mod outcome;

pub mod limit;

mod findings;
pub mod rules;

use std::process::ExitCode;

use clap::Args;

use crate::cli::globals::{CommandError, Globals, YesFlag};
use spendwatch_config::source::Environment;
use spendwatch_domain::units::money::Usd;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Limit for the month to date in USD; replaces the configured rules
    #[arg(long, value_name = "USD", value_parser = parse_limit, conflicts_with_all = ["notify", "all"])]
    limit: Option<Usd>,
    /// Send messages and record them in the store; not beside a daemon
    #[arg(long)]
    notify: bool,
    /// Show all measurements, not only those crossed, unknown or nearest to their limit
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub yes: YesFlag,
}

fn parse_limit(text: &str) -> Result<Usd, String> {
    match Usd::parse(text) {
        Ok(usd) if usd >= Usd::ZERO => Ok(usd),
        Ok(_) => Err("a limit must not be negative".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Check {
    /// Returns exit code 0 if nothing is at or above its limit, 2 if something is, 1 for anything else, wrong usage included.
    pub async fn run(&self, globals: &Globals, environment: &Environment) -> ExitCode {
        let outcome = match self.limit {
            Some(limit) => limit::compare(limit, globals, environment).await,
            None => rules::evaluate(self.request(), globals, environment).await,
        };
        outcome.unwrap_or_else(|error: CommandError| {
            error.report();
            ExitCode::FAILURE
        })
    }

    fn request(&self) -> rules::CheckRequest {
        rules::CheckRequest {
            notify: self.notify,
            show_all: self.all,
        }
    }
}
