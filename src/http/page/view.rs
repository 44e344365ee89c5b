//! Alerts in words, as the templates set them: nothing is escaped here, and nothing is decided.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::app::board::Status;
use crate::domain::alert::{Alert, EndedBy, Line, State};
use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::{Quantity, Severity, Watch};
use crate::domain::silence::{Acknowledgement, Silence, SilenceState};
use crate::notify::{wording, formatting};
use crate::sheet::alerts::{exact, state_word};
use crate::store::alerts::{AlertChange, Phase};
use crate::store::overview::{Overview, Shown, Worst};

/// So many silences are shown.
const MAX_SILENCES: usize = 50;
/// So many changes of an alert are shown.
const MAX_CHANGES: usize = 200;
/// What people wrote is cut after so many characters.
const MAX_TEXT: usize = 1000;

/// `/`.
#[derive(Debug, Serialize)]
pub struct OverviewView {
    title: String,
    now: Moment,
    firing: Listed,
    pending: Listed,
    ended: Vec<Row>,
    silences: Vec<SilenceView>,
    n_more_silences: usize,
    organizations: Vec<OrganizationView>,
}

/// Of many the worst.
#[derive(Debug, Serialize)]
struct Listed {
    rows: Vec<Row>,
    n: usize,
    n_more: usize,
    /// `3 critical, 2 warning`.
    by_severity: String,
}

/// An alert in one line.
#[derive(Debug, Serialize)]
struct Row {
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
    since: Option<Moment>,
    ended_at: Option<Moment>,
    ending: Option<String>,
    taken_up: Option<TakenUp>,
}

/// A figure as messages tell it, and exactly.
#[derive(Debug, Serialize)]
struct Amount {
    text: String,
    exact: String,
}

/// A time to the minute, to the last digit, and how long ago.
#[derive(Debug, Serialize)]
struct Moment {
    text: String,
    exact: String,
    ago: Option<String>,
}

#[derive(Debug, Serialize)]
struct TakenUp {
    at: Moment,
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
    start: Moment,
    end: Moment,
}

#[derive(Debug, Serialize)]
struct OrganizationView {
    name: String,
    state: &'static str,
    last_cycle: Option<Moment>,
    reason: Option<String>,
    n_more_reasons: usize,
}

/// `/alerts/{fingerprint}`.
#[derive(Debug, Serialize)]
pub struct AlertView {
    title: String,
    alert: Row,
    summary: String,
    subject_id: String,
    changed_at: Moment,
    is_firing: bool,
    notifiers: Vec<NotifierView>,
    changes: Vec<ChangeView>,
    n_more_changes: usize,
    attempt: Attempt,
}

/// What one notifier was told.
#[derive(Debug, Serialize)]
struct NotifierView {
    name: String,
    showing: String,
    last: Option<(Moment, &'static str)>,
}

#[derive(Debug, Serialize)]
struct ChangeView {
    at: Moment,
    state: &'static str,
    severity: &'static str,
    threshold: String,
    value: Option<Amount>,
    limit: Option<Amount>,
    ending: Option<String>,
    told: Vec<String>,
}

/// What somebody typed into the form, and what was wrong with it.
#[derive(Debug, Serialize, Default)]
pub struct Attempt {
    pub author: String,
    pub comment: String,
    /// Empty before the first attempt.
    pub problem: String,
}

/// Why there is nothing to show.
#[derive(Debug, Serialize)]
pub struct ProblemView {
    title: String,
    problem: String,
}

impl ProblemView {
    /// One problem.
    pub fn new(problem: &str) -> ProblemView {
        ProblemView {
            title: "Nothing to show".to_owned(),
            problem: text(&formatting::capital(problem)),
        }
    }
}

impl OverviewView {
    /// At a moment.
    pub fn new(
        overview: &Overview,
        organizations: &BTreeMap<OrganizationName, Status>,
        now: Timestamp,
    ) -> OverviewView {
        let firing = Listed::new(&overview.firing, now);
        let title = match firing.n {
            0 => "spendwatch: nothing fires".to_owned(),
            1 => "spendwatch: 1 alert fires".to_owned(),
            n => format!("spendwatch: {n} alerts fire"),
        };
        let silences = overview.silences.iter().take(MAX_SILENCES);
        let organizations = organizations.iter();
        OverviewView {
            title,
            now: Moment::new(now, None),
            firing,
            pending: Listed::new(&overview.pending, now),
            ended: rows(&overview.ended, now),
            silences: silences.map(|one| SilenceView::new(one, now)).collect(),
            n_more_silences: overview.silences.len().saturating_sub(MAX_SILENCES),
            organizations: organizations
                .map(|(name, status)| OrganizationView::new(name, status, now))
                .collect(),
        }
    }
}

impl Listed {
    fn new(worst: &Worst, now: Timestamp) -> Listed {
        let n = worst.n_by_severity.values().sum();
        let by_severity = Severity::ALL.into_iter().rev().filter_map(|severity| {
            let n = worst.n_by_severity.get(&severity)?;
            Some(format!("{n} {severity}"))
        });
        Listed {
            rows: rows(&worst.first, now),
            n,
            n_more: n - worst.first.len(),
            by_severity: by_severity.collect::<Vec<_>>().join(", "),
        }
    }
}

fn rows(shown: &[Shown], now: Timestamp) -> Vec<Row> {
    shown.iter().map(|shown| Row::new(shown, now)).collect()
}

impl Row {
    fn new(shown: &Shown, now: Timestamp) -> Row {
        let alert = &shown.row.alert;
        let fact = fact(shown);
        let share = alert
            .limit
            .and_then(|limit| formatting::share(limit, alert.value));
        Row {
            fingerprint: shown.row.fingerprint.clone(),
            severity: alert.line().severity.as_str(),
            state: state_word(Phase::of(alert)),
            is_silenced: alert.is_silenced,
            subject: formatting::capital(&formatting::topic(&fact)),
            rule: formatting::clean(alert.identity.slot.rule.as_str()),
            organization: formatting::clean(alert.identity.organization.as_str()),
            period: formatting::period(&fact),
            value: amount(alert.watch, alert.value),
            limit: alert.limit.and_then(|limit| amount(alert.watch, limit)),
            share,
            threshold: formatting::clean(&alert.line().text),
            since: alert.firing_since.map(|at| Moment::new(at, Some(now))),
            ended_at: fact.ended_at.map(|at| Moment::new(at, Some(now))),
            ending: fact.ended_by.map(|_| formatting::capital(&wording::ending(&fact))),
            taken_up: shown
                .acknowledged
                .as_ref()
                .map(|by| TakenUp::new(by, alert, now)),
        }
    }
}

impl TakenUp {
    fn new(by: &Acknowledgement, alert: &Alert, now: Timestamp) -> TakenUp {
        let is_of_this_firing = alert.firing_since.is_some_and(|since| since <= by.at);
        let (line, then) = (alert.line(), &by.line);
        // Another limit moves every threshold: one that has the same words is the same.
        let is_worse = line.text != then.text
            && (line.severity, line.quantity) > (then.severity, then.quantity);
        let (effect, is_in_force) = match (alert.is_firing(), is_of_this_firing, is_worse) {
            (false, _, _) => ("the alert does not fire any more", false),
            (true, false, _) => ("of an earlier time: the alert fired anew since", false),
            (true, true, true) => ("it got worse since, and is repeated again", false),
            (true, true, false) => ("it is not repeated until it gets worse", true),
        };
        TakenUp {
            at: Moment::new(by.at, Some(now)),
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
            start: Moment::new(silence.span.start, None),
            end: Moment::new(silence.span.end, None),
        }
    }
}

impl OrganizationView {
    fn new(name: &OrganizationName, status: &Status, now: Timestamp) -> OrganizationView {
        let outcome = status.last_cycle;
        OrganizationView {
            name: formatting::clean(name.as_str()),
            state: outcome.map_or("starting", |(outcome, _)| outcome.as_str()),
            last_cycle: outcome.map(|(_, at)| Moment::new(at, Some(now))),
            reason: status.reasons.first().map(|reason| text(reason)),
            n_more_reasons: status.reasons.len().saturating_sub(1),
        }
    }
}

impl AlertView {
    /// One alert at a moment. Without an attempt the form is empty.
    pub fn new(
        shown: &Shown,
        changes: &[AlertChange],
        attempt: Option<Attempt>,
        now: Timestamp,
    ) -> AlertView {
        let alert = &shown.row.alert;
        let fact = fact(shown);
        let told = alert.told.iter().map(|(name, told)| {
            let last = changes.iter().rev().find_map(|change| {
                let (_, reason) = change.told.iter().find(|(told, _)| told == name)?;
                Some((Moment::new(change.at, Some(now)), reason.as_str()))
            });
            NotifierView::new(name, told.showing.as_ref(), last)
        });
        let newest = changes.iter().rev().take(MAX_CHANGES);
        let row = Row::new(shown, now);
        let is_over = fact.reason == Reason::Resolved;
        AlertView {
            title: format!("{}: {}", row.subject, row.rule),
            summary: wording::summary(&fact),
            subject_id: text(&alert.identity.slot.subject.id),
            changed_at: Moment::new(shown.row.changed_at, Some(now)),
            is_firing: alert.is_firing() && !is_over,
            notifiers: told.collect(),
            changes: newest
                .map(|change| ChangeView::new(shown, change))
                .collect(),
            n_more_changes: changes.len().saturating_sub(MAX_CHANGES),
            attempt: attempt.unwrap_or_default(),
            alert: row,
        }
    }
}

impl NotifierView {
    fn new(
        name: &NotifierName,
        showing: Option<&Line>,
        last: Option<(Moment, &'static str)>,
    ) -> NotifierView {
        NotifierView {
            name: formatting::clean(name.as_str()),
            showing: showing.map_or("nothing fires".to_owned(), |line| {
                format!("{} ({})", formatting::clean(&line.text), line.severity)
            }),
            last,
        }
    }
}

impl ChangeView {
    fn new(shown: &Shown, change: &AlertChange) -> ChangeView {
        let watch = shown.row.alert.watch;
        let ending = change.ended_by.map(|by| {
            let then = Fact {
                ended_by: Some(by),
                line: change.line.clone(),
                limit: change.limit,
                ..fact(shown)
            };
            formatting::capital(&wording::ending(&then))
        });
        let told = change.told.iter();
        ChangeView {
            at: Moment::to_second(change.at),
            state: state_word(change.phase),
            severity: change.line.severity.as_str(),
            threshold: formatting::clean(&change.line.text),
            value: amount(watch, change.value),
            limit: change.limit.and_then(|limit| amount(watch, limit)),
            ending,
            told: told
                .map(|(name, reason)| format!("{}: {reason}", formatting::clean(name.as_str())))
                .collect(),
        }
    }
}

impl Moment {
    /// With `now`, how long ago it was.
    fn new(at: Timestamp, now: Option<Timestamp>) -> Moment {
        Moment {
            text: formatting::time(at, "UTC"),
            exact: at.to_string(),
            ago: now.map(|now| formatting::duration(now.duration_since(at))),
        }
    }

    /// Changes follow one another within a minute.
    fn to_second(at: Timestamp) -> Moment {
        Moment {
            text: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ..Moment::new(at, None)
        }
    }
}

/// `None` where the watch measures nothing.
fn amount(watch: Watch, quantity: Quantity) -> Option<Amount> {
    Some(Amount {
        exact: exact(watch, quantity)?,
        text: formatting::quantity(watch, quantity),
    })
}

/// What people or the service wrote, on one line.
fn text(foreign: &str) -> String {
    let line = formatting::line(foreign);
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What a message would say of the alert now, so that the page says it in the same words. A page has no rule at hand: times
/// are in UTC.
fn fact(shown: &Shown) -> Fact {
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
        maker: None,
        is_late: alert.is_late,
        is_fired_and_resolved: false,
        subject_name: shown.subject_name.clone(),
        watch: alert.watch,
        span: alert.span,
        zone_name: "UTC".to_owned(),
        value: alert.value,
        is_lower_bound: false,
        limit: alert.limit,
        line: alert.line().clone(),
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
