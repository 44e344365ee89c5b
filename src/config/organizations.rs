//! `[[organizations]]`: which accounts are watched, and how they are reached.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;

use crate::config::problem::shown;
use crate::config::reader::Section;
use crate::config::source::SecretSource;
use crate::config::{credentials, durations};
use crate::domain::dialect::Dialect;
use crate::domain::ids::OrganizationName;

/// Where the real service is.
pub const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
/// The version of the API that is asked for.
pub const DEFAULT_API_VERSION: &str = "2023-06-01";
/// The versions that this program was written for.
const API_VERSIONS: [&str; 2] = [DEFAULT_API_VERSION, "2026-10-21"];

/// One account.
#[derive(Debug, Clone)]
pub struct Organization {
    pub name: OrganizationName,
    /// With or without `/v1`.
    pub base_url: String,
    /// How the server speaks; `None` where it is asked.
    pub dialect: Option<Dialect>,
    /// The value of the header `anthropic-version`: a day, like `2023-06-01`.
    pub api_version: String,
    pub admin_key: SecretSource,
    pub timeout: Duration,
    pub max_concurrency: usize,
    /// `None` is the dialect's own limit, 0 is none.
    pub max_requests_per_minute: Option<u32>,
    pub ca_file: Option<PathBuf>,
}

/// Reads all of them.
pub fn read(root: &Section<'_>) -> Vec<Organization> {
    let mut organizations: Vec<Organization> = Vec::new();
    let sections = root.sections("organizations");
    if !root.has("organizations") {
        root.problem(
            "organizations",
            "is missing: at least one `[[organizations]]` with an `admin_key` is needed",
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
            section.problem("name", format!("`{}` is used twice", organization.name));
        }
        organizations.push(organization);
    }
    organizations
}

fn read_one(section: &Section<'_>) -> Option<Organization> {
    let name = if section.has("name") {
        section.name("name").map(|name| name.value)
    } else {
        Some("default".to_owned())
    };
    let base_url = read_base_url(section);
    let mut dialects = vec![("auto", None)];
    dialects.extend(Dialect::ALL.map(|dialect| (dialect.name(), Some(dialect))));
    let dialect = section.word("dialect", &dialects, &[], None);
    let api_version = read_api_version(section);
    let admin_key = credentials::read(section, "admin_key");
    if !section.has("admin_key") {
        section.problem(
            "admin_key",
            "is missing; write `admin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }`",
        );
    }
    let timeout = durations::read_wait(section, "timeout", Duration::from_secs(30));
    let max_concurrency = section.integer("max_concurrency", (1, 1000)).unwrap_or(2);
    let per_minute = section.integer("max_requests_per_minute", (0, 1_000_000));
    let ca_file = read_ca_file(section);
    Some(Organization {
        name: OrganizationName::new(name?),
        base_url,
        dialect,
        api_version,
        admin_key: admin_key?,
        timeout,
        max_concurrency: usize::try_from(max_concurrency).unwrap_or(2),
        max_requests_per_minute: per_minute.and_then(|n| u32::try_from(n).ok()),
        ca_file,
    })
}

/// A version that came after this program may mean other things by the same words.
fn read_api_version(section: &Section<'_>) -> String {
    let Some(text) = section.text("api_version") else {
        return DEFAULT_API_VERSION.to_owned();
    };
    let known = API_VERSIONS
        .map(|version| format!("`{version}`"))
        .join(" and ");
    let is_day = text.value.len() == 10 && text.value.parse::<Date>().is_ok();
    if !is_day {
        let message = format!("is `{}`, which is no version; there is {known}", text.value);
        section.problem("api_version", message);
    } else if !API_VERSIONS.contains(&text.value.as_str()) {
        let message = format!(
            "is `{}`, which this version does not know; it knows {known}",
            text.value
        );
        section.warn("api_version", message);
    }
    text.value
}

fn read_ca_file(section: &Section<'_>) -> Option<PathBuf> {
    let path = section.text("ca_file")?;
    if let Err(error) = std::fs::File::open(&path.value).and_then(|file| file.metadata()) {
        let message = format!("names `{}`, which cannot be read: {error}", path.value);
        section.problem("ca_file", message);
    }
    Some(PathBuf::from(path.value))
}

fn read_base_url(section: &Section<'_>) -> String {
    let allow_http = section.bool("allow_http", false);
    let Some(text) = section.text("base_url") else {
        return DEFAULT_BASE_URL.to_owned();
    };
    if let Err(message) = check_base_url(&text.value, allow_http) {
        section.problem("base_url", message);
    }
    text.value
}

/// `https://`, or `http://` to loopback; a key must not cross a network in clear text by accident.
pub fn check_base_url(text: &str, allow_http: bool) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| {
        format!(
            "is {}, which is no address ({error}); write it like `https://api.anthropic.com`",
            shown(text)
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
                "sends the key in clear text; use https://, or `allow_http = true` if you must"
                    .to_owned(),
            );
        }
        other => {
            return Err(format!(
                "begins with `{other}:`, it must begin with https://"
            ));
        }
    }
    if url.username() != ""
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err("must be an address and a path, without a login, `?` or `#`".to_owned());
    }
    Ok(())
}
