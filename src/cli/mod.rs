//! Command line. Data goes to standard output, everything else to standard error.

pub mod log;
pub mod output;

pub mod globals;

pub mod live_usage;
pub mod progress;
pub mod remarks;

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

use crate::cli::admin::context::CommandContext;
use crate::cli::globals::{CommandError, Globals};
use crate::cli::output::screen::Screen;
use spendwatch_config::source::Environment;

/// Returns the exit code for wrong usage: 2, but 1 for `check`, where 2 means "alerting".
pub fn usage_exit_code(arguments: &[String]) -> ExitCode {
    let mut arguments = arguments.iter();
    let command = loop {
        match arguments.next().map(String::as_str) {
            Some("--config" | "--org" | "--output" | "--actor") => {
                arguments.next();
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
    /// Run the daemon: poll, evaluate rules, serve metrics, deliver alerts
    #[command(after_help = "Example: spendwatch run --config spendwatch.toml")]
    Run(run::Run),
    /// Evaluate the rules, or one limit, once without sending
    #[command(
        after_help = "Exit codes: 0 quiet, 2 alerting, 1 anything else.\n\nExample: spendwatch check --limit 5000\nExample: spendwatch check --config spendwatch.toml --notify"
    )]
    Check(check::Check),
    /// Run the daemon on a simulated organization, without any setup
    #[command(after_help = "Example: spendwatch demo")]
    Demo,
    /// Check the configuration and report all problems
    #[command(after_help = "Example: spendwatch check-config --config spendwatch.toml --show")]
    CheckConfig(check_config::CheckConfig),
    /// List, show and acknowledge alerts
    #[command(
        subcommand,
        after_help = "Example: spendwatch alerts list --state firing"
    )]
    Alerts(alerts::Command),
    /// Add, list and remove silences
    #[command(subcommand, after_help = "Example: spendwatch silence list")]
    Silence(silence::Command),
    /// List messages and replay dead letters
    #[command(
        subcommand,
        after_help = "Example: spendwatch notifications list --state dead"
    )]
    Notifications(notifications::Command),
    /// Send a test message to a notifier
    #[command(
        subcommand,
        after_help = "Example: spendwatch notify test finops-slack"
    )]
    Notify(notify::Command),
    /// Report usage and spend from the ledger or, with `--live`, from the Admin API
    #[command(
        after_help = "Example: spendwatch usage --from 2026-11-01 --by model --granularity day\nExample: spendwatch usage --by api_key --output csv"
    )]
    Usage(usage::Usage),
    /// Show the organization and change its settings
    #[command(subcommand, after_help = "Example: spendwatch org show")]
    Org(admin::org::Command),
    /// List, invite and remove users, and change their roles
    #[command(subcommand, after_help = "Example: spendwatch users list --idle 90d")]
    Users(admin::users::Command),
    /// List and withdraw invitations
    #[command(
        subcommand,
        after_help = "Example: spendwatch invites list --status pending"
    )]
    Invites(admin::invites::Command),
    /// List, create, rename, revoke and restore API keys
    #[command(
        subcommand,
        after_help = "Example: spendwatch keys list --expiring 30d"
    )]
    Keys(admin::keys::Command),
    /// List, create and archive workspaces, and manage their members
    #[command(subcommand, after_help = "Example: spendwatch workspaces list")]
    Workspaces(admin::workspaces::Command),
    /// Onboard a user: send an invitation and create a key
    #[command(
        after_help = "Existing keys and invitations are kept, so a failed command can be rerun.\n\n\
                      Example: spendwatch onboard ada@example.com --name 'Ada Kern' --team search --workspace Search --secret-out ./ada.key\n\
                      Example: spendwatch onboard --from people.csv --secret-out ./keys --dry-run"
    )]
    Onboard(admin::onboard::Onboard),
    /// Revoke a user's keys, remove the user, and verify it
    #[command(
        after_help = "A failed step does not stop the rest. The command can be rerun, with the user's id once the user is removed.\n\
                      The confirmation shows which keys were used in the last 7 days, their last use and their spend. \
                      Keys in use need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch offboard ada@example.com --dry-run\n\
                      Example: spendwatch offboard --all-left left.csv --yes"
    )]
    Offboard(admin::offboard::Offboard),
    /// List audit entries, and verify and anchor the audit log
    #[command(subcommand, after_help = "Example: spendwatch audit list --since 7d")]
    Audit(audit::Command),
    /// Diagnose the setup and suggest fixes; sends no messages
    #[command(after_help = "Example: spendwatch doctor --config spendwatch.toml")]
    Doctor(doctor::Doctor),
    /// Check and back up the store
    #[command(subcommand, after_help = "Example: spendwatch store check")]
    Store(store::Command),
    /// Check whether the daemon is healthy: exit 0 or 1, for containers
    #[command(after_help = "Example: spendwatch healthcheck --ready")]
    Healthcheck(healthcheck::Healthcheck),
    /// Write a commented starter configuration
    #[command(after_help = "Example: spendwatch init spendwatch.toml")]
    Init(init::Init),
    /// Print shell completions
    #[command(
        after_help = "Example: spendwatch completions bash > /etc/bash_completion.d/spendwatch"
    )]
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command, prints the errors of a failed one and returns the exit code.
pub async fn run(mut arguments: Arguments, environment: &Environment) -> ExitCode {
    arguments.globals.stdout = Screen::stdout(environment);
    arguments.globals.stderr = Screen::stderr(environment);
    let result = execute(&arguments.command, &arguments.globals, environment).await;
    result.unwrap_or_else(|error| error.report())
}

async fn execute(
    command: &Command,
    globals: &Globals,
    environment: &Environment,
) -> Result<ExitCode, CommandError> {
    let context = || CommandContext::open(globals, environment);
    match command {
        Command::Run(run) => run.run(globals, environment).await,
        Command::Check(check) => Ok(check.run(globals, environment).await),
        Command::CheckConfig(check_config) => check_config.run(globals, environment).await,
        Command::Demo => Ok(demo::run().await.map(|()| ExitCode::SUCCESS)?),
        Command::Alerts(alerts) => alerts.run(globals, environment).await,
        Command::Silence(silence) => silence.run(globals, environment).await,
        Command::Notifications(messages) => messages.run(globals, environment).await,
        Command::Notify(notify) => notify.run(globals, environment).await,
        Command::Usage(usage) => usage.run(globals, environment).await,
        Command::Org(org) => org.run(globals, environment).await,
        Command::Users(users) => users.run(&context().await?).await,
        Command::Invites(invites) => invites.run(&context().await?).await,
        Command::Keys(keys) => keys.run(&context().await?).await,
        Command::Workspaces(workspaces) => workspaces.run(&context().await?).await,
        Command::Onboard(onboard) => onboard.run(globals, environment).await,
        Command::Offboard(offboard) => offboard.run(globals, environment).await,
        Command::Audit(audit) => audit.run(globals, environment),
        Command::Doctor(doctor) => doctor.run(globals, environment).await,
        Command::Store(store) => store.run(globals, environment).await,
        Command::Healthcheck(check) => check.run(globals, environment).await,
        Command::Init(init) => Ok(init.run()),
        Command::Completions { shell } => {
            let (mut command, mut script) = (Arguments::command(), Vec::new());
            clap_complete::generate(*shell, &mut command, "spendwatch", &mut script);
            Ok(output::print(
                &String::from_utf8_lossy(&script),
                ExitCode::SUCCESS,
            ))
        }
    }
}
