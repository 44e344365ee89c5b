//! `workspaces list`, `create`, `archive` and `members`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::confirmation::{Confirmation, DryRun};
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::impact::AffectedKeys;
use crate::cli::admin::members::MembersCommand;
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::CommandError;
use crate::table::TableBuilder;
use spendwatch_domain::admin::change::{AdminChange, NewWorkspace};
use spendwatch_domain::admin::selection::key_details;
use spendwatch_domain::admin::server::Capability;
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::listing::{ListedKey, SpendLimits};
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::plural::counted;

/// Subcommands of `workspaces`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List workspaces with limits, keys, members and spend this month
    #[command(after_help = "Example: spendwatch workspaces list --output json")]
    List,
    /// Create a workspace, with limits where the server supports them
    #[command(
        after_help = "Example: spendwatch workspaces create Ranking --limit-usd 5000 --requests-per-minute 600\nExample: spendwatch workspaces create Ranking --tag team=search"
    )]
    Create(CreateWorkspace),
    /// Archive a workspace permanently and disable its keys
    #[command(
        after_help = "Keys used in the last 7 days need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch workspaces archive Search --dry-run"
    )]
    Archive(ArchiveWorkspace),
    /// Manage workspace members, where the server supports them
    #[command(
        subcommand,
        after_help = "Example: spendwatch workspaces members list Search"
    )]
    Members(MembersCommand),
}

/// Arguments of `workspaces create`.
#[derive(Debug, Args)]
pub struct CreateWorkspace {
    /// Name of the workspace
    name: String,
    /// Monthly spend limit in USD
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    limit_usd: Option<Usd>,
    /// Maximum requests per minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests_per_minute: Option<u64>,
    /// Tag, for example team=search (repeatable)
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Arguments of `workspaces archive`.
#[derive(Debug, Args)]
pub struct ArchiveWorkspace {
    /// Name or id of the workspace
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    #[command(flatten)]
    confirmation: Confirmation,
}

fn parse_usd(text: &str) -> Result<Usd, String> {
    Usd::parse(text)
        .ok()
        .filter(|usd| *usd > Usd::ZERO)
        .ok_or_else(|| "expected an amount above 0, for example `5000` or `99.50`".to_owned())
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected a tag like `team=search`".to_owned()),
    }
}

impl Command {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        match self {
            Command::List => list(context).await,
            Command::Create(create) => create.run(context).await,
            Command::Archive(archive) => archive.run(context).await,
            Command::Members(members) => {
                context.require(Capability::Members)?;
                members.run(context).await
            }
        }
    }
}

/// Active keys and members of a workspace; `None` if unknown.
struct WorkspaceCounts {
    n_keys: Option<usize>,
    n_members: Option<usize>,
}

async fn list(context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
    let workspaces = context.audit_read("workspaces.list", &[], read(context).await)?;
    let ledger = Ledger::open(context).await?;
    ledger.warn_if_missing(context);
    let month = ledger.month(context).await?;
    let tags = |workspace: &Workspace| -> Vec<String> {
        let tags = workspace.tags.iter();
        tags.map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    let table = TableBuilder::new(&workspaces)
        .shown("name", "NAME", |(one, _)| &one.name)
        .shown("month_spend_usd", "MONTH $", |(one, _)| {
            month.by_workspace(&one.id)
        })
        .shown("monthly_limit_usd", "LIMIT $", |(one, _)| one.monthly_limit)
        .shown("requests_per_minute", "REQ/MIN", |(one, _)| {
            one.requests_per_minute
        })
        .shown("active_keys", "KEYS", |(_, counts)| counts.n_keys)
        .shown("members", "MEMBERS", |(_, counts)| counts.n_members)
        .hidden("tags", |(one, _)| tags(one))
        .hidden("created_at", |(one, _)| one.created_at)
        .id("id", "ID", |(one, _)| one.id.as_str())
        .build();
    Ok(context.globals.print(&table, ExitCode::SUCCESS))
}

async fn read(
    context: &CommandContext<'_>,
) -> Result<Vec<(Workspace, WorkspaceCounts)>, CommandError> {
    let workspaces = context.workspaces().await?;
    let limits = limits(context).await?;
    let keys = context.or_warn("API keys are", context.keys().await)?;
    let mut result = Vec::with_capacity(workspaces.len());
    let mut is_warned = false;
    for mut workspace in workspaces {
        workspace.monthly_limit = workspace
            .monthly_limit
            .or_else(|| limits.workspaces.get(&workspace.id).copied());
        let members = context
            .session
            .api
            .members(context.service(), &workspace.id);
        let n_members = match members.await {
            // Most likely all for the same reason: warn once.
            Err(error) if is_warned && !error.is_key_rejected() => None,
            members => {
                let members = context.or_warn("members of workspaces are", members)?;
                is_warned |= members.is_none();
                members.flatten().map(|members| members.len())
            }
        };
        let counts = WorkspaceCounts {
            n_keys: keys.as_ref().map(|keys| n_active(keys, &workspace.id)),
            n_members,
        };
        result.push((workspace, counts));
    }
    Ok(result)
}

/// Reads limits that the workspace list does not contain; empty if they cannot be read.
async fn limits(context: &CommandContext<'_>) -> Result<SpendLimits, CommandError> {
    let limits = context.session.api.spend_limits(context.service()).await;
    let limits = context.or_warn("spend limits are", limits)?;
    Ok(limits.flatten().unwrap_or_default())
}

fn n_active(keys: &[ListedKey], workspace: &WorkspaceId) -> usize {
    keys.iter()
        .filter(|key| is_active_in(key, workspace))
        .count()
}

fn is_active_in(key: &ListedKey, workspace: &WorkspaceId) -> bool {
    let status = key.status.as_deref();
    key.workspace.as_ref() == Some(workspace) && status.is_none_or(|status| status == "active")
}

impl CreateWorkspace {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        if self.limit_usd.is_some() || self.requests_per_minute.is_some() {
            context.require(Capability::LimitWorkspace)?;
        }
        if !self.tags.is_empty() {
            context.require(Capability::TagWorkspace)?;
        }
        if self.name.trim().is_empty() {
            return Err(CommandError::usage("the workspace name must not be empty"));
        }
        let existing = context.workspaces().await?;
        if let Some(same) = existing.iter().find(|one| one.name == self.name) {
            let text = format!(
                "workspace `{}` already exists with id `{}`",
                self.name, same.id
            );
            return Err(context.failed(&text));
        }
        let new = NewWorkspace {
            name: self.name.clone(),
            monthly_limit: self.limit_usd,
            requests_per_minute: self.requests_per_minute,
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
        };
        let step = PlannedStep::new(AdminChange::CreateWorkspace(new), self.name.clone());
        steps::execute(context, vec![step], self.dry_run.dry_run).await
    }
}

impl ArchiveWorkspace {
    async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        context.require(Capability::ArchiveWorkspace)?;
        let workspace = context.workspace(&self.workspace).await?;
        let now = context.session.clock.now();
        let ledger = Ledger::open(context).await?;
        let uses = ledger.last_uses(context).await?;
        let last_use = uses
            .as_ref()
            .map_or(LastUseSource::List, LastUseSource::Ledger);
        let mut listed = context.keys().await?;
        listed.retain(|key| is_active_in(key, &workspace.id));
        let recent = ledger.recent(context).await?;
        let names = BTreeMap::from([(workspace.id.clone(), workspace.name.clone())]);
        let keys = key_details(listed, last_use, now);
        let keys = AffectedKeys::new(&keys, &recent, &names, now);
        let active = counted(keys.len(), "active key");
        let note = format!("cannot be undone; disables its {active}");
        let change = AdminChange::ArchiveWorkspace {
            workspace: workspace.id.clone(),
        };
        let step = PlannedStep {
            note: note.clone(),
            impact: Some(keys.total_impact()),
            ..PlannedStep::new(change, workspace.name.clone())
        };
        let question = format!(
            "Archive workspace `{}` ({}) of organization `{}`? Note: this {note}.",
            workspace.name, workspace.id, context.session.organization
        );
        steps::confirm_keys_and_execute(context, &self.confirmation, vec![step], &keys, question)
            .await
    }
}
