//! The entry point of deciding: derives a decision from rules, figures, alerts, silences and the time. It is pure and can be
//! replayed: it creates no ids, reads no clock and has no side effects.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::{Alert, EndedBy, Now, Slot, State};
use crate::alerts::evaluate::{self, Evaluator};
use crate::alerts::measure::{self, Measurement, lifecycle_subjects};
use crate::alerts::notices::{self, AlertSuppression, Notice};
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
    /// Returns the index of a slot's alert, trying `next` first. Looking up each slot takes a third longer to decide 100,000
    /// alerts, which misses the goal of 50 ms.
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

/// What one decision changes and sends; empty if nothing changed.
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
        has_team_notifiers: snapshot.teams.iter().any(|team| !team.notify.is_empty()),
        suppressions,
        now,
        is_measured: vec![false; alerts.by_slot.len()],
        changed: BTreeMap::new(),
        facts: BTreeMap::new(),
        decision: Decision::default(),
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        run.evaluate(index, rule, alerts);
    }
    run.conclude_unmeasured(alerts);
    let DecisionRun {
        mut decision,
        changed,
        facts,
        ..
    } = run;
    decision.alerts = changed.into_values().collect();
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
    has_team_notifiers: bool,
    suppressions: &'a Suppressions,
    now: Now,
    /// By index of the alert.
    is_measured: Vec<bool>,
    changed: BTreeMap<Slot, Alert>,
    facts: BTreeMap<NotifierName, Vec<Fact>>,
    decision: Decision,
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
        let mut evaluator = Evaluator::new(self.snapshot.organization, rule, self.now);
        let mut next = 0;
        let mut slot = Slot {
            rule: rule.name.clone(),
            subject: Subject::new(SubjectKind::Organization, ""),
            period: None,
            event: None,
        };
        for measurement in &measurements {
            slot.subject.clone_from(&measurement.subject);
            slot.period.clone_from(&measurement.label);
            slot.event = measurement.event;
            let index = alerts.index_of(&slot, next);
            if let Some(index) = index {
                next = index + 1;
                self.is_measured[index] = true;
            }
            let before = index.map(|index| &alerts.by_slot[index]);
            let after = evaluator.evaluate(measurement, before);
            self.conclude(before, after, Some(rule), Some(measurement));
        }
        self.decision.measurements.extend(measurements);
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
    fn conclude_unmeasured(&mut self, alerts: &Alerts) {
        for (index, (slot, alert)) in alerts.by_slot.iter().enumerate() {
            if self.is_measured[index] {
                continue;
            }
            let rule = self.policy.rules.iter().find(|rule| rule.name == slot.rule);
            let by = match rule.map(|rule| scope(rule, slot, self.snapshot)) {
                None | Some(Scope::Outside) => Some(EndedBy::RuleRemoved),
                Some(Scope::Removed) => Some(EndedBy::SubjectGone),
                Some(Scope::Inside) => self.is_obsolete(slot, alert).then_some(EndedBy::PeriodOver),
            };
            let after = by.and_then(|by| evaluate::end(alert, by, Some(alert.value), self.now));
            self.conclude(Some(alert), after, rule, None);
        }
    }

    /// Returns whether the period of an alert is obsolete: the rule's period, zone or watch changed, the daemon was down for more
    /// than a period, or the clock was wrong and the period starts days from now.
    fn is_obsolete(&self, slot: &Slot, alert: &Alert) -> bool {
        let is_in_future = alert.span.start.duration_since(self.now.at) > MAX_UNCONFIRMED;
        slot.period.is_none() || alert.span.end <= self.now.at || is_in_future
    }

    /// Plans the notices about an alert, and records its new state. `after` is `None` if evaluating did not change it.
    fn conclude(
        &mut self,
        before: Option<&Alert>,
        after: Option<Alert>,
        rule: Option<&Rule>,
        measurement: Option<&Measurement>,
    ) {
        let Some(alert) = after.as_ref().or(before) else {
            return;
        };
        let may_be_shown =
            alert.is_firing() || alert.notified.values().any(|state| state.shown.is_some());
        if after.is_none() && !may_be_shown {
            return;
        }
        let (notified, notices) = self.notices_for(alert, rule);
        // Compared first, because moving 100,000 unchanged alerts takes time.
        if notified.is_none() && after.is_none() {
            return;
        }
        let Some(alert) = notified.or(after) else {
            return;
        };
        for notice in notices {
            let fact = self.fact(&alert, rule, measurement, &notice);
            self.facts.entry(notice.notifier).or_default().push(fact);
        }
        self.changed.insert(alert.identity.slot.clone(), alert);
    }

    fn notices_for(&self, alert: &Alert, rule: Option<&Rule>) -> (Option<Alert>, Vec<Notice>) {
        let forwarded = self.suppressions.forwarded_to(alert);
        let suppression = AlertSuppression {
            is_silenced: rule.is_some_and(|rule| rule.is_inactive(self.now.at))
                || self.is_silenced(alert, rule),
            acknowledged: self.suppressions.acknowledgement(alert),
            parked: &self.suppressions.parked,
            forwarded: &forwarded,
        };
        let team = if self.has_team_notifiers {
            let subject = &alert.identity.slot.subject;
            teams::for_subject(self.snapshot.teams, self.snapshot.directory, subject)
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

    fn fact(
        &self,
        alert: &Alert,
        rule: Option<&Rule>,
        measurement: Option<&Measurement>,
        notice: &Notice,
    ) -> Fact {
        let slot = &alert.identity.slot;
        let is_lower_bound = measurement.is_some_and(|m| !matches!(m.figure, Figure::Known(_)));
        // The time of an event, such as the expiry of a key, may change while it holds.
        let holds =
            |m: &&Measurement| m.event.is_some() && m.figure.value().is_some_and(|value| value > 0);
        let holding_event = measurement.filter(holds);
        let current = measurement.and_then(|m| m.figure.value());
        Fact {
            reason: notice.reason,
            in_place_of: notice.in_place_of.clone(),
            ended_by: notice.ended_by,
            watch: rule.map_or(alert.watch, Rule::watch),
            span: holding_event.map_or(alert.span, |m| m.span),
            zone_name: rule.map_or_else(|| "UTC".to_owned(), |rule| rule.zone.name.to_string()),
            value: current.unwrap_or(alert.value),
            is_lower_bound,
            threshold: notice.threshold.clone(),
            as_of: measurement.and_then(|m| m.as_of),
            labels: rule.map(|rule| rule.labels.clone()).unwrap_or_default(),
            reconciled: measurement.and_then(|m| self.reconciled(m)),
            creator: self.removed_creator(slot),
            ..Fact::of(alert, self.snapshot.name_of(&slot.subject), self.now.at)
        }
    }

    /// Returns the name of a key's creator who has left the organization.
    fn removed_creator(&self, slot: &Slot) -> Option<String> {
        let people = self.snapshot.privacy.in_messages();
        let is_named = slot.event == Some(Event::KeyOfRemovedUser) && people != UserNaming::Hidden;
        let key = is_named.then_some(&*slot.subject.id)?;
        let creator = lifecycle_subjects::removed_creator(key, self.snapshot)?;
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
