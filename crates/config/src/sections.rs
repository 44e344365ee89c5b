//! Sections that occur once: poll, store, http, metrics, privacy, log, heartbeat, secret_to_command, audit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::near::nearest;
use crate::problem::redacted_address;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use crate::terms::read_schedule;
use crate::{credentials, durations};
use spendwatch_base::secret::Secret;
use spendwatch_domain::units::period::Zone;
use spendwatch_domain::units::privacy::{Privacy, UserNaming};
use spendwatch_domain::units::schedule::Schedule;

/// `[poll]`: schedule and extent of polling.
#[derive(Debug, Clone, PartialEq)]
pub struct PollConfig {
    /// In UTC.
    pub schedule: Schedule,
    /// How far back the first cycles read days.
    pub history_days: i32,
    /// How far back the first cycles read hours.
    pub hourly_history_days: i32,
    /// Time after its end at which an hour is settled.
    pub settle: SignedDuration,
    /// How far back settled days are read again.
    pub correction_days: i32,
    pub correction_interval: SignedDuration,
}

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

/// Reads `[poll]`.
pub fn read_poll(root: &SectionReader<'_>) -> PollConfig {
    let default = || Schedule::parse("0 */5 * * * *", Zone::utc()).expect("a valid schedule");
    let mut poll = PollConfig {
        schedule: default(),
        history_days: 100,
        hourly_history_days: 14,
        settle: SignedDuration::from_mins(10),
        correction_days: 30,
        correction_interval: SignedDuration::from_hours(1),
    };
    let Some(section) = root.section("poll") else {
        return poll;
    };
    if let Some(schedule) = read_schedule(&section, "schedule", Zone::utc()) {
        poll.schedule = schedule;
    }
    poll.history_days = durations::read_days(&section, "history", poll.history_days);
    poll.hourly_history_days =
        durations::read_days(&section, "hourly_history", poll.hourly_history_days);
    poll.settle = durations::read(&section, "settle").unwrap_or(poll.settle);
    poll.correction_days =
        durations::read_days(&section, "correction_window", poll.correction_days);
    poll.correction_interval =
        durations::read(&section, "correction_interval").unwrap_or(poll.correction_interval);
    section.finish();
    poll
}

/// Checks that retention is not shorter than the history that is read.
pub fn check_windows(root: &SectionReader<'_>, poll: &PollConfig, store: &StoreConfig) {
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
    let mut store = StoreConfig {
        path: PathBuf::from("spendwatch.db"),
        hourly_retention_days: 100,
        daily_retention_days: 800,
    };
    let Some(section) = root.section("store") else {
        return store;
    };
    if let Some(url) = section.text("url") {
        match url.value.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() => store.path = PathBuf::from(path),
            _ if url.value.starts_with("postgres") => {
                section.problem(
                    "url",
                    "is a PostgreSQL URL, which is not in this version; use `sqlite://FILE`",
                );
            }
            _ => section.problem(
                "url",
                format!(
                    "is {}, expected `sqlite://FILE`, for example `sqlite://spendwatch.db`",
                    redacted_address(&url.value)
                ),
            ),
        }
    }
    store.hourly_retention_days =
        durations::read_days(&section, "hourly_retention", store.hourly_retention_days);
    store.daily_retention_days =
        durations::read_days(&section, "daily_retention", store.daily_retention_days);
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
    let default = SocketAddr::from(([127, 0, 0, 1], 9899));
    let mut http = HttpConfig {
        listen: default,
        external_url: None,
        bearer_token: None,
        public_metrics: false,
        max_connections: 512,
    };
    let Some(section) = root.section("http") else {
        return http;
    };
    if let Some(listen) = section.text("listen") {
        match listen.value.parse() {
            Ok(address) => http.listen = address,
            Err(_) => {
                section.problem(
                    "listen",
                    format!("is `{}`, expected an IP address and a port, for example `127.0.0.1:9899` or `[::1]:9899`", listen.value),
                );
            }
        }
    }
    if let Some(url) = section.text("external_url") {
        let is_url = reqwest::Url::parse(&url.value)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_url {
            section.problem(
                "external_url",
                format!(
                    "is {}, expected a URL, for example `https://spend.example.com`",
                    redacted_address(&url.value)
                ),
            );
        }
        http.external_url = Some(url.value.trim_end_matches('/').to_owned());
    }
    http.bearer_token = credentials::read(&section, "bearer_token");
    if let Some(source) = &http.bearer_token
        && credentials::known(&section, source).is_some_and(|token| is_token_too_short(&token))
    {
        credentials::problem_of(&section, "bearer_token", source, TOKEN_TOO_SHORT);
    }
    http.public_metrics = section.bool("public_metrics", false);
    let max_connections = section.integer("max_connections", (1, 100_000));
    http.max_connections = max_connections
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(http.max_connections);
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

/// Reads `[metrics]`.
pub fn read_metrics(root: &SectionReader<'_>) -> MetricsConfig {
    let mut metrics = MetricsConfig {
        by_model: true,
        by_api_key: false,
        by_user: false,
        max_series: 200_000,
    };
    let Some(section) = root.section("metrics") else {
        return metrics;
    };
    metrics.by_model = section.bool("by_model", true);
    metrics.by_api_key = section.bool("by_api_key", false);
    metrics.by_user = section.bool("by_user", false);
    let max_series = section.integer("max_series", (1, 100_000_000));
    metrics.max_series = max_series
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(metrics.max_series);
    section.finish();
    metrics
}

/// Reads `[privacy]`.
pub fn read_privacy(root: &SectionReader<'_>) -> Privacy {
    let Some(section) = root.section("privacy") else {
        return Privacy::default();
    };
    let choices = UserNaming::ALL.map(|people| (people.as_str(), Some(people)));
    let people = section.choice("people", &choices, &[], None);
    section.finish();
    Privacy { naming: people }
}

/// Reads `[log]`.
pub fn read_log(root: &SectionReader<'_>) -> LogConfig {
    let mut log = LogConfig {
        level: "info".to_owned(),
        is_json: false,
    };
    let Some(section) = root.section("log") else {
        return log;
    };
    if let Some(level) = section.text("level") {
        if let Err(message) = check_level(&level.value) {
            section.problem("level", message);
        }
        log.level = level.value;
    }
    log.is_json = section.choice("format", &[("text", false), ("json", true)], &[], false);
    section.finish();
    log
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
    let Some(section) = root.section("secret_to_command") else {
        return SecretToCommandConfig::default();
    };
    let environment = credentials::read_variables(&section, "environment");
    section.finish();
    SecretToCommandConfig { environment }
}

/// Reads `[audit]`. By default the log is next to the store, where the daemon can write.
pub fn read_audit(root: &SectionReader<'_>, store: &Path) -> AuditConfig {
    let mut audit = AuditConfig {
        file: store.with_file_name("spendwatch-audit.jsonl"),
        rotate_at: 100 * MEGABYTE,
        syslog: None,
    };
    let Some(section) = root.section("audit") else {
        return audit;
    };
    if section.has("file")
        && let Some(file) = section.required_text("file")
    {
        audit.file = file.value.into();
    }
    if let Some(megabytes) = section.integer("rotate_at_mb", (1, 100_000)) {
        audit.rotate_at = megabytes.unsigned_abs() * MEGABYTE;
    }
    if section.has("syslog") {
        let socket = section.required_text("syslog");
        audit.syslog = socket.map(|socket| socket.value.into());
    }
    section.finish();
    audit
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
