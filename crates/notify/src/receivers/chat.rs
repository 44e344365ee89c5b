//! The webhook of a chat channel: JSON at a URL that is the only credential.

use serde_json::Value;

use crate::envelope::Envelope;
use crate::outcome::Delivery;
use crate::post::{self, PostRequest, PostResponse, ReceiverEndpoint, ResponseClass};
use crate::wording::digest::DigestEnvelope;

/// What distinguishes one chat from another.
#[derive(Debug, Clone, Copy)]
pub struct ChatFormat {
    /// Part of the mark of the settings; it must not change.
    pub name: &'static str,
    pub payload: fn(&Envelope<'_>) -> Value,
    pub digest_payload: fn(&DigestEnvelope<'_>) -> Value,
    pub classify: fn(&PostResponse) -> ResponseClass,
}

/// A webhook of a chat channel.
#[derive(Debug, Clone)]
pub struct ChatWebhook {
    pub endpoint: ReceiverEndpoint,
    pub format: ChatFormat,
}

impl ChatWebhook {
    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        vec![self.format.name, self.endpoint.secret().expose()]
    }

    /// Sends one post about alerts and classifies the response.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let payload = (self.format.payload)(envelope);
        let post = PostRequest::json(&self.endpoint, &payload, envelope.now);
        post::post(post, self.format.classify).await
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        let payload = (self.format.digest_payload)(envelope);
        let post = PostRequest::json(&self.endpoint, &payload, envelope.now);
        post::post(post, self.format.classify).await
    }
}
