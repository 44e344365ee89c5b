//! Results of an evaluation: one row per rule and subject, the most severe first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::table::alerts::quantity_cell;
use crate::table::{Cell, Column, OutputTable, hidden, shown};
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

    fn row(&self) -> Vec<Cell> {
        let line = self.line.as_ref();
        let in_unit = |quantity: Option<Quantity>| {
            quantity.map_or(Cell::Empty, |quantity| quantity_cell(self.watch, quantity))
        };
        let share = self.limit.filter(|_| self.slot.event.is_none());
        let share = share.zip(self.value);
        let share = share.and_then(|(limit, value)| share_percent(limit, value));
        vec![
            Cell::Text(self.status.as_str().to_owned()),
            Cell::text_or_empty(line.map(|line| line.severity.as_str())),
            Cell::Text(self.organization.to_string()),
            Cell::Text(self.slot.rule.to_string()),
            Cell::Text(self.slot.subject.kind.to_string()),
            Cell::Text(self.slot.subject.id.to_string()),
            Cell::Text(self.name.clone()),
            Cell::text_or_empty(self.slot.period.as_deref()),
            Cell::Text(self.watch.as_str().to_owned()),
            in_unit(self.value),
            Cell::Flag(self.is_lower_bound),
            in_unit(self.limit),
            share.map_or(Cell::Empty, Cell::Decimal),
            Cell::text_or_empty(line.map(|line| &*line.text)),
            Cell::time_or_empty(self.as_of),
            Cell::text_or_empty(self.slot.event.map(Event::as_str)),
        ]
    }
}

const COLUMNS: [Column; 16] = [
    shown("state", "STATE"),
    shown("severity", "SEVERITY"),
    hidden("organization"),
    shown("rule", "RULE"),
    hidden("subject_kind"),
    hidden("subject_id"),
    shown("subject", "SUBJECT"),
    shown("period", "PERIOD"),
    hidden("watch"),
    shown("value", "VALUE"),
    hidden("is_lower_bound"),
    shown("limit", "LIMIT"),
    shown("used_percent", "USED %"),
    hidden("threshold"),
    hidden("as_of"),
    hidden("event"),
];

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
    let mut columns = COLUMNS.to_vec();
    let mut names = found.iter().map(|finding| &finding.organization);
    let first = names.next();
    if names.any(|name| Some(name) != first) {
        columns[2] = shown("organization", "ORGANIZATION");
    }
    if found.iter().any(|finding| finding.slot.event.is_some()) {
        columns[15] = shown("event", "EVENT");
    }
    OutputTable {
        columns,
        rows: found.iter().map(RuleFinding::row).collect(),
    }
}
