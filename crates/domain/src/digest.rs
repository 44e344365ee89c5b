//! Digests: the spend of the last period that had ended at a slot of the schedule, compared with the period before.
//!
//! A digest is created once from ledger rows and measurements; rendering looks up nothing else. Its parts sum to the total,
//! and it lists what is unknown.

pub mod period;

pub mod gaps;

pub mod forecast;

pub mod create;

use jiff::Timestamp;

use crate::org::events::Event;
use crate::rules::rule::Severity;
use crate::units::ids::{ApiKeyId, OrganizationName, RuleName};
use crate::units::money::Usd;
use crate::units::span::Span;
use crate::units::subject::Subject;
use crate::usage::bucket::{Amounts, UsageRow};

/// Maximum number of entries of a list.
const MAX_LINES: usize = 10;

/// Summary of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    pub organization: OrganizationName,
    pub name: String,
    /// Such as `2026-W47`; `None` for rolling periods.
    pub label: Option<String>,
    pub span: Span,
    /// Time zone of the period.
    pub zone_name: String,
    pub created_at: Timestamp,
    /// Expected spend of the current month; `None` if the last week is unknown.
    pub forecast: Option<Forecast>,
    pub spend: Usd,
    /// Spend of the previous period; `None` if the ledger does not reach back.
    pub before: Option<Usd>,
    /// Spend per time bucket of the period, by label; empty for an hour.
    pub series: Vec<(String, Usd)>,
    pub workspaces: SpendBreakdown,
    /// Workspaces that changed most, increases first; empty if the previous period is unknown.
    pub movers: SpendBreakdown,
    /// Empty if no teams are configured.
    pub teams: SpendBreakdown,
    pub models: SpendBreakdown,
    /// Limits of rules with exactly this period, most used first.
    pub limits: Truncated<LimitUse>,
    /// Firing alerts, most severe first.
    pub alerts: Truncated<OpenAlert>,
    /// Keys that a lifecycle rule reports as idle, longest first; `None` without such a rule or a list of keys.
    pub idle_keys: Option<Truncated<IdleKey>>,
    pub gaps: Vec<DataGap>,
    /// Newest entry of the audit log, so that a replaced log can be detected.
    pub audit: Option<AuditAnchor>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAnchor {
    /// Number, from 1.
    pub entry: u64,
    pub hash: String,
}

/// Expected spend of the current month at the rate of the last [`forecast::FORECAST_HOURS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Such as `2026-11`.
    pub label: String,
    pub spend: Usd,
    pub so_far: Usd,
}

/// First entries of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated<T> {
    pub first: Vec<T>,
    pub n_more: usize,
}

/// Spend by subject; `lines` and `rest` sum to the total.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendBreakdown {
    pub lines: Vec<SubjectSpend>,
    pub rest: Option<OtherSubjects>,
}

/// Spend of one subject in the period, and in the one before if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectSpend {
    pub name: String,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// All subjects without an entry of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherSubjects {
    pub n: usize,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// Use of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    pub rule: RuleName,
    pub subject: Subject,
    pub name: String,
    pub value: Usd,
    /// Whether part of the figure is unknown.
    pub is_lower_bound: bool,
    pub limit: Usd,
}

/// A firing alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    pub rule: RuleName,
    pub subject: Subject,
    pub name: String,
    pub severity: Severity,
    /// Such as `80%`.
    pub threshold: String,
    pub event: Option<Event>,
    pub since: Option<Timestamp>,
}

/// An idle API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleKey {
    pub id: ApiKeyId,
    pub name: String,
    /// Name of the workspace, if known.
    pub workspace: Option<String>,
    pub since: Timestamp,
}

/// Something unknown about the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataGap {
    /// `n` of `n_all` parts were never read.
    Unread { n: usize, n_all: usize },
    /// A part was last read before the end of the period had settled.
    Stale { name: String, as_of: Timestamp },
    /// Number of further stale parts.
    MoreStale { n: usize },
    /// The ledger starts at this time.
    KnownFrom { at: Timestamp },
    /// Part of the spend is estimated.
    Estimated { spend: Usd },
    /// Tokens without a known price, which are not included in spend.
    Unpriced { n_tokens: i64 },
}

impl<T> Truncated<T> {
    fn new(mut all: Vec<T>) -> Truncated<T> {
        let n_more = all.len().saturating_sub(MAX_LINES);
        all.truncate(MAX_LINES);
        Truncated { first: all, n_more }
    }
}

fn sum(rows: &[UsageRow]) -> Amounts {
    rows.iter()
        .fold(Amounts::ZERO, |sum, row| sum + row.amounts)
}

#[cfg(test)]
mod tests;
