//! `users list`, `invite`, `set-role` and `remove`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use crate::cli::admin::confirmation::{Confirmation, DryRun};
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::impact::{AffectedKeys, workspace_names};
use crate::cli::admin::people_file::check_email;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::CommandError;
use crate::table::{OutputTable, TableBuilder};
use spendwatch_config::durations;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::key_use::RecentUsage;
use spendwatch_domain::admin::selection::{
    UserDetails, UserFilter, find_user, key_details, user_details,
};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::listing::ListedUser;
use spendwatch_domain::units::plural::counted;

/// Subcommands of `users`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the users of the organization
    #[command(after_help = "Example: spendwatch users list --role developer --idle 90d")]
    List(ListUsers),
    /// Send an invitation
    #[command(after_help = "Example: spendwatch users invite ada@example.com --role developer")]
    Invite(InviteUser),
    /// Change a user's role
    #[command(after_help = "Example: spendwatch users set-role ada@example.com billing")]
    SetRole(SetUserRole),
    /// Remove a user from the organization; use `offboard` to revoke their keys too
    #[command(
        after_help = "If removal also revokes the user's keys, keys used in the last 7 days need a second confirmation: \
                      `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch users remove ada@example.com --dry-run"
    )]
    Remove(RemoveUser),
}

/// Arguments of `users list`.
#[derive(Debug, Args)]
pub struct ListUsers {
    /// Role in the organization
    #[arg(long)]
    role: Option<String>,
    /// Status, where the server reports it
    #[arg(long)]
    status: Option<String>,
    /// Only users idle for at least this long, for example `90d` (where reported)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<SignedDuration>,
}

/// Arguments of `users invite`.
#[derive(Debug, Args)]
pub struct InviteUser {
    /// Email address to invite
    #[arg(value_name = "EMAIL", value_parser = parse_email)]
    email: String,
    /// Role in the organization
    #[arg(long, default_value = "developer")]
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Arguments of `users set-role`.
#[derive(Debug, Args)]
pub struct SetUserRole {
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    /// New role
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Arguments of `users remove`.
#[derive(Debug, Args)]
pub struct RemoveUser {
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    confirmation: Confirmation,
}

/// Parses the value of `--idle` and `--expiring`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    durations::parse(text)
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "expected a duration, for example `12h` or `90d`".to_owned())
}

/// Parses an email address.
pub fn parse_email(text: &str) -> Result<String, String> {
    check_email(text).map(|()| text.to_owned())
}

impl Command {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        match self {
            Command::List(list) => list.run(context).await,
            Command::Invite(invite) => invite.run(context).await,
            Command::SetRole(set_role) => set_role.run(context).await,
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

impl ListUsers {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        let filter = UserFilter {
            role: self.role.clone(),
            status: self.status.clone(),
            idle: self.idle,
        };
        let users = context.audit_read("users.list", &[], self.users(context).await)?;
        let now = context.session.clock.now();
        let rows: Vec<&UserDetails> = users
            .iter()
            .filter(|user| filter.matches(user, now))
            .collect();
        if !context.globals.quiet && rows.len() < users.len() {
            context.globals.remark(&format!(
                "{} of {}",
                rows.len(),
                counted(users.len(), "user")
            ));
        }
        let table = table(&rows);
        Ok(context.globals.print(&table, ExitCode::SUCCESS))
    }

    async fn users(&self, context: &CommandContext<'_>) -> Result<Vec<UserDetails>, CommandError> {
        let users = context.users().await?;
        let reports_use = users.iter().any(|user| user.last_active_at.is_some());
        let reports_status = users.iter().any(|user| user.status.is_some());
        let unsupported = |what: &str, option: &str| {
            let text = format!("the server does not report {what}; omit `{option}`");
            Err(context.usage(&text))
        };
        if self.idle.is_some() && !reports_use && !users.is_empty() {
            return unsupported("when users were last active", "--idle");
        }
        if self.status.is_some() && !reports_status && !users.is_empty() {
            return unsupported("the status of users", "--status");
        }
        if let (Some(role), ServerKind::Guide) = (&self.role, context.service()) {
            check_role(context, role)?;
        }
        Ok(user_details(
            users,
            LastUseSource::List,
            context.session.clock.now(),
        ))
    }
}

fn table(users: &[&UserDetails]) -> OutputTable {
    TableBuilder::new(users)
        .id("email", "EMAIL", |user| user.listed.email.as_deref())
        .shown("name", "NAME", |user| &user.listed.name)
        .shown("role", "ROLE", |user| &user.listed.role)
        .shown("status", "STATUS", |user| user.listed.status.as_deref())
        .shown("last_active_at", "LAST ACTIVE", |user| {
            user.listed.last_active_at
        })
        .hidden("idle_since", |user| user.idle_since)
        .shown("added_at", "ADDED", |user| user.listed.added_at)
        .id("id", "ID", |user| user.listed.id.as_str())
        .build()
}

/// Returns an error if the server has no such role.
pub fn check_role(context: &CommandContext<'_>, role: &str) -> Result<(), CommandError> {
    let checked = context.service().check_role(role);
    checked.map_err(|error| context.usage(error))
}

/// Finds a user by id or email address.
pub async fn find_one_user(
    context: &CommandContext<'_>,
    name_or_id: &str,
) -> Result<ListedUser, CommandError> {
    let users = context.users().await?;
    find_user(name_or_id, &users)
        .cloned()
        .map_err(|error| context.failed(error))
}

/// Returns the email address, or the name if there is none.
pub fn display_name(user: &ListedUser) -> String {
    user.email.clone().unwrap_or_else(|| user.name.clone())
}

impl InviteUser {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        check_role(context, &self.role)?;
        let change = AdminChange::Invite {
            email: self.email.clone(),
            role: self.role.clone(),
        };
        let step = PlannedStep::new(change, self.email.clone());
        steps::execute(context, vec![step], self.dry_run.dry_run).await
    }
}

impl SetUserRole {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        check_role(context, &self.role)?;
        let user = find_one_user(context, &self.user).await?;
        if user.role == self.role {
            let text = format!(
                "no change: `{}` already has role {}",
                display_name(&user),
                user.role
            );
            context.globals.remark(&text);
            return steps::execute(context, Vec::new(), true).await;
        }
        let name = display_name(&user);
        let step = PlannedStep {
            note: format!("currently {}", user.role),
            ..PlannedStep::new(
                AdminChange::SetRole {
                    user: user.id,
                    role: self.role.clone(),
                },
                name,
            )
        };
        steps::execute(context, vec![step], self.dry_run.dry_run).await
    }
}

impl RemoveUser {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        let user = find_one_user(context, &self.user).await?;
        if !context.service().can_remove(&user.role) {
            let text = format!(
                "user `{}` has role {role}, which the Admin API cannot remove; change their role to `user` in the Console first",
                user.id,
                role = user.role
            );
            return Err(context.usage(&text));
        }
        let keys = self.affected_keys(context, &user).await?;
        let note = match context.service() {
            ServerKind::Guide => "their keys are revoked too",
            ServerKind::Real => "their keys stay active; `spendwatch offboard` revokes them first",
        };
        let step = PlannedStep {
            note: note.to_owned(),
            impact: (context.service() == ServerKind::Guide).then(|| keys.total_impact()),
            ..PlannedStep::new(
                AdminChange::RemoveUser {
                    user: user.id.clone(),
                    email: user.email.clone(),
                },
                display_name(&user),
            )
        };
        let question = format!(
            "Remove user `{}` ({}) from organization `{}`? Note: {note}.",
            display_name(&user),
            user.id,
            context.session.organization
        );
        steps::confirm_keys_and_execute(context, &self.confirmation, vec![step], &keys, question)
            .await
    }

    /// Returns the keys that the server revokes with the user.
    async fn affected_keys(
        &self,
        context: &CommandContext<'_>,
        user: &ListedUser,
    ) -> Result<AffectedKeys, CommandError> {
        if context.service() == ServerKind::Real {
            return Ok(AffectedKeys::default());
        }
        let now = context.session.clock.now();
        let keys = key_details(context.keys().await?, LastUseSource::List, now);
        let theirs = keys
            .iter()
            .filter(|key| key.is_active && key.creator() == Some(&user.id));
        let recent = RecentUsage::default();
        let names = workspace_names(context).await;
        Ok(AffectedKeys::new(theirs, &recent, &names, now))
    }
}
