//! Options of every command, and their errors and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args};

use crate::cli::output::OutputFormat;
use crate::cli::output::screen::Screen;
use crate::table::OutputTable;
use spendwatch_anthropic::error::{DetectError, FetchError};
use spendwatch_audit::files::AuditError;
use spendwatch_audit::{self as audit, AuditLog};
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::notifiers::NotifierConfig;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::problem::{ConfigProblem, Problems};
use spendwatch_config::source::Environment;
use spendwatch_config::{self as config, Config};
use spendwatch_store::Store;
use spendwatch_store::error::StoreError;
use spendwatch_store::prefix_match::PrefixMatch;

/// Heading in the help.
const HEADING: &str = "Options of every command";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Configuration file (default: `SPENDWATCH_CONFIG`, ./spendwatch.toml or /etc/spendwatch/spendwatch.toml)
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Organization to use, by its name in the configuration
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    pub org: Option<String>,
    /// Output format
    #[arg(
        long,
        global = true, help_heading = HEADING,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: OutputFormat,
    /// Print only errors on standard error
    #[arg(long, global = true, help_heading = HEADING)]
    pub quiet: bool,
    /// Actor for the audit log (default: the operating system user, who is always recorded)
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    pub actor: Option<String>,
    #[arg(skip)]
    pub stdout: Screen,
    #[arg(skip)]
    pub stderr: Screen,
}

/// `--yes` for a command that writes without asking.
#[derive(Debug, Clone, Args)]
pub struct YesFlag {
    /// Accepted for consistency; this command needs no confirmation
    #[arg(long, action = ArgAction::Count)]
    pub yes: u8,
}

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// Wrong usage or a bad configuration, one error per line: exit code 2.
    Usage(Vec<String>),
    /// Anything else: exit code 1.
    Failed(String),
}

impl CommandError {
    /// Returns a usage error.
    pub fn usage(error: impl Into<String>) -> CommandError {
        CommandError::Usage(vec![error.into()])
    }

    /// Returns the errors in one line.
    pub fn line(&self) -> String {
        match self {
            CommandError::Usage(lines) => lines.join("; "),
            CommandError::Failed(line) => line.clone(),
        }
    }

    /// Prints the errors and returns the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            CommandError::Usage(lines) => {
                for line in lines {
                    eprintln!("error: {line}");
                }
                ExitCode::from(2)
            }
            CommandError::Failed(line) => {
                eprintln!("error: {line}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<AuditError> for CommandError {
    fn from(error: AuditError) -> CommandError {
        CommandError::Failed(format!("{error}; no change was made"))
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError::Failed(error_chain(&error))
    }
}

impl From<FetchError> for CommandError {
    fn from(error: FetchError) -> CommandError {
        CommandError::Failed(error_chain(&error))
    }
}

impl From<DetectError> for CommandError {
    fn from(error: DetectError) -> CommandError {
        CommandError::Failed(error_chain(&error))
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> CommandError {
        CommandError::Failed(format!("{error:#}"))
    }
}

/// Removes the organization from a text, for a place that already names it.
pub fn without_organization(text: &str, organization: &str) -> String {
    let name = format!("organization `{organization}`");
    text.replace(&format!("{name}: "), "")
        .replace(&format!("{name}, "), "")
}

/// Exit code for "partly done".
pub const EXIT_PARTIAL: u8 = 3;

/// Returns 0 if nothing failed, 1 if all did, else 3.
pub fn partial_exit(n_failed: usize, n_all: usize) -> ExitCode {
    match n_failed {
        0 => ExitCode::SUCCESS,
        n if n == n_all => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_PARTIAL),
    }
}

/// Returns the row with an id or a prefix of one, or an error that names `list`, the command that lists ids.
pub fn matched<T>(
    found: PrefixMatch<T>,
    kind: &str,
    prefix: &str,
    list: &str,
) -> Result<T, String> {
    match found {
        PrefixMatch::One(row) => Ok(row),
        PrefixMatch::NoMatch => Err(format!(
            "no {kind} `{prefix}`; list ids with `spendwatch {list}`"
        )),
        PrefixMatch::Ambiguous(ids) => Err(format!(
            "`{prefix}` matches {} {kind}s: {}; use a longer id",
            ids.len(),
            ids.join(", ")
        )),
    }
}

/// Returns the same error for the audit log.
pub fn audited_mismatch<T>(found: &PrefixMatch<T>, kind: &str) -> Option<String> {
    match found {
        PrefixMatch::One(_) => None,
        PrefixMatch::NoMatch => Some(format!("no such {kind}")),
        PrefixMatch::Ambiguous(_) => Some("ambiguous id".to_owned()),
    }
}

fn load_error(problems: &Problems) -> CommandError {
    usage_error(problems.errors().iter())
}

fn usage_error<'a>(problems: impl Iterator<Item = &'a ConfigProblem>) -> CommandError {
    CommandError::Usage(problems.map(ToString::to_string).collect())
}

/// Returns an error if the organization's admin key is known to be unusable.
pub fn check_key(config: &Config, organization: &OrganizationConfig) -> Result<(), CommandError> {
    unresolved_error(config.unresolved_of_organization(organization))
}

/// Returns an error if a secret of the notifier is known to be unusable.
pub fn check_notifier(config: &Config, notifier: &NotifierConfig) -> Result<(), CommandError> {
    unresolved_error(config.unresolved_of_notifier(notifier))
}

fn unresolved_error(problems: Vec<&ConfigProblem>) -> Result<(), CommandError> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(usage_error(problems.into_iter()))
}

impl Globals {
    /// Reads the configuration and requires every secret. The caller reports the warnings.
    pub fn read_with_all_secrets(&self, environment: &Environment) -> Result<Config, CommandError> {
        config::load(self.config.as_deref(), environment).map_err(|error| load_error(&error))
    }

    /// Reads the configuration. The caller checks the secrets it needs and reports the warnings.
    pub fn read(&self, environment: &Environment) -> Result<Config, CommandError> {
        config::load_for_command(self.config.as_deref(), environment)
            .map_err(|error| load_error(&error))
    }

    /// Reads the configuration and prints its warnings.
    pub fn load(&self, environment: &Environment) -> Result<Config, CommandError> {
        let config = self.read(environment)?;
        self.remark_warnings(&config);
        Ok(config)
    }

    /// Prints the configuration's warnings.
    pub fn remark_warnings(&self, config: &Config) {
        for warning in &config.warnings {
            self.remark(&format!("warning: {warning}"));
        }
    }

    /// Opens the configured store, also while a daemon uses it.
    pub fn open_store(&self, environment: &Environment) -> Result<(Config, Store), CommandError> {
        let config = self.load(environment)?;
        let store = Store::open_for_command(&config.store.path, Clock::system().now())?;
        Ok((config, store))
    }

    /// Returns the organization of `--org`, else all.
    pub fn organizations<'a>(
        &self,
        config: &'a Config,
    ) -> Result<Vec<&'a OrganizationConfig>, CommandError> {
        match &self.org {
            Some(name) => Ok(vec![
                config.organization(name).map_err(CommandError::usage)?,
            ]),
            None => Ok(config.organizations.iter().collect()),
        }
    }

    /// Returns the configured audit log with the actor.
    pub fn audit(&self, config: &Config, clock: &Clock) -> AuditLog {
        let settings = audit::AuditSettings {
            file: config.audit.file.clone(),
            rotate_at: config.audit.rotate_at,
            syslog: config.audit.syslog.clone(),
            actor: self.actor.clone(),
        };
        AuditLog::new(settings, clock.clone())
    }

    /// Prints a remark on standard error, unless `--quiet`.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Prints a table on standard error, unless `--quiet`.
    pub fn print_table_to_stderr(&self, table: &OutputTable) {
        self.remark(table.as_table(self.stderr).trim_end());
    }

    /// Prints rows on standard output and returns the exit code.
    pub fn print(&self, table: &OutputTable, exit: ExitCode) -> ExitCode {
        table.print(self.output, self.stdout, exit)
    }
}
