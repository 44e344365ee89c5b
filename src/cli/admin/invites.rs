//! `invites list` and `remove`: who was asked to come, and has not yet.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::caution::Caution;
use crate::cli::admin::desk::{Desk, failed};
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::{Failure, Globals};
use crate::config::source::Environment;
use crate::domain::admin::choice::is_address;
use crate::domain::admin::service::Deed;
use crate::domain::admin::write::Write;
use crate::domain::listing::ListedInvite;
use crate::sheet::{Cell, Sheet, id, shown};

/// Invitations.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Invitations, where the service lists them
    #[command(after_help = "Example: spendwatch invites list --status pending")]
    List {
        /// Only this status: pending, accepted, expired, deleted
        #[arg(long)]
        status: Option<String>,
    },
    /// Take an invitation back that nobody has accepted yet
    #[command(after_help = "Example: spendwatch invites remove ada@example.com")]
    Remove(Remove),
}

/// Which invitation.
#[derive(Debug, Args)]
pub struct Remove {
    /// Id of the invitation, or the address that it went to
    #[arg(value_name = "INVITE")]
    invite: String,
    #[command(flatten)]
    caution: Caution,
}

impl Command {
    /// Looks or changes.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let desk = Desk::open(globals, environment).await?;
        match self {
            Command::List { status } => {
                desk.check(Deed::ListInvites)?;
                let told = desk.looked("invites.list", &[], invites(&desk).await)?;
                let is_asked = |invite: &&ListedInvite| {
                    status
                        .as_ref()
                        .is_none_or(|status| invite.status == *status)
                };
                let rows = told.iter().filter(is_asked).map(row).collect();
                let sheet = Sheet {
                    columns: vec![
                        id("email", "EMAIL"),
                        shown("role", "ROLE"),
                        shown("status", "STATUS"),
                        shown("expires_at", "EXPIRES"),
                        shown("invited_at", "SENT"),
                        id("id", "ID"),
                    ],
                    rows,
                };
                Ok(globals.print(&sheet, ExitCode::SUCCESS))
            }
            Command::Remove(remove) => remove.run(&desk).await,
        }
    }
}

async fn invites(desk: &Desk<'_>) -> Result<Vec<ListedInvite>, Failure> {
    let told = desk.office.api.all_invites(&|_| {}).await;
    desk.warn_of_unreadable();
    told.map_err(|error| failed(&error))
}

fn row(invite: &ListedInvite) -> Vec<Cell> {
    vec![
        Cell::Text(invite.email.clone()),
        Cell::Text(invite.role.clone()),
        Cell::Text(invite.status.clone()),
        Cell::time_or_empty(invite.expires_at),
        Cell::time_or_empty(invite.invited_at),
        Cell::Text(invite.id.to_string()),
    ]
}

impl Remove {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::RemoveInvite)?;
        let all = invites(desk).await?;
        let is_meant = |invite: &&ListedInvite| {
            let is_pending = invite.status == "pending";
            invite.id.as_str() == self.invite
                || is_pending && is_address(Some(&invite.email), &self.invite)
        };
        let Some(invite) = all.iter().find(is_meant) else {
            let text = format!("there is no open invitation `{}`", self.invite);
            return Err(Failure::World(desk.told(&text)));
        };
        if invite.status != "pending" {
            let text = format!(
                "invitation `{}` is {}; only one that is pending can be taken back",
                invite.id, invite.status
            );
            return Err(Failure::World(desk.told(&text)));
        }
        let write = Write::RemoveInvite {
            id: invite.id.clone(),
            email: invite.email.clone(),
        };
        let step = Planned::new(write, invite.email.clone());
        let question = format!(
            "Take back the invitation of `{}` ({}) to organization `{}`?",
            invite.email, invite.id, desk.office.organization
        );
        steps::ask_and_carry_out(desk, &self.caution, vec![step], &question).await
    }
}
