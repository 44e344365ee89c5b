//! Selects the message to claim and the messages to fold into it, from waiting rows in the order of their decision. Reads
//! no more rows than needed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::db::values::StoredTime;
use crate::error::StoreErrorCause;
use spendwatch_domain::units::ids::NotifierName;

/// Maximum number of messages that are folded into one, itself included.
const MAX_FOLDED_ROWS: usize = 500;
/// Maximum number of facts that are folded, unless the first message alone has more.
const MAX_FOLDED_FACTS: usize = 1000;
/// Number of rows that cannot be folded after which the search for more ends.
const MAX_PASSED_ROWS: usize = 2000;

/// The columns of a waiting row that the selection needs.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRow {
    pub(crate) position: i64,
    pub(crate) recipient: Option<String>,
    next_attempt: Timestamp,
    /// Its content is fixed, because it had an attempt, is a replay, or is a digest.
    is_frozen: bool,
    fingerprints: Vec<String>,
}

/// Alerts of earlier rows, by recipient. A later row with one of them must wait.
#[derive(Debug, Default)]
struct BlockedAlerts(BTreeMap<Option<String>, BTreeSet<String>>);

impl BlockedAlerts {
    fn blocks(&self, row: &WaitingRow) -> bool {
        let of_recipient = self.0.get(&row.recipient);
        of_recipient.is_some_and(|blocked| row.fingerprints.iter().any(|one| blocked.contains(one)))
    }

    fn add(&mut self, row: WaitingRow) {
        let of_recipient = self.0.entry(row.recipient).or_default();
        of_recipient.extend(row.fingerprints);
    }
}

/// The row to claim, and the rows to fold into it.
#[derive(Debug, Default)]
pub(crate) struct ClaimSelection {
    now: Timestamp,
    /// Position of the only row that may be claimed; others are folded as usual.
    pub(crate) only: Option<i64>,
    blocked: BlockedAlerts,
    pub(crate) chosen: Option<WaitingRow>,
    pub(crate) folded: Vec<WaitingRow>,
    n_facts: usize,
    n_passed: usize,
}

impl ClaimSelection {
    pub(crate) fn new(now: Timestamp) -> ClaimSelection {
        ClaimSelection {
            now,
            ..ClaimSelection::default()
        }
    }

    /// Breaks as soon as no later row can change the selection.
    pub(crate) fn consider(&mut self, row: WaitingRow) -> ControlFlow<()> {
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

/// The row with which a parked notifier is probed: the one waiting longest since its last attempt or its decision, so that
/// a message that is itself the problem does not block the others.
#[derive(Debug, Default)]
pub(crate) struct ProbeSelection {
    now: Timestamp,
    blocked: BlockedAlerts,
    pub(crate) chosen: Option<WaitingRow>,
    n_considered: usize,
}

impl ProbeSelection {
    pub(crate) fn new(now: Timestamp) -> ProbeSelection {
        ProbeSelection {
            now,
            ..ProbeSelection::default()
        }
    }

    pub(crate) fn consider(&mut self, row: WaitingRow) -> ControlFlow<()> {
        let can_go = row.next_attempt <= self.now && !self.blocked.blocks(&row);
        let is_better = self
            .chosen
            .as_ref()
            .is_none_or(|chosen| row.next_attempt < chosen.next_attempt);
        if can_go && is_better {
            self.chosen = Some(row.clone());
        }
        self.blocked.add(row);
        self.n_considered += 1;
        stop_if(self.n_considered >= MAX_PASSED_ROWS)
    }
}

/// When the first row that is not blocked is due.
#[derive(Debug, Default)]
pub(crate) struct DueSearch {
    now: Timestamp,
    blocked: BlockedAlerts,
    pub(crate) earliest: Option<Timestamp>,
}

impl DueSearch {
    pub(crate) fn new(now: Timestamp) -> DueSearch {
        DueSearch {
            now,
            ..DueSearch::default()
        }
    }

    /// Breaks at a row that is already due.
    pub(crate) fn consider(&mut self, row: WaitingRow) -> ControlFlow<()> {
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

/// Passes a notifier's waiting rows in the order of their decision to `visit` until it breaks, without reading the rest of a
/// backlog.
pub(crate) fn for_each_waiting(
    db: &Connection,
    notifier: &NotifierName,
    mut visit: impl FnMut(WaitingRow) -> ControlFlow<()>,
) -> Result<(), StoreErrorCause> {
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
        let waiting = WaitingRow {
            position,
            recipient: row.get(1)?,
            next_attempt: row.get::<_, StoredTime>(2)?.0,
            is_frozen: row.get(3)?,
            fingerprints: fingerprints.collect::<Result<_, _>>()?,
        };
        if visit(waiting).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::at;

    #[test]
    fn the_search_for_rows_to_fold_is_bounded() {
        let row = |position: i64, recipient: &str, fingerprint: String| WaitingRow {
            position,
            recipient: Some(recipient.to_owned()),
            next_attempt: at(0),
            is_frozen: false,
            fingerprints: vec![fingerprint],
        };
        let n_taken = |selection: &mut ClaimSelection,
                       rows: &mut dyn Iterator<Item = WaitingRow>| {
            let mut n_taken = 0;
            for row in rows {
                n_taken += 1;
                if selection.consider(row).is_break() {
                    break;
                }
            }
            n_taken
        };
        let mut selection = ClaimSelection::new(at(1));
        let mut alike = (0..9000).map(|n| row(n, "a", format!("{n}")));
        assert_eq!(n_taken(&mut selection, &mut alike), MAX_FOLDED_ROWS);
        let mut selection = ClaimSelection::new(at(1));
        let others = (1..9000).map(|n| row(n, "b", format!("{n}")));
        let mut mixed = std::iter::once(row(0, "a", "0".to_owned())).chain(others);
        assert_eq!(n_taken(&mut selection, &mut mixed), 1 + MAX_PASSED_ROWS);
        assert_eq!(selection.folded.len(), 0);
        // A message with attempts is claimed alone, so no other row is read.
        let mut selection = ClaimSelection::new(at(1));
        let mut tried = (0..9000).map(|n| WaitingRow {
            is_frozen: true,
            ..row(n, "a", format!("{n}"))
        });
        assert_eq!(n_taken(&mut selection, &mut tried), 1);
    }
}
