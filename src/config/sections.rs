//! The smaller sections: poll, store, http, metrics, log, heartbeat, teams, digests, audit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;

use crate::config::reader::{Section, Sited, near_miss};
use crate::config::source::SecretSource;
use crate::domain::ids::{NotifierName, TeamName, UNASSIGNED};
use crate::domain::matcher::{Glob, Team};
use crate::domain::period::{Period, Zone};
use crate::domain::schedule::Schedule;

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
    /// How often.
    pub correction_interval: SignedDuration,
}

/// `[store]`: where it is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Of the SQLite file.
    pub path: PathBuf,
    /// Hours.
    pub hourly_retention_days: i32,
    /// Days.
    pub daily_retention_days: i32,
}

/// `[http]`: what is served, and to whom.
#[derive(Debug, Clone)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// For links in messages.
    pub external_url: Option<String>,
    /// Asked of everyone.
    pub bearer_token: Option<SecretSource>,
    /// `/metrics` needs no login while the rest does.
    pub public_metrics: bool,
}

/// `[metrics]`: which series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Otherwise the model label is empty and the series are summed.
    pub by_model: bool,
    /// Where the dialect has them.
    pub by_api_key: bool,
    /// Of one metric.
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
}

/// One of `[[digests]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// Unique.
    pub name: String,
    /// When.
    pub schedule: Schedule,
    /// Over what.
    pub period: Period,
    /// To whom; empty is everyone.
    pub notify: Vec<NotifierName>,
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// JSON lines.
    pub file: PathBuf,
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
    poll.history_days = section.days("history", poll.history_days);
    poll.hourly_history_days = section.days("hourly_history", poll.hourly_history_days);
    poll.settle = section.duration("settle").unwrap_or(poll.settle);
    poll.correction_days = section.days("correction_window", poll.correction_days);
    poll.correction_interval = section
        .duration("correction_interval")
        .unwrap_or(poll.correction_interval);
    section.finish();
    poll
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
                section.problem("url", "names PostgreSQL: not in this version");
            }
            _ => section.problem(
                "url",
                format!(
                    "is `{}`, it must be like `sqlite://spendwatch.db`",
                    url.value
                ),
            ),
        }
    }
    store.hourly_retention_days = section.days("hourly_retention", store.hourly_retention_days);
    store.daily_retention_days = section.days("daily_retention", store.daily_retention_days);
    section.finish();
    store
}

/// `[http]`.
pub fn read_http(root: &Section<'_>) -> Http {
    let default = SocketAddr::from(([127, 0, 0, 1], 9899));
    let mut http = Http {
        listen: default,
        external_url: None,
        bearer_token: None,
        public_metrics: false,
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
                    format!("is `{}`, it must be like `127.0.0.1:9899`", listen.value),
                );
            }
        }
    }
    if let Some(url) = section.text("external_url") {
        let is_url = reqwest::Url::parse(&url.value)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_url {
            section.problem(
                "external_url",
                format!(
                    "is `{}`, it must be like `https://spend.example.com`",
                    url.value
                ),
            );
        }
        http.external_url = Some(url.value.trim_end_matches('/').to_owned());
    }
    http.bearer_token = section.secret("bearer_token");
    http.public_metrics = section.bool("public_metrics", false);
    for (key, parts) in [
        ("tls", ["cert", "key"]),
        ("auth", ["user", "password_hash"]),
    ] {
        let Some(inner) = section.section(key) else {
            continue;
        };
        for part in parts {
            inner.required_text(part);
        }
        inner.finish();
        section.problem(key, "is not in this version");
    }
    section.finish();
    http
}

/// `[metrics]`.
pub fn read_metrics(root: &Section<'_>) -> Metrics {
    let mut metrics = Metrics {
        by_model: true,
        by_api_key: false,
        max_series: 200_000,
    };
    let Some(section) = root.section("metrics") else {
        return metrics;
    };
    metrics.by_model = section.bool("by_model", true);
    metrics.by_api_key = section.bool("by_api_key", false);
    let max_series = section.integer("max_series", (1, 100_000_000));
    metrics.max_series = max_series
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(metrics.max_series);
    section.finish();
    metrics
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
        log.level = level.value;
    }
    log.is_json = section.word("format", &[("text", false), ("json", true)], &[], false);
    section.finish();
    log
}

/// `[heartbeat]`.
pub fn read_heartbeat(root: &Section<'_>) -> Option<Heartbeat> {
    let section = root.section("heartbeat")?;
    let url = section.secret("url");
    if !section.has("url") {
        section.problem("url", "is missing");
    }
    section.finish();
    Some(Heartbeat { url: url? })
}

/// `[audit]`.
pub fn read_audit(root: &Section<'_>) -> Audit {
    let section = root.section("audit");
    let file = section.as_ref().and_then(|section| section.text("file"));
    if let Some(section) = section {
        section.finish();
    }
    Audit {
        file: file.map_or_else(
            || PathBuf::from("spendwatch-audit.jsonl"),
            |file| file.value.into(),
        ),
    }
}

/// `[[teams]]`.
pub fn read_teams(root: &Section<'_>) -> Vec<Team> {
    let mut teams: Vec<Team> = Vec::new();
    for section in root.sections("teams") {
        let name = section.name("name");
        let workspaces = read_globs(&section, "workspaces");
        let api_keys = read_globs(&section, "api_keys");
        let tags = section.text_map("workspace_tags");
        section.finish();
        let Some(name) = name else { continue };
        if name.value == UNASSIGNED {
            section.problem("name", format!("`{UNASSIGNED}` is what belongs to no team"));
        }
        if teams.iter().any(|team| team.name.as_str() == name.value) {
            section.problem("name", format!("`{}` is used twice", name.value));
        }
        let workspace_tags: BTreeMap<String, String> = tags
            .into_iter()
            .map(|(tag, text)| (tag, text.value))
            .collect();
        teams.push(Team {
            name: TeamName::new(name.value),
            workspaces,
            api_keys,
            workspace_tags,
        });
    }
    teams
}

/// `[[digests]]`.
pub fn read_digests(root: &Section<'_>, notifiers: &[String]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = Vec::new();
    for section in root.sections("digests") {
        let name = section.name("name");
        let zone = read_zone(&section);
        if !section.has("schedule") {
            section.problem("schedule", "is missing");
        }
        let schedule = read_schedule(&section, "schedule", zone);
        let period = read_period(&section, Period::Week);
        let notify = read_notify(&section, notifiers).unwrap_or_default();
        section.finish();
        let (Some(name), Some(schedule)) = (name, schedule) else {
            continue;
        };
        if digests.iter().any(|digest| digest.name == name.value) {
            section.problem("name", format!("`{}` is used twice", name.value));
        }
        digests.push(Digest {
            name: name.value,
            schedule,
            period,
            notify,
        });
    }
    digests
}

/// A list of globs.
pub fn read_globs(section: &Section<'_>, key: &'static str) -> Vec<Glob> {
    let texts = section.texts(key).unwrap_or_default();
    texts
        .iter()
        .filter_map(|text| read_glob(section, text))
        .collect()
}

/// One glob.
pub fn read_glob(section: &Section<'_>, text: &Sited<String>) -> Option<Glob> {
    match Glob::new(&text.value) {
        Ok(glob) => Some(glob),
        Err(reason) => {
            section.problem_at(
                text,
                format!("is `{}`, which is no glob: {reason}", text.value),
            );
            None
        }
    }
}

/// `time_zone`, UTC where it is not given.
pub fn read_zone(section: &Section<'_>) -> Zone {
    let Some(name) = section.text("time_zone") else {
        return Zone::utc();
    };
    match jiff::tz::TimeZone::get(&name.value) {
        Ok(rules) => Zone {
            name: name.value.into(),
            rules,
        },
        Err(_) => {
            section.problem(
                "time_zone",
                format!(
                    "`{}` is no time zone; write it like `Europe/Berlin`",
                    name.value
                ),
            );
            Zone::utc()
        }
    }
}

/// `period`.
pub fn read_period(section: &Section<'_>, default: Period) -> Period {
    let Some(text) = section.text("period") else {
        return default;
    };
    Period::parse(&text.value).unwrap_or_else(|| {
        let message =
            "it must be hour, day, week, month, quarter, or a rolling span like `24h` or `7d`";
        section.problem("period", format!("is `{}`; {message}", text.value));
        default
    })
}

/// `notify`, by names that exist; `None` where it is not given.
pub fn read_notify(section: &Section<'_>, known: &[String]) -> Option<Vec<NotifierName>> {
    let texts = section.texts("notify")?;
    for text in texts.iter().filter(|text| !known.contains(&text.value)) {
        let hint = near_miss(&text.value, known.iter().map(String::as_str)).map_or_else(
            || "no notifier has that name".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        section.problem_at(
            text,
            format!(
                "names the notifier `{}`, which does not exist; {hint}",
                text.value
            ),
        );
    }
    Some(
        texts
            .into_iter()
            .map(|text| NotifierName::new(text.value))
            .collect(),
    )
}

fn read_schedule(section: &Section<'_>, key: &'static str, zone: Zone) -> Option<Schedule> {
    let text = section.text(key)?;
    match Schedule::parse(&text.value, zone) {
        Ok(schedule) => Some(schedule),
        Err(reason) => {
            let shape = "six fields: second, minute, hour, day, month, weekday";
            section.problem(
                key,
                format!(
                    "is `{}`, which is no schedule ({shape}): {reason}",
                    text.value
                ),
            );
            None
        }
    }
}
