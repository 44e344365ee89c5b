//! `alerts list` and `alerts show`: what fires, what ended, and the life of one alert.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::globals::{Failure, Globals};
use crate::cli::output::{Cell, Column, Format, Sheet, hidden, json_text, print, shown};
use crate::clock::Clock;
use crate::config::source::Environment;
use crate::domain::alert::{EndedBy, State};
use crate::domain::event::Event;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::money::{Usd, percent_digits};
use crate::domain::rule::{Gap, Quantity, Watch};
use crate::domain::silence::Acknowledgement;
use crate::store::Store;
use crate::store::alerts::{AlertChange, AlertFilter, AlertRow, Found, Phase};
use crate::store::quiet::{Acknowledged, Signature};

/// Alerts in the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Alerts, the newest change first
    #[command(after_help = "Example: spendwatch alerts list --state firing --rule workspace-month")]
    List(List),
    /// One alert and all its changes, with whom they were told to and why
    #[command(after_help = "Example: spendwatch alerts show 3f9a")]
    Show {
        /// The alert's id, or what it begins with
        id: String,
    },
    /// Take up alerts that fire: they are not repeated until they get worse
    #[command(after_help = "Example: spendwatch alerts ack 3f9a --comment 'batch job stopped'")]
    Ack(Ack),
}

/// Which alerts, by whom and why.
#[derive(Debug, Args)]
pub struct Ack {
    /// Ids, or what they begin with
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// What is to be said about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Who takes it up; else the user's name
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "unknown",
        hide_env_values = true
    )]
    author: String,
}

/// Which alerts.
#[derive(Debug, Args)]
pub struct List {
    /// Only these; several may be named
    #[arg(long, value_enum, value_name = "STATE", value_delimiter = ',')]
    state: Vec<AlertState>,
    /// Only of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlertState {
    /// Crossed, not yet for long enough
    Pending,
    /// Crossed
    Firing,
    /// Over
    #[value(alias = "resolved")]
    Ended,
}

impl Command {
    /// Runs it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let (_, store) = globals.open_store(environment)?;
        match self {
            Command::List(list) => list.run(globals, &store).await,
            Command::Show { id } => show(id, globals, &store).await,
            Command::Ack(ack) => ack.run(globals, &store).await,
        }
    }
}

impl List {
    async fn run(&self, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
        let phase = |state: &AlertState| match state {
            AlertState::Pending => Phase::Pending,
            AlertState::Firing => Phase::Firing,
            AlertState::Ended => Phase::Resolved,
        };
        let filter = AlertFilter {
            organization: globals.org.as_deref().map(OrganizationName::from),
            rule: self.rule.as_deref().map(RuleName::from),
            phases: self.state.iter().map(phase).collect(),
            limit: self.limit,
        };
        let alerts = store.alerts(&filter).await?;
        if alerts.is_empty() {
            globals.remark("No alerts");
        }
        let sheet = Sheet {
            columns: columns(&alerts),
            rows: alerts.iter().map(row).collect(),
        };
        Ok(globals.print(&sheet, ExitCode::SUCCESS))
    }
}

impl Ack {
    async fn run(&self, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
        let now = Clock::system().now();
        let mut n_failed = 0;
        for prefix in &self.ids {
            let by = Signature {
                author: self.author.clone(),
                comment: self.comment.clone(),
            };
            let problem = match store.acknowledge(prefix, by, now).await? {
                Found::One(Acknowledged::Done(row)) => {
                    globals.remark(&format!("{} is taken up", row.fingerprint));
                    continue;
                }
                Found::One(Acknowledged::NotFiring(row)) => format!(
                    "{} is {}: only what fires is taken up",
                    row.fingerprint,
                    state_word(Phase::of(&row.alert))
                ),
                Found::Nothing => none(prefix),
                Found::Many(ids) => many(prefix, &ids),
            };
            eprintln!("error: {problem}");
            n_failed += 1;
        }
        Ok(match n_failed {
            0 => ExitCode::SUCCESS,
            n if n == self.ids.len() => ExitCode::FAILURE,
            _ => ExitCode::from(3),
        })
    }
}

fn none(prefix: &str) -> String {
    format!("no alert begins with `{prefix}`; `spendwatch alerts list` has them")
}

fn many(prefix: &str, ids: &[String]) -> String {
    format!("several alerts begin with `{prefix}`: {}", ids.join(", "))
}

async fn show(prefix: &str, globals: &Globals, store: &Store) -> Result<ExitCode, Failure> {
    let (alert, changes) = match store.alert(prefix).await? {
        Found::One(found) => found,
        Found::Nothing => return Err(Failure::World(none(prefix))),
        Found::Many(ids) => return Err(Failure::World(many(prefix, &ids))),
    };
    let taken_up = store.acknowledgement(&alert.fingerprint).await?;
    let head = Sheet {
        columns: columns(std::slice::from_ref(&alert)),
        rows: vec![row(&alert)],
    };
    let watch = alert.alert.watch;
    let changes = Sheet {
        columns: CHANGES.to_vec(),
        rows: changes
            .iter()
            .map(|change| change_row(watch, change))
            .collect(),
    };
    let text = match globals.output {
        Format::Table => format!(
            "{}\n{}{}",
            head.render(Format::Table),
            taken_up
                .as_ref()
                .map(|by| taken_up_sheet(by).render(Format::Table) + "\n")
                .unwrap_or_default(),
            changes.render(Format::Table)
        ),
        // One table cannot hold both; the changes are what is asked for.
        Format::Csv => changes.render(Format::Csv),
        Format::Json => {
            let mut alert = head.as_json()[0].take();
            alert["changes"] = changes.as_json();
            alert["acknowledged"] = taken_up
                .as_ref()
                .map_or(Value::Null, |by| taken_up_sheet(by).as_json()[0].take());
            json_text(&alert)
        }
    };
    Ok(print(&text, ExitCode::SUCCESS))
}

fn taken_up_sheet(by: &Acknowledgement) -> Sheet {
    let columns = [
        shown("at", "TAKEN UP"),
        shown("threshold", "THRESHOLD"),
        shown("author", "AUTHOR"),
        shown("comment", "COMMENT"),
    ];
    let row = vec![
        Cell::Time(by.at),
        Cell::Text(by.line.text.to_string()),
        Cell::Text(by.author.clone()),
        Cell::Text(by.comment.clone()),
    ];
    Sheet {
        columns: columns.to_vec(),
        rows: vec![row],
    }
}

const COLUMNS: [Column; 18] = [
    shown("id", "ID"),
    shown("state", "STATE"),
    shown("severity", "SEVERITY"),
    hidden("organization"),
    shown("rule", "RULE"),
    hidden("subject_kind"),
    shown("subject_id", "SUBJECT"),
    shown("period", "PERIOD"),
    hidden("watch"),
    shown("value", "VALUE"),
    hidden("limit"),
    hidden("threshold"),
    hidden("firing_since"),
    hidden("ended_at"),
    hidden("ended_by"),
    hidden("changed_at"),
    hidden("sequence"),
    hidden("event"),
];

/// A table says the event only where there is one.
fn columns(alerts: &[AlertRow]) -> Vec<Column> {
    let mut columns = COLUMNS.to_vec();
    let has_event = |row: &AlertRow| row.alert.identity.slot.event.is_some();
    if alerts.iter().any(has_event) {
        columns[17] = shown("event", "EVENT");
    }
    columns
}

fn row(row: &AlertRow) -> Vec<Cell> {
    let alert = &row.alert;
    let slot = &alert.identity.slot;
    let (ended_at, ended_by) = match &alert.state {
        State::Ended { at, by, .. } => (Some(*at), Some(*by)),
        State::Pending { .. } | State::Firing { .. } => (None, None),
    };
    vec![
        Cell::Text(row.fingerprint.clone()),
        Cell::Text(state_word(Phase::of(alert)).to_owned()),
        Cell::Text(alert.line().severity.to_string()),
        Cell::Text(alert.identity.organization.to_string()),
        Cell::Text(slot.rule.to_string()),
        Cell::Text(slot.subject.kind.to_string()),
        Cell::Text(slot.subject.id.to_string()),
        Cell::text_or_empty(slot.period.as_deref()),
        Cell::Text(alert.watch.as_str().to_owned()),
        figure(alert.watch, alert.value),
        alert
            .limit
            .map_or(Cell::Empty, |limit| figure(alert.watch, limit)),
        Cell::Text(alert.line().text.to_string()),
        Cell::time_or_empty(alert.firing_since),
        Cell::time_or_empty(ended_at),
        Cell::text_or_empty(ended_by.map(EndedBy::as_str)),
        Cell::Time(row.changed_at),
        Cell::Count(i128::from(alert.sequence)),
        Cell::text_or_empty(slot.event.map(Event::as_str)),
    ]
}

const CHANGES: [Column; 10] = [
    shown("at", "AT"),
    hidden("sequence"),
    shown("state", "STATE"),
    shown("ended_by", "ENDED BY"),
    shown("severity", "SEVERITY"),
    shown("threshold", "THRESHOLD"),
    shown("value", "VALUE"),
    hidden("limit"),
    shown("told", "TOLD"),
    hidden("watch"),
];

fn change_row(watch: Watch, change: &AlertChange) -> Vec<Cell> {
    let told = change.told.iter();
    vec![
        Cell::Time(change.at),
        Cell::Count(i128::from(change.sequence)),
        Cell::Text(state_word(change.phase).to_owned()),
        Cell::text_or_empty(change.ended_by.map(EndedBy::as_str)),
        Cell::Text(change.line.severity.to_string()),
        Cell::Text(change.line.text.to_string()),
        figure(watch, change.value),
        change
            .limit
            .map_or(Cell::Empty, |limit| figure(watch, limit)),
        Cell::List(
            told.map(|(notifier, reason)| format!("{notifier}: {reason}"))
                .collect(),
        ),
        Cell::Text(watch.as_str().to_owned()),
    ]
}

/// As `--state` has it.
fn state_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Firing => "firing",
        Phase::Resolved => "ended",
    }
}

/// In USD, tokens, requests, seconds or percent.
pub fn figure(watch: Watch, quantity: Quantity) -> Cell {
    match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(Gap::Usd) => {
            Cell::Money(Usd::from_pico(quantity))
        }
        Watch::Reconciliation(Gap::Percent) => Cell::Decimal(percent_digits(quantity)),
        Watch::Tokens | Watch::Requests | Watch::DataAge => Cell::Count(quantity),
        // An event stands or does not.
        Watch::Lifecycle => Cell::Empty,
    }
}
