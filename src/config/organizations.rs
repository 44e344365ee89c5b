//! `[[organizations]]`: which accounts are watched, and how they are reached.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::shown;
use crate::config::reader::Section;
use crate::config::source::SecretSource;
use crate::config::{credentials, durations};
use crate::domain::ids::OrganizationName;

/// Where the real service is.
pub const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
/// Requests a minute in the guide dialect.
pub const GUIDE_REQUESTS_PER_MINUTE: u32 = 60;

/// One account.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Unique.
    pub name: OrganizationName,
    /// With or without `/v1`.
    pub base_url: String,
    /// Whether the server is asked how it speaks.
    pub is_auto: bool,
    /// The key's source.
    pub admin_key: SecretSource,
    /// One request.
    pub timeout: Duration,
    /// Requests at once.
    pub max_concurrency: usize,
    /// 0 is no limit.
    pub max_requests_per_minute: u32,
    /// An own root certificate.
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
    let later = ["analytics", "reports"];
    let is_auto = section.word("dialect", &[("auto", true), ("guide", false)], &later, true);
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
        is_auto,
        admin_key: admin_key?,
        timeout,
        max_concurrency: usize::try_from(max_concurrency).unwrap_or(2),
        max_requests_per_minute: per_minute
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(GUIDE_REQUESTS_PER_MINUTE),
        ca_file,
    })
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
