//! `doctor`: checks everything that the daemon and the commands need and suggests fixes, without changing or sending anything.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;

use crate::app::wiring;
use crate::cli::globals::{CommandError, Globals, without_organization};
use crate::cli::log;
use crate::cli::output::screen::Screen;
use crate::cli::output::{OutputFormat, print};
use crate::heartbeat::Heartbeat;
use crate::table::{Cell, OutputTable, shown};
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_audit::files::AuditFiles;
use spendwatch_audit::read::verify;
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_base::private_file;
use spendwatch_base::secret::Secret;
use spendwatch_config::Config;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::secret_file;
use spendwatch_config::source::{Environment, SecretSource};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::rules::rule::{Limit, Rule};
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_notify::wording::formatting;
use spendwatch_store::Store;
use spendwatch_store::error::StoreError;

/// Maximum clock skew; beyond it, days and months are cut at other times than by the server.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Warning,
    Bad,
}

/// One check.
struct Diagnosis {
    what: &'static str,
    subject: String,
    health: Health,
    result: String,
    /// Empty if there is nothing to fix.
    fix: String,
}

#[derive(Default)]
struct Diagnoses(Vec<Diagnosis>);

impl Diagnoses {
    fn good(&mut self, what: &'static str, subject: &str, result: impl Into<String>) {
        self.add(what, subject, Health::Good, result.into(), "");
    }

    fn warning(&mut self, what: &'static str, subject: &str, result: impl Into<String>, fix: &str) {
        self.add(what, subject, Health::Warning, result.into(), fix);
    }

    fn bad(&mut self, what: &'static str, subject: &str, result: impl Into<String>, fix: &str) {
        self.add(what, subject, Health::Bad, result.into(), fix);
    }

    fn add(
        &mut self,
        what: &'static str,
        subject: &str,
        health: Health,
        result: String,
        fix: &str,
    ) {
        self.0.push(Diagnosis {
            what,
            subject: subject.to_owned(),
            health,
            result,
            fix: fix.to_owned(),
        });
    }
}

impl Doctor {
    /// Returns exit code 0 unless a check is bad; warnings do not fail.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let config = globals.read(environment)?;
        if !globals.quiet {
            log::for_command(environment);
        }
        let clock = Clock::system();
        let mut diagnoses = Diagnoses::default();
        if config.warnings.is_empty() {
            diagnoses.good("configuration", "", "no warnings");
        }
        for warning in &config.warnings {
            let result = warning.to_string();
            diagnoses.warning("configuration", "", result, "see docs/configuration.md");
        }
        for unresolved in &config.unresolved {
            let result = unresolved.problem.to_string();
            let fix = "set the variable, or correct the file or its path; required by `run`";
            diagnoses.bad("secret", "", result, fix);
        }
        for organization in globals.organizations(&config)? {
            check_service(&mut diagnoses, organization, environment, &clock).await;
        }
        check_store(&mut diagnoses, &config).await;
        check_audit(&mut diagnoses, globals, &config, &clock);
        check_files(&mut diagnoses, globals, &config, &clock);
        check_notifiers(&mut diagnoses, &config, environment).await;
        let is_bad = diagnoses
            .0
            .iter()
            .any(|diagnosis| diagnosis.health == Health::Bad);
        let exit = if is_bad {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
        Ok(match globals.output {
            OutputFormat::Table => print(&lines(&diagnoses, globals.stdout), exit),
            OutputFormat::Json | OutputFormat::Csv => globals.print(&table(&diagnoses), exit),
        })
    }
}

async fn check_service(
    diagnoses: &mut Diagnoses,
    organization: &OrganizationConfig,
    environment: &Environment,
    clock: &Clock,
) {
    let name = organization.name.as_str();
    let key = match wiring::admin_key(organization, environment).await {
        Ok(key) => key,
        Err(error) => {
            let fix = "provide the key as named in `admin_key`, or change `admin_key`";
            return diagnoses.bad("key", name, format!("{error:#}"), fix);
        }
    };
    check_key(diagnoses, name, organization, &key);
    let counts = Arc::default();
    let share = RateShare::Command;
    let api = wiring::command_api(organization, environment, clock, counts, share).await;
    let api = match api {
        Ok(api) => api,
        Err(error) => {
            let fix = "correct this `[[organizations]]` entry";
            return diagnoses.bad("service", name, format!("{error:#}"), fix);
        }
    };
    match api.detect_server().await {
        Ok(service) => {
            let result = match service {
                ServerKind::Guide => "responds in the `guide` dialect",
                ServerKind::Real => "responds as Anthropic's Admin API",
            };
            diagnoses.good("service", name, result);
            check_scopes(diagnoses, organization, &api, service).await;
        }
        Err(error) => {
            let fix =
                "check `base_url`, the key and the connection (proxy, firewall, certificates)";
            diagnoses.bad("service", name, error_chain(&error), fix);
        }
    }
    check_clock(diagnoses, name, &api);
}

/// Reports the kind of the key by its prefix, which is only a hint, and where it is stored.
fn check_key(
    diagnoses: &mut Diagnoses,
    name: &str,
    organization: &OrganizationConfig,
    key: &Secret,
) {
    let kind = match key.expose() {
        text if text.starts_with("sk-ant-admin") => "an admin key",
        text if text.starts_with("sk-ant-api") => {
            "an API key: limited to its scopes, without access if it belongs to one workspace"
        }
        text if text.starts_with("sk-ant-oat") => "an OAuth token, which expires soon",
        _ => "an unknown kind of key, as gateways use",
    };
    let result = format!("{kind}; see the Console for its expiry");
    match &organization.admin_key {
        SecretSource::Literal(_) => {
            let fix = "use a secret source instead: `{ file = … }`, `{ command = […] }`, `{ aws_secret = … }`";
            diagnoses.warning(
                "key",
                name,
                format!("{result}; written in the configuration"),
                fix,
            );
        }
        SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => diagnoses.good("key", name, result),
    }
}

async fn check_scopes(
    diagnoses: &mut Diagnoses,
    organization: &OrganizationConfig,
    api: &AdminApi,
    service: ServerKind,
) {
    let name = organization.name.as_str();
    for (what, result) in api.check_access(service).await {
        match result {
            Ok(()) => diagnoses.good("reach", name, format!("can read {what}")),
            Err(error) => {
                let fix = "give the key this scope, or avoid the commands and rules that need it";
                diagnoses.warning("reach", name, error_chain(&error), fix);
            }
        }
    }
    let dialect = match organization.dialect {
        Some(dialect) => match api.check_dialect(dialect).await {
            Ok(()) => Ok(dialect),
            Err(error) => Err(error.into()),
        },
        None => api.detect_dialect().await,
    };
    match dialect {
        Ok(dialect) => {
            let result = format!("can read usage and cost in the `{dialect}` dialect");
            diagnoses.good("reach", name, result);
        }
        Err(error) => {
            let fix = "give the key the scope to read usage; nothing can be watched without it";
            diagnoses.bad("reach", name, error_chain(&error), fix);
        }
    }
}

fn check_clock(diagnoses: &mut Diagnoses, name: &str, api: &AdminApi) {
    let Some(skew) = api.skew() else {
        let fix = "retry once the server responds";
        return diagnoses.warning("clock", name, "the server sent no date", fix);
    };
    let result = match skew.is_negative() {
        false => format!(
            "the server's clock is {} s ahead of this one",
            skew.as_secs()
        ),
        true => format!(
            "this clock is {} s ahead of the server's",
            skew.as_secs().abs()
        ),
    };
    if skew.abs() > MAX_SKEW {
        diagnoses.bad(
            "clock",
            name,
            result,
            "synchronize this machine's clock with NTP",
        );
    } else {
        diagnoses.good("clock", name, result);
    }
}

async fn check_store(diagnoses: &mut Diagnoses, config: &Config) {
    let path = config.store.path.display().to_string();
    match Store::check_file(&config.store.path).await {
        Ok(report) if report.problems.is_empty() && report.needs_migration() => {
            let result = format!(
                "intact, version {} of {}: not checked further",
                report.version, report.supported
            );
            let fix = "copy it, then start `spendwatch run`, which migrates it";
            diagnoses.warning("store", &path, result, fix);
        }
        Ok(report) if report.problems.is_empty() => {
            let result = format!("intact, {} of usage", counted(report.n_usage, "row"));
            diagnoses.good("store", &path, result);
        }
        Ok(report) => {
            let fix = "keep a copy of it and restore a backup";
            diagnoses.bad("store", &path, report.problems.join("; "), fix);
        }
        Err(StoreError::Missing { .. }) => {
            let fix = "`spendwatch run` creates it";
            diagnoses.warning("store", &path, "does not exist yet", fix);
        }
        Err(error) => {
            let fix = "check the file's owner and mode and the free disk space";
            diagnoses.bad("store", &path, error_chain(&error), fix);
        }
    }
}

fn check_audit(diagnoses: &mut Diagnoses, globals: &Globals, config: &Config, clock: &Clock) {
    let audit = globals.audit(config, clock);
    let path = audit.files().path().display().to_string();
    if let Err(error) = audit.check() {
        let fix =
            "check its owner, mode and disk; no command changes anything until it can be written";
        return diagnoses.bad("audit", &path, error.to_string(), fix);
    }
    let report = match verify(audit.files(), None) {
        Ok(report) => report,
        Err(error) => {
            let fix = "check its owner and mode";
            return diagnoses.bad("audit", &path, error.to_string(), fix);
        }
    };
    match &report.broken {
        None if report.walk.newest_at.is_none() => {
            let fix = "the first command that changes something creates it";
            diagnoses.warning("audit", &path, "does not exist yet", fix);
        }
        None => {
            let n = report.walk.n_entries;
            let result = format!("intact, {n} {}", agreeing(&n, "entry", "entries"));
            diagnoses.good("audit", &path, result);
        }
        Some(broken) if report.walk.is_only_without_beginning() => {
            let fix = "if they are kept elsewhere, verify with their last hash as `--anchor`";
            diagnoses.warning("audit", &path, broken.to_string(), fix);
        }
        Some(broken) => {
            let fix = "find out who changed it: run `spendwatch audit verify` and compare with an older copy";
            diagnoses.bad("audit", &path, broken.to_string(), fix);
        }
    }
}

/// Checks owner and mode of each file and its folder.
fn check_files(diagnoses: &mut Diagnoses, globals: &Globals, config: &Config, clock: &Clock) {
    let audit = globals.audit(config, clock);
    let mut folders = BTreeSet::new();
    for path in own_files(config, audit.files()) {
        folders.insert(private_file::folder_of(&path).to_owned());
        check_file(diagnoses, &path, ExpectedAccess::Own);
    }
    for path in named_files(config) {
        check_file(diagnoses, &path, ExpectedAccess::Trusted);
    }
    for path in secret_files(config) {
        check_file(diagnoses, &path, ExpectedAccess::Secret);
    }
    for folder in folders {
        check_folder(diagnoses, &folder);
    }
}

/// Expected protection of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedAccess {
    /// Created by spendwatch, with mode 0600.
    Own,
    /// Contains a secret. Links are followed, because containers provide secrets through them.
    Secret,
    /// Others may read it.
    Trusted,
}

fn own_files(config: &Config, audit: &AuditFiles) -> Vec<PathBuf> {
    let store = &config.store.path;
    let beside = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let mut files = vec![store.clone()];
    files.extend(["-wal", "-shm", "-journal", ".lock"].map(|ending| beside(store, ending)));
    files.extend(audit.older_paths());
    files.push(audit.path().to_owned());
    files.extend([audit.head_path(), beside(audit.path(), ".commands")]);
    files
}

fn named_files(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.file.iter().cloned().collect();
    files.extend(config.prices.file.clone());
    let limits = config.rules.iter().filter_map(Rule::period_limit);
    files.extend(limits.filter_map(|limit| match &limit.limit {
        Limit::Budget(budget) => budget.origin.as_ref().map(PathBuf::from),
        Limit::Fixed(_) | Limit::Workspace | Limit::Organization => None,
    }));
    let of_organizations = config.organizations.iter();
    files.extend(of_organizations.filter_map(|organization| organization.ca_file.clone()));
    files
}

fn secret_files(config: &Config) -> BTreeSet<PathBuf> {
    let mut sources: Vec<&SecretSource> = config
        .organizations
        .iter()
        .map(|organization| &organization.admin_key)
        .collect();
    sources.extend(config.notifiers.iter().flat_map(|one| one.kind.secrets()));
    sources.extend(config.heartbeat.iter().map(|heartbeat| &heartbeat.url));
    sources.extend(&config.http.bearer_token);
    let files = sources.into_iter().filter_map(|source| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Literal(_)
        | SecretSource::Env(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => None,
    });
    files.collect()
}

fn check_file(diagnoses: &mut Diagnoses, path: &Path, access: ExpectedAccess) {
    let shown = path.display().to_string();
    let found = match access {
        ExpectedAccess::Own => path.symlink_metadata(),
        ExpectedAccess::Secret | ExpectedAccess::Trusted => path.metadata(),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == ExpectedAccess::Own => {
            return;
        }
        Err(error) => {
            let fix = "correct the path, or the owner and mode of its folders";
            return diagnoses.bad("file", &shown, error.to_string(), fix);
        }
    };
    if access == ExpectedAccess::Own
        && let Err(refused) = private_file::check(path, &found)
    {
        let fix = "move it away; spendwatch creates a new one";
        return diagnoses.bad("file", &shown, refused.to_string(), fix);
    }
    let (mode, owner) = (found.mode() & 0o777, found.uid());
    let result = format!("owner {owner}, mode {mode:04o}");
    let is_protected_secret =
        access == ExpectedAccess::Secret && !secret_file::is_read_by_others(path);
    if found.is_file() && mode & 0o022 != 0 {
        let result = format!("others can write it: {result}");
        diagnoses.bad("file", &shown, result, &format!("run `chmod go-w {shown}`"));
    } else if access != ExpectedAccess::Trusted && mode & 0o044 != 0 && !is_protected_secret {
        let result = format!("others can read it: {result}");
        diagnoses.warning("file", &shown, result, &format!("run `chmod 600 {shown}`"));
    } else if is_foreign_owner(owner, path) {
        let result = format!("belongs to another user: {result}");
        let fix = "change its owner to the user who runs spendwatch, or to root";
        diagnoses.warning("file", &shown, result, fix);
    } else {
        diagnoses.good("file", &shown, result);
    }
}

/// Returns whether the owner is neither this user, root, nor the folder's owner. The latter allows root to check the files of a
/// daemon that runs as another user.
fn is_foreign_owner(owner: u32, path: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    let of_folder = private_file::folder_of(path)
        .metadata()
        .map(|found| found.uid());
    owner != 0 && owner != ours && of_folder.map_or(true, |of_folder| of_folder != owner)
}

fn check_folder(diagnoses: &mut Diagnoses, folder: &Path) {
    let shown = folder.display().to_string();
    let found = match folder.metadata() {
        Ok(found) => found,
        Err(error) => {
            let fix =
                format!("create it for the user who runs spendwatch: `install -d -m 0700 {shown}`");
            return diagnoses.bad("folder", &shown, error.to_string(), &fix);
        }
    };
    let result = format!("owner {}, mode {:04o}", found.uid(), found.mode() & 0o7777);
    let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    let is_root = rustix::process::geteuid().is_root();
    if !found.is_dir() {
        diagnoses.bad("folder", &shown, "is not a folder", "correct the path");
    } else if let Err(error) = private_file::check_writable(folder) {
        let result = format!("cannot be written: {error}; {result}");
        diagnoses.bad(
            "folder",
            &shown,
            result,
            "change its owner to the user who runs spendwatch",
        );
    } else if found.mode() & 0o002 != 0 {
        let result = format!("everyone can create, and often replace, files in it: {result}");
        diagnoses.bad(
            "folder",
            &shown,
            result,
            "use a folder that only the user who runs spendwatch can write",
        );
    } else if found.mode() & 0o020 != 0 {
        let result = format!("its group can replace files in it: {result}");
        diagnoses.warning(
            "folder",
            &shown,
            result,
            &format!("run `chmod g-w {shown}`"),
        );
    } else if !is_ours && !is_root {
        let result = format!("belongs to another user: {result}");
        diagnoses.warning(
            "folder",
            &shown,
            result,
            "change its owner to the user who runs spendwatch",
        );
    } else {
        diagnoses.good("folder", &shown, result);
    }
}

/// Checks secrets and settings of notifiers and heartbeat, without sending anything.
async fn check_notifiers(diagnoses: &mut Diagnoses, config: &Config, environment: &Environment) {
    if config.notifiers.is_empty() {
        let fix = "add `[[notifiers]]`; without one, alerts go to the console";
        diagnoses.warning("notifier", "", "none configured", fix);
    }
    for configured in &config.notifiers {
        let name = configured.name.as_str();
        match wiring::notifier(configured, environment).await {
            Ok(_) => {
                let result = format!("ready; `spendwatch notify test {name}` sends a message");
                diagnoses.good("notifier", name, result);
            }
            Err(error) => {
                let fix = "correct its secret or address";
                diagnoses.bad("notifier", name, format!("{error:#}"), fix);
            }
        }
    }
    if let Some(heartbeat) = &config.heartbeat {
        match Heartbeat::from_config(heartbeat, environment).await {
            Ok(_) => diagnoses.good("heartbeat", "", "ready"),
            Err(error) => {
                diagnoses.bad("heartbeat", "", format!("{error:#}"), "correct its address");
            }
        }
    }
}

impl Health {
    const fn as_str(self) -> &'static str {
        match self {
            Health::Good => "ok",
            Health::Warning => "warning",
            Health::Bad => "bad",
        }
    }
}

/// Column of the text, after the health word.
const INDENT: usize = 9;

/// Renders a line per check, followed by its fix.
fn lines(diagnoses: &Diagnoses, screen: Screen) -> String {
    let mut text = String::new();
    for Diagnosis {
        what,
        subject,
        health,
        result,
        fix,
    } in &diagnoses.0
    {
        let subject_text = if subject.is_empty() {
            String::new()
        } else {
            format!(" {}", formatting::single_line(subject))
        };
        let word = health.as_str();
        let first = format!("{}{:2$}", screen.colored(word), "", INDENT - word.len());
        let result = format!(
            "{what}{subject_text}: {}",
            formatting::single_line(&without_organization(result, subject))
        );
        text.push_str(&screen.hanging(&first, INDENT, &result));
        if !fix.is_empty() {
            let first = format!("{:INDENT$}-> ", "");
            text.push_str(&screen.hanging(&first, INDENT + 3, fix));
        }
    }
    text
}

fn table(diagnoses: &Diagnoses) -> OutputTable {
    let row = |diagnosis: &Diagnosis| {
        let health = diagnosis.health.as_str();
        let text = |text: &str| Cell::text_or_empty((!text.is_empty()).then_some(text));
        let fix = &diagnosis.fix;
        vec![
            Cell::Text(health.to_owned()),
            Cell::Text(diagnosis.what.to_owned()),
            text(&diagnosis.subject),
            Cell::Prose(diagnosis.result.clone()),
            if fix.is_empty() {
                Cell::Empty
            } else {
                Cell::Prose(fix.clone())
            },
        ]
    };
    OutputTable {
        columns: vec![
            shown("health", "HEALTH"),
            shown("what", "CHECK"),
            shown("of", "SUBJECT"),
            shown("told", "RESULT"),
            shown("mend", "TO FIX"),
        ],
        rows: diagnoses.0.iter().map(row).collect(),
    }
}
