//! Prometheus Alertmanager's API v2. Each alert has an `endsAt` until which Alertmanager keeps it firing.
//!
//! Alerts are resent to every member, as Prometheus does, so a missed request is made up by the next one. There is no
//! outbox, retry or order here.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::envelope::{Envelope, Links};
use crate::json::alerts;
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, PostRequest, PostResponse, ReceiverEndpoint, ResponseClass};
use crate::receivers::headers;
use crate::wording::digest::DigestEnvelope;
use crate::wording::formatting;
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::alerts::resend::{self, ResentAlert};

/// Maximum alerts per request.
pub const MAX_ALERTS: usize = 1000;
const PATH: &str = "/api/v2/alerts";
/// How long a test alert fires, which is longer than Alertmanager's usual `group_wait`.
const TEST_VALIDITY: SignedDuration = SignedDuration::from_mins(5);
/// Minimum time that Alertmanager keeps an alert firing, so that the daemon can be restarted meanwhile.
const MIN_VALIDITY: SignedDuration = SignedDuration::from_mins(15);
/// Number of intervals after which an alert that is not resent ends.
const MAX_MISSED_RESENDS: i32 = 4;

/// All members of an Alertmanager.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    members: Vec<ReceiverEndpoint>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
}

impl Alertmanager {
    /// Validates headers.
    pub fn new(
        members: Vec<ReceiverEndpoint>,
        headers: Vec<(String, Secret)>,
    ) -> Result<Alertmanager, SettingsError> {
        let members = members.into_iter();
        Ok(Alertmanager {
            headers: headers::parse(&headers)?,
            members: members.map(|member| member.with_path(PATH)).collect(),
            secrets: headers.into_iter().map(|(_, value)| value).collect(),
        })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let urls = self.members.iter().map(|member| member.secret().expose());
        let names = self.headers.keys().map(HeaderName::as_str);
        let values = self.secrets.iter().map(Secret::expose);
        let kind = std::iter::once("alertmanager");
        kind.chain(urls).chain(names).chain(values).collect()
    }

    /// Returns the number of members of the cluster.
    pub fn n_members(&self) -> usize {
        self.members.len()
    }

    /// Sends the alerts of a test message to every member; they end by themselves soon.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let posting = |fact: &Fact| ResentAlert {
            labels: resend::labels(fact),
            fact: fact.clone(),
            ends_at: fact.ended_at.unwrap_or(envelope.now + TEST_VALIDITY),
        };
        let postings: Vec<ResentAlert> = envelope.facts.iter().map(posting).collect();
        let bodies = bodies(&postings, envelope.links);
        let send = async |index| {
            let delivery = self.send_to(index, &bodies, envelope.now).await;
            delivery.map_error(|error| format!("{}: {error}", self.member_name(index)))
        };
        let deliveries = join_all((0..self.members.len()).map(send)).await;
        let failed = deliveries
            .into_iter()
            .find(|delivery| *delivery != Delivery::Delivered);
        failed.unwrap_or(Delivery::Delivered)
    }

    /// The configuration rejects this, but a waiting message may be from another configuration.
    pub async fn send_digest(&self, _: &DigestEnvelope<'_>) -> Delivery {
        Delivery::drop_message("Alertmanager accepts no digests")
    }

    /// Sends to one member. A request that it rejects does not block the others.
    pub async fn send_to(&self, index: usize, bodies: &[Vec<u8>], now: Timestamp) -> Delivery {
        let mut dropped = None;
        for body in bodies {
            let post = PostRequest {
                endpoint: &self.members[index],
                headers: self.headers.clone(),
                body: body.clone(),
                secrets: self.secrets.iter().collect(),
                now,
            };
            let delivery = post::post(post, classify).await;
            match delivery {
                Delivery::Delivered | Delivery::Posted { .. } | Delivery::PartSent { .. } => {}
                Delivery::Drop { .. } => dropped = dropped.or(Some(delivery)),
                Delivery::Retry { .. } | Delivery::Park { .. } => return delivery,
            }
        }
        dropped.unwrap_or(Delivery::Delivered)
    }

    /// Returns `member 2 of 3`, because URLs are secrets.
    pub fn member_name(&self, index: usize) -> String {
        format!("member {} of {}", index + 1, self.members.len())
    }
}

/// Returns how long an alert stays firing without being resent.
pub fn validity(resend_interval: Duration) -> SignedDuration {
    let interval = SignedDuration::try_from(resend_interval).unwrap_or(SignedDuration::MAX);
    interval
        .saturating_mul(MAX_MISSED_RESENDS)
        .max(MIN_VALIDITY)
}

/// With a 400, Alertmanager has accepted the valid alerts.
fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        200 => ResponseClass::Delivered,
        400 | 413 => ResponseClass::Drop,
        300..=399 | 401 | 403..=405 | 407 | 410 => ResponseClass::Park,
        _ => ResponseClass::Retry,
    }
}

/// Returns request bodies of at most [`MAX_ALERTS`] alerts. All postings of one alert stay in one body, so that none ends
/// before it continues with other labels.
pub fn bodies(postings: &[ResentAlert], links: &Links) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<Value>> = Vec::new();
    for one_alert in
        postings.chunk_by(|one, other| one.fact.identity.slot == other.fact.identity.slot)
    {
        let has_room = |body: &&mut Vec<Value>| body.len() + one_alert.len() <= MAX_ALERTS;
        let alerts = one_alert.iter().map(|posting| alert(posting, links));
        match bodies.last_mut().filter(has_room) {
            Some(body) => body.extend(alerts),
            None => bodies.push(alerts.collect()),
        }
    }
    bodies
        .into_iter()
        .map(|alerts| Value::Array(alerts).to_string().into_bytes())
        .collect()
}

fn alert(posting: &ResentAlert, links: &Links) -> Value {
    let fact = &posting.fact;
    // After the clock was set back, an alert must not end before it begins.
    let starts_at = fact.firing_since.min(posting.ends_at);
    let mut annotations = alerts::annotations(fact, links);
    annotations.insert(
        "subject_name".to_owned(),
        formatting::clean(&fact.subject_name),
    );
    let mut alert = json!({
        "labels": posting.labels,
        "annotations": annotations,
        "startsAt": starts_at.to_string(),
        "endsAt": posting.ends_at.to_string(),
    });
    if let Some(page) = links.alert_page(&fact.identity) {
        alert["generatorURL"] = page.into();
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, fact, with_envelope, workspace_facts};
    use spendwatch_domain::alerts::notification::Reason;

    fn posting(fact: Fact) -> ResentAlert {
        ResentAlert {
            labels: resend::labels(&fact),
            ends_at: fact.ended_at.unwrap_or(at("2026-11-24T13:22:00Z")),
            fact,
        }
    }

    fn alerts(postings: &[ResentAlert]) -> Vec<Value> {
        with_envelope(&[], |envelope| bodies(postings, envelope.links))
            .iter()
            .map(|body| serde_json::from_slice(body).unwrap())
            .collect()
    }

    #[test]
    fn names_and_amounts_are_annotations() {
        let found = alerts(&[
            posting(fact(Reason::First)),
            posting(fact(Reason::Resolved)),
        ]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&found[0]).unwrap());
    }

    #[test]
    fn many_alerts_are_split_into_requests_but_no_alert_is() {
        let mut postings: Vec<ResentAlert> = workspace_facts(MAX_ALERTS)
            .into_iter()
            .map(posting)
            .collect();
        let mut other = postings[MAX_ALERTS - 1].clone();
        other.labels.insert("severity".into(), "warning".into());
        postings.push(other);
        let lengths: Vec<usize> = alerts(&postings)
            .iter()
            .map(|body| body.as_array().unwrap().len())
            .collect();
        assert_eq!(lengths, [MAX_ALERTS - 1, 2]);
        assert_eq!(alerts(&[]), Vec::<Value>::new());
    }

    #[test]
    fn alerts_stay_firing_for_four_intervals() {
        let minutes = |seconds| validity(Duration::from_secs(seconds)).as_mins();
        assert_eq!([10, 60, 225, 300].map(minutes), [15, 15, 15, 20]);
    }

    #[test]
    fn status_codes_are_classified() {
        let check = |statuses: &[u16], expected| {
            for status in statuses {
                let answer = PostResponse {
                    status: *status,
                    media_type: String::new(),
                    body: String::new(),
                    is_whole: true,
                };
                assert_eq!(classify(&answer), expected, "{status}");
            }
        };
        check(&[200], ResponseClass::Delivered);
        check(&[202, 429, 500, 502, 503], ResponseClass::Retry);
        check(&[301, 401, 403, 404], ResponseClass::Park);
        check(&[400, 413], ResponseClass::Drop);
    }
}
