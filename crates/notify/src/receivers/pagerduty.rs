//! PagerDuty's Events API v2: one event per alert opens, updates or resolves an incident.
//!
//! The deduplication key is derived from the alert's identity, so a duplicate event changes nothing. The rate limit is
//! 120 events a minute by default, so accepted events of a message are not sent again on a retry.

use std::slice;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::envelope::Envelope;
use crate::json::figures;
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, PostRequest, PostResponse, ReceiverEndpoint, ResponseClass};
use crate::wording::contributors;
use crate::wording::digest::DigestEnvelope;
use crate::wording::fit;
use crate::wording::formatting;
use crate::wording::message;
use crate::wording::watches::advise;
use spendwatch_base::receiver::{PagerDutySettings, ROUTING_KEY_LENGTH};
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::alert::Identity;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;

const MAX_DEDUP_KEY_BYTES: usize = 255;
const MAX_SUMMARY_CHARS: usize = 1024;
const MAX_EVENT_BYTES: usize = 512_000;

/// An integration of a PagerDuty service.
#[derive(Debug, Clone)]
pub struct PagerDuty {
    endpoint: ReceiverEndpoint,
    routing_key: Secret,
}

impl PagerDuty {
    /// Validates URL and key.
    pub fn new(
        settings: PagerDutySettings<Secret>,
        allow_http: bool,
    ) -> Result<PagerDuty, SettingsError> {
        let endpoint = ReceiverEndpoint::new(settings.url, allow_http)?;
        let routing_key = settings.routing_key.expose().trim();
        if routing_key.chars().count() != ROUTING_KEY_LENGTH {
            return Err(SettingsError::RoutingKey);
        }
        Ok(PagerDuty {
            endpoint,
            routing_key: Secret::new(routing_key.to_owned()),
        })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let url = self.endpoint.secret().expose();
        vec!["pagerduty", url, self.routing_key.expose()]
    }

    /// Sends the next event of the message. A rejected event does not block the others.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let index = usize::try_from(envelope.n_posted).unwrap_or(usize::MAX);
        let mut rest = envelope.facts.iter().skip(index);
        let Some(fact) = rest.next() else {
            return Delivery::Delivered;
        };
        let delivery = self.post(envelope, fact).await;
        delivery.for_post(rest.next().is_none())
    }

    /// The configuration rejects this, but a waiting message may be from another configuration.
    pub async fn send_digest(&self, _: &DigestEnvelope<'_>) -> Delivery {
        Delivery::drop_message("PagerDuty accepts no digests")
    }

    async fn post(&self, envelope: &Envelope<'_>, fact: &Fact) -> Delivery {
        let mut event = payload(envelope, fact);
        event["routing_key"] = self.routing_key.expose().into();
        let post = PostRequest {
            secrets: vec![&self.routing_key],
            ..PostRequest::json(&self.endpoint, &event, envelope.now)
        };
        post::post(post, classify).await
    }
}

/// Only 202 means that PagerDuty accepted the event; other 2xx codes come from a proxy.
fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        202 => ResponseClass::Delivered,
        200..=299 | 408 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        400 if is_about_the_integration(&response.body) => ResponseClass::Park,
        300..=399 | 401..=405 | 407 | 410 | 451 => ResponseClass::Park,
        _ => ResponseClass::Drop,
    }
}

/// `'routing_key' is missing or blank`, `Invalid routing key`, `The integration was disabled`.
fn is_about_the_integration(body: &str) -> bool {
    let body = body.to_lowercase().replace('_', " ");
    [
        "routing key",
        "service key",
        "integration",
        "account",
        "subscription",
    ]
    .iter()
    .any(|part| body.contains(part))
}

/// Returns the event of one alert, without the routing key.
pub fn payload(envelope: &Envelope<'_>, fact: &Fact) -> Value {
    let key = dedup_key(&fact.identity);
    match fact.reason {
        Reason::Resolved => json!({ "event_action": "resolve", "dedup_key": key }),
        Reason::First
        | Reason::Escalated
        | Reason::Lowered
        | Reason::Repeated
        | Reason::Unsilenced => trigger(envelope, fact, &key),
    }
}

fn trigger(envelope: &Envelope<'_>, fact: &Fact, key: &str) -> Value {
    let alone = Envelope {
        facts: slice::from_ref(fact),
        ..*envelope
    };
    let message = message::render(&alone, 1);
    let summary = format!("{}: {}", message.title, message.summary);
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": key,
        "client": "spendwatch",
        "payload": {
            "summary": fit::cut(&summary, MAX_SUMMARY_CHARS, str::to_owned),
            "source": formatting::clean(fact.identity.organization.as_str()),
            "severity": severity(fact.threshold.severity),
            "timestamp": fact.decided_at.to_string(),
            "component": formatting::subject(fact),
            "group": formatting::clean(fact.identity.slot.rule.as_str()),
            "class": fact.watch.as_str(),
            "custom_details": details(envelope, fact, &message.notes),
        },
        "links": links(envelope, fact),
    });
    if let Some(page) = &message.page {
        event["client_url"] = page.as_str().into();
    }
    let n_bytes = event.to_string().len() + MAX_ROUTING_KEY_BYTES;
    if n_bytes > MAX_EVENT_BYTES {
        event["payload"]["custom_details"] =
            json!({ "left_out": "details omitted, the event was too large" });
    }
    event
}

/// Bytes that the routing key adds to an event, with each character escaped.
const MAX_ROUTING_KEY_BYTES: usize = 20 + 6 * ROUTING_KEY_LENGTH;

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// Exact figures, and texts that the summary does not contain.
fn details(envelope: &Envelope<'_>, fact: &Fact, notes: &[String]) -> Value {
    let advice: Vec<String> = advise(fact, envelope.links)
        .into_iter()
        .map(|advice| advice.text)
        .collect();
    let mut details = figures::figures(fact);
    let more = [
        ("organization", json!(fact.identity.organization.as_str())),
        ("rule", json!(fact.identity.slot.rule.as_str())),
        ("subject_id", json!(&*fact.identity.slot.subject.id)),
        ("firing_since", json!(fact.firing_since.to_string())),
        ("labels", json!(fact.labels)),
        ("largest_contributors", json!(contributors::lines(fact))),
        ("advice", json!(advice)),
        ("notes", json!(notes)),
    ];
    for (name, value) in more {
        details[name] = value;
    }
    details
}

fn links(envelope: &Envelope<'_>, fact: &Fact) -> Vec<Value> {
    let advice = advise(fact, envelope.links)
        .into_iter()
        .filter_map(|advice| Some((advice.link?, advice.text)));
    let page = envelope.links.alert_page(&fact.identity);
    advice
        .chain(page.map(|page| (page, "spendwatch".to_owned())))
        .map(|(href, text)| json!({ "href": href, "text": text }))
        .collect()
}

/// `acme/workspace-month/workspace/workspace_01/2026-11`. Without a period the start identifies the alert; a subject may have
/// several events.
fn dedup_key(identity: &Identity) -> String {
    let slot = &identity.slot;
    let period = match &slot.period {
        Some(label) => label.to_string(),
        None => format!("since {}", identity.started_at),
    };
    let mut parts = vec![
        identity.organization.as_str(),
        slot.rule.as_str(),
        slot.subject.kind.as_str(),
        &slot.subject.id,
        &period,
    ];
    parts.extend(slot.event.map(Event::as_str));
    let parts: Vec<String> = parts.into_iter().map(escape_key_part).collect();
    let key = parts.join("/");
    if key.len() <= MAX_DEDUP_KEY_BYTES {
        return key;
    }
    let hash = Sha256::digest(key.as_bytes());
    let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Keeps keys of different identities distinct.
fn escape_key_part(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, fact};

    #[track_caller]
    fn check(statuses: &[u16], body: &str, expected: ResponseClass) {
        for status in statuses {
            let answer = PostResponse {
                status: *status,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            assert_eq!(classify(&answer), expected, "{status} {body}");
        }
    }

    #[test]
    fn responses_are_classified() {
        check(&[202], "", ResponseClass::Delivered);
        check(
            &[200, 408, 429, 500, 502, 503, 504],
            "",
            ResponseClass::Retry,
        );
        check(&[302, 401, 403, 404, 405], "", ResponseClass::Park);
        check(
            &[400, 413, 422],
            "Event object is invalid",
            ResponseClass::Drop,
        );
        for body in [
            "'routing_key' is missing or blank",
            "Invalid Routing Key",
            "The integration was disabled",
            "This account is suspended",
        ] {
            check(&[400], body, ResponseClass::Park);
        }
    }

    #[test]
    fn dedup_key_is_derived_from_the_identity() {
        let mut identity = fact(Reason::First).identity;
        let expected = "acme/workspace-month/workspace/workspace_01/2026-11";
        assert_eq!(dedup_key(&identity), expected);
        identity.slot.period = None;
        identity.started_at = at("2026-11-24T13:05:00Z");
        identity.slot.rule = "a/b%".into();
        let expected = "acme/a%2Fb%25/workspace/workspace_01/since 2026-11-24T13:05:00Z";
        assert_eq!(dedup_key(&identity), expected);
        identity.slot.event = Some(Event::KeyIdle);
        assert_eq!(dedup_key(&identity), format!("{expected}/key_idle"));
        identity.slot.rule = "é".repeat(200).as_str().into();
        let long = dedup_key(&identity);
        assert_eq!(long.len(), 64);
        identity.started_at = at("2026-11-24T13:05:01Z");
        assert_ne!(dedup_key(&identity), long);
    }
}
