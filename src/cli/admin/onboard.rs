//! `onboard`: an invitation and a dedicated key, for one person or for a file of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::admin::batch::Halt;
use crate::admin::onboard::onboard;
use crate::cli::admin::caution::DryRun;
use crate::cli::admin::desk::{Desk, expiry};
use crate::cli::admin::onboarded::{Planned, code, ended_rows, planned_row, sheet, tell};
use crate::cli::admin::people_file::{self, Columns, Row, check_email};
use crate::cli::admin::secret_place::SecretPlace;
use crate::cli::admin::users::{check_role, parse_email};
use crate::cli::globals::{Failure, Globals};
use crate::cli::progress::Progress;
use crate::config::source::Environment;
use crate::domain::admin::choice::{KnownKey, find_workspace, known_keys};
use crate::domain::admin::onboard::{Newcomer, Standing, Step, Todo, plan};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::Write;
use crate::domain::census::ToldBy;
use crate::domain::directory::Workspace;
use crate::domain::ids::WorkspaceId;
use crate::domain::listing::{ListedInvite, ListedMember, ListedUser};
use crate::handover::Handover;

/// Columns of a file of newcomers.
const COLUMNS: Columns = Columns {
    names: &["email"],
    required: &["name", "team", "workspace"],
    optional: &["role", "key_days"],
};
const MOST_DAYS: u32 = 3650;

/// Who comes.
#[derive(Debug, Args)]
pub struct Onboard {
    /// Where the invitation goes
    #[arg(value_name = "EMAIL", value_parser = parse_email, required_unless_present = "from", conflicts_with = "from")]
    email: Option<String>,
    /// The person's name, as it stands in the key's
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    name: Option<String>,
    /// The person's team, as it stands in the key's name
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    team: Option<String>,
    /// Where their key opens something: name or id
    #[arg(
        long,
        value_name = "WORKSPACE",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    workspace: Option<String>,
    /// What they will be
    #[arg(long, default_value = "developer")]
    role: String,
    /// After so many days their key opens nothing
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    key_days: u32,
    #[command(flatten)]
    place: SecretPlace,
    /// Many people at once, from a CSV file: email,name,team,workspace[,role][,key_days]; `--secret-out` is then a folder
    #[arg(long, value_name = "FILE", conflicts_with = "secret_to_command")]
    from: Option<PathBuf>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// What the service lists, once for everybody.
struct Lists {
    users: Vec<ListedUser>,
    keys: Vec<KnownKey>,
    invites: Option<Vec<ListedInvite>>,
    members: BTreeMap<WorkspaceId, Vec<ListedMember>>,
    /// By address in small letters.
    sent: BTreeMap<String, Timestamp>,
}

impl Onboard {
    /// Plans, then carries it out, person by person.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let rows = self.rows()?;
        let desk = Desk::open(globals, environment).await?;
        self.check_place(&desk)?;
        // Two commands at once would both find that nothing stands.
        let _alone = desk.alone().await?;
        let workspaces = desk.workspaces().await?;
        let newcomers = self.newcomers(&desk, &rows, &workspaces)?;
        let lists = read(&desk, &newcomers).await?;
        let now = desk.office.clock.now();
        let mut planned = Vec::with_capacity(newcomers.len());
        for newcomer in newcomers {
            let steps = plan(&newcomer, desk.service(), lists.standing(&newcomer), now);
            let handover = self.handover(&desk, &newcomer, &steps)?;
            planned.push(Planned {
                newcomer,
                steps,
                handover,
            });
        }
        if self.dry_run.dry_run {
            let rows = planned
                .iter()
                .flat_map(|one| one.steps.iter().map(|step| planned_row(one, step)));
            return Ok(globals.print(&sheet(rows.collect()), ExitCode::SUCCESS));
        }
        self.carry_out(&desk, &planned).await
    }

    /// The people, each as a row of a file.
    fn rows(&self) -> Result<Option<Vec<Row>>, Failure> {
        let Some(path) = &self.from else {
            return Ok(None);
        };
        let check = |row: &Row| {
            check_email(&row.name)?;
            days(row.get("key_days"), self.key_days).map(|_| ())
        };
        people_file::read(path, COLUMNS, check).map(Some)
    }

    /// A place that could never be used is refused before anything is read.
    fn check_place(&self, desk: &Desk<'_>) -> Result<(), Failure> {
        if self.place.is_named()
            && let Err(impossible) = desk.service().check(Deed::CreateKey)
        {
            let text = format!(
                "there will be no secret to write: {impossible}; leave `--secret-out` out to invite alone"
            );
            return Err(Failure::usage(desk.told(&text)));
        }
        let makes_keys = desk.service().check(Deed::CreateKey).is_ok();
        if self.dry_run.dry_run || !makes_keys {
            return Ok(());
        }
        match (&self.from, &self.place.secret_out) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Failure::usage(
                "many secrets need a folder of their own: name one by `--secret-out DIR`",
            )),
            (Some(_), Some(folder)) => check_folder(folder),
        }
    }

    /// Who comes, with all that is wrong told at once.
    fn newcomers(
        &self,
        desk: &Desk<'_>,
        rows: &Option<Vec<Row>>,
        workspaces: &[Workspace],
    ) -> Result<Vec<Newcomer>, Failure> {
        let now = desk.office.clock.now();
        let one = |email: &str, name: &str, team: &str, workspace: &str, role: &str, days: u32| {
            let found = find_workspace(workspace, workspaces);
            let workspace = found.map_err(|error| Failure::usage(desk.told(&error.to_string())))?;
            check_role(desk, role)?;
            Ok::<Newcomer, Failure>(Newcomer {
                email: email.to_owned(),
                name: plain(name, "name")?,
                team: plain(team, "team")?,
                workspace: workspace.id.clone(),
                role: role.to_owned(),
                key_expires_at: expiry(now, days)?,
            })
        };
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        let Some(rows) = rows else {
            let (email, name) = (text(&self.email), text(&self.name));
            let (team, workspace) = (text(&self.team), text(&self.workspace));
            return Ok(vec![one(
                &email,
                &name,
                &team,
                &workspace,
                &self.role,
                self.key_days,
            )?]);
        };
        let (mut newcomers, mut mistakes) = (Vec::new(), Vec::new());
        for row in rows {
            let field = |name| row.get(name).unwrap_or_default();
            let days = days(row.get("key_days"), self.key_days).map_err(Failure::usage)?;
            let role = row.get("role").unwrap_or(&self.role);
            match one(
                &row.name,
                field("name"),
                field("team"),
                field("workspace"),
                role,
                days,
            ) {
                Ok(newcomer) => newcomers.push(newcomer),
                Err(failure) => mistakes.push(format!("line {}: {}", row.line, failure.line())),
            }
        }
        let mut keys = BTreeSet::new();
        for newcomer in &newcomers {
            // By its name a key is found again: two of the same could not be told apart.
            if !keys.insert((newcomer.key_name(), newcomer.workspace.clone())) {
                let told = format!(
                    "two keys would be called `{}` in one workspace; tell the names apart",
                    newcomer.key_name()
                );
                mistakes.push(told);
            }
        }
        if mistakes.is_empty() {
            Ok(newcomers)
        } else {
            Err(Failure::Usage(mistakes))
        }
    }

    /// Where a secret goes, where the plan makes one. Files are looked at before anything is sent.
    fn handover(
        &self,
        desk: &Desk<'_>,
        newcomer: &Newcomer,
        steps: &[Step],
    ) -> Result<Handover, Failure> {
        let (globals, environment) = (desk.globals, &desk.command_environment);
        let makes_key = steps
            .iter()
            .any(|step| matches!(&step.todo, Todo::Send(Write::CreateKey { .. })));
        if !makes_key || self.dry_run.dry_run {
            return Ok(Handover::Terminal);
        }
        match (&self.from, &self.place.secret_out) {
            (Some(_), Some(folder)) => {
                let place = SecretPlace {
                    secret_out: Some(folder.join(format!("{}.key", newcomer.email))),
                    secret_to_command: None,
                };
                place.handover(globals, environment)
            }
            (_, _) => self.place.handover(globals, environment),
        }
    }

    async fn carry_out(&self, desk: &Desk<'_>, planned: &[Planned]) -> Result<ExitCode, Failure> {
        let progress =
            (planned.len() > 1).then(|| Progress::count(desk.globals, "people", planned.len()));
        let halt = Halt::on_signal();
        let mut ends = Vec::with_capacity(planned.len());
        for one in planned {
            let end = if halt.is_asked() {
                None
            } else {
                Some(onboard(&desk.office, &one.steps, &one.handover).await)
            };
            ends.push(end);
            if let Some(progress) = &progress {
                progress.at(ends.len());
            }
        }
        if let Some(progress) = progress {
            progress.end();
        }
        desk.remark_unrecorded();
        for (one, end) in planned.iter().zip(&ends) {
            tell(one, end.as_ref());
        }
        let rows = planned
            .iter()
            .zip(&ends)
            .flat_map(|(one, end)| ended_rows(one, end.as_ref()));
        Ok(desk.globals.print(&sheet(rows.collect()), code(&ends)))
    }
}

impl Lists {
    fn standing(&self, newcomer: &Newcomer) -> Standing<'_> {
        Standing {
            users: &self.users,
            keys: &self.keys,
            invites: self.invites.as_deref(),
            members: self.members.get(&newcomer.workspace).map(Vec::as_slice),
            last_sent: self.sent.get(&newcomer.email.to_lowercase()).copied(),
        }
    }
}

async fn read(desk: &Desk<'_>, newcomers: &[Newcomer]) -> Result<Lists, Failure> {
    let (users, keys) = match desk.service() {
        // Without these lists a second key or invitation could be made.
        Service::Guide => (desk.users().await?, desk.keys().await?),
        Service::Real => {
            let users = desk.optional("members of the organization are", desk.try_users().await)?;
            let keys = desk.optional("API keys are", desk.try_keys().await)?;
            (users.unwrap_or_default(), keys.unwrap_or_default())
        }
    };
    let mut members = BTreeMap::new();
    let (invites, sent) = match desk.service() {
        Service::Guide => (None, desk.sent_invites()?),
        Service::Real => {
            let ids: BTreeSet<&WorkspaceId> = newcomers
                .iter()
                .map(|newcomer| &newcomer.workspace)
                .collect();
            for id in ids {
                let unknown = format!("members of workspace `{id}` are");
                let read = desk.office.api.members(id).await;
                if let Some(listed) = desk.optional(&unknown, read)? {
                    members.insert(id.clone(), listed);
                }
            }
            let invites = desk.office.api.all_invites(&|_| {}).await;
            match desk.optional("open invitations are", invites)? {
                Some(invites) => (Some(invites), BTreeMap::new()),
                None => (None, desk.sent_invites()?),
            }
        }
    };
    Ok(Lists {
        users,
        keys: known_keys(keys, ToldBy::Nobody, desk.office.clock.now()),
        invites,
        members,
        sent,
    })
}

fn days(given: Option<&str>, default: u32) -> Result<u32, String> {
    let Some(given) = given else {
        return Ok(default);
    };
    given
        .parse()
        .ok()
        .filter(|days| (1..=MOST_DAYS).contains(days))
        .ok_or_else(|| {
            format!("`key_days` is `{given}`, it must be a number from 1 to {MOST_DAYS}")
        })
}

fn plain(text: &str, what: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::usage(format!("`{what}` is empty")));
    }
    Ok(text.to_owned())
}

fn check_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    let shown = folder.display();
    Err(Failure::usage(format!(
        "`--secret-out {shown}` is no folder; make it first, readable by you alone: `mkdir -m 700 {shown}`"
    )))
}
