//! `audit list`, `verify` and `anchor`: what was done, and whether the log of it holds.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::audit::chain::Head;
use crate::audit::files::Files;
use crate::audit::read::{OneOperation, Report, each_operation, verify};
use crate::cli::globals::{Failure, Globals};
use crate::clock::Clock;
use crate::config::durations;
use crate::config::source::Environment;
use crate::domain::matcher::Glob;
use crate::domain::plural::{agreeing, counted};
use crate::sheet::{Cell, Sheet, hidden, id, shown};

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What was done, by whom, and how it ended; the oldest first
    #[command(
        after_help = "Example: spendwatch audit list --since 7d --action 'keys.*' --failed\nExample: spendwatch audit list --open"
    )]
    List(Box<List>),
    /// Check that no entry was changed, taken out or cut off; names the first link that does not hold: exit 0 or 1
    #[command(
        after_help = "Example: spendwatch audit verify\nExample: spendwatch audit verify --anchor 3f9a…"
    )]
    Verify {
        /// A hash that was noted elsewhere, in a digest or a log: its entry must stand in the chain
        #[arg(long, value_name = "HASH", value_parser = parse_hash)]
        anchor: Option<String>,
    },
    /// Print number and hash of the newest entry, to keep elsewhere and pass to `audit verify --anchor`
    #[command(after_help = "Example: spendwatch audit anchor --output json")]
    Anchor,
}

/// Which operations.
#[derive(Debug, Args)]
pub struct List {
    /// Only since then: `7d`, or `2026-11-01T00:00:00Z`
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only this action; a glob, like `keys.*`
    #[arg(long, value_name = "GLOB", value_parser = Glob::new)]
    action: Option<Glob>,
    /// Only this target; a glob
    #[arg(long, value_name = "GLOB", value_parser = Glob::new)]
    target: Option<Glob>,
    /// Only of this person, by the name that they gave or the user that they were
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only what failed
    #[arg(long, conflicts_with = "open")]
    failed: bool,
    /// Only what has no outcome: under way, or its process was killed
    #[arg(long)]
    open: bool,
    /// Only so many, the newest
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
}

fn parse_hash(text: &str) -> Result<String, String> {
    let text = text.trim().to_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("a hash has 64 hexadecimal digits".to_owned())
    }
}

impl Command {
    /// Reads the log; writes nothing into it.
    pub fn run(&self, globals: &Globals, environment: &Environment) -> Result<ExitCode, Failure> {
        let config = globals.load(environment)?;
        let clock = Clock::system();
        let audit = globals.audit(&config, &clock);
        match self {
            Command::List(list) => list.run(globals, audit.files(), clock.now()),
            Command::Verify { anchor } => {
                let report = verify(audit.files(), anchor.as_deref());
                let report = report.map_err(|error| Failure::World(error.to_string()))?;
                Ok(tell(globals, &report, anchor.as_deref()))
            }
            Command::Anchor => {
                let report = verify(audit.files(), None);
                let report = report.map_err(|error| Failure::World(error.to_string()))?;
                anchor(globals, &report)
            }
        }
    }
}

/// A moment, or so long ago.
fn moment(option: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    let ago = durations::parse(text).and_then(|ago: SignedDuration| now.checked_sub(ago).ok());
    let at = ago.or_else(|| text.parse().ok());
    let wrong =
        || format!("`{option} {text}` is no time; write it like `7d` or `2026-11-01T00:00:00Z`");
    at.map(Some).ok_or_else(|| Failure::usage(wrong()))
}

impl List {
    fn run(&self, globals: &Globals, files: &Files, now: Timestamp) -> Result<ExitCode, Failure> {
        let since = moment("--since", self.since.as_deref(), now)?;
        let until = moment("--until", self.until.as_deref(), now)?;
        let is_in_time = |at: Timestamp| {
            since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
        };
        let is_meant = |one: &OneOperation| {
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
        // The newest by their beginning; those before are counted, and not held.
        let (mut meant, mut n_more) = (BTreeMap::new(), 0);
        each_operation(files, |one| {
            if is_meant(&one) {
                meant.insert(one.seq, one);
                if meant.len() > self.limit {
                    meant.pop_first();
                    n_more += 1;
                }
            }
        })
        .map_err(|error| Failure::World(error.to_string()))?;
        let meant: Vec<OneOperation> = meant.into_values().collect();
        if n_more > 0 {
            globals.remark(&format!(
                "{} not shown; `--limit` shows more",
                agreeing(
                    &n_more,
                    "1 older one is",
                    &format!("{n_more} older ones are")
                )
            ));
        }
        Ok(globals.print(&sheet(&meant), ExitCode::SUCCESS))
    }
}

fn sheet(operations: &[OneOperation]) -> Sheet {
    let row = |one: &OneOperation| {
        let outcome = match one.success {
            Some(true) => "done",
            Some(false) => "failed",
            None => "open",
        };
        let arguments = one
            .arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        vec![
            Cell::Count(one.seq.into()),
            Cell::Time(one.at),
            Cell::Text(one.actor.clone()),
            Cell::Text(one.os_user.clone()),
            Cell::text_or_empty(one.organization.clone()),
            Cell::Text(one.action.clone()),
            Cell::Text(one.target.clone()),
            Cell::List(arguments.collect()),
            Cell::Text(outcome.to_owned()),
            one.elapsed_ms
                .map_or(Cell::Empty, |ms| Cell::Count(ms.into())),
            one.error.clone().map_or(Cell::Empty, Cell::Prose),
            Cell::text_or_empty(one.request_id.clone()),
            Cell::Text(one.hash.clone()),
        ]
    };
    Sheet {
        columns: vec![
            shown("seq", "#"),
            shown("at", "TIME"),
            shown("actor", "BY"),
            hidden("os_user"),
            hidden("organization"),
            shown("action", "ACTION"),
            id("target", "TARGET"),
            hidden("arguments"),
            shown("outcome", "OUTCOME"),
            shown("elapsed_ms", "MS"),
            shown("error", "ERROR"),
            hidden("request_id"),
            hidden("hash"),
        ],
        rows: operations.iter().map(row).collect(),
    }
}

fn tell(globals: &Globals, report: &Report, anchor: Option<&str>) -> ExitCode {
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
        let whole = "the chain holds in itself, so it was made anew";
        let how = if report.broken.is_none() {
            whole
        } else {
            "and the chain does not hold, as the findings above say"
        };
        eprintln!("error: no entry has the hash {anchor}: {how}");
    }
    for what in walk.open.values() {
        globals.remark(&format!(
            "without an outcome: {what}; it is under way, or its process was killed"
        ));
    }
    if walk.n_torn > 0 {
        globals.remark(&format!(
            "{} broke off when a process was killed, and the log says so",
            counted(walk.n_torn, "line")
        ));
    }
    if walk.is_torn_at_end {
        globals.remark("the last line is incomplete, as after a kill; the next entry will say so");
    } else if walk.n_after_head == 1 {
        globals.remark("the head is one entry behind, as after a kill; the next entry updates it");
    }
    if let Some((seq, at)) = walk.first.filter(|(seq, _)| *seq > 1) {
        globals.remark(&format!(
            "the log begins with entry {seq} of {at}: older files are not here"
        ));
    }
    let is_whole = report.broken.is_none() && !is_missing;
    let exit = if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    globals.print(&verdict(report, is_whole), exit)
}

fn verdict(report: &Report, is_whole: bool) -> Sheet {
    let walk = &report.walk;
    let Head { seq, hash } = &walk.newest;
    let count = |n: u64| Cell::Count(n.into());
    Sheet {
        columns: vec![
            shown("whole", "WHOLE"),
            shown("entries", "ENTRIES"),
            hidden("files"),
            hidden("first_seq"),
            hidden("first_at"),
            shown("newest_seq", "NEWEST"),
            hidden("newest_at"),
            hidden("open"),
            hidden("torn"),
            hidden("broken"),
            hidden("findings"),
            id("newest_hash", "HASH"),
        ],
        rows: vec![vec![
            Cell::Flag(is_whole),
            count(walk.n_entries),
            count(report.n_files.try_into().unwrap_or(u64::MAX)),
            walk.first.map_or(Cell::Empty, |(seq, _)| count(seq)),
            Cell::time_or_empty(walk.first.map(|(_, at)| at)),
            count(*seq),
            Cell::time_or_empty(walk.newest_at),
            Cell::List(walk.open.values().cloned().collect()),
            count(walk.n_torn),
            Cell::text_or_empty(report.broken.as_ref().map(ToString::to_string)),
            Cell::List(walk.findings.iter().map(ToString::to_string).collect()),
            Cell::Text(hash.clone()),
        ]],
    }
}

/// A log that does not hold has no anchor: its newest entry would vouch for those before it.
fn anchor(globals: &Globals, report: &Report) -> Result<ExitCode, Failure> {
    if let Some(broken) = &report.broken {
        let told = format!("{broken}; run `spendwatch audit verify` for all findings");
        return Err(Failure::World(told));
    }
    let walk = &report.walk;
    let rows = walk.newest_at.map(|at| {
        vec![
            Cell::Count(walk.newest.seq.into()),
            Cell::Time(at),
            Cell::Text(walk.newest.hash.clone()),
        ]
    });
    if rows.is_none() {
        globals.remark("no audit entries");
    }
    let sheet = Sheet {
        columns: vec![
            shown("seq", "#"),
            shown("at", "TIME"),
            shown("hash", "HASH"),
        ],
        rows: rows.into_iter().collect(),
    };
    Ok(globals.print(&sheet, ExitCode::SUCCESS))
}
