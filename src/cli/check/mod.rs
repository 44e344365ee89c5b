//! `check`: one look, now, and an exit code that says what it found.

pub mod verdict;

pub mod limit;

mod findings;
pub mod rules;

use std::process::ExitCode;

use clap::Args;

use crate::cli::globals::{Assent, Failure, Globals};
use crate::config::source::Environment;
use crate::domain::money::Usd;

/// All rules of the configuration, or one limit for the organization's month.
#[derive(Debug, Args)]
pub struct Check {
    /// The limit of the month to date, in USD; needs no rules, and those of the file are not evaluated
    #[arg(long, value_name = "USD", value_parser = parse_limit, conflicts_with_all = ["notify", "all"])]
    limit: Option<Usd>,
    /// Send what is to be told, and remember it in the store; not beside a daemon
    #[arg(long)]
    notify: bool,
    /// All that was measured, not only what is crossed, unknown, or nearest to its limit
    #[arg(long)]
    all: bool,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
}

fn parse_limit(text: &str) -> Result<Usd, String> {
    match Usd::parse(text) {
        Ok(usd) if usd >= Usd::ZERO => Ok(usd),
        Ok(_) => Err("a limit is not negative".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Check {
    /// Exit 0 where nothing is at or above its limit, 2 where something is, 1 for anything else, wrong usage too.
    pub async fn run(&self, globals: &Globals, environment: &Environment) -> ExitCode {
        let verdict = match self.limit {
            Some(limit) => limit::compare(limit, globals, environment).await,
            None => rules::evaluate(self.request(), globals, environment).await,
        };
        verdict.unwrap_or_else(|failure: Failure| {
            failure.tell();
            ExitCode::FAILURE
        })
    }

    fn request(&self) -> rules::Request {
        rules::Request {
            is_sent: self.notify,
            is_all_shown: self.all,
        }
    }
}
