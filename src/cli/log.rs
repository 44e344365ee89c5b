//! The log: to standard error, as text or as JSON, filtered by level and target.

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

use crate::config::sections::{Log, check_level};
use crate::config::source::Environment;

/// Libraries whose details may hold URLs and headers: they say no more than `info`, whatever was asked for.
const DISCREET: [&str; 7] = [
    "hyper",
    "hyper_util",
    "reqwest",
    "h2",
    "rustls",
    "lettre",
    "axum",
];

/// What the names of AWS's libraries begin with: their details hold whole answers.
const OF_AWS: &str = "aws_";

/// Fields as text. A message that names the organization is not followed by a field that names it again.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut found = Found::default();
        fields.record(&mut found);
        let mut shown = DefaultVisitor::new(writer, true);
        fields.record(&mut Unrepeated {
            shown: &mut shown,
            names_organization: found.names_organization(),
        });
        shown.finish()
    }
}

const MESSAGE: &str = "message";
const ORGANIZATION: &str = "organization.name";

/// What an event says, and of which organization.
#[derive(Debug, Default)]
struct Found {
    message: String,
    organization: Option<String>,
}

impl Found {
    fn names_organization(&self) -> bool {
        let name = self.organization.as_ref();
        name.is_some_and(|name| self.message.contains(&format!("organization `{name}`")))
    }
}

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            MESSAGE => self.message = format!("{value:?}"),
            ORGANIZATION => self.organization = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

/// Hands on what is not repeated.
struct Unrepeated<'a> {
    shown: &'a mut dyn Visit,
    names_organization: bool,
}

impl Unrepeated<'_> {
    fn is_repeated(&self, field: &Field) -> bool {
        self.names_organization && field.name() == ORGANIZATION
    }
}

impl Visit for Unrepeated<'_> {
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

/// What stands above the configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--log-level`.
    pub level: Option<String>,
    /// `--log-format`: whether JSON was asked for.
    pub is_json: Option<bool>,
}

/// Changes the level of a running log.
pub struct Handles {
    filter: Handle<EnvFilter, Registry>,
    overrides: Overrides,
    environment: Environment,
}

/// Begins to log. The error says what is wrong with the level.
pub fn begin(
    log: &Log,
    overrides: Overrides,
    environment: &Environment,
) -> Result<Handles, String> {
    let (filter, handle) = reload::Layer::new(filter(log, &overrides, environment)?);
    let is_json = overrides.is_json.unwrap_or(log.is_json);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = if is_json {
        lines.json().boxed()
    } else {
        lines.with_target(false).fmt_fields(Fields).boxed()
    };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(FilterFn::new(is_discreet)));
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(Handles {
        filter: handle,
        overrides,
        environment: environment.clone(),
    })
}

/// What a command has to know beside its own words: warnings of the parts that it uses, and long waits.
const OF_COMMANDS: &str = "spendwatch=warn,spendwatch::waiting=info";

/// For a command: `RUST_LOG`, else warnings alone. One that runs already stays as it is.
pub fn for_command(environment: &Environment) {
    let asked = environment.get("RUST_LOG").map(|level| level.trim());
    let asked = asked.filter(|level| !level.is_empty() && check_level(level).is_ok());
    let filter = EnvFilter::new(asked.unwrap_or(OF_COMMANDS));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .fmt_fields(Fields)
        .with_filter(FilterFn::new(is_discreet));
    let _already = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
}

impl Handles {
    /// Another level from now on; the format stays.
    pub fn set(&self, log: &Log) {
        let changed = filter(log, &self.overrides, &self.environment).and_then(|filter| {
            self.filter
                .reload(filter)
                .map_err(|error| error.to_string())
        });
        if let Err(problem) = changed {
            tracing::warn!("the log keeps its level: {problem}");
        }
    }
}

/// `--log-level`, else `RUST_LOG`, else the configuration.
fn filter(
    log: &Log,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<EnvFilter, String> {
    // A word that is no level would be taken for the name of a target, and nothing else be logged.
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
    EnvFilter::try_new(level).map_err(|error| {
        format!("`{level}` is no log level (error, warn, info, debug, trace): {error}")
    })
}

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target().split("::").next().unwrap_or_default();
    let is_foreign = DISCREET.contains(&target) || target.starts_with(OF_AWS);
    !is_foreign || *metadata.level() <= LevelFilter::INFO
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_line_names_its_organization_once() {
        let mut written = Arc::new(tempfile::tempfile().unwrap());
        let lines = fmt::layer()
            .with_writer(Arc::clone(&written))
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(Fields);
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
