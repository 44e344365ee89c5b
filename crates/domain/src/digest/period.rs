//! When a digest is due, and which period it covers.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::figures::breakdown::TimeSlices;
use crate::units::period::{self, Period, PeriodSpan};
use crate::units::schedule::{Due, Schedule, due};
use crate::units::span::Span;

/// Maximum time that a digest waits for complete figures.
pub const MAX_WAIT: SignedDuration = SignedDuration::from_hours(6);

/// What to do about a digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAction {
    Rest,
    /// Count slots from this time on, skipping earlier ones.
    Count(Timestamp),
    Due {
        /// Newest slot that has passed.
        slot: Timestamp,
        /// First slot that it makes up for.
        since: Timestamp,
    },
}

/// Returns what to do, given the last slot that was handled. If the clock was set back before it, slots count from now on;
/// otherwise a clock that was wrong by years would stop the digest for years.
pub fn next_action(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> DigestAction {
    let Some(last) = last else {
        return DigestAction::Count(now);
    };
    match due(schedule, Some(last), now) {
        Due::Now(slot) if slot <= last => DigestAction::Count(slot),
        Due::Now(slot) => DigestAction::Due {
            slot,
            since: schedule
                .next_after(last)
                .map_or(slot, |first| first.min(slot)),
        },
        Due::At(_) | Due::Never => DigestAction::Rest,
    }
}

/// A closed period and the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPeriod {
    pub cut: PeriodSpan,
    pub before: PeriodSpan,
}

/// Returns the last period that had ended at a slot. Rolling periods exclude the open hour.
pub fn last_closed_period(period: Period, zone: &TimeZone, slot: Timestamp) -> ClosedPeriod {
    let (period, cut) = match period {
        Period::Rolling(hours) | Period::Complete(hours) => {
            let complete = Period::Complete(hours);
            (complete, period::containing(complete, zone, slot))
        }
        Period::Hour | Period::Day | Period::Week | Period::Month | Period::Quarter => {
            let open = period::containing(period, zone, slot);
            (period, period::previous(period, zone, &open))
        }
    };
    let before = period::previous(period, zone, &cut);
    ClosedPeriod { cut, before }
}

/// Returns the time buckets of a period's chart, about thirty at most.
pub fn pieces(period: Period, zone: &TimeZone, span: Span) -> TimeSlices {
    let piece = match period {
        Period::Hour | Period::Day => Period::Hour,
        Period::Week | Period::Month => Period::Day,
        Period::Quarter => Period::Week,
        Period::Rolling(hours) | Period::Complete(hours) => match hours {
            0..=48 => Period::Hour,
            49..=840 => Period::Day,
            841.. => Period::Month,
        },
    };
    TimeSlices::new(piece, zone, span.hours())
}
