//! The texts of each lifecycle event: one entry per event.

use jiff::SignedDuration;

use crate::wording::formatting;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::units::plural::counted;

/// The texts of one event.
pub struct EventWording {
    /// Precedes the subject, as in `idle API key "ci"`.
    prefix: &'static str,
    /// The same with the kind of subject, to be counted.
    noun: &'static str,
    /// `API key "ci" not used for 93 days`.
    state: fn(&EventTexts<'_>) -> String,
    /// Precedes the time of the event, as in `idle since 2026-08-23`.
    time: &'static str,
    /// Name of that time in the details.
    pub field: &'static str,
    /// Why an alert ended when the event no longer held.
    pub cleared: &'static str,
    /// Why an alert ended although the event held.
    pub expired: &'static str,
    /// The next step for a subject.
    pub next_step: fn(&str) -> String,
    /// The page of the Console's settings for it.
    pub page: &'static str,
}

/// What the state of an event may name.
struct EventTexts<'a> {
    subject: &'a str,
    date: String,
    /// Time since the event, and until it.
    ago: String,
    left: String,
    creator: Option<String>,
}

const WORKSPACE_CREATED: EventWording = EventWording {
    prefix: "new",
    noun: "new workspace",
    state: |of| format!("{} created on {}", of.subject, of.date),
    time: "created on",
    field: "Created",
    cleared: "it turned out to be older",
    expired: "it is no longer new",
    next_step: |subject| {
        format!("Check whether {subject} is expected, and set a spend limit for it")
    },
    page: "workspaces",
};
const KEY_CREATED: EventWording = EventWording {
    noun: "new API key",
    state: |of| {
        let by = of.creator.as_ref().map(|creator| format!(" by {creator}"));
        let by = by.unwrap_or_default();
        format!("{} created on {}{by}", of.subject, of.date)
    },
    next_step: |subject| format!("Check whether {subject} is expected; if not, revoke it"),
    page: "keys",
    ..WORKSPACE_CREATED
};
const KEY_IDLE: EventWording = EventWording {
    prefix: "idle",
    noun: "idle API key",
    state: |of| format!("{} not used for {}", of.subject, of.ago),
    time: "idle since",
    field: "Idle since",
    cleared: "the key was used again or deactivated, or the rule now allows a longer idle time",
    expired: "it is no longer new",
    next_step: |subject| {
        format!("Ask the creator of {subject} whether it is still needed; if not, revoke it")
    },
    page: "keys",
};
const KEY_OF_REMOVED_USER: EventWording = EventWording {
    prefix: "orphaned",
    noun: "orphaned API key",
    state: |of| {
        let name = of.creator.as_ref().map(|creator| format!(" {creator}"));
        let (subject, name) = (of.subject, name.unwrap_or_default());
        format!("{subject} still active, but its creator{name} has left the organization")
    },
    time: "key created on",
    field: "Created",
    cleared: "the key was deactivated, or its creator is back in the organization",
    expired: "it is no longer new",
    next_step: |subject| {
        format!(
            "Find out what uses {subject}, replace it with a key of a current user, then revoke it"
        )
    },
    page: "keys",
};
const KEY_EXPIRING: EventWording = EventWording {
    prefix: "expiring",
    noun: "expiring API key",
    state: |of| format!("{} expires in {}, on {}", of.subject, of.left, of.date),
    time: "expires on",
    field: "Expires",
    cleared: "the key was deactivated or now expires later",
    expired: "the key has expired",
    next_step: |subject| format!("Create a new key and replace {subject} before it expires"),
    page: "keys",
};
const USER_IDLE: EventWording = EventWording {
    noun: "idle user",
    state: |of| format!("{}: no activity for {}", of.subject, of.ago),
    cleared: "the user is active again, or the rule now allows a longer idle time",
    next_step: |subject| {
        format!("Ask whether {subject} still needs access; if not, remove the user")
    },
    page: "members",
    ..KEY_IDLE
};
const LIMIT_REMOVED: EventWording = EventWording {
    prefix: "removed limit of",
    noun: "removed limit",
    state: |of| format!("{}: no spend limit since {}", of.subject, of.date),
    time: "limit removed on",
    field: "Removed",
    cleared: "there is a limit again",
    expired: "it is no longer new",
    next_step: |subject| format!("Find out who removed {subject}, and set a new one"),
    page: "workspaces",
};

/// Returns the texts of an event.
pub const fn wording(event: Event) -> &'static EventWording {
    match event {
        Event::WorkspaceCreated => &WORKSPACE_CREATED,
        Event::KeyCreated => &KEY_CREATED,
        Event::KeyIdle => &KEY_IDLE,
        Event::KeyOfRemovedUser => &KEY_OF_REMOVED_USER,
        Event::KeyExpiring => &KEY_EXPIRING,
        Event::UserIdle => &USER_IDLE,
        Event::LimitRemoved => &LIMIT_REMOVED,
    }
}

/// Returns the subject, with its event for a rule on events: `idle API key "ci" (apikey_01)`.
pub fn topic(fact: &Fact) -> String {
    let subject = formatting::subject(fact);
    match fact.identity.slot.event {
        Some(event) => with_event(event, &subject),
        None => subject,
    }
}

/// Returns `idle API key ci`.
pub fn with_event(event: Event, subject: &str) -> String {
    format!("{} {subject}", wording(event).prefix)
}

/// Returns `12 idle API keys, 1 expiring API key`.
pub fn counts(facts: &[&Fact]) -> String {
    let n_of = |event| {
        let is_of = |fact: &&&Fact| fact.identity.slot.event == Some(event);
        facts.iter().filter(is_of).count()
    };
    let counts: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| (event, n_of(event)))
        .filter(|(_, n)| *n > 0)
        .map(|(event, n)| counted(n, wording(event).noun))
        .collect();
    counts.join(", ")
}

/// Returns `API key "ci" (apikey_01) not used for 93 days`.
pub fn state(fact: &Fact, subject: &str) -> String {
    let Some((event, moment)) = fact.event() else {
        return subject.to_owned();
    };
    let since = moment.map_or(SignedDuration::ZERO, |at| {
        fact.decided_at.duration_since(at)
    });
    (wording(event).state)(&EventTexts {
        subject,
        date: moment.map_or("an unknown date".to_owned(), |at| {
            formatting::date(at, &fact.zone_name)
        }),
        ago: formatting::days(since),
        left: formatting::days(-since),
        creator: fact.creator.as_ref().map(|name| formatting::clean(name)),
    })
}

/// Returns `idle since 2026-08-23 14:22 Europe/Berlin`; `None` without an event.
pub fn time(fact: &Fact) -> Option<String> {
    let (event, moment) = fact.event()?;
    let (text, at) = match moment {
        Some(at) => (wording(event).time, at),
        None => ("firing since", fact.firing_since),
    };
    Some(format!("{text} {}", formatting::time(at, &fact.zone_name)))
}
