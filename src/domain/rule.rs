//! Rules: what to watch, for whom, against which limit, and whom to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::domain::budget::Budget;
use crate::domain::event::{Event, Lists};
use crate::domain::ids::{NotifierName, RuleName};
use crate::domain::matcher::Matcher;
use crate::domain::money::{Percent, Usd};
use crate::domain::period::{Period, Zone};
use crate::domain::subject::SubjectKind;
use crate::domain::weekly::Window;

/// What a rule measures, and in which unit its quantities are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// Spend in 10⁻¹² USD.
    Spend,
    /// What a whole period would cost at the pace of the last complete hours, in 10⁻¹² USD.
    BurnRate,
    Tokens,
    Requests,
    /// Age of the data in seconds.
    DataAge,
    /// How far what is billed and what tokens × list price say lie apart, whichever is larger.
    Reconciliation(Gap),
    /// Events in the life of keys, people, workspaces and limits: how bad what stands is, as [`Severity::rank`] counts.
    Lifecycle,
}

/// In which unit a gap is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// In 10⁻¹² USD.
    Usd,
    /// In millionths of a percent of the estimate, as [`Percent`] counts.
    Percent,
}

impl Watch {
    /// All.
    pub const ALL: [Watch; 8] = [
        Watch::Spend,
        Watch::BurnRate,
        Watch::Tokens,
        Watch::Requests,
        Watch::DataAge,
        Watch::Reconciliation(Gap::Usd),
        Watch::Reconciliation(Gap::Percent),
        Watch::Lifecycle,
    ];

    /// The word in configuration and messages. The unit of a gap is not in it: there, the limit's key tells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Watch::Spend => "spend",
            Watch::BurnRate => "burn_rate",
            Watch::Tokens => "tokens",
            Watch::Requests => "requests",
            Watch::DataAge => "data_age",
            Watch::Reconciliation(Gap::Usd | Gap::Percent) => "reconciliation",
            Watch::Lifecycle => "lifecycle",
        }
    }

    /// Whether what is measured is money that is spent.
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

    /// The word in the store, which no two have in common.
    pub const fn stored(self) -> &'static str {
        match self {
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Lifecycle => self.as_str(),
            Watch::Reconciliation(Gap::Usd) => "reconciliation_usd",
            Watch::Reconciliation(Gap::Percent) => "reconciliation_percent",
        }
    }

    /// The watch of a word of the store; `None` for any other.
    pub fn from_stored(word: &str) -> Option<Watch> {
        Watch::ALL.into_iter().find(|watch| watch.stored() == word)
    }
}

/// A quantity in the unit of its watch: 10⁻¹² USD, tokens, requests, seconds, millionths of a percent or the rank of a severity.
pub type Quantity = i128;

/// Against what a rule measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The same for every subject. 0 means that nothing may be used.
    Fixed(Quantity),
    /// Each subject's own, by the day on which the period begins. Whoever has none has no rule.
    Budget(Arc<Budget>),
    /// The workspace's own monthly spend limit at the service.
    Workspace,
    /// The organization's own monthly spend limit at the service.
    Organization,
}

/// Two spans of complete hours, in hours; the short one is shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// What is enough to matter.
    pub long: u32,
    /// What is recent enough to still go on.
    pub short: u32,
}

impl Default for Windows {
    /// A day and three hours.
    fn default() -> Windows {
        Windows { long: 24, short: 3 }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// All, from mild to bad.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// The word in configuration, labels and store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// From 1 for mild: what a rule on events measures of an event that stands, so that its lines are at these quantities.
    pub const fn rank(self) -> Quantity {
        match self {
            Severity::Info => 1,
            Severity::Warning => 2,
            Severity::Critical => 3,
        }
    }

    /// The severity of a word; `None` for any other.
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

/// Where a threshold lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A share of the limit. Against a limit of 0 any share is crossed by whatever is above zero.
    Share(Percent),
    /// A quantity in the watch's unit.
    Quantity(Quantity),
}

/// A line that a figure may cross, and how bad that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    pub at: At,
    /// How bad crossing it is.
    pub severity: Severity,
    /// As people write it: `80%`, `$5,000`.
    pub text: Arc<str>,
}

impl Threshold {
    /// The line of an event as bad as this.
    pub fn of_event(severity: Severity) -> Threshold {
        Threshold {
            at: At::Quantity(severity.rank()),
            severity,
            text: severity.as_str().into(),
        }
    }
}

/// An event that a rule tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRule {
    pub event: Event,
    /// Its age, or how long before it is told.
    pub time: SignedDuration,
    pub severity: Severity,
}

/// What to watch, for whom, against which limit, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub name: RuleName,
    pub watch: Watch,
    /// One measurement for each of these; meaningless for `Lifecycle`, whose events each have their own.
    pub for_each: SubjectKind,
    pub matcher: Matcher,
    /// Summed over what; meaningless for `DataAge` and `Lifecycle`.
    pub period: Period,
    /// Where the period is cut.
    pub zone: Zone,
    /// Against what; meaningless for `Lifecycle`.
    pub limit: Limit,
    /// A gap smaller than this never speaks, whatever its percentage; nor does a pace by a long window with less spend.
    pub min_usd: Usd,
    /// Of `BurnRate`: both must be crossed. The long one tells what matters, the short one that it still goes on.
    pub windows: Windows,
    /// Of `Lifecycle`, and of no other: each event once, in the order of the file.
    pub events: Vec<EventRule>,
    /// At least one, in the order of the file. Of `Lifecycle`, one for each severity of its events.
    pub thresholds: Vec<Threshold>,
    /// `for`: how long a threshold must stay crossed, in observed time, before it fires.
    pub hold: SignedDuration,
    /// How long it goes on firing after the cause ended, in observed time.
    pub keep_firing: SignedDuration,
    /// A threshold is held until the figure falls below this share of it; at most 100 %.
    pub clear_below: Percent,
    /// After how long a firing alert is told again; `None` is never.
    pub repeat_interval: Option<SignedDuration>,
    pub notify: Vec<NotifierName>,
    /// Nobody was named: whoever hears of everything hears of it, unless the subject's team has somebody of its own.
    pub tells_by_default: bool,
    /// In these windows of the rule's zone nothing is told of it, as under a silence.
    pub inactive: Vec<Window>,
    /// Added to the alert's labels.
    pub labels: BTreeMap<String, String>,
}

/// Which lists the events of some rules are told by.
pub fn lists_needed(rules: &[Rule]) -> Lists {
    let events = rules.iter().flat_map(|rule| &rule.events);
    events.fold(Lists::default(), |lists, of| lists.and(of.event.lists()))
}

impl Rule {
    /// What it says of an event; `None` where it does not look at it.
    pub fn event(&self, event: Event) -> Option<&EventRule> {
        self.events.iter().find(|of| of.event == event)
    }

    /// Whether nothing is told of it at a moment.
    pub fn is_inactive(&self, at: Timestamp) -> bool {
        self.inactive
            .iter()
            .any(|window| window.contains(at, &self.zone.rules))
    }
}
