//! `alerts list`, `alerts show` and `alerts ack`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::globals::{CommandError, Globals, YesFlag};
use crate::cli::output::{OutputFormat, json_text, print};
use crate::table::alerts::{self as alert_table, LastMessage};
use spendwatch_audit::Operation;
use spendwatch_base::clock::Clock;
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::silence::check_author_and_comment;
use spendwatch_domain::units::ids::{OrganizationName, RuleName};
use spendwatch_store::Store;
use spendwatch_store::alerts::{AlertFilter, AlertPhase, PrefixMatch};
use spendwatch_store::suppressions::{AckOutcome, Attribution};

/// Subcommands of `alerts`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List alerts with their limits, most severe first
    #[command(after_help = "Example: spendwatch alerts list --state firing --rule workspace-month")]
    List(ListAlerts),
    /// Show an alert with its last message and all changes
    #[command(after_help = "Example: spendwatch alerts show 3f9a")]
    Show {
        /// Id of the alert, or a prefix of it
        id: String,
    },
    /// Acknowledge firing alerts: no repeats until they get worse
    #[command(after_help = "Example: spendwatch alerts ack 3f9a --comment 'batch job stopped'")]
    Ack(Ack),
}

/// Arguments of `alerts ack`.
#[derive(Debug, Args)]
pub struct Ack {
    /// Ids of the alerts, or prefixes of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Comment
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Name of the author (default: `--actor`, or the operating system user)
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    pub yes: YesFlag,
}

/// Arguments of `alerts list`.
#[derive(Debug, Args)]
pub struct ListAlerts {
    /// States, separated by commas
    #[arg(long, value_enum, value_name = "STATE", value_delimiter = ',')]
    state: Vec<AlertState>,
    /// Name of the rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Maximum number of results
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlertState {
    /// Crossed, but not yet for the rule's `for`
    Pending,
    /// Crossed
    Firing,
    /// No longer crossed
    #[value(alias = "resolved")]
    Ended,
}

impl Command {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let (config, store) = globals.open_store(environment)?;
        match self {
            Command::List(list) => list.run(globals, &store, &config).await,
            Command::Show { id } => show(id, globals, &store, &config).await,
            Command::Ack(ack) => ack.run(globals, &store, &config).await,
        }
    }
}

impl ListAlerts {
    async fn run(
        &self,
        globals: &Globals,
        store: &Store,
        config: &Config,
    ) -> Result<ExitCode, CommandError> {
        let phase = |state: &AlertState| match state {
            AlertState::Pending => AlertPhase::Pending,
            AlertState::Firing => AlertPhase::Firing,
            AlertState::Ended => AlertPhase::Resolved,
        };
        let filter = AlertFilter {
            organization: globals.org.as_deref().map(OrganizationName::from),
            rule: self.rule.as_deref().map(RuleName::from),
            phases: self.state.iter().map(phase).collect(),
            limit: self.limit,
        };
        let alerts = store.worst_first(&filter, config.privacy).await?;
        if alerts.is_empty() {
            globals.remark("no alerts");
        }
        Ok(globals.print(&alert_table::list(&alerts), ExitCode::SUCCESS))
    }
}

impl Ack {
    async fn run(
        &self,
        globals: &Globals,
        store: &Store,
        config: &Config,
    ) -> Result<ExitCode, CommandError> {
        let clock = Clock::system();
        let (audit, now) = (globals.audit(config, &clock), clock.now());
        let author = self.author.as_deref().unwrap_or(audit.actor());
        check_author_and_comment(author, &self.comment)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        let mut n_failed = 0;
        for prefix in &self.ids {
            let by = Attribution {
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
            let error_of = |found: &PrefixMatch<AckOutcome>| match found {
                PrefixMatch::One(AckOutcome::Done(_)) => None,
                PrefixMatch::One(AckOutcome::NotFiring(_)) => Some("not firing".to_owned()),
                PrefixMatch::NoMatch => Some("no such alert".to_owned()),
                PrefixMatch::Ambiguous(_) => Some("ambiguous id".to_owned()),
            };
            let acknowledged = store.acknowledge(prefix, by, now);
            let problem = match audit.audited(&operation, acknowledged, error_of).await?? {
                PrefixMatch::One(AckOutcome::Done(row)) => {
                    globals.remark(&format!("Acknowledged alert {}", row.fingerprint));
                    continue;
                }
                PrefixMatch::One(AckOutcome::NotFiring(row)) => format!(
                    "alert {} is {}, expected a firing alert",
                    row.fingerprint,
                    alert_table::state_name(AlertPhase::from_alert(&row.alert))
                ),
                PrefixMatch::NoMatch => not_found(prefix),
                PrefixMatch::Ambiguous(ids) => ambiguous(prefix, &ids),
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

fn not_found(prefix: &str) -> String {
    format!("no alert `{prefix}`; list ids with `spendwatch alerts list`")
}

fn ambiguous(prefix: &str, ids: &[String]) -> String {
    format!(
        "`{prefix}` matches {} alerts: {}; use a longer id",
        ids.len(),
        ids.join(", ")
    )
}

async fn show(
    prefix: &str,
    globals: &Globals,
    store: &Store,
    config: &Config,
) -> Result<ExitCode, CommandError> {
    let fingerprint = match store.alert(prefix).await? {
        PrefixMatch::One((row, _)) => row.fingerprint,
        PrefixMatch::NoMatch => return Err(CommandError::Failed(not_found(prefix))),
        PrefixMatch::Ambiguous(ids) => return Err(CommandError::Failed(ambiguous(prefix, &ids))),
    };
    let found = store.displayed_alert(&fingerprint, config.privacy).await?;
    let (shown, changes) = found.ok_or_else(|| CommandError::Failed(not_found(prefix)))?;
    let sent = store.last_message(&fingerprint).await?;
    let message = sent
        .as_ref()
        .and_then(|sent| LastMessage::new(sent, &fingerprint));
    let history = alert_table::history(shown.row.alert.watch, &changes);
    let text = match globals.output {
        OutputFormat::Table => {
            let acknowledgement = shown
                .acknowledged
                .as_ref()
                .map(alert_table::acknowledgement);
            let mut pieces = vec![
                alert_table::list(std::slice::from_ref(&shown))
                    .render(OutputFormat::Table, globals.stdout),
            ];
            if let Some(message) = &message {
                let heading = message
                    .heading()
                    .render(OutputFormat::Table, globals.stdout);
                let text = message.text();
                let lines = text.lines().map(|line| {
                    let indent = if line.starts_with("- ") { 2 } else { 0 };
                    globals.stdout.hanging("", indent, line)
                });
                pieces.push(format!("{heading}\n{}", lines.collect::<String>()));
            }
            pieces.extend(
                acknowledgement.map(|table| table.render(OutputFormat::Table, globals.stdout)),
            );
            pieces.push(history.render(OutputFormat::Table, globals.stdout));
            pieces.join("\n")
        }
        // CSV holds one table: the changes.
        OutputFormat::Csv => history.render(OutputFormat::Csv, globals.stdout),
        OutputFormat::Json => json_text(&alert_table::details(&shown, &changes, message.as_ref())),
    };
    Ok(print(&text, ExitCode::SUCCESS))
}
