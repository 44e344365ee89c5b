//! Notifications: the content of a message about one or more alerts, and how waiting messages are folded into one.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::alerts::alert::{AbsoluteThreshold, Alert, EndedBy, Identity, State};
use crate::org::events::Event;
use crate::rules::watch::{Quantity, Watch};
use crate::units::ids::{ApiKeyId, ModelName, NotifierName, WorkspaceId};
use crate::units::money::Usd;
use crate::units::span::Span;

/// The first chat message about an alert, to which later messages reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Channel id assigned by the receiver.
    pub channel: String,
    /// Message id assigned by the receiver.
    pub ts: String,
}

/// Why a message is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The alert fires, and this notifier has not been sent it yet.
    First,
    Escalated,
    /// Only a lower threshold is still crossed.
    Lowered,
    /// `repeat_interval` has passed.
    Repeated,
    /// A silence ended, and the alert still fires.
    Unsilenced,
    /// The alert ended, or fell below this notifier's minimum severity.
    Resolved,
}

impl Reason {
    pub const ALL: [Reason; 6] = [
        Reason::First,
        Reason::Escalated,
        Reason::Lowered,
        Reason::Repeated,
        Reason::Unsilenced,
        Reason::Resolved,
    ];

    /// Returns the word used in the webhook and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::First => "first",
            Reason::Escalated => "escalated",
            Reason::Lowered => "lowered",
            Reason::Repeated => "repeated",
            Reason::Unsilenced => "unsilenced",
            Reason::Resolved => "resolved",
        }
    }

    /// Parses the word of [`Reason::as_str`].
    pub fn parse(word: &str) -> Option<Reason> {
        Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An API key with its name at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    pub id: ApiKeyId,
    /// The id if the key was never listed.
    pub name: String,
}

/// A contributor to a figure: the usage of a workspace, narrowed to the model, key or user that explains most of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contributor {
    /// May be `unattributed`.
    pub workspace_id: WorkspaceId,
    pub workspace: String,
    /// May be `unattributed`; `None` means all models.
    pub model: Option<ModelName>,
    /// `None` means all usage, with or without a key.
    pub api_key: Option<NamedKey>,
    /// User, by the name that may be shown; `None` means all usage.
    pub person: Option<String>,
    /// In the alert's period and the rule's unit.
    pub value: Quantity,
    /// At the same point of the previous period; `None` if the ledger does not reach back.
    pub before: Option<Quantity>,
}

/// Bill and estimate of a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    pub billed: Usd,
    /// At list price, minus discounts.
    pub estimated: Usd,
    /// Upper bound of the part of `estimated` that the price table cannot determine with certainty.
    pub uncertain: Usd,
    /// Models without a known list price, whose tokens are not in `estimated`; at most [`MAX_CONTRIBUTORS`].
    pub unpriced: Vec<ModelName>,
}

impl Reconciled {
    /// Returns the absolute difference.
    pub fn gap(&self) -> Usd {
        (self.billed - self.estimated).abs()
    }
}

/// What a message states about one alert. It is complete: rendering looks up nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub identity: Identity,
    pub sequence: u64,
    pub reason: Reason,
    /// Set only for [`Reason::Resolved`], and `None` even there if the alert fell below the notifier's minimum severity, see
    /// [`Fact::is_below_minimum`].
    pub ended_by: Option<EndedBy>,
    /// The parked notifier that this one is the fallback of.
    pub in_place_of: Option<NotifierName>,
    /// Whether the alert fired after its period had ended.
    pub is_late: bool,
    /// Whether the alert fired and resolved before either was sent, for example during a silence.
    pub is_fired_and_resolved: bool,
    pub subject_name: String,
    pub watch: Watch,
    /// Period, or span of the event.
    pub span: Span,
    /// Time zone of the rule, in which times are shown.
    pub zone_name: String,
    pub value: Quantity,
    /// Whether part of the figure is unknown.
    pub is_lower_bound: bool,
    /// `None` if the limit was removed.
    pub limit: Option<Quantity>,
    /// Threshold that the message names.
    pub threshold: AbsoluteThreshold,
    pub firing_since: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub decided_at: Timestamp,
    /// Time up to which the figure is known; `None` if nothing was ever read.
    pub as_of: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// The contributor that grew most or is the largest, then the largest others; at most [`MAX_CONTRIBUTORS`].
    pub top: Vec<Contributor>,
    /// Expected spend at the end of the period.
    pub forecast: Option<Usd>,
    /// Set only for reconciliation rules, if known.
    pub reconciled: Option<Reconciled>,
    /// Creator of a key who has left the organization; `None` if user names are hidden.
    pub creator: Option<String>,
}

impl Fact {
    /// Returns what the record of an alert states, in UTC, without what only a measurement or a rule knows.
    pub fn of(alert: &Alert, subject_name: &str, decided_at: Timestamp) -> Fact {
        let (ended_by, ended_at) = match &alert.state {
            State::Pending { .. } | State::Firing { .. } => (None, None),
            State::Ended { by, at, .. } => (Some(*by), Some(*at)),
        };
        Fact {
            identity: alert.identity.clone(),
            sequence: alert.sequence,
            reason: ended_by.map_or(Reason::First, |_| Reason::Resolved),
            ended_by,
            in_place_of: None,
            is_late: alert.is_late,
            is_fired_and_resolved: false,
            subject_name: subject_name.to_owned(),
            watch: alert.watch,
            span: alert.span,
            zone_name: "UTC".to_owned(),
            value: alert.value,
            is_lower_bound: false,
            limit: alert.limit,
            threshold: alert.threshold().clone(),
            firing_since: alert.firing_since.unwrap_or(alert.identity.started_at),
            ended_at,
            decided_at,
            as_of: Some(decided_at),
            labels: BTreeMap::new(),
            top: Vec::new(),
            forecast: None,
            reconciled: None,
            creator: None,
        }
    }

    /// Returns whether the alert still fires, but below the notifier's minimum severity. Stateful receivers treat it as
    /// resolved.
    pub fn is_below_minimum(&self) -> bool {
        self.reason == Reason::Resolved && self.ended_by.is_none()
    }

    /// Returns the reason to show: `lowered` instead of `resolved` below the notifier's minimum severity.
    pub fn public_reason(&self) -> Reason {
        if self.is_below_minimum() {
            Reason::Lowered
        } else {
            self.reason
        }
    }

    /// Returns the event of a lifecycle rule and when it happened or will happen, if known.
    pub fn event(&self) -> Option<(Event, Option<Timestamp>)> {
        let event = self.identity.slot.event?;
        Some((event, event.moment(self.span)))
    }
}

/// Maximum number of contributors in a message.
pub const MAX_CONTRIBUTORS: usize = 5;

/// A message to one notifier, before it is assigned an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub notifier: NotifierName,
    /// At least one, each about a different alert, most severe first.
    pub facts: Vec<Fact>,
}

/// Folds facts that are waiting for the same notifier, in order of decision and before any attempt, into one message: the
/// newest state of each alert replaces older ones. An alert that fired and resolved becomes one fact that states both.
pub fn fold(facts: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
    let mut newest: BTreeMap<String, Fact> = BTreeMap::new();
    for fact in facts {
        let key = fact.identity.fingerprint();
        let folded = match newest.remove(&key) {
            Some(older) => fold_pair(&older, fact),
            None => fact,
        };
        newest.insert(key, folded);
    }
    let mut facts: Vec<Fact> = newest.into_values().collect();
    sort_worst_first(&mut facts);
    facts
}

/// Returns how many of the first messages can be folded without losing information: at least one.
///
/// Each threshold is sent only once. So a threshold that was crossed and left again must be sent first, and so must
/// "resolved" before the alert fires again, unless the alert has ended by then.
pub fn n_foldable(messages: &[Vec<Fact>]) -> usize {
    let mut by_alert: BTreeMap<String, Folding> = BTreeMap::new();
    let mut n_foldable = 1;
    for (index, facts) in messages.iter().enumerate() {
        for fact in facts {
            let folding = by_alert.entry(fact.identity.fingerprint()).or_default();
            folding.add(fact.reason);
        }
        if by_alert.values().all(|folding| !folding.loses_information) {
            n_foldable = index + 1;
        }
    }
    n_foldable
}

/// Effect of folding messages on one alert.
#[derive(Debug, Default)]
struct Folding {
    /// Fires now, but did not before the first message.
    is_new: bool,
    is_escalated: bool,
    /// Resolved, but was firing before the first message.
    is_resolved_first: bool,
    /// The newest message would hide one that must be sent.
    loses_information: bool,
}

impl Folding {
    fn add(&mut self, reason: Reason) {
        match reason {
            Reason::First => {
                self.loses_information |= self.is_resolved_first;
                self.is_new |= !self.is_resolved_first;
                self.is_escalated = true;
            }
            Reason::Escalated | Reason::Unsilenced => self.is_escalated = true,
            Reason::Lowered => self.loses_information |= self.is_escalated,
            Reason::Repeated => {}
            Reason::Resolved => {
                *self = Folding {
                    is_resolved_first: !self.is_new,
                    ..Folding::default()
                };
            }
        }
    }
}

/// Returns the newer fact as if the older one did not exist: an alert cannot escalate before its first message.
fn fold_pair(older: &Fact, newer: Fact) -> Fact {
    let is_first = older.reason == Reason::First;
    let is_resolved = newer.reason == Reason::Resolved;
    let reason = if is_first && !is_resolved {
        Reason::First
    } else {
        newer.reason
    };
    // During the silence, the receiver may not have been sent the alert at all.
    let may_be_unsent = is_first || older.reason == Reason::Unsilenced;
    let is_fired_and_resolved = is_resolved && (may_be_unsent || older.is_fired_and_resolved);
    Fact {
        reason,
        is_fired_and_resolved,
        ..newer
    }
}

/// Sorts firing before resolved, then by severity, then by value; deterministic.
pub fn sort_worst_first(facts: &mut [Fact]) {
    facts.sort_by(|a, b| {
        let rank = |fact: &Fact| (fact.reason != Reason::Resolved, fact.threshold.severity);
        let name = |fact: &Fact| (fact.subject_name.clone(), fact.identity.slot.rule.clone());
        rank(b)
            .cmp(&rank(a))
            .then(b.value.cmp(&a.value))
            .then_with(|| name(a).cmp(&name(b)))
            .then_with(|| a.identity.slot.cmp(&b.identity.slot))
    });
}
