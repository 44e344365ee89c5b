//! Usage straight from the real service, without a ledger: a few sweeps, brought together.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::cycle::reading::{Read, Reader, Reports};
use crate::domain::coverage::Purpose;
use crate::domain::directory::Directory;
use crate::domain::prices::Prices;
use crate::domain::shares::spread;
use crate::domain::span::HourSpan;
use crate::domain::sweep::Sweep;
use crate::domain::usage::{Basis, Buckets, Cells, Granularity, Part};

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

/// What every part used. Days that are over stand at their first hour, unless hours are asked for.
pub async fn read(asking: Asking) -> Result<(Directory, BTreeMap<Part, Buckets>), FetchError> {
    let listed = asking.api.listed(None).await?;
    let mut directory = Directory::default().with_list(listed.workspaces, asking.now);
    directory.default = listed.default;
    let reader = Reader {
        api: asking.api.clone(),
        reports: asking.reports,
        prices: asking.prices,
        default: directory.default.clone(),
        billed_until: None,
        known_until: None,
        estimates: true,
        now: asking.now,
    };
    let today = crate::domain::span::Hour::of(asking.now);
    let hours = HourSpan {
        end: asking.hours.end.min(today.plus(1)),
        ..asking.hours
    };
    let mut told = Parts(BTreeMap::new());
    if hours.is_empty() {
        return Ok((directory, told.0));
    }
    // Whole days that are over.
    let days = HourSpan {
        start: hours.start.plus(23).day().first_hour(),
        end: hours.end.min(today.day().first_hour()).day().first_hour(),
    };
    let needs_days = !asking.by_hour || asking.reports == Reports::Older;
    let read = if needs_days && !days.is_empty() {
        let sweep = Sweep {
            purpose: Purpose::FirstDays,
            granularity: Granularity::Day,
            hours: days,
        };
        Some(reader.clone().read(sweep).await?)
    } else {
        None
    };
    let as_days = read.as_ref().filter(|_| !asking.by_hour);
    let pieces = as_days.map_or(vec![hours], |read| hours.minus(read.hours));
    for piece in pieces {
        for hours in by_day(piece) {
            let sweep = Sweep {
                purpose: Purpose::FirstHours,
                granularity: Granularity::Hour,
                hours,
            };
            told.take(reader.clone().read(sweep).await?);
        }
    }
    if let Some(read) = read {
        if asking.by_hour && read.basis == Basis::ByDay {
            told.spread(&read);
        } else if !asking.by_hour {
            told.take(read);
        }
    }
    let is_listed = |part: &Part| match part {
        Part::Workspace(id) => directory.is_present(id),
        Part::Unattributed | Part::Whole => true,
    };
    let (mut parts, unlisted): (BTreeMap<_, _>, BTreeMap<_, _>) =
        told.0.into_iter().partition(|(part, _)| is_listed(part));
    let rest: &mut Buckets = parts.entry(Part::Unattributed).or_default();
    for (hour, cells) in unlisted.into_values().flatten() {
        let bucket = rest.entry(hour).or_default();
        for (cell, amounts) in cells {
            *bucket.entry(cell).or_default() += amounts;
        }
    }
    Ok((directory, parts))
}

struct Parts(BTreeMap<Part, Buckets>);

impl Parts {
    fn take(&mut self, read: Read) {
        for (part, buckets) in read.parts {
            self.0.entry(part).or_default().extend(buckets);
        }
    }

    /// Gives bills to the hours of their days, of whoever used anything or was billed for anything.
    fn spread(&mut self, bills: &Read) {
        for part in bills.parts.keys() {
            self.0.entry(part.clone()).or_default();
        }
        let none = Cells::new();
        for (part, buckets) in &mut self.0 {
            let of_part = bills.parts.get(part);
            for hours in by_day(bills.hours) {
                let bill = of_part.and_then(|days| days.get(&hours.start));
                spread(bill.unwrap_or(&none), buckets, hours.start.day());
            }
        }
    }
}

fn by_day(span: HourSpan) -> Vec<HourSpan> {
    let mut days = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let end = start.day().plus(1).first_hour().min(span.end);
        days.push(HourSpan { start, end });
        start = end;
    }
    days
}
