//! A budget: limits by subject, each for all time or for some days.

use std::collections::HashMap;

use jiff::civil::Date;

use crate::domain::matcher::Glob;
use crate::domain::money::Usd;

/// Limits in USD by subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    /// Where it is written, unless it stands in the rule itself: only to show it.
    pub origin: Option<String>,
    /// Of subjects that are named in full.
    by_name: HashMap<String, Vec<Share>>,
    /// Of all that a glob matches; the longest first.
    by_glob: Vec<(Glob, Vec<Share>)>,
}

/// What a subject may spend in each period that begins on one of these days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The first day; `None` is from ever.
    pub from: Option<Date>,
    /// The last day; `None` is for ever.
    pub until: Option<Date>,
    /// How much; 0 is nothing at all.
    pub limit: Usd,
}

impl Share {
    fn holds_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    fn overlaps(&self, other: &Share) -> bool {
        let begins_by_end = |one: &Share, other: &Share| match (one.from, other.until) {
            (Some(from), Some(until)) => from <= until,
            (None, _) | (_, None) => true,
        };
        begins_by_end(self, other) && begins_by_end(other, self)
    }
}

impl Budget {
    /// Adds a share for a subject's name or id, or for all that a glob matches. Gives `false`, and adds nothing, where it has
    /// one on some of these days already.
    pub fn add(&mut self, subject: &Glob, share: Share) -> bool {
        let pattern = subject.pattern();
        let shares = if is_plain(pattern) {
            self.by_name.entry(pattern.to_owned()).or_default()
        } else {
            let length = |glob: &Glob| std::cmp::Reverse(glob.pattern().chars().count());
            let place = match self.by_glob.iter().position(|(glob, _)| glob == subject) {
                Some(place) => place,
                None => {
                    let sorted = |(glob, _): &(Glob, Vec<Share>)| length(glob) <= length(subject);
                    let place = self.by_glob.partition_point(sorted);
                    self.by_glob.insert(place, (subject.clone(), Vec::new()));
                    place
                }
            };
            &mut self.by_glob[place].1
        };
        if shares.iter().any(|known| known.overlaps(&share)) {
            return false;
        }
        shares.push(share);
        true
    }

    /// What a subject may spend in the period that begins on a day. A name in full comes before its globs, a longer glob
    /// before a shorter one; `None` where none has a share on that day.
    pub fn limit(&self, id: &str, name: &str, day: Date) -> Option<Usd> {
        let on_day = |shares: &[Share]| {
            let share = shares.iter().find(|share| share.holds_on(day));
            share.map(|share| share.limit)
        };
        let named = [name, id]
            .into_iter()
            .find_map(|name| on_day(self.by_name.get(name)?));
        named.or_else(|| {
            let mut globs = self.by_glob.iter();
            globs.find_map(|(glob, shares)| {
                let is_meant = glob.matches(name) || glob.matches(id);
                if is_meant { on_day(shares) } else { None }
            })
        })
    }

    /// Number of globs.
    pub fn n_globs(&self) -> usize {
        self.by_glob.len()
    }

    /// Every share, by what it is for.
    pub fn shares(&self) -> Vec<(&str, Share)> {
        let names = self.by_name.iter();
        let globs = self
            .by_glob
            .iter()
            .map(|(glob, shares)| (glob.pattern(), shares));
        let mut all: Vec<(&str, Share)> = names
            .map(|(name, shares)| (name.as_str(), shares))
            .chain(globs)
            .flat_map(|(subject, shares)| shares.iter().map(move |share| (subject, *share)))
            .collect();
        all.sort_by_key(|(subject, share)| (*subject, share.from));
        all
    }
}

/// Whether a pattern is a name in full.
fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn share(from: &str, until: &str, dollars: i64) -> Share {
        let day = |text: &str| (!text.is_empty()).then(|| day(text));
        Share {
            from: day(from),
            until: day(until),
            limit: Usd::from_dollars(dollars),
        }
    }

    #[test]
    fn the_nearest_share_counts() {
        let mut budget = Budget::default();
        for (subject, from, until, dollars) in [
            ("*", "", "", 500),
            ("Prod*", "", "2026-12-31", 4000),
            ("Prod search", "2026-11-01", "2026-11-30", 5000),
            ("Prod search", "2026-12-01", "", 6000),
            ("wrkspc_9", "", "", 7),
        ] {
            let glob = Glob::new(subject).unwrap();
            assert!(budget.add(&glob, share(from, until, dollars)), "{subject}");
        }
        let limit = |id: &str, name: &str, on: &str| {
            let limit = budget.limit(id, name, day(on))?;
            Some(limit.pico() / Usd::from_dollars(1).pico())
        };
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-11-01"), Some(5000));
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-11-30"), Some(5000));
        assert_eq!(limit("wrkspc_1", "Prod search", "2027-01-01"), Some(6000));
        // Not yet a share of its own: the glob's.
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-10-31"), Some(4000));
        assert_eq!(limit("wrkspc_2", "Prod other", "2026-11-01"), Some(4000));
        assert_eq!(limit("wrkspc_2", "Prod other", "2027-01-01"), Some(500));
        assert_eq!(limit("wrkspc_9", "Prod nine", "2026-11-01"), Some(7));
        assert_eq!(Budget::default().limit("a", "A", day("2026-11-01")), None);
    }

    #[test]
    fn two_shares_of_a_subject_on_one_day_are_refused() {
        let mut budget = Budget::default();
        let mut add = |subject: &str, from, until| {
            budget.add(&Glob::new(subject).unwrap(), share(from, until, 1))
        };
        assert!(add("a", "2026-01-01", "2026-06-30"));
        assert!(!add("a", "2026-06-30", ""));
        assert!(!add("a", "", ""));
        assert!(add("a", "2026-07-01", ""));
        assert!(add("a*", "", ""));
        assert!(!add("a*", "2030-01-01", "2030-01-01"));
    }
}
