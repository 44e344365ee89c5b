//! `type = "slack"`: an incoming webhook, or a bot.

use crate::credentials;
use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;
use spendwatch_base::outbound;
use spendwatch_base::receiver::SlackApiSettings;

const SLACK_API_URL: &str = "https://slack.com/api";

/// Reads a bot if there is a `token`, else a webhook.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    if section.has("token") {
        return read_bot(section);
    }
    for key in ["channel", "api_url"] {
        if section.has(key) {
            section.problem(key, "applies only with `token`");
        }
    }
    credentials::required_encrypted_url(section, "url").map(|url| NotifierKind::Slack { url })
}

fn read_bot(section: &SectionReader<'_>) -> Option<NotifierKind> {
    if section.has("url") {
        let message =
            "and `token` are both set; use `url` for a webhook, or `token` and `channel` for a bot";
        section.problem("url", message);
    }
    let token = credentials::read(section, "token");
    let channel = section.name("channel");
    let api_url = section.text_or("api_url", SLACK_API_URL);
    if !is_api_url(&api_url, section.bool("allow_http", false)) {
        let message = "is not a valid API URL; use `https://` (`http://` only to loopback, or with `allow_http = true`), for example `https://slack.com/api`";
        section.problem("api_url", message);
    }
    Some(NotifierKind::SlackApi(SlackApiSettings {
        token: token?,
        channel: channel?.value,
        api_url,
    }))
}

/// Returns whether a URL is suitable for an API. The token must not be sent in clear text by accident.
fn is_api_url(text: &str, allow_http: bool) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        let is_safe = match url.scheme() {
            "https" => url.has_host(),
            "http" => outbound::is_loopback(&url) || allow_http && url.has_host(),
            _ => false,
        };
        is_safe && url.username().is_empty() && url.query().is_none() && url.fragment().is_none()
    })
}
