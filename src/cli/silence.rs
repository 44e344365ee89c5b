//! `silence add`, `list` and `remove`: messages kept quiet for a time.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::audit::{AuditLog, Operation};
use crate::cli::globals::{Assent, Failure, Globals};
use crate::clock::{Chance, Clock};
use crate::config::source::Environment;
use crate::config::{Config, durations};
use crate::domain::silence::{self, End, LABELS, LabelMatcher, Silence, SilenceState};
use crate::domain::subject::SubjectKind;
use crate::sheet::{Cell, Column, Sheet, hidden, id, shown};
use crate::store::Store;
use crate::store::alerts::Found;
use crate::store::quiet::Added;

/// Silences in the store.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep messages quiet about the alerts that all matchers match; a running daemon heeds it at its next decision
    #[command(
        after_help = "Matchers: label=glob, label!=glob, label=~regex, label!~regex. Labels: rule, organization, subject (name or id), \
                      subject_kind, subject_id, workspace, model, team, event, period, severity, and the rule's own.\n\n\
                      Example: spendwatch silence add rule=workspace-month subject=Search --for 4h --comment 'load test'"
    )]
    Add(Add),
    /// Silences that are in force or will be, the last to end first
    #[command(after_help = "Example: spendwatch silence list --all --output json")]
    List {
        /// Also those that have ended
        #[arg(long)]
        all: bool,
    },
    /// End silences now; what still fires is told at the daemon's next decision
    #[command(after_help = "Example: spendwatch silence remove 019a")]
    Remove {
        /// Ids, or what they begin with
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        /// Nothing is asked.
        #[command(flatten)]
        assent: Assent,
    },
}

/// A new silence.
#[derive(Debug, Args)]
pub struct Add {
    /// What an alert's labels must be; all must match
    #[arg(value_name = "MATCHER", required = true, value_parser = parse_matcher)]
    matchers: Vec<LabelMatcher>,
    /// How long, from its start: `2h`, `1d`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_length, required_unless_present = "until")]
    length: Option<SignedDuration>,
    /// Its end: `2026-11-30T08:00:00Z`, or without an offset in UTC
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "length")]
    until: Option<Timestamp>,
    /// Its start; else now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: String,
    /// Who asks for it; else whoever the audit log names: `--actor`, or the user of the operating system
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
}

fn parse_matcher(text: &str) -> Result<LabelMatcher, String> {
    LabelMatcher::parse(text).map_err(|error| error.to_string())
}

fn parse_length(text: &str) -> Result<SignedDuration, String> {
    durations::parse(text)
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "it is written like `30m`, `4h` or `2d`".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let civil = || {
        let local: DateTime = text.parse().ok()?;
        local.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
    };
    text.parse().ok().or_else(civil).ok_or_else(|| {
        "it is written like `2026-11-30T08:00:00Z` or `2026-11-30T09:00:00+01:00`".to_owned()
    })
}

impl Command {
    /// Runs it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let (config, store) = globals.open_store(environment)?;
        let clock = Clock::system();
        let (audit, now) = (globals.audit(&config, &clock), clock.now());
        match self {
            Command::Add(add) => add.run(globals, &config, &store, &audit, now).await,
            Command::List { all } => {
                let silences = store.silences(now, *all).await?;
                if silences.is_empty() {
                    globals.remark("No silences");
                }
                for silence in &silences {
                    if let Some(problem) = silence.problem() {
                        let id = &silence.id;
                        globals.remark(&format!(
                            "warning: silence {id} is ignored: {problem}; end it with `spendwatch silence remove {id}`"
                        ));
                    }
                }
                Ok(globals.print(&sheet(&silences, now), ExitCode::SUCCESS))
            }
            Command::Remove { ids, assent: _ } => remove(ids, globals, &store, &audit, now).await,
        }
    }
}

impl Add {
    async fn run(
        &self,
        globals: &Globals,
        config: &Config,
        store: &Store,
        audit: &AuditLog,
        now: Timestamp,
    ) -> Result<ExitCode, Failure> {
        let end = match (self.until, self.length) {
            (Some(end), _) => End::At(end),
            (None, length) => End::After(length.unwrap_or_default()),
        };
        let span = silence::span(self.from, end, now)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let author = self.author.as_deref().unwrap_or(audit.actor());
        let silence = Silence {
            id: Chance::System.id(),
            span,
            matchers: self.matchers.clone(),
            author: author.to_owned(),
            comment: self.comment.clone(),
        };
        silence
            .check(now)
            .map_err(|error| Failure::usage(error.to_string()))?;
        for warning in doubts(&self.matchers, config) {
            globals.remark(&format!("warning: {warning}"));
        }
        let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
        let operation = Operation {
            organization: None,
            action: "silences.add",
            target: &silence.id,
            arguments: &[
                ("matchers", matchers.join(" ")),
                ("ends_at", span.end.to_string()),
                ("author", author.to_owned()),
                ("comment", self.comment.clone()),
            ],
        };
        let added = store.add_silence(&silence, now);
        let judge = |added: &Added| added.refusal().map(|full| full.to_string());
        if let Some(full) = audit.around(&operation, added, judge).await??.refusal() {
            return Err(Failure::World(full.to_string()));
        }
        Ok(globals.print(&sheet(&[silence], now), ExitCode::SUCCESS))
    }
}

/// What would match nothing of this configuration.
fn doubts(matchers: &[LabelMatcher], config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    for matcher in matchers {
        let label = matcher.label.as_str();
        let kind = label.strip_suffix("_id").unwrap_or(label);
        let is_known = LABELS.contains(&label)
            || SubjectKind::ALL.iter().any(|known| known.as_str() == kind)
            || config
                .rules
                .iter()
                .any(|rule| rule.labels.contains_key(label));
        if !is_known {
            doubts.push(format!("`{matcher}`: no alert has a label `{label}`"));
        } else if matches!(label, "rule" | "alertname")
            && !config
                .rules
                .iter()
                .any(|rule| matcher.is_met_by(rule.name.as_str()))
        {
            doubts.push(format!("`{matcher}` matches no rule of the configuration"));
        }
    }
    doubts
}

async fn remove(
    ids: &[String],
    globals: &Globals,
    store: &Store,
    audit: &AuditLog,
    now: Timestamp,
) -> Result<ExitCode, Failure> {
    let mut n_failed = 0;
    for prefix in ids {
        let operation = Operation {
            organization: None,
            action: "silences.remove",
            target: prefix,
            arguments: &[],
        };
        let judge = |found: &Found<Silence>| match found {
            Found::One(_) => None,
            Found::Nothing => Some("no silence begins so".to_owned()),
            Found::Many(_) => Some("several silences begin so".to_owned()),
        };
        let ended = store.end_silence(prefix, now);
        let problem = match audit.around(&operation, ended, judge).await?? {
            Found::One(silence) if silence.state(now) == SilenceState::Expired => {
                globals.remark(&format!("{} had ended already", silence.id));
                continue;
            }
            Found::One(silence) => {
                globals.remark(&format!("{} has ended", silence.id));
                continue;
            }
            Found::Nothing => {
                format!("no silence begins with `{prefix}`; `spendwatch silence list` has them")
            }
            Found::Many(ids) => {
                format!("several silences begin with `{prefix}`: {}", ids.join(", "))
            }
        };
        eprintln!("error: {problem}");
        n_failed += 1;
    }
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        n if n == ids.len() => ExitCode::FAILURE,
        _ => ExitCode::from(3),
    })
}

const COLUMNS: [Column; 7] = [
    id("id", "ID"),
    shown("state", "STATE"),
    hidden("starts_at"),
    shown("ends_at", "ENDS"),
    shown("matchers", "MATCHERS"),
    shown("author", "AUTHOR"),
    shown("comment", "COMMENT"),
];

fn sheet(silences: &[Silence], now: Timestamp) -> Sheet {
    let row = |silence: &Silence| {
        let matchers = silence.matchers.iter().map(ToString::to_string);
        vec![
            Cell::Text(silence.id.clone()),
            Cell::Text(silence.state(now).as_str().to_owned()),
            Cell::Time(silence.span.start),
            Cell::Time(silence.span.end),
            Cell::List(matchers.collect()),
            Cell::Text(silence.author.clone()),
            Cell::Text(silence.comment.clone()),
        ]
    };
    Sheet {
        columns: COLUMNS.to_vec(),
        rows: silences.iter().map(row).collect(),
    }
}
