//! Figures: the sums that gauges and rules need, held in memory and changed by what an answer changed.
//!
//! A frame is a period in a zone, cut at the present moment; its sums are kept by part and cell, for the open period
//! and for the one just closed. What the ledger has to be asked for when time moves on is returned as a list of loads, so
//! that nothing here does IO.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::domain::change::Delta;
use crate::domain::coverage::{Coverage, is_day_settled, is_settled};
use crate::domain::frame::{Frame, FrameKey, Kept, Load, Sums, Which, add};
use crate::domain::money::Usd;
use crate::domain::period::{self, Cut, Period};
use crate::domain::span::{Hour, HourSpan, Span};
use crate::domain::usage::{Amounts, Buckets, Cell, Granularity, Part, add_to};

/// What is known about one part beside its sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    pub part: Part,
    /// Up to when its figures are known.
    pub as_of: Option<Timestamp>,
    /// Whether the newest poll of it was complete.
    pub is_fresh: bool,
    /// The first hour that is known.
    pub known_from: Option<Hour>,
    /// All of the history that is read at first was read.
    pub is_history_read: bool,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// Settled hours whose spend fell in this cycle.
    pub fell: BTreeSet<Hour>,
    /// Its newest settled hour and that hour's amounts.
    pub last_hour: Option<(Hour, Amounts)>,
    /// Hours and days of which something could not be read: a sum over any of them is a lower bound.
    pub unreadable: Vec<HourSpan>,
    /// Where the running hours begin that could not be read.
    pub unreadable_since: Option<Timestamp>,
    /// Grows whenever a sum of it may have changed.
    pub version: u64,
}

impl PartState {
    /// Up to when all of its figures are known.
    pub fn known_until(&self) -> Option<Timestamp> {
        let as_of = self.as_of?;
        Some(
            self.unreadable_since
                .map_or(as_of, |since| since.min(as_of)),
        )
    }

    /// Whether something in some hours could not be read.
    pub fn is_unreadable_in(&self, hours: HourSpan) -> bool {
        let mut spans = self.unreadable.iter();
        spans.any(|span| !span.intersect(hours).is_empty())
    }
}

/// Buckets of each part of which something could not be read.
pub type UnreadableBuckets = BTreeMap<Part, BTreeSet<(Granularity, Hour)>>;

/// A sum as the ledger gives it.
pub type LoadedSum = (Part, Cell, Amounts);

/// All figures of one organization.
#[derive(Debug, Clone)]
pub struct Figures {
    cells: Vec<Cell>,
    cell_index: HashMap<Cell, u32>,
    parts: Vec<PartState>,
    part_index: HashMap<Part, usize>,
    frames: Vec<Kept>,
    recorded: Sums,
    /// The remainder's hours that are not settled: rules judge it without them.
    unattributed_open: Buckets,
    settle: SignedDuration,
    /// Of the newest settled hour that is known of all parts.
    organization_last_hour: Option<Usd>,
}

impl Figures {
    /// No figures yet, for frames that are cut at `now`.
    pub fn new(keys: &[FrameKey], settle: SignedDuration, now: Timestamp) -> Figures {
        let mut figures = Figures {
            cells: Vec::new(),
            cell_index: HashMap::new(),
            parts: Vec::new(),
            part_index: HashMap::new(),
            frames: Vec::new(),
            recorded: Vec::new(),
            unattributed_open: Buckets::new(),
            settle,
            organization_last_hour: None,
        };
        for key in keys {
            figures.add_frame(key, now);
        }
        figures
    }

    /// What must be loaded for all frames, open and closed, of a store just opened.
    pub fn all_loads(&self) -> Vec<Load> {
        let load = |frame, which, hours| Load {
            frame,
            which,
            is_subtracted: false,
            hours,
        };
        self.frames
            .iter()
            .enumerate()
            .flat_map(|(index, kept)| {
                let closed = kept
                    .closed
                    .as_ref()
                    .map(|closed| load(index, Which::Closed, closed.hours));
                [Some(load(index, Which::Open, kept.open.hours)), closed]
            })
            .flatten()
            .collect()
    }

    /// Moves every calendar period to `now`, never back, and says what has to be loaded for it.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Load> {
        self.advance_those(now, |period, before, next| {
            period.is_calendar() && next.start > before.start
        })
    }

    /// Moves every rolling span to the moment up to which all is known, and says what has to be loaded for it. Where the
    /// service lags by hours, a span up to the present would lack just these.
    pub fn roll(&mut self, known_at: Timestamp) -> Vec<Load> {
        self.advance_those(known_at, |period, before, next| {
            !period.is_calendar() && next.start != before.start
        })
    }

    /// The moment by which a period is cut. An hour is complete when it is settled.
    fn moment_of(&self, period: Period, at: Timestamp) -> Timestamp {
        match period {
            Period::Complete(_) => at.checked_sub(self.settle).unwrap_or(at),
            Period::Hour
            | Period::Day
            | Period::Week
            | Period::Month
            | Period::Quarter
            | Period::Rolling(_) => at,
        }
    }

    fn advance_those(
        &mut self,
        at: Timestamp,
        moves: impl Fn(Period, Span, Span) -> bool,
    ) -> Vec<Load> {
        let mut loads = Vec::new();
        let mut has_moved = false;
        let cut_of = |key: &FrameKey| {
            let at = self.moment_of(key.period, at);
            period::cut(key.period, &key.zone.rules, at)
        };
        let cuts: Vec<Cut> = self.frames.iter().map(|kept| cut_of(&kept.key)).collect();
        for (index, (kept, cut)) in self.frames.iter_mut().zip(cuts).enumerate() {
            if !moves(kept.key.period, kept.open.cut.span, cut.span) {
                continue;
            }
            loads.extend(kept.advance(index, cut));
            has_moved = true;
        }
        if has_moved {
            for state in &mut self.parts {
                state.version += 1;
            }
        }
        loads
    }

    /// Takes in what was loaded.
    pub fn load(&mut self, load: &Load, sums: &[LoadedSum]) {
        for (part, cell, amounts) in sums {
            let (part, cell) = (self.part(part), self.cell(cell));
            self.parts[part].version += 1;
            let kept = &mut self.frames[load.frame];
            let frame = match load.which {
                Which::Open => Some(&mut kept.open),
                Which::Closed => kept.closed.as_mut(),
            };
            let amounts = if load.is_subtracted {
                -*amounts
            } else {
                *amounts
            };
            if let Some(frame) = frame {
                add(&mut frame.sums, part, cell, amounts);
            }
        }
    }

    /// Takes in the sums of everything ever recorded.
    pub fn load_recorded(&mut self, sums: &[LoadedSum]) {
        for (part, cell, amounts) in sums {
            let (part, cell) = (self.part(part), self.cell(cell));
            add(&mut self.recorded, part, cell, *amounts);
        }
    }

    /// Takes in the remainder's newest hours.
    pub fn load_unattributed(&mut self, hours: Buckets) {
        self.unattributed_open = hours;
    }

    /// Keeps what was known of each part's newest settled hour.
    pub fn keep_last_hours(&mut self, before: &Figures) {
        for state in &before.parts {
            let index = self.part(&state.part);
            self.parts[index].last_hour = state.last_hour;
        }
        self.organization_last_hour = before.organization_last_hour;
    }

    /// Before a cycle: nothing fell yet, and nothing was polled.
    pub fn begin_cycle(&mut self) {
        for state in &mut self.parts {
            state.fell.clear();
            state.is_fresh = false;
        }
    }

    /// What one part's coverage says, whether its newest poll was complete, and whether all of the history that is read at
    /// first was read.
    pub fn cover(
        &mut self,
        part: &Part,
        coverage: &Coverage,
        is_fresh: bool,
        is_history_read: bool,
    ) {
        let index = self.part(part);
        let state = &mut self.parts[index];
        state.as_of = coverage.as_of;
        state.first_seen = coverage.first_seen;
        state.known_from = coverage.known_from().map(super::span::Day::first_hour);
        state.is_history_read = coverage.days.is_some() && is_history_read;
        state.is_fresh = is_fresh;
    }

    /// Which buckets could not be read, of all parts. An hour of a day that is settled does not count as running.
    pub fn note_unreadable(&mut self, buckets: &UnreadableBuckets, now: Timestamp) {
        for state in &mut self.parts {
            state.unreadable.clear();
            state.unreadable_since = None;
        }
        for (part, buckets) in buckets {
            let index = self.part(part);
            let state = &mut self.parts[index];
            for (granularity, hour) in buckets {
                let n_hours = match granularity {
                    Granularity::Hour => 1,
                    Granularity::Day => 24,
                };
                state.unreadable.push(HourSpan {
                    start: *hour,
                    end: hour.plus(n_hours),
                });
                let is_running =
                    *granularity == Granularity::Hour && !is_day_settled(hour.day(), now);
                if is_running {
                    let earlier = state
                        .unreadable_since
                        .map_or(hour.start(), |since| since.min(hour.start()));
                    state.unreadable_since = Some(earlier);
                }
            }
        }
    }

    /// Takes in what an answer changed.
    pub fn apply(&mut self, part: &Part, deltas: &[Delta], fell: &BTreeSet<Hour>) {
        let index = self.part(part);
        self.parts[index].fell.extend(fell.iter().copied());
        self.parts[index].version += u64::from(!deltas.is_empty());
        for delta in deltas {
            let cell = self.cell(&delta.cell);
            add(&mut self.recorded, index, cell, delta.amounts);
            for kept in &mut self.frames {
                for frame in std::iter::once(&mut kept.open).chain(kept.closed.as_mut()) {
                    if frame.hours.contains(delta.hour) {
                        add(&mut frame.sums, index, cell, delta.amounts);
                    }
                }
            }
            if *part == Part::Unattributed {
                add_to(
                    self.unattributed_open.entry(delta.hour).or_default(),
                    &delta.cell,
                    delta.amounts,
                );
            }
        }
    }

    /// The newest settled hour at a moment.
    pub fn newest_settled_hour(&self, at: Timestamp) -> Hour {
        Hour::of(at.checked_sub(self.settle).unwrap_or(at)).plus(-1)
    }

    /// Takes in the sums of one settled hour, for the parts that are known up to it; the others keep theirs.
    pub fn set_last_hour(&mut self, hour: Hour, sums: &[LoadedSum]) {
        let mut by_part: HashMap<&Part, Amounts> = HashMap::new();
        for (part, _, amounts) in sums {
            *by_part.entry(part).or_default() += *amounts;
        }
        let settle = self.settle;
        for state in &mut self.parts {
            if state
                .as_of
                .is_some_and(|as_of| is_settled(hour, settle, as_of))
            {
                let newest = Some((hour, by_part.get(&state.part).copied().unwrap_or_default()));
                state.version += u64::from(state.last_hour != newest);
                state.last_hour = newest;
            }
        }
        // The remainder is known as far as everything else is.
        let known = self.part_state(&Part::Unattributed);
        if known.is_some_and(|rest| rest.last_hour.is_some_and(|(known, _)| known == hour)) {
            self.organization_last_hour = Some(by_part.values().map(|sum| sum.spend).sum());
        }
    }

    /// What the whole organization spent in the newest settled hour that is known of all its parts.
    pub fn organization_last_hour(&self) -> Option<Usd> {
        self.organization_last_hour
    }

    /// Forgets the remainder's hours that are settled.
    pub fn settle_unattributed(&mut self, at: Timestamp) {
        let settle = self.settle;
        self.unattributed_open
            .retain(|hour, _| !is_settled(*hour, settle, at));
    }

    /// The parts, in the order of their indices. The whole is among them for its age; it has no sums.
    pub fn parts(&self) -> &[PartState] {
        &self.parts
    }

    /// The state of one part.
    pub fn part_state(&self, part: &Part) -> Option<&PartState> {
        self.part_index.get(part).map(|index| &self.parts[*index])
    }

    /// The cells, in the order of their indices.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The cell of an index.
    pub fn cell_at(&self, index: u32) -> &Cell {
        &self.cells[index as usize]
    }

    /// A frame's open and closed cut; `None` for a frame that is not kept.
    pub fn frame(&self, key: &FrameKey) -> Option<(&Frame, Option<&Frame>)> {
        let kept = self.frames.iter().find(|kept| kept.key == *key)?;
        Some((&kept.open, kept.closed.as_ref()))
    }

    /// All that was ever recorded of a part, by cell index.
    pub fn recorded(&self, part: usize) -> &[(u32, Amounts)] {
        self.recorded.get(part).map_or(&[], Vec::as_slice)
    }

    /// What a rule must leave out of the remainder in a span: the hours that are not settled.
    pub fn unsettled_of_unattributed(
        &self,
        hours: HourSpan,
        at: Timestamp,
    ) -> BTreeMap<&Cell, Amounts> {
        let mut unsettled: BTreeMap<&Cell, Amounts> = BTreeMap::new();
        let open = self.unattributed_open.iter();
        for (_, cells) in
            open.filter(|(hour, _)| hours.contains(**hour) && !is_settled(**hour, self.settle, at))
        {
            for (cell, amounts) in cells {
                *unsettled.entry(cell).or_default() += *amounts;
            }
        }
        unsettled
    }

    /// After how long an hour is settled.
    pub fn settle(&self) -> SignedDuration {
        self.settle
    }

    fn add_frame(&mut self, key: &FrameKey, now: Timestamp) {
        if self.frames.iter().any(|kept| kept.key == *key) {
            return;
        }
        let at = self.moment_of(key.period, now);
        let cut = period::cut(key.period, &key.zone.rules, at);
        let closed = key
            .period
            .is_calendar()
            .then(|| Frame::new(period::previous(key.period, &key.zone.rules, &cut)));
        self.frames.push(Kept {
            key: key.clone(),
            open: Frame::new(cut),
            closed,
        });
    }

    fn part(&mut self, part: &Part) -> usize {
        if let Some(index) = self.part_index.get(part) {
            return *index;
        }
        self.parts.push(PartState {
            part: part.clone(),
            as_of: None,
            is_fresh: false,
            known_from: None,
            is_history_read: false,
            first_seen: Timestamp::MIN,
            fell: BTreeSet::new(),
            last_hour: None,
            unreadable: Vec::new(),
            unreadable_since: None,
            version: 0,
        });
        self.part_index.insert(part.clone(), self.parts.len() - 1);
        self.parts.len() - 1
    }

    fn cell(&mut self, cell: &Cell) -> u32 {
        if let Some(index) = self.cell_index.get(cell) {
            return *index;
        }
        let index = u32::try_from(self.cells.len()).expect("fewer than 2^32 cells");
        self.cells.push(cell.clone());
        self.cell_index.insert(cell.clone(), index);
        index
    }
}
