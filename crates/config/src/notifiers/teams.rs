//! `type = "teams"`.

use crate::credentials;
use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;

/// Hosts that Microsoft has switched off, and what to use instead.
const DEAD_HOSTS: [(&str, &str); 2] = [
    (
        "webhook.office.com",
        "create a workflow with the trigger \"When a Teams webhook request is received\" and use its URL",
    ),
    (
        "logic.azure.com",
        "open the workflow and copy its URL again",
    ),
];

/// Reads the URL of a workflow.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let url = credentials::required_encrypted_url(section, "url")?;
    let known = credentials::known(section, &url);
    let parsed = known.and_then(|known| reqwest::Url::parse(known.expose().trim()).ok());
    let host = parsed.as_ref().and_then(reqwest::Url::host_str);
    let dead = DEAD_HOSTS.iter().find(|(dead, _)| {
        let before = host.and_then(|host| host.strip_suffix(dead));
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    });
    if let Some((dead, instead)) = dead {
        let message = format!("uses `{dead}`, which Microsoft has switched off; {instead}");
        section.warn("url", message);
    }
    Some(NotifierKind::Teams { url })
}
