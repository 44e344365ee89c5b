//! Alerts, their history and their acknowledgement in rows: as `alerts list` and `alerts show` print them and as
//! `/api/v1/alerts` answers.

use serde_json::Value;

use crate::domain::alert::{EndedBy, State};
use crate::domain::event::Event;
use crate::domain::money::{Usd, percent_digits};
use crate::domain::rule::{Gap, Quantity, Watch};
use crate::domain::silence::Acknowledgement;
use crate::sheet::{Cell, Column, Sheet, hidden, shown};
use crate::store::alerts::{AlertChange, AlertRow, Phase};

/// One row for each alert.
pub fn list(alerts: &[AlertRow]) -> Sheet {
    Sheet {
        columns: columns(alerts),
        rows: alerts.iter().map(row).collect(),
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

/// One alert with its `changes`, and by whom it is `acknowledged`.
pub fn whole(alert: &AlertRow, changes: &[AlertChange], by: Option<&Acknowledgement>) -> Value {
    let mut told = row_as_json(&list(std::slice::from_ref(alert)));
    told["changes"] = history(alert.alert.watch, changes).as_json();
    told["acknowledged"] = by.map_or(Value::Null, |by| row_as_json(&acknowledgement(by)));
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

const COLUMNS: [Column; 18] = [
    shown("id", "ID"),
    shown("state", "STATE"),
    shown("severity", "SEVERITY"),
    hidden("organization"),
    shown("rule", "RULE"),
    hidden("subject_kind"),
    shown("subject_id", "SUBJECT"),
    shown("period", "PERIOD"),
    hidden("watch"),
    shown("value", "VALUE"),
    hidden("limit"),
    hidden("threshold"),
    hidden("firing_since"),
    hidden("ended_at"),
    hidden("ended_by"),
    hidden("changed_at"),
    hidden("sequence"),
    hidden("event"),
];

/// A table says the event only where there is one.
fn columns(alerts: &[AlertRow]) -> Vec<Column> {
    let mut columns = COLUMNS.to_vec();
    let has_event = |row: &AlertRow| row.alert.identity.slot.event.is_some();
    if alerts.iter().any(has_event) {
        columns[17] = shown("event", "EVENT");
    }
    columns
}

fn row(row: &AlertRow) -> Vec<Cell> {
    let alert = &row.alert;
    let slot = &alert.identity.slot;
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
        Cell::text_or_empty(slot.period.as_deref()),
        Cell::Text(alert.watch.as_str().to_owned()),
        figure(alert.watch, alert.value),
        alert
            .limit
            .map_or(Cell::Empty, |limit| figure(alert.watch, limit)),
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
