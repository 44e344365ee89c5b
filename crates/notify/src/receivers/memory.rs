//! A test double that records every attempt.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::envelope::Envelope;
use crate::outcome::Delivery;
use crate::receivers::console;
use crate::wording::digest::DigestEnvelope;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::units::ids::NotifierName;

/// Records every attempt and returns configured responses. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    sent: Vec<RecordedAttempt>,
    responses: VecDeque<Delivery>,
}

/// One recorded attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedAttempt {
    pub id: String,
    pub notifier: NotifierName,
    pub recipient: Option<String>,
    /// Empty for a digest.
    pub facts: Vec<Fact>,
    pub at: Timestamp,
    pub n_attempts: u32,
    /// Number of earlier posts of the message.
    pub n_posted: u32,
    pub is_replay: bool,
    /// The text that the console would print.
    pub text: String,
    pub delivery: Delivery,
}

impl Memory {
    /// Sets the results of the next attempts, in order; later ones are delivered.
    pub fn respond_with(&self, responses: impl IntoIterator<Item = Delivery>) {
        self.state().responses.extend(responses);
    }

    /// Returns all attempts, oldest first.
    pub fn attempts(&self) -> Vec<RecordedAttempt> {
        self.state().sent.clone()
    }

    /// Returns the attempts since the last call, oldest first.
    pub fn take(&self) -> Vec<RecordedAttempt> {
        std::mem::take(&mut self.state().sent)
    }

    /// Returns the settings that identify the receiver.
    pub fn settings(&self) -> Vec<&str> {
        vec!["memory"]
    }

    /// Records one attempt.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.record(RecordedAttempt {
            id: envelope.id.to_owned(),
            notifier: envelope.notifier.clone(),
            recipient: envelope.recipient.map(str::to_owned),
            facts: envelope.facts.to_vec(),
            at: envelope.now,
            n_attempts: envelope.n_attempts,
            n_posted: envelope.n_posted,
            is_replay: envelope.is_replay,
            text: console::payload(envelope),
            delivery: Delivery::Delivered,
        })
    }

    /// Records one attempt to send a digest.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        self.record(RecordedAttempt {
            id: envelope.id.to_owned(),
            notifier: envelope.notifier.clone(),
            recipient: envelope.recipient.map(str::to_owned),
            facts: Vec::new(),
            at: envelope.now,
            n_attempts: envelope.n_attempts,
            n_posted: 0,
            is_replay: envelope.is_replay,
            text: console::digest_payload(envelope),
            delivery: Delivery::Delivered,
        })
    }

    fn record(&self, attempt: RecordedAttempt) -> Delivery {
        let mut state = self.state();
        let delivery = state.responses.pop_front().unwrap_or(attempt.delivery);
        state.sent.push(RecordedAttempt {
            delivery: delivery.clone(),
            ..attempt
        });
        delivery
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
