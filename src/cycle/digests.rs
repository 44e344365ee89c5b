//! Creates due digests after a cycle and puts them into the outbox. A digest with missing figures waits for a later cycle,
//! for a limited time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cycle::state::Watcher;
use spendwatch_config::digests::DigestConfig as Configured;
use spendwatch_domain::digest::create::{DigestInput, create};
use spendwatch_domain::digest::forecast::{forecast, forecast_spans};
use spendwatch_domain::digest::gaps::{gaps, is_complete};
use spendwatch_domain::digest::period::{
    ClosedPeriod, DigestAction, MAX_WAIT, last_closed_period, next_action, pieces,
};
use spendwatch_domain::digest::{AuditAnchor, DataGap, Digest, Forecast};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::digests::DigestProgress;
use spendwatch_store::error::StoreError;
use spendwatch_store::outbox::NewDigest;

impl Watcher {
    /// Creates due digests. Returns the number of messages.
    pub(in crate::cycle) async fn create_due_digests(&mut self) -> Result<usize, StoreError> {
        if self.settings.digests.is_empty() {
            return Ok(0);
        }
        let Ok(now) = self.checked_now() else {
            return Ok(0);
        };
        let marks = self
            .store
            .digest_progress(&self.settings.organization)
            .await?;
        let mut n_messages = 0;
        for configured in &self.settings.digests {
            let mark = marks.get(&configured.name);
            n_messages += self.run_digest(configured, mark, now).await?;
        }
        Ok(n_messages)
    }

    async fn run_digest(
        &self,
        configured: &Configured,
        mark: Option<&DigestProgress>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let schedule = schedule_text(configured);
        // The last slot of a different schedule does not count.
        let last = mark
            .filter(|mark| mark.schedule == schedule)
            .map(|mark| mark.last_slot);
        let (slot, messages) = match next_action(&configured.schedule, last, now) {
            DigestAction::Rest => return Ok(0),
            DigestAction::Count(from) => (from, Vec::new()),
            DigestAction::Due { slot, since } => {
                let zone = &configured.schedule.zone().rules;
                let closed = last_closed_period(configured.period, zone, slot);
                let gaps = self.digest_gaps(&closed);
                if !is_complete(&gaps) && now.duration_since(since) < MAX_WAIT {
                    return Ok(0);
                }
                let digest = self.create_digest(configured, &closed, &gaps, now).await?;
                (slot, self.digest_messages(configured, &digest, now))
            }
        };
        let n_messages = messages.len();
        let mark = DigestProgress {
            name: configured.name.clone(),
            schedule,
            last_slot: slot,
        };
        self.store
            .commit_digest(&self.settings.organization, mark, messages, now)
            .await?;
        Ok(n_messages)
    }

    /// Returns the polled parts that lack data for the period.
    fn digest_gaps(&self, closed: &ClosedPeriod) -> Vec<DataGap> {
        let workspaces = self.directory.present().map(|workspace| {
            let part = Part::Workspace(workspace.id.clone());
            (workspace.name.clone(), self.coverages.get(&part))
        });
        let whole = self.coverages.get(&Part::Whole);
        let whole = ("the whole organization".to_owned(), whole);
        let parts: Vec<_> = workspaces.chain([whole]).collect();
        gaps(&parts, closed, self.settings.poll.settle)
    }

    async fn create_digest(
        &self,
        configured: &Configured,
        closed: &ClosedPeriod,
        gaps: &[DataGap],
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let name = &self.settings.organization;
        let zone = configured.schedule.zone();
        let span = closed.cut.span;
        let pieces = pieces(configured.period, &zone.rules, span);
        let by_piece = pieces.clone();
        let rows = self
            .store
            .usage(name, span.hours(), move |hour| by_piece.first_hour(hour))
            .await?;
        let hours_before = closed.before.span.hours();
        let rows_before = self
            .store
            .usage(name, hours_before, move |_| hours_before.start)
            .await?;
        let forecast = self.digest_forecast(&zone.rules, now).await?;
        let audit = self.newest_audit();
        let source = DigestInput {
            snapshot: self.snapshot(),
            name: &configured.name,
            zone_name: &zone.name,
            closed,
            pieces: &pieces,
            rows: &rows,
            rows_before: &rows_before,
            rules: &self.settings.policy.rules,
            measurements: &self.measurements,
            forecast: forecast.as_ref(),
            gaps,
            audit: audit.as_ref(),
        };
        Ok(create(&source, self.alerts.by_slot.values(), now))
    }

    /// Returns the newest entry of the audit log. A read error does not prevent the digest.
    fn newest_audit(&self) -> Option<AuditAnchor> {
        match self.audit.as_ref()?.newest() {
            Ok(head) => head.map(|head| AuditAnchor {
                entry: head.seq,
                hash: head.hash,
            }),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    /// Returns the forecast of the month; `None` unless all usage since its start and of the last week is known.
    async fn digest_forecast(
        &self,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Option<Forecast>, StoreError> {
        let pace = forecast_spans(zone, self.figures.newest_settled_hour(now), now);
        let first = pace.so_far.start.min(pace.last_week.start);
        let is_known = |part: &Part| {
            // Usage of the whole is summed as the remainder.
            let summed = match part {
                Part::Whole => &Part::Unattributed,
                Part::Workspace(_) | Part::Unattributed => part,
            };
            self.figures.part_state(summed).is_some_and(|state| {
                state.is_fresh && state.known_from.is_some_and(|from| from <= first)
            })
        };
        let mut parts = self.coverages.keys().filter(|part| self.is_polled(part));
        if !parts.all(is_known) {
            return Ok(None);
        }
        let name = &self.settings.organization;
        let of = |hours: HourSpan| self.store.usage(name, hours, move |_| hours.start);
        let (so_far, last_week) = (of(pace.so_far).await?, of(pace.last_week).await?);
        Ok(forecast(&pace, &so_far, &last_week))
    }

    /// Returns one message per recipient, each with its own id.
    fn digest_messages(
        &self,
        configured: &Configured,
        digest: &Digest,
        now: Timestamp,
    ) -> Vec<NewDigest> {
        let mut messages = Vec::new();
        let is_receiver =
            |name: &NotifierName| configured.notify.is_empty() || configured.notify.contains(name);
        for (notifier, delivery) in &self.settings.delivery {
            if !delivery.accepts_digests || !is_receiver(notifier) {
                continue;
            }
            for recipient in delivery.recipients_or_none() {
                messages.push(NewDigest {
                    id: self.random.id(),
                    notifier: notifier.clone(),
                    recipient,
                    digest: digest.clone(),
                    expires: now.checked_add(delivery.max_age).unwrap_or(Timestamp::MAX),
                });
            }
        }
        messages
    }
}

fn schedule_text(configured: &Configured) -> String {
    format!(
        "{} {}",
        configured.schedule,
        configured.schedule.zone().name
    )
}
