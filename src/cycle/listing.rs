//! What the real service lists beside usage, keys and people: limits of spend and of use. Read once an hour; where any of it
//! cannot be read, figures are no less complete.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::error::FetchError;
use crate::cycle::plan;
use crate::cycle::state::Watcher;
use crate::domain::directory::Directory;
use crate::domain::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use crate::metrics::requests::Endpoint;
use crate::store::error::StoreError;

/// How old any of it may become.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// The same in words.
const AN_HOUR: &str = "in an hour";

impl Watcher {
    /// Reads what is due.
    pub(in crate::cycle) async fn read_limits(
        &mut self,
        polled_at: Timestamp,
        deadline: Duration,
    ) -> Result<(), StoreError> {
        let is_due = |at: Option<Timestamp>| {
            at.is_none_or(|at| polled_at.duration_since(at).abs() >= INTERVAL)
        };
        if is_due(self.listings.limits_at) {
            self.listings.limits_at = Some(polled_at);
            match self.in_time(deadline, self.api.spend_limits()).await {
                Some(Ok(limits)) => {
                    self.note_lists([Endpoint::SpendLimits]);
                    self.listings.spend = limits;
                    let known = self.directory.clone();
                    let limited = match self.listings.spend {
                        Some(_) => self.listings.limit(known, polled_at),
                        None => known.with_unknown_limits(),
                    };
                    self.take_directory(limited).await?;
                }
                Some(Err(error)) => self.miss("the limits of spend", &error, AN_HOUR),
                None => {}
            }
        }
        self.read_rates(polled_at, deadline).await;
        Ok(())
    }

    /// Limits of use: each once an hour, a few in each cycle, the organization's first.
    async fn read_rates(&mut self, polled_at: Timestamp, deadline: Duration) {
        let real_id = |id: &WorkspaceId| match id.as_str() {
            DEFAULT_WORKSPACE => self.directory.default.clone(),
            _ => Some(id.clone()),
        };
        let workspaces = self.directory.present();
        let mut wanted: Vec<(Option<WorkspaceId>, Option<WorkspaceId>)> = workspaces
            .filter_map(|workspace| {
                Some((Some(workspace.id.clone()), Some(real_id(&workspace.id)?)))
            })
            .collect();
        wanted.insert(0, (None, None));
        let left = deadline.saturating_sub(self.clock.running());
        let cycle = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
        let n_at_once = plan::share(wanted.len(), cycle, INTERVAL);
        let read_at = |id: &Option<WorkspaceId>| self.listings.rates_at.get(id).copied();
        wanted.retain(|(_, real)| {
            read_at(real).is_none_or(|at| polled_at.duration_since(at).abs() >= INTERVAL)
        });
        wanted.sort_by_key(|(_, real)| read_at(real));
        for (shown, real) in wanted.into_iter().take(n_at_once) {
            let asked = self.api.rate_limits(real.as_ref());
            match self.in_time(deadline, asked).await {
                Some(Ok(limits)) => {
                    let list = match real {
                        None => Endpoint::RateLimits,
                        Some(_) => Endpoint::WorkspaceRateLimits,
                    };
                    self.note_lists([list]);
                    self.listings.rates.insert(shown, limits);
                }
                // A service without them is asked again in an hour.
                Some(Err(error)) if error.is_forbidden_or_unknown() => {
                    self.listings.rates.remove(&shown);
                }
                Some(Err(error)) => {
                    self.miss("limits of use", &error, AN_HOUR);
                    return;
                }
                None => return,
            }
            self.listings.rates_at.insert(real, polled_at);
        }
    }

    pub(in crate::cycle) async fn take_directory(
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

    pub(in crate::cycle) fn miss(&self, what: &str, error: &FetchError, again: &str) {
        let name = &self.settings.organization;
        if error.status() == Some(401) {
            tracing::warn!(organization.name = %name, "{error}; asking again for {what} {again}");
            return;
        }
        tracing::warn!(
            organization.name = %name,
            "cannot read {what}, asking again {again}: {error}"
        );
    }
}
