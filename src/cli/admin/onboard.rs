//! `onboard`: sends an invitation and creates a key, for one user or for those of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::admin::batch::StopFlag;
use crate::admin::onboard::onboard;
use crate::cli::admin::confirmation::DryRun;
use crate::cli::admin::context::{CommandContext, expiry};
use crate::cli::admin::onboard_output::{
    PlannedOnboarding, exit_code, planned_row, print_errors, result_rows, table,
};
use crate::cli::admin::people_file::{self, PeopleColumns, PersonRow, check_email};
use crate::cli::admin::secret_destination::SecretDestination;
use crate::cli::admin::users::{check_role, parse_email};
use crate::cli::globals::{CommandError, Globals};
use crate::cli::progress::CommandProgress;
use crate::secret_sink::SecretSink;
use spendwatch_config::source::Environment;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::onboard::{
    ExistingAccess, NewUser, OnboardStep, PlannedAction, plan,
};
use spendwatch_domain::admin::selection::{KeyDetails, find_workspace, key_details};
use spendwatch_domain::admin::server::{Capability, ServerKind};
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::listing::{ListedInvite, ListedMember, ListedUser};
use spendwatch_domain::units::ids::WorkspaceId;

const COLUMNS: PeopleColumns = PeopleColumns {
    names: &["email"],
    required: &["name", "team", "workspace"],
    optional: &["role", "key_days"],
};
const MAX_DAYS: u32 = 3650;

/// Arguments of `onboard`.
#[derive(Debug, Args)]
pub struct Onboard {
    /// Email address to invite
    #[arg(value_name = "EMAIL", value_parser = parse_email, required_unless_present = "from", conflicts_with = "from")]
    email: Option<String>,
    /// User's name, part of the key's name
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    name: Option<String>,
    /// User's team, part of the key's name
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    team: Option<String>,
    /// Name or id of the key's workspace
    #[arg(
        long,
        value_name = "WORKSPACE",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    workspace: Option<String>,
    /// Role in the organization
    #[arg(long, default_value = "developer")]
    role: String,
    /// Lifetime of the key in days
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    key_days: u32,
    #[command(flatten)]
    destination: SecretDestination,
    /// CSV file of users: email,name,team,workspace[,role][,key_days]; `--secret-out` then names a folder
    #[arg(long, value_name = "FILE", conflicts_with = "secret_to_command")]
    from: Option<PathBuf>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Current state of the organization, read once for all users.
struct OnboardLists {
    users: Vec<ListedUser>,
    keys: Vec<KeyDetails>,
    invites: Option<Vec<ListedInvite>>,
    members: BTreeMap<WorkspaceId, Vec<ListedMember>>,
    /// Last invitation by lowercase address.
    sent: BTreeMap<String, Timestamp>,
}

impl Onboard {
    /// Plans and executes the onboarding of each user.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let rows = self.rows()?;
        let context = CommandContext::open(globals, environment).await?;
        self.check_destination(&context)?;
        // Two concurrent commands could create everything twice.
        let _lock = context.lock().await?;
        let workspaces = context.workspaces().await?;
        let new_users = self.new_users(&context, &rows, &workspaces)?;
        let lists = read(&context, &new_users).await?;
        let now = context.session.clock.now();
        let mut planned = Vec::with_capacity(new_users.len());
        for new_user in new_users {
            let steps = plan(
                &new_user,
                context.service(),
                lists.current_access(&new_user),
                now,
            );
            let sink = self.secret_sink(&context, &new_user, &steps)?;
            planned.push(PlannedOnboarding {
                new_user,
                steps,
                sink,
            });
        }
        if self.dry_run.dry_run {
            let rows = planned
                .iter()
                .flat_map(|one| one.steps.iter().map(|step| planned_row(one, step)));
            return Ok(globals.print(&table(rows.collect()), ExitCode::SUCCESS));
        }
        self.execute(&context, &planned).await
    }

    /// Reads the rows of `--from`.
    fn rows(&self) -> Result<Option<Vec<PersonRow>>, CommandError> {
        let Some(path) = &self.from else {
            return Ok(None);
        };
        let check = |row: &PersonRow| {
            check_email(&row.name)?;
            days(row.get("key_days"), self.key_days).map(|_| ())
        };
        people_file::read(path, COLUMNS, check).map(Some)
    }

    /// Rejects an unusable secret destination before anything is read.
    fn check_destination(&self, context: &CommandContext<'_>) -> Result<(), CommandError> {
        if self.destination.is_given()
            && let Err(unsupported) = context.service().check(Capability::CreateKey)
        {
            let text = format!(
                "no secret to write: {unsupported}; omit `--secret-out` to send only the invitation"
            );
            return Err(context.usage(&text));
        }
        let creates_keys = context.service().check(Capability::CreateKey).is_ok();
        if self.dry_run.dry_run || !creates_keys {
            return Ok(());
        }
        match (&self.from, &self.destination.secret_out) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(CommandError::usage(
                "several secrets need a folder; pass `--secret-out DIR`",
            )),
            (Some(_), Some(folder)) => check_folder(folder),
        }
    }

    /// Checks all users and reports all errors at once.
    fn new_users(
        &self,
        context: &CommandContext<'_>,
        rows: &Option<Vec<PersonRow>>,
        workspaces: &[Workspace],
    ) -> Result<Vec<NewUser>, CommandError> {
        let now = context.session.clock.now();
        let one = |email: &str, name: &str, team: &str, workspace: &str, role: &str, days: u32| {
            let found = find_workspace(workspace, workspaces);
            let workspace = found.map_err(|error| context.usage(error))?;
            check_role(context, role)?;
            Ok::<NewUser, CommandError>(NewUser {
                email: email.to_owned(),
                name: required_text(name, "name")?,
                team: required_text(team, "team")?,
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
        let (mut new_users, mut errors) = (Vec::new(), Vec::new());
        for row in rows {
            let field = |name| row.get(name).unwrap_or_default();
            let days = days(row.get("key_days"), self.key_days).map_err(CommandError::usage)?;
            let role = row.get("role").unwrap_or(&self.role);
            match one(
                &row.name,
                field("name"),
                field("team"),
                field("workspace"),
                role,
                days,
            ) {
                Ok(new_user) => new_users.push(new_user),
                Err(failure) => errors.push(format!("line {}: {}", row.line, failure.line())),
            }
        }
        let mut keys = BTreeSet::new();
        for new_user in &new_users {
            // A rerun recognizes a key by its name.
            if !keys.insert((new_user.key_name(), new_user.workspace.clone())) {
                let error = format!(
                    "two keys would be named `{}` in the same workspace; use different names",
                    new_user.key_name()
                );
                errors.push(error);
            }
        }
        if errors.is_empty() {
            Ok(new_users)
        } else {
            Err(CommandError::Usage(errors))
        }
    }

    /// Returns the sink for the secret of a planned key. Checks files before anything is sent.
    fn secret_sink(
        &self,
        context: &CommandContext<'_>,
        new_user: &NewUser,
        steps: &[OnboardStep],
    ) -> Result<SecretSink, CommandError> {
        let (globals, environment) = (context.globals, &context.command_environment);
        let creates_key = steps.iter().any(|step| {
            matches!(
                &step.action,
                PlannedAction::Send(AdminChange::CreateKey { .. })
            )
        });
        if !creates_key || self.dry_run.dry_run {
            return Ok(SecretSink::Terminal);
        }
        match (&self.from, &self.destination.secret_out) {
            (Some(_), Some(folder)) => {
                let destination = SecretDestination {
                    secret_out: Some(folder.join(format!("{}.key", new_user.email))),
                    secret_to_command: None,
                };
                destination.secret_sink(globals, environment)
            }
            (_, _) => self.destination.secret_sink(globals, environment),
        }
    }

    async fn execute(
        &self,
        context: &CommandContext<'_>,
        planned: &[PlannedOnboarding],
    ) -> Result<ExitCode, CommandError> {
        let progress = CommandProgress::with_total(context.globals, "users", planned.len());
        let stop = StopFlag::on_signal();
        let mut results = Vec::with_capacity(planned.len());
        for one in planned {
            let result = if stop.is_set() {
                None
            } else {
                Some(onboard(&context.session, &one.steps, &one.sink).await)
            };
            results.push(result);
            progress.set_position(results.len());
        }
        progress.finish();
        context.warn_unrecorded();
        for (one, result) in planned.iter().zip(&results) {
            print_errors(one, result.as_ref());
        }
        let rows = planned
            .iter()
            .zip(&results)
            .flat_map(|(one, result)| result_rows(one, result.as_ref()));
        Ok(context
            .globals
            .print(&table(rows.collect()), exit_code(&results)))
    }
}

impl OnboardLists {
    fn current_access(&self, new_user: &NewUser) -> ExistingAccess<'_> {
        ExistingAccess {
            users: &self.users,
            keys: &self.keys,
            invites: self.invites.as_deref(),
            members: self.members.get(&new_user.workspace).map(Vec::as_slice),
            last_sent: self.sent.get(&new_user.email.to_lowercase()).copied(),
        }
    }
}

async fn read(
    context: &CommandContext<'_>,
    new_users: &[NewUser],
) -> Result<OnboardLists, CommandError> {
    let (users, keys) = match context.service() {
        // Without these lists, a key or invitation could be created twice.
        ServerKind::Guide => (context.users().await?, context.keys().await?),
        ServerKind::Real => {
            let users = context.or_warn("users of the organization are", context.users().await)?;
            let keys = context.or_warn("API keys are", context.keys().await)?;
            (users.unwrap_or_default(), keys.unwrap_or_default())
        }
    };
    let api = &context.session.api;
    let mut members = BTreeMap::new();
    let ids: BTreeSet<&WorkspaceId> = new_users
        .iter()
        .map(|new_user| &new_user.workspace)
        .collect();
    for id in ids {
        let unknown = format!("members of workspace `{id}` are");
        let read = api.members(context.service(), id).await;
        if let Some(listed) = context.or_warn(&unknown, read)?.flatten() {
            members.insert(id.clone(), listed);
        }
    }
    let invites = api.invites(context.service(), &|_| {}).await;
    let invites = context.or_warn("open invitations are", invites)?.flatten();
    let sent = match invites {
        Some(_) => BTreeMap::new(),
        None => context.sent_invites()?,
    };
    Ok(OnboardLists {
        users,
        keys: key_details(
            keys,
            LastUseSource::Unavailable,
            context.session.clock.now(),
        ),
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
        .filter(|days| (1..=MAX_DAYS).contains(days))
        .ok_or_else(|| format!("`key_days` is `{given}`, expected a number from 1 to {MAX_DAYS}"))
}

fn required_text(text: &str, what: &str) -> Result<String, CommandError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(CommandError::usage(format!("`{what}` is empty")));
    }
    Ok(text.to_owned())
}

fn check_folder(folder: &Path) -> Result<(), CommandError> {
    if folder.is_dir() {
        return Ok(());
    }
    let shown = folder.display();
    Err(CommandError::usage(format!(
        "`--secret-out {shown}` is not a folder; create it with `mkdir -m 700 {shown}`"
    )))
}
