//! Alerts, their history and their acknowledgement in rows: as `alerts list` and `alerts show` print them and as
//! `/api/v1/alerts` answers.

use serde_json::{Value, json};

use crate::domain::alert::{EndedBy, State};
use crate::domain::event::Event;
use crate::domain::money::{Usd, percent_digits, share_percent};
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::{Gap, Quantity, Watch};
use crate::domain::silence::Acknowledgement;
use crate::notify::envelope::{Envelope, Links};
use crate::notify::message::{self, Body, Message};
use crate::sheet::{Cell, Column, Sheet, hidden, id, shown};
use crate::store::alerts::{AlertChange, Phase};
use crate::store::messages::MessageRow;
use crate::store::overview::Shown;

/// One row for each alert.
pub fn list(alerts: &[Shown]) -> Sheet {
    Sheet {
        columns: columns(alerts),
        rows: alerts.iter().map(row).collect(),
    }
}

/// What the newest message says of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage<'a> {
    sent: &'a MessageRow,
    reason: Reason,
    message: Message,
}

impl LastMessage<'_> {
    /// Puts it into words again; `None` if the message says nothing of this alert.
    pub fn new<'a>(sent: &'a MessageRow, fingerprint: &str) -> Option<LastMessage<'a>> {
        let is_of_it = |fact: &&Fact| fact.identity.fingerprint() == fingerprint;
        let fact = sent.facts.iter().find(is_of_it)?;
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

    /// As lines of plain text: the headline first, then the summary, the figures, the contributors and the advice.
    pub fn text(&self) -> String {
        message::plain_text(&self.message).trim_end().to_owned()
    }

    /// When and to whom it went, and what became of it.
    pub fn heading(&self) -> Sheet {
        let sent = self.sent;
        let row = vec![
            Cell::Text(sent.id.clone()),
            Cell::Text(sent.notifier.to_string()),
            Cell::Text(sent.state.as_str().to_owned()),
            Cell::Text(self.reason.as_str().to_owned()),
            Cell::Time(sent.created_at),
        ];
        Sheet {
            columns: MESSAGE.to_vec(),
            rows: vec![row],
        }
    }

    fn as_json(&self) -> Value {
        let (figures, top, advice) = match &self.message.body {
            Body::One(detail) => (&*detail.figures, &*detail.top, &*detail.advice),
            Body::Many(roundup) => (&[][..], &[][..], &*roundup.advice),
        };
        let figures = figures
            .iter()
            .map(|figure| json!({ "name": figure.name, "value": figure.value }));
        let advice = advice
            .iter()
            .map(|advice| json!({ "text": advice.text, "link": advice.link }));
        let mut told = row_as_json(&self.heading());
        told["recipient"] = self.sent.recipient.as_deref().into();
        told["title"] = Value::from(&*self.message.title);
        told["summary"] = Value::from(&*self.message.summary);
        told["figures"] = figures.collect();
        told["contributors"] = top.iter().map(|line| Value::from(&**line)).collect();
        told["advice"] = advice.collect();
        told["text"] = Value::from(self.text());
        told
    }
}

/// One row for each change of an alert.
pub fn history(watch: Watch, changes: &[AlertChange]) -> Sheet {
    let changes = changes.iter();
    Sheet {
        columns: CHANGES.to_vec(),
        rows: changes.map(|change| change_row(watch, change)).collect(),
    }
}

/// One row: by whom an alert is taken up.
pub fn acknowledgement(by: &Acknowledgement) -> Sheet {
    let row = vec![
        Cell::Time(by.at),
        Cell::Text(by.line.text.to_string()),
        Cell::Text(by.author.clone()),
        Cell::Text(by.comment.clone()),
    ];
    Sheet {
        columns: TAKEN_UP.to_vec(),
        rows: vec![row],
    }
}

/// One alert with its `changes`, by whom it is `acknowledged`, and what the last `message` said of it.
pub fn whole(shown: &Shown, changes: &[AlertChange], message: Option<&LastMessage<'_>>) -> Value {
    let by = shown.acknowledged.as_ref();
    let mut told = row_as_json(&list(std::slice::from_ref(shown)));
    told["changes"] = history(shown.row.alert.watch, changes).as_json();
    told["acknowledged"] = by.map_or(Value::Null, |by| row_as_json(&acknowledgement(by)));
    told["message"] = message.map_or(Value::Null, LastMessage::as_json);
    told
}

/// The one row of a sheet.
pub fn row_as_json(sheet: &Sheet) -> Value {
    sheet.as_json()[0].take()
}

const TAKEN_UP: [Column; 4] = [
    shown("at", "TAKEN UP"),
    shown("threshold", "THRESHOLD"),
    shown("author", "AUTHOR"),
    shown("comment", "COMMENT"),
];

const MESSAGE: [Column; 5] = [
    id("id", "MESSAGE"),
    shown("notifier", "NOTIFIER"),
    shown("state", "STATE"),
    shown("reason", "REASON"),
    shown("created_at", "DECIDED"),
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

/// A table says the organization only where there are several, and the event only where there is one.
fn columns(alerts: &[Shown]) -> Vec<Column> {
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

fn row(shown: &Shown) -> Vec<Cell> {
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
        Cell::Text(state_word(Phase::of(alert)).to_owned()),
        Cell::Text(alert.line().severity.to_string()),
        Cell::Text(alert.identity.organization.to_string()),
        Cell::Text(slot.rule.to_string()),
        Cell::Text(slot.subject.kind.to_string()),
        Cell::Text(slot.subject.id.to_string()),
        Cell::Text(shown.subject_name.clone()),
        Cell::text_or_empty(slot.period.as_deref()),
        Cell::Text(alert.watch.as_str().to_owned()),
        figure(alert.watch, alert.value),
        alert
            .limit
            .map_or(Cell::Empty, |limit| figure(alert.watch, limit)),
        used.map_or(Cell::Empty, Cell::Decimal),
        Cell::Text(alert.line().text.to_string()),
        Cell::time_or_empty(alert.firing_since),
        Cell::time_or_empty(ended_at),
        Cell::text_or_empty(ended_by.map(EndedBy::as_str)),
        Cell::Time(row.changed_at),
        Cell::Count(i128::from(alert.sequence)),
        Cell::text_or_empty(slot.event.map(Event::as_str)),
    ]
}

const CHANGES: [Column; 10] = [
    shown("at", "AT"),
    hidden("sequence"),
    shown("state", "STATE"),
    shown("ended_by", "ENDED BY"),
    shown("severity", "SEVERITY"),
    shown("threshold", "THRESHOLD"),
    shown("value", "VALUE"),
    hidden("limit"),
    shown("told", "TOLD"),
    hidden("watch"),
];

fn change_row(watch: Watch, change: &AlertChange) -> Vec<Cell> {
    let told = change.told.iter();
    vec![
        Cell::Time(change.at),
        Cell::Count(i128::from(change.sequence)),
        Cell::Text(state_word(change.phase).to_owned()),
        Cell::text_or_empty(change.ended_by.map(EndedBy::as_str)),
        Cell::Text(change.line.severity.to_string()),
        Cell::Text(change.line.text.to_string()),
        figure(watch, change.value),
        change
            .limit
            .map_or(Cell::Empty, |limit| figure(watch, limit)),
        Cell::List(
            told.map(|(notifier, reason)| format!("{notifier}: {reason}"))
                .collect(),
        ),
        Cell::Text(watch.as_str().to_owned()),
    ]
}

/// As `--state` has it.
pub fn state_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Firing => "firing",
        Phase::Resolved => "ended",
    }
}

/// The phase of such a word, or of the one that metrics have.
pub fn parse_state(word: &str) -> Option<Phase> {
    let is_of = |phase: &Phase| state_word(*phase) == word;
    let found = Phase::ALL.into_iter().find(is_of);
    found.or_else(|| Phase::parse(word))
}

/// In USD, tokens, requests, seconds or percent.
pub fn figure(watch: Watch, quantity: Quantity) -> Cell {
    match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(Gap::Usd) => {
            Cell::Money(Usd::from_pico(quantity))
        }
        Watch::Reconciliation(Gap::Percent) => Cell::Decimal(percent_digits(quantity)),
        Watch::Tokens | Watch::Requests | Watch::DataAge => Cell::Count(quantity),
        // An event stands or does not.
        Watch::Lifecycle => Cell::Empty,
    }
}

/// The same in its unit, as a text; `None` where nothing is measured.
pub fn exact(watch: Watch, quantity: Quantity) -> Option<String> {
    match figure(watch, quantity) {
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
