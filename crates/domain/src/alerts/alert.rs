//! Alerts: one rule × subject × period, its state, and what each notifier was last sent about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::org::events::Event;
use crate::rules::rule::Severity;
use crate::rules::watch::{Quantity, Watch};
use crate::units::ids::{NotifierName, OrganizationName, RuleName};
use crate::units::span::Span;
use crate::units::subject::Subject;

/// Observed time: milliseconds between successful evaluations, summed since the store was created. It does not advance while
/// the daemon is down, and clock changes do not affect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Observed(pub u64);

/// Wall-clock and observed time of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, never before that of an earlier decision.
    pub at: Timestamp,
    pub observed: Observed,
    /// Observed time since the previous decision, in milliseconds.
    pub elapsed: u64,
}

impl Observed {
    /// Returns the milliseconds since `earlier`.
    pub fn since(self, earlier: Observed) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Key under which the current alert of a rule × subject × calendar period is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub rule: RuleName,
    pub subject: Subject,
    /// Label of the calendar period; `None` for rolling periods, data age and events.
    pub period: Option<Arc<str>>,
    /// Set for lifecycle rules: a subject may have several events at once.
    pub event: Option<Event>,
}

/// What identifies an alert from start to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub organization: OrganizationName,
    pub slot: Slot,
    /// Part of the fingerprint only without a calendar period.
    pub started_at: Timestamp,
}

impl Identity {
    /// Returns 16 hex digits that escalation, renaming, a changed limit and a restart do not change.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add(self.organization.as_str());
        add(self.slot.rule.as_str());
        add(self.slot.subject.kind.as_str());
        add(&self.slot.subject.id);
        match &self.slot.period {
            Some(label) => add(label),
            None => add(&format!("since {}", self.started_at)),
        }
        if let Some(event) = self.slot.event {
            add(event.as_str());
        }
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A threshold converted to a quantity by the limit at that time; another limit gives another value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbsoluteThreshold {
    /// Crossed by values at or above this and above zero.
    pub quantity: Quantity,
    pub severity: Severity,
    /// As configured, such as `80%`.
    pub text: Arc<str>,
}

/// A crossed threshold that is waiting for the rule's `for`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    pub threshold: AbsoluteThreshold,
    pub since: Observed,
}

/// State of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Crossed for less than the rule's `for`.
    Pending {
        threshold: AbsoluteThreshold,
        since: Observed,
    },
    Firing {
        /// Highest threshold that was crossed for at least the rule's `for`.
        threshold: AbsoluteThreshold,
        /// When the condition ended, while `keep_firing_for` runs.
        clearing_since: Option<Observed>,
    },
    Ended {
        by: EndedBy,
        at: Timestamp,
        threshold: AbsoluteThreshold,
    },
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndedBy {
    /// The figure fell below the threshold.
    Cleared,
    /// A settled bucket was corrected downwards.
    Corrected,
    /// The limit was raised or removed.
    LimitChanged,
    /// The calendar period is over and its figures are complete.
    PeriodOver,
    /// The subject no longer exists.
    SubjectGone,
    /// The rule was removed or no longer covers the subject.
    RuleRemoved,
}

impl EndedBy {
    /// All reasons, in the documented order.
    pub const ALL: [EndedBy; 6] = [
        EndedBy::Cleared,
        EndedBy::Corrected,
        EndedBy::LimitChanged,
        EndedBy::PeriodOver,
        EndedBy::SubjectGone,
        EndedBy::RuleRemoved,
    ];

    /// Returns the word used in the webhook and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndedBy::Cleared => "cleared",
            EndedBy::Corrected => "corrected",
            EndedBy::LimitChanged => "limit_changed",
            EndedBy::PeriodOver => "period_over",
            EndedBy::SubjectGone => "subject_gone",
            EndedBy::RuleRemoved => "rule_removed",
        }
    }

    /// Parses the word of [`EndedBy::as_str`].
    pub fn parse(word: &str) -> Option<EndedBy> {
        EndedBy::ALL.into_iter().find(|by| by.as_str() == word)
    }
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one notifier was last sent about one alert; committed together with the alert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotifiedState {
    /// Threshold that the receiver shows as crossed; `None` if it shows nothing firing.
    pub shown: Option<AbsoluteThreshold>,
    /// Thresholds sent upwards since the last "resolved".
    pub raised: Vec<AbsoluteThreshold>,
    /// Thresholds sent downwards since the last "resolved".
    pub lowered: Vec<AbsoluteThreshold>,
    /// When the last message was decided.
    pub at: Observed,
}

/// One rule × subject × period at its highest crossed threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub identity: Identity,
    /// Determines the unit of `value` and `limit`.
    pub watch: Watch,
    /// Period, or span of the event, at the last evaluation.
    pub span: Span,
    pub state: State,
    /// Thresholds above the state's that are crossed for less than the rule's `for`; lowest first.
    pub rising: Vec<Crossing>,
    pub sequence: u64,
    /// When it started firing, or fired again after it had ended.
    pub firing_since: Option<Timestamp>,
    /// Whether it fired after its period had ended.
    pub is_late: bool,
    pub is_silenced: bool,
    /// Figure at the last change.
    pub value: Quantity,
    /// Limit at the last change; `None` if it was removed.
    pub limit: Option<Quantity>,
    pub notified: BTreeMap<NotifierName, NotifiedState>,
}

impl Alert {
    /// Returns whether the alert is firing.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing { .. })
    }

    /// Returns the threshold that it is pending for, firing by, or last fired by.
    pub fn threshold(&self) -> &AbsoluteThreshold {
        match &self.state {
            State::Pending { threshold, .. }
            | State::Firing { threshold, .. }
            | State::Ended { threshold, .. } => threshold,
        }
    }
}
