//! Prometheus Alertmanager's API v2: alerts, each with its labels and up to when it is to be believed.
//!
//! Alertmanager forgets what is not told again, and its members are told one by one, as Prometheus does it: what one of them
//! missed, the next telling brings. So there is no outbox, no retry and no order here.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::domain::notification::Fact;
use crate::domain::resend::{self, Posting};
use crate::notify::envelope::{Envelope, Links};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Post, Verdict};
use crate::notify::webhook;
use crate::notify::formatting;
use crate::secret::Secret;

/// Alerts in one request.
pub const MAX_ALERTS: usize = 1000;
/// Where a member takes alerts, below its own address.
const PATH: &str = "/api/v2/alerts";
/// How long a test message fires: longer than Alertmanager waits for company.
const TEST_LASTS: SignedDuration = SignedDuration::from_mins(5);
/// What fires is believed for at least so long, so that a daemon may be restarted meanwhile.
const MIN_LASTS: SignedDuration = SignedDuration::from_mins(15);
/// So many tellings may be lost.
const N_LOST: i32 = 4;

/// What an Alertmanager notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every member, by its own address, each with its client.
    pub members: Vec<(Client, Secret)>,
    /// Sent along, as `Authorization` is.
    pub headers: Vec<(String, Secret)>,
}

/// All members of an Alertmanager.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    members: Vec<Member>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
}

#[derive(Debug, Clone)]
struct Member {
    client: Client,
    address: Address,
}

impl Alertmanager {
    /// Checks addresses and headers. The clients must follow no redirects and have time limits.
    pub fn new(settings: Settings) -> Result<Alertmanager, SettingsError> {
        let headers = webhook::headers(&settings.headers)?;
        let member = |(client, url)| {
            let address = Address::new(url)?.below(PATH);
            Ok(Member { client, address })
        };
        Ok(Alertmanager {
            members: settings
                .members
                .into_iter()
                .map(member)
                .collect::<Result<_, SettingsError>>()?,
            headers,
            secrets: settings
                .headers
                .into_iter()
                .map(|(_, value)| value)
                .collect(),
        })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        let urls = self
            .members
            .iter()
            .map(|member| member.address.secret().expose());
        let names = self.headers.keys().map(HeaderName::as_str);
        let values = self.secrets.iter().map(Secret::expose);
        let kind = std::iter::once("alertmanager");
        kind.chain(urls).chain(names).chain(values).collect()
    }

    /// How many there are.
    pub fn n_members(&self) -> usize {
        self.members.len()
    }

    /// Tells every member of what an envelope holds, which ends by itself soon: for a test message.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let posting = |fact: &Fact| Posting {
            labels: resend::labels(fact),
            fact: fact.clone(),
            ends_at: fact.ended_at.unwrap_or(envelope.now + TEST_LASTS),
        };
        let postings: Vec<Posting> = envelope.facts.iter().map(posting).collect();
        let bodies = bodies(&postings, envelope.links);
        let tell = async |place| {
            let told = self.tell(place, &bodies, envelope.now).await;
            told.retold(|error| format!("{}: {error}", self.name_of(place)))
        };
        let told = join_all((0..self.members.len()).map(tell)).await;
        let failed = told.into_iter().find(|told| *told != Delivery::Delivered);
        failed.unwrap_or(Delivery::Delivered)
    }

    /// Tells one member, by its place. What it does not take of one request holds up no other one.
    pub async fn tell(&self, place: usize, bodies: &[Vec<u8>], now: Timestamp) -> Delivery {
        let member = &self.members[place];
        let mut dropped = None;
        for body in bodies {
            let post = Post {
                address: &member.address,
                headers: self.headers.clone(),
                body: body.clone(),
                secrets: self.secrets.iter().collect(),
                now,
            };
            let delivery = post::post(&member.client, post, judge).await;
            match delivery {
                Delivery::Delivered | Delivery::Posted { .. } | Delivery::Partly { .. } => {}
                Delivery::Drop { .. } => dropped = dropped.or(Some(delivery)),
                Delivery::Retry { .. } | Delivery::Park { .. } => return delivery,
            }
        }
        dropped.unwrap_or(Delivery::Delivered)
    }

    /// `member 2 of 3`: addresses are secrets.
    pub fn name_of(&self, place: usize) -> String {
        format!("member {} of {}", place + 1, self.members.len())
    }
}

/// How long what fires is believed that is told so often.
pub fn lasts(resend_interval: Duration) -> SignedDuration {
    let interval = SignedDuration::try_from(resend_interval).unwrap_or(SignedDuration::MAX);
    interval.saturating_mul(N_LOST).max(MIN_LASTS)
}

/// Of a 400 the valid alerts were taken.
fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        200 => Verdict::Delivered,
        400 | 413 => Verdict::Drop,
        300..=399 | 401 | 403..=405 | 407 | 410 => Verdict::Park,
        _ => Verdict::Retry,
    }
}

/// What is to be posted, at most [`MAX_ALERTS`] in each. What is told of one alert stays together, so that none seems to end
/// before it goes on under other labels.
pub fn bodies(postings: &[Posting], links: &Links) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<Value>> = Vec::new();
    for of_one in postings.chunk_by(|one, other| one.fact.identity.slot == other.fact.identity.slot)
    {
        let has_room = |body: &&mut Vec<Value>| body.len() + of_one.len() <= MAX_ALERTS;
        let alerts = of_one.iter().map(|posting| alert(posting, links));
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

fn alert(posting: &Posting, links: &Links) -> Value {
    let fact = &posting.fact;
    // A clock that was set back must not make it end before it begins.
    let starts_at = fact.firing_since.min(posting.ends_at);
    let mut annotations = webhook::annotations(fact, links);
    annotations.insert("subject_name".to_owned(), formatting::clean(&fact.subject_name));
    let mut alert = json!({
        "labels": posting.labels,
        "annotations": annotations,
        "startsAt": starts_at.to_string(),
        "endsAt": posting.ends_at.to_string(),
    });
    if let Some(page) = links.page_of(&fact.identity) {
        alert["generatorURL"] = page.into();
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notification::Reason;
    use crate::notify::samples::{at, fact, many, with_envelope};

    fn posting(fact: Fact) -> Posting {
        Posting {
            labels: resend::labels(&fact),
            ends_at: fact.ended_at.unwrap_or(at("2026-11-24T13:22:00Z")),
            fact,
        }
    }

    fn alerts(postings: &[Posting]) -> Vec<Value> {
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
    fn many_alerts_are_several_requests_and_no_alert_is_torn() {
        let mut postings: Vec<Posting> = many(MAX_ALERTS).into_iter().map(posting).collect();
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
    fn what_fires_is_believed_for_a_while() {
        let minutes = |seconds| lasts(Duration::from_secs(seconds)).as_mins();
        assert_eq!([10, 60, 225, 300].map(minutes), [15, 15, 15, 20]);
    }

    #[test]
    fn answers() {
        let check = |statuses: &[u16], expected| {
            for status in statuses {
                let answer = Answer {
                    status: *status,
                    media_type: String::new(),
                    body: String::new(),
                    is_whole: true,
                };
                assert_eq!(judge(&answer), expected, "{status}");
            }
        };
        check(&[200], Verdict::Delivered);
        check(&[202, 429, 500, 502, 503], Verdict::Retry);
        check(&[301, 401, 403, 404], Verdict::Park);
        check(&[400, 413], Verdict::Drop);
    }
}
