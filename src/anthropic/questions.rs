//! What is asked of the real service's reports, and in which words. Pure.

use crate::anthropic::pages::Report;
use crate::anthropic::report::Asked;
use crate::anthropic::{analytics, reports};
use crate::domain::report::{CostRow, UsedRow};
use crate::domain::usage::Granularity;
use crate::metrics::requests::Endpoint;

/// Opens the newer reports.
pub const ANALYTICS_BETA: &str = "analytics-usage-cost-2026-08-24";
/// Opens what the older report tells of fast mode.
pub const FAST_BETA: &str = "fast-mode-2026-02-01";
/// Opens the limits of spend.
pub const SPEND_LIMITS_BETA: &str = "spend-limit-reads-2026-09-26";

/// The most rows on a page of the newer reports.
const MOST_ROWS: u32 = 1000;
/// The most buckets on a page of the older reports.
const MOST_HOURS: u32 = 168;
const MOST_DAYS: u32 = 31;
/// Of a report by key, so many buckets a page.
const HOURS_OF_KEYS: u32 = 4;
/// Of a report by key, so many buckets a page.
const DAYS_OF_KEYS: u32 = 5;

/// How the older usage report is cut: it tells at most five things apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cut {
    /// By all that changes a price but the speed.
    Manner,
    /// The same, of fast mode alone.
    Fast,
    /// By the key that authenticated.
    Keys,
}

/// Money, by the newer report.
pub fn billed(asked: Asked) -> Report<CostRow> {
    let groups = ["workspace_id", "api_key_id", "model", "actor"];
    Report {
        endpoint: Endpoint::AnalyticsCost,
        beta: Some(ANALYTICS_BETA),
        query: analytics_query(asked, &groups),
        asked: asked.whole(),
        translate: analytics::cost,
    }
}

/// The least that can be asked of the newer report: whether it is there.
pub fn least_billed(asked: Asked) -> Report<CostRow> {
    let mut query = span(asked, "time_bucket_width");
    query.push(("limit", "1".to_owned()));
    Report {
        query,
        ..billed(asked)
    }
}

/// Tokens, by the newer report: of all, or of fast mode alone.
pub fn used(asked: Asked, is_fast: bool) -> Report<UsedRow> {
    let groups = [
        "workspace_id",
        "api_key_id",
        "model",
        "service_tier",
        "inference_geo",
    ];
    let mut query = analytics_query(asked, &groups);
    if is_fast {
        query.push(("speeds[]", "fast".to_owned()));
    }
    Report {
        endpoint: Endpoint::AnalyticsUsage,
        beta: Some(ANALYTICS_BETA),
        query,
        asked: asked.whole(),
        translate: analytics::used,
    }
}

/// Tokens, by the older report.
pub fn messages(asked: Asked, cut: Cut) -> Report<UsedRow> {
    let manner = [
        "workspace_id",
        "model",
        "service_tier",
        "context_window",
        "inference_geo",
    ];
    let keys = ["workspace_id", "api_key_id", "model"];
    let (groups, is_fast) = match cut {
        Cut::Manner => (manner.as_slice(), false),
        Cut::Fast => (manner.as_slice(), true),
        Cut::Keys => (keys.as_slice(), false),
    };
    let most = match (asked.granularity, cut) {
        // An answer is read whole, and has a row for each key, model and bucket.
        (Granularity::Hour, Cut::Keys) => HOURS_OF_KEYS,
        (Granularity::Day, Cut::Keys) => DAYS_OF_KEYS,
        (Granularity::Hour, Cut::Manner | Cut::Fast) => MOST_HOURS,
        (Granularity::Day, Cut::Manner | Cut::Fast) => MOST_DAYS,
    };
    let mut query = span(asked, "bucket_width");
    query.extend(grouped(groups));
    if is_fast {
        query.push(("speeds[]", "fast".to_owned()));
    }
    query.push(("limit", most.to_string()));
    Report {
        endpoint: Endpoint::UsageReportMessages,
        beta: is_fast.then_some(FAST_BETA),
        query,
        asked: asked.whole(),
        translate: reports::used,
    }
}

/// The least that can be asked of the older report: whether it is there.
pub fn least_messages(asked: Asked) -> Report<UsedRow> {
    let mut query = span(asked, "bucket_width");
    query.push(("limit", "1".to_owned()));
    Report {
        query,
        ..messages(asked, Cut::Keys)
    }
}

/// Money, by the older report, which knows days alone.
pub fn bills(asked: Asked) -> Report<CostRow> {
    let asked = Asked {
        granularity: Granularity::Day,
        ..asked
    };
    let mut query = span(asked, "bucket_width");
    query.extend(grouped(&["workspace_id", "description"]));
    query.push(("limit", MOST_DAYS.to_string()));
    Report {
        endpoint: Endpoint::CostReport,
        beta: None,
        query,
        asked: asked.whole(),
        translate: reports::cost,
    }
}

fn analytics_query(asked: Asked, groups: &[&str]) -> Vec<(&'static str, String)> {
    let mut query = span(asked, "time_bucket_width");
    query.extend(grouped(groups));
    query.push(("order_by", "time".to_owned()));
    query.push(("order", "asc".to_owned()));
    query.push(("limit", MOST_ROWS.to_string()));
    query
}

/// Both bounds, always: without the second one the service takes one of its own.
fn span(asked: Asked, width_name: &'static str) -> Vec<(&'static str, String)> {
    let hours = asked.whole().hours;
    let width = match asked.granularity {
        Granularity::Hour => "1h",
        Granularity::Day => "1d",
    };
    vec![
        ("starting_at", hours.start.start().to_string()),
        ("ending_at", hours.end.start().to_string()),
        (width_name, width.to_owned()),
    ]
}

fn grouped(groups: &[&str]) -> impl Iterator<Item = (&'static str, String)> {
    groups
        .iter()
        .map(|group| ("group_by[]", (*group).to_owned()))
}
