//! `keys rename` and `keys restore`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::admin::confirmation::DryRun;
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::CommandError;
use spendwatch_domain::admin::change::{AdminChange, Revocation};
use spendwatch_domain::admin::selection::{KeyDetails, find_key, key_details};
use spendwatch_domain::admin::server::Capability;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::units::ids::ApiKeyId;

/// Arguments of `keys rename`.
#[derive(Debug, Args)]
pub struct RenameKey {
    /// Id of the key
    #[arg(value_name = "KEY")]
    key: String,
    /// New name
    name: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Arguments of `keys restore`.
#[derive(Debug, Args)]
pub struct RestoreKey {
    /// Id of the key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    dry_run: DryRun,
}

impl RenameKey {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        context.require(Capability::RenameKey)?;
        if self.name.trim().is_empty() {
            return Err(CommandError::usage("the new name is empty"));
        }
        let keys = key_details(
            context.keys().await?,
            LastUseSource::Unavailable,
            context.session.clock.now(),
        );
        let key = find_one_key(context, &self.key, &keys)?;
        let change = AdminChange::RenameKey {
            key: key.listed.id.clone(),
            name: self.name.clone(),
        };
        let step = PlannedStep::new(change, key.listed.name.clone());
        steps::execute(context, vec![step], self.dry_run.dry_run).await
    }
}

fn find_one_key<'a>(
    context: &CommandContext<'_>,
    id: &str,
    keys: &'a [KeyDetails],
) -> Result<&'a KeyDetails, CommandError> {
    find_key(&ApiKeyId::new(id), keys).ok_or_else(|| {
        CommandError::Failed(context.with_organization(&format!(
            "no API key `{id}`; list ids with `spendwatch keys list`"
        )))
    })
}

impl RestoreKey {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        context.require(Capability::RestoreKey)?;
        let now = context.session.clock.now();
        let keys = key_details(context.keys().await?, LastUseSource::Unavailable, now);
        let key = find_one_key(context, &self.key, &keys)?;
        let status = key.status(now);
        if status != Revocation::Inactive.as_str() {
            let text = format!("key `{}` is {status}, expected an inactive key", self.key);
            return Err(context.failed(&text));
        }
        let change = AdminChange::RestoreKey {
            key: key.listed.id.clone(),
        };
        let step = PlannedStep::new(change, key.listed.name.clone());
        steps::execute(context, vec![step], self.dry_run.dry_run).await
    }
}
