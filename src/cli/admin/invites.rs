//! `invites list` and `invites remove`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::confirmation::Confirmation;
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::CommandError;
use crate::table::TableBuilder;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::selection::is_address;
use spendwatch_domain::admin::server::Capability;
use spendwatch_domain::org::listing::ListedInvite;

/// Subcommands of `invites`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List invitations, where the server lists them
    #[command(after_help = "Example: spendwatch invites list --status pending")]
    List {
        /// Status: pending, accepted, expired or deleted
        #[arg(long)]
        status: Option<String>,
    },
    /// Withdraw a pending invitation
    #[command(after_help = "Example: spendwatch invites remove ada@example.com")]
    Remove(RemoveInvite),
}

/// Arguments of `invites remove`.
#[derive(Debug, Args)]
pub struct RemoveInvite {
    /// Id of the invitation, or the invited address
    #[arg(value_name = "INVITE")]
    invite: String,
    #[command(flatten)]
    confirmation: Confirmation,
}

impl Command {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        match self {
            Command::List { status } => {
                context.require(Capability::ListInvites)?;
                let invites = context.audit_read("invites.list", &[], invites(context).await)?;
                let is_selected = |invite: &&ListedInvite| {
                    status
                        .as_ref()
                        .is_none_or(|status| invite.status == *status)
                };
                let selected: Vec<&ListedInvite> = invites.iter().filter(is_selected).collect();
                let table = TableBuilder::new(&selected)
                    .id("email", "EMAIL", |invite| &invite.email)
                    .shown("role", "ROLE", |invite| &invite.role)
                    .shown("status", "STATUS", |invite| &invite.status)
                    .shown("expires_at", "EXPIRES", |invite| invite.expires_at)
                    .shown("invited_at", "SENT", |invite| invite.invited_at)
                    .id("id", "ID", |invite| invite.id.as_str())
                    .build();
                Ok(context.globals.print(&table, ExitCode::SUCCESS))
            }
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

async fn invites(context: &CommandContext<'_>) -> Result<Vec<ListedInvite>, CommandError> {
    let api = &context.session.api;
    let invites = api.invites(context.service(), &|_| {}).await;
    context.warn_unreadable();
    Ok(invites?.unwrap_or_default())
}

impl RemoveInvite {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        context.require(Capability::RemoveInvite)?;
        let all = invites(context).await?;
        let is_requested = |invite: &&ListedInvite| {
            let is_pending = invite.status == "pending";
            invite.id.as_str() == self.invite
                || is_pending && is_address(Some(&invite.email), &self.invite)
        };
        let Some(invite) = all.iter().find(is_requested) else {
            let text = format!("no pending invitation `{}`", self.invite);
            return Err(context.failed(&text));
        };
        if invite.status != "pending" {
            let text = format!(
                "invitation `{}` is {}, expected a pending one",
                invite.id, invite.status
            );
            return Err(context.failed(&text));
        }
        let change = AdminChange::RemoveInvite {
            id: invite.id.clone(),
            email: invite.email.clone(),
        };
        let step = PlannedStep::new(change, invite.email.clone());
        let question = format!(
            "Withdraw the invitation of `{}` ({}) to organization `{}`?",
            invite.email, invite.id, context.session.organization
        );
        steps::confirm_and_execute(context, &self.confirmation, vec![step], &question).await
    }
}
