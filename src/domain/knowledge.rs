//! How far a figure can be trusted, and what the parts of a sum make of it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::figures::PartState;
use crate::domain::frame::Frame;
use crate::domain::rule::Quantity;
use crate::domain::span::Hour;

/// A derived value and how far to trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// All of it is known.
    Known(Quantity),
    /// Part of it is unknown: it is at least this. It may fire, it cannot resolve.
    AtLeast(Quantity),
    /// Was known once; nothing is decided on it.
    Stale(Quantity),
    /// Was never known in this period.
    Unknown,
}

impl Figure {
    /// The same of another value.
    #[must_use]
    pub fn map(self, of: impl Fn(Quantity) -> Quantity) -> Figure {
        match self {
            Figure::Known(value) => Figure::Known(of(value)),
            Figure::AtLeast(value) => Figure::AtLeast(of(value)),
            Figure::Stale(value) => Figure::Stale(of(value)),
            Figure::Unknown => Figure::Unknown,
        }
    }

    /// Whether all of it is known.
    pub fn is_known(self) -> bool {
        match self {
            Figure::Known(_) => true,
            Figure::AtLeast(_) | Figure::Stale(_) | Figure::Unknown => false,
        }
    }

    /// The last value, however old; `None` when there never was one.
    pub fn value(self) -> Option<Quantity> {
        match self {
            Figure::Known(value) | Figure::AtLeast(value) | Figure::Stale(value) => Some(value),
            Figure::Unknown => None,
        }
    }
}

/// How far one part's sum in one span can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// All of it is known.
    Whole,
    /// It is at least this.
    LowerBound,
    Stale,
    /// Was never known in this span.
    Nothing,
}

/// Of one part in one span. A span that is over is known when its last hour is settled; a rolling one when its last hour was
/// read.
pub fn knowledge(
    state: &PartState,
    frame: &Frame,
    is_closed: bool,
    settle: SignedDuration,
) -> Knowledge {
    let Some(as_of) = state.as_of.filter(|as_of| *as_of >= frame.cut.span.start) else {
        return Knowledge::Nothing;
    };
    if !state.is_fresh {
        return Knowledge::Stale;
    }
    let (hours, is_rolling) = (frame.hours, frame.label.is_none());
    let is_final = if is_closed {
        as_of.duration_since(frame.cut.span.end) >= settle
    } else {
        !is_rolling || Hour::of(as_of) >= hours.end.plus(-1)
    };
    let is_readable = !state.is_unreadable_in(hours);
    if is_final && is_readable && reaches_back(state, frame.cut.span.start) {
        Knowledge::Whole
    } else {
        Knowledge::LowerBound
    }
}

/// Whether everything of a part is known at least from a moment on.
pub fn reaches_back(state: &PartState, start: Timestamp) -> bool {
    state.known_from.is_some_and(|hour| hour.start() <= start)
}

/// One subject's sum while it is being added up.
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    value: Quantity,
    is_complete: bool,
    is_known_once: bool,
    /// A settled hour of a part fell.
    pub fell: bool,
    /// Up to when the oldest part is known.
    pub as_of: Option<Timestamp>,
}

/// What one part adds.
#[derive(Debug, Clone, Copy)]
pub struct Addend {
    /// How far it can be trusted.
    pub known: Knowledge,
    /// A settled hour of it fell in this cycle.
    pub fell: bool,
    /// Up to when it is known; `None` where that is of no account.
    pub as_of: Option<Timestamp>,
}

impl Sum {
    /// Of nothing yet.
    pub const EMPTY: Sum = Sum {
        value: 0,
        is_complete: true,
        is_known_once: false,
        fell: false,
        as_of: None,
    };

    /// Adds one part's value.
    pub fn add(&mut self, value: Quantity, part: Addend) {
        self.as_of = oldest(self.as_of, part.as_of);
        self.fell |= part.fell;
        match part.known {
            Knowledge::Whole => {
                self.value += value;
                self.is_known_once = true;
            }
            Knowledge::LowerBound => {
                self.value += value;
                self.is_known_once = true;
                self.is_complete = false;
            }
            Knowledge::Stale => {
                self.value += value;
                self.is_complete = false;
            }
            Knowledge::Nothing => self.is_complete = false,
        }
    }

    /// Adds to the value alone: how far it is known does not change.
    pub fn add_value(&mut self, value: Quantity) {
        self.value += value;
    }

    /// A part that may belong to it is not known.
    pub fn miss(&mut self) {
        self.is_complete = false;
    }

    /// Whether every part of it is known.
    pub fn is_complete(self) -> bool {
        self.is_complete
    }

    /// Of something that has parts.
    pub fn of_parts(self) -> Figure {
        match (self.is_complete, self.is_known_once) {
            (true, _) => Figure::Known(self.value),
            (false, true) => Figure::AtLeast(self.value),
            (false, false) => Figure::Stale(self.value),
        }
    }

    /// Of one workspace: what is not known now decides nothing.
    pub fn of_one(self) -> Figure {
        match (self.is_complete, self.is_known_once) {
            (true, _) => Figure::Known(self.value),
            (false, true) => Figure::AtLeast(self.value),
            (false, false) if self.as_of.is_some() => Figure::Stale(self.value),
            (false, false) => Figure::Unknown,
        }
    }
}

/// The older of two moments, where there are two.
pub fn oldest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
