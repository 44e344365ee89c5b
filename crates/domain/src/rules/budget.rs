//! Budgets: limits in USD by subject, each for all time or for a range of days.

use std::collections::HashMap;

use jiff::civil::Date;

use crate::units::matcher::Glob;
use crate::units::money::Usd;

/// Limits in USD by subject name, id or glob.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    /// Name of the budget file, for display; `None` for limits written in the rule itself.
    pub origin: Option<String>,
    by_name: HashMap<String, Vec<BudgetEntry>>,
    /// Longest pattern first.
    by_glob: Vec<(Glob, Vec<BudgetEntry>)>,
}

/// Limit for each period that begins on one of these days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetEntry {
    /// First day; `None` means unbounded.
    pub from: Option<Date>,
    /// Last day, inclusive; `None` means unbounded.
    pub until: Option<Date>,
    /// 0 means that no spend is allowed.
    pub limit: Usd,
}

impl BudgetEntry {
    fn applies_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    fn overlaps(&self, other: &BudgetEntry) -> bool {
        let is_in_order = |from: Option<Date>, until: Option<Date>| {
            from.is_none_or(|from| until.is_none_or(|until| from <= until))
        };
        is_in_order(self.from, other.until) && is_in_order(other.from, self.until)
    }
}

impl Budget {
    /// Adds a limit for a name, id or glob. Returns `false` without adding it if it overlaps another of the same pattern.
    pub fn add(&mut self, subject: &Glob, entry: BudgetEntry) -> bool {
        let pattern = subject.pattern();
        let entries = if is_literal(pattern) {
            self.by_name.entry(pattern.to_owned()).or_default()
        } else {
            let length = |glob: &Glob| std::cmp::Reverse(glob.pattern().chars().count());
            let index = match self.by_glob.iter().position(|(glob, _)| glob == subject) {
                Some(index) => index,
                None => {
                    let sorted =
                        |(glob, _): &(Glob, Vec<BudgetEntry>)| length(glob) <= length(subject);
                    let index = self.by_glob.partition_point(sorted);
                    self.by_glob.insert(index, (subject.clone(), Vec::new()));
                    index
                }
            };
            &mut self.by_glob[index].1
        };
        if entries.iter().any(|existing| existing.overlaps(&entry)) {
            return false;
        }
        entries.push(entry);
        true
    }

    /// Returns the limit for the period that begins on `day`. An exact name or id takes precedence over globs, and a longer
    /// glob over a shorter one.
    pub fn limit(&self, id: &str, name: &str, day: Date) -> Option<Usd> {
        let on_day = |entries: &[BudgetEntry]| {
            let entry = entries.iter().find(|entry| entry.applies_on(day));
            entry.map(|entry| entry.limit)
        };
        let named = [name, id]
            .into_iter()
            .find_map(|name| on_day(self.by_name.get(name)?));
        named.or_else(|| {
            let mut globs = self.by_glob.iter();
            globs.find_map(|(glob, entries)| {
                let matches = glob.matches(name) || glob.matches(id);
                if matches { on_day(entries) } else { None }
            })
        })
    }

    /// Returns the number of entries whose subject is a glob.
    pub fn n_globs(&self) -> usize {
        self.by_glob.len()
    }

    /// Returns all entries with their pattern, sorted by pattern and first day.
    pub fn entries(&self) -> Vec<(&str, BudgetEntry)> {
        let names = self.by_name.iter();
        let globs = self
            .by_glob
            .iter()
            .map(|(glob, entries)| (glob.pattern(), entries));
        let mut all: Vec<(&str, BudgetEntry)> = names
            .map(|(name, entries)| (name.as_str(), entries))
            .chain(globs)
            .flat_map(|(subject, entries)| entries.iter().map(move |entry| (subject, *entry)))
            .collect();
        all.sort_by_key(|(subject, entry)| (*subject, entry.from));
        all
    }
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn entry(from: &str, until: &str, dollars: i64) -> BudgetEntry {
        let day = |text: &str| (!text.is_empty()).then(|| day(text));
        BudgetEntry {
            from: day(from),
            until: day(until),
            limit: Usd::from_dollars(dollars),
        }
    }

    #[test]
    fn the_most_specific_entry_applies() {
        let mut budget = Budget::default();
        for (subject, from, until, dollars) in [
            ("*", "", "", 500),
            ("Prod*", "", "2026-12-31", 4000),
            ("Prod search", "2026-11-01", "2026-11-30", 5000),
            ("Prod search", "2026-12-01", "", 6000),
            ("wrkspc_9", "", "", 7),
        ] {
            let glob = Glob::new(subject).unwrap();
            assert!(budget.add(&glob, entry(from, until, dollars)), "{subject}");
        }
        let limit = |id: &str, name: &str, on: &str| {
            let limit = budget.limit(id, name, day(on))?;
            Some(limit.pico() / Usd::from_dollars(1).pico())
        };
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-11-01"), Some(5000));
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-11-30"), Some(5000));
        assert_eq!(limit("wrkspc_1", "Prod search", "2027-01-01"), Some(6000));
        // Before its first own entry the glob applies.
        assert_eq!(limit("wrkspc_1", "Prod search", "2026-10-31"), Some(4000));
        assert_eq!(limit("wrkspc_2", "Prod other", "2026-11-01"), Some(4000));
        assert_eq!(limit("wrkspc_2", "Prod other", "2027-01-01"), Some(500));
        assert_eq!(limit("wrkspc_9", "Prod nine", "2026-11-01"), Some(7));
        assert_eq!(Budget::default().limit("a", "A", day("2026-11-01")), None);
    }

    #[test]
    fn overlapping_entries_of_a_subject_are_rejected() {
        let mut budget = Budget::default();
        let mut add = |subject: &str, from, until| {
            budget.add(&Glob::new(subject).unwrap(), entry(from, until, 1))
        };
        assert!(add("a", "2026-01-01", "2026-06-30"));
        assert!(!add("a", "2026-06-30", ""));
        assert!(!add("a", "", ""));
        assert!(add("a", "2026-07-01", ""));
        assert!(add("a*", "", ""));
        assert!(!add("a*", "2030-01-01", "2030-01-01"));
    }
}
