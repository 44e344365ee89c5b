//! Context of an admin command: one configured organization, its server and the audit log, in which reads are recorded too.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;

use crate::admin::batch::BatchOutcome;
use crate::admin::session::AdminSession;
use crate::app::wiring;
use crate::cli::globals::{CommandError, EXIT_PARTIAL, Globals, check_key, without_organization};
use crate::cli::log;
use crate::cli::progress::CommandProgress;
use spendwatch_anthropic::error::FetchError;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_audit::read::LoggedOperation;
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_base::private_file;
use spendwatch_base::subprocess::{self, ChildEnvironment};
use spendwatch_config::Config;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::admin::selection::find_workspace;
use spendwatch_domain::admin::server::{Capability, ServerKind};
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::{ListedKey, ListedUser};

/// Inputs that every admin command shares.
pub struct CommandContext<'a> {
    pub globals: &'a Globals,
    pub config: Config,
    pub session: AdminSession,
    /// Environment of the commands that receive a secret.
    pub command_environment: ChildEnvironment,
}

impl CommandContext<'_> {
    /// Loads the configuration and the key, and detects the kind of server.
    pub async fn open<'a>(
        globals: &'a Globals,
        environment: &Environment,
    ) -> Result<CommandContext<'a>, CommandError> {
        let config = globals.load(environment)?;
        if !globals.quiet {
            log::for_command(environment);
        }
        let organization = selected_organization(globals, &config)?;
        check_key(&config, organization)?;
        let clock = Clock::system();
        let counts = Arc::default();
        let share = RateShare::Command;
        let api = wiring::command_api(organization, environment, &clock, counts, share).await?;
        let service = match organization.dialect {
            Some(dialect) => ServerKind::for_dialect(dialect),
            None => api
                .detect_server()
                .await
                .map_err(|error| CommandError::Failed(error_chain(&error)))?,
        };
        let audit = globals.audit(&config, &clock);
        let session = AdminSession {
            organization: organization.name.clone(),
            api,
            service,
            audit,
            clock,
            audit_errors: Arc::default(),
        };
        let listed = &config.secret_to_command.environment;
        Ok(CommandContext {
            globals,
            command_environment: subprocess::environment(environment, listed),
            config,
            session,
        })
    }

    /// Returns the kind of server that was detected.
    pub fn service(&self) -> ServerKind {
        self.session.service
    }

    /// Returns an error if the server does not support the operation.
    pub fn require(&self, deed: Capability) -> Result<(), CommandError> {
        let supported = self.service().check(deed);
        supported.map_err(|error| self.usage(error))
    }

    /// Prefixes a text with the organization's name.
    pub fn with_organization(&self, text: &str) -> String {
        let name = self.session.organization.as_str();
        format!(
            "organization `{name}`: {}",
            without_organization(text, name)
        )
    }

    /// Returns a usage error that names the organization.
    pub fn usage(&self, error: impl Display) -> CommandError {
        CommandError::usage(self.with_organization(&error.to_string()))
    }

    /// Returns an error that names the organization.
    pub fn failed(&self, error: impl Display) -> CommandError {
        CommandError::Failed(self.with_organization(&error.to_string()))
    }

    /// Returns the organization's configuration.
    pub fn configured(&self) -> Result<&OrganizationConfig, CommandError> {
        self.config
            .organization(self.session.organization.as_str())
            .map_err(CommandError::usage)
    }

    /// Lists all users and shows progress.
    pub async fn users(&self) -> Result<Vec<ListedUser>, FetchError> {
        let progress = CommandProgress::start(self.globals, "reading users".to_owned());
        let on_page = |n_rows| progress.set_message(format!("reading users: {n_rows}"));
        let users = self.session.api.users(self.service(), &on_page).await;
        progress.finish();
        self.warn_unreadable();
        users
    }

    /// Lists all keys, whatever their status.
    pub async fn keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        let progress = CommandProgress::start(self.globals, "reading keys".to_owned());
        let on_page = |n_rows| progress.set_message(format!("reading keys: {n_rows}"));
        let api = &self.session.api;
        let keys = api.keys(self.service(), None, &on_page).await;
        progress.finish();
        self.warn_unreadable();
        keys
    }

    /// Lists all workspaces that are not archived.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, FetchError> {
        let workspaces = self.session.api.workspaces(self.service()).await;
        self.warn_unreadable();
        workspaces
    }

    /// Returns `None` and warns that `unknown` is unknown if an optional list could not be read. A rejected key is still an error.
    pub fn or_warn<T>(
        &self,
        unknown: &str,
        read: Result<T, FetchError>,
    ) -> Result<Option<T>, CommandError> {
        self.warn_unreadable();
        match read {
            Ok(list) => Ok(Some(list)),
            Err(error) if error.is_key_rejected() => Err(error.into()),
            Err(error) => {
                let cause = error_chain(&error);
                self.globals
                    .remark(&format!("warning: {unknown} unknown: {cause}"));
                Ok(None)
            }
        }
    }

    /// Warns about list rows that could not be read.
    pub fn warn_unreadable(&self) {
        for error in self.session.api.take_unreadable() {
            self.globals.remark(&format!("warning: {error}"));
        }
    }

    /// Finds a workspace by id or name.
    pub async fn workspace(&self, name_or_id: &str) -> Result<Workspace, CommandError> {
        let all = self.workspaces().await?;
        find_workspace(name_or_id, &all)
            .cloned()
            .map_err(|error| self.usage(error))
    }

    /// Waits for other commands of this configuration that create something, and keeps them waiting until the file is dropped.
    pub async fn lock(&self) -> Result<File, CommandError> {
        let mut path = self.config.audit.file.clone().into_os_string();
        path.push(".commands");
        let path = PathBuf::from(path);
        let failed = |error: io::Error| {
            CommandError::Failed(format!("cannot lock `{}`: {error}", path.display()))
        };
        let (file, _) = private_file::open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        self.globals
            .remark("waiting for another command that creates keys or invitations");
        let waited = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        waited
            .map_err(|error| CommandError::Failed(error.to_string()))?
            .map_err(failed)
    }

    /// Returns from the audit log when each lowercase address was last invited.
    pub fn sent_invites(&self) -> Result<BTreeMap<String, Timestamp>, CommandError> {
        let mut sent = BTreeMap::new();
        self.each_success("users.invite", |one| {
            sent.insert(one.entry.target.to_lowercase(), one.entry.at);
        })?;
        Ok(sent)
    }

    /// Returns from the audit log the ids of removed users by their lowercase address.
    pub fn removed_users(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let mut removed = BTreeMap::new();
        self.each_success("users.remove", |one| {
            if let Some(email) = one.entry.arguments.get("email") {
                removed.insert(email.to_lowercase(), one.entry.target.clone());
            }
        })?;
        Ok(removed)
    }

    fn each_success(
        &self,
        action: &str,
        on_operation: impl FnMut(LoggedOperation),
    ) -> Result<(), CommandError> {
        let organization = self.session.organization.as_str();
        let read = self
            .session
            .audit
            .each_success(organization, action, on_operation);
        read.map_err(|error| CommandError::Failed(error.to_string()))
    }

    /// Warns about outcomes that could not be recorded in the audit log.
    pub fn warn_unrecorded(&self) {
        for why in self.session.take_audit_errors() {
            self.globals.remark(&format!(
                "warning: the audit log contains the intent but not the outcome: {why}"
            ));
        }
    }

    /// Records a read access in the audit log and passes its result on. If the log cannot be written, only warns.
    pub fn audit_read<T>(
        &self,
        action: &str,
        arguments: &[(&str, String)],
        result: Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let error = result.as_ref().err().map(CommandError::line);
        let recorded =
            self.session
                .record_read(action, "organization", arguments, error.as_deref());
        if let Err(error) = recorded {
            self.globals.remark(&format!("warning: {error}"));
        }
        result
    }
}

/// Returns the organization of `--org`, or the only one.
fn selected_organization<'a>(
    globals: &Globals,
    config: &'a Config,
) -> Result<&'a OrganizationConfig, CommandError> {
    let selected = globals.organizations(config)?;
    match selected.as_slice() {
        [only] => Ok(only),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            Err(CommandError::usage(format!(
                "several organizations are configured; choose one with `--org`: {}",
                names.join(", ")
            )))
        }
    }
}

/// Returns 0, 1, or 3 if some steps are done.
pub fn exit_code(outcome: BatchOutcome) -> ExitCode {
    match outcome {
        BatchOutcome::Complete => ExitCode::SUCCESS,
        BatchOutcome::Nothing => ExitCode::FAILURE,
        BatchOutcome::Partial => ExitCode::from(EXIT_PARTIAL),
    }
}

/// Returns the time this many days from now.
pub fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, CommandError> {
    // Servers store whole seconds.
    let end = Timestamp::from_second(now.as_second() + i64::from(days) * 86_400);
    end.map_err(|_| CommandError::usage(format!("{days} days from now is out of range")))
}
