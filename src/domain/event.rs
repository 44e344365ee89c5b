//! Events in the life of keys, people, workspaces and limits, that a rule with `watch = "lifecycle"` tells of.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::domain::span::Span;
use crate::domain::subject::SubjectKind;

/// What happened, or is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A workspace was made lately.
    WorkspaceCreated,
    /// A key was made lately.
    KeyCreated,
    /// An active key is not used.
    KeyIdle,
    /// An active key was made by somebody who is no more in the organization.
    KeyOfRemovedUser,
    /// An active key opens nothing any more soon.
    KeyExpiring,
    UserIdle,
    /// A spend limit of the service is no more.
    LimitRemoved,
}

/// What kind of time an event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// It is told for so long after its moment.
    Recent(SignedDuration),
    /// It is told from so long after its moment on.
    Overdue(SignedDuration),
    /// It is told from so long before its moment on, up to it.
    Ahead(SignedDuration),
    /// It has no moment that is known.
    None,
}

/// Which lists the service must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lists {
    pub keys: bool,
    pub people: bool,
}

const DAY: i64 = 24;

impl Event {
    /// All, in the order in which they are told.
    pub const ALL: [Event; 7] = [
        Event::WorkspaceCreated,
        Event::KeyCreated,
        Event::KeyIdle,
        Event::KeyOfRemovedUser,
        Event::KeyExpiring,
        Event::UserIdle,
        Event::LimitRemoved,
    ];

    /// The word in configuration, labels and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::WorkspaceCreated => "workspace_created",
            Event::KeyCreated => "key_created",
            Event::KeyIdle => "key_idle",
            Event::KeyOfRemovedUser => "key_of_removed_user",
            Event::KeyExpiring => "key_expiring",
            Event::UserIdle => "user_idle",
            Event::LimitRemoved => "limit_removed",
        }
    }

    /// The event of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.as_str() == word)
    }

    /// Of what it is told.
    pub const fn is_of(self, kind: SubjectKind) -> bool {
        match self {
            Event::WorkspaceCreated => matches!(kind, SubjectKind::Workspace),
            Event::KeyCreated | Event::KeyIdle | Event::KeyOfRemovedUser | Event::KeyExpiring => {
                matches!(kind, SubjectKind::ApiKey)
            }
            Event::UserIdle => matches!(kind, SubjectKind::User),
            Event::LimitRemoved => {
                matches!(kind, SubjectKind::Workspace | SubjectKind::Organization)
            }
        }
    }

    /// When it is told, where a rule says nothing else.
    pub const fn timing(self) -> Timing {
        match self {
            Event::WorkspaceCreated | Event::KeyCreated => {
                Timing::Recent(SignedDuration::from_hours(DAY))
            }
            Event::LimitRemoved => Timing::Recent(SignedDuration::from_hours(7 * DAY)),
            Event::KeyIdle | Event::UserIdle => {
                Timing::Overdue(SignedDuration::from_hours(90 * DAY))
            }
            Event::KeyExpiring => Timing::Ahead(SignedDuration::from_hours(30 * DAY)),
            Event::KeyOfRemovedUser => Timing::None,
        }
    }

    /// The time of an event at a moment: from when to when it is told, or lasts. `moment` finds it again.
    pub fn span(self, moment: Timestamp, time: SignedDuration, now: Timestamp) -> Span {
        let (start, end) = match self.timing() {
            Timing::Recent(_) => (moment, moment.checked_add(time).unwrap_or(Timestamp::MAX)),
            Timing::Overdue(_) => (moment, now.max(moment)),
            Timing::Ahead(_) => (moment.checked_sub(time).unwrap_or(Timestamp::MIN), moment),
            Timing::None => (now, now),
        };
        Span { start, end }
    }

    /// When it happened, began or will happen, by its span; `None` where that is not known.
    pub fn moment(self, span: Span) -> Option<Timestamp> {
        match self.timing() {
            Timing::Recent(_) | Timing::Overdue(_) => Some(span.start),
            Timing::Ahead(_) => Some(span.end),
            Timing::None => None,
        }
    }

    /// Which lists tell of it.
    pub const fn lists(self) -> Lists {
        let (keys, people) = match self {
            Event::WorkspaceCreated | Event::LimitRemoved => (false, false),
            Event::KeyCreated | Event::KeyIdle | Event::KeyExpiring => (true, false),
            Event::KeyOfRemovedUser => (true, true),
            Event::UserIdle => (false, true),
        };
        Lists { keys, people }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Timing {
    /// How long; zero where it has none.
    pub const fn duration(self) -> SignedDuration {
        match self {
            Timing::Recent(time) | Timing::Overdue(time) | Timing::Ahead(time) => time,
            Timing::None => SignedDuration::ZERO,
        }
    }

    /// The key of the configuration that says it.
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Timing::Recent(_) | Timing::Overdue(_) => Some("age"),
            Timing::Ahead(_) => Some("lead"),
            Timing::None => None,
        }
    }
}

impl Lists {
    /// These and others.
    #[must_use]
    pub const fn and(self, other: Lists) -> Lists {
        Lists {
            keys: self.keys || other.keys,
            people: self.people || other.people,
        }
    }
}
