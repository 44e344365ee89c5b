//! Parses the dates of a usage query.

use jiff::ToSpan;
use jiff::civil::Date;

use spendwatch_domain::units::period::{Zone, days};
use spendwatch_domain::units::span::HourSpan;

/// Maximum length of a query.
const MAX_DAYS: i32 = 3660;

/// Whole local days, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateRange {
    pub first: Date,
    pub last: Date,
}

impl DateRange {
    /// Returns the buckets that begin within the dates.
    pub fn hours(self, zone: &Zone) -> HourSpan {
        days(&zone.rules, self.first, self.last).hours()
    }
}

/// Parses a day, or a month as all of its days.
pub fn parse(text: &str) -> Result<DateRange, String> {
    let error = || "expected a day like `2026-11-24` or a month like `2026-11`".to_owned();
    let is_month = text.len() == "2026-11".len();
    let date = if is_month {
        format!("{text}-01")
    } else {
        text.to_owned()
    };
    // The parser accepts more formats.
    if date.len() != "2026-11-24".len() {
        return Err(error());
    }
    let first: Date = date.parse().map_err(|_| error())?;
    let last = if is_month {
        first.last_of_month()
    } else {
        first
    };
    Ok(DateRange { first, last })
}

/// Combines both options; the default is this month to date.
pub fn between(
    from: Option<DateRange>,
    to: Option<DateRange>,
    today: Date,
) -> Result<DateRange, String> {
    let last = to.map_or(today, |to| to.last);
    let first = match (from, to) {
        (Some(from), _) => from.first,
        (None, Some(to)) => to.first.first_of_month(),
        (None, None) => today.first_of_month(),
    };
    if last < first {
        return Err(format!("`--from` {first} is after `--to` {last}"));
    }
    if first.saturating_add(MAX_DAYS.days()) < last {
        return Err(format!(
            "{first} to {last} is too long, expected at most {MAX_DAYS} days"
        ));
    }
    Ok(DateRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, expected: Result<(&str, &str), &str>) {
        let read = |text: &str| (!text.is_empty()).then(|| parse(text)).transpose();
        let today = "2026-11-24".parse().unwrap();
        let dates = read(from).and_then(|from| between(from, read(to)?, today));
        let dates = dates.map(|dates| (dates.first.to_string(), dates.last.to_string()));
        match (dates, expected) {
            (Ok(dates), Ok((first, last))) => {
                assert_eq!(dates, (first.to_owned(), last.to_owned()));
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (dates, expected) => panic!("{dates:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn both_ends_are_inclusive() {
        check("", "", Ok(("2026-11-01", "2026-11-24")));
        check("2026-10", "", Ok(("2026-10-01", "2026-11-24")));
        check("2026-02", "2026-02", Ok(("2026-02-01", "2026-02-28")));
        check("", "2026-10-15", Ok(("2026-10-01", "2026-10-15")));
        check(
            "2026-11-30",
            "",
            Err("`--from` 2026-11-30 is after `--to` 2026-11-24"),
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
            check(wrong, "", Err("expected a day"));
        }
    }
}
