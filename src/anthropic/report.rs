//! What the reports of both dialects have in common: what is asked, one page, and the checks that hold for all of it.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::domain::ids::WorkspaceId;
use crate::domain::report::UnreadableRow;
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

/// Why a row's bucket is not one that was asked for, and the buckets that the row may belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrangeBucket {
    /// Empty where the row is outside of what was asked for.
    pub hours: HourSpan,
    pub fault: Fault,
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

    /// The bucket that begins at an hour.
    pub fn bucket_at(self, hour: Hour) -> HourSpan {
        let n_hours = match self.granularity {
            Granularity::Hour => 1,
            Granularity::Day => 24,
        };
        HourSpan {
            start: hour,
            end: hour.plus(n_hours),
        }
    }

    /// Where a bucket begins: one of those that were asked for, whole.
    pub fn bucket(
        self,
        place: Place,
        start: Option<&RawValue>,
        end: Option<&RawValue>,
    ) -> Result<Hour, Box<StrangeBucket>> {
        let strange = |hours, fault| Box::new(StrangeBucket { hours, fault });
        let start = instant(place, "starting_at", start).map_err(|it| strange(self.hours, it))?;
        let hour = Hour::of(start);
        let first = match self.granularity {
            Granularity::Hour => hour,
            Granularity::Day => hour.day().first_hour(),
        };
        let bucket = self.bucket_at(first);
        let nowhere = HourSpan {
            end: self.hours.start,
            ..self.hours
        };
        let within = Some(bucket.intersect(self.hours)).filter(|hours| !hours.is_empty());
        let within = within.unwrap_or(nowhere);
        let told =
            |field, at: Timestamp, problem| Fault::value(place, field, &at.to_string(), problem);
        if first.start() != start {
            let problem = "not the start of a bucket as it was asked for";
            return Err(strange(within, told("starting_at", start, problem)));
        }
        if !self.hours.contains(hour) {
            let problem = "outside of what was asked for";
            return Err(strange(within, told("starting_at", start, problem)));
        }
        let end = instant(place, "ending_at", end).map_err(|it| strange(within, it))?;
        if end != bucket.end.start() {
            let problem = "not the end of a bucket as it was asked for";
            return Err(strange(within, told("ending_at", end, problem)));
        }
        Ok(hour)
    }
}

fn instant(place: Place, field: &'static str, raw: Option<&RawValue>) -> Result<Timestamp, Fault> {
    fault::time(place, field, raw.ok_or(Fault::Missing { place, field })?)
}

/// The workspace that a row names; `None` where it names none. A value that is no text could be any of them.
pub fn workspace(
    place: Place,
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<Option<WorkspaceId>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    let text: Option<String> = serde_json::from_str(raw.get())
        .map_err(|_| Fault::value(place, field, raw.get(), "not an id"))?;
    Ok(text.map(WorkspaceId::new))
}

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Rows that could not be read, or not all of them.
    pub unreadable: Vec<UnreadableRow>,
    /// Up to when the data is there, where the server says it.
    pub refreshed_at: Option<Timestamp>,
}

/// A row, or a figure of one, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The buckets it may belong to; empty where it is outside of what was asked for.
    pub hours: HourSpan,
    /// The workspace that it names, if any; the outer `None` where that cannot be read either.
    pub workspace: Option<Option<WorkspaceId>>,
    pub fault: Fault,
}

/// One page, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// The rows, in the server's order.
    pub rows: Vec<T>,
    /// What could not be read. A row of which some figures were read is among the rows as well.
    pub unreadable: Vec<Unreadable>,
    /// Up to when the data is there, where the server says it.
    pub refreshed_at: Option<Timestamp>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
    /// Whether it holds neither a row nor a bucket.
    pub is_empty: bool,
}

/// What the pages of one report had so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of a report whose buckets come each once.
    pub buckets: HashSet<Hour>,
    pub counted: Counted,
}

/// The sum of all that a report counts so far.
#[derive(Debug, Default)]
pub struct Counted(i64);

impl Counted {
    /// Adds a row, or returns a fault if the sum of the report would exceed 10^17.
    pub fn take(&mut self, place: Place, field: &'static str, count: i64) -> Result<(), Fault> {
        let sum = self.0.saturating_add(count);
        if sum > MAX_REPORT_COUNT {
            let problem = "with which the report goes beyond 10^17";
            return Err(Fault::value(place, field, &count.to_string(), problem));
        }
        self.0 = sum;
        Ok(())
    }
}

/// Where the next page begins, as a page says it: only the lack of a cursor ends a report. What is promised and not told is a
/// fault.
pub fn next_page(has_more: Option<bool>, next: Option<&RawValue>) -> Result<Option<String>, Fault> {
    let (place, field) = (Place::Answer, "next_page");
    let next: Option<String> = match next {
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|_| Fault::value(place, field, raw.get(), "not a cursor"))?,
        None => None,
    };
    let next = next.filter(|page| !page.is_empty());
    if has_more == Some(true) && next.is_none() {
        return Err(Fault::Missing { place, field });
    }
    Ok(next)
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
        let mut counted = Counted::default();
        let mut take = |count| {
            let taken = counted.take(Place::Row(2), "tokens", count);
            taken.map_err(|fault| fault.to_string())
        };
        assert_eq!(take(MAX_REPORT_COUNT / 2), Ok(()));
        assert_eq!(take(MAX_REPORT_COUNT / 2), Ok(()));
        let expected = "row 2: `tokens` is `1`, with which the report goes beyond 10^17";
        assert_eq!(take(1), Err(expected.to_owned()));
        assert_eq!(take(0), Ok(()), "the row counts for nothing");
    }

    #[test]
    fn what_follows_a_page() {
        let check = |has_more, next: Option<&str>, expected: Result<Option<&str>, ()>| {
            let raw = next.map(|json| RawValue::from_string(json.to_owned()).unwrap());
            let next = next_page(has_more, raw.as_deref());
            let next = next.as_ref().map(Option::as_deref).map_err(|_| ());
            assert_eq!(next, expected);
        };
        check(Some(true), Some(r#""p""#), Ok(Some("p")));
        check(None, Some(r#""p""#), Ok(Some("p")));
        check(Some(false), Some(r#""p""#), Ok(Some("p")));
        check(Some(false), None, Ok(None));
        check(Some(false), Some("null"), Ok(None));
        check(None, Some(r#""""#), Ok(None));
        check(Some(true), Some(r#""""#), Err(()));
        check(Some(true), None, Err(()));
        check(None, Some("5"), Err(()));
    }
}
