//! `notifications list` and `notifications replay`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::cli::globals::{CommandError, Globals, YesFlag, matched};
use crate::table::{OutputTable, TableBuilder};
use spendwatch_audit::Operation;
use spendwatch_base::clock::Clock;
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::plural::counted;
use spendwatch_store::Store;
use spendwatch_store::outbox::messages::{MessageFilter, MessageRow, MessageState};
use spendwatch_store::prefix_match::PrefixMatch;

/// `max_age` for a notifier that is no longer configured.
const FALLBACK_AGE: SignedDuration = SignedDuration::from_hours(72);

/// Subcommands of `notifications`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List messages, newest first
    #[command(
        after_help = "Example: spendwatch notifications list --state dead --notifier finops-slack"
    )]
    List(ListNotifications),
    /// Replay dead letters with their ids; a running daemon sends them within 30 seconds
    #[command(after_help = "Example: spendwatch notifications replay --all-dead --dry-run")]
    Replay(Replay),
}

/// Arguments of `notifications list`.
#[derive(Debug, Args)]
pub struct ListNotifications {
    /// State: waiting, delivered, dead or folded
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<MessageState>,
    /// Name of the notifier
    #[arg(long, value_name = "NAME")]
    notifier: Option<String>,
    /// Maximum number of results
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// Arguments of `notifications replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Ids of the messages, or prefixes of them
    #[arg(value_name = "ID", required_unless_present = "all_dead")]
    ids: Vec<String>,
    /// Replay all dead letters
    #[arg(long, conflicts_with = "ids")]
    all_dead: bool,
    /// Show what would be replayed without changing anything
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub yes: YesFlag,
}

fn parse_state(word: &str) -> Result<MessageState, String> {
    MessageState::parse(word)
        .ok_or_else(|| "expected `waiting`, `delivered`, `dead` or `folded`".to_owned())
}

impl Command {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let (config, store) = globals.open_store(environment)?;
        match self {
            Command::List(list) => list.run(globals, &store).await,
            Command::Replay(replay) => replay.run(globals, &config, &store).await,
        }
    }
}

impl ListNotifications {
    async fn run(&self, globals: &Globals, store: &Store) -> Result<ExitCode, CommandError> {
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
            globals.remark("no messages");
        }
        Ok(globals.print(&table(&messages), ExitCode::SUCCESS))
    }
}

impl Replay {
    /// Looks up all ids first, so that a wrong id changes nothing.
    async fn run(
        &self,
        globals: &Globals,
        config: &Config,
        store: &Store,
    ) -> Result<ExitCode, CommandError> {
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
            globals.remark("no dead letters");
        }
        if self.dry_run {
            globals.remark(&format!("Would replay {}", counted(dead.len(), "message")));
            return Ok(globals.print(&table(&dead), ExitCode::SUCCESS));
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
            let error_of = |found: &PrefixMatch<MessageRow>| match found {
                PrefixMatch::One(_) => None,
                PrefixMatch::NoMatch | PrefixMatch::Ambiguous(_) => {
                    Some("no longer in the history".to_owned())
                }
            };
            let replayed_one = store.replay(&message.id, now, expires);
            match audit.audited(&operation, replayed_one, error_of).await?? {
                PrefixMatch::One(message) => replayed.push(message),
                PrefixMatch::NoMatch | PrefixMatch::Ambiguous(_) => {
                    globals.remark(&format!(
                        "message `{}` is no longer in the history",
                        message.id
                    ));
                }
            }
        }
        if !replayed.is_empty() {
            globals.remark(&format!(
                "Replayed {}; a running daemon sends them within 30 seconds",
                counted(replayed.len(), "message")
            ));
        }
        Ok(globals.print(&table(&replayed), ExitCode::SUCCESS))
    }
}

async fn all_dead(store: &Store) -> Result<Vec<MessageRow>, CommandError> {
    let filter = MessageFilter {
        state: Some(MessageState::Dead),
        notifier: None,
        limit: u32::MAX,
    };
    let mut dead = store.messages(&filter).await?;
    // Oldest first.
    dead.reverse();
    Ok(dead)
}

async fn find_dead(store: &Store, prefix: &str) -> Result<MessageRow, CommandError> {
    let found = store.message(prefix).await?;
    let message = matched(found, "message", prefix, "notifications list --state dead")
        .map_err(CommandError::Failed)?;
    if message.state != MessageState::Dead {
        return Err(CommandError::Failed(format!(
            "message `{}` is {}, expected a dead letter",
            message.id,
            message.state.as_str()
        )));
    }
    Ok(message)
}

fn max_age(config: &Config, name: &NotifierName) -> SignedDuration {
    let configured = config.notifiers.iter().find(|known| known.name == *name);
    configured
        .and_then(|notifier| SignedDuration::try_from(notifier.max_age).ok())
        .unwrap_or(FALLBACK_AGE)
}

fn table(messages: &[MessageRow]) -> OutputTable {
    let alerts = |message: &MessageRow| -> Vec<String> {
        let facts = message.facts.iter();
        facts.map(|fact| fact.identity.fingerprint()).collect()
    };
    TableBuilder::new(messages)
        .id("id", "ID", |message| &message.id)
        .shown("notifier", "NOTIFIER", |message| message.notifier.as_str())
        .hidden("recipient", |message| message.recipient.as_deref())
        .shown("state", "STATE", |message| message.state.as_str())
        .shown("created_at", "CREATED", |message| message.created_at)
        .shown("n_attempts", "ATTEMPTS", |message| {
            u64::from(message.n_attempts)
        })
        .hidden("next_attempt", |message| message.next_attempt)
        .hidden("finished_at", |message| message.finished_at)
        .shown("last_error", "ERROR", |message| {
            message.last_error.as_deref()
        })
        .hidden("folded_into", |message| message.folded_into.as_deref())
        .hidden("alerts", alerts)
        .hidden("digest", |message| Some(&message.digest.as_ref()?.name))
        .build()
}
