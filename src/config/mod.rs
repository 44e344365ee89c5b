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
    if let Some(file) = file.filter(|_| runs_commands)
        && let Some(message) = writable_by_others(file)
    {
        problems.add(Problem::new(Place::File(file.to_owned()), "", message));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        [("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The problems of a text after a good organization, which takes the first line.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let whole = format!(
            "organizations = [{{ admin_key = {{ env = \"ANTHROPIC_ADMIN_KEY\" }} }}]\n{text}"
        );
        let told: Vec<String> = match read(&whole, Some(Path::new("a.toml")), &environment()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.errors().iter().map(ToString::to_string).collect(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn the_annotated_example_is_a_configuration() {
        let config = read(TEMPLATE, None, &environment()).unwrap();
        assert_eq!(config.rules.len(), 3);
        assert_eq!(config.warnings, []);
    }

    #[test]
    fn the_environment_alone_is_a_configuration() {
        let mut environment = environment();
        environment.insert("SPENDWATCH_MONTHLY_LIMIT_USD".into(), "1500.50".into());
        let text = environment::as_file(&environment).unwrap();
        let config = read(&text, None, &environment).unwrap();
        assert_eq!(config.rules[0].thresholds.len(), 3);
        assert_eq!(config.notifiers[0].name.as_str(), "console");
        assert!(environment::as_file(&Environment::new()).is_err());
        assert!(!text.contains("canary"));
    }

    #[test]
    fn single_values_come_from_the_environment() {
        let mut environment = environment();
        environment.insert("SPENDWATCH__HTTP__LISTEN".into(), "0.0.0.0:9000".into());
        environment.insert("SPENDWATCH__METRICS__MAX_SERIES".into(), "12".into());
        let text = "[[organizations]]\nadmin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }";
        let config = read(text, None, &environment).unwrap();
        assert_eq!(config.http.listen.port(), 9000);
        assert_eq!(config.metrics.max_series, 12);
        environment.insert("SPENDWATCH__HTTP__LISTN".into(), "x".into());
        let problems = read(text, None, &environment).unwrap_err().to_string();
        assert_eq!(
            problems,
            "environment variable `SPENDWATCH__HTTP__LISTN`: `http.listn` is an unknown key; did you mean `listen`?"
        );
    }

    #[test]
    fn all_problems_are_told_at_once_each_with_its_place() {
        let text = "[poll]\nshedule = \"0 * * * * *\"\nsettle = 5\n[[rules]]\nname = \"a\"\nlimit_usd = -1\nnotify = [\"slak\"]\n\
                    [[notifiers]]\nname = \"slack\"\ntype = \"console\"";
        check(
            text,
            &[
                "a.toml, line 4: `poll.settle` is a number, it must be a text in quotes",
                "a.toml, line 3: `poll.shedule` is an unknown key; did you mean `schedule`?",
                "a.toml, line 7: `rules[0].limit_usd` is -1, it must be an amount from 0 to 10^12 USD",
                "a.toml, line 8: `rules[0].notify[0]` names the notifier `slak`, which does not exist; did you mean `slack`?",
            ],
        );
    }

    #[test]
    fn what_cannot_be_yet_is_said_so() {
        check(
            "[[rules]]\nname = \"a\"\nwatch = \"anomaly\"\nlimit_usd = 1\n[[notifiers]]\nname = \"p\"\ntype = \"pagerduty\"",
            &[
                "a.toml, line 8: `notifiers[0].type` `pagerduty` is not in this version",
                "a.toml, line 4: `rules[0].watch` `anomaly` is not in this version",
            ],
        );
    }

    #[test]
    fn a_rule_has_the_limit_that_fits() {
        check(
            "[[rules]]\nname = \"a\"\nwatch = \"tokens\"\nlimit_usd = 5",
            &[
                "a.toml, line 5: `rules[0].limit_usd` does not fit `watch = \"tokens\"`; use `limit_tokens`",
                "a.toml, line 2: `rules[0].limit_tokens` is missing: a rule needs a limit",
            ],
        );
        check(
            "[[rules]]\nname = \"a\"\nlimit = \"workspace\"",
            &["a.toml, line 4: `rules[0].limit` needs `for_each = \"workspace\"`"],
        );
    }

    #[test]
    fn a_key_does_not_cross_a_network_in_clear_text() {
        let text = "[[organizations]]\nbase_url = \"http://gateway.example.com\"\nadmin_key = { env = \"NOPE\" }";
        let problems = read(text, None, &environment()).unwrap_err().to_string();
        assert!(
            problems.contains("sends the key in clear text"),
            "{problems}"
        );
        assert!(
            problems.contains("names the variable `NOPE`, which is not set"),
            "{problems}"
        );
    }

    #[test]
    fn a_plain_secret_is_a_warning_that_does_not_show_it() {
        let text = "[[organizations]]\nadmin_key = \"sk-ant-admin-canary\"";
        let config = read(text, None, &environment()).unwrap();
        assert_eq!(config.warnings.len(), 1);
        assert!(!format!("{config:?}").contains("canary"));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "(\\PC|\n|=|\\[|\\]|\"){0,200}") {
            let _ = read(&text, None, &Environment::new());
        }
    }
}
