//! `keys list`, `create`, `rename`, `revoke` and `restore`.

mod known;

mod change;
mod create;
mod list;
pub mod revoke;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::admin::desk::Desk;
use crate::cli::admin::keys::change::{Rename, Restore};
use crate::cli::admin::keys::create::Create;
use crate::cli::admin::keys::list::List;
use crate::cli::admin::keys::revoke::Revoke;
use crate::cli::globals::{Failure, Globals};
use crate::config::source::Environment;

/// API keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keys with who made them, when they were used and when they end, and what they spent this month where that is known
    #[command(
        after_help = "Example: spendwatch keys list --status active --idle 90d\nExample: spendwatch keys list --expiring 30d --output csv"
    )]
    List(List),
    /// Make a key; its secret goes to the one place that is named, or once onto the terminal
    #[command(
        after_help = "Example: spendwatch keys create ci --workspace Search --secret-out ./ci.key\n\
                      Example: spendwatch keys create ci --workspace Search --secret-to-command 'vault kv put secret/ci key=-'"
    )]
    Create(Create),
    /// Give a key another name, where the service can
    #[command(after_help = "Example: spendwatch keys rename apikey_01Ab ci-2026")]
    Rename(Rename),
    /// End what keys open: those that are named, that nobody has used for long, or that stand in a file
    #[command(
        after_help = "Where the service knows a reversible way (`inactive`) it is taken, unless `--archive` asks for the final one.\n\
                      Keys that were used in the last 7 days need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch keys revoke apikey_01Ab apikey_01Cd\n\
                      Example: spendwatch keys revoke --idle 90d --dry-run"
    )]
    Revoke(Revoke),
    /// Let a key that was revoked open again, where the service can
    #[command(after_help = "Example: spendwatch keys restore apikey_01Ab")]
    Restore(Restore),
}

impl Command {
    /// Looks or changes.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let desk = Desk::open(globals, environment).await?;
        match self {
            Command::List(list) => list.run(&desk).await,
            Command::Create(create) => create.run(&desk).await,
            Command::Rename(rename) => rename.run(&desk).await,
            Command::Revoke(revoke) => revoke.run(&desk).await,
            Command::Restore(restore) => restore.run(&desk).await,
        }
    }
}
