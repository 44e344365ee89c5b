//! `check-config`: all problems of a configuration at once, or the configuration that is in force.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::print;
use crate::config::source::Environment;
use crate::config::{self, Config, show};

/// Check the configuration.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// Print the effective configuration as TOML: defaults included, secrets hidden
    #[arg(long)]
    show: bool,
}

impl CheckConfig {
    /// Exit 0 when the configuration is good, warnings included, else 2.
    pub fn run(&self, file: Option<&Path>, environment: &Environment) -> ExitCode {
        match config::load(file, environment) {
            Ok(config) => {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                let told = if self.show {
                    show::to_toml(&config)
                } else {
                    summary(&config)
                };
                print(&told, ExitCode::SUCCESS)
            }
            Err(problems) => {
                for problem in problems.errors() {
                    eprintln!("error: {problem}");
                }
                ExitCode::from(2)
            }
        }
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

fn counted(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}
