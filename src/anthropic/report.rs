//! What the reports of both dialects have in common: what is asked, one page, and the checks that hold for all of it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::anthropic::fault::{Fault, Place};
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::Granularity;

/// No report counts more in all its rows: so a year of reports still adds up within 64 bits.
const MAX_REPORT_COUNT: i64 = 100_000_000_000_000_000;

/// What is asked of a report. In days, the bounds are widened to whole days of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Hours or days.
    pub granularity: Granularity,
    /// From and to: not empty, and in the newer reports at most 31 days.
    pub hours: HourSpan,
}

impl Asked {
    /// The same, from the first bucket's start to the last one's end.
    #[must_use]
    pub fn whole(self) -> Asked {
        let HourSpan { start, end } = self.hours;
        let hours = match self.granularity {
            Granularity::Hour => self.hours,
            Granularity::Day => HourSpan {
                start: start.day().first_hour(),
                end: end.plus(-1).day().plus(1).first_hour(),
            },
        };
        Asked { hours, ..self }
    }

    /// Where a bucket begins: one of those that were asked for, whole.
    pub fn bucket(self, place: Place, start: Timestamp, end: Timestamp) -> Result<Hour, Fault> {
        let hour = Hour::of(start);
        let (first, n_hours) = match self.granularity {
            Granularity::Hour => (hour, 1),
            Granularity::Day => (hour.day().first_hour(), 24),
        };
        let told =
            |field, at: Timestamp, problem| Fault::value(place, field, &at.to_string(), problem);
        if first.start() != start {
            let problem = "not the start of a bucket as it was asked for";
            return Err(told("starting_at", start, problem));
        }
        if !self.hours.contains(hour) {
            return Err(told("starting_at", start, "outside of what was asked for"));
        }
        if end != hour.plus(n_hours).start() {
            let problem = "not the end of a bucket as it was asked for";
            return Err(told("ending_at", end, problem));
        }
        Ok(hour)
    }
}

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the server's order.
    pub rows: Vec<T>,
    /// Up to when the data is there, where the server says it.
    pub refreshed_at: Option<Timestamp>,
}

/// One page, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// What it says.
    pub page: Page<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
    /// Whether it holds neither a row nor a bucket.
    pub is_empty: bool,
}

/// What the pages of one report had so far: no bucket comes twice, and in it no group.
#[derive(Debug, Default)]
pub struct Seen {
    newest: Option<Hour>,
    /// By hash, since a report has many rows: of 128 bits, so that two groups do not meet.
    groups: HashSet<(u64, u64)>,
    /// Of all rows so far.
    count: i64,
}

impl Seen {
    /// A row of one bucket; `group` is all that sets it apart from the others there.
    pub fn row(&mut self, place: Place, hour: Hour, group: &impl Hash) -> Result<(), Fault> {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, hour, group).hash(&mut hasher);
            hasher.finish()
        };
        if self.groups.insert((half(0), half(1))) {
            return Ok(());
        }
        let problem = "whose group an earlier row has already";
        Err(starting_at(place, hour, problem))
    }

    /// A bucket of a report whose buckets come in order, each once.
    pub fn bucket(&mut self, place: Place, hour: Hour) -> Result<(), Fault> {
        if self.newest.is_some_and(|newest| hour <= newest) {
            return Err(starting_at(place, hour, "not after the bucket before it"));
        }
        self.newest = Some(hour);
        self.groups.clear();
        Ok(())
    }
}

fn starting_at(place: Place, hour: Hour, problem: &'static str) -> Fault {
    Fault::value(place, "starting_at", &hour.start().to_string(), problem)
}

/// The rows, if all that a report counts so far can still be added up. Rows are counted from 1 through the whole page.
pub fn bounded<T>(
    told: Told<T>,
    seen: &mut Seen,
    field: &'static str,
    count: impl Fn(&T) -> i64,
) -> Result<Told<T>, Fault> {
    for (place, row) in (1..).map(Place::Row).zip(&told.page.rows) {
        seen.count = seen.count.saturating_add(count(row));
        if seen.count > MAX_REPORT_COUNT {
            let problem = "with which the report goes beyond 10^17";
            let count = count(row).to_string();
            return Err(Fault::value(place, field, &count, problem));
        }
    }
    Ok(told)
}

/// Where the next page begins, as a page says it. What is promised and not told is a fault.
pub fn next_page(has_more: Option<bool>, next: Option<String>) -> Result<Option<String>, Fault> {
    let next = next.filter(|page| !page.is_empty());
    if has_more == Some(true) && next.is_none() {
        return Err(Fault::Missing {
            place: Place::Answer,
            field: "next_page",
        });
    }
    Ok(next.filter(|_| has_more != Some(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_asked_whole() {
        let check = |granularity, (start, end), expected| {
            let hours = HourSpan {
                start: Hour::from_count(start),
                end: Hour::from_count(end),
            };
            let whole = Asked { granularity, hours }.whole().hours;
            assert_eq!((whole.start.count(), whole.end.count()), expected);
        };
        check(Granularity::Hour, (25, 27), (25, 27));
        check(Granularity::Day, (24, 48), (24, 48));
        check(Granularity::Day, (25, 27), (24, 48));
        check(Granularity::Day, (47, 49), (24, 72));
    }

    #[test]
    fn a_report_adds_up_through_all_its_pages() {
        let mut seen = Seen::default();
        let mut page = |rows: &[i64]| {
            let told = Told {
                page: Page {
                    rows: rows.to_vec(),
                    refreshed_at: None,
                },
                next: None,
                is_empty: false,
            };
            let told = bounded(told, &mut seen, "tokens", |n| *n);
            told.map(|_| ()).map_err(|fault| fault.to_string())
        };
        assert_eq!(page(&[MAX_REPORT_COUNT / 2; 2]), Ok(()));
        let expected = "row 2: `tokens` is `1`, with which the report goes beyond 10^17";
        assert_eq!(page(&[0, 1]), Err(expected.to_owned()));
    }

    #[test]
    fn what_follows_a_page() {
        let check = |has_more, next: Option<&str>, expected: Result<Option<&str>, ()>| {
            let next = next_page(has_more, next.map(str::to_owned));
            let next = next.as_ref().map(Option::as_deref).map_err(|_| ());
            assert_eq!(next, expected);
        };
        check(Some(true), Some("p"), Ok(Some("p")));
        check(None, Some("p"), Ok(Some("p")));
        check(Some(false), Some("p"), Ok(None));
        check(Some(false), None, Ok(None));
        check(None, Some(""), Ok(None));
        check(Some(true), Some(""), Err(()));
        check(Some(true), None, Err(()));
    }
}
