//! Log on standard error, as text or JSON, filtered by level and target.

use std::error::Error;
use std::fmt::Debug;
use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use spendwatch_config::sections::{LogConfig, check_level};
use spendwatch_config::source::Environment;

/// Libraries that may log URLs and headers below `info`: they are capped at `info`, whatever the level.
const CAPPED_AT_INFO: [&str; 7] = [
    "hyper",
    "hyper_util",
    "reqwest",
    "h2",
    "rustls",
    "lettre",
    "axum",
];

/// Prefix of the AWS libraries, which log whole responses below `info`.
const AWS_PREFIX: &str = "aws_";

/// Formats fields as text. Omits the organization field if the message already names the organization.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut found = EventFields::default();
        fields.record(&mut found);
        let mut shown = DefaultVisitor::new(writer, true);
        fields.record(&mut WithoutOrganization {
            shown: &mut shown,
            names_organization: found.names_organization(),
        });
        shown.finish()
    }
}

const MESSAGE: &str = "message";
const ORGANIZATION: &str = "organization.name";

/// Message and organization of an event.
#[derive(Debug, Default)]
struct EventFields {
    message: String,
    organization: Option<String>,
}

impl EventFields {
    fn names_organization(&self) -> bool {
        let name = self.organization.as_ref();
        name.is_some_and(|name| self.message.contains(&format!("organization `{name}`")))
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            MESSAGE => self.message = format!("{value:?}"),
            ORGANIZATION => self.organization = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

/// Passes on all fields but a repeated organization.
struct WithoutOrganization<'a> {
    shown: &'a mut dyn Visit,
    names_organization: bool,
}

impl WithoutOrganization<'_> {
    fn is_repeated(&self, field: &Field) -> bool {
        self.names_organization && field.name() == ORGANIZATION
    }
}

impl Visit for WithoutOrganization<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !self.is_repeated(field) {
            self.shown.record_debug(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !self.is_repeated(field) {
            self.shown.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if !self.is_repeated(field) {
            self.shown.record_error(field, value);
        }
    }
}

/// Options that override the configuration.
#[derive(Debug, Clone, Default)]
pub struct LogOverrides {
    /// `--log-level`.
    pub level: Option<String>,
    /// `--log-format json`.
    pub is_json: Option<bool>,
}

/// Changes the level of a running log.
pub struct LogHandle {
    filter: Handle<EnvFilter, Registry>,
    overrides: LogOverrides,
    environment: Environment,
}

/// Starts logging. Returns an error for an invalid level.
pub fn begin(
    log: &LogConfig,
    overrides: LogOverrides,
    environment: &Environment,
) -> Result<LogHandle, String> {
    let (filter, handle) = reload::Layer::new(filter(log, &overrides, environment)?);
    let is_json = overrides.is_json.unwrap_or(log.is_json);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = if is_json {
        lines.json().boxed()
    } else {
        lines.with_target(false).fmt_fields(TextFields).boxed()
    };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(FilterFn::new(is_allowed)));
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(LogHandle {
        filter: handle,
        overrides,
        environment: environment.clone(),
    })
}

/// Warnings, and long waits for the rate limit.
const COMMAND_LEVEL: &str = "spendwatch=warn,spendwatch::waiting=info";

/// Starts logging for a command, with `RUST_LOG` or warnings only, unless logging has already started.
pub fn for_command(environment: &Environment) {
    let level = environment.get("RUST_LOG").map(|level| level.trim());
    let level = level.filter(|level| !level.is_empty() && check_level(level).is_ok());
    let filter = EnvFilter::new(member_targets(level.unwrap_or(COMMAND_LEVEL)));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .fmt_fields(TextFields)
        .with_filter(FilterFn::new(is_allowed));
    let _already = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
}

impl LogHandle {
    /// Changes the level, not the format.
    pub fn set(&self, log: &LogConfig) {
        let changed = filter(log, &self.overrides, &self.environment).and_then(|filter| {
            self.filter
                .reload(filter)
                .map_err(|error| error.to_string())
        });
        if let Err(problem) = changed {
            tracing::warn!("cannot change the log level: {problem}");
        }
    }
}

/// Builds the filter from `--log-level`, else `RUST_LOG`, else the configuration.
fn filter(
    log: &LogConfig,
    overrides: &LogOverrides,
    environment: &Environment,
) -> Result<EnvFilter, String> {
    // `EnvFilter` would take an invalid level for a target and log nothing else.
    if let Some(level) = &overrides.level {
        check_level(level).map_err(|problem| format!("`--log-level` {problem}"))?;
    }
    let from_environment = environment
        .get("RUST_LOG")
        .filter(|level| !level.trim().is_empty());
    let level = overrides
        .level
        .as_ref()
        .or(from_environment)
        .unwrap_or(&log.level);
    EnvFilter::try_new(member_targets(level)).map_err(|error| {
        format!("`{level}` is not a log level (error, warn, info, debug, trace): {error}")
    })
}

/// Members of the workspace that log. Filters name them as parts of the program, such as `spendwatch::store`.
const MEMBERS: [&str; 4] = ["anthropic", "audit", "simulator", "store"];

/// Replaces the members in a filter by the targets of their events, such as `spendwatch_store`.
fn member_targets(filter: &str) -> String {
    MEMBERS.iter().fold(filter.to_owned(), |filter, member| {
        filter.replace(
            &format!("spendwatch::{member}"),
            &format!("spendwatch_{member}"),
        )
    })
}

fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target().split("::").next().unwrap_or_default();
    let is_foreign = CAPPED_AT_INFO.contains(&target) || target.starts_with(AWS_PREFIX);
    !is_foreign || *metadata.level() <= LevelFilter::INFO
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn filters_name_members_as_parts_of_the_program() {
        let filter =
            "warn,spendwatch::store=debug,spendwatch::store::outbox=trace,spendwatch::cycle=info";
        let expected =
            "warn,spendwatch_store=debug,spendwatch_store::outbox=trace,spendwatch::cycle=info";
        assert_eq!(member_targets(filter), expected);
        // A member that logs and is not in the list could not be filtered.
        let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crates")).unwrap();
        for member in crates {
            let member = member.unwrap();
            let manifest = std::fs::read_to_string(member.path().join("Cargo.toml")).unwrap();
            let name = member.file_name().into_string().unwrap();
            assert_eq!(
                manifest.contains("\ntracing."),
                MEMBERS.contains(&name.as_str()),
                "{name}"
            );
        }
    }

    #[test]
    fn line_names_organization_once() {
        let mut written = Arc::new(tempfile::tempfile().unwrap());
        let lines = fmt::layer()
            .with_writer(Arc::clone(&written))
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(TextFields);
        let log = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(log, || {
            let name = "acme";
            tracing::warn!(organization.name = %name, n = 3, "organization `acme`: no answer\u{1b}[2J");
            tracing::info!(organization.name = %name, outcome = "ok", "cycle ok");
            tracing::info!(
                organization.name = "other",
                "organization `acme`: not this one"
            );
        });
        let mut text = String::new();
        written.rewind().unwrap();
        written.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert_eq!(lines[0], "WARN organization `acme`: no answer\\x1b[2J n=3");
        assert_eq!(
            lines[1],
            "INFO cycle ok organization.name=acme outcome=\"ok\""
        );
        assert!(lines[2].contains("organization.name=\"other\""), "{text}");
    }
}
