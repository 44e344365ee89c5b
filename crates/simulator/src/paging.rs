//! Pages of lists that are linked by the ids of their rows, in either API.

use serde_json::json;

use crate::api_error::ApiError;
use crate::parameters::{limit, parameter};
use crate::request::Query;

/// Rows per page by default.
const DEFAULT_ROWS: usize = 20;

/// Returns the page of a list after or before an id, with at most `max_rows`.
pub fn by_id<T>(
    query: &Query,
    max_rows: usize,
    rows: &[T],
    id: impl Fn(&T) -> &str,
    render: impl Fn(&T) -> String,
) -> Result<String, ApiError> {
    let limit = limit(query, DEFAULT_ROWS, max_rows)?;
    let index_of = |name: &str, wanted: &str| {
        let index = rows.iter().position(|row| id(row) == wanted);
        index.ok_or_else(|| ApiError::bad_request(format!("{name} is unknown")))
    };
    let (after, before) = (parameter(query, "after_id"), parameter(query, "before_id"));
    let (start, end, has_more) = match (after, before) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request(
                "use either after_id or before_id, not both",
            ));
        }
        (None, Some(id)) => {
            let end = index_of("before_id", id)?;
            (end.saturating_sub(limit), end, end > limit)
        }
        (after, None) => {
            let start = match after {
                Some(id) => index_of("after_id", id)? + 1,
                None => 0,
            };
            let end = (start + limit).min(rows.len());
            (start, end, end < rows.len())
        }
    };
    let page = &rows[start..end];
    let data: Vec<String> = page.iter().map(render).collect();
    let (first, last) = (json!(page.first().map(&id)), json!(page.last().map(&id)));
    Ok(format!(
        r#"{{"data":[{}],"has_more":{has_more},"first_id":{first},"last_id":{last}}}"#,
        data.join(",")
    ))
}

/// Returns the number of the page after an id, starting at 1; `ids` are those of the whole list.
pub fn page_number<'a>(
    query: &Query,
    max_rows: usize,
    mut ids: impl Iterator<Item = &'a str>,
) -> Option<usize> {
    let limit = limit(query, DEFAULT_ROWS, max_rows).ok()?;
    match parameter(query, "after_id") {
        None => Some(1),
        Some(after) => Some((ids.position(|id| id == after)? + 1) / limit + 1),
    }
}
