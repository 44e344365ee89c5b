//! Plans what a cycle fetches, and in which order. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use spendwatch_domain::ledger::coverage::{
    Coverage, PartFetch, PollSettings, Purpose, backlog, open_hours,
};
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::Part;

/// Requests of one stage. The whole is requested after all parts have responded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stage {
    /// Workspaces, the stalest first.
    pub parts: Vec<PartFetch>,
    pub whole: Vec<PartFetch>,
    /// The whole is staler than every part, so it goes first.
    pub is_whole_first: bool,
}

/// Plans the running hours of every part, from the first unreadable day if there is one.
pub fn running_stage(
    parts: &[Part],
    coverages: &BTreeMap<Part, Coverage>,
    unreadable: impl Fn(&Part) -> Option<Day>,
    reading: &PollSettings,
    now: Timestamp,
) -> Stage {
    let fresh = Coverage::new(now);
    let coverage_of = |part: &Part| coverages.get(part).unwrap_or(&fresh);
    let fetch = |part: &Part, coverage: &Coverage| {
        let mut fetch = open_hours(part, coverage, reading, now);
        fetch.first = unreadable(part).map_or(fetch.first, |day| day.min(fetch.first));
        fetch
    };
    let mut stalest_first: Vec<&Part> = parts.iter().collect();
    stalest_first.sort_by_key(|part| coverage_of(part).as_of);
    let fetches = stalest_first
        .iter()
        .map(|part| fetch(part, coverage_of(part)))
        .collect();
    let oldest = stalest_first
        .first()
        .and_then(|part| coverage_of(part).as_of);
    let whole = coverage_of(&Part::Whole);
    Stage {
        parts: fetches,
        whole: vec![fetch(&Part::Whole, whole)],
        is_whole_first: !parts.is_empty() && whole.as_of.is_some() && whole.as_of < oldest,
    }
}

/// Plans everything else that is due, by purpose. Corrections are spread over the cycles of their interval, the oldest
/// first.
pub fn backlog_stages(
    parts: &[Part],
    coverages: &BTreeMap<Part, Coverage>,
    reading: &PollSettings,
    cycle: SignedDuration,
    now: Timestamp,
) -> Vec<Stage> {
    let mut stages: BTreeMap<Purpose, Stage> = BTreeMap::new();
    for part in parts.iter().chain(std::iter::once(&Part::Whole)) {
        let Some(coverage) = coverages.get(part) else {
            continue;
        };
        for fetch in backlog(part, coverage, reading, now) {
            let stage = stages.entry(fetch.purpose).or_default();
            if *part == Part::Whole {
                stage.whole.push(fetch);
            } else {
                stage.parts.push(fetch);
            }
        }
    }
    if let Some(stage) = stages.get_mut(&Purpose::Corrections) {
        let corrected_at = |fetch: &PartFetch| {
            coverages
                .get(&fetch.part)
                .and_then(|coverage| coverage.corrected_at)
        };
        stage.parts.sort_by_key(corrected_at);
        stage
            .parts
            .truncate(share(parts.len(), cycle, reading.correction_interval));
    }
    stages.into_values().collect()
}

/// Returns whether something read at `at` has to be read again, in either direction of time.
pub fn is_old(at: Option<Timestamp>, interval: SignedDuration, now: Timestamp) -> bool {
    at.is_none_or(|at| now.duration_since(at).abs() >= interval)
}

/// Returns how many of `n` to handle per cycle so that each is handled once per interval; at least one.
pub fn share(n: usize, cycle: SignedDuration, interval: SignedDuration) -> usize {
    let (cycle, interval) = (cycle.as_secs().max(1), interval.as_secs().max(1));
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    let share = (n.saturating_mul(cycle) / interval)
        .saturating_add(1)
        .min(n.max(1));
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_spread_over_their_interval() {
        let minutes = SignedDuration::from_mins;
        assert_eq!(share(100, minutes(5), minutes(60)), 9);
        assert_eq!(share(3, minutes(5), minutes(60)), 1);
        assert_eq!(share(100, minutes(60), minutes(60)), 100);
        assert_eq!(share(0, minutes(5), minutes(60)), 1);
    }
}
