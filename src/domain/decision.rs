//! The one entrance: rules, figures, alerts, silences and the moment give a decision. It is pure and can be replayed: it
//! draws no ids, asks for no time and does nothing.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::{Alert, EndedBy, Now, Slot, State};
use crate::domain::evaluate::{self, Evaluator};
use crate::domain::event::Event;
use crate::domain::ground::{OrganizationSnapshot, Survey};
use crate::domain::ids::{ModelName, NotifierName, RuleName};
use crate::domain::knowledge::Figure;
use crate::domain::measure::{self, Measurement, lifecycle};
use crate::domain::money::Usd;
use crate::domain::notification::{Draft, Fact, MAX_CONTRIBUTORS, Reconciled, sort_worst_first};
use crate::domain::policy::Policy;
use crate::domain::privacy::People;
use crate::domain::rule::{Rule, Watch};
use crate::domain::scope::{Scope, scope};
use crate::domain::silence::{Labels, Quiet};
use crate::domain::skew::MAX_UNCONFIRMED;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::teams;
use crate::domain::tell::{self, Hush, Listeners, Word};

/// A rule of a new store waits so long at most until everything was read once.
pub const FIRST_READING: SignedDuration = SignedDuration::from_hours(1);

/// What was decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// Open ones, and those of the calendar that ended in a period that is still looked at. In the order in which they came,
    /// which is mostly that in which they are measured, so that each is found beside the one before it.
    pub by_slot: IndexMap<Slot, Alert>,
    /// When each rule was evaluated first.
    pub rules_began: BTreeMap<RuleName, Timestamp>,
    /// When the store was made.
    pub store_began: Timestamp,
}

impl Alerts {
    /// The place of a slot's alert, which is looked for at `next` first.
    fn place_of(&self, slot: &Slot, next: usize) -> Option<usize> {
        match self.by_slot.get_index(next) {
            Some((there, _)) if there == slot => Some(next),
            Some(_) | None => self.by_slot.get_index_of(slot),
        }
    }

    /// Takes over what was decided at a moment. An alert that ended and is of no calendar period is forgotten: the next in
    /// its place is another one.
    pub fn take_over(&mut self, decision: &Decision, at: Timestamp) {
        for name in &decision.began {
            self.rules_began.insert(name.clone(), at);
        }
        for alert in &decision.alerts {
            let slot = &alert.identity.slot;
            let is_forgotten = matches!(alert.state, State::Ended { .. }) && slot.period.is_none();
            if is_forgotten {
                self.by_slot.swap_remove(slot);
            } else {
                self.by_slot.insert(slot.clone(), alert.clone());
            }
        }
    }
}

/// What is decided now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Alerts that changed, as they are now.
    pub alerts: Vec<Alert>,
    /// What is to be said, one draft per notifier.
    pub drafts: Vec<Draft>,
    /// Rules that were evaluated for the first time.
    pub began: Vec<RuleName>,
    /// Every measurement, for the gauges.
    pub measurements: Vec<Measurement>,
}

/// Decides. The same arguments give the same decision; with its alerts taken over, the next one is empty, but for the end of
/// what fired just now for a period that is over.
pub fn decide(
    policy: &Policy,
    ground: &OrganizationSnapshot<'_>,
    alerts: &Alerts,
    quiet: &Quiet,
    now: Now,
) -> Decision {
    let mut round = Round {
        policy,
        ground,
        survey: Survey::new(*ground, now.at),
        quiet,
        now,
        known: vec![Known::Unmeasured; alerts.by_slot.len()],
        changed: BTreeMap::new(),
        facts: BTreeMap::new(),
        decision: Decision::default(),
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        round.evaluate(index, rule, alerts);
    }
    round.end_orphans(alerts);
    round.speak(alerts);
    let Round {
        mut decision,
        changed,
        facts,
        ..
    } = round;
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

struct Round<'a> {
    policy: &'a Policy,
    ground: &'a OrganizationSnapshot<'a>,
    survey: Survey<'a>,
    quiet: &'a Quiet,
    now: Now,
    /// What is known in this round of each alert, by its place.
    known: Vec<Known>,
    changed: BTreeMap<Slot, Changed>,
    facts: BTreeMap<NotifierName, Vec<Fact>>,
    decision: Decision,
}

/// What a round knows of an alert that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// No measurement has reached it.
    Unmeasured,
    /// It is as it was, by the measurement at this place.
    Measured(usize),
    /// It is another one now.
    Changed,
    /// It is as it was, and everyone knows it.
    Heard,
}

/// An alert as it is now, and where its measurement is.
struct Changed {
    alert: Alert,
    measured: Option<usize>,
}

impl Round<'_> {
    fn evaluate(&mut self, index: usize, rule: &Rule, alerts: &Alerts) {
        let began = match alerts.rules_began.get(&rule.name) {
            Some(began) => *began,
            None => {
                let waited = self.now.at.duration_since(alerts.store_began);
                if !measure::is_ready(rule, self.ground) && waited < FIRST_READING {
                    return;
                }
                self.decision.began.push(rule.name.clone());
                self.now.at
            }
        };
        let awaited = self.awaited(rule, alerts);
        let measurements = measure::measure(index, rule, &self.survey, &awaited, began);
        self.step(rule, alerts, &measurements);
        self.decision.measurements.extend(measurements);
    }

    fn step(&mut self, rule: &Rule, alerts: &Alerts, measurements: &[Measurement]) {
        let first = self.decision.measurements.len();
        let mut evaluator = Evaluator::new(self.ground.organization, rule, self.now);
        let listeners = self.listeners(rule);
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
            let place = alerts.place_of(&slot, next);
            let before = place.map(|place| &alerts.by_slot[place]);
            let after = evaluator.step(measurement, before);
            if let (Some(place), Some(alert)) = (place, before) {
                next = place + 1;
                let is_heard = || {
                    listeners
                        .as_ref()
                        .is_some_and(|listeners| listeners.have_heard(alert))
                };
                self.known[place] = match &after {
                    Some(_) => Known::Changed,
                    None if is_heard() => Known::Heard,
                    None => Known::Measured(first + offset),
                };
            }
            if let Some(alert) = after {
                let measured = Some(first + offset);
                self.changed
                    .insert(slot.clone(), Changed { alert, measured });
            }
        }
    }

    /// Who hears of all of a rule's alerts in the same manner; `None` where that differs by alert or moment.
    fn listeners<'b>(&self, rule: &'b Rule) -> Option<Listeners<'b>> {
        let is_alike = self.quiet.silences.is_empty()
            && self.ground.teams.iter().all(|team| team.notify.is_empty())
            && !rule.is_inactive(self.now.at)
            && rule.repeat_interval.is_none()
            && (self.policy.fallbacks.is_empty()
                || (self.quiet.parked.is_empty() && self.quiet.passed_on.is_empty()));
        is_alike.then(|| Listeners::of(rule, self.policy))
    }

    /// Where a rule looks at models, keys, people, teams or events: those with an open alert that it still looks at.
    fn awaited<'b>(&self, rule: &Rule, alerts: &'b Alerts) -> Vec<&'b Slot> {
        let can_vanish = rule.watch == Watch::Lifecycle
            || match rule.for_each {
                SubjectKind::Model
                | SubjectKind::ApiKey
                | SubjectKind::User
                | SubjectKind::Team => true,
                SubjectKind::Organization | SubjectKind::Workspace => false,
            };
        if !can_vanish {
            return Vec::new();
        }
        let is_awaited = |(slot, alert): &(&Slot, &Alert)| {
            slot.rule == rule.name
                && !matches!(alert.state, State::Ended { .. })
                && scope(rule, slot, self.ground) == Scope::Inside
        };
        let open = alerts.by_slot.iter().filter(is_awaited);
        let mut awaited: Vec<&Slot> = open.map(|(slot, _)| slot).collect();
        awaited.sort();
        awaited
    }

    /// Open alerts that no measurement reached: the rule or subject is gone, or the period is long over.
    fn end_orphans(&mut self, alerts: &Alerts) {
        for (place, (slot, alert)) in alerts.by_slot.iter().enumerate() {
            if self.known[place] != Known::Unmeasured || matches!(alert.state, State::Ended { .. })
            {
                continue;
            }
            let rule = self.policy.rules.iter().find(|rule| rule.name == slot.rule);
            let by = match rule.map(|rule| scope(rule, slot, self.ground)) {
                None | Some(Scope::Outside) => Some(EndedBy::RuleRemoved),
                Some(Scope::Gone) => Some(EndedBy::SubjectGone),
                Some(Scope::Inside) => self
                    .is_long_over(slot, alert)
                    .then_some(EndedBy::PeriodOver),
            };
            let after = by.and_then(|by| evaluate::end(alert, by, Some(alert.value), self.now));
            if let Some(alert) = after {
                let measured = None;
                self.changed
                    .insert(slot.clone(), Changed { alert, measured });
                self.known[place] = Known::Changed;
            }
        }
    }

    /// A rule's period, zone or watch was changed, or the daemon was down for more than a period. A period that begins days
    /// from now was decided on by a wrong clock.
    fn is_long_over(&self, slot: &Slot, alert: &Alert) -> bool {
        let is_wrong = alert.span.start.duration_since(self.now.at) > MAX_UNCONFIRMED;
        slot.period.is_none() || alert.span.end <= self.now.at || is_wrong
    }

    fn speak(&mut self, alerts: &Alerts) {
        let mut spoken: Vec<(Slot, Vec<Word>)> = Vec::new();
        for (slot, changed) in std::mem::take(&mut self.changed) {
            let (told, words) = self.tell(&changed.alert);
            let alert = told.unwrap_or(changed.alert);
            if !words.is_empty() {
                spoken.push((slot.clone(), words));
            }
            self.changed.insert(slot, Changed { alert, ..changed });
        }
        for ((slot, alert), known) in alerts.by_slot.iter().zip(&self.known) {
            let measured = match known {
                Known::Changed => continue,
                Known::Heard => {
                    debug_assert_eq!(self.tell(alert), (None, Vec::new()), "everyone has heard");
                    continue;
                }
                Known::Measured(place) => Some(*place),
                Known::Unmeasured => None,
            };
            let may_speak =
                alert.is_firing() || alert.told.values().any(|told| told.showing.is_some());
            if !may_speak {
                continue;
            }
            let (told, words) = self.tell(alert);
            let Some(alert) = told else { continue };
            if !words.is_empty() {
                spoken.push((slot.clone(), words));
            }
            self.changed
                .insert(slot.clone(), Changed { alert, measured });
        }
        for (slot, words) in &spoken {
            let changed = &self.changed[slot];
            for word in words {
                let fact = self.fact(&changed.alert, changed.measured, word);
                self.facts
                    .entry(word.notifier.clone())
                    .or_default()
                    .push(fact);
            }
        }
    }

    fn tell(&self, alert: &Alert) -> (Option<Alert>, Vec<Word>) {
        let slot = &alert.identity.slot;
        let rule = self.rule(slot);
        let passed_on = self.quiet.passed_on_to(alert);
        let hush = Hush {
            is_silenced: rule.is_some_and(|rule| rule.is_inactive(self.now.at))
                || self.is_silenced(alert, rule),
            acknowledged: self.quiet.acknowledgement(alert),
            parked: &self.quiet.parked,
            passed_on: &passed_on,
        };
        let teams = self.ground.teams;
        let team = if teams.iter().any(|team| !team.notify.is_empty()) {
            teams::of_subject(teams, self.ground.directory, &slot.subject)
        } else {
            None
        };
        tell::tell(alert, rule, team, self.policy, hush, self.now)
    }

    fn is_silenced(&self, alert: &Alert, rule: Option<&Rule>) -> bool {
        let silences = &self.quiet.silences;
        if silences.is_empty() {
            return false;
        }
        let labels = Labels {
            alert,
            subject: self.ground.name_of(&alert.identity.slot.subject),
            of_rule: rule.map(|rule| &rule.labels),
        };
        silences
            .iter()
            .any(|silence| silence.mutes(&labels, self.now.at))
    }

    fn rule(&self, slot: &Slot) -> Option<&Rule> {
        self.policy.rules.iter().find(|rule| rule.name == slot.rule)
    }

    fn fact(&self, alert: &Alert, measured: Option<usize>, word: &Word) -> Fact {
        let slot = &alert.identity.slot;
        let rule = self.rule(slot);
        let measurement = measured.map(|place| &self.decision.measurements[place]);
        let is_lower_bound = measurement.is_some_and(|m| !matches!(m.figure, Figure::Known(_)));
        let ended_at = match alert.state {
            State::Ended { at, .. } => Some(at),
            State::Firing { .. } | State::Pending { .. } => None,
        };
        // The moment of an event may move while it stands, as that at which a key expires.
        let stands =
            |m: &&Measurement| m.event.is_some() && m.figure.value().is_some_and(|value| value > 0);
        let of_event = measurement.filter(stands);
        let current = measurement.and_then(|m| m.figure.value());
        Fact {
            identity: alert.identity.clone(),
            sequence: alert.sequence,
            reason: word.reason,
            in_place_of: word.in_place_of.clone(),
            ended_by: word.ended_by,
            is_late: alert.is_late,
            is_fired_and_resolved: false,
            subject_name: self.ground.name_of(&slot.subject).to_owned(),
            watch: rule.map_or(alert.watch, |rule| rule.watch),
            span: of_event.map_or(alert.span, |m| m.span),
            zone_name: rule.map_or_else(|| "UTC".to_owned(), |rule| rule.zone.name.to_string()),
            value: current.unwrap_or(alert.value),
            is_lower_bound,
            limit: alert.limit,
            line: word.line.clone(),
            firing_since: alert.firing_since.unwrap_or(alert.identity.started_at),
            ended_at,
            decided_at: self.now.at,
            as_of: measurement.and_then(|m| m.as_of),
            labels: rule.map(|rule| rule.labels.clone()).unwrap_or_default(),
            top: Vec::new(),
            forecast: None,
            reconciled: measurement.and_then(|m| self.reconciled(m)),
            maker: self.maker(slot),
        }
    }

    /// Of a key of somebody who is no more in the organization: who that was.
    fn maker(&self, slot: &Slot) -> Option<String> {
        let people = self.ground.privacy.in_messages();
        let is_told = slot.event == Some(Event::KeyOfRemovedUser) && people != People::Hidden;
        let key = is_told.then_some(&*slot.subject.id)?;
        let maker = lifecycle::removed_maker(key, self.ground)?;
        let name = self.ground.directory.person_name(maker.as_str(), people);
        Some(name.to_owned())
    }

    /// Both sides of a gap, and the models that may explain it.
    fn reconciled(&self, measurement: &Measurement) -> Option<Reconciled> {
        let sides = measurement.sides.as_ref()?;
        let figures = self.ground.figures;
        let mut unpriced: Vec<ModelName> = Vec::new();
        for place in 0..figures.parts().len() {
            for (cell, amounts) in figures.recorded(place) {
                let model = &figures.cell_at(*cell).model;
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
mod scene;
#[cfg(test)]
mod tests;
