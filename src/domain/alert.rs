//! Alerts: one rule × subject × period, its life, and what each notifier was last told about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::domain::event::Event;
use crate::domain::ids::{NotifierName, OrganizationName, RuleName};
use crate::domain::rule::{Quantity, Severity, Watch};
use crate::domain::span::Span;
use crate::domain::subject::Subject;

/// Observed time: milliseconds between good evaluations, summed up since the store was made. It stands still while the
/// daemon is down, and no step of the clock moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Observed(pub u64);

/// The moment of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the clock, never before an earlier decision's.
    pub at: Timestamp,
    pub observed: Observed,
    /// Observed time since the decision before, in milliseconds.
    pub elapsed: u64,
}

impl Observed {
    /// Milliseconds from an earlier moment to this one.
    pub fn since(self, earlier: Observed) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where an alert is looked up: one rule × subject × calendar period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub rule: RuleName,
    pub subject: Subject,
    /// The calendar period's label; `None` for rolling spans, the age of data and events.
    pub period: Option<Arc<str>>,
    /// The event, of a rule on events: one subject may have several at once.
    pub event: Option<Event>,
}

/// What an alert is, for as long as it lives. Without a calendar period its start belongs to its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub organization: OrganizationName,
    pub slot: Slot,
    /// When it began; part of the fingerprint only where there is no calendar period.
    pub started_at: Timestamp,
}

impl Identity {
    /// 16 hex digits that survive escalation, renaming, a changed limit and a restart.
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

/// A threshold with the quantity it had when it was crossed: another limit makes another line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The quantity at and above which it is crossed (and above zero).
    pub quantity: Quantity,
    pub severity: Severity,
    /// As people write it: `80%`.
    pub text: Arc<str>,
}

/// A line that is crossed, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    pub line: Line,
    /// Since when, in observed time.
    pub since: Observed,
}

/// Where an alert is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Crossed, but not yet for as long as the rule's `for`.
    Pending {
        /// The line that fires next.
        line: Line,
        /// Since when, in observed time.
        since: Observed,
    },
    Firing {
        /// The highest line that was held for long enough.
        line: Line,
        /// The condition ended at this observed time, and `keep_firing_for` runs.
        clearing_since: Option<Observed>,
    },
    Ended {
        by: EndedBy,
        at: Timestamp,
        /// The highest line it last held.
        line: Line,
    },
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndedBy {
    /// The figure fell below the threshold.
    Cleared,
    /// A settled bucket was corrected downward.
    Corrected,
    /// The limit was raised, or is no more.
    LimitChanged,
    /// The calendar period is over and its figures are complete.
    PeriodOver,
    /// The subject exists no more.
    SubjectGone,
    /// The rule exists no more, or does not look at the subject any more.
    RuleRemoved,
}

impl EndedBy {
    /// All, in the order of the contract.
    pub const ALL: [EndedBy; 6] = [
        EndedBy::Cleared,
        EndedBy::Corrected,
        EndedBy::LimitChanged,
        EndedBy::PeriodOver,
        EndedBy::SubjectGone,
        EndedBy::RuleRemoved,
    ];

    /// The word in the webhook and the store.
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

    /// The reason of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<EndedBy> {
        EndedBy::ALL.into_iter().find(|by| by.as_str() == word)
    }
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one notifier was told about one alert. It is state of the alert and commits with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The line the receiver believes to be crossed; `None` when it believes that nothing fires.
    pub showing: Option<Line>,
    /// Lines that were told upwards since "resolved" was last told.
    pub raised: Vec<Line>,
    /// Lines that were told downwards since "resolved" was last told.
    pub lowered: Vec<Line>,
    /// When the last message was decided, in observed time.
    pub at: Observed,
}

/// One rule × subject × period at its highest crossed threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub identity: Identity,
    /// What the rule measures: the unit of `value` and `limit`.
    pub watch: Watch,
    /// The period, or the time of the event, as it was when the alert was last evaluated.
    pub span: Span,
    /// Where it is in its life.
    pub state: State,
    /// Lines above the state's that are crossed, but not yet for as long as the rule's `for`; lowest first.
    pub rising: Vec<Crossing>,
    /// Grows with each change of the alert.
    pub sequence: u64,
    /// When it fired first (or again after it had ended), by the clock.
    pub firing_since: Option<Timestamp>,
    /// Whether it fired for a period that was over already.
    pub is_late: bool,
    /// Whether a silence muted it at the last evaluation.
    pub is_silenced: bool,
    /// The figure at the last change.
    pub value: Quantity,
    /// The limit at the last change; `None` where the rule's limit does not exist any more.
    pub limit: Option<Quantity>,
    pub told: BTreeMap<NotifierName, Told>,
}

impl Alert {
    /// Whether it is firing.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing { .. })
    }

    /// The line it holds, waits for, or last held.
    pub fn line(&self) -> &Line {
        match &self.state {
            State::Pending { line, .. }
            | State::Firing { line, .. }
            | State::Ended { line, .. } => line,
        }
    }
}
