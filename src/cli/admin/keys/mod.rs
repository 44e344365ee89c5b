//! `keys list`, `create`, `rename`, `revoke` and `restore`.

mod selection;

mod change;
mod create;
mod list;
pub mod revoke;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::admin::context::CommandContext;
use crate::cli::admin::keys::change::{RenameKey, RestoreKey};
use crate::cli::admin::keys::create::CreateKey;
use crate::cli::admin::keys::list::ListKeys;
use crate::cli::admin::keys::revoke::RevokeKeys;
use crate::cli::globals::CommandError;

/// API keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List keys with creator, last use, expiry and spend this month
    #[command(
        after_help = "Example: spendwatch keys list --status active --idle 90d\nExample: spendwatch keys list --expiring 30d --output csv"
    )]
    List(ListKeys),
    /// Create a key and write its secret to a file, a command or the terminal
    #[command(
        after_help = "Example: spendwatch keys create ci --workspace Search --secret-out ./ci.key\n\
                      Example: spendwatch keys create ci --workspace Search --secret-to-command 'vault kv put secret/ci key=-'"
    )]
    Create(CreateKey),
    /// Rename a key, if the server supports it
    #[command(after_help = "Example: spendwatch keys rename apikey_01Ab ci-2026")]
    Rename(RenameKey),
    /// Revoke keys by id, by idle time, or from a file
    #[command(
        after_help = "Keys are deactivated if the server supports it, and can then be restored; `--archive` revokes them permanently.\n\
                      Keys that were used in the last 7 days need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch keys revoke apikey_01Ab apikey_01Cd\n\
                      Example: spendwatch keys revoke --idle 90d --dry-run"
    )]
    Revoke(RevokeKeys),
    /// Restore a deactivated key, if the server supports it
    #[command(after_help = "Example: spendwatch keys restore apikey_01Ab")]
    Restore(RestoreKey),
}

impl Command {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        match self {
            Command::List(list) => list.run(context).await,
            Command::Create(create) => create.run(context).await,
            Command::Rename(rename) => rename.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
            Command::Restore(restore) => restore.run(context).await,
        }
    }
}
