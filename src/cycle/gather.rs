//! Gathering: answers are taken as they come, so many together that recording them is worth a transaction.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::anthropic::error::FetchError;
use crate::clock::Clock;
use crate::domain::coverage::Fetch;
use crate::domain::usage::{Answer, Unreadable};

/// So many answers are recorded in one transaction at most,
const BATCH: usize = 256;

/// and no more than hold so many buckets, since a batch is held in memory: weeks of hours come a few workspaces at a time.
const BATCH_BUCKETS: usize = 8192;

/// How long an answer waits for others, so that few of them at once do not mean a transaction each.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// What came of a request, and what of it could not be read.
pub type Fetched = (Fetch, Result<(Answer, Vec<Unreadable>), FetchError>);

/// Answers that are recorded together.
pub struct Gathered {
    /// In the order in which they came.
    pub batch: Vec<Fetched>,
    /// `None` where there are more to come.
    pub end: Option<End>,
}

/// Why no more answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Answered,
    /// The key was refused, or there is no time left.
    Broken,
}

/// What ends the asking early.
pub struct Until {
    pub clock: Clock,
    pub deadline: Duration,
    /// Cancelled by whoever cannot wait.
    pub hurry: CancellationToken,
}

impl Until {
    /// The next answers: so many that a transaction is worth it, or those that came within a while. A refused key ends them
    /// at once, so that no more requests are made with it: at the end `answers` is dropped, and with it what is still asked.
    pub async fn gather(
        &self,
        answers: &mut Option<impl Stream<Item = Fetched> + Unpin>,
    ) -> Gathered {
        let gathered = match answers {
            Some(answers) => self.gather_from(answers).await,
            None => Gathered {
                batch: Vec::new(),
                end: Some(End::Answered),
            },
        };
        if gathered.end.is_some() {
            *answers = None;
        }
        gathered
    }

    async fn gather_from(&self, answers: &mut (impl Stream<Item = Fetched> + Unpin)) -> Gathered {
        let mut batch = Vec::new();
        let mut n_buckets = 0;
        let mut record_at = None;
        let end = loop {
            let is_begun = record_at.is_some();
            let until_recorded = self.left(record_at.unwrap_or(self.deadline));
            let answer = tokio::select! {
                biased;
                () = self.hurry.cancelled() => break Some(End::Broken),
                answer = answers.next() => answer,
                () = self.clock.sleep(self.left(self.deadline)) => break Some(End::Broken),
                () = self.clock.sleep(until_recorded), if is_begun => break None,
            };
            let Some((fetch, answer)) = answer else {
                break Some(End::Answered);
            };
            n_buckets += answer
                .as_ref()
                .map_or(0, |(answer, _)| answer.buckets.len());
            let is_refused = matches!(&answer, Err(error) if error.is_about_the_key());
            batch.push((fetch, answer));
            if is_refused {
                break Some(End::Broken);
            }
            if batch.len() == BATCH || n_buckets >= BATCH_BUCKETS {
                break None;
            }
            record_at.get_or_insert(self.clock.running() + BATCH_WAIT);
        };
        Gathered { batch, end }
    }

    fn left(&self, moment: Duration) -> Duration {
        moment.saturating_sub(self.clock.running())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, stream};
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    /// Once no more answers are taken, whoever still asks is ended, while what came is being recorded.
    #[test]
    fn who_still_asks_is_ended_with_the_gathering() {
        let asking = Arc::new(());
        let held = Arc::clone(&asking);
        let mut answers = Some(Box::pin(stream::pending::<Fetched>().inspect(move |_| {
            let _ = &held;
        })));
        let until = Until {
            clock: Clock::Manual(ManualClock::at(Timestamp::UNIX_EPOCH)),
            deadline: Duration::from_secs(9),
            hurry: CancellationToken::new(),
        };
        assert!(until.gather(&mut answers).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&asking), 2);
        until.hurry.cancel();
        let gathered = until.gather(&mut answers).now_or_never().unwrap();
        assert_eq!(gathered.end, Some(End::Broken));
        assert_eq!(Arc::strong_count(&asking), 1);
    }
}
