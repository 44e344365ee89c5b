//! The clock is compared with the server's `Date` before anything is decided or stored.
//!
//! The last `Date` and the running time since give the server's time without another request, so a step of the clock is
//! noticed at once. A request is sent only if there was no response yet, or if the two differ: running time stands still
//! while the machine is suspended.

use std::time::Duration;

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::cycle::summary::CycleSummary;
use spendwatch_base::clock::ServerNow;
use spendwatch_domain::units::skew::{ClockProblem, check_unconfirmed, differs, is_ahead};
use spendwatch_store::error::StoreError;

/// Maximum wait for the server's time before a decision between two cycles.
const SERVER_TIME_TIMEOUT: Duration = Duration::from_secs(10);

impl Watcher {
    /// Returns the present time, unless it may be wrong. A server that sends no `Date` leaves the clock as it is.
    pub fn checked_now(&self) -> Result<Timestamp, ClockProblem> {
        let ours = self.clock.now();
        match self.api.server_now() {
            ServerNow::At(theirs) if differs(ours, theirs) => {
                Err(ClockProblem::Differs { ours, theirs })
            }
            ServerNow::At(_) | ServerNow::NoDate => Ok(ours),
            ServerNow::NoResponse => check_unconfirmed(ours, self.engine.last_at).map(|()| ours),
        }
    }

    /// Decides between two cycles. Before the first one the server is asked for its time.
    pub async fn decide_between_cycles(&mut self) -> Result<usize, StoreError> {
        self.deadline = self.clock.monotonic() + SERVER_TIME_TIMEOUT;
        let skew = self.api.skew();
        self.fetch_server_time().await;
        self.has_view_changed |= self.api.skew() != skew;
        match self.checked_now() {
            Ok(_) => self.decide_and_commit().await,
            Err(_) => Ok(0),
        }
    }

    /// Asks the server for its time if necessary. Keeps the response for reading the directory, which begins with the same
    /// request.
    pub(in crate::cycle) async fn fetch_server_time(&mut self) {
        self.organization_response = None;
        let is_known = self.api.server_now() != ServerNow::NoResponse;
        if is_known && self.checked_now().is_ok() {
            return;
        }
        let response = self.api.organization(self.server());
        self.organization_response = self.before_deadline(response).await;
    }

    /// Corrects what a wrong clock stored or cut, once the clock is right.
    pub(in crate::cycle) async fn correct_times(
        &mut self,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_cut_ahead = is_ahead(self.cut_at, now);
        if self.are_times_checked && !is_cut_ahead {
            return Ok(());
        }
        let name = &self.settings.organization;
        let reading = self.settings.poll;
        let is_corrected = self.store.correct_times(name, reading, now).await?;
        if is_corrected {
            tracing::warn!(
                organization.name = %name,
                "stored times were ahead of the clock, corrected them, reading the affected usage again"
            );
        }
        if is_corrected || is_cut_ahead {
            self.reload(now).await?;
        }
        self.are_times_checked = true;
        Ok(())
    }

    /// Ends a cycle in which the clock may be wrong: nothing is decided, stored or changed in what is shown.
    pub(in crate::cycle) fn end_without_deciding(
        &mut self,
        slot: Timestamp,
        started: Duration,
        problem: ClockProblem,
    ) -> CycleSummary {
        if let Some(Err(error)) = self.organization_response.take() {
            self.note(&error);
        }
        // In memory only, so that the next slot is awaited and this time does not count as observed.
        self.engine.last_cycle = Some(slot);
        self.decided_at_running = Some(self.clock.monotonic());
        self.count_rejections();
        let summary = CycleSummary {
            remarks: Vec::new(),
            n_fresh: 0,
            ..self.summary(0, Some(problem))
        };
        self.count(&summary, started);
        summary
    }

    /// Counts consecutive cycles in which the key was rejected.
    pub(in crate::cycle) fn count_rejections(&mut self) {
        self.n_rejections = if self.errors.is_refused {
            self.n_rejections.saturating_add(1)
        } else {
            0
        };
    }

    /// Counts a cycle and keeps its summary.
    pub(in crate::cycle) fn count(&mut self, summary: &CycleSummary, started: Duration) {
        let elapsed = self.clock.monotonic().saturating_sub(started);
        self.counters.count_cycle(
            &self.settings.organization,
            summary.outcome,
            elapsed.as_secs_f64(),
        );
        self.last_summary = Some(summary.clone());
    }
}
