//! How far a figure can be trusted, and how the parts of a sum determine that.

use jiff::{SignedDuration, Timestamp};

use crate::figures::period_sums::PeriodSums;
use crate::figures::totals::PartState;
use crate::rules::watch::Quantity;
use crate::units::span::Hour;

/// A derived value and how far to trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Known(Quantity),
    /// A lower bound, because part of it is unknown. It can fire but not resolve.
    AtLeast(Quantity),
    /// Known earlier, not now; rules ignore it.
    Stale(Quantity),
    /// Never known in this period.
    Unknown,
}

impl Figure {
    /// Maps the value.
    #[must_use]
    pub fn map(self, of: impl Fn(Quantity) -> Quantity) -> Figure {
        match self {
            Figure::Known(value) => Figure::Known(of(value)),
            Figure::AtLeast(value) => Figure::AtLeast(of(value)),
            Figure::Stale(value) => Figure::Stale(of(value)),
            Figure::Unknown => Figure::Unknown,
        }
    }

    /// Returns whether all of it is known.
    pub fn is_known(self) -> bool {
        match self {
            Figure::Known(_) => true,
            Figure::AtLeast(_) | Figure::Stale(_) | Figure::Unknown => false,
        }
    }

    /// Returns the last value, however old; `None` if there never was one.
    pub fn value(self) -> Option<Quantity> {
        match self {
            Figure::Known(value) | Figure::AtLeast(value) | Figure::Stale(value) => Some(value),
            Figure::Unknown => None,
        }
    }
}

/// How completely one part's sum in one span is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    Whole,
    LowerBound,
    Stale,
    /// Never known in this span.
    Nothing,
}

/// Returns how completely a part's sum is known. A past span must have its last hour settled; a rolling one must have
/// its last hour read.
pub fn completeness(
    state: &PartState,
    sums: &PeriodSums,
    is_closed: bool,
    settle: SignedDuration,
) -> Completeness {
    let Some(as_of) = state.as_of.filter(|as_of| *as_of >= sums.period.span.start) else {
        return Completeness::Nothing;
    };
    if !state.is_fresh {
        return Completeness::Stale;
    }
    let (hours, is_rolling) = (sums.hours, sums.label.is_none());
    let is_final = if is_closed {
        as_of.duration_since(sums.period.span.end) >= settle
    } else {
        !is_rolling || Hour::containing(as_of) >= hours.end.plus(-1)
    };
    let is_readable = !state.is_unreadable_in(hours);
    if is_final && is_readable && reaches_back(state, sums.period.span.start) {
        Completeness::Whole
    } else {
        Completeness::LowerBound
    }
}

/// Returns whether all of a part's usage since `start` is known.
pub fn reaches_back(state: &PartState, start: Timestamp) -> bool {
    state.known_from.is_some_and(|hour| hour.start() <= start)
}

/// Accumulates the sum of one subject.
#[derive(Debug, Clone, Copy)]
pub struct FigureSum {
    value: Quantity,
    is_complete: bool,
    is_known_once: bool,
    /// Whether a settled hour of a part decreased.
    pub has_decreased: bool,
    /// Time up to which the least known part is known.
    pub as_of: Option<Timestamp>,
}

/// The state of one added part.
#[derive(Debug, Clone, Copy)]
pub struct Addend {
    pub completeness: Completeness,
    /// Whether a settled hour of it decreased in this cycle.
    pub fell: bool,
    /// Time up to which it is known; `None` if irrelevant.
    pub as_of: Option<Timestamp>,
}

impl FigureSum {
    pub const EMPTY: FigureSum = FigureSum {
        value: 0,
        is_complete: true,
        is_known_once: false,
        has_decreased: false,
        as_of: None,
    };

    /// Adds the value of one part.
    pub fn add(&mut self, value: Quantity, part: Addend) {
        self.as_of = oldest(self.as_of, part.as_of);
        self.has_decreased |= part.fell;
        match part.completeness {
            Completeness::Whole => {
                self.value += value;
                self.is_known_once = true;
            }
            Completeness::LowerBound => {
                self.value += value;
                self.is_known_once = true;
                self.is_complete = false;
            }
            Completeness::Stale => {
                self.value += value;
                self.is_complete = false;
            }
            Completeness::Nothing => self.is_complete = false,
        }
    }

    /// Adds to the value without affecting how completely it is known.
    pub fn add_value(&mut self, value: Quantity) {
        self.value += value;
    }

    /// Records that a part which may belong to the subject is unknown.
    pub fn add_unknown_part(&mut self) {
        self.is_complete = false;
    }

    /// Returns whether all parts are known.
    pub fn is_complete(self) -> bool {
        self.is_complete
    }

    /// Returns the figure of a subject with several parts.
    pub fn into_figure(self) -> Figure {
        match (self.is_complete, self.is_known_once) {
            (true, _) => Figure::Known(self.value),
            (false, true) => Figure::AtLeast(self.value),
            (false, false) => Figure::Stale(self.value),
        }
    }

    /// Returns the figure of one workspace, which is stale or unknown unless it is known now.
    pub fn into_single_figure(self) -> Figure {
        match (self.is_complete, self.is_known_once) {
            (true, _) => Figure::Known(self.value),
            (false, true) => Figure::AtLeast(self.value),
            (false, false) if self.as_of.is_some() => Figure::Stale(self.value),
            (false, false) => Figure::Unknown,
        }
    }
}

/// Returns the older of two times, or the only one.
pub fn oldest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
