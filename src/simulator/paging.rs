//! Pages of the real service: by id, or by a cursor that is good for the question that gave it alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::simulator::question::{limit, parameter};
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::told::Told;
use crate::simulator::world::World;

/// Rows of a page of a list when none are asked for.
const USUAL_ROWS: usize = 20;
/// Most rows of a page of a list.
const MOST_ROWS: usize = 1000;
/// Most reports that are kept for the pages that follow.
const MAX_TOLD: usize = 8;

/// Rows of a list with their ids.
pub type Rows = Vec<(String, Value)>;

/// A page of a list: after an id, or before one.
pub fn by_id(query: &Query, rows: &Rows) -> Result<String, Refusal> {
    let limit = limit(query, USUAL_ROWS, MOST_ROWS)?;
    let place = |name: &str, id: &str| {
        let place = rows.iter().position(|(of, _)| of == id);
        place.ok_or_else(|| Refusal::bad(format!("{name} is unknown")))
    };
    let (after, before) = (parameter(query, "after_id"), parameter(query, "before_id"));
    let (start, end, has_more) = match (after, before) {
        (Some(_), Some(_)) => {
            return Err(Refusal::bad("after_id and before_id exclude each other"));
        }
        (None, Some(id)) => {
            let end = place("before_id", id)?;
            (end.saturating_sub(limit), end, end > limit)
        }
        (after, None) => {
            let start = match after {
                Some(id) => place("after_id", id)? + 1,
                None => 0,
            };
            let end = (start + limit).min(rows.len());
            (start, end, end < rows.len())
        }
    };
    let of_page = &rows[start..end];
    let id = |row: Option<&(String, Value)>| row.map(|(id, _)| id.clone());
    let data: Vec<&Value> = of_page.iter().map(|(_, row)| row).collect();
    Ok(json!({
        "data": data, "has_more": has_more,
        "first_id": id(of_page.first()), "last_id": id(of_page.last()),
    })
    .to_string())
}

/// A page of a list that goes on by a cursor, and does not say whether there is more.
pub fn by_cursor(asked: &str, query: &Query, rows: &[Value]) -> Result<String, Refusal> {
    let limit = limit(query, USUAL_ROWS, MOST_ROWS)?;
    let mark = mark(asked, query);
    let (start, next) = cut(query, mark, rows.len(), limit)?;
    let data: Vec<&Value> = rows.iter().skip(start).take(limit).collect();
    Ok(json!({"data": data, "next_page": next}).to_string())
}

/// A page of a report. It is made once for all of its pages: what follows is told as it was when the first one was.
pub fn of_report(
    world: &mut World,
    asked: &str,
    query: &Query,
    (limit, now): (usize, Timestamp),
    make: impl FnOnce(&mut World) -> Told,
) -> Result<String, Refusal> {
    let mark = mark(asked, query);
    let is_first = parameter(query, "page").is_none();
    let kept = world
        .told
        .iter()
        .find(|(of, at, _)| *of == mark && (*at == now || !is_first));
    let told = match kept {
        Some((_, _, told)) => Arc::clone(told),
        None => {
            let told = Arc::new(make(world));
            world.told.retain(|(of, ..)| *of != mark);
            if world.told.len() == MAX_TOLD {
                world.told.remove(0);
            }
            world.told.push((mark, now, Arc::clone(&told)));
            told
        }
    };
    let (start, next) = cut(query, mark, told.n_rows, limit)?;
    let end = (start + limit).min(told.n_rows);
    let rows: Vec<String> = (start..end).map(|place| told.row(place)).collect();
    Ok(format!(
        r#"{{"data":[{}],"has_more":{},"next_page":{}{}}}"#,
        rows.join(","),
        next.is_some(),
        json!(next),
        told.more
    ))
}

/// Which page a cursor names; the first is 1.
pub fn number(query: &Query) -> usize {
    let cursor = parameter(query, "page").and_then(|cursor| cursor.rsplit_once('_'));
    let behind = cursor.and_then(|(_, number)| number.strip_suffix('=')?.parse().ok());
    behind.unwrap_or(0_usize) + 1
}

/// A question without its page: two that differ in anything but the order of their parameters have two marks.
fn mark(asked: &str, query: &Query) -> u64 {
    let mut pairs: Vec<_> = query.iter().filter(|(name, _)| name != "page").collect();
    pairs.sort();
    let mut hasher = DefaultHasher::new();
    (asked, pairs).hash(&mut hasher);
    hasher.finish()
}

/// Where the page that is asked for begins, and the cursor of the next one.
fn cut(
    query: &Query,
    mark: u64,
    n_rows: usize,
    limit: usize,
) -> Result<(usize, Option<String>), Refusal> {
    let n_before = match parameter(query, "page") {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(&format!("page_{mark:016x}_"))
            .and_then(|rest| rest.strip_suffix('=')?.parse().ok())
            .filter(|n_before| (1..n_rows.div_ceil(limit)).contains(n_before))
            .ok_or_else(|| Refusal::bad("page is not of this question"))?,
    };
    let n_told = n_before + 1;
    let has_more = n_told * limit < n_rows;
    let next = has_more.then(|| format!("page_{mark:016x}_{n_told}="));
    Ok((n_before * limit, next))
}
