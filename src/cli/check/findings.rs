//! What a look at the rules found: a row for each rule and subject, the worst first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::domain::alert::{Alert, Line, Slot, State};
use crate::domain::event::Event;
use crate::domain::ids::OrganizationName;
use crate::domain::knowledge::Figure;
use crate::domain::measure::Measurement;
use crate::domain::money::share_percent;
use crate::domain::rule::{Quantity, Rule, Watch};
use crate::sheet::alerts::figure;
use crate::sheet::{Cell, Column, Sheet, hidden, shown};

/// Where a rule and a subject stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// An alert fires.
    Firing,
    /// A threshold is crossed, but not yet for as long as the rule's `for`.
    Pending,
    /// The figure is not known.
    Unknown,
    /// No threshold is crossed.
    Quiet,
    /// The service has no such limit: the subject has no rule.
    NoLimit,
}

impl Standing {
    const fn as_str(self) -> &'static str {
        match self {
            Standing::Firing => "firing",
            Standing::Pending => "pending",
            Standing::Unknown => "unknown",
            Standing::Quiet => "quiet",
            Standing::NoLimit => "no limit",
        }
    }
}

/// One rule and one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    organization: OrganizationName,
    slot: Slot,
    name: String,
    watch: Watch,
    /// Where it stands.
    pub standing: Standing,
    line: Option<Line>,
    value: Option<Quantity>,
    is_lower_bound: bool,
    limit: Option<Quantity>,
    as_of: Option<Timestamp>,
}

/// Everything that a watcher measured last, and alerts that fire without having been measured.
pub fn findings(watcher: &Watcher) -> Vec<Finding> {
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
        found.push(of_measurement(watcher, rule, measurement, &slot, alert));
        reached.insert(slot);
    }
    let others = watcher.alerts.by_slot.iter();
    let others = others.filter(|(slot, alert)| alert.is_firing() && !reached.contains(*slot));
    found.extend(others.map(|(slot, alert)| of_alert(watcher, slot, alert)));
    found
}

fn open_alert<'w>(watcher: &'w Watcher, slot: &Slot) -> Option<&'w Alert> {
    let alert = watcher.alerts.by_slot.get(slot)?;
    (!matches!(alert.state, State::Ended { .. })).then_some(alert)
}

fn of_measurement(
    watcher: &Watcher,
    rule: &Rule,
    measurement: &Measurement,
    slot: &Slot,
    alert: Option<&Alert>,
) -> Finding {
    let standing = match (alert.map(|alert| &alert.state), measurement.figure) {
        (Some(State::Firing { .. }), _) => Standing::Firing,
        (Some(State::Pending { .. }), _) => Standing::Pending,
        (Some(State::Ended { .. }) | None, _) if measurement.limit.is_none() => Standing::NoLimit,
        (Some(State::Ended { .. }) | None, Figure::Known(_) | Figure::AtLeast(_)) => {
            Standing::Quiet
        }
        (Some(State::Ended { .. }) | None, Figure::Stale(_) | Figure::Unknown) => Standing::Unknown,
    };
    Finding {
        organization: watcher.settings.organization.clone(),
        slot: slot.clone(),
        name: watcher.ground().name_of(&slot.subject).to_owned(),
        watch: rule.watch,
        standing,
        line: alert.map(|alert| alert.line().clone()),
        value: measurement.figure.value(),
        is_lower_bound: !matches!(measurement.figure, Figure::Known(_)),
        limit: measurement.limit,
        as_of: measurement.as_of,
    }
}

fn of_alert(watcher: &Watcher, slot: &Slot, alert: &Alert) -> Finding {
    Finding {
        organization: watcher.settings.organization.clone(),
        slot: slot.clone(),
        name: watcher.ground().name_of(&slot.subject).to_owned(),
        watch: alert.watch,
        standing: Standing::Firing,
        line: Some(alert.line().clone()),
        value: Some(alert.value),
        is_lower_bound: true,
        limit: alert.limit,
        as_of: None,
    }
}

impl Finding {
    /// For comparing shares of limits: per million, where both are known.
    fn share(&self) -> Option<Quantity> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        Some(self.value?.saturating_mul(1_000_000) / limit)
    }

    fn row(&self) -> Vec<Cell> {
        let line = self.line.as_ref();
        let in_unit = |quantity: Option<Quantity>| {
            quantity.map_or(Cell::Empty, |quantity| figure(self.watch, quantity))
        };
        let share = self.limit.filter(|_| self.slot.event.is_none());
        let share = share.zip(self.value);
        let share = share.and_then(|(limit, value)| share_percent(limit, value));
        vec![
            Cell::Text(self.standing.as_str().to_owned()),
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

/// The worst first. Gives what is to be looked at: what is crossed or unknown, and of each rule what is nearest to its
/// limit; the number of the others comes beside it.
pub fn worst_first(mut found: Vec<Finding>, is_all: bool) -> (Vec<Finding>, usize) {
    found.sort_by_cached_key(|finding| {
        (
            finding.standing,
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
        let is_quiet = matches!(finding.standing, Standing::Quiet | Standing::NoLimit);
        is_all || is_first || !is_quiet
    });
    let n_others = n_found - found.len();
    (found, n_others)
}

/// As rows; a table says the organization only where there are several, and the event only where there is one.
pub fn sheet(found: &[Finding]) -> Sheet {
    let mut columns = COLUMNS.to_vec();
    let mut names = found.iter().map(|finding| &finding.organization);
    let first = names.next();
    if names.any(|name| Some(name) != first) {
        columns[2] = shown("organization", "ORGANIZATION");
    }
    if found.iter().any(|finding| finding.slot.event.is_some()) {
        columns[15] = shown("event", "EVENT");
    }
    Sheet {
        columns,
        rows: found.iter().map(Finding::row).collect(),
    }
}
