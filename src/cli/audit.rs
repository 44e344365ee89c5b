//! `audit list`, `audit verify` and `audit anchor`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::cli::globals::{CommandError, Globals};
use crate::table::{Cell, OutputTable, TableBuilder};
use spendwatch_audit::entry::AuditEntry;
use spendwatch_audit::files::AuditFiles;
use spendwatch_audit::head::ChainHead;
use spendwatch_audit::read::{ChainReport, LoggedOperation, each_operation, verify};
use spendwatch_base::clock::Clock;
use spendwatch_config::durations;
use spendwatch_config::source::Environment;
use spendwatch_domain::units::matcher::Glob;
use spendwatch_domain::units::plural::counted;

/// Subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List operations with actor and outcome, oldest first
    #[command(
        after_help = "Example: spendwatch audit list --since 7d --action 'keys.*' --failed\nExample: spendwatch audit list --open"
    )]
    List(Box<ListOperations>),
    /// Verify that no entry was changed or removed: exit 0 or 1
    #[command(
        after_help = "Example: spendwatch audit verify\nExample: spendwatch audit verify --anchor 3f9a…"
    )]
    Verify {
        /// Hash of an entry, as printed by `audit anchor`, that the log must contain
        #[arg(long, value_name = "HASH", value_parser = parse_hash)]
        anchor: Option<String>,
    },
    /// Print number and hash of the newest entry, for `audit verify --anchor`
    #[command(after_help = "Example: spendwatch audit anchor --output json")]
    Anchor,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub struct ListOperations {
    /// Earliest time: `7d` ago, or `2026-11-01T00:00:00Z`
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Latest time, in the same form
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Glob of the action, for example `keys.*`
    #[arg(long, value_name = "GLOB", value_parser = Glob::new)]
    action: Option<Glob>,
    /// Glob of the target
    #[arg(long, value_name = "GLOB", value_parser = Glob::new)]
    target: Option<Glob>,
    /// Actor, or operating system user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only failed operations
    #[arg(long, conflicts_with = "open")]
    failed: bool,
    /// Only operations without an outcome: still running, or interrupted
    #[arg(long)]
    open: bool,
    /// Maximum number of results, the newest
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
}

fn parse_hash(text: &str) -> Result<String, String> {
    let text = text.trim().to_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("expected a hash of 64 hexadecimal digits".to_owned())
    }
}

impl Command {
    /// Runs the command, which only reads the log.
    pub fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let config = globals.load(environment)?;
        let clock = Clock::system();
        let audit = globals.audit(&config, &clock);
        match self {
            Command::List(list) => list.run(globals, audit.files(), clock.now()),
            Command::Verify { anchor } => {
                let report = verify(audit.files(), anchor.as_deref());
                let report = report.map_err(|error| CommandError::Failed(error.to_string()))?;
                Ok(print_report(globals, &report, anchor.as_deref()))
            }
            Command::Anchor => {
                let report = verify(audit.files(), None);
                let report = report.map_err(|error| CommandError::Failed(error.to_string()))?;
                anchor(globals, &report)
            }
        }
    }
}

/// Parses a time, or a duration before now.
fn parse_time(
    option: &str,
    text: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, CommandError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let relative = durations::parse(text).and_then(|ago: SignedDuration| now.checked_sub(ago).ok());
    let at = relative.or_else(|| text.parse().ok());
    let invalid = || {
        format!(
            "`{option}` is `{text}`, expected a time, for example `7d` or `2026-11-01T00:00:00Z`"
        )
    };
    at.map(Some).ok_or_else(|| CommandError::usage(invalid()))
}

impl ListOperations {
    fn run(
        &self,
        globals: &Globals,
        files: &AuditFiles,
        now: Timestamp,
    ) -> Result<ExitCode, CommandError> {
        let since = parse_time("--since", self.since.as_deref(), now)?;
        let until = parse_time("--until", self.until.as_deref(), now)?;
        let is_in_time = |at: Timestamp| {
            since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
        };
        let is_selected = |one: &AuditEntry| {
            let by = self.by.as_deref();
            is_in_time(one.at)
                && self
                    .action
                    .as_ref()
                    .is_none_or(|glob| glob.matches(&one.action))
                && self
                    .target
                    .as_ref()
                    .is_none_or(|glob| glob.matches(&one.target))
                && by.is_none_or(|by| one.actor == by || one.os_user == by)
                && globals
                    .org
                    .as_ref()
                    .is_none_or(|org| one.organization.as_ref() == Some(org))
                && (!self.failed || one.success == Some(false))
                && (!self.open || one.success.is_none())
        };
        // Keeps only the newest, and counts the others.
        let (mut selected, mut n_more) = (BTreeMap::new(), 0);
        each_operation(files, |one| {
            if is_selected(&one.entry) {
                selected.insert(one.seq, one);
                if selected.len() > self.limit {
                    selected.pop_first();
                    n_more += 1;
                }
            }
        })
        .map_err(|error| CommandError::Failed(error.to_string()))?;
        let selected: Vec<LoggedOperation> = selected.into_values().collect();
        if n_more > 0 {
            globals.remark(&format!(
                "{} not shown; raise `--limit` to show more",
                counted(n_more, "older operation")
            ));
        }
        Ok(globals.print(&table(&selected), ExitCode::SUCCESS))
    }
}

fn table(operations: &[LoggedOperation]) -> OutputTable {
    let arguments = |one: &LoggedOperation| -> Vec<String> {
        let arguments = one.entry.arguments.iter();
        arguments
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    let outcome = |one: &LoggedOperation| match one.entry.success {
        Some(true) => "done",
        Some(false) => "failed",
        None => "open",
    };
    TableBuilder::new(operations)
        .shown("seq", "#", |one| one.seq)
        .shown("at", "TIME", |one| one.entry.at)
        .shown("actor", "BY", |one| &one.entry.actor)
        .hidden("os_user", |one| &one.entry.os_user)
        .hidden("organization", |one| one.entry.organization.as_deref())
        .shown("action", "ACTION", |one| &one.entry.action)
        .id("target", "TARGET", |one| &one.entry.target)
        .hidden("arguments", arguments)
        .shown("outcome", "OUTCOME", outcome)
        .shown("elapsed_ms", "MS", |one| one.entry.elapsed_ms)
        .shown("error", "ERROR", |one| {
            one.entry.error.clone().map(Cell::Prose)
        })
        .hidden("request_id", |one| one.entry.request_id.as_deref())
        .hidden("hash", |one| &one.hash)
        .build()
}

fn print_report(globals: &Globals, report: &ChainReport, anchor: Option<&str>) -> ExitCode {
    let walk = &report.walk;
    let is_missing = anchor.is_some() && !walk.has_anchor;
    for broken in &walk.findings {
        eprintln!("error: {broken}");
    }
    if walk.n_findings > walk.findings.len() {
        eprintln!(
            "error: {} more findings",
            walk.n_findings - walk.findings.len()
        );
    }
    if let Some(anchor) = anchor.filter(|_| is_missing) {
        let rebuilt = "the chain is consistent, so it was rebuilt";
        let how = if report.broken.is_none() {
            rebuilt
        } else {
            "and the chain is broken, see the findings above"
        };
        eprintln!("error: no entry has the hash {anchor}: {how}");
    }
    for what in walk.open.values() {
        globals.remark(&format!(
            "no outcome: {what}; it is still running, or was interrupted"
        ));
    }
    if walk.n_torn > 0 {
        globals.remark(&format!(
            "{} incomplete after a kill, as the log notes",
            counted(walk.n_torn, "line")
        ));
    }
    if walk.is_torn_at_end {
        globals.remark("the last line is incomplete, as after a kill; the next entry will note it");
    } else if walk.n_after_head == 1 {
        globals.remark("the head is one entry behind, as after a kill; the next entry updates it");
    }
    if let Some((seq, at)) = walk.first.filter(|(seq, _)| *seq > 1) {
        globals.remark(&format!(
            "the log begins with entry {seq} of {at}; older files are missing"
        ));
    }
    let is_intact = report.broken.is_none() && !is_missing;
    let exit = if is_intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    globals.print(&report_table(report, is_intact), exit)
}

fn report_table(report: &ChainReport, is_intact: bool) -> OutputTable {
    let findings: Vec<String> = report
        .walk
        .findings
        .iter()
        .map(ToString::to_string)
        .collect();
    TableBuilder::new(std::slice::from_ref(&report.walk))
        .shown("whole", "INTACT", |_| is_intact)
        .shown("entries", "ENTRIES", |walk| walk.n_entries)
        .hidden("files", |_| report.n_files)
        .hidden("first_seq", |walk| walk.first.map(|(seq, _)| seq))
        .hidden("first_at", |walk| walk.first.map(|(_, at)| at))
        .shown("newest_seq", "NEWEST", |walk| walk.newest.seq)
        .hidden("newest_at", |walk| walk.newest_at)
        .hidden("open", |walk| {
            walk.open.values().cloned().collect::<Vec<_>>()
        })
        .hidden("torn", |walk| walk.n_torn)
        .hidden("broken", |_| {
            report.broken.as_ref().map(ToString::to_string)
        })
        .hidden("findings", |_| findings.clone())
        .id("newest_hash", "HASH", |walk| &walk.newest.hash)
        .build()
}

/// A broken log has no anchor, because its newest entry would vouch for the entries before it.
fn anchor(globals: &Globals, report: &ChainReport) -> Result<ExitCode, CommandError> {
    if let Some(broken) = &report.broken {
        let error = format!("{broken}; run `spendwatch audit verify` for all findings");
        return Err(CommandError::Failed(error));
    }
    let walk = &report.walk;
    let newest: Vec<(&ChainHead, Timestamp)> = walk
        .newest_at
        .map(|at| (&walk.newest, at))
        .into_iter()
        .collect();
    if newest.is_empty() {
        globals.remark("no audit entries");
    }
    let table = TableBuilder::new(&newest)
        .shown("seq", "#", |(head, _)| head.seq)
        .shown("at", "TIME", |(_, at)| *at)
        .shown("hash", "HASH", |(head, _)| &head.hash)
        .build();
    Ok(globals.print(&table, ExitCode::SUCCESS))
}
