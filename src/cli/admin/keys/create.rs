//! `keys create`: creates a key and writes its secret to one destination.

use std::process::ExitCode;

use clap::Args;

use crate::admin::batch::StopFlag;
use crate::admin::key::{self, KeyOutcome};
use crate::cli::admin::confirmation::DryRun;
use crate::cli::admin::context::{CommandContext, expiry};
use crate::cli::admin::secret_destination::SecretDestination;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::{CommandError, EXIT_PARTIAL};
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::server::Capability;

/// Arguments of `keys create`.
#[derive(Debug, Args)]
pub struct CreateKey {
    /// Name of the key
    name: String,
    /// Name or id of the workspace
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
    /// Lifetime in days
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    key_days: u32,
    /// Create a key that does not expire
    #[arg(long, conflicts_with = "key_days")]
    no_expiry: bool,
    #[command(flatten)]
    destination: SecretDestination,
    #[command(flatten)]
    dry_run: DryRun,
}

impl CreateKey {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        context.require(Capability::CreateKey)?;
        if self.name.trim().is_empty() {
            return Err(CommandError::usage("the key name must not be empty"));
        }
        let sink = if self.dry_run.dry_run {
            None
        } else {
            Some(
                self.destination
                    .secret_sink(context.globals, &context.command_environment)?,
            )
        };
        let workspace = context.workspace(&self.workspace).await?;
        let change = AdminChange::CreateKey {
            name: self.name.clone(),
            workspace: workspace.id,
            expires_at: (!self.no_expiry)
                .then(|| expiry(context.session.clock.now(), self.key_days))
                .transpose()?,
        };
        let step = PlannedStep {
            note: format!("in workspace {}", workspace.name),
            ..PlannedStep::new(change, self.name.clone())
        };
        let Some(sink) = sink else {
            return steps::execute(context, vec![step], true).await;
        };
        let open = sink
            .open()
            .map_err(|error| CommandError::Failed(error.to_string()))?;
        // A signal must not interrupt writing the secret.
        let _halt = StopFlag::on_signal();
        let (outcome, id, detail, code) =
            match key::create(&context.session, &step.change, open).await {
                KeyOutcome::Created { id, .. } => {
                    let detail = format!("its secret is {}", sink.description());
                    ("done", Some(id), detail, ExitCode::SUCCESS)
                }
                KeyOutcome::NotCreated(why) => ("failed", None, why, ExitCode::FAILURE),
                KeyOutcome::Revoked { id, why } => {
                    let detail = format!("the key was created and revoked again: {why}");
                    ("undone", Some(id), detail, ExitCode::from(EXIT_PARTIAL))
                }
                KeyOutcome::Lost { id, why } => {
                    ("unknown", id, lost(&why), ExitCode::from(EXIT_PARTIAL))
                }
            };
        context.warn_unrecorded();
        if code != ExitCode::SUCCESS {
            eprintln!("error: {detail}");
        }
        let table = steps::single_row(&step, outcome, &detail, id.map(|id| id.to_string()));
        Ok(context.globals.print(&table, code))
    }
}

fn lost(why: &str) -> String {
    format!(
        "a key may exist whose secret was lost; find it with `spendwatch keys list` and revoke it: {why}"
    )
}
