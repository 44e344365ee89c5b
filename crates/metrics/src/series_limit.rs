//! Selects the series shown under `max_series`: shown ones stay, new ones are added by month spend.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use spendwatch_domain::units::money::Usd;

/// Series that are shown together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub id: &'a str,
    /// Month spend.
    pub spend: Usd,
    pub n_series: usize,
}

/// Returns the ids that fit into `room` series, and the number of series that do not.
pub fn fit(
    mut candidates: Vec<Candidate<'_>>,
    before: &BTreeSet<String>,
    mut room: usize,
) -> (BTreeSet<String>, u64) {
    candidates.sort_by_key(|candidate| {
        let is_new = !before.contains(candidate.id);
        (is_new, Reverse(candidate.spend), candidate.id)
    });
    let (mut shown, mut n_dropped) = (BTreeSet::new(), 0);
    for candidate in candidates {
        if candidate.n_series <= room {
            room -= candidate.n_series;
            shown.insert(candidate.id.to_owned());
        } else {
            n_dropped += candidate.n_series;
        }
    }
    (shown, u64::try_from(n_dropped).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[&str], room: usize, expected: (&[&str], u64)) {
        let candidate = |id, dollars, n_series| Candidate {
            id,
            spend: Usd::from_dollars(dollars),
            n_series,
        };
        let candidates = vec![
            candidate("a", 1, 1),
            candidate("b", 5, 3),
            candidate("c", 9, 2),
        ];
        let before = before.iter().copied().map(str::to_owned).collect();
        let (shown, n_dropped) = fit(candidates, &before, room);
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        assert_eq!((shown.as_slice(), n_dropped), expected);
    }

    #[test]
    fn shown_series_stay_and_the_largest_are_added() {
        check(&[], 6, (&["a", "b", "c"], 0));
        check(&[], 5, (&["b", "c"], 1));
        check(&[], 3, (&["a", "c"], 3));
        check(&["a"], 3, (&["a", "c"], 3));
        check(&["a", "b"], 4, (&["a", "b"], 2));
        check(&["gone"], 0, (&[], 6));
    }
}
