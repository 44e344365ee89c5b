//! Steps before usage is read in a cycle: limits requests after rejections, detects the dialect, and reads the organization
//! and its workspaces.

use std::time::Duration;

use jiff::SignedDuration;

use crate::cycle::plan;
use crate::cycle::state::Watcher;
use spendwatch_anthropic::endpoint::Endpoint;
use spendwatch_anthropic::error::{DetectError, FetchError};
use spendwatch_base::outbound::error_chain;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_store::error::StoreError;

/// Maximum age of the list of workspaces.
const LIST_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// Number of consecutive key rejections after which requests are limited.
const REJECTIONS_BEFORE_PAUSE: u32 = 10;
/// Number of consecutive cycles with a rejected dialect after which it is detected again.
const DIALECT_REJECTIONS_BEFORE_RECHECK: u32 = 3;
/// Minimum time between two requests after many rejections.
const REJECTED_PAUSE: Duration = Duration::from_secs(30);

impl Watcher {
    /// Returns whether requests may be sent, which is rarely the case after many rejections.
    pub(in crate::cycle) fn may_request(&mut self) -> bool {
        let running = self.clock.monotonic();
        let is_early = self
            .requested_at_running
            .is_some_and(|last| running.saturating_sub(last) < REJECTED_PAUSE);
        if self.n_rejections >= REJECTIONS_BEFORE_PAUSE && is_early {
            return false;
        }
        self.requested_at_running = Some(running);
        true
    }

    /// Detects the dialect if necessary, and returns whether it is known.
    pub(in crate::cycle) async fn detect_dialect_if_unknown(&mut self) -> bool {
        if let Some(dialect) = self.dialect() {
            self.api.set_dialect(dialect);
            return true;
        }
        let Some(dialect) = self.before_deadline(self.api.detect_dialect()).await else {
            self.errors
                .note(self.timeout_message("the dialect was detected"));
            return false;
        };
        match dialect {
            Ok(dialect) => {
                self.engine.dialect = Some(dialect);
                true
            }
            Err(error) => {
                let (DetectError::Undecided(why) | DetectError::KeyRejected(why)) = &error;
                match why.is_key_error() {
                    true => self.errors.add_key_rejection(error_chain(&error)),
                    false => self.errors.note(error_chain(&error)),
                }
                false
            }
        }
    }

    /// Returns a response, or `None` if the cycle has to end first.
    pub(in crate::cycle) async fn before_deadline<T>(
        &self,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let left = self.deadline.saturating_sub(self.clock.monotonic());
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            answer = answer => Some(answer),
            () = self.clock.sleep(left) => None,
        }
    }

    pub(in crate::cycle) fn timeout_message(&self, what: &str) -> String {
        format!(
            "organization `{}`: cycle cut short before {what}",
            self.settings.organization
        )
    }

    /// Reads the organization and its workspaces if the list is old or may be wrong. While the key is rejected, this is the
    /// only request that is sent.
    pub(in crate::cycle) async fn read_directory(&mut self) -> Result<(), StoreError> {
        let is_due = plan::is_old(self.directory.listed_at, LIST_INTERVAL, self.polled_at)
            || self.is_list_suspect
            || self.n_rejections > 0
            || self.directory.has_missing();
        if !is_due {
            return Ok(());
        }
        let mut directory = self.directory.clone();
        let server = self.server();
        let is_real = server == ServerKind::Real;
        let response = self.organization_response.take();
        let organization = async {
            match response {
                Some(response) => response,
                None => self.api.organization(server).await,
            }
        };
        match self.before_deadline(organization).await {
            Some(Ok(info)) => {
                let is_odd = self.note_lists([Endpoint::Organizations]);
                directory = if is_real || is_odd {
                    directory.with_organization_without_limit(info)
                } else {
                    directory.with_organization(info, self.polled_at)
                };
                self.has_new_statement = true;
            }
            Some(Err(error)) => self.note(&error),
            None => self
                .errors
                .note(self.timeout_message("the organization was read")),
        }
        if self.errors.is_refused {
            return Ok(());
        }
        let known_default = directory.default_workspace.clone();
        let workspaces = self
            .api
            .workspaces_with_default(server, known_default.as_ref());
        match self.before_deadline(workspaces).await {
            Some(Ok(listed)) => {
                let lists = [Endpoint::Workspaces, Endpoint::OrganizationWorkspaces];
                let workspaces = match self.note_lists(lists) {
                    true => directory.completed_list(listed.workspaces),
                    false => listed.workspaces,
                };
                directory = if is_real {
                    directory.with_list_without_limits(workspaces, self.polled_at)
                } else {
                    directory.with_list(workspaces, self.polled_at)
                };
                directory.default_workspace = listed.default.or(directory.default_workspace);
                self.is_list_suspect = false;
            }
            Some(Err(error)) => self.note(&error),
            None => self
                .errors
                .note(self.timeout_message("all workspaces were listed")),
        }
        // The limit of a new workspace may have been read before.
        let directory = self.listings.with_spend_limits(directory, self.polled_at);
        self.save_directory(directory).await?;
        if self.directory.has_missing() {
            self.errors.note(format!(
                "organization `{}`: workspaces disappeared from the list, keeping them until three lists over 30 minutes agree",
                self.settings.organization
            ));
        }
        Ok(())
    }

    /// Forgets a detected dialect that was rejected in several consecutive cycles, so that it is detected again.
    pub(in crate::cycle) fn recheck_dialect(&mut self) {
        if !self.errors.is_dialect_refused {
            self.n_dialect_rejections = 0;
            return;
        }
        self.n_dialect_rejections = self.n_dialect_rejections.saturating_add(1);
        if self.n_dialect_rejections < DIALECT_REJECTIONS_BEFORE_RECHECK {
            return;
        }
        self.n_dialect_rejections = 0;
        if let Some(dialect) = self.engine.dialect.take() {
            self.engine.billed_until = None;
            self.backlog = None;
            tracing::warn!(
                organization.name = %self.settings.organization,
                "the server rejected dialect `{dialect}` {DIALECT_REJECTIONS_BEFORE_RECHECK} times in a row, detecting the dialect again"
            );
        }
    }

    pub(in crate::cycle) fn note(&mut self, error: &FetchError) {
        let is_refused = error.is_forbidden_or_not_found() || error.is_analytics_unavailable();
        self.errors.is_dialect_refused |= error.workspace.is_none() && is_refused;
        if error.is_key_error() {
            self.errors.add_key_rejection(error_chain(error));
        } else {
            self.errors.note(error_chain(error));
        }
    }
}
