//! `offboard`: the end of somebody's access, and of what their keys open.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::admin::batch::{Halt, Sum, sum};
use crate::admin::offboard::{Lists, Offboarded, Verdict, lists, offboard};
use crate::cli::admin::at_stake::{KeysAtStake, workspace_names};
use crate::cli::admin::caution::{Answer, Caution};
use crate::cli::admin::desk::{Desk, IN_PART, failed};
use crate::cli::admin::keys::revoke::{manner, step};
use crate::cli::admin::people_file::{self, Columns};
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::{Failure, Globals};
use crate::cli::progress::Progress;
use crate::config::source::Environment;
use crate::domain::admin::choice::find_user;
use crate::domain::admin::offboard::{Plan, Wish, leaver, plan};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::Write;
use crate::domain::census::ToldBy;
use crate::domain::ids::ApiKeyId;
use crate::domain::plural::counted;
use crate::outbound::causes;
use crate::sheet::Sheet;

/// Columns of a file of leavers: also one of newcomers will do.
const COLUMNS: Columns = Columns {
    names: &["email", "user"],
    required: &[],
    optional: &["name", "team", "workspace", "role", "key_days"],
};

/// Who leaves.
#[derive(Debug, Args)]
pub struct Offboard {
    /// Id or email address; who is gone already is named by their id
    #[arg(
        value_name = "USER|EMAIL",
        required_unless_present = "all_left",
        conflicts_with = "all_left"
    )]
    user: Option<String>,
    /// All who stand in this CSV file: a column `email`, or `user` with ids or addresses
    #[arg(long, value_name = "FILE")]
    all_left: Option<PathBuf>,
    /// A key that lives on, where the service lets keys outlive who made them; several are several
    #[arg(long = "keep-key", value_name = "KEY", conflicts_with = "all_left")]
    keep: Vec<String>,
    /// Revoke keys for good, where the service knows a reversible way, too
    #[arg(long)]
    archive: bool,
    #[command(flatten)]
    caution: Caution,
}

impl Offboard {
    /// Plans, asks, carries it out, and reads again what is left.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let asked = self.asked()?;
        let desk = Desk::open(globals, environment).await?;
        if self.archive {
            desk.check(Deed::ArchiveKey)?;
        }
        if !self.keep.is_empty() {
            desk.check(Deed::KeepKey)?;
        }
        let ledger = Ledger::open(&desk).await?;
        let lists = read(&desk, &ledger).await?;
        let plans = self.plans(&desk, &asked, &lists)?;
        let keys = plans.iter().flat_map(|plan| &plan.keys);
        let recent = ledger.recent(&desk).await?;
        let names = workspace_names(&desk).await;
        let keys = KeysAtStake::new(keys, &recent, &names, desk.office.clock.now());
        let steps: Vec<Vec<Planned>> = plans.iter().map(|plan| planned(plan, &keys)).collect();
        let all = steps.concat();
        let question = self.question(&desk, &plans);
        match steps::ask_about_keys(globals, &self.caution, &all, &keys, question)? {
            None => steps::carry_out(&desk, all, true).await,
            Some(Answer::No) => Ok(ExitCode::FAILURE),
            Some(Answer::Yes) => self.carry_out(&desk, &plans, &steps).await,
        }
    }

    fn asked(&self) -> Result<Vec<String>, Failure> {
        let Some(path) = &self.all_left else {
            return Ok(self.user.iter().cloned().collect());
        };
        let rows = people_file::read(path, COLUMNS, |_| Ok(()))?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    fn plans(
        &self,
        desk: &Desk<'_>,
        asked: &[String],
        lists: &Lists,
    ) -> Result<Vec<Plan>, Failure> {
        let wish = Wish {
            manner: manner(desk.service(), self.archive),
            keep: self
                .keep
                .iter()
                .map(|id| ApiKeyId::new(id.as_str()))
                .collect(),
        };
        let (mut plans, mut mistakes) = (Vec::new(), Vec::new());
        let gone = desk.removed_users()?;
        for asked in asked {
            let standing = lists.standing();
            // Who is gone is known by address, where the audit log says who was removed.
            let is_listed = find_user(asked, standing.users).is_ok();
            let known = gone.get(&asked.to_lowercase()).filter(|_| !is_listed);
            let asked = known.map_or(asked.as_str(), String::as_str);
            let told = leaver(asked, standing)
                .map_err(Into::into)
                .and_then(|leaver| plan(leaver, desk.service(), standing, &wish));
            match told {
                Ok(plan) => plans.push(plan),
                Err(error) => mistakes.push(desk.told(&error.to_string())),
            }
        }
        match mistakes.len() {
            0 => Ok(plans),
            1 => Err(Failure::World(mistakes.concat())),
            _ => Err(Failure::World(format!(
                "nothing was changed:\n{}",
                mistakes.join("\n")
            ))),
        }
    }

    fn question(&self, desk: &Desk<'_>, plans: &[Plan]) -> String {
        let organization = &desk.office.organization;
        let n_keys: usize = plans.iter().map(|plan| plan.keys.len()).sum();
        let who = match plans {
            [plan] => {
                let email = plan.leaver.email.as_deref().unwrap_or("no address");
                format!("`{}` ({email})", plan.leaver.id)
            }
            plans => format!("these {} people", plans.len()),
        };
        format!(
            "Revoke {} of {who} and remove them from organization `{organization}`?",
            counted(n_keys, "key")
        )
    }

    async fn carry_out(
        &self,
        desk: &Desk<'_>,
        plans: &[Plan],
        steps: &[Vec<Planned>],
    ) -> Result<ExitCode, Failure> {
        let n_steps = plans.iter().map(|plan| plan.steps.len()).sum();
        let progress = Progress::count(desk.globals, "steps", n_steps);
        let halt = Halt::on_signal();
        let manner = manner(desk.service(), self.archive);
        let mut ends: Vec<Offboarded> = Vec::with_capacity(plans.len());
        let mut n_before = 0;
        for plan in plans {
            let on_step = |n_done| progress.at(n_before + n_done);
            ends.push(offboard(&desk.office, plan, manner, &halt, on_step).await);
            n_before += plan.steps.len();
        }
        progress.end();
        desk.remark_unrecorded();
        for (plan, end) in plans.iter().zip(&ends) {
            tell(desk.globals, plan, end);
        }
        let sheets = steps
            .iter()
            .zip(&ends)
            .map(|(steps, end)| steps::ended(steps, &end.ends));
        let sheet = sheets.reduce(joined).unwrap_or_else(|| steps::planned(&[]));
        Ok(desk.globals.print(&sheet, code(&ends)))
    }
}

/// The lists, with a word on the terminal while they are read.
async fn read(desk: &Desk<'_>, ledger: &Ledger) -> Result<Lists, Failure> {
    let uses = match desk.service() {
        Service::Guide => None,
        Service::Real => ledger.last_uses(desk).await?,
    };
    let told_by = match &uses {
        Some(uses) => ToldBy::Ledger(uses),
        None => ToldBy::List,
    };
    let progress = Progress::begin(desk.globals, "reading people".to_owned());
    let on_page = |what: &'static str, n_rows: usize| {
        progress.say(format!("reading {what}: {n_rows}"));
    };
    let told = lists(&desk.office, None, told_by, &on_page).await;
    progress.end();
    desk.warn_of_unreadable();
    let lists = told.map_err(|error| failed(&error))?;
    if let Some(error) = &lists.invites_unread {
        desk.globals.remark(&format!(
            "warning: open invitations are unknown and stay: {}",
            causes(error)
        ));
    }
    Ok(lists)
}

/// The steps as rows, each key with what revoking it would break.
fn planned(plan: &Plan, keys: &KeysAtStake) -> Vec<Planned> {
    let row = |write: &Write| {
        let key = plan.keys.iter().find(|key| match write {
            Write::RevokeKey { key: id, .. } => key.listed.id == *id,
            _ => false,
        });
        let Some(key) = key else {
            let name = plan.leaver.email.clone().unwrap_or_default();
            return Planned::new(write.clone(), name);
        };
        let Write::RevokeKey { manner, .. } = write else {
            return Planned::new(write.clone(), String::new());
        };
        step(key, *manner, keys)
    };
    plan.steps.iter().map(row).collect()
}

fn tell(globals: &Globals, plan: &Plan, end: &Offboarded) {
    let user = &plan.leaver.id;
    steps::tell_failures(&end.ends);
    match &end.verdict {
        Verdict::Clear if plan.leaver.role.is_none() && plan.steps.is_empty() => {
            globals.remark(&format!(
                "user `{user}` is not in the organization, and no key of theirs opens anything"
            ));
        }
        Verdict::Clear => {
            globals.remark(&format!("read again: user `{user}` is gone, and none of their keys that were to end opens anything"));
        }
        Verdict::Left(left) => eprintln!(
            "error: user `{user}`: still {}; run `spendwatch offboard {user}` again",
            left.join("; still ")
        ),
        Verdict::Unread(why) => eprintln!(
            "error: user `{user}`: it could not be read what is left: {why}; run `spendwatch offboard {user}` again"
        ),
    }
}

/// 0: all is done, and read to be so. 1: nothing is. 3: anything between.
fn code(ends: &[Offboarded]) -> ExitCode {
    let is_clear = |end: &Offboarded| end.verdict == Verdict::Clear;
    let steps = ends.iter().flat_map(|end| &end.ends);
    let sum = sum(steps.map(|end| end.as_ref().map(|end| &end.outcome)));
    match (sum, ends.iter().all(is_clear)) {
        (Sum::Whole, true) => ExitCode::SUCCESS,
        (Sum::Nothing, false) => ExitCode::FAILURE,
        (Sum::Whole | Sum::InPart | Sum::Nothing, _) => ExitCode::from(IN_PART),
    }
}

fn joined(first: Sheet, second: Sheet) -> Sheet {
    let mut rows = first.rows;
    rows.extend(second.rows);
    Sheet {
        columns: first.columns,
        rows,
    }
}
