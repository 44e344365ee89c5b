//! `offboard`: revokes a user's keys, removes the user, and verifies the result.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::admin::batch::{BatchOutcome, StopFlag, batch_outcome};
use crate::admin::offboard::{AccessLists, OffboardResult, VerifyOutcome, offboard, read_lists};
use crate::cli::admin::confirmation::{Answer, Confirmation};
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::impact::{AffectedKeys, workspace_names};
use crate::cli::admin::keys::revoke::{revocation_for, revoke_step};
use crate::cli::admin::people_file::{self, PeopleColumns};
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::{CommandError, EXIT_PARTIAL, Globals};
use crate::cli::progress::CommandProgress;
use crate::table::OutputTable;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::source::Environment;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::offboard::{
    OffboardOptions, OffboardPlan, find_departing_user, plan,
};
use spendwatch_domain::admin::selection::find_user;
use spendwatch_domain::admin::server::{Capability, ServerKind};
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::units::ids::ApiKeyId;
use spendwatch_domain::units::plural::counted;

/// The columns of an `onboard` file are accepted too.
const COLUMNS: PeopleColumns = PeopleColumns {
    names: &["email", "user"],
    required: &[],
    optional: &["name", "team", "workspace", "role", "key_days"],
};

/// Arguments of `offboard`.
#[derive(Debug, Args)]
pub struct Offboard {
    /// Id or email address; the id for users already removed
    #[arg(
        value_name = "USER|EMAIL",
        required_unless_present = "all_left",
        conflicts_with = "all_left"
    )]
    user: Option<String>,
    /// CSV file of users: a column `email`, or `user` with ids or addresses
    #[arg(long, value_name = "FILE")]
    all_left: Option<PathBuf>,
    /// Key to keep, if the server supports it (repeatable)
    #[arg(long = "keep-key", value_name = "KEY", conflicts_with = "all_left")]
    keep: Vec<String>,
    /// Revoke keys permanently, even if the server supports deactivating them
    #[arg(long)]
    archive: bool,
    #[command(flatten)]
    confirmation: Confirmation,
}

impl Offboard {
    /// Plans, confirms and executes the offboarding, then verifies it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let requested = self.requested()?;
        let context = CommandContext::open(globals, environment).await?;
        if self.archive {
            context.require(Capability::ArchiveKey)?;
        }
        if !self.keep.is_empty() {
            context.require(Capability::KeepKey)?;
        }
        let ledger = Ledger::open(&context).await?;
        let lists = read(&context, &ledger).await?;
        let plans = self.plans(&context, &requested, &lists)?;
        let keys = plans.iter().flat_map(|plan| &plan.keys);
        let recent = ledger.recent(&context).await?;
        let names = workspace_names(&context).await;
        let keys = AffectedKeys::new(keys, &recent, &names, context.session.clock.now());
        let steps: Vec<Vec<PlannedStep>> = plans.iter().map(|plan| planned(plan, &keys)).collect();
        let all = steps.concat();
        let question = self.question(&context, &plans);
        match steps::confirm_keys(globals, &self.confirmation, &all, &keys, question)? {
            None => steps::execute(&context, all, true).await,
            Some(Answer::No) => Ok(ExitCode::FAILURE),
            Some(Answer::Yes) => self.execute(&context, &plans, &steps).await,
        }
    }

    fn requested(&self) -> Result<Vec<String>, CommandError> {
        let Some(path) = &self.all_left else {
            return Ok(self.user.iter().cloned().collect());
        };
        let rows = people_file::read(path, COLUMNS, |_| Ok(()))?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    fn plans(
        &self,
        context: &CommandContext<'_>,
        requested: &[String],
        lists: &AccessLists,
    ) -> Result<Vec<OffboardPlan>, CommandError> {
        let options = OffboardOptions {
            revocation: revocation_for(context.service(), self.archive),
            keep: self
                .keep
                .iter()
                .map(|id| ApiKeyId::new(id.as_str()))
                .collect(),
        };
        let (mut plans, mut errors) = (Vec::new(), Vec::new());
        let removed = context.removed_users()?;
        for requested in requested {
            let access = lists.current_access();
            // The audit log has the id of a removed user by address.
            let is_listed = find_user(requested, access.users).is_ok();
            let known = removed
                .get(&requested.to_lowercase())
                .filter(|_| !is_listed);
            let user = known.map_or(requested.as_str(), String::as_str);
            let planned = find_departing_user(user, access)
                .map_err(Into::into)
                .and_then(|user| plan(user, context.service(), access, &options));
            match planned {
                Ok(plan) => plans.push(plan),
                Err(error) => errors.push(context.with_organization(&error.to_string())),
            }
        }
        match errors.len() {
            0 => Ok(plans),
            1 => Err(CommandError::Failed(errors.concat())),
            _ => Err(CommandError::Failed(format!(
                "no change:\n{}",
                errors.join("\n")
            ))),
        }
    }

    fn question(&self, context: &CommandContext<'_>, plans: &[OffboardPlan]) -> String {
        let organization = &context.session.organization;
        let n_keys: usize = plans.iter().map(|plan| plan.keys.len()).sum();
        let who = match plans {
            [plan] => {
                let email = plan.user.email.as_deref().unwrap_or("no address");
                format!("`{}` ({email})", plan.user.id)
            }
            plans => format!("{} users", plans.len()),
        };
        format!(
            "Revoke {} of {who} and remove them from organization `{organization}`?",
            counted(n_keys, "key")
        )
    }

    async fn execute(
        &self,
        context: &CommandContext<'_>,
        plans: &[OffboardPlan],
        steps: &[Vec<PlannedStep>],
    ) -> Result<ExitCode, CommandError> {
        let n_steps = plans.iter().map(|plan| plan.steps.len()).sum();
        let progress = CommandProgress::with_total(context.globals, "steps", n_steps);
        let stop = StopFlag::on_signal();
        let revocation = revocation_for(context.service(), self.archive);
        let mut results: Vec<OffboardResult> = Vec::with_capacity(plans.len());
        let mut n_before = 0;
        for plan in plans {
            let on_step = |n_done| progress.set_position(n_before + n_done);
            results.push(offboard(&context.session, plan, revocation, &stop, on_step).await);
            n_before += plan.steps.len();
        }
        progress.finish();
        context.warn_unrecorded();
        for (plan, result) in plans.iter().zip(&results) {
            print_result(context.globals, plan, result);
        }
        let tables = steps
            .iter()
            .zip(&results)
            .map(|(steps, result)| steps::result_table(steps, &result.steps));
        let table = tables
            .reduce(joined)
            .unwrap_or_else(|| steps::plan_table(&[]));
        Ok(context.globals.print(&table, exit_code(&results)))
    }
}

/// Reads the lists and shows progress.
async fn read(context: &CommandContext<'_>, ledger: &Ledger) -> Result<AccessLists, CommandError> {
    let uses = match context.service() {
        ServerKind::Guide => None,
        ServerKind::Real => ledger.last_uses(context).await?,
    };
    let last_use = match &uses {
        Some(uses) => LastUseSource::Ledger(uses),
        None => LastUseSource::List,
    };
    let progress = CommandProgress::start(context.globals, "reading users".to_owned());
    let on_page = |what: &'static str, n_rows: usize| {
        progress.set_message(format!("reading {what}: {n_rows}"));
    };
    let lists = read_lists(&context.session, None, last_use, &on_page).await;
    progress.finish();
    context.warn_unreadable();
    let lists = lists?;
    if let Some(error) = &lists.invites_error {
        context.globals.remark(&format!(
            "warning: open invitations are unknown and are kept: {}",
            error_chain(error)
        ));
    }
    Ok(lists)
}

/// Returns the steps, those that revoke a key with its impact.
fn planned(plan: &OffboardPlan, keys: &AffectedKeys) -> Vec<PlannedStep> {
    let row = |change: &AdminChange| {
        let key = plan.keys.iter().find(|key| match change {
            AdminChange::RevokeKey { key: id, .. } => key.listed.id == *id,
            _ => false,
        });
        let Some(key) = key else {
            let name = plan.user.email.clone().unwrap_or_default();
            return PlannedStep::new(change.clone(), name);
        };
        let AdminChange::RevokeKey { revocation, .. } = change else {
            return PlannedStep::new(change.clone(), String::new());
        };
        revoke_step(key, *revocation, keys)
    };
    plan.steps.iter().map(row).collect()
}

fn print_result(globals: &Globals, plan: &OffboardPlan, result: &OffboardResult) {
    let user = &plan.user.id;
    steps::print_errors(&result.steps);
    match &result.verification {
        VerifyOutcome::Verified if plan.user.role.is_none() && plan.steps.is_empty() => {
            globals.remark(&format!(
                "user `{user}` is not in the organization and has no active keys"
            ));
        }
        VerifyOutcome::Verified => {
            globals.remark(&format!(
                "verified: user `{user}` was removed and the listed keys were revoked"
            ));
        }
        VerifyOutcome::AccessLeft(left) => eprintln!(
            "error: user `{user}`: {}; rerun `spendwatch offboard {user}`",
            left.join("; ")
        ),
        VerifyOutcome::Unverified(why) => eprintln!(
            "error: cannot verify that user `{user}` was offboarded: {why}; rerun `spendwatch offboard {user}`"
        ),
    }
}

/// Returns 0 if everything is done and verified, 1 if nothing is, else 3.
fn exit_code(results: &[OffboardResult]) -> ExitCode {
    let is_verified = |result: &OffboardResult| result.verification == VerifyOutcome::Verified;
    let steps = results.iter().flat_map(|result| &result.steps);
    let outcome = batch_outcome(steps.map(|step| step.as_ref().map(|step| &step.outcome)));
    match (outcome, results.iter().all(is_verified)) {
        (BatchOutcome::Complete, true) => ExitCode::SUCCESS,
        (BatchOutcome::Nothing, false) => ExitCode::FAILURE,
        (BatchOutcome::Complete | BatchOutcome::Partial | BatchOutcome::Nothing, _) => {
            ExitCode::from(EXIT_PARTIAL)
        }
    }
}

fn joined(first: OutputTable, second: OutputTable) -> OutputTable {
    let mut rows = first.rows;
    rows.extend(second.rows);
    OutputTable {
        columns: first.columns,
        rows,
    }
}
