//! Collects responses into batches large enough to be recorded in one transaction.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use spendwatch_anthropic::error::FetchError;
use spendwatch_base::clock::Clock;
use spendwatch_domain::ledger::coverage::PartFetch;
use spendwatch_domain::usage::bucket::{UnreadableHours, UsageResponse};

/// Maximum responses per transaction.
const MAX_RESPONSES: usize = 256;

/// Maximum buckets per batch, because a batch is held in memory.
const MAX_BUCKETS: usize = 8192;

/// How long a response waits for others, so that slow responses do not cause a transaction each.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A request and its response, with the parts of it that could not be read.
pub type Fetched = (
    PartFetch,
    Result<(UsageResponse, Vec<UnreadableHours>), FetchError>,
);

/// Responses that are recorded together.
pub struct ResponseBatch {
    /// In the order of arrival.
    pub batch: Vec<Fetched>,
    /// `None` if more responses follow.
    pub end: Option<BatchEnd>,
}

/// Why no more responses follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnd {
    Complete,
    /// The key was rejected, or there is no time left.
    Aborted,
}

/// Collects responses until the deadline or cancellation.
pub struct Batcher {
    pub clock: Clock,
    pub deadline: Duration,
    pub cancel: CancellationToken,
}

impl Batcher {
    /// Returns the next batch of responses. At the end, which a rejected key causes immediately, `responses` is dropped, and
    /// with it all requests under way.
    pub async fn next_batch(
        &self,
        responses: &mut Option<impl Stream<Item = Fetched> + Unpin>,
    ) -> ResponseBatch {
        let gathered = match responses {
            Some(responses) => self.collect(responses).await,
            None => ResponseBatch {
                batch: Vec::new(),
                end: Some(BatchEnd::Complete),
            },
        };
        if gathered.end.is_some() {
            *responses = None;
        }
        gathered
    }

    async fn collect(
        &self,
        responses: &mut (impl Stream<Item = Fetched> + Unpin),
    ) -> ResponseBatch {
        let mut batch = Vec::new();
        let mut n_buckets = 0;
        let mut record_at = None;
        let end = loop {
            let is_begun = record_at.is_some();
            let until_recorded = self.remaining(record_at.unwrap_or(self.deadline));
            let response = tokio::select! {
                biased;
                () = self.cancel.cancelled() => break Some(BatchEnd::Aborted),
                response = responses.next() => response,
                () = self.clock.sleep(self.remaining(self.deadline)) => break Some(BatchEnd::Aborted),
                () = self.clock.sleep(until_recorded), if is_begun => break None,
            };
            let Some((fetch, response)) = response else {
                break Some(BatchEnd::Complete);
            };
            n_buckets += response
                .as_ref()
                .map_or(0, |(response, _)| response.buckets.len());
            let is_refused = matches!(&response, Err(error) if error.is_key_error());
            batch.push((fetch, response));
            if is_refused {
                break Some(BatchEnd::Aborted);
            }
            if batch.len() == MAX_RESPONSES || n_buckets >= MAX_BUCKETS {
                break None;
            }
            record_at.get_or_insert(self.clock.monotonic() + MAX_WAIT);
        };
        ResponseBatch { batch, end }
    }

    fn remaining(&self, moment: Duration) -> Duration {
        moment.saturating_sub(self.clock.monotonic())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, stream};
    use jiff::Timestamp;

    use super::*;
    use spendwatch_base::clock::ManualClock;

    #[test]
    fn cancellation_drops_requests_under_way() {
        let request = Arc::new(());
        let held = Arc::clone(&request);
        let mut responses = Some(Box::pin(stream::pending::<Fetched>().inspect(move |_| {
            let _ = &held;
        })));
        let batcher = Batcher {
            clock: Clock::Manual(ManualClock::at(Timestamp::UNIX_EPOCH)),
            deadline: Duration::from_secs(9),
            cancel: CancellationToken::new(),
        };
        assert!(batcher.next_batch(&mut responses).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&request), 2);
        batcher.cancel.cancel();
        let gathered = batcher.next_batch(&mut responses).now_or_never().unwrap();
        assert_eq!(gathered.end, Some(BatchEnd::Aborted));
        assert_eq!(Arc::strong_count(&request), 1);
    }
}
