//! The desk: one organization of the configuration, its service and the audit log. Reads are noted in the log, too.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;

use crate::admin::batch::Sum;
use crate::admin::office::Office;
use crate::anthropic::error::FetchError;
use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::audit::read::OneOperation;
use crate::cli::globals::{Failure, Globals, check_key, without_organization};
use crate::cli::log;
use crate::cli::progress::Progress;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::source::Environment;
use crate::domain::admin::choice::find_workspace;
use crate::domain::admin::service::{Deed, Service};
use crate::domain::directory::Workspace;
use crate::domain::listing::{ListedKey, ListedUser};
use crate::outbound::causes;
use crate::private_file;
use crate::subprocess::{self, ChildEnvironment};

/// All that a command works with.
pub struct Desk<'a> {
    /// Options of every command.
    pub globals: &'a Globals,
    /// The configuration.
    pub config: Config,
    /// The organization, its service and the log.
    pub office: Office,
    /// All variables that a command for a secret receives.
    pub command_environment: ChildEnvironment,
}

impl Desk<'_> {
    /// Reads the configuration and the key, and asks the service who it is.
    pub async fn open<'a>(
        globals: &'a Globals,
        environment: &Environment,
    ) -> Result<Desk<'a>, Failure> {
        let config = globals.load(environment)?;
        if !globals.quiet {
            log::for_command(environment);
        }
        let organization = one(globals, &config)?;
        check_key(&config, organization)?;
        let clock = Clock::system();
        let counts = Arc::default();
        let share = Share::Command;
        let api = wiring::command_api(organization, environment, &clock, counts, share).await?;
        let service = match organization.dialect {
            Some(dialect) => Service::of(dialect),
            None => api
                .detect_service()
                .await
                .map_err(|error| Failure::World(causes(&error)))?,
        };
        let audit = globals.audit(&config, &clock);
        let office = Office::new(organization.name.clone(), api, service, audit, clock);
        let listed = &config.secret_to_command.environment;
        Ok(Desk {
            globals,
            command_environment: subprocess::environment(environment, listed),
            config,
            office,
        })
    }

    /// Who answers.
    pub fn service(&self) -> Service {
        self.office.service
    }

    /// Refuses what the service cannot do.
    pub fn check(&self, deed: Deed) -> Result<(), Failure> {
        let told = self.service().check(deed);
        told.map_err(|error| Failure::usage(self.told(&error.to_string())))
    }

    /// With the organization's name before it.
    pub fn told(&self, text: &str) -> String {
        let name = self.office.organization.as_str();
        format!(
            "organization `{name}`: {}",
            without_organization(text, name)
        )
    }

    /// The organization as the configuration has it.
    pub fn configured(&self) -> Result<&Organization, Failure> {
        self.config
            .organization(self.office.organization.as_str())
            .map_err(Failure::usage)
    }

    /// All people, with a word on the terminal while they are read.
    pub async fn users(&self) -> Result<Vec<ListedUser>, Failure> {
        self.try_users().await.map_err(|error| failed(&error))
    }

    /// The same, for those who can do without.
    pub async fn try_users(&self) -> Result<Vec<ListedUser>, FetchError> {
        let progress = Progress::begin(self.globals, "reading people".to_owned());
        let on_page = |n_rows| progress.say(format!("reading people: {n_rows}"));
        let told = self.office.api.all_users(self.service(), &on_page).await;
        progress.end();
        self.warn_of_unreadable();
        told
    }

    /// All keys, in whatever state.
    pub async fn keys(&self) -> Result<Vec<ListedKey>, Failure> {
        self.try_keys().await.map_err(|error| failed(&error))
    }

    /// The same, for those who can do without.
    pub async fn try_keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        let progress = Progress::begin(self.globals, "reading keys".to_owned());
        let on_page = |n_rows| progress.say(format!("reading keys: {n_rows}"));
        let told = self
            .office
            .api
            .all_keys(self.service(), None, &on_page)
            .await;
        progress.end();
        self.warn_of_unreadable();
        told
    }

    /// All workspaces that are not archived.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, Failure> {
        self.try_workspaces().await.map_err(|error| failed(&error))
    }

    /// The same, for those who can do without.
    pub async fn try_workspaces(&self) -> Result<Vec<Workspace>, FetchError> {
        let told = self.office.api.all_workspaces(self.service()).await;
        self.warn_of_unreadable();
        told
    }

    /// A list that a command can do without: where it cannot be read, a warning says what is unknown then. A key that is
    /// rejected ends the command all the same.
    pub fn optional<T>(
        &self,
        unknown: &str,
        read: Result<T, FetchError>,
    ) -> Result<Option<T>, Failure> {
        self.warn_of_unreadable();
        match read {
            Ok(list) => Ok(Some(list)),
            Err(error) if error.is_rejected() => Err(failed(&error)),
            Err(error) => {
                let cause = causes(&error);
                self.globals
                    .remark(&format!("warning: {unknown} unknown: {cause}"));
                Ok(None)
            }
        }
    }

    /// Names the rows of lists that could not be read.
    pub fn warn_of_unreadable(&self) {
        for error in self.office.api.take_unreadable() {
            self.globals.remark(&format!("warning: {error}"));
        }
    }

    /// The workspace with this id or name.
    pub async fn workspace(&self, asked: &str) -> Result<Workspace, Failure> {
        let all = self.workspaces().await?;
        find_workspace(asked, &all)
            .cloned()
            .map_err(|error| Failure::usage(self.told(&error.to_string())))
    }

    /// Waits until no other command of this configuration makes something; holds others back until it is dropped, or the process
    /// ends.
    pub async fn alone(&self) -> Result<File, Failure> {
        let mut path = self.config.audit.file.clone().into_os_string();
        path.push(".commands");
        let path = PathBuf::from(path);
        let failed =
            |error: io::Error| Failure::World(format!("cannot lock `{}`: {error}", path.display()));
        let (file, _) = private_file::open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        self.globals
            .remark("waiting for another command that makes keys or invites");
        let waited = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        waited
            .map_err(|error| Failure::World(error.to_string()))?
            .map_err(failed)
    }

    /// When an invitation was last sent to each address from here, by the audit log; addresses in small letters.
    pub fn sent_invites(&self) -> Result<BTreeMap<String, Timestamp>, Failure> {
        let mut sent = BTreeMap::new();
        self.each_success("users.invite", |one| {
            sent.insert(one.target.to_lowercase(), one.at);
        })?;
        Ok(sent)
    }

    /// Ids of those who were removed from here, by the address that they had, in small letters; by the audit log.
    pub fn removed_users(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut removed = BTreeMap::new();
        self.each_success("users.remove", |one| {
            if let Some(email) = one.arguments.get("email") {
                removed.insert(email.to_lowercase(), one.target);
            }
        })?;
        Ok(removed)
    }

    fn each_success(&self, action: &str, told: impl FnMut(OneOperation)) -> Result<(), Failure> {
        let organization = self.office.organization.as_str();
        let read = self.office.audit.each_success(organization, action, told);
        read.map_err(|error| Failure::World(error.to_string()))
    }

    /// Says which outcomes do not stand in the audit log, though their intents do.
    pub fn remark_unrecorded(&self) {
        for why in self.office.unrecorded() {
            self.globals.remark(&format!(
                "warning: the outcome does not stand in the audit log, only the intent: {why}"
            ));
        }
    }

    /// Notes in the audit log that something was looked at, and how that ended. A log that cannot be written keeps nobody from
    /// looking.
    pub fn looked<T>(
        &self,
        action: &str,
        arguments: &[(&str, String)],
        told: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let error = told.as_ref().err().map(Failure::line);
        let noted = self
            .office
            .looked(action, "organization", arguments, error.as_deref());
        if let Err(error) = noted {
            self.globals.remark(&format!("warning: {error}"));
        }
        told
    }
}

/// The organization that is meant: the only one, or the one of `--org`.
fn one<'a>(globals: &Globals, config: &'a Config) -> Result<&'a Organization, Failure> {
    let meant = globals.organizations(config)?;
    match meant.as_slice() {
        [only] => Ok(only),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            Err(Failure::usage(format!(
                "several organizations are configured; say which by `--org`: {}",
                names.join(", ")
            )))
        }
    }
}

/// Why the service has no answer.
pub fn failed(error: &FetchError) -> Failure {
    Failure::World(causes(error))
}

/// What exit code a sum has: 0, 1, or 3 where some of it is done.
pub fn exit(sum: Sum) -> ExitCode {
    match sum {
        Sum::Whole => ExitCode::SUCCESS,
        Sum::Nothing => ExitCode::FAILURE,
        Sum::InPart => ExitCode::from(IN_PART),
    }
}

/// Done in part.
pub const IN_PART: u8 = 3;

/// So many days from now.
pub fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Failure> {
    // To the second: that is what services keep.
    let end = Timestamp::from_second(now.as_second() + i64::from(days) * 86_400);
    end.map_err(|_| Failure::usage(format!("{days} days from now is beyond all calendars")))
}
