//! Log of all requests, for assertions in tests.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::request::SimulatorRequest;
use spendwatch_base::lock;

/// A logged request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    pub method: String,
    pub path: String,
    pub at: Timestamp,
    pub body: String,
}

impl LoggedRequest {
    /// Returns the path without the query.
    pub fn route(&self) -> &str {
        self.path
            .split_once('?')
            .map_or(&self.path, |(route, _)| route)
    }

    /// Returns a query parameter, not decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// Maximum number of entries; older ones are only counted.
const MAX_ENTRIES: usize = 200_000;

/// Log of the newest requests.
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: Mutex<LogEntries>,
    n_requests: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct LogEntries {
    requests: VecDeque<LoggedRequest>,
    n_writes: u64,
}

impl RequestLog {
    /// Appends a request.
    pub fn record(&self, request: &SimulatorRequest, at: Timestamp) {
        let path = request.uri().path_and_query();
        let request = LoggedRequest {
            method: request.method().to_string(),
            path: path.map_or_else(String::new, ToString::to_string),
            at,
            body: String::from_utf8_lossy(request.body()).into_owned(),
        };
        let mut entries = lock(&self.entries);
        entries.n_writes += u64::from(request.method != "GET");
        if entries.requests.len() == MAX_ENTRIES {
            entries.requests.pop_front();
        }
        entries.requests.push_back(request);
        self.n_requests.send_modify(|n| *n += 1);
    }

    /// Returns the newest 200,000 requests since the start or the last [`clear`](RequestLog::clear), oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.entries).requests.iter().cloned().collect()
    }

    /// Returns the number of requests.
    pub fn n_requests(&self) -> u64 {
        *self.n_requests.borrow()
    }

    /// Returns the number of requests other than GET.
    pub fn n_writes(&self) -> u64 {
        lock(&self.entries).n_writes
    }

    /// Clears the log.
    pub fn clear(&self) {
        let mut entries = lock(&self.entries);
        *entries = LogEntries::default();
        self.n_requests.send_replace(0);
    }

    /// Waits for at least this many requests.
    pub async fn wait_for(&self, n_requests: u64) {
        let mut count = self.n_requests.subscribe();
        // The sender is a field of `self`, so the channel stays open.
        let _ = count.wait_for(|n| *n >= n_requests).await;
    }
}
