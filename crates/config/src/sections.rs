//! Sections that occur once: poll, store, http, metrics, privacy, log, heartbeat, secret_to_command, audit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::near::nearest;
use crate::problem::redacted_address;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use crate::terms::parse_schedule;
use crate::{credentials, durations};
use spendwatch_base::secret::Secret;
use spendwatch_domain::ledger::coverage::PollSettings;
use spendwatch_domain::units::period::Zone;
use spendwatch_domain::units::privacy::{Privacy, UserNaming};
use spendwatch_domain::units::schedule::Schedule;

/// `[store]`: database file and retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    pub path: PathBuf,
    pub hourly_retention_days: i32,
    pub daily_retention_days: i32,
}

/// `[http]`: the HTTP server and its access control.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    pub external_url: Option<String>,
    pub bearer_token: Option<SecretSource>,
    /// Serves `/metrics` without a login.
    pub public_metrics: bool,
    /// Maximum number of open connections; lowered if the process may not open enough files.
    pub max_connections: usize,
}

/// `[metrics]`: which series are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsConfig {
    /// If false, the model label is empty and the series are summed.
    pub by_model: bool,
    /// Only if the dialect reports them.
    pub by_api_key: bool,
    /// Only if the dialect reports them.
    pub by_user: bool,
    pub max_series: usize,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a filter such as `spendwatch=debug`.
    pub level: String,
    pub is_json: bool,
}

/// `[heartbeat]`.
#[derive(Debug, Clone)]
pub struct HeartbeatConfig {
    /// Requested after every complete cycle.
    pub url: SecretSource,
    /// Allows `http://` to hosts other than loopback.
    pub allow_http: bool,
}

/// `[secret_to_command]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretToCommandConfig {
    /// Names of variables that the command receives in addition to `PATH`, `HOME` and `LANG`.
    pub environment: Vec<String>,
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub file: PathBuf,
    /// Size, in bytes, above which the file is rotated.
    pub rotate_at: u64,
    /// Syslog socket that also receives the entries.
    pub syslog: Option<PathBuf>,
}

/// Reads `[poll]`, and its schedule in UTC.
pub fn read_poll(root: &SectionReader<'_>) -> (Schedule, PollSettings) {
    const DEFAULT: &str = "0 */5 * * * *";
    let section = root.section_or_empty("poll");
    let parsed = |text| parse_schedule(&section, "schedule", text, Zone::utc());
    let schedule = parsed(&section.text_or("schedule", DEFAULT))
        .or_else(|| parsed(DEFAULT))
        .expect("the default is valid");
    let poll = PollSettings {
        history_days: durations::read_days(&section, "history", 100),
        hourly_history_days: durations::read_days(&section, "hourly_history", 14),
        settle: durations::read_or(&section, "settle", SignedDuration::from_mins(10)),
        correction_days: durations::read_days(&section, "correction_window", 30),
        correction_interval: durations::read_or(
            &section,
            "correction_interval",
            SignedDuration::from_hours(1),
        ),
    };
    section.finish();
    (schedule, poll)
}

/// Checks that retention is not shorter than the history that is read.
pub fn check_windows(root: &SectionReader<'_>, poll: &PollSettings, store: &StoreConfig) {
    let windows = [
        (
            "hourly_history",
            poll.hourly_history_days,
            "hourly_retention",
            store.hourly_retention_days,
        ),
        (
            "history",
            poll.history_days,
            "daily_retention",
            store.daily_retention_days,
        ),
    ];
    for (read, read_days, retention, retention_days) in windows {
        if read_days <= retention_days {
            continue;
        }
        let message = |other: &str, than: &str| {
            format!(
                "is {than} than `{other}`: {read_days}d would be read, but only {retention_days}d kept"
            )
        };
        let (poll, store) = (root.section("poll"), root.section("store"));
        match (poll.filter(|poll| poll.has(read)), store) {
            (Some(poll), _) => poll.problem(read, message(&format!("store.{retention}"), "longer")),
            (None, Some(store)) => {
                store.problem(retention, message(&format!("poll.{read}"), "shorter"));
            }
            // The defaults fit.
            (None, None) => {}
        }
    }
}

/// Reads `[store]`.
pub fn read_store(root: &SectionReader<'_>) -> StoreConfig {
    let section = root.section_or_empty("store");
    let url = section.text_or("url", "sqlite://spendwatch.db");
    let path = match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() => path,
        _ if url.starts_with("postgres") => {
            section.problem(
                "url",
                "is a PostgreSQL URL, which is not in this version; use `sqlite://FILE`",
            );
            ""
        }
        _ => {
            section.problem(
                "url",
                format!(
                    "is {}, expected `sqlite://FILE`, for example `sqlite://spendwatch.db`",
                    redacted_address(&url)
                ),
            );
            ""
        }
    };
    let store = StoreConfig {
        path: PathBuf::from(path),
        hourly_retention_days: durations::read_days(&section, "hourly_retention", 100),
        daily_retention_days: durations::read_days(&section, "daily_retention", 800),
    };
    section.finish();
    store
}

/// Error for a short token; follows the key.
pub const TOKEN_TOO_SHORT: &str =
    "has fewer than 20 characters; use a random one, for example from `openssl rand -hex 32`";
/// Minimum length of a bearer token, in characters.
const MIN_TOKEN: usize = 20;

/// Returns whether a bearer token is short enough to be guessed.
pub fn is_token_too_short(token: &Secret) -> bool {
    token.expose().trim().chars().count() < MIN_TOKEN
}

/// Reads `[http]`.
pub fn read_http(root: &SectionReader<'_>) -> HttpConfig {
    let section = root.section_or_empty("http");
    let http = HttpConfig {
        listen: read_listen(&section),
        external_url: read_external_url(&section),
        bearer_token: credentials::read(&section, "bearer_token"),
        public_metrics: section.bool("public_metrics", false),
        max_connections: section.integer_or("max_connections", (1, 100_000), 512),
    };
    if let Some(source) = &http.bearer_token
        && credentials::known(&section, source).is_some_and(|token| is_token_too_short(&token))
    {
        credentials::problem_of(&section, "bearer_token", source, TOKEN_TOO_SHORT);
    }
    for (key, parts, instead) in [
        ("tls", ["cert", "key"], "use a reverse proxy"),
        ("auth", ["user", "password_hash"], "use `bearer_token`"),
    ] {
        let Some(inner) = section.section(key) else {
            continue;
        };
        for part in parts {
            inner.required_text(part);
        }
        inner.finish();
        section.problem(key, format!("is not in this version; {instead}"));
    }
    section.finish();
    http
}

fn read_listen(section: &SectionReader<'_>) -> SocketAddr {
    let text = section.text_or("listen", "127.0.0.1:9899");
    text.parse().unwrap_or_else(|_| {
        let expected =
            "expected an IP address and a port, for example `127.0.0.1:9899` or `[::1]:9899`";
        section.problem("listen", format!("is `{text}`, {expected}"));
        SocketAddr::from(([127, 0, 0, 1], 9899))
    })
}

fn read_external_url(section: &SectionReader<'_>) -> Option<String> {
    let url = section.text("external_url")?.value;
    let is_url = reqwest::Url::parse(&url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_url {
        let expected = "expected a URL, for example `https://spend.example.com`";
        let message = format!("is {}, {expected}", redacted_address(&url));
        section.problem("external_url", message);
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Reads `[metrics]`.
pub fn read_metrics(root: &SectionReader<'_>) -> MetricsConfig {
    let section = root.section_or_empty("metrics");
    let metrics = MetricsConfig {
        by_model: section.bool("by_model", true),
        by_api_key: section.bool("by_api_key", false),
        by_user: section.bool("by_user", false),
        max_series: section.integer_or("max_series", (1, 100_000_000), 200_000),
    };
    section.finish();
    metrics
}

/// Reads `[privacy]`.
pub fn read_privacy(root: &SectionReader<'_>) -> Privacy {
    let section = root.section_or_empty("privacy");
    let choices = UserNaming::ALL.map(|people| (people.as_str(), Some(people)));
    let naming = section.choice("people", &choices, &[], None);
    section.finish();
    Privacy { naming }
}

/// Reads `[log]`.
pub fn read_log(root: &SectionReader<'_>) -> LogConfig {
    let section = root.section_or_empty("log");
    let level = section.text_or("level", "info");
    if let Err(message) = check_level(&level) {
        section.problem("level", message);
    }
    let is_json = section.choice("format", &[("text", false), ("json", true)], &[], false);
    section.finish();
    LogConfig { level, is_json }
}

/// Reads `[heartbeat]`.
pub fn read_heartbeat(root: &SectionReader<'_>) -> Option<HeartbeatConfig> {
    let section = root.section("heartbeat")?;
    let allow_http = section.bool("allow_http", false);
    let url = credentials::required_encrypted_url(&section, "url");
    section.finish();
    Some(HeartbeatConfig {
        url: url?,
        allow_http,
    })
}

/// Reads `[secret_to_command]`.
pub fn read_secret_to_command(root: &SectionReader<'_>) -> SecretToCommandConfig {
    let section = root.section_or_empty("secret_to_command");
    let environment = credentials::read_variables(&section, "environment");
    section.finish();
    SecretToCommandConfig { environment }
}

/// Reads `[audit]`. By default the log is next to the store, where the daemon can write.
pub fn read_audit(root: &SectionReader<'_>, store: &Path) -> AuditConfig {
    let section = root.section_or_empty("audit");
    let default = store.with_file_name("spendwatch-audit.jsonl");
    let file = section.text_or("file", &default.display().to_string());
    if file.trim().is_empty() {
        section.problem("file", "is empty");
    }
    let megabytes = section.integer_or("rotate_at_mb", (1, 100_000), 100_u64);
    let syslog = section.optional_text("syslog");
    section.finish();
    AuditConfig {
        file: file.into(),
        rotate_at: megabytes * MEGABYTE,
        syslog: syslog.map(|socket| socket.value.into()),
    }
}

const MEGABYTE: u64 = 1_000_000;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Checks a level or a filter of levels by target, such as `info,spendwatch::store=debug`.
pub fn check_level(text: &str) -> Result<(), String> {
    for directive in text.split(',').map(str::trim) {
        let (target, level) = directive.split_once('=').unwrap_or(("", directive));
        let is_path = target
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '_' | ':'));
        if is_path && LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            continue;
        }
        let hint = nearest(level, LEVELS.into_iter()).map_or_else(
            || {
                format!(
                    "use one of {}, or a filter such as `info,spendwatch=debug`",
                    LEVELS.join(", ")
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!(
            "is `{text}`, but `{directive}` is not a level; {hint}"
        ));
    }
    Ok(())
}
