//! `run`: the daemon.

use std::net::TcpListener;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::net::TcpSocket;

use crate::cli::globals::{CommandError, Globals};
use crate::cli::log::{self, LogOverrides};
use crate::daemon::signals::Signals;
use crate::daemon::{Daemon, DaemonParts, ReloadFrom};
use spendwatch_audit::AuditLog;
use spendwatch_audit::head::ChainHead;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::process;
use spendwatch_config::Config;
use spendwatch_config::file::{DEFAULT_FILE, LOCAL_FILE};
use spendwatch_config::source::Environment;
use spendwatch_domain::rules::rule::Rule;
use spendwatch_store::Store;

/// Maximum number of connections not yet accepted, large enough for a burst of idle ones.
const BACKLOG: u32 = 1024;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Log level: error, warn, info, debug, trace, or a filter like `spendwatch=debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log format
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Run {
    /// Runs until a signal, then returns 0. Startup errors return 2 for the configuration and 1 for the rest.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let (daemon, signals) = self.start(globals, environment).await?;
        daemon.run(signals).await;
        Ok(ExitCode::SUCCESS)
    }

    async fn start(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<(Daemon, Signals), CommandError> {
        let mut config = globals.read_with_all_secrets(environment)?;
        if let Some(name) = &globals.org {
            config = config.with_only(name).map_err(CommandError::usage)?;
        }
        let overrides = LogOverrides {
            level: self.log_level.clone(),
            is_json: self.log_format.map(|format| format == LogFormat::Json),
        };
        let log = log::begin(&config.log, overrides, environment).map_err(CommandError::usage)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        log_configuration(&config);
        if let Err(error) = process::raise_descriptor_limit() {
            tracing::warn!("cannot raise the limit of open files: {error}");
        }
        let clock = Clock::system();
        let signals = Signals::listen()
            .map_err(|error| CommandError::Failed(format!("cannot handle signals: {error}")))?;
        let store = Store::open_for_daemon(&config.store.path, clock.now())?;
        let listener = listen(&config).map_err(CommandError::Failed)?;
        let audit = globals.audit(&config, &clock);
        log_audit_head(&audit);
        let start = DaemonParts {
            reload_from: ReloadFrom::Same {
                file: globals.config.clone(),
                only: globals.org.clone(),
            },
            environment: environment.clone(),
            store,
            clock,
            random: Random::System,
            audit: Some(audit),
            listener,
            set_log: Box::new(move |section| log.set(section)),
            config,
        };
        let daemon = Daemon::start(start)
            .await
            .map_err(|error| CommandError::usage(format!("{error:#}")))?;
        tracing::info!("watching; metrics at http://{}/metrics", daemon.address());
        Ok((daemon, signals))
    }
}

/// Logs what the daemon watches, and warns if no rule can alert.
fn log_configuration(config: &Config) {
    match &config.file {
        Some(file) => tracing::info!("read the configuration file `{}`", file.display()),
        None => tracing::info!(
            "no configuration file `{LOCAL_FILE}` or `{DEFAULT_FILE}`, using environment variables"
        ),
    }
    let organizations = config.organizations.iter();
    let organizations = counted("organization", organizations.map(|one| one.name.as_str()));
    let rules = counted("rule", config.rules.iter().map(|one| one.name.as_str()));
    let notifiers = config.notifiers.iter();
    let notifiers = counted("notifier", notifiers.map(|one| one.name.as_str()));
    tracing::info!("watching {organizations} with {rules} and {notifiers}");
    if let Some(reason) = why_no_alerts(config) {
        tracing::warn!("no rule can alert: {reason}");
    }
}

/// `2 rules (a, b)`.
fn counted<'a>(noun: &str, names: impl Iterator<Item = &'a str>) -> String {
    const MAX_NAMES: usize = 10;
    let names: Vec<&str> = names.collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let first = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len() {
        0 => format!("no {noun}s"),
        count if count > MAX_NAMES => {
            format!("{count} {noun}s ({first} and {} more)", count - MAX_NAMES)
        }
        count => format!("{count} {noun}{plural} ({first})"),
    }
}

/// Returns the reason if no rule can alert anyone.
fn why_no_alerts(config: &Config) -> Option<&'static str> {
    if config.rules.is_empty() {
        return Some("none is configured and enabled; add `[[rules]]`");
    }
    let mut matching = config.rules.iter().filter(|rule| {
        let glob = rule.matcher.organization.as_ref();
        let mut organizations = config.organizations.iter();
        glob.is_none_or(|glob| organizations.any(|one| glob.matches(one.name.as_str())))
    });
    let notifies = |rule: &Rule| {
        let of_teams = config.teams.iter().flat_map(|team| &team.notify);
        let of_teams = of_teams.filter(|_| rule.uses_default_notifiers);
        let mut names = rule.notify.iter().chain(of_teams);
        names.any(|name| {
            let mut notifiers = config.notifiers.iter();
            notifiers.any(|notifier| {
                let min_severity = notifier.min_severity;
                let mut thresholds = rule.thresholds.iter();
                notifier.name == *name
                    && thresholds.any(|threshold| threshold.severity >= min_severity)
            })
        })
    };
    if !matching.any(notifies) {
        return Some(
            "each one has no notifiers, stays below `min_severity` of its notifiers, or matches none of the organizations",
        );
    }
    None
}

/// Logs the newest audit entry. Its hash in a log stored elsewhere reveals a rebuilt chain.
fn log_audit_head(audit: &AuditLog) {
    match audit.newest() {
        Ok(Some(ChainHead { seq, hash })) => tracing::info!(
            seq,
            hash = hash.as_str(),
            "the newest entry of the audit log is {seq}, with hash {hash}"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!("{error}"),
    }
}

fn listen(config: &Config) -> Result<TcpListener, String> {
    let address = config.http.listen;
    let failed = |error: std::io::Error| {
        format!(
            "cannot listen on {address}: {error} (is another daemon running? Set another `listen` in `[http]`)"
        )
    };
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listen = |socket: TcpSocket| {
        // Allows a restart while old connections still occupy the port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    socket.and_then(listen).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_config as config;

    #[track_caller]
    fn check(rest: &str, expected: Option<&str>) {
        let environment = [("KEY".to_owned(), "canary".to_owned())].into();
        let text =
            format!("[[organizations]]\nname = \"acme\"\nadmin_key = {{ env = \"KEY\" }}\n{rest}");
        let config = config::read(&text, None, &environment).unwrap();
        let reason = why_no_alerts(&config);
        let is_expected = match (reason, expected) {
            (Some(reason), Some(expected)) => reason.starts_with(expected),
            (reason, expected) => reason == expected,
        };
        assert!(is_expected, "{rest}: {reason:?}");
    }

    #[test]
    fn recognizes_rules_that_cannot_alert() {
        let rule = "[[rules]]\nname = \"a\"\nlimit_usd = 1\n";
        let mild = "thresholds = [{ at = \"50%\", severity = \"warning\" }]\n";
        let critical =
            "[[notifiers]]\nname = \"b\"\ntype = \"console\"\nmin_severity = \"critical\"\n";
        check("", Some("none is configured"));
        check(
            &format!("{rule}enabled = false\n"),
            Some("none is configured"),
        );
        check(rule, None);
        check(
            &format!("{rule}notify = []\n"),
            Some("each one has no notifiers"),
        );
        check(
            &format!("{rule}notify = []\n[[rules]]\nname = \"c\"\nlimit_usd = 2\n"),
            None,
        );
        check(
            &format!("{rule}{mild}{critical}"),
            Some("each one has no notifiers"),
        );
        check(&format!("{rule}{critical}"), None);
        check(
            &format!("{rule}match = {{ organization = \"other\" }}\n"),
            Some("each one has no notifiers"),
        );
    }

    #[test]
    fn counts_all_names_and_lists_the_first() {
        assert_eq!(counted("rule", [].into_iter()), "no rules");
        assert_eq!(counted("rule", ["a"].into_iter()), "1 rule (a)");
        assert_eq!(
            counted("rule", ["a"; 12].into_iter()),
            "12 rules (a, a, a, a, a, a, a, a, a, a and 2 more)"
        );
    }
}
