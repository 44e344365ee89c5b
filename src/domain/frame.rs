//! One period in one zone: its open and its closed cut, and the sums of both by part and cell.

use std::sync::Arc;

use crate::domain::period::{self, Cut, Period, Zone};
use crate::domain::span::HourSpan;
use crate::domain::usage::Amounts;

/// A period in a zone whose sums are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameKey {
    pub period: Period,
    pub zone: Zone,
}

/// One cut of a frame and its sums.
#[derive(Debug, Clone)]
pub struct Frame {
    pub cut: Cut,
    /// Its label, shared by the slots of all alerts in it.
    pub label: Option<Arc<str>>,
    /// In whole hours.
    pub hours: HourSpan,
    pub(in crate::domain) sums: Sums,
}

/// Amounts by part (index) and cell (index), in the order of the cells.
pub(in crate::domain) type Sums = Vec<Vec<(u32, Amounts)>>;

/// A frame's two cuts.
#[derive(Debug, Clone)]
pub(in crate::domain) struct Kept {
    pub key: FrameKey,
    pub open: Frame,
    pub closed: Option<Frame>,
}

/// Which cut of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The period in which the present moment lies.
    Open,
    Closed,
}

/// Sums that have to be loaded from the ledger after time moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub(in crate::domain) frame: usize,
    pub(in crate::domain) which: Which,
    pub(in crate::domain) is_subtracted: bool,
    /// The hours whose sums are needed.
    pub hours: HourSpan,
}

impl Frame {
    pub(in crate::domain) fn new(cut: Cut) -> Frame {
        let label = cut.label.as_deref().map(Arc::from);
        Frame {
            hours: cut.span.hours(),
            label,
            cut,
            sums: Sums::new(),
        }
    }

    /// A part's amounts by cell index.
    pub fn sums_of(&self, part: usize) -> &[(u32, Amounts)] {
        self.sums.get(part).map_or(&[], Vec::as_slice)
    }

    /// A part's amounts over all cells.
    pub fn sum_of(&self, part: usize) -> Amounts {
        self.sums_of(part)
            .iter()
            .fold(Amounts::ZERO, |sum, (_, amounts)| sum + *amounts)
    }
}

impl Kept {
    pub(in crate::domain) fn advance(&mut self, index: usize, cut: Cut) -> Vec<Load> {
        let load = |which, is_subtracted, hours| Load {
            frame: index,
            which,
            is_subtracted,
            hours,
        };
        let next = Frame::new(cut);
        if self.key.period.is_calendar() {
            let before = period::previous(self.key.period, &self.key.zone.rules, &next.cut);
            let old = std::mem::replace(&mut self.open, next);
            let mut loads = vec![load(Which::Open, false, self.open.hours)];
            if before == old.cut {
                self.closed = Some(old);
            } else {
                let closed = Frame::new(before);
                loads.push(load(Which::Closed, false, closed.hours));
                self.closed = Some(closed);
            }
            return loads;
        }
        let old = self.open.hours;
        self.open.cut = next.cut;
        self.open.hours = next.hours;
        let gone = old
            .minus(next.hours)
            .into_iter()
            .map(|hours| load(Which::Open, true, hours));
        let come = next
            .hours
            .minus(old)
            .into_iter()
            .map(|hours| load(Which::Open, false, hours));
        gone.chain(come).collect()
    }
}

/// Adds to one cell.
pub(in crate::domain) fn add(sums: &mut Sums, part: usize, cell: u32, amounts: Amounts) {
    if sums.len() <= part {
        sums.resize_with(part + 1, Vec::new);
    }
    let cells = &mut sums[part];
    match cells.binary_search_by_key(&cell, |(known, _)| *known) {
        Ok(place) => cells[place].1 += amounts,
        Err(place) => cells.insert(place, (cell, amounts)),
    }
}
