//! `silence add`, `list` and `remove`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cli::globals::{
    CommandError, Globals, YesFlag, audited_mismatch, matched, partial_exit,
};
use crate::table::{OutputTable, TableBuilder};
use spendwatch_audit::{AuditLog, Operation};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::source::Environment;
use spendwatch_config::{Config, durations};
use spendwatch_domain::alerts::silence::{
    self, CapacityError, LABELS, LabelMatcher, Silence, SilenceEnd, SilenceState,
};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_store::Store;
use spendwatch_store::prefix_match::PrefixMatch;

/// Subcommands of `silence`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Silence the alerts that all matchers match
    #[command(
        after_help = "A running daemon applies the silence at its next decision.\n\n\
                      Matchers: label=glob, label!=glob, label=~regex, label!~regex. Labels: rule, organization, subject (name or id), \
                      subject_kind, subject_id, workspace, model, team, event, period, severity, and the rule's own.\n\n\
                      Example: spendwatch silence add rule=workspace-month subject=Search --for 4h --comment 'load test'"
    )]
    Add(AddSilence),
    /// List active and pending silences, the last to end first
    #[command(after_help = "Example: spendwatch silence list --all --output json")]
    List {
        /// Include expired silences
        #[arg(long)]
        all: bool,
    },
    /// End silences now; alerts still firing are sent at the daemon's next decision
    #[command(after_help = "Example: spendwatch silence remove 019a")]
    Remove {
        /// Ids of the silences, or prefixes of them
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        yes: YesFlag,
    },
}

/// Arguments of `silence add`.
#[derive(Debug, Args)]
pub struct AddSilence {
    /// Label matchers; an alert must match all of them
    #[arg(value_name = "MATCHER", required = true, value_parser = parse_matcher)]
    matchers: Vec<LabelMatcher>,
    /// Duration from the start, for example `2h` or `1d`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_length, required_unless_present = "until")]
    length: Option<SignedDuration>,
    /// End, for example `2026-11-30T08:00:00Z`; UTC without an offset
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "length")]
    until: Option<Timestamp>,
    /// Start (default: now)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Reason for the silence
    #[arg(long, value_name = "TEXT")]
    comment: String,
    /// Name of the author (default: `--actor`, or the operating system user)
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    pub yes: YesFlag,
}

fn parse_matcher(text: &str) -> Result<LabelMatcher, String> {
    LabelMatcher::parse(text).map_err(|error| error.to_string())
}

fn parse_length(text: &str) -> Result<SignedDuration, String> {
    durations::parse(text)
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "expected a duration, for example `30m`, `4h` or `2d`".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let civil = || {
        let local: DateTime = text.parse().ok()?;
        local.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
    };
    text.parse().ok().or_else(civil).ok_or_else(|| {
        "expected a time, for example `2026-11-30T08:00:00Z` or `2026-11-30T09:00:00+01:00`"
            .to_owned()
    })
}

impl Command {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let (config, store) = globals.open_store(environment)?;
        let clock = Clock::system();
        let (audit, now) = (globals.audit(&config, &clock), clock.now());
        match self {
            Command::Add(add) => add.run(globals, &config, &store, &audit, now).await,
            Command::List { all } => {
                let silences = store.silences(now, *all).await?;
                if silences.is_empty() {
                    globals.remark("no silences");
                }
                for silence in &silences {
                    if let Some(problem) = silence.problem() {
                        let id = &silence.id;
                        globals.remark(&format!(
                            "warning: silence {id} is ignored: {problem}; end it with `spendwatch silence remove {id}`"
                        ));
                    }
                }
                Ok(globals.print(&table(&silences, now), ExitCode::SUCCESS))
            }
            Command::Remove { ids, yes: _ } => remove(ids, globals, &store, &audit, now).await,
        }
    }
}

impl AddSilence {
    async fn run(
        &self,
        globals: &Globals,
        config: &Config,
        store: &Store,
        audit: &AuditLog,
        now: Timestamp,
    ) -> Result<ExitCode, CommandError> {
        let end = match (self.until, self.length) {
            (Some(end), _) => SilenceEnd::At(end),
            (None, length) => SilenceEnd::After(length.unwrap_or_default()),
        };
        let span = silence::span(self.from, end, now)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        let author = self.author.as_deref().unwrap_or(audit.actor());
        let silence = Silence {
            id: Random::System.id(),
            span,
            matchers: self.matchers.clone(),
            author: author.to_owned(),
            comment: self.comment.clone(),
        };
        silence
            .check(now)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        for warning in warnings(&self.matchers, config) {
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
        let error_of = |added: &Option<CapacityError>| added.map(|full| full.to_string());
        if let Some(full) = audit.audited(&operation, added, error_of).await?? {
            return Err(CommandError::Failed(full.to_string()));
        }
        Ok(globals.print(&table(&[silence], now), ExitCode::SUCCESS))
    }
}

/// Returns a warning for each matcher that matches nothing in this configuration.
fn warnings(matchers: &[LabelMatcher], config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
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
            warnings.push(format!("`{matcher}`: no alert has a label `{label}`"));
        } else if matches!(label, "rule" | "alertname")
            && !config
                .rules
                .iter()
                .any(|rule| matcher.matches_value(rule.name.as_str()))
        {
            warnings.push(format!("`{matcher}` matches no rule of the configuration"));
        }
    }
    warnings
}

async fn remove(
    ids: &[String],
    globals: &Globals,
    store: &Store,
    audit: &AuditLog,
    now: Timestamp,
) -> Result<ExitCode, CommandError> {
    let mut n_failed = 0;
    for prefix in ids {
        let operation = Operation {
            organization: None,
            action: "silences.remove",
            target: prefix,
            arguments: &[],
        };
        let error_of = |found: &PrefixMatch<Silence>| audited_mismatch(found, "silence");
        let ended = store.end_silence(prefix, now);
        let found = audit.audited(&operation, ended, error_of).await??;
        match matched(found, "silence", prefix, "silence list") {
            Ok(silence) if silence.state(now) == SilenceState::Expired => {
                globals.remark(&format!(
                    "no change: silence {} has already ended",
                    silence.id
                ));
            }
            Ok(silence) => globals.remark(&format!("Ended silence {}", silence.id)),
            Err(problem) => {
                eprintln!("error: {problem}");
                n_failed += 1;
            }
        }
    }
    Ok(partial_exit(n_failed, ids.len()))
}

fn table(silences: &[Silence], now: Timestamp) -> OutputTable {
    let matchers = |silence: &Silence| -> Vec<String> {
        silence.matchers.iter().map(ToString::to_string).collect()
    };
    TableBuilder::new(silences)
        .id("id", "ID", |silence| &silence.id)
        .shown("state", "STATE", |silence| silence.state(now).as_str())
        .hidden("starts_at", |silence| silence.span.start)
        .shown("ends_at", "ENDS", |silence| silence.span.end)
        .shown("matchers", "MATCHERS", matchers)
        .shown("author", "AUTHOR", |silence| &silence.author)
        .shown("comment", "COMMENT", |silence| &silence.comment)
        .build()
}
