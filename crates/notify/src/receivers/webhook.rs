//! The webhook: JSON in the format of Alertmanager's webhook (version 4), signed by Standard Webhooks.
//!
//! Receivers may keep state, so no alert is omitted: a message with too many alerts is sent as several posts, each with an id
//! that stays the same on every retry. A template renders another body from the same data.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::envelope::Envelope;
use crate::json::{alerts, digests};
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, PostRequest, PostResponse, ReceiverEndpoint, ResponseClass};
use crate::receivers::headers;
use crate::receivers::signature::{self, SigningKey};
use crate::wording::digest::DigestEnvelope;
use crate::wording::formatting;
use spendwatch_base::receiver::WebhookSettings;
use spendwatch_base::secret::Secret;
use spendwatch_base::template::Template;

/// Maximum alerts per post, well below the size limits of receivers and proxies (often one megabyte).
pub const MAX_ALERTS: usize = 100;
/// Maximum alerts per post with a template, whose output is limited.
const MAX_ALERTS_PER_TEMPLATE: usize = 25;

/// A receiver of JSON posts.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub endpoint: ReceiverEndpoint,
    keys: Vec<SigningKey>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
    template: Option<Template>,
}

impl Webhook {
    /// Validates URL, secrets and headers.
    pub fn new(
        settings: WebhookSettings<Secret>,
        allow_http: bool,
    ) -> Result<Webhook, SettingsError> {
        let endpoint = ReceiverEndpoint::new(settings.url, allow_http)?;
        let keys = settings
            .signing_secrets
            .iter()
            .enumerate()
            .map(|(index, secret)| {
                SigningKey::new(secret).ok_or(SettingsError::SigningSecret { index: index + 1 })
            })
            .collect::<Result<_, _>>()?;
        let headers = headers::parse(&settings.headers)?;
        if settings.template.is_none() && headers.contains_key(CONTENT_TYPE) {
            return Err(SettingsError::ReservedHeader {
                name: CONTENT_TYPE.to_string(),
            });
        }
        let values = settings.headers.into_iter().map(|(_, value)| value);
        let secrets = settings.signing_secrets.into_iter().chain(values).collect();
        Ok(Webhook {
            endpoint,
            keys,
            headers,
            secrets,
            template: settings.template,
        })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let mut settings = vec!["webhook", self.endpoint.secret().expose()];
        settings.extend(self.headers.keys().map(HeaderName::as_str));
        settings.extend(self.secrets.iter().map(Secret::expose));
        settings.extend(self.template.iter().map(Template::text));
        settings
    }

    /// Sends the next post of the message. A rejected post does not block the others.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let n_alerts = match self.template {
            Some(_) => MAX_ALERTS_PER_TEMPLATE,
            None => MAX_ALERTS,
        };
        let index = usize::try_from(envelope.n_posted).unwrap_or(usize::MAX);
        let mut rest = envelope.facts.chunks(n_alerts).skip(index);
        let Some(facts) = rest.next() else {
            return Delivery::Delivered;
        };
        let id = part_id(envelope.id, index);
        let payload = alerts::payload(envelope, facts);
        let delivery = self.post(&id, &payload, envelope.now).await;
        delivery.for_post(rest.next().is_none())
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        let payload = digests::payload(envelope);
        self.post(envelope.id, &payload, envelope.now).await
    }

    async fn post(&self, id: &str, payload: &Value, now: Timestamp) -> Delivery {
        let body = match &self.template {
            Some(template) => template.render(payload),
            None => Ok(payload.to_string()),
        };
        let body = match body {
            Ok(body) => body.into_bytes(),
            Err(error) => {
                let error = formatting::single_line(&error.to_string());
                return Delivery::drop_message(format!("cannot render the template: {error}"));
            }
        };
        let signature = signature::sign(&self.keys, id, now.as_second(), &body);
        let mut headers = self.headers.clone();
        let timestamp = now.as_second().to_string();
        let own = [
            ("webhook-id", Some(id.to_owned())),
            ("webhook-timestamp", Some(timestamp)),
            ("webhook-signature", signature),
        ];
        for (name, value) in own {
            let Some(value) = value else { continue };
            match HeaderValue::try_from(value) {
                Ok(value) => headers.insert(HeaderName::from_static(name), value),
                Err(_) => {
                    return Delivery::drop_message(format!("header `{name}` has an invalid value"));
                }
            };
        }
        let post = PostRequest {
            endpoint: &self.endpoint,
            headers,
            body,
            secrets: self.secrets.iter().collect(),
            now,
        };
        post::post(post, classify).await
    }
}

/// The first post has the id of the message.
fn part_id(id: &str, index: usize) -> String {
    match index {
        0 => id.to_owned(),
        later => format!("{id}-{}", later + 1),
    }
}

fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        200..=299 => ResponseClass::Delivered,
        408 | 421 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        // Payment, authentication, URL, headers, protocol or legal reasons: not about this message.
        300..=399 | 401..=405 | 407 | 426 | 431 | 451 => ResponseClass::Park,
        410 => ResponseClass::ParkForGood,
        _ => ResponseClass::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_classified() {
        let verdict = |status| {
            classify(&PostResponse {
                status,
                media_type: String::new(),
                body: String::new(),
                is_whole: true,
            })
        };
        for (expected, statuses) in [
            (ResponseClass::Delivered, &[200, 201, 202, 204][..]),
            (ResponseClass::Retry, &[408, 425, 429, 500, 502, 503, 504]),
            (
                ResponseClass::Park,
                &[301, 302, 307, 401, 402, 403, 404, 405, 426, 431, 451],
            ),
            (ResponseClass::ParkForGood, &[410]),
            (ResponseClass::Drop, &[400, 409, 413, 422]),
        ] {
            for status in statuses {
                assert_eq!(verdict(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn later_posts_have_their_own_ids() {
        assert_eq!(part_id("id-1", 0), "id-1");
        assert_eq!(part_id("id-1", 1), "id-1-2");
    }
}
