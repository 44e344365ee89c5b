//! Rules: what to watch, for which subjects, against which limit, and which notifiers receive alerts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::org::events::{Event, RequiredLists};
use crate::rules::budget::Budget;
use crate::units::ids::{NotifierName, RuleName};
use crate::units::matcher::Matcher;
use crate::units::money::{Percent, Usd};
use crate::units::period::{Period, Zone};
use crate::units::subject::SubjectKind;
use crate::units::weekly::WeeklyWindow;

/// What a rule measures; determines the unit of its quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// In 10⁻¹² USD.
    Spend,
    /// Spend of a whole period at the rate of the last complete hours, in 10⁻¹² USD.
    BurnRate,
    Tokens,
    Requests,
    /// In seconds.
    DataAge,
    /// Absolute difference between bill and estimate.
    Reconciliation(GapUnit),
    /// Events of keys, users, workspaces and limits; the quantity is the [`Severity::rank`] of an event that holds.
    Lifecycle,
}

/// Unit in which a gap is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapUnit {
    /// In 10⁻¹² USD.
    Usd,
    /// In millionths of a percent of the estimate, as in [`Percent`].
    Percent,
}

impl Watch {
    pub const ALL: [Watch; 8] = [
        Watch::Spend,
        Watch::BurnRate,
        Watch::Tokens,
        Watch::Requests,
        Watch::DataAge,
        Watch::Reconciliation(GapUnit::Usd),
        Watch::Reconciliation(GapUnit::Percent),
        Watch::Lifecycle,
    ];

    /// Returns the word used in configuration and messages, where the key of the limit determines the unit of a gap.
    pub const fn as_str(self) -> &'static str {
        match self {
            Watch::Spend => "spend",
            Watch::BurnRate => "burn_rate",
            Watch::Tokens => "tokens",
            Watch::Requests => "requests",
            Watch::DataAge => "data_age",
            Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent) => "reconciliation",
            Watch::Lifecycle => "lifecycle",
        }
    }

    /// Returns whether it measures spend.
    pub const fn is_money(self) -> bool {
        match self {
            Watch::Spend | Watch::BurnRate => true,
            Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Reconciliation(_)
            | Watch::Lifecycle => false,
        }
    }

    /// Returns the unique word used in the store.
    pub const fn as_stored(self) -> &'static str {
        match self {
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Lifecycle => self.as_str(),
            Watch::Reconciliation(GapUnit::Usd) => "reconciliation_usd",
            Watch::Reconciliation(GapUnit::Percent) => "reconciliation_percent",
        }
    }

    /// Parses the word of [`Watch::as_stored`].
    pub fn from_stored(word: &str) -> Option<Watch> {
        Watch::ALL
            .into_iter()
            .find(|watch| watch.as_stored() == word)
    }
}

/// A quantity in the unit of its watch: 10⁻¹² USD, tokens, requests, seconds, millionths of a percent, or a severity's rank.
pub type Quantity = i128;

/// Limit of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The same for every subject; 0 allows no use at all.
    Fixed(Quantity),
    /// By subject and first day of the period; the rule does not apply to subjects without an entry.
    Budget(Arc<Budget>),
    /// Provider limit of the workspace, per month.
    Workspace,
    /// Provider limit of the organization, per month.
    Organization,
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
        match self {
            Severity::Info => 1,
            Severity::Warning => 2,
            Severity::Critical => 3,
        }
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

/// A rule as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub name: RuleName,
    pub watch: Watch,
    /// Kind of the measured subjects; unused by `Lifecycle`, whose events determine it.
    pub for_each: SubjectKind,
    pub matcher: Matcher,
    /// Unused by `DataAge` and `Lifecycle`.
    pub period: Period,
    /// Time zone in which periods start and end.
    pub zone: Zone,
    /// Unused by `Lifecycle`.
    pub limit: Limit,
    /// Smaller gaps count as 0%; burn rates count as 0 if the long window has less spend.
    pub min_usd: Usd,
    /// Used only by `BurnRate`, whose threshold must be crossed in both.
    pub windows: Windows,
    /// Used only by `Lifecycle`: each event once, in file order.
    pub events: Vec<EventRule>,
    /// At least one, in file order. For `Lifecycle`, one for each severity of its events.
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
    let events = rules.iter().flat_map(|rule| &rule.events);
    events.fold(RequiredLists::default(), |lists, rule| {
        lists.union(rule.event.required_lists())
    })
}

impl Rule {
    /// Returns the settings of an event that the rule reports.
    pub fn event(&self, event: Event) -> Option<&EventRule> {
        self.events.iter().find(|rule| rule.event == event)
    }

    /// Returns whether notifications are held back at `at`.
    pub fn is_inactive(&self, at: Timestamp) -> bool {
        self.inactive
            .iter()
            .any(|window| window.contains(at, &self.zone.rules))
    }
}
