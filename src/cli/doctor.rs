//! `doctor`: looks at all that a daemon and the commands need, changes and sends nothing, and says what to mend.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;

use crate::anthropic::AdminApi;
use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::audit::read::verify;
use crate::cli::globals::{Failure, Globals};
use crate::cli::log;
use crate::cli::output::{Format, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::source::{Environment, SecretSource};
use crate::domain::admin::service::Service;
use crate::heartbeat::Heartbeat;
use crate::notify::words;
use crate::outbound::causes;
use crate::secret::Secret;
use crate::sheet::{Cell, Sheet, shown};
use crate::store::Store;

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
        for organization in globals.organizations(&config)? {
            look_at_service(&mut findings, organization, environment, &clock).await;
        }
        look_at_store(&mut findings, &config, &clock).await;
        look_at_audit(&mut findings, globals, &config, &clock);
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
            Format::Table => print(&lines(&findings), exit),
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
            look_at_reach(findings, name, &api, service).await;
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

async fn look_at_reach(findings: &mut Findings, name: &str, api: &AdminApi, service: Service) {
    for (what, told) in api.reach(service).await {
        match told {
            Ok(()) => findings.good("reach", name, format!("may read {what}")),
            Err(error) => {
                let mend = "give the key the scope for it, or do without the commands and rules that need it";
                findings.warning("reach", name, causes(&error), mend);
            }
        }
    }
    match api.detect_dialect().await {
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
    let told = format!(
        "the service's clock is {} s ahead of this one",
        skew.as_secs()
    );
    if skew.abs() > MAX_SKEW {
        findings.bad("clock", name, told, "let NTP set this machine's clock");
    } else {
        findings.good("clock", name, told);
    }
}

async fn look_at_store(findings: &mut Findings, config: &Config, clock: &Clock) {
    let path = config.store.path.display().to_string();
    if !config.store.path.exists() {
        let mend = "`spendwatch run` makes it";
        return findings.warning("store", &path, "there is none yet", mend);
    }
    let report = match Store::open_for_command(&config.store.path, clock.now()) {
        Ok(store) => store.check().await,
        Err(error) => Err(error),
    };
    match report {
        Ok(report) if report.problems.is_empty() => {
            let told = format!("whole, {} rows of usage", report.n_usage);
            findings.good("store", &path, told);
        }
        Ok(report) => {
            let mend = "keep a copy of it, and put back a backup";
            findings.bad("store", &path, report.problems.join("; "), mend);
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
    if !audit.files().path().exists() {
        let mend = "the first command that changes something makes it";
        return findings.warning("audit", &path, "there is none yet", mend);
    }
    if let Err(error) = audit.check() {
        let mend = "no command changes anything before it can be written: look at its owner, mode and disk";
        return findings.bad("audit", &path, error.to_string(), mend);
    }
    match verify(audit.files(), None) {
        Ok(report) => match report.broken {
            None => {
                let told = format!("whole, {} entries", report.walk.n_entries);
                findings.good("audit", &path, told);
            }
            Some(broken) => {
                let mend = "find out who changed it; a copy from before shows what was there";
                findings.bad("audit", &path, broken.to_string(), mend);
            }
        },
        Err(error) => findings.bad(
            "audit",
            &path,
            error.to_string(),
            "look at its owner and mode",
        ),
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

/// A line for each look, and below it what to do.
fn lines(findings: &Findings) -> String {
    let mut text = String::new();
    for Finding {
        what,
        of,
        health,
        told,
        mend,
    } in &findings.0
    {
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" {}", words::line(of))
        };
        let told = words::line(told);
        text.push_str(&format!("{:<8} {what}{of}: {told}\n", health.word()));
        if !mend.is_empty() {
            text.push_str(&format!("         -> {mend}\n"));
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
