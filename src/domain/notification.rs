//! Notifications: what one message says about one or more alerts, and how waiting ones are folded into one.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::domain::alert::{EndedBy, Identity, Line};
use crate::domain::event::Event;
use crate::domain::ids::{ApiKeyId, ModelName, NotifierName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::rule::{Quantity, Watch};
use crate::domain::span::Span;

/// Where a chat receiver shows the first message about an alert, so that what follows is told below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The receiver's own id of the channel.
    pub channel: String,
    /// The receiver's own id of the message in it.
    pub ts: String,
}

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The alert fires and this notifier does not know yet.
    First,
    /// A higher threshold is crossed.
    Escalated,
    /// Only a lower threshold is still crossed.
    Lowered,
    /// `repeat_interval` is over.
    Repeated,
    /// A silence ended and the alert still fires.
    Unsilenced,
    /// The alert ended, or fell below what this notifier hears about.
    Resolved,
}

impl Reason {
    /// All.
    pub const ALL: [Reason; 6] = [
        Reason::First,
        Reason::Escalated,
        Reason::Lowered,
        Reason::Repeated,
        Reason::Unsilenced,
        Reason::Resolved,
    ];

    /// The word in the webhook and the store.
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

    /// The reason of a word; `None` for any other.
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

/// An API key by id, and by its name at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    pub id: ApiKeyId,
    /// The id where it was never listed.
    pub name: String,
}

/// A contributor to a figure: what one workspace used, or the part of it with one model, with one key or by one person that
/// explains most of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contributor {
    /// The workspace's id, or `unattributed`.
    pub workspace_id: WorkspaceId,
    /// The workspace's name at the time.
    pub workspace: String,
    /// The model, or `unattributed`; `None` for all models.
    pub model: Option<ModelName>,
    /// The key; `None` for all usage, also without a key.
    pub api_key: Option<NamedKey>,
    /// The user by the name that may be shown; `None` for all usage.
    pub person: Option<String>,
    /// In the alert's period, in the rule's unit.
    pub value: Quantity,
    /// In the same time of the period before; `None` where the ledger does not reach back.
    pub before: Option<Quantity>,
}

/// What a gap lies between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// What the service billed in the period.
    pub billed: Usd,
    /// What the tokens cost by list price, discounts taken off.
    pub estimated: Usd,
    /// The part of `estimated` that the price table cannot determine with certainty, at most.
    pub uncertain: Usd,
    /// Models whose tokens are in no estimate, because no list price of theirs is known; at most [`MAX_CONTRIBUTORS`].
    pub unpriced: Vec<ModelName>,
}

impl Reconciled {
    /// How far the two lie apart, whichever is larger.
    pub fn gap(&self) -> Usd {
        (self.billed - self.estimated).abs()
    }
}

/// What a message says about one alert. Exact, complete and frozen: nothing is looked up when it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub identity: Identity,
    /// Its place in the alert's life.
    pub sequence: u64,
    /// Why it is told now.
    pub reason: Reason,
    /// Why it ended; only with [`Reason::Resolved`], and `None` there when it only fell below this notifier's minimum
    /// severity: see [`Fact::is_below_minimum`].
    pub ended_by: Option<EndedBy>,
    /// For whom it was, where that one cannot be reached.
    pub in_place_of: Option<NotifierName>,
    /// It fired for a period that was over already.
    pub is_late: bool,
    /// It fired, perhaps through a silence, and was resolved before that could be told: one line says both.
    pub is_fired_and_resolved: bool,
    /// The subject's name at the time.
    pub subject_name: String,
    pub watch: Watch,
    /// The period, or the time of the event.
    pub span: Span,
    /// The zone in which the period is cut: times are shown in it.
    pub zone_name: String,
    pub value: Quantity,
    /// Part of the figure is unknown: it is at least this.
    pub is_lower_bound: bool,
    /// The limit; `None` where there is none any more.
    pub limit: Option<Quantity>,
    /// The threshold that is told.
    pub line: Line,
    pub firing_since: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub decided_at: Timestamp,
    /// Up to when the figure is known; `None` where nothing was ever read.
    pub as_of: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// The top contributor, which grew most or is the largest, then the largest others; at most [`MAX_CONTRIBUTORS`].
    pub top: Vec<Contributor>,
    /// Expected at the period's end; `None` while there is no forecast.
    pub forecast: Option<Usd>,
    /// Both sides of a gap; `None` for every other watch, and where they are not known.
    pub reconciled: Option<Reconciled>,
    /// Of a key of somebody who is no more in the organization: who that was. `None` also where people are hidden.
    pub maker: Option<String>,
}

impl Fact {
    /// Whether the alert still fires, but below the notifier's minimum severity. For receivers that hold state it is resolved.
    pub fn is_below_minimum(&self) -> bool {
        self.reason == Reason::Resolved && self.ended_by.is_none()
    }

    /// Returns the reason that receivers are told: `lowered` below the notifier's minimum severity.
    pub fn public_reason(&self) -> Reason {
        if self.is_below_minimum() {
            Reason::Lowered
        } else {
            self.reason
        }
    }

    /// What happened, and when that was, began or will be; of a rule on events alone.
    pub fn event(&self) -> Option<(Event, Option<Timestamp>)> {
        let event = self.identity.slot.event?;
        Some((event, event.moment(self.span)))
    }
}

/// How many contributors a message names.
pub const MAX_CONTRIBUTORS: usize = 5;

/// One message about one or more alerts to one notifier, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub notifier: NotifierName,
    /// At least one, each of another alert, worst first.
    pub facts: Vec<Fact>,
}

/// Folds facts that wait for the same notifier and of which none had an attempt yet, in the order of their decision, into
/// one message: the newest state of each alert replaces its older ones. An alert that fired and was resolved meanwhile
/// becomes one line that says both.
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

/// How many messages, from the first on, may be folded so that nothing is lost and nothing is said twice: at least one.
///
/// A threshold speaks only once. So one that was crossed upwards and is left again is told before, and so is an end before
/// the alert fires anew; unless all of it is over by then.
pub fn n_foldable(messages: &[Vec<Fact>]) -> usize {
    let mut by_alert: BTreeMap<String, Folding> = BTreeMap::new();
    let mut n_foldable = 1;
    for (place, facts) in messages.iter().enumerate() {
        for fact in facts {
            let folding = by_alert.entry(fact.identity.fingerprint()).or_default();
            folding.take(fact.reason);
        }
        if by_alert.values().all(|folding| !folding.hides) {
            n_foldable = place + 1;
        }
    }
    n_foldable
}

/// What messages that are folded say of one alert so far.
#[derive(Debug, Default)]
struct Folding {
    /// It fires, and before them it did not.
    is_new: bool,
    /// A threshold was crossed upwards.
    is_raised: bool,
    /// It was over, and before them it was not.
    is_over: bool,
    /// The newest hides what has to be told.
    hides: bool,
}

impl Folding {
    fn take(&mut self, reason: Reason) {
        match reason {
            Reason::First => {
                self.hides |= self.is_over;
                self.is_new |= !self.is_over;
                self.is_raised = true;
            }
            Reason::Escalated | Reason::Unsilenced => self.is_raised = true,
            Reason::Lowered => self.hides |= self.is_raised,
            Reason::Repeated => {}
            Reason::Resolved => {
                *self = Folding {
                    is_over: !self.is_new,
                    ..Folding::default()
                };
            }
        }
    }
}

/// The newer fact, told as if the older one had not been decided: what was never said cannot be escalated.
fn fold_pair(older: &Fact, newer: Fact) -> Fact {
    let is_first = older.reason == Reason::First;
    let is_resolved = newer.reason == Reason::Resolved;
    let reason = if is_first && !is_resolved {
        Reason::First
    } else {
        newer.reason
    };
    // After a silence, the receiver may never have heard of it.
    let is_news = is_first || older.reason == Reason::Unsilenced;
    let is_fired_and_resolved = is_resolved && (is_news || older.is_fired_and_resolved);
    Fact {
        reason,
        is_fired_and_resolved,
        ..newer
    }
}

/// Firing before resolved, then by severity, then by how much; the same facts always in the same order.
pub fn sort_worst_first(facts: &mut [Fact]) {
    facts.sort_by(|a, b| {
        let rank = |fact: &Fact| (fact.reason != Reason::Resolved, fact.line.severity);
        let name = |fact: &Fact| (fact.subject_name.clone(), fact.identity.slot.rule.clone());
        rank(b)
            .cmp(&rank(a))
            .then(b.value.cmp(&a.value))
            .then_with(|| name(a).cmp(&name(b)))
            .then_with(|| a.identity.slot.cmp(&b.identity.slot))
    });
}
