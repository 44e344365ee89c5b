//! `keys create`: a key, and its secret in the one place that is named.

use std::process::ExitCode;

use clap::Args;

use crate::admin::batch::Halt;
use crate::admin::key::{self, Made};
use crate::cli::admin::caution::DryRun;
use crate::cli::admin::desk::{Desk, IN_PART, expiry};
use crate::cli::admin::secret_place::SecretPlace;
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::Failure;
use crate::domain::admin::service::Deed;
use crate::domain::admin::write::Write;

/// The new key.
#[derive(Debug, Args)]
pub struct Create {
    /// As people see it
    name: String,
    /// Where it opens something: name or id
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
    /// After so many days it opens nothing
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    key_days: u32,
    /// It never ends
    #[arg(long, conflicts_with = "key_days")]
    no_expiry: bool,
    #[command(flatten)]
    place: SecretPlace,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    /// Carries it out.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::CreateKey)?;
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the name of a key is not empty"));
        }
        let handover = if self.dry_run.dry_run {
            None
        } else {
            Some(
                self.place
                    .handover(desk.globals, &desk.command_environment)?,
            )
        };
        let workspace = desk.workspace(&self.workspace).await?;
        let write = Write::CreateKey {
            name: self.name.clone(),
            workspace: workspace.id,
            expires_at: (!self.no_expiry)
                .then(|| expiry(desk.office.clock.now(), self.key_days))
                .transpose()?,
        };
        let step = Planned {
            note: format!("in workspace {}", workspace.name),
            ..Planned::new(write, self.name.clone())
        };
        let Some(handover) = handover else {
            return steps::carry_out(desk, vec![step], true).await;
        };
        let place = handover
            .open()
            .map_err(|error| Failure::World(error.to_string()))?;
        // A secret that is on its way reaches its place, whatever is pressed meanwhile.
        let _halt = Halt::on_signal();
        let (outcome, id, detail, code) = match key::make(&desk.office, &step.write, place).await {
            Made::Key { id, .. } => {
                let detail = format!("its secret is {}", handover.told());
                ("done", Some(id), detail, ExitCode::SUCCESS)
            }
            Made::Nothing(why) => ("failed", None, why, ExitCode::FAILURE),
            Made::Undone { id, why } => {
                let detail = format!("it was made and revoked again: {why}");
                ("undone", Some(id), detail, ExitCode::from(IN_PART))
            }
            Made::Lost { id, why } => ("unknown", id, lost(&why), ExitCode::from(IN_PART)),
        };
        desk.remark_unrecorded();
        if code != ExitCode::SUCCESS {
            eprintln!("error: {detail}");
        }
        let sheet = steps::one(&step, outcome, &detail, id.map(|id| id.to_string()));
        Ok(desk.globals.print(&sheet, code))
    }
}

fn lost(why: &str) -> String {
    format!(
        "a key may stand whose secret nobody has: find it by `spendwatch keys list` and revoke it; {why}"
    )
}
