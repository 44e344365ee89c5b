//! Which waiting row goes next, and which go with it: looked through in the order of their decision, and no further than
//! needed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::domain::ids::NotifierName;
use crate::store::error::Cause;
use crate::store::values::At;

/// At most so many messages are folded into one.
const MAX_FOLDED_ROWS: usize = 500;
/// A folded message has at most so many facts before they are folded, unless the first alone has more.
const MAX_FOLDED_FACTS: usize = 1000;
/// What is folded is looked for no further than beyond so many rows that are not: they and what follows go out later.
const MAX_PASSED_ROWS: usize = 2000;

/// A waiting row, as far as the choice needs it.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) position: i64,
    pub(super) recipient: Option<String>,
    next_attempt: Timestamp,
    /// It had an attempt, is sent again, or is a digest: what it says stays as it is.
    is_frozen: bool,
    fingerprints: Vec<String>,
}

/// The alerts of earlier rows, by recipient: no later row with one of them may pass.
#[derive(Debug, Default)]
struct Blocked(BTreeMap<Option<String>, BTreeSet<String>>);

impl Blocked {
    fn blocks(&self, row: &Waiting) -> bool {
        let of_recipient = self.0.get(&row.recipient);
        of_recipient.is_some_and(|blocked| row.fingerprints.iter().any(|one| blocked.contains(one)))
    }

    fn add(&mut self, row: Waiting) {
        let of_recipient = self.0.entry(row.recipient).or_default();
        of_recipient.extend(row.fingerprints);
    }
}

/// The row to claim and what is folded into it, from rows in the order of their decision.
#[derive(Debug)]
pub(super) struct Choice {
    now: Timestamp,
    /// Only this row is chosen, by its position.
    only: Option<i64>,
    blocked: Blocked,
    pub(super) chosen: Option<Waiting>,
    pub(super) folded: Vec<Waiting>,
    n_facts: usize,
    n_passed: usize,
}

impl Choice {
    pub(super) fn at(now: Timestamp) -> Choice {
        Choice {
            now,
            only: None,
            blocked: Blocked::default(),
            chosen: None,
            folded: Vec::new(),
            n_facts: 0,
            n_passed: 0,
        }
    }

    /// Chooses no other row than this one, and folds as usual.
    pub(super) fn of(probe: &Waiting, now: Timestamp) -> Choice {
        Choice {
            only: Some(probe.position),
            ..Choice::at(now)
        }
    }

    /// Stops as soon as no later row can change the choice.
    pub(super) fn take(&mut self, row: Waiting) -> ControlFlow<()> {
        let can_go = row.next_attempt <= self.now && !self.blocked.blocks(&row);
        let Some(first) = &self.chosen else {
            if !can_go || self.only.is_some_and(|only| only != row.position) {
                self.blocked.add(row);
                return ControlFlow::Continue(());
            }
            let is_frozen = row.is_frozen;
            self.n_facts = row.fingerprints.len();
            self.chosen = Some(row);
            return stop_if(is_frozen);
        };
        let fits = can_go
            && !row.is_frozen
            && row.recipient == first.recipient
            && self.n_facts + row.fingerprints.len() <= MAX_FOLDED_FACTS;
        if fits {
            self.n_facts += row.fingerprints.len();
            self.folded.push(row);
        } else {
            self.n_passed += 1;
            self.blocked.add(row);
        }
        let is_full = self.folded.len() + 1 >= MAX_FOLDED_ROWS || self.n_facts >= MAX_FOLDED_FACTS;
        stop_if(is_full || self.n_passed >= MAX_PASSED_ROWS)
    }
}

/// The row with which a parked notifier is probed: the one that waits longest, since its last attempt or since it was
/// decided. A message that is refused for its own sake so holds up no other one.
#[derive(Debug)]
pub(super) struct Probe {
    now: Timestamp,
    blocked: Blocked,
    pub(super) chosen: Option<Waiting>,
    n_looked: usize,
}

impl Probe {
    pub(super) fn at(now: Timestamp) -> Probe {
        Probe {
            now,
            blocked: Blocked::default(),
            chosen: None,
            n_looked: 0,
        }
    }

    pub(super) fn take(&mut self, row: Waiting) -> ControlFlow<()> {
        let can_go = row.next_attempt <= self.now && !self.blocked.blocks(&row);
        let is_better = self
            .chosen
            .as_ref()
            .is_none_or(|chosen| row.next_attempt < chosen.next_attempt);
        if can_go && is_better {
            self.chosen = Some(row.clone());
        }
        self.blocked.add(row);
        self.n_looked += 1;
        stop_if(self.n_looked >= MAX_PASSED_ROWS)
    }
}

/// When the first row that overtakes nothing is due.
#[derive(Debug)]
pub(super) struct Search {
    now: Timestamp,
    blocked: Blocked,
    pub(super) earliest: Option<Timestamp>,
}

impl Search {
    pub(super) fn at(now: Timestamp) -> Search {
        Search {
            now,
            blocked: Blocked::default(),
            earliest: None,
        }
    }

    /// Stops at one that is due: nothing can be more urgent.
    pub(super) fn take(&mut self, row: Waiting) -> ControlFlow<()> {
        if !self.blocked.blocks(&row) {
            let due = row.next_attempt;
            self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        }
        self.blocked.add(row);
        stop_if(self.earliest.is_some_and(|earliest| earliest <= self.now))
    }
}

fn stop_if(is_over: bool) -> ControlFlow<()> {
    if is_over {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Shows what waits for a notifier in the order of its decision, row by row, until enough was seen: of a backlog only that is
/// read, and none of it is held here.
pub(super) fn look_through(
    db: &Connection,
    notifier: &NotifierName,
    mut look: impl FnMut(Waiting) -> ControlFlow<()>,
) -> Result<(), Cause> {
    let mut waiting = db.prepare_cached(
        "SELECT position, recipient, next_attempt, n_attempts > 0 OR is_replay OR digest IS NOT NULL
         FROM outbox WHERE state = 'waiting' AND notifier = ?1 ORDER BY position",
    )?;
    let mut alerts =
        db.prepare_cached("SELECT fingerprint FROM outbox_alerts WHERE position = ?1")?;
    let mut rows = waiting.query([notifier.as_str()])?;
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        let fingerprints = alerts.query_map([position], |row| row.get(0))?;
        let waiting = Waiting {
            position,
            recipient: row.get(1)?,
            next_attempt: row.get::<_, At>(2)?.0,
            is_frozen: row.get(3)?,
            fingerprints: fingerprints.collect::<Result<_, _>>()?,
        };
        if look(waiting).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::at;

    #[test]
    fn what_can_be_folded_is_looked_for_no_further_than_needed() {
        let row = |position: i64, recipient: &str, fingerprint: String| Waiting {
            position,
            recipient: Some(recipient.to_owned()),
            next_attempt: at(0),
            is_frozen: false,
            fingerprints: vec![fingerprint],
        };
        let n_taken = |choice: &mut Choice, rows: &mut dyn Iterator<Item = Waiting>| {
            let mut n_taken = 0;
            for row in rows {
                n_taken += 1;
                if choice.take(row).is_break() {
                    break;
                }
            }
            n_taken
        };
        let mut choice = Choice::at(at(1));
        let mut alike = (0..9000).map(|n| row(n, "a", format!("{n}")));
        assert_eq!(n_taken(&mut choice, &mut alike), MAX_FOLDED_ROWS);
        let mut choice = Choice::at(at(1));
        let others = (1..9000).map(|n| row(n, "b", format!("{n}")));
        let mut mixed = std::iter::once(row(0, "a", "0".to_owned())).chain(others);
        assert_eq!(n_taken(&mut choice, &mut mixed), 1 + MAX_PASSED_ROWS);
        assert_eq!(choice.folded.len(), 0);
        // One that was tried goes alone: nothing else is looked at.
        let mut choice = Choice::at(at(1));
        let mut tried = (0..9000).map(|n| Waiting {
            is_frozen: true,
            ..row(n, "a", format!("{n}"))
        });
        assert_eq!(n_taken(&mut choice, &mut tried), 1);
    }
}
