//! Tables of alerts, their history and acknowledgement, as in `alerts list`, `alerts show` and `/api/v1/alerts`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::table::{Cell, OutputTable, TableBuilder, shown_if};
use spendwatch_domain::alerts::alert::{Alert, EndedBy, Slot, State};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::silence::Acknowledgement;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::{Quantity, Unit, Watch};
use spendwatch_domain::units::money::{Usd, share_percent};
use spendwatch_notify::envelope::{Envelope, Links};
use spendwatch_notify::wording::message::{self, Message};
use spendwatch_store::alerts::overview::DisplayedAlert;
use spendwatch_store::alerts::{AlertChange, AlertPhase};
use spendwatch_store::outbox::messages::MessageRow;

/// Returns one row per alert. Shows the organization only if there are several, and the event only if there is one.
pub fn list(alerts: &[DisplayedAlert]) -> OutputTable {
    let identities = || alerts.iter().map(|one| &one.row.alert.identity);
    let organizations: BTreeSet<_> = identities().map(|one| &one.organization).collect();
    let has_event = identities().any(|one| one.slot.event.is_some());
    let limit = |alert: &Alert| Some(quantity_cell(alert.watch, alert.limit?));
    let used = |alert: &Alert| {
        let is_event = alert.identity.slot.event.is_some();
        let limit = alert.limit.filter(|_| !is_event)?;
        share_percent(limit, alert.value).map(Cell::Decimal)
    };
    let ended = |alert: &Alert| match &alert.state {
        State::Ended { at, by, .. } => Some((*at, *by)),
        State::Pending { .. } | State::Firing { .. } => None,
    };
    TableBuilder::new(alerts)
        .id("id", "ID", |one| &one.row.fingerprint)
        .shown("state", "STATE", |one| {
            state_name(AlertPhase::from_alert(alert(one)))
        })
        .shown("severity", "SEVERITY", |one| {
            alert(one).threshold().severity.as_str()
        })
        .column(
            shown_if(organizations.len() > 1, "organization", "ORGANIZATION"),
            |one| alert(one).identity.organization.as_str(),
        )
        .shown("rule", "RULE", |one| slot(one).rule.as_str())
        .hidden("subject_kind", |one| slot(one).subject.kind.as_str())
        .hidden("subject_id", |one| slot(one).subject.id.to_string())
        .shown("subject", "SUBJECT", |one| &one.subject_name)
        .shown("period", "PERIOD", |one| slot(one).period.as_deref())
        .hidden("watch", |one| alert(one).watch.as_str())
        .shown("value", "VALUE", |one| {
            quantity_cell(alert(one).watch, alert(one).value)
        })
        .shown("limit", "LIMIT", |one| limit(alert(one)))
        .shown("used_percent", "USED %", |one| used(alert(one)))
        .hidden("threshold", |one| &*alert(one).threshold().text)
        .hidden("firing_since", |one| alert(one).firing_since)
        .hidden("ended_at", |one| ended(alert(one)).map(|(at, _)| at))
        .hidden("ended_by", |one| {
            ended(alert(one)).map(|(_, by)| by.as_str())
        })
        .hidden("changed_at", |one| one.row.changed_at)
        .hidden("sequence", |one| alert(one).sequence)
        .column(shown_if(has_event, "event", "EVENT"), |one| {
            slot(one).event.map(Event::as_str)
        })
        .build()
}

fn alert(shown: &DisplayedAlert) -> &Alert {
    &shown.row.alert
}

fn slot(shown: &DisplayedAlert) -> &Slot {
    &shown.row.alert.identity.slot
}

/// Newest message about an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage<'a> {
    sent: &'a MessageRow,
    reason: Reason,
    message: Message,
}

impl LastMessage<'_> {
    /// Renders the message again. Returns `None` if it is not about this alert.
    pub fn new<'a>(sent: &'a MessageRow, fingerprint: &str) -> Option<LastMessage<'a>> {
        let is_this_alert = |fact: &&Fact| fact.identity.fingerprint() == fingerprint;
        let fact = sent.facts.iter().find(is_this_alert)?;
        let envelope = Envelope {
            id: &sent.id,
            notifier: &sent.notifier,
            facts: std::slice::from_ref(fact),
            created_at: sent.created_at,
            now: sent.created_at,
            n_attempts: 0,
            is_replay: false,
            links: &Links::default(),
            recipient: sent.recipient.as_deref(),
            thread: None,
            n_posted: 0,
        };
        Some(LastMessage {
            sent,
            reason: fact.reason,
            message: message::render(&envelope, 1),
        })
    }

    /// Returns the message as plain text: title, summary, figures, contributors and advice.
    pub fn text(&self) -> String {
        message::plain_text(&self.message).trim_end().to_owned()
    }

    /// Returns one row with the message's notifier, state and time.
    pub fn heading(&self) -> OutputTable {
        TableBuilder::new(std::slice::from_ref(self.sent))
            .id("id", "MESSAGE", |sent| &sent.id)
            .shown("notifier", "NOTIFIER", |sent| sent.notifier.as_str())
            .shown("state", "STATE", |sent| sent.state.as_str())
            .shown("reason", "REASON", |_| self.reason.as_str())
            .shown("created_at", "CREATED", |sent| sent.created_at)
            .build()
    }

    fn as_json(&self) -> Value {
        let mut json = row_as_json(&self.heading());
        json["recipient"] = self.sent.recipient.as_deref().into();
        json["title"] = Value::from(&*self.message.title);
        json["summary"] = Value::from(&*self.message.summary);
        json["figures"] = json!(self.message.fields);
        json["contributors"] = json!(self.message.top);
        json["advice"] = json!(self.message.advice);
        json["text"] = Value::from(self.text());
        json
    }
}

/// Returns one row per change of an alert.
pub fn history(watch: Watch, changes: &[AlertChange]) -> OutputTable {
    let notified = |change: &AlertChange| -> Vec<String> {
        let notified = change.notified.iter();
        notified
            .map(|(notifier, reason)| format!("{notifier}: {reason}"))
            .collect()
    };
    TableBuilder::new(changes)
        .shown("at", "TIME", |change| change.at)
        .hidden("sequence", |change| change.sequence)
        .shown("state", "STATE", |change| state_name(change.phase))
        .shown("ended_by", "ENDED BY", |change| {
            change.ended_by.map(EndedBy::as_str)
        })
        .shown("severity", "SEVERITY", |change| {
            change.line.severity.as_str()
        })
        .shown("threshold", "THRESHOLD", |change| &*change.line.text)
        .shown("value", "VALUE", |change| {
            quantity_cell(watch, change.value)
        })
        .hidden("limit", |change| Some(quantity_cell(watch, change.limit?)))
        .shown("told", "NOTIFIED", notified)
        .hidden("watch", |_| watch.as_str())
        .build()
}

/// Returns one row with the acknowledgement of an alert.
pub fn acknowledgement(by: &Acknowledgement) -> OutputTable {
    TableBuilder::new(std::slice::from_ref(by))
        .shown("at", "ACKNOWLEDGED", |by| by.at)
        .shown("threshold", "THRESHOLD", |by| &*by.threshold.text)
        .shown("author", "ACKNOWLEDGED BY", |by| &by.author)
        .shown("comment", "COMMENT", |by| &by.comment)
        .build()
}

/// Returns an alert with its changes, acknowledgement and last message.
pub fn details(
    shown: &DisplayedAlert,
    changes: &[AlertChange],
    message: Option<&LastMessage<'_>>,
) -> Value {
    let by = shown.acknowledged.as_ref();
    let mut json = row_as_json(&list(std::slice::from_ref(shown)));
    json["changes"] = history(shown.row.alert.watch, changes).as_json();
    json["acknowledged"] = by.map_or(Value::Null, |by| row_as_json(&acknowledgement(by)));
    json["message"] = message.map_or(Value::Null, LastMessage::as_json);
    json
}

/// Returns the only row of a table.
pub fn row_as_json(table: &OutputTable) -> Value {
    table.as_json()[0].take()
}

/// Returns the value of `--state`.
pub fn state_name(phase: AlertPhase) -> &'static str {
    match phase {
        AlertPhase::Pending => "pending",
        AlertPhase::Firing => "firing",
        AlertPhase::Resolved => "ended",
    }
}

/// Parses a value of `--state`, or of the metrics' `state` label.
pub fn parse_state(state: &str) -> Option<AlertPhase> {
    let is_named = |phase: &AlertPhase| state_name(*phase) == state;
    let found = AlertPhase::ALL.into_iter().find(is_named);
    found.or_else(|| AlertPhase::parse(state))
}

/// Returns a quantity in USD, tokens, requests, seconds or percent.
pub fn quantity_cell(watch: Watch, quantity: Quantity) -> Cell {
    match watch.unit() {
        Unit::Usd => Cell::Money(Usd::from_pico(quantity)),
        Unit::Percent => Cell::Decimal(Unit::Percent.decimal(quantity)),
        Unit::Tokens | Unit::Requests | Unit::Seconds => Cell::Count(quantity),
        // Events have no quantity.
        Unit::Severity => Cell::Empty,
    }
}

/// Returns a quantity with its unit, or `None` if nothing is measured.
pub fn quantity_text(watch: Watch, quantity: Quantity) -> Option<String> {
    match quantity_cell(watch, quantity) {
        Cell::Money(usd) => Some(format!("{usd} USD")),
        Cell::Decimal(digits) => Some(format!("{digits} %")),
        Cell::Count(count) => Some(count.to_string()),
        Cell::Empty
        | Cell::Unknown
        | Cell::Text(_)
        | Cell::Prose(_)
        | Cell::Time(_)
        | Cell::List(_)
        | Cell::Flag(_) => None,
    }
}
