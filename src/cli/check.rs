//! `check --limit`: one question, one answer.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::anthropic::{AdminApi, Settings};
use crate::cli::output::print;
use crate::clock::{Chance, Clock};
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::domain::money::{Usd, overage_percent};
use crate::domain::span::Day;
use crate::domain::usage::{Part, sum};
use crate::metrics::requests::RequestCounts;
use crate::secrets;

/// One limit for the organization's month.
#[derive(Debug, Args)]
pub struct Check {
    /// The limit of the month to date, in USD; rules of the file are not evaluated
    #[arg(long, value_name = "USD", value_parser = parse_limit)]
    limit: Usd,
}

fn parse_limit(text: &str) -> Result<Usd, String> {
    match Usd::parse(text) {
        Ok(usd) if usd >= Usd::ZERO => Ok(usd),
        Ok(_) => Err("a limit is not negative".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Check {
    /// Exit 0 below the limit, 2 at or above, 1 when it cannot be told.
    pub async fn run(&self, file: Option<&Path>, environment: &Environment) -> ExitCode {
        let Some(config) = load(file, environment) else {
            return ExitCode::FAILURE;
        };
        let (mut told, mut is_over, mut is_unknown) = (String::new(), false, false);
        for organization in &config.organizations {
            match month_to_date(organization, environment).await {
                Ok(spend) => {
                    told.push_str(&tell(organization.name.as_str(), spend, self.limit));
                    told.push('\n');
                    is_over |= spend > Usd::ZERO && spend >= self.limit;
                }
                Err(error) => {
                    eprintln!("error: {error:#}");
                    is_unknown = true;
                }
            }
        }
        // What is over is over, whatever else is unknown; what is unknown is never quiet.
        let exit = match (is_over, is_unknown) {
            (true, _) => ExitCode::from(2),
            (false, true) => ExitCode::FAILURE,
            (false, false) => ExitCode::SUCCESS,
        };
        print(&told, exit)
    }
}

async fn month_to_date(
    organization: &config::organizations::Organization,
    environment: &Environment,
) -> anyhow::Result<Usd> {
    let clock = Clock::system();
    let key = secrets::resolve(&organization.admin_key, environment).await?;
    let settings = Settings {
        organization: organization.name.clone(),
        base_url: organization.base_url.clone(),
        timeout: organization.timeout,
        max_concurrency: organization.max_concurrency,
        max_requests_per_minute: Some(organization.max_requests_per_minute),
        ca_file: organization.ca_file.clone(),
    };
    let api = AdminApi::new(
        settings,
        key,
        clock.clone(),
        Chance::System,
        Arc::new(RequestCounts::default()),
    )?;
    if organization.is_auto {
        api.detect_dialect().await?;
    }
    let today = Day::of(clock.now());
    let first = Day::from_date(today.date().first_of_month());
    let months = api.usage_by_month(&Part::Whole, first, today).await?;
    Ok(months.iter().map(|month| sum(&month.cells).spend).sum())
}

/// What is told: usage and threshold with two decimals, the overage with one, and what to do.
fn tell(organization: &str, spend: Usd, limit: Usd) -> String {
    let (usage, threshold) = (spend.grouped(), limit.grouped());
    if spend < limit || spend == Usd::ZERO {
        return format!("{organization}: month to date ${usage}, below the limit of ${threshold}");
    }
    let overage = overage_percent(limit.pico(), spend.pico()).map_or_else(
        || "no spend is allowed".to_owned(),
        |percent| format!("{percent}% over"),
    );
    format!(
        "{organization}: month to date ${usage}, limit ${threshold}, {overage}\n\
         - check for anomalous calls: a loop or a leaked key shows in one workspace\n\
         - adjust the workspace limits: https://console.anthropic.com/settings/limits\n\
         - use a cheaper model for high-frequency calls"
    )
}

fn load(file: Option<&Path>, environment: &Environment) -> Option<Config> {
    match config::load(file, environment) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            Some(config)
        }
        Err(problems) => {
            for problem in problems.errors() {
                eprintln!("error: {problem}");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_says_by_how_much_and_what_to_do() {
        let usd = |text| Usd::parse(text).unwrap();
        assert_eq!(
            tell("acme", usd("12.345"), usd("20")),
            "acme: month to date $12.34, below the limit of $20.00"
        );
        let told = tell("acme", usd("5621.5"), usd("5000"));
        assert!(
            told.starts_with("acme: month to date $5,621.50, limit $5,000.00, 12.4% over\n"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 4);
        assert!(tell("acme", usd("1"), Usd::ZERO).contains("no spend is allowed"));
    }
}
