//! `doctor`: looks at all that a daemon and the commands need, changes and sends nothing, and says what to mend.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;

use crate::anthropic::AdminApi;
use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::audit::files::Files;
use crate::audit::read::verify;
use crate::cli::globals::{Failure, Globals, without_organization};
use crate::cli::log;
use crate::cli::output::{Format, Screen, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::secret_file;
use crate::config::source::{Environment, SecretSource};
use crate::domain::admin::service::Service;
use crate::domain::plural::{agreeing, counted};
use crate::domain::rule::Limit;
use crate::heartbeat::Heartbeat;
use crate::notify::formatting;
use crate::outbound::causes;
use crate::private_file;
use crate::secret::Secret;
use crate::sheet::{Cell, Sheet, shown};
use crate::store::Store;
use crate::store::error::StoreError;

/// A clock that is further off cuts days and months elsewhere than the service does.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Look at everything.
#[derive(Debug, Args)]
pub struct Doctor {}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Warning,
    Bad,
}

/// One look.
struct Finding {
    what: &'static str,
    of: String,
    health: Health,
    told: String,
    /// What to do; empty where nothing is to be done.
    mend: String,
}

/// All looks so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, what: &'static str, of: &str, told: impl Into<String>) {
        self.add(what, of, Health::Good, told.into(), "");
    }

    fn warning(&mut self, what: &'static str, of: &str, told: impl Into<String>, mend: &str) {
        self.add(what, of, Health::Warning, told.into(), mend);
    }

    fn bad(&mut self, what: &'static str, of: &str, told: impl Into<String>, mend: &str) {
        self.add(what, of, Health::Bad, told.into(), mend);
    }

    fn add(&mut self, what: &'static str, of: &str, health: Health, told: String, mend: &str) {
        self.0.push(Finding {
            what,
            of: of.to_owned(),
            health,
            told,
            mend: mend.to_owned(),
        });
    }
}

impl Doctor {
    /// 0 where nothing is bad; warnings are no failure.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let config = globals.read(environment)?;
        if !globals.quiet {
            log::for_command(environment);
        }
        let clock = Clock::system();
        let mut findings = Findings::default();
        if config.warnings.is_empty() {
            findings.good("configuration", "", "nothing to remark");
        }
        for warning in &config.warnings {
            let told = warning.to_string();
            findings.warning("configuration", "", told, "see docs/configuration.md");
        }
        for unresolved in &config.unresolved {
            let told = unresolved.problem.to_string();
            let mend = "set the variable, or correct the file or its path; `run` needs it";
            findings.bad("secret", "", told, mend);
        }
        for organization in globals.organizations(&config)? {
            look_at_service(&mut findings, organization, environment, &clock).await;
        }
        look_at_store(&mut findings, &config).await;
        look_at_audit(&mut findings, globals, &config, &clock);
        look_at_files(&mut findings, globals, &config, &clock);
        look_at_receivers(&mut findings, &config, environment).await;
        let is_bad = findings
            .0
            .iter()
            .any(|finding| finding.health == Health::Bad);
        let exit = if is_bad {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
        Ok(match globals.output {
            Format::Table => print(&lines(&findings, globals.stdout), exit),
            Format::Json | Format::Csv => globals.print(&sheet(&findings), exit),
        })
    }
}

async fn look_at_service(
    findings: &mut Findings,
    organization: &Organization,
    environment: &Environment,
    clock: &Clock,
) {
    let name = organization.name.as_str();
    let key = match wiring::admin_key(organization, environment).await {
        Ok(key) => key,
        Err(error) => {
            let mend = "put the key where `admin_key` says, or say where it is";
            return findings.bad("key", name, format!("{error:#}"), mend);
        }
    };
    look_at_key(findings, name, organization, &key);
    let counts = Arc::default();
    let share = Share::Command;
    let api = wiring::command_api(organization, environment, clock, counts, share).await;
    let api = match api {
        Ok(api) => api,
        Err(error) => {
            let mend = "mend the `[[organizations]]` that is named";
            return findings.bad("service", name, format!("{error:#}"), mend);
        }
    };
    match api.detect_service().await {
        Ok(service) => {
            let told = match service {
                Service::Guide => "answers, in the `guide` dialect",
                Service::Real => "answers, as Anthropic's Admin API",
            };
            findings.good("service", name, told);
            look_at_reach(findings, organization, &api, service).await;
        }
        Err(error) => {
            let mend = "look at `base_url`, the key, and the way to the service (proxy, firewall, certificates)";
            findings.bad("service", name, causes(&error), mend);
        }
    }
    look_at_clock(findings, name, &api);
}

/// Its kind, by what it begins with, which is a hint and no test; and who can read it.
fn look_at_key(findings: &mut Findings, name: &str, organization: &Organization, key: &Secret) {
    let kind = match key.expose() {
        text if text.starts_with("sk-ant-admin") => "an admin key",
        text if text.starts_with("sk-ant-api") => {
            "an API key: it reaches what its scopes say, and nothing where it is of one workspace"
        }
        text if text.starts_with("sk-ant-oat") => "an OAuth token, which does not last",
        _ => "of a kind that is not known here, as those of gateways are",
    };
    let told = format!("{kind}; the service tells nobody when it ends, the Console does");
    match &organization.admin_key {
        SecretSource::Literal(_) => {
            let mend = "name where it comes from: `{ file = … }`, `{ command = […] }`, `{ aws_secret = … }`";
            findings.warning(
                "key",
                name,
                format!("{told}; it stands in the configuration"),
                mend,
            );
        }
        SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => findings.good("key", name, told),
    }
}

async fn look_at_reach(
    findings: &mut Findings,
    organization: &Organization,
    api: &AdminApi,
    service: Service,
) {
    let name = organization.name.as_str();
    for (what, told) in api.reach(service).await {
        match told {
            Ok(()) => findings.good("reach", name, format!("may read {what}")),
            Err(error) => {
                let mend = "give the key the scope for it, or do without the commands and rules that need it";
                findings.warning("reach", name, causes(&error), mend);
            }
        }
    }
    let dialect = match organization.dialect {
        Some(dialect) => match api.try_dialect(dialect).await {
            Ok(()) => Ok(dialect),
            Err(error) => Err(error.into()),
        },
        None => api.detect_dialect().await,
    };
    match dialect {
        Ok(dialect) => {
            let told = format!("may read usage and cost, by the dialect `{dialect}`");
            findings.good("reach", name, told);
        }
        Err(error) => {
            let mend = "without usage there is nothing to watch: give the key the scope for it";
            findings.bad("reach", name, causes(&error), mend);
        }
    }
}

fn look_at_clock(findings: &mut Findings, name: &str, api: &AdminApi) {
    let Some(skew) = api.skew() else {
        let mend = "ask again when the service answers";
        return findings.warning("clock", name, "the service has not told the time", mend);
    };
    let told = match skew.is_negative() {
        false => format!(
            "the service's clock is {} s ahead of this one",
            skew.as_secs()
        ),
        true => format!(
            "this clock is {} s ahead of the service's",
            skew.as_secs().abs()
        ),
    };
    if skew.abs() > MAX_SKEW {
        findings.bad("clock", name, told, "let NTP set this machine's clock");
    } else {
        findings.good("clock", name, told);
    }
}

async fn look_at_store(findings: &mut Findings, config: &Config) {
    let path = config.store.path.display().to_string();
    match Store::check_file(&config.store.path).await {
        Ok(report) if report.problems.is_empty() && report.is_old() => {
            let told = format!(
                "intact, version {} of {}: not checked further",
                report.version, report.supported
            );
            let mend = "start `spendwatch run`, which migrates it; make a copy first";
            findings.warning("store", &path, told, mend);
        }
        Ok(report) if report.problems.is_empty() => {
            let told = format!("whole, {} of usage", counted(report.n_usage, "row"));
            findings.good("store", &path, told);
        }
        Ok(report) => {
            let mend = "keep a copy of it, and put back a backup";
            findings.bad("store", &path, report.problems.join("; "), mend);
        }
        Err(StoreError::Missing { .. }) => {
            let mend = "`spendwatch run` makes it";
            findings.warning("store", &path, "there is none yet", mend);
        }
        Err(error) => {
            let mend = "look at the file's owner, its mode and the room on its disk";
            findings.bad("store", &path, causes(&error), mend);
        }
    }
}

fn look_at_audit(findings: &mut Findings, globals: &Globals, config: &Config, clock: &Clock) {
    let audit = globals.audit(config, clock);
    let path = audit.files().path().display().to_string();
    if let Err(error) = audit.check() {
        let mend = "no command changes anything before it can be written: look at its owner, mode and disk";
        return findings.bad("audit", &path, error.to_string(), mend);
    }
    let report = match verify(audit.files(), None) {
        Ok(report) => report,
        Err(error) => {
            let mend = "look at its owner and mode";
            return findings.bad("audit", &path, error.to_string(), mend);
        }
    };
    match &report.broken {
        None if report.walk.newest_at.is_none() => {
            let mend = "the first command that changes something makes it";
            findings.warning("audit", &path, "there is none yet", mend);
        }
        None => {
            let n = report.walk.n_entries;
            let told = format!("whole, {n} {}", agreeing(&n, "entry", "entries"));
            findings.good("audit", &path, told);
        }
        Some(broken) if report.walk.is_only_without_beginning() => {
            let mend =
                "if they are kept elsewhere, verify with the last hash of theirs as `--anchor`";
            findings.warning("audit", &path, broken.to_string(), mend);
        }
        Some(broken) => {
            let mend = "find out who changed it (`spendwatch audit verify` names everything); a copy from before shows what was there";
            findings.bad("audit", &path, broken.to_string(), mend);
        }
    }
}

/// Who can read and write each file, and the folders that they are in.
fn look_at_files(findings: &mut Findings, globals: &Globals, config: &Config, clock: &Clock) {
    let audit = globals.audit(config, clock);
    let mut folders = BTreeSet::new();
    for path in own_files(config, audit.files()) {
        folders.insert(private_file::folder_of(&path).to_owned());
        look_at_file(findings, &path, Access::Own);
    }
    for path in named_files(config) {
        look_at_file(findings, &path, Access::Trusted);
    }
    for path in secret_files(config) {
        look_at_file(findings, &path, Access::Secret);
    }
    for folder in folders {
        look_at_folder(findings, &folder);
    }
}

/// What is expected of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Created by spendwatch, with mode 0600.
    Own,
    /// Holds a secret; links are followed, as containers hand secrets over by them.
    Secret,
    /// Others may read it.
    Trusted,
}

fn own_files(config: &Config, audit: &Files) -> Vec<PathBuf> {
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
    files.extend(config.rules.iter().filter_map(|rule| match &rule.limit {
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

fn look_at_file(findings: &mut Findings, path: &Path, access: Access) {
    let shown = path.display().to_string();
    let found = match access {
        Access::Own => path.symlink_metadata(),
        Access::Secret | Access::Trusted => path.metadata(),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Own => return,
        Err(error) => {
            let mend = "correct the path, or the owner and mode of its folders";
            return findings.bad("file", &shown, error.to_string(), mend);
        }
    };
    if access == Access::Own
        && let Err(refused) = private_file::check(path, &found)
    {
        let mend = "move it away; spendwatch creates it anew";
        return findings.bad("file", &shown, refused.to_string(), mend);
    }
    let (mode, owner) = (found.mode() & 0o777, found.uid());
    let told = format!("owner {owner}, mode {mode:04o}");
    let is_handed_over = access == Access::Secret && !secret_file::is_read_by_others(path);
    if found.is_file() && mode & 0o022 != 0 {
        let told = format!("others can write it: {told}");
        findings.bad("file", &shown, told, &format!("run `chmod go-w {shown}`"));
    } else if access != Access::Trusted && mode & 0o044 != 0 && !is_handed_over {
        let told = format!("others can read it: {told}");
        findings.warning("file", &shown, told, &format!("run `chmod 600 {shown}`"));
    } else if is_a_strangers(owner, path) {
        let told = format!("belongs to another user: {told}");
        let mend = "change its owner to the user who runs spendwatch, or to root";
        findings.warning("file", &shown, told, mend);
    } else {
        findings.good("file", &shown, told);
    }
}

/// Not this user, nor root, nor whoever owns the folder: root looks at the files of a daemon that runs as another user.
fn is_a_strangers(owner: u32, path: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    let of_folder = private_file::folder_of(path)
        .metadata()
        .map(|found| found.uid());
    owner != 0 && owner != ours && of_folder.map_or(true, |of_folder| of_folder != owner)
}

fn look_at_folder(findings: &mut Findings, folder: &Path) {
    let shown = folder.display().to_string();
    let found = match folder.metadata() {
        Ok(found) => found,
        Err(error) => {
            let mend =
                format!("create it for the user who runs spendwatch: `install -d -m 0700 {shown}`");
            return findings.bad("folder", &shown, error.to_string(), &mend);
        }
    };
    let told = format!("owner {}, mode {:04o}", found.uid(), found.mode() & 0o7777);
    let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    let is_root = rustix::process::geteuid().is_root();
    if !found.is_dir() {
        findings.bad("folder", &shown, "is no folder", "correct the path");
    } else if let Err(error) = private_file::check_writable(folder) {
        let told = format!("cannot be written: {error}; {told}");
        findings.bad(
            "folder",
            &shown,
            told,
            "change its owner to the user who runs spendwatch",
        );
    } else if found.mode() & 0o002 != 0 {
        let told = format!("everyone can create, and often replace, files in it: {told}");
        findings.bad(
            "folder",
            &shown,
            told,
            "use a folder that only the user who runs spendwatch can write",
        );
    } else if found.mode() & 0o020 != 0 {
        let told = format!("its group can replace files in it: {told}");
        findings.warning("folder", &shown, told, &format!("run `chmod g-w {shown}`"));
    } else if !is_ours && !is_root {
        let told = format!("belongs to another user: {told}");
        findings.warning(
            "folder",
            &shown,
            told,
            "change its owner to the user who runs spendwatch",
        );
    } else {
        findings.good("folder", &shown, told);
    }
}

/// Their secrets and settings; nothing is sent.
async fn look_at_receivers(findings: &mut Findings, config: &Config, environment: &Environment) {
    if config.notifiers.is_empty() {
        let mend = "add a `[[notifiers]]`: else alerts go to the console";
        findings.warning("notifier", "", "none is configured", mend);
    }
    for configured in &config.notifiers {
        let name = configured.name.as_str();
        match wiring::notifier(configured, environment).await {
            Ok(_) => {
                let told = format!("ready; `spendwatch notify test {name}` sends a message");
                findings.good("notifier", name, told);
            }
            Err(error) => {
                let mend = "mend its secret or its address";
                findings.bad("notifier", name, format!("{error:#}"), mend);
            }
        }
    }
    if let Some(heartbeat) = &config.heartbeat {
        match Heartbeat::configured(heartbeat, environment).await {
            Ok(_) => findings.good("heartbeat", "", "ready"),
            Err(error) => findings.bad("heartbeat", "", format!("{error:#}"), "mend its address"),
        }
    }
}

impl Health {
    const fn word(self) -> &'static str {
        match self {
            Health::Good => "ok",
            Health::Warning => "warning",
            Health::Bad => "bad",
        }
    }
}

/// Where the texts begin behind the words of health.
const INDENT: usize = 9;

/// A line for each look, and below it what to do.
fn lines(findings: &Findings, screen: Screen) -> String {
    let mut text = String::new();
    for Finding {
        what,
        of,
        health,
        told,
        mend,
    } in &findings.0
    {
        let of_it = if of.is_empty() {
            String::new()
        } else {
            format!(" {}", formatting::line(of))
        };
        let word = health.word();
        let first = format!("{}{:2$}", screen.colored(word), "", INDENT - word.len());
        let told = format!(
            "{what}{of_it}: {}",
            formatting::line(&without_organization(told, of))
        );
        text.push_str(&screen.hanging(&first, INDENT, &told));
        if !mend.is_empty() {
            let first = format!("{:INDENT$}-> ", "");
            text.push_str(&screen.hanging(&first, INDENT + 3, mend));
        }
    }
    text
}

fn sheet(findings: &Findings) -> Sheet {
    let row = |finding: &Finding| {
        let health = finding.health.word();
        let text = |text: &str| Cell::text_or_empty((!text.is_empty()).then_some(text));
        let mend = &finding.mend;
        vec![
            Cell::Text(health.to_owned()),
            Cell::Text(finding.what.to_owned()),
            text(&finding.of),
            Cell::Prose(finding.told.clone()),
            if mend.is_empty() {
                Cell::Empty
            } else {
                Cell::Prose(mend.clone())
            },
        ]
    };
    Sheet {
        columns: vec![
            shown("health", "HEALTH"),
            shown("what", "WHAT"),
            shown("of", "OF"),
            shown("told", "TOLD"),
            shown("mend", "TO MEND IT"),
        ],
        rows: findings.0.iter().map(row).collect(),
    }
}
