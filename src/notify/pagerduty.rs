//! PagerDuty's Events API v2: an event for each alert, which opens an incident, adds to it, or resolves it.
//!
//! The alert's identity is the key by which PagerDuty knows an incident again, so an event that comes twice changes
//! nothing. Its rate is limited, to 120 events a minute by default: what it took of a message is not sent again, or a message
//! of very many alerts would never get to its end.

use std::slice;

use reqwest::Client;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::alert::Identity;
use crate::domain::event::Event;
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::Severity;
use crate::notify::advice::advise;
use crate::notify::envelope::Envelope;
use crate::notify::fit;
use crate::notify::message;
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Post, Verdict};
use crate::notify::wording;
use crate::notify::webhook;
use crate::notify::formatting;
use crate::secret::Secret;

/// Characters of a routing key.
pub const ROUTING_KEY_LENGTH: usize = 32;
/// Bytes of a key by which an incident is known again.
const MAX_DEDUP_KEY: usize = 255;
/// Characters of a summary.
const MAX_SUMMARY: usize = 1024;
/// Bytes of an event.
const MAX_EVENT: usize = 512_000;

/// What a PagerDuty notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Secret,
    pub routing_key: Secret,
}

/// A service's integration.
#[derive(Debug, Clone)]
pub struct PagerDuty {
    client: Client,
    address: Address,
    routing_key: Secret,
}

impl PagerDuty {
    /// Checks address and key. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<PagerDuty, SettingsError> {
        let address = Address::new(settings.url)?;
        let routing_key = settings.routing_key.expose().trim();
        if routing_key.chars().count() != ROUTING_KEY_LENGTH {
            return Err(SettingsError::RoutingKey);
        }
        Ok(PagerDuty {
            client,
            address,
            routing_key: Secret::new(routing_key.to_owned()),
        })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        let url = self.address.secret().expose();
        vec!["pagerduty", url, self.routing_key.expose()]
    }

    /// Sends the next event of the message. One that will never be accepted holds up none of the others.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let place = usize::try_from(envelope.n_posted).unwrap_or(usize::MAX);
        let mut rest = envelope.facts.iter().skip(place);
        let Some(fact) = rest.next() else {
            return Delivery::Delivered;
        };
        let delivery = self.post(envelope, fact).await;
        delivery.of_part(rest.next().is_none())
    }

    async fn post(&self, envelope: &Envelope<'_>, fact: &Fact) -> Delivery {
        let mut event = payload(envelope, fact);
        event["routing_key"] = self.routing_key.expose().into();
        let post = Post {
            address: &self.address,
            headers: HeaderMap::new(),
            body: event.to_string().into_bytes(),
            secrets: vec![&self.routing_key],
            now: envelope.now,
        };
        post::post(&self.client, post, judge).await
    }
}

/// Only a 202 means that an event was taken; another yes comes from something in between.
fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        202 => Verdict::Delivered,
        200..=299 | 408 | 425 | 429 | 500..=599 => Verdict::Retry,
        400 if is_about_the_integration(&answer.body) => Verdict::Park,
        300..=399 | 401..=405 | 407 | 410 | 451 => Verdict::Park,
        _ => Verdict::Drop,
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

/// The event of one alert, but for the routing key.
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
            "summary": fit::cut(&summary, MAX_SUMMARY, str::to_owned),
            "source": formatting::clean(fact.identity.organization.as_str()),
            "severity": severity(fact.line.severity),
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
    let n_bytes = event.to_string().len() + MAX_ROUTING_KEY_MEMBER;
    if n_bytes > MAX_EVENT {
        event["payload"]["custom_details"] =
            json!({ "left_out": "the details: with them the event was too large" });
    }
    event
}

/// Bytes that the routing key adds to an event, each of its characters escaped.
const MAX_ROUTING_KEY_MEMBER: usize = 20 + 6 * ROUTING_KEY_LENGTH;

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// The exact figures, and in words what the summary does not say.
fn details(envelope: &Envelope<'_>, fact: &Fact, notes: &[String]) -> Value {
    let advice: Vec<String> = advise(fact, envelope.links)
        .into_iter()
        .map(|advice| advice.text)
        .collect();
    let mut details = webhook::figures(fact);
    let more = [
        ("organization", json!(fact.identity.organization.as_str())),
        ("rule", json!(fact.identity.slot.rule.as_str())),
        ("subject_id", json!(&*fact.identity.slot.subject.id)),
        ("firing_since", json!(fact.firing_since.to_string())),
        ("labels", json!(fact.labels)),
        ("largest_contributors", json!(wording::contributors(fact))),
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
    let page = envelope.links.page_of(&fact.identity);
    advice
        .chain(page.map(|page| (page, "spendwatch".to_owned())))
        .map(|(href, text)| json!({ "href": href, "text": text }))
        .collect()
}

/// `acme/workspace-month/workspace/workspace_01/2026-11`. Without a period an alert's beginning is part of what it is, and
/// one subject may have several events.
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
    let parts: Vec<String> = parts.into_iter().map(key_part).collect();
    let key = parts.join("/");
    if key.len() <= MAX_DEDUP_KEY {
        return key;
    }
    let hash = Sha256::digest(key.as_bytes());
    let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// So that no two identities have the same key.
fn key_part(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::{at, fact};

    #[track_caller]
    fn check(statuses: &[u16], body: &str, expected: Verdict) {
        for status in statuses {
            let answer = Answer {
                status: *status,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            assert_eq!(judge(&answer), expected, "{status} {body}");
        }
    }

    #[test]
    fn answers() {
        check(&[202], "", Verdict::Delivered);
        check(&[200, 408, 429, 500, 502, 503, 504], "", Verdict::Retry);
        check(&[302, 401, 403, 404, 405], "", Verdict::Park);
        check(&[400, 413, 422], "Event object is invalid", Verdict::Drop);
        for body in [
            "'routing_key' is missing or blank",
            "Invalid Routing Key",
            "The integration was disabled",
            "This account is suspended",
        ] {
            check(&[400], body, Verdict::Park);
        }
    }

    #[test]
    fn an_incident_is_known_again_by_what_the_alert_is() {
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
