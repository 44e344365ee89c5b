//! Reports of usage and cost in the `analytics` and `reports` dialects.

use std::sync::Arc;

use crate::AdminApi;
use crate::endpoint::Endpoint;
use crate::reads::report_pages::{ReportPages, ReportRequest};
use crate::wire::report::BucketSpan;
use crate::wire::{analytics, reports};
use spendwatch_domain::usage::bucket::Granularity;
use spendwatch_domain::usage::report_rows::{CostRow, TokenRow};

/// Beta header of the `analytics` reports.
const ANALYTICS_BETA: &str = "analytics-usage-cost-2026-08-24";
/// Beta header of fast mode in the `reports` dialect.
const FAST_BETA: &str = "fast-mode-2026-02-01";

/// Maximum rows on a page in the `analytics` dialect.
const MAX_ROWS: u32 = 1000;
/// Maximum buckets on a page in the `reports` dialect.
const MAX_HOURS: u32 = 168;
const MAX_DAYS: u32 = 31;
/// Buckets per page of a report by key, whose responses are large and held in memory.
const HOURS_BY_KEY: u32 = 4;
const DAYS_BY_KEY: u32 = 5;

/// How a usage report of the `reports` dialect is grouped; the API allows at most five dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageGrouping {
    /// By everything that affects the price except speed.
    Pricing,
    /// Like `Pricing`, for fast mode only.
    FastMode,
    ApiKey,
}

impl AdminApi {
    /// Fetches spend by hour or day, workspace, key, model and actor in the `analytics` dialect.
    pub fn analytics_cost(&self, span: BucketSpan) -> ReportPages<CostRow> {
        ReportPages::new(Arc::clone(&self.0), analytics_cost(span))
    }

    /// Fetches tokens by hour or day, workspace, key, model, tier and region in the `analytics` dialect, of all usage or of fast
    /// mode only.
    pub fn analytics_usage(&self, span: BucketSpan, is_fast: bool) -> ReportPages<TokenRow> {
        ReportPages::new(Arc::clone(&self.0), analytics_usage(span, is_fast))
    }

    /// Fetches tokens by hour or day in the `reports` dialect.
    pub fn usage_report(&self, span: BucketSpan, cut: UsageGrouping) -> ReportPages<TokenRow> {
        ReportPages::new(Arc::clone(&self.0), usage_report(span, cut))
    }

    /// Fetches the lines of the bill by day and workspace in the `reports` dialect, always in whole days.
    pub fn cost_report(&self, span: BucketSpan) -> ReportPages<CostRow> {
        ReportPages::new(Arc::clone(&self.0), cost_report(span))
    }
}

/// Requests spend in the `analytics` dialect.
fn analytics_cost(span: BucketSpan) -> ReportRequest<CostRow> {
    let groups = ["workspace_id", "api_key_id", "model", "actor"];
    ReportRequest {
        endpoint: Endpoint::AnalyticsCost,
        beta: Some(ANALYTICS_BETA),
        query: analytics_query(span, &groups),
        span: span.widened(),
        parse: analytics::cost,
    }
}

/// Requests a single row or bucket of the cheapest report of a dialect, to find out whether it is available.
pub fn analytics_probe(span: BucketSpan) -> ReportRequest<CostRow> {
    single(analytics_cost(span))
}

/// Like [`analytics_probe`], in the `reports` dialect.
pub fn reports_probe(span: BucketSpan) -> ReportRequest<TokenRow> {
    single(usage_report(span, UsageGrouping::ApiKey))
}

/// Keeps the span of a report, its first three parameters, and asks for a single row or bucket.
fn single<T>(mut report: ReportRequest<T>) -> ReportRequest<T> {
    report.query.truncate(3);
    report.query.push(("limit", "1".to_owned()));
    report
}

/// Requests tokens in the `analytics` dialect, of all usage or of fast mode only.
fn analytics_usage(span: BucketSpan, is_fast: bool) -> ReportRequest<TokenRow> {
    let groups = [
        "workspace_id",
        "api_key_id",
        "model",
        "service_tier",
        "inference_geo",
    ];
    let mut query = analytics_query(span, &groups);
    if is_fast {
        query.push(("speeds[]", "fast".to_owned()));
    }
    ReportRequest {
        endpoint: Endpoint::AnalyticsUsage,
        beta: Some(ANALYTICS_BETA),
        query,
        span: span.widened(),
        parse: analytics::usage,
    }
}

/// Requests tokens in the `reports` dialect.
fn usage_report(span: BucketSpan, grouping: UsageGrouping) -> ReportRequest<TokenRow> {
    let pricing = [
        "workspace_id",
        "model",
        "service_tier",
        "context_window",
        "inference_geo",
    ];
    let keys = ["workspace_id", "api_key_id", "model"];
    let (groups, is_fast) = match grouping {
        UsageGrouping::Pricing => (pricing.as_slice(), false),
        UsageGrouping::FastMode => (pricing.as_slice(), true),
        UsageGrouping::ApiKey => (keys.as_slice(), false),
    };
    let limit = match (span.granularity, grouping) {
        (Granularity::Hour, UsageGrouping::ApiKey) => HOURS_BY_KEY,
        (Granularity::Day, UsageGrouping::ApiKey) => DAYS_BY_KEY,
        (Granularity::Hour, UsageGrouping::Pricing | UsageGrouping::FastMode) => MAX_HOURS,
        (Granularity::Day, UsageGrouping::Pricing | UsageGrouping::FastMode) => MAX_DAYS,
    };
    let mut query = span_query(span, "bucket_width");
    query.extend(grouped(groups));
    if is_fast {
        query.push(("speeds[]", "fast".to_owned()));
    }
    query.push(("limit", limit.to_string()));
    ReportRequest {
        endpoint: Endpoint::UsageReportMessages,
        beta: is_fast.then_some(FAST_BETA),
        query,
        span: span.widened(),
        parse: reports::usage,
    }
}

/// Requests spend in the `reports` dialect, which reports it by day only.
fn cost_report(span: BucketSpan) -> ReportRequest<CostRow> {
    let span = BucketSpan {
        granularity: Granularity::Day,
        ..span
    };
    let mut query = span_query(span, "bucket_width");
    query.extend(grouped(&["workspace_id", "description"]));
    query.push(("limit", MAX_DAYS.to_string()));
    ReportRequest {
        endpoint: Endpoint::CostReport,
        beta: None,
        query,
        span: span.widened(),
        parse: reports::cost,
    }
}

fn analytics_query(span: BucketSpan, groups: &[&str]) -> Vec<(&'static str, String)> {
    let mut query = span_query(span, "time_bucket_width");
    query.extend(grouped(groups));
    query.push(("order_by", "time".to_owned()));
    query.push(("order", "asc".to_owned()));
    query.push(("limit", MAX_ROWS.to_string()));
    query
}

/// Returns both bounds and the bucket width; without an end, the API would choose one.
fn span_query(span: BucketSpan, width_name: &'static str) -> Vec<(&'static str, String)> {
    let hours = span.widened().hours;
    let width = match span.granularity {
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
