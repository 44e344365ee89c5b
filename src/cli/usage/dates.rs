//! From which day to which: both are meant whole.

use jiff::ToSpan;
use jiff::civil::Date;

use crate::domain::period::{Zone, days};
use crate::domain::span::HourSpan;

/// The longest span that is told: ten years and a little.
const MAX_DAYS: i32 = 3660;

/// Whole local days, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// The first.
    pub first: Date,
    /// The last.
    pub last: Date,
}

impl Dates {
    /// The buckets that begin in them.
    pub fn hours(self, zone: &Zone) -> HourSpan {
        days(&zone.rules, self.first, self.last).hours()
    }
}

/// Reads a day, or a month as all of its days.
pub fn parse(text: &str) -> Result<Dates, String> {
    let wrong = || "is no day like `2026-11-24` and no month like `2026-11`".to_owned();
    let is_month = text.len() == "2026-11".len();
    let written = if is_month {
        format!("{text}-01")
    } else {
        text.to_owned()
    };
    // The library reads more than that.
    if written.len() != "2026-11-24".len() {
        return Err(wrong());
    }
    let first: Date = written.parse().map_err(|_| wrong())?;
    let last = if is_month {
        first.last_of_month()
    } else {
        first
    };
    Ok(Dates { first, last })
}

/// From the one to the other; this month up to today where nothing is said.
pub fn between(from: Option<Dates>, to: Option<Dates>, today: Date) -> Result<Dates, String> {
    let last = to.map_or(today, |to| to.last);
    let first = match (from, to) {
        (Some(from), _) => from.first,
        (None, Some(to)) => to.first.first_of_month(),
        (None, None) => today.first_of_month(),
    };
    if last < first {
        return Err(format!("--from {first} lies after --to {last}"));
    }
    if first.saturating_add(MAX_DAYS.days()) < last {
        return Err(format!(
            "{first} to {last} is too long: at most {MAX_DAYS} days can be told at once"
        ));
    }
    Ok(Dates { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, expected: Result<(&str, &str), &str>) {
        let read = |text: &str| (!text.is_empty()).then(|| parse(text)).transpose();
        let today = "2026-11-24".parse().unwrap();
        let told = read(from).and_then(|from| between(from, read(to)?, today));
        let told = told.map(|dates| (dates.first.to_string(), dates.last.to_string()));
        match (told, expected) {
            (Ok(told), Ok((first, last))) => assert_eq!(told, (first.to_owned(), last.to_owned())),
            (Err(told), Err(part)) => assert!(told.contains(part), "{told}"),
            (told, expected) => panic!("{told:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn days_and_months_both_included() {
        check("", "", Ok(("2026-11-01", "2026-11-24")));
        check("2026-10", "", Ok(("2026-10-01", "2026-11-24")));
        check("2026-02", "2026-02", Ok(("2026-02-01", "2026-02-28")));
        check("", "2026-10-15", Ok(("2026-10-01", "2026-10-15")));
        check(
            "2026-11-30",
            "",
            Err("--from 2026-11-30 lies after --to 2026-11-24"),
        );
        check("0001-01-01", "", Err("too long"));
        for wrong in [
            "2026-13",
            "2026-02-30",
            "today",
            "2026-11-24T00",
            "20261124",
            "2026",
        ] {
            check(wrong, "", Err("is no day"));
        }
    }
}
