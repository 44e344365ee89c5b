//! The real service's four reports: strict about every parameter, floored, snapped, sorted and paged as it does it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::catalog::{known, parameter};
use crate::simulator::lines::{Line, SEARCH_MICROS};
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::Head;
use crate::simulator::world::{Used, World};

const FAST_BETA: &str = "fast-mode-2026-02-01";
/// More dimensions are refused.
const MAX_GROUPS: usize = 5;
/// Most reports that are kept for the pages that follow.
const MAX_TOLD: usize = 8;

const MESSAGES_GROUPS: [&str; 9] = [
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "speed",
    "workspace_id",
];
const ANALYTICS_GROUPS: [&str; 8] = [
    "workspace_id",
    "api_key_id",
    "model",
    "actor",
    "service_tier",
    "context_window",
    "inference_geo",
    "speed",
];
/// These do not count towards the five.
const COST_GROUPS: [&str; 2] = ["cost_type", "token_type"];

/// Which hours belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Hour,
    Day,
}

impl Width {
    fn read(text: Option<&str>) -> Result<Width, Refusal> {
        match text {
            Some("1h") => Ok(Width::Hour),
            Some("1d") => Ok(Width::Day),
            Some("1m") => Err(Refusal::bad("minutes are not simulated")),
            Some(_) | None => Err(Refusal::bad("unknown bucket width")),
        }
    }

    fn first(self, hour: Hour) -> Hour {
        match self {
            Width::Hour => hour,
            Width::Day => hour.day().first_hour(),
        }
    }

    fn n_hours(self) -> i32 {
        match self {
            Width::Hour => 1,
            Width::Day => 24,
        }
    }
}

/// `GET …/usage_report/messages`.
pub fn messages(
    world: &mut World,
    query: &Query,
    head: &Head,
    now: Timestamp,
) -> Result<String, Refusal> {
    known(
        query,
        &[
            "starting_at",
            "ending_at",
            "bucket_width",
            "limit",
            "group_by[]",
            "models[]",
            "workspace_ids[]",
            "api_key_ids[]",
            "account_ids[]",
            "service_account_ids[]",
            "service_tiers[]",
            "context_window[]",
            "inference_geos[]",
            "speeds[]",
            "page",
        ],
    )?;
    let groups = groups(query, &MESSAGES_GROUPS, &[])?;
    let asks_speed = groups.contains(&"speed") || parameter(query, "speeds[]").is_some();
    if asks_speed && !head.has(FAST_BETA) {
        return Err(Refusal::bad("speed needs its beta header"));
    }
    let width = Width::read(Some(parameter(query, "bucket_width").unwrap_or("1d")))?;
    let (usual, most) = match width {
        Width::Hour => (24, 168),
        Width::Day => (7, 31),
    };
    let limit = limit(query, usual, most)?;
    let start = width.first(Hour::of(instant(query, "starting_at")?));
    let end = match parameter(query, "ending_at") {
        Some(_) => Hour::ceil(instant(query, "ending_at")?),
        None => Hour::of(now).plus(1),
    };
    if end <= start {
        return Err(Refusal::bad("ending_at must be after starting_at"));
    }
    let buckets = told(world, query, now, |world| {
        let span = whole(width, start, end);
        let mut lines = world.lines(span, now, now);
        lines.retain(|line| !line.is_of_day && !line.model.is_empty());
        filter(&mut lines, query, "context_window[]")?;
        let mut rows: BTreeMap<Hour, BTreeMap<Vec<Option<String>>, Used>> = BTreeMap::new();
        for line in lines {
            let key = groups
                .iter()
                .map(|name| dimension(&line, name, None))
                .collect();
            let of_bucket = rows.entry(width.first(line.hour)).or_default();
            *of_bucket.entry(key).or_default() += line.used;
        }
        let mut buckets = Vec::new();
        let mut hour = start;
        while hour < end {
            let results: Vec<Value> = rows
                .get(&hour)
                .into_iter()
                .flatten()
                .map(|(key, used)| messages_row(&groups, key, used))
                .collect();
            buckets.push(bucket(hour, width, &results));
            hour = hour.plus(width.n_hours());
        }
        Ok(buckets)
    })?;
    page(query, &buckets, limit, "")
}

fn messages_row(groups: &[&str], key: &[Option<String>], used: &Used) -> Value {
    let mut row = json!({
        "uncached_input_tokens": used.input, "cache_read_input_tokens": used.cache_read,
        "output_tokens": used.output,
        "cache_creation": {"ephemeral_5m_input_tokens": used.cache_write_5m,
                           "ephemeral_1h_input_tokens": used.cache_write_1h},
        "server_tool_use": {"web_search_requests": used.web_searches},
    });
    for name in MESSAGES_GROUPS {
        let place = groups.iter().position(|group| *group == name);
        row[name] = json!(place.and_then(|place| key[place].clone()));
    }
    row
}

/// `GET …/cost_report`.
pub fn cost_report(world: &mut World, query: &Query, now: Timestamp) -> Result<String, Refusal> {
    known(
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
    if !matches!(parameter(query, "bucket_width"), None | Some("1d")) {
        return Err(Refusal::bad("bucket_width must be 1d"));
    }
    let limit = limit(query, 7, 31)?;
    let start = Day::of(instant(query, "starting_at")?);
    let end = match parameter(query, "ending_at") {
        Some(_) => Day::of(instant(query, "ending_at")?),
        None => Day::of(now),
    };
    if end <= start {
        return Err(Refusal {
            is_final: true,
            ..Refusal::bad("Invalid date range: ending date must be after starting date")
        });
    }
    let buckets = told(world, query, now, |world| {
        let span = HourSpan {
            start: start.first_hour(),
            end: end.first_hour(),
        };
        let mut rows: BTreeMap<Day, BTreeMap<Vec<Option<String>>, (i64, Value)>> = BTreeMap::new();
        for line in world.lines(span, now, now) {
            let day = line.hour.day();
            let has_bill = day
                .end()
                .checked_add(world.bill_lag)
                .is_ok_and(|at| at <= now);
            if !has_bill || !line.is_billed() {
                continue;
            }
            for (description, micros, parsed) in charges(&line) {
                let workspace = Some(line.workspace.clone()).filter(|id| !id.is_empty());
                let key = groups
                    .iter()
                    .map(|name| match *name {
                        "workspace_id" => workspace.clone(),
                        _ => Some(description.clone()),
                    })
                    .collect();
                let sum = rows
                    .entry(day)
                    .or_default()
                    .entry(key)
                    .or_insert((0, parsed));
                sum.0 += micros;
            }
        }
        let mut buckets = Vec::new();
        let mut day = start;
        while day < end {
            let results: Vec<Value> = rows
                .get(&day)
                .into_iter()
                .flatten()
                .map(|(key, (micros, parsed))| cost_row(&groups, key, *micros, parsed))
                .collect();
            buckets.push(bucket(day.first_hour(), Width::Day, &results));
            day = day.plus(1);
        }
        Ok(buckets)
    })?;
    page(query, &buckets, limit, "")
}

/// What stands on the bill of a line: description, 10⁻⁶ USD, and what the service reads from the description.
fn charges(line: &Line) -> Vec<(String, i64, Value)> {
    let plain = |kind: &str| {
        json!({"cost_type": kind, "model": null, "token_type": null, "service_tier": null,
               "context_window": null, "inference_geo": null})
    };
    if line.model.is_empty() {
        let description = if line.is_of_day {
            "Adjustment"
        } else {
            "Code Execution Usage"
        };
        return vec![(
            description.to_owned(),
            line.used.micros,
            plain("code_execution"),
        )];
    }
    let searches = line.used.web_searches * SEARCH_MICROS;
    let of_tokens = line.used.micros - searches;
    let used = &line.used;
    let classes = [
        ("uncached_input_tokens", used.input),
        (
            "cache_creation.ephemeral_5m_input_tokens",
            used.cache_write_5m,
        ),
        (
            "cache_creation.ephemeral_1h_input_tokens",
            used.cache_write_1h,
        ),
        ("cache_read_input_tokens", used.cache_read),
        ("output_tokens", used.output),
    ];
    let present: Vec<_> = classes.iter().filter(|(_, n)| *n > 0).collect();
    let n = i64::try_from(present.len().max(1)).expect("five at most");
    let mut left = of_tokens;
    let mut charges = Vec::new();
    for (place, (token_type, _)) in present.iter().enumerate() {
        let is_last = place + 1 == present.len();
        let micros = if is_last { left } else { of_tokens / n };
        left -= micros;
        let tier = match line.detail.service_tier.as_str() {
            "batch" => "batch",
            _ => "standard",
        };
        let parsed = json!({"cost_type": "tokens", "model": line.model, "token_type": token_type,
            "service_tier": tier, "context_window": line.detail.context_window,
            "inference_geo": line.detail.inference_geo});
        let description = format!(
            "{} Usage - {token_type}, {tier}, {}, {}",
            line.model, line.detail.context_window, line.detail.inference_geo
        );
        charges.push((description, micros, parsed));
    }
    if present.is_empty() {
        charges.push((format!("{} Usage", line.model), left, plain("tokens")));
    }
    if searches > 0 {
        charges.push(("Web Search Usage".to_owned(), searches, plain("web_search")));
    }
    charges
}

fn cost_row(groups: &[&str], key: &[Option<String>], micros: i64, parsed: &Value) -> Value {
    let of = |name: &str| {
        let place = groups.iter().position(|group| *group == name);
        place.and_then(|place| key[place].clone())
    };
    let is_described = groups.contains(&"description");
    let mut row = json!({"amount": cents(micros), "currency": "USD", "workspace_id": of("workspace_id"),
        "description": of("description")});
    for (name, value) in parsed.as_object().expect("an object") {
        row[name] = if is_described {
            value.clone()
        } else {
            Value::Null
        };
    }
    row
}

/// `GET …/analytics/usage` and `…/analytics/cost`.
pub fn analytics(
    world: &mut World,
    query: &Query,
    is_cost: bool,
    now: Timestamp,
) -> Result<String, Refusal> {
    known(
        query,
        &[
            "starting_at",
            "ending_at",
            "time_bucket_width",
            "limit",
            "group_by[]",
            "models[]",
            "workspace_ids[]",
            "api_key_ids[]",
            "service_tiers[]",
            "context_windows[]",
            "inference_geos[]",
            "speeds[]",
            "order_by",
            "order",
            "page",
        ],
    )?;
    let beside: &[&str] = if is_cost { &COST_GROUPS } else { &[] };
    let groups = groups(query, &ANALYTICS_GROUPS, beside)?;
    let width = Width::read(parameter(query, "time_bucket_width"))?;
    let limit = limit(query, 20, 1000)?;
    let (started, ended) = (instant(query, "starting_at")?, instant(query, "ending_at")?);
    let first: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
    let year_ago = now - SignedDuration::from_hours(24 * 365);
    if started < first || started < year_ago {
        return Err(Refusal::bad("starting_at is too long ago"));
    }
    if ended <= started || ended.duration_since(started) > SignedDuration::from_hours(24 * 31) {
        return Err(Refusal::bad("a range spans at most 31 days"));
    }
    let order = order(query, is_cost)?;
    let watermark = world
        .refreshed_until
        .unwrap_or(now - world.refresh_lag)
        .min(now);
    let default = world.default_workspace.clone();
    let rows = told(world, query, now, |world| {
        let span = whole(width, width.first(Hour::of(started)), Hour::ceil(ended));
        let mut lines = world.lines(span, watermark, now);
        lines.retain(|line| line.is_billed() && (width == Width::Day || !line.is_of_day));
        if !is_cost {
            lines.retain(|line| !line.model.is_empty());
        }
        filter(&mut lines, query, "context_windows[]")?;
        let discount = world.discount_percent;
        let mut sums: BTreeMap<(Hour, Vec<Option<String>>), Used> = BTreeMap::new();
        for line in lines {
            let key = groups
                .iter()
                .map(|name| dimension(&line, name, default.as_deref()))
                .collect();
            *sums.entry((width.first(line.hour), key)).or_default() += line.used;
        }
        let mut rows: Vec<_> = sums
            .into_iter()
            .filter(|(_, used)| *used != Used::default())
            .collect();
        rows.sort_by_key(|((hour, _), used)| order(*hour, used));
        let told = rows.iter().map(|((hour, key), used)| {
            analytics_row((*hour, width), &groups, key, used, is_cost, discount).to_string()
        });
        Ok(told.collect())
    })?;
    page(
        query,
        &rows,
        limit,
        &format!(r#","data_refreshed_at":"{watermark}""#),
    )
}

fn analytics_row(
    (hour, width): (Hour, Width),
    groups: &[&str],
    key: &[Option<String>],
    used: &Used,
    is_cost: bool,
    discount: i64,
) -> Value {
    let mut group = json!({});
    for name in ANALYTICS_GROUPS.iter().chain(&COST_GROUPS) {
        let place = groups.iter().position(|group| group == name);
        let value = place.and_then(|place| key[place].clone());
        group[*name] = match (*name, value) {
            ("actor", Some(text)) => serde_json::from_str(&text).expect("made here"),
            (_, value) => json!(value),
        };
    }
    let mut row = json!({
        "starting_at": hour.start().to_string(),
        "ending_at": hour.plus(width.n_hours()).start().to_string(),
        "group": group,
    });
    if is_cost {
        let is_split = groups.iter().any(|name| COST_GROUPS.contains(name));
        let list = used.micros * 100 / (100 - discount);
        let requests = if is_split {
            Value::Null
        } else {
            json!(used.requests)
        };
        row["cost"] = json!({"amount": cents(used.micros), "list_amount": cents(list), "currency": "USD",
            "requests": requests});
    } else {
        row["usage"] = json!({
            "uncached_input_tokens": used.input, "output_tokens": used.output,
            "cache_creation": {"ephemeral_5m_input_tokens": used.cache_write_5m,
                               "ephemeral_1h_input_tokens": used.cache_write_1h},
            "cache_read_input_tokens": used.cache_read, "total_tokens": tokens(used), "requests": used.requests,
            "server_tool_use": {"web_search_requests": used.web_searches},
        });
    }
    row
}

/// What stands in a row for a dimension. The newer reports name the default workspace by its real id.
fn dimension(line: &Line, name: &str, default: Option<&str>) -> Option<String> {
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let detail = &line.detail;
    match name {
        "workspace_id" => known(&line.workspace).or_else(|| default.map(str::to_owned)),
        "model" => known(&line.model),
        "api_key_id" => detail.api_key.clone(),
        "service_tier" => known(&detail.service_tier),
        "context_window" => known(&detail.context_window),
        "inference_geo" => known(&detail.inference_geo),
        "speed" => Some(if detail.is_fast { "fast" } else { "standard" }.to_owned()),
        "account_id" => detail.user.clone().filter(|_| detail.api_key.is_none()),
        "actor" => match (&detail.user, &detail.api_key) {
            (Some(user), _) => Some(json!({"type": "user_actor", "user_id": user,
                "email_address": format!("{user}@simulated.example"), "name": user, "deleted": false}).to_string()),
            (None, Some(key)) => Some(json!({"type": "api_actor", "api_key_id": key}).to_string()),
            (None, None) => None,
        },
        "cost_type" => known(if line.model.is_empty() { "code_execution" } else { "tokens" }),
        _ => None,
    }
}

type Order = Box<dyn Fn(Hour, &Used) -> (i64, i64)>;

fn order(query: &Query, is_cost: bool) -> Result<Order, Refusal> {
    let by =
        parameter(query, "order_by").unwrap_or(if is_cost { "amount" } else { "total_tokens" });
    let sign = match parameter(query, "order") {
        Some("asc") => 1,
        Some("desc") | None => -1,
        Some(_) => return Err(Refusal::bad("order must be asc or desc")),
    };
    Ok(match (by, is_cost) {
        ("time", _) => Box::new(move |hour, _| (sign * i64::from(hour.count()), 0)),
        ("amount" | "list_amount", true) => {
            Box::new(move |hour, used| (sign * used.micros, i64::from(hour.count())))
        }
        ("total_tokens", false) => {
            Box::new(move |hour, used| (sign * tokens(used), i64::from(hour.count())))
        }
        _ => return Err(Refusal::bad("unknown order_by")),
    })
}

fn tokens(used: &Used) -> i64 {
    used.input + used.output + used.cache_read + used.cache_write_5m + used.cache_write_1h
}

fn groups<'a>(query: &'a Query, known: &[&str], beside: &[&str]) -> Result<Vec<&'a str>, Refusal> {
    let asked = query.iter().filter(|(name, _)| name == "group_by[]");
    let groups: Vec<&str> = asked.map(|(_, group)| group.as_str()).collect();
    let is_known = |group: &&&str| !known.contains(*group) && !beside.contains(*group);
    if let Some(unknown) = groups.iter().find(is_known) {
        return Err(Refusal::bad(format!("unknown group {unknown}")));
    }
    let n_counted = groups
        .iter()
        .filter(|group| !beside.contains(*group))
        .count();
    if n_counted > MAX_GROUPS {
        return Err(Refusal::bad(
            "Cannot specify more than 5 group_by[] dimensions",
        ));
    }
    Ok(groups)
}

fn filter(lines: &mut Vec<Line>, query: &Query, windows: &str) -> Result<(), Refusal> {
    let values = |name: &str| -> Vec<&str> {
        let given = query.iter().filter(|(of, _)| of == name);
        given.map(|(_, value)| value.as_str()).collect()
    };
    let check = |name: &str, allowed: &[&str]| match values(name)
        .iter()
        .find(|value| !allowed.contains(*value))
    {
        Some(value) => Err(Refusal::bad(format!("{name} cannot be {value}"))),
        None => Ok(()),
    };
    check("speeds[]", &["standard", "fast"])?;
    check(windows, &["0-200k", "200k-1M"])?;
    check("inference_geos[]", &["global", "us", "not_available"])?;
    check(
        "service_tiers[]",
        &[
            "standard",
            "batch",
            "priority",
            "priority_on_demand",
            "flex",
            "flex_discount",
        ],
    )?;
    let filters = [
        ("speeds[]", "speed"),
        ("models[]", "model"),
        ("workspace_ids[]", "workspace_id"),
        ("api_key_ids[]", "api_key_id"),
        ("service_tiers[]", "service_tier"),
        (windows, "context_window"),
        ("inference_geos[]", "inference_geo"),
    ];
    for (name, dimension_name) in filters {
        let wanted = values(name);
        if !wanted.is_empty() {
            lines.retain(|line| {
                let value = dimension(line, dimension_name, None);
                value.is_some_and(|value| wanted.contains(&value.as_str()))
            });
        }
    }
    Ok(())
}

/// Whole buckets around a span.
fn whole(width: Width, start: Hour, end: Hour) -> HourSpan {
    let last = width.first(end.plus(-1));
    HourSpan {
        start,
        end: last.plus(width.n_hours()),
    }
}

fn limit(query: &Query, usual: usize, most: usize) -> Result<usize, Refusal> {
    match parameter(query, "limit").map(str::parse) {
        None => Ok(usual),
        Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Refusal::bad(format!("limit must be within 1 and {most}"))),
    }
}

fn instant(query: &Query, name: &str) -> Result<Timestamp, Refusal> {
    let text = parameter(query, name).ok_or_else(|| Refusal::bad(format!("{name} is required")))?;
    text.parse()
        .map_err(|_| Refusal::bad(format!("{name} is no moment")))
}

fn bucket(hour: Hour, width: Width, results: &[Value]) -> String {
    let (start, end) = (hour.start(), hour.plus(width.n_hours()).start());
    json!({"starting_at": start.to_string(), "ending_at": end.to_string(), "results": results})
        .to_string()
}

/// 10⁻⁶ USD as cents.
fn cents(micros: i64) -> String {
    Usd::from_pico(i128::from(micros) * 100_000_000).to_string()
}

/// All rows or buckets of a question, made once for all of its pages.
fn told(
    world: &mut World,
    query: &Query,
    now: Timestamp,
    make: impl FnOnce(&mut World) -> Result<Vec<String>, Refusal>,
) -> Result<Arc<[String]>, Refusal> {
    let mark = mark(query);
    let known = world
        .told
        .iter()
        .find(|(of, at, _)| (*of, *at) == (mark, now));
    if let Some((_, _, rows)) = known {
        return Ok(Arc::clone(rows));
    }
    let rows: Arc<[String]> = make(world)?.into();
    if world.told.len() == MAX_TOLD {
        world.told.remove(0);
    }
    world.told.push((mark, now, Arc::clone(&rows)));
    Ok(rows)
}

/// A question without its page.
fn mark(query: &Query) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pair in query.iter().filter(|(name, _)| name != "page") {
        pair.hash(&mut hasher);
    }
    hasher.finish()
}

/// A page; a cursor is good for the question that gave it alone.
fn page(query: &Query, rows: &[String], limit: usize, more: &str) -> Result<String, Refusal> {
    let mark = mark(query);
    let start = match parameter(query, "page") {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(&format!("page_{mark:016x}_"))
            .and_then(|rest| rest.strip_suffix('=')?.parse().ok())
            .filter(|start| *start < rows.len())
            .ok_or_else(|| Refusal::bad("page is not of this question"))?,
    };
    let end = (start + limit).min(rows.len());
    let has_more = end < rows.len();
    let next = has_more.then(|| format!("page_{mark:016x}_{end}="));
    Ok(format!(
        r#"{{"data":[{}],"has_more":{has_more},"next_page":{}{more}}}"#,
        rows[start..end].join(","),
        json!(next)
    ))
}
