//! `type = "alertmanager"`.

use std::time::Duration;

use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use crate::{credentials, durations};
use spendwatch_base::receiver::{AlertmanagerMember, AlertmanagerSettings};

const RESEND_INTERVAL: Duration = Duration::from_mins(1);
const MIN_RESEND_INTERVAL: Duration = Duration::from_secs(10);
/// Keys that do not apply to an Alertmanager, which has no outbox and receives every resolution.
const OF_MESSAGES: [&str; 5] = [
    "group_wait",
    "group_interval",
    "max_age",
    "tell_period_end",
    "fallback",
];

/// Reads the members of a cluster.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    for key in OF_MESSAGES {
        if section.has(key) {
            section.problem(
                key,
                "does not apply to `type = \"alertmanager\"`; remove it",
            );
        }
    }
    let headers = credentials::read_map(section, "headers");
    let urls = credentials::plain_urls(section, "urls", &headers);
    let resend_interval = durations::read_wait(section, "resend_interval", RESEND_INTERVAL);
    if resend_interval < MIN_RESEND_INTERVAL {
        section.problem("resend_interval", "must be at least `10s`");
    }
    if section.has("url") {
        section.problem(
            "url",
            "does not apply to `type = \"alertmanager\"`; use `urls` with every member, for example `[\"https://am-0:9093\"]`",
        );
    } else if !section.has("urls") {
        section.problem(
            "urls",
            "is missing; list every member, for example `[\"https://am-0:9093\"]`",
        );
    }
    let allow_http = section.bool("allow_http", false);
    let member = |url| AlertmanagerMember {
        // A URL in the file was checked already.
        allow_http: allow_http || matches!(url, SecretSource::Literal(_)),
        url,
    };
    (!urls.is_empty()).then_some(NotifierKind::Alertmanager(AlertmanagerSettings {
        members: urls.into_iter().map(member).collect(),
        headers,
        resend_interval,
    }))
}
