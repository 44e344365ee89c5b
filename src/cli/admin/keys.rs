//! `keys list`, `create`, `rename`, `revoke` and `restore`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::admin::batch::Halt;
use crate::admin::key::{self, Made};
use crate::cli::admin::caution::{Answer, Caution, DryRun};
use crate::cli::admin::desk::{Desk, IN_PART};
use crate::cli::admin::secret_place::SecretPlace;
use crate::cli::admin::spend::{Ledger, Spent};
use crate::cli::admin::steps::{self, Planned};
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::{Failure, Globals};
use crate::cli::output::{TERMINAL_WIDTH, short_time};
use crate::config::source::Environment;
use crate::domain::admin::choice::{
    KeyFilter, KnownKey, find_key, find_user, find_workspace, known_keys,
};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::{Manner, Write};
use crate::domain::census::ToldBy;
use crate::domain::ids::{ActorId, ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::listing::Maker;
use crate::sheet::{Cell, Sheet, hidden, shown};

/// API keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keys with who made them, when they were used and when they end, and what they spent this month where that is known
    #[command(
        after_help = "Example: spendwatch keys list --status active --idle 90d\nExample: spendwatch keys list --expiring 30d --output csv"
    )]
    List(List),
    /// Make a key; its secret goes to the one place that is named, or once onto the terminal
    #[command(
        after_help = "Example: spendwatch keys create ci --workspace Search --secret-out ./ci.key\n\
                      Example: spendwatch keys create ci --workspace Search --secret-to-command 'vault kv put secret/ci key=-'"
    )]
    Create(Create),
    /// Give a key another name, where the service can
    #[command(after_help = "Example: spendwatch keys rename apikey_01Ab ci-2026")]
    Rename(Rename),
    /// End what keys open: those that are named, that nobody has used for long, or that stand in a file
    #[command(
        after_help = "Where the service knows a reversible way (`inactive`) it is taken, unless `--archive` asks for the final one.\n\n\
                      Example: spendwatch keys revoke apikey_01Ab apikey_01Cd\n\
                      Example: spendwatch keys revoke --idle 90d --dry-run"
    )]
    Revoke(Revoke),
    /// Let a key that was revoked open again, where the service can
    #[command(after_help = "Example: spendwatch keys restore apikey_01Ab")]
    Restore(Restore),
}

/// Which keys are meant.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Only of this workspace: name or id; `default` is the one that every organization has
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only made by this person: id or email address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only not used for so long: `90d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<SignedDuration>,
}

/// Which keys are listed.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// Only this status: active, inactive, archived, expired
    #[arg(long)]
    status: Option<String>,
    /// Only those that end within so long: `30d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expiring: Option<SignedDuration>,
}

/// The new key.
#[derive(Debug, Args)]
pub struct Create {
    /// As people see it
    name: String,
    /// Where it opens something: name or id
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
    /// After so many days it opens nothing
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    key_days: u32,
    /// It never ends
    #[arg(long, conflicts_with = "key_days")]
    no_expiry: bool,
    #[command(flatten)]
    place: SecretPlace,
    #[command(flatten)]
    dry_run: DryRun,
}

/// A key and its new name.
#[derive(Debug, Args)]
pub struct Rename {
    /// Which
    #[arg(value_name = "KEY")]
    key: String,
    /// Its new name
    name: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Which keys end.
#[derive(Debug, Args)]
pub struct Revoke {
    /// These
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Those of this file: one id in each line, `#` begins a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// For good, where the service knows a reversible way, too
    #[arg(long)]
    archive: bool,
    #[command(flatten)]
    caution: Caution,
}

/// Which key opens again.
#[derive(Debug, Args)]
pub struct Restore {
    /// Which
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    dry_run: DryRun,
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
            Command::List(list) => list.run(&desk).await,
            Command::Create(create) => create.run(&desk).await,
            Command::Rename(rename) => rename.run(&desk).await,
            Command::Revoke(revoke) => revoke.run(&desk).await,
            Command::Restore(restore) => restore.run(&desk).await,
        }
    }
}

/// Keys with all that is known of them.
struct Known {
    keys: Vec<KnownKey>,
    /// By id, as people know them.
    makers: BTreeMap<ActorId, String>,
    /// By id.
    workspaces: BTreeMap<WorkspaceId, String>,
    filter: KeyFilter,
    ledger: Ledger,
}

impl Chosen {
    fn is_empty(&self) -> bool {
        self.workspace.is_none() && self.user.is_none() && self.idle.is_none()
    }

    /// Reads keys, and what it takes to know the chosen ones.
    async fn read(&self, desk: &Desk<'_>) -> Result<Known, Failure> {
        let usage = |error: &dyn std::error::Error| Failure::usage(desk.told(&error.to_string()));
        let ledger = Ledger::open(desk).await?;
        let workspaces = desk.workspaces().await?;
        let workspace = match self.workspace.as_deref() {
            None => None,
            Some(DEFAULT_WORKSPACE) if desk.service() == Service::Guide => Some(None),
            Some(asked) => {
                let asked = if asked == DEFAULT_WORKSPACE {
                    "Default"
                } else {
                    asked
                };
                let found = find_workspace(asked, &workspaces).map_err(|error| usage(&error))?;
                Some(Some(found.id.clone()))
            }
        };
        let needs_users = self.user.is_some() || desk.service() == Service::Real;
        let users = if needs_users {
            desk.users().await?
        } else {
            Vec::new()
        };
        let user = match self.user.as_deref() {
            None => None,
            // Who is gone has left keys behind: an id need not be in the list.
            Some(asked) => match find_user(asked, &users) {
                Ok(user) => Some(user.id.clone()),
                Err(error) if asked.contains('@') => return Err(usage(&error)),
                Err(_) => Some(ActorId::new(asked)),
            },
        };
        let listed = desk.keys().await?;
        let uses = match desk.service() {
            Service::Guide => None,
            Service::Real => ledger.last_uses(desk).await?,
        };
        if self.idle.is_some() && desk.service() == Service::Real && uses.is_none() {
            let text = "the service does not tell when keys were used, and no ledger here knows it: run `spendwatch run` \
                        beside the store of this configuration first, or leave `--idle` out";
            return Err(Failure::usage(desk.told(text)));
        }
        let told_by = match &uses {
            Some(uses) => ToldBy::Ledger(uses),
            None => ToldBy::List,
        };
        let makers = users.into_iter().map(|user| {
            let known_as = user.email.unwrap_or(user.name);
            (user.id, known_as)
        });
        let names = workspaces.into_iter().map(|one| (one.id, one.name));
        Ok(Known {
            keys: known_keys(listed, told_by, desk.office.clock.now()),
            makers: makers.collect(),
            workspaces: names.collect(),
            filter: KeyFilter {
                workspace,
                user,
                idle: self.idle,
                ..KeyFilter::default()
            },
            ledger,
        })
    }
}

impl Known {
    fn workspace(&self, id: Option<&WorkspaceId>) -> Option<String> {
        let id = id?;
        Some(
            self.workspaces
                .get(id)
                .cloned()
                .unwrap_or_else(|| id.to_string()),
        )
    }

    fn maker(&self, key: &KnownKey) -> Option<String> {
        let listed = &key.listed;
        let (Maker::Person(id) | Maker::Other(id)) = listed.created_by.as_ref()?;
        let known = listed.maker_email.as_ref().or_else(|| self.makers.get(id));
        Some(known.cloned().unwrap_or_else(|| id.to_string()))
    }
}

impl List {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        let known = desk.looked("keys.list", &[], self.chosen.read(desk).await)?;
        let now = desk.office.clock.now();
        let filter = KeyFilter {
            status: self.status.clone(),
            expiring: self.expiring,
            ..known.filter.clone()
        };
        let rows: Vec<&KnownKey> = known
            .keys
            .iter()
            .filter(|key| filter.matches(key, now))
            .collect();
        if rows.len() < known.keys.len() {
            desk.globals
                .remark(&format!("{} of {} keys", rows.len(), known.keys.len()));
        }
        let spent = known.ledger.month(desk).await?;
        let sheet = sheet(&known, &rows, &spent, now);
        known.ledger.remark_absence(desk);
        let least = ["created_by", "expires_at", "month_spend_usd", "idle_since"];
        Ok(desk
            .globals
            .print(&sheet.fitted(TERMINAL_WIDTH, &least), ExitCode::SUCCESS))
    }
}

fn sheet(known: &Known, keys: &[&KnownKey], spent: &Spent, now: Timestamp) -> Sheet {
    let row = |key: &&KnownKey| {
        let listed = &key.listed;
        let month = spent.by_key(&listed.id);
        vec![
            Cell::Text(listed.name.clone()),
            Cell::Text(key.status(now).to_owned()),
            Cell::text_or_empty(known.workspace(listed.workspace.as_ref())),
            Cell::text_or_empty(listed.workspace.as_ref().map(ToString::to_string)),
            Cell::time_or_empty(listed.last_used_at),
            Cell::time_or_empty(key.idle_since),
            month.map_or(Cell::Empty, Cell::Money),
            Cell::text_or_empty(known.maker(key)),
            Cell::text_or_empty(key.maker().map(ToString::to_string)),
            Cell::time_or_empty(listed.created_at),
            Cell::time_or_empty(listed.expires_at),
            Cell::text_or_empty(listed.hint.clone()),
            Cell::Text(listed.id.to_string()),
        ]
    };
    Sheet {
        columns: vec![
            shown("name", "NAME"),
            shown("status", "STATUS"),
            shown("workspace", "WORKSPACE"),
            hidden("workspace_id"),
            hidden("last_used_at"),
            shown("idle_since", "IDLE SINCE"),
            shown("month_spend_usd", "MONTH $"),
            shown("created_by", "MADE BY"),
            hidden("created_by_id"),
            hidden("created_at"),
            shown("expires_at", "EXPIRES"),
            hidden("hint"),
            shown("id", "ID"),
        ],
        rows: keys.iter().map(row).collect(),
    }
}

impl Create {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::CreateKey)?;
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the name of a key is not empty"));
        }
        let handover = if self.dry_run.dry_run {
            None
        } else {
            Some(self.place.handover(desk.globals)?)
        };
        let workspace = desk.workspace(&self.workspace).await?;
        let write = Write::CreateKey {
            name: self.name.clone(),
            workspace: workspace.id,
            expires_at: (!self.no_expiry)
                .then(|| expiry(desk.office.clock.now(), self.key_days))
                .transpose()?,
        };
        let step = Planned {
            note: format!("in workspace {}", workspace.name),
            ..Planned::new(write, self.name.clone())
        };
        let Some(handover) = handover else {
            return steps::carry_out(desk, vec![step], true).await;
        };
        let place = handover
            .open()
            .map_err(|error| Failure::World(error.to_string()))?;
        // A secret that is on its way reaches its place, whatever is pressed meanwhile.
        let _halt = Halt::on_signal();
        let (outcome, id, detail, code) = match key::make(&desk.office, &step.write, place).await {
            Made::Key { id, .. } => {
                let detail = format!("its secret is {}", handover.told());
                ("done", Some(id), detail, ExitCode::SUCCESS)
            }
            Made::Nothing(why) => ("failed", None, why, ExitCode::FAILURE),
            Made::Undone { id, why } => {
                let detail = format!("it was made and revoked again: {why}");
                ("undone", Some(id), detail, ExitCode::from(IN_PART))
            }
            Made::Lost { id, why } => ("unknown", id, lost(&why), ExitCode::from(IN_PART)),
        };
        if code != ExitCode::SUCCESS {
            eprintln!("error: {detail}");
        }
        let sheet = steps::one(&step, outcome, detail, id.map(|id| id.to_string()));
        Ok(desk.globals.print(&sheet, code))
    }
}

fn lost(why: &str) -> String {
    format!(
        "a key may stand whose secret nobody has: find it by `spendwatch keys list` and revoke it; {why}"
    )
}

/// So many days from now.
pub fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    // To the second: that is what services keep.
    let end = Timestamp::from_second(now.as_second() + i64::from(days) * 86_400);
    end.map_err(|_| Failure::usage(format!("{days} days from now is beyond all calendars")))
}

impl Rename {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::RenameKey)?;
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the new name is empty"));
        }
        let keys = known_keys(desk.keys().await?, ToldBy::Nobody, desk.office.clock.now());
        let key = one_key(desk, &self.key, &keys)?;
        let write = Write::RenameKey {
            key: key.listed.id.clone(),
            name: self.name.clone(),
        };
        let step = Planned::new(write, key.listed.name.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

fn one_key<'a>(
    desk: &Desk<'_>,
    asked: &str,
    keys: &'a [KnownKey],
) -> Result<&'a KnownKey, Failure> {
    find_key(&ApiKeyId::new(asked), keys).ok_or_else(|| {
        Failure::World(desk.told(&format!(
            "there is no key `{asked}`; `spendwatch keys list` tells ids"
        )))
    })
}

impl Restore {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::RestoreKey)?;
        let now = desk.office.clock.now();
        let keys = known_keys(desk.keys().await?, ToldBy::Nobody, now);
        let key = one_key(desk, &self.key, &keys)?;
        let status = key.status(now);
        if status != Manner::Inactive.word() {
            let text = format!(
                "key `{}` is {status}; only one that is inactive can be restored",
                self.key
            );
            return Err(Failure::World(desk.told(&text)));
        }
        let write = Write::RestoreKey {
            key: key.listed.id.clone(),
        };
        let step = Planned::new(write, key.listed.name.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

impl Revoke {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        if self.archive {
            desk.check(Deed::ArchiveKey)?;
        }
        let named = self.named()?;
        if named.is_empty() && self.chosen.is_empty() {
            return Err(Failure::usage(
                "no key is named; name keys by their ids, or choose them by `--idle`, `--workspace`, `--user` or `--from`",
            ));
        }
        let manner = manner(desk.service(), self.archive);
        let known = self.chosen.read(desk).await?;
        let now = desk.office.clock.now();
        let keys = if named.is_empty() {
            let is_meant =
                |key: &&KnownKey| known.filter.matches(key, now) && !key.is_revoked(manner);
            known.keys.iter().filter(is_meant).collect()
        } else {
            self.of_named(desk, &named, &known, now)?
        };
        let open: Vec<&KnownKey> = keys
            .into_iter()
            .filter(|key| !key.is_revoked(manner))
            .collect();
        if open.is_empty() {
            desk.globals
                .remark("no key is left to revoke; nothing was changed");
            return steps::carry_out(desk, Vec::new(), true).await;
        }
        let steps: Vec<Planned> = open.iter().map(|key| step(key, manner)).collect();
        if self.caution.dry_run {
            return steps::carry_out(desk, steps, true).await;
        }
        if self.caution.yes == 0 {
            desk.globals.remark(
                steps::planned(&steps)
                    .as_table(Some(TERMINAL_WIDTH))
                    .trim_end(),
            );
        }
        match self.caution.ask(&question(desk, &open, manner))? {
            Answer::Yes => steps::carry_out(desk, steps, false).await,
            Answer::No => Ok(ExitCode::FAILURE),
        }
    }

    /// Ids of the arguments and of the file, each once, in their order.
    fn named(&self) -> Result<Vec<ApiKeyId>, Failure> {
        let mut ids = self.keys.clone();
        if let Some(path) = &self.from {
            ids.extend(ids_of(path)?);
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids.into_iter().map(ApiKeyId::new).collect())
    }

    fn of_named<'a>(
        &self,
        desk: &Desk<'_>,
        named: &[ApiKeyId],
        known: &'a Known,
        now: Timestamp,
    ) -> Result<Vec<&'a KnownKey>, Failure> {
        let unknown: Vec<&str> = named
            .iter()
            .filter(|id| find_key(id, &known.keys).is_none())
            .map(ApiKeyId::as_str)
            .collect();
        if !unknown.is_empty() && desk.service() == Service::Real {
            let text = format!(
                "there is no key {}; nothing was changed",
                unknown.join(", ")
            );
            return Err(Failure::World(desk.told(&text)));
        }
        // A service that deletes what is revoked does not list it any more: a repeated command finds what is left.
        if unknown.len() == named.len() {
            let text = format!(
                "there is no key {}; what was revoked before is not listed",
                unknown.join(", ")
            );
            return Err(Failure::World(desk.told(&text)));
        }
        for id in unknown {
            desk.globals
                .remark(&format!("key `{id}` is not there, or was revoked before"));
        }
        let found = named.iter().filter_map(|id| find_key(id, &known.keys));
        Ok(found.filter(|key| known.filter.matches(key, now)).collect())
    }
}

/// How a key is revoked.
pub const fn manner(service: Service, is_archived: bool) -> Manner {
    match (service, is_archived) {
        (Service::Guide, _) => Manner::Deleted,
        (Service::Real, true) => Manner::Archived,
        (Service::Real, false) => Manner::Inactive,
    }
}

/// That a key is revoked, with when it was used last.
pub fn step(key: &KnownKey, manner: Manner) -> Planned {
    let note = match (key.listed.last_used_at, key.idle_since) {
        (Some(at), _) => format!("used last at {}", short_time(at)),
        (None, Some(since)) => format!("not used since {}", short_time(since)),
        (None, None) => String::new(),
    };
    Planned {
        note,
        ..Planned::new(key.revoked(manner), key.listed.name.clone())
    }
}

fn question(desk: &Desk<'_>, keys: &[&KnownKey], manner: Manner) -> String {
    let organization = &desk.office.organization;
    let then = if manner.is_final() {
        "this is final"
    } else {
        "`spendwatch keys restore` brings one back"
    };
    match keys {
        [key] => format!(
            "Revoke key `{}` ({}) of organization `{organization}`? Note: {then}.",
            key.listed.name, key.listed.id
        ),
        keys => format!(
            "Revoke these {} keys of organization `{organization}`? Note: {then}.",
            keys.len()
        ),
    }
}

/// One id in each line.
fn ids_of(path: &Path) -> Result<Vec<String>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("`{shown}`: {error}")))?;
    let mut ids = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.split_whitespace().count() > 1 || id.contains(',') {
            let told = format!(
                "`{shown}`, line {}: `{id}` is no id; one id stands in each line",
                place + 1
            );
            return Err(Failure::usage(told));
        }
        if !id.is_empty() {
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        return Err(Failure::usage(format!("`{shown}` names no key")));
    }
    Ok(ids)
}
