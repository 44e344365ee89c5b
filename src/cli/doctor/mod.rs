//! `doctor`: checks everything that the daemon and the commands need and suggests fixes, without changing or sending anything.

mod diagnosis;

mod files;
mod ledgers;
mod service;

use std::process::ExitCode;

use clap::Args;

use crate::app::wiring;
use crate::cli::doctor::diagnosis::{Diagnosis, Health, check};
use crate::cli::globals::{CommandError, Globals, without_organization};
use crate::cli::log;
use crate::cli::output::screen::Screen;
use crate::cli::output::{OutputFormat, print};
use crate::heartbeat::Heartbeat;
use crate::table::{Cell, OutputTable, TableBuilder};
use spendwatch_base::clock::Clock;
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_notify::wording::formatting;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {}

impl Doctor {
    /// Returns exit code 0 unless a check is bad; warnings do not fail.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let config = globals.read(environment)?;
        if !globals.quiet {
            log::for_command(environment);
        }
        let clock = Clock::system();
        let audit = globals.audit(&config, &clock);
        let mut found = check_configuration(&config);
        for organization in globals.organizations(&config)? {
            found.extend(service::check_service(organization, environment, &clock).await);
        }
        found.push(ledgers::check_store(&config).await);
        found.push(ledgers::check_audit(&audit));
        found.extend(files::check_files(&config, audit.files()));
        found.extend(check_notifiers(&config, environment).await);
        let is_bad = found.iter().any(|one| one.health == Health::Bad);
        let exit = ExitCode::from(u8::from(is_bad));
        Ok(match globals.output {
            OutputFormat::Table => print(&lines(&found, globals.stdout), exit),
            OutputFormat::Json | OutputFormat::Csv => globals.print(&table(&found), exit),
        })
    }
}

fn check_configuration(config: &Config) -> Vec<Diagnosis> {
    let configuration = check("configuration", "");
    let mut found = Vec::new();
    if config.warnings.is_empty() {
        found.push(configuration.good("no warnings"));
    }
    let warnings = config.warnings.iter().map(ToString::to_string);
    found.extend(warnings.map(|text| configuration.warning(text, "see docs/configuration.md")));
    found.extend(config.unresolved.iter().map(|unresolved| {
        let fix = "set the variable, or correct the file or its path; required by `run`";
        check("secret", "").bad(unresolved.problem.to_string(), fix)
    }));
    found
}

/// Checks secrets and settings of notifiers and heartbeat, without sending anything.
async fn check_notifiers(config: &Config, environment: &Environment) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    if config.notifiers.is_empty() {
        let fix = "add `[[notifiers]]`; without one, alerts go to the console";
        found.push(check("notifier", "").warning("none configured", fix));
    }
    for configured in &config.notifiers {
        let name = configured.name.as_str();
        let check = check("notifier", name);
        found.push(match wiring::notifier(configured, environment).await {
            Ok(_) => check.good(format!(
                "ready; `spendwatch notify test {name}` sends a message"
            )),
            Err(error) => check.bad(format!("{error:#}"), "correct its secret or address"),
        });
    }
    if let Some(heartbeat) = &config.heartbeat {
        let check = check("heartbeat", "");
        found.push(match Heartbeat::from_config(heartbeat, environment).await {
            Ok(_) => check.good("ready"),
            Err(error) => check.bad(format!("{error:#}"), "correct its address"),
        });
    }
    found
}

/// Column of the text, after the health word.
const INDENT: usize = 9;

/// Renders a line per check, followed by its fix.
fn lines(found: &[Diagnosis], screen: Screen) -> String {
    let mut text = String::new();
    for Diagnosis {
        what,
        subject,
        health,
        result,
        fix,
    } in found
    {
        let subject_text = if subject.is_empty() {
            String::new()
        } else {
            format!(" {}", formatting::single_line(subject))
        };
        let word = health.as_str();
        let first = format!("{}{:2$}", screen.colored(word), "", INDENT - word.len());
        let result = format!(
            "{what}{subject_text}: {}",
            formatting::single_line(&without_organization(result, subject))
        );
        text.push_str(&screen.hanging(&first, INDENT, &result));
        if !fix.is_empty() {
            let first = format!("{:INDENT$}-> ", "");
            text.push_str(&screen.hanging(&first, INDENT + 3, fix));
        }
    }
    text
}

fn table(found: &[Diagnosis]) -> OutputTable {
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    TableBuilder::new(found)
        .shown("health", "HEALTH", |one| one.health.as_str())
        .shown("what", "CHECK", |one| one.what)
        .shown("of", "SUBJECT", |one| filled(&one.subject))
        .shown("told", "RESULT", |one| Cell::Prose(one.result.clone()))
        .shown("mend", "TO FIX", |one| filled(&one.fix).map(Cell::Prose))
        .build()
}
