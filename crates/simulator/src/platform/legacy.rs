//! Older reports of the real API: tokens by bucket and cost by day. All buckets are present, oldest first.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::parameters::{groups, limit, one_of, parameter, reject_unknown, required_timestamp};
use crate::platform::buckets::{BucketWidth, bounds, cents, json_string};
use crate::platform::charges::{Charge, by_charge, undivided};
use crate::platform::dimensions::{self, DimensionFilter, MESSAGES_DIMENSIONS, MESSAGES_FILTERS};
use crate::platform::headers::RequestHeaders;
use crate::platform::paging;
use crate::platform::sums::{GroupKey, GroupedUsage, group_usage};
use crate::platform::usage_records::{RecordFilter, UsageTraits};
use crate::request::Query;
use crate::world::World;
use crate::world::amounts::SimulatedUsage;
use crate::world::report_cache::LazyRows;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

const FAST_BETA: &str = "fast-mode-2026-02-01";

/// `GET …/usage_report/messages`.
pub fn messages(
    world: &mut World,
    query: &Query,
    headers: &RequestHeaders,
    now: Timestamp,
) -> Result<String, ApiError> {
    let parameters = [
        "starting_at",
        "ending_at",
        "bucket_width",
        "limit",
        "group_by[]",
        "page",
    ];
    let filters = MESSAGES_FILTERS.map(|(name, ..)| name);
    reject_unknown(query, &[parameters.as_slice(), &filters].concat())?;
    let groups = groups(query, &MESSAGES_DIMENSIONS, &[])?;
    let has_fast_beta = headers.has_beta(FAST_BETA);
    let asks_speed =
        groups.iter().any(|group| group == "speed") || parameter(query, "speeds[]").is_some();
    if asks_speed && !has_fast_beta {
        return Err(ApiError::bad_request("speed needs its beta header"));
    }
    let width = one_of(query, "bucket_width", &["1d", "1h", "1m"])?;
    let buckets = BucketWidth::parse(width.unwrap_or("1d"))?;
    let limit = match buckets {
        BucketWidth::Hours => limit(query, 24, 168)?,
        BucketWidth::Days | BucketWidth::Whole(_) => limit(query, 7, 31)?,
    };
    let start = buckets.start(Hour::containing(required_timestamp(query, "starting_at")?));
    let end = match parameter(query, "ending_at") {
        Some(_) => Hour::ceil(required_timestamp(query, "ending_at")?),
        None => Hour::containing(now).plus(1),
    };
    if end <= start {
        return Err(ApiError::bad_request("ending_at must be after starting_at"));
    }
    let mut filter = DimensionFilter::parse(query, &MESSAGES_FILTERS)?;
    if world.ignores_speeds {
        filter = filter.without("speed");
    }
    let span = buckets.covering_span(HourSpan { start, end });
    // Without its beta the report has no `speed` column.
    let columns = MESSAGES_DIMENSIONS.iter();
    let columns = columns.filter(|name| has_fast_beta || **name != "speed");
    let columns: Vec<(&str, Option<usize>)> = columns
        .map(|name| (*name, group_index(&groups, name)))
        .collect();
    let report = match has_fast_beta {
        true => "messages with speed",
        false => "messages",
    };
    paging::report_page(world, report, query, (limit, now), |world| {
        let record_filter = RecordFilter {
            hours: span,
            until: now,
            includes_workspace: &|id| filter.matches_workspace(id, None),
            is_by_key: filter.includes_keys() || dimensions::include_keys(&groups),
        };
        let records = world.usage_records(&record_filter, now);
        let key = |traits: &UsageTraits, _| {
            let is_included = !traits.model.is_empty() && filter.matches(traits, None);
            let value = |name: &String| dimensions::value(traits, name, None);
            is_included.then(|| groups.iter().map(value).collect())
        };
        let sums = group_usage(&records, |hour| buckets.start(hour), undivided, key);
        by_bucket(buckets, span, sums, move |key, used| {
            messages_row(&columns, key, used)
        })
    })
}

fn messages_row(
    columns: &[(&str, Option<usize>)],
    key: &GroupKey,
    used: &SimulatedUsage,
) -> String {
    let mut row = format!(
        concat!(
            r#"{{"uncached_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{},"#,
            r#""cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"#,
            r#""server_tool_use":{{"web_search_requests":{}}}"#
        ),
        used.input,
        used.cache_read,
        used.output,
        used.cache_write_5m,
        used.cache_write_1h,
        used.web_searches,
    );
    for (name, index) in columns {
        let value = json_string(index.and_then(|index| key[index].as_deref()));
        row.push_str(&format!(r#","{name}":{value}"#));
    }
    row.push('}');
    row
}

/// `GET …/cost_report`.
pub fn cost_report(world: &mut World, query: &Query, now: Timestamp) -> Result<String, ApiError> {
    reject_unknown(
        query,
        &[
            "starting_at",
            "ending_at",
            "bucket_width",
            "limit",
            "group_by[]",
            "page",
        ],
    )?;
    let groups = groups(query, &["workspace_id", "description"], &[])?;
    one_of(query, "bucket_width", &["1d"])?;
    let limit = limit(query, 7, 31)?;
    let start = Day::containing(required_timestamp(query, "starting_at")?);
    let end = match parameter(query, "ending_at") {
        Some(_) => Day::containing(required_timestamp(query, "ending_at")?),
        None => Day::containing(now),
    };
    if end <= start {
        return Err(ApiError {
            is_final: true,
            ..ApiError::bad_request("Invalid date range: ending date must be after starting date")
        });
    }
    let span = HourSpan {
        start: start.first_hour(),
        end: end.first_hour(),
    };
    let workspace = group_index(&groups, "workspace_id");
    let description = group_index(&groups, "description");
    paging::report_page(world, "cost_report", query, (limit, now), |world| {
        // Days that are not billed yet are present and empty.
        let lag = world.bill_lag;
        let billed_until = Day::containing(now.checked_sub(lag).unwrap_or(now)).first_hour();
        let billed = HourSpan {
            end: span.end.min(billed_until),
            ..span
        };
        let record_filter = RecordFilter {
            hours: billed,
            until: now,
            includes_workspace: &|_| true,
            is_by_key: false,
        };
        let records = world.usage_records(&record_filter, now);
        let key = |traits: &UsageTraits, charge| {
            traits.is_billed().then(|| {
                let id = dimensions::value(traits, "workspace_id", None);
                let (text, parsed) = describe(traits, charge);
                vec![
                    id.filter(|_| workspace.is_some()),
                    description.map(|_| text),
                    description.map(|_| parsed.to_string()),
                ]
            })
        };
        let buckets = BucketWidth::Days;
        let sums = group_usage(&records, |hour| buckets.start(hour), by_charge, key);
        by_bucket(buckets, span, sums, cost_row)
    })
}

/// Returns the description of a charge and the fields that the API parses from it.
fn describe(traits: &UsageTraits, charge: Charge) -> (String, Value) {
    let detail = &traits.detail;
    match charge {
        Charge::Tokens(_) => {
            let tier = match detail.service_tier.as_str() {
                "batch" => "batch",
                _ => "standard",
            };
            let kind = charge.token_type().unwrap_or_default();
            let description = format!(
                "{} Usage - {kind}, {tier}, {}, {}",
                traits.model, detail.context_window, detail.inference_geo
            );
            let parsed = json!({"cost_type": "tokens", "model": traits.model, "token_type": kind,
                "service_tier": tier, "context_window": detail.context_window,
                "inference_geo": detail.inference_geo});
            (description, parsed)
        }
        Charge::Whole | Charge::WebSearch | Charge::CodeExecution | Charge::Adjustment => {
            let description = match charge {
                Charge::WebSearch => "Web Search Usage",
                Charge::CodeExecution => "Code Execution Usage",
                Charge::Whole | Charge::Tokens(_) | Charge::Adjustment => "Adjustment",
            };
            (
                description.to_owned(),
                empty_parsed_fields(charge.cost_type()),
            )
        }
    }
}

fn empty_parsed_fields(cost_type: Option<&str>) -> Value {
    json!({"cost_type": cost_type, "model": null, "token_type": null, "service_tier": null,
           "context_window": null, "inference_geo": null})
}

fn cost_row(key: &GroupKey, used: &SimulatedUsage) -> String {
    let parsed = match &key[2] {
        Some(parsed) => parsed.clone(),
        None => empty_parsed_fields(None).to_string(),
    };
    format!(
        r#"{{"amount":"{}","currency":"USD","workspace_id":{},"description":{},{}"#,
        cents(used.micros),
        json_string(key[0].as_deref()),
        json_string(key[1].as_deref()),
        parsed.trim_start_matches('{'),
    )
}

/// Renders all buckets of a span with their rows.
fn by_bucket(
    buckets: BucketWidth,
    span: HourSpan,
    sums: GroupedUsage,
    row: impl Fn(&GroupKey, &SimulatedUsage) -> String + Send + Sync + 'static,
) -> LazyRows {
    let width = buckets.end(span.start).count() - span.start.count();
    let n_buckets = (span.end.count() - span.start.count()) / width;
    let n_buckets = usize::try_from(n_buckets).expect("the span is not empty");
    LazyRows::new(n_buckets, move |index| {
        let hours = i32::try_from(index).expect("hours fit 32 bits") * width;
        let first = span.start.plus(hours);
        let start = sums.rows.partition_point(|(hour, ..)| *hour < first);
        let rows = sums.rows[start..].iter();
        let rows = rows.take_while(|(hour, ..)| *hour == first);
        let results: Vec<String> = rows
            .map(|(_, group, used)| row(&sums.groups[*group], used))
            .collect();
        let bounds = bounds(buckets, first);
        format!(r#"{{{bounds},"results":[{}]}}"#, results.join(","))
    })
}

fn group_index(groups: &[String], name: &str) -> Option<usize> {
    groups.iter().position(|group| group == name)
}
