//! What comes before usage in a cycle: may it ask, how does the service speak, and whom is there to ask about.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::error::{DetectError, FetchError};
use crate::cycle::state::{Trouble, Watcher};
use crate::outbound::causes;
use crate::store::error::StoreError;

/// How old the list of workspaces may become.
const LIST_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// So many refusals in a row, and requests become rare.
const MANY_REFUSALS: u32 = 10;
/// The least time between two requests then.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

impl Watcher {
    /// After many refusals in a row requests become rare.
    pub(in crate::cycle) fn may_ask(&mut self) -> bool {
        let running = self.clock.running();
        let is_early = self
            .asked_running
            .is_some_and(|last| running.saturating_sub(last) < REFUSED_PAUSE);
        if self.n_refusals >= MANY_REFUSALS && is_early {
            return false;
        }
        self.asked_running = Some(running);
        true
    }

    /// Whether the dialect is known; where it has to be asked for, the answer is remembered.
    pub(in crate::cycle) async fn find_dialect(
        &mut self,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> bool {
        if self.settings.dialect.is_some() || self.engine.dialect.is_some() {
            return true;
        }
        let Some(dialect) = self.in_time(deadline, self.api.detect_dialect()).await else {
            trouble.note(self.out_of_time("how the service speaks"));
            return false;
        };
        match dialect {
            Ok(dialect) => {
                self.engine.dialect = Some(dialect.name().to_owned());
                true
            }
            Err(DetectError::Undecided(error)) if error.is_about_the_key() => {
                trouble.note_refused(causes(&error));
                false
            }
            Err(error) => {
                trouble.note(causes(&error));
                false
            }
        }
    }

    /// An answer, unless the cycle has to end before it comes.
    async fn in_time<T>(&self, deadline: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let left = deadline.saturating_sub(self.clock.running());
        tokio::select! {
            biased;
            () = self.hurry.cancelled() => None,
            answer = answer => Some(answer),
            () = self.clock.sleep(left) => None,
        }
    }

    fn out_of_time(&self, what: &str) -> String {
        format!(
            "organization `{}`: the cycle was cut short before it was told {what}",
            self.settings.organization
        )
    }

    /// The organization and its workspaces, where the list is old or something was not known. While the key is refused this
    /// is the one request that is tried.
    pub(in crate::cycle) async fn read_directory(
        &mut self,
        polled_at: Timestamp,
        deadline: Duration,
        trouble: &mut Trouble,
    ) -> Result<(), StoreError> {
        let is_old = self
            .directory
            .listed_at
            .is_none_or(|at| polled_at.duration_since(at) >= LIST_INTERVAL);
        let is_due =
            is_old || self.list_is_doubted || self.n_refusals > 0 || self.directory.has_missing();
        if !is_due {
            return Ok(());
        }
        let mut directory = self.directory.clone();
        match self.in_time(deadline, self.api.organization()).await {
            Some(Ok(info)) => {
                directory.organization = Some(info);
                self.has_new_statement = true;
            }
            Some(Err(error)) => self.note(trouble, &error),
            None => trouble.note(self.out_of_time("about the organization")),
        }
        if trouble.is_refused {
            return Ok(());
        }
        match self.in_time(deadline, self.api.workspaces()).await {
            Some(Ok(listed)) => {
                directory = directory.with_list(listed, polled_at);
                self.list_is_doubted = false;
            }
            Some(Err(error)) => self.note(trouble, &error),
            None => trouble.note(self.out_of_time("all workspaces")),
        }
        if directory != self.directory {
            self.store
                .save_directory(&self.settings.organization, &directory)
                .await?;
            self.directory = directory;
        }
        if self.directory.has_missing() {
            trouble.note(format!(
                "organization `{}`: workspaces vanished from the list; kept until three lists over 30 minutes agree",
                self.settings.organization
            ));
        }
        Ok(())
    }

    pub(in crate::cycle) fn note(&mut self, trouble: &mut Trouble, error: &FetchError) {
        if error.is_about_the_key() {
            trouble.note_refused(causes(error));
        } else {
            trouble.note(causes(error));
        }
    }
}
