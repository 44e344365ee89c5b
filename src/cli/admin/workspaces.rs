//! `workspaces list`, `create`, `archive`, and who belongs to them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::at_stake::KeysAtStake;
use crate::cli::admin::caution::{Caution, DryRun};
use crate::cli::admin::desk::Desk;
use crate::cli::admin::members::Members;
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::{Failure, Globals};
use crate::config::source::Environment;
use crate::domain::admin::choice::known_keys;
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::{NewWorkspace, Write};
use crate::domain::census::ToldBy;
use crate::domain::directory::Workspace;
use crate::domain::ids::WorkspaceId;
use crate::domain::listing::{ListedKey, SpendLimits};
use crate::domain::money::Usd;
use crate::domain::plural::counted;
use crate::sheet::{Cell, Sheet, hidden, id, shown};

/// Workspaces.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Workspaces with their limits, keys and members, and what they spent this month where that is known
    #[command(after_help = "Example: spendwatch workspaces list --output json")]
    List,
    /// Make a workspace, with limits where the service takes them
    #[command(
        after_help = "Example: spendwatch workspaces create Ranking --limit-usd 5000 --requests-per-minute 600\nExample: spendwatch workspaces create Ranking --tag team=search"
    )]
    Create(Create),
    /// Close a workspace for good: all keys in it end with it
    #[command(
        after_help = "Keys in it that were used in the last 7 days need a second confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch workspaces archive Search --dry-run"
    )]
    Archive(Archive),
    /// Who belongs to a workspace, where the service knows it
    #[command(
        subcommand,
        after_help = "Example: spendwatch workspaces members list Search"
    )]
    Members(Members),
}

/// The new workspace.
#[derive(Debug, Args)]
pub struct Create {
    /// As people see it
    name: String,
    /// The most that may be spent in a month, in USD
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    limit_usd: Option<Usd>,
    /// The most requests in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests_per_minute: Option<u64>,
    /// What is noted on it, like team=search; several are several
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Which workspace.
#[derive(Debug, Args)]
pub struct Archive {
    /// Name or id
    #[arg(value_name = "WORKSPACE")]
    workspace: String,
    #[command(flatten)]
    caution: Caution,
}

fn parse_usd(text: &str) -> Result<Usd, String> {
    Usd::parse(text)
        .ok()
        .filter(|usd| *usd > Usd::ZERO)
        .ok_or_else(|| "it is an amount above 0, like `5000` or `99.50`".to_owned())
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("it is written like `team=search`".to_owned()),
    }
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
            Command::List => list(&desk).await,
            Command::Create(create) => create.run(&desk).await,
            Command::Archive(archive) => archive.run(&desk).await,
            Command::Members(members) => {
                desk.check(Deed::Members)?;
                members.run(&desk).await
            }
        }
    }
}

/// How many keys that open something, and how many members, a workspace has; `None` is not told.
struct Inside {
    n_keys: Option<usize>,
    n_members: Option<usize>,
}

async fn list(desk: &Desk<'_>) -> Result<ExitCode, Failure> {
    let told = desk.looked("workspaces.list", &[], read(desk).await)?;
    let ledger = Ledger::open(desk).await?;
    ledger.remark_absence(desk);
    let month = ledger.month(desk).await?;
    let row = |(workspace, inside): &(Workspace, Inside)| {
        let count = |n: usize| Cell::Count(n.try_into().unwrap_or(i128::MAX));
        let spent = month.by_workspace(&workspace.id);
        let tags = workspace
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        vec![
            Cell::Text(workspace.name.clone()),
            spent.map_or(Cell::Empty, Cell::Money),
            workspace.monthly_limit.map_or(Cell::Empty, Cell::Money),
            workspace
                .requests_per_minute
                .map_or(Cell::Empty, |n| Cell::Count(n.into())),
            inside.n_keys.map_or(Cell::Empty, count),
            inside.n_members.map_or(Cell::Empty, count),
            Cell::List(tags.collect()),
            Cell::time_or_empty(workspace.created_at),
            Cell::Text(workspace.id.to_string()),
        ]
    };
    let sheet = Sheet {
        columns: vec![
            shown("name", "NAME"),
            shown("month_spend_usd", "MONTH $"),
            shown("monthly_limit_usd", "LIMIT $"),
            shown("requests_per_minute", "REQ/MIN"),
            shown("active_keys", "KEYS"),
            shown("members", "MEMBERS"),
            hidden("tags"),
            hidden("created_at"),
            id("id", "ID"),
        ],
        rows: told.iter().map(row).collect(),
    };
    Ok(desk.globals.print(&sheet, ExitCode::SUCCESS))
}

async fn read(desk: &Desk<'_>) -> Result<Vec<(Workspace, Inside)>, Failure> {
    let workspaces = desk.workspaces().await?;
    let limits = limits(desk).await?;
    let keys = desk.optional("API keys are", desk.try_keys().await)?;
    let mut told = Vec::with_capacity(workspaces.len());
    let mut is_warned = false;
    for mut workspace in workspaces {
        workspace.monthly_limit = workspace
            .monthly_limit
            .or_else(|| limits.workspaces.get(&workspace.id).copied());
        let n_members = match desk.service() {
            Service::Guide => None,
            Service::Real => {
                let members = desk.office.api.members(&workspace.id).await;
                match members {
                    // Most likely all of them for the same reason: said once.
                    Err(error) if is_warned && !error.is_rejected() => None,
                    members => {
                        let members = desk.optional("members of workspaces are", members)?;
                        is_warned |= members.is_none();
                        members.map(|members| members.len())
                    }
                }
            }
        };
        let inside = Inside {
            n_keys: keys.as_ref().map(|keys| n_active(keys, &workspace.id)),
            n_members,
        };
        told.push((workspace, inside));
    }
    Ok(told)
}

/// Limits that do not stand in the list; none where they cannot be read.
async fn limits(desk: &Desk<'_>) -> Result<SpendLimits, Failure> {
    match desk.service() {
        Service::Guide => Ok(SpendLimits::default()),
        Service::Real => {
            let told = desk.office.api.spend_limits().await;
            let limits = desk.optional("spend limits are", told)?;
            Ok(limits.flatten().unwrap_or_default())
        }
    }
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

impl Create {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        if self.limit_usd.is_some() || self.requests_per_minute.is_some() {
            desk.check(Deed::LimitWorkspace)?;
        }
        if !self.tags.is_empty() {
            desk.check(Deed::TagWorkspace)?;
        }
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the name of a workspace is not empty"));
        }
        let standing = desk.workspaces().await?;
        if let Some(same) = standing.iter().find(|one| one.name == self.name) {
            let text = format!(
                "workspace `{}` is there already, as {}; nothing was changed",
                self.name, same.id
            );
            return Err(Failure::World(desk.told(&text)));
        }
        let new = NewWorkspace {
            name: self.name.clone(),
            monthly_limit: self.limit_usd,
            requests_per_minute: self.requests_per_minute,
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
        };
        let step = Planned::new(Write::CreateWorkspace(new), self.name.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

impl Archive {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::ArchiveWorkspace)?;
        let workspace = desk.workspace(&self.workspace).await?;
        let now = desk.office.clock.now();
        let ledger = Ledger::open(desk).await?;
        let uses = ledger.last_uses(desk).await?;
        let told_by = uses.as_ref().map_or(ToldBy::List, ToldBy::Ledger);
        let mut listed = desk.keys().await?;
        listed.retain(|key| is_active_in(key, &workspace.id));
        let recent = ledger.recent(desk).await?;
        let names = BTreeMap::from([(workspace.id.clone(), workspace.name.clone())]);
        let keys = known_keys(listed, told_by, now);
        let keys = KeysAtStake::new(&keys, &recent, &names, now);
        let active = counted(keys.len(), "active key");
        let note = format!("cannot be undone; disables its {active}");
        let write = Write::ArchiveWorkspace {
            workspace: workspace.id.clone(),
        };
        let step = Planned {
            note: note.clone(),
            stake: Some(keys.of_all()),
            ..Planned::new(write, workspace.name.clone())
        };
        let question = format!(
            "Archive workspace `{}` ({}) of organization `{}`? Note: this {note}.",
            workspace.name, workspace.id, desk.office.organization
        );
        steps::ask_about_keys_and_carry_out(desk, &self.caution, vec![step], &keys, question).await
    }
}
