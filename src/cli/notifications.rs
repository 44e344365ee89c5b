//! `notifications list` and `notifications replay`: what became of each message, and dead letters sent again.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::audit::Operation;
use crate::cli::globals::{Assent, Failure, Globals};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::source::Environment;
use crate::domain::ids::NotifierName;
use crate::sheet::{Cell, Sheet, hidden, id, shown};
use crate::store::Store;
use crate::store::alerts::Found;
use crate::store::messages::{MessageFilter, MessageRow, MessageState};

/// How long a message of a notifier that is not configured any more waits.
const FALLBACK_AGE: SignedDuration = SignedDuration::from_hours(72);

/// Messages in the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Messages, the newest first
    #[command(
        after_help = "Example: spendwatch notifications list --state dead --notifier finops-slack"
    )]
    List(List),
    /// Send dead letters again, under their ids; a running daemon does so within 30 seconds
    #[command(after_help = "Example: spendwatch notifications replay --all-dead --dry-run")]
    Replay(Replay),
}

/// Which messages.
#[derive(Debug, Args)]
pub struct List {
    /// waiting, delivered, dead or folded
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<MessageState>,
    /// Only to this notifier
    #[arg(long, value_name = "NAME")]
    notifier: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Replay {
    /// Ids, or what they begin with
    #[arg(value_name = "ID", required_unless_present = "all_dead")]
    ids: Vec<String>,
    /// All dead letters
    #[arg(long, conflicts_with = "ids")]
    all_dead: bool,
    /// Say what would be sent again, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
}

fn parse_state(word: &str) -> Result<MessageState, String> {
    MessageState::parse(word)
        .ok_or_else(|| "the states are waiting, delivered, dead and folded".to_owned())
}

impl Command {
    /// Runs it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let (config, store) = globals.open_store(environment)?;
        match self {
            Command::List(list) => list.run(globals, &store).await,
            Command::Replay(replay) => replay.run(globals, &config, &store).await,
        }
    }
}

impl List {
    async fn run(&self, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
        let filter = MessageFilter {
            state: self.state,
            notifier: self.notifier.as_deref().map(NotifierName::from),
            limit: self.limit,
        };
        let mut messages = store.messages(&filter).await?;
        if let Some(organization) = &globals.org {
            messages.retain(|message| {
                let of_facts = message.facts.iter().map(|fact| &fact.identity.organization);
                let of_digest = message.digest.iter().map(|digest| &digest.organization);
                of_facts
                    .chain(of_digest)
                    .any(|it| it.as_str() == organization)
            });
        }
        if messages.is_empty() {
            globals.remark("No messages");
        }
        Ok(globals.print(&sheet(&messages), ExitCode::SUCCESS))
    }
}

impl Replay {
    /// All that is asked for is looked up first: where one id is wrong nothing is changed.
    async fn run(
        &self,
        globals: &Globals,
        config: &Config,
        store: &Store,
    ) -> Result<ExitCode, Failure> {
        let dead = if self.all_dead {
            all_dead(store).await?
        } else {
            let mut dead: Vec<MessageRow> = Vec::new();
            for prefix in &self.ids {
                let found = find_dead(store, prefix).await?;
                if dead.iter().all(|message| message.id != found.id) {
                    dead.push(found);
                }
            }
            dead
        };
        if dead.is_empty() {
            globals.remark("No dead letters");
        }
        if self.dry_run {
            globals.remark(&format!(
                "Would send again: {}; nothing was changed",
                dead.len()
            ));
            return Ok(globals.print(&sheet(&dead), ExitCode::SUCCESS));
        }
        let clock = Clock::system();
        let (audit, now) = (globals.audit(config, &clock), clock.now());
        let mut replayed = Vec::new();
        for message in &dead {
            let expires = now.checked_add(max_age(config, &message.notifier));
            let expires = expires.unwrap_or(Timestamp::MAX);
            let operation = Operation {
                organization: None,
                action: "notifications.replay",
                target: &message.id,
                arguments: &[("notifier", message.notifier.to_string())],
            };
            let judge = |found: &Found<MessageRow>| match found {
                Found::One(_) => None,
                Found::Nothing | Found::Many(_) => Some("it is gone".to_owned()),
            };
            let replayed_one = store.replay(&message.id, now, expires);
            match audit.around(&operation, replayed_one, judge).await?? {
                Found::One(message) => replayed.push(message),
                // Dropped from the history meanwhile.
                Found::Nothing | Found::Many(_) => {
                    globals.remark(&format!("message `{}` is gone", message.id));
                }
            }
        }
        if !replayed.is_empty() {
            globals.remark(&format!(
                "Waiting for delivery: {}; a running daemon sends them within 30 seconds",
                replayed.len()
            ));
        }
        Ok(globals.print(&sheet(&replayed), ExitCode::SUCCESS))
    }
}

async fn all_dead(store: &Store) -> Result<Vec<MessageRow>, Failure> {
    let filter = MessageFilter {
        state: Some(MessageState::Dead),
        notifier: None,
        limit: u32::MAX,
    };
    let mut dead = store.messages(&filter).await?;
    // In the order in which they were decided.
    dead.reverse();
    Ok(dead)
}

async fn find_dead(store: &Store, prefix: &str) -> Result<MessageRow, Failure> {
    match store.message(prefix).await? {
        Found::One(message) if message.state == MessageState::Dead => Ok(message),
        Found::One(message) => Err(Failure::World(format!(
            "message `{}` is {}, only dead letters are sent again; nothing was changed",
            message.id,
            message.state.as_str()
        ))),
        Found::Nothing => Err(Failure::World(format!(
            "no message begins with `{prefix}`; `spendwatch notifications list --state dead` has them"
        ))),
        Found::Many(ids) => Err(Failure::World(format!(
            "several messages begin with `{prefix}`: {}",
            ids.join(", ")
        ))),
    }
}

fn max_age(config: &Config, name: &NotifierName) -> SignedDuration {
    let configured = config.notifiers.iter().find(|known| known.name == *name);
    configured
        .and_then(|notifier| SignedDuration::try_from(notifier.max_age).ok())
        .unwrap_or(FALLBACK_AGE)
}

fn sheet(messages: &[MessageRow]) -> Sheet {
    Sheet {
        columns: vec![
            id("id", "ID"),
            shown("notifier", "NOTIFIER"),
            hidden("recipient"),
            shown("state", "STATE"),
            shown("created_at", "DECIDED"),
            shown("n_attempts", "TRIES"),
            hidden("next_attempt"),
            hidden("finished_at"),
            shown("last_error", "WHY"),
            hidden("folded_into"),
            hidden("alerts"),
            hidden("digest"),
        ],
        rows: messages.iter().map(row).collect(),
    }
}

fn row(message: &MessageRow) -> Vec<Cell> {
    let alerts = message.facts.iter();
    vec![
        Cell::Text(message.id.clone()),
        Cell::Text(message.notifier.to_string()),
        Cell::text_or_empty(message.recipient.clone()),
        Cell::Text(message.state.as_str().to_owned()),
        Cell::Time(message.created_at),
        Cell::Count(i128::from(message.n_attempts)),
        Cell::time_or_empty(message.next_attempt),
        Cell::time_or_empty(message.finished_at),
        Cell::text_or_empty(message.last_error.clone()),
        Cell::text_or_empty(message.folded_into.clone()),
        Cell::List(alerts.map(|fact| fact.identity.fingerprint()).collect()),
        Cell::text_or_empty(message.digest.as_ref().map(|digest| digest.name.clone())),
    ]
}
