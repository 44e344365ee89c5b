//! `alerts list` and `alerts show`: what fires, what ended, and the life of one alert.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::Operation;
use crate::cli::globals::{Failure, Globals};
use crate::cli::output::{Format, json_text, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::source::Environment;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::silence::check_signature;
use crate::sheet::alerts as sheet;
use crate::store::Store;
use crate::store::alerts::{AlertFilter, Found, Phase};
use crate::store::quiet::{Acknowledged, Signature};

/// Alerts in the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Alerts, the newest change first
    #[command(after_help = "Example: spendwatch alerts list --state firing --rule workspace-month")]
    List(List),
    /// One alert and all its changes, with whom they were told to and why
    #[command(after_help = "Example: spendwatch alerts show 3f9a")]
    Show {
        /// The alert's id, or what it begins with
        id: String,
    },
    /// Take up alerts that fire: they are not repeated until they get worse
    #[command(after_help = "Example: spendwatch alerts ack 3f9a --comment 'batch job stopped'")]
    Ack(Ack),
}

/// Which alerts, by whom and why.
#[derive(Debug, Args)]
pub struct Ack {
    /// Ids, or what they begin with
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// What is to be said about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Who takes it up; else the user's name
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "unknown",
        hide_env_values = true
    )]
    author: String,
}

/// Which alerts.
#[derive(Debug, Args)]
pub struct List {
    /// Only these; several may be named
    #[arg(long, value_enum, value_name = "STATE", value_delimiter = ',')]
    state: Vec<AlertState>,
    /// Only of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlertState {
    /// Crossed, not yet for long enough
    Pending,
    /// Crossed
    Firing,
    /// Over
    #[value(alias = "resolved")]
    Ended,
}

impl Command {
    /// Runs it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let (config, store) = globals.open_store(environment)?;
        match self {
            Command::List(list) => list.run(globals, &store).await,
            Command::Show { id } => show(id, globals, &store).await,
            Command::Ack(ack) => ack.run(globals, &store, &config).await,
        }
    }
}

impl List {
    async fn run(&self, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
        let phase = |state: &AlertState| match state {
            AlertState::Pending => Phase::Pending,
            AlertState::Firing => Phase::Firing,
            AlertState::Ended => Phase::Resolved,
        };
        let filter = AlertFilter {
            organization: globals.org.as_deref().map(OrganizationName::from),
            rule: self.rule.as_deref().map(RuleName::from),
            phases: self.state.iter().map(phase).collect(),
            limit: self.limit,
        };
        let alerts = store.alerts(&filter).await?;
        if alerts.is_empty() {
            globals.remark("No alerts");
        }
        Ok(globals.print(&sheet::list(&alerts), ExitCode::SUCCESS))
    }
}

impl Ack {
    async fn run(
        &self,
        globals: &Globals,
        store: &Store,
        config: &Config,
    ) -> Result<ExitCode, Failure> {
        check_signature(&self.author, &self.comment)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let clock = Clock::system();
        let (audit, now) = (globals.audit(config, &clock), clock.now());
        let mut n_failed = 0;
        for prefix in &self.ids {
            let by = Signature {
                author: self.author.clone(),
                comment: self.comment.clone(),
            };
            let operation = Operation {
                organization: None,
                action: "alerts.ack",
                target: prefix,
                arguments: &[
                    ("author", self.author.clone()),
                    ("comment", self.comment.clone()),
                ],
            };
            let judge = |found: &Found<Acknowledged>| match found {
                Found::One(Acknowledged::Done(_)) => None,
                Found::One(Acknowledged::NotFiring(_)) => Some("it does not fire".to_owned()),
                Found::Nothing => Some("no alert begins so".to_owned()),
                Found::Many(_) => Some("several alerts begin so".to_owned()),
            };
            let taken_up = store.acknowledge(prefix, by, now);
            let problem = match audit.around(&operation, taken_up, judge).await?? {
                Found::One(Acknowledged::Done(row)) => {
                    globals.remark(&format!("{} is taken up", row.fingerprint));
                    continue;
                }
                Found::One(Acknowledged::NotFiring(row)) => format!(
                    "{} is {}: only what fires is taken up",
                    row.fingerprint,
                    sheet::state_word(Phase::of(&row.alert))
                ),
                Found::Nothing => none(prefix),
                Found::Many(ids) => many(prefix, &ids),
            };
            eprintln!("error: {problem}");
            n_failed += 1;
        }
        Ok(match n_failed {
            0 => ExitCode::SUCCESS,
            n if n == self.ids.len() => ExitCode::FAILURE,
            _ => ExitCode::from(3),
        })
    }
}

fn none(prefix: &str) -> String {
    format!("no alert begins with `{prefix}`; `spendwatch alerts list` has them")
}

fn many(prefix: &str, ids: &[String]) -> String {
    format!("several alerts begin with `{prefix}`: {}", ids.join(", "))
}

async fn show(prefix: &str, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
    let (alert, changes) = match store.alert(prefix).await? {
        Found::One(found) => found,
        Found::Nothing => return Err(Failure::World(none(prefix))),
        Found::Many(ids) => return Err(Failure::World(many(prefix, &ids))),
    };
    let taken_up = store.acknowledgement(&alert.fingerprint).await?;
    let history = sheet::history(alert.alert.watch, &changes);
    let text = match globals.output {
        Format::Table => {
            let taken_up = taken_up.as_ref().map(|by| {
                let sheet = sheet::acknowledgement(by);
                sheet.render(Format::Table) + "\n"
            });
            format!(
                "{}\n{}{}",
                sheet::list(&[alert]).render(Format::Table),
                taken_up.unwrap_or_default(),
                history.render(Format::Table)
            )
        }
        // One table cannot hold both; the changes are what is asked for.
        Format::Csv => history.render(Format::Csv),
        Format::Json => json_text(&sheet::whole(&alert, &changes, taken_up.as_ref())),
    };
    Ok(print(&text, ExitCode::SUCCESS))
}
