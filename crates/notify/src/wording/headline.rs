//! The first and second line about one alert, and its mail subject.

use jiff::{SignedDuration, Timestamp};

use crate::wording::formatting;
use crate::wording::resolution::end_reason;
use spendwatch_domain::alerts::notification::{Fact, Reason, Reconciled};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::Watch;
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
        Reason::First => {
            let severity = formatting::capitalize(severity);
            format!("{severity}: {}", state(fact, &subject))
        }
        Reason::Escalated => format!("Escalated to {severity}: {}", state(fact, &subject)),
        Reason::Lowered => format!("Lowered to {severity}: {}", state(fact, &subject)),
        Reason::Repeated => {
            let firing = fact.decided_at.duration_since(fact.firing_since);
            format!(
                "Still {severity}: {}, firing for {}",
                state(fact, &subject),
                formatting::duration(firing)
            )
        }
        Reason::Unsilenced => {
            format!("Silence ended, still {severity}: {}", state(fact, &subject))
        }
    }
}

/// Returns the second line of a message: the amount and the limit, or the time of an event.
pub fn summary(fact: &Fact) -> String {
    let state = match fact.event() {
        Some((event, moment)) => event_time(fact, event, moment),
        None => values(fact),
    };
    let text = match fact.reason {
        Reason::Resolved if peak(fact).is_some() => format!("{}; now {state}", end_reason(fact)),
        Reason::Resolved if fact.event().is_none() => format!("now {state}"),
        Reason::Resolved
        | Reason::First
        | Reason::Escalated
        | Reason::Lowered
        | Reason::Repeated
        | Reason::Unsilenced => state,
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
        return format!("{} ({organization})", event_text(fact, &subject(fact)));
    }
    let slot = &fact.identity.slot;
    let has_own_name = slot.subject.kind != SubjectKind::ApiKey
        && ![UNATTRIBUTED, UNASSIGNED].contains(&&*slot.subject.id);
    let name = if has_own_name {
        formatting::clean(&fact.subject_name)
    } else {
        subject(fact)
    };
    let at_least = formatting::at_least(fact);
    let value = formatting::headline(fact.watch, fact.value);
    let amounts = match fact.limit.filter(|limit| *limit > 0) {
        Some(limit) => {
            let limit_text = formatting::headline(fact.watch, limit);
            let share = formatting::headline_share(limit, fact.value);
            match fact.watch {
                Watch::Spend | Watch::Tokens | Watch::Requests | Watch::BurnRate => {
                    format!("{at_least}{value} of {limit_text} ({share})")
                }
                Watch::DataAge => format!("data {at_least}{value} old, limit {limit_text}"),
                Watch::ReconciliationUsd | Watch::ReconciliationPercent => {
                    format!("gap {at_least}{value}, limit {limit_text}")
                }
                Watch::Lifecycle => String::new(),
            }
        }
        None => format!("{at_least}{value}"),
    };
    match formatting::period(fact) {
        Some(period) => format!("{name} {amounts}, {period}"),
        None => format!("{name} {amounts}"),
    }
}

/// An organization is named without its kind, as in `acme`.
fn subject(fact: &Fact) -> String {
    match fact.identity.slot.subject.kind {
        SubjectKind::Organization => formatting::clean(&fact.subject_name),
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => formatting::subject(fact),
    }
}

/// `workspace Search is 13% over its November limit`.
fn state(fact: &Fact, subject: &str) -> String {
    let value = formatting::headline(fact.watch, fact.value);
    let at_least = formatting::at_least(fact);
    let in_period = formatting::in_period(fact);
    match fact.watch {
        Watch::Spend => used(
            fact,
            subject,
            &format!("spent {at_least}{value}"),
            "spend is",
        ),
        Watch::Tokens => used(
            fact,
            subject,
            &format!("used {at_least}{value}"),
            "tokens are",
        ),
        Watch::Requests => used(
            fact,
            subject,
            &format!("made {at_least}{value}"),
            "requests are",
        ),
        Watch::BurnRate => match fact.limit {
            Some(limit) if limit > 0 => {
                let share = formatting::headline_share(limit, fact.value);
                format!("{subject} is on track for {at_least}{share} of its limit")
            }
            Some(_) => {
                format!(
                    "{subject} is on track to spend {at_least}{value} where no spend is allowed"
                )
            }
            None => format!("{subject} is on track to spend {at_least}{value}"),
        },
        Watch::DataAge => format!("spend data of {subject} is {at_least}{value} old"),
        Watch::ReconciliationUsd | Watch::ReconciliationPercent => {
            format!("bill and estimate of {subject} differ by {at_least}{value} {in_period}")
        }
        Watch::Lifecycle => event_text(fact, subject),
    }
}

fn used(fact: &Fact, subject: &str, spent: &str, noun: &str) -> String {
    let Some(limit) = fact.limit else {
        return format!("{subject} {spent} {}", formatting::in_period(fact));
    };
    if limit <= 0 {
        return format!("{subject} {spent} where no {noun} allowed");
    }
    let at_least = formatting::at_least(fact);
    let limit_name = formatting::limit_name(fact);
    let share = formatting::headline_share(limit, fact.value);
    match fact.reason {
        Reason::Escalated => format!("{subject} is now at {at_least}{share} of {limit_name}"),
        Reason::Lowered => format!("{subject} is back at {at_least}{share} of {limit_name}"),
        Reason::Repeated | Reason::Unsilenced => {
            format!("{subject} at {at_least}{share} of {limit_name}")
        }
        Reason::First | Reason::Resolved if fact.value > limit => {
            let excess = formatting::headline_share(limit, fact.value - limit);
            format!("{subject} is {at_least}{excess} over {limit_name}")
        }
        Reason::First | Reason::Resolved => {
            format!("{subject} used {at_least}{share} of {limit_name}")
        }
    }
}

/// `reached 100% between … and …`, for an alert that fired and was resolved before it was sent. Its highest figure is not
/// recorded, but the threshold is.
fn peak(fact: &Fact) -> Option<String> {
    let ended_at = fact.ended_at.filter(|_| fact.is_fired_and_resolved)?;
    match fact.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests if !fact.is_below_minimum() => {
            let threshold = formatting::clean(&fact.threshold.text);
            let start = formatting::time(fact.firing_since, &fact.zone_name);
            let end = formatting::time(ended_at, &fact.zone_name);
            Some(format!("reached {threshold} between {start} and {end}"))
        }
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::BurnRate
        | Watch::DataAge
        | Watch::ReconciliationUsd
        | Watch::ReconciliationPercent
        | Watch::Lifecycle => None,
    }
}

/// `$5,630.12 of $5,000.00`, with cents unlike in the first line.
fn amounts(fact: &Fact) -> String {
    let value = formatting::quantity(fact.watch, fact.value);
    let at_least = formatting::at_least(fact);
    match fact.limit {
        Some(limit) if limit > 0 => {
            let limit = formatting::quantity(fact.watch, limit);
            match fact.watch {
                Watch::Spend | Watch::Tokens | Watch::Requests | Watch::BurnRate => {
                    format!("{at_least}{value} of {limit}")
                }
                Watch::DataAge => format!("data age {at_least}{value}, limit {limit}"),
                Watch::ReconciliationUsd | Watch::ReconciliationPercent => {
                    format!("gap {at_least}{value}, limit {limit}")
                }
                Watch::Lifecycle => String::new(),
            }
        }
        Some(_) | None => format!("{at_least}{value}"),
    }
}

/// The first line names the period where there is a limit.
fn values(fact: &Fact) -> String {
    let in_period = formatting::in_period(fact);
    let ended = if fact.is_late {
        ", which has ended"
    } else {
        ""
    };
    let amounts = amounts(fact);
    match fact.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests
            if !fact.is_late && fact.limit.is_some_and(|limit| limit > 0) =>
        {
            amounts
        }
        Watch::Spend | Watch::Tokens | Watch::Requests => format!("{amounts} {in_period}{ended}"),
        Watch::BurnRate => {
            let window = formatting::period(fact).unwrap_or_default();
            format!("{amounts} in a whole period, at the rate of {window}")
        }
        Watch::DataAge | Watch::Lifecycle => amounts,
        Watch::ReconciliationUsd | Watch::ReconciliationPercent => match &fact.reconciled {
            Some(Reconciled {
                billed,
                estimated,
                uncertain,
                ..
            }) => format!(
                "{} billed {in_period}{ended}, {} estimated from list prices{}; {amounts}",
                formatting::dollars(*billed),
                formatting::dollars(*estimated),
                formatting::uncertain_part(*uncertain),
            ),
            None => format!("{amounts} {in_period}{ended}"),
        },
    }
}

/// `API key "ci" (apikey_01) not used for 93 days`.
fn event_text(fact: &Fact, subject: &str) -> String {
    let Some((event, moment)) = fact.event() else {
        return subject.to_owned();
    };
    let date = moment.map_or("an unknown date".to_owned(), |at| {
        formatting::date(at, &fact.zone_name)
    });
    let since = moment.map_or(SignedDuration::ZERO, |at| {
        fact.decided_at.duration_since(at)
    });
    let (ago, left) = (formatting::days(since), formatting::days(-since));
    let creator = fact.creator.as_ref().map(|name| formatting::clean(name));
    match event {
        Event::WorkspaceCreated => format!("{subject} created on {date}"),
        Event::KeyCreated => match creator {
            Some(creator) => format!("{subject} created on {date} by {creator}"),
            None => format!("{subject} created on {date}"),
        },
        Event::KeyIdle => format!("{subject} not used for {ago}"),
        Event::KeyExpiring => format!("{subject} expires in {left}, on {date}"),
        Event::KeyOfRemovedUser => {
            let creator = creator.map_or(String::new(), |creator| format!(" {creator}"));
            format!("{subject} still active, but its creator{creator} has left the organization")
        }
        Event::UserIdle => format!("{subject}: no activity for {ago}"),
        Event::LimitRemoved => format!("{subject}: no spend limit since {date}"),
    }
}

/// `Idle since 2026-08-23 14:22 Europe/Berlin`.
fn event_time(fact: &Fact, event: Event, moment: Option<Timestamp>) -> String {
    let name = match event {
        Event::WorkspaceCreated | Event::KeyCreated => "created on",
        Event::KeyIdle | Event::UserIdle => "idle since",
        Event::KeyExpiring => "expires on",
        Event::KeyOfRemovedUser => "key created on",
        Event::LimitRemoved => "limit removed on",
    };
    match moment {
        Some(at) => format!("{name} {}", formatting::time(at, &fact.zone_name)),
        None => format!(
            "firing since {}",
            formatting::time(fact.firing_since, &fact.zone_name)
        ),
    }
}
