//! Tables of alerts, their history and acknowledgement, as in `alerts list`, `alerts show` and `/api/v1/alerts`.

use serde_json::{Value, json};

use crate::table::{Cell, Column, OutputTable, hidden, id, shown};
use spendwatch_domain::alerts::alert::{EndedBy, State};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::silence::Acknowledgement;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::{Quantity, Unit, Watch};
use spendwatch_domain::units::money::{Usd, share_percent};
use spendwatch_notify::envelope::{Envelope, Links};
use spendwatch_notify::wording::message::{self, Message, MessageBody};
use spendwatch_store::alerts::{AlertChange, AlertPhase};
use spendwatch_store::messages::MessageRow;
use spendwatch_store::overview::DisplayedAlert;

/// Returns one row per alert.
pub fn list(alerts: &[DisplayedAlert]) -> OutputTable {
    OutputTable {
        columns: columns(alerts),
        rows: alerts.iter().map(row).collect(),
    }
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
        let sent = self.sent;
        let row = vec![
            Cell::Text(sent.id.clone()),
            Cell::Text(sent.notifier.to_string()),
            Cell::Text(sent.state.as_str().to_owned()),
            Cell::Text(self.reason.as_str().to_owned()),
            Cell::Time(sent.created_at),
        ];
        OutputTable {
            columns: MESSAGE.to_vec(),
            rows: vec![row],
        }
    }

    fn as_json(&self) -> Value {
        let (figures, top, advice) = match &self.message.body {
            MessageBody::One(detail) => (&*detail.fields, &*detail.top, &*detail.advice),
            MessageBody::Many(list) => (&[][..], &[][..], &*list.advice),
        };
        let figures = figures
            .iter()
            .map(|figure| json!({ "name": figure.name, "value": figure.value }));
        let advice = advice
            .iter()
            .map(|advice| json!({ "text": advice.text, "link": advice.link }));
        let mut json = row_as_json(&self.heading());
        json["recipient"] = self.sent.recipient.as_deref().into();
        json["title"] = Value::from(&*self.message.title);
        json["summary"] = Value::from(&*self.message.summary);
        json["figures"] = figures.collect();
        json["contributors"] = top.iter().map(|line| Value::from(&**line)).collect();
        json["advice"] = advice.collect();
        json["text"] = Value::from(self.text());
        json
    }
}

/// Returns one row per change of an alert.
pub fn history(watch: Watch, changes: &[AlertChange]) -> OutputTable {
    let changes = changes.iter();
    OutputTable {
        columns: CHANGES.to_vec(),
        rows: changes.map(|change| change_row(watch, change)).collect(),
    }
}

/// Returns one row with the acknowledgement of an alert.
pub fn acknowledgement(by: &Acknowledgement) -> OutputTable {
    let row = vec![
        Cell::Time(by.at),
        Cell::Text(by.threshold.text.to_string()),
        Cell::Text(by.author.clone()),
        Cell::Text(by.comment.clone()),
    ];
    OutputTable {
        columns: ACKNOWLEDGEMENT.to_vec(),
        rows: vec![row],
    }
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

const ACKNOWLEDGEMENT: [Column; 4] = [
    shown("at", "ACKNOWLEDGED"),
    shown("threshold", "THRESHOLD"),
    shown("author", "ACKNOWLEDGED BY"),
    shown("comment", "COMMENT"),
];

const MESSAGE: [Column; 5] = [
    id("id", "MESSAGE"),
    shown("notifier", "NOTIFIER"),
    shown("state", "STATE"),
    shown("reason", "REASON"),
    shown("created_at", "CREATED"),
];

const COLUMNS: [Column; 20] = [
    id("id", "ID"),
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
    shown("limit", "LIMIT"),
    shown("used_percent", "USED %"),
    hidden("threshold"),
    hidden("firing_since"),
    hidden("ended_at"),
    hidden("ended_by"),
    hidden("changed_at"),
    hidden("sequence"),
    hidden("event"),
];

/// Shows the organization only if there are several, and the event only if there is one.
fn columns(alerts: &[DisplayedAlert]) -> Vec<Column> {
    let mut columns = COLUMNS.to_vec();
    let identities = || alerts.iter().map(|shown| &shown.row.alert.identity);
    let first = identities().next().map(|identity| &identity.organization);
    if identities().any(|identity| Some(&identity.organization) != first) {
        columns[3] = shown("organization", "ORGANIZATION");
    }
    if identities().any(|identity| identity.slot.event.is_some()) {
        columns[19] = shown("event", "EVENT");
    }
    columns
}

fn row(shown: &DisplayedAlert) -> Vec<Cell> {
    let row = &shown.row;
    let alert = &row.alert;
    let slot = &alert.identity.slot;
    let used = alert
        .limit
        .filter(|_| slot.event.is_none())
        .and_then(|limit| share_percent(limit, alert.value));
    let (ended_at, ended_by) = match &alert.state {
        State::Ended { at, by, .. } => (Some(*at), Some(*by)),
        State::Pending { .. } | State::Firing { .. } => (None, None),
    };
    vec![
        Cell::Text(row.fingerprint.clone()),
        Cell::Text(state_name(AlertPhase::from_alert(alert)).to_owned()),
        Cell::Text(alert.threshold().severity.to_string()),
        Cell::Text(alert.identity.organization.to_string()),
        Cell::Text(slot.rule.to_string()),
        Cell::Text(slot.subject.kind.to_string()),
        Cell::Text(slot.subject.id.to_string()),
        Cell::Text(shown.subject_name.clone()),
        Cell::text_or_empty(slot.period.as_deref()),
        Cell::Text(alert.watch.as_str().to_owned()),
        quantity_cell(alert.watch, alert.value),
        alert
            .limit
            .map_or(Cell::Empty, |limit| quantity_cell(alert.watch, limit)),
        used.map_or(Cell::Empty, Cell::Decimal),
        Cell::Text(alert.threshold().text.to_string()),
        Cell::time_or_empty(alert.firing_since),
        Cell::time_or_empty(ended_at),
        Cell::text_or_empty(ended_by.map(EndedBy::as_str)),
        Cell::Time(row.changed_at),
        Cell::Count(i128::from(alert.sequence)),
        Cell::text_or_empty(slot.event.map(Event::as_str)),
    ]
}

const CHANGES: [Column; 10] = [
    shown("at", "TIME"),
    hidden("sequence"),
    shown("state", "STATE"),
    shown("ended_by", "ENDED BY"),
    shown("severity", "SEVERITY"),
    shown("threshold", "THRESHOLD"),
    shown("value", "VALUE"),
    hidden("limit"),
    shown("told", "NOTIFIED"),
    hidden("watch"),
];

fn change_row(watch: Watch, change: &AlertChange) -> Vec<Cell> {
    let notified = change.notified.iter();
    vec![
        Cell::Time(change.at),
        Cell::Count(i128::from(change.sequence)),
        Cell::Text(state_name(change.phase).to_owned()),
        Cell::text_or_empty(change.ended_by.map(EndedBy::as_str)),
        Cell::Text(change.line.severity.to_string()),
        Cell::Text(change.line.text.to_string()),
        quantity_cell(watch, change.value),
        change
            .limit
            .map_or(Cell::Empty, |limit| quantity_cell(watch, limit)),
        Cell::List(
            notified
                .map(|(notifier, reason)| format!("{notifier}: {reason}"))
                .collect(),
        ),
        Cell::Text(watch.as_str().to_owned()),
    ]
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
