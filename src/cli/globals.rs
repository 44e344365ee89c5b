//! What every command takes, and how every command ends.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args};

use crate::audit::files::AuditError;
use crate::audit::{self, AuditLog};
use crate::cli::output::{Format, Screen};
use crate::clock::Clock;
use crate::config::notifiers::Notifier;
use crate::config::organizations::Organization;
use crate::config::problem::{Problem, Problems};
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::outbound::causes;
use crate::sheet::Sheet;
use crate::store::Store;
use crate::store::error::StoreError;

/// Where they stand in a help.
const EVERY: &str = "Options of every command";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The configuration file; else `SPENDWATCH_CONFIG`, else /etc/spendwatch/spendwatch.toml, else the environment alone
    #[arg(long, global = true, help_heading = EVERY, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this organization of the configuration
    #[arg(long, global = true, help_heading = EVERY, value_name = "NAME")]
    pub org: Option<String>,
    /// How rows are written
    #[arg(
        long,
        global = true, help_heading = EVERY,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// No remarks on standard error, only errors
    #[arg(long, global = true, help_heading = EVERY)]
    pub quiet: bool,
    /// Who asks for it, for the audit log; else the user of the operating system, who stands there in any case
    #[arg(long, global = true, help_heading = EVERY, value_name = "NAME")]
    pub actor: Option<String>,
    /// Standard output.
    #[arg(skip)]
    pub stdout: Screen,
    /// Standard error.
    #[arg(skip)]
    pub stderr: Screen,
}

/// Options of a command that writes and asks nothing.
#[derive(Debug, Clone, Args)]
pub struct Assent {
    /// Accepted by every command that writes; this one asks nothing
    #[arg(long, action = ArgAction::Count)]
    pub yes: u8,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or a bad configuration: 2. Each a line.
    Usage(Vec<String>),
    /// Anything else: 1.
    World(String),
}

impl Failure {
    /// Wrong usage.
    pub fn usage(told: impl Into<String>) -> Failure {
        Failure::Usage(vec![told.into()])
    }

    /// Why, in one line.
    pub fn line(&self) -> String {
        match self {
            Failure::Usage(lines) => lines.join("; "),
            Failure::World(line) => line.clone(),
        }
    }

    /// Says why, and how that ends.
    pub fn tell(&self) -> ExitCode {
        match self {
            Failure::Usage(lines) => {
                for line in lines {
                    eprintln!("error: {line}");
                }
                ExitCode::from(2)
            }
            Failure::World(line) => {
                eprintln!("error: {line}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Failure {
        Failure::World(format!("{error}; nothing was changed"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::World(causes(&error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::World(format!("{error:#}"))
    }
}

/// A text without the organization before it, for a place that names the organization already.
pub fn without_organization(text: &str, organization: &str) -> String {
    text.replace(&format!("organization `{organization}`: "), "")
}

/// Says why where a command failed.
pub fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|failure| failure.tell())
}

fn bad(problems: &Problems) -> Failure {
    unusable(problems.errors().iter())
}

fn unusable<'a>(problems: impl Iterator<Item = &'a Problem>) -> Failure {
    Failure::Usage(problems.map(ToString::to_string).collect())
}

/// Fails where the key of an organization is known to be unusable, and names file, line and key.
pub fn check_key(config: &Config, organization: &Organization) -> Result<(), Failure> {
    let problems = config.unresolved_of_organization(organization);
    if problems.is_empty() {
        return Ok(());
    }
    Err(unusable(problems.into_iter()))
}

/// The same for the secrets of a notifier.
pub fn check_notifier(config: &Config, notifier: &Notifier) -> Result<(), Failure> {
    let problems = config.unresolved_of_notifier(notifier);
    if problems.is_empty() {
        return Ok(());
    }
    Err(unusable(problems.into_iter()))
}

impl Globals {
    /// The checked configuration, in which every secret is usable as far as is known; its warnings are the caller's.
    pub fn read_with_all_secrets(&self, environment: &Environment) -> Result<Config, Failure> {
        config::load(self.config.as_deref(), environment).map_err(|error| bad(&error))
    }

    /// The checked configuration; its warnings and secrets are the caller's.
    pub fn read(&self, environment: &Environment) -> Result<Config, Failure> {
        config::load_for_command(self.config.as_deref(), environment).map_err(|error| bad(&error))
    }

    /// The checked configuration; what is to be looked at is remarked.
    pub fn load(&self, environment: &Environment) -> Result<Config, Failure> {
        let config = self.read(environment)?;
        self.remark_warnings(&config);
        Ok(config)
    }

    /// What is accepted and should be looked at.
    pub fn remark_warnings(&self, config: &Config) {
        for warning in &config.warnings {
            self.remark(&format!("warning: {warning}"));
        }
    }

    /// The store of the configuration, beside whoever works on it.
    pub fn open_store(&self, environment: &Environment) -> Result<(Config, Store), Failure> {
        let config = self.load(environment)?;
        let store = Store::open_for_command(&config.store.path, Clock::system().now())?;
        Ok((config, store))
    }

    /// The organizations that are asked for: the one of `--org`, else all.
    pub fn organizations<'a>(&self, config: &'a Config) -> Result<Vec<&'a Organization>, Failure> {
        match &self.org {
            Some(asked) => Ok(vec![config.organization(asked).map_err(Failure::usage)?]),
            None => Ok(config.organizations.iter().collect()),
        }
    }

    /// The audit log of the configuration, and who writes into it.
    pub fn audit(&self, config: &Config, clock: &Clock) -> AuditLog {
        let settings = audit::Settings {
            file: config.audit.file.clone(),
            rotate_at: config.audit.rotate_at,
            syslog: config.audit.syslog.clone(),
            actor: self.actor.clone(),
        };
        AuditLog::new(settings, clock.clone())
    }

    /// A remark for people, on standard error.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Rows for people, on standard error.
    pub fn remark_table(&self, sheet: &Sheet) {
        self.remark(sheet.as_table(self.stderr).trim_end());
    }

    /// Rows on standard output.
    pub fn print(&self, sheet: &Sheet, exit: ExitCode) -> ExitCode {
        sheet.print(self.output, self.stdout, exit)
    }
}
