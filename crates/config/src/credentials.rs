//! Reads secrets, which are given in plain text or by their source, and URLs that may contain one. Checks what can be
//! checked without running a command: that a variable is set and that a file can be read.

use std::path::Path;

use reqwest::Url;

use crate::effective::{self, HIDDEN, quoted};
use crate::problem::Location;
use crate::reader::{Located, SectionReader};
use crate::secret_file;
use crate::source::{AwsSecret, NO_AWS, SecretCommand, SecretSource};
use crate::tree::{Node, Value};
use spendwatch_base::outbound::is_loopback;
use spendwatch_base::secret::Secret;

const NO_ADDRESS: &str =
    "is not a URL that begins with `https://` (value not shown, it may contain a secret)";
const NO_ADDRESS_OF_ANY_KIND: &str = "is not a URL that begins with `http://` or `https://` (value not shown, it may contain a secret)";
const CLEAR_TEXT_WITHOUT_SECRETS: &str = "sends data in clear text to another host; use `https://`, or confirm it with `allow_http = true`";
const CLEAR_TEXT: &str = "sends data in clear text to another host; use `https://`, or allow it with `allow_http = true`";
const HOLDS_A_SECRET: &str = "contains a login or a query, which may be secret; give its source instead, for example `{ env = \"NAME\" }`";

/// Reads the source of a secret; `None` if it is not set or invalid.
pub fn read(section: &SectionReader<'_>, key: &'static str) -> Option<SecretSource> {
    let node = section.node(key)?;
    let (source, shown) = read_node(section, section.key(key), node)?;
    section.record(key, shown);
    Some(source)
}

/// Reads the source of a required secret.
pub fn required(section: &SectionReader<'_>, key: &'static str) -> Option<SecretSource> {
    if !section.has(key) {
        section.problem(
            key,
            "is missing, for example `{ env = \"NAME\" }` or `{ file = \"…\" }`",
        );
    }
    read(section, key)
}

/// Reads a required URL that may contain a secret. If its value is known now, it must use `https://`, or `http://` to
/// loopback or with `allow_http = true`.
pub fn required_encrypted_url(
    section: &SectionReader<'_>,
    key: &'static str,
) -> Option<SecretSource> {
    let source = required(section, key)?;
    check_encrypted_url(section, key, &source);
    Some(source)
}

/// Reads a URL that contains no secret, but to which a secret is sent. Plain text causes no warning.
pub fn encrypted_plain_url(section: &SectionReader<'_>, key: &'static str) -> Option<SecretSource> {
    let node = section.node(key)?;
    let (source, shown) = read_in_the_open(section, section.key(key), node)?;
    section.record(key, shown);
    let parsed = check_encrypted_url(section, key, &source);
    if matches!(source, SecretSource::Literal(_)) && parsed.as_ref().is_some_and(may_hold_a_secret)
    {
        section.problem(key, HOLDS_A_SECRET);
    }
    Some(source)
}

/// Reads a list of URLs that contain no secret. Without `headers`, `http://` to another host is only a warning.
pub fn plain_urls(
    section: &SectionReader<'_>,
    key: &'static str,
    headers: &[(String, SecretSource)],
) -> Vec<SecretSource> {
    let Some(node) = section.node(key) else {
        return Vec::new();
    };
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items.as_slice(),
        Value::List(_) => {
            section.problem(key, "is empty; add at least one URL");
            &[]
        }
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
            std::slice::from_ref(node)
        }
    };
    let read_item = |(index, item): (usize, &Node)| {
        let located = Located {
            value: (),
            location: item.location.clone(),
            key: format!("{}[{index}]", section.key(key)),
        };
        let (source, shown) = read_in_the_open(section, located.key.clone(), item)?;
        let Some(known) = known(section, &source) else {
            // The output of a command is checked at run time.
            return Some((source, shown));
        };
        let is_literal = matches!(source, SecretSource::Literal(_));
        match parse_url(&known) {
            None if is_literal => section.problem_at(&located, NO_ADDRESS_OF_ANY_KIND),
            None => section.unresolved_at(&located, NO_ADDRESS_OF_ANY_KIND),
            Some(url) if is_literal && may_hold_a_secret(&url) => {
                section.problem_at(&located, HOLDS_A_SECRET);
            }
            // Members usually listen without TLS inside a cluster; only secrets must not be sent that way.
            Some(url) if is_in_clear_text(section, &url) && is_literal && headers.is_empty() => {
                section.warn_at(&located, CLEAR_TEXT_WITHOUT_SECRETS);
            }
            Some(url) if is_in_clear_text(section, &url) && is_literal => {
                section.problem_at(&located, CLEAR_TEXT);
            }
            Some(url) if is_in_clear_text(section, &url) => {
                section.unresolved_at(&located, CLEAR_TEXT);
            }
            Some(_) => {}
        }
        Some((source, shown))
    };
    let read = items.iter().enumerate().filter_map(read_item);
    let (sources, shown): (Vec<_>, Vec<_>) = read.unzip();
    section.record(key, effective::list(shown));
    sources
}

/// Reads a URL without a warning about plain text.
fn read_in_the_open(
    section: &SectionReader<'_>,
    key: String,
    node: &Node,
) -> Option<(SecretSource, String)> {
    match &node.value {
        Value::Text(text) if !text.trim().is_empty() => Some((
            SecretSource::Literal(Secret::new(text.clone())),
            quoted(text),
        )),
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Date(_)
        | Value::List(_)
        | Value::Table(_) => read_node(section, key, node),
    }
}

fn may_hold_a_secret(url: &Url) -> bool {
    url.username() != "" || url.password().is_some() || url.query().is_some()
}

/// Parses a URL if its value is known now, and reports an invalid one.
fn check_url(section: &SectionReader<'_>, key: &'static str, source: &SecretSource) -> Option<Url> {
    let url = parse_url(&known(section, source)?);
    if url.is_none() {
        problem_of(section, key, source, NO_ADDRESS);
    }
    url
}

/// Reports an invalid secret. If its value comes from elsewhere, only commands that use it fail.
pub fn problem_of(
    section: &SectionReader<'_>,
    key: &'static str,
    source: &SecretSource,
    message: impl Into<String>,
) {
    match source {
        SecretSource::Literal(_) => section.problem(key, message),
        SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => section.unresolved(key, message),
    }
}

fn parse_url(text: &Secret) -> Option<Url> {
    Url::parse(text.expose().trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn check_encrypted_url(
    section: &SectionReader<'_>,
    key: &'static str,
    source: &SecretSource,
) -> Option<Url> {
    let url = check_url(section, key, source)?;
    if is_in_clear_text(section, &url) {
        problem_of(section, key, source, CLEAR_TEXT);
    }
    Some(url)
}

/// Returns whether a URL would be used unencrypted over a network, which the section does not allow.
fn is_in_clear_text(section: &SectionReader<'_>, url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url) && !section.bool("allow_http", false)
}

/// Returns a secret's value if it is known without running a command and is not empty.
pub fn known(section: &SectionReader<'_>, source: &SecretSource) -> Option<Secret> {
    let known = match source {
        SecretSource::Literal(secret) => Some(secret.clone()),
        SecretSource::Env(name) => section.environment().get(name).cloned().map(Secret::new),
        SecretSource::File(path) => secret_file::check(path)
            .and_then(|()| secret_file::read(path))
            .ok()
            .filter(|_| path.is_file()),
        SecretSource::Command(_) | SecretSource::Aws(_) => None,
    };
    known.filter(|secret| !secret.expose().trim().is_empty())
}

/// Reads several secrets, as used during a rotation.
pub fn read_list(section: &SectionReader<'_>, key: &'static str) -> Vec<SecretSource> {
    let item_key = |index: usize| format!("{}[{index}]", section.key(key));
    let read: Vec<_> = match section.node(key).map(|node| (node, &node.value)) {
        None => Vec::new(),
        Some((_, Value::List(items))) => {
            let items = items.iter().enumerate();
            let read = items.filter_map(|(index, item)| read_node(section, item_key(index), item));
            read.collect()
        }
        Some((node, _)) => Vec::from_iter(read_node(section, section.key(key), node)),
    };
    let (sources, shown): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    section.record(key, effective::list(shown));
    sources
}

/// Reads secrets by name, such as headers. Plain text causes no warning, because their values are often not secret.
pub fn read_map(section: &SectionReader<'_>, key: &'static str) -> Vec<(String, SecretSource)> {
    let Some(node) = section.node(key) else {
        section.record(key, effective::table::<&str>([]));
        return Vec::new();
    };
    let Value::Table(table) = &node.value else {
        let message = format!("is {}, expected a table", node.value.kind());
        section.problem(key, message);
        return Vec::new();
    };
    let source = |name: &str, item: &Node| match &item.value {
        Value::Text(text) => Some(literal(text)),
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            read_node(section, format!("{}.{name}", section.key(key)), item)
        }
    };
    let read = table.iter().filter_map(|(name, item)| {
        let (source, shown) = source(name, item)?;
        Some(((name.clone(), source), (quoted(name), shown)))
    });
    let (sources, shown): (Vec<_>, Vec<_>) = read.unzip();
    section.record(key, effective::table(shown));
    sources
}

fn literal(text: &str) -> (SecretSource, String) {
    (
        SecretSource::Literal(Secret::new(text.to_owned())),
        quoted(HIDDEN),
    )
}

/// Returns the source of a secret, also as TOML without a secret in plain text.
fn read_node(
    section: &SectionReader<'_>,
    key: String,
    node: &Node,
) -> Option<(SecretSource, String)> {
    let located = Located {
        value: (),
        location: node.location.clone(),
        key,
    };
    match &node.value {
        Value::Text(text) if text.trim().is_empty() => {
            section.problem_at(&located, "is empty");
            None
        }
        Value::Text(text) => {
            if matches!(node.location, Location::Line(..)) {
                section.warn_at(
                    &located,
                    "is a secret in plain text; better give its source, for example `{ env = \"NAME\" }` or `{ file = \"…\" }`",
                );
            }
            Some(literal(text))
        }
        Value::Table(table) => {
            let below = section.subsection(table, located.key, &node.location);
            let source = read_source(&below);
            below.finish();
            source.map(|source| (source, below.recorded()))
        }
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) => {
            let expected =
                "`{ env = … }`, `{ file = … }`, `{ command = […] }` or `{ aws_secret = … }`";
            let message = format!("is {}, expected {expected}", node.value.kind());
            section.problem_at(&located, message);
            None
        }
    }
}

fn read_source(section: &SectionReader<'_>) -> Option<SecretSource> {
    let (env, file) = (section.text("env"), section.text("file"));
    let command = section.texts("command");
    let environment = read_variables(section, "environment");
    if section.has("environment") && command.is_none() {
        section.problem("environment", "applies only with `command`");
    }
    if section.has("aws_secret") {
        return read_aws(
            section,
            env.is_some() || file.is_some() || command.is_some(),
        );
    }
    for key in ["field", "region"] {
        if section.has(key) {
            section.problem(key, "applies only with `aws_secret`");
        }
    }
    match (env, file, command) {
        (Some(name), None, None) => Some(read_variable(section, name.value)),
        (None, Some(path), None) => {
            if let Err(error) = secret_file::check(Path::new(&path.value)) {
                section.unresolved_clause("file", error.to_string());
            }
            Some(SecretSource::File(path.value.into()))
        }
        (None, None, Some(argv))
            if argv
                .first()
                .is_some_and(|argument| !argument.value.is_empty()) =>
        {
            Some(read_command(section, argv, environment))
        }
        _ => {
            section.problem_here(
                "must have exactly one source: `env`, `file`, `command` or `aws_secret`",
            );
            None
        }
    }
}

fn read_aws(section: &SectionReader<'_>, has_other_sources: bool) -> Option<SecretSource> {
    let name = section.required_text("aws_secret");
    let (field, region) = (
        section.optional_text("field"),
        section.optional_text("region"),
    );
    if has_other_sources {
        section
            .problem_here("must have exactly one source: `env`, `file`, `command` or `aws_secret`");
        return None;
    }
    if !cfg!(feature = "aws") {
        section.problem("aws_secret", NO_AWS);
        return None;
    }
    Some(SecretSource::Aws(AwsSecret {
        name: name?.value.trim().to_owned(),
        field: field.map(|field| field.value),
        region: region.map(|region| region.value),
    }))
}

fn read_variable(section: &SectionReader<'_>, name: String) -> SecretSource {
    let value = section.environment().get(&name);
    if value.is_none_or(|value| value.trim().is_empty()) {
        section.unresolved_clause("env", format!("environment variable `{name}` is not set"));
    }
    SecretSource::Env(name)
}

fn read_command(
    section: &SectionReader<'_>,
    argv: Vec<Located<String>>,
    environment: Vec<String>,
) -> SecretSource {
    check_runner(section, &argv);
    SecretSource::Command(SecretCommand {
        argv: argv.into_iter().map(|argument| argument.value).collect(),
        environment,
    })
}

/// Reads names of variables that a program receives. Variables that are not set are not passed on.
pub fn read_variables(section: &SectionReader<'_>, key: &'static str) -> Vec<String> {
    if !section.has(key) {
        return Vec::new();
    }
    let names = section.texts(key).unwrap_or_default();
    for name in &names {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            section.problem_at(name, "is not a valid name of an environment variable");
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

/// Rejects a `command` in a file that other users can write, because they could run programs as this user.
pub fn check_runner(section: &SectionReader<'_>, argv: &[Located<String>]) {
    if let Some(Location::Line(file, _)) = argv.first().map(|argument| &argument.location)
        && let Some(mode) = mode_for_others(file)
    {
        let file = file.display();
        let message = format!(
            "is refused, because other users can write `{file}` (mode {mode:o}) and so run commands; run `chmod go-w {file}`"
        );
        section.problem("command", message);
    }
}

/// Returns the mode of a file that other users can write.
#[cfg(unix)]
fn mode_for_others(file: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(file).ok()?.mode();
    (mode & 0o022 != 0).then_some(mode & 0o777)
}

#[cfg(not(unix))]
fn mode_for_others(_file: &Path) -> Option<u32> {
    None
}
