//! What is unknown about the period of a digest.

use jiff::{SignedDuration, Timestamp};

use crate::digest::DataGap;
use crate::digest::period::ClosedPeriod;
use crate::ledger::coverage::{Coverage, is_settled};
use crate::units::span::Day;

/// Maximum number of stale parts that are named.
const MAX_STALE: usize = 5;

/// Returns what is unknown, given the name and coverage of each part.
pub fn gaps(
    parts: &[(String, Option<&Coverage>)],
    closed: &ClosedPeriod,
    settle: SignedDuration,
) -> Vec<DataGap> {
    let mut gaps = Vec::new();
    let read: Vec<(&String, Timestamp, &Coverage)> = parts
        .iter()
        .filter_map(|(name, coverage)| {
            let coverage = (*coverage)?;
            coverage.known_from()?;
            Some((name, coverage.as_of?, coverage))
        })
        .collect();
    let n = parts.len() - read.len();
    if n > 0 {
        gaps.push(DataGap::Unread {
            n,
            n_all: parts.len(),
        });
    }
    let last_hour = closed.cut.span.hours().end.plus(-1);
    let stale: Vec<DataGap> = read
        .iter()
        .filter(|(_, as_of, _)| !is_settled(last_hour, settle, *as_of))
        .map(|(name, as_of, _)| DataGap::Stale {
            name: (*name).clone(),
            as_of: *as_of,
        })
        .collect();
    let n_more = stale.len().saturating_sub(MAX_STALE);
    gaps.extend(stale.into_iter().take(MAX_STALE));
    if n_more > 0 {
        gaps.push(DataGap::MoreStale { n: n_more });
    }
    let known_from = read
        .iter()
        .filter_map(|(_, _, coverage)| coverage.known_from())
        .max();
    gaps.extend(
        known_from
            .map(Day::start)
            .filter(|at| *at > closed.before.span.start)
            .map(|at| DataGap::KnownFrom { at }),
    );
    gaps
}

/// Returns whether a digest can be sent without waiting. It does not wait for history, which would not arrive.
pub fn is_complete(gaps: &[DataGap]) -> bool {
    gaps.iter().all(|gap| match gap {
        DataGap::Unread { .. } | DataGap::Stale { .. } | DataGap::MoreStale { .. } => false,
        DataGap::KnownFrom { .. } | DataGap::Estimated { .. } | DataGap::Unpriced { .. } => true,
    })
}
