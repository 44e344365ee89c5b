//! What comes before usage in a cycle: may it ask, how does the service speak, and whom is there to ask about.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::error::{DetectError, FetchError};
use crate::cycle::state::{Trouble, Watcher};
use crate::domain::listing::Listed;
use crate::metrics::requests::Endpoint;
use crate::outbound::causes;
use crate::store::error::StoreError;

/// How old the list of workspaces may become.
const LIST_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// So many refusals in a row, and requests become rare.
const MANY_REFUSALS: u32 = 10;
/// So many cycles in a row in which the dialect is refused, and it is asked for again.
const MANY_DIALECT_REFUSALS: u32 = 3;
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
        if let Some(dialect) = self.dialect() {
            self.api.set_dialect(dialect);
            return true;
        }
        let Some(dialect) = self.in_time(deadline, self.api.detect_dialect()).await else {
            trouble.note(self.out_of_time("how the service speaks"));
            return false;
        };
        match dialect {
            Ok(dialect) => {
                self.engine.dialect = Some(dialect);
                true
            }
            Err(error) => {
                let (DetectError::Undecided(why) | DetectError::Rejected(why)) = &error;
                match why.is_about_the_key() {
                    true => trouble.note_refused(causes(&error)),
                    false => trouble.note(causes(&error)),
                }
                false
            }
        }
    }

    /// An answer, unless the cycle has to end before it comes.
    pub(in crate::cycle) async fn in_time<T>(
        &self,
        deadline: Duration,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let left = deadline.saturating_sub(self.clock.running());
        tokio::select! {
            biased;
            () = self.hurry.cancelled() => None,
            answer = answer => Some(answer),
            () = self.clock.sleep(left) => None,
        }
    }

    pub(in crate::cycle) fn out_of_time(&self, what: &str) -> String {
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
            .is_none_or(|at| polled_at.duration_since(at).abs() >= LIST_INTERVAL);
        let is_due =
            is_old || self.list_is_doubted || self.n_refusals > 0 || self.directory.has_missing();
        if !is_due {
            return Ok(());
        }
        let mut directory = self.directory.clone();
        let is_real = self.reports().is_some();
        let response = self.organization_response.take();
        let organization = async {
            if let Some(response) = response {
                response
            } else if is_real {
                self.api.me().await
            } else {
                self.api.organization().await
            }
        };
        match self.in_time(deadline, organization).await {
            Some(Ok(info)) => {
                let is_odd = self.note_lists([Endpoint::Organizations]);
                directory = if is_real || is_odd {
                    directory.with_organization_without_limit(info)
                } else {
                    directory.with_organization(info, polled_at)
                };
                self.has_new_statement = true;
            }
            Some(Err(error)) => self.note(trouble, &error),
            None => trouble.note(self.out_of_time("about the organization")),
        }
        if trouble.is_refused {
            return Ok(());
        }
        let known_default = directory.default.clone();
        let workspaces = async {
            if is_real {
                self.api.listed(known_default.as_ref()).await
            } else {
                let workspaces = self.api.workspaces().await?;
                Ok(Listed {
                    workspaces,
                    default: None,
                })
            }
        };
        match self.in_time(deadline, workspaces).await {
            Some(Ok(listed)) => {
                let lists = [Endpoint::Workspaces, Endpoint::OrganizationWorkspaces];
                let workspaces = match self.note_lists(lists) {
                    true => directory.completed(listed.workspaces),
                    false => listed.workspaces,
                };
                directory = if is_real {
                    directory.with_list_without_limits(workspaces, polled_at)
                } else {
                    directory.with_list(workspaces, polled_at)
                };
                directory.default = listed.default.or(directory.default);
                self.list_is_doubted = false;
            }
            Some(Err(error)) => self.note(trouble, &error),
            None => trouble.note(self.out_of_time("all workspaces")),
        }
        // A workspace that is new has its limit among those that were read before.
        let directory = self.listings.limit(directory, polled_at);
        self.take_directory(directory).await?;
        if self.directory.has_missing() {
            trouble.note(format!(
                "organization `{}`: workspaces vanished from the list; kept until three lists over 30 minutes agree",
                self.settings.organization
            ));
        }
        Ok(())
    }

    /// A dialect that the service refuses in several cycles in a row is asked for again, unless it is configured.
    pub(in crate::cycle) fn doubt_dialect(&mut self, trouble: &Trouble) {
        if !trouble.is_dialect_refused {
            self.n_dialect_refused = 0;
            return;
        }
        self.n_dialect_refused = self.n_dialect_refused.saturating_add(1);
        if self.n_dialect_refused < MANY_DIALECT_REFUSALS {
            return;
        }
        self.n_dialect_refused = 0;
        if let Some(dialect) = self.engine.dialect.take() {
            self.engine.billed_until = None;
            self.backlog = None;
            tracing::warn!(
                organization.name = %self.settings.organization,
                "the service refused the dialect `{dialect}` {MANY_DIALECT_REFUSALS} times in a row; it is asked again how it speaks"
            );
        }
    }

    pub(in crate::cycle) fn note(&mut self, trouble: &mut Trouble, error: &FetchError) {
        let is_refused = error.is_forbidden_or_unknown() || error.is_analytics_refused();
        trouble.is_dialect_refused |= error.workspace.is_none() && is_refused;
        if error.is_about_the_key() {
            trouble.note_refused(causes(error));
        } else {
            trouble.note(causes(error));
        }
    }
}
