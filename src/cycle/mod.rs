//! The cycle: plan, poll, translate, record, derive, decide, commit, publish.
//!
//! A [`Watcher`] holds the state of one organization in memory, as recorded in the store. After a store error the two may
//! differ, so the watcher is dropped and opened again.

pub mod gather;
pub mod plan;
pub mod reading;

pub mod settings;
pub mod summary;

pub mod state;

pub mod unreadable;

pub mod clock;
pub mod configured;
pub mod contributors;
pub mod directory;
pub mod limits;
pub mod lists;
pub mod poll;

pub mod sweeps;

pub mod digests;
pub mod remainder;
pub mod statement;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cycle::state::Watcher;
use crate::cycle::summary::{CycleErrors, CycleSummary};
use spendwatch_domain::alerts::alert::{Now, Observed};
use spendwatch_domain::alerts::decision::{self, Decision};
use spendwatch_domain::figures::period_sums::SumsToLoad;
use spendwatch_domain::figures::snapshot::OrganizationSnapshot;
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::units::skew::ClockProblem;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_metrics::view::View;
use spendwatch_store::decisions::Commit;
use spendwatch_store::error::StoreError;
use spendwatch_store::outbox::NewMessage;

impl Watcher {
    /// Runs one cycle for a slot of the schedule. It ends at `deadline` (running time) at the latest, as partial. After an
    /// error, which is the store's, this watcher must not be used again.
    pub async fn cycle(
        &mut self,
        slot: Timestamp,
        deadline: Duration,
    ) -> Result<CycleSummary, StoreError> {
        let started = self.clock.monotonic();
        self.store.check_files()?;
        // At least the data times, or whether the organization is up.
        self.has_view_changed = true;
        self.deadline = deadline;
        self.errors = CycleErrors::default();
        let may_request = self.may_request();
        let is_dialect_known = may_request && self.detect_dialect_if_unknown().await;
        if is_dialect_known {
            self.fetch_server_time().await;
        }
        let now = match self.checked_now() {
            Ok(now) => now,
            Err(problem) => return Ok(self.end_without_deciding(slot, started, problem)),
        };
        self.correct_times(now).await?;
        let polled_at = self.engine.clamp_to_last(now);
        self.polled_at = polled_at;
        self.known_at = polled_at;
        self.cut_at = self.cut_at.max(polled_at);
        let loads = self.figures.advance(polled_at);
        self.load(&loads).await?;
        self.figures.start_cycle();
        if is_dialect_known {
            self.read_directory().await?;
            if !self.errors.is_refused {
                match self.reports() {
                    None => {
                        self.poll().await?;
                        self.read_lists().await?;
                    }
                    Some(reports) => {
                        self.sweep(reports).await?;
                        self.read_lists().await?;
                        self.read_limits().await?;
                    }
                }
            }
        } else if self.errors.lines.is_empty() {
            self.errors.add_key_rejection(
                "the admin key was rejected repeatedly, requests are limited to one every 30 s"
                    .to_owned(),
            );
        }
        self.drop_expired_lists();
        self.recheck_dialect();
        self.count_rejections();
        if self.reports().is_none() {
            self.derive_remainders().await?;
        }
        let loads = self.figures.roll(self.known_at);
        self.load(&loads).await?;
        self.cover();
        self.note_polled().await?;
        self.refresh_last_hour().await?;
        self.compare_statement().await?;
        self.apply_retention().await?;
        self.engine.last_cycle = Some(slot);
        // The clock may have been set during the cycle.
        let clock = self.checked_now().err();
        let n_messages = match clock {
            None => self.decide_and_commit().await? + self.create_due_digests().await?,
            Some(_) => 0,
        };
        let summary = self.summary(n_messages, clock);
        self.count(&summary, started);
        Ok(summary)
    }

    /// Evaluates the rules on the current figures and commits the decision. Returns the number of messages. Decides nothing
    /// while the clock may be wrong.
    pub async fn decide_and_commit(&mut self) -> Result<usize, StoreError> {
        let clock = self.clock.now();
        if self.api.clock_problem().is_some() {
            return Ok(0);
        }
        let at = self.engine.clamp_to_last(clock);
        let running = self.clock.monotonic();
        let elapsed = self
            .decided_at_running
            .map_or(0, |last| milliseconds(running.saturating_sub(last)));
        let now = Now {
            at,
            observed: Observed(self.engine.observed.0 + elapsed),
            elapsed,
        };
        self.quiet = self.store.suppressions(at).await?;
        let mut decision = {
            let snapshot = self.snapshot();
            decision::decide(
                &self.settings.policy,
                &snapshot,
                &self.alerts,
                &self.quiet,
                now,
            )
        };
        self.explain(&mut decision).await?;
        let mut engine = self.engine.clone();
        engine.last_at = Some(at);
        engine.observed = now.observed;
        engine
            .rules_began
            .extend(decision.started_rules.iter().map(|name| (name.clone(), at)));
        // Messages wait by the clock of delivery, so a clock that was set back must not delay them.
        let messages = self.messages(&decision, clock);
        let n_messages = messages.len();
        let commit = Commit {
            alerts: decision.alerts.clone(),
            messages,
            resume_state: engine.clone(),
            at,
        };
        self.store
            .commit_decision(&self.settings.organization, commit)
            .await?;
        self.engine = engine;
        self.decided_at_running = Some(running);
        self.alerts.apply(&decision, at);
        self.has_view_changed = self.has_view_changed
            || !decision.alerts.is_empty()
            || self.measurements != decision.measurements;
        self.measurements = decision.measurements;
        Ok(n_messages)
    }

    /// Returns the view that rules are evaluated on.
    pub fn snapshot(&self) -> OrganizationSnapshot<'_> {
        OrganizationSnapshot {
            organization: &self.settings.organization,
            directory: &self.directory,
            inventory: &self.inventory,
            teams: &self.settings.teams,
            figures: &self.figures,
            privacy: self.settings.privacy,
        }
    }

    /// Returns the input of the gauges.
    pub fn view(&self) -> View<'_> {
        let summary = self.last_summary.as_ref();
        let unpriced = match self.reports() {
            None => BTreeMap::new(),
            Some(_) => self.unpriced_models(),
        };
        View {
            snapshot: self.snapshot(),
            rules: &self.settings.policy.rules,
            measurements: &self.measurements,
            alerts: self.alerts.by_slot.values().collect(),
            is_up: summary.is_some_and(|summary| summary.outcome == CycleOutcome::Ok),
            skew: self.api.skew(),
            dialect: self.dialect(),
            listings: &self.listings,
            billed_until: self.engine.billed_until,
            unpriced,
        }
    }

    /// Turns drafts into messages: one for each recipient, each with its own id.
    fn messages(&self, decision: &Decision, at: Timestamp) -> Vec<NewMessage> {
        let mut messages = Vec::new();
        for draft in &decision.drafts {
            let Some(delivery) = self.settings.delivery.get(&draft.notifier) else {
                continue;
            };
            for recipient in delivery.recipients_or_none() {
                messages.push(NewMessage {
                    id: self.random.id(),
                    notifier: draft.notifier.clone(),
                    recipient,
                    facts: draft.facts.clone(),
                    not_before: at
                        .checked_add(delivery.group_wait)
                        .unwrap_or(Timestamp::MAX),
                    expires: at.checked_add(delivery.max_age).unwrap_or(Timestamp::MAX),
                });
            }
        }
        messages
    }

    /// Updates the figures from the coverage of all parts.
    fn cover(&mut self) {
        let known_at = self.known_at;
        let is_fresh = |as_of: Option<Timestamp>| as_of.is_some_and(|as_of| as_of >= known_at);
        let is_read_back = self
            .reports()
            .is_none_or(|reports| self.is_history_read(reports));
        let mut oldest = Some(Timestamp::MAX);
        let mut is_all_fresh = true;
        for workspace in self.directory.present() {
            let coverage = self.coverages.get(&Part::Workspace(workspace.id.clone()));
            let as_of = coverage.and_then(|coverage| coverage.as_of);
            oldest = oldest.min(as_of);
            is_all_fresh &= is_fresh(as_of);
        }
        for (part, coverage) in &self.coverages {
            if *part != Part::Unattributed {
                self.figures
                    .set_coverage(part, coverage, is_fresh(coverage.as_of), is_read_back);
            }
        }
        if let Some(whole) = self.coverages.get(&Part::Whole) {
            let mut rest = whole.clone();
            is_all_fresh &= is_fresh(whole.as_of);
            rest.as_of = oldest.min(whole.as_of);
            if let Some(known) = self.coverages.get_mut(&Part::Unattributed) {
                known.as_of = rest.as_of;
            }
            self.figures
                .set_coverage(&Part::Unattributed, &rest, is_all_fresh, is_read_back);
        }
        let unreadable = self.unreadable_figures();
        self.figures.set_unreadable(&unreadable, self.polled_at);
        self.figures.settle_unattributed(self.polled_at);
    }

    /// Loads the sums that the figures need after a period changed.
    async fn load(&mut self, loads: &[SumsToLoad]) -> Result<(), StoreError> {
        for load in loads {
            let sums = self
                .store
                .sums(&self.settings.organization, load.hours)
                .await?;
            self.figures.load(load, &sums);
        }
        Ok(())
    }

    async fn refresh_last_hour(&mut self) -> Result<(), StoreError> {
        let hour = self.figures.newest_settled_hour(self.polled_at);
        if self.last_hour == Some(hour) && !self.last_hour_is_touched {
            return Ok(());
        }
        let span = HourSpan {
            start: hour,
            end: hour.plus(1),
        };
        let sums = self.store.sums(&self.settings.organization, span).await?;
        self.figures.set_last_hour(hour, &sums);
        self.last_hour = Some(hour);
        let is_stale = |coverage: &Coverage| coverage.as_of < Some(self.known_at);
        let is_touched = self.polled_coverages().any(is_stale);
        self.last_hour_is_touched = is_touched;
        Ok(())
    }

    /// Applies retention once per UTC day.
    async fn apply_retention(&mut self) -> Result<(), StoreError> {
        let today = Day::containing(self.polled_at);
        if self.dropped_on == Some(today) {
            return Ok(());
        }
        let hours_before = today.plus(-self.settings.hourly_retention_days);
        let days_before = today.plus(-self.settings.daily_retention_days);
        let changed = self
            .store
            .drop_older(&self.settings.organization, hours_before, days_before)
            .await?;
        for (part, cut) in changed.coverages {
            if let Some(coverage) = self.coverages.get_mut(&part) {
                let as_of = coverage.as_of;
                *coverage = Coverage { as_of, ..cut };
            }
        }
        self.reload_unreadable().await?;
        self.hour_hashes.clear();
        let year_ago = self
            .polled_at
            .checked_sub(SignedDuration::from_hours(24 * 366))
            .unwrap_or(Timestamp::MIN);
        self.store.drop_history(year_ago, year_ago).await?;
        self.store.drop_silences(year_ago).await?;
        self.dropped_on = Some(today);
        Ok(())
    }

    pub(in crate::cycle) fn summary(
        &mut self,
        n_messages: usize,
        clock: Option<ClockProblem>,
    ) -> CycleSummary {
        let errors = std::mem::take(&mut self.errors);
        let n_parts = self.directory.present().count() + 1;
        let n_fresh = self
            .polled_coverages()
            .filter(|coverage| coverage.as_of >= Some(self.known_at))
            .count();
        let is_readable = errors.unreadable.is_empty();
        let outcome = match (n_fresh, errors.lines.is_empty() && is_readable) {
            _ if clock.is_some() => CycleOutcome::Failed,
            (0, _) => CycleOutcome::Failed,
            (fresh, true) if fresh == n_parts => CycleOutcome::Ok,
            _ => CycleOutcome::Partial,
        };
        CycleSummary {
            outcome,
            errors: errors.lines,
            remarks: match is_readable {
                true => self.unreadable_remarks(),
                // The errors contain the same.
                false => Vec::new(),
            }
            .into_iter()
            .chain(self.unreadable_lists.values().flatten().cloned())
            .collect(),
            unreadable: errors.unreadable,
            n_parts,
            n_fresh,
            n_messages,
            is_refused: errors.is_refused,
            difference: self.difference,
            clock,
        }
    }

    /// Returns the coverage of every polled part that was read.
    pub(in crate::cycle) fn polled_coverages(&self) -> impl Iterator<Item = &Coverage> {
        let all = self.coverages.iter();
        all.filter(|(part, _)| self.is_polled(part))
            .map(|(_, coverage)| coverage)
    }

    /// Returns whether a part is polled: the whole, and every workspace that is not removed.
    pub(in crate::cycle) fn is_polled(&self, part: &Part) -> bool {
        match part {
            Part::Whole => true,
            Part::Unattributed => false,
            Part::Workspace(id) => self.directory.is_present(id),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
