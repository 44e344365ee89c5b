//! The entry point of deciding: derives a decision from rules, figures, alerts, silences and the time. It is pure and can be
//! replayed: it creates no ids, reads no clock and has no side effects.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::{Alert, EndedBy, Now, Slot, State};
use crate::alerts::evaluate::{self, Evaluator};
use crate::alerts::measure::{self, Measurement, lifecycle};
use crate::alerts::notices::{self, AlertSuppression, Notice, RuleNotifiers};
use crate::alerts::notification::{Draft, Fact, MAX_CONTRIBUTORS, Reconciled, sort_worst_first};
use crate::alerts::policy::Policy;
use crate::alerts::scope::{Scope, scope};
use crate::alerts::silence::{AlertLabels, Suppressions};
use crate::figures::figure::Figure;
use crate::figures::snapshot::{EvalContext, OrganizationSnapshot};
use crate::org::events::Event;
use crate::org::teams;
use crate::rules::rule::Rule;
use crate::units::ids::{ModelName, NotifierName, RuleName};
use crate::units::money::Usd;
use crate::units::privacy::UserNaming;
use crate::units::skew::MAX_UNCONFIRMED;
use crate::units::subject::{Subject, SubjectKind};

/// Maximum time that rules wait, after the store was created, until all parts were read once.
pub const MAX_INITIAL_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// Result of earlier decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// Open alerts, and ended ones of calendar periods that are still measured. In order of creation, which is mostly the order
    /// of measurement, so that the next alert is usually at the next index.
    pub by_slot: IndexMap<Slot, Alert>,
    /// When each rule was first evaluated.
    pub rule_start_times: BTreeMap<RuleName, Timestamp>,
    pub store_created_at: Timestamp,
}

impl Alerts {
    /// Returns the index of a slot's alert, trying `next` first.
    fn index_of(&self, slot: &Slot, next: usize) -> Option<usize> {
        match self.by_slot.get_index(next) {
            Some((found, _)) if found == slot => Some(next),
            Some(_) | None => self.by_slot.get_index_of(slot),
        }
    }

    /// Applies a decision made at `at`. Ended alerts without a calendar period are removed: the next alert in their slot is a new
    /// one.
    pub fn apply(&mut self, decision: &Decision, at: Timestamp) {
        for name in &decision.started_rules {
            self.rule_start_times.insert(name.clone(), at);
        }
        for alert in &decision.alerts {
            let slot = &alert.identity.slot;
            let is_removed = matches!(alert.state, State::Ended { .. }) && slot.period.is_none();
            if is_removed {
                self.by_slot.swap_remove(slot);
            } else {
                self.by_slot.insert(slot.clone(), alert.clone());
            }
        }
    }
}

/// Result of deciding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// New states of alerts that changed.
    pub alerts: Vec<Alert>,
    /// Messages to send, one per notifier.
    pub drafts: Vec<Draft>,
    /// Rules evaluated for the first time.
    pub started_rules: Vec<RuleName>,
    pub measurements: Vec<Measurement>,
}

/// Decides which alerts change and which messages are sent. Deterministic: once a decision was applied, the same inputs give an
/// empty one, except that an alert which fired for a closed period then ends.
pub fn decide(
    policy: &Policy,
    snapshot: &OrganizationSnapshot<'_>,
    alerts: &Alerts,
    suppressions: &Suppressions,
    now: Now,
) -> Decision {
    let mut run = DecisionRun {
        policy,
        snapshot,
        context: EvalContext::new(*snapshot, now.at),
        suppressions,
        now,
        progress: vec![AlertProgress::Unmeasured; alerts.by_slot.len()],
        changed: BTreeMap::new(),
        facts: BTreeMap::new(),
        decision: Decision::default(),
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        run.evaluate(index, rule, alerts);
    }
    run.end_orphans(alerts);
    run.plan_notices(alerts);
    let DecisionRun {
        mut decision,
        changed,
        facts,
        ..
    } = run;
    decision.alerts = changed.into_values().map(|changed| changed.alert).collect();
    decision.drafts = facts
        .into_iter()
        .map(|(notifier, facts)| draft(notifier, facts))
        .collect();
    decision
}

fn draft(notifier: NotifierName, mut facts: Vec<Fact>) -> Draft {
    sort_worst_first(&mut facts);
    Draft { notifier, facts }
}

struct DecisionRun<'a> {
    policy: &'a Policy,
    snapshot: &'a OrganizationSnapshot<'a>,
    context: EvalContext<'a>,
    suppressions: &'a Suppressions,
    now: Now,
    /// By index of the alert.
    progress: Vec<AlertProgress>,
    changed: BTreeMap<Slot, ChangedAlert>,
    facts: BTreeMap<NotifierName, Vec<Fact>>,
    decision: Decision,
}

/// How far the run has processed an existing alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlertProgress {
    /// Has no measurement so far.
    Unmeasured,
    /// Unchanged by the measurement with this index.
    Measured(usize),
    Changed,
    /// Unchanged, and all notifiers show its current state.
    UpToDate,
}

/// New state of an alert, and the index of its measurement.
struct ChangedAlert {
    alert: Alert,
    measured: Option<usize>,
}

impl DecisionRun<'_> {
    fn evaluate(&mut self, index: usize, rule: &Rule, alerts: &Alerts) {
        let began = match alerts.rule_start_times.get(&rule.name) {
            Some(began) => *began,
            None => {
                let waited = self.now.at.duration_since(alerts.store_created_at);
                if !measure::is_ready(rule, self.snapshot) && waited < MAX_INITIAL_WAIT {
                    return;
                }
                self.decision.started_rules.push(rule.name.clone());
                self.now.at
            }
        };
        let open_slots = self.open_slots(rule, alerts);
        let measurements = measure::measure(index, rule, &self.context, &open_slots, began);
        self.step(rule, alerts, &measurements);
        self.decision.measurements.extend(measurements);
    }

    fn step(&mut self, rule: &Rule, alerts: &Alerts, measurements: &[Measurement]) {
        let first = self.decision.measurements.len();
        let mut evaluator = Evaluator::new(self.snapshot.organization, rule, self.now);
        let notifiers = self.notifiers(rule);
        let mut next = 0;
        let mut slot = Slot {
            rule: rule.name.clone(),
            subject: Subject::new(SubjectKind::Organization, ""),
            period: None,
            event: None,
        };
        for (offset, measurement) in measurements.iter().enumerate() {
            slot.subject.clone_from(&measurement.subject);
            slot.period.clone_from(&measurement.label);
            slot.event = measurement.event;
            let index = alerts.index_of(&slot, next);
            let before = index.map(|index| &alerts.by_slot[index]);
            let after = evaluator.evaluate(measurement, before);
            if let (Some(index), Some(alert)) = (index, before) {
                next = index + 1;
                let is_up_to_date = || {
                    notifiers
                        .as_ref()
                        .is_some_and(|notifiers| notifiers.are_up_to_date(alert))
                };
                self.progress[index] = match &after {
                    Some(_) => AlertProgress::Changed,
                    None if is_up_to_date() => AlertProgress::UpToDate,
                    None => AlertProgress::Measured(first + offset),
                };
            }
            if let Some(alert) = after {
                let measured = Some(first + offset);
                self.changed
                    .insert(slot.clone(), ChangedAlert { alert, measured });
            }
        }
    }

    /// Returns the notifiers of a rule if they are the same for all of its alerts.
    fn notifiers<'b>(&self, rule: &'b Rule) -> Option<RuleNotifiers<'b>> {
        let is_uniform = self.suppressions.silences.is_empty()
            && self
                .snapshot
                .teams
                .iter()
                .all(|team| team.notify.is_empty())
            && !rule.is_inactive(self.now.at)
            && rule.repeat_interval.is_none()
            && (self.policy.fallbacks.is_empty()
                || (self.suppressions.parked.is_empty() && self.suppressions.forwarded.is_empty()));
        is_uniform.then(|| RuleNotifiers::new(rule, self.policy))
    }

    /// Returns the slots of open alerts whose subject or event may disappear from the figures while the rule still covers it.
    fn open_slots<'b>(&self, rule: &Rule, alerts: &'b Alerts) -> Vec<&'b Slot> {
        let can_vanish = !matches!(
            rule.for_each(),
            Some(SubjectKind::Organization | SubjectKind::Workspace)
        );
        if !can_vanish {
            return Vec::new();
        }
        let is_open = |(slot, alert): &(&Slot, &Alert)| {
            slot.rule == rule.name
                && !matches!(alert.state, State::Ended { .. })
                && scope(rule, slot, self.snapshot) == Scope::Inside
        };
        let open = alerts.by_slot.iter().filter(is_open);
        let mut open_slots: Vec<&Slot> = open.map(|(slot, _)| slot).collect();
        open_slots.sort();
        open_slots
    }

    /// Ends open alerts without a measurement: the rule or subject was removed, or the period ended long ago.
    fn end_orphans(&mut self, alerts: &Alerts) {
        for (index, (slot, alert)) in alerts.by_slot.iter().enumerate() {
            if self.progress[index] != AlertProgress::Unmeasured
                || matches!(alert.state, State::Ended { .. })
            {
                continue;
            }
            let rule = self.policy.rules.iter().find(|rule| rule.name == slot.rule);
            let by = match rule.map(|rule| scope(rule, slot, self.snapshot)) {
                None | Some(Scope::Outside) => Some(EndedBy::RuleRemoved),
                Some(Scope::Removed) => Some(EndedBy::SubjectGone),
                Some(Scope::Inside) => self.is_obsolete(slot, alert).then_some(EndedBy::PeriodOver),
            };
            let after = by.and_then(|by| evaluate::end(alert, by, Some(alert.value), self.now));
            if let Some(alert) = after {
                let measured = None;
                self.changed
                    .insert(slot.clone(), ChangedAlert { alert, measured });
                self.progress[index] = AlertProgress::Changed;
            }
        }
    }

    /// Returns whether the period of an alert is obsolete: the rule's period, zone or watch changed, the daemon was down for more
    /// than a period, or the clock was wrong and the period starts days from now.
    fn is_obsolete(&self, slot: &Slot, alert: &Alert) -> bool {
        let is_in_future = alert.span.start.duration_since(self.now.at) > MAX_UNCONFIRMED;
        slot.period.is_none() || alert.span.end <= self.now.at || is_in_future
    }

    fn plan_notices(&mut self, alerts: &Alerts) {
        let mut planned: Vec<(Slot, Vec<Notice>)> = Vec::new();
        for (slot, changed) in std::mem::take(&mut self.changed) {
            let (notified, notices) = self.notices_for(&changed.alert);
            let alert = notified.unwrap_or(changed.alert);
            if !notices.is_empty() {
                planned.push((slot.clone(), notices));
            }
            self.changed.insert(slot, ChangedAlert { alert, ..changed });
        }
        for ((slot, alert), progress) in alerts.by_slot.iter().zip(&self.progress) {
            let measured = match progress {
                AlertProgress::Changed => continue,
                AlertProgress::UpToDate => {
                    debug_assert_eq!(
                        self.notices_for(alert),
                        (None, Vec::new()),
                        "all notifiers are up to date"
                    );
                    continue;
                }
                AlertProgress::Measured(index) => Some(*index),
                AlertProgress::Unmeasured => None,
            };
            let is_relevant =
                alert.is_firing() || alert.notified.values().any(|state| state.shown.is_some());
            if !is_relevant {
                continue;
            }
            let (notified, notices) = self.notices_for(alert);
            let Some(alert) = notified else { continue };
            if !notices.is_empty() {
                planned.push((slot.clone(), notices));
            }
            self.changed
                .insert(slot.clone(), ChangedAlert { alert, measured });
        }
        for (slot, notices) in &planned {
            let changed = &self.changed[slot];
            for notice in notices {
                let fact = self.fact(&changed.alert, changed.measured, notice);
                self.facts
                    .entry(notice.notifier.clone())
                    .or_default()
                    .push(fact);
            }
        }
    }

    fn notices_for(&self, alert: &Alert) -> (Option<Alert>, Vec<Notice>) {
        let slot = &alert.identity.slot;
        let rule = self.rule(slot);
        let forwarded = self.suppressions.forwarded_to(alert);
        let suppression = AlertSuppression {
            is_silenced: rule.is_some_and(|rule| rule.is_inactive(self.now.at))
                || self.is_silenced(alert, rule),
            acknowledged: self.suppressions.acknowledgement(alert),
            parked: &self.suppressions.parked,
            forwarded: &forwarded,
        };
        let teams = self.snapshot.teams;
        let team = if teams.iter().any(|team| !team.notify.is_empty()) {
            teams::for_subject(teams, self.snapshot.directory, &slot.subject)
        } else {
            None
        };
        notices::plan_notices(alert, rule, team, self.policy, suppression, self.now)
    }

    fn is_silenced(&self, alert: &Alert, rule: Option<&Rule>) -> bool {
        let silences = &self.suppressions.silences;
        if silences.is_empty() {
            return false;
        }
        let labels = AlertLabels {
            alert,
            subject: self.snapshot.name_of(&alert.identity.slot.subject),
            rule_labels: rule.map(|rule| &rule.labels),
        };
        silences
            .iter()
            .any(|silence| silence.mutes(&labels, self.now.at))
    }

    fn rule(&self, slot: &Slot) -> Option<&Rule> {
        self.policy.rules.iter().find(|rule| rule.name == slot.rule)
    }

    fn fact(&self, alert: &Alert, measured: Option<usize>, notice: &Notice) -> Fact {
        let slot = &alert.identity.slot;
        let rule = self.rule(slot);
        let measurement = measured.map(|index| &self.decision.measurements[index]);
        let is_lower_bound = measurement.is_some_and(|m| !matches!(m.figure, Figure::Known(_)));
        let ended_at = match alert.state {
            State::Ended { at, .. } => Some(at),
            State::Firing { .. } | State::Pending { .. } => None,
        };
        // The time of an event, such as the expiry of a key, may change while it holds.
        let holds =
            |m: &&Measurement| m.event.is_some() && m.figure.value().is_some_and(|value| value > 0);
        let holding_event = measurement.filter(holds);
        let current = measurement.and_then(|m| m.figure.value());
        Fact {
            identity: alert.identity.clone(),
            sequence: alert.sequence,
            reason: notice.reason,
            in_place_of: notice.in_place_of.clone(),
            ended_by: notice.ended_by,
            is_late: alert.is_late,
            is_fired_and_resolved: false,
            subject_name: self.snapshot.name_of(&slot.subject).to_owned(),
            watch: rule.map_or(alert.watch, |rule| rule.watch()),
            span: holding_event.map_or(alert.span, |m| m.span),
            zone_name: rule.map_or_else(|| "UTC".to_owned(), |rule| rule.zone.name.to_string()),
            value: current.unwrap_or(alert.value),
            is_lower_bound,
            limit: alert.limit,
            threshold: notice.threshold.clone(),
            firing_since: alert.firing_since.unwrap_or(alert.identity.started_at),
            ended_at,
            decided_at: self.now.at,
            as_of: measurement.and_then(|m| m.as_of),
            labels: rule.map(|rule| rule.labels.clone()).unwrap_or_default(),
            top: Vec::new(),
            forecast: None,
            reconciled: measurement.and_then(|m| self.reconciled(m)),
            creator: self.removed_creator(slot),
        }
    }

    /// Returns the name of a key's creator who has left the organization.
    fn removed_creator(&self, slot: &Slot) -> Option<String> {
        let people = self.snapshot.privacy.in_messages();
        let is_named = slot.event == Some(Event::KeyOfRemovedUser) && people != UserNaming::Hidden;
        let key = is_named.then_some(&*slot.subject.id)?;
        let creator = lifecycle::removed_creator(key, self.snapshot)?;
        let name = self.snapshot.directory.user_name(creator.as_str(), people);
        Some(name.to_owned())
    }

    /// Returns bill and estimate of a gap, and the models without a price that may explain it.
    fn reconciled(&self, measurement: &Measurement) -> Option<Reconciled> {
        let sides = measurement.sides.as_ref()?;
        let figures = self.snapshot.figures;
        let mut unpriced: Vec<ModelName> = Vec::new();
        for index in 0..figures.parts().len() {
            for (usage_key, amounts) in figures.recorded(index) {
                let model = &figures.usage_key_at(*usage_key).model;
                let has_no_price = amounts.priced == Usd::ZERO && amounts.tokens.sum() > 0;
                if has_no_price && amounts.by_contract == 0 && !unpriced.contains(model) {
                    unpriced.push(model.clone());
                }
            }
        }
        unpriced.sort();
        unpriced.truncate(MAX_CONTRIBUTORS);
        Some(Reconciled {
            billed: sides.billed,
            estimated: sides.estimated,
            uncertain: sides.uncertain,
            unpriced,
        })
    }
}

#[cfg(test)]
mod events;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
