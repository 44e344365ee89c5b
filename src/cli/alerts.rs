//! `alerts list`, `alerts show` and `alerts ack`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::globals::{
    CommandError, Globals, YesFlag, audited_mismatch, matched, partial_exit,
};
use crate::cli::output::{OutputFormat, json_text, print};
use crate::table::alerts::{self as alert_table, LastMessage};
use spendwatch_audit::Operation;
use spendwatch_base::clock::Clock;
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::silence::check_author_and_comment;
use spendwatch_domain::units::ids::{OrganizationName, RuleName};
use spendwatch_store::Store;
use spendwatch_store::alerts::suppressions::{AckOutcome, Attribution};
use spendwatch_store::alerts::{AlertFilter, AlertPhase};
use spendwatch_store::prefix_match::PrefixMatch;

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
                PrefixMatch::One(AckOutcome::NotFiring(_)) => Some("not firing".to_owned()),
                _ => audited_mismatch(found, "alert"),
            };
            let acknowledged = store.acknowledge(prefix, by, now);
            let found = audit.audited(&operation, acknowledged, error_of).await??;
            let problem = match one(found, prefix) {
                Ok(AckOutcome::Done(row)) => {
                    globals.remark(&format!("Acknowledged alert {}", row.fingerprint));
                    continue;
                }
                Ok(AckOutcome::NotFiring(row)) => format!(
                    "alert {} is {}, expected a firing alert",
                    row.fingerprint,
                    alert_table::state_name(AlertPhase::from_alert(&row.alert))
                ),
                Err(problem) => problem,
            };
            eprintln!("error: {problem}");
            n_failed += 1;
        }
        Ok(partial_exit(n_failed, self.ids.len()))
    }
}

fn one<T>(found: PrefixMatch<T>, prefix: &str) -> Result<T, String> {
    matched(found, "alert", prefix, "alerts list")
}

async fn show(
    prefix: &str,
    globals: &Globals,
    store: &Store,
    config: &Config,
) -> Result<ExitCode, CommandError> {
    let (row, _) = one(store.alert(prefix).await?, prefix).map_err(CommandError::Failed)?;
    let fingerprint = row.fingerprint;
    let found = store.displayed_alert(&fingerprint, config.privacy).await?;
    let found = found.map_or(PrefixMatch::NoMatch, PrefixMatch::One);
    let (shown, changes) = one(found, prefix).map_err(CommandError::Failed)?;
    let sent = store.last_message(&fingerprint).await?;
    let message = sent
        .as_ref()
        .and_then(|sent| LastMessage::new(sent, &fingerprint));
    let history = alert_table::history(shown.row.alert.watch, &changes);
    let text = match globals.output {
        OutputFormat::Table => {
            let screen = globals.stdout;
            let alert = alert_table::list(std::slice::from_ref(&shown));
            let mut pieces = vec![alert.as_table(screen)];
            if let Some(message) = &message {
                let heading = message.heading().as_table(screen);
                let text = message.text();
                let lines = text.lines().map(|line| {
                    let indent = if line.starts_with("- ") { 2 } else { 0 };
                    screen.hanging("", indent, line)
                });
                pieces.push(format!("{heading}\n{}", lines.collect::<String>()));
            }
            let acknowledged = shown.acknowledged.as_ref();
            pieces.extend(acknowledged.map(|by| alert_table::acknowledgement(by).as_table(screen)));
            pieces.push(history.as_table(screen));
            pieces.join("\n")
        }
        // CSV holds one table: the changes.
        OutputFormat::Csv => history.render(OutputFormat::Csv, globals.stdout),
        OutputFormat::Json => json_text(&alert_table::details(&shown, &changes, message.as_ref())),
    };
    Ok(print(&text, ExitCode::SUCCESS))
}
