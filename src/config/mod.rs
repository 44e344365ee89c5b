//! The configuration: defaults, a TOML file, single values from the environment. All problems are told at once, each with
//! its place; what comes out is checked.

pub mod near;
pub mod problem;
pub mod secret_file;
pub mod source;

pub mod tree;

pub mod reader;

pub mod credentials;
pub mod durations;
pub mod environment;
pub mod file;
pub mod table;

pub mod amounts;
pub mod budgets;
pub mod prices;
pub mod terms;

pub mod events;
pub mod notifiers;
pub mod organizations;
pub mod sections;
pub mod teams;
pub mod thresholds;

pub mod digests;

pub mod defaults;
pub mod rules;

pub mod show;

use std::path::{Path, PathBuf};

use crate::config::digests::Digest;
use crate::config::near::unknown;
use crate::config::notifiers::{Notifier, NotifierKind};
use crate::config::organizations::Organization;
use crate::config::prices::PriceTable;
use crate::config::problem::{Problem, Problems};
use crate::config::reader::Section;
use crate::config::rules::Audience;
use crate::config::sections::{Audit, Heartbeat, Http, Log, Metrics, Poll, SecretToCommand, Store};
use crate::config::source::Environment;
use crate::config::tree::{NO_FILE, Tree};
use crate::domain::ids::NotifierName;
use crate::domain::matcher::Team;
use crate::domain::privacy::Privacy;
use crate::domain::rule::Rule;

/// What `init` writes: the annotated example.
pub const TEMPLATE: &str = include_str!("../../config/spendwatch.toml");

/// A whole, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: Option<PathBuf>,
    pub organizations: Vec<Organization>,
    /// When and what is read.
    pub poll: Poll,
    pub store: Store,
    pub http: Http,
    pub metrics: Metrics,
    /// List prices, by which spend is estimated.
    pub prices: PriceTable,
    /// By what people are named.
    pub privacy: Privacy,
    pub log: Log,
    pub heartbeat: Option<Heartbeat>,
    /// In the order of the file.
    pub teams: Vec<Team>,
    /// The enabled ones, in the order of the file.
    pub rules: Vec<Rule>,
    pub notifiers: Vec<Notifier>,
    pub digests: Vec<Digest>,
    pub audit: Audit,
    /// The command that takes the secret of a new key.
    pub secret_to_command: SecretToCommand,
    /// What is accepted and should be looked at.
    pub warnings: Vec<Problem>,
    /// Secrets that cannot be used; empty unless it was loaded for a command.
    pub unresolved: Vec<Unresolved>,
}

/// A secret that is known to be unusable: a variable that is not set, a file that cannot be read, a value of the wrong form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Where it is in a file, like `notifiers[1].url.env`, also where the environment stands for one.
    pub key: String,
    /// What is wrong, and where.
    pub problem: Problem,
}

/// Which secrets must be usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    All,
    /// Those that are used later.
    Used,
}

impl Config {
    /// One organization by its name; the error says which there are.
    pub fn organization(&self, name: &str) -> Result<&Organization, String> {
        let mut all = self.organizations.iter();
        all.find(|known| known.name.as_str() == name)
            .ok_or_else(|| {
                let known = self.organizations.iter().map(|known| known.name.as_str());
                unknown("organization", name, known)
            })
    }

    /// What is known to be wrong with the secrets of an organization.
    pub fn unresolved_of_organization(&self, organization: &Organization) -> Vec<&Problem> {
        let mut all = self.organizations.iter();
        let place = all.position(|known| known.name == organization.name);
        self.unresolved_in("organizations", place)
    }

    /// What is known to be wrong with the secrets of a notifier.
    pub fn unresolved_of_notifier(&self, notifier: &Notifier) -> Vec<&Problem> {
        let mut all = self.notifiers.iter();
        let place = all.position(|known| known.name == notifier.name);
        self.unresolved_in("notifiers", place)
    }

    fn unresolved_in(&self, list: &str, place: Option<usize>) -> Vec<&Problem> {
        let Some(place) = place else {
            return Vec::new();
        };
        let start = format!("{list}[{place}].");
        let is_in = |unresolved: &&Unresolved| unresolved.key.starts_with(&start);
        let found = self.unresolved.iter().filter(is_in);
        found.map(|unresolved| &unresolved.problem).collect()
    }

    /// Without all organizations but one.
    pub fn with_only(mut self, name: &str) -> Result<Config, String> {
        self.organizations = vec![self.organization(name)?.clone()];
        Ok(self)
    }
}

/// Loads the configuration, in which every secret must be usable as far as that is known without running anything.
///
/// It is the file of `--config`, else of `SPENDWATCH_CONFIG`, else `./spendwatch.toml`, else the one in `/etc`, else what the
/// environment alone says.
pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    load_with(named, environment, Needed::All)
}

/// Loads the configuration for a command that uses few of its secrets; the others may be unusable.
pub fn load_for_command(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Config, Problems> {
    load_with(named, environment, Needed::Used)
}

fn load_with(
    named: Option<&Path>,
    environment: &Environment,
    needed: Needed,
) -> Result<Config, Problems> {
    let named = file::named(named, environment);
    let is_named = named.is_some();
    if let Some(path) = named.or_else(file::default) {
        let text = file::read(&path, is_named)?;
        return read_with(&text, Some(&path), environment, needed);
    }
    let stand_in = environment::as_file(environment)?;
    match read_with(&stand_in.text, None, environment, needed) {
        Ok(mut config) => {
            let warnings = std::mem::take(&mut config.warnings);
            config.warnings = warnings.into_iter().map(|it| stand_in.blame(it)).collect();
            for unresolved in &mut config.unresolved {
                unresolved.problem = stand_in.blame(unresolved.problem.clone());
            }
            Ok(config)
        }
        Err(problems) => Err(problems.map(|problem| stand_in.blame(problem))),
    }
}

/// Reads a configuration from a text, as [`load`] does.
pub fn read(
    text: &str,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Config, Problems> {
    read_with(text, file, environment, Needed::All)
}

fn read_with(
    text: &str,
    file: Option<&Path>,
    environment: &Environment,
    needed: Needed,
) -> Result<Config, Problems> {
    let tree = Tree::parse(text, file)?;
    let problems = Problems::default();
    let mut table = tree.with_environment(environment, &problems);
    defaults::lay_under_rules(&mut table, &problems);
    let root = Section::root(&table, file, &problems, environment);
    let (notifiers, names) = notifiers::read(&root);
    let teams = teams::read(&root, &names);
    let audience = Audience {
        names: &names,
        of_teams: teams
            .iter()
            .flat_map(|team| team.notify.iter().map(NotifierName::as_str))
            .collect(),
        fallbacks: notifiers
            .iter()
            .filter_map(|notifier| Some(notifier.fallback.as_ref()?.as_str()))
            .collect(),
    };
    let store = sections::read_store(&root);
    let config = Config {
        file: file.map(Path::to_owned),
        organizations: organizations::read(&root),
        poll: sections::read_poll(&root),
        http: sections::read_http(&root),
        metrics: sections::read_metrics(&root),
        prices: prices::read_section(&root),
        privacy: sections::read_privacy(&root),
        log: sections::read_log(&root),
        heartbeat: sections::read_heartbeat(&root),
        rules: rules::read(&root, &audience),
        teams,
        digests: digests::read(&root, &names, &notifiers),
        audit: sections::read_audit(&root, &store.path),
        secret_to_command: sections::read_secret_to_command(&root),
        store,
        notifiers: with_default(notifiers),
        warnings: Vec::new(),
        unresolved: Vec::new(),
    };
    sections::check_windows(&root, &config.poll, &config.store);
    rules::check_names(&root, &config.organizations, &config.teams);
    root.finish();
    let mut unresolved = problems.take_unresolved();
    if needed == Needed::All {
        unresolved
            .drain(..)
            .for_each(|problem| problems.add(problem));
    }
    let unresolved = unresolved.into_iter().map(|problem| Unresolved {
        key: problem.key.clone(),
        problem,
    });
    let warnings = problems
        .sorted(file.unwrap_or(Path::new(NO_FILE)))
        .into_warnings()?;
    Ok(Config {
        warnings,
        unresolved: unresolved.collect(),
        ..config
    })
}

/// Without any notifier, alerts go to the console.
fn with_default(notifiers: Vec<Notifier>) -> Vec<Notifier> {
    if notifiers.is_empty() {
        vec![Notifier::new("console", NotifierKind::Console)]
    } else {
        notifiers
    }
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
        let stand_in = environment::as_file(&environment).unwrap();
        let config = read(&stand_in.text, None, &environment).unwrap();
        assert_eq!(config.rules[0].thresholds.len(), 3);
        assert_eq!(config.notifiers[0].name.as_str(), "console");
        assert!(environment::as_file(&Environment::new()).is_err());
        assert!(!stand_in.text.contains("canary"));
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
    fn prices_of_ones_own_are_read_at_every_load_and_what_is_wrong_in_them_is_told_as_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.csv");
        let mut environment = environment();
        let shown = path.display().to_string();
        environment.insert("SPENDWATCH__PRICES__FILE".into(), shown.clone());
        environment.insert("SPENDWATCH__PRIVACY__PEOPLE".into(), "hidden".into());
        environment.insert("SPENDWATCH__METRICS__BY_USER".into(), "true".into());
        let head = "model,input_usd_per_mtok,output_usd_per_mtok,cache_write_5m_usd_per_mtok,\
                    cache_write_1h_usd_per_mtok,cache_read_usd_per_mtok";
        let load_with = |line: &str| {
            std::fs::write(&path, format!("\u{feff}{head}\n{line}\n")).unwrap();
            let stand_in = environment::as_file(&environment).unwrap();
            read(&stand_in.text, None, &environment)
                .map_err(|problems| problems.map(|it| stand_in.blame(it)).to_string())
        };
        let input = |config: &Config, model: &str| {
            let day = "2026-11-24".parse().unwrap();
            let price = config.prices.prices.on(&model.into(), day);
            price.map(|price| price.rates.input.to_string())
        };
        let config = load_with("claude-opus-5,7,1,1,1,1").unwrap();
        assert_eq!(input(&config, "claude-opus-5").as_deref(), Some("7"));
        assert!(input(&config, "claude-sonnet-5").is_some());
        assert_eq!(config.privacy.in_metrics().as_str(), "hidden");
        assert!(config.metrics.by_user);
        let config = load_with("claude-opus-5,8,1,1,1,1").unwrap();
        assert_eq!(input(&config, "claude-opus-5").as_deref(), Some("8"));
        let told = load_with("claude-opus-5,x,1,1,1,1").unwrap_err();
        let expected =
            "line 2: `input_usd_per_mtok`: `x` is not right: USD per million tokens, such as 0.25";
        assert_eq!(told, format!("{shown}, {expected}"));
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
