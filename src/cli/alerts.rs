//! `alerts list` and `alerts show`: what fires, what ended, and the life of one alert.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::Operation;
use crate::cli::globals::{Assent, Failure, Globals};
use crate::cli::output::{Format, json_text, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::source::Environment;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::silence::check_signature;
use crate::sheet::alerts::{self as sheet, LastMessage};
use crate::store::Store;
use crate::store::alerts::{AlertFilter, Found, Phase};
use crate::store::quiet::{Acknowledged, Signature};

/// Alerts in the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Alerts with their limits, the worst first
    #[command(after_help = "Example: spendwatch alerts list --state firing --rule workspace-month")]
    List(List),
    /// One alert with what its last message said, and all its changes with whom they were told to and why
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
    /// Who takes it up; else whoever the audit log names: `--actor`, or the user of the operating system
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
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
            Command::List(list) => list.run(globals, &store, &config).await,
            Command::Show { id } => show(id, globals, &store, &config).await,
            Command::Ack(ack) => ack.run(globals, &store, &config).await,
        }
    }
}

impl List {
    async fn run(
        &self,
        globals: &Globals,
        store: &Store,
        config: &Config,
    ) -> Result<ExitCode, Failure> {
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
        let alerts = store.worst_first(&filter, config.privacy).await?;
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
        let clock = Clock::system();
        let (audit, now) = (globals.audit(config, &clock), clock.now());
        let author = self.author.as_deref().unwrap_or(audit.actor());
        check_signature(author, &self.comment)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut n_failed = 0;
        for prefix in &self.ids {
            let by = Signature {
                author: author.to_owned(),
                comment: self.comment.clone(),
            };
            let operation = Operation {
                organization: None,
                action: "alerts.ack",
                target: prefix,
                arguments: &[
                    ("author", author.to_owned()),
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

async fn show(
    prefix: &str,
    globals: &Globals,
    store: &Store,
    config: &Config,
) -> Result<ExitCode, Failure> {
    let fingerprint = match store.alert(prefix).await? {
        Found::One((row, _)) => row.fingerprint,
        Found::Nothing => return Err(Failure::World(none(prefix))),
        Found::Many(ids) => return Err(Failure::World(many(prefix, &ids))),
    };
    let found = store.shown(&fingerprint, config.privacy).await?;
    let (shown, changes) = found.ok_or_else(|| Failure::World(none(prefix)))?;
    let sent = store.last_message(&fingerprint).await?;
    let message = sent
        .as_ref()
        .and_then(|sent| LastMessage::new(sent, &fingerprint));
    let history = sheet::history(shown.row.alert.watch, &changes);
    let text = match globals.output {
        Format::Table => {
            let taken_up = shown.acknowledged.as_ref().map(sheet::acknowledgement);
            let mut pieces = vec![
                sheet::list(std::slice::from_ref(&shown)).render(Format::Table, globals.stdout),
            ];
            if let Some(message) = &message {
                let heading = message.heading().render(Format::Table, globals.stdout);
                let text = message.text();
                let lines = text.lines().map(|line| {
                    let indent = if line.starts_with("- ") { 2 } else { 0 };
                    globals.stdout.hanging("", indent, line)
                });
                pieces.push(format!("{heading}\n{}", lines.collect::<String>()));
            }
            pieces.extend(taken_up.map(|sheet| sheet.render(Format::Table, globals.stdout)));
            pieces.push(history.render(Format::Table, globals.stdout));
            pieces.join("\n")
        }
        // One table cannot hold both; the changes are what is asked for.
        Format::Csv => history.render(Format::Csv, globals.stdout),
        Format::Json => json_text(&sheet::whole(&shown, &changes, message.as_ref())),
    };
    Ok(print(&text, ExitCode::SUCCESS))
}
