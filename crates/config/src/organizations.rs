//! `[[organizations]]`: the watched accounts and how to connect to their Admin API.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;

use crate::problem::redacted_address;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use crate::{credentials, durations};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::OrganizationName;

/// Base URL of Anthropic's Admin API.
pub const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
/// Default of the header `anthropic-version`.
pub const DEFAULT_API_VERSION: &str = "2023-06-01";
/// The API versions that this release supports.
const API_VERSIONS: [&str; 2] = [DEFAULT_API_VERSION, "2026-10-21"];

/// One watched account.
#[derive(Debug, Clone)]
pub struct OrganizationConfig {
    pub name: OrganizationName,
    /// With or without `/v1`.
    pub base_url: String,
    /// `None` means that it is detected.
    pub dialect: Option<Dialect>,
    /// Header `anthropic-version`, a date such as `2023-06-01`.
    pub api_version: String,
    pub admin_key: SecretSource,
    pub timeout: Duration,
    pub max_concurrency: usize,
    /// `None` uses the default of the dialect; 0 means no limit.
    pub max_requests_per_minute: Option<u32>,
    pub ca_file: Option<PathBuf>,
}

/// Reads all organizations.
pub fn read(root: &SectionReader<'_>) -> Vec<OrganizationConfig> {
    let mut organizations: Vec<OrganizationConfig> = Vec::new();
    let sections = root.sections("organizations");
    if !root.has("organizations") {
        root.problem(
            "organizations",
            "is missing; add `[[organizations]]` with an `admin_key`",
        );
    }
    for section in sections {
        let organization = read_one(&section);
        section.finish();
        let Some(organization) = organization else {
            continue;
        };
        if organizations
            .iter()
            .any(|other| other.name == organization.name)
        {
            let name = &organization.name;
            let message = format!("duplicates the name `{name}` of an earlier organization");
            section.problem("name", message);
        }
        organizations.push(organization);
    }
    organizations
}

fn read_one(section: &SectionReader<'_>) -> Option<OrganizationConfig> {
    let name = if section.has("name") {
        section.name("name").map(|name| name.value)
    } else {
        Some(section.text_or("name", "default"))
    };
    let base_url = read_base_url(section);
    let mut dialects = vec![("auto", None)];
    dialects.extend(Dialect::ALL.map(|dialect| (dialect.name(), Some(dialect))));
    let dialect = section.choice("dialect", &dialects, &[], None);
    let api_version = read_api_version(section);
    let admin_key = credentials::read(section, "admin_key");
    if !section.has("admin_key") {
        section.problem(
            "admin_key",
            "is missing, for example `{ env = \"ANTHROPIC_ADMIN_KEY\" }`",
        );
    }
    let timeout = durations::read_wait(section, "timeout", Duration::from_secs(30));
    let max_concurrency = section.integer_or("max_concurrency", (1, 1000), 2);
    let per_minute = section.integer("max_requests_per_minute", (0, 1_000_000));
    let ca_file = read_ca_file(section);
    Some(OrganizationConfig {
        name: OrganizationName::new(name?),
        base_url,
        dialect,
        api_version,
        admin_key: admin_key?,
        timeout,
        max_concurrency,
        max_requests_per_minute: per_minute.and_then(|n| u32::try_from(n).ok()),
        ca_file,
    })
}

/// Reads the API version. An unknown one is only a warning, since it may still be compatible.
fn read_api_version(section: &SectionReader<'_>) -> String {
    let text = section.text_or("api_version", DEFAULT_API_VERSION);
    let known = API_VERSIONS
        .map(|version| format!("`{version}`"))
        .join(" or ");
    let is_day = text.len() == 10 && text.parse::<Date>().is_ok();
    if !is_day {
        let message = format!("is `{text}`, which is not a version; use {known}");
        section.problem("api_version", message);
    } else if !API_VERSIONS.contains(&text.as_str()) {
        let message = format!("is `{text}`, which this release does not support; use {known}");
        section.warn("api_version", message);
    }
    text
}

fn read_ca_file(section: &SectionReader<'_>) -> Option<PathBuf> {
    let path = section.text("ca_file")?;
    if let Err(error) = std::fs::File::open(&path.value).and_then(|file| file.metadata()) {
        let message = format!("is `{}`, which cannot be read: {error}", path.value);
        section.problem("ca_file", message);
    }
    Some(PathBuf::from(path.value))
}

fn read_base_url(section: &SectionReader<'_>) -> String {
    let text = section.text_or("base_url", DEFAULT_BASE_URL);
    let allow_http = section.bool("allow_http", false);
    if let Err(message) = check_base_url(&text, allow_http) {
        section.problem("base_url", message);
    }
    text
}

/// Checks that a base URL uses `https://`, or `http://` to loopback, so that the key is not sent in clear text by accident.
pub fn check_base_url(text: &str, allow_http: bool) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| {
        format!(
            "is {}, which is not a URL ({error}); for example `https://api.anthropic.com`",
            redacted_address(text)
        )
    })?;
    let host = url.host_str().unwrap_or("");
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if is_loopback || allow_http => {}
        "http" => {
            return Err(
                "sends the key in clear text; use `https://`, or allow it with `allow_http = true`"
                    .to_owned(),
            );
        }
        other => {
            return Err(format!("begins with `{other}:`, expected `https://`"));
        }
    }
    if url.username() != ""
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err("must not contain a login, `?` or `#`".to_owned());
    }
    Ok(())
}
