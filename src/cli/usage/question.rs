//! What is asked for, checked, and what is told of it.

use jiff::Timestamp;

use crate::cli::usage::dates::Dates;
use crate::domain::breakdown::Pieces;
use crate::domain::directory::Directory;
use crate::domain::ids::OrganizationName;
use crate::domain::period::{Period, Zone};
use crate::domain::span::HourSpan;
use crate::domain::subject::SubjectKind;
use crate::domain::usage::UsageRow;

/// Which usage, and how it is broken down.
pub struct Question {
    /// Both included.
    pub dates: Dates,
    /// Where days and months are cut.
    pub zone: Zone,
    /// The buckets that begin in the dates.
    pub hours: HourSpan,
    /// Hour, day or month.
    pub period: Period,
    /// The hours, cut.
    pub pieces: Pieces,
    /// Of whom.
    pub by: SubjectKind,
    /// Nothing is known of what comes.
    pub now: Timestamp,
    /// The first day was given, so that it does not depend on the clock.
    pub is_dated: bool,
}

impl Question {
    /// Cuts the dates.
    pub fn new(
        dates: Dates,
        zone: Zone,
        period: Period,
        by: SubjectKind,
        now: Timestamp,
    ) -> Question {
        let hours = dates.hours(&zone);
        Question {
            pieces: Pieces::cut(period, &zone.rules, hours),
            dates,
            zone,
            hours,
            period,
            by,
            now,
            is_dated: true,
        }
    }

    /// Whether days and months are those of the service.
    pub fn is_utc(&self) -> bool {
        &*self.zone.name == "UTC"
    }
}

/// What is known of one organization: by piece of time.
pub struct Told {
    /// Whose.
    pub organization: OrganizationName,
    /// Workspaces by name.
    pub directory: Directory,
    /// The parts; they sum to the whole.
    pub rows: Vec<UsageRow>,
    /// What is not known.
    pub remarks: Vec<Remark>,
    /// Some of the span was never read: a sum is a lower bound, and no rows do not mean no usage.
    pub is_incomplete: bool,
}

/// Something that a reader of the figures has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// For programs: `nothing_stored`, `parts_unread`, `known_from`, `known_up_to`, `days_of_utc`, `estimated`,
    /// `unpriced`, `priority`, `apportioned`, `no_keys`, `no_people`, `clock`, `unreadable`.
    pub kind: &'static str,
    /// Of those that have a time.
    pub at: Option<Timestamp>,
    /// For people.
    pub text: String,
}
