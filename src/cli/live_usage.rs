//! Usage read directly from Anthropic's Admin API, without a ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::output::cell::short_time;
use crate::cycle::reading::{NoEstimate, Read, Reader, Reports};
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::error::FetchError;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::ledger::coverage::Purpose;
use spendwatch_domain::ledger::report_fetch::ReportFetch;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Buckets, Granularity, Part, UsageByKey, add_to};
use spendwatch_domain::usage::prices::PriceTable;
use spendwatch_domain::usage::shares::spread;

/// Hours per request: the size of a page of the older report.
const HOURS_PER_REQUEST: i32 = 24 * 7;

/// Usage to read.
pub struct LiveQuery {
    pub api: AdminApi,
    pub reports: Reports,
    /// For what is not billed yet.
    pub prices: Arc<PriceTable>,
    /// In whole buckets; the future is omitted.
    pub hours: HourSpan,
    /// Read every day by hours; otherwise past days are read as whole days.
    pub by_hour: bool,
    pub now: Timestamp,
}

/// Usage as read.
pub struct LiveUsage {
    pub directory: Directory,
    /// Whole days are stored at their first hour.
    pub parts: BTreeMap<Part, Buckets>,
    /// Time since which data is missing, if unbilled usage cannot be estimated.
    pub missing_since: Option<Timestamp>,
    /// What could not be read, with its location.
    pub unreadable: Vec<String>,
}

/// Describes a figure that could not be read.
pub fn unreadable(reason: &str) -> String {
    format!("{reason}; this figure is unknown and totals that include it are lower bounds")
}

/// Describes missing data.
pub fn missing(since: Timestamp) -> String {
    format!(
        "data as of {}; later usage is not billed yet, and the server refuses the token report needed to estimate it",
        short_time(since)
    )
}

/// Spans to read. A day is read either as a whole or by its hours, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReadPlan {
    /// The whole span.
    hours: HourSpan,
    /// Past days to read as whole days; may be empty.
    days: HourSpan,
}

/// Plans what to read. The older reports bill whole days, so an hour's share needs its whole day.
fn plan(requested: HourSpan, by_hour: bool, reports: Reports, now: Timestamp) -> ReadPlan {
    let now = Hour::containing(now);
    let needs_days = !by_hour || reports == Reports::Older;
    let widened = if by_hour && needs_days {
        HourSpan {
            start: requested.start.day().first_hour(),
            end: requested.end.plus(23).day().first_hour(),
        }
    } else {
        requested
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
    ReadPlan { hours, days }
}

/// Reads the usage.
pub async fn read(query: LiveQuery) -> Result<LiveUsage, FetchError> {
    let listed = query
        .api
        .workspaces_with_default(ServerKind::Real, None)
        .await?;
    let mut directory = Directory::default().with_list(listed.workspaces, query.now);
    directory.default_workspace = listed.default;
    let reader = Reader {
        api: query.api.clone(),
        reports: query.reports,
        prices: Arc::clone(&query.prices),
        default: directory.default_workspace.clone(),
        billed_until: None,
        known_until: None,
        estimates: true,
        now: query.now,
    };
    let mut usage = PartUsage::default();
    let ReadPlan { hours, days } = plan(query.hours, query.by_hour, query.reports, query.now);
    if !hours.is_empty() {
        usage.read_all(&reader, hours, days, query.by_hour).await?;
    }
    let mut parts = usage.parts;
    for buckets in parts.values_mut() {
        buckets.retain(|hour, _| query.hours.contains(*hour));
    }
    Ok(LiveUsage {
        parts: only_listed(parts, &directory),
        directory,
        missing_since: usage.missing_since,
        unreadable: usage.unreadable,
    })
}

/// Moves usage of unlisted workspaces to the remainder.
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
struct PartUsage {
    parts: BTreeMap<Part, Buckets>,
    missing_since: Option<Timestamp>,
    unreadable: Vec<String>,
}

impl PartUsage {
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
            let sweep = ReportFetch {
                purpose: Purpose::FirstDays,
                granularity: Granularity::Day,
                hours: days,
            };
            Some(reader.clone().read(sweep).await?)
        };
        // The newest days may not be billed yet: those are read by hours.
        let as_days = read.as_ref().filter(|_| !by_hour);
        let pieces = as_days.map_or(vec![hours], |read| hours.minus(read.hours));
        for hours in pieces
            .into_iter()
            .flat_map(|piece| pieces_of(piece, HOURS_PER_REQUEST))
        {
            let sweep = ReportFetch {
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

    /// Adds a response. A failed estimate is an error, because no earlier value exists.
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

    /// Distributes daily bills over the hours of their days, for all parts with usage or bills.
    fn spread(&mut self, bills: &Read) {
        for part in bills.parts.keys() {
            self.parts.entry(part.clone()).or_default();
        }
        let none = UsageByKey::new();
        for (part, buckets) in &mut self.parts {
            let of_part = bills.parts.get(part);
            for day in pieces_of(bills.hours, 24) {
                let bill = of_part.and_then(|days| days.get(&day.start));
                spread(bill.unwrap_or(&none), buckets, day.start.day());
            }
        }
    }
}

/// Splits a span into pieces of `n_hours`; the last may be shorter.
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
    use spendwatch_domain::usage::bucket::Amounts;

    fn hour(text: &str) -> Hour {
        Hour::containing(format!("2026-{text}:00:00Z").parse().unwrap())
    }

    fn span(start: &str, end: &str) -> HourSpan {
        HourSpan {
            start: hour(start),
            end: hour(end),
        }
    }

    #[track_caller]
    fn check(
        requested: (&str, &str),
        by_hour: bool,
        reports: Reports,
        hours: (&str, &str),
        days: Option<(&str, &str)>,
    ) {
        let now = "2026-11-24T14:20:00Z".parse().unwrap();
        let plan = plan(span(requested.0, requested.1), by_hour, reports, now);
        assert_eq!(plan.hours, span(hours.0, hours.1));
        let found = (!plan.days.is_empty()).then_some(plan.days);
        assert_eq!(found, days.map(|(start, end)| span(start, end)));
    }

    #[test]
    fn past_days_are_read_whole_and_today_by_hours() {
        for reports in [Reports::Newer, Reports::Older] {
            check(
                ("11-01T00", "12-01T00"),
                false,
                reports,
                ("11-01T00", "11-24T15"),
                Some(("11-01T00", "11-24T00")),
            );
            // On the first day of a month there is no past day.
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
    fn hours_of_another_zone_are_billed_by_whole_days() {
        let requested = ("11-21T23", "11-22T23");
        check(requested, true, Reports::Newer, requested, None);
        check(
            requested,
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
    fn the_future_is_not_read() {
        let now = "2026-11-24T14:20:00Z".parse().unwrap();
        let requested = span("11-25T00", "11-26T00");
        for by_hour in [false, true] {
            for reports in [Reports::Newer, Reports::Older] {
                let plan = plan(requested, by_hour, reports, now);
                assert!(plan.hours.is_empty() && plan.days.is_empty(), "{plan:?}");
            }
        }
    }

    #[test]
    fn pieces_tile_a_span() {
        let whole = span("11-01T05", "11-24T15");
        let pieces = pieces_of(whole, HOURS_PER_REQUEST);
        assert_eq!(pieces.len(), 4);
        assert_eq!((pieces[0].start, pieces[3].end), (whole.start, whole.end));
        assert!(pieces.windows(2).all(|two| two[0].end == two[1].start));
    }

    #[test]
    fn usage_of_unlisted_workspaces_becomes_remainder() {
        let amounts = Amounts {
            requests: 1,
            ..Amounts::ZERO
        };
        let bucket =
            || Buckets::from([(hour("11-24T00"), UsageByKey::from([("m".into(), amounts)]))]);
        let unlisted = Part::Workspace("unlisted".into());
        let parts = BTreeMap::from([(unlisted, bucket()), (Part::Unattributed, bucket())]);
        let parts = only_listed(parts, &Directory::default());
        assert_eq!(parts.len(), 1);
        let cells = &parts[&Part::Unattributed][&hour("11-24T00")];
        assert_eq!(cells[&"m".into()].requests, 2);
    }
}
