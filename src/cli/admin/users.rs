//! `users list`, `invite`, `set-role` and `remove`: who belongs to the organization.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use crate::cli::admin::at_stake::{KeysAtStake, workspace_names};
use crate::cli::admin::caution::{Caution, DryRun};
use crate::cli::admin::desk::Desk;
use crate::cli::admin::people_file::check_email;
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::{Failure, Globals};
use crate::config::durations;
use crate::config::source::Environment;
use crate::domain::admin::choice::{KnownUser, UserFilter, find_user, known_keys, known_users};
use crate::domain::admin::key_use::RecentUsage;
use crate::domain::admin::service::Service;
use crate::domain::admin::write::Write;
use crate::domain::census::ToldBy;
use crate::domain::listing::ListedUser;
use crate::domain::plural::counted;
use crate::sheet::{Cell, Sheet, hidden, id, shown};

/// People.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everybody in the organization
    #[command(after_help = "Example: spendwatch users list --role developer --idle 90d")]
    List(List),
    /// Send an invitation; the person then signs up by it
    #[command(after_help = "Example: spendwatch users invite ada@example.com --role developer")]
    Invite(Invite),
    /// Give somebody another role
    #[command(after_help = "Example: spendwatch users set-role ada@example.com billing")]
    SetRole(SetRole),
    /// Remove somebody from the organization; `offboard` also ends what their keys open
    #[command(
        after_help = "Where the user's keys are revoked with them, keys that were used in the last 7 days need a second confirmation: \
                      `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch users remove ada@example.com --dry-run"
    )]
    Remove(Remove),
}

/// Which people.
#[derive(Debug, Args)]
pub struct List {
    /// Only this role
    #[arg(long)]
    role: Option<String>,
    /// Only this status, where the service tells it
    #[arg(long)]
    status: Option<String>,
    /// Only who did nothing for so long, where the service tells it: `90d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<SignedDuration>,
}

/// Who is invited.
#[derive(Debug, Args)]
pub struct Invite {
    /// Where the invitation goes
    #[arg(value_name = "EMAIL", value_parser = parse_email)]
    email: String,
    /// What they will be
    #[arg(long, default_value = "developer")]
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Whose role.
#[derive(Debug, Args)]
pub struct SetRole {
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    /// The new role
    role: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Who goes.
#[derive(Debug, Args)]
pub struct Remove {
    /// Id or email address
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    caution: Caution,
}

/// Of `--idle` and `--expiring`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    durations::parse(text)
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "it is written like `12h` or `90d`".to_owned())
}

/// Of an argument.
pub fn parse_email(text: &str) -> Result<String, String> {
    check_email(text).map(|()| text.to_owned())
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
            Command::Invite(invite) => invite.run(&desk).await,
            Command::SetRole(set_role) => set_role.run(&desk).await,
            Command::Remove(remove) => remove.run(&desk).await,
        }
    }
}

impl List {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        let filter = UserFilter {
            role: self.role.clone(),
            status: self.status.clone(),
            idle: self.idle,
        };
        let told = desk.looked("users.list", &[], self.users(desk).await)?;
        let now = desk.office.clock.now();
        let rows: Vec<&KnownUser> = told
            .iter()
            .filter(|user| filter.matches(user, now))
            .collect();
        if !desk.globals.quiet && rows.len() < told.len() {
            desk.globals.remark(&format!(
                "{} of {}",
                rows.len(),
                counted(told.len(), "user")
            ));
        }
        let sheet = sheet(&rows);
        Ok(desk.globals.print(&sheet, ExitCode::SUCCESS))
    }

    async fn users(&self, desk: &Desk<'_>) -> Result<Vec<KnownUser>, Failure> {
        let users = desk.users().await?;
        let tells_use = users.iter().any(|user| user.last_active_at.is_some());
        let tells_status = users.iter().any(|user| user.status.is_some());
        let untold = |what: &str, option: &str| {
            let text = format!("the service does not tell {what}; leave `{option}` out");
            Err(Failure::usage(desk.told(&text)))
        };
        if self.idle.is_some() && !tells_use && !users.is_empty() {
            return untold("when people were active last", "--idle");
        }
        if self.status.is_some() && !tells_status && !users.is_empty() {
            return untold("a status of people", "--status");
        }
        if let (Some(role), Service::Guide) = (&self.role, desk.service()) {
            check_role(desk, role)?;
        }
        Ok(known_users(users, ToldBy::List, desk.office.clock.now()))
    }
}

fn sheet(users: &[&KnownUser]) -> Sheet {
    let row = |user: &&KnownUser| {
        let listed: &ListedUser = &user.listed;
        vec![
            Cell::text_or_empty(listed.email.clone()),
            Cell::Text(listed.name.clone()),
            Cell::Text(listed.role.clone()),
            Cell::text_or_empty(listed.status.clone()),
            Cell::time_or_empty(listed.last_active_at),
            Cell::time_or_empty(user.idle_since),
            Cell::time_or_empty(listed.added_at),
            Cell::Text(listed.id.to_string()),
        ]
    };
    Sheet {
        columns: vec![
            id("email", "EMAIL"),
            shown("name", "NAME"),
            shown("role", "ROLE"),
            shown("status", "STATUS"),
            shown("last_active_at", "LAST ACTIVE"),
            hidden("idle_since"),
            shown("added_at", "SINCE"),
            id("id", "ID"),
        ],
        rows: users.iter().map(row).collect(),
    }
}

/// Refuses what is no role of the service, before anything is sent.
pub fn check_role(desk: &Desk<'_>, role: &str) -> Result<(), Failure> {
    let told = desk.service().check_role(role);
    told.map_err(|error| Failure::usage(desk.told(&error.to_string())))
}

/// The person who is meant.
pub async fn one_user(desk: &Desk<'_>, asked: &str) -> Result<ListedUser, Failure> {
    let users = desk.users().await?;
    find_user(asked, &users)
        .cloned()
        .map_err(|error| Failure::World(desk.told(&error.to_string())))
}

/// As people know them.
pub fn known_as(user: &ListedUser) -> String {
    user.email.clone().unwrap_or_else(|| user.name.clone())
}

impl Invite {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        check_role(desk, &self.role)?;
        let write = Write::Invite {
            email: self.email.clone(),
            role: self.role.clone(),
        };
        let step = Planned::new(write, self.email.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

impl SetRole {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        check_role(desk, &self.role)?;
        let user = one_user(desk, &self.user).await?;
        if user.role == self.role {
            let told = format!(
                "`{}` is {} already; nothing was changed",
                known_as(&user),
                user.role
            );
            desk.globals.remark(&told);
            return steps::carry_out(desk, Vec::new(), true).await;
        }
        let name = known_as(&user);
        let step = Planned {
            note: format!("is {} now", user.role),
            ..Planned::new(
                Write::SetRole {
                    user: user.id,
                    role: self.role.clone(),
                },
                name,
            )
        };
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

impl Remove {
    async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        let user = one_user(desk, &self.user).await?;
        if !desk.service().can_remove(&user.role) {
            let text = format!(
                "user `{}` is {role}, and the service removes no {role} by its API; make them `user` in the Console first",
                user.id,
                role = user.role
            );
            return Err(Failure::usage(desk.told(&text)));
        }
        let keys = self.keys_at_stake(desk, &user).await?;
        let note = match desk.service() {
            Service::Guide => "their keys are revoked with them",
            Service::Real => "their keys live on: `spendwatch offboard` revokes them first",
        };
        let step = Planned {
            note: note.to_owned(),
            stake: (desk.service() == Service::Guide).then(|| keys.of_all()),
            ..Planned::new(
                Write::RemoveUser {
                    user: user.id.clone(),
                    email: user.email.clone(),
                },
                known_as(&user),
            )
        };
        let question = format!(
            "Remove user `{}` ({}) from organization `{}`? Note: {note}.",
            known_as(&user),
            user.id,
            desk.office.organization
        );
        steps::ask_about_keys_and_carry_out(desk, &self.caution, vec![step], &keys, question).await
    }

    /// Keys that are revoked with the user; none where keys outlive who made them.
    async fn keys_at_stake(
        &self,
        desk: &Desk<'_>,
        user: &ListedUser,
    ) -> Result<KeysAtStake, Failure> {
        if desk.service() == Service::Real {
            return Ok(KeysAtStake::default());
        }
        let now = desk.office.clock.now();
        let keys = known_keys(desk.keys().await?, ToldBy::List, now);
        let theirs = keys
            .iter()
            .filter(|key| key.is_active && key.maker() == Some(&user.id));
        let recent = RecentUsage::default();
        let names = workspace_names(desk).await;
        Ok(KeysAtStake::new(theirs, &recent, &names, now))
    }
}
