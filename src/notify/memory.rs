//! A notifier that keeps what it is sent: for tests of everything that ends in a message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::domain::ids::NotifierName;
use crate::domain::notification::Fact;
use crate::notify::console;
use crate::notify::digest::Letter;
use crate::notify::envelope::Envelope;
use crate::notify::outcome::Delivery;

/// Keeps every attempt and answers as it was told. Clones share one memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sent: Vec<Sent>,
    answers: VecDeque<Delivery>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub id: String,
    pub notifier: NotifierName,
    pub recipient: Option<String>,
    /// What it was about; nothing for a digest.
    pub facts: Vec<Fact>,
    /// The time of the attempt.
    pub at: Timestamp,
    pub n_attempts: u32,
    /// Posts that were answered before this one.
    pub n_posted: u32,
    /// Whether it was asked for again.
    pub is_replay: bool,
    /// As the console would have shown it.
    pub text: String,
    pub delivery: Delivery,
}

impl Memory {
    /// Answers the next attempts so, in order; after that everything is delivered.
    pub fn answer(&self, answers: impl IntoIterator<Item = Delivery>) {
        self.state().answers.extend(answers);
    }

    /// Every attempt so far, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// Every attempt since the last call, oldest first.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
    }

    /// Records one attempt.
    pub fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let mut state = self.state();
        let delivery = state.answers.pop_front().unwrap_or(Delivery::Delivered);
        state.sent.push(Sent {
            id: envelope.id.to_owned(),
            notifier: envelope.notifier.clone(),
            recipient: envelope.recipient.map(str::to_owned),
            facts: envelope.facts.to_vec(),
            at: envelope.now,
            n_attempts: envelope.n_attempts,
            n_posted: envelope.n_posted,
            is_replay: envelope.is_replay,
            text: console::payload(envelope),
            delivery: delivery.clone(),
        });
        delivery
    }

    /// Records one attempt to send a digest.
    pub fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        let mut state = self.state();
        let delivery = state.answers.pop_front().unwrap_or(Delivery::Delivered);
        state.sent.push(Sent {
            id: letter.id.to_owned(),
            notifier: letter.notifier.clone(),
            recipient: letter.recipient.map(str::to_owned),
            facts: Vec::new(),
            at: letter.now,
            n_attempts: letter.n_attempts,
            n_posted: 0,
            is_replay: letter.is_replay,
            text: console::digest_payload(letter),
            delivery: delivery.clone(),
        });
        delivery
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
