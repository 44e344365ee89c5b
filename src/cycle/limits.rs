//! Reads spend limits and rate limits from Anthropic's service, once an hour. Figures are complete without them.

use jiff::SignedDuration;

use crate::cycle::plan;
use crate::cycle::state::Watcher;
use spendwatch_anthropic::endpoint::Endpoint;
use spendwatch_anthropic::error::FetchError;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_store::error::StoreError;

/// Maximum age of a limit.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
const IN_AN_HOUR: &str = "in an hour";

impl Watcher {
    /// Reads limits that are due.
    pub(in crate::cycle) async fn read_limits(&mut self) -> Result<(), StoreError> {
        if plan::is_old(self.listings.limits_at, INTERVAL, self.polled_at) {
            self.listings.limits_at = Some(self.polled_at);
            match self
                .before_deadline(self.api.spend_limits(self.server()))
                .await
            {
                Some(Ok(limits)) => {
                    self.note_lists([Endpoint::SpendLimits]);
                    self.listings.spend = limits;
                    let known = self.directory.clone();
                    let limited = match self.listings.spend {
                        Some(_) => self.listings.with_spend_limits(known, self.polled_at),
                        None => known.with_unknown_limits(),
                    };
                    self.save_directory(limited).await?;
                }
                Some(Err(error)) => {
                    self.warn_unreadable_list("the spend limits", &error, IN_AN_HOUR);
                }
                None => {}
            }
        }
        self.read_rate_limits().await;
        Ok(())
    }

    /// Reads rate limits: each once an hour, a few per cycle, the organization's first.
    async fn read_rate_limits(&mut self) {
        let real_id = |id: &WorkspaceId| match id.as_str() {
            DEFAULT_WORKSPACE => self.directory.default_workspace.clone(),
            _ => Some(id.clone()),
        };
        let workspaces = self.directory.present();
        let mut due: Vec<(Option<WorkspaceId>, Option<WorkspaceId>)> = workspaces
            .filter_map(|workspace| {
                Some((Some(workspace.id.clone()), Some(real_id(&workspace.id)?)))
            })
            .collect();
        due.insert(0, (None, None));
        let left = self.deadline.saturating_sub(self.clock.monotonic());
        let cycle = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
        let n_at_once = plan::share(due.len(), cycle, INTERVAL);
        let read_at = |id: &Option<WorkspaceId>| self.listings.rate_limits_at.get(id).copied();
        due.retain(|(_, real)| plan::is_old(read_at(real), INTERVAL, self.polled_at));
        due.sort_by_key(|(_, real)| read_at(real));
        for (shown, real) in due.into_iter().take(n_at_once) {
            let asked = self.api.rate_limits(real.as_ref());
            match self.before_deadline(asked).await {
                Some(Ok(limits)) => {
                    let list = match real {
                        None => Endpoint::RateLimits,
                        Some(_) => Endpoint::WorkspaceRateLimits,
                    };
                    self.note_lists([list]);
                    self.listings.rate_limits.insert(shown, limits);
                }
                // A server without rate limits is asked again in an hour.
                Some(Err(error)) if error.is_forbidden_or_not_found() => {
                    self.listings.rate_limits.remove(&shown);
                }
                Some(Err(error)) => {
                    self.warn_unreadable_list("the rate limits", &error, IN_AN_HOUR);
                    return;
                }
                None => return,
            }
            self.listings.rate_limits_at.insert(real, self.polled_at);
        }
    }

    pub(in crate::cycle) async fn save_directory(
        &mut self,
        directory: Directory,
    ) -> Result<(), StoreError> {
        if directory != self.directory {
            self.store
                .save_directory(&self.settings.organization, &directory)
                .await?;
            self.directory = directory;
        }
        Ok(())
    }

    pub(in crate::cycle) fn warn_unreadable_list(
        &self,
        what: &str,
        error: &FetchError,
        again: &str,
    ) {
        let name = &self.settings.organization;
        if error.status() == Some(401) {
            tracing::warn!(organization.name = %name, "{error}; retrying to read {what} {again}");
            return;
        }
        tracing::warn!(
            organization.name = %name,
            "cannot read {what}, retrying {again}: {error}"
        );
    }
}
