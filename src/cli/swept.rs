//! Usage straight from the real service, without a ledger: a few sweeps, brought together.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::cli::output::short_time;
use crate::cycle::reading::{NoEstimate, Read, Reader, Reports};
use crate::domain::coverage::Purpose;
use crate::domain::directory::Directory;
use crate::domain::prices::Prices;
use crate::domain::shares::spread;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::sweep::Sweep;
use crate::domain::usage::{Buckets, Cells, Granularity, Part, add_to};

/// So many hours are read together: a page of the older report holds as many.
const HOURS_AT_ONCE: i32 = 24 * 7;

/// What is asked for.
pub struct Asking {
    /// The service.
    pub api: AdminApi,
    /// By which reports.
    pub reports: Reports,
    /// What tokens cost until it is billed.
    pub prices: Arc<Prices>,
    /// In whole buckets; what lies after now is left out.
    pub hours: HourSpan,
    /// Hours are needed of every day; otherwise a day that is over is told as one.
    pub by_hour: bool,
    /// Now.
    pub now: Timestamp,
}

/// What was told.
pub struct Told {
    /// Workspaces by name.
    pub directory: Directory,
    /// What every part used. Days that are over stand at their first hour, unless hours are asked for.
    pub parts: BTreeMap<Part, Buckets>,
    /// Where what is not billed cannot be estimated: since when all is missing.
    pub missing_since: Option<Timestamp>,
    /// What could not be read, each with its place.
    pub unreadable: Vec<String>,
}

/// What a reader has to know where a figure could not be read.
pub fn unreadable(reason: &str) -> String {
    format!("{reason}; this figure is unknown, totals that include it are lower bounds")
}

/// What a reader has to know where something is missing.
pub fn missing(since: Timestamp) -> String {
    format!(
        "known up to {}; what was used since is not billed yet, and the service refuses to tell the tokens to estimate it by",
        short_time(since)
    )
}

/// What is read, and how: a day counts by its own row or by its hours, never by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// All of it.
    hours: HourSpan,
    /// The whole days in it that are over and that are read as days; may be empty.
    days: HourSpan,
}

/// Bills of the older reports are of whole days: an hour has its share only where its whole day is read.
fn plan(asked: HourSpan, by_hour: bool, reports: Reports, now: Timestamp) -> Plan {
    let now = Hour::of(now);
    let needs_days = !by_hour || reports == Reports::Older;
    let widened = if by_hour && needs_days {
        HourSpan {
            start: asked.start.day().first_hour(),
            end: asked.end.plus(23).day().first_hour(),
        }
    } else {
        asked
    };
    let hours = HourSpan {
        end: widened.end.min(now.plus(1)),
        ..widened
    };
    let start = hours.start.plus(23).day().first_hour();
    let end = hours.end.min(now.day().first_hour()).day().first_hour();
    let days = HourSpan {
        start,
        end: if needs_days { end.max(start) } else { start },
    };
    Plan { hours, days }
}

/// Asks the service.
pub async fn read(asking: Asking) -> Result<Told, FetchError> {
    let listed = asking.api.listed(None).await?;
    let mut directory = Directory::default().with_list(listed.workspaces, asking.now);
    directory.default = listed.default;
    let reader = Reader {
        api: asking.api.clone(),
        reports: asking.reports,
        prices: Arc::clone(&asking.prices),
        default: directory.default.clone(),
        billed_until: None,
        known_until: None,
        estimates: true,
        now: asking.now,
    };
    let mut told = Parts::default();
    let Plan { hours, days } = plan(asking.hours, asking.by_hour, asking.reports, asking.now);
    if !hours.is_empty() {
        told.read_all(&reader, hours, days, asking.by_hour).await?;
    }
    let mut parts = told.parts;
    for buckets in parts.values_mut() {
        buckets.retain(|hour, _| asking.hours.contains(*hour));
    }
    Ok(Told {
        parts: only_listed(parts, &directory),
        directory,
        missing_since: told.missing_since,
        unreadable: told.unreadable,
    })
}

/// What belongs to workspaces that are not listed belongs to none.
fn only_listed(parts: BTreeMap<Part, Buckets>, directory: &Directory) -> BTreeMap<Part, Buckets> {
    let is_listed = |part: &Part| match part {
        Part::Workspace(id) => directory.is_present(id),
        Part::Unattributed | Part::Whole => true,
    };
    let (mut parts, unlisted): (BTreeMap<_, _>, BTreeMap<_, _>) =
        parts.into_iter().partition(|(part, _)| is_listed(part));
    let rest: &mut Buckets = parts.entry(Part::Unattributed).or_default();
    for (hour, cells) in unlisted.into_values().flatten() {
        let bucket = rest.entry(hour).or_default();
        for (cell, amounts) in cells {
            add_to(bucket, &cell, amounts);
        }
    }
    parts
}

#[derive(Default)]
struct Parts {
    parts: BTreeMap<Part, Buckets>,
    missing_since: Option<Timestamp>,
    unreadable: Vec<String>,
}

impl Parts {
    async fn read_all(
        &mut self,
        reader: &Reader,
        hours: HourSpan,
        days: HourSpan,
        by_hour: bool,
    ) -> Result<(), FetchError> {
        let read = if days.is_empty() {
            None
        } else {
            let sweep = Sweep {
                purpose: Purpose::FirstDays,
                granularity: Granularity::Day,
                hours: days,
            };
            Some(reader.clone().read(sweep).await?)
        };
        // The newest days may not be billed yet: then they are told by their hours.
        let as_days = read.as_ref().filter(|_| !by_hour);
        let pieces = as_days.map_or(vec![hours], |read| hours.minus(read.hours));
        for hours in pieces
            .into_iter()
            .flat_map(|piece| pieces_of(piece, HOURS_AT_ONCE))
        {
            let sweep = Sweep {
                purpose: Purpose::FirstHours,
                granularity: Granularity::Hour,
                hours,
            };
            self.take(reader.clone().read(sweep).await?)?;
        }
        match read {
            Some(read) if by_hour => {
                self.note_unreadable(&read);
                self.spread(&read);
            }
            Some(read) => self.take(read)?,
            None => {}
        }
        Ok(())
    }

    /// What could not be estimated this time is an error: here nobody has it from before.
    fn take(&mut self, read: Read) -> Result<(), FetchError> {
        match read.no_estimate {
            Some(NoEstimate::Failed(error)) => return Err(error),
            Some(NoEstimate::Refused(_)) => {
                let since = [self.missing_since, read.known_until];
                self.missing_since = since.into_iter().flatten().min();
            }
            None => {}
        }
        self.note_unreadable(&read);
        for (part, buckets) in read.parts {
            self.parts.entry(part).or_default().extend(buckets);
        }
        Ok(())
    }

    fn note_unreadable(&mut self, read: &Read) {
        let reasons = read
            .unreadable
            .iter()
            .filter(|of| !of.unreadable.hours.is_empty());
        let reasons = reasons.map(|of| of.unreadable.reason.clone());
        self.unreadable.extend(reasons);
    }

    /// Gives bills to the hours of their days, of whoever used anything or was billed for anything.
    fn spread(&mut self, bills: &Read) {
        for part in bills.parts.keys() {
            self.parts.entry(part.clone()).or_default();
        }
        let none = Cells::new();
        for (part, buckets) in &mut self.parts {
            let of_part = bills.parts.get(part);
            for day in pieces_of(bills.hours, 24) {
                let bill = of_part.and_then(|days| days.get(&day.start));
                spread(bill.unwrap_or(&none), buckets, day.start.day());
            }
        }
    }
}

/// Pieces of so many hours; the last may be shorter.
fn pieces_of(span: HourSpan, n_hours: i32) -> Vec<HourSpan> {
    let mut pieces = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let end = start.plus(n_hours).min(span.end);
        pieces.push(HourSpan { start, end });
        start = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Amounts;

    fn hour(text: &str) -> Hour {
        Hour::of(format!("2026-{text}:00:00Z").parse().unwrap())
    }

    fn span(start: &str, end: &str) -> HourSpan {
        HourSpan {
            start: hour(start),
            end: hour(end),
        }
    }

    #[track_caller]
    fn check(
        asked: (&str, &str),
        by_hour: bool,
        reports: Reports,
        hours: (&str, &str),
        days: Option<(&str, &str)>,
    ) {
        let now = "2026-11-24T14:20:00Z".parse().unwrap();
        let plan = plan(span(asked.0, asked.1), by_hour, reports, now);
        assert_eq!(plan.hours, span(hours.0, hours.1));
        let found = (!plan.days.is_empty()).then_some(plan.days);
        assert_eq!(found, days.map(|(start, end)| span(start, end)));
    }

    #[test]
    fn days_that_are_over_are_read_as_days_and_today_by_its_hours() {
        for reports in [Reports::Newer, Reports::Older] {
            check(
                ("11-01T00", "12-01T00"),
                false,
                reports,
                ("11-01T00", "11-24T15"),
                Some(("11-01T00", "11-24T00")),
            );
            // The first day of a month has no day before it.
            check(
                ("11-24T00", "11-25T00"),
                false,
                reports,
                ("11-24T00", "11-24T15"),
                None,
            );
        }
    }

    #[test]
    fn hours_of_a_zone_are_read_as_hours_and_billed_by_whole_days() {
        let asked = ("11-21T23", "11-22T23");
        check(asked, true, Reports::Newer, asked, None);
        check(
            asked,
            true,
            Reports::Older,
            ("11-21T00", "11-23T00"),
            Some(("11-21T00", "11-23T00")),
        );
        check(
            ("11-23T23", "11-24T23"),
            true,
            Reports::Older,
            ("11-23T00", "11-24T15"),
            Some(("11-23T00", "11-24T00")),
        );
    }

    #[test]
    fn nothing_is_asked_of_what_comes() {
        let now = "2026-11-24T14:20:00Z".parse().unwrap();
        let asked = span("11-25T00", "11-26T00");
        for by_hour in [false, true] {
            for reports in [Reports::Newer, Reports::Older] {
                let plan = plan(asked, by_hour, reports, now);
                assert!(plan.hours.is_empty() && plan.days.is_empty(), "{plan:?}");
            }
        }
    }

    #[test]
    fn pieces_tile_a_span() {
        let whole = span("11-01T05", "11-24T15");
        let pieces = pieces_of(whole, HOURS_AT_ONCE);
        assert_eq!(pieces.len(), 4);
        assert_eq!((pieces[0].start, pieces[3].end), (whole.start, whole.end));
        assert!(pieces.windows(2).all(|two| two[0].end == two[1].start));
    }

    #[test]
    fn what_a_workspace_used_that_is_not_listed_belongs_to_none() {
        let amounts = Amounts {
            requests: 1,
            ..Amounts::ZERO
        };
        let bucket = || Buckets::from([(hour("11-24T00"), Cells::from([("m".into(), amounts)]))]);
        let gone = Part::Workspace("gone".into());
        let parts = BTreeMap::from([(gone, bucket()), (Part::Unattributed, bucket())]);
        let told = only_listed(parts, &Directory::default());
        assert_eq!(told.len(), 1);
        let cells = &told[&Part::Unattributed][&hour("11-24T00")];
        assert_eq!(cells[&"m".into()].requests, 2);
    }
}
