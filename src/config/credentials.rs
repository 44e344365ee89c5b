//! Secrets as the configuration names them: in plain text, or by where they come from. What can be looked at without running
//! anything is looked at here: that a variable is set, that a file can be read.

use std::path::Path;

use reqwest::Url;

use crate::config::problem::Place;
use crate::config::reader::{Section, Sited};
use crate::config::secret_file;
use crate::config::source::{AwsSecret, NO_AWS, SecretCommand, SecretSource};
use crate::config::tree::{Node, Value};
use crate::outbound::is_loopback;
use crate::secret::Secret;

const NO_ADDRESS: &str =
    "is no address; it must begin with `https://` (it is not shown, as it may hold a secret)";
const NO_ADDRESS_OF_ANY_KIND: &str = "is no address; it must begin with `http://` or `https://` (it is not shown, as it may hold a secret)";
const CLEAR_TEXT_WITHOUT_SECRETS: &str = "is `http://` to another host, which sends in clear text; use `https://`, or confirm it with `allow_http = true`";
const CLEAR_TEXT: &str = "is `http://` to another host, which sends in clear text; use `https://`, or `allow_http = true` if you must";
const HOLDS_A_SECRET: &str = "must be an address and a path; where it holds a secret, name where it comes from, like `{ env = \"NAME\" }`";

/// Where a secret comes from; `None` where it is not given, or wrong.
pub fn read(section: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    let node = section.node(key)?;
    read_node(section, section.key(key), node)
}

/// Where a secret that must be there comes from.
pub fn required(section: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    if !section.has(key) {
        section.problem(
            key,
            "is missing; write it like `{ env = \"NAME\" }` or `{ file = \"…\" }`",
        );
    }
    read(section, key)
}

/// An address that must be there and may hold a secret. As far as it is known now, it begins with `https://`, or with
/// `http://` and leads to loopback or stands beside `allow_http = true`.
pub fn required_encrypted_url(section: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    let source = required(section, key)?;
    check_encrypted_url(section, key, &source);
    Some(source)
}

/// An address beside which a secret is sent. Written in plain text it may hold none, and is taken without a warning.
pub fn encrypted_url_in_the_open(section: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    let node = section.node(key)?;
    let source = read_in_the_open(section, section.key(key), node)?;
    let parsed = check_encrypted_url(section, key, &source);
    if matches!(source, SecretSource::Literal(_)) && parsed.as_ref().is_some_and(may_hold_a_secret)
    {
        section.problem(key, HOLDS_A_SECRET);
    }
    Some(source)
}

/// Addresses of any kind, each as [`encrypted_url_in_the_open`] takes them. Where no `headers` are sent with them, `http://` to
/// another host is a warning.
pub fn urls_in_the_open(
    section: &Section<'_>,
    key: &'static str,
    headers: &[(String, SecretSource)],
) -> Vec<SecretSource> {
    let Some(node) = section.node(key) else {
        return Vec::new();
    };
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items.as_slice(),
        Value::List(_) => {
            section.problem(key, "is empty; at least one address is needed");
            &[]
        }
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
            std::slice::from_ref(node)
        }
    };
    let read_item = |(place, item): (usize, &Node)| {
        let sited = Sited {
            value: (),
            place: item.place.clone(),
            key: format!("{}[{place}]", section.key(key)),
        };
        let source = read_in_the_open(section, sited.key.clone(), item)?;
        let Some(known) = known(section, &source) else {
            // What a command prints is checked when it is known.
            return Some(source);
        };
        let is_literal = matches!(source, SecretSource::Literal(_));
        match parse_url(&known) {
            None if is_literal => section.problem_at(&sited, NO_ADDRESS_OF_ANY_KIND),
            None => section.unresolved_at(&sited, NO_ADDRESS_OF_ANY_KIND),
            Some(url) if is_literal && may_hold_a_secret(&url) => {
                section.problem_at(&sited, HOLDS_A_SECRET);
            }
            // Members usually listen without TLS inside a cluster; only secrets must not be sent that way.
            Some(url) if is_in_clear_text(section, &url) && is_literal && headers.is_empty() => {
                section.warn_at(&sited, CLEAR_TEXT_WITHOUT_SECRETS);
            }
            Some(url) if is_in_clear_text(section, &url) && is_literal => {
                section.problem_at(&sited, CLEAR_TEXT);
            }
            Some(url) if is_in_clear_text(section, &url) => {
                section.unresolved_at(&sited, CLEAR_TEXT);
            }
            Some(_) => {}
        }
        Some(source)
    };
    items.iter().enumerate().filter_map(read_item).collect()
}

/// Plain text is taken without a warning.
fn read_in_the_open(section: &Section<'_>, key: String, node: &Node) -> Option<SecretSource> {
    match &node.value {
        Value::Text(text) if !text.trim().is_empty() => {
            Some(SecretSource::Literal(Secret::new(text.clone())))
        }
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

/// What is known of an address now; it must be one.
fn check_url(section: &Section<'_>, key: &'static str, source: &SecretSource) -> Option<Url> {
    let url = parse_url(&known(section, source)?);
    if url.is_none() {
        problem_of(section, key, source, NO_ADDRESS);
    }
    url
}

/// Reports what is wrong with the value of a secret. One that stands elsewhere matters only to whatever uses it.
pub fn problem_of(
    section: &Section<'_>,
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
    section: &Section<'_>,
    key: &'static str,
    source: &SecretSource,
) -> Option<Url> {
    let url = check_url(section, key, source)?;
    if is_in_clear_text(section, &url) {
        problem_of(section, key, source, CLEAR_TEXT);
    }
    Some(url)
}

/// Whether an address crosses a network unencrypted, and the section does not allow it.
fn is_in_clear_text(section: &Section<'_>, url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url) && !section.bool("allow_http", false)
}

/// A secret, where it can be known without running anything, and is not empty.
pub fn known(section: &Section<'_>, source: &SecretSource) -> Option<Secret> {
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

/// Several, while one is being replaced by another.
pub fn read_list(section: &Section<'_>, key: &'static str) -> Vec<SecretSource> {
    let Some(node) = section.node(key) else {
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        return read_node(section, section.key(key), node)
            .into_iter()
            .collect();
    };
    let item_key = |place: usize| format!("{}[{place}]", section.key(key));
    items
        .iter()
        .enumerate()
        .filter_map(|(place, item)| read_node(section, item_key(place), item))
        .collect()
}

/// By name, such as headers. Their values are often no secrets: a plain text is taken without a warning.
pub fn read_map(section: &Section<'_>, key: &'static str) -> Vec<(String, SecretSource)> {
    let Some(node) = section.node(key) else {
        return Vec::new();
    };
    let Value::Table(table) = &node.value else {
        let message = format!("is {}, it must be a table", node.value.kind());
        section.problem(key, message);
        return Vec::new();
    };
    let source = |name: &str, item: &Node| match &item.value {
        Value::Text(text) => Some(SecretSource::Literal(Secret::new(text.clone()))),
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            read_node(section, format!("{}.{name}", section.key(key)), item)
        }
    };
    table
        .iter()
        .filter_map(|(name, item)| Some((name.clone(), source(name, item)?)))
        .collect()
}

fn read_node(section: &Section<'_>, key: String, node: &Node) -> Option<SecretSource> {
    let sited = Sited {
        value: (),
        place: node.place.clone(),
        key,
    };
    match &node.value {
        Value::Text(text) if text.trim().is_empty() => {
            section.problem_at(&sited, "is empty");
            None
        }
        Value::Text(text) => {
            if matches!(node.place, Place::Line(..)) {
                section.warn_at(
                    &sited,
                    "is a secret in plain text; better name where it comes from, like `{ env = \"NAME\" }` or \
                     `{ file = \"…\" }`",
                );
            }
            Some(SecretSource::Literal(Secret::new(text.clone())))
        }
        Value::Table(table) => {
            let below = section.below(table, sited.key, node);
            let source = read_source(&below);
            below.finish();
            source
        }
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) => {
            let wanted =
                "`{ env = … }`, `{ file = … }`, `{ command = […] }` or `{ aws_secret = … }`";
            let message = format!("is {}, it must be {wanted}", node.value.kind());
            section.problem_at(&sited, message);
            None
        }
    }
}

fn read_source(section: &Section<'_>) -> Option<SecretSource> {
    let (env, file) = (section.text("env"), section.text("file"));
    let command = section.texts("command");
    let environment = read_variables(section, "environment");
    if section.has("environment") && command.is_none() {
        section.problem("environment", "belongs to `command`");
    }
    if section.has("aws_secret") {
        return read_aws(
            section,
            env.is_some() || file.is_some() || command.is_some(),
        );
    }
    for key in ["field", "region"] {
        if section.has(key) {
            section.problem(key, "belongs to `aws_secret`");
        }
    }
    match (env, file, command) {
        (Some(name), None, None) => Some(read_variable(section, name.value)),
        (None, Some(path), None) => {
            if let Err(error) = secret_file::check(Path::new(&path.value)) {
                section.unresolved("file", format!("names what cannot be used: {error}"));
            }
            Some(SecretSource::File(path.value.into()))
        }
        (None, None, Some(words)) if words.first().is_some_and(|word| !word.value.is_empty()) => {
            Some(read_command(section, words, environment))
        }
        _ => {
            section.problem_here("must name one source: `env`, `file`, `command` or `aws_secret`");
            None
        }
    }
}

fn read_aws(section: &Section<'_>, has_others: bool) -> Option<SecretSource> {
    let name = section.required_text("aws_secret");
    let text = |key: &'static str| {
        let has = section.has(key);
        has.then(|| section.required_text(key)).flatten()
    };
    let (field, region) = (text("field"), text("region"));
    if has_others {
        section.problem_here("must name one source: `env`, `file`, `command` or `aws_secret`");
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

fn read_variable(section: &Section<'_>, name: String) -> SecretSource {
    let value = section.environment().get(&name);
    if value.is_none_or(|value| value.trim().is_empty()) {
        let message = format!("names the variable `{name}`, which is not set");
        section.unresolved("env", message);
    }
    SecretSource::Env(name)
}

fn read_command(
    section: &Section<'_>,
    words: Vec<Sited<String>>,
    environment: Vec<String>,
) -> SecretSource {
    check_runner(section, &words);
    SecretSource::Command(SecretCommand {
        words: words.into_iter().map(|word| word.value).collect(),
        environment,
    })
}

/// Names of variables that a program receives; one that is not set is not passed on.
pub fn read_variables(section: &Section<'_>, key: &'static str) -> Vec<String> {
    if !section.has(key) {
        return Vec::new();
    }
    let names = section.texts(key).unwrap_or_default();
    for name in &names {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            section.problem_at(name, "is not the name of an environment variable");
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

/// Refuses a `command` in a file that others may write: they could run programs as us.
pub fn check_runner(section: &Section<'_>, words: &[Sited<String>]) {
    if let Some(Place::Line(file, _)) = words.first().map(|word| &word.place)
        && let Some(mode) = mode_for_others(file)
    {
        let file = file.display();
        let message = format!(
            "is not run: others may write `{file}` (mode {mode:o}) and so run commands; `chmod go-w {file}` first"
        );
        section.problem("command", message);
    }
}

/// The mode of a file that others may write.
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
