//! The cycle: plan, poll, translate, record, derive, decide, commit, publish.
//!
//! A [`Watcher`] holds what is known of one organization. Memory follows the store; where the store fails in the middle of a
//! cycle the two may differ, so a watcher that gave an error is dropped and opened anew.

pub mod gather;
pub mod plan;
pub mod reading;

pub mod state;

pub mod unreadable;

pub mod clock;
pub mod configured;
pub mod directory;
pub mod explain;
pub mod listing;
pub mod lists;
pub mod poll;

pub mod sweeping;

pub mod digests;
pub mod remainder;
pub mod statement;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cycle::state::{Report, Trouble, Watcher};
use crate::domain::alert::{Now, Observed};
use crate::domain::coverage::Coverage;
use crate::domain::decision::{self, Decision};
use crate::domain::frame::Load;
use crate::domain::ground::OrganizationSnapshot;
use crate::domain::skew::ClockProblem;
use crate::domain::span::{Day, HourSpan};
use crate::domain::usage::Part;
use crate::metrics::counters::CycleOutcome;
use crate::metrics::view::View;
use crate::store::decisions::Commit;
use crate::store::error::StoreError;
use crate::store::outbox::NewMessage;

impl Watcher {
    /// One cycle, for a slot of the schedule. It ends at `deadline` (running time) at the latest, as partial. An error is the
    /// store's, which holds all of each step or nothing; this watcher must not be used after it.
    pub async fn cycle(
        &mut self,
        slot: Timestamp,
        deadline: Duration,
    ) -> Result<Report, StoreError> {
        let started = self.clock.running();
        self.store.check_files()?;
        let mut trouble = Trouble::default();
        let may_ask = self.may_ask();
        let is_dialect_known = may_ask && self.find_dialect(deadline, &mut trouble).await;
        if is_dialect_known {
            self.ask_for_time(deadline).await;
        }
        let now = match self.checked_now() {
            Ok(now) => now,
            Err(problem) => return Ok(self.hold(slot, started, trouble, problem)),
        };
        self.correct_times(now).await?;
        let polled_at = self.engine.not_before_last(now);
        self.known_at = polled_at;
        self.cut_at = self.cut_at.max(polled_at);
        let loads = self.figures.advance(polled_at);
        self.load(&loads).await?;
        self.figures.begin_cycle();
        if is_dialect_known {
            self.read_directory(polled_at, deadline, &mut trouble)
                .await?;
            if !trouble.is_refused {
                match self.reports() {
                    None => {
                        self.poll(polled_at, deadline, &mut trouble).await?;
                        self.read_lists(polled_at, deadline).await?;
                    }
                    Some(reports) => {
                        self.sweep(reports, polled_at, deadline, &mut trouble)
                            .await?;
                        self.read_lists(polled_at, deadline).await?;
                        self.read_limits(polled_at, deadline).await?;
                    }
                }
            }
        } else if trouble.lines.is_empty() {
            trouble.note_refused("the key was refused before; asking again later".to_owned());
        }
        self.forget_old_lists(polled_at);
        self.doubt_dialect(&trouble);
        self.n_refusals = if trouble.is_refused {
            self.n_refusals.saturating_add(1)
        } else {
            0
        };
        if self.reports().is_none() {
            self.derive_remainders(polled_at).await?;
        }
        let loads = self.figures.roll(self.known_at);
        self.load(&loads).await?;
        self.cover(polled_at);
        self.note_polled().await?;
        self.refresh_last_hour(polled_at).await?;
        self.compare_statement(polled_at).await?;
        self.drop_old(polled_at).await?;
        self.engine.last_cycle = Some(slot);
        // The clock may have been set meanwhile.
        let clock = self.checked_now().err();
        let n_messages = match clock {
            None => self.decide_and_commit().await? + self.make_digests().await?,
            Some(_) => 0,
        };
        let report = self.report(trouble, n_messages, clock);
        self.count(&report, started);
        Ok(report)
    }

    /// Evaluates the rules on the figures there are, and makes the decision durable. Gives the number of messages. Decides
    /// nothing while the clock may be wrong.
    pub async fn decide_and_commit(&mut self) -> Result<usize, StoreError> {
        let clock = self.clock.now();
        if self.api.clock_problem().is_some() {
            return Ok(0);
        }
        let at = self.engine.not_before_last(clock);
        let running = self.clock.running();
        let elapsed = self
            .decided_running
            .map_or(0, |last| milliseconds(running.saturating_sub(last)));
        let now = Now {
            at,
            observed: Observed(self.engine.observed.0 + elapsed),
            elapsed,
        };
        self.quiet = self.store.quiet(at).await?;
        let mut decision = {
            let ground = self.ground();
            decision::decide(
                &self.settings.policy,
                &ground,
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
            .extend(decision.began.iter().map(|name| (name.clone(), at)));
        // A clock that was set back must not hold up what is to be told: a message waits by the clock of who sends it.
        let messages = self.messages(&decision, clock);
        let n_messages = messages.len();
        let commit = Commit {
            alerts: decision.alerts.clone(),
            messages,
            engine: engine.clone(),
            at,
        };
        self.store
            .commit_decision(&self.settings.organization, commit)
            .await?;
        self.engine = engine;
        self.decided_running = Some(running);
        self.alerts.take_over(&decision, at);
        self.measurements = decision.measurements;
        Ok(n_messages)
    }

    /// What rules are measured against.
    pub fn ground(&self) -> OrganizationSnapshot<'_> {
        OrganizationSnapshot {
            organization: &self.settings.organization,
            directory: &self.directory,
            census: &self.census,
            teams: &self.settings.teams,
            figures: &self.figures,
            privacy: self.settings.privacy,
        }
    }

    /// What the gauges show.
    pub fn view(&self) -> View<'_> {
        let report = self.last_report.as_ref();
        let unpriced = match self.reports() {
            None => BTreeMap::new(),
            Some(_) => self.unpriced_models(),
        };
        View {
            ground: self.ground(),
            rules: &self.settings.policy.rules,
            measurements: &self.measurements,
            alerts: self.alerts.by_slot.values().collect(),
            is_up: report.is_some_and(|report| report.outcome == CycleOutcome::Ok),
            skew: self.api.skew(),
            dialect: self.dialect(),
            listings: &self.listings,
            billed_until: self.engine.billed_until,
            unpriced,
        }
    }

    /// Drafts become messages: one for each recipient, each with an id of its own.
    fn messages(&self, decision: &Decision, at: Timestamp) -> Vec<NewMessage> {
        let mut messages = Vec::new();
        for draft in &decision.drafts {
            let Some(postage) = self.settings.postage.get(&draft.notifier) else {
                continue;
            };
            for recipient in postage.copies() {
                messages.push(NewMessage {
                    id: self.chance.id(),
                    notifier: draft.notifier.clone(),
                    recipient,
                    facts: draft.facts.clone(),
                    not_before: at.checked_add(postage.group_wait).unwrap_or(Timestamp::MAX),
                    expires: at.checked_add(postage.max_age).unwrap_or(Timestamp::MAX),
                });
            }
        }
        messages
    }

    /// What every part's coverage says, for the figures.
    fn cover(&mut self, polled_at: Timestamp) {
        let known_at = self.known_at;
        let is_fresh = |as_of: Option<Timestamp>| as_of.is_some_and(|as_of| as_of >= known_at);
        let is_read_back = self
            .reports()
            .is_none_or(|reports| self.is_history_read(reports, polled_at));
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
                    .cover(part, coverage, is_fresh(coverage.as_of), is_read_back);
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
                .cover(&Part::Unattributed, &rest, is_all_fresh, is_read_back);
        }
        let unreadable = self.unreadable_figures();
        self.figures.note_unreadable(&unreadable, polled_at);
        self.figures.settle_unattributed(polled_at);
    }

    /// Loads what the figures need after they moved.
    async fn load(&mut self, loads: &[Load]) -> Result<(), StoreError> {
        for load in loads {
            let sums = self
                .store
                .sums(&self.settings.organization, load.hours)
                .await?;
            self.figures.load(load, &sums);
        }
        Ok(())
    }

    async fn refresh_last_hour(&mut self, polled_at: Timestamp) -> Result<(), StoreError> {
        let hour = self.figures.newest_settled_hour(polled_at);
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
        self.last_hour_is_touched = !self.is_all_fresh();
        Ok(())
    }

    fn is_all_fresh(&self) -> bool {
        let mut asked = self
            .coverages
            .iter()
            .filter(|(part, _)| self.is_asked(part));
        asked.all(|(_, coverage)| coverage.as_of >= Some(self.known_at))
    }

    /// Retention, once a day of UTC.
    async fn drop_old(&mut self, polled_at: Timestamp) -> Result<(), StoreError> {
        let today = Day::of(polled_at);
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
        self.seen.clear();
        let year_ago = polled_at
            .checked_sub(SignedDuration::from_hours(24 * 366))
            .unwrap_or(Timestamp::MIN);
        self.store.drop_history(year_ago, year_ago).await?;
        self.store.drop_silences(year_ago).await?;
        self.dropped_on = Some(today);
        Ok(())
    }

    fn report(&self, trouble: Trouble, n_messages: usize, clock: Option<ClockProblem>) -> Report {
        let asked = || {
            self.coverages
                .iter()
                .filter(|(part, _)| self.is_asked(part))
        };
        let n_parts = self.directory.present().count() + 1;
        let n_fresh = asked()
            .filter(|(_, coverage)| coverage.as_of >= Some(self.known_at))
            .count();
        let is_readable = trouble.unreadable.is_empty();
        let outcome = match (n_fresh, trouble.lines.is_empty() && is_readable) {
            _ if clock.is_some() => CycleOutcome::Failed,
            (0, _) => CycleOutcome::Failed,
            (fresh, true) if fresh == n_parts => CycleOutcome::Ok,
            _ => CycleOutcome::Partial,
        };
        Report {
            outcome,
            troubles: trouble.lines,
            remarks: match is_readable {
                true => self.unreadable_remarks(),
                // The reasons say it.
                false => Vec::new(),
            }
            .into_iter()
            .chain(self.unreadable_lists.values().flatten().cloned())
            .collect(),
            unreadable: trouble.unreadable,
            n_parts,
            n_fresh,
            n_messages,
            is_refused: trouble.is_refused,
            difference: self.difference,
            clock,
        }
    }

    /// Whether a part is asked for: the whole, and every workspace that is not gone.
    pub(in crate::cycle) fn is_asked(&self, part: &Part) -> bool {
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
