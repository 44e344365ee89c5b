//! When keys and people used something last, by the rows of the ledger: as they are read once, and recorded from then on.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::change::{Kind, Recorded};
use crate::domain::ids::{ActorId, ApiKeyId};
use crate::domain::usage::CellKey;

/// When keys and people were used last, by the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastUses {
    /// The end of the newest hour or day with anything used: it may have been its last moment.
    pub keys: BTreeMap<ApiKeyId, Timestamp>,
    pub people: BTreeMap<ActorId, Timestamp>,
    /// From when on usage is told by key; `None` where it never was.
    pub by_key_since: Option<Timestamp>,
    /// For so long before now nothing is known yet.
    pub lag: SignedDuration,
}

impl LastUses {
    /// A cell had usage in an hour or day from `start` to `end`.
    pub fn note(&mut self, cell: &CellKey, start: Timestamp, end: Timestamp) {
        let later = |known: &mut Timestamp| *known = end.max(*known);
        if let Some(key) = &cell.api_key {
            self.keys
                .entry(key.clone())
                .and_modify(later)
                .or_insert(end);
            let since = self.by_key_since.map_or(start, |since| since.min(start));
            self.by_key_since = Some(since);
        }
        if let Some(person) = &cell.user {
            let known = self.people.entry(person.clone());
            known.and_modify(later).or_insert(end);
        }
    }

    /// What was written to a part of the ledger. A row that was removed may have been the newest of somebody: that nobody used
    /// it is found when the ledger is read again.
    pub fn take_in(&mut self, recorded: &Recorded) {
        let hours_from = recorded.coverage.hours_from;
        for row in recorded.rows.iter().filter(|row| !row.amounts.is_zero()) {
            let is_in_hours = hours_from.is_some_and(|from| row.hour >= from.first_hour());
            // As everywhere: a day counts by its own row where its hours are not known.
            let (counts, n_hours) = match row.kind {
                Kind::Hour | Kind::Booked => (is_in_hours, 1),
                Kind::Day => (!is_in_hours, 24),
            };
            if counts {
                self.note(&row.cell, row.hour.start(), row.hour.plus(n_hours).start());
            }
        }
    }

    /// What of it holds at `at`, where all usage is known from and up to some time without a gap. What was used before may have
    /// been used in the gap as well; what follows is not known yet.
    #[must_use]
    pub fn known(self, from_until: Option<(Timestamp, Timestamp)>, at: Timestamp) -> LastUses {
        let Some((from, until)) = from_until else {
            return LastUses::default();
        };
        LastUses {
            keys: not_before(self.keys, from),
            people: not_before(self.people, from),
            by_key_since: self.by_key_since.map(|since| since.max(from)),
            lag: at.duration_since(until).max(SignedDuration::ZERO),
        }
    }

    /// What was not used up to where the ledger is known is idle for that long, and not for longer.
    pub fn idle_since(&self, last: Timestamp, at: Timestamp) -> Timestamp {
        last.checked_add(self.lag).map_or(at, |since| since.min(at))
    }
}

fn not_before<Id: Ord>(uses: BTreeMap<Id, Timestamp>, from: Timestamp) -> BTreeMap<Id, Timestamp> {
    let uses = uses.into_iter();
    uses.map(|(id, last)| (id, last.max(from))).collect()
}
