//! Views with the texts that the templates show. The templates escape them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::app::published::OrganizationStatus;
use crate::table::alerts::{quantity_text, state_name};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert, EndedBy, State};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::silence::{Acknowledgement, Silence, SilenceState};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_notify::wording::{events, formatting, headline, resolution};
use spendwatch_store::alerts::{AlertChange, AlertPhase};
use spendwatch_store::overview::{DisplayedAlert, Overview, WorstAlerts};

const MAX_SILENCES: usize = 50;
const MAX_CHANGES: usize = 200;
/// Maximum characters of user-provided text.
const MAX_TEXT: usize = 1000;

/// View of `/`.
#[derive(Debug, Serialize)]
pub struct OverviewView {
    title: String,
    now: DisplayTime,
    firing: AlertTable,
    pending: AlertTable,
    ended: Vec<PageAlert>,
    silences: Vec<SilenceView>,
    n_more_silences: usize,
    organizations: Vec<OrganizationView>,
}

/// The worst of many alerts.
#[derive(Debug, Serialize)]
struct AlertTable {
    rows: Vec<PageAlert>,
    n: usize,
    n_more: usize,
    /// For example `3 critical, 2 warning`.
    by_severity: String,
}

#[derive(Debug, Serialize)]
struct PageAlert {
    fingerprint: String,
    severity: &'static str,
    state: &'static str,
    is_silenced: bool,
    subject: String,
    rule: String,
    organization: String,
    period: Option<String>,
    value: Option<Amount>,
    limit: Option<Amount>,
    share: Option<String>,
    threshold: String,
    since: Option<DisplayTime>,
    ended_at: Option<DisplayTime>,
    ending: Option<String>,
    acknowledgement: Option<AcknowledgementView>,
}

/// Value as in messages, and exact.
#[derive(Debug, Serialize)]
struct Amount {
    text: String,
    exact: String,
}

/// Time to the minute, exact time, and time elapsed.
#[derive(Debug, Serialize)]
struct DisplayTime {
    text: String,
    exact: String,
    ago: Option<String>,
}

#[derive(Debug, Serialize)]
struct AcknowledgementView {
    at: DisplayTime,
    author: String,
    comment: String,
    threshold: String,
    effect: &'static str,
    is_in_force: bool,
}

#[derive(Debug, Serialize)]
struct SilenceView {
    id: String,
    is_active: bool,
    problem: Option<String>,
    matchers: String,
    author: String,
    comment: String,
    start: DisplayTime,
    end: DisplayTime,
}

#[derive(Debug, Serialize)]
struct OrganizationView {
    name: String,
    state: &'static str,
    last_cycle: Option<DisplayTime>,
    reason: Option<String>,
    n_more_reasons: usize,
}

/// View of `/alerts/{fingerprint}`.
#[derive(Debug, Serialize)]
pub struct AlertView {
    title: String,
    alert: PageAlert,
    summary: String,
    subject_id: String,
    changed_at: DisplayTime,
    is_firing: bool,
    notifiers: Vec<NotifierView>,
    changes: Vec<ChangeView>,
    n_more_changes: usize,
    form: AckForm,
}

/// Messages of one notifier.
#[derive(Debug, Serialize)]
struct NotifierView {
    name: String,
    shown: String,
    last: Option<(DisplayTime, &'static str)>,
}

#[derive(Debug, Serialize)]
struct ChangeView {
    at: DisplayTime,
    state: &'static str,
    severity: &'static str,
    threshold: String,
    value: Option<Amount>,
    limit: Option<Amount>,
    ending: Option<String>,
    notified: Vec<String>,
}

/// Values of the acknowledgement form, and the problem with them.
#[derive(Debug, Serialize, Default)]
pub struct AckForm {
    pub author: String,
    pub comment: String,
    /// Empty if there is none.
    pub problem: String,
}

/// View of an error page.
#[derive(Debug, Serialize)]
pub struct ProblemView {
    title: String,
    problem: String,
}

impl ProblemView {
    /// Creates the view of a problem.
    pub fn new(problem: &str) -> ProblemView {
        ProblemView {
            title: "Error".to_owned(),
            problem: text(&formatting::capitalize(problem)),
        }
    }
}

impl OverviewView {
    /// Creates the overview at `now`.
    pub fn new(
        overview: &Overview,
        organizations: &BTreeMap<OrganizationName, OrganizationStatus>,
        now: Timestamp,
    ) -> OverviewView {
        let firing = AlertTable::new(&overview.firing, now);
        let title = match firing.n {
            0 => "spendwatch: no alerts firing".to_owned(),
            1 => "spendwatch: 1 alert firing".to_owned(),
            n => format!("spendwatch: {n} alerts firing"),
        };
        let silences = overview.silences.iter().take(MAX_SILENCES);
        let organizations = organizations.iter();
        OverviewView {
            title,
            now: DisplayTime::new(now, None),
            firing,
            pending: AlertTable::new(&overview.pending, now),
            ended: rows(&overview.ended, now),
            silences: silences.map(|one| SilenceView::new(one, now)).collect(),
            n_more_silences: overview.silences.len().saturating_sub(MAX_SILENCES),
            organizations: organizations
                .map(|(name, status)| OrganizationView::new(name, status, now))
                .collect(),
        }
    }
}

impl AlertTable {
    fn new(worst: &WorstAlerts, now: Timestamp) -> AlertTable {
        let n = worst.n_by_severity.values().sum();
        let by_severity = Severity::ALL.into_iter().rev().filter_map(|severity| {
            let n = worst.n_by_severity.get(&severity)?;
            Some(format!("{n} {severity}"))
        });
        AlertTable {
            rows: rows(&worst.first, now),
            n,
            n_more: n - worst.first.len(),
            by_severity: by_severity.collect::<Vec<_>>().join(", "),
        }
    }
}

fn rows(shown: &[DisplayedAlert], now: Timestamp) -> Vec<PageAlert> {
    shown
        .iter()
        .map(|shown| PageAlert::new(shown, now))
        .collect()
}

impl PageAlert {
    fn new(shown: &DisplayedAlert, now: Timestamp) -> PageAlert {
        let alert = &shown.row.alert;
        let fact = fact(shown);
        let share = alert
            .limit
            .and_then(|limit| formatting::share(limit, alert.value));
        PageAlert {
            fingerprint: shown.row.fingerprint.clone(),
            severity: alert.threshold().severity.as_str(),
            state: state_name(AlertPhase::from_alert(alert)),
            is_silenced: alert.is_silenced,
            subject: formatting::capitalize(&events::topic(&fact)),
            rule: formatting::clean(alert.identity.slot.rule.as_str()),
            organization: formatting::clean(alert.identity.organization.as_str()),
            period: formatting::period(&fact),
            value: amount(alert.watch, alert.value),
            limit: alert.limit.and_then(|limit| amount(alert.watch, limit)),
            share,
            threshold: formatting::clean(&alert.threshold().text),
            since: alert.firing_since.map(|at| DisplayTime::new(at, Some(now))),
            ended_at: fact.ended_at.map(|at| DisplayTime::new(at, Some(now))),
            ending: fact
                .ended_by
                .map(|_| formatting::capitalize(&resolution::end_reason(&fact))),
            acknowledgement: shown
                .acknowledged
                .as_ref()
                .map(|by| AcknowledgementView::new(by, alert, now)),
        }
    }
}

impl AcknowledgementView {
    fn new(by: &Acknowledgement, alert: &Alert, now: Timestamp) -> AcknowledgementView {
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
        AcknowledgementView {
            at: DisplayTime::new(by.at, Some(now)),
            author: text(&by.author),
            comment: text(&by.comment),
            threshold: formatting::clean(&then.text),
            effect,
            is_in_force,
        }
    }
}

impl SilenceView {
    fn new(silence: &Silence, now: Timestamp) -> SilenceView {
        let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
        SilenceView {
            id: silence.id.clone(),
            is_active: silence.state(now) == SilenceState::Active,
            problem: silence.problem().map(text),
            matchers: text(&matchers.join(", ")),
            author: text(&silence.author),
            comment: text(&silence.comment),
            start: DisplayTime::new(silence.span.start, None),
            end: DisplayTime::new(silence.span.end, None),
        }
    }
}

impl OrganizationView {
    fn new(
        name: &OrganizationName,
        status: &OrganizationStatus,
        now: Timestamp,
    ) -> OrganizationView {
        let outcome = status.last_cycle;
        OrganizationView {
            name: formatting::clean(name.as_str()),
            state: outcome.map_or("starting", |(outcome, _)| outcome.as_str()),
            last_cycle: outcome.map(|(_, at)| DisplayTime::new(at, Some(now))),
            reason: status.reasons.first().map(|reason| text(reason)),
            n_more_reasons: status.reasons.len().saturating_sub(1),
        }
    }
}

impl AlertView {
    /// Creates the view of an alert. Without form values the form is empty.
    pub fn new(
        shown: &DisplayedAlert,
        changes: &[AlertChange],
        form: Option<AckForm>,
        now: Timestamp,
    ) -> AlertView {
        let alert = &shown.row.alert;
        let fact = fact(shown);
        let notifiers = alert.notified.iter().map(|(name, state)| {
            let last = changes.iter().rev().find_map(|change| {
                let (_, reason) = change
                    .notified
                    .iter()
                    .find(|(notified, _)| notified == name)?;
                Some((DisplayTime::new(change.at, Some(now)), reason.as_str()))
            });
            NotifierView::new(name, state.shown.as_ref(), last)
        });
        let newest = changes.iter().rev().take(MAX_CHANGES);
        let row = PageAlert::new(shown, now);
        let has_ended = fact.reason == Reason::Resolved;
        AlertView {
            title: format!("{}: {}", row.subject, row.rule),
            summary: headline::summary(&fact),
            subject_id: text(&alert.identity.slot.subject.id),
            changed_at: DisplayTime::new(shown.row.changed_at, Some(now)),
            is_firing: alert.is_firing() && !has_ended,
            notifiers: notifiers.collect(),
            changes: newest
                .map(|change| ChangeView::new(shown, change))
                .collect(),
            n_more_changes: changes.len().saturating_sub(MAX_CHANGES),
            form: form.unwrap_or_default(),
            alert: row,
        }
    }
}

impl NotifierView {
    fn new(
        name: &NotifierName,
        shown: Option<&AbsoluteThreshold>,
        last: Option<(DisplayTime, &'static str)>,
    ) -> NotifierView {
        NotifierView {
            name: formatting::clean(name.as_str()),
            shown: shown.map_or("not firing".to_owned(), |threshold| {
                format!(
                    "{} ({})",
                    formatting::clean(&threshold.text),
                    threshold.severity
                )
            }),
            last,
        }
    }
}

impl ChangeView {
    fn new(shown: &DisplayedAlert, change: &AlertChange) -> ChangeView {
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
        ChangeView {
            at: DisplayTime::with_seconds(change.at),
            state: state_name(change.phase),
            severity: change.line.severity.as_str(),
            threshold: formatting::clean(&change.line.text),
            value: amount(watch, change.value),
            limit: change.limit.and_then(|limit| amount(watch, limit)),
            ending,
            notified: notified
                .map(|(name, reason)| format!("{}: {reason}", formatting::clean(name.as_str())))
                .collect(),
        }
    }
}

impl DisplayTime {
    /// With `now`, includes the time elapsed.
    fn new(at: Timestamp, now: Option<Timestamp>) -> DisplayTime {
        DisplayTime {
            text: formatting::time(at, "UTC"),
            exact: at.to_string(),
            ago: now.map(|now| formatting::duration(now.duration_since(at))),
        }
    }

    /// Shows seconds, because several changes may happen within a minute.
    fn with_seconds(at: Timestamp) -> DisplayTime {
        DisplayTime {
            text: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ..DisplayTime::new(at, None)
        }
    }
}

/// Returns `None` if the watch has no quantity.
fn amount(watch: Watch, quantity: Quantity) -> Option<Amount> {
    Some(Amount {
        exact: quantity_text(watch, quantity)?,
        text: formatting::quantity(watch.unit(), quantity),
    })
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
    let alert = &shown.row.alert;
    let ended: Option<(EndedBy, Timestamp)> = match &alert.state {
        State::Pending { .. } | State::Firing { .. } => None,
        State::Ended { by, at, .. } => Some((*by, *at)),
    };
    Fact {
        identity: alert.identity.clone(),
        sequence: alert.sequence,
        reason: ended.map_or(Reason::First, |_| Reason::Resolved),
        ended_by: ended.map(|(by, _)| by),
        in_place_of: None,
        creator: None,
        is_late: alert.is_late,
        is_fired_and_resolved: false,
        subject_name: shown.subject_name.clone(),
        watch: alert.watch,
        span: alert.span,
        zone_name: "UTC".to_owned(),
        value: alert.value,
        is_lower_bound: false,
        limit: alert.limit,
        threshold: alert.threshold().clone(),
        firing_since: alert.firing_since.unwrap_or(alert.identity.started_at),
        ended_at: ended.map(|(_, at)| at),
        decided_at: shown.row.changed_at,
        as_of: Some(shown.row.changed_at),
        labels: BTreeMap::new(),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
    }
}
