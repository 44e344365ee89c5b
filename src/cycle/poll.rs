//! Sends the planned requests concurrently and records their changes as responses arrive.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::SignedDuration;
use tokio_util::task::AbortOnDropHandle;

use crate::cycle::gather::{BatchEnd, Batcher, Fetched};
use crate::cycle::plan::{self, Stage};
use crate::cycle::state::Watcher;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::ledger::change::PartChanges;
use spendwatch_domain::ledger::coverage::{self, Coverage, PartFetch, Purpose};
use spendwatch_domain::ledger::hour_hashes::HourHashes;
use spendwatch_domain::ledger::record::record;
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::bucket::{Part, UsageResponse};
use spendwatch_store::error::StoreError;

/// The part of a response that is compared with the ledger, and the hashes of all its hours if these are running.
pub(in crate::cycle) type Compared = (Purpose, UsageResponse, Option<HourHashes>);

impl Watcher {
    /// Runs all stages, until the deadline at most.
    pub(in crate::cycle) async fn poll(&mut self) -> Result<(), StoreError> {
        let parts: Vec<Part> = self
            .directory
            .present()
            .map(|part| Part::Workspace(part.id.clone()))
            .collect();
        let started = self.clock.monotonic();
        let unreadable = |part: &Part| Some(self.oldest_unreadable(part)?.day());
        let first = plan::running_stage(
            &parts,
            &self.coverages,
            unreadable,
            &self.settings.poll,
            self.polled_at,
        );
        if !self.run_stage(first).await? {
            self.warn_about_rate(&parts, self.deadline.saturating_sub(started));
            return Ok(());
        }
        let length = SignedDuration::try_from(self.deadline.saturating_sub(started))
            .unwrap_or(SignedDuration::MAX);
        loop {
            let reading = self.settings.poll;
            let stages =
                plan::backlog_stages(&parts, &self.coverages, &reading, length, self.polled_at);
            let Some(stage) = stages.into_iter().next() else {
                return Ok(());
            };
            let n_before = self.errors.lines.len();
            let is_correction = stage
                .whole
                .iter()
                .chain(&stage.parts)
                .any(|fetch| fetch.purpose == Purpose::Corrections);
            let is_done = self.run_stage(stage).await?;
            // Corrections come last. A failed stage is planned again in the next cycle.
            if !is_done || is_correction || self.errors.lines.len() > n_before {
                return Ok(());
            }
        }
    }

    /// Runs a stage. Returns whether it was completed before the deadline.
    async fn run_stage(&mut self, stage: Stage) -> Result<bool, StoreError> {
        let groups = if stage.is_whole_first {
            [stage.whole, stage.parts]
        } else {
            [stage.parts, stage.whole]
        };
        for fetches in groups {
            if self.errors.is_refused || !self.run_fetches(fetches).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn run_fetches(&mut self, fetches: Vec<PartFetch>) -> Result<bool, StoreError> {
        let api = self.api.clone();
        let send = move |fetch: PartFetch| {
            let api = api.clone();
            // A separate task, so that responses are parsed on all cores.
            let request = AbortOnDropHandle::new(tokio::spawn(async move {
                let response = api
                    .guide_usage(&fetch.part, fetch.granularity, fetch.first, fetch.last)
                    .await;
                (fetch, response)
            }));
            async {
                request
                    .await
                    .expect("the task is not cancelled, and a panic aborts the process")
            }
        };
        let responses = stream::iter(fetches)
            .map(send)
            .buffer_unordered(self.settings.max_concurrency);
        let batcher = Batcher {
            clock: self.clock.clone(),
            deadline: self.deadline,
            cancel: self.cancel.clone(),
        };
        let mut responses = Some(Box::pin(responses));
        let mut gathered = batcher.next_batch(&mut responses).await;
        loop {
            match gathered.end {
                // Collect the next batch while this one is recorded.
                None => {
                    let next = async { Ok(batcher.next_batch(&mut responses).await) };
                    let batch = self.record_batch(gathered.batch);
                    ((), gathered) = tokio::try_join!(batch, next)?;
                }
                Some(end) => {
                    self.record_batch(gathered.batch).await?;
                    return Ok(end == BatchEnd::Complete);
                }
            }
        }
    }

    /// Records a batch. Each response is recorded completely or not at all.
    async fn record_batch(&mut self, batch: Vec<Fetched>) -> Result<(), StoreError> {
        let mut received = Vec::new();
        for (fetch, response) in batch {
            match response {
                Ok((response, unreadable)) => {
                    for unreadable in &unreadable {
                        self.note_unreadable(Some(&response.part), unreadable);
                    }
                    received.push(self.changed_part(fetch, response));
                }
                Err(error) => {
                    self.is_list_suspect |= error.is_not_found();
                    self.note(&error);
                }
            }
        }
        if received.is_empty() {
            return Ok(());
        }
        let spans = received
            .iter()
            .map(|(_, response, _)| (response.part.clone(), response.hours))
            .collect();
        self.record_responses(received, spans).await
    }

    /// Compares responses with the stored buckets in the `wanted` spans and records the differences.
    pub(in crate::cycle) async fn record_responses(
        &mut self,
        received: Vec<Compared>,
        spans: Vec<(Part, HourSpan)>,
    ) -> Result<(), StoreError> {
        let stored = self
            .store
            .stored_many(&self.settings.organization, spans)
            .await?;
        let settle = self.settings.poll.settle;
        let mut changes: Vec<(Part, PartChanges)> = Vec::new();
        // Several responses may be about one part: each builds on the coverage after the previous one.
        let mut newest: HashMap<Part, usize> = HashMap::new();
        for ((purpose, response, hour_hashes), stored) in received.into_iter().zip(&stored) {
            let coverage = match newest.insert(response.part.clone(), changes.len()) {
                Some(before) => changes[before].1.coverage.clone(),
                None => self.coverage_of(&response.part),
            };
            let mut recorded = record(
                &response,
                purpose,
                &coverage,
                stored,
                settle,
                self.polled_at,
            );
            if self.reports().is_some() {
                // Reports state unattributed usage, so it need not be derived.
                recorded.touched.clear();
            }
            if !recorded.is_complete {
                self.errors.note(format!(
                    "organization `{}`, usage of {}: rows disappeared, keeping them until three responses over 30 minutes agree",
                    self.settings.organization,
                    response.part.workspace_id().unwrap_or("the whole organization"),
                ));
            }
            match hour_hashes.filter(|_| recorded.is_complete) {
                Some(hour_hashes) => self.hour_hashes.insert(response.part.clone(), hour_hashes),
                None => self.hour_hashes.remove(&response.part),
            };
            changes.push((response.part, recorded));
        }
        let (idle, changes): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|(_, recorded)| recorded.is_empty());
        let changes: Arc<[_]> = changes.into();
        if !changes.is_empty() {
            self.store
                .record(
                    &self.settings.organization,
                    Arc::clone(&changes),
                    Vec::new(),
                )
                .await?;
        }
        for (part, recorded) in idle.iter().chain(changes.iter()) {
            self.apply_recorded(part, recorded);
        }
        Ok(())
    }

    /// Selects what to compare with the ledger: hours before the first change since the last response are skipped.
    fn changed_part(&self, fetch: PartFetch, response: UsageResponse) -> Compared {
        let PartFetch { part, purpose, .. } = fetch;
        if purpose != Purpose::OpenHours {
            return (purpose, response, None);
        }
        let hour_hashes = HourHashes::new(&response);
        let first = self
            .hour_hashes
            .get(&part)
            .map_or(response.hours.start, |before| {
                let coverage = self.coverage_of(&part);
                hour_hashes.first_difference(before, &coverage, self.settings.poll.settle)
            });
        (purpose, response.from_hour(first), Some(hour_hashes))
    }

    /// Records up to when each part is known.
    pub(in crate::cycle) async fn note_polled(&mut self) -> Result<(), StoreError> {
        let Some(polled) = coverage::stale_change(&self.coverages, &self.behind, self.known_at)
        else {
            return Ok(());
        };
        self.store
            .note_polled(&self.settings.organization, polled.clone())
            .await?;
        for part in &polled.recovered {
            self.behind.remove(part);
        }
        self.behind.extend(polled.newly_stale);
        Ok(())
    }

    /// Applies to memory what was recorded in the store.
    pub(in crate::cycle) fn apply_recorded(&mut self, part: &Part, recorded: &PartChanges) {
        self.last_hour_is_touched |= recorded
            .deltas
            .iter()
            .any(|delta| self.last_hour == Some(delta.hour));
        if let Some(uses) = &mut self.uses {
            recorded.record_last_uses(uses);
        }
        match part {
            // The whole serves to derive the remainder; it is part of no sum.
            Part::Whole => self.remainders_due.extend(&recorded.touched),
            Part::Workspace(_) => {
                self.figures
                    .apply(part, &recorded.deltas, &recorded.decreased);
                self.remainders_due.extend(&recorded.touched);
            }
            Part::Unattributed => self
                .figures
                .apply(part, &recorded.deltas, &recorded.decreased),
        }
        self.apply_unreadable(part, recorded);
        match self.coverages.get_mut(part) {
            Some(known) => known.clone_from(&recorded.coverage),
            None => {
                self.behind.insert(part.clone(), None);
                self.coverages
                    .insert(part.clone(), recorded.coverage.clone());
            }
        }
    }

    pub(in crate::cycle) fn coverage_of(&self, part: &Part) -> Coverage {
        let known = self.coverages.get(part);
        // Sweeps cover all workspaces, so a new one had no usage in hours swept before.
        let swept = || {
            self.coverages
                .get(&Part::Whole)
                .filter(|_| self.reports().is_some())
        };
        match (known, swept()) {
            (Some(coverage), _) => coverage.clone(),
            (None, Some(whole)) => Coverage {
                recheck: BTreeSet::new(),
                ..whole.clone()
            },
            (None, None) => Coverage::new(self.polled_at),
        }
    }

    /// Reports an incomplete cycle, and warns once about the request rate that is needed.
    fn warn_about_rate(&mut self, parts: &[Part], length: Duration) {
        if self.errors.is_refused {
            return;
        }
        if self.cancel.is_cancelled() {
            self.errors.note(format!(
                "organization `{}`: cycle cut short",
                self.settings.organization
            ));
            return;
        }
        let is_fresh = |part: &&Part| {
            self.coverages
                .get(*part)
                .is_some_and(|c| c.as_of == Some(self.polled_at))
        };
        let n_fresh = parts.iter().filter(is_fresh).count();
        let n_needed = parts.len() + 1;
        let per_minute = (n_needed as u64 * 60).div_ceil(length.as_secs().max(1));
        self.errors.note(format!(
            "organization `{}`: {n_fresh} of {} {} read before the next slot, continuing with the stalest",
            self.settings.organization,
            counted(parts.len(), "workspace"),
            agreeing(&parts.len(), "was", "were"),
        ));
        if !std::mem::replace(&mut self.has_warned_about_rate, true) {
            let max_per_minute_allowed = self.api.max_per_minute(ServerKind::Guide);
            tracing::warn!(
                organization.name = %self.settings.organization,
                "{}", rate_advice(n_needed, per_minute, max_per_minute_allowed)
            );
        }
    }
}

/// Advises on a cycle that takes too long. A higher request rate helps only if the rate is the bottleneck.
fn rate_advice(n_needed: usize, per_minute: u64, max_per_minute_allowed: Option<u32>) -> String {
    let needed = format!(
        "a cycle needs {}, about {per_minute} a minute",
        counted(n_needed, "request")
    );
    match max_per_minute_allowed {
        Some(max_per_minute_allowed) if u64::from(max_per_minute_allowed) < per_minute => {
            format!(
                "{needed}, but only {max_per_minute_allowed} are allowed; raise `max_requests_per_minute` or poll less often"
            )
        }
        Some(_) | None => {
            format!(
                "{needed}, but the server did not respond to all of them in time; poll less often"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_rate_is_advised_only_if_the_rate_is_the_bottleneck() {
        for (per_minute, max_per_minute_allowed, is_advised) in [
            (60, Some(45), true),
            (60, Some(60), false),
            (60, None, false),
        ] {
            let advice = rate_advice(300, per_minute, max_per_minute_allowed);
            assert_eq!(
                advice.contains("raise `max_requests_per_minute`"),
                is_advised,
                "{advice}"
            );
            assert!(advice.contains("poll less often"), "{advice}");
        }
        assert!(rate_advice(1, 1, None).starts_with("a cycle needs 1 request, about 1 a minute"));
    }
}
