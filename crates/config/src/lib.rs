//! The configuration: defaults, a TOML file, and single values from the environment, in ascending priority. All problems are
//! reported at once, each with its location; the resulting [`Config`] is checked.

pub mod near;
pub mod problem;
pub mod secret_file;
pub mod source;

pub mod effective;
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
pub mod limits;
pub mod notifiers;
pub mod organizations;
pub mod sections;
pub mod teams;
pub mod thresholds;

pub mod digests;

pub mod defaults;
pub mod rules;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::digests::DigestConfig;
use crate::effective::EffectiveConfig;
use crate::near::unknown;
use crate::notifiers::NotifierConfig;
use crate::organizations::OrganizationConfig;
use crate::prices::PricesConfig;
use crate::problem::{ConfigProblem, Problems};
use crate::reader::SectionReader;
use crate::rules::NotifierNames;
use crate::sections::{
    AuditConfig, HeartbeatConfig, HttpConfig, LogConfig, MetricsConfig, SecretToCommandConfig,
    StoreConfig,
};
use crate::source::Environment;
use crate::tree::{NO_FILE, Tree};
use spendwatch_domain::ledger::coverage::PollSettings;
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::matcher::Team;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::units::schedule::Schedule;

/// The annotated example, which `init` writes.
pub const TEMPLATE: &str = include_str!("../../../config/spendwatch.toml");

/// Used if no notifier is configured.
const DEFAULT_NOTIFIER: &str = r#"notifiers = [{ name = "console", type = "console" }]"#;

/// A complete, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `None` if it comes from the environment alone.
    pub file: Option<PathBuf>,
    pub organizations: Vec<OrganizationConfig>,
    /// When cycles start, in UTC.
    pub poll_schedule: Schedule,
    pub poll: PollSettings,
    pub store: StoreConfig,
    pub http: HttpConfig,
    pub metrics: MetricsConfig,
    pub prices: PricesConfig,
    pub privacy: Privacy,
    pub log: LogConfig,
    pub heartbeat: Option<HeartbeatConfig>,
    /// In the order of the file, since the first match counts.
    pub teams: Vec<Team>,
    /// The enabled rules, in the order of the file.
    pub rules: Vec<Rule>,
    pub notifiers: Vec<NotifierConfig>,
    pub digests: Vec<DigestConfig>,
    pub audit: AuditConfig,
    /// Settings of the command that receives the secret of a new key.
    pub secret_to_command: SecretToCommandConfig,
    pub warnings: Vec<ConfigProblem>,
    /// Unusable secrets; empty unless the configuration was loaded for a command.
    pub unresolved: Vec<Unresolved>,
    /// All values as they were read, including defaults.
    pub effective: EffectiveConfig,
}

/// An unusable secret: a variable that is not set, a file that cannot be read, or an invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Full key, such as `notifiers[1].url.env`, even if the configuration comes from the environment alone.
    pub key: String,
    pub problem: ConfigProblem,
}

/// Which secrets must be usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    All,
    /// Only those that are used later.
    Used,
}

impl Config {
    /// Returns an organization by name. The error suggests configured names.
    pub fn organization(&self, name: &str) -> Result<&OrganizationConfig, String> {
        let mut all = self.organizations.iter();
        all.find(|known| known.name.as_str() == name)
            .ok_or_else(|| {
                let known = self.organizations.iter().map(|known| known.name.as_str());
                unknown("organization", name, known)
            })
    }

    /// Returns the problems of an organization's secrets.
    pub fn unresolved_of_organization(
        &self,
        organization: &OrganizationConfig,
    ) -> Vec<&ConfigProblem> {
        let mut all = self.organizations.iter();
        let index = all.position(|known| known.name == organization.name);
        self.unresolved_in("organizations", index)
    }

    /// Returns the problems of a notifier's secrets.
    pub fn unresolved_of_notifier(&self, notifier: &NotifierConfig) -> Vec<&ConfigProblem> {
        let mut all = self.notifiers.iter();
        let index = all.position(|known| known.name == notifier.name);
        self.unresolved_in("notifiers", index)
    }

    fn unresolved_in(&self, list: &str, index: Option<usize>) -> Vec<&ConfigProblem> {
        let Some(index) = index else {
            return Vec::new();
        };
        let start = format!("{list}[{index}].");
        let is_in = |unresolved: &&Unresolved| unresolved.key.starts_with(&start);
        let found = self.unresolved.iter().filter(is_in);
        found.map(|unresolved| &unresolved.problem).collect()
    }

    /// Removes all organizations except one.
    pub fn with_only(mut self, name: &str) -> Result<Config, String> {
        self.organizations = vec![self.organization(name)?.clone()];
        Ok(self)
    }
}

/// Loads the configuration for the daemon. Every secret must be usable, as far as this can be checked without running a
/// command.
///
/// The source is the file of `--config`, else of `SPENDWATCH_CONFIG`, else `./spendwatch.toml`, else the one in `/etc`, else
/// the environment alone.
pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    load_with(named, environment, Needed::All)
}

/// Loads the configuration for a command, which needs only some of the secrets; the others may be unusable.
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
    let env_file = environment::to_file(environment)?;
    match read_with(&env_file.text, None, environment, needed) {
        Ok(mut config) => {
            let warnings = std::mem::take(&mut config.warnings);
            config.warnings = warnings
                .into_iter()
                .map(|it| env_file.attribute_to_variable(it))
                .collect();
            for unresolved in &mut config.unresolved {
                unresolved.problem = env_file.attribute_to_variable(unresolved.problem.clone());
            }
            Ok(config)
        }
        Err(problems) => Err(problems.map(|problem| env_file.attribute_to_variable(problem))),
    }
}

/// Reads a configuration from a text, with the same checks as [`load`].
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
    let effective = RefCell::<EffectiveConfig>::default();
    let mut table = tree.with_environment(environment, &problems);
    defaults::apply_to_rules(&mut table, &problems);
    let root = SectionReader::root(&table, file, &problems, environment, &effective);
    let (mut notifiers, names) = notifiers::read(&root);
    let default =
        Tree::parse(DEFAULT_NOTIFIER, None)?.with_environment(&Environment::new(), &problems);
    if notifiers.is_empty() {
        let root = SectionReader::root(&default, None, &problems, environment, &effective);
        (notifiers, _) = notifiers::read(&root);
    }
    let teams = teams::read(&root, &names);
    let audience = NotifierNames {
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
    let (poll_schedule, poll) = sections::read_poll(&root);
    let store = sections::read_store(&root);
    let config = Config {
        file: file.map(Path::to_owned),
        organizations: organizations::read(&root),
        poll_schedule,
        poll,
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
        notifiers,
        warnings: Vec::new(),
        unresolved: Vec::new(),
        effective: EffectiveConfig::default(),
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
        effective: effective.into_inner(),
        ..config
    })
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
    fn the_annotated_example_is_valid() {
        let config = read(TEMPLATE, None, &environment()).unwrap();
        assert_eq!(config.rules.len(), 3);
        assert_eq!(config.warnings, []);
    }

    #[test]
    fn the_environment_alone_is_valid() {
        let mut environment = environment();
        environment.insert("SPENDWATCH_MONTHLY_LIMIT_USD".into(), "1500.50".into());
        let env_file = environment::to_file(&environment).unwrap();
        let config = read(&env_file.text, None, &environment).unwrap();
        assert_eq!(config.rules[0].thresholds.len(), 3);
        assert_eq!(config.notifiers[0].name.as_str(), "console");
        assert!(environment::to_file(&Environment::new()).is_err());
        assert!(!env_file.text.contains("canary"));
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
            "unknown key `http.listn`: environment variable `SPENDWATCH__HTTP__LISTN`; did you mean `listen`?"
        );
    }

    #[test]
    fn own_prices_are_read_at_every_load_and_their_errors_name_their_file() {
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
            let env_file = environment::to_file(&environment).unwrap();
            read(&env_file.text, None, &environment).map_err(|problems| {
                problems
                    .map(|it| env_file.attribute_to_variable(it))
                    .to_string()
            })
        };
        let input = |config: &Config, model: &str| {
            let day = "2026-11-24".parse().unwrap();
            let price = config.prices.prices.price_on(&model.into(), day);
            price.map(|price| price.standard.input.to_string())
        };
        let config = load_with("claude-opus-5,7,1,1,1,1").unwrap();
        assert_eq!(input(&config, "claude-opus-5").as_deref(), Some("7"));
        assert!(input(&config, "claude-sonnet-5").is_some());
        assert_eq!(config.privacy.in_metrics().as_str(), "hidden");
        assert!(config.metrics.by_user);
        let config = load_with("claude-opus-5,8,1,1,1,1").unwrap();
        assert_eq!(input(&config, "claude-opus-5").as_deref(), Some("8"));
        let message = load_with("claude-opus-5,x,1,1,1,1").unwrap_err();
        let expected =
            "`input_usd_per_mtok` is `x`, expected USD per million tokens, for example `0.25`";
        assert_eq!(message, format!("{expected}: {shown}:2"));
    }

    #[test]
    fn plain_text_secrets_cause_a_warning_and_are_not_shown() {
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
