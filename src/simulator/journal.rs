//! What was asked: every request, so that a test can show what was sent and what was not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// One request that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    pub path: String,
    /// When it came, by the simulator's clock.
    pub at: Timestamp,
    /// What it said; empty for who only asks.
    pub body: String,
}

impl Seen {
    /// Its path without the query.
    pub fn route(&self) -> &str {
        self.path
            .split_once('?')
            .map_or(&self.path, |(route, _)| route)
    }

    /// A parameter of its query, as it was sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(of, _)| *of == name)
            .map(|(_, value)| value)
    }
}

/// Requests that are kept; older ones are only counted, so that a long run does not grow.
const MAX_KEPT: usize = 200_000;

/// All requests so far.
#[derive(Debug, Default)]
pub struct Journal {
    kept: Mutex<Kept>,
    n_seen: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    seen: VecDeque<Seen>,
    n_not_get: u64,
}

impl Journal {
    /// Notes a request.
    pub fn note(&self, seen: Seen) {
        let mut kept = self.kept();
        kept.n_not_get += u64::from(seen.method != "GET");
        if kept.seen.len() == MAX_KEPT {
            kept.seen.pop_front();
        }
        kept.seen.push_back(seen);
        self.n_seen.send_modify(|n| *n += 1);
    }

    /// The newest 200,000 requests since the start or the last [`forget`](Journal::forget), oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.kept().seen.iter().cloned().collect()
    }

    /// How many there were.
    pub fn n_seen(&self) -> u64 {
        *self.n_seen.borrow()
    }

    /// How many of them were anything but GET.
    pub fn n_not_get(&self) -> u64 {
        self.kept().n_not_get
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        let mut kept = self.kept();
        *kept = Kept::default();
        self.n_seen.send_replace(0);
    }

    /// Waits until there were at least so many.
    pub async fn until(&self, n_seen: u64) {
        let mut count = self.n_seen.subscribe();
        // The sender lives in this journal, so the channel is open for as long as we wait.
        let _ = count.wait_for(|n| *n >= n_seen).await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
