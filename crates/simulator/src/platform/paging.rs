//! Pages of the real API that are linked by a cursor, which is only valid for its query.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::parameters::{limit, parameter};
use crate::request::Query;
use crate::world::World;
use crate::world::report_cache::LazyRows;

/// Rows per page by default.
const DEFAULT_ROWS: usize = 20;
/// Maximum rows per page.
const MAX_ROWS: usize = 1000;

/// Returns a page of a list with a cursor but without `has_more`.
pub fn by_cursor(report_name: &str, query: &Query, rows: &[Value]) -> Result<String, ApiError> {
    let limit = limit(query, DEFAULT_ROWS, MAX_ROWS)?;
    let hash = query_hash(report_name, query);
    let (start, next) = page_bounds(query, hash, rows.len(), limit)?;
    let data: Vec<&Value> = rows.iter().skip(start).take(limit).collect();
    Ok(json!({"data": data, "next_page": next}).to_string())
}

/// Returns a page of a report. The report is created once for all of its pages, so that later pages match the first.
pub fn report_page(
    world: &mut World,
    report_name: &str,
    query: &Query,
    (limit, now): (usize, Timestamp),
    make: impl FnOnce(&mut World) -> LazyRows,
) -> Result<String, ApiError> {
    let hash = query_hash(report_name, query);
    let is_first = parameter(query, "page").is_none();
    let report = match world.reports.get(hash, is_first, now) {
        Some(report) => report,
        None => {
            let report = Arc::new(make(world));
            world.reports.insert(hash, now, Arc::clone(&report));
            report
        }
    };
    let (start, next) = page_bounds(query, hash, report.n_rows, limit)?;
    let end = (start + limit).min(report.n_rows);
    let rows: Vec<String> = (start..end).map(|index| report.row(index)).collect();
    Ok(format!(
        r#"{{"data":[{}],"has_more":{},"next_page":{}{}}}"#,
        rows.join(","),
        next.is_some(),
        json!(next),
        report.extra_fields
    ))
}

/// Returns the page that a cursor names, starting at 1.
pub fn page_number(query: &Query) -> usize {
    let cursor = parameter(query, "page").and_then(|cursor| cursor.rsplit_once('_'));
    let n_before = cursor.and_then(|(_, number)| number.strip_suffix('=')?.parse().ok());
    n_before.unwrap_or(0_usize) + 1
}

/// Hashes a query without its page and the order of its parameters.
fn query_hash(report_name: &str, query: &Query) -> u64 {
    let mut pairs: Vec<_> = query.iter().filter(|(name, _)| name != "page").collect();
    pairs.sort();
    let mut hasher = DefaultHasher::new();
    (report_name, pairs).hash(&mut hasher);
    hasher.finish()
}

/// Returns the start index of the requested page and the cursor of the next one.
fn page_bounds(
    query: &Query,
    hash: u64,
    n_rows: usize,
    limit: usize,
) -> Result<(usize, Option<String>), ApiError> {
    let n_before = match parameter(query, "page") {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(&format!("page_{hash:016x}_"))
            .and_then(|rest| rest.strip_suffix('=')?.parse().ok())
            .filter(|n_before| (1..n_rows.div_ceil(limit)).contains(n_before))
            .ok_or_else(|| ApiError::bad_request("page belongs to another query"))?,
    };
    let n_sent = n_before + 1;
    let has_more = n_sent * limit < n_rows;
    let next = has_more.then(|| format!("page_{hash:016x}_{n_sent}="));
    Ok((n_before * limit, next))
}
