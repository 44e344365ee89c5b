//! The first and second line about one alert, and its mail subject.

use crate::wording::resolution::end_reason;
use crate::wording::{events, formatting, periods, watches};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::units::ids::{UNASSIGNED, UNATTRIBUTED};
use spendwatch_domain::units::subject::SubjectKind;

/// Returns the first line of a message: `Critical: workspace Search is 13% over its November limit`.
pub fn title(fact: &Fact) -> String {
    let severity = fact.threshold.severity.as_str();
    let subject = subject(fact);
    match fact.reason {
        // The alert still fires, even if it was never sent to this notifier.
        Reason::Resolved if fact.is_below_minimum() => {
            format!("No longer {severity}: {subject} {}", end_reason(fact))
        }
        Reason::Resolved if fact.is_fired_and_resolved => match peak(fact) {
            Some(peak) => format!("Fired and resolved: {subject} {peak}"),
            None => format!("Fired and resolved: {subject}, {}", end_reason(fact)),
        },
        Reason::Resolved => format!("Resolved: {subject}, {}", end_reason(fact)),
        Reason::First => format!("{}: {}", formatting::capitalize(severity), state(fact)),
        Reason::Escalated => format!("Escalated to {severity}: {}", state(fact)),
        Reason::Lowered => format!("Lowered to {severity}: {}", state(fact)),
        Reason::Repeated => {
            let firing = fact.decided_at.duration_since(fact.firing_since);
            let firing = formatting::duration(firing);
            format!("Still {severity}: {}, firing for {firing}", state(fact))
        }
        Reason::Unsilenced => format!("Silence ended, still {severity}: {}", state(fact)),
    }
}

/// Returns the second line of a message: the amount and the limit, or the time of an event.
pub fn summary(fact: &Fact) -> String {
    let state = events::time(fact)
        .unwrap_or_else(|| (watches::wording(fact.watch).summary)(fact, &amounts(fact)));
    let text = if fact.reason == Reason::Resolved && peak(fact).is_some() {
        format!("{}; now {state}", end_reason(fact))
    } else if fact.reason == Reason::Resolved && fact.event().is_none() {
        format!("now {state}")
    } else {
        state
    };
    let fallback_note = fact.in_place_of.as_ref().map_or(String::new(), |absent| {
        format!("; {}", formatting::fallback_note(absent))
    });
    formatting::capitalize(&format!("{text}{fallback_note}"))
}

/// Returns the alert for a mail subject: `Search $5,630 of $5,000 (113%), November 2026`.
pub fn subject_line(fact: &Fact) -> String {
    let organization = formatting::clean(fact.identity.organization.as_str());
    if fact.event().is_some() {
        return format!("{} ({organization})", state(fact));
    }
    let slot = &fact.identity.slot;
    let has_own_name = slot.subject.kind != SubjectKind::ApiKey
        && ![UNATTRIBUTED, UNASSIGNED].contains(&&*slot.subject.id);
    let name = if has_own_name {
        formatting::clean(&fact.subject_name)
    } else {
        subject(fact)
    };
    let headline = |quantity| formatting::headline(fact.watch.unit(), quantity);
    let value = format!("{}{}", formatting::at_least(fact), headline(fact.value));
    let amounts = match fact.limit.filter(|limit| *limit > 0) {
        Some(limit) => {
            let share = formatting::headline_share(limit, fact.value);
            (watches::wording(fact.watch).subject_line)(&value, &headline(limit), &share)
        }
        None => value,
    };
    match periods::period(fact) {
        Some(period) => format!("{name} {amounts}, {period}"),
        None => format!("{name} {amounts}"),
    }
}

/// An organization is named without its kind, as in `acme`.
fn subject(fact: &Fact) -> String {
    if fact.identity.slot.subject.kind == SubjectKind::Organization {
        formatting::clean(&fact.subject_name)
    } else {
        formatting::subject(fact)
    }
}

/// `workspace Search is 13% over its November limit`.
fn state(fact: &Fact) -> String {
    let value = formatting::headline(fact.watch.unit(), fact.value);
    let value = format!("{}{value}", formatting::at_least(fact));
    (watches::wording(fact.watch).state)(fact, &subject(fact), &value)
}

/// `reached 100% between … and …`, for an alert that fired and was resolved before it was sent. Its highest figure is not
/// recorded, but the threshold is.
fn peak(fact: &Fact) -> Option<String> {
    let ended_at = fact.ended_at.filter(|_| fact.is_fired_and_resolved)?;
    if fact.is_below_minimum() || !watches::wording(fact.watch).is_usage {
        return None;
    }
    let threshold = formatting::clean(&fact.threshold.text);
    let start = formatting::time(fact.firing_since, &fact.zone_name);
    let end = formatting::time(ended_at, &fact.zone_name);
    Some(format!("reached {threshold} between {start} and {end}"))
}

/// `$5,630.12 of $5,000.00`, with cents unlike in the first line.
fn amounts(fact: &Fact) -> String {
    let quantity = |quantity| formatting::quantity(fact.watch.unit(), quantity);
    let value = format!("{}{}", formatting::at_least(fact), quantity(fact.value));
    match fact.limit.filter(|limit| *limit > 0) {
        Some(limit) => (watches::wording(fact.watch).amounts)(&value, &quantity(limit)),
        None => value,
    }
}
