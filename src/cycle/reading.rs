//! Reading a report: all pages of what one sweep asks, tallied as they come. How the two dialects of the real service tell
//! usage and money is brought together here; nothing is recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::anthropic::pages::Pages;
use crate::anthropic::questions::Cut;
use crate::anthropic::report::{Asked, Page};
use crate::domain::dialect::Dialect;
use crate::domain::ids::WorkspaceId;
use crate::domain::prices::Prices;
use crate::domain::report::UsedRow;
use crate::domain::skew::differs;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::sweep::Sweep;
use crate::domain::tally::{FastMode, Naming, Tally, UnreadablePart};
use crate::domain::usage::{Basis, Buckets, Granularity, Part};

/// The most days that the newer reports tell at once.
const MAX_DAYS: i32 = 31;
/// A day that ended longer ago is billed, even where nothing stands on its bill.
const BILLED_AFTER_DAYS: i32 = 3;

/// The newer reports are at most so late. Source: Anthropic's page on the Enterprise reports of the same family: usually
/// within 4 hours, up to 24.
const MOST_LAG: SignedDuration = SignedDuration::from_hours(24);

/// Which of the service's reports are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// The newer ones: money by the hour, up to a watermark.
    Newer,
    /// The older ones: tokens by the hour, money by the day.
    Older,
}

impl Reports {
    /// Those of a dialect; `None` where it has none.
    pub fn of(dialect: Dialect) -> Option<Reports> {
        match dialect {
            Dialect::Guide => None,
            Dialect::Analytics => Some(Reports::Newer),
            Dialect::Reports => Some(Reports::Older),
        }
    }
}

/// Whoever reads.
#[derive(Debug, Clone)]
pub struct Reader {
    pub api: AdminApi,
    pub reports: Reports,
    /// What tokens cost until it is billed.
    pub prices: Arc<Prices>,
    /// The default workspace's real id.
    pub default: Option<WorkspaceId>,
    /// The watermark that was recorded last: what is up to it need not be read again.
    pub billed_until: Option<Timestamp>,
    /// Up to when all is known already, by the bill or by an estimate.
    pub known_until: Option<Timestamp>,
    /// Whether what is not billed yet is asked of the older usage report.
    pub estimates: bool,
    /// The start of the poll.
    pub now: Timestamp,
}

/// What a sweep was told.
#[derive(Debug)]
pub struct Read {
    /// What it is about: may be less than was asked, where the rest is not told yet.
    pub hours: HourSpan,
    /// Of every part that was told anything; all others used nothing.
    pub parts: BTreeMap<Part, Buckets>,
    /// What could not be read of it.
    pub unreadable: Vec<UnreadablePart>,
    /// Where the money of hours comes from.
    pub basis: Basis,
    /// Up to when its hours are known; `None` is the start of the poll.
    pub known_until: Option<Timestamp>,
    /// Up to when they are billed, where that is said.
    pub billed_until: Option<Timestamp>,
    /// Why there is no estimate of what is not billed.
    pub no_estimate: Option<NoEstimate>,
    /// What is known of fast mode.
    pub fast: FastMode,
}

/// Why there is no estimate.
#[derive(Debug)]
pub enum NoEstimate {
    /// The service does not tell it: the figures are as old as the bill.
    Refused(FetchError),
    /// This time it could not be had: what was estimated before stays, and is stale.
    Failed(FetchError),
}

/// A reading of the past that is under way. It ends when this is dropped.
pub struct Backlog {
    pub sweep: Sweep,
    /// What is read after it.
    pub later: VecDeque<Sweep>,
    /// In a task of its own.
    pub reading: AbortOnDropHandle<Result<Read, FetchError>>,
}

impl Reader {
    /// All that a sweep asks, or an error: never a part of it.
    pub async fn read(self, sweep: Sweep) -> Result<Read, FetchError> {
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

    /// Money up to the watermark as it is billed, and from the hour that holds it on as it is estimated.
    async fn newer_hours(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let asked = Asked {
            granularity: Granularity::Hour,
            hours,
        };
        let mut tally = self.tally();
        let mut watermark = self.now;
        let mut pages = self.api.billed(asked);
        let mut is_known = false;
        while let Some(page) = pages.next().await? {
            watermark = watermark.min(self.watermark(page.refreshed_at));
            // Nothing was billed since: what comes before the watermark is recorded, what follows is estimated.
            let starts_there = self.billed_until.map(Hour::of) == Some(hours.start);
            is_known = starts_there && self.billed_until == Some(watermark);
            if is_known {
                break;
            }
            tally.cost(page.rows);
            tally.unreadable(Naming::ById, page.unreadable);
        }
        let unbilled = HourSpan {
            start: Hour::of(watermark).clamp(hours.start, hours.end),
            end: hours.end,
        };
        let mut read = Read {
            hours,
            parts: BTreeMap::new(),
            unreadable: Vec::new(),
            basis: Basis::ByHour,
            known_until: None,
            billed_until: Some(watermark),
            no_estimate: None,
            fast: FastMode::Known,
        };
        let estimate = self.estimate(unbilled).await;
        let billed = match estimate {
            Estimated::Told(..) | Estimated::Nothing | Estimated::Failed(_) => HourSpan {
                end: unbilled.start,
                ..hours
            },
            Estimated::Refused(_) => hours,
        };
        if !is_known && !billed.is_empty() {
            let asked = Asked {
                hours: billed,
                ..asked
            };
            read.fast = self.take_used(&mut tally, asked).await?;
        }
        match estimate {
            Estimated::Told(mut estimate, fast) => {
                read.fast = read.fast.max(fast);
                tally.forget(unbilled);
                tally.billed_but_for(unbilled);
                read.unreadable = tally.take_unreadable();
                read.unreadable.extend(estimate.take_unreadable());
                read.parts = tally.into_parts();
                for (part, buckets) in estimate.into_parts() {
                    read.parts.entry(part).or_default().extend(buckets);
                }
            }
            Estimated::Nothing => {
                tally.billed_but_for(unbilled);
                read.unreadable = tally.take_unreadable();
                read.parts = tally.into_parts();
            }
            Estimated::Failed(error) => {
                tally.forget(unbilled);
                tally.billed_but_for(unbilled);
                read.hours = billed;
                read.known_until = Some(watermark);
                read.no_estimate = Some(NoEstimate::Failed(error));
                read.unreadable = tally.take_unreadable();
                read.parts = tally.into_parts();
            }
            Estimated::Refused(why) => {
                // Without an estimate the figures are as old as the bill.
                read.known_until = Some(watermark);
                read.no_estimate = why.map(NoEstimate::Refused);
                // Of what comes after the watermark nothing is told; what was estimated of it once stays.
                let was_estimated = self.known_until.is_some_and(|known| known > watermark);
                read.hours.end = if is_known || was_estimated {
                    unbilled.start
                } else {
                    unbilled.start.plus(1).min(hours.end)
                };
                tally.forget(HourSpan {
                    start: read.hours.end,
                    end: hours.end,
                });
                tally.billed_but_for(HourSpan {
                    start: hours.end,
                    end: hours.end,
                });
                read.unreadable = tally.take_unreadable();
                read.parts = tally.into_parts();
            }
        }
        Ok(read)
    }

    /// Up to when is billed, by what a page says. Where it does not say it: as far as it once did, and at least up to where
    /// this family of reports is never later.
    fn watermark(&self, told: Option<Timestamp>) -> Timestamp {
        // Far ahead of now it cannot be right.
        told.filter(|told| !differs(self.now, (*told).max(self.now)))
            .unwrap_or_else(|| {
                let latest = self.now.checked_sub(MOST_LAG).unwrap_or(Timestamp::MIN);
                self.billed_until.map_or(latest, |until| until.max(latest))
            })
    }

    /// What was used in hours that are not billed yet, by what its tokens cost.
    async fn estimate(&self, hours: HourSpan) -> Estimated {
        if hours.is_empty() {
            return Estimated::Nothing;
        }
        if !self.estimates {
            return Estimated::Refused(None);
        }
        match self.older_usage(Granularity::Hour, hours).await {
            Ok((mut tally, fast)) => {
                tally.estimate(hours);
                Estimated::Told(tally, fast)
            }
            Err(error) if error.is_forbidden_or_unknown() => Estimated::Refused(Some(error)),
            Err(error) => Estimated::Failed(error),
        }
    }

    /// Whole days, as far as they are billed.
    async fn newer_days(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let mut tally = self.tally();
        let mut fast = FastMode::Known;
        let mut watermark = self.now;
        for hours in pieces(hours) {
            let asked = Asked {
                granularity: Granularity::Day,
                hours,
            };
            let mut pages = self.api.billed(asked);
            while let Some(page) = pages.next().await? {
                watermark = watermark.min(self.watermark(page.refreshed_at));
                tally.cost(page.rows);
                tally.unreadable(Naming::ById, page.unreadable);
            }
            fast = fast.max(self.take_used(&mut tally, asked).await?);
        }
        let end = Day::of(watermark).first_hour();
        let unbilled = HourSpan {
            start: end.clamp(hours.start, hours.end),
            end: hours.end,
        };
        tally.forget(unbilled);
        tally.billed_but_for(unbilled);
        Ok(Read {
            hours: HourSpan {
                end: unbilled.start,
                ..hours
            },
            unreadable: tally.take_unreadable(),
            parts: tally.into_parts(),
            basis: Basis::ByHour,
            known_until: None,
            billed_until: Some(watermark),
            no_estimate: None,
            fast,
        })
    }

    async fn older_hours(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let (mut tally, fast) = self.older_usage(Granularity::Hour, hours).await?;
        tally.estimate(hours);
        Ok(Read {
            hours,
            unreadable: tally.take_unreadable(),
            parts: tally.into_parts(),
            basis: Basis::ByDay,
            known_until: None,
            billed_until: None,
            no_estimate: None,
            fast,
        })
    }

    /// Whole days with their bills, as far as there are bills.
    async fn older_days(&self, hours: HourSpan) -> Result<Read, FetchError> {
        let (mut tally, fast) = self.older_usage(Granularity::Day, hours).await?;
        let mut pages = self.api.bills(Asked {
            granularity: Granularity::Day,
            hours,
        });
        // A day of whose bill one row cannot be read is billed, too.
        let mut odd_days = BTreeSet::new();
        while let Some(page) = pages.next().await? {
            tally.bill(page.rows);
            let days = page.unreadable.iter().map(|row| row.hours);
            odd_days.extend(
                days.filter(|hours| hours.end == hours.start.plus(24))
                    .map(|hours| hours.start),
            );
            tally.unreadable(Naming::ByNull, page.unreadable);
        }
        let (mut billed, used) = (tally.billed_days(), tally.used_days());
        billed.extend(odd_days);
        // The newest days may not be billed yet: then what is estimated stays.
        let surely = Day::of(self.now).plus(-BILLED_AFTER_DAYS).first_hour();
        let mut end = hours.end;
        while end > hours.start.max(surely) {
            let day = end.plus(-24);
            if billed.contains(&day) || !used.contains(&day) {
                break;
            }
            end = day;
        }
        tally.forget(HourSpan {
            start: end,
            end: hours.end,
        });
        tally.give_bills();
        Ok(Read {
            hours: HourSpan { end, ..hours },
            unreadable: tally.take_unreadable(),
            parts: tally.into_parts(),
            basis: Basis::ByDay,
            known_until: None,
            billed_until: None,
            no_estimate: None,
            fast,
        })
    }

    /// Tokens by the older report: how they were used, and in whose name.
    async fn older_usage(
        &self,
        granularity: Granularity,
        hours: HourSpan,
    ) -> Result<(Tally, FastMode), FetchError> {
        let asked = Asked { granularity, hours };
        let mut tally = self.tally();
        let mut pages = self.api.messages(asked, Cut::Manner);
        while let Some(page) = pages.next().await? {
            tally.used(Naming::ByNull, page.rows);
            tally.unreadable(Naming::ByNull, page.unreadable);
        }
        let is_reported = for_fast(self.api.messages(asked, Cut::Fast), |page| {
            tally.fast(Naming::ByNull, page.rows);
            tally.unreadable(Naming::ByNull, page.unreadable);
        });
        let is_reported = is_reported.await?;
        let fast = tally.price_fast(hours, is_reported, self.settled(granularity));
        let mut pages = self.api.messages(asked, Cut::Keys);
        while let Some(page) = pages.next().await? {
            // A page holds whole buckets: their keys need not wait for the others.
            tally.keys(Naming::ByNull, page.rows);
            tally.unreadable_keys(Naming::ByNull, page.unreadable);
            tally.apportion();
        }
        Ok((tally, fast))
    }

    /// The first bucket that may still grow between two requests.
    fn settled(&self, granularity: Granularity) -> Hour {
        match granularity {
            Granularity::Hour => Hour::of(self.now).plus(-1),
            Granularity::Day => Hour::of(self.now).plus(-1).day().first_hour(),
        }
    }

    async fn take_used(&self, tally: &mut Tally, asked: Asked) -> Result<FastMode, FetchError> {
        let mut pages = self.api.used(asked, false);
        while let Some(page) = pages.next().await? {
            tally.used(Naming::ById, page.rows);
            tally.unreadable(Naming::ById, page.unreadable);
        }
        let is_reported = for_fast(self.api.used(asked, true), |page| {
            tally.fast(Naming::ById, page.rows);
            tally.unreadable(Naming::ById, page.unreadable);
        });
        let is_reported = is_reported.await?;
        Ok(tally.price_fast(asked.hours, is_reported, self.settled(asked.granularity)))
    }
}

/// What came of asking for an estimate.
enum Estimated {
    Told(Tally, FastMode),
    Nothing,
    /// The service does not tell it, or it was not asked.
    Refused(Option<FetchError>),
    /// It could not be had.
    Failed(FetchError),
}

/// Rows of fast mode. Gives whether the service reports any: one that does not know the mode refuses.
async fn for_fast(
    mut pages: Pages<UsedRow>,
    mut take: impl FnMut(Page<UsedRow>),
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

/// Days in spans that are told at once.
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
