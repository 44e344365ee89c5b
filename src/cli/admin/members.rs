//! `workspaces members list`, `add`, `set-role` and `remove`: who belongs to a workspace.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::caution::{Caution, DryRun};
use crate::cli::admin::desk::{Desk, failed};
use crate::cli::admin::steps::{self, Planned};
use crate::cli::admin::users::{known_as, one_user};
use crate::cli::globals::Failure;
use crate::domain::admin::write::Write;
use crate::domain::ids::{ActorId, WorkspaceId};
use crate::domain::listing::ListedMember;
use crate::sheet::{Cell, Sheet, id, shown};

/// Members.
#[derive(Debug, Subcommand)]
pub enum Members {
    /// Who belongs to it, those excepted who belong to all by their role in the organization
    #[command(after_help = "Example: spendwatch workspaces members list Search")]
    List {
        /// Name or id
        #[arg(value_name = "WORKSPACE")]
        workspace: String,
    },
    /// Let somebody into it
    #[command(
        after_help = "Example: spendwatch workspaces members add Search ada@example.com --role workspace_developer"
    )]
    Add(Member),
    /// Give a member another role in it
    #[command(
        after_help = "Example: spendwatch workspaces members set-role Search ada@example.com --role workspace_admin"
    )]
    SetRole(Member),
    /// Take somebody out of it
    #[command(after_help = "Example: spendwatch workspaces members remove Search ada@example.com")]
    Remove(RemoveMember),
}

/// A person and what they are in a workspace.
#[derive(Debug, Args)]
pub struct Member {
    /// Name or id
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    /// What they are in it
    #[arg(long, default_value = "workspace_developer")]
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// A person who leaves a workspace.
#[derive(Debug, Args)]
pub struct RemoveMember {
    /// Name or id
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    caution: Caution,
}

impl Members {
    /// Looks or changes.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        match self {
            Members::List { workspace } => list_members(desk, workspace).await,
            Members::Add(member) => {
                let (workspace, user, name) = member.meant(desk).await?;
                let write = Write::AddMember {
                    workspace,
                    user,
                    role: member.role.clone(),
                };
                let step = Planned::new(write, name);
                steps::carry_out(desk, vec![step], member.dry_run.dry_run).await
            }
            Members::SetRole(member) => {
                let (workspace, user, name) = member.meant(desk).await?;
                let write = Write::SetMemberRole {
                    workspace,
                    user,
                    role: member.role.clone(),
                };
                let step = Planned::new(write, name);
                steps::carry_out(desk, vec![step], member.dry_run.dry_run).await
            }
            Members::Remove(member) => member.run(desk).await,
        }
    }
}

async fn list_members(desk: &Desk<'_>, asked: &str) -> Result<ExitCode, Failure> {
    let workspace = desk.workspace(asked).await?;
    let read = async {
        let members = members(desk, &workspace.id).await?;
        let users = desk.optional("names of members are", desk.try_users().await)?;
        Ok((members, users.unwrap_or_default()))
    };
    let about = [("workspace", workspace.id.to_string())];
    let (members, users) = desk.looked("workspaces.members.list", &about, read.await)?;
    let row = |member: &ListedMember| {
        let user = users.iter().find(|user| user.id == member.user);
        vec![
            Cell::text_or_empty(user.and_then(|user| user.email.clone())),
            Cell::text_or_empty(user.map(|user| user.name.clone())),
            Cell::Text(member.role.clone()),
            Cell::Text(member.user.to_string()),
        ]
    };
    let sheet = Sheet {
        columns: vec![
            shown("email", "EMAIL"),
            shown("name", "NAME"),
            shown("workspace_role", "ROLE"),
            id("user_id", "ID"),
        ],
        rows: members.iter().map(row).collect(),
    };
    Ok(desk.globals.print(&sheet, ExitCode::SUCCESS))
}

impl Member {
    /// Workspace, person, and how people know them; the role is one of a workspace.
    async fn meant(&self, desk: &Desk<'_>) -> Result<(WorkspaceId, ActorId, String), Failure> {
        let told = desk.service().check_workspace_role(&self.role);
        told.map_err(|error| Failure::usage(desk.told(&error.to_string())))?;
        let workspace = desk.workspace(&self.workspace).await?;
        let user = one_user(desk, &self.user).await?;
        let name = format!("{} in {}", known_as(&user), workspace.name);
        Ok((workspace.id, user.id, name))
    }
}

impl RemoveMember {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        let workspace = desk.workspace(&self.workspace).await?;
        let user = one_user(desk, &self.user).await?;
        let name = format!("{} in {}", known_as(&user), workspace.name);
        let question = format!(
            "Take `{}` ({}) out of workspace `{}` of organization `{}`?",
            known_as(&user),
            user.id,
            workspace.name,
            desk.office.organization
        );
        let write = Write::RemoveMember {
            workspace: workspace.id,
            user: user.id,
        };
        let step = Planned::new(write, name);
        steps::ask_and_carry_out(desk, &self.caution, vec![step], &question).await
    }
}

/// All members.
async fn members(desk: &Desk<'_>, workspace: &WorkspaceId) -> Result<Vec<ListedMember>, Failure> {
    let members = desk.office.api.members(workspace).await;
    desk.warn_of_unreadable();
    members.map_err(|error| failed(&error))
}
