//! The configuration: defaults, a TOML file, single values from the environment. All problems are told at once, each with
//! its place; what comes out is checked.

pub mod problem;
pub mod source;

pub mod tree;

pub mod reader;

pub mod environment;
pub mod notifiers;
pub mod organizations;
pub mod sections;

pub mod rules;

use std::path::{Path, PathBuf};

use crate::config::notifiers::{Notifier, NotifierKind};
use crate::config::organizations::Organization;
use crate::config::problem::{Place, Problem, Problems};
use crate::config::reader::Section;
use crate::config::sections::{Audit, Digest, Heartbeat, Http, Log, Metrics, Poll, Store};
use crate::config::source::{Environment, SecretSource};
use crate::config::tree::Tree;
use crate::domain::matcher::Team;
use crate::domain::rule::Rule;

/// Where a file is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/spendwatch/spendwatch.toml";

/// What `init` writes: the annotated example.
pub const TEMPLATE: &str = include_str!("../../config/spendwatch.toml");

/// A whole, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: Option<PathBuf>,
    /// At least one.
    pub organizations: Vec<Organization>,
    /// When and what is read.
    pub poll: Poll,
    /// Where it is kept.
    pub store: Store,
    /// What is served.
    pub http: Http,
    /// What is measured.
    pub metrics: Metrics,
    /// What is logged.
    pub log: Log,
    /// A dead-man's switch.
    pub heartbeat: Option<Heartbeat>,
    /// In the order of the file.
    pub teams: Vec<Team>,
    /// The enabled ones, in the order of the file.
    pub rules: Vec<Rule>,
    /// At least one.
    pub notifiers: Vec<Notifier>,
    /// Summaries on a schedule.
    pub digests: Vec<Digest>,
    /// The audit log.
    pub audit: Audit,
    /// What is accepted and should be looked at.
    pub warnings: Vec<Problem>,
}

/// Loads what `--config`, else `SPENDWATCH_CONFIG`, else the default path names, else what the environment alone says.
pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    match file_of(named, environment) {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                let message = format!("cannot be read: {error}");
                Problems::one(Problem::new(Place::File(path.clone()), "", message))
            })?;
            read(&text, Some(&path), environment)
        }
        None => read(&environment::as_file(environment)?, None, environment),
    }
}

/// The file that is meant, if any.
pub fn file_of(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    named
        .map(Path::to_owned)
        .or_else(|| {
            environment
                .get("SPENDWATCH_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        })
        .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

/// Reads a configuration from a text.
pub fn read(
    text: &str,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Config, Problems> {
    let tree = Tree::parse(text, file)?;
    let problems = Problems::default();
    let table = tree.with_environment(environment, &problems);
    let root = Section::root(&table, &problems, environment);
    let notifiers = notifiers::read(&root);
    let names: Vec<String> = notifiers
        .iter()
        .map(|notifier| notifier.name.to_string())
        .collect();
    let teams = sections::read_teams(&root);
    let config = Config {
        file: file.map(Path::to_owned),
        organizations: organizations::read(&root),
        poll: sections::read_poll(&root),
        store: sections::read_store(&root),
        http: sections::read_http(&root),
        metrics: sections::read_metrics(&root),
        log: sections::read_log(&root),
        heartbeat: sections::read_heartbeat(&root),
        rules: rules::read(&root, &names),
        digests: sections::read_digests(&root, &names),
        audit: sections::read_audit(&root),
        teams,
        notifiers: with_default(notifiers),
        warnings: Vec::new(),
    };
    root.finish();
    check_whole(&config, file, &problems);
    let warnings = problems.into_warnings()?;
    Ok(Config { warnings, ..config })
}

/// Without any notifier, alerts go to the console.
fn with_default(notifiers: Vec<Notifier>) -> Vec<Notifier> {
    if notifiers.is_empty() {
        vec![Notifier::new("console", NotifierKind::Console)]
    } else {
        notifiers
    }
}

fn check_whole(config: &Config, file: Option<&Path>, problems: &Problems) {
    if config.poll.hourly_history_days > config.store.hourly_retention_days {
        let message =
            "is longer than `store.hourly_retention`: what is read would be dropped at once"
                .to_owned();
        problems.add(Problem::new(Place::Nowhere, "poll.hourly_history", message));
    }
    let runs_commands = config
        .organizations
        .iter()
        .any(|organization| organization.admin_key.is_command())
        || config
            .notifiers
            .iter()
            .flat_map(Notifier::sources)
            .any(SecretSource::is_command);
    if let Some(file) = file.filter(|_| runs_commands) {
        if let Some(message) = writable_by_others(file) {
            problems.add(Problem::new(Place::File(file.to_owned()), "", message));
        }
    }
}

/// Whoever may write the file could run commands as us.
#[cfg(unix)]
fn writable_by_others(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(file).ok()?.mode();
    (mode & 0o022 != 0).then(|| {
        format!(
            "runs commands and may be written by others (mode {:o}); `chmod go-w` it first",
            mode & 0o777
        )
    })
}

#[cfg(not(unix))]
fn writable_by_others(_file: &Path) -> Option<String> {
    None
}
