//! `type = "pagerduty"`.

use crate::credentials;
use crate::effective::quoted;
use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use spendwatch_base::receiver::{PagerDutySettings, ROUTING_KEY_LENGTH};
use spendwatch_base::secret::Secret;

/// PagerDuty's Events API for accounts outside of its European region.
const EVENTS_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// Reads the key of an integration.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let url = if section.has("url") {
        credentials::encrypted_plain_url(section, "url")
    } else {
        section.record("url", quoted(EVENTS_URL));
        Some(SecretSource::Literal(Secret::new(EVENTS_URL.to_owned())))
    };
    let routing_key = credentials::required(section, "routing_key")?;
    let known = credentials::known(section, &routing_key);
    if known.is_some_and(|key| key.expose().trim().chars().count() != ROUTING_KEY_LENGTH) {
        let message = format!(
            "is not a routing key; expected {ROUTING_KEY_LENGTH} characters (value not shown)"
        );
        credentials::problem_of(section, "routing_key", &routing_key, message);
    }
    Some(NotifierKind::PagerDuty(PagerDutySettings {
        url: url?,
        routing_key,
    }))
}
