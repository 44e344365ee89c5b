//! A checked usage query, and its result.

use jiff::Timestamp;

use crate::cli::usage::dates::DateRange;
use spendwatch_domain::figures::breakdown::TimeSlices;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::period::{Period, Zone};
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::UsageRow;

/// Usage to report, and its breakdown.
pub struct UsageQuery {
    pub dates: DateRange,
    /// Time zone of days and months.
    pub zone: Zone,
    /// Buckets that begin within the dates.
    pub hours: HourSpan,
    /// Hour, day or month.
    pub period: Period,
    /// The hours, cut into periods.
    pub pieces: TimeSlices,
    pub by: SubjectKind,
    pub now: Timestamp,
    /// The first day was given, so it does not depend on the clock.
    pub is_dated: bool,
}

impl UsageQuery {
    /// Returns a query with the dates cut into periods.
    pub fn new(
        dates: DateRange,
        zone: Zone,
        period: Period,
        by: SubjectKind,
        now: Timestamp,
    ) -> UsageQuery {
        let hours = dates.hours(&zone);
        UsageQuery {
            pieces: TimeSlices::new(period, &zone.rules, hours),
            dates,
            zone,
            hours,
            period,
            by,
            now,
            is_dated: true,
        }
    }

    /// Returns whether days and months are cut in UTC, as by the server.
    pub fn is_utc(&self) -> bool {
        &*self.zone.name == "UTC"
    }
}

/// Usage of one organization by period.
pub struct OrganizationUsage {
    pub organization: OrganizationName,
    pub directory: Directory,
    /// Rows of all parts; they sum to the whole.
    pub rows: Vec<UsageRow>,
    pub remarks: Vec<Remark>,
    /// Part of the span was never read: sums are lower bounds, and no rows does not mean no usage.
    pub is_incomplete: bool,
}

/// Note about the figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Stable identifier: `nothing_stored`, `parts_unread`, `known_from`, `known_up_to`, `days_of_utc`, `estimated`,
    /// `unpriced`, `priority`, `apportioned`, `no_keys`, `no_people`, `clock`, `unreadable`.
    pub kind: &'static str,
    pub at: Option<Timestamp>,
    pub text: String,
}

impl Remark {
    /// Returns a remark whose text begins with the organization.
    pub fn new(
        organization: &OrganizationName,
        kind: &'static str,
        at: Option<Timestamp>,
        text: &str,
    ) -> Remark {
        let text = format!("organization `{organization}`: {text}");
        Remark { kind, at, text }
    }
}
