//! The sections of single values: poll, store, http, metrics, privacy, log, heartbeat, audit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::config::near::nearest;
use crate::config::problem::shown;
use crate::config::reader::Section;
use crate::config::source::SecretSource;
use crate::config::terms::read_schedule;
use crate::config::{credentials, durations};
use crate::domain::period::Zone;
use crate::domain::privacy::{People, Privacy};
use crate::domain::schedule::Schedule;
use crate::secret::Secret;

/// `[poll]`: when and what is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// In UTC.
    pub schedule: Schedule,
    /// How many days back days are read at first.
    pub history_days: i32,
    /// How many days back hours are read at first.
    pub hourly_history_days: i32,
    /// How long after its end an hour is settled.
    pub settle: SignedDuration,
    /// How many days back settled days are read again.
    pub correction_days: i32,
    pub correction_interval: SignedDuration,
}

/// `[store]`: where it is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub path: PathBuf,
    /// Hours.
    pub hourly_retention_days: i32,
    pub daily_retention_days: i32,
}

/// `[http]`: what is served, and to whom.
#[derive(Debug, Clone)]
pub struct Http {
    pub listen: SocketAddr,
    pub external_url: Option<String>,
    pub bearer_token: Option<SecretSource>,
    /// `/metrics` needs no login while the rest does.
    pub public_metrics: bool,
    /// Open at a time; fewer where the process may not open enough files.
    pub max_connections: usize,
}

/// `[metrics]`: which series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Otherwise the model label is empty and the series are summed.
    pub by_model: bool,
    /// Where the dialect has them.
    pub by_api_key: bool,
    /// Where the dialect has them.
    pub by_user: bool,
    pub max_series: usize,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `info`, or a filter like `spendwatch=debug`.
    pub level: String,
    /// One JSON object a line.
    pub is_json: bool,
}

/// `[heartbeat]`.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Asked after every complete cycle.
    pub url: SecretSource,
    /// Allows `http://` to hosts other than loopback.
    pub allow_http: bool,
}

/// `[secret_to_command]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretToCommand {
    /// Names of the variables that the command receives besides `PATH`, `HOME` and `LANG`.
    pub environment: Vec<String>,
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub file: PathBuf,
    /// A file that is larger is put aside, in bytes.
    pub rotate_at: u64,
    /// A socket of syslog, where entries go besides.
    pub syslog: Option<PathBuf>,
}

/// `[poll]`.
pub fn read_poll(root: &Section<'_>) -> Poll {
    let default = || Schedule::parse("0 */5 * * * *", Zone::utc()).expect("a valid schedule");
    let mut poll = Poll {
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

/// What is read must not be dropped at once.
pub fn check_windows(root: &Section<'_>, poll: &Poll, store: &Store) {
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
    for (read, read_days, kept, kept_days) in windows {
        if read_days <= kept_days {
            continue;
        }
        let message = |other: &str, than: &str| {
            format!(
                "is {than} than `{other}` ({read_days}d are read, {kept_days}d are kept): what is read would be dropped at once"
            )
        };
        let (poll, store) = (root.section("poll"), root.section("store"));
        match (poll.filter(|poll| poll.has(read)), store) {
            (Some(poll), _) => poll.problem(read, message(&format!("store.{kept}"), "longer")),
            (None, Some(store)) => store.problem(kept, message(&format!("poll.{read}"), "shorter")),
            // The defaults fit.
            (None, None) => {}
        }
    }
}

/// `[store]`.
pub fn read_store(root: &Section<'_>) -> Store {
    let mut store = Store {
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
                    "names PostgreSQL, which is not in this version; use `sqlite://FILE`",
                );
            }
            _ => section.problem(
                "url",
                format!(
                    "is {}, it must be like `sqlite://spendwatch.db`",
                    shown(&url.value)
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

/// What is wrong with a short token; follows the key.
pub const TOKEN_TOO_SHORT: &str =
    "has fewer than 20 characters; use a random one, for example from `openssl rand -hex 32`";
/// Characters of a bearer token.
const MIN_TOKEN: usize = 20;

/// Returns whether a bearer token is short enough to be guessed.
pub fn is_token_too_short(token: &Secret) -> bool {
    token.expose().trim().chars().count() < MIN_TOKEN
}

/// `[http]`.
pub fn read_http(root: &Section<'_>) -> Http {
    let default = SocketAddr::from(([127, 0, 0, 1], 9899));
    let mut http = Http {
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
                    format!("is `{}`, it must be an address and a port, like `127.0.0.1:9899` or `[::1]:9899`", listen.value),
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
                    "is {}, it must be like `https://spend.example.com`",
                    shown(&url.value)
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
        ("tls", ["cert", "key"], "let a proxy in front do it"),
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

/// `[metrics]`.
pub fn read_metrics(root: &Section<'_>) -> Metrics {
    let mut metrics = Metrics {
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

/// `[privacy]`.
pub fn read_privacy(root: &Section<'_>) -> Privacy {
    let Some(section) = root.section("privacy") else {
        return Privacy::default();
    };
    let words = People::ALL.map(|people| (people.as_str(), Some(people)));
    let people = section.word("people", &words, &[], None);
    section.finish();
    Privacy { people }
}

/// `[log]`.
pub fn read_log(root: &Section<'_>) -> Log {
    let mut log = Log {
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
    log.is_json = section.word("format", &[("text", false), ("json", true)], &[], false);
    section.finish();
    log
}

/// `[heartbeat]`.
pub fn read_heartbeat(root: &Section<'_>) -> Option<Heartbeat> {
    let section = root.section("heartbeat")?;
    let allow_http = section.bool("allow_http", false);
    let url = credentials::required_encrypted_url(&section, "url");
    section.finish();
    Some(Heartbeat {
        url: url?,
        allow_http,
    })
}

/// `[secret_to_command]`.
pub fn read_secret_to_command(root: &Section<'_>) -> SecretToCommand {
    let Some(section) = root.section("secret_to_command") else {
        return SecretToCommand::default();
    };
    let environment = credentials::read_variables(&section, "environment");
    section.finish();
    SecretToCommand { environment }
}

/// `[audit]`.
pub fn read_audit(root: &Section<'_>, store: &Path) -> Audit {
    let mut audit = Audit {
        // Where the store can be written, the log can.
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

/// A level, or a filter of levels by target: `info,spendwatch::store=debug`.
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
                    "one of {}, or like `info,spendwatch=debug`",
                    LEVELS.join(", ")
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!(
            "is `{text}`, where `{directive}` is no level; {hint}"
        ));
    }
    Ok(())
}
