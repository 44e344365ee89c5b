//! Reads reports: all pages of one sweep, tallied as they arrive. Combines the usage and cost reports of both dialects of
//! Anthropic's service. Records nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;

use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::error::FetchError;
use spendwatch_anthropic::reads::report_pages::ReportPages;
use spendwatch_anthropic::reads::reports::UsageGrouping;
use spendwatch_anthropic::wire::report::{BucketSpan, ReportPage};
use spendwatch_domain::ledger::report_fetch::ReportFetch;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::WorkspaceId;
use spendwatch_domain::units::skew::differs;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Basis, Buckets, Granularity, Part};
use spendwatch_domain::usage::prices::PriceTable;
use spendwatch_domain::usage::report_rows::TokenRow;
use spendwatch_domain::usage::tally::{FastMode, Tally, UnreadablePart, WorkspaceNaming};

/// Maximum days per request of the newer reports.
const MAX_DAYS: i32 = 31;
/// Age, in days, at which a day counts as billed even without an entry in the cost report.
const BILLED_AFTER_DAYS: i32 = 3;

/// Maximum delay of the newer reports. Source: Anthropic's page on the Enterprise reports of the same family (usually within
/// 4 hours, up to 24).
const MAX_LAG: SignedDuration = SignedDuration::from_hours(24);

/// Which usage and cost reports a dialect has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Cost by hour, up to a watermark.
    Newer,
    /// Tokens by hour, cost by day.
    Older,
}

impl Reports {
    /// Returns the reports of a dialect, if it has any.
    pub fn of(dialect: Dialect) -> Option<Reports> {
        match dialect {
            Dialect::Guide => None,
            Dialect::Analytics => Some(Reports::Newer),
            Dialect::Reports => Some(Reports::Older),
        }
    }
}

/// What reading a span of hours for all parts needs.
#[derive(Debug, Clone)]
pub struct Reader {
    pub api: AdminApi,
    pub reports: Reports,
    /// For estimates until usage is billed.
    pub prices: Arc<PriceTable>,
    /// Real id of the default workspace.
    pub default: Option<WorkspaceId>,
    /// Last recorded watermark; cost before it need not be read again.
    pub billed_until: Option<Timestamp>,
    /// Time up to which everything is known, billed or estimated.
    pub known_until: Option<Timestamp>,
    /// Whether to estimate unbilled usage from the older usage report.
    pub estimates: bool,
    pub now: Timestamp,
}

/// Result of a sweep.
#[derive(Debug)]
pub struct Read {
    /// Hours covered; fewer than requested if the rest is not reported yet.
    pub hours: HourSpan,
    /// Usage by part; all other parts had none.
    pub parts: BTreeMap<Part, Buckets>,
    pub unreadable: Vec<UnreadablePart>,
    /// Source of the hourly cost.
    pub basis: Basis,
    /// Time up to which its hours are known; `None` means the start of the poll.
    pub known_until: Option<Timestamp>,
    /// Time up to which they are billed, if stated.
    pub billed_until: Option<Timestamp>,
    /// Why unbilled usage is not estimated.
    pub no_estimate: Option<NoEstimate>,
    pub fast: FastMode,
}

impl Read {
    /// Returns what was tallied of whole, completely known hours.
    fn new(mut tally: Tally, hours: HourSpan, basis: Basis, fast: FastMode) -> Read {
        Read {
            hours,
            unreadable: tally.take_unreadable(),
            parts: tally.into_parts(),
            basis,
            known_until: None,
            billed_until: None,
            no_estimate: None,
            fast,
        }
    }
}

/// Why there is no estimate.
#[derive(Debug)]
pub enum NoEstimate {
    /// The server does not report it, so figures are as old as the bill; `None` if it was not asked again.
    Refused(Option<FetchError>),
    /// The request failed; the previous estimate stays and becomes stale.
    Failed(FetchError),
}

/// A sweep of the past under way. Dropping it cancels the sweep.
pub struct Backlog {
    pub sweep: ReportFetch,
    pub later: VecDeque<ReportFetch>,
    /// Runs in a separate task.
    pub reading: AbortOnDropHandle<Result<Read, FetchError>>,
}

impl Reader {
    /// Reads a sweep completely, or returns an error.
    pub async fn read(self, sweep: ReportFetch) -> Result<Read, FetchError> {
        match (self.reports, sweep.granularity) {
            (Reports::Newer, Granularity::Hour) => self.newer_hours(sweep.hours).await,
            (Reports::Newer, Granularity::Day) => self.newer_days(sweep.hours).await,
            (Reports::Older, Granularity::Hour) => self.older_hours(sweep.hours).await,
            (Reports::Older, Granularity::Day) => self.older_days(sweep.hours).await,
        }
    }

    fn tally(&self) -> Tally {
        Tally::new(Arc::clone(&self.prices), self.default.clone())
    }

    /// Reads billed cost up to the watermark, and estimates from the watermark's hour on.
    async fn newer_hours(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let asked = BucketSpan {
            granularity: Granularity::Hour,
            hours,
        };
        let mut tally = self.tally();
        let mut watermark = self.now;
        let mut pages = self.api.analytics_cost(asked);
        let mut is_known = false;
        while let Some(page) = pages.next().await? {
            watermark = watermark.min(self.watermark(page.refreshed_at));
            // Nothing was billed since the last poll: hours before the watermark are recorded already.
            let starts_there = self.billed_until.map(Hour::containing) == Some(hours.start);
            is_known = starts_there && self.billed_until == Some(watermark);
            if is_known {
                break;
            }
            tally.add_costs(page.rows);
            tally.add_unreadable(WorkspaceNaming::ById, page.unreadable);
        }
        let unbilled = HourSpan {
            start: Hour::containing(watermark).clamp(hours.start, hours.end),
            end: hours.end,
        };
        let estimate = self.estimate(unbilled).await;
        let billed = match &estimate {
            Err(NoEstimate::Refused(_)) => hours,
            Ok(_) | Err(NoEstimate::Failed(_)) => HourSpan {
                end: unbilled.start,
                ..hours
            },
        };
        let mut fast = FastMode::Known;
        if !is_known && !billed.is_empty() {
            let asked = BucketSpan {
                hours: billed,
                ..asked
            };
            fast = self.read_usage(&mut tally, asked).await?;
        }
        // Without an estimate, nothing is reported after the watermark, and earlier estimates stay.
        let was_estimated = self.known_until.is_some_and(|known| known > watermark);
        let (unknown, unbilled) = match &estimate {
            Err(NoEstimate::Refused(_)) => {
                let is_end_known = is_known || was_estimated;
                let start = if is_end_known {
                    unbilled.start
                } else {
                    unbilled.start.plus(1).min(hours.end)
                };
                let end = hours.end;
                (HourSpan { start, end }, HourSpan { start: end, end })
            }
            Ok(_) | Err(NoEstimate::Failed(_)) => (unbilled, unbilled),
        };
        if !unknown.is_empty() {
            tally.remove_hours(unknown);
        }
        tally.mark_billed_outside(unbilled);
        let mut read = Read {
            billed_until: Some(watermark),
            ..Read::new(tally, hours, Basis::ByHour, fast)
        };
        match estimate {
            Ok(None) => {}
            Ok(Some((mut estimate, fast))) => {
                read.fast = read.fast.max(fast);
                read.unreadable.extend(estimate.take_unreadable());
                for (part, buckets) in estimate.into_parts() {
                    read.parts.entry(part).or_default().extend(buckets);
                }
            }
            Err(why) => {
                read.hours.end = unknown.start;
                read.known_until = Some(watermark);
                read.no_estimate = Some(why);
            }
        }
        Ok(read)
    }

    /// Returns up to when usage is billed: the page's statement, else the last known watermark, but at least now minus the
    /// maximum delay of these reports.
    fn watermark(&self, stated: Option<Timestamp>) -> Timestamp {
        // A watermark far ahead of now is wrong.
        stated
            .filter(|stated| !differs(self.now, (*stated).max(self.now)))
            .unwrap_or_else(|| {
                let latest = self.now.checked_sub(MAX_LAG).unwrap_or(Timestamp::MIN);
                self.billed_until.map_or(latest, |until| until.max(latest))
            })
    }

    /// Estimates the cost of hours that are not billed yet from their tokens; `None` if there are none.
    async fn estimate(&self, hours: HourSpan) -> Result<Option<(Tally, FastMode)>, NoEstimate> {
        if hours.is_empty() {
            return Ok(None);
        }
        if !self.estimates {
            return Err(NoEstimate::Refused(None));
        }
        match self.older_usage(Granularity::Hour, hours).await {
            Ok((mut tally, fast)) => {
                tally.estimate_hours(hours);
                Ok(Some((tally, fast)))
            }
            Err(error) if error.is_forbidden_or_not_found() => {
                Err(NoEstimate::Refused(Some(error)))
            }
            Err(error) => Err(NoEstimate::Failed(error)),
        }
    }

    /// Reads whole days, as far as they are billed.
    async fn newer_days(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let mut tally = self.tally();
        let mut fast = FastMode::Known;
        let mut watermark = self.now;
        for hours in pieces(hours) {
            let asked = BucketSpan {
                granularity: Granularity::Day,
                hours,
            };
            let mut pages = self.api.analytics_cost(asked);
            while let Some(page) = pages.next().await? {
                watermark = watermark.min(self.watermark(page.refreshed_at));
                tally.add_costs(page.rows);
                tally.add_unreadable(WorkspaceNaming::ById, page.unreadable);
            }
            fast = fast.max(self.read_usage(&mut tally, asked).await?);
        }
        let end = Day::containing(watermark).first_hour();
        let unbilled = HourSpan {
            start: end.clamp(hours.start, hours.end),
            end: hours.end,
        };
        tally.remove_hours(unbilled);
        tally.mark_billed_outside(unbilled);
        let billed = HourSpan {
            end: unbilled.start,
            ..hours
        };
        Ok(Read {
            billed_until: Some(watermark),
            ..Read::new(tally, billed, Basis::ByHour, fast)
        })
    }

    async fn older_hours(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let (mut tally, fast) = self.older_usage(Granularity::Hour, hours).await?;
        tally.estimate_hours(hours);
        Ok(Read::new(tally, hours, Basis::ByDay, fast))
    }

    /// Reads whole days with their cost, as far as they are billed.
    async fn older_days(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let (mut tally, fast) = self.older_usage(Granularity::Day, hours).await?;
        let mut pages = self.api.cost_report(BucketSpan {
            granularity: Granularity::Day,
            hours,
        });
        // A day with an unreadable cost row is billed, too.
        let mut odd_days = BTreeSet::new();
        while let Some(page) = pages.next().await? {
            tally.add_bills(page.rows);
            let days = page.unreadable.iter().map(|row| row.hours);
            odd_days.extend(
                days.filter(|hours| hours.end == hours.start.plus(24))
                    .map(|hours| hours.start),
            );
            tally.add_unreadable(WorkspaceNaming::ByNull, page.unreadable);
        }
        let (mut billed, used) = (tally.billed_days(), tally.used_days());
        billed.extend(odd_days);
        // The newest days may not be billed yet; then the estimate stays.
        let surely = Day::containing(self.now)
            .plus(-BILLED_AFTER_DAYS)
            .first_hour();
        let mut end = hours.end;
        while end > hours.start.max(surely) {
            let day = end.plus(-24);
            if billed.contains(&day) || !used.contains(&day) {
                break;
            }
            end = day;
        }
        tally.remove_hours(HourSpan {
            start: end,
            end: hours.end,
        });
        tally.distribute_bills();
        let hours = HourSpan { end, ..hours };
        Ok(Read::new(tally, hours, Basis::ByDay, fast))
    }

    /// Reads tokens from the older report: pricing traits first, then keys and users.
    async fn older_usage(
        &self,
        granularity: Granularity,
        hours: HourSpan,
    ) -> Result<(Tally, FastMode), FetchError> {
        let asked = BucketSpan { granularity, hours };
        let mut tally = self.tally();
        let mut pages = self.api.usage_report(asked, UsageGrouping::Pricing);
        while let Some(page) = pages.next().await? {
            tally.add_usage(WorkspaceNaming::ByNull, page.rows);
            tally.add_unreadable(WorkspaceNaming::ByNull, page.unreadable);
        }
        let is_reported = read_fast_pages(
            self.api.usage_report(asked, UsageGrouping::FastMode),
            |page| {
                tally.add_fast_usage(WorkspaceNaming::ByNull, page.rows);
                tally.add_unreadable(WorkspaceNaming::ByNull, page.unreadable);
            },
        );
        let is_reported = is_reported.await?;
        let fast = tally.price_fast(hours, is_reported, self.settled(granularity));
        let mut pages = self.api.usage_report(asked, UsageGrouping::ApiKey);
        while let Some(page) = pages.next().await? {
            // A page contains complete buckets, so they can be apportioned immediately.
            tally.add_key_usage(WorkspaceNaming::ByNull, page.rows);
            tally.add_unreadable_keys(WorkspaceNaming::ByNull, page.unreadable);
            tally.apportion();
        }
        Ok((tally, fast))
    }

    /// Returns the first bucket that may still grow between two requests.
    fn settled(&self, granularity: Granularity) -> Hour {
        match granularity {
            Granularity::Hour => Hour::containing(self.now).plus(-1),
            Granularity::Day => Hour::containing(self.now).plus(-1).day().first_hour(),
        }
    }

    async fn read_usage(
        &self,
        tally: &mut Tally,
        asked: BucketSpan,
    ) -> Result<FastMode, FetchError> {
        let mut pages = self.api.analytics_usage(asked, false);
        while let Some(page) = pages.next().await? {
            tally.add_usage(WorkspaceNaming::ById, page.rows);
            tally.add_unreadable(WorkspaceNaming::ById, page.unreadable);
        }
        let is_reported = read_fast_pages(self.api.analytics_usage(asked, true), |page| {
            tally.add_fast_usage(WorkspaceNaming::ById, page.rows);
            tally.add_unreadable(WorkspaceNaming::ById, page.unreadable);
        });
        let is_reported = is_reported.await?;
        Ok(tally.price_fast(asked.hours, is_reported, self.settled(asked.granularity)))
    }
}

/// Reads rows of fast mode. Returns whether the server supports the filter; one that does not rejects the request.
async fn read_fast_pages(
    mut pages: ReportPages<TokenRow>,
    mut take: impl FnMut(ReportPage<TokenRow>),
) -> Result<bool, FetchError> {
    loop {
        match pages.next().await {
            Ok(Some(page)) => take(page),
            Ok(None) => return Ok(true),
            Err(error) if matches!(error.status(), Some(400 | 403 | 404)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Splits days into spans of one request each.
fn pieces(hours: HourSpan) -> Vec<HourSpan> {
    let mut pieces = Vec::new();
    let mut start = hours.start;
    while start < hours.end {
        let end = start.plus(24 * MAX_DAYS).min(hours.end);
        pieces.push(HourSpan { start, end });
        start = end;
    }
    pieces
}
