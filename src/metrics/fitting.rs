//! Who is shown where `max_series` does not let all be: who was shown stays, new ones come by their month's spend.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::domain::money::Usd;

/// Series that are shown together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Whose.
    pub id: &'a str,
    /// Of this month.
    pub spend: Usd,
    /// How many there are.
    pub n_series: usize,
}

/// Those that fit into so many series, and how many series do not.
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
    fn the_largest_fit_and_who_was_shown_stays() {
        check(&[], 6, (&["a", "b", "c"], 0));
        check(&[], 5, (&["b", "c"], 1));
        check(&[], 3, (&["a", "c"], 3));
        check(&["a"], 3, (&["a", "c"], 3));
        check(&["a", "b"], 4, (&["a", "b"], 2));
        check(&["gone"], 0, (&[], 6));
    }
}
