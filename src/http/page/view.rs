//! Views with the texts that the templates show. The templates escape them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::published::OrganizationStatus;
use crate::table::alerts::{quantity_text, state_name};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::silence::{Acknowledgement, Silence, SilenceState};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_notify::wording::{events, formatting, headline, periods, resolution};
use spendwatch_store::alerts::overview::{DisplayedAlert, Overview, WorstAlerts};
use spendwatch_store::alerts::{AlertChange, AlertPhase};

const MAX_SILENCES: usize = 50;
const MAX_CHANGES: usize = 200;
/// Maximum characters of user-provided text.
const MAX_TEXT: usize = 1000;

/// Values of the acknowledgement form, and the problem with them.
#[derive(Debug, Serialize, Default)]
pub struct AckForm {
    pub author: String,
    pub comment: String,
    /// Empty if there is none.
    pub problem: String,
}

/// Returns the view of an error page.
pub fn problem(problem: &str) -> Value {
    json!({ "title": "Error", "problem": text(&formatting::capitalize(problem)) })
}

pub fn overview(
    overview: &Overview,
    organizations: &BTreeMap<OrganizationName, OrganizationStatus>,
    now: Timestamp,
) -> Value {
    let title = match n_alerts(&overview.firing) {
        0 => "spendwatch: no alerts firing".to_owned(),
        1 => "spendwatch: 1 alert firing".to_owned(),
        n => format!("spendwatch: {n} alerts firing"),
    };
    let silences = overview.silences.iter().take(MAX_SILENCES);
    let organizations = organizations.iter();
    json!({
        "title": title,
        "now": time(now, None),
        "firing": alert_table(&overview.firing, now),
        "pending": alert_table(&overview.pending, now),
        "ended": rows(&overview.ended, now),
        "silences": silences.map(|one| silence(one, now)).collect::<Vec<_>>(),
        "n_more_silences": overview.silences.len().saturating_sub(MAX_SILENCES),
        "organizations": organizations
            .map(|(name, status)| organization(name, status, now))
            .collect::<Vec<_>>(),
    })
}

fn n_alerts(worst: &WorstAlerts) -> usize {
    worst.n_by_severity.values().sum()
}

/// Returns the worst of many alerts, with counts such as `3 critical, 2 warning`.
fn alert_table(worst: &WorstAlerts, now: Timestamp) -> Value {
    let n = n_alerts(worst);
    let by_severity = Severity::ALL.into_iter().rev().filter_map(|severity| {
        let n = worst.n_by_severity.get(&severity)?;
        Some(format!("{n} {severity}"))
    });
    json!({
        "rows": rows(&worst.first, now),
        "n": n,
        "n_more": n - worst.first.len(),
        "by_severity": by_severity.collect::<Vec<_>>().join(", "),
    })
}

fn rows(shown: &[DisplayedAlert], now: Timestamp) -> Vec<Value> {
    shown.iter().map(|shown| row(shown, now)).collect()
}

fn row(shown: &DisplayedAlert, now: Timestamp) -> Value {
    let alert = &shown.row.alert;
    let fact = fact(shown);
    let share = alert
        .limit
        .and_then(|limit| formatting::share(limit, alert.value));
    let ending = fact
        .ended_by
        .map(|_| formatting::capitalize(&resolution::end_reason(&fact)));
    let acknowledged = shown.acknowledged.as_ref();
    json!({
        "fingerprint": shown.row.fingerprint,
        "severity": alert.threshold().severity.as_str(),
        "state": state_name(AlertPhase::from_alert(alert)),
        "is_silenced": alert.is_silenced,
        "subject": subject(&fact),
        "rule": formatting::clean(alert.identity.slot.rule.as_str()),
        "organization": formatting::clean(alert.identity.organization.as_str()),
        "period": periods::period(&fact),
        "value": amount(alert.watch, alert.value),
        "limit": alert.limit.and_then(|limit| amount(alert.watch, limit)),
        "share": share,
        "threshold": formatting::clean(&alert.threshold().text),
        "since": alert.firing_since.map(|at| time(at, Some(now))),
        "ended_at": fact.ended_at.map(|at| time(at, Some(now))),
        "ending": ending,
        "acknowledgement": acknowledged.map(|by| acknowledgement(by, alert, now)),
    })
}

fn subject(fact: &Fact) -> String {
    formatting::capitalize(&events::topic(fact))
}

fn acknowledgement(by: &Acknowledgement, alert: &Alert, now: Timestamp) -> Value {
    let is_of_this_firing = alert.firing_since.is_some_and(|since| since <= by.at);
    let (now_at, then) = (alert.threshold(), &by.threshold);
    // Thresholds with the same text are the same even if a new limit changed their amount.
    let is_worse = now_at.text != then.text
        && (now_at.severity, now_at.quantity) > (then.severity, then.quantity);
    let (effect, is_in_force) = match (alert.is_firing(), is_of_this_firing, is_worse) {
        (false, _, _) => ("the alert is no longer firing", false),
        (true, false, _) => ("outdated, because the alert has fired again since", false),
        (true, true, true) => ("the alert got worse since, repeats are sent again", false),
        (true, true, false) => ("no repeats until the alert gets worse", true),
    };
    json!({
        "at": time(by.at, Some(now)),
        "author": text(&by.author),
        "comment": text(&by.comment),
        "threshold": formatting::clean(&then.text),
        "effect": effect,
        "is_in_force": is_in_force,
    })
}

fn silence(silence: &Silence, now: Timestamp) -> Value {
    let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
    json!({
        "id": silence.id,
        "is_active": silence.state(now) == SilenceState::Active,
        "problem": silence.problem().map(text),
        "matchers": text(&matchers.join(", ")),
        "author": text(&silence.author),
        "comment": text(&silence.comment),
        "start": time(silence.span.start, None),
        "end": time(silence.span.end, None),
    })
}

fn organization(name: &OrganizationName, status: &OrganizationStatus, now: Timestamp) -> Value {
    json!({
        "name": formatting::clean(name.as_str()),
        "state": status.state(),
        "last_cycle": status.last_cycle.map(|(_, at)| time(at, Some(now))),
        "reason": status.reasons.first().map(|reason| text(reason)),
        "n_more_reasons": status.reasons.len().saturating_sub(1),
    })
}

/// Returns the view of `/alerts/{fingerprint}`.
pub fn alert(
    shown: &DisplayedAlert,
    changes: &[AlertChange],
    form: &AckForm,
    now: Timestamp,
) -> Value {
    let alert = &shown.row.alert;
    let fact = fact(shown);
    let notifiers = alert.notified.iter();
    let newest = changes.iter().rev().take(MAX_CHANGES);
    let rule = formatting::clean(alert.identity.slot.rule.as_str());
    json!({
        "title": format!("{}: {rule}", subject(&fact)),
        "alert": row(shown, now),
        "summary": headline::summary(&fact),
        "subject_id": text(&alert.identity.slot.subject.id),
        "changed_at": time(shown.row.changed_at, Some(now)),
        "is_firing": alert.is_firing() && fact.reason != Reason::Resolved,
        "notifiers": notifiers
            .map(|(name, state)| notifier(name, state.shown.as_ref(), changes, now))
            .collect::<Vec<_>>(),
        "changes": newest.map(|change| change_view(shown, change)).collect::<Vec<_>>(),
        "n_more_changes": changes.len().saturating_sub(MAX_CHANGES),
        "form": form,
    })
}

/// Returns what a notifier was last sent about an alert.
fn notifier(
    name: &NotifierName,
    shown: Option<&AbsoluteThreshold>,
    changes: &[AlertChange],
    now: Timestamp,
) -> Value {
    let last = changes.iter().rev().find_map(|change| {
        let mut notified = change.notified.iter();
        let (_, reason) = notified.find(|(notified, _)| notified == name)?;
        Some((time(change.at, Some(now)), reason.as_str()))
    });
    let shown = shown.map_or("not firing".to_owned(), |threshold| {
        let text = formatting::clean(&threshold.text);
        format!("{text} ({})", threshold.severity)
    });
    json!({ "name": formatting::clean(name.as_str()), "shown": shown, "last": last })
}

fn change_view(shown: &DisplayedAlert, change: &AlertChange) -> Value {
    let watch = shown.row.alert.watch;
    let ending = change.ended_by.map(|by| {
        let then = Fact {
            ended_by: Some(by),
            threshold: change.line.clone(),
            limit: change.limit,
            ..fact(shown)
        };
        formatting::capitalize(&resolution::end_reason(&then))
    });
    let notified = change.notified.iter();
    // With seconds, because several changes may happen within a minute.
    let mut at = time(change.at, None);
    at["text"] = change
        .at
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
        .into();
    json!({
        "at": at,
        "state": state_name(change.phase),
        "severity": change.line.severity.as_str(),
        "threshold": formatting::clean(&change.line.text),
        "value": amount(watch, change.value),
        "limit": change.limit.and_then(|limit| amount(watch, limit)),
        "ending": ending,
        "notified": notified
            .map(|(name, reason)| format!("{}: {reason}", formatting::clean(name.as_str())))
            .collect::<Vec<_>>(),
    })
}

/// Returns a time to the minute, exactly, and with `now` the time elapsed.
fn time(at: Timestamp, now: Option<Timestamp>) -> Value {
    json!({
        "text": formatting::time(at, "UTC"),
        "exact": at.to_string(),
        "ago": now.map(|now| formatting::duration(now.duration_since(at))),
    })
}

/// Returns a value as in messages, and exact; `None` if the watch has no quantity.
fn amount(watch: Watch, quantity: Quantity) -> Option<Value> {
    let exact = quantity_text(watch, quantity)?;
    Some(json!({ "text": formatting::quantity(watch.unit(), quantity), "exact": exact }))
}

/// Returns user-provided text on one line, truncated.
fn text(untrusted: &str) -> String {
    let line = formatting::single_line(untrusted);
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns the content of a message about the alert, so that the page has the same texts. Times are in UTC, because the page
/// does not know the rule's zone.
fn fact(shown: &DisplayedAlert) -> Fact {
    Fact::of(&shown.row.alert, &shown.subject_name, shown.row.changed_at)
}
