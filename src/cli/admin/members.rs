//! `workspaces members list`, `add`, `set-role` and `remove`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::confirmation::{Confirmation, DryRun};
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::admin::users::{display_name, find_one_user};
use crate::cli::globals::CommandError;
use crate::table::TableBuilder;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::org::listing::ListedMember;
use spendwatch_domain::units::ids::{ActorId, WorkspaceId};

/// Subcommands of `workspaces members`.
#[derive(Debug, Subcommand)]
pub enum MembersCommand {
    /// List the members of a workspace, except those with access to all workspaces
    #[command(after_help = "Example: spendwatch workspaces members list Search")]
    List {
        /// Name or id of the workspace
        #[arg(value_name = "WORKSPACE")]
        workspace: String,
    },
    /// Add a user to a workspace
    #[command(
        after_help = "Example: spendwatch workspaces members add Search ada@example.com --role workspace_developer"
    )]
    Add(MemberRole),
    /// Change a member's role
    #[command(
        after_help = "Example: spendwatch workspaces members set-role Search ada@example.com --role workspace_admin"
    )]
    SetRole(MemberRole),
    /// Remove a user from a workspace
    #[command(after_help = "Example: spendwatch workspaces members remove Search ada@example.com")]
    Remove(RemoveMember),
}

/// Arguments of `workspaces members add` and `set-role`.
#[derive(Debug, Args)]
pub struct MemberRole {
    /// Name or id of the workspace
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    /// Id or email address of the user
    #[arg(value_name = "USER")]
    user: String,
    /// Role in the workspace
    #[arg(long, default_value = "workspace_developer")]
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Arguments of `workspaces members remove`.
#[derive(Debug, Args)]
pub struct RemoveMember {
    /// Name or id of the workspace
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    /// Id or email address of the user
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    confirmation: Confirmation,
}

impl MembersCommand {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        match self {
            MembersCommand::List { workspace } => list_members(context, workspace).await,
            MembersCommand::Add(member) => {
                let (workspace, user, name) = member.resolve(context).await?;
                let change = AdminChange::AddMember {
                    workspace,
                    user,
                    role: member.role.clone(),
                };
                let step = PlannedStep::new(change, name);
                steps::execute(context, vec![step], member.dry_run.dry_run).await
            }
            MembersCommand::SetRole(member) => {
                let (workspace, user, name) = member.resolve(context).await?;
                let change = AdminChange::SetMemberRole {
                    workspace,
                    user,
                    role: member.role.clone(),
                };
                let step = PlannedStep::new(change, name);
                steps::execute(context, vec![step], member.dry_run.dry_run).await
            }
            MembersCommand::Remove(member) => member.run(context).await,
        }
    }
}

async fn list_members(
    context: &CommandContext<'_>,
    name_or_id: &str,
) -> Result<ExitCode, CommandError> {
    let workspace = context.workspace(name_or_id).await?;
    let read = async {
        let members = members(context, &workspace.id).await?;
        let users = context.or_warn("names of members are", context.users().await)?;
        Ok((members, users.unwrap_or_default()))
    };
    let arguments = [("workspace", workspace.id.to_string())];
    let (members, users) = context.audit_read("workspaces.members.list", &arguments, read.await)?;
    let user = |member: &ListedMember| users.iter().find(|user| user.id == member.user);
    let table = TableBuilder::new(&members)
        .shown("email", "EMAIL", |member| user(member)?.email.as_deref())
        .shown("name", "NAME", |member| Some(&user(member)?.name))
        .shown("workspace_role", "ROLE", |member| &member.role)
        .id("user_id", "ID", |member| member.user.as_str())
        .build();
    Ok(context.globals.print(&table, ExitCode::SUCCESS))
}

impl MemberRole {
    /// Checks the role and returns workspace, user and display name.
    async fn resolve(
        &self,
        context: &CommandContext<'_>,
    ) -> Result<(WorkspaceId, ActorId, String), CommandError> {
        let checked = context.service().check_workspace_role(&self.role);
        checked.map_err(|error| context.usage(error))?;
        let workspace = context.workspace(&self.workspace).await?;
        let user = find_one_user(context, &self.user).await?;
        let name = format!("{} in {}", display_name(&user), workspace.name);
        Ok((workspace.id, user.id, name))
    }
}

impl RemoveMember {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        let workspace = context.workspace(&self.workspace).await?;
        let user = find_one_user(context, &self.user).await?;
        let name = format!("{} in {}", display_name(&user), workspace.name);
        let question = format!(
            "Remove `{}` ({}) from workspace `{}` of organization `{}`?",
            display_name(&user),
            user.id,
            workspace.name,
            context.session.organization
        );
        let change = AdminChange::RemoveMember {
            workspace: workspace.id,
            user: user.id,
        };
        let step = PlannedStep::new(change, name);
        steps::confirm_and_execute(context, &self.confirmation, vec![step], &question).await
    }
}

async fn members(
    context: &CommandContext<'_>,
    workspace: &WorkspaceId,
) -> Result<Vec<ListedMember>, CommandError> {
    let api = &context.session.api;
    let members = api.members(context.service(), workspace).await;
    context.warn_unreadable();
    Ok(members?.unwrap_or_default())
}
