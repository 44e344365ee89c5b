//! The command tree. Data goes to standard output, everything else to standard error.

pub mod log;
pub mod output;

pub mod globals;

pub mod progress;
pub mod remarks;
pub mod swept;

pub mod admin;
pub mod alerts;
pub mod audit;
pub mod check;
pub mod check_config;
pub mod demo;
pub mod doctor;
pub mod healthcheck;
pub mod init;
pub mod notifications;
pub mod notify;
pub mod run;
pub mod silence;
pub mod store;
pub mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::globals::{Globals, end};
use crate::cli::output::Screen;
use crate::config::source::Environment;

/// `check` alone has exit codes of its own: 2 is "alerting" there, so wrong usage must be 1.
pub fn wrong_usage(words: &[String]) -> ExitCode {
    let mut words = words.iter();
    let command = loop {
        match words.next().map(String::as_str) {
            Some("--config" | "--org" | "--output" | "--actor") => {
                words.next();
            }
            Some(option) if option.starts_with('-') => {}
            command => break command,
        }
    };
    ExitCode::from(if command == Some("check") { 1 } else { 2 })
}

/// Watches what an organization spends on Claude.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Example: ANTHROPIC_ADMIN_KEY=… spendwatch check --limit 5000"
)]
pub struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch until stopped: poll, evaluate rules, serve metrics, deliver alerts
    #[command(after_help = "Example: spendwatch run --config spendwatch.toml")]
    Run(run::Run),
    /// Poll once and evaluate the rules, or one limit, changing and sending nothing: exit 0 quiet, 2 alerting, 1 anything else
    #[command(
        after_help = "Example: spendwatch check --limit 5000\nExample: spendwatch check --config spendwatch.toml --notify"
    )]
    Check(check::Check),
    /// Watch a simulated organization, with alerts on the console; needs nothing, reads no file
    #[command(after_help = "Example: spendwatch demo")]
    Demo,
    /// Check the configuration and tell all problems at once
    #[command(after_help = "Example: spendwatch check-config --config spendwatch.toml --show")]
    CheckConfig(check_config::CheckConfig),
    /// Alerts: what fires, what ended, and the life of one
    #[command(
        subcommand,
        after_help = "Example: spendwatch alerts list --state firing"
    )]
    Alerts(alerts::Command),
    /// Silences: keep messages quiet for a time
    #[command(subcommand, after_help = "Example: spendwatch silence list")]
    Silence(silence::Command),
    /// Messages: what became of each, and dead letters sent again
    #[command(
        subcommand,
        after_help = "Example: spendwatch notifications list --state dead"
    )]
    Notifications(notifications::Command),
    /// Notifiers: send a test message to one
    #[command(
        subcommand,
        after_help = "Example: spendwatch notify test finops-slack"
    )]
    Notify(notify::Command),
    /// What was used, by organization, workspace, model, API key, user or team; from the ledger, or with `--live` from the service
    #[command(
        after_help = "Example: spendwatch usage --from 2026-11-01 --by model --granularity day\nExample: spendwatch usage --by api_key --output csv"
    )]
    Usage(usage::Usage),
    /// The organization itself: what the service tells of it, and its settings
    #[command(subcommand, after_help = "Example: spendwatch org show")]
    Org(admin::org::Command),
    /// People of the organization: list, invite, change roles, remove
    #[command(subcommand, after_help = "Example: spendwatch users list --idle 90d")]
    Users(admin::users::Command),
    /// Invitations that nobody has accepted yet
    #[command(
        subcommand,
        after_help = "Example: spendwatch invites list --status pending"
    )]
    Invites(admin::invites::Command),
    /// API keys: list, create, rename, revoke, restore
    #[command(
        subcommand,
        after_help = "Example: spendwatch keys list --expiring 30d"
    )]
    Keys(admin::keys::Command),
    /// Workspaces: list, create, archive, and who belongs to them
    #[command(subcommand, after_help = "Example: spendwatch workspaces list")]
    Workspaces(admin::workspaces::Command),
    /// Bring somebody in: an invitation and a key of their own
    #[command(
        after_help = "What stands already is not made again: a command that failed can be repeated.\n\n\
                      Example: spendwatch onboard ada@example.com --name 'Ada Kern' --team search --workspace Search --secret-out ./ada.key\n\
                      Example: spendwatch onboard --from people.csv --secret-out ./keys --dry-run"
    )]
    Onboard(admin::onboard::Onboard),
    /// Let somebody go: all their keys end, then they are removed, and it is read again that they are
    #[command(
        after_help = "A failure in the middle goes on with the rest; the command can be repeated, by the user's id also when they are gone.\n\
                      Before it asks, it shows which keys are in use (used in the last 7 days), their last use and their spend of these days. \
                      Keys in use need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch offboard ada@example.com --dry-run\n\
                      Example: spendwatch offboard --all-left left.csv --yes"
    )]
    Offboard(admin::offboard::Offboard),
    /// The audit log: what was done by whom, and whether the log holds
    #[command(subcommand, after_help = "Example: spendwatch audit list --since 7d")]
    Audit(audit::Command),
    /// Look at the key and its reach, the clock, the store, the audit log and the notifiers, and say what to mend; sends nothing
    #[command(after_help = "Example: spendwatch doctor --config spendwatch.toml")]
    Doctor(doctor::Doctor),
    /// Look after the store
    #[command(subcommand, after_help = "Example: spendwatch store check")]
    Store(store::Command),
    /// Ask the daemon whether it serves: exit 0 or 1, for containers
    #[command(after_help = "Example: spendwatch healthcheck --ready")]
    Healthcheck(healthcheck::Healthcheck),
    /// Write a commented configuration to start from
    #[command(after_help = "Example: spendwatch init spendwatch.toml")]
    Init(init::Init),
    /// Print completions for a shell
    #[command(
        after_help = "Example: spendwatch completions bash > /etc/bash_completion.d/spendwatch"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs what the arguments say.
pub async fn run(mut arguments: Arguments, environment: &Environment) -> ExitCode {
    arguments.globals.stdout = Screen::stdout(environment);
    arguments.globals.stderr = Screen::stderr(environment);
    let globals = &arguments.globals;
    match arguments.command {
        Command::Run(run) => end(run.run(globals, environment).await),
        Command::Check(check) => check.run(globals, environment).await,
        Command::CheckConfig(check_config) => end(check_config.run(globals, environment).await),
        Command::Demo => match demo::run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Command::Alerts(alerts) => end(alerts.run(globals, environment).await),
        Command::Silence(silence) => end(silence.run(globals, environment).await),
        Command::Notifications(messages) => end(messages.run(globals, environment).await),
        Command::Notify(notify) => end(notify.run(globals, environment).await),
        Command::Usage(usage) => end(usage.run(globals, environment).await),
        Command::Org(org) => end(org.run(globals, environment).await),
        Command::Users(users) => end(users.run(globals, environment).await),
        Command::Invites(invites) => end(invites.run(globals, environment).await),
        Command::Keys(keys) => end(keys.run(globals, environment).await),
        Command::Workspaces(workspaces) => end(workspaces.run(globals, environment).await),
        Command::Onboard(onboard) => end(onboard.run(globals, environment).await),
        Command::Offboard(offboard) => end(offboard.run(globals, environment).await),
        Command::Audit(audit) => end(audit.run(globals, environment)),
        Command::Doctor(doctor) => end(doctor.run(globals, environment).await),
        Command::Store(store) => end(store.run(globals, environment).await),
        Command::Healthcheck(check) => end(check.run(globals, environment).await),
        Command::Init(init) => init.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "spendwatch", &mut script);
            output::print(&String::from_utf8_lossy(&script), ExitCode::SUCCESS)
        }
    }
}
