//! Lifecycle events of keys, users, workspaces and limits, which rules with `watch = "lifecycle"` report.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::units::span::Span;
use crate::units::subject::SubjectKind;

/// A lifecycle event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    WorkspaceCreated,
    KeyCreated,
    /// An active key has not been used for a while.
    KeyIdle,
    /// An active key whose creator has left the organization.
    KeyOfRemovedUser,
    KeyExpiring,
    UserIdle,
    /// A provider limit was removed.
    LimitRemoved,
}

/// When an event is reported, relative to its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// From its moment on, for this long.
    Recent(SignedDuration),
    /// Once its moment is this long ago.
    Overdue(SignedDuration),
    /// From this long before its moment until its moment.
    Ahead(SignedDuration),
    /// Its moment is unknown; it is reported while it holds.
    None,
}

/// Lists that must be requested from the Admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequiredLists {
    pub keys: bool,
    pub users: bool,
}

const HOURS_PER_DAY: i64 = 24;

impl Event {
    /// All events, in the order in which they are reported.
    pub const ALL: [Event; 7] = [
        Event::WorkspaceCreated,
        Event::KeyCreated,
        Event::KeyIdle,
        Event::KeyOfRemovedUser,
        Event::KeyExpiring,
        Event::UserIdle,
        Event::LimitRemoved,
    ];

    /// Returns the word used in configuration, labels and the store.
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

    /// Parses the word of [`Event::as_str`].
    pub fn parse(word: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.as_str() == word)
    }

    /// Returns whether subjects of a kind can have this event.
    pub const fn applies_to(self, kind: SubjectKind) -> bool {
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

    /// Returns the default timing; a rule may set another duration.
    pub const fn timing(self) -> Timing {
        match self {
            Event::WorkspaceCreated | Event::KeyCreated => {
                Timing::Recent(SignedDuration::from_hours(HOURS_PER_DAY))
            }
            Event::LimitRemoved => Timing::Recent(SignedDuration::from_hours(7 * HOURS_PER_DAY)),
            Event::KeyIdle | Event::UserIdle => {
                Timing::Overdue(SignedDuration::from_hours(90 * HOURS_PER_DAY))
            }
            Event::KeyExpiring => Timing::Ahead(SignedDuration::from_hours(30 * HOURS_PER_DAY)),
            Event::KeyOfRemovedUser => Timing::None,
        }
    }

    /// Returns the span during which the event is reported. `moment` recovers `moment` from it.
    pub fn span(self, moment: Timestamp, duration: SignedDuration, now: Timestamp) -> Span {
        let (start, end) = match self.timing() {
            Timing::Recent(_) => (
                moment,
                moment.checked_add(duration).unwrap_or(Timestamp::MAX),
            ),
            Timing::Overdue(_) => (moment, now.max(moment)),
            Timing::Ahead(_) => (
                moment.checked_sub(duration).unwrap_or(Timestamp::MIN),
                moment,
            ),
            Timing::None => (now, now),
        };
        Span { start, end }
    }

    /// Returns when the event happened or will happen, given its span; `None` if unknown.
    pub fn moment(self, span: Span) -> Option<Timestamp> {
        match self.timing() {
            Timing::Recent(_) | Timing::Overdue(_) => Some(span.start),
            Timing::Ahead(_) => Some(span.end),
            Timing::None => None,
        }
    }

    /// Returns the lists from which the event is derived.
    pub const fn required_lists(self) -> RequiredLists {
        let (keys, users) = match self {
            Event::WorkspaceCreated | Event::LimitRemoved => (false, false),
            Event::KeyCreated | Event::KeyIdle | Event::KeyExpiring => (true, false),
            Event::KeyOfRemovedUser => (true, true),
            Event::UserIdle => (false, true),
        };
        RequiredLists { keys, users }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Timing {
    /// Returns the duration, or zero for [`Timing::None`].
    pub const fn duration(self) -> SignedDuration {
        match self {
            Timing::Recent(duration) | Timing::Overdue(duration) | Timing::Ahead(duration) => {
                duration
            }
            Timing::None => SignedDuration::ZERO,
        }
    }

    /// Returns the configuration key that sets the duration.
    pub const fn config_key(self) -> Option<&'static str> {
        match self {
            Timing::Recent(_) | Timing::Overdue(_) => Some("age"),
            Timing::Ahead(_) => Some("lead"),
            Timing::None => None,
        }
    }
}

impl RequiredLists {
    /// Returns the lists that either side requires.
    #[must_use]
    pub const fn union(self, other: RequiredLists) -> RequiredLists {
        RequiredLists {
            keys: self.keys || other.keys,
            users: self.users || other.users,
        }
    }
}
