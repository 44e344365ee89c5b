//! Digests: after a cycle, those whose slot has come are made and put into the outbox.
//!
//! One that would lack figures waits for a cycle that has them, but not for ever.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::digests::Digest as Configured;
use crate::cycle::state::Watcher;
use crate::domain::digest::{
    self, Anchor, Closed, Digest, Forecast, Missing, PATIENCE, Source, Turn,
};
use crate::domain::ids::NotifierName;
use crate::domain::span::HourSpan;
use crate::domain::usage::Part;
use crate::store::digests::Mark;
use crate::store::error::StoreError;
use crate::store::outbox::NewDigest;

impl Watcher {
    /// Makes what is due. Gives the number of messages.
    pub(in crate::cycle) async fn make_digests(&mut self) -> Result<usize, StoreError> {
        if self.settings.digests.is_empty() {
            return Ok(0);
        }
        let Ok(now) = self.checked_now() else {
            return Ok(0);
        };
        let marks = self.store.digest_marks(&self.settings.organization).await?;
        let mut n_messages = 0;
        for configured in &self.settings.digests {
            let mark = marks.get(&configured.name);
            n_messages += self.take_turn(configured, mark, now).await?;
        }
        Ok(n_messages)
    }

    async fn take_turn(
        &self,
        configured: &Configured,
        mark: Option<&Mark>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let schedule = schedule_text(configured);
        // Slots of another schedule say nothing about this one's.
        let last = mark
            .filter(|mark| mark.schedule == schedule)
            .map(|mark| mark.last_slot);
        let (slot, messages) = match digest::turn(&configured.schedule, last, now) {
            Turn::Rest => return Ok(0),
            Turn::Count(from) => (from, Vec::new()),
            Turn::Due { slot, since } => {
                let closed = closed(configured, slot);
                let gaps = self.digest_gaps(&closed);
                if !digest::is_complete(&gaps) && now.duration_since(since) < PATIENCE {
                    return Ok(0);
                }
                let made = self.make_digest(configured, &closed, &gaps, now).await?;
                (slot, self.digest_messages(configured, &made, now))
            }
        };
        let n_messages = messages.len();
        let mark = Mark {
            name: configured.name.clone(),
            schedule,
            last_slot: slot,
        };
        self.store
            .commit_digest(&self.settings.organization, mark, messages, now)
            .await?;
        Ok(n_messages)
    }

    /// What is not known of the parts that are asked for.
    fn digest_gaps(&self, closed: &Closed) -> Vec<Missing> {
        let workspaces = self.directory.present().map(|workspace| {
            let part = Part::Workspace(workspace.id.clone());
            (workspace.name.clone(), self.coverages.get(&part))
        });
        let whole = ("the whole organization".to_owned(), Part::Whole);
        let whole = (whole.0, self.coverages.get(&whole.1));
        let parts: Vec<_> = workspaces.chain([whole]).collect();
        digest::gaps(&parts, closed, self.settings.reading.settle)
    }

    async fn make_digest(
        &self,
        configured: &Configured,
        closed: &Closed,
        gaps: &[Missing],
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let name = &self.settings.organization;
        let zone = configured.schedule.zone();
        let span = closed.cut.span;
        let pieces = digest::pieces(configured.period, &zone.rules, span);
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
        let source = Source {
            ground: self.ground(),
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
        Ok(digest::make(&source, self.alerts.by_slot.values(), now))
    }

    /// The newest entry of the audit log. One that cannot be read keeps no digest back.
    fn newest_audit(&self) -> Option<Anchor> {
        match self.audit.as_ref()?.newest() {
            Ok(head) => head.map(|head| Anchor {
                entry: head.seq,
                hash: head.hash,
            }),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    /// Where the month would end; `None` unless everything is known since it began, and over the last week.
    async fn digest_forecast(
        &self,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Option<Forecast>, StoreError> {
        let pace = digest::pace(zone, self.figures.newest_settled_hour(now), now);
        let first = pace.so_far.start.min(pace.last_week.start);
        let is_known = |part: &Part| {
            // What the whole tells is summed as the remainder.
            let summed = match part {
                Part::Whole => &Part::Unattributed,
                Part::Workspace(_) | Part::Unattributed => part,
            };
            self.figures.part_state(summed).is_some_and(|state| {
                state.is_fresh && state.known_from.is_some_and(|from| from <= first)
            })
        };
        let mut parts = self.coverages.keys().filter(|part| self.is_asked(part));
        if !parts.all(is_known) {
            return Ok(None);
        }
        let name = &self.settings.organization;
        let of = |hours: HourSpan| self.store.usage(name, hours, move |_| hours.start);
        let (so_far, last_week) = (of(pace.so_far).await?, of(pace.last_week).await?);
        Ok(digest::forecast(&pace, &so_far, &last_week))
    }

    /// One for each recipient, each with an id of its own.
    fn digest_messages(
        &self,
        configured: &Configured,
        made: &Digest,
        now: Timestamp,
    ) -> Vec<NewDigest> {
        let mut messages = Vec::new();
        let is_told =
            |name: &NotifierName| configured.notify.is_empty() || configured.notify.contains(name);
        for (notifier, postage) in &self.settings.postage {
            if !postage.takes_digests || !is_told(notifier) {
                continue;
            }
            for recipient in postage.copies() {
                messages.push(NewDigest {
                    id: self.chance.id(),
                    notifier: notifier.clone(),
                    recipient,
                    digest: made.clone(),
                    expires: now.checked_add(postage.max_age).unwrap_or(Timestamp::MAX),
                });
            }
        }
        messages
    }
}

fn closed(configured: &Configured, slot: Timestamp) -> Closed {
    let zone = &configured.schedule.zone().rules;
    digest::closed(configured.period, zone, slot)
}

fn schedule_text(configured: &Configured) -> String {
    format!(
        "{} {}",
        configured.schedule,
        configured.schedule.zone().name
    )
}
