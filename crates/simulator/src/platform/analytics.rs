//! Analytics reports of the real API: sparse, flat rows, largest first, with billed and list amounts per key and hour.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::SimulatedApi;
use crate::api_error::ApiError;
use crate::parameters::{groups, limit, one_of, parameter, reject_unknown, required_timestamp};
use crate::platform::buckets::{BucketWidth, bounds, cents, json_string, list_cents};
use crate::platform::charges::{Charge, by_charge, undivided};
use crate::platform::dimensions::{self, ANALYTICS_DIMENSIONS, ANALYTICS_FILTERS, DimensionFilter};
use crate::platform::paging;
use crate::platform::sums::{GroupKey, GroupedUsage, group_usage};
use crate::platform::usage_records::{RecordFilter, UsageTraits};
use crate::request::Query;
use crate::world::World;
use crate::world::amounts::SimulatedUsage;
use crate::world::report_cache::LazyRows;
use spendwatch_domain::units::span::{Hour, HourSpan};

/// Dimensions that split the amount of a row; they do not count towards the maximum number of dimensions.
const SPLIT_DIMENSIONS: [&str; 2] = ["cost_type", "token_type"];
/// Maximum length of a range.
const MAX_RANGE_HOURS: i64 = 24 * 31;
/// Maximum age of a range's start.
const MAX_AGE_HOURS: i64 = 24 * 365;
/// Earliest start of a range.
const EARLIEST_START: &str = "2026-01-01T00:00:00Z";

/// The two analytics reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// `…/analytics/usage`: tokens.
    Usage,
    /// `…/analytics/cost`: money.
    Cost,
}

#[derive(Debug, Clone, Copy)]
enum SortKey {
    Time,
    Spend,
    Tokens,
    Input,
    Output,
    Requests,
}

/// Renders rows.
struct ReportFormat {
    report: ReportKind,
    buckets: BucketWidth,
    /// Counted dimensions, then split dimensions.
    groups: Vec<String>,
    n_counted: usize,
    discount_percent: i64,
}

/// `GET …/analytics/usage` and `…/analytics/cost`.
pub fn analytics(
    world: &mut World,
    query: &Query,
    report: ReportKind,
    now: Timestamp,
) -> Result<String, ApiError> {
    let parameters = [
        "starting_at",
        "ending_at",
        "time_bucket_width",
        "limit",
        "group_by[]",
        "order_by",
        "order",
        "page",
    ];
    let filters = ANALYTICS_FILTERS.map(|(name, ..)| name);
    reject_unknown(query, &[parameters.as_slice(), &filters].concat())?;
    let (split, name): (&[&str], _) = match report {
        ReportKind::Usage => (&[], "analytics_usage"),
        ReportKind::Cost => (&SPLIT_DIMENSIONS, "analytics_cost"),
    };
    let mut groups = groups(query, &ANALYTICS_DIMENSIONS, split)?;
    groups.sort_by_key(|group| split.contains(&group.as_str()));
    let counted = groups
        .iter()
        .filter(|group| !split.contains(&group.as_str()));
    let n_counted = counted.count();
    let limit = limit(query, 20, 1000)?;
    let (buckets, span) = range(query, now)?;
    let (sort_key, is_ascending) = order(query, report, buckets)?;
    let mut filter = DimensionFilter::parse(query, &ANALYTICS_FILTERS)?;
    if world.ignores_speeds {
        filter = filter.without("speed");
    }
    let form = ReportFormat {
        report,
        buckets,
        groups,
        n_counted,
        discount_percent: world.discount_percent,
    };
    paging::report_page(world, name, query, (limit, now), |world| {
        let watermark = world
            .refreshed_until
            .unwrap_or(now - world.refresh_lag)
            .min(now);
        let default = world.default_workspace.clone();
        let default = default.as_deref();
        let record_filter = RecordFilter {
            hours: span,
            until: watermark,
            includes_workspace: &|id| filter.matches_workspace(id, default),
            is_by_key: filter.includes_keys() || dimensions::include_keys(&form.groups),
        };
        let records = world.usage_records(&record_filter, now);
        let charges = match form.is_split() {
            true => by_charge,
            false => undivided,
        };
        let key = |traits: &UsageTraits, charge| {
            let is_included = form.includes(traits) && filter.matches(traits, default);
            is_included.then(|| form.key(traits, charge, default))
        };
        let sums = group_usage(&records, |hour| buckets.start(hour), charges, key);
        let mut rows = sorted_rows(form, sums, sort_key, is_ascending);
        if !matches!(world.api, SimulatedApi::Platform(real) if real.hides_watermark) {
            rows.extra_fields = format!(r#","data_refreshed_at":"{watermark}""#);
        }
        rows
    })
}

/// Returns the bucket width and the requested range, extended to whole buckets.
fn range(query: &Query, now: Timestamp) -> Result<(BucketWidth, HourSpan), ApiError> {
    let width = one_of(query, "time_bucket_width", &["1d", "1h", "1m"])?;
    let longest = SignedDuration::from_hours(MAX_RANGE_HOURS);
    let started = required_timestamp(query, "starting_at")?;
    let ended = match parameter(query, "ending_at") {
        None if width.is_none() => now.min(started.checked_add(longest).unwrap_or(now)),
        None | Some(_) => required_timestamp(query, "ending_at")?,
    };
    let beginning: Timestamp = EARLIEST_START.parse().expect("a timestamp");
    let year_ago = now - SignedDuration::from_hours(MAX_AGE_HOURS);
    if started < beginning || started < year_ago {
        return Err(ApiError::bad_request("starting_at is too old"));
    }
    if ended <= started {
        return Err(ApiError::bad_request("ending_at must be after starting_at"));
    }
    if ended.duration_since(started) > longest {
        return Err(ApiError::bad_request("the range exceeds 31 days"));
    }
    let Some(width) = width else {
        // Both bounds are rounded down to the hour.
        let (start, end) = (Hour::containing(started), Hour::containing(ended));
        let span = HourSpan { start, end };
        return match span.is_empty() {
            true => Err(ApiError::bad_request("the range is shorter than an hour")),
            false => Ok((BucketWidth::Whole(span), span)),
        };
    };
    let buckets = BucketWidth::parse(width)?;
    let hours = HourSpan {
        start: Hour::containing(started),
        end: Hour::ceil(ended),
    };
    Ok((buckets, buckets.covering_span(hours)))
}

/// Returns the sort key, and whether the order is ascending.
fn order(
    query: &Query,
    report: ReportKind,
    buckets: BucketWidth,
) -> Result<(SortKey, bool), ApiError> {
    let is_ascending = one_of(query, "order", &["asc", "desc"])? == Some("asc");
    let (default, allowed): (SortKey, &[&str]) = match report {
        ReportKind::Cost => (SortKey::Spend, &["amount", "list_amount", "time"]),
        ReportKind::Usage => (
            SortKey::Tokens,
            &[
                "total_tokens",
                "uncached_input_tokens",
                "output_tokens",
                "requests",
                "time",
            ],
        ),
    };
    let sort_key = match (one_of(query, "order_by", allowed)?, buckets) {
        (Some("time"), BucketWidth::Hours | BucketWidth::Days) => SortKey::Time,
        (Some("uncached_input_tokens"), _) => SortKey::Input,
        (Some("output_tokens"), _) => SortKey::Output,
        (Some("requests"), _) => SortKey::Requests,
        (_, BucketWidth::Hours | BucketWidth::Days | BucketWidth::Whole(_)) => default,
    };
    Ok((sort_key, is_ascending))
}

impl SortKey {
    fn value(self, bucket: Hour, used: &SimulatedUsage) -> i64 {
        match self {
            SortKey::Time => i64::from(bucket.count()),
            SortKey::Spend => used.micros,
            SortKey::Tokens => tokens(used),
            SortKey::Input => used.input,
            SortKey::Output => used.output,
            SortKey::Requests => used.requests,
        }
    }
}

/// Sorts rows. Rows split from the same amount stay together and count as one.
fn sorted_rows(
    form: ReportFormat,
    mut sums: GroupedUsage,
    sort_key: SortKey,
    is_ascending: bool,
) -> LazyRows {
    let bases = bases(&sums.groups, form.n_counted);
    if form.is_split() {
        sums.rows
            .sort_by_key(|(bucket, group, _)| (*bucket, bases[*group], *group));
    }
    let mut blocks = Vec::new();
    let mut start = 0;
    let is_together = |left: &(Hour, usize, SimulatedUsage),
                       right: &(Hour, usize, SimulatedUsage)| {
        (left.0, bases[left.1]) == (right.0, bases[right.1])
    };
    for block in sums.rows.chunk_by(is_together) {
        let mut total = SimulatedUsage::default();
        block.iter().for_each(|(.., used)| total += *used);
        let rank = sort_key.value(block[0].0, &total);
        let rank = if is_ascending { rank } else { -rank };
        blocks.push((rank, start, start + block.len()));
        start += block.len();
    }
    blocks.sort_unstable_by_key(|(rank, start, _)| (*rank, *start));
    LazyRows::new(blocks.len(), move |index| {
        let (_, start, end) = blocks[index];
        let rows = sums.rows[start..end].iter();
        let rows: Vec<String> = rows
            .map(|(bucket, group, used)| form.row(*bucket, &sums.groups[*group], used))
            .collect();
        rows.join(",")
    })
}

/// Returns for each group the index of the first group with the same counted dimensions.
fn bases(groups: &[GroupKey], n_counted: usize) -> Vec<usize> {
    let mut firsts: HashMap<&[Option<String>], usize> = HashMap::new();
    let indexes = groups.iter().enumerate();
    indexes
        .map(|(index, key)| *firsts.entry(&key[..n_counted]).or_insert(index))
        .collect()
}

impl ReportFormat {
    fn is_split(&self) -> bool {
        self.n_counted < self.groups.len()
    }

    /// Returns whether this report includes usage with these traits. Corrections belong to no hour.
    fn includes(&self, traits: &UsageTraits) -> bool {
        let has_days = match self.buckets {
            BucketWidth::Days => true,
            BucketWidth::Hours | BucketWidth::Whole(_) => false,
        };
        let is_known = match self.report {
            ReportKind::Usage => !traits.model.is_empty(),
            ReportKind::Cost => has_days || !traits.is_daily,
        };
        is_known && traits.is_billed()
    }

    fn key(&self, traits: &UsageTraits, charge: Charge, default: Option<&str>) -> GroupKey {
        let groups = self.groups.iter();
        groups
            .map(|group| match group.as_str() {
                "cost_type" => charge.cost_type().map(str::to_owned),
                "token_type" => charge.token_type().map(str::to_owned),
                name => dimensions::value(traits, name, default),
            })
            .collect()
    }

    fn row(&self, bucket: Hour, key: &GroupKey, used: &SimulatedUsage) -> String {
        let bounds = bounds(self.buckets, bucket);
        let group = self.group(key);
        let figures = match self.report {
            ReportKind::Usage => usage(used),
            ReportKind::Cost => self.cost(used),
        };
        format!(r#"{{{bounds},"group":{{{group}}},{figures}}}"#)
    }

    /// Renders all dimensions; null if not requested.
    fn group(&self, key: &GroupKey) -> String {
        let split = match self.report {
            ReportKind::Usage => [].iter(),
            ReportKind::Cost => SPLIT_DIMENSIONS.iter(),
        };
        let fields = ANALYTICS_DIMENSIONS.iter().chain(split).map(|name| {
            let index = self.groups.iter().position(|group| group == name);
            match index.and_then(|index| key[index].as_deref()) {
                Some(actor) if *name == "actor" => format!(r#""actor":{actor}"#),
                value => format!(r#""{name}":{}"#, json_string(value)),
            }
        });
        fields.collect::<Vec<String>>().join(",")
    }

    fn cost(&self, used: &SimulatedUsage) -> String {
        // Requests cannot be attributed to parts of an amount.
        let requests = match self.is_split() {
            true => "null".to_owned(),
            false => used.requests.to_string(),
        };
        format!(
            r#""cost":{{"amount":"{}","list_amount":"{}","currency":"USD","requests":{requests}}}"#,
            cents(used.micros),
            list_cents(used.micros, self.discount_percent),
        )
    }
}

fn usage(used: &SimulatedUsage) -> String {
    format!(
        concat!(
            r#""usage":{{"uncached_input_tokens":{},"output_tokens":{},"cache_creation":{{"#,
            r#""ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"#,
            r#""cache_read_input_tokens":{},"total_tokens":{},"requests":{},"#,
            r#""server_tool_use":{{"web_search_requests":{}}}}}"#
        ),
        used.input,
        used.output,
        used.cache_write_5m,
        used.cache_write_1h,
        used.cache_read,
        tokens(used),
        used.requests,
        used.web_searches,
    )
}

fn tokens(used: &SimulatedUsage) -> i64 {
    used.input + used.output + used.cache_read + used.cache_write_5m + used.cache_write_1h
}
