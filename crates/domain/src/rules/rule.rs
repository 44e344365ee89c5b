//! Rules: what to watch, for which subjects, against which limit, and which notifiers receive alerts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::org::events::{Event, RequiredLists};
use crate::rules::budget::Budget;
use crate::rules::watch::{Quantity, Watch};
use crate::units::ids::{NotifierName, RuleName};
use crate::units::matcher::Matcher;
use crate::units::money::{Percent, Usd};
use crate::units::period::{Period, Zone};
use crate::units::subject::SubjectKind;
use crate::units::weekly::WeeklyWindow;

/// Limit of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The same for every subject; 0 allows no use at all.
    Fixed(Quantity),
    /// By subject and first day of the period; the rule does not apply to subjects without an entry. Only for spend.
    Budget(Arc<Budget>),
    /// Provider limit of the workspace, per month. Only for spend.
    Workspace,
    /// Provider limit of the organization, per month. Only for spend.
    Organization,
}

impl Limit {
    /// Returns the limit if it is the same for every subject.
    pub const fn fixed(&self) -> Option<Quantity> {
        match self {
            Limit::Fixed(limit) => Some(*limit),
            Limit::Budget(_) | Limit::Workspace | Limit::Organization => None,
        }
    }
}

/// Limit of each subject of a kind in each period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodLimit {
    pub for_each: SubjectKind,
    pub period: Period,
    pub limit: Limit,
}

/// How a gap between bill and estimate is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapUnit {
    Usd,
    /// Smaller gaps count as 0%.
    Percent {
        min_usd: Usd,
    },
}

/// What a rule measures, for which subjects, and against which limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Spend(PeriodLimit),
    Tokens(PeriodLimit),
    Requests(PeriodLimit),
    /// A threshold must be crossed in both windows. A burn rate counts as 0 if the long window has less spend than `min_usd`.
    BurnRate {
        limit: PeriodLimit,
        windows: Windows,
        min_usd: Usd,
    },
    DataAge {
        for_each: SubjectKind,
        /// In seconds.
        limit: Quantity,
    },
    Reconciliation {
        limit: PeriodLimit,
        unit: GapUnit,
    },
    /// Each event once, in file order. The events determine the subjects.
    Lifecycle(Vec<EventRule>),
}

/// Windows of a burn rate rule, in complete hours; `short` is shorter than `long`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Long enough that its spend matters.
    pub long: u32,
    /// Recent enough that the spending is still going on.
    pub short: u32,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { long: 24, short: 3 }
    }
}

/// How urgent an alert is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// All severities, lowest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// Returns the word used in configuration, labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// Returns 1 to 3: the quantity that a lifecycle rule measures for an event that holds.
    pub const fn rank(self) -> Quantity {
        self as Quantity + 1
    }

    /// Parses the word of [`Severity::as_str`].
    pub fn parse(word: &str) -> Option<Severity> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.as_str() == word)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Value of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdValue {
    /// Share of the limit; if the limit is 0, any value above zero crosses it.
    Share(Percent),
    /// In the unit of the watch.
    Quantity(Quantity),
}

/// A threshold as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    pub at: ThresholdValue,
    pub severity: Severity,
    /// As configured, such as `80%` or `$5,000`.
    pub text: Arc<str>,
}

impl Threshold {
    /// Returns a critical threshold at a share of the limit.
    pub fn critical(share: Percent) -> Threshold {
        Threshold {
            at: ThresholdValue::Share(share),
            severity: Severity::Critical,
            text: share.to_string().into(),
        }
    }

    /// Returns the threshold that lifecycle events of a severity cross.
    pub fn for_event(severity: Severity) -> Threshold {
        Threshold {
            at: ThresholdValue::Quantity(severity.rank()),
            severity,
            text: severity.as_str().into(),
        }
    }
}

/// An event that a lifecycle rule reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRule {
    pub event: Event,
    /// Age or lead time, see [`Event::timing`].
    pub time: SignedDuration,
    pub severity: Severity,
}

impl EventRule {
    /// Creates a rule for an event with the default time and severity.
    pub fn new(event: Event) -> EventRule {
        EventRule {
            event,
            time: event.timing().duration(),
            severity: match event {
                Event::WorkspaceCreated | Event::KeyCreated => Severity::Info,
                Event::KeyIdle | Event::KeyExpiring | Event::UserIdle | Event::LimitRemoved => {
                    Severity::Warning
                }
                Event::KeyOfRemovedUser => Severity::Critical,
            },
        }
    }
}

/// A rule as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub name: RuleName,
    pub condition: Condition,
    pub matcher: Matcher,
    /// Time zone in which periods start and end.
    pub zone: Zone,
    /// At least one, in file order. For lifecycle rules, one for each severity of the events.
    pub thresholds: Vec<Threshold>,
    /// `for`: observed time for which a threshold must be crossed before it fires.
    pub for_duration: SignedDuration,
    /// Observed time for which the alert keeps firing after the condition ended.
    pub keep_firing_for: SignedDuration,
    /// A crossed threshold clears when the figure falls below this share of it; at most 100%.
    pub clear_below: Percent,
    /// Time after which a firing alert is sent again; `None` means never.
    pub repeat_interval: Option<SignedDuration>,
    pub notify: Vec<NotifierName>,
    /// Whether `notify` was not set: then `notify` has the default notifiers, and those of the subject's team replace them.
    pub uses_default_notifiers: bool,
    /// Weekly windows, in the rule's time zone, during which its notifications are held back as by a silence.
    pub inactive: Vec<WeeklyWindow>,
    /// Added to the labels of its alerts.
    pub labels: BTreeMap<String, String>,
}

/// Returns the lists that the events of `rules` are derived from.
pub fn required_lists(rules: &[Rule]) -> RequiredLists {
    let events = rules.iter().flat_map(Rule::events);
    events.fold(RequiredLists::default(), |lists, rule| {
        lists.union(rule.event.required_lists())
    })
}

impl Condition {
    /// Returns what is measured.
    pub const fn watch(&self) -> Watch {
        match self {
            Condition::Spend(_) => Watch::Spend,
            Condition::Tokens(_) => Watch::Tokens,
            Condition::Requests(_) => Watch::Requests,
            Condition::BurnRate { .. } => Watch::BurnRate,
            Condition::DataAge { .. } => Watch::DataAge,
            Condition::Reconciliation { unit, .. } => match unit {
                GapUnit::Usd => Watch::ReconciliationUsd,
                GapUnit::Percent { .. } => Watch::ReconciliationPercent,
            },
            Condition::Lifecycle(_) => Watch::Lifecycle,
        }
    }

    /// Returns the thresholds of a rule that sets none.
    fn default_thresholds(&self) -> Vec<Threshold> {
        let Condition::Lifecycle(events) = self else {
            return vec![Threshold::critical(self.watch().info().threshold)];
        };
        Severity::ALL
            .into_iter()
            .filter(|severity| events.iter().any(|rule| rule.severity == *severity))
            .map(Threshold::for_event)
            .collect()
    }
}

impl Rule {
    /// Creates a rule with the defaults of all other settings. Its list of notifiers is empty.
    pub fn new(name: impl Into<RuleName>, condition: Condition) -> Rule {
        Rule {
            name: name.into(),
            matcher: Matcher::default(),
            zone: Zone::utc(),
            thresholds: condition.default_thresholds(),
            condition,
            for_duration: SignedDuration::ZERO,
            keep_firing_for: SignedDuration::ZERO,
            clear_below: Percent::HUNDRED,
            repeat_interval: None,
            notify: Vec::new(),
            uses_default_notifiers: false,
            inactive: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Returns what the rule measures.
    pub const fn watch(&self) -> Watch {
        self.condition.watch()
    }

    /// Returns the limit by subject and period; `None` for data age and events.
    pub const fn period_limit(&self) -> Option<&PeriodLimit> {
        match &self.condition {
            Condition::Spend(limit)
            | Condition::Tokens(limit)
            | Condition::Requests(limit)
            | Condition::BurnRate { limit, .. }
            | Condition::Reconciliation { limit, .. } => Some(limit),
            Condition::DataAge { .. } | Condition::Lifecycle(_) => None,
        }
    }

    /// Returns the kind of the measured subjects; `None` if the events determine it.
    pub fn for_each(&self) -> Option<SubjectKind> {
        if let Condition::DataAge { for_each, .. } = &self.condition {
            return Some(*for_each);
        }
        self.period_limit().map(|limit| limit.for_each)
    }

    /// Returns the events that a lifecycle rule reports.
    pub fn events(&self) -> &[EventRule] {
        if let Condition::Lifecycle(events) = &self.condition {
            events
        } else {
            &[]
        }
    }

    /// Returns the settings of an event that the rule reports.
    pub fn event(&self, event: Event) -> Option<&EventRule> {
        self.events().iter().find(|rule| rule.event == event)
    }

    /// Returns whether notifications are held back at `at`.
    pub fn is_inactive(&self, at: Timestamp) -> bool {
        self.inactive
            .iter()
            .any(|window| window.contains(at, &self.zone.rules))
    }
}
