//! Results of an evaluation: one row per rule and subject, the most severe first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::table::alerts::quantity_cell;
use crate::table::{Cell, OutputTable, TableBuilder, shown_if};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert, Slot, State};
use spendwatch_domain::alerts::measure::Measurement;
use spendwatch_domain::figures::figure::Figure;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::money::share_percent;

/// Result for a rule and subject, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleStatus {
    Firing,
    /// A threshold is crossed, but not yet for the rule's `for`.
    Pending,
    Unknown,
    Quiet,
    /// The subject has no provider limit, so the rule does not apply.
    NoLimit,
}

impl RuleStatus {
    const fn as_str(self) -> &'static str {
        match self {
            RuleStatus::Firing => "firing",
            RuleStatus::Pending => "pending",
            RuleStatus::Unknown => "unknown",
            RuleStatus::Quiet => "quiet",
            RuleStatus::NoLimit => "no limit",
        }
    }
}

/// Result and figures for one rule and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFinding {
    organization: OrganizationName,
    slot: Slot,
    name: String,
    watch: Watch,
    pub status: RuleStatus,
    line: Option<AbsoluteThreshold>,
    value: Option<Quantity>,
    is_lower_bound: bool,
    limit: Option<Quantity>,
    as_of: Option<Timestamp>,
}

/// Returns the last measurements of a watcher, and firing alerts without a measurement.
pub fn findings(watcher: &Watcher) -> Vec<RuleFinding> {
    let rules = &watcher.settings.policy.rules;
    let mut reached = HashSet::new();
    let mut found = Vec::new();
    for measurement in &watcher.measurements {
        let rule = &rules[measurement.rule];
        let slot = Slot {
            rule: rule.name.clone(),
            subject: measurement.subject.clone(),
            period: measurement.label.clone(),
            event: measurement.event,
        };
        let alert = open_alert(watcher, &slot);
        if measurement.is_closed && alert.is_none() {
            continue;
        }
        found.push(from_measurement(watcher, rule, measurement, &slot, alert));
        reached.insert(slot);
    }
    let others = watcher.alerts.by_slot.iter();
    let others = others.filter(|(slot, alert)| alert.is_firing() && !reached.contains(*slot));
    found.extend(others.map(|(slot, alert)| from_alert(watcher, slot, alert)));
    found
}

fn open_alert<'w>(watcher: &'w Watcher, slot: &Slot) -> Option<&'w Alert> {
    let alert = watcher.alerts.by_slot.get(slot)?;
    (!matches!(alert.state, State::Ended { .. })).then_some(alert)
}

fn from_measurement(
    watcher: &Watcher,
    rule: &Rule,
    measurement: &Measurement,
    slot: &Slot,
    alert: Option<&Alert>,
) -> RuleFinding {
    let status = match (alert.map(|alert| &alert.state), measurement.figure) {
        (Some(State::Firing { .. }), _) => RuleStatus::Firing,
        (Some(State::Pending { .. }), _) => RuleStatus::Pending,
        (Some(State::Ended { .. }) | None, _) if measurement.limit.is_none() => RuleStatus::NoLimit,
        (Some(State::Ended { .. }) | None, Figure::Known(_) | Figure::AtLeast(_)) => {
            RuleStatus::Quiet
        }
        (Some(State::Ended { .. }) | None, Figure::Stale(_) | Figure::Unknown) => {
            RuleStatus::Unknown
        }
    };
    RuleFinding {
        organization: watcher.settings.organization.clone(),
        slot: slot.clone(),
        name: watcher.snapshot().name_of(&slot.subject).to_owned(),
        watch: rule.watch(),
        status,
        line: alert.map(|alert| alert.threshold().clone()),
        value: measurement.figure.value(),
        is_lower_bound: !matches!(measurement.figure, Figure::Known(_)),
        limit: measurement.limit,
        as_of: measurement.as_of,
    }
}

fn from_alert(watcher: &Watcher, slot: &Slot, alert: &Alert) -> RuleFinding {
    RuleFinding {
        organization: watcher.settings.organization.clone(),
        slot: slot.clone(),
        name: watcher.snapshot().name_of(&slot.subject).to_owned(),
        watch: alert.watch,
        status: RuleStatus::Firing,
        line: Some(alert.threshold().clone()),
        value: Some(alert.value),
        is_lower_bound: true,
        limit: alert.limit,
        as_of: None,
    }
}

impl RuleFinding {
    /// Returns the share of the limit in parts per million, for sorting.
    fn share(&self) -> Option<Quantity> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        Some(self.value?.saturating_mul(1_000_000) / limit)
    }

    fn used_percent(&self) -> Option<Cell> {
        let limit = self.limit.filter(|_| self.slot.event.is_none())?;
        share_percent(limit, self.value?).map(Cell::Decimal)
    }
}

/// Sorts the findings by severity. Keeps those that are crossed or unknown and the first of each rule, or all, and returns the
/// number of the others.
pub fn worst_first(mut found: Vec<RuleFinding>, is_all: bool) -> (Vec<RuleFinding>, usize) {
    found.sort_by_cached_key(|finding| {
        (
            finding.status,
            Reverse(finding.line.as_ref().map(|line| line.severity)),
            Reverse(finding.share()),
            finding.organization.clone(),
            finding.slot.clone(),
        )
    });
    let n_found = found.len();
    let mut seen = BTreeSet::new();
    found.retain(|finding| {
        let rule = (finding.organization.clone(), finding.slot.rule.clone());
        let is_first = seen.insert(rule);
        let is_quiet = matches!(finding.status, RuleStatus::Quiet | RuleStatus::NoLimit);
        is_all || is_first || !is_quiet
    });
    let n_others = n_found - found.len();
    (found, n_others)
}

/// Builds the table. Shows the organization only if there are several, and the event only if there is one.
pub fn table(found: &[RuleFinding]) -> OutputTable {
    let organizations: BTreeSet<_> = found.iter().map(|one| &one.organization).collect();
    let has_event = found.iter().any(|one| one.slot.event.is_some());
    let quantity = |one: &RuleFinding, quantity: Option<Quantity>| {
        quantity.map(|quantity| quantity_cell(one.watch, quantity))
    };
    TableBuilder::new(found)
        .shown("state", "STATE", |one| one.status.as_str())
        .shown("severity", "SEVERITY", |one| {
            Some(one.line.as_ref()?.severity.as_str())
        })
        .column(
            shown_if(organizations.len() > 1, "organization", "ORGANIZATION"),
            |one| one.organization.as_str(),
        )
        .shown("rule", "RULE", |one| one.slot.rule.as_str())
        .hidden("subject_kind", |one| one.slot.subject.kind.as_str())
        .hidden("subject_id", |one| one.slot.subject.id.to_string())
        .shown("subject", "SUBJECT", |one| &one.name)
        .shown("period", "PERIOD", |one| one.slot.period.as_deref())
        .hidden("watch", |one| one.watch.as_str())
        .shown("value", "VALUE", |one| quantity(one, one.value))
        .hidden("is_lower_bound", |one| one.is_lower_bound)
        .shown("limit", "LIMIT", |one| quantity(one, one.limit))
        .shown("used_percent", "USED %", RuleFinding::used_percent)
        .hidden("threshold", |one| Some(&*one.line.as_ref()?.text))
        .hidden("as_of", |one| one.as_of)
        .column(shown_if(has_event, "event", "EVENT"), |one| {
            one.slot.event.map(Event::as_str)
        })
        .build()
}
